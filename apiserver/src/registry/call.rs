//! One write on its way through the verbs: which row, which object, for whom, how. And the lookups that every verb
//! begins with.

use compact_str::CompactString;
use gantry_machinery::resource::GroupVersionResource;
use gantry_machinery::resource_api::{Target, WriteOptions};
use gantry_machinery::status::Status;
use gantry_machinery::value::Value;
use gantry_store_cache::key::ObjectKey;

use super::Registry;
use super::metadata;
use super::request::RequestContext;
use super::table::{Found, Row};
use super::validate::{Errors, Path};

/// The circumstances of one write.
#[derive(Clone, Copy)]
pub(crate) struct Call<'a> {
    /// The resource.
    pub(crate) row: &'a Row,
    /// Who asks.
    pub(crate) request: &'a RequestContext,
    /// The namespace of the path; empty for resources without.
    pub(crate) namespace: &'a str,
    /// The name of the path; empty when the object brings its own.
    pub(crate) name: &'a str,
    /// The subresource; empty for the object itself.
    pub(crate) subresource: &'a str,
    /// How.
    pub(crate) options: &'a WriteOptions,
}

impl<'a> Call<'a> {
    /// A write's circumstances from its target, whose row is `row`.
    pub(super) fn new(
        row: &'a Row,
        request: &'a RequestContext,
        target: &Target<'a>,
        options: &'a WriteOptions,
    ) -> Self {
        let Target { namespace, name, subresource, .. } = *target;
        Self { row, request, namespace, name, subresource, options }
    }

    /// The field manager, as managedFields will name it.
    pub(super) fn manager(&self) -> &'a str {
        self.request.field_manager(&self.options.field_manager)
    }

    /// Where the object lies in the store.
    pub(super) fn key(&self, name: &str) -> ObjectKey {
        self.row.key(self.namespace, name)
    }

    /// 422 with these errors, if there are any.
    pub(super) fn refuse_invalid(&self, object: &Value, errors: Errors) -> Result<(), Status> {
        let errors = errors.into_vec();
        if errors.is_empty() {
            return Ok(());
        }
        let name = match metadata::text(object, "name") {
            "" => self.name,
            name => name,
        };
        Err(self.row.invalid(name, &errors))
    }

    /// Checks what the caller said about itself.
    pub(super) fn check_options(&self) -> Result<(), Status> {
        let mut errors = Errors::new();
        metadata::check_manager(&self.options.field_manager, &Path::new("fieldManager"), &mut errors);
        if errors.is_empty() {
            Ok(())
        } else {
            Err(Status::invalid("meta.k8s.io", "CreateOptions", "", &errors.into_vec()))
        }
    }
}

impl Row {
    /// Where an object of this resource lies in the store.
    pub(crate) fn key(&self, namespace: &str, name: &str) -> ObjectKey {
        ObjectKey::new(&self.collection, if self.resource.namespaced { namespace } else { "" }, name)
    }

    /// Tells the caller that this kind is deprecated, if it is.
    pub(crate) fn warn_deprecated(&self, request: &RequestContext) {
        if let Some(advice) = self.strategy.deprecated() {
            request.warnings.add(advice);
        }
    }

    /// 422 for an object of this kind.
    pub(crate) fn invalid(&self, name: &str, errors: &[gantry_machinery::status::FieldError]) -> Status {
        Status::invalid(self.group(), &self.resource.kind, name, errors)
    }
}

impl Registry {
    /// The row of a resource.
    ///
    /// # Errors
    /// 404 for what is not served.
    pub(super) fn row(&self, gvr: &GroupVersionResource) -> Result<Found<'_>, Status> {
        self.table.get(gvr).ok_or_else(Status::no_such_resource)
    }
}

/// Puts `apiVersion` and `kind` in their place.
///
/// # Errors
/// 400 when the object says it is something else.
pub(super) fn settle_type(object: &mut Value, api_version: &str, kind: &str) -> Result<(), Status> {
    let said = object.str_at(&["apiVersion"]).unwrap_or_default();
    let said_kind = object.str_at(&["kind"]).unwrap_or_default();
    if !said.is_empty() && said != api_version {
        return Err(Status::bad_request(format!(
            "the API version in the data ({said}) does not match the expected API version ({api_version})"
        )));
    }
    if !said_kind.is_empty() && said_kind != kind {
        return Err(Status::bad_request(format!(
            "{said_kind} in version \"{api_version}\" cannot be handled as a {kind}: the kind in the data does not match \
             the resource"
        )));
    }
    if said.is_empty() || said_kind.is_empty() {
        let fields = std::mem::replace(object, Value::object());
        let whole = object.force_object();
        whole.insert("kind", kind);
        whole.insert("apiVersion", api_version);
        if let Value::Object(fields) = fields {
            for (key, value) in fields {
                if key != "kind" && key != "apiVersion" {
                    whole.push_unchecked(key, value);
                }
            }
        }
    }
    Ok(())
}

/// Makes the object's namespace that of the path.
///
/// # Errors
/// 400 when it says another.
pub(super) fn settle_namespace(call: &Call<'_>, object: &mut Value) -> Result<(), Status> {
    let said = metadata::text(object, "namespace");
    if said == call.namespace {
        return Ok(());
    }
    if call.namespace.is_empty() {
        metadata::of(object).remove("namespace");
        return Ok(());
    }
    if said.is_empty() {
        metadata::of(object).insert("namespace", call.namespace);
        return Ok(());
    }
    Err(Status::bad_request("the namespace of the provided object does not match the namespace sent on the request"))
}

/// Makes the object's name that of the path.
///
/// # Errors
/// 400 when it says another.
pub(super) fn settle_name(call: &Call<'_>, object: &mut Value) -> Result<(), Status> {
    let said = metadata::text(object, "name");
    if call.name.is_empty() || said == call.name {
        return Ok(());
    }
    if said.is_empty() {
        metadata::of(object).insert("name", CompactString::from(call.name));
        return Ok(());
    }
    Err(Status::bad_request(format!(
        "the name of the object ({said}) does not match the name on the URL ({})",
        call.name
    )))
}
