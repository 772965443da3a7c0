//! The queue between events and a loop's workers, with client-go's promises: a key waits at most once however often
//! it is added; a key is never worked on twice at the same time (added meanwhile, it comes again afterwards); keys may
//! be added for later, and again after a failure with growing pauses.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::hash::Hash;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use ahash::{HashMap, HashSet};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::histogram::Histogram;

/// The pause after a first failure.
const RETRY_FIRST: Duration = Duration::from_millis(5);
/// The longest pause between failures.
const RETRY_MAX: Duration = Duration::from_secs(1000);

/// A queue of keys. `absent → waiting → working → absent`, with `working and again` in between when a key is added
/// while it is worked on.
pub struct WorkQueue<K> {
    /// Held for moments, never across an await.
    state: Mutex<State<K>>,
    changed: Notify,
    counts: Counts,
}

/// What a queue counts (upstream's `workqueue_*` series).
#[derive(Debug)]
pub(super) struct Counts {
    /// Keys that came to wait.
    pub(super) adds: AtomicU64,
    /// Keys that were to come again after a failure.
    pub(super) retries: AtomicU64,
    /// Seconds that keys waited.
    pub(super) waited: Histogram<10>,
    /// Seconds that keys were worked on.
    pub(super) worked: Histogram<10>,
}

impl Default for Counts {
    fn default() -> Self {
        let seconds = || Histogram::growing(10e-9, 10.0);
        Self { adds: AtomicU64::new(0), retries: AtomicU64::new(0), waited: seconds(), worked: seconds() }
    }
}

struct State<K> {
    /// With the time since when.
    waiting: VecDeque<(K, Instant)>,
    /// Keys that need work: those waiting, and those to come again after their current work.
    dirty: HashSet<K>,
    /// With the time since when.
    working: HashMap<K, Instant>,
    later: BinaryHeap<Reverse<Due>>,
    later_keys: HashMap<u64, K>,
    /// The earliest time each key is to come back; later entries of the same key are void.
    later_at: HashMap<K, (Instant, u64)>,
    sequence: u64,
    failures: HashMap<K, u32>,
    closed: bool,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Due {
    at: Instant,
    sequence: u64,
}

impl<K: Clone + Eq + Hash> Default for WorkQueue<K> {
    fn default() -> Self {
        Self {
            state: Mutex::new(State {
                waiting: VecDeque::new(),
                dirty: HashSet::default(),
                working: HashMap::default(),
                later: BinaryHeap::new(),
                later_keys: HashMap::default(),
                later_at: HashMap::default(),
                sequence: 0,
                failures: HashMap::default(),
                closed: false,
            }),
            changed: Notify::new(),
            counts: Counts::default(),
        }
    }
}

impl<K: Clone + Eq + Hash> WorkQueue<K> {
    /// Asks for work on `key`.
    pub fn add(&self, key: K) {
        let mut state = self.state.lock();
        if state.add(key, Instant::now()) {
            drop(state);
            self.counts.adds.fetch_add(1, Relaxed);
            self.changed.notify_one();
        }
    }

    /// Asks for work on `key` in `delay`; an earlier time already asked for stays.
    pub fn add_after(&self, key: K, delay: Duration) {
        if delay.is_zero() {
            return self.add(key);
        }
        let at = Instant::now() + delay;
        let mut state = self.state.lock();
        if state.closed || state.later_at.get(&key).is_some_and(|(earlier, _)| *earlier <= at) {
            return;
        }
        state.sequence += 1;
        let sequence = state.sequence;
        if let Some((_, void)) = state.later_at.insert(key.clone(), (at, sequence)) {
            state.later_keys.remove(&void);
        }
        state.later_keys.insert(sequence, key);
        state.later.push(Reverse(Due { at, sequence }));
        drop(state);
        // Whoever sleeps until a later time must look again.
        self.changed.notify_one();
    }

    /// Asks for work on `key` after a failure: 5 ms, doubled with each failure since the last [`forget`](Self::forget).
    pub fn add_failed(&self, key: K) {
        self.counts.retries.fetch_add(1, Relaxed);
        let delay = {
            let mut state = self.state.lock();
            let failures = state.failures.entry(key.clone()).or_default();
            let delay = RETRY_FIRST.saturating_mul(1_u32 << (*failures).min(20));
            *failures = failures.saturating_add(1);
            delay.min(RETRY_MAX)
        };
        self.add_after(key, delay);
    }

    /// How often `key` failed since it last succeeded.
    #[must_use]
    pub fn failures(&self, key: &K) -> u32 {
        self.state.lock().failures.get(key).copied().unwrap_or(0)
    }

    /// Work on `key` succeeded: its next failure starts with the shortest pause again.
    pub fn forget(&self, key: &K) {
        self.state.lock().failures.remove(key);
    }

    /// The next key to work on, waiting for one; `None` when the queue is shut. The caller must say
    /// [`done`](Self::done) afterwards. Cancel-safe.
    pub async fn get(&self) -> Option<K> {
        loop {
            let next = {
                let mut state = self.state.lock();
                if state.closed {
                    return None;
                }
                let now = Instant::now();
                let ripe = state.ripen(now);
                self.counts.adds.fetch_add(ripe, Relaxed);
                if let Some((key, since)) = state.waiting.pop_front() {
                    self.counts.waited.add(now.duration_since(since).as_secs_f64());
                    state.dirty.remove(&key);
                    state.working.insert(key.clone(), now);
                    let more = !state.waiting.is_empty() || !state.later.is_empty();
                    drop(state);
                    if more {
                        self.changed.notify_one();
                    }
                    return Some(key);
                }
                state.later.peek().map(|Reverse(due)| due.at)
            };
            match next {
                Some(at) => {
                    let _ = tokio::time::timeout_at(at, self.changed.notified()).await;
                }
                None => self.changed.notified().await,
            }
        }
    }

    /// Work on `key` ended, well or badly.
    pub fn done(&self, key: &K) {
        let mut state = self.state.lock();
        let now = Instant::now();
        if let Some(since) = state.working.remove(key) {
            self.counts.worked.add(now.duration_since(since).as_secs_f64());
        }
        if state.dirty.contains(key) {
            state.waiting.push_back((key.clone(), now));
            drop(state);
            self.counts.adds.fetch_add(1, Relaxed);
            self.changed.notify_one();
        }
    }

    /// No more work: every [`get`](Self::get) answers `None`.
    pub fn shut(&self) {
        self.state.lock().closed = true;
        self.changed.notify_waiters();
        // One that was about to wait finds this permit.
        self.changed.notify_one();
    }

    /// How many keys wait for work now.
    #[must_use]
    pub fn len(&self) -> usize {
        self.state.lock().waiting.len()
    }

    /// What it counts.
    pub(super) fn counts(&self) -> &Counts {
        &self.counts
    }

    /// For how long keys are being worked on by now.
    pub(super) fn unfinished(&self) -> Vec<Duration> {
        let now = Instant::now();
        self.state.lock().working.values().map(|since| now.duration_since(*since)).collect()
    }

    /// Whether no key waits for work now.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<K: Clone + Eq + Hash> State<K> {
    /// Whether a worker has something new to do.
    fn add(&mut self, key: K, now: Instant) -> bool {
        if self.closed || !self.dirty.insert(key.clone()) || self.working.contains_key(&key) {
            return false;
        }
        self.waiting.push_back((key, now));
        true
    }

    /// Adds the keys whose time has come; how many of them there were.
    fn ripen(&mut self, now: Instant) -> u64 {
        let mut added = 0;
        while self.later.peek().is_some_and(|Reverse(due)| due.at <= now) {
            let Some(Reverse(due)) = self.later.pop() else { break };
            // Void entries, replaced by earlier ones, have lost their key.
            let Some(key) = self.later_keys.remove(&due.sequence) else { continue };
            self.later_at.remove(&key);
            added += u64::from(self.add(key, now));
        }
        added
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn soon(queue: &WorkQueue<u32>) -> Option<u32> {
        tokio::time::timeout(Duration::from_millis(1), queue.get()).await.ok().flatten()
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_waits_once_and_is_never_worked_on_twice_at_a_time() {
        let queue = WorkQueue::default();
        queue.add(1);
        queue.add(1);
        assert_eq!(soon(&queue).await, Some(1));
        queue.add(1);
        assert_eq!(soon(&queue).await, None, "it is being worked on");
        queue.done(&1);
        assert_eq!(soon(&queue).await, Some(1), "it was added meanwhile");
        queue.done(&1);
        assert_eq!(soon(&queue).await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn the_earliest_of_several_delays_wins_and_comes_once() {
        let queue = WorkQueue::default();
        let start = Instant::now();
        queue.add_after(7, Duration::from_secs(9));
        queue.add_after(7, Duration::from_secs(2));
        queue.add_after(7, Duration::from_secs(5));
        assert_eq!(queue.get().await, Some(7));
        assert_eq!(start.elapsed().as_secs(), 2);
        queue.done(&7);
        assert!(tokio::time::timeout(Duration::from_secs(60), queue.get()).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_grow_with_failures_until_forgotten() {
        let queue = WorkQueue::default();
        let mut pauses = Vec::new();
        for round in 0..25 {
            let start = Instant::now();
            queue.add_failed(1);
            assert_eq!(queue.get().await, Some(1));
            queue.done(&1);
            pauses.push(start.elapsed().as_millis());
            if round == 22 {
                queue.forget(&1);
            }
        }
        assert_eq!(pauses[..4], [5, 10, 20, 40]);
        assert_eq!(pauses[21], 1_000_000);
        assert_eq!(pauses[23], 5);
    }

    #[tokio::test(start_paused = true)]
    async fn shutting_wakes_every_waiter() {
        let queue = std::sync::Arc::new(WorkQueue::<u32>::default());
        let waiters: Vec<_> = (0..3)
            .map(|_| {
                let queue = queue.clone();
                tokio::spawn(async move { queue.get().await })
            })
            .collect();
        tokio::task::yield_now().await;
        queue.shut();
        for waiter in waiters {
            assert_eq!(waiter.await.unwrap(), None);
        }
    }
}
