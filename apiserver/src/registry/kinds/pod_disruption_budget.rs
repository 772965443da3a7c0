//! PodDisruptionBudget: how many pods may be evicted at one time.

use gantry_machinery::value::Value;

use super::cells::{age_cell, count_cell, name_cell, or_not_applicable};
use super::field::fill_with;
use super::{row, workload};
use crate::registry::strategy::{Column, Strategy};
use crate::registry::validate::labels::check_selector;
use crate::registry::validate::view::view;
use crate::registry::validate::{Errors, Path, name};

/// PodDisruptionBudgets of `policy`.
#[derive(Debug)]
pub struct PodDisruptionBudgets;

view! {
    struct Spec {
        min: "minAvailable",
        max: "maxUnavailable",
        selector: "selector",
        unhealthy: "unhealthyPodEvictionPolicy",
    }
}

const COUNTS: &[&str] = &["disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods"];

impl Strategy for PodDisruptionBudgets {
    row!("policy", "v1", "poddisruptionbudgets");

    fn default(&self, budget: &mut Value) {
        let status = budget.force_object().object_entry("status");
        for field in COUNTS {
            fill_with(status, field, || Value::Int(0));
        }
    }

    fn check(&self, budget: &Value, errors: &mut Errors) {
        let null = Value::Null;
        let spec = budget.get("spec").unwrap_or(&null);
        let at = Path::new("spec");
        let given = Spec::of(spec);
        if given.min.is_some() && given.max.is_some() {
            errors.invalid(&at, spec, "minAvailable and maxUnavailable cannot be both set");
        }
        for (field, value) in [("minAvailable", given.min), ("maxUnavailable", given.max)] {
            if value.is_some() {
                name::int_or_percent(value, &at.child(field), errors);
                workload::check_percent_max(value, &at.child(field), errors);
            }
        }
        check_selector(given.selector, &at.child("selector"), errors);
        if let Some(policy) = given.unhealthy {
            let text = policy.as_str().unwrap_or_default();
            let allowed = &["AlwaysAllow", "IfHealthyBudget"];
            if !allowed.contains(&text) {
                errors.not_supported(&at.child("unhealthyPodEvictionPolicy"), text, allowed);
            }
        }
    }

    fn check_update(&self, new: &Value, _old: &Value, subresource: &str, errors: &mut Errors) {
        if subresource == "status" {
            workload::check_counts(new, COUNTS, &[], "", errors);
        } else {
            self.check(new, errors);
        }
    }

    fn unconditional_update(&self) -> bool {
        false
    }

    fn columns(&self) -> &'static [Column] {
        const {
            &[
                Column::name(),
                Column::string("Min Available"),
                Column::string("Max Unavailable"),
                Column::integer("Allowed Disruptions"),
                Column::string("Age"),
            ]
        }
    }

    fn row(&self, budget: &Value, now: i64) -> Vec<Value> {
        vec![
            name_cell(budget),
            or_not_applicable(budget.at(&["spec", "minAvailable"])),
            or_not_applicable(budget.at(&["spec", "maxUnavailable"])),
            count_cell(budget, &["status", "disruptionsAllowed"]),
            age_cell(budget, now),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gantry_machinery::value;

    #[test]
    fn one_bound_at_most_a_whole() {
        let budget = value!({"spec": {"minAvailable": "101%", "maxUnavailable": (-1)}});
        let fields: Vec<String> = PodDisruptionBudgets.validate(&budget).into_iter().map(|e| e.field).collect();
        assert_eq!(fields, ["spec", "spec.minAvailable", "spec.maxUnavailable"]);
        let row = PodDisruptionBudgets.row(&value!({"spec": {"minAvailable": 1}}), 0);
        assert_eq!(row[1..4], [Value::from("1"), Value::from("N/A"), Value::Int(0)]);
    }
}
