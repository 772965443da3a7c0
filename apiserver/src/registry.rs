//! `ResourceApi` in process, and the table of resources.

pub mod kinds;
pub mod strategy;
pub mod validate;
