//! Pruning and defaulting: what a custom object loses and gains by its schema (Kubernetes, "Extend the Kubernetes API with
//! CustomResourceDefinitions", "Field pruning" and "Defaulting").
//!
//! Pruning happens to every body, patch and stored object; the paths of what a body loses are reported as unknown fields.
//! Defaults fill what is absent, and `null` where that is not allowed. Both are idempotent.

use std::collections::HashSet;
use std::sync::LazyLock;

use compact_str::CompactString;
use gantry_machinery::schema::{self, Message};
use gantry_machinery::value::{Object, Value};

use super::fields::OBJECT_META;
use super::schema::{Additional, Schema};

/// Reported paths at most, as upstream's decoders stop there.
const PATHS_MAX: usize = 100;

/// Comparisons up to which scanning is quicker than hashing.
const SCAN_UP_TO: usize = 4096;

/// Paths of pruned fields, for whoever wants to be told.
#[derive(Debug, Default)]
pub(crate) struct Unknown {
    /// The paths (`spec.foo`), in the order they were met.
    pub(crate) paths: Vec<String>,
    at: Vec<String>,
}

impl Unknown {
    fn note(&mut self, field: &str) {
        if self.paths.len() < PATHS_MAX {
            let mut path = String::new();
            for step in self.at.iter().map(String::as_str).chain([field]) {
                if !path.is_empty() && !step.starts_with('[') {
                    path.push('.');
                }
                path.push_str(step);
            }
            self.paths.push(path);
        }
    }
}

/// What stays of an object whatever its schema says.
fn is_meta(field: &str) -> bool {
    matches!(field, "apiVersion" | "kind" | "metadata")
}

/// Takes out of a whole object what its schema does not know.
pub(crate) fn prune(object: &mut Value, schema: &Schema, unknown: &mut Unknown) {
    let Some(fields) = object.as_object_mut() else { return };
    prune_fields(fields, schema, true, unknown);
}

/// Takes out of a part of an object what the part's schema does not know.
pub(crate) fn prune_part(value: &mut Value, schema: &Schema, unknown: &mut Unknown) {
    prune_value(value, Some(schema), unknown);
}

fn prune_value(value: &mut Value, schema: Option<&Schema>, unknown: &mut Unknown) {
    match value {
        Value::Object(fields) => match schema {
            Some(schema) => prune_fields(fields, schema, schema.embedded, unknown),
            None => {
                for key in fields.keys() {
                    unknown.note(key);
                }
                fields.retain(|_, _| false);
            }
        },
        Value::Array(items) => {
            let keeps = schema.is_some_and(|s| s.preserve_unknown);
            let of_items = schema.and_then(|s| s.items.as_deref());
            if keeps && of_items.is_none() {
                return;
            }
            for (at, item) in items.iter_mut().enumerate() {
                unknown.at.push(format!("[{at}]"));
                prune_value(item, of_items, unknown);
                unknown.at.pop();
            }
        }
        _ => {}
    }
}

fn prune_fields(fields: &mut Object, schema: &Schema, embedded: bool, unknown: &mut Unknown) {
    // At the top, what a body is read by has seen to it.
    let inside = !unknown.at.is_empty();
    fields.retain(|key, value| {
        if embedded && is_meta(key) {
            if inside && key == "metadata" {
                prune_metadata(value, unknown);
            }
            return true;
        }
        let below = match (schema.property(key), &schema.additional) {
            (Some(property), _) => Some(property),
            (None, Some(Additional::Schema(schema))) => Some(&**schema),
            (None, _) if schema.preserve_unknown => return true,
            // `additionalProperties: true` keeps the field; nothing is known of what is in it.
            (None, Some(Additional::Allowed(_))) => None,
            (None, None) => {
                unknown.note(key);
                return false;
            }
        };
        unknown.at.push(key.to_owned());
        prune_value(value, below, unknown);
        unknown.at.pop();
        true
    });
}

/// Takes out of the metadata of an object inside another what no metadata has.
fn prune_metadata(metadata: &mut Value, unknown: &mut Unknown) {
    static KNOWN: LazyLock<&Message> =
        LazyLock::new(|| schema::message(OBJECT_META).expect("the generated table has ObjectMeta"));
    let Some(fields) = metadata.as_object_mut() else { return };
    unknown.at.push("metadata".to_owned());
    fields.retain(|key, _| {
        let known = KNOWN.field_index(key).is_some();
        if !known {
            unknown.note(key);
        }
        known
    });
    unknown.at.pop();
}

/// Fills in a whole object's defaults, after taking out nulls that may not be.
pub(crate) fn default(object: &mut Value, schema: &Schema) {
    drop_nulls(object, schema);
    fill(object, schema);
}

/// Takes out `null` where a property may not be null and has no default to take its place.
fn drop_nulls(value: &mut Value, schema: &Schema) {
    match value {
        Value::Object(fields) => fields.retain(|key, value| match schema.field(key) {
            Some(below) if value.is_null() => {
                below.nullable || below.default.is_some() || schema.property(key).is_none()
            }
            Some(below) => {
                drop_nulls(value, below);
                true
            }
            None => true,
        }),
        Value::Array(items) => {
            if let Some(below) = &schema.items {
                items.iter_mut().for_each(|item| drop_nulls(item, below));
            }
        }
        _ => {}
    }
}

fn fill(value: &mut Value, schema: &Schema) {
    let replaced = |value: &Value, below: &Schema| value.is_null() && !below.nullable;
    match value {
        Value::Object(fields) => {
            // Lookups scan: what is wide on both sides is looked up by hash.
            let wide = schema.properties.len().saturating_mul(fields.len() + schema.properties.len()) > SCAN_UP_TO;
            let present: Option<HashSet<CompactString>> = wide.then(|| fields.keys().cloned().collect());
            for (name, below) in &schema.properties {
                let Some(default) = &below.default else { continue };
                let there = present.as_ref().map_or_else(|| fields.contains_key(name), |p| p.contains(name));
                // What is there but null is replaced below.
                if !there {
                    fields.push_unchecked(CompactString::clone(name), (**default).clone());
                }
            }
            for (key, held) in fields.iter_mut() {
                let Some(below) = schema.field(key) else { continue };
                if let Some(default) = &below.default
                    && replaced(held, below)
                {
                    *held = (**default).clone();
                }
                fill(held, below);
            }
        }
        Value::Array(items) => {
            let Some(below) = &schema.items else { return };
            for item in items {
                if let Some(default) = &below.default
                    && replaced(item, below)
                {
                    *item = (**default).clone();
                }
                fill(item, below);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use gantry_machinery::value;

    use super::*;

    fn schema(source: Value) -> Schema {
        Schema::compile(&source).expect("the schema compiles")
    }

    #[test]
    fn what_the_schema_does_not_know_goes_and_is_named() {
        let schema = schema(value!({"type": "object", "properties": {
            "spec": {"type": "object", "properties": {
                "known": {"type": "string"},
                "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true,
                    "properties": {"strict": {"type": "object", "properties": {"a": {"type": "string"}}}}},
                "list": {"type": "array", "items": {"type": "object", "properties": {"n": {"type": "string"}}}},
                "map": {"type": "object", "additionalProperties": {"type": "object", "properties": {"n": {"type": "string"}}}},
                "pod": {"type": "object", "x-kubernetes-embedded-resource": true, "properties": {"spec": {"type": "object"}}},
            }},
        }}));
        let mut object = value!({"apiVersion": "a/v1", "kind": "A", "metadata": {"name": "x"}, "other": 1, "spec": {
            "known": "k", "unknown": {"deep": 1},
            "free": {"kept": {"all": 1}, "strict": {"a": "1", "b": "2"}},
            "list": [{"n": "1", "x": 1}], "map": {"k": {"n": "1", "y": 2}},
            "pod": {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "odd": 1}, "spec": {"z": 1}, "status": {}},
        }});
        let mut unknown = Unknown::default();
        prune(&mut object, &schema, &mut unknown);
        let expected = value!({"apiVersion": "a/v1", "kind": "A", "metadata": {"name": "x"}, "spec": {
            "known": "k",
            "free": {"kept": {"all": 1}, "strict": {"a": "1"}},
            "list": [{"n": "1"}], "map": {"k": {"n": "1"}},
            "pod": {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {}},
        }});
        assert_eq!(object, expected);
        let paths = [
            "other",
            "spec.unknown",
            "spec.free.strict.b",
            "spec.list[0].x",
            "spec.map.k.y",
            "spec.pod.metadata.odd",
            "spec.pod.spec.z",
            "spec.pod.status",
        ];
        assert_eq!(unknown.paths, paths);
        let mut again = Unknown::default();
        prune(&mut object, &schema, &mut again);
        assert!(again.paths.is_empty());
    }

    #[test]
    fn defaults_fill_what_is_absent_and_nulls_that_may_not_be() {
        let schema = schema(
            value!({"type": "object", "properties": {"spec": {"type": "object", "default": {}, "properties": {
                "replicas": {"type": "integer", "default": 1},
                "nullable": {"type": "string", "nullable": true, "default": "x"},
                "plain": {"type": "string"},
                "list": {"type": "array", "items": {"type": "object", "properties": {"port": {"type": "integer", "default": 80}}}},
            }}}}),
        );
        let mut object = value!({});
        default(&mut object, &schema);
        assert_eq!(object, value!({"spec": {"replicas": 1, "nullable": "x"}}));
        let mut object =
            value!({"spec": {"replicas": null, "nullable": null, "plain": null, "list": [{}, {"port": 1}]}});
        default(&mut object, &schema);
        let expected = value!({"spec": {"replicas": 1, "nullable": null, "list": [{"port": 80}, {"port": 1}]}});
        assert_eq!(object, expected);
    }
}
