//! What a HorizontalPodAutoscaler may ask for: bounds, a target, metrics and how fast it moves.

use gantry_machinery::names;
use gantry_machinery::value::Value;

use super::METRICS;
use crate::registry::validate::view::Held;
use crate::registry::validate::{Errors, Path, name, quantity, resources};

/// The spec of `scaler`, which takes the place of `old`.
pub(super) fn spec(scaler: &Value, old: Option<&Value>, errors: &mut Errors) {
    let null = Value::Null;
    let spec = scaler.get("spec").unwrap_or(&null);
    let old = old.and_then(|o| o.get("spec"));
    let at = Path::new("spec");
    let (least, most) = (spec.get("minReplicas").int(), spec.get("maxReplicas").number());
    // Who scaled to zero while that was possible keeps the right to.
    let bound = i64::from(old.and_then(|o| o.get("minReplicas")).int() != Some(0));
    if let Some(least) = least.filter(|n| *n < bound) {
        errors.invalid(&at.child("minReplicas"), least, format!("must be greater than or equal to {bound}"));
    }
    if most < 1 {
        errors.invalid(&at.child("maxReplicas"), most, "must be greater than 0");
    }
    if least.is_some_and(|n| most < n) {
        errors.invalid(&at.child("maxReplicas"), most, "must be greater than or equal to `minReplicas`");
    }

    let target = spec.get("scaleTargetRef");
    let named = |reference: Option<&Value>| {
        let part = |field: &str| reference.and_then(|r| r.get(field)).text().to_owned();
        (part("apiVersion"), part("kind"))
    };
    let (_, kind) = named(target);
    let group = if old.is_some_and(|o| named(o.get("scaleTargetRef")) == named(target)) {
        Group::Any
    } else if kind == "ReplicationController" {
        Group::Optional
    } else {
        Group::Required
    };
    check_reference(target, group, &at.child("scaleTargetRef"), errors);

    let metrics = spec.get("metrics").items();
    let objects =
        old.and_then(|o| o.get("metrics")).items().iter().filter_map(|m| m.at(&["object", "describedObject"]));
    let broken_before = objects.into_iter().any(|object| version_error(object, Group::Optional).is_some());
    let object_group = if broken_before { Group::Any } else { Group::Optional };
    let at_metrics = at.child("metrics");
    for (n, metric) in metrics.iter().enumerate() {
        check_metric(metric, object_group, &at_metrics.index(n), errors);
    }
    if least == Some(0) && !metrics.iter().any(|m| matches!(m.get("type").text(), "Object" | "External")) {
        let detail = "must specify at least one Object or External metric to support scaling to zero replicas";
        errors.forbidden(&at_metrics, detail);
    }
    for direction in ["scaleUp", "scaleDown"] {
        if let Some(rules) = spec.at(&["behavior", direction]).filter(|r| !r.is_null()) {
            check_rules(rules, &at.child("behavior").child(direction), errors);
        }
    }
}

/// What a reference's `apiVersion` has to say.
#[derive(Clone, Copy)]
enum Group {
    /// Whatever it says was there before.
    Any,
    /// A version, of the core group too.
    Optional,
    /// A group and a version.
    Required,
}

fn version_error(reference: &Value, group: Group) -> Option<String> {
    let version = reference.get("apiVersion").text();
    match group {
        Group::Any => None,
        _ if version.matches('/').count() > 1 => Some(format!("unexpected GroupVersion string: {version}")),
        Group::Required if version.split_once('/').is_none_or(|(group, _)| group.is_empty()) => {
            Some("apiVersion must specify API group".to_owned())
        }
        Group::Optional | Group::Required => None,
    }
}

fn check_reference(reference: Option<&Value>, group: Group, at: &Path<'_>, errors: &mut Errors) {
    let null = Value::Null;
    let reference = reference.unwrap_or(&null);
    for field in ["kind", "name"] {
        let text = reference.get(field).text();
        if text.is_empty() {
            errors.required(&at.child(field), "");
        }
        for wrong in names::path_segment(text, false) {
            errors.invalid(&at.child(field), text, wrong);
        }
    }
    if let Some(wrong) = version_error(reference, group) {
        errors.invalid(&at.child("apiVersion"), reference.get("apiVersion").text(), wrong);
    }
}

fn check_metric(metric: &Value, group: Group, at: &Path<'_>, errors: &mut Errors) {
    let kind = metric.get("type").text();
    let expected = METRICS.iter().find(|(name, _)| *name == kind).map(|(_, field)| *field);
    let unknown = |errors: &mut Errors| errors.not_supported(&at.child("type"), kind, &METRICS.map(|(name, _)| name));
    if kind.is_empty() {
        errors.required(&at.child("type"), "must specify a metric source type");
    }
    if expected.is_none() {
        unknown(errors);
    }
    let present: Vec<&str> = ["object", "external", "pods", "resource", "containerResource"]
        .into_iter()
        .filter(|field| metric.get(field).is_some_and(|m| !m.is_null()))
        .collect();
    // Only the first of several sources is looked at.
    if let Some(first) = present.first() {
        check_source(first, metric.get(first), group, &at.child(first), errors);
    }
    match expected {
        Some(field) if !present.contains(&field) => {
            errors.required(&at.child(field), "must populate information for the given metric source");
        }
        Some(_) => {}
        // Upstream says it a second time.
        None => unknown(errors),
    }
    if present.len() > 1 {
        for other in present.iter().filter(|field| Some(**field) != expected) {
            errors.forbidden(&at.child(other), "must populate the given metric source only");
        }
    }
}

fn check_source(field: &str, source: Option<&Value>, group: Group, at: &Path<'_>, errors: &mut Errors) {
    let null = Value::Null;
    let source = source.unwrap_or(&null);
    let text = source.get("name").text();
    match field {
        "resource" | "containerResource" if text.is_empty() => {
            errors.required(&at.child("name"), "must specify a resource name");
        }
        "containerResource" => resources::check_container_name(text, &at.child("name"), errors),
        "object" => check_reference(source.get("describedObject"), group, &at.child("describedObject"), errors),
        _ => {}
    }
    if field == "containerResource" {
        match source.get("container").text() {
            "" => errors.required(&at.child("container"), "must specify a container"),
            container => name::label(container, &at.child("container"), errors),
        }
    }
    if matches!(field, "object" | "external" | "pods") {
        let (text, at) = (source.at(&["metric", "name"]).text(), at.child("metric"));
        if text.is_empty() {
            errors.required(&at.child("name"), "must specify a metric name");
        }
        for wrong in names::path_segment(text, false) {
            errors.invalid(&at.child("name"), text, wrong);
        }
    }
    let target = source.get("target").unwrap_or(&null);
    check_target(field, target, &at.child("target"), errors);
}

fn check_target(field: &str, target: &Value, at: &Path<'_>, errors: &mut Errors) {
    let kind = target.get("type").text();
    if kind.is_empty() {
        errors.required(&at.child("type"), "must specify a metric target type");
    }
    if !matches!(kind, "Utilization" | "Value" | "AverageValue") {
        errors.invalid(&at.child("type"), kind, "must be either Utilization, Value, or AverageValue");
    }
    for value in ["value", "averageValue"] {
        if let Some(given) = target.get(value).and_then(quantity::canonical)
            && (given == "0" || given.starts_with('-'))
        {
            errors.invalid(&at.child(value), given, "must be positive");
        }
    }
    let utilization = target.get("averageUtilization").int();
    if let Some(percent) = utilization.filter(|p| *p < 1) {
        errors.invalid(&at.child("averageUtilization"), percent, "must be greater than 0");
    }
    let given = |value: &str| target.get(value).is_some_and(|v| !v.is_null());
    let (value, average) = (given("value"), given("averageValue"));
    match field {
        "object" if !value && !average => {
            errors.required(&at.child("averageValue"), "must set either a target value or averageValue");
        }
        "external" if !value && !average => {
            let detail = "must set either a target value for metric or a per-pod target";
            errors.required(&at.child("averageValue"), detail);
        }
        "external" if value && average => {
            let detail = "may not set both a target value for metric and a per-pod target";
            errors.forbidden(&at.child("value"), detail);
        }
        "pods" if !average => {
            errors.required(&at.child("averageValue"), "must specify a positive target averageValue");
        }
        "resource" | "containerResource" if utilization.is_none() && !average => {
            let detail = "must set either a target raw value or a target utilization";
            errors.required(&at.child("averageUtilization"), detail);
        }
        "resource" | "containerResource" if utilization.is_some() && average => {
            let detail = "may not set both a target raw value and a target utilization";
            errors.forbidden(&at.child("averageValue"), detail);
        }
        _ => {}
    }
}

fn check_rules(rules: &Value, at: &Path<'_>, errors: &mut Errors) {
    if let Some(window) = rules.get("stabilizationWindowSeconds").int() {
        let at = at.child("stabilizationWindowSeconds");
        if window < 0 {
            errors.invalid(&at, window, "must be greater than or equal to zero");
        }
        if window > 3600 {
            errors.invalid(&at, window, "must be less than or equal to 3600");
        }
    }
    if let Some(tolerance) = rules.get("tolerance").and_then(quantity::canonical)
        && tolerance.starts_with('-')
    {
        errors.invalid(&at.child("tolerance"), tolerance, "must be greater than or equal to 0");
    }
    if let Some(select) = rules.get("selectPolicy").and_then(Value::as_str)
        && !matches!(select, "Disabled" | "Max" | "Min")
    {
        errors.not_supported(&at.child("selectPolicy"), select, &["Disabled", "Max", "Min"]);
    }
    let policies = rules.get("policies").items();
    let at_policies = at.child("policies");
    if policies.is_empty() {
        errors.required(&at_policies, "must specify at least one Policy");
    }
    for (n, policy) in policies.iter().enumerate() {
        let at = at_policies.index(n);
        let kind = policy.get("type").text();
        if !matches!(kind, "Percent" | "Pods") {
            errors.not_supported(&at.child("type"), kind, &["Percent", "Pods"]);
        }
        let (value, period) = (policy.get("value").number(), policy.get("periodSeconds").number());
        if value <= 0 {
            errors.invalid(&at.child("value"), value, "must be greater than zero");
        }
        if period <= 0 {
            errors.invalid(&at.child("periodSeconds"), period, "must be greater than zero");
        }
        if period > 1800 {
            errors.invalid(&at.child("periodSeconds"), period, "must be less than or equal to 1800");
        }
    }
}
