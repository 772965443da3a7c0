//! A node as the cluster sees it: [`describe`] (its object), [`addresses`] (its networks), [`heartbeat`] (registration,
//! Leases and the periodic status), [`extended`] (resources that others say it has).

pub mod addresses;
pub mod describe;
pub mod extended;
pub mod heartbeat;
