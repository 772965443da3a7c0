//! The core's own thread: takes the mail, steps, hands out placements and refusals. Nothing here waits for the API.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use gantry_scheduler_core::cycle::Scheduler;
use gantry_scheduler_core::meter::Stopwatch;
use gantry_scheduler_core::plan::{Consultation, Decision, Millis, Placement, Refusal, Together};
use tokio::sync::mpsc::UnboundedSender;

use super::SchedulingOptions;
use super::devices::Release;
use super::evict::{Evictions, ToEvict};
use super::inbox::Inbox;
use super::metrics::{Metrics, Outcome, Standing};
use super::report::Reports;

/// Decisions of one step: enough to fill a batch of bindings, few enough that the first does not wait for the last.
const STEP_MAX: usize = 1024;

/// What the binder is given.
pub(super) enum Work {
    /// Pods, each for itself.
    Each(Vec<ToBind>),
    /// The pods of a gang, all or none.
    Together(ToBindTogether),
}

/// A gang's placements, and when each of its pods first came into the queue.
pub(super) struct ToBindTogether {
    pub(super) together: Together,
    pub(super) queued: Vec<Instant>,
}

/// A placement, and when its pod first came into the queue.
pub(super) struct ToBind {
    pub(super) placement: Placement,
    pub(super) queued: Instant,
    /// Whether it still counts as unconfirmed: not while, and not after, its volumes are waited for.
    pub(super) counts: bool,
    /// Whether what must be written first is written.
    pub(super) prepared: bool,
}

/// Who carries out what is decided.
pub(super) struct Hands {
    /// Binds.
    pub(super) placements: UnboundedSender<Work>,
    /// Asks extenders.
    pub(super) questions: UnboundedSender<Consultation>,
    /// Makes room.
    pub(super) evictions: Evictions,
    /// Gives claims of devices back.
    pub(super) releases: UnboundedSender<Release>,
}

/// Starts the thread. It ends when the inbox is closed.
pub(super) fn spawn(
    inbox: Arc<Inbox>,
    hands: Hands,
    reports: Reports,
    metrics: Arc<Metrics>,
    options: SchedulingOptions,
) -> JoinHandle<()> {
    let Hands { placements, questions, evictions, releases } = hands;
    let refuse = {
        let (reports, metrics) = (reports.clone(), metrics.clone());
        move |mut refusal: Refusal, each: Duration| {
            metrics.decided(refusal.profile, Outcome::Unschedulable, each);
            if let Some(preemption) = refusal.preemption.take() {
                let (preemptor, profile) = (refusal.pod.clone(), refusal.profile);
                evictions.make_room(ToEvict { preemption, preemptor, profile });
            }
            if let Some((key, uid)) = refusal.release.take() {
                // Nobody listens only when the loop is ending.
                drop(releases.send(Release { key, uid, pod: refusal.pod.clone() }));
            }
            reports.refused(refusal);
        }
    };
    let work = move || {
        let start = Instant::now();
        let mut core = Scheduler::new(options.core.clone()).timed_by(Box::new(Steady(start)));
        // Bounds the channel of placements, too.
        let mut unconfirmed = 0usize;
        let mut patience = None;
        loop {
            let mail = inbox.take(patience);
            if mail.closed {
                return;
            }
            unconfirmed = unconfirmed.saturating_sub(mail.settled);
            let limit = STEP_MAX.min(options.unconfirmed_max.saturating_sub(unconfirmed));
            metrics.step_begins();
            let began = Instant::now();
            let now = millis(began.duration_since(start));
            let plan = core.step(now, mail.events, limit);
            let took = began.elapsed();
            metrics.step_ended();
            metrics.laps(&plan.laps);
            let standing = Standing {
                pending: core.pending(),
                arrivals: core.arrivals(),
                nodes: core.columns().count() as usize,
                pods: core.pods().count(),
                assumed: core.assumed(),
            };
            metrics.standing(standing, core.tallies());
            let pods: usize = plan.decisions.iter().map(Decision::pods).sum();
            let each = took / u32::try_from(pods.max(1)).unwrap_or(u32::MAX);
            let mut batch = Vec::with_capacity(plan.decisions.len());
            let mut gangs = Vec::new();
            let since = |placement: &Placement| start + Duration::from_millis(placement.since);
            for decision in plan.decisions {
                match decision {
                    Decision::Bind(placement) => {
                        metrics.decided(placement.profile, Outcome::Scheduled, each);
                        let queued = since(&placement);
                        batch.push(ToBind { placement, queued, counts: true, prepared: false });
                    }
                    // The core bounds how many there are. Nobody listens only when the loop is ending.
                    Decision::Consult(question) => drop(questions.send(question)),
                    Decision::Refuse(refusal) => refuse(refusal, each),
                    Decision::BindAll(together) => {
                        // Under its first pod's profile: pods of a gang that ask for several are not to be expected.
                        if let Some(first) = together.placements.first() {
                            let took = each * u32::try_from(together.placements.len()).unwrap_or(u32::MAX);
                            metrics.gang_decided(first.profile, Outcome::Scheduled, took);
                        }
                        for placement in &together.placements {
                            metrics.decided(placement.profile, Outcome::Scheduled, each);
                        }
                        unconfirmed += together.placements.len();
                        let queued = together.placements.iter().map(since).collect();
                        gangs.push(Work::Together(ToBindTogether { together, queued }));
                    }
                    Decision::RefuseAll(apart) => {
                        if let Some(first) = apart.refusals.first() {
                            let took = each * u32::try_from(apart.refusals.len()).unwrap_or(u32::MAX);
                            metrics.gang_decided(first.profile, Outcome::Unschedulable, took);
                        }
                        if apart.news {
                            reports.gang_refused(apart.gang);
                        }
                        apart.refusals.into_iter().for_each(|refusal| refuse(refusal, each));
                    }
                }
            }
            unconfirmed += batch.len();
            let singles = (!batch.is_empty()).then_some(Work::Each(batch));
            for work in singles.into_iter().chain(gangs) {
                // Nobody listens any more only when the loop is ending, and then the inbox is closed.
                if placements.send(work).is_err() {
                    return;
                }
            }
            patience = if plan.more && unconfirmed < options.unconfirmed_max {
                Some(Duration::ZERO)
            } else {
                plan.next_wake.map(|at| Duration::from_millis(at.saturating_sub(now)).max(Duration::from_millis(1)))
            };
        }
    };
    let thread = std::thread::Builder::new().name("scheduler".into()).spawn(work);
    thread.expect("a process that can serve requests can start a thread")
}

/// The machine's clock, as the core reads it.
#[derive(Debug)]
struct Steady(Instant);

impl Stopwatch for Steady {
    fn nanos(&self) -> u64 {
        u64::try_from(self.0.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

fn millis(time: Duration) -> Millis {
    Millis::try_from(time.as_millis()).unwrap_or(Millis::MAX)
}
