//! Disagreements that generated clusters once brought up, as small as they got.

use std::sync::Arc;

use gantry_scheduler_core::plan::{Decision, Plan};
use gantry_scheduler_core::profile::{Plugin, Profile};
use gantry_scheduler_core::rows::devices::{
    ClaimName, ClaimSpec, DeviceClaimRow, DeviceClassRow, DeviceRow, DeviceUse, Reach, Request, SliceRow, Wanted,
};
use gantry_scheduler_core::rows::storage::{
    AttachmentRow, CsiDriverRow, CsiNodeRow, Disk, DiskKind, Key, Thing, VolumeRow,
};
use gantry_scheduler_core::rows::{
    Amounts, Demand, Needs, NodeRow, NodeTerm, Operator, PodAffinity, PodGroupRow, PodRow, PodTerm, Requirement,
    Selector, SpreadConstraint,
};

use crate::generate::{Happening, own};
use crate::{run, run_with};

fn node(name: &str, cpu: i64, pods: i64) -> Happening {
    let allocatable = Amounts { cpu, pods, ..Amounts::default() };
    Happening::Node(NodeRow { name: name.into(), allocatable, ..NodeRow::default() })
}

fn pod(cpu: i64, priority: i32) -> PodRow {
    PodRow {
        namespace: "default".into(),
        scheduler: "default-scheduler".into(),
        priority,
        demand: Demand { requests: Amounts { cpu, ..Amounts::default() }, ..Demand::default() },
        ..PodRow::default()
    }
}

/// A claim of `count` devices of a class, or of all there are, with the class.
fn claim(name: &str, count: Option<usize>) -> [Thing; 2] {
    let wanted = Wanted { class: "any".into(), count, ..Wanted::default() };
    let requests = vec![Request { name: "r".into(), options: vec![wanted], prioritized: false }];
    let key = Key { namespace: "default".into(), name: name.into() };
    let spec = Arc::new(ClaimSpec { requests, ..ClaimSpec::default() });
    let class = DeviceClassRow { name: "any".into(), ..DeviceClassRow::default() };
    let claim = DeviceClaimRow { key, uid: name.into(), spec, ..DeviceClaimRow::default() };
    [Thing::DeviceClass(class), Thing::DeviceClaim(claim)]
}

fn using(claim: &str, row: PodRow) -> PodRow {
    let device = DeviceUse { name: "c".into(), claim: ClaimName::Is(claim.into()), generated: false };
    PodRow { needs: Some(Box::new(Needs { devices: vec![device], ..Needs::default() })), ..row }
}

fn group(min: i32) -> Happening {
    Happening::Group(PodGroupRow { namespace: "default".into(), name: "g".into(), min_count: Some(min) })
}

fn member(row: PodRow) -> PodRow {
    PodRow { group: "g".into(), ..row }
}

/// The pods refused at last, with what they were told.
fn last_refused(log: &[Plan]) -> Vec<(String, String)> {
    match log.iter().flat_map(|plan| &plan.decisions).last() {
        Some(Decision::Refuse(refusal)) => vec![(refusal.pod.uid.to_string(), refusal.message.to_string())],
        Some(Decision::RefuseAll(apart)) => {
            apart.refusals.iter().map(|r| (r.pod.uid.to_string(), r.message.to_string())).collect()
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_pod_that_grew_on_its_node_is_displaced_for_what_it_takes_now() {
    let happenings = [
        node("n0", 1000, 1),
        Happening::Pods(pod(100, 1), 1),
        Happening::Step(9),
        Happening::PodChanges(0, pod(1000, 1)),
        Happening::Pods(pod(1000, 2), 1),
    ];
    let log = run(&happenings, usize::MAX).expect("both agree");
    let Some(Decision::Refuse(refusal)) = log.iter().flat_map(|plan| &plan.decisions).last() else {
        panic!("it has to wait")
    };
    assert!(refusal.preemption.is_some(), "{}", refusal.message);
}

#[test]
fn zones_of_one_node_each_are_zones_when_another_node_comes() {
    let zone = |name: &str, pods: i64| {
        let allocatable = Amounts { cpu: 1000, pods, ..Amounts::default() };
        let labels = vec![("zone".into(), "0".into())];
        Happening::Node(NodeRow { name: name.into(), labels, allocatable, ..NodeRow::default() })
    };
    let requirements = vec![Requirement { key: "app".into(), operator: Operator::In, values: vec!["1".into()] }];
    let constraint = SpreadConstraint {
        max_skew: 1,
        topology_key: "zone".into(),
        selector: Some(Selector { requirements }),
        ..SpreadConstraint::default()
    };
    let mut row = PodRow { labels: vec![("app".into(), "1".into())], ..pod(100, 0) };
    row.demand.spread = vec![constraint];
    own(&mut row);
    let happenings =
        [zone("n0", 9), Happening::Pods(row.clone(), 1), Happening::Step(9), zone("n1", 9), Happening::Pods(row, 3)];
    run(&happenings, usize::MAX).expect("both agree");
    run(&happenings, 1).expect("both agree");
}

#[test]
fn a_pod_whose_claim_went_keeps_its_room_and_has_no_part_in_its_gangs_decision() {
    let [class, claimed] = claim("k", Some(1));
    let happenings = [
        node("n0", 1000, 9),
        Happening::Things(vec![class, claimed.clone()]),
        // Complete only by the PodGroup: till then both wait in the queue.
        Happening::Pods(member(using("k", pod(100, 5))), 1),
        Happening::Pods(member(pod(9000, 1)), 1),
        group(2),
        Happening::Step(9),
        Happening::Nominated(0, Some(0)),
        Happening::ThingGone(claimed),
        Happening::Step(9),
        // Whoever is less important leaves the room to it.
        Happening::Pods(pod(950, 1), 1),
    ];
    let log = run(&happenings, usize::MAX).expect("both agree");
    let refused = last_refused(&log);
    assert_eq!(refused.len(), 1, "{refused:?}");
    assert_eq!(refused[0].0, "u00003", "{refused:?}");
}

#[test]
fn a_pod_whose_profile_knows_no_gangs_goes_its_own_way() {
    let mut without = Profile::default();
    without.pre_enqueue = without.pre_enqueue.without(Plugin::GangScheduling);
    let profiles = [without, Profile::named("other-scheduler")];
    let other = PodRow { scheduler: "other-scheduler".into(), ..pod(100, 0) };
    let happenings = [
        group(3),
        node("n0", 250, 9),
        Happening::Pods(member(pod(100, 1)), 1),
        Happening::Pods(member(other), 2),
        Happening::Step(9),
        Happening::SeenBound(0),
    ];
    let log = run_with(&happenings, usize::MAX, &profiles).expect("both agree");
    let bound = log.iter().flat_map(|plan| &plan.decisions).filter_map(|decision| match decision {
        Decision::Bind(placement) => Some(&*placement.pod.uid),
        _ => None,
    });
    assert_eq!(bound.collect::<Vec<_>>(), ["u00001"]);
}

#[test]
fn node_terms_that_nobody_asks_for_do_not_hide_volumes() {
    let mut without = Profile::default();
    without.filters = without.filters.without(Plugin::NodeAffinity);
    let named =
        |name: &str| Requirement { key: "metadata.name".into(), operator: Operator::In, values: vec![name.into()] };
    let disk = Disk { kind: DiskKind::Gce, name: "d".into(), pool: "".into(), monitors: Vec::new(), read_only: false };
    let mut row = pod(100, 0);
    row.demand.node_terms = Some(vec![NodeTerm { labels: Vec::new(), fields: vec![named("n3"), named("n0")] }]);
    row.needs = Some(Box::new(Needs { disks: vec![disk], ..Needs::default() }));
    let happenings = [node("n0", 1000, 9), Happening::Pods(row, 2)];
    let log = run_with(&happenings, usize::MAX, &[without]).expect("both agree");
    let refused = last_refused(&log);
    assert!(refused[0].1.contains("node(s) had no available disk"), "{refused:?}");
}

#[test]
fn what_goes_wrong_with_devices_while_room_is_looked_for_is_said_in_place_of_why_there_is_none() {
    let [class, claimed] = claim("k", None);
    // One slice of two: the pool is being updated.
    let slice = SliceRow {
        name: "s".into(),
        driver: "drv.example".into(),
        pool: "net".into(),
        generation: 1,
        slices: 2,
        reach: Reach::Everywhere,
        ..SliceRow::default()
    };
    let happenings = [
        node("n0", 1000, 1),
        Happening::Things(vec![class, claimed, Thing::Slice(slice)]),
        Happening::Pods(pod(100, 0), 1),
        Happening::Step(9),
        Happening::Pods(using("k", pod(100, 1)), 1),
    ];
    let log = run(&happenings, usize::MAX).expect("both agree");
    let refused = last_refused(&log);
    let said = "0/1 nodes are available: 1 Too many pods. running \"DynamicResources\" filter plugin: claim default/k, \
                request r: asks for all devices, but resource pool drv.example/net is currently being updated";
    assert_eq!(refused[0].1, said);
}

#[test]
fn a_pod_that_one_node_keeps_from_all_others_is_tried_again_when_that_node_goes() {
    let [class, claimed] = claim("k", None);
    // Of two slices on the first node one is missing: nobody can say what all devices are there.
    let slice = |node: &str, slices| SliceRow {
        name: node.into(),
        driver: "drv.example".into(),
        pool: node.into(),
        generation: 1,
        slices,
        reach: Reach::Node(node.into()),
        devices: vec![DeviceRow { name: "d".into(), ..DeviceRow::default() }],
        ..SliceRow::default()
    };
    let happenings = [
        node("n0", 1000, 9),
        node("n1", 1000, 9),
        Happening::Things(vec![class, claimed, Thing::Slice(slice("n0", 2)), Thing::Slice(slice("n1", 1))]),
        Happening::Pods(using("k", pod(100, 1)), 1),
        Happening::Step(9),
        Happening::NodeGone(0),
    ];
    let log = run(&happenings, usize::MAX).expect("both agree, and nobody is left behind");
    let decisions: Vec<&Decision> = log.iter().flat_map(|plan| &plan.decisions).collect();
    let [Decision::Refuse(refusal), Decision::Bind(placement)] = decisions[..] else { panic!("{decisions:?}") };
    assert!(refusal.message.contains("is currently being updated"), "{}", refusal.message);
    assert_eq!(&*placement.node, "n1");
}

#[test]
fn a_pod_with_a_claim_is_tried_again_when_another_node_leaves_the_zone_that_somebody_keeps_it_out_of() {
    let [class, claimed] = claim("k", Some(1));
    let slice = SliceRow {
        name: "s".into(),
        driver: "drv.example".into(),
        pool: "n0".into(),
        generation: 1,
        slices: 1,
        reach: Reach::Node("n0".into()),
        devices: vec![DeviceRow { name: "d".into(), ..DeviceRow::default() }],
        ..SliceRow::default()
    };
    let in_zone = |name: &str, zone: &str| {
        let Happening::Node(mut row) = node(name, 1000, 1) else { panic!("a node") };
        row.labels.extend((!zone.is_empty()).then(|| ("zone".into(), zone.into())));
        Happening::Node(row)
    };
    let keeps_all_out = PodTerm {
        selector: Some(Selector::default()),
        namespaces: vec!["default".into()],
        topology_key: "zone".into(),
        ..PodTerm::default()
    };
    let mut alone = pod(100, 1);
    alone.demand.pods = Some(Box::new(PodAffinity { forbidden: vec![keeps_all_out], ..PodAffinity::default() }));
    own(&mut alone);
    let happenings = [
        in_zone("n1", "a"),
        Happening::Pods(alone, 1),
        Happening::Step(9),
        in_zone("n0", "a"),
        Happening::Things(vec![class, claimed, Thing::Slice(slice)]),
        Happening::Pods(using("k", pod(100, 0)), 1),
        Happening::Step(9),
        in_zone("n1", ""),
    ];
    let log = run(&happenings, usize::MAX).expect("both agree, and nobody is left behind");
    let decisions: Vec<&Decision> = log.iter().flat_map(|plan| &plan.decisions).collect();
    let [Decision::Bind(_), Decision::Refuse(_), Decision::Bind(placement)] = decisions[..] else {
        panic!("{decisions:?}")
    };
    assert_eq!(&*placement.node, "n0");
}

#[test]
fn a_gang_is_looked_at_again_when_the_member_that_took_the_room_leaves() {
    let happenings = [
        node("n0", 1000, 9),
        group(2),
        // The most important is placed first, and then the others find no room.
        Happening::Pods(member(pod(1000, 1)), 1),
        Happening::Pods(member(pod(500, 0)), 2),
        Happening::Step(9),
        Happening::PodLeaves(0),
    ];
    let log = run(&happenings, usize::MAX).expect("both agree");
    let Some(Decision::BindAll(together)) = log.iter().flat_map(|plan| &plan.decisions).last() else {
        panic!("the two others fit")
    };
    assert_eq!(together.placements.len(), 2);
}

#[test]
fn a_volume_that_goes_makes_room_for_another_where_it_was_attached() {
    let handle = |name: &str| ("drv".into(), name.into());
    let volume = VolumeRow { name: "v0".into(), attachment: Some(handle("h0")), ..VolumeRow::default() };
    let limits = CsiNodeRow { name: "n0".into(), limits: vec![("drv".into(), 1)] };
    let attachment = AttachmentRow { name: "a".into(), driver: "drv".into(), node: "n0".into(), volume: "v0".into() };
    let driver = CsiDriverRow { name: "drv".into(), ..CsiDriverRow::default() };
    let things = vec![
        Thing::CsiDriver(driver),
        Thing::CsiNode(limits),
        Thing::Volume(volume.clone()),
        Thing::Attachment(attachment),
    ];
    let needs = Needs { inline: vec![handle("h1")], ..Needs::default() };
    let happenings = [
        node("n0", 1000, 9),
        Happening::Things(things),
        Happening::Pods(PodRow { needs: Some(Box::new(needs)), ..pod(100, 0) }, 1),
        Happening::Step(9),
        Happening::ThingGone(Thing::Volume(volume)),
    ];
    let log = run(&happenings, usize::MAX).expect("both agree");
    let decisions: Vec<_> = log.iter().flat_map(|plan| &plan.decisions).collect();
    assert!(matches!(decisions[..], [Decision::Refuse(_), Decision::Bind(_)]), "{decisions:?}");
}
