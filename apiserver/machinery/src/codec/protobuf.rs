//! Protobuf: a transcoder between [`Value`] and the wire form that client-go writes by default, driven by the schema
//! table: no code is generated per kind.
//!
//! Objects travel in an envelope: the bytes `k8s\0`, then `runtime.Unknown` with the kind beside the encoded message.
//! Watches send frames: four bytes of length, then a `WatchEvent` whose object is such an envelope. Fields are written in
//! the order of their numbers and maps by key, as Go's encoder does, so equal objects have equal bytes.

mod read;
mod wire;
mod write;

pub use read::{Envelope, decode, decode_body, decode_raw, open};
pub use write::{
    EncodeError, TAIL, encode, encode_raw, list_head, message_of_item, object_head, push_item, watch_frame,
};

/// What every enveloped object begins with.
pub const MAGIC: &[u8; 4] = b"k8s\0";

/// The media type.
pub const MEDIA_TYPE: &str = "application/vnd.kubernetes.protobuf";

#[cfg(test)]
mod tests;

#[allow(unused_imports, reason = "named in the documentation above")]
use crate::value::Value;
