//! From client-side to server-side apply: the last-applied annotation, read and kept for the manager `kubectl`.

use super::{LAST_APPLIED, diff, own, set};
use crate::schema::Message;
use crate::value::{Object, Value};

/// Annotations may take this many bytes in all.
const ANNOTATIONS_MAX: usize = 256 << 10;

const PATH: [&str; 3] = ["metadata", "annotations", LAST_APPLIED];

/// The fields that client-side apply set and nobody has changed since: the same user's server-side apply may take them
/// without force. `None` without a usable annotation in this version.
pub(super) fn unchanged_fields(live: &Value, api_version: &str, message: &Message) -> Option<Object> {
    let text = live.str_at(&PATH)?;
    let configured = from_serde(serde_json::from_str(text).ok()?);
    if configured.str_at(&["apiVersion"]) != Some(api_version) {
        return None;
    }
    let mut fields = own::fields_of(&configured, message).ok()?;
    let since = diff::between(Some(&configured), live, message);
    set::subtract(&mut fields, &since.changed);
    set::subtract(&mut fields, &since.removed);
    Some(fields)
}

/// Keeps an existing annotation in step with what was applied, so that client-side apply can take over again.
pub(super) fn follow(object: &mut Value, applied: &Value) {
    if object.at(&PATH).is_none() {
        return;
    }
    let mut configured = applied.clone();
    configured.remove(&PATH);
    configured.remove(&["metadata", "managedFields"]);
    let text = format!("{}\n", to_serde(&configured));
    let others = object.object_at(&PATH[..2]).map_or(0, |annotations| {
        annotations
            .iter()
            .filter(|(k, _)| *k != LAST_APPLIED)
            .map(|(k, v)| k.len() + v.as_str().map_or(0, str::len))
            .sum()
    });
    if others + LAST_APPLIED.len() + text.len() > ANNOTATIONS_MAX {
        object.remove(&PATH);
    } else {
        object.set(&PATH, text);
    }
}

fn from_serde(value: serde_json::Value) -> Value {
    match value {
        serde_json::Value::Null => Value::Null,
        serde_json::Value::Bool(truth) => Value::Bool(truth),
        serde_json::Value::Number(number) => match number.as_i64() {
            Some(number) => Value::Int(number),
            None => Value::Float(number.as_f64().unwrap_or_default()),
        },
        serde_json::Value::String(text) => Value::from(text),
        serde_json::Value::Array(items) => Value::Array(items.into_iter().map(from_serde).collect()),
        serde_json::Value::Object(fields) => {
            fields.into_iter().map(|(k, v)| (k, from_serde(v))).collect::<Object>().into()
        }
    }
}

/// Keys come out sorted, as Go writes maps.
fn to_serde(value: &Value) -> serde_json::Value {
    match value {
        Value::Null => serde_json::Value::Null,
        Value::Bool(truth) => (*truth).into(),
        Value::Int(number) => (*number).into(),
        Value::Float(number) => (*number).into(),
        Value::String(text) => text.as_str().into(),
        Value::Array(items) => items.iter().map(to_serde).collect(),
        Value::Object(fields) => fields.iter().map(|(k, v)| (k.to_string(), to_serde(v))).collect(),
    }
}
