//! A node as the cluster sees it: [`describe`] (its object), [`addresses`] (its networks), [`heartbeat`] (registration,
//! Leases and the periodic status).

pub mod addresses;
pub mod describe;
pub mod heartbeat;
