//! What the core counts and times: in step with what it does, a sample of it, and nothing without a clock.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use gantry_scheduler_core::cycle::{Config, Event, Scheduler};
use gantry_scheduler_core::meter::{Lap, Point, SAMPLE, Stopwatch, Timed};
use gantry_scheduler_core::plan::Plan;
use gantry_scheduler_core::profile::Plugin;
use gantry_scheduler_core::rows::{Amounts, Demand, HostPort, NodeRow, PodRow};

/// Every look at it takes a microsecond.
#[derive(Debug, Default)]
struct Ticking(AtomicU64);

impl Stopwatch for Ticking {
    fn nanos(&self) -> u64 {
        self.0.fetch_add(1000, Relaxed)
    }
}

fn node(name: &str, pods: i64) -> Event {
    let allocatable = Amounts { cpu: 4000, memory: 1 << 30, pods, ..Amounts::default() };
    Event::Node(Box::new(NodeRow { name: name.into(), allocatable, ..NodeRow::default() }))
}

fn pod(name: &str, demand: Demand) -> Event {
    let scheduler = "default-scheduler".into();
    Event::Pod(Box::new(PodRow { name: name.into(), uid: name.into(), scheduler, demand, ..PodRow::default() }))
}

/// Fifty pods for a node that has room for twenty.
fn run(mut scheduler: Scheduler) -> (Scheduler, Plan) {
    let pods = (0..50).map(|n| pod(&format!("p{n}"), Demand::default()));
    let plan = scheduler.step(0, std::iter::once(node("n", 20)).chain(pods), usize::MAX);
    (scheduler, plan)
}

#[test]
fn one_decision_and_one_event_in_ten_are_timed() {
    let (_, plan) = run(Scheduler::new(Config::default()).timed_by(Box::new(Ticking::default())));
    let of = |wanted: &dyn Fn(&Timed) -> bool| plan.laps.iter().filter(|Lap { what, .. }| wanted(what)).count();
    let filter = |what: &Timed| matches!(what, Timed::Point { point: Point::Filter, .. });
    let reserve = |what: &Timed| matches!(what, Timed::Point { point: Point::Reserve, .. });
    let preempt = |what: &Timed| {
        matches!(what, Timed::Plugin { plugin: Plugin::DefaultPreemption, point: Point::PostFilter, .. })
    };
    let added = |what: &Timed| *what == Timed::Event("UnscheduledPodAdd");
    let every = usize::try_from(SAMPLE).unwrap();
    assert_eq!((of(&filter), of(&reserve), of(&added)), (50 / every, 20 / every, 50 / every));
    // All that fit nowhere share what the first was told.
    assert_eq!(of(&preempt), 0);
    assert!(plan.laps.iter().all(|lap| lap.nanos >= 1000));
}

#[test]
fn without_a_clock_nothing_is_timed() {
    let (_, plan) = run(Scheduler::new(Config::default()));
    assert!(plan.laps.is_empty());
}

#[test]
fn plugins_are_counted_where_they_have_a_say() {
    let (mut scheduler, _) = run(Scheduler::new(Config::default()));
    let port = HostPort { port: 80, ..HostPort::default() };
    scheduler.step(1, [pod("q", Demand { host_ports: vec![port], ..Demand::default() })], usize::MAX);
    let count = |plugin: Plugin, scoring: bool| -> u64 {
        let all = scheduler.tallies().evaluations();
        all.filter(|(_, p, s, _)| (*p, *s) == (plugin, scoring)).map(|(.., count)| count).sum()
    };
    assert_eq!((count(Plugin::NodeResourcesFit, false), count(Plugin::NodePorts, false)), (51, 1));
    assert_eq!((count(Plugin::NodeResourcesFit, true), count(Plugin::InterPodAffinity, false)), (51, 0));
}

#[test]
fn whoever_waits_is_counted_under_the_plugin_that_is_why() {
    let (mut scheduler, _) = run(Scheduler::new(Config::default()));
    let waiting = |scheduler: &Scheduler| -> Vec<(&'static str, usize)> {
        scheduler.tallies().unschedulable().map(|(_, plugin, count)| (plugin, count)).collect()
    };
    assert_eq!(waiting(&scheduler), [("NodeResourcesFit", 30)]);
    assert_eq!(scheduler.tallies().preemptions, 30);
    // One goes, one changes its mind, room comes for ten.
    let tolerant = pod("p49", Demand { scored_cpu: 7, ..Demand::default() });
    scheduler.step(1, [Event::PodGone("p48".into()), tolerant, node("m", 10)], usize::MAX);
    assert_eq!(waiting(&scheduler), [("NodeResourcesFit", scheduler.pending().unschedulable)]);
    assert_eq!(scheduler.pending().unschedulable, 19);
    scheduler.step(2, [node("l", 100)], usize::MAX);
    assert_eq!(waiting(&scheduler), [("NodeResourcesFit", 0)]);
}
