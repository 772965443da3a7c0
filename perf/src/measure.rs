//! What is measured: latencies in HDR histograms, and the CPU time and memory of the processes under test.

use std::fs;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

/// Latencies in microseconds, three significant digits, up to ten minutes.
pub(crate) struct Latencies(Histogram<u64>);

/// The figures of one histogram, in microseconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Percentiles {
    pub(crate) count: u64,
    pub(crate) p50_us: u64,
    pub(crate) p90_us: u64,
    pub(crate) p99_us: u64,
    pub(crate) p999_us: u64,
    pub(crate) max_us: u64,
}

impl Latencies {
    pub(crate) fn new() -> Self {
        Self(Histogram::new_with_bounds(1, 600_000_000, 3).expect("the bounds are constants that fit"))
    }

    pub(crate) fn record(&mut self, latency: Duration) {
        self.0.saturating_record(u64::try_from(latency.as_micros()).unwrap_or(u64::MAX).max(1));
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.0.add(&other.0).expect("all histograms here have the same bounds");
    }

    pub(crate) fn percentiles(&self) -> Percentiles {
        Percentiles {
            count: self.0.len(),
            p50_us: self.0.value_at_quantile(0.5),
            p90_us: self.0.value_at_quantile(0.9),
            p99_us: self.0.value_at_quantile(0.99),
            p999_us: self.0.value_at_quantile(0.999),
            max_us: self.0.max(),
        }
    }

    /// (quantile, microseconds) along the distribution: what the report plots.
    pub(crate) fn curve(&self) -> Vec<(f64, u64)> {
        self.0.iter_quantiles(5).map(|step| (step.quantile(), step.value_iterated_to())).collect()
    }
}

/// CPU time and memory of a set of processes at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    /// User and system time together.
    pub(crate) cpu: Duration,
    /// Resident set.
    pub(crate) resident_bytes: u64,
}

/// Reads the usage of `pids` from /proc; a process that is gone counts as nothing.
pub(crate) fn usage(pids: &[u32]) -> Usage {
    pids.iter().filter_map(|pid| usage_of(*pid)).fold(Usage::default(), |sum, one| Usage {
        cpu: sum.cpu + one.cpu,
        resident_bytes: sum.resident_bytes + one.resident_bytes,
    })
}

fn usage_of(pid: u32) -> Option<Usage> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The command's name may hold spaces and parentheses: fields count from the last one.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks: u64 = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let resident_kib: u64 =
        status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?.split_whitespace().next()?.parse().ok()?;
    // USER_HZ has been 100 on every Linux ABI since 2.4.
    Some(Usage { cpu: Duration::from_millis(ticks * 10), resident_bytes: resident_kib * 1024 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_come_from_what_was_recorded() {
        let mut latencies = Latencies::new();
        for ms in 1..=1000 {
            latencies.record(Duration::from_millis(ms));
        }
        let p = latencies.percentiles();
        assert_eq!(p.count, 1000);
        assert!((499_000..=501_500).contains(&p.p50_us), "{}", p.p50_us);
        assert!((989_000..=992_000).contains(&p.p99_us), "{}", p.p99_us);
    }

    #[test]
    fn own_usage_is_seen_and_a_dead_process_counts_as_nothing() {
        assert!(usage(&[std::process::id()]).resident_bytes > 0);
        assert_eq!(usage(&[u32::MAX]).resident_bytes, 0);
    }
}
