//! Who serves a Service: [`backends`] finds its pods, [`endpoint_slice`] and [`endpoints`] write them down in today's and
//! the legacy form.

pub mod backends;
pub mod endpoint_slice;
pub mod endpoints;
