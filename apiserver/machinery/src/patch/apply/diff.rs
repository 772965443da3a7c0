//! What a write changed, as sets of field paths: the bottom of every managedFields computation, on the path of each write.
//!
//! Walks old and new side by side and makes names only for what differs. On a create everything differs, and the sets
//! come out as the finished FieldsV1.

use compact_str::CompactString;

use super::set::Part;
use super::shape::{Shape, field_name, item_name, same_item};
use crate::schema::Message;
use crate::value::{Object, Value};

/// The paths that a write touched.
pub(super) struct Changes {
    /// Set to a new or another value.
    pub(super) changed: Object,
    /// No longer there.
    pub(super) removed: Object,
}

/// What differs from `old` to `new`, but the fields that nobody owns: type, name and what the server keeps in metadata.
pub(super) fn between(old: Option<&Value>, new: &Value, message: &Message) -> Changes {
    static NOTHING: Value = Value::Object(Object::new());
    let mut out = Pair::default();
    walk_fields(old.unwrap_or(&NOTHING), new, Shape::Fields(message), Place::Root, &mut out);
    Changes { changed: out.changed.into_object(), removed: out.removed.into_object() }
}

/// Every path of an object, those that nobody owns included.
pub(super) fn everything(object: &Value, message: &Message) -> Object {
    walk(None, Some(object), Shape::Fields(message), Place::Deep).changed.into_object()
}

/// Fields that no manager owns, at the root and in `metadata`.
pub(super) fn is_unowned(in_metadata: bool, field: &str) -> bool {
    if in_metadata {
        matches!(
            field,
            "name"
                | "namespace"
                | "creationTimestamp"
                | "selfLink"
                | "uid"
                | "clusterName"
                | "generation"
                | "managedFields"
                | "resourceVersion"
        )
    } else {
        matches!(field, "apiVersion" | "kind")
    }
}

#[derive(Default)]
struct Pair {
    changed: Part,
    removed: Part,
}

impl Pair {
    fn push(&mut self, name: impl Fn() -> CompactString, inner: Self) {
        self.changed.push(&name, inner.changed);
        self.removed.push(&name, inner.removed);
    }
}

/// Where a walk is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Root,
    Metadata,
    /// In a part that every object of its kind has, empty or not: what Go writes even if it holds nothing. Its coming and
    /// going is no change.
    Standing,
    Deep,
}

impl Place {
    fn enter(self, field: &str) -> Self {
        match (self, field) {
            (Self::Root, "metadata") => Self::Metadata,
            (Self::Root, "spec" | "status" | "involvedObject" | "regarding" | "source" | "roleRef") => Self::Standing,
            (
                Self::Standing,
                "template" | "containers" | "metadata" | "spec" | "strategy" | "updateStrategy" | "jobTemplate"
                | "loadBalancer" | "nodeInfo" | "daemonEndpoints" | "kubeletEndpoint",
            ) => Self::Standing,
            _ => Self::Deep,
        }
    }
}

fn walk(old: Option<&Value>, new: Option<&Value>, shape: Shape<'_>, place: Place) -> Pair {
    static NO_FIELDS: Value = Value::Object(Object::new());
    static NO_ITEMS: Value = Value::Array(Vec::new());
    let empty = if matches!(shape, Shape::ListMap(..)) { &NO_ITEMS } else { &NO_FIELDS };
    let standing = place != Place::Deep && matches!(shape, Shape::Fields(_) | Shape::ListMap(..));
    let present = |value: Option<&Value>| value.is_some_and(|v| !v.is_null());
    let mut old = old.filter(|v| !v.is_null());
    let mut new = new.filter(|v| !v.is_null());
    if standing && (present(old) || present(new)) {
        old = old.or(Some(empty));
        new = new.or(Some(empty));
    }
    let mut out = Pair::default();
    let parted = match shape {
        Shape::Leaf => false,
        Shape::Fields(_) | Shape::Map(_) | Shape::Deduced => both(old, new, |v| v.as_object().map(Object::is_empty)),
        Shape::Set | Shape::ListMap(..) => both(old, new, |v| v.as_array().map(<[Value]>::is_empty)),
    };
    if parted {
        let (a, b) = (old.unwrap_or(empty), new.unwrap_or(empty));
        match shape {
            Shape::Set | Shape::ListMap(..) => walk_items(a, b, shape, &mut out),
            _ => walk_fields(a, b, shape, place, &mut out),
        }
    }
    match (old, new) {
        (None, Some(_)) => out.changed.member = true,
        (Some(_), None) => out.removed.member = true,
        (Some(a), Some(b)) if !parted && a != b => out.changed.member = true,
        _ => {}
    }
    out
}

/// Whether both sides have parts (or are absent), and not both none: two empty sides compare as leaves.
fn both(old: Option<&Value>, new: Option<&Value>, empty: impl Fn(&Value) -> Option<bool>) -> bool {
    let (old, new) = (old.map(&empty), new.map(&empty));
    !matches!(old, Some(None)) && !matches!(new, Some(None)) && (old == Some(Some(false)) || new == Some(Some(false)))
}

fn walk_fields(old: &Value, new: &Value, shape: Shape<'_>, place: Place, out: &mut Pair) {
    let old = old.as_object().map_or(&[][..], Object::as_slice);
    let new = new.as_object().map_or(&[][..], Object::as_slice);
    let owned = |field: &str| match place {
        Place::Root => !is_unowned(false, field),
        Place::Metadata => !is_unowned(true, field),
        _ => true,
    };
    if old.is_empty() {
        out.changed.parts.reserve_exact(new.len() + 1);
    }
    let mut matched = 0;
    for (at, (name, value)) in new.iter().enumerate() {
        // Both sides mostly have their fields in the same order.
        let before = match old.get(at) {
            Some((other, value)) if other == name => Some(value),
            _ => old.iter().find(|(other, _)| other == name).map(|(_, v)| v),
        };
        matched += usize::from(before.is_some());
        // Most of an update is as it was, and plain equality needs no schema.
        if owned(name) && before != Some(value) {
            let inner = walk(before, Some(value), shape.field(name).unwrap_or(Shape::Deduced), place.enter(name));
            out.push(|| field_name(name), inner);
        }
    }
    if matched < old.len() {
        for (name, value) in old.iter().filter(|(name, _)| !new.iter().any(|(other, _)| other == name)) {
            if owned(name) {
                let inner = walk(Some(value), None, shape.field(name).unwrap_or(Shape::Deduced), place.enter(name));
                out.push(|| field_name(name), inner);
            }
        }
    }
}

/// Lists up to this long are searched for duplicates without an index.
const FEW: usize = 16;

fn walk_items(old: &Value, new: &Value, shape: Shape<'_>, out: &mut Pair) {
    let old = old.as_array().unwrap_or_default();
    let new = new.as_array().unwrap_or_default();
    let item = shape.item();
    if old.len() == new.len() && old.iter().zip(new).all(|(a, b)| same_item(a, b, shape)) {
        for (a, b) in old.iter().zip(new).filter(|(a, b)| a != b) {
            // Items without a name (a missing key) are nobody's; validation will refuse them.
            match item_name(b, shape) {
                Ok(name) if !out.changed.parts.iter().any(|(other, _)| *other == name) => {
                    out.push(|| name.clone(), walk(Some(a), Some(b), item, Place::Deep));
                }
                _ => {}
            }
        }
        return;
    }
    if old.is_empty() && new.len() <= FEW {
        out.changed.parts.reserve_exact(new.len() + 1);
        for value in new {
            let Ok(name) = item_name(value, shape) else { continue };
            if !out.changed.parts.iter().any(|(other, _)| *other == name) {
                let inner = walk(None, Some(value), item, Place::Deep);
                out.push(|| name.clone(), inner);
            }
        }
        return;
    }
    let mut before: hashbrown::HashMap<CompactString, &Value, ahash::RandomState> = hashbrown::HashMap::default();
    for value in old {
        if let Ok(name) = item_name(value, shape) {
            // Of duplicates, the first counts.
            before.entry(name).or_insert(value);
        }
    }
    let mut seen: hashbrown::HashSet<CompactString, ahash::RandomState> = hashbrown::HashSet::default();
    for value in new {
        let Ok(name) = item_name(value, shape) else { continue };
        if !seen.insert(name.clone()) {
            continue;
        }
        let inner = walk(before.remove(&name), Some(value), item, Place::Deep);
        out.push(|| name.clone(), inner);
    }
    for (name, value) in before {
        if !seen.contains(&name) {
            let inner = walk(Some(value), None, item, Place::Deep);
            out.push(|| name.clone(), inner);
        }
    }
}
