//! `autoscaling/v1`: one CPU target in the spec, and all that only v2 has in annotations, so that clients of v1 lose
//! nothing of what they read and write back.
//!
//! The annotations' texts are upstream's: metrics and conditions in v1's shapes, the behaviour under the names of Go's
//! internal type.

use compact_str::CompactString;
use gantry_machinery::codec::json;
use gantry_machinery::value;
use gantry_machinery::value::{Object, Value};

use super::{METRICS, cpu_metric};
use crate::registry::kinds::field::fill_with;
use crate::registry::validate::view::Held;
use crate::registry::versions::Version;

/// HorizontalPodAutoscalers of `autoscaling/v1`.
pub(in crate::registry::kinds) const fn version() -> Version {
    Version::new("autoscaling", "v1", "horizontalpodautoscalers", ("autoscaling", "v2"))
        .converted(to_v2, from_v2)
        .defaulted(|scaler| fill_with(scaler.force_object().object_entry("spec"), "minReplicas", || Value::Int(1)))
}

const METRIC_SPECS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const METRIC_STATUSES: &str = "autoscaling.alpha.kubernetes.io/current-metrics";
const CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";
const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";

/// Drops the annotations that carry v2's fields through v1: in v2 the fields speak for themselves.
pub(super) fn drop_round_trip(scaler: &mut Value) {
    let Some(metadata) = scaler.get_mut("metadata").and_then(Value::as_object_mut) else { return };
    let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) else { return };
    annotations.retain(|key, _| !matches!(key, METRIC_SPECS | METRIC_STATUSES | CONDITIONS | BEHAVIOR));
    if annotations.is_empty() {
        metadata.remove("annotations");
    }
}

fn to_v2(scaler: &mut Value) {
    let carried = |key: &str| -> Option<Value> {
        json::parse(scaler.str_at(&["metadata", "annotations", key])?.as_bytes()).ok().filter(|v| !v.is_null())
    };
    let [metrics, current, conditions, behavior] = [METRIC_SPECS, METRIC_STATUSES, CONDITIONS, BEHAVIOR].map(carried);
    drop_round_trip(scaler);

    let spec = scaler.force_object().object_entry("spec");
    let mut all: Vec<Value> = metrics.as_ref().items().iter().map(|metric| nested(metric, &TARGET)).collect();
    if let Some(percent) = spec.remove("targetCPUUtilizationPercentage").filter(|p| !p.is_null()) {
        all.push(cpu_metric(percent));
    }
    if all.is_empty() {
        all.push(cpu_metric(Value::Int(80)));
    }
    spec.insert("metrics", Value::Array(all));
    if let Some(behavior) =
        behavior.as_ref().map(from_internal).filter(|b| b.as_object().is_some_and(|o| !o.is_empty()))
    {
        spec.insert("behavior", behavior);
    }

    let Some(status) = scaler.get_mut("status").and_then(Value::as_object_mut) else {
        if current.is_some() || conditions.is_some() {
            scaler.set(&["status"], Value::object());
            carry_status(scaler.force_object().object_entry("status"), current, conditions);
        }
        return;
    };
    if let Some(percent) = status.remove("currentCPUUtilizationPercentage").filter(|p| !p.is_null()) {
        let metric = value!({"type": "Resource", "resource": {
            "name": "cpu", "current": {"averageUtilization": percent, "averageValue": "0"}}});
        status.insert("currentMetrics", Value::Array(vec![metric]));
    }
    carry_status(status, current, conditions);
}

fn carry_status(status: &mut Object, current: Option<Value>, conditions: Option<Value>) {
    if let Some(current) = current {
        let all = current.as_array().unwrap_or_default().iter().map(|metric| nested(metric, &CURRENT)).collect();
        status.insert("currentMetrics", Value::Array(all));
    }
    if let Some(conditions @ Value::Array(_)) = conditions {
        status.insert("conditions", conditions);
    }
}

fn from_v2(scaler: &mut Value) {
    let mut carried: Vec<(&'static str, Value)> = Vec::new();
    let spec = scaler.force_object().object_entry("spec");
    let metrics = spec.remove("metrics").unwrap_or_default();
    let metrics = metrics.as_array().unwrap_or_default();
    let is_cpu =
        |metric: &&Value| metric.get("type").text() == "Resource" && metric.at(&["resource", "name"]).text() == "cpu";
    let utilization =
        |metric: &Value| metric.at(&["resource", "target", "averageUtilization"]).filter(|u| !u.is_null()).cloned();
    let others: Vec<Value> = metrics
        .iter()
        .filter(|metric| !(is_cpu(metric) && utilization(metric).is_some()))
        .map(|metric| flat(metric, &TARGET))
        .collect();
    if !others.is_empty() {
        carried.push((METRIC_SPECS, Value::Array(others)));
    }
    if let Some(percent) = metrics.iter().find(is_cpu).and_then(utilization) {
        spec.insert("targetCPUUtilizationPercentage", percent);
    }
    let behavior = spec.remove("behavior").filter(|b| !b.is_null());

    if let Some(status) = scaler.get_mut("status").and_then(Value::as_object_mut) {
        let current = status.remove("currentMetrics").unwrap_or_default();
        let current = current.as_array().unwrap_or_default();
        if !current.is_empty() {
            let percent =
                |m: &Value| m.at(&["resource", "current", "averageUtilization"]).filter(|u| !u.is_null()).cloned();
            if let Some(percent) = current.iter().filter(is_cpu).filter_map(percent).next_back() {
                status.insert("currentCPUUtilizationPercentage", percent);
            }
            let all = current.iter().map(|metric| flat(metric, &CURRENT)).collect();
            carried.push((METRIC_STATUSES, Value::Array(all)));
        }
        if let Some(conditions) = status.remove("conditions").filter(|c| c.as_array().is_some_and(|c| !c.is_empty())) {
            carried.push((CONDITIONS, conditions));
        }
    }
    if let Some(behavior) = behavior {
        carried.push((BEHAVIOR, to_internal(&behavior)));
    }
    for (key, value) in carried {
        scaler.set(&["metadata", "annotations", key], json::to_string(&value));
    }
}

/// Whether a metric says what is wanted or what is: the fields' names differ in one word.
struct Side {
    /// The object that v2 keeps the amounts in.
    key: &'static str,
    value: &'static str,
    average_value: &'static str,
    average_utilization: &'static str,
    /// Whether v2 says of which type the amount is.
    typed: bool,
}

const TARGET: Side = Side {
    key: "target",
    value: "targetValue",
    average_value: "targetAverageValue",
    average_utilization: "targetAverageUtilization",
    typed: true,
};
const CURRENT: Side = Side {
    key: "current",
    value: "currentValue",
    average_value: "currentAverageValue",
    average_utilization: "currentAverageUtilization",
    typed: false,
};

/// A metric of v2 in v1's shape.
fn flat(metric: &Value, side: &Side) -> Value {
    let mut out = value!({"type": (metric.get("type").cloned().unwrap_or_default())});
    for (_, source) in METRICS {
        let Some(given) = metric.get(source).filter(|s| !s.is_null()) else { continue };
        let mut flat = Object::new();
        let mut put = |key: &'static str, value: Option<&Value>| {
            if let Some(value) = value.filter(|v| !v.is_null()) {
                flat.insert(key, value.clone());
            }
        };
        let amount = |field: &str| given.at(&[side.key, field]);
        let zero = Value::from("0");
        // Where v1 has no pointer, an amount that is not there reads as zero.
        let or_zero =
            |amount: Option<&'_ Value>| amount.cloned().filter(|a| !a.is_null()).unwrap_or_else(|| zero.clone());
        let name = given.at(&["metric", "name"]);
        let selector = given.at(&["metric", "selector"]);
        match source {
            "resource" | "containerResource" => {
                put("name", given.get("name"));
                put(side.average_utilization, amount("averageUtilization"));
                if side.typed {
                    put(side.average_value, amount("averageValue"));
                } else {
                    put(side.average_value, Some(&or_zero(amount("averageValue"))));
                }
                put("container", given.get("container"));
            }
            "pods" => {
                put("metricName", name);
                put(side.average_value, Some(&or_zero(amount("averageValue"))));
                put("selector", selector);
            }
            "object" => {
                put("target", given.get("describedObject"));
                put("metricName", name);
                put(side.value, Some(&or_zero(amount("value"))));
                put("selector", selector);
                put("averageValue", amount("averageValue"));
            }
            _ => {
                put("metricName", name);
                put("metricSelector", selector);
                if side.typed {
                    put(side.value, amount("value"));
                } else {
                    put(side.value, Some(&or_zero(amount("value"))));
                }
                put(side.average_value, amount("averageValue"));
            }
        }
        out.set(&[source], flat);
    }
    out
}

/// A metric of v1's shape in v2's.
fn nested(metric: &Value, side: &Side) -> Value {
    let mut out = value!({"type": (metric.get("type").cloned().unwrap_or_default())});
    for (_, source) in METRICS {
        let Some(given) = metric.get(source).filter(|s| !s.is_null()) else { continue };
        let get = |key: &str| given.get(key).filter(|v| !v.is_null()).cloned();
        let average = get(if source == "object" { "averageValue" } else { side.average_value });
        let utilization = get(side.average_utilization);
        let mut value = get(side.value);
        if average.is_some() && source == "object" {
            // Zero is how v1 writes that there is none beside an average.
            value = value.filter(|v| v.as_str() != Some("0"));
        }
        let kind = match source {
            _ if utilization.is_some() => "Utilization",
            "resource" | "containerResource" | "pods" => "AverageValue",
            _ if average.is_some() => "AverageValue",
            _ => "Value",
        };
        let mut amounts = Object::new();
        if side.typed {
            amounts.insert("type", kind);
        }
        for (key, amount) in [("value", value), ("averageValue", average), ("averageUtilization", utilization)] {
            if let Some(amount) = amount {
                amounts.insert(key, amount);
            }
        }
        let mut whole = Object::new();
        let mut put = |key: &'static str, value: Option<Value>| {
            if let Some(value) = value {
                whole.insert(key, value);
            }
        };
        match source {
            "resource" | "containerResource" => {
                put("name", get("name"));
                put(side.key, Some(Value::Object(amounts)));
                put("container", get("container"));
            }
            _ => {
                if source == "object" {
                    put("describedObject", get("target"));
                }
                let mut named = Object::new();
                named.insert("name", get("metricName").unwrap_or_else(|| Value::from("")));
                if let Some(selector) = get(if source == "external" { "metricSelector" } else { "selector" }) {
                    named.insert("selector", selector);
                }
                put("metric", Some(Value::Object(named)));
                put(side.key, Some(Value::Object(amounts)));
            }
        }
        out.set(&[source], whole);
    }
    out
}

/// The behaviour's fields: as v2 names them, and as Go's internal type does.
const INTERNAL: [(&str, &str); 9] = [
    ("scaleUp", "ScaleUp"),
    ("scaleDown", "ScaleDown"),
    ("stabilizationWindowSeconds", "StabilizationWindowSeconds"),
    ("selectPolicy", "SelectPolicy"),
    ("policies", "Policies"),
    ("tolerance", "Tolerance"),
    ("type", "Type"),
    ("value", "Value"),
    ("periodSeconds", "PeriodSeconds"),
];

fn to_internal(behavior: &Value) -> Value {
    let fill = |given: Option<&Value>, names: &[&str]| match given {
        Some(Value::Object(given)) => {
            let field = |name: &&str| {
                let (v2, internal) = INTERNAL.iter().find(|(v2, _)| v2 == name).copied().unwrap_or((name, name));
                let value = match given.get(v2) {
                    Some(Value::Array(items)) => Value::Array(items.iter().map(renamed).collect()),
                    other => other.cloned().unwrap_or_default(),
                };
                (CompactString::from(internal), value)
            };
            Value::Object(names.iter().map(field).collect())
        }
        _ => Value::Null,
    };
    let rules = ["stabilizationWindowSeconds", "selectPolicy", "policies", "tolerance"];
    let mut out = Object::new();
    out.insert("ScaleUp", fill(behavior.get("scaleUp"), &rules));
    out.insert("ScaleDown", fill(behavior.get("scaleDown"), &rules));
    Value::Object(out)
}

fn renamed(policy: &Value) -> Value {
    let fields = policy.as_object().into_iter().flat_map(Object::iter).map(|(key, value)| {
        let internal = INTERNAL.iter().find(|(v2, _)| v2 == key).map_or(key.as_str(), |(_, internal)| internal);
        (CompactString::from(internal), value.clone())
    });
    Value::Object(fields.collect())
}

/// Go reads names without regard to case; what it does not know it passes over.
fn from_internal(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let known = fields.iter().filter(|(_, value)| !value.is_null()).filter_map(|(key, value)| {
                let (v2, _) = INTERNAL.iter().find(|(v2, _)| v2.eq_ignore_ascii_case(key))?;
                Some((CompactString::from(*v2), from_internal(value)))
            });
            Value::Object(known.collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(from_internal).collect()),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v2() -> Value {
        value!({
            "metadata": {"name": "h", "annotations": {"mine": "x"}},
            "spec": {
                "maxReplicas": 3, "scaleTargetRef": {"kind": "Deployment", "name": "web"},
                "metrics": [
                    {"type": "Object", "object": {
                        "describedObject": {"kind": "Service", "name": "s"},
                        "metric": {"name": "hits", "selector": {"matchLabels": {"a": "b"}}},
                        "target": {"type": "Value", "value": "10k"}}},
                    {"type": "External", "external": {
                        "metric": {"name": "queue"}, "target": {"type": "AverageValue", "averageValue": "5"}}},
                    {"type": "Pods", "pods": {
                        "metric": {"name": "rate"}, "target": {"type": "AverageValue", "averageValue": "1k"}}},
                    {"type": "ContainerResource", "containerResource": {
                        "name": "memory", "target": {"type": "Utilization", "averageUtilization": 60}, "container": "c"}},
                    {"type": "Resource", "resource": {
                        "name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70}}},
                ],
                "behavior": {"scaleDown": {"selectPolicy": "Max",
                    "policies": [{"type": "Percent", "value": 100, "periodSeconds": 15}]}},
            },
            "status": {
                "currentReplicas": 1, "desiredReplicas": 2,
                "currentMetrics": [{"type": "Resource", "resource": {
                    "name": "cpu", "current": {"averageValue": "100m", "averageUtilization": 50}}}],
                "conditions": [{"type": "AbleToScale", "status": "True"}],
            },
        })
    }

    #[test]
    fn v1_carries_what_only_v2_has_in_upstreams_annotations() {
        let mut scaler = v2();
        from_v2(&mut scaler);
        assert_eq!(scaler.i64_at(&["spec", "targetCPUUtilizationPercentage"]), Some(70));
        assert_eq!(scaler.i64_at(&["status", "currentCPUUtilizationPercentage"]), Some(50));
        assert!(scaler.at(&["spec", "metrics"]).is_none() && scaler.at(&["status", "conditions"]).is_none());
        let carried = |key: &str| scaler.str_at(&["metadata", "annotations", key]).unwrap();
        assert_eq!(
            carried(METRIC_STATUSES),
            r#"[{"type":"Resource","resource":{"name":"cpu","currentAverageUtilization":50,"currentAverageValue":"100m"}}]"#
        );
        assert_eq!(carried(CONDITIONS), r#"[{"type":"AbleToScale","status":"True"}]"#);
        assert_eq!(
            carried(BEHAVIOR),
            r#"{"ScaleUp":null,"ScaleDown":{"StabilizationWindowSeconds":null,"SelectPolicy":"Max","Policies":[{"Type":"Percent","Value":100,"PeriodSeconds":15}],"Tolerance":null}}"#
        );
        assert!(carried(METRIC_SPECS).starts_with(
            r#"[{"type":"Object","object":{"target":{"kind":"Service","name":"s"},"metricName":"hits","targetValue":"10k","selector":{"matchLabels":{"a":"b"}}}}"#
        ));
    }

    #[test]
    fn what_went_through_v1_comes_back_the_same() {
        let mut scaler = v2();
        from_v2(&mut scaler);
        to_v2(&mut scaler);
        assert_eq!(scaler, v2());
    }

    #[test]
    fn v1_without_a_target_means_eighty_percent_and_broken_annotations_are_passed_over() {
        let mut scaler = value!({"metadata": {"annotations": {(METRIC_SPECS): "no json"}}, "spec": {"maxReplicas": 2}});
        to_v2(&mut scaler);
        assert_eq!(scaler.array_at(&["spec", "metrics"]), [cpu_metric(Value::Int(80))]);
        assert!(scaler.at(&["metadata", "annotations"]).is_none());
    }
}
