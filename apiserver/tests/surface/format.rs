//! The three formats as a client sees them: how a body is written, how an answer is read.

use gantry_machinery::codec::{json, protobuf, yaml};
use gantry_machinery::schema::{self, Message};
use gantry_machinery::value::Value;

/// A wire format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Format {
    Json,
    Yaml,
    Protobuf,
}

impl Format {
    pub(crate) const ALL: [Self; 3] = [Self::Json, Self::Yaml, Self::Protobuf];

    pub(crate) fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Yaml => "application/yaml",
            Self::Protobuf => "application/vnd.kubernetes.protobuf",
        }
    }

    /// The object's bytes; it names its own kind.
    pub(crate) fn write(self, object: &Value) -> Vec<u8> {
        match self {
            Self::Json => json::encode(object),
            Self::Yaml => yaml::encode(object),
            Self::Protobuf => {
                let [api_version, kind] = ["apiVersion", "kind"].map(|f| object.str_at(&[f]).unwrap_or_default());
                protobuf::encode(object, message(api_version, kind)).unwrap()
            }
        }
    }

    /// The object in bytes, whatever kind it says it is.
    pub(crate) fn read(self, bytes: &[u8]) -> Result<Value, String> {
        match self {
            Self::Json => json::parse(bytes).map_err(|e| e.to_string()),
            Self::Yaml => yaml::parse(bytes).map_err(|e| e.to_string()),
            Self::Protobuf => {
                let envelope = protobuf::open(bytes).map_err(|e| e.to_string())?;
                protobuf::decode(bytes, message(envelope.api_version, envelope.kind)).map_err(|e| e.to_string())
            }
        }
    }
}

/// The type of a kind, those included that only the wire knows.
fn message(api_version: &str, kind: &str) -> &'static Message {
    let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
    schema::kind(group, version, kind)
        .or_else(|| schema::message(&format!("k8s.io.apimachinery.pkg.apis.meta.v1.{kind}")))
        .unwrap_or_else(|| panic!("{api_version} {kind} has no type"))
}

/// The object of a watch's first frame, with the event's type; `None` while there is no whole frame.
pub(crate) fn first_event(format: Format, bytes: &[u8]) -> Option<(String, Value)> {
    if format != Format::Protobuf {
        let line = bytes.split(|b| *b == b'\n').next().filter(|line| line.len() < bytes.len())?;
        let event = json::parse(line).unwrap();
        return Some((event.str_at(&["type"])?.to_owned(), event.get("object")?.clone()));
    }
    let length = u32::from_be_bytes(bytes.get(..4)?.try_into().ok()?) as usize;
    let frame = bytes.get(4..4 + length)?;
    // Type (field 1) and the object's envelope (field 1 of field 2), by hand: no decoder of ours is on both sides.
    let (kind, rest) = delimited(frame, 0x0a);
    let (raw, _) = delimited(rest, 0x12);
    let (object, _) = delimited(raw, 0x0a);
    Some((String::from_utf8(kind.to_vec()).unwrap(), Format::Protobuf.read(object).unwrap()))
}

/// A length-delimited field, and what follows it.
fn delimited(bytes: &[u8], tag: u8) -> (&[u8], &[u8]) {
    assert_eq!(bytes[0], tag, "another field was expected");
    let (mut length, mut at, mut shift) = (0_usize, 1, 0);
    loop {
        let byte = bytes[at];
        length |= usize::from(byte & 0x7f) << shift;
        (at, shift) = (at + 1, shift + 7);
        if byte & 0x80 == 0 {
            return bytes[at..].split_at(length);
        }
    }
}
