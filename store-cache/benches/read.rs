//! Lists and point reads of 150,000 pods.

use std::hint::black_box;

use criterion::{Criterion, Throughput};
use gantry_store_cache::config::StoreConfig;
use gantry_store_cache::watch::Facet;

use crate::objects::{NODE, fill, key, open, runtime};

const PODS: usize = 150_000;

pub(crate) fn bench(c: &mut Criterion) {
    let runtime = runtime();
    let store = open(StoreConfig::default());
    fill(&runtime, &store, PODS);
    let view = store.view();
    let mut group = c.benchmark_group("list/150k_pods");
    group.throughput(Throughput::Elements(PODS as u64));
    group.bench_function("all", |b| {
        b.iter(|| {
            let mut scan = view.scan("pods", None, None);
            let mut bytes = 0;
            while let Some(object) = scan.next_ref() {
                bytes += object.body.len();
            }
            black_box(bytes)
        });
    });
    group.throughput(Throughput::Elements(3_000));
    group.bench_function("one_namespace", |b| b.iter(|| view.scan("pods", Some("ns-07"), None).count()));
    group.throughput(Throughput::Elements(500));
    let after = key(77_777);
    group.bench_function("page_of_500", |b| b.iter(|| view.scan("pods", None, Some(&after)).take(500).count()));
    group.throughput(Throughput::Elements(30));
    let node = Facet::Field(NODE, "node-123".into());
    group.bench_function("one_node_indexed", |b| b.iter(|| view.indexed("pods", &node).unwrap().len()));
    group.throughput(Throughput::Elements(1));
    group.bench_function("get", |b| b.iter(|| store.get(&after).unwrap().revision));
    group.bench_function("count", |b| b.iter(|| view.count("pods", Some("ns-07"))));
    group.finish();
}
