//! Roles and their bindings, in a namespace or for the cluster.

use gantry_machinery::names;
use gantry_machinery::value::Value;

use super::cells::{age_cell, name_cell};
use super::field::fill;
use super::row;
use crate::registry::strategy::{Column, Strategy};
use crate::registry::validate::labels::check_selector;
use crate::registry::validate::view::{Held, view};
use crate::registry::validate::{Errors, Path, name, same};

/// Roles of `rbac.authorization.k8s.io`.
#[derive(Debug)]
pub struct Roles;

/// ClusterRoles of `rbac.authorization.k8s.io`.
#[derive(Debug)]
pub struct ClusterRoles;

/// RoleBindings of `rbac.authorization.k8s.io`.
#[derive(Debug)]
pub struct RoleBindings;

/// ClusterRoleBindings of `rbac.authorization.k8s.io`.
#[derive(Debug)]
pub struct ClusterRoleBindings;

const GROUP: &str = "rbac.authorization.k8s.io";

impl Strategy for Roles {
    row!("rbac.authorization.k8s.io", "v1", "roles");

    fn name_errors(&self, name: &str, prefix: bool) -> Vec<String> {
        names::path_segment(name, prefix)
    }

    fn check(&self, role: &Value, errors: &mut Errors) {
        check_rules(role.array_at(&["rules"]), true, errors);
    }

    fn create_on_update(&self) -> bool {
        true
    }
}

impl Strategy for ClusterRoles {
    row!("rbac.authorization.k8s.io", "v1", "clusterroles");

    fn name_errors(&self, name: &str, prefix: bool) -> Vec<String> {
        names::path_segment(name, prefix)
    }

    fn check(&self, role: &Value, errors: &mut Errors) {
        check_rules(role.array_at(&["rules"]), false, errors);
        if let Some(rule) = role.get("aggregationRule").filter(|r| !r.is_null()) {
            let at = Path::new("aggregationRule.clusterRoleSelectors");
            let selectors = rule.get("clusterRoleSelectors").items();
            if selectors.is_empty() {
                errors.required(&at, "at least one clusterRoleSelector required if aggregationRule is non-nil");
            }
            for (n, selector) in selectors.iter().enumerate() {
                check_selector(Some(selector), &at.index(n), errors);
            }
        }
    }

    fn create_on_update(&self) -> bool {
        true
    }
}

view! {
    struct Rule {
        verbs: "verbs",
        groups: "apiGroups",
        resources: "resources",
        names: "resourceNames",
        urls: "nonResourceURLs",
    }
}

fn check_rules(rules: &[Value], namespaced: bool, errors: &mut Errors) {
    let top = Path::new("rules");
    for (n, rule) in rules.iter().enumerate() {
        let at = top.index(n);
        let given = Rule::of(rule);
        if given.verbs.items().is_empty() {
            errors.required(&at.child("verbs"), "verbs must contain at least one value");
        }
        if !given.urls.items().is_empty() {
            let at = at.child("nonResourceURLs");
            if namespaced {
                errors.invalid(&at, given.urls, "namespaced rules cannot apply to non-resource URLs");
            }
            if [given.groups, given.resources, given.names].iter().any(|list| !list.items().is_empty()) {
                let detail = "rules cannot apply to both regular resources and non-resource URLs";
                errors.invalid(&at, given.urls, detail);
            }
            continue;
        }
        if given.groups.items().is_empty() {
            errors.required(&at.child("apiGroups"), "resource rules must supply at least one api group");
        }
        if given.resources.items().is_empty() {
            errors.required(&at.child("resources"), "resource rules must supply at least one resource");
        }
    }
}

const BINDING_COLUMNS: &[Column] = &[
    Column::name(),
    Column::string("Role"),
    Column::string("Age"),
    Column::string("Users").wide(),
    Column::string("Groups").wide(),
    Column::string("ServiceAccounts").wide(),
];

impl Strategy for RoleBindings {
    row!("rbac.authorization.k8s.io", "v1", "rolebindings");

    fn name_errors(&self, name: &str, prefix: bool) -> Vec<String> {
        names::path_segment(name, prefix)
    }

    fn default(&self, binding: &mut Value) {
        default_binding(binding);
    }

    fn check(&self, binding: &Value, errors: &mut Errors) {
        check_binding(binding, true, errors);
    }

    fn check_update(&self, new: &Value, old: &Value, _subresource: &str, errors: &mut Errors) {
        check_binding(new, true, errors);
        check_same_role(new, old, errors);
    }

    fn create_on_update(&self) -> bool {
        true
    }

    fn columns(&self) -> &'static [Column] {
        BINDING_COLUMNS
    }

    fn row(&self, binding: &Value, now: i64) -> Vec<Value> {
        binding_row(binding, now)
    }
}

impl Strategy for ClusterRoleBindings {
    row!("rbac.authorization.k8s.io", "v1", "clusterrolebindings");

    fn name_errors(&self, name: &str, prefix: bool) -> Vec<String> {
        names::path_segment(name, prefix)
    }

    fn default(&self, binding: &mut Value) {
        default_binding(binding);
    }

    fn check(&self, binding: &Value, errors: &mut Errors) {
        check_binding(binding, false, errors);
    }

    fn check_update(&self, new: &Value, old: &Value, _subresource: &str, errors: &mut Errors) {
        check_binding(new, false, errors);
        check_same_role(new, old, errors);
    }

    fn create_on_update(&self) -> bool {
        true
    }

    fn columns(&self) -> &'static [Column] {
        BINDING_COLUMNS
    }

    fn row(&self, binding: &Value, now: i64) -> Vec<Value> {
        binding_row(binding, now)
    }
}

fn default_binding(binding: &mut Value) {
    fill(binding.force_object().object_entry("roleRef"), "apiGroup", GROUP);
    let subjects = binding.get_mut("subjects").and_then(Value::as_array_mut);
    for subject in subjects.into_iter().flatten().filter_map(Value::as_object_mut) {
        if matches!(subject.get("kind").text(), "User" | "Group") {
            fill(subject, "apiGroup", GROUP);
        }
    }
}

view! {
    struct Reference { group: "apiGroup", kind: "kind", name: "name", namespace: "namespace" }
}

fn check_binding(binding: &Value, namespaced: bool, errors: &mut Errors) {
    let null = Value::Null;
    let at = Path::new("roleRef");
    let role = Reference::of(binding.get("roleRef").unwrap_or(&null));
    if role.group.text() != GROUP {
        errors.not_supported(&at.child("apiGroup"), role.group.text(), &[GROUP]);
    }
    let kinds: &[&str] = if namespaced { &["Role", "ClusterRole"] } else { &["ClusterRole"] };
    if !kinds.contains(&role.kind.text()) {
        errors.not_supported(&at.child("kind"), role.kind.text(), kinds);
    }
    match role.name.text() {
        "" => errors.required(&at.child("name"), ""),
        text => {
            for wrong in names::path_segment(text, false) {
                errors.invalid(&at.child("name"), text, wrong);
            }
        }
    }
    let at = Path::new("subjects");
    for (n, subject) in binding.array_at(&["subjects"]).iter().enumerate() {
        check_subject(&Reference::of(subject), namespaced, &at.index(n), errors);
    }
}

fn check_subject(subject: &Reference<'_>, namespaced: bool, at: &Path<'_>, errors: &mut Errors) {
    let (text, group) = (subject.name.text(), subject.group.text());
    if text.is_empty() {
        errors.required(&at.child("name"), "");
    }
    match subject.kind.text() {
        "ServiceAccount" => {
            if !text.is_empty() {
                name::subdomain(text, &at.child("name"), errors);
            }
            if !group.is_empty() {
                errors.not_supported(&at.child("apiGroup"), group, &[""]);
            }
            if !namespaced && subject.namespace.text().is_empty() {
                errors.required(&at.child("namespace"), "");
            }
        }
        "User" | "Group" => {
            if group != GROUP {
                errors.not_supported(&at.child("apiGroup"), group, &[GROUP]);
            }
        }
        other => errors.not_supported(&at.child("kind"), other, &["ServiceAccount", "User", "Group"]),
    }
}

fn check_same_role(new: &Value, old: &Value, errors: &mut Errors) {
    if !same(new.get("roleRef"), old.get("roleRef")) {
        errors.invalid(&Path::new("roleRef"), new.get("roleRef"), "cannot change roleRef");
    }
}

fn binding_row(binding: &Value, now: i64) -> Vec<Value> {
    let subjects = |kind: &str| {
        let all = binding.array_at(&["subjects"]).iter().map(Reference::of).filter(|s| s.kind.text() == kind);
        let name = |s: Reference<'_>| match kind {
            "ServiceAccount" if !s.namespace.text().is_empty() => format!("{}/{}", s.namespace.text(), s.name.text()),
            _ => s.name.text().to_owned(),
        };
        Value::from(all.map(name).collect::<Vec<_>>().join(", "))
    };
    let role = Reference::of(binding.get("roleRef").unwrap_or(&Value::Null));
    let role = format!("{}/{}", role.kind.text(), role.name.text());
    let mut row = vec![name_cell(binding), Value::from(role), age_cell(binding, now)];
    row.extend(["User", "Group", "ServiceAccount"].map(subjects));
    row
}

#[cfg(test)]
mod tests {
    use super::*;
    use gantry_machinery::value;

    fn causes(errors: Vec<gantry_machinery::status::FieldError>) -> Vec<String> {
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn rules_say_what_and_how() {
        let role = value!({"rules": [
            {"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]},
            {"nonResourceURLs": ["/healthz"], "verbs": ["get"]},
            {},
        ]});
        assert_eq!(
            causes(Roles.validate(&role)),
            [
                "rules[1].nonResourceURLs: Invalid value: [\"/healthz\"]: namespaced rules cannot apply to non-resource \
                 URLs",
                "rules[2].verbs: Required value: verbs must contain at least one value",
                "rules[2].apiGroups: Required value: resource rules must supply at least one api group",
                "rules[2].resources: Required value: resource rules must supply at least one resource",
            ]
        );
        assert_eq!(ClusterRoles.validate(&role).len(), 3);
        assert!(ClusterRoles.name_errors("system:node", false).is_empty());
    }

    #[test]
    fn bindings_name_role_and_subjects() {
        let mut binding = value!({
            "metadata": {"name": "b"},
            "roleRef": {"kind": "ClusterRole", "name": "view"},
            "subjects": [{"kind": "User", "name": "ann"}, {"kind": "ServiceAccount", "name": "robot"}],
        });
        ClusterRoleBindings.default(&mut binding);
        assert_eq!(binding.str_at(&["roleRef", "apiGroup"]), Some(GROUP));
        assert_eq!(causes(ClusterRoleBindings.validate(&binding)), ["subjects[1].namespace: Required value"]);
        let mut moved = binding.clone();
        moved.set(&["roleRef", "name"], "edit");
        let found = causes(RoleBindings.validate_update(&moved, &binding, ""));
        assert!(found[0].starts_with("roleRef: Invalid value: {") && found[0].ends_with("cannot change roleRef"));
        let row: Vec<String> =
            RoleBindings.row(&binding, 0).iter().filter_map(Value::as_str).map(str::to_owned).collect();
        assert_eq!(row, ["b", "ClusterRole/view", "<unknown>", "ann", "", "robot"]);
    }
}
