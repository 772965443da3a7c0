//! Who is next, and who waits for what.
//!
//! Active pods go by priority, then by when they came. A pod whose binding failed pauses, 1 s to 10 s, doubling. A pod
//! that fits nowhere waits with its class: every change in the columns' journal is tried against the waiting classes,
//! and wakes as many pods of a class as the changed node has room for, best first. That is the inverted form of
//! upstream's queueing hints (KEP-4247), with the exact answer in place of a hint, so nobody is woken in vain; and as
//! upstream pops pods from backoff when it has nothing else to do (KEP-5142), a woken pod is tried at once. After five
//! minutes a pod is tried again without a reason, as upstream does.
//!
//! Entries are never searched for: one that no longer carries its pod's ticket is stale and skipped.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};

use crate::class::ClassId;
use crate::plan::Millis;
use crate::pods::PodIndex;

/// The pause after the first failed binding, unless configured.
pub const BACKOFF_FIRST: Millis = 1_000;
/// The longest pause, unless configured.
pub const BACKOFF_MAX: Millis = 10_000;
/// After so long a waiting pod is tried again without a reason.
pub const WAIT_MAX: Millis = 5 * 60 * 1_000;

/// A pod's place in the order of trying: priority first, then the ticket, which counts up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Turn {
    priority: i32,
    ticket: Reverse<u64>,
    pod: PodIndex,
}

impl Turn {
    /// A pod's turn.
    #[must_use]
    pub fn new(priority: i32, ticket: u64, pod: PodIndex) -> Self {
        Self { priority, ticket: Reverse(ticket), pod }
    }

    /// The pod.
    #[must_use]
    pub fn pod(&self) -> PodIndex {
        self.pod
    }

    /// Its ticket.
    #[must_use]
    pub fn ticket(&self) -> u64 {
        self.ticket.0
    }
}

/// Pods that wait together: those of a class that are alike (see `Pod::kin`). What helps one helps the next.
pub type GroupId = (ClassId, u64);

/// A place in the columns' journal, and the versions of the neighbours' counts and of the storage.
pub type Seen = (u64, u64, u64);

/// Pods that fit nowhere.
#[derive(Debug, Default)]
pub struct Group {
    pods: BTreeSet<Turn>,
    /// Changes before this are known not to help.
    pub seen: Seen,
    /// How many [reliefs](crate::columns::Columns::reliefs) those were.
    pub reliefs: u64,
    /// Some of its pods were woken and may have gone elsewhere: look at all nodes before resting again.
    pub in_doubt: bool,
}

/// All queues.
#[derive(Debug)]
pub struct Queue {
    /// The first pause and the longest.
    pauses: (Millis, Millis),
    active: BinaryHeap<Turn>,
    backoff: BinaryHeap<Reverse<(Millis, u64, PodIndex)>>,
    waiting: BTreeMap<GroupId, Group>,
    waits: VecDeque<(Millis, u64, PodIndex)>,
    tickets: u64,
}

impl Default for Queue {
    fn default() -> Self {
        Self::new(BACKOFF_FIRST, BACKOFF_MAX)
    }
}

impl Queue {
    /// Nobody. Pauses last from `first` to `longest`.
    #[must_use]
    pub fn new(first: Millis, longest: Millis) -> Self {
        Self {
            pauses: (first, longest),
            active: BinaryHeap::new(),
            backoff: BinaryHeap::new(),
            waiting: BTreeMap::new(),
            waits: VecDeque::new(),
            tickets: 0,
        }
    }

    /// A new ticket: the next place in time.
    pub fn ticket(&mut self) -> u64 {
        self.tickets += 1;
        self.tickets
    }

    /// Puts a pod among those to be tried.
    pub fn activate(&mut self, turn: Turn) {
        self.active.push(turn);
    }

    /// The next to be tried; may be stale.
    pub fn pop(&mut self) -> Option<Turn> {
        self.active.pop()
    }

    /// Whether nobody is to be tried.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.active.is_empty()
    }

    /// Lets a pod pause after its `failures`-th failure in a row.
    pub fn back_off(&mut self, now: Millis, failures: u32, ticket: u64, pod: PodIndex) {
        let (first, longest) = self.pauses;
        let pause = first.saturating_mul(1 << failures.saturating_sub(1).min(10)).min(longest);
        self.backoff.push(Reverse((now + pause, ticket, pod)));
    }

    /// The pods whose pause is over; may be stale.
    pub fn rested(&mut self, now: Millis) -> Option<(u64, PodIndex)> {
        let Reverse((until, ticket, pod)) = *self.backoff.peek()?;
        if until > now {
            return None;
        }
        self.backoff.pop();
        Some((ticket, pod))
    }

    /// Lets a pod wait with its group, for which everything before `seen` is no help.
    pub fn wait(&mut self, now: Millis, group: GroupId, seen: Seen, turn: Turn) {
        let waiting = self.waiting.entry(group).or_insert_with(|| Group { seen, ..Group::default() });
        waiting.pods.insert(turn);
        self.waits.push_back((now, turn.ticket(), turn.pod));
    }

    /// Lets a pod wait with its gang, outside of the groups.
    pub fn wait_with_gang(&mut self, now: Millis, turn: Turn) {
        self.waits.push_back((now, turn.ticket(), turn.pod));
    }

    /// Takes a waiting pod out.
    pub fn stop_waiting(&mut self, group: GroupId, turn: Turn) {
        if let Some(waiting) = self.waiting.get_mut(&group) {
            waiting.pods.remove(&turn);
            if waiting.pods.is_empty() {
                self.waiting.remove(&group);
            }
        }
    }

    /// Takes out the best `most` waiting pods of a class.
    pub fn take_waiting(&mut self, group: GroupId, most: usize) -> Vec<Turn> {
        let Some(waiting) = self.waiting.get_mut(&group) else { return Vec::new() };
        let mut taken = Vec::new();
        while taken.len() < most
            && let Some(turn) = waiting.pods.pop_last()
        {
            taken.push(turn);
        }
        waiting.in_doubt = true;
        if waiting.pods.is_empty() {
            self.waiting.remove(&group);
        }
        taken
    }

    /// The groups that pods wait in.
    pub fn groups(&self) -> impl Iterator<Item = GroupId> + '_ {
        self.waiting.keys().copied()
    }

    /// A group that pods wait in.
    pub fn group(&mut self, group: GroupId) -> Option<&mut Group> {
        self.waiting.get_mut(&group)
    }

    /// A pod that has waited for so long that it is tried without a reason; may be stale.
    pub fn overdue(&mut self, now: Millis) -> Option<(u64, PodIndex)> {
        let (since, ticket, pod) = *self.waits.front()?;
        if since + WAIT_MAX > now {
            return None;
        }
        self.waits.pop_front();
        Some((ticket, pod))
    }

    /// When [`rested`](Self::rested) or [`overdue`](Self::overdue) may next have something.
    #[must_use]
    pub fn next_wake(&self) -> Option<Millis> {
        let rested = self.backoff.peek().map(|Reverse((until, ..))| *until);
        let overdue = self.waits.front().map(|(since, ..)| since + WAIT_MAX);
        rested.into_iter().chain(overdue).min()
    }
}

impl Group {
    /// The pod that is to be woken first.
    #[must_use]
    pub fn best(&self) -> Option<PodIndex> {
        self.pods.last().map(Turn::pod)
    }

    /// Its pods, in the order in which they are to be woken.
    pub fn pods(&self) -> impl Iterator<Item = PodIndex> + '_ {
        self.pods.iter().rev().map(Turn::pod)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn priority_goes_first_then_time() {
        let mut queue = Queue::default();
        for (priority, pod) in [(0, 1), (5, 2), (0, 3), (5, 4)] {
            let ticket = queue.ticket();
            queue.activate(Turn::new(priority, ticket, pod));
        }
        let order: Vec<PodIndex> = std::iter::from_fn(|| queue.pop()).map(|t| t.pod()).collect();
        assert_eq!(order, [2, 4, 1, 3]);
    }

    #[test]
    fn pauses_double_from_one_second_to_ten() {
        let mut queue = Queue::default();
        let until: Vec<Millis> = (1..=6)
            .map(|failures| {
                queue.back_off(0, failures, 0, 0);
                let until = queue.next_wake().expect("one is pausing");
                assert_eq!(queue.rested(until - 1), None);
                assert!(queue.rested(until).is_some());
                until
            })
            .collect();
        assert_eq!(until, [1000, 2000, 4000, 8000, 10_000, 10_000]);
    }

    #[test]
    fn the_best_waiting_pods_are_taken_first() {
        let mut queue = Queue::default();
        for (priority, ticket) in [(0, 1), (9, 2), (0, 3)] {
            queue.wait(7, (4, 0), (100, 0, 0), Turn::new(priority, ticket, ticket as PodIndex));
        }
        let taken: Vec<PodIndex> = queue.take_waiting((4, 0), 2).iter().map(Turn::pod).collect();
        assert_eq!(taken, [2, 1]);
        assert!(queue.group((4, 0)).expect("one is left").in_doubt);
        queue.stop_waiting((4, 0), Turn::new(0, 3, 3));
        assert!(queue.group((4, 0)).is_none());
        assert_eq!(queue.overdue(7 + WAIT_MAX), Some((1, 1)));
    }
}
