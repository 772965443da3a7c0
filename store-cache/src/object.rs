//! What the store keeps of an object: its key, its revisions, its encoded body and the facets it is selected by.

use std::any::Any;
use std::fmt;
use std::sync::{Arc, Weak};

use bytes::Bytes;
use compact_str::CompactString;
use parking_lot::Mutex;
use smallvec::SmallVec;

use crate::key::ObjectKey;
use crate::revision::Revision;
use crate::translation::{Translation, Translations};

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
    stamp: Stamp,
    derived: Mutex<Derived>,
}

/// What was made of a body for some reader, for the others.
#[derive(Default)]
struct Derived {
    shared: Option<Weak<dyn Any + Send + Sync>>,
    translation: Option<Box<Translation>>,
}

impl StoredObject {
    /// A version as the store, or a client of a remote server, has it.
    #[must_use]
    pub fn new(key: ObjectKey, revision: Revision, created: Revision, body: Bytes, facets: Facets) -> Self {
        Self { key, revision, created, body, facets, stamp: Stamp::default(), derived: Mutex::default() }
    }

    /// A version whose body still lacks its revision: one copy writes the digits in.
    pub(crate) fn stamped(
        key: ObjectKey,
        revision: Revision,
        created: Revision,
        raw: &[u8],
        facets: Facets,
        stamp: Stamp,
    ) -> Self {
        let body = match stamp.slot() {
            Some(slot) if slot <= raw.len() => splice(&raw[..slot], revision, &raw[slot..]),
            _ => Bytes::copy_from_slice(raw),
        };
        Self { key, revision, created, body, facets, stamp, derived: Mutex::default() }
    }

    /// The same state under another revision: what a watcher is shown of an object that is gone, or that ceased to
    /// match its selector.
    #[must_use]
    pub fn restamped(&self, revision: Revision) -> Self {
        let (head, tail) = self.around_revision();
        let body = if self.stamp.slot().is_some() { splice(head, revision, tail) } else { self.body.clone() };
        Self {
            key: self.key.clone(),
            revision,
            created: self.created,
            body,
            facets: self.facets.clone(),
            stamp: self.stamp,
            derived: Mutex::default(),
        }
    }

    /// The body before and after its revision digits; the second part is empty where it has none.
    pub(crate) fn around_revision(&self) -> (&[u8], &[u8]) {
        match self.stamp.slot() {
            Some(slot) => (&self.body[..slot], &self.body[slot + digits_of(self.revision).len()..]),
            None => (&self.body, &[]),
        }
    }

    /// Where the digits are, and when the object expires.
    pub(crate) fn stamp(&self) -> Stamp {
        self.stamp
    }

    /// The decoded form, made by `decode` unless somebody still holds the one made before. It is kept only as long as
    /// somebody holds it: bytes are the resting form. One decoded type at a time is remembered.
    pub fn shared<T: Send + Sync + 'static>(&self, decode: impl FnOnce(&Self) -> T) -> Arc<T> {
        if let Some(found) = self.remembered::<T>() {
            return found;
        }
        let made = Arc::new(decode(self));
        let erased: Arc<dyn Any + Send + Sync> = made.clone();
        self.derived.lock().shared = Some(Arc::downgrade(&erased));
        made
    }

    fn remembered<T: Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        let held = self.derived.lock().shared.as_ref()?.upgrade()?;
        held.downcast::<T>().ok()
    }

    /// The body in the second encoding: as kept, or made by `translate` and kept where `room` allows. Two that make it
    /// at the same moment make the same.
    ///
    /// # Errors
    /// What `translate` reports; nothing is kept then.
    pub fn translated<E>(
        &self,
        room: &Arc<Translations>,
        translate: impl FnOnce(&Self) -> Result<Bytes, E>,
    ) -> Result<Bytes, E> {
        if let Some(found) = self.translation() {
            return Ok(found);
        }
        let bytes = translate(self)?;
        if let Some(translation) = room.admit(&bytes) {
            self.derived.lock().translation = Some(Box::new(translation));
        }
        Ok(bytes)
    }

    /// The body in the second encoding, if it is kept.
    #[must_use]
    pub fn translation(&self) -> Option<Bytes> {
        self.derived.lock().translation.as_ref().map(|translation| translation.bytes.clone())
    }

    /// The version is no longer current: readers of the past are few.
    pub(crate) fn forget_translation(&self) {
        // Dropped after the lock is given back.
        let _forgotten = self.derived.lock().translation.take();
    }
}

/// What the store alone needs to know of a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    slot: u32,
    /// Wall time in milliseconds after which the store deletes the object; zero: never.
    pub(crate) expires_ms: u64,
}

impl Stamp {
    pub(crate) fn new(slot: Option<usize>, expires_ms: u64) -> Self {
        Self { slot: slot.and_then(|s| u32::try_from(s).ok()).unwrap_or(u32::MAX), expires_ms }
    }

    /// Where the revision digits begin.
    pub(crate) fn slot(self) -> Option<usize> {
        (self.slot != u32::MAX).then_some(self.slot as usize)
    }
}

impl Default for Stamp {
    fn default() -> Self {
        Self { slot: u32::MAX, expires_ms: 0 }
    }
}

fn splice(head: &[u8], revision: Revision, tail: &[u8]) -> Bytes {
    let digits = digits_of(revision);
    let mut body = Vec::with_capacity(head.len() + digits.len() + tail.len());
    body.extend_from_slice(head);
    body.extend_from_slice(&digits);
    body.extend_from_slice(tail);
    Bytes::from(body)
}

fn digits_of(revision: Revision) -> SmallVec<[u8; 20]> {
    let mut digits = SmallVec::new();
    let mut rest = revision.0;
    loop {
        digits.push(b'0' + (rest % 10) as u8);
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    digits.reverse();
    digits
}

impl fmt::Debug for StoredObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.key, self.revision)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_revision_is_written_in_and_replaced() {
        let key = ObjectKey::new("pods", "default", "a");
        let raw = br#"{"resourceVersion":""}"#;
        let stamp = Stamp::new(Some(20), 0);
        let object = StoredObject::stamped(key, Revision(907), Revision(907), raw, Facets::default(), stamp);
        assert_eq!(&object.body[..], br#"{"resourceVersion":"907"}"#);
        let gone = object.restamped(Revision(1234));
        assert_eq!(&gone.body[..], br#"{"resourceVersion":"1234"}"#);
        assert_eq!((gone.revision, gone.created), (Revision(1234), Revision(907)));
    }
}
