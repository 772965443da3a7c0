//! Field errors and field paths: what validation says about one field, in the words of apimachinery's `field` package.
//!
//! Validation hands down a [`FieldPath`], which lives on the stack and costs nothing until something is wrong; only then
//! is it printed into a [`FieldError`]. [`super::Status::invalid`] turns a list of them into a 422.

use std::fmt;

use super::Cause;
use crate::value::Value;

/// What is wrong with one field of an object: becomes a [`Cause`] of a 422. The message texts are upstream's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldError {
    /// The kind of error.
    pub kind: FieldErrorKind,
    /// The field's path.
    pub field: String,
    /// The offending value as upstream prints it (texts quoted, objects as compact JSON); unused by some kinds.
    pub value: String,
    /// What is wrong with it.
    pub detail: String,
}

/// The kinds of field error and the reason each gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldErrorKind {
    /// `FieldValueNotFound`
    NotFound,
    /// `FieldValueRequired`
    Required,
    /// `FieldValueDuplicate`
    Duplicate,
    /// `FieldValueInvalid`
    Invalid,
    /// `FieldValueNotSupported`
    NotSupported,
    /// `FieldValueForbidden`
    Forbidden,
    /// `FieldValueTooLong`
    TooLong,
    /// `FieldValueTooMany`
    TooMany,
    /// `InternalError`
    Internal,
    /// `FieldValueTypeInvalid`
    TypeInvalid,
}

impl FieldErrorKind {
    /// The cause's reason in a Status.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::NotFound => "FieldValueNotFound",
            Self::Required => "FieldValueRequired",
            Self::Duplicate => "FieldValueDuplicate",
            Self::Invalid => "FieldValueInvalid",
            Self::NotSupported => "FieldValueNotSupported",
            Self::Forbidden => "FieldValueForbidden",
            Self::TooLong => "FieldValueTooLong",
            Self::TooMany => "FieldValueTooMany",
            Self::Internal => "InternalError",
            Self::TypeInvalid => "FieldValueTypeInvalid",
        }
    }

    /// How messages begin.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::NotFound => "Not found",
            Self::Required => "Required value",
            Self::Duplicate => "Duplicate value",
            Self::Invalid | Self::TypeInvalid => "Invalid value",
            Self::NotSupported => "Unsupported value",
            Self::Forbidden => "Forbidden",
            Self::TooLong => "Too long",
            Self::TooMany => "Too many",
            Self::Internal => "Internal error",
        }
    }

    const fn shows_value(self) -> bool {
        !matches!(self, Self::Required | Self::Forbidden | Self::TooLong | Self::Internal)
    }
}

impl FieldError {
    fn new(kind: FieldErrorKind, field: impl Into<String>, value: String, detail: impl Into<String>) -> Self {
        Self { kind, field: field.into(), value, detail: detail.into() }
    }

    /// `FIELD: Invalid value: VALUE: DETAIL`.
    #[must_use]
    pub fn invalid(field: impl Into<String>, value: impl Shown, detail: impl Into<String>) -> Self {
        Self::new(FieldErrorKind::Invalid, field, value.shown(), detail)
    }

    /// `FIELD: Required value: DETAIL`; the detail may be empty.
    #[must_use]
    pub fn required(field: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(FieldErrorKind::Required, field, String::new(), detail)
    }

    /// `FIELD: Duplicate value: VALUE`.
    #[must_use]
    pub fn duplicate(field: impl Into<String>, value: impl Shown) -> Self {
        Self::new(FieldErrorKind::Duplicate, field, value.shown(), "")
    }

    /// `FIELD: Not found: VALUE`.
    #[must_use]
    pub fn not_found(field: impl Into<String>, value: impl Shown) -> Self {
        Self::new(FieldErrorKind::NotFound, field, value.shown(), "")
    }

    /// `FIELD: Unsupported value: VALUE: supported values: "A", "B"`, in the order given (upstream sorts its sets).
    #[must_use]
    pub fn not_supported(field: impl Into<String>, value: impl Shown, supported: &[&str]) -> Self {
        let detail = if supported.is_empty() {
            String::new()
        } else {
            let quoted: Vec<String> = supported.iter().map(|s| quote(s)).collect();
            format!("supported values: {}", quoted.join(", "))
        };
        Self::new(FieldErrorKind::NotSupported, field, value.shown(), detail)
    }

    /// `FIELD: Forbidden: DETAIL`.
    #[must_use]
    pub fn forbidden(field: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(FieldErrorKind::Forbidden, field, String::new(), detail)
    }

    /// `FIELD: Too long: may not be more than MAX bytes`.
    #[must_use]
    pub fn too_long(field: impl Into<String>, max: usize) -> Self {
        let unit = if max == 1 { "byte" } else { "bytes" };
        Self::new(FieldErrorKind::TooLong, field, String::new(), format!("may not be more than {max} {unit}"))
    }

    /// `FIELD: Too many: ACTUAL: must have at most MAX items`.
    #[must_use]
    pub fn too_many(field: impl Into<String>, actual: usize, max: usize) -> Self {
        let unit = if max == 1 { "item" } else { "items" };
        Self::new(FieldErrorKind::TooMany, field, actual.to_string(), format!("must have at most {max} {unit}"))
    }

    /// `FIELD: Internal error: DETAIL`.
    #[must_use]
    pub fn internal(field: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(FieldErrorKind::Internal, field, String::new(), detail)
    }

    /// `FIELD: Invalid value: VALUE: DETAIL` for a value of the wrong type (custom resources).
    #[must_use]
    pub fn type_invalid(field: impl Into<String>, value: impl Shown, detail: impl Into<String>) -> Self {
        Self::new(FieldErrorKind::TypeInvalid, field, value.shown(), detail)
    }

    /// The message without the field: what a cause says.
    #[must_use]
    pub fn body(&self) -> String {
        let mut text = String::from(self.kind.text());
        if self.kind.shows_value() && !self.value.is_empty() {
            text.push_str(": ");
            text.push_str(&self.value);
        }
        if !self.detail.is_empty() {
            text.push_str(": ");
            text.push_str(&self.detail);
        }
        text
    }

    /// This as one of a Status' causes.
    #[must_use]
    pub fn cause(&self) -> Cause {
        Cause { reason: self.kind.reason().to_owned(), message: self.body(), field: self.field.clone() }
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.body())
    }
}

/// A value as field errors print it: texts quoted as Go quotes them, the rest as compact JSON.
pub trait Shown {
    /// The printed form.
    fn shown(&self) -> String;
}

impl Shown for crate::quantity::Quantity {
    fn shown(&self) -> String {
        format!("\"{self}\"")
    }
}

impl Shown for str {
    fn shown(&self) -> String {
        quote(self)
    }
}

impl Shown for String {
    fn shown(&self) -> String {
        quote(self)
    }
}

impl Shown for compact_str::CompactString {
    fn shown(&self) -> String {
        quote(self)
    }
}

impl Shown for i64 {
    fn shown(&self) -> String {
        self.to_string()
    }
}

impl Shown for i32 {
    fn shown(&self) -> String {
        self.to_string()
    }
}

impl Shown for usize {
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
        match self {
            Self::String(text) => quote(text),
            other => crate::codec::json::to_string(other),
        }
    }
}

impl<T: Shown + ?Sized> Shown for &T {
    fn shown(&self) -> String {
        (**self).shown()
    }
}

/// `None` prints as upstream prints a nil pointer.
impl<T: Shown> Shown for Option<T> {
    fn shown(&self) -> String {
        self.as_ref().map_or_else(|| "null".to_owned(), Shown::shown)
    }
}

/// A text in double quotes, escaped as Go's `%q` does.
#[must_use]
pub fn quote(text: &str) -> String {
    use fmt::Write;
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{b}' => out.push_str("\\v"),
            '\u{c}' => out.push_str("\\f"),
            c if (c as u32) < 0x20 || c as u32 == 0x7f => {
                write!(out, "\\x{:02x}", c as u32).expect("writing to a String cannot fail");
            }
            c if c.is_control() || (c.is_whitespace() && c != ' ') || c == '\u{feff}' => {
                write!(out, "\\u{:04x}", c as u32).expect("writing to a String cannot fail");
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// The path to a field, as a chain of borrowed segments on the stack: `spec.containers[0].ports[1].name`,
/// `metadata.labels[app]`. Nothing is allocated until it is printed.
///
/// A chain within one expression is fine (`&path.child("a").index(0)`); for a `let`, use the joined forms
/// ([`FieldPath::item`], [`FieldPath::entry`], or a dotted name), since each link borrows the one before.
#[derive(Clone, Copy, Debug)]
pub struct FieldPath<'a> {
    parent: Option<&'a FieldPath<'a>>,
    name: &'a str,
    at: At<'a>,
}

#[derive(Clone, Copy, Debug)]
enum At<'a> {
    Itself,
    Index(usize),
    Key(&'a str),
}

impl<'a> FieldPath<'a> {
    /// A path that begins with `name` (which may be dotted: `spec.template`).
    #[must_use]
    pub const fn new(name: &'a str) -> Self {
        Self { parent: None, name, at: At::Itself }
    }

    /// The path of the object itself: prints as nothing; children begin the text.
    #[must_use]
    pub const fn root() -> Self {
        Self::new("")
    }

    /// `SELF.name`; the name may be dotted.
    #[must_use]
    pub const fn child(&'a self, name: &'a str) -> FieldPath<'a> {
        FieldPath { parent: Some(self), name, at: At::Itself }
    }

    /// `SELF[index]`.
    #[must_use]
    pub const fn index(&'a self, index: usize) -> FieldPath<'a> {
        FieldPath { parent: Some(self), name: "", at: At::Index(index) }
    }

    /// `SELF[key]`.
    #[must_use]
    pub const fn key(&'a self, key: &'a str) -> FieldPath<'a> {
        FieldPath { parent: Some(self), name: "", at: At::Key(key) }
    }

    /// `SELF.name[index]` in one link.
    #[must_use]
    pub const fn item(&'a self, name: &'a str, index: usize) -> FieldPath<'a> {
        FieldPath { parent: Some(self), name, at: At::Index(index) }
    }

    /// `SELF.name[key]` in one link.
    #[must_use]
    pub const fn entry(&'a self, name: &'a str, key: &'a str) -> FieldPath<'a> {
        FieldPath { parent: Some(self), name, at: At::Key(key) }
    }

    fn print(&self, out: &mut String) {
        if let Some(parent) = self.parent {
            parent.print(out);
        }
        if !self.name.is_empty() {
            if !out.is_empty() {
                out.push('.');
            }
            out.push_str(self.name);
        }
        match self.at {
            At::Itself => {}
            At::Index(index) => {
                out.push('[');
                out.push_str(itoa::Buffer::new().format(index));
                out.push(']');
            }
            At::Key(key) => {
                out.push('[');
                out.push_str(key);
                out.push(']');
            }
        }
    }
}

impl fmt::Display for FieldPath<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from(self))
    }
}

impl From<&FieldPath<'_>> for String {
    fn from(path: &FieldPath<'_>) -> Self {
        let mut out = Self::new();
        path.print(&mut out);
        out
    }
}

impl From<FieldPath<'_>> for String {
    fn from(path: FieldPath<'_>) -> Self {
        Self::from(&path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_upstreams() {
        let spec = FieldPath::new("spec");
        let texts = [
            FieldError::invalid(spec.child("replicas"), -1, "must be greater than or equal to 0").to_string(),
            FieldError::required(spec.item("containers", 0).child("name"), "").to_string(),
            FieldError::required("spec.x", "because").to_string(),
            FieldError::not_supported(spec.child("a"), "x", &["A", "B"]).to_string(),
            FieldError::too_long("metadata.name", 63).to_string(),
            FieldError::too_many("spec.l", 5, 3).to_string(),
            FieldError::duplicate(spec.entry("m", "k"), "x\"y").to_string(),
            FieldError::not_found("spec.v", "data").to_string(),
            FieldError::forbidden("spec", "field is immutable").to_string(),
            FieldError::invalid("metadata.name", "", "name part must be non-empty").to_string(),
        ];
        assert_eq!(
            texts,
            [
                "spec.replicas: Invalid value: -1: must be greater than or equal to 0",
                "spec.containers[0].name: Required value",
                "spec.x: Required value: because",
                "spec.a: Unsupported value: \"x\": supported values: \"A\", \"B\"",
                "metadata.name: Too long: may not be more than 63 bytes",
                "spec.l: Too many: 5: must have at most 3 items",
                "spec.m[k]: Duplicate value: \"x\\\"y\"",
                "spec.v: Not found: \"data\"",
                "spec: Forbidden: field is immutable",
                "metadata.name: Invalid value: \"\": name part must be non-empty",
            ]
        );
    }

    #[test]
    fn objects_are_shown_as_json() {
        let error = FieldError::invalid("spec.selector", crate::value!({"a": "<b>"}), "bad");
        assert_eq!(error.to_string(), "spec.selector: Invalid value: {\"a\":\"\\u003cb\\u003e\"}: bad");
    }

    #[test]
    fn texts_are_quoted_as_go_quotes_them() {
        assert_eq!(quote("a\nb\u{1}\u{85}é\\"), "\"a\\nb\\x01\\u0085é\\\\\"");
    }
}
