//! Advice about pods: what works but is probably not meant, or will go away.

use gantry_machinery::value::Value;

use crate::registry::validate::quantity;
use crate::registry::validate::view::Held;

/// The warnings for a pod, new or changed.
pub(super) fn warnings(pod: &Value, old: Option<&Value>) -> Vec<String> {
    let null = Value::Null;
    let before = old.and_then(|o| o.get("spec"));
    let mut found = of_spec(pod.get("spec").unwrap_or(&null), before, "spec");
    of_annotations(pod, "metadata", &mut found);
    found
}

/// The warnings for the spec in a template that stands at `path` (`spec.template`).
pub(in crate::registry::kinds) fn of_template(template: &Value, old: Option<&Value>, path: &str) -> Vec<String> {
    let null = Value::Null;
    let before = old.and_then(|o| o.get("spec"));
    let mut found = of_spec(template.get("spec").unwrap_or(&null), before, &format!("{path}.spec"));
    of_annotations(template, &format!("{path}.metadata"), &mut found);
    found
}

/// Annotations that once did something, and the field that does it now.
const OLD_ANNOTATIONS: &[(&str, &str)] = &[
    (
        "scheduler.alpha.kubernetes.io/critical-pod",
        "non-functional in v1.16+; use the \"priorityClassName\" field instead",
    ),
    ("security.alpha.kubernetes.io/sysctls", "non-functional in v1.11+; use the \"sysctls\" field instead"),
    ("security.alpha.kubernetes.io/unsafe-sysctls", "non-functional in v1.11+; use the \"sysctls\" field instead"),
];
/// The old way to confine a pod, and (with a container's name behind it) a container.
const SECCOMP: &str = "seccomp.security.alpha.kubernetes.io/pod";
const SECCOMP_CONTAINER: &str = "container.seccomp.security.alpha.kubernetes.io/";

fn of_annotations(pod: &Value, path: &str, found: &mut Vec<String>) {
    let annotations = pod.at(&["metadata", "annotations"]);
    for (key, _) in annotations.entries() {
        if let Some((_, notice)) = OLD_ANNOTATIONS.iter().find(|(old, _)| *old == key) {
            found.push(format!("{path}.annotations[{key}]: {notice}"));
        }
        let profile = |of: Option<&Value>| of.and_then(|s| s.at(&["securityContext", "seccompProfile"])).is_some();
        let unconfined = if key == SECCOMP {
            !profile(pod.get("spec"))
        } else if let Some(name) = key.strip_prefix(SECCOMP_CONTAINER) {
            let lists = ["initContainers", "containers"].map(|list| pod.at(&["spec", list]).items());
            lists.into_iter().flatten().any(|c| c.get("name").text() == name && !profile(Some(c)))
        } else {
            false
        };
        if unconfined {
            found.push(format!(
                "{path}.annotations[{key}]: non-functional in v1.27+; use the \"seccompProfile\" field instead"
            ));
        }
    }
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
    for (n, constraint) in spec.get("topologySpreadConstraints").items().iter().enumerate() {
        let at = format!("{path}.topologySpreadConstraints[{n}]");
        let key = constraint.get("topologyKey").text();
        if let Some((_, since, better)) = OLD_LABELS.iter().find(|(old, ..)| *old == key) {
            found.push(format!("{at}.topologyKey: {key} is deprecated since {since}; use {better:?} instead"));
        }
        if constraint.get("labelSelector").is_none_or(Value::is_null) {
            found.push(format!("{at}.labelSelector: a null labelSelector results in matching no pod"));
        }
    }
    of_affinity(spec.at(&["affinity", "nodeAffinity"]), &format!("{path}.affinity.nodeAffinity"), &mut found);
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
            found.push(format!("{path}.imagePullSecrets[{n}].name: invalid empty name {name:?}"));
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

/// Old labels in the terms of a node affinity.
fn of_affinity(affinity: Option<&Value>, path: &str, found: &mut Vec<String>) {
    const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
    const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";
    let mut of_term = |term: &Value, path: String| {
        for (n, expression) in term.get("matchExpressions").items().iter().enumerate() {
            let key = expression.get("key").text();
            if let Some((_, since, better)) = OLD_LABELS.iter().find(|(old, ..)| *old == key) {
                found.push(format!(
                    "{path}.matchExpressions[{n}].key: {key} is deprecated since {since}; use {better:?} instead"
                ));
            }
        }
    };
    let Some(affinity) = affinity else { return };
    for (n, term) in affinity.at(&[REQUIRED, "nodeSelectorTerms"]).items().iter().enumerate() {
        of_term(term, format!("{path}.{REQUIRED}.nodeSelectorTerms[{n}]"));
    }
    for (n, term) in affinity.get(PREFERRED).items().iter().enumerate() {
        of_term(term.get("preference").unwrap_or(&Value::Null), format!("{path}.{PREFERRED}[{n}].preference"));
    }
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
        let reference = format!("$({name})");
        let refers = value.contains(&reference) && value != reference && var.get("valueFrom").is_none();
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

#[cfg(test)]
mod tests {
    use super::*;
    use gantry_machinery::value;

    #[test]
    fn old_ways_are_told_with_the_new_ones() {
        let pod = value!({
            "metadata": {"annotations": {"seccomp.security.alpha.kubernetes.io/pod": "x", "mine": "y"}},
            "spec": {
                "containers": [{"name": "c", "env": [{"name": "A", "value": "1"}, {"name": "A", "value": "$(A)2"}]}],
                "topologySpreadConstraints": [{"topologyKey": "failure-domain.beta.kubernetes.io/zone"}],
                "imagePullSecrets": [{}],
            },
        });
        assert_eq!(
            warnings(&pod, None),
            [
                "spec.topologySpreadConstraints[0].topologyKey: failure-domain.beta.kubernetes.io/zone is deprecated since \
                 v1.17; use \"topology.kubernetes.io/zone\" instead",
                "spec.topologySpreadConstraints[0].labelSelector: a null labelSelector results in matching no pod",
                "spec.imagePullSecrets[0].name: invalid empty name \"\"",
                "metadata.annotations[seccomp.security.alpha.kubernetes.io/pod]: non-functional in v1.27+; use the \
                 \"seccompProfile\" field instead",
            ]
        );
        let fine = value!({"spec": {"containers": [{"name": "c"}]}});
        assert!(warnings(&fine, None).is_empty());
    }
}
