//! JSON merge patch (RFC 7386): `application/merge-patch+json`.
//!
//! Objects merge, `null` removes, everything else replaces. Needs no schema. The patch is consumed: values move over.

use std::collections::HashSet;

use compact_str::CompactString;
use hashbrown::HashMap;

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

/// From so many fields on, looking each of them up in all of the others would cost more than an index.
const WIDE: usize = 256;

fn merge_object(target: &mut Object, patch: Object) {
    if patch.len() > WIDE {
        return merge_wide(target, patch);
    }
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

/// The same by an index of the target's fields: a body of 3 MiB may hold a quarter of a million.
fn merge_wide(target: &mut Object, patch: Object) {
    let fields = target.fields_mut();
    let index = fields.iter().enumerate().map(|(at, (key, _))| (key.clone(), at));
    let index: HashMap<CompactString, usize, ahash::RandomState> = index.collect();
    let mut gone = HashSet::new();
    for (key, value) in patch {
        match (index.get(&key), value) {
            (Some(at), Value::Null) => {
                gone.insert(*at);
            }
            (None, Value::Null) => {}
            (Some(at), Value::Object(inner)) => merge_object(fields[*at].1.force_object(), inner),
            (None, Value::Object(inner)) => {
                let mut object = Object::new();
                merge_object(&mut object, inner);
                fields.push((key, Value::Object(object)));
            }
            (Some(at), other) => fields[*at].1 = other,
            (None, other) => fields.push((key, other)),
        }
    }
    if !gone.is_empty() {
        let mut at = 0;
        fields.retain(|_| {
            at += 1;
            !gone.contains(&(at - 1))
        });
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::value;

    #[test]
    fn wide_objects_merge_as_narrow_ones_do() {
        let field = |n: usize| (format!("k{n}"), Value::from(n as i64));
        let mut target: Value = Value::Object((0..600).map(field).collect());
        target.set(&["nested", "kept"], 1);
        let mut patch = Object::new();
        for n in (0..900).step_by(2) {
            patch.insert(format!("k{n}"), if n % 4 == 0 { Value::Null } else { Value::from(-(n as i64)) });
        }
        patch.insert("nested", value!({"new": 2, "none": null}));
        patch.insert("made", value!({"a": null, "b": 1}));
        let mut expected = target.clone();
        let fields = expected.as_object_mut().unwrap();
        for n in (0..900).step_by(2) {
            if n % 4 == 0 {
                fields.remove(&format!("k{n}"));
            } else {
                fields.insert(format!("k{n}"), -(n as i64));
            }
        }
        expected.set(&["nested", "new"], 2);
        expected.set(&["made", "b"], 1);
        apply(&mut target, Value::Object(patch)).unwrap();
        assert_eq!(target, expected);
    }

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
