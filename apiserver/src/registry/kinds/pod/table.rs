//! The row of a pod: what `kubectl get pods` shows.

use gantry_machinery::time;
use gantry_machinery::value::Value;

use crate::registry::kinds::cells::{age_cell, name_cell, or_none};
use crate::registry::strategy::Column;
use crate::registry::validate::view::{Held, view};

pub(super) const COLUMNS: &[Column] = &[
    Column::name(),
    Column::string("Ready"),
    Column::string("Status"),
    Column::string("Restarts"),
    Column::string("Age"),
    Column::string("IP").wide(),
    Column::string("Node").wide(),
    Column::string("Nominated Node").wide(),
    Column::string("Readiness Gates").wide(),
];

view! {
    struct ContainerStatus {
        name: "name",
        ready: "ready",
        started: "started",
        restarts: "restartCount",
        state: "state",
        last: "lastState",
    }
}

impl<'a> ContainerStatus<'a> {
    fn state(&self, name: &str) -> Option<&'a Value> {
        self.state.and_then(|s| s.get(name)).filter(|s| !s.is_null())
    }

    /// When its last run ended, Unix seconds.
    fn last_end(&self) -> Option<i64> {
        time::parse(self.last?.at(&["terminated", "finishedAt"])?.as_str()?)
    }
}

/// What the containers have come to so far.
struct Summary {
    ready: usize,
    total: usize,
    restarts: i64,
    last_restart: Option<i64>,
    reason: String,
}

pub(super) fn row(pod: &Value, now: i64) -> Vec<Value> {
    let summary = summary(pod);
    let restarts = match summary.last_restart {
        Some(at) if summary.restarts != 0 => {
            format!("{} ({} ago)", summary.restarts, time::human_duration(now - at))
        }
        _ => summary.restarts.to_string(),
    };
    vec![
        name_cell(pod),
        Value::from(format!("{}/{}", summary.ready, summary.total)),
        Value::from(summary.reason),
        Value::from(restarts),
        age_cell(pod, now),
        or_none(pod.array_at(&["status", "podIPs"]).first().and_then(|ip| ip.get("ip")).text()),
        or_none(pod.at(&["spec", "nodeName"]).text()),
        or_none(pod.at(&["status", "nominatedNodeName"]).text()),
        gates_cell(pod),
    ]
}

fn gates_cell(pod: &Value) -> Value {
    let gates = pod.array_at(&["spec", "readinessGates"]);
    if gates.is_empty() {
        return or_none("");
    }
    let met = gates.iter().filter(|gate| condition(pod, gate.get("conditionType").text()) == Some("True")).count();
    Value::from(format!("{met}/{}", gates.len()))
}

fn condition<'a>(pod: &'a Value, kind: &str) -> Option<&'a str> {
    pod.array_at(&["status", "conditions"]).iter().find(|c| c.get("type").text() == kind)?.str_at(&["status"])
}

fn summary(pod: &Value) -> Summary {
    let spec_init = pod.array_at(&["spec", "initContainers"]);
    let is_sidecar = |name: &str| {
        spec_init.iter().any(|c| c.get("name").text() == name && c.get("restartPolicy").text() == "Always")
    };
    let sidecars = spec_init.iter().filter(|c| c.get("restartPolicy").text() == "Always").count();
    let phase = pod.at(&["status", "phase"]).text();
    let status_reason = pod.at(&["status", "reason"]).text();
    let mut summary = Summary {
        ready: 0,
        total: pod.array_at(&["spec", "containers"]).len() + sidecars,
        restarts: 0,
        last_restart: None,
        reason: if status_reason.is_empty() { phase } else { status_reason }.to_owned(),
    };
    let gated = |c: &Value| c.get("type").text() == "PodScheduled" && c.get("reason").text() == "SchedulingGated";
    if pod.array_at(&["status", "conditions"]).iter().any(gated) {
        "SchedulingGated".clone_into(&mut summary.reason);
    }
    let mut sidecar_restarts = (0, None);
    let mut initializing = false;
    for (n, status) in pod.array_at(&["status", "initContainerStatuses"]).iter().enumerate() {
        let status = ContainerStatus::of(status);
        let sidecar = is_sidecar(status.name.text());
        summary.restarts += status.restarts.number();
        summary.last_restart = summary.last_restart.max(status.last_end());
        if sidecar {
            sidecar_restarts.0 += status.restarts.number();
            sidecar_restarts.1 = sidecar_restarts.1.max(status.last_end());
        }
        match init_reason(&status, sidecar, n, spec_init.len()) {
            Init::Done => {}
            Init::Serving => summary.ready += usize::from(status.ready.truth()),
            Init::Going(reason) => {
                summary.reason = reason;
                initializing = true;
                break;
            }
        }
    }
    if !initializing || condition(pod, "Initialized") == Some("True") {
        (summary.restarts, summary.last_restart) = sidecar_restarts;
        running(pod, &mut summary);
    }
    if pod.at(&["metadata", "deletionTimestamp"]).is_some() {
        if status_reason == "NodeLost" {
            "Unknown".clone_into(&mut summary.reason);
        } else if !matches!(phase, "Succeeded" | "Failed") {
            "Terminating".clone_into(&mut summary.reason);
        }
    }
    summary
}

/// How far one init container is.
enum Init {
    Done,
    Serving,
    Going(String),
}

fn init_reason(status: &ContainerStatus<'_>, sidecar: bool, n: usize, count: usize) -> Init {
    if let Some(ended) = status.state("terminated") {
        if ended.get("exitCode").number() == 0 {
            return Init::Done;
        }
        if !(sidecar && status.started.truth()) {
            return Init::Going(format!("Init:{}", end_reason(ended)));
        }
    }
    if sidecar && status.started.truth() {
        return Init::Serving;
    }
    let waiting = status.state("waiting").and_then(|w| w.get("reason")).text();
    if !waiting.is_empty() && waiting != "PodInitializing" {
        return Init::Going(format!("Init:{waiting}"));
    }
    Init::Going(format!("Init:{n}/{count}"))
}

fn end_reason(ended: &Value) -> String {
    let (reason, signal) = (ended.get("reason").text(), ended.get("signal").number());
    if !reason.is_empty() {
        reason.to_owned()
    } else if signal != 0 {
        format!("Signal:{signal}")
    } else {
        format!("ExitCode:{}", ended.get("exitCode").number())
    }
}

fn running(pod: &Value, summary: &mut Summary) {
    let mut any_running = false;
    let mut failure = None;
    for status in pod.array_at(&["status", "containerStatuses"]).iter().rev() {
        let status = ContainerStatus::of(status);
        summary.restarts += status.restarts.number();
        summary.last_restart = summary.last_restart.max(status.last_end());
        let waiting = status.state("waiting").and_then(|w| w.get("reason")).text();
        if !waiting.is_empty() {
            waiting.clone_into(&mut summary.reason);
        } else if let Some(ended) = status.state("terminated") {
            summary.reason = end_reason(ended);
            if ended.get("exitCode").number() != 0 {
                failure = Some(summary.reason.clone());
            }
        } else if status.ready.truth() && status.state("running").is_some() {
            any_running = true;
            summary.ready += 1;
        }
    }
    // One container has ended well while others still run.
    if summary.reason == "Completed" {
        if any_running && condition(pod, "Ready") == Some("True") {
            "Running".clone_into(&mut summary.reason);
        } else if let Some(failure) = failure {
            summary.reason = failure;
        } else if any_running {
            "NotReady".clone_into(&mut summary.reason);
        }
    }
}
