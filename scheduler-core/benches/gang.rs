//! Gangs: one of a thousand pods placed whole, per gang; and what one that waits for a last place costs others, per pod.

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use gantry_scheduler_core::cycle::{Event, Scheduler};
use gantry_scheduler_core::plan::Decision;
use gantry_scheduler_core::rows::{PodGroupRow, PodRow};

#[path = "support/measure.rs"]
mod measure;
#[path = "support/stream.rs"]
mod stream;
use measure::config;
use stream::{cluster, pod};

const NODES: u32 = 5_000;
const PODS: u64 = 1_000;

fn member(number: u64, cpu: i64) -> Box<PodRow> {
    Box::new(PodRow { group: "gang".into(), ..*pod(number, cpu) })
}

/// A cluster that knows of a gang of so many pods.
fn gang(pods: u64) -> Scheduler {
    let mut scheduler = cluster(NODES);
    let min_count = i32::try_from(pods).ok();
    let group = PodGroupRow { namespace: "default".into(), name: "gang".into(), min_count };
    scheduler.step(0, [Event::PodGroup(group)], 0);
    scheduler
}

/// Its pods come, are placed together, and are gone again.
fn placed(c: &mut Criterion) {
    let mut scheduler = gang(PODS);
    let mut number = 0;
    c.bench_with_input(BenchmarkId::new("gang/1000_pods", "5000_nodes"), &NODES, |b, _| {
        b.iter(|| {
            let rows: Vec<Box<PodRow>> = (0..PODS).map(|n| member(number + n, 100)).collect();
            number += PODS;
            let gone: Vec<Event> = rows.iter().map(|row| Event::PodGone(row.uid.clone())).collect();
            let plan = scheduler.step(number, rows.into_iter().map(Event::Pod), 10);
            let [Decision::BindAll(together)] = &plan.decisions[..] else { panic!("it fits") };
            assert_eq!(together.placements.len() as u64, PODS);
            scheduler.step(number, gone, 10)
        });
    });
}

/// One pod is placed and leaves again, while a gang that would fill the cluster misses one place.
fn waits(c: &mut Criterion) {
    let room = u64::from(NODES) * 4;
    let mut scheduler = gang(room + 1);
    scheduler.step(0, (0..=room).map(|n| Event::Pod(member(n, 8_000))), 10);
    let mut number = 1_000_000;
    c.bench_with_input(BenchmarkId::new("gang/beside_one_that_waits", "5000_nodes"), &NODES, |b, _| {
        b.iter(|| {
            number += 1;
            let row = pod(number, 100);
            let gone = Event::PodGone(row.uid.clone());
            // Time stands still: nobody is tried for having waited long.
            let plan = scheduler.step(1, [Event::Pod(row)], 10);
            assert!(matches!(plan.decisions[..], [Decision::Bind(_)]));
            scheduler.step(1, [gone], 10)
        });
    });
}

criterion_group! { name = benches; config = config(); targets = placed, waits }
criterion_main!(benches);
