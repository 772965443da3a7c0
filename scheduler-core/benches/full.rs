//! A full cluster: pods that fit nowhere, events that do not help them, events that do, and pods that take the place of
//! others.

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use gantry_scheduler_core::cycle::{Event, Scheduler};
use gantry_scheduler_core::plan::Decision;
use gantry_scheduler_core::rows::{BudgetRow, Operator, PodRow, Requirement, Selector};

#[path = "support/measure.rs"]
mod measure;
#[path = "support/stream.rs"]
mod stream;
use measure::{NODES, config};
use stream::{cluster, pod};

/// Four pods of 8 CPUs on each node: no room for anybody.
fn full(nodes: u32) -> Scheduler {
    let mut scheduler = cluster(nodes);
    let filler: Vec<Event> = (0..u64::from(nodes) * 4).map(|n| Event::Pod(pod(n, 8_000))).collect();
    scheduler.step(0, filler, usize::MAX);
    scheduler
}

/// A cluster with 20,000 small pods on it.
fn with_20_000_pods(nodes: u32) -> Scheduler {
    let mut scheduler = cluster(nodes);
    let filler: Vec<Event> = (0..20_000).map(|n| Event::Pod(pod(n, 100))).collect();
    scheduler.step(0, filler, usize::MAX);
    scheduler
}

fn refused(plan: &gantry_scheduler_core::plan::Plan) {
    assert!(matches!(plan.decisions[..], [Decision::Refuse(_)]), "{plan:?}");
}

fn bound(plan: &gantry_scheduler_core::plan::Plan) {
    assert!(matches!(plan.decisions[..], [Decision::Bind(_)]), "{plan:?}");
}

/// A pod that fits nowhere comes, is refused, and goes: with nothing else happening, and with another pod placed and gone
/// each time.
fn refusal(c: &mut Criterion) {
    for nodes in NODES {
        let mut scheduler = with_20_000_pods(nodes);
        let mut number = 1_000_000;
        c.bench_with_input(BenchmarkId::new("refused", nodes), &nodes, |b, _| {
            b.iter(|| {
                number += 1;
                let row = pod(number, 1_000_000);
                let gone = Event::PodGone(row.uid.clone());
                refused(&scheduler.step(0, [Event::Pod(row)], 10));
                scheduler.step(0, [gone], 10)
            });
        });
        c.bench_with_input(BenchmarkId::new("refused_amid_changes", nodes), &nodes, |b, _| {
            b.iter(|| {
                number += 2;
                let (other, row) = (pod(number - 1, 100), pod(number, 1_000_000));
                let gone = [Event::PodGone(other.uid.clone()), Event::PodGone(row.uid.clone())];
                bound(&scheduler.step(0, [Event::Pod(other)], 10));
                refused(&scheduler.step(0, [Event::Pod(row)], 10));
                scheduler.step(0, gone, 10)
            });
        });
    }
}

/// With 1,000 pods of 100 classes waiting: a pod that is placed and goes again helps none of them.
fn no_help(c: &mut Criterion) {
    for nodes in NODES {
        let mut scheduler = with_20_000_pods(nodes);
        let waiting = (0..1_000).map(|n| Event::Pod(pod(2_000_000 + n, 1_000_000 + n as i64 % 100)));
        scheduler.step(0, waiting.collect::<Vec<_>>(), usize::MAX);
        let mut number = 3_000_000;
        c.bench_with_input(BenchmarkId::new("placed_while_1000_wait", nodes), &nodes, |b, _| {
            b.iter(|| {
                number += 1;
                let row = pod(number, 100);
                let gone = Event::PodGone(row.uid.clone());
                bound(&scheduler.step(0, [Event::Pod(row)], 10));
                scheduler.step(0, [gone], 10)
            });
        });
    }
}

/// On a full cluster with 1,000 pods waiting, one ends and one of those who wait takes its place.
fn wake_up(c: &mut Criterion) {
    for nodes in NODES {
        let mut scheduler = full(nodes);
        let waiting = (0..1_000).map(|n| Event::Pod(pod(2_000_000 + n, 8_000)));
        scheduler.step(0, waiting.collect::<Vec<_>>(), usize::MAX);
        let mut number = 3_000_000;
        let mut next: Box<str> = pod(0, 0).uid;
        c.bench_with_input(BenchmarkId::new("woken", nodes), &nodes, |b, _| {
            b.iter(|| {
                number += 1;
                let plan = scheduler.step(0, [Event::PodGone(next.clone())], 10);
                let [Decision::Bind(woken)] = &plan.decisions[..] else { panic!("{plan:?}") };
                next = woken.pod.uid.clone();
                refused(&scheduler.step(0, [Event::Pod(pod(number, 8_000))], 10));
            });
        });
    }
}

/// A pod that takes the place of another, all nodes full with four pods each: the decision to displace, the victim's
/// end, the binding, and the cluster as it was. `preempt_decision` is the first of it: until the victim is named.
fn preempt(c: &mut Criterion) {
    for nodes in NODES {
        let mut scheduler = full(nodes);
        let mut number = 1_000_000;
        let mut displace = |scheduler: &mut Scheduler| {
            number += 1;
            let row = Box::new(PodRow { priority: 10, ..*pod(number, 8_000) });
            let uid = row.uid.clone();
            let start = std::time::Instant::now();
            let plan = scheduler.step(0, [Event::Pod(row)], 10);
            let decided = start.elapsed();
            let [Decision::Refuse(refusal)] = &plan.decisions[..] else { panic!("it fits nowhere") };
            let victim = refusal.preemption.as_ref().expect("somebody has to go").victims[0].pod.uid.clone();
            bound(&scheduler.step(0, [Event::PodGone(victim)], 10));
            number += 1;
            bound(&scheduler.step(0, [Event::PodGone(uid), Event::Pod(pod(number, 8_000))], 10));
            decided
        };
        c.bench_with_input(BenchmarkId::new("preempt", nodes), &nodes, |b, _| b.iter(|| displace(&mut scheduler)));
        c.bench_with_input(BenchmarkId::new("preempt_decision", nodes), &nodes, |b, _| {
            b.iter_custom(|rounds| (0..rounds).map(|_| displace(&mut scheduler)).sum());
        });
    }
}

/// The pod of one of a hundred apps, each with a budget.
fn of_app(number: u64) -> Box<PodRow> {
    let app = (number % 100).to_string().into();
    Box::new(PodRow { labels: vec![("app".into(), app)], ..*pod(number, 8_000) })
}

/// The budget of an app, as it is when so many of its pods may go.
fn budget(app: u64, allowed: i32) -> Event {
    let is = Requirement { key: "app".into(), operator: Operator::In, values: vec![app.to_string().into()] };
    let selector = Some(Selector { requirements: vec![is] });
    let name = format!("app-{app}").into();
    Event::Budget(BudgetRow { namespace: pod(0, 0).namespace, name, selector, allowed, disrupted: vec![] })
}

/// The same where every pod is protected by a budget, and the victim's budget changes with its going.
fn preempt_protected(c: &mut Criterion) {
    for nodes in NODES {
        let mut scheduler = cluster(nodes);
        let filler = (0..u64::from(nodes) * 4).map(|n| Event::Pod(of_app(n)));
        scheduler.step(0, filler.chain((0..100).map(|app| budget(app, 5))), usize::MAX);
        let mut number = 1_000_000;
        c.bench_with_input(BenchmarkId::new("preempt_protected", nodes), &nodes, |b, _| {
            b.iter(|| {
                number += 100;
                let row = Box::new(PodRow { priority: 10, ..*pod(number, 8_000) });
                let uid = row.uid.clone();
                let plan = scheduler.step(0, [Event::Pod(row)], 10);
                let [Decision::Refuse(refusal)] = &plan.decisions[..] else { panic!("it fits nowhere") };
                let victim = &refusal.preemption.as_ref().expect("somebody has to go").victims[0].pod;
                let app = scheduler.pods().find(&victim.uid).and_then(|at| scheduler.pods().get(at));
                let app: u64 = app.and_then(|pod| pod.labels[0].1.parse().ok()).expect("it is of an app");
                bound(&scheduler.step(0, [Event::PodGone(victim.uid.clone()), budget(app, 4)], 10));
                bound(&scheduler.step(0, [Event::PodGone(uid), Event::Pod(of_app(number + app)), budget(app, 5)], 10));
            });
        });
    }
}

criterion_group! { name = benches; config = config(); targets = refusal, no_help, wake_up, preempt, preempt_protected }
criterion_main!(benches);
