//! The one door to the API. The registry implements it in process; a client implements it over HTTPS with a
//! kubeconfig. A loop never knows which one it holds.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use gantry_store_cache::object::StoredObject;
use gantry_store_cache::revision::Revision;

use crate::event::NewEvent;
use crate::interchange::Part;
use crate::resource::{GroupVersionResource, gvr};
use crate::selector::{FieldSelector, LabelSelector, ShardSelector};
use crate::status::Status;
use crate::value::Value;

/// Get, list, watch, create, update, patch, delete, and `bind_batch`, as one user. Objects come back as the shared
/// stored form: JSON in the version asked for, with key, revision and facets beside it.
#[async_trait]
pub trait ResourceApi: Send + Sync + 'static {
    /// One object (or its subresource: `scale`, `status`), as of now.
    async fn get(&self, target: &Target<'_>) -> Result<Arc<StoredObject>, Status>;

    /// The objects of a collection that match.
    async fn list(&self, of: &Collection<'_>, options: &ListOptions) -> Result<ObjectList, Status>;

    /// Changes of a collection after a revision; see [`WatchOptions`].
    async fn watch(&self, of: &Collection<'_>, options: &WatchOptions) -> Result<Box<dyn WatchStream>, Status>;

    /// A new object, or what a create-only subresource does (`binding`, `eviction`, `token`): gives the answer.
    async fn create(
        &self,
        target: &Target<'_>,
        object: Value,
        options: &WriteOptions,
    ) -> Result<Arc<StoredObject>, Status>;

    /// Replaces an object or its subresource. A `metadata.resourceVersion` inside is a precondition.
    async fn update(
        &self,
        target: &Target<'_>,
        object: Value,
        options: &WriteOptions,
    ) -> Result<Arc<StoredObject>, Status>;

    /// Changes an object by a patch.
    async fn patch(
        &self,
        target: &Target<'_>,
        patch: PatchBody,
        options: &WriteOptions,
    ) -> Result<Arc<StoredObject>, Status>;

    /// Deletes an object, or begins to: finalizers and grace periods may leave it visible with a deletionTimestamp.
    async fn delete(&self, target: &Target<'_>, options: &DeleteOptions) -> Result<Deleted, Status>;

    /// Deletes what matches; gives what was asked to go.
    async fn delete_collection(
        &self,
        of: &Collection<'_>,
        list: &ListOptions,
        options: &DeleteOptions,
    ) -> Result<ObjectList, Status>;

    /// The rows of a projection's objects, by its name, in place of the objects themselves: what a scheduler reads.
    /// `None` where there are none: then the objects are to be listed and watched.
    async fn rows(&self, projection: &str) -> Result<Option<Box<dyn RowStream>>, Status> {
        let _ = projection;
        Ok(None)
    }

    /// Writes Events, each with an answer of its own; by Gantry's own server in one commit.
    async fn create_events(&self, events: Vec<NewEvent>) -> Vec<Result<(), Status>> {
        let mut answers = Vec::with_capacity(events.len());
        for event in events {
            let target = Target::object(&gvr::EVENTS, &event.regarding.namespace, "");
            answers.push(self.create(&target, event.object(), &WriteOptions::default()).await.map(drop));
        }
        answers
    }

    /// Binds many pods, each with an answer of its own, in the given order; by Gantry's own server in one commit.
    async fn bind_batch(&self, bindings: Vec<Binding>) -> Vec<Result<(), Status>>;

    /// Binds the pods of a gang in one commit: all of them, or none. Servers other than ours bind one pod after another up
    /// to the first refusal: what was bound until then stays bound.
    ///
    /// # Errors
    /// Why not. After an error that is no refusal (5xx) nobody may conclude that nothing is bound.
    async fn bind_gang(&self, bindings: Vec<Binding>) -> Result<(), Status>;
}

/// Rows of a projection as they come: all there are, then every change.
#[async_trait]
pub trait RowStream: Send {
    /// The next part; waits for it. `None` when the server ended the stream. After an end or an error only a new stream
    /// goes on, with all rows again.
    async fn next(&mut self) -> Option<Result<Part, Status>>;
}

/// The objects of a resource, in one namespace or (empty) in all.
#[derive(Clone, Copy, Debug)]
pub struct Collection<'a> {
    /// The resource.
    pub resource: &'a GroupVersionResource,
    /// The namespace; empty for all, and for resources without.
    pub namespace: &'a str,
}

/// One object, or a subresource of it.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// The resource.
    pub resource: &'a GroupVersionResource,
    /// The namespace; empty for resources without.
    pub namespace: &'a str,
    /// The name; empty when creating with the name in the object.
    pub name: &'a str,
    /// `status`, `scale`, `binding`, `eviction`, ...; empty for the object itself.
    pub subresource: &'a str,
}

impl<'a> Target<'a> {
    /// The object itself.
    #[must_use]
    pub const fn object(resource: &'a GroupVersionResource, namespace: &'a str, name: &'a str) -> Self {
        Self { resource, namespace, name, subresource: "" }
    }

    /// A subresource of it.
    #[must_use]
    pub const fn sub(self, subresource: &'a str) -> Self {
        Self { subresource, ..self }
    }
}

/// What a list is asked for (API concepts, "Retrieving large results sets in chunks", "Resource versions").
#[derive(Clone, Debug, Default)]
pub struct ListOptions {
    /// Labels that must match.
    pub labels: LabelSelector,
    /// Fields that must match.
    pub fields: FieldSelector,
    /// The part of the collection that is asked for; `None` for all of it.
    pub shard: Option<ShardSelector>,
    /// At most this many, with a token for the rest; 0 for all.
    pub limit: u64,
    /// The token of the chunk before.
    pub continue_token: String,
    /// Which state is good enough.
    pub version: VersionRule,
}

/// Which state a read may be served from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum VersionRule {
    /// No `resourceVersion`: the latest.
    #[default]
    MostRecent,
    /// `resourceVersion=0`: whatever is at hand.
    Any,
    /// `resourceVersionMatch=NotOlderThan`, and a bare `resourceVersion`.
    NotOlderThan(Revision),
    /// `resourceVersionMatch=Exact`.
    Exact(Revision),
}

/// A list's answer.
#[derive(Clone, Debug, Default)]
pub struct ObjectList {
    /// The state that the list shows: watch from here.
    pub revision: Revision,
    /// The objects, by namespace and name.
    pub items: Vec<Arc<StoredObject>>,
    /// The token for the next chunk; empty at the end.
    pub continue_token: String,
    /// How many follow this chunk, where it is known.
    pub remaining: Option<u64>,
}

/// What a watch is asked for (API concepts, "Efficient detection of changes", KEP-3157 for initial events).
#[derive(Clone, Debug, Default)]
pub struct WatchOptions {
    /// Labels that must match; objects that begin or cease to match appear as added or deleted.
    pub labels: LabelSelector,
    /// Fields that must match.
    pub fields: FieldSelector,
    /// The part of the collection that is asked for; `None` for all of it.
    pub shard: Option<ShardSelector>,
    /// Where to begin: `None` or zero shows the present objects as added first.
    pub after: Option<Revision>,
    /// Whether bookmarks are wanted.
    pub bookmarks: bool,
    /// `sendInitialEvents`: the present objects first, then a bookmark that says so.
    pub initial_events: bool,
    /// Ends the watch after this long; `None` for the server's own limit.
    pub timeout: Option<std::time::Duration>,
}

/// The changes of a watch.
#[async_trait]
pub trait WatchStream: Send {
    /// The next changes: at least one, at most `max`, waiting for the first. `None` when the watch has ended and a
    /// new one may begin after the last revision seen; an error (410 `Expired`) when a new list is needed.
    async fn next(&mut self, max: usize) -> Option<Result<Vec<WatchEvent>, Status>>;
}

/// One change, as a watcher is shown it.
#[derive(Clone, Debug)]
pub enum WatchEvent {
    /// It began to exist, or to match.
    Added(Arc<StoredObject>),
    /// It changed.
    Modified(Arc<StoredObject>),
    /// It is gone, or ceased to match: its last state, with the revision of the change.
    Deleted(Arc<StoredObject>),
    /// Everything up to here has been shown.
    Bookmark {
        /// The revision reached.
        revision: Revision,
        /// Whether this ends the initial events.
        initial_events_end: bool,
    },
}

/// How a write is made.
#[derive(Clone, Debug, Default)]
pub struct WriteOptions {
    /// Who is recorded in managedFields; empty takes the user agent's or loop's name.
    pub field_manager: String,
    /// Everything but the commit.
    pub dry_run: bool,
    /// What unknown and duplicate fields do.
    pub field_validation: FieldValidation,
    /// For apply: take fields over from other managers.
    pub force: bool,
}

/// What unknown and duplicate fields of a body do (`fieldValidation`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FieldValidation {
    /// They are dropped silently.
    Ignore,
    /// They are dropped with a warning header: the server's default.
    #[default]
    Warn,
    /// The request fails.
    Strict,
}

/// A patch as it came.
#[derive(Clone, Debug)]
pub struct PatchBody {
    /// Its format.
    pub kind: PatchKind,
    /// The document: JSON, or YAML for apply.
    pub body: Bytes,
}

/// The four patch formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatchKind {
    /// `application/json-patch+json`, RFC 6902.
    Json,
    /// `application/merge-patch+json`, RFC 7386.
    Merge,
    /// `application/strategic-merge-patch+json`.
    Strategic,
    /// `application/apply-patch+yaml`: server-side apply.
    Apply,
}

/// How a delete is made.
#[derive(Clone, Debug, Default)]
pub struct DeleteOptions {
    /// Seconds until a running pod is gone; `None` takes the object's own.
    pub grace_period_seconds: Option<i64>,
    /// The object must have this uid.
    pub uid: Option<String>,
    /// The object must be at this resourceVersion.
    pub resource_version: Option<String>,
    /// What happens to dependents; `None` takes the kind's default.
    pub propagation: Option<Propagation>,
    /// Everything but the commit.
    pub dry_run: bool,
}

/// What a delete does to dependents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    /// They stay and lose their owner.
    Orphan,
    /// They go afterwards, by the garbage collector.
    Background,
    /// They go first.
    Foreground,
}

/// What a delete came to.
#[derive(Clone, Debug)]
pub enum Deleted {
    /// The object is gone; its last state.
    Gone(Arc<StoredObject>),
    /// The object is still there, marked: finalizers or a grace period hold it.
    Marked(Arc<StoredObject>),
}

/// One pod to one node.
#[derive(Clone, Debug)]
pub struct Binding {
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name.
    pub name: String,
    /// The pod's uid, a precondition unless empty.
    pub uid: String,
    /// The node.
    pub node: String,
}
