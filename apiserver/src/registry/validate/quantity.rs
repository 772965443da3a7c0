//! Quantities inside values: a text, or (before the codec has made it one) a number.

use gantry_machinery::quantity::Quantity;
use gantry_machinery::value::Value;

/// The quantity that a value holds; `None` of anything else.
#[must_use]
pub fn of(value: &Value) -> Option<Quantity> {
    match value {
        Value::String(text) => Quantity::parse(text).ok(),
        Value::Int(number) => Some(Quantity::from_units(*number)),
        _ => None,
    }
}

/// Its canonical text.
#[must_use]
pub fn canonical(value: &Value) -> Option<String> {
    of(value).map(|q| q.to_text().into())
}

/// Whether the quantity is a whole, positive multiple of a size (`2Mi`).
#[must_use]
pub fn is_multiple(value: &Value, size: &str) -> bool {
    match (of(value), Quantity::parse(size)) {
        (Some(amount), Ok(size)) if size.sign() > 0 => amount.sign() >= 0 && amount.value() % size.value() == 0,
        _ => false,
    }
}
