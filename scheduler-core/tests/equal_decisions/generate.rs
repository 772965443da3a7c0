//! Clusters and streams of events, generated small and crowded so that rules meet each other.

use gantry_scheduler_core::rows::{
    Amounts, Demand, Effect, HostPort, NodeImage, NodeRow, NodeTerm, Operator, PodRow, PreferredNodeTerm, Requirement,
    Taint, Toleration,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

const MIB: i64 = 1 << 20;

/// Something that happens to the cluster. Numbers pick among what is there.
#[derive(Clone, Debug)]
pub(crate) enum Happening {
    Node(NodeRow),
    NodeGone(u8),
    Pods(PodRow, u8),
    PodGone(u8),
    PodEnds(u8),
    PodChanges(u8, PodRow),
    SeenBound(u8),
    BindFails(u8),
    Time(u32),
    Step(u8),
}

pub(crate) fn happenings() -> impl Strategy<Value = Vec<Happening>> {
    let one = prop_oneof![
        4 => node().prop_map(Happening::Node),
        1 => any::<u8>().prop_map(Happening::NodeGone),
        6 => (pod(), 1..6u8).prop_map(|(pod, n)| Happening::Pods(pod, n)),
        2 => any::<u8>().prop_map(Happening::PodGone),
        1 => any::<u8>().prop_map(Happening::PodEnds),
        1 => (any::<u8>(), pod()).prop_map(|(at, pod)| Happening::PodChanges(at, pod)),
        3 => any::<u8>().prop_map(Happening::SeenBound),
        1 => any::<u8>().prop_map(Happening::BindFails),
        1 => (0..400_000u32).prop_map(Happening::Time),
        6 => (1..20u8).prop_map(Happening::Step),
    ];
    vec(one, 1..60)
}

fn node() -> impl Strategy<Value = NodeRow> {
    (
        0..7u8,
        labels(),
        vec(taint(), 0..3),
        prop::bool::weighted(0.1),
        (prop::sample::select(vec![0i64, 500, 1000, 3000]), 0..8i64, 0..6i64, 0..3i64),
        vec((0..3u8, 1..900i64), 0..3),
    )
        .prop_map(|(name, labels, taints, unschedulable, (cpu, memory, pods, gpus), images)| NodeRow {
            name: format!("n{name}").into(),
            labels,
            taints,
            unschedulable,
            allocatable: Amounts {
                cpu,
                memory: memory * 256 * MIB,
                ephemeral: memory * MIB,
                pods,
                extended: if gpus > 0 { vec![("x.y/gpu".into(), gpus)] } else { vec![] },
            },
            images: images
                .into_iter()
                .map(|(name, size)| NodeImage { names: vec![format!("i{name}:latest").into()], size: size * MIB })
                .collect(),
            ..NodeRow::default()
        })
}

fn labels() -> impl Strategy<Value = Vec<(Box<str>, Box<str>)>> {
    (option::of(0..3u8), option::of(0..3u8)).prop_map(|(disk, zone)| {
        let disk = disk.map(|v| ("disk".into(), v.to_string().into()));
        let zone = zone.map(|v| ("zone".into(), v.to_string().into()));
        disk.into_iter().chain(zone).collect()
    })
}

fn effect() -> impl Strategy<Value = Effect> {
    prop::sample::select(vec![
        Effect::NoSchedule,
        Effect::PreferNoSchedule,
        Effect::PreferNoSchedule,
        Effect::NoExecute,
    ])
}

fn taint() -> impl Strategy<Value = Taint> {
    (0..3u8, 0..2u8, effect()).prop_map(|(key, value, effect)| Taint {
        key: format!("t{key}").into(),
        value: value.to_string().into(),
        effect,
    })
}

fn toleration() -> impl Strategy<Value = Toleration> {
    (option::weighted(0.9, 0..3u8), any::<bool>(), 0..2u8, option::of(effect())).prop_map(
        |(key, exists, value, effect)| Toleration {
            key: key.map(|k| format!("t{k}").into()).unwrap_or_default(),
            exists: exists || key.is_none(),
            value: if exists { "".into() } else { value.to_string().into() },
            effect,
        },
    )
}

fn requirement() -> impl Strategy<Value = Requirement> {
    let operator = prop::sample::select(vec![
        Operator::In,
        Operator::NotIn,
        Operator::Exists,
        Operator::DoesNotExist,
        Operator::Gt,
        Operator::Lt,
    ]);
    (prop::sample::select(vec!["disk", "zone"]), operator, vec(0..3u8, 1..3)).prop_map(|(key, operator, values)| {
        let mut values: Vec<Box<str>> = values.into_iter().map(|v| v.to_string().into()).collect();
        values.sort();
        values.dedup();
        match operator {
            Operator::Gt | Operator::Lt => values.truncate(1),
            Operator::Exists | Operator::DoesNotExist => values.clear(),
            Operator::In | Operator::NotIn => {}
        }
        Requirement { key: key.into(), operator, values }
    })
}

fn field() -> impl Strategy<Value = Requirement> {
    (vec(0..7u8, 1..3), prop::bool::weighted(0.8)).prop_map(|(names, within)| {
        let mut values: Vec<Box<str>> = names.into_iter().map(|n| format!("n{n}").into()).collect();
        values.sort();
        values.dedup();
        let operator = if within { Operator::In } else { Operator::NotIn };
        Requirement { key: "metadata.name".into(), operator, values }
    })
}

fn term() -> impl Strategy<Value = NodeTerm> {
    let fields = prop_oneof![4 => Just(vec![]), 1 => vec(field(), 1..3)];
    (vec(requirement(), 0..3), fields).prop_map(|(labels, fields)| NodeTerm { labels, fields })
}

fn amounts() -> impl Strategy<Value = Amounts> {
    let memory = prop::sample::select(vec![0i64, 0, 128, 300, 1000]);
    (prop::sample::select(vec![0i64, 0, 100, 250, 900]), memory, 0..2i64, prop::sample::select(vec![0i64, 0, 0, 1, 2]))
        .prop_map(|(cpu, memory, ephemeral, gpus)| Amounts {
            cpu,
            memory: memory * MIB,
            ephemeral: ephemeral * MIB,
            pods: 0,
            extended: if gpus > 0 { vec![("x.y/gpu".into(), gpus)] } else { vec![] },
        })
}

fn port() -> impl Strategy<Value = HostPort> {
    (prop::sample::select(vec!["0.0.0.0", "10.0.0.1", "10.0.0.2"]), 1..3u16).prop_map(|(ip, port)| HostPort {
        ip: ip.into(),
        protocol: "TCP".into(),
        port,
    })
}

fn demand() -> impl Strategy<Value = Demand> {
    let selector = option::weighted(0.2, 0..3u8);
    let terms = option::weighted(0.3, vec(term(), 0..3));
    let preferred = vec((1..100i32, term()), 0..3);
    let tolerations = prop_oneof![1 => Just(vec![]), 1 => vec(toleration(), 1..3)];
    let ports = prop_oneof![4 => Just(vec![]), 1 => vec(port(), 1..3)];
    (amounts(), selector, terms, preferred, tolerations, ports, vec(0..4u8, 0..3)).prop_map(
        |(requests, selector, node_terms, preferred, tolerations, host_ports, images)| Demand {
            scored_cpu: if requests.cpu == 0 { 100 } else { requests.cpu },
            scored_memory: if requests.memory == 0 { 200 * MIB } else { requests.memory },
            requests,
            node_selector: selector.map(|v| ("disk".into(), v.to_string().into())).into_iter().collect(),
            node_terms,
            preferred_node_terms: preferred
                .into_iter()
                .map(|(weight, term)| PreferredNodeTerm { weight, term })
                .collect(),
            tolerations,
            host_ports,
            images: images.into_iter().map(|i| format!("i{i}:latest").into()).collect(),
            ..Demand::default()
        },
    )
}

/// A pod without identity: the test gives it one.
fn pod() -> impl Strategy<Value = PodRow> {
    (demand(), 0..3i32, prop::bool::weighted(0.1), prop::bool::weighted(0.1)).prop_map(
        |(demand, priority, never_preempts, gated)| PodRow {
            namespace: "default".into(),
            scheduler: "default-scheduler".into(),
            priority,
            never_preempts,
            gated,
            demand,
            ..PodRow::default()
        },
    )
}
