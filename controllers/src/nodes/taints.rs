//! The taints that the system itself puts on nodes, and what they follow from (Kubernetes, "Taints and Tolerations").

use crate::runtime::rows::{NodeRow, TaintRow, Truth};

pub(super) const NOT_READY: &str = "node.kubernetes.io/not-ready";
pub(super) const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";
/// Conditions, and the taint that follows when they hold.
const TROUBLES: [(&str, &str); 4] = [
    ("MemoryPressure", "node.kubernetes.io/memory-pressure"),
    ("DiskPressure", "node.kubernetes.io/disk-pressure"),
    ("PIDPressure", "node.kubernetes.io/pid-pressure"),
    ("NetworkUnavailable", "node.kubernetes.io/network-unavailable"),
];

/// The keys of the NoSchedule taints that a node should have; no other taint of [`managed`] keys with that effect may
/// stay.
pub(super) fn no_schedule(node: &NodeRow) -> Vec<&'static str> {
    let mut keys = Vec::new();
    keys.extend(no_execute(node));
    for (condition, key) in TROUBLES {
        if node.troubles.iter().any(|trouble| trouble == condition) {
            keys.push(key);
        }
    }
    if node.unschedulable {
        keys.push(UNSCHEDULABLE);
    }
    keys
}

/// The key of the NoExecute taint that a node should have.
pub(super) fn no_execute(node: &NodeRow) -> Option<&'static str> {
    match node.ready {
        Truth::True => None,
        Truth::False => Some(NOT_READY),
        Truth::Unknown => Some(UNREACHABLE),
    }
}

/// Whether the system owns taints of this key and effect.
pub(super) fn managed(taint: &TaintRow) -> bool {
    let key = taint.key.as_str();
    match taint.effect.as_str() {
        "NoExecute" => key == NOT_READY || key == UNREACHABLE,
        "NoSchedule" => {
            key == NOT_READY
                || key == UNREACHABLE
                || key == UNSCHEDULABLE
                || TROUBLES.iter().any(|(_, trouble)| key == *trouble)
        }
        _ => false,
    }
}
