//! Containers that only take time: sandboxes, pulls, starts and stops end after configured delays, spread by a seed.
//!
//! What a pod can ask of it, by annotation: `gantry.dev/run-for` (how long its containers run: `5s`, `2m`) and
//! `gantry.dev/exit-code`. Without them, containers of pods that are not restarted always (Jobs, `kubectl run
//! --restart=Never`) end by themselves when their command is one that would: `sleep N`, `true`, `false`, `echo`.
//! Images tagged `404`, `nonexistent` or `non-existent` cannot be pulled.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use async_trait::async_trait;
use gantry_machinery::clock::Clock;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::{ContainerRuntime, Happened, Operation, Outcome, PodId, What};
use crate::pods::brief::{PodBrief, RestartPolicy};
use crate::seeded;

/// The time between beats, on which delays end.
const BEAT: Duration = Duration::from_millis(5);

/// How the simulation behaves.
#[derive(Clone, Debug)]
pub struct SimulatedConfig {
    /// From the first look at a pod to its first container's start; zero starts at once.
    pub start_delay: Duration,
    /// How long a container takes to stop; never more than its grace period.
    pub stop_delay: Duration,
    /// Delays are spread over `delay × (1 ± spread)`; 0 to 1.
    pub spread: f64,
    /// How many of 1,000 container runs crash within their first minute.
    pub crashes_per_mille: u32,
    /// Decides all that is random.
    pub seed: u64,
}

impl Default for SimulatedConfig {
    fn default() -> Self {
        Self {
            start_delay: Duration::from_millis(100),
            stop_delay: Duration::from_millis(100),
            spread: 0.2,
            crashes_per_mille: 0,
            seed: 0,
        }
    }
}

/// The simulated runtime: a heap of what will happen when.
pub struct Simulated {
    config: SimulatedConfig,
    clock: Clock,
    began: Instant,
    /// Held for moments, never across an await.
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    /// What happens at once, without a place in the heap.
    now: Vec<Outcome>,
    later: BinaryHeap<Reverse<Due>>,
    sequence: u64,
}

struct Due {
    at: Instant,
    sequence: u64,
    outcome: Outcome,
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.sequence) == (other.at, other.sequence)
    }
}

impl Eq for Due {}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Due {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.sequence).cmp(&(other.at, other.sequence))
    }
}

impl Simulated {
    /// A runtime without containers.
    #[must_use]
    pub fn new(config: SimulatedConfig, clock: Clock) -> Self {
        Self { config, clock, began: Instant::now(), state: Mutex::default(), changed: Notify::new() }
    }

    fn after(&self, delay: Duration, pod: PodId, what: Happened) {
        let outcome = Outcome { pod, what };
        let mut state = self.state.lock();
        if delay.is_zero() {
            state.now.push(outcome);
        } else {
            state.sequence += 1;
            let sequence = state.sequence;
            state.later.push(Reverse(Due { at: self.next_beat(Instant::now() + delay), sequence, outcome }));
        }
        drop(state);
        self.changed.notify_one();
    }

    /// Delays end on common beats: what ends together is told, and its status written, together.
    fn next_beat(&self, at: Instant) -> Instant {
        let since = at.duration_since(self.began).as_nanos().next_multiple_of(BEAT.as_nanos());
        self.began + Duration::from_nanos(u64::try_from(since).unwrap_or(u64::MAX))
    }

    fn spread(&self, delay: Duration, salt: u64) -> Duration {
        let unit = seeded::unit(self.config.seed ^ salt);
        delay.mul_f64((1.0 + self.config.spread * (2.0 * unit - 1.0)).max(0.0))
    }

    fn run(&self, operation: &Operation, container: u16, attempt: u32, ran: Duration) {
        if let Some((length, code)) = self.end_of(&operation.brief, container, attempt) {
            let exited = Happened::Exited { container, attempt, code };
            self.after(length.saturating_sub(ran), operation.pod, exited);
        }
    }

    /// When a container ends by itself, and how.
    fn end_of(&self, brief: &PodBrief, container: u16, attempt: u32) -> Option<(Duration, i32)> {
        let spec = &brief.containers[usize::from(container)];
        if spec.init && !spec.sidecar {
            return Some((Duration::ZERO, 0));
        }
        let salt = seeded::of(self.config.seed, &[brief.uid.as_bytes(), spec.name.as_bytes(), &attempt.to_le_bytes()]);
        if salt % 1000 < u64::from(self.config.crashes_per_mille) {
            return Some((Duration::from_secs(60).mul_f64(seeded::unit(salt)), 1));
        }
        if spec.sidecar {
            return None;
        }
        if let Some(length) = brief.run_for {
            return Some((length, brief.exit_code.unwrap_or(0)));
        }
        if brief.restart_policy == RestartPolicy::Always {
            return None;
        }
        if let Some(code) = brief.exit_code {
            return Some((Duration::ZERO, code));
        }
        let mut words = spec.command.iter().map(|word| word.rsplit('/').next().unwrap_or(word));
        match words.next()? {
            "sleep" => {
                let length = words.next()?;
                length.parse().ok().map(|seconds| (Duration::from_secs(seconds), 0))
            }
            "true" | "echo" => Some((Duration::ZERO, 0)),
            "false" => Some((Duration::ZERO, 1)),
            _ => None,
        }
    }
}

/// Whether an image is one that the simulation cannot pull.
fn missing(image: &str) -> bool {
    let tag = image.rsplit('/').next().and_then(|last| last.split_once(':')).map_or("", |(_, tag)| tag);
    matches!(tag, "404" | "nonexistent" | "non-existent")
}

#[async_trait]
impl ContainerRuntime for Simulated {
    fn scheme(&self) -> &'static str {
        "simulated"
    }

    fn version(&self) -> String {
        concat!("simulated://", env!("CARGO_PKG_VERSION")).to_owned()
    }

    fn begin(&self, operation: Operation) {
        let pod = operation.pod;
        match operation.what {
            What::CreateSandbox => {
                let salt = seeded::of(0, &[operation.brief.uid.as_bytes()]);
                self.after(self.spread(self.config.start_delay, salt), pod, Happened::SandboxReady);
            }
            What::PullImage { container } => {
                let image = &operation.brief.containers[usize::from(container)].image;
                let what = if missing(image) {
                    let message = format!("failed to resolve image \"{image}\": {image}: not found");
                    Happened::PullFailed { container, message }
                } else {
                    Happened::Pulled { container }
                };
                self.after(Duration::ZERO, pod, what);
            }
            What::Start { container, attempt } => {
                self.after(Duration::ZERO, pod, Happened::Started { container, attempt });
                self.run(&operation, container, attempt, Duration::ZERO);
            }
            What::Adopt { container, attempt, since } => {
                self.run(&operation, container, attempt, self.clock.since(since));
            }
            What::Stop { container, attempt, grace } => {
                let salt = seeded::of(1, &[operation.brief.uid.as_bytes(), &container.to_le_bytes()]);
                let takes = self.spread(self.config.stop_delay, salt);
                let code = if takes > grace { 137 } else { 0 };
                self.after(takes.min(grace), pod, Happened::Exited { container, attempt, code });
            }
        }
    }

    fn forget(&self, _pod: PodId) {
        // Nothing is kept by pod; what is still in the heap about it is ignored by whoever takes it out.
    }

    async fn finished(&self) -> Vec<Outcome> {
        loop {
            let next = {
                let mut state = self.state.lock();
                let mut ready = std::mem::take(&mut state.now);
                let now = Instant::now();
                while state.later.peek().is_some_and(|Reverse(due)| due.at <= now) {
                    if let Some(Reverse(due)) = state.later.pop() {
                        ready.push(due.outcome);
                    }
                }
                if !ready.is_empty() {
                    return ready;
                }
                state.later.peek().map(|Reverse(due)| due.at)
            };
            match next {
                Some(at) => {
                    let _ = tokio::time::timeout_at(at, self.changed.notified()).await;
                }
                None => self.changed.notified().await,
            }
        }
    }
}
