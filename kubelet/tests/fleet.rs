//! A fleet against the registry in process: nodes register and beat, pods run and go, restarts change nothing.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails there")]

use std::sync::Arc;
use std::time::Duration;

use gantry_apiserver::registry::Registry;
use gantry_apiserver::registry::describe::FacetReader;
use gantry_apiserver::registry::kinds;
use gantry_apiserver::registry::request::RequestContext;
use gantry_apiserver::registry::table::Table;
use gantry_kubelet::fleet::{Fleet, FleetConfig};
use gantry_kubelet::node::heartbeat::HeartbeatConfig;
use gantry_kubelet::runtime::simulated::SimulatedConfig;
use gantry_machinery::reflector::{Delta, Reflector};
use gantry_machinery::resource::{GroupVersionResource, gvr};
use gantry_machinery::resource_api::{
    Collection, DeleteOptions, ListOptions, PatchBody, PatchKind, ResourceApi, Target, WatchEvent, WriteOptions,
};
use gantry_machinery::typed::parse;
use gantry_store_cache::store::Store;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// An API server without sockets, and the fleets started on it.
struct Cluster {
    api: Arc<dyn ResourceApi>,
}

impl Cluster {
    async fn new() -> Self {
        let store = Store::in_memory(Arc::new(FacetReader::new(Table::new(kinds::all()))));
        let registry = Registry::new(store, Table::new(kinds::all()));
        let cluster = Self { api: Arc::new(registry.as_user(RequestContext::in_process("test"))) };
        for namespace in ["default", "kube-node-lease"] {
            let body = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}});
            cluster.create(&gvr::NAMESPACES, "", body).await;
        }
        let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}});
        cluster.create(&gvr::SERVICE_ACCOUNTS, "default", account).await;
        cluster
    }

    async fn create(&self, resource: &GroupVersionResource, namespace: &str, body: Value) -> Value {
        let object = parse(body.to_string().as_bytes()).unwrap();
        let target = Target::object(resource, namespace, "");
        let made = self.api.create(&target, object, &WriteOptions::default()).await.unwrap();
        serde_json::from_slice(&made.body).unwrap()
    }

    async fn get(&self, resource: &GroupVersionResource, namespace: &str, name: &str) -> Value {
        let object = self.api.get(&Target::object(resource, namespace, name)).await.unwrap();
        serde_json::from_slice(&object.body).unwrap()
    }

    async fn patch_status(&self, resource: &GroupVersionResource, name: &str, patch: Value) {
        let target = Target::object(resource, "", name).sub("status");
        let body = PatchBody { kind: PatchKind::Strategic, body: patch.to_string().into() };
        self.api.patch(&target, body, &WriteOptions::default()).await.unwrap();
    }

    async fn count(&self, resource: &GroupVersionResource) -> usize {
        let of = Collection { resource, namespace: "" };
        self.api.list(&of, &ListOptions::default()).await.unwrap().items.len()
    }

    /// Waits until `enough` holds of an object; `None` is an object that does not exist.
    async fn wait(
        &self,
        resource: &GroupVersionResource,
        name: &str,
        enough: impl Fn(Option<&Value>) -> bool,
    ) -> Option<Value> {
        let watching = async {
            let mut source = Reflector::new(self.api.clone(), resource.clone(), Default::default(), Default::default());
            let mut last: Option<Value> = None;
            loop {
                let (mut seen, events) = match source.next().await {
                    Delta::Replace(objects) => {
                        last = None;
                        (objects, Vec::new())
                    }
                    Delta::Changes(events) => (Vec::new(), events),
                };
                for event in events {
                    match event {
                        WatchEvent::Added(object) | WatchEvent::Modified(object) => seen.push(object),
                        WatchEvent::Deleted(object) if object.key.name() == name => last = None,
                        _ => {}
                    }
                }
                for object in seen.into_iter().filter(|object| object.key.name() == name) {
                    last = Some(serde_json::from_slice(&object.body).unwrap());
                }
                if enough(last.as_ref()) {
                    return last;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(20), watching).await.expect("it happens within 20 s")
    }
}

/// A fleet that a test may stop.
struct Started {
    fleet: Fleet,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Started {
    async fn new(cluster: &Cluster, nodes: u32) -> Self {
        let config = FleetConfig {
            nodes,
            simulated: SimulatedConfig {
                start_delay: Duration::ZERO,
                stop_delay: Duration::from_millis(20),
                ..SimulatedConfig::default()
            },
            heartbeat: HeartbeatConfig { lease_period: Duration::from_millis(50), ..HeartbeatConfig::default() },
            ..FleetConfig::default()
        };
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let fleet = Fleet::start(cluster.api.clone(), config, &tasks, &stop);
        tasks.close();
        fleet.registered().await;
        Self { fleet, tasks, stop }
    }

    async fn stop(self) {
        self.stop.cancel();
        self.tasks.wait().await;
    }
}

fn pod(name: &str, node: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
        "spec": {"nodeName": node, "containers": [{"name": "web", "image": "nginx"}]},
    })
}

fn condition(object: &Value, kind: &str) -> String {
    let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let found = conditions.iter().find(|condition| condition["type"] == kind);
    found.and_then(|condition| condition["status"].as_str()).unwrap_or_default().to_owned()
}

fn ready(pod: Option<&Value>) -> bool {
    pod.is_some_and(|pod| condition(pod, "Ready") == "True")
}

#[tokio::test]
async fn nodes_register_ready_and_renew_their_leases() {
    let cluster = Cluster::new().await;
    let started = Started::new(&cluster, 150).await;
    assert_eq!(cluster.count(&gvr::NODES).await, 150);
    let node = cluster.get(&gvr::NODES, "", "node-7").await;
    assert_eq!(condition(&node, "Ready"), "True");
    assert_eq!(node["status"]["allocatable"]["pods"], "110");
    assert_eq!(node["metadata"]["labels"]["kubernetes.io/hostname"], "node-7");
    let renewed = |lease: &Value| lease["spec"]["renewTime"].as_str().unwrap_or_default().to_owned();
    let first = cluster.wait(&gvr::LEASES, "node-7", |lease| lease.is_some()).await.unwrap();
    assert_eq!(first["metadata"]["ownerReferences"][0]["uid"], node["metadata"]["uid"]);
    let before = renewed(&first);
    cluster.wait(&gvr::LEASES, "node-7", |lease| lease.is_some_and(|lease| renewed(lease) > before)).await;
    started.stop().await;
}

#[tokio::test]
async fn an_extended_resource_patched_into_capacity_becomes_allocatable() {
    let cluster = Cluster::new().await;
    let started = Started::new(&cluster, 2).await;
    let patch = |amount: Value| json!({"status": {"capacity": {"example.com/foo": amount}}});
    let allocatable = |node: Option<&Value>| node.unwrap()["status"]["allocatable"]["example.com/foo"].clone();
    cluster.patch_status(&gvr::NODES, "node-1", patch(json!("3"))).await;
    cluster.wait(&gvr::NODES, "node-1", |node| node.is_some() && allocatable(node) == "3").await;
    cluster.patch_status(&gvr::NODES, "node-1", patch(Value::Null)).await;
    cluster.wait(&gvr::NODES, "node-1", |node| node.is_some() && allocatable(node).is_null()).await;
    started.stop().await;
}

#[tokio::test]
async fn a_pod_runs_on_its_node_and_is_gone_after_its_deletion() {
    let cluster = Cluster::new().await;
    let started = Started::new(&cluster, 2).await;
    cluster.create(&gvr::PODS, "default", pod("web", "node-1")).await;
    let running = cluster.wait(&gvr::PODS, "web", ready).await.unwrap();
    assert_eq!(running["status"]["phase"], "Running");
    assert_eq!(running["status"]["podIP"], "10.128.1.2");
    assert_eq!(running["status"]["hostIP"], "172.16.0.11");
    assert_eq!(condition(&running, "PodScheduled"), "True");
    let target = Target::object(&gvr::PODS, "default", "web");
    cluster.api.delete(&target, &DeleteOptions::default()).await.unwrap();
    cluster.wait(&gvr::PODS, "web", |pod| pod.is_none()).await;
    started.stop().await;
}

/// Deletions at every moment of a pod's first statuses: just before one is written, while it is, just after.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_deletion_is_missed_among_status_writes() {
    const PODS: usize = 400;
    let cluster = Cluster::new().await;
    let started = Started::new(&cluster, 4).await;
    let mut source = Reflector::new(cluster.api.clone(), gvr::PODS.clone(), Default::default(), Default::default());
    let (api, mut seen) = (cluster.api.clone(), std::collections::HashMap::new());
    let watching = async {
        let mut gone = 0;
        while gone < PODS {
            let Delta::Changes(events) = source.next().await else { continue };
            for event in events {
                match event {
                    WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                        let name = object.key.name().to_owned();
                        let changes = seen.entry(name.clone()).or_insert(0);
                        *changes += 1;
                        // Some when they are there, some after their first change.
                        let number: usize = name[4..].parse().unwrap();
                        if *changes == number % 2 + 1 {
                            let api = api.clone();
                            tokio::spawn(async move {
                                let target = Target::object(&gvr::PODS, "default", &name);
                                api.delete(&target, &DeleteOptions::default()).await.unwrap();
                            });
                        }
                    }
                    WatchEvent::Deleted(_) => gone += 1,
                    WatchEvent::Bookmark { .. } => {}
                }
            }
        }
    };
    let creating = async {
        for number in 0..PODS {
            let body = pod(&format!("web-{number}"), &format!("node-{}", number % 4));
            cluster.create(&gvr::PODS, "default", body).await;
        }
    };
    let both = async { tokio::join!(watching, creating) };
    tokio::time::timeout(Duration::from_secs(20), both).await.expect("every pod goes within 20 s");
    assert_eq!(cluster.count(&gvr::PODS).await, 0);
    started.stop().await;
}

#[tokio::test]
async fn a_restarted_fleet_finds_everything_as_it_was() {
    let cluster = Cluster::new().await;
    let started = Started::new(&cluster, 1).await;
    cluster.create(&gvr::PODS, "default", pod("web", "node-0")).await;
    let before = cluster.wait(&gvr::PODS, "web", ready).await.unwrap();
    started.stop().await;

    // While no node runs, one more pod comes and nothing happens to it.
    cluster.create(&gvr::PODS, "default", pod("late", "node-0")).await;
    let started = Started::new(&cluster, 1).await;
    let late = cluster.wait(&gvr::PODS, "late", ready).await.unwrap();
    assert_ne!(late["status"]["podIP"], before["status"]["podIP"], "the address in use stays in use");
    let after = cluster.get(&gvr::PODS, "default", "web").await;
    assert_eq!(after["metadata"]["resourceVersion"], before["metadata"]["resourceVersion"]);
    started.stop().await;
}

#[tokio::test]
async fn a_silenced_node_renews_nothing() {
    let cluster = Cluster::new().await;
    let started = Started::new(&cluster, 2).await;
    cluster.wait(&gvr::LEASES, "node-0", |lease| lease.is_some()).await;
    cluster.wait(&gvr::LEASES, "node-1", |lease| lease.is_some()).await;
    started.fleet.silence(0, true);
    // A renewal may have been under way: what counts is that it stops while the other node goes on.
    let renewals = |lease: &Value| lease["metadata"]["resourceVersion"].as_str().unwrap().parse::<u64>().unwrap();
    let other = renewals(&cluster.get(&gvr::LEASES, "kube-node-lease", "node-1").await);
    let goes_on = |least: u64| move |lease: Option<&Value>| lease.is_some_and(|lease| renewals(lease) > least);
    let other = renewals(&cluster.wait(&gvr::LEASES, "node-1", goes_on(other)).await.unwrap());
    let silent = renewals(&cluster.get(&gvr::LEASES, "kube-node-lease", "node-0").await);
    let other = renewals(&cluster.wait(&gvr::LEASES, "node-1", goes_on(other)).await.unwrap());
    cluster.wait(&gvr::LEASES, "node-1", goes_on(other)).await;
    assert_eq!(renewals(&cluster.get(&gvr::LEASES, "kube-node-lease", "node-0").await), silent);
    started.stop().await;
}
