//! Between bytes, typed structs (`k8s-openapi`) and [`Value`]s, for loops that want types where logic reads better
//! with them. Bytes stay the resting form: decoding happens when a loop looks, and is shared while somebody holds it.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use compact_str::CompactString;
use gantry_store_cache::object::StoredObject;
use serde::de::{DeserializeOwned, DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};
use serde::{Deserializer, Serialize, Serializer};

use crate::value::{Object, Value};

/// A body that is not the JSON it should be.
#[derive(Debug, thiserror::Error)]
#[error("cannot decode {what}")]
pub struct DecodeError {
    what: String,
    #[source]
    source: serde_json::Error,
}

/// A decoded object, shared by all who look at the same version.
pub struct Typed<T>(Arc<Result<T, serde_json::Error>>);

impl<T> Clone for Typed<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Deref for Typed<T> {
    type Target = T;
    fn deref(&self) -> &T {
        match &*self.0 {
            Ok(value) => value,
            Err(_) => unreachable!("typed() gives out decoded values only"),
        }
    }
}

/// The object decoded as `T`, once for all who hold it.
///
/// # Errors
/// When the body is no `T`.
pub fn typed<T: DeserializeOwned + Send + Sync + 'static>(object: &StoredObject) -> Result<Typed<T>, DecodeError> {
    let shared = object.shared(|object| serde_json::from_slice::<T>(&object.body));
    match &*shared {
        Ok(_) => Ok(Typed(shared)),
        // The error is shared and cannot be moved out: decode again, which fails the same way.
        Err(_) => match serde_json::from_slice::<T>(&object.body) {
            Ok(value) => Ok(Typed(Arc::new(Ok(value)))),
            Err(source) => Err(DecodeError { what: object.key.to_string(), source }),
        },
    }
}

/// The object's body as a [`Value`].
///
/// # Errors
/// When the body is no JSON.
pub fn value_of(object: &StoredObject) -> Result<Value, DecodeError> {
    parse(&object.body).map_err(|source| DecodeError { what: object.key.to_string(), source })
}

/// A typed struct as a [`Value`].
///
/// # Errors
/// When the struct cannot be written as JSON (a map with keys that are no texts).
pub fn to_value<T: Serialize>(object: &T) -> Result<Value, DecodeError> {
    let failed = |source| DecodeError { what: std::any::type_name::<T>().to_owned(), source };
    let bytes = serde_json::to_vec(object).map_err(failed)?;
    parse(&bytes).map_err(failed)
}

/// JSON text as a [`Value`], without any schema: for bytes that we wrote ourselves.
///
/// # Errors
/// When it is no JSON.
pub fn parse(json: &[u8]) -> Result<Value, serde_json::Error> {
    let mut reader = serde_json::Deserializer::from_slice(json);
    let value = Tree.deserialize(&mut reader)?;
    reader.end()?;
    Ok(value)
}

/// A [`Value`] as JSON text, for patches that loops write.
#[must_use]
pub fn to_json(value: &Value) -> Vec<u8> {
    serde_json::to_vec(&Json(value)).expect("a tree with texts as keys always becomes JSON")
}

struct Json<'a>(&'a Value);

impl Serialize for Json<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Null => serializer.serialize_unit(),
            Value::Bool(truth) => serializer.serialize_bool(*truth),
            Value::Int(number) => serializer.serialize_i64(*number),
            Value::Float(number) => serializer.serialize_f64(*number),
            Value::String(text) => serializer.serialize_str(text),
            Value::Array(items) => serializer.collect_seq(items.iter().map(Json)),
            Value::Object(fields) => serializer.collect_map(fields.iter().map(|(key, value)| (key, Json(value)))),
        }
    }
}

struct Tree;

impl<'de> DeserializeSeed<'de> for Tree {
    type Value = Value;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Tree {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, truth: bool) -> Result<Value, E> {
        Ok(Value::Bool(truth))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(Value::Int(number))
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Value, E> {
        i64::try_from(number).map(Value::Int).map_err(|_| E::custom("number out of range"))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        Ok(Value::Float(number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::String(CompactString::new(text)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::with_capacity(seq.size_hint().unwrap_or(0));
        while let Some(item) = seq.next_element_seed(Tree)? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut object = Object::new();
        while let Some(key) = map.next_key::<CompactString>()? {
            if object.insert(key, map.next_value_seed(Tree)?).is_some() {
                return Err(A::Error::custom("duplicate field"));
            }
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value;

    #[test]
    fn json_becomes_the_same_tree() {
        let tree = parse(br#"{"a":[1,-2,1.5,"x",null,true],"b":{"c":"d"}}"#).unwrap();
        assert_eq!(tree, value!({"a": [1, (-2), 1.5, "x", null, true], "b": {"c": "d"}}));
        assert_eq!(parse(&to_json(&tree)).unwrap(), tree);
        assert!(parse(br#"{"a":1,"a":2}"#).is_err(), "a duplicate field is an error");
        assert!(parse(b"{} x").is_err(), "trailing text is an error");
    }
}
