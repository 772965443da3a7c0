//! The promises of the store, held by every engine. One binary, to link once.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod embedded;
mod etcd;
mod fixture;
mod suite;
