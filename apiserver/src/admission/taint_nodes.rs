//! TaintNodesByCondition: a new node takes no pods until the node lifecycle loop has seen it ready.

use gantry_machinery::status::Status;
use gantry_machinery::value;
use gantry_machinery::value::Value;

use super::{Attributes, Plugin};

const NOT_READY: &str = "node.kubernetes.io/not-ready";

/// See the file's head.
pub(crate) struct TaintNodesByCondition;

impl Plugin for TaintNodesByCondition {
    fn name(&self) -> &'static str {
        "TaintNodesByCondition"
    }

    fn handles(&self, attributes: &Attributes<'_>) -> bool {
        attributes.creates("nodes")
    }

    fn mutate(&self, _attributes: &Attributes<'_>, new: &mut Value, _old: Option<&Value>) -> Result<(), Status> {
        let taints = new.force_object().object_entry("spec").entry("taints");
        if !matches!(taints, Value::Array(_)) {
            *taints = Value::Array(Vec::new());
        }
        let Value::Array(taints) = taints else { return Ok(()) };
        let is_it = |t: &Value| t.str_at(&["key"]) == Some(NOT_READY) && t.str_at(&["effect"]) == Some("NoSchedule");
        if !taints.iter().any(is_it) {
            taints.push(value!({"key": NOT_READY, "effect": "NoSchedule"}));
        }
        Ok(())
    }
}
