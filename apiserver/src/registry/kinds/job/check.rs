//! The rules for a job's spec, new or changed.

use gantry_machinery::names;
use gantry_machinery::status::FieldError;
use gantry_machinery::value::Value;

use super::status::parse_indexes;
use crate::registry::validate::labels::{check_selector, selects};
use crate::registry::validate::template::check_template;
use crate::registry::validate::view::{Held, view};
use crate::registry::validate::{Errors, Path, name, same, security};

view! {
    struct Spec {
        parallelism: "parallelism",
        completions: "completions",
        mode: "completionMode",
        failure_policy: "podFailurePolicy",
        success_policy: "successPolicy",
        replacement: "podReplacementPolicy",
        per_index: "backoffLimitPerIndex",
        failed_max: "maxFailedIndexes",
        managed_by: "managedBy",
        template: "template",
    }
}

/// The spec and its selector.
pub(super) fn job(job: &Value, errors: &mut Errors) {
    let null = Value::Null;
    let spec = job.get("spec").unwrap_or(&null);
    let at = Path::new("spec");
    self::spec(spec, &at, errors);
    let selector = spec.get("selector").filter(|s| !s.is_null());
    match selector {
        None => errors.required(&at.child("selector"), ""),
        Some(selector) => check_selector(Some(selector), &at.child("selector"), errors),
    }
    let labels = spec.at(&["template", "metadata", "labels"]);
    if selector.is_none_or(|selector| !selects(selector, labels)) {
        let empty = Value::object();
        let detail = "`selector` does not match template `labels`";
        errors.invalid(&at.child("template.metadata.labels"), labels.unwrap_or(&empty), detail);
    }
}

/// The pods of an indexed job are hosts named after it and their index.
pub(super) fn host_names(job: &Value, errors: &mut Errors) {
    let completions = job.at(&["spec", "completions"]).number();
    if job.at(&["spec", "completionMode"]).text() != "Indexed" || completions <= 0 {
        return;
    }
    let name = job.at(&["metadata", "name"]).text();
    let last = format!("{name}-{}", completions - 1);
    if !names::dns_label(&last).is_empty() {
        let detail = format!("will not able to create pod with invalid DNS label: {last}");
        errors.invalid(&Path::new("metadata.name"), name, detail);
    }
}

/// A job's spec but for its selector, also inside a CronJob.
pub(in crate::registry::kinds) fn spec(spec: &Value, at: &Path<'_>, errors: &mut Errors) {
    let given = Spec::of(spec);
    for field in [
        "parallelism",
        "completions",
        "activeDeadlineSeconds",
        "backoffLimit",
        "ttlSecondsAfterFinished",
        "backoffLimitPerIndex",
        "maxFailedIndexes",
    ] {
        if let Some(number) = spec.get(field).int() {
            name::non_negative(number, &at.child(field), errors);
        }
    }
    if given.failed_max.is_some() && given.per_index.is_none() {
        errors.required(&at.child("backoffLimitPerIndex"), "when maxFailedIndexes is specified");
    }
    if let Some(manager) = given.managed_by.and_then(Value::as_str) {
        name::domain_prefixed_path(manager, &at.child("managedBy"), errors);
        if manager.len() > 63 {
            errors.too_long(&at.child("managedBy"), 63);
        }
    }
    match given.mode.text() {
        "Indexed" => check_indexed(&given, at, errors),
        mode => {
            if !matches!(mode, "" | "NonIndexed") {
                errors.not_supported(&at.child("completionMode"), mode, &["NonIndexed", "Indexed"]);
            } else {
                const DETAIL: &str = "requires indexed completion mode";
                for (field, value) in
                    [("backoffLimitPerIndex", given.per_index), ("maxFailedIndexes", given.failed_max)]
                {
                    if value.is_some() {
                        errors.invalid(&at.child(field), value, DETAIL);
                    }
                }
            }
        }
    }
    if let Some(policy) = given.failure_policy {
        check_failure_policy(policy, &given, &at.child("podFailurePolicy"), errors);
    }
    if let Some(policy) = given.success_policy {
        let at = at.child("successPolicy");
        if given.mode.text() == "Indexed" {
            check_success_policy(policy, given.completions.number(), &at, errors);
        } else {
            errors.invalid(&at, policy, "requires indexed completion mode");
        }
    }
    let allowed: &[&str] =
        if given.failure_policy.is_some() { &["Failed"] } else { &["Failed", "TerminatingOrFailed"] };
    security::check_choice(given.replacement, allowed, &at.child("podReplacementPolicy"), errors);
    let null = Value::Null;
    let template = given.template.unwrap_or(&null);
    let at = at.child("template");
    check_template(template, &at, errors);
    let spec_at = at.child("spec");
    let at = spec_at.child("restartPolicy");
    match template.at(&["spec", "restartPolicy"]).text() {
        "" | "Always" => errors.required(&at, "valid values: \"OnFailure\", \"Never\""),
        "Never" => {}
        policy @ "OnFailure" => {
            if given.failure_policy.is_some() {
                let detail = "only \"Never\" is supported when podFailurePolicy is specified";
                errors.invalid(&at, policy, detail);
            }
        }
        other => errors.not_supported(&at, other, &["OnFailure", "Never"]),
    }
}

/// Indexes are kept as text in the status: how many there may be is bounded by what that may cost.
fn check_indexed(given: &Spec<'_>, at: &Path<'_>, errors: &mut Errors) {
    const MANY: i64 = 100_000;
    let (completions, parallelism) = (given.completions.int(), given.parallelism.int());
    let failed = given.failed_max.int();
    let (parallelism_at, failed_at) = (at.child("parallelism"), at.child("maxFailedIndexes"));
    let most = |max: i64, at: &Path<'_>, value: i64, when: &str, errors: &mut Errors| {
        if value > max {
            errors.invalid(at, value, format!("must be less than or equal to {max}{when}"));
        }
    };
    if completions.is_none() {
        errors.required(&at.child("completions"), "when completion mode is Indexed");
    }
    if let Some(parallelism) = parallelism {
        most(MANY, &parallelism_at, parallelism, " when completion mode is Indexed", errors);
    }
    if let (Some(completions), Some(failed)) = (completions, failed)
        && failed > completions
    {
        errors.invalid(&failed_at, failed, "must be less than or equal to completions");
    }
    if let Some(failed) = failed {
        most(MANY, &failed_at, failed, "", errors);
    }
    if completions.is_some_and(|completions| completions > MANY) && given.per_index.is_some() {
        let when = " when completions are above 100000 and used with backoff limit per index";
        if failed.is_none() {
            errors.required(&failed_at, "must be specified when completions is above 100000");
        }
        most(10_000, &parallelism_at, parallelism.unwrap_or_default(), when, errors);
        most(10_000, &failed_at, failed.unwrap_or_default(), when, errors);
    }
}

/// An error about a value that upstream leaves out of the message.
fn without_value(at: &Path<'_>, detail: &str, errors: &mut Errors) {
    errors.add(FieldError { value: String::new(), ..FieldError::invalid(at, "", detail) });
}

fn check_failure_policy(policy: &Value, given: &Spec<'_>, at: &Path<'_>, errors: &mut Errors) {
    const ACTIONS: &[&str] = &["Count", "FailIndex", "FailJob", "Ignore"];
    let rules_at = at.child("rules");
    let rules = policy.get("rules").items();
    if rules.len() > 20 {
        errors.too_many(&rules_at, rules.len(), 20);
    }
    for (n, rule) in rules.iter().enumerate() {
        let at = rules_at.index(n);
        let action_at = at.child("action");
        match rule.get("action").text() {
            "" => errors.required(&action_at, format!("valid values: {}", listed(ACTIONS))),
            action @ "FailIndex" if given.per_index.is_none() => {
                errors.invalid(&action_at, action, "requires the backoffLimitPerIndex to be set");
            }
            action if !ACTIONS.contains(&action) => errors.not_supported(&action_at, action, ACTIONS),
            _ => {}
        }
        let codes = rule.get("onExitCodes").filter(|codes| !codes.is_null());
        if let Some(codes) = codes {
            check_exit_codes(codes, given.template, &at.child("onExitCodes"), errors);
        }
        let conditions = rule.get("onPodConditions").items();
        check_conditions(conditions, &at.child("onPodConditions"), errors);
        match (codes, conditions) {
            (Some(_), [_, ..]) => {
                without_value(&at, "specifying both OnExitCodes and OnPodConditions is not supported", errors);
            }
            (None, []) => without_value(&at, "specifying one of OnExitCodes and OnPodConditions is required", errors),
            _ => {}
        }
    }
}

/// Texts as Go prints a list of them.
fn listed(texts: &[&str]) -> String {
    let quoted: Vec<String> = texts.iter().map(|text| format!("{text:?}")).collect();
    format!("[{}]", quoted.join(" "))
}

fn check_conditions(conditions: &[Value], at: &Path<'_>, errors: &mut Errors) {
    const STATUSES: &[&str] = &["False", "True", "Unknown"];
    if conditions.len() > 20 {
        errors.too_many(at, conditions.len(), 20);
    }
    for (n, pattern) in conditions.iter().enumerate() {
        let at = at.index(n);
        name::qualified(pattern.get("type").text(), &at.child("type"), errors);
        match pattern.get("status").text() {
            "" => errors.required(&at.child("status"), format!("valid values: {}", listed(STATUSES))),
            status if !STATUSES.contains(&status) => errors.not_supported(&at.child("status"), status, STATUSES),
            _ => {}
        }
    }
}

fn check_exit_codes(codes: &Value, template: Option<&Value>, at: &Path<'_>, errors: &mut Errors) {
    const OPERATORS: &[&str] = &["In", "NotIn"];
    let operator = codes.get("operator").text();
    match operator {
        "" => errors.required(&at.child("operator"), format!("valid values: {}", listed(OPERATORS))),
        other if !OPERATORS.contains(&other) => errors.not_supported(&at.child("operator"), other, OPERATORS),
        _ => {}
    }
    if let Some(container) = codes.str_at(&["containerName"]) {
        let spec = template.and_then(|t| t.get("spec"));
        let mut all =
            ["containers", "initContainers"].into_iter().flat_map(|list| spec.and_then(|s| s.get(list)).items());
        if !all.any(|c| c.get("name").text() == container) {
            let detail = "must be one of the container or initContainer names in the pod template";
            errors.invalid(&at.child("containerName"), container, detail);
        }
    }
    let values_at = at.child("values");
    let empty = Value::Array(Vec::new());
    let given = codes.get("values").unwrap_or(&empty);
    let values: Vec<i64> = given.as_array().unwrap_or_default().iter().filter_map(Value::as_i64).collect();
    if values.is_empty() {
        errors.invalid(&values_at, given, "at least one value is required");
    } else if values.len() > 255 {
        errors.too_many(&values_at, values.len(), 255);
    }
    for (n, value) in values.iter().enumerate() {
        let at = values_at.index(n);
        if operator == "In" && *value == 0 {
            errors.invalid(&at, *value, "must not be 0 for the In operator");
        }
        if values[..n].contains(value) {
            errors.duplicate(&at, *value);
        }
    }
    if !values.is_sorted() {
        errors.invalid(&values_at, given, "must be ordered");
    }
}

fn check_success_policy(policy: &Value, completions: i64, at: &Path<'_>, errors: &mut Errors) {
    const INDEXES_BYTES_MAX: usize = 64 * 1024;
    let rules_at = at.child("rules");
    let rules = policy.get("rules").items();
    if rules.is_empty() {
        let detail = "at least one rules must be specified when the successPolicy is specified";
        errors.required(&rules_at, detail);
    }
    if rules.len() > 20 {
        errors.too_many(&rules_at, rules.len(), 20);
    }
    for (n, rule) in rules.iter().enumerate() {
        let at = rules_at.index(n);
        let (indexes, count) = (rule.str_at(&["succeededIndexes"]), rule.get("succeededCount").int());
        if indexes.is_none() && count.is_none() {
            errors.required(&at, "at least one of succeededCount or succeededIndexes must be specified");
        }
        let mut named = 0;
        if let Some(indexes) = indexes {
            let at = at.child("succeededIndexes");
            if indexes.len() > INDEXES_BYTES_MAX {
                errors.too_long(&at, INDEXES_BYTES_MAX);
            }
            match parse_indexes(indexes, completions) {
                Ok(intervals) => named = intervals.iter().map(|(first, last)| last - first + 1).sum(),
                Err(wrong) => errors.invalid(&at, indexes, format!("error parsing succeededIndexes: {wrong}")),
            }
        }
        let Some(count) = count else { continue };
        let at = at.child("succeededCount");
        name::non_negative(count, &at, errors);
        if count > completions {
            let of = "the number of specified completions";
            errors.invalid(&at, count, format!("must be less than or equal to {completions} ({of})"));
        }
        if indexes.is_some() && count > named {
            let of = "the number of indexes in the specified succeededIndexes field";
            errors.invalid(&at, count, format!("must be less than or equal to {named} ({of})"));
        }
    }
}

/// What an update may not change.
pub(super) fn change(new: &Value, old: &Value, errors: &mut Errors) {
    let at = Path::new("spec");
    let fixed = |field: &str, errors: &mut Errors| {
        let path = ["spec", field];
        errors.immutable(&at.child(field), new.at(&path), old.at(&path));
    };
    if new.at(&["spec", "completionMode"]).text() == "Indexed" {
        // An indexed job may be resized, both numbers together (KEP-3715).
        let path = ["spec", "completions"];
        let (now, parallelism) = (new.at(&path), new.at(&["spec", "parallelism"]));
        if now.is_some() && now != old.at(&path) && now != parallelism {
            let detail = "can only be modified in tandem with spec.parallelism";
            errors.invalid(&at.child("completions"), now, detail);
        }
    } else {
        fixed("completions", errors);
    }
    fixed("selector", errors);
    template_change(new, old, &at.child("template"), errors);
    for field in ["completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy", "successPolicy"] {
        fixed(field, errors);
    }
}

/// A job that has no pods may still change where they will run (KEP-2926), and what they are given (KEP-5440).
fn template_change(new: &Value, old: &Value, at: &Path<'_>, errors: &mut Errors) {
    const DIRECTIVES: [&[&str]; 6] = [
        &["metadata", "labels"],
        &["metadata", "annotations"],
        &["spec", "nodeSelector"],
        &["spec", "affinity", "nodeAffinity"],
        &["spec", "tolerations"],
        &["spec", "schedulingGates"],
    ];
    let template = |job: &Value| job.at(&["spec", "template"]).cloned().unwrap_or_default();
    let (full, mut before) = (template(new), template(old));
    let mut now = full.clone();
    let suspended = old.at(&["spec", "suspend"]).truth();
    let condition = |kind: &str| {
        let conditions = old.array_at(&["status", "conditions"]);
        conditions.iter().any(|c| c.get("type").text() == kind && c.get("status").text() == "True")
    };
    let started = old.at(&["status", "startTime"]).is_some_and(|time| !time.is_null());
    let idle = suspended && (!started || (condition("Suspended") && old.at(&["status", "active"]).number() == 0));
    if idle {
        for path in DIRECTIVES {
            now.remove(path);
            before.remove(path);
        }
        for template in [&mut now, &mut before] {
            for list in ["containers", "initContainers"] {
                let containers = template.at_mut(&["spec", list]).and_then(Value::as_array_mut);
                for container in containers.into_iter().flatten() {
                    container.remove(&["resources"]);
                }
            }
        }
    }
    if !same(Some(&now), Some(&before)) {
        errors.invalid(at, &full, "field is immutable");
    }
}
