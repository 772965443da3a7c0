//! StatefulSet: numbered pods, each with claims of its own.

use gantry_machinery::value;
use gantry_machinery::value::Value;

use super::cells::{age_cell, container_cells, name_cell};
use super::field::{fill, fill_with};
use super::pod::defaults::claim_spec;
use super::{row, workload};
use crate::registry::strategy::{Column, Strategy};
use crate::registry::validate::template::check_controller_selector;
use crate::registry::validate::view::{Held, view};
use crate::registry::validate::{Errors, Path, labels, name, same, security};

/// StatefulSets of `apps`.
#[derive(Debug)]
pub struct StatefulSets;

view! {
    struct Spec {
        management: "podManagementPolicy",
        strategy: "updateStrategy",
        retention: "persistentVolumeClaimRetentionPolicy",
        replicas: "replicas",
        min_ready: "minReadySeconds",
        history: "revisionHistoryLimit",
        ordinals: "ordinals",
        service: "serviceName",
    }
}

const COLUMNS: &[Column] =
    &[Column::name(), Column::string("Ready"), Column::string("Age"), workload::CONTAINERS, workload::IMAGES];

const COUNTS: &[&str] = &[
    "replicas",
    "readyReplicas",
    "currentReplicas",
    "updatedReplicas",
    "availableReplicas",
    "observedGeneration",
    "collisionCount",
];

/// What an update of the spec may change.
const MUTABLE: &[&str] = &[
    "replicas",
    "ordinals",
    "template",
    "updateStrategy",
    "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy",
    "minReadySeconds",
];

impl Strategy for StatefulSets {
    row!("apps", "v1", "statefulsets");

    fn name_errors(&self, name: &str, prefix: bool) -> Vec<String> {
        name::label_errors(name, prefix)
    }

    fn prepare_for_create(&self, set: &mut Value) {
        set.set(&["status"], value!({"replicas": 0, "availableReplicas": 0}));
    }

    fn default(&self, set: &mut Value) {
        workload::default_template(set);
        let spec = set.force_object().object_entry("spec");
        fill(spec, "podManagementPolicy", "OrderedReady");
        let strategy = spec.object_entry("updateStrategy");
        fill(strategy, "type", "RollingUpdate");
        if strategy.get("type").text() == "RollingUpdate" {
            fill_with(strategy, "rollingUpdate", Value::object);
            fill_with(strategy.object_entry("rollingUpdate"), "partition", || Value::Int(0));
        }
        let retention = spec.object_entry("persistentVolumeClaimRetentionPolicy");
        fill(retention, "whenDeleted", "Retain");
        fill(retention, "whenScaled", "Retain");
        fill_with(spec, "replicas", || Value::Int(1));
        fill_with(spec, "revisionHistoryLimit", || Value::Int(10));
        let claims = spec.get_mut("volumeClaimTemplates").and_then(Value::as_array_mut);
        for claim in claims.into_iter().flatten().filter_map(Value::as_object_mut) {
            // Upstream's templates are whole claims, with type and status.
            fill(claim, "apiVersion", "v1");
            fill(claim, "kind", "PersistentVolumeClaim");
            claim_spec(claim.object_entry("spec"));
            fill(claim.object_entry("status"), "phase", "Pending");
        }
        let status = set.force_object().object_entry("status");
        fill_with(status, "replicas", || Value::Int(0));
        fill_with(status, "availableReplicas", || Value::Int(0));
    }

    fn check(&self, set: &Value, errors: &mut Errors) {
        let null = Value::Null;
        let spec = set.get("spec").unwrap_or(&null);
        let at = Path::new("spec");
        let given = Spec::of(spec);
        check_policies(&given, &at, errors);
        name::non_negative(given.replicas.number(), &at.child("replicas"), errors);
        name::non_negative(given.min_ready.number(), &at.child("minReadySeconds"), errors);
        let start = given.ordinals.and_then(|o| o.get("start")).number();
        let ordinals = at.child("ordinals");
        name::non_negative(start, &ordinals.child("start"), errors);
        if !given.service.text().is_empty() {
            name::label(given.service.text(), &at.child("serviceName"), errors);
        }
        check_controller_selector(spec, "empty selector is invalid for statefulset", &at, errors);
        check_template(spec, &at.child("template"), errors);
        name::non_negative(given.history.number(), &at.child("revisionHistoryLimit"), errors);
    }

    fn prepare_for_update(&self, new: &mut Value, old: &Value, subresource: &str) {
        workload::prepare_for_update(new, old, subresource);
    }

    fn check_update(&self, new: &Value, old: &Value, subresource: &str, errors: &mut Errors) {
        if subresource == "status" {
            workload::check_counts(new, COUNTS, &COUNTS[1..5], "status.readyReplicas", errors);
            return workload::check_collisions(new, old, errors);
        }
        self.check(new, errors);
        let strip = |set: &Value| {
            let mut spec = set.get("spec").cloned().unwrap_or_default();
            for field in MUTABLE {
                spec.remove(&[field]);
            }
            spec
        };
        if !same(Some(&strip(new)), Some(&strip(old))) {
            let (last, rest) = MUTABLE.split_last().expect("the list is not empty");
            let list = rest.iter().map(|f| format!("'{f}'")).collect::<Vec<_>>().join(", ");
            let detail = format!("updates to statefulset spec for fields other than {list} and '{last}' are forbidden");
            errors.forbidden(&Path::new("spec"), detail);
        }
    }

    fn warnings(&self, new: &Value, old: Option<&Value>) -> Vec<String> {
        workload::template_warnings(new, old)
    }

    fn columns(&self) -> &'static [Column] {
        COLUMNS
    }

    fn row(&self, set: &Value, now: i64) -> Vec<Value> {
        let (ready, wanted) = (set.at(&["status", "readyReplicas"]), set.at(&["spec", "replicas"]));
        let [containers, images] = container_cells(set.at(&["spec", "template"]));
        vec![
            name_cell(set),
            Value::from(format!("{}/{}", ready.number(), wanted.number())),
            age_cell(set, now),
            containers,
            images,
        ]
    }
}

fn check_policies(given: &Spec<'_>, at: &Path<'_>, errors: &mut Errors) {
    let management = at.child("podManagementPolicy");
    match given.management.text() {
        "" => errors.required(&management, ""),
        "OrderedReady" | "Parallel" => {}
        other => errors.invalid(&management, other, "must be 'OrderedReady' or 'Parallel'"),
    }
    let strategy = at.child("updateStrategy");
    let rolling = given.strategy.and_then(|s| s.get("rollingUpdate")).filter(|r| !r.is_null());
    let rolling_at = strategy.child("rollingUpdate");
    match (given.strategy.and_then(|s| s.get("type")).text(), rolling) {
        ("", _) => errors.required(&strategy, ""),
        ("OnDelete", Some(rolling)) => {
            errors.invalid(&rolling_at, rolling, "only allowed for updateStrategy 'RollingUpdate'");
        }
        ("OnDelete" | "RollingUpdate", None) => {}
        ("RollingUpdate", Some(rolling)) => {
            name::non_negative(rolling.get("partition").number(), &rolling_at.child("partition"), errors);
            if let Some(down) = rolling.get("maxUnavailable") {
                let at = rolling_at.child("maxUnavailable");
                name::int_or_percent(Some(down), &at, errors);
                if workload::is_zero(Some(down)) {
                    errors.invalid(&at, down, "cannot be 0");
                }
                workload::check_percent_max(Some(down), &at, errors);
            }
        }
        _ => errors.invalid(&strategy, given.strategy, "must be 'RollingUpdate' or 'OnDelete'"),
    }
    let retention = at.child("persistentVolumeClaimRetentionPolicy");
    for field in ["whenDeleted", "whenScaled"] {
        let policy = given.retention.and_then(|r| r.get(field)).text();
        if !matches!(policy, "Retain" | "Delete") {
            errors.not_supported(&retention.child(field), policy, &["Retain", "Delete"]);
        }
    }
}

/// The claims join the template's volumes only in the pods: volumes and mounts are not checked against each other here.
fn check_template(spec: &Value, at: &Path<'_>, errors: &mut Errors) {
    let null = Value::Null;
    let template = spec.get("template").unwrap_or(&null);
    let given = template.at(&["metadata", "labels"]);
    let selector = spec.get("selector").filter(|s| !s.is_null());
    if selector.is_none_or(|s| !labels::is_empty_selector(s) && !labels::selects(s, given)) {
        let empty = Value::object();
        let detail = "`selector` does not match template `labels`";
        errors.invalid(&at.child("metadata.labels"), given.unwrap_or(&empty), detail);
    }
    let meta = template.get("metadata").unwrap_or(&null);
    labels::check_labels(meta.get("labels"), &at.child("labels"), errors);
    labels::check_annotations(meta.get("annotations"), &at.child("annotations"), errors);
    if let Some(annotations) = meta.get("annotations") {
        let pod = template.get("spec").unwrap_or(&null);
        security::check_annotations(annotations, pod, &at.child("annotations"), errors);
    }
    let spec_at = at.child("spec");
    let policy = template.at(&["spec", "restartPolicy"]).text();
    if policy != "Always" {
        errors.not_supported(&spec_at.child("restartPolicy"), policy, &["Always"]);
    }
    if template.at(&["spec", "activeDeadlineSeconds"]).is_some() {
        let detail = "activeDeadlineSeconds in StatefulSet is not Supported";
        errors.forbidden(&spec_at.child("activeDeadlineSeconds"), detail);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn db() -> Value {
        let mut set = value!({"spec": {
            "selector": {"matchLabels": {"a": "b"}},
            "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}},
            "volumeClaimTemplates": [{"metadata": {"name": "data"}}],
        }});
        StatefulSets.default(&mut set);
        set
    }

    #[test]
    fn defaults_are_upstreams() {
        let set = db();
        assert_eq!(set.str_at(&["spec", "podManagementPolicy"]), Some("OrderedReady"));
        assert_eq!(set.i64_at(&["spec", "updateStrategy", "rollingUpdate", "partition"]), Some(0));
        let claim = &set.array_at(&["spec", "volumeClaimTemplates"])[0];
        assert_eq!(claim.str_at(&["spec", "volumeMode"]), Some("Filesystem"));
        assert_eq!(claim.str_at(&["status", "phase"]), Some("Pending"));
        assert!(StatefulSets.validate(&set).is_empty());
    }

    #[test]
    fn most_of_the_spec_is_fixed() {
        let old = db();
        let mut new = db();
        new.set(&["spec", "replicas"], 3);
        assert!(StatefulSets.validate_update(&new, &old, "").is_empty());
        new.set(&["spec", "serviceName"], "other");
        assert_eq!(
            StatefulSets.validate_update(&new, &old, "")[0].detail,
            "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', \
             'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden"
        );
    }
}
