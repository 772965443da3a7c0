//! What expressions evaluate to. Cheap to clone: whatever is large is shared.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use crate::quantity::Quantity;
use crate::semver::Version;

/// A value.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    Text(Arc<str>),
    Bytes(Arc<[u8]>),
    List(Arc<[Value]>),
    Map(Arc<Map>),
    Quantity(Quantity),
    Version(Version),
    Optional(Option<Arc<Value>>),
    /// `type(x)`.
    Type(&'static str),
}

/// A map: few entries, so a list sorted by nothing.
#[derive(Clone, Debug, Default)]
pub(crate) struct Map {
    pub(crate) entries: Vec<(Value, Value)>,
    /// What a key that is not there stands for; `in` still says that it is not there.
    pub(crate) fallback: Option<Value>,
}

impl Map {
    /// The value of a key, or the fallback.
    pub(crate) fn get(&self, key: &Value) -> Option<&Value> {
        self.find(key).or(self.fallback.as_ref())
    }

    /// The value of a key by that name, or the fallback.
    pub(crate) fn field(&self, name: &str) -> Option<&Value> {
        let is = |key: &Value| matches!(key, Value::Text(text) if **text == *name);
        self.entries.iter().find(|(key, _)| is(key)).map(|(_, value)| value).or(self.fallback.as_ref())
    }

    /// The value of a key that is there.
    pub(crate) fn find(&self, key: &Value) -> Option<&Value> {
        self.entries.iter().find(|(known, _)| known.equals(key)).map(|(_, value)| value)
    }
}

impl Value {
    /// A text.
    pub(crate) fn text(text: &str) -> Self {
        Self::Text(text.into())
    }

    /// A list.
    pub(crate) fn list(items: Vec<Self>) -> Self {
        Self::List(items.into())
    }

    /// cel-go's name of its type.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null_type",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Uint(_) => "uint",
            Self::Double(_) => "double",
            Self::Text(_) => "string",
            Self::Bytes(_) => "bytes",
            Self::List(_) => "list",
            Self::Map(_) => "map",
            Self::Quantity(_) => "kubernetes.Quantity",
            Self::Version(_) => "kubernetes.Semver",
            Self::Optional(_) => "optional_type",
            Self::Type(_) => "type",
        }
    }

    /// Equality of any two values: numbers by their amount, values of different types are different.
    pub(crate) fn equals(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Null, Self::Null) => true,
            (Self::Bool(a), Self::Bool(b)) => a == b,
            (Self::Text(a), Self::Text(b)) => a == b,
            (Self::Bytes(a), Self::Bytes(b)) => a == b,
            (Self::Type(a), Self::Type(b)) => a == b,
            (Self::Quantity(a), Self::Quantity(b)) => a == b,
            (Self::Version(a), Self::Version(b)) => a == b,
            (Self::Optional(a), Self::Optional(b)) => match (a, b) {
                (Some(a), Some(b)) => a.equals(b),
                (a, b) => a.is_none() && b.is_none(),
            },
            (Self::List(a), Self::List(b)) => a.len() == b.len() && a.iter().zip(b.iter()).all(|(a, b)| a.equals(b)),
            (Self::Map(a), Self::Map(b)) => {
                let same = |(key, value): &(Self, Self)| b.find(key).is_some_and(|other| value.equals(other));
                a.entries.len() == b.entries.len() && a.entries.iter().all(same)
            }
            _ => self.compare_numbers(other) == Some(Ordering::Equal),
        }
    }

    /// The order of two values that have one.
    pub(crate) fn compare(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Bool(a), Self::Bool(b)) => Some(a.cmp(b)),
            (Self::Text(a), Self::Text(b)) => Some(a.cmp(b)),
            (Self::Bytes(a), Self::Bytes(b)) => Some(a.cmp(b)),
            _ => self.compare_numbers(other),
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "CEL compares whole numbers with doubles as doubles")]
    fn compare_numbers(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Int(a), Self::Int(b)) => Some(a.cmp(b)),
            (Self::Uint(a), Self::Uint(b)) => Some(a.cmp(b)),
            (Self::Int(a), Self::Uint(b)) => Some(i128::from(*a).cmp(&i128::from(*b))),
            (Self::Uint(a), Self::Int(b)) => Some(i128::from(*a).cmp(&i128::from(*b))),
            (Self::Double(a), Self::Double(b)) => a.partial_cmp(b),
            (Self::Double(a), Self::Int(b)) => a.partial_cmp(&(*b as f64)),
            (Self::Int(a), Self::Double(b)) => (*a as f64).partial_cmp(b),
            (Self::Double(a), Self::Uint(b)) => a.partial_cmp(&(*b as f64)),
            (Self::Uint(a), Self::Double(b)) => (*a as f64).partial_cmp(b),
            _ => None,
        }
    }

    /// How much there is to it, for what looking at it costs.
    pub(crate) fn size(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Bytes(bytes) => bytes.len(),
            Self::List(items) => items.len(),
            Self::Map(map) => map.entries.len(),
            _ => 1,
        }
    }
}

/// As it is shown in errors.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool(value) => value.fmt(f),
            Self::Int(value) => value.fmt(f),
            Self::Uint(value) => value.fmt(f),
            Self::Double(value) => value.fmt(f),
            Self::Text(text) => f.write_str(text),
            Self::Quantity(value) => f.write_str(&value.to_text()),
            Self::Type(name) => f.write_str(name),
            other => f.write_str(other.kind()),
        }
    }
}
