//! Schemas of custom resources: that they are structural (Kubernetes, "Specifying a structural schema"), hold nothing that
//! is not supported, and have defaults that agree with them.
//!
//! Bounded before anything else: a schema that [`Schema::compile`] refuses for its size is not looked at any further.

use gantry_machinery::codec::json;
use gantry_machinery::value::{Object, Value};

use super::view::Held;
use super::{Errors, Path};
use crate::registry::custom::pattern::Pattern;
use crate::registry::custom::schema::Additional;
use crate::registry::custom::{Schema, Ty, prune, values};

/// After this many errors nothing more is looked for.
const ERRORS_MAX: usize = 200;
/// What a root schema may say if status is a subresource, in upstream's order and spelling.
const ROOT_FIELDS: [(&str, &str); 22] = [
    ("description", "Description"),
    ("type", "Type"),
    ("format", "Format"),
    ("title", "Title"),
    ("maximum", "Maximum"),
    ("exclusiveMaximum", "ExclusiveMaximum"),
    ("minimum", "Minimum"),
    ("exclusiveMinimum", "ExclusiveMinimum"),
    ("maxLength", "MaxLength"),
    ("minLength", "MinLength"),
    ("pattern", "Pattern"),
    ("maxItems", "MaxItems"),
    ("minItems", "MinItems"),
    ("uniqueItems", "UniqueItems"),
    ("multipleOf", "MultipleOf"),
    ("required", "Required"),
    ("items", "Items"),
    ("properties", "Properties"),
    ("externalDocs", "ExternalDocs"),
    ("example", "Example"),
    ("x-kubernetes-preserve-unknown-fields", "XPreserveUnknownFields"),
    ("x-kubernetes-validations", "XValidations"),
];
/// Schemas by name that no structural schema has.
const UNSUPPORTED: [(&str, &str); 7] = [
    ("id", "id is not supported"),
    ("additionalItems", "additionalItems is not supported"),
    ("patternProperties", "patternProperties is not supported"),
    ("definitions", "definitions is not supported"),
    ("dependencies", "dependencies is not supported"),
    ("$ref", "$ref is not supported"),
    ("$schema", "$schema is not supported"),
];

/// What is wrong with a version's schema; gives it compiled, if that can be.
pub(crate) fn check(schema: &Value, status: bool, at: &Path<'_>, errors: &mut Errors) -> Option<Schema> {
    let compiled = match Schema::compile(schema) {
        Ok(compiled) => compiled,
        // Which pattern it is is found below; everything else is for the schema as a whole.
        Err(why) if why.starts_with("pattern ") => {
            let before = errors.len();
            Walk { errors, at_fault: true }.openapi(schema, at, Defaults::Allowed, true);
            if errors.len() == before {
                errors.invalid(at, "", why);
            }
            return None;
        }
        Err(why) => {
            errors.invalid(at, "", why);
            return None;
        }
    };
    if status {
        check_root(schema, at, errors);
    }
    if schema.get("nullable").truth() {
        errors.forbidden(&at.child("nullable"), "nullable cannot be true at the root");
    }
    let before = errors.len();
    let mut walk = Walk { errors, at_fault: false };
    walk.structural(schema, Level::Root, at);
    walk.complete(schema, at);
    if walk.errors.len() == before {
        walk.defaults(schema, &compiled, at);
    }
    walk.openapi(schema, at, Defaults::Allowed, true);
    Some(compiled)
}

fn check_root(schema: &Value, at: &Path<'_>, errors: &mut Errors) {
    let kind = schema.get("type").text();
    if !kind.is_empty() && kind != "object" {
        let detail =
            "only \"object\" is allowed as the type at the root of the schema if the status subresource is enabled";
        errors.invalid(&at.child("type"), kind, detail);
    }
    let odd = |(key, value): (&str, &Value)| {
        !value.is_null() && value.as_bool() != Some(false) && ROOT_FIELDS.iter().all(|(name, _)| *name != key)
    };
    if schema.as_object().into_iter().flat_map(Object::iter).any(|(key, value)| odd((key, value))) {
        let allowed: Vec<&str> = ROOT_FIELDS.iter().map(|(_, name)| *name).collect();
        let detail = format!(
            "only [{}] fields are allowed at the root of the schema if the status subresource is enabled",
            allowed.join(" ")
        );
        errors.invalid(at, "", detail);
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Root,
    Item,
    Field,
}

/// Whether defaults may stand here.
#[derive(Clone, Copy)]
enum Defaults {
    Allowed,
    Forbidden(&'static str),
}

struct Walk<'e> {
    errors: &'e mut Errors,
    /// Whether a pattern is known to be at fault, and is to be found.
    at_fault: bool,
}

fn children<'v>(schema: &'v Value, field: &str) -> impl Iterator<Item = (&'v str, &'v Value)> {
    schema.get(field).entries()
}

impl Walk<'_> {
    fn full(&self) -> bool {
        self.errors.len() >= ERRORS_MAX
    }

    /// The invariants of structural schemas.
    fn structural(&mut self, schema: &Value, level: Level, at: &Path<'_>) {
        if self.full() {
            return;
        }
        let kind = schema.get("type").text();
        let items = schema.get("items").filter(|i| i.as_object().is_some());
        if kind == "array" && items.is_none() {
            self.errors.required(&at.child("items"), "must be specified");
        }
        if let Some(items) = items {
            self.structural(items, Level::Item, &at.child("items"));
        }
        for (name, below) in children(schema, "properties") {
            self.structural(below, Level::Field, &at.entry("properties", name));
        }
        if let Some(additional) = schema.get("additionalProperties").filter(|a| !a.is_null()) {
            let here = at.child("additionalProperties");
            if level == Level::Root {
                self.errors.forbidden(&here, "must not be used at the root");
            }
            if additional.as_object().is_some() {
                self.structural(additional, Level::Field, &here);
            }
        }
        let int_or_string = schema.get("x-kubernetes-int-or-string").truth();
        let preserve = schema.get("x-kubernetes-preserve-unknown-fields").truth();
        let embedded = schema.get("x-kubernetes-embedded-resource").truth();
        if int_or_string && preserve {
            let detail = "must be false if x-kubernetes-int-or-string is true";
            self.errors.invalid(&at.child("x-kubernetes-preserve-unknown-fields"), true, detail);
        }
        if int_or_string && embedded {
            let detail = "must be false if x-kubernetes-int-or-string is true";
            self.errors.invalid(&at.child("x-kubernetes-embedded-resource"), true, detail);
        }
        self.nested(schema, is_int_or_string(schema.get("anyOf")), true, at);
        self.typed(schema, kind, level, (int_or_string, preserve, embedded), at);
        self.meta(schema, level, embedded, at);
        if embedded && !preserve && children(schema, "properties").next().is_none() {
            let detail = "must not be empty if x-kubernetes-embedded-resource is true without \
                 x-kubernetes-preserve-unknown-fields";
            self.errors.required(&at.child("properties"), detail);
        }
    }

    fn typed(&mut self, schema: &Value, kind: &str, level: Level, marks: (bool, bool, bool), at: &Path<'_>) {
        let (int_or_string, preserve, embedded) = marks;
        let here = at.child("type");
        if embedded && kind != "object" {
            let detail = "must be object if x-kubernetes-embedded-resource is true";
            if kind.is_empty() {
                self.errors.required(&here, detail);
            } else {
                self.errors.invalid(&here, kind, detail);
            }
        } else if kind.is_empty() && !int_or_string && !preserve {
            let detail = match level {
                Level::Root => "must not be empty at the root",
                Level::Item => "must not be empty for specified array items",
                Level::Field => "must not be empty for specified object fields",
            };
            self.errors.required(&here, detail);
        }
        if embedded && schema.get("additionalProperties").is_some_and(|a| !a.is_null()) {
            let detail = "must not be used if x-kubernetes-embedded-resource is set";
            self.errors.forbidden(&at.child("additionalProperties"), detail);
        }
        if level == Level::Root && !kind.is_empty() && kind != "object" {
            self.errors.invalid(&here, kind, "must be object at the root");
        }
    }

    /// Type and object meta are given; schemas may only restrict names.
    fn meta(&mut self, schema: &Value, level: Level, embedded: bool, at: &Path<'_>) {
        if level != Level::Root && !embedded {
            return;
        }
        for field in ["kind", "apiVersion"] {
            if let Some(below) = schema.at(&["properties", field])
                && below.get("type").text() != "string"
            {
                let here = at.entry("properties", field);
                self.errors.invalid(&here.child("type"), below.get("type").text(), "must be string");
            }
        }
        let Some(metadata) = schema.at(&["properties", "metadata"]) else { return };
        let here = at.entry("properties", "metadata");
        if metadata.get("type").text() != "object" {
            self.errors.invalid(&here.child("type"), metadata.get("type").text(), "must be object");
        }
        let names_only = children(metadata, "properties").all(|(name, _)| matches!(name, "name" | "generateName"));
        let other = metadata.as_object().into_iter().flat_map(Object::iter).any(|(key, value)| {
            !matches!(key.as_str(), "type" | "properties" | "default")
                && !value.is_null()
                && value.as_bool() != Some(false)
        });
        if level == Level::Root && (!names_only || other) {
            let detail =
                "must not specify anything other than name and generateName, but metadata is implicitly specified";
            self.errors.forbidden(&here, detail);
        }
    }

    /// Value validations in junctors may not say what the structure says. `int_or_string`: the `anyOf` here is the one
    /// way in which they may.
    fn nested(&mut self, schema: &Value, int_or_string: bool, top: bool, at: &Path<'_>) {
        if !int_or_string {
            for (index, below) in schema.array_at(&["anyOf"]).iter().enumerate() {
                self.junctor(below, false, &at.item("anyOf", index));
            }
        }
        for (index, below) in schema.array_at(&["allOf"]).iter().enumerate() {
            let skip = top && index == 0 && is_int_or_string(below.get("anyOf"));
            self.junctor(below, skip, &at.item("allOf", index));
        }
        for (index, below) in schema.array_at(&["oneOf"]).iter().enumerate() {
            self.junctor(below, false, &at.item("oneOf", index));
        }
        if let Some(below) = schema.get("not").filter(|n| !n.is_null()) {
            self.junctor(below, false, &at.child("not"));
        }
    }

    fn junctor(&mut self, schema: &Value, int_or_string: bool, at: &Path<'_>) {
        if self.full() {
            return;
        }
        self.nested(schema, int_or_string, false, at);
        if let Some(items) = schema.get("items").filter(|i| i.as_object().is_some()) {
            self.junctor(items, false, &at.child("items"));
        }
        for (name, below) in children(schema, "properties") {
            self.junctor(below, false, &at.entry("properties", name));
        }
        for (field, detail) in [
            ("type", "must be empty to be structural"),
            ("additionalProperties", "must be undefined to be structural"),
            ("default", "must be undefined to be structural"),
            ("title", "must be empty to be structural"),
            ("description", "must be empty to be structural"),
            ("nullable", "must be false to be structural"),
            ("externalDocs", "must be undefined to be structural"),
            ("x-kubernetes-preserve-unknown-fields", "must be false to be structural"),
            ("x-kubernetes-embedded-resource", "must be false to be structural"),
            ("x-kubernetes-int-or-string", "must be false to be structural"),
            ("x-kubernetes-list-map-keys", "must be empty to be structural"),
            ("x-kubernetes-list-type", "must be undefined to be structural"),
            ("x-kubernetes-map-type", "must be undefined to be structural"),
        ] {
            let set = schema.get(field).is_some_and(|value| match value {
                Value::Null | Value::Bool(false) => field == "additionalProperties" && !value.is_null(),
                Value::String(text) => !text.is_empty(),
                Value::Array(items) => !items.is_empty(),
                _ => true,
            });
            if set {
                self.errors.forbidden(&at.child(field), detail);
            }
        }
        if schema.at(&["properties", "metadata"]).is_some() {
            self.errors.forbidden(&at.entry("properties", "metadata"), "must not be specified in a nested context");
        }
    }

    /// What junctors mention, the structure must have.
    fn complete(&mut self, schema: &Value, at: &Path<'_>) {
        if self.full() {
            return;
        }
        self.mentioned(schema, schema, at, at);
        for (name, below) in children(schema, "properties") {
            self.complete(below, &at.entry("properties", name));
        }
        for field in ["items", "additionalProperties"] {
            if let Some(below) = schema.get(field).filter(|b| b.as_object().is_some()) {
                self.complete(below, &at.child(field));
            }
        }
    }

    /// `nested` stands in a junctor (or is the schema itself) at `there`; what it mentions must be in `schema`.
    fn mentioned(&mut self, schema: &Value, nested: &Value, at: &Path<'_>, there: &Path<'_>) {
        for field in ["allOf", "anyOf", "oneOf"] {
            for (index, below) in nested.array_at(&[field]).iter().enumerate() {
                self.mentions(schema, below, at, &there.item(field, index));
            }
        }
        if let Some(below) = nested.get("not").filter(|n| !n.is_null()) {
            self.mentions(schema, below, at, &there.child("not"));
        }
    }

    fn mentions(&mut self, schema: &Value, nested: &Value, at: &Path<'_>, there: &Path<'_>) {
        if self.full() {
            return;
        }
        self.mentioned(schema, nested, at, there);
        for (name, below) in children(nested, "properties") {
            let (at, there) = (at.entry("properties", name), there.entry("properties", name));
            match schema.at(&["properties", name]) {
                Some(schema) => self.mentions(schema, below, &at, &there),
                None => self.errors.required(&at, format!("because it is defined in {there}")),
            }
        }
        if let Some(below) = nested.get("items").filter(|i| i.as_object().is_some()) {
            let (at, there) = (at.child("items"), there.child("items"));
            match schema.get("items").filter(|i| i.as_object().is_some()) {
                Some(schema) => self.mentions(schema, below, &at, &there),
                None => self.errors.required(&at, format!("because it is defined in {there}")),
            }
        }
    }

    /// Defaults are what their schema allows.
    fn defaults(&mut self, source: &Value, schema: &Schema, at: &Path<'_>) {
        if self.full() || !schema.has_defaults() {
            return;
        }
        if let Some(default) = &schema.default {
            let here = at.child("default");
            let mut pruned = (**default).clone();
            let mut unknown = prune::Unknown::default();
            prune::prune_part(&mut pruned, schema, &mut unknown);
            if unknown.paths.is_empty() {
                prune::default(&mut pruned, schema);
                for error in values::check(&pruned, None, schema, &here) {
                    self.errors.add(error);
                }
            } else {
                self.errors.invalid(&here, &**default, "must not have unknown fields");
            }
        }
        for (name, source) in children(source, "properties") {
            if let Some(below) = schema.property(name) {
                self.defaults(source, below, &at.entry("properties", name));
            }
        }
        if let (Some(source), Some(below)) = (source.get("items"), &schema.items) {
            self.defaults(source, below, &at.child("items"));
        }
        if let (Some(source), Some(Additional::Schema(below))) =
            (source.get("additionalProperties"), &schema.additional)
        {
            self.defaults(source, below, &at.child("additionalProperties"));
        }
    }

    /// What holds for every schema, structural or nested in a junctor.
    fn openapi(&mut self, schema: &Value, at: &Path<'_>, defaults: Defaults, root: bool) {
        if self.full() {
            return;
        }
        self.words(schema, at, defaults);
        let additional = schema.get("additionalProperties").filter(|a| !a.is_null());
        if let Some(additional) = additional {
            let here = at.child("additionalProperties");
            if children(schema, "properties").next().is_some() && additional.as_bool() != Some(true) {
                self.errors.forbidden(&here, "additionalProperties and properties are mutual exclusive");
            }
            if additional.as_object().is_some() {
                self.openapi(additional, &here, defaults, false);
            }
        }
        for (name, below) in children(schema, "properties") {
            let defaults = match name {
                "metadata" if root => Defaults::Forbidden("in top-level metadata"),
                "kind" if root => Defaults::Forbidden("in top-level kind"),
                "apiVersion" if root => Defaults::Forbidden("in top-level apiVersion"),
                _ => defaults,
            };
            self.openapi(below, &at.entry("properties", name), defaults, false);
        }
        if let Some(below) = schema.get("not").filter(|n| !n.is_null()) {
            self.openapi(below, &at.child("not"), defaults, false);
        }
        for field in ["allOf", "oneOf", "anyOf"] {
            for (index, below) in schema.array_at(&[field]).iter().enumerate() {
                self.openapi(below, &at.item(field, index), defaults, false);
            }
        }
        if let Some(items) = schema.get("items").filter(|i| i.as_object().is_some()) {
            self.openapi(items, &at.child("items"), defaults, false);
        }
        self.lists(schema, at);
    }

    fn words(&mut self, schema: &Value, at: &Path<'_>, defaults: Defaults) {
        let kind = schema.get("type").text();
        if kind == "null" {
            self.errors.forbidden(&at.child("type"), "type cannot be set to null, use nullable as an alternative");
        } else if !kind.is_empty() && Ty::named(kind).is_none() {
            self.errors.not_supported(&at.child("type"), kind, &Ty::NAMES);
        }
        if let (Some(default), Defaults::Forbidden(why)) = (schema.get("default"), defaults)
            && !default.is_null()
        {
            self.errors.forbidden(&at.child("default"), format!("must not be set {why}"));
        }
        for (field, detail) in UNSUPPORTED {
            let set = schema.get(field).is_some_and(|value| match value {
                Value::Null => false,
                Value::String(text) => !text.is_empty(),
                Value::Object(fields) => !fields.is_empty(),
                _ => true,
            });
            if set {
                self.errors.forbidden(&at.child(field), detail);
            }
        }
        if schema.get("items").is_some_and(|items| items.as_array().is_some()) {
            self.errors.forbidden(&at.child("items"), "items must be a schema object and not an array");
        }
        if schema.get("uniqueItems").truth() {
            let detail = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic";
            self.errors.forbidden(&at.child("uniqueItems"), detail);
        }
        if schema.get("x-kubernetes-preserve-unknown-fields").and_then(Value::as_bool) == Some(false) {
            let detail = "must be true or undefined";
            self.errors.invalid(&at.child("x-kubernetes-preserve-unknown-fields"), false, detail);
        }
        if !schema.array_at(&["x-kubernetes-validations"]).is_empty() {
            let detail = "rules in CEL are not built into this server yet: a definition that needs them is refused, so that \
                 nothing is stored that they would not allow";
            self.errors.forbidden(&at.child("x-kubernetes-validations"), detail);
        }
        let pattern = schema.get("pattern").text();
        if self.at_fault
            && !pattern.is_empty()
            && let Err(why) = Pattern::new(pattern)
        {
            let detail = format!("must be a valid regular expression, but isn't: {why}");
            self.errors.invalid(&at.child("pattern"), pattern, detail);
        }
    }

    fn lists(&mut self, schema: &Value, at: &Path<'_>) {
        let kind = schema.get("type").text();
        let no_type = |what: &str, field: &str| format!("must be {what} if {field} is specified");
        if let Some(map) = schema.get("x-kubernetes-map-type").and_then(Value::as_str) {
            if kind.is_empty() {
                self.errors.required(&at.child("type"), no_type("object", "x-kubernetes-map-type"));
            } else if kind != "object" {
                self.errors.invalid(&at.child("type"), kind, no_type("object", "x-kubernetes-map-type"));
            }
            if !matches!(map, "atomic" | "granular") {
                self.errors.not_supported(&at.child("x-kubernetes-map-type"), map, &["atomic", "granular"]);
            }
        }
        let list = schema.get("x-kubernetes-list-type").and_then(Value::as_str);
        let keys: Vec<&str> =
            schema.array_at(&["x-kubernetes-list-map-keys"]).iter().filter_map(Value::as_str).collect();
        let in_list = at.child("x-kubernetes-list-type");
        if let Some(list) = list {
            if kind.is_empty() {
                self.errors.required(&at.child("type"), no_type("array", "x-kubernetes-list-type"));
            } else if kind != "array" {
                self.errors.invalid(&at.child("type"), kind, no_type("array", "x-kubernetes-list-type"));
            }
            if !matches!(list, "atomic" | "set" | "map") {
                self.errors.not_supported(&in_list, list, &["atomic", "set", "map"]);
            }
        }
        if !keys.is_empty() && list != Some("map") {
            let detail = "must be map if x-kubernetes-list-map-keys is non-empty";
            match list {
                None => self.errors.required(&in_list, detail),
                Some(list) => self.errors.invalid(&in_list, list, detail),
            }
        }
        let items = schema.get("items").filter(|i| i.as_object().is_some());
        let in_items = at.child("items");
        if let (Some(list @ ("set" | "map")), Some(items)) = (list, items)
            && items.get("nullable").truth()
        {
            let detail = format!("cannot be nullable when x-kubernetes-list-type is {list}");
            self.errors.forbidden(&in_items.child("nullable"), detail);
        }
        match list {
            Some("set") => self.set(items, &in_items),
            Some("map") => self.list_map(schema, &keys, items, at),
            _ => {}
        }
    }

    fn set(&mut self, items: Option<&Value>, at: &Path<'_>) {
        let Some(items) = items else { return };
        let detail = "must be atomic as item of a list with x-kubernetes-list-type=set";
        let said = |field: &str| items.get(field).and_then(Value::as_str);
        match items.get("type").text() {
            "array" if said("x-kubernetes-list-type").is_some_and(|l| l != "atomic") => {
                self.errors.invalid(&at.child("x-kubernetes-list-type"), said("x-kubernetes-list-type"), detail);
            }
            "object" if said("x-kubernetes-map-type") != Some("atomic") => {
                self.errors.invalid(&at.child("x-kubernetes-map-type"), said("x-kubernetes-map-type"), detail);
            }
            _ => {}
        }
    }

    fn list_map(&mut self, schema: &Value, keys: &[&str], items: Option<&Value>, at: &Path<'_>) {
        let in_keys = at.child("x-kubernetes-list-map-keys");
        if keys.is_empty() {
            self.errors.required(&in_keys, "must not be empty if x-kubernetes-list-type is map");
        }
        let in_items = at.child("items");
        let Some(items) = items else {
            self.errors.required(&in_items, "must have a schema if x-kubernetes-list-type is map");
            return;
        };
        if items.get("type").text() != "object" {
            let detail = "must be object if parent array's x-kubernetes-list-type is map";
            self.errors.invalid(&in_items.child("type"), items.get("type").text(), detail);
            return;
        }
        let shown = schema.get("x-kubernetes-list-map-keys");
        let required: Vec<&str> = items.array_at(&["required"]).iter().filter_map(Value::as_str).collect();
        for (index, key) in keys.iter().enumerate() {
            if keys[..index].contains(key) {
                self.errors.invalid(&in_keys, shown, "must not contain duplicate entries");
            }
            let Some(property) = items.at(&["properties", key]) else {
                self.errors.invalid(&in_keys, shown, "entries must all be names of item properties");
                continue;
            };
            let here = in_items.entry("properties", key);
            if matches!(property.get("type").text(), "array" | "object") {
                let detail = "must be a scalar type if parent array's x-kubernetes-list-type is map";
                self.errors.invalid(&here.child("type"), items.get("type").text(), detail);
            }
            if !required.contains(key) && property.get("default").is_none_or(Value::is_null) {
                let detail = "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property";
                self.errors.required(&here.child("default"), detail);
            }
            if property.get("nullable").truth() {
                let detail = "this property is in x-kubernetes-list-map-keys, so it cannot be nullable";
                self.errors.forbidden(&here.child("nullable"), detail);
            }
        }
    }
}

/// Whether this is the `anyOf` that goes with `x-kubernetes-int-or-string`.
fn is_int_or_string(any_of: Option<&Value>) -> bool {
    any_of.is_some_and(|any_of| json::to_string(any_of) == r#"[{"type":"integer"},{"type":"string"}]"#)
}
