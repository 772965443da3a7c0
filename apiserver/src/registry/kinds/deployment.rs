//! Deployment: replicas of a pod template, and how a change of it rolls out.

use gantry_machinery::value;
use gantry_machinery::value::{Object, Value};

use super::cells::{age_cell, container_cells, count_cell, name_cell, selector_cell};
use super::field::{fill, fill_with};
use super::{row, workload};
use crate::registry::strategy::{Column, Strategy};
use crate::registry::validate::template::{check_controller_selector, check_controller_template};
use crate::registry::validate::view::{Held, view};
use crate::registry::validate::{Errors, Path, name, same};

/// Deployments of `apps`.
#[derive(Debug)]
pub struct Deployments;

view! {
    struct Spec {
        replicas: "replicas",
        strategy: "strategy",
        min_ready: "minReadySeconds",
        history: "revisionHistoryLimit",
        deadline: "progressDeadlineSeconds",
    }
}

const COLUMNS: &[Column] = &[
    Column::name(),
    Column::string("Ready"),
    Column::string("Up-to-date"),
    Column::string("Available"),
    Column::string("Age"),
    workload::CONTAINERS,
    workload::IMAGES,
    workload::SELECTOR,
];

impl Strategy for Deployments {
    row!("apps", "v1", "deployments");

    fn default(&self, deployment: &mut Value) {
        workload::default_template(deployment);
        let spec = deployment.force_object().object_entry("spec");
        fill_with(spec, "replicas", || Value::Int(1));
        fill_with(spec, "revisionHistoryLimit", || Value::Int(10));
        fill_with(spec, "progressDeadlineSeconds", || Value::Int(600));
        default_strategy(spec.object_entry("strategy"));
        workload::default_status(deployment);
    }

    fn check(&self, deployment: &Value, errors: &mut Errors) {
        let null = Value::Null;
        let spec = deployment.get("spec").unwrap_or(&null);
        let at = Path::new("spec");
        let given = Spec::of(spec);
        name::non_negative(given.replicas.number(), &at.child("replicas"), errors);
        check_controller_selector(spec, "empty selector is invalid for deployment", &at, errors);
        check_controller_template(spec, "ReplicaSet", &at, errors);
        check_strategy(given.strategy.unwrap_or(&null), &at.child("strategy"), errors);
        name::non_negative(given.min_ready.number(), &at.child("minReadySeconds"), errors);
        name::non_negative(given.history.number(), &at.child("revisionHistoryLimit"), errors);
        if let Some(deadline) = given.deadline.int() {
            name::non_negative(deadline, &at.child("progressDeadlineSeconds"), errors);
            if deadline <= given.min_ready.number() {
                let detail = "must be greater than minReadySeconds";
                errors.invalid(&at.child("progressDeadlineSeconds"), deadline, detail);
            }
        }
    }

    fn prepare_for_update(&self, new: &mut Value, old: &Value, subresource: &str) {
        workload::prepare_for_update(new, old, subresource);
    }

    fn check_update(&self, new: &Value, old: &Value, subresource: &str, errors: &mut Errors) {
        if subresource == "status" {
            let counts = ["observedGeneration", "replicas", "updatedReplicas", "readyReplicas", "availableReplicas"];
            workload::check_counts(
                new,
                &counts,
                &["updatedReplicas", "readyReplicas", "availableReplicas"],
                "readyReplicas",
                errors,
            );
            return workload::check_collisions(new, old, errors);
        }
        self.check(new, errors);
        let selector = ["spec", "selector"];
        errors.immutable(&Path::new("spec.selector"), new.at(&selector), old.at(&selector));
    }

    fn generation_changed(&self, new: &Value, old: &Value) -> bool {
        let part = |o: &Value, path: &[&str]| o.at(path).cloned();
        [&["spec"][..], &["metadata", "annotations"]]
            .iter()
            .any(|path| !same(part(new, path).as_ref(), part(old, path).as_ref()))
    }

    fn warnings(&self, new: &Value, old: Option<&Value>) -> Vec<String> {
        workload::template_warnings(new, old)
    }

    fn columns(&self) -> &'static [Column] {
        COLUMNS
    }

    fn row(&self, deployment: &Value, now: i64) -> Vec<Value> {
        let ready = deployment.at(&["status", "readyReplicas"]).number();
        let wanted = deployment.at(&["spec", "replicas"]).number();
        let [containers, images] = container_cells(deployment.at(&["spec", "template"]));
        vec![
            name_cell(deployment),
            Value::from(format!("{ready}/{wanted}")),
            count_cell(deployment, &["status", "updatedReplicas"]),
            count_cell(deployment, &["status", "availableReplicas"]),
            age_cell(deployment, now),
            containers,
            images,
            selector_cell(deployment.at(&["spec", "selector"])),
        ]
    }
}

fn default_strategy(strategy: &mut Object) {
    fill(strategy, "type", "RollingUpdate");
    if strategy.get("type").text() == "RollingUpdate" {
        fill_with(strategy, "rollingUpdate", Value::object);
        let rolling = strategy.object_entry("rollingUpdate");
        fill_with(rolling, "maxUnavailable", || Value::from("25%"));
        fill_with(rolling, "maxSurge", || Value::from("25%"));
    }
}

fn check_strategy(strategy: &Value, at: &Path<'_>, errors: &mut Errors) {
    let rolling = strategy.get("rollingUpdate").filter(|r| !r.is_null());
    let at_rolling = at.child("rollingUpdate");
    match (strategy.get("type").text(), rolling) {
        ("Recreate", Some(_)) => {
            errors.forbidden(&at_rolling, "may not be specified when strategy `type` is 'Recreate'");
        }
        ("Recreate", None) => {}
        ("RollingUpdate", None) => {
            errors.required(&at_rolling, "this should be defaulted and never be nil");
        }
        ("RollingUpdate", Some(rolling)) => check_rolling(rolling, &at_rolling, errors),
        _ => {
            let given = value!({"type": (strategy.get("type").text())});
            errors.not_supported_value(at, given, &["Recreate", "RollingUpdate"]);
        }
    }
}

fn check_rolling(rolling: &Value, at: &Path<'_>, errors: &mut Errors) {
    let (down, up) = (rolling.get("maxUnavailable"), rolling.get("maxSurge"));
    name::int_or_percent(down, &at.child("maxUnavailable"), errors);
    name::int_or_percent(up, &at.child("maxSurge"), errors);
    if workload::is_zero(down) && workload::is_zero(up) {
        errors.invalid(&at.child("maxUnavailable"), down, "may not be 0 when `maxSurge` is 0");
    }
    workload::check_percent_max(down, &at.child("maxUnavailable"), errors);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn web() -> Value {
        let mut deployment = value!({
            "metadata": {"name": "web"},
            "spec": {
                "selector": {"matchLabels": {"app": "web"}},
                "template": {
                    "metadata": {"labels": {"app": "web"}},
                    "spec": {"containers": [{"name": "c", "image": "nginx"}]},
                },
            },
        });
        Deployments.default(&mut deployment);
        deployment
    }

    fn causes(errors: Vec<gantry_machinery::status::FieldError>) -> Vec<String> {
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn defaults_are_upstreams() {
        let deployment = web();
        let spec = deployment.get("spec").expect("made above");
        assert_eq!(spec.i64_at(&["replicas"]), Some(1));
        assert_eq!(spec.i64_at(&["revisionHistoryLimit"]), Some(10));
        assert_eq!(spec.i64_at(&["progressDeadlineSeconds"]), Some(600));
        assert_eq!(
            spec.get("strategy"),
            Some(&value!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"}}))
        );
        assert_eq!(spec.str_at(&["template", "spec", "restartPolicy"]), Some("Always"));
        assert!(Deployments.validate(&deployment).is_empty());
        let mut again = deployment.clone();
        Deployments.default(&mut again);
        assert_eq!(again, deployment);
        let mut none = value!({"spec": {"replicas": 0}});
        Deployments.default(&mut none);
        assert_eq!(none.i64_at(&["spec", "replicas"]), Some(0));
    }

    #[test]
    fn bad_deployments_get_upstreams_causes() {
        let with = |path: &[&str], value: Value| {
            let mut deployment = web();
            deployment.set(path, value);
            causes(Deployments.validate(&deployment))
        };
        assert_eq!(
            with(&["spec", "selector"], value!({"matchLabels": {"app": "other"}})),
            ["spec.template.metadata.labels: Invalid value: {\"app\":\"web\"}: `selector` does not match template \
                 `labels`"]
        );
        assert_eq!(
            with(&["spec", "selector"], value!({})),
            ["spec.selector: Invalid value: {}: empty selector is invalid for deployment"]
        );
        assert_eq!(
            with(&["spec", "replicas"], Value::Int(-1)),
            ["spec.replicas: Invalid value: -1: must be greater than or equal to 0"]
        );
        assert_eq!(
            with(&["spec", "strategy", "rollingUpdate"], value!({"maxUnavailable": 0, "maxSurge": "0%"})),
            ["spec.strategy.rollingUpdate.maxUnavailable: Invalid value: 0: may not be 0 when `maxSurge` is 0"]
        );
        assert_eq!(
            with(&["spec", "template", "spec", "restartPolicy"], value!("Never")),
            ["spec.template.spec.restartPolicy: Unsupported value: \"Never\": supported values: \"Always\""]
        );
        assert_eq!(
            with(&["spec", "progressDeadlineSeconds"], value!(0)),
            ["spec.progressDeadlineSeconds: Invalid value: 0: must be greater than minReadySeconds"]
        );
        let mut bare = web();
        bare.remove(&["spec", "selector"]);
        assert_eq!(
            causes(Deployments.validate(&bare)),
            [
                "spec.selector: Required value",
                "spec.template.metadata.labels: Invalid value: {\"app\":\"web\"}: `selector` does not match template \
                 `labels`"
            ]
        );
    }

    #[test]
    fn the_selector_is_immutable() {
        let old = web();
        let mut new = web();
        new.set(&["spec", "selector", "matchLabels", "tier"], "x");
        new.set(&["spec", "template", "metadata", "labels", "tier"], "x");
        assert_eq!(
            causes(Deployments.validate_update(&new, &old, "")),
            ["spec.selector: Invalid value: {\"matchLabels\":{\"app\":\"web\",\"tier\":\"x\"}}: field is immutable"]
        );
    }

    #[test]
    fn status_writes_touch_nothing_else() {
        let old = web();
        let mut new = web();
        new.set(&["spec", "replicas"], 5);
        new.set(&["status", "readyReplicas"], 2);
        let mut whole = new.clone();
        Deployments.prepare_for_update(&mut new, &old, "status");
        assert_eq!(new.i64_at(&["spec", "replicas"]), Some(1));
        assert_eq!(
            causes(Deployments.validate_update(&new, &old, "status")),
            ["status.readyReplicas: Invalid value: 2: cannot be greater than status.replicas"]
        );
        Deployments.prepare_for_update(&mut whole, &old, "");
        assert_eq!(whole.at(&["status", "readyReplicas"]), None);
        assert!(Deployments.generation_changed(&whole, &old));
    }

    #[test]
    fn the_row_is_upstreams() {
        let mut deployment = web();
        deployment.set(&["status"], value!({"readyReplicas": 1, "updatedReplicas": 2, "availableReplicas": 1}));
        let row = Deployments.row(&deployment, 0);
        let texts: Vec<&str> = row.iter().filter_map(Value::as_str).collect();
        assert_eq!(texts, ["web", "1/1", "<unknown>", "c", "nginx", "app=web"]);
        assert_eq!(row[2..4], [Value::Int(2), Value::Int(1)]);
    }
}
