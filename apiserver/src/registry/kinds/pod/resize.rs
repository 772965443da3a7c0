//! `resize`: the one way to change what a running pod's containers, and the pod itself, are given (KEP-1287, KEP-5419).

use gantry_machinery::value::Value;

use super::update::{LISTS, take_over};
use super::{check_whole, qos};
use crate::registry::strategy::keep;
use crate::registry::validate::view::Held;
use crate::registry::validate::{Errors, Path, same};

const MIRROR: &str = "kubernetes.io/config.mirror";
const ONLY: &str = "only cpu and memory resources are mutable";

/// Keeps everything but resources and resize policies, if the containers are the same ones; what else was sent is
/// dropped.
pub(super) fn keep_all_but_resources(new: &mut Value, old: &Value) {
    let names = |pod: &Value, list: &str| -> Vec<String> {
        pod.array_at(&["spec", list]).iter().map(|c| c.get("name").text().to_owned()).collect()
    };
    if LISTS.iter().any(|list| names(new, list) != names(old, list)) {
        return;
    }
    let given = take_over(new, old);
    for list in LISTS {
        let wanted = given.array_at(&["spec", list]);
        let containers = new.at_mut(&["spec", list]).and_then(Value::as_array_mut);
        for (container, wanted) in containers.into_iter().flatten().zip(wanted) {
            for field in ["resources", "resizePolicy"] {
                keep(container, wanted, field);
            }
        }
    }
    if let (Some(spec), Some(wanted)) = (new.get_mut("spec"), given.get("spec")) {
        keep(spec, wanted, "resources");
    }
}

/// What is wrong with a resize.
pub(super) fn check(new: &Value, old: &Value, errors: &mut Errors) {
    let root = Path::root();
    if old.at(&["metadata", "annotations", MIRROR]).is_some() {
        return errors.forbidden(&root, "static pods cannot be resized");
    }
    if old.at(&["spec", "os", "name"]).text() == "windows" {
        return errors.forbidden(&root, "windows pods cannot be resized");
    }
    check_whole(new, errors);
    let null = Value::Null;
    let (spec, was) = (new.get("spec").unwrap_or(&null), old.get("spec").unwrap_or(&null));
    let at = Path::new("spec");
    if qos::class(spec) != qos::class(was) {
        let shown = new.at(&["status", "qosClass"]).text();
        errors.invalid(&at, shown, "Pod QOS Class may not change as a result of resizing");
    }
    let statuses = old.array_at(&["status", "containerStatuses"]);
    let running = statuses.iter().find(|s| s.at(&["state", "running"]).is_some_and(|r| !r.is_null()));
    if running.is_some_and(|status| status.get("resources").is_none()) {
        errors.forbidden(&at, "Pod running on node without support for resize");
    }
    let asks = |spec: &Value| {
        ["requests", "limits"].iter().any(|list| spec.at(&["resources", list]).entries().next().is_some())
    };
    if asks(spec) || asks(was) {
        check_pod_level(spec, was, &at, errors);
    }
    if !check_order(spec, was, &at, errors) {
        return;
    }
    for list in ["initContainers", "containers"] {
        let list_at = at.child(list);
        for (n, (now, before)) in spec.get(list).items().iter().zip(was.get(list).items()).enumerate() {
            let item = list_at.index(n);
            let resources_at = item.child("resources");
            for kind in ["requests", "limits"] {
                if lost(now.at(&["resources", kind]), before.at(&["resources", kind])) {
                    errors.forbidden(&resources_at.child(kind), format!("resource {kind} cannot be removed"));
                }
            }
        }
    }
    for (now, before) in spec.get("containers").items().iter().zip(was.get("containers").items()) {
        if !same(Some(&without_sizes(now, before)), Some(before)) {
            errors.forbidden(&at, ONLY);
        }
    }
    let list_at = at.child("initContainers");
    for (n, (now, before)) in
        spec.get("initContainers").items().iter().zip(was.get("initContainers").items()).enumerate()
    {
        let item = list_at.index(n);
        if !same(Some(&without_sizes(now, before)), Some(before)) {
            errors.forbidden(&item, "only cpu and memory resources for init or sidecar containers are mutable");
        }
        if !same(Some(now), Some(before)) && now.get("restartPolicy").text() != "Always" {
            for policy in now.get("resizePolicy").items() {
                if policy.get("restartPolicy").text() == "RestartContainer" {
                    let detail =
                        "non-sidecar init containers with a resize policy of RestartContainer cannot be resized";
                    errors.forbidden(&item, detail);
                }
            }
        }
    }
}

fn check_pod_level(spec: &Value, was: &Value, at: &Path<'_>, errors: &mut Errors) {
    let (now, before) = (spec.get("resources"), was.get("resources"));
    let resources_at = at.child("resources");
    if before.is_some() && now.is_none() {
        return errors.forbidden(&resources_at, "pod-level resources cannot be removed");
    }
    if let (Some(now), Some(before)) = (now, before) {
        for kind in ["requests", "limits"] {
            if lost(now.get(kind), before.get(kind)) {
                errors.forbidden(&resources_at.child(kind), format!("pod-level resource {kind} cannot be removed"));
            }
        }
    }
    if !same(without_sizes(spec, was).get("resources"), before) {
        errors.forbidden(at, "only cpu and memory resources are mutable at pod-level");
    }
}

/// Gives whether the containers are the same ones in the same order.
fn check_order(spec: &Value, was: &Value, at: &Path<'_>, errors: &mut Errors) -> bool {
    let before = errors.len();
    for list in ["containers", "initContainers"] {
        let at = at.child(list);
        let (now, was) = (spec.get(list).items(), was.get(list).items());
        if now.len() != was.len() {
            errors.forbidden(&at, format!("{list} may not be added or removed on resize"));
            continue;
        }
        for (n, (now, was)) in now.iter().zip(was).enumerate() {
            if now.get("name").text() != was.get("name").text() {
                let detail = format!("{list} may not be renamed or reordered on resize");
                errors.forbidden(&at.index(n).child("name"), detail);
            }
        }
    }
    errors.len() == before
}

/// Whether a list of resources names fewer than before.
fn lost(now: Option<&Value>, before: Option<&Value>) -> bool {
    before.entries().any(|(resource, _)| now.and_then(|now| now.get(resource)).is_none())
}

/// What holds resources, with cpu and memory as they were.
fn without_sizes(holder: &Value, before: &Value) -> Value {
    let mut holder = holder.clone();
    for kind in ["requests", "limits"] {
        for resource in ["cpu", "memory"] {
            let path = ["resources", kind, resource];
            match before.at(&path) {
                Some(size) => holder.set(&path, size.clone()),
                None => {
                    holder.remove(&path);
                }
            }
        }
    }
    holder
}
