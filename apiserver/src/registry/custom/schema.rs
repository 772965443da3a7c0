//! A version's structural schema, compiled: what values are pruned, defaulted and checked by.
//!
//! Compiled from `spec.versions[].schema.openAPIV3Schema` when a definition is written (to refuse what cannot be) and when
//! it is followed (to serve it). Bounded: depth, nodes and the weight of all patterns; whatever a definition holds,
//! compiling it ends and takes a known amount of memory. Immutable; freed with the last user of the version.

use std::sync::Arc;

use compact_str::CompactString;
use gantry_machinery::value::{Object, Value};
use hashbrown::HashMap;

use super::pattern::Pattern;

/// The deepest nesting of schemas.
pub(crate) const DEPTH_MAX: usize = 64;
/// The most schemas in one.
const NODES_MAX: usize = 100_000;
/// What all patterns of one definition's version may take, compiled.
const PATTERNS_WEIGHT_MAX: usize = 64 << 20;

/// One schema, with those below it.
#[derive(Debug, Default)]
pub(crate) struct Schema {
    /// `type`; none where anything goes, and in nested value validations.
    pub(crate) ty: Option<Ty>,
    /// `nullable`
    pub(crate) nullable: bool,
    /// `properties`, sorted by name.
    pub(crate) properties: Vec<(CompactString, Schema)>,
    /// `additionalProperties`
    pub(crate) additional: Option<Additional>,
    /// `items`
    pub(crate) items: Option<Box<Schema>>,
    /// `default`
    pub(crate) default: Option<Box<Value>>,
    /// `x-kubernetes-preserve-unknown-fields`
    pub(crate) preserve_unknown: bool,
    /// `x-kubernetes-embedded-resource`
    pub(crate) embedded: bool,
    /// `x-kubernetes-int-or-string`
    pub(crate) int_or_string: bool,
    /// `x-kubernetes-list-type` and `-list-map-keys`
    pub(crate) list: ListType,
    /// `x-kubernetes-map-type: atomic`
    pub(crate) atomic_map: bool,
    /// What values must be, besides their type.
    pub(crate) rules: Option<Box<Rules>>,
}

/// `type`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ty {
    Object,
    Array,
    String,
    Integer,
    Number,
    Boolean,
}

impl Ty {
    /// All, as error messages list them.
    pub(crate) const NAMES: [&'static str; 6] = ["array", "boolean", "integer", "number", "object", "string"];

    /// The type of this name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "object" => Self::Object,
            "array" => Self::Array,
            "string" => Self::String,
            "integer" => Self::Integer,
            "number" => Self::Number,
            "boolean" => Self::Boolean,
            _ => return None,
        })
    }

    /// Its name.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Object => "object",
            Self::Array => "array",
            Self::String => "string",
            Self::Integer => "integer",
            Self::Number => "number",
            Self::Boolean => "boolean",
        }
    }
}

/// `additionalProperties`
#[derive(Debug)]
pub(crate) enum Additional {
    /// A boolean: whether there may be any.
    Allowed(bool),
    /// What they are.
    Schema(Box<Schema>),
}

/// How a list's items are told apart.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) enum ListType {
    /// Not at all.
    #[default]
    Atomic,
    /// By themselves.
    Set,
    /// By these fields.
    Map(Vec<CompactString>),
}

/// Value validations.
#[derive(Debug, Default)]
pub(crate) struct Rules {
    pub(crate) format: CompactString,
    pub(crate) minimum: Option<Bound>,
    pub(crate) maximum: Option<Bound>,
    pub(crate) multiple_of: Option<f64>,
    pub(crate) min_length: Option<i64>,
    pub(crate) max_length: Option<i64>,
    pub(crate) pattern: Option<Arc<Pattern>>,
    pub(crate) min_items: Option<i64>,
    pub(crate) max_items: Option<i64>,
    pub(crate) unique_items: bool,
    pub(crate) min_properties: Option<i64>,
    pub(crate) max_properties: Option<i64>,
    pub(crate) one_of_values: Vec<Value>,
    pub(crate) required: Vec<CompactString>,
    pub(crate) all_of: Vec<Schema>,
    pub(crate) any_of: Vec<Schema>,
    pub(crate) one_of: Vec<Schema>,
    pub(crate) not: Option<Box<Schema>>,
}

/// `minimum`, `maximum`
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bound {
    /// The number.
    pub(crate) at: f64,
    /// Whether the number itself is out of bounds.
    pub(crate) exclusive: bool,
}

impl Schema {
    /// Compiles a schema.
    ///
    /// # Errors
    /// Why it cannot be: too deep, too large, a pattern that is none.
    pub(crate) fn compile(source: &Value) -> Result<Self, String> {
        Compiler { nodes: 0, weight: 0, patterns: HashMap::new() }.schema(source, 0)
    }

    /// The schema of a property.
    pub(crate) fn property(&self, name: &str) -> Option<&Self> {
        let at = self.properties.binary_search_by(|(n, _)| n.as_str().cmp(name)).ok()?;
        Some(&self.properties[at].1)
    }

    /// The schema of a field, whether it is a property or an additional one; `None` where nothing is said of it.
    pub(crate) fn field(&self, name: &str) -> Option<&Self> {
        self.property(name).or(match &self.additional {
            Some(Additional::Schema(schema)) => Some(schema),
            _ => None,
        })
    }

    /// Whether any value below has a default.
    pub(crate) fn has_defaults(&self) -> bool {
        self.default.is_some()
            || self.properties.iter().any(|(_, schema)| schema.has_defaults())
            || self.items.as_ref().is_some_and(|schema| schema.has_defaults())
            || matches!(&self.additional, Some(Additional::Schema(schema)) if schema.has_defaults())
    }
}

/// Counts what it compiles.
struct Compiler {
    nodes: usize,
    weight: usize,
    /// Each distinct pattern once; schemas made by generators repeat a few of them hundreds of times.
    patterns: HashMap<String, Arc<Pattern>>,
}

impl Compiler {
    fn schema(&mut self, source: &Value, depth: usize) -> Result<Schema, String> {
        if depth >= DEPTH_MAX {
            return Err(format!("the schema is nested more than {DEPTH_MAX} levels deep"));
        }
        self.nodes += 1;
        if self.nodes > NODES_MAX {
            return Err(format!("the schema consists of more than {NODES_MAX} schemas"));
        }
        let Some(source) = source.as_object() else { return Ok(Schema::default()) };
        let mut schema = Schema::default();
        for (key, value) in source.iter() {
            let truth = value.as_bool() == Some(true);
            match key.as_str() {
                "type" => schema.ty = value.as_str().and_then(Ty::named),
                "nullable" => schema.nullable = truth,
                "properties" => schema.properties = self.named(value, depth)?,
                "additionalProperties" => {
                    schema.additional = match value {
                        Value::Bool(allowed) => Some(Additional::Allowed(*allowed)),
                        Value::Object(_) => Some(Additional::Schema(Box::new(self.schema(value, depth + 1)?))),
                        _ => None,
                    };
                }
                "items" if value.as_object().is_some() => {
                    schema.items = Some(Box::new(self.schema(value, depth + 1)?));
                }
                "default" if !value.is_null() => schema.default = Some(Box::new(value.clone())),
                "x-kubernetes-preserve-unknown-fields" => schema.preserve_unknown = truth,
                "x-kubernetes-embedded-resource" => schema.embedded = truth,
                "x-kubernetes-int-or-string" => schema.int_or_string = truth,
                "x-kubernetes-map-type" => schema.atomic_map = value.as_str() == Some("atomic"),
                _ => {}
            }
        }
        schema.list = match source.get("x-kubernetes-list-type").and_then(Value::as_str) {
            Some("set") => ListType::Set,
            Some("map") => ListType::Map(texts(source.get("x-kubernetes-list-map-keys"))),
            _ => ListType::Atomic,
        };
        schema.rules = self.rules(source, depth)?;
        Ok(schema)
    }

    fn named(&mut self, source: &Value, depth: usize) -> Result<Vec<(CompactString, Schema)>, String> {
        let mut named = Vec::with_capacity(source.as_object().map_or(0, Object::len));
        for (name, value) in source.as_object().into_iter().flat_map(Object::iter) {
            named.push((name.clone(), self.schema(value, depth + 1)?));
        }
        named.sort_by(|(a, _), (b, _)| a.cmp(b));
        Ok(named)
    }

    fn list(&mut self, source: &Value, depth: usize) -> Result<Vec<Schema>, String> {
        source.as_array().unwrap_or_default().iter().map(|item| self.schema(item, depth + 1)).collect()
    }

    fn rules(&mut self, source: &Object, depth: usize) -> Result<Option<Box<Rules>>, String> {
        let mut rules = Rules::default();
        let mut any = false;
        let bound = |at: &str, exclusive: &str| {
            let at = source.get(at).and_then(number)?;
            Some(Bound { at, exclusive: source.get(exclusive).and_then(Value::as_bool) == Some(true) })
        };
        for (key, value) in source.iter().filter(|(_, value)| !value.is_null()) {
            match key.as_str() {
                "format" => rules.format = value.as_str().unwrap_or_default().into(),
                "minimum" => rules.minimum = bound("minimum", "exclusiveMinimum"),
                "maximum" => rules.maximum = bound("maximum", "exclusiveMaximum"),
                "multipleOf" => rules.multiple_of = number(value),
                "minLength" => rules.min_length = value.as_i64(),
                "maxLength" => rules.max_length = value.as_i64(),
                "pattern" => rules.pattern = self.pattern(value.as_str().unwrap_or_default())?,
                "minItems" => rules.min_items = value.as_i64(),
                "maxItems" => rules.max_items = value.as_i64(),
                "uniqueItems" => rules.unique_items = value.as_bool() == Some(true),
                "minProperties" => rules.min_properties = value.as_i64(),
                "maxProperties" => rules.max_properties = value.as_i64(),
                "enum" => rules.one_of_values = value.as_array().unwrap_or_default().to_vec(),
                "required" => rules.required = texts(Some(value)),
                "allOf" => rules.all_of = self.list(value, depth)?,
                "anyOf" => rules.any_of = self.list(value, depth)?,
                "oneOf" => rules.one_of = self.list(value, depth)?,
                "not" => rules.not = Some(Box::new(self.schema(value, depth + 1)?)),
                _ => continue,
            }
            any = true;
        }
        Ok(any.then(|| Box::new(rules)))
    }

    fn pattern(&mut self, text: &str) -> Result<Option<Arc<Pattern>>, String> {
        if text.is_empty() {
            return Ok(None);
        }
        if let Some(pattern) = self.patterns.get(text) {
            return Ok(Some(pattern.clone()));
        }
        let pattern = Arc::new(Pattern::new(text).map_err(|why| format!("pattern {text:?}: {why}"))?);
        self.weight += pattern.weight();
        if self.weight > PATTERNS_WEIGHT_MAX {
            return Err(format!("the patterns of the schema take more than {PATTERNS_WEIGHT_MAX} bytes together"));
        }
        self.patterns.insert(text.to_owned(), pattern.clone());
        Ok(Some(pattern))
    }
}

fn texts(list: Option<&Value>) -> Vec<CompactString> {
    list.and_then(Value::as_array).unwrap_or_default().iter().filter_map(Value::as_str).map(Into::into).collect()
}

/// A number of either kind.
#[allow(clippy::cast_precision_loss, reason = "JSON numbers are doubles to OpenAPI")]
pub(crate) fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Int(number) => Some(*number as f64),
        Value::Float(number) => Some(*number),
        _ => None,
    }
}
