//! What touches the wire. A request comes in by [`serve`], is read by [`route`], passes the gate in [`service`], and is
//! answered by [`resources`] (the API's resources) or [`paths`] (the server's own); [`form`] and [`answer`] make the bytes.

pub mod serve;
pub mod stall;

pub mod body;
pub mod negotiate;
pub mod query;
pub mod route;

pub mod service;

pub mod documents;
pub mod health;
mod interchange;
pub mod paths;
pub mod resources;
pub mod review;

mod aggregated;
pub mod answer;
pub mod compress;
pub mod form;
pub mod payload;
pub mod pretty;
pub mod watch_stream;
