//! Secret: bytes by key, with the keys that its type asks for; may be made immutable.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use compact_str::CompactString;
use gantry_machinery::value::Value;

use super::cells::{age_cell, len_cell, name_cell, text_cell};
use super::config_map::{DATA_BYTES_MAX, check_immutable, decoded_len};
use super::field::fill;
use super::row;
use crate::registry::strategy::{Column, Strategy};
use crate::registry::validate::view::Held;
use crate::registry::validate::{Errors, Path, name};

/// Secrets of the core group.
#[derive(Debug)]
pub struct Secrets;

impl Strategy for Secrets {
    row!("", "v1", "secrets");

    fn default(&self, secret: &mut Value) {
        // stringData is written, never read: it goes into data as bytes.
        if let Some(Value::Object(texts)) = secret.remove(&["stringData"])
            && !texts.is_empty()
        {
            let data = secret.force_object().object_entry("data");
            for (key, text) in texts {
                data.insert(key, STANDARD.encode(text.as_str().unwrap_or_default()));
            }
        }
        fill(secret.force_object(), "type", "Opaque");
    }

    fn check(&self, secret: &Value, errors: &mut Errors) {
        let at = Path::new("data");
        let data = secret.get("data");
        let mut size = 0;
        for (key, value) in data.entries() {
            name::config_key(key, &at.key(key), errors);
            size += decoded_len(value.as_str().unwrap_or_default());
        }
        if size > DATA_BYTES_MAX {
            errors.too_long(&at, DATA_BYTES_MAX);
        }
        let held = |key: &str| data.and_then(|d| d.get(key));
        match secret.get("type").text() {
            "kubernetes.io/service-account-token" => {
                const OWNER: &str = "kubernetes.io/service-account.name";
                if secret.at(&["metadata", "annotations", OWNER]).text().is_empty() {
                    errors.required(&Path::new("metadata.annotations").key(OWNER), "");
                }
            }
            "kubernetes.io/dockercfg" => check_json(held(".dockercfg"), &at.key(".dockercfg"), errors),
            "kubernetes.io/dockerconfigjson" => {
                check_json(held(".dockerconfigjson"), &at.key(".dockerconfigjson"), errors);
            }
            "kubernetes.io/basic-auth" if held("username").is_none() && held("password").is_none() => {
                errors.required(&at.key("username"), "");
                errors.required(&at.key("password"), "");
            }
            "kubernetes.io/ssh-auth" if held("ssh-privatekey").text().is_empty() => {
                errors.required(&at.key("ssh-privatekey"), "");
            }
            "kubernetes.io/tls" => {
                for key in ["tls.crt", "tls.key"] {
                    if held(key).is_none() {
                        errors.required(&at.key(key), "");
                    }
                }
            }
            _ => {}
        }
    }

    fn prepare_for_update(&self, new: &mut Value, old: &Value, _subresource: &str) {
        // An update that says no type keeps the one there is.
        if new.get("type").text().is_empty()
            && let Some(kind) = old.get("type")
        {
            new.set(&["type"], kind.clone());
        }
    }

    fn check_update(&self, new: &Value, old: &Value, _subresource: &str, errors: &mut Errors) {
        errors.immutable(&Path::new("type"), new.get("type"), old.get("type"));
        check_immutable(new, old, &["data"], errors);
        self.check(new, errors);
    }

    fn selectable_fields(&self) -> &'static [&'static str] {
        &["type"]
    }

    fn fields(&self, secret: &Value) -> Vec<(&'static str, CompactString)> {
        vec![("type", secret.get("type").text().into())]
    }

    fn columns(&self) -> &'static [Column] {
        const { &[Column::name(), Column::string("Type"), Column::string("Data"), Column::string("Age")] }
    }

    fn row(&self, secret: &Value, now: i64) -> Vec<Value> {
        vec![name_cell(secret), text_cell(secret, &["type"]), len_cell(secret, &["data"]), age_cell(secret, now)]
    }
}

fn check_json(value: Option<&Value>, at: &Path<'_>, errors: &mut Errors) {
    let Some(value) = value else { return errors.required(at, "") };
    let bytes = STANDARD.decode(value.as_str().unwrap_or_default()).unwrap_or_default();
    let parsed = serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(&bytes);
    if let Err(error) = parsed {
        errors.invalid(at, "<secret contents redacted>", go_detail(&bytes).unwrap_or_else(|| error.to_string()));
    }
}

/// What Go's parser says to the commonest of what is no JSON object: nothing, plain text, and JSON of another type.
fn go_detail(bytes: &[u8]) -> Option<String> {
    let text = bytes.trim_ascii_start();
    let invalid = |byte: u8, place: &str| Some(format!("invalid character {} {place}", go_char(byte)));
    let Some(first) = text.first() else { return Some("unexpected end of JSON input".to_owned()) };
    let literal = match first {
        b't' => "true",
        b'f' => "false",
        b'n' => "null",
        b'{' | b'[' | b'"' | b'-' | b'0'..=b'9' => "",
        other => return invalid(*other, "looking for beginning of value"),
    };
    if let Some((got, wanted)) = text.iter().zip(literal.bytes()).find(|(got, wanted)| *got != wanted) {
        let place = format!("in literal {literal} (expecting {})", go_char(wanted));
        return invalid(*got, &place);
    }
    let kind = match serde_json::from_slice(bytes).ok()? {
        serde_json::Value::Array(_) => "array",
        serde_json::Value::String(_) => "string",
        serde_json::Value::Number(_) => "number",
        serde_json::Value::Bool(_) => "bool",
        serde_json::Value::Null | serde_json::Value::Object(_) => return None,
    };
    Some(format!("json: cannot unmarshal {kind} into Go value of type map[string]interface {{}}"))
}

fn go_char(byte: u8) -> String {
    match byte {
        b'\'' => r"'\''".to_owned(),
        b'\n' => r"'\n'".to_owned(),
        b'\r' => r"'\r'".to_owned(),
        b'\t' => r"'\t'".to_owned(),
        b'\\' => r"'\\'".to_owned(),
        0..0x20 | 0x7f => format!(r"'\x{byte:02x}'"),
        0x80..0xa1 | 0xad => format!(r"'\u{byte:04x}'"),
        _ => format!("'{}'", char::from(byte)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gantry_machinery::value;

    #[test]
    fn string_data_becomes_data() {
        let mut secret = value!({"stringData": {"a": "x"}, "data": {"b": "Yg=="}});
        Secrets.default(&mut secret);
        assert_eq!(secret, value!({"data": {"a": "eA==", "b": "Yg=="}, "type": "Opaque"}));
    }

    #[test]
    fn types_ask_for_their_keys() {
        let wrong = |kind: &str| -> Vec<String> {
            let secret = value!({"type": kind});
            Secrets.validate(&secret).into_iter().map(|e| e.field).collect()
        };
        assert_eq!(wrong("kubernetes.io/tls"), ["data[tls.crt]", "data[tls.key]"]);
        assert_eq!(wrong("kubernetes.io/basic-auth"), ["data[username]", "data[password]"]);
        assert_eq!(
            wrong("kubernetes.io/service-account-token"),
            ["metadata.annotations[kubernetes.io/service-account.name]"]
        );
        assert!(wrong("example.com/mine").is_empty());
    }

    #[test]
    fn the_type_is_immutable() {
        let old = value!({"type": "Opaque"});
        let new = value!({"type": "kubernetes.io/other"});
        assert_eq!(Secrets.validate_update(&new, &old, "")[0].detail, "field is immutable");
    }
}
