//! Deletes what nobody owns any more (Kubernetes, "Garbage Collection"): in the background after an owner is gone, in
//! the foreground before it goes, or lets dependents be orphans where that was asked for.
//!
//! The graph is kept from the metadata of all informers: who names whom as owner, by uid. That an owner does not exist
//! is never concluded from the graph alone: informers of different kinds are not in step. It is asked for directly,
//! by name, and must have another uid or none.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use ahash::{HashMap, HashSet};
use async_trait::async_trait;
use compact_str::CompactString;
use gantry_machinery::resource::{GroupVersionResource, Resource, gvr};
use gantry_machinery::resource_api::{DeleteOptions, Propagation};
use gantry_machinery::typed::{typed, value_of};
use gantry_machinery::value::Value;
use gantry_store_cache::key::ObjectKey;
use gantry_store_cache::object::StoredObject;
use parking_lot::RwLock;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::runtime::custom::{DEFINITIONS, custom_resources};
use crate::runtime::informers::{Informers, Known};
use crate::runtime::reconcile::{Action, Queue, Reconcile};
use crate::runtime::rows::{HasMeta, Meta, MetaRow, Owner};
use crate::runtime::write::{LoopError, Writer, is_not_found};

/// The finalizer of a foreground deletion.
const FOREGROUND: &str = "foregroundDeletion";
/// The finalizer of a deletion that leaves dependents alone.
const ORPHAN: &str = "orphan";

/// How soon the definitions are asked for again after that failed.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// The loop; keys are objects of any kind.
pub struct GarbageCollector {
    informers: Arc<Informers>,
    writer: Writer,
    resources: RwLock<Vec<Arc<Watched>>>,
    graph: RwLock<Graph>,
    queue: OnceLock<Arc<Queue>>,
}

/// A resource in the graph.
struct Watched {
    gvr: GroupVersionResource,
    collection: String,
    kind: String,
    namespaced: bool,
    /// Ends the informer of a custom resource; `None` for what is always there.
    until: Option<CancellationToken>,
}

/// Who there is, and who names whom.
#[derive(Default)]
struct Graph {
    objects: HashMap<ObjectKey, Arc<dyn Known>>,
    /// Keys of those that exist, by uid.
    by_uid: HashMap<CompactString, ObjectKey>,
    /// Keys of those that name a uid as their owner.
    dependents: HashMap<CompactString, HashSet<ObjectKey>>,
}

impl Graph {
    fn set(&mut self, key: &ObjectKey, after: Option<Arc<dyn Known>>) {
        let before = match &after {
            Some(after) => self.objects.insert(key.clone(), after.clone()),
            None => self.objects.remove(key),
        };
        if let Some(before) = before {
            let meta = before.meta();
            if self.by_uid.get(&meta.uid) == Some(key) {
                self.by_uid.remove(&meta.uid);
            }
            for owner in &meta.owner_references {
                if let Some(keys) = self.dependents.get_mut(&owner.uid) {
                    keys.remove(key);
                    if keys.is_empty() {
                        self.dependents.remove(&owner.uid);
                    }
                }
            }
        }
        if let Some(after) = after {
            let meta = after.meta();
            self.by_uid.insert(meta.uid.clone(), key.clone());
            for owner in &meta.owner_references {
                self.dependents.entry(owner.uid.clone()).or_default().insert(key.clone());
            }
        }
    }

    fn dependents_of(&self, uid: &str) -> impl Iterator<Item = (&ObjectKey, &Arc<dyn Known>)> {
        self.dependents.get(uid).into_iter().flatten().filter_map(|key| Some((key, self.objects.get(key)?)))
    }

    /// An owner as the graph has it.
    fn owner(&self, owner: &Owner) -> Option<&Arc<dyn Known>> {
        self.objects.get(self.by_uid.get(&owner.uid)?)
    }
}

/// What became of an owner.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// It is there.
    Solid,
    /// It is there and waits for its dependents to go.
    Waiting,
    /// It is not there.
    Dangling,
}

impl GarbageCollector {
    /// Over all `resources` that can be listed, watched and deleted; Events own and are owned by nobody.
    #[must_use]
    pub fn new(informers: &Arc<Informers>, resources: &[Resource]) -> Arc<Self> {
        let has = |resource: &Resource, verb: &str| resource.verbs.iter().any(|served| served == verb);
        let resources = resources
            .iter()
            .filter(|resource| ["list", "watch", "delete"].iter().all(|verb| has(resource, verb)))
            .filter(|resource| resource.gvr.resource != gvr::EVENTS.resource)
            .map(|resource| {
                Arc::new(Watched {
                    gvr: resource.gvr.clone(),
                    collection: resource.gvr.collection().into_owned(),
                    kind: resource.kind.to_string(),
                    namespaced: resource.namespaced,
                    until: None,
                })
            })
            .collect();
        Arc::new(Self {
            informers: informers.clone(),
            writer: Writer::new(informers.api().clone(), "garbage-collector-controller"),
            resources: RwLock::new(resources),
            graph: RwLock::default(),
            queue: OnceLock::new(),
        })
    }

    fn resource_of(&self, key: &ObjectKey) -> Option<Arc<Watched>> {
        self.resources.read().iter().find(|resource| resource.collection == key.collection()).cloned()
    }

    /// Follows the custom resources that are defined now, and no others any more.
    async fn follow_custom(self: &Arc<Self>, queue: &Arc<Queue>) -> Result<(), LoopError> {
        let wanted = custom_resources(&**self.informers.api()).await?;
        let gone: Vec<Arc<Watched>> = {
            let mut resources = self.resources.write();
            let stays = |watched: &Arc<Watched>| {
                watched.until.is_none()
                    || wanted.iter().any(|custom| custom.gvr == watched.gvr && custom.kind == watched.kind)
            };
            let (stay, gone) = resources.drain(..).partition(stays);
            *resources = stay;
            gone
        };
        for watched in gone {
            if let Some(until) = &watched.until {
                until.cancel();
            }
            let mut graph = self.graph.write();
            let keys: Vec<ObjectKey> =
                graph.objects.keys().filter(|key| key.collection() == watched.collection).cloned().collect();
            for key in keys {
                graph.set(&key, None);
            }
        }
        for custom in wanted {
            if self.resources.read().iter().any(|watched| watched.gvr == custom.gvr) {
                continue;
            }
            let until = self.informers.stop().child_token();
            self.resources.write().push(Arc::new(Watched {
                collection: custom.gvr.collection().into_owned(),
                gvr: custom.gvr.clone(),
                kind: custom.kind,
                namespaced: custom.namespaced,
                until: Some(until.clone()),
            }));
            let (me, to) = (self.clone(), queue.clone());
            self.informers.follow_until(&custom.gvr, until, move |key, before, after| {
                me.changed(key, before.as_ref().map(|before| before.meta()), after, &to);
            });
        }
        Ok(())
    }

    /// Keeps to the definitions, for as long as the loops run.
    async fn keep_to_definitions(self: Arc<Self>, queue: Arc<Queue>, changed: Arc<Notify>) {
        loop {
            changed.notified().await;
            if let Err(error) = self.follow_custom(&queue).await {
                tracing::warn!(%error, "custom resources are not followed yet");
                tokio::time::sleep(LOOK_AGAIN).await;
                changed.notify_one();
            }
        }
    }

    /// Where an owner is to be found; `None` for kinds that are not watched here.
    fn place_of(&self, owner: &Owner, namespace: &str) -> Option<(Arc<Watched>, ObjectKey)> {
        let group = |api_version: &str| api_version.rsplit_once('/').map_or("", |(group, _)| group).to_owned();
        let wanted = group(&owner.api_version);
        let is = |resource: &&Arc<Watched>| resource.kind == owner.kind && resource.gvr.group == wanted;
        let resource = self.resources.read().iter().find(is)?.clone();
        let namespace = if resource.namespaced { namespace } else { "" };
        let key = ObjectKey::new(&resource.collection, namespace, &owner.name);
        Some((resource, key))
    }

    /// Takes a change into the graph and names those it concerns.
    fn changed(&self, key: &ObjectKey, before: Option<&Meta>, after: Option<Arc<dyn Known>>, queue: &Queue) {
        let mut graph = self.graph.write();
        graph.set(key, after.clone());
        match after {
            Some(after) => {
                let meta = after.meta();
                let leaving = meta.deleting() && holds(meta, FOREGROUND);
                let orphaning = meta.deleting() && holds(meta, ORPHAN);
                // Owners it does not know (yet), and owners that wait for it, are a reason to look at it.
                let suspect = meta.owner_references.iter().any(|owner| {
                    graph.owner(owner).is_none_or(|owner| owner.meta().deleting() && holds(owner.meta(), FOREGROUND))
                });
                if leaving || orphaning || suspect {
                    queue.add(key.clone());
                }
                // An owner that waits may be waiting for the blocking reference this one just gave up.
                for owner in before.iter().flat_map(|before| before.owner_references.iter()) {
                    if !meta.owner_references.contains(owner) {
                        queue_owner(&graph, owner, queue);
                    }
                }
            }
            None => {
                let Some(before) = before else { return };
                for (dependent, _) in graph.dependents_of(&before.uid) {
                    queue.add(dependent.clone());
                }
                for owner in &before.owner_references {
                    queue_owner(&graph, owner, queue);
                }
            }
        }
    }

    async fn standing(&self, owner: &Owner, namespace: &str) -> Result<Standing, LoopError> {
        let known = self.graph.read().owner(owner).map(|known| {
            let meta = known.meta();
            if meta.deleting() && holds(meta, FOREGROUND) { Standing::Waiting } else { Standing::Solid }
        });
        if let Some(known) = known {
            return Ok(known);
        }
        // Nobody here watches such owners: they are taken to be there.
        let Some((resource, key)) = self.place_of(owner, namespace) else { return Ok(Standing::Solid) };
        let Some(live) = self.writer.get(&resource.gvr, key.namespace(), key.name()).await? else {
            return Ok(Standing::Dangling);
        };
        let row = typed::<MetaRow>(&live)?;
        let meta = row.meta();
        Ok(if meta.uid != owner.uid {
            Standing::Dangling
        } else if meta.deleting() && holds(meta, FOREGROUND) {
            Standing::Waiting
        } else {
            Standing::Solid
        })
    }

    /// An object that waits for its dependents: asks them to go, and lets it go when none blocks it any more.
    async fn foreground(&self, watched: &Watched, live: &StoredObject, meta: &Meta) -> Result<(), LoopError> {
        let (blocked, blocking) = {
            let graph = self.graph.read();
            let mut blocked = false;
            let mut waiting: Vec<ObjectKey> = Vec::new();
            for (key, dependent) in graph.dependents_of(&meta.uid) {
                let owners = &dependent.meta().owner_references;
                if owners.iter().any(|owner| owner.uid == meta.uid && owner.block_owner_deletion) {
                    blocked = true;
                    if !dependent.meta().deleting() {
                        waiting.push(key.clone());
                    }
                }
            }
            (blocked, waiting)
        };
        if !blocked {
            return self.unfinalize(watched, live, FOREGROUND).await;
        }
        // Each by its own turn: owners may go round in circles.
        if let Some(queue) = self.queue.get() {
            for key in blocking {
                queue.add(key);
            }
        }
        Ok(())
    }

    /// An object whose dependents are to stay: takes its name off them, then lets it go.
    async fn orphan(&self, watched: &Watched, live: &StoredObject, meta: &Meta) -> Result<(), LoopError> {
        let dependents: Vec<ObjectKey> =
            self.graph.read().dependents_of(&meta.uid).map(|(key, _)| key.clone()).collect();
        for key in dependents {
            let Some(resource) = self.resource_of(&key) else { continue };
            let Some(dependent) = self.writer.get(&resource.gvr, key.namespace(), key.name()).await? else {
                continue;
            };
            self.disown(&resource, &dependent, &|uid| uid == meta.uid).await?;
        }
        self.unfinalize(watched, live, ORPHAN).await
    }

    /// Takes owner references off an object.
    async fn disown(
        &self,
        watched: &Watched,
        object: &StoredObject,
        drop: &(dyn Fn(&str) -> bool + Sync),
    ) -> Result<(), LoopError> {
        let edit = |object: &mut Value| {
            strike(object, "ownerReferences", |owner| owner.str_at(&["uid"]).is_some_and(drop));
        };
        tolerate(self.writer.edit(&watched.gvr, object, edit).await)
    }

    /// Lets its owners go before it.
    async fn unblock(&self, watched: &Watched, object: &StoredObject) -> Result<(), LoopError> {
        let edit = |object: &mut Value| {
            let owners = object.at_mut(&["metadata", "ownerReferences"]).and_then(Value::as_array_mut);
            for owner in owners.into_iter().flatten() {
                owner.remove(&["blockOwnerDeletion"]);
            }
        };
        tolerate(self.writer.edit(&watched.gvr, object, edit).await)
    }

    async fn unfinalize(&self, watched: &Watched, live: &StoredObject, finalizer: &str) -> Result<(), LoopError> {
        let has = value_of(live)?;
        if !has.array_at(&["metadata", "finalizers"]).iter().any(|found| found.as_str() == Some(finalizer)) {
            return Ok(());
        }
        let edit = |object: &mut Value| {
            strike(object, "finalizers", |found| found.as_str() == Some(finalizer));
        };
        tolerate(self.writer.edit(&watched.gvr, live, edit).await)
    }

    /// Looks at one object live and does what its owners' standing asks for.
    async fn collect(&self, key: &ObjectKey) -> Result<(), LoopError> {
        let Some(watched) = self.resource_of(key) else { return Ok(()) };
        let Some(live) = self.writer.get(&watched.gvr, key.namespace(), key.name()).await? else { return Ok(()) };
        let row = typed::<MetaRow>(&live)?;
        let meta = row.meta();
        if meta.deleting() {
            if holds(meta, ORPHAN) {
                return self.orphan(&watched, &live, meta).await;
            }
            if holds(meta, FOREGROUND) {
                return self.foreground(&watched, &live, meta).await;
            }
            return Ok(());
        }
        if meta.owner_references.is_empty() {
            return Ok(());
        }
        let mut standings = Vec::with_capacity(meta.owner_references.len());
        for owner in &meta.owner_references {
            standings.push((owner, self.standing(owner, key.namespace()).await?));
        }
        let any = |standing| standings.iter().any(|(_, found)| *found == standing);
        if any(Standing::Solid) {
            if any(Standing::Waiting) || any(Standing::Dangling) {
                let gone = |uid: &str| {
                    standings.iter().any(|(owner, standing)| *standing != Standing::Solid && owner.uid == uid)
                };
                return self.disown(&watched, &live, &gone).await;
            }
            return Ok(());
        }
        let (has_dependents, in_circle) = {
            let graph = self.graph.read();
            let mut dependents = graph.dependents_of(&meta.uid).peekable();
            let any = dependents.peek().is_some();
            (any, dependents.any(|(_, known)| known.meta().deleting() && holds(known.meta(), FOREGROUND)))
        };
        if any(Standing::Waiting) && in_circle {
            // A dependent waits for us while our owner does: nobody may block whom any more.
            self.unblock(&watched, &live).await?;
        }
        let propagation = if any(Standing::Waiting) && has_dependents {
            Propagation::Foreground
        } else if holds(meta, ORPHAN) {
            Propagation::Orphan
        } else if holds(meta, FOREGROUND) {
            Propagation::Foreground
        } else {
            Propagation::Background
        };
        let options = DeleteOptions {
            uid: Some(meta.uid.to_string()),
            propagation: Some(propagation),
            ..DeleteOptions::default()
        };
        self.writer.delete(&watched.gvr, key.namespace(), key.name(), options).await?;
        Ok(())
    }
}

#[async_trait]
impl Reconcile for GarbageCollector {
    fn name(&self) -> &'static str {
        "garbage-collector-controller"
    }

    fn watch(self: Arc<Self>, queue: &Arc<Queue>) {
        // Loops are watched once; a second queue would never be read.
        let _ = self.queue.set(queue.clone());
        let resources = self.resources.read().clone();
        if resources.iter().any(|resource| resource.gvr == DEFINITIONS) {
            let changed = Arc::new(Notify::new());
            let stop = self.informers.stop().clone();
            let keeping = self.clone().keep_to_definitions(queue.clone(), changed.clone());
            self.informers.tasks().spawn(async move { stop.run_until_cancelled(keeping).await });
            self.informers.on_any_change(&DEFINITIONS, move |_, _, _| changed.notify_one());
        }
        for resource in resources {
            let (me, to) = (self.clone(), queue.clone());
            self.informers.on_any_change(&resource.gvr, move |key, before, after| {
                me.changed(key, before.as_ref().map(|before| before.meta()), after, &to);
            });
        }
    }

    async fn synced(&self) {
        let resources = self.resources.read().clone();
        for resource in resources.iter().filter(|resource| resource.until.is_none()) {
            self.informers.any_synced(&resource.gvr).await;
        }
    }

    async fn reconcile(&self, key: &ObjectKey) -> Result<Action, LoopError> {
        self.collect(key).await?;
        Ok(Action::Done)
    }
}

fn holds(meta: &Meta, finalizer: &str) -> bool {
    meta.finalizers.iter().any(|found| found == finalizer)
}

/// Takes items off a list of the metadata, and the list when nothing is left of it.
fn strike(object: &mut Value, list: &str, off: impl Fn(&Value) -> bool) {
    let Some(items) = object.at_mut(&["metadata", list]).and_then(Value::as_array_mut) else { return };
    items.retain(|item| !off(item));
    if items.is_empty() {
        object.remove(&["metadata", list]);
    }
}

/// An owner that waits for its dependents is looked at again.
fn queue_owner(graph: &Graph, owner: &Owner, queue: &Queue) {
    if let Some(key) = graph.by_uid.get(&owner.uid)
        && graph.objects.get(key).is_some_and(|owner| owner.meta().deleting() && holds(owner.meta(), FOREGROUND))
    {
        queue.add(key.clone());
    }
}

/// An object that went meanwhile needs nothing more; a conflict is tried again.
fn tolerate(written: Result<Arc<StoredObject>, LoopError>) -> Result<(), LoopError> {
    match written {
        Ok(_) => Ok(()),
        Err(LoopError::Api(status)) if is_not_found(&status) => Ok(()),
        Err(error) => Err(error),
    }
}
