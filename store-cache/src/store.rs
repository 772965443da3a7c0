//! The store: the single committer, and the door to views and subscriptions.

use std::sync::Arc;
use std::time::Duration;

use crate::key::ObjectKey;
use crate::object::{Facets, StoredObject};
use crate::revision::Revision;
use crate::txn::{Committed, Txn, TxnError};
use crate::view::View;
use crate::watch::{Expired, Interest, Subscription};

/// Reads an object's facets from its body: used when the log is replayed and when another server wrote the object.
pub trait Describe: Send + Sync + 'static {
    /// The facets of the object at `key`.
    fn facets(&self, key: &ObjectKey, body: &[u8]) -> Facets;
}

/// The store. Cheap to clone; all clones are one store.
#[derive(Clone)]
pub struct Store {
    _inner: Arc<()>,
}

/// The cache did not reach the revision in time; it has reached `reached`.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the cache is at {reached}, not yet at {wanted}")]
pub struct Behind {
    /// The revision waited for.
    pub wanted: Revision,
    /// The revision reached.
    pub reached: Revision,
}

impl Store {
    /// Commits a transaction: durable, published to the cache and to watchers, before this returns.
    ///
    /// # Errors
    /// See [`TxnError`].
    pub async fn commit(&self, _txn: Txn) -> Result<Committed, TxnError> {
        todo!()
    }

    /// Commits many transactions in one group: each commits or fails by itself, in the given order, with one fsync.
    pub async fn commit_all(&self, _txns: Vec<Txn>) -> Vec<Result<Committed, TxnError>> {
        todo!()
    }

    /// The latest published view: every write acknowledged on this server is in it.
    #[must_use]
    pub fn view(&self) -> Arc<View> {
        todo!()
    }

    /// The latest version of one object.
    #[must_use]
    pub fn get(&self, _key: &ObjectKey) -> Option<Arc<StoredObject>> {
        todo!()
    }

    /// A view that holds every write acknowledged by any server on this store: with etcd, waits until the cache has
    /// caught up with etcd's present revision.
    ///
    /// # Errors
    /// [`Behind`] at the deadline.
    pub async fn consistent_view(&self, _within: Duration) -> Result<Arc<View>, Behind> {
        todo!()
    }

    /// Waits until the cache holds every event up to `revision`. Never holds up the writer.
    ///
    /// # Errors
    /// [`Behind`] at the deadline.
    pub async fn reached(&self, _revision: Revision, _within: Duration) -> Result<Arc<View>, Behind> {
        todo!()
    }

    /// The collection as it was at `revision`, as long as the event window reaches back that far.
    ///
    /// # Errors
    /// [`Expired`] when it does not.
    pub fn view_at(&self, _collection: &str, _revision: Revision) -> Result<Arc<View>, Expired> {
        todo!()
    }

    /// Events after `after` that match.
    ///
    /// # Errors
    /// [`Expired`] when the window does not reach back that far.
    pub fn watch(&self, _interest: Interest, _after: Revision) -> Result<Subscription, Expired> {
        todo!()
    }
}
