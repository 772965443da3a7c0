//! Loops about nodes: [`lifecycle`] says which are alive and taints those that are not, [`taint_eviction`] makes pods
//! leave nodes they do not tolerate.

pub mod lifecycle;
pub mod taint_eviction;
mod taints;
