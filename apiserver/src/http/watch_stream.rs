//! Watches on the wire: one frame per event, made once and shared by all watchers.
//!
//! [`super::resources`] opens a feed and hands it here; hyper pulls. A pull takes what is there (up to [`BATCH`] events)
//! and gives it as one rope, so that a burst costs one write, not one per event. In JSON a frame is three shared pieces
//! around the stored body; other forms are encoded by the first watcher that needs them and kept with the event
//! ([`gantry_store_cache::event::Event::encoded`]). The stream ends cleanly when the feed's time is up, after an ERROR
//! frame, or when the server shuts down.

use futures_util::{Stream, stream};
use gantry_machinery::status::Status;
use gantry_store_cache::event::Event;
use gantry_store_cache::watch::{Change, ChangeKind};
use tokio_util::sync::CancellationToken;

use super::form::Form;
use super::payload::Rope;
use crate::metrics::Running;
use crate::registry::watch::{FeedItem, WatchFeed};

/// At most this many events in one write.
const BATCH: usize = 256;

/// A watcher's frames. `counted` is held for as long as the watch lasts.
pub fn frames(
    feed: WatchFeed,
    form: Form,
    shutdown: CancellationToken,
    counted: Running,
) -> impl Stream<Item = Rope> + Send + 'static {
    stream::unfold(Some((feed, form, shutdown, counted)), |state| async move {
        let (mut feed, mut form, shutdown, counted) = state?;
        let items = tokio::select! {
            // An event that is there goes out before the end.
            biased;
            items = feed.next_items(BATCH) => items?,
            () = shutdown.cancelled() => return None,
        };
        let mut rope = Rope::with_capacity(BATCH);
        match items {
            Ok(items) => {
                for item in &items {
                    if let Err(status) = push_item(&mut form, &mut rope, item) {
                        form.push_error(&mut rope, &status);
                        return Some((rope, None));
                    }
                }
                Some((rope, Some((feed, form, shutdown, counted))))
            }
            Err(status) => {
                form.push_error(&mut rope, &status);
                Some((rope, None))
            }
        }
    })
}

fn push_item(form: &mut Form, rope: &mut Rope, item: &FeedItem) -> Result<(), Status> {
    match item {
        FeedItem::Initial(object) => form.push_event(rope, "ADDED", object),
        FeedItem::Converted(kind, object) => form.push_event(rope, said(*kind), object),
        FeedItem::Change(change) => push_change(form, rope, change),
        FeedItem::Bookmark { revision, initial_events_end } => form.push_bookmark(rope, *revision, *initial_events_end),
    }
}

fn said(kind: ChangeKind) -> &'static str {
    match kind {
        ChangeKind::Added => "ADDED",
        ChangeKind::Modified => "MODIFIED",
        ChangeKind::Deleted => "DELETED",
    }
}

fn push_change(form: &mut Form, rope: &mut Rope, change: &Change) -> Result<(), Status> {
    let event = &change.event;
    let kind = said(change.kind);
    let shown = |event: &Event| match change.kind {
        // Gone, or only ceased to match: its last state with this change's revision.
        ChangeKind::Deleted => event.departed(),
        ChangeKind::Added | ChangeKind::Modified => event.object.clone(),
    };
    if form.is_stored() || form.next_event_is_own() {
        return form.push_event(rope, kind, &shown(event));
    }
    let mut failed = None;
    let frame = event.encoded(form.number(change.kind as u8), |event| {
        let mut frame = Rope::new();
        if let Err(status) = form.push_shared_event(&mut frame, kind, &shown(event)) {
            failed = Some(status);
        }
        frame.gather().into()
    });
    match failed {
        Some(status) => Err(status),
        // Empty is what an earlier watcher's failure left behind: encode again to report it.
        None if frame.is_empty() => form.push_shared_event(rope, kind, &shown(event)),
        None => {
            rope.push(frame);
            Ok(())
        }
    }
}
