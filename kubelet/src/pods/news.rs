//! Which changes of a pod's object its node has to read: those that somebody else made.
//!
//! A node hears of its own writes twice, in the write's answer and in the watch, in either order, and need not decode
//! them. Everybody else's change must be read, above all a deletion, which comes once: also when it was made just
//! before a write of ours and is heard of after that write's answer.

use std::sync::Arc;

use gantry_store_cache::object::StoredObject;
use gantry_store_cache::revision::Revision;

/// What was heard of one pod's object.
#[derive(Debug)]
pub struct News {
    /// The newest object that was read.
    read: Revision,
    /// Our last writes, the newest first: of two that follow each other closely, the watch tells after both answers.
    own: [Revision; 2],
    /// What the watch showed while a write was under way: most likely that very write, as its answer will tell.
    unheard: Option<Arc<StoredObject>>,
}

impl News {
    /// Of a pod first read at `read`.
    #[must_use]
    pub fn new(read: Revision) -> Self {
        Self { read, own: [Revision(0); 2], unheard: None }
    }

    /// Whether an object from the watch is to be read now; while a write is under way it may have to wait for the
    /// answer, of two one must be somebody else's.
    pub fn hear(&mut self, object: &Arc<StoredObject>, write_under_way: bool) -> bool {
        if object.revision <= self.read || self.own.contains(&object.revision) {
            return false;
        }
        if write_under_way && self.unheard.is_none() {
            self.unheard = Some(object.clone());
            return false;
        }
        self.unheard = None;
        true
    }

    /// An object is read.
    pub fn read(&mut self, revision: Revision) {
        self.read = self.read.max(revision);
    }

    /// A write of ours was answered.
    pub fn wrote(&mut self, revision: Revision) {
        // A write that changed nothing is answered with what there was.
        if revision > self.own[0] {
            self.own = [revision, self.own[0]];
        }
    }

    /// No write is under way any more: what waited for its answer and was not it.
    pub fn answered(&mut self) -> Option<Arc<StoredObject>> {
        let object = self.unheard.take()?;
        (object.revision > self.read && !self.own.contains(&object.revision)).then_some(object)
    }

    /// Whether a write of ours came after `revision`.
    #[must_use]
    pub fn is_overwritten(&self, revision: Revision) -> bool {
        revision < self.own[0]
    }
}

#[cfg(test)]
mod tests {
    use gantry_store_cache::key::ObjectKey;
    use gantry_store_cache::object::Facets;

    use super::*;

    fn at(revision: u64) -> Arc<StoredObject> {
        let (key, revision) = (ObjectKey::new("pods", "default", "web"), Revision(revision));
        Arc::new(StoredObject::new(key, revision, revision, "{}".into(), Facets::default()))
    }

    #[test]
    fn a_change_before_our_write_is_read_though_the_write_is_answered_first() {
        let mut news = News::new(Revision(5));
        // Deleted at 7, written by us at 8; the watch tells of both after the answer.
        news.wrote(Revision(8));
        assert!(news.answered().is_none());
        assert!(news.hear(&at(7), false), "somebody else's");
        news.read(Revision(7));
        assert!(news.is_overwritten(Revision(7)));
        assert!(!news.hear(&at(8), false), "our own");
    }

    #[test]
    fn what_comes_while_a_write_is_under_way_waits_for_its_answer() {
        let mut news = News::new(Revision(5));
        assert!(!news.hear(&at(8), true));
        news.wrote(Revision(8));
        assert!(news.answered().is_none(), "it was the write");

        assert!(!news.hear(&at(10), true));
        news.wrote(Revision(11));
        assert_eq!(news.answered().map(|object| object.revision), Some(Revision(10)), "it was not");
        news.read(Revision(10));
        assert!(!news.hear(&at(11), false));

        assert!(!news.hear(&at(13), true));
        assert!(news.hear(&at(14), true), "of two, one is somebody else's");
        news.read(Revision(14));
        news.wrote(Revision(14));
        assert!(news.answered().is_none());
    }

    #[test]
    fn two_writes_of_ours_are_known_again() {
        let mut news = News::new(Revision(5));
        news.wrote(Revision(6));
        news.wrote(Revision(9));
        news.wrote(Revision(9));
        assert!(!news.hear(&at(6), false) && !news.hear(&at(9), false));
        assert!(news.hear(&at(8), false));
    }

    #[test]
    fn nothing_older_than_what_was_read_comes_after_it() {
        let mut news = News::new(Revision(5));
        assert!(!news.hear(&at(7), true));
        // A list taken meanwhile was newer.
        news.read(Revision(9));
        news.wrote(Revision(12));
        assert!(news.answered().is_none());
        assert!(!news.hear(&at(9), false));
    }
}
