//! Namespace: its phase, its label, and the finalizer that keeps it until its content is gone.

use compact_str::CompactString;
use gantry_machinery::value;
use gantry_machinery::value::Value;

use super::cells::{age_cell, name_cell, text_cell};
use super::row;
use crate::registry::strategy::{Column, Strategy, keep, keep_all_but_status};
use crate::registry::validate::view::Held;
use crate::registry::validate::{Errors, Path, name};

/// Namespaces of the core group.
#[derive(Debug)]
pub struct Namespaces;

/// The finalizer that every namespace begins with.
const FINALIZER: &str = "kubernetes";
/// The label that every namespace carries: its name.
const LABEL: &str = "kubernetes.io/metadata.name";

impl Strategy for Namespaces {
    row!("", "v1", "namespaces");

    fn name_errors(&self, name: &str, prefix: bool) -> Vec<String> {
        name::label_errors(name, prefix)
    }

    fn prepare_for_create(&self, namespace: &mut Value) {
        namespace.set(&["status"], value!({"phase": "Active"}));
        let spec = namespace.force_object().object_entry("spec");
        match spec.entry("finalizers") {
            Value::Array(list) if list.iter().any(|f| f.as_str() == Some(FINALIZER)) => {}
            Value::Array(list) => list.push(Value::from(FINALIZER)),
            other => *other = Value::Array(vec![Value::from(FINALIZER)]),
        }
    }

    fn default(&self, namespace: &mut Value) {
        let name = CompactString::from(namespace.at(&["metadata", "name"]).text());
        if !name.is_empty() && namespace.str_at(&["metadata", "labels", LABEL]) != Some(&name) {
            namespace.set(&["metadata", "labels", LABEL], name);
        }
        if namespace.at(&["status", "phase"]).text().is_empty() {
            namespace.set(&["status", "phase"], "Active");
        }
    }

    fn check(&self, namespace: &Value, errors: &mut Errors) {
        let at = Path::new("spec.finalizers");
        for finalizer in namespace.array_at(&["spec", "finalizers"]) {
            let text = finalizer.as_str().unwrap_or_default();
            name::qualified(text, &at, errors);
            if !text.contains('/') && text != FINALIZER {
                errors.invalid(&at, text, "name is neither a standard finalizer name nor is it fully qualified");
            }
        }
    }

    fn prepare_for_update(&self, new: &mut Value, old: &Value, subresource: &str) {
        match subresource {
            "status" => keep_all_but_status(new, old),
            "finalize" => keep(new, old, "status"),
            _ => {
                keep(new, old, "status");
                keep(new, old, "spec");
            }
        }
    }

    fn check_update(&self, new: &Value, _old: &Value, subresource: &str, errors: &mut Errors) {
        match subresource {
            "status" => {
                let at = Path::new("status.Phase");
                let phase = new.at(&["status", "phase"]).text();
                let going = new.at(&["metadata", "deletionTimestamp"]).is_some();
                if !going && phase != "Active" {
                    errors.invalid(&at, phase, "may only be 'Active' if `deletionTimestamp` is empty");
                } else if going && phase != "Terminating" {
                    errors.invalid(&at, phase, "may only be 'Terminating' if `deletionTimestamp` is not empty");
                }
            }
            _ => self.check(new, errors),
        }
    }

    fn has_generation(&self) -> bool {
        false
    }

    fn selectable_fields(&self) -> &'static [&'static str] {
        // `name` is an old alias of metadata.name.
        &["name", "status.phase"]
    }

    fn fields(&self, namespace: &Value) -> Vec<(&'static str, CompactString)> {
        vec![
            ("name", namespace.at(&["metadata", "name"]).text().into()),
            ("status.phase", namespace.at(&["status", "phase"]).text().into()),
        ]
    }

    fn columns(&self) -> &'static [Column] {
        const { &[Column::name(), Column::string("Status"), Column::string("Age")] }
    }

    fn row(&self, namespace: &Value, now: i64) -> Vec<Value> {
        vec![name_cell(namespace), text_cell(namespace, &["status", "phase"]), age_cell(namespace, now)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_namespace_has_phase_finalizer_and_label() {
        let mut namespace = value!({"metadata": {"name": "a"}, "status": {"phase": "Terminating"}});
        Namespaces.prepare_for_create(&mut namespace);
        Namespaces.default(&mut namespace);
        assert_eq!(
            namespace,
            value!({
                "metadata": {"name": "a", "labels": {"kubernetes.io/metadata.name": "a"}},
                "status": {"phase": "Active"},
                "spec": {"finalizers": ["kubernetes"]},
            })
        );
        assert!(Namespaces.validate(&namespace).is_empty());
    }

    #[test]
    fn only_finalize_changes_finalizers() {
        let old = value!({"metadata": {"name": "a"}, "spec": {"finalizers": ["kubernetes"]}});
        let mut new = value!({"metadata": {"name": "a"}, "spec": {"finalizers": []}});
        let mut plain = new.clone();
        Namespaces.prepare_for_update(&mut plain, &old, "");
        assert_eq!(plain.at(&["spec"]), old.at(&["spec"]));
        Namespaces.prepare_for_update(&mut new, &old, "finalize");
        assert!(new.array_at(&["spec", "finalizers"]).is_empty());
    }
}
