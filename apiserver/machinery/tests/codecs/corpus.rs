//! Objects of every type in the schema table, made from a seed: all their fields, or some, with the values that codecs
//! trip over.

use gantry_machinery::quantity::Quantity;
use gantry_machinery::schema::{self, Field, Message, Presence, ProtoWire, Type};
use gantry_machinery::value::{Object, Value};

/// A source of objects. Equal seeds give equal objects.
pub(crate) struct Corpus {
    state: u64,
    /// The types around what is being made: schemas hold schemas.
    around: Vec<*const Message>,
}

/// Texts that one format or the other must quote, escape or leave alone.
const TEXTS: [&str; 34] = [
    "web",
    "",
    " ",
    "yes",
    "No",
    "on",
    "null",
    "~",
    "true",
    "0644",
    "0x1f",
    "1e3",
    "1_000",
    "12:30:45",
    ".inf",
    "2026-11-22",
    "- a",
    "a: b",
    "a #b",
    "#",
    "'",
    "\"",
    "\\",
    "%",
    "@x",
    "&a",
    "*a",
    "<a&b>",
    "two\nlines\n",
    "\ttab\r\n",
    "\u{1}\u{7f}",
    "naïve ☃ 🏗",
    "\u{2028}\u{2029}\u{feff}",
    "|",
];
const TIMES: [&str; 5] = [
    "2026-11-22T10:00:00Z",
    "1969-12-31T23:59:59Z",
    "9999-12-31T23:59:59Z",
    "0001-01-02T00:00:00Z",
    "2024-02-29T00:00:00Z",
];
const MICRO_TIMES: [&str; 4] = [
    "2026-11-22T10:00:00.000007Z",
    "1969-12-31T23:59:59.999999Z",
    "9999-12-31T23:59:59.000000Z",
    "2024-02-29T12:00:00.500000Z",
];
const QUANTITIES: [&str; 12] =
    ["1", "1500m", "1Mi", "9223372036854775807", "-1", "1n", "100E", "0.5", "12e6", "1023Ki", "3.5Gi", "9Ei"];

impl Corpus {
    pub(crate) fn new(seed: u64) -> Self {
        Self { state: seed, around: Vec::new() }
    }

    /// The next number (SplitMix64).
    pub(crate) fn number(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.number() % bound.max(1) as u64) as usize
    }

    pub(crate) fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    /// An object of this type; `omit` of eight fields are left out. A kind names itself.
    pub(crate) fn object(&mut self, message: &Message, omit: usize) -> Value {
        let mut object = Object::new();
        if let Some(kind) = message.kinds.first() {
            let (api_version, kind) = kind.rsplit_once('/').expect("kinds have versions");
            object.insert("kind", kind);
            object.insert("apiVersion", api_version);
        }
        for (key, value) in self.fields(message, omit) {
            object.insert(key, value);
        }
        Value::Object(object)
    }

    fn fields(&mut self, message: &Message, omit: usize) -> Object {
        self.around.push(message);
        let mut object = Object::new();
        for field in message.fields.iter().filter(|field| holder(message, &field.json).is_some()) {
            if self.below(8) < omit {
                continue;
            }
            let wire = holder(message, &field.json).map_or(field.proto_wire, |held| held.proto_wire);
            if let Some(value) = self.value(&field.ty, wire, field.presence != Presence::OmitZero, omit) {
                object.insert(field.json.clone(), value);
            }
        }
        self.around.pop();
        object
    }

    fn value(&mut self, ty: &Type, wire: ProtoWire, zero: bool, omit: usize) -> Option<Value> {
        Some(match ty {
            Type::Bool => Value::Bool(!zero || self.below(2) == 0),
            Type::Int32 => Value::Int(self.integer(i64::from(i32::MIN), i64::from(i32::MAX), zero)),
            Type::Int64 => Value::Int(self.integer(i64::MIN, i64::MAX, zero)),
            Type::Double => Value::Float(self.one_of(&[0.5, -0.1, 1e21, 1e-7, 5e-324, f64::MAX, 123_456_789.25, 3.0])),
            Type::String => Value::from(self.text(zero)),
            Type::Bytes => Value::from(self.one_of(&["AA==", "AAE=", "AAECAw==", "//79/A==", "+/+/"])),
            Type::Time => Value::from(self.one_of(&TIMES)),
            Type::MicroTime => Value::from(self.one_of(&MICRO_TIMES)),
            Type::Quantity => {
                let text = self.one_of(&QUANTITIES);
                Value::String(Quantity::canonical(text).expect("these are quantities"))
            }
            Type::IntOrString if self.below(2) == 0 => {
                Value::Int(self.integer(i64::from(i32::MIN), i64::from(i32::MAX), true))
            }
            Type::IntOrString => Value::from(self.text(true)),
            Type::Any => self.any(wire, omit)?,
            Type::Message(inner) => {
                let inner: &Message = inner;
                if self.around.iter().filter(|m| std::ptr::eq(**m, inner)).count() > 1 || self.around.len() > 9 {
                    return None;
                }
                let fields = self.fields(inner, omit);
                if fields.is_empty() && !zero {
                    return None;
                }
                Value::Object(fields)
            }
            Type::List(item) => {
                let count = 1 + usize::from(self.below(4) == 0);
                let items: Vec<Value> = (0..count).filter_map(|_| self.value(item, wire, true, omit)).collect();
                if items.is_empty() {
                    return None;
                }
                Value::Array(items)
            }
            Type::Map(item) => {
                let count = 1 + usize::from(self.below(4) == 0);
                let mut entries = Object::new();
                for _ in 0..count {
                    entries.insert(self.text(true), self.value(item, wire, true, omit)?);
                }
                Value::Object(entries)
            }
        })
    }

    fn integer(&mut self, min: i64, max: i64, zero: bool) -> i64 {
        match self.below(6) {
            0 => min,
            1 => max,
            2 if zero => 0,
            3 => -1,
            4 => 127,
            _ => 1 + (self.number() % 100_000) as i64,
        }
    }

    fn text(&mut self, empty: bool) -> &'static str {
        match self.one_of(&TEXTS) {
            "" if !empty => "x",
            text => text,
        }
    }

    /// Free-form JSON, or what stands where a schema or something else may.
    fn any(&mut self, wire: ProtoWire, omit: usize) -> Option<Value> {
        let props = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps";
        let schema = Type::Message(schema::Ref::Static(schema::message(props).expect("custom resources have schemas")));
        match (wire, self.below(2)) {
            (ProtoWire::SchemaOrBool, 0) => Some(Value::Bool(self.below(2) == 0)),
            (ProtoWire::SchemaOrStrings, 0) => Some(Value::Array(vec![self.text(true).into(), self.text(true).into()])),
            (ProtoWire::SchemaOrArray, 0) => {
                Some(Value::Array(vec![self.value(&schema, ProtoWire::Natural, true, omit)?]))
            }
            (ProtoWire::SchemaOrArray | ProtoWire::SchemaOrBool | ProtoWire::SchemaOrStrings, _) => {
                self.value(&schema, ProtoWire::Natural, true, omit)
            }
            (ProtoWire::Natural | ProtoWire::Wrapped, _) => {
                let mut object = Object::new();
                object.insert(self.text(true), self.text(true));
                object.insert("list", vec![Value::Null, Value::Bool(false), Value::Int(i64::MIN), Value::Float(1.5)]);
                object.insert("nested", Value::Object([("f:k", Value::object())].into_iter().collect()));
                Some(Value::Object(object))
            }
        }
    }
}

/// The field that carries a JSON name in protobuf: the message's own, or that of one embedded in it.
fn holder<'m>(message: &'m Message, json: &str) -> Option<&'m Field> {
    message
        .field(json)
        .filter(|f| f.proto_number != 0)
        .or_else(|| message.embedded.iter().find_map(|e| holder(&e.message, json)))
}
