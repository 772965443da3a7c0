//! Constructors of rows, for the generated tables: everything is a constant.

pub(super) use std::borrow::Cow;

use compact_str::CompactString;

pub(super) use super::{Embedded, Field, Merge, Message, Patch, Presence, ProtoWire, Ref, Type};

pub(super) const NATURAL: Merge = Merge::Natural;
pub(super) const ATOMIC: Merge = Merge::Atomic;
pub(super) const SET: Merge = Merge::Set;
pub(super) const NO_PATCH: Patch = Patch { merge: false, retain_keys: false, merge_key: Cow::Borrowed("") };

pub(super) const fn by_keys(keys: &'static [Cow<'static, str>]) -> Merge {
    Merge::ListMap(Cow::Borrowed(keys))
}

pub(super) const fn patched(merge: bool, retain_keys: bool, merge_key: &'static str) -> Patch {
    Patch { merge, retain_keys, merge_key: Cow::Borrowed(merge_key) }
}

pub(super) const OMIT: Presence = Presence::OmitZero;
pub(super) const ALWAYS: Presence = Presence::Always;
pub(super) const DISTINCT: Presence = Presence::Distinct;

/// An optional field without anything particular: dropped when zero.
pub(super) const fn plain(json: &'static str, ty: Type, proto_number: u32) -> Field {
    field(json, ty, false, NATURAL, NO_PATCH, proto_number, ProtoWire::Natural, OMIT)
}

/// An optional field whose zero differs from none.
pub(super) const fn distinct(json: &'static str, ty: Type, proto_number: u32) -> Field {
    field(json, ty, false, NATURAL, NO_PATCH, proto_number, ProtoWire::Natural, DISTINCT)
}

/// A required field that is written always.
pub(super) const fn always(json: &'static str, ty: Type, proto_number: u32) -> Field {
    field(json, ty, true, NATURAL, NO_PATCH, proto_number, ProtoWire::Natural, ALWAYS)
}

#[allow(clippy::too_many_arguments, reason = "a row is what it is")]
pub(super) const fn field(
    json: &'static str,
    ty: Type,
    required: bool,
    merge: Merge,
    patch: Patch,
    proto_number: u32,
    proto_wire: ProtoWire,
    presence: Presence,
) -> Field {
    Field { json: CompactString::const_new(json), ty, required, merge, patch, proto_number, proto_wire, presence }
}
