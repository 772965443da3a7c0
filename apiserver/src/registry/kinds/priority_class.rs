//! PriorityClass: how important pods are.

use gantry_machinery::value::Value;

use super::cells::{age_cell, count_cell, name_cell, text_cell};
use super::field::fill;
use super::row;
use crate::registry::strategy::{Column, Strategy};
use crate::registry::validate::view::Held;
use crate::registry::validate::{Errors, Path, name};

/// PriorityClasses of `scheduling.k8s.io`.
#[derive(Debug)]
pub struct PriorityClasses;

/// The highest priority of a user's class.
const USER_MAX: i64 = 1_000_000_000;
/// The two classes of the system.
const SYSTEM: [(&str, i64); 2] = [("system-node-critical", 2_000_001_000), ("system-cluster-critical", 2_000_000_000)];

impl Strategy for PriorityClasses {
    row!("scheduling.k8s.io", "v1", "priorityclasses");

    fn default(&self, class: &mut Value) {
        fill(class.force_object(), "preemptionPolicy", "PreemptLowerPriority");
    }

    fn check(&self, class: &Value, errors: &mut Errors) {
        let (text, value) = (class.at(&["metadata", "name"]).text(), class.get("value").number());
        if text.starts_with("system-") {
            let wrong = match SYSTEM.iter().find(|(name, _)| *name == text) {
                None => format!("{text} is not a known system priority class"),
                Some((_, at)) if *at != value => format!("value of {text} PriorityClass must be {at}"),
                Some(_) if class.get("globalDefault").truth() => {
                    format!("globalDefault of {text} PriorityClass must be false")
                }
                Some(_) => String::new(),
            };
            if !wrong.is_empty() {
                let detail = format!(
                    "priority class names with 'system-' prefix are reserved for system use only. error: {wrong}"
                );
                errors.forbidden(&Path::new("metadata.name"), detail);
            }
        } else if value > USER_MAX {
            let detail = format!("maximum allowed value of a user defined priority is {USER_MAX}");
            errors.forbidden(&Path::new("value"), detail);
        }
        if let Some(policy) = class.str_at(&["preemptionPolicy"]) {
            name::one_of(policy, &["PreemptLowerPriority", "Never"], &Path::new("preemptionPolicy"), errors);
        }
    }

    fn check_update(&self, new: &Value, old: &Value, _subresource: &str, errors: &mut Errors) {
        if new.get("value").number() != old.get("value").number() {
            errors.forbidden(&Path::new("value"), "may not be changed in an update.");
        }
        let field = "preemptionPolicy";
        errors.immutable(&Path::new(field), new.get(field), old.get(field));
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn generation_changed(&self, _new: &Value, _old: &Value) -> bool {
        false
    }

    fn columns(&self) -> &'static [Column] {
        const {
            &[
                Column::name(),
                Column::integer("Value"),
                Column::string("Global-Default"),
                Column::string("Age"),
                Column::string("PreemptionPolicy"),
            ]
        }
    }

    fn row(&self, class: &Value, now: i64) -> Vec<Value> {
        vec![
            name_cell(class),
            count_cell(class, &["value"]),
            Value::Bool(class.get("globalDefault").truth()),
            age_cell(class, now),
            text_cell(class, &["preemptionPolicy"]),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gantry_machinery::value;

    #[test]
    fn the_systems_names_and_heights_are_its_own() {
        let fields =
            |class: Value| -> Vec<String> { PriorityClasses.validate(&class).into_iter().map(|e| e.field).collect() };
        assert_eq!(fields(value!({"metadata": {"name": "a"}, "value": 1000000001})), ["value"]);
        assert_eq!(fields(value!({"metadata": {"name": "system-mine"}, "value": 1})), ["metadata.name"]);
        assert!(fields(value!({"metadata": {"name": "system-node-critical"}, "value": 2000001000})).is_empty());
    }

    #[test]
    fn the_value_stays() {
        let (old, new) = (value!({"value": 1}), value!({"value": 2}));
        assert_eq!(PriorityClasses.validate_update(&new, &old, "")[0].detail, "may not be changed in an update.");
    }
}
