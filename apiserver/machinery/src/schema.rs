//! The table of kinds and fields that drives every codec, validation of field names and types, patch and apply.
//!
//! Built-in kinds are `static` rows generated from facts about 1.36 ([`generated`]); a CustomResourceDefinition compiles
//! to the same rows on the heap. Nothing here is per kind: adding a kind adds rows.

mod generated;
mod row;

use std::borrow::Cow;
use std::cmp::Ordering;
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
        Some(&self.fields[self.field_index(json)?])
    }

    /// The place in [`Message::fields`] of the field with this JSON name.
    #[must_use]
    pub fn field_index(&self, json: &str) -> Option<usize> {
        // First bytes settle most steps without a call to compare the rest.
        let wanted = json.as_bytes();
        let first = *wanted.first()?;
        self.fields
            .binary_search_by(|field| {
                let name = field.json.as_bytes();
                name.first().map_or(Ordering::Less, |byte| byte.cmp(&first)).then_with(|| name.cmp(wanted))
            })
            .ok()
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
    /// Whether a zero value differs from none.
    pub presence: Presence,
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

/// What a zero value (`false`, `0`, an empty text, list or map) of a field means: how the Go struct declares it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Presence {
    /// The same as none, and not written: decoders drop it, so that "absent" has one form everywhere.
    #[default]
    OmitZero,
    /// The same as none, but written nevertheless (`containers[].name`): kept as it came.
    Always,
    /// Not the same as none (`replicas: 0`, a pointer in Go): kept.
    Distinct,
}

/// Protobuf facts that the JSON type does not carry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ProtoWire {
    /// As the type says: varint for booleans and integers, length-delimited for the rest.
    #[default]
    Natural,
    /// A list wrapped in a message of its own (`Verbs`, `ExtraValue`).
    Wrapped,
    /// A schema (field 1) or a list of them (field 2).
    SchemaOrArray,
    /// A boolean (field 1) or a schema (field 2).
    SchemaOrBool,
    /// A schema (field 1) or a list of texts (field 2).
    SchemaOrStrings,
}

/// The object type of this name: an OpenAPI definition's (`io.k8s.api.core.v1.Pod`), or for messages that exist on the
/// wire alone the protobuf name (`k8s.io.apimachinery.pkg.runtime.Unknown`).
#[must_use]
pub fn message(name: &str) -> Option<&'static Message> {
    find(&generated::MESSAGES, name)
}

/// Every object type of the table, by name.
pub fn messages() -> impl Iterator<Item = (&'static str, &'static Message)> {
    generated::MESSAGES.iter().copied()
}

/// The object type of a built-in kind; the core group is the empty text.
#[must_use]
pub fn kind(group: &str, version: &str, kind: &str) -> Option<&'static Message> {
    let name = if group.is_empty() { format!("{version}/{kind}") } else { format!("{group}/{version}/{kind}") };
    find(&generated::KINDS, &name)
}

fn find(table: &[(&str, &'static Message)], name: &str) -> Option<&'static Message> {
    let at = table.binary_search_by(|(n, _)| (*n).cmp(name)).ok()?;
    Some(table[at].1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_and_messages_are_found_with_their_fields() {
        let pod = kind("", "v1", "Pod").expect("pods are built in");
        assert_eq!((&*pod.name, &*pod.go_name), ("io.k8s.api.core.v1.Pod", "v1.Pod"));
        let Some(Field { ty: Type::Message(spec), .. }) = pod.field("spec") else { panic!("pods have a spec") };
        let containers = spec.field("containers").expect("pods have containers");
        assert_eq!((containers.proto_number, containers.required), (2, true));
        assert_eq!(containers.merge, Merge::ListMap(Cow::Borrowed(&[Cow::Borrowed("name")])));
        assert_eq!((containers.patch.merge, &*containers.patch.merge_key), (true, "name"));
        assert!(
            matches!(&containers.ty, Type::List(item) if matches!(&**item, Type::Message(m) if m.go_name == "v1.Container"))
        );
        let volume = message("io.k8s.api.core.v1.Volume").expect("volumes have a type");
        assert!(volume.embedded[0].message.field("hostPath").is_some());
        assert!(message("k8s.io.apimachinery.pkg.runtime.Unknown").is_some());
        assert!(kind("apps", "v1", "Pod").is_none());
    }

    #[test]
    fn fields_are_sorted_in_every_row() {
        for (name, message) in &generated::MESSAGES {
            assert!(message.fields.is_sorted_by(|a, b| a.json < b.json), "{name}");
        }
        assert!(generated::MESSAGES.is_sorted_by(|a, b| a.0 < b.0));
        assert!(generated::KINDS.is_sorted_by(|a, b| a.0 < b.0));
    }
}
