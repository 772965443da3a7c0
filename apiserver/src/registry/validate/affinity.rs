//! Where pods want to run: affinity, spreading, tolerations, taints.

use gantry_machinery::value::Value;

use super::labels::{Wish, check_node_selector, check_node_term, check_selector};
use super::view::{Held, view};
use super::{Errors, Path, name};

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";

/// A pod's `affinity`.
pub fn check_affinity(affinity: &Value, at: &Path<'_>, errors: &mut Errors) {
    if let Some(node) = affinity.get("nodeAffinity").filter(|n| !n.is_null()) {
        let at = at.child("nodeAffinity");
        if let Some(required) = node.get(REQUIRED).filter(|r| !r.is_null()) {
            check_node_selector(required, &at.child(REQUIRED), errors);
        }
        let preferred = at.child(PREFERRED);
        for (n, term) in node.get(PREFERRED).items().iter().enumerate() {
            let at = preferred.index(n);
            check_weight(term, &at, errors);
            if let Some(preference) = term.get("preference") {
                check_node_term(preference, Wish::Preferred, &at.child("preference"), errors);
            }
        }
    }
    for which in ["podAffinity", "podAntiAffinity"] {
        let Some(pods) = affinity.get(which) else { continue };
        let at = at.child(which);
        let required = at.child(REQUIRED);
        for (n, term) in pods.get(REQUIRED).items().iter().enumerate() {
            check_pod_term(term, &required.index(n), errors);
        }
        let preferred = at.child(PREFERRED);
        for (n, term) in pods.get(PREFERRED).items().iter().enumerate() {
            let at = preferred.index(n);
            check_weight(term, &at, errors);
            check_pod_term(term.get("podAffinityTerm").unwrap_or(&Value::Null), &at.child("podAffinityTerm"), errors);
        }
    }
}

fn check_weight(term: &Value, at: &Path<'_>, errors: &mut Errors) {
    let weight = term.get("weight").number();
    if !(1..=100).contains(&weight) {
        errors.invalid(&at.child("weight"), weight, "must be in the range 1-100");
    }
}

view! {
    struct PodTerm {
        selector: "labelSelector",
        namespaces: "namespaces",
        namespace_selector: "namespaceSelector",
        match_keys: "matchLabelKeys",
        mismatch_keys: "mismatchLabelKeys",
        topology_key: "topologyKey",
    }
}

fn check_pod_term(term: &Value, at: &Path<'_>, errors: &mut Errors) {
    let term = PodTerm::of(term);
    check_selector(term.selector, &at.child("labelSelector"), errors);
    check_selector(term.namespace_selector, &at.child("namespaceSelector"), errors);
    for namespace in term.namespaces.items() {
        name::label(namespace.as_str().unwrap_or_default(), &at.child("namespace"), errors);
    }
    for (field, keys) in [("matchLabelKeys", term.match_keys), ("mismatchLabelKeys", term.mismatch_keys)] {
        let list = at.child(field);
        if keys.items().is_empty() {
            continue;
        }
        if term.selector.is_none() {
            errors.forbidden(&list, "must not be specified when labelSelector is not set");
            continue;
        }
        for (n, key) in keys.items().iter().enumerate() {
            name::qualified(key.as_str().unwrap_or_default(), &list.index(n), errors);
        }
    }
    check_keys_once(term.selector, term.match_keys.items(), at, errors);
    let list = at.child("matchLabelKeys");
    for (n, key) in term.match_keys.items().iter().enumerate() {
        if term.mismatch_keys.items().contains(key) {
            errors.invalid(&list.index(n), key, "exists in both matchLabelKeys and mismatchLabelKeys");
        }
    }
    let topology = term.topology_key.text();
    if topology.is_empty() {
        errors.required(&at.child("topologyKey"), "can not be empty");
    }
    name::qualified(topology, &at.child("topologyKey"), errors);
}

view! {
    struct Spread {
        max_skew: "maxSkew",
        topology_key: "topologyKey",
        action: "whenUnsatisfiable",
        selector: "labelSelector",
        min_domains: "minDomains",
        affinity_policy: "nodeAffinityPolicy",
        taints_policy: "nodeTaintsPolicy",
        match_keys: "matchLabelKeys",
    }
}

/// A pod's `topologySpreadConstraints`.
pub fn check_spread(constraints: &[Value], at: &Path<'_>, errors: &mut Errors) {
    for (n, constraint) in constraints.iter().enumerate() {
        let at = at.index(n);
        let spread = Spread::of(constraint);
        let skew = spread.max_skew.number();
        if skew <= 0 {
            errors.invalid(&at.child("maxSkew"), skew, "must be greater than zero");
        }
        let (topology, action) = (spread.topology_key.text(), spread.action.text());
        if topology.is_empty() {
            errors.required(&at.child("topologyKey"), "can not be empty");
        }
        if !matches!(action, "DoNotSchedule" | "ScheduleAnyway") {
            errors.not_supported(&at.child("whenUnsatisfiable"), action, &["DoNotSchedule", "ScheduleAnyway"]);
        }
        let again = constraints[n + 1..].iter().map(Spread::of);
        if again.into_iter().any(|o| o.topology_key.text() == topology && o.action.text() == action) {
            let pair = format!("{{{topology}, {action}}}");
            errors.duplicate(&at.child("{topologyKey, whenUnsatisfiable}"), pair);
        }
        if let Some(domains) = spread.min_domains.int() {
            if domains <= 0 {
                errors.invalid(&at.child("minDomains"), domains, "must be greater than zero");
            }
            if action != "DoNotSchedule" {
                let detail = format!("can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {action}");
                errors.invalid(&at.child("minDomains"), domains, detail);
            }
        }
        for (field, policy) in
            [("nodeAffinityPolicy", spread.affinity_policy), ("nodeTaintsPolicy", spread.taints_policy)]
        {
            if policy.is_some() && !matches!(policy.text(), "Honor" | "Ignore") {
                errors.not_supported(&at.child(field), policy.text(), &["Honor", "Ignore"]);
            }
        }
        check_spread_keys(&spread, &at.child("matchLabelKeys"), errors);
        check_selector(spread.selector, &at.child("labelSelector"), errors);
    }
}

fn check_spread_keys(spread: &Spread<'_>, at: &Path<'_>, errors: &mut Errors) {
    let keys = spread.match_keys.items();
    if keys.is_empty() {
        return;
    }
    if spread.selector.is_none() {
        errors.forbidden(at, "must not be specified when labelSelector is not set");
    }
    for (n, key) in keys.iter().enumerate() {
        name::qualified(key.as_str().unwrap_or_default(), &at.index(n), errors);
    }
    check_keys_once(spread.selector, keys, at, errors);
}

/// A key of `matchLabelKeys` may stand in the selector once: where the server has merged it in.
fn check_keys_once(selector: Option<&Value>, keys: &[Value], at: &Path<'_>, errors: &mut Errors) {
    let Some(selector) = selector else { return };
    let expressions = selector.get("matchExpressions").items();
    for (n, key) in keys.iter().enumerate() {
        let key = key.as_str().unwrap_or_default();
        let said = expressions.iter().filter(|e| e.get("key").text() == key).count();
        if said > 1 || (said == 1 && selector.at(&["matchLabels", key]).is_some()) {
            errors.invalid(&at.index(n), key, "exists in both matchLabelKeys and labelSelector");
        }
    }
}

view! {
    struct Toleration {
        key: "key",
        operator: "operator",
        value: "value",
        effect: "effect",
        seconds: "tolerationSeconds",
    }
}

/// A pod's `tolerations`.
pub fn check_tolerations(tolerations: &[Value], at: &Path<'_>, errors: &mut Errors) {
    for (n, toleration) in tolerations.iter().enumerate() {
        let at = at.index(n);
        let given = Toleration::of(toleration);
        let (key, operator, effect) = (given.key.text(), given.operator.text(), given.effect.text());
        if !key.is_empty() {
            name::qualified(key, &at.child("key"), errors);
        } else if operator != "Exists" {
            let detail = "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
            errors.invalid(&at.child("operator"), operator, detail);
        }
        if given.seconds.is_some() && effect != "NoExecute" {
            let detail = "effect must be 'NoExecute' when `tolerationSeconds` is set";
            errors.invalid(&at.child("effect"), effect, detail);
        }
        match operator {
            "Equal" | "" => {
                let wrong = gantry_machinery::names::label_value(given.value.text());
                if !wrong.is_empty() {
                    errors.invalid(&at.child("operator"), given.value.text(), wrong.join(";"));
                }
            }
            "Exists" => {
                if !given.value.text().is_empty() {
                    let detail = "value must be empty when `operator` is 'Exists'";
                    errors.invalid(&at.child("operator"), given.value.text(), detail);
                }
            }
            // Numbers are compared behind a gate that is off (TaintTolerationComparisonOperators).
            other @ ("Lt" | "Gt") => {
                errors.not_supported(&at.child("operator"), other, &["Equal", "Exists", "Lt", "Gt"]);
            }
            other => errors.not_supported(&at.child("operator"), other, &["Equal", "Exists"]),
        }
        if !effect.is_empty() {
            name::one_of(effect, EFFECTS, &at.child("effect"), errors);
        }
    }
}

const EFFECTS: &[&str] = &["NoSchedule", "PreferNoSchedule", "NoExecute"];

/// A node's `taints`.
pub fn check_taints(taints: &[Value], at: &Path<'_>, errors: &mut Errors) {
    for (n, taint) in taints.iter().enumerate() {
        let at = at.index(n);
        let (key, effect) = (taint.get("key").text(), taint.get("effect").text());
        name::qualified(key, &at.child("key"), errors);
        let wrong = gantry_machinery::names::label_value(taint.get("value").text());
        if !wrong.is_empty() {
            errors.invalid(&at.child("value"), taint.get("value").text(), wrong.join(";"));
        }
        name::one_of(effect, EFFECTS, &at.child("effect"), errors);
        let before = &taints[..n];
        if before.iter().any(|t| t.get("key").text() == key && t.get("effect").text() == effect) {
            errors.duplicate_because(&at, taint, "taints must be unique by key and effect pair");
        }
    }
}
