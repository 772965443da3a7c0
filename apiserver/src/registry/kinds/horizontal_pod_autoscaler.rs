//! HorizontalPodAutoscaler: how many replicas a load deserves, stored in `autoscaling/v2`. Defaulted and checked here;
//! a loop acts on it.

mod check;
pub(super) mod v1;

use gantry_machinery::value::{Object, Value};

use super::cells::{age_cell, name_cell};
use super::field::fill_with;
use super::row;
use crate::registry::strategy::{Column, Strategy};
use crate::registry::validate::view::Held;
use crate::registry::validate::{Errors, Path, name, quantity};

/// HorizontalPodAutoscalers of `autoscaling`.
#[derive(Debug)]
pub struct HorizontalPodAutoscalers;

impl Strategy for HorizontalPodAutoscalers {
    row!("autoscaling", "v2", "horizontalpodautoscalers");

    fn default(&self, scaler: &mut Value) {
        let spec = scaler.force_object().object_entry("spec");
        fill_with(spec, "minReplicas", || Value::Int(1));
        if spec.get("metrics").items().is_empty() {
            spec.insert("metrics", Value::Array(vec![cpu_metric(Value::Int(80))]));
        }
        if let Some(behavior) = spec.get_mut("behavior").and_then(Value::as_object_mut) {
            default_rules(behavior.object_entry("scaleUp"), Some(0), &[("Pods", 4), ("Percent", 100)]);
            default_rules(behavior.object_entry("scaleDown"), None, &[("Percent", 100)]);
        }
        v1::drop_round_trip(scaler);
        let status = scaler.force_object().object_entry("status");
        fill_with(status, "desiredReplicas", || Value::Int(0));
    }

    fn check(&self, scaler: &Value, errors: &mut Errors) {
        check::spec(scaler, None, errors);
    }

    fn check_update(&self, new: &Value, old: &Value, subresource: &str, errors: &mut Errors) {
        if subresource == "status" {
            let at = Path::new("status");
            for count in ["currentReplicas", "desiredReplicas"] {
                name::non_negative(new.at(&["status", count]).number(), &at.child(count), errors);
            }
        } else {
            check::spec(new, Some(old), errors);
        }
    }

    fn has_generation(&self) -> bool {
        false
    }

    fn columns(&self) -> &'static [Column] {
        const {
            &[
                Column::name(),
                Column::string("Reference"),
                Column::string("Targets"),
                Column::string("MinPods"),
                Column::integer("MaxPods"),
                Column::integer("Replicas"),
                Column::string("Age"),
            ]
        }
    }

    fn row(&self, scaler: &Value, now: i64) -> Vec<Value> {
        let reference = ["kind", "name"].map(|f| scaler.at(&["spec", "scaleTargetRef", f]).text()).join("/");
        let least = scaler.at(&["spec", "minReplicas"]).int();
        vec![
            name_cell(scaler),
            Value::from(reference),
            Value::from(targets(scaler)),
            Value::from(least.map_or_else(|| "<unset>".to_owned(), |n| n.to_string())),
            Value::Int(scaler.at(&["spec", "maxReplicas"]).number()),
            Value::Int(scaler.at(&["status", "currentReplicas"]).number()),
            age_cell(scaler, now),
        ]
    }
}

/// A target of so many percent of the CPU that pods ask for.
fn cpu_metric(percent: Value) -> Value {
    gantry_machinery::value!({
        "type": "Resource",
        "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": percent}},
    })
}

/// A behaviour that says anything says all of it.
fn default_rules(rules: &mut Object, window: Option<i64>, policies: &[(&'static str, i64)]) {
    if let Some(window) = window {
        fill_with(rules, "stabilizationWindowSeconds", || Value::Int(window));
    }
    fill_with(rules, "selectPolicy", || Value::from("Max"));
    fill_with(rules, "policies", || {
        let policy = |(kind, value): &(&'static str, i64)| gantry_machinery::value!({"type": (*kind), "value": (*value), "periodSeconds": 15});
        Value::Array(policies.iter().map(policy).collect())
    });
}

const METRICS: [(&str, &str); 5] = [
    ("ContainerResource", "containerResource"),
    ("External", "external"),
    ("Object", "object"),
    ("Pods", "pods"),
    ("Resource", "resource"),
];

/// `cpu: 12%/80%` and so on, for the first two metrics.
fn targets(scaler: &Value) -> String {
    let metrics = scaler.array_at(&["spec", "metrics"]);
    if metrics.is_empty() {
        return "<none>".to_owned();
    }
    let shown: Vec<String> = metrics
        .iter()
        .enumerate()
        .map(|(n, metric)| {
            let field = METRICS.iter().find(|(kind, _)| *kind == metric.get("type").text()).map_or("", |(_, f)| f);
            let current = scaler.array_at(&["status", "currentMetrics"]).get(n).and_then(|m| m.at(&[field, "current"]));
            let target = metric.at(&[field, "target"]);
            let name = metric.at(&[field, "name"]).text();
            let label = if name.is_empty() { String::new() } else { format!("{name}: ") };
            match target.and_then(|t| t.get("averageUtilization")).int() {
                Some(wanted) => {
                    let now = current.and_then(|c| c.get("averageUtilization")).int();
                    let now = now.map_or_else(|| "<unknown>".to_owned(), |n| format!("{n}%"));
                    format!("{label}{now}/{wanted}%")
                }
                None => {
                    let value =
                        |part: Option<&Value>, key: &str| part.and_then(|p| p.get(key)).and_then(quantity::canonical);
                    let average = value(target, "averageValue");
                    let key = if average.is_some() { "averageValue" } else { "value" };
                    let now = value(current, key).unwrap_or_else(|| "<unknown>".to_owned());
                    let wanted = average.clone().or_else(|| value(target, "value")).unwrap_or_default();
                    let average =
                        if average.is_some() && matches!(field, "external" | "object") { " (avg)" } else { "" };
                    format!("{label}{now}/{wanted}{average}")
                }
            }
        })
        .collect();
    match shown.as_slice() {
        [a, b, rest @ ..] if !rest.is_empty() => format!("{a}, {b} + {} more...", rest.len()),
        all => all.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gantry_machinery::value;

    fn causes(errors: Vec<gantry_machinery::status::FieldError>) -> Vec<String> {
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn autoscalers_default_to_cpu() {
        let mut scaler = value!({"metadata": {"name": "h"}, "spec": {
            "maxReplicas": 3, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}}});
        HorizontalPodAutoscalers.default(&mut scaler);
        assert_eq!(causes(HorizontalPodAutoscalers.validate(&scaler)), Vec::<String>::new());
        let row = HorizontalPodAutoscalers.row(&scaler, 0);
        assert_eq!(row[1].as_str(), Some("Deployment/web"));
        assert_eq!(row[2].as_str(), Some("cpu: <unknown>/80%"));
    }
}
