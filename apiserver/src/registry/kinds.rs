//! One file per kind: its strategy and nothing else. [`all`] is the table the registry is built from.

pub mod config_map;

use gantry_machinery::value::Value;

use super::strategy::Strategy;

/// Every built-in kind that is stored, in the order that discovery lists groups.
#[must_use]
pub fn all() -> Vec<&'static dyn Strategy> {
    vec![&config_map::ConfigMaps]
}

/// The cell of the `Name` column.
fn name_cell(object: &Value) -> Value {
    object.at(&["metadata", "name"]).cloned().unwrap_or_default()
}

/// The cell of the `Age` column.
fn age_cell(object: &Value, now: i64) -> Value {
    let created = object.str_at(&["metadata", "creationTimestamp"]).and_then(|t| t.parse::<jiff::Timestamp>().ok());
    created.map_or_else(|| Value::from("<unknown>"), |t| Value::from(format!("{}s", now - t.as_second())))
}
