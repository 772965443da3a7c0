//! [`CustomKind`]: one version of a custom resource as a strategy, so that the verbs serve it as they serve built-in kinds.
//!
//! ```text
//!  body ─ decode (envelope) ─ prune ─▶ defaults ─▶ managedFields ─▶ check ─▶ apiVersion of the storage version ─▶ store
//!  store ─ prune, default (by the version it is stored in) ─▶ apiVersion of this version ─▶ reader
//! ```
//!
//! The way back is only gone for objects that were written before the definition last changed, or are stored in another
//! version: all others are handed out as their stored bytes. Immutable but for that one mark; made by [`super::definition`],
//! freed when the last request that uses it ends.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use compact_str::CompactString;
use gantry_machinery::codec::json::{self, DecodeError, Decoded};
use gantry_machinery::resource::Resource;
use gantry_machinery::resource_api::FieldValidation;
use gantry_machinery::schema::Message;
use gantry_machinery::status::{FieldError, Status, quote};
use gantry_machinery::time;
use gantry_machinery::value::{Object, Value};
use gantry_store_cache::object::StoredObject;
use gantry_store_cache::revision::Revision;
use tokio_util::sync::CancellationToken;

use super::json_path::{JsonPath, as_text};
use super::prune::{self, Unknown};
use super::schema::{Schema, number};
use super::values;
use crate::registry::strategy::{Column, Expected, ScalePaths, Strategy, keep};
use crate::registry::validate::{Errors, Path};

/// One version of a custom resource.
pub struct CustomKind {
    /// Its row.
    pub(crate) resource: Arc<Resource>,
    /// Its fields, for apply.
    pub(crate) message: Arc<Message>,
    /// What bodies are read by first.
    pub(crate) envelope: Message,
    /// This version's schema.
    pub(crate) schema: Arc<Schema>,
    /// The schemas of all versions: objects may be stored in any of them.
    pub(crate) schemas: Arc<HashMap<String, Arc<Schema>>>,
    /// `group/version` of this version.
    pub(crate) api_version: String,
    /// `group/version` of the version that is stored.
    pub(crate) stored_api_version: String,
    /// Whether status is a subresource.
    pub(crate) status: bool,
    /// Where the Scale is, if it is a subresource.
    pub(crate) scale: Option<ScalePaths>,
    /// The columns of Tables, and where each finds its cell (the first is the name).
    pub(crate) columns: Vec<Column>,
    pub(crate) cells: Vec<Option<JsonPath>>,
    /// Fields that objects are selected by (`spec.color`).
    pub(crate) selectable: Vec<(String, JsonPath)>,
    /// What readers are warned of.
    pub(crate) deprecated: Option<String>,
    /// The definition, for OpenAPI.
    pub(crate) source: Arc<StoredObject>,
    /// Objects of later revisions are stored as readers of the storage version see them.
    pub(crate) settled: Arc<AtomicU64>,
    /// Cancelled when another definition takes this one's place.
    pub(crate) retired: CancellationToken,
}

impl CustomKind {
    /// Takes out what the schema does not know, and says so in `faults`.
    fn prune(&self, object: &mut Value, faults: &mut Vec<String>) {
        let mut unknown = Unknown::default();
        prune::prune(object, &self.schema, &mut unknown);
        faults.extend(unknown.paths.iter().map(|path| format!("unknown field {}", quote(path))));
    }

    /// Numbers of replicas are counts.
    fn check_scale(&self, object: &Value, errors: &mut Errors) {
        let Some(scale) = &self.scale else { return };
        for path in [&scale.spec_replicas, &scale.status_replicas] {
            let words: Vec<&str> = path.iter().map(String::as_str).collect();
            let Some(replicas) = object.i64_at(&words) else { continue };
            let at = format!(".{}", path.join("."));
            if replicas < 0 {
                errors.invalid(&Path::new(&at), replicas, "should be a non-negative integer");
            } else if replicas > i64::from(i32::MAX) {
                let detail = format!("should be less than or equal to {}", i32::MAX);
                errors.invalid(&Path::new(&at), replicas, detail);
            }
        }
    }
}

/// How lenient the first reading of a body may be: faults are collected and judged with those of pruning.
fn collecting(validation: FieldValidation) -> FieldValidation {
    match validation {
        FieldValidation::Ignore => FieldValidation::Ignore,
        _ => FieldValidation::Warn,
    }
}

impl Strategy for CustomKind {
    fn resource(&self) -> &Resource {
        &self.resource
    }

    fn message(&self) -> &Message {
        &self.message
    }

    fn decode(&self, body: &[u8], expected: Expected<'_>, validation: FieldValidation) -> Result<Decoded, Status> {
        let mut decoded = json::decode_body(body, &self.envelope, expected, collecting(validation))?;
        self.prune(&mut decoded.value, &mut decoded.warnings);
        match validation {
            FieldValidation::Strict if !decoded.warnings.is_empty() => {
                let (_, version, kind) = expected;
                Err(DecodeError::Strict(decoded.warnings).to_status(kind, version, body))
            }
            _ => Ok(decoded),
        }
    }

    fn recheck(&self, object: &Value, validation: FieldValidation) -> Result<Decoded, DecodeError> {
        let mut decoded = json::decode_value(object, &self.envelope, collecting(validation))?;
        self.prune(&mut decoded.value, &mut decoded.warnings);
        match validation {
            FieldValidation::Strict if !decoded.warnings.is_empty() => Err(DecodeError::Strict(decoded.warnings)),
            _ => Ok(decoded),
        }
    }

    fn custom(&self) -> Option<&CustomKind> {
        Some(self)
    }

    fn retired(&self) -> Option<&CancellationToken> {
        Some(&self.retired)
    }

    fn is_as_stored(&self, revision: Revision) -> bool {
        self.api_version == self.stored_api_version && revision.0 > self.settled.load(Ordering::Acquire)
    }

    fn read_stored(&self, object: &mut Value) -> bool {
        let before = object.clone();
        let version = object.str_at(&["apiVersion"]).and_then(|v| v.rsplit('/').next()).unwrap_or_default();
        let schema = self.schemas.get(version).unwrap_or(&self.schema).clone();
        prune::prune(object, &schema, &mut Unknown::default());
        prune::default(object, &schema);
        object.set(&["apiVersion"], self.api_version.as_str());
        *object != before
    }

    fn write_stored(&self, object: &mut Value) {
        object.set(&["apiVersion"], self.stored_api_version.as_str());
    }

    fn scale_paths(&self) -> Option<&ScalePaths> {
        self.scale.as_ref()
    }

    fn computed_field(&self, object: &Value, field: &str) -> Option<CompactString> {
        let (_, path) = self.selectable.iter().find(|(name, _)| name == field)?;
        let text = |value: &Value| match value {
            Value::String(text) => text.clone(),
            other => as_text(other).into(),
        };
        Some(path.find(object).first().filter(|v| !v.is_null()).map(|v| text(v)).unwrap_or_default())
    }

    fn prepare_for_create(&self, object: &mut Value) {
        if self.status {
            object.remove(&["status"]);
        }
    }

    fn default(&self, object: &mut Value) {
        prune::default(object, &self.schema);
    }

    fn check(&self, object: &Value, errors: &mut Errors) {
        for error in values::check(object, None, &self.schema, &Path::root()) {
            errors.add(error);
        }
        self.check_scale(object, errors);
    }

    fn prepare_for_update(&self, new: &mut Value, old: &Value, subresource: &str) {
        match subresource {
            // All that a write of status changes is status, and who wrote it.
            "status" => {
                let managed = new.remove(&["metadata", "managedFields"]);
                let status = new.remove(&["status"]);
                let version = new.at(&["metadata", "resourceVersion"]).cloned().unwrap_or_default();
                *new = old.clone();
                let metadata = new.force_object().object_entry("metadata");
                metadata.insert("resourceVersion", version);
                match managed {
                    Some(managed) => drop(metadata.insert("managedFields", managed)),
                    None => drop(metadata.remove("managedFields")),
                }
                match status {
                    Some(status) => new.set(&["status"], status),
                    None => drop(new.remove(&["status"])),
                }
            }
            _ if self.status => keep(new, old, "status"),
            _ => {}
        }
    }

    fn validate_update(&self, new: &Value, old: &Value, _subresource: &str) -> Vec<FieldError> {
        let mut errors = Errors::new();
        for error in values::check(new, Some(old), &self.schema, &Path::root()) {
            errors.add(error);
        }
        self.check_scale(new, &mut errors);
        errors.into_vec()
    }

    fn deprecated(&self) -> Option<&str> {
        self.deprecated.as_deref()
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn generation_changed(&self, new: &Value, old: &Value) -> bool {
        let counts = |key: &str| !(key == "metadata" || (self.status && key == "status"));
        let fields = |value: &'_ Value| -> Vec<(CompactString, Value)> {
            let fields = value.as_object().into_iter().flat_map(Object::iter).filter(|(key, _)| counts(key));
            fields.map(|(key, value)| (key.clone(), value.clone())).collect()
        };
        let (new, old) = (Object::from_unchecked(fields(new)), Object::from_unchecked(fields(old)));
        new != old
    }

    fn columns(&self) -> &[Column] {
        &self.columns
    }

    fn row(&self, object: &Value, now: i64) -> Vec<Value> {
        let name = object.at(&["metadata", "name"]).cloned().unwrap_or_default();
        let cells = self.columns.iter().zip(&self.cells).skip(1);
        std::iter::once(name)
            .chain(cells.map(|(column, path)| cell(&column.kind, path.as_ref(), object, now)))
            .collect()
    }
}

/// What a printer column of this type shows of an object; `null` where there is nothing of the type.
fn cell(kind: &str, path: Option<&JsonPath>, object: &Value, now: i64) -> Value {
    let found = path.map(|path| path.find(object)).unwrap_or_default();
    let Some(first) = found.first() else { return Value::Null };
    match (kind, first) {
        ("string", _) => Value::from(as_text(first)),
        ("integer", Value::Int(_)) | ("boolean", Value::Bool(_)) => (*first).clone(),
        #[allow(clippy::cast_possible_truncation, reason = "as Go converts it")]
        ("integer", Value::Float(held)) => Value::Int(*held as i64),
        ("number", _) => number(first).map_or(Value::Null, Value::Float),
        ("date", Value::String(text)) => match time::parse(text) {
            Some(_) => Value::String(time::age(Some(text), now)),
            None => Value::from("<invalid>"),
        },
        _ => Value::Null,
    }
}
