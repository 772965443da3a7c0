//! The form of the facts.

use serde::Deserialize;

/// An OpenAPI definition with its protobuf facts.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Definition {
    /// The protobuf message's full name.
    #[serde(default)]
    pub(crate) message: String,
    #[serde(default)]
    pub(crate) fields: Vec<Field>,
    #[serde(default)]
    pub(crate) kinds: Vec<String>,
    #[serde(default)]
    pub(crate) map_type: String,
    #[serde(default)]
    pub(crate) embedded: Vec<ProtoField>,
    /// Present where the definition is no plain object.
    #[serde(default, rename = "type")]
    pub(crate) ty: Option<Shape>,
}

/// One field of a definition. `json` is absent for fields that exist in protobuf alone.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Field {
    #[serde(default)]
    pub(crate) json: Option<String>,
    #[serde(flatten)]
    pub(crate) shape: Shape,
    #[serde(default)]
    pub(crate) required: bool,
    #[serde(default)]
    pub(crate) list_type: String,
    #[serde(default)]
    pub(crate) list_keys: Vec<String>,
    #[serde(default)]
    pub(crate) map_type: String,
    #[serde(default)]
    pub(crate) patch_strategy: String,
    #[serde(default)]
    pub(crate) patch_merge_key: String,
    #[serde(default)]
    pub(crate) number: u32,
    #[serde(default)]
    pub(crate) wire: Vec<String>,
}

/// What a field holds: one of the four.
#[derive(Deserialize)]
pub(crate) struct Shape {
    pub(crate) scalar: Option<String>,
    #[serde(default)]
    pub(crate) format: String,
    #[serde(rename = "ref")]
    pub(crate) reference: Option<String>,
    pub(crate) list: Option<Box<Shape>>,
    pub(crate) map: Option<Box<Shape>>,
}

/// A field of a protobuf message.
#[derive(Deserialize)]
pub(crate) struct ProtoField {
    pub(crate) proto: String,
    #[serde(default)]
    pub(crate) json: Option<String>,
    pub(crate) number: u32,
    pub(crate) wire: Vec<String>,
}

/// A resource of the API.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Resource {
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) resource: String,
    pub(crate) kind: String,
    pub(crate) singular: String,
    pub(crate) namespaced: bool,
    pub(crate) verbs: Vec<String>,
    #[serde(default)]
    pub(crate) short_names: Vec<String>,
    #[serde(default)]
    pub(crate) categories: Vec<String>,
    #[serde(default)]
    pub(crate) subresources: Vec<Subresource>,
}

/// What hangs below a resource.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Subresource {
    pub(crate) name: String,
    pub(crate) verbs: Vec<String>,
    pub(crate) kind: String,
    #[serde(default)]
    pub(crate) kind_group_version: Option<String>,
}
