//! The sharded cache: takes commits in, publishes consistent views, and lets watchers know.
//!
//! One thread at a time applies commits (the embedded committer, or the task that follows etcd). For each batch:
//! every shard takes in its part, the events go to their collections' windows, and then one atomic store publishes the
//! view: from that moment, and not before, readers see the objects and watchers the events.
//!
//! A shard's writable side sits in a mutex that nobody ever waits for: it hands the ownership of the slice from one
//! batch's thread to the next. A batch of few events is applied by the committing thread, because waking an executor
//! costs more than the work (about 20 µs against 3 µs per event); a large one is spread over the executors.

pub(crate) mod executor;

pub(crate) mod index;
pub(crate) mod pin;
mod rows;
pub(crate) mod shard;
pub(crate) mod window;
mod window_bytes;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use compact_str::CompactString;
use crossbeam::sync::WaitGroup;
use dashmap::DashMap;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{oneshot, watch};

use crate::config::{ExecutorKind, StoreConfig};
use crate::event::Event;
use crate::object::StoredObject;
use crate::projection::Projection;
use crate::revision::Revision;
use crate::store::checkpoint::Checkpoint;
use crate::view::View;
use crate::watch::dispatch::Dispatch;
use executor::Executors;
use index::IndexRules;
use shard::{Shard, shard_of};
use window::Window;
use window_bytes::WindowBytes;

/// A batch with fewer events is applied where it was committed.
const SPREAD_EVENTS_MIN: usize = 64;
/// With fewer rows to make in a batch than this, they are made where it is applied: nobody is woken for them.
const ROWS_AHEAD_MIN: usize = 16;
/// Watchers of one collection that the committing thread wakes itself; more are woken from an executor.
const INLINE_WATCHERS_MAX: usize = 32;

/// The cache of one store.
pub(crate) struct Cache {
    shards: Box<[Arc<Mutex<Shard>>]>,
    executors: OnceLock<Executors>,
    executor_kind: ExecutorKind,
    collections: DashMap<CompactString, Arc<Collection>, ahash::RandomState>,
    view: ArcSwap<View>,
    /// The revision of `view`. Watchers read windows up to here.
    published: AtomicU64,
    /// Nothing before this is known: where the engine began to tell us of events.
    opened_at: AtomicU64,
    waiters: Waiters,
    projections: Box<[Arc<dyn Projection>]>,
    /// Told when rows may have changed.
    rows: watch::Sender<()>,
    window_bytes: WindowBytes,
    limits: Limits,
}

#[derive(Clone, Copy)]
struct Limits {
    window_events_max: usize,
    watcher_queue_max: usize,
}

impl Cache {
    pub(crate) fn new(config: &StoreConfig, projections: &[Arc<dyn Projection>]) -> Self {
        let mut fields = config.indexed_fields.clone();
        fields.sort_by(|a, b| a.0.cmp(&b.0));
        let rules = Arc::new(IndexRules { fields, labels_max: config.indexed_labels_max });
        let shards: Box<[_]> =
            (0..config.shard_count()).map(|_| Arc::new(Mutex::new(Shard::new(rules.clone(), projections)))).collect();
        let states = shards.iter().map(|shard| shard.lock().state()).collect();
        Self {
            shards,
            executors: OnceLock::new(),
            executor_kind: config.executors,
            collections: DashMap::default(),
            view: ArcSwap::from_pointee(View::new(Revision(0), states)),
            published: AtomicU64::new(0),
            opened_at: AtomicU64::new(0),
            waiters: Waiters::default(),
            projections: projections.into(),
            rows: watch::Sender::new(()),
            window_bytes: WindowBytes::new(config.windows_bytes_max),
            limits: Limits { window_events_max: config.window_events_max, watcher_queue_max: config.watcher_queue_max },
        }
    }

    pub(crate) fn view(&self) -> Arc<View> {
        self.view.load_full()
    }

    pub(crate) fn published(&self) -> Revision {
        Revision(self.published.load(Ordering::SeqCst))
    }

    pub(crate) fn collection(&self, name: &str) -> Arc<Collection> {
        if let Some(found) = self.collections.get(name) {
            return found.clone();
        }
        let opened_at = Revision(self.opened_at.load(Ordering::SeqCst));
        self.collections.entry(name.into()).or_insert_with(|| Arc::new(Collection::new(opened_at))).clone()
    }

    pub(crate) fn each_collection(&self, mut with: impl FnMut(&str, &Collection)) {
        for entry in &self.collections {
            with(entry.key(), entry.value());
        }
    }

    /// Takes in what the engine held when it was opened, before anybody reads.
    pub(crate) fn load(&self, parts: Vec<Vec<Arc<StoredObject>>>, revision: Revision, checkpoint: Option<&Checkpoint>) {
        self.opened_at.store(revision.0, Ordering::SeqCst);
        let count = self.shards.len();
        std::thread::scope(|scope| {
            for (at, (shard, objects)) in self.shards.iter().zip(parts).enumerate() {
                scope.spawn(move || {
                    shard.lock().load(&objects, |projection| checkpoint?.chunks(projection, at, count));
                });
            }
        });
        let states = self.shards.iter().map(|shard| shard.lock().state()).collect();
        self.publish(View::new(revision, states));
    }

    pub(crate) fn shard_count(&self) -> usize {
        self.shards.len()
    }

    /// The projection of this name.
    pub(crate) fn projection(&self, name: &str) -> Option<&dyn Projection> {
        self.projections.iter().find(|projection| projection.name() == name).map(|projection| &**projection)
    }

    /// Told whenever rows may have changed.
    pub(crate) fn told_of_rows(&self) -> watch::Receiver<()> {
        self.rows.subscribe()
    }

    fn projected(&self, collection: &str) -> Option<&Arc<dyn Projection>> {
        self.projections.iter().find(|projection| projection.collection() == collection)
    }

    /// Has the rows of a batch made by the shards' executors while the caller writes the log: they are ready, or nearly,
    /// when [`apply`](Self::apply) wants them.
    pub(crate) fn make_rows_ahead(&self, events: &[Arc<Event>]) {
        if self.executor_kind == ExecutorKind::Inline || events.len() < ROWS_AHEAD_MIN || self.projections.is_empty() {
            return;
        }
        let mut parts: Vec<Vec<_>> = vec![Vec::new(); self.shards.len()];
        for event in events.iter().filter(|event| !event.deleted) {
            if let Some(projection) = self.projected(event.object.key.collection()) {
                parts[shard_of(&event.object.key, self.shards.len())].push((event.clone(), projection.clone()));
            }
        }
        for (at, part) in parts.into_iter().enumerate().filter(|(_, part)| part.len() >= ROWS_AHEAD_MIN / 2) {
            let make = move || part.iter().for_each(|(event, projection)| event.make_row(&**projection));
            self.executors().run(at, Box::new(make));
        }
    }

    /// Takes in a batch of commits up to `through` and publishes it. `events` are in commit order. When this returns,
    /// every reader sees them; watchers hear of them by [`notify`](Self::notify).
    pub(crate) fn apply(&self, events: &[Arc<Event>], through: Revision) -> Touched {
        let mut states: Box<[_]> = self.view.load().shards().into();
        if self.shards.len() == 1 {
            states[0] = self.shards[0].lock().apply(events);
        } else if events.len() == 1 {
            let shard = shard_of(&events[0].object.key, self.shards.len());
            states[shard] = self.shards[shard].lock().apply(events);
        } else {
            self.apply_parts(events, &mut states);
        }
        let touched = self.append_to_windows(events);
        self.publish(View::new(through, states));
        touched
    }

    fn apply_parts(&self, events: &[Arc<Event>], states: &mut [Arc<shard::ShardState>]) {
        let mut parts = vec![Vec::new(); self.shards.len()];
        for event in events {
            parts[shard_of(&event.object.key, self.shards.len())].push(event.clone());
        }
        if events.len() < SPREAD_EVENTS_MIN || self.executor_kind == ExecutorKind::Inline {
            for (at, part) in parts.iter().enumerate().filter(|(_, part)| !part.is_empty()) {
                states[at] = self.shards[at].lock().apply(part);
            }
            return;
        }
        let executors = self.executors();
        let all_applied = WaitGroup::new();
        let touched: Vec<usize> = (0..parts.len()).filter(|at| !parts[*at].is_empty()).collect();
        for (at, part) in parts.into_iter().enumerate().filter(|(_, part)| !part.is_empty()) {
            let (shard, applied) = (self.shards[at].clone(), all_applied.clone());
            executors.run(
                at,
                Box::new(move || {
                    shard.lock().apply(&part);
                    drop(applied);
                }),
            );
        }
        all_applied.wait();
        for at in touched {
            states[at] = self.shards[at].lock().state();
        }
    }

    fn append_to_windows(&self, events: &[Arc<Event>]) -> Touched {
        let mut touched = Touched { collections: Vec::new() };
        let mut windows: Vec<Window> = Vec::new();
        let mut bytes_before = 0;
        for event in events {
            let name = event.object.key.collection();
            let at = match touched.collections.iter().position(|(touched, _)| touched == name) {
                Some(at) => at,
                None => {
                    let collection = self.collection(name);
                    let mut window = Window::clone(&collection.window.load());
                    window.cool();
                    bytes_before += window.bytes();
                    windows.push(window);
                    touched.collections.push((name.into(), collection));
                    touched.collections.len() - 1
                }
            };
            windows[at].push(event.clone(), self.limits.window_events_max);
        }
        let bytes_after = windows.iter().map(Window::bytes).sum();
        for ((_, collection), window) in touched.collections.iter().zip(windows) {
            collection.window.store(Arc::new(window));
        }
        if self.window_bytes.changed(bytes_before, bytes_after) {
            self.trim_windows();
        }
        touched
    }

    fn trim_windows(&self) {
        let collections: Vec<_> = self.collections.iter().map(|entry| entry.value().clone()).collect();
        let mut windows: Vec<_> =
            collections.iter().map(|collection| Window::clone(&collection.window.load())).collect();
        for at in self.window_bytes.trim(&mut windows) {
            collections[at].window.store(Arc::new(windows[at].clone()));
        }
    }

    /// Publishes `revision` without events: nothing that concerns us happened up to there.
    pub(crate) fn advance(&self, revision: Revision) {
        if revision > self.published() {
            let states = self.view.load().shards().into();
            self.publish(View::new(revision, states));
        }
    }

    fn publish(&self, view: View) {
        let revision = view.revision();
        self.view.store(Arc::new(view));
        self.published.store(revision.0, Ordering::SeqCst);
        self.waiters.reached(revision);
    }

    /// Events before `revision` were merged: no exact view of the past before it can be given.
    pub(crate) fn gap(&self, revision: Revision) {
        self.opened_at.store(revision.0, Ordering::SeqCst);
        self.each_collection(|_, collection| {
            let mut window = Window::clone(&collection.window.load());
            window.gap(revision);
            collection.window.store(Arc::new(window));
        });
    }

    /// Hands the batch's events to the watchers they may concern and wakes them. Few watchers are served at once;
    /// for many the work goes to an executor, so that the next commit does not wait for it.
    pub(crate) fn notify(self: &Arc<Self>, touched: Touched) {
        if touched.collections.iter().any(|(name, _)| self.projected(name).is_some()) {
            self.rows.send_replace(());
        }
        for (name, collection) in touched.collections {
            let watchers = collection.watchers.load(Ordering::SeqCst);
            if watchers == 0 {
                continue;
            }
            let inline = watchers <= INLINE_WATCHERS_MAX || self.executor_kind == ExecutorKind::Inline;
            if inline && self.dispatch(&collection, false) {
                continue;
            }
            if !collection.queued.swap(true, Ordering::SeqCst) {
                let cache = self.clone();
                let at = name.len() + usize::from(name.as_bytes().first().copied().unwrap_or(0));
                self.executors().run(
                    at,
                    Box::new(move || {
                        collection.queued.store(false, Ordering::SeqCst);
                        cache.dispatch(&collection, true);
                    }),
                );
            }
        }
    }

    /// False if somebody else is at it and `wait` is not set.
    fn dispatch(&self, collection: &Collection, wait: bool) -> bool {
        let mut dispatch = if wait {
            collection.dispatch.lock()
        } else {
            match collection.dispatch.try_lock() {
                Some(dispatch) => dispatch,
                None => return false,
            }
        };
        let published = self.published();
        let window = collection.window.load();
        dispatch.run(&window, published, self.limits.watcher_queue_max);
        collection.dispatched.store(dispatch.next_seq(), Ordering::Release);
        true
    }

    fn executors(&self) -> &Executors {
        self.executors.get_or_init(|| Executors::start(self.executor_kind, self.shards.len()))
    }

    /// Waits until the cache holds `revision`; false if it does not `within` that time.
    pub(crate) async fn reaches(&self, revision: Revision, within: Duration) -> bool {
        match self.waiters.join(revision, &self.published) {
            None => true,
            Some(mut waiting) => tokio::time::timeout(within, &mut waiting.told).await.is_ok(),
        }
    }
}

/// The collections a batch concerned.
pub(crate) struct Touched {
    collections: Vec<(CompactString, Arc<Collection>)>,
}

/// What the cache keeps per collection besides its objects: recent events and who waits for more.
pub(crate) struct Collection {
    window: ArcSwap<Window>,
    dispatch: Mutex<Dispatch>,
    /// Up to which sequence number events were handed out; follows `dispatch`, for readers without its lock.
    pub(crate) dispatched: AtomicU64,
    pub(crate) watchers: AtomicUsize,
    /// Subscriptions that fell out of the window, since the start.
    pub(crate) expired: AtomicU64,
    /// A dispatch waits in an executor's queue.
    queued: AtomicBool,
}

impl Collection {
    fn new(floor: Revision) -> Self {
        Self {
            window: ArcSwap::from_pointee(Window::new(floor)),
            dispatch: Mutex::default(),
            dispatched: AtomicU64::new(0),
            watchers: AtomicUsize::new(0),
            expired: AtomicU64::new(0),
            queued: AtomicBool::new(false),
        }
    }

    pub(crate) fn window(&self) -> Arc<Window> {
        self.window.load_full()
    }

    pub(crate) fn dispatch(&self) -> MutexGuard<'_, Dispatch> {
        self.dispatch.lock()
    }
}

/// Callers waiting for a revision, by revision: a publication touches those it satisfies.
#[derive(Default)]
struct Waiters {
    waiting: Mutex<BTreeMap<u64, Vec<oneshot::Sender<()>>>>,
    count: AtomicUsize,
}

impl Waiters {
    /// `None` if it is there already.
    fn join(&self, revision: Revision, published: &AtomicU64) -> Option<Waiting<'_>> {
        if published.load(Ordering::SeqCst) >= revision.0 {
            return None;
        }
        let mut waiting = self.waiting.lock();
        self.count.fetch_add(1, Ordering::SeqCst);
        // Looked at again after counting ourselves: a publication sees the count, or we see the publication.
        if published.load(Ordering::SeqCst) >= revision.0 {
            self.count.fetch_sub(1, Ordering::SeqCst);
            return None;
        }
        let (sender, told) = oneshot::channel();
        waiting.entry(revision.0).or_default().push(sender);
        Some(Waiting { waiters: self, revision, told })
    }

    fn reached(&self, revision: Revision) {
        if self.count.load(Ordering::SeqCst) == 0 {
            return;
        }
        let mut waiting = self.waiting.lock();
        let later = waiting.split_off(&revision.next().0);
        for sender in std::mem::replace(&mut *waiting, later).into_values().flatten() {
            self.count.fetch_sub(1, Ordering::SeqCst);
            // A caller that gave up in this very moment is no longer there to be told.
            let _ = sender.send(());
        }
    }
}

/// One caller's place. Given up when dropped: revisions that never come must not collect callers that have gone.
struct Waiting<'w> {
    waiters: &'w Waiters,
    revision: Revision,
    told: oneshot::Receiver<()>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.told.close();
        let mut waiting = self.waiters.waiting.lock();
        if let Some(senders) = waiting.get_mut(&self.revision.0) {
            let before = senders.len();
            senders.retain(|sender| !sender.is_closed());
            self.waiters.count.fetch_sub(before - senders.len(), Ordering::SeqCst);
            if senders.is_empty() {
                waiting.remove(&self.revision.0);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn callers_that_give_up_leave_nothing_behind() {
        let waiters = Waiters::default();
        let published = AtomicU64::new(5);
        assert!(waiters.join(Revision(5), &published).is_none());
        let stays = waiters.join(Revision(9), &published).expect("not yet there");
        let gives_up = waiters.join(Revision(9), &published).expect("not yet there");
        let far = waiters.join(Revision(u64::MAX), &published).expect("never there");
        drop((gives_up, far));
        assert_eq!((waiters.waiting.lock().len(), waiters.count.load(Ordering::SeqCst)), (1, 1));
        waiters.reached(Revision(8));
        assert_eq!(waiters.count.load(Ordering::SeqCst), 1);
        waiters.reached(Revision(10));
        let mut stays = stays;
        assert!((&mut stays.told).await.is_ok());
        assert_eq!((waiters.waiting.lock().len(), waiters.count.load(Ordering::SeqCst)), (0, 0));
    }
}
