//! What the core's thread has yet to hear: filled by the feed and by the outcomes of bindings, emptied all at once.
//!
//! Bounded for the feed, which waits while there is much; not for outcomes, which are as many as the bindings under
//! way, and which the thread may be waiting for. Holds one lock, for moments, that guards nothing else.

use std::time::Duration;

use gantry_scheduler_core::cycle::Event;
use parking_lot::{Condvar, Mutex};
use tokio::sync::Notify;

/// Events above which the feed waits. A list of all pods is one event and always gets in.
const EVENTS_MAX: usize = 16_384;

/// The mailbox of the core's thread.
#[derive(Default)]
pub(super) struct Inbox {
    state: Mutex<State>,
    filled: Condvar,
    emptied: Notify,
}

#[derive(Default)]
struct State {
    events: Vec<Event>,
    /// Bindings whose outcome is known since the thread last looked.
    settled: usize,
    closed: bool,
}

/// What the thread takes out.
pub(super) struct Mail {
    /// Everything that happened, in order.
    pub(super) events: Vec<Event>,
    /// How many bindings were settled.
    pub(super) settled: usize,
    /// Whether this is the end.
    pub(super) closed: bool,
}

impl Inbox {
    /// Puts in what the feed saw; waits for room first.
    pub(super) async fn feed(&self, events: Vec<Event>) {
        loop {
            let emptied = self.emptied.notified();
            {
                let mut state = self.state.lock();
                if state.events.len() < EVENTS_MAX || state.closed {
                    state.events.extend(events);
                    self.filled.notify_one();
                    return;
                }
            }
            emptied.await;
        }
    }

    /// Puts in what became of `bindings` bindings.
    pub(super) fn settle(&self, bindings: usize, events: Vec<Event>) {
        let mut state = self.state.lock();
        state.events.extend(events);
        state.settled += bindings;
        self.filled.notify_one();
    }

    /// Tells the thread to end.
    pub(super) fn close(&self) {
        self.state.lock().closed = true;
        self.filled.notify_one();
    }

    /// Takes all out; waits for something, at most `patience` (`None`: as long as it takes).
    pub(super) fn take(&self, patience: Option<Duration>) -> Mail {
        let mut state = self.state.lock();
        let empty = |state: &mut State| state.events.is_empty() && state.settled == 0 && !state.closed;
        match patience {
            Some(Duration::ZERO) => {}
            Some(patience) => {
                self.filled.wait_while_for(&mut state, empty, patience);
            }
            None => self.filled.wait_while(&mut state, empty),
        }
        let mail = Mail {
            events: std::mem::take(&mut state.events),
            settled: std::mem::take(&mut state.settled),
            closed: state.closed,
        };
        drop(state);
        self.emptied.notify_waiters();
        mail
    }
}
