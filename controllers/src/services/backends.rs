//! The pods behind a Service, with their addresses, states and resolved ports; and which Services a change of a pod
//! concerns.

use std::sync::Arc;

use compact_str::CompactString;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde::Deserialize;

use crate::runtime::informer::{Entry, Informer};
use crate::runtime::reconcile::Queue;
use crate::runtime::rows::{PodRow, SelectingRow};
use crate::runtime::selector::Selector;

/// A pod behind a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backend {
    /// The pod's name.
    pub name: CompactString,
    /// The pod's uid.
    pub uid: CompactString,
    /// Its address.
    pub ip: CompactString,
    /// Where it runs.
    pub node: CompactString,
    /// Its name under a headless Service.
    pub hostname: CompactString,
    /// It passes its probes.
    pub serving: bool,
    /// It is on its way out.
    pub terminating: bool,
    /// Its ports for the Service's.
    pub ports: Vec<Port>,
}

/// A port of a Service as one pod serves it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Port {
    /// The Service port's name.
    pub name: String,
    /// The number at the pod.
    pub number: i32,
    /// `TCP`, `UDP`, `SCTP`.
    pub protocol: String,
    /// What is spoken, where the Service says so.
    pub app_protocol: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawPod {
    spec: RawSpec,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawSpec {
    hostname: CompactString,
    subdomain: CompactString,
    containers: Vec<RawContainer>,
    init_containers: Vec<RawContainer>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawContainer {
    restart_policy: CompactString,
    ports: Vec<RawPort>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawPort {
    name: CompactString,
    container_port: i32,
    protocol: CompactString,
}

/// The pods that a Service selects and that have an address, by name. Ended pods serve nobody.
#[must_use]
pub fn of(service: &Service, selector: &Selector, pods: &[Arc<Entry<PodRow>>]) -> Vec<Backend> {
    let ports = service.spec.as_ref().and_then(|spec| spec.ports.as_ref());
    let name = service.metadata.name.as_deref().unwrap_or_default();
    let mut backends = Vec::new();
    for pod in pods {
        let row = &pod.row;
        if row.ip.is_empty() || row.phase.ended() || !selector.matches(&pod.object.facets) {
            continue;
        }
        // The informer has decoded this body before.
        let raw: RawPod = serde_json::from_slice(&pod.object.body).unwrap_or_default();
        let resolved = ports.into_iter().flatten().filter_map(|port| {
            let protocol = port.protocol.clone().unwrap_or_else(|| "TCP".into());
            Some(Port {
                name: port.name.clone().unwrap_or_default(),
                number: resolve(port.target_port.as_ref(), port.port, &protocol, &raw.spec)?,
                protocol,
                app_protocol: port.app_protocol.clone(),
            })
        });
        let hostname = if raw.spec.subdomain == name { raw.spec.hostname.clone() } else { CompactString::default() };
        backends.push(Backend {
            name: pod.name().into(),
            uid: row.meta.uid.clone(),
            ip: row.ip.clone(),
            node: row.node.clone(),
            hostname,
            serving: row.ready,
            terminating: row.meta.deleting(),
            ports: resolved.collect(),
        });
    }
    backends
}

/// The number of a target port at a pod; `None` when the pod has no port of that name.
fn resolve(target: Option<&IntOrString>, port: i32, protocol: &str, spec: &RawSpec) -> Option<i32> {
    match target {
        None | Some(IntOrString::Int(0)) => Some(port),
        Some(IntOrString::Int(number)) => Some(*number),
        Some(IntOrString::String(name)) => {
            let sidecars = spec.init_containers.iter().filter(|container| container.restart_policy == "Always");
            let mut ports = spec.containers.iter().chain(sidecars).flat_map(|container| &container.ports);
            let of = |port: &&RawPort| {
                let spoken = if port.protocol.is_empty() { "TCP" } else { &port.protocol };
                port.name == name && spoken == protocol
            };
            ports.find(of).map(|port| port.container_port)
        }
    }
}

/// The Service's selector; `None` for Services whose endpoints are somebody else's affair.
#[must_use]
pub fn selector(service: &Entry<SelectingRow>) -> Option<&Selector> {
    service.row.selector.as_ref().filter(|selector| !selector.is_empty())
}

/// Names the Services that a change of a pod concerns.
pub fn concerned(
    services: &Informer<SelectingRow>,
    before: Option<&Arc<Entry<PodRow>>>,
    after: Option<&Arc<Entry<PodRow>>>,
    queue: &Queue,
) {
    let what = |pod: &Entry<PodRow>| {
        let row = &pod.row;
        (row.ip.clone(), row.ready, row.phase.ended(), row.meta.deleting(), row.node.clone())
    };
    let same = before.zip(after).is_some_and(|(before, after)| {
        what(before) == what(after) && before.object.facets.labels == after.object.facets.labels
    });
    let Some(any) = after.or(before) else { return };
    // A pod without an address is nobody's backend yet.
    if same || before.into_iter().chain(after).all(|pod| pod.row.ip.is_empty()) {
        return;
    }
    for service in services.in_namespace(any.namespace()) {
        let selects =
            |pod: &Arc<Entry<PodRow>>| selector(&service).is_some_and(|selector| selector.matches(&pod.object.facets));
        if before.is_some_and(selects) || after.is_some_and(selects) {
            queue.add(service.key().clone());
        }
    }
}
