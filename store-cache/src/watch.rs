//! Subscriptions: events after a revision, in order, no gap, no duplicate.

use std::sync::Arc;

use compact_str::CompactString;

use crate::event::Event;
use crate::object::StoredObject;
use crate::revision::Revision;

/// One value that dispatch and indexes look up.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Facet {
    /// A label with this value.
    Label(CompactString, CompactString),
    /// A selectable field with this value (`spec.nodeName`).
    Field(&'static str, CompactString),
}

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
    pub filter: Option<Arc<dyn Fn(&StoredObject) -> bool + Send + Sync>>,
}

/// What an event is to one watcher: an object that begins to match is added, one that ceases to is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// It began to exist, or to match.
    Added,
    /// It matched before and after.
    Modified,
    /// It is gone, or ceased to match.
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

/// A watcher's place in the stream of events.
pub struct Subscription {
    _private: (),
}

impl Subscription {
    /// The next changes in order: waits for the first, then takes what is there, at most `max`. Cancel-safe.
    ///
    /// # Errors
    /// [`Expired`] when this watcher was parked for so long that the window moved past it.
    pub async fn next(&mut self, _max: usize) -> Result<Vec<Change>, Expired> {
        todo!()
    }

    /// The revision up to which everything that matches has been handed out: what a bookmark may say.
    #[must_use]
    pub fn reached(&self) -> Revision {
        todo!()
    }
}
