//! Protobuf to [`Value`].

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use compact_str::CompactString;
use hashbrown::HashMap;
use hashbrown::hash_map::Entry;

use super::MAGIC;
use super::wire::{Fields, Payload, WireError};
use crate::codec::json::{self, DecodeError};
use crate::quantity::Quantity;
use crate::schema::{self, Field, Message, Presence, ProtoWire, Type};
use crate::status::{Status, quote};
use crate::time;
use crate::value::{Object, Value};

/// An enveloped object, opened but not decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Envelope<'a> {
    /// `apps/v1`.
    pub api_version: &'a str,
    /// `Deployment`.
    pub kind: &'a str,
    /// The message's bytes.
    pub raw: &'a [u8],
}

impl From<WireError> for DecodeError {
    fn from(error: WireError) -> Self {
        Self::Type(error.to_string())
    }
}

/// Opens the envelope.
/// # Errors
/// [`DecodeError::Syntax`] where there is none.
pub fn open(bytes: &[u8]) -> Result<Envelope<'_>, DecodeError> {
    let Some(unknown) = bytes.strip_prefix(MAGIC) else {
        let prefix = &bytes[..bytes.len().min(4)];
        return Err(DecodeError::Syntax(format!(
            "provided data does not appear to be a protobuf message, expected prefix {MAGIC:?}, found {prefix:?}"
        )));
    };
    let mut envelope = Envelope { api_version: "", kind: "", raw: &[] };
    for field in Fields::new(unknown) {
        match field? {
            (1, Payload::Bytes(type_meta)) => {
                for field in Fields::new(type_meta) {
                    match field? {
                        (1, Payload::Bytes(text)) => envelope.api_version = utf8(text)?,
                        (2, Payload::Bytes(text)) => envelope.kind = utf8(text)?,
                        _ => {}
                    }
                }
            }
            (2, Payload::Bytes(raw)) => envelope.raw = raw,
            _ => {}
        }
    }
    Ok(envelope)
}

/// An enveloped object of this type, with `apiVersion` and `kind` as the envelope says them.
/// # Errors
/// [`DecodeError`], with Go's words.
pub fn decode(bytes: &[u8], message: &Message) -> Result<Value, DecodeError> {
    let envelope = open(bytes)?;
    let mut object = Object::new();
    for (key, text) in [("kind", envelope.kind), ("apiVersion", envelope.api_version)] {
        if !text.is_empty() {
            object.insert(key, text);
        }
    }
    fields(envelope.raw, message, &mut object, 0)?;
    Ok(Value::Object(object))
}

/// A message without envelope.
/// # Errors
/// [`DecodeError`], with Go's words.
pub fn decode_raw(bytes: &[u8], message: &Message) -> Result<Value, DecodeError> {
    let mut object = Object::new();
    fields(bytes, message, &mut object, 0)?;
    Ok(Value::Object(object))
}

/// A request's body as an object of the kind its path expects, as [`json::decode_body`] does it.
/// # Errors
/// The 400 for the client.
pub fn decode_body(
    bytes: &[u8],
    message: &Message,
    (group, version, kind): (&str, &str, &str),
) -> Result<Value, Status> {
    let mut value = decode(bytes, message).map_err(|error| match error {
        DecodeError::Syntax(why) => {
            Status::bad_request(format!("the object provided is unrecognized (must be of type {kind}): {why}"))
        }
        error => {
            Status::bad_request(format!("{kind} in version {} cannot be handled as a {kind}: {error}", quote(version)))
        }
    })?;
    json::expect_kind(&mut value, group, version, kind)?;
    Ok(value)
}

fn utf8(bytes: &[u8]) -> Result<&str, DecodeError> {
    std::str::from_utf8(bytes).map_err(|_| DecodeError::Type("string field contains invalid UTF-8".to_owned()))
}

pub(super) fn json_schema() -> &'static Message {
    schema::message("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps")
        .expect("custom resources have schemas")
}

/// Reads a message's fields into an object.
fn fields(bytes: &[u8], message: &Message, object: &mut Object, depth: usize) -> Result<(), DecodeError> {
    fields_of(bytes, message, message, object, depth)?;
    for (name, value) in object.fields_mut() {
        if let Value::Object(entries) = value
            && entries.len() > 1
            && message.field(name).is_some_and(|field| matches!(field.ty, Type::Map(_)))
        {
            keep_last(entries);
        }
    }
    Ok(())
}

/// Of entries with one key the last counts, in the place of the first.
fn keep_last(entries: &mut Object) {
    const SCAN_UP_TO: usize = 16;
    let repeated = |fields: &[(CompactString, Value)]| {
        fields.iter().enumerate().any(|(at, (key, _))| fields[..at].iter().any(|(earlier, _)| earlier == key))
    };
    if entries.len() <= SCAN_UP_TO && !repeated(entries.as_slice()) {
        return;
    }
    let mut places: HashMap<CompactString, usize, _> =
        HashMap::with_capacity_and_hasher(entries.len(), ahash::RandomState::new());
    let mut kept: Vec<(CompactString, Value)> = Vec::with_capacity(entries.len());
    for (key, value) in std::mem::take(entries.fields_mut()) {
        match places.entry(key) {
            Entry::Occupied(place) => kept[*place.get()].1 = value,
            Entry::Vacant(place) => {
                let key = place.key().clone();
                place.insert(kept.len());
                kept.push((key, value));
            }
        }
    }
    *entries.fields_mut() = kept;
}

/// Reads the fields of `message`, which is `owner` or embedded in it: all go into the one object, and what their zero
/// values mean is the owner's to say.
fn fields_of(
    bytes: &[u8],
    message: &Message,
    owner: &Message,
    object: &mut Object,
    depth: usize,
) -> Result<(), DecodeError> {
    if depth > json::MAX_DEPTH {
        return Err(DecodeError::Type("exceeded max depth".to_owned()));
    }
    for field in Fields::new(bytes) {
        let (number, payload) = field?;
        if let Some(field) = message.fields.iter().find(|f| f.proto_number == number) {
            let presence = if std::ptr::eq(message, owner) {
                field.presence
            } else {
                owner.field(&field.json).map_or(field.presence, |owned| owned.presence)
            };
            one(field, presence, payload, object, depth)?;
        } else if let Some(embedded) = message.embedded.iter().find(|e| e.number == number) {
            let Payload::Bytes(bytes) = payload else { return Err(wrong_type(&embedded.message.go_name)) };
            fields_of(bytes, &embedded.message, owner, object, depth + 1)?;
        }
    }
    Ok(())
}

#[cold]
fn wrong_type(field: &str) -> DecodeError {
    DecodeError::Type(format!("proto: wrong wireType for field {field}"))
}

/// Reads one occurrence of a field.
fn one(
    field: &Field,
    presence: Presence,
    payload: Payload<'_>,
    object: &mut Object,
    depth: usize,
) -> Result<(), DecodeError> {
    let wrong = || wrong_type(&field.json);
    match (&field.ty, payload) {
        (Type::List(item), Payload::Bytes(bytes)) if field.proto_wire == ProtoWire::Wrapped => {
            let list = wrapped(bytes, item, depth)?;
            object.insert(field.json.clone(), list);
        }
        (Type::List(item), payload) => {
            let items = object.entry(field.json.clone());
            if items.is_null() {
                *items = Value::Array(Vec::new());
            }
            let items = items.as_array_mut().ok_or_else(wrong)?;
            match (&**item, payload) {
                (Type::Bool | Type::Int32 | Type::Int64, Payload::Bytes(packed)) => {
                    for number in Fields::packed(packed) {
                        items.push(single(item, field, Payload::Varint(number?), depth)?.unwrap_or_default());
                    }
                }
                _ => items.push(single(item, field, payload, depth)?.unwrap_or_default()),
            }
        }
        (Type::Map(item), Payload::Bytes(entry)) => {
            let mut key = CompactString::const_new("");
            let mut value = None;
            for part in Fields::new(entry) {
                match part? {
                    (1, Payload::Bytes(text)) => key = utf8(text)?.into(),
                    (2, Payload::Bytes(bytes)) if field.proto_wire == ProtoWire::Wrapped => {
                        let Type::List(inner) = &**item else { return Err(wrong()) };
                        value = Some(wrapped(bytes, inner, depth)?);
                    }
                    (2, payload) => value = single(item, field, payload, depth)?,
                    _ => {}
                }
            }
            let value = value.unwrap_or_else(|| json::zero(item));
            // Looked through for repeated keys once the message is read.
            object.object_entry(field.json.clone()).push_unchecked(key, value);
        }
        (ty, payload) => {
            // A message that comes twice is merged, and so is what a message of Go's would hold already.
            if let (Type::Message(message), Payload::Bytes(bytes)) = (ty, payload)
                && let Some(Value::Object(there)) = object.get_mut(&field.json)
            {
                return fields(bytes, message, there, depth + 1);
            }
            match single(ty, field, payload, depth)? {
                Some(value) if presence != Presence::OmitZero || !json::is_zero(&value) => {
                    object.insert(field.json.clone(), value);
                }
                _ => {
                    object.remove(&field.json);
                }
            }
        }
    }
    Ok(())
}

fn wrapped(bytes: &[u8], item: &Type, depth: usize) -> Result<Value, DecodeError> {
    let mut items = Vec::new();
    for part in Fields::new(bytes) {
        match (part?, item) {
            ((1, Payload::Bytes(text)), Type::String) => items.push(Value::from(utf8(text)?)),
            ((1, Payload::Bytes(bytes)), Type::Message(message)) => {
                let mut object = Object::new();
                fields(bytes, message, &mut object, depth + 1)?;
                items.push(Value::Object(object));
            }
            _ => {}
        }
    }
    Ok(Value::Array(items))
}

/// One value; `None` for a time that Go calls zero, which JSON writes as `null`.
fn single(ty: &Type, field: &Field, payload: Payload<'_>, depth: usize) -> Result<Option<Value>, DecodeError> {
    Ok(Some(match (ty, payload) {
        (Type::String, Payload::Bytes(text)) => Value::from(utf8(text)?),
        (Type::Message(message), Payload::Bytes(bytes)) => {
            let mut object = Object::new();
            fields(bytes, message, &mut object, depth + 1)?;
            Value::Object(object)
        }
        (Type::Bool, Payload::Varint(number)) => Value::Bool(number != 0),
        // Go cuts what is too large for the field.
        (Type::Int32, Payload::Varint(number)) => Value::Int(i64::from(number as i32)),
        (Type::Int64, Payload::Varint(number)) => Value::Int(number as i64),
        (Type::Double, Payload::Fixed64(bits)) => Value::Float(f64::from_bits(bits)),
        (Type::Bytes, Payload::Bytes(bytes)) => Value::from(STANDARD.encode(bytes)),
        (Type::Quantity, Payload::Bytes(bytes)) => Value::String(quantity(bytes)?),
        (Type::Time | Type::MicroTime, Payload::Bytes([])) => return Ok(None),
        (Type::Time, Payload::Bytes(bytes)) => Value::String(time::time(timestamp(bytes)?.0)),
        (Type::MicroTime, Payload::Bytes(bytes)) => {
            let (seconds, nanos) = timestamp(bytes)?;
            Value::String(time::micro_time(seconds.saturating_mul(1_000_000).saturating_add(nanos / 1_000)))
        }
        (Type::IntOrString, Payload::Bytes(bytes)) => int_or_string(bytes)?,
        (Type::Any, Payload::Bytes(bytes)) => return any(bytes, field, depth),
        _ => return Err(wrong_type(&field.json)),
    }))
}

fn quantity(bytes: &[u8]) -> Result<CompactString, DecodeError> {
    let mut text = "0";
    for part in Fields::new(bytes) {
        if let (1, Payload::Bytes(bytes)) = part? {
            text = utf8(bytes)?;
        }
    }
    if text.is_empty() {
        // What Go makes of a quantity that was never set.
        return Ok(CompactString::const_new("0"));
    }
    Quantity::canonical(text).map_err(|error| DecodeError::Type(error.to_string()))
}

fn timestamp(bytes: &[u8]) -> Result<(i64, i64), DecodeError> {
    let (mut seconds, mut nanos) = (0, 0);
    for part in Fields::new(bytes) {
        match part? {
            (1, Payload::Varint(number)) => seconds = number as i64,
            (2, Payload::Varint(number)) => nanos = i64::from(number as i32),
            _ => {}
        }
    }
    Ok((seconds, nanos))
}

fn int_or_string(bytes: &[u8]) -> Result<Value, DecodeError> {
    let (mut is_text, mut number, mut text) = (false, 0, "");
    for part in Fields::new(bytes) {
        match part? {
            (1, Payload::Varint(kind)) => is_text = kind == 1,
            (2, Payload::Varint(n)) => number = n as i32,
            (3, Payload::Bytes(bytes)) => text = utf8(bytes)?,
            _ => {}
        }
    }
    Ok(if is_text { Value::from(text) } else { Value::from(number) })
}

/// Free-form values: JSON, or (in a RawExtension) another enveloped object; or one of the unions around a schema.
fn any(bytes: &[u8], field: &Field, depth: usize) -> Result<Option<Value>, DecodeError> {
    if matches!(field.proto_wire, ProtoWire::Natural | ProtoWire::Wrapped) {
        let mut raw: &[u8] = &[];
        for part in Fields::new(bytes) {
            if let (1, Payload::Bytes(bytes)) = part? {
                raw = bytes;
            }
        }
        if raw.is_empty() {
            return Ok(None);
        }
        if raw.starts_with(MAGIC) {
            let envelope = open(raw)?;
            let (group, version) = envelope.api_version.rsplit_once('/').unwrap_or(("", envelope.api_version));
            let message = schema::kind(group, version, envelope.kind)
                .ok_or_else(|| DecodeError::Type(format!("no kind {} is known", quote(envelope.kind))))?;
            if depth > json::MAX_DEPTH {
                return Err(DecodeError::Type("exceeded max depth".to_owned()));
            }
            return decode(raw, message).map(Some);
        }
        return json::parse(raw).map(Some).map_err(|error| DecodeError::Type(error.text));
    }
    let mut list: Option<Vec<Value>> = None;
    let mut schema = None;
    let mut truth = None;
    let props = || -> Result<&'static Message, DecodeError> { Ok(json_schema()) };
    for part in Fields::new(bytes) {
        match (field.proto_wire, part?) {
            (ProtoWire::SchemaOrBool, (1, Payload::Varint(allows))) => truth = Some(allows != 0),
            (ProtoWire::SchemaOrStrings, (2, Payload::Bytes(text))) => {
                list.get_or_insert_default().push(Value::from(utf8(text)?));
            }
            (wire, (number @ (1 | 2), Payload::Bytes(bytes))) => {
                let mut object = Object::new();
                fields(bytes, props()?, &mut object, depth + 1)?;
                if wire == ProtoWire::SchemaOrArray && number == 2 {
                    list.get_or_insert_default().push(Value::Object(object));
                } else {
                    schema = Some(Value::Object(object));
                }
            }
            _ => {}
        }
    }
    Ok(list.map(Value::Array).or(schema).or(truth.map(Value::Bool)))
}
