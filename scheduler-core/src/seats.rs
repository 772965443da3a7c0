//! Who sits on each node, the most important first: what preemption goes through. Kept by `cycle` as pods enter, leave
//! and change; one short sorted list per slot, so that the pods below a priority are its tail.

use std::cmp::Ordering;

use crate::class::ClassId;
use crate::columns::{Change, Journal, Load, Slot};
use crate::pods::PodIndex;

/// A point in time that orders: the digits of an RFC 3339 time in whole seconds.
pub type Moment = u64;

/// Later than any time: a pod that has not started yet counts as starting now.
pub const NOT_YET: Moment = Moment::MAX;

/// A pod on a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seat {
    /// Its priority.
    pub priority: i32,
    /// When it started.
    pub started: Moment,
    /// The pod.
    pub pod: PodIndex,
    /// Its class.
    pub class: ClassId,
    /// What it takes of CPU, memory and ephemeral storage: dry runs look at nothing else of most pods, and here it is at
    /// hand.
    pub takes: [i64; 3],
}

/// What a seat holds of a load.
#[must_use]
pub fn takes(load: &Load) -> [i64; 3] {
    [load.cpu, load.memory, load.ephemeral]
}

impl Seat {
    /// Who is less likely to have to leave: the higher priority, then the longer runtime (`MoreImportantPod`).
    #[must_use]
    pub fn cmp_importance(&self, other: &Self) -> Ordering {
        other.priority.cmp(&self.priority).then(self.started.cmp(&other.started))
    }
}

/// The moment that `status.startTime` names.
#[must_use]
pub fn moment(text: &str) -> Moment {
    let bytes = text.as_bytes();
    if bytes.len() < 19 {
        return NOT_YET;
    }
    let digits = [0..4, 5..7, 8..10, 11..13, 14..16, 17..19].into_iter().flat_map(|range| &bytes[range]);
    digits.fold(0, |number, digit| number * 10 + Moment::from(digit.wrapping_sub(b'0').min(9)))
}

/// The seats of all nodes.
#[derive(Debug, Default)]
pub struct Seats {
    by_slot: Vec<Vec<Seat>>,
    /// Where the order of importance has changed though nobody came or went, which the columns' journal tells.
    pub reseated: Journal,
}

impl Seats {
    /// The pods on a node, the most important first.
    #[must_use]
    pub fn on(&self, slot: Slot) -> &[Seat] {
        self.by_slot.get(slot as usize).map_or(&[], Vec::as_slice)
    }

    /// The pods on a node below a priority, the most important first.
    #[must_use]
    pub fn below(&self, slot: Slot, priority: i32) -> &[Seat] {
        let seats = self.on(slot);
        &seats[seats.partition_point(|seat| seat.priority >= priority)..]
    }

    /// A pod takes its seat; `tie` decides between equally important ones.
    pub fn enter(&mut self, slot: Slot, seat: Seat, tie: impl Fn(PodIndex, PodIndex) -> Ordering) {
        let at = slot as usize;
        if self.by_slot.len() <= at {
            self.by_slot.resize_with(at + 1, Vec::new);
        }
        let seats = &mut self.by_slot[at];
        let before = |other: &Seat| other.cmp_importance(&seat).then_with(|| tie(other.pod, seat.pod)).is_lt();
        let place = seats.partition_point(before);
        seats.insert(place, seat);
    }

    /// Somebody on a node has another seat than before.
    pub fn note_reseated(&mut self, slot: Slot) {
        let keep = (self.by_slot.len() / 2).max(1024);
        self.reseated.push(slot, Change::Usage, keep);
    }

    /// A pod leaves its seat.
    pub fn leave(&mut self, slot: Slot, pod: PodIndex) {
        if let Some(seats) = self.by_slot.get_mut(slot as usize)
            && let Some(at) = seats.iter().position(|seat| seat.pod == pod)
        {
            seats.remove(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_order_as_times_do() {
        let at = moment("2026-11-23T09:00:05Z");
        assert_eq!(at, 20_261_123_090_005);
        assert!(at < moment("2026-11-23T10:00:00Z"));
        assert_eq!(moment(""), NOT_YET);
    }

    #[test]
    fn seats_are_in_order_of_importance() {
        let mut seats = Seats::default();
        let seat = |priority, started, pod| Seat { priority, started, pod, class: 0, takes: [0; 3] };
        for new in [seat(1, 5, 0), seat(3, 9, 1), seat(1, 4, 2), seat(1, 5, 3), seat(2, NOT_YET, 4)] {
            seats.enter(7, new, |a, b| b.cmp(&a));
        }
        let order = |seats: &[Seat]| seats.iter().map(|s| s.pod).collect::<Vec<_>>();
        assert_eq!(order(seats.on(7)), [1, 4, 2, 3, 0]);
        assert_eq!(order(seats.below(7, 2)), [2, 3, 0]);
        seats.leave(7, 3);
        assert_eq!(order(seats.below(7, 2)), [2, 0]);
        assert!(seats.on(3).is_empty() && seats.below(7, 1).is_empty());
    }
}
