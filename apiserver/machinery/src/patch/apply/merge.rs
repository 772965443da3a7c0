//! The two changes that an apply makes to an object: the configuration merges in, and items nobody wants go out.

use compact_str::CompactString;
use hashbrown::HashMap;

use super::set::{below, is_member, part};
use super::shape::{Shape, field_name, item_name};
use crate::value::{Object, Value};

/// Merges a configuration into the object: what it names wins, lists with names merge item by item.
pub(super) fn merge(live: &mut Value, config: &Value, shape: Shape<'_>) {
    match (shape, config) {
        (Shape::Fields(_) | Shape::Map(_) | Shape::Deduced, Value::Object(fields)) => {
            if !matches!(live, Value::Object(_)) {
                *live = Value::object();
            }
            let target = live.force_object();
            for (name, value) in fields.iter() {
                if value.is_null() {
                    target.remove(name);
                    continue;
                }
                merge(target.entry(name.clone()), value, shape.field(name).unwrap_or(Shape::Deduced));
            }
        }
        (Shape::Set | Shape::ListMap(..), Value::Array(items)) => {
            let old = match std::mem::take(live) {
                Value::Array(items) => items,
                _ => Vec::new(),
            };
            *live = Value::Array(merge_items(old, items, shape));
        }
        _ => *live = config.clone(),
    }
}

/// Merges two lists with named items. The configuration's order holds among its items; items that only the object has
/// keep their place before the item that followed them.
fn merge_items(old: Vec<Value>, config: &[Value], shape: Shape<'_>) -> Vec<Value> {
    type Index = HashMap<CompactString, usize, ahash::RandomState>;
    let names = |items: &[Value]| -> Vec<Option<CompactString>> {
        items.iter().map(|item| item_name(item, shape).ok()).collect()
    };
    let (old_names, new_names) = (names(&old), names(config));
    let index = |names: &[Option<CompactString>]| -> Index {
        let mut index = Index::default();
        for (at, name) in names.iter().enumerate() {
            if let Some(name) = name {
                index.entry(name.clone()).or_insert(at);
            }
        }
        index
    };
    let (old_at, new_at) = (index(&old_names), index(&new_names));
    let shared = |name: &Option<CompactString>, other: &Index| name.as_ref().is_some_and(|n| other.contains_key(n));
    // Configured items that the object has, in the configuration's order: the anchors of the others.
    let mut anchors = new_names.iter().enumerate().filter(|(_, n)| shared(n, &old_at)).map(|(at, _)| at).peekable();
    let mut old: Vec<Option<Value>> = old.into_iter().map(Some).collect();
    let mut out = Vec::with_capacity(old.len() + config.len());
    let mut taken = vec![false; config.len()];
    let mut take = |at: usize, old: &mut Vec<Option<Value>>, out: &mut Vec<Value>| {
        if std::mem::replace(&mut taken[at], true) {
            return;
        }
        let before = new_names[at].as_ref().and_then(|n| old_at.get(n)).and_then(|o| old[*o].take());
        let mut item = before.unwrap_or_default();
        merge(&mut item, &config[at], shape.item());
        out.push(item);
    };
    let (mut left, mut right) = (0, 0);
    while left < old_names.len() || right < config.len() {
        if left < old_names.len() && right < config.len() {
            if old_names[left].is_some() && old_names[left] == new_names[right] {
                take(right, &mut old, &mut out);
                left += 1;
                right += 1;
                anchors.next();
                continue;
            }
            let is_shared = shared(&old_names[left], &new_at);
            let is_anchor = anchors.peek().is_some_and(|at| new_names[*at] == old_names[left]);
            if is_shared && anchors.peek().is_some() && !is_anchor {
                // The configuration wants another shared item first.
                left += 1;
                continue;
            }
        }
        if left < old_names.len() {
            if !shared(&old_names[left], &new_at) {
                out.extend(old[left].take());
                left += 1;
                continue;
            }
            if right >= config.len() {
                // Already merged at the place the configuration gave it.
                left += 1;
                continue;
            }
        }
        if right < config.len() {
            if anchors.peek() == Some(&right) {
                anchors.next();
            }
            take(right, &mut old, &mut out);
            right += 1;
        }
    }
    out
}

/// Takes the members of `gone` out of `value`, each with all that is below it. Gives whether nothing is left of a value
/// that had parts: its holder then drops it.
pub(super) fn remove_items(value: &mut Value, gone: &Object, shape: Shape<'_>) -> bool {
    match (shape, value) {
        (Shape::Fields(_) | Shape::Map(_) | Shape::Deduced, Value::Object(fields)) => {
            let had = !fields.is_empty();
            fields.retain(|name, value| {
                let Some(found) = part(gone, &field_name(name)) else { return true };
                if is_member(found) {
                    return false;
                }
                let inner = shape.field(name).unwrap_or(Shape::Deduced);
                below(found).is_none_or(|deeper| !remove_items(value, deeper, inner))
            });
            had && fields.is_empty()
        }
        (Shape::Set | Shape::ListMap(..), Value::Array(items)) => {
            let had = !items.is_empty();
            items.retain_mut(|item| {
                let Ok(name) = item_name(item, shape) else { return true };
                let Some(found) = part(gone, &name) else { return true };
                if is_member(found) {
                    return false;
                }
                if let Some(deeper) = below(found) {
                    remove_items(item, deeper, shape.item());
                }
                true
            });
            had && items.is_empty()
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::{Merge, Ref, Type};
    use crate::value;

    #[test]
    fn merged_lists_keep_both_orders() {
        static TEXT: Type = Type::String;
        let ty = Type::List(Ref::Static(&TEXT));
        let shape = Shape::of(&ty, &Merge::Set);
        let cases = [
            (value!(["a", "b", "c"]), value!(["b"]), value!(["a", "b", "c"])),
            (value!(["a", "b", "c"]), value!(["d"]), value!(["a", "b", "c", "d"])),
            (value!(["a", "b", "c"]), value!(["c", "a"]), value!(["b", "c", "a"])),
            (value!(["a", "b", "c", "d"]), value!(["c", "e", "d"]), value!(["a", "b", "c", "e", "d"])),
            (value!([]), value!(["b", "a"]), value!(["b", "a"])),
            (value!(["a"]), value!([]), value!(["a"])),
        ];
        for (mut live, config, want) in cases {
            merge(&mut live, &config, shape);
            assert_eq!(live, want);
        }
    }
}
