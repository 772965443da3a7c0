//! What the controllers of pods have in common: counts in their status, rolling updates, templates, wide columns.

use gantry_machinery::value::Value;

use super::field::fill_with;
use super::pod::{defaults, warnings};
use crate::registry::strategy::{Column, keep, keep_all_but_status};
use crate::registry::validate::view::Held;
use crate::registry::validate::{Errors, Path, name};

/// The columns that `-o wide` adds.
pub(super) const CONTAINERS: Column = Column::string("Containers").wide();
/// The images of those containers.
pub(super) const IMAGES: Column = Column::string("Images").wide();
/// The selector.
pub(super) const SELECTOR: Column = Column::string("Selector").wide();

/// Fills in the template at `spec.template`.
pub(super) fn default_template(object: &mut Value) {
    let spec = object.force_object().object_entry("spec");
    defaults::template(spec.object_entry("template"));
}

/// An object of a kind with status always shows one.
pub(super) fn default_status(object: &mut Value) {
    fill_with(object.force_object(), "status", Value::object);
}

/// A status write changes neither spec nor labels; any other write leaves status.
pub(super) fn prepare_for_update(new: &mut Value, old: &Value, subresource: &str) {
    if subresource == "status" {
        keep_all_but_status(new, old);
        keep_labels(new, old);
    } else {
        keep(new, old, "status");
    }
}

fn keep_labels(new: &mut Value, old: &Value) {
    match old.at(&["metadata", "labels"]) {
        Some(labels) => new.set(&["metadata", "labels"], labels.clone()),
        None => {
            new.remove(&["metadata", "labels"]);
        }
    }
}

/// Counts of a status: none negative, none of `bounded` above `replicas`, and no more available than ready (`ready` is
/// what that field is called in the error).
pub(super) fn check_counts(object: &Value, counts: &[&str], bounded: &[&str], ready: &str, errors: &mut Errors) {
    let at = Path::new("status");
    let count = |field: &str| object.at(&["status", field]).number();
    for field in counts {
        name::non_negative(count(field), &at.child(field), errors);
    }
    for field in bounded {
        if count(field) > count("replicas") {
            errors.invalid(&at.child(field), count(field), "cannot be greater than status.replicas");
        }
    }
    if bounded.contains(&"availableReplicas") && count("availableReplicas") > count("readyReplicas") {
        let value = count("availableReplicas");
        errors.invalid(&at.child("availableReplicas"), value, format!("cannot be greater than {ready}"));
    }
}

/// A count that an update of status may not take back.
pub(super) fn check_collisions(new: &Value, old: &Value, errors: &mut Errors) {
    let count = |o: &Value| o.at(&["status", "collisionCount"]).int();
    if let Some(before) = count(old)
        && count(new).unwrap_or(0) < before
    {
        let at = Path::new("status.collisionCount");
        errors.invalid(&at, count(new).unwrap_or(0), "cannot be decremented");
    }
}

/// Whether a number or percentage is none at all.
pub(super) fn is_zero(value: Option<&Value>) -> bool {
    match value {
        Some(Value::String(_)) => name::percent_of(value) == Some(0),
        other => other.number() == 0,
    }
}

/// A percentage above 100 is refused.
pub(super) fn check_percent_max(value: Option<&Value>, at: &Path<'_>, errors: &mut Errors) {
    if name::percent_of(value).is_some_and(|p| p > 100) {
        errors.invalid(at, value, "must not be greater than 100%");
    }
}

/// The warnings for the template at `spec.template`, unless it is the old one.
pub(super) fn template_warnings(new: &Value, old: Option<&Value>) -> Vec<String> {
    let template = |o: &Value| o.at(&["spec", "template"]).cloned();
    let before = old.and_then(template);
    match template(new) {
        Some(now) if before.as_ref() != Some(&now) => warnings::of_template(&now, before.as_ref(), "spec.template"),
        _ => Vec::new(),
    }
}
