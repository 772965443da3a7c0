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
        let detail = if bytes.is_empty() { "unexpected end of JSON input".to_owned() } else { error.to_string() };
        errors.invalid(at, "<secret contents redacted>", detail);
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
