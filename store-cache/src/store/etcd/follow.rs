//! Follows etcd's watch into the cache, and finds its way back when the watch breaks.
//!
//! ```text
//! Following ── stream broke ──▶ Away ── watch from the next revision ──▶ Following
//!                                 └──── etcd has compacted it ──▶ list, apply the difference ──▶ Following
//! ```
//! The only writer of the cache. Previous values are not asked of etcd: the cache holds them, because it has seen every
//! event before.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use etcd_client::{Error, EventType, GetOptions, WatchOptions, WatchResponse};

use super::{Link, number_from, revision_from};
use crate::event::Event;
use crate::key::ObjectKey;
use crate::object::StoredObject;
use crate::revision::Revision;
use crate::store::batch::last_state;
use crate::view::View;

const PAGE: i64 = 2_000;
const RETRY_AFTER_MIN: Duration = Duration::from_millis(50);
const RETRY_AFTER_MAX: Duration = Duration::from_secs(1);

/// Why a watch ended.
enum Ended {
    /// Try again from where it was.
    Broken(String),
    /// etcd no longer has what we would go on from.
    Compacted,
}

/// Follows until the store is closed.
pub(super) async fn run(link: &Arc<Link>) {
    let mut retry_after = RETRY_AFTER_MIN;
    loop {
        let before = link.cache.published();
        let ended = follow(link).await;
        if link.cache.published() > before {
            retry_after = RETRY_AFTER_MIN;
        }
        match ended {
            Ended::Broken(why) => {
                if !link.away.swap(true, Ordering::SeqCst) {
                    tracing::warn!(%why, "etcd is away: writes are refused until it is back");
                }
            }
            Ended::Compacted => match resync(link).await {
                Ok(()) => continue,
                Err(error) => {
                    link.away.store(true, Ordering::SeqCst);
                    tracing::warn!(%error, "etcd cannot be listed");
                }
            },
        }
        tokio::time::sleep(retry_after).await;
        retry_after = (retry_after * 2).min(RETRY_AFTER_MAX);
    }
}

async fn follow(link: &Arc<Link>) -> Ended {
    let from = link.cache.published().next();
    let options = WatchOptions::new().with_prefix().with_start_revision(number_from(from)).with_progress_notify();
    let mut client = link.watch.clone();
    let opening = client.watch(link.config.prefix.as_bytes(), Some(options));
    let mut stream = match tokio::time::timeout(link.config.request_timeout, opening).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return Ended::Broken(error.to_string()),
        Err(_) => return Ended::Broken("no answer to a watch".to_owned()),
    };
    loop {
        let response = match stream.message().await {
            Ok(Some(response)) => response,
            Ok(None) => return Ended::Broken("the watch was closed".to_owned()),
            Err(error) => return Ended::Broken(error.to_string()),
        };
        if response.compact_revision() > 0 {
            return Ended::Compacted;
        }
        if response.canceled() {
            return Ended::Broken(response.cancel_reason().to_owned());
        }
        if response.created() {
            let at = response.header().map_or(Revision(0), |header| revision_from(header.revision()));
            if at.next() < from {
                return Ended::Broken(format!(
                    "etcd went back from revision {} to {at}: restart this server",
                    from.0 - 1
                ));
            }
            if link.away.swap(false, Ordering::SeqCst) {
                tracing::info!("etcd is back");
            }
            continue;
        }
        take_in(link, &response);
    }
}

/// One message of the watch: whole revisions, in order.
fn take_in(link: &Arc<Link>, response: &WatchResponse) {
    let Some(last) = response.events().iter().filter_map(|event| event.kv()).map(|kv| kv.mod_revision()).max() else {
        // A progress notice: everything up to its revision has been told.
        if let Some(header) = response.header() {
            link.cache.advance(revision_from(header.revision()));
        }
        return;
    };
    let view = link.cache.view();
    let mut merge = Merge { view: &view, latest: HashMap::new(), events: Vec::new() };
    for event in response.events() {
        let Some(kv) = event.kv() else { continue };
        match event.event_type() {
            EventType::Put => {
                if let Some(object) = link.object_from(kv) {
                    merge.put(object);
                }
            }
            EventType::Delete => {
                if let Some(key) = link.key_from(kv.key()) {
                    merge.delete(&key, revision_from(kv.mod_revision()));
                }
            }
        }
    }
    let events = merge.events;
    drop(view);
    publish(link, &events, revision_from(last));
}

fn publish(link: &Arc<Link>, events: &[Arc<Event>], through: Revision) {
    let touched = link.cache.apply(events, through);
    link.cache.notify(touched);
}

/// Turns what etcd tells into events, by what the cache holds.
struct Merge<'v> {
    view: &'v View,
    /// Keys already touched by these events.
    latest: HashMap<ObjectKey, Option<Arc<StoredObject>>>,
    events: Vec<Arc<Event>>,
}

impl Merge<'_> {
    fn latest(&self, key: &ObjectKey) -> Option<Arc<StoredObject>> {
        self.latest.get(key).cloned().unwrap_or_else(|| self.view.get(key))
    }

    fn put(&mut self, mut object: StoredObject) {
        let before = self.latest(&object.key);
        if let Some(before) = &before {
            object.key = before.key.clone();
        }
        let object = Arc::new(object);
        self.latest.insert(object.key.clone(), Some(object.clone()));
        self.events.push(Arc::new(Event::new(object.revision, before, object, false)));
    }

    fn delete(&mut self, key: &ObjectKey, revision: Revision) {
        let Some(before) = self.latest(key) else { return };
        let object = Arc::new(last_state(&before, None, revision));
        self.latest.insert(key.clone(), None);
        self.events.push(Arc::new(Event::new(revision, Some(before), object, true)));
    }
}

/// Everything under the prefix as of one revision.
pub(super) async fn read_all(link: &Link) -> Result<(Revision, Vec<Arc<StoredObject>>), Error> {
    let end = end_of(link.config.prefix.as_bytes());
    let mut from = link.config.prefix.clone().into_bytes();
    let mut revision = 0;
    let mut objects = Vec::new();
    loop {
        let options = GetOptions::new().with_range(end.clone()).with_limit(PAGE).with_revision(revision);
        let mut kv = link.kv.clone();
        let page = tokio::time::timeout(link.config.request_timeout * 4, kv.get(from, Some(options)))
            .await
            .map_err(|_| Error::WatchError("no answer to a list".to_owned()))??;
        if revision == 0 {
            revision = page.header().map_or(0, |header| header.revision());
        }
        objects.extend(page.kvs().iter().filter_map(|kv| link.object_from(kv)).map(Arc::new));
        match page.kvs().last() {
            Some(last) if page.more() => {
                from = last.key().to_vec();
                from.push(0);
            }
            _ => return Ok((revision_from(revision), objects)),
        }
    }
}

/// The least key that does not begin with `prefix`.
fn end_of(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return end;
        }
    }
    vec![0]
}

/// Catches up by comparing lists: each object's net change becomes one event. What lies between can no longer be told,
/// so views of the past begin anew here.
async fn resync(link: &Arc<Link>) -> Result<(), Error> {
    let (revision, objects) = read_all(link).await?;
    let view = link.cache.view();
    let mut merge = Merge { view: &view, latest: HashMap::new(), events: Vec::new() };
    let mut changed = Vec::new();
    let mut there = std::collections::HashSet::with_capacity(objects.len());
    for object in objects {
        there.insert(object.key.clone());
        if view.get(&object.key).is_none_or(|known| known.revision < object.revision) {
            changed.push(object);
        }
    }
    changed.sort_by_key(|object| object.revision);
    for object in changed {
        if let Some(object) = Arc::into_inner(object) {
            merge.put(object);
        }
    }
    for collection in view.collections() {
        for gone in view.scan(&collection, None, None).filter(|object| !there.contains(&object.key)) {
            merge.delete(&gone.key, revision);
        }
    }
    let events = merge.events;
    drop(view);
    tracing::info!(changes = events.len(), %revision, "caught up with etcd from a list");
    link.cache.gap(revision);
    publish(link, &events, revision);
    Ok(())
}

/// Lets etcd forget history older than one period. Several servers may do so: a second compaction to the same place
/// fails and harms nobody.
pub(super) async fn compact_regularly(link: &Arc<Link>) {
    let every = link.config.compact_every;
    if every.is_zero() {
        return std::future::pending().await;
    }
    let mut last = link.cache.published();
    loop {
        tokio::time::sleep(every).await;
        let mut kv = link.kv.clone();
        if let Err(error) = kv.compact(number_from(last), None).await {
            tracing::debug!(%error, revision = %last, "etcd was not compacted");
        }
        last = link.cache.published();
    }
}

#[cfg(test)]
mod tests {
    use super::end_of;

    #[test]
    fn a_prefix_ends_where_the_next_text_begins() {
        assert_eq!(end_of(b"/gantry/"), b"/gantry0");
        assert_eq!(end_of(&[b'a', 0xFF]), b"b");
    }
}
