//! What is particular about one kind, as one trait; the verbs are the same for all of them.
//!
//! Called by the verbs in this order. Create: `prepare_for_create`, `default`, (admission), `validate`. Update, patch:
//! `default` on the new state, `prepare_for_update` (restores from `old` what the caller may not change), (admission),
//! `validate_update`. All of it works on a [`Value`] that the codec has already checked against the schema.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use compact_str::CompactString;
use gantry_machinery::codec::json::{self, DecodeError, Decoded};
pub use gantry_machinery::codec::table::Column;
use gantry_machinery::resource::Resource;
use gantry_machinery::resource_api::FieldValidation;
use gantry_machinery::schema::Message;
use gantry_machinery::status::{FieldError, Status};
use gantry_machinery::value::Value;
use gantry_store_cache::revision::Revision;

use tokio_util::sync::CancellationToken;

use super::custom::kind::CustomKind;
use super::validate::Errors;
use super::versions::Version;

/// Group, version and kind that a body is to have.
pub type Expected<'a> = (&'a str, &'a str, &'a str);

/// A strategy as rows hold it: `static` for built-in kinds, counted for custom ones, whose last user frees them.
#[derive(Clone)]
pub enum AnyStrategy {
    /// Of a built-in kind.
    BuiltIn(&'static dyn Strategy),
    /// Of a custom kind.
    Custom(Arc<dyn Strategy>),
}

impl Deref for AnyStrategy {
    type Target = dyn Strategy;
    fn deref(&self) -> &(dyn Strategy + 'static) {
        match self {
            Self::BuiltIn(strategy) => *strategy,
            Self::Custom(strategy) => &**strategy,
        }
    }
}

/// Where a kind's Scale is found in its objects.
#[derive(Clone, Debug)]
pub struct ScalePaths {
    /// The wanted number of replicas.
    pub spec_replicas: Vec<String>,
    /// The number there is.
    pub status_replicas: Vec<String>,
    /// The selector as text, if the kind has one.
    pub selector: Option<Vec<String>>,
}

/// The strategy of one kind. Stateless: everything it needs is in its arguments.
pub trait Strategy: Send + Sync + 'static {
    /// The resource's row.
    fn resource(&self) -> &Resource;

    /// The kind's fields.
    fn message(&self) -> &Message;

    /// A JSON body as an object of this kind; `expected` is its group, version and kind.
    ///
    /// # Errors
    /// The 400 for the client.
    fn decode(&self, body: &[u8], expected: Expected<'_>, validation: FieldValidation) -> Result<Decoded, Status> {
        json::decode_body(body, self.message(), expected, validation)
    }

    /// A patched object, checked as a body from outside is.
    ///
    /// # Errors
    /// What is wrong with it.
    fn recheck(&self, object: &Value, validation: FieldValidation) -> Result<Decoded, DecodeError> {
        json::decode_value(object, self.message(), validation)
    }

    /// Whether the kind is a custom one: without protobuf and strategic merge patches, its state perhaps stored under
    /// an older schema.
    fn is_custom(&self) -> bool {
        self.custom().is_some()
    }

    /// The custom kind that this is, if it is one.
    fn custom(&self) -> Option<&CustomKind> {
        None
    }

    /// Makes an object that is to be deleted ready for it: its own finalizer, a condition. Gives whether there is
    /// anything that holds it.
    fn prepare_for_delete(&self, _object: &mut Value) -> bool {
        false
    }

    /// Cancelled once the kind's definition is another one: watches end and begin anew. `None` for built-in kinds.
    fn retired(&self) -> Option<&CancellationToken> {
        None
    }

    /// Makes a stored object what this version's readers see. Gives whether it changed.
    fn read_stored(&self, _object: &mut Value) -> bool {
        false
    }

    /// Whether the object at this revision is stored as this version's readers see it, so that its bytes can be handed
    /// out. Asked for every object that is read.
    fn is_as_stored(&self, _revision: Revision) -> bool {
        true
    }

    /// Makes an object of this version what is stored.
    fn write_stored(&self, _object: &mut Value) {}

    /// Where the Scale is, for kinds that do not have it at `spec.replicas` and `spec.selector`.
    fn scale_paths(&self) -> Option<&ScalePaths> {
        None
    }

    /// The value of a field that objects can be selected by although it is no facet; `None` if there is no such field.
    fn computed_field(&self, _object: &Value, _field: &str) -> Option<CompactString> {
        None
    }

    /// How objects of this version become stored ones, if it is not the version they are stored in.
    fn version(&self) -> Option<&Version> {
        None
    }

    /// How names are checked: gives what is wrong with `name`, in upstream's words. `prefix`: it is a `generateName`.
    fn name_errors(&self, name: &str, prefix: bool) -> Vec<String> {
        super::validate::name::subdomain_errors(name, prefix)
    }

    /// Drops what a creator may not set (status) and sets what the server sets (initial phase, generation).
    fn prepare_for_create(&self, object: &mut Value) {
        if self.resource().subresource("status").is_some() {
            object.remove(&["status"]);
        }
    }

    /// Fills in the version's defaults. Idempotent.
    fn default(&self, _object: &mut Value) {}

    /// Everything wrong with a new object but its metadata, which the verbs check for every kind.
    fn validate(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = Errors::new();
        self.check(object, &mut errors);
        errors.into_vec()
    }

    /// The kind's own rules, as [`Strategy::validate`] gives them.
    fn check(&self, _object: &Value, _errors: &mut Errors) {}

    /// Makes an update whole: restores from `old` what this endpoint may not change. `subresource` is empty for the
    /// object itself; `status` keeps all but status.
    fn prepare_for_update(&self, new: &mut Value, old: &Value, subresource: &str) {
        match subresource {
            "status" => keep_all_but_status(new, old),
            "" if self.resource().subresource("status").is_some() => keep(new, old, "status"),
            _ => {}
        }
    }

    /// Everything wrong with an update, the rules of `validate` included where upstream applies them.
    fn validate_update(&self, new: &Value, old: &Value, subresource: &str) -> Vec<FieldError> {
        let mut errors = Errors::new();
        self.check_update(new, old, subresource, &mut errors);
        errors.into_vec()
    }

    /// The kind's own rules for updates, as [`Strategy::validate_update`] gives them.
    fn check_update(&self, new: &Value, _old: &Value, subresource: &str, errors: &mut Errors) {
        if subresource.is_empty() {
            self.check(new, errors);
        }
    }

    /// Advice for the caller about what it sent (deprecated fields and the like), sent as `Warning` headers.
    fn warnings(&self, _new: &Value, _old: Option<&Value>) -> Vec<String> {
        Vec::new()
    }

    /// Advice for whoever reads the kind or deletes it: upstream warns on every verb of a deprecated type.
    fn deprecated(&self) -> Option<&str> {
        None
    }

    /// Whether the desired state differs, so that `metadata.generation` grows; kinds without generation say `false`
    /// and never have one.
    fn generation_changed(&self, new: &Value, old: &Value) -> bool {
        !super::validate::same(new.get("spec"), old.get("spec"))
    }

    /// Whether objects of this kind carry `metadata.generation` at all.
    fn has_generation(&self) -> bool {
        self.resource().subresource("status").is_some()
    }

    /// The fields that field selectors may name, besides `metadata.name` and `metadata.namespace`.
    fn selectable_fields(&self) -> &'static [&'static str] {
        &[]
    }

    /// The values of the selectable fields; empty values may be left out.
    fn fields(&self, _object: &Value) -> Vec<(&'static str, CompactString)> {
        Vec::new()
    }

    /// The columns of the kind's Table, in order.
    fn columns(&self) -> &[Column] {
        const { &[Column::name(), Column::date("Created At")] }
    }

    /// One row of the Table: a cell per column. `now` for ages, Unix seconds.
    fn row(&self, object: &Value, _now: i64) -> Vec<Value> {
        ["name", "creationTimestamp"].map(|f| object.at(&["metadata", f]).cloned().unwrap_or_default()).into()
    }

    /// Seconds between the request to delete and the end, for kinds that end gracefully (pods); `None` deletes at once.
    fn grace_period(&self, _object: &Value, _asked: Option<i64>) -> Option<i64> {
        None
    }

    /// Whether PUT of a name that does not exist creates it.
    fn create_on_update(&self) -> bool {
        false
    }

    /// Whether an update without a resourceVersion is taken as one against the latest.
    fn unconditional_update(&self) -> bool {
        true
    }

    /// How long an object lives without another write (Events).
    fn ttl(&self) -> Option<Duration> {
        None
    }
}

/// Restores the top-level `field` from `old`.
pub(crate) fn keep(new: &mut Value, old: &Value, field: &str) {
    match old.get(field) {
        Some(was) if new.get(field) == Some(was) => {}
        Some(was) => {
            new.force_object().insert(field, was.clone());
        }
        None => {
            new.remove(&[field]);
        }
    }
}

/// What a write of status may not touch: everything but `status` and `metadata` (of which the verbs keep what no
/// update may change). Compares before it copies: most writers send the rest back as it was.
pub(crate) fn keep_all_but_status(new: &mut Value, old: &Value) {
    let written = |field: &str| matches!(field, "status" | "metadata");
    new.force_object().retain(|field, _| written(field) || old.get(field).is_some());
    for (field, _) in old.as_object().into_iter().flat_map(gantry_machinery::value::Object::iter) {
        if !written(field) {
            keep(new, old, field);
        }
    }
}
