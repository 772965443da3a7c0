//! What every loop stands on: one shared informer per resource, one work queue per loop, one trait for all of them.
//!
//! The path of a change: watch → [`informer`] (store, indexes) → handlers that name keys → [`work_queue`] →
//! [`reconcile::run`] → the loop's `reconcile(key)`, which reads informers and writes through `ResourceApi`.

pub mod custom;
pub mod expectations;
pub mod figures;
pub(crate) mod histogram;
pub mod informer;
pub mod informers;
pub mod leader;
pub mod reconcile;
pub mod rows;
pub mod selector;
pub mod work_queue;
pub mod write;
