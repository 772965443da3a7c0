//! ReplicaSet: so many pods that a selector takes.

use gantry_machinery::value::Value;

use super::cells::{age_cell, container_cells, count_cell, name_cell, selector_cell};
use super::field::fill_with;
use super::{row, workload};
use crate::registry::strategy::{Column, Strategy};
use crate::registry::validate::template::{check_controller_selector, check_controller_template};
use crate::registry::validate::view::Held;
use crate::registry::validate::{Errors, Path, name};

/// ReplicaSets of `apps`.
#[derive(Debug)]
pub struct ReplicaSets;

/// The columns of ReplicaSets and ReplicationControllers.
pub(super) const COLUMNS: &[Column] = &[
    Column::name(),
    Column::integer("Desired"),
    Column::integer("Current"),
    Column::integer("Ready"),
    Column::string("Age"),
    workload::CONTAINERS,
    workload::IMAGES,
    workload::SELECTOR,
];

/// The counts of their status, all of them bounded by `replicas`.
pub(super) const COUNTS: &[&str] =
    &["replicas", "fullyLabeledReplicas", "readyReplicas", "availableReplicas", "observedGeneration"];

impl Strategy for ReplicaSets {
    row!("apps", "v1", "replicasets");

    fn prepare_for_create(&self, set: &mut Value) {
        set.set(&["status"], gantry_machinery::value!({"replicas": 0}));
    }

    fn default(&self, set: &mut Value) {
        workload::default_template(set);
        fill_with(set.force_object().object_entry("spec"), "replicas", || Value::Int(1));
        // No pointer upstream: always shown.
        fill_with(set.force_object().object_entry("status"), "replicas", || Value::Int(0));
    }

    fn check(&self, set: &Value, errors: &mut Errors) {
        let null = Value::Null;
        let spec = set.get("spec").unwrap_or(&null);
        let at = Path::new("spec");
        for field in ["replicas", "minReadySeconds"] {
            name::non_negative(spec.get(field).number(), &at.child(field), errors);
        }
        check_controller_selector(spec, "empty selector is invalid for deployment", &at, errors);
        check_controller_template(spec, "ReplicaSet", &at, errors);
    }

    fn prepare_for_update(&self, new: &mut Value, old: &Value, subresource: &str) {
        workload::prepare_for_update(new, old, subresource);
    }

    fn check_update(&self, new: &Value, old: &Value, subresource: &str, errors: &mut Errors) {
        if subresource == "status" {
            return workload::check_counts(new, COUNTS, &COUNTS[1..4], "readyReplicas", errors);
        }
        self.check(new, errors);
        let selector = ["spec", "selector"];
        errors.immutable(&Path::new("spec.selector"), new.at(&selector), old.at(&selector));
    }

    fn warnings(&self, new: &Value, old: Option<&Value>) -> Vec<String> {
        workload::template_warnings(new, old)
    }

    fn columns(&self) -> &'static [Column] {
        COLUMNS
    }

    fn row(&self, set: &Value, now: i64) -> Vec<Value> {
        row_of(set, selector_cell(set.at(&["spec", "selector"])), now)
    }
}

/// The row of a ReplicaSet or ReplicationController.
pub(super) fn row_of(set: &Value, selector: Value, now: i64) -> Vec<Value> {
    let [containers, images] = container_cells(set.at(&["spec", "template"]));
    vec![
        name_cell(set),
        count_cell(set, &["spec", "replicas"]),
        count_cell(set, &["status", "replicas"]),
        count_cell(set, &["status", "readyReplicas"]),
        age_cell(set, now),
        containers,
        images,
        selector,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use gantry_machinery::value;

    #[test]
    fn counts_fit_together() {
        let set = value!({"status": {"replicas": 1, "readyReplicas": 2, "availableReplicas": 3}});
        let found: Vec<String> =
            ReplicaSets.validate_update(&set, &set, "status").iter().map(ToString::to_string).collect();
        assert_eq!(
            found,
            [
                "status.readyReplicas: Invalid value: 2: cannot be greater than status.replicas",
                "status.availableReplicas: Invalid value: 3: cannot be greater than status.replicas",
                "status.availableReplicas: Invalid value: 3: cannot be greater than readyReplicas",
            ]
        );
    }

    #[test]
    fn the_row_counts() {
        let set = value!({
            "metadata": {"name": "r"},
            "spec": {"replicas": 3, "selector": {"matchExpressions": [{"key": "a", "operator": "In", "values": ["c", "b"]}]}},
            "status": {"replicas": 2, "readyReplicas": 1},
        });
        let row = ReplicaSets.row(&set, 0);
        assert_eq!(row[1..4], [Value::Int(3), Value::Int(2), Value::Int(1)]);
        assert_eq!(row[7].as_str(), Some("a in (b,c)"));
    }
}
