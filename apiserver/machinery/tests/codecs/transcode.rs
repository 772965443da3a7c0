//! Every message of the schema table, filled from a seed, through every format and back.

use gantry_machinery::codec::{json, protobuf, yaml};
use gantry_machinery::resource_api::FieldValidation;
use gantry_machinery::schema::{self, Message};
use gantry_machinery::value::Value;

use super::corpus::Corpus;
use super::{canonical, parting};

/// JSON → value → protobuf → value → protobuf, and JSON → YAML → value: one object all the way.
fn check(name: &str, message: &Message, object: &Value) -> Result<(), String> {
    let text = canonical(object);
    let same = |stage: &str, value: &Value| {
        let found = canonical(value);
        if found == text { Ok(()) } else { Err(format!("{name}: {stage}: {}", parting(&found, &text))) }
    };
    let bytes = json::encode(object);
    // What only the wire knows has no JSON decoder to hold to.
    if name.starts_with("io.") && (message.kinds.is_empty() || message.field("kind").is_some()) {
        let read = json::decode(&bytes, message, FieldValidation::Strict).map_err(|e| format!("{name}: JSON: {e}"))?;
        same("JSON", &read.value)?;
        if json::encode(&read.value) != bytes {
            return Err(format!("{name}: JSON is not written as it was read"));
        }
        let document = yaml::encode(object);
        let read =
            yaml::decode(&document, message, FieldValidation::Strict).map_err(|e| format!("{name}: YAML: {e}"))?;
        same("YAML", &read.value)?;
    }
    let enveloped = !message.kinds.is_empty();
    let write = |value: &Value| {
        let written = if enveloped { protobuf::encode(value, message) } else { protobuf::encode_raw(value, message) };
        written.map_err(|e| format!("{name}: {e}"))
    };
    let wire = write(object)?;
    let read = if enveloped { protobuf::decode(&wire, message) } else { protobuf::decode_raw(&wire, message) };
    let read = read.map_err(|e| format!("{name}: protobuf: {e}"))?;
    same("protobuf", &read)?;
    if write(&read)? != wire {
        return Err(format!("{name}: protobuf is not written as it was read"));
    }
    Ok(())
}

#[test]
fn every_message_survives_every_format() {
    let mut faults = Vec::new();
    let mut tried = 0;
    for (at, (name, message)) in schema::messages().enumerate() {
        let mut corpus = Corpus::new(0x6761_6e74_7279 + at as u64);
        // All fields, most, and few.
        for omit in [0, 3, 6] {
            let object = corpus.object(message, omit);
            faults.extend(check(name, message, &object).err());
            tried += 1;
        }
    }
    faults.truncate(30);
    assert!(faults.is_empty(), "{} faults or more:\n{}", faults.len(), faults.join("\n"));
    assert!(tried > 2_400, "only {tried} objects were made");
}
