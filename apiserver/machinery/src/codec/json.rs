//! JSON: bytes to [`Value`] and back, in the dialect of Go's encoder, which every client of the API was written against.
//!
//! On the path of every write ([`decode`], guided by the schema, then [`encode_with_revision_slot`]) and of whatever
//! reads a stored body ([`parse`], or [`pick`] for a few fields without building a tree). Own code, because the hot path
//! needs what no general parser gives: keys taken from the schema table without allocation, unknown and duplicate fields
//! reported by path, Go's error texts, and the place of `resourceVersion` in the output.

mod conform;
mod decode;
mod encode;
mod interop;
mod lean;
mod pick;
mod scan;

pub use conform::conform;
pub use decode::{DecodeError, Decoded, decode, decode_body, decode_value, repeated};
pub(super) use decode::{expect_kind, is_zero, zero};
pub use encode::{encode, encode_into, encode_with_revision_slot, push_string, to_string};
pub use interop::{from_value, to_value};
pub use lean::lean;
pub use pick::{Raw, pick};
pub use scan::{MAX_DEPTH, SyntaxError, parse, parse_own};

#[allow(unused_imports, reason = "named in the documentation above")]
use crate::value::Value;
