//! Sets of field paths in their FieldsV1 form, worked on in place.
//!
//! A set is a tree of parts (`f:spec` → `f:replicas` → …). A part is in the set itself when it holds nothing or holds
//! `"."`; otherwise only what is below it is. Parts are sorted by name, which puts `"."` first. No other form of a set
//! exists: what was stored is changed where it stands, at the cost of what changes.

use compact_str::CompactString;

use super::shape::Shape;
use crate::value::{Object, Value};

const SELF: &str = ".";

/// The parts below a part (or of the whole set).
pub(super) type Parts = Vec<(CompactString, Value)>;

/// A part while it is put together.
#[derive(Default)]
pub(super) struct Part {
    /// Whether it is in the set itself.
    pub(super) member: bool,
    /// What is below it, unsorted.
    pub(super) parts: Parts,
}

impl Part {
    pub(super) fn is_nothing(&self) -> bool {
        !self.member && self.parts.is_empty()
    }

    pub(super) fn into_object(mut self) -> Object {
        if self.parts.len() > 1 {
            self.parts.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        }
        if self.member && !self.parts.is_empty() {
            self.parts.insert(0, (CompactString::const_new(SELF), Value::object()));
        }
        Object::from_unchecked(self.parts)
    }

    /// Adds a part that has not been added before; drops it if it is nothing.
    pub(super) fn push(&mut self, name: impl FnOnce() -> CompactString, part: Self) {
        if !part.is_nothing() {
            self.parts.push((name(), Value::Object(part.into_object())));
        }
    }
}

fn inside(part: &Value) -> &[(CompactString, Value)] {
    part.as_object().map_or(&[], Object::as_slice)
}

fn find(parts: &[(CompactString, Value)], name: &str) -> Option<usize> {
    parts.iter().position(|(n, _)| n == name)
}

/// The part of this name.
pub(super) fn part<'s>(set: &'s Object, name: &str) -> Option<&'s Value> {
    set.get(name)
}

/// Whether a part is in the set itself.
pub(super) fn is_member(part: &Value) -> bool {
    let parts = inside(part);
    parts.is_empty() || find(parts, SELF).is_some()
}

/// What is below a part, for a walk deeper; `None` if nothing is.
pub(super) fn below(part: &Value) -> Option<&Object> {
    part.as_object().filter(|o| o.keys().any(|k| k != SELF))
}

fn insert_sorted(parts: &mut Parts, name: &CompactString, part: Value) {
    let at = parts.partition_point(|(n, _)| n < name);
    parts.insert(at, (name.clone(), part));
}

fn make_member(parts: &mut Parts) {
    if !parts.is_empty() && find(parts, SELF).is_none() {
        parts.insert(0, (CompactString::const_new(SELF), Value::object()));
    }
}

/// `set ∪= other`
pub(super) fn unite(set: &mut Object, other: &Object) {
    let parts = set.fields_mut();
    for (name, theirs) in other.iter() {
        match find(parts, name) {
            None => insert_sorted(parts, name, theirs.clone()),
            Some(_) if name == SELF => {}
            Some(at) => {
                let ours = parts[at].1.force_object();
                match theirs.as_object() {
                    Some(theirs) if !theirs.is_empty() => {
                        if ours.is_empty() {
                            ours.insert(SELF, Value::object());
                        }
                        unite(ours, theirs);
                    }
                    _ => make_member(ours.fields_mut()),
                }
            }
        }
    }
}

/// `set −= other`: each path of `other`, but not what is below it.
pub(super) fn subtract(set: &mut Object, other: &Object) {
    let parts = set.fields_mut();
    for (name, theirs) in other.iter() {
        if let Some(at) = find(parts, name)
            && !subtract_part(&mut parts[at].1, theirs)
        {
            parts.remove(at);
        }
    }
}

/// Gives whether anything is left.
fn subtract_part(ours: &mut Value, theirs: &Value) -> bool {
    let ours = ours.force_object();
    if ours.is_empty() {
        return !is_member(theirs);
    }
    match theirs.as_object() {
        Some(theirs) if !theirs.is_empty() => subtract(ours, theirs),
        _ => drop(ours.remove(SELF)),
    }
    if let [(only, _)] = ours.as_slice()
        && only == SELF
    {
        *ours = Object::new();
        return true;
    }
    !ours.is_empty()
}

/// Takes out a path of field names with all that is below it.
pub(super) fn remove_path(set: &mut Object, path: &[&str]) {
    let Some((first, rest)) = path.split_first() else { return };
    let parts = set.fields_mut();
    let Some(at) = parts.iter().position(|(n, _)| n.strip_prefix("f:") == Some(*first)) else { return };
    let gone = rest.is_empty() || {
        let ours = parts[at].1.force_object();
        let was_leaf = ours.is_empty();
        remove_path(ours, rest);
        !was_leaf && ours.is_empty()
    };
    if gone {
        parts.remove(at);
    }
}

/// `a ∩ b`
pub(super) fn intersect(a: &Object, b: &Object) -> Object {
    let mut out = Part::default();
    for (name, ours) in a.iter().filter(|(n, _)| *n != SELF) {
        let Some(theirs) = b.get(name) else { continue };
        let parts = match (ours.as_object(), theirs.as_object()) {
            (Some(ours), Some(theirs)) => intersect(ours, theirs).fields_mut().split_off(0),
            _ => Parts::new(),
        };
        out.push(|| name.clone(), Part { member: is_member(ours) && is_member(theirs), parts });
    }
    out.into_object()
}

/// Makes every declared field on the way to a path of the set a member: objects of known types have no existence of
/// their own, so they go with their last field.
pub(super) fn with_named_fields(set: &mut Object, shape: Shape<'_>) {
    for (name, part) in set.fields_mut().iter_mut().filter(|(n, _)| n != SELF) {
        let declared = match (shape, name.strip_prefix("f:")) {
            (Shape::Fields(message), Some(field)) => message.field(field).is_some(),
            _ => false,
        };
        let inner = part.force_object();
        if declared {
            make_member(inner.fields_mut());
        }
        with_named_fields(inner, shape.part(name));
    }
}

/// Sorts what a client sent.
pub(super) fn sort(set: &mut Object) {
    if !set.keys().is_sorted() {
        set.sort_keys();
    }
    for (_, part) in set.iter_mut() {
        sort(part.force_object());
    }
}

/// Calls `each` for every path of the set, in order.
pub(super) fn paths<'s>(set: &'s Object, way: &mut Vec<&'s str>, each: &mut impl FnMut(&[&'s str])) {
    for (name, part) in set.iter().filter(|(n, _)| *n != SELF) {
        way.push(name);
        if is_member(part) {
            each(way);
        }
        if let Some(deeper) = below(part) {
            paths(deeper, way, each);
        }
        way.pop();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::value;

    fn set(value: Value) -> Object {
        match value {
            Value::Object(object) => object,
            other => panic!("{other:?} is no set"),
        }
    }

    fn list(set: &Object) -> Vec<String> {
        let mut out = Vec::new();
        paths(set, &mut Vec::new(), &mut |path| out.push(path.join(" ")));
        out
    }

    #[test]
    fn a_part_may_be_in_the_set_with_or_without_what_is_below() {
        let mut a = set(value!({"f:a": {"f:b": {}}, "f:c": {}}));
        unite(&mut a, &set(value!({"f:a": {}, "f:c": {"f:d": {}}})));
        assert_eq!(a, set(value!({"f:a": {".": {}, "f:b": {}}, "f:c": {".": {}, "f:d": {}}})));
        subtract(&mut a, &set(value!({"f:a": {}, "f:c": {"f:d": {}}})));
        assert_eq!(a, set(value!({"f:a": {"f:b": {}}, "f:c": {}})));
        remove_path(&mut a, &["a"]);
        assert_eq!(a, set(value!({"f:c": {}})));
    }

    /// Sets of paths of at most three parts from a tiny alphabet.
    fn some_paths() -> impl Strategy<Value = Vec<Vec<&'static str>>> {
        let part = prop::sample::select(vec!["f:a", "f:b", "k:{\"n\":1}"]);
        prop::collection::vec(prop::collection::vec(part, 1..4), 0..6)
    }

    fn build(paths: &[Vec<&'static str>]) -> Object {
        let mut all = Object::new();
        for path in paths {
            let mut one = Value::object();
            for part in path.iter().rev() {
                one = Value::Object(Object::from_iter([(*part, one)]));
            }
            unite(&mut all, &set(one));
        }
        all
    }

    proptest! {
        #[test]
        fn operations_agree_with_plain_sets(a in some_paths(), b in some_paths()) {
            let plain = |paths: &[Vec<&'static str>]| {
                paths.iter().map(|p| p.join(" ")).collect::<std::collections::BTreeSet<_>>()
            };
            let sorted = |set: &Object| list(set).into_iter().collect::<std::collections::BTreeSet<_>>();
            let (pa, pb) = (plain(&a), plain(&b));
            let (sa, sb) = (build(&a), build(&b));
            prop_assert_eq!(&sorted(&sa), &pa);
            let mut union = sa.clone();
            unite(&mut union, &sb);
            prop_assert_eq!(sorted(&union), pa.union(&pb).cloned().collect());
            let mut difference = sa.clone();
            subtract(&mut difference, &sb);
            prop_assert_eq!(sorted(&difference), pa.difference(&pb).cloned().collect());
            prop_assert_eq!(sorted(&intersect(&sa, &sb)), pa.intersection(&pb).cloned().collect());
        }
    }
}
