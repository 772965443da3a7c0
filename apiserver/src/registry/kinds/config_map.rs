//! ConfigMap: texts and bytes by key; may be made immutable.

use gantry_machinery::value::Value;

use super::cells::{age_cell, len_cell, name_cell};
use super::row;
use crate::registry::strategy::{Column, Strategy};
use crate::registry::validate::{Errors, Path, name, same};

/// ConfigMaps of the core group.
#[derive(Debug)]
pub struct ConfigMaps;

impl Strategy for ConfigMaps {
    row!("", "v1", "configmaps");

    fn check(&self, object: &Value, errors: &mut Errors) {
        let data = Path::new("data");
        let binary = Path::new("binaryData");
        let mut size = 0;
        if let Some(texts) = object.object_at(&["data"]) {
            for (key, text) in texts.iter() {
                name::config_key(key, &data.key(key), errors);
                if object.at(&["binaryData", key]).is_some() {
                    errors.invalid(&data.key(key), key.as_str(), "duplicate of key present in binaryData");
                }
                size += text.as_str().map_or(0, str::len);
            }
        }
        if let Some(blobs) = object.object_at(&["binaryData"]) {
            for (key, blob) in blobs.iter() {
                name::config_key(key, &binary.key(key), errors);
                size += decoded_len(blob.as_str().unwrap_or_default());
            }
        }
        if size > DATA_BYTES_MAX {
            errors.too_long(&Path::new(""), DATA_BYTES_MAX);
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
        vec![name_cell(object), len_cell(object, &["data", "binaryData"]), age_cell(object, now)]
    }
}

/// What the data of one ConfigMap or Secret may come to.
pub(super) const DATA_BYTES_MAX: usize = 1024 * 1024;

/// How many bytes a base64 text holds.
pub(super) fn decoded_len(base64: &str) -> usize {
    let text = base64.trim_end_matches('=');
    text.len() * 3 / 4
}

/// Once `immutable` is true it stays, and so do the `fields`.
pub(super) fn check_immutable(new: &Value, old: &Value, fields: &[&str], errors: &mut Errors) {
    const DETAIL: &str = "field is immutable when `immutable` is set";
    if old.bool_at(&["immutable"]) != Some(true) {
        return;
    }
    if new.bool_at(&["immutable"]) != Some(true) {
        errors.forbidden(&Path::new("immutable"), DETAIL);
    }
    for field in fields {
        if !same(new.get(field), old.get(field)) {
            errors.forbidden(&Path::new(field), DETAIL);
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
