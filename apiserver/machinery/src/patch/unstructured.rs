//! What upstream says when a strategic merge patch leaves an object that is not of its type: it converts maps into Go
//! structs there, with texts of its own, and shows the patch as Go prints maps.

use std::fmt::Write;

use crate::schema::{Message, Type};
use crate::status::{FieldError, FieldErrorKind, Status};
use crate::value::Value;

/// Checks a patched object. Finer faults (formats of texts, unknown fields) are the decoder's to find.
///
/// # Errors
/// The 422 that shows `patch`.
pub fn check(object: &Value, message: &Message, patch: &Value) -> Result<(), Status> {
    let Some(fault) = mismatch_in(object, message) else { return Ok(()) };
    let mut shown = String::new();
    print(patch, &mut shown);
    let error =
        FieldError { kind: FieldErrorKind::Invalid, field: "patch".into(), value: format!("{shown:?}"), detail: fault };
    Err(Status::invalid("", "", "", &[error]))
}

fn mismatch_in(object: &Value, message: &Message) -> Option<String> {
    let Value::Object(fields) = object else { return Some(format!("cannot restore struct from: {}", kind(object))) };
    fields.iter().find_map(|(key, value)| mismatch(value, &message.field(key)?.ty))
}

/// Why a value cannot become a Go value of this type.
fn mismatch(value: &Value, ty: &Type) -> Option<String> {
    match (ty, value) {
        (_, Value::Null) | (Type::Any, _) => None,
        (Type::Message(message), value) => mismatch_in(value, message),
        (Type::List(item), Value::Array(items)) => items.iter().find_map(|value| mismatch(value, item)),
        (Type::Map(item), Value::Object(entries)) => entries.iter().find_map(|(_, value)| mismatch(value, item)),
        (Type::List(_), other) => Some(format!("cannot restore slice from {}", kind(other))),
        (Type::Map(_), other) => Some(format!("cannot restore map from {}", kind(other))),
        (Type::Bytes, Value::String(_)) => None,
        (Type::Bytes, other) => Some(format!("cannot restore slice from {}", kind(other))),
        (Type::Bool, value) => simple(value, "bool", matches!(value, Value::Bool(_))),
        (Type::String, Value::Int(_)) => Some("cannot convert int64 to string".to_owned()),
        (Type::String, value) => simple(value, "string", matches!(value, Value::String(_))),
        (Type::Int32, value) => integer(value, "int32"),
        (Type::Int64, value) => integer(value, "int64"),
        (Type::Double, value) => simple(value, "float64", matches!(value, Value::Float(_) | Value::Int(_))),
        // These read themselves; the decoder has their words.
        (Type::Time | Type::MicroTime | Type::Quantity | Type::IntOrString, _) => None,
    }
}

fn integer(value: &Value, go: &str) -> Option<String> {
    match value {
        Value::Int(_) => None,
        Value::Float(number) if number.fract() == 0.0 => None,
        Value::Float(_) => Some(format!("cannot convert float64 to {go}")),
        other => simple(other, go, false),
    }
}

fn simple(_value: &Value, go: &str, fits: bool) -> Option<String> {
    (!fits).then(|| format!("unrecognized type: {go}"))
}

/// Go's word for what a value is.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "invalid",
        Value::Bool(_) => "bool",
        Value::Int(_) => "int64",
        Value::Float(_) => "float64",
        Value::String(_) => "string",
        Value::Array(_) => "slice",
        Value::Object(_) => "map",
    }
}

/// A value as Go's `%+v` prints it: maps by their sorted keys, nothing in quotes.
fn print(value: &Value, out: &mut String) {
    match value {
        Value::Null => out.push_str("<nil>"),
        Value::Bool(truth) => out.push_str(if *truth { "true" } else { "false" }),
        Value::String(text) => out.push_str(text),
        Value::Int(number) => {
            let _ = write!(out, "{number}");
        }
        Value::Float(number) => {
            let _ = write!(out, "{number}");
        }
        Value::Array(items) => {
            out.push('[');
            for (at, item) in items.iter().enumerate() {
                out.push_str(if at > 0 { " " } else { "" });
                print(item, out);
            }
            out.push(']');
        }
        Value::Object(fields) => {
            let mut sorted: Vec<_> = fields.iter().collect();
            sorted.sort_by_key(|(key, _)| *key);
            out.push_str("map[");
            for (at, (key, value)) in sorted.into_iter().enumerate() {
                out.push_str(if at > 0 { " " } else { "" });
                out.push_str(key);
                out.push(':');
                print(value, out);
            }
            out.push(']');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{schema, value};

    #[test]
    fn mismatches_get_upstreams_words() {
        let deployment = schema::kind("apps", "v1", "Deployment").unwrap();
        let refused = |patch: Value| check(&patch, deployment, &patch).unwrap_err().message;
        for (patch, shown, why) in [
            (value!({"spec": "x"}), "map[spec:x]", "cannot restore struct from: string"),
            (value!({"spec": {"replicas": "3"}}), "map[spec:map[replicas:3]]", "unrecognized type: int32"),
            (value!({"spec": {"replicas": 1.5}}), "map[spec:map[replicas:1.5]]", "cannot convert float64 to int32"),
            (
                value!({"metadata": {"labels": [1, null]}}),
                "map[metadata:map[labels:[1 <nil>]]]",
                "cannot restore map from slice",
            ),
            (
                value!({"spec": {"template": {"spec": {"containers": {"b": true, "a": "x"}}}}}),
                "map[spec:map[template:map[spec:map[containers:map[a:x b:true]]]]]",
                "cannot restore slice from map",
            ),
            (
                value!({"metadata": {"labels": {"a": 1}}}),
                "map[metadata:map[labels:map[a:1]]]",
                "cannot convert int64 to string",
            ),
            (value!({"spec": {"paused": "x"}}), "map[spec:map[paused:x]]", "unrecognized type: bool"),
        ] {
            assert_eq!(refused(patch), format!(" \"\" is invalid: patch: Invalid value: {shown:?}: {why}"));
        }
        assert!(check(&value!({"spec": {"replicas": 3, "unknown": 1}}), deployment, &Value::Null).is_ok());
    }
}
