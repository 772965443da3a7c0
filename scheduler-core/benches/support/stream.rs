//! What the benches of decisions share, and the test that counts in place of measuring: a cluster, pods, and a stream of
//! them through it. Each step hands in one pod and takes its decision; the pods placed leave again, oldest first, so that
//! the cluster stays as full as it was.
#![allow(dead_code, reason = "each bench uses its part")]

use std::collections::VecDeque;

use gantry_scheduler_core::cycle::{Config, Event, Scheduler};
use gantry_scheduler_core::plan::Decision;
use gantry_scheduler_core::rows::{
    Amounts, Demand, Keeper, KindredRow, NodeRow, Operator, Own, PodAffinity, PodRow, PodTerm, Requirement, Selector,
    SpreadConstraint,
};

pub(crate) const HOSTNAME: &str = "kubernetes.io/hostname";
pub(crate) const ZONE: &str = "topology.kubernetes.io/zone";
const MIB: i64 = 1 << 20;

/// Nodes of 32 CPUs and 256 GiB in ten zones; every fifth has a fast disk.
pub(crate) fn cluster(nodes: u32) -> Scheduler {
    let mut scheduler = Scheduler::new(Config { gangs: true, ..Config::default() });
    let rows = (0..nodes).map(|n| {
        let labels = vec![
            ("disk".into(), if n.is_multiple_of(5) { "fast" } else { "slow" }.into()),
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

/// At most one more in a zone than in any other.
pub(crate) fn zone_spread(demand: &mut Demand) {
    let topology_key = ZONE.into();
    let selector = Some(webs());
    demand.spread =
        vec![SpreadConstraint { max_skew: 1, topology_key, hard: true, selector, ..SpreadConstraint::default() }];
}

fn term(key: &str) -> PodTerm {
    let namespaces = vec!["default".into()];
    PodTerm { selector: Some(webs()), namespaces, topology_key: key.into(), ..PodTerm::default() }
}

/// What the system asks for on behalf of pods of a Service, as the pod's own.
pub(crate) fn system_spread(demand: &mut Demand) {
    let preference = |key: &str, max_skew| SpreadConstraint {
        max_skew,
        topology_key: key.into(),
        selector: Some(webs()),
        ..SpreadConstraint::default()
    };
    demand.spread = vec![preference(HOSTNAME, 3), preference(ZONE, 5)];
}

/// In a zone with others of its kind.
pub(crate) fn zone_affinity(demand: &mut Demand) {
    demand.pods = Some(Box::new(PodAffinity { required: vec![term(ZONE)], ..PodAffinity::default() }));
}

/// On a node without others of its kind.
pub(crate) fn host_anti_affinity(demand: &mut Demand) {
    demand.pods = Some(Box::new(PodAffinity { forbidden: vec![term(HOSTNAME)], ..PodAffinity::default() }));
}

/// Rather on a node without others of its kind.
pub(crate) fn preferred_anti_affinity(demand: &mut Demand) {
    let preferred = vec![(-100, term(HOSTNAME))];
    demand.pods = Some(Box::new(PodAffinity { preferred, ..PodAffinity::default() }));
}

/// Gives a pod of `app=web` another application, also in its terms.
pub(crate) fn of_app(mut row: Box<PodRow>, app: u64) -> Box<PodRow> {
    let app: Box<str> = format!("web-{app}").into();
    row.labels[0].1 = app.clone();
    if let Some(own) = &mut row.demand.own {
        own.labels[0].1 = app.clone();
    }
    for selector in row.demand.spread.iter_mut().filter_map(|constraint| constraint.selector.as_mut()) {
        selector.requirements[0].values[0] = app.clone();
    }
    row
}

/// A Service that selects the pods labelled `app=web`.
pub(crate) fn service() -> Event {
    let (keeper, selector) = (Keeper::Service, Some(webs()));
    Event::Kindred(KindredRow { keeper, namespace: "default".into(), name: "web".into(), selector })
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
