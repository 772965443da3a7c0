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

/// About what an event, its version's header and its keys take beside the bodies.
const EVENT_OVERHEAD_BYTES: usize = 320;

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

    /// What a watcher is shown whose selector the object ceased to match: the version before, under this commit's
    /// revision, as upstream shows it. For a deletion, the last state.
    #[must_use]
    pub fn departed(&self) -> Arc<StoredObject> {
        match &self.before {
            Some(before) if !self.deleted => Arc::new(before.restamped(self.revision)),
            _ => self.object.clone(),
        }
    }

    /// Bytes that the window keeps alive by holding this event.
    pub(crate) fn retained_bytes(&self) -> usize {
        let before = self.before.as_ref().map_or(0, |before| before.body.len());
        let last = if self.deleted { self.object.body.len() } else { 0 };
        EVENT_OVERHEAD_BYTES + before + last
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
