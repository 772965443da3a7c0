//! A value brought in place into the form that [`decode`](super::decode) gives it: what becomes of every patch's outcome.
//! It mostly is in that form but for nulls, so that the way through bytes and back is left to the few that are not.

use super::decode::{canonical_base64, canonical_quantity, canonical_time, is_zero};
use crate::schema::{Message, Presence, Type};
use crate::value::Value;

/// Deeper values are left to the decoder, which knows where to stop.
const DEPTH_MAX: usize = 64;

/// Drops from an object of this type what reads as absent (nulls, zero values where they mean nothing), and tells whether
/// it now is what the decoder would have made of it: no unknown fields, every value of its field's type, quantities and
/// times as they are written. Where this says no, nothing but such fields was dropped, and
/// [`decode_value`](super::decode_value) says what is wrong, or puts it right.
#[must_use]
pub fn conform(value: &mut Value, message: &Message) -> bool {
    object(value, message, 0)
}

fn object(value: &mut Value, message: &Message, depth: usize) -> bool {
    let Value::Object(fields) = value else { return false };
    if depth >= DEPTH_MAX {
        return false;
    }
    let (mut fits, mut absent) = (true, false);
    for (key, value) in fields.iter_mut() {
        fits &= match message.field_index(key) {
            Some(index) => {
                let field = &message.fields[index];
                let fits = value.is_null() || self::value(value, &field.ty, depth + 1);
                absent |= value.is_null() || (field.presence == Presence::OmitZero && is_zero(value));
                fits
            }
            None => message.preserve_unknown && any(value, depth + 1),
        };
        if !fits {
            return false;
        }
    }
    if absent {
        fields.retain(|key, value| match message.field(key) {
            Some(field) => !value.is_null() && (field.presence != Presence::OmitZero || !is_zero(value)),
            None => true,
        });
    }
    true
}

fn value(value: &mut Value, ty: &Type, depth: usize) -> bool {
    match (ty, value) {
        (Type::String, Value::String(_)) | (Type::Bool, Value::Bool(_)) => true,
        (Type::Int32 | Type::IntOrString, Value::Int(number)) => i32::try_from(*number).is_ok(),
        (Type::Int64 | Type::Double, Value::Int(_)) | (Type::IntOrString, Value::String(_)) => true,
        (Type::Quantity, Value::String(text)) => canonical_quantity(text).is_ok_and(|form| form == *text),
        (Type::Time | Type::MicroTime, Value::String(text)) => {
            canonical_time(text, matches!(ty, Type::MicroTime)).is_some_and(|form| form == *text)
        }
        (Type::Bytes, Value::String(text)) => canonical_base64(text).is_ok_and(|form| form == *text),
        (Type::Message(message), value) => object(value, message, depth),
        (Type::List(item), Value::Array(items)) => {
            depth < DEPTH_MAX && items.iter_mut().all(|item_value| self::value(item_value, item, depth + 1))
        }
        (Type::Map(item), Value::Object(fields)) => {
            depth < DEPTH_MAX && fields.iter_mut().all(|(_, item_value)| self::value(item_value, item, depth + 1))
        }
        (Type::Any, value) => any(value, depth),
        // Floats among them: a whole one is written, and read back, as an integer.
        _ => false,
    }
}

fn any(value: &Value, depth: usize) -> bool {
    match value {
        Value::Float(_) => false,
        Value::Array(items) => depth < DEPTH_MAX && items.iter().all(|value| any(value, depth + 1)),
        Value::Object(fields) => depth < DEPTH_MAX && fields.iter().all(|(_, value)| any(value, depth + 1)),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::super::{decode_value, parse};
    use super::*;
    use crate::resource_api::FieldValidation;
    use crate::schema;

    /// The verdict on a pod, and what it became, held against what the decoder does with it.
    fn verdict(pod: &str) -> bool {
        let message = schema::kind("", "v1", "Pod").unwrap();
        let mut value = parse(pod.as_bytes()).unwrap();
        let decoded = decode_value(&value, message, FieldValidation::Warn);
        let verdict = conform(&mut value, message);
        match decoded {
            Ok(decoded) if decoded.warnings.is_empty() && verdict => assert_eq!(value, decoded.value, "{pod}"),
            // What was dropped changes nothing for the decoder.
            decoded => assert_eq!(
                decode_value(&value, message, FieldValidation::Warn).map(|d| (d.value, d.warnings)),
                decoded.map(|d| (d.value, d.warnings)),
                "{pod}"
            ),
        }
        verdict
    }

    #[test]
    fn what_is_stored_conforms_and_nulls_and_zeroes_go() {
        assert!(verdict(
            r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p","creationTimestamp":"2026-11-23T12:32:37Z",
               "labels":{"a":""},"managedFields":[{"fieldsV1":{"f:spec":{"f:containers":{}}}}]},
               "spec":{"containers":[{"name":"","resources":{"requests":{"cpu":"100m","x/y":"1k"}},
               "livenessProbe":{"httpGet":{"port":"web"},"periodSeconds":3}}],"terminationGracePeriodSeconds":0},
               "status":{"conditions":[{"type":"Ready","status":"True"}]}}"#
        ));
        for pod in [
            r#"{"spec":{"nodeName":null,"hostNetwork":false,"volumes":[],"terminationGracePeriodSeconds":0}}"#,
            r#"{"spec":{"nodeName":"","dnsConfig":{"options":null}}}"#,
            r#"{"status":{"conditions":[{"type":"Ready","status":"True","reason":null,"message":null}]}}"#,
        ] {
            assert!(verdict(pod), "{pod}");
        }
    }

    #[test]
    fn what_the_decoder_would_rewrite_or_refuse_does_not() {
        for pod in [
            r#"{"spec":{"unknown":1}}"#,
            r#"{"spec":{"unknown":null,"nodeName":null}}"#,
            r#"{"spec":{"nodeName":7}}"#,
            r#"{"spec":{"priority":3000000000}}"#,
            r#"{"spec":{"containers":[null]}}"#,
            r#"{"spec":{"containers":{}}}"#,
            r#"{"spec":{"overhead":{"cpu":"1000m"}}}"#,
            r#"{"spec":{"overhead":{"cpu":1}}}"#,
            r#"{"metadata":{"labels":{"a":null}}}"#,
            r#"{"metadata":{"creationTimestamp":"2026-11-23T12:32:37.5Z"}}"#,
            r#"{"metadata":{"creationTimestamp":"yesterday"}}"#,
            r#"{"status":[]}"#,
        ] {
            assert!(!verdict(pod), "{pod}");
        }
    }

    #[test]
    fn depth_is_left_to_the_decoder() {
        let message = schema::kind("", "v1", "Pod").unwrap();
        let deep =
            format!(r#"{{"metadata":{{"managedFields":[{{"fieldsV1":{}1{}}}]}}}}"#, "[".repeat(90), "]".repeat(90));
        assert!(!conform(&mut parse(deep.as_bytes()).unwrap(), message));
    }
}
