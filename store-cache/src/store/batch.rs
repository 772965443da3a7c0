//! One group commit in the making: checks preconditions, numbers, and says what goes to the log and to the cache.
//!
//! Pure: reads a view, writes nothing. Transactions see those before them in the same batch. Each gets a revision of
//! its own; one whose precondition fails leaves no trace.

use std::sync::Arc;

use hashbrown::HashMap;
use smallvec::SmallVec;

use super::record;
use crate::event::Event;
use crate::key::ObjectKey;
use crate::object::{Stamp, StoredObject};
use crate::revision::Revision;
use crate::txn::{Committed, Expect, Op, Txn, TxnError, Write};
use crate::view::View;

/// What the log is told of one key: its record, or that it is gone.
pub(crate) struct LogOp {
    pub(crate) key: ObjectKey,
    pub(crate) record: Option<Vec<u8>>,
}

/// A batch under construction.
pub(crate) struct Batch<'v> {
    view: &'v View,
    now_ms: u64,
    /// The last revision given out.
    pub(crate) revision: Revision,
    pub(crate) events: Vec<Arc<Event>>,
    /// At most one per key: the last word.
    pub(crate) log: Vec<LogOp>,
    /// Keys written in this batch: their latest version, and their place in `log`.
    written: HashMap<ObjectKey, (Option<Arc<StoredObject>>, usize), ahash::RandomState>,
    /// Objects that will expire: when, and which version.
    pub(crate) expiring: Vec<Arc<StoredObject>>,
}

impl<'v> Batch<'v> {
    /// A batch on top of `view`, numbering after `revision`.
    pub(crate) fn new(view: &'v View, revision: Revision, now_ms: u64) -> Self {
        Self {
            view,
            now_ms,
            revision,
            events: Vec::new(),
            log: Vec::new(),
            written: HashMap::default(),
            expiring: Vec::new(),
        }
    }

    fn latest(&self, key: &ObjectKey) -> Option<Arc<StoredObject>> {
        match self.written.get(key) {
            Some((latest, _)) => latest.clone(),
            None => self.view.get(key),
        }
    }

    /// Adds a transaction if its preconditions hold.
    pub(crate) fn add(&mut self, txn: Txn) -> Result<Committed, TxnError> {
        let mut before: SmallVec<[Option<Arc<StoredObject>>; 1]> = SmallVec::with_capacity(txn.ops.len());
        for (at, op) in txn.ops.iter().enumerate() {
            if txn.ops[..at].iter().any(|other| other.key == op.key) {
                return Err(TxnError::Unavailable(format!("{} occurs twice in one transaction", op.key).into()));
            }
            let current = self.latest(&op.key);
            if !op.expect.holds_of(current.as_deref()) {
                return Err(TxnError::Conflict { key: op.key.clone(), current });
            }
            before.push(current);
        }
        let writes = txn.ops.iter().zip(&before).any(|(op, before)| match op.write {
            Write::Check => false,
            Write::Put { .. } => true,
            Write::Delete { .. } => before.is_some(),
        });
        if !writes {
            return Ok(Committed { revision: self.revision, objects: SmallVec::from_elem(None, txn.ops.len()) });
        }
        self.revision = self.revision.next();
        let objects = txn.ops.into_iter().zip(before).map(|(op, before)| self.write(op, before)).collect();
        Ok(Committed { revision: self.revision, objects })
    }

    fn write(&mut self, op: Op, before: Option<Arc<StoredObject>>) -> Option<Arc<StoredObject>> {
        let revision = self.revision;
        // The stored key's own allocation lives on in later versions and in the indexes.
        let key = before.as_ref().map_or(op.key, |before| before.key.clone());
        match op.write {
            Write::Check => None,
            Write::Put { body, facets, ttl } => {
                let created = before.as_ref().map_or(revision, |before| before.created);
                let expires_ms = ttl.map_or(0, |ttl| {
                    self.now_ms.saturating_add(u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX)).max(1)
                });
                let slot = body.revision_slot.filter(|slot| *slot <= body.bytes.len());
                let stamp = Stamp::new(slot, expires_ms);
                let record = record::encode(&body, revision, created, stamp);
                let object = StoredObject::stamped(key.clone(), revision, created, &body.bytes, facets, stamp);
                let object = Arc::new(object);
                if expires_ms != 0 {
                    self.expiring.push(object.clone());
                }
                self.remember(key, Some(object.clone()), Some(record));
                self.events.push(Arc::new(Event::new(revision, before, object.clone(), false)));
                Some(object)
            }
            Write::Delete { last } => {
                let stored = before?;
                let object = Arc::new(last_state(&stored, last, revision));
                self.remember(key, None, None);
                self.events.push(Arc::new(Event::new(revision, Some(stored), object.clone(), true)));
                Some(object)
            }
        }
    }

    fn remember(&mut self, key: ObjectKey, latest: Option<Arc<StoredObject>>, record: Option<Vec<u8>>) {
        if let Some((object, at)) = self.written.get_mut(&key) {
            *object = latest;
            self.log[*at].record = record;
            return;
        }
        self.log.push(LogOp { key: key.clone(), record });
        self.written.insert(key, (latest, self.log.len() - 1));
    }
}

/// What watchers are shown of a deleted object.
pub(crate) fn last_state(
    stored: &StoredObject,
    last: Option<crate::object::NewBody>,
    revision: Revision,
) -> StoredObject {
    match last {
        Some(body) => StoredObject::stamped(
            stored.key.clone(),
            revision,
            stored.created,
            &body.bytes,
            stored.facets.clone(),
            Stamp::new(body.revision_slot.filter(|slot| *slot <= body.bytes.len()), 0),
        ),
        None => stored.restamped(revision),
    }
}

impl Expect {
    /// Whether the latest version is as expected.
    #[must_use]
    pub fn holds_of(&self, current: Option<&StoredObject>) -> bool {
        match self {
            Self::Any => true,
            Self::Absent => current.is_none(),
            Self::Exists => current.is_some(),
            Self::Revision(revision) => current.is_some_and(|object| object.revision == *revision),
        }
    }
}
