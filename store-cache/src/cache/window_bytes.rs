//! How much of the past all windows together keep: one bound on bytes, for the whole cache.
//!
//! The oldest event goes first, whichever collection it is of, so every window reaches equally far back in time and a
//! busy collection (Leases) pays for itself. What a quiet one has is never touched: a few events of it are worth
//! more to a watch that resumes than they cost.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::window::Window;
use crate::revision::Revision;

/// What a window keeps in any case, unless it is more than an eighth of the bound.
const KEPT_BYTES: usize = 1 << 20;

/// The bound and what is held. Written by the one thread that applies commits.
pub(crate) struct WindowBytes {
    bytes_max: usize,
    held: AtomicUsize,
}

impl WindowBytes {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { bytes_max, held: AtomicUsize::new(0) }
    }

    /// Windows that held `before` bytes now hold `after`. True if it is too much and [`trim`](Self::trim) is due.
    pub(crate) fn changed(&self, before: usize, after: usize) -> bool {
        let held = (self.held.load(Ordering::Relaxed) + after).saturating_sub(before);
        self.held.store(held, Ordering::Relaxed);
        held > self.bytes_max
    }

    /// Takes the oldest events of all `windows` until an eighth of the bound is free again: looking at every window is
    /// worth the while only now and then. Tells which windows are no longer what they were.
    pub(crate) fn trim(&self, windows: &mut [Window]) -> Vec<usize> {
        let kept = KEPT_BYTES.min(self.bytes_max / 8);
        let oldest = |at: usize, window: &Window| -> Option<Reverse<(Revision, usize)>> {
            let first = window.at(window.first()).filter(|_| window.bytes() > kept)?;
            Some(Reverse((first.revision, at)))
        };
        let mut held: usize = windows.iter().map(Window::bytes).sum();
        let mut heap: BinaryHeap<_> =
            windows.iter().enumerate().filter_map(|(at, window)| oldest(at, window)).collect();
        let mut trimmed = vec![false; windows.len()];
        while held > self.bytes_max - self.bytes_max / 8
            && let Some(Reverse((_, at))) = heap.pop()
        {
            held -= windows[at].drop_oldest();
            trimmed[at] = true;
            heap.extend(oldest(at, &windows[at]));
        }
        self.held.store(held, Ordering::Relaxed);
        (0..windows.len()).filter(|at| trimmed[*at]).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::event::Event;
    use crate::key::ObjectKey;
    use crate::object::{Facets, StoredObject};

    /// An event that keeps about `bytes` alive.
    fn event(revision: u64, bytes: usize) -> Arc<Event> {
        let object = |revision: u64, body: String| {
            let (key, revision) = (ObjectKey::new("pods", "d", "p"), Revision(revision));
            Arc::new(StoredObject::new(key, revision, revision, body.into(), Facets::default()))
        };
        let before = object(revision - 1, "x".repeat(bytes));
        Arc::new(Event::new(Revision(revision), Some(before), object(revision, String::new()), false))
    }

    #[test]
    fn the_oldest_of_all_windows_goes_first_and_a_quiet_one_keeps_what_it_has() {
        let window_bytes = WindowBytes::new(80_000);
        let mut windows: Vec<Window> = (0..3).map(|_| Window::new(Revision(0))).collect();
        windows[2].push(event(1, 5_000), 100);
        let mut due = window_bytes.changed(0, windows[2].bytes());
        for revision in (2..42).step_by(2) {
            for at in [0, 1] {
                assert!(!due);
                let before = windows[at].bytes();
                windows[at].push(event(revision + at as u64, 1_570), 100);
                due = window_bytes.changed(before, windows[at].bytes());
            }
        }
        assert!(due, "40 of two kilobytes and one of five");
        assert_eq!(window_bytes.trim(&mut windows), [0, 1]);
        let held: usize = windows.iter().map(Window::bytes).sum();
        assert!((60_000..=70_000).contains(&held), "{held}");
        assert_eq!(windows[2].len(), 1, "the oldest of all, but little");
        let floors = [windows[0].floor().0, windows[1].floor().0];
        assert!(floors[0].abs_diff(floors[1]) <= 1 && floors[0] > 2, "{floors:?}");
        assert!(!window_bytes.changed(0, 0));
    }
}
