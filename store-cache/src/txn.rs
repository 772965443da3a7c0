//! What a writer asks the store to do: preconditions and writes that happen together or not at all.

use std::sync::Arc;
use std::time::Duration;

use smallvec::SmallVec;

use crate::key::ObjectKey;
use crate::object::{Facets, NewBody, StoredObject};
use crate::revision::Revision;

/// Operations that commit together under one revision, or not at all.
#[derive(Clone, Debug, Default)]
pub struct Txn {
    /// At most one operation per key.
    pub ops: SmallVec<[Op; 1]>,
}

/// One precondition with one write.
#[derive(Clone, Debug)]
pub struct Op {
    /// The object concerned.
    pub key: ObjectKey,
    /// What must hold of its latest version.
    pub expect: Expect,
    /// What happens if every precondition of the transaction holds.
    pub write: Write,
}

/// What must hold of an object for a transaction to commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// Nothing.
    Any,
    /// There is no such object.
    Absent,
    /// There is one, at whatever revision.
    Exists,
    /// Its latest version is this one.
    Revision(Revision),
}

/// What a transaction does to an object.
#[derive(Clone, Debug)]
pub enum Write {
    /// Only the precondition is checked.
    Check,
    /// The object becomes this.
    Put {
        /// Its new body.
        body: NewBody,
        /// What the new body is selected by.
        facets: Facets,
        /// After this long without another write the store deletes it by itself (Events).
        ttl: Option<Duration>,
    },
    /// The object goes.
    Delete {
        /// The last state that watchers are shown; `None` shows the version that was stored.
        last: Option<NewBody>,
    },
}

/// The outcome of a transaction that committed.
#[derive(Clone, Debug)]
pub struct Committed {
    /// Its number. For a transaction of checks alone, the revision they were checked at.
    pub revision: Revision,
    /// One entry per operation, in order: the version written, or for a deletion the last state; `None` for a check,
    /// and for a deletion under [`Expect::Any`] of what was not there.
    pub objects: SmallVec<[Option<Arc<StoredObject>>; 1]>,
}

impl Txn {
    /// A transaction of one operation.
    #[must_use]
    pub fn one(key: ObjectKey, expect: Expect, write: Write) -> Self {
        Self { ops: SmallVec::from_buf([Op { key, expect, write }]) }
    }
}

/// Why a transaction did not commit. In every case but [`Unknown`](TxnError::Unknown) nothing was written.
#[derive(Clone, Debug, thiserror::Error)]
pub enum TxnError {
    /// Somebody wrote first, or the object is not there: `current` is its latest version.
    #[error("{key} is not as expected")]
    Conflict {
        /// The object whose precondition failed.
        key: ObjectKey,
        /// Its latest version, if it exists.
        current: Option<Arc<StoredObject>>,
    },
    /// The commit queue is full: try again later (clients see 429 with Retry-After).
    #[error("too many writes are waiting")]
    Overloaded,
    /// The store does not take writes: the log failed, the etcd behind it is away, or it is shutting down.
    #[error("the store is unavailable: {0}")]
    Unavailable(Arc<str>),
    /// The store went away while committing: the write may or may not have happened.
    #[error("the store went away during the commit: {0}")]
    Unknown(Arc<str>),
}
