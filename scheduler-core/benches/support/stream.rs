//! What the benches of decisions share: a cluster, pods, and a stream of them through it.
//!
//! Every iteration hands in one pod and takes its decision; the pods placed leave again, oldest first, so that the cluster
//! stays as full as it was. Ids are `<what>/<nodes>`, times are per pod, queue and bookkeeping included; `gantry-perf
//! growth` fits how they grow with the nodes.
#![allow(dead_code, reason = "each bench uses its part")]

use std::collections::VecDeque;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion};
use gantry_scheduler_core::cycle::{Config, Event, Scheduler};
use gantry_scheduler_core::plan::Decision;
use gantry_scheduler_core::rows::{Amounts, Demand, NodeRow, Operator, Own, PodRow, Requirement, Selector};

/// The sizes that everything is measured at.
pub(crate) const NODES: [u32; 4] = [1_000, 5_000, 20_000, 100_000];
pub(crate) const HOSTNAME: &str = "kubernetes.io/hostname";
pub(crate) const ZONE: &str = "topology.kubernetes.io/zone";
const MIB: i64 = 1 << 20;

/// Few samples: what is measured is measured at many sizes.
pub(crate) fn config() -> Criterion {
    Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
}

/// Nodes of 32 CPUs and 256 GiB in ten zones; every fifth has a fast disk.
pub(crate) fn cluster(nodes: u32) -> Scheduler {
    let mut scheduler = Scheduler::new(Config::default());
    let rows = (0..nodes).map(|n| {
        let labels = vec![
            ("disk".into(), if n % 5 == 0 { "fast" } else { "slow" }.into()),
            (HOSTNAME.into(), format!("node-{n}").into()),
            (ZONE.into(), format!("zone-{}", n % 10).into()),
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

/// A pod that asks for milli-CPU and 128 MiB.
pub(crate) fn pod(number: u64, cpu: i64) -> Box<PodRow> {
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

/// A pod labelled `app=web`.
pub(crate) fn web(number: u64) -> Box<PodRow> {
    let mut row = pod(number, 100);
    row.labels = vec![("app".into(), "web".into())];
    row
}

/// A pod labelled `app=web` with terms about other pods.
pub(crate) fn web_with(number: u64, terms: impl Fn(&mut Demand)) -> Box<PodRow> {
    let mut row = web(number);
    terms(&mut row.demand);
    row.demand.own = Some(Box::new(Own { namespace: row.namespace.clone(), labels: row.labels.clone() }));
    row
}

/// Pods labelled `app=web`.
pub(crate) fn webs() -> Selector {
    let app = Requirement { key: "app".into(), operator: Operator::In, values: vec!["web".into()] };
    Selector { requirements: vec![app] }
}

/// Pods that come one by one and stay for a while.
pub(crate) struct Stream<F> {
    pub(crate) scheduler: Scheduler,
    make: F,
    there: VecDeque<Box<str>>,
    kept: usize,
    number: u64,
}

impl<F: Fn(u64) -> Box<PodRow>> Stream<F> {
    /// A stream into a cluster, `kept` pods of which are there already.
    pub(crate) fn new(scheduler: Scheduler, kept: usize, make: F) -> Self {
        let mut stream = Self { scheduler, make, there: VecDeque::new(), kept, number: 0 };
        while stream.there.len() < kept {
            stream.one();
        }
        stream
    }

    /// One comes and is placed, one goes.
    pub(crate) fn one(&mut self) {
        self.number += 1;
        let row = (self.make)(self.number);
        self.there.push_back(row.uid.clone());
        let gone = if self.there.len() > self.kept { self.there.pop_front().map(Event::PodGone) } else { None };
        let plan = self.scheduler.step(self.number, gone.into_iter().chain([Event::Pod(row)]), 10);
        assert!(matches!(plan.decisions[..], [Decision::Bind(_)]), "{plan:?}");
    }
}

/// Measures a stream.
pub(crate) fn measure<F: Fn(u64) -> Box<PodRow>>(c: &mut Criterion, name: &str, nodes: u32, mut stream: Stream<F>) {
    c.bench_with_input(BenchmarkId::new(name, nodes), &nodes, |b, _| b.iter(|| stream.one()));
}
