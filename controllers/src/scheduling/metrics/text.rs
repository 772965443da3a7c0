//! The measurements as Prometheus text: upstream's names, labels and buckets; what upstream has not is named `gantry_`.

use std::fmt::Write as _;
use std::sync::atomic::Ordering::Relaxed;

use super::{Call, EventFate, Metrics, OfProfile, Outcome, Standing};

/// Failed and passed, as upstream's status codes are called where a plugin runs for a pod.
const DECIDED: [&str; 2] = ["Unschedulable", "Success"];
/// The same where something is written.
const WRITTEN: [&str; 2] = ["Error", "Success"];
/// The same of calls.
const RESULTS: [&str; 2] = ["error", "success"];

impl Metrics {
    /// Appends everything in the Prometheus text format.
    pub fn write(&self, out: &mut String) {
        self.write_attempts(out);
        self.write_gangs(out);
        self.write_plugins(out);
        self.write_queues(out);
        self.write_calls(out);
        let name = "scheduler_preemption_attempts_total";
        head(out, name, "counter", "[STABLE] Total preemption attempts in the cluster till now");
        let _ = writeln!(out, "{name} {}", self.said.lock().tallies.preemptions);
        let name = "scheduler_preemption_victims";
        head(out, name, "histogram", "[STABLE] Number of selected preemption victims");
        self.preemption_victims.write(out, name, "");
        let name = "gantry_scheduler_events_total";
        head(out, name, "counter", "Events of pods, by what became of them.");
        for fate in EventFate::ALL {
            let count = self.event_fates[fate as usize].load(Relaxed);
            let _ = writeln!(out, "{name}{{result=\"{}\"}} {count}", fate.label());
        }
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
        head(out, name, "counter", "[STABLE] Number of attempts to schedule pods, by the result.");
        for (profile, outcome) in each() {
            let count = profile.attempts[outcome as usize].count();
            let _ = writeln!(out, "{name}{{{}}} {count}", labels(profile, outcome));
        }
        let name = "scheduler_scheduling_attempt_duration_seconds";
        head(out, name, "histogram", "[STABLE] Scheduling attempt latency in seconds: each pod's share of its step.");
        for (profile, outcome) in each() {
            profile.attempts[outcome as usize].write(out, name, &labels(profile, outcome));
        }
        let name = "scheduler_scheduling_algorithm_duration_seconds";
        head(out, name, "histogram", "[ALPHA] Scheduling algorithm latency in seconds");
        self.algorithm.write(out, name, "");
        let name = "scheduler_pod_scheduling_sli_duration_seconds";
        head(out, name, "histogram", "[BETA] From a pod entering the queue until it is bound, over all attempts.");
        for (attempts, histogram) in (1..).zip(&self.sli) {
            if histogram.count() > 0 {
                let attempts = if attempts == 16 { "16+".to_owned() } else { attempts.to_string() };
                histogram.write(out, name, &format!("attempts=\"{attempts}\""));
            }
        }
        let name = "scheduler_pod_scheduling_attempts";
        head(out, name, "histogram", "[STABLE] Number of attempts to successfully schedule a pod.");
        self.attempts.write(out, name, "");
    }

    /// Upstream has these series only where gangs are turned on; here, where one has been decided on.
    fn write_gangs(&self, out: &mut String) {
        if self.gang_algorithm.count() == 0 {
            return;
        }
        let each = || {
            self.profiles.iter().flat_map(|profile| {
                let of = &profile.name;
                let counted =
                    Outcome::ALL.into_iter().zip(Outcome::ALL.map(|outcome| &profile.gangs[outcome as usize]));
                let counted = counted.filter(|(_, attempts)| attempts.count() > 0);
                counted.map(move |(outcome, attempts)| {
                    (format!("profile=\"{of}\",result=\"{}\"", outcome.label()), attempts)
                })
            })
        };
        let name = "scheduler_podgroup_schedule_attempts_total";
        head(out, name, "counter", "[ALPHA] Attempts to schedule a pod group as a whole, by the result.");
        for (labels, attempts) in each() {
            let _ = writeln!(out, "{name}{{{labels}}} {}", attempts.count());
        }
        let name = "scheduler_podgroup_scheduling_attempt_duration_seconds";
        head(out, name, "histogram", "[ALPHA] How long such an attempt took: its pods' share of the step.");
        for (labels, attempts) in each() {
            attempts.write(out, name, &labels);
        }
        let name = "scheduler_podgroup_scheduling_algorithm_duration_seconds";
        head(out, name, "histogram", "[ALPHA] How long it took to decide on a pod group.");
        self.gang_algorithm.write(out, name, "");
    }

    fn write_plugins(&self, out: &mut String) {
        let name = "scheduler_framework_extension_point_duration_seconds";
        head(out, name, "histogram", "[STABLE] Latency for running all plugins of a specific extension point.");
        for profile in &self.profiles {
            for (point, histograms) in &profile.points {
                let statuses = if point.ends_with("Bind") { WRITTEN } else { DECIDED };
                for (status, histogram) in statuses.iter().zip(histograms).filter(|(_, h)| h.count() > 0) {
                    let of = &profile.name;
                    let labels = format!("extension_point=\"{point}\",profile=\"{of}\",status=\"{status}\"");
                    histogram.write(out, name, &labels);
                }
            }
        }
        let name = "scheduler_plugin_execution_duration_seconds";
        head(out, name, "histogram", "[ALPHA] Duration for running a plugin at a specific extension point.");
        let plugins = self.plugins.lock();
        let bind = (("DefaultBinder", "Bind"), &self.bind_plugin);
        for ((plugin, point), histograms) in plugins.iter().map(|(key, value)| (*key, value)).chain([bind]) {
            let statuses = if point.ends_with("Bind") { WRITTEN } else { DECIDED };
            for (status, histogram) in statuses.iter().zip(histograms).filter(|(_, h)| h.count() > 0) {
                let labels = format!("extension_point=\"{point}\",plugin=\"{plugin}\",status=\"{status}\"");
                histogram.write(out, name, &labels);
            }
        }
        drop(plugins);
        let said = self.said.lock();
        let name = "scheduler_plugin_evaluation_total";
        head(out, name, "counter", "[ALPHA] Number of attempts to schedule pods in which a plugin had a say.");
        let mut sums = std::collections::BTreeMap::new();
        for (profile, plugin, scoring, count) in said.tallies.evaluations() {
            *sums.entry((profile, scoring, plugin.name())).or_insert(0) += count;
        }
        for ((profile, scoring, plugin), count) in sums {
            let (point, of) = (if scoring { "Score" } else { "Filter" }, &self.of(profile).name);
            let _ = writeln!(out, "{name}{{extension_point=\"{point}\",plugin=\"{plugin}\",profile=\"{of}\"}} {count}");
        }
        let name = "scheduler_unschedulable_pods";
        head(out, name, "gauge", "[ALPHA] The number of unschedulable pods, by each plugin that turned nodes down.");
        for (profile, plugin, count) in said.tallies.unschedulable() {
            let _ = writeln!(out, "{name}{{plugin=\"{plugin}\",profile=\"{}\"}} {count}", self.of(profile).name);
        }
        let name = "scheduler_pod_scheduled_after_flush_total";
        head(out, name, "counter", "[ALPHA] Pods scheduled when they were tried because they had waited for so long.");
        let _ = writeln!(out, "{name} {}", said.tallies.placed_after_flush);
    }

    fn write_queues(&self, out: &mut String) {
        let Standing { pending, arrivals, nodes, pods, assumed } = self.said.lock().standing;
        let name = "scheduler_pending_pods";
        head(out, name, "gauge", "[STABLE] Number of pending pods, by the queue type.");
        for (queue, count) in [
            ("active", pending.active),
            ("backoff", pending.backoff),
            ("gated", pending.gated),
            ("unschedulable", pending.unschedulable),
        ] {
            let _ = writeln!(out, "{name}{{queue=\"{queue}\"}} {count}");
        }
        let name = "scheduler_queue_incoming_pods_total";
        head(out, name, "counter", "[STABLE] Number of pods added to scheduling queues by event and queue type.");
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
        head(out, name, "gauge", "[ALPHA] Number of nodes, pods, and assumed (bound) pods in the scheduler cache.");
        for (kind, count) in [("assumed_pods", assumed), ("nodes", nodes), ("pods", pods)] {
            let _ = writeln!(out, "{name}{{type=\"{kind}\"}} {count}");
        }
        let name = "scheduler_event_handling_duration_seconds";
        head(out, name, "histogram", "[ALPHA] Event handling latency in seconds, of one event in ten.");
        for (event, histogram) in self.events.lock().iter() {
            histogram.write(out, name, &format!("event=\"{event}\""));
        }
    }

    fn write_calls(&self, out: &mut String) {
        let calls = || Call::ALL.into_iter().map(|call| (call.label(), &self.calls[call as usize]));
        let name = "scheduler_pending_async_api_calls";
        head(out, name, "gauge", "[ALPHA] Calls of the API under way that no decision waits for.");
        for (call, of) in calls() {
            let _ = writeln!(out, "{name}{{call_type=\"{call}\"}} {}", of.pending.load(Relaxed).max(0));
        }
        let name = "scheduler_async_api_call_execution_total";
        head(out, name, "counter", "[ALPHA] Such calls that were answered, by the result.");
        for (call, of) in calls() {
            for (result, histogram) in RESULTS.iter().zip(&of.took) {
                let _ = writeln!(out, "{name}{{call_type=\"{call}\",result=\"{result}\"}} {}", histogram.count());
            }
        }
        let name = "scheduler_async_api_call_execution_duration_seconds";
        head(out, name, "histogram", "[ALPHA] How long they took.");
        for (call, of) in calls() {
            for (result, histogram) in RESULTS.iter().zip(&of.took).filter(|(_, h)| h.count() > 0) {
                histogram.write(out, name, &format!("call_type=\"{call}\",result=\"{result}\""));
            }
        }
        let name = "scheduler_preemption_goroutines_execution_total";
        head(out, name, "counter", "[ALPHA] Victims that were asked to go, by the result.");
        for (result, histogram) in RESULTS.iter().zip(&self.evictions) {
            let _ = writeln!(out, "{name}{{result=\"{result}\"}} {}", histogram.count());
        }
        let name = "scheduler_preemption_goroutines_duration_seconds";
        head(out, name, "histogram", "[ALPHA] How long it took to ask a victim to go.");
        for (result, histogram) in RESULTS.iter().zip(&self.evictions).filter(|(_, h)| h.count() > 0) {
            histogram.write(out, name, &format!("result=\"{result}\""));
        }
        let name = "scheduler_volume_scheduling_stage_error_total";
        head(out, name, "counter", "[ALPHA] Volume scheduling stage error count");
        let _ = writeln!(out, "{name}{{operation=\"bind\"}} {}", self.volume_errors.load(Relaxed));
        let name = "scheduler_resourceclaim_creates_total";
        head(out, name, "counter", "[ALPHA] Claims asked for in the stead of extended resources, by success.");
        for (status, count) in ["failure", "success"].iter().zip(&self.claims_made) {
            let _ = writeln!(out, "{name}{{status=\"{status}\"}} {}", count.load(Relaxed));
        }
    }
}

fn head(out: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
}
