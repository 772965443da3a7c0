//! The latest objects of one slice of the key space, with the slice's indexes, counters and rows.
//!
//! A [`Shard`] is the writable side: one owner at a time (see `cache`). A [`ShardState`] is what a view holds: every
//! structure in it is persistent, so publishing costs the path that changed and a reader's copy costs one reference.
//! Objects are ordered by key within their collection; the key is the object's own, so an entry is one pointer.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::hash::{BuildHasher, Hasher};
use std::ops::Bound;
use std::sync::Arc;

use compact_str::CompactString;
use imbl::{OrdMap, OrdSet};

use super::index::{FacetIndex, IndexRules};
use super::rows::RowTable;
use crate::event::Event;
use crate::key::ObjectKey;
use crate::object::StoredObject;
use crate::projection::Projection;
use crate::snapshot::{ChunkImage, Rows};
use crate::watch::Facet;

/// Which of `shards` slices a key belongs to. The same in every process, so that a checkpoint can be taken up.
pub(crate) fn shard_of(key: &ObjectKey, shards: usize) -> usize {
    if shards == 1 {
        return 0;
    }
    let mut hasher = ahash::RandomState::with_seeds(0x67, 0x61, 0x6e, 0x74).build_hasher();
    hasher.write(key.as_str().as_bytes());
    (hasher.finish() % shards as u64) as usize
}

/// An object ordered by its key.
#[derive(Clone)]
pub(crate) struct Entry(pub(crate) Arc<StoredObject>);

impl Borrow<str> for Entry {
    fn borrow(&self) -> &str {
        self.0.key.as_str()
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.key.as_str().cmp(other.0.key.as_str())
    }
}

/// One collection's part of a slice.
#[derive(Clone, Default)]
struct Slice {
    objects: OrdSet<Entry>,
    per_namespace: OrdMap<CompactString, usize>,
    index: FacetIndex,
}

impl Slice {
    fn put(&mut self, object: &Arc<StoredObject>, rules: &IndexRules) {
        let before = self.objects.insert(Entry(object.clone()));
        self.index.replace(rules, before.as_ref().map(|entry| &*entry.0), Some(object));
        if before.is_none() {
            *self.per_namespace.entry(object.key.namespace().into()).or_insert(0) += 1;
        }
    }

    /// Many objects that are not there yet, best in key order.
    fn load(&mut self, objects: &[Arc<StoredObject>], rules: &IndexRules) {
        for same in objects.chunk_by(|a, b| a.key.namespace() == b.key.namespace()) {
            *self.per_namespace.entry(same[0].key.namespace().into()).or_insert(0) += same.len();
        }
        self.objects.extend(objects.iter().cloned().map(Entry));
        self.index.load(rules, objects);
    }

    fn remove(&mut self, key: &ObjectKey, rules: &IndexRules) {
        let Some(before) = self.objects.remove(key.as_str()) else { return };
        self.index.replace(rules, Some(&before.0), None);
        if let Some(count) = self.per_namespace.get_mut(key.namespace()) {
            *count -= 1;
            if *count == 0 {
                self.per_namespace.remove(key.namespace());
            }
        }
    }
}

/// What a view holds of one slice of the key space.
#[derive(Clone, Default)]
pub(crate) struct ShardState {
    /// Sorted by name; a store has dozens of collections, so a binary search over a dense vector is the fastest map.
    collections: Vec<(CompactString, Arc<Slice>)>,
    rows: Vec<(&'static str, Rows)>,
    rules: Arc<IndexRules>,
}

impl ShardState {
    fn slice(&self, collection: &str) -> Option<&Slice> {
        let at = self.collections.binary_search_by(|(name, _)| name.as_str().cmp(collection)).ok()?;
        Some(&self.collections[at].1)
    }

    fn slice_mut(&mut self, collection: &str) -> &mut Slice {
        let at = match self.collections.binary_search_by(|(name, _)| name.as_str().cmp(collection)) {
            Ok(at) => at,
            Err(at) => {
                self.collections.insert(at, (collection.into(), Arc::default()));
                at
            }
        };
        Arc::make_mut(&mut self.collections[at].1)
    }

    pub(crate) fn get(&self, key: &ObjectKey) -> Option<&Arc<StoredObject>> {
        self.slice(key.collection())?.objects.get(key.as_str()).map(|entry| &entry.0)
    }

    pub(crate) fn range(&self, collection: &str, namespace: Option<&str>, after: Option<&ObjectKey>) -> ShardRange<'_> {
        let Some(slice) = self.slice(collection) else { return ShardRange(None) };
        // `0` is the character after `/`: the least text that sorts behind everything with the prefix.
        let (first, last) = match namespace {
            Some(namespace) => (format!("{collection}/{namespace}/"), format!("{collection}/{namespace}0")),
            None => (format!("{collection}/"), format!("{collection}0")),
        };
        let lower = match after.map(ObjectKey::as_str) {
            Some(after) if after >= last.as_str() => return ShardRange(None),
            Some(after) if after >= first.as_str() => Bound::Excluded(after),
            _ => Bound::Included(first.as_str()),
        };
        ShardRange(Some(slice.objects.range::<_, str>((lower, Bound::Excluded(last.as_str())))))
    }

    pub(crate) fn count(&self, collection: &str, namespace: Option<&str>) -> usize {
        let Some(slice) = self.slice(collection) else { return 0 };
        match namespace {
            Some(namespace) => slice.per_namespace.get(namespace).copied().unwrap_or(0),
            None => slice.objects.len(),
        }
    }

    pub(crate) fn indexed(&self, collection: &str, facet: &Facet, found: &mut Vec<Arc<StoredObject>>) -> Option<()> {
        if !self.rules.covers(collection, facet) {
            return None;
        }
        let Some(slice) = self.slice(collection) else { return Some(()) };
        for key in slice.index.keys(facet)? {
            let Some(entry) = slice.objects.get(key.as_str()) else { continue };
            // Two pairs may share a hash; the object decides.
            if facet.holds_of(&entry.0.facets) {
                found.push(entry.0.clone());
            }
        }
        Some(())
    }

    pub(crate) fn collections(&self) -> impl Iterator<Item = &str> {
        self.collections.iter().filter(|(_, slice)| !slice.objects.is_empty()).map(|(name, _)| name.as_str())
    }

    pub(crate) fn rows(&self, projection: &str) -> Option<Rows> {
        self.rows.iter().find(|(name, _)| *name == projection).map(|(_, rows)| rows.clone())
    }

    /// Takes one event back: how a past view is made, newest event first. Past views have no rows.
    pub(crate) fn undo(&mut self, event: &Event) {
        self.rows.clear();
        let rules = self.rules.clone();
        let slice = self.slice_mut(event.object.key.collection());
        match &event.before {
            Some(before) => slice.put(before, &rules),
            None => slice.remove(&event.object.key, &rules),
        }
    }
}

/// The objects of one shard between two keys.
pub(crate) struct ShardRange<'v>(Option<imbl::ordset::RangedIter<'v, Entry, imbl::shared_ptr::DefaultSharedPtr>>);

impl<'v> Iterator for ShardRange<'v> {
    type Item = &'v Arc<StoredObject>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.as_mut()?.next().map(|entry| &entry.0)
    }
}

/// The writable side of one slice.
pub(crate) struct Shard {
    state: Arc<ShardState>,
    tables: Vec<RowTable>,
}

impl Shard {
    pub(crate) fn new(rules: Arc<IndexRules>, projections: &[Arc<dyn Projection>]) -> Self {
        let tables: Vec<RowTable> = projections.iter().map(|p| RowTable::new(p.clone())).collect();
        let rows = tables.iter().map(|table| (table.name(), Rows::default())).collect();
        Self { state: Arc::new(ShardState { collections: Vec::new(), rows, rules }), tables }
    }

    pub(crate) fn state(&self) -> Arc<ShardState> {
        self.state.clone()
    }

    /// Takes in one batch's events of this slice, in order, and gives the state to publish.
    pub(crate) fn apply(&mut self, events: &[Arc<Event>]) -> Arc<ShardState> {
        let state = Arc::make_mut(&mut self.state);
        let rules = state.rules.clone();
        for event in events {
            let slice = state.slice_mut(event.object.key.collection());
            if event.deleted {
                slice.remove(&event.object.key, &rules);
            } else {
                slice.put(&event.object, &rules);
            }
        }
        if let Some(last) = events.last() {
            for (table, (_, rows)) in self.tables.iter_mut().zip(&mut state.rows) {
                table.apply(events, last.revision, rows);
            }
        }
        self.state.clone()
    }

    /// Takes in what an engine held when the store was opened, and what rows `checkpoint` has of it.
    pub(crate) fn load(
        &mut self,
        objects: &[Arc<StoredObject>],
        checkpoint: impl Fn(&'static str) -> Option<Vec<ChunkImage>>,
    ) {
        let state = Arc::make_mut(&mut self.state);
        let rules = state.rules.clone();
        for same in objects.chunk_by(|a, b| a.key.collection() == b.key.collection()) {
            state.slice_mut(same[0].key.collection()).load(same, &rules);
        }
        let mut rows = std::mem::take(&mut state.rows);
        for (table, (name, rows)) in self.tables.iter_mut().zip(&mut rows) {
            if let Some(chunks) = checkpoint(name) {
                table.adopt(chunks, |key| state.get(key).cloned(), rows);
            }
            let missing: Vec<_> = objects.iter().filter(|object| !table.knows(&object.key)).collect();
            table.load(missing.into_iter(), rows);
        }
        state.rows = rows;
    }
}
