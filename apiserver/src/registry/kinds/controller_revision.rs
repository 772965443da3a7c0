//! ControllerRevision: a past state of a controller's template, never changed.

use gantry_machinery::value::Value;

use super::cells::{age_cell, count_cell, name_cell, or_none};
use super::row;
use crate::registry::strategy::{Column, Strategy};
use crate::registry::validate::view::Held;
use crate::registry::validate::{Errors, Path, name};

/// ControllerRevisions of `apps`.
#[derive(Debug)]
pub struct ControllerRevisions;

impl Strategy for ControllerRevisions {
    row!("apps", "v1", "controllerrevisions");

    fn check(&self, revision: &Value, errors: &mut Errors) {
        if revision.get("data").is_none_or(Value::is_null) {
            errors.required(&Path::new("data"), "data is mandatory");
        }
        name::non_negative(revision.get("revision").number(), &Path::new("revision"), errors);
    }

    fn check_update(&self, new: &Value, old: &Value, _subresource: &str, errors: &mut Errors) {
        self.check(new, errors);
        errors.immutable(&Path::new("data"), new.get("data"), old.get("data"));
    }

    fn columns(&self) -> &'static [Column] {
        const { &[Column::name(), Column::string("Controller"), Column::integer("Revision"), Column::string("Age")] }
    }

    fn row(&self, revision: &Value, now: i64) -> Vec<Value> {
        let owners = revision.array_at(&["metadata", "ownerReferences"]);
        let owner = owners.iter().find(|o| o.get("controller").truth()).map(|o| {
            let kind = o.get("kind").text().to_lowercase();
            let name = o.get("name").text();
            match o.get("apiVersion").text().split_once('/') {
                Some((group, _)) => format!("{kind}.{group}/{name}"),
                None => format!("{kind}/{name}"),
            }
        });
        vec![
            name_cell(revision),
            or_none(&owner.unwrap_or_default()),
            count_cell(revision, &["revision"]),
            age_cell(revision, now),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gantry_machinery::value;

    #[test]
    fn the_row_names_the_controller() {
        let revision = value!({"metadata": {"name": "r", "ownerReferences": [
            {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "db", "controller": true}]}, "revision": 2});
        let row = ControllerRevisions.row(&revision, 0);
        assert_eq!(row[1].as_str(), Some("statefulset.apps/db"));
        assert_eq!(row[2], Value::Int(2));
    }

    #[test]
    fn the_data_is_immutable() {
        let old = value!({"data": {"a": 1}});
        let new = value!({"data": {"a": 2}});
        assert_eq!(ControllerRevisions.validate_update(&new, &old, "")[0].field, "data");
    }
}
