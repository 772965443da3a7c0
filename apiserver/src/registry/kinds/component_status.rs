//! ComponentStatus: how the parts of the control plane are. Computed when it is read, never stored
//! ([`crate::registry::components`]); deprecated since 1.19 in favour of each part's own health paths.

use gantry_machinery::value::Value;

use super::cells::name_cell;
use super::row;
use crate::registry::strategy::{Column, Strategy};
use crate::registry::validate::view::Held;

/// ComponentStatuses of the core group.
#[derive(Debug)]
pub struct ComponentStatuses;

impl Strategy for ComponentStatuses {
    row!("", "v1", "componentstatuses");

    fn deprecated(&self) -> Option<&'static str> {
        Some("v1 ComponentStatus is deprecated in v1.19+")
    }

    fn columns(&self) -> &'static [Column] {
        const { &[Column::name(), Column::string("Status"), Column::string("Message"), Column::string("Error")] }
    }

    fn row(&self, object: &Value, _now: i64) -> Vec<Value> {
        let healthy = object.array_at(&["conditions"]).iter().find(|c| c.get("type").text() == "Healthy");
        let status = match healthy.and_then(|c| c.get("status")).text() {
            "True" => "Healthy",
            "False" => "Unhealthy",
            _ => "Unknown",
        };
        let text = |field: &str| Value::from(healthy.and_then(|c| c.get(field)).text());
        vec![name_cell(object), Value::from(status), text("message"), text("error")]
    }
}
