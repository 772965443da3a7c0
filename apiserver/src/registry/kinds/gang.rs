//! Workload and PodGroup of `scheduling.k8s.io/v1alpha2` (KEP-4671): which pods are to be placed together, and how many
//! of them at least. The rules; the kinds are in [`super::unstable`].

use gantry_machinery::names;
use gantry_machinery::value::Value;

use crate::registry::validate::view::Held;
use crate::registry::validate::{Errors, Path};

/// At most this many templates in one workload.
const TEMPLATES_MAX: usize = 8;

pub(super) fn check_workload(workload: &Value, errors: &mut Errors) {
    let spec = Path::new("spec");
    if let Some(owner) = workload.at(&["spec", "controllerRef"]).filter(|r| !r.is_null()) {
        check_controller(owner, &spec.child("controllerRef"), errors);
    }
    let templates = workload.at(&["spec", "podGroupTemplates"]).items();
    let at = spec.child("podGroupTemplates");
    if templates.is_empty() {
        errors.required(&at, "must have at least one item");
    } else if templates.len() > TEMPLATES_MAX {
        errors.too_many(&at, templates.len(), TEMPLATES_MAX);
    }
    for (n, template) in templates.iter().enumerate() {
        let at = at.index(n);
        let name = template.get("name").text();
        if name.is_empty() {
            errors.required(&at.child("name"), "");
        } else {
            for wrong in names::dns_label(name) {
                errors.invalid(&at.child("name"), name, wrong);
            }
        }
        if templates[..n].iter().any(|other| other.get("name").text() == name) {
            errors.duplicate(&at, name);
        }
        check_group(template, &at, errors);
    }
}

pub(super) fn check_workload_update(new: &Value, old: &Value, errors: &mut Errors) {
    let spec = Path::new("spec");
    for field in ["controllerRef", "podGroupTemplates"] {
        // An owner may still be named later.
        if field == "podGroupTemplates" || old.at(&["spec", field]).is_some_and(|r| !r.is_null()) {
            errors.immutable(&spec.child(field), new.at(&["spec", field]), old.at(&["spec", field]));
        }
    }
}

pub(super) fn check_pod_group(group: &Value, errors: &mut Errors) {
    let spec = Path::new("spec");
    if let Some(reference) = group.at(&["spec", "podGroupTemplateRef"]).filter(|r| !r.is_null()) {
        let at = spec.child("podGroupTemplateRef");
        match reference.get("workload").filter(|w| !w.is_null()) {
            None => errors.required(&at.child("workload"), ""),
            Some(workload) => {
                let at = at.child("workload");
                for (field, form) in [
                    ("workloadName", names::dns_subdomain as fn(&str) -> Vec<String>),
                    ("podGroupTemplateName", names::dns_label),
                ] {
                    let text = workload.get(field).text();
                    if text.is_empty() {
                        errors.required(&at.child(field), "");
                    } else {
                        for wrong in form(text) {
                            errors.invalid(&at.child(field), text, wrong);
                        }
                    }
                }
            }
        }
    }
    check_group(group.get("spec").unwrap_or(&Value::Null), &spec, errors);
}

/// What a group is cannot change while its pods are placed by it.
pub(super) fn check_pod_group_update(new: &Value, old: &Value, errors: &mut Errors) {
    let spec = Path::new("spec");
    for field in [
        "podGroupTemplateRef",
        "schedulingPolicy",
        "schedulingConstraints",
        "resourceClaims",
        "disruptionMode",
        "priorityClassName",
        "priority",
    ] {
        errors.immutable(&spec.child(field), new.at(&["spec", field]), old.at(&["spec", field]));
    }
}

/// What groups and their templates have in common.
fn check_group(group: &Value, at: &Path<'_>, errors: &mut Errors) {
    let policy = group.get("schedulingPolicy").unwrap_or(&Value::Null);
    let given = |field: &str| policy.get(field).filter(|p| !p.is_null());
    let at_policy = at.child("schedulingPolicy");
    match (given("basic"), given("gang")) {
        (None, None) => errors.invalid(&at_policy, "", "must specify one of: `basic`, `gang`"),
        (Some(_), Some(_)) => errors.invalid(
            &at_policy,
            "{`basic`, `gang`}",
            "exactly one of `basic`, `gang` is required, but multiple fields are set",
        ),
        (Some(_), None) => {}
        (None, Some(gang)) => {
            let gang_at = at_policy.child("gang");
            match gang.get("minCount").number() {
                0 => errors.required(&gang_at.child("minCount"), ""),
                count if count < 0 => {
                    errors.invalid(&gang_at.child("minCount"), count, "must be greater than zero");
                }
                _ => {}
            }
        }
    }
    match group.get("disruptionMode").text() {
        "" | "Pod" | "PodGroup" => {}
        other => errors.not_supported(&at.child("disruptionMode"), other, &["Pod", "PodGroup"]),
    }
    let topology = group.at(&["schedulingConstraints", "topology"]).items();
    let constraints = at.child("schedulingConstraints");
    let at_topology = constraints.child("topology");
    if topology.len() > 1 {
        errors.too_many(&at_topology, topology.len(), 1);
    }
    for (n, constraint) in topology.iter().enumerate() {
        let at = at_topology.index(n);
        let key = constraint.get("key").text();
        if key.is_empty() {
            errors.required(&at.child("key"), "");
        } else {
            for wrong in names::qualified_name(key) {
                errors.invalid(&at.child("key"), key, wrong);
            }
        }
    }
    let claims = at.child("resourceClaims");
    for (n, claim) in group.get("resourceClaims").items().iter().enumerate() {
        let at = claims.index(n);
        let named = ["resourceClaimName", "resourceClaimTemplateName"].map(|f| !claim.get(f).text().is_empty());
        if named[0] == named[1] {
            let which = if named[0] { "at most one of" } else { "must specify one of:" };
            errors.invalid(&at, claim, format!("{which} `resourceClaimName`, `resourceClaimTemplateName`"));
        }
    }
}

fn check_controller(owner: &Value, at: &Path<'_>, errors: &mut Errors) {
    let group = owner.get("apiGroup").text();
    if !group.is_empty() {
        for wrong in names::dns_subdomain(group) {
            errors.invalid(&at.child("apiGroup"), group, wrong);
        }
    }
    for field in ["kind", "name"] {
        let text = owner.get(field).text();
        if text.is_empty() {
            errors.required(&at.child(field), "");
        }
        for wrong in names::path_segment(text, false) {
            errors.invalid(&at.child(field), text, wrong);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gantry_machinery::value;

    fn texts(errors: Errors) -> Vec<String> {
        errors.into_vec().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_group_is_a_gang_or_it_is_not() {
        for (policy, expected) in [
            (value!({"gang": {"minCount": 3}}), vec![]),
            (value!({"basic": {}}), vec![]),
            (value!({"gang": {"minCount": 0}}), vec!["spec.schedulingPolicy.gang.minCount: Required value"]),
            (
                value!({"gang": {"minCount": (-1)}}),
                vec!["spec.schedulingPolicy.gang.minCount: Invalid value: -1: must be greater than zero"],
            ),
            (value!({}), vec!["spec.schedulingPolicy: Invalid value: \"\": must specify one of: `basic`, `gang`"]),
        ] {
            let mut errors = Errors::new();
            check_pod_group(&value!({"spec": {"schedulingPolicy": policy}}), &mut errors);
            assert_eq!(texts(errors), expected);
        }
    }

    #[test]
    fn a_workloads_templates_are_named_and_stay() {
        let template = value!({"name": "workers", "schedulingPolicy": {"gang": {"minCount": 4}}});
        let workload = value!({"spec": {"podGroupTemplates": [(template.clone()), template]}});
        let mut errors = Errors::new();
        check_workload(&workload, &mut errors);
        assert_eq!(texts(errors), ["spec.podGroupTemplates[1]: Duplicate value: \"workers\""]);
        let mut other = workload.clone();
        other.set(&["spec", "podGroupTemplates"], Value::Array(Vec::new()));
        let mut errors = Errors::new();
        check_workload_update(&other, &workload, &mut errors);
        assert_eq!(errors.len(), 1);
    }
}
