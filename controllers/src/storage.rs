//! Loops for volumes: claims find volumes, volumes in use stay, pods get the claims that are made for them.

pub mod binder;
pub mod ephemeral;
pub mod protection;
pub mod rows;
