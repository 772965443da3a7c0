//! Follows one collection: everything there is, then every change, over any [`ResourceApi`] and any number of
//! disconnects.
//!
//! The loops' informers and the simulated nodes' pod source stand on this. What it promises: the first delta is a
//! [`Delta::Replace`]; the state after it plus all [`Delta::Changes`] in order is the collection as of
//! [`Reflector::revision`]. When a watch can no longer resume (410 `Expired`) another `Replace` follows and the
//! consumer takes the difference itself. It never ends; errors are retried with growing pauses.

use std::sync::Arc;
use std::time::Duration;

use gantry_store_cache::object::StoredObject;
use gantry_store_cache::revision::Revision;
use tokio::time::Instant;

use crate::resource::GroupVersionResource;
use crate::resource_api::{Collection, ListOptions, ResourceApi, WatchEvent, WatchOptions, WatchStream};
use crate::selector::{FieldSelector, LabelSelector};
use crate::status::Status;

/// At most this many events are taken at once.
const BATCH_EVENTS_MAX: usize = 1024;
/// The first pause after an error, as in client-go.
const PAUSE_FIRST: Duration = Duration::from_millis(800);
/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// What happened to the collection.
#[derive(Debug)]
pub enum Delta {
    /// This is all there is now; whatever else was known before is gone.
    Replace(Vec<Arc<StoredObject>>),
    /// These happened, in order. No bookmarks among them, and never empty.
    Changes(Vec<WatchEvent>),
}

/// One collection, followed.
pub struct Reflector {
    api: Arc<dyn ResourceApi>,
    resource: GroupVersionResource,
    labels: LabelSelector,
    fields: FieldSelector,
    state: State,
    reached: Revision,
    streaming_lists: bool,
    pause: Duration,
    gather: Duration,
    /// When changes were last handed out.
    handed_out: Option<Instant>,
    /// Until when the next ones are gathered.
    gathering_until: Option<Instant>,
}

/// `Unsynced → Between ⇄ Watching`, and from either back to `Unsynced` when the server says 410.
enum State {
    Unsynced,
    Between,
    Watching { stream: Box<dyn WatchStream>, since: Instant },
}

impl Reflector {
    /// Follows `resource` in all namespaces, as far as the selectors match.
    #[must_use]
    pub fn new(
        api: Arc<dyn ResourceApi>,
        resource: GroupVersionResource,
        labels: LabelSelector,
        fields: FieldSelector,
    ) -> Self {
        Self {
            api,
            resource,
            labels,
            fields,
            state: State::Unsynced,
            reached: Revision(0),
            streaming_lists: true,
            pause: PAUSE_FIRST,
            gather: Duration::ZERO,
            handed_out: None,
            gathering_until: None,
        }
    }

    /// While changes come thick, hands them out once in this time, together: for readers that are in no hurry, and whom
    /// being woken for each costs more than the change does. After a quiet time the first is handed out at once.
    #[must_use]
    pub fn gathering(mut self, time: Duration) -> Self {
        self.gather = time;
        self
    }

    /// Asks with a plain list instead of `sendInitialEvents`: cheaper where the server is this process.
    #[must_use]
    pub fn with_plain_lists(mut self) -> Self {
        self.streaming_lists = false;
        self
    }

    /// Everything up to here has been handed out.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.reached
    }

    /// The next delta; waits for it, through errors. Not cancel-safe: events may be lost with a dropped call, so give
    /// it a task of its own.
    pub async fn next(&mut self) -> Delta {
        loop {
            match &mut self.state {
                State::Unsynced => match self.all().await {
                    Ok(items) => {
                        self.pause = PAUSE_FIRST;
                        return Delta::Replace(items);
                    }
                    Err(status) => self.wait_after("list", &status).await,
                },
                State::Between => {
                    let options = WatchOptions { after: Some(self.reached), ..self.watch_options() };
                    match self.api.watch(&self.collection(), &options).await {
                        Ok(stream) => self.state = State::Watching { stream, since: Instant::now() },
                        Err(status) if expired(&status) => self.state = State::Unsynced,
                        Err(status) => self.wait_after("watch", &status).await,
                    }
                }
                State::Watching { .. } if self.gathering_until.is_some() => {
                    if let Some(until) = self.gathering_until.take() {
                        tokio::time::sleep_until(until).await;
                    }
                }
                State::Watching { stream, since } => match stream.next(BATCH_EVENTS_MAX).await {
                    Some(Ok(mut events)) => {
                        self.pause = PAUSE_FIRST;
                        for event in &events {
                            self.reached = self.reached.max(revision_of(event));
                        }
                        events.retain(|event| !matches!(event, WatchEvent::Bookmark { .. }));
                        if !events.is_empty() {
                            let now = Instant::now();
                            let before = self.handed_out.replace(now);
                            // Twice the time: whoever has just gathered comes a whole one after the last.
                            let thick = before.is_some_and(|before| now.duration_since(before) < 2 * self.gather);
                            self.gathering_until = thick.then(|| now + self.gather);
                            return Delta::Changes(events);
                        }
                    }
                    Some(Err(status)) => {
                        let gone = expired(&status);
                        self.state = if gone { State::Unsynced } else { State::Between };
                        if !gone {
                            self.wait_after("watch", &status).await;
                        }
                    }
                    None => {
                        // An end right after the beginning is a server in trouble, not its usual limit on watches.
                        let hasty = since.elapsed() < Duration::from_secs(1);
                        self.state = State::Between;
                        if hasty {
                            self.wait().await;
                        }
                    }
                },
            }
        }
    }

    fn collection(&self) -> Collection<'_> {
        Collection { resource: &self.resource, namespace: "" }
    }

    fn watch_options(&self) -> WatchOptions {
        WatchOptions {
            labels: self.labels.clone(),
            fields: self.fields.clone(),
            bookmarks: true,
            ..WatchOptions::default()
        }
    }

    /// The whole collection, with the state moved to where its changes continue.
    async fn all(&mut self) -> Result<Vec<Arc<StoredObject>>, Status> {
        if self.streaming_lists {
            match self.streamed().await {
                // The server does not know `sendInitialEvents`: ask the old way from now on.
                Err(status) if matches!(status.code, 400 | 405 | 422 | 501) => self.streaming_lists = false,
                other => return other,
            }
        }
        let options =
            ListOptions { labels: self.labels.clone(), fields: self.fields.clone(), ..ListOptions::default() };
        let mut items = Vec::new();
        let mut options = options;
        loop {
            let list = self.api.list(&self.collection(), &options).await?;
            items.extend(list.items);
            if list.continue_token.is_empty() {
                self.reached = list.revision;
                self.state = State::Between;
                return Ok(items);
            }
            options.continue_token = list.continue_token;
        }
    }

    async fn streamed(&mut self) -> Result<Vec<Arc<StoredObject>>, Status> {
        let options = WatchOptions { initial_events: true, ..self.watch_options() };
        let mut stream = self.api.watch(&self.collection(), &options).await?;
        let mut items = Vec::new();
        loop {
            let Some(events) = stream.next(BATCH_EVENTS_MAX).await else {
                return Err(Status {
                    code: 504,
                    message: "the watch ended within its initial events".into(),
                    ..Status::default()
                });
            };
            let mut ended = None;
            for event in events? {
                match event {
                    WatchEvent::Added(object) if ended.is_none() => items.push(object),
                    WatchEvent::Bookmark { revision, initial_events_end: true } => ended = Some(revision),
                    // A change right behind the bookmark, or among the initial events: as good as in the list.
                    WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                        ended = ended.map(|revision: Revision| revision.max(object.revision));
                        replace(&mut items, object);
                    }
                    WatchEvent::Deleted(object) => {
                        ended = ended.map(|revision: Revision| revision.max(object.revision));
                        items.retain(|known| known.key != object.key);
                    }
                    WatchEvent::Bookmark { .. } => {}
                }
            }
            if let Some(revision) = ended {
                self.reached = revision;
                self.state = State::Watching { stream, since: Instant::now() };
                return Ok(items);
            }
        }
    }

    async fn wait_after(&mut self, what: &str, status: &Status) {
        tracing::warn!(resource = %self.resource, error = %status, code = status.code, "{what} failed; trying again");
        self.wait().await;
    }

    async fn wait(&mut self) {
        tokio::time::sleep(self.pause).await;
        self.pause = (self.pause * 2).min(PAUSE_MAX);
    }
}

fn replace(items: &mut Vec<Arc<StoredObject>>, object: Arc<StoredObject>) {
    match items.iter_mut().find(|known| known.key == object.key) {
        Some(known) => *known = object,
        None => items.push(object),
    }
}

fn revision_of(event: &WatchEvent) -> Revision {
    match event {
        WatchEvent::Added(object) | WatchEvent::Modified(object) | WatchEvent::Deleted(object) => object.revision,
        WatchEvent::Bookmark { revision, .. } => *revision,
    }
}

fn expired(status: &Status) -> bool {
    status.code == 410
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use async_trait::async_trait;
    use bytes::Bytes;
    use gantry_store_cache::key::ObjectKey;
    use gantry_store_cache::object::Facets;
    use tokio::sync::mpsc;

    use super::*;
    use crate::resource::gvr;
    use crate::resource_api::{Binding, DeleteOptions, Deleted, ObjectList, PatchBody, Target, WriteOptions};
    use crate::value::Value;

    /// An API with one empty collection whose changes a test tells.
    struct Told(Mutex<Option<mpsc::UnboundedReceiver<WatchEvent>>>);

    struct Telling(mpsc::UnboundedReceiver<WatchEvent>);

    #[async_trait]
    impl WatchStream for Telling {
        async fn next(&mut self, max: usize) -> Option<Result<Vec<WatchEvent>, Status>> {
            let mut events = Vec::new();
            (self.0.recv_many(&mut events, max).await > 0).then_some(Ok(events))
        }
    }

    fn unused<T>() -> Result<T, Status> {
        Err(Status::no_such_resource())
    }

    #[async_trait]
    impl ResourceApi for Told {
        async fn get(&self, _: &Target<'_>) -> Result<Arc<StoredObject>, Status> {
            unused()
        }
        async fn list(&self, _: &Collection<'_>, _: &ListOptions) -> Result<ObjectList, Status> {
            unused()
        }
        async fn watch(&self, _: &Collection<'_>, _: &WatchOptions) -> Result<Box<dyn WatchStream>, Status> {
            Ok(Box::new(Telling(self.0.lock().expect("no holder panics").take().ok_or_else(Status::no_such_resource)?)))
        }
        async fn create(&self, _: &Target<'_>, _: Value, _: &WriteOptions) -> Result<Arc<StoredObject>, Status> {
            unused()
        }
        async fn update(&self, _: &Target<'_>, _: Value, _: &WriteOptions) -> Result<Arc<StoredObject>, Status> {
            unused()
        }
        async fn patch(&self, _: &Target<'_>, _: PatchBody, _: &WriteOptions) -> Result<Arc<StoredObject>, Status> {
            unused()
        }
        async fn delete(&self, _: &Target<'_>, _: &DeleteOptions) -> Result<Deleted, Status> {
            unused()
        }
        async fn delete_collection(
            &self,
            _: &Collection<'_>,
            _: &ListOptions,
            _: &DeleteOptions,
        ) -> Result<ObjectList, Status> {
            unused()
        }
        async fn bind_batch(&self, bindings: Vec<Binding>) -> Vec<Result<(), Status>> {
            bindings.iter().map(|_| unused()).collect()
        }

        async fn bind_gang(&self, _: Vec<Binding>) -> Result<(), Status> {
            unreachable!("a reflector binds nothing")
        }
    }

    fn change(revision: u64) -> WatchEvent {
        let (key, revision) = (ObjectKey::new("pods", "d", "p"), Revision(revision));
        WatchEvent::Modified(Arc::new(StoredObject::new(key, revision, revision, Bytes::new(), Facets::default())))
    }

    #[tokio::test(start_paused = true)]
    async fn thick_changes_are_gathered_and_the_first_after_a_quiet_time_is_not() {
        let (tell, told) = mpsc::unbounded_channel();
        tell.send(WatchEvent::Bookmark { revision: Revision(1), initial_events_end: true }).unwrap();
        let (labels, fields) = (LabelSelector::default(), FieldSelector::default());
        let api = Arc::new(Told(Mutex::new(Some(told))));
        let gather = Duration::from_millis(10);
        let mut reflector = Reflector::new(api, gvr::PODS.clone(), labels, fields).gathering(gather);
        assert!(matches!(reflector.next().await, Delta::Replace(items) if items.is_empty()));
        let began = Instant::now();
        // A change every millisecond for 95 ms, then one long after.
        tokio::spawn(async move {
            for revision in 2..97 {
                tokio::time::sleep(Duration::from_millis(1)).await;
                let _ = tell.send(change(revision));
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
            let _ = tell.send(change(97));
            std::future::pending::<()>().await;
        });
        let mut deltas = Vec::new();
        while reflector.revision() < Revision(97) {
            let Delta::Changes(events) = reflector.next().await else { panic!("a list") };
            deltas.push((began.elapsed().as_millis(), events.len()));
        }
        assert_eq!(deltas.iter().map(|(_, count)| count).sum::<usize>(), 96);
        assert_eq!(deltas[..2], [(1, 1), (2, 1)], "at once, until they come thick");
        assert!(deltas.len() <= 13, "{deltas:?}");
        assert_eq!(deltas.last(), Some(&(1095, 1)), "at once after a quiet time");
    }
}
