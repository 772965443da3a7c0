//! Counters and histograms under upstream's names, and the text that `/metrics` shows.
//!
//! Written by the HTTP service (one look-up per request, then atomics only) and, through [`Histogram`]s that others
//! hold, by the parts that measure stages of their own. Labels come from the table of resources, never from what a
//! client sent, so the number of series is bounded.

pub mod process;
pub mod sources;

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU16, AtomicU64, Ordering};
use std::time::Duration;

use compact_str::CompactString;
use dashmap::DashMap;
use parking_lot::Mutex;

use crate::http::route::RequestInfo;

/// Upstream's buckets of `apiserver_request_duration_seconds`, in microseconds.
const REQUEST_BUCKETS_US: &[u64] = &[
    5_000, 25_000, 50_000, 100_000, 200_000, 400_000, 600_000, 800_000, 1_000_000, 1_250_000, 1_500_000, 2_000_000,
    3_000_000, 4_000_000, 5_000_000, 6_000_000, 8_000_000, 10_000_000, 15_000_000, 20_000_000, 30_000_000, 45_000_000,
    60_000_000,
];

/// Buckets for stages that take microseconds: commit, publish, dispatch.
pub const STAGE_BUCKETS_US: &[u64] =
    &[10, 25, 50, 100, 200, 400, 800, 1_600, 3_200, 6_400, 12_800, 25_600, 51_200, 102_400, 409_600, 1_638_400];

/// A histogram with fixed buckets; recording is two atomic additions.
#[derive(Debug)]
pub struct Histogram {
    bounds_us: &'static [u64],
    counts: Box<[AtomicU64]>,
    sum_us: AtomicU64,
}

impl Histogram {
    /// An empty one.
    #[must_use]
    pub fn new(bounds_us: &'static [u64]) -> Self {
        Self {
            bounds_us,
            counts: (0..=bounds_us.len()).map(|_| AtomicU64::new(0)).collect(),
            sum_us: AtomicU64::new(0),
        }
    }

    /// Records one duration.
    pub fn record(&self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let at = self.bounds_us.partition_point(|bound| *bound < us);
        self.counts[at].fetch_add(1, Ordering::Relaxed);
        self.sum_us.fetch_add(us, Ordering::Relaxed);
    }

    /// Appends the series; `labels` is empty or `a="b",c="d"`.
    pub fn write(&self, out: &mut String, name: &str, labels: &str) {
        let comma = if labels.is_empty() { "" } else { "," };
        let braces = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
        let mut cumulative = 0;
        for (at, count) in self.counts.iter().enumerate() {
            cumulative += count.load(Ordering::Relaxed);
            let bound =
                self.bounds_us.get(at).map_or_else(|| "+Inf".to_owned(), |us| format!("{}", *us as f64 / 1_000_000.0));
            writeln_to(out, format_args!("{name}_bucket{{{labels}{comma}le=\"{bound}\"}} {cumulative}"));
        }
        let sum = self.sum_us.load(Ordering::Relaxed) as f64 / 1_000_000.0;
        writeln_to(out, format_args!("{name}_sum{braces} {sum}"));
        writeln_to(out, format_args!("{name}_count{braces} {cumulative}"));
    }
}

fn writeln_to(out: &mut String, line: std::fmt::Arguments<'_>) {
    writeln!(out, "{line}").expect("writing to a text does not fail");
}

/// What requests are counted by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    verb: &'static str,
    group: CompactString,
    version: CompactString,
    resource: CompactString,
    subresource: CompactString,
    scope: &'static str,
}

impl Key {
    fn labels(&self) -> String {
        let Self { verb, group, version, resource, subresource, scope } = self;
        format!(
            "group=\"{group}\",resource=\"{resource}\",scope=\"{scope}\",subresource=\"{subresource}\",verb=\"{}\",version=\"{version}\"",
            shown(verb)
        )
    }
}

/// The verb as upstream's series name it: writes by their method.
fn shown(verb: &str) -> String {
    match verb {
        "create" => "POST".to_owned(),
        "update" => "PUT".to_owned(),
        other => other.to_ascii_uppercase(),
    }
}

/// The counts of one kind of request.
#[derive(Debug)]
pub struct RequestSeries {
    by_code: Mutex<Vec<(u16, u64)>>,
    duration: Histogram,
    long_running: AtomicI64,
}

/// Something that appends its own series to `/metrics`.
type Source = Box<dyn Fn(&mut String) + Send + Sync>;

/// All of it.
#[derive(Default)]
pub struct Metrics {
    requests: DashMap<Key, Arc<RequestSeries>, ahash::RandomState>,
    reading: AtomicI64,
    writing: AtomicI64,
    sources: Mutex<Vec<Source>>,
}

/// One request while it runs; counted when the last clone is dropped. A watch's stream holds one.
#[derive(Clone)]
pub struct Running(Arc<Count>);

struct Count {
    metrics: Arc<Metrics>,
    series: Arc<RequestSeries>,
    started: std::time::Instant,
    read_only: bool,
    long_running: bool,
    code: AtomicU16,
}

/// What a request counts as whose client went away before there was an answer.
const BROKEN_OFF: u16 = 499;

impl Metrics {
    /// Appends what `source` writes to every scrape.
    pub fn add_source(&self, source: impl Fn(&mut String) + Send + Sync + 'static) {
        self.sources.lock().push(Box::new(source));
    }

    /// A request begins. `known`: its resource is served, so that its names may become labels.
    #[must_use]
    pub fn begin(self: &Arc<Self>, info: &RequestInfo, known: bool) -> Running {
        let name = |text: &CompactString| if known { text.clone() } else { CompactString::default() };
        let key = Key {
            verb: info.verb,
            group: name(&info.group),
            version: name(&info.version),
            resource: name(&info.resource),
            subresource: name(&info.subresource),
            scope: if known { info.scope() } else { "" },
        };
        let series = match self.requests.get(&key) {
            Some(series) => series.clone(),
            None => self
                .requests
                .entry(key)
                .or_insert_with(|| {
                    Arc::new(RequestSeries {
                        by_code: Mutex::default(),
                        duration: Histogram::new(REQUEST_BUCKETS_US),
                        long_running: AtomicI64::new(0),
                    })
                })
                .clone(),
        };
        let (read_only, long_running) = (info.read_only(), info.long_running());
        let gauge = if long_running { &series.long_running } else { self.inflight(read_only) };
        gauge.fetch_add(1, Ordering::Relaxed);
        let started = std::time::Instant::now();
        let code = AtomicU16::new(BROKEN_OFF);
        Running(Arc::new(Count { metrics: self.clone(), series, started, read_only, long_running, code }))
    }

    fn inflight(&self, read_only: bool) -> &AtomicI64 {
        if read_only { &self.reading } else { &self.writing }
    }

    /// The exposition text.
    #[must_use]
    pub fn text(&self) -> String {
        let mut series: Vec<(String, Arc<RequestSeries>)> =
            self.requests.iter().map(|entry| (entry.key().labels(), entry.value().clone())).collect();
        series.sort_by(|(a, _), (b, _)| a.cmp(b));
        let mut out = String::with_capacity(64 * 1024);
        let head = |out: &mut String, name: &str, kind: &str, help: &str| {
            writeln_to(out, format_args!("# HELP {name} {help}\n# TYPE {name} {kind}"));
        };
        head(
            &mut out,
            "apiserver_request_total",
            "counter",
            "[STABLE] Counter of apiserver requests broken out for each verb, dry run value, group, version, resource, \
             scope, component, and HTTP response code.",
        );
        for (labels, series) in &series {
            for (code, count) in series.by_code.lock().iter() {
                writeln_to(
                    &mut out,
                    format_args!(
                        "apiserver_request_total{{code=\"{code}\",component=\"apiserver\",dry_run=\"\",{labels}}} {count}"
                    ),
                );
            }
        }
        const DURATION: &str = "apiserver_request_duration_seconds";
        head(&mut out, DURATION, "histogram", "[STABLE] Response latency distribution in seconds.");
        for (labels, series) in &series {
            series.duration.write(&mut out, DURATION, &format!("component=\"apiserver\",dry_run=\"\",{labels}"));
        }
        const LONG: &str = "apiserver_longrunning_requests";
        head(&mut out, LONG, "gauge", "[STABLE] Gauge of all active long-running apiserver requests.");
        for (labels, series) in series.iter().filter(|(_, s)| s.long_running.load(Ordering::Relaxed) > 0) {
            let count = series.long_running.load(Ordering::Relaxed);
            writeln_to(&mut out, format_args!("{LONG}{{component=\"apiserver\",{labels}}} {count}"));
        }
        const INFLIGHT: &str = "apiserver_current_inflight_requests";
        head(&mut out, INFLIGHT, "gauge", "[STABLE] Requests that run now, by kind.");
        for (kind, gauge) in [("mutating", &self.writing), ("readOnly", &self.reading)] {
            writeln_to(
                &mut out,
                format_args!("{INFLIGHT}{{request_kind=\"{kind}\"}} {}", gauge.load(Ordering::Relaxed)),
            );
        }
        for source in self.sources.lock().iter() {
            source(&mut out);
        }
        out
    }
}

impl Running {
    /// The request has been answered with this code; a long-running one goes on until this is dropped.
    pub fn answered(&self, code: u16) {
        self.0.code.store(code, Ordering::Relaxed);
    }
}

impl Drop for Count {
    fn drop(&mut self) {
        let gauge = if self.long_running { &self.series.long_running } else { self.metrics.inflight(self.read_only) };
        gauge.fetch_sub(1, Ordering::Relaxed);
        if !self.long_running {
            self.series.duration.record(self.started.elapsed());
        }
        let answered = self.code.load(Ordering::Relaxed);
        let mut by_code = self.series.by_code.lock();
        match by_code.iter_mut().find(|(code, _)| *code == answered) {
            Some((_, count)) => *count += 1,
            None => by_code.push((answered, 1)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_by_what_they_were_and_how_they_ended() {
        let metrics = Arc::new(Metrics::default());
        let info = crate::http::route::route(&http::Method::GET, "/api/v1/namespaces/a/pods", "");
        for code in [200, 200, 404] {
            metrics.begin(&info, true).answered(code);
        }
        let created = crate::http::route::route(&http::Method::POST, "/api/v1/namespaces/a/pods", "");
        metrics.begin(&created, true).answered(201);
        let open = metrics.begin(&info, true);
        let text = metrics.text();
        let labels = r#"component="apiserver",dry_run="",group="",resource="pods",scope="namespace",subresource="",verb="LIST",version="v1""#;
        assert!(text.contains(&format!("apiserver_request_total{{code=\"200\",{labels}}} 2\n")), "{text}");
        assert!(text.contains(&format!("apiserver_request_duration_seconds_count{{{labels}}} 3\n")));
        assert!(text.contains("apiserver_current_inflight_requests{request_kind=\"readOnly\"} 1\n"));
        assert!(text.contains("verb=\"POST\""), "{text}");
        drop(open);
        assert!(metrics.text().contains("request_kind=\"readOnly\"} 0\n"));
    }

    #[test]
    fn what_is_not_served_makes_no_series_of_its_own() {
        let metrics = Arc::new(Metrics::default());
        for resource in ["a", "b", "c"] {
            let info = crate::http::route::route(&http::Method::GET, &format!("/api/v1/{resource}"), "");
            metrics.begin(&info, false).answered(404);
        }
        assert_eq!(metrics.requests.len(), 1);
    }

    #[test]
    fn buckets_are_cumulative() {
        let histogram = Histogram::new(&[10, 100]);
        for us in [5, 10, 50, 1000] {
            histogram.record(Duration::from_micros(us));
        }
        let mut text = String::new();
        histogram.write(&mut text, "x", "");
        assert_eq!(
            text,
            "x_bucket{le=\"0.00001\"} 2\nx_bucket{le=\"0.0001\"} 3\nx_bucket{le=\"+Inf\"} 4\nx_sum 0.001065\nx_count 4\n"
        );
    }
}
