//! Errors as clients see them: `kind: Status` with a reason, a code, and causes that name field paths.
//!
//! Texts and reasons follow apimachinery's `errors` and `field` packages (API conventions, "Response status kind").
//! Every layer above makes its errors with the constructors here; the HTTP edge only encodes them, and the client
//! decodes them again, so an error is the same whether the API is in process or remote.

mod field;

use std::fmt;

pub use field::{FieldError, FieldErrorKind, FieldPath, Shown, quote};

use crate::resource::GroupVersionResource;
use crate::value::{Object, Value};

/// A failure on its way to a client. Every error of the API ends as one of these.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// The HTTP code.
    pub code: u16,
    /// The machine-readable reason (`NotFound`); empty for none.
    pub reason: &'static str,
    /// What a person reads.
    pub message: String,
    /// What it concerns.
    pub details: Option<Box<Details>>,
}

/// What a failure concerns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Details {
    /// The object's name.
    pub name: String,
    /// Its group.
    pub group: String,
    /// Its kind, or the resource in lower case: upstream says either, by the error.
    pub kind: String,
    /// Its uid.
    pub uid: String,
    /// One entry per thing wrong.
    pub causes: Vec<Cause>,
    /// When to try again; 0 for no hint.
    pub retry_after_seconds: u32,
    /// For an expired list: the token that goes on in the latest state. On the wire it stands in `metadata`.
    pub continue_token: String,
}

/// One thing wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cause {
    /// Its reason (`FieldValueInvalid`).
    pub reason: String,
    /// What a person reads.
    pub message: String,
    /// The field's path (`spec.containers[0].name`).
    pub field: String,
}

/// The reasons that a Status may carry.
pub mod reason {
    /// 400.
    pub const BAD_REQUEST: &str = "BadRequest";
    /// 401.
    pub const UNAUTHORIZED: &str = "Unauthorized";
    /// 403.
    pub const FORBIDDEN: &str = "Forbidden";
    /// 404.
    pub const NOT_FOUND: &str = "NotFound";
    /// 405.
    pub const METHOD_NOT_ALLOWED: &str = "MethodNotAllowed";
    /// 406.
    pub const NOT_ACCEPTABLE: &str = "NotAcceptable";
    /// 409: the name is taken.
    pub const ALREADY_EXISTS: &str = "AlreadyExists";
    /// 409: somebody wrote first, or the state forbids it.
    pub const CONFLICT: &str = "Conflict";
    /// 410: no such resource any more.
    pub const GONE: &str = "Gone";
    /// 410: the resourceVersion or continue token is too old.
    pub const EXPIRED: &str = "Expired";
    /// 413.
    pub const REQUEST_ENTITY_TOO_LARGE: &str = "RequestEntityTooLarge";
    /// 415.
    pub const UNSUPPORTED_MEDIA_TYPE: &str = "UnsupportedMediaType";
    /// 422.
    pub const INVALID: &str = "Invalid";
    /// 429.
    pub const TOO_MANY_REQUESTS: &str = "TooManyRequests";
    /// 500.
    pub const INTERNAL_ERROR: &str = "InternalError";
    /// 500 with a hint to retry.
    pub const SERVER_TIMEOUT: &str = "ServerTimeout";
    /// 503.
    pub const SERVICE_UNAVAILABLE: &str = "ServiceUnavailable";
    /// 504.
    pub const TIMEOUT: &str = "Timeout";
    /// 507, written by no server of ours.
    pub const STORE_READ_ERROR: &str = "StorageReadError";

    /// All of them, for the client to recognise.
    pub(super) const ALL: &[&str] = &[
        BAD_REQUEST,
        UNAUTHORIZED,
        FORBIDDEN,
        NOT_FOUND,
        METHOD_NOT_ALLOWED,
        NOT_ACCEPTABLE,
        ALREADY_EXISTS,
        CONFLICT,
        GONE,
        EXPIRED,
        REQUEST_ENTITY_TOO_LARGE,
        UNSUPPORTED_MEDIA_TYPE,
        INVALID,
        TOO_MANY_REQUESTS,
        INTERNAL_ERROR,
        SERVER_TIMEOUT,
        SERVICE_UNAVAILABLE,
        TIMEOUT,
        STORE_READ_ERROR,
    ];
}

/// The cause of a 429 for an eviction that a disruption budget forbids.
pub const CAUSE_DISRUPTION_BUDGET: &str = "DisruptionBudget";
/// The cause of a write that a namespace's end forbids.
pub const CAUSE_NAMESPACE_TERMINATING: &str = "NamespaceTerminating";
/// The cause of a read that asks for a state this server has not seen yet.
pub const CAUSE_RESOURCE_VERSION_TOO_LARGE: &str = "ResourceVersionTooLarge";
/// The cause of an apply that another field manager stands against.
pub const CAUSE_FIELD_MANAGER_CONFLICT: &str = "FieldManagerConflict";
/// The cause of a 500 that the peer's text explains.
pub const CAUSE_UNEXPECTED_SERVER_RESPONSE: &str = "UnexpectedServerResponse";

/// What upstream says to a writer whose resourceVersion is not the latest.
pub const MODIFIED: &str =
    "the object has been modified; please apply your changes to the latest version and try again";

impl Status {
    fn bare(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self { code, reason, message: message.into(), details: None }
    }

    fn about(mut self, group: &str, kind: &str, name: &str) -> Self {
        let details = self.details_mut();
        details.group = group.to_owned();
        details.kind = kind.to_owned();
        details.name = name.to_owned();
        self
    }

    fn about_resource(self, resource: &GroupVersionResource, name: &str) -> Self {
        self.about(&resource.group, &resource.resource, name)
    }

    /// 404 `pods "x" not found`.
    #[must_use]
    pub fn not_found(resource: &GroupVersionResource, name: &str) -> Self {
        let message = format!("{} {} not found", resource.collection(), quote(name));
        Self::bare(404, reason::NOT_FOUND, message).about_resource(resource, name)
    }

    /// 404 for a path that names no resource.
    #[must_use]
    pub fn no_such_resource() -> Self {
        let mut status = Self::bare(404, reason::NOT_FOUND, "the server could not find the requested resource");
        status.details_mut();
        status
    }

    /// 409 `pods "x" already exists`.
    #[must_use]
    pub fn already_exists(resource: &GroupVersionResource, name: &str) -> Self {
        let message = format!("{} {} already exists", resource.collection(), quote(name));
        Self::bare(409, reason::ALREADY_EXISTS, message).about_resource(resource, name)
    }

    /// 409 for a generateName whose random suffixes were all taken: the client may simply try again.
    #[must_use]
    pub fn generate_name_conflict(resource: &GroupVersionResource, name: &str) -> Self {
        let message = format!(
            "{} {} already exists, the server was not able to generate a unique name for the object",
            resource.collection(),
            quote(name)
        );
        Self::bare(409, reason::ALREADY_EXISTS, message).about_resource(resource, name).retry_after(1)
    }

    /// 409 `Operation cannot be fulfilled on pods "x": WHY`.
    #[must_use]
    pub fn conflict(resource: &GroupVersionResource, name: &str, why: impl fmt::Display) -> Self {
        let message = format!("Operation cannot be fulfilled on {} {}: {why}", resource.collection(), quote(name));
        Self::bare(409, reason::CONFLICT, message).about_resource(resource, name)
    }

    /// 409 of a write against an older resourceVersion ([`MODIFIED`]).
    #[must_use]
    pub fn modified(resource: &GroupVersionResource, name: &str) -> Self {
        Self::conflict(resource, name, MODIFIED)
    }

    /// 409 of an apply that would take fields from other managers: one cause per field.
    #[must_use]
    pub fn apply_conflict(causes: Vec<Cause>, message: impl Into<String>) -> Self {
        let mut status = Self::bare(409, reason::CONFLICT, message);
        status.details_mut().causes = causes;
        status
    }

    /// 422 `Pod "x" is invalid: FIELD: ...` (several in brackets), with a cause per error. `kind` is `Pod` or
    /// `Deployment`; the group shows as `Deployment.apps`.
    #[must_use]
    pub fn invalid(group: &str, kind: &str, name: &str, errors: &[FieldError]) -> Self {
        let qualified = if group.is_empty() { kind.to_owned() } else { format!("{kind}.{group}") };
        let mut texts: Vec<String> = Vec::with_capacity(errors.len());
        for error in errors {
            let text = error.to_string();
            if !texts.contains(&text) {
                texts.push(text);
            }
        }
        let message = match texts.as_slice() {
            [] => format!("{qualified} {} is invalid", quote(name)),
            [one] => format!("{qualified} {} is invalid: {one}", quote(name)),
            many => format!("{qualified} {} is invalid: [{}]", quote(name), many.join(", ")),
        };
        let mut status = Self::bare(422, reason::INVALID, message).about(group, kind, name);
        status.details_mut().causes = errors.iter().map(FieldError::cause).collect();
        status
    }

    /// 403 `pods "x" is forbidden: WHY`; without a name `pods is forbidden: WHY`.
    #[must_use]
    pub fn forbidden(resource: &GroupVersionResource, name: &str, why: impl fmt::Display) -> Self {
        let message = match (resource.resource.is_empty(), name.is_empty()) {
            (true, _) => format!("forbidden: {why}"),
            (false, true) => format!("{} is forbidden: {why}", resource.collection()),
            (false, false) => format!("{} {} is forbidden: {why}", resource.collection(), quote(name)),
        };
        Self::bare(403, reason::FORBIDDEN, message).about_resource(resource, name)
    }

    /// 403 for a path that is no resource: `forbidden: WHY`.
    #[must_use]
    pub fn forbidden_path(why: impl fmt::Display) -> Self {
        Self::bare(403, reason::FORBIDDEN, format!("forbidden: {why}")).about("", "", "")
    }

    /// 401, in the one word that upstream says to whoever is not known.
    #[must_use]
    pub fn unauthorized() -> Self {
        Self::bare(401, reason::UNAUTHORIZED, "Unauthorized")
    }

    /// 400.
    #[must_use]
    pub fn bad_request(why: impl Into<String>) -> Self {
        Self::bare(400, reason::BAD_REQUEST, why)
    }

    /// 405 `create is not supported on resources of kind "pods"`.
    #[must_use]
    pub fn method_not_supported(resource: &GroupVersionResource, action: &str) -> Self {
        let message = format!("{action} is not supported on resources of kind {}", quote(&resource.collection()));
        Self::bare(405, reason::METHOD_NOT_ALLOWED, message).about_resource(resource, "")
    }

    /// 405 where the path itself has no such method.
    #[must_use]
    pub fn method_not_allowed() -> Self {
        let mut status = Self::bare(
            405,
            reason::METHOD_NOT_ALLOWED,
            "the server does not allow this method on the requested resource",
        );
        status.details_mut();
        status
    }

    /// 406: `Accept` names nothing that is served.
    #[must_use]
    pub fn not_acceptable(served: &[&str]) -> Self {
        let message = format!("only the following media types are accepted: {}", served.join(", "));
        Self::bare(406, reason::NOT_ACCEPTABLE, message)
    }

    /// 415: the body is in a format that is not read.
    #[must_use]
    pub fn unsupported_media_type(read: &[&str]) -> Self {
        let message = format!(
            "the body of the request was in an unknown format - accepted media types include: {}",
            read.join(", ")
        );
        Self::bare(415, reason::UNSUPPORTED_MEDIA_TYPE, message)
    }

    /// 413 `Request entity too large: WHY`.
    #[must_use]
    pub fn request_entity_too_large(why: impl fmt::Display) -> Self {
        Self::bare(413, reason::REQUEST_ENTITY_TOO_LARGE, format!("Request entity too large: {why}"))
    }

    /// 429 with the seconds to wait.
    #[must_use]
    pub fn too_many_requests(message: impl Into<String>, retry_after_seconds: u32) -> Self {
        Self::bare(429, reason::TOO_MANY_REQUESTS, message).retry_after(retry_after_seconds)
    }

    /// 500 `The OPERATION operation against pods could not be completed at this time, please try again.`
    #[must_use]
    pub fn server_timeout(resource: &GroupVersionResource, operation: &str, retry_after_seconds: u32) -> Self {
        let message = format!(
            "The {operation} operation against {} could not be completed at this time, please try again.",
            resource.collection()
        );
        // Upstream puts the operation where a name would be.
        Self::bare(500, reason::SERVER_TIMEOUT, message)
            .about_resource(resource, operation)
            .retry_after(retry_after_seconds)
    }

    /// 504 `Timeout: WHY`.
    #[must_use]
    pub fn timeout(why: impl fmt::Display, retry_after_seconds: u32) -> Self {
        Self::bare(504, reason::TIMEOUT, format!("Timeout: {why}")).retry_after(retry_after_seconds)
    }

    /// 504 for a read at a revision that this server has not reached: clients retry.
    #[must_use]
    pub fn resource_version_too_large(asked: u64, current: u64, retry_after_seconds: u32) -> Self {
        let mut status =
            Self::timeout(format!("Too large resource version: {asked}, current: {current}"), retry_after_seconds);
        status.details_mut().causes.push(Cause {
            reason: CAUSE_RESOURCE_VERSION_TOO_LARGE.to_owned(),
            message: "Too large resource version".to_owned(),
            field: String::new(),
        });
        status
    }

    /// 410 `Gone`.
    #[must_use]
    pub fn gone(message: impl Into<String>) -> Self {
        Self::bare(410, reason::GONE, message)
    }

    /// 410 `Expired`: the resourceVersion or the continue token is too old; list again.
    #[must_use]
    pub fn expired(message: impl Into<String>) -> Self {
        Self::bare(410, reason::EXPIRED, message)
    }

    /// 410 `Expired` of a list in chunks, with the token by which it goes on in the latest state instead.
    #[must_use]
    pub fn expired_continue(message: impl Into<String>, continue_token: String) -> Self {
        let mut status = Self::expired(message);
        status.details_mut().continue_token = continue_token;
        status
    }

    /// 500 `Internal error occurred: WHY`.
    #[must_use]
    pub fn internal(why: impl fmt::Display) -> Self {
        let why = why.to_string();
        let mut status = Self::bare(500, reason::INTERNAL_ERROR, format!("Internal error occurred: {why}"));
        status.details_mut().causes.push(Cause { message: why, ..Cause::default() });
        status
    }

    /// 503.
    #[must_use]
    pub fn service_unavailable(why: impl Into<String>) -> Self {
        Self::bare(503, reason::SERVICE_UNAVAILABLE, why)
    }

    /// 200 `Success`, which a delete answers with.
    #[must_use]
    pub fn success(resource: &GroupVersionResource, name: &str, uid: &str) -> Self {
        let mut status = Self::bare(200, "", "").about_resource(resource, name);
        status.details_mut().uid = uid.to_owned();
        status
    }

    /// This with a hint when to try again (also sent as `Retry-After`).
    #[must_use]
    pub fn retry_after(mut self, seconds: u32) -> Self {
        self.details_mut().retry_after_seconds = seconds;
        self
    }

    /// This with one more cause.
    #[must_use]
    pub fn with_cause(mut self, reason: &str, field: &str, message: impl Into<String>) -> Self {
        let cause = Cause { reason: reason.to_owned(), message: message.into(), field: field.to_owned() };
        self.details_mut().causes.push(cause);
        self
    }

    /// The details, made if need be.
    pub fn details_mut(&mut self) -> &mut Details {
        self.details.get_or_insert_default()
    }

    /// Whether this says that the object does not exist.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.reason == reason::NOT_FOUND
    }

    /// Whether this says that the name is taken.
    #[must_use]
    pub fn is_already_exists(&self) -> bool {
        self.reason == reason::ALREADY_EXISTS
    }

    /// Whether somebody wrote first.
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        self.reason == reason::CONFLICT
    }

    /// Whether a watch or a paged list must begin anew.
    #[must_use]
    pub fn is_expired(&self) -> bool {
        self.reason == reason::EXPIRED || self.reason == reason::GONE
    }

    /// Whether a cause with this reason is among the details.
    #[must_use]
    pub fn has_cause(&self, reason: &str) -> bool {
        self.details.as_ref().is_some_and(|d| d.causes.iter().any(|c| c.reason == reason))
    }

    /// The object that clients get.
    #[must_use]
    pub fn to_value(&self) -> Value {
        let mut out = Object::new();
        out.insert("kind", "Status");
        out.insert("apiVersion", "v1");
        let mut metadata = Object::new();
        if let Some(details) = &self.details {
            insert_text(&mut metadata, "continue", &details.continue_token);
        }
        out.insert("metadata", metadata);
        out.insert("status", if (200..300).contains(&self.code) { "Success" } else { "Failure" });
        insert_text(&mut out, "message", &self.message);
        insert_text(&mut out, "reason", self.reason);
        if let Some(details) = &self.details {
            out.insert("details", details.to_object());
        }
        // A success has never said its code.
        if self.code >= 300 {
            out.insert("code", i64::from(self.code));
        }
        Value::Object(out)
    }

    /// The bytes that clients get, as JSON.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        crate::codec::json::encode(&self.to_value())
    }

    /// A Status as another server sent it; `None` of anything that is not `kind: Status`. `code` stands in where the
    /// body names none.
    #[must_use]
    pub fn from_value(value: &Value, code: u16) -> Option<Self> {
        if value.str_at(&["kind"]) != Some("Status") {
            return None;
        }
        let stated = value.str_at(&["reason"]).unwrap_or_default();
        let mut details = value.get("details").and_then(Value::as_object).map(|d| Box::new(Details::from_object(d)));
        if let Some(token) = value.str_at(&["metadata", "continue"]).filter(|t| !t.is_empty()) {
            details.get_or_insert_default().continue_token = token.to_owned();
        }
        Some(Self {
            code: value.i64_at(&["code"]).and_then(|c| u16::try_from(c).ok()).filter(|c| *c != 0).unwrap_or(code),
            reason: reason::ALL.iter().find(|r| **r == stated).copied().unwrap_or(""),
            message: value.str_at(&["message"]).unwrap_or_default().to_owned(),
            details,
        })
    }

    /// The error for an answer that carries no Status (a proxy's page, an empty body): what client-go would make of it.
    #[must_use]
    pub fn from_code(code: u16, body: &str) -> Self {
        let (reason, message) = match code {
            400 => (reason::BAD_REQUEST, "the server rejected our request for an unknown reason"),
            401 => (reason::UNAUTHORIZED, "the server has asked for the client to provide credentials"),
            403 => (reason::FORBIDDEN, "forbidden"),
            404 => (reason::NOT_FOUND, "the server could not find the requested resource"),
            405 => (reason::METHOD_NOT_ALLOWED, "the server does not allow this method on the requested resource"),
            406 => (
                reason::NOT_ACCEPTABLE,
                "the server was unable to respond with a content type that the client supports",
            ),
            409 => (reason::CONFLICT, "the server reported a conflict"),
            410 => (reason::GONE, "the resource is gone"),
            413 => (reason::REQUEST_ENTITY_TOO_LARGE, "the request is too large"),
            415 => (reason::UNSUPPORTED_MEDIA_TYPE, "the body of the request was in an unknown format"),
            422 => (reason::INVALID, "the server rejected our request due to an error in our request"),
            429 => (
                reason::TOO_MANY_REQUESTS,
                "the server has received too many requests and has asked us to try again later",
            ),
            503 => (reason::SERVICE_UNAVAILABLE, "the server is currently unable to handle the request"),
            504 => (
                reason::TIMEOUT,
                "the server was unable to return a response in the time allotted, but may still be processing the request",
            ),
            _ => (reason::INTERNAL_ERROR, "an error on the server has prevented the request from succeeding"),
        };
        let mut status = Self::bare(code, reason, message);
        if !body.is_empty() {
            status = status.with_cause(CAUSE_UNEXPECTED_SERVER_RESPONSE, "", body);
        }
        status
    }
}

impl Details {
    fn to_object(&self) -> Object {
        let mut out = Object::new();
        insert_text(&mut out, "name", &self.name);
        insert_text(&mut out, "group", &self.group);
        insert_text(&mut out, "kind", &self.kind);
        insert_text(&mut out, "uid", &self.uid);
        if !self.causes.is_empty() {
            let causes: Vec<Value> = self
                .causes
                .iter()
                .map(|cause| {
                    let mut entry = Object::new();
                    insert_text(&mut entry, "reason", &cause.reason);
                    insert_text(&mut entry, "message", &cause.message);
                    insert_text(&mut entry, "field", &cause.field);
                    Value::Object(entry)
                })
                .collect();
            out.insert("causes", Value::Array(causes));
        }
        if self.retry_after_seconds > 0 {
            out.insert("retryAfterSeconds", i64::from(self.retry_after_seconds));
        }
        out
    }

    fn from_object(object: &Object) -> Self {
        let text = |from: &Object, key| from.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let causes = object.get("causes").and_then(Value::as_array).unwrap_or_default();
        Self {
            name: text(object, "name"),
            group: text(object, "group"),
            kind: text(object, "kind"),
            uid: text(object, "uid"),
            causes: causes
                .iter()
                .filter_map(Value::as_object)
                .map(|c| Cause { reason: text(c, "reason"), message: text(c, "message"), field: text(c, "field") })
                .collect(),
            retry_after_seconds: object
                .get("retryAfterSeconds")
                .and_then(Value::as_i64)
                .and_then(|s| u32::try_from(s).ok())
                .unwrap_or(0),
            continue_token: String::new(),
        }
    }
}

fn insert_text(object: &mut Object, key: &'static str, text: &str) {
    if !text.is_empty() {
        object.insert(key, text);
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Status {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::gvr;

    #[test]
    fn messages_are_upstreams() {
        assert_eq!(Status::not_found(&gvr::PODS, "x").message, "pods \"x\" not found");
        assert_eq!(Status::not_found(&gvr::DEPLOYMENTS, "x").message, "deployments.apps \"x\" not found");
        assert_eq!(
            Status::modified(&gvr::PODS, "x").message,
            "Operation cannot be fulfilled on pods \"x\": the object has been modified; please apply your changes to \
             the latest version and try again"
        );
        assert_eq!(Status::forbidden(&gvr::PODS, "", "no").message, "pods is forbidden: no");
        assert_eq!(
            Status::method_not_supported(&gvr::PODS, "create").message,
            "create is not supported on resources of kind \"pods\""
        );
    }

    #[test]
    fn an_invalid_object_lists_each_error_once_and_every_cause() {
        let one = FieldError::required("a", "");
        let two = FieldError::required("b", "why");
        assert_eq!(
            Status::invalid("", "Pod", "x", std::slice::from_ref(&one)).message,
            "Pod \"x\" is invalid: a: Required value"
        );
        let status = Status::invalid("apps", "Deployment", "x", &[one.clone(), two, one]);
        assert_eq!(status.message, "Deployment.apps \"x\" is invalid: [a: Required value, b: Required value: why]");
        assert_eq!(status.details.as_ref().map(|d| d.causes.len()), Some(3));
    }

    #[test]
    fn a_status_survives_the_wire() {
        let status = Status::invalid("apps", "Deployment", "x", &[FieldError::required("a", "")]).retry_after(3);
        assert_eq!(Status::from_value(&status.to_value(), 500), Some(status));
        assert_eq!(Status::from_value(&crate::value!({"kind": "Pod"}), 500), None);
    }

    #[test]
    fn success_says_no_code() {
        let text = String::from_utf8(Status::success(&gvr::PODS, "x", "u").to_json()).unwrap();
        assert_eq!(
            text,
            r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Success","details":{"name":"x","kind":"pods","uid":"u"}}"#
        );
    }
}
