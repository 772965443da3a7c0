//! [`Value`] to bytes, byte for byte as Go's `encoding/json` writes them: no spaces, HTML signs escaped.

use gantry_store_cache::object::NewBody;

use crate::value::{Object, Value};

/// A value as compact JSON.
#[must_use]
pub fn encode(value: &Value) -> Vec<u8> {
    let mut out = Vec::with_capacity(512);
    encode_into(value, &mut out);
    out
}

/// A value as compact JSON text.
#[must_use]
pub fn to_string(value: &Value) -> String {
    String::from_utf8(encode(value)).expect("texts are UTF-8 and all else is ASCII")
}

/// Appends a value as compact JSON.
pub fn encode_into(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::Int(number) => out.extend_from_slice(itoa::Buffer::new().format(*number).as_bytes()),
        Value::Float(number) => push_float(*number, out),
        Value::String(text) => push_string(text, out),
        Value::Array(items) => {
            out.push(b'[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                encode_into(item, out);
            }
            out.push(b']');
        }
        Value::Object(object) => {
            out.push(b'{');
            push_fields(object, out);
            out.push(b'}');
        }
    }
}

fn push_fields(object: &Object, out: &mut Vec<u8>) {
    for (index, (key, value)) in object.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        push_string(key, out);
        out.push(b':');
        encode_into(value, out);
    }
}

/// An object ready for the store: `metadata.resourceVersion` is written empty, as the first field of `metadata`, and its
/// place noted, so that the committer can fill in the revision without another encoding. A value without a `metadata`
/// object has no slot.
#[must_use]
pub fn encode_with_revision_slot(value: &Value) -> NewBody {
    let Some(object) = value.as_object() else {
        return NewBody { bytes: encode(value), revision_slot: None };
    };
    let mut out = Vec::with_capacity(1024);
    let mut slot = None;
    out.push(b'{');
    for (index, (key, value)) in object.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        push_string(key, &mut out);
        out.push(b':');
        match value {
            Value::Object(metadata) if key == "metadata" => {
                out.extend_from_slice(b"{\"resourceVersion\":\"");
                slot = Some(out.len());
                out.push(b'"');
                for (key, value) in metadata.iter() {
                    if key != "resourceVersion" {
                        out.push(b',');
                        push_string(key, &mut out);
                        out.push(b':');
                        encode_into(value, &mut out);
                    }
                }
                out.push(b'}');
            }
            other => encode_into(other, &mut out),
        }
    }
    out.push(b'}');
    NewBody { bytes: out, revision_slot: slot }
}

/// Appends a text in quotes, escaped as Go escapes it.
pub fn push_string(text: &str, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let bytes = text.as_bytes();
    out.reserve(bytes.len() + 2);
    out.push(b'"');
    let mut from = 0;
    for (at, byte) in bytes.iter().enumerate().skip(plain_words(bytes)) {
        if PLAIN[usize::from(*byte)] {
            continue;
        }
        if *byte == 0xe2 {
            // U+2028 and U+2029 end lines in JavaScript; other characters that begin like them stand.
            let Some([0x80, last @ (0xa8 | 0xa9)]) = bytes.get(at + 1..at + 3) else { continue };
            out.extend_from_slice(&bytes[from..at]);
            out.extend_from_slice(b"\\u202");
            out.push(HEX[usize::from(last & 0xf)]);
            from = at + 3;
            continue;
        }
        out.extend_from_slice(&bytes[from..at]);
        from = at + 1;
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0x8 => out.extend_from_slice(b"\\b"),
            0xc => out.extend_from_slice(b"\\f"),
            other => {
                out.extend_from_slice(b"\\u00");
                out.push(HEX[usize::from(other >> 4)]);
                out.push(HEX[usize::from(other & 0xf)]);
            }
        }
    }
    out.extend_from_slice(&bytes[from..]);
    out.push(b'"');
}

/// How many bytes at the beginning stand for themselves, looked at eight at a time.
fn plain_words(bytes: &[u8]) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = 0x8080_8080_8080_8080;
    let mut at = 0;
    while let Some(chunk) = bytes.get(at..at + 8) {
        let word = u64::from_le_bytes(chunk.try_into().expect("eight bytes were taken"));
        // A high bit comes up where a byte is below 0x20 or one of the signs (and at times beside one); what is no ASCII
        // is left to the slow look too.
        let is = |sign: u8| (word ^ (ONES * u64::from(sign))).wrapping_sub(ONES);
        let marks = word.wrapping_sub(ONES * 0x20) | is(b'"') | is(b'\\') | is(b'<') | is(b'>') | is(b'&') | word;
        if marks & HIGHS != 0 {
            return at;
        }
        at += 8;
    }
    at
}

/// Bytes that stand for themselves within quotes (but for the line ends that begin with 0xe2).
const PLAIN: [bool; 256] = {
    let mut plain = [true; 256];
    let mut at = 0;
    while at < 0x20 {
        plain[at] = false;
        at += 1;
    }
    plain[b'"' as usize] = false;
    plain[b'\\' as usize] = false;
    plain[b'<' as usize] = false;
    plain[b'>' as usize] = false;
    plain[b'&' as usize] = false;
    plain[0xe2] = false;
    plain
};

/// Go's format of a float64: plain between 1e-6 and 1e21, else with an exponent of at least one digit.
fn push_float(number: f64, out: &mut Vec<u8>) {
    use std::io::Write;
    let size = number.abs();
    let result = if !number.is_finite() {
        // JSON has no word for it, and no decoder of ours makes one.
        write!(out, "null")
    } else if size != 0.0 && !(1e-6..1e21).contains(&size) {
        let text = format!("{number:e}");
        match text.split_once('e') {
            Some((mantissa, exponent)) if !exponent.starts_with('-') => write!(out, "{mantissa}e+{exponent}"),
            _ => write!(out, "{text}"),
        }
    } else {
        write!(out, "{number}")
    };
    result.expect("writing to a Vec cannot fail");
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::*;
    use crate::value;

    #[test]
    fn texts_are_escaped_as_go_escapes_them() {
        let text = Value::from("a<b>&\"\\/\n\u{1}\u{2028}\u{2029}\u{2026}é\u{7f}");
        assert_eq!(to_string(&text), "\"a\\u003cb\\u003e\\u0026\\\"\\\\/\\n\\u0001\\u2028\\u2029\u{2026}é\u{7f}\"");
        assert_eq!(parse(&encode(&text)).unwrap(), text);
    }

    #[test]
    fn numbers_are_written_as_go_writes_them() {
        for (number, text) in [
            (1.0, "1"),
            (0.5, "0.5"),
            (1e20, "100000000000000000000"),
            (1e21, "1e+21"),
            (1.5e-7, "1.5e-7"),
            (1e-6, "0.000001"),
            (-0.0, "-0"),
        ] {
            assert_eq!(to_string(&Value::Float(number)), text);
        }
        assert_eq!(to_string(&value!([1, (-5), true, null, {}])), "[1,-5,true,null,{}]");
    }

    #[test]
    fn the_slot_is_between_the_quotes() {
        let pod = value!({"kind": "Pod", "metadata": {"name": "x", "resourceVersion": "7"}, "spec": {}});
        let mut body = encode_with_revision_slot(&pod);
        let slot = body.revision_slot.unwrap();
        body.bytes.splice(slot..slot, *b"42");
        assert_eq!(
            String::from_utf8(body.bytes).unwrap(),
            r#"{"kind":"Pod","metadata":{"resourceVersion":"42","name":"x"},"spec":{}}"#
        );
        assert_eq!(encode_with_revision_slot(&value!({"a": 1})).revision_slot, None);
    }
}
