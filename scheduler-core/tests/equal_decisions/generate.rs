//! Clusters and streams of events, generated small and crowded so that rules meet each other.

use gantry_scheduler_core::profile::{Plugin, Profile};
use gantry_scheduler_core::rows::storage::Thing;
use gantry_scheduler_core::rows::{
    Amounts, BudgetRow, Demand, Effect, Features, HostPort, Keeper, KindredRow, Needs, NodeImage, NodeRow, NodeTerm,
    Operator, Own, PodAffinity, PodGroupRow, PodRow, PodTerm, PreferredNodeTerm, Requirement, Selector,
    SpreadConstraint, Taint, Toleration,
};
use gantry_scheduler_core::score::allocation::{Kind, Strategy as Fit};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use crate::{devices, volumes};

const ZONE: &str = "topology.kubernetes.io/zone";
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
    PodLeaves(u8),
    PodRelabelled(u8, Vec<(Box<str>, Box<str>)>),
    Namespace(bool, u8),
    SeenBound(u8),
    BindFails(u8),
    Things(Vec<Thing>),
    ThingGone(Thing),
    VolumesWritten(u8),
    Budget(BudgetRow),
    BudgetGone(u8),
    Kindred(KindredRow),
    Group(PodGroupRow),
    GroupGone(u8),
    KindredGone(u8),
    Started(u8, u8),
    VictimTerminates(u8),
    VictimGone(u8),
    EvictionFails(u8),
    Nominated(u8, Option<u8>),
    NominationSeen(u8),
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
        1 => any::<u8>().prop_map(Happening::PodLeaves),
        1 => (any::<u8>(), pod_labels()).prop_map(|(at, labels)| Happening::PodRelabelled(at, labels)),
        1 => (any::<bool>(), 0..3u8).prop_map(|(which, team)| Happening::Namespace(which, team)),
        3 => any::<u8>().prop_map(Happening::SeenBound),
        1 => any::<u8>().prop_map(Happening::BindFails),
        2 => vec(devices::thing(), 1..4).prop_map(Happening::Things),
        3 => devices::machine_room().prop_map(Happening::Things),
        1 => devices::thing().prop_map(Happening::ThingGone),
        3 => vec(volumes::thing(), 1..3).prop_map(Happening::Things),
        4 => volumes::warehouse().prop_map(Happening::Things),
        1 => volumes::thing().prop_map(Happening::ThingGone),
        2 => any::<u8>().prop_map(Happening::VolumesWritten),
        1 => budget().prop_map(Happening::Budget),
        1 => any::<u8>().prop_map(Happening::BudgetGone),
        2 => kindred().prop_map(Happening::Kindred),
        1 => any::<u8>().prop_map(Happening::KindredGone),
        3 => pod_group().prop_map(Happening::Group),
        1 => any::<u8>().prop_map(Happening::GroupGone),
        2 => (any::<u8>(), 0..5u8).prop_map(|(n, when)| Happening::Started(n, when)),
        2 => any::<u8>().prop_map(Happening::VictimTerminates),
        3 => any::<u8>().prop_map(Happening::VictimGone),
        1 => any::<u8>().prop_map(Happening::EvictionFails),
        1 => (any::<u8>(), option::of(0..8u8)).prop_map(|(n, node)| Happening::Nominated(n, node)),
        1 => any::<u8>().prop_map(Happening::NominationSeen),
        1 => (0..400_000u32).prop_map(Happening::Time),
        6 => (1..20u8).prop_map(Happening::Step),
    ];
    vec(one, 1..60)
}

/// A cluster with nodes and volumes to begin with.
pub(crate) fn furnished() -> impl Strategy<Value = Vec<Happening>> {
    let nodes = vec(node().prop_map(Happening::Node), 4..8);
    let volumes = volumes::warehouse().prop_map(Happening::Things);
    let devices = devices::machine_room().prop_map(Happening::Things);
    // Nobody waits for a gang here: what volumes and devices do is what it is for.
    let alone = |what: Happening| match what {
        Happening::Pods(row, count) => Happening::Pods(PodRow { group: "".into(), ..row }, count),
        other => other,
    };
    let all = (nodes, volumes, devices, happenings());
    all.prop_map(move |(nodes, volumes, devices, rest)| {
        [nodes, Vec::from([volumes, devices]), rest.into_iter().map(alone).collect()].concat()
    })
}

/// A cluster where most pods belong to a gang, of pods that are not too particular.
pub(crate) fn ganged() -> impl Strategy<Value = Vec<Happening>> {
    let nodes = vec(node().prop_map(Happening::Node), 4..8);
    let volumes = volumes::warehouse().prop_map(Happening::Things);
    let devices = devices::machine_room().prop_map(Happening::Things);
    let groups = (2..5i32, 2..8i32).prop_map(|counts| {
        let group = |(name, min): (&str, i32)| PodGroupRow {
            namespace: "default".into(),
            name: name.into(),
            min_count: Some(min),
        };
        [("g0", counts.0), ("g1", counts.1)].map(|of| Happening::Group(group(of))).to_vec()
    });
    let join = |what: Happening| match what {
        Happening::Pods(mut row, count) => {
            row.group = format!("g{}", row.labels.len() % 2).into();
            row.namespace = "default".into();
            row.scheduler = "default-scheduler".into();
            row.gated = false;
            row.demand.node_selector.clear();
            row.demand.tolerations = vec![Toleration { exists: true, ..Toleration::default() }];
            own(&mut row);
            Happening::Pods(row, count)
        }
        other => other,
    };
    (nodes, volumes, devices, groups, happenings()).prop_map(move |(nodes, volumes, devices, groups, rest)| {
        let rest = rest.into_iter().map(join).collect();
        [nodes, Vec::from([volumes, devices]), groups, rest].concat()
    })
}

/// A cluster where most pods ask for resources that devices stand in for, and are not too particular; bindings fail often.
pub(crate) fn accelerated() -> impl Strategy<Value = Vec<Happening>> {
    let nodes = vec(node().prop_map(Happening::Node), 4..8);
    let devices = devices::machine_room().prop_map(Happening::Things);
    let ask = |what: Happening| match what {
        Happening::Pods(mut row, count) => {
            row.group = "".into();
            row.scheduler = "default-scheduler".into();
            row.gated = false;
            let named = row.labels.len() % 2 == 0;
            let resource = if named { "x.y/gpu" } else { devices::BY_CLASS };
            let count_of = 1 + i64::from(row.priority % 2);
            row.demand = Demand {
                tolerations: vec![Toleration { exists: true, ..Toleration::default() }],
                requests: Amounts { extended: vec![(resource.into(), count_of)], ..Amounts::default() },
                ..Demand::default()
            };
            row.needs = row.needs.filter(|_| row.priority == 3);
            own(&mut row);
            Happening::Pods(row, count)
        }
        Happening::SeenBound(n) => Happening::BindFails(n),
        Happening::PodChanges(at, _) | Happening::PodLeaves(at) => Happening::VolumesWritten(at),
        other => other,
    };
    let all = (nodes, devices, happenings());
    all.prop_map(move |(nodes, devices, rest)| [nodes, vec![devices], rest.into_iter().map(ask).collect()].concat())
}

fn node() -> impl Strategy<Value = NodeRow> {
    (
        0..7u8,
        labels(),
        vec(taint(), 0..3),
        prop::bool::weighted(0.1),
        (prop::sample::select(vec![0i64, 500, 1000, 3000]), 0..8i64, 0..6i64, 0..3i64),
        vec((0..3u8, 1..900i64), 0..3),
        features(0.7),
    )
        .prop_map(|(name, labels, taints, unschedulable, (cpu, memory, pods, gpus), images, features)| NodeRow {
            features,
            name: format!("n{name}").into(),
            labels: labels_with_name(labels, name),
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

/// Features, each with this probability.
fn features(probability: f64) -> impl Strategy<Value = Features> {
    let one = || prop::bool::weighted(probability);
    (one(), one()).prop_map(|(restart, users)| {
        let all = [(Features::RESTART_ALL_CONTAINERS, restart), (Features::USER_NAMESPACES_HOST_NETWORK, users)];
        all.into_iter().filter(|(_, has)| *has).fold(Features::default(), |all, (one, _)| all.with(one))
    })
}

/// Most nodes say their name in a label, too.
fn labels_with_name(mut labels: Vec<(Box<str>, Box<str>)>, name: u8) -> Vec<(Box<str>, Box<str>)> {
    if name != 6 {
        labels.push(("kubernetes.io/hostname".into(), format!("n{name}").into()));
        labels.sort();
    }
    labels
}

fn labels() -> impl Strategy<Value = Vec<(Box<str>, Box<str>)>> {
    (option::of(0..3u8), option::weighted(0.8, 0..3u8)).prop_map(|(disk, zone)| {
        let disk = disk.map(|v| ("disk".into(), v.to_string().into()));
        let zone = zone.map(|v| (ZONE.into(), v.to_string().into()));
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
    (prop::sample::select(vec!["disk", ZONE]), operator, vec(0..3u8, 1..3)).prop_map(|(key, operator, values)| {
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
    let few = || prop::sample::select(vec![0i64, 0, 0, 1, 2]);
    let by_class = option::weighted(0.15, 1..3i64);
    (prop::sample::select(vec![0i64, 0, 100, 250, 900]), memory, 0..2i64, few(), by_class).prop_map(
        |(cpu, memory, ephemeral, gpus, by_class)| {
            let by_class = by_class.map(|count| (devices::BY_CLASS.into(), count));
            let gpus = (gpus > 0).then(|| ("x.y/gpu".into(), gpus));
            Amounts {
                cpu,
                memory: memory * MIB,
                ephemeral: ephemeral * MIB,
                pods: 0,
                extended: by_class.into_iter().chain(gpus).collect(),
            }
        },
    )
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
    (amounts(), selector, terms, preferred, tolerations, ports, vec(0..4u8, 0..3), features(0.04)).prop_map(
        |(requests, selector, node_terms, preferred, tolerations, host_ports, images, features)| Demand {
            features,
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

fn pod_labels() -> impl Strategy<Value = Vec<(Box<str>, Box<str>)>> {
    (option::weighted(0.8, 0..2u8), option::weighted(0.3, 0..2u8)).prop_map(|(app, tier)| {
        let app = app.map(|v| ("app".into(), v.to_string().into()));
        let tier = tier.map(|v| ("tier".into(), v.to_string().into()));
        app.into_iter().chain(tier).collect()
    })
}

fn selector() -> impl Strategy<Value = Option<Selector>> {
    let one = (prop::sample::select(vec!["app", "tier"]), any::<bool>(), 0..2u8).prop_map(|(key, within, value)| {
        let operator = if within { Operator::In } else { Operator::NotIn };
        Requirement { key: key.into(), operator, values: vec![value.to_string().into()] }
    });
    option::weighted(0.95, vec(one, 0..3).prop_map(|requirements| Selector { requirements }))
}

fn budget() -> impl Strategy<Value = BudgetRow> {
    let disrupted = vec((1..30u32).prop_map(|n| format!("u{n:05}").into()), 0..2);
    (any::<bool>(), 0..3u8, selector(), 0..3i32, disrupted).prop_map(|(other, name, selector, allowed, disrupted)| {
        BudgetRow {
            namespace: if other { "other".into() } else { "default".into() },
            name: name.to_string().into(),
            selector,
            allowed,
            disrupted,
        }
    })
}

fn kindred() -> impl Strategy<Value = KindredRow> {
    let keeper = prop::sample::select(vec![Keeper::Service, Keeper::Service, Keeper::ReplicaSet]);
    let selector = vec((prop::sample::select(vec!["app", "tier"]), 0..2u8), 1..3).prop_map(|mut all| {
        all.sort();
        all.dedup_by_key(|(key, _)| *key);
        let one = |(key, value): (&str, u8)| Requirement {
            key: key.into(),
            operator: Operator::In,
            values: vec![value.to_string().into()],
        };
        Selector { requirements: all.into_iter().map(one).collect() }
    });
    (keeper, prop::bool::weighted(0.2), 0..2u8, selector).prop_map(|(keeper, other, name, selector)| KindredRow {
        keeper,
        namespace: if other { "other".into() } else { "default".into() },
        name: format!("k{name}").into(),
        selector: Some(selector),
    })
}

fn pod_group() -> impl Strategy<Value = PodGroupRow> {
    let min_count = option::weighted(0.9, prop::sample::select(vec![1, 2, 2, 3, 4, 5, 9]));
    (prop::bool::weighted(0.2), 0..2u8, min_count).prop_map(|(other, name, min_count)| PodGroupRow {
        namespace: if other { "other".into() } else { "default".into() },
        name: format!("g{name}").into(),
        min_count,
    })
}

fn topology_key() -> impl Strategy<Value = Box<str>> {
    prop::sample::select(vec![ZONE, ZONE, "disk", "kubernetes.io/hostname"]).prop_map(Box::from)
}

fn spread() -> impl Strategy<Value = SpreadConstraint> {
    let policies = (prop::bool::weighted(0.2), prop::bool::weighted(0.2));
    (1..3i32, topology_key(), any::<bool>(), selector(), 0..4i32, policies).prop_map(
        |(max_skew, topology_key, hard, selector, min_domains, (ignores_affinity, honors_taints))| SpreadConstraint {
            max_skew,
            topology_key,
            hard,
            selector,
            min_domains: if hard { min_domains } else { 0 },
            ignores_affinity,
            honors_taints,
        },
    )
}

fn pod_term() -> impl Strategy<Value = PodTerm> {
    let team = Requirement { key: "team".into(), operator: Operator::In, values: vec!["1".into()] };
    let by_team = Selector { requirements: vec![team] };
    let namespaces = prop::sample::select(vec![
        (vec!["default"], None),
        (vec!["default"], None),
        (vec!["other"], None),
        (vec!["default", "other"], None),
        (vec![], Some(by_team)),
        (vec![], Some(Selector::default())),
    ]);
    (selector(), namespaces, topology_key()).prop_map(|(selector, (names, namespace_selector), topology_key)| PodTerm {
        selector,
        namespaces: names.into_iter().map(Box::from).collect(),
        namespace_selector,
        topology_key,
    })
}

fn affinity() -> impl Strategy<Value = PodAffinity> {
    let weight = prop_oneof![1..100i32, -100..-1i32];
    let few = |n| prop_oneof![2 => Just(0), 1 => Just(n)];
    (few(1), few(2), few(2))
        .prop_flat_map(move |(required, forbidden, preferred)| {
            let preferred = vec((weight.clone(), pod_term()), 0..=preferred);
            (vec(pod_term(), 0..=required), vec(pod_term(), 0..=forbidden), preferred)
        })
        .prop_map(|(required, forbidden, preferred)| PodAffinity { required, forbidden, preferred })
}

/// A pod without identity: the test gives it one.
fn pod() -> impl Strategy<Value = PodRow> {
    let terms = (
        prop_oneof![3 => Just(vec![]), 1 => vec(spread(), 1..3)],
        prop_oneof![2 => Just(None), 1 => affinity().prop_map(Some)],
    );
    let flags = (prop::bool::weighted(0.1), prop::bool::weighted(0.1), prop::bool::weighted(0.2), scheduler());
    let both = (volumes::needs(), devices::uses()).prop_map(|(needs, devices)| Needs { devices, ..needs });
    let devices = devices::uses().prop_map(|devices| Needs { devices, ..Needs::default() });
    let needs = prop_oneof![5 => volumes::needs(), 2 => devices, 1 => both].prop_map(Box::new);
    let needs = option::weighted(0.6, needs);
    let group = option::weighted(0.25, 0..2u8);
    (demand(), terms, pod_labels(), 0..4i32, flags, needs, group).prop_map(
        |(demand, (spread, pods), labels, priority, (never_preempts, gated, elsewhere, scheduler), needs, group)| {
            let pods = pods.filter(|p| *p != PodAffinity::default()).map(Box::new);
            let labels_len = labels.len();
            let mut row = PodRow {
                namespace: if elsewhere { "other".into() } else { "default".into() },
                scheduler: scheduler.into(),
                labels,
                priority,
                never_preempts,
                gated,
                group: group.map(|n| format!("g{n}").into()).unwrap_or_default(),
                owner: (labels_len % 2 == 1).then(|| (Keeper::ReplicaSet, format!("k{}", priority % 2).into())),
                demand: Demand { spread, pods, ..demand },
                needs,
                ..PodRow::default()
            };
            own(&mut row);
            row
        },
    )
}

/// Puts into the row what extraction puts there: namespace and labels, where terms refer to them, and which container asks
/// for the extended resources.
pub(crate) fn own(row: &mut PodRow) {
    let mut needs = row.needs.take().unwrap_or_default();
    needs.extended = devices::asks(&row.demand.requests);
    row.needs = Some(needs).filter(|needs| !needs.is_empty());
    let refers = !row.demand.spread.is_empty() || row.demand.pods.is_some();
    row.demand.own = refers.then(|| Box::new(Own { namespace: row.namespace.clone(), labels: row.labels.clone() }));
}

/// Mostly ours.
fn scheduler() -> impl Strategy<Value = &'static str> {
    prop_oneof![
        6 => Just("default-scheduler"),
        2 => Just("other-scheduler"),
        1 => Just("nobody"),
    ]
}

/// What the two scheduler names that pods use stand for.
pub(crate) fn profiles() -> impl Strategy<Value = Vec<Profile>> {
    (profile("default-scheduler"), profile("other-scheduler")).prop_map(|(one, other)| vec![one, other])
}

fn profile(name: &'static str) -> impl Strategy<Value = Profile> {
    let without = vec(prop::sample::select(Plugin::ALL.to_vec()), 0..4);
    let weights = vec((prop::sample::select(Plugin::ALL.to_vec()), prop::sample::select(vec![0u32, 1, 7, 1000])), 0..4);
    let added = (option::weighted(0.2, vec(term(), 1..3)), vec((1..100i32, term()), 0..2));
    let ignored = (prop::bool::weighted(0.2), prop::bool::weighted(0.1));
    let affinity = (0..100i32, any::<bool>());
    (without, weights, fit(), balanced(), added, ignored, affinity).prop_map(
        move |(without, weights, fit, balanced, (required, preferred), (resource, group), (hard, ignore))| {
            let mut profile = Profile::named(name);
            for plugin in without {
                // The message of a pod that fits nowhere is another matter.
                if plugin != Plugin::DefaultPreemption && plugin != Plugin::DynamicResources {
                    profile.filters = profile.filters.without(plugin);
                    profile.pre_enqueue = profile.pre_enqueue.without(plugin);
                }
            }
            for (plugin, weight) in weights {
                if plugin.default_weight() > 0 {
                    profile.weights.set(plugin, weight);
                }
            }
            profile.fit = fit;
            profile.balanced = balanced;
            profile.added_node_terms = required;
            profile.added_preferred_node_terms =
                preferred.into_iter().map(|(weight, term)| PreferredNodeTerm { weight, term }).collect();
            profile.ignored_resources = resource.then(|| "x.y/gpu".into()).into_iter().collect();
            profile.ignored_resource_groups = group.then(|| "x.y".into()).into_iter().collect();
            profile.hard_pod_affinity_weight = hard;
            profile.ignore_preferred_terms_of_existing_pods = ignore;
            profile
        },
    )
}

fn resource() -> impl Strategy<Value = Box<str>> {
    prop::sample::select(vec!["cpu", "memory", "ephemeral-storage", "x.y/gpu", "z.y/nothing"]).prop_map(Box::from)
}

fn fit() -> impl Strategy<Value = Fit> {
    let shape = (vec((1..40i64, 0..10i64), 1..4), 0..30i64).prop_map(|(steps, mut at)| {
        let mut points = Vec::new();
        for (step, score) in steps {
            points.push((at, score * 10));
            at += step;
        }
        Kind::RequestedToCapacityRatio(points)
    });
    let kind = prop_oneof![2 => Just(Kind::LeastAllocated), 1 => Just(Kind::MostAllocated), 2 => shape];
    let general = (kind, vec((resource(), 1..6i64), 1..4)).prop_map(|(kind, resources)| Fit { kind, resources });
    prop_oneof![1 => Just(Fit::default()), 2 => general]
}

fn balanced() -> impl Strategy<Value = Vec<Box<str>>> {
    let general = vec(resource(), 1..5).prop_map(|mut all| {
        all.dedup();
        all
    });
    prop_oneof![1 => Just(vec!["cpu".into(), "memory".into()]), 1 => general]
}
