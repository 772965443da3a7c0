//! The control loops: what makes the cluster be what its objects say it should be.
//!
//! Every loop reads shared informers, is woken through a work queue of its own, and writes through `ResourceApi`; see
//! [`runtime`]. Loops never know whether the API is this process or another.

pub mod cleanup;
pub mod devices;
pub mod manager;
pub mod nodes;
pub mod policy;
pub mod runtime;
pub mod scheduling;
pub mod services;
pub mod storage;
#[cfg(test)]
mod testing;
pub mod workloads;
