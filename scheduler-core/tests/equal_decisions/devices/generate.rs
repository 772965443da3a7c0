//! Devices, classes and claims of generated clusters: small and crowded.

use std::sync::Arc;

use gantry_cel::device::Attribute;
use gantry_cel::quantity::Quantity;
use gantry_scheduler_core::rows::devices::{
    Allocated, Allocation, Capacity, Choice, ClaimName, ClaimSpec, Constraint, ContainerAsk, CounterSet,
    DeviceClaimRow, DeviceClassRow, DeviceId, DeviceRow, DeviceTaint, DeviceToleration, DeviceUse, Reach, Request,
    ResourceAsk, SliceRow, Wanted,
};
use gantry_scheduler_core::rows::storage::{Key, Thing};
use gantry_scheduler_core::rows::{Amounts, NodeTerm, Operator, Requirement};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::{DRIVER, IS_A, IS_LARGE, IS_SHARED};

fn pool() -> impl Strategy<Value = (Box<str>, Reach)> {
    let zone = |value: u8| {
        let values = vec![value.to_string().into()];
        NodeTerm { labels: vec![Requirement { key: "zone".into(), operator: Operator::In, values }], fields: vec![] }
    };
    prop_oneof![
        6 => (0..7u8).prop_map(|n| (format!("n{n}").into(), Reach::Node(format!("n{n}").into()))),
        1 => (0..3u8).prop_map(move |n| ("net".into(), Reach::Terms(vec![zone(n)]))),
        1 => Just(("net".into(), Reach::Everywhere)),
        1 => Just(("net".into(), Reach::PerDevice)),
    ]
}

fn device() -> impl Strategy<Value = DeviceRow> {
    let capacity = (1..4i64, option::of(Just(1i64)), any::<bool>()).prop_map(|(value, default, choice)| Capacity {
        value: Quantity::from_units(value),
        default: default.map(Quantity::from_units),
        choice: if choice && default.is_some() {
            Choice::Values([1, 2].map(Quantity::from_units).to_vec())
        } else {
            Choice::Any
        },
    });
    let flags = (prop::bool::weighted(0.3), prop::bool::weighted(0.1), prop::bool::weighted(0.1));
    (
        option::of(any::<bool>()),
        option::of(capacity),
        option::weighted(0.2, 1..3i64),
        flags,
        0..7u8,
        prop::bool::weighted(0.2),
    )
        .prop_map(|(model, capacity, counter, (shared, binds_to_node, conditional), node, tainted)| DeviceRow {
            name: "".into(),
            attributes: model
                .map(|a| ("model".into(), Attribute::Text(if a { "a".into() } else { "b".into() })))
                .into_iter()
                .collect(),
            capacity: capacity.map(|capacity| ("memory".into(), capacity)).into_iter().collect(),
            consumes: counter.map(counters).into_iter().collect(),
            reach: if node == 6 { Reach::Everywhere } else { Reach::Node(format!("n{node}").into()) },
            taints: tainted
                .then(|| DeviceTaint { key: "t".into(), value: "".into(), effect: "NoSchedule".into() })
                .into_iter()
                .collect(),
            shared,
            binds_to_node,
            binding: conditional.then(|| "Ready".into()).into_iter().collect(),
            failure: conditional.then(|| "Bad".into()).into_iter().collect(),
        })
}

fn counters(n: i64) -> CounterSet {
    CounterSet { name: "c".into(), counters: vec![("k".into(), Quantity::from_units(n))] }
}

fn slice() -> impl Strategy<Value = SliceRow> {
    let place = (0..8u8, pool(), 0..2i64, prop_oneof![5 => Just(1i64), 2 => Just(2i64)]);
    (place, vec(device(), 0..5), 0..3u8, option::weighted(0.25, 1..5i64)).prop_map(
        |((name, (pool, reach), generation, slices), devices, first, counter)| SliceRow {
            name: format!("s{name}").into(),
            driver: DRIVER.into(),
            pool,
            generation,
            slices,
            reach: if counter.is_some() && reach == Reach::PerDevice { Reach::Everywhere } else { reach },
            counters: counter.map(counters).into_iter().collect(),
            devices: if counter.is_some() {
                vec![]
            } else {
                let named = |(at, device): (usize, DeviceRow)| DeviceRow {
                    name: format!("d{}", at + usize::from(first)).into(),
                    ..device
                };
                devices.into_iter().enumerate().map(named).collect()
            },
        },
    )
}

fn class() -> impl Strategy<Value = DeviceClassRow> {
    let name = prop::sample::select(vec!["any", "any", "as"]);
    (name, option::weighted(0.4, Just("x.y/gpu".into())), 0..2u8).prop_map(|(name, extended, created)| DeviceClassRow {
        name: name.into(),
        selectors: if name == "as" { vec![IS_A.into()] } else { vec![] },
        config: vec![],
        extended,
        created: format!("2026-01-01T00:00:0{created}Z").into(),
    })
}

fn wanted() -> impl Strategy<Value = Wanted> {
    let selector = prop::sample::select(vec![IS_A, IS_LARGE, IS_SHARED]).prop_map(Box::from);
    let selectors = prop_oneof![2 => Just(vec![]), 1 => vec(selector, 1)];
    let count = prop_oneof![6 => Just(Some(1usize)), 3 => Just(Some(2)), 1 => Just(None)];
    let capacity = option::weighted(0.2, 1..3i64);
    let flags = (prop::bool::weighted(0.1), prop::bool::weighted(0.5));
    (prop::sample::select(vec!["any", "any", "as"]), selectors, count, capacity, flags).prop_map(
        |(class, selectors, count, capacity, (admin, tolerates))| Wanted {
            name: "".into(),
            class: class.into(),
            selectors,
            count,
            admin,
            tolerations: tolerates
                .then(|| DeviceToleration { key: "t".into(), exists: true, ..DeviceToleration::default() })
                .into_iter()
                .collect(),
            capacity: capacity.map(|n| ("memory".into(), Quantity::from_units(n))).into_iter().collect(),
        },
    )
}

fn request() -> impl Strategy<Value = Request> {
    let options = prop_oneof![3 => vec(wanted(), 1), 1 => vec(wanted(), 2..4)];
    options.prop_map(|mut options| {
        let prioritized = options.len() > 1;
        for (at, option) in options.iter_mut().enumerate().filter(|_| prioritized) {
            option.name = format!("o{at}").into();
            option.admin = false;
        }
        Request { name: "".into(), options, prioritized }
    })
}

fn claim() -> impl Strategy<Value = DeviceClaimRow> {
    let constraint = option::weighted(0.3, (any::<bool>(), any::<bool>()));
    let given = option::weighted(0.2, (0..7u8, 0..4u8, any::<bool>(), option::weighted(0.7, 0..7u8)));
    let reserved = prop::bool::weighted(0.2);
    (0..5u8, vec(request(), 1..3), constraint, given, prop::bool::weighted(0.03), reserved).prop_map(
        |(name, mut requests, constraint, given, deleting, reserved)| {
            for (at, request) in requests.iter_mut().enumerate() {
                request.name = format!("r{at}").into();
            }
            let all = requests.iter().flat_map(|request| &request.options).any(|option| option.count.is_none());
            let constraint = constraint.filter(|_| !all).map(|(distinct, first)| Constraint {
                requests: first.then(|| "r0".into()).into_iter().collect(),
                attribute: format!("{DRIVER}/model").into(),
                distinct,
            });
            let constraints = constraint.into_iter().collect();
            let allocation = given.map(|(node, device, share, only)| {
                let values = only.map(|n| vec![format!("n{n}").into()]);
                let name =
                    values.map(|values| Requirement { key: "metadata.name".into(), operator: Operator::In, values });
                let device = DeviceId {
                    driver: DRIVER.into(),
                    pool: format!("n{node}").into(),
                    name: format!("d{device}").into(),
                };
                let share = share.then(|| vec![("memory".into(), Quantity::from_units(1))]);
                Arc::new(Allocation {
                    results: vec![Allocated { device, share, ..Allocated::default() }],
                    terms: name.map(|name| vec![NodeTerm { labels: vec![], fields: vec![name] }]),
                })
            });
            DeviceClaimRow {
                key: Key::new("default", &format!("k{name}")),
                uid: format!("uid-k{name}").into(),
                deleting,
                spec: Arc::new(ClaimSpec { requests, constraints, config: vec![] }),
                reserved_for: (reserved && allocation.is_some()).then(|| "someone".into()).into_iter().collect(),
                allocation,
                ..DeviceClaimRow::default()
            }
        },
    )
}

/// Anything there may be.
pub(crate) fn thing() -> impl Strategy<Value = Thing> {
    prop_oneof![
        5 => claim().prop_map(Thing::DeviceClaim),
        1 => class().prop_map(Thing::DeviceClass),
        5 => slice().prop_map(Thing::Slice),
    ]
}

/// Claims, classes and slices enough for something to come of it.
pub(crate) fn machine_room() -> impl Strategy<Value = Vec<Thing>> {
    let classes = vec(class().prop_map(Thing::DeviceClass), 4);
    let claims = vec(claim().prop_map(Thing::DeviceClaim), 6);
    let slices = vec(slice().prop_map(Thing::Slice), 8);
    (classes, claims, slices).prop_map(|(a, b, c)| [a, b, c].concat())
}

/// The containers that ask for extended resources: the last of several for what is asked for beyond the first.
pub(crate) fn asks(requests: &Amounts) -> Vec<ContainerAsk> {
    let ask = |at: u32, of: &dyn Fn(i64) -> i64| {
        let wants = (1..).zip(&requests.extended).map(|(at, (resource, count))| ResourceAsk {
            resource: resource.clone(),
            count: of(*count),
            at,
        });
        let wants = wants.filter(|want| want.count > 0).collect();
        ContainerAsk { name: format!("c{at}").into(), at, ends: false, wants }
    };
    let asks = [ask(0, &|count| count.min(1)), ask(1, &|count| count - 1)];
    asks.into_iter().filter(|ask| !ask.wants.is_empty()).collect()
}

/// The claims that a pod refers to.
pub(crate) fn uses() -> impl Strategy<Value = Vec<DeviceUse>> {
    let name =
        prop_oneof![20 => (0..5u8).prop_map(|n| ClaimName::Is(format!("k{n}").into())), 1 => Just(ClaimName::None)];
    let one = name.prop_map(|claim| DeviceUse { name: "c".into(), claim, generated: false });
    vec(one, 1..3)
}
