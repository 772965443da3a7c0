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
use gantry_machinery::resource::gvr;
use gantry_machinery::resource_api::{Binding, ResourceApi, Target, WriteOptions};
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

criterion_group!(registry, benches, renewals);
criterion_main!(registry);
