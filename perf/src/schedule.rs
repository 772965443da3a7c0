//! Pods created and bound: arrivals at a fixed rate (or as fast as a window of requests in flight allows), bindings seen
//! by one watch. A pod's latency runs from the moment it should have been sent to the moment its binding was seen.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use bytes::Bytes;
use clap::{Args, ValueEnum};
use http::{Method, StatusCode};
use http_body_util::BodyExt;
use indicatif::{ProgressBar, ProgressStyle};
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, Semaphore};

use crate::Common;
use crate::connect::{Lines, Server};
use crate::measure::{Latencies, Percentiles, usage};
use crate::report;
use crate::workload::{HIGH_PRIORITY, Workload, pod_group};

#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    #[command(flatten)]
    common: Common,
    /// Wait until this many nodes exist
    #[arg(long, default_value_t = 5000)]
    nodes: usize,
    /// Create the missing nodes as bare Node objects (for servers without simulated nodes)
    #[arg(long)]
    create_nodes: bool,
    /// How many pods to create
    #[arg(long, default_value_t = 10_000)]
    pods: usize,
    /// Arrivals per second; 0: as fast as --in-flight allows
    #[arg(long, default_value_t = 0.0)]
    rate: f64,
    /// What the pods ask for
    #[arg(long, value_enum, default_value_t = Workload::Plain)]
    workload: Workload,
    /// Before the measured pods: this many plain pods that request --fill-cpu each and stay
    #[arg(long, default_value_t = 0)]
    fill: usize,
    /// What the container of a filling pod requests
    #[arg(long, default_value = "8")]
    fill_cpu: String,
    /// With --workload gang: how many pods a gang has (the server needs --feature-gates=GenericWorkload=true,GangScheduling=true
    /// and --runtime-config=scheduling.k8s.io/v1alpha2=true)
    #[arg(long, default_value_t = 1000)]
    gang_size: usize,
    /// Creates under way at once; arrivals that find none free wait, and the wait counts
    #[arg(long, default_value_t = 256)]
    in_flight: usize,
    /// Connections to the server
    #[arg(long, default_value_t = 4)]
    connections: usize,
    /// The namespace, created if need be; its pods are deleted at the end
    #[arg(long, default_value = "gantry-perf")]
    namespace: String,
    /// What each container requests
    #[arg(long, default_value = "100m")]
    cpu: String,
    /// What each container requests
    #[arg(long, default_value = "128Mi")]
    memory: String,
    /// Give up when nothing was bound for this many seconds
    #[arg(long, default_value_t = 120)]
    patience_seconds: u64,
    /// Leave the pods behind
    #[arg(long)]
    keep: bool,
}

#[derive(Serialize)]
struct Outcome<'a> {
    scenario: &'static str,
    workload: String,
    label: &'a str,
    filled: usize,
    nodes: usize,
    pods: usize,
    rate: f64,
    in_flight: usize,
    seconds: f64,
    created_and_bound_per_second: f64,
    refused_429: u64,
    create: Percentiles,
    bound: Percentiles,
    control_plane_cpu_us_per_pod: Option<f64>,
    control_plane_resident_mb: Option<f64>,
    generator_cpu_us_per_pod: f64,
}

/// What the watch has seen of the pods that were sent.
struct Progress {
    /// When each pod was due, by name; taken out when its binding is seen.
    due: HashMap<Box<str>, Instant>,
    bound: Latencies,
    bound_count: usize,
    last_bound: Instant,
}

#[derive(Deserialize)]
struct Seen<'a> {
    #[serde(borrow)]
    object: SeenPod<'a>,
}

#[derive(Deserialize)]
struct SeenPod<'a> {
    #[serde(borrow)]
    metadata: SeenMeta<'a>,
    #[serde(borrow, default)]
    spec: SeenSpec<'a>,
}

#[derive(Deserialize)]
struct SeenMeta<'a> {
    #[serde(default)]
    name: &'a str,
}

#[derive(Deserialize, Default)]
struct SeenSpec<'a> {
    #[serde(rename = "nodeName", default)]
    node_name: &'a str,
}

#[derive(Deserialize)]
struct ListHead {
    metadata: ListMeta,
    items: Vec<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListMeta {
    resource_version: String,
    remaining_item_count: Option<usize>,
}

pub(crate) async fn run(options: Options) -> anyhow::Result<()> {
    let server = Server::connect(&options.common.kubeconfig, options.connections).await?;
    prepare(&server, &options).await?;

    let pods_path = format!("/api/v1/namespaces/{}/pods", options.namespace);
    let head: ListHead =
        serde_json::from_slice(&server.call(Method::GET, &format!("{pods_path}?limit=1"), Bytes::new()).await?)?;
    if !head.items.is_empty() {
        bail!("namespace {} already holds pods: delete it first", options.namespace);
    }
    let fill =
        Batch { prefix: "fill", workload: Workload::Plain, cpu: &options.fill_cpu, count: options.fill, rate: 0.0 };
    let revision = head.metadata.resource_version;
    let filled = place(&server, &options, &fill, &pods_path, revision, &ProgressBar::hidden()).await?;

    let bar = progress_bar(&options);
    let before = usage(&options.common.pids);
    let generator_before = usage(&[std::process::id()]);
    let pods =
        Batch { prefix: "pod", workload: options.workload, cpu: &options.cpu, count: options.pods, rate: options.rate };
    let Placed { creates, refused, progress, seconds, .. } =
        place(&server, &options, &pods, &pods_path, filled.revision, &bar).await?;
    let after = usage(&options.common.pids);
    let generator_after = usage(&[std::process::id()]);
    bar.finish_and_clear();

    let (bound, bound_curve) = {
        let progress = progress.lock().expect("no holder panics");
        (progress.bound.percentiles(), progress.bound.curve())
    };
    let per_pod = |cpu: Duration| cpu.as_micros() as f64 / options.pods as f64;
    let measured = !options.common.pids.is_empty();
    let outcome = Outcome {
        scenario: "schedule",
        workload: options.workload.to_possible_value().map(|v| v.get_name().to_owned()).unwrap_or_default(),
        filled: options.fill,
        label: &options.common.label,
        nodes: options.nodes,
        pods: options.pods,
        rate: options.rate,
        in_flight: options.in_flight,
        seconds,
        created_and_bound_per_second: options.pods as f64 / seconds,
        refused_429: refused,
        create: creates.percentiles(),
        bound,
        control_plane_cpu_us_per_pod: measured.then(|| per_pod(after.cpu.saturating_sub(before.cpu))),
        control_plane_resident_mb: measured.then_some(after.resident_bytes as f64 / 1e6),
        generator_cpu_us_per_pod: per_pod(generator_after.cpu.saturating_sub(generator_before.cpu)),
    };
    let curves = [("create answered", creates.curve()), ("bound", bound_curve)];
    report::publish(&options.common, &outcome, &curves)?;
    if !options.keep {
        let path = format!("{pods_path}?gracePeriodSeconds=0");
        server.call(Method::DELETE, &path, Bytes::new()).await?;
        if options.workload == Workload::Gang {
            server.call(Method::DELETE, &pod_groups(&options), Bytes::new()).await?;
        }
    }
    Ok(())
}

/// Pods created one after another.
struct Batch<'a> {
    /// How their names begin.
    prefix: &'static str,
    workload: Workload,
    /// What each requests.
    cpu: &'a str,
    count: usize,
    /// Arrivals per second; 0: as fast as the window of requests in flight allows.
    rate: f64,
}

/// A batch that is bound.
struct Placed {
    creates: Latencies,
    /// How many creations were put off with 429.
    refused: u64,
    progress: Arc<Mutex<Progress>>,
    /// From the first creation to the last binding.
    seconds: f64,
    /// Where the next batch's watch begins.
    revision: String,
}

/// Creates a batch and waits for the last binding, as long as bindings go on.
async fn place(
    server: &Server,
    options: &Options,
    batch: &Batch<'_>,
    pods_path: &str,
    revision: String,
    bar: &ProgressBar,
) -> anyhow::Result<Placed> {
    let progress = Arc::new(Mutex::new(Progress {
        due: HashMap::with_capacity(batch.count),
        bound: Latencies::new(),
        bound_count: 0,
        last_bound: Instant::now(),
    }));
    let all_bound = Arc::new(Notify::new());
    let watching = tokio::spawn(watch_bindings(
        Server::connect(&options.common.kubeconfig, 1).await?,
        pods_path.to_owned(),
        revision,
        batch.count,
        progress.clone(),
        all_bound.clone(),
    ));
    let start = Instant::now();
    let (creates, refused) = create_pods(server, options, batch, pods_path, start, &progress).await?;
    loop {
        let bound = progress.lock().expect("no holder panics").bound_count;
        bar.set_position(bound as u64);
        if bound >= batch.count {
            break;
        }
        let quiet = progress.lock().expect("no holder panics").last_bound.elapsed();
        if quiet > Duration::from_secs(options.patience_seconds) {
            bail!("{bound} of {} pods bound, and none for {} s", batch.count, quiet.as_secs());
        }
        if watching.is_finished() {
            bail!("the watch on pods ended after {bound} bindings");
        }
        let _ = tokio::time::timeout(Duration::from_millis(100), all_bound.notified()).await;
    }
    watching.abort();
    let seconds = progress.lock().expect("no holder panics").last_bound.saturating_duration_since(start).as_secs_f64();
    let head: ListHead =
        serde_json::from_slice(&server.call(Method::GET, &format!("{pods_path}?limit=1"), Bytes::new()).await?)?;
    Ok(Placed { creates, refused, progress, seconds, revision: head.metadata.resource_version })
}

fn pod_groups(options: &Options) -> String {
    format!("/apis/scheduling.k8s.io/v1alpha2/namespaces/{}/podgroups", options.namespace)
}

/// Makes the namespace and waits for the nodes.
async fn prepare(server: &Server, options: &Options) -> anyhow::Result<()> {
    let namespace =
        format!(r#"{{"apiVersion":"v1","kind":"Namespace","metadata":{{"name":"{}"}}}}"#, options.namespace);
    let (status, body) = server.try_call(Method::POST, "/api/v1/namespaces", namespace.into()).await?;
    if !status.is_success() && status != StatusCode::CONFLICT {
        bail!("cannot create the namespace: {status}: {}", String::from_utf8_lossy(&body));
    }
    if options.workload == Workload::Preemption {
        let class = format!(
            r#"{{"apiVersion":"scheduling.k8s.io/v1","kind":"PriorityClass","metadata":{{"name":"{HIGH_PRIORITY}"}},"value":1000}}"#
        );
        let (status, body) =
            server.try_call(Method::POST, "/apis/scheduling.k8s.io/v1/priorityclasses", class.into()).await?;
        if !status.is_success() && status != StatusCode::CONFLICT {
            bail!("cannot create the PriorityClass: {status}: {}", String::from_utf8_lossy(&body));
        }
    }
    if options.workload == Workload::Gang {
        let path = pod_groups(options);
        let size = options.gang_size.max(1);
        for (gang, first) in (0..options.pods).step_by(size).enumerate() {
            let (status, body) =
                server.try_call(Method::POST, &path, pod_group(gang, size.min(options.pods - first))).await?;
            if !status.is_success() {
                bail!("cannot create a PodGroup: {status}: {}", String::from_utf8_lossy(&body));
            }
        }
    }
    if options.create_nodes {
        create_nodes(server, options.nodes).await?;
    }
    let deadline = Instant::now() + Duration::from_secs(options.patience_seconds);
    loop {
        let head: ListHead =
            serde_json::from_slice(&server.call(Method::GET, "/api/v1/nodes?limit=1", Bytes::new()).await?)?;
        let nodes = head.items.len() + head.metadata.remaining_item_count.unwrap_or(0);
        if nodes >= options.nodes {
            break;
        }
        if Instant::now() > deadline {
            bail!("only {nodes} of {} nodes exist: start them, or use --create-nodes", options.nodes);
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    // The service account of the namespace is made by a loop; pods are refused until it is there.
    let account = format!("/api/v1/namespaces/{}/serviceaccounts/default", options.namespace);
    while !server.try_call(Method::GET, &account, Bytes::new()).await?.0.is_success() {
        if Instant::now() > deadline {
            bail!("namespace {} has no default service account", options.namespace);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

async fn create_nodes(server: &Server, count: usize) -> anyhow::Result<()> {
    let room = Arc::new(Semaphore::new(64));
    let mut tasks = tokio::task::JoinSet::new();
    for i in 0..count {
        let permit = room.clone().acquire_owned().await?;
        let server = server.clone();
        tasks.spawn(async move {
            let _permit = permit;
            let name = format!("perf-node-{i}");
            let node = format!(
                r#"{{"apiVersion":"v1","kind":"Node","metadata":{{"name":"{name}","labels":{{"kubernetes.io/hostname":"{name}","topology.kubernetes.io/zone":"zone-{}"}}}},"status":{{"capacity":{{"cpu":"32","memory":"256Gi","pods":"110"}},"allocatable":{{"cpu":"32","memory":"256Gi","pods":"110"}},"conditions":[{{"type":"Ready","status":"True"}}]}}}}"#,
                i % 3
            );
            let (status, body) = server.try_call(Method::POST, "/api/v1/nodes", node.into()).await?;
            if !status.is_success() && status != StatusCode::CONFLICT {
                bail!("cannot create node {name}: {status}: {}", String::from_utf8_lossy(&body));
            }
            Ok(())
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    Ok(())
}

/// Sends every pod at its time; gives the latencies of the answers and how many were put off with 429.
async fn create_pods(
    server: &Server,
    options: &Options,
    pods: &Batch<'_>,
    path: &str,
    start: Instant,
    progress: &Arc<Mutex<Progress>>,
) -> anyhow::Result<(Latencies, u64)> {
    let room = Arc::new(Semaphore::new(options.in_flight));
    let path: Arc<str> = path.into();
    let mut tasks = tokio::task::JoinSet::new();
    let mut creates = Latencies::new();
    let mut refused = 0;
    for i in 0..pods.count {
        let permit = if pods.rate > 0.0 {
            let due = start + Duration::from_secs_f64(i as f64 / pods.rate);
            tokio::time::sleep_until(due.into()).await;
            None
        } else {
            Some(room.clone().acquire_owned().await?)
        };
        let due = if pods.rate > 0.0 { start + Duration::from_secs_f64(i as f64 / pods.rate) } else { Instant::now() };
        let name = format!("{}-{i}", pods.prefix);
        progress.lock().expect("no holder panics").due.insert(name.as_str().into(), due);
        let body = pods.workload.pod(&name, pods.cpu, &options.memory, i / options.gang_size.max(1));
        let (server, path, room) = (server.clone(), path.clone(), room.clone());
        tasks.spawn(async move {
            let _permit = match permit {
                Some(permit) => permit,
                None => room.acquire_owned().await?,
            };
            let mut put_off = 0;
            loop {
                let (status, answer) = server.try_call(Method::POST, &path, body.clone()).await?;
                if status == StatusCode::TOO_MANY_REQUESTS {
                    put_off += 1;
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
                if !status.is_success() {
                    bail!("creating {name}: {status}: {}", String::from_utf8_lossy(&answer[..answer.len().min(500)]));
                }
                return Ok((due.elapsed(), put_off));
            }
        });
        while let Some(done) = tasks.try_join_next() {
            let (latency, put_off) = done??;
            creates.record(latency);
            refused += put_off;
        }
    }
    while let Some(done) = tasks.join_next().await {
        let (latency, put_off) = done??;
        creates.record(latency);
        refused += put_off;
    }
    Ok((creates, refused))
}

/// Follows the namespace's pods and notes each first sight of a binding.
async fn watch_bindings(
    server: Server,
    path: String,
    mut revision: String,
    wanted: usize,
    progress: Arc<Mutex<Progress>>,
    all_bound: Arc<Notify>,
) -> anyhow::Result<()> {
    loop {
        let url = format!("{path}?watch=1&resourceVersion={revision}");
        let answer = server.send(Method::GET, &url, "", Bytes::new()).await?;
        if !answer.status().is_success() {
            bail!("watching pods: {}", answer.status());
        }
        let mut body = answer.into_body();
        let mut lines = Lines::default();
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.context("the watch broke")?.into_data() else { continue };
            let now = Instant::now();
            let mut seen = progress.lock().expect("no holder panics");
            lines.push(&data, |line| note(line, now, &mut seen));
            if seen.bound_count >= wanted {
                all_bound.notify_one();
            }
        }
        // The server ended the watch (upstream does under bursts): list what was missed, then go on from there.
        let list = server.call(Method::GET, &path, Bytes::new()).await?;
        let head: ListHead = serde_json::from_slice(&list)?;
        revision = head.metadata.resource_version;
        #[derive(Deserialize)]
        struct Items<'a> {
            #[serde(borrow)]
            items: Vec<SeenPod<'a>>,
        }
        let items: Items<'_> = serde_json::from_slice(&list)?;
        let now = Instant::now();
        let mut seen = progress.lock().expect("no holder panics");
        for pod in &items.items {
            note_pod(pod, now, &mut seen);
        }
    }
}

fn note(line: &[u8], now: Instant, progress: &mut Progress) {
    if let Ok(seen) = serde_json::from_slice::<Seen<'_>>(line) {
        note_pod(&seen.object, now, progress);
    }
}

fn note_pod(pod: &SeenPod<'_>, now: Instant, progress: &mut Progress) {
    if pod.spec.node_name.is_empty() {
        return;
    }
    if let Some(due) = progress.due.remove(pod.metadata.name) {
        progress.bound.record(now.saturating_duration_since(due));
        progress.bound_count += 1;
        progress.last_bound = now;
    }
}

fn progress_bar(options: &Options) -> ProgressBar {
    if options.common.quiet {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} bound, {per_sec}, {elapsed}")
        .expect("the template is a constant that parses");
    ProgressBar::new(options.pods as u64).with_style(style)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_binding_counts_once_and_only_when_there_is_a_node() {
        let now = Instant::now();
        let mut progress = Progress {
            due: HashMap::from([("a".into(), now)]),
            bound: Latencies::new(),
            bound_count: 0,
            last_bound: now,
        };
        note(br#"{"type":"ADDED","object":{"metadata":{"name":"a"},"spec":{}}}"#, now, &mut progress);
        assert_eq!(progress.bound_count, 0);
        for _ in 0..2 {
            note(
                br#"{"type":"MODIFIED","object":{"metadata":{"name":"a"},"spec":{"nodeName":"n"}}}"#,
                now,
                &mut progress,
            );
        }
        assert_eq!(progress.bound_count, 1);
    }
}
