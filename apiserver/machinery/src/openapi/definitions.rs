//! Types as OpenAPI schemas, each defined once per document.

use serde_json::{Map, Value as Json, json};

use super::pieces::Pieces;
use super::{CustomSchemas, Describe, Language, MetaRefs};
use crate::schema::{self, Field, Merge, Message, Ref, Type};

const TIME: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Time";
const MICRO_TIME: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime";
const QUANTITY: &str = "io.k8s.apimachinery.pkg.api.resource.Quantity";
const INT_OR_STRING: &str = "io.k8s.apimachinery.pkg.util.intstr.IntOrString";
const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";
const LIST_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta";

const STATUS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Status";

/// The name under which a patch's body is defined.
pub(super) const PATCH: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Patch";

/// The definitions that a document needs.
pub(super) struct Definitions<'a> {
    language: Language,
    texts: &'a dyn Describe,
    custom: &'a CustomSchemas,
    made: Pieces,
}

impl<'a> Definitions<'a> {
    pub(super) fn new(language: Language, texts: &'a dyn Describe, custom: &'a CustomSchemas) -> Self {
        Self { language, texts, custom, made: Pieces::default() }
    }

    /// A reference to a type, which is defined with all it is made of.
    pub(super) fn add(&mut self, message: &Ref<Message>) -> Json {
        if !self.made.contains(&message.name) {
            // Named before its fields are walked: types may hold themselves.
            self.made.insert(message.name.to_string(), &Json::Null);
            let schema = self.custom(&message.name).unwrap_or_else(|| self.object(message));
            self.made.insert(message.name.to_string(), &schema);
        }
        self.language.reference(&message.name)
    }

    /// The schema of a custom type.
    fn custom(&mut self, name: &str) -> Option<Json> {
        let make = self.custom.get(name)?;
        let metadata = schema::message(OBJECT_META).map(Ref::Static).map(|meta| self.add(&meta)).unwrap_or_default();
        make(&MetaRefs { v3: self.language == Language::V3, metadata })
    }

    /// A reference to the list of a type: the table's own, or one made up of what all lists have.
    pub(super) fn add_list(&mut self, of: &Ref<Message>, list: Option<&Ref<Message>>, gvk: &Json) -> Json {
        if let Some(list) = list {
            return self.add(list);
        }
        let name = format!("{}List", of.name);
        let item = self.add(of);
        let metadata = self.standard(
            LIST_META,
            json!({
                "type": "object",
                "properties": {
                    "continue": {"type": "string"}, "remainingItemCount": {"type": "integer", "format": "int64"},
                    "resourceVersion": {"type": "string"}, "selfLink": {"type": "string"},
                },
            }),
        );
        let mut gvk = gvk.clone();
        gvk["kind"] = format!("{}List", gvk["kind"].as_str().unwrap_or_default()).into();
        let schema = json!({
            "type": "object", "required": ["items"],
            "properties": {
                "apiVersion": {"type": "string"}, "kind": {"type": "string"}, "metadata": metadata,
                "items": {"type": "array", "items": item},
            },
            "x-kubernetes-group-version-kind": [gvk],
        });
        if !self.made.contains(&name) {
            self.made.insert(name.clone(), &schema);
        }
        self.language.reference(&name)
    }

    /// A reference to the body of a patch.
    pub(super) fn add_patch(&mut self) -> Json {
        self.standard(PATCH, json!({"type": "object"}))
    }

    /// A reference to what failures, and deletions, answer: the table's own if it was added.
    pub(super) fn status(&mut self) -> Json {
        self.standard(STATUS, json!({"type": "object"}))
    }

    /// The definitions by name.
    pub(super) fn finish(self) -> Pieces {
        self.made
    }

    fn standard(&mut self, name: &str, mut schema: Json) -> Json {
        if !self.made.contains(name) {
            if let Some(text) = self.texts.definition(name) {
                schema["description"] = text.into();
            }
            self.made.insert(name.to_owned(), &schema);
        }
        self.language.reference(name)
    }

    fn object(&mut self, message: &Message) -> Json {
        let mut schema = Map::new();
        if let Some(text) = self.texts.definition(&message.name) {
            schema.insert("description".into(), text.into());
        }
        schema.insert("type".into(), "object".into());
        let properties: Map<String, Json> =
            message.fields.iter().map(|field| (field.json.to_string(), self.field(message, field))).collect();
        if !properties.is_empty() {
            schema.insert("properties".into(), properties.into());
        }
        let required: Vec<&str> = message.fields.iter().filter(|f| f.required).map(|f| f.json.as_str()).collect();
        if !required.is_empty() {
            schema.insert("required".into(), required.into());
        }
        if message.atomic {
            schema.insert("x-kubernetes-map-type".into(), "atomic".into());
        }
        if message.preserve_unknown {
            schema.insert("x-kubernetes-preserve-unknown-fields".into(), true.into());
        }
        if !message.kinds.is_empty() {
            let kinds = message.kinds.iter().map(|kind| group_version_kind(kind));
            schema.insert("x-kubernetes-group-version-kind".into(), kinds.collect());
        }
        Json::Object(schema)
    }

    fn field(&mut self, message: &Message, field: &Field) -> Json {
        let mut schema = self.ty(&field.ty);
        if let Some(text) = self.texts.field(&message.name, &field.json) {
            schema = self.with_siblings(schema);
            schema["description"] = text.into();
        }
        // The one scalar default that decides what an item is: ports are told apart by protocol.
        if field.json == "protocol"
            && (message.name.ends_with("ContainerPort") || message.name.ends_with("ServicePort"))
        {
            schema["default"] = "TCP".into();
        }
        match (&field.merge, &field.ty) {
            (Merge::Natural, _) => {}
            (Merge::Atomic, Type::List(_)) => schema["x-kubernetes-list-type"] = "atomic".into(),
            (Merge::Atomic, _) => {
                schema = self.with_siblings(schema);
                schema["x-kubernetes-map-type"] = "atomic".into();
            }
            (Merge::Set, _) => schema["x-kubernetes-list-type"] = "set".into(),
            (Merge::ListMap(keys), _) => {
                schema["x-kubernetes-list-type"] = "map".into();
                schema["x-kubernetes-list-map-keys"] = json!(keys);
            }
        }
        let strategy = match (field.patch.merge, field.patch.retain_keys) {
            (true, true) => "merge,retainKeys",
            (true, false) => "merge",
            (false, true) => "retainKeys",
            (false, false) => return schema,
        };
        schema = self.with_siblings(schema);
        schema["x-kubernetes-patch-strategy"] = strategy.into();
        if !field.patch.merge_key.is_empty() {
            schema["x-kubernetes-patch-merge-key"] = json!(field.patch.merge_key);
        }
        schema
    }

    /// In v3, nothing may stand beside a reference.
    fn with_siblings(&self, schema: Json) -> Json {
        if self.language == Language::V3 && schema.get("$ref").is_some() { json!({"allOf": [schema]}) } else { schema }
    }

    fn ty(&mut self, ty: &Type) -> Json {
        let one_of = |numbers: Json| match self.language {
            Language::V2 => json!({"type": "string"}),
            Language::V3 => json!({"oneOf": [{"type": "string"}, numbers]}),
        };
        match ty {
            Type::Bool => json!({"type": "boolean"}),
            Type::Int32 => json!({"type": "integer", "format": "int32"}),
            Type::Int64 => json!({"type": "integer", "format": "int64"}),
            Type::Double => json!({"type": "number", "format": "double"}),
            Type::String => json!({"type": "string"}),
            Type::Bytes => json!({"type": "string", "format": "byte"}),
            Type::Time => self.standard(TIME, json!({"type": "string", "format": "date-time"})),
            Type::MicroTime => self.standard(MICRO_TIME, json!({"type": "string", "format": "date-time"})),
            Type::Quantity => {
                let schema = one_of(json!({"type": "number"}));
                self.standard(QUANTITY, schema)
            }
            Type::IntOrString => {
                let mut schema = one_of(json!({"type": "integer"}));
                schema["format"] = "int-or-string".into();
                self.standard(INT_OR_STRING, schema)
            }
            Type::Any => json!({"type": "object"}),
            Type::Message(message) => self.add(message),
            Type::List(item) => json!({"type": "array", "items": self.ty(item)}),
            Type::Map(item) => json!({"type": "object", "additionalProperties": self.ty(item)}),
        }
    }
}

/// `apps/v1/Deployment` (or `v1/Pod`) as the extension has it.
pub(super) fn group_version_kind(kind: &str) -> Json {
    let mut parts = kind.rsplitn(3, '/');
    let (kind, version, group) = (parts.next(), parts.next(), parts.next());
    json!({
        "group": group.unwrap_or_default(), "version": version.unwrap_or_default(), "kind": kind.unwrap_or_default(),
    })
}
