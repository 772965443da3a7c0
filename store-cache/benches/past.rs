//! A collection as it was 1,000 and 10,000 commits ago, not asked for before.

use criterion::Criterion;
use gantry_store_cache::config::StoreConfig;
use gantry_store_cache::revision::Revision;

use crate::objects::{fill, open, runtime};

pub(crate) fn bench(c: &mut Criterion) {
    let runtime = runtime();
    let store = open(StoreConfig::default());
    fill(&runtime, &store, 20_000);
    fill(&runtime, &store, 12_000);
    let now = store.view().revision().0;
    let mut group = c.benchmark_group("view_at");
    for back in [1_000, 10_000] {
        let mut turn = 0;
        group.bench_function(format!("{back}_commits_ago"), |b| {
            b.iter(|| {
                // More different ones than are remembered.
                turn = (turn + 1) % 16;
                store.view_at("pods", Revision(now - back - turn)).unwrap().revision()
            });
        });
    }
    group.finish();
}
