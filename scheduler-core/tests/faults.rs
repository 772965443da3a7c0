//! What must hold whatever fails: no pod is bound twice, no node is over-committed, everything converges.
//!
//! A small API in memory and a scheduler on it. Bindings and evictions are refused at random, their order is mixed up,
//! nodes vanish and come back, the scheduler is killed between deciding and binding and starts anew from a list; or there
//! are several schedulers that share the cluster and know nothing of each other. At the end the faults stop, and whoever is unbound must fit nowhere. `GANTRY_SEED` picks the first seed, `GANTRY_CASES` how
//! many are tried; the seed of a failure is printed.

use std::collections::{BTreeMap, BTreeSet};

use gantry_scheduler_core::cycle::{Config, Event, Scheduler};
use gantry_scheduler_core::plan::{Decision, Nomination, Placement, Refusal};
use gantry_scheduler_core::rows::{Amounts, Demand, NodeRow, PodGroupRow, PodRow};

/// SplitMix64.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let x = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        x ^ (x >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n.max(1)
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

/// A write that the scheduler has asked for and that is not done yet.
enum Asked {
    Bind(Placement),
    BindAll(Vec<Placement>),
    Evict { victim: String, preemptor: String },
}

/// Two gangs, of two pods and of four.
fn groups() -> impl Iterator<Item = PodGroupRow> {
    [("g0", 2), ("g1", 4)].into_iter().map(|(name, min)| PodGroupRow {
        namespace: "d".into(),
        name: name.into(),
        min_count: Some(min),
    })
}

struct World {
    chance: Chance,
    faults: bool,
    nodes: BTreeMap<String, NodeRow>,
    pods: BTreeMap<String, PodRow>,
    /// One scheduler, or several that know nothing of each other.
    minds: Vec<Mind>,
    now: u64,
    made: u32,
    /// Bindings turned down because another scheduler was first.
    lost_races: u32,
    /// The gangs that have run.
    ran: BTreeSet<Box<str>>,
}

/// A scheduler's process.
struct Mind {
    scheduler: Scheduler,
    /// What the scheduler has yet to hear, in order.
    unheard: Vec<Event>,
    asked: Vec<Asked>,
}

impl Mind {
    fn new(seed: u64) -> Self {
        let scheduler = Scheduler::new(Config { seed, gangs: true, ..Config::default() });
        Self { scheduler, unheard: groups().map(Event::PodGroup).collect(), asked: Vec::new() }
    }
}

impl World {
    fn new(seed: u64, minds: u64) -> Self {
        Self {
            chance: Chance(seed),
            faults: true,
            nodes: BTreeMap::new(),
            pods: BTreeMap::new(),
            minds: (0..minds).map(|mind| Mind::new(seed + mind)).collect(),
            now: 0,
            made: 0,
            lost_races: 0,
            ran: BTreeSet::new(),
        }
    }

    /// Everybody is told, each in their own time.
    fn tell(&mut self, event: Event) {
        self.minds.iter_mut().for_each(|mind| mind.unheard.push(event.clone()));
    }

    fn any_mind(&mut self) -> usize {
        self.chance.below(self.minds.len() as u64) as usize
    }

    fn something_happens(&mut self) {
        match self.chance.below(20) {
            0 => {
                let name = format!("n{}", self.chance.below(5));
                let (cpu, pods) = (1000 * (1 + name.len() as i64), 6);
                let allocatable = Amounts { cpu, memory: 1 << 30, pods, ..Amounts::default() };
                let row = NodeRow { name: name.as_str().into(), allocatable, ..NodeRow::default() };
                self.nodes.insert(name, row.clone());
                self.tell(Event::Node(Box::new(row)));
            }
            1 => {
                if let Some(name) = self.any(self.nodes.keys().cloned().collect()) {
                    self.nodes.remove(&name);
                    self.tell(Event::NodeGone(name.into()));
                }
            }
            2..=6 => self.pod_comes(""),
            // A gang comes pod by pod: others may come, and steps be made, in between.
            7 => {
                let gang = self.chance.below(2);
                (0..=self.chance.below(3)).for_each(|_| self.pod_comes(&format!("g{gang}")));
            }
            8 => {
                let there: Vec<String> = self.pods.keys().cloned().collect();
                if let Some(uid) = self.any(there) {
                    self.pod_goes(&uid);
                }
            }
            // Pods of nodes that are gone are collected in time.
            9 => {
                let lost = self.pods.iter().filter(|(_, p)| !p.node.is_empty() && !self.nodes.contains_key(&*p.node));
                let lost: Vec<String> = lost.map(|(uid, _)| uid.clone()).collect();
                lost.iter().for_each(|uid| self.pod_goes(uid));
            }
            10 if self.chance.one_in(4) => {
                let mind = self.any_mind();
                self.killed(mind);
            }
            11..=14 => {
                let mind = self.any_mind();
                self.step(mind);
            }
            _ => {
                let mind = self.any_mind();
                self.something_is_done(mind);
            }
        }
    }

    fn any(&mut self, from: Vec<String>) -> Option<String> {
        let at = self.chance.below(from.len() as u64) as usize;
        from.into_iter().nth(at)
    }

    fn pod_comes(&mut self, group: &str) {
        self.made += 1;
        let uid = format!("u{:04}", self.made);
        let cpu = [100, 400, 900][self.chance.below(3) as usize];
        let row = PodRow {
            namespace: "d".into(),
            name: uid.as_str().into(),
            uid: uid.as_str().into(),
            scheduler: "default-scheduler".into(),
            group: group.into(),
            priority: self.chance.below(3) as i32,
            demand: Demand { requests: Amounts { cpu, ..Amounts::default() }, ..Demand::default() },
            ..PodRow::default()
        };
        self.pods.insert(uid, row.clone());
        self.tell(Event::Pod(Box::new(row)));
    }

    fn pod_goes(&mut self, uid: &str) {
        if self.pods.remove(uid).is_some() {
            self.tell(Event::PodGone(uid.into()));
        }
    }

    /// A scheduler hears some of what there is to hear, and decides.
    fn step(&mut self, mind: usize) {
        let all = self.minds[mind].unheard.len() as u64;
        let mut heard = if self.faults { self.chance.below(all + 1) } else { all };
        // What became of a gang is heard at once.
        let failed = |event: &Event| matches!(event, Event::BindFailed(_));
        while self.minds[mind].unheard.get(heard as usize).is_some_and(failed) {
            heard += 1;
        }
        let events: Vec<Event> = self.minds[mind].unheard.drain(..heard as usize).collect();
        self.now += if self.faults { self.chance.below(3000) } else { 0 };
        let limit = if self.faults { 1 + self.chance.below(8) as usize } else { usize::MAX };
        let plan = self.minds[mind].scheduler.step(self.now, events, limit);
        for decision in plan.decisions {
            match decision {
                Decision::Consult(question) => panic!("nobody is to be asked: {question:?}"),
                Decision::Bind(placement) => self.minds[mind].asked.push(Asked::Bind(placement)),
                Decision::BindAll(together) => self.minds[mind].asked.push(Asked::BindAll(together.placements)),
                Decision::RefuseAll(apart) => apart.refusals.iter().for_each(|refusal| self.refused(mind, refusal)),
                Decision::Refuse(refusal) => self.refused(mind, &refusal),
            }
        }
    }

    fn refused(&mut self, mind: usize, refusal: &Refusal) {
        if let Some(pod) = self.pods.get_mut(&*refusal.pod.uid)
            // Nothing is said of a pod that is bound by now.
            && pod.node.is_empty()
            && let Some(nomination) = &refusal.nomination
        {
            pod.nominated = match nomination {
                Nomination::Node(node) => node.clone(),
                Nomination::Nowhere => "".into(),
            };
            let row = pod.clone();
            self.tell(Event::Pod(Box::new(row)));
        }
        let preemption = refusal.preemption.iter();
        for victim in preemption.flat_map(|p| &p.victims).filter(|victim| !victim.leaving) {
            let (victim, preemptor) = (victim.pod.uid.to_string(), refusal.pod.uid.to_string());
            self.minds[mind].asked.push(Asked::Evict { victim, preemptor });
        }
    }

    /// One of the writes asked for reaches the API, in any order.
    fn something_is_done(&mut self, mind: usize) {
        let asked = self.minds[mind].asked.len() as u64;
        if asked == 0 {
            return;
        }
        let at = self.chance.below(asked) as usize;
        let fails = self.faults && self.chance.one_in(3);
        match self.minds[mind].asked.swap_remove(at) {
            Asked::Bind(placement) => {
                let done = !fails && self.bind(&placement);
                // Who is told that it failed has read the pod and seen it unbound.
                let unbound = self.pods.get(&*placement.pod.uid).is_some_and(|pod| pod.node.is_empty());
                if !done && unbound {
                    self.minds[mind].unheard.push(Event::BindFailed(placement.pod.uid.clone()));
                }
            }
            Asked::BindAll(gang) => {
                let done = !fails && self.bind_whole(&gang);
                // All of it is read again, and heard of at once.
                for placement in gang.into_iter().filter(|_| !done) {
                    if self.pods.get(&*placement.pod.uid).is_some_and(|pod| pod.node.is_empty()) {
                        self.minds[mind].unheard.push(Event::BindFailed(placement.pod.uid.clone()));
                    }
                }
            }
            Asked::Evict { victim, preemptor } if fails => {
                let (victim, preemptor) = (victim.into(), preemptor.into());
                self.minds[mind].unheard.push(Event::EvictionFailed { victim, preemptor });
            }
            Asked::Evict { victim, .. } => self.pod_goes(&victim),
        }
    }

    /// What the API does with a binding; it knows nothing of room.
    fn bind(&mut self, placement: &Placement) -> bool {
        let Some(pod) = self.pods.get_mut(&*placement.pod.uid) else { return false };
        if !pod.node.is_empty() {
            // A scheduler of its own never asks twice; of several, all but the first are turned down.
            assert!(self.minds.len() > 1, "{} is bound twice", pod.name);
            self.lost_races += 1;
            return false;
        }
        pod.node = (*placement.node).into();
        pod.nominated = "".into();
        let row = pod.clone();
        self.tell(Event::Pod(Box::new(row)));
        self.nobody_is_over_committed();
        true
    }

    /// The same for a gang: one commit.
    fn bind_gang(&mut self, gang: &[Placement]) -> bool {
        let there = |p: &Placement| self.pods.get(&*p.pod.uid).is_some_and(|pod| pod.node.is_empty());
        gang.iter().all(there) && gang.iter().all(|placement| self.bind(placement))
    }

    /// The same; a gang that never ran before runs whole then. (Of one that ran, some may have gone unheard of.)
    fn bind_whole(&mut self, gang: &[Placement]) -> bool {
        if !self.bind_gang(gang) {
            return false;
        }
        let group = self.pods[&*gang[0].pod.uid].group.clone();
        let min = groups().find(|row| row.name == group).and_then(|row| row.min_count).unwrap_or(0) as usize;
        let bound = self.bound_of(&group);
        let ran = !self.ran.insert(group.clone());
        assert!(ran || bound >= min, "{bound} pods of {group} are bound");
        true
    }

    fn bound_of(&self, group: &str) -> usize {
        self.pods.values().filter(|pod| *pod.group == *group && !pod.node.is_empty()).count()
    }

    /// What one scheduler placed fits; several that decide at the same moment may take the same room, as upstream's may:
    /// the kubelet turns the last away.
    fn nobody_is_over_committed(&self) {
        if self.minds.len() > 1 {
            return;
        }
        for (name, node) in &self.nodes {
            let (pods, cpu) = self.used(name);
            assert!(pods <= node.allocatable.pods, "{name} has {pods} pods");
            assert!(cpu <= node.allocatable.cpu, "{name} has {cpu} milli-CPU in use");
        }
    }

    fn used(&self, node: &str) -> (i64, i64) {
        let there = || self.pods.values().filter(|pod| *pod.node == *node);
        (there().count() as i64, there().map(|pod| pod.demand.requests.cpu).sum())
    }

    /// A scheduler is killed: of the writes under way some have come through, and it starts from a list.
    fn killed(&mut self, mind: usize) {
        for asked in std::mem::take(&mut self.minds[mind].asked) {
            match asked {
                Asked::Bind(placement) if self.chance.one_in(2) => drop(self.bind(&placement)),
                Asked::BindAll(gang) if self.chance.one_in(2) => drop(self.bind_whole(&gang)),
                _ => {}
            }
        }
        self.minds[mind] = Mind::new(self.chance.next());
        self.minds[mind].unheard = vec![
            Event::Nodes(self.nodes.values().cloned().collect()),
            Event::Pods(self.pods.values().cloned().collect()),
            Event::PodGroups(groups().collect()),
        ];
    }

    /// No more faults: everything asked for is done and heard of, until nothing moves.
    fn converge(&mut self) {
        self.faults = false;
        for _ in 0..200 {
            for mind in 0..self.minds.len() {
                self.step(mind);
                while !self.minds[mind].asked.is_empty() {
                    self.something_is_done(mind);
                }
            }
            // Longer than any pause.
            self.now += 20_000;
            let rests = |mind: &Mind| {
                let pending = mind.scheduler.pending();
                mind.unheard.is_empty() && pending.backoff == 0 && pending.active == 0
            };
            if self.minds.iter().all(rests) {
                break;
            }
        }
        assert!(self.minds.iter().all(|mind| mind.unheard.is_empty()), "it does not come to rest");
        self.nobody_is_over_committed();
        // Whether a gang that waits would fit is for `equal_decisions`; here, who is alone, or whose gang runs.
        let runs = |pod: &PodRow| {
            let group = groups().find(|row| row.name == pod.group);
            group.is_none_or(|row| self.bound_of(&row.name) >= row.min_count.unwrap_or(0) as usize)
        };
        for pod in self.pods.values().filter(|pod| pod.node.is_empty() && runs(pod)) {
            let cpu = pod.demand.requests.cpu;
            for (name, node) in &self.nodes {
                let (pods, used) = self.used(name);
                // A pod that room was made for before its gang fell apart keeps it until its gang is complete again.
                let keeps = |p: &&PodRow| *p.nominated == **name && p.priority >= pod.priority && !runs(p);
                let kept = self.pods.values().filter(keeps).map(|p| p.demand.requests.cpu);
                let (pods, used) = kept.fold((pods, used), |(n, sum), cpu| (n + 1, sum + cpu));
                let fits = pods < node.allocatable.pods && used + cpu <= node.allocatable.cpu;
                assert!(!fits, "{} would fit on {name}", pod.name);
                let lower = self.pods.values().filter(|p| *p.node == **name && p.priority < pod.priority);
                let (lower, theirs) = lower.fold((0, 0), |(n, sum), p| (n + 1, sum + p.demand.requests.cpu));
                let room = pods - lower < node.allocatable.pods && used - theirs + cpu <= node.allocatable.cpu;
                assert!(lower == 0 || !room, "{} could make room on {name}", pod.name);
            }
        }
    }
}

/// Lets `minds` schedulers live through faults, once per seed; gives how often one was too late.
fn live(minds: u64) -> u32 {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let (first, cases) = (number("GANTRY_SEED").unwrap_or(0), number("GANTRY_CASES").unwrap_or(100));
    let mut lost_races = 0;
    for seed in first..first + cases {
        let run = std::panic::catch_unwind(|| {
            let mut world = World::new(seed, minds);
            for _ in 0..300 {
                world.something_happens();
            }
            world.converge();
            world.lost_races
        });
        lost_races += run.unwrap_or_else(|_| panic!("GANTRY_SEED={seed}"));
    }
    lost_races
}

#[test]
fn nothing_is_bound_twice_or_over_committed_and_everything_converges() {
    assert_eq!(live(1), 0);
}

#[test]
fn several_schedulers_share_a_cluster_and_everything_converges() {
    assert!(live(3) > 0, "they are never in each other's way");
}
