//! [`Value`] to protobuf.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use compact_str::CompactString;
use smallvec::SmallVec;

use super::MAGIC;
use super::wire::{push_bytes, push_delimited, push_tag, push_varint};
use crate::codec::json;
use crate::schema::{self, Field, Message, ProtoWire, Type};
use crate::time;
use crate::value::{Object, Value};

/// Why an object has no protobuf form: a value does not agree with its schema.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} of {message} has no protobuf form: found {found}")]
pub struct EncodeError {
    /// The Go name of the type around it.
    pub message: String,
    /// The field's JSON name.
    pub field: CompactString,
    /// What was found there.
    pub found: &'static str,
}

/// An object in its envelope: `apiVersion` and `kind` go beside the message, which has no place for them.
/// # Errors
/// [`EncodeError`] where the object does not agree with its schema; stored objects do.
pub fn encode(value: &Value, message: &Message) -> Result<Vec<u8>, EncodeError> {
    let (api_version, kind) =
        (value.str_at(&["apiVersion"]).unwrap_or_default(), value.str_at(&["kind"]).unwrap_or_default());
    enveloped(api_version, kind, |out| fields(value.as_object().unwrap_or(&EMPTY), message, out))
}

static EMPTY: Object = Object::new();

/// A message alone, without envelope.
/// # Errors
/// As [`encode`].
pub fn encode_raw(value: &Value, message: &Message) -> Result<Vec<u8>, EncodeError> {
    let mut out = Vec::with_capacity(512);
    fields(value.as_object().unwrap_or(&EMPTY), message, &mut out)?;
    Ok(out)
}

/// What a list begins with whose items, each from [`push_item`], are `items_len` bytes together; [`TAIL`] ends it.
/// `metadata` is as lists have it. Every list message has these two as its fields 1 and 2.
/// # Errors
/// As [`encode`].
pub fn list_head(api_version: &str, kind: &str, metadata: &Value, items_len: usize) -> Result<Vec<u8>, EncodeError> {
    let list_meta = schema::message("io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta").expect("lists have metadata");
    let mut own = Vec::with_capacity(64);
    push_delimited(1, &mut own, |out| fields(metadata.as_object().unwrap_or(&EMPTY), list_meta, out))?;
    let mut head = object_head(api_version, kind, own.len() + items_len);
    head.extend_from_slice(&own);
    Ok(head)
}

/// Appends one item of a list: an object's message, with its tag and its length.
/// # Errors
/// As [`encode`].
pub fn push_item(item: &Value, message: &Message, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    push_delimited(2, out, |out| fields(item.as_object().unwrap_or(&EMPTY), message, out))
}

/// The message in an item of a list, for an envelope of its own.
#[must_use]
pub fn message_of_item(item: &Bytes) -> Bytes {
    // A tag of one byte, then the length.
    let length = item.iter().skip(1).take_while(|byte| **byte & 0x80 != 0).count() + 1;
    item.slice(1 + length..)
}

/// What the envelope of a message of `len` bytes begins with; [`TAIL`] ends it.
#[must_use]
pub fn object_head(api_version: &str, kind: &str, len: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(128);
    out.extend_from_slice(MAGIC);
    let types: Result<(), EncodeError> = push_delimited(1, &mut out, |out| {
        push_bytes(1, api_version.as_bytes(), out);
        push_bytes(2, kind.as_bytes(), out);
        Ok(())
    });
    types.expect("bytes always have a protobuf form");
    push_tag(2, 2, &mut out);
    push_varint(len as u64, &mut out);
    out
}

/// What every envelope ends with: content encoding and type, which Go writes even when they are empty.
pub const TAIL: &[u8] = &[0x1a, 0, 0x22, 0];

/// A watch's frame: length, then a `WatchEvent` of this type (`ADDED`) around an enveloped object.
#[must_use]
pub fn watch_frame(kind: &str, enveloped: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(enveloped.len() + 32);
    out.extend_from_slice(&[0; 4]);
    push_bytes(1, kind.as_bytes(), &mut out);
    let raw: Result<(), EncodeError> = push_delimited(2, &mut out, |out| {
        push_bytes(1, enveloped, out);
        Ok(())
    });
    raw.expect("bytes always have a protobuf form");
    let length = u32::try_from(out.len() - 4).expect("objects are far below 4 GiB");
    out[..4].copy_from_slice(&length.to_be_bytes());
    out
}

fn enveloped(
    api_version: &str,
    kind: &str,
    fill: impl FnOnce(&mut Vec<u8>) -> Result<(), EncodeError>,
) -> Result<Vec<u8>, EncodeError> {
    let mut message = Vec::with_capacity(1024);
    fill(&mut message)?;
    let mut out = object_head(api_version, kind, message.len());
    out.reserve_exact(message.len() + TAIL.len());
    out.extend_from_slice(&message);
    out.extend_from_slice(TAIL);
    Ok(out)
}

/// What stands at one protobuf number: a field of the object, or a message that shares the object's JSON fields.
enum Part<'a> {
    Field(&'a Field, &'a Value),
    Embedded(&'a Message),
}

/// The fields that a message has in an object, by number.
fn fields(object: &Object, message: &Message, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    let mut parts: SmallVec<[(u32, Part<'_>); 24]> = SmallVec::new();
    for (key, value) in object.iter() {
        if value.is_null() {
            continue;
        }
        match message.field(key) {
            Some(field) if field.proto_number != 0 => parts.push((field.proto_number, Part::Field(field, value))),
            _ => {
                let holder = message.embedded.iter().find(|embedded| holds(&embedded.message, key));
                if let Some(embedded) = holder
                    && !parts.iter().any(|(number, _)| *number == embedded.number)
                {
                    parts.push((embedded.number, Part::Embedded(&embedded.message)));
                }
            }
        }
    }
    parts.sort_unstable_by_key(|(number, _)| *number);
    for (number, part) in parts {
        match part {
            Part::Embedded(inner) => push_delimited(number, out, |out| fields(object, inner, out))?,
            Part::Field(field, value) => {
                let fault =
                    |found| EncodeError { message: message.go_name.to_string(), field: field.json.clone(), found };
                one(number, &field.ty, field.proto_wire, value, out).map_err(|e| e.unwrap_or_else(fault))?;
            }
        }
    }
    Ok(())
}

fn holds(message: &Message, key: &str) -> bool {
    message.field(key).is_some_and(|field| field.proto_number != 0)
        || message.embedded.iter().any(|embedded| holds(&embedded.message, key))
}

/// What went wrong: further in (whole already), or right here (to be told with the field's name).
enum Fault {
    Inner(EncodeError),
    Here(&'static str),
}

impl Fault {
    fn unwrap_or_else(self, here: impl FnOnce(&'static str) -> EncodeError) -> EncodeError {
        match self {
            Self::Inner(error) => error,
            Self::Here(found) => here(found),
        }
    }
}

impl From<EncodeError> for Fault {
    fn from(error: EncodeError) -> Self {
        Self::Inner(error)
    }
}

/// One field, or every item of a repeated one.
fn one(number: u32, ty: &Type, wire: ProtoWire, value: &Value, out: &mut Vec<u8>) -> Result<(), Fault> {
    match (ty, value) {
        (Type::List(item), Value::Array(items)) if wire == ProtoWire::Wrapped => {
            push_delimited(number, out, |out| items.iter().try_for_each(|i| one(1, item, ProtoWire::Natural, i, out)))?;
        }
        (Type::List(item), Value::Array(items)) => {
            for value in items {
                one(number, item, wire, value, out)?;
            }
        }
        (Type::Map(item), Value::Object(entries)) => {
            let mut sorted: SmallVec<[(&CompactString, &Value); 16]> = entries.iter().collect();
            sorted.sort_unstable_by_key(|(key, _)| *key);
            for (key, value) in sorted {
                push_delimited(number, out, |out| {
                    push_bytes(1, key.as_bytes(), out);
                    one(2, item, wire, value, out)
                })?;
            }
        }
        (Type::Message(message), Value::Object(object)) => {
            push_delimited(number, out, |out| fields(object, message, out))?;
        }
        (Type::Bool, Value::Bool(truth)) => push_number(number, u64::from(*truth), out),
        (Type::Int32 | Type::Int64, Value::Int(n)) => push_number(number, *n as u64, out),
        (Type::Double, Value::Int(_) | Value::Float(_)) => {
            push_tag(number, 1, out);
            out.extend_from_slice(&value.as_f64().unwrap_or_default().to_le_bytes());
        }
        (Type::String, Value::String(text)) => push_bytes(number, text.as_bytes(), out),
        (Type::Bytes, Value::String(text)) => {
            let bytes = STANDARD.decode(text.as_bytes()).map_err(|_| Fault::Here("no base64"))?;
            push_bytes(number, &bytes, out);
        }
        (Type::Quantity, Value::String(text)) => {
            push_delimited(number, out, |out| {
                push_bytes(1, text.as_bytes(), out);
                Ok::<(), Fault>(())
            })?;
        }
        (Type::Time, Value::String(text)) => {
            let seconds = time::parse(text).ok_or(Fault::Here("no time"))?;
            push_timestamp(number, seconds, 0, out)?;
        }
        (Type::MicroTime, Value::String(text)) => {
            let micros = time::parse_micros(text).ok_or(Fault::Here("no time"))?;
            push_timestamp(number, micros.div_euclid(1_000_000), micros.rem_euclid(1_000_000) * 1_000, out)?;
        }
        // Both values are written whatever the type says.
        (Type::IntOrString, Value::Int(n)) => push_int_or_string(number, 0, *n, "", out)?,
        (Type::IntOrString, Value::String(text)) => push_int_or_string(number, 1, 0, text, out)?,
        (Type::Time | Type::MicroTime | Type::Quantity, Value::Null) => push_bytes(number, b"", out),
        (Type::Any, value) => any(number, wire, value, out)?,
        (_, other) => return Err(Fault::Here(other.type_name())),
    }
    Ok(())
}

fn push_number(number: u32, value: u64, out: &mut Vec<u8>) {
    push_tag(number, 0, out);
    push_varint(value, out);
}

fn push_timestamp(number: u32, seconds: i64, nanos: i64, out: &mut Vec<u8>) -> Result<(), Fault> {
    push_delimited(number, out, |out| {
        push_number(1, seconds as u64, out);
        push_number(2, nanos as u64, out);
        Ok(())
    })
}

fn push_int_or_string(number: u32, kind: u64, int: i64, text: &str, out: &mut Vec<u8>) -> Result<(), Fault> {
    push_delimited(number, out, |out| {
        push_number(1, kind, out);
        push_number(2, int as u64, out);
        push_bytes(3, text.as_bytes(), out);
        Ok(())
    })
}

/// Free-form values: their JSON as the one field of a message; or one of the unions around a schema.
fn any(number: u32, wire: ProtoWire, value: &Value, out: &mut Vec<u8>) -> Result<(), Fault> {
    let schema = Type::Message(schema::Ref::Static(super::read::json_schema()));
    push_delimited(number, out, |out| {
        match (wire, value) {
            (ProtoWire::SchemaOrArray, Value::Array(items)) => {
                items.iter().try_for_each(|item| one(2, &schema, ProtoWire::Natural, item, out))?;
            }
            (ProtoWire::SchemaOrStrings, Value::Array(items)) => {
                items.iter().try_for_each(|item| one(2, &Type::String, ProtoWire::Natural, item, out))?;
            }
            (ProtoWire::SchemaOrArray | ProtoWire::SchemaOrStrings, value) => {
                one(1, &schema, ProtoWire::Natural, value, out)?;
            }
            (ProtoWire::SchemaOrBool, Value::Bool(allows)) => push_number(1, u64::from(*allows), out),
            (ProtoWire::SchemaOrBool, value) => {
                push_number(1, 1, out);
                one(2, &schema, ProtoWire::Natural, value, out)?;
            }
            (ProtoWire::Natural | ProtoWire::Wrapped, value) => push_bytes(1, &json::encode(value), out),
        }
        Ok(())
    })
}
