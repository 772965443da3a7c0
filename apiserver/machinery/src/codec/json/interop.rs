//! Between [`Value`] and typed structs (`k8s-openapi`, serde): for logic that wants types.

use std::fmt;

use serde::de::value::{MapDeserializer, SeqDeserializer};
use serde::de::{self, DeserializeOwned, IntoDeserializer};
use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::scan;
use crate::value::{Object, Value};

/// A typed struct as a [`Value`].
/// # Errors
/// What the struct's own `Serialize` says, or that a map's keys are no texts.
pub fn to_value<T: Serialize + ?Sized>(typed: &T) -> Result<Value, serde_json::Error> {
    let bytes = serde_json::to_vec(typed)?;
    scan::parse(&bytes).map_err(serde::ser::Error::custom)
}

/// A [`Value`] as a typed struct, without a detour over bytes.
/// # Errors
/// Where the value has not the struct's shape.
pub fn from_value<T: DeserializeOwned>(value: &Value) -> Result<T, serde_json::Error> {
    T::deserialize(value)
}

impl Value {
    /// This as a typed struct (`k8s_openapi::api::core::v1::Pod`).
    /// # Errors
    /// Where this has not the struct's shape.
    pub fn to_typed<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        from_value(self)
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(truth) => serializer.serialize_bool(*truth),
            Self::Int(number) => serializer.serialize_i64(*number),
            Self::Float(number) => serializer.serialize_f64(*number),
            Self::String(text) => serializer.serialize_str(text),
            Self::Array(items) => {
                let mut seq = serializer.serialize_seq(Some(items.len()))?;
                for item in items {
                    seq.serialize_element(item)?;
                }
                seq.end()
            }
            Self::Object(object) => object.serialize(serializer),
        }
    }
}

impl Serialize for Object {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.len()))?;
        for (key, value) in self.iter() {
            map.serialize_entry(key.as_str(), value)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> de::Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_bool<E>(self, truth: bool) -> Result<Value, E> {
        Ok(Value::Bool(truth))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(Value::Int(number))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(i64::try_from(number).map_or(Value::Float(number as f64), Value::Int))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        Ok(Value::Float(number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::from(text))
    }

    fn visit_string<E>(self, text: String) -> Result<Value, E> {
        Ok(Value::from(text))
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut open = Vec::new();
        let mut fields = scan::Fields::begin(&open);
        while let Some((key, value)) = map.next_entry::<String, Value>()? {
            fields.set(&mut open, key.into(), value);
        }
        Ok(Value::Object(fields.end(&mut open)))
    }
}

impl<'de> IntoDeserializer<'de, serde_json::Error> for &'de Value {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'de> Deserializer<'de> for &'de Value {
    type Error = serde_json::Error;

    fn deserialize_any<V: de::Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        match self {
            Value::Null => visitor.visit_unit(),
            Value::Bool(truth) => visitor.visit_bool(*truth),
            Value::Int(number) => visitor.visit_i64(*number),
            Value::Float(number) => visitor.visit_f64(*number),
            Value::String(text) => visitor.visit_borrowed_str(text),
            Value::Array(items) => SeqDeserializer::new(items.iter()).deserialize_any(visitor),
            Value::Object(object) => {
                MapDeserializer::new(object.iter().map(|(k, v)| (k.as_str(), v))).deserialize_any(visitor)
            }
        }
    }

    fn deserialize_option<V: de::Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        if self.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: de::Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: de::Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        match self {
            Value::String(text) => visitor.visit_enum(text.as_str().into_deserializer()),
            Value::Object(object) if object.len() == 1 => visitor.visit_enum(de::value::MapAccessDeserializer::new(
                MapDeserializer::new(object.iter().map(|(k, v)| (k.as_str(), v))),
            )),
            other => Err(de::Error::invalid_type(de::Unexpected::Other(other.type_name()), &"a variant's name")),
        }
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map struct identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::value;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Sample {
        name: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        replicas: Option<i32>,
        labels: BTreeMap<String, String>,
        items: Vec<Phase>,
        ratio: f64,
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum Phase {
        Running,
        Failed { code: u8 },
    }

    #[test]
    fn typed_structs_go_both_ways() {
        let sample = Sample {
            name: "x".to_owned(),
            replicas: Some(3),
            labels: BTreeMap::from([("a".to_owned(), "b".to_owned())]),
            items: vec![Phase::Running, Phase::Failed { code: 7 }],
            ratio: 0.5,
        };
        let value = to_value(&sample).unwrap();
        assert_eq!(
            value,
            value!({"name": "x", "replicas": 3, "labels": {"a": "b"}, "items": ["Running", {"Failed": {"code": 7}}], "ratio": 0.5})
        );
        assert_eq!(value.to_typed::<Sample>().unwrap(), sample);
        assert!(value!({"name": 1}).to_typed::<Sample>().is_err());
    }

    #[test]
    fn values_are_serde_values() {
        let value = value!({"a": [1, 0.5, null, "x", true], "b": {}});
        let text = serde_json::to_string(&value).unwrap();
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
    }
}
