//! What may change in a pod that exists: nearly nothing of its spec.

use gantry_machinery::names;
use gantry_machinery::value::Value;

use super::check_whole;
use crate::registry::validate::affinity::check_tolerations;
use crate::registry::validate::container::check_image_space;
use crate::registry::validate::difference::difference;
use crate::registry::validate::view::Held;
use crate::registry::validate::{Errors, Path, same};

/// The part of the answer to a forbidden change that says what is allowed.
const MUTABLE: &str = "pod updates may not change fields other than `spec.containers[*].image`,\
`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),\
`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

pub(super) const LISTS: [&str; 2] = ["containers", "initContainers"];

/// An update of the pod itself.
pub(super) fn check(new: &Value, old: &Value, errors: &mut Errors) {
    check_whole(new, errors);
    check_annotation_changes(new, old, errors);
    let null = Value::Null;
    let (spec, was) = (new.get("spec").unwrap_or(&null), old.get("spec").unwrap_or(&null));
    let at = Path::new("spec");
    for list in LISTS {
        let at = at.child(list);
        let (now, before) = (spec.get(list).items(), was.get(list).items());
        if now.len() != before.len() {
            return errors.forbidden(&at, "pod updates may not add or remove containers");
        }
        for (n, container) in now.iter().enumerate() {
            if container.get("image").text().is_empty() {
                errors.required(&at.index(n).child("image"), "");
            }
            check_image_space(container, &at.index(n), errors);
        }
    }
    if !check_deadline(spec, was, &at.child("activeDeadlineSeconds"), errors) {
        return;
    }
    check_added_tolerations(spec, was, &at.child("tolerations"), errors);
    check_removed_gates(spec, was, &at.child("schedulingGates"), errors);
    if same(Some(spec), Some(was)) {
        return;
    }
    let munged = munge(spec, was, &at, errors);
    if !same(Some(&munged), Some(was)) {
        errors.forbidden(&at, format!("{MUTABLE}\n{}", difference(was, &munged)));
    }
}

/// Gives whether to go on.
fn check_deadline(spec: &Value, was: &Value, at: &Path<'_>, errors: &mut Errors) -> bool {
    let deadline = |spec: &Value| spec.get("activeDeadlineSeconds").int();
    match (deadline(spec), deadline(was)) {
        (Some(now), _) if !(0..=i64::from(i32::MAX)).contains(&now) => {
            errors.invalid(at, now, names::inclusive_range_error(0, i64::from(i32::MAX)));
            false
        }
        (Some(now), Some(before)) if before < now => {
            errors.invalid(at, now, "must be less than or equal to previous value");
            false
        }
        (None, Some(_)) => {
            errors.invalid(at, None::<i64>, "must not update from a positive integer to nil value");
            true
        }
        _ => true,
    }
}

fn check_added_tolerations(spec: &Value, was: &Value, at: &Path<'_>, errors: &mut Errors) {
    let now = spec.get("tolerations").items();
    let unchanged = |old: &Value, new: &Value| {
        ["key", "operator", "value", "effect"].iter().all(|field| old.get(field).text() == new.get(field).text())
    };
    if was.get("tolerations").items().iter().any(|old| !now.iter().any(|new| unchanged(old, new))) {
        return errors.forbidden(at, "existing toleration can not be modified except its tolerationSeconds");
    }
    check_tolerations(now, at, errors);
}

fn check_removed_gates(spec: &Value, was: &Value, at: &Path<'_>, errors: &mut Errors) {
    let before = was.get("schedulingGates").items();
    for (n, gate) in spec.get("schedulingGates").items().iter().enumerate() {
        let gate = gate.get("name").text();
        if !before.iter().any(|b| b.get("name").text() == gate) {
            let detail = format!("only deletion is allowed, but found new scheduling gate '{gate}'");
            errors.forbidden(&at.index(n).child("name"), detail);
        }
    }
}

/// The new spec with all that may change taken from the old one.
fn munge(spec: &Value, was: &Value, at: &Path<'_>, errors: &mut Errors) -> Value {
    let mut munged = spec.clone();
    for list in LISTS {
        let before = was.get(list).items();
        let containers = munged.get_mut(list).and_then(Value::as_array_mut);
        for (container, before) in containers.into_iter().flatten().zip(before) {
            restore(container, before, "image");
        }
    }
    for field in ["activeDeadlineSeconds", "tolerations", "schedulingGates"] {
        restore(&mut munged, was, field);
    }
    let grace = |spec: &Value| spec.get("terminationGracePeriodSeconds").int();
    if grace(was).is_some_and(|g| g < 0) && grace(&munged) == Some(1) {
        restore(&mut munged, was, "terminationGracePeriodSeconds");
    }
    if !was.get("schedulingGates").items().is_empty() {
        munge_gated(&mut munged, was, at, errors);
    }
    munged
}

/// A pod not yet offered to schedulers may still narrow where it runs (KEP-3838).
fn munge_gated(munged: &mut Value, was: &Value, at: &Path<'_>, errors: &mut Errors) {
    const SELECTOR: &str = "nodeSelector";
    if !same(munged.get(SELECTOR), was.get(SELECTOR)) {
        let kept = was.get(SELECTOR).entries().all(|(k, v)| munged.at(&[SELECTOR, k]) == Some(v));
        if !kept {
            let detail = "only additions to spec.nodeSelector are allowed (no mutations or deletions)";
            errors.invalid(&at.child(SELECTOR), munged.get(SELECTOR), detail);
        }
        restore(munged, was, SELECTOR);
    }
    let old = was.at(&["affinity", "nodeAffinity"]);
    let new = munged.at(&["affinity", "nodeAffinity"]);
    if !same(new, old) {
        check_narrowed(new, old, &at.child("affinity.nodeAffinity"), errors);
        match old {
            Some(old) => munged.set(&["affinity", "nodeAffinity"], old.clone()),
            None => {
                munged.remove(&["affinity", "nodeAffinity"]);
            }
        }
    }
}

fn check_narrowed(new: Option<&Value>, old: Option<&Value>, at: &Path<'_>, errors: &mut Errors) {
    const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
    let terms = |affinity: Option<&Value>| -> Option<Vec<Value>> {
        let required = affinity?.get(REQUIRED).filter(|r| !r.is_null())?;
        Some(required.get("nodeSelectorTerms").items().to_vec())
    };
    let Some(before) = terms(old) else { return };
    let at = at.child(REQUIRED);
    let at = at.child("nodeSelectorTerms");
    let now = terms(new).unwrap_or_default();
    if now.len() != before.len() {
        let detail = "no additions/deletions to non-empty NodeSelectorTerms list are allowed";
        return errors.invalid(&at, Value::Array(now), detail);
    }
    for (n, (now, before)) in now.iter().zip(&before).enumerate() {
        let at = at.index(n);
        let empty = |t: &Value| t.get("matchExpressions").items().is_empty() && t.get("matchFields").items().is_empty();
        if empty(before) && !empty(now) {
            let detail = "no additions/mutations are allowed to an empty NodeSelectorTerm";
            errors.invalid(&at, now, detail);
            continue;
        }
        for (field, what) in [("matchExpressions", "expressions"), ("matchFields", "fields")] {
            let (now, before) = (now.get(field).items(), before.get(field).items());
            if !now.starts_with(before) {
                let detail = format!("only additions are allowed (no mutations or deletions of {what})");
                errors.invalid(&at.child(field), Value::Array(now.to_vec()), detail);
            }
        }
    }
}

fn restore(object: &mut Value, from: &Value, field: &str) {
    crate::registry::strategy::keep(object, from, field);
}

pub(super) fn check_annotation_changes(new: &Value, old: &Value, errors: &mut Errors) {
    const MIRROR: &str = "kubernetes.io/config.mirror";
    const APP_ARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";
    let at = Path::new("metadata.annotations");
    let annotations = |pod| Value::at(pod, &["metadata", "annotations"]);
    let (now, before) = (annotations(new), annotations(old));
    for (key, value) in before.entries() {
        if now.and_then(|n| n.get(key)) == Some(value) {
            continue;
        }
        if key.starts_with(APP_ARMOR) {
            errors.forbidden(&at.key(key), "may not remove or update AppArmor annotations");
        } else if key == MIRROR {
            errors.forbidden(&at.key(key), "may not remove or update mirror pod annotation");
        }
    }
    for (key, _) in now.entries() {
        if before.and_then(|b| b.get(key)).is_some() {
            continue;
        }
        if key.starts_with(APP_ARMOR) {
            errors.forbidden(&at.key(key), "may not add AppArmor annotations");
        } else if key == MIRROR {
            errors.forbidden(&at.key(key), "may not add mirror pod annotation");
        }
    }
}

/// The new metadata's part that a subresource write keeps: who wrote, and the preconditions.
pub(super) fn take_over(new: &mut Value, old: &Value) -> Value {
    let given = std::mem::replace(new, old.clone());
    for field in ["managedFields", "resourceVersion", "uid"] {
        match given.at(&["metadata", field]) {
            Some(value) => new.set(&["metadata", field], value.clone()),
            None if field == "managedFields" => {
                new.remove(&["metadata", field]);
            }
            None => {}
        }
    }
    given
}

/// `ephemeralcontainers` writes nothing but the list.
pub(super) fn keep_all_but_ephemeral(new: &mut Value, old: &Value) {
    let mut given = take_over(new, old);
    match given.remove(&["spec", "ephemeralContainers"]) {
        Some(list) => new.set(&["spec", "ephemeralContainers"], list),
        None => {
            new.remove(&["spec", "ephemeralContainers"]);
        }
    }
}

pub(super) fn check_ephemeral(new: &Value, old: &Value, errors: &mut Errors) {
    if old.at(&["metadata", "annotations", "kubernetes.io/config.mirror"]).is_some() {
        return errors.forbidden(&Path::root(), "static pods do not support ephemeral containers");
    }
    check_whole(new, errors);
    let at = Path::new("spec.ephemeralContainers");
    let now = new.array_at(&["spec", "ephemeralContainers"]);
    for before in old.array_at(&["spec", "ephemeralContainers"]) {
        let text = before.get("name").text();
        match now.iter().find(|n| n.get("name").text() == text) {
            None => errors.forbidden(&at, format!("existing ephemeral containers {text:?} may not be removed\n")),
            Some(now) if !same(Some(now), Some(before)) => {
                let detail =
                    format!("existing ephemeral containers {text:?} may not be changed\n{}", difference(before, now));
                errors.forbidden(&at, detail);
            }
            Some(_) => {}
        }
    }
}
