//! What happened to which slot, for those who keep views of their own.

use std::collections::VecDeque;

use super::Slot;

/// What happened to a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// A pod came or went: only the used amounts and ports differ.
    Usage,
    /// The node itself came, went or changed.
    Node,
}

/// The changes of slots, in order, numbered from the beginning of time. Bounded: who falls behind scans anew.
#[derive(Debug, Default)]
pub struct Journal {
    entries: VecDeque<(Slot, Change)>,
    first: u64,
}

impl Journal {
    /// The number that the next change will have.
    #[must_use]
    pub fn head(&self) -> u64 {
        self.first + self.entries.len() as u64
    }

    /// The changes from number `cursor` on; `None` when some of them are forgotten.
    pub fn since(&self, cursor: u64) -> Option<impl Iterator<Item = (Slot, Change)> + '_> {
        let skip = cursor.checked_sub(self.first)?;
        Some(self.entries.range(usize::try_from(skip).ok()?.min(self.entries.len())..).copied())
    }

    /// Adds a change; of more than `keep` the oldest is forgotten.
    pub fn push(&mut self, slot: Slot, change: Change, keep: usize) {
        if self.entries.len() >= keep {
            self.entries.pop_front();
            self.first += 1;
        }
        self.entries.push_back((slot, change));
    }
}
