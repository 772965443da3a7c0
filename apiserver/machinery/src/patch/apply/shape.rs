//! How values are owned: the schema as server-side apply sees it, and the names of list items.
//!
//! A value is either one leaf (scalars, atomic lists and objects) or made of parts with owners of their own. Parts are
//! named as FieldsV1 names them: `f:<field>`, `k:{<keys>}` for items of list maps, `v:<scalar>` for items of sets.

use std::borrow::Cow;
use std::fmt::Write;

use compact_str::CompactString;

use crate::schema::{Field, Merge, Message, Type};
use crate::value::Value;

/// What a value's parts are.
#[derive(Clone, Copy)]
pub(super) enum Shape<'s> {
    /// None: it has one owner, whole.
    Leaf,
    /// The fields of a known type.
    Fields(&'s Message),
    /// The entries of a map.
    Map(&'s Type),
    /// The scalars of a set.
    Set,
    /// The items of a list, told apart by keys.
    ListMap(&'s Type, &'s [Cow<'static, str>]),
    /// Unknown: objects are maps, everything else is a leaf.
    Deduced,
}

impl<'s> Shape<'s> {
    pub(super) fn of(ty: &'s Type, merge: &'s Merge) -> Self {
        match (ty, merge) {
            (_, Merge::Atomic) => Self::Leaf,
            (Type::Message(message), _) if message.atomic => Self::Leaf,
            (Type::Message(message), _) => Self::Fields(message),
            (Type::Map(item), _) => Self::Map(item),
            (Type::List(_), Merge::Set) => Self::Set,
            (Type::List(item), Merge::ListMap(keys)) => Self::ListMap(item, keys),
            (Type::Any, _) => Self::Deduced,
            _ => Self::Leaf,
        }
    }

    pub(super) fn of_field(field: &'s Field) -> Self {
        Self::of(&field.ty, &field.merge)
    }

    /// The shape of an object's field; `None` where the schema declares none of this name.
    pub(super) fn field(self, name: &str) -> Option<Self> {
        match self {
            Self::Fields(message) => match message.field(name) {
                Some(field) => Some(Self::of_field(field)),
                None => message.preserve_unknown.then_some(Self::Deduced),
            },
            Self::Map(item) => Some(Self::of(item, &Merge::Natural)),
            Self::Deduced => Some(Self::Deduced),
            _ => None,
        }
    }

    /// The shape of a list's items.
    pub(super) fn item(self) -> Self {
        match self {
            Self::ListMap(item, _) => Self::of(item, &Merge::Natural),
            _ => Self::Leaf,
        }
    }

    /// The shape of the part with this name.
    pub(super) fn part(self, name: &str) -> Self {
        match name.strip_prefix("f:") {
            Some(field) => self.field(field).unwrap_or(Self::Deduced),
            None => self.item(),
        }
    }
}

/// `f:<field>`
pub(super) fn field_name(field: &str) -> CompactString {
    let mut name = CompactString::with_capacity(field.len() + 2);
    name.push_str("f:");
    name.push_str(field);
    name
}

/// The name of a list's item: `k:{…}` or `v:…`.
///
/// # Errors
/// What is wrong with an item that has no name, in upstream's words.
pub(super) fn item_name(item: &Value, shape: Shape<'_>) -> Result<CompactString, String> {
    match shape {
        Shape::ListMap(_, keys) => key_name(item, keys),
        _ => match item {
            Value::Null => Err("associative list without keys has an element that's an explicit null".into()),
            Value::Array(_) => Err("not supporting lists of lists as associative lists without keys".into()),
            Value::Object(_) => Err("associative list without keys has an element that's a map type".into()),
            scalar => {
                let mut name = CompactString::const_new("v:");
                push_scalar(&mut name, scalar);
                Ok(name)
            }
        },
    }
}

fn key_name(item: &Value, keys: &[Cow<'static, str>]) -> Result<CompactString, String> {
    match item {
        Value::Object(_) => {}
        Value::Null => return Err("associative list with keys may not have a null element".into()),
        _ => return Err("associative list with keys may not have non-map elements".into()),
    }
    // Most names are too long to stand inline: one allocation of the right size.
    let length =
        keys.iter().map(|k| k.len() + 4 + key_value(item, k).and_then(Value::as_str).map_or(6, |v| v.len() + 2));
    let mut name = CompactString::with_capacity(4 + length.sum::<usize>());
    name.push_str("k:{");
    let mut push = |key: &str| -> Result<(), String> {
        let Some(value) = key_value(item, key) else {
            // Optional keys (a claim's shareID) name the item by their absence.
            if keys.len() > 1 && item_has_any(item, keys) {
                return Ok(());
            }
            return Err(format!(
                "associative list with keys has an element that omits key field {key:?} (and doesn't have default \
                 value)"
            ));
        };
        if name.len() > 3 {
            name.push(',');
        }
        push_text(&mut name, key);
        name.push(':');
        push_scalar(&mut name, value);
        Ok(())
    };
    if keys.is_sorted() {
        keys.iter().try_for_each(|key| push(key))?;
    } else {
        let mut sorted: Vec<&str> = keys.iter().map(|k| &**k).collect();
        sorted.sort_unstable();
        sorted.into_iter().try_for_each(push)?;
    }
    name.push('}');
    Ok(name)
}

fn item_has_any(item: &Value, keys: &[Cow<'static, str>]) -> bool {
    keys.iter().any(|k| item.get(k).is_some())
}

/// A key field's value. The one key with a default in the API is the protocol of a port.
fn key_value<'v>(item: &'v Value, key: &str) -> Option<&'v Value> {
    static TCP: Value = Value::String(CompactString::const_new("TCP"));
    match item.get(key) {
        Some(Value::Null) | None if key == "protocol" => Some(&TCP),
        found => found,
    }
}

/// Whether two items have the same name; cheaper than making both names.
pub(super) fn same_item(a: &Value, b: &Value, shape: Shape<'_>) -> bool {
    match shape {
        Shape::ListMap(_, keys) => keys.iter().all(|k| key_value(a, k) == key_value(b, k)),
        _ => a == b,
    }
}

fn push_scalar(name: &mut CompactString, value: &Value) {
    match value {
        Value::String(text) => push_text(name, text),
        Value::Int(number) => name.push_str(itoa::Buffer::new().format(*number)),
        Value::Bool(truth) => name.push_str(if *truth { "true" } else { "false" }),
        Value::Float(number) => {
            let _ = write!(name, "{number}");
        }
        // Keys are scalars; anything else was refused by the decoder.
        Value::Null | Value::Array(_) | Value::Object(_) => name.push_str("null"),
    }
}

/// A JSON text; most need no escape.
fn push_text(name: &mut CompactString, text: &str) {
    if text.bytes().all(|b| b >= 0x20 && b != b'"' && b != b'\\') {
        name.push('"');
        name.push_str(text);
        name.push('"');
    } else {
        name.push_str(&serde_json::Value::from(text).to_string());
    }
}
