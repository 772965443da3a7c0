//! Conditions as most kinds have them (`metav1.Condition`).

use gantry_machinery::names;
use gantry_machinery::value::Value;

use super::view::Held;
use super::{Errors, Path, name};

/// A list of conditions, of which no two have one type.
pub fn check_all(conditions: &[Value], at: &Path<'_>, errors: &mut Errors) {
    let mut seen: Vec<&str> = Vec::with_capacity(conditions.len());
    for (n, condition) in conditions.iter().enumerate() {
        let at = at.index(n);
        let kind = condition.get("type").text();
        if seen.contains(&kind) {
            errors.duplicate(&at.child("type"), kind);
        }
        seen.push(kind);
        check(condition, &at, errors);
    }
}

fn check(condition: &Value, at: &Path<'_>, errors: &mut Errors) {
    name::qualified(condition.get("type").text(), &at.child("type"), errors);
    let status = condition.get("status").text();
    if !matches!(status, "True" | "False" | "Unknown") {
        errors.not_supported(&at.child("status"), status, &["False", "True", "Unknown"]);
    }
    let observed = condition.get("observedGeneration").number();
    name::non_negative(observed, &at.child("observedGeneration"), errors);
    if condition.get("lastTransitionTime").text().is_empty() {
        errors.required(&at.child("lastTransitionTime"), "");
    }
    let reason = condition.get("reason").text();
    let at_reason = at.child("reason");
    if reason.is_empty() {
        errors.required(&at_reason, "");
    } else if reason.len() > 1024 {
        errors.too_long(&at_reason, 1024);
    } else if !is_reason(reason) {
        let detail = names::regex_error(
            "a condition reason must start with alphabetic character, optionally followed by a string of alphanumeric \
             characters or '_,:', and must end with an alphanumeric character or '_'",
            "[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?",
            &["my_name", "MY_NAME", "MyName", "ReasonA,ReasonB", "ReasonA:ReasonB"],
        );
        errors.invalid(&at_reason, reason, detail);
    }
    if condition.get("message").text().len() > 32_768 {
        errors.too_long(&at.child("message"), 32_768);
    }
}

fn is_reason(reason: &str) -> bool {
    reason.starts_with(|c: char| c.is_ascii_alphabetic())
        && reason.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b',' | b':'))
        && !reason.ends_with([',', ':'])
}
