//! What the scheduling loop measures, under upstream's names and in upstream's buckets; [`text`] shows it.
//!
//! The rules of filtering and scoring are not timed one by one: a class of pods is scanned with all of them at once, and
//! most decisions scan nothing. Their time together is the `Filter` point's. Plugins that run by themselves have series
//! of their own: volumes looked up, room made, volumes bound, pods bound. What upstream measures of parts that do not
//! exist here (goroutines of a plugin, hints between batches, waits at Permit) has no series rather than a zero.

pub mod resources;
mod text;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use gantry_scheduler_core::cycle::{Arrivals, Pending};
use gantry_scheduler_core::meter::{Lap, Point, Tallies, Timed};
use gantry_scheduler_core::profile::{Plugin, ProfileId};
use parking_lot::Mutex;

use crate::runtime::histogram::Histogram;

/// How a scheduling attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A node was found.
    Scheduled,
    /// None was found.
    Unschedulable,
    /// The binding failed, or an extender could not be asked.
    Error,
}

impl Outcome {
    const ALL: [Self; 3] = [Self::Error, Self::Scheduled, Self::Unschedulable];

    /// Upstream's label.
    const fn label(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Scheduled => "scheduled",
            Self::Unschedulable => "unschedulable",
        }
    }
}

/// What is counted of one profile.
#[derive(Debug)]
struct OfProfile {
    name: Box<str>,
    /// By outcome.
    attempts: [Histogram<15>; 3],
    /// Of gangs, by outcome.
    gangs: [Histogram<15>; 3],
    /// By extension point, failed and passed.
    points: BTreeMap<&'static str, [Histogram<12>; 2]>,
}

/// The extension points that are timed. `Bind` and `PreBind` for every pod, the others for a sample.
const POINTS: [&str; 6] = ["Bind", "Filter", "PostFilter", "PreBind", "PreFilter", "Reserve"];

const fn point_name(point: Point) -> &'static str {
    match point {
        Point::PreFilter => "PreFilter",
        Point::Filter => "Filter",
        Point::PostFilter => "PostFilter",
        Point::Reserve => "Reserve",
    }
}

/// A call of the API that no decision waits for (upstream's `call_type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// A pod's condition or nomination.
    StatusPatch,
    /// A pod's binding.
    Binding,
}

impl Call {
    const ALL: [Self; 2] = [Self::Binding, Self::StatusPatch];

    const fn label(self) -> &'static str {
        match self {
            Self::StatusPatch => "pod_status_patch",
            Self::Binding => "pod_binding",
        }
    }
}

/// What became of an Event that was to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventFate {
    /// It is written.
    Written,
    /// Too many waited already.
    Dropped,
    /// The API refused it.
    Failed,
}

impl EventFate {
    const ALL: [Self; 3] = [Self::Written, Self::Dropped, Self::Failed];

    const fn label(self) -> &'static str {
        match self {
            Self::Written => "written",
            Self::Dropped => "dropped",
            Self::Failed => "failed",
        }
    }
}

/// Calls of one kind.
#[derive(Debug)]
struct Calls {
    pending: AtomicI64,
    /// Failed and done.
    took: [Histogram<15>; 2],
}

/// How long the core's thread may take for one step before it counts as stuck.
const STEP_MAX: Duration = Duration::from_secs(60);

/// What the core says of itself after a step.
#[derive(Clone, Copy, Debug, Default)]
pub struct Standing {
    /// Who is in which queue.
    pub pending: Pending,
    /// Who came into the queues, and why, since the start.
    pub arrivals: Arrivals,
    /// Nodes known.
    pub nodes: usize,
    /// Pods known.
    pub pods: usize,
    /// Pods placed and not yet seen bound.
    pub assumed: usize,
}

/// What the core's thread says of itself.
#[derive(Debug, Default)]
struct Said {
    standing: Standing,
    tallies: Tallies,
}

/// Counters and histograms. All methods may be called from anywhere.
#[derive(Debug)]
pub struct Metrics {
    profiles: Box<[OfProfile]>,
    /// Held for moments.
    said: Mutex<Said>,
    algorithm: Histogram<15>,
    gang_algorithm: Histogram<15>,
    /// By attempts: 1, 2, ..., 15, 16+.
    sli: [Histogram<20>; 16],
    attempts: Histogram<5>,
    bind_plugin: [Histogram<20>; 2],
    /// Plugins that run by themselves, timed for a sample of pods: by plugin and point, failed and passed.
    plugins: Mutex<BTreeMap<(&'static str, &'static str), [Histogram<20>; 2]>>,
    /// Events that the core took in, a sample of them, by what they are.
    events: Mutex<BTreeMap<&'static str, Histogram<12>>>,
    /// By [`Call`].
    calls: [Calls; 2],
    /// Evictions, failed and done.
    evictions: [Histogram<20>; 2],
    /// By [`EventFate`].
    event_fates: [AtomicU64; 3],
    volume_errors: AtomicU64,
    /// Claims asked for in the stead of extended resources: failures, successes.
    claims_made: [AtomicU64; 2],
    preemption_victims: Histogram<7>,
    /// When the step under way began, in milliseconds since `born` and one more; 0 while there is none.
    step_began: AtomicU64,
    born: Instant,
    synced: AtomicBool,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new(["default-scheduler"])
    }
}

impl Metrics {
    /// Nothing measured yet. The profiles are those of the core, in its order.
    pub fn new<'a>(profiles: impl IntoIterator<Item = &'a str>) -> Self {
        let of_profile = |name: &str| OfProfile {
            name: name.into(),
            attempts: std::array::from_fn(|_| Histogram::growing(0.001, 2.0)),
            gangs: std::array::from_fn(|_| Histogram::growing(0.001, 2.0)),
            points: POINTS.into_iter().map(|point| (point, pair(|| Histogram::growing(0.0001, 2.0)))).collect(),
        };
        Self {
            profiles: profiles.into_iter().map(of_profile).collect(),
            said: Mutex::default(),
            algorithm: Histogram::growing(0.001, 2.0),
            gang_algorithm: Histogram::growing(0.001, 2.0),
            sli: std::array::from_fn(|_| Histogram::growing(0.01, 2.0)),
            attempts: Histogram::growing(1.0, 2.0),
            bind_plugin: pair(plugin_times),
            plugins: Mutex::default(),
            events: Mutex::default(),
            calls: pair(|| Calls { pending: AtomicI64::new(0), took: pair(|| Histogram::growing(0.001, 2.0)) }),
            evictions: pair(|| Histogram::growing(0.01, 2.0)),
            event_fates: std::array::from_fn(|_| AtomicU64::new(0)),
            volume_errors: AtomicU64::new(0),
            claims_made: std::array::from_fn(|_| AtomicU64::new(0)),
            preemption_victims: Histogram::growing(1.0, 2.0),
            step_began: AtomicU64::new(0),
            born: Instant::now(),
            synced: AtomicBool::new(false),
        }
    }

    /// One pod was decided on. A step decides on many; each counts with its share of the step.
    pub fn decided(&self, profile: ProfileId, outcome: Outcome, took: Duration) {
        self.of(profile).attempts[outcome as usize].add(took.as_secs_f64());
        self.algorithm.add(took.as_secs_f64());
    }

    /// A gang was decided on as a whole; its pods were counted one by one besides.
    pub fn gang_decided(&self, profile: ProfileId, outcome: Outcome, took: Duration) {
        self.of(profile).gangs[outcome as usize].add(took.as_secs_f64());
        self.gang_algorithm.add(took.as_secs_f64());
    }

    /// A pod is bound, so long after it first came into the queue.
    pub fn bound(&self, took: Duration, attempts: u32) {
        let at = attempts.clamp(1, 16) as usize - 1;
        self.sli[at].add(took.as_secs_f64());
        self.attempts.add(f64::from(attempts));
    }

    /// A pod's binding was asked for and answered, with success or without.
    pub fn bind(&self, profile: ProfileId, success: bool, took: Duration) {
        self.point(profile, "Bind", success, took);
        self.bind_plugin[usize::from(success)].add(took.as_secs_f64());
        self.call_ended(Call::Binding, success, took);
        if !success {
            self.of(profile).attempts[Outcome::Error as usize].add(took.as_secs_f64());
        }
    }

    /// A pod that fits nowhere displaces so many others.
    pub fn preempted(&self, victims: usize) {
        self.preemption_victims.add(victims as f64);
    }

    /// Pieces of decisions and events that were timed.
    pub fn laps(&self, laps: &[Lap]) {
        for Lap { what, nanos } in laps {
            let took = Duration::from_nanos(*nanos);
            match what {
                Timed::Point { point, profile, passed } => self.point(*profile, point_name(*point), *passed, took),
                Timed::Plugin { plugin, point, passed } => {
                    self.plugin(plugin.name(), point_name(*point), *passed, took);
                }
                Timed::Event(label) => {
                    let mut events = self.events.lock();
                    let histogram = events.entry(label).or_insert_with(|| Histogram::growing(0.0001, 2.0));
                    histogram.add(took.as_secs_f64());
                }
            }
        }
    }

    /// A pod's volumes were made ready before it was bound, or were not.
    pub fn volumes_prepared(&self, profile: ProfileId, success: bool, took: Duration) {
        self.point(profile, "PreBind", success, took);
        self.plugin(Plugin::VolumeBinding.name(), "PreBind", success, took);
        self.volume_errors.fetch_add(u64::from(!success), Relaxed);
    }

    /// A claim was asked for that stands in for extended resources.
    pub(super) fn claim_made(&self, success: bool) {
        self.claims_made[usize::from(success)].fetch_add(1, Relaxed);
    }

    fn point(&self, profile: ProfileId, point: &str, passed: bool, took: Duration) {
        if let Some(histograms) = self.of(profile).points.get(point) {
            histograms[usize::from(passed)].add(took.as_secs_f64());
        }
    }

    fn plugin(&self, plugin: &'static str, point: &'static str, passed: bool, took: Duration) {
        let mut plugins = self.plugins.lock();
        let histograms = plugins.entry((plugin, point)).or_insert_with(|| pair(plugin_times));
        histograms[usize::from(passed)].add(took.as_secs_f64());
    }

    /// So many calls have been made.
    pub fn calls_begin(&self, call: Call, count: usize) {
        self.calls[call as usize].pending.fetch_add(i64::try_from(count).unwrap_or(i64::MAX), Relaxed);
    }

    /// One of them has been answered.
    pub fn call_ended(&self, call: Call, success: bool, took: Duration) {
        self.calls[call as usize].pending.fetch_sub(1, Relaxed);
        self.calls[call as usize].took[usize::from(success)].add(took.as_secs_f64());
    }

    /// A victim of preemption was asked to go, or could not be.
    pub fn evicted(&self, success: bool, took: Duration) {
        self.evictions[usize::from(success)].add(took.as_secs_f64());
    }

    /// What became of Events.
    pub fn events(&self, fate: EventFate, count: usize) {
        self.event_fates[fate as usize].fetch_add(count as u64, Relaxed);
    }

    /// How the core stands now.
    pub fn standing(&self, standing: Standing, tallies: &Tallies) {
        let mut said = self.said.lock();
        said.standing = standing;
        said.tallies.clone_from(tallies);
    }

    /// The core's thread begins a step.
    pub fn step_begins(&self) {
        let now = u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX - 1);
        self.step_began.store(now + 1, Relaxed);
    }

    /// The step is done.
    pub fn step_ended(&self) {
        self.step_began.store(0, Relaxed);
    }

    /// Whether the core's thread gets on: a liveness check.
    ///
    /// # Errors
    /// Since when it does not.
    pub fn moves(&self) -> Result<(), String> {
        let Some(began) = self.step_began.load(Relaxed).checked_sub(1) else { return Ok(()) };
        let took = self.born.elapsed().saturating_sub(Duration::from_millis(began));
        if took < STEP_MAX { Ok(()) } else { Err(format!("one step has taken {took:?} by now")) }
    }

    /// The core has been told of everything there is.
    pub fn is_synced(&self) {
        self.synced.store(true, Relaxed);
    }

    /// Whether it has: a readiness check.
    ///
    /// # Errors
    /// When it has not.
    pub fn synced(&self) -> Result<(), String> {
        if self.synced.load(Relaxed) { Ok(()) } else { Err("the cluster has not been listed yet".to_owned()) }
    }

    fn of(&self, profile: ProfileId) -> &OfProfile {
        &self.profiles[usize::from(profile).min(self.profiles.len() - 1)]
    }
}

fn pair<T>(make: impl Fn() -> T) -> [T; 2] {
    std::array::from_fn(|_| make())
}

fn plugin_times() -> Histogram<20> {
    Histogram::growing(0.00001, 1.5)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_has_upstreams_names_and_cumulative_buckets() {
        let metrics = Metrics::new(["default-scheduler", "other"]);
        metrics.decided(0, Outcome::Scheduled, Duration::from_millis(3));
        metrics.decided(1, Outcome::Unschedulable, Duration::from_secs(100));
        metrics.bound(Duration::from_millis(15), 1);
        metrics.bind(1, true, Duration::from_micros(12));
        metrics.bind(1, false, Duration::from_millis(3));
        metrics.preempted(3);
        let mut tallies = Tallies::default();
        tallies.preemptions = 2;
        let pending = Pending { unschedulable: 4, ..Pending::default() };
        let arrivals = Arrivals { refused: 5, ..Arrivals::default() };
        metrics.standing(Standing { pending, arrivals, nodes: 7, ..Standing::default() }, &tallies);
        metrics.laps(&[
            Lap { what: Timed::Point { point: Point::Filter, profile: 0, passed: true }, nanos: 300_000 },
            Lap {
                what: Timed::Plugin { plugin: Plugin::DefaultPreemption, point: Point::PostFilter, passed: false },
                nanos: 30_000,
            },
            Lap { what: Timed::Event("NodeAdd"), nanos: 1_000 },
        ]);
        metrics.calls_begin(Call::StatusPatch, 2);
        metrics.call_ended(Call::StatusPatch, true, Duration::from_millis(3));
        metrics.evicted(true, Duration::from_millis(15));
        metrics.events(EventFate::Dropped, 4);
        let mut text = String::new();
        metrics.write(&mut text);
        for line in [
            "scheduler_schedule_attempts_total{profile=\"default-scheduler\",result=\"scheduled\"} 1",
            "scheduler_schedule_attempts_total{profile=\"default-scheduler\",result=\"unschedulable\"} 0",
            "scheduler_schedule_attempts_total{profile=\"other\",result=\"error\"} 1",
            "scheduler_scheduling_attempt_duration_seconds_bucket{profile=\"default-scheduler\",result=\"scheduled\",le=\"0.002\"} 0",
            "scheduler_scheduling_attempt_duration_seconds_bucket{profile=\"default-scheduler\",result=\"scheduled\",le=\"0.004\"} 1",
            "scheduler_scheduling_attempt_duration_seconds_bucket{profile=\"other\",result=\"unschedulable\",le=\"+Inf\"} 1",
            "scheduler_pod_scheduling_sli_duration_seconds_bucket{attempts=\"1\",le=\"0.02\"} 1",
            "scheduler_pod_scheduling_attempts_count 1",
            "scheduler_framework_extension_point_duration_seconds_count{extension_point=\"Bind\",profile=\"other\",status=\"Success\"} 1",
            "scheduler_plugin_execution_duration_seconds_bucket{extension_point=\"Bind\",plugin=\"DefaultBinder\",status=\"Success\",le=\"1.5000000000000002e-05\"} 1",
            "scheduler_preemption_attempts_total 2",
            "scheduler_preemption_victims_sum 3",
            "scheduler_pending_pods{queue=\"unschedulable\"} 4",
            "scheduler_queue_incoming_pods_total{event=\"ScheduleAttemptFailure\",queue=\"unschedulable\"} 5",
            "scheduler_cache_size{type=\"nodes\"} 7",
            "scheduler_framework_extension_point_duration_seconds_bucket{extension_point=\"Filter\",profile=\"default-scheduler\",status=\"Success\",le=\"0.0004\"} 1",
            "scheduler_plugin_execution_duration_seconds_count{extension_point=\"PostFilter\",plugin=\"DefaultPreemption\",status=\"Unschedulable\"} 1",
            "scheduler_event_handling_duration_seconds_count{event=\"NodeAdd\"} 1",
            "scheduler_pending_async_api_calls{call_type=\"pod_status_patch\"} 1",
            "scheduler_async_api_call_execution_total{call_type=\"pod_status_patch\",result=\"success\"} 1",
            "scheduler_preemption_goroutines_duration_seconds_bucket{result=\"success\",le=\"0.02\"} 1",
            "gantry_scheduler_events_total{result=\"dropped\"} 4",
        ] {
            assert!(text.lines().any(|l| l == line), "{line}\nin\n{text}");
        }
    }

    #[test]
    fn gangs_are_counted_beside_their_pods_once_there_are_any() {
        let metrics = Metrics::new(["default-scheduler", "other"]);
        let shown = |metrics: &Metrics| {
            let mut text = String::new();
            metrics.write(&mut text);
            text
        };
        assert!(!shown(&metrics).contains("podgroup"), "whoever has no gangs is shown nothing of them");
        metrics.gang_decided(1, Outcome::Unschedulable, Duration::from_millis(3));
        metrics.gang_decided(1, Outcome::Scheduled, Duration::from_millis(1));
        let text = shown(&metrics);
        let of = "profile=\"other\",result=\"unschedulable\"";
        for line in [
            format!("scheduler_podgroup_schedule_attempts_total{{{of}}} 1"),
            format!("scheduler_podgroup_scheduling_attempt_duration_seconds_bucket{{{of},le=\"0.002\"}} 0"),
            format!("scheduler_podgroup_scheduling_attempt_duration_seconds_bucket{{{of},le=\"0.004\"}} 1"),
            "scheduler_podgroup_scheduling_algorithm_duration_seconds_count 2".to_owned(),
            "scheduler_schedule_attempts_total{profile=\"other\",result=\"unschedulable\"} 0".to_owned(),
        ] {
            assert!(text.lines().any(|l| l == line), "{line}\nin\n{text}");
        }
        assert!(!text.contains("attempts_total{profile=\"default-scheduler\",result=\"error\"} 1"), "{text}");
    }

    #[test]
    fn a_step_that_does_not_end_fails_the_liveness_check() {
        let mut metrics = Metrics::default();
        assert_eq!(metrics.moves(), Ok(()));
        metrics.step_begins();
        assert_eq!(metrics.moves(), Ok(()));
        metrics.born = metrics.born.checked_sub(2 * STEP_MAX).expect("the machine has run for two minutes");
        assert!(metrics.moves().is_err());
        metrics.step_ended();
        assert_eq!(metrics.moves(), Ok(()));
    }
}
