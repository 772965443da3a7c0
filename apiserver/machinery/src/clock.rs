//! What time it is: the system's, or a simulated one that runs with tokio's (and so stands still under
//! `tokio::time::pause`). Every loop and simulated node takes its timestamps from a [`Clock`] it was given, so tests
//! need no real time.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

/// A source of wall-clock time.
#[derive(Clone, Copy, Debug, Default)]
pub enum Clock {
    /// The machine's clock.
    #[default]
    System,
    /// Starts at a chosen time and follows tokio's clock.
    Simulated {
        /// What the wall clock said then.
        origin: Timestamp,
        /// When that was.
        start: Instant,
    },
}

impl Clock {
    /// A simulated clock that now shows `origin`. Must be called within a tokio runtime.
    #[must_use]
    pub fn simulated(origin: Timestamp) -> Self {
        Self::Simulated { origin, start: Instant::now() }
    }

    /// The time now.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        match self {
            Self::System => Timestamp::now(),
            Self::Simulated { origin, start } => {
                let passed = jiff::SignedDuration::try_from(start.elapsed()).unwrap_or(jiff::SignedDuration::MAX);
                origin.checked_add(passed).unwrap_or(Timestamp::MAX)
            }
        }
    }

    /// How long ago `then` was; zero for the future.
    #[must_use]
    pub fn since(&self, then: Timestamp) -> Duration {
        Duration::try_from(self.now().duration_since(then)).unwrap_or_default()
    }
}
