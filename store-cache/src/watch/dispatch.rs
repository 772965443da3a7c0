//! From an event to the watchers that may want it, at a cost that follows them and not all watchers.
//!
//! Every watcher of a collection is filed under the most selective thing it names: its name, its facet, its namespace;
//! one that names nothing is filed as broad and only woken. Whether a watcher really wants an event (the rest of its
//! selector) is decided by its reader, on the reader's thread.

use std::sync::Arc;

use compact_str::CompactString;
use hashbrown::HashMap;
use smallvec::SmallVec;

use super::lag::{Mailbox, Offered};
use super::{Facet, Interest, hash_field, hash_label, hash_parts};
use crate::cache::window::Window;
use crate::event::Event;
use crate::object::Facets;
use crate::revision::Revision;

/// Where a watcher is filed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    Broad,
    Namespace(u64),
    Name(u64),
    NamespacedName(u64),
    Label(CompactString, u64),
    Field(&'static str, u64),
}

impl Route {
    pub(crate) fn of(interest: &Interest) -> Self {
        match (&interest.name, &interest.namespace, &interest.facet) {
            (Some(name), Some(namespace), _) => Self::NamespacedName(hash_parts(b'b', namespace, name)),
            (Some(name), None, _) => Self::Name(hash_parts(b'n', "", name)),
            (None, _, Some(Facet::Label(key, value))) => Self::Label(key.clone(), hash_label(key, value)),
            (None, _, Some(Facet::Field(path, value))) => Self::Field(path, hash_field(path, value)),
            (None, Some(namespace), None) => Self::Namespace(hash_parts(b's', "", namespace)),
            (None, None, None) => Self::Broad,
        }
    }

    pub(crate) fn is_broad(&self) -> bool {
        *self == Self::Broad
    }

    fn hash(&self) -> u64 {
        match self {
            Self::Broad => 0,
            Self::Namespace(hash) | Self::Name(hash) | Self::NamespacedName(hash) => *hash,
            Self::Label(_, hash) | Self::Field(_, hash) => *hash,
        }
    }
}

/// The watchers of one collection. Guarded by the collection's dispatch lock, which comes before any mailbox's.
#[derive(Default)]
pub(crate) struct Dispatch {
    /// The next event to hand out.
    next_seq: u64,
    broad: Vec<Arc<Mailbox>>,
    filed: HashMap<u64, SmallVec<[Arc<Mailbox>; 1]>, ahash::RandomState>,
    /// How many watchers are filed in each way; what nobody asks for is not hashed.
    namespaces: usize,
    names: usize,
    namespaced_names: usize,
    labels: Vec<(CompactString, usize)>,
    fields: Vec<(&'static str, usize)>,
    /// Watchers to wake when the batch is through; kept for its allocation.
    to_wake: Vec<Arc<Mailbox>>,
}

impl Dispatch {
    pub(crate) fn next_seq(&self) -> u64 {
        self.next_seq
    }

    /// Passes over events that no watcher is there for.
    pub(crate) fn skip_to(&mut self, seq: u64) {
        self.next_seq = self.next_seq.max(seq);
    }

    pub(crate) fn register(&mut self, route: &Route, mailbox: &Arc<Mailbox>) {
        if route.is_broad() {
            self.broad.push(mailbox.clone());
            return;
        }
        self.count(route, 1);
        self.filed.entry(route.hash()).or_default().push(mailbox.clone());
    }

    pub(crate) fn unregister(&mut self, route: &Route, mailbox: &Arc<Mailbox>) {
        if route.is_broad() {
            if let Some(at) = self.broad.iter().position(|other| Arc::ptr_eq(other, mailbox)) {
                self.broad.swap_remove(at);
            }
            return;
        }
        self.count(route, -1);
        if let Some(filed) = self.filed.get_mut(&route.hash()) {
            filed.retain(|other| !Arc::ptr_eq(other, mailbox));
            if filed.is_empty() {
                self.filed.remove(&route.hash());
            }
        }
    }

    fn count(&mut self, route: &Route, change: isize) {
        fn adjust<K: PartialEq + Clone>(counts: &mut Vec<(K, usize)>, key: &K, change: isize) {
            match counts.iter().position(|(other, _)| other == key) {
                Some(at) => {
                    counts[at].1 = counts[at].1.saturating_add_signed(change);
                    if counts[at].1 == 0 {
                        counts.swap_remove(at);
                    }
                }
                None => counts.push((key.clone(), 1)),
            }
        }
        match route {
            Route::Broad => {}
            Route::Namespace(_) => self.namespaces = self.namespaces.saturating_add_signed(change),
            Route::Name(_) => self.names = self.names.saturating_add_signed(change),
            Route::NamespacedName(_) => self.namespaced_names = self.namespaced_names.saturating_add_signed(change),
            Route::Label(key, _) => adjust(&mut self.labels, key, change),
            Route::Field(path, _) => adjust(&mut self.fields, path, change),
        }
    }

    /// Hands out the events from where the last call stopped up to `published`, then wakes each watcher once.
    pub(crate) fn run(&mut self, window: &Window, published: Revision, queue_max: usize) {
        if self.next_seq < window.first() {
            // The window moved on before its events were handed out: whoever waited for them must read it.
            for mailbox in self.filed.values().flatten() {
                mailbox.park(self.next_seq);
                self.to_wake.push(mailbox.clone());
            }
            self.next_seq = window.first();
        }
        let mut handed_out = !self.to_wake.is_empty();
        for (seq, event) in window.from(self.next_seq) {
            if event.revision > published {
                break;
            }
            handed_out = true;
            self.next_seq = seq + 1;
            if !self.filed.is_empty() {
                self.offer(seq, event, queue_max);
            }
        }
        if !handed_out {
            return;
        }
        for mailbox in self.to_wake.drain(..) {
            mailbox.wake_after_batch();
        }
        for mailbox in &self.broad {
            mailbox.wake();
        }
    }

    fn offer(&mut self, seq: u64, event: &Arc<Event>, queue_max: usize) {
        let key = &event.object.key;
        let mut hashes: SmallVec<[u64; 16]> = SmallVec::new();
        if self.namespaces > 0 {
            hashes.push(hash_parts(b's', "", key.namespace()));
        }
        if self.names > 0 {
            hashes.push(hash_parts(b'n', "", key.name()));
        }
        if self.namespaced_names > 0 {
            hashes.push(hash_parts(b'b', key.namespace(), key.name()));
        }
        self.facet_hashes(&event.object.facets, &mut hashes);
        if let Some(before) = &event.before {
            self.facet_hashes(&before.facets, &mut hashes);
        }
        for hash in hashes {
            for mailbox in self.filed.get(&hash).into_iter().flatten() {
                if mailbox.offer(seq, event, queue_max) == Offered::WakeLater {
                    self.to_wake.push(mailbox.clone());
                }
            }
        }
    }

    fn facet_hashes(&self, facets: &Facets, hashes: &mut SmallVec<[u64; 16]>) {
        let watched_fields = self.fields.iter().map(|(path, _)| hash_field(path, facets.field(path)));
        let watched_labels = self.labels.iter().filter_map(|(key, _)| Some(hash_label(key, facets.label(key)?)));
        for hash in watched_fields.chain(watched_labels) {
            if !hashes.contains(&hash) {
                hashes.push(hash);
            }
        }
    }
}
