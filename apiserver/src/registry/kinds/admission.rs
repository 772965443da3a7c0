//! Admission by configuration (`admissionregistration.k8s.io`): webhooks to call, policies in CEL, and where policies apply.
//!
//! Kept and checked; nothing calls the webhooks or evaluates the policies yet, and whoever creates one is told so.

use gantry_machinery::names;
use gantry_machinery::value::{Object, Value};
use http::Uri;

use super::cells::{age_cell, name_cell, text_cell};
use super::field::{fill, fill_with};
use super::plain::Plain;
use crate::registry::strategy::Column;
use crate::registry::validate::labels::check_selector;
use crate::registry::validate::view::Held;
use crate::registry::validate::{Errors, Path, collection, condition, expression, name, security};

const GROUP: &str = "admissionregistration.k8s.io";
const OPERATIONS: &[&str] = &["*", "CONNECT", "CREATE", "DELETE", "UPDATE"];
const CONDITIONS_MAX: usize = 64;
const FAILURE_POLICIES: &[&str] = &["Fail", "Ignore"];
const REINVOCATIONS: &[&str] = &["IfNeeded", "Never"];

const WEBHOOK_COLUMNS: &[Column] = &[Column::name(), Column::integer("Webhooks"), Column::string("Age")];
const BINDING_COLUMNS: &[Column] =
    &[Column::name(), Column::string("PolicyName"), Column::string("ParamRef"), Column::string("Age")];

/// The kinds.
pub(super) static ALL: [Plain; 6] = [
    Plain::new(GROUP, "validatingwebhookconfigurations", WEBHOOK_COLUMNS, webhook_row)
        .with(|hooks| default_webhooks(hooks, false), |hooks, errors| check_webhooks(hooks, false, errors))
        .warning(not_enforced)
        .with_generation()
        .versioned(),
    Plain::new(GROUP, "mutatingwebhookconfigurations", WEBHOOK_COLUMNS, webhook_row)
        .with(|hooks| default_webhooks(hooks, true), |hooks, errors| check_webhooks(hooks, true, errors))
        .warning(not_enforced)
        .with_generation()
        .versioned(),
    Plain::new(
        GROUP,
        "validatingadmissionpolicies",
        const { &[Column::name(), Column::integer("Validations"), Column::string("ParamKind"), Column::string("Age")] },
        |policy, now| policy_row(policy, "validations", now),
    )
    .with(default_policy, |policy, errors| check_policy(policy, check_validations, errors))
    .changing(|new, _, subresource, errors| match subresource {
        "status" => {
            condition::check_all(new.array_at(&["status", "conditions"]), &Path::new("status.conditions"), errors);
        }
        _ => check_policy(new, check_validations, errors),
    })
    .warning(not_enforced)
    .with_generation(),
    Plain::new(GROUP, "validatingadmissionpolicybindings", BINDING_COLUMNS, binding_row)
        .with(default_binding, |binding, errors| {
            check_binding(binding, errors);
            check_actions(binding, errors);
        })
        .warning(not_enforced)
        .with_generation(),
    Plain::new(
        GROUP,
        "mutatingadmissionpolicies",
        const { &[Column::name(), Column::integer("Mutations"), Column::string("ParamKind"), Column::string("Age")] },
        |policy, now| policy_row(policy, "mutations", now),
    )
    .with(
        |policy| {
            default_policy(policy);
            fill(policy.force_object().object_entry("spec"), "reinvocationPolicy", "Never");
        },
        |policy, errors| check_policy(policy, check_mutations, errors),
    )
    .warning(not_enforced)
    .with_generation(),
    Plain::new(GROUP, "mutatingadmissionpolicybindings", BINDING_COLUMNS, binding_row)
        .with(default_binding, check_binding)
        .warning(not_enforced)
        .with_generation(),
];

/// What whoever creates one must know.
fn not_enforced(object: &Value, old: Option<&Value>) -> Vec<String> {
    match old {
        None => vec![format!("this server stores {} objects but does not act on them yet", object.get("kind").text())],
        Some(_) => Vec::new(),
    }
}

fn count(object: &Value, path: &[&str]) -> Value {
    Value::Int(i64::try_from(object.array_at(path).len()).unwrap_or(i64::MAX))
}

fn webhook_row(object: &Value, now: i64) -> Vec<Value> {
    vec![name_cell(object), count(object, &["webhooks"]), age_cell(object, now)]
}

fn policy_row(policy: &Value, what: &str, now: i64) -> Vec<Value> {
    let kind = policy.at(&["spec", "paramKind"]).filter(|k| !k.is_null());
    let kind = kind.map(|k| format!("{}/{}", k.get("apiVersion").text(), k.get("kind").text()));
    let kind = kind.unwrap_or_else(|| "<unset>".to_owned());
    vec![name_cell(policy), count(policy, &["spec", what]), Value::from(kind), age_cell(policy, now)]
}

fn binding_row(binding: &Value, now: i64) -> Vec<Value> {
    let parameters = binding.at(&["spec", "paramRef"]).filter(|p| !p.is_null());
    let parameters = match parameters {
        None => Value::from("<unset>"),
        Some(p) if !p.get("name").text().is_empty() => Value::from(p.get("name").text()),
        Some(p) => super::cells::selector_cell(p.get("selector")),
    };
    vec![name_cell(binding), text_cell(binding, &["spec", "policyName"]), parameters, age_cell(binding, now)]
}

fn default_rules(rules: Option<&mut Value>) {
    for rule in rules.and_then(Value::as_array_mut).into_iter().flatten().filter_map(Value::as_object_mut) {
        fill_with(rule, "scope", || Value::from("*"));
    }
}

fn default_selection(holder: &mut Object) {
    fill(holder, "matchPolicy", "Equivalent");
    for field in ["namespaceSelector", "objectSelector"] {
        fill_with(holder, field, Value::object);
    }
}

fn default_webhooks(object: &mut Value, mutating: bool) {
    let hooks = object.get_mut("webhooks").and_then(Value::as_array_mut);
    for hook in hooks.into_iter().flatten().filter_map(Value::as_object_mut) {
        fill(hook, "failurePolicy", "Fail");
        default_selection(hook);
        fill_with(hook, "timeoutSeconds", || Value::Int(10));
        if mutating {
            fill(hook, "reinvocationPolicy", "Never");
        }
        default_rules(hook.get_mut("rules"));
        let service = hook.get_mut("clientConfig").and_then(|c| c.get_mut("service"));
        if let Some(service) = service.and_then(Value::as_object_mut) {
            fill_with(service, "port", || Value::Int(443));
        }
    }
}

fn default_resources(resources: Option<&mut Value>) {
    let Some(resources) = resources.and_then(Value::as_object_mut) else { return };
    default_selection(resources);
    default_rules(resources.get_mut("resourceRules"));
    default_rules(resources.get_mut("excludeResourceRules"));
}

fn default_policy(policy: &mut Value) {
    let spec = policy.force_object().object_entry("spec");
    fill(spec, "failurePolicy", "Fail");
    default_resources(spec.get_mut("matchConstraints"));
}

fn default_binding(binding: &mut Value) {
    default_resources(binding.at_mut(&["spec", "matchResources"]));
    if let Some(parameters) = binding.at_mut(&["spec", "paramRef"]).and_then(Value::as_object_mut) {
        fill_with(parameters, "parameterNotFoundAction", || Value::from("Deny"));
    }
}

fn check_webhooks(object: &Value, mutating: bool, errors: &mut Errors) {
    let at = Path::new("webhooks");
    let hooks = object.array_at(&["webhooks"]);
    for (n, hook) in hooks.iter().enumerate() {
        let at = at.index(n);
        let own = hook.get("name").text();
        if hooks[..n].iter().any(|h| h.get("name").text() == own) {
            errors.duplicate(&at.child("name"), own);
        }
        check_webhook(hook, mutating, &at, errors);
    }
}

fn check_webhook(hook: &Value, mutating: bool, at: &Path<'_>, errors: &mut Errors) {
    let (own, name_at) = (hook.get("name").text(), at.child("name"));
    if own.is_empty() {
        errors.required(&name_at, "");
    } else {
        name::subdomain(own, &name_at, errors);
        if own.split('.').count() < 3 {
            errors.invalid(&name_at, own, "should be a domain with at least three segments separated by dots");
        }
    }
    check_rules(hook.get("rules"), &at.child("rules"), errors);
    security::check_choice(hook.get("failurePolicy"), FAILURE_POLICIES, &at.child("failurePolicy"), errors);
    check_match_policy(hook, at, errors);
    let effects_at = at.child("sideEffects");
    match hook.get("sideEffects").text() {
        "" => errors.required(&effects_at, "must specify one of None, NoneOnDryRun"),
        "None" | "NoneOnDryRun" => {}
        other => errors.not_supported(&effects_at, other, &["None", "NoneOnDryRun"]),
    }
    if let Some(seconds) = hook.get("timeoutSeconds").int().filter(|s| !(1..=30).contains(s)) {
        errors.invalid(&at.child("timeoutSeconds"), seconds, "the timeout value must be between 1 and 30 seconds");
    }
    check_selectors(hook, at, errors);
    let null = Value::Null;
    check_client(hook.get("clientConfig").unwrap_or(&null), &at.child("clientConfig"), errors);
    check_versions(hook.get("admissionReviewVersions"), &at.child("admissionReviewVersions"), errors);
    if mutating {
        security::check_choice(hook.get("reinvocationPolicy"), REINVOCATIONS, &at.child("reinvocationPolicy"), errors);
    }
    check_conditions(hook.get("matchConditions"), &at.child("matchConditions"), errors);
}

fn check_match_policy(holder: &Value, at: &Path<'_>, errors: &mut Errors) {
    let policies = &["Equivalent", "Exact"];
    security::check_choice(holder.get("matchPolicy"), policies, &at.child("matchPolicy"), errors);
}

fn check_selectors(holder: &Value, at: &Path<'_>, errors: &mut Errors) {
    for field in ["namespaceSelector", "objectSelector"] {
        check_selector(holder.get(field).filter(|s| !s.is_null()), &at.child(field), errors);
    }
}

fn check_client(client: &Value, at: &Path<'_>, errors: &mut Errors) {
    let url = client.get("url").and_then(Value::as_str);
    let service = client.get("service").filter(|s| !s.is_null());
    match (url, service) {
        (None, None) | (Some(_), Some(_)) => errors.required(at, "exactly one of url or service is required"),
        (Some(url), None) => check_url(url, &at.child("url"), errors),
        (None, Some(service)) => {
            let at = at.child("service");
            for field in ["name", "namespace"] {
                if service.get(field).text().is_empty() {
                    errors.required(&at.child(field), format!("service {field} is required"));
                }
            }
            let port = service.get("port").number();
            if !(1..=65535).contains(&port) {
                let detail = format!("port is not valid: {}", names::inclusive_range_error(1, 65535));
                errors.invalid(&at.child("port"), port, detail);
            }
            if let Some(path) = service.get("path").and_then(Value::as_str) {
                check_service_path(path, &at.child("path"), errors);
            }
        }
    }
}

fn check_service_path(path: &str, at: &Path<'_>, errors: &mut Errors) {
    let Some(rest) = path.strip_prefix('/') else { return errors.invalid(at, path, "must start with a '/'") };
    if rest.is_empty() {
        return;
    }
    let steps: Vec<&str> = rest.strip_suffix('/').unwrap_or(rest).split('/').collect();
    for (n, step) in steps.iter().enumerate() {
        if step.is_empty() {
            errors.invalid(at, path, format!("segment[{n}] may not be empty"));
        } else {
            for wrong in names::dns_subdomain(step) {
                errors.invalid(at, path, format!("segment[{n}]: {wrong}"));
            }
        }
    }
}

fn check_url(url: &str, at: &Path<'_>, errors: &mut Errors) {
    const FORM: &str = "; desired format: https://host[/path]";
    let (url_plain, fragment) = url.split_once('#').map_or((url, ""), |(u, f)| (u, f));
    let Ok(uri) = url_plain.parse::<Uri>() else {
        return errors.required(at, format!("url must be a valid URL{FORM}"));
    };
    let mut wrong = |value: &str, detail: &str| errors.invalid(at, value, format!("{detail}{FORM}"));
    let scheme = uri.scheme_str().unwrap_or_default();
    if scheme != "https" {
        wrong(scheme, "'https' is the only allowed URL scheme");
    }
    let authority = uri.authority().map(http::uri::Authority::as_str).unwrap_or_default();
    if uri.host().unwrap_or_default().is_empty() {
        wrong(authority, "host must be specified");
    }
    if let Some((user, _)) = authority.rsplit_once('@') {
        wrong(user, "user information is not permitted in the URL");
    }
    if !fragment.is_empty() {
        wrong(fragment, "fragments are not permitted in the URL");
    }
    if let Some(query) = uri.query().filter(|q| !q.is_empty()) {
        wrong(query, "query parameters not permitted in the URL");
    }
}

fn check_versions(versions: Option<&Value>, at: &Path<'_>, errors: &mut Errors) {
    const KNOWN: [&str; 2] = ["v1", "v1beta1"];
    let items = versions.items();
    if items.is_empty() {
        return errors.required(at, "must specify one of v1, v1beta1");
    }
    for (n, version) in items.iter().enumerate() {
        let text = Some(version).text();
        if items[..n].contains(version) {
            errors.invalid(&at.index(n), text, "duplicate version");
            continue;
        }
        for wrong in names::dns_1035_label(text) {
            errors.invalid(&at.index(n), text, wrong);
        }
    }
    if !items.iter().any(|v| KNOWN.contains(&Some(v).text())) {
        errors.invalid(at, versions, "must include at least one of v1, v1beta1");
    }
}

fn check_conditions(conditions: Option<&Value>, at: &Path<'_>, errors: &mut Errors) {
    collection::named(conditions.items(), CONDITIONS_MAX, at, errors, |condition, at, errors| {
        match condition.get("name").text() {
            "" => errors.required(&at.child("name"), ""),
            own => name::qualified(own, &at.child("name"), errors),
        }
        check_expression(condition.get("expression").text(), "", &at.child("expression"), errors);
    });
}

fn check_expression(text: &str, missing: &str, at: &Path<'_>, errors: &mut Errors) {
    if text.trim().is_empty() {
        errors.required(at, missing);
    } else {
        expression::check(text, at, errors);
    }
}

fn check_rules(rules: Option<&Value>, at: &Path<'_>, errors: &mut Errors) {
    for (n, rule) in rules.items().iter().enumerate() {
        check_rule(rule, &at.index(n), errors);
    }
}

/// Operations and resources, of a webhook or of a policy.
fn check_rule(rule: &Value, at: &Path<'_>, errors: &mut Errors) {
    for (field, others) in
        [("operations", "operations"), ("apiGroups", "API groups"), ("apiVersions", "API versions"), ("resources", "")]
    {
        let (list, at) = (rule.get(field), at.child(field));
        let items = list.items();
        let all = items.iter().any(|i| i.as_str() == Some("*"));
        if items.is_empty() {
            errors.required(&at, "");
        } else if all && items.len() > 1 && !others.is_empty() {
            errors.invalid(&at, list, format!("if '*' is present, must not specify other {others}"));
        }
        for (n, item) in items.iter().enumerate() {
            let text = Some(item).text();
            match field {
                "operations" if !OPERATIONS.contains(&text) => errors.not_supported(&at.index(n), text, OPERATIONS),
                "apiVersions" | "resources" if text.is_empty() => errors.required(&at.index(n), ""),
                _ => {}
            }
        }
    }
    check_resources(rule.get("resources"), &at.child("resources"), errors);
    let scopes = &["*", "Cluster", "Namespaced"];
    security::check_choice(rule.get("scope"), scopes, &at.child("scope"), errors);
}

/// What one entry covers, another may not name.
fn check_resources(resources: Option<&Value>, at: &Path<'_>, errors: &mut Errors) {
    let items: Vec<&str> = resources.items().iter().map(|i| Some(i).text()).collect();
    if items.len() > 1 && items.contains(&"*/*") {
        errors.invalid(at, resources, "if '*/*' is present, must not specify other resources");
    }
    if items.contains(&"*") && items.iter().any(|i| *i != "*" && !i.contains('/')) {
        let detail = "if '*' is present, must not specify other resources without subresources";
        errors.invalid(at, resources, detail);
    }
    for (n, item) in items.iter().enumerate() {
        let Some((of, sub)) = item.split_once('/') else { continue };
        let covers = |other: &&&str| {
            **other != *item
                && other.split_once('/').is_some_and(|(o, s)| (o == of && s == "*") || (o == "*" && s == sub))
        };
        if let Some(other) = items.iter().filter(|o| **o != "*/*").find(covers) {
            errors.invalid(&at.index(n), *item, format!("if '{other}' is present, must not specify {item}"));
        }
    }
}

fn check_match_resources(resources: &Value, at: &Path<'_>, errors: &mut Errors) {
    check_match_policy(resources, at, errors);
    check_selectors(resources, at, errors);
    for field in ["resourceRules", "excludeResourceRules"] {
        check_rules(resources.get(field), &at.child(field), errors);
    }
}

/// What both kinds of policy have, and `own`: what the one kind does.
fn check_policy(policy: &Value, own: fn(&Value, &Path<'_>, &mut Errors), errors: &mut Errors) {
    let null = Value::Null;
    let (spec, at) = (policy.get("spec").unwrap_or(&null), Path::new("spec"));
    security::check_choice(spec.get("failurePolicy"), FAILURE_POLICIES, &at.child("failurePolicy"), errors);
    if let Some(kind) = spec.get("paramKind").filter(|k| !k.is_null()) {
        let at = at.child("paramKind");
        check_api_version(kind.get("apiVersion").text(), &at.child("apiVersion"), errors);
        let text = kind.get("kind").text();
        if text.is_empty() {
            errors.required(&at.child("kind"), "");
        }
        if !text.is_empty() {
            for wrong in names::dns_1035_label(&text.to_lowercase()) {
                let detail = format!("may have mixed case, but should otherwise match: {wrong}");
                errors.invalid(&at.child("kind"), text, detail);
            }
        }
    }
    let constraints_at = at.child("matchConstraints");
    match spec.get("matchConstraints").filter(|c| !c.is_null()) {
        None => errors.required(&constraints_at, ""),
        Some(constraints) => {
            check_match_resources(constraints, &constraints_at, errors);
            if constraints.get("resourceRules").items().is_empty() {
                errors.required(&constraints_at.child("resourceRules"), "");
            }
        }
    }
    check_conditions(spec.get("matchConditions"), &at.child("matchConditions"), errors);
    collection::named(spec.get("variables").items(), usize::MAX, &at.child("variables"), errors, |var, at, errors| {
        match var.get("name").text() {
            "" => errors.required(&at.child("name"), "name is not specified"),
            text if !names::c_identifier(text).is_empty() => {
                errors.invalid(&at.child("name"), text, "name is not a valid CEL identifier");
            }
            _ => {}
        }
        let missing = "expression is not specified";
        check_expression(var.get("expression").text(), missing, &at.child("expression"), errors);
    });
    own(spec, &at, errors);
}

/// The group and version of the kind that parameters are of.
fn check_api_version(text: &str, at: &Path<'_>, errors: &mut Errors) {
    let (group, version) = match text.matches('/').count() {
        _ if text.is_empty() => return errors.required(at, ""),
        0 | 1 => text.split_once('/').unwrap_or(("", text)),
        _ => return errors.invalid(at, text, format!("unexpected GroupVersion string: {text}")),
    };
    let wrong = names::dns_subdomain(group);
    if !group.is_empty() && !wrong.is_empty() {
        errors.invalid(at, group, wrong.join(","));
    }
    let wrong = names::dns_1035_label(version);
    if version.is_empty() {
        errors.invalid(at, text, "version must be specified");
    } else if !wrong.is_empty() {
        errors.invalid(at, version, wrong.join(","));
    }
}

fn check_validations(spec: &Value, at: &Path<'_>, errors: &mut Errors) {
    const REASONS: &[&str] = &["Forbidden", "Invalid", "RequestEntityTooLarge", "Unauthorized"];
    let (validations, audits) = (spec.get("validations").items(), spec.get("auditAnnotations").items());
    if validations.is_empty() && audits.is_empty() {
        for field in ["validations", "auditAnnotations"] {
            errors.required(&at.child(field), "validations or auditAnnotations must contain at least one item");
        }
    }
    let list = at.child("validations");
    for (n, validation) in validations.iter().enumerate() {
        let at = list.index(n);
        let text = validation.get("expression").text();
        check_expression(text, "expression is not specified", &at.child("expression"), errors);
        let (message, message_at) = (validation.get("message").text(), at.child("message"));
        if !message.is_empty() && message.trim().is_empty() {
            errors.invalid(&message_at, message, "message must be non-empty if specified");
        } else if message.trim().contains('\n') {
            errors.invalid(&message_at, message, "message must not contain line breaks");
        } else if message.is_empty() && text.trim().contains('\n') {
            errors.required(&message_at, "message must be specified if expression contains line breaks");
        }
        let of_message = validation.get("messageExpression").text();
        if !of_message.is_empty() {
            let detail = "messageExpression must be non-empty if specified";
            check_expression(of_message, detail, &at.child("messageExpression"), errors);
        }
        let reason = validation.get("reason").text();
        if !reason.is_empty() && !REASONS.contains(&reason) {
            errors.not_supported(&at.child("reason"), reason, REASONS);
        }
    }
    let list = at.child("auditAnnotations");
    let key = |annotation: &Value| annotation.get("key").text().to_owned();
    collection::set(audits, 20, &list, errors, key, |annotation, at, errors| {
        match annotation.get("key").text() {
            "" => errors.required(&at.child("key"), "key is not specified"),
            key => name::qualified(key, &at.child("key"), errors),
        }
        let missing = "valueExpression is not specified";
        check_expression(annotation.get("valueExpression").text(), missing, &at.child("valueExpression"), errors);
    });
}

fn check_mutations(spec: &Value, at: &Path<'_>, errors: &mut Errors) {
    let reinvocation = at.child("reinvocationPolicy");
    name::one_of(spec.get("reinvocationPolicy").text(), REINVOCATIONS, &reinvocation, errors);
    let list = at.child("mutations");
    let mutations = spec.get("mutations").items();
    if mutations.is_empty() {
        errors.required(&list, "mutations must contain at least one item");
    }
    for (n, mutation) in mutations.iter().enumerate() {
        let at = list.index(n);
        let (own, other) = match mutation.get("patchType").text() {
            "ApplyConfiguration" => ("applyConfiguration", "jsonPatch"),
            "JSONPatch" => ("jsonPatch", "applyConfiguration"),
            "" => {
                errors.required(&at.child("patchType"), "");
                continue;
            }
            kind => {
                errors.not_supported(&at.child("patchType"), kind, &["ApplyConfiguration", "JSONPatch"]);
                continue;
            }
        };
        let kind = mutation.get("patchType").text();
        if mutation.get(other).is_some_and(|o| !o.is_null()) {
            errors.forbidden(&at.child(other), format!("must not be specified when patchType is {kind}"));
        }
        match mutation.get(own).filter(|o| !o.is_null()) {
            None => errors.required(&at.child(own), format!("must be specified when patchType is {kind}")),
            Some(given) => {
                let text = given.get("expression").text();
                check_expression(text, "expression is not specified", &at.child(own).child("expression"), errors);
            }
        }
    }
}

fn check_binding(binding: &Value, errors: &mut Errors) {
    let null = Value::Null;
    let (spec, at) = (binding.get("spec").unwrap_or(&null), Path::new("spec"));
    match spec.get("policyName").text() {
        "" => errors.required(&at.child("policyName"), ""),
        policy => name::subdomain(policy, &at.child("policyName"), errors),
    }
    if let Some(parameters) = spec.get("paramRef").filter(|p| !p.is_null()) {
        let at = at.child("paramRef");
        let selector = parameters.get("selector").filter(|s| !s.is_null());
        match (parameters.get("name").text(), selector) {
            ("", None) => errors.required(&at, "one of name or selector must be specified"),
            ("", Some(selector)) => check_selector(Some(selector), &at.child("selector"), errors),
            (text, selector) => {
                for wrong in names::path_segment(text, false) {
                    errors.invalid(&at.child("name"), text, wrong);
                }
                if selector.is_some() {
                    errors.forbidden(&at.child("name"), "name and selector are mutually exclusive");
                }
            }
        }
        let action = parameters.get("parameterNotFoundAction").text();
        let action_at = at.child("parameterNotFoundAction");
        if action.is_empty() {
            errors.required(&action_at, "");
        } else if !matches!(action, "Allow" | "Deny") {
            errors.not_supported(&action_at, action, &["Deny", "Allow"]);
        }
    }
    if let Some(resources) = spec.get("matchResources").filter(|r| !r.is_null()) {
        check_match_resources(resources, &at.child("matchResources"), errors);
    }
}

fn check_actions(binding: &Value, errors: &mut Errors) {
    let at = Path::new("spec.validationActions");
    let list = binding.at(&["spec", "validationActions"]);
    let actions = list.items();
    if actions.is_empty() {
        errors.required(&at, "at least one validation action is required");
    }
    for (n, action) in actions.iter().enumerate() {
        let text = Some(action).text();
        if !matches!(text, "Audit" | "Deny" | "Warn") {
            errors.not_supported(&at.index(n), text, &["Audit", "Deny", "Warn"]);
        }
        if actions[..n].contains(action) {
            errors.duplicate(&at.index(n), text);
        }
    }
    let has = |action: &str| actions.iter().any(|a| a.as_str() == Some(action));
    if has("Deny") && has("Warn") {
        let detail = "must not contain both Deny and Warn (repeating the same validation failure information in the API \
                      response and headers serves no purpose)";
        errors.invalid(&at, list, detail);
    }
}

#[cfg(test)]
mod tests {
    use gantry_machinery::value;

    use super::*;
    use crate::registry::strategy::Strategy;

    fn causes(errors: Vec<gantry_machinery::status::FieldError>) -> Vec<String> {
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_webhook_is_defaulted_and_refused_with_the_field() {
        let [_, webhooks, ..] = &ALL;
        let mut good = value!({"metadata": {"name": "a"}, "webhooks": [{
            "name": "a.b.example", "sideEffects": "None", "admissionReviewVersions": ["v1"],
            "clientConfig": {"service": {"name": "s", "namespace": "n", "path": "/mutate"}},
            "rules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}]}]});
        webhooks.default(&mut good);
        assert_eq!(causes(webhooks.validate(&good)), Vec::<String>::new());
        let hook = &good.array_at(&["webhooks"])[0];
        assert_eq!(hook.get("timeoutSeconds").number(), 10);
        assert_eq!(hook.get("reinvocationPolicy").text(), "Never");
        assert_eq!(hook.array_at(&["rules"])[0].get("scope").text(), "*");
        assert_eq!(hook.at(&["clientConfig", "service", "port"]).number(), 443);
        assert_eq!(webhooks.row(&good, 0)[1], Value::Int(1));
        assert_eq!(webhooks.warnings(&good, None).len(), 1, "nothing pretends that it is called");
        let mut bad = value!({"webhooks": [{"name": "short", "timeoutSeconds": 31, "admissionReviewVersions": ["v7"],
            "clientConfig": {"url": "http://user@host.example/?a=b"},
            "rules": [{"operations": ["*", "LOOK"], "apiGroups": [], "apiVersions": [""],
                "resources": ["pods/*", "pods/log"]}]}]});
        webhooks.default(&mut bad);
        assert_eq!(
            causes(webhooks.validate(&bad)),
            [
                "webhooks[0].name: Invalid value: \"short\": should be a domain with at least three segments separated by \
                 dots",
                "webhooks[0].rules[0].operations: Invalid value: [\"*\",\"LOOK\"]: if '*' is present, must not specify \
                 other operations",
                "webhooks[0].rules[0].operations[1]: Unsupported value: \"LOOK\": supported values: \"*\", \"CONNECT\", \
                 \"CREATE\", \"DELETE\", \"UPDATE\"",
                "webhooks[0].rules[0].apiGroups: Required value",
                "webhooks[0].rules[0].apiVersions[0]: Required value",
                "webhooks[0].rules[0].resources[1]: Invalid value: \"pods/log\": if 'pods/*' is present, must not \
                 specify pods/log",
                "webhooks[0].sideEffects: Required value: must specify one of None, NoneOnDryRun",
                "webhooks[0].timeoutSeconds: Invalid value: 31: the timeout value must be between 1 and 30 seconds",
                "webhooks[0].clientConfig.url: Invalid value: \"http\": 'https' is the only allowed URL scheme; desired \
                 format: https://host[/path]",
                "webhooks[0].clientConfig.url: Invalid value: \"user\": user information is not permitted in the URL; \
                 desired format: https://host[/path]",
                "webhooks[0].clientConfig.url: Invalid value: \"a=b\": query parameters not permitted in the URL; \
                 desired format: https://host[/path]",
                "webhooks[0].admissionReviewVersions: Invalid value: [\"v7\"]: must include at least one of v1, v1beta1",
            ]
        );
    }

    #[test]
    fn a_policy_is_defaulted_and_refused_with_the_field() {
        let [_, _, policies, bindings, mutating, _] = &ALL;
        let rules = value!([{"operations": ["CREATE"], "apiGroups": ["apps"], "apiVersions": ["v1"],
            "resources": ["deployments"]}]);
        let mut good = value!({"metadata": {"name": "p"}, "spec": {
            "matchConstraints": {"resourceRules": rules},
            "validations": [{"expression": "object.spec.replicas <= 5"}]}});
        policies.default(&mut good);
        assert_eq!(causes(policies.validate(&good)), Vec::<String>::new());
        assert_eq!(good.at(&["spec", "matchConstraints", "matchPolicy"]).text(), "Equivalent");
        assert_eq!(policies.row(&good, 0)[1..3], [Value::Int(1), Value::from("<unset>")]);
        let bad = value!({"spec": {"failurePolicy": "Fail", "variables": [{"name": "a-b", "expression": "("}],
            "validations": [{"expression": " ", "reason": "Because"}]}});
        let fields: Vec<String> = policies.validate(&bad).into_iter().map(|e| e.field).collect();
        assert_eq!(
            fields,
            [
                "spec.matchConstraints",
                "spec.variables[0].name",
                "spec.variables[0].expression",
                "spec.validations[0].expression",
                "spec.validations[0].reason",
            ]
        );
        let mut binding = value!({"spec": {"policyName": "p", "paramRef": {}, "validationActions": ["Deny", "Warn"]}});
        bindings.default(&mut binding);
        let fields: Vec<String> = bindings.validate(&binding).into_iter().map(|e| e.field).collect();
        assert_eq!(fields, ["spec.paramRef", "spec.validationActions"]);
        let mut policy = good.clone();
        policy.set(&["spec", "mutations"], value!([{"patchType": "JSONPatch", "applyConfiguration": {}}]));
        mutating.default(&mut policy);
        let fields: Vec<String> = mutating.validate(&policy).into_iter().map(|e| e.field).collect();
        assert_eq!(fields, ["spec.mutations[0].applyConfiguration", "spec.mutations[0].jsonPatch"]);
    }
}
