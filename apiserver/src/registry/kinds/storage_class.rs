//! StorageClass: who makes volumes, and how and where they are made.

use gantry_machinery::value::{Object, Value};

use super::cells::{age_cell, or_unknown, text_cell};
use super::field::fill;
use super::row;
use crate::registry::strategy::{Column, Strategy};
use crate::registry::validate::view::Held;
use crate::registry::validate::{Errors, Path, name, same, security};

/// StorageClasses of `storage.k8s.io`.
#[derive(Debug)]
pub struct StorageClasses;

impl Strategy for StorageClasses {
    row!("storage.k8s.io", "v1", "storageclasses");

    fn default(&self, class: &mut Value) {
        let class: &mut Object = class.force_object();
        fill(class, "reclaimPolicy", "Delete");
        fill(class, "volumeBindingMode", "Immediate");
    }

    fn check(&self, class: &Value, errors: &mut Errors) {
        let at = Path::new("provisioner");
        match class.get("provisioner").text() {
            "" => errors.required(&at, ""),
            text => {
                for wrong in gantry_machinery::names::qualified_name(&text.to_lowercase()) {
                    errors.invalid(&at, text, wrong);
                }
            }
        }
        check_parameters(class.get("parameters"), &Path::new("parameters"), errors);
        let policies = &["Delete", "Retain"];
        security::check_choice(class.get("reclaimPolicy"), policies, &Path::new("reclaimPolicy"), errors);
        let modes = &["Immediate", "WaitForFirstConsumer"];
        name::one_of(class.get("volumeBindingMode").text(), modes, &Path::new("volumeBindingMode"), errors);
        check_topologies(class.get("allowedTopologies").items(), &Path::new("allowedTopologies"), errors);
    }

    fn check_update(&self, new: &Value, old: &Value, _subresource: &str, errors: &mut Errors) {
        self.check(new, errors);
        for field in ["parameters", "provisioner", "reclaimPolicy"] {
            if !same(new.get(field), old.get(field)) {
                errors.forbidden(&Path::new(field), format!("updates to {field} are forbidden."));
            }
        }
        let field = "volumeBindingMode";
        errors.immutable(&Path::new(field), new.get(field), old.get(field));
    }

    fn columns(&self) -> &'static [Column] {
        const {
            &[
                Column::name(),
                Column::string("Provisioner"),
                Column::string("ReclaimPolicy"),
                Column::string("VolumeBindingMode"),
                Column::string("AllowVolumeExpansion"),
                Column::string("Age"),
            ]
        }
    }

    fn row(&self, class: &Value, now: i64) -> Vec<Value> {
        let annotation = "storageclass.kubernetes.io/is-default-class";
        let default = class.at(&["metadata", "annotations", annotation]).text() == "true";
        let mut name = class.at(&["metadata", "name"]).text().to_owned();
        if default {
            name.push_str(" (default)");
        }
        vec![
            Value::from(name),
            text_cell(class, &["provisioner"]),
            or_unknown(class.get("reclaimPolicy").text()),
            or_unknown(class.get("volumeBindingMode").text()),
            Value::Bool(class.get("allowVolumeExpansion").truth()),
            age_cell(class, now),
        ]
    }
}

const PARAMETERS_MAX: usize = 512;
const PARAMETERS_BYTES_MAX: usize = 256 * 1024;

/// What a class hands to its driver: so many keys, none empty, so many bytes.
pub(super) fn check_parameters(parameters: Option<&Value>, at: &Path<'_>, errors: &mut Errors) {
    if parameters.entries().count() > PARAMETERS_MAX {
        return errors.too_long(at, PARAMETERS_MAX);
    }
    let mut size = 0;
    for (key, value) in parameters.entries() {
        if key.is_empty() {
            errors.invalid(at, key, "field can not be empty.");
        }
        size += key.len() + Some(value).text().len();
    }
    if size > PARAMETERS_BYTES_MAX {
        errors.too_long(at, PARAMETERS_BYTES_MAX);
    }
}

/// Where volumes may be made: terms that differ, each of labels that differ, each with values that differ.
fn check_topologies(terms: &[Value], at: &Path<'_>, errors: &mut Errors) {
    // A term as what it means: its keys and the sets of their values.
    let meaning = |term: &Value| {
        let mut keys: Vec<(String, Vec<String>)> = Vec::new();
        for expression in term.get("matchLabelExpressions").items() {
            let values = expression.get("values").items();
            let mut values: Vec<String> = values.iter().map(|v| Some(v).text().to_owned()).collect();
            values.sort_unstable();
            values.dedup();
            let key = expression.get("key").text().to_owned();
            keys.retain(|(other, _)| *other != key);
            keys.push((key, values));
        }
        keys.sort_unstable();
        keys
    };
    for (n, term) in terms.iter().enumerate() {
        let term_at = at.index(n);
        let list_at = term_at.child("matchLabelExpressions");
        let expressions = term.get("matchLabelExpressions").items();
        for (n, expression) in expressions.iter().enumerate() {
            let at = list_at.index(n);
            let values_at = at.child("values");
            let values = expression.get("values").items();
            if values.is_empty() {
                errors.required(&values_at, "");
            }
            for (n, value) in values.iter().enumerate() {
                if values[..n].contains(value) {
                    errors.duplicate(&values_at.index(n), value);
                }
            }
            let key = expression.get("key").text();
            name::qualified(key, &at.child("key"), errors);
            if expressions[..n].iter().any(|other| other.get("key").text() == key) {
                errors.duplicate(&at.child("key"), key);
            }
        }
        if terms[..n].iter().any(|other| meaning(other) == meaning(term)) {
            errors.duplicate(&list_at, "");
        }
    }
}
