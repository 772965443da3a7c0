//! What was found out about nodes for claims that ask for the same: pods of one template have claims of their own, but not
//! of their own kind, and a search on every node for every pod is what costs.
//!
//! An answer holds until something happens to the node or to devices that it reaches. Whoever changes devices says whose
//! answers are off ([`Knowledge::disturb`]); what happens to nodes themselves is read from the journal.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use super::News;
use super::ask::Open;
use crate::columns::Change;
use crate::columns::{Columns, Slot};
use crate::rows::devices::{Constraint, Request};

/// Kinds of claims that are kept; the one not asked for longest makes room.
const KINDS_MAX: usize = 32;
/// Disturbed nodes that are noted one by one; with more, all answers are off.
const DISTURBED_MAX: usize = 1024;

/// What a search on a node found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// Devices, and how well they suit.
    Fits(u32),
    /// None that would do.
    Cannot,
    /// None, and pools that contradict themselves.
    InvalidPools,
    /// Nothing in as many steps as it may take.
    GaveUp,
}

impl Answer {
    /// Never 0, which stands for no answer.
    fn pack(self) -> u32 {
        match self {
            Self::Fits(score) => (score.min(u32::MAX >> 2) << 2) | 1,
            Self::Cannot => 2,
            Self::InvalidPools => 3,
            Self::GaveUp => 4,
        }
    }

    fn unpack(packed: u32) -> Option<Self> {
        Some(match packed {
            0 => return None,
            2 => Self::Cannot,
            3 => Self::InvalidPools,
            4 => Self::GaveUp,
            fits => Self::Fits(fits >> 2),
        })
    }
}

/// The answers for one kind of claims, by slot. Filled in while nodes are asked.
#[derive(Debug, Default)]
pub(super) struct Answers(Box<[AtomicU32]>);

impl Answers {
    fn none(slots: usize) -> Arc<Self> {
        Arc::new(Self((0..slots).map(|_| AtomicU32::new(0)).collect()))
    }

    pub(super) fn get(&self, slot: Slot) -> Option<Answer> {
        Answer::unpack(self.0.get(slot as usize)?.load(Relaxed))
    }

    pub(super) fn keep(&self, slot: Slot, answer: Answer) {
        if let Some(known) = self.0.get(slot as usize) {
            known.store(answer.pack(), Relaxed);
        }
    }

    fn forget(&self, slot: Slot) {
        if let Some(known) = self.0.get(slot as usize) {
            known.store(0, Relaxed);
        }
    }
}

/// What one claim asks for, as far as nodes are concerned.
type Asked = (Vec<Request>, Vec<Constraint>);

#[derive(Debug)]
struct Kind {
    asked: Vec<Asked>,
    steps_max: u64,
    answers: Arc<Answers>,
    /// Up to where the journal was read.
    cursor: u64,
    used_at: u64,
}

/// The answers for all kinds.
#[derive(Debug, Default)]
pub(super) struct Knowledge {
    kinds: Vec<Kind>,
    /// Nodes whose answers are off.
    disturbed: Vec<Box<str>>,
    /// Whether all answers are off.
    all_off: bool,
    turn: u64,
}

impl Knowledge {
    /// Devices have changed that these nodes reach.
    pub(super) fn disturb(&mut self, news: &News) {
        match news {
            News::On(nodes) if self.disturbed.len() + nodes.len() <= DISTURBED_MAX => {
                self.disturbed.extend(nodes.iter().cloned());
            }
            News::On(nodes) if nodes.is_empty() => {}
            News::On(_) | News::Everywhere => self.forget_all(),
        }
    }

    /// All answers are off.
    pub(super) fn forget_all(&mut self) {
        self.all_off = true;
        self.disturbed.clear();
    }

    /// The answers for claims to be allocated together, as far as they are known and hold.
    pub(super) fn of(&mut self, open: &[Open], steps_max: u64, columns: &Columns) -> Arc<Answers> {
        if std::mem::take(&mut self.all_off) {
            self.kinds.clear();
        }
        for node in self.disturbed.drain(..) {
            if let Some(slot) = columns.find(&node) {
                self.kinds.iter().for_each(|kind| kind.answers.forget(slot));
            }
        }
        self.turn += 1;
        let same = |kind: &Kind| {
            let all = kind.asked.iter().zip(open).all(|((requests, constraints), open)| {
                *requests == open.spec.requests && *constraints == open.spec.constraints
            });
            all && kind.asked.len() == open.len() && kind.steps_max == steps_max
        };
        let at = self.kinds.iter().position(same).unwrap_or_else(|| {
            if self.kinds.len() >= KINDS_MAX {
                let oldest = (0..self.kinds.len()).min_by_key(|at| self.kinds[*at].used_at);
                self.kinds.swap_remove(oldest.unwrap_or(0));
            }
            let asked = open.iter().map(|open| (open.spec.requests.clone(), open.spec.constraints.clone()));
            self.kinds.push(Kind {
                asked: asked.collect(),
                steps_max,
                answers: Arc::default(),
                cursor: columns.journal.head(),
                used_at: 0,
            });
            self.kinds.len() - 1
        });
        let kind = &mut self.kinds[at];
        kind.used_at = self.turn;
        match columns.journal.since(kind.cursor) {
            Some(changes) if kind.answers.0.len() == columns.slots() => {
                let nodes = changes.filter(|(_, change)| *change == Change::Node);
                nodes.for_each(|(slot, _)| kind.answers.forget(slot));
            }
            _ => kind.answers = Answers::none(columns.slots()),
        }
        kind.cursor = columns.journal.head();
        Arc::clone(&kind.answers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_come_out_as_they_went_in() {
        let answers = Answers::none(2);
        assert_eq!((answers.get(0), answers.get(7)), (None, None));
        for answer in [Answer::Fits(0), Answer::Fits(1), Answer::Fits(300), Answer::Cannot, Answer::InvalidPools] {
            answers.keep(0, answer);
            assert_eq!((answers.get(0), answers.get(1)), (Some(answer), None));
        }
        answers.keep(1, Answer::GaveUp);
        answers.forget(0);
        assert_eq!((answers.get(0), answers.get(1)), (None, Some(Answer::GaveUp)));
    }
}
