//! Bytes to an object of a known kind, guided by the schema table: what the API server does with every body.
//!
//! Types are checked, unknown and duplicate fields reported by path, `null` and zero values dropped where Go's structs do
//! not tell them from absent ones, and quantities and times brought into the form that is stored. Keys of known fields are
//! clones of the table's constants, which allocate nothing.

use std::borrow::Cow;
use std::fmt::Write;

use base64::Engine;
use base64::engine::{GeneralPurpose, GeneralPurposeConfig};
use compact_str::CompactString;

use super::scan::{Fields, Kind, Number, Scanner, SyntaxError, compact, text};
use crate::quantity::Quantity;
use crate::resource_api::FieldValidation;
use crate::schema::{Message, Presence, Type};
use crate::status::{Status, quote};
use crate::time;
use crate::value::Value;

/// An object that agrees with its schema.
#[derive(Clone, Debug)]
pub struct Decoded {
    /// The object, without its unknown fields.
    pub value: Value,
    /// What was dropped (`unknown field "spec.foo"`), for `Warning` headers; empty under other than
    /// [`FieldValidation::Warn`].
    pub warnings: Vec<String>,
}

/// Why a body is no object of its kind. The text is what upstream's decoder says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// It is not JSON.
    #[error("{0}")]
    Syntax(String),
    /// A value has not its field's type.
    #[error("{0}")]
    Type(String),
    /// Fields are unknown or named twice, and the caller asked for strictness.
    #[error("strict decoding error: {}", .0.join(", "))]
    Strict(Vec<String>),
}

impl From<SyntaxError> for DecodeError {
    fn from(error: SyntaxError) -> Self {
        Self::Syntax(error.text)
    }
}

impl DecodeError {
    /// The 400 that upstream answers with, for a body that was to be a `kind` of `version` (`v1`, without the group).
    #[must_use]
    pub fn to_status(&self, kind: &str, version: &str, body: &[u8]) -> Status {
        Status::bad_request(match self {
            Self::Syntax(why) => format!(
                "the object provided is unrecognized (must be of type {kind}): couldn't get version/kind; json parse \
                 error: {why} ({})",
                summary(body)
            ),
            Self::Type(_) | Self::Strict(_) => {
                format!("{kind} in version {} cannot be handled as a {kind}: {self}", quote(version))
            }
        })
    }
}

/// The beginning of a body as upstream shows it: text where it begins like an object, else hexadecimal.
fn summary(body: &[u8]) -> String {
    const SHOWN: usize = 30;
    let part = &body[..body.len().min(SHOWN)];
    let mut out = match body.first() {
        None => return "<empty>".to_owned(),
        Some(b'{') => String::from_utf8_lossy(part).into_owned(),
        Some(_) => part.iter().fold(String::new(), |mut out, byte| {
            let _ = write!(out, "{byte:02x}");
            out
        }),
    };
    if body.len() > SHOWN {
        out.push_str(" ...");
    }
    out
}

/// Bytes as an object of this type.
/// # Errors
/// [`DecodeError`]; under [`FieldValidation::Strict`] also for unknown and duplicate fields.
pub fn decode(bytes: &[u8], message: &Message, validation: FieldValidation) -> Result<Decoded, DecodeError> {
    let text = text(bytes);
    let mut decoder =
        Decoder { scanner: Scanner::new(&text), report: validation != FieldValidation::Ignore, faults: Vec::new() };
    let root = Path { parent: None, step: Step::Root };
    let value = match decoder.scanner.kind()? {
        Kind::Object => decoder.object(message, 0, &root)?,
        // Go leaves the struct as it was: empty.
        Kind::Null => {
            decoder.scanner.null()?;
            Value::object()
        }
        other => {
            let ty = &message.go_name;
            return Err(DecodeError::Type(format!(
                "json: cannot unmarshal {} into Go value of type {ty}",
                other.name()
            )));
        }
    };
    decoder.scanner.end()?;
    match validation {
        FieldValidation::Strict if !decoder.faults.is_empty() => Err(DecodeError::Strict(decoder.faults)),
        _ => Ok(Decoded { value, warnings: decoder.faults }),
    }
}

/// The fields that a document of no particular type names twice, as [`decode`] reports them: `duplicate field "spec.a"`.
/// # Errors
/// [`DecodeError::Syntax`] for what is no JSON.
pub fn repeated(bytes: &[u8]) -> Result<Vec<String>, DecodeError> {
    let text = text(bytes);
    let mut decoder = Decoder { scanner: Scanner::new(&text), report: true, faults: Vec::new() };
    decoder.free(0, &Path { parent: None, step: Step::Root })?;
    decoder.scanner.end()?;
    Ok(decoder.faults)
}

/// A value from elsewhere (YAML, a patch's result) as an object of this type: checked and brought into form as
/// [`decode`] does with bytes.
/// # Errors
/// As [`decode`].
pub fn decode_value(value: &Value, message: &Message, validation: FieldValidation) -> Result<Decoded, DecodeError> {
    decode(&super::encode(value), message, validation)
}

/// A request's body as an object of the kind its path expects: `apiVersion` and `kind` are filled in where they are
/// missing and refused where they are others. `group` is empty for core.
/// # Errors
/// The 400 for the client.
pub fn decode_body(
    bytes: &[u8],
    message: &Message,
    (group, version, kind): (&str, &str, &str),
    validation: FieldValidation,
) -> Result<Decoded, Status> {
    let mut decoded = decode(bytes, message, validation).map_err(|error| {
        // Whoever sends another kind altogether is told that, not that its fields are unknown.
        let [api_version, sent] =
            super::pick(bytes, [&["apiVersion"], &["kind"]]).map(|raw| raw.and_then(super::Raw::as_str));
        match wrong_kind(api_version.as_deref(), sent.as_deref(), group, version, kind) {
            Some(status) if !matches!(error, DecodeError::Syntax(_)) => status,
            _ => error.to_status(kind, version, bytes),
        }
    })?;
    expect_kind(&mut decoded.value, group, version, kind)?;
    Ok(decoded)
}

/// Fills in `apiVersion` and `kind` where they are missing, and refuses others.
pub(in crate::codec) fn expect_kind(value: &mut Value, group: &str, version: &str, kind: &str) -> Result<(), Status> {
    let (api_version, sent) = (value.str_at(&["apiVersion"]), value.str_at(&["kind"]));
    if let Some(status) = wrong_kind(api_version, sent, group, version, kind) {
        return Err(status);
    }
    let complete = |text: Option<&str>| text.is_some_and(|text| !text.is_empty());
    if complete(api_version) && complete(sent) {
        return Ok(());
    }
    // In front, where every writer has them: who shows objects without their type looks for it there.
    let api_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
    let fields = std::mem::replace(value, Value::object());
    let whole = value.force_object();
    whole.insert("kind", kind);
    whole.insert("apiVersion", api_version);
    if let Value::Object(fields) = fields {
        for (key, value) in fields.into_iter().filter(|(key, _)| key != "kind" && key != "apiVersion") {
            whole.push_unchecked(key, value);
        }
    }
    Ok(())
}

fn wrong_kind(api_version: Option<&str>, sent: Option<&str>, group: &str, version: &str, kind: &str) -> Option<Status> {
    let api_version = api_version.unwrap_or_default();
    let sent = sent.unwrap_or_default();
    let (sent_group, sent_version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
    if !sent.is_empty() && sent != kind {
        let version = if sent_version.is_empty() { version } else { sent_version };
        return Some(Status::bad_request(format!(
            "{sent} in version {} cannot be handled as a {kind}: no kind \"{sent}\" is served here",
            quote(version)
        )));
    }
    if !api_version.is_empty() && (sent_group, sent_version) != (group, version) {
        let expected = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
        return Some(Status::bad_request(format!(
            "the API version in the data ({api_version}) does not match the expected API version ({expected})"
        )));
    }
    None
}

/// Upstream stops counting there, and so nobody fills the memory with complaints.
const FAULTS_MAX: usize = 100;

struct Decoder<'a> {
    scanner: Scanner<'a>,
    report: bool,
    faults: Vec<String>,
}

/// Where the decoder is, as a chain on the stack: printed only when there is something to say.
struct Path<'p> {
    parent: Option<&'p Path<'p>>,
    step: Step<'p>,
}

enum Step<'p> {
    Root,
    /// A field, of a struct with this Go name.
    Field(&'p str, &'p str),
    Index(usize),
    Key(&'p str),
}

impl<'p> Path<'p> {
    const fn then(&'p self, step: Step<'p>) -> Self {
        Path { parent: Some(self), step }
    }

    /// `spec.containers[0].name`, as strict decoding says it.
    fn print(&self, out: &mut String) {
        if let Some(parent) = self.parent {
            parent.print(out);
        }
        match self.step {
            Step::Root => {}
            Step::Field(_, name) | Step::Key(name) => {
                if !out.is_empty() {
                    out.push('.');
                }
                out.push_str(name);
            }
            Step::Index(index) => {
                let _ = write!(out, "[{index}]");
            }
        }
    }

    /// `PodSpec.spec.containers.name`, as type errors say it; `None` outside of any field.
    fn go_field(&self) -> Option<String> {
        let mut names = Vec::new();
        let mut owner = None;
        let mut at = Some(self);
        while let Some(path) = at {
            if let Step::Field(go_name, name) = path.step {
                owner.get_or_insert(go_name);
                names.push(name);
            }
            at = path.parent;
        }
        let owner = owner?.rsplit('.').next().unwrap_or_default();
        names.reverse();
        Some(format!("{owner}.{}", names.join(".")))
    }
}

impl Decoder<'_> {
    #[cold]
    fn fault(&mut self, what: &str, parent: &Path<'_>, key: &str) {
        if !self.report || self.faults.len() >= FAULTS_MAX {
            return;
        }
        let mut path = String::new();
        parent.then(Step::Key(key)).print(&mut path);
        let text = format!("{what} field {}", quote(&path));
        if !self.faults.contains(&text) {
            self.faults.push(text);
        }
    }

    #[cold]
    fn mismatch<T>(&self, found: &str, ty: &Type, path: &Path<'_>) -> Result<T, DecodeError> {
        let go = go_type(ty);
        Err(DecodeError::Type(match path.go_field() {
            Some(field) => format!("json: cannot unmarshal {found} into Go struct field {field} of type {go}"),
            None => format!("json: cannot unmarshal {found} into Go value of type {go}"),
        }))
    }

    /// The fields of an object of a known type; its `{` comes next.
    fn object(&mut self, message: &Message, depth: usize, path: &Path<'_>) -> Result<Value, DecodeError> {
        let fields = Fields::begin(&self.scanner.open);
        // What a custom resource keeps beside its known fields: collected apart, since removals above move places.
        let mut extra = Vec::new();
        let mut unknown = Fields::begin(&extra);
        // One bit per known field; types with more fields than bits (custom ones may) look them up instead.
        let mut seen = 0_u128;
        let mut more = self.scanner.open(b'}', depth)?;
        while more {
            let key = self.scanner.key()?;
            if let Some(index) = message.field_index(&key) {
                let field = &message.fields[index];
                let again = if index < 128 {
                    let bit = 1_u128 << index;
                    let again = seen & bit != 0;
                    seen |= bit;
                    again
                } else {
                    fields.position(&self.scanner.open, &field.json).is_some()
                };
                if again {
                    self.fault("duplicate", path, &key);
                }
                let here = path.then(Step::Field(&message.go_name, &field.json));
                if let Some(value) = self.value(&field.ty, depth + 1, &here)? {
                    let open = &mut self.scanner.open;
                    if again && let Some(at) = fields.position(open, &field.json) {
                        open.remove(at);
                    }
                    if field.presence != Presence::OmitZero || !is_zero(&value) {
                        open.push((field.json.clone(), value));
                    }
                }
            } else if message.preserve_unknown {
                let value = self.free(depth + 1, &path.then(Step::Key(&key)))?;
                if unknown.set(&mut extra, Cow::Borrowed(&key), value) {
                    self.fault("duplicate", path, &key);
                }
            } else {
                self.scanner.value(depth + 1)?;
                self.fault("unknown", path, &key);
            }
            more = self.scanner.more(b'}')?;
        }
        self.scanner.open.append(&mut extra);
        Ok(Value::Object(fields.end(&mut self.scanner.open)))
    }

    /// A value of which nothing is known but that no object in it may name a field twice.
    fn free(&mut self, depth: usize, path: &Path<'_>) -> Result<Value, DecodeError> {
        match self.scanner.kind()? {
            Kind::Object => {
                let mut fields = Fields::begin(&self.scanner.open);
                let mut more = self.scanner.open(b'}', depth)?;
                while more {
                    let key = self.scanner.key()?;
                    let value = self.free(depth + 1, &path.then(Step::Key(&key)))?;
                    if fields.set(&mut self.scanner.open, Cow::Borrowed(&key), value) {
                        self.fault("duplicate", path, &key);
                    }
                    more = self.scanner.more(b'}')?;
                }
                Ok(Value::Object(fields.end(&mut self.scanner.open)))
            }
            Kind::Array => {
                let mut items = Vec::new();
                let mut more = self.scanner.open(b']', depth)?;
                while more {
                    items.push(self.free(depth + 1, &path.then(Step::Index(items.len())))?);
                    more = self.scanner.more(b']')?;
                }
                Ok(Value::Array(items))
            }
            _ => Ok(self.scanner.value(depth)?),
        }
    }

    /// A value of a known type; `None` for `null`, which Go's structs do not tell from absent.
    fn value(&mut self, ty: &Type, depth: usize, path: &Path<'_>) -> Result<Option<Value>, DecodeError> {
        let kind = self.scanner.kind()?;
        if kind == Kind::Null {
            self.scanner.null()?;
            return Ok(None);
        }
        Ok(Some(match (ty, kind) {
            (Type::String, Kind::String) => Value::String(compact(self.scanner.string()?)),
            (Type::Message(message), Kind::Object) => self.object(message, depth, path)?,
            (Type::List(item), Kind::Array) => {
                let mut items = Vec::new();
                let mut more = self.scanner.open(b']', depth)?;
                while more {
                    let here = path.then(Step::Index(items.len()));
                    let value = self.value(item, depth + 1, &here)?;
                    items.push(value.unwrap_or_else(|| zero(item)));
                    more = self.scanner.more(b']')?;
                }
                Value::Array(items)
            }
            (Type::Map(item), Kind::Object) => {
                let mut fields = Fields::begin(&self.scanner.open);
                let mut more = self.scanner.open(b'}', depth)?;
                while more {
                    let key = self.scanner.key()?;
                    let value = self.value(item, depth + 1, &path.then(Step::Key(&key)))?;
                    let value = value.unwrap_or_else(|| zero(item));
                    if fields.set(&mut self.scanner.open, Cow::Borrowed(&key), value) {
                        self.fault("duplicate", path, &key);
                    }
                    more = self.scanner.more(b'}')?;
                }
                Value::Object(fields.end(&mut self.scanner.open))
            }
            (Type::Bool, Kind::Bool) => Value::Bool(self.scanner.bool()?),
            (Type::Int32 | Type::Int64 | Type::IntOrString, Kind::Number) => {
                let from = self.scanner.at();
                let number = self.scanner.number()?;
                match number {
                    Number::Int(number) if matches!(ty, Type::Int64) || i32::try_from(number).is_ok() => {
                        Value::Int(number)
                    }
                    _ => return self.mismatch(&format!("number {}", self.scanner.slice(from)), ty, path),
                }
            }
            (Type::IntOrString, Kind::String) => Value::String(compact(self.scanner.string()?)),
            (Type::Double, Kind::Number) => match self.scanner.number()? {
                Number::Int(number) => Value::Int(number),
                Number::Float(number) => Value::Float(number),
            },
            (Type::Quantity, Kind::String) => {
                let text = self.scanner.string()?;
                Value::String(canonical_quantity(text.trim())?)
            }
            (Type::Quantity, Kind::Number) => {
                let from = self.scanner.at();
                self.scanner.number()?;
                Value::String(canonical_quantity(self.scanner.slice(from))?)
            }
            (Type::Time | Type::MicroTime, Kind::String) => {
                let text = self.scanner.string()?;
                match canonical_time(&text, matches!(ty, Type::MicroTime)) {
                    Some(time) => Value::String(time),
                    None => return Err(DecodeError::Type(bad_time(&text, matches!(ty, Type::MicroTime)))),
                }
            }
            (Type::Bytes, Kind::String) => {
                let text = self.scanner.string()?;
                Value::String(canonical_base64(&text).map_err(DecodeError::Type)?)
            }
            (Type::Any, _) => self.scanner.value(depth)?,
            (ty, kind) => return self.mismatch(kind.name(), ty, path),
        }))
    }
}

pub(super) fn canonical_quantity(text: &str) -> Result<CompactString, DecodeError> {
    Quantity::canonical(text).map_err(|error| DecodeError::Type(error.to_string()))
}

pub(super) fn canonical_time(text: &str, micro: bool) -> Option<CompactString> {
    // Most times are in their form already.
    if !micro && text.len() == 20 && time::parse(text).is_some() {
        return Some(CompactString::new(text));
    }
    if micro { Some(time::micro_time(time::parse_micros(text)?)) } else { Some(time::time(time::parse(text)?)) }
}

/// Go's complaint, with the part of the text that did not fit left at the whole.
fn bad_time(text: &str, micro: bool) -> String {
    let layout = if micro { "2006-01-02T15:04:05.000000Z07:00" } else { "2006-01-02T15:04:05Z07:00" };
    format!("parsing time {0} as {1}: cannot parse {0} as \"2006\"", quote(text), quote(layout))
}

const BASE64: GeneralPurpose =
    GeneralPurpose::new(&base64::alphabet::STANDARD, GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true));

/// Base64 in the one form that Go writes: without line ends, which it reads over.
pub(super) fn canonical_base64(text: &str) -> Result<CompactString, String> {
    let joined: Cow<'_, str> =
        if text.contains(['\n', '\r']) { Cow::Owned(text.replace(['\n', '\r'], "")) } else { Cow::Borrowed(text) };
    match BASE64.decode(joined.as_bytes()) {
        Ok(bytes) => {
            let canonical = BASE64.encode(bytes);
            Ok(if canonical == joined { compact(joined) } else { canonical.into() })
        }
        Err(error) => {
            let at = match error {
                base64::DecodeError::InvalidByte(at, _) | base64::DecodeError::InvalidLastSymbol(at, _) => at,
                base64::DecodeError::InvalidLength(_) | base64::DecodeError::InvalidPadding => joined.len() / 4 * 4,
            };
            Err(format!("illegal base64 data at input byte {at}"))
        }
    }
}

/// What Go has where JSON says `null` inside a list or map.
pub(in crate::codec) fn zero(ty: &Type) -> Value {
    match ty {
        Type::Bool => Value::Bool(false),
        Type::Int32 | Type::Int64 | Type::Double | Type::IntOrString => Value::Int(0),
        Type::String | Type::Bytes => Value::String(CompactString::const_new("")),
        Type::Quantity => Value::String(CompactString::const_new("0")),
        Type::Time | Type::MicroTime | Type::Any => Value::Null,
        Type::Message(_) | Type::Map(_) => Value::object(),
        Type::List(_) => Value::Array(Vec::new()),
    }
}

/// Whether Go would not write the value of a field that omits empty ones.
pub(in crate::codec) fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(truth) => !truth,
        Value::Int(number) => *number == 0,
        Value::Float(number) => *number == 0.0,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
    }
}

fn go_type(ty: &Type) -> Cow<'_, str> {
    match ty {
        Type::Bool => "bool".into(),
        Type::Int32 => "int32".into(),
        Type::Int64 => "int64".into(),
        Type::Double => "float64".into(),
        Type::String => "string".into(),
        Type::Bytes => "[]uint8".into(),
        Type::Time => "v1.Time".into(),
        Type::MicroTime => "v1.MicroTime".into(),
        Type::Quantity => "resource.Quantity".into(),
        Type::IntOrString => "intstr.IntOrString".into(),
        Type::Any => "interface {}".into(),
        Type::Message(message) => message.go_name.clone(),
        Type::List(item) => format!("[]{}", go_type(item)).into(),
        Type::Map(item) => format!("map[string]{}", go_type(item)).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema;
    use crate::value;

    fn pod(text: &str, validation: FieldValidation) -> Result<Decoded, DecodeError> {
        decode(text.as_bytes(), schema::kind("", "v1", "Pod").unwrap(), validation)
    }

    #[test]
    fn values_come_out_in_the_form_that_is_stored() {
        let text = r#"{"kind":"Pod","apiVersion":"v1","metadata":{"name":"x","creationTimestamp":null,
            "deletionTimestamp":"2026-11-22T11:04:05.5+01:00","labels":{"a":null}},
            "spec":{"nodeName":"","hostNetwork":false,"terminationGracePeriodSeconds":0,"volumes":[],
            "containers":[{"name":"","resources":{"limits":{"cpu":1.5,"memory":"1024Ki","x":1000}},
            "livenessProbe":{"httpGet":{"port":8080}},"readinessProbe":{"httpGet":{"port":"web"}}}, null]}}"#;
        let decoded = pod(text, FieldValidation::Strict).unwrap();
        assert_eq!(
            decoded.value,
            value!({
                "kind": "Pod", "apiVersion": "v1",
                "metadata": {"name": "x", "deletionTimestamp": "2026-11-22T10:04:05Z", "labels": {"a": ""}},
                "spec": {
                    "terminationGracePeriodSeconds": 0,
                    "containers": [
                        {
                            "name": "",
                            "resources": {"limits": {"cpu": "1500m", "memory": "1Mi", "x": "1k"}},
                            "livenessProbe": {"httpGet": {"port": 8080}},
                            "readinessProbe": {"httpGet": {"port": "web"}},
                        },
                        {},
                    ],
                },
            })
        );
    }

    #[test]
    fn unknown_and_duplicate_fields_are_reported_by_path() {
        let text = r#"{"spec":{"foo":{"a":[1]},"containers":[{"name":"a","Name":"b","name":"c"}]},
            "metadata":{"labels":{"a":"1","a":"2"}},"bar":1}"#;
        let faults = [
            r#"unknown field "spec.foo""#,
            r#"unknown field "spec.containers[0].Name""#,
            r#"duplicate field "spec.containers[0].name""#,
            r#"duplicate field "metadata.labels.a""#,
            r#"unknown field "bar""#,
        ];
        let decoded = pod(text, FieldValidation::Warn).unwrap();
        assert_eq!(decoded.warnings, faults);
        assert_eq!(
            decoded.value,
            value!({"spec": {"containers": [{"name": "c"}]}, "metadata": {"labels": {"a": "2"}}})
        );
        assert!(pod(text, FieldValidation::Ignore).unwrap().warnings.is_empty());
        let error = pod(text, FieldValidation::Strict).unwrap_err();
        assert_eq!(
            error.to_status("Pod", "v1", text.as_bytes()).message,
            format!("Pod in version \"v1\" cannot be handled as a Pod: strict decoding error: {}", faults.join(", "))
        );
    }

    #[test]
    fn wrong_types_get_gos_words() {
        for (text, why) in [
            (
                r#"{"spec":{"containers":"x"}}"#,
                "json: cannot unmarshal string into Go struct field PodSpec.spec.containers of type []v1.Container",
            ),
            (
                r#"{"spec":{"containers":[{"name":5}]}}"#,
                "json: cannot unmarshal number into Go struct field Container.spec.containers.name of type string",
            ),
            (
                r#"{"metadata":{"labels":{"a":true}}}"#,
                "json: cannot unmarshal bool into Go struct field ObjectMeta.metadata.labels of type string",
            ),
            (
                r#"{"spec":{"priority":3000000000}}"#,
                "json: cannot unmarshal number 3000000000 into Go struct field PodSpec.spec.priority of type int32",
            ),
            (
                r#"{"spec":{"priority":1.5}}"#,
                "json: cannot unmarshal number 1.5 into Go struct field PodSpec.spec.priority of type int32",
            ),
            ("[]", "json: cannot unmarshal array into Go value of type v1.Pod"),
            (
                r#"{"spec":{"containers":[{"resources":{"limits":{"cpu":"x"}}}]}}"#,
                "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
            ),
            (
                r#"{"metadata":{"deletionTimestamp":"yesterday"}}"#,
                "parsing time \"yesterday\" as \"2006-01-02T15:04:05Z07:00\": cannot parse \"yesterday\" as \"2006\"",
            ),
        ] {
            let error = pod(text, FieldValidation::Warn).unwrap_err();
            assert_eq!(error, DecodeError::Type(why.to_owned()));
        }
    }

    #[test]
    fn what_is_no_json_is_shown_in_part() {
        let error = pod("{\"spec\":", FieldValidation::Warn).unwrap_err();
        assert_eq!(
            error.to_status("Pod", "v1", b"{\"spec\":").message,
            "the object provided is unrecognized (must be of type Pod): couldn't get version/kind; json parse error: \
             unexpected end of JSON input ({\"spec\":)"
        );
        assert_eq!(summary(b""), "<empty>");
        assert_eq!(summary(b"x\xff"), "78ff");
    }

    #[test]
    fn bytes_are_checked_and_brought_into_form() {
        let secret = schema::kind("", "v1", "Secret").unwrap();
        let decoded = decode(br#"{"data":{"a":"aGV\nsbG8="}}"#, secret, FieldValidation::Warn).unwrap();
        assert_eq!(decoded.value, value!({"data": {"a": "aGVsbG8="}}));
        let error = decode(br#"{"data":{"a":"a!"}}"#, secret, FieldValidation::Warn).unwrap_err();
        assert_eq!(error.to_string(), "illegal base64 data at input byte 1");
    }

    #[test]
    fn bodies_of_another_kind_are_refused_and_bare_ones_filled_in() {
        let deployment = schema::kind("apps", "v1", "Deployment").unwrap();
        let expected = ("apps", "v1", "Deployment");
        let body = |text: &str| decode_body(text.as_bytes(), deployment, expected, FieldValidation::Warn);
        assert_eq!(body("{}").unwrap().value, value!({"apiVersion": "apps/v1", "kind": "Deployment"}));
        assert!(body(r#"{"kind":"Deployment","apiVersion":"apps/v1"}"#).is_ok());
        assert_eq!(
            body(r#"{"kind":"Deployment","apiVersion":"apps/v1beta1"}"#).unwrap_err().message,
            "the API version in the data (apps/v1beta1) does not match the expected API version (apps/v1)"
        );
        let other = body(r#"{"kind":"Pod","apiVersion":"v1","spec":[]}"#).unwrap_err();
        assert!(other.message.starts_with("Pod in version \"v1\" cannot be handled as a Deployment"), "{other}");
    }
}
