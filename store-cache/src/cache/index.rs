//! From a label pair or a field value to the keys of the objects that have it, within one shard's collection.
//!
//! The index holds keys, not objects: a write that changes no indexed value (most status updates) leaves it alone.
//! One ordered set of (hash of the pair, key) serves all pairs; readers check the object itself, so a hash collision
//! costs a look and nothing else.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::ops::Bound;
use std::sync::Arc;

use compact_str::CompactString;
use imbl::OrdSet;
use smallvec::SmallVec;

use crate::key::ObjectKey;
use crate::object::{Facets, StoredObject};
use crate::watch::{Facet, hash_field, hash_label};

/// What is indexed; part of the configuration.
#[derive(Debug, Default)]
pub(crate) struct IndexRules {
    /// Sorted by collection.
    pub(crate) fields: Vec<(CompactString, Vec<&'static str>)>,
    pub(crate) labels_max: usize,
}

impl IndexRules {
    fn fields_of(&self, collection: &str) -> &[&'static str] {
        match self.fields.binary_search_by(|(name, _)| name.as_str().cmp(collection)) {
            Ok(at) => &self.fields[at].1,
            Err(_) => &[],
        }
    }

    /// Whether lookups of this pair may go through the index at all.
    pub(crate) fn covers(&self, collection: &str, facet: &Facet) -> bool {
        match facet {
            Facet::Label(..) => self.labels_max > 0,
            Facet::Field(path, _) => self.fields_of(collection).contains(path),
        }
    }

    fn hashes(&self, object: &StoredObject) -> SmallVec<[u64; 8]> {
        let fields = self.fields_of(object.key.collection());
        let mut hashes: SmallVec<[u64; 8]> =
            fields.iter().map(|path| hash_field(path, object.facets.field(path))).collect();
        if self.indexes_labels_of(&object.facets) {
            hashes.extend(object.facets.labels.iter().map(|(key, value)| hash_label(key, value)));
        }
        hashes
    }

    fn indexes_labels_of(&self, facets: &Facets) -> bool {
        facets.labels.len() <= self.labels_max
    }
}

/// The pairs of one shard's part of one collection.
#[derive(Clone, Default)]
pub(crate) struct FacetIndex {
    pairs: OrdSet<Pair>,
    /// Objects with more labels than are indexed; while there is one, label lookups are refused.
    beyond_bound: usize,
}

impl FacetIndex {
    /// Follows one object's change from `before` to `after`.
    pub(crate) fn replace(&mut self, rules: &IndexRules, before: Option<&StoredObject>, after: Option<&StoredObject>) {
        if let (Some(before), Some(after)) = (before, after)
            && before.facets == after.facets
        {
            return;
        }
        let beyond = |object: Option<&StoredObject>| object.is_some_and(|o| !rules.indexes_labels_of(&o.facets));
        self.beyond_bound += usize::from(beyond(after));
        self.beyond_bound -= usize::from(beyond(before));
        let old = before.map(|object| rules.hashes(object)).unwrap_or_default();
        let new = after.map(|object| rules.hashes(object)).unwrap_or_default();
        if let Some(before) = before {
            for hash in old.iter().filter(|hash| !new.contains(hash)) {
                self.pairs.remove(&(*hash, before.key.as_str()) as &dyn PairKey);
            }
        }
        if let Some(after) = after {
            for hash in new.iter().filter(|hash| !old.contains(hash)) {
                self.pairs.insert(Pair { hash: *hash, key: after.key.clone() });
            }
        }
    }

    /// Adds many objects at once: sorted first, so that neighbours are inserted one after the other.
    pub(crate) fn load(&mut self, rules: &IndexRules, objects: &[Arc<StoredObject>]) {
        let mut pairs = Vec::with_capacity(objects.len() * 2);
        for object in objects {
            self.beyond_bound += usize::from(!rules.indexes_labels_of(&object.facets));
            pairs.extend(rules.hashes(object).into_iter().map(|hash| Pair { hash, key: object.key.clone() }));
        }
        pairs.sort_unstable();
        self.pairs.extend(pairs);
    }

    /// The keys under a pair, in order, with those of colliding pairs; `None` if the index does not hold every object.
    pub(crate) fn keys(&self, facet: &Facet) -> Option<impl Iterator<Item = &ObjectKey>> {
        if matches!(facet, Facet::Label(..)) && self.beyond_bound > 0 {
            return None;
        }
        let hash = facet.hash();
        let first: (u64, &str) = (hash, "");
        let range = self.pairs.range::<_, dyn PairKey>((Bound::Included(&first as &dyn PairKey), Bound::Unbounded));
        Some(range.take_while(move |pair| pair.hash == hash).map(|pair| &pair.key))
    }
}

#[derive(Clone)]
struct Pair {
    hash: u64,
    key: ObjectKey,
}

/// A pair as it is looked up: borrowed, so that no key is cloned for a search.
trait PairKey {
    fn parts(&self) -> (u64, &str);
}

impl PairKey for Pair {
    fn parts(&self) -> (u64, &str) {
        (self.hash, self.key.as_str())
    }
}

impl PairKey for (u64, &str) {
    fn parts(&self) -> (u64, &str) {
        (self.0, self.1)
    }
}

impl<'p> Borrow<dyn PairKey + 'p> for Pair {
    fn borrow(&self) -> &(dyn PairKey + 'p) {
        self
    }
}

impl PartialEq for dyn PairKey + '_ {
    fn eq(&self, other: &Self) -> bool {
        self.parts() == other.parts()
    }
}

impl Eq for dyn PairKey + '_ {}

impl PartialOrd for dyn PairKey + '_ {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for dyn PairKey + '_ {
    fn cmp(&self, other: &Self) -> Ordering {
        self.parts().cmp(&other.parts())
    }
}

impl PartialEq for Pair {
    fn eq(&self, other: &Self) -> bool {
        self.parts() == other.parts()
    }
}

impl Eq for Pair {}

impl PartialOrd for Pair {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Pair {
    fn cmp(&self, other: &Self) -> Ordering {
        self.parts().cmp(&other.parts())
    }
}
