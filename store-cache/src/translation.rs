//! Bodies in a second encoding, made for the first reader that wants it and kept beside the first.
//!
//! The API layer decides what the second encoding is; here it is bytes that go with one version of one object. They are
//! kept as long as that version is current and there is room: what does not fit is made anew for every reader, and
//! nothing is thrown out for it, so that a collection larger than the room still has most of its translations.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;

/// The room for translations, and how much of it is taken.
#[derive(Debug)]
pub struct Translations {
    bytes_max: usize,
    held: AtomicUsize,
}

impl Translations {
    /// Room for this many bytes.
    #[must_use]
    pub fn new(bytes_max: usize) -> Arc<Self> {
        Arc::new(Self { bytes_max, held: AtomicUsize::new(0) })
    }

    /// Bytes kept now.
    #[must_use]
    pub fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    /// `bytes`, counted; `None` if there is no room.
    pub(crate) fn admit(self: &Arc<Self>, bytes: &Bytes) -> Option<Translation> {
        let fits = |held: usize| held.checked_add(bytes.len()).filter(|held| *held <= self.bytes_max);
        self.held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).ok()?;
        Some(Translation { bytes: bytes.clone(), room: self.clone() })
    }
}

/// One body's translation; gives its room back when dropped.
#[derive(Debug)]
pub(crate) struct Translation {
    pub(crate) bytes: Bytes,
    room: Arc<Translations>,
}

impl Drop for Translation {
    fn drop(&mut self) {
        self.room.held.fetch_sub(self.bytes.len(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use crate::key::ObjectKey;
    use crate::object::{Facets, StoredObject};
    use crate::revision::Revision;

    use super::*;

    fn object(name: &str) -> StoredObject {
        let key = ObjectKey::new("pods", "default", name);
        StoredObject::new(key, Revision(1), Revision(1), "body".into(), Facets::default())
    }

    #[test]
    fn a_translation_is_made_once_and_goes_with_its_version() {
        let room = Translations::new(100);
        let (object, mut made) = (object("a"), 0);
        for _ in 0..3 {
            let bytes = object.translated(&room, |object| {
                made += 1;
                Ok::<_, Infallible>(Bytes::from(format!("<{}>", object.key.name())))
            });
            assert_eq!(bytes.unwrap(), "<a>");
        }
        assert_eq!((made, room.held()), (1, 3));
        object.forget_translation();
        assert_eq!((object.translation(), room.held()), (None, 0));
        let failed = object.translated(&room, |_| Err::<Bytes, _>("no"));
        assert_eq!((failed, room.held()), (Err("no"), 0));
        object.translated(&room, |_| Ok::<_, Infallible>("twelve bytes".into())).unwrap();
        assert_eq!(room.held(), 12);
        drop(object);
        assert_eq!(room.held(), 0);
    }

    #[test]
    fn what_does_not_fit_is_made_anew_and_throws_nothing_out() {
        let room = Translations::new(10);
        let objects = ["a", "b", "c"].map(object);
        let mut made = 0;
        for object in objects.iter().chain(&objects) {
            let bytes = object.translated(&room, |_| {
                made += 1;
                Ok::<_, Infallible>(Bytes::from_static(b"4444"))
            });
            assert_eq!(bytes.unwrap(), "4444");
        }
        assert_eq!((made, room.held()), (4, 8));
    }
}
