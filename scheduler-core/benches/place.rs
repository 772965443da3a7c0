//! What one placement costs, queue included: `place/<what>/<nodes>`, per pod.
//!
//! Every iteration hands in one pod and takes its decision; the pods placed leave again, oldest first, so that the
//! cluster stays as full as it was. `classes` rotates through many demands, `scan` through demands never seen before,
//! `refused` asks for what no node has.

use std::collections::VecDeque;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use gantry_scheduler_core::cycle::{Config, Event, Scheduler};
use gantry_scheduler_core::plan::Decision;
use gantry_scheduler_core::rows::{Amounts, Demand, NodeRow, PodRow};

const MIB: i64 = 1 << 20;

fn cluster(nodes: u32) -> Scheduler {
    let mut scheduler = Scheduler::new(Config::default());
    let rows = (0..nodes).map(|n| {
        let labels = vec![
            ("kubernetes.io/hostname".into(), format!("node-{n}").into()),
            ("topology.kubernetes.io/zone".into(), format!("zone-{}", n % 10).into()),
        ];
        Event::Node(Box::new(NodeRow {
            name: format!("node-{n}").into(),
            labels,
            allocatable: Amounts { cpu: 32_000, memory: 256 << 30, pods: 110, ..Amounts::default() },
            ..NodeRow::default()
        }))
    });
    scheduler.step(0, rows.collect::<Vec<_>>(), 0);
    scheduler
}

fn pod(number: u64, cpu: i64) -> Box<PodRow> {
    let uid: Box<str> = format!("00000000-0000-0000-0000-{number:012}").into();
    let requests = Amounts { cpu, memory: 128 * MIB, ..Amounts::default() };
    Box::new(PodRow {
        namespace: "default".into(),
        name: uid.clone(),
        uid,
        scheduler: "default-scheduler".into(),
        demand: Demand { scored_cpu: cpu, scored_memory: 128 * MIB, requests, ..Demand::default() },
        ..PodRow::default()
    })
}

/// Places one pod per iteration; `kept` of them stay.
fn place(c: &mut Criterion, name: &str, nodes: u32, kept: usize, cpu: impl Fn(u64) -> i64) {
    let mut scheduler = cluster(nodes);
    let mut there: VecDeque<Box<str>> = VecDeque::new();
    let mut number = 0;
    c.bench_with_input(BenchmarkId::new(name, nodes), &nodes, |b, _| {
        b.iter(|| {
            number += 1;
            let row = pod(number, cpu(number));
            there.push_back(row.uid.clone());
            let gone = if there.len() > kept { there.pop_front().map(Event::PodGone) } else { None };
            let plan = scheduler.step(number, gone.into_iter().chain([Event::Pod(row)]), 10);
            assert!(matches!(plan.decisions[..], [Decision::Bind(_)]));
            plan
        });
    });
}

/// A pod that fits nowhere, with 20,000 placed.
fn refused(c: &mut Criterion, nodes: u32) {
    let mut scheduler = cluster(nodes);
    let filler: Vec<Event> = (0..20_000).map(|n| Event::Pod(pod(n, 100))).collect();
    scheduler.step(0, filler, usize::MAX);
    let mut number = 1_000_000;
    c.bench_with_input(BenchmarkId::new("place/refused", nodes), &nodes, |b, _| {
        b.iter(|| {
            number += 1;
            let row = pod(number, 1_000_000);
            let gone = Event::PodGone(row.uid.clone());
            let plan = scheduler.step(number, [Event::Pod(row)], 10);
            assert!(matches!(plan.decisions[..], [Decision::Refuse(_)]));
            scheduler.step(number, [gone], 10)
        });
    });
}

fn all(c: &mut Criterion) {
    for nodes in [5_000, 20_000, 100_000] {
        place(c, "place/plain", nodes, 20_000, |_| 100);
        place(c, "place/classes_100", nodes, 20_000, |n| 100 + (n % 100) as i64);
        place(c, "place/scan", nodes, 20_000, |n| 100 + (n % 20_000) as i64);
        refused(c, nodes);
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20).warm_up_time(std::time::Duration::from_millis(500))
        .measurement_time(std::time::Duration::from_secs(2));
    targets = all
}
criterion_main!(benches);
