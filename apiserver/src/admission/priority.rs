//! Priority: the number and the preemption policy behind a pod's `priorityClassName`, and the default class's for pods
//! that name none.

use std::sync::Arc;

use gantry_machinery::resource::gvr;
use gantry_machinery::status::Status;
use gantry_machinery::value::Value;
use gantry_store_cache::key::ObjectKey;

use super::{Attributes, Operation, Plugin};
use crate::registry::body;

const COLLECTION: &str = "priorityclasses.scheduling.k8s.io";
const LOWER_PRIORITY: &str = "PreemptLowerPriority";

/// The classes that every cluster has, with their numbers; known even before their objects exist.
const SYSTEM: [(&str, i64); 2] = [("system-cluster-critical", 2_000_000_000), ("system-node-critical", 2_000_001_000)];

/// See the file's head.
pub(crate) struct Priority;

/// What a class gives its pods.
struct Class {
    name: String,
    value: i64,
    policy: String,
}

impl Plugin for Priority {
    fn name(&self) -> &'static str {
        "Priority"
    }

    fn handles(&self, attributes: &Attributes<'_>) -> bool {
        attributes.operation != Operation::Delete && (attributes.writes("pods") || attributes.writes(COLLECTION))
    }

    fn mutate(&self, attributes: &Attributes<'_>, new: &mut Value, old: Option<&Value>) -> Result<(), Status> {
        if !attributes.writes("pods") {
            return Ok(());
        }
        if let Some(old) = old {
            // A pod keeps what it was admitted with, whatever becomes of its class.
            for field in ["priority", "preemptionPolicy"] {
                if let Some(was) = old.at(&["spec", field]).filter(|_| new.at(&["spec", field]).is_none()) {
                    new.set(&["spec", field], was.clone());
                }
            }
            return Ok(());
        }
        let named = new.str_at(&["spec", "priorityClassName"]).unwrap_or_default();
        let class = if named.is_empty() { default_class(attributes) } else { class(attributes, new, named)? };
        let asked = new.i64_at(&["spec", "priority"]);
        if asked.is_some_and(|p| p != class.value) {
            let why = format!(
                "the integer value of priority ({}) must not be provided in pod spec; priority admission controller \
                 computed {} from the given PriorityClass name",
                asked.unwrap_or_default(),
                class.value
            );
            return Err(attributes.forbidden(new, why));
        }
        if let Some(policy) = new.str_at(&["spec", "preemptionPolicy"]).filter(|p| *p != class.policy) {
            let why = format!(
                "the string value of PreemptionPolicy ({policy}) must not be provided in pod spec; priority admission \
                 controller computed {} from the given PriorityClass name",
                class.policy
            );
            return Err(attributes.forbidden(new, why));
        }
        if !class.name.is_empty() {
            new.set(&["spec", "priorityClassName"], class.name);
        }
        new.set(&["spec", "priority"], class.value);
        new.set(&["spec", "preemptionPolicy"], class.policy);
        Ok(())
    }

    fn validate(&self, attributes: &Attributes<'_>, new: Option<&Value>, _old: Option<&Value>) -> Result<(), Status> {
        let Some(new) = new.filter(|_| attributes.writes(COLLECTION)) else { return Ok(()) };
        if new.bool_at(&["globalDefault"]) != Some(true) {
            return Ok(());
        }
        let name = new.str_at(&["metadata", "name"]).unwrap_or_default();
        match default_object(attributes) {
            Some((other, _)) if other != name => {
                let why = format!("PriorityClass {other} is already marked as default. Only one default can exist");
                Err(attributes.forbidden(new, why))
            }
            _ => Ok(()),
        }
    }
}

fn class(attributes: &Attributes<'_>, pod: &Value, name: &str) -> Result<Class, Status> {
    if let Some(stored) = attributes.registry.store().get(&ObjectKey::new(COLLECTION, "", name)) {
        return Ok(read(&*body::decode(&stored)?));
    }
    if let Some((_, value)) = SYSTEM.iter().find(|(known, _)| *known == name) {
        return Ok(Class { name: name.to_owned(), value: *value, policy: LOWER_PRIORITY.to_owned() });
    }
    debug_assert_eq!(gvr::PRIORITY_CLASSES.collection(), COLLECTION);
    Err(attributes.forbidden(pod, format_args!("no PriorityClass with name {name} was found")))
}

/// The class of pods that name none.
fn default_class(attributes: &Attributes<'_>) -> Class {
    let zero = || Class { name: String::new(), value: 0, policy: LOWER_PRIORITY.to_owned() };
    default_object(attributes).map_or_else(zero, |(_, class)| read(&class))
}

/// The class marked as default; of several the one with the lowest number, as upstream has it.
fn default_object(attributes: &Attributes<'_>) -> Option<(String, Arc<Value>)> {
    let view = attributes.registry.store().view();
    // A cluster has a handful of classes; most have no default.
    view.scan(COLLECTION, None, None)
        .filter_map(|stored| Some((stored.key.name().to_owned(), body::decode(&stored).ok()?)))
        .filter(|(_, class)| class.bool_at(&["globalDefault"]) == Some(true))
        .min_by_key(|(_, class)| class.i64_at(&["value"]))
}

fn read(class: &Value) -> Class {
    Class {
        name: class.str_at(&["metadata", "name"]).unwrap_or_default().to_owned(),
        value: class.i64_at(&["value"]).unwrap_or_default(),
        policy: class.str_at(&["preemptionPolicy"]).unwrap_or(LOWER_PRIORITY).to_owned(),
    }
}
