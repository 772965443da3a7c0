//! The codecs against everything at once: upstream's filled objects, our own generated ones, and bytes made to break them.
//!
//! ```text
//! golden     every kind that upstream ships filled (GANTRY_GOLDEN names the folder), byte for byte
//! transcode  every message of the schema table, filled from a seed: JSON ⇄ protobuf ⇄ YAML
//! fuzz       every decoder on mutated bytes: no panic, memory bounded by the input
//! ```
//!
//! All of it is seeded and repeats; `GANTRY_FUZZ_ROUNDS` and `GANTRY_FUZZ_SEED` look further.

mod allocations;
mod corpus;
mod fuzz;
mod golden;
mod transcode;

use gantry_machinery::codec::json;
use gantry_machinery::value::Value;

/// A value as JSON with its keys sorted: two encodings of one object have one such text.
fn canonical(value: &Value) -> String {
    json::to_string(&one_zero(value.sorted()))
}

/// JSON's `-0` reads as an integer, which has but one zero.
fn one_zero(value: Value) -> Value {
    match value {
        Value::Array(items) => Value::Array(items.into_iter().map(one_zero).collect()),
        Value::Object(fields) => Value::Object(fields.into_iter().map(|(key, value)| (key, one_zero(value))).collect()),
        Value::Float(0.0) => Value::Int(0),
        other => other,
    }
}

/// Where two texts part, with what stands there.
fn parting<'t>(ours: &'t str, theirs: &'t str) -> String {
    let at = ours.bytes().zip(theirs.bytes()).position(|(a, b)| a != b).unwrap_or(ours.len().min(theirs.len()));
    let around = |text: &str| {
        let bytes = text.as_bytes();
        let window = &bytes[at.saturating_sub(60)..bytes.len().min(at + 40)];
        String::from_utf8_lossy(window).into_owned()
    };
    format!("at {at}: …{}… for …{}…", around(ours), around(theirs))
}
