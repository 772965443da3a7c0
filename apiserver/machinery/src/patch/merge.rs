//! JSON merge patch (RFC 7386): `application/merge-patch+json`.
//!
//! Objects merge, `null` removes, everything else replaces. Needs no schema. The patch is consumed: values move over.

use crate::status::Status;
use crate::value::{Object, Value};

/// Merges `patch` into `target`.
///
/// # Errors
/// 400 when the patch is no object: a Kubernetes object cannot be replaced by a scalar or a list.
pub fn apply(target: &mut Value, patch: Value) -> Result<(), Status> {
    match patch {
        Value::Object(fields) => {
            merge_object(target.force_object(), fields);
            Ok(())
        }
        _ => Err(Status::bad_request("Invalid JSON Patch")),
    }
}

fn merge_object(target: &mut Object, patch: Object) {
    for (key, value) in patch {
        match value {
            Value::Null => {
                target.remove(&key);
            }
            Value::Object(fields) => merge_object(target.object_entry(key), fields),
            other => {
                target.insert(key, other);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value;

    /// The examples of RFC 7386, appendix A, that have an object as patch.
    #[test]
    fn examples_of_the_rfc() {
        let cases = [
            (value!({"a": "b"}), value!({"a": "c"}), value!({"a": "c"})),
            (value!({"a": "b"}), value!({"b": "c"}), value!({"a": "b", "b": "c"})),
            (value!({"a": "b"}), value!({"a": null}), value!({})),
            (value!({"a": "b", "b": "c"}), value!({"a": null}), value!({"b": "c"})),
            (value!({"a": ["b"]}), value!({"a": "c"}), value!({"a": "c"})),
            (value!({"a": "c"}), value!({"a": ["b"]}), value!({"a": ["b"]})),
            (value!({"a": {"b": "c"}}), value!({"a": {"b": "d", "c": null}}), value!({"a": {"b": "d"}})),
            (value!({"a": [{"b": "c"}]}), value!({"a": [1]}), value!({"a": [1]})),
            (value!({"e": null}), value!({"a": 1}), value!({"e": null, "a": 1})),
            (value!([1, 2]), value!({"a": "b", "c": null}), value!({"a": "b"})),
            (value!({}), value!({"a": {"bb": {"ccc": null}}}), value!({"a": {"bb": {}}})),
        ];
        for (mut target, patch, want) in cases {
            apply(&mut target, patch).unwrap();
            assert_eq!(target, want);
        }
    }

    #[test]
    fn only_an_object_is_a_patch() {
        let error = apply(&mut value!({}), value!(["a"])).unwrap_err();
        assert_eq!((error.code, error.reason), (400, "BadRequest"));
    }
}
