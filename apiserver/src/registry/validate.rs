//! What validation is written with: field paths that cost nothing until an error is found, and the list of errors.
//!
//! The strategies in [`super::kinds`] and the shared rules below call it; error kinds, paths and texts are those of
//! apimachinery's `field` package, so that clients see the causes that Kubernetes gives.

pub mod affinity;
pub mod collection;
pub mod condition;
pub mod container;
pub(crate) mod definition;
pub mod device;
pub mod difference;
pub mod env;
pub mod expression;
pub(crate) mod json_schema;
pub mod labels;
pub mod name;
pub mod pod_spec;
pub mod probe;
pub mod quantity;
pub mod resources;
pub mod security;
pub mod template;
pub mod view;
pub mod volume;

use gantry_machinery::status::{FieldError, Shown};
use gantry_machinery::value::Value;

pub use gantry_machinery::status::FieldPath as Path;

/// Everything found wrong so far. Costs nothing while it is empty.
#[derive(Debug, Default)]
pub struct Errors(Vec<FieldError>);

impl Errors {
    /// Nothing wrong yet.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Something found elsewhere.
    pub fn add(&mut self, error: FieldError) {
        self.0.push(error);
    }

    /// What was found.
    #[must_use]
    pub fn into_vec(self) -> Vec<FieldError> {
        self.0
    }

    /// How many were found.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A field that must be there is not.
    #[cold]
    pub fn required(&mut self, at: &Path<'_>, detail: impl Into<String>) {
        self.0.push(FieldError::required(at, detail));
    }

    /// A field's value is not allowed.
    #[cold]
    pub fn invalid(&mut self, at: &Path<'_>, value: impl Shown, detail: impl Into<String>) {
        self.0.push(FieldError::invalid(at, value, detail));
    }

    /// A field's value is not one of the few allowed.
    #[cold]
    pub fn not_supported(&mut self, at: &Path<'_>, value: &str, allowed: &[&str]) {
        self.0.push(FieldError::not_supported(at, value, allowed));
    }

    /// The same, of a value that is no text.
    #[cold]
    pub fn not_supported_value(&mut self, at: &Path<'_>, value: impl Shown, allowed: &[&str]) {
        self.0.push(FieldError::not_supported(at, value, allowed));
    }

    /// A field may not be there, or not change.
    #[cold]
    pub fn forbidden(&mut self, at: &Path<'_>, detail: impl Into<String>) {
        self.0.push(FieldError::forbidden(at, detail));
    }

    /// Two items that must differ are equal.
    #[cold]
    pub fn duplicate(&mut self, at: &Path<'_>, value: impl Shown) {
        self.0.push(FieldError::duplicate(at, value));
    }

    /// Two items that must differ in a certain way do not.
    #[cold]
    pub fn duplicate_because(&mut self, at: &Path<'_>, value: impl Shown, detail: &str) {
        self.0.push(FieldError { detail: detail.to_owned(), ..FieldError::duplicate(at, value) });
    }

    /// What a field refers to does not exist.
    #[cold]
    pub fn not_found(&mut self, at: &Path<'_>, value: impl Shown) {
        self.0.push(FieldError::not_found(at, value));
    }

    /// What a field refers to does not exist, and where it should.
    #[cold]
    pub fn not_found_because(&mut self, at: &Path<'_>, value: impl Shown, detail: impl Into<String>) {
        self.0.push(FieldError { detail: detail.into(), ..FieldError::not_found(at, value) });
    }

    /// A text is longer than `max` bytes.
    #[cold]
    pub fn too_long(&mut self, at: &Path<'_>, max: usize) {
        self.0.push(FieldError::too_long(at, max));
    }

    /// A list has more than `max` items.
    #[cold]
    pub fn too_many(&mut self, at: &Path<'_>, count: usize, max: usize) {
        self.0.push(FieldError::too_many(at, count, max));
    }

    /// Two values must be the same: an update may not change this field. Absent, `null` and empty are one.
    pub fn immutable(&mut self, at: &Path<'_>, new: Option<&Value>, old: Option<&Value>) {
        if !same(new, old) {
            self.invalid(at, new, "field is immutable");
        }
    }
}

/// Scalar fields that Go keeps behind pointers: there zero is a value, not absence (user 0 is root).
const POINTERS: &[&str] = &[
    "activeDeadlineSeconds",
    "allowPrivilegeEscalation",
    "automountServiceAccountToken",
    "backoffLimit",
    "completions",
    "defaultMode",
    "enableServiceLinks",
    "fsGroup",
    "hostProcess",
    "hostUsers",
    "immutable",
    "maxUnavailable",
    "minAvailable",
    "mode",
    "optional",
    "parallelism",
    "priority",
    "privileged",
    "procMount",
    "readOnlyRootFilesystem",
    "replicas",
    "runAsGroup",
    "runAsNonRoot",
    "runAsUser",
    "runtimeClassName",
    "setHostnameAsFQDN",
    "shareProcessNamespace",
    "storageClassName",
    "suspend",
    "terminationGracePeriodSeconds",
    "tolerationSeconds",
];

/// Whether two fields say the same: absent, `null`, the empty list and object are one, as in Go's
/// `Semantic.DeepEqual`, at every depth; so are absence and zero where Go has no pointer to tell them apart.
#[must_use]
pub fn same(a: Option<&Value>, b: Option<&Value>) -> bool {
    same_at("", a, b)
}

fn same_at(key: &str, a: Option<&Value>, b: Option<&Value>) -> bool {
    match (a, b) {
        (None, None) => true,
        (Some(one), None) | (None, Some(one)) => is_nothing(key, one),
        (Some(Value::Object(a)), Some(Value::Object(b))) => {
            a.iter().all(|(key, value)| same_at(key, Some(value), b.get(key)))
                && b.iter().all(|(key, value)| a.contains_key(key) || is_nothing(key, value))
        }
        (Some(Value::Array(a)), Some(Value::Array(b))) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(Some(a), Some(b)))
        }
        (Some(a), Some(b)) => a == b || (is_nothing(key, a) && is_nothing(key, b)),
    }
}

fn is_nothing(key: &str, value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(false) | Value::Int(0) => !POINTERS.contains(&key),
        Value::String(text) => text.is_empty() && !POINTERS.contains(&key),
        Value::Array(items) => items.is_empty(),
        Value::Object(object) => object.iter().all(|(key, value)| is_nothing(key, value)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gantry_machinery::value;

    #[test]
    fn what_is_absent_equals_what_is_empty() {
        let sparse = value!({"a": {"b": 1}});
        let full = value!({"a": {"b": 1, "c": []}, "d": {"e": ""}});
        assert!(same(Some(&sparse), Some(&full)));
        assert!(same(None, Some(&value!({"x": {}}))));
        assert!(!same(Some(&sparse), Some(&value!({"a": {"b": 2}}))));
        assert!(same(Some(&value!({"hostNetwork": false})), Some(&value!({}))));
        assert!(!same(Some(&value!({"runAsUser": 0})), Some(&value!({}))), "root is somebody");
    }
}
