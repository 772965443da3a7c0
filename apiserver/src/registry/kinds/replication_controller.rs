//! ReplicationController: a ReplicaSet of old, with a plain map for a selector.

use compact_str::CompactString;
use gantry_machinery::value::Value;

use super::cells::labels_cell;
use super::field::fill_with;
use super::{replica_set, row, workload};
use crate::registry::strategy::{Column, Strategy};
use crate::registry::validate::template::check_template;
use crate::registry::validate::view::Held;
use crate::registry::validate::{Errors, Path, name};

/// ReplicationControllers of the core group.
#[derive(Debug)]
pub struct ReplicationControllers;

impl Strategy for ReplicationControllers {
    row!("", "v1", "replicationcontrollers");

    fn prepare_for_create(&self, controller: &mut Value) {
        controller.set(&["status"], gantry_machinery::value!({"replicas": 0}));
    }

    fn default(&self, controller: &mut Value) {
        if controller.at(&["spec", "template"]).is_some_and(|t| !t.is_null()) {
            workload::default_template(controller);
        }
        let empty = |v: Option<&Value>| v.entries().next().is_none();
        if let Some(labels) = controller.at(&["spec", "template", "metadata", "labels"]).cloned() {
            if empty(controller.at(&["spec", "selector"])) {
                controller.set(&["spec", "selector"], labels.clone());
            }
            if empty(controller.at(&["metadata", "labels"])) {
                controller.set(&["metadata", "labels"], labels);
            }
        }
        fill_with(controller.force_object().object_entry("spec"), "replicas", || Value::Int(1));
        fill_with(controller.force_object().object_entry("status"), "replicas", || Value::Int(0));
    }

    fn check(&self, controller: &Value, errors: &mut Errors) {
        let null = Value::Null;
        let spec = controller.get("spec").unwrap_or(&null);
        let at = Path::new("spec");
        name::non_negative(spec.get("minReadySeconds").number(), &at.child("minReadySeconds"), errors);
        let selector = spec.get("selector");
        if selector.entries().next().is_none() {
            errors.required(&at.child("selector"), "");
        }
        name::non_negative(spec.get("replicas").number(), &at.child("replicas"), errors);
        let at = at.child("template");
        let Some(template) = spec.get("template").filter(|t| !t.is_null()) else {
            return errors.required(&at, "");
        };
        let labels = template.at(&["metadata", "labels"]);
        if !selector.entries().all(|(key, value)| labels.and_then(|l| l.get(key)) == Some(value)) {
            let empty = Value::object();
            let detail = "`selector` does not match template `labels`";
            errors.invalid(&at.child("metadata.labels"), labels.unwrap_or(&empty), detail);
        }
        check_template(template, &at, errors);
        let spec_at = at.child("spec");
        let policy = template.at(&["spec", "restartPolicy"]).text();
        if policy != "Always" {
            errors.not_supported(&spec_at.child("restartPolicy"), policy, &["Always"]);
        }
        if template.at(&["spec", "activeDeadlineSeconds"]).is_some() {
            let detail = "activeDeadlineSeconds in ReplicationController is not Supported";
            errors.forbidden(&spec_at.child("activeDeadlineSeconds"), detail);
        }
    }

    fn check_update(&self, new: &Value, _old: &Value, subresource: &str, errors: &mut Errors) {
        if subresource == "status" {
            let counts = replica_set::COUNTS;
            workload::check_counts(new, counts, &counts[1..4], "readyReplicas", errors);
        } else {
            self.check(new, errors);
        }
    }

    fn selectable_fields(&self) -> &'static [&'static str] {
        &["status.replicas"]
    }

    fn fields(&self, controller: &Value) -> Vec<(&'static str, CompactString)> {
        let count = controller.at(&["status", "replicas"]).number();
        vec![("status.replicas", CompactString::from(itoa::Buffer::new().format(count)))]
    }

    fn columns(&self) -> &'static [Column] {
        replica_set::COLUMNS
    }

    fn row(&self, controller: &Value, now: i64) -> Vec<Value> {
        replica_set::row_of(controller, labels_cell(controller.at(&["spec", "selector"])), now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gantry_machinery::value;

    #[test]
    fn the_template_lends_its_labels() {
        let mut controller = value!({"spec": {"template": {
            "metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}});
        ReplicationControllers.default(&mut controller);
        assert_eq!(controller.at(&["spec", "selector"]), Some(&value!({"a": "b"})));
        assert_eq!(controller.at(&["metadata", "labels"]), Some(&value!({"a": "b"})));
        assert!(ReplicationControllers.validate(&controller).is_empty());
    }
}
