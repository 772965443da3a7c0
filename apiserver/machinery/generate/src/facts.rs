//! The form of the facts.

use std::collections::BTreeMap;

use serde::Deserialize;

/// Which fields' zero values differ from none, and which are written always; by definition.
pub(crate) struct Presence(BTreeMap<&'static str, (Vec<&'static str>, Vec<&'static str>)>);

impl Presence {
    /// The facts beside this program: they come from the Go structs, which OpenAPI does not describe that far.
    pub(crate) fn read() -> Self {
        let lines = include_str!("../presence.tsv").lines().filter(|line| !line.starts_with('#'));
        let names = |list: &'static str| list.split(',').filter(|name| !name.is_empty()).collect();
        Self(
            lines
                .filter_map(|line| {
                    let mut columns = line.split('\t');
                    Some((columns.next()?, (names(columns.next()?), names(columns.next()?))))
                })
                .collect(),
        )
    }

    /// The constant for a field.
    pub(crate) fn of(&self, definition: &str, json: &str, field: &Field) -> &'static str {
        match self.0.get(definition) {
            Some((distinct, _)) if distinct.contains(&json) => "DISTINCT",
            Some((_, always)) if always.contains(&json) => "ALWAYS",
            Some(_) => "OMIT",
            // Not known: what is optional may be a pointer.
            None if field.required => "ALWAYS",
            None if field.shape.reference.is_some() || field.shape.format.starts_with("int") => "DISTINCT",
            None => "OMIT",
        }
    }
}

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
