//! ResourceQuota: how much a namespace may hold.

use gantry_machinery::value::Value;

use super::cells::{age_cell, name_cell};
use super::pod::defaults::resource_list;
use super::{row, workload};
use crate::registry::strategy::{Column, Strategy};
use crate::registry::validate::view::Held;
use crate::registry::validate::{Errors, Path, quantity, resources};

/// ResourceQuotas of the core group.
#[derive(Debug)]
pub struct ResourceQuotas;

const SCOPES: &[&str] = &[
    "Terminating",
    "NotTerminating",
    "BestEffort",
    "NotBestEffort",
    "PriorityClass",
    "CrossNamespacePodAffinity",
    "VolumeAttributesClass",
];

impl Strategy for ResourceQuotas {
    row!("", "v1", "resourcequotas");

    fn default(&self, quota: &mut Value) {
        for path in [["spec", "hard"], ["status", "hard"], ["status", "used"]] {
            if let Some(list) = quota.at_mut(&path).and_then(Value::as_object_mut) {
                resource_list(list);
            }
        }
        workload::default_status(quota);
    }

    fn check(&self, quota: &Value, errors: &mut Errors) {
        check_list(quota, "spec", "hard", errors);
        let at = Path::new("spec.scopes");
        let scopes = quota.array_at(&["spec", "scopes"]);
        let shown = || quota.at(&["spec", "scopes"]);
        for scope in scopes {
            if !SCOPES.contains(&scope.as_str().unwrap_or_default()) {
                errors.invalid(&at, shown(), "unsupported scope");
            }
            for (resource, _) in quota.at(&["spec", "hard"]).entries() {
                if resources::is_standard_quota(resource) && !counts(scope.as_str().unwrap_or_default(), resource) {
                    errors.invalid(&at, shown(), "unsupported scope applied to resource");
                }
            }
        }
        let has = |scope: &str| scopes.iter().any(|s| s.as_str() == Some(scope));
        for (one, other) in [("BestEffort", "NotBestEffort"), ("Terminating", "NotTerminating")] {
            if has(one) && has(other) {
                errors.invalid(&at, shown(), "conflicting scopes");
            }
        }
        let at = Path::new("spec.scopeSelector.matchExpressions");
        for expression in quota.array_at(&["spec", "scopeSelector", "matchExpressions"]) {
            let scope = expression.get("scopeName").text();
            if !SCOPES.contains(&scope) {
                errors.invalid(&at.child("scopeName"), scope, "unsupported scope");
            }
            let values = expression.get("values").items();
            match expression.get("operator").text() {
                "In" | "NotIn" if values.is_empty() => {
                    let detail = "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector";
                    errors.required(&at.child("values"), detail);
                }
                "In" | "NotIn" => {}
                "Exists" | "DoesNotExist" if !values.is_empty() => {
                    let detail = "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector";
                    errors.invalid(&at.child("values"), expression.get("values"), detail);
                }
                "Exists" | "DoesNotExist" => {}
                other => errors.invalid(&at.child("operator"), other, "not a valid selector operator"),
            }
        }
    }

    fn check_update(&self, new: &Value, old: &Value, subresource: &str, errors: &mut Errors) {
        if subresource == "status" {
            check_list(new, "status", "hard", errors);
            return check_list(new, "status", "used", errors);
        }
        self.check(new, errors);
        let scopes = |quota: &Value| {
            let mut all: Vec<String> =
                quota.array_at(&["spec", "scopes"]).iter().filter_map(Value::as_str).map(str::to_owned).collect();
            all.sort();
            all.dedup();
            all
        };
        if scopes(new) != scopes(old) {
            errors.invalid(&Path::new("spec.scopes"), new.at(&["spec", "scopes"]), "field is immutable");
        }
    }

    fn has_generation(&self) -> bool {
        false
    }

    fn columns(&self) -> &'static [Column] {
        const { &[Column::name(), Column::string("Request"), Column::string("Limit"), Column::string("Age")] }
    }

    fn row(&self, quota: &Value, now: i64) -> Vec<Value> {
        let mut hard: Vec<(&str, &Value)> = quota.at(&["status", "hard"]).entries().collect();
        hard.sort_by_key(|(resource, _)| *resource);
        let mut parts = [Vec::new(), Vec::new()];
        for (resource, limit) in hard {
            let text = |value: Option<&Value>| value.and_then(quantity::canonical).unwrap_or_else(|| "0".to_owned());
            let used = text(quota.at(&["status", "used", resource]));
            let part = usize::from(resource.starts_with("limits."));
            parts[part].push(format!("{resource}: {used}/{}", text(Some(limit))));
        }
        let [requests, limits] = parts.map(|p| Value::from(p.join(", ")));
        vec![name_cell(quota), requests, limits, age_cell(quota, now)]
    }
}

/// Whether a quota of `scope` can count `resource`: scopes choose pods, but one that chooses claims.
fn counts(scope: &str, resource: &str) -> bool {
    let compute = resource.strip_prefix("requests.").or_else(|| resource.strip_prefix("limits.")).unwrap_or(resource);
    match scope {
        "BestEffort" => resource == "pods",
        "Terminating" | "NotTerminating" | "NotBestEffort" | "PriorityClass" | "CrossNamespacePodAffinity" => {
            resource == "pods" || matches!(compute, "cpu" | "memory")
        }
        "VolumeAttributesClass" => {
            matches!(resource, "persistentvolumeclaims" | "requests.storage")
        }
        _ => true,
    }
}

fn check_list(quota: &Value, part: &str, list: &str, errors: &mut Errors) {
    let top = Path::new(part);
    let at = top.child(list);
    for (resource, value) in quota.at(&[part, list]).entries() {
        let at = at.key(resource);
        resources::check_quota_name(resource, &at, errors);
        resources::check_quantity(resource, value, &at, errors);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gantry_machinery::value;

    #[test]
    fn quotas_limit_known_things() {
        let quota = value!({"spec": {
            "hard": {"requests.cpu": "1", "pods": "1.5", "apples": "1", "count/deployments.apps": "3"},
            "scopes": ["BestEffort", "NotBestEffort"],
        }});
        let found: Vec<String> = ResourceQuotas.validate(&quota).iter().map(ToString::to_string).collect();
        assert_eq!(
            found,
            [
                "spec.hard[pods]: Invalid value: \"1500m\": must be an integer",
                "spec.hard[apples]: Invalid value: \"apples\": must be a standard resource type or fully qualified",
                "spec.hard[apples]: Invalid value: \"apples\": must be a standard resource for quota",
                "spec.scopes: Invalid value: [\"BestEffort\",\"NotBestEffort\"]: unsupported scope applied to resource",
                "spec.scopes: Invalid value: [\"BestEffort\",\"NotBestEffort\"]: conflicting scopes",
            ]
        );
    }

    #[test]
    fn the_row_parts_requests_and_limits() {
        let quota = value!({"status": {"hard": {"pods": "4", "limits.cpu": "2"}, "used": {"pods": "1"}}});
        let row = ResourceQuotas.row(&quota, 0);
        assert_eq!(row[1].as_str(), Some("pods: 1/4"));
        assert_eq!(row[2].as_str(), Some("limits.cpu: 0/2"));
    }
}
