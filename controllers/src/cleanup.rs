//! Loops that clear away: [`namespace`] empties namespaces that go, [`garbage_collector`] follows owner references,
//! [`pod_gc`] removes pods that nobody else would.

pub mod garbage_collector;
pub mod namespace;
pub mod pod_gc;
