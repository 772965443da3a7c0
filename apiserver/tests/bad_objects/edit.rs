//! Small changes of a good object, written as `path: value`.

use gantry_machinery::value::Value;

/// Makes the changes, in order: a path is names and numbers between slashes (`spec/containers/0/image`; `~1` is a slash
/// within a name, `-` appends to a list); `null` removes.
pub(crate) fn apply(object: &mut Value, changes: &Value) {
    for (path, value) in changes.as_object().expect("changes are a map").iter() {
        let names: Vec<String> = path.split('/').map(|name| name.replace("~1", "/")).collect();
        put(object, &names, value);
    }
}

fn put(at: &mut Value, path: &[String], value: &Value) {
    let (name, rest) = path.split_first().expect("a path has a name");
    if let Value::Array(items) = at {
        let index = if name == "-" { items.len() } else { name.parse().expect("items have numbers") };
        if rest.is_empty() && value.is_null() {
            items.remove(index);
            return;
        }
        if index == items.len() {
            items.push(Value::Null);
        }
        return match rest {
            [] => items[index] = value.clone(),
            rest => put(&mut items[index], rest, value),
        };
    }
    match rest {
        [] if value.is_null() => {
            at.force_object().remove(name);
        }
        [] => {
            at.force_object().insert(name.as_str(), value.clone());
        }
        rest => put(at.force_object().entry(name.as_str()), rest, value),
    }
}
