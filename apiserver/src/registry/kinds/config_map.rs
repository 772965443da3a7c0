//! ConfigMap: texts and bytes by key; may be made immutable.

use std::borrow::Cow;
use std::sync::LazyLock;

use gantry_machinery::resource::{GroupVersionResource, Resource};
use gantry_machinery::schema::Message;
use gantry_machinery::value::Value;

use crate::registry::strategy::{Column, Strategy};
use crate::registry::validate::{Errors, Path};

/// ConfigMaps of the core group.
#[derive(Debug)]
pub struct ConfigMaps;

impl Strategy for ConfigMaps {
    fn resource(&self) -> &'static Resource {
        static ROW: LazyLock<Resource> = LazyLock::new(|| Resource {
            gvr: GroupVersionResource::of("", "v1", "configmaps"),
            kind: Cow::Borrowed("ConfigMap"),
            singular: Cow::Borrowed("configmap"),
            namespaced: true,
            verbs: ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]
                .into_iter()
                .map(Cow::Borrowed)
                .collect(),
            short_names: Cow::Borrowed(const { &[Cow::Borrowed("cm")] }),
            categories: Cow::Borrowed(&[]),
            subresources: Cow::Borrowed(&[]),
        });
        &ROW
    }

    fn message(&self) -> &'static Message {
        static FIELDS: LazyLock<Message> = LazyLock::new(|| Message {
            name: Cow::Borrowed("io.k8s.api.core.v1.ConfigMap"),
            go_name: Cow::Borrowed("v1.ConfigMap"),
            fields: Cow::Borrowed(&[]),
            embedded: Cow::Borrowed(&[]),
            atomic: false,
            preserve_unknown: false,
            kinds: Cow::Borrowed(const { &[Cow::Borrowed("v1/ConfigMap")] }),
        });
        &FIELDS
    }

    fn check(&self, object: &Value, errors: &mut Errors) {
        let data = Path::root("data");
        let binary = Path::root("binaryData");
        let mut size = 0;
        if let Some(texts) = object.object_at(&["data"]) {
            for (key, text) in texts.iter() {
                check_key(key, &data, errors);
                if object.at(&["binaryData", key]).is_some() {
                    errors.invalid(&data.key(key), key.as_str(), "duplicate of key present in binaryData");
                }
                size += text.as_str().map_or(0, str::len);
            }
        }
        if let Some(blobs) = object.object_at(&["binaryData"]) {
            for (key, blob) in blobs.iter() {
                check_key(key, &binary, errors);
                size += decoded_len(blob.as_str().unwrap_or_default());
            }
        }
        if size > DATA_BYTES_MAX {
            errors.too_long(&Path::root(""), DATA_BYTES_MAX);
        }
    }

    fn check_update(&self, new: &Value, old: &Value, _subresource: &str, errors: &mut Errors) {
        check_immutable(new, old, &["data", "binaryData"], errors);
        self.check(new, errors);
    }

    fn columns(&self) -> &'static [Column] {
        const { &[Column::name(), Column::string("Data"), Column::string("Age")] }
    }

    fn row(&self, object: &Value, now: i64) -> Vec<Value> {
        let count = |field| object.object_at(&[field]).map_or(0, gantry_machinery::value::Object::len);
        let data = count("data") + count("binaryData");
        vec![super::name_cell(object), Value::Int(data as i64), super::age_cell(object, now)]
    }
}

/// What the data of one ConfigMap or Secret may come to.
pub(super) const DATA_BYTES_MAX: usize = 1024 * 1024;

/// How many bytes a base64 text holds.
pub(super) fn decoded_len(base64: &str) -> usize {
    let text = base64.trim_end_matches('=');
    text.len() * 3 / 4
}

/// The rules for keys that may become file names.
pub(super) fn check_key(key: &str, map: &Path<'_>, errors: &mut Errors) {
    const SYNTAX: &str = "a valid config key must consist of alphanumeric characters, '-', '_' or '.' \
        (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')";
    let fine = !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
    if key.len() > 253 {
        errors.invalid(&map.key(key), key, "must be no more than 253 bytes");
    }
    if !fine {
        errors.invalid(&map.key(key), key, SYNTAX);
    }
    if key == "." || key == ".." {
        errors.invalid(&map.key(key), key, format!("must not be '{key}'"));
    } else if key.starts_with("..") {
        errors.invalid(&map.key(key), key, "must not start with '..'");
    }
}

/// Once `immutable` is true it stays, and so do the `fields`.
pub(super) fn check_immutable(new: &Value, old: &Value, fields: &[&str], errors: &mut Errors) {
    const DETAIL: &str = "field is immutable when `immutable` is set";
    if old.bool_at(&["immutable"]) != Some(true) {
        return;
    }
    if new.bool_at(&["immutable"]) != Some(true) {
        errors.forbidden(&Path::root("immutable"), DETAIL);
    }
    let empty = |v: Option<&Value>| v.and_then(Value::as_object).is_none_or(gantry_machinery::value::Object::is_empty);
    for field in fields {
        let (is, was) = (new.get(field), old.get(field));
        if is != was && !(empty(is) && empty(was)) {
            errors.forbidden(&Path::root(field), DETAIL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gantry_machinery::value;

    fn causes(errors: Vec<gantry_machinery::status::FieldError>) -> Vec<(String, String)> {
        errors.into_iter().map(|e| (e.field, e.detail)).collect()
    }

    #[test]
    fn keys_are_file_names_and_unique() {
        let map = value!({"data": {"a b": "1", "same": "x", "..": "y"}, "binaryData": {"same": "AAAA"}});
        let found = causes(ConfigMaps.validate(&map));
        assert_eq!(found.len(), 3, "{found:?}");
        assert_eq!(found[0].0, "data[a b]");
        assert_eq!(found[1], ("data[same]".to_owned(), "duplicate of key present in binaryData".to_owned()));
        assert_eq!(found[2], ("data[..]".to_owned(), "must not be '..'".to_owned()));
    }

    #[test]
    fn an_immutable_map_keeps_its_data() {
        let old = value!({"immutable": true, "data": {"a": "1"}});
        let new = value!({"data": {"a": "2"}});
        let found = causes(ConfigMaps.validate_update(&new, &old, ""));
        assert_eq!(found.iter().map(|c| c.0.as_str()).collect::<Vec<_>>(), ["immutable", "data"]);
        assert!(ConfigMaps.validate_update(&old, &old, "").is_empty());
    }

    #[test]
    fn the_row_counts_both_maps() {
        let map = value!({"metadata": {"name": "m"}, "data": {"a": "1"}, "binaryData": {"b": "AA=="}});
        assert_eq!(ConfigMaps.row(&map, 0)[..2], [Value::from("m"), Value::Int(2)]);
    }
}
