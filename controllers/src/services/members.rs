//! The pods behind a Service, with its ports resolved in each: what both endpoint loops write down.
//!
//! Also says which Services a changed pod concerns, so that the loops sleep through everything else that happens to it.

use std::cmp::Ordering;
use std::sync::Arc;

use compact_str::CompactString;
use gantry_machinery::typed::{DecodeError, value_of};
use gantry_machinery::value;
use gantry_machinery::value::Value;

use crate::runtime::informer::{Entry, Informer};
use crate::runtime::reconcile::Queue;
use crate::runtime::rows::{PodRow, SelectingRow};

/// A pod behind a Service.
#[derive(Clone, Debug)]
pub struct Member {
    /// Its address.
    pub ip: CompactString,
    /// Its node.
    pub node: CompactString,
    /// Its name.
    pub pod: CompactString,
    /// Its uid.
    pub uid: CompactString,
    /// What its endpoint is called in DNS, if the pod asks for a name below this Service.
    pub hostname: Option<CompactString>,
    /// The Ready condition.
    pub serving: bool,
    /// Whether the pod is on its way out.
    pub terminating: bool,
    /// Whether traffic should go there.
    pub ready: bool,
}

/// A port of a Service as the pods of one group have it. Ordered, so that equal groups are found again.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Port {
    /// Its name; empty for a single unnamed port.
    pub name: CompactString,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: CompactString,
    /// The number in the pod.
    pub port: i64,
    /// `appProtocol`, where the Service gives one.
    pub app_protocol: Option<CompactString>,
}

/// Members that have the same ports; named target ports may differ from pod to pod.
#[derive(Clone, Debug)]
pub struct Group {
    /// The ports, sorted.
    pub ports: Vec<Port>,
    /// The members, by address.
    pub members: Vec<Member>,
}

/// The groups behind a Service, by ports. Pods without an address, or that have ended, are not members.
///
/// # Errors
/// When a pod is no pod.
pub fn groups(service: &Value, name: &str, pods: &[Arc<Entry<PodRow>>]) -> Result<Vec<Group>, DecodeError> {
    let publish_not_ready = service.bool_at(&["spec", "publishNotReadyAddresses"]) == Some(true);
    let mut groups: Vec<Group> = Vec::new();
    for pod in pods.iter().filter(|pod| !pod.row.ip.is_empty() && !pod.row.phase.ended()) {
        let object = value_of(&pod.object)?;
        let ports = ports(service, &object);
        let terminating = pod.row.meta.deleting();
        let hostname =
            object.str_at(&["spec", "hostname"]).filter(|_| object.str_at(&["spec", "subdomain"]) == Some(name));
        let member = Member {
            ip: pod.row.ip.clone(),
            node: pod.row.node.clone(),
            pod: pod.name().into(),
            uid: pod.row.meta.uid.clone(),
            hostname: hostname.map(Into::into),
            serving: pod.row.ready,
            terminating,
            ready: publish_not_ready || (pod.row.ready && !terminating),
        };
        match groups.iter_mut().find(|group| group.ports == ports) {
            Some(group) => group.members.push(member),
            None => groups.push(Group { ports, members: vec![member] }),
        }
    }
    groups.sort_by(|a, b| a.ports.cmp(&b.ports));
    for group in &mut groups {
        group.members.sort_by(Member::order);
    }
    Ok(groups)
}

impl Member {
    fn order(&self, other: &Self) -> Ordering {
        self.ip.cmp(&other.ip).then_with(|| self.uid.cmp(&other.uid))
    }

    /// The pod as `targetRef` names it.
    #[must_use]
    pub fn target(&self, namespace: &str) -> Value {
        value!({"kind": "Pod", "namespace": namespace, "name": (self.pod.clone()), "uid": (self.uid.clone())})
    }
}

/// The Service's ports in one pod. A named target port that the pod does not have is left out, as upstream does.
fn ports(service: &Value, pod: &Value) -> Vec<Port> {
    let mut ports: Vec<Port> = service
        .array_at(&["spec", "ports"])
        .iter()
        .filter_map(|port| {
            let protocol = port.str_at(&["protocol"]).unwrap_or("TCP");
            let number = match port.get("targetPort") {
                Some(Value::Int(0)) | None => port.i64_at(&["port"])?,
                Some(Value::Int(number)) => *number,
                Some(Value::String(name)) => named_port(pod, name, protocol)?,
                Some(_) => return None,
            };
            Some(Port {
                name: port.str_at(&["name"]).unwrap_or_default().into(),
                protocol: protocol.into(),
                port: number,
                app_protocol: port.str_at(&["appProtocol"]).map(Into::into),
            })
        })
        .collect();
    ports.sort();
    ports
}

/// A container's port by name; sidecars (init containers that keep running) have ports too.
fn named_port(pod: &Value, name: &str, protocol: &str) -> Option<i64> {
    let sidecars = pod
        .array_at(&["spec", "initContainers"])
        .iter()
        .filter(|container| container.str_at(&["restartPolicy"]) == Some("Always"));
    pod.array_at(&["spec", "containers"])
        .iter()
        .chain(sidecars)
        .flat_map(|container| container.array_at(&["ports"]))
        .find(|port| port.str_at(&["name"]) == Some(name) && port.str_at(&["protocol"]).unwrap_or("TCP") == protocol)?
        .i64_at(&["containerPort"])
}

/// Whether the two states of a pod look alike to Services.
fn alike(before: &Entry<PodRow>, after: &Entry<PodRow>) -> bool {
    let (old, new) = (&before.row, &after.row);
    old.ip == new.ip
        && old.ready == new.ready
        && old.phase.ended() == new.phase.ended()
        && old.node == new.node
        && old.meta.deleting() == new.meta.deleting()
        && before.object.facets.labels == after.object.facets.labels
}

/// Puts the Services that a pod's change concerns into `queue`.
pub(super) fn wake_services(
    services: &Informer<SelectingRow>,
    before: Option<&Arc<Entry<PodRow>>>,
    after: Option<&Arc<Entry<PodRow>>>,
    queue: &Queue,
) {
    if let (Some(before), Some(after)) = (before, after)
        && alike(before, after)
    {
        return;
    }
    let Some(either) = after.or(before) else { return };
    for service in services.in_namespace(either.namespace()) {
        let Some(selector) = &service.row.selector else { continue };
        if [before, after].into_iter().flatten().any(|pod| selector.matches(&pod.object.facets)) {
            queue.add(service.key().clone());
        }
    }
}

/// The pods that a Service selects; `None` where it selects none on purpose (no selector, or another's name).
pub(super) fn selected(service: &Entry<SelectingRow>, pods: &Informer<PodRow>) -> Option<Vec<Arc<Entry<PodRow>>>> {
    let selector = service.row.selector.as_ref().filter(|selector| !selector.is_empty())?;
    let mut selected = pods.in_namespace(service.namespace());
    selected.retain(|pod| selector.matches(&pod.object.facets));
    Some(selected)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn target_ports_are_resolved_in_the_pod() {
        let service = value!({"spec": {"ports": [
            {"name": "web", "port": 80, "targetPort": "http"},
            {"name": "plain", "port": 81},
            {"name": "gone", "port": 82, "targetPort": "missing"},
            {"name": "number", "port": 83, "targetPort": 8083}
        ]}});
        let pod =
            value!({"spec": {"containers": [{"ports": [{"name": "http", "containerPort": 8080, "protocol": "TCP"}]}]}});
        let found: Vec<(String, i64)> =
            ports(&service, &pod).into_iter().map(|port| (port.name.to_string(), port.port)).collect();
        assert_eq!(found, [("number".to_owned(), 8083), ("plain".to_owned(), 81), ("web".to_owned(), 8080)]);
    }
}
