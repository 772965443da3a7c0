//! PodResizeValidator: a running pod grows only into what its node has, and only where nodes can do it (KEP-1287).

use gantry_machinery::quantity::Quantity;
use gantry_machinery::quota;
use gantry_machinery::status::Status;
use gantry_machinery::time;
use gantry_machinery::value::Value;
use gantry_store_cache::key::ObjectKey;

use super::{Attributes, Operation, Plugin};
use crate::registry::body;

/// See the file's head.
pub(crate) struct PodResize;

impl Plugin for PodResize {
    fn name(&self) -> &'static str {
        "PodResizeValidator"
    }

    fn handles(&self, attributes: &Attributes<'_>) -> bool {
        let call = attributes.call;
        attributes.operation == Operation::Update && call.row.collection == "pods" && call.subresource == "resize"
    }

    fn validate(&self, attributes: &Attributes<'_>, new: Option<&Value>, old: Option<&Value>) -> Result<(), Status> {
        let (Some(new), Some(old)) = (new, old) else { return Ok(()) };
        let generation = |pod: &Value| pod.i64_at(&["metadata", "generation"]);
        let name = new.str_at(&["spec", "nodeName"]).unwrap_or_default();
        if name.is_empty() || generation(new) == generation(old) {
            return Ok(());
        }
        let Some(node) = attributes.registry.store().get(&ObjectKey::new("nodes", "", name)) else {
            return Err(attributes.forbidden(new, format!("node {name:?} not found")));
        };
        let node = body::decode(&node)?;
        if let Some(lacking) = lacking(new, &node) {
            let why = format!("Node didn't have enough allocatable resources: {lacking}");
            return Err(attributes.forbidden(new, why).with_cause("NodeCapacity", "", ""));
        }
        let system = node.str_at(&["metadata", "labels", "kubernetes.io/os"]).unwrap_or_default();
        if system != "linux" {
            let why = format!("pod resize is only supported on linux nodes, node {name:?} is {system:?}");
            return Err(attributes.forbidden(new, why).with_cause("UnsupportedPlatform", "", ""));
        }
        Ok(())
    }
}

/// What the pod would ask for that the node does not have at all.
fn lacking(pod: &Value, node: &Value) -> Option<String> {
    let asked = quota::usage("pods", pod, time::now_unix());
    let there = quota::amounts(node.at(&["status", "allocatable"]));
    let milli = |amount: &Quantity| amount.milli_value();
    let whole = |amount: &Quantity| amount.value();
    let of = |resource, asked_as, count: &dyn Fn(&Quantity) -> i64| {
        let (asked, there) = (asked.get(asked_as).map_or(0, count), there.get(resource).map_or(0, count));
        (asked > there).then(|| format!("{resource}, requested: {asked}, allocatable: {there}"))
    };
    let both = [of("cpu", "requests.cpu", &milli), of("memory", "requests.memory", &whole)];
    let lacking: Vec<String> = both.into_iter().flatten().collect();
    (!lacking.is_empty()).then(|| lacking.join("; "))
}
