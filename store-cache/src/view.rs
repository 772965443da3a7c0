//! A consistent cut over all shards: what every list and point read is served from.

use std::sync::Arc;

use crate::key::ObjectKey;
use crate::object::StoredObject;
use crate::revision::Revision;

/// The whole store as of one revision. Cheap to take and to hold: shards share structure with their later states.
#[derive(Clone)]
pub struct View {
    revision: Revision,
}

impl View {
    /// The last commit this view holds.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// One object.
    #[must_use]
    pub fn get(&self, _key: &ObjectKey) -> Option<Arc<StoredObject>> {
        todo!()
    }

    /// The objects of a collection (`namespace`: of one namespace) in key order, beginning after `after`.
    pub fn scan<'v>(
        &'v self,
        _collection: &str,
        _namespace: Option<&str>,
        _after: Option<&ObjectKey>,
    ) -> Box<dyn Iterator<Item = Arc<StoredObject>> + Send + 'v> {
        todo!()
    }

    /// How many objects a collection (or one namespace of it) holds.
    #[must_use]
    pub fn count(&self, _collection: &str, _namespace: Option<&str>) -> usize {
        todo!()
    }

    /// The objects with this label pair, or field value, through the index, in key order; `None` where the pair is not
    /// indexed and a scan must do.
    #[must_use]
    pub fn indexed(&self, _collection: &str, _facet: &crate::watch::Facet) -> Option<Vec<Arc<StoredObject>>> {
        todo!()
    }
}
