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
    use proptest::prelude::*;

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

    /// The patch that makes `to` of `from`.
    fn difference(from: &Object, to: &Object) -> Object {
        let mut patch = Object::new();
        for key in from.keys().filter(|k| !to.contains_key(k)) {
            patch.insert(key.clone(), Value::Null);
        }
        for (key, value) in to.iter() {
            match (from.get(key), value) {
                (Some(old), new) if old == new => {}
                (Some(Value::Object(old)), Value::Object(new)) => {
                    patch.insert(key.clone(), Value::Object(difference(old, new)));
                }
                _ => {
                    patch.insert(key.clone(), value.clone());
                }
            }
        }
        patch
    }

    /// Objects without null, which a merge patch cannot set.
    fn some_object() -> impl Strategy<Value = Object> {
        let leaf = prop_oneof![(0..3i64).prop_map(Value::from), prop::bool::ANY.prop_map(Value::from)];
        let keys = || prop::sample::select(vec!["a", "b", "c"]);
        let value = leaf.prop_recursive(3, 12, 3, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(Value::Array),
                prop::collection::btree_map(keys(), inner, 0..3)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        });
        prop::collection::btree_map(keys(), value, 0..4).prop_map(|fields| fields.into_iter().collect())
    }

    proptest! {
        #[test]
        fn a_difference_leads_where_it_came_from(from in some_object(), to in some_object()) {
            let mut object = Value::Object(from.clone());
            let patch = Value::Object(difference(&from, &to));
            apply(&mut object, patch).unwrap();
            prop_assert_eq!(object, Value::Object(to));
        }
    }

    #[test]
    fn only_an_object_is_a_patch() {
        let error = apply(&mut value!({}), value!(["a"])).unwrap_err();
        assert_eq!((error.code, error.reason), (400, "BadRequest"));
    }
}
