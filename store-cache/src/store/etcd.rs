//! The store on etcd: for more than one machine, and for several servers on one store.
//!
//! ```text
//! commit ─▶ one etcd txn comparing mod revisions ─▶ its revision ─▶ wait until the cache has it ─▶ answer
//! etcd watch ─▶ follow: events in revision order ─▶ cache publishes ─▶ watchers
//! ```
//! Revisions are etcd's own. The cache is fed by the watch alone, also with our own writes, so every server applies
//! the same events in the same order. Differences from the embedded engine: the last state that a deletion may name is
//! told to its caller but not to watchers, who see the version that was stored (as upstream's watchers do); and times
//! to live are etcd leases, of whole seconds and at least two.
//!
//! Everything that talks to etcd runs on one thread with its own runtime, so that the store does not depend on whose
//! runtime opened it.

mod follow;
mod lease;
mod present;
mod write;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use etcd_client::{Client, ConnectOptions, KeyValue, KvClient, LeaseClient, WatchClient};
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::engine::EngineError;
use super::{Behind, Describe, record};
use crate::cache::Cache;
use crate::config::{EtcdConfig, StoreConfig};
use crate::key::ObjectKey;
use crate::object::StoredObject;
use crate::revision::Revision;
use crate::stats::Stats;
use crate::txn::{Committed, Txn, TxnError};

/// gRPC messages of any size: a watch may answer with a thousand revisions at once.
const MESSAGE_BYTES_MAX: usize = 1 << 30;
/// A frozen etcd, or one behind a dead link, is noticed after both.
const KEEP_ALIVE_EVERY: Duration = Duration::from_secs(2);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(3);
/// Transactions of one group that are on their way to etcd at once.
const GROUP_IN_FLIGHT_MAX: usize = 128;

/// A store's connection to etcd.
pub(crate) struct Etcd {
    link: Arc<Link>,
    runtime: Handle,
    in_flight: Arc<AtomicUsize>,
    in_flight_max: usize,
    stop: Mutex<Option<oneshot::Sender<()>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// What the follower and the writers share.
struct Link {
    kv: KvClient,
    watch: WatchClient,
    lease: LeaseClient,
    config: EtcdConfig,
    cache: Arc<Cache>,
    describe: Arc<dyn Describe>,
    stats: Arc<Stats>,
    /// The watch is broken: writes are refused at once instead of after a timeout each.
    away: AtomicBool,
    leases: lease::Leases,
    present: present::Present,
}

impl Etcd {
    /// Connects, reads everything under the prefix into the cache, and begins to follow.
    pub(crate) fn open(
        config: &StoreConfig,
        etcd: &EtcdConfig,
        cache: Arc<Cache>,
        describe: Arc<dyn Describe>,
        stats: Arc<Stats>,
    ) -> Result<Self, EngineError> {
        let (ready, opened) = std::sync::mpsc::channel();
        let (stop, stopped) = oneshot::channel();
        let etcd = etcd.clone();
        let thread = std::thread::Builder::new()
            .name("etcd".into())
            .spawn(move || {
                let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
                    Ok(runtime) => runtime,
                    Err(error) => {
                        // The opener waits for exactly one answer.
                        let _ = ready.send(Err(EngineError::new("no runtime for etcd", error)));
                        return;
                    }
                };
                runtime.block_on(async {
                    match Link::open(etcd, cache, describe, stats).await {
                        Err(error) => drop(ready.send(Err(error))),
                        Ok(link) => {
                            let link = Arc::new(link);
                            let _ = ready.send(Ok((link.clone(), Handle::current())));
                            tokio::select! {
                                () = follow::run(&link) => {}
                                () = follow::compact_regularly(&link) => {}
                                _ = stopped => {}
                            }
                        }
                    }
                });
            })
            .map_err(|error| EngineError::new("no thread for etcd", error))?;
        let (link, runtime) = opened.recv().map_err(|_| EngineError("the etcd thread ended".into()))??;
        Ok(Self {
            link,
            runtime,
            in_flight: Arc::default(),
            in_flight_max: config.queue_txns_max,
            stop: Mutex::new(Some(stop)),
            thread: Mutex::new(Some(thread)),
        })
    }

    pub(crate) async fn commit(&self, txn: Txn) -> Result<Committed, TxnError> {
        let admitted = self.admit(1)?;
        let link = self.link.clone();
        let task = self.runtime.spawn(async move {
            let _admitted = admitted;
            write::commit(&link, txn).await
        });
        task.await.unwrap_or_else(|_| Err(gone()))
    }

    /// Transactions on different keys go to etcd at the same time; one on a key already under way waits for it, so that
    /// the given order holds where it matters.
    pub(crate) async fn commit_all(&self, txns: Vec<Txn>) -> Vec<Result<Committed, TxnError>> {
        use futures_util::StreamExt as _;
        let count = txns.len();
        let admitted = match self.admit(count) {
            Ok(admitted) => admitted,
            Err(error) => return vec![Err(error); count],
        };
        let link = self.link.clone();
        let task = self.runtime.spawn(async move {
            let _admitted = admitted;
            let mut answers = Vec::with_capacity(count);
            for wave in write::waves(txns) {
                let sent = wave.into_iter().map(|txn| write::commit(&link, txn));
                let mut answered = futures_util::stream::iter(sent).buffered(GROUP_IN_FLIGHT_MAX);
                while let Some(answer) = answered.next().await {
                    answers.push(answer);
                }
            }
            answers
        });
        task.await.unwrap_or_else(|_| vec![Err(gone()); count])
    }

    fn admit(&self, count: usize) -> Result<Admitted, TxnError> {
        if self.stop.lock().is_none() {
            return Err(TxnError::Unavailable("it is closed".into()));
        }
        if self.in_flight.load(Ordering::Relaxed) >= self.in_flight_max {
            return Err(TxnError::Overloaded);
        }
        self.in_flight.fetch_add(count, Ordering::Relaxed);
        Ok(Admitted { in_flight: self.in_flight.clone(), count })
    }

    pub(crate) fn waiting(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Whether writes can be taken; why not, if not.
    pub(crate) fn health(&self) -> Result<(), String> {
        if self.stop.lock().is_none() {
            return Err("the store is closed".into());
        }
        if self.link.away.load(Ordering::SeqCst) { Err("etcd is away".into()) } else { Ok(()) }
    }

    /// Waits until the cache holds what etcd holds now.
    pub(crate) async fn catch_up(&self, within: Duration) -> Result<(), Behind> {
        let link = self.link.clone();
        let behind = move |wanted: Option<Revision>, link: &Link| {
            let reached = link.cache.published();
            Behind { wanted: wanted.unwrap_or(reached.next()), reached }
        };
        let deadline = tokio::time::Instant::now() + within;
        let task = self.runtime.spawn(async move {
            let mut wanted = None;
            let caught_up = tokio::time::timeout_at(deadline, present::catch_up(&link, &mut wanted)).await;
            if matches!(caught_up, Ok(true)) { Ok(()) } else { Err(behind(wanted, &link)) }
        });
        let reached = self.link.cache.published();
        task.await.unwrap_or(Err(Behind { wanted: reached.next(), reached }))
    }

    /// Stops following and writing. What was sent to etcd may still happen.
    pub(crate) fn close(&self) {
        drop(self.stop.lock().take());
        if let Some(thread) = self.thread.lock().take()
            && thread.join().is_err()
        {
            tracing::error!("the etcd thread panicked");
        }
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        self.close();
    }
}

/// Gives the places in the bound back.
struct Admitted {
    in_flight: Arc<AtomicUsize>,
    count: usize,
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.in_flight.fetch_sub(self.count, Ordering::Relaxed);
    }
}

fn gone() -> TxnError {
    TxnError::Unknown("the store was closed".into())
}

impl Link {
    async fn open(
        config: EtcdConfig,
        cache: Arc<Cache>,
        describe: Arc<dyn Describe>,
        stats: Arc<Stats>,
    ) -> Result<Self, EngineError> {
        let unreachable =
            |error: &dyn std::fmt::Display| EngineError::new(&format!("etcd at {}", config.endpoints.join(",")), error);
        let options = ConnectOptions::new()
            .with_connect_timeout(config.request_timeout)
            .with_keep_alive(KEEP_ALIVE_EVERY, KEEP_ALIVE_TIMEOUT)
            .with_keep_alive_while_idle(true)
            .with_require_leader(true);
        let client = Client::connect(&config.endpoints, Some(options)).await.map_err(|error| unreachable(&error))?;
        let link = Self {
            kv: client
                .kv_client()
                .max_decoding_message_size(MESSAGE_BYTES_MAX)
                .max_encoding_message_size(MESSAGE_BYTES_MAX),
            watch: client.watch_client().max_decoding_message_size(MESSAGE_BYTES_MAX),
            lease: client.lease_client(),
            cache,
            describe,
            stats,
            away: AtomicBool::new(false),
            leases: lease::Leases::default(),
            present: present::Present::default(),
            config,
        };
        let (revision, objects) = follow::read_all(&link)
            .await
            .map_err(|error| EngineError::new(&format!("etcd at {}", link.config.endpoints.join(",")), error))?;
        let shards = link.cache.shard_count();
        let mut parts = vec![Vec::new(); shards];
        for object in objects {
            parts[crate::cache::shard::shard_of(&object.key, shards)].push(object);
        }
        link.cache.load(parts, revision, None);
        Ok(link)
    }

    fn path_of(&self, key: &ObjectKey) -> String {
        format!("{}{}", self.config.prefix, key.as_str())
    }

    /// The object in an etcd key; `None` for a key of the store's own making, which holds none.
    fn object_from(&self, kv: &KeyValue) -> Option<StoredObject> {
        let key = self.key_from(kv.key())?;
        let mut record = match record::decode(kv.value()) {
            Ok(record) => record,
            Err(error) => {
                tracing::warn!(%key, %error, "an object in etcd cannot be read and is passed over");
                return None;
            }
        };
        record.revision = revision_from(kv.mod_revision());
        record.created = revision_from(kv.create_revision());
        let facets = self.describe.facets(&key, record.raw);
        Some(record.into_object(key, facets))
    }

    fn key_from(&self, path: &[u8]) -> Option<ObjectKey> {
        ObjectKey::parse(std::str::from_utf8(path).ok()?.strip_prefix(&self.config.prefix)?)
    }
}

/// etcd counts in signed numbers and never below zero.
fn revision_from(number: i64) -> Revision {
    Revision(u64::try_from(number).unwrap_or(0))
}

fn number_from(revision: Revision) -> i64 {
    i64::try_from(revision.0).unwrap_or(i64::MAX)
}
