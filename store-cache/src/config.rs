//! How a store is opened: which engine, where, and every bound it keeps. Read once, by [`Store::open`](crate::store::Store::open).

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use compact_str::CompactString;

/// Everything a store is told when it is opened. [`StoreConfig::default`] is an in-memory store with production bounds.
#[derive(Clone, Debug)]
pub struct StoreConfig {
    /// Where acknowledged writes rest.
    pub engine: EngineConfig,
    /// Slices of the key space; zero takes one per core.
    pub shards: usize,
    /// What the shards run on.
    pub executors: ExecutorKind,
    /// Transactions that may wait for the committer; one more is refused with `Overloaded`.
    pub queue_txns_max: usize,
    /// Bytes of bodies that may wait for the committer.
    pub queue_bytes_max: usize,
    /// Transactions in one group commit.
    pub batch_txns_max: usize,
    /// Bytes of bodies in one group commit.
    pub batch_bytes_max: usize,
    /// While several write at a time, how long a batch waits for as many as came to the last one: a commit costs the
    /// same for few as for many. Whoever writes alone never waits.
    pub linger: Duration,
    /// Events that a collection's window keeps for watches to resume from.
    pub window_events_max: usize,
    /// Bytes of replaced versions that all windows together keep alive; the oldest go first, a quiet collection's last.
    pub windows_bytes_max: usize,
    /// Bytes of bodies in a second encoding that are kept for readers who ask for it again.
    pub translations_bytes_max: usize,
    /// Events that wait for one watcher before it is parked at its cursor.
    pub watcher_queue_max: usize,
    /// Collections whose writes are acknowledged before the disk has them (Leases, Events): the operator's explicit
    /// choice, empty by default. A process kill loses none of them; a power cut may. etcd knows no such choice.
    pub relaxed: Vec<CompactString>,
    /// Which selectable fields are indexed, by collection.
    pub indexed_fields: Vec<(CompactString, Vec<&'static str>)>,
    /// Label pairs of one object that are indexed; a collection with an object of more labels answers label lookups by
    /// scanning. Zero: no label index.
    pub indexed_labels_max: usize,
    /// How often objects past their time to live are looked for.
    pub sweep_every: Duration,
    /// Wall time, which times to live are counted by.
    pub clock: Clock,
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self {
            engine: EngineConfig::Memory,
            shards: 0,
            executors: ExecutorKind::Auto,
            queue_txns_max: 16_384,
            queue_bytes_max: 128 << 20,
            batch_txns_max: 4_096,
            batch_bytes_max: 16 << 20,
            linger: Duration::from_millis(1),
            window_events_max: 65_536,
            windows_bytes_max: 32 << 20,
            translations_bytes_max: 256 << 20,
            watcher_queue_max: 512,
            relaxed: Vec::new(),
            indexed_fields: Vec::new(),
            indexed_labels_max: 16,
            sweep_every: Duration::from_secs(1),
            clock: Clock::system(),
        }
    }
}

impl StoreConfig {
    /// An embedded store in `data_dir`, otherwise the defaults.
    #[must_use]
    pub fn embedded(data_dir: impl Into<PathBuf>) -> Self {
        Self { engine: EngineConfig::Embedded { data_dir: data_dir.into() }, ..Self::default() }
    }

    /// A store on etcd, otherwise the defaults.
    #[must_use]
    pub fn etcd(etcd: EtcdConfig) -> Self {
        Self { engine: EngineConfig::Etcd(etcd), ..Self::default() }
    }

    pub(crate) fn shard_count(&self) -> usize {
        match self.shards {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            n => n,
        }
    }
}

/// Where acknowledged writes rest.
#[derive(Clone, Debug)]
pub enum EngineConfig {
    /// Nowhere: for tests.
    Memory,
    /// In a directory of this machine.
    Embedded {
        /// Created if it is not there; one process at a time.
        data_dir: PathBuf,
    },
    /// In an etcd that several servers may share.
    Etcd(EtcdConfig),
}

/// How to reach etcd.
#[derive(Clone, Debug)]
pub struct EtcdConfig {
    /// `http://host:port`, at least one.
    pub endpoints: Vec<String>,
    /// What every key begins with.
    pub prefix: String,
    /// After this long without an answer a request counts as failed.
    pub request_timeout: Duration,
    /// How much history etcd keeps; zero leaves compaction to others.
    pub compact_every: Duration,
}

impl EtcdConfig {
    /// The usual prefix and times.
    #[must_use]
    pub fn new(endpoints: Vec<String>) -> Self {
        Self {
            endpoints,
            prefix: "/gantry/".to_owned(),
            request_timeout: Duration::from_secs(3),
            compact_every: Duration::from_secs(300),
        }
    }
}

/// What the shards run on when a batch is large enough to be worth spreading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExecutorKind {
    /// Pinned glommio executors, or plain pinned threads where the kernel refuses io_uring or locked memory.
    Auto,
    /// Plain pinned threads.
    Threads,
    /// The committer's own thread, always.
    Inline,
}

/// Wall time in milliseconds since 1970; replaced in tests.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> u64 + Send + Sync>);

impl Clock {
    /// The machine's.
    #[must_use]
    pub fn system() -> Self {
        Self::from_fn(|| {
            let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
        })
    }

    /// Whatever `now_ms` says.
    #[must_use]
    pub fn from_fn(now_ms: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        Self(Arc::new(now_ms))
    }

    pub(crate) fn now_ms(&self) -> u64 {
        (self.0)()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}
