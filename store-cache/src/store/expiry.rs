//! Which objects expire when. Owned by the committer; rebuilt from the objects themselves when a store is opened.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use smallvec::SmallVec;

use crate::key::ObjectKey;
use crate::object::StoredObject;
use crate::revision::Revision;
use crate::txn::{Expect, Txn, Write};
use crate::view::View;

/// Deletions made by one look; the rest waits for the next, so that a flood of expiries never holds up writers.
const SWEEP_MAX: usize = 1024;

/// Times to live, soonest first. A version that was replaced leaves an entry behind, which is dropped when it is due.
#[derive(Default)]
pub(crate) struct Expiry {
    due: BinaryHeap<Reverse<(u64, Revision, ObjectKey)>>,
}

impl Expiry {
    pub(crate) fn watch(&mut self, object: &Arc<StoredObject>) {
        let expires_ms = object.stamp().expires_ms;
        if expires_ms != 0 {
            self.due.push(Reverse((expires_ms, object.revision, object.key.clone())));
        }
    }

    /// Deletions of what is past its time; each holds only if nobody wrote the object meanwhile.
    pub(crate) fn take_due(&mut self, now_ms: u64, view: &View) -> Vec<Txn> {
        let mut deletions = Vec::new();
        while deletions.len() < SWEEP_MAX {
            match self.due.peek() {
                Some(Reverse((expires_ms, ..))) if *expires_ms <= now_ms => {}
                _ => break,
            }
            let Some(Reverse((_, revision, key))) = self.due.pop() else { break };
            if view.get(&key).is_some_and(|object| object.revision == revision) {
                let op =
                    crate::txn::Op { key, expect: Expect::Revision(revision), write: Write::Delete { last: None } };
                deletions.push(Txn { ops: SmallVec::from_buf([op]) });
            }
        }
        deletions
    }
}
