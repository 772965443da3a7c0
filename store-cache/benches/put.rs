//! Durable puts: groups of 1, 64 and 256 in one call, and from as many clients at once. The disk is the one under the
//! system's temporary directory; `memory` shows what the path costs without it.

use std::time::Instant;

use criterion::{Criterion, Throughput};
use gantry_store_cache::config::StoreConfig;

use crate::objects::{open, put, runtime};

pub(crate) fn bench(c: &mut Criterion) {
    let runtime = runtime();
    let directory = tempfile::tempdir().unwrap();
    for (name, config) in [("embedded", StoreConfig::embedded(directory.path())), ("memory", StoreConfig::default())] {
        let store = open(config);
        let mut group = c.benchmark_group(format!("put/{name}"));
        for size in [1, 64, 256] {
            group.throughput(Throughput::Elements(size as u64));
            group.bench_function(format!("group/{size}"), |b| {
                b.iter_custom(|rounds| {
                    runtime.block_on(async {
                        let mut spent = std::time::Duration::ZERO;
                        for round in 0..rounds as usize {
                            let txns = (0..size).map(|n| put((round * size + n) % 20_000)).collect();
                            let started = Instant::now();
                            let answers = store.commit_all(txns).await;
                            spent += started.elapsed();
                            assert!(answers.iter().all(Result::is_ok));
                        }
                        spent
                    })
                });
            });
        }
        for clients in [1, 64, 256] {
            group.throughput(Throughput::Elements(clients as u64));
            group.bench_function(format!("clients/{clients}"), |b| {
                b.iter_custom(|rounds| {
                    runtime.block_on(async {
                        let started = Instant::now();
                        let mut tasks = tokio::task::JoinSet::new();
                        for client in 0..clients {
                            let store = store.clone();
                            tasks.spawn(async move {
                                for round in 0..rounds as usize {
                                    store.commit(put((client * 97 + round) % 20_000)).await.unwrap();
                                }
                            });
                        }
                        tasks.join_all().await;
                        started.elapsed()
                    })
                });
            });
        }
        group.finish();
    }
}
