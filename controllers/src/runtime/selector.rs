//! Which pods a workload or a service means: selectors from specs, matched against the labels kept beside each object.

use std::collections::BTreeMap;

use gantry_store_cache::object::Facets;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

/// A selector, ready to match.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    rules: Vec<Rule>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Rule {
    Is(String, String),
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
    Exists(String),
    Absent(String),
}

impl Selector {
    /// `matchLabels` and `matchExpressions`. An empty selector matches everything; an operator that does not exist
    /// (validation keeps it out) matches nothing.
    #[must_use]
    pub fn of(selector: &LabelSelector) -> Self {
        let mut rules = Self::of_map(selector.match_labels.as_ref()).rules;
        for expression in selector.match_expressions.iter().flatten() {
            let key = expression.key.clone();
            let values = expression.values.clone().unwrap_or_default();
            rules.push(match expression.operator.as_str() {
                "NotIn" => Rule::NotIn(key, values),
                "Exists" => Rule::Exists(key),
                "DoesNotExist" => Rule::Absent(key),
                "In" => Rule::In(key, values),
                _ => Rule::In(key, Vec::new()),
            });
        }
        Self { rules }
    }

    /// The map form: every pair must be there.
    #[must_use]
    pub fn of_map(labels: Option<&BTreeMap<String, String>>) -> Self {
        let rules = labels.into_iter().flatten().map(|(key, value)| Rule::Is(key.clone(), value.clone())).collect();
        Self { rules }
    }

    /// Whether it selects everything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Whether an object with these labels is meant.
    #[must_use]
    pub fn matches(&self, facets: &Facets) -> bool {
        self.rules.iter().all(|rule| match rule {
            Rule::Is(key, value) => facets.label(key) == Some(value),
            Rule::In(key, values) => facets.label(key).is_some_and(|has| values.iter().any(|value| value == has)),
            Rule::NotIn(key, values) => facets.label(key).is_none_or(|has| values.iter().all(|value| value != has)),
            Rule::Exists(key) => facets.label(key).is_some(),
            Rule::Absent(key) => facets.label(key).is_none(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelectorRequirement;

    fn facets(labels: &[(&str, &str)]) -> Facets {
        Facets { labels: labels.iter().map(|&(k, v)| (k.into(), v.into())).collect(), ..Facets::default() }
    }

    #[test]
    fn all_rules_must_hold_and_absent_keys_count_as_not_in() {
        let rule = |key: &str, operator: &str, values: &[&str]| LabelSelectorRequirement {
            key: key.into(),
            operator: operator.into(),
            values: Some(values.iter().map(|v| (*v).to_owned()).collect()),
        };
        let selector = Selector::of(&LabelSelector {
            match_labels: Some([("app".to_owned(), "web".to_owned())].into()),
            match_expressions: Some(vec![
                rule("tier", "NotIn", &["db"]),
                rule("env", "In", &["prod", "qa"]),
                rule("old", "DoesNotExist", &[]),
            ]),
        });
        assert!(selector.matches(&facets(&[("app", "web"), ("env", "qa")])));
        assert!(!selector.matches(&facets(&[("app", "web"), ("env", "qa"), ("tier", "db")])));
        assert!(!selector.matches(&facets(&[("app", "web"), ("env", "dev")])));
        assert!(!selector.matches(&facets(&[("app", "web"), ("env", "qa"), ("old", "")])));
        assert!(!selector.matches(&facets(&[("env", "qa")])));
    }
}
