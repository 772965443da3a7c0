//! The API server: what touches the wire ([`http`]), what stands before it ([`gate`]), and the resources ([`registry`]).

pub(crate) mod admission;
pub mod bootstrap;
pub mod component;
pub mod config;
pub mod gate;
pub mod http;
pub mod metrics;
pub mod pki;
pub mod registry;
pub mod server;
