//! Templates of pods, and the selectors of the controllers that hold them.

use gantry_machinery::value::Value;

use super::labels::{check_annotations, check_labels, check_selector, is_empty_selector, selects};
use super::pod_spec::{Owner, check_spec};
use super::view::Held;
use super::{Errors, Path, security};

/// A pod template, after defaulting.
pub fn check_template(template: &Value, at: &Path<'_>, errors: &mut Errors) {
    let meta = template.get("metadata").unwrap_or(&Value::Null);
    let spec = template.get("spec").unwrap_or(&Value::Null);
    // Upstream leaves `metadata` out of these paths.
    check_labels(meta.get("labels"), &at.child("labels"), errors);
    check_annotations(meta.get("annotations"), &at.child("annotations"), errors);
    if let Some(annotations) = meta.get("annotations") {
        security::check_annotations(annotations, spec, &at.child("annotations"), errors);
    }
    let spec_at = at.child("spec");
    check_spec(spec, Owner::Template, &spec_at, errors);
    if !spec.get("ephemeralContainers").items().is_empty() {
        let detail = "ephemeral containers not allowed in pod template";
        errors.forbidden(&spec_at.child("ephemeralContainers"), detail);
    }
}

/// The selector of a controller: required, valid, not empty (`empty` says so in the kind's words).
pub fn check_controller_selector(spec: &Value, empty: &str, at: &Path<'_>, errors: &mut Errors) {
    let at = at.child("selector");
    match spec.get("selector").filter(|s| !s.is_null()) {
        None => errors.required(&at, ""),
        Some(selector) => {
            check_selector(Some(selector), &at, errors);
            if is_empty_selector(selector) {
                errors.invalid(&at, selector, empty);
            }
        }
    }
}

/// The template of a controller must be one that its selector takes, and must restart its containers.
pub fn check_controller_template(spec: &Value, controller: &str, at: &Path<'_>, errors: &mut Errors) {
    let at = at.child("template");
    let template = spec.get("template").unwrap_or(&Value::Null);
    let labels = template.at(&["metadata", "labels"]);
    // No selector at all takes nothing; an empty one is somebody else's error.
    let selector = spec.get("selector").filter(|s| !s.is_null());
    if selector.is_none_or(|s| !is_empty_selector(s) && !selects(s, labels)) {
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
        let detail = format!("activeDeadlineSeconds in {controller} is not Supported");
        errors.forbidden(&spec_at.child("activeDeadlineSeconds"), detail);
    }
}
