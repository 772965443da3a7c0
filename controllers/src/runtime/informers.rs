//! The informers of a process: one per resource, made when the first loop asks, shared by all.

use std::sync::{Arc, OnceLock};

use ahash::HashMap;
use gantry_machinery::clock::Clock;
use gantry_machinery::recorder::Recorder;
use gantry_machinery::reflector::Reflector;
use gantry_machinery::resource::{GroupVersionResource, gvr};
use gantry_machinery::resource_api::ResourceApi;
use gantry_machinery::selector::{FieldSelector, LabelSelector};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::informer::{Entry, IndexFn, Informer, Row};
use super::rows::{HasMeta, LeaseRow, MetaRow, NodeRow, PodRow, SelectingRow};

/// The index of every informer here: objects by the uid of their managing controller.
pub const BY_CONTROLLER: &str = "controller";
/// Pods by node name.
pub const BY_NODE: &str = "node";
/// Pods without a managing controller, by namespace: what a workload may adopt.
pub const ORPHANS: &str = "orphans";

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

    fn start<R: Row>(
        &self,
        resource: &GroupVersionResource,
        indexes: &[(&'static str, IndexFn<R>)],
    ) -> Arc<Informer<R>> {
        let informer = Arc::new(Informer::new(resource.collection(), indexes));
        let reflector =
            Reflector::new(self.api.clone(), resource.clone(), LabelSelector::default(), FieldSelector::default());
        let (following, stop) = (informer.clone(), self.stop.clone());
        self.tasks.spawn(async move {
            stop.run_until_cancelled(following.follow(reflector)).await;
        });
        informer
    }
}

fn by_controller<R: HasMeta>(entry: &Entry<R>, found: &mut dyn FnMut(&str)) {
    if let Some(controller) = entry.row.meta().controller() {
        found(&controller.uid);
    }
}
