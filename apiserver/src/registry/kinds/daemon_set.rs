//! DaemonSet: one pod on every node that fits.

use gantry_machinery::value::Value;

use super::cells::{age_cell, container_cells, count_cell, labels_cell, name_cell, selector_cell};
use super::field::{fill, fill_with};
use super::{row, workload};
use crate::registry::strategy::{Column, Strategy};
use crate::registry::validate::template::{check_controller_selector, check_controller_template};
use crate::registry::validate::view::Held;
use crate::registry::validate::{Errors, Path, name, same};

/// DaemonSets of `apps`.
#[derive(Debug)]
pub struct DaemonSets;

/// The template's generation: a field in old versions, which v1 shows as an annotation.
const GENERATION: &str = "deprecated.daemonset.template.generation";

const COLUMNS: &[Column] = &[
    Column::name(),
    Column::integer("Desired"),
    Column::integer("Current"),
    Column::integer("Ready"),
    Column::integer("Up-to-date"),
    Column::integer("Available"),
    Column::string("Node Selector"),
    Column::string("Age"),
    workload::CONTAINERS,
    workload::IMAGES,
    workload::SELECTOR,
];

/// The counts that a status always shows.
const SHOWN: &[&str] = &["currentNumberScheduled", "numberMisscheduled", "desiredNumberScheduled", "numberReady"];
const COUNTS: &[&str] = &[
    "currentNumberScheduled",
    "numberMisscheduled",
    "desiredNumberScheduled",
    "numberReady",
    "observedGeneration",
    "updatedNumberScheduled",
    "numberAvailable",
    "numberUnavailable",
];

impl Strategy for DaemonSets {
    row!("apps", "v1", "daemonsets");

    fn prepare_for_create(&self, set: &mut Value) {
        set.remove(&["status"]);
        set.set(&["metadata", "annotations", GENERATION], "1");
    }

    fn default(&self, set: &mut Value) {
        workload::default_template(set);
        let spec = set.force_object().object_entry("spec");
        fill_with(spec, "revisionHistoryLimit", || Value::Int(10));
        let strategy = spec.object_entry("updateStrategy");
        fill(strategy, "type", "RollingUpdate");
        if strategy.get("type").text() == "RollingUpdate" {
            fill_with(strategy, "rollingUpdate", Value::object);
            let rolling = strategy.object_entry("rollingUpdate");
            fill_with(rolling, "maxUnavailable", || Value::Int(1));
            fill_with(rolling, "maxSurge", || Value::Int(0));
        }
        let status = set.force_object().object_entry("status");
        for field in SHOWN {
            fill_with(status, field, || Value::Int(0));
        }
    }

    fn check(&self, set: &Value, errors: &mut Errors) {
        let null = Value::Null;
        let spec = set.get("spec").unwrap_or(&null);
        let at = Path::new("spec");
        check_controller_selector(spec, "empty selector is invalid for daemonset", &at, errors);
        check_controller_template(spec, "DaemonSet", &at, errors);
        for field in ["minReadySeconds", "revisionHistoryLimit"] {
            name::non_negative(spec.get(field).number(), &at.child(field), errors);
        }
        check_strategy(spec.get("updateStrategy").unwrap_or(&null), &at.child("updateStrategy"), errors);
    }

    fn prepare_for_update(&self, new: &mut Value, old: &Value, subresource: &str) {
        workload::prepare_for_update(new, old, subresource);
        let number = |set: &Value| set.at(&["metadata", "annotations", GENERATION]).text().parse::<i64>().ok();
        let template = ["spec", "template"];
        let before = number(old).unwrap_or(1);
        let now = if same(new.at(&template), old.at(&template)) { before } else { before + 1 };
        if subresource.is_empty() && number(new) != Some(now) {
            new.set(&["metadata", "annotations", GENERATION], now.to_string());
        }
    }

    fn check_update(&self, new: &Value, old: &Value, subresource: &str, errors: &mut Errors) {
        if subresource == "status" {
            workload::check_counts(new, COUNTS, &[], "", errors);
            return workload::check_collisions(new, old, errors);
        }
        self.check(new, errors);
        let selector = ["spec", "selector"];
        errors.immutable(&Path::new("spec.selector"), new.at(&selector), old.at(&selector));
    }

    fn warnings(&self, new: &Value, old: Option<&Value>) -> Vec<String> {
        workload::template_warnings(new, old)
    }

    fn columns(&self) -> &'static [Column] {
        COLUMNS
    }

    fn row(&self, set: &Value, now: i64) -> Vec<Value> {
        let [containers, images] = container_cells(set.at(&["spec", "template"]));
        vec![
            name_cell(set),
            count_cell(set, &["status", "desiredNumberScheduled"]),
            count_cell(set, &["status", "currentNumberScheduled"]),
            count_cell(set, &["status", "numberReady"]),
            count_cell(set, &["status", "updatedNumberScheduled"]),
            count_cell(set, &["status", "numberAvailable"]),
            labels_cell(set.at(&["spec", "template", "spec", "nodeSelector"])),
            age_cell(set, now),
            containers,
            images,
            selector_cell(set.at(&["spec", "selector"])),
        ]
    }
}

fn check_strategy(strategy: &Value, at: &Path<'_>, errors: &mut Errors) {
    let at_rolling = at.child("rollingUpdate");
    match strategy.get("type").text() {
        "OnDelete" => {}
        "RollingUpdate" => match strategy.get("rollingUpdate").filter(|r| !r.is_null()) {
            None => errors.required(&at_rolling, ""),
            Some(rolling) => {
                let (down, up) = (rolling.get("maxUnavailable"), rolling.get("maxSurge"));
                name::int_or_percent(down, &at_rolling.child("maxUnavailable"), errors);
                name::int_or_percent(up, &at_rolling.child("maxSurge"), errors);
                match (workload::is_zero(down), workload::is_zero(up)) {
                    (false, false) => {
                        let detail = "may not be set when maxUnavailable is non-zero";
                        errors.invalid(&at_rolling.child("maxSurge"), up, detail);
                    }
                    (true, true) => {
                        let detail = "cannot be 0 when maxSurge is 0";
                        errors.invalid(&at_rolling.child("maxUnavailable"), down, detail);
                    }
                    _ => {}
                }
                workload::check_percent_max(down, &at_rolling.child("maxUnavailable"), errors);
                workload::check_percent_max(up, &at_rolling.child("maxSurge"), errors);
            }
        },
        other => errors.not_supported(&at.child("type"), other, &["RollingUpdate", "OnDelete"]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gantry_machinery::value;

    #[test]
    fn defaults_are_upstreams() {
        let mut set = value!({"spec": {}});
        DaemonSets.default(&mut set);
        assert_eq!(
            set.at(&["spec", "updateStrategy"]),
            Some(&value!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0}}))
        );
        assert_eq!(set.i64_at(&["spec", "revisionHistoryLimit"]), Some(10));
        assert_eq!(set.i64_at(&["status", "numberReady"]), Some(0));
    }

    #[test]
    fn the_template_generation_counts_its_changes() {
        let mut old = value!({"spec": {"template": {"spec": {"containers": []}}}});
        DaemonSets.prepare_for_create(&mut old);
        DaemonSets.default(&mut old);
        let generation = |set: &Value| set.at(&["metadata", "annotations", GENERATION]).text().to_owned();
        let mut new = old.clone();
        new.set(&["spec", "minReadySeconds"], 5);
        DaemonSets.prepare_for_update(&mut new, &old, "");
        assert_eq!(generation(&new), "1");
        new.set(&["spec", "template", "spec", "hostNetwork"], true);
        DaemonSets.prepare_for_update(&mut new, &old, "");
        assert_eq!(generation(&new), "2");
    }

    #[test]
    fn surge_and_unavailable_exclude_each_other() {
        let mut errors = Errors::new();
        let both = value!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1, "maxSurge": "10%"}});
        check_strategy(&both, &Path::new("s"), &mut errors);
        let neither = value!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 0}});
        check_strategy(&neither, &Path::new("s"), &mut errors);
        let fields: Vec<String> = errors.into_vec().into_iter().map(|e| e.field).collect();
        assert_eq!(fields, ["s.rollingUpdate.maxSurge", "s.rollingUpdate.maxUnavailable"]);
    }
}
