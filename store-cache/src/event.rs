//! What one commit did to one object.

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use smallvec::SmallVec;

use crate::object::StoredObject;
use crate::revision::Revision;

/// One object's change in one commit. Shared by every watcher that is shown it.
#[derive(Debug)]
pub struct Event {
    /// The commit.
    pub revision: Revision,
    /// The version before it; `None` for a creation.
    pub before: Option<Arc<StoredObject>>,
    /// The version it made; for a deletion, the object's last state carrying the deletion's revision.
    pub object: Arc<StoredObject>,
    /// Whether the object is gone.
    pub deleted: bool,
    encodings: Mutex<SmallVec<[(u32, Bytes); 1]>>,
}

impl Event {
    /// An event of the commit `revision`.
    #[must_use]
    pub fn new(
        revision: Revision,
        before: Option<Arc<StoredObject>>,
        object: Arc<StoredObject>,
        deleted: bool,
    ) -> Self {
        Self { revision, before, object, deleted, encodings: Mutex::new(SmallVec::new()) }
    }

    /// The event in a wire form of the caller's numbering, made by `encode` for the first watcher that asks and the
    /// same bytes for every other.
    pub fn encoded(&self, form: u32, encode: impl FnOnce(&Self) -> Bytes) -> Bytes {
        if let Some((_, bytes)) = self.encodings.lock().iter().find(|(f, _)| *f == form) {
            return bytes.clone();
        }
        let bytes = encode(self);
        self.encodings.lock().push((form, bytes.clone()));
        bytes
    }
}
