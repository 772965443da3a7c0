//! The promise of scheduler-core: every decision equals that of a plain scheduler that looks at all nodes, whatever
//! happens to nodes and pods in between; no node is over-committed; no wake-up is lost; equal input, equal plan.
//!
//! `GANTRY_SEED` picks another stream of clusters, `GANTRY_CASES` how many. A disagreement is shrunk and printed.

mod allocation;
mod devices;
mod displacing;
mod found;
mod gangs;
mod generate;
mod reference;
mod volumes;

use gantry_scheduler_core::cycle::{BoardBytes, Config, Event, Scheduler};
use gantry_scheduler_core::plan::{Decision, Nomination, Placement, Plan, Refusal};
use gantry_scheduler_core::profile::Profile;
use gantry_scheduler_core::rows::storage::{Change, Thing};
use gantry_scheduler_core::rows::{NamespaceRow, PodRow};
use gantry_scheduler_core::storage::Preparation;
use std::sync::Arc;

use gangs::Standing;
use generate::Happening;
use proptest::prelude::*;
use proptest::test_runner::{Config as Runs, RngAlgorithm, TestCaseError, TestRng, TestRunner};
use reference::{Nowhere, Placed, Reference, Verdict};

const SEED: u64 = 7;

struct Bench {
    fast: Scheduler,
    slow: Reference,
    pending: Vec<Event>,
    now: u64,
    made: u32,
    /// What the last step's decisions had deleted.
    deleted: Vec<Thing>,
    /// What the pods were last decided to be: for what must not be forgotten.
    log: Vec<Plan>,
}

impl Bench {
    fn new(board_bytes_max: usize, profiles: &[Profile]) -> Self {
        // With room for boards, what passes find is kept at once; without, most decisions are passes.
        let (passes_first, ground_nodes_max) = if board_bytes_max == usize::MAX { (0, 2) } else { (2, 4) };
        let board_bytes = BoardBytes { least: board_bytes_max, per_node: 0 };
        let profiles_of = |all: &[Profile]| all.iter().cloned().map(Arc::new).collect();
        let config = Config { profiles: profiles_of(profiles), passes_first, ground_nodes_max, ..Config::default() };
        Self {
            fast: Scheduler::new(Config { seed: SEED, board_bytes, gangs: true, ..config }),
            slow: Reference::new(SEED, profiles.to_vec()),
            pending: Vec::new(),
            now: 0,
            made: 0,
            deleted: Vec::new(),
            log: Vec::new(),
        }
    }

    fn happens(&mut self, what: &Happening) -> Result<(), TestCaseError> {
        match what {
            Happening::Node(row) => {
                self.slow.set_node(row.clone());
                self.pending.push(Event::Node(Box::new(row.clone())));
            }
            Happening::NodeGone(n) => {
                if let Some(name) = pick(self.slow.nodes.keys(), *n) {
                    self.slow.remove_node(&name);
                    self.pending.push(Event::NodeGone(name.as_str().into()));
                }
            }
            Happening::Pods(row, count) => {
                for _ in 0..*count {
                    self.made += 1;
                    let uid = format!("u{:05}", self.made);
                    let row = PodRow { name: uid.as_str().into(), uid: uid.as_str().into(), ..row.clone() };
                    self.set_pod(row, None);
                }
            }
            Happening::PodGone(n) => {
                if let Some(uid) = pick(self.slow.pods.keys(), *n) {
                    self.slow.remove_pod(&uid);
                    self.pending.push(Event::PodGone(uid.as_str().into()));
                }
            }
            Happening::PodEnds(n) => {
                if let Some(uid) = pick(self.slow.pods.keys(), *n) {
                    let placed = self.slow.remove_pod(&uid).expect("picked");
                    let row = PodRow { terminal: true, ..placed.row };
                    self.pending.push(Event::Pod(Box::new(row)));
                }
            }
            Happening::PodChanges(n, new) => {
                if let Some(uid) = pick(self.slow.pods.keys(), *n) {
                    let placed = self.slow.pods[&uid].clone();
                    let mut row = PodRow { demand: new.demand.clone(), priority: new.priority, ..placed.row };
                    generate::own(&mut row);
                    self.set_pod(row, placed.node);
                }
            }
            Happening::PodLeaves(n) => {
                if let Some(uid) = pick(self.slow.pods.keys(), *n) {
                    let placed = self.slow.pods[&uid].clone();
                    self.set_pod(PodRow { deleting: true, ..placed.row }, placed.node);
                }
            }
            Happening::PodRelabelled(n, labels) => {
                if let Some(uid) = pick(self.slow.pods.keys(), *n) {
                    let placed = self.slow.pods[&uid].clone();
                    let mut row = PodRow { labels: labels.clone(), ..placed.row };
                    generate::own(&mut row);
                    self.set_pod(row, placed.node);
                }
            }
            Happening::Namespace(other, team) => {
                let name = if *other { "other" } else { "default" };
                let labels: Vec<(Box<str>, Box<str>)> = vec![("team".into(), team.to_string().into())];
                self.slow.namespaces.insert(name.into(), labels.clone());
                self.pending.push(Event::Namespace(NamespaceRow { name: name.into(), labels }));
            }
            Happening::SeenBound(n) => {
                let assumed = self.slow.pods.iter().filter(|(_, p)| p.node.is_some() && p.row.node.is_empty());
                if let Some(uid) = pick(assumed.map(|(uid, _)| uid), *n) {
                    let placed = self.slow.pods[&uid].clone();
                    let node = placed.node.clone().expect("assumed");
                    self.set_pod(PodRow { node: node.as_str().into(), ..placed.row }, Some(node));
                }
            }
            Happening::BindFails(n) => {
                let assumed = self.slow.pods.iter().filter(|(_, p)| p.node.is_some() && p.row.node.is_empty());
                if let Some(uid) = pick(assumed.map(|(uid, _)| uid), *n) {
                    // Some fail after all was written: what was made for the pod is in its way then.
                    if n % 2 == 1 {
                        self.write_claims(&uid);
                    }
                    self.slow.unplace(&uid);
                    self.pending.push(Event::BindFailed(uid.as_str().into()));
                }
            }
            Happening::Things(things) => things.iter().for_each(|thing| self.put(thing.clone())),
            Happening::ThingGone(thing) => {
                self.slow.shelf.take(thing);
                self.pending.push(Event::Storage(volumes::gone(thing)));
            }
            Happening::VolumesWritten(n) => {
                let working = self.slow.pods.iter().filter(|(_, p)| p.work.is_some());
                if let Some(uid) = pick(working.map(|(uid, _)| uid), *n) {
                    let placed = &self.slow.pods[&uid];
                    let (work, node) = (placed.work.clone().expect("picked"), placed.node.clone().expect("placed"));
                    volumes::written(&self.slow.shelf, &work, &node).into_iter().for_each(|thing| self.put(thing));
                    self.write_claims(&uid);
                }
            }
            Happening::Budget(row) => {
                self.slow.budgets.insert((row.namespace.to_string(), row.name.to_string()), row.clone());
                self.pending.push(Event::Budget(row.clone()));
            }
            Happening::BudgetGone(n) => {
                if let Some((namespace, name)) = pick(self.slow.budgets.keys(), *n) {
                    self.pending.push(Event::BudgetGone(namespace.as_str().into(), name.as_str().into()));
                    self.slow.budgets.remove(&(namespace, name));
                }
            }
            Happening::Kindred(row) => {
                let key = (row.keeper, row.namespace.to_string(), row.name.to_string());
                self.slow.kindred.insert(key, row.selector.clone().unwrap_or_default());
                self.pending.push(Event::Kindred(row.clone()));
            }
            Happening::KindredGone(n) => {
                if let Some((keeper, namespace, name)) = pick(self.slow.kindred.keys(), *n) {
                    let gone = Event::KindredGone(keeper, namespace.as_str().into(), name.as_str().into());
                    self.pending.push(gone);
                    self.slow.kindred.remove(&(keeper, namespace, name));
                }
            }
            Happening::Group(row) => {
                self.slow.groups.insert((row.namespace.to_string(), row.name.to_string()), row.min_count);
                self.pending.push(Event::PodGroup(row.clone()));
            }
            Happening::GroupGone(n) => {
                if let Some((namespace, name)) = pick(self.slow.groups.keys(), *n) {
                    self.pending.push(Event::PodGroupGone(namespace.as_str().into(), name.as_str().into()));
                    self.slow.groups.remove(&(namespace, name));
                }
            }
            Happening::Started(n, when) => {
                if let Some(uid) = self.pick_pod(*n, |p| p.node.is_some()) {
                    let placed = self.slow.pods[&uid].clone();
                    let started = format!("2026-11-23T09:00:{when:02}Z").into();
                    self.set_pod(PodRow { started, ..placed.row }, placed.node);
                }
            }
            Happening::VictimTerminates(n) => {
                if let Some(uid) = self.pick_pod(*n, |p| p.doomed_for.is_some()) {
                    let placed = self.slow.pods[&uid].clone();
                    self.set_pod(PodRow { deleting: true, displaced: true, ..placed.row }, placed.node);
                }
            }
            Happening::VictimGone(n) => {
                if let Some(uid) = self.pick_pod(*n, |p| p.row.displaced || p.doomed_for.is_some()) {
                    self.slow.remove_pod(&uid);
                    self.pending.push(Event::PodGone(uid.as_str().into()));
                }
            }
            Happening::EvictionFails(n) => {
                if let Some(uid) = self.pick_pod(*n, |p| p.doomed_for.is_some()) {
                    let preemptor = self.slow.pods.get_mut(&uid).and_then(|p| p.doomed_for.take()).expect("picked");
                    let (victim, preemptor) = (uid.as_str().into(), preemptor.as_str().into());
                    self.pending.push(Event::EvictionFailed { victim, preemptor });
                }
            }
            Happening::Nominated(n, node) => {
                if let Some(uid) = self.pick_pod(*n, |p| p.row.node.is_empty()) {
                    let placed = self.slow.pods[&uid].clone();
                    let nominated = node.map(|n| format!("n{n}").into()).unwrap_or_default();
                    self.set_pod(PodRow { nominated, ..placed.row }, placed.node);
                }
            }
            Happening::NominationSeen(n) => {
                if let Some(uid) = self.pick_pod(*n, |p| p.nominated.is_some()) {
                    let placed = self.slow.pods[&uid].clone();
                    let nominated = placed.nominated.clone().expect("picked").into();
                    self.set_pod(PodRow { nominated, ..placed.row }, placed.node);
                }
            }
            Happening::Time(ms) => self.now += u64::from(*ms),
            Happening::Step(limit) => self.step(usize::from(*limit))?,
        }
        Ok(())
    }

    /// A placed pod's claims of devices are written.
    fn write_claims(&mut self, uid: &str) {
        let Some(work) = &self.slow.pods[uid].work else { return };
        let claims = devices::written(&self.slow.shelf.rack, uid, &work.claims);
        claims.into_iter().for_each(|thing| self.put(thing));
    }

    fn put(&mut self, thing: Thing) {
        self.slow.shelf.put(thing.clone());
        self.pending.push(Event::Storage(Change::Is(Box::new(thing))));
    }

    fn pick_pod(&self, n: u8, of: impl Fn(&Placed) -> bool) -> Option<String> {
        pick(self.slow.pods.iter().filter(|(_, p)| of(p)).map(|(uid, _)| uid), n)
    }

    fn set_pod(&mut self, row: PodRow, node: Option<String>) {
        let before = self.slow.pods.get(&*row.uid);
        let work = before.and_then(|p| p.work.clone());
        let told = before.map(|p| p.row.nominated.clone()).unwrap_or_default();
        let kept = before.and_then(|p| p.nominated.clone());
        let said = (!row.nominated.is_empty()).then(|| row.nominated.to_string());
        let waits = node.is_none() && !row.deleting && self.slow.profile(&row).is_some();
        let nominated = if told == row.nominated { kept } else { said }.filter(|_| waits);
        let doomed_for = before.and_then(|p| p.doomed_for.clone()).filter(|_| !row.deleting);
        self.slow.pods.insert(row.uid.to_string(), Placed { row: row.clone(), node, nominated, doomed_for, work });
        self.pending.push(Event::Pod(Box::new(row)));
    }

    fn step(&mut self, limit: usize) -> Result<(), TestCaseError> {
        let plan = self.fast.step(self.now, std::mem::take(&mut self.pending), limit);
        prop_assert!(plan.decisions.len() <= limit);
        for decision in &plan.decisions {
            match decision {
                Decision::Bind(placement) => {
                    let uid = placement.pod.uid.to_string();
                    prop_assert_eq!(self.slow.standing(&self.slow.pods[&uid].row), Standing::Alone, "pod {}", uid);
                    let expected = self.slow.decide(&self.slow.pods[&uid].row);
                    prop_assert_eq!(
                        expected,
                        Verdict::Node(placement.node.to_string(), placement.score),
                        "pod {}",
                        uid
                    );
                    let work = self.slow.work(&uid, &placement.node);
                    let done = prepared(placement);
                    prop_assert_eq!(work.as_ref(), done.as_ref(), "volumes and claims of {}", uid);
                    let placed = self.slow.pods.get_mut(&uid).expect("decided");
                    prop_assert!(placed.node.is_none(), "{} was placed already", uid);
                    prop_assert!(!placed.row.deleting);
                    placed.node = Some(placement.node.to_string());
                    placed.nominated = None;
                    prop_assert!(!self.slow.is_gated(&self.slow.pods[&uid].row));
                }
                Decision::Consult(question) => prop_assert!(false, "nobody is to be asked: {question:?}"),
                Decision::Refuse(refusal) => self.refused(refusal)?,
                Decision::BindAll(together) => self.placed_together(together)?,
                Decision::RefuseAll(apart) => self.refused_together(apart)?,
            }
        }
        for gone in std::mem::take(&mut self.deleted) {
            self.slow.shelf.take(&gone);
            self.pending.push(Event::Storage(volumes::gone(&gone)));
        }
        // What came of the decisions has yet to be told.
        if !plan.more && self.pending.is_empty() {
            self.nobody_is_left_behind()?;
        }
        self.log.push(plan);
        Ok(())
    }

    fn refused(&mut self, refusal: &Refusal) -> Result<(), TestCaseError> {
        let uid = refusal.pod.uid.to_string();
        let before = self.slow.pods[&uid].clone();
        prop_assert_eq!(self.slow.standing(&before.row), Standing::Alone, "pod {}", uid);
        let Verdict::Nowhere(Nowhere { message, frees, hopeless }) = self.slow.decide(&before.row) else {
            return Err(TestCaseError::fail(format!("{uid} is refused: {}", refusal.message)));
        };
        prop_assert_eq!(&message, &*refusal.message, "{}", uid);
        let done = refusal.preemption.as_ref();
        let victims = |p: &gantry_scheduler_core::plan::Preemption| -> Vec<String> {
            p.victims.iter().map(|v| v.pod.uid.to_string()).collect()
        };
        prop_assert_eq!(&frees, &done.map(|p| (p.node.to_string(), victims(p))), "{}", uid);
        let mut nomination = None;
        if let Some((node, victims)) = frees {
            for victim in &victims {
                let victim = self.slow.pods.get_mut(victim).expect("a victim is there");
                if !victim.row.deleting && victim.doomed_for.is_none() {
                    victim.doomed_for = Some(uid.clone());
                }
            }
            let mut lower = Vec::new();
            for (other, placed) in &mut self.slow.pods {
                let there = placed.nominated.as_ref() == Some(&node) && *other != uid;
                if there && placed.row.priority < before.row.priority {
                    placed.nominated = None;
                    lower.push(other.clone());
                }
            }
            let named: Vec<String> = done.iter().flat_map(|p| &p.denominated).map(|pod| pod.uid.to_string()).collect();
            prop_assert_eq!(lower, named);
            if *before.row.nominated != *node {
                nomination = Some(Nomination::Node(node.as_str().into()));
            }
            self.slow.pods.get_mut(&uid).expect("decided").nominated = Some(node);
        } else if hopeless {
            self.slow.pods.get_mut(&uid).expect("decided").nominated = None;
            if !before.row.nominated.is_empty() || before.nominated.is_some() {
                nomination = Some(Nomination::Nowhere);
            }
        }
        prop_assert_eq!(nomination, refusal.nomination.clone());
        if let Some(stale) = self.slow.shelf.rack.stale(&before.row).cloned()
            && let Some((key, uid)) = &refusal.release
        {
            prop_assert_eq!((&stale.key, &stale.uid), (key, uid));
            self.deleted.push(Thing::DeviceClaim(stale));
        }
        Ok(())
    }

    /// Whoever is not placed fits nowhere and can make no room, waits for the room that is being made for it, is gated,
    /// or pauses after a failed binding.
    fn nobody_is_left_behind(&mut self) -> Result<(), TestCaseError> {
        let pausing = self.fast.pending().backoff;
        let fitting = self.fitting_gangs();
        let mut idle = fitting.len();
        prop_assert!(idle <= pausing, "gangs {:?} would fit", fitting);
        let waits = |row: &PodRow| self.slow.profile(row).is_some() && !self.slow.is_gated(row) && !row.deleting;
        let alone = |row: &PodRow| self.slow.standing(row) == Standing::Alone;
        for placed in self.slow.pods.values().filter(|p| p.node.is_none() && waits(&p.row) && alone(&p.row)) {
            let what = match self.slow.decide(&placed.row) {
                Verdict::Node(node, _) => format!("would fit on {node}"),
                Verdict::Nowhere(Nowhere { frees: Some((node, _)), .. }) if placed.nominated.is_none() => {
                    format!("could make room on {node}")
                }
                Verdict::Nowhere(_) => continue,
            };
            idle += 1;
            prop_assert!(idle <= pausing, "{} {}", placed.row.name, what);
        }
        Ok(())
    }

    /// Lets everything be decided on, and again once all pauses are over.
    fn finish(&mut self) -> Result<(), TestCaseError> {
        for pause in [0, 20_000] {
            self.now += pause;
            loop {
                self.step(1000)?;
                if !self.log.last().expect("stepped").more && self.pending.is_empty() {
                    break;
                }
            }
        }
        Ok(())
    }
}

/// What is to be written about a placed pod's volumes and claims; the ids of shares are anybody's guess.
fn prepared(placement: &Placement) -> Option<Preparation> {
    let mut work = placement.preparation.as_deref().cloned()?;
    work.claims = devices::without_share_ids(work.claims);
    Some(work)
}

fn pick<'a, T: Clone + 'a>(from: impl Iterator<Item = &'a T>, n: u8) -> Option<T> {
    let all: Vec<&T> = from.collect();
    if all.is_empty() { None } else { Some(all[usize::from(n) % all.len()].clone()) }
}

fn run(happenings: &[Happening], board_bytes_max: usize) -> Result<Vec<Plan>, TestCaseError> {
    run_with(happenings, board_bytes_max, &[Profile::default()])
}

fn run_with(
    happenings: &[Happening],
    board_bytes_max: usize,
    profiles: &[Profile],
) -> Result<Vec<Plan>, TestCaseError> {
    let mut bench = Bench::new(board_bytes_max, profiles);
    for what in happenings {
        bench.happens(what)?;
    }
    bench.finish()?;
    Ok(bench.log)
}

fn for_all(cases: u32, check: impl Fn(Vec<Happening>) -> Result<(), TestCaseError>) {
    for_each(cases, &generate::happenings(), check);
}

fn for_each<S: Strategy>(cases: u32, of: &S, check: impl Fn(S::Value) -> Result<(), TestCaseError>) {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seed = number("GANTRY_SEED").unwrap_or(0);
    let cases = number("GANTRY_CASES").map_or(cases, |n| n as u32);
    let mut bytes = [0u8; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let config = Runs { cases, failure_persistence: None, ..Runs::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    if let Err(error) = runner.run(of, check) {
        panic!("GANTRY_SEED={seed}: {error}");
    }
}

#[test]
fn the_fast_scheduler_decides_as_the_reference() {
    for_all(600, |happenings| run(&happenings, usize::MAX).map(|_| ()));
}

#[test]
fn profiles_of_any_kind_decide_as_the_reference() {
    let all = (generate::happenings(), generate::profiles());
    for_each(400, &all, |(happenings, profiles)| run_with(&happenings, usize::MAX, &profiles).map(|_| ()));
}

#[test]
fn boards_that_are_given_up_change_no_decision() {
    for_all(100, |happenings| run(&happenings, 1).map(|_| ()));
}

#[test]
fn equal_input_gives_equal_plans() {
    for_all(60, |happenings| {
        let (one, two) = (run(&happenings, usize::MAX)?, run(&happenings, 1)?);
        let decisions = |log: &[Plan]| log.iter().flat_map(|p| p.decisions.clone()).collect::<Vec<_>>();
        prop_assert_eq!(decisions(&one), decisions(&two));
        Ok(())
    });
}

#[test]
fn generated_clusters_have_gangs_that_fit_and_gangs_that_do_not() {
    // Placed together, refused though some would fit, placed after a refusal, with volumes or devices, told a reason of
    // their own, and given devices.
    let met = std::cell::Cell::new([0u32; 6]);
    for_each(400, &generate::ganged(), |happenings| {
        let mut refused = std::collections::BTreeSet::new();
        let mut seen = met.get();
        for decision in run(&happenings, usize::MAX)?.iter().flat_map(|plan| &plan.decisions) {
            match decision {
                Decision::BindAll(together) => {
                    seen[0] += u32::from(together.placements.len() > 2);
                    seen[2] += u32::from(refused.contains(&together.gang));
                    let work = || together.placements.iter().filter_map(|placement| placement.preparation.as_deref());
                    seen[3] += u32::from(work().next().is_some());
                    seen[5] += u32::from(work().any(|work| work.claims.iter().any(|claim| claim.grant.is_some())));
                }
                Decision::RefuseAll(apart) => {
                    let with_others = |r: &Refusal| r.message.starts_with("pod group is unschedulable, waiting");
                    let would_fit = apart.refusals.iter().filter(|r| with_others(r)).count();
                    seen[1] += u32::from(would_fit > 0 && would_fit < apart.refusals.len());
                    let own = |r: &Refusal| r.message.ends_with("preemption: not tried for the pods of a gang.");
                    seen[4] += u32::from(apart.refusals.iter().any(own));
                    refused.insert(apart.gang.clone());
                }
                Decision::Bind(_) | Decision::Refuse(_) | Decision::Consult(_) => {}
            }
        }
        met.set(seen);
        Ok(())
    });
    assert!(met.get().iter().all(|times| *times > 0), "{:?}", met.get());
}

#[test]
fn generated_clusters_meet_every_rule_about_volumes() {
    let said = std::cell::RefCell::new(std::collections::BTreeSet::new());
    for_each(1000, &generate::furnished(), |happenings| {
        for decision in run(&happenings, usize::MAX)?.iter().flat_map(|plan| &plan.decisions) {
            let placements: &[Placement] = match decision {
                Decision::Bind(placement) => std::slice::from_ref(placement),
                Decision::BindAll(together) => &together.placements,
                Decision::Refuse(refusal) => {
                    said.borrow_mut().insert(refusal.message.to_string());
                    &[]
                }
                Decision::RefuseAll(apart) => {
                    said.borrow_mut().extend(apart.refusals.iter().map(|refusal| refusal.message.to_string()));
                    &[]
                }
                Decision::Consult(_) => &[],
            };
            for work in placements.iter().filter_map(|placement| placement.preparation.as_deref()) {
                said.borrow_mut().extend((!work.bind.is_empty()).then(|| "a volume is bound".to_owned()));
                said.borrow_mut().extend((!work.provision.is_empty()).then(|| "a volume is made".to_owned()));
            }
        }
        Ok(())
    });
    let said = said.into_inner();
    for text in [
        "a volume is bound",
        "a volume is made",
        "not found. not found",
        "is being deleted. not found",
        "bound to non-existent persistentvolume",
        "(pod is not owner). not found",
        "waiting for ephemeral volume controller",
        "pod has unbound immediate PersistentVolumeClaims. not found",
        "node(s) had no available disk",
        "node has pod using PersistentVolumeClaim",
        "node(s) exceed max volume count",
        "node(s) had volume node affinity conflict",
        "node(s) didn't find available persistent volumes to bind",
        "node(s) did not have enough free storage",
        "node(s) had no available volume zone",
    ] {
        assert!(said.iter().any(|message| message.contains(text)), "nobody was told: {text}");
    }
}

#[test]
fn generated_clusters_give_devices_and_refuse_them() {
    let said = std::cell::RefCell::new(std::collections::BTreeSet::new());
    for_each(500, &generate::furnished(), |happenings| {
        for decision in run(&happenings, usize::MAX)?.iter().flat_map(|plan| &plan.decisions) {
            match decision {
                Decision::Bind(placement) => {
                    let claims = placement.preparation.iter().flat_map(|work| &work.claims);
                    for claim in claims {
                        let Some(grant) = &claim.grant else {
                            said.borrow_mut().insert("a claim is reserved".to_owned());
                            continue;
                        };
                        if !grant.results.is_empty() {
                            said.borrow_mut().insert("devices are given".to_owned());
                        }
                    }
                }
                Decision::Consult(_) | Decision::BindAll(_) | Decision::RefuseAll(_) => {}
                Decision::Refuse(refusal) => drop(said.borrow_mut().insert(refusal.message.to_string())),
            }
        }
        Ok(())
    });
    let said = said.into_inner();
    for text in [
        "a claim is reserved",
        "devices are given",
        "cannot allocate all claims",
        "resourceclaim not available on the node",
        "still not schedulable",
    ] {
        assert!(said.iter().any(|message| message.contains(text)), "nobody was told: {text}");
    }
}

#[test]
fn generated_clusters_let_devices_stand_in_for_extended_resources() {
    // They stood in, and beside a claim of the pod's own; a pod was refused for an older claim's sake, and for want of
    // devices.
    let met = std::cell::Cell::new([0u32; 4]);
    for_each(500, &generate::accelerated(), |happenings| {
        let mut seen = met.get();
        for decision in run(&happenings, usize::MAX)?.iter().flat_map(|plan| &plan.decisions) {
            match decision {
                Decision::Bind(placement) => {
                    let claims = placement.preparation.as_deref().map_or(&[][..], |work| &work.claims);
                    let stands_in = claims.iter().any(|claim| claim.new.is_some());
                    seen[0] += u32::from(stands_in);
                    seen[1] += u32::from(stands_in && claims.len() > 1);
                }
                Decision::Refuse(refusal) => {
                    seen[2] += u32::from(refusal.message.contains("cannot schedule extended resource claim"));
                    seen[3] += u32::from(refusal.message.contains("cannot allocate all claims"));
                }
                _ => {}
            }
        }
        met.set(seen);
        Ok(())
    });
    assert!(met.get().iter().all(|times| *times > 0), "{:?}", met.get());
}
