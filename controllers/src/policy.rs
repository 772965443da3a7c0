//! Loops about policy: [`service_account`] and [`root_ca`] give every namespace what it needs, [`disruption`] counts how
//! many pods may be evicted, [`resource_quota`] what a namespace holds.

pub mod disruption;
pub mod resource_quota;
pub mod root_ca;
pub mod service_account;
