//! The store: the single committer, and the door to views and subscriptions.

pub mod backup;
mod batch;
pub(crate) mod checkpoint;
mod checksum;
mod committer;
mod embedded;
mod engine;
mod etcd;
mod expiry;
mod history;
mod mapped;
mod record;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::cache::Cache;
use crate::config::{EngineConfig, ExecutorKind, StoreConfig};
use crate::key::ObjectKey;
use crate::object::{Facets, StoredObject};
use crate::projection::Projection;
use crate::revision::Revision;
use crate::row_feed::RowFeed;
use crate::snapshot::Snapshot;
use crate::stats::{CollectionLevels, Levels, Recorded, Stats};
use crate::translation::Translations;
use crate::txn::{Committed, Txn, TxnError};
use crate::view::View;
use crate::watch::{Expired, Interest, Subscription};
pub use backup::{BackupError, restore};
use checkpoint::Checkpoint;
use committer::Committer;
use embedded::Embedded;
pub use engine::EngineError;
use engine::{Engine, Loaded, Nowhere};
use etcd::Etcd;
use history::History;

/// Reads an object's facets from its body: used when the log is replayed and when another server wrote the object.
pub trait Describe: Send + Sync + 'static {
    /// The facets of the object at `key`. `body` may lack its revision.
    fn facets(&self, key: &ObjectKey, body: &[u8]) -> Facets;
}

/// The store. Cheap to clone; all clones are one store. The last one dropped finishes what is queued and closes it.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    cache: Arc<Cache>,
    history: History,
    backend: Backend,
    stats: Arc<Stats>,
    translations: Arc<Translations>,
    rows: Mutex<RowsFile>,
}

/// Where the rows are checkpointed, if anywhere.
struct RowsFile {
    path: Option<PathBuf>,
    projections: Vec<&'static str>,
}

/// Who numbers commits and makes them durable.
enum Backend {
    /// This process.
    Local(Committer),
    /// etcd.
    Etcd(Etcd),
}

/// The cache did not reach the revision in time; it has reached `reached`.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the cache is at {reached}, not yet at {wanted}")]
pub struct Behind {
    /// The revision waited for.
    pub wanted: Revision,
    /// The revision reached.
    pub reached: Revision,
}

impl Store {
    /// Opens a store and reads it into memory. Blocks until it can serve.
    ///
    /// # Errors
    /// The data directory cannot be read or is in use, or etcd cannot be reached.
    pub fn open(
        config: StoreConfig,
        describe: Arc<dyn Describe>,
        projections: Vec<Arc<dyn Projection>>,
    ) -> Result<Self, EngineError> {
        let cache = Arc::new(Cache::new(&config, &projections));
        let stats = Arc::new(Stats::new());
        let backend = match &config.engine {
            EngineConfig::Memory => Self::local(&config, &cache, &stats, Box::new(Nowhere), Loaded::nothing())?,
            EngineConfig::Embedded { data_dir } => {
                let mut engine = Embedded::open(data_dir, !config.relaxed.is_empty())?;
                let mut loaded = engine.load(cache.shard_count(), &*describe)?;
                if !projections.is_empty() {
                    loaded.checkpoint = Checkpoint::open(&data_dir.join(checkpoint::NAME));
                }
                Self::local(&config, &cache, &stats, Box::new(engine), loaded)?
            }
            EngineConfig::Etcd(etcd) => {
                Backend::Etcd(Etcd::open(&config, etcd, cache.clone(), describe, stats.clone())?)
            }
        };
        let rows = RowsFile {
            path: match &config.engine {
                EngineConfig::Embedded { data_dir } if !projections.is_empty() => Some(data_dir.join(checkpoint::NAME)),
                _ => None,
            },
            projections: projections.iter().map(|projection| projection.name()).collect(),
        };
        let rows = Mutex::new(rows);
        let translations = Translations::new(config.translations_bytes_max);
        Ok(Self { inner: Arc::new(Inner { cache, history: History::default(), backend, stats, translations, rows }) })
    }

    fn local(
        config: &StoreConfig,
        cache: &Arc<Cache>,
        stats: &Arc<Stats>,
        engine: Box<dyn Engine>,
        loaded: Loaded,
    ) -> Result<Backend, EngineError> {
        let revision = loaded.revision;
        cache.load(loaded.parts, revision, loaded.checkpoint.as_ref());
        Committer::start(config, engine, cache.clone(), revision, stats.clone())
            .map(Backend::Local)
            .map_err(|error| EngineError::new("no thread for the committer", error))
    }

    /// A store that forgets: for tests of what lies above. Small, and the same path as the durable one.
    #[must_use]
    pub fn in_memory(describe: Arc<dyn Describe>) -> Self {
        let config = StoreConfig { shards: 2, executors: ExecutorKind::Inline, ..StoreConfig::default() };
        Self::open(config, describe, Vec::new()).expect("opening a store in memory only starts a thread")
    }

    /// Commits a transaction: durable, published to the cache and to watchers, before this returns. Once called the
    /// transaction runs to its end, even if the caller goes away.
    ///
    /// # Errors
    /// See [`TxnError`].
    pub async fn commit(&self, txn: Txn) -> Result<Committed, TxnError> {
        match &self.inner.backend {
            Backend::Local(committer) => committer.commit(txn).await,
            Backend::Etcd(etcd) => etcd.commit(txn).await,
        }
    }

    /// Commits many transactions in one group: each commits or fails by itself, in the given order, with one fsync. On
    /// etcd each is a request of its own, many at once.
    pub async fn commit_all(&self, txns: Vec<Txn>) -> Vec<Result<Committed, TxnError>> {
        match &self.inner.backend {
            Backend::Local(committer) => committer.commit_all(txns).await,
            Backend::Etcd(etcd) => etcd.commit_all(txns).await,
        }
    }

    /// The latest published view: every write acknowledged on this server is in it.
    #[must_use]
    pub fn view(&self) -> Arc<View> {
        self.inner.cache.view()
    }

    /// The latest version of one object.
    #[must_use]
    pub fn get(&self, key: &ObjectKey) -> Option<Arc<StoredObject>> {
        self.inner.cache.view().get(key)
    }

    /// A view that holds every write acknowledged by any server on this store: with etcd, waits until the cache has
    /// caught up with etcd's present revision.
    ///
    /// # Errors
    /// [`Behind`] at the deadline.
    pub async fn consistent_view(&self, within: Duration) -> Result<Arc<View>, Behind> {
        if let Backend::Etcd(etcd) = &self.inner.backend {
            etcd.catch_up(within).await?;
        }
        Ok(self.view())
    }

    /// Waits until the cache holds every event up to `revision`. Never holds up the writer.
    ///
    /// # Errors
    /// [`Behind`] at the deadline.
    pub async fn reached(&self, revision: Revision, within: Duration) -> Result<Arc<View>, Behind> {
        if !self.inner.cache.reaches(revision, within).await {
            return Err(Behind { wanted: revision, reached: self.inner.cache.published() });
        }
        Ok(self.view())
    }

    /// The collection as it was at `revision`, as long as the event window reaches back that far; the latest view if
    /// `revision` is not in the past. Only this collection of the view is of the past, and it has no rows.
    ///
    /// # Errors
    /// [`Expired`] when it does not.
    pub fn view_at(&self, collection: &str, revision: Revision) -> Result<Arc<View>, Expired> {
        self.inner.history.view_at(&self.inner.cache, collection, revision)
    }

    /// Events after `after` that match. With `after` in the future, they begin when it is passed.
    ///
    /// # Errors
    /// [`Expired`] when the window does not reach back that far.
    pub fn watch(&self, interest: Interest, after: Revision) -> Result<Subscription, Expired> {
        Subscription::open(self.inner.cache.clone(), interest, after)
    }

    /// The rows of a projection as of the latest view; `None` if the store was opened without it.
    #[must_use]
    pub fn rows(&self, projection: &str) -> Option<Snapshot> {
        self.inner.cache.view().rows(projection)
    }

    /// The rows of a projection, all there are and then what becomes of them; `None` if the store was opened without it.
    #[must_use]
    pub fn row_feed(&self, projection: &str) -> Option<RowFeed> {
        RowFeed::open(&self.inner.cache, projection)
    }

    /// Writes a copy of the store as of the latest view to a new file, synced before this returns. Blocks.
    ///
    /// # Errors
    /// The file exists or cannot be written; nothing half-written stays behind under its name.
    pub fn backup(&self, to: &Path) -> Result<Revision, BackupError> {
        backup::write(&self.view(), to)
    }

    /// Whether the store takes writes: cheap, asks nobody, says what is known. An embedded store is well until its log
    /// fails; etcd, while the connection to it stands.
    ///
    /// # Errors
    /// Why it does not, for an operator to read.
    pub fn health(&self) -> Result<(), String> {
        match &self.inner.backend {
            Backend::Local(committer) => committer.health(),
            Backend::Etcd(etcd) => etcd.health(),
        }
    }

    /// Counters and latencies since the store was opened.
    #[must_use]
    pub fn recorded(&self) -> Recorded {
        self.inner.stats.read()
    }

    /// The room that readers keep bodies in a second encoding in.
    #[must_use]
    pub fn translations(&self) -> &Arc<Translations> {
        &self.inner.translations
    }

    /// Queue and window fill, watchers, objects.
    #[must_use]
    pub fn levels(&self) -> Levels {
        let view = self.view();
        let mut collections = Vec::new();
        self.inner.cache.each_collection(|name, collection| {
            let window = collection.window();
            collections.push(CollectionLevels {
                name: name.to_owned(),
                objects: view.count(name, None),
                watchers: collection.watchers.load(std::sync::atomic::Ordering::Relaxed),
                window_events: window.len(),
                window_bytes: window.bytes(),
                expired_watches: collection.expired.load(std::sync::atomic::Ordering::Relaxed),
            });
        });
        collections.sort_by(|a, b| a.name.cmp(&b.name));
        let queued_txns = match &self.inner.backend {
            Backend::Local(committer) => committer.waiting(),
            Backend::Etcd(etcd) => etcd.waiting(),
        };
        Levels { queued_txns, translation_bytes: self.translations().held(), collections }
    }

    /// Writes the projections' rows down, so that the next start need not compute them. Closing does so by itself;
    /// in between it only makes a start after a crash faster. Blocks; of no effect without a data directory.
    ///
    /// # Errors
    /// The file cannot be written. The one before it, if any, stays.
    pub fn checkpoint(&self) -> io::Result<()> {
        self.inner.checkpoint()
    }

    /// Takes no more writes, finishes those queued, and closes the log. Reads go on. Blocks for the last commit.
    pub fn close(&self) {
        self.inner.close();
    }
}

impl Inner {
    fn checkpoint(&self) -> io::Result<()> {
        // Held while writing: two writers would share the partial file.
        let rows = self.rows.lock();
        match &rows.path {
            Some(path) => checkpoint::write(&self.cache.view(), &rows.projections, path),
            None => Ok(()),
        }
    }

    fn close(&self) {
        match &self.backend {
            Backend::Local(committer) => committer.close(),
            Backend::Etcd(etcd) => etcd.close(),
        }
        if let Err(error) = self.checkpoint() {
            tracing::warn!(%error, "the rows could not be written down: the next start computes them");
        }
        self.rows.lock().path = None;
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.close();
    }
}
