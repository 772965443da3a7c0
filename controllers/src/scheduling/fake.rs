//! A `ResourceApi` of nodes and pods in memory, for the tests of the loop: lists, watches, binds, and refuses to on
//! demand.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use gantry_machinery::resource_api::{
    Binding, Collection, DeleteOptions, Deleted, ListOptions, ObjectList, PatchBody, ResourceApi, Target, WatchEvent,
    WatchOptions, WatchStream, WriteOptions,
};
use gantry_machinery::status::Status;
use gantry_machinery::value::Value;
use gantry_store_cache::key::ObjectKey;
use gantry_store_cache::object::{Facets, StoredObject};
use gantry_store_cache::revision::Revision;
use parking_lot::Mutex;
use serde_json::{Value as Json, json};
use tokio::sync::Notify;

/// What a binding comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BindFate {
    /// It is done and says so.
    Done,
    /// It is done, but the answer is lost.
    DoneUnheard,
    /// It is not done.
    NotDone,
}

#[derive(Default)]
pub(super) struct FakeApi {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    revision: u64,
    objects: BTreeMap<ObjectKey, (Json, Arc<StoredObject>)>,
    log: Vec<WatchEvent>,
    fates: Vec<BindFate>,
    patches: Vec<(String, Json)>,
    created: Vec<String>,
    bound_twice: Vec<String>,
    /// Whether deletions are refused.
    evictions_refused: bool,
    /// Watches end with 410 until this many have.
    expirations: u32,
}

impl FakeApi {
    pub(super) fn put(self: &Arc<Self>, collection: &str, body: Json) {
        let mut state = self.state.lock();
        state.put(collection, body);
        drop(state);
        self.changed.notify_waiters();
    }

    pub(super) fn delete(&self, collection: &str, namespace: &str, name: &str) {
        let mut state = self.state.lock();
        let key = ObjectKey::new(collection, namespace, name);
        if let Some((_, object)) = state.objects.remove(&key) {
            state.revision += 1;
            let revision = Revision(state.revision);
            let gone = StoredObject::new(key, revision, object.created, object.body.clone(), Facets::default());
            state.log.push(WatchEvent::Deleted(Arc::new(gone)));
        }
        drop(state);
        self.changed.notify_waiters();
    }

    /// The next bindings come to this; then all are done.
    pub(super) fn fates(&self, fates: &[BindFate]) {
        self.state.lock().fates = fates.iter().rev().copied().collect();
    }

    /// Refuses deletions, or no longer.
    pub(super) fn refuse_evictions(&self, refuse: bool) {
        self.state.lock().evictions_refused = refuse;
    }

    /// Ends all watches with 410, once.
    pub(super) fn expire(&self) {
        let mut state = self.state.lock();
        state.expirations += 1;
        drop(state);
        self.changed.notify_waiters();
    }

    /// Waits until `look` finds what it wants.
    pub(super) async fn until<T>(&self, mut look: impl FnMut(&View<'_>) -> Option<T>) -> T {
        let waiting = async {
            loop {
                let changed = self.changed.notified();
                if let Some(found) = look(&View(&self.state.lock())) {
                    return found;
                }
                changed.await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(20), waiting).await.expect("it happens in time")
    }
}

/// The state, to look at.
pub(super) struct View<'a>(&'a State);

impl View<'_> {
    /// Where a pod is bound.
    pub(super) fn node(&self, name: &str) -> Option<String> {
        let (body, _) = self.0.objects.get(&ObjectKey::new("pods", "d", name))?;
        body["spec"]["nodeName"].as_str().map(str::to_owned)
    }

    /// The status patches of a pod.
    pub(super) fn patches(&self, name: &str) -> Vec<Json> {
        self.0.patches.iter().filter(|(n, _)| n == name).map(|(_, p)| p.clone()).collect()
    }

    /// The reasons and messages of Events.
    pub(super) fn events(&self) -> &[String] {
        &self.0.created
    }

    /// Pods that somebody tried to bind while they were bound.
    pub(super) fn bound_twice(&self) -> &[String] {
        &self.0.bound_twice
    }
}

impl State {
    fn put(&mut self, collection: &str, mut body: Json) {
        self.revision += 1;
        let revision = Revision(self.revision);
        body["metadata"]["resourceVersion"] = self.revision.to_string().into();
        let text = |field: &str| body["metadata"][field].as_str().unwrap_or_default().to_owned();
        let key = ObjectKey::new(collection, &text("namespace"), &text("name"));
        let created = self.objects.get(&key).map_or(revision, |(_, old)| old.created);
        let bytes = Bytes::from(body.to_string());
        let object = Arc::new(StoredObject::new(key.clone(), revision, created, bytes, Facets::default()));
        let new = self.objects.insert(key, (body, object.clone())).is_none();
        self.log.push(if new { WatchEvent::Added(object) } else { WatchEvent::Modified(object) });
    }

    fn bind(&mut self, binding: &Binding) -> Result<(), Status> {
        let failed = |code| Status { code, message: "refused".into(), ..Status::default() };
        let key = ObjectKey::new("pods", &binding.namespace, &binding.name);
        let Some((body, _)) = self.objects.get(&key) else { return Err(failed(404)) };
        if body["metadata"]["uid"] != *binding.uid {
            return Err(failed(409));
        }
        if body["spec"]["nodeName"].is_string() {
            self.bound_twice.push(binding.name.clone());
            return Err(failed(409));
        }
        let fate = self.fates.pop().unwrap_or(BindFate::Done);
        if fate != BindFate::NotDone {
            let mut body = body.clone();
            body["spec"]["nodeName"] = binding.node.as_str().into();
            self.put("pods", body);
        }
        if fate == BindFate::Done { Ok(()) } else { Err(failed(503)) }
    }
}

struct Stream {
    api: Arc<FakeApi>,
    collection: String,
    at: usize,
    expirations: u32,
}

#[async_trait]
impl WatchStream for Stream {
    async fn next(&mut self, max: usize) -> Option<Result<Vec<WatchEvent>, Status>> {
        loop {
            let changed = self.api.changed.notified();
            {
                let state = self.api.state.lock();
                if state.expirations > self.expirations {
                    return Some(Err(Status { code: 410, message: "expired".into(), ..Status::default() }));
                }
                let mut events = Vec::new();
                while self.at < state.log.len() && events.len() < max {
                    let event = &state.log[self.at];
                    if key(event).is_some_and(|k| k.collection() == self.collection) {
                        events.push(event.clone());
                    }
                    self.at += 1;
                }
                if !events.is_empty() {
                    return Some(Ok(events));
                }
            }
            changed.await;
        }
    }
}

fn key(event: &WatchEvent) -> Option<&ObjectKey> {
    match event {
        WatchEvent::Added(o) | WatchEvent::Modified(o) | WatchEvent::Deleted(o) => Some(&o.key),
        WatchEvent::Bookmark { .. } => None,
    }
}

/// The tests hold the api in an `Arc`; a watch needs to hold it too.
pub(super) struct Shared(pub(super) Arc<FakeApi>);

#[async_trait]
impl ResourceApi for Shared {
    async fn get(&self, target: &Target<'_>) -> Result<Arc<StoredObject>, Status> {
        let key = ObjectKey::new(&target.resource.collection(), target.namespace, target.name);
        let state = self.0.state.lock();
        let found = state.objects.get(&key).map(|(_, object)| object.clone());
        found.ok_or(Status { code: 404, message: "not found".into(), ..Status::default() })
    }

    async fn list(&self, of: &Collection<'_>, _: &ListOptions) -> Result<ObjectList, Status> {
        let state = self.0.state.lock();
        let collection = of.resource.collection();
        let all = state.objects.iter().filter(|(key, _)| key.collection() == collection);
        let items = all.map(|(_, (_, object))| object.clone()).collect();
        Ok(ObjectList { revision: Revision(state.revision), items, ..ObjectList::default() })
    }

    async fn watch(&self, of: &Collection<'_>, options: &WatchOptions) -> Result<Box<dyn WatchStream>, Status> {
        if options.initial_events {
            return Err(Status { code: 422, message: "plain lists only".into(), ..Status::default() });
        }
        let state = self.0.state.lock();
        let after = options.after.unwrap_or_default();
        let at = state.log.iter().position(|e| key(e).is_some() && revision(e) > after).unwrap_or(state.log.len());
        let collection = of.resource.collection().into_owned();
        Ok(Box::new(Stream { api: self.0.clone(), collection, at, expirations: state.expirations }))
    }

    async fn create(&self, _: &Target<'_>, object: Value, _: &WriteOptions) -> Result<Arc<StoredObject>, Status> {
        let text = |path: &[&str]| object.str_at(path).unwrap_or_default().to_owned();
        let line = format!("{} {}: {}", text(&["reason"]), text(&["involvedObject", "name"]), text(&["message"]));
        self.0.state.lock().created.push(line);
        self.0.changed.notify_waiters();
        let revision = Revision::default();
        let key = ObjectKey::new("events", "d", "e");
        Ok(Arc::new(StoredObject::new(key, revision, revision, Bytes::new(), Facets::default())))
    }

    async fn update(&self, _: &Target<'_>, _: Value, _: &WriteOptions) -> Result<Arc<StoredObject>, Status> {
        unreachable!("the scheduler replaces nothing")
    }

    async fn patch(
        &self,
        target: &Target<'_>,
        patch: PatchBody,
        _: &WriteOptions,
    ) -> Result<Arc<StoredObject>, Status> {
        let body: Json = serde_json::from_slice(&patch.body).expect("a patch is JSON");
        let current = self.get(target).await?;
        let mut state = self.0.state.lock();
        if body["metadata"]["resourceVersion"] != *current.revision.to_string() {
            return Err(Status { code: 409, message: "changed".into(), ..Status::default() });
        }
        state.patches.push((target.name.to_owned(), body));
        drop(state);
        self.0.changed.notify_waiters();
        Ok(current)
    }

    async fn delete(&self, target: &Target<'_>, options: &DeleteOptions) -> Result<Deleted, Status> {
        let object = self.get(target).await?;
        let failed = |code| Status { code, message: "refused".into(), ..Status::default() };
        if self.0.state.lock().evictions_refused {
            return Err(failed(403));
        }
        let body: Json = serde_json::from_slice(&object.body).expect("stored objects are JSON");
        if body["metadata"]["uid"].as_str() != options.uid.as_deref() {
            return Err(failed(409));
        }
        self.0.delete("pods", target.namespace, target.name);
        Ok(Deleted::Gone(object))
    }

    async fn delete_collection(
        &self,
        _: &Collection<'_>,
        _: &ListOptions,
        _: &DeleteOptions,
    ) -> Result<ObjectList, Status> {
        unreachable!("the scheduler deletes nothing")
    }

    async fn bind_batch(&self, bindings: Vec<Binding>) -> Vec<Result<(), Status>> {
        let mut state = self.0.state.lock();
        let answers = bindings.iter().map(|b| state.bind(b)).collect();
        drop(state);
        self.0.changed.notify_waiters();
        answers
    }

    async fn bind_gang(&self, bindings: Vec<Binding>) -> Result<(), Status> {
        let mut state = self.0.state.lock();
        let answer = bindings.iter().try_for_each(|b| state.bind(b));
        drop(state);
        self.0.changed.notify_waiters();
        answer
    }
}

fn revision(event: &WatchEvent) -> Revision {
    match event {
        WatchEvent::Added(o) | WatchEvent::Modified(o) | WatchEvent::Deleted(o) => o.revision,
        WatchEvent::Bookmark { revision, .. } => *revision,
    }
}

/// A node with room for `pods` pods.
pub(super) fn node(name: &str, pods: u32) -> Json {
    json!({"metadata": {"name": name, "uid": name},
           "status": {"allocatable": {"cpu": "4", "memory": "8Gi", "pods": pods.to_string()}}})
}

/// A pod that fits anywhere.
pub(super) fn pod(name: &str) -> Json {
    json!({"metadata": {"name": name, "namespace": "d", "uid": format!("uid-{name}"), "generation": 1},
           "spec": {"schedulerName": "default-scheduler",
                    "containers": [{"name": "c", "resources": {"requests": {"cpu": "100m"}}}]}})
}
