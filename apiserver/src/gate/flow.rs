//! Flow control: how many requests run at once, how many wait, and who is told to come back later.
//!
//! Three lanes of their own: reads, writes, and the control plane's parts (nodes and `system:` components), so that a
//! storm of users cannot keep heartbeats and bindings out. A lane runs at most its limit, lets a bounded number wait for
//! a bounded time, and answers 429 with Retry-After to the rest; memory never grows with load. `system:masters` and
//! long-running requests (watches, bounded by connections) pass freely.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use gantry_machinery::status::Status;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::authz::MASTERS;
use crate::http::route::RequestInfo;
use crate::registry::request::UserInfo;

/// How long a request waits for its turn before it is sent away.
const WAIT_MAX: Duration = Duration::from_secs(5);
/// As many requests may wait as this many times the lane's limit.
const WAITING_PER_RUNNING: usize = 4;
/// What the sent away are told to wait.
const RETRY_AFTER_SECONDS: u32 = 1;

/// Which lane a request runs in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// Nothing holds it up.
    Exempt,
    /// Nodes and the control plane's parts.
    System,
    /// Writes.
    Mutating,
    /// Reads.
    ReadOnly,
}

impl Lane {
    /// The lane of a request.
    #[must_use]
    pub fn of(user: &UserInfo, info: &RequestInfo) -> Self {
        let health = !info.resource_request && matches!(info.path.as_str(), "/healthz" | "/livez" | "/readyz");
        if info.long_running() || health || user.is_in(MASTERS) {
            Self::Exempt
        } else if user.is_in("system:nodes") || user.name.starts_with("system:kube-") {
            Self::System
        } else if info.read_only() {
            Self::ReadOnly
        } else {
            Self::Mutating
        }
    }

    /// The name of the priority level that upstream would have put the request in.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Exempt => "exempt",
            Self::System => "system",
            Self::Mutating => "mutating",
            Self::ReadOnly => "readOnly",
        }
    }
}

/// The lanes.
pub struct FlowControl {
    system: Limit,
    mutating: Limit,
    read_only: Limit,
}

struct Limit {
    running: Arc<Semaphore>,
    size: usize,
    waiting: AtomicUsize,
    refused: AtomicUsize,
}

/// A place in a lane, given back when dropped.
#[derive(Debug)]
pub struct Place {
    _permit: Option<OwnedSemaphorePermit>,
}

impl FlowControl {
    /// Lanes of these sizes (`--max-requests-inflight`, `--max-mutating-requests-inflight`); the control plane's lane
    /// is as large as both.
    #[must_use]
    pub fn new(read_only: usize, mutating: usize) -> Self {
        Self {
            system: Limit::new(read_only + mutating),
            mutating: Limit::new(mutating),
            read_only: Limit::new(read_only),
        }
    }

    /// Waits for a place.
    ///
    /// # Errors
    /// 429 when too many wait already, or the wait took too long.
    pub async fn enter(&self, lane: Lane) -> Result<Place, Status> {
        match lane {
            Lane::Exempt => Ok(Place { _permit: None }),
            Lane::System => self.system.enter().await,
            Lane::Mutating => self.mutating.enter().await,
            Lane::ReadOnly => self.read_only.enter().await,
        }
    }

    /// The lanes as they are now.
    #[must_use]
    pub fn counts(&self) -> [LaneCount; 3] {
        [(Lane::System, &self.system), (Lane::Mutating, &self.mutating), (Lane::ReadOnly, &self.read_only)].map(
            |(lane, limit)| LaneCount {
                name: lane.name(),
                running: limit.size - limit.running.available_permits(),
                waiting: limit.waiting.load(Ordering::Relaxed),
                refused: limit.refused.load(Ordering::Relaxed),
            },
        )
    }
}

/// One lane as it is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaneCount {
    /// Its name.
    pub name: &'static str,
    /// Requests that run.
    pub running: usize,
    /// Requests that wait.
    pub waiting: usize,
    /// Requests sent away since the start.
    pub refused: usize,
}

impl Limit {
    fn new(size: usize) -> Self {
        let size = size.max(1);
        Self {
            running: Arc::new(Semaphore::new(size)),
            size,
            waiting: AtomicUsize::new(0),
            refused: AtomicUsize::new(0),
        }
    }

    async fn enter(&self) -> Result<Place, Status> {
        if let Ok(permit) = self.running.clone().try_acquire_owned() {
            return Ok(Place { _permit: Some(permit) });
        }
        let _waiting = Waiting::new(&self.waiting, self.size * WAITING_PER_RUNNING).ok_or_else(|| self.refuse())?;
        match tokio::time::timeout(WAIT_MAX, self.running.clone().acquire_owned()).await {
            Ok(permit) => Ok(Place { _permit: Some(permit.expect("the lanes are never closed")) }),
            Err(_) => Err(self.refuse()),
        }
    }

    fn refuse(&self) -> Status {
        self.refused.fetch_add(1, Ordering::Relaxed);
        Status::too_many_requests("Too many requests, please try again later.", RETRY_AFTER_SECONDS)
    }
}

/// Counts one waiter, also when its request is given up.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicUsize, max: usize) -> Option<Self> {
        let before = count.fetch_add(1, Ordering::AcqRel);
        let waiting = Self(count);
        (before < max).then_some(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_full_lane_lets_a_bounded_number_wait_and_sends_the_rest_away() {
        let flow = FlowControl::new(1, 1);
        let first = flow.enter(Lane::Mutating).await.unwrap();
        let mut waiting: Vec<_> = (0..WAITING_PER_RUNNING).map(|_| Box::pin(flow.enter(Lane::Mutating))).collect();
        for waiter in &mut waiting {
            assert!(waiter.now_or_never().is_none());
        }
        let refused = flow.enter(Lane::Mutating).await.unwrap_err();
        assert_eq!((refused.code, refused.details.unwrap().retry_after_seconds), (429, RETRY_AFTER_SECONDS));
        assert!(flow.enter(Lane::ReadOnly).await.is_ok(), "lanes do not hold each other up");
        drop(first);
        let second = waiting.remove(0).await.unwrap();
        assert_eq!(waiting.remove(0).await.unwrap_err().code, 429, "waiting is bounded in time");
        drop((second, waiting));
        assert_eq!(flow.counts()[1], LaneCount { name: "mutating", running: 0, waiting: 0, refused: 2 });
    }

    #[test]
    fn lanes_follow_the_user_and_the_verb() {
        let info = |verb| RequestInfo { verb, resource_request: true, ..RequestInfo::default() };
        let node = UserInfo::new("system:node:n", &["system:nodes"]);
        let user = UserInfo::new("jane", &["system:authenticated"]);
        assert_eq!(Lane::of(&node, &info("patch")), Lane::System);
        assert_eq!(Lane::of(&user, &info("list")), Lane::ReadOnly);
        assert_eq!(Lane::of(&user, &info("create")), Lane::Mutating);
        assert_eq!(Lane::of(&user, &info("watch")), Lane::Exempt);
        assert_eq!(Lane::of(&UserInfo::new("root", &[MASTERS]), &info("create")), Lane::Exempt);
    }
}
