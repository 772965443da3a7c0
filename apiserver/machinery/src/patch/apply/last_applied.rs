//! From client-side to server-side apply: the last-applied annotation, read and kept for the manager `kubectl`.

use super::{LAST_APPLIED, diff, own, set};
use crate::codec::json;
use crate::schema::Message;
use crate::value::{Object, Value};

/// Annotations may take this many bytes in all.
const ANNOTATIONS_MAX: usize = 256 << 10;

const PATH: [&str; 3] = ["metadata", "annotations", LAST_APPLIED];

/// The fields that client-side apply set and nobody has changed since: the same user's server-side apply may take them
/// without force. `None` without a usable annotation in this version.
pub(super) fn unchanged_fields(live: &Value, api_version: &str, message: &Message) -> Option<Object> {
    let text = live.str_at(&PATH)?;
    let configured = json::parse(text.as_bytes()).ok()?;
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
    sort(&mut configured);
    let text = format!("{}\n", json::to_string(&configured));
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

/// Sorts the keys all the way down, as Go writes maps.
fn sort(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(sort),
        Value::Object(fields) => {
            fields.sort_keys();
            fields.iter_mut().for_each(|(_, value)| sort(value));
        }
        _ => {}
    }
}
