//! The whole cycle on one screen: fold events in, wake whom they help, then one pod after another: best node, assume.
//!
//! [`Scheduler::step`] is called by the scheduling loop's own thread, with everything that happened since the last
//! call. It never blocks and does no I/O. What it decided is in force at once (assumed), whatever becomes of the bind;
//! the loop reports failures back as [`Event::BindFailed`].

pub mod consult;
mod displace;
pub mod explain;
mod find;
mod refuse;
mod volumes;
mod wake;

use std::collections::{BTreeMap, BinaryHeap};
use std::hash::Hash;
use std::sync::Arc;

use hashbrown::{HashMap, HashSet};

use crate::budgets::Budgets;
use crate::class::{ClassId, Classes};
use crate::columns::{Columns, Slot};
use crate::intern::fixed_hasher;
use crate::kindred::{self, Kindred};
use crate::neighbours::Neighbours;
use crate::nominations::Nominations;
use crate::plan::{Decision, Millis, Placement, Plan, PodId, Reasons};
use crate::pods::{Pod, PodIndex, Pods, State};
use crate::profile::{Plugin, Profile, ProfileId};
use crate::queue::{BACKOFF_FIRST, BACKOFF_MAX, GroupId, Queue, Seen, Turn};
use crate::rows::storage::Change;
use crate::rows::{BudgetRow, Demand, Keeper, KindredRow, NamespaceRow, NodeRow, PodRow};
use crate::seats::{Seat, Seats, moment};
use crate::storage::ask::{Ask, Rejection};
use crate::storage::{Storage, Tenant};
use crate::wide::{Scratch, WideRules};

use consult::{Advice, Interest};
use find::Found;

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
    /// The memory that class boards may take, in bytes.
    pub board_bytes_max: usize,
    /// The pause after a first failure, in milliseconds.
    pub backoff_first: Millis,
    /// The longest pause, in milliseconds.
    pub backoff_max: Millis,
    /// Which pods each extender is to be asked about; 32 extenders at most.
    pub interests: Vec<Interest>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            profiles: vec![Arc::default()],
            seed: 0,
            board_bytes_max: 256 << 20,
            backoff_first: BACKOFF_FIRST,
            backoff_max: BACKOFF_MAX,
            interests: Vec::new(),
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
    storage: Storage,
    /// The volumes of the pod that was last looked for a node for.
    ask: Option<Ask>,
    rejection: Option<Rejection>,
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
    /// How many pods of each priority are on nodes.
    placed: BTreeMap<i32, usize>,
    /// Why groups fit nowhere, as of what was seen then.
    reasons: HashMap<(GroupId, refuse::Ending), Reasons, ahash::RandomState>,
    reasons_at: Seen,
}

impl Scheduler {
    /// A scheduler that knows nothing yet.
    #[must_use]
    pub fn new(config: Config) -> Self {
        let queue = Queue::new(config.backoff_first, config.backoff_max);
        Self {
            columns: Columns::new(config.seed),
            classes: Classes::new(&config.profiles, &config.interests, config.board_bytes_max),
            config,
            pods: Pods::default(),
            neighbours: Neighbours::default(),
            seats: Seats::default(),
            budgets: Budgets::default(),
            kindred: Kindred::default(),
            nominations: Nominations::default(),
            scratch: Scratch::default(),
            placed: BTreeMap::new(),
            queue,
            pending: Pending::default(),
            arrivals: Arrivals::default(),
            assumed: 0,
            consulting: 0,
            put_off: BinaryHeap::new(),
            decided: Vec::new(),
            reasons: HashMap::with_hasher(fixed_hasher()),
            reasons_at: (0, 0, 0),
            storage: Storage::default(),
            ask: None,
            rejection: None,
        }
    }

    /// Takes in `events` and decides on at most `limit` pods. `now` must not go back.
    pub fn step(&mut self, now: Millis, events: impl IntoIterator<Item = Event>, limit: usize) -> Plan {
        for event in events {
            self.apply(now, event);
        }
        self.release_rested(now);
        self.recall();
        self.wake();
        let mut plan = Plan { decisions: std::mem::take(&mut self.decided), ..Plan::default() };
        loop {
            while plan.decisions.len() < limit {
                let Some(turn) = self.queue.pop() else { break };
                if let Some(index) = self.current(turn.pod(), turn.ticket(), State::Active) {
                    plan.decisions.extend(self.decide(now, index));
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
        plan
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
            Event::Budget(row) => self.budgets.set(row),
            Event::BudgetGone(namespace, name) => self.budgets.remove(&namespace, &name),
            Event::Budgets(rows) => self.budgets.replace(rows),
            Event::Kindred(row) => self.kindred.set(row),
            Event::KindredGone(keeper, namespace, name) => self.kindred.remove(keeper, &namespace, &name),
            Event::AllKindred(keeper, rows) => self.kindred.replace(keeper, rows),
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

    /// A pod came or changed.
    fn set_pod(&mut self, now: Millis, row: PodRow) {
        let known = self.pods.find(&row.uid);
        if row.terminal {
            known.into_iter().for_each(|index| self.forget(index));
            return;
        }
        let PodRow { namespace, name, uid, labels, node, scheduler, priority, never_preempts, .. } = row;
        let profile = self.profile(&scheduler);
        let mut demand = Demand { profile: profile.unwrap_or_default(), ..row.demand };
        let placed = !node.is_empty() || known.is_some_and(|index| self.pods.at(index).state.slot().is_some());
        if profile.is_some() && placed {
            // It keeps what it was placed by: its class must not change because it is bound now.
            self.keep_defaults(&mut demand, known);
        } else if profile.is_some() {
            self.add_defaults(&mut demand, &namespace, &labels, row.owner.as_ref());
        }
        let index = match known {
            Some(index) => {
                self.change_class(index, demand);
                let pod = self.pods.at(index);
                pod.displaced = row.displaced;
                pod.owner = row.owner;
                // Looked for again before the next decision, if there is one.
                pod.kindred = if placed { u64::MAX } else { self.kindred.version() };
                pod.doomed &= !row.deleting;
                let policy = std::mem::replace(&mut pod.never_preempts, never_preempts);
                let before = std::mem::replace(&mut pod.started, moment(&row.started));
                if pod.state == State::Waiting && policy != never_preempts {
                    self.activate(index);
                }
                if before != self.pods.at(index).started {
                    self.reseat(index);
                }
                let pod = self.pods.at(index);
                if *pod.labels != *labels || pod.leaving != row.deleting {
                    self.change_passport(index, labels, row.deleting);
                }
                let pod = self.pods.at(index);
                if pod.priority != priority {
                    let state = pod.state;
                    // Its place in the queue is made of the priority: leave, change, come back.
                    self.move_to(index, State::Aside);
                    let before = std::mem::replace(&mut self.pods.at(index).priority, priority);
                    let placed = state.slot().is_some();
                    self.count_placed(before, false, placed);
                    self.count_placed(priority, placed, false);
                    if state.is_pending() {
                        self.activate(index);
                    } else {
                        self.move_to(index, state);
                    }
                    self.reseat(index);
                    self.touch(index);
                }
                index
            }
            None => {
                let told = row.refused_because.map_or(0, |message| hash(&*message));
                let class = self.join(demand);
                let id = PodId { namespace, name, uid };
                let tenant = row.needs.map(|needs| Arc::new(Tenant { id: id.clone(), needs: *needs }));
                self.pods.add(Pod {
                    id,
                    class,
                    state: State::Aside,
                    priority,
                    never_preempts,
                    labels: labels.into(),
                    started: moment(&row.started),
                    ticket: 0,
                    since: now,
                    attempts: 0,
                    failures: 0,
                    told,
                    overdue: false,
                    leaving: row.deleting,
                    scheduled: profile.is_some(),
                    displaced: row.displaced,
                    owner: row.owner,
                    kindred: self.kindred.version(),
                    doomed: false,
                    nominated: "".into(),
                    told_nominated: "".into(),
                    kin: 0,
                    tenant,
                    volumes: None,
                })
            }
        };
        let told = std::mem::replace(&mut self.pods.at(index).told_nominated, row.nominated);
        if !node.is_empty() {
            let slot = self.columns.slot(&node);
            if self.pods.at(index).state.slot() != Some(slot) {
                self.take_back_volumes(index);
            }
            self.settle(index, State::Bound(slot));
            return;
        }
        let state = self.pods.at(index).state;
        if matches!(state, State::Assumed(_) | State::Bound(_)) {
            // An older sight of a pod whose binding is under way, or went through: the evidence will come.
            return;
        }
        let profile = profile.map(|id| &self.config.profiles[usize::from(id)]);
        let gates = profile.is_some_and(|profile| profile.pre_enqueue.has(Plugin::SchedulingGates));
        if profile.is_none() || row.deleting {
            self.move_to(index, State::Aside);
            self.nominate(index, "");
            return;
        }
        if row.gated && gates {
            self.arrivals.gated += u64::from(state != State::Gated);
            self.move_to(index, State::Gated);
        } else if !state.is_pending() {
            self.pods.at(index).since = now;
            self.arrivals.added += 1;
            self.activate(index);
        }
        // What others write counts when it changes; in between, what was decided here does.
        let word = self.pods.at(index).told_nominated.clone();
        if word != told {
            self.nominate(index, &word);
        }
    }

    /// The profile's spread constraints, for a pod that has none and that something selects.
    fn add_defaults(
        &self,
        demand: &mut Demand,
        namespace: &str,
        labels: &[(Box<str>, Box<str>)],
        owner: Option<&(Keeper, Box<str>)>,
    ) {
        let profile = &self.config.profiles[usize::from(demand.profile)];
        let plugin = Plugin::PodTopologySpread;
        let asked = profile.weights.of(plugin) > 0 || profile.filters.has(plugin);
        if !demand.spread.is_empty() || !asked {
            return;
        }
        if let Some(selector) = self.kindred.selector(namespace, labels, owner) {
            kindred::add_defaults(demand, &profile.spread_defaults, selector, namespace, labels);
        }
    }

    /// The profile's constraints that a pod was placed by.
    fn keep_defaults(&mut self, demand: &mut Demand, known: Option<PodIndex>) {
        let Some(index) = known else { return };
        let class = self.pods.at(index).class;
        let before = &self.classes.get(class).demand;
        if before.defaulted && demand.spread.is_empty() {
            demand.spread.clone_from(&before.spread);
            if demand.own.is_none() {
                demand.own.clone_from(&before.own);
            }
            (demand.defaulted, demand.lenient) = (true, before.lenient);
        }
    }

    /// Looks for a pod's default constraints again when Services or controllers have changed, as each decision sees them
    /// as they are.
    fn renew_defaults(&mut self, index: PodIndex) {
        let version = self.kindred.version();
        let pod = self.pods.at(index);
        if std::mem::replace(&mut pod.kindred, version) == version {
            return;
        }
        let (class, id, labels, owner) = (pod.class, pod.id.clone(), pod.labels.clone(), pod.owner.clone());
        let old = Arc::clone(&self.classes.get(class).demand);
        let mut demand = (*old).clone();
        if demand.defaulted {
            demand.spread.clear();
            (demand.defaulted, demand.lenient) = (false, false);
            if demand.pods.is_none() {
                demand.own = None;
            }
        }
        self.add_defaults(&mut demand, &id.namespace, &labels, owner.as_ref());
        if demand != *old {
            let new = self.join(demand);
            self.pods.at(index).class = new;
            self.leave(class);
        }
    }

    /// The profile of a scheduler's name, if it is one of ours.
    fn profile(&self, scheduler: &str) -> Option<ProfileId> {
        let at = self.config.profiles.iter().position(|profile| *profile.name == *scheduler)?;
        Some(ProfileId::try_from(at).expect("checked when it was configured"))
    }

    /// The class of a demand, joined by one more pod.
    fn join(&mut self, demand: Demand) -> ClassId {
        let id = self.classes.join(&mut self.columns, demand);
        let class = self.classes.get(id);
        if class.wide.is_none() && class.demand.own.is_some() {
            let demand = Arc::clone(&class.demand);
            let placed = || self.pods.placed();
            let rules = WideRules::new(&mut self.columns, &mut self.neighbours, &demand, placed);
            self.classes.get_mut(id).wide = rules.map(Box::new);
        }
        id
    }

    fn leave(&mut self, class: ClassId) {
        for rules in self.classes.leave(class) {
            rules.release(&mut self.neighbours);
        }
    }

    /// Gives a pod another class when its demand has changed; a waiting pod is then worth another try.
    fn change_class(&mut self, index: PodIndex, demand: Demand) {
        let old = self.pods.at(index).class;
        if *self.classes.get(old).demand == demand {
            return;
        }
        let new = self.join(demand);
        let state = self.pods.at(index).state;
        // Leaves the waiting room, which is the old class's.
        self.move_to(index, State::Aside);
        if let Some(slot) = state.slot() {
            // The new load first: a slot whose node is gone lives only as long as a pod is on it.
            self.columns.occupy(slot, &self.classes.get(new).load);
            self.tell_neighbours(index, slot, false);
            self.pods.at(index).class = new;
            self.tell_neighbours(index, slot, true);
            self.columns.vacate(slot, &self.classes.get(old).load);
        }
        self.pods.at(index).class = new;
        self.reseat(index);
        self.touch(index);
        self.leave(old);
        if state.is_pending() {
            self.activate(index);
        } else {
            self.move_to(index, state);
        }
    }

    /// Gives a pod other labels, or marks it as terminating: others' terms may see it differently.
    fn change_passport(&mut self, index: PodIndex, labels: Vec<(Box<str>, Box<str>)>, leaving: bool) {
        let state = self.pods.at(index).state;
        if let Some(slot) = state.slot() {
            self.tell_neighbours(index, slot, false);
        }
        if state == State::Waiting {
            self.activate(index);
        }
        let pod = self.pods.at(index);
        pod.labels = labels.into();
        pod.leaving = leaving;
        self.touch(index);
        if let Some(slot) = state.slot() {
            self.tell_neighbours(index, slot, true);
        }
    }

    /// A pod enters or leaves a node, as far as others' terms are concerned.
    fn tell_neighbours(&mut self, index: PodIndex, slot: Slot, enters: bool) {
        let Some(pod) = self.pods.get(index) else { return };
        let holds = self.classes.get(pod.class).wide.as_ref().map_or(&[][..], |rules| &rules.holds);
        self.neighbours.moved(slot, pod.passport(), holds, enters);
        if let Some(tenant) = &pod.tenant {
            self.storage.moved(slot, tenant, enters);
        }
    }

    fn forget(&mut self, index: PodIndex) {
        self.take_back_volumes(index);
        self.settle(index, State::Aside);
        self.nominate(index, "");
        if let Some(pod) = self.pods.remove(index) {
            self.leave(pod.class);
        }
    }

    /// A binding failed: the pod leaves its node and pauses.
    fn take_back(&mut self, now: Millis, uid: &str) {
        let Some(index) = self.pods.find(uid) else { return };
        if !matches!(self.pods.at(index).state, State::Assumed(_)) {
            return;
        }
        self.take_back_volumes(index);
        self.settle(index, State::Aside);
        if self.pods.at(index).leaving {
            return;
        }
        self.pause(now, index);
    }

    /// A pod pauses before it is tried again.
    fn pause(&mut self, now: Millis, index: PodIndex) {
        let ticket = self.queue.ticket();
        self.move_to(index, State::Backoff);
        self.arrivals.failed += 1;
        let pod = self.pods.at(index);
        pod.failures += 1;
        pod.ticket = ticket;
        self.queue.back_off(now, pod.failures, ticket, index);
    }

    /// Moves a pod between nodes and none, with what it holds there.
    fn settle(&mut self, index: PodIndex, state: State) {
        let pod = self.pods.at(index);
        let (class, before, priority) = (pod.class, pod.state.slot(), pod.priority);
        if before != state.slot() {
            self.count_placed(priority, state.slot().is_some(), before.is_some());
            if let Some(slot) = before {
                if !self.nominations.is_empty() {
                    let name: Box<str> = self.columns.name(slot).into();
                    self.try_nominated(&name);
                }
                self.columns.vacate(slot, &self.classes.get(class).load);
                self.tell_neighbours(index, slot, false);
                self.seats.leave(slot, index);
            }
            if let Some(slot) = state.slot() {
                self.columns.occupy(slot, &self.classes.get(class).load);
                self.tell_neighbours(index, slot, true);
                self.sit(index, slot);
                self.nominate(index, "");
            }
        }
        self.move_to(index, state);
    }

    /// Takes a pod's seat on its node, in the order of importance.
    fn sit(&mut self, index: PodIndex, slot: Slot) {
        let Some(pod) = self.pods.get(index) else { return };
        let seat = Seat { priority: pod.priority, started: pod.started, pod: index, class: pod.class };
        let uid = |index| self.pods.get(index).map(|pod| &pod.id.uid);
        self.seats.enter(slot, seat, |a, b| uid(a).cmp(&uid(b)));
    }

    /// Takes its seat anew, when what it is made of has changed.
    fn reseat(&mut self, index: PodIndex) {
        if let Some(slot) = self.pods.at(index).state.slot() {
            self.seats.leave(slot, index);
            self.sit(index, slot);
        }
    }

    /// Something about a pod is different that others see: those who wait for its node look again.
    fn touch(&mut self, index: PodIndex) {
        let pod = self.pods.at(index);
        if let Some(slot) = pod.state.slot() {
            self.columns.touch(slot);
        } else if !pod.nominated.is_empty()
            && let Some(slot) = self.columns.find(&pod.nominated)
        {
            self.columns.touch(slot);
        }
    }

    fn count_placed(&mut self, priority: i32, is: bool, was: bool) {
        let count = self.placed.entry(priority).or_default();
        *count = *count + usize::from(is) - usize::from(was);
        if *count == 0 {
            self.placed.remove(&priority);
        }
    }

    /// Changes a pod's state and the counts; takes it out of the waiting room if it was there.
    fn move_to(&mut self, index: PodIndex, state: State) {
        let pod = self.pods.at(index);
        let before = std::mem::replace(&mut pod.state, state);
        if before == State::Waiting && state != State::Waiting {
            let turn = Turn::new(pod.priority, pod.ticket, index);
            self.queue.stop_waiting((pod.class, pod.kin), turn);
            if pod.tenant.is_some() {
                self.storage.hush((pod.class, pod.kin));
            }
        }
        for (state, by) in [(before, -1), (state, 1)] {
            let count = match state {
                State::Active => &mut self.pending.active,
                State::Consulting => &mut self.consulting,
                State::Backoff => &mut self.pending.backoff,
                State::Waiting => &mut self.pending.unschedulable,
                State::Gated => &mut self.pending.gated,
                State::Assumed(_) => &mut self.assumed,
                State::Aside | State::Bound(_) => continue,
            };
            *count = count.wrapping_add_signed(by);
        }
    }

    fn activate(&mut self, index: PodIndex) {
        self.move_to(index, State::Active);
        let ticket = self.queue.ticket();
        let pod = self.pods.at(index);
        pod.ticket = ticket;
        self.queue.activate(Turn::new(pod.priority, ticket, index));
    }

    /// The pod that an entry of a queue is about, if the entry is not stale.
    fn current(&self, index: PodIndex, ticket: u64, state: State) -> Option<PodIndex> {
        self.pods.get(index).is_some_and(|pod| pod.ticket == ticket && pod.state == state).then_some(index)
    }

    fn release_rested(&mut self, now: Millis) {
        while let Some((ticket, index)) = self.queue.rested(now) {
            if let Some(index) = self.current(index, ticket, State::Backoff) {
                self.arrivals.rested += 1;
                self.activate(index);
            }
        }
        while let Some((ticket, index)) = self.queue.overdue(now) {
            if let Some(index) = self.current(index, ticket, State::Waiting) {
                self.pods.at(index).overdue = true;
                self.arrivals.overdue += 1;
                self.activate(index);
            }
        }
    }

    /// One pod's decision.
    fn decide(&mut self, now: Millis, index: PodIndex) -> Option<Decision> {
        let pod = self.pods.at(index);
        pod.attempts += 1;
        self.renew_defaults(index);
        let class = self.pods.at(index).class;
        if self.classes.get(class).demand.unsupported.is_some() {
            return Some(self.refuse(now, index));
        }
        let Some(Found { slot, score, .. }) = self.find(index) else { return Some(self.refuse(now, index)) };
        if self.classes.get(class).interests != 0 {
            return self.consult(index);
        }
        Some(self.place(index, slot, score))
    }

    /// Assumes that a pod runs on a node.
    fn place(&mut self, index: PodIndex, slot: Slot, score: u32) -> Decision {
        let class = self.pods.at(index).class;
        let volumes = self.assume_volumes(index, slot);
        self.settle(index, State::Assumed(slot));
        let node = self.columns.name(slot).into();
        let pod = self.pods.at(index);
        pod.overdue = false;
        let (attempts, since) = (pod.attempts, pod.since);
        let pod = pod.id.clone();
        let class = self.classes.get(class);
        let (profile, interests) = (class.demand.profile, class.interests);
        Decision::Bind(Placement { pod, node, score, attempts, since, profile, interests, volumes })
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
