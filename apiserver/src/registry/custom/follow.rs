//! Follows the stored definitions: compiles each change, puts the rows in place, and then lets [`super::naming`] and
//! [`super::finalize`] write what is to be said or done about it.
//!
//! One task per API server, on the store's own watch: with several servers on one etcd each serves a new resource as
//! soon as it sees the definition. Rows are in place, and discovery names them, before a definition is called
//! established, so whoever waits for that finds the resource served.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use gantry_machinery::resource::GroupVersionResource;
use gantry_machinery::resource_api::{ResourceApi, Target, WriteOptions};
use gantry_machinery::value::Value;
use gantry_store_cache::object::StoredObject;
use gantry_store_cache::revision::Revision;
use gantry_store_cache::store::Store;
use gantry_store_cache::watch::{Change, Interest};
use tokio_util::sync::CancellationToken;

use super::definition::{self, Definition};
use super::naming::{self, Claimed};
use super::{announce, conditions, finalize};
use crate::registry::handle::Handle;
use crate::registry::request::RequestContext;
use crate::registry::{Registry, body, metadata};

/// Definitions.
pub(crate) static DEFINITIONS: GroupVersionResource =
    GroupVersionResource::of("apiextensions.k8s.io", "v1", "customresourcedefinitions");

const COLLECTION: &str = "customresourcedefinitions.apiextensions.k8s.io";
const BATCH: usize = 64;
/// How long writes that began under the definition before may still be on their way.
const IN_FLIGHT: Duration = Duration::from_secs(10);

/// A definition as it was last seen.
struct Held {
    value: Arc<Value>,
    served: Option<Definition>,
}

/// All definitions of the store.
pub(crate) struct Follower {
    registry: Arc<Registry>,
    handle: Handle,
    held: BTreeMap<String, Held>,
    /// Definitions that are being emptied, by name.
    emptying: BTreeSet<String>,
    stop: CancellationToken,
}

impl Registry {
    /// Serves the custom resources that are defined now and, in a task of its own, those that are defined from now on.
    /// Call it once; it ends with `stop`.
    pub fn serve_custom_resources(self: &Arc<Self>, stop: CancellationToken) {
        let handle = self.as_user(RequestContext::in_process("system:apiserver"));
        let (announcer, ends) = (handle.clone(), stop.clone());
        let mut follower =
            Follower { registry: self.clone(), handle, held: BTreeMap::new(), emptying: BTreeSet::new(), stop };
        let since = follower.load(self.store());
        tokio::spawn(follower.run(since));
        tokio::spawn(announce::run(self.clone(), announcer, ends));
    }
}

impl Follower {
    /// Reads all definitions; gives the revision they are of.
    fn load(&mut self, store: &Store) -> Revision {
        let view = store.view();
        let before: Vec<String> = self.held.keys().cloned().collect();
        let mut found = Vec::new();
        for object in view.scan(COLLECTION, None, None) {
            found.push(object.key.name().to_owned());
            self.put(&object);
        }
        for gone in before.iter().filter(|name| !found.contains(name)) {
            self.drop(gone);
        }
        self.publish();
        view.revision()
    }

    async fn run(mut self, mut since: Revision) {
        let stop = self.stop.clone();
        let store = self.registry.store().clone();
        let all: Vec<String> = self.held.keys().cloned().collect();
        self.settle(&all).await;
        loop {
            let mut feed = match store.watch(Interest::all(COLLECTION), since) {
                Ok(feed) => feed,
                Err(expired) => {
                    tracing::warn!(%expired, "definitions are followed anew");
                    since = self.load(&store);
                    continue;
                }
            };
            loop {
                let batch = tokio::select! {
                    () = stop.cancelled() => return,
                    batch = feed.next(BATCH) => batch,
                };
                match batch {
                    Ok(changes) => {
                        let names = self.take(&changes);
                        self.settle(&names).await;
                    }
                    Err(expired) => {
                        tracing::warn!(%expired, "definitions are followed anew");
                        since = self.load(&store);
                        let all: Vec<String> = self.held.keys().cloned().collect();
                        self.settle(&all).await;
                        break;
                    }
                }
            }
        }
    }

    /// Takes changes in; gives the names of what changed.
    fn take(&mut self, changes: &[Change]) -> Vec<String> {
        let mut names = Vec::new();
        let mut served = false;
        for change in changes {
            let object = &change.event.object;
            served |= if change.event.deleted { self.drop(object.key.name()) } else { self.put(object) };
            names.push(object.key.name().to_owned());
        }
        if served {
            self.publish();
        }
        names.sort_unstable();
        names.dedup();
        names
    }

    /// Takes a definition in; gives whether what is served changed.
    fn put(&mut self, object: &Arc<StoredObject>) -> bool {
        let name = object.key.name().to_owned();
        let value = match body::decode(object) {
            Ok(value) => value,
            Err(status) => {
                tracing::error!(%name, %status, "a definition cannot be read");
                return self.drop(&name);
            }
        };
        let before = self.held.remove(&name).and_then(|held| held.served);
        if before.as_ref().is_some_and(|served| served.identity == definition::identity(&value)) {
            self.held.insert(name, Held { value, served: before });
            return false;
        }
        let replaced = before.filter(|served| !served.rows.is_empty());
        // What was written under the definition before is read through the schema, also what is on its way just now.
        let settled = if replaced.is_some() { u64::MAX } else { object.revision.0 };
        let served = definition::compile(object, &value, settled)
            .inspect_err(|why| tracing::error!(%name, %why, "a definition cannot be served"))
            .ok();
        if let Some(replaced) = replaced {
            replaced.retired.cancel();
            if let Some(served) = &served {
                let (settled, store) = (served.settled.clone(), self.registry.store().clone());
                tokio::spawn(async move {
                    tokio::time::sleep(IN_FLIGHT).await;
                    settled.store(store.view().revision().0, Ordering::Release);
                });
            }
        }
        self.held.insert(name, Held { value, served });
        true
    }

    fn drop(&mut self, name: &str) -> bool {
        self.emptying.remove(name);
        let Some(held) = self.held.remove(name) else { return false };
        if let Some(served) = held.served {
            served.retired.cancel();
        }
        true
    }

    /// Puts the rows of all definitions in place.
    fn publish(&self) {
        let rows = self.held.values().filter_map(|held| held.served.as_ref()).flat_map(|served| served.rows.iter());
        self.registry.table().set_custom(rows.cloned());
    }

    /// Says and does what the changed definitions ask for; one of them may have freed a name that others wait for.
    async fn settle(&mut self, changed: &[String]) {
        let group = |name: &str| name.split_once('.').map_or("", |(_, group)| group).to_owned();
        let groups: Vec<String> = changed.iter().map(|name| group(name)).collect();
        let mut due = Vec::new();
        for (name, held) in &self.held {
            let waits = conditions::status_of(&held.value, "NamesAccepted") == Some("False");
            let concerned = changed.contains(name) || (waits && groups.contains(&group(name)));
            if !concerned {
                continue;
            }
            if !metadata::is_deleting(&held.value) {
                due.push(name.clone());
            } else if metadata::finalizers(&held.value).any(|f| f == finalize::FINALIZER)
                && self.emptying.insert(name.clone())
            {
                finalize::begin(&self.handle, name, &self.stop);
            }
        }
        if !due.is_empty() {
            let stop = self.stop.clone();
            if stop.run_until_cancelled(self.registry.table().until_discoverable()).await.is_none() {
                return;
            }
        }
        for name in due {
            // Each as of now: two that want one name must not both get it.
            let Some(status) = self.status_due(&name) else { continue };
            if let Some(written) = write_status(&self.handle, &name, status).await
                && self.put(&written)
            {
                self.publish();
            }
        }
    }

    /// The definition with the status that is due, if it is another than it has.
    fn status_due(&self, name: &str) -> Option<Value> {
        let held = self.held.get(name)?;
        let others = self.held.iter().filter(|(other, _)| *other != name).map(|(_, held)| &*held.value);
        let claimed = Claimed::by(others, held.value.str_at(&["spec", "group"]).unwrap_or_default());
        naming::settled(&held.value, &claimed, held.served.is_some())
    }
}

/// Writes a definition's status. Whoever was quicker caused another change, which is settled in its turn.
pub(super) async fn write_status(handle: &Handle, name: &str, definition: Value) -> Option<Arc<StoredObject>> {
    let target = Target::object(&DEFINITIONS, "", name).sub("status");
    match handle.update(&target, definition, &WriteOptions::default()).await {
        Ok(written) => Some(written),
        Err(status) => {
            if !(status.is_conflict() || status.is_not_found()) {
                tracing::warn!(%name, %status, "the status of a definition was not written");
            }
            None
        }
    }
}
