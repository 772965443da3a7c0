//! The informers of a process: one per resource, made when the first loop asks, shared by all.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use ahash::HashMap;
use gantry_machinery::clock::Clock;
use gantry_machinery::recorder::Recorder;
use gantry_machinery::reflector::Reflector;
use gantry_machinery::resource::{GroupVersionResource, gvr};
use gantry_machinery::resource_api::ResourceApi;
use gantry_machinery::selector::{FieldSelector, LabelSelector};
use gantry_store_cache::key::ObjectKey;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::informer::{Entry, IndexFn, Informer, Row};
use super::rows::{HasMeta, LeaseRow, Meta, MetaRow, NodeRow, PodRow, SelectingRow};
use crate::storage::rows::{Claim, Class, Volume};

/// While changes of a collection come thick, loops hear of them this often.
const GATHER: Duration = Duration::from_millis(10);

/// The index of every informer here: objects by the uid of their managing controller.
pub const BY_CONTROLLER: &str = "controller";
/// Pods by node name.
pub const BY_NODE: &str = "node";
/// Pods without a managing controller, by namespace: what a workload may adopt.
pub const ORPHANS: &str = "orphans";
/// Volumes by the claim that their `claimRef` names: `namespace/name`.
pub const BY_CLAIM: &str = "claim";
/// Volumes by class.
pub const VOLUMES_BY_CLASS: &str = "class";
/// Claims without a complete binding, by class.
pub const OPEN_BY_CLASS: &str = "open";
/// Claims by the volume they name.
pub const BY_VOLUME: &str = "volume";

/// All informers, and what they are made with.
pub struct Informers {
    api: Arc<dyn ResourceApi>,
    clock: Clock,
    tasks: TaskTracker,
    stop: CancellationToken,
    recorder: Recorder,
    pods: OnceLock<Arc<Informer<PodRow>>>,
    nodes: OnceLock<Arc<Informer<NodeRow>>>,
    leases: OnceLock<Arc<Informer<LeaseRow>>>,
    volumes: OnceLock<Arc<Informer<Volume>>>,
    claims: OnceLock<Arc<Informer<Claim>>>,
    storage_classes: OnceLock<Arc<Informer<Class>>>,
    selecting: Mutex<HashMap<GroupVersionResource, Arc<Informer<SelectingRow>>>>,
    others: Mutex<HashMap<GroupVersionResource, Arc<Informer<MetaRow>>>>,
}

impl Informers {
    /// None yet; informers made later run on `tasks` until `stop`.
    #[must_use]
    pub fn new(api: Arc<dyn ResourceApi>, clock: Clock, tasks: TaskTracker, stop: CancellationToken) -> Arc<Self> {
        let (recorder, recording) = Recorder::new(api.clone(), clock, "controllermanager", stop.clone());
        tasks.spawn(recording);
        Arc::new(Self {
            api,
            clock,
            tasks,
            stop,
            recorder,
            pods: OnceLock::new(),
            nodes: OnceLock::new(),
            leases: OnceLock::new(),
            volumes: OnceLock::new(),
            claims: OnceLock::new(),
            storage_classes: OnceLock::new(),
            selecting: Mutex::default(),
            others: Mutex::default(),
        })
    }

    /// The API that loops write to.
    #[must_use]
    pub fn api(&self) -> &Arc<dyn ResourceApi> {
        &self.api
    }

    /// What time it is.
    #[must_use]
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// Writes Events as `component`.
    #[must_use]
    pub fn recorder(&self, component: &'static str) -> Recorder {
        self.recorder.speaking_for(component)
    }

    /// Where tasks of loops run.
    #[must_use]
    pub fn tasks(&self) -> &TaskTracker {
        &self.tasks
    }

    /// Says when to stop.
    #[must_use]
    pub fn stop(&self) -> &CancellationToken {
        &self.stop
    }

    /// All pods, by controller, by node, and the orphans by namespace.
    #[must_use]
    pub fn pods(&self) -> Arc<Informer<PodRow>> {
        let indexes: &[(&str, IndexFn<PodRow>)] = &[
            (BY_CONTROLLER, by_controller),
            (BY_NODE, |entry, found| {
                if !entry.row.node.is_empty() {
                    found(&entry.row.node);
                }
            }),
            (ORPHANS, |entry, found| {
                if entry.row.meta.controller().is_none() {
                    found(entry.namespace());
                }
            }),
        ];
        self.pods.get_or_init(|| self.start(&gvr::PODS, indexes)).clone()
    }

    /// All nodes.
    #[must_use]
    pub fn nodes(&self) -> Arc<Informer<NodeRow>> {
        self.nodes.get_or_init(|| self.start(&gvr::NODES, &[(BY_CONTROLLER, by_controller)])).clone()
    }

    /// All Leases.
    #[must_use]
    pub fn leases(&self) -> Arc<Informer<LeaseRow>> {
        self.leases.get_or_init(|| self.start(&gvr::LEASES, &[(BY_CONTROLLER, by_controller)])).clone()
    }

    /// All PersistentVolumes, by claim and by class.
    #[must_use]
    pub fn volumes(&self) -> Arc<Informer<Volume>> {
        let indexes: &[(&str, IndexFn<Volume>)] = &[
            (BY_CONTROLLER, by_controller),
            (BY_CLAIM, |entry, found| {
                if let Some(claim) = &entry.row.row.claim {
                    found(&format!("{}/{}", claim.key.namespace, claim.key.name));
                }
            }),
            (VOLUMES_BY_CLASS, |entry, found| found(&entry.row.row.class)),
        ];
        self.volumes.get_or_init(|| self.start(&gvr::PERSISTENT_VOLUMES, indexes)).clone()
    }

    /// All PersistentVolumeClaims, by volume, and those to be bound by class.
    #[must_use]
    pub fn claims(&self) -> Arc<Informer<Claim>> {
        let indexes: &[(&str, IndexFn<Claim>)] = &[
            (BY_CONTROLLER, by_controller),
            (OPEN_BY_CLASS, |entry, found| {
                if !entry.row.row.bind_completed {
                    found(&entry.row.row.class);
                }
            }),
            (BY_VOLUME, |entry, found| {
                if !entry.row.row.volume.is_empty() {
                    found(&entry.row.row.volume);
                }
            }),
        ];
        self.claims.get_or_init(|| self.start(&gvr::PERSISTENT_VOLUME_CLAIMS, indexes)).clone()
    }

    /// All StorageClasses.
    #[must_use]
    pub fn storage_classes(&self) -> Arc<Informer<Class>> {
        self.storage_classes
            .get_or_init(|| self.start(&gvr::STORAGE_CLASSES, &[(BY_CONTROLLER, by_controller)]))
            .clone()
    }

    /// A resource whose objects select pods: workloads, services, budgets.
    #[must_use]
    pub fn selecting(&self, resource: &GroupVersionResource) -> Arc<Informer<SelectingRow>> {
        self.kept(&self.selecting, resource)
    }

    /// The metadata rows of any other resource.
    #[must_use]
    pub fn of(&self, resource: &GroupVersionResource) -> Arc<Informer<MetaRow>> {
        self.kept(&self.others, resource)
    }

    fn kept<R: HasMeta>(
        &self,
        among: &Mutex<HashMap<GroupVersionResource, Arc<Informer<R>>>>,
        resource: &GroupVersionResource,
    ) -> Arc<Informer<R>> {
        let mut among = among.lock();
        match among.get(resource) {
            Some(informer) => informer.clone(),
            None => {
                let informer = self.start(resource, &[(BY_CONTROLLER, by_controller as IndexFn<R>)]);
                among.insert(resource.clone(), informer.clone());
                informer
            }
        }
    }

    /// Tells `handler` of everything in a resource, and of every change: `(key, before, after)`. Whatever informer
    /// follows the resource is shared.
    pub fn on_any_change(
        &self,
        resource: &GroupVersionResource,
        handler: impl Fn(&ObjectKey, Option<Arc<dyn Known>>, Option<Arc<dyn Known>>) + Send + Sync + 'static,
    ) {
        fn known<R: HasMeta>(entry: Option<&Arc<Entry<R>>>) -> Option<Arc<dyn Known>> {
            entry.map(|entry| entry.clone() as Arc<dyn Known>)
        }
        fn join<R: HasMeta>(
            informer: &Informer<R>,
            handler: impl Fn(&ObjectKey, Option<Arc<dyn Known>>, Option<Arc<dyn Known>>) + Send + Sync + 'static,
        ) {
            informer.on_change(move |before, after| {
                if let Some(entry) = after.or(before) {
                    handler(entry.key(), known(before), known(after));
                }
            });
        }
        match Followed::of(resource) {
            Followed::Pods => join(&self.pods(), handler),
            Followed::Nodes => join(&self.nodes(), handler),
            Followed::Leases => join(&self.leases(), handler),
            Followed::Volumes => join(&self.volumes(), handler),
            Followed::Claims => join(&self.claims(), handler),
            Followed::StorageClasses => join(&self.storage_classes(), handler),
            Followed::Selecting => join(&self.selecting(resource), handler),
            Followed::Other => join(&self.of(resource), handler),
        }
    }

    /// The same for a resource that comes and goes while the loops run: an informer of its own, which ends with `stop`.
    pub fn follow_until(
        &self,
        resource: &GroupVersionResource,
        stop: CancellationToken,
        handler: impl Fn(&ObjectKey, Option<Arc<dyn Known>>, Option<Arc<dyn Known>>) + Send + Sync + 'static,
    ) {
        let informer = Arc::new(Informer::<MetaRow>::new(resource.collection(), &[]));
        informer.on_change(move |before, after| {
            if let Some(entry) = after.or(before) {
                let known = |entry: Option<&Arc<Entry<MetaRow>>>| entry.map(|entry| entry.clone() as Arc<dyn Known>);
                handler(entry.key(), known(before), known(after));
            }
        });
        let reflector = self.reflector(resource);
        self.tasks.spawn(async move {
            stop.run_until_cancelled(informer.follow(reflector)).await;
        });
    }

    /// Waits until a resource's informer has its first full list.
    pub async fn any_synced(&self, resource: &GroupVersionResource) {
        match Followed::of(resource) {
            Followed::Pods => self.pods().synced().await,
            Followed::Nodes => self.nodes().synced().await,
            Followed::Leases => self.leases().synced().await,
            Followed::Volumes => self.volumes().synced().await,
            Followed::Claims => self.claims().synced().await,
            Followed::StorageClasses => self.storage_classes().synced().await,
            Followed::Selecting => self.selecting(resource).synced().await,
            Followed::Other => self.of(resource).synced().await,
        }
    }

    fn start<R: Row>(
        &self,
        resource: &GroupVersionResource,
        indexes: &[(&'static str, IndexFn<R>)],
    ) -> Arc<Informer<R>> {
        let informer = Arc::new(Informer::new(resource.collection(), indexes));
        let reflector = self.reflector(resource);
        let (following, stop) = (informer.clone(), self.stop.clone());
        self.tasks.spawn(async move {
            stop.run_until_cancelled(following.follow(reflector)).await;
        });
        informer
    }

    fn reflector(&self, resource: &GroupVersionResource) -> Reflector {
        let (labels, fields) = (LabelSelector::default(), FieldSelector::default());
        Reflector::new(self.api.clone(), resource.clone(), labels, fields).gathering(GATHER)
    }
}

/// An object of any kind, as far as its metadata goes.
pub trait Known: Send + Sync {
    /// Its metadata.
    fn meta(&self) -> &Meta;
}

impl<R: HasMeta> Known for Entry<R> {
    fn meta(&self) -> &Meta {
        self.row.meta()
    }
}

/// Which kind of row a resource is followed with.
enum Followed {
    Pods,
    Nodes,
    Leases,
    Volumes,
    Claims,
    StorageClasses,
    Selecting,
    Other,
}

impl Followed {
    fn of(resource: &GroupVersionResource) -> Self {
        let selecting = [&gvr::DEPLOYMENTS, &gvr::REPLICA_SETS, &gvr::SERVICES, &gvr::POD_DISRUPTION_BUDGETS];
        match resource {
            resource if *resource == gvr::PODS => Self::Pods,
            resource if *resource == gvr::NODES => Self::Nodes,
            resource if *resource == gvr::LEASES => Self::Leases,
            resource if *resource == gvr::PERSISTENT_VOLUMES => Self::Volumes,
            resource if *resource == gvr::PERSISTENT_VOLUME_CLAIMS => Self::Claims,
            resource if *resource == gvr::STORAGE_CLASSES => Self::StorageClasses,
            resource if selecting.contains(&resource) => Self::Selecting,
            _ => Self::Other,
        }
    }
}

fn by_controller<R: HasMeta>(entry: &Entry<R>, found: &mut dyn FnMut(&str)) {
    if let Some(controller) = entry.row.meta().controller() {
        found(&controller.uid);
    }
}
