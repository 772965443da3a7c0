//! The loops about nodes: [`lifecycle`] says which are alive and taints those that are not; [`taint_eviction`] removes
//! pods that do not tolerate a NoExecute taint.

pub mod lifecycle;
pub mod taint_eviction;
