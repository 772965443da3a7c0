//! What an update changed, for the errors that say it may not: a line per field, where upstream prints a Go diff.

use std::fmt::Write as _;

use gantry_machinery::status::Shown as _;
use gantry_machinery::value::Value;

use super::same;

/// What differs: `- path: before` and `+ path: after`.
#[must_use]
pub fn difference(old: &Value, new: &Value) -> String {
    let mut out = String::new();
    walk(Some(old), Some(new), "", &mut out);
    out
}

fn walk(old: Option<&Value>, new: Option<&Value>, path: &str, out: &mut String) {
    if same(old, new) {
        return;
    }
    match (old, new) {
        (Some(Value::Object(a)), Some(Value::Object(b))) => {
            let added = b.keys().filter(|k| !a.contains_key(k));
            for key in a.keys().chain(added) {
                walk(a.get(key), b.get(key), &format!("{path}.{key}"), out);
            }
        }
        (Some(Value::Array(a)), Some(Value::Array(b))) if a.len() == b.len() => {
            for (n, (a, b)) in a.iter().zip(b).enumerate() {
                walk(Some(a), Some(b), &format!("{path}[{n}]"), out);
            }
        }
        _ => {
            let path = path.trim_start_matches('.');
            for (sign, value) in [('-', old), ('+', new)] {
                if let Some(value) = value {
                    // Writing to a String cannot fail.
                    let _ = writeln!(out, "{sign} {path}: {}", value.shown());
                }
            }
        }
    }
}
