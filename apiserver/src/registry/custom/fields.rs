//! A structural schema as rows of the schema table: what server-side apply and managedFields of custom resources go by,
//! the same as for built-in kinds.

use std::borrow::Cow;
use std::sync::Arc;

use gantry_machinery::schema::{self, Field, Merge, Message, Patch, Presence, ProtoWire, Ref, Type};

use super::schema::{Additional, ListType, Schema, Ty};

/// The type of every object's metadata.
pub(super) const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";

/// The type of a whole custom object. `name` is its OpenAPI name, `kind` its group, version and kind as the table has it.
pub(crate) fn message(schema: &Schema, name: String, kind: String) -> Message {
    let mut message = object(schema, true);
    message.go_name = Cow::Owned(kind.rsplit('/').next().unwrap_or_default().to_owned());
    message.name = Cow::Owned(name);
    message.kinds = Cow::Owned(vec![Cow::Owned(kind)]);
    message
}

/// What a body is read by before its schema has a say: metadata is typed, everything else is taken as it comes, so that
/// validation can tell what is wrong with it.
pub(crate) fn envelope(kind: &str) -> Message {
    Message {
        name: Cow::Owned(kind.to_owned()),
        go_name: Cow::Owned(kind.to_owned()),
        fields: Cow::Owned(meta_fields()),
        embedded: Cow::Borrowed(&[]),
        atomic: false,
        preserve_unknown: true,
        kinds: Cow::Borrowed(&[]),
    }
}

fn meta_fields() -> Vec<Field> {
    let metadata = schema::message(OBJECT_META).expect("the generated table has ObjectMeta");
    vec![
        field("apiVersion", Type::String, Merge::Natural),
        field("kind", Type::String, Merge::Natural),
        field("metadata", Type::Message(Ref::Static(metadata)), Merge::Natural),
    ]
}

fn object(schema: &Schema, root: bool) -> Message {
    let mut fields: Vec<Field> = Vec::with_capacity(schema.properties.len() + 3);
    let meta = root || schema.embedded;
    if meta {
        fields.extend(meta_fields());
    }
    for (name, below) in &schema.properties {
        if meta && matches!(name.as_str(), "apiVersion" | "kind" | "metadata") {
            continue;
        }
        fields.push(field(name, ty(below), merge(below)));
    }
    fields.sort_by(|a, b| a.json.cmp(&b.json));
    Message {
        name: Cow::Borrowed(""),
        go_name: Cow::Borrowed(""),
        fields: Cow::Owned(fields),
        embedded: Cow::Borrowed(&[]),
        atomic: schema.atomic_map,
        preserve_unknown: schema.preserve_unknown,
        kinds: Cow::Borrowed(&[]),
    }
}

fn ty(schema: &Schema) -> Type {
    if schema.int_or_string {
        return Type::IntOrString;
    }
    match schema.ty {
        Some(Ty::Object) => match &schema.additional {
            Some(Additional::Schema(below)) if schema.properties.is_empty() => {
                Type::Map(Ref::Shared(Arc::new(ty(below))))
            }
            Some(Additional::Allowed(true)) if schema.properties.is_empty() => Type::Any,
            _ if schema.properties.is_empty() && schema.preserve_unknown && !schema.embedded && !schema.atomic_map => {
                Type::Any
            }
            _ => Type::Message(Ref::Shared(Arc::new(object(schema, false)))),
        },
        Some(Ty::Array) => Type::List(Ref::Shared(Arc::new(schema.items.as_deref().map_or(Type::Any, ty)))),
        Some(Ty::String) => Type::String,
        Some(Ty::Integer) => Type::Int64,
        Some(Ty::Number) => Type::Double,
        Some(Ty::Boolean) => Type::Bool,
        None => Type::Any,
    }
}

fn merge(schema: &Schema) -> Merge {
    match &schema.list {
        _ if schema.atomic_map => Merge::Atomic,
        ListType::Atomic => Merge::Natural,
        ListType::Set => Merge::Set,
        ListType::Map(keys) => Merge::ListMap(keys.iter().map(|key| Cow::Owned(key.to_string())).collect()),
    }
}

fn field(json: &str, ty: Type, merge: Merge) -> Field {
    Field {
        json: json.into(),
        ty,
        required: false,
        merge,
        patch: Patch::default(),
        proto_number: 0,
        proto_wire: ProtoWire::Natural,
        presence: Presence::Distinct,
    }
}
