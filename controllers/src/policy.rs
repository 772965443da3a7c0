//! Loops about policy: [`service_account`] and [`root_ca`] give every namespace what it needs, [`disruption`] counts how
//! many pods may be evicted.

pub mod disruption;
pub mod root_ca;
pub mod service_account;
