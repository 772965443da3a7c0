//! Label and field selectors: parsed from query texts or `LabelSelector` objects, matched against the facets that the
//! store keeps beside each object, so that selecting never decodes one.
//!
//! The grammar, texts and meaning follow apimachinery's `labels` and `fields` packages.

mod fields;
mod parse;
mod shard;

use std::fmt;

use compact_str::CompactString;
use gantry_store_cache::object::Facets;

pub use fields::{FieldRequirement, FieldSelector};
pub use shard::{ShardField, ShardSelector};

use crate::names;
use crate::status::{FieldError, FieldPath, quote};
use crate::value::{Object, Value};

/// Why a selector does not parse; the text is what the user is told, in a 400.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SelectorError(pub String);

/// How a requirement compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// `key in (a,b)`
    In,
    /// `key notin (a,b)`; also true where there is no such label.
    NotIn,
    /// `key=a`
    Equals,
    /// `key==a`
    DoubleEquals,
    /// `key!=a`; also true where there is no such label.
    NotEquals,
    /// `key`
    Exists,
    /// `!key`
    DoesNotExist,
    /// `key>1`, integers
    GreaterThan,
    /// `key<1`, integers
    LessThan,
}

/// One condition on one label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    /// The label.
    pub key: CompactString,
    /// The comparison.
    pub operator: Operator,
    /// What it is compared with, sorted, without repetitions.
    pub values: Vec<CompactString>,
}

/// Which labels an object must have. The default selects everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelSelector {
    requirements: Vec<Requirement>,
    nothing: bool,
}

impl Requirement {
    /// A requirement, checked as upstream checks it.
    /// # Errors
    /// The text for the user.
    pub fn new(
        key: impl Into<CompactString>,
        operator: Operator,
        values: impl IntoIterator<Item = impl Into<CompactString>>,
    ) -> Result<Self, SelectorError> {
        let key = key.into();
        let mut values: Vec<CompactString> = values.into_iter().map(Into::into).collect();
        values.sort_unstable();
        values.dedup();
        let mut errors: Vec<String> = Vec::new();
        let listed = || {
            let quoted: Vec<String> = values.iter().map(|v| quote(v)).collect();
            format!("[{}]", quoted.join(","))
        };
        let key_errors = names::qualified_name(&key);
        if !key_errors.is_empty() {
            errors.push(format!("key: Invalid value: {}: {}", quote(&key), key_errors.join("; ")));
        }
        match operator {
            Operator::In | Operator::NotIn if values.is_empty() => errors.push(format!(
                "values: Invalid value: {}: for 'in', 'notin' operators, values set can't be empty",
                listed()
            )),
            Operator::Equals | Operator::DoubleEquals | Operator::NotEquals if values.len() != 1 => errors.push(
                format!("values: Invalid value: {}: exact-match compatibility requires one single value", listed()),
            ),
            Operator::Exists | Operator::DoesNotExist if !values.is_empty() => errors.push(format!(
                "values: Invalid value: {}: values set must be empty for exists and does not exist",
                listed()
            )),
            Operator::GreaterThan | Operator::LessThan if values.len() != 1 => errors.push(format!(
                "values: Invalid value: {}: for 'Gt', 'Lt' operators, exactly one value is required",
                listed()
            )),
            Operator::GreaterThan | Operator::LessThan if values[0].parse::<i64>().is_err() => errors.push(format!(
                "values[0]: Invalid value: {}: for 'Gt', 'Lt' operators, the value must be an integer",
                quote(&values[0])
            )),
            _ => {}
        }
        for (index, value) in values.iter().enumerate() {
            let value_errors = names::label_value(value);
            if !value_errors.is_empty() {
                let why = value_errors.join("; ");
                errors.push(format!("values[{index}][{key}]: Invalid value: {}: {why}", quote(value)));
            }
        }
        match errors.len() {
            0 => Ok(Self { key, operator, values }),
            1 => Err(SelectorError(errors.remove(0))),
            _ => Err(SelectorError(format!("[{}]", errors.join(", ")))),
        }
    }

    /// Whether a label's value (`None`: no such label) meets it.
    #[must_use]
    pub fn matches_value(&self, value: Option<&str>) -> bool {
        let among = |v: &str| self.values.iter().any(|w| w == v);
        match self.operator {
            Operator::In | Operator::Equals | Operator::DoubleEquals => value.is_some_and(among),
            Operator::NotIn | Operator::NotEquals => !value.is_some_and(among),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
            Operator::GreaterThan | Operator::LessThan => {
                let (Some(have), Some(want)) = (value.and_then(|v| v.parse::<i64>().ok()), self.bound()) else {
                    return false;
                };
                if self.operator == Operator::GreaterThan { have > want } else { have < want }
            }
        }
    }

    /// The one value that the label must have: what an index can be asked for.
    #[must_use]
    pub fn exact_value(&self) -> Option<&str> {
        match (self.operator, self.values.as_slice()) {
            (Operator::In | Operator::Equals | Operator::DoubleEquals, [one]) => Some(one),
            _ => None,
        }
    }

    fn bound(&self) -> Option<i64> {
        self.values.first()?.parse().ok()
    }
}

impl LabelSelector {
    /// Selects everything.
    #[must_use]
    pub const fn everything() -> Self {
        Self { requirements: Vec::new(), nothing: false }
    }

    /// Selects nothing: what an absent selector means in most specs.
    #[must_use]
    pub const fn nothing() -> Self {
        Self { requirements: Vec::new(), nothing: true }
    }

    /// Selects by requirements already checked.
    #[must_use]
    pub fn from_requirements(mut requirements: Vec<Requirement>) -> Self {
        requirements.sort_by(|a, b| a.key.cmp(&b.key));
        Self { requirements, nothing: false }
    }

    /// Selects objects that carry all these labels (`Service` and `ReplicationController` selectors).
    #[must_use]
    pub fn from_labels<'a>(labels: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let requirements = labels
            .into_iter()
            .map(|(key, value)| Requirement { key: key.into(), operator: Operator::Equals, values: vec![value.into()] })
            .collect();
        Self::from_requirements(requirements)
    }

    /// Selects objects that carry all the labels of a map object (`spec.selector` of a Service).
    #[must_use]
    pub fn from_map(labels: &Object) -> Self {
        Self::from_labels(labels.iter().filter_map(|(key, value)| Some((key.as_str(), value.as_str()?))))
    }

    /// A selector as queries write it: `a=b,c in (d,e),!f`.
    /// # Errors
    /// The text for the user.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        if text.is_empty() {
            return Ok(Self::everything());
        }
        Ok(Self::from_requirements(parse::requirements(text)?))
    }

    /// A selector as specs write it: an object with `matchLabels` and `matchExpressions`. `None` (absent) selects
    /// nothing, an empty object everything.
    /// # Errors
    /// The text for the user: an unknown operator, a bad label.
    pub fn from_object(selector: Option<&Value>) -> Result<Self, SelectorError> {
        let Some(selector) = selector.filter(|s| !s.is_null()) else {
            return Ok(Self::nothing());
        };
        let mut requirements = Vec::new();
        if let Some(labels) = selector.object_at(&["matchLabels"]) {
            for (key, value) in labels.iter() {
                requirements.push(Requirement::new(key.clone(), Operator::Equals, value.as_str())?);
            }
        }
        for expression in selector.array_at(&["matchExpressions"]) {
            let operator = expression.str_at(&["operator"]).unwrap_or_default();
            let operator = expression_operator(operator)
                .ok_or_else(|| SelectorError(format!("{} is not a valid label selector operator", quote(operator))))?;
            let key = expression.str_at(&["key"]).unwrap_or_default();
            let values = expression.array_at(&["values"]).iter().filter_map(Value::as_str);
            requirements.push(Requirement::new(key, operator, values)?);
        }
        Ok(Self::from_requirements(requirements))
    }

    /// Everything wrong with a selector object, as validation reports it.
    #[must_use]
    pub fn validate_object(selector: &Value, path: &FieldPath<'_>) -> Vec<FieldError> {
        let mut errors = Vec::new();
        if let Some(labels) = selector.object_at(&["matchLabels"]) {
            let at = path.child("matchLabels");
            validate_labels(labels, &at, &mut errors);
        }
        for (index, expression) in selector.array_at(&["matchExpressions"]).iter().enumerate() {
            let at = path.item("matchExpressions", index);
            let values = expression.array_at(&["values"]);
            match expression.str_at(&["operator"]).unwrap_or_default() {
                "In" | "NotIn" => {
                    if values.is_empty() {
                        let why = "must be specified when `operator` is 'In' or 'NotIn'";
                        errors.push(FieldError::required(at.child("values"), why));
                    }
                }
                "Exists" | "DoesNotExist" => {
                    if !values.is_empty() {
                        let why = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                        errors.push(FieldError::forbidden(at.child("values"), why));
                    }
                }
                other => errors.push(FieldError::invalid(at.child("operator"), other, "not a valid selector operator")),
            }
            let key = expression.str_at(&["key"]).unwrap_or_default();
            for why in names::qualified_name(key) {
                errors.push(FieldError::invalid(at.child("key"), key, why));
            }
            for (index, value) in values.iter().filter_map(Value::as_str).enumerate() {
                for why in names::label_value(value) {
                    errors.push(FieldError::invalid(at.item("values", index), value, why));
                }
            }
        }
        errors
    }

    /// Whether an object with these facets is selected.
    #[must_use]
    pub fn matches(&self, facets: &Facets) -> bool {
        self.matches_with(|key| facets.label(key))
    }

    /// Whether labels looked up by `label` are selected.
    pub fn matches_with<'a>(&self, label: impl Fn(&str) -> Option<&'a str>) -> bool {
        !self.nothing && self.requirements.iter().all(|r| r.matches_value(label(&r.key)))
    }

    /// Whether the labels of a decoded object (`metadata.labels`) are selected.
    #[must_use]
    pub fn matches_labels(&self, labels: Option<&Object>) -> bool {
        self.matches_with(|key| labels?.get(key)?.as_str())
    }

    /// Whether everything is selected.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        !self.nothing && self.requirements.is_empty()
    }

    /// Whether nothing is selected.
    #[must_use]
    pub const fn is_nothing(&self) -> bool {
        self.nothing
    }

    /// The conditions, by key: all must hold.
    #[must_use]
    pub fn requirements(&self) -> &[Requirement] {
        &self.requirements
    }

    /// A label that must have one certain value, if there is one: what an index can be asked for.
    #[must_use]
    pub fn exact_label(&self) -> Option<(&str, &str)> {
        self.requirements.iter().find_map(|r| Some((r.key.as_str(), r.exact_value()?)))
    }
}

/// Everything wrong with a map of labels, as validation reports it.
pub fn validate_labels(labels: &Object, path: &FieldPath<'_>, errors: &mut Vec<FieldError>) {
    for (key, value) in labels.iter() {
        for why in names::qualified_name(key) {
            errors.push(FieldError::invalid(path, key, why));
        }
        let value = value.as_str().unwrap_or_default();
        for why in names::label_value(value) {
            errors.push(FieldError::invalid(path, value, why));
        }
    }
}

fn expression_operator(text: &str) -> Option<Operator> {
    Some(match text {
        "In" => Operator::In,
        "NotIn" => Operator::NotIn,
        "Exists" => Operator::Exists,
        "DoesNotExist" => Operator::DoesNotExist,
        _ => return None,
    })
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let first = self.values.first().map_or("", |v| v);
        let sign = match self.operator {
            Operator::Exists => return f.write_str(&self.key),
            Operator::DoesNotExist => return write!(f, "!{}", self.key),
            Operator::In => return write!(f, "{} in ({})", self.key, self.values.join(",")),
            Operator::NotIn => return write!(f, "{} notin ({})", self.key, self.values.join(",")),
            Operator::Equals => "=",
            Operator::DoubleEquals => "==",
            Operator::NotEquals => "!=",
            Operator::GreaterThan => ">",
            Operator::LessThan => "<",
        };
        write!(f, "{}{sign}{first}", self.key)
    }
}

impl fmt::Display for LabelSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, requirement) in self.requirements.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            requirement.fmt(f)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facets(labels: &[(&str, &str)]) -> Facets {
        let labels = labels.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
        Facets { labels, fields: Box::new([]) }
    }

    fn selects(selector: &str, labels: &[(&str, &str)]) -> bool {
        LabelSelector::parse(selector).unwrap().matches(&facets(labels))
    }

    #[test]
    fn every_operator_matches_as_upstream() {
        let web = &[("app", "web"), ("n", "5")];
        for (selector, expected) in [
            ("", true),
            ("app=web", true),
            ("app==web", true),
            ("app = web , n", true),
            ("app!=web", false),
            ("app!=db", true),
            ("other!=x", true),
            ("app in (db,web)", true),
            ("app in (db)", false),
            ("app notin (db)", true),
            ("other notin (db)", true),
            ("app", true),
            ("!app", false),
            ("!other", true),
            ("n>4", true),
            ("n<4", false),
            ("app>4", false),
            ("other=", false),
            ("in=x", false),
            ("app in (,web)", true),
        ] {
            assert_eq!(selects(selector, web), expected, "{selector}");
        }
        assert!(!LabelSelector::nothing().matches(&facets(web)));
    }

    #[test]
    fn selectors_print_sorted_and_parse_again() {
        let selector = LabelSelector::parse("z notin (b,a),!y,x in (c), w==v,u").unwrap();
        assert_eq!(selector.to_string(), "u,w==v,x in (c),!y,z notin (a,b)");
        assert_eq!(LabelSelector::parse(&selector.to_string()).unwrap(), selector);
        assert_eq!(selector.exact_label(), Some(("w", "v")));
    }

    #[test]
    fn what_does_not_parse_is_told_why() {
        for (text, why) in [
            ("a=b c", "found 'c', expected: ',' or 'end of string'"),
            ("a,", "found '', expected: identifier after ','"),
            ("=b", "found '=', expected: !, identifier, or 'end of string'"),
            ("a in b", "unable to parse requirement: found 'b', expected: '('"),
            ("a b", "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt"),
            ("a in (b", "unable to parse requirement: found '', expected: ',' or ')'"),
            (
                "a=_",
                "unable to parse requirement: values[0][a]: Invalid value: \"_\": a valid label must be an empty string \
                 or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric \
                 character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is \
                 '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')",
            ),
            (
                "a>b",
                "unable to parse requirement: values[0]: Invalid value: \"b\": for 'Gt', 'Lt' operators, the value must be an integer",
            ),
        ] {
            assert_eq!(LabelSelector::parse(text).unwrap_err().0, why, "{text}");
        }
    }

    #[test]
    fn selector_objects_convert_and_validate() {
        let good = crate::value!({
            "matchLabels": {"app": "web"},
            "matchExpressions": [{"key": "tier", "operator": "NotIn", "values": ["x"]}, {"key": "a", "operator": "Exists"}],
        });
        let selector = LabelSelector::from_object(Some(&good)).unwrap();
        assert_eq!(selector.to_string(), "a,app=web,tier notin (x)");
        assert!(LabelSelector::validate_object(&good, &FieldPath::new("spec.selector")).is_empty());
        assert!(LabelSelector::from_object(None).unwrap().is_nothing());
        assert!(LabelSelector::from_object(Some(&Value::object())).unwrap().is_everything());

        let bad =
            crate::value!({"matchExpressions": [{"key": "", "operator": "Like"}, {"key": "a", "operator": "In"}]});
        let errors = LabelSelector::validate_object(&bad, &FieldPath::new("spec.selector"));
        let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(
            texts[0],
            "spec.selector.matchExpressions[0].operator: Invalid value: \"Like\": not a valid selector operator"
        );
        assert_eq!(
            texts.last().unwrap(),
            "spec.selector.matchExpressions[1].values: Required value: must be specified when `operator` is 'In' or 'NotIn'"
        );
    }
}
