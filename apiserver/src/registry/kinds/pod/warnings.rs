//! Advice about pods: what works but is probably not meant, or will go away.

use gantry_machinery::value::Value;

use crate::registry::validate::quantity;
use crate::registry::validate::view::Held;

/// The warnings for a pod, new or changed.
pub(super) fn warnings(pod: &Value, old: Option<&Value>) -> Vec<String> {
    let null = Value::Null;
    let before = old.and_then(|o| o.get("spec"));
    of_spec(pod.get("spec").unwrap_or(&null), before, "spec")
}

/// The warnings for the spec in a template that stands at `path` (`spec.template`).
pub(in crate::registry::kinds) fn of_template(template: &Value, old: Option<&Value>, path: &str) -> Vec<String> {
    let null = Value::Null;
    let before = old.and_then(|o| o.get("spec"));
    of_spec(template.get("spec").unwrap_or(&null), before, &format!("{path}.spec"))
}

/// Labels of nodes that have a better name now: the key, since when, the better key.
const OLD_LABELS: &[(&str, &str, &str)] = &[
    ("beta.kubernetes.io/arch", "v1.14", "kubernetes.io/arch"),
    ("beta.kubernetes.io/os", "v1.14", "kubernetes.io/os"),
    ("failure-domain.beta.kubernetes.io/region", "v1.17", "topology.kubernetes.io/region"),
    ("failure-domain.beta.kubernetes.io/zone", "v1.17", "topology.kubernetes.io/zone"),
    ("beta.kubernetes.io/instance-type", "v1.17", "node.kubernetes.io/instance-type"),
];

fn of_spec(spec: &Value, old: Option<&Value>, path: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (key, _) in spec.get("nodeSelector").entries() {
        if let Some((old, since, better)) = OLD_LABELS.iter().find(|(old, ..)| *old == key) {
            found.push(format!("{path}.nodeSelector[{old}]: deprecated since {since}; use {better:?} instead"));
        }
    }
    for (n, volume) in spec.get("volumes").items().iter().enumerate() {
        for (kind, notice) in [
            ("gitRepo", "deprecated in v1.11"),
            ("photonPersistentDisk", "deprecated in v1.11, non-functional in v1.16+"),
            ("scaleIO", "deprecated in v1.16, non-functional in v1.22+"),
            ("flocker", "deprecated in v1.22, non-functional in v1.25+"),
            ("storageos", "deprecated in v1.22, non-functional in v1.25+"),
            ("quobyte", "deprecated in v1.22, non-functional in v1.25+"),
            ("glusterfs", "deprecated in v1.25, non-functional in v1.26+"),
            ("cephfs", "deprecated in v1.28, non-functional in v1.31+"),
            ("rbd", "deprecated in v1.28, non-functional in v1.31+"),
        ] {
            if volume.get(kind).is_some() {
                found.push(format!("{path}.volumes[{n}].{kind}: {notice}"));
            }
        }
    }
    let secrets = spec.get("imagePullSecrets").items();
    for (n, secret) in secrets.iter().enumerate() {
        let name = secret.get("name").text();
        if name.is_empty() {
            found.push(format!("{path}.imagePullSecrets[{n}]: invalid empty name {name:?}"));
        } else if secrets[..n].iter().any(|s| s.get("name").text() == name) {
            found.push(format!("{path}.imagePullSecrets[{n}].name: duplicate name {name:?}"));
        }
    }
    let aliases = spec.get("hostAliases").items();
    for (n, alias) in aliases.iter().enumerate() {
        let ip = alias.get("ip").text();
        if aliases[..n].iter().any(|a| a.get("ip").text() == ip) {
            found.push(format!("{path}.hostAliases[{n}].ip: duplicate ip {ip:?}"));
        }
    }
    for list in ["initContainers", "containers"] {
        for (n, container) in spec.get(list).items().iter().enumerate() {
            of_container(container, &format!("{path}.{list}[{n}]"), &mut found);
        }
    }
    let grace = |spec: &Value| spec.get("terminationGracePeriodSeconds").int();
    if grace(spec).is_some_and(|g| g < 0) && old.and_then(grace).is_none_or(|g| g >= 0) {
        found.push(format!(
            "{path}.terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be treated as 1"
        ));
    }
    found
}

fn of_container(container: &Value, path: &str, found: &mut Vec<String>) {
    for list in ["limits", "requests"] {
        for (resource, value) in container.at(&["resources", list]).entries() {
            let whole = quantity::of(value).is_none_or(|q| q.is_whole());
            if matches!(resource, "memory" | "ephemeral-storage") && !whole {
                let shown = quantity::canonical(value).unwrap_or_default();
                found.push(format!(
                    "{path}.resources.{list}[{resource}]: fractional byte value {shown:?} is invalid, must be an integer"
                ));
            }
        }
    }
    let env = container.get("env").items();
    for (n, var) in env.iter().enumerate() {
        let name = var.get("name").text();
        let value = var.get("value").text();
        // A variable built from its namesake before it is the common idiom, and no mistake.
        let refers = value.contains(&format!("$({name})"));
        if !refers && env[..n].iter().any(|v| v.get("name").text() == name) {
            found.push(format!(
                "{path}.env[{n}]: hides previous definition of {name:?}, which may be dropped when using apply"
            ));
        }
    }
    let ports = container.get("ports").items();
    for (n, port) in ports.iter().enumerate() {
        let alike = |other: &Value| {
            ["containerPort", "protocol", "hostPort", "hostIP"].iter().all(|f| other.get(f) == port.get(f))
        };
        if let Some(first) = ports[..n].iter().position(alike) {
            found.push(format!("{path}.ports[{n}]: duplicate port definition with {path}.ports[{first}]"));
        }
    }
}
