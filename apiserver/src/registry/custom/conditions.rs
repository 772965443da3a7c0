//! The conditions of a definition: reading, and setting as upstream's helpers do (the time moves only with the status).

use gantry_machinery::time;
use gantry_machinery::value;
use gantry_machinery::value::Value;

/// Whether a condition is `True`.
pub(crate) fn is_true(definition: &Value, kind: &str) -> bool {
    status_of(definition, kind) == Some("True")
}

/// What a condition's status is, if there is one.
pub(crate) fn status_of<'v>(definition: &'v Value, kind: &str) -> Option<&'v str> {
    find(definition, kind)?.str_at(&["status"])
}

fn find<'v>(definition: &'v Value, kind: &str) -> Option<&'v Value> {
    definition.array_at(&["status", "conditions"]).iter().find(|c| c.str_at(&["type"]) == Some(kind))
}

/// Sets a condition.
pub(crate) fn set(definition: &mut Value, kind: &str, status: &str, reason: &str, message: &str) {
    let same = status_of(definition, kind) == Some(status);
    let since = find(definition, kind).filter(|_| same).and_then(|c| c.get("lastTransitionTime")).cloned();
    let since = since.unwrap_or_else(|| time::now().into());
    let condition = value!({
        "type": kind, "status": status, "lastTransitionTime": since, "reason": reason, "message": message,
    });
    let conditions = definition.force_object().object_entry("status").entry("conditions");
    if !matches!(conditions, Value::Array(_)) {
        *conditions = Value::Array(Vec::new());
    }
    let Some(conditions) = conditions.as_array_mut() else { return };
    match conditions.iter_mut().find(|c| c.str_at(&["type"]) == Some(kind)) {
        Some(held) => *held = condition,
        None => conditions.push(condition),
    }
}

/// Takes a condition out.
pub(crate) fn remove(definition: &mut Value, kind: &str) {
    if let Some(conditions) = definition.at_mut(&["status", "conditions"]).and_then(Value::as_array_mut) {
        conditions.retain(|c| c.str_at(&["type"]) != Some(kind));
    }
}
