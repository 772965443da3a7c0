//! What the loops' queues count, as upstream's `workqueue_*` series: how much waits, for how long, how long rounds take
//! and how often they fail; and what single loops count of their own. Read when somebody asks; counting is a few atomic additions per key.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use parking_lot::Mutex;

use super::reconcile::{Queue, Reconcile};

/// The queues of all loops, by name, and the loops. Locked one at a time, for moments.
#[derive(Default)]
pub struct Figures {
    queues: Mutex<Vec<(&'static str, Arc<Queue>)>>,
    loops: Mutex<Vec<Arc<dyn Reconcile>>>,
}

impl std::fmt::Debug for Figures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.queues.lock().iter().map(|(name, _)| name)).finish()
    }
}

impl Figures {
    /// A loop has begun. One that began before under the same name is forgotten.
    pub fn add(&self, name: &'static str, queue: Arc<Queue>) {
        let mut queues = self.queues.lock();
        queues.retain(|(known, _)| *known != name);
        queues.push((name, queue));
    }

    /// The same for what a loop counts of its own.
    pub fn add_loop(&self, looped: Arc<dyn Reconcile>) {
        let mut loops = self.loops.lock();
        loops.retain(|known| known.name() != looped.name());
        loops.push(looped);
    }

    /// Appends all series in the Prometheus text format.
    pub fn write(&self, out: &mut String) {
        let queues = self.queues.lock();
        let mut series = |name: &str, kind: &str, help: &str, value: fn(&Queue) -> f64| {
            let _ = writeln!(out, "# HELP {name} [BETA] {help}\n# TYPE {name} {kind}");
            for (of, queue) in queues.iter() {
                let _ = writeln!(out, "{name}{{name=\"{of}\"}} {}", value(queue));
            }
        };
        series("workqueue_adds_total", "counter", "Total number of adds handled by workqueue.", |queue| {
            queue.counts().adds.load(Relaxed) as f64
        });
        series("workqueue_depth", "gauge", "Current depth of workqueue.", |queue| queue.len() as f64);
        series("workqueue_retries_total", "counter", "Total number of retries handled by workqueue.", |queue| {
            queue.counts().retries.load(Relaxed) as f64
        });
        series(
            "workqueue_unfinished_work_seconds",
            "gauge",
            "How many seconds of work are in progress and not yet in work_duration.",
            |queue| queue.unfinished().iter().map(std::time::Duration::as_secs_f64).fold(0.0, |sum, took| sum + took),
        );
        series(
            "workqueue_longest_running_processor_seconds",
            "gauge",
            "How many seconds the longest round under way has taken.",
            |queue| queue.unfinished().iter().map(std::time::Duration::as_secs_f64).fold(0.0, f64::max),
        );
        let name = "workqueue_queue_duration_seconds";
        let _ =
            writeln!(out, "# HELP {name} [BETA] How long a key waits before it is worked on.\n# TYPE {name} histogram");
        for (of, queue) in queues.iter() {
            queue.counts().waited.write(out, name, &format!("name=\"{of}\""));
        }
        let name = "workqueue_work_duration_seconds";
        let _ = writeln!(out, "# HELP {name} [BETA] How long a round takes.\n# TYPE {name} histogram");
        for (of, queue) in queues.iter() {
            queue.counts().worked.write(out, name, &format!("name=\"{of}\""));
        }
        drop(queues);
        let loops = self.loops.lock().clone();
        loops.iter().for_each(|looped| looped.write_figures(out));
    }
}

#[cfg(test)]
mod tests {
    use gantry_store_cache::key::ObjectKey;

    use super::*;

    #[tokio::test]
    async fn queues_are_counted_under_their_names() {
        let (figures, queue) = (Figures::default(), Arc::new(Queue::default()));
        figures.add("some-controller", queue.clone());
        let key = |name: &str| ObjectKey::new("pods", "d", name);
        ["a", "a", "b"].iter().for_each(|name| queue.add(key(name)));
        let first = queue.get().await.expect("a key waits");
        queue.add_failed(first.clone());
        queue.done(&first);
        let mut text = String::new();
        figures.write(&mut text);
        for line in [
            "workqueue_adds_total{name=\"some-controller\"} 2",
            "workqueue_depth{name=\"some-controller\"} 1",
            "workqueue_retries_total{name=\"some-controller\"} 1",
            "workqueue_unfinished_work_seconds{name=\"some-controller\"} 0",
            "workqueue_queue_duration_seconds_count{name=\"some-controller\"} 1",
            "workqueue_work_duration_seconds_bucket{name=\"some-controller\",le=\"10\"} 1",
        ] {
            assert!(text.lines().any(|l| l == line), "{line}\nin\n{text}");
        }
        assert!(text.contains("le=\"9.999999999999999e-06\""), "{text}");
    }
}
