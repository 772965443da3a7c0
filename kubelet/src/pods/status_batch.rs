//! When statuses are written: a bounded number at a time, the newest state of a pod only, one write per pod under way.
//!
//! A pod that changes while it waits or is being written costs no further write than the one that shows its last
//! state. `Idle → Waiting → Writing → Idle`, with `Writing and again` when it changed meanwhile.

use std::collections::VecDeque;

use crate::runtime::PodId;

/// Where a pod's status is on its way to the API.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Writing {
    /// The API has what there is.
    #[default]
    Idle,
    /// In the queue.
    Waiting,
    /// A write is under way.
    Writing,
    /// A write is under way and no longer shows the newest state.
    WritingAndAgain,
}

impl Writing {
    /// Whether a write has begun and not ended.
    #[must_use]
    pub fn under_way(self) -> bool {
        matches!(self, Self::Writing | Self::WritingAndAgain)
    }
}

/// The order in which pods are written.
#[derive(Debug)]
pub struct StatusBatch {
    waiting: VecDeque<PodId>,
    writing: usize,
    writing_max: usize,
}

impl StatusBatch {
    /// Nothing to write; at most `writing_max` writes at a time.
    #[must_use]
    pub fn new(writing_max: usize) -> Self {
        Self { waiting: VecDeque::new(), writing: 0, writing_max }
    }

    /// The pod's state changed.
    pub fn changed(&mut self, pod: PodId, state: &mut Writing) {
        match state {
            Writing::Idle => {
                *state = Writing::Waiting;
                self.waiting.push_back(pod);
            }
            Writing::Writing => *state = Writing::WritingAndAgain,
            Writing::Waiting | Writing::WritingAndAgain => {}
        }
    }

    /// The next pod to write, if another write may begin. Pods that are gone by now must be skipped by the caller.
    pub fn take(&mut self) -> Option<PodId> {
        if self.writing < self.writing_max { self.waiting.pop_front() } else { None }
    }

    /// The write of a pod just taken by [`take`](Self::take) begins.
    pub fn begun(&mut self, state: &mut Writing) {
        debug_assert_eq!(*state, Writing::Waiting, "only waiting pods are taken");
        *state = Writing::Writing;
        self.writing += 1;
    }

    /// A write ended; `state` is `None` when its pod is gone.
    pub fn ended(&mut self, pod: PodId, state: Option<&mut Writing>) {
        self.writing -= 1;
        let Some(state) = state else { return };
        let again = *state == Writing::WritingAndAgain;
        *state = Writing::Idle;
        if again {
            self.changed(pod, state);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_while_waiting_or_writing_cost_one_write() {
        let mut batch = StatusBatch::new(1);
        let (pod, other) = (PodId(1), PodId(2));
        let (mut state, mut others) = (Writing::Idle, Writing::Idle);
        for _ in 0..3 {
            batch.changed(pod, &mut state);
        }
        batch.changed(other, &mut others);
        assert_eq!(batch.take(), Some(pod));
        batch.begun(&mut state);
        assert_eq!(batch.take(), None, "one write at a time");
        batch.changed(pod, &mut state);
        batch.changed(pod, &mut state);
        batch.ended(pod, Some(&mut state));
        assert_eq!(batch.take(), Some(other));
        batch.begun(&mut others);
        batch.ended(other, None);
        assert_eq!(batch.take(), Some(pod), "it changed while it was written");
        batch.begun(&mut state);
        batch.ended(pod, Some(&mut state));
        assert_eq!((batch.take(), state), (None, Writing::Idle));
    }
}
