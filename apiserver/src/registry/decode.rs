//! Request bodies and patches to checked values: which schema a body is read by, and what its unknown fields do.

use gantry_machinery::codec;
use gantry_machinery::codec::json::{DecodeError, Decoded};
use gantry_machinery::resource_api::{
    DeleteOptions, FieldValidation, PatchBody, PatchKind, Propagation, Target, WriteOptions,
};
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

/// A patch as it was sent.
pub(super) struct Patch {
    /// How it changes an object.
    pub(super) kind: PatchKind,
    /// What it says.
    pub(super) document: Value,
    /// What a strict reader would not accept of it: fields named twice, operations with fields that none has.
    faults: Vec<String>,
}

impl Patch {
    /// The document of a patch that is no apply.
    ///
    /// # Errors
    /// 400 for what is no JSON.
    pub(super) fn read(body: &PatchBody, validation: FieldValidation) -> Result<Self, Status> {
        let document = json_document(body)?;
        let mut faults = Vec::new();
        if validation != FieldValidation::Ignore {
            faults = codec::json::repeated(&body.body).map_err(undecodable)?;
            if body.kind == PatchKind::Json {
                faults = operation_faults(faults, &document);
            }
        }
        Ok(Self { kind: body.kind, document, faults })
    }

    /// What upstream shows of a patch that cannot be: the result, or of a strategic patch the patch.
    fn shown(&self, result: &Value) -> String {
        if self.kind == PatchKind::Strategic { as_go(&self.document) } else { codec::json::to_string(result) }
    }
}

/// What a patch that is no apply says, whatever else may be wrong with it.
pub(super) fn json_document(patch: &PatchBody) -> Result<Value, Status> {
    codec::json::parse(&patch.body).map_err(undecodable)
}

fn undecodable(error: impl std::fmt::Display) -> Status {
    Status::bad_request(format!("error decoding patch: {error}"))
}

/// The faults of a JSON patch, by the operations that have them.
fn operation_faults(repeated: Vec<String>, operations: &Value) -> Vec<String> {
    let mut faults: Vec<String> = repeated.into_iter().map(|fault| format!("json patch {fault}")).collect();
    for (at, operation) in operations.as_array().into_iter().flatten().enumerate() {
        let fields = operation.as_object().into_iter().flat_map(|fields| fields.keys());
        let unknown = fields.filter(|field| !matches!(field.as_str(), "op" | "path" | "from" | "value"));
        faults.extend(unknown.map(|field| format!("json patch unknown field \"[{at}].{field}\"")));
    }
    faults
}

/// A value as Go prints one of no particular type (`%+v`): `map[spec:map[replicas:3]]`.
fn as_go(value: &Value) -> String {
    match value {
        Value::Object(fields) => {
            let mut entries: Vec<_> = fields.iter().collect();
            entries.sort_by_key(|(one, _)| *one);
            let entries: Vec<String> =
                entries.into_iter().map(|(key, value)| format!("{key}:{}", as_go(value))).collect();
            format!("map[{}]", entries.join(" "))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(as_go).collect::<Vec<_>>().join(" ")),
        Value::String(text) => text.to_string(),
        Value::Null => "<nil>".to_owned(),
        other => codec::json::to_string(other),
    }
}

/// A patched object, checked against the schema as a body from outside is; what a patch brought in that the schema does
/// not know, and what is wrong with the patch itself, is treated as the caller asked.
pub(super) fn check_patched(call: &Call<'_>, mut object: Value, patch: &Patch) -> Result<Value, Status> {
    let validation = call.options.field_validation;
    let mut warnings = conformed(call, &mut object);
    match &mut warnings {
        Ok(warnings) if validation == FieldValidation::Warn => {
            warnings.splice(0..0, patch.faults.iter().cloned());
        }
        Ok(_) if !patch.faults.is_empty() => warnings = Err(DecodeError::Strict(patch.faults.clone())),
        Err(DecodeError::Strict(faults)) => {
            faults.splice(0..0, patch.faults.iter().cloned());
        }
        _ => {}
    }
    settle(call, object, warnings, |result| patch.shown(result))
}

/// The object that an apply makes, checked likewise. What the applied document may say is the apply's to check.
pub(super) fn check_applied(call: &Call<'_>, mut object: Value) -> Result<Value, Status> {
    let warnings = conformed(call, &mut object);
    settle(call, object, warnings, codec::json::to_string)
}

/// Makes the object what its kind's schema has, and gives what went. Built-in kinds mostly need no second reading.
fn conformed(call: &Call<'_>, object: &mut Value) -> Result<Vec<String>, DecodeError> {
    let strategy = &call.row.strategy;
    if !strategy.is_custom() && codec::json::conform(object, strategy.message()) {
        return Ok(Vec::new());
    }
    let Decoded { value, warnings } = strategy.recheck(object, call.options.field_validation)?;
    *object = value;
    Ok(warnings)
}

/// The object, its warnings left with the request; or 422 with the text that shows what was to be.
fn settle(
    call: &Call<'_>,
    object: Value,
    warnings: Result<Vec<String>, DecodeError>,
    shown: impl FnOnce(&Value) -> String,
) -> Result<Value, Status> {
    match warnings {
        Ok(warnings) => Ok(warned(call.request, Decoded { value: object, warnings }, call.options.field_validation)),
        Err(error) => {
            let mut errors = Errors::new();
            errors.invalid(&Path::new("patch"), shown(&object), error.to_string());
            Err(Status::invalid("", "", "", &errors.into_vec()))
        }
    }
}

/// Refuses, or warns of, a key that an applied document gives twice.
pub(super) fn check_unique(call: &Call<'_>, document: &[u8]) -> Result<(), Status> {
    let validation = call.options.field_validation;
    if validation == FieldValidation::Ignore {
        return Ok(());
    }
    let Some(fault) = codec::yaml::repeated(document) else { return Ok(()) };
    if validation == FieldValidation::Strict {
        return Err(Status::bad_request(format!("error strict decoding YAML: error converting YAML to JSON: {fault}")));
    }
    call.request.warnings.add(format!("error converting YAML to JSON: {fault}"));
    Ok(())
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
