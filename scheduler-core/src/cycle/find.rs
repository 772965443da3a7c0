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
use crate::filter::{Rule, Verdict};
use crate::meter::{Point, Timed};
use crate::pods::PodIndex;
use crate::preempt::Bystanders;
use crate::profile::Plugin;
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

impl Scheduler {
    /// The best node for a pod. Where there is none, the verdicts on all nodes are in `scratch`.
    pub(super) fn find(&mut self, index: PodIndex) -> Option<Found> {
        (self.ask, self.rejection) = (None, None);
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
        let board = self.classes.board(pod.class, &self.columns);
        let (winner, unscaled) = (board.winner(), board.is_unscaled());
        if !self.nominations.is_empty() {
            let rivals = self.rivals(index, pod.priority);
            let own = self.columns.find(&pod.nominated).filter(|slot| self.columns.is_present(*slot));
            if own.is_some() || !rivals.is_empty() {
                return self.find_among_nominated(index, winner.filter(|_| unscaled), own, &rivals);
            }
        }
        let class = self.classes.get(pod.class);
        let Some((slot, score)) = winner else {
            // Terms about other pods only take nodes away.
            self.scratch.verdicts.clear();
            self.scratch.verdicts.extend_from_slice(class.last_board().verdicts());
            return None;
        };
        let towards = Towards::new(&self.neighbours, pod.passport());
        if !class.is_wide() && towards.is_empty() && self.ask.is_none() {
            return Some(Found { slot, score, room: class.room(&self.columns, slot) as usize });
        }
        let (columns, neighbours, rules) = (&self.columns, &self.neighbours, class.wide.as_deref());
        let volumes = self.ask.as_ref().map(|ask| (&self.storage, ask));
        let decision = wide::Decision { columns, neighbours, class, rules, towards: &towards, volumes };
        let (slot, score) = decision.make(&mut self.scratch)?;
        Some(Found { slot, score, room: self.scratch.feasible().max(1) })
    }

    /// The same, where some pods are nominated.
    fn find_among_nominated(
        &mut self,
        index: PodIndex,
        winner: Option<(Slot, u32)>,
        own: Option<Slot>,
        rivals: &Rivals,
    ) -> Option<Found> {
        // Lent out while the rest is looked at.
        let mut scratch = std::mem::take(&mut self.scratch);
        let found = self.choose_among_nominated(index, winner, own, rivals, &mut scratch);
        self.scratch = scratch;
        found
    }

    fn choose_among_nominated(
        &self,
        index: PodIndex,
        winner: Option<(Slot, u32)>,
        own: Option<Slot>,
        rivals: &Rivals,
        scratch: &mut Scratch,
    ) -> Option<Found> {
        let pod = self.pods.get(index)?;
        let class = self.classes.get(pod.class);
        let towards = Towards::new(&self.neighbours, pod.passport());
        let plain = !class.is_wide() && towards.is_empty() && self.ask.is_none();
        let tables =
            if plain { Tables::default() } else { Tables::new(&self.columns, &self.neighbours, class, &towards) };
        let case = Case {
            columns: &self.columns,
            neighbours: &self.neighbours,
            class,
            passport: pod.passport(),
            tables: &tables,
            volumes: self.volumes(),
        };
        let bystanders = self.bystanders();
        let contested = |slot: Slot| {
            rivals.iter().find(|(at, _)| *at == slot).map_or(Verdict::FITS, |(_, pods)| {
                let mut with = case.as_it_is(slot);
                pods.iter().for_each(|pod| case.comes(slot, &mut with, &bystanders.other(*pod)));
                case.verdict(slot, &with)
            })
        };
        if plain {
            let board = class.last_board();
            let verdicts = board.verdicts();
            let free = |slot: Slot| verdicts[slot as usize].fits() && contested(slot).fits();
            if let Some(slot) = own.filter(|slot| free(*slot)) {
                return Some(Found { slot, score: 0, room: 1 });
            }
            if let Some((slot, score)) = winner.filter(|(slot, _)| free(*slot)) {
                return Some(Found { slot, score, room: class.room(&self.columns, slot) as usize });
            }
        }
        let (columns, neighbours, rules) = (&self.columns, &self.neighbours, class.wide.as_deref());
        let volumes = self.volumes();
        let decision = wide::Decision { columns, neighbours, class, rules, towards: &towards, volumes };
        decision.filter(scratch);
        for (slot, _) in rivals {
            let verdict = contested(*slot);
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
