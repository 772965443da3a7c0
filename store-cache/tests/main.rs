//! The promises of the store, held by every engine. One binary, to link once.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod crash;
mod embedded;
mod etcd;
mod fixture;
mod property;
mod suite;
