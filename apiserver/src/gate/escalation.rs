//! Nobody may give rights away that they do not have: which of the rights in a role its writer lacks.
//!
//! Asked by admission for every write of roles and bindings whose writer has not the verb `escalate` (roles) or `bind`
//! (bindings). Rules are taken apart into single rights, and each must be covered by one rule of the writer, as upstream
//! does it.

use std::fmt::Write;

use compact_str::CompactString;

use super::rbac::Rule;
use crate::registry::request::UserInfo;

/// The rights in `wanted` that no rule in `held` covers, each as a rule of its own.
#[must_use]
pub fn lacking(held: &[Rule], wanted: &[Rule]) -> Vec<Rule> {
    wanted.iter().flat_map(singles).filter(|single| !held.iter().any(|rule| covers(rule, single))).collect()
}

/// A rule taken apart.
fn singles(rule: &Rule) -> Vec<Rule> {
    let mut all = Vec::new();
    for verb in &rule.verbs {
        let verbs = vec![verb.clone()];
        for url in &rule.non_resource_urls {
            all.push(Rule { verbs: verbs.clone(), non_resource_urls: vec![url.clone()], ..Rule::default() });
        }
        for group in &rule.api_groups {
            for resource in &rule.resources {
                let single = |names: Vec<CompactString>| Rule {
                    verbs: verbs.clone(),
                    api_groups: vec![group.clone()],
                    resources: vec![resource.clone()],
                    resource_names: names,
                    ..Rule::default()
                };
                if rule.resource_names.is_empty() {
                    all.push(single(Vec::new()));
                } else {
                    all.extend(rule.resource_names.iter().map(|name| single(vec![name.clone()])));
                }
            }
        }
    }
    all
}

/// Whether one rule gives a single right.
fn covers(rule: &Rule, single: &Rule) -> bool {
    let has = |list: &[CompactString], one: &str| list.iter().any(|v| v == "*" || v == one);
    if !single.verbs.iter().all(|verb| has(&rule.verbs, verb)) {
        return false;
    }
    if let Some(url) = single.non_resource_urls.first() {
        return rule.non_resource_urls.iter().any(|held| {
            held == "*" || held == url || held.strip_suffix('*').is_some_and(|prefix| url.starts_with(prefix))
        });
    }
    let resource = |wanted: &CompactString| {
        let every_with_sub = wanted.split_once('/').map(|(_, sub)| format!("*/{sub}"));
        rule.resources.iter().any(|r| r == "*" || r == wanted || every_with_sub.as_deref() == Some(r))
    };
    single.api_groups.iter().all(|group| has(&rule.api_groups, group))
        && single.resources.iter().all(resource)
        && (rule.resource_names.is_empty()
            || (!single.resource_names.is_empty()
                && single.resource_names.iter().all(|name| rule.resource_names.contains(name))))
}

/// What the writer is told.
#[must_use]
pub fn refusal(user: &UserInfo, lacking: &[Rule]) -> String {
    let mut text = format!(
        "user {:?} (groups=[{}]) is attempting to grant RBAC permissions not currently held:",
        user.name,
        user.groups.iter().map(|g| format!("{g:?}")).collect::<Vec<_>>().join(" ")
    );
    for rule in lacking {
        let list = |out: &mut String, name: &str, values: &[CompactString]| {
            if !values.is_empty() {
                let separator = if out.ends_with('{') { "" } else { ", " };
                let values = values.iter().map(|v| format!("{:?}", v.as_str())).collect::<Vec<_>>().join(" ");
                write!(out, "{separator}{name}:[{values}]").expect("writing to a text does not fail");
            }
        };
        text.push_str("\n{");
        list(&mut text, "APIGroups", &rule.api_groups);
        list(&mut text, "Resources", &rule.resources);
        list(&mut text, "ResourceNames", &rule.resource_names);
        list(&mut text, "NonResourceURLs", &rule.non_resource_urls);
        list(&mut text, "Verbs", &rule.verbs);
        text.push('}');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(verbs: &[&str], groups: &[&str], resources: &[&str], names: &[&str]) -> Rule {
        let texts = |list: &[&str]| list.iter().map(|t| CompactString::from(*t)).collect::<Vec<_>>();
        Rule {
            verbs: texts(verbs),
            api_groups: texts(groups),
            resources: texts(resources),
            resource_names: texts(names),
            ..Rule::default()
        }
    }

    #[test]
    fn each_right_must_be_covered_by_one_rule() {
        let held = [rule(&["get", "list"], &[""], &["pods"], &[]), rule(&["*"], &["apps"], &["*/scale"], &[])];
        assert!(lacking(&held, &[rule(&["get"], &[""], &["pods"], &["one"])]).is_empty());
        assert!(lacking(&held, &[rule(&["update"], &["apps"], &["deployments/scale"], &[])]).is_empty());
        let wanted = [rule(&["get", "delete"], &[""], &["pods", "secrets"], &[])];
        assert_eq!(lacking(&held, &wanted).len(), 3);
        assert_eq!(lacking(&held, &[rule(&["*"], &[""], &["pods"], &[])]).len(), 1, "a star is a right of its own");
        let named = [rule(&["get"], &[""], &["pods"], &["one"])];
        assert_eq!(lacking(&named, &[rule(&["get"], &[""], &["pods"], &[])]).len(), 1);
    }

    #[test]
    fn the_refusal_names_what_is_lacking() {
        let user = UserInfo::new("jane", &["dev", "system:authenticated"]);
        assert_eq!(
            refusal(&user, &[rule(&["get"], &[""], &["pods"], &[])]),
            "user \"jane\" (groups=[\"dev\" \"system:authenticated\"]) is attempting to grant RBAC permissions not \
             currently held:\n{APIGroups:[\"\"], Resources:[\"pods\"], Verbs:[\"get\"]}"
        );
    }
}
