//! One commit to all its watchers, until the last has it; and what watchers that do not match cost.

use std::time::Instant;

use criterion::{Criterion, Throughput};
use gantry_store_cache::config::StoreConfig;
use gantry_store_cache::watch::{Facet, Interest};

use crate::objects::{NODE, open, put, runtime};

pub(crate) fn bench(c: &mut Criterion) {
    let runtime = runtime();
    let mut group = c.benchmark_group("watch_fanout");
    for (name, watchers, matching, batch) in [
        ("all", 1_000, true, 1),
        ("all", 1_000, true, 64),
        ("all", 10_000, true, 1),
        ("other_nodes", 10_000, false, 64),
    ] {
        let store = open(StoreConfig::default());
        let expected = if matching { watchers } else { 1 };
        let mut done = Vec::new();
        for watcher in 0..watchers {
            let mut interest = Interest::all("pods");
            if !matching {
                interest.facet = Some(Facet::Field(NODE, format!("other-{watcher}").into()));
            }
            let mut watch = store.watch(interest, store.view().revision()).unwrap();
            let (tell, told) = tokio::sync::watch::channel(0_u64);
            done.push(told);
            runtime.spawn(async move {
                let mut seen = 0;
                while let Ok(changes) = watch.next(256).await {
                    seen += changes.len() as u64;
                    if tell.send(seen).is_err() {
                        return;
                    }
                }
            });
        }
        if !matching {
            let mut watch = store.watch(Interest::all("pods"), store.view().revision()).unwrap();
            let (tell, told) = tokio::sync::watch::channel(0_u64);
            done = vec![told];
            runtime.spawn(async move {
                let mut seen = 0;
                while let Ok(changes) = watch.next(256).await {
                    seen += changes.len() as u64;
                    if tell.send(seen).is_err() {
                        return;
                    }
                }
            });
        }
        let mut sent = 0_u64;
        group.throughput(Throughput::Elements((expected * batch) as u64));
        group.bench_function(format!("{name}/{watchers}_watchers/{batch}_events"), |b| {
            b.iter_custom(|rounds| {
                runtime.block_on(async {
                    let started = Instant::now();
                    for _ in 0..rounds {
                        let txns = (0..batch).map(put).collect();
                        store.commit_all(txns).await;
                        sent += batch as u64;
                        for told in &mut done {
                            told.wait_for(|seen| *seen >= sent).await.unwrap();
                        }
                    }
                    started.elapsed()
                })
            });
        });
    }
    group.finish();
}
