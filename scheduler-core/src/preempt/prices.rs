//! What freeing each node would cost the pods of a class and a priority, kept: a dry run per node once, repaired where
//! something has changed. The next preemptor of the kind asks for the cheapest; thousands of full nodes cost it nothing.
//!
//! Only where amounts decide alone ([`Case::is_about_amounts`](crate::wide::whatif::Case::is_about_amounts)) and the pod has
//! no terms about others: what most preemptions are. Nodes that room is made on for others are looked at apart.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::{Price, Sitters, price};
use crate::class::Class;
use crate::columns::{Columns, Slot};
use crate::filter::Verdict;
use crate::filter::tally::Tally;

/// What a dry run found on a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Prospect {
    /// Removing pods is of no use there, or not needed.
    None,
    /// No pod of lower priority is there.
    NoVictims,
    /// Were they all gone, the pod would still not fit.
    StillFails(Verdict),
    /// It can be freed; with the tie-break of the node.
    Price(Price, u64),
}

/// Cheapest first, then the greatest tie-break, then the lowest slot.
type Entry = Reverse<(Price, Reverse<u64>, Slot)>;

/// What freeing each node would cost.
#[derive(Debug)]
pub struct Prices {
    /// The priority of those who ask.
    pub priority: i32,
    /// How far the journals of columns, seats and budgets were read.
    cursors: [u64; 3],
    prospects: Vec<Prospect>,
    /// Entries that no longer say what the node's prospect is are skipped.
    heap: BinaryHeap<Entry>,
    without_victims: u32,
    still_failing: Tally,
}

impl Prices {
    /// For pods of a class and a priority. The class's board must be up to date.
    #[must_use]
    pub fn new(class: &Class, priority: i32, columns: &Columns, sitters: Sitters<'_>) -> Self {
        let mut prices = Self {
            priority,
            cursors: heads(columns, sitters),
            prospects: Vec::new(),
            heap: BinaryHeap::new(),
            without_victims: 0,
            still_failing: Tally::default(),
        };
        prices.prospects.resize(columns.slots(), Prospect::None);
        for slot in 0..columns.slots() as Slot {
            prices.resettle(class, columns, sitters, slot);
        }
        prices
    }

    /// Brings them up to date with the class's board; `None` when they must be made anew. Says how many nodes were
    /// looked at.
    pub fn repair(&mut self, class: &Class, columns: &Columns, sitters: Sitters<'_>) -> Option<u64> {
        let [in_columns, in_seats, in_budgets] = self.cursors;
        let changes = columns.journal.since(in_columns)?.chain(sitters.seats.reseated.since(in_seats)?);
        let changes = changes.chain(sitters.budgets.touched.since(in_budgets)?);
        self.prospects.resize(columns.slots(), Prospect::None);
        let mut looked = 0;
        for (slot, _) in changes {
            self.resettle(class, columns, sitters, slot);
            looked += 1;
        }
        self.cursors = heads(columns, sitters);
        Some(looked)
    }

    fn resettle(&mut self, class: &Class, columns: &Columns, sitters: Sitters<'_>, slot: Slot) {
        let verdict = class.last_board().verdicts()[slot as usize];
        let below = sitters.seats.below(slot, self.priority);
        let prospect = if verdict.fits() || verdict.is_unresolvable() {
            Prospect::None
        } else if below.is_empty() {
            Prospect::NoVictims
        } else {
            match sitters.victims(columns, class.asks(), slot, below) {
                Ok(victims) => Prospect::Price(price(below, &victims), columns.tie[slot as usize]),
                Err(verdict) => Prospect::StillFails(verdict),
            }
        };
        let before = std::mem::replace(&mut self.prospects[slot as usize], prospect);
        if before == prospect {
            return;
        }
        match before {
            Prospect::NoVictims => self.without_victims -= 1,
            Prospect::StillFails(verdict) => self.still_failing.remove(verdict),
            Prospect::None | Prospect::Price(..) => {}
        }
        match prospect {
            Prospect::NoVictims => self.without_victims += 1,
            Prospect::StillFails(verdict) => self.still_failing.add(verdict),
            Prospect::None => {}
            Prospect::Price(price, tie) => {
                self.heap.push(Reverse((price, Reverse(tie), slot)));
                if self.heap.len() > 2 * self.prospects.len() + 64 {
                    self.tidy();
                }
            }
        }
    }

    fn is_current(&self, entry: &Entry) -> bool {
        let Reverse((price, Reverse(tie), slot)) = entry;
        self.prospects[*slot as usize] == Prospect::Price(*price, *tie)
    }

    fn tidy(&mut self) {
        let mut entries = std::mem::take(&mut self.heap).into_vec();
        entries.retain(|entry| self.is_current(entry));
        entries.sort_unstable();
        entries.dedup();
        self.heap = entries.into();
    }

    /// The cheapest node but for those of `apart`.
    pub fn cheapest(&mut self, apart: impl Fn(Slot) -> bool) -> Option<Slot> {
        let mut aside = Vec::new();
        let mut found = None;
        while let Some(entry) = self.heap.peek().copied() {
            let Reverse((_, _, slot)) = entry;
            if !self.is_current(&entry) {
                self.heap.pop();
            } else if apart(slot) {
                aside.extend(self.heap.pop());
            } else {
                found = Some(slot);
                break;
            }
        }
        self.heap.extend(aside);
        found
    }

    /// How many nodes hold no pod of lower priority, and what the pod would still fail by on the others that cannot be
    /// freed; but for those of `apart`.
    #[must_use]
    pub fn hopeless(&self, apart: impl Iterator<Item = Slot>) -> (u32, Tally) {
        let (mut without_victims, mut still_failing) = (self.without_victims, self.still_failing.clone());
        for slot in apart {
            match self.prospects[slot as usize] {
                Prospect::NoVictims => without_victims -= 1,
                Prospect::StillFails(verdict) => still_failing.remove(verdict),
                Prospect::None | Prospect::Price(..) => {}
            }
        }
        (without_victims, still_failing)
    }

    /// What they occupy, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.prospects.len() * size_of::<Prospect>() + self.heap.capacity() * size_of::<Entry>()
    }
}

fn heads(columns: &Columns, sitters: Sitters<'_>) -> [u64; 3] {
    [columns.journal.head(), sitters.seats.reseated.head(), sitters.budgets.touched.head()]
}
