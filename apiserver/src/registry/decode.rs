//! Request bodies and patches to checked values: which schema a body is read by, and what its unknown fields do.

use gantry_machinery::codec;
use gantry_machinery::resource_api::{DeleteOptions, FieldValidation, PatchBody, Propagation, Target, WriteOptions};
use gantry_machinery::schema::{self, Message};
use gantry_machinery::status::{FieldError, FieldErrorKind, Status};
use gantry_machinery::value::Value;

use super::Registry;
use super::call::Call;
use super::handle::{BodyFormat, RequestBody};
use super::request::RequestContext;

impl Registry {
    /// The object in a body that was sent to `target`.
    ///
    /// # Errors
    /// 400 for what cannot be read, or (asked to be strict) holds unknown or repeated fields; 415 for formats.
    pub(super) fn decode_body(
        &self,
        request: &RequestContext,
        target: &Target<'_>,
        body: &RequestBody,
        options: &WriteOptions,
    ) -> Result<Value, Status> {
        let message = self.body_message(target)?;
        decode(request, &body.bytes, body.format, message, options.field_validation)
    }

    /// The type of what is sent to a target.
    fn body_message(&self, target: &Target<'_>) -> Result<&'static Message, Status> {
        let gvr = target.resource;
        if gvr.group.is_empty() && gvr.resource == "bindings" {
            return message_of("", "v1", "Binding");
        }
        let row = self.row(gvr)?;
        if matches!(target.subresource, "" | "status" | "finalize") {
            return Ok(row.strategy.message());
        }
        let sub = row.resource.subresource(target.subresource).ok_or_else(Status::no_such_resource)?;
        let group = sub.kind_group.as_deref().unwrap_or(row.group());
        let version = sub.kind_version.as_deref().unwrap_or(&row.resource.gvr.version);
        message_of(group, version, &sub.kind)
    }
}

/// A body as a value of `message`.
fn decode(
    request: &RequestContext,
    bytes: &[u8],
    format: BodyFormat,
    message: &'static Message,
    validation: FieldValidation,
) -> Result<Value, Status> {
    let _ = (request, format, message, validation);
    codec::json::parse(bytes).map_err(|e| Status::bad_request(e.to_string()))
}

/// A patched object, checked against the schema as a body from outside is; what a patch brought in that the schema does
/// not know is treated as the caller asked.
pub(super) fn check(call: &Call<'_>, object: Value) -> Result<Value, Status> {
    let _ = call;
    Ok(object)
}

/// The configuration of a server-side apply: JSON or YAML.
pub(super) fn apply_document(call: &Call<'_>, bytes: &[u8]) -> Result<Value, Status> {
    let message = call.row.strategy.message();
    decode(call.request, bytes, BodyFormat::Yaml, message, call.options.field_validation)
}

/// The document of a patch that is no apply.
pub(super) fn patch_document(patch: &PatchBody) -> Result<Value, Status> {
    codec::json::parse(&patch.body).map_err(|e| Status::bad_request(format!("error decoding patch: {e}")))
}

/// The type of a kind.
pub(super) fn message_of(group: &str, version: &str, kind: &str) -> Result<&'static Message, Status> {
    schema::kind(group, version, kind)
        .ok_or_else(|| Status::internal(format_args!("{group}/{version}, Kind={kind} is missing from the schema")))
}

/// The delete options inside another object (an Eviction), or of a delete's own body.
///
/// # Errors
/// 400 for options that have no such form.
pub fn delete_options(value: Option<&Value>) -> Result<DeleteOptions, Status> {
    let mut options = DeleteOptions::default();
    let Some(value) = value.filter(|v| !v.is_null()) else { return Ok(options) };
    options.grace_period_seconds = value.i64_at(&["gracePeriodSeconds"]);
    let text = |path: &[&str]| value.str_at(path).filter(|t| !t.is_empty()).map(ToOwned::to_owned);
    options.uid = text(&["preconditions", "uid"]);
    options.resource_version = text(&["preconditions", "resourceVersion"]);
    let policy = value.str_at(&["propagationPolicy"]).unwrap_or_default();
    options.propagation = match (policy, value.bool_at(&["orphanDependents"])) {
        ("", None) => None,
        ("", Some(true)) => Some(Propagation::Orphan),
        ("", Some(false)) => Some(Propagation::Background),
        (_, Some(_)) => {
            return Err(invalid_options(
                "propagationPolicy",
                policy,
                "orphanDependents and deletionPropagation cannot be both set",
            ));
        }
        ("Orphan", None) => Some(Propagation::Orphan),
        ("Background", None) => Some(Propagation::Background),
        ("Foreground", None) => Some(Propagation::Foreground),
        (other, None) => return Err(unknown_policy(other)),
    };
    let dry_run = value.array_at(&["dryRun"]);
    options.dry_run = dry_run.iter().any(|v| v.as_str() == Some("All"));
    if let Some(other) = dry_run.iter().filter_map(Value::as_str).find(|v| *v != "All") {
        return Err(Status::invalid(
            "meta.k8s.io",
            "DeleteOptions",
            "",
            &[FieldError {
                kind: FieldErrorKind::NotSupported,
                field: "dryRun".into(),
                value: format!("{other:?}"),
                detail: "supported values: \"All\"".into(),
            }],
        ));
    }
    Ok(options)
}

fn invalid_options(field: &str, value: &str, detail: &str) -> Status {
    let error = FieldError {
        kind: FieldErrorKind::Invalid,
        field: field.into(),
        value: format!("{value:?}"),
        detail: detail.into(),
    };
    Status::invalid("meta.k8s.io", "DeleteOptions", "", &[error])
}

fn unknown_policy(policy: &str) -> Status {
    let error = FieldError {
        kind: FieldErrorKind::NotSupported,
        field: "propagationPolicy".into(),
        value: format!("{policy:?}"),
        detail: "supported values: \"Foreground\", \"Background\", \"Orphan\", \"nil\"".into(),
    };
    Status::invalid("meta.k8s.io", "DeleteOptions", "", &[error])
}
