//! Watch fan-out: many watchers of one namespace's ConfigMaps, one writer; every delivery is timed from the write's
//! acknowledged sending time, which travels inside the object.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::bail;
use bytes::Bytes;
use clap::Args;
use http::Method;
use http_body_util::BodyExt;
use serde::Serialize;
use tokio::sync::Semaphore;

use crate::Common;
use crate::connect::{Lines, Server};
use crate::measure::{Latencies, Percentiles, usage};
use crate::report;

#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    #[command(flatten)]
    common: Common,
    /// How many watchers
    #[arg(long, default_value_t = 1000)]
    watchers: usize,
    /// How many changes each of them must see
    #[arg(long, default_value_t = 1000)]
    events: usize,
    /// Changes per second; 0: as fast as --in-flight allows
    #[arg(long, default_value_t = 0.0)]
    rate: f64,
    /// Writes under way at once
    #[arg(long, default_value_t = 16)]
    in_flight: usize,
    /// Watchers per connection
    #[arg(long, default_value_t = 100)]
    per_connection: usize,
    /// The namespace, created if need be
    #[arg(long, default_value = "gantry-perf-watch")]
    namespace: String,
    /// Give up after this many seconds
    #[arg(long, default_value_t = 300)]
    patience_seconds: u64,
}

#[derive(Serialize)]
struct Outcome<'a> {
    scenario: &'static str,
    label: &'a str,
    watchers: usize,
    events: usize,
    rate: f64,
    seconds: f64,
    deliveries: u64,
    deliveries_per_second: f64,
    watches_ended_early: u64,
    delivery: Percentiles,
    control_plane_cpu_us_per_delivery: Option<f64>,
    control_plane_resident_mb: Option<f64>,
}

const SENT: &[u8] = br#""sent":""#;

pub(crate) async fn run(options: Options) -> anyhow::Result<()> {
    let writer = Server::connect(&options.common.kubeconfig, 1).await?;
    let namespace =
        format!(r#"{{"apiVersion":"v1","kind":"Namespace","metadata":{{"name":"{}"}}}}"#, options.namespace);
    let (status, body) = writer.try_call(Method::POST, "/api/v1/namespaces", namespace.into()).await?;
    if !status.is_success() && status.as_u16() != 409 {
        bail!("cannot create the namespace: {status}: {}", String::from_utf8_lossy(&body));
    }
    let path = format!("/api/v1/namespaces/{}/configmaps", options.namespace);
    let delivered = Arc::new(AtomicU64::new(0));
    let ended = Arc::new(AtomicU64::new(0));
    let expected = (options.watchers * options.events) as u64;

    let mut watchers = tokio::task::JoinSet::new();
    let mut left = options.watchers;
    while left > 0 {
        let here = left.min(options.per_connection);
        left -= here;
        let server = Server::connect(&options.common.kubeconfig, 1).await?;
        for _ in 0..here {
            // The label keeps out what the cluster itself puts into the namespace.
            let url = format!("{path}?watch=1&resourceVersion=0&labelSelector=gantry-perf");
            let answer = server.send(Method::GET, &url, "", Bytes::new()).await?;
            if !answer.status().is_success() {
                bail!("watching: {}", answer.status());
            }
            let (delivered, ended, events) = (delivered.clone(), ended.clone(), options.events);
            watchers.spawn(async move {
                let mut latencies = Latencies::new();
                let mut lines = Lines::default();
                let mut body = answer.into_body();
                let mut count = 0;
                while count < events {
                    let Some(Ok(frame)) = body.frame().await else {
                        ended.fetch_add(1, Ordering::Relaxed);
                        break;
                    };
                    let Ok(data) = frame.into_data() else { continue };
                    let now = nanos_now();
                    let mut fresh = 0;
                    lines.push(&data, |line| {
                        if let Some(sent) = sent_at(line) {
                            latencies.record(Duration::from_nanos(now.saturating_sub(sent)));
                            fresh += 1;
                        }
                    });
                    count += fresh;
                    delivered.fetch_add(fresh as u64, Ordering::Relaxed);
                }
                latencies
            });
        }
    }

    let before = usage(&options.common.pids);
    let start = Instant::now();
    let run = nanos_now();
    let room = Arc::new(Semaphore::new(options.in_flight));
    for i in 0..options.events {
        if options.rate > 0.0 {
            tokio::time::sleep_until((start + Duration::from_secs_f64(i as f64 / options.rate)).into()).await;
        }
        let permit = room.clone().acquire_owned().await?;
        let (writer, path) = (writer.clone(), path.clone());
        tokio::spawn(async move {
            let _permit = permit;
            let object = format!(
                r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"w-{run}-{i}","labels":{{"gantry-perf":"watch"}}}},"data":{{"filler":"{}","sent":"{}"}}}}"#,
                "x".repeat(1000),
                nanos_now()
            );
            writer.call(Method::POST, &path, object.into()).await
        });
    }
    let deadline = start + Duration::from_secs(options.patience_seconds);
    let mut latencies = Latencies::new();
    while let Ok(Some(done)) = tokio::time::timeout_at(deadline.into(), watchers.join_next()).await {
        latencies.add(&done?);
    }
    let seconds = start.elapsed().as_secs_f64();
    let after = usage(&options.common.pids);
    let deliveries = delivered.load(Ordering::Relaxed);
    let measured = !options.common.pids.is_empty();
    let outcome = Outcome {
        scenario: "watch",
        label: &options.common.label,
        watchers: options.watchers,
        events: options.events,
        rate: options.rate,
        seconds,
        deliveries,
        deliveries_per_second: deliveries as f64 / seconds,
        watches_ended_early: ended.load(Ordering::Relaxed),
        delivery: latencies.percentiles(),
        control_plane_cpu_us_per_delivery: measured
            .then(|| after.cpu.saturating_sub(before.cpu).as_micros() as f64 / deliveries.max(1) as f64),
        control_plane_resident_mb: measured.then_some(after.resident_bytes as f64 / 1e6),
    };
    report::publish(&options.common, &outcome, &[("delivered", latencies.curve())])?;
    writer.call(Method::DELETE, &format!("{path}?labelSelector=gantry-perf"), Bytes::new()).await?;
    if deliveries < expected {
        bail!("{deliveries} of {expected} deliveries arrived");
    }
    Ok(())
}

fn nanos_now() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos()).unwrap_or(u64::MAX)
}

/// The sending time inside a frame, found without decoding it.
fn sent_at(line: &[u8]) -> Option<u64> {
    let at = line.windows(SENT.len()).rposition(|window| window == SENT)? + SENT.len();
    let digits = line[at..].iter().take_while(|b| b.is_ascii_digit()).count();
    std::str::from_utf8(&line[at..at + digits]).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sending_time_is_found_in_a_frame() {
        assert_eq!(sent_at(br#"{"type":"ADDED","object":{"data":{"filler":"x","sent":"123"}}}"#), Some(123));
        assert_eq!(sent_at(br#"{"type":"BOOKMARK","object":{}}"#), None);
    }
}
