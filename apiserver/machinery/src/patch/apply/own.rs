//! The fields that an applied configuration names: what its manager will own.
//!
//! Unlike everything else here this checks: the configuration came as the user wrote it, and a field that the schema does
//! not declare, or a list item without name or with another's, ends the apply.

use super::set::Part;
use super::shape::{Shape, field_name, item_name};
use crate::schema::{Message, Type};
use crate::value::{Object, Value};

/// The paths of `applied`.
///
/// # Errors
/// What is wrong, with the path of the field, in upstream's words.
pub(super) fn fields_of(applied: &Value, message: &Message) -> Result<Object, String> {
    let mut out = Part::default();
    let mut path = String::new();
    walk(applied, Shape::Fields(message), &mut out, &mut path)?;
    Ok(out.into_object())
}

fn walk(value: &Value, shape: Shape<'_>, out: &mut Part, path: &mut String) -> Result<(), String> {
    let wrong = |path: &str, want: &str| Err(format!("{path}: expected {want}, got {}", shown(value)));
    match (shape, value) {
        (Shape::Leaf, _) => out.member = true,
        (_, Value::Null) => {}
        (Shape::Fields(_) | Shape::Map(_) | Shape::Deduced, Value::Object(fields)) => {
            for (name, value) in fields.iter() {
                let length = path.len();
                path.push('.');
                path.push_str(name);
                let Some(inner) = shape.field(name) else {
                    return Err(format!("{path}: field not declared in schema"));
                };
                let mut part = Part::default();
                check_scalar(shape, name, value, path)?;
                walk(value, inner, &mut part, path)?;
                // Entries of maps exist by themselves; fields of known types by what is in them.
                let declared = matches!(shape, Shape::Fields(message) if message.field(name).is_some());
                let empty = value.is_null() || value.as_object().is_some_and(Object::is_empty);
                part.member |= empty || !declared;
                out.push(|| field_name(name), part);
                path.truncate(length);
            }
        }
        (Shape::Deduced, _) => out.member = true,
        (Shape::Set | Shape::ListMap(..), Value::Array(items)) => {
            for (at, item) in items.iter().enumerate() {
                let name = item_name(item, shape).map_err(|e| format!("{path}: element {at}: {e}"))?;
                if out.parts.iter().any(|(other, _)| *other == name) {
                    return Err(format!("{path}: duplicate entries for key {}", super::conflict::part_text(&name)));
                }
                let length = path.len();
                path.push_str(&super::conflict::part_text(&name));
                let mut part = Part { member: true, parts: Vec::new() };
                walk(item, shape.item(), &mut part, path)?;
                out.push(|| name, part);
                path.truncate(length);
            }
        }
        (Shape::Set | Shape::ListMap(..), _) => return wrong(path, "list"),
        (Shape::Fields(_) | Shape::Map(_), _) => return wrong(path, "map"),
    }
    Ok(())
}

/// Scalars of the wrong type; quantities, times and the like are the decoder's to judge.
fn check_scalar(shape: Shape<'_>, name: &str, value: &Value, path: &str) -> Result<(), String> {
    let Shape::Fields(message) = shape else { return Ok(()) };
    let Some(field) = message.field(name) else { return Ok(()) };
    let want = match (&field.ty, value) {
        (_, Value::Null) => return Ok(()),
        (Type::Bool, Value::Bool(_)) | (Type::String | Type::Bytes, Value::String(_)) => return Ok(()),
        (Type::Int32 | Type::Int64 | Type::Double, Value::Int(_) | Value::Float(_)) => return Ok(()),
        (Type::Bool, _) => "boolean",
        (Type::String | Type::Bytes, _) => "string",
        (Type::Int32 | Type::Int64 | Type::Double, _) => "numeric (int or float)",
        _ => return Ok(()),
    };
    Err(format!("{path}: expected {want}, got {}", shown(value)))
}

fn shown(value: &Value) -> String {
    match value {
        Value::Null => "null".into(),
        Value::Bool(truth) => truth.to_string(),
        Value::Int(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        Value::String(text) => format!("{text:?}"),
        Value::Array(_) => "list".into(),
        Value::Object(_) => "map".into(),
    }
}
