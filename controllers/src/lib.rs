//! gantry-controllers
