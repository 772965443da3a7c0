//! Several versions of one kind over one collection of the store: how a served version that is not the stored one
//! becomes it and back (API concepts, "API versioning").
//!
//! A [`Version`] is a [`Strategy`] like any other, so its row routes, is discovered and documented as any row is. The
//! verbs turn what was sent into the stored form right after decoding ([`Version::accept`]) and work on that form with
//! the rules of the stored version; what they answer is turned back at their end ([`show`]), watch events where they
//! are encoded, once for all watchers of a form. Patches and applies are made on the form that the client sees.
//! For the stored version itself every hook here is one call that answers `None`: its reads stay the stored bytes.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use compact_str::CompactString;
use gantry_machinery::codec::json;
use gantry_machinery::patch::apply::OtherVersions;
use gantry_machinery::resource::Resource;
use gantry_machinery::resource_api::Deleted;
use gantry_machinery::schema::Message;
use gantry_machinery::selector::{FieldRequirement, FieldSelector};
use gantry_machinery::status::{FieldError, Status};
use gantry_machinery::value::Value;
use gantry_store_cache::object::StoredObject;

use super::handle::Written;
use super::strategy::{Column, Strategy};
use super::validate::Errors;
use super::{body, kinds};

/// One served version of a kind that is stored in another.
pub struct Version {
    group: &'static str,
    version: &'static str,
    resource: &'static str,
    /// Group and version that the objects are stored in; the resource has the same name there.
    stored_in: (&'static str, &'static str),
    default: fn(&mut Value),
    to_stored: Option<fn(&mut Value)>,
    from_stored: Option<fn(&mut Value)>,
    fields: Option<&'static [(&'static str, &'static str)]>,
    rules: Option<Rules>,
    deprecated: Option<&'static str>,
    found: OnceLock<Found>,
}

/// Rules of a version that differ from the stored version's. Both look at stored forms.
#[derive(Clone, Copy)]
pub struct Rules {
    /// What is wrong with a new object.
    pub create: fn(&Value, &mut Errors),
    /// What is wrong with an update: new, old.
    pub update: fn(&Value, &Value, &mut Errors),
}

struct Found {
    resource: &'static Resource,
    message: &'static Message,
    stored: &'static dyn Strategy,
}

impl Version {
    /// A version whose objects have the stored version's shape: only `apiVersion` differs.
    pub(super) const fn new(
        group: &'static str,
        version: &'static str,
        resource: &'static str,
        stored_in: (&'static str, &'static str),
    ) -> Self {
        const fn as_it_is(_: &mut Value) {}
        Self {
            group,
            version,
            resource,
            stored_in,
            default: as_it_is,
            to_stored: None,
            from_stored: None,
            fields: None,
            rules: None,
            deprecated: None,
            found: OnceLock::new(),
        }
    }

    /// How its objects become stored ones and back. Types are settled by the mechanism.
    pub(super) const fn converted(mut self, to_stored: fn(&mut Value), from_stored: fn(&mut Value)) -> Self {
        self.to_stored = Some(to_stored);
        self.from_stored = Some(from_stored);
        self
    }

    /// Its own defaults, filled in before it becomes the stored form (which then gets that version's).
    pub(super) const fn defaulted(mut self, default: fn(&mut Value)) -> Self {
        self.default = default;
        self
    }

    /// The fields that selectors may name in this version, with their names in the stored one.
    pub(super) const fn selected_by(mut self, fields: &'static [(&'static str, &'static str)]) -> Self {
        self.fields = Some(fields);
        self
    }

    /// Rules that hold instead of the stored version's.
    pub(super) const fn ruled_by(mut self, rules: Rules) -> Self {
        self.rules = Some(rules);
        self
    }

    /// What every request in this version is warned of.
    pub(super) const fn deprecated_as(mut self, advice: &'static str) -> Self {
        self.deprecated = Some(advice);
        self
    }

    /// Whether the version that its objects are stored in is built: else it cannot be served.
    pub(super) fn is_built(&self) -> bool {
        kinds::stored_kind(self.stored_in.0, self.stored_in.1, self.resource).is_some()
    }

    fn find(&self) -> &Found {
        self.found.get_or_init(|| {
            let (group, version) = self.stored_in;
            Found {
                resource: kinds::resource(self.group, self.version, self.resource),
                message: kinds::message(self.group, self.version, self.resource),
                stored: kinds::stored_kind(group, version, self.resource)
                    .expect("only versions that are built are used"),
            }
        })
    }

    /// Group and version that the objects are stored in.
    #[cfg(test)]
    pub(super) fn stored_in(&self) -> (&'static str, &'static str) {
        self.stored_in
    }

    /// How the row of this version is found: group, version, resource.
    #[cfg(test)]
    pub(super) fn path(&self) -> [&'static str; 3] {
        [self.group, self.version, self.resource]
    }

    /// Whether its shape differs from the stored one.
    #[cfg(test)]
    pub(super) fn converts(&self) -> bool {
        self.to_stored.is_some()
    }

    /// The strategy of the version that objects are stored in.
    #[must_use]
    pub fn stored(&self) -> &'static dyn Strategy {
        self.find().stored
    }

    /// Turns an object as it was sent into the stored form, defaults of this version filled in.
    pub(super) fn accept(&self, object: &mut Value) {
        (self.default)(object);
        if let Some(convert) = self.to_stored {
            convert(object);
        }
        settle(object, self.stored().resource());
    }

    /// Turns an object in the stored form into this version. Leaves what is no such object (a Scale) as it is.
    pub(super) fn turn(&self, object: &mut Value) {
        let stored = self.stored().resource();
        if object.str_at(&["apiVersion"]) == Some(&stored.api_version())
            && object.str_at(&["kind"]) == Some(&stored.kind)
        {
            if let Some(convert) = self.from_stored {
                convert(object);
            }
            settle(object, self.find().resource);
        }
    }

    /// A stored object as this version shows it: the same key, revision and facets around other bytes.
    ///
    /// # Errors
    /// 500 for a stored body that cannot be read.
    pub fn shown(&self, object: &StoredObject) -> Result<StoredObject, Status> {
        let mut value = (*body::decode(object)?).clone();
        self.turn(&mut value);
        let bytes = Bytes::from(json::encode(&value));
        Ok(StoredObject::new(object.key.clone(), object.revision, object.created, bytes, object.facets.clone()))
    }

    /// A selector in this version's field names as one in the stored version's.
    ///
    /// # Errors
    /// The field that the version cannot be selected by.
    pub(super) fn translated(&self, fields: &FieldSelector) -> Result<FieldSelector, CompactString> {
        let Some(names) = self.fields else { return Ok(fields.clone()) };
        let requirement = |r: &FieldRequirement| -> Result<FieldRequirement, CompactString> {
            if matches!(r.field.as_str(), "metadata.name" | "metadata.namespace") {
                return Ok(r.clone());
            }
            let (_, stored) = names.iter().find(|(name, _)| *name == r.field).ok_or_else(|| r.field.clone())?;
            Ok(FieldRequirement { field: (*stored).into(), ..r.clone() })
        };
        Ok(FieldSelector::from_requirements(fields.requirements().iter().map(requirement).collect::<Result<_, _>>()?))
    }

    /// Tells this version's encodings of one event from those of the other versions of its kind; never 0, which is the
    /// stored version's.
    #[must_use]
    pub fn ordinal(&self) -> u32 {
        let at = kinds::VERSIONS.iter().position(|v| std::ptr::eq(v, self)).unwrap_or(kinds::VERSIONS.len());
        u32::try_from(at + 1).unwrap_or(u32::MAX)
    }
}

/// Makes an object say that it is of this resource.
fn settle(object: &mut Value, resource: &Resource) {
    object.set(&["kind"], &*resource.kind);
    object.set(&["apiVersion"], &*resource.api_version());
}

/// A stored object as its row's version shows it; the very same one where that is the stored version.
pub(crate) fn show(strategy: &dyn Strategy, object: Arc<StoredObject>) -> Result<Arc<StoredObject>, Status> {
    match strategy.version() {
        None => body::shown(strategy, object),
        Some(version) => Ok(Arc::new(version.shown(&object)?)),
    }
}

/// [`show`] of what a write came to.
pub(super) fn show_written(strategy: &dyn Strategy, written: Written) -> Result<Written, Status> {
    Ok(Written { object: show(strategy, written.object)?, ..written })
}

/// [`show`] of what a delete left.
pub(super) fn show_deleted(strategy: &dyn Strategy, deleted: Deleted) -> Result<Deleted, Status> {
    Ok(match deleted {
        Deleted::Gone(object) => Deleted::Gone(show(strategy, object)?),
        Deleted::Marked(object) => Deleted::Marked(show(strategy, object)?),
    })
}

/// The versions that entries of managedFields may be in, seen from a write in one of them.
pub(super) struct Neighbours {
    /// The version of the write, if it is not the stored one.
    own: Option<&'static Version>,
    stored: &'static dyn Strategy,
}

impl Neighbours {
    /// Those of a strategy; `None` for kinds of one version.
    pub(super) fn of(strategy: &dyn Strategy) -> Option<Self> {
        let resource = strategy.resource();
        let own = version_of(resource);
        let stored = match own {
            Some(version) => version.stored(),
            None => kinds::VERSIONS.iter().find(|v| v.is_stored_as(resource))?.stored(),
        };
        Some(Self { own, stored })
    }

    fn find(&self, api_version: &str) -> Option<Option<&'static Version>> {
        let stored = self.stored.resource();
        if stored.api_version() == api_version {
            return Some(None);
        }
        let is = |v: &&Version| v.is_stored_as(stored) && v.find().resource.api_version() == api_version;
        kinds::VERSIONS.iter().find(is).map(Some)
    }
}

/// The version that serves a resource, if that is not a stored one.
fn version_of(resource: &Resource) -> Option<&'static Version> {
    let gvr = &resource.gvr;
    kinds::VERSIONS.iter().find(|v| v.resource == gvr.resource && v.version == gvr.version && v.group == gvr.group)
}

impl Version {
    fn is_stored_as(&self, stored: &Resource) -> bool {
        let gvr = &stored.gvr;
        self.stored_in == (&gvr.group, &gvr.version) && self.resource == gvr.resource
    }
}

impl fmt::Debug for Neighbours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "versions of {}", self.stored.resource().gvr)
    }
}

impl OtherVersions for Neighbours {
    fn shown_in(&self, object: &Value, api_version: &str) -> Option<(Value, &'static Message)> {
        let other = self.find(api_version)?;
        let mut object = object.clone();
        if let Some(own) = self.own {
            own.accept(&mut object);
        }
        match other {
            None => Some((object, self.stored.message())),
            Some(version) => {
                version.turn(&mut object);
                Some((object, version.find().message))
            }
        }
    }

    fn back_from(&self, mut object: Value, api_version: &str) -> Option<Value> {
        if let Some(version) = self.find(api_version)? {
            version.accept(&mut object);
        }
        if let Some(own) = self.own {
            own.turn(&mut object);
        }
        Some(object)
    }
}

/// The stored version's strategy, seen through this version: all but [`Strategy::row`] look at stored forms.
impl Strategy for Version {
    fn resource(&self) -> &'static Resource {
        self.find().resource
    }

    fn message(&self) -> &'static Message {
        self.find().message
    }

    fn version(&self) -> Option<&Version> {
        Some(self)
    }

    fn name_errors(&self, name: &str, prefix: bool) -> Vec<String> {
        self.stored().name_errors(name, prefix)
    }

    fn prepare_for_create(&self, object: &mut Value) {
        self.stored().prepare_for_create(object);
    }

    fn default(&self, object: &mut Value) {
        self.stored().default(object);
    }

    fn validate(&self, object: &Value) -> Vec<FieldError> {
        let Some(rules) = self.rules else { return self.stored().validate(object) };
        let mut errors = Errors::new();
        (rules.create)(object, &mut errors);
        errors.into_vec()
    }

    fn prepare_for_update(&self, new: &mut Value, old: &Value, subresource: &str) {
        self.stored().prepare_for_update(new, old, subresource);
    }

    fn validate_update(&self, new: &Value, old: &Value, subresource: &str) -> Vec<FieldError> {
        let Some(rules) = self.rules else { return self.stored().validate_update(new, old, subresource) };
        let mut errors = Errors::new();
        (rules.update)(new, old, &mut errors);
        errors.into_vec()
    }

    fn warnings(&self, new: &Value, old: Option<&Value>) -> Vec<String> {
        let mut warnings = self.stored().warnings(new, old);
        warnings.extend(self.deprecated.map(ToOwned::to_owned));
        warnings
    }

    fn deprecated(&self) -> Option<&'static str> {
        self.deprecated
    }

    fn generation_changed(&self, new: &Value, old: &Value) -> bool {
        self.stored().generation_changed(new, old)
    }

    fn has_generation(&self) -> bool {
        self.stored().has_generation()
    }

    fn selectable_fields(&self) -> &'static [&'static str] {
        self.stored().selectable_fields()
    }

    fn fields(&self, object: &Value) -> Vec<(&'static str, CompactString)> {
        self.stored().fields(object)
    }

    fn columns(&self) -> &'static [Column] {
        self.stored().columns()
    }

    /// Upstream prints internal objects, so the columns are the same in every version.
    fn row(&self, object: &Value, now: i64) -> Vec<Value> {
        let mut object = object.clone();
        self.accept(&mut object);
        self.stored().row(&object, now)
    }

    fn grace_period(&self, object: &Value, asked: Option<i64>) -> Option<i64> {
        self.stored().grace_period(object, asked)
    }

    fn create_on_update(&self) -> bool {
        self.stored().create_on_update()
    }

    fn unconditional_update(&self) -> bool {
        self.stored().unconditional_update()
    }

    fn ttl(&self) -> Option<Duration> {
        self.stored().ttl()
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}/{}/{} stored in {}/{}",
            self.group, self.version, self.resource, self.stored_in.0, self.stored_in.1
        )
    }
}
