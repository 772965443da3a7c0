//! One pod on one node, as a state machine without I/O: told what happened, it says what to do and what to report.
//!
//! ```text
//!            sandbox          init containers ended,
//!   Creating ───────► Active  sidecars and containers kept running
//!       │               │ all containers ended for good ──► Ended
//!       │               │ deletion, or the active deadline
//!       └───────────────┴──► Stopping ── all stopped ──► Ended ── (deletion) final delete
//! ```
//! Within `Active`, each container is [`Run`]. Rules follow the Kubernetes pages "Pod Lifecycle", "Init Containers",
//! "Sidecar Containers" and the upstream kubelet's status texts. Called by the fleet, which carries out the
//! [`Effects`] in order; nothing else writes a pod's status on its node.

use std::sync::Arc;
use std::time::Duration;

use compact_str::CompactString;
use jiff::Timestamp;
use tokio::time::Instant;

use super::brief::{PodBrief, Prior, RestartPolicy};
use crate::runtime::{Happened, What};

/// First pause before a container that ended again is restarted, and before a failed pull is tried again.
const BACKOFF_FIRST: Duration = Duration::from_secs(10);
/// The longest such pause.
const BACKOFF_MAX: Duration = Duration::from_secs(300);
/// A container that ran this long begins with the shortest pause again.
const BACKOFF_RESET: Duration = Duration::from_secs(600);

/// The two clocks a worker needs: when things happen, and what the wall clock says.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// For deadlines.
    pub at: Instant,
    /// For statuses.
    pub wall: Timestamp,
}

/// What the fleet is to do after a step.
#[derive(Debug, Default)]
pub struct Effects {
    /// Operations for the runtime, in order.
    pub operations: Vec<What>,
    /// The status is not what it was.
    pub changed: bool,
    /// What to tell people.
    pub facts: Vec<Fact>,
}

/// Something worth an Event.
#[derive(Debug)]
pub struct Fact {
    /// Whether it is a warning.
    pub warning: bool,
    /// Its reason.
    pub reason: &'static str,
    /// Its text.
    pub message: String,
    /// The container it is about.
    pub container: u16,
}

/// Where the pod is; see the drawing above.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Its sandbox is being made.
    Creating,
    /// Its containers are kept as they should be.
    Active,
    /// Its containers are being stopped.
    Stopping,
    /// Nothing of it runs any more.
    Ended,
}

/// One container. `Idle → Pulling → Starting → Running → Exited (→ Backoff → Pulling …)`; a pull that fails goes to
/// `PullFailed` and back to `Pulling`.
#[derive(Clone, Debug, PartialEq)]
pub enum Run {
    /// Not its turn yet.
    Idle,
    /// Its image is being looked for.
    Pulling,
    /// Its image was not to be had; tried again at `until`.
    PullFailed {
        /// When to try again.
        until: Instant,
        /// What the runtime said.
        message: String,
    },
    /// It is being started.
    Starting,
    /// It runs.
    Running {
        /// Since when.
        since: Timestamp,
        /// The same on the other clock.
        at: Instant,
        /// When its probes pass, as far as they have not.
        started_at: Instant,
        /// When it counts as ready.
        ready_at: Instant,
    },
    /// It ended and will not, or not yet, run again.
    Exited,
    /// It ended too often; started again at `until`.
    Backoff {
        /// When.
        until: Instant,
        /// How long it waits, for the message.
        delay: Duration,
    },
}

/// How a container ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Exit {
    /// Its exit code.
    pub code: i32,
    /// When it was started.
    pub started: Timestamp,
    /// When it ended.
    pub finished: Timestamp,
    /// Which start of it.
    pub attempt: u32,
}

/// A container's state and history.
#[derive(Clone, Debug)]
pub struct Container {
    /// What it does.
    pub run: Run,
    /// How often it was restarted.
    pub restarts: u32,
    /// How it last ended.
    pub exit: Option<Box<Exit>>,
    /// Its probes have passed since its start.
    pub started: bool,
    /// It counts as ready.
    pub ready: bool,
    /// It was asked to stop.
    stopping: bool,
    /// It was restarted since it last ran well for long.
    crashed: bool,
    /// Consecutive pauses so far, of restarts or of pulls.
    pauses: u8,
}

/// Why a pod ends that was not asked to by deletion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// `status.reason`
    pub reason: &'static str,
    /// `status.message`
    pub message: &'static str,
}

/// A condition's truth and since when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Truth {
    /// Whether it holds.
    pub holds: bool,
    /// When that last changed.
    pub since: Timestamp,
}

/// The conditions a node keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Conditions {
    /// `PodReadyToStartContainers`
    pub sandbox: Option<Truth>,
    /// `Initialized`
    pub initialized: Option<Truth>,
    /// `Ready`
    pub ready: Option<Truth>,
    /// `ContainersReady`
    pub containers_ready: Option<Truth>,
    /// `PodScheduled`, where nobody set it before the pod came here.
    pub scheduled: Option<Truth>,
}

/// One pod on one node.
#[derive(Debug)]
pub struct Worker {
    /// What the pod is to be.
    pub brief: Arc<PodBrief>,
    /// Where it is.
    pub stage: Stage,
    /// Its containers, as in the brief.
    pub containers: Box<[Container]>,
    /// When a node first took it.
    pub started: Timestamp,
    /// Its address; empty until the sandbox is there.
    pub pod_ip: CompactString,
    /// Why it ends early.
    pub verdict: Option<Verdict>,
    /// The conditions as last reported.
    pub conditions: Conditions,
    /// Readiness gates that are set to True by somebody.
    pub gates_open: bool,
    /// The sandbox is there.
    pub sandbox: bool,
    deadline: Option<Instant>,
}

impl Worker {
    /// A pod that just came to its node, or that ran here in an earlier life of this process. `pod_ip` is the address
    /// it has or is to have.
    #[must_use]
    pub fn new(brief: Arc<PodBrief>, prior: &Prior, pod_ip: CompactString, now: Now, effects: &mut Effects) -> Self {
        let containers: Vec<Container> = brief.containers.iter().map(|_| Container::new()).collect();
        let started = prior.start_time.unwrap_or(now.wall);
        let deadline = brief.active_deadline_seconds.map(|seconds| {
            let whole = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
            let passed = Duration::try_from(now.wall.duration_since(started)).unwrap_or_default();
            now.at + whole.saturating_sub(passed)
        });
        let truth = |name: &str| {
            let found = prior.conditions.iter().find(|condition| condition.r#type == name)?;
            let since = found.last_transition_time.as_ref().map_or(now.wall, |time| time.0);
            Some(Truth { holds: found.status == "True", since })
        };
        let mut worker = Self {
            stage: Stage::Creating,
            containers: containers.into(),
            started,
            pod_ip: CompactString::default(),
            verdict: None,
            conditions: Conditions {
                sandbox: truth("PodReadyToStartContainers"),
                initialized: truth("Initialized"),
                ready: truth("Ready"),
                containers_ready: truth("ContainersReady"),
                scheduled: truth("PodScheduled").is_none().then_some(Truth { holds: true, since: now.wall }),
            },
            gates_open: false,
            sandbox: false,
            deadline,
            brief,
        };
        worker.gates_open = worker.gates(prior);
        if matches!(prior.phase.as_str(), "Succeeded" | "Failed") {
            worker.stage = Stage::Ended;
            return worker;
        }
        if prior.pod_ip.is_empty() {
            worker.pod_ip = pod_ip;
            effects.operations.push(What::CreateSandbox);
            effects.changed = true;
        } else {
            worker.pod_ip = pod_ip;
            worker.sandbox = true;
            worker.stage = Stage::Active;
            worker.adopt(prior, now, effects);
        }
        worker.advance(now, effects);
        worker
    }

    /// Takes up again what the status says that ran.
    fn adopt(&mut self, prior: &Prior, now: Now, effects: &mut Effects) {
        for (at, container) in self.containers.iter_mut().enumerate() {
            let spec = &self.brief.containers[at];
            let Some(found) = prior.containers.iter().find(|found| found.name == spec.name) else { continue };
            container.restarts = found.restart_count;
            let ended = found.state.terminated.as_ref();
            if let Some(ended) = ended.or(found.last_state.terminated.as_ref()) {
                let time = |time: &Option<k8s_openapi::apimachinery::pkg::apis::meta::v1::Time>| {
                    time.as_ref().map_or(now.wall, |time| time.0)
                };
                container.exit = Some(Box::new(Exit {
                    code: ended.exit_code,
                    started: time(&ended.started_at),
                    finished: time(&ended.finished_at),
                    attempt: found.restart_count,
                }));
            }
            if ended.is_some() {
                container.run = Run::Exited;
            } else if let Some(running) = &found.state.running {
                let since = running.started_at.as_ref().map_or(now.wall, |time| time.0);
                let ready_at = if found.ready { now.at } else { now.at + spec.readiness.unwrap_or_default() };
                container.run = Run::Running { since, at: now.at, started_at: now.at, ready_at };
                container.started = true;
                container.ready = found.ready;
                let attempt = container.restarts;
                effects.operations.push(What::Adopt { container: at as u16, attempt, since });
            }
        }
    }

    /// The pod's object changed: its spec, its deletion, or conditions that others set.
    pub fn observe(&mut self, brief: PodBrief, prior: &Prior, now: Now, effects: &mut Effects) {
        let open = self.gates(prior);
        if open != self.gates_open {
            self.gates_open = open;
            effects.changed = true;
        }
        if *self.brief == brief {
            return;
        }
        // Upstream mirrors the generation it has acted on into status.observedGeneration.
        effects.changed |= self.brief.generation != brief.generation;
        let same_containers = self.brief.containers.len() == brief.containers.len();
        let brief = Arc::new(brief);
        let before = std::mem::replace(&mut self.brief, brief);
        if !same_containers {
            // Containers are immutable but for their images; a pod that breaks this is left as it is.
            self.brief = before;
            return;
        }
        for at in 0..self.containers.len() {
            if before.containers[at].image != self.brief.containers[at].image {
                self.stop_container(at, Duration::ZERO, effects);
            }
        }
        self.advance(now, effects);
    }

    /// Something happened in the runtime.
    pub fn happened(&mut self, happened: &Happened, now: Now, effects: &mut Effects) {
        match *happened {
            Happened::SandboxReady if self.stage == Stage::Creating => {
                self.sandbox = true;
                self.stage = Stage::Active;
                effects.changed = true;
            }
            Happened::SandboxReady => {}
            Happened::Pulled { container } => {
                let at = usize::from(container);
                if self.containers[at].run == Run::Pulling && self.stage == Stage::Active {
                    let image = &self.brief.containers[at].image;
                    let message = format!("Container image \"{image}\" already present on machine");
                    effects.facts.push(Fact { warning: false, reason: "Pulled", message, container });
                    let attempt = self.containers[at].restarts;
                    self.containers[at].run = Run::Starting;
                    effects.operations.push(What::Start { container, attempt });
                }
            }
            Happened::PullFailed { container, ref message } => {
                let at = usize::from(container);
                if self.containers[at].run == Run::Pulling {
                    let image = &self.brief.containers[at].image;
                    let text = format!("Failed to pull image \"{image}\": {message}");
                    effects.facts.push(Fact { warning: true, reason: "Failed", message: text, container });
                    let until = now.at + self.containers[at].lengthen_pause();
                    self.containers[at].run = Run::PullFailed { until, message: message.clone() };
                    effects.changed = true;
                }
            }
            Happened::Started { container, attempt } => {
                let at = usize::from(container);
                let spec = &self.brief.containers[at];
                if self.containers[at].run == Run::Starting && self.containers[at].restarts == attempt {
                    let name = &spec.name;
                    let created = format!("Created container: {name}");
                    effects.facts.push(Fact { warning: false, reason: "Created", message: created, container });
                    let started = format!("Started container {name}");
                    effects.facts.push(Fact { warning: false, reason: "Started", message: started, container });
                    let started_at = now.at + spec.startup.unwrap_or_default();
                    let ready_at = started_at + spec.readiness.unwrap_or_default();
                    self.containers[at].run = Run::Running { since: now.wall, at: now.at, started_at, ready_at };
                    effects.changed = true;
                    if self.stage == Stage::Stopping {
                        self.stop_container(at, self.grace_left(now), effects);
                    }
                }
            }
            Happened::Exited { container, attempt, code } => {
                let at = usize::from(container);
                if self.containers[at].restarts == attempt {
                    self.exited(at, code, now);
                    effects.changed = true;
                }
            }
        }
        self.advance(now, effects);
    }

    /// A deadline has come; see [`next_deadline`](Self::next_deadline).
    pub fn tick(&mut self, now: Now, effects: &mut Effects) {
        if self.deadline.is_some_and(|deadline| deadline <= now.at) {
            self.deadline = None;
            if matches!(self.stage, Stage::Creating | Stage::Active) {
                let message = "Pod was active on the node longer than the specified deadline";
                self.verdict = Some(Verdict { reason: "DeadlineExceeded", message });
                self.stage = Stage::Stopping;
                effects.changed = true;
            }
        }
        self.advance(now, effects);
    }

    /// When [`tick`](Self::tick) has something to do.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        if self.stage == Stage::Ended {
            return None;
        }
        let containers = self.containers.iter().filter_map(|container| match &container.run {
            Run::PullFailed { until, .. } | Run::Backoff { until, .. } => Some(*until),
            Run::Running { started_at, .. } if !container.started => Some(*started_at),
            Run::Running { ready_at, .. } if !container.ready && !container.stopping => Some(*ready_at),
            _ => None,
        });
        containers.chain(self.deadline).min()
    }

    /// Nothing of it runs and it was asked to go: the object may be deleted for good. With finalizers, its last status
    /// must be written first.
    #[must_use]
    pub fn finished(&self) -> bool {
        self.stage == Stage::Ended && self.brief.deletion.is_some()
    }

    /// Begins whatever is due. Every event ends here, so a missed event costs nothing.
    fn advance(&mut self, now: Now, effects: &mut Effects) {
        if self.brief.deletion.is_some() && matches!(self.stage, Stage::Creating | Stage::Active) {
            self.stage = Stage::Stopping;
            effects.changed = true;
        }
        for container in &mut self.containers {
            effects.changed |= container.pass_probes(now.at);
        }
        match self.stage {
            Stage::Creating | Stage::Ended => {}
            Stage::Active => self.keep_running(now, effects),
            Stage::Stopping => self.keep_stopping(now, effects),
        }
    }

    fn keep_running(&mut self, now: Now, effects: &mut Effects) {
        for at in 0..self.containers.len() {
            let spec = &self.brief.containers[at];
            let (init, sidecar) = (spec.init, spec.sidecar);
            self.ensure(at, now, effects);
            // Init containers go one by one: each must have ended well, a sidecar must have started up.
            let passed = if sidecar { self.containers[at].started } else { self.containers[at].ended_well() };
            if init && !passed {
                break;
            }
        }
        let failed_init = (0..self.containers.len()).any(|at| {
            let spec = &self.brief.containers[at];
            spec.init && !spec.sidecar && self.containers[at].run == Run::Exited && !self.containers[at].ended_well()
        });
        let done = self.mains().all(|container| container.run == Run::Exited);
        if done || (failed_init && self.brief.restart_policy == RestartPolicy::Never) {
            // Sidecars go last.
            self.stage = Stage::Stopping;
            effects.changed = true;
            self.keep_stopping(now, effects);
        }
    }

    /// Brings one container a step further.
    fn ensure(&mut self, at: usize, now: Now, effects: &mut Effects) {
        let container = at as u16;
        match &self.containers[at].run {
            Run::Idle => {
                self.containers[at].run = Run::Pulling;
                effects.operations.push(What::PullImage { container });
            }
            Run::PullFailed { until, .. } if *until <= now.at => {
                self.containers[at].run = Run::Pulling;
                effects.operations.push(What::PullImage { container });
            }
            Run::Backoff { until, .. } if *until <= now.at => self.restart(at, effects),
            Run::Exited => {
                let spec = &self.brief.containers[at];
                let well = self.containers[at].ended_well();
                let again = if spec.sidecar {
                    true
                } else if spec.init {
                    !well && self.brief.restart_policy != RestartPolicy::Never
                } else {
                    match self.brief.restart_policy {
                        RestartPolicy::Always => true,
                        RestartPolicy::OnFailure => !well,
                        RestartPolicy::Never => false,
                    }
                };
                if again {
                    self.restart_or_wait(at, now, effects);
                }
            }
            Run::Pulling | Run::Starting | Run::Running { .. } | Run::Backoff { .. } | Run::PullFailed { .. } => {}
        }
    }

    fn restart_or_wait(&mut self, at: usize, now: Now, effects: &mut Effects) {
        let container = &mut self.containers[at];
        if let Some(exit) = &container.exit
            && Duration::try_from(exit.finished.duration_since(exit.started)).unwrap_or_default() >= BACKOFF_RESET
        {
            container.crashed = false;
        }
        // The first restart is free, as upstream's.
        if !container.crashed {
            container.crashed = true;
            container.pauses = 0;
            return self.restart(at, effects);
        }
        let delay = container.lengthen_pause();
        container.run = Run::Backoff { until: now.at + delay, delay };
        let (name, pod) = (&self.brief.containers[at].name, &self.brief);
        let message =
            format!("Back-off restarting failed container {name} in pod {}_{}({})", pod.name, pod.namespace, pod.uid);
        effects.facts.push(Fact { warning: true, reason: "BackOff", message, container: at as u16 });
        effects.changed = true;
    }

    fn restart(&mut self, at: usize, effects: &mut Effects) {
        let container = &mut self.containers[at];
        container.restarts += 1;
        container.stopping = false;
        container.run = Run::Pulling;
        effects.operations.push(What::PullImage { container: at as u16 });
        effects.changed = true;
    }

    fn keep_stopping(&mut self, now: Now, effects: &mut Effects) {
        let grace = self.grace_left(now);
        for at in 0..self.containers.len() {
            // What is not running never will be.
            if matches!(
                self.containers[at].run,
                Run::Idle | Run::Pulling | Run::PullFailed { .. } | Run::Backoff { .. }
            ) && self.containers[at].exit.is_some()
            {
                self.containers[at].run = Run::Exited;
            }
            if !self.brief.containers[at].sidecar {
                self.stop_container(at, grace, effects);
            }
        }
        let runs = |container: &Container| matches!(container.run, Run::Starting | Run::Running { .. });
        let mains_run =
            (0..self.containers.len()).any(|at| !self.brief.containers[at].sidecar && runs(&self.containers[at]));
        if mains_run {
            return;
        }
        // Sidecars stop in the reverse order of their start, one after the other.
        let sidecar = (0..self.containers.len()).rev().find(|at| runs(&self.containers[*at]));
        match sidecar {
            Some(at) => self.stop_container(at, grace, effects),
            None => {
                self.stage = Stage::Ended;
                self.sandbox = false;
                effects.changed = true;
            }
        }
    }

    fn stop_container(&mut self, at: usize, grace: Duration, effects: &mut Effects) {
        let container = &mut self.containers[at];
        if matches!(container.run, Run::Running { .. }) && !container.stopping {
            container.stopping = true;
            container.ready = false;
            effects.changed = true;
            let name = &self.brief.containers[at].name;
            let message = format!("Stopping container {name}");
            effects.facts.push(Fact { warning: false, reason: "Killing", message, container: at as u16 });
            let attempt = container.restarts;
            effects.operations.push(What::Stop { container: at as u16, attempt, grace });
        }
    }

    fn exited(&mut self, at: usize, code: i32, now: Now) {
        let container = &mut self.containers[at];
        let Run::Running { since, .. } = container.run else { return };
        let exit = Exit { code, started: since, finished: now.wall, attempt: container.restarts };
        container.exit = Some(Box::new(exit));
        container.run = Run::Exited;
        container.started = false;
        container.ready = false;
    }

    /// The containers that are not init containers.
    fn mains(&self) -> impl Iterator<Item = &Container> {
        let specs = self.brief.containers.iter();
        self.containers.iter().zip(specs).filter(|(_, spec)| !spec.init).map(|(container, _)| container)
    }

    fn grace_left(&self, now: Now) -> Duration {
        match self.brief.deletion {
            Some(deletion) => {
                let whole = Duration::from_secs(u64::try_from(deletion.grace_seconds).unwrap_or(0));
                let left = Duration::try_from(deletion.at.duration_since(now.wall)).unwrap_or_default();
                left.min(whole)
            }
            None => Duration::from_secs(u64::try_from(self.brief.grace_seconds).unwrap_or(0)),
        }
    }

    fn gates(&self, prior: &Prior) -> bool {
        self.brief.readiness_gates.iter().all(|gate| {
            prior.conditions.iter().any(|condition| condition.r#type == *gate && condition.status == "True")
        })
    }
}

impl Container {
    fn new() -> Self {
        Self {
            run: Run::Idle,
            restarts: 0,
            exit: None,
            started: false,
            ready: false,
            stopping: false,
            crashed: false,
            pauses: 0,
        }
    }

    /// It ended with exit code zero and does not run again.
    #[must_use]
    pub fn ended_well(&self) -> bool {
        self.run == Run::Exited && self.exit.as_ref().is_some_and(|exit| exit.code == 0)
    }

    /// The next pause: 10 s, doubled each time, at most 300 s.
    fn lengthen_pause(&mut self) -> Duration {
        let pause = BACKOFF_FIRST.saturating_mul(1 << self.pauses.min(10)).min(BACKOFF_MAX);
        self.pauses = self.pauses.saturating_add(1);
        pause
    }

    /// Whether something changed: probes are taken to pass after their initial delays.
    fn pass_probes(&mut self, now: Instant) -> bool {
        let Run::Running { started_at, ready_at, .. } = self.run else { return false };
        let before = (self.started, self.ready);
        self.started |= started_at <= now;
        self.ready = !self.stopping && (self.ready || ready_at <= now);
        before != (self.started, self.ready)
    }
}

#[cfg(test)]
mod tests;
