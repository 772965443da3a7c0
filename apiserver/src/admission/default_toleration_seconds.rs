//! DefaultTolerationSeconds: a pod stays on a node that is not ready, or not reachable, for five minutes, unless it says
//! otherwise.

use gantry_machinery::status::Status;
use gantry_machinery::value;
use gantry_machinery::value::Value;

use super::{Attributes, Operation, Plugin};

const KEYS: [&str; 2] = ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"];

/// See the file's head.
pub(crate) struct DefaultTolerationSeconds {
    /// Seconds for each of the two taints.
    seconds: [i64; 2],
}

impl Default for DefaultTolerationSeconds {
    fn default() -> Self {
        Self { seconds: [300, 300] }
    }
}

impl Plugin for DefaultTolerationSeconds {
    fn name(&self) -> &'static str {
        "DefaultTolerationSeconds"
    }

    fn handles(&self, attributes: &Attributes<'_>) -> bool {
        attributes.operation != Operation::Delete && attributes.writes("pods")
    }

    fn mutate(&self, _attributes: &Attributes<'_>, new: &mut Value, _old: Option<&Value>) -> Result<(), Status> {
        let mut missing = [true; 2];
        for toleration in new.array_at(&["spec", "tolerations"]) {
            let effect = toleration.str_at(&["effect"]).unwrap_or_default();
            if !matches!(effect, "" | "NoExecute") {
                continue;
            }
            let key = toleration.str_at(&["key"]).unwrap_or_default();
            for (missing, of) in missing.iter_mut().zip(KEYS) {
                *missing &= !key.is_empty() && key != of;
            }
        }
        if missing == [false; 2] {
            return Ok(());
        }
        let tolerations = new.force_object().object_entry("spec").entry("tolerations");
        if !matches!(tolerations, Value::Array(_)) {
            *tolerations = Value::Array(Vec::with_capacity(2));
        }
        let Value::Array(tolerations) = tolerations else { return Ok(()) };
        for ((missing, key), seconds) in missing.into_iter().zip(KEYS).zip(self.seconds) {
            if missing {
                tolerations.push(value!({
                    "key": key,
                    "operator": "Exists",
                    "effect": "NoExecute",
                    "tolerationSeconds": seconds,
                }));
            }
        }
        Ok(())
    }
}
