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
use super::strategy::Strategy;
use super::table::Row;
use super::validate::{Errors, Path};

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
        let row;
        let expected = if target.resource.group.is_empty() && target.resource.resource == "bindings" {
            Expected::other("", "v1", "Binding")?
        } else {
            row = self.row(target.resource)?;
            Expected::of(&row, target.subresource)?
        };
        decode(request, body, &expected, options.field_validation)
    }
}

/// What a body is to be: its type, and what `apiVersion` and `kind` must say.
struct Expected<'a> {
    shape: Shape<'a>,
    group: &'a str,
    version: &'a str,
    kind: &'a str,
}

/// How a body is read.
enum Shape<'a> {
    /// As an object of the kind that the path names.
    Own(&'a dyn Strategy),
    /// As another kind (`Scale`, `Eviction`).
    Other(&'static Message),
}

impl<'a> Expected<'a> {
    /// What is to be sent to a row or one of its subresources.
    fn of(row: &'a Row, subresource: &str) -> Result<Self, Status> {
        let resource = &*row.resource;
        let (group, version) = (row.group(), &*resource.gvr.version);
        let own = Self { shape: Shape::Own(&*row.strategy), group, version, kind: &resource.kind };
        if subresource.is_empty() {
            return Ok(own);
        }
        let sub = resource.subresource(subresource).ok_or_else(Status::no_such_resource)?;
        if sub.kind == resource.kind {
            return Ok(own);
        }
        Self::other(
            sub.kind_group.as_deref().unwrap_or(group),
            sub.kind_version.as_deref().unwrap_or(version),
            &sub.kind,
        )
    }

    fn other(group: &'a str, version: &'a str, kind: &'a str) -> Result<Self, Status> {
        Ok(Self { shape: Shape::Other(message_of(group, version, kind)?), group, version, kind })
    }
}

/// A body as an object of the expected type.
fn decode(
    request: &RequestContext,
    body: &RequestBody,
    expected: &Expected<'_>,
    validation: FieldValidation,
) -> Result<Value, Status> {
    let Expected { ref shape, group, version, kind } = *expected;
    let expected = (group, version, kind);
    let from_yaml;
    let bytes = match body.format {
        BodyFormat::Json => &body.bytes[..],
        BodyFormat::Yaml => {
            if let Shape::Other(message) = shape {
                let decoded = codec::yaml::decode_body(&body.bytes, message, expected, validation)?;
                return Ok(warned(request, decoded, validation));
            }
            if let Shape::Own(strategy) = shape
                && !strategy.is_custom()
            {
                let decoded = codec::yaml::decode_body(&body.bytes, strategy.message(), expected, validation)?;
                return Ok(warned(request, decoded, validation));
            }
            from_yaml = codec::json::encode(&yaml(&body.bytes)?);
            &from_yaml
        }
        // Protobuf knows no names: its unknown fields are passed over, as upstream does.
        BodyFormat::Protobuf => {
            let message = match shape {
                Shape::Own(strategy) if strategy.is_custom() => {
                    return Err(Status::unsupported_media_type(&["application/json", "application/yaml"]));
                }
                Shape::Own(strategy) => strategy.message(),
                Shape::Other(message) => message,
            };
            return codec::protobuf::decode_body(&body.bytes, message, expected);
        }
    };
    let decoded = match shape {
        Shape::Own(strategy) => strategy.decode(bytes, expected, validation)?,
        Shape::Other(message) => codec::json::decode_body(bytes, message, expected, validation)?,
    };
    Ok(warned(request, decoded, validation))
}

/// The object, its warnings left with the request.
fn warned(request: &RequestContext, decoded: codec::json::Decoded, validation: FieldValidation) -> Value {
    if validation == FieldValidation::Warn {
        for warning in decoded.warnings {
            request.warnings.add(warning);
        }
    }
    decoded.value
}

/// A patched object, checked against the schema as a body from outside is; what a patch brought in that the schema does
/// not know is treated as the caller asked.
pub(super) fn check(call: &Call<'_>, mut object: Value) -> Result<Value, Status> {
    let (validation, strategy) = (call.options.field_validation, &call.row.strategy);
    if !strategy.is_custom() && codec::json::conform(&mut object, strategy.message()) {
        return Ok(object);
    }
    match strategy.recheck(&object, validation) {
        Ok(decoded) => Ok(warned(call.request, decoded, validation)),
        Err(error) => {
            let mut errors = Errors::new();
            errors.invalid(&Path::new("patch"), codec::json::to_string(&object), error.to_string());
            Err(Status::invalid("", "", "", &errors.into_vec()))
        }
    }
}

/// The configuration of a server-side apply: JSON or YAML. What it may say is the apply's to check.
pub(super) fn apply_document(bytes: &[u8]) -> Result<Value, Status> {
    match codec::json::parse(bytes) {
        Ok(document @ Value::Object(_)) => Ok(document),
        _ => match yaml(bytes)? {
            document @ Value::Object(_) => Ok(document),
            _ => Err(Status::bad_request("error decoding YAML: the document is no object")),
        },
    }
}

/// The document of a patch that is no apply.
pub(super) fn patch_document(patch: &PatchBody) -> Result<Value, Status> {
    codec::json::parse(&patch.body).map_err(|e| Status::bad_request(format!("error decoding patch: {e}")))
}

fn yaml(bytes: &[u8]) -> Result<Value, Status> {
    codec::yaml::parse(bytes).map_err(|e| Status::bad_request(format!("error decoding YAML: {e}")))
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
