//! Watches: where they begin, the initial events, bookmarks, and their end (API concepts, "Efficient detection of
//! changes"; KEP-3157 for `sendInitialEvents`).
//!
//! A [`WatchFeed`] is one watcher's stream. The HTTP layer reads it with [`WatchFeed::next_items`] and encodes shared
//! events once for all watchers; loops read the same stream as [`WatchEvent`]s.
//!
//! ```text
//!  Initial objects ──▶ (bookmark: initial-events-end) ──▶ Live: changes, a bookmark a minute ──▶ time limit │ 410
//! ```

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use gantry_machinery::resource_api::{Collection, WatchEvent, WatchOptions, WatchStream};
use gantry_machinery::status::Status;
use gantry_store_cache::object::StoredObject;
use gantry_store_cache::revision::Revision;
use gantry_store_cache::watch::{Change, ChangeKind, Subscription};
use tokio::time::Instant;

use super::list::at_least;
use super::request::RequestContext;
use super::selection::Selection;
use super::strategy::{AnyStrategy, Strategy};
use super::{Registry, answer, body, random, versions};

/// How often a watcher that asked for bookmarks is told how far it has come.
const BOOKMARK_EVERY: Duration = Duration::from_secs(60);
/// The shortest time that the server itself gives a watch; up to twice this, so that they do not all end together.
const TIMEOUT_SECONDS_MIN: u64 = 1800;
/// A last bookmark comes this long before the end, so that the next watch begins close by.
const LAST_BOOKMARK_BEFORE_END: Duration = Duration::from_secs(2);

/// One watcher's stream.
pub struct WatchFeed {
    /// Objects that were there at the beginning and have not been told yet.
    initial: std::vec::IntoIter<Arc<StoredObject>>,
    /// The bookmark owed after them.
    initial_end: Option<Revision>,
    live: Subscription,
    bookmarks: bool,
    /// The revision that the watcher was last told, by an event or a bookmark.
    told: Revision,
    next_bookmark: Instant,
    ends: Instant,
    failed: bool,
    /// Shows objects to loops in the version asked for; the HTTP layer encodes events in it. What a custom kind's watchers
    /// see is made here, until its definition changes.
    strategy: AnyStrategy,
}

/// One thing to tell a watcher.
#[derive(Clone, Debug)]
pub enum FeedItem {
    /// An object that was there when the watch began: `ADDED`.
    Initial(Arc<StoredObject>),
    /// A change of an object that is stored otherwise than the watcher sees it.
    Converted(ChangeKind, Arc<StoredObject>),
    /// A change. For one of kind `Deleted` clients are shown the event's
    /// [`departed`](gantry_store_cache::event::Event::departed) object.
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
    /// reached its time limit, or after an error. Cancel-safe.
    ///
    /// # Errors
    /// 410 `Expired` when this watcher was so slow that the events it has not seen are gone.
    pub async fn next_items(&mut self, max: usize) -> Option<Result<Vec<FeedItem>, Status>> {
        if self.initial.len() > 0 {
            return Some(Ok(self.initial.by_ref().take(max).map(FeedItem::Initial).collect()));
        }
        if let Some(revision) = self.initial_end.take() {
            self.told = revision;
            return Some(Ok(vec![FeedItem::Bookmark { revision, initial_events_end: true }]));
        }
        if self.failed {
            return None;
        }
        loop {
            let wake = if self.bookmarks { self.next_bookmark.min(self.ends) } else { self.ends };
            let retired = self.strategy.retired();
            tokio::select! {
                biased;
                () = async { retired.expect("asked only if there is one").cancelled().await }, if retired.is_some() => {
                    return None;
                }
                changes = self.live.next(max) => return Some(match changes {
                    Ok(changes) => {
                        if let Some(last) = changes.last() {
                            self.told = last.event.revision;
                        }
                        if self.strategy.is_custom() {
                            let shown = changes.into_iter().map(|change| item(&*self.strategy, change)).collect();
                            if let Err(status) = &shown {
                                tracing::error!(%status, "a watch breaks off");
                                self.failed = true;
                            }
                            shown
                        } else {
                            Ok(changes.into_iter().map(FeedItem::Change).collect())
                        }
                    }
                    Err(expired) => {
                        self.failed = true;
                        Err(answer::too_old(expired))
                    }
                }),
                () = tokio::time::sleep_until(wake) => {
                    let now = Instant::now();
                    if now >= self.ends {
                        return None;
                    }
                    self.next_bookmark = match self.ends.checked_sub(LAST_BOOKMARK_BEFORE_END) {
                        Some(last) if now < last => (now + BOOKMARK_EVERY).min(last),
                        _ => self.ends,
                    };
                    let revision = self.live.reached();
                    if revision > self.told {
                        self.told = revision;
                        return Some(Ok(vec![FeedItem::Bookmark { revision, initial_events_end: false }]));
                    }
                }
            }
        }
    }
}

/// A change as watchers of a custom kind's version see it.
fn item(strategy: &dyn Strategy, change: Change) -> Result<FeedItem, Status> {
    Ok(match change.kind {
        ChangeKind::Deleted => FeedItem::Converted(change.kind, body::converted(strategy, change.event.departed())?),
        _ if strategy.is_as_stored(change.event.object.revision) => FeedItem::Change(change),
        kind => FeedItem::Converted(kind, body::shown(strategy, change.event.object.clone())?),
    })
}

#[async_trait]
impl WatchStream for WatchFeed {
    async fn next(&mut self, max: usize) -> Option<Result<Vec<WatchEvent>, Status>> {
        let items = match self.next_items(max).await? {
            Ok(items) => items,
            Err(status) => return Some(Err(status)),
        };
        let show = |object| {
            if self.strategy.is_custom() { Ok(object) } else { versions::show(&*self.strategy, object) }
        };
        let event = |item| {
            Ok(match item {
                FeedItem::Initial(object) => WatchEvent::Added(show(object)?),
                FeedItem::Converted(ChangeKind::Added, object) => WatchEvent::Added(object),
                FeedItem::Converted(ChangeKind::Modified, object) => WatchEvent::Modified(object),
                FeedItem::Converted(ChangeKind::Deleted, object) => WatchEvent::Deleted(object),
                FeedItem::Change(change) => match change.kind {
                    ChangeKind::Added => WatchEvent::Added(show(change.event.object.clone())?),
                    ChangeKind::Modified => WatchEvent::Modified(show(change.event.object.clone())?),
                    ChangeKind::Deleted => WatchEvent::Deleted(show(change.event.departed())?),
                },
                FeedItem::Bookmark { revision, initial_events_end } => {
                    WatchEvent::Bookmark { revision, initial_events_end }
                }
            })
        };
        Some(items.into_iter().map(event).collect())
    }
}

impl Registry {
    /// A watcher's stream.
    pub(super) async fn subscribe(
        &self,
        request: &RequestContext,
        of: &Collection<'_>,
        options: &WatchOptions,
    ) -> Result<WatchFeed, Status> {
        let row = self.row(of.resource)?;
        if !row.serves("watch") {
            return Err(Status::method_not_supported(row.gvr(), "watch"));
        }
        row.warn_deprecated(request);
        let selection = Selection::new(&row, of, &options.labels, &options.fields, options.shard.as_ref())?;
        let from_now = options.after.is_none_or(|r| r == Revision(0));
        let with_objects = options.initial_events || from_now;
        let (live, initial, begin) = if with_objects {
            let view = self.state(&row, at_least(options.after)).await?;
            // The view is newer than anything compacted, so its events are still there.
            let live = self.store.watch(selection.interest(), view.revision()).map_err(answer::too_old)?;
            let initial: Result<Vec<_>, Status> =
                selection.objects(&view, None).map(|object| body::shown(&*row.strategy, object)).collect();
            (live, initial?, view.revision())
        } else {
            // A revision still to come is waited for in silence, as upstream does: nothing up to it is told.
            let after = options.after.unwrap_or_default();
            (self.store.watch(selection.interest(), after).map_err(answer::too_old)?, Vec::new(), after)
        };
        let now = Instant::now();
        let limit = options
            .timeout
            .unwrap_or_else(|| Duration::from_secs(TIMEOUT_SECONDS_MIN + random::below(TIMEOUT_SECONDS_MIN)));
        let ends = now + limit;
        Ok(WatchFeed {
            initial: initial.into_iter(),
            initial_end: (options.initial_events && options.bookmarks).then_some(begin),
            live,
            bookmarks: options.bookmarks,
            told: begin,
            next_bookmark: now + BOOKMARK_EVERY.min(limit.saturating_sub(LAST_BOOKMARK_BEFORE_END).max(limit / 2)),
            ends,
            failed: false,
            strategy: row.strategy.clone(),
        })
    }
}
