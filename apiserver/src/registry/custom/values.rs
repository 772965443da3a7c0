//! Values against their schema: the checks of OpenAPI v3 in the words and with the causes of Kubernetes.
//!
//! An update is not blamed for what was wrong before it: a part that is as it was in the old object is passed over
//! (KEP-4008, "CRD validation ratcheting"). Called by the custom strategy after pruning and defaulting; also with defaults
//! when a definition is checked.

use std::collections::{HashMap, HashSet};
use std::fmt::Write;

use compact_str::CompactString;
use gantry_machinery::codec::json;
use gantry_machinery::names;
use gantry_machinery::status::{FieldError, FieldErrorKind, Shown};
use gantry_machinery::value::{Object, Value};

use super::formats;
use super::schema::{Additional, Bound, ListType, Rules, Schema, Ty, number};
use crate::registry::validate::Path;

/// After this many errors nothing more is looked for: no answer grows beyond reading.
const ERRORS_MAX: usize = 500;
/// Comparisons up to which scanning is quicker than hashing.
const SCAN_UP_TO: usize = 1024;
/// The path of errors that belong to no field, as Go prints a path that is none.
const NOWHERE: &str = "<nil>";

/// Everything wrong with a value. `old` is what it was before an update.
pub(crate) fn check(value: &Value, old: Option<&Value>, schema: &Schema, path: &Path<'_>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    Checker { errors: &mut errors }.value(value, old, schema, path);
    errors
}

struct Checker<'e> {
    errors: &'e mut Vec<FieldError>,
}

impl Checker<'_> {
    fn full(&self) -> bool {
        self.errors.len() >= ERRORS_MAX
    }

    fn value(&mut self, value: &Value, old: Option<&Value>, schema: &Schema, path: &Path<'_>) {
        if self.full() || old == Some(value) {
            return;
        }
        if !self.has_type(value, schema, path) {
            return;
        }
        if value.is_null() {
            return;
        }
        if let Some(rules) = &schema.rules {
            self.rules(value, old, rules, path);
        }
        match value {
            Value::Object(fields) => self.fields(fields, old, schema, path),
            Value::Array(items) => self.items(items, old, schema, path),
            _ => {}
        }
    }

    /// Whether the value has the schema's type; says so if not.
    fn has_type(&mut self, value: &Value, schema: &Schema, path: &Path<'_>) -> bool {
        let wanted = if schema.int_or_string { Some("integer,string") } else { schema.ty.map(Ty::name) };
        let Some(wanted) = wanted else { return true };
        let fits = match value {
            Value::Null => schema.nullable,
            _ if schema.int_or_string => is_type(value, Ty::Integer) || is_type(value, Ty::String),
            _ => schema.ty.is_some_and(|ty| is_type(value, ty)),
        };
        if !fits {
            let found = type_of(value);
            let detail = format!("{path} in body must be of type {wanted}: {found:?}");
            self.errors.push(FieldError::type_invalid(path, found, detail));
        }
        fits
    }

    fn fields(&mut self, fields: &Object, old: Option<&Value>, schema: &Schema, path: &Path<'_>) {
        for (key, value) in fields.iter() {
            let old = old.and_then(|old| old.get(key));
            let below = path.child(key);
            match schema.property(key) {
                Some(property) => self.value(value, old, property, &below),
                None => match &schema.additional {
                    Some(Additional::Schema(schema)) => self.value(value, old, schema, &below),
                    Some(Additional::Allowed(false)) if !schema.preserve_unknown => {
                        let detail = format!("{path}.{key} in body is a forbidden property");
                        self.errors.push(FieldError::invalid(path, "", detail));
                    }
                    _ => {}
                },
            }
        }
        if schema.embedded {
            self.embedded(fields, path);
        }
    }

    fn items(&mut self, items: &[Value], old: Option<&Value>, schema: &Schema, path: &Path<'_>) {
        if let Some(below) = &schema.items {
            // Only items with keys can be told to be the same as before.
            let before: HashMap<String, &Value> = match (&schema.list, old.and_then(Value::as_array)) {
                (ListType::Map(keys), Some(old)) => {
                    old.iter().map(|item| (key_text(item, keys, below), item)).collect()
                }
                _ => HashMap::new(),
            };
            for (at, item) in items.iter().enumerate() {
                let old = match &schema.list {
                    ListType::Map(keys) if !before.is_empty() => before.get(&key_text(item, keys, below)).copied(),
                    _ => None,
                };
                self.value(item, old, below, &path.index(at));
                if self.full() {
                    return;
                }
            }
        }
        self.duplicates(items, schema, path);
    }

    /// Items of sets and maps must differ.
    fn duplicates(&mut self, items: &[Value], schema: &Schema, path: &Path<'_>) {
        let mut seen: HashMap<String, u32> = HashMap::with_capacity(items.len());
        let empty = Schema::default();
        let below = schema.items.as_deref().unwrap_or(&empty);
        for (at, item) in items.iter().enumerate() {
            let text = match &schema.list {
                ListType::Atomic => return,
                ListType::Set => canonical(item),
                ListType::Map(keys) if item.as_object().is_some() => key_text(item, keys, below),
                ListType::Map(_) => continue,
            };
            let times = seen.entry(text).or_default();
            *times += 1;
            // Each value that stands there twice is named once.
            if *times == 2 && !self.full() {
                let shown = match &schema.list {
                    ListType::Map(keys) => keys_of(item, keys, below),
                    _ => item.clone(),
                };
                self.errors.push(FieldError::duplicate(path.index(at), shown));
            }
        }
    }

    fn rules(&mut self, value: &Value, old: Option<&Value>, rules: &Rules, path: &Path<'_>) {
        match value {
            Value::String(text) => self.text(text, rules, path),
            Value::Int(_) | Value::Float(_) => self.number(value, rules, path),
            Value::Array(items) => self.counts(items.len(), rules.min_items, rules.max_items, "items", path),
            Value::Object(fields) => {
                self.counts(fields.len(), rules.min_properties, rules.max_properties, "properties", path);
                // Lookups scan: what is wide on both sides is looked up by hash.
                let wide = rules.required.len().saturating_mul(fields.len()) > SCAN_UP_TO;
                let names: Option<HashSet<&str>> = wide.then(|| fields.keys().map(CompactString::as_str).collect());
                for name in &rules.required {
                    let there = names.as_ref().map_or_else(|| fields.contains_key(name), |n| n.contains(name.as_str()));
                    if !there && !self.full() {
                        self.errors.push(FieldError::required(path.child(name), ""));
                    }
                }
            }
            Value::Null | Value::Bool(_) => {}
        }
        if !rules.one_of_values.is_empty() && !rules.one_of_values.iter().any(|allowed| equal(allowed, value)) {
            let allowed: Vec<String> = rules
                .one_of_values
                .iter()
                .map(|v| v.as_str().map_or_else(|| json::to_string(v), ToOwned::to_owned))
                .collect();
            let allowed: Vec<&str> = allowed.iter().map(String::as_str).collect();
            self.errors.push(FieldError::not_supported(path, value, &allowed));
        }
        if let Value::Array(items) = value
            && rules.unique_items
        {
            let mut seen = HashSet::new();
            if items.iter().any(|item| !seen.insert(canonical(item))) {
                let detail = format!("{path} in body shouldn't contain duplicates");
                self.errors.push(FieldError::invalid(path, value, detail));
            }
        }
        self.junctors(value, old, rules, path);
    }

    fn text(&mut self, text: &str, rules: &Rules, path: &Path<'_>) {
        let length = i64::try_from(text.chars().count()).unwrap_or(i64::MAX);
        if let Some(max) = rules.max_length.filter(|max| length > *max) {
            self.errors.push(FieldError::too_long(path, usize::try_from(max).unwrap_or_default()));
        }
        if let Some(min) = rules.min_length.filter(|min| length < *min) {
            let detail = format!("{path} in body should be at least {min} chars long");
            self.errors.push(FieldError::invalid(path, text, detail));
        }
        if let Some(pattern) = rules.pattern.as_ref().filter(|pattern| !pattern.matches(text)) {
            let detail = format!("{path} in body should match '{}'", pattern.text);
            self.errors.push(FieldError::invalid(path, text, detail));
        }
        if !rules.format.is_empty() && !formats::is(&rules.format, text) {
            let detail = format!("{path} in body must be of type {}: {}", rules.format, text.shown());
            self.errors.push(FieldError::type_invalid(path, text, detail));
        }
    }

    fn number(&mut self, value: &Value, rules: &Rules, path: &Path<'_>) {
        let Some(held) = number(value) else { return };
        let mut wrong = |detail: String| self.errors.push(FieldError::invalid(path, value, detail));
        if let Some(Bound { at, exclusive }) = rules.maximum
            && (held > at || (exclusive && held >= at))
        {
            let how = if exclusive { "less than" } else { "less than or equal to" };
            wrong(format!("{path} in body should be {how} {}", plain(at)));
        }
        if let Some(Bound { at, exclusive }) = rules.minimum
            && (held < at || (exclusive && held <= at))
        {
            let how = if exclusive { "greater than" } else { "greater than or equal to" };
            wrong(format!("{path} in body should be {how} {}", plain(at)));
        }
        if let Some(factor) = rules.multiple_of.filter(|f| *f > 0.0) {
            let times = held / factor;
            if (times - times.round()).abs() > 1e-9 {
                wrong(format!("{path} in body should be a multiple of {}", plain(factor)));
            }
        }
        let fits = match (value, rules.format.as_str()) {
            (Value::Int(held), "int32") => i32::try_from(*held).is_ok(),
            (Value::Float(held), "int32" | "int64") => held.abs() < 9.2e18,
            _ => true,
        };
        if !fits {
            wrong(format!("Checked value must be of type integer with format {}", rules.format));
        }
    }

    fn counts(&mut self, count: usize, min: Option<i64>, max: Option<i64>, what: &str, path: &Path<'_>) {
        let held = i64::try_from(count).unwrap_or(i64::MAX);
        if let Some(max) = max.filter(|max| held > *max) {
            self.errors.push(FieldError::too_many(path, count, usize::try_from(max).unwrap_or_default()));
        }
        if let Some(min) = min.filter(|min| held < *min) {
            let detail = format!("{path} in body should have at least {min} {what}");
            self.errors.push(FieldError::invalid(path, held, detail));
        }
    }

    /// `allOf`, `anyOf`, `oneOf`, `not`.
    fn junctors(&mut self, value: &Value, old: Option<&Value>, rules: &Rules, path: &Path<'_>) {
        let nowhere = |detail: String| FieldError {
            kind: FieldErrorKind::Invalid,
            field: NOWHERE.to_owned(),
            value: "\"\"".to_owned(),
            detail,
        };
        if rules.all_of.is_empty() && rules.any_of.is_empty() && rules.one_of.is_empty() && rules.not.is_none() {
            return;
        }
        let at = String::from(path);
        let mut valid = 0;
        for schema in &rules.all_of {
            let wrong = check(value, old, schema, path);
            valid += usize::from(wrong.is_empty());
            self.errors.extend(wrong);
        }
        if valid < rules.all_of.len() {
            let none = if valid == 0 { ". None validated" } else { "" };
            self.errors.push(nowhere(format!("{at:?} must validate all the schemas (allOf){none}")));
        }
        if !rules.any_of.is_empty()
            && let Err(best) = first_valid(value, old, &rules.any_of, path)
        {
            self.errors.push(nowhere(format!("{at:?} must validate at least one schema (anyOf)")));
            self.errors.extend(best);
        }
        if !rules.one_of.is_empty() {
            let valid = rules.one_of.iter().filter(|schema| check(value, old, schema, path).is_empty()).count();
            if valid != 1 {
                let found = match valid {
                    0 => "Found none valid".to_owned(),
                    n => format!("Found {n} valid alternatives"),
                };
                self.errors.push(nowhere(format!("{at:?} must validate one and only one schema (oneOf). {found}")));
                if valid == 0
                    && let Err(best) = first_valid(value, old, &rules.one_of, path)
                {
                    self.errors.extend(best);
                }
            }
        }
        if let Some(schema) = &rules.not
            && check(value, None, schema, path).is_empty()
        {
            self.errors.push(nowhere(format!("{at:?} must not validate the schema (not)")));
        }
        self.errors.truncate(ERRORS_MAX);
    }

    /// An object inside that is a resource of its own says what it is.
    fn embedded(&mut self, fields: &Object, path: &Path<'_>) {
        for field in ["apiVersion", "kind"] {
            let at = path.child(field);
            match fields.get(field) {
                None => self.errors.push(FieldError::required(at, "must not be empty")),
                Some(Value::String(text)) if text.is_empty() => {
                    self.errors.push(FieldError::invalid(at, "", "must not be empty"));
                }
                Some(Value::String(text)) if field == "kind" => {
                    let wrong = names::dns_1035_label(&text.to_lowercase());
                    if !wrong.is_empty() {
                        let detail = format!("may have mixed case, but should otherwise match: {}", wrong.join(","));
                        self.errors.push(FieldError::invalid(at, text, detail));
                    }
                }
                Some(Value::String(text)) => {
                    if text.split('/').count() > 2 {
                        let detail = format!("unexpected GroupVersion string: {text}");
                        self.errors.push(FieldError::invalid(at, text, detail));
                    }
                }
                Some(other) => {
                    let found = type_of(other);
                    let detail = format!("{at} in body must be of type string: {found:?}");
                    self.errors.push(FieldError::type_invalid(at, found, detail));
                }
            }
        }
    }
}

/// Nothing wrong by one of the schemas, or the fewest errors of any.
fn first_valid(value: &Value, old: Option<&Value>, schemas: &[Schema], path: &Path<'_>) -> Result<(), Vec<FieldError>> {
    let mut best: Option<Vec<FieldError>> = None;
    for schema in schemas {
        let wrong = check(value, old, schema, path);
        if wrong.is_empty() {
            return Ok(());
        }
        if best.as_ref().is_none_or(|best| wrong.len() < best.len()) {
            best = Some(wrong);
        }
    }
    Err(best.unwrap_or_default())
}

/// What OpenAPI calls the type of a value.
pub(crate) fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Int(_) => "integer",
        Value::Float(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

#[allow(clippy::float_cmp, reason = "a number is an integer or it is not")]
fn is_type(value: &Value, ty: Ty) -> bool {
    match ty {
        Ty::Object => matches!(value, Value::Object(_)),
        Ty::Array => matches!(value, Value::Array(_)),
        Ty::String => matches!(value, Value::String(_)),
        Ty::Boolean => matches!(value, Value::Bool(_)),
        Ty::Number => matches!(value, Value::Int(_) | Value::Float(_)),
        Ty::Integer => match value {
            Value::Int(_) => true,
            Value::Float(number) => number.trunc() == *number && number.is_finite(),
            _ => false,
        },
    }
}

/// Equality as JSON has it: `1` is `1.0`.
#[allow(clippy::float_cmp, reason = "enumerated numbers are meant exactly")]
fn equal(a: &Value, b: &Value) -> bool {
    match (number(a), number(b)) {
        (Some(a), Some(b)) => a == b,
        _ => a == b,
    }
}

/// A text that equal values share.
fn canonical(value: &Value) -> String {
    let mut out = String::new();
    push_canonical(value, &mut out);
    out
}

fn push_canonical(value: &Value, out: &mut String) {
    match value {
        Value::Object(fields) => {
            let mut sorted: Vec<(&CompactString, &Value)> = fields.iter().collect();
            sorted.sort_unstable_by_key(|(key, _)| *key);
            out.push('{');
            for (key, value) in sorted {
                let _ = write!(out, "{key:?}:");
                push_canonical(value, out);
                out.push(',');
            }
            out.push('}');
        }
        Value::Array(items) => {
            out.push('[');
            for item in items {
                push_canonical(item, out);
                out.push(',');
            }
            out.push(']');
        }
        Value::Int(_) | Value::Float(_) => out.push_str(&plain(number(value).unwrap_or_default())),
        other => out.push_str(&json::to_string(other)),
    }
}

/// The key fields of a list's item; absent ones have their defaults.
fn keys_of(item: &Value, keys: &[CompactString], schema: &Schema) -> Value {
    let default = |key: &str| schema.property(key).and_then(|s| s.default.as_deref());
    let held = keys.iter().filter_map(|key| Some((key.clone(), item.get(key).or_else(|| default(key))?.clone())));
    Value::Object(held.collect())
}

fn key_text(item: &Value, keys: &[CompactString], schema: &Schema) -> String {
    canonical(&keys_of(item, keys, schema))
}

/// A number as Go's `%v` prints it.
fn plain(number: f64) -> String {
    let magnitude = number.abs();
    if magnitude != 0.0 && !(1e-4..1e21).contains(&magnitude) {
        let text = format!("{number:e}");
        // Go writes at least two digits of exponent, and its sign.
        return match text.split_once('e') {
            Some((digits, exponent)) => {
                let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |e| ('-', e));
                format!("{digits}e{sign}{exponent:0>2}")
            }
            None => text,
        };
    }
    format!("{number}")
}

#[cfg(test)]
mod tests {
    use gantry_machinery::value;

    use super::*;

    fn wrong(schema: &Value, object: &Value) -> Vec<String> {
        let schema = Schema::compile(schema).expect("the schema compiles");
        check(object, None, &schema, &Path::root()).iter().map(ToString::to_string).collect()
    }

    fn spec(schema: Value, value: Value) -> Vec<String> {
        wrong(
            &value!({"type": "object", "properties": {"spec": {"type": "object", "properties": {"x": schema}}}}),
            &value!({"spec": {"x": value}}),
        )
    }

    #[test]
    fn every_rule_says_what_upstream_says() {
        for (schema, bad, message) in [
            (
                value!({"type": "integer"}),
                value!("a"),
                r#"spec.x: Invalid value: "string": spec.x in body must be of type integer: "string""#,
            ),
            (
                value!({"type": "string"}),
                value!(null),
                r#"spec.x: Invalid value: "null": spec.x in body must be of type string: "null""#,
            ),
            (
                value!({"type": "integer", "maximum": 10}),
                value!(11),
                "spec.x: Invalid value: 11: spec.x in body should be less than or equal to 10",
            ),
            (
                value!({"type": "integer", "minimum": 1, "exclusiveMinimum": true}),
                value!(1),
                "spec.x: Invalid value: 1: spec.x in body should be greater than 1",
            ),
            (
                value!({"type": "number", "multipleOf": 0.5}),
                value!(0.7),
                "spec.x: Invalid value: 0.7: spec.x in body should be a multiple of 0.5",
            ),
            (
                value!({"type": "string", "maxLength": 2}),
                value!("abc"),
                "spec.x: Too long: may not be more than 2 bytes",
            ),
            (
                value!({"type": "string", "minLength": 1}),
                value!(""),
                r#"spec.x: Invalid value: "": spec.x in body should be at least 1 chars long"#,
            ),
            (
                value!({"type": "string", "pattern": "^a$"}),
                value!("b"),
                r#"spec.x: Invalid value: "b": spec.x in body should match '^a$'"#,
            ),
            (
                value!({"type": "string", "enum": ["a", "b"]}),
                value!("c"),
                r#"spec.x: Unsupported value: "c": supported values: "a", "b""#,
            ),
            (
                value!({"type": "string", "format": "date"}),
                value!("c"),
                r#"spec.x: Invalid value: "c": spec.x in body must be of type date: "c""#,
            ),
            (
                value!({"type": "array", "items": {"type": "string"}, "maxItems": 1}),
                value!(["a", "b"]),
                "spec.x: Too many: 2: must have at most 1 item",
            ),
            (
                value!({"type": "array", "items": {"type": "string"}, "minItems": 1}),
                value!([]),
                "spec.x: Invalid value: 0: spec.x in body should have at least 1 items",
            ),
            (
                value!({"type": "object", "maxProperties": 1, "additionalProperties": {"type": "string"}}),
                value!({"a": "", "b": ""}),
                "spec.x: Too many: 2: must have at most 1 item",
            ),
            (
                value!({"type": "object", "required": ["a"], "properties": {"a": {"type": "string"}}}),
                value!({}),
                "spec.x.a: Required value",
            ),
            (
                value!({"type": "array", "items": {"type": "object", "properties": {"n": {"type": "integer"}}}}),
                value!([{"n": true}]),
                r#"spec.x[0].n: Invalid value: "boolean": spec.x[0].n in body must be of type integer: "boolean""#,
            ),
            (
                value!({"x-kubernetes-int-or-string": true}),
                value!(true),
                r#"spec.x: Invalid value: "boolean": spec.x in body must be of type integer,string: "boolean""#,
            ),
            (
                value!({"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}}),
                value!(["a", "b", "a"]),
                r#"spec.x[2]: Duplicate value: "a""#,
            ),
            (
                value!({"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["n"],
                    "items": {"type": "object", "properties": {"n": {"type": "string"}, "v": {"type": "string"}}}}),
                value!([{"n": "a", "v": "1"}, {"n": "a"}]),
                r#"spec.x[1]: Duplicate value: {"n":"a"}"#,
            ),
            (
                value!({"type": "string", "not": {"enum": ["a"]}}),
                value!("a"),
                r#"<nil>: Invalid value: "": "spec.x" must not validate the schema (not)"#,
            ),
        ] {
            assert_eq!(spec(schema, bad), [message]);
        }
    }

    #[test]
    fn junctors_count_what_is_valid() {
        let either = value!({"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "string"}},
            "oneOf": [{"required": ["a"]}, {"required": ["b"]}]});
        assert!(spec(either.clone(), value!({"a": ""})).is_empty());
        let both = spec(either.clone(), value!({"a": "", "b": ""}));
        assert_eq!(
            both,
            [
                r#"<nil>: Invalid value: "": "spec.x" must validate one and only one schema (oneOf). Found 2 valid alternatives"#
            ]
        );
        let none = spec(either, value!({}));
        assert!(none[0].ends_with("(oneOf). Found none valid") && none[1] == "spec.x.a: Required value", "{none:?}");
        let any = value!({"type": "integer", "anyOf": [{"maximum": 1}, {"minimum": 5}]});
        assert!(spec(any.clone(), value!(7)).is_empty());
        assert_eq!(spec(any, value!(3)).len(), 2);
        let all = value!({"type": "integer", "allOf": [{"maximum": 9}, {"minimum": 5}]});
        assert!(spec(all.clone(), value!(7)).is_empty());
        assert_eq!(spec(all, value!(3)).len(), 2);
    }

    #[test]
    fn what_was_wrong_before_is_not_an_updates_fault() {
        let schema = value!({"type": "object", "properties": {"a": {"type": "string", "maxLength": 1}, "b": {"type": "integer"},
            "l": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["n"],
                "items": {"type": "object", "properties": {"n": {"type": "string"}, "v": {"type": "integer", "maximum": 1}}}}}});
        let schema = Schema::compile(&schema).expect("the schema compiles");
        let old = value!({"a": "long", "b": 1, "l": [{"n": "x", "v": 5}]});
        let new = value!({"a": "long", "b": 2, "l": [{"n": "y", "v": 1}, {"n": "x", "v": 5}]});
        assert!(check(&new, Some(&old), &schema, &Path::root()).is_empty());
        assert_eq!(check(&new, None, &schema, &Path::root()).len(), 2);
    }

    #[test]
    fn numbers_print_as_in_go() {
        assert_eq!([10.0, 0.5, 1e21, 1.5e-7].map(plain), ["10", "0.5", "1e+21", "1.5e-07"]);
    }
}
