//! What OpenAPI documents say of custom types: the definition's schema as it was written, with the meta that every object
//! has. Made from the stored definition when a document is made; nothing of it is held.

use gantry_machinery::codec::json;
use gantry_machinery::openapi::MetaRefs;
use gantry_machinery::value::Value;
use serde_json::{Map, Value as Json, json};

use super::kind::CustomKind;
use crate::registry::table::Row;

const KIND: &str = "Kind is a string value representing the REST resource this object represents. Servers may infer this \
     from the endpoint the client submits requests to. Cannot be updated. In CamelCase. More info: \
     https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds";
const API_VERSION: &str = "APIVersion defines the versioned schema of this representation of an object. Servers should \
     convert recognized schemas to the latest internal value, and may reject unrecognized values. More info: \
     https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#resources";
const METADATA: &str = "Standard object's metadata. More info: \
     https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata";

/// The schema of a row's objects; `None` for built-in kinds.
#[must_use]
pub fn schema(row: &Row, refs: &MetaRefs) -> Option<Json> {
    let kind = row.strategy.custom()?;
    let source = source(kind).unwrap_or(Json::Null);
    let mut schema = match source {
        Json::Object(_) if refs.v3 => source,
        Json::Object(fields) => Json::Object(fields_v2(&fields)),
        _ => json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true}),
    };
    with_meta(&mut schema, refs);
    embed(&mut schema, refs, true);
    let gvr = row.gvr();
    let gvk = json!({"group": gvr.group, "version": gvr.version, "kind": row.resource.kind});
    schema["x-kubernetes-group-version-kind"] = json!([gvk]);
    if !kind.selectable.is_empty() {
        let fields = kind.selectable.iter().map(|(path, _)| json!({"fieldPath": path}));
        schema["x-kubernetes-selectable-fields"] = fields.collect();
    }
    Some(schema)
}

/// The version's schema as the definition has it.
fn source(kind: &CustomKind) -> Option<Json> {
    let definition = json::parse(&kind.source.body).ok()?;
    let version = kind.resource.gvr.version.as_ref();
    let versions = definition.array_at(&["spec", "versions"]);
    let version = versions.iter().find(|v| v.str_at(&["name"]) == Some(version))?;
    let schema = version.at(&["schema", "openAPIV3Schema"]).filter(|s| matches!(s, Value::Object(_)))?;
    serde_json::from_slice(&json::encode(schema)).ok()
}

fn with_meta(schema: &mut Json, refs: &MetaRefs) {
    let Some(fields) = schema.as_object_mut() else { return };
    let properties = fields.entry("properties").or_insert_with(|| json!({}));
    properties["apiVersion"] = json!({"type": "string", "description": API_VERSION});
    properties["kind"] = json!({"type": "string", "description": KIND});
    properties["metadata"] = refs.metadata(METADATA);
}

/// Objects inside that are resources of their own have meta as well.
fn embed(schema: &mut Json, refs: &MetaRefs, root: bool) {
    if !root && schema["x-kubernetes-embedded-resource"] == true {
        with_meta(schema, refs);
    }
    let Some(fields) = schema.as_object_mut() else { return };
    for (key, value) in fields {
        match (key.as_str(), value) {
            ("properties", Json::Object(below)) => below
                .iter_mut()
                .filter(|(name, _)| !(root && name.as_str() == "metadata"))
                .for_each(|(_, below)| embed(below, refs, false)),
            ("items" | "additionalProperties", below @ Json::Object(_)) => embed(below, refs, false),
            _ => {}
        }
    }
}

/// The part of a schema that the older language can say: neither junctors nor nullable values, whose type it then leaves
/// open, nor defaults.
fn fields_v2(fields: &Map<String, Json>) -> Map<String, Json> {
    let truth = |key: &str| fields.get(key) == Some(&Json::Bool(true));
    let preserve = truth("x-kubernetes-preserve-unknown-fields");
    let open = truth("nullable") || truth("x-kubernetes-int-or-string") || preserve;
    let below = |value: &Json| match value {
        Json::Object(fields) => Json::Object(fields_v2(fields)),
        other => other.clone(),
    };
    let mut out = Map::new();
    for (key, value) in fields {
        match key.as_str() {
            "nullable" | "anyOf" | "oneOf" | "allOf" | "not" | "default" | "x-kubernetes-validations" => {}
            "type" | "items" | "properties" | "additionalProperties" if open && !(preserve && key == "type") => {}
            "properties" => {
                let properties =
                    value.as_object().into_iter().flatten().map(|(name, value)| (name.clone(), below(value)));
                out.insert(key.clone(), properties.collect());
            }
            "items" | "additionalProperties" => drop(out.insert(key.clone(), below(value))),
            _ => drop(out.insert(key.clone(), value.clone())),
        }
    }
    out
}
