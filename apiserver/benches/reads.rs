//! What reads cost: one object and long lists, over HTTPS with the client in the same process, and the server's part of a
//! list alone; and what one pod costs from body to stored bytes. Each with its allocations.
//!
//! `cargo bench -p gantry-apiserver --bench reads`; the client reads what it is sent and throws it away.

#![allow(clippy::unwrap_used, missing_docs, reason = "a bench ends at the first thing that is not as it should be")]

#[path = "../machinery/benches/support/allocations.rs"]
mod allocations;

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::{Criterion, criterion_group, criterion_main};
use gantry_apiserver::config::Config;
use gantry_apiserver::http::answer;
use gantry_apiserver::http::form::Form;
use gantry_apiserver::http::negotiate::Offer;
use gantry_apiserver::registry::Registry;
use gantry_apiserver::registry::describe::{FacetReader, indexed_fields};
use gantry_apiserver::registry::handle::{BodyFormat, Handle, RequestBody};
use gantry_apiserver::registry::kinds;
use gantry_apiserver::registry::request::RequestContext;
use gantry_apiserver::registry::table::Table;
use gantry_apiserver::server::{ApiServer, Running};
use gantry_machinery::client::connection;
use gantry_machinery::client::kubeconfig::Kubeconfig;
use gantry_machinery::codec::{json, protobuf};
use gantry_machinery::resource::{GroupVersionResource, gvr};
use gantry_machinery::resource_api::{
    Collection, FieldValidation, ListOptions, ResourceApi, Target, VersionRule, WriteOptions,
};
use gantry_machinery::value;
use gantry_machinery::value::Value;
use gantry_store_cache::config::{ExecutorKind, StoreConfig};
use gantry_store_cache::store::Store;
use gantry_store_cache::translation::Translations;
use http::header::ACCEPT;
use http::{HeaderMap, HeaderValue, Request};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::SendRequest;
use tempfile::TempDir;
use tokio::runtime::Runtime;

const NODES: usize = 5_000;
const PODS: usize = 50_000;
/// Connections that requests are spread over.
const CONNECTIONS: usize = 4;

/// A server with objects, and a client's connections to it.
struct Cluster {
    runtime: Runtime,
    handle: Handle,
    connections: Vec<SendRequest<Full<Bytes>>>,
    _running: Running,
    _dir: TempDir,
}

impl Cluster {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let dir = TempDir::new().unwrap();
        let (running, handle, connections) = runtime.block_on(async {
            let config = StoreConfig {
                shards: 2,
                executors: ExecutorKind::Inline,
                indexed_fields: indexed_fields(),
                ..StoreConfig::default()
            };
            let store = Store::open(config, Arc::new(FacetReader::new(Table::new(kinds::all()))), Vec::new()).unwrap();
            let registry = Registry::new(store, Table::new(kinds::all()));
            let handle = registry.as_user(RequestContext::in_process("bench"));
            let mut config = Config::new(dir.path().join("pki"));
            config.bind_address = [127, 0, 0, 1].into();
            config.secure_port = 0;
            let running = ApiServer::start(config, registry).await.unwrap();
            let kubeconfig = dir.path().join("kubeconfig");
            running.write_admin_kubeconfig(&kubeconfig).unwrap();
            let access = Kubeconfig::load(&kubeconfig).unwrap().access(None).unwrap();
            let tls = connection::connector(&access);
            let mut connections = Vec::new();
            for _ in 0..CONNECTIONS {
                connections.push(connection::open(&access, &tls).await.unwrap());
            }
            (running, handle, connections)
        });
        let cluster = Self { runtime, handle, connections, _running: running, _dir: dir };
        let account = value!({"metadata": {"name": "default"}});
        cluster.create(&gvr::SERVICE_ACCOUNTS, "default", 1, |_| account.clone());
        cluster.create(&gvr::NODES, "", NODES, node);
        cluster.create(&gvr::PODS, "default", PODS, pod);
        cluster
    }

    fn create(&self, resource: &GroupVersionResource, namespace: &str, count: usize, object: impl Fn(usize) -> Value) {
        let target = Target::object(resource, namespace, "");
        let options = WriteOptions::default();
        for n in (0..count).step_by(256) {
            let batch = (n..count.min(n + 256)).map(|n| self.handle.create(&target, object(n), &options));
            for created in self.runtime.block_on(futures_util::future::join_all(batch)) {
                created.unwrap();
            }
        }
    }

    /// Reads a path `rounds` times with `in_flight` requests under way; gives the time of all.
    fn read(&self, path: &'static str, accept: &'static str, rounds: u64, in_flight: u64) -> Duration {
        let begin = Instant::now();
        let readers: Vec<_> = (0..in_flight.min(rounds))
            .map(|reader| {
                let mut connection = self.connections[reader as usize % CONNECTIONS].clone();
                let rounds = rounds / in_flight + u64::from(reader < rounds % in_flight);
                self.runtime.spawn(async move {
                    for _ in 0..rounds {
                        read(&mut connection, path, accept).await;
                    }
                })
            })
            .collect();
        for reader in readers {
            self.runtime.block_on(reader).unwrap();
        }
        begin.elapsed()
    }
}

async fn read(connection: &mut SendRequest<Full<Bytes>>, path: &str, accept: &str) {
    let request = Request::get(format!("https://localhost{path}")).header("accept", accept).body(Full::default());
    let answer = connection.send_request(request.unwrap()).await.unwrap();
    assert_eq!(answer.status(), 200);
    let mut body = answer.into_body();
    while let Some(frame) = body.frame().await {
        black_box(frame.unwrap());
    }
}

/// A node as its kubelet keeps it: about 2.4 KB.
fn node(n: usize) -> Value {
    let condition = |kind: &str, status: &str, reason: &str| {
        value!({"type": kind, "status": status, "reason": reason, "message": "kubelet is posting its status",
                "lastHeartbeatTime": "2026-11-23T12:32:37Z", "lastTransitionTime": "2026-11-23T12:32:37Z"})
    };
    let amounts =
        value!({"cpu": "32", "memory": "128Gi", "pods": "110", "ephemeral-storage": "100Gi", "hugepages-2Mi": "0"});
    value!({
        "metadata": {"name": (format!("node-{n:05}")), "labels": {
            "kubernetes.io/hostname": (format!("node-{n:05}")), "kubernetes.io/arch": "amd64", "kubernetes.io/os": "linux",
            "topology.kubernetes.io/zone": (format!("zone-{}", n % 3)), "topology.kubernetes.io/region": "region-1",
            "node.kubernetes.io/instance-type": "m5.8xlarge",
        }},
        "spec": {"podCIDR": "10.0.0.0/24", "podCIDRs": ["10.0.0.0/24"], "providerID": (format!("example:///i-{n:017}"))},
        "status": {
            "capacity": (amounts.clone()), "allocatable": (amounts),
            "conditions": (Value::Array(vec![
                condition("MemoryPressure", "False", "KubeletHasSufficientMemory"),
                condition("DiskPressure", "False", "KubeletHasNoDiskPressure"),
                condition("PIDPressure", "False", "KubeletHasSufficientPID"),
                condition("Ready", "True", "KubeletReady"),
            ])),
            "addresses": [{"type": "InternalIP", "address": "172.16.0.1"}, {"type": "Hostname", "address": "node"}],
            "nodeInfo": {
                "machineID": "0123456789abcdef0123456789abcdef", "systemUUID": "0123456789abcdef0123456789abcdef",
                "bootID": "0123456789abcdef0123456789abcdef", "kernelVersion": "6.18.0", "osImage": "Debian GNU/Linux 12",
                "containerRuntimeVersion": "containerd://2.2.0", "kubeletVersion": "v1.36.4", "kubeProxyVersion": "",
                "operatingSystem": "linux", "architecture": "amd64",
            },
        },
    })
}

fn pod(n: usize) -> Value {
    value!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": (format!("pod-{n:05}")), "namespace": "default", "labels": {"app": "web", "tier": "front"}},
        "spec": {"containers": [{
            "name": "c",
            "image": "registry.example.com/web:1.2.3",
            "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}},
        }]},
    })
}

/// Requests under way at once, with how often each is made for a count of allocations.
const READS: [(&str, &str, &str, u64); 5] = [
    ("get_node/64_in_flight", "/api/v1/nodes/node-00007", "application/json", 64),
    ("list_5000_nodes/4_in_flight", "/api/v1/nodes?resourceVersion=0", "application/json", 4),
    (
        "list_5000_nodes_protobuf/4_in_flight",
        "/api/v1/nodes?resourceVersion=0",
        "application/vnd.kubernetes.protobuf",
        4,
    ),
    ("list_50000_pods/2_in_flight", "/api/v1/pods?resourceVersion=0", "application/json", 2),
    (
        "list_50000_pods_protobuf/2_in_flight",
        "/api/v1/pods?resourceVersion=0",
        "application/vnd.kubernetes.protobuf",
        2,
    ),
];

fn https(criterion: &mut Criterion) {
    let cluster = Cluster::new();
    // Before anybody asked for protobuf over HTTPS.
    answers(criterion, &cluster);
    let mut group = criterion.benchmark_group("https");
    group.sample_size(10);
    for (id, path, accept, in_flight) in READS {
        group.bench_function(id, |bencher| bencher.iter_custom(|rounds| cluster.read(path, accept, rounds, in_flight)));
        allocations::report(&format!("https/{id}"), 8, || cluster.read(path, accept, 1, 1));
    }
    group.finish();
}

/// Lists without HTTP: from the stored objects to the pieces that are sent. In protobuf with the translations kept from
/// the first time on, and, as when nobody asked before, with none.
fn answers(criterion: &mut Criterion, cluster: &Cluster) {
    let table = Table::new(kinds::all());
    let (protobuf, json) = ("application/vnd.kubernetes.protobuf", "application/json");
    for (resource, name) in [(&gvr::NODES, "5000_nodes"), (&gvr::PODS, "50000_pods")] {
        let row = table.get(resource).unwrap();
        let collection = Collection { resource, namespace: "" };
        let options = ListOptions { version: VersionRule::Any, ..ListOptions::default() };
        for (format, accept, bytes_max) in
            [("json", json, 0), ("protobuf_anew", protobuf, 0), ("protobuf", protobuf, 1 << 30)]
        {
            let room = Translations::new(bytes_max);
            let headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static(accept))]);
            let work = || {
                cluster.runtime.block_on(async {
                    let list = cluster.handle.list(&collection, &options).await.unwrap();
                    let form = Form::negotiate(&headers, "", Offer::List, &row, None, &room).unwrap();
                    let mut body = answer::list(200, list, &form, false).unwrap().into_body();
                    while let Some(frame) = body.frame().await {
                        let _ = black_box(frame);
                    }
                });
            };
            let id = format!("answers/list_{name}_{format}");
            criterion.bench_function(&id, |bencher| bencher.iter(work));
            allocations::report(&id, 8, work);
        }
    }
}

/// One pod from body to stored bytes: by the kind's own steps alone, and as a dry run does all but the commit.
fn writes(criterion: &mut Criterion) {
    let strategy = kinds::all().into_iter().find(|s| s.resource().gvr == gvr::PODS).unwrap();
    let object = pod(1);
    let text = json::encode(&object);
    let wire = protobuf::encode(&object, strategy.message()).unwrap();
    let rest = |mut object: Value| {
        strategy.prepare_for_create(&mut object);
        strategy.default(&mut object);
        assert!(strategy.validate(&object).is_empty());
        json::encode_with_revision_slot(&object)
    };
    let from_json = || rest(json::decode(black_box(&text), strategy.message(), FieldValidation::Warn).unwrap().value);
    let from_protobuf = || rest(protobuf::decode(black_box(&wire), strategy.message()).unwrap());
    criterion.bench_function("pod/decode_default_validate_encode/json", |bencher| bencher.iter(from_json));
    allocations::report("pod/decode_default_validate_encode/json", 100, from_json);
    criterion.bench_function("pod/decode_default_validate_encode/protobuf", |bencher| bencher.iter(from_protobuf));
    allocations::report("pod/decode_default_validate_encode/protobuf", 100, from_protobuf);

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let config =
        StoreConfig { executors: ExecutorKind::Inline, indexed_fields: indexed_fields(), ..StoreConfig::default() };
    let store = Store::open(config, Arc::new(FacetReader::new(Table::new(kinds::all()))), Vec::new()).unwrap();
    let handle = Registry::new(store, Table::new(kinds::all())).as_user(RequestContext::in_process("bench"));
    for (resource, namespace, name) in
        [(&gvr::NAMESPACES, "", "default"), (&gvr::SERVICE_ACCOUNTS, "default", "default")]
    {
        let object = value!({"metadata": {"name": name}});
        runtime
            .block_on(handle.create(&Target::object(resource, namespace, ""), object, &WriteOptions::default()))
            .unwrap();
    }
    let options = WriteOptions { dry_run: true, ..WriteOptions::default() };
    for (id, format, bytes) in [("json", BodyFormat::Json, text), ("protobuf", BodyFormat::Protobuf, wire)] {
        let bytes = Bytes::from(bytes);
        let create = || {
            let target = Target::object(&gvr::PODS, "default", "");
            let sent = RequestBody { format, bytes: bytes.clone() };
            runtime.block_on(handle.create_body(&target, sent, &options)).unwrap()
        };
        let id = format!("pod/create_dry_run/{id}");
        criterion.bench_function(&id, |bencher| bencher.iter(create));
        allocations::report(&id, 100, create);
    }
}

criterion_group!(reads, writes, https);
criterion_main!(reads);
