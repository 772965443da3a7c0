//! Loops that give every namespace what it needs: [`service_account`], [`root_ca`].

pub mod root_ca;
pub mod service_account;
