//! Small moves on fields that defaulting and preparation share.

use compact_str::CompactString;
use gantry_machinery::value::{Object, Value};

/// Appends a field that is known to be absent. The key costs no allocation.
pub(super) fn put(object: &mut Object, key: &'static str, value: impl Into<Value>) {
    object.push_unchecked(CompactString::const_new(key), value.into());
}

/// Whether a field's value is Go's zero value, which defaulting treats as absent.
pub(super) fn is_blank(value: &Value) -> bool {
    match value {
        Value::Null | Value::Int(0) => true,
        Value::String(text) => text.is_empty(),
        _ => false,
    }
}

/// Sets a field that is absent or blank.
pub(super) fn fill(object: &mut Object, key: &'static str, default: impl Into<Value>) {
    match object.get_mut(key) {
        Some(value) if is_blank(value) => *value = default.into(),
        Some(_) => {}
        None => put(object, key, default),
    }
}

/// Sets a field that is absent or `null`: for pointers, where zero is a value.
pub(super) fn fill_with(object: &mut Object, key: &'static str, default: impl FnOnce() -> Value) {
    match object.get_mut(key) {
        Some(value) if value.is_null() => *value = default(),
        Some(_) => {}
        None => put(object, key, default()),
    }
}
