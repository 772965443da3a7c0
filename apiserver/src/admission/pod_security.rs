//! PodSecurity: the Pod Security Standards, as a namespace's labels `pod-security.kubernetes.io/{enforce,audit,warn}` and
//! their `-version` ask for them (Kubernetes, "Pod Security Admission"; KEP-2579).
//!
//! Pods are refused by `enforce` and warned about by `warn`; objects that make pods are only warned about. A namespace
//! whose `enforce` grows stricter is told which of its pods would not be let in again. Without labels nothing is checked.
//! There is no audit log yet, so that `audit` is read (its labels must be right) and has no effect.

mod checks;
mod pod;
mod policy;

use std::collections::BTreeMap;

use gantry_machinery::status::Status;
use gantry_machinery::value::Value;
use gantry_store_cache::key::ObjectKey;

use self::pod::Pod;
use self::policy::{Level, Policy, Standard};
use super::{Attributes, Operation, Plugin};
use crate::registry::body;
use crate::registry::validate::Errors;

/// Pods of a namespace that are looked at when its `enforce` changes (upstream's number).
const PODS_LOOKED_AT_MAX: usize = 3000;

/// Which collections have a pod template, and where.
const TEMPLATES: [(&str, &[&str]); 8] = [
    ("podtemplates", &["template"]),
    ("replicationcontrollers", &["spec", "template"]),
    ("replicasets.apps", &["spec", "template"]),
    ("deployments.apps", &["spec", "template"]),
    ("daemonsets.apps", &["spec", "template"]),
    ("statefulsets.apps", &["spec", "template"]),
    ("jobs.batch", &["spec", "template"]),
    ("cronjobs.batch", &["spec", "jobTemplate", "spec", "template"]),
];

/// Subresources of pods that leave what the standards speak of as it is.
const HARMLESS: [&str; 3] = ["binding", "eviction", "status"];

/// See the file's head.
pub(crate) struct PodSecurity;

impl Plugin for PodSecurity {
    fn name(&self) -> &'static str {
        "PodSecurity"
    }

    fn handles(&self, attributes: &Attributes<'_>) -> bool {
        if attributes.operation == Operation::Delete {
            return false;
        }
        let call = attributes.call;
        match &*call.row.collection {
            "namespaces" => call.subresource.is_empty(),
            "pods" => !HARMLESS.contains(&call.subresource) && has_policy(attributes),
            other => call.subresource.is_empty() && template_of(other).is_some() && has_policy(attributes),
        }
    }

    fn validate(&self, attributes: &Attributes<'_>, new: Option<&Value>, old: Option<&Value>) -> Result<(), Status> {
        let Some(new) = new else { return Ok(()) };
        match &*attributes.call.row.collection {
            "namespaces" => check_namespace(attributes, new, old),
            "pods" => {
                if old.is_some_and(|old| !pod::differs(new, old)) {
                    return Ok(());
                }
                let policy = policy_of(attributes);
                let pod = Pod::of(new);
                let violations = checks::violations(&pod, policy.enforce);
                if !violations.is_empty() {
                    let why = format!("violates PodSecurity \"{}\": {}", policy.enforce, checks::details(&violations));
                    return Err(attributes.forbidden(new, why));
                }
                warn(attributes, &pod, policy.warn);
                Ok(())
            }
            collection => {
                let template = template_of(collection).and_then(|path| new.at(path));
                if let Some(template) = template {
                    warn(attributes, &Pod::of(template), policy_of(attributes).warn);
                }
                Ok(())
            }
        }
    }
}

fn template_of(collection: &str) -> Option<&'static [&'static str]> {
    TEMPLATES.iter().find(|(name, _)| *name == collection).map(|(_, path)| *path)
}

/// Whether the namespace asks for anything at all, read from what it is selected by: nothing is decoded for the many
/// that do not.
fn has_policy(attributes: &Attributes<'_>) -> bool {
    let key = ObjectKey::new("namespaces", "", attributes.call.namespace);
    let labelled = |(label, _): &(_, _)| AsRef::<str>::as_ref(label).starts_with(policy::PREFIX);
    attributes.registry.store().get(&key).is_some_and(|namespace| namespace.facets.labels.iter().any(labelled))
}

/// What the namespace of the write asks for.
fn policy_of(attributes: &Attributes<'_>) -> Policy {
    let key = ObjectKey::new("namespaces", "", attributes.call.namespace);
    let namespace = attributes.registry.store().get(&key).and_then(|stored| body::decode(&stored).ok());
    namespace.map(|namespace| Policy::of(&namespace, &mut Errors::new())).unwrap_or_default()
}

fn warn(attributes: &Attributes<'_>, pod: &Pod<'_>, standard: Standard) {
    let violations = checks::violations(pod, standard);
    if !violations.is_empty() {
        let text = format!("would violate PodSecurity \"{standard}\": {}", checks::details(&violations));
        attributes.call.request.warnings.add(text);
    }
}

/// The labels must be right, if they are new; and who makes `enforce` stricter hears of the pods that break it.
fn check_namespace(attributes: &Attributes<'_>, new: &Value, old: Option<&Value>) -> Result<(), Status> {
    let read = |namespace: &Value| {
        let mut errors = Errors::new();
        (Policy::of(namespace, &mut errors), errors.into_vec())
    };
    let (policy, wrong) = read(new);
    let (before, wrong_before) = old.map(read).unwrap_or_default();
    if !wrong.is_empty() && (old.is_none() || wrong != wrong_before) {
        let name = new.str_at(&["metadata", "name"]).unwrap_or_default();
        return Err(attributes.call.row.invalid(name, &wrong));
    }
    let (now, then) = (policy.enforce, before.enforce);
    let relaxed = now.version == then.version && now.level <= then.level;
    if old.is_some() && now.level != Level::Privileged && !relaxed {
        for warning in broken_by_pods(attributes, new.str_at(&["metadata", "name"]).unwrap_or_default(), now) {
            attributes.call.request.warnings.add(warning);
        }
    }
    Ok(())
}

/// What a stricter standard would say of the pods that are there, alike ones counted together.
fn broken_by_pods(attributes: &Attributes<'_>, namespace: &str, standard: Standard) -> Vec<String> {
    let view = attributes.registry.store().view();
    let all = view.count("pods", Some(namespace));
    let mut found: BTreeMap<String, (String, usize)> = BTreeMap::new();
    for stored in view.scan("pods", Some(namespace), None).take(PODS_LOOKED_AT_MAX) {
        let Ok(object) = body::decode(&stored) else { continue };
        let violations = checks::violations(&Pod::of(&object), standard);
        if violations.is_empty() {
            continue;
        }
        // Pods are scanned by name: the first one met is the one that is named.
        let name = || (object.str_at(&["metadata", "name"]).unwrap_or_default().to_owned(), 0);
        found.entry(checks::reasons(&violations)).or_insert_with(name).1 += 1;
    }
    let mut warnings = Vec::new();
    if all > PODS_LOOKED_AT_MAX {
        warnings.push(format!(
            "new PodSecurity enforce level only checked against the first {PODS_LOOKED_AT_MAX} of {all} existing pods"
        ));
    }
    if !found.is_empty() {
        warnings.push(format!(
            "existing pods in namespace {namespace:?} violate the new PodSecurity enforce level \"{standard}\""
        ));
    }
    let mut pods: Vec<String> = found
        .into_iter()
        .map(|(reasons, (name, count))| match count {
            1 => format!("{name}: {reasons}"),
            2 => format!("{name} (and 1 other pod): {reasons}"),
            _ => format!("{name} (and {} other pods): {reasons}", count - 1),
        })
        .collect();
    pods.sort();
    warnings.append(&mut pods);
    warnings
}
