//! Labels, and the selectors that choose by them.

use gantry_machinery::value::Value;

use super::view::{Held, view};
use super::{Errors, Path, name};

/// A map of labels (also a `nodeSelector`).
pub fn check_labels(labels: Option<&Value>, at: &Path<'_>, errors: &mut Errors) {
    for (key, value) in labels.entries() {
        name::qualified(key, at, errors);
        name::label_value(value.as_str().unwrap_or_default(), at, errors);
    }
}

/// A map of annotations: keys are qualified names, all together at most 256 KiB.
pub fn check_annotations(annotations: Option<&Value>, at: &Path<'_>, errors: &mut Errors) {
    let mut size = 0;
    for (key, value) in annotations.entries() {
        // Upstream checks the key in lower case.
        if key.bytes().any(|b| b.is_ascii_uppercase()) {
            name::qualified(&key.to_lowercase(), at, errors);
        } else {
            name::qualified(key, at, errors);
        }
        size += key.len() + value.as_str().map_or(0, str::len);
    }
    if size > gantry_machinery::names::ANNOTATIONS_MAX {
        errors.too_long(at, gantry_machinery::names::ANNOTATIONS_MAX);
    }
}

view! {
    struct Requirement { key: "key", operator: "operator", values: "values" }
}

/// A `LabelSelector`, if there is one.
pub fn check_selector(selector: Option<&Value>, at: &Path<'_>, errors: &mut Errors) {
    let Some(selector) = selector else { return };
    check_labels(selector.get("matchLabels"), &at.child("matchLabels"), errors);
    let expressions = at.child("matchExpressions");
    for (n, expression) in selector.get("matchExpressions").items().iter().enumerate() {
        check_requirement(&Requirement::of(expression), &expressions.index(n), errors);
    }
}

fn check_requirement(requirement: &Requirement<'_>, at: &Path<'_>, errors: &mut Errors) {
    let values = requirement.values.items();
    match requirement.operator.text() {
        "In" | "NotIn" => {
            if values.is_empty() {
                errors.required(&at.child("values"), "must be specified when `operator` is 'In' or 'NotIn'");
            }
        }
        "Exists" | "DoesNotExist" => {
            if !values.is_empty() {
                let detail = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                errors.forbidden(&at.child("values"), detail);
            }
        }
        other => errors.invalid(&at.child("operator"), other, "not a valid selector operator"),
    }
    name::qualified(requirement.key.text(), &at.child("key"), errors);
    let list = at.child("values");
    for (n, value) in values.iter().enumerate() {
        name::label_value(value.as_str().unwrap_or_default(), &list.index(n), errors);
    }
}

/// Whether a `LabelSelector` names no label at all, which selects everything.
#[must_use]
pub fn is_empty_selector(selector: &Value) -> bool {
    selector.get("matchLabels").entries().next().is_none() && selector.get("matchExpressions").items().is_empty()
}

/// Whether a (valid) `LabelSelector` takes these labels.
#[must_use]
pub fn selects(selector: &Value, labels: Option<&Value>) -> bool {
    let label = |key: &str| labels?.get(key)?.as_str();
    selector.get("matchLabels").entries().all(|(key, value)| label(key) == value.as_str())
        && selector.get("matchExpressions").items().iter().all(|expression| {
            let requirement = Requirement::of(expression);
            let found = label(requirement.key.text());
            let listed = found.is_some_and(|f| requirement.values.items().iter().any(|v| v.as_str() == Some(f)));
            match requirement.operator.text() {
                "In" => listed,
                "NotIn" => !listed,
                "Exists" => found.is_some(),
                "DoesNotExist" => found.is_none(),
                _ => false,
            }
        })
}

/// A `NodeSelector`: at least one term.
pub fn check_node_selector(selector: &Value, at: &Path<'_>, errors: &mut Errors) {
    let terms = at.child("nodeSelectorTerms");
    let given = selector.get("nodeSelectorTerms").items();
    if given.is_empty() {
        return errors.required(&terms, "must have at least one node selector term");
    }
    for (n, term) in given.iter().enumerate() {
        check_node_term(term, Wish::Required, &terms.index(n), errors);
    }
}

/// How much a term of a `NodeSelector` is meant: the values that a node must have are checked, those that it had better
/// have may be anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// The node must match.
    Required,
    /// The node should match.
    Preferred,
}

/// One term of a `NodeSelector`.
pub fn check_node_term(term: &Value, wish: Wish, at: &Path<'_>, errors: &mut Errors) {
    let expressions = at.child("matchExpressions");
    for (n, expression) in term.get("matchExpressions").items().iter().enumerate() {
        check_node_requirement(&Requirement::of(expression), wish, &expressions.index(n), errors);
    }
    let fields = at.child("matchFields");
    for (n, field) in term.get("matchFields").items().iter().enumerate() {
        check_node_field(&Requirement::of(field), &fields.index(n), errors);
    }
}

fn check_node_requirement(requirement: &Requirement<'_>, wish: Wish, at: &Path<'_>, errors: &mut Errors) {
    let values = requirement.values.items();
    match requirement.operator.text() {
        "In" | "NotIn" => {
            if values.is_empty() {
                errors.required(&at.child("values"), "must be specified when `operator` is 'In' or 'NotIn'");
            }
        }
        "Exists" | "DoesNotExist" => {
            if !values.is_empty() {
                let detail = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                errors.forbidden(&at.child("values"), detail);
            }
        }
        "Gt" | "Lt" => {
            if values.len() != 1 {
                let detail = "must be specified single value when `operator` is 'Lt' or 'Gt'";
                errors.required(&at.child("values"), detail);
            }
        }
        other => errors.invalid(&at.child("operator"), other, "not a valid selector operator"),
    }
    name::qualified(requirement.key.text(), &at.child("key"), errors);
    if wish == Wish::Required {
        let list = at.child("values");
        for (n, value) in values.iter().enumerate() {
            name::label_value(value.as_str().unwrap_or_default(), &list.index(n), errors);
        }
    }
}

fn check_node_field(requirement: &Requirement<'_>, at: &Path<'_>, errors: &mut Errors) {
    let values = requirement.values.items();
    match requirement.operator.text() {
        "In" | "NotIn" => {
            if values.len() != 1 {
                let detail = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector";
                errors.required(&at.child("values"), detail);
            }
        }
        other => errors.invalid(&at.child("operator"), other, "not a valid selector operator"),
    }
    match requirement.key.text() {
        "metadata.name" => {
            let list = at.child("values");
            for (n, value) in values.iter().enumerate() {
                name::subdomain(value.as_str().unwrap_or_default(), &list.index(n), errors);
            }
        }
        other => errors.invalid(&at.child("key"), other, "not a valid field selector key"),
    }
}
