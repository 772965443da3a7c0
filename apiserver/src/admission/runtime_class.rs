//! RuntimeClass: what a pod's runtime costs, and where it can run, comes from its class.

use gantry_machinery::status::Status;
use gantry_machinery::value::Value;
use gantry_store_cache::key::ObjectKey;

use super::{Attributes, Plugin};
use crate::registry::body;
use crate::registry::validate::same;

/// See the file's head.
pub(crate) struct RuntimeClass;

impl Plugin for RuntimeClass {
    fn name(&self) -> &'static str {
        "RuntimeClass"
    }

    fn handles(&self, attributes: &Attributes<'_>) -> bool {
        attributes.creates("pods")
    }

    fn mutate(&self, attributes: &Attributes<'_>, new: &mut Value, _old: Option<&Value>) -> Result<(), Status> {
        let refuse = |pod: &Value, why: String| Err(attributes.forbidden(pod, why));
        let Some(name) = new.str_at(&["spec", "runtimeClassName"]) else {
            if new.object_at(&["spec", "overhead"]).is_some_and(|o| !o.is_empty()) {
                let why = "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead";
                return refuse(new, why.to_owned());
            }
            return Ok(());
        };
        let class = attributes.registry.store().get(&ObjectKey::new("runtimeclasses.node.k8s.io", "", name));
        let Some(class) = class else {
            return refuse(new, format!("pod rejected: RuntimeClass {name:?} not found"));
        };
        let class = body::decode(&class)?;
        let (theirs, own) = (class.at(&["overhead", "podFixed"]), new.at(&["spec", "overhead"]));
        match (theirs, own) {
            (Some(theirs), None) => new.set(&["spec", "overhead"], theirs.clone()),
            (theirs, Some(own)) if !same(theirs, Some(own)) => {
                let why = "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead";
                return refuse(new, why.to_owned());
            }
            _ => {}
        }
        if let Err(why) = schedule(new, &class) {
            return refuse(new, why);
        }
        Ok(())
    }
}

/// The nodes that have the runtime, and the taints that keep others away from them.
fn schedule(pod: &mut Value, class: &Value) -> Result<(), String> {
    let selector = class.object_at(&["scheduling", "nodeSelector"]);
    for (key, value) in selector.into_iter().flat_map(gantry_machinery::value::Object::iter) {
        let theirs = value.as_str().unwrap_or_default();
        match pod.str_at(&["spec", "nodeSelector", key]) {
            Some(own) if own != theirs => {
                return Err(format!(
                    "conflict: runtimeClass.scheduling.nodeSelector[{key}] = {theirs}; pod.spec.nodeSelector[{key}] = \
                     {own}"
                ));
            }
            _ => pod.set(&["spec", "nodeSelector", key], theirs),
        }
    }
    let theirs = class.array_at(&["scheduling", "tolerations"]);
    if !theirs.is_empty() {
        let mut all = pod.array_at(&["spec", "tolerations"]).to_vec();
        for toleration in theirs {
            if !all.contains(toleration) {
                all.push(toleration.clone());
            }
        }
        pod.set(&["spec", "tolerations"], Value::Array(all));
    }
    Ok(())
}
