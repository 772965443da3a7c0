//! Pod: its defaults, rules, status and row. Binding and eviction are verbs of the registry.

pub mod defaults;
pub mod qos;
mod resize;
mod status;
mod table;
mod update;
pub(super) mod warnings;

use compact_str::CompactString;
use gantry_machinery::value::{Object, Value};
use gantry_machinery::{time, value};

use super::field::fill_with;
use super::row;
use crate::registry::strategy::{Column, Strategy, keep, keep_all_but_status};
use crate::registry::validate::container::check_image_space;
use crate::registry::validate::pod_spec::{Owner, check_spec};
use crate::registry::validate::view::Held;
use crate::registry::validate::{Errors, Path, security};

/// Pods of the core group.
#[derive(Debug)]
pub struct Pods;

impl Strategy for Pods {
    row!("", "v1", "pods");

    fn prepare_for_create(&self, pod: &mut Value) {
        let spec = pod.get("spec").unwrap_or(&Value::Null);
        let class = qos::class(spec);
        let gated = !spec.get("schedulingGates").items().is_empty();
        let mut status = Object::new();
        status.insert("phase", "Pending");
        if gated {
            let condition = value!({
                "type": "PodScheduled",
                "status": "False",
                "reason": "SchedulingGated",
                "message": "Scheduling is blocked due to non-empty scheduling gates",
                "lastTransitionTime": (time::now()),
            });
            status.insert("conditions", Value::Array(vec![condition]));
        }
        status.insert("qosClass", class);
        pod.set(&["status"], status);
        merge_label_keys(pod);
    }

    fn default(&self, pod: &mut Value) {
        let pod = pod.force_object();
        fill_with(pod, "metadata", Value::object);
        defaults::pod(pod.object_entry("spec"));
    }

    fn check(&self, pod: &Value, errors: &mut Errors) {
        check_whole(pod, errors);
        let spec = pod.get("spec").unwrap_or(&Value::Null);
        let at = Path::new("spec");
        if !spec.get("ephemeralContainers").items().is_empty() {
            errors.forbidden(&at.child("ephemeralContainers"), "cannot be set on create");
        }
        if !spec.get("nodeName").text().is_empty() && !spec.get("schedulingGates").items().is_empty() {
            let detail = "cannot be set until all schedulingGates have been cleared";
            errors.forbidden(&at.child("nodeName"), detail);
        }
        if let Some(annotations) = pod.at(&["metadata", "annotations"]) {
            security::check_annotations_match(annotations, spec, &at, errors);
        }
    }

    fn prepare_for_update(&self, new: &mut Value, old: &Value, subresource: &str) {
        match subresource {
            "status" => {
                keep_all_but_status(new, old);
                if let (Some(metadata), Some(was)) = (new.get_mut("metadata"), old.get("metadata")) {
                    keep(metadata, was, "ownerReferences");
                }
                if new.at(&["status", "qosClass"]).text().is_empty()
                    && let Some(class) = old.at(&["status", "qosClass"])
                {
                    new.set(&["status", "qosClass"], class.clone());
                }
            }
            "ephemeralcontainers" => update::keep_all_but_ephemeral(new, old),
            "resize" => resize::keep_all_but_resources(new, old),
            _ => keep(new, old, "status"),
        }
    }

    fn check_update(&self, new: &Value, old: &Value, subresource: &str, errors: &mut Errors) {
        match subresource {
            "status" => status::check(new, old, errors),
            "ephemeralcontainers" => update::check_ephemeral(new, old, errors),
            "resize" => resize::check(new, old, errors),
            _ => update::check(new, old, errors),
        }
    }

    fn warnings(&self, new: &Value, old: Option<&Value>) -> Vec<String> {
        warnings::warnings(new, old)
    }

    fn selectable_fields(&self) -> &'static [&'static str] {
        &[
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.podIPs",
            "status.nominatedNodeName",
        ]
    }

    fn fields(&self, pod: &Value) -> Vec<(&'static str, CompactString)> {
        let mut fields = Vec::with_capacity(6);
        let mut add = |name: &'static str, value: &str| {
            if !value.is_empty() {
                fields.push((name, value.into()));
            }
        };
        for (key, value) in pod.get("spec").entries() {
            match key {
                "nodeName" => add("spec.nodeName", value.as_str().unwrap_or_default()),
                "restartPolicy" => add("spec.restartPolicy", value.as_str().unwrap_or_default()),
                "schedulerName" => add("spec.schedulerName", value.as_str().unwrap_or_default()),
                "serviceAccountName" => add("spec.serviceAccountName", value.as_str().unwrap_or_default()),
                _ => {}
            }
        }
        let host = pod.at(&["spec", "hostNetwork"]).truth();
        add("spec.hostNetwork", if host { "true" } else { "false" });
        for (key, value) in pod.get("status").entries() {
            match key {
                "phase" => add("status.phase", value.as_str().unwrap_or_default()),
                // One address is matched, the first; status.podIPs is an alias of it upstream too.
                "podIP" => {
                    add("status.podIP", value.as_str().unwrap_or_default());
                    add("status.podIPs", value.as_str().unwrap_or_default());
                }
                "nominatedNodeName" => add("status.nominatedNodeName", value.as_str().unwrap_or_default()),
                _ => {}
            }
        }
        fields
    }

    fn columns(&self) -> &'static [Column] {
        table::COLUMNS
    }

    fn row(&self, pod: &Value, now: i64) -> Vec<Value> {
        table::row(pod, now)
    }

    fn grace_period(&self, pod: &Value, asked: Option<i64>) -> Option<i64> {
        let own = pod.at(&["spec", "terminationGracePeriodSeconds"]).int();
        let period = asked.or(own).unwrap_or(0);
        // A pod that no kubelet has, or that has ended, has nothing to wait for.
        let nobody = pod.at(&["spec", "nodeName"]).text().is_empty();
        let ended = matches!(pod.at(&["status", "phase"]).text(), "Succeeded" | "Failed");
        Some(if nobody || ended {
            0
        } else if period < 0 {
            1
        } else {
            period
        })
    }
}

/// The rules for a whole pod, new or changed.
fn check_whole(pod: &Value, errors: &mut Errors) {
    let null = Value::Null;
    let spec = pod.get("spec").unwrap_or(&null);
    if let Some(annotations) = pod.at(&["metadata", "annotations"]) {
        security::check_annotations(annotations, spec, &Path::new("metadata.annotations"), errors);
    }
    let at = Path::new("spec");
    check_spec(spec, Owner::Pod(pod.at(&["metadata", "name"]).text()), &at, errors);
    if spec.get("serviceAccountName").text().is_empty() {
        check_no_token(spec, &at.child("volumes"), errors);
    }
    for list in ["containers", "initContainers"] {
        let list_at = at.child(list);
        for (n, container) in spec.get(list).items().iter().enumerate() {
            check_image_space(container, &list_at.index(n), errors);
        }
    }
}

fn check_no_token(spec: &Value, at: &Path<'_>, errors: &mut Errors) {
    for (n, volume) in spec.get("volumes").items().iter().enumerate() {
        for (m, source) in volume.at(&["projected", "sources"]).items().iter().enumerate() {
            if source.get("serviceAccountToken").is_some() {
                let volume = at.index(n);
                let sources = volume.child("projected.sources");
                let source = sources.index(m);
                let detail = "must not be specified when serviceAccountName is not set";
                errors.forbidden(&source.child("serviceAccountToken"), detail);
            }
        }
    }
}

/// Turns `matchLabelKeys` and `mismatchLabelKeys` into requirements on the new pod's own labels, where schedulers look
/// for them (KEP-3633, KEP-3243).
fn merge_label_keys(pod: &mut Value) {
    let has = |term: &Value| term.get("matchLabelKeys").is_some() || term.get("mismatchLabelKeys").is_some();
    let Some(spec) = pod.get("spec") else { return };
    if spec.get("affinity").is_none() && !spec.get("topologySpreadConstraints").items().iter().any(has) {
        return;
    }
    let labels = pod.at(&["metadata", "labels"]).cloned().unwrap_or_default();
    let merge = |term: &mut Value| {
        if term.get("labelSelector").is_none_or(Value::is_null) {
            return;
        }
        let mut add = Vec::new();
        for (field, operator) in [("matchLabelKeys", "In"), ("mismatchLabelKeys", "NotIn")] {
            for key in term.get(field).items() {
                let key = key.as_str().unwrap_or_default();
                if let Some(value) = labels.get(key) {
                    add.push(value!({"key": key, "operator": operator, "values": (vec![value.clone()])}));
                }
            }
        }
        if !add.is_empty()
            && let Some(selector) = term.get_mut("labelSelector").and_then(Value::as_object_mut)
        {
            match selector.entry("matchExpressions") {
                Value::Array(items) => items.extend(add),
                other => *other = Value::Array(add),
            }
        }
    };
    for which in ["podAffinity", "podAntiAffinity"] {
        let Some(pods) = pod.at_mut(&["spec", "affinity", which]) else { continue };
        let required = pods.get_mut("requiredDuringSchedulingIgnoredDuringExecution").and_then(Value::as_array_mut);
        required.into_iter().flatten().for_each(&merge);
        let preferred = pods.get_mut("preferredDuringSchedulingIgnoredDuringExecution").and_then(Value::as_array_mut);
        preferred.into_iter().flatten().filter_map(|t| t.get_mut("podAffinityTerm")).for_each(&merge);
    }
    let spreads = pod.at_mut(&["spec", "topologySpreadConstraints"]).and_then(Value::as_array_mut);
    spreads.into_iter().flatten().for_each(merge);
}

#[cfg(test)]
mod tests;
