//! What a node needs to know of a pod, decoded once per change of its spec; a hundredth of the pod's size when typed in full.

use std::time::Duration;

use compact_str::CompactString;
use gantry_machinery::codec::json;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde::Deserialize;

/// A pod as its node sees it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PodBrief {
    /// Its namespace.
    pub namespace: CompactString,
    /// Its name.
    pub name: CompactString,
    /// Its identity.
    pub uid: CompactString,
    /// The node it is bound to.
    pub node: CompactString,
    /// The generation of its spec.
    pub generation: i64,
    /// Whether and how it is on its way out.
    pub deletion: Option<Deletion>,
    /// Whether somebody must act before it may go.
    pub finalizers: bool,
    /// Init containers, then the others.
    pub containers: Box<[ContainerBrief]>,
    /// What happens when a container ends.
    pub restart_policy: RestartPolicy,
    /// It shares the node's network.
    pub host_network: bool,
    /// How long stopping may take.
    pub grace_seconds: i64,
    /// How long it may be active, in seconds.
    pub active_deadline_seconds: Option<i64>,
    /// Conditions that somebody else must set before the pod is ready.
    pub readiness_gates: Box<[CompactString]>,
    /// `gantry.dev/run-for`
    pub run_for: Option<Duration>,
    /// `gantry.dev/exit-code`
    pub exit_code: Option<i32>,
}

/// A deletion under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deletion {
    /// When the pod is to be gone.
    pub at: Timestamp,
    /// How long it was given.
    pub grace_seconds: i64,
}

/// A container of a pod.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ContainerBrief {
    /// Its name.
    pub name: CompactString,
    /// Its image as written.
    pub image: CompactString,
    /// Command and arguments.
    pub command: Box<[CompactString]>,
    /// It is among the init containers.
    pub init: bool,
    /// An init container that keeps running (KEP-753).
    pub sidecar: bool,
    /// How long until its startup probe passes; `None` without one.
    pub startup: Option<Duration>,
    /// How long until its readiness probe passes, once started up; `None` without one.
    pub readiness: Option<Duration>,
}

/// `spec.restartPolicy`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum RestartPolicy {
    /// Whenever it ends.
    #[default]
    Always,
    /// When it ends badly.
    OnFailure,
    /// It is not.
    Never,
}

/// What the pod's status said when we first looked: what a restarted node takes up again.
#[derive(Clone, Debug, Default)]
pub struct Prior {
    /// `Running`, ...; empty when nobody set it.
    pub phase: CompactString,
    /// Its conditions.
    pub conditions: Vec<PriorCondition>,
    /// When a node first took the pod.
    pub start_time: Option<Timestamp>,
    /// Its address.
    pub pod_ip: CompactString,
    /// What its containers did, by name.
    pub containers: Vec<PriorContainer>,
}

/// A condition as found.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PriorCondition {
    /// Its type.
    pub r#type: CompactString,
    /// `True`, `False`, `Unknown`.
    pub status: CompactString,
    /// When it last changed.
    pub last_transition_time: Option<Time>,
}

/// A container status as found.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PriorContainer {
    /// The container.
    pub name: CompactString,
    /// How often it was restarted.
    pub restart_count: u32,
    /// Whether it was ready.
    pub ready: bool,
    /// What it did.
    pub state: PriorState,
    /// How it last ended.
    pub last_state: PriorState,
}

/// What a container did.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct PriorState {
    /// It ran.
    pub running: Option<PriorRunning>,
    /// It had ended.
    pub terminated: Option<PriorTerminated>,
}

/// It ran.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PriorRunning {
    /// Since when.
    pub started_at: Option<Time>,
}

/// It had ended.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PriorTerminated {
    /// How.
    pub exit_code: i32,
    /// When it was started.
    pub started_at: Option<Time>,
    /// When it ended.
    pub finished_at: Option<Time>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawPod {
    metadata: RawMeta,
    spec: RawSpec,
    status: RawStatus,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawMeta {
    namespace: CompactString,
    name: CompactString,
    uid: CompactString,
    generation: i64,
    deletion_timestamp: Option<Time>,
    deletion_grace_period_seconds: Option<i64>,
    finalizers: Vec<serde::de::IgnoredAny>,
    annotations: RawAnnotations,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawAnnotations {
    #[serde(rename = "gantry.dev/run-for")]
    run_for: Option<String>,
    #[serde(rename = "gantry.dev/exit-code")]
    exit_code: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawSpec {
    node_name: CompactString,
    init_containers: Vec<RawContainer>,
    containers: Vec<RawContainer>,
    restart_policy: RestartPolicy,
    host_network: bool,
    termination_grace_period_seconds: Option<i64>,
    active_deadline_seconds: Option<i64>,
    readiness_gates: Vec<RawGate>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawGate {
    condition_type: CompactString,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawContainer {
    name: CompactString,
    image: CompactString,
    command: Vec<CompactString>,
    args: Vec<CompactString>,
    restart_policy: CompactString,
    startup_probe: Option<RawProbe>,
    readiness_probe: Option<RawProbe>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawProbe {
    initial_delay_seconds: u32,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawStatus {
    phase: CompactString,
    conditions: Vec<PriorCondition>,
    start_time: Option<Time>,
    #[serde(rename = "podIP")]
    pod_ip: CompactString,
    container_statuses: Vec<PriorContainer>,
    init_container_statuses: Vec<PriorContainer>,
}

impl PodBrief {
    /// A pod's brief and what its status said.
    ///
    /// # Errors
    /// When the body is no pod.
    pub fn decode(body: &[u8]) -> Result<(Self, Prior), serde_json::Error> {
        let RawPod { metadata, spec, status } = match json::lean(body) {
            Some(text) => serde_json::from_str(&text)?,
            None => serde_json::from_slice(body)?,
        };
        let init = spec.init_containers.into_iter().map(|raw| raw.brief(true));
        let containers = init.chain(spec.containers.into_iter().map(|raw| raw.brief(false))).collect();
        let deletion = metadata
            .deletion_timestamp
            .map(|at| Deletion { at: at.0, grace_seconds: metadata.deletion_grace_period_seconds.unwrap_or(0) });
        let brief = Self {
            namespace: metadata.namespace,
            name: metadata.name,
            uid: metadata.uid,
            node: spec.node_name,
            generation: metadata.generation,
            deletion,
            finalizers: !metadata.finalizers.is_empty(),
            containers,
            restart_policy: spec.restart_policy,
            host_network: spec.host_network,
            grace_seconds: spec.termination_grace_period_seconds.unwrap_or(30),
            active_deadline_seconds: spec.active_deadline_seconds,
            readiness_gates: spec.readiness_gates.into_iter().map(|gate| gate.condition_type).collect(),
            run_for: metadata.annotations.run_for.as_deref().and_then(duration),
            exit_code: metadata.annotations.exit_code.and_then(|code| code.parse().ok()),
        };
        let mut containers = status.init_container_statuses;
        containers.extend(status.container_statuses);
        let prior = Prior {
            phase: status.phase,
            conditions: status.conditions,
            start_time: status.start_time.map(|time| time.0),
            pod_ip: status.pod_ip,
            containers,
        };
        Ok((brief, prior))
    }
}

impl RawContainer {
    fn brief(self, init: bool) -> ContainerBrief {
        let delay = |probe: Option<RawProbe>| probe.map(|p| Duration::from_secs(p.initial_delay_seconds.into()));
        let mut command = self.command;
        command.extend(self.args);
        ContainerBrief {
            name: self.name,
            image: self.image,
            command: command.into(),
            init,
            sidecar: init && self.restart_policy == "Always",
            startup: delay(self.startup_probe),
            readiness: delay(self.readiness_probe),
        }
    }
}

/// `250ms`, `5s`, `2m`, `1h`, or bare seconds.
fn duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let number: f64 = text[..digits].parse().ok()?;
    let unit = match &text[digits..] {
        "ms" => 0.001,
        "s" | "" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(number * unit).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_is_decoded_with_what_matters() {
        let body = serde_json::json!({
            "metadata": {
                "name": "p", "namespace": "default", "uid": "u", "generation": 3,
                "deletionTimestamp": "2026-01-02T03:04:05Z", "deletionGracePeriodSeconds": 30,
                "annotations": {"gantry.dev/run-for": "1.5s", "other": "x"}, "finalizers": ["a/b"],
            },
            "spec": {
                "nodeName": "n", "restartPolicy": "OnFailure",
                "initContainers": [{"name": "i", "image": "i"}, {"name": "s", "image": "s", "restartPolicy": "Always"}],
                "containers": [{"name": "c", "image": "c", "command": ["sleep"], "args": ["5"],
                                "readinessProbe": {"initialDelaySeconds": 7}}],
            },
            "status": {"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "True"}]},
        });
        let (brief, prior) = PodBrief::decode(body.to_string().as_bytes()).unwrap();
        assert_eq!(brief.deletion.map(|d| d.grace_seconds), Some(30));
        assert!(brief.finalizers);
        assert_eq!(brief.run_for, Some(Duration::from_millis(1500)));
        assert_eq!(brief.containers.len(), 3);
        assert!(brief.containers[1].sidecar && !brief.containers[0].sidecar);
        assert_eq!(brief.containers[2].command, ["sleep", "5"].map(CompactString::new).into());
        assert_eq!(brief.containers[2].readiness, Some(Duration::from_secs(7)));
        assert_eq!(prior.conditions[0].r#type, "PodScheduled");
    }

    #[test]
    fn durations_are_read_with_their_units() {
        assert_eq!(duration("250ms"), Some(Duration::from_millis(250)));
        assert_eq!(duration("2m"), Some(Duration::from_secs(120)));
        assert_eq!(duration("3"), Some(Duration::from_secs(3)));
        assert_eq!(duration("-1s"), None);
        assert_eq!(duration("soon"), None);
    }
}
