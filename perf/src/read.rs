//! Reads one path again and again: an object, a list, a Table. Answers are read to their end and thrown away.
//!
//! With `--rate` open loop, each read timed from its arrival; without, as many at once as `--in-flight` allows, which
//! tells how much the server can do.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::bail;
use bytes::Bytes;
use clap::Args;
use http::Method;
use http_body_util::BodyExt;
use serde::Serialize;
use tokio::task::JoinSet;

use crate::Common;
use crate::connect::Server;
use crate::measure::{Latencies, Percentiles, usage};
use crate::report;

#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    #[command(flatten)]
    common: Common,
    /// What to read, with its query
    #[arg(long, default_value = "/api/v1/nodes?resourceVersion=0")]
    path: String,
    /// How many reads
    #[arg(long, default_value_t = 100_000)]
    requests: u64,
    /// Arrivals per second; 0: as fast as --in-flight allows
    #[arg(long, default_value_t = 0.0)]
    rate: f64,
    /// Reads under way at once
    #[arg(long, default_value_t = 64)]
    in_flight: usize,
    /// Connections they are spread over
    #[arg(long, default_value_t = 4)]
    connections: usize,
}

#[derive(Serialize)]
struct Outcome<'a> {
    scenario: &'static str,
    label: &'a str,
    path: &'a str,
    requests: u64,
    rate: f64,
    in_flight: usize,
    seconds: f64,
    requests_per_second: f64,
    bytes_each: u64,
    megabytes_per_second: f64,
    answered: Percentiles,
    control_plane_cpu_us_per_request: Option<f64>,
    control_plane_resident_mb: Option<f64>,
    generator_cpu_us_per_request: f64,
}

pub(crate) async fn run(options: Options) -> anyhow::Result<()> {
    let server = Server::connect(&options.common.kubeconfig, options.connections.max(1)).await?;
    server.call(Method::GET, &options.path, Bytes::new()).await?;

    let (next, bytes) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let (before, own_before) = (usage(&options.common.pids), usage(&[std::process::id()]));
    let start = Instant::now();
    let mut readers = JoinSet::new();
    for _ in 0..options.in_flight.max(1) {
        let (server, next, bytes, options) = (server.clone(), next.clone(), bytes.clone(), options.clone());
        readers.spawn(async move {
            let mut latencies = Latencies::new();
            loop {
                let turn = next.fetch_add(1, Ordering::Relaxed);
                if turn >= options.requests {
                    return anyhow::Ok(latencies);
                }
                let mut arrival = Instant::now();
                if options.rate > 0.0 {
                    arrival = start + Duration::from_secs_f64(turn as f64 / options.rate);
                    tokio::time::sleep_until(arrival.into()).await;
                }
                bytes.fetch_add(read(&server, &options.path).await?, Ordering::Relaxed);
                latencies.record(arrival.elapsed());
            }
        });
    }
    let mut latencies = Latencies::new();
    while let Some(reader) = readers.join_next().await {
        latencies.add(&reader??);
    }
    let seconds = start.elapsed().as_secs_f64();
    let (after, own_after) = (usage(&options.common.pids), usage(&[std::process::id()]));
    let each = |spent: Duration| spent.as_micros() as f64 / options.requests.max(1) as f64;
    let bytes = bytes.load(Ordering::Relaxed);
    let measured = !options.common.pids.is_empty();
    let outcome = Outcome {
        scenario: "read",
        label: &options.common.label,
        path: &options.path,
        requests: options.requests,
        rate: options.rate,
        in_flight: options.in_flight,
        seconds,
        requests_per_second: options.requests as f64 / seconds,
        bytes_each: bytes / options.requests.max(1),
        megabytes_per_second: bytes as f64 / seconds / 1e6,
        answered: latencies.percentiles(),
        control_plane_cpu_us_per_request: measured.then(|| each(after.cpu.saturating_sub(before.cpu))),
        control_plane_resident_mb: measured.then_some(after.resident_bytes as f64 / 1e6),
        generator_cpu_us_per_request: each(own_after.cpu.saturating_sub(own_before.cpu)),
    };
    report::publish(&options.common, &outcome, &[("answered", latencies.curve())])
}

/// Reads once; gives how many bytes the answer's body had.
async fn read(server: &Server, path: &str) -> anyhow::Result<u64> {
    let answer = server.send(Method::GET, path, "", Bytes::new()).await?;
    if !answer.status().is_success() {
        bail!("GET {path}: {}", answer.status());
    }
    let mut body = answer.into_body();
    let mut bytes = 0;
    while let Some(frame) = body.frame().await {
        bytes += frame?.data_ref().map_or(0, Bytes::len) as u64;
    }
    Ok(bytes)
}
