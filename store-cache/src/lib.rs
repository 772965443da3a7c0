//! The store and its cache: revisions, transactions, events, shards, snapshots. Knows no Kubernetes kind and no HTTP.
//!
//! A write enters as a [`txn::Txn`], is numbered, made durable and published by the single committer behind
//! [`store::Store`], and leaves as [`event::Event`]s to the [`watch::Subscription`]s that match. Reads are served from
//! [`view::View`]s: consistent cuts over all shards that never hold up the writer.

pub mod config;
pub mod event;
pub mod key;
pub mod object;
pub mod projection;
pub mod revision;
pub mod row_feed;
pub mod snapshot;
pub mod stats;
pub mod store;
pub mod translation;
pub mod txn;
pub mod view;
pub mod watch;

mod cache;
