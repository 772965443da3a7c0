//! LimitRanger: what a namespace's LimitRanges give to containers that ask for nothing, and the bounds they set for
//! containers, pods and volume claims.

use std::sync::Arc;

use gantry_machinery::quantity::Quantity;
use gantry_machinery::status::Status;
use gantry_machinery::value::{Object, Value};

use super::{Attributes, Plugin};
use crate::registry::body;

const COLLECTION: &str = "limitranges";
/// Where upstream writes down what it filled in.
const ANNOTATION: &str = "kubernetes.io/limit-ranger";

/// See the file's head.
pub(crate) struct LimitRanger;

impl Plugin for LimitRanger {
    fn name(&self) -> &'static str {
        "LimitRanger"
    }

    fn handles(&self, attributes: &Attributes<'_>) -> bool {
        (attributes.creates("pods") || attributes.creates("persistentvolumeclaims"))
            && attributes.registry.store().view().count(COLLECTION, Some(attributes.call.namespace)) > 0
    }

    fn mutate(&self, attributes: &Attributes<'_>, new: &mut Value, _old: Option<&Value>) -> Result<(), Status> {
        if !attributes.creates("pods") {
            return Ok(());
        }
        let mut filled = Vec::new();
        for range in ranges(attributes) {
            for limit in range.array_at(&["spec", "limits"]).iter().filter(|l| kind(l) == "Container") {
                fill_pod(new, limit, &mut filled);
            }
        }
        if filled.is_empty() {
            return Ok(());
        }
        new.set(&["metadata", "annotations", ANNOTATION], format!("LimitRanger plugin set: {}", filled.join("; ")));
        // The quality-of-service class follows from what containers ask for: the kind says it anew.
        let mut again = new.clone();
        attributes.call.row.strategy.prepare_for_create(&mut again);
        if let Some(status) = again.remove(&["status"]) {
            new.set(&["status"], status);
        }
        Ok(())
    }

    fn validate(&self, attributes: &Attributes<'_>, new: Option<&Value>, _old: Option<&Value>) -> Result<(), Status> {
        let Some(new) = new else { return Ok(()) };
        for range in ranges(attributes) {
            let mut wrong = Vec::new();
            for limit in range.array_at(&["spec", "limits"]) {
                match kind(limit) {
                    "Container" if attributes.writes("pods") => {
                        for container in containers(new) {
                            let asks =
                                |list: &'static str| move |r: &str| amount(container.at(&["resources", list, r]));
                            check(limit, "Container", &asks("requests"), &asks("limits"), &mut wrong);
                        }
                    }
                    "Pod" if attributes.writes("pods") => {
                        let sum = |list: &'static str| move |r: &str| pod_sum(new, list, r);
                        check(limit, "Pod", &sum("requests"), &sum("limits"), &mut wrong);
                    }
                    "PersistentVolumeClaim" if attributes.writes("persistentvolumeclaims") => {
                        let asked = |r: &str| amount(new.at(&["spec", "resources", "requests", r]));
                        // A claim has no limit of its own: what it asks for is bounded from both sides.
                        check(limit, "PersistentVolumeClaim", &asked, &asked, &mut wrong);
                    }
                    _ => {}
                }
            }
            if !wrong.is_empty() {
                let why = if wrong.len() == 1 { wrong.remove(0) } else { format!("[{}]", wrong.join(", ")) };
                return Err(attributes.forbidden(new, why));
            }
        }
        Ok(())
    }
}

/// The namespace's LimitRanges, by name.
fn ranges(attributes: &Attributes<'_>) -> Vec<Arc<Value>> {
    let view = attributes.registry.store().view();
    view.scan(COLLECTION, Some(attributes.call.namespace), None).filter_map(|r| body::decode(&r).ok()).collect()
}

fn kind(limit: &Value) -> &str {
    limit.str_at(&["type"]).unwrap_or_default()
}

fn containers(pod: &Value) -> impl Iterator<Item = &Value> {
    ["containers", "initContainers"].into_iter().flat_map(|list| pod.array_at(&["spec", list]))
}

/// Gives every container what it does not say itself; notes what was given.
fn fill_pod(pod: &mut Value, limit: &Value, filled: &mut Vec<String>) {
    for (list, called) in [("containers", "container"), ("initContainers", "init container")] {
        let Some(Value::Array(containers)) = pod.at_mut(&["spec", list]) else { continue };
        for container in containers {
            let name = container.str_at(&["name"]).unwrap_or_default().to_owned();
            for (kind, from, what) in [("requests", "defaultRequest", "request"), ("limits", "default", "limit")] {
                let mut given = Vec::new();
                for (resource, amount) in limit.object_at(&[from]).into_iter().flat_map(Object::iter) {
                    if container.at(&["resources", kind, resource]).is_none() {
                        container.set(&["resources", kind, resource], amount.clone());
                        given.push(resource.as_str());
                    }
                }
                if !given.is_empty() {
                    given.sort_unstable();
                    filled.push(format!("{} {what} for {called} {name}", given.join(", ")));
                }
            }
        }
    }
}

fn amount(value: Option<&Value>) -> Option<Quantity> {
    match value? {
        Value::String(text) => Quantity::parse(text).ok(),
        Value::Int(number) => Quantity::parse(&number.to_string()).ok(),
        _ => None,
    }
}

/// What a pod asks for in all: its containers together, or its largest init container if that is more.
fn pod_sum(pod: &Value, list: &str, resource: &str) -> Option<Quantity> {
    let of = |containers: &'static str| {
        pod.array_at(&["spec", containers]).iter().filter_map(|c| amount(c.at(&["resources", list, resource])))
    };
    let together = of("containers").reduce(Quantity::plus);
    together.into_iter().chain(of("initContainers")).max()
}

/// Everything wrong under one limit.
fn check(
    limit: &Value,
    kind: &str,
    request: &dyn Fn(&str) -> Option<Quantity>,
    limited: &dyn Fn(&str) -> Option<Quantity>,
    wrong: &mut Vec<String>,
) {
    let bounds = |field: &str| {
        let mut bounds: Vec<(&str, Quantity)> = limit
            .object_at(&[field])
            .into_iter()
            .flat_map(Object::iter)
            .filter_map(|(resource, value)| Some((resource.as_str(), amount(Some(value))?)))
            .collect();
        bounds.sort_unstable_by_key(|(resource, _)| *resource);
        bounds
    };
    for (resource, min) in bounds("min") {
        let text = format!("minimum {resource} usage per {kind} is {min}");
        match (request(resource), limited(resource)) {
            (None, _) => wrong.push(format!("{text}.  No request is specified")),
            (Some(asked), _) if asked < min => wrong.push(format!("{text}, but request is {asked}")),
            (_, Some(most)) if most < min => wrong.push(format!("{text}, but limit is {most}")),
            _ => {}
        }
    }
    for (resource, max) in bounds("max") {
        let text = format!("maximum {resource} usage per {kind} is {max}");
        match (request(resource), limited(resource)) {
            (_, None) => wrong.push(format!("{text}.  No limit is specified")),
            (_, Some(most)) if most > max => wrong.push(format!("{text}, but limit is {most}")),
            (Some(asked), _) if asked > max => wrong.push(format!("{text}, but request is {asked}")),
            _ => {}
        }
    }
    for (resource, ratio) in bounds("maxLimitRequestRatio") {
        let text = format!("{resource} max limit to request ratio per {kind} is {ratio}");
        match (request(resource).map(|q| q.to_f64()), limited(resource).map(|q| q.to_f64())) {
            (None, _) => wrong.push(format!("{text}, but no request is specified or request is 0")),
            (Some(asked), _) if asked <= 0.0 => {
                wrong.push(format!("{text}, but no request is specified or request is 0"));
            }
            (_, None) => wrong.push(format!("{text}, but no limit is specified or limit is 0")),
            (Some(asked), Some(most)) if most / asked > ratio.to_f64() => {
                wrong.push(format!("{text}, but provided ratio is {:.6}", most / asked));
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use gantry_machinery::value;

    use super::*;

    #[test]
    fn defaults_fill_only_what_is_missing() {
        let limit = value!({"default": {"cpu": "1", "memory": "1Gi"}, "defaultRequest": {"cpu": "100m"}});
        let own = value!({"requests": {"cpu": "2"}});
        let mut pod = value!({"spec": {"containers": [{"name": "a"}, {"name": "b", "resources": own}]}});
        let mut filled = Vec::new();
        fill_pod(&mut pod, &limit, &mut filled);
        let containers = pod.array_at(&["spec", "containers"]);
        assert_eq!(containers[0].str_at(&["resources", "requests", "cpu"]), Some("100m"));
        assert_eq!(containers[1].str_at(&["resources", "requests", "cpu"]), Some("2"));
        assert_eq!(containers[1].str_at(&["resources", "limits", "memory"]), Some("1Gi"));
        assert_eq!(
            filled,
            ["cpu request for container a", "cpu, memory limit for container a", "cpu, memory limit for container b"]
        );
    }

    #[test]
    fn bounds_are_said_in_upstreams_words() {
        let limit = value!({"min": {"cpu": "100m"}, "max": {"cpu": "1"}, "maxLimitRequestRatio": {"cpu": "2"}});
        let told = |request: Option<&str>, limited: Option<&str>| {
            let ask = |of: Option<&str>| of.map(|q| Quantity::parse(q).unwrap());
            let (request, limited) = (ask(request), ask(limited));
            let mut wrong = Vec::new();
            check(&limit, "Container", &|_| request, &|_| limited, &mut wrong);
            wrong
        };
        assert_eq!(told(Some("500m"), Some("1")), [""; 0]);
        assert_eq!(told(Some("50m"), Some("60m"))[0], "minimum cpu usage per Container is 100m, but request is 50m");
        assert_eq!(told(Some("600m"), None)[0], "maximum cpu usage per Container is 1.  No limit is specified");
        assert_eq!(told(Some("900m"), Some("1200m"))[0], "maximum cpu usage per Container is 1, but limit is 1200m");
        assert_eq!(
            told(Some("200m"), Some("800m")),
            ["cpu max limit to request ratio per Container is 2, but provided ratio is 4.000000"]
        );
    }
}
