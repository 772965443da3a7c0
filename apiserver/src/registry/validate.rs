//! What validation is written with: field paths that cost nothing until an error is found, and the list of errors.
//!
//! The strategies in [`super::kinds`] and the shared rules below call it; error kinds, paths and texts are those of
//! apimachinery's `field` package, so that clients see the causes that Kubernetes gives.

pub mod name;

use std::fmt::{self, Write as _};

use gantry_machinery::status::{FieldError, FieldErrorKind};
use gantry_machinery::value::Value;

/// Where in an object a check stands: a chain of borrowed steps, written out only for an error.
#[derive(Clone, Copy, Debug)]
pub struct Path<'a> {
    parent: Option<&'a Path<'a>>,
    step: Step<'a>,
}

#[derive(Clone, Copy, Debug)]
enum Step<'a> {
    Field(&'a str),
    Index(usize),
    Key(&'a str),
}

impl<'a> Path<'a> {
    /// The path of a top-level field.
    #[must_use]
    pub const fn root(name: &'a str) -> Self {
        Self { parent: None, step: Step::Field(name) }
    }

    /// A field of what is here.
    #[must_use]
    pub const fn child(&'a self, name: &'a str) -> Path<'a> {
        Path { parent: Some(self), step: Step::Field(name) }
    }

    /// An item of the list that is here.
    #[must_use]
    pub const fn index(&'a self, at: usize) -> Path<'a> {
        Path { parent: Some(self), step: Step::Index(at) }
    }

    /// The entry of a map, or the item of a set, that is here.
    #[must_use]
    pub const fn key(&'a self, key: &'a str) -> Path<'a> {
        Path { parent: Some(self), step: Step::Key(key) }
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = self.parent {
            parent.fmt(f)?;
        }
        match self.step {
            Step::Field(name) if self.parent.is_some() => write!(f, ".{name}"),
            Step::Field(name) => f.write_str(name),
            Step::Index(at) => write!(f, "[{at}]"),
            Step::Key(key) => write!(f, "[{key}]"),
        }
    }
}

/// A value as errors print it: texts quoted, objects and lists as compact JSON.
pub trait Shown {
    /// The printed form.
    fn shown(&self) -> String;
}

impl Shown for &str {
    fn shown(&self) -> String {
        quoted(self)
    }
}

impl Shown for String {
    fn shown(&self) -> String {
        quoted(self)
    }
}

impl Shown for i64 {
    fn shown(&self) -> String {
        self.to_string()
    }
}

impl Shown for bool {
    fn shown(&self) -> String {
        self.to_string()
    }
}

impl Shown for Value {
    fn shown(&self) -> String {
        let mut out = String::new();
        write_json(self, &mut out);
        out
    }
}

impl<T: Shown> Shown for Option<T> {
    fn shown(&self) -> String {
        self.as_ref().map_or_else(|| "null".to_owned(), Shown::shown)
    }
}

impl Shown for &Value {
    fn shown(&self) -> String {
        (*self).shown()
    }
}

/// `text` in double quotes, with what does not print escaped.
pub fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    write_quoted(text, &mut out);
    out
}

fn write_quoted(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => {
                // Writing to a String cannot fail.
                let _ = write!(out, "\\x{:02x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

fn write_json(value: &Value, out: &mut String) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(truth) => out.push_str(if *truth { "true" } else { "false" }),
        Value::Int(number) => out.push_str(itoa::Buffer::new().format(*number)),
        Value::Float(number) => {
            let _ = write!(out, "{number}");
        }
        Value::String(text) => write_quoted(text, out),
        Value::Array(items) => {
            out.push('[');
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                write_json(item, out);
            }
            out.push(']');
        }
        Value::Object(object) => {
            out.push('{');
            for (at, (key, item)) in object.iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                write_quoted(key, out);
                out.push(':');
                write_json(item, out);
            }
            out.push('}');
        }
    }
}

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

    #[cold]
    fn push(&mut self, kind: FieldErrorKind, at: &Path<'_>, value: String, detail: String) {
        self.0.push(FieldError { kind, field: at.to_string(), value, detail });
    }

    /// A field that must be there is not.
    #[cold]
    pub fn required(&mut self, at: &Path<'_>, detail: impl Into<String>) {
        self.push(FieldErrorKind::Required, at, String::new(), detail.into());
    }

    /// A field's value is not allowed.
    #[cold]
    pub fn invalid(&mut self, at: &Path<'_>, value: impl Shown, detail: impl Into<String>) {
        self.push(FieldErrorKind::Invalid, at, value.shown(), detail.into());
    }

    /// A field's value is not one of the few allowed.
    #[cold]
    pub fn not_supported(&mut self, at: &Path<'_>, value: &str, allowed: &[&str]) {
        let mut detail = String::new();
        if !allowed.is_empty() {
            detail.push_str("supported values: ");
            for (n, one) in allowed.iter().enumerate() {
                if n > 0 {
                    detail.push_str(", ");
                }
                write_quoted(one, &mut detail);
            }
        }
        self.push(FieldErrorKind::NotSupported, at, quoted(value), detail);
    }

    /// A field may not be there, or not change.
    #[cold]
    pub fn forbidden(&mut self, at: &Path<'_>, detail: impl Into<String>) {
        self.push(FieldErrorKind::Forbidden, at, String::new(), detail.into());
    }

    /// Two items that must differ are equal.
    #[cold]
    pub fn duplicate(&mut self, at: &Path<'_>, value: impl Shown) {
        self.push(FieldErrorKind::Duplicate, at, value.shown(), String::new());
    }

    /// What a field refers to does not exist.
    #[cold]
    pub fn not_found(&mut self, at: &Path<'_>, value: impl Shown) {
        self.push(FieldErrorKind::NotFound, at, value.shown(), String::new());
    }

    /// A text is longer than `max` bytes.
    #[cold]
    pub fn too_long(&mut self, at: &Path<'_>, max: usize) {
        self.push(FieldErrorKind::TooLong, at, String::new(), format!("may not be more than {max} bytes"));
    }

    /// A list has more than `max` items.
    #[cold]
    pub fn too_many(&mut self, at: &Path<'_>, count: usize, max: usize) {
        let items = if max == 1 { "item" } else { "items" };
        self.push(FieldErrorKind::TooMany, at, count.to_string(), format!("must have at most {max} {items}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gantry_machinery::value;

    #[test]
    fn paths_and_values_print_as_upstream_prints_them() {
        let spec = Path::root("spec");
        let containers = spec.child("containers");
        let first = containers.index(0);
        let limits = first.child("limits");
        let mut errors = Errors::new();
        errors.invalid(&limits.key("cpu"), &value!({"a": [1, "x\"y"]}), "bad");
        errors.not_supported(&first, "Z", &["A", "B"]);
        let errors = errors.into_vec();
        assert_eq!(errors[0].field, "spec.containers[0].limits[cpu]");
        assert_eq!(errors[0].value, r#"{"a":[1,"x\"y"]}"#);
        assert_eq!(errors[1].detail, r#"supported values: "A", "B""#);
    }
}
