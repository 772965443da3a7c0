//! Recent events of one collection, in order: where watches begin, resume and catch up.
//!
//! Written by the one thread that applies commits; read by watchers without a lock. Events carry a sequence number of
//! their own besides the revision, because one commit may hold several events of one collection and a watcher may stop
//! between them.

use std::sync::Arc;

use imbl::Vector;

use crate::event::Event;
use crate::revision::Revision;

/// An immutable state of a window; the next one shares its structure.
#[derive(Clone)]
pub(crate) struct Window {
    events: Vector<Arc<Event>>,
    /// Sequence number of the first event held.
    first: u64,
    /// Everything after this revision is held.
    floor: Revision,
    /// Views of the past are exact from this revision on; later than `floor` after a gap in what etcd told us.
    exact_from: Revision,
    bytes: usize,
    /// Events before this one have let go of their encodings.
    cooled_to: u64,
}

/// So many of the latest events keep the bytes that watchers were sent; whoever is further behind encodes anew.
const HOT_EVENTS: u64 = 2048;

impl Window {
    /// An empty window of a collection known to have had no event after `floor`.
    pub(crate) fn new(floor: Revision) -> Self {
        Self { events: Vector::new(), first: 0, floor, exact_from: floor, bytes: 0, cooled_to: 0 }
    }

    pub(crate) fn push(&mut self, event: Arc<Event>, events_max: usize) {
        if let Some(before) = &event.before {
            before.forget_translation();
        }
        self.bytes += event.retained_bytes();
        self.events.push_back(event);
        while self.events.len() > events_max {
            self.drop_oldest();
        }
    }

    /// How many bytes went with it.
    pub(crate) fn drop_oldest(&mut self) -> usize {
        let Some(oldest) = self.events.pop_front() else { return 0 };
        let bytes = oldest.retained_bytes();
        self.bytes -= bytes;
        self.first += 1;
        self.floor = oldest.revision;
        bytes
    }

    /// Called before a batch is added. What is cooled was there when the last batches were handed out.
    pub(crate) fn cool(&mut self) {
        let end = self.first + self.events.len() as u64;
        let cold = end.saturating_sub(HOT_EVENTS);
        for seq in self.cooled_to.max(self.first)..cold {
            if let Some(event) = self.at(seq) {
                event.cool();
            }
        }
        self.cooled_to = self.cooled_to.max(cold);
    }

    /// Forgets that the past before `revision` is exact: events were merged while nobody told us of each.
    pub(crate) fn gap(&mut self, revision: Revision) {
        self.exact_from = revision;
    }

    /// A watch may begin after this revision or a later one.
    pub(crate) fn floor(&self) -> Revision {
        self.floor
    }

    /// The oldest revision whose state can be told.
    pub(crate) fn oldest_view(&self) -> Revision {
        self.floor.max(self.exact_from)
    }

    pub(crate) fn first(&self) -> u64 {
        self.first
    }

    pub(crate) fn at(&self, seq: u64) -> Option<&Arc<Event>> {
        let index = usize::try_from(seq.checked_sub(self.first)?).ok()?;
        self.events.get(index)
    }

    /// The sequence number of the first event after `revision`.
    pub(crate) fn seq_after(&self, revision: Revision) -> u64 {
        let (mut low, mut high) = (0, self.events.len());
        while low < high {
            let middle = low + (high - low) / 2;
            if self.events[middle].revision <= revision {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        self.first + low as u64
    }

    /// Events from `seq` (not before the first held) on.
    pub(crate) fn from(&self, seq: u64) -> impl Iterator<Item = (u64, &Arc<Event>)> {
        let seq = seq.max(self.first);
        let skipped = usize::try_from(seq - self.first).unwrap_or(usize::MAX).min(self.events.len());
        (skipped..self.events.len()).map(move |index| (self.first + index as u64, &self.events[index]))
    }

    /// The events after `revision`, newest first.
    pub(crate) fn newest_first_until(&self, revision: Revision) -> impl Iterator<Item = Arc<Event>> {
        self.events.iter().rev().take_while(move |event| event.revision > revision).cloned()
    }

    pub(crate) fn len(&self) -> usize {
        self.events.len()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}
