//! What one placement costs, queue included: `place/<what>/<nodes>`, per pod.
//!
//! Every iteration hands in one pod and takes its decision; the pods placed leave again, oldest first, so that the
//! cluster stays as full as it was. `classes` rotates through many demands, `scan` through demands never seen before,
//! `refused` asks for what no node has, `preempt` for what others have. `gang/<pods>/<nodes>` is per gang.

use std::collections::VecDeque;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use gantry_scheduler_core::cycle::{Config, Event, Scheduler};
use gantry_scheduler_core::plan::Decision;
use gantry_scheduler_core::rows::{
    Amounts, Demand, NodeRow, Operator, Own, PodAffinity, PodGroupRow, PodRow, PodTerm, Requirement, Selector,
    SpreadConstraint,
};

const MIB: i64 = 1 << 20;

fn cluster(nodes: u32) -> Scheduler {
    let mut scheduler = Scheduler::new(Config { gangs: true, ..Config::default() });
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

/// A pod that takes the place of another, all nodes full with four pods each: the decision to displace, the victim's
/// end, the binding, and the cluster as it was.
fn preempt(c: &mut Criterion, nodes: u32) {
    let mut scheduler = cluster(nodes);
    let filler: Vec<Event> = (0..u64::from(nodes) * 4).map(|n| Event::Pod(pod(n, 8_000))).collect();
    scheduler.step(0, filler, usize::MAX);
    let mut number = 1_000_000;
    c.bench_with_input(BenchmarkId::new("place/preempt", nodes), &nodes, |b, _| {
        b.iter(|| {
            number += 1;
            let row = Box::new(PodRow { priority: 10, ..*pod(number, 8_000) });
            let uid = row.uid.clone();
            let plan = scheduler.step(number, [Event::Pod(row)], 10);
            let [Decision::Refuse(refusal)] = &plan.decisions[..] else { panic!("it fits nowhere") };
            let victim = refusal.preemption.as_ref().expect("somebody has to go").victims[0].pod.uid.clone();
            let plan = scheduler.step(number, [Event::PodGone(victim)], 10);
            assert!(matches!(plan.decisions[..], [Decision::Bind(_)]));
            number += 1;
            let plan = scheduler.step(number, [Event::PodGone(uid), Event::Pod(pod(number, 8_000))], 10);
            assert!(matches!(plan.decisions[..], [Decision::Bind(_)]));
        });
    });
}

/// Terms about other pods: one pod per iteration, `kept` of them stay.
fn place_wide(c: &mut Criterion, name: &str, nodes: u32, kept: usize, terms: impl Fn(&mut PodRow)) {
    let mut scheduler = cluster(nodes);
    let mut there: VecDeque<Box<str>> = VecDeque::new();
    let mut number = 0;
    let mut one = |scheduler: &mut Scheduler| {
        number += 1;
        let mut row = pod(number, 100);
        row.labels = vec![("app".into(), "web".into())];
        terms(&mut row);
        row.demand.own = Some(Box::new(Own { namespace: row.namespace.clone(), labels: row.labels.clone() }));
        there.push_back(row.uid.clone());
        let gone = if there.len() > kept { there.pop_front().map(Event::PodGone) } else { None };
        let plan = scheduler.step(number, gone.into_iter().chain([Event::Pod(row)]), 10);
        assert!(matches!(plan.decisions[..], [Decision::Bind(_)]));
        plan
    };
    for _ in 0..kept {
        one(&mut scheduler);
    }
    c.bench_with_input(BenchmarkId::new(name, nodes), &nodes, |b, _| b.iter(|| one(&mut scheduler)));
}

fn selector() -> Option<Selector> {
    let app = Requirement { key: "app".into(), operator: Operator::In, values: vec!["web".into()] };
    Some(Selector { requirements: vec![app] })
}

fn zone_spread(row: &mut PodRow) {
    row.demand.spread = vec![SpreadConstraint {
        max_skew: 1,
        topology_key: "topology.kubernetes.io/zone".into(),
        hard: true,
        selector: selector(),
        ..SpreadConstraint::default()
    }];
}

fn term(key: &str) -> PodTerm {
    PodTerm { selector: selector(), namespaces: vec!["default".into()], topology_key: key.into(), ..PodTerm::default() }
}

fn zone_affinity(row: &mut PodRow) {
    let required = vec![term("topology.kubernetes.io/zone")];
    row.demand.pods = Some(Box::new(PodAffinity { required, ..PodAffinity::default() }));
}

fn host_anti_affinity(row: &mut PodRow) {
    let forbidden = vec![term("kubernetes.io/hostname")];
    row.demand.pods = Some(Box::new(PodAffinity { forbidden, ..PodAffinity::default() }));
}

/// A stored pod to its row.
fn rows(c: &mut Criterion) {
    let body = br#"{"kind":"Pod","apiVersion":"v1","metadata":{"name":"web-5d5c7b8f6-abcde","generateName":"web-5d5c7b8f6-","namespace":"default","uid":"6f6a3c0e-7f0e-4a4e-9d0a-0d6f1f1f6b7a","resourceVersion":"12345","generation":1,"creationTimestamp":"2026-11-23T09:00:00Z","labels":{"app":"web","pod-template-hash":"5d5c7b8f6"},"ownerReferences":[{"apiVersion":"apps/v1","kind":"ReplicaSet","name":"web-5d5c7b8f6","uid":"b1b5f1f4-1111-4a4e-9d0a-0d6f1f1f6b7a","controller":true,"blockOwnerDeletion":true}],"managedFields":[{"manager":"kube-controller-manager","operation":"Update","apiVersion":"v1","time":"2026-11-23T09:00:00Z","fieldsType":"FieldsV1","fieldsV1":{"f:metadata":{"f:labels":{".":{},"f:app":{}}},"f:spec":{"f:containers":{"k:{\"name\":\"nginx\"}":{".":{},"f:image":{},"f:name":{},"f:resources":{}}}}}}]},"spec":{"volumes":[{"name":"kube-api-access-abcde","projected":{"sources":[{"serviceAccountToken":{"expirationSeconds":3607,"path":"token"}},{"configMap":{"name":"kube-root-ca.crt","items":[{"key":"ca.crt","path":"ca.crt"}]}}],"defaultMode":420}}],"containers":[{"name":"nginx","image":"nginx:1.27","ports":[{"containerPort":80,"protocol":"TCP"}],"resources":{"requests":{"cpu":"100m","memory":"128Mi"}},"volumeMounts":[{"name":"kube-api-access-abcde","readOnly":true,"mountPath":"/var/run/secrets/kubernetes.io/serviceaccount"}],"terminationMessagePath":"/dev/termination-log","terminationMessagePolicy":"File","imagePullPolicy":"IfNotPresent"}],"restartPolicy":"Always","terminationGracePeriodSeconds":30,"dnsPolicy":"ClusterFirst","serviceAccountName":"default","securityContext":{},"schedulerName":"default-scheduler","tolerations":[{"key":"node.kubernetes.io/not-ready","operator":"Exists","effect":"NoExecute","tolerationSeconds":300},{"key":"node.kubernetes.io/unreachable","operator":"Exists","effect":"NoExecute","tolerationSeconds":300}],"priority":0,"enableServiceLinks":true,"preemptionPolicy":"PreemptLowerPriority"},"status":{"phase":"Pending","qosClass":"Burstable"}}"#;
    c.bench_function("rows/pod_from_json", |b| b.iter(|| PodRow::from_json(body).expect("a pod")));
}

fn member(number: u64, cpu: i64) -> Box<PodRow> {
    Box::new(PodRow { group: "gang".into(), ..*pod(number, cpu) })
}

fn gang(nodes: u32, pods: u64) -> Scheduler {
    let mut scheduler = cluster(nodes);
    let min_count = i32::try_from(pods).ok();
    let group = PodGroupRow { namespace: "default".into(), name: "gang".into(), min_count };
    scheduler.step(0, [Event::PodGroup(group)], 0);
    scheduler
}

/// A whole gang: its pods come, are placed together, and are gone again.
fn gang_placed(c: &mut Criterion, nodes: u32, pods: u64) {
    let mut scheduler = gang(nodes, pods);
    let mut number = 0;
    c.bench_with_input(BenchmarkId::new(format!("gang/{pods}_pods"), format!("{nodes}_nodes")), &nodes, |b, _| {
        b.iter(|| {
            let rows: Vec<Box<PodRow>> = (0..pods).map(|n| member(number + n, 100)).collect();
            number += pods;
            let gone: Vec<Event> = rows.iter().map(|row| Event::PodGone(row.uid.clone())).collect();
            let plan = scheduler.step(number, rows.into_iter().map(Event::Pod), 10);
            let [Decision::BindAll(together)] = &plan.decisions[..] else { panic!("it fits") };
            assert_eq!(together.placements.len() as u64, pods);
            scheduler.step(number, gone, 10)
        });
    });
}

/// What a gang that misses one place costs others: one pod is placed and leaves again while the gang waits.
fn gang_waits(c: &mut Criterion, nodes: u32) {
    let room = u64::from(nodes) * 4;
    let mut scheduler = gang(nodes, room + 1);
    scheduler.step(0, (0..=room).map(|n| Event::Pod(member(n, 8_000))), 10);
    let mut number = 1_000_000;
    c.bench_with_input(BenchmarkId::new("gang/waits", format!("{nodes}_nodes")), &nodes, |b, _| {
        b.iter(|| {
            number += 1;
            let row = pod(number, 100);
            let gone = Event::PodGone(row.uid.clone());
            let plan = scheduler.step(number, [Event::Pod(row)], 10);
            assert!(matches!(plan.decisions[..], [Decision::Bind(_)]));
            scheduler.step(number, [gone], 10)
        });
    });
}

fn all(c: &mut Criterion) {
    rows(c);
    gang_placed(c, 5_000, 1_000);
    gang_waits(c, 5_000);
    for nodes in [1_000, 5_000, 20_000, 100_000] {
        place_wide(c, "place/zone_spread", nodes, 5_000, zone_spread);
        place_wide(c, "place/zone_affinity", nodes, 5_000, zone_affinity);
        place_wide(c, "place/host_anti_affinity", nodes, nodes as usize * 4 / 5, host_anti_affinity);
        place(c, "place/plain", nodes, 20_000, |_| 100);
        place(c, "place/classes_100", nodes, 20_000, |n| 100 + (n % 100) as i64);
        place(c, "place/scan", nodes, 20_000, |n| 100 + (n % 20_000) as i64);
        refused(c, nodes);
        preempt(c, nodes);
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20).warm_up_time(std::time::Duration::from_millis(500))
        .measurement_time(std::time::Duration::from_secs(2));
    targets = all
}
criterion_main!(benches);
