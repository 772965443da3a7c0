//! Errors as clients see them: `kind: Status` with a reason, a code, and causes that name field paths.
//!
//! Texts and reasons follow apimachinery's `errors` and `field` packages (API conventions, "Response status kind").

use std::fmt;

/// A failure on its way to a client. Every error of the API ends as one of these.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// The HTTP code.
    pub code: u16,
    /// The machine-readable reason (`NotFound`); empty for none.
    pub reason: &'static str,
    /// What a person reads.
    pub message: String,
    /// What it concerns.
    pub details: Option<Box<Details>>,
}

/// What a failure concerns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Details {
    /// The object's name.
    pub name: String,
    /// Its group.
    pub group: String,
    /// Its kind, or the resource in lower case: upstream says either, by the error.
    pub kind: String,
    /// Its uid.
    pub uid: String,
    /// One entry per thing wrong.
    pub causes: Vec<Cause>,
    /// When to try again; 0 for no hint.
    pub retry_after_seconds: u32,
}

/// One thing wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cause {
    /// Its reason (`FieldValueInvalid`).
    pub reason: String,
    /// What a person reads.
    pub message: String,
    /// The field's path (`spec.containers[0].name`).
    pub field: String,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Status {}

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
