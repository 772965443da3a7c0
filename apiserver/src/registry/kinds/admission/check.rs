//! The rules of `admissionregistration.k8s.io`: webhooks, policies, and bindings of policies.

use gantry_machinery::names;
use gantry_machinery::value::Value;
use http::Uri;

use crate::registry::validate::labels::check_selector;
use crate::registry::validate::view::Held;
use crate::registry::validate::{Errors, Path, expression, name, security};

const OPERATIONS: &[&str] = &["*", "CONNECT", "CREATE", "DELETE", "UPDATE"];
const CONDITIONS_MAX: usize = 64;
const AUDITS_MAX: usize = 20;
const AUDIT_EXPRESSION_MAX: usize = 5 * 1024;
const FAILURE_POLICIES: &[&str] = &["Fail", "Ignore"];
const REINVOCATIONS: &[&str] = &["IfNeeded", "Never"];

pub(super) fn check_webhooks(object: &Value, mutating: bool, errors: &mut Errors) {
    let at = Path::new("webhooks");
    let hooks = object.array_at(&["webhooks"]);
    for (n, hook) in hooks.iter().enumerate() {
        let at = at.index(n);
        check_webhook(hook, mutating, &at, errors);
        check_versions(hook.get("admissionReviewVersions"), &at.child("admissionReviewVersions"), errors);
        let own = hook.get("name").text();
        if !own.is_empty() && hooks[..n].iter().any(|h| h.get("name").text() == own) {
            errors.duplicate(&at.child("name"), own);
        }
    }
}

fn check_webhook(hook: &Value, mutating: bool, at: &Path<'_>, errors: &mut Errors) {
    let (own, name_at) = (hook.get("name").text(), at.child("name"));
    let wrong = names::dns_subdomain(own);
    if own.is_empty() {
        errors.required(&name_at, "");
    } else if !wrong.is_empty() {
        errors.invalid(&name_at, own, wrong.join(","));
    } else if own.split('.').count() < 3 {
        errors.invalid(&name_at, own, "should be a domain with at least three segments separated by dots");
    }
    check_rules(hook.get("rules"), &at.child("rules"), errors);
    security::check_choice(hook.get("failurePolicy"), FAILURE_POLICIES, &at.child("failurePolicy"), errors);
    check_match_policy(hook, at, errors);
    let effects = &["None", "NoneOnDryRun"];
    match hook.get("sideEffects").filter(|e| !e.is_null()) {
        None => errors.required(&at.child("sideEffects"), "must specify one of None, NoneOnDryRun"),
        given => security::check_choice(given, effects, &at.child("sideEffects"), errors),
    }
    if let Some(seconds) = hook.get("timeoutSeconds").int().filter(|s| !(1..=30).contains(s)) {
        errors.invalid(&at.child("timeoutSeconds"), seconds, "the timeout value must be between 1 and 30 seconds");
    }
    check_selectors(hook, at, errors);
    if mutating {
        security::check_choice(hook.get("reinvocationPolicy"), REINVOCATIONS, &at.child("reinvocationPolicy"), errors);
    }
    let null = Value::Null;
    check_client(hook.get("clientConfig").unwrap_or(&null), &at.child("clientConfig"), errors);
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
    let conditions = conditions.items();
    if conditions.len() > CONDITIONS_MAX {
        errors.too_many(at, conditions.len(), CONDITIONS_MAX);
    }
    for (n, condition) in conditions.iter().enumerate() {
        let at = at.index(n);
        check_expression(condition.get("expression").text(), "", &at.child("expression"), errors);
        let (own, name_at) = (condition.get("name").text(), at.child("name"));
        if own.is_empty() {
            errors.required(&name_at, "");
            continue;
        }
        name::qualified(own, &name_at, errors);
        if conditions[..n].iter().any(|c| c.get("name").text() == own) {
            errors.duplicate(&name_at, own);
        }
    }
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
    for (field, others) in [("operations", "operations"), ("apiGroups", "API groups"), ("apiVersions", "API versions")]
    {
        let (list, at) = (rule.get(field), at.child(field));
        let items = list.items();
        let all = items.iter().any(|i| i.as_str() == Some("*"));
        if items.is_empty() {
            errors.required(&at, "");
        } else if all && items.len() > 1 {
            errors.invalid(&at, list, format!("if '*' is present, must not specify other {others}"));
        }
        for (n, item) in items.iter().enumerate() {
            let text = Some(item).text();
            match field {
                "operations" if !OPERATIONS.contains(&text) => errors.not_supported(&at.index(n), text, OPERATIONS),
                "apiVersions" if text.is_empty() => errors.required(&at.index(n), ""),
                _ => {}
            }
        }
    }
    check_resources(rule.get("resources"), &at.child("resources"), errors);
    let scopes = &["*", "Cluster", "Namespaced"];
    security::check_choice(rule.get("scope"), scopes, &at.child("scope"), errors);
}

/// What an earlier entry covers, a later one may not name.
fn check_resources(resources: Option<&Value>, at: &Path<'_>, errors: &mut Errors) {
    let items: Vec<&str> = resources.items().iter().map(|i| Some(i).text()).collect();
    if items.is_empty() {
        errors.required(at, "");
    }
    for (n, item) in items.iter().enumerate() {
        if item.is_empty() {
            errors.required(&at.index(n), "");
        }
        let Some((of, sub)) = item.split_once('/') else { continue };
        for cover in [format!("{of}/*"), format!("*/{sub}")] {
            if items[..n].contains(&cover.as_str()) {
                errors.invalid(&at.index(n), *item, format!("if '{cover}' is present, must not specify {item}"));
            }
        }
    }
    if items.len() > 1 && items.contains(&"*/*") {
        errors.invalid(at, resources, "if '*/*' is present, must not specify other resources");
    }
    // Upstream remembers only the last of those without a subresource.
    let last = items.iter().rfind(|i| !i.is_empty() && !i.contains('/'));
    if items.contains(&"*") && last.is_some_and(|last| *last != "*") {
        let detail = "if '*' is present, must not specify other resources without subresources";
        errors.invalid(at, resources, detail);
    }
}

fn check_match_resources(resources: &Value, at: &Path<'_>, errors: &mut Errors) {
    check_match_policy(resources, at, errors);
    check_selectors(resources, at, errors);
    for field in ["resourceRules", "excludeResourceRules"] {
        let list = at.child(field);
        for (n, rule) in resources.get(field).items().iter().enumerate() {
            let at = list.index(n);
            let (names, names_at) = (rule.get("resourceNames").items(), at.child("resourceNames"));
            for (n, name) in names.iter().enumerate() {
                for wrong in names::path_segment(Some(name).text(), false) {
                    errors.invalid(&names_at.index(n), name, wrong);
                }
                if names[..n].contains(name) {
                    errors.duplicate(&names_at.index(n), Some(name).text());
                }
            }
            check_rule(rule, &at, errors);
        }
    }
}

/// The rules of one kind of policy: its spec, and the policy's name.
type Own = fn(&Value, &str, &Path<'_>, &mut Errors);

/// A group and a version, as `paramKind` names them.
fn check_group_version(text: &str, at: &Path<'_>, errors: &mut Errors) {
    if text.is_empty() {
        return errors.required(at, "");
    }
    let (group, version) = text.split_once('/').unwrap_or(("", text));
    if version.contains('/') {
        return errors.invalid(at, text, format!("unexpected GroupVersion string: {text}"));
    }
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

/// What both kinds of policy have, and `own`: what the one kind does.
pub(super) fn check_policy(policy: &Value, own: Own, errors: &mut Errors) {
    let null = Value::Null;
    let (spec, at) = (policy.get("spec").unwrap_or(&null), Path::new("spec"));
    security::check_choice(spec.get("failurePolicy"), FAILURE_POLICIES, &at.child("failurePolicy"), errors);
    if let Some(kind) = spec.get("paramKind").filter(|k| !k.is_null()) {
        let at = at.child("paramKind");
        check_group_version(kind.get("apiVersion").text(), &at.child("apiVersion"), errors);
        let text = kind.get("kind").text();
        let wrong = names::dns_1035_label(&text.to_lowercase());
        if text.is_empty() {
            errors.required(&at.child("kind"), "");
        } else if !wrong.is_empty() {
            let detail = format!("may have mixed case, but should otherwise match: {}", wrong.join(","));
            errors.invalid(&at.child("kind"), text, detail);
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
    let list = at.child("variables");
    for (n, variable) in spec.get("variables").items().iter().enumerate() {
        let at = list.index(n);
        match variable.get("name").text() {
            text if text.trim().is_empty() => errors.required(&at.child("name"), "name is not specified"),
            text if !gantry_cel::is_identifier(text) => {
                errors.invalid(&at.child("name"), text, "name is not a valid CEL identifier");
            }
            _ => {}
        }
        let missing = "expression is not specified";
        check_expression(variable.get("expression").text(), missing, &at.child("expression"), errors);
    }
    let name = policy.at(&["metadata", "name"]).text();
    own(spec, name, &at, errors);
}

pub(super) fn check_validations(spec: &Value, policy: &str, at: &Path<'_>, errors: &mut Errors) {
    const REASONS: &[&str] = &["Forbidden", "Invalid", "RequestEntityTooLarge"];
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
        let (of_message, message_at) = (validation.get("messageExpression").text(), at.child("messageExpression"));
        if !of_message.is_empty() && of_message.trim().is_empty() {
            errors.invalid(&message_at, of_message, "must be non-empty if specified");
        } else if !of_message.is_empty() {
            expression::check(of_message, &message_at, errors);
        }
        let (message, message_at) = (validation.get("message").text(), at.child("message"));
        if !message.is_empty() && message.trim().is_empty() {
            errors.invalid(&message_at, message, "message must be non-empty if specified");
        } else if message.trim().contains(['\n', '\r']) {
            errors.invalid(&message_at, message, "message must not contain line breaks");
        }
        let reason = validation.get("reason").filter(|r| !r.is_null());
        security::check_choice(reason, REASONS, &at.child("reason"), errors);
    }
    let list = at.child("auditAnnotations");
    if audits.len() > AUDITS_MAX {
        let detail = format!("must not have more than {AUDITS_MAX} auditAnnotations");
        errors.invalid(&list, spec.get("auditAnnotations"), detail);
    }
    for (n, annotation) in audits.iter().enumerate() {
        let at = list.index(n);
        let (key, key_at) = (annotation.get("key").text(), at.child("key"));
        if policy.is_empty() {
            errors.invalid(&key_at, key, "requires metadata.name be non-empty");
        } else {
            name::qualified(&format!("{policy}/{key}"), &key_at, errors);
        }
        let (text, value_at) = (annotation.get("valueExpression").text(), at.child("valueExpression"));
        if text.trim().len() > AUDIT_EXPRESSION_MAX {
            errors.required(&value_at, format!("must not exceed {AUDIT_EXPRESSION_MAX} bytes in length"));
        } else {
            check_expression(text, "valueExpression is not specified", &value_at, errors);
        }
        if audits[..n].iter().any(|a| a.get("key").text() == key) {
            errors.duplicate(&key_at, key);
        }
    }
}

pub(super) fn check_mutations(spec: &Value, _policy: &str, at: &Path<'_>, errors: &mut Errors) {
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

pub(super) fn check_binding(binding: &Value, errors: &mut Errors) {
    let null = Value::Null;
    let (spec, at) = (binding.get("spec").unwrap_or(&null), Path::new("spec"));
    match spec.get("policyName").text() {
        "" => errors.required(&at.child("policyName"), ""),
        policy => name::subdomain(policy, &at.child("policyName"), errors),
    }
    if let Some(parameters) = spec.get("paramRef").filter(|p| !p.is_null()) {
        let at = at.child("paramRef");
        const EITHER: &str = "name and selector are mutually exclusive";
        let selector = parameters.get("selector").filter(|s| !s.is_null());
        let text = parameters.get("name").text();
        if !text.is_empty() {
            for wrong in names::path_segment(text, false) {
                errors.invalid(&at.child("name"), text, wrong);
            }
            if selector.is_some() {
                errors.forbidden(&at.child("name"), EITHER);
            }
        }
        check_selector(selector, &at.child("selector"), errors);
        match (text.is_empty(), selector) {
            (true, None) => errors.required(&at, "one of name or selector must be specified"),
            (false, Some(_)) => errors.forbidden(&at.child("selector"), EITHER),
            _ => {}
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
        // The path is upstream's, slip of the pen included.
        check_match_resources(resources, &at.child("matchResouces"), errors);
    }
}

pub(super) fn check_actions(binding: &Value, errors: &mut Errors) {
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

/// What the type checker found in a policy, as its status tells it.
pub(super) fn check_warnings(policy: &Value, errors: &mut Errors) {
    let at = Path::new("status.typeChecking.expressionWarnings");
    for (n, warning) in policy.array_at(&["status", "typeChecking", "expressionWarnings"]).iter().enumerate() {
        let at = at.index(n);
        for field in ["warning", "fieldRef"] {
            let text = warning.get(field).text();
            if text.is_empty() || (field == "fieldRef" && text.trim().is_empty()) {
                errors.required(&at.child(field), "");
            }
        }
    }
}
