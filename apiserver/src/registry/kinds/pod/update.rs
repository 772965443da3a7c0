//! What may change in a pod that exists: nearly nothing of its spec, and its status along certain lines.

use gantry_machinery::names;
use gantry_machinery::value::Value;

use super::{check_whole, qos};
use crate::registry::validate::affinity::check_tolerations;
use crate::registry::validate::difference::difference;
use crate::registry::validate::view::Held;
use crate::registry::validate::{Errors, Path, name, same};

/// The part of the answer to a forbidden change that says what is allowed.
const MUTABLE: &str = "pod updates may not change fields other than `spec.containers[*].image`,\
`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),\
`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

const LISTS: [&str; 2] = ["containers", "initContainers"];

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

fn check_annotation_changes(new: &Value, old: &Value, errors: &mut Errors) {
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
fn take_over(new: &mut Value, old: &Value) -> Value {
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

/// `resize` writes nothing but the containers' resources and resize policies (KEP-1287).
pub(super) fn keep_all_but_resources(new: &mut Value, old: &Value) {
    let given = take_over(new, old);
    for list in LISTS {
        let containers = new.at_mut(&["spec", list]).and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten() {
            let text = container.get("name").text().to_owned();
            let wanted = given.array_at(&["spec", list]).iter().find(|c| c.get("name").text() == text);
            for field in ["resources", "resizePolicy"] {
                if let Some(value) = wanted.and_then(|c| c.get(field)) {
                    container.set(&[field], value.clone());
                }
            }
        }
    }
    if let Some(resources) = given.at(&["spec", "resources"]) {
        new.set(&["spec", "resources"], resources.clone());
    }
}

pub(super) fn check_resize(new: &Value, old: &Value, errors: &mut Errors) {
    check_whole(new, errors);
    let null = Value::Null;
    let (spec, was) = (new.get("spec").unwrap_or(&null), old.get("spec").unwrap_or(&null));
    if qos::class(spec) != qos::class(was) {
        let shown = new.at(&["status", "qosClass"]).text();
        errors.invalid(&Path::new("metadata"), shown, "Pod QOS Class may not change as a result of resizing");
    }
    for list in LISTS {
        let top = Path::new("spec");
        let at = top.child(list);
        for (n, (now, before)) in spec.get(list).items().iter().zip(was.get(list).items()).enumerate() {
            for kind in ["limits", "requests"] {
                let other = |c: &Value| -> Vec<(String, Value)> {
                    let all = c.at(&["resources", kind]).entries();
                    let mut rest: Vec<_> = all
                        .filter(|(k, _)| !matches!(*k, "cpu" | "memory"))
                        .map(|(k, v)| (k.to_owned(), v.clone()))
                        .collect();
                    rest.sort_by(|a, b| a.0.cmp(&b.0));
                    rest
                };
                if other(now) != other(before) {
                    let item = at.index(n);
                    let resources = item.child("resources");
                    errors.forbidden(&resources.child(kind), "only cpu and memory resources are mutable");
                }
            }
        }
    }
}

/// An update of the status.
pub(super) fn check_status(new: &Value, old: &Value, errors: &mut Errors) {
    check_annotation_changes(new, old, errors);
    let meta = Path::new("metadata.conditions");
    for (n, condition) in new.array_at(&["status", "conditions"]).iter().enumerate() {
        let kind = condition.get("type").text();
        if !matches!(kind, "PodScheduled" | "Ready" | "Initialized") {
            name::qualified(kind, &meta.index(n).child("Type"), errors);
        }
    }
    let at = Path::new("status");
    let nominated = new.at(&["status", "nominatedNodeName"]).text();
    if !nominated.is_empty() && nominated != old.at(&["status", "nominatedNodeName"]).text() {
        name::subdomain(nominated, &at.child("nominatedNodeName"), errors);
    }
    let policy = old.at(&["spec", "restartPolicy"]).text();
    let init = old.array_at(&["spec", "initContainers"]);
    for (field, policy, sidecars) in [
        ("containerStatuses", policy, &[][..]),
        ("initContainerStatuses", policy, init),
        ("ephemeralContainerStatuses", "Never", &[][..]),
    ] {
        check_transitions(new, old, field, policy, sidecars, errors);
    }
    check_addresses(new, errors);
}

/// A container that has ended for good does not run again.
fn check_transitions(new: &Value, old: &Value, field: &str, policy: &str, sidecars: &[Value], errors: &mut Errors) {
    if policy == "Always" {
        return;
    }
    let top = Path::new("status");
    let at = top.child(field);
    for (n, before) in old.array_at(&["status", field]).iter().enumerate() {
        let Some(ended) = before.at(&["state", "terminated"]) else { continue };
        let text = before.get("name").text();
        let sidecar = |c: &Value| c.get("name").text() == text && c.get("restartPolicy").text() == "Always";
        if (ended.get("exitCode").number() != 0 && policy == "OnFailure") || sidecars.iter().any(sidecar) {
            continue;
        }
        let runs = |now: &Value| now.get("name").text() == text && now.at(&["state", "terminated"]).is_none();
        if new.array_at(&["status", field]).iter().any(runs) {
            errors.forbidden(&at.index(n).child("state"), "may not be transitioned to non-terminated state");
        }
    }
}

fn check_addresses(pod: &Value, errors: &mut Errors) {
    let top = Path::new("status");
    for field in ["podIPs", "hostIPs"] {
        let at = top.child(field);
        let list = pod.array_at(&["status", field]);
        for (n, entry) in list.iter().enumerate() {
            name::ip(entry.get("ip").text(), &at.index(n), errors);
        }
        if field == "hostIPs"
            && let Some(first) = list.first()
            && first.get("ip").text() != pod.at(&["status", "hostIP"]).text()
        {
            let item = at.index(0);
            errors.invalid(&item.child("ip"), first.get("ip").text(), "must be equal to `hostIP`");
        }
        let six = |entry: &Value| entry.get("ip").text().contains(':');
        if list.len() > 1 {
            if list.len() > 2 || six(&list[0]) == six(&list[1]) {
                let all = Value::Array(list.to_vec());
                errors.invalid(&at, all, "may specify no more than one IP for each IP family");
            }
            for (n, entry) in list.iter().enumerate() {
                if list[..n].iter().any(|e| e.get("ip") == entry.get("ip")) {
                    errors.duplicate(&at.index(n), entry);
                }
            }
        }
    }
}
