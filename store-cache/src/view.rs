//! A consistent cut over all shards: what every list and point read is served from.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::fmt;
use std::sync::Arc;

use crate::cache::shard::{ShardRange, ShardState, shard_of};
use crate::key::ObjectKey;
use crate::object::StoredObject;
use crate::revision::Revision;
use crate::snapshot::Snapshot;
use crate::watch::Facet;

/// The whole store as of one revision. Cheap to take and to hold: shards share structure with their later states.
#[derive(Clone)]
pub struct View {
    revision: Revision,
    shards: Box<[Arc<ShardState>]>,
}

impl View {
    pub(crate) fn new(revision: Revision, shards: Box<[Arc<ShardState>]>) -> Self {
        Self { revision, shards }
    }

    pub(crate) fn shards(&self) -> &[Arc<ShardState>] {
        &self.shards
    }

    /// The last commit this view holds.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// One object.
    #[must_use]
    pub fn get(&self, key: &ObjectKey) -> Option<Arc<StoredObject>> {
        self.shards[shard_of(key, self.shards.len())].get(key).cloned()
    }

    /// The objects of a collection (`namespace`: of one namespace) in key order, beginning after `after`. Costs what
    /// it yields: each shard is entered at the first key wanted and left at the last.
    #[must_use]
    pub fn scan<'v>(&'v self, collection: &str, namespace: Option<&str>, after: Option<&ObjectKey>) -> Scan<'v> {
        let mut heads = BinaryHeap::with_capacity(self.shards.len());
        for shard in &self.shards {
            let mut range = shard.range(collection, namespace, after);
            if let Some(object) = range.next() {
                heads.push(Head { object, range });
            }
        }
        Scan { heads }
    }

    /// How many objects a collection (or one namespace of it) holds, from counters.
    #[must_use]
    pub fn count(&self, collection: &str, namespace: Option<&str>) -> usize {
        self.shards.iter().map(|shard| shard.count(collection, namespace)).sum()
    }

    /// The objects with this label pair, or field value, through the index, in key order; `None` where the pair is not
    /// indexed and a scan must do.
    #[must_use]
    pub fn indexed(&self, collection: &str, facet: &Facet) -> Option<Vec<Arc<StoredObject>>> {
        let mut found = Vec::new();
        for shard in &self.shards {
            shard.indexed(collection, facet, &mut found)?;
        }
        if self.shards.len() > 1 {
            found.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        }
        Some(found)
    }

    /// The collections that hold anything, in order.
    #[must_use]
    pub fn collections(&self) -> Vec<String> {
        let mut names: Vec<String> =
            self.shards.iter().flat_map(|shard| shard.collections()).map(|name| name.to_string()).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// The rows of a projection as of this view; `None` if no projection has that name.
    #[must_use]
    pub fn rows(&self, projection: &str) -> Option<Snapshot> {
        let parts = self.shards.iter().map(|shard| shard.rows(projection)).collect::<Option<Box<[_]>>>()?;
        Some(Snapshot::new(self.revision, parts))
    }
}

impl fmt::Debug for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "View@{}", self.revision)
    }
}

/// Objects of a view in key order: a merge of what each shard holds.
pub struct Scan<'v> {
    heads: BinaryHeap<Head<'v>>,
}

impl<'v> Scan<'v> {
    /// The next object, without touching its reference count.
    pub fn next_ref(&mut self) -> Option<&'v Arc<StoredObject>> {
        let mut head = self.heads.peek_mut()?;
        match head.range.next() {
            Some(following) => Some(std::mem::replace(&mut head.object, following)),
            None => Some(PeekMut::pop(head).object),
        }
    }
}

impl Iterator for Scan<'_> {
    type Item = Arc<StoredObject>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_ref().cloned()
    }
}

/// One shard's place in a merge; ordered so that the heap's greatest is the least key.
struct Head<'v> {
    object: &'v Arc<StoredObject>,
    range: ShardRange<'v>,
}

impl PartialEq for Head<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Head<'_> {}

impl PartialOrd for Head<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Head<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        other.object.key.as_str().cmp(self.object.key.as_str())
    }
}
