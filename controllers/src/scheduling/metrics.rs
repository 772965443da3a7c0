//! What the scheduling loop measures, under upstream's names and in upstream's buckets, as Prometheus text.
//!
//! The rules are not timed one by one: a class of pods is scanned with all of them at once, and most decisions scan
//! nothing. Of upstream's per-plugin and per-point durations there are those of what happens per pod: binding.

mod histogram;

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use gantry_scheduler_core::cycle::{Arrivals, Pending};
use gantry_scheduler_core::profile::ProfileId;
use parking_lot::Mutex;

use histogram::Histogram;

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
    binds: [Histogram<12>; 2],
}

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

/// Counters and histograms. All methods may be called from anywhere.
#[derive(Debug)]
pub struct Metrics {
    profiles: Box<[OfProfile]>,
    standing: Mutex<Standing>,
    algorithm: Histogram<15>,
    /// By attempts: 1, 2, ..., 15, 16+.
    sli: [Histogram<20>; 16],
    attempts: Histogram<5>,
    bind_plugin: [Histogram<20>; 2],
    preemption_attempts: AtomicU64,
    preemption_victims: Histogram<7>,
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
            binds: std::array::from_fn(|_| Histogram::growing(0.0001, 2.0)),
        };
        Self {
            profiles: profiles.into_iter().map(of_profile).collect(),
            standing: Mutex::default(),
            algorithm: Histogram::growing(0.001, 2.0),
            sli: std::array::from_fn(|_| Histogram::growing(0.01, 2.0)),
            attempts: Histogram::growing(1.0, 2.0),
            bind_plugin: std::array::from_fn(|_| Histogram::growing(0.00001, 1.5)),
            preemption_attempts: AtomicU64::new(0),
            preemption_victims: Histogram::growing(1.0, 2.0),
        }
    }

    /// One pod was decided on. A step decides on many; each counts with its share of the step.
    pub fn decided(&self, profile: ProfileId, outcome: Outcome, took: Duration) {
        self.of(profile).attempts[outcome as usize].add(took.as_secs_f64());
        self.algorithm.add(took.as_secs_f64());
    }

    /// A pod is bound, so long after it first came into the queue.
    pub fn bound(&self, took: Duration, attempts: u32) {
        let at = attempts.clamp(1, 16) as usize - 1;
        self.sli[at].add(took.as_secs_f64());
        self.attempts.add(f64::from(attempts));
    }

    /// A pod's binding was asked for and answered, with success or without.
    pub fn bind(&self, profile: ProfileId, success: bool, took: Duration) {
        self.of(profile).binds[usize::from(success)].add(took.as_secs_f64());
        self.bind_plugin[usize::from(success)].add(took.as_secs_f64());
        if !success {
            self.of(profile).attempts[Outcome::Error as usize].add(took.as_secs_f64());
        }
    }

    /// A pod that fits nowhere displaces so many others; none when nobody could be found.
    pub fn preempted(&self, victims: usize) {
        self.preemption_attempts.fetch_add(1, Relaxed);
        if victims > 0 {
            self.preemption_victims.add(victims as f64);
        }
    }

    /// How the core stands now.
    pub fn standing(&self, standing: Standing) {
        *self.standing.lock() = standing;
    }

    fn of(&self, profile: ProfileId) -> &OfProfile {
        &self.profiles[usize::from(profile).min(self.profiles.len() - 1)]
    }

    /// Appends everything in the Prometheus text format.
    pub fn write(&self, out: &mut String) {
        self.write_attempts(out);
        self.write_binding(out);
        self.write_queues(out);
        let name = "scheduler_preemption_attempts_total";
        head(out, name, "counter", "Total preemption attempts in the cluster till now");
        let _ = writeln!(out, "{name} {}", self.preemption_attempts.load(Relaxed));
        let name = "scheduler_preemption_victims";
        head(out, name, "histogram", "Number of selected preemption victims");
        self.preemption_victims.write(out, name, "");
    }

    fn write_attempts(&self, out: &mut String) {
        let each = || {
            let outcomes = |profile| Outcome::ALL.into_iter().map(move |outcome| (profile, outcome));
            self.profiles.iter().flat_map(outcomes)
        };
        let labels = |profile: &OfProfile, outcome: Outcome| {
            format!("profile=\"{}\",result=\"{}\"", profile.name, outcome.label())
        };
        let name = "scheduler_schedule_attempts_total";
        head(out, name, "counter", "Number of attempts to schedule pods, by the result.");
        for (profile, outcome) in each() {
            let count = profile.attempts[outcome as usize].count();
            let _ = writeln!(out, "{name}{{{}}} {count}", labels(profile, outcome));
        }
        let name = "scheduler_scheduling_attempt_duration_seconds";
        head(out, name, "histogram", "Scheduling attempt latency in seconds.");
        for (profile, outcome) in each() {
            let histogram = &profile.attempts[outcome as usize];
            if histogram.count() > 0 {
                histogram.write(out, name, &labels(profile, outcome));
            }
        }
        let name = "scheduler_scheduling_algorithm_duration_seconds";
        head(out, name, "histogram", "Scheduling algorithm latency in seconds");
        self.algorithm.write(out, name, "");
        let name = "scheduler_pod_scheduling_sli_duration_seconds";
        head(out, name, "histogram", "Latency from a pod entering the queue until it is bound, over all attempts.");
        for (attempts, histogram) in (1..).zip(&self.sli) {
            if histogram.count() > 0 {
                let attempts = if attempts == 16 { "16+".to_owned() } else { attempts.to_string() };
                histogram.write(out, name, &format!("attempts=\"{attempts}\""));
            }
        }
        let name = "scheduler_pod_scheduling_attempts";
        head(out, name, "histogram", "Number of attempts to successfully schedule a pod.");
        self.attempts.write(out, name, "");
    }

    fn write_binding(&self, out: &mut String) {
        const STATUS: [&str; 2] = ["Error", "Success"];
        let name = "scheduler_framework_extension_point_duration_seconds";
        head(out, name, "histogram", "Latency for running all plugins of a specific extension point.");
        for profile in &self.profiles {
            for (status, histogram) in STATUS.iter().zip(&profile.binds).filter(|(_, h)| h.count() > 0) {
                let name_of = &profile.name;
                let labels = format!("extension_point=\"Bind\",profile=\"{name_of}\",status=\"{status}\"");
                histogram.write(out, name, &labels);
            }
        }
        let name = "scheduler_plugin_execution_duration_seconds";
        head(out, name, "histogram", "Duration for running a plugin at a specific extension point.");
        for (status, histogram) in STATUS.iter().zip(&self.bind_plugin).filter(|(_, h)| h.count() > 0) {
            let labels = format!("extension_point=\"Bind\",plugin=\"DefaultBinder\",status=\"{status}\"");
            histogram.write(out, name, &labels);
        }
    }

    fn write_queues(&self, out: &mut String) {
        let Standing { pending, arrivals, nodes, pods, assumed } = *self.standing.lock();
        let name = "scheduler_pending_pods";
        head(out, name, "gauge", "Number of pending pods, by the queue type.");
        for (queue, count) in [
            ("active", pending.active),
            ("backoff", pending.backoff),
            ("gated", pending.gated),
            ("unschedulable", pending.unschedulable),
        ] {
            let _ = writeln!(out, "{name}{{queue=\"{queue}\"}} {count}");
        }
        let name = "scheduler_queue_incoming_pods_total";
        head(out, name, "counter", "Number of pods added to scheduling queues by event and queue type.");
        for (event, queue, count) in [
            ("UnscheduledPodAdd", "active", arrivals.added),
            ("UnscheduledPodAdd", "gated", arrivals.gated),
            ("ScheduleAttemptFailure", "backoff", arrivals.failed),
            ("ScheduleAttemptFailure", "unschedulable", arrivals.refused),
            ("BackoffComplete", "active", arrivals.rested),
            ("UnschedulableTimeout", "active", arrivals.overdue),
            // Whatever changed in the cluster so that the pod fits now.
            ("WildCardEvent", "active", arrivals.helped),
        ] {
            let _ = writeln!(out, "{name}{{event=\"{event}\",queue=\"{queue}\"}} {count}");
        }
        let name = "scheduler_cache_size";
        head(out, name, "gauge", "Number of nodes, pods, and assumed (bound) pods in the scheduler cache.");
        for (kind, count) in [("assumed_pods", assumed), ("nodes", nodes), ("pods", pods)] {
            let _ = writeln!(out, "{name}{{type=\"{kind}\"}} {count}");
        }
    }
}

fn head(out: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
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
        metrics.preempted(0);
        let pending = Pending { unschedulable: 4, ..Pending::default() };
        let arrivals = Arrivals { refused: 5, ..Arrivals::default() };
        metrics.standing(Standing { pending, arrivals, nodes: 7, ..Standing::default() });
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
        ] {
            assert!(text.lines().any(|l| l == line), "{line}\nin\n{text}");
        }
    }
}
