//! The API server: what touches the wire ([`http`]), what stands before it ([`gate`]), and the resources ([`registry`]).

pub(crate) mod admission;
pub mod bootstrap;
pub mod registry;
