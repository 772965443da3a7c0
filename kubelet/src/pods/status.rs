//! A worker's state as the API shows it: phase, conditions, container statuses, in the words of the upstream kubelet.
//!
//! Gives the body of a strategic merge patch of `pods/status`, with the uid as precondition. What the node does not
//! own (`qosClass`, `nominatedNodeName`, conditions of others) is not in it.

use compact_str::CompactString;
use jiff::Timestamp;
use serde::Serialize;

use super::brief::ContainerBrief;
use super::worker::{Container, Exit, Run, Stage, Truth, Worker};
use crate::seeded;

/// What a node knows that its pods' statuses show.
#[derive(Clone, Copy, Debug)]
pub struct Host<'a> {
    /// The node's address.
    pub ip: &'a str,
    /// The scheme of container ids.
    pub scheme: &'a str,
}

#[derive(Serialize)]
struct Patch<'a> {
    metadata: PatchMeta<'a>,
    status: Status<'a>,
}

#[derive(Serialize)]
struct PatchMeta<'a> {
    uid: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Status<'a> {
    #[serde(skip_serializing_if = "is_zero")]
    observed_generation: i64,
    phase: &'static str,
    conditions: Vec<Condition>,
    reason: Option<&'a str>,
    message: Option<&'a str>,
    #[serde(rename = "hostIP")]
    host_ip: &'a str,
    #[serde(rename = "hostIPs")]
    host_ips: [Ip<'a>; 1],
    #[serde(rename = "podIP", skip_serializing_if = "str::is_empty")]
    pod_ip: &'a str,
    #[serde(rename = "podIPs", skip_serializing_if = "Vec::is_empty")]
    pod_ips: Vec<Ip<'a>>,
    start_time: CompactString,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    init_container_statuses: Vec<ContainerStatus<'a>>,
    container_statuses: Vec<ContainerStatus<'a>>,
}

#[derive(Serialize)]
struct Ip<'a> {
    ip: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Condition {
    r#type: &'static str,
    status: &'static str,
    #[serde(skip_serializing_if = "is_zero")]
    observed_generation: i64,
    last_transition_time: CompactString,
    // Null takes away what an earlier state said.
    reason: Option<&'static str>,
    message: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ContainerStatus<'a> {
    name: &'a str,
    state: State,
    last_state: State,
    ready: bool,
    restart_count: u32,
    image: String,
    #[serde(rename = "imageID")]
    image_id: String,
    #[serde(rename = "containerID", skip_serializing_if = "String::is_empty")]
    container_id: String,
    started: bool,
}

#[derive(Default, Serialize)]
struct State {
    #[serde(skip_serializing_if = "Option::is_none")]
    waiting: Option<Waiting>,
    #[serde(skip_serializing_if = "Option::is_none")]
    running: Option<Running>,
    #[serde(skip_serializing_if = "Option::is_none")]
    terminated: Option<Terminated>,
}

#[derive(Serialize)]
struct Waiting {
    reason: &'static str,
    #[serde(skip_serializing_if = "String::is_empty")]
    message: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Running {
    started_at: CompactString,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Terminated {
    exit_code: i32,
    reason: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    message: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    started_at: Option<CompactString>,
    #[serde(skip_serializing_if = "Option::is_none")]
    finished_at: Option<CompactString>,
    #[serde(rename = "containerID", skip_serializing_if = "String::is_empty")]
    container_id: String,
}

fn is_zero(number: &i64) -> bool {
    *number == 0
}

fn seconds(time: Timestamp) -> CompactString {
    gantry_machinery::time::time(time.as_second())
}

/// The patch that shows `worker` as it is now. Notes in the worker when conditions changed.
#[must_use]
pub fn patch(worker: &mut Worker, host: Host<'_>, now: Timestamp) -> Vec<u8> {
    let conditions = conditions(worker, now);
    let brief = &worker.brief;
    let inits_pending = !initialized(worker);
    let statuses = |init: bool| {
        brief
            .containers
            .iter()
            .zip(&worker.containers)
            .filter(|(spec, _)| spec.init == init)
            .map(|(spec, container)| container_status(worker, spec, container, inits_pending, host))
            .collect::<Vec<_>>()
    };
    let pod_ip = if brief.host_network {
        host.ip
    } else if worker.sandbox || worker.stage != Stage::Creating {
        worker.pod_ip.as_str()
    } else {
        ""
    };
    let patch = Patch {
        metadata: PatchMeta { uid: &brief.uid },
        status: Status {
            observed_generation: brief.generation,
            phase: phase(worker),
            conditions,
            reason: worker.verdict.as_ref().map(|verdict| verdict.reason),
            message: worker.verdict.as_ref().map(|verdict| verdict.message),
            host_ip: host.ip,
            host_ips: [Ip { ip: host.ip }],
            pod_ip,
            pod_ips: if pod_ip.is_empty() { Vec::new() } else { vec![Ip { ip: pod_ip }] },
            start_time: seconds(worker.started),
            init_container_statuses: statuses(true),
            container_statuses: statuses(false),
        },
    };
    serde_json::to_vec(&patch).expect("texts, numbers and lists always become JSON")
}

/// Upstream's `getPhase`: what the main containers' states add up to.
fn phase(worker: &Worker) -> &'static str {
    if worker.verdict.is_some() {
        return "Failed";
    }
    if worker.stage == Stage::Ended {
        let well = mains(worker).all(|(_, container)| container.ended_well());
        return if well { "Succeeded" } else { "Failed" };
    }
    // A container that never ran yet keeps the pod pending, also while its init containers run.
    let waits = mains(worker)
        .any(|(_, container)| container.exit.is_none() && !matches!(container.run, Run::Running { .. } | Run::Exited));
    if waits { "Pending" } else { "Running" }
}

fn mains(worker: &Worker) -> impl Iterator<Item = (&ContainerBrief, &Container)> {
    worker.brief.containers.iter().zip(&worker.containers).filter(|(spec, _)| !spec.init)
}

/// Whether all init containers have done their part.
fn initialized(worker: &Worker) -> bool {
    let mut inits = worker.brief.containers.iter().zip(&worker.containers).filter(|(spec, _)| spec.init);
    let done = inits.all(|(spec, container)| if spec.sidecar { container.started } else { container.ended_well() });
    // Once the main containers ran, a sidecar's restart does not undo it.
    done || mains(worker).any(|(_, container)| container.run != Run::Idle)
}

fn names<'a>(containers: impl Iterator<Item = (&'a ContainerBrief, &'a Container)>) -> String {
    containers.map(|(spec, _)| spec.name.as_str()).collect::<Vec<_>>().join(" ")
}

fn conditions(worker: &mut Worker, now: Timestamp) -> Vec<Condition> {
    let phase = phase(worker);
    let initialized = initialized(worker);
    let ended = match phase {
        "Succeeded" => Some("PodCompleted"),
        "Failed" => Some("PodFailed"),
        _ => None,
    };
    let not_initialized = {
        let inits = worker.brief.containers.iter().zip(&worker.containers).filter(|(spec, _)| spec.init);
        names(inits.filter(|(spec, container)| if spec.sidecar { !container.started } else { !container.ended_well() }))
    };
    let counted = worker.brief.containers.iter().zip(&worker.containers).filter(|(spec, _)| !spec.init || spec.sidecar);
    let unready = names(counted.filter(|(_, container)| !container.ready));
    let containers_ready = ended.is_none() && unready.is_empty() && initialized;
    let ready = containers_ready && worker.gates_open;
    let unready_reason = || match ended {
        Some(reason) => (Some(reason), None),
        None => (Some("ContainersNotReady"), Some(format!("containers with unready status: [{unready}]"))),
    };
    let generation = worker.brief.generation;
    let sandbox = worker.sandbox;
    let gates: Vec<_> = worker.brief.readiness_gates.clone().into();
    let mut list = Vec::with_capacity(5);
    let mut add =
        |kind: &'static str, known: &mut Option<Truth>, holds: bool, why: (Option<&'static str>, Option<String>)| {
            let truth = match *known {
                Some(truth) if truth.holds == holds => truth,
                _ => Truth { holds, since: now },
            };
            *known = Some(truth);
            let status = if holds { "True" } else { "False" };
            let last_transition_time = seconds(truth.since);
            let observed_generation = generation;
            list.push(Condition {
                r#type: kind,
                status,
                observed_generation,
                last_transition_time,
                reason: why.0,
                message: why.1,
            });
        };
    let known = &mut worker.conditions;
    add("PodReadyToStartContainers", &mut known.sandbox, sandbox, (None, None));
    let why = match (ended, initialized) {
        (Some("PodCompleted"), _) => (Some("PodCompleted"), None),
        (_, true) => (None, None),
        (_, false) => {
            let message = format!("containers with incomplete status: [{not_initialized}]");
            (Some("ContainersNotInitialized"), Some(message))
        }
    };
    add("Initialized", &mut known.initialized, initialized, why);
    let why = if ready {
        (None, None)
    } else if containers_ready {
        let message = gates
            .iter()
            .map(|gate| format!("the status of pod readiness gate \"{gate}\" is not \"True\""))
            .collect::<Vec<_>>()
            .join(", ");
        (Some("ReadinessGatesNotReady"), Some(message))
    } else {
        unready_reason()
    };
    add("Ready", &mut known.ready, ready, why);
    let why = if containers_ready { (None, None) } else { unready_reason() };
    add("ContainersReady", &mut known.containers_ready, containers_ready, why);
    if known.scheduled.is_some() {
        add("PodScheduled", &mut known.scheduled, true, (None, None));
    }
    list
}

fn container_status<'a>(
    worker: &Worker,
    spec: &'a ContainerBrief,
    container: &Container,
    inits_pending: bool,
    host: Host<'_>,
) -> ContainerStatus<'a> {
    let id = |attempt: u32| {
        let parts: [&[u8]; 3] = [worker.brief.uid.as_bytes(), spec.name.as_bytes(), &attempt.to_le_bytes()];
        format!("{}://{}", host.scheme, seeded::id(&parts))
    };
    let ended = container.exit.as_ref().map(|exit| terminated(exit, id(exit.attempt)));
    let has_inits = worker.brief.containers.iter().any(|spec| spec.init);
    let waiting = |reason, message: String| State { waiting: Some(Waiting { reason, message }), ..State::default() };
    let mut last_state = State::default();
    let mut container_id = ended.as_ref().map_or_else(String::new, |ended| ended.container_id.clone());
    let state = match &container.run {
        Run::Exited => {
            // What ran before the last run is not kept.
            State { terminated: ended, ..State::default() }
        }
        Run::Running { since, .. } => {
            last_state.terminated = ended;
            container_id = id(container.restarts);
            State { running: Some(Running { started_at: seconds(*since) }), ..State::default() }
        }
        Run::Backoff { delay, .. } => {
            last_state.terminated = ended;
            let brief = &worker.brief;
            let message = format!(
                "back-off {} restarting failed container={} pod={}_{}({})",
                go_duration(delay.as_secs()),
                spec.name,
                brief.name,
                brief.namespace,
                brief.uid
            );
            waiting("CrashLoopBackOff", message)
        }
        Run::PullFailed { message, .. } => {
            last_state.terminated = ended;
            waiting("ImagePullBackOff", format!("Back-off pulling image \"{}\": ErrImagePull: {message}", spec.image))
        }
        Run::Idle | Run::Pulling | Run::Starting if worker.stage == Stage::Ended => {
            let terminated = Terminated {
                exit_code: 137,
                reason: "ContainerStatusUnknown",
                message: "The container could not be located when the pod was terminated",
                started_at: None,
                finished_at: None,
                container_id: String::new(),
            };
            State { terminated: Some(terminated), ..State::default() }
        }
        Run::Idle | Run::Pulling | Run::Starting => {
            last_state.terminated = ended;
            let reason = if has_inits && inits_pending { "PodInitializing" } else { "ContainerCreating" };
            waiting(reason, String::new())
        }
    };
    let ran = !container_id.is_empty();
    let complete_init = spec.init && !spec.sidecar && container.ended_well();
    ContainerStatus {
        name: &spec.name,
        state,
        last_state,
        ready: container.ready || complete_init,
        restart_count: container.restarts,
        image: if ran { reference(&spec.image) } else { spec.image.to_string() },
        image_id: if ran { image_id(&spec.image) } else { String::new() },
        container_id,
        started: container.started,
    }
}

fn terminated(exit: &Exit, container_id: String) -> Terminated {
    Terminated {
        exit_code: exit.code,
        reason: if exit.code == 0 { "Completed" } else { "Error" },
        message: "",
        started_at: Some(seconds(exit.started)),
        finished_at: Some(seconds(exit.finished)),
        container_id,
    }
}

/// `10s`, `2m40s`: how Go prints whole seconds.
fn go_duration(seconds: u64) -> String {
    if seconds < 60 { format!("{seconds}s") } else { format!("{}m{}s", seconds / 60, seconds % 60) }
}

/// The full reference of an image, as containerd reports it: `nginx` is `docker.io/library/nginx:latest`.
fn reference(image: &str) -> String {
    let (first, rest) = image.split_once('/').map_or((None, image), |(first, rest)| (Some(first), rest));
    let registry = first.is_some_and(|first| first.contains(['.', ':']) || first == "localhost");
    let named = match (registry, first) {
        (true, _) => image.to_owned(),
        (false, Some(_)) => format!("docker.io/{image}"),
        (false, None) => format!("docker.io/library/{image}"),
    };
    let last = rest.rsplit('/').next().unwrap_or(rest);
    if last.contains([':', '@']) { named } else { format!("{named}:latest") }
}

fn image_id(image: &str) -> String {
    let named = reference(image);
    let repository = named.split_once('@').map_or(named.as_str(), |(name, _)| name);
    let slash = repository.rfind('/').map_or(0, |at| at + 1);
    let repository = repository[slash..].find(':').map_or(repository, |colon| &repository[..slash + colon]);
    format!("{repository}@sha256:{}", seeded::id(&[named.as_bytes()]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn image_references_are_completed_as_containerd_does() {
        assert_eq!(reference("nginx"), "docker.io/library/nginx:latest");
        assert_eq!(reference("nginx:1.14.2"), "docker.io/library/nginx:1.14.2");
        assert_eq!(reference("me/app:1"), "docker.io/me/app:1");
        assert_eq!(reference("localhost:5000/app"), "localhost:5000/app:latest");
        assert_eq!(reference("registry.k8s.io/pause:3.10"), "registry.k8s.io/pause:3.10");
        assert!(image_id("localhost:5000/app:2").starts_with("localhost:5000/app@sha256:"));
        assert_eq!(image_id("nginx").len(), "docker.io/library/nginx@sha256:".len() + 64);
    }

    #[test]
    fn seconds_print_as_go_prints_them() {
        assert_eq!(
            (go_duration(10), go_duration(160), go_duration(300)),
            ("10s".into(), "2m40s".into(), "5m0s".into())
        );
    }
}
