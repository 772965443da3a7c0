//! Field selectors: `status.phase=Running,spec.nodeName!=`. Only equality; values may escape `\\`, `\,` and `\=`.

use std::fmt;

use compact_str::CompactString;
use gantry_store_cache::key::ObjectKey;
use gantry_store_cache::object::{Facets, StoredObject};

use super::SelectorError;

/// One condition on one field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldRequirement {
    /// The field's path (`status.phase`).
    pub field: CompactString,
    /// Whether the field must differ from the value.
    pub negated: bool,
    /// The value; an absent field has the empty one.
    pub value: CompactString,
}

/// Which fields an object must have. The default selects everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSelector {
    requirements: Vec<FieldRequirement>,
}

impl FieldSelector {
    /// Selects everything.
    #[must_use]
    pub const fn everything() -> Self {
        Self { requirements: Vec::new() }
    }

    /// Selects objects whose field has this value.
    #[must_use]
    pub fn equals(field: impl Into<CompactString>, value: impl Into<CompactString>) -> Self {
        Self::from_requirements(vec![FieldRequirement { field: field.into(), negated: false, value: value.into() }])
    }

    /// Selects by these conditions.
    #[must_use]
    pub const fn from_requirements(requirements: Vec<FieldRequirement>) -> Self {
        Self { requirements }
    }

    /// A selector as queries write it.
    /// # Errors
    /// The text for the user.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        let mut requirements = Vec::new();
        for term in terms(text) {
            if term.is_empty() {
                continue;
            }
            let Some((field, negated, value)) = take_apart(term) else {
                return Err(SelectorError(format!("invalid selector: '{text}'; can't understand '{term}'")));
            };
            requirements.push(FieldRequirement { field: field.into(), negated, value: unescape(value)? });
        }
        Ok(Self { requirements })
    }

    /// The conditions: all must hold.
    #[must_use]
    pub fn requirements(&self) -> &[FieldRequirement] {
        &self.requirements
    }

    /// The other conditions.
    #[must_use]
    pub fn without(&self, these: &[FieldRequirement]) -> Self {
        Self { requirements: self.requirements.iter().filter(|r| !these.contains(r)).cloned().collect() }
    }

    /// Whether everything is selected.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        self.requirements.is_empty()
    }

    /// The value that a field must have, if one is demanded (`metadata.name` turns a list into a get).
    #[must_use]
    pub fn exact(&self, field: &str) -> Option<&str> {
        self.requirements.iter().find(|r| r.field == field && !r.negated).map(|r| r.value.as_str())
    }

    /// Calls a field by another name: versions have had more than one for the same.
    pub fn rename(&mut self, from: &str, to: &str) {
        for requirement in self.requirements.iter_mut().filter(|r| r.field == from) {
            requirement.field = to.into();
        }
    }

    /// Whether an object with this key and these facets is selected.
    #[must_use]
    pub fn matches(&self, key: &ObjectKey, facets: &Facets) -> bool {
        self.matches_with(|field| match field {
            "metadata.name" => key.name(),
            "metadata.namespace" => key.namespace(),
            other => facets.field(other),
        })
    }

    /// Whether a stored object is selected.
    #[must_use]
    pub fn matches_object(&self, object: &StoredObject) -> bool {
        self.matches(&object.key, &object.facets)
    }

    /// Whether fields looked up by `field` are selected; an absent field reads as empty.
    pub fn matches_with<'a>(&self, field: impl Fn(&str) -> &'a str) -> bool {
        self.requirements.iter().all(|r| (field(&r.field) == r.value) != r.negated)
    }
}

/// The parts between commas that no backslash escapes.
fn terms(text: &str) -> impl Iterator<Item = &str> {
    let mut escaped = false;
    text.split(move |c: char| {
        let separates = c == ',' && !escaped;
        escaped = c == '\\' && !escaped;
        separates
    })
}

fn take_apart(term: &str) -> Option<(&str, bool, &str)> {
    let at = term.find(['=', '!']).filter(|at| term[*at..].starts_with('=') || term[*at..].starts_with("!="));
    // A lone `!` belongs to the name.
    let at = match at {
        Some(at) => at,
        None => {
            term.match_indices(['=', '!']).find(|(i, _)| term[*i..].starts_with('=') || term[*i..].starts_with("!="))?.0
        }
    };
    let (field, rest) = term.split_at(at);
    if let Some(value) = rest.strip_prefix("!=") {
        return Some((field, true, value));
    }
    let value = rest.strip_prefix("==").or_else(|| rest.strip_prefix('='))?;
    Some((field, false, value))
}

fn unescape(value: &str) -> Result<CompactString, SelectorError> {
    if !value.contains(['\\', ',', '=']) {
        return Ok(value.into());
    }
    let mut out = CompactString::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(escaped @ ('\\' | ',' | '=')) => out.push(escaped),
                Some(other) => {
                    return Err(SelectorError(format!("invalid field selector: invalid escape sequence: \\{other}")));
                }
                None => return Err(SelectorError("invalid field selector: invalid escape sequence: \\".to_owned())),
            },
            ',' | '=' => {
                return Err(SelectorError(format!(
                    "invalid field selector: unescaped character in value: {}",
                    c as u32
                )));
            }
            c => out.push(c),
        }
    }
    Ok(out)
}

impl fmt::Display for FieldSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, requirement) in self.requirements.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            f.write_str(&requirement.field)?;
            f.write_str(if requirement.negated { "!=" } else { "=" })?;
            for c in requirement.value.chars() {
                if matches!(c, '\\' | ',' | '=') {
                    f.write_str("\\")?;
                }
                write!(f, "{c}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_parse_match_and_print_again() {
        let selector = FieldSelector::parse("status.phase!=Failed,spec.nodeName==n1,a=x\\,y\\=z\\\\").unwrap();
        assert_eq!(selector.to_string(), "status.phase!=Failed,spec.nodeName=n1,a=x\\,y\\=z\\\\");
        assert_eq!(selector.exact("spec.nodeName"), Some("n1"));
        assert_eq!(selector.exact("status.phase"), None);
        let fields = |field: &str| match field {
            "spec.nodeName" => "n1",
            "a" => "x,y=z\\",
            _ => "",
        };
        assert!(selector.matches_with(fields));
        assert!(!FieldSelector::equals("a", "b").matches_with(fields));
        assert!(FieldSelector::parse("").unwrap().is_everything());
    }

    #[test]
    fn what_does_not_parse_is_told_why() {
        for (text, why) in [
            ("abc", "invalid selector: 'abc'; can't understand 'abc'"),
            ("a=b,c", "invalid selector: 'a=b,c'; can't understand 'c'"),
            ("a=b=c", "invalid field selector: unescaped character in value: 61"),
            ("a=b\\x", "invalid field selector: invalid escape sequence: \\x"),
        ] {
            assert_eq!(FieldSelector::parse(text).unwrap_err().0, why);
        }
    }
}
