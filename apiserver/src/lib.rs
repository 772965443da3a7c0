//! The API server: what touches the wire ([`http`]), what stands before it ([`gate`]), and the resources ([`registry`]).

pub mod pki;
pub mod registry;
