//! A hand-made kind for the tests of patches: a Deployment-like object with every way to merge.

use std::borrow::Cow;
use std::sync::LazyLock;

use crate::schema::{Field, Merge, Message, Patch, Presence, ProtoWire, Ref, Type};

fn message(name: &'static str, mut fields: Vec<Field>) -> Message {
    fields.sort_by(|a, b| a.json.cmp(&b.json));
    Message {
        name: name.into(),
        go_name: name.into(),
        fields: fields.into(),
        embedded: Cow::Borrowed(&[]),
        atomic: false,
        preserve_unknown: false,
        kinds: Cow::Borrowed(&[]),
    }
}

fn field(json: &'static str, ty: Type) -> Field {
    Field {
        json: json.into(),
        ty,
        required: false,
        merge: Merge::Natural,
        patch: Patch::default(),
        proto_number: 0,
        proto_wire: ProtoWire::Natural,
        presence: Presence::OmitZero,
    }
}

fn merging(mut field: Field, keys: &[&'static str]) -> Field {
    field.merge = match keys {
        [] => Merge::Set,
        keys => Merge::ListMap(keys.iter().map(|k| Cow::Borrowed(*k)).collect::<Vec<_>>().into()),
    };
    field.patch =
        Patch { merge: true, retain_keys: false, merge_key: keys.first().copied().unwrap_or_default().into() };
    field
}

fn list(item: Type) -> Type {
    Type::List(Ref::Shared(item.into()))
}

fn map(item: Type) -> Type {
    Type::Map(Ref::Shared(item.into()))
}

fn object(message: Message) -> Type {
    Type::Message(Ref::Shared(message.into()))
}

/// `example/v1 Sample`.
pub(in crate::patch) fn message_of_sample() -> &'static Message {
    static SAMPLE: LazyLock<Message> = LazyLock::new(|| {
        let port = message(
            "Port",
            vec![field("containerPort", Type::Int32), field("protocol", Type::String), field("name", Type::String)],
        );
        let container = message(
            "Container",
            vec![
                field("name", Type::String),
                field("image", Type::String),
                field("args", list(Type::String)),
                merging(field("ports", list(object(port))), &["containerPort", "protocol"]),
            ],
        );
        let strategy = message(
            "Strategy",
            vec![
                field("type", Type::String),
                field("rollingUpdate", object(message("Rolling", vec![field("maxSurge", Type::IntOrString)]))),
            ],
        );
        let mut selector = field("selector", map(Type::String));
        selector.merge = Merge::Atomic;
        let spec = message(
            "Spec",
            vec![
                field("replicas", Type::Int32),
                field("paused", Type::Bool),
                field("args", list(Type::String)),
                selector,
                field("strategy", object(strategy)),
                field("extra", Type::Any),
                merging(field("containers", list(object(container))), &["name"]),
            ],
        );
        let owner = message("Owner", vec![field("uid", Type::String), field("name", Type::String)]);
        let metadata = message(
            "ObjectMeta",
            vec![
                field("name", Type::String),
                field("namespace", Type::String),
                field("uid", Type::String),
                field("resourceVersion", Type::String),
                field("generation", Type::Int64),
                field("labels", map(Type::String)),
                field("annotations", map(Type::String)),
                field("managedFields", list(Type::Any)),
                merging(field("finalizers", list(Type::String)), &[]),
                merging(field("ownerReferences", list(object(owner))), &["uid"]),
            ],
        );
        let condition = message("Condition", vec![field("type", Type::String), field("status", Type::String)]);
        let status = message(
            "Status",
            vec![field("phase", Type::String), merging(field("conditions", list(object(condition))), &["type"])],
        );
        message(
            "Sample",
            vec![
                field("apiVersion", Type::String),
                field("kind", Type::String),
                field("metadata", object(metadata)),
                field("spec", object(spec)),
                field("status", object(status)),
            ],
        )
    });
    &SAMPLE
}
