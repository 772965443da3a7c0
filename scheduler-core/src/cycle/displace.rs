//! Preemption, upstream's DefaultPreemption: a pod that fits nowhere may take the place of pods of lower priority.
//!
//! All nodes where that could help are tried, where upstream tries a sample of a tenth; the cheapest is chosen, and
//! among equally cheap ones the seeded tie-break decides. The preemptor is nominated to the node and waits there while
//! its victims terminate; pods of lower priority that were nominated to the node look for another. Extenders may have a
//! say in who leaves: they are asked about the candidates first (`consult::victims`).

use std::cmp::Reverse;

use super::Scheduler;
use super::find::Verdicts;
use crate::columns::Slot;
use crate::filter::Verdict;
use crate::filter::tally::Tally;
use crate::plan::{Millis, PodId, Preemption, Victim};
use crate::pods::{PodIndex, State};
use crate::preempt::{Candidate, Outcome, Price, Sitters};
use crate::profile::Plugin;
use crate::storage::ask::Ask;
use crate::wide::Towards;
use crate::wide::whatif::{Case, Tables};

/// What an attempt to displace others comes to.
#[derive(Debug)]
pub(super) enum Attempt {
    /// The profile does not ask for it.
    Unasked,
    /// The pod's policy forbids it.
    Never,
    /// Those it displaced are still on their way out.
    Patience,
    /// No node can be freed: what was found on the nodes where it could have helped.
    Hopeless(Tried),
    /// No node can be freed, and on some node something went wrong that is not for want of room: whatever was decided
    /// about the pod before stands.
    Failed,
    /// The extenders leave no node of those that could be freed.
    Declined(Tried),
    /// One of these nodes, the cheapest first: extenders have a say in which.
    Choice(Vec<Candidate>),
    /// This node.
    Candidate(Candidate),
}

/// What dry runs found that led nowhere.
#[derive(Clone, Debug, Default)]
pub(super) struct Tried {
    pub(super) without_victims: u32,
    pub(super) still_failing: Tally,
    /// Why extenders could not be asked about it, or failed.
    pub(super) failure: Option<String>,
}

impl Scheduler {
    /// Looks for the node that is freed at the least cost, or all that could be where extenders have a say; after no node
    /// was [found](Self::find), or extenders turned down all that were.
    pub(super) fn attempt(&mut self, index: PodIndex) -> Attempt {
        let Some(pod) = self.pods.get(index) else { return Attempt::Unasked };
        if !self.classes.get(pod.class).profile.post_filters.has(Plugin::DefaultPreemption) {
            return Attempt::Unasked;
        }
        if pod.never_preempts {
            return Attempt::Never;
        }
        let priority = pod.priority;
        if self.must_have_patience(index) {
            return Attempt::Patience;
        }
        if !self.anybody_below(priority) {
            let helpful = self.tally(index).turned_down().filter(|(v, _)| !v.is_unresolvable()).map(|(_, n)| n).sum();
            return Attempt::Hopeless(Tried { without_victims: helpful, ..Tried::default() });
        }
        let mut tried = Tried::default();
        if self.extenders_choose(index) {
            let candidates = self.choice(index, &mut tried);
            return if candidates.is_empty() { self.hopeless(tried) } else { Attempt::Choice(candidates) };
        }
        let candidate = if self.verdicts == Verdicts::OnBoard && self.is_about_amounts(index) {
            self.cheapest_by_prices(index, &mut tried)
        } else {
            let helpful = self.helpful(index);
            self.cheapest(index, helpful.into_iter(), &mut tried)
        };
        match candidate {
            Some(candidate) => Attempt::Candidate(candidate),
            None => self.hopeless(tried),
        }
    }

    /// No node can be freed.
    fn hopeless(&self, tried: Tried) -> Attempt {
        match self.ask.as_ref().and_then(Ask::failure) {
            Some(_) => Attempt::Failed,
            None => Attempt::Hopeless(tried),
        }
    }

    /// The nodes where removing pods could help.
    fn helpful(&mut self, index: PodIndex) -> Vec<Slot> {
        self.lay_out(index);
        self.classes.count_looks(self.columns.slots());
        let verdicts = (0..).zip(&self.scratch.verdicts);
        verdicts.filter(|(_, verdict)| !verdict.fits() && !verdict.is_unresolvable()).map(|(slot, _)| slot).collect()
    }

    /// All candidates, the cheapest first.
    fn choice(&mut self, index: PodIndex, tried: &mut Tried) -> Vec<Candidate> {
        let helpful = self.helpful(index);
        let mut candidates = Vec::new();
        self.dry_runs(index, helpful.into_iter(), tried, |candidate| candidates.push(candidate));
        candidates.sort_by_cached_key(|candidate| self.cost(candidate));
        candidates
    }

    /// Less is better: what a candidate costs, then the tie-break of its node.
    pub(super) fn cost(&self, candidate: &Candidate) -> (Price, Reverse<u64>) {
        (candidate.price, Reverse(self.columns.tie[candidate.slot as usize]))
    }

    /// Whether amounts alone decide whom a pod could displace: what [`Prices`](crate::preempt::prices::Prices) are kept
    /// for.
    fn is_about_amounts(&self, index: PodIndex) -> bool {
        let Some(pod) = self.pods.get(index) else { return false };
        let class = self.classes.get(pod.class);
        let asks = class.asks();
        self.ask.is_none()
            && asks.ports.is_empty()
            && asks.extended.is_empty()
            && !class.is_wide()
            && !Towards::new(&self.neighbours, pod.passport()).forbid()
    }

    /// The cheapest candidate among all nodes by what is kept of dry runs; the nodes that room is made on for others are
    /// looked at one by one.
    fn cheapest_by_prices(&mut self, index: PodIndex, tried: &mut Tried) -> Option<Candidate> {
        let pod = self.pods.get(index)?;
        let (class, priority) = (pod.class, pod.priority);
        let mut apart: Vec<Slot> = self.rivals(index, priority).into_iter().map(|(slot, _)| slot).collect();
        apart.sort_unstable();
        let sitters = Sitters { pods: &self.pods, seats: &self.seats, budgets: &self.budgets };
        let prices = self.classes.prices(class, priority, &self.columns, sitters);
        let cheapest = prices.cheapest(|slot| apart.binary_search(&slot).is_ok());
        (tried.without_victims, tried.still_failing) = prices.hopeless(apart.iter().copied());
        let board = self.classes.get(class).last_board();
        let helpful = |slot: &Slot| {
            let verdict = self.contested(index, *slot, &self.rivals_on(*slot, index, priority));
            !verdict.fits() && !verdict.is_unresolvable()
        };
        debug_assert!(cheapest.is_none_or(|slot| !board.verdicts()[slot as usize].fits()));
        self.cheapest(index, cheapest.into_iter().chain(apart.iter().copied().filter(helpful)), tried)
    }

    /// Whether pods of lower priority are on nodes.
    pub(super) fn anybody_below(&self, priority: i32) -> bool {
        self.placed.range(..priority).next().is_some()
    }

    /// Whether the pod's nominated node is still being freed for it.
    fn must_have_patience(&mut self, index: PodIndex) -> bool {
        let Some(pod) = self.pods.get(index) else { return false };
        let slot = self.columns.find(&pod.nominated).filter(|slot| self.columns.is_present(*slot));
        let Some(slot) = slot else { return false };
        let priority = pod.priority;
        let verdict = if self.verdicts == Verdicts::OnBoard {
            self.contested(index, slot, &self.rivals_on(slot, index, priority))
        } else {
            self.lay_out(index);
            self.scratch.verdicts.get(slot as usize).copied().unwrap_or(Verdict::ABSENT)
        };
        if verdict.is_unresolvable() {
            return false;
        }
        let Some(pod) = self.pods.get(index) else { return false };
        let mut below = self.seats.below(slot, pod.priority).iter().filter_map(|seat| self.pods.get(seat.pod));
        below.any(|victim| victim.is_being_displaced())
    }

    /// The cheapest candidate among some nodes; the pod's class must have learned of them.
    fn cheapest(&self, index: PodIndex, slots: impl Iterator<Item = Slot>, tried: &mut Tried) -> Option<Candidate> {
        let mut best: Option<Candidate> = None;
        self.dry_runs(index, slots, tried, |new| {
            if best.as_ref().is_none_or(|best| self.cost(&new) < self.cost(best)) {
                best = Some(new);
            }
        });
        best
    }

    /// Tries some nodes, which the pod's class must have learned of.
    fn dry_runs(
        &self,
        index: PodIndex,
        slots: impl Iterator<Item = Slot>,
        tried: &mut Tried,
        mut found: impl FnMut(Candidate),
    ) {
        let Some(pod) = self.pods.get(index) else { return };
        let class = self.classes.get(pod.class);
        let towards = Towards::new(&self.neighbours, pod.passport());
        // Its volumes were looked up when no node was found for it, just before.
        let volumes = self.volumes().filter(|_| pod.tenant.is_some());
        let plain = !class.is_wide() && !towards.forbid();
        let tables =
            if plain { Tables::default() } else { Tables::new(&self.columns, &self.neighbours, class, &towards) };
        let (columns, neighbours) = (&self.columns, &self.neighbours);
        let case = Case { columns, neighbours, class, passport: pod.passport(), tables: &tables, volumes };
        let bystanders = self.bystanders();
        for slot in slots {
            let rivals = self.rivals_on(slot, index, pod.priority);
            match bystanders.dry_run(&case, slot, pod.priority, &rivals) {
                Outcome::NoVictims => tried.without_victims += 1,
                Outcome::StillFails(verdict) => tried.still_failing.add(verdict),
                Outcome::Candidate(candidate) => found(candidate),
            }
        }
    }

    /// Whether a waiting pod, which fits nowhere, could displace others on any of these nodes (`None`: on any at all).
    pub(super) fn could_displace(&mut self, index: PodIndex, slots: Option<&[Slot]>) -> bool {
        let Some(slots) = slots else {
            return self.find(index).is_none()
                && matches!(self.attempt(index), Attempt::Candidate(_) | Attempt::Choice(_));
        };
        let Some(pod) = self.pods.get(index) else { return false };
        let class = self.classes.get(pod.class);
        let helpful = slots.iter().copied().filter(|slot| {
            let verdict = class.verdict(&self.columns, *slot);
            verdict.fits() || !verdict.is_unresolvable()
        });
        self.cheapest(index, helpful, &mut Tried::default()).is_some()
    }

    /// Whether a waiting pod is one that displaces others when it can. One that room is made for waits for that room.
    pub(super) fn may_displace(&self, index: PodIndex) -> bool {
        let Some(pod) = self.pods.get(index) else { return false };
        !pod.never_preempts
            && pod.nominated.is_empty()
            && self.anybody_below(pod.priority)
            && self.classes.get(pod.class).profile.post_filters.has(Plugin::DefaultPreemption)
    }

    /// Takes a candidate's place for a pod: its victims are as good as gone, and the room is the pod's.
    pub(super) fn displace(&mut self, index: PodIndex, candidate: &Candidate) -> Preemption {
        let node: Box<str> = self.columns.name(candidate.slot).into();
        let priority = self.pods.at(index).priority;
        let mut victims = Vec::with_capacity(candidate.victims.len());
        for victim in &candidate.victims {
            let victim = self.pods.at(*victim);
            let leaving = victim.leaving || victim.doomed;
            victim.doomed |= !leaving;
            victims.push(Victim { pod: (*victim.id).clone(), leaving });
        }
        let nominated: Vec<PodIndex> = self.nominations.on(&node).to_vec();
        let mut denominated: Vec<PodId> = Vec::new();
        for lower in nominated {
            if lower != index && self.pods.at(lower).priority < priority {
                denominated.push((*self.pods.at(lower).id).clone());
                self.nominate(lower, "");
            }
        }
        denominated.sort_unstable_by(|a, b| a.uid.cmp(&b.uid));
        self.nominate(index, &node);
        Preemption { node, victims, denominated }
    }

    /// Room is made for a pod on this node, or (empty) on none. If it waits, it is tried again: its circumstances are
    /// others now.
    pub(super) fn nominate(&mut self, index: PodIndex, node: &str) {
        if *self.pods.at(index).nominated == *node {
            return;
        }
        if self.pods.at(index).state == State::Waiting {
            self.activate(index);
        }
        let before = std::mem::replace(&mut self.pods.at(index).nominated, node.into());
        if !before.is_empty() {
            self.nominations.remove(&before, index);
            if let Some(slot) = self.columns.find(&before) {
                // What was kept for it is free for others.
                self.columns.touch(slot);
            }
        }
        if !node.is_empty() {
            self.nominations.add(node, index);
        }
    }

    /// Something happened on a node: those who wait for room there are tried again.
    pub(super) fn try_nominated(&mut self, node: &str) {
        if self.nominations.is_empty() {
            return;
        }
        let pods: Vec<PodIndex> = self.nominations.on(node).to_vec();
        for index in pods {
            if self.pods.at(index).state == State::Waiting {
                self.activate(index);
            }
        }
    }

    /// A victim could not be asked to go; the pod it was to make room for is tried again after a pause. Others who waited
    /// for the same victim to go wait for nothing now: they look again at once.
    pub(super) fn spare(&mut self, now: Millis, victim: &str, preemptor: &str) {
        if let Some(index) = self.pods.find(preemptor)
            && self.pods.at(index).state == State::Waiting
        {
            self.pause(now, index);
        }
        let Some(index) = self.pods.find(victim) else { return };
        self.pods.at(index).doomed = false;
        if let Some(slot) = self.pods.at(index).state.slot() {
            let node = self.columns.shared_name(slot);
            self.try_nominated(&node);
            self.columns.touch(slot);
        }
    }

    /// Whether what a pod's labels are decides where it may go, though its own terms do not ask: others' terms do.
    pub(super) fn labels_matter(&self, index: PodIndex) -> bool {
        let Some(pod) = self.pods.get(index) else { return false };
        if Towards::new(&self.neighbours, pod.passport()).forbid() {
            return true;
        }
        let nominated = self.nominations.all().flat_map(|(_, pods)| pods).filter(|rival| **rival != index);
        let terms = |rival: &PodIndex| self.bystanders().other(*rival).terms;
        nominated
            .filter_map(terms)
            .flat_map(|terms| &terms.forbidden)
            .any(|t| self.neighbours.selects(t, pod.passport()))
    }
}
