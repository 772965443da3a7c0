//! What one placement with a claim of devices costs, queue included: `devices/<what>/<nodes>`, per pod.
//!
//! Every node has eight devices of its own. Every iteration hands in a claim and a pod, takes the decision, and lets the
//! oldest pod and its claim go. `one` asks for one device, `four` for four with one attribute in common, `refused` for
//! what no node has; `freed` is a pod that waits until a device is given back.

use std::collections::VecDeque;
use std::sync::Arc;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use gantry_cel::device::Attribute;
use gantry_cel::quantity::Quantity;
use gantry_scheduler_core::cycle::{Config, Event, Scheduler};
use gantry_scheduler_core::plan::Decision;
use gantry_scheduler_core::rows::devices::{
    Capacity, ClaimName, ClaimSpec, Constraint, DeviceClaimRow, DeviceClassRow, DeviceRow, DeviceUse, Reach, Request,
    SliceRow, Wanted,
};
use gantry_scheduler_core::rows::storage::{Change, Key, Kind, Needs, Thing};
use gantry_scheduler_core::rows::{Amounts, NodeRow, PodRow};

const DRIVER: &str = "gpu.example.com";
const DEVICES: usize = 8;

fn is(thing: Thing) -> Event {
    Event::Storage(Change::Is(Box::new(thing)))
}

fn cluster(nodes: u32) -> Scheduler {
    let mut scheduler = Scheduler::new(Config::default());
    let mut events = vec![is(Thing::DeviceClass(DeviceClassRow {
        name: "gpu".into(),
        selectors: vec![format!("device.driver == '{DRIVER}'").into()],
        config: vec![],
        ..DeviceClassRow::default()
    }))];
    for n in 0..nodes {
        let name: Box<str> = format!("node-{n}").into();
        events.push(Event::Node(Box::new(NodeRow {
            name: name.clone(),
            allocatable: Amounts { cpu: 32_000, memory: 256 << 30, pods: 110, ..Amounts::default() },
            ..NodeRow::default()
        })));
        let device = |at: usize| DeviceRow {
            name: format!("gpu-{at}").into(),
            attributes: vec![("numa".into(), Attribute::Int((at / 4) as i64))],
            capacity: vec![(
                "memory".into(),
                Capacity { value: Quantity::from_bytes(80 << 30), ..Capacity::default() },
            )],
            ..DeviceRow::default()
        };
        events.push(is(Thing::Slice(SliceRow {
            name: format!("slice-{n}").into(),
            driver: DRIVER.into(),
            pool: name.clone(),
            generation: 1,
            slices: 1,
            reach: Reach::Node(name),
            devices: (0..DEVICES).map(device).collect(),
            counters: vec![],
        })));
    }
    scheduler.step(0, events, 0);
    scheduler
}

/// A pod, and its claim of so many devices of at least so much memory.
fn pod(number: u64, count: usize, gib: u64) -> [Event; 2] {
    let uid: Box<str> = format!("00000000-0000-0000-0000-{number:012}").into();
    let selector = format!("device.capacity['{DRIVER}'].memory.compareTo(quantity('{gib}Gi')) >= 0");
    let wanted =
        Wanted { class: "gpu".into(), selectors: vec![selector.into()], count: Some(count), ..Wanted::default() };
    let spec = ClaimSpec {
        requests: vec![Request { name: "gpu".into(), options: vec![wanted], prioritized: false }],
        constraints: vec![Constraint { attribute: format!("{DRIVER}/numa").into(), ..Constraint::default() }],
        config: vec![],
    };
    let claim = DeviceClaimRow {
        key: Key::new("default", &uid),
        uid: uid.clone(),
        pod: uid.clone(),
        spec: Arc::new(spec),
        ..DeviceClaimRow::default()
    };
    let used = DeviceUse { name: "gpu".into(), claim: ClaimName::Is(uid.clone()), generated: true };
    let row = PodRow {
        namespace: "default".into(),
        name: uid.clone(),
        uid,
        scheduler: "default-scheduler".into(),
        needs: Some(Box::new(Needs { devices: vec![used], ..Needs::default() })),
        ..PodRow::default()
    };
    [is(Thing::DeviceClaim(claim)), Event::Pod(Box::new(row))]
}

fn gone(uid: &str) -> [Event; 2] {
    [Event::PodGone(uid.into()), Event::Storage(Change::Gone(Kind::DeviceClaim, Key::new("default", uid)))]
}

/// Places one pod per iteration; `kept` of them stay.
fn place(c: &mut Criterion, name: &str, nodes: u32, count: usize, kept: usize) {
    let mut scheduler = cluster(nodes);
    let mut there: VecDeque<Box<str>> = VecDeque::new();
    let mut number = 0;
    c.bench_with_input(BenchmarkId::new(name, nodes), &nodes, |b, _| {
        b.iter(|| {
            number += 1;
            let old = if there.len() >= kept { there.pop_front().map(|uid| gone(&uid)) } else { None };
            let events = old.into_iter().flatten().chain(pod(number, count, 40));
            let plan = scheduler.step(number, events, 10);
            let [Decision::Bind(placement)] = &plan.decisions[..] else { panic!("there is room: {plan:?}") };
            there.push_back(placement.pod.uid.clone());
        });
    });
}

/// A pod that no node has a device for.
fn refused(c: &mut Criterion, nodes: u32) {
    let mut scheduler = cluster(nodes);
    let mut number = 0;
    c.bench_with_input(BenchmarkId::new("devices/refused", nodes), &nodes, |b, _| {
        b.iter(|| {
            number += 1;
            let plan = scheduler.step(number, pod(number, 1, 400), 10);
            let [Decision::Refuse(refusal)] = &plan.decisions[..] else { panic!("nobody has it: {plan:?}") };
            scheduler.step(number, gone(&refusal.pod.uid), 10)
        });
    });
}

/// All devices taken, and a thousand pods waiting: one goes, one of them comes.
fn freed(c: &mut Criterion, nodes: u32) {
    let mut scheduler = cluster(nodes);
    let all = u64::from(nodes) * DEVICES as u64;
    let mut there: VecDeque<Box<str>> = VecDeque::new();
    for number in 0..all + 1_000 {
        let plan = scheduler.step(0, pod(number, 1, 40), 10);
        if let [Decision::Bind(placement)] = &plan.decisions[..] {
            there.push_back(placement.pod.uid.clone());
        }
    }
    let mut number = all + 1_000;
    c.bench_with_input(BenchmarkId::new("devices/freed", nodes), &nodes, |b, _| {
        b.iter(|| {
            number += 1;
            let old = there.pop_front().expect("some are placed");
            let plan = scheduler.step(number, gone(&old).into_iter().chain(pod(number, 1, 40)), 10);
            let bound = plan.decisions.iter().filter_map(|decision| match decision {
                Decision::Bind(placement) => Some(placement.pod.uid.clone()),
                _ => None,
            });
            there.extend(bound);
        });
    });
}

fn all(c: &mut Criterion) {
    for nodes in [1_000, 5_000, 20_000, 100_000] {
        place(c, "devices/one", nodes, 1, nodes as usize * DEVICES / 2);
        place(c, "devices/four", nodes, 4, nodes as usize);
        refused(c, nodes);
    }
    freed(c, 200);
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20).warm_up_time(std::time::Duration::from_millis(500))
        .measurement_time(std::time::Duration::from_secs(2));
    targets = all
}
criterion_main!(benches);
