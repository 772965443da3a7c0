//! Admission by configuration (`admissionregistration.k8s.io`): webhooks to call, policies in CEL, and where policies apply.
//!
//! Kept and checked; nothing calls the webhooks or evaluates the policies yet, and whoever creates one is told so.

mod check;

use gantry_machinery::value::{Object, Value};

use self::check::{
    check_actions, check_binding, check_mutations, check_policy, check_validations, check_warnings, check_webhooks,
};
use super::cells::{age_cell, name_cell, text_cell};
use super::field::{fill, fill_with};
use super::plain::Plain;
use crate::registry::strategy::Column;
use crate::registry::validate::view::Held;
use crate::registry::validate::{Path, condition};

const GROUP: &str = "admissionregistration.k8s.io";

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
            check_warnings(new, errors);
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
