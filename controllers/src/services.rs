//! The loops that join Services to pods: [`endpoint_slices`] and [`endpoints`]. Both say the same of the same
//! [`members`], in the new form and in the old.

pub mod endpoint_slices;
pub mod endpoints;
pub mod members;
