//! Nodes: registration, heartbeats, and one state machine per pod over a [`runtime::ContainerRuntime`].
//!
//! [`fleet::Fleet`] runs any number of simulated nodes in one process: one watch, one timer heap, one bounded set of
//! writes for all of them. Sees the API only through `ResourceApi`.

pub mod fleet;
pub mod node;
pub mod pods;
pub mod runtime;
mod seeded;
