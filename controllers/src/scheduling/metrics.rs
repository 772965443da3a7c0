//! What the scheduling loop measures, under upstream's names and in upstream's buckets, as Prometheus text.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use gantry_scheduler_core::cycle::Pending;
use parking_lot::Mutex;

const PROFILE: &str = "default-scheduler";

/// How a scheduling attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A node was found.
    Scheduled,
    /// None was found.
    Unschedulable,
}

/// Counters and histograms. All methods may be called from anywhere.
#[derive(Debug)]
pub struct Metrics {
    pending: Mutex<Pending>,
    scheduled: Histogram<15>,
    unschedulable: Histogram<15>,
    errors: AtomicU64,
    /// By attempts: 1, 2, ..., 15, 16+.
    sli: [Histogram<20>; 16],
    attempts: Histogram<5>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            pending: Mutex::default(),
            scheduled: Histogram::doubling_from(0.001),
            unschedulable: Histogram::doubling_from(0.001),
            errors: AtomicU64::new(0),
            sli: std::array::from_fn(|_| Histogram::doubling_from(0.01)),
            attempts: Histogram::doubling_from(1.0),
        }
    }
}

impl Metrics {
    /// One pod was decided on. A step decides on many; each counts with its share of the step.
    pub fn decided(&self, outcome: Outcome, took: Duration) {
        match outcome {
            Outcome::Scheduled => self.scheduled.add(took.as_secs_f64()),
            Outcome::Unschedulable => self.unschedulable.add(took.as_secs_f64()),
        }
    }

    /// A pod is bound, so long after it first came into the queue.
    pub fn bound(&self, took: Duration, attempts: u32) {
        let at = attempts.clamp(1, 16) as usize - 1;
        self.sli[at].add(took.as_secs_f64());
        self.attempts.add(f64::from(attempts));
    }

    /// A binding failed.
    pub fn failed(&self) {
        self.errors.fetch_add(1, Relaxed);
    }

    /// How many pods are in each queue now.
    pub fn pending(&self, pending: Pending) {
        *self.pending.lock() = pending;
    }

    /// Appends everything in the Prometheus text format.
    pub fn write(&self, out: &mut String) {
        let (scheduled, unschedulable) = (self.scheduled.count(), self.unschedulable.count());
        head(
            out,
            "scheduler_schedule_attempts_total",
            "counter",
            "Number of attempts to schedule pods, by the result.",
        );
        let errors = self.errors.load(Relaxed);
        for (result, count) in [("error", errors), ("scheduled", scheduled), ("unschedulable", unschedulable)] {
            let labels = format!("profile=\"{PROFILE}\",result=\"{result}\"");
            let _ = writeln!(out, "scheduler_schedule_attempts_total{{{labels}}} {count}");
        }
        let name = "scheduler_scheduling_attempt_duration_seconds";
        head(out, name, "histogram", "Scheduling attempt latency in seconds.");
        for (result, histogram) in [("scheduled", &self.scheduled), ("unschedulable", &self.unschedulable)] {
            histogram.write(out, name, &format!("profile=\"{PROFILE}\",result=\"{result}\""));
        }
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
        let pending = *self.pending.lock();
        head(out, "scheduler_pending_pods", "gauge", "Number of pending pods, by the queue type.");
        for (queue, count) in [
            ("active", pending.active),
            ("backoff", pending.backoff),
            ("gated", pending.gated),
            ("unschedulable", pending.unschedulable),
        ] {
            let _ = writeln!(out, "scheduler_pending_pods{{queue=\"{queue}\"}} {count}");
        }
    }
}

fn head(out: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

/// A histogram whose bucket bounds double.
#[derive(Debug)]
struct Histogram<const BUCKETS: usize> {
    first: f64,
    counts: [AtomicU64; BUCKETS],
    beyond: AtomicU64,
    /// In millionths, so that it can be added to atomically.
    sum_micro: AtomicU64,
}

impl<const BUCKETS: usize> Histogram<BUCKETS> {
    fn doubling_from(first: f64) -> Self {
        Self {
            first,
            counts: std::array::from_fn(|_| AtomicU64::new(0)),
            beyond: AtomicU64::new(0),
            sum_micro: AtomicU64::new(0),
        }
    }

    fn add(&self, value: f64) {
        let mut bound = self.first;
        let bucket = self.counts.iter().find(|_| {
            let within = value <= bound;
            bound *= 2.0;
            within
        });
        bucket.unwrap_or(&self.beyond).fetch_add(1, Relaxed);
        self.sum_micro.fetch_add((value * 1e6) as u64, Relaxed);
    }

    fn count(&self) -> u64 {
        self.counts.iter().chain([&self.beyond]).map(|c| c.load(Relaxed)).sum()
    }

    fn write(&self, out: &mut String, name: &str, labels: &str) {
        let comma = if labels.is_empty() { "" } else { "," };
        let (mut bound, mut sum) = (self.first, 0);
        for count in &self.counts {
            sum += count.load(Relaxed);
            let _ = writeln!(out, "{name}_bucket{{{labels}{comma}le=\"{bound}\"}} {sum}");
            bound *= 2.0;
        }
        sum += self.beyond.load(Relaxed);
        let braces = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
        let seconds = self.sum_micro.load(Relaxed) as f64 / 1e6;
        let _ = writeln!(out, "{name}_bucket{{{labels}{comma}le=\"+Inf\"}} {sum}");
        let _ = writeln!(out, "{name}_sum{braces} {seconds}\n{name}_count{braces} {sum}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_has_upstreams_names_and_cumulative_buckets() {
        let metrics = Metrics::default();
        metrics.decided(Outcome::Scheduled, Duration::from_millis(3));
        metrics.decided(Outcome::Unschedulable, Duration::from_secs(100));
        metrics.bound(Duration::from_millis(15), 1);
        metrics.pending(Pending { unschedulable: 4, ..Pending::default() });
        let mut text = String::new();
        metrics.write(&mut text);
        for line in [
            "scheduler_schedule_attempts_total{profile=\"default-scheduler\",result=\"scheduled\"} 1",
            "scheduler_scheduling_attempt_duration_seconds_bucket{profile=\"default-scheduler\",result=\"scheduled\",le=\"0.002\"} 0",
            "scheduler_scheduling_attempt_duration_seconds_bucket{profile=\"default-scheduler\",result=\"scheduled\",le=\"0.004\"} 1",
            "scheduler_scheduling_attempt_duration_seconds_bucket{profile=\"default-scheduler\",result=\"unschedulable\",le=\"+Inf\"} 1",
            "scheduler_pod_scheduling_sli_duration_seconds_bucket{attempts=\"1\",le=\"0.02\"} 1",
            "scheduler_pod_scheduling_attempts_count 1",
            "scheduler_pending_pods{queue=\"unschedulable\"} 4",
        ] {
            assert!(text.lines().any(|l| l == line), "{line}\nin\n{text}");
        }
    }
}
