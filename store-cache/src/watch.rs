//! Subscriptions: events after a revision, in order, no gap, no duplicate.
//!
//! A subscription is a cursor into its collection's window. One that wants a whole collection is only woken, and reads
//! the shared window itself. One that wants a name, a namespace or a facet is found by the dispatch index and gets the
//! events it may want into a short queue; when that overflows it is parked at its cursor, costs nothing, and catches
//! up from the window when its reader comes back. Only falling out of the window ends a subscription.

pub(crate) mod dispatch;
pub(crate) mod lag;

use std::fmt;
use std::future::poll_fn;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use compact_str::CompactString;

use crate::cache::{Cache, Collection};
use crate::event::Event;
use crate::key::ObjectKey;
use crate::object::{Facets, StoredObject};
use crate::revision::Revision;
use dispatch::Route;
use lag::{Mailbox, Taken};

/// One value that dispatch and indexes look up.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Facet {
    /// A label with this value.
    Label(CompactString, CompactString),
    /// A selectable field with this value (`spec.nodeName`).
    Field(&'static str, CompactString),
}

impl Facet {
    /// Whether an object with these facets has this value.
    #[must_use]
    pub fn holds_of(&self, facets: &Facets) -> bool {
        match self {
            Self::Label(key, value) => facets.label(key) == Some(value),
            Self::Field(path, value) => facets.field(path) == value,
        }
    }

    pub(crate) fn hash(&self) -> u64 {
        match self {
            Self::Label(key, value) => hash_label(key, value),
            Self::Field(path, value) => hash_field(path, value),
        }
    }
}

/// The hash by which indexes and dispatch know a label pair. Stable, so that checkpoints may hold it.
pub(crate) fn hash_label(key: &str, value: &str) -> u64 {
    hash_parts(b'l', key, value)
}

/// The same for a field value.
pub(crate) fn hash_field(path: &str, value: &str) -> u64 {
    hash_parts(b'f', path, value)
}

pub(crate) fn hash_parts(kind: u8, first: &str, second: &str) -> u64 {
    let mut hasher = ahash::RandomState::with_seeds(1, 2, 3, 4).build_hasher();
    hasher.write_u8(kind);
    hasher.write_usize(first.len());
    hasher.write(first.as_bytes());
    hasher.write(second.as_bytes());
    hasher.finish()
}

/// A pure question about one version of an object.
pub type Filter = Arc<dyn Fn(&StoredObject) -> bool + Send + Sync>;

/// Which events a watcher is woken for. All parts must match; `filter` decides what the indexed parts cannot.
#[derive(Clone, Default)]
pub struct Interest {
    /// The collection.
    pub collection: CompactString,
    /// Only this namespace.
    pub namespace: Option<CompactString>,
    /// Only this name.
    pub name: Option<CompactString>,
    /// Only objects with this facet: the one the dispatch index finds the watcher by.
    pub facet: Option<Facet>,
    /// The rest of the selector. Must be pure.
    pub filter: Option<Filter>,
}

impl Interest {
    /// Everything in a collection.
    #[must_use]
    pub fn all(collection: &str) -> Self {
        Self { collection: collection.into(), ..Self::default() }
    }

    /// Whether an object is wanted.
    #[must_use]
    pub fn matches(&self, object: &StoredObject) -> bool {
        self.wants_key(&object.key) && self.wants_state(object)
    }

    fn wants_key(&self, key: &ObjectKey) -> bool {
        self.namespace.as_ref().is_none_or(|namespace| namespace == key.namespace())
            && self.name.as_ref().is_none_or(|name| name == key.name())
    }

    fn wants_state(&self, object: &StoredObject) -> bool {
        self.facet.as_ref().is_none_or(|facet| facet.holds_of(&object.facets))
            && self.filter.as_ref().is_none_or(|filter| filter(object))
    }

    /// What an event is to this watcher; `None` if nothing.
    #[must_use]
    pub fn change(&self, event: &Event) -> Option<ChangeKind> {
        if !self.wants_key(&event.object.key) {
            return None;
        }
        let before = event.before.as_ref().is_some_and(|before| self.wants_state(before));
        let after = !event.deleted && self.wants_state(&event.object);
        match (before, after) {
            (false, true) => Some(ChangeKind::Added),
            (true, true) => Some(ChangeKind::Modified),
            (true, false) => Some(ChangeKind::Deleted),
            (false, false) => None,
        }
    }
}

impl fmt::Debug for Interest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Interest")
            .field("collection", &self.collection)
            .field("namespace", &self.namespace)
            .field("name", &self.name)
            .field("facet", &self.facet)
            .field("filtered", &self.filter.is_some())
            .finish()
    }
}

/// What an event is to one watcher: an object that begins to match is added, one that ceases to is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// It began to exist, or to match.
    Added,
    /// It matched before and after.
    Modified,
    /// It is gone, or ceased to match: then [`Event::departed`] is what the watcher is shown.
    Deleted,
}

/// One event as one watcher sees it.
#[derive(Clone, Debug)]
pub struct Change {
    /// What it is to this watcher.
    pub kind: ChangeKind,
    /// The event, shared with all other watchers.
    pub event: Arc<Event>,
}

/// The revision asked for is older than what the window still holds, or the watcher fell out of it: list again.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("too old resource version: {asked} ({oldest})")]
pub struct Expired {
    /// The revision asked for, or reached.
    pub asked: Revision,
    /// The oldest a watch may begin after.
    pub oldest: Revision,
}

/// Events looked at in one poll before the task lets others run.
const SCAN_MAX: usize = 1024;

/// A watcher's place in the stream of events.
pub struct Subscription {
    cache: Arc<Cache>,
    collection: Arc<Collection>,
    interest: Interest,
    route: Route,
    mailbox: Arc<Mailbox>,
    /// Sequence number of the next event to look at.
    cursor: u64,
    /// Events up to here were seen by whoever asked.
    after: Revision,
}

impl Subscription {
    pub(crate) fn open(cache: Arc<Cache>, interest: Interest, after: Revision) -> Result<Self, Expired> {
        let collection = cache.collection(&interest.collection);
        let window = collection.window();
        if after < window.floor() {
            return Err(Expired { asked: after, oldest: window.floor() });
        }
        let cursor = window.seq_after(after);
        let route = Route::of(&interest);
        // Parked at its cursor: the first reads come from the window, whatever happened meanwhile.
        let mailbox = Arc::new(Mailbox::parked_at(cursor));
        {
            let mut dispatch = collection.dispatch();
            if collection.watchers.fetch_add(1, Ordering::SeqCst) == 0 {
                // Nobody listened until now, so nothing was handed out; what is published is read from the window.
                dispatch.skip_to(collection.window().seq_after(cache.published()));
            }
            dispatch.register(&route, &mailbox);
        }
        Ok(Self { cache, collection, interest, route, mailbox, cursor, after })
    }

    /// The next changes in order: waits for the first, then takes what is there, at most `max`. Cancel-safe.
    ///
    /// # Errors
    /// [`Expired`] when this watcher was parked for so long that the window moved past it.
    pub async fn next(&mut self, max: usize) -> Result<Vec<Change>, Expired> {
        poll_fn(|cx| self.poll_next(cx, max.max(1))).await
    }

    /// The revision up to which everything that matches has been handed out: what a bookmark may say.
    #[must_use]
    pub fn reached(&self) -> Revision {
        // In this order: whatever is published now was dispatched before `dispatched` says so, and queued before that.
        let published = self.cache.published();
        let dispatched = self.collection.dispatched.load(Ordering::Acquire);
        let next_seq = match self.mailbox.waiting() {
            lag::Waiting::Parked => self.cursor,
            lag::Waiting::Event(revision) => return self.after.max(Revision(revision.0.saturating_sub(1))),
            lag::Waiting::Nothing => dispatched.max(self.cursor),
        };
        let window = self.collection.window();
        if next_seq < window.first() {
            // Fallen behind; `next` will say so. Nothing more can be promised than what was asked at first.
            return self.after;
        }
        match window.at(next_seq) {
            Some(event) if event.revision <= published => self.after.max(Revision(event.revision.0 - 1)),
            _ => self.after.max(published),
        }
    }

    fn poll_next(&mut self, cx: &mut Context<'_>, max: usize) -> Poll<Result<Vec<Change>, Expired>> {
        self.mailbox.listen(cx.waker());
        let mut looked_at = 0;
        let mut changes = Vec::new();
        loop {
            match self.take(max, &mut changes, &mut looked_at) {
                Err(expired) => return Poll::Ready(Err(expired)),
                Ok(_) if !changes.is_empty() => return Poll::Ready(Ok(changes)),
                Ok(Progress::More) if looked_at < SCAN_MAX => {}
                Ok(Progress::More) => {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Ok(Progress::End) => return Poll::Pending,
            }
        }
    }

    fn take(&mut self, max: usize, changes: &mut Vec<Change>, looked_at: &mut usize) -> Result<Progress, Expired> {
        match self.mailbox.take(max) {
            Taken::Events(events) => {
                let more = !events.is_empty();
                for (seq, event) in events {
                    *looked_at += 1;
                    if seq >= self.cursor {
                        self.consider(&event, changes);
                        self.cursor = seq + 1;
                    }
                }
                Ok(if more { Progress::More } else { Progress::End })
            }
            Taken::Parked(at) => {
                self.cursor = self.cursor.max(at);
                self.read_window(max, changes, looked_at)
            }
        }
    }

    /// Reads on from the cursor; at the end of the window, asks to be dispatched to again.
    fn read_window(
        &mut self,
        max: usize,
        changes: &mut Vec<Change>,
        looked_at: &mut usize,
    ) -> Result<Progress, Expired> {
        let published = self.cache.published();
        let window = self.collection.window();
        if self.cursor < window.first() {
            if window.floor() > self.after {
                self.collection.expired.fetch_add(1, Ordering::Relaxed);
                return Err(Expired { asked: self.reached(), oldest: window.floor() });
            }
            self.cursor = window.first();
        }
        for (seq, event) in window.from(self.cursor) {
            if event.revision > published {
                break;
            }
            if changes.len() == max || *looked_at == SCAN_MAX {
                return Ok(Progress::More);
            }
            *looked_at += 1;
            self.cursor = seq + 1;
            self.consider(event, changes);
        }
        if self.route.is_broad() || !changes.is_empty() {
            return Ok(Progress::End);
        }
        // Under the dispatch lock nothing is being handed out: either all that was is behind the cursor, and what
        // follows will come by queue, or there is more to read here first.
        let dispatch = self.collection.dispatch();
        if dispatch.next_seq() <= self.cursor {
            self.mailbox.unpark();
            return Ok(Progress::End);
        }
        Ok(Progress::More)
    }

    fn consider(&self, event: &Arc<Event>, changes: &mut Vec<Change>) {
        if event.revision <= self.after {
            return;
        }
        if let Some(kind) = self.interest.change(event) {
            changes.push(Change { kind, event: event.clone() });
        }
    }
}

enum Progress {
    /// Call again.
    More,
    /// Nothing more now; a wake follows when there is.
    End,
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut dispatch = self.collection.dispatch();
        dispatch.unregister(&self.route, &self.mailbox);
        self.collection.watchers.fetch_sub(1, Ordering::SeqCst);
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription").field("interest", &self.interest).field("reached", &self.reached()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ExecutorKind, StoreConfig};

    fn event(revision: u64) -> Arc<Event> {
        let (key, revision) = (ObjectKey::new("pods", "default", "a"), Revision(revision));
        let object = StoredObject::new(key, revision, revision, bytes::Bytes::new(), Facets::default());
        Arc::new(Event::new(revision, None, Arc::new(object), false))
    }

    fn heard(subscription: &mut Subscription) -> Vec<Revision> {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        match subscription.poll_next(&mut cx, 10) {
            Poll::Ready(changes) => changes.expect("in the window").iter().map(|c| c.event.revision).collect(),
            Poll::Pending => Vec::new(),
        }
    }

    #[test]
    fn a_reader_ahead_of_the_dispatcher_hears_nothing_twice() {
        let config = StoreConfig { shards: 1, executors: ExecutorKind::Inline, ..StoreConfig::default() };
        let cache = Arc::new(Cache::new(&config, &[]));
        let interest = Interest { name: Some("a".into()), ..Interest::all("pods") };
        let mut subscription = Subscription::open(cache.clone(), interest, Revision(0)).expect("in the window");
        let not_yet_dispatched = cache.apply(&[event(1)], Revision(1));
        assert_eq!(heard(&mut subscription), [Revision(1)], "read from the window");
        assert_eq!(heard(&mut subscription), []);
        assert_eq!(subscription.reached(), Revision(1));
        cache.notify(not_yet_dispatched);
        assert_eq!(heard(&mut subscription), [], "the dispatcher's copy is passed over");
        let next = cache.apply(&[event(2)], Revision(2));
        assert_eq!(
            (heard(&mut subscription), subscription.reached()),
            (vec![], Revision(1)),
            "it waits for dispatch now"
        );
        cache.notify(next);
        assert_eq!((heard(&mut subscription), subscription.reached()), (vec![Revision(2)], Revision(2)));
    }
}
