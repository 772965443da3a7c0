//! Who would have to leave a node to make room for a pod, and which node that is done on: DefaultPreemption's dry run on
//! one node, and the comparison of nodes. `cycle` goes through the nodes, all of them, and carries the choice into the
//! plan.

pub mod prices;

use std::cmp::Reverse;

use smallvec::SmallVec;

use crate::budgets::Budgets;
use crate::class::Classes;
use crate::columns::{Columns, Load, Slot};
use crate::filter::Verdict;
use crate::filter::resources_fit::{self, Shift};
use crate::pods::{PodIndex, Pods};
use crate::seats::{Moment, Seat, Seats};
use crate::wide::whatif::{Case, Other};

/// What a dry run finds on a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// No pod of lower priority is there.
    NoVictims,
    /// Were they all gone, the pod would still not fit.
    StillFails(Verdict),
    /// These would have to go.
    Candidate(Candidate),
}

/// A node that could be freed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The node.
    pub slot: Slot,
    /// What it costs.
    pub price: Price,
    /// Who would have to go, the most important first.
    pub victims: SmallVec<[PodIndex; 4]>,
}

/// What freeing a node costs; the least is chosen (`pickOneNodeForPreemption`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Price {
    /// Victims whose going breaks a disruption budget.
    pub violations: u32,
    /// The highest priority among the victims.
    pub highest: i32,
    /// The sum of their priorities, each counted from the least there is.
    pub sum: i64,
    /// How many they are.
    pub victims: u32,
    /// When the first of those with the highest priority started; the later, the cheaper.
    pub started: Reverse<Moment>,
}

/// What dry runs look at, besides the pod itself.
#[derive(Clone, Copy)]
pub struct Bystanders<'a> {
    /// All pods.
    pub pods: &'a Pods,
    /// Their classes.
    pub classes: &'a Classes,
    /// Who sits where.
    pub seats: &'a Seats,
    /// The disruption budgets.
    pub budgets: &'a Budgets,
}

/// Who could have to leave a node, as far as amounts decide.
#[derive(Clone, Copy)]
pub struct Sitters<'a> {
    /// All pods.
    pub pods: &'a Pods,
    /// Who sits where.
    pub seats: &'a Seats,
    /// The disruption budgets.
    pub budgets: &'a Budgets,
}

impl Sitters<'_> {
    /// Who would have to leave, by their places among `seats`, where pods, CPU, memory and ephemeral storage decide alone:
    /// what most preemptions are, and there may be thousands of nodes to try. `Err` where the pod would not fit were they
    /// all gone.
    fn victims(&self, columns: &Columns, asks: &Load, slot: Slot, seats: &[Seat]) -> Result<Victims, Verdict> {
        let mut shift = Shift::default();
        for seat in seats {
            shift.take(seat.takes, -1);
        }
        let verdict = resources_fit::verdict_after(columns, slot, asks, &shift);
        if !verdict.fits() {
            return Err(verdict);
        }
        Ok(self.spare(seats, |seat| {
            shift.take(seat.takes, 1);
            let fits = resources_fit::verdict_after(columns, slot, asks, &shift).fits();
            if !fits {
                shift.take(seat.takes, -1);
            }
            fits
        }))
    }

    /// Brings as many as possible back, first those whose going breaks a budget, the most important of them first. Who may
    /// not come back is a victim.
    fn spare(&self, seats: &[Seat], mut may_come_back: impl FnMut(&Seat) -> bool) -> Victims {
        let mut victims = Victims::new();
        let mut bring_back = |at: usize, breaks: bool| {
            if !may_come_back(&seats[at]) {
                victims.push((at, breaks));
            }
        };
        if self.budgets.is_empty() {
            (0..seats.len()).for_each(|at| bring_back(at, false));
            return victims;
        }
        let mut toll = self.budgets.toll();
        let pods = seats.iter().map(|seat| self.pods.get(seat.pod));
        let breaks: SmallVec<[bool; 16]> =
            pods.map(|pod| pod.is_some_and(|pod| toll.take(&pod.id, &pod.labels))).collect();
        for wanted in [true, false] {
            (0..seats.len()).filter(|at| breaks[*at] == wanted).for_each(|at| bring_back(at, wanted));
        }
        victims.sort_unstable();
        victims
    }
}

impl<'a> Bystanders<'a> {
    fn sitters(&self) -> Sitters<'a> {
        Sitters { pods: self.pods, seats: self.seats, budgets: self.budgets }
    }

    /// A pod as questions about nodes look at it.
    ///
    /// # Panics
    /// When it is gone.
    #[must_use]
    pub fn other(&self, pod: PodIndex) -> Other<'a> {
        let pod = self.pods.get(pod).expect("who sits or is nominated is there");
        let class = self.classes.get(pod.class);
        Other {
            load: &class.load,
            passport: pod.passport(),
            holds: class.wide.as_ref().map_or(&[], |rules| &rules.holds),
            terms: class.demand.pods.as_deref(),
            tenant: pod.tenant.as_ref(),
        }
    }

    /// Whether pods of lower priority could make room on a node, and which: all are taken away, then as many as possible
    /// brought back, first those whose going breaks a budget, the most important of them first. `rivals` are the pods
    /// nominated to the node whose room must be left to them. The node must be one that suits the pod, whatever is on it.
    #[must_use]
    pub fn dry_run(&self, case: &Case<'_>, slot: Slot, priority: i32, rivals: &[PodIndex]) -> Outcome {
        let seats = self.seats.below(slot, priority);
        if seats.is_empty() {
            return Outcome::NoVictims;
        }
        if rivals.is_empty() && case.is_about_amounts() {
            return match self.sitters().victims(case.columns, case.class.asks(), slot, seats) {
                Ok(victims) => Outcome::Candidate(candidate(slot, seats, &victims)),
                Err(verdict) => Outcome::StillFails(verdict),
            };
        }
        let mut without = case.as_it_is(slot);
        for seat in seats {
            case.goes(slot, &mut without, &self.other(seat.pod));
        }
        let mut with = (!rivals.is_empty()).then(|| {
            let mut with = without.clone();
            rivals.iter().for_each(|rival| case.comes(slot, &mut with, &self.other(*rival)));
            with
        });
        let with_rivals = with.as_ref().map_or(Verdict::FITS, |with| case.verdict(slot, with));
        let verdict = if with_rivals.fits() { case.verdict(slot, &without) } else { with_rivals };
        if !verdict.fits() {
            return Outcome::StillFails(verdict);
        }
        let victims = self.sitters().spare(seats, |seat| {
            let other = self.other(seat.pod);
            case.comes_back(slot, &mut without, &other);
            if let Some(with) = &mut with {
                case.comes_back(slot, with, &other);
            }
            let fits = with.as_ref().is_none_or(|with| case.verdict(slot, with).fits());
            let fits = fits && case.verdict(slot, &without).fits();
            if !fits {
                case.goes(slot, &mut without, &other);
                if let Some(with) = &mut with {
                    case.goes(slot, with, &other);
                }
            }
            fits
        });
        Outcome::Candidate(candidate(slot, seats, &victims))
    }

    /// A node that others than a dry run propose to free of these pods; `None` unless all of them are there and below the
    /// priority. That their going makes enough room is for those to know who proposed it.
    #[must_use]
    pub fn proposed(&self, slot: Slot, priority: i32, victims: &[PodIndex], violations: u32) -> Option<Candidate> {
        let seats = self.seats.below(slot, priority);
        let place = |victim: &PodIndex| Some((seats.iter().position(|seat| seat.pod == *victim)?, false));
        let mut places: Victims = victims.iter().map(place).collect::<Option<_>>()?;
        places.sort_unstable();
        places.dedup();
        if places.is_empty() {
            return None;
        }
        let candidate = candidate(slot, seats, &places);
        Some(Candidate { price: Price { violations, ..candidate.price }, ..candidate })
    }
}

/// Places among the seats of a node, and whether their going breaks a budget.
type Victims = SmallVec<[(usize, bool); 8]>;

fn candidate(slot: Slot, seats: &[Seat], victims: &[(usize, bool)]) -> Candidate {
    let price = price(seats, victims);
    Candidate { slot, price, victims: victims.iter().map(|(at, _)| seats[*at].pod).collect() }
}

fn price(seats: &[Seat], victims: &[(usize, bool)]) -> Price {
    let going = || victims.iter().map(|(at, _)| &seats[*at]);
    let highest = going().map(|seat| seat.priority).max().unwrap_or(i32::MIN);
    let first = going().filter(|seat| seat.priority == highest).map(|seat| seat.started).min();
    Price {
        violations: u32::try_from(victims.iter().filter(|(_, breaks)| *breaks).count()).unwrap_or(u32::MAX),
        highest,
        sum: going().map(|seat| i64::from(seat.priority) + (1 << 31)).sum(),
        victims: u32::try_from(victims.len()).unwrap_or(u32::MAX),
        started: Reverse(first.unwrap_or(0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prices_compare_budgets_then_priorities_then_numbers_then_age() {
        let base = Price { violations: 0, highest: 5, sum: 10, victims: 2, started: Reverse(7) };
        for dearer in [
            Price { violations: 1, highest: 0, ..base },
            Price { highest: 6, sum: 0, ..base },
            Price { sum: 11, victims: 1, ..base },
            Price { victims: 3, started: Reverse(9), ..base },
            Price { started: Reverse(6), ..base },
        ] {
            assert!(base < dearer, "{dearer:?}");
        }
    }
}
