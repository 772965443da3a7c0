//! What the store keeps of an object: its key, its revisions, its encoded body and the facets it is selected by.

use std::any::Any;
use std::fmt;
use std::sync::{Arc, Weak};

use bytes::Bytes;
use compact_str::CompactString;
use parking_lot::Mutex;

use crate::key::ObjectKey;
use crate::revision::Revision;

/// A body on its way in. The store writes the commit's revision, as decimal digits, into the bytes at
/// `revision_slot` (in JSON: between the quotes of `"resourceVersion":""`), so a body is encoded once, by its writer.
#[derive(Clone, Debug)]
pub struct NewBody {
    /// The encoded object, without its revision.
    pub bytes: Vec<u8>,
    /// Where the digits go; `None` leaves the body as it is.
    pub revision_slot: Option<usize>,
}

/// The label and field values that an object is selected by; what indexes and watch dispatch look at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facets {
    /// Labels, sorted by key.
    pub labels: Box<[(CompactString, CompactString)]>,
    /// Selectable fields other than name and namespace (which are in the key); an absent field equals the empty text.
    pub fields: Box<[(&'static str, CompactString)]>,
}

impl Facets {
    /// The value of a label.
    #[must_use]
    pub fn label(&self, key: &str) -> Option<&str> {
        let at = self.labels.binary_search_by(|(k, _)| k.as_str().cmp(key)).ok()?;
        Some(&self.labels[at].1)
    }

    /// The value of a selectable field; absent reads as empty, as field selectors see it.
    #[must_use]
    pub fn field(&self, path: &str) -> &str {
        self.fields.iter().find(|(k, _)| *k == path).map_or("", |(_, v)| v)
    }
}

/// One version of one object. Immutable and shared by every reader, watcher and loop.
pub struct StoredObject {
    /// Where it lives.
    pub key: ObjectKey,
    /// The commit that wrote this version: its `resourceVersion`. For the object inside a deletion event, the commit
    /// that deleted it.
    pub revision: Revision,
    /// The commit that created the object.
    pub created: Revision,
    /// The encoded object with its revision in place.
    pub body: Bytes,
    /// What it is selected by.
    pub facets: Facets,
    shared: Mutex<Option<Weak<dyn Any + Send + Sync>>>,
}

impl StoredObject {
    /// A version as the store, or a client of a remote server, has it.
    #[must_use]
    pub fn new(key: ObjectKey, revision: Revision, created: Revision, body: Bytes, facets: Facets) -> Self {
        Self { key, revision, created, body, facets, shared: Mutex::new(None) }
    }

    /// The decoded form, made by `decode` unless somebody still holds the one made before. It is kept only as long as
    /// somebody holds it: bytes are the resting form. One decoded type at a time is remembered.
    pub fn shared<T: Send + Sync + 'static>(&self, decode: impl FnOnce(&Self) -> T) -> Arc<T> {
        if let Some(found) = self.remembered::<T>() {
            return found;
        }
        let made = Arc::new(decode(self));
        let erased: Arc<dyn Any + Send + Sync> = made.clone();
        *self.shared.lock() = Some(Arc::downgrade(&erased));
        made
    }

    fn remembered<T: Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        let held = self.shared.lock().as_ref()?.upgrade()?;
        held.downcast::<T>().ok()
    }
}

impl fmt::Debug for StoredObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.key, self.revision)
    }
}
