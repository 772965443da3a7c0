//! JSON patch (RFC 6902): `application/json-patch+json`.
//!
//! The verbs hand in the decoded document and the object; on an error the object is left half changed and is to be
//! thrown away. Bounds: [`OPERATIONS_MAX`] operations, [`COPY_BYTES_MAX`] bytes of growth by `copy`.

use super::error::does_not_apply;
use crate::codec::json::MAX_DEPTH;
use crate::status::Status;
use crate::value::Value;

/// More operations than this are refused with 413.
pub const OPERATIONS_MAX: usize = 10_000;

/// `copy` may add this many bytes in all, so that a small patch cannot make a huge object.
pub const COPY_BYTES_MAX: usize = 3 << 20;

/// Applies the operations of `patch` in order.
///
/// # Errors
/// 400 when `patch` is no list of operations, 413 when there are too many, 422 when one does not apply (a missing
/// path, a failed `test`).
pub fn apply(object: &mut Value, patch: &Value) -> Result<(), Status> {
    let Value::Array(operations) = patch else {
        return Err(Status::bad_request(format!(
            "json: cannot unmarshal {} into Go value of type jsonpatch.Patch",
            patch.type_name()
        )));
    };
    if operations.len() > OPERATIONS_MAX {
        return Err(Status::request_entity_too_large(format!(
            "The allowed maximum operations in a JSON patch is {OPERATIONS_MAX}, got {}",
            operations.len()
        )));
    }
    if let Some(other) = operations.iter().find(|o| o.as_object().is_none()) {
        return Err(Status::bad_request(format!(
            "json: cannot unmarshal {} into Go value of type jsonpatch.Operation",
            other.type_name()
        )));
    }
    let mut copied = 0;
    for operation in operations {
        one(object, operation, &mut copied).map_err(|cause| does_not_apply(&cause))?;
    }
    Ok(())
}

fn one(object: &mut Value, operation: &Value, copied: &mut usize) -> Result<(), String> {
    let text = |name: &str| {
        let given = operation.str_at(&[name]);
        given.ok_or_else(|| format!("operation is missing or has an invalid {name:?} field"))
    };
    let value = || operation.get("value").cloned().ok_or_else(|| "operation missing value field".to_owned());
    let path = Pointer::parse(text("path")?)?;
    match text("op")? {
        "add" => add(object, &path, value()?),
        "remove" => remove(object, &path).map(drop),
        "replace" => {
            let value = value()?;
            path.may_hold(&value)?;
            let place = path.find_mut(object).ok_or_else(|| path.missing("replace"))?;
            *place = value;
            Ok(())
        }
        "move" => {
            let from = Pointer::parse(text("from")?)?;
            if path.0.len() > from.0.len() && path.0.starts_with(&from.0) {
                return Err(format!("jsonpatch move operation: {} is inside {}", path.text(), from.text()));
            }
            let taken = remove(object, &from)?;
            add(object, &path, taken)
        }
        "copy" => {
            let from = Pointer::parse(text("from")?)?;
            let found = from.find(object).ok_or_else(|| from.missing("copy"))?.clone();
            *copied += encoded_size(&found);
            if *copied > COPY_BYTES_MAX {
                return Err(format!(
                    "Unable to complete the copy, the accumulated size increase of copy is {copied}, exceeding the \
                     limit {COPY_BYTES_MAX}"
                ));
            }
            add(object, &path, found)
        }
        "test" => {
            // An absent value equals an explicit null, as in upstream's library.
            let found = path.find(object).unwrap_or(&Value::Null);
            if same(found, operation.get("value").unwrap_or(&Value::Null)) {
                Ok(())
            } else {
                Err(format!("testing value {} failed", path.text()))
            }
        }
        other => Err(format!("unexpected kind: {other}")),
    }
}

fn add(object: &mut Value, path: &Pointer, value: Value) -> Result<(), String> {
    path.may_hold(&value)?;
    let Some((last, way)) = path.0.split_last() else {
        *object = value;
        return Ok(());
    };
    match walk_mut(object, way).ok_or_else(|| path.missing("add"))? {
        Value::Object(fields) => {
            fields.insert(last.as_str(), value);
            Ok(())
        }
        Value::Array(items) => {
            let at = if last == "-" { items.len() } else { index(last, items.len() + 1)? };
            items.insert(at, value);
            Ok(())
        }
        _ => Err(path.missing("add")),
    }
}

fn remove(object: &mut Value, path: &Pointer) -> Result<Value, String> {
    let (last, way) = path.0.split_last().ok_or_else(|| path.missing("remove"))?;
    match walk_mut(object, way).ok_or_else(|| path.missing("remove"))? {
        Value::Object(fields) => fields.remove(last).ok_or_else(|| path.missing("remove")),
        Value::Array(items) => {
            let at = index(last, items.len())?;
            Ok(items.remove(at))
        }
        _ => Err(path.missing("remove")),
    }
}

/// A list index below `end`; negative ones count from the end, as upstream's library has it.
fn index(token: &str, end: usize) -> Result<usize, String> {
    let bad = || format!("invalid index referenced: {token}");
    let number: i64 = token.parse().map_err(|_| bad())?;
    let at = if number < 0 { number + end as i64 } else { number };
    usize::try_from(at).ok().filter(|at| *at < end).ok_or_else(bad)
}

/// Equality in which `1` and `1.0` are the same number.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Int(_) | Value::Float(_), Value::Int(_) | Value::Float(_)) => a == b || a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(k, v)| b.get(k).is_some_and(|other| same(v, other)))
        }
        _ => a == b,
    }
}

/// About how many bytes the value takes as JSON.
fn encoded_size(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(true) => 4,
        Value::Bool(false) => 5,
        Value::Int(_) | Value::Float(_) => 8,
        Value::String(text) => text.len() + 2,
        Value::Array(items) => 2 + items.iter().map(|i| encoded_size(i) + 1).sum::<usize>(),
        Value::Object(fields) => 2 + fields.iter().map(|(k, v)| k.len() + 4 + encoded_size(v)).sum::<usize>(),
    }
}

/// A JSON pointer (RFC 6901), its tokens unescaped.
struct Pointer(Vec<String>);

impl Pointer {
    fn parse(text: &str) -> Result<Self, String> {
        match text.strip_prefix('/') {
            None if text.is_empty() => Ok(Self(Vec::new())),
            None => Err(format!("invalid path: {text:?}")),
            Some(rest) => Ok(Self(rest.split('/').map(|t| t.replace("~1", "/").replace("~0", "~")).collect())),
        }
    }

    /// Whether the value may stand here: operations must not pile up what no body could bring, and no stack would hold.
    fn may_hold(&self, value: &Value) -> Result<(), String> {
        match MAX_DEPTH.checked_sub(self.0.len()) {
            Some(room) if !value.deeper_than(room) => Ok(()),
            _ => Err(format!("the value at the end of {} tokens nests deeper than {MAX_DEPTH}", self.0.len())),
        }
    }

    fn text(&self) -> String {
        self.0.iter().map(|t| format!("/{}", t.replace('~', "~0").replace('/', "~1"))).collect()
    }

    fn missing(&self, operation: &str) -> String {
        format!("{operation} operation does not apply: doc is missing path: {}: missing value", self.text())
    }

    fn find<'v>(&self, object: &'v Value) -> Option<&'v Value> {
        self.0.iter().try_fold(object, |value, token| match value {
            Value::Object(fields) => fields.get(token),
            Value::Array(items) => items.get(index(token, items.len()).ok()?),
            _ => None,
        })
    }

    fn find_mut<'v>(&self, object: &'v mut Value) -> Option<&'v mut Value> {
        walk_mut(object, &self.0)
    }
}

fn walk_mut<'v>(object: &'v mut Value, way: &[String]) -> Option<&'v mut Value> {
    way.iter().try_fold(object, |value, token| match value {
        Value::Object(fields) => fields.get_mut(token),
        Value::Array(items) => {
            let at = index(token, items.len()).ok()?;
            items.get_mut(at)
        }
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value;

    fn patched(mut object: Value, patch: Value) -> Result<Value, Status> {
        apply(&mut object, &patch)?;
        Ok(object)
    }

    #[test]
    fn examples_of_the_rfc() {
        let cases = [
            (
                value!({"foo": "bar"}),
                value!([{"op": "add", "path": "/baz", "value": "qux"}]),
                value!({"baz": "qux", "foo": "bar"}),
            ),
            (
                value!({"foo": ["bar", "baz"]}),
                value!([{"op": "add", "path": "/foo/1", "value": "qux"}]),
                value!({"foo": ["bar", "qux", "baz"]}),
            ),
            (value!({"baz": "qux", "foo": "bar"}), value!([{"op": "remove", "path": "/baz"}]), value!({"foo": "bar"})),
            (
                value!({"foo": ["bar", "qux", "baz"]}),
                value!([{"op": "remove", "path": "/foo/1"}]),
                value!({"foo": ["bar", "baz"]}),
            ),
            (
                value!({"baz": "qux"}),
                value!([{"op": "replace", "path": "/baz", "value": "boo"}]),
                value!({"baz": "boo"}),
            ),
            (
                value!({"foo": {"bar": "baz", "waldo": "fred"}, "qux": {"corge": "grault"}}),
                value!([{"op": "move", "from": "/foo/waldo", "path": "/qux/thud"}]),
                value!({"foo": {"bar": "baz"}, "qux": {"corge": "grault", "thud": "fred"}}),
            ),
            (
                value!({"foo": ["all", "grass", "cows", "eat"]}),
                value!([{"op": "move", "from": "/foo/1", "path": "/foo/3"}]),
                value!({"foo": ["all", "cows", "eat", "grass"]}),
            ),
            (value!({"baz": "qux"}), value!([{"op": "test", "path": "/baz", "value": "qux"}]), value!({"baz": "qux"})),
            (
                value!({"foo": "bar"}),
                value!([{"op": "add", "path": "/child", "value": {"grandchild": {}}}]),
                value!({"foo": "bar", "child": {"grandchild": {}}}),
            ),
            (
                value!({"/": 9, "~1": 10}),
                value!([{"op": "test", "path": "/~01", "value": 10}]),
                value!({"/": 9, "~1": 10}),
            ),
            (
                value!({"foo": ["bar"]}),
                value!([{"op": "add", "path": "/foo/-", "value": ["abc"]}]),
                value!({"foo": ["bar", ["abc"]]}),
            ),
            (
                value!({"a": [1, 2]}),
                value!([{"op": "copy", "from": "/a/-1", "path": "/b"}]),
                value!({"a": [1, 2], "b": 2}),
            ),
            (value!({"a": 1}), value!([{"op": "test", "path": "/b", "value": null}]), value!({"a": 1})),
            (value!({"a": 1}), value!([{"op": "test", "path": "/a", "value": 1.0}]), value!({"a": 1})),
        ];
        for (object, patch, want) in cases {
            assert_eq!(patched(object, patch).unwrap(), want);
        }
    }

    #[test]
    fn what_does_not_apply_is_422() {
        let operations = [
            value!({"op": "test", "path": "/baz", "value": "bar"}),
            value!({"op": "add", "path": "/baz/bat", "value": "qux"}),
            value!({"op": "remove", "path": "/nope"}),
            value!({"op": "replace", "path": "/nope", "value": 1}),
            value!({"op": "move", "from": "/nope", "path": "/x"}),
            value!({"op": "move", "from": "/list", "path": "/list/0"}),
            value!({"op": "add", "path": "/list/7", "value": 1}),
            value!({"op": "explode", "path": "/list"}),
            value!({"op": "add", "path": "nope", "value": 1}),
        ];
        for operation in operations {
            let error =
                patched(value!({"foo": "bar", "list": [1]}), Value::Array(vec![operation.clone()])).unwrap_err();
            assert_eq!((error.code, error.reason), (422, "Invalid"), "{operation:?}");
        }
    }

    #[test]
    fn a_patch_is_a_list_of_bounded_length() {
        assert_eq!(patched(value!({}), value!({"op": "add"})).unwrap_err().code, 400);
        assert_eq!(patched(value!({}), value!(["add"])).unwrap_err().code, 400);
        let operation = value!({"op": "add", "path": "/a", "value": 1});
        let many = Value::Array(vec![operation; OPERATIONS_MAX + 1]);
        let error = patched(value!({}), many).unwrap_err();
        assert_eq!((error.code, error.reason), (413, "RequestEntityTooLarge"));
        assert_eq!(
            error.message,
            "Request entity too large: The allowed maximum operations in a JSON patch is 10000, got 10001"
        );
    }

    #[test]
    fn copies_cannot_grow_an_object_without_end() {
        let object = value!({"a": ("x".repeat(2 << 20))});
        let copy = |to: &str| value!({"op": "copy", "from": "/a", "path": to});
        assert!(patched(object.clone(), Value::Array(vec![copy("/b")])).is_ok());
        let error = patched(object, Value::Array(vec![copy("/b"), copy("/c")])).unwrap_err();
        assert!(error.message.contains("exceeding the limit 3145728"), "{}", error.message);
    }
}
