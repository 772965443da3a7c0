//! A projection's rows as they change: what a scheduler is fed with.
//!
//! A feed compares the latest snapshot with the one it gave last, so it costs what changed and holds nothing but that one
//! snapshot: a reader that is slow, or busy, is told of the latest state of what changed meanwhile, once. No event is
//! queued for it, and none can be lost.

use std::sync::Arc;

use tokio::sync::watch;

use crate::cache::Cache;
use crate::snapshot::{RowChange, Snapshot};

/// The rows of one projection, from the beginning. Made by [`Store::row_feed`](crate::store::Store::row_feed).
pub struct RowFeed {
    cache: Arc<Cache>,
    projection: &'static str,
    collection: &'static str,
    given: Option<Snapshot>,
    told: watch::Receiver<()>,
}

impl RowFeed {
    /// `None` if the store was opened without the projection.
    pub(crate) fn open(cache: &Arc<Cache>, projection: &str) -> Option<Self> {
        let projection = cache.projection(projection)?;
        let (projection, collection) = (projection.name(), projection.collection());
        Some(Self { cache: cache.clone(), projection, collection, given: None, told: cache.told_of_rows() })
    }

    /// The collection whose objects the rows are made of.
    #[must_use]
    pub fn collection(&self) -> &'static str {
        self.collection
    }

    /// What became of the rows; waits for something. The first answer is all there are, possibly none. Rows that are gone
    /// come first, the others in the order of their commits. Cancel-safe.
    pub async fn next(&mut self) -> Vec<RowChange> {
        loop {
            // Before looking: whatever is published after the look is heard of.
            self.told.borrow_and_update();
            let latest = self.cache.view().rows(self.projection).expect("the cache knows its own projections");
            let changes = latest.changes_since(self.given.as_ref());
            if self.given.replace(latest).is_none() || !changes.is_empty() {
                return changes;
            }
            // The sender is the cache's, which lives as long as we do.
            let _ = self.told.changed().await;
        }
    }
}
