//! The table of kinds and fields that drives every codec, validation of field names and types, patch and apply.
//!
//! Built-in kinds are `static` rows generated from facts about 1.36 ([`generated`]); a CustomResourceDefinition compiles
//! to the same rows on the heap. Nothing here is per kind: adding a kind adds rows.

use std::borrow::Cow;
use std::ops::Deref;
use std::sync::Arc;

use compact_str::CompactString;

/// A shared row: `static` for built-in kinds, counted for custom ones.
#[derive(Debug)]
pub enum Ref<T: 'static> {
    /// A row of the generated table.
    Static(&'static T),
    /// A row compiled at run time.
    Shared(Arc<T>),
}

impl<T> Clone for Ref<T> {
    fn clone(&self) -> Self {
        match self {
            Self::Static(row) => Self::Static(row),
            Self::Shared(row) => Self::Shared(row.clone()),
        }
    }
}

impl<T> Deref for Ref<T> {
    type Target = T;
    fn deref(&self) -> &T {
        match self {
            Self::Static(row) => row,
            Self::Shared(row) => row,
        }
    }
}

/// An object type: its fields by JSON name.
#[derive(Debug)]
pub struct Message {
    /// The OpenAPI definition's name (`io.k8s.api.core.v1.Pod`).
    pub name: Cow<'static, str>,
    /// The Go type's name as decoding errors say it (`v1.Pod`, `PodSpec`).
    pub go_name: Cow<'static, str>,
    /// The fields, sorted by JSON name.
    pub fields: Cow<'static, [Field]>,
    /// Protobuf messages whose fields stand inline in JSON (`Volume`'s `VolumeSource`).
    pub embedded: Cow<'static, [Embedded]>,
    /// Whether apply and merge patches of a custom resource take this object as one value
    /// (`x-kubernetes-map-type: atomic`).
    pub atomic: bool,
    /// Whether unknown fields are kept (`x-kubernetes-preserve-unknown-fields`); never for built-in kinds.
    pub preserve_unknown: bool,
    /// `group/version/Kind` of each kind that this type is (`v1/Pod` for the core group).
    pub kinds: Cow<'static, [Cow<'static, str>]>,
}

impl Message {
    /// The field with this JSON name.
    #[must_use]
    pub fn field(&self, json: &str) -> Option<&Field> {
        let at = self.fields.binary_search_by(|f| f.json.as_str().cmp(json)).ok()?;
        Some(&self.fields[at])
    }
}

/// One field of an object type.
#[derive(Clone, Debug)]
pub struct Field {
    /// Its name in JSON: a constant key that decoders clone without allocating.
    pub json: CompactString,
    /// What it holds.
    pub ty: Type,
    /// Whether OpenAPI calls it required (the server's validation decides what really is).
    pub required: bool,
    /// How lists and maps merge under server-side apply.
    pub merge: Merge,
    /// How strategic merge patch treats it.
    pub patch: Patch,
    /// Its protobuf number, 0 where it has none of its own (see [`Message::embedded`]).
    pub proto_number: u32,
    /// The protobuf field's wire type, where the type alone does not tell.
    pub proto_wire: ProtoWire,
}

/// A protobuf message whose JSON fields are the parent's own.
#[derive(Clone, Debug)]
pub struct Embedded {
    /// The number of the field that holds it in the parent's message.
    pub number: u32,
    /// The inlined message: its fields carry their own numbers inside it.
    pub message: Ref<Message>,
}

/// What a field holds.
#[derive(Clone, Debug)]
pub enum Type {
    /// `true` or `false`.
    Bool,
    /// A 32-bit integer.
    Int32,
    /// A 64-bit integer.
    Int64,
    /// A floating-point number.
    Double,
    /// A text.
    String,
    /// Bytes, base64 in JSON.
    Bytes,
    /// RFC 3339 with seconds.
    Time,
    /// RFC 3339 with microseconds.
    MicroTime,
    /// A resource quantity: a text or a number in JSON.
    Quantity,
    /// A text or a 32-bit integer.
    IntOrString,
    /// Any JSON at all (RawExtension, FieldsV1, JSON).
    Any,
    /// An object with known fields.
    Message(Ref<Message>),
    /// A list.
    List(Ref<Type>),
    /// An object with free keys.
    Map(Ref<Type>),
}

/// `x-kubernetes-list-type`, `x-kubernetes-map-type`: how apply merges a list, a map or an object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Merge {
    /// As its type has it: lists are atomic, maps and objects granular.
    #[default]
    Natural,
    /// One owner, replaced whole.
    Atomic,
    /// A set of scalars.
    Set,
    /// A list of objects told apart by these fields.
    ListMap(Cow<'static, [Cow<'static, str>]>),
}

/// `x-kubernetes-patch-strategy`, `-merge-key`: how strategic merge patch treats a field.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Patch {
    /// Lists merge instead of being replaced.
    pub merge: bool,
    /// `$retainKeys`: fields that the patch does not name are dropped.
    pub retain_keys: bool,
    /// The field that tells items apart; empty for lists of scalars.
    pub merge_key: Cow<'static, str>,
}

/// Protobuf facts that the JSON type does not carry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ProtoWire {
    /// As the type says: varint for booleans and integers, length-delimited for the rest.
    #[default]
    Natural,
    /// A list wrapped in a message of its own (`Verbs`, `ExtraValue`).
    Wrapped,
}
