//! Protobuf against upstream's golden files (where they are at hand), and round trips through every message of the table.

use std::path::PathBuf;

use super::*;
use crate::codec::json;
use crate::resource_api::FieldValidation;
use crate::schema::{self, Message, Type};
use crate::value::Object;

/// Upstream's filled objects: named by `GANTRY_GOLDEN`, or beside the repository as the project's reference data lies.
fn golden() -> Option<PathBuf> {
    let named = std::env::var_os("GANTRY_GOLDEN").map(PathBuf::from);
    let beside = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/kubernetes-data/golden"));
    named.into_iter().chain([beside]).find(|folder| folder.is_dir())
}

#[test]
fn bytes_are_upstreams_for_every_kind() {
    let Some(folder) = golden() else {
        eprintln!("no golden files here: nothing compared");
        return;
    };
    let mut compared = 0;
    let mut faults = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|e| e != "pb") {
            continue;
        }
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let bytes = std::fs::read(&path).unwrap();
        let text = std::fs::read(path.with_extension("json")).unwrap();
        let envelope = open(&bytes).unwrap();
        let (group, version) = envelope.api_version.rsplit_once('/').unwrap_or(("", envelope.api_version));
        let Some(message) = schema::kind(group, version, envelope.kind) else {
            // Kinds that no server serves (reviews that only webhooks see) have no row of their own.
            continue;
        };
        let from_json = match json::decode(&text, message, FieldValidation::Strict) {
            Ok(decoded) => decoded.value,
            Err(error) => {
                faults.push(format!("{name}: JSON: {error}"));
                continue;
            }
        };
        match decode(&bytes, message) {
            Ok(value) if value == from_json => {}
            Ok(value) => faults.push(format!("{name}: decoded {}", difference(&value, &from_json, String::new()))),
            Err(error) => faults.push(format!("{name}: {error}")),
        }
        match encode(&from_json, message) {
            Ok(ours) if ours == bytes => {}
            Ok(ours) => {
                let at = ours.iter().zip(&bytes).position(|(a, b)| a != b).unwrap_or(ours.len().min(bytes.len()));
                faults.push(format!("{name}: encoded differs at {at} of {} (ours {})", bytes.len(), ours.len()));
            }
            Err(error) => faults.push(format!("{name}: {error}")),
        }
        compared += 1;
    }
    assert!(faults.is_empty(), "{compared} compared, {} faults:\n{}", faults.len(), faults.join("\n"));
    assert!(compared >= 100, "only {compared} kinds were found");
}

fn difference(a: &Value, b: &Value, path: String) -> String {
    match (a, b) {
        (Value::Object(x), Value::Object(y)) => {
            for (key, value) in x.iter() {
                match y.get(key) {
                    Some(other) if other != value => return difference(value, other, format!("{path}.{key}")),
                    Some(_) => {}
                    None => return format!("{path}.{key}: only in protobuf: {value:?}"),
                }
            }
            y.iter()
                .find(|(key, _)| !x.contains_key(key))
                .map_or_else(String::new, |(key, v)| format!("{path}.{key}: only in JSON: {v:?}"))
        }
        (Value::Array(x), Value::Array(y)) if x.len() == y.len() => {
            let at = x.iter().zip(y).position(|(a, b)| a != b).unwrap_or_default();
            difference(&x[at], &y[at], format!("{path}[{at}]"))
        }
        _ => format!("{path}: {a:?} for {b:?}"),
    }
}

/// A value of a type with something in every field, as deep as `depth` messages.
fn filled(ty: &Type, depth: usize, salt: &mut i64) -> Option<Value> {
    *salt += 1;
    Some(match ty {
        Type::Bool => Value::Bool(true),
        Type::Int32 => Value::Int(-*salt),
        Type::Int64 => Value::Int(*salt << 33),
        Type::Double => Value::Float(*salt as f64 + 0.5),
        Type::String => Value::from(format!("text {salt}")),
        Type::Bytes => Value::from("AAECAw=="),
        Type::Time => Value::from("2026-11-22T10:00:00Z"),
        Type::MicroTime => Value::from("2026-11-22T10:00:00.000007Z"),
        Type::Quantity => Value::from("1500m"),
        Type::IntOrString if *salt % 2 == 0 => Value::Int(*salt),
        Type::IntOrString => Value::from("50%"),
        Type::Any => return None,
        Type::Message(message) => Value::Object(filled_fields(message, depth.checked_sub(1)?, salt)),
        Type::List(item) => Value::Array(vec![filled(item, depth, salt)?, filled(item, depth, salt)?]),
        Type::Map(item) => {
            Value::Object([("a", filled(item, depth, salt)?), ("b", filled(item, depth, salt)?)].into_iter().collect())
        }
    })
}

fn filled_fields(message: &Message, depth: usize, salt: &mut i64) -> Object {
    let held = |key: &str| {
        message.field(key).is_some_and(|f| f.proto_number != 0)
            || message.embedded.iter().any(|e| e.message.field(key).is_some_and(|f| f.proto_number != 0))
    };
    message
        .fields
        .iter()
        .filter(|field| held(&field.json))
        .filter_map(|field| Some((field.json.clone(), filled(&field.ty, depth, salt)?)))
        .collect()
}

#[test]
fn every_message_of_the_table_survives_the_wire() {
    let mut tried = 0;
    for (name, message) in schema::messages() {
        let value = Value::Object(filled_fields(message, 3, &mut 0));
        let bytes = encode_raw(&value, message).unwrap();
        let back = decode_raw(&bytes, message).unwrap();
        assert!(back == value, "{name}: {}", difference(&back, &value, String::new()));
        // Wire-only messages have no JSON decoder to hold to.
        if name.starts_with("io.") {
            let text = json::encode(&value);
            assert_eq!(json::decode(&text, message, FieldValidation::Strict).unwrap().value, value, "{name}");
        }
        tried += 1;
    }
    assert!(tried > 800);
}

#[test]
fn zero_values_are_dropped_where_go_does_not_tell_them_from_none() {
    let pod = schema::kind("", "v1", "Pod").unwrap();
    let text = crate::value!({
        "kind": "Pod", "apiVersion": "v1",
        "metadata": {"name": "", "generation": 0, "creationTimestamp": null},
        "spec": {"nodeName": "", "hostNetwork": false, "terminationGracePeriodSeconds": 0, "containers": [{"name": ""}]},
    });
    let decoded = decode(&encode(&text, pod).unwrap(), pod).unwrap();
    assert_eq!(
        decoded,
        crate::value!({
            "kind": "Pod", "apiVersion": "v1", "metadata": {},
            "spec": {"terminationGracePeriodSeconds": 0, "containers": [{"name": ""}]},
        })
    );
}

#[test]
fn lists_and_watch_frames_have_upstreams_layout() {
    let pod = schema::kind("", "v1", "Pod").unwrap();
    let list = schema::kind("", "v1", "PodList").unwrap();
    let one = crate::value!({"metadata": {"name": "a"}});
    let two = crate::value!({"metadata": {"name": "b"}});
    let bytes = encode_list("v1", "PodList", &crate::value!({"resourceVersion": "7"}), |out| {
        push_item(&one, pod, out)?;
        push_item(&two, pod, out)
    })
    .unwrap();
    let expected = crate::value!({
        "kind": "PodList", "apiVersion": "v1", "metadata": {"resourceVersion": "7"}, "items": [(one.clone()), (two)],
    });
    assert_eq!(decode(&bytes, list).unwrap(), expected);
    assert_eq!(encode(&expected, list).unwrap(), bytes);

    let object = encode(&one, pod).unwrap();
    let frame = watch_frame("ADDED", &object);
    assert_eq!(u32::from_be_bytes(frame[..4].try_into().unwrap()) as usize, frame.len() - 4);
    assert_eq!(&frame[4..11], b"\x0a\x05ADDED");
    assert!(frame.ends_with(&object));
}

#[test]
fn stored_json_is_transcoded_by_the_kind_it_names() {
    let text = br#"{"kind":"PodList","apiVersion":"v1","metadata":{"resourceVersion":"7"},"items":[{"metadata":{"name":"a"}}]}"#;
    let list = schema::kind("", "v1", "PodList").unwrap();
    assert_eq!(decode(&transcode(text).unwrap().unwrap(), list).unwrap(), json::parse(text).unwrap());
    let partial = br#"{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":{"name":"a"}}"#;
    let message = schema::message("k8s.io.apimachinery.pkg.apis.meta.v1.PartialObjectMetadata").unwrap();
    assert_eq!(decode(&transcode(partial).unwrap().unwrap(), message).unwrap(), json::parse(partial).unwrap());
    assert!(transcode(br#"{"kind":"Foo","apiVersion":"example.com/v1"}"#).is_none());
    assert!(transcode(b"x").unwrap().is_err());
}

#[test]
fn broken_bytes_are_refused() {
    let pod = schema::kind("", "v1", "Pod").unwrap();
    let whole = encode(&crate::value!({"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "a"}}), pod).unwrap();
    let expected = ("", "v1", "Pod");
    assert!(decode_body(&whole, pod, expected).is_ok());
    for cut in 0..whole.len() {
        // Cut at the end of a field it may still be a message; it never panics.
        let _ = decode(&whole[..cut], pod);
    }
    assert_eq!(decode_body(b"{}", pod, expected).unwrap_err().code, 400);
    let mut broken = whole.clone();
    broken.truncate(whole.len() - 6);
    assert_eq!(decode_body(&broken, pod, expected).unwrap_err().code, 400);
    assert_eq!(decode_body(&whole, schema::kind("", "v1", "Node").unwrap(), ("", "v1", "Node")).unwrap_err().code, 400);
}
