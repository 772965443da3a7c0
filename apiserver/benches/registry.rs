//! The registry's hot paths on a store in memory: what one pod costs to create and to bind, durability excluded.
//!
//! `cargo bench -p gantry-apiserver --bench registry`

#![allow(clippy::unwrap_used, missing_docs, reason = "a bench ends at the first thing that is not as it should be")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use gantry_apiserver::registry::Registry;
use gantry_apiserver::registry::describe::{FacetReader, indexed_fields};
use gantry_apiserver::registry::handle::Handle;
use gantry_apiserver::registry::kinds;
use gantry_apiserver::registry::request::RequestContext;
use gantry_apiserver::registry::table::Table;
use gantry_machinery::codec::json;
use gantry_machinery::event::NewEvent;
use gantry_machinery::recorder::{Severity, Subject};
use gantry_machinery::resource::gvr;
use gantry_machinery::resource_api::{Binding, PatchBody, PatchKind, ResourceApi, Target, WriteOptions};
use gantry_machinery::value;
use gantry_machinery::value::Value;
use gantry_store_cache::config::{ExecutorKind, StoreConfig};
use gantry_store_cache::store::Store;

/// Pods of one group: what a scheduler's batch or a busy client keeps in flight.
const BATCH: u64 = 64;

async fn cluster() -> Handle {
    let config = StoreConfig {
        shards: 2,
        executors: ExecutorKind::Inline,
        indexed_fields: indexed_fields(),
        ..StoreConfig::default()
    };
    let store = Store::open(config, Arc::new(FacetReader::new(Table::new(kinds::all()))), Vec::new()).unwrap();
    let api = Registry::new(store, Table::new(kinds::all())).as_user(RequestContext::in_process("bench"));
    let create = async |resource, namespace, object| {
        api.create(&Target::object(resource, namespace, ""), object, &WriteOptions::default()).await.unwrap()
    };
    create(&gvr::NAMESPACES, "", value!({"metadata": {"name": "default"}})).await;
    create(&gvr::SERVICE_ACCOUNTS, "default", value!({"metadata": {"name": "default"}})).await;
    api
}

fn pod(n: u64) -> Value {
    value!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": (format!("pod-{n}")), "namespace": "default", "labels": {"app": "web", "tier": "front"}},
        "spec": {"containers": [{
            "name": "c",
            "image": "registry.example.com/web:1.2.3",
            "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}},
        }]},
    })
}

async fn create_batch(api: &Handle, from: u64) {
    let target = Target::object(&gvr::PODS, "default", "");
    let options = WriteOptions::default();
    let creations = (from..from + BATCH).map(|n| api.create(&target, pod(n), &options));
    for created in futures_util::future::join_all(creations).await {
        created.unwrap();
    }
}

fn benches(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let api = runtime.block_on(cluster());
    let mut next = 0;
    criterion.bench_function("registry/create_pod/64_at_once", |bencher| {
        bencher.iter_custom(|rounds| {
            let begin = Instant::now();
            for _ in 0..rounds {
                runtime.block_on(create_batch(&api, next));
                next += BATCH;
            }
            begin.elapsed() / u32::try_from(BATCH).unwrap()
        });
    });
    criterion.bench_function("registry/bind_batch/64_pods", |bencher| {
        bencher.iter_custom(|rounds| {
            let mut spent = Duration::ZERO;
            for _ in 0..rounds {
                runtime.block_on(create_batch(&api, next));
                let binding = |n: u64| Binding {
                    namespace: "default".into(),
                    name: format!("pod-{n}"),
                    uid: String::new(),
                    node: format!("node-{n}"),
                };
                let bindings = (next..next + BATCH).map(binding).collect();
                next += BATCH;
                let begin = Instant::now();
                assert!(runtime.block_on(api.bind_batch(bindings)).iter().all(Result::is_ok));
                spent += begin.elapsed();
            }
            spent / u32::try_from(BATCH).unwrap()
        });
    });
}

/// What a scheduler says of a pod that it has placed.
fn events(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let api = runtime.block_on(cluster());
    let mut next = 0;
    let event = |n: u64| NewEvent {
        name: format!("pod-{n}.17f3a2b4c5d6e7f8").into(),
        regarding: Subject {
            api_version: "v1".into(),
            kind: "Pod".into(),
            namespace: "default".into(),
            name: format!("pod-{n}").into(),
            uid: format!("00000000-0000-4000-8000-{n:012}").into(),
            ..Subject::default()
        },
        severity: Severity::Normal,
        reason: "Scheduled".into(),
        action: "Binding".into(),
        note: format!("Successfully assigned default/pod-{n} to node-{n}"),
        controller: "default-scheduler".into(),
        instance: "default-scheduler-host".into(),
        at: "2026-01-02T03:04:05.000006Z".into(),
    };
    for (name, at_once) in [("one_by_one", 1), ("64_at_once", BATCH), ("512_at_once", 512)] {
        criterion.bench_function(&format!("registry/create_events/{name}"), |bencher| {
            bencher.iter_custom(|rounds| {
                let mut spent = Duration::ZERO;
                for _ in 0..rounds {
                    let events: Vec<NewEvent> = (next..next + at_once).map(event).collect();
                    next += at_once;
                    let begin = Instant::now();
                    assert!(runtime.block_on(api.create_events(events)).iter().all(Result::is_ok));
                    spent += begin.elapsed();
                }
                spent / u32::try_from(at_once).unwrap()
            });
        });
    }
    criterion.bench_function("registry/create_event_as_an_object/64_at_once", |bencher| {
        let (target, options) = (Target::object(&gvr::EVENTS, "default", ""), WriteOptions::default());
        bencher.iter_custom(|rounds| {
            let begin = Instant::now();
            for _ in 0..rounds {
                let creations = (next..next + BATCH).map(|n| api.create(&target, event(n).object(), &options));
                for created in runtime.block_on(futures_util::future::join_all(creations)) {
                    created.unwrap();
                }
                next += BATCH;
            }
            begin.elapsed() / u32::try_from(BATCH).unwrap()
        });
    });
}

/// What a kubelet says of a pod that runs: the second of the two statuses that every pod gets.
fn statuses(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let api = runtime.block_on(cluster());
    runtime.block_on(create_batch(&api, 0));
    let options = WriteOptions { field_manager: "kubelet".into(), ..WriteOptions::default() };
    let mut second = 0;
    criterion.bench_function("registry/patch_pod_status/64_at_once", |bencher| {
        bencher.iter_custom(|rounds| {
            let begin = Instant::now();
            for _ in 0..rounds {
                second += 1;
                let patches = (0..BATCH).map(|n| {
                    let (api, options) = (&api, &options);
                    async move {
                        let name = format!("pod-{n}");
                        let target = Target::object(&gvr::PODS, "default", &name).sub("status");
                        let body = PatchBody { kind: PatchKind::Strategic, body: running(second).into() };
                        api.patch(&target, body, options).await.unwrap();
                    }
                });
                runtime.block_on(futures_util::future::join_all(patches));
            }
            begin.elapsed() / u32::try_from(BATCH).unwrap()
        });
    });
}

fn running(second: i64) -> Vec<u8> {
    let ip = "10.128.31.2";
    let time = gantry_machinery::time::time(second);
    let condition = |kind: &str| {
        value!({"type": kind, "status": "True", "observedGeneration": 1, "lastTransitionTime": (time.as_str()),
                "reason": null, "message": null})
    };
    let kinds = ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady"];
    json::encode(&value!({"status": {
        "observedGeneration": 1,
        "phase": "Running",
        "conditions": (Value::Array(kinds.map(condition).into())),
        "reason": null,
        "message": null,
        "hostIP": "172.16.0.41",
        "hostIPs": [{"ip": "172.16.0.41"}],
        "podIP": ip,
        "podIPs": [{"ip": ip}],
        "startTime": "2026-11-23T12:32:37Z",
        "containerStatuses": [{
            "name": "c",
            "state": {"running": {"startedAt": (time.as_str())}},
            "lastState": {},
            "ready": true,
            "restartCount": 0,
            "image": "registry.example.com/web:1.2.3",
            "imageID": "registry.example.com/web@sha256:284de576858087f7cb083c57e954a705db33dac856a7dea436575b60d356980b",
            "containerID": "simulated://345eba9f5328282f8b19334e86a22802ea925a584581476c30cebe0c8f401caa",
            "started": true,
        }],
    }}))
}

/// A node's heartbeat: the whole Lease with the version it was read at, as kubelets send it.
fn renewals(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let api = runtime.block_on(cluster());
    let lease = |n: u64| {
        value!({
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": (format!("node-{n}")), "namespace": "default"},
            "spec": {"holderIdentity": (format!("node-{n}")), "leaseDurationSeconds": 40},
        })
    };
    let options = WriteOptions::default();
    let target = Target::object(&gvr::LEASES, "default", "");
    let create = async |n| json::parse(&api.create(&target, lease(n), &options).await.unwrap().body).unwrap();
    let mut leases: Vec<Value> = (0..BATCH).map(|n| runtime.block_on(create(n))).collect();
    let mut time = 0;
    criterion.bench_function("registry/renew_lease/64_at_once", |bencher| {
        bencher.iter_custom(|rounds| {
            let begin = Instant::now();
            for _ in 0..rounds {
                time += 1;
                let renewals = leases.drain(..).enumerate().map(|(n, mut lease)| {
                    lease.set(&["spec", "renewTime"], gantry_machinery::time::micro_time(time));
                    let (api, options) = (&api, &options);
                    async move {
                        let name = format!("node-{n}");
                        let target = Target::object(&gvr::LEASES, "default", &name);
                        json::parse(&api.update(&target, lease, options).await.unwrap().body).unwrap()
                    }
                });
                let renewed = runtime.block_on(futures_util::future::join_all(renewals.collect::<Vec<_>>()));
                leases = renewed;
            }
            begin.elapsed() / u32::try_from(BATCH).unwrap()
        });
    });
}

criterion_group!(registry, benches, events, statuses, renewals);
criterion_main!(registry);
