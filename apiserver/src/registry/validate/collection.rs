//! Lists, sets and maps with a bound: too many items are one error, and none of them is looked at.

use gantry_machinery::value::Value;
use hashbrown::HashSet;

use super::view::Held;
use super::{Errors, Path};

/// A list of at most `max` items, each of which is checked. Gives whether it was short enough.
pub fn list(
    items: &[Value],
    max: usize,
    at: &Path<'_>,
    errors: &mut Errors,
    mut check: impl FnMut(&Value, &Path<'_>, &mut Errors),
) -> bool {
    if items.len() > max {
        errors.too_many(at, items.len(), max);
        return false;
    }
    for (n, item) in items.iter().enumerate() {
        check(item, &at.index(n), errors);
    }
    true
}

/// [`list`], whose items must differ in what `key` gives of them.
pub fn set(
    items: &[Value],
    max: usize,
    at: &Path<'_>,
    errors: &mut Errors,
    key: impl Fn(&Value) -> String,
    check: impl FnMut(&Value, &Path<'_>, &mut Errors),
) {
    if !list(items, max, at, errors, check) {
        return;
    }
    let mut seen = HashSet::with_capacity(items.len());
    for (n, key) in items.iter().map(key).enumerate() {
        if seen.contains(&key) {
            errors.duplicate(&at.index(n), &key);
        }
        seen.insert(key);
    }
}

/// [`set`] of objects that differ in their `name`.
pub fn named(
    items: &[Value],
    max: usize,
    at: &Path<'_>,
    errors: &mut Errors,
    check: impl FnMut(&Value, &Path<'_>, &mut Errors),
) {
    set(items, max, at, errors, |item| item.get("name").text().to_owned(), check);
}

/// [`set`] of texts.
pub fn texts(
    items: &[Value],
    max: usize,
    at: &Path<'_>,
    errors: &mut Errors,
    mut check: impl FnMut(&str, &Path<'_>, &mut Errors),
) {
    let text = |item: &Value| Some(item).text().to_owned();
    set(items, max, at, errors, text, |item, at, errors| check(Some(item).text(), at, errors));
}

/// A map of at most `max` entries, each of which is checked at its own path.
pub fn map(
    entries: Option<&Value>,
    max: usize,
    at: &Path<'_>,
    errors: &mut Errors,
    mut check: impl FnMut(&str, &Value, &Path<'_>, &mut Errors),
) {
    let count = entries.entries().count();
    if count > max {
        return errors.too_many(at, count, max);
    }
    for (key, value) in entries.entries() {
        check(key, value, &at.key(key), errors);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gantry_machinery::value;

    #[test]
    fn too_many_items_are_not_looked_at() {
        let mut errors = Errors::new();
        let items = value!([{"name": "a"}, {"name": "b"}, {"name": "a"}]);
        let items = items.as_array().unwrap();
        named(items, 2, &Path::new("x"), &mut errors, |_, _, _| panic!("looked at"));
        let mut count = 0;
        named(items, 3, &Path::new("x"), &mut errors, |_, _, _| count += 1);
        let texts: Vec<String> = errors.into_vec().iter().map(ToString::to_string).collect();
        assert_eq!(texts, ["x: Too many: 3: must have at most 2 items", "x[2]: Duplicate value: \"a\""]);
        assert_eq!(count, 3);
    }
}
