//! The whole cycle on one screen: fold events in, wake whom they help, then one pod after another: best node, assume.
//!
//! [`Scheduler::step`] is called by the scheduling loop's own thread, with everything that happened since the last
//! call. It never blocks and does no I/O. What it decided is in force at once (assumed), whatever becomes of the bind;
//! the loop reports failures back as [`Event::BindFailed`].

pub mod consult;
mod defaults;
mod devices;
mod displace;
pub mod explain;
mod extended;
mod find;
mod gang;
mod moves;
mod refuse;
mod volumes;
mod wake;

use std::collections::{BTreeMap, BinaryHeap};
use std::hash::Hash;
use std::sync::Arc;

use hashbrown::{HashMap, HashSet};

use crate::budgets::Budgets;
use crate::class::Classes;
use crate::columns::{Columns, Slot};
use crate::gangs::{Gangs, Standing};
use crate::intern::fixed_hasher;
use crate::kindred::Kindred;
use crate::meter::{self, Meter, Point, Stopwatch, Tallies, Timed};
use crate::neighbours::Neighbours;
use crate::nominations::Nominations;
use crate::plan::{Decision, Millis, Placement, Plan, Reasons};
use crate::pods::{PodIndex, Pods, State};
use crate::profile::Profile;
use crate::queue::{BACKOFF_FIRST, BACKOFF_MAX, GroupId, Queue, Seen, Turn};
use crate::rows::storage::{Change, Key};
use crate::rows::{BudgetRow, Keeper, KindredRow, NamespaceRow, NodeRow, PodGroupRow, PodRow};
use crate::seats::Seats;
use crate::storage::ask::{Ask, Rejection};
use crate::storage::{Preparation, Storage};
use crate::wide::Scratch;

use consult::{Advice, Interest};
use find::{Found, Verdicts};

/// Something the scheduler must know.
#[derive(Clone, Debug)]
pub enum Event {
    /// A node as it is now.
    Node(Box<NodeRow>),
    /// A node of this name is gone.
    NodeGone(Box<str>),
    /// These are all nodes there are: after a new list.
    Nodes(Vec<NodeRow>),
    /// A pod as it is now.
    Pod(Box<PodRow>),
    /// The pod of this uid is gone.
    PodGone(Box<str>),
    /// These are all pods there are: after a new list. An assumed pod that is among them unbound stays assumed: the
    /// list may be older than its binding.
    Pods(Vec<PodRow>),
    /// A namespace as it is now.
    Namespace(NamespaceRow),
    /// A namespace of this name is gone.
    NamespaceGone(Box<str>),
    /// These are all namespaces there are: after a new list.
    Namespaces(Vec<NamespaceRow>),
    /// Something changed about volumes or what says where they can be had.
    Storage(Change),
    /// A disruption budget as it is now.
    Budget(BudgetRow),
    /// The disruption budget of this namespace and name is gone.
    BudgetGone(Box<str>, Box<str>),
    /// These are all disruption budgets there are: after a new list.
    Budgets(Vec<BudgetRow>),
    /// A Service or controller as it is now.
    Kindred(KindredRow),
    /// The Service or controller of this namespace and name is gone.
    KindredGone(Keeper, Box<str>, Box<str>),
    /// These are all of a kind: after a new list.
    AllKindred(Keeper, Vec<KindredRow>),
    /// A PodGroup as it is now.
    PodGroup(PodGroupRow),
    /// The PodGroup of this namespace and name is gone.
    PodGroupGone(Box<str>, Box<str>),
    /// These are all PodGroups there are: after a new list.
    PodGroups(Vec<PodGroupRow>),
    /// A pod that was to be displaced could not be asked to go.
    EvictionFailed {
        /// The uid of the pod that stays.
        victim: Box<str>,
        /// The uid of the pod that it was to make room for.
        preemptor: Box<str>,
    },
    /// The binding of the pod of this uid did not happen, for certain: it may be tried again after a pause. Who is not
    /// certain reads the pod again and reports what he saw.
    BindFailed(Box<str>),
    /// What the extenders said about the pod of this uid, asked with this ticket.
    Advised(Box<str>, u64, Advice),
}

/// What is fixed for the life of a scheduler.
#[derive(Clone, Debug)]
pub struct Config {
    /// The scheduler names that it answers to, and what they stand for. Pods of other names are left alone.
    pub profiles: Vec<Arc<Profile>>,
    /// Decides between equally good nodes. Schedulers that share a cluster should differ in it.
    pub seed: u64,
    /// The memory that class boards may take.
    pub board_bytes: BoardBytes,
    /// The pause after a first failure, in milliseconds.
    pub backoff_first: Millis,
    /// The longest pause, in milliseconds.
    pub backoff_max: Millis,
    /// Which pods each extender is to be asked about; 32 extenders at most.
    pub interests: Vec<Interest>,
    /// The extenders that have a say in who is displaced for those pods, a bit each.
    pub preempting: u32,
    /// Whether the pods of a gang are placed together (feature gate `GangScheduling`).
    pub gangs: bool,
    /// Whether devices stand in for extended resources (feature gate `DRAExtendedResource`).
    pub devices_stand_in: bool,
    /// How many pods of a class with terms about other pods are decided on by a pass over all nodes before what passes
    /// find is kept: keeping it takes as long as some passes, and pays for classes that come again. Changes no decision.
    pub passes_first: u32,
    /// On how many nodes the pods may be that count for a class with terms about other pods, for it to do without a chart
    /// of its own; at most 64. Changes no decision.
    pub ground_nodes_max: usize,
}

/// The memory that class boards may take: more in larger clusters, as a board has a line for each node. Without a board a
/// class is scanned for every pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BoardBytes {
    /// In any case.
    pub least: usize,
    /// For each node, if that is more.
    pub per_node: usize,
}

impl Default for BoardBytes {
    /// Room for some 200 classes, with terms about other pods or without.
    fn default() -> Self {
        Self { least: 256 << 20, per_node: 12 << 10 }
    }
}

impl BoardBytes {
    /// In a cluster of so many nodes.
    #[must_use]
    pub fn of(&self, nodes: usize) -> usize {
        self.least.max(self.per_node.saturating_mul(nodes))
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            profiles: vec![Arc::default()],
            seed: 0,
            board_bytes: BoardBytes::default(),
            backoff_first: BACKOFF_FIRST,
            backoff_max: BACKOFF_MAX,
            interests: Vec::new(),
            preempting: 0,
            gangs: false,
            devices_stand_in: true,
            passes_first: 4,
            ground_nodes_max: 64,
        }
    }
}

/// How many pods are in each queue (`scheduler_pending_pods`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pending {
    /// To be tried.
    pub active: usize,
    /// Pausing.
    pub backoff: usize,
    /// Waiting for a change that helps.
    pub unschedulable: usize,
    /// Held back by gates.
    pub gated: usize,
}

/// How many pods came into the queues, and why (`scheduler_queue_incoming_pods_total`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Arrivals {
    /// New, to be tried.
    pub added: u64,
    /// New or changed, held back by gates.
    pub gated: u64,
    /// To pause after a failed binding.
    pub failed: u64,
    /// To wait: they fit nowhere.
    pub refused: u64,
    /// To be tried after their pause.
    pub rested: u64,
    /// To be tried because they waited for so long.
    pub overdue: u64,
    /// To be tried because something changed that helps.
    pub helped: u64,
}

/// The scheduler.
#[derive(Debug)]
pub struct Scheduler {
    config: Config,
    columns: Columns,
    classes: Classes,
    pods: Pods,
    neighbours: Neighbours,
    seats: Seats,
    budgets: Budgets,
    kindred: Kindred,
    nominations: Nominations,
    queue: Queue,
    gangs: Gangs,
    /// How far trials of gangs that were undone have moved what [`seen`](Self::seen) counts.
    undone: Seen,
    storage: Storage,
    /// The volumes and claims of the pod that was last looked for a node for.
    ask: Option<Ask>,
    rejection: Option<Rejection>,
    /// What was known of DeviceClasses when somebody was last woken for their sake.
    backing: u64,
    /// Pods that are held back because claims of devices are not there, or not theirs.
    missing: HashMap<Key, Vec<PodIndex>, ahash::RandomState>,
    pending: Pending,
    arrivals: Arrivals,
    assumed: usize,
    /// How many pods extenders are being asked about.
    consulting: usize,
    /// Who is to be asked about next.
    put_off: BinaryHeap<Turn>,
    /// Decisions that came of events, to be handed out with the next plan.
    decided: Vec<Decision>,
    scratch: Scratch,
    verdicts: Verdicts,
    /// How many pods of each priority are on nodes.
    placed: BTreeMap<i32, usize>,
    /// Room to list groups in.
    groups: Vec<GroupId>,
    /// Why groups fit nowhere, as of what was seen then.
    reasons: HashMap<(GroupId, refuse::Ending), Reasons, ahash::RandomState>,
    reasons_at: Seen,
    meter: Meter,
}

impl Scheduler {
    /// A scheduler that knows nothing yet.
    #[must_use]
    pub fn new(config: Config) -> Self {
        let queue = Queue::new(config.backoff_first, config.backoff_max);
        Self {
            columns: Columns::new(config.seed),
            classes: Classes::new(&config.profiles, &config.interests, config.board_bytes.of(0)),
            config,
            pods: Pods::default(),
            neighbours: Neighbours::default(),
            seats: Seats::default(),
            budgets: Budgets::default(),
            kindred: Kindred::default(),
            nominations: Nominations::default(),
            scratch: Scratch::default(),
            verdicts: Verdicts::default(),
            placed: BTreeMap::new(),
            queue,
            gangs: Gangs::default(),
            undone: (0, 0, 0),
            pending: Pending::default(),
            arrivals: Arrivals::default(),
            assumed: 0,
            consulting: 0,
            put_off: BinaryHeap::new(),
            decided: Vec::new(),
            groups: Vec::new(),
            reasons: HashMap::with_hasher(fixed_hasher()),
            reasons_at: (0, 0, 0),
            storage: Storage::default(),
            ask: None,
            rejection: None,
            backing: 0,
            missing: HashMap::with_hasher(fixed_hasher()),
            meter: Meter::default(),
        }
    }

    /// The same, timing itself by a clock: a sample of what it does comes with each plan.
    #[must_use]
    pub fn timed_by(mut self, stopwatch: Box<dyn Stopwatch>) -> Self {
        self.meter.lend(stopwatch);
        self
    }

    /// Takes in `events` and decides on at most `limit` pods. `now` must not go back.
    pub fn step(&mut self, now: Millis, events: impl IntoIterator<Item = Event>, limit: usize) -> Plan {
        for event in events {
            self.take_in(now, event);
        }
        self.let_in(now);
        self.release_rested(now);
        self.recall();
        self.hear_of_backing();
        self.wake();
        let mut plan = Plan { decisions: std::mem::take(&mut self.decided), ..Plan::default() };
        loop {
            while plan.decisions.len() < limit {
                let Some(turn) = self.queue.pop() else { break };
                if let Some(index) = self.current(turn.pod(), turn.ticket(), State::Active) {
                    plan.decisions.extend(match self.standing(index) {
                        Standing::Alone => self.decide(now, index),
                        Standing::Together(needed) => self.decide_together(now, index, needed),
                        Standing::NotYet => {
                            self.hold_back(index);
                            None
                        }
                    });
                }
            }
            if !self.queue.is_idle() {
                plan.more = true;
                break;
            }
            // What was just placed may have gone elsewhere than those woken for it; nobody may be left behind.
            if !self.wake() {
                break;
            }
        }
        plan.next_wake = self.queue.next_wake();
        plan.laps = std::mem::take(&mut self.meter.laps);
        plan
    }

    /// Applies an event, timing it if it is its turn.
    fn take_in(&mut self, now: Millis, event: Event) {
        let began = self.meter.event();
        let label = if began.is_timed() { self.label(&event) } else { "" };
        self.apply(now, event);
        self.meter.end(began, || Timed::Event(label));
    }

    /// Upstream's label of what happened.
    fn label(&self, event: &Event) -> &'static str {
        let pod_known = |uid: &str| self.pods.find(uid).and_then(|index| self.pods.get(index));
        match event {
            Event::Node(row) if self.columns.find(&row.name).is_some() => "NodeUpdate",
            Event::Node(_) | Event::Nodes(_) => "NodeAdd",
            Event::NodeGone(_) => "NodeDelete",
            Event::Pod(row) => match (row.node.is_empty(), pod_known(&row.uid).is_some()) {
                (true, false) => "UnscheduledPodAdd",
                (true, true) => "UnscheduledPodUpdate",
                (false, false) => "AssignedPodAdd",
                (false, true) => "AssignedPodUpdate",
            },
            Event::Pods(_) => "PodAdd",
            Event::PodGone(uid) if pod_known(uid).is_some_and(|pod| pod.state.slot().is_none()) => {
                "UnscheduledPodDelete"
            }
            Event::PodGone(_) => "AssignedPodDelete",
            Event::Storage(_) => "StorageUpdate",
            Event::BindFailed(_) | Event::EvictionFailed { .. } => "ScheduleAttemptFailure",
            _ => "WildCardEvent",
        }
    }

    fn apply(&mut self, now: Millis, event: Event) {
        match event {
            Event::Node(row) => self.set_node(*row),
            Event::NodeGone(name) => self.remove_node(&name),
            Event::Nodes(rows) => self.replace_nodes(rows),
            Event::Pods(rows) => self.replace_pods(now, rows),
            Event::Pod(row) => self.set_pod(now, *row),
            Event::PodGone(uid) => {
                if let Some(index) = self.pods.find(&uid) {
                    self.forget(index);
                }
            }
            Event::Namespace(row) => {
                self.neighbours.set_namespace(&row.name, Some(row.labels), || self.pods.placed());
            }
            Event::NamespaceGone(name) => self.neighbours.set_namespace(&name, None, || self.pods.placed()),
            Event::Namespaces(rows) => {
                let there = |name: &str| rows.iter().any(|row| *row.name == *name);
                let gone: Vec<Box<str>> =
                    self.neighbours.namespaces().filter(|name| !there(name)).map(Box::from).collect();
                let gone = gone.into_iter().map(Event::NamespaceGone);
                gone.chain(rows.into_iter().map(Event::Namespace)).for_each(|event| self.apply(now, event));
            }
            Event::Storage(change) => self.storage.apply(change),
            Event::Budget(row) => self.budgets.set(row, || self.pods.placed()),
            Event::BudgetGone(namespace, name) => self.budgets.remove(&namespace, &name),
            Event::Budgets(rows) => self.budgets.replace(rows, || self.pods.placed()),
            Event::Kindred(row) => self.kindred.set(row),
            Event::KindredGone(keeper, namespace, name) => self.kindred.remove(keeper, &namespace, &name),
            Event::AllKindred(keeper, rows) => self.kindred.replace(keeper, rows),
            Event::PodGroup(row) => self.set_group(&row),
            Event::PodGroupGone(namespace, name) => self.remove_group(&namespace, &name),
            Event::PodGroups(rows) => self.replace_groups(&rows),
            Event::EvictionFailed { victim, preemptor } => self.spare(now, &victim, &preemptor),
            Event::BindFailed(uid) => self.take_back(now, &uid),
            Event::Advised(uid, ticket, advice) => {
                let decision = self.advised(now, &uid, ticket, advice);
                self.decided.extend(decision);
            }
        }
    }

    fn set_node(&mut self, row: NodeRow) {
        let name = row.name.clone();
        if self.columns.set_node(row) {
            self.try_nominated(&name);
        }
        self.classes.allow(self.config.board_bytes.of(self.columns.slots()));
    }

    fn remove_node(&mut self, name: &str) {
        if self.columns.remove_node(name) {
            self.try_nominated(name);
        }
    }

    fn replace_nodes(&mut self, rows: Vec<NodeRow>) {
        let there: HashSet<&str> = rows.iter().map(|row| &*row.name).collect();
        let known = (0..self.columns.slots() as Slot).filter(|slot| self.columns.is_present(*slot));
        let names = known.map(|slot| self.columns.name(slot));
        let gone: Vec<Box<str>> = names.filter(|name| !there.contains(name)).map(Box::from).collect();
        drop(there);
        gone.iter().for_each(|name| self.remove_node(name));
        rows.into_iter().for_each(|row| self.set_node(row));
    }

    fn replace_pods(&mut self, now: Millis, rows: Vec<PodRow>) {
        let there: HashSet<&str> = rows.iter().map(|row| &*row.uid).collect();
        let gone = self.pods.iter().filter(|(_, pod)| !there.contains(&*pod.id.uid));
        let gone: Vec<PodIndex> = gone.map(|(index, _)| index).collect();
        drop(there);
        for index in gone {
            self.forget(index);
        }
        for row in rows {
            self.set_pod(now, row);
        }
    }

    /// One pod's decision.
    fn decide(&mut self, now: Millis, index: PodIndex) -> Option<Decision> {
        let pod = self.pods.at(index);
        pod.attempts += 1;
        self.renew(index);
        let class = self.pods.at(index).class;
        self.meter.decide();
        let began = self.meter.begin();
        let found = self.find(index);
        let (profile, passed) = (self.classes.get(class).demand.profile, found.is_some());
        self.meter.end(began, || Timed::Point { point: Point::Filter, profile, passed });
        self.evaluated(index);
        let decision = match found {
            None => self.refuse(now, index),
            Some(_) if self.classes.get(class).interests != 0 => self.consult(index),
            Some(Found { slot, score, .. }) => {
                let began = self.meter.begin();
                let placed = self.place(index, slot, score);
                self.meter.end(began, || Timed::Point { point: Point::Reserve, profile, passed: true });
                Some(placed)
            }
        };
        self.meter.decided();
        decision
    }

    /// Counts which plugins had a say in a decision.
    fn evaluated(&mut self, index: PodIndex) {
        let pod = self.pods.at(index);
        let (class, volumes) = (self.classes.get(pod.class), pod.tenant.is_some());
        let filters = meter::filters(&class.profile, &class.demand, volumes, self.neighbours.anybody_forbids());
        let scores = meter::scores(&class.profile, &class.demand);
        self.meter.tallies.evaluated(class.demand.profile, filters, scores);
    }

    /// Assumes that a pod runs on a node.
    fn place(&mut self, index: PodIndex, slot: Slot, score: u32) -> Decision {
        let preparation = self.prepare(index, slot);
        self.settle(index, State::Assumed(slot));
        Decision::Bind(self.placement(index, slot, score, preparation))
    }

    /// What is to be bound of a pod that is assumed to run on a node.
    fn placement(
        &mut self,
        index: PodIndex,
        slot: Slot,
        score: u32,
        preparation: Option<Arc<Preparation>>,
    ) -> Placement {
        let class = self.pods.at(index).class;
        let node = self.columns.shared_name(slot);
        let pod = self.pods.at(index);
        let flushed = std::mem::take(&mut pod.overdue);
        let (attempts, since) = (pod.attempts, pod.since);
        let pod = Arc::clone(&pod.id);
        self.meter.tallies.placed_after_flush += u64::from(flushed);
        let class = self.classes.get(class);
        let (profile, interests) = (class.demand.profile, class.interests);
        Placement { pod, node, score, attempts, since, profile, interests, preparation }
    }

    /// Which plugins had a say how often, and whom they keep waiting.
    #[must_use]
    pub fn tallies(&self) -> &Tallies {
        &self.meter.tallies
    }

    /// How many pods came into the queues.
    #[must_use]
    pub fn arrivals(&self) -> Arrivals {
        self.arrivals
    }

    /// How many pods are placed and not yet seen bound.
    #[must_use]
    pub fn assumed(&self) -> usize {
        self.assumed
    }

    /// How many pods are in each queue.
    #[must_use]
    pub fn pending(&self) -> Pending {
        self.pending
    }

    /// How often a node was looked at for the sake of a decision: what decisions cost, whatever the machine.
    #[must_use]
    pub fn looks(&self) -> u64 {
        self.classes.looks()
    }

    /// The nodes, to look at.
    #[must_use]
    pub fn columns(&self) -> &Columns {
        &self.columns
    }

    /// The pods, to look at.
    #[must_use]
    pub fn pods(&self) -> &Pods {
        &self.pods
    }
}

/// Never 0, which stands for none.
fn hash(value: &(impl Hash + ?Sized)) -> u64 {
    fixed_hasher().hash_one(value).max(1)
}
