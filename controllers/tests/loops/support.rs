//! A whole cluster in process, without sockets: registry, loops, simulated nodes, and a scheduler that takes turns.

use std::sync::Arc;
use std::time::Duration;

use gantry_apiserver::registry::Registry;
use gantry_apiserver::registry::describe::{FacetReader, indexed_fields};
use gantry_apiserver::registry::kinds;
use gantry_apiserver::registry::request::RequestContext;
use gantry_apiserver::registry::table::Table;
use gantry_controllers::manager::{Manager, ManagerConfig, Running};
use gantry_kubelet::fleet::{Fleet, FleetConfig};
use gantry_kubelet::node::heartbeat::HeartbeatConfig;
use gantry_kubelet::runtime::simulated::SimulatedConfig;
use gantry_machinery::reflector::{Delta, Reflector};
use gantry_machinery::resource::{GroupVersionResource, Resource, gvr};
use gantry_machinery::resource_api::{
    Binding, Collection, DeleteOptions, ListOptions, PatchBody, PatchKind, Propagation, ResourceApi, Target,
    WatchEvent, WriteOptions,
};
use gantry_machinery::typed::parse;
use gantry_store_cache::config::StoreConfig;
use gantry_store_cache::store::Store;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Everything happens within this time, or the test fails.
const DEADLINE: Duration = Duration::from_secs(30);

/// A cluster.
pub(crate) struct Cluster {
    pub(crate) api: Arc<dyn ResourceApi>,
    pub(crate) fleet: Fleet,
    config: ManagerConfig,
    loops: Option<Running>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Cluster {
    /// A cluster of three nodes with all loops.
    pub(crate) async fn new() -> Self {
        Self::with(|_| {}, Duration::from_millis(50)).await
    }

    /// The same with the loops configured by `change`, and Leases renewed every `lease_period`.
    pub(crate) async fn with(change: impl FnOnce(&mut ManagerConfig), lease_period: Duration) -> Self {
        let config = StoreConfig { indexed_fields: indexed_fields(), ..StoreConfig::default() };
        let describe = Arc::new(FacetReader::new(Table::new(kinds::all())));
        let store = Store::open(config, describe, Vec::new()).unwrap();
        let registry = Registry::new(store, Table::new(kinds::all()));
        let resources: Vec<Resource> = registry.table().collections().map(|row| (*row.resource).clone()).collect();
        let api: Arc<dyn ResourceApi> = Arc::new(registry.as_user(RequestContext::in_process("test")));
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let mut config = ManagerConfig { resources, root_ca: "a certificate".to_owned(), ..ManagerConfig::default() };
        change(&mut config);
        let fleet = FleetConfig {
            simulated: SimulatedConfig {
                start_delay: Duration::ZERO,
                stop_delay: Duration::from_millis(5),
                ..SimulatedConfig::default()
            },
            heartbeat: HeartbeatConfig { lease_period, ..HeartbeatConfig::default() },
            ..FleetConfig::default()
        };
        for namespace in ["default", "kube-system", "kube-node-lease"] {
            let body = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}});
            create(&*api, &gvr::NAMESPACES, "", body).await;
        }
        let fleet = Fleet::start(api.clone(), fleet, &tasks, &stop);
        tasks.spawn(stop.clone().run_until_cancelled_owned(take_turns(api.clone())));
        fleet.registered().await;
        let mut cluster = Self { api, fleet, config, loops: None, tasks, stop };
        cluster.start_loops();
        cluster.wait(&gvr::SERVICE_ACCOUNTS, "default", "default", |account| account.is_some()).await;
        cluster
    }

    pub(crate) fn start_loops(&mut self) {
        self.loops = Some(Manager::start(self.api.clone(), &self.config).unwrap());
    }

    pub(crate) async fn stop_loops(&mut self) {
        if let Some(loops) = self.loops.take() {
            loops.stop().await;
        }
    }

    pub(crate) async fn stop(mut self) {
        self.stop_loops().await;
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    pub(crate) async fn create(&self, resource: &GroupVersionResource, namespace: &str, body: Value) -> Value {
        create(&*self.api, resource, namespace, body).await
    }

    pub(crate) async fn patch(&self, resource: &GroupVersionResource, namespace: &str, name: &str, patch: Value) {
        let body = PatchBody { kind: PatchKind::Merge, body: patch.to_string().into() };
        let target = Target::object(resource, namespace, name);
        self.api.patch(&target, body, &WriteOptions::default()).await.unwrap();
    }

    pub(crate) async fn delete(
        &self,
        resource: &GroupVersionResource,
        namespace: &str,
        name: &str,
        propagation: Option<Propagation>,
    ) {
        let options = DeleteOptions { propagation, ..DeleteOptions::default() };
        self.api.delete(&Target::object(resource, namespace, name), &options).await.unwrap();
    }

    pub(crate) async fn list(&self, resource: &GroupVersionResource, namespace: &str) -> Vec<Value> {
        let list = self.api.list(&Collection { resource, namespace }, &ListOptions::default()).await.unwrap();
        list.items.iter().map(|object| serde_json::from_slice(&object.body).unwrap()).collect()
    }

    /// Waits until `enough` holds of one object (`None`: it does not exist), and gives it.
    pub(crate) async fn wait(
        &self,
        resource: &GroupVersionResource,
        namespace: &str,
        name: &str,
        enough: impl Fn(Option<&Value>) -> bool,
    ) -> Option<Value> {
        let find = |all: &[Value]| {
            let is = |object: &&Value| {
                object["metadata"]["name"] == name
                    && object["metadata"]["namespace"].as_str().unwrap_or_default() == namespace
            };
            all.iter().find(is).cloned()
        };
        let all = self.wait_all(resource, |all| enough(find(all).as_ref())).await;
        find(&all)
    }

    /// Waits until `enough` holds of all objects of a resource, and gives them.
    pub(crate) async fn wait_all(
        &self,
        resource: &GroupVersionResource,
        enough: impl Fn(&[Value]) -> bool,
    ) -> Vec<Value> {
        let mut known: std::collections::BTreeMap<String, Value> = Default::default();
        let watching = async {
            let mut source = Reflector::new(self.api.clone(), resource.clone(), Default::default(), Default::default());
            loop {
                let decode = |body: &[u8]| serde_json::from_slice(body).unwrap();
                match source.next().await {
                    Delta::Replace(objects) => {
                        known = objects.iter().map(|o| (o.key.to_string(), decode(&o.body))).collect();
                    }
                    Delta::Changes(events) => {
                        for event in events {
                            match event {
                                WatchEvent::Added(o) | WatchEvent::Modified(o) => {
                                    known.insert(o.key.to_string(), decode(&o.body));
                                }
                                WatchEvent::Deleted(o) => {
                                    known.remove(&o.key.to_string());
                                }
                                WatchEvent::Bookmark { .. } => {}
                            }
                        }
                    }
                }
                let all: Vec<Value> = known.values().cloned().collect();
                if enough(&all) {
                    return all;
                }
            }
        };
        let waited = tokio::time::timeout(DEADLINE, watching).await;
        waited.unwrap_or_else(|_| panic!("{resource} did not come to what was waited for: {known:#?}"))
    }
}

async fn create(api: &dyn ResourceApi, resource: &GroupVersionResource, namespace: &str, body: Value) -> Value {
    let object = parse(body.to_string().as_bytes()).unwrap();
    let made = api.create(&Target::object(resource, namespace, ""), object, &WriteOptions::default()).await;
    serde_json::from_slice(&made.unwrap().body).unwrap()
}

/// Binds every pod to the next of three nodes that is not cordoned or tainted.
async fn take_turns(api: Arc<dyn ResourceApi>) {
    let mut turn = 0;
    let mut source = Reflector::new(api.clone(), gvr::PODS.clone(), Default::default(), Default::default());
    loop {
        let objects = match source.next().await {
            Delta::Replace(objects) => objects,
            Delta::Changes(events) => events
                .into_iter()
                .filter_map(|event| match event {
                    WatchEvent::Added(object) | WatchEvent::Modified(object) => Some(object),
                    _ => None,
                })
                .collect(),
        };
        let mut bindings = Vec::new();
        for object in objects {
            let pod: Value = serde_json::from_slice(&object.body).unwrap();
            if pod["spec"]["nodeName"].is_null() && pod["metadata"]["deletionTimestamp"].is_null() {
                turn += 1;
                bindings.push(Binding {
                    namespace: object.key.namespace().to_owned(),
                    name: object.key.name().to_owned(),
                    uid: pod["metadata"]["uid"].as_str().unwrap().to_owned(),
                    node: format!("node-{}", turn % 3),
                });
            }
        }
        if !bindings.is_empty() {
            // One that was bound or deleted meanwhile needs nothing more.
            let _ = api.bind_batch(bindings).await;
        }
    }
}

/// A Deployment of `replicas` pods labelled `app=<name>`.
pub(crate) fn deployment(name: &str, replicas: i32, image: &str) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "web", "image": image, "ports": [{"name": "http", "containerPort": 80}]}]},
            },
        },
    })
}

/// The condition's status; empty where there is none.
pub(crate) fn condition<'a>(object: &'a Value, kind: &str) -> &'a Value {
    let conditions = object["status"]["conditions"].as_array();
    conditions.into_iter().flatten().find(|condition| condition["type"] == kind).unwrap_or(&Value::Null)
}
