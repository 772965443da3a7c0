//! Node: capacity, taints, addresses; what the control plane may set once.

use compact_str::CompactString;
use gantry_machinery::value::Value;

use super::cells::{age_cell, name_cell, or_none, or_unknown, text_cell};
use super::field::fill_with;
use super::pod::defaults::resource_list;
use super::row;
use crate::registry::strategy::{Column, Strategy, keep};
use crate::registry::validate::affinity::check_taints;
use crate::registry::validate::view::Held;
use crate::registry::validate::{Errors, Path, name, resources};

/// Nodes of the core group.
#[derive(Debug)]
pub struct Nodes;

const COLUMNS: &[Column] = &[
    Column::name(),
    Column::string("Status"),
    Column::string("Roles"),
    Column::string("Age"),
    Column::string("Version"),
    Column::string("Internal-IP").wide(),
    Column::string("External-IP").wide(),
    Column::string("OS-Image").wide(),
    Column::string("Kernel-Version").wide(),
    Column::string("Container-Runtime").wide(),
];

impl Strategy for Nodes {
    row!("", "v1", "nodes");

    // A kubelet registers itself with its status: nothing is dropped.
    fn prepare_for_create(&self, _node: &mut Value) {}

    fn default(&self, node: &mut Value) {
        let node = node.force_object();
        fill_with(node, "spec", Value::object);
        let status = node.object_entry("status");
        for list in ["capacity", "allocatable"] {
            if let Some(list) = status.get_mut(list).and_then(Value::as_object_mut) {
                resource_list(list);
            }
        }
        if status.get("allocatable").is_none_or(Value::is_null)
            && let Some(capacity) = status.get("capacity").cloned()
        {
            status.insert("allocatable", capacity);
        }
    }

    fn check(&self, node: &Value, errors: &mut Errors) {
        check_taints(node.array_at(&["spec", "taints"]), &Path::new("metadata.taints"), errors);
        check_resources(node, errors);
        check_blocks(node.array_at(&["spec", "podCIDRs"]), errors);
    }

    fn prepare_for_update(&self, new: &mut Value, old: &Value, subresource: &str) {
        // Each endpoint writes its part; metadata is open to both.
        keep(new, old, if subresource == "status" { "spec" } else { "status" });
    }

    fn check_update(&self, new: &Value, old: &Value, _subresource: &str, errors: &mut Errors) {
        check_resources(new, errors);
        let at = Path::new("status.addresses");
        let addresses = new.array_at(&["status", "addresses"]);
        for (n, address) in addresses.iter().enumerate() {
            if addresses[..n].contains(address) {
                errors.duplicate(&at.index(n), address);
            }
        }
        let spec = Path::new("spec");
        let (was, now) = (old.array_at(&["spec", "podCIDRs"]), new.array_at(&["spec", "podCIDRs"]));
        if !was.is_empty() && was != now {
            let detail = "node updates may not change podCIDR except from \"\" to valid";
            errors.forbidden(&spec.child("podCIDRs"), detail);
        }
        let was = old.at(&["spec", "providerID"]).text();
        if !was.is_empty() && was != new.at(&["spec", "providerID"]).text() {
            let detail = "node updates may not change providerID except from \"\" to valid";
            errors.forbidden(&spec.child("providerID"), detail);
        }
        check_taints(new.array_at(&["spec", "taints"]), &Path::new("metadata.taints"), errors);
    }

    fn has_generation(&self) -> bool {
        false
    }

    fn selectable_fields(&self) -> &'static [&'static str] {
        &["spec.unschedulable"]
    }

    fn fields(&self, node: &Value) -> Vec<(&'static str, CompactString)> {
        let closed = node.at(&["spec", "unschedulable"]).truth();
        vec![("spec.unschedulable", if closed { "true" } else { "false" }.into())]
    }

    fn columns(&self) -> &'static [Column] {
        COLUMNS
    }

    fn row(&self, node: &Value, now: i64) -> Vec<Value> {
        let address = |kind: &str| {
            let found = node.array_at(&["status", "addresses"]).iter().find(|a| a.get("type").text() == kind);
            or_none(found.and_then(|a| a.get("address")).text())
        };
        let info = |field: &str| or_unknown(node.at(&["status", "nodeInfo", field]).text());
        vec![
            name_cell(node),
            Value::from(status(node)),
            or_none(&roles(node).join(",")),
            age_cell(node, now),
            text_cell(node, &["status", "nodeInfo", "kubeletVersion"]),
            address("InternalIP"),
            address("ExternalIP"),
            info("osImage"),
            info("kernelVersion"),
            info("containerRuntimeVersion"),
        ]
    }
}

fn status(node: &Value) -> String {
    let ready = node.array_at(&["status", "conditions"]).iter().find(|c| c.get("type").text() == "Ready");
    let mut text = match ready {
        None => "Unknown",
        Some(condition) if condition.get("status").text() == "True" => "Ready",
        Some(_) => "NotReady",
    }
    .to_owned();
    if node.at(&["spec", "unschedulable"]).truth() {
        text.push_str(",SchedulingDisabled");
    }
    text
}

fn roles(node: &Value) -> Vec<&str> {
    let mut roles: Vec<&str> = node
        .at(&["metadata", "labels"])
        .entries()
        .filter_map(|(key, value)| match key.strip_prefix("node-role.kubernetes.io/") {
            Some(role) => Some(role),
            None if key == "kubernetes.io/role" => value.as_str(),
            None => None,
        })
        .filter(|role| !role.is_empty())
        .collect();
    roles.sort_unstable();
    roles.dedup();
    roles
}

fn check_resources(node: &Value, errors: &mut Errors) {
    let at = Path::new("status");
    for list in ["capacity", "allocatable"] {
        let at = at.child(list);
        for (resource, value) in node.at(&["status", list]).entries() {
            resources::check_quantity(resource, value, &at.child(resource), errors);
        }
    }
}

fn check_blocks(blocks: &[Value], errors: &mut Errors) {
    let at = Path::new("spec.podCIDRs");
    for (n, block) in blocks.iter().enumerate() {
        name::cidr(block.as_str().unwrap_or_default(), &at.index(n), errors);
    }
    if let [first, second, rest @ ..] = blocks {
        let family = |block: &Value| block.as_str().and_then(name::cidr_family);
        if !rest.is_empty() || family(first) == family(second) {
            let all = Value::Array(blocks.to_vec());
            errors.invalid(&at, all, "may specify no more than one CIDR for each IP family");
        }
        for (n, block) in blocks.iter().enumerate() {
            if blocks[..n].contains(block) {
                errors.duplicate(&at.index(n), block);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gantry_machinery::value;

    #[test]
    fn the_row_tells_cordoned_nodes_and_roles() {
        let node = value!({
            "metadata": {"name": "n", "labels": {"node-role.kubernetes.io/worker": "", "kubernetes.io/role": "a"}},
            "spec": {"unschedulable": true},
            "status": {
                "conditions": [{"type": "Ready", "status": "True"}],
                "nodeInfo": {"kubeletVersion": "v1.36.0"},
                "addresses": [{"type": "InternalIP", "address": "10.0.0.1"}],
            },
        });
        let row = Nodes.row(&node, 0);
        let texts: Vec<&str> = row.iter().filter_map(Value::as_str).collect();
        assert_eq!(
            texts,
            [
                "n",
                "Ready,SchedulingDisabled",
                "a,worker",
                "<unknown>",
                "v1.36.0",
                "10.0.0.1",
                "<none>",
                "<unknown>",
                "<unknown>",
                "<unknown>"
            ]
        );
    }

    #[test]
    fn capacity_is_allocatable_until_the_node_says_otherwise() {
        let mut node = value!({"status": {"capacity": {"cpu": "0.5", "pods": 110}}});
        Nodes.default(&mut node);
        assert_eq!(node.str_at(&["status", "allocatable", "cpu"]), Some("500m"));
        assert_eq!(node.str_at(&["status", "allocatable", "pods"]), Some("110"));
    }

    #[test]
    fn a_provider_id_is_set_once() {
        let old = value!({"spec": {"providerID": "a", "podCIDRs": ["10.0.0.0/24"]}});
        let new = value!({"spec": {"providerID": "b", "podCIDRs": ["10.0.1.0/24"]}});
        let fields: Vec<String> = Nodes.validate_update(&new, &old, "").into_iter().map(|e| e.field).collect();
        assert_eq!(fields, ["spec.podCIDRs", "spec.providerID"]);
        assert!(Nodes.validate_update(&old, &old, "").is_empty());
    }

    #[test]
    fn taints_are_unique_by_key_and_effect() {
        let node = value!({"spec": {"taints": [
            {"key": "a", "effect": "NoSchedule"}, {"key": "a", "effect": "NoSchedule", "value": "x"},
            {"key": "b", "effect": "Never"},
        ]}});
        let found = Nodes.validate(&node);
        assert_eq!(found[0].field, "metadata.taints[1]");
        assert_eq!(found[0].detail, "taints must be unique by key and effect pair");
        assert_eq!(found[1].field, "metadata.taints[2].effect");
    }
}
