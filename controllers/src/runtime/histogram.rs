//! A histogram whose bucket bounds grow by a factor, as all of upstream's scheduler histograms do, in Prometheus text.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Counts by bucket. All methods may be called from anywhere.
#[derive(Debug)]
pub(crate) struct Histogram<const BUCKETS: usize> {
    first: f64,
    factor: f64,
    counts: [AtomicU64; BUCKETS],
    beyond: AtomicU64,
    /// In billionths, so that it can be added to atomically.
    sum_nano: AtomicU64,
}

impl<const BUCKETS: usize> Histogram<BUCKETS> {
    pub(crate) fn growing(first: f64, factor: f64) -> Self {
        Self {
            first,
            factor,
            counts: std::array::from_fn(|_| AtomicU64::new(0)),
            beyond: AtomicU64::new(0),
            sum_nano: AtomicU64::new(0),
        }
    }

    pub(crate) fn add(&self, value: f64) {
        let mut bound = self.first;
        let bucket = self.counts.iter().find(|_| {
            let within = value <= bound;
            bound *= self.factor;
            within
        });
        bucket.unwrap_or(&self.beyond).fetch_add(1, Relaxed);
        self.sum_nano.fetch_add((value * 1e9) as u64, Relaxed);
    }

    pub(crate) fn count(&self) -> u64 {
        self.counts.iter().chain([&self.beyond]).map(|c| c.load(Relaxed)).sum()
    }

    pub(crate) fn write(&self, out: &mut String, name: &str, labels: &str) {
        let comma = if labels.is_empty() { "" } else { "," };
        let (mut bound, mut sum) = (self.first, 0);
        for count in &self.counts {
            sum += count.load(Relaxed);
            let _ = writeln!(out, "{name}_bucket{{{labels}{comma}le=\"{}\"}} {sum}", number(bound));
            bound *= self.factor;
        }
        sum += self.beyond.load(Relaxed);
        let braces = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
        let total = self.sum_nano.load(Relaxed) as f64 / 1e9;
        let _ = writeln!(out, "{name}_bucket{{{labels}{comma}le=\"+Inf\"}} {sum}");
        let _ = writeln!(out, "{name}_sum{braces} {total}\n{name}_count{braces} {sum}");
    }
}

/// A bound as Go's client prints it: the shortest form, with an exponent below 0.0001.
fn number(value: f64) -> String {
    if value >= 1e-4 {
        return value.to_string();
    }
    let text = format!("{value:e}");
    match text.split_once("e-") {
        Some((digits, exponent)) => format!("{digits}e-{exponent:0>2}"),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_printed_as_go_prints_them() {
        let bounds = [0.001, 0.000_01, 0.000_01 * 1.5, 0.0001, 16.384];
        assert_eq!(bounds.map(number), ["0.001", "1e-05", "1.5000000000000002e-05", "0.0001", "16.384"]);
    }
}
