//! gantry-scheduler-core
