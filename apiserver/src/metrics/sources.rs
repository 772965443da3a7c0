//! What the store and the gate count, as series on `/metrics`: upstream's names where upstream has the thing, `gantry_`
//! where it has not.

use std::fmt::Write;

use gantry_store_cache::stats::CollectionLevels;
use gantry_store_cache::store::Store;
use hdrhistogram::Histogram;

use super::STAGE_BUCKETS_US;
use crate::gate::flow::{FlowControl, LaneCount};

/// Buckets for the number of requests in one group commit.
const BATCH_BUCKETS: &[u64] = &[1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024];

/// A series with one value per `T`.
struct Series<T> {
    name: &'static str,
    kind: &'static str,
    help: &'static str,
    value: fn(&T) -> u64,
}

/// The store: objects, watchers, windows, and the stages of a commit.
pub fn store(store: &Store, out: &mut String) {
    let levels = store.levels();
    let recorded = store.recorded();
    head(out, "apiserver_storage_objects", "gauge", "[STABLE] Number of stored objects, by resource.");
    for c in &levels.collections {
        line(out, "apiserver_storage_objects", &c.name, c.objects as u64);
    }
    let per_collection: [Series<CollectionLevels>; 4] = [
        Series { name: "gantry_watchers", kind: "gauge", help: "Open watches.", value: |c| c.watchers as u64 },
        Series {
            name: "gantry_watch_window_events",
            kind: "gauge",
            help: "Events that watches can still resume from.",
            value: |c| c.window_events as u64,
        },
        Series {
            name: "gantry_watch_window_bytes",
            kind: "gauge",
            help: "Bytes of old versions kept for that.",
            value: |c| c.window_bytes as u64,
        },
        Series {
            name: "gantry_watches_expired_total",
            kind: "counter",
            help: "Watches that fell out of their window.",
            value: |c| c.expired_watches,
        },
    ];
    for series in per_collection {
        head(out, series.name, series.kind, series.help);
        for c in &levels.collections {
            line(out, series.name, &c.name, (series.value)(c));
        }
    }
    head(out, "gantry_store_queued_transactions", "gauge", "Transactions that wait for the committer.");
    plain(out, "gantry_store_queued_transactions", levels.queued_txns as u64);
    const TRANSLATIONS: &str = "gantry_store_translation_bytes";
    head(out, TRANSLATIONS, "gauge", "Bytes of objects kept in protobuf for clients that ask for it again.");
    plain(out, TRANSLATIONS, levels.translation_bytes as u64);
    head(out, "gantry_store_events_total", "counter", "Objects written or deleted.");
    plain(out, "gantry_store_events_total", recorded.events);
    const BATCHES: &str = "gantry_store_batches_total";
    head(out, BATCHES, "counter", "Group commits, by whether they were answered after the disk had them.");
    text(out, format_args!("{BATCHES}{{synced=\"true\"}} {}", recorded.synced_batches));
    text(out, format_args!("{BATCHES}{{synced=\"false\"}} {}", recorded.relaxed_batches));
    let seconds = [
        (
            "gantry_store_log_write_duration_seconds",
            "From a batch's log write to its durability.",
            &recorded.log_write_us,
        ),
        (
            "gantry_store_commit_duration_seconds",
            "From a batch's log write to its watchers' waking.",
            &recorded.commit_us,
        ),
    ];
    for (name, help, histogram) in seconds {
        head(out, name, "histogram", help);
        buckets(out, name, histogram, STAGE_BUCKETS_US, 1e6);
    }
    head(out, "gantry_store_batch_requests", "histogram", "Requests answered by one group commit.");
    buckets(out, "gantry_store_batch_requests", &recorded.batch_requests, BATCH_BUCKETS, 1.0);
}

/// The lanes of flow control.
pub fn flow(flow: &FlowControl, out: &mut String) {
    let per_lane: [Series<LaneCount>; 3] = [
        Series {
            name: "apiserver_flowcontrol_current_executing_requests",
            kind: "gauge",
            help: "[BETA] Requests that run now, by priority level.",
            value: |lane| lane.running as u64,
        },
        Series {
            name: "apiserver_flowcontrol_current_inqueue_requests",
            kind: "gauge",
            help: "[BETA] Requests that wait for a place, by priority level.",
            value: |lane| lane.waiting as u64,
        },
        Series {
            name: "apiserver_flowcontrol_rejected_requests_total",
            kind: "counter",
            help: "[BETA] Requests sent away with 429, by priority level.",
            value: |lane| lane.refused as u64,
        },
    ];
    for series in per_lane {
        head(out, series.name, series.kind, series.help);
        for lane in flow.counts() {
            text(out, format_args!("{}{{priority_level=\"{}\"}} {}", series.name, lane.name, (series.value)(&lane)));
        }
    }
}

fn head(out: &mut String, name: &str, kind: &str, help: &str) {
    text(out, format_args!("# HELP {name} {help}\n# TYPE {name} {kind}"));
}

fn line(out: &mut String, name: &str, resource: &str, value: u64) {
    text(out, format_args!("{name}{{resource=\"{resource}\"}} {value}"));
}

fn plain(out: &mut String, name: &str, value: u64) {
    text(out, format_args!("{name} {value}"));
}

fn text(out: &mut String, line: std::fmt::Arguments<'_>) {
    writeln!(out, "{line}").expect("writing to a text does not fail");
}

/// An HDR histogram as Prometheus buckets; `unit` of its values are one of the series'.
fn buckets(out: &mut String, name: &str, histogram: &Histogram<u64>, bounds: &[u64], unit: f64) {
    for bound in bounds {
        let below = histogram.count_between(0, *bound);
        text(out, format_args!("{name}_bucket{{le=\"{}\"}} {below}", *bound as f64 / unit));
    }
    let sum: f64 = histogram.iter_recorded().map(|v| v.value_iterated_to() as f64 * v.count_at_value() as f64).sum();
    text(out, format_args!("{name}_bucket{{le=\"+Inf\"}} {}", histogram.len()));
    text(out, format_args!("{name}_sum {}", sum / unit));
    text(out, format_args!("{name}_count {}", histogram.len()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hdr_histograms_become_cumulative_buckets() {
        let mut histogram = Histogram::<u64>::new(3).unwrap();
        for value in [1, 2, 3, 700] {
            histogram.record(value).unwrap();
        }
        let mut out = String::new();
        buckets(&mut out, "x", &histogram, &[1, 2, 512], 1.0);
        assert_eq!(
            out,
            "x_bucket{le=\"1\"} 1\nx_bucket{le=\"2\"} 2\nx_bucket{le=\"512\"} 3\nx_bucket{le=\"+Inf\"} 4\nx_sum 706\nx_count 4\n"
        );
    }
}
