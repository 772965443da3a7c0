//! What one commit did to one object.

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use rkyv::util::AlignedVec;
use smallvec::SmallVec;

use crate::object::StoredObject;
use crate::projection::Projection;
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
    encodings: Mutex<Encodings>,
}

/// What was encoded for the first watcher, for the others.
#[derive(Debug, Default)]
struct Encodings {
    made: SmallVec<[(u32, Bytes); 1]>,
    /// The event is no longer recent: nothing is kept any more.
    cold: bool,
    /// The object's row, between its making and its place in a chunk.
    row: Option<AlignedVec>,
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
        Self { revision, before, object, deleted, encodings: Mutex::default() }
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
    /// same bytes for every other, as long as the event is recent.
    pub fn encoded(&self, form: u32, encode: impl FnOnce(&Self) -> Bytes) -> Bytes {
        if let Some((_, bytes)) = self.encodings.lock().made.iter().find(|(made, _)| *made == form) {
            return bytes.clone();
        }
        let bytes = encode(self);
        let mut encodings = self.encodings.lock();
        if !encodings.cold {
            encodings.made.push((form, bytes.clone()));
        }
        bytes
    }

    /// Makes the object's row ahead of its being taken; at most one projection is told of an event.
    pub(crate) fn make_row(&self, projection: &dyn Projection) {
        self.encodings.lock().row.get_or_insert_with(|| self.row(projection));
    }

    /// The object's row, for the chunk it belongs in: made now if it has not been yet. Empty for an object that has none
    /// or is gone.
    pub(crate) fn take_row(&self, projection: &dyn Projection) -> AlignedVec {
        // Whoever is making it holds the lock until it is made.
        let made = self.encodings.lock().row.take();
        made.unwrap_or_else(|| self.row(projection))
    }

    fn row(&self, projection: &dyn Projection) -> AlignedVec {
        let mut row = AlignedVec::new();
        if !self.deleted {
            projection.project(&self.object, &mut row);
        }
        row
    }

    /// Lets go of the encodings: those who keep up have them, and a window full of them would hold every body twice.
    pub(crate) fn cool(&self) {
        *self.encodings.lock() = Encodings { cold: true, ..Encodings::default() };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::ObjectKey;
    use crate::object::Facets;

    #[test]
    fn an_event_is_encoded_once_while_it_is_recent() {
        let key = ObjectKey::new("pods", "default", "a");
        let object = StoredObject::new(key, Revision(1), Revision(1), Bytes::new(), Facets::default());
        let event = Event::new(Revision(1), None, Arc::new(object), false);
        let first = event.encoded(7, |_| Bytes::from_static(b"seven"));
        assert_eq!(event.encoded(7, |_| unreachable!("it is remembered")), first);
        assert_eq!(&event.encoded(8, |_| Bytes::from_static(b"eight"))[..], b"eight");
        event.cool();
        assert_eq!(&event.encoded(7, |_| Bytes::from_static(b"again"))[..], b"again");
        assert_eq!(&event.encoded(7, |_| Bytes::from_static(b"and again"))[..], b"and again");
    }
}
