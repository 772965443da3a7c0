//! What the store counts about itself, for `/metrics` and dashboards.

use std::time::Duration;

use hdrhistogram::Histogram;
use parking_lot::Mutex;

/// Counters and latencies since the store was opened. Written by the committer once per batch.
pub struct Stats {
    recorded: Mutex<Recorded>,
}

/// A reading of [`Stats`].
#[derive(Clone, Debug)]
pub struct Recorded {
    /// From the start of a batch's log write until it was durable, in microseconds.
    pub log_write_us: Histogram<u64>,
    /// From the start of a batch's log write until its watchers were woken, in microseconds.
    pub commit_us: Histogram<u64>,
    /// Requests answered by one group commit.
    pub batch_requests: Histogram<u64>,
    /// Group commits that reached the disk before they were answered.
    pub synced_batches: u64,
    /// Group commits answered before the disk had them, by the operator's choice.
    pub relaxed_batches: u64,
    /// Objects written or deleted.
    pub events: u64,
}

/// The store as it stands.
#[derive(Clone, Debug)]
pub struct Levels {
    /// Transactions waiting for the committer.
    pub queued_txns: usize,
    /// Bytes of bodies kept in a second encoding.
    pub translation_bytes: usize,
    /// One entry per collection that was ever written or watched.
    pub collections: Vec<CollectionLevels>,
}

/// One collection as it stands.
#[derive(Clone, Debug)]
pub struct CollectionLevels {
    /// Its name.
    pub name: String,
    /// Objects in it.
    pub objects: usize,
    /// Open subscriptions.
    pub watchers: usize,
    /// Events in its window.
    pub window_events: usize,
    /// Bytes of old versions that its window keeps.
    pub window_bytes: usize,
    /// Subscriptions that fell out of the window since the start.
    pub expired_watches: u64,
}

/// A minute: no batch takes longer without something else being wrong.
const LATENCY_US_MAX: u64 = 60_000_000;

impl Stats {
    pub(crate) fn new() -> Self {
        let latency = || Histogram::new_with_max(LATENCY_US_MAX, 2).expect("bounds and precision are constants");
        let recorded = Recorded {
            log_write_us: latency(),
            commit_us: latency(),
            batch_requests: latency(),
            synced_batches: 0,
            relaxed_batches: 0,
            events: 0,
        };
        Self { recorded: Mutex::new(recorded) }
    }

    pub(crate) fn batch(&self, requests: usize, events: usize, synced: bool, log_write: Duration) {
        let mut recorded = self.recorded.lock();
        recorded.log_write_us.saturating_record(micros(log_write));
        recorded.batch_requests.saturating_record(requests as u64);
        recorded.events += events as u64;
        if synced {
            recorded.synced_batches += 1;
        } else {
            recorded.relaxed_batches += 1;
        }
    }

    pub(crate) fn commit(&self, commit: Duration) {
        self.recorded.lock().commit_us.saturating_record(micros(commit));
    }

    pub(crate) fn read(&self) -> Recorded {
        self.recorded.lock().clone()
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
