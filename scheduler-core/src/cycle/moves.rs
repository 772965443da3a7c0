//! What becomes of a pod: it comes, changes and goes, joins a class, takes a seat and leaves it, and moves from queue to
//! queue.
//!
//! Every change of a pod's state goes through [`Scheduler::settle`], which keeps seats, counts and neighbours in step with
//! it; [`Scheduler::move_to`] keeps the figures of the queues.

use std::sync::Arc;

use super::{Scheduler, hash};
use crate::class::ClassId;
use crate::columns::Slot;
use crate::gangs::Standing;
use crate::plan::{Millis, PodId};
use crate::pods::{Pod, PodIndex, State};
use crate::profile::{Plugin, ProfileId};
use crate::queue::Turn;
use crate::rows::{Demand, PodRow};
use crate::seats::{self, Seat, moment};
use crate::storage::Tenant;
use crate::wide::WideRules;

impl Scheduler {
    /// A pod came or changed.
    pub(super) fn set_pod(&mut self, now: Millis, row: PodRow) {
        let known = self.pods.find(&row.uid);
        if row.terminal {
            known.into_iter().for_each(|index| self.forget(index));
            return;
        }
        let needs = self.noted(row.needs);
        let PodRow { namespace, name, uid, labels, node, scheduler, priority, never_preempts, .. } = row;
        let profile = self.profile(&scheduler);
        let mut demand = Demand { profile: profile.unwrap_or_default(), ..row.demand };
        let placed = !node.is_empty() || known.is_some_and(|index| self.pods.at(index).state.slot().is_some());
        if profile.is_some() && placed {
            // It keeps what it was placed by: its class must not change because it is bound now.
            self.keep_defaults(&mut demand, known);
        } else if profile.is_some() {
            self.add_defaults(&mut demand, &namespace, &labels, row.owner.as_ref());
            self.back(&mut demand, needs.as_deref());
        }
        let index = match known {
            Some(index) => {
                self.change_class(index, demand);
                self.change_needs(index, needs);
                let pod = self.pods.at(index);
                pod.displaced = row.displaced;
                pod.owner = row.owner;
                // Looked for again before the next decision, if there is one.
                pod.kindred = if placed { u64::MAX } else { self.kindred.version() };
                if placed {
                    pod.backing = u64::MAX;
                }
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
                let id = Arc::new(PodId { namespace, name, uid });
                let needs = needs.map(|needs| Arc::new(Tenant { id: (*id).clone(), needs: *needs }));
                let tenant = self.in_force(needs.as_ref());
                let index = self.pods.add(Pod {
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
                    kindred: if placed { u64::MAX } else { self.kindred.version() },
                    backing: u64::MAX,
                    doomed: false,
                    nominated: "".into(),
                    told_nominated: "".into(),
                    kin: 0,
                    gang: None,
                    waits_with_gang: false,
                    gated: false,
                    needs,
                    tenant,
                    preparation: None,
                    failed: false,
                    refused_by: None,
                });
                self.join_gang(index, &row.group);
                index
            }
        };
        let told = std::mem::replace(&mut self.pods.at(index).told_nominated, row.nominated);
        if !node.is_empty() {
            let slot = self.columns.slot(&node);
            if self.pods.at(index).state.slot() != Some(slot) {
                self.take_back_preparation(index);
            }
            self.settle(index, State::Bound(slot));
            return;
        }
        let state = self.pods.at(index).state;
        if matches!(state, State::Assumed(_) | State::Bound(_)) {
            // An older sight of a pod whose binding is under way, or went through: the evidence will come.
            return;
        }
        let profile = profile.map(|id| Arc::clone(&self.config.profiles[usize::from(id)]));
        let Some(profile) = profile.filter(|_| !row.deleting) else {
            self.move_to(index, State::Aside);
            self.nominate(index, "");
            return;
        };
        let gates = row.gated && profile.pre_enqueue.has(Plugin::SchedulingGates);
        let held = gates || !state.is_pending() && !self.has_its_claims(index, &profile);
        self.pods.at(index).gated = held;
        if held {
            self.arrivals.gated += u64::from(state != State::Gated);
            self.move_to(index, State::Gated);
        } else if !state.is_pending() && self.standing(index) == Standing::NotYet {
            self.pods.at(index).since = now;
            self.arrivals.gated += u64::from(state != State::Gated);
            self.hold_back(index);
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

    /// The profile of a scheduler's name, if it is one of ours.
    pub(super) fn profile(&self, scheduler: &str) -> Option<ProfileId> {
        let at = self.config.profiles.iter().position(|profile| *profile.name == *scheduler)?;
        Some(ProfileId::try_from(at).expect("checked when it was configured"))
    }

    /// The class of a demand, joined by one more pod.
    pub(super) fn join(&mut self, demand: Demand) -> ClassId {
        let id = self.classes.join(&mut self.columns, demand);
        let class = self.classes.get(id);
        if class.wide.is_none() && class.demand.own.is_some() {
            let demand = Arc::clone(&class.demand);
            let placed = || self.pods.placed();
            let rules = WideRules::new(&mut self.columns, &mut self.neighbours, &demand, placed);
            self.classes.get_mut(id).wide = rules.map(Box::new);
            let ground = demand.ground();
            if self.classes.get(id).is_wide() && ground != *demand {
                let ground = self.join(ground);
                self.classes.get_mut(id).ground = Some(ground);
            }
        }
        id
    }

    pub(super) fn leave(&mut self, class: ClassId) {
        for legacy in self.classes.leave(class) {
            if let Some(terms) = legacy.terms {
                terms.release(&mut self.neighbours);
            }
            if let Some(ground) = legacy.ground {
                self.leave(ground);
            }
        }
    }

    /// Gives a pod another class when its demand has changed; a waiting pod is then worth another try.
    pub(super) fn change_class(&mut self, index: PodIndex, demand: Demand) {
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
        if state.is_pending() {
            self.activate(index);
        } else {
            self.move_to(index, state);
        }
        // Its seat and who waits for its room know it by its state, too.
        self.reseat(index);
        self.touch(index);
        self.leave(old);
    }

    /// Gives a pod other labels, or marks it as terminating: others' terms may see it differently.
    pub(super) fn change_passport(&mut self, index: PodIndex, labels: Vec<(Box<str>, Box<str>)>, leaving: bool) {
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
    pub(super) fn tell_neighbours(&mut self, index: PodIndex, slot: Slot, enters: bool) {
        let Some(pod) = self.pods.get(index) else { return };
        let holds = self.classes.get(pod.class).wide.as_ref().map_or(&[][..], |rules| &rules.holds);
        self.neighbours.moved(slot, pod.passport(), holds, enters);
        self.budgets.moved(slot, pod.passport(), enters);
        if let Some(tenant) = &pod.tenant {
            self.storage.moved(slot, tenant, enters);
        }
    }

    pub(super) fn forget(&mut self, index: PodIndex) {
        self.take_back_preparation(index);
        self.stop_missing(index);
        self.settle(index, State::Aside);
        self.nominate(index, "");
        if let Some(pod) = self.pods.remove(index) {
            if let Some(gang) = &pod.gang {
                self.gangs.leave(gang, index);
            }
            self.leave(pod.class);
        }
    }

    /// A binding failed: the pod leaves its node and pauses.
    pub(super) fn take_back(&mut self, now: Millis, uid: &str) {
        let Some(index) = self.pods.find(uid) else { return };
        if !matches!(self.pods.at(index).state, State::Assumed(_)) {
            return;
        }
        self.take_back_preparation(index);
        self.settle(index, State::Aside);
        if self.pods.at(index).leaving {
            return;
        }
        self.pause(now, index);
    }

    /// A pod pauses before it is tried again.
    pub(super) fn pause(&mut self, now: Millis, index: PodIndex) {
        let ticket = self.queue.ticket();
        self.move_to(index, State::Backoff);
        self.arrivals.failed += 1;
        let pod = self.pods.at(index);
        pod.failures += 1;
        pod.ticket = ticket;
        self.queue.back_off(now, pod.failures, ticket, index);
    }

    /// Moves a pod between nodes and none, with what it holds there.
    pub(super) fn settle(&mut self, index: PodIndex, state: State) {
        let before = self.pods.at(index).state.slot();
        if before != state.slot() {
            if let Some(slot) = before {
                if !self.nominations.is_empty() {
                    let name: Box<str> = self.columns.name(slot).into();
                    self.try_nominated(&name);
                }
                self.get_off(index, slot);
            }
            if let Some(slot) = state.slot() {
                self.get_on(index, slot);
                self.nominate(index, "");
            }
        }
        self.move_to(index, state);
        self.release_held(index);
    }

    /// A pod takes what it needs of a node.
    pub(super) fn get_on(&mut self, index: PodIndex, slot: Slot) {
        let pod = self.pods.at(index);
        let (class, priority) = (pod.class, pod.priority);
        self.count_placed(priority, true, false);
        self.columns.occupy(slot, &self.classes.get(class).load);
        self.tell_neighbours(index, slot, true);
        self.sit(index, slot);
    }

    /// A pod gives back what it took of a node.
    pub(super) fn get_off(&mut self, index: PodIndex, slot: Slot) {
        let pod = self.pods.at(index);
        let (class, priority) = (pod.class, pod.priority);
        self.count_placed(priority, false, true);
        self.columns.vacate(slot, &self.classes.get(class).load);
        self.tell_neighbours(index, slot, false);
        self.seats.leave(slot, index);
    }

    /// Takes a pod's seat on its node, in the order of importance.
    pub(super) fn sit(&mut self, index: PodIndex, slot: Slot) {
        let Some(pod) = self.pods.get(index) else { return };
        let takes = seats::takes(&self.classes.get(pod.class).load);
        let seat = Seat { priority: pod.priority, started: pod.started, pod: index, class: pod.class, takes };
        let uid = |index| self.pods.get(index).map(|pod| &pod.id.uid);
        self.seats.enter(slot, seat, |a, b| uid(a).cmp(&uid(b)));
    }

    /// Takes its seat anew, when what it is made of has changed.
    pub(super) fn reseat(&mut self, index: PodIndex) {
        if let Some(slot) = self.pods.at(index).state.slot() {
            self.seats.leave(slot, index);
            self.sit(index, slot);
            self.seats.note_reseated(slot);
        }
    }

    /// Something about a pod is different that others see: those who wait for its node look again.
    pub(super) fn touch(&mut self, index: PodIndex) {
        let pod = self.pods.at(index);
        if let Some(slot) = pod.state.slot() {
            self.columns.touch(slot);
        } else if !pod.nominated.is_empty()
            && let Some(slot) = self.columns.find(&pod.nominated)
        {
            self.columns.touch(slot);
        }
    }

    pub(super) fn count_placed(&mut self, priority: i32, is: bool, was: bool) {
        let count = self.placed.entry(priority).or_default();
        *count = *count + usize::from(is) - usize::from(was);
        if *count == 0 {
            self.placed.remove(&priority);
        }
    }

    /// Changes a pod's state and the counts; takes it out of the waiting room if it was there.
    pub(super) fn move_to(&mut self, index: PodIndex, state: State) {
        let pod = self.pods.at(index);
        let before = std::mem::replace(&mut pod.state, state);
        if let Some(gang) = &pod.gang {
            self.gangs.moved(gang, before, state);
        }
        if before == State::Waiting && state != State::Waiting {
            let turn = Turn::new(pod.priority, pod.ticket, index);
            self.queue.stop_waiting((pod.class, pod.kin), turn);
            if pod.tenant.is_some() {
                self.storage.hush((pod.class, pod.kin));
            }
            self.keeps_waiting(index, None);
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

    pub(super) fn activate(&mut self, index: PodIndex) {
        self.move_to(index, State::Active);
        let ticket = self.queue.ticket();
        let pod = self.pods.at(index);
        pod.ticket = ticket;
        self.queue.activate(Turn::new(pod.priority, ticket, index));
    }

    /// The pod that an entry of a queue is about, if the entry is not stale.
    pub(super) fn current(&self, index: PodIndex, ticket: u64, state: State) -> Option<PodIndex> {
        self.pods.get(index).is_some_and(|pod| pod.ticket == ticket && pod.state == state).then_some(index)
    }

    pub(super) fn release_rested(&mut self, now: Millis) {
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
}
