//! What waits for one watcher: a short queue of events, or a cursor where it was parked.
//!
//! ```text
//!   parked at a cursor ── reader reached the window's end ──▶ queueing
//!        ▲                                                       │
//!        └────────────── queue full, or events lost ─────────────┘
//! ```
//! A parked watcher costs its cursor and nothing else, however slow its reader. Watchers of whole collections stay
//! parked for life: the window is their queue.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Waker;

use futures_util::task::AtomicWaker;
use parking_lot::Mutex;

use crate::event::Event;
use crate::revision::Revision;

/// Shared by a subscription and the dispatcher.
pub(crate) struct Mailbox {
    waker: AtomicWaker,
    /// Set by the first wake since the reader last listened, so that further ones cost one load.
    woken: AtomicBool,
    queue: Mutex<Queue>,
}

struct Queue {
    state: State,
    /// The running batch has given this watcher something; it is on the list to be woken.
    in_batch: bool,
}

enum State {
    Parked(u64),
    Queueing(VecDeque<(u64, Arc<Event>)>),
}

/// What a reader finds.
pub(crate) enum Taken {
    Events(Vec<(u64, Arc<Event>)>),
    Parked(u64),
}

/// What waits, without taking it.
pub(crate) enum Waiting {
    Nothing,
    /// The revision of the first event queued.
    Event(Revision),
    Parked,
}

/// What the dispatcher has to do after an offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Offered {
    /// Nothing: it is on the list already, or its reader needs no waking.
    Known,
    /// Wake it when the batch is through.
    WakeLater,
}

impl Mailbox {
    pub(crate) fn parked_at(seq: u64) -> Self {
        Self {
            waker: AtomicWaker::new(),
            woken: AtomicBool::new(false),
            queue: Mutex::new(Queue { state: State::Parked(seq), in_batch: false }),
        }
    }

    /// Called by the reader before it looks: whatever comes after will wake it.
    pub(crate) fn listen(&self, waker: &Waker) {
        self.waker.register(waker);
        self.woken.store(false, Ordering::SeqCst);
    }

    pub(crate) fn wake(&self) {
        if !self.woken.swap(true, Ordering::SeqCst) {
            self.waker.wake();
        }
    }

    pub(crate) fn take(&self, max: usize) -> Taken {
        let mut queue = self.queue.lock();
        match &mut queue.state {
            State::Parked(at) => Taken::Parked(*at),
            State::Queueing(events) => {
                let count = events.len().min(max);
                Taken::Events(events.drain(..count).collect())
            }
        }
    }

    pub(crate) fn waiting(&self) -> Waiting {
        match &self.queue.lock().state {
            State::Parked(_) => Waiting::Parked,
            State::Queueing(events) => {
                events.front().map_or(Waiting::Nothing, |(_, event)| Waiting::Event(event.revision))
            }
        }
    }

    /// Called by the reader under the dispatch lock, when it has read everything dispatched so far.
    pub(crate) fn unpark(&self) {
        let mut queue = self.queue.lock();
        if matches!(queue.state, State::Parked(_)) {
            queue.state = State::Queueing(VecDeque::new());
        }
    }

    /// Hands an event over, or parks the watcher where it is if its queue is full.
    pub(crate) fn offer(&self, seq: u64, event: &Arc<Event>, queue_max: usize) -> Offered {
        let mut queue = self.queue.lock();
        match &mut queue.state {
            State::Parked(_) => {}
            State::Queueing(events) if events.len() >= queue_max => {
                let cursor = events.front().map_or(seq, |(first, _)| *first);
                queue.state = State::Parked(cursor);
            }
            State::Queueing(events) => events.push_back((seq, event.clone())),
        }
        if std::mem::replace(&mut queue.in_batch, true) { Offered::Known } else { Offered::WakeLater }
    }

    /// Parks the watcher because events from `seq` on were not offered to it.
    pub(crate) fn park(&self, seq: u64) {
        let mut queue = self.queue.lock();
        if let State::Queueing(events) = &queue.state {
            let cursor = events.front().map_or(seq, |(first, _)| *first);
            queue.state = State::Parked(cursor);
        }
    }

    /// The batch is through.
    pub(crate) fn wake_after_batch(&self) {
        self.queue.lock().in_batch = false;
        self.wake();
    }
}
