//! Strategic merge patch: `application/strategic-merge-patch+json`, what `kubectl patch`, `edit` and client-side `apply`
//! send for built-in kinds.
//!
//! A merge patch that knows the schema: lists whose field says so merge, by key or as sets of scalars. Directives inside
//! the patch: `$patch: replace|merge|delete` in an object, `$retainKeys`, `$setElementOrder/<field>`,
//! `$deleteFromPrimitiveList/<field>` beside a field. See "Strategic merge patch" in the community's API docs.
//!
//! Works on decoded values; fields that the schema does not know merge as objects and are replaced as lists, and the
//! decoder that checks the result has the last word on them. On an error the object is half changed: throw it away.

use compact_str::CompactString;

use super::error::plain;
use crate::schema::{Field, Message, Patch, Type};
use crate::status::Status;
use crate::value::{Object, Value};

const DIRECTIVE: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const SET_ORDER: &str = "$setElementOrder/";
const DELETE_SCALARS: &str = "$deleteFromPrimitiveList/";

/// Merges `patch` into `object`, a `message`.
///
/// # Errors
/// 400 for malformed directives and for a patch that is no object, 500 (as upstream) for list items without their merge
/// key and unknown directives.
pub fn apply(object: &mut Value, patch: Value, message: &Message) -> Result<(), Status> {
    match patch {
        Value::Object(patch) => merge_object(object.force_object(), patch, Shape::Message(message)),
        _ => Err(Status::bad_request("invalid JSON document")),
    }
}

/// What is known of an object.
#[derive(Clone, Copy)]
enum Shape<'s> {
    Message(&'s Message),
    Map(&'s Type),
    Unknown,
}

impl<'s> Shape<'s> {
    fn of(ty: Option<&'s Type>) -> Self {
        match ty {
            Some(Type::Message(message)) => Self::Message(message),
            Some(Type::Map(item)) => Self::Map(item),
            _ => Self::Unknown,
        }
    }

    fn item(ty: Option<&'s Type>) -> Self {
        match ty {
            Some(Type::List(item)) => Self::of(Some(item)),
            _ => Self::Unknown,
        }
    }

    fn field(self, key: &str) -> Option<&'s Field> {
        match self {
            Self::Message(message) => message.field(key),
            _ => None,
        }
    }

    fn ty(self, key: &str) -> Option<&'s Type> {
        match self {
            Self::Message(message) => message.field(key).map(|f| &f.ty),
            Self::Map(item) => Some(item),
            Self::Unknown => None,
        }
    }

    fn patch(self, key: &str) -> Patch {
        self.field(key).map(|f| f.patch.clone()).unwrap_or_default()
    }
}

fn merge_object(target: &mut Object, mut patch: Object, shape: Shape<'_>) -> Result<(), Status> {
    if let Some(directive) = patch.remove(DIRECTIVE) {
        match directive.as_str() {
            Some("replace") => *target = patch,
            Some("delete") => *target = Object::new(),
            Some("merge") => return merge_object(target, patch, shape),
            _ => return Err(plain(format!("unknown patch type: {} in map", shown(&directive)))),
        }
        return Ok(());
    }
    retain_keys(target, &mut patch)?;
    let ordered = set_orders(target, &mut patch, shape)?;
    for (key, value) in patch {
        if let Some(list) = key.strip_prefix(DELETE_SCALARS) {
            delete_scalars(target, list, value)?;
            continue;
        }
        match (target.get_mut(&key), value) {
            (_, Value::Null) => {
                target.remove(&key);
            }
            (None, value) => {
                if let Some(value) = without_directives(value) {
                    target.insert(key, value);
                }
            }
            (Some(Value::Object(old)), Value::Object(new)) => {
                merge_object(old, new, Shape::of(shape.ty(&key)))?;
            }
            (Some(Value::Array(old)), Value::Array(new)) => {
                let how = shape.patch(&key);
                if how.merge {
                    let old_items = std::mem::take(old);
                    *old = merge_list(old_items, new, &how.merge_key, Shape::item(shape.ty(&key)), &key)?;
                } else {
                    *old = new;
                }
            }
            (Some(old), new) => {
                if let Some(new) = without_directives(new) {
                    *old = new;
                }
            }
        }
    }
    for (key, items) in ordered {
        target.insert(key, Value::Array(items));
    }
    Ok(())
}

/// `$retainKeys`: drops from the target every field that the list does not name.
fn retain_keys(target: &mut Object, patch: &mut Object) -> Result<(), Status> {
    let Some(keys) = patch.remove(RETAIN_KEYS) else { return Ok(()) };
    let bad = || Status::bad_request("invalid patch format of retainKeys");
    let keys = keys.as_array().ok_or_else(bad)?;
    let kept = |key: &str| keys.iter().any(|k| k.as_str() == Some(key));
    for (key, value) in patch.iter() {
        let is_field = !value.is_null() && !key.starts_with(SET_ORDER) && !key.starts_with(DELETE_SCALARS);
        if is_field && !kept(key) {
            return Err(bad());
        }
    }
    target.retain(|key, _| kept(key));
    Ok(())
}

/// `$deleteFromPrimitiveList/list`: takes these scalars out.
fn delete_scalars(target: &mut Object, list: &str, value: Value) -> Result<(), Status> {
    let Value::Array(gone) = value else {
        return Err(Status::bad_request("invalid patch format of primitive list"));
    };
    if let Some(Value::Array(items)) = target.get_mut(list) {
        items.retain(|item| !gone.contains(item));
    }
    Ok(())
}

/// `$setElementOrder/list`: merges the list (taking it out of the patch) and puts it in the order asked for. Gives the
/// finished lists; they are set last so that `$retainKeys` and plain fields cannot undo them.
fn set_orders(
    target: &mut Object,
    patch: &mut Object,
    shape: Shape<'_>,
) -> Result<Vec<(CompactString, Vec<Value>)>, Status> {
    let mut done = Vec::new();
    let keys: Vec<CompactString> = patch.keys().filter(|k| k.starts_with(SET_ORDER)).cloned().collect();
    for directive in keys {
        let list = &directive[SET_ORDER.len()..];
        let Some(Value::Array(order)) = patch.remove(&directive) else {
            return Err(Status::bad_request("invalid patch format of setElementOrder list"));
        };
        // The scalars to delete from the same list go first, or they would be put in order and then removed.
        if let Some(gone) = patch.remove(&format!("{DELETE_SCALARS}{list}")) {
            delete_scalars(target, list, gone)?;
        }
        let how = shape.patch(list);
        let old = target.get(list).and_then(Value::as_array).map(<[Value]>::to_vec);
        let new = match patch.get(list) {
            Some(Value::Array(_)) => match patch.remove(list) {
                Some(Value::Array(items)) => Some(items),
                _ => None,
            },
            // Null deletes the list, and anything else is for the field's own rule.
            Some(_) => continue,
            None => None,
        };
        if let Some(new) = &new {
            follows_order(new, &order, &how.merge_key)?;
        }
        let merged = match (old.clone(), new) {
            (None, None) => continue,
            (Some(old), None) => old,
            (None, Some(new)) => new.into_iter().filter_map(without_directives).collect(),
            (Some(old), Some(new)) if how.merge => {
                merge_list(old, new, &how.merge_key, Shape::item(shape.ty(list)), list)?
            }
            (Some(_), Some(new)) => new,
        };
        let in_order = put_in_order(merged, &order, old.as_deref().unwrap_or_default(), &how.merge_key);
        done.push((CompactString::from(list), in_order));
    }
    Ok(done)
}

/// The items of a patch list must stand in its `$setElementOrder` list, in the same order.
fn follows_order(patch: &[Value], order: &[Value], key: &str) -> Result<(), Status> {
    let mut at = 0;
    for item in patch.iter().filter(|i| i.get(DIRECTIVE).is_none()) {
        match order[at..].iter().position(|o| same_item(o, item, key)) {
            Some(found) => at += found + 1,
            None => {
                return Err(plain(format!(
                    "The order in patch list:\n{}\n doesn't match $setElementOrder list:\n{}\n",
                    shown_list(patch),
                    shown_list(order)
                )));
            }
        }
    }
    Ok(())
}

fn merge_list(
    mut old: Vec<Value>,
    new: Vec<Value>,
    key: &str,
    shape: Shape<'_>,
    list: &str,
) -> Result<Vec<Value>, Status> {
    let server_order = old.clone();
    if new.iter().chain(&old).any(|v| matches!(v, Value::Array(_))) {
        return Err(Status::bad_request("lists of lists are not supported"));
    }
    if !new.iter().chain(&old).any(|v| matches!(v, Value::Object(_))) {
        // Scalars: a set.
        for item in &new {
            if !old.contains(item) {
                old.push(item.clone());
            }
        }
        return Ok(put_in_order(old, &new, &server_order, ""));
    }
    if key.is_empty() {
        return Err(plain(format!("cannot merge lists without merge key for {list}")));
    }
    let no_key = |item: &Value| plain(format!("map: {} does not contain declared merge key: {key}", shown(item)));
    // Directives first: deletions and a replacement decide what the plain items merge into.
    let mut replace = false;
    let mut plain_items = Vec::with_capacity(new.len());
    for item in new {
        match item.get(DIRECTIVE) {
            None => plain_items.push(item),
            Some(directive) => match directive.as_str() {
                Some("delete") => {
                    let gone = item.get(key).ok_or_else(|| no_key(&item))?;
                    old.retain(|o| o.get(key) != Some(gone));
                }
                Some("replace") => replace = true,
                Some("merge") => return Err(plain("merging lists cannot yet be specified in the patch")),
                _ => return Err(plain(format!("unknown patch type: {} in map", shown(directive)))),
            },
        }
    }
    if replace {
        return Ok(plain_items);
    }
    let order = plain_items.clone();
    for item in plain_items {
        let name = item.get(key).ok_or_else(|| no_key(&item))?;
        match old.iter_mut().find(|o| o.get(key) == Some(name)) {
            Some(found) => match item {
                Value::Object(fields) => merge_object(found.force_object(), fields, shape)?,
                other => *found = other,
            },
            None => old.extend(without_directives(item)),
        }
    }
    Ok(put_in_order(old, &order, &server_order, key))
}

/// Two items are the same: by the merge key, or as scalars.
fn same_item(a: &Value, b: &Value, key: &str) -> bool {
    if key.is_empty() { a == b } else { a.get(key).is_some() && a.get(key) == b.get(key) }
}

/// Orders a merged list: items that the patch names follow its order, the others keep theirs from the server and go
/// before the first named item that stood behind them there.
fn put_in_order(merged: Vec<Value>, patch_order: &[Value], server_order: &[Value], key: &str) -> Vec<Value> {
    let rank = |order: &[Value], item: &Value| order.iter().position(|o| same_item(o, item, key));
    let mut named = Vec::new();
    let mut others = Vec::new();
    for item in merged {
        let server = rank(server_order, &item);
        match rank(patch_order, &item) {
            Some(at) => named.push((at, server, item)),
            None => others.push((server, item)),
        }
    }
    named.sort_by_key(|(at, ..)| *at);
    others.sort_by_key(|(server, _)| server.unwrap_or(usize::MAX));
    let mut out = Vec::with_capacity(named.len() + others.len());
    let mut others = others.into_iter().peekable();
    for (_, named_server, item) in named {
        while let Some((other_server, _)) = others.peek() {
            match (other_server, named_server) {
                (Some(other), Some(named)) if *other < named => out.extend(others.next().map(|(_, v)| v)),
                _ => break,
            }
        }
        out.push(item);
    }
    out.extend(others.map(|(_, v)| v));
    out
}

/// A patch value that lands where nothing was: without directives and nulls. `None` if it said to delete itself.
fn without_directives(value: Value) -> Option<Value> {
    match value {
        Value::Object(fields) => {
            if fields.get(DIRECTIVE).and_then(Value::as_str) == Some("delete") {
                return None;
            }
            let fields = fields.into_iter().filter(|(k, v)| {
                !v.is_null()
                    && k != DIRECTIVE
                    && k != RETAIN_KEYS
                    && !k.starts_with(SET_ORDER)
                    && !k.starts_with(DELETE_SCALARS)
            });
            let kept = fields.filter_map(|(k, v)| Some((k, without_directives(v)?)));
            Some(Value::Object(Object::from_unchecked(kept.collect())))
        }
        Value::Array(items) => Some(Value::Array(items.into_iter().filter_map(without_directives).collect())),
        other => Some(other),
    }
}

/// A value as Go prints it in these errors.
fn shown(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".into(),
        Value::Bool(truth) => truth.to_string(),
        Value::Int(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        Value::String(text) => text.to_string(),
        Value::Array(items) => shown_list(items),
        Value::Object(fields) => {
            let mut fields: Vec<String> = fields.iter().map(|(k, v)| format!("{k}:{}", shown(v))).collect();
            fields.sort();
            format!("map[{}]", fields.join(" "))
        }
    }
}

fn shown_list(items: &[Value]) -> String {
    format!("[{}]", items.iter().map(shown).collect::<Vec<_>>().join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::patch::apply::sample;
    use crate::value;

    fn patched(mut object: Value, patch: Value) -> Result<Value, Status> {
        apply(&mut object, patch, sample::message_of_sample())?;
        Ok(object)
    }

    #[test]
    fn upstream_cases() {
        let cases = [
            // Objects merge, null deletes, unmatched null is dropped.
            (
                value!({"spec": {"replicas": 1, "paused": true}}),
                value!({"spec": {"replicas": 2, "paused": null, "selector": {"a": null}}}),
                value!({"spec": {"replicas": 2, "selector": {}}}),
            ),
            // Lists merge by key; a new item follows the items the patch does not name.
            (
                value!({"spec": {"containers": [{"name": "a", "image": "1"}, {"name": "b"}]}}),
                value!({"spec": {"containers": [{"name": "a", "image": "2"}, {"name": "c"}]}}),
                value!({"spec": {"containers": [{"name": "a", "image": "2"}, {"name": "c"}, {"name": "b"}]}}),
            ),
            // An item is deleted by its key.
            (
                value!({"spec": {"containers": [{"name": "a"}, {"name": "b"}]}}),
                value!({"spec": {"containers": [{"$patch": "delete", "name": "a"}]}}),
                value!({"spec": {"containers": [{"name": "b"}]}}),
            ),
            // A list is replaced on request.
            (
                value!({"spec": {"containers": [{"name": "a"}, {"name": "b"}]}}),
                value!({"spec": {"containers": [{"$patch": "replace"}, {"name": "c"}]}}),
                value!({"spec": {"containers": [{"name": "c"}]}}),
            ),
            // An object is replaced or emptied on request.
            (
                value!({"metadata": {"labels": {"a": "1", "b": "2"}}}),
                value!({"metadata": {"labels": {"$patch": "replace", "c": "3"}}}),
                value!({"metadata": {"labels": {"c": "3"}}}),
            ),
            (
                value!({"metadata": {"labels": {"a": "1"}}}),
                value!({"metadata": {"labels": {"$patch": "delete"}}}),
                value!({"metadata": {"labels": {}}}),
            ),
            // Lists without a strategy are replaced.
            (
                value!({"spec": {"args": ["a", "b"]}}),
                value!({"spec": {"args": ["c"]}}),
                value!({"spec": {"args": ["c"]}}),
            ),
            // Lists of scalars that merge are sets.
            (
                value!({"metadata": {"finalizers": ["a", "b"]}}),
                value!({"metadata": {"finalizers": ["c", "a"]}}),
                value!({"metadata": {"finalizers": ["c", "a", "b"]}}),
            ),
            (
                value!({"metadata": {"finalizers": ["a", "b", "c"]}}),
                value!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["b"]}}),
                value!({"metadata": {"finalizers": ["a", "c"]}}),
            ),
            (
                value!({"metadata": {"finalizers": ["a", "b", "c"]}}),
                value!({"metadata": {
                    "$deleteFromPrimitiveList/finalizers": ["b"],
                    "$setElementOrder/finalizers": ["c", "d", "a"],
                    "finalizers": ["d"]
                }}),
                value!({"metadata": {"finalizers": ["c", "d", "a"]}}),
            ),
            // Fields that $retainKeys does not name are dropped: how one strategy takes another's place.
            (
                value!({"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}}),
                value!({"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}}),
                value!({"spec": {"strategy": {"type": "Recreate"}}}),
            ),
            // The order asked for; what only the server has keeps its place relative to it.
            (
                value!({"spec": {"containers": [{"name": "a"}, {"name": "sidecar"}, {"name": "b"}]}}),
                value!({"spec": {
                    "$setElementOrder/containers": [{"name": "b"}, {"name": "a"}],
                    "containers": [{"name": "b", "image": "2"}]
                }}),
                value!({"spec": {"containers": [{"name": "sidecar"}, {"name": "b", "image": "2"}, {"name": "a"}]}}),
            ),
            (
                value!({"spec": {"containers": [{"name": "a"}, {"name": "b"}]}}),
                value!({"spec": {"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}]}}),
                value!({"spec": {"containers": [{"name": "b"}, {"name": "a"}]}}),
            ),
            // Directives inside values that land where nothing was vanish.
            (
                value!({}),
                value!({"spec": {
                    "$setElementOrder/containers": [{"name": "a"}],
                    "containers": [{"name": "a", "$retainKeys": ["name"]}, {"$patch": "delete", "name": "z"}]
                }}),
                value!({"spec": {"containers": [{"name": "a"}]}}),
            ),
            // Nested merge lists.
            (
                value!({"spec": {"containers": [{"name": "a", "ports": [{"containerPort": 80}]}]}}),
                value!({"spec": {"containers": [{"name": "a", "ports": [{"containerPort": 81}]}]}}),
                value!({"spec": {"containers": [{"name": "a", "ports": [{"containerPort": 81}, {"containerPort": 80}]}]}}),
            ),
            // A different type takes the old value's place.
            (value!({"spec": {"replicas": "x"}}), value!({"spec": {"replicas": 2}}), value!({"spec": {"replicas": 2}})),
        ];
        for (object, patch, want) in cases {
            assert_eq!(patched(object.clone(), patch.clone()).unwrap(), want, "{object:?} + {patch:?}");
        }
    }

    #[test]
    fn malformed_patches_say_what_is_wrong() {
        let object = value!({"spec": {"containers": [{"name": "a"}]}, "metadata": {"finalizers": ["a"]}});
        let cases = [
            (value!([1]), 400, "invalid JSON document"),
            (value!({"spec": {"$retainKeys": "x"}}), 400, "invalid patch format of retainKeys"),
            (value!({"spec": {"$retainKeys": ["a"], "b": 1}}), 400, "invalid patch format of retainKeys"),
            (
                value!({"metadata": {"$deleteFromPrimitiveList/finalizers": "a"}}),
                400,
                "invalid patch format of primitive list",
            ),
            (
                value!({"spec": {"$setElementOrder/containers": "a"}}),
                400,
                "invalid patch format of setElementOrder list",
            ),
            (value!({"spec": {"$patch": "explode"}}), 500, "unknown patch type: explode in map"),
            (
                value!({"spec": {"containers": [{"image": "x"}]}}),
                500,
                "map: map[image:x] does not contain declared merge key: name",
            ),
            (
                value!({"spec": {"$setElementOrder/containers": [{"name": "b"}], "containers": [{"name": "c"}]}}),
                500,
                "The order in patch list:\n[map[name:c]]\n doesn't match $setElementOrder list:\n[map[name:b]]\n",
            ),
        ];
        for (patch, code, message) in cases {
            let error = patched(object.clone(), patch).unwrap_err();
            assert_eq!((error.code, error.message.as_str()), (code, message));
        }
    }
}
