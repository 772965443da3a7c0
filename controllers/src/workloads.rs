//! The loops that keep pods: [`deployment`] keeps ReplicaSets, [`replicaset`] keeps pods; [`claim`] settles which
//! objects are whose.

pub mod claim;
pub mod deployment;
pub mod replicaset;
