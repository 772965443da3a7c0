//! Reads `rbac.policy`, the condensed table of a fresh cluster's roles and bindings, into objects.
//!
//! A line `role NAME` begins a ClusterRole, `role NAMESPACE/NAME` a Role; `into:X` labels it for aggregation into the
//! role X, `from:X` makes it the aggregate of all roles so labelled. The indented lines below are its rules: verbs, API
//! groups (`core` for the unnamed one), resources and perhaps names; or verbs and paths. Lists are comma-separated.
//! `bind NAME to KIND ROLE for SUBJECTS` is a binding; a subject is `Kind:name` or `Kind:namespace/name`.
//! Source of the facts: Kubernetes RBAC documentation, "Default roles and role bindings".

use gantry_machinery::resource::{GroupVersionResource, gvr};
use gantry_machinery::value;
use gantry_machinery::value::{Object, Value};

const POLICY: &str = include_str!("rbac.policy");
const API_VERSION: &str = "rbac.authorization.k8s.io/v1";
const API_GROUP: &str = "rbac.authorization.k8s.io";
const AGGREGATE_TO: &str = "rbac.authorization.k8s.io/aggregate-to-";

/// One object of the table with its resource.
pub(super) struct Entry {
    pub(super) resource: &'static GroupVersionResource,
    pub(super) namespace: String,
    pub(super) object: Value,
}

/// All roles and bindings, aggregated roles already holding the rules they aggregate.
pub(super) fn entries() -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    let mut aggregates: Vec<(usize, &str)> = Vec::new();
    let mut contributions: Vec<(&str, usize)> = Vec::new();
    for line in POLICY.lines().filter(|line| !line.starts_with('#')) {
        if let Some(rest) = line.strip_prefix("role ") {
            let mut words = rest.split(' ');
            let mut entry = role(words.next().expect("a role line names the role"));
            for word in words {
                match word.split_once(':') {
                    Some(("into", to)) => {
                        contributions.push((to, entries.len()));
                        entry.object.set(&["metadata", "labels", &format!("{AGGREGATE_TO}{to}")], "true");
                    }
                    Some(("from", from)) => {
                        aggregates.push((entries.len(), from));
                        let labels: Object = [(format!("{AGGREGATE_TO}{from}"), "true")].into_iter().collect();
                        let selector = value!({ "matchLabels": (Value::from(labels)) });
                        entry.object.set(&["aggregationRule", "clusterRoleSelectors"], Value::Array(vec![selector]));
                    }
                    _ => unreachable!("the table knows no other word after a role: {word}"),
                }
            }
            entries.push(entry);
        } else if let Some(rest) = line.strip_prefix("bind ") {
            entries.push(binding(rest));
        } else {
            let role = &mut entries.last_mut().expect("rules follow their role").object;
            rules_of(role).push(rule(line.trim_start()));
        }
    }
    // Aggregates of aggregates (admin holds edit holds view): resolve until nothing is added.
    loop {
        let mut grew = false;
        for (aggregate, from) in &aggregates {
            for (_, part) in contributions.iter().filter(|(to, _)| to == from) {
                let rules = entries[*part].object.array_at(&["rules"]).to_vec();
                let into = rules_of(&mut entries[*aggregate].object);
                for rule in rules {
                    if !into.contains(&rule) {
                        into.push(rule);
                        grew = true;
                    }
                }
            }
        }
        if !grew {
            return entries;
        }
    }
}

fn rules_of(role: &mut Value) -> &mut Vec<Value> {
    role.get_mut("rules").and_then(Value::as_array_mut).expect("every role is made with a list of rules")
}

fn split_name(name: &str) -> (&str, &str) {
    name.split_once('/').unwrap_or(("", name))
}

fn entry(
    name: &str,
    cluster: &'static GroupVersionResource,
    cluster_kind: &str,
    namespaced: &'static GroupVersionResource,
    kind: &str,
) -> Entry {
    let (namespace, name) = split_name(name);
    let (resource, kind) = if namespace.is_empty() { (cluster, cluster_kind) } else { (namespaced, kind) };
    let mut object = value!({
        "apiVersion": API_VERSION,
        "kind": kind,
        "metadata": {
            "name": name,
            "annotations": {"rbac.authorization.kubernetes.io/autoupdate": "true"},
            "labels": {"kubernetes.io/bootstrapping": "rbac-defaults"}
        }
    });
    if !namespace.is_empty() {
        object.set(&["metadata", "namespace"], namespace);
    }
    Entry { resource, namespace: namespace.to_owned(), object }
}

fn role(name: &str) -> Entry {
    let mut entry = entry(name, &gvr::CLUSTER_ROLES, "ClusterRole", &gvr::ROLES, "Role");
    entry.object.set(&["rules"], Value::Array(Vec::new()));
    entry
}

fn binding(line: &str) -> Entry {
    let words: Vec<&str> = line.split(' ').collect();
    let [name, "to", kind, role, "for", subjects @ ..] = words.as_slice() else {
        unreachable!("a binding line has this form: {line}")
    };
    let mut entry = entry(name, &gvr::CLUSTER_ROLE_BINDINGS, "ClusterRoleBinding", &gvr::ROLE_BINDINGS, "RoleBinding");
    entry.object.set(&["roleRef"], value!({"apiGroup": API_GROUP, "kind": (*kind), "name": (*role)}));
    let subjects: Vec<Value> = subjects.iter().filter_map(|subject| subject.split_once(':')).map(subject).collect();
    if !subjects.is_empty() {
        entry.object.set(&["subjects"], Value::Array(subjects));
    }
    entry
}

fn subject((kind, name): (&str, &str)) -> Value {
    if kind == "ServiceAccount" {
        let (namespace, name) = split_name(name);
        return value!({"kind": kind, "name": name, "namespace": namespace});
    }
    value!({"apiGroup": API_GROUP, "kind": kind, "name": name})
}

fn rule(line: &str) -> Value {
    let words: Vec<Vec<Value>> = line.split(' ').map(list).collect();
    let mut object = Object::new();
    let mut words = words.into_iter();
    let verbs = words.next().expect("a rule begins with its verbs");
    let mut rest: Vec<Vec<Value>> = words.collect();
    if rest.len() == 1 {
        object.insert("nonResourceURLs", Value::Array(rest.remove(0)));
    } else {
        let mut rest = rest.into_iter();
        for key in ["apiGroups", "resources", "resourceNames"] {
            if let Some(items) = rest.next() {
                object.insert(key, Value::Array(items));
            }
        }
    }
    object.insert("verbs", Value::Array(verbs));
    object.into()
}

fn list(words: &str) -> Vec<Value> {
    words.split(',').map(|word| Value::from(if word == "core" { "" } else { word })).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find<'a>(entries: &'a [Entry], kind: &str, name: &str) -> &'a Value {
        let found = entries
            .iter()
            .find(|e| e.object.str_at(&["kind"]) == Some(kind) && e.object.str_at(&["metadata", "name"]) == Some(name));
        &found.unwrap_or_else(|| panic!("no {kind} {name}")).object
    }

    #[test]
    fn every_line_becomes_an_object_upstream_has() {
        let entries = entries();
        let count = |kind: &str| entries.iter().filter(|e| e.object.str_at(&["kind"]) == Some(kind)).count();
        assert_eq!((count("ClusterRole"), count("Role")), (70, 7));
        let admin = find(&entries, "ClusterRole", "cluster-admin").array_at(&["rules"]);
        assert_eq!(admin[0], value!({"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}));
        assert_eq!(admin[1], value!({"nonResourceURLs": ["*"], "verbs": ["*"]}));
        let binding = find(&entries, "ClusterRoleBinding", "cluster-admin");
        assert_eq!(
            binding.array_at(&["subjects"])[0],
            value!({"apiGroup": API_GROUP, "kind": "Group", "name": "system:masters"})
        );
    }

    #[test]
    fn aggregated_roles_hold_what_they_aggregate() {
        let entries = entries();
        let rules = |name: &str| find(&entries, "ClusterRole", name).array_at(&["rules"]).to_vec();
        let (view, edit, admin) = (rules("view"), rules("edit"), rules("admin"));
        assert!(!view.is_empty());
        assert!(view.iter().all(|rule| edit.contains(rule)));
        assert!(edit.iter().all(|rule| admin.contains(rule)));
        assert!(admin.len() > edit.len());
    }
}
