//! How streams are measured. Ids are `<what>/<nodes>`, times are per pod, queue and bookkeeping included; `gantry-perf
//! growth` fits how they grow with the nodes.
#![allow(dead_code, reason = "each bench uses its part")]

use std::time::Duration;

use criterion::{BenchmarkId, Criterion};
use gantry_scheduler_core::rows::PodRow;

use crate::stream::Stream;

/// The sizes that everything is measured at.
pub(crate) const NODES: [u32; 4] = [1_000, 5_000, 20_000, 100_000];

/// Few samples: what is measured is measured at many sizes.
pub(crate) fn config() -> Criterion {
    Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
}

/// Measures a stream.
pub(crate) fn measure<F: Fn(u64) -> Box<PodRow>>(c: &mut Criterion, name: &str, nodes: u32, mut stream: Stream<F>) {
    c.bench_with_input(BenchmarkId::new(name, nodes), &nodes, |b, _| b.iter(|| stream.one()));
}
