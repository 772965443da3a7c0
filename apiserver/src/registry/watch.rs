//! Watches: where they begin, the initial events, bookmarks, and their end.
//!
//! A [`WatchFeed`] is one watcher's stream. The HTTP layer reads it with [`WatchFeed::next_items`] and encodes shared
//! events once for all watchers; loops read the same stream as [`WatchEvent`]s.

use std::sync::Arc;

use async_trait::async_trait;
use gantry_machinery::resource_api::{Collection, WatchEvent, WatchOptions, WatchStream};
use gantry_machinery::status::Status;
use gantry_store_cache::object::StoredObject;
use gantry_store_cache::revision::Revision;
use gantry_store_cache::watch::Change;

use super::Registry;
use super::request::RequestContext;

/// One watcher's stream.
pub struct WatchFeed {}

/// One thing to tell a watcher.
#[derive(Clone, Debug)]
pub enum FeedItem {
    /// An object that was there when the watch began: `ADDED`.
    Initial(Arc<StoredObject>),
    /// A change. For one that ceased to match (`Deleted` of an event that is no deletion) clients are shown
    /// [`departed`]'s object.
    Change(Change),
    /// Everything up to here has been told: `BOOKMARK`.
    Bookmark {
        /// The revision reached.
        revision: Revision,
        /// Whether this ends the initial events (annotation `k8s.io/initial-events-end`).
        initial_events_end: bool,
    },
}

impl WatchFeed {
    /// The next items: waits for the first, then gives what is there, at most `max` of them. `None` when the watch has
    /// reached its time limit; an error ends it too. Cancel-safe.
    pub async fn next_items(&mut self, _max: usize) -> Option<Result<Vec<FeedItem>, Status>> {
        None
    }
}

#[async_trait]
impl WatchStream for WatchFeed {
    async fn next(&mut self, max: usize) -> Option<Result<Vec<WatchEvent>, Status>> {
        self.next_items(max).await.map(|items| items.map(|_| Vec::new()))
    }
}

impl Registry {
    pub(super) async fn subscribe(
        &self,
        _request: &RequestContext,
        _of: &Collection<'_>,
        _options: &WatchOptions,
    ) -> Result<WatchFeed, Status> {
        Err(super::not_built())
    }
}
