//! Cells of Tables that many kinds show: names, ages, containers, selectors, with upstream's words for what is missing.

use gantry_machinery::time;
use gantry_machinery::value::{Object, Value};

use crate::registry::validate::labels::is_empty_selector;
use crate::registry::validate::view::Held;

/// The cell of the `Name` column.
pub(super) fn name_cell(object: &Value) -> Value {
    object.at(&["metadata", "name"]).cloned().unwrap_or_default()
}

/// The cell of the `Age` column.
pub(super) fn age_cell(object: &Value, now: i64) -> Value {
    Value::String(time::age(object.str_at(&["metadata", "creationTimestamp"]), now))
}

/// A text, or `<none>` for the empty one.
pub(super) fn or_none(text: &str) -> Value {
    Value::from(if text.is_empty() { "<none>" } else { text })
}

/// A text, or `<unknown>` for the empty one.
pub(super) fn or_unknown(text: &str) -> Value {
    Value::from(if text.is_empty() { "<unknown>" } else { text })
}

/// A text, or `<unset>` for the empty one.
pub(super) fn or_unset(text: &str) -> Value {
    Value::from(if text.is_empty() { "<unset>" } else { text })
}

/// A number at a path, 0 if absent.
pub(super) fn count_cell(object: &Value, path: &[&str]) -> Value {
    Value::Int(object.at(path).number())
}

/// A text at a path, empty if absent.
pub(super) fn text_cell(object: &Value, path: &[&str]) -> Value {
    Value::from(object.at(path).text())
}

/// A value as text: a count or a percentage, `N/A` if absent.
pub(super) fn or_not_applicable(value: Option<&Value>) -> Value {
    match value {
        Some(Value::Int(number)) => Value::from(number.to_string()),
        Some(Value::String(text)) => Value::String(text.clone()),
        _ => Value::from("N/A"),
    }
}

/// The names and the images of a template's containers.
pub(super) fn container_cells(template: Option<&Value>) -> [Value; 2] {
    let containers = template.and_then(|t| t.at(&["spec", "containers"])).items();
    ["name", "image"].map(|field| {
        let all: Vec<&str> = containers.iter().map(|c| c.get(field).text()).collect();
        Value::from(all.join(","))
    })
}

/// A map of labels as a selector: `a=1,b=2`, or `<none>`.
pub(super) fn labels_cell(labels: Option<&Value>) -> Value {
    let mut all: Vec<String> =
        labels.entries().map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default())).collect();
    all.sort_unstable();
    or_none(&all.join(","))
}

/// A `LabelSelector` in the short form of `kubectl -l`, or `<none>`.
pub(super) fn selector_cell(selector: Option<&Value>) -> Value {
    or_none(&selector.filter(|s| !is_empty_selector(s)).map(selector_text).unwrap_or_default())
}

fn selector_text(selector: &Value) -> String {
    let mut parts: Vec<(&str, String)> = selector
        .get("matchLabels")
        .entries()
        .map(|(key, value)| (key, format!("{key}={}", value.as_str().unwrap_or_default())))
        .collect();
    for expression in selector.get("matchExpressions").items() {
        let key = expression.get("key").text();
        let mut values: Vec<&str> = expression.get("values").items().iter().filter_map(Value::as_str).collect();
        values.sort_unstable();
        let list = values.join(",");
        let text = match expression.get("operator").text() {
            "In" => format!("{key} in ({list})"),
            "NotIn" => format!("{key} notin ({list})"),
            "DoesNotExist" => format!("!{key}"),
            _ => key.to_owned(),
        };
        parts.push((key, text));
    }
    parts.sort();
    parts.into_iter().map(|(_, text)| text).collect::<Vec<_>>().join(",")
}

/// How many entries a map has.
pub(super) fn len_cell(object: &Value, fields: &[&str]) -> Value {
    let all: usize = fields.iter().map(|f| object.object_at(&[f]).map_or(0, Object::len)).sum();
    Value::Int(i64::try_from(all).unwrap_or(i64::MAX))
}

/// The first three of a list, and how many more there are.
pub(super) fn some_of(list: &[String], nothing: &str) -> String {
    match list {
        [] => nothing.to_owned(),
        [a, b, c, rest @ ..] if !rest.is_empty() => format!("{a},{b},{c} + {} more...", rest.len()),
        all => all.join(","),
    }
}

/// Access modes in short: `RWO,ROX`.
pub(super) fn modes_text(modes: &[Value]) -> String {
    let short =
        [("ReadWriteOnce", "RWO"), ("ReadOnlyMany", "ROX"), ("ReadWriteMany", "RWX"), ("ReadWriteOncePod", "RWOP")];
    let has = |mode: &str| modes.iter().any(|m| m.as_str() == Some(mode));
    short.iter().filter(|(mode, _)| has(mode)).map(|(_, s)| *s).collect::<Vec<_>>().join(",")
}
