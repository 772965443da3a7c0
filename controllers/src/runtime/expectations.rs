//! Keeps a loop from acting on a view that does not yet show its own writes: a ReplicaSet that created ten pods must
//! not count nine of them as missing.
//!
//! Upstream counts creations and deletions it waits for. Revisions say it directly: after a write at revision *r* the
//! owner rests until the informer has reached *r*. Nothing leaks and nothing can be miscounted.

use ahash::HashMap;
use gantry_store_cache::key::ObjectKey;
use gantry_store_cache::revision::Revision;
use parking_lot::Mutex;

/// The newest own write per owner.
#[derive(Debug, Default)]
pub struct Expectations {
    newest: Mutex<HashMap<ObjectKey, Revision>>,
}

impl Expectations {
    /// The owner `key` caused a write at `revision`.
    pub fn wrote(&self, key: &ObjectKey, revision: Revision) {
        let mut newest = self.newest.lock();
        let known = newest.entry(key.clone()).or_default();
        *known = (*known).max(revision);
    }

    /// Whether an informer that has `reached` so far shows all that the owner `key` wrote.
    pub fn met(&self, key: &ObjectKey, reached: Revision) -> bool {
        let mut newest = self.newest.lock();
        match newest.get(key) {
            Some(revision) if *revision > reached => false,
            Some(_) => {
                newest.remove(key);
                true
            }
            None => true,
        }
    }
}
