//! Priority and fairness (`flowcontrol.apiserver.k8s.io`): which requests belong together (FlowSchemas) and how much room
//! each class of them has (PriorityLevelConfigurations).
//!
//! [`crate::gate::schemas`] matches every request against the FlowSchemas and names what it found in the answer's headers.
//! The room itself is the gate's own lanes ([`crate::gate::flow`]).

pub mod standard;

use gantry_machinery::value::{Object, Value};

use super::cells::{age_cell, name_cell, text_cell};
use super::field::{fill, fill_with};
use super::plain::Plain;
use crate::registry::strategy::Column;
use crate::registry::validate::view::Held;
use crate::registry::validate::{Errors, Path, name, same};

const GROUP: &str = "flowcontrol.apiserver.k8s.io";
const VERBS: &[&str] = &["create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch"];
const QUEUES_MAX: i64 = 10_000_000;

/// The kinds.
pub(super) static ALL: [Plain; 2] = [
    Plain::new(
        GROUP,
        "flowschemas",
        const {
            &[
                Column::name(),
                Column::string("PriorityLevel"),
                Column::string("MatchingPrecedence"),
                Column::string("DistinguisherMethod"),
                Column::string("Age"),
                Column::string("MissingPL"),
            ]
        },
        |schema, now| {
            let conditions = schema.array_at(&["status", "conditions"]);
            let dangling = conditions.iter().find(|c| c.get("type").text() == "Dangling");
            vec![
                name_cell(schema),
                text_cell(schema, &["spec", "priorityLevelConfiguration", "name"]),
                Value::Int(schema.at(&["spec", "matchingPrecedence"]).number()),
                super::cells::or_none(schema.at(&["spec", "distinguisherMethod", "type"]).text()),
                age_cell(schema, now),
                Value::from(dangling.map_or("?", |c| c.get("status").text())),
            ]
        },
    )
    .with(|schema| fill(schema.force_object().object_entry("spec"), "matchingPrecedence", 1000), check_schema)
    .changing(|new, _, subresource, errors| match subresource {
        "status" => check_conditions(new, errors),
        _ => check_schema(new, errors),
    })
    .with_generation(),
    Plain::new(
        GROUP,
        "prioritylevelconfigurations",
        const {
            &[
                Column::name(),
                Column::string("Type"),
                Column::string("NominalConcurrencyShares"),
                Column::string("Queues"),
                Column::string("HandSize"),
                Column::string("QueueLengthLimit"),
                Column::string("Age"),
            ]
        },
        |level, now| {
            let count = |path: &[&str]| match level.at(path).int() {
                Some(count) => Value::Int(count),
                None => Value::from("<none>"),
            };
            let kind = level.at(&["spec", "type"]).text();
            let own = if kind == "Exempt" { "exempt" } else { "limited" };
            let queuing = |field| count(&["spec", "limited", "limitResponse", "queuing", field]);
            vec![
                name_cell(level),
                Value::from(kind),
                count(&["spec", own, "nominalConcurrencyShares"]),
                queuing("queues"),
                queuing("handSize"),
                queuing("queueLengthLimit"),
                age_cell(level, now),
            ]
        },
    )
    .with(default_level, check_level)
    .changing(|new, _, subresource, errors| match subresource {
        "status" => check_conditions(new, errors),
        _ => check_level(new, errors),
    })
    .with_generation(),
];

fn default_level(level: &mut Value) {
    let spec = level.force_object().object_entry("spec");
    if let Some(exempt) = spec.get_mut("exempt").and_then(Value::as_object_mut) {
        fill_with(exempt, "nominalConcurrencyShares", || Value::Int(0));
        fill_with(exempt, "lendablePercent", || Value::Int(0));
    }
    let Some(limited) = spec.get_mut("limited").and_then(Value::as_object_mut) else { return };
    fill_with(limited, "nominalConcurrencyShares", || Value::Int(30));
    fill_with(limited, "lendablePercent", || Value::Int(0));
    let queuing = limited.get_mut("limitResponse").and_then(|r| r.get_mut("queuing"));
    if let Some(queuing) = queuing.and_then(Value::as_object_mut) {
        for (field, default) in [("queues", 64), ("handSize", 8), ("queueLengthLimit", 50)] {
            fill(queuing, field, default);
        }
    }
}

fn check_schema(schema: &Value, errors: &mut Errors) {
    let null = Value::Null;
    let (spec, at) = (schema.get("spec").unwrap_or(&null), Path::new("spec"));
    let own = schema.at(&["metadata", "name"]).text();
    let precedence = spec.get("matchingPrecedence").number();
    let precedence_at = at.child("matchingPrecedence");
    if precedence <= 0 {
        errors.invalid(&precedence_at, precedence, "must be a positive value");
    }
    if precedence > 10_000 {
        errors.invalid(&precedence_at, precedence, "must not be greater than 10000");
    }
    if precedence == 1 && own != "exempt" {
        let detail = "only the schema named 'exempt' may have matchingPrecedence 1";
        errors.invalid(&precedence_at, precedence, detail);
    }
    if let Some(method) = spec.get("distinguisherMethod").filter(|m| !m.is_null()) {
        let kind = method.get("type").text();
        if !matches!(kind, "ByNamespace" | "ByUser") {
            errors.not_supported_value(&at.child("distinguisherMethod.type"), method, &["ByNamespace", "ByUser"]);
        }
    }
    let level_at = at.child("priorityLevelConfiguration.name");
    match spec.at(&["priorityLevelConfiguration", "name"]).text() {
        "" => errors.required(&level_at, "must reference a priority level"),
        level => name::subdomain(level, &level_at, errors),
    }
    let rules = at.child("rules");
    for (n, rule) in spec.get("rules").items().iter().enumerate() {
        check_rule(rule, &rules.index(n), errors);
    }
    check_fixed(own, spec, standard::mandatory_schema(own), errors);
    check_conditions(schema, errors);
}

/// Two schemas and a level are the same in every cluster.
fn check_fixed(own: &str, spec: &Value, fixed: Option<Value>, errors: &mut Errors) {
    let Some(fixed) = fixed else { return };
    if !same(Some(spec), fixed.get("spec")) {
        errors.invalid(&Path::new("spec"), spec, format!("spec of '{own}' must equal the fixed value"));
    }
}

fn check_conditions(object: &Value, errors: &mut Errors) {
    let at = Path::new("status.conditions");
    let mut seen: Vec<&str> = Vec::new();
    for (n, condition) in object.array_at(&["status", "conditions"]).iter().enumerate() {
        let at = at.index(n);
        let kind = condition.get("type").text();
        if seen.contains(&kind) {
            errors.duplicate(&at.child("type"), kind);
        }
        if kind.is_empty() {
            errors.required(&at.child("type"), "must not be empty");
        }
        seen.push(kind);
    }
}

fn check_rule(rule: &Value, at: &Path<'_>, errors: &mut Errors) {
    let subjects = rule.get("subjects").items();
    let list = at.child("subjects");
    if subjects.is_empty() {
        errors.required(&list, "subjects must contain at least one value");
    }
    for (n, subject) in subjects.iter().enumerate() {
        check_subject(subject, &list.index(n), errors);
    }
    let (of_resources, of_paths) = (rule.get("resourceRules").items(), rule.get("nonResourceRules").items());
    if of_resources.is_empty() && of_paths.is_empty() {
        errors.required(at, "at least one of resourceRules and nonResourceRules has to be non-empty");
    }
    let list = at.child("resourceRules");
    for (n, rule) in of_resources.iter().enumerate() {
        check_resource_rule(rule, &list.index(n), errors);
    }
    let list = at.child("nonResourceRules");
    for (n, rule) in of_paths.iter().enumerate() {
        let at = list.index(n);
        check_verbs(rule, &at, errors);
        let paths = rule.get("nonResourceURLs");
        let at = at.child("nonResourceURLs");
        if check_list(paths, "nonResourceURLs must contain at least one value", "non-resource URLs", &at, errors) {
            for (n, path) in paths.items().iter().enumerate() {
                check_path(Some(path).text(), &at.index(n), errors);
            }
        }
    }
}

fn check_subject(subject: &Value, at: &Path<'_>, errors: &mut Errors) {
    const KINDS: [(&str, &str); 3] = [("Group", "group"), ("ServiceAccount", "serviceAccount"), ("User", "user")];
    let kind = subject.get("kind").text();
    let Some((_, own)) = KINDS.iter().find(|(k, _)| *k == kind) else {
        return errors.not_supported(&at.child("kind"), kind, &KINDS.map(|(k, _)| k));
    };
    let own_at = at.child(own);
    match subject.get(own).filter(|s| !s.is_null()) {
        None => errors.required(&own_at, format!("{own} is required when subject kind is '{kind}'")),
        Some(given) => {
            let text = given.get("name").text();
            if text.is_empty() {
                errors.required(&own_at.child("name"), "");
            } else if kind == "ServiceAccount" && text != "*" {
                name::subdomain(text, &own_at.child("name"), errors);
            }
            if kind == "ServiceAccount" {
                match given.get("namespace").text() {
                    "" => errors.required(&own_at.child("namespace"), "must specify namespace for service account"),
                    namespace => name::label(namespace, &own_at.child("namespace"), errors),
                }
            }
        }
    }
    for (other, field) in KINDS.iter().filter(|(k, _)| *k != kind) {
        if subject.get(field).is_some_and(|s| !s.is_null()) {
            let detail = format!("{field} is forbidden when subject kind is not '{other}'");
            errors.forbidden(&at.child(field), detail);
        }
    }
}

fn has_all(list: Option<&Value>) -> bool {
    list.items().iter().any(|item| item.as_str() == Some("*"))
}

/// A list that is not empty, and where `*` stands alone. Gives whether its items are still to be looked at.
fn check_list(list: Option<&Value>, required: &str, what: &str, at: &Path<'_>, errors: &mut Errors) -> bool {
    if list.items().is_empty() {
        errors.required(at, required);
        return false;
    }
    if has_all(list) {
        if list.items().len() > 1 {
            errors.invalid(at, list, format!("if '*' is present, must not specify other {what}"));
        }
        return false;
    }
    true
}

fn check_verbs(rule: &Value, at: &Path<'_>, errors: &mut Errors) {
    let (verbs, at) = (rule.get("verbs"), at.child("verbs"));
    if check_list(verbs, "verbs must contain at least one value", "verbs", &at, errors)
        && !verbs.items().iter().all(|v| VERBS.contains(&Some(v).text()))
    {
        errors.not_supported_value(&at, verbs, VERBS);
    }
}

fn check_resource_rule(rule: &Value, at: &Path<'_>, errors: &mut Errors) {
    check_verbs(rule, at, errors);
    let groups = "resource rules must supply at least one api group";
    check_list(rule.get("apiGroups"), groups, "api groups", &at.child("apiGroups"), errors);
    let resources = "resource rules must supply at least one resource";
    check_list(rule.get("resources"), resources, "resources", &at.child("resources"), errors);
    let namespaces = rule.get("namespaces");
    if rule.get("clusterScope").truth() && namespaces.items().is_empty() {
        return;
    }
    let required = "resource rules that are not cluster scoped must supply at least one namespace";
    let at = at.child("namespaces");
    if check_list(namespaces, required, "namespaces", &at, errors) {
        for (n, namespace) in namespaces.items().iter().enumerate() {
            for wrong in gantry_machinery::names::dns_label(Some(namespace).text()) {
                let detail = format!("each member of this list must be '*' or a DNS-1123 label; {wrong}");
                errors.invalid(&at.index(n), namespace, detail);
            }
        }
    }
}

fn check_path(path: &str, at: &Path<'_>, errors: &mut Errors) {
    let wrong = match path {
        "/" => return,
        "" => "must not be empty",
        path if !path.starts_with('/') => "must start with slash",
        path if path.contains(' ') => "must not contain white-space",
        path if path.contains("//") => "must not contain double slash",
        path if path.matches('*').count() > 1 || (path.contains('*') && !path.ends_with("/*")) => {
            "wildcard can only do suffix matching"
        }
        _ => return,
    };
    errors.invalid(at, path, wrong);
}

fn check_level(level: &Value, errors: &mut Errors) {
    let null = Value::Null;
    let (spec, at) = (level.get("spec").unwrap_or(&null), Path::new("spec"));
    let own = level.at(&["metadata", "name"]).text();
    let kind = spec.get("type").text();
    if (own == "exempt") != (kind == "Exempt") {
        errors.invalid(&at.child("type"), kind, "type must be 'Exempt' if and only if name is 'exempt'");
    }
    let part = |field: &str| spec.get(field).filter(|p| !p.is_null());
    let (exempt, limited) = (part("exempt"), part("limited"));
    match kind {
        "Exempt" => {
            if limited.is_some() {
                errors.forbidden(&at.child("limited"), "must be nil if the type is not Limited");
            }
            if let Some(exempt) = exempt {
                check_shares(exempt, &at.child("exempt"), errors);
            }
        }
        "Limited" => {
            if exempt.is_some() {
                errors.forbidden(&at.child("exempt"), "must be nil if the type is Limited");
            }
            match limited {
                None => errors.required(&at.child("limited"), "must not be empty when type is Limited"),
                Some(limited) => check_limited(limited, &at.child("limited"), errors),
            }
        }
        _ => errors.not_supported(&at.child("type"), kind, &["Exempt", "Limited"]),
    }
    if own != "exempt" {
        check_fixed(own, spec, standard::mandatory_level(own), errors);
    }
    check_conditions(level, errors);
}

fn check_shares(part: &Value, at: &Path<'_>, errors: &mut Errors) {
    if let Some(shares) = part.get("nominalConcurrencyShares").int().filter(|s| *s < 0) {
        errors.invalid(&at.child("nominalConcurrencyShares"), shares, "must be a non-negative integer");
    }
    if let Some(percent) = part.get("lendablePercent").int().filter(|p| !(0..=100).contains(p)) {
        errors.invalid(&at.child("lendablePercent"), percent, "must be between 0 and 100, inclusive");
    }
}

fn check_limited(limited: &Value, at: &Path<'_>, errors: &mut Errors) {
    check_shares(limited, at, errors);
    if let Some(percent) = limited.get("borrowingLimitPercent").int().filter(|p| *p < 0) {
        let detail = "if specified, must be a non-negative integer";
        errors.invalid(&at.child("borrowingLimitPercent"), percent, detail);
    }
    let at = at.child("limitResponse");
    let null = Value::Null;
    let response = limited.get("limitResponse").unwrap_or(&null);
    let queuing = response.get("queuing").filter(|q| !q.is_null());
    let queuing_at = at.child("queuing");
    match (response.get("type").text(), queuing.and_then(Value::as_object)) {
        ("Reject", Some(_)) => {
            errors.forbidden(&queuing_at, "must be nil if limited.limitResponse.type is not Limited");
        }
        ("Queue", None) => {
            errors.required(&queuing_at, "must not be empty if limited.limitResponse.type is Limited");
        }
        ("Queue", Some(queuing)) => check_queuing(queuing, &queuing_at, errors),
        ("Reject", None) => {}
        (kind, _) => errors.not_supported(&at.child("type"), kind, &["Queue", "Reject"]),
    }
}

fn check_queuing(queuing: &Object, at: &Path<'_>, errors: &mut Errors) {
    const BITS_MAX: u32 = 60;
    let count = |field: &str| queuing.get(field).number();
    let (queues, hand, length) = (count("queues"), count("handSize"), count("queueLengthLimit"));
    if length <= 0 {
        errors.invalid(&at.child("queueLengthLimit"), length, "must be positive");
    }
    let queues_at = at.child("queues");
    if queues <= 0 {
        errors.invalid(&queues_at, queues, "must be positive");
    } else if queues > QUEUES_MAX {
        errors.invalid(&queues_at, queues, format!("must not be greater than {QUEUES_MAX}"));
    }
    let hand_at = at.child("handSize");
    if hand <= 0 {
        errors.invalid(&hand_at, hand, "must be positive");
    } else if hand > queues {
        errors.invalid(&hand_at, hand, format!("should not be greater than queues ({queues})"));
    } else if entropy_bits(queues, hand) > f64::from(BITS_MAX) {
        let detail = format!(
            "required entropy bits of deckSize {queues} and handSize {hand} should not be greater than {BITS_MAX}"
        );
        errors.invalid(&hand_at, hand, detail);
    }
}

/// How many bits it takes to deal a hand of `hand` cards from a deck of `deck`.
fn entropy_bits(deck: i64, hand: i64) -> f64 {
    #[allow(clippy::cast_precision_loss, reason = "decks are at most ten million cards")]
    let bits = (0..hand).map(|dealt| ((deck - dealt) as f64).log2()).take(64).sum::<f64>();
    bits.ceil()
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
    fn what_every_cluster_has_is_valid_and_defaulted() {
        let [schemas, levels] = &ALL;
        let all = standard::schemas().into_iter().map(|o| (schemas, o));
        for (kind, object) in all.chain(standard::levels().into_iter().map(|o| (levels, o))) {
            let mut defaulted = object.clone();
            kind.default(&mut defaulted);
            assert_eq!(defaulted, object);
            assert_eq!(causes(kind.validate(&object)), Vec::<String>::new(), "{object:?}");
        }
        assert_eq!((standard::schemas().len(), standard::levels().len()), (13, 8));
    }

    #[test]
    fn the_fixed_ones_stay() {
        let [schemas, levels] = &ALL;
        let old = standard::mandatory_schema("catch-all").unwrap();
        let mut new = old.clone();
        new.set(&["spec", "matchingPrecedence"], 9999);
        let found = causes(schemas.validate_update(&new, &old, ""));
        assert!(found[0].ends_with("spec of 'catch-all' must equal the fixed value"), "{found:?}");
        let old = standard::levels().into_iter().find(|l| l.at(&["metadata", "name"]).text() == "exempt").unwrap();
        let mut new = old.clone();
        new.set(&["spec", "exempt", "nominalConcurrencyShares"], 5);
        assert!(levels.validate_update(&new, &old, "").is_empty(), "its shares may change");
    }

    #[test]
    fn each_is_refused_with_the_field() {
        let [schemas, levels] = &ALL;
        let schema = value!({"metadata": {"name": "a"}, "spec": {"matchingPrecedence": 1,
            "distinguisherMethod": {"type": "ByMood"}, "rules": [{"subjects": [{"kind": "User", "group": {"name": "x"}}],
            "resourceRules": [{"verbs": ["get", "*"], "apiGroups": [""], "resources": []}],
            "nonResourceRules": [{"verbs": ["dance"], "nonResourceURLs": ["healthz", "/a*"]}]}]}});
        assert_eq!(
            causes(schemas.validate(&schema)),
            [
                "spec.matchingPrecedence: Invalid value: 1: only the schema named 'exempt' may have matchingPrecedence 1",
                "spec.distinguisherMethod.type: Unsupported value: {\"type\":\"ByMood\"}: supported values: \
                 \"ByNamespace\", \"ByUser\"",
                "spec.priorityLevelConfiguration.name: Required value: must reference a priority level",
                "spec.rules[0].subjects[0].user: Required value: user is required when subject kind is 'User'",
                "spec.rules[0].subjects[0].group: Forbidden: group is forbidden when subject kind is not 'Group'",
                "spec.rules[0].resourceRules[0].verbs: Invalid value: [\"get\",\"*\"]: if '*' is present, must not \
                 specify other verbs",
                "spec.rules[0].resourceRules[0].resources: Required value: resource rules must supply at least one \
                 resource",
                "spec.rules[0].resourceRules[0].namespaces: Required value: resource rules that are not cluster scoped \
                 must supply at least one namespace",
                "spec.rules[0].nonResourceRules[0].verbs: Unsupported value: [\"dance\"]: supported values: \"create\", \
                 \"delete\", \"deletecollection\", \"get\", \"list\", \"patch\", \"proxy\", \"update\", \"watch\"",
                "spec.rules[0].nonResourceRules[0].nonResourceURLs[0]: Invalid value: \"healthz\": must start with slash",
                "spec.rules[0].nonResourceRules[0].nonResourceURLs[1]: Invalid value: \"/a*\": wildcard can only do \
                 suffix matching",
            ]
        );
        let mut level = value!({"metadata": {"name": "a"}, "spec": {"type": "Limited", "limited": {
            "lendablePercent": 101, "limitResponse": {"type": "Queue", "queuing": {"queues": 512, "handSize": 8}}}}});
        levels.default(&mut level);
        assert_eq!(level.at(&["spec", "limited", "nominalConcurrencyShares"]).number(), 30);
        assert_eq!(
            causes(levels.validate(&level)),
            [
                "spec.limited.lendablePercent: Invalid value: 101: must be between 0 and 100, inclusive",
                "spec.limited.limitResponse.queuing.handSize: Invalid value: 8: required entropy bits of deckSize 512 \
                 and handSize 8 should not be greater than 60",
            ]
        );
        let row = levels.row(&level, 0);
        assert_eq!(row[1..6], [Value::from("Limited"), 30.into(), 512.into(), 8.into(), 50.into()]);
    }
}
