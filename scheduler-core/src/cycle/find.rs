//! The best node for one pod. The class's board answers alone where nothing else has a say; terms about other pods, and
//! pods that room is made for, have one.
//!
//! Room that is being made is left to those it is made for: a pod must fit both with and without the pods of equal or
//! higher priority that are nominated to a node (upstream's `RunFilterPluginsWithNominatedPods`), and a nominated pod
//! takes its own node, whatever the others score, as soon as it fits there.

use smallvec::SmallVec;

use super::Scheduler;
use crate::class::ClassId;
use crate::columns::Slot;
use crate::filter::tally::Tally;
use crate::filter::{Rule, Verdict};
use crate::meter::{Point, Timed};
use crate::pods::PodIndex;
use crate::preempt::Bystanders;
use crate::profile::Plugin;
use crate::wide::chart::Best;
use crate::wide::whatif::{Case, Tables};
use crate::wide::{self, Scratch, Towards};

/// A node for a pod.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    pub(super) slot: Slot,
    /// Its score; 0 for a nominated node, which is not scored.
    pub(super) score: u32,
    /// How many pods like this one may find a place now, at least 1; an estimate from above.
    pub(super) room: usize,
}

/// The nodes that others are nominated to whose room a pod must leave to them.
pub(super) type Rivals = SmallVec<[(Slot, SmallVec<[PodIndex; 2]>); 2]>;

/// Where the verdicts on all nodes are, after no node was found for a pod.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Verdicts {
    /// In `scratch`.
    #[default]
    InScratch,
    /// On the board of the pod's class, but for nodes that room is made on for others.
    OnBoard,
    /// Nobody has looked: a chart said only that no node is left.
    Unseen,
}

impl Scheduler {
    /// The best node for a pod. Where there is none, [`tally`](Self::tally) and [`lay_out`](Self::lay_out) say why.
    pub(super) fn find(&mut self, index: PodIndex) -> Option<Found> {
        (self.ask, self.rejection) = (None, None);
        self.verdicts = Verdicts::InScratch;
        if self.pods.get(index)?.tenant.is_some() {
            let began = self.meter.begin();
            let passed = self.look_up_volumes(index);
            let timed = Timed::Plugin { plugin: Plugin::VolumeBinding, point: Point::PreFilter, passed };
            self.meter.end(began, || timed);
            if !passed {
                return None;
            }
        }
        let pod = self.pods.get(index)?;
        let (id, priority) = (pod.class, pod.priority);
        let towards = Towards::new(&self.neighbours, pod.passport());
        let plain = !self.classes.get(id).is_wide() && towards.is_empty() && self.ask.is_none();
        if plain
            && self.nominations.is_empty()
            && let Some((slot, score)) = self.classes.glance(id, &self.columns)
        {
            return Some(Found { slot, score, room: self.classes.get(id).room(&self.columns, slot) as usize });
        }
        if !plain && self.ask.is_none() && self.nominations.is_empty() {
            let most = self.config.ground_nodes_max;
            match self.classes.by_ground(id, &self.columns, &self.neighbours, &towards, most) {
                Some(Some(Best { slot, score, feasible })) => return Some(Found { slot, score, room: feasible }),
                Some(None) => {
                    self.verdicts = Verdicts::Unseen;
                    return None;
                }
                None => {}
            }
        }
        let board = self.classes.board(id, &self.columns);
        let (winner, unscaled) = (board.winner(), board.is_unscaled());
        let class = self.classes.get(id);
        if !self.nominations.is_empty() {
            let own = self.columns.find(&pod.nominated).filter(|slot| self.columns.is_present(*slot));
            if plain && (unscaled || winner.is_none()) {
                return self.find_beside_nominated(index, own);
            }
            let rivals = self.rivals(index, priority);
            if own.is_some() || !rivals.is_empty() {
                return self.find_among_nominated(index, own, &rivals);
            }
        }
        let Some((slot, score)) = winner else {
            // Terms about other pods only take nodes away.
            self.verdicts = Verdicts::OnBoard;
            return None;
        };
        if plain {
            return Some(Found { slot, score, room: class.room(&self.columns, slot) as usize });
        }
        if self.ask.is_none() {
            let passes = self.config.passes_first;
            match self.classes.by_chart(id, &self.columns, &self.neighbours, &towards, passes) {
                Some(Some(Best { slot, score, feasible })) => {
                    return Some(Found { slot, score, room: feasible.max(1) });
                }
                Some(None) => {
                    self.verdicts = Verdicts::Unseen;
                    return None;
                }
                None => {}
            }
        }
        let class = self.classes.get(id);
        let (columns, neighbours, rules) = (&self.columns, &self.neighbours, class.wide.as_deref());
        let volumes = self.ask.as_ref().map(|ask| (&self.storage, ask));
        let decision = wide::Decision { columns, neighbours, class, rules, towards: &towards, volumes };
        let (slot, score) = decision.make(&mut self.scratch)?;
        Some(Found { slot, score, room: self.scratch.feasible().max(1) })
    }

    /// The verdicts on all nodes, counted, after no node was found for a pod.
    pub(super) fn tally(&mut self, index: PodIndex) -> Tally {
        if self.verdicts != Verdicts::OnBoard {
            self.lay_out(index);
            return Tally::of(&self.scratch.verdicts);
        }
        let Some(pod) = self.pods.get(index) else { return Tally::default() };
        let board = self.classes.get(pod.class).last_board();
        let mut tally = board.tally().clone();
        for (slot, rivals) in self.rivals(index, pod.priority) {
            tally.replace(board.verdicts()[slot as usize], self.contested(index, slot, &rivals));
        }
        tally
    }

    /// Lays the verdicts on all nodes out in `scratch`, after no node was found for a pod.
    pub(super) fn lay_out(&mut self, index: PodIndex) {
        let (verdicts, Some(pod)) = (std::mem::take(&mut self.verdicts), self.pods.get(index)) else { return };
        self.classes.count_looks(if verdicts == Verdicts::InScratch { 0 } else { self.columns.slots() });
        if verdicts == Verdicts::Unseen {
            self.classes.board(pod.class, &self.columns);
        }
        let class = self.classes.get(pod.class);
        match verdicts {
            Verdicts::InScratch => {}
            Verdicts::OnBoard => {
                let mut scratch = std::mem::take(&mut self.scratch);
                scratch.verdicts.clear();
                scratch.verdicts.extend_from_slice(class.last_board().verdicts());
                for (slot, rivals) in self.rivals(index, pod.priority) {
                    scratch.verdicts[slot as usize] = self.contested(index, slot, &rivals);
                }
                self.scratch = scratch;
            }
            Verdicts::Unseen => {
                let towards = Towards::new(&self.neighbours, pod.passport());
                let (columns, neighbours, rules) = (&self.columns, &self.neighbours, class.wide.as_deref());
                let decision = wide::Decision { columns, neighbours, class, rules, towards: &towards, volumes: None };
                decision.filter(&mut self.scratch);
            }
        }
    }

    /// The verdict on a node for a pod without terms about others, if those nominated to it were there; or, if it would
    /// fit beside them, the verdict as things are.
    pub(super) fn contested(&self, index: PodIndex, slot: Slot, rivals: &[PodIndex]) -> Verdict {
        let Some(pod) = self.pods.get(index) else { return Verdict::ABSENT };
        let class = self.classes.get(pod.class);
        let as_it_is = class.last_board().verdicts()[slot as usize];
        if rivals.is_empty() {
            return as_it_is;
        }
        let (columns, neighbours, tables) = (&self.columns, &self.neighbours, &Tables::default());
        let case = Case { columns, neighbours, class, passport: pod.passport(), tables, volumes: None };
        let mut with = case.as_it_is(slot);
        rivals.iter().for_each(|rival| case.comes(slot, &mut with, &self.bystanders().other(*rival)));
        let with = case.verdict(slot, &with);
        if with.fits() { as_it_is } else { with }
    }

    /// The best node for a pod that nothing but nodes and the room left to nominated pods matters to, and whose scores
    /// are what they are whichever nodes are left; `own` is the node that room is made on for it.
    fn find_beside_nominated(&mut self, index: PodIndex, own: Option<Slot>) -> Option<Found> {
        let pod = self.pods.get(index)?;
        let (id, priority) = (pod.class, pod.priority);
        let free = |core: &Self, slot: Slot| core.contested(index, slot, &core.rivals_on(slot, index, priority)).fits();
        if let Some(slot) = own.filter(|slot| free(self, *slot)) {
            return Some(Found { slot, score: 0, room: 1 });
        }
        let mut taken: SmallVec<[Slot; 4]> = SmallVec::new();
        loop {
            let winner = self.classes.winner_beside(id, |slot| taken.contains(&slot));
            let Some((slot, score)) = winner else {
                self.verdicts = Verdicts::OnBoard;
                return None;
            };
            if free(self, slot) {
                return Some(Found { slot, score, room: self.classes.get(id).room(&self.columns, slot) as usize });
            }
            taken.push(slot);
        }
    }

    /// The same where nominated pods meet terms about pods, volumes, or scores that are scaled: by a pass.
    fn find_among_nominated(&mut self, index: PodIndex, own: Option<Slot>, rivals: &Rivals) -> Option<Found> {
        // Lent out while the rest is looked at.
        let mut scratch = std::mem::take(&mut self.scratch);
        let found = self.choose_among_nominated(index, own, rivals, &mut scratch);
        self.scratch = scratch;
        found
    }

    fn choose_among_nominated(
        &self,
        index: PodIndex,
        own: Option<Slot>,
        rivals: &Rivals,
        scratch: &mut Scratch,
    ) -> Option<Found> {
        let pod = self.pods.get(index)?;
        let class = self.classes.get(pod.class);
        let towards = Towards::new(&self.neighbours, pod.passport());
        let plain = !class.is_wide() && towards.is_empty() && self.ask.is_none();
        let (columns, neighbours, volumes) = (&self.columns, &self.neighbours, self.volumes());
        let tables = if plain { Tables::default() } else { Tables::new(columns, neighbours, class, &towards) };
        let case = Case { columns, neighbours, class, passport: pod.passport(), tables: &tables, volumes };
        let bystanders = self.bystanders();
        let rules = class.wide.as_deref();
        let decision = wide::Decision { columns, neighbours, class, rules, towards: &towards, volumes };
        decision.filter(scratch);
        for (slot, pods) in rivals {
            let mut with = case.as_it_is(*slot);
            pods.iter().for_each(|pod| case.comes(*slot, &mut with, &bystanders.other(*pod)));
            let verdict = case.verdict(*slot, &with);
            if !verdict.fits() {
                scratch.verdicts[*slot as usize] = verdict;
            }
        }
        let own = own.filter(|slot| scratch.verdicts[*slot as usize].fits());
        if let Some(slot) = own {
            return Some(Found { slot, score: 0, room: 1 });
        }
        let (slot, score) = decision.choose(scratch)?;
        Some(Found { slot, score, room: scratch.feasible().max(1) })
    }

    /// The nominated pods that a pod of this priority must leave room to, by node.
    pub(super) fn rivals(&self, index: PodIndex, priority: i32) -> Rivals {
        let mut rivals = Rivals::new();
        for (name, pods) in self.nominations.all() {
            let Some(slot) = self.columns.find(name).filter(|slot| self.columns.is_present(*slot)) else { continue };
            let above = |rival: &&PodIndex| {
                **rival != index && self.pods.get(**rival).is_some_and(|pod| pod.priority >= priority)
            };
            let pods: SmallVec<[PodIndex; 2]> = pods.iter().filter(above).copied().collect();
            if !pods.is_empty() {
                rivals.push((slot, pods));
            }
        }
        rivals
    }

    /// All that dry runs and nominations look at besides the pod.
    pub(super) fn bystanders(&self) -> Bystanders<'_> {
        Bystanders { pods: &self.pods, classes: &self.classes, seats: &self.seats, budgets: &self.budgets }
    }

    /// Whether a node has the ports and amounts for a pod of a class without terms of its own, those left to nominated
    /// pods aside. The class must have learned of the node.
    pub(super) fn has_room(&self, class: ClassId, slot: Slot, index: PodIndex, priority: i32) -> bool {
        let class = self.classes.get(class);
        if !class.verdict(&self.columns, slot).fits() {
            return false;
        }
        let rivals: SmallVec<[PodIndex; 2]> = self.rivals_on(slot, index, priority);
        if rivals.is_empty() {
            return true;
        }
        let Some(pod) = self.pods.get(index) else { return false };
        let tables = Tables::default();
        let (columns, neighbours) = (&self.columns, &self.neighbours);
        let case = Case { columns, neighbours, class, passport: pod.passport(), tables: &tables, volumes: None };
        let mut with = case.as_it_is(slot);
        rivals.iter().for_each(|rival| case.comes(slot, &mut with, &self.bystanders().other(*rival)));
        let verdict = case.verdict(slot, &with);
        // Whom a rival's terms keep away differs from pod to pod: that is for the decision to say.
        verdict.fits() || verdict.rule() == Rule::ExistingAntiAffinity
    }

    /// The nominated pods that a pod of this priority must leave room to on one node.
    pub(super) fn rivals_on(&self, slot: Slot, index: PodIndex, priority: i32) -> SmallVec<[PodIndex; 2]> {
        if self.nominations.is_empty() {
            return SmallVec::new();
        }
        let pods = self.nominations.on(self.columns.name(slot)).iter().copied();
        let above = |rival: &PodIndex| self.pods.get(*rival).is_some_and(|pod| pod.priority >= priority);
        pods.filter(|rival| *rival != index).filter(above).collect()
    }
}
