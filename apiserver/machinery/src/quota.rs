//! What objects cost under a ResourceQuota (Kubernetes, "Resource Quotas"): which of a quota's resources an object draws
//! on, how much, and whether the quota's scopes hold it.
//!
//! Two readers: admission, which charges what is written, and the loop that counts a namespace anew. Objects are told
//! apart by collection (`pods`, `deployments.apps`).

mod pod;

use std::collections::BTreeMap;

use compact_str::{CompactString, format_compact};

use crate::quantity::Quantity;
use crate::value::{Object, Value};

/// Amounts by resource name, in the order in which messages list them.
pub type Usage = BTreeMap<CompactString, Quantity>;

const PODS: &str = "pods";
const SERVICES: &str = "services";
const CLAIMS: &str = "persistentvolumeclaims";

/// Kinds whose plain name is a resource, too: the same as `count/` with it.
const PLAIN_COUNTS: [&str; 4] = ["configmaps", "replicationcontrollers", "resourcequotas", "secrets"];

/// Follows the name of a storage class in the name of a resource.
const BY_CLASS: &str = ".storageclass.storage.k8s.io/";

/// Whether objects of this collection draw on the resource.
#[must_use]
pub fn draws_on(collection: &str, resource: &str) -> bool {
    if let Some(counted) = resource.strip_prefix("count/") {
        return counted == collection;
    }
    match collection {
        PODS => pod::draws_on(resource),
        SERVICES => matches!(resource, "services" | "services.loadbalancers" | "services.nodeports"),
        CLAIMS => {
            let plain = resource.split_once(BY_CLASS).map_or(resource, |(_, plain)| plain);
            matches!(plain, CLAIMS | "requests.storage")
        }
        _ => resource == collection && PLAIN_COUNTS.contains(&collection),
    }
}

/// The collection whose objects draw on the resource; `None` for a resource that nothing draws on.
#[must_use]
pub fn drawn_on_by(resource: &str) -> Option<&str> {
    if let Some(counted) = resource.strip_prefix("count/") {
        return Some(counted);
    }
    [PODS, SERVICES, CLAIMS].into_iter().chain(PLAIN_COUNTS).find(|collection| draws_on(collection, resource))
}

/// What an object draws. `now` in Unix seconds: pods that should be gone by then draw nothing but their count.
#[must_use]
pub fn usage(collection: &str, object: &Value, now: i64) -> Usage {
    let one = Quantity::from_units(1);
    let mut usage = Usage::from([(format_compact!("count/{collection}"), one)]);
    match collection {
        PODS => pod::add_usage(object, now, &mut usage),
        SERVICES => {
            let ports = object.array_at(&["spec", "ports"]);
            let kind = object.str_at(&["spec", "type"]).unwrap_or_default();
            let chosen = || ports.iter().filter(|p| p.i64_at(&["nodePort"]).unwrap_or_default() != 0).count();
            let allocates = object.bool_at(&["spec", "allocateLoadBalancerNodePorts"]) != Some(false);
            let node_ports = match kind {
                "LoadBalancer" if !allocates => chosen(),
                "NodePort" | "LoadBalancer" => ports.len(),
                _ => 0,
            };
            let balancers = i64::from(kind == "LoadBalancer");
            usage.insert(SERVICES.into(), one);
            usage.insert("services.loadbalancers".into(), Quantity::from_units(balancers));
            let node_ports = i64::try_from(node_ports).unwrap_or(i64::MAX);
            usage.insert("services.nodeports".into(), Quantity::from_units(node_ports));
        }
        CLAIMS => {
            let asked = storage_of(object);
            let class = class_of(object);
            for (resource, amount) in [(CLAIMS, Some(one)), ("requests.storage", asked)] {
                let Some(amount) = amount else { continue };
                usage.insert(resource.into(), amount);
                if !class.is_empty() {
                    usage.insert(format_compact!("{class}{BY_CLASS}{resource}"), amount);
                }
            }
        }
        other if PLAIN_COUNTS.contains(&other) => {
            usage.insert(other.into(), one);
        }
        _ => {}
    }
    usage
}

/// What a claim asks for, or has been given if that is more; whole bytes.
fn storage_of(claim: &Value) -> Option<Quantity> {
    let asked = amount(claim.at(&["spec", "resources", "requests", "storage"]))?;
    let given = amount(claim.at(&["status", "allocatedResources", "storage"]));
    let more = given.map_or(asked, |given| given.max(asked));
    Some(if more.is_whole() { more } else { Quantity::from_bytes(more.value()) })
}

fn class_of(claim: &Value) -> &str {
    let annotated = claim.str_at(&["metadata", "annotations", "volume.beta.kubernetes.io/storage-class"]);
    annotated.or_else(|| claim.str_at(&["spec", "storageClassName"])).unwrap_or_default()
}

/// Whether the quota's scopes hold the object; a quota without scopes holds everything.
#[must_use]
pub fn in_scopes(quota: &Value, collection: &str, object: &Value) -> bool {
    let exists = |scope: &Value| holds(collection, object, scope.as_str().unwrap_or_default(), "Exists", &[]);
    let selected = |selector: &Value| {
        let text = |field: &str| selector.str_at(&[field]).unwrap_or_default();
        holds(collection, object, text("scopeName"), text("operator"), selector.array_at(&["values"]))
    };
    quota.array_at(&["spec", "scopes"]).iter().all(exists)
        && quota.array_at(&["spec", "scopeSelector", "matchExpressions"]).iter().all(selected)
}

fn holds(collection: &str, object: &Value, scope: &str, operator: &str, values: &[Value]) -> bool {
    match (collection, scope) {
        (CLAIMS, "VolumeAttributesClass") => {
            let paths: [&[&str]; 3] = [
                &["spec", "volumeAttributesClassName"],
                &["status", "currentVolumeAttributesClassName"],
                &["status", "modifyVolumeStatus", "targetVolumeAttributesClassName"],
            ];
            let names = paths.into_iter().filter_map(|path| object.str_at(path)).filter(|name| !name.is_empty());
            let names: Vec<&str> = names.collect();
            if names.is_empty() {
                selects(None, operator, values)
            } else {
                names.into_iter().any(|name| selects(Some(name), operator, values))
            }
        }
        (PODS, "PriorityClass") => {
            let class = object.str_at(&["spec", "priorityClassName"]).filter(|name| !name.is_empty());
            selects(class, operator, values)
        }
        (PODS, scope) => pod::is_of(object, scope),
        _ => false,
    }
}

/// Whether a scope's selector selects the value.
fn selects(value: Option<&str>, operator: &str, values: &[Value]) -> bool {
    let listed = || value.is_some_and(|value| values.iter().any(|v| v.as_str() == Some(value)));
    match operator {
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "In" => listed(),
        "NotIn" => !listed(),
        _ => false,
    }
}

/// What every container of a pod must say under a quota of these resources, and does not: `requests.cpu for: a,b`.
/// `None` when nothing is missing, and for other kinds.
#[must_use]
pub fn missing<'r>(collection: &str, object: &Value, resources: impl Iterator<Item = &'r str>) -> Option<String> {
    if collection == PODS { pod::missing(object, resources) } else { None }
}

/// The amounts of a list in a quota (`spec.hard`).
#[must_use]
pub fn amounts(list: Option<&Value>) -> Usage {
    let entries = list.and_then(Value::as_object).into_iter().flat_map(Object::iter);
    entries.filter_map(|(resource, value)| Some((resource.clone(), amount(Some(value))?))).collect()
}

/// The same as a value.
#[must_use]
pub fn to_value(amounts: &Usage) -> Value {
    let mut list = Value::object();
    for (resource, amount) in amounts {
        list.force_object().insert(resource.clone(), amount.to_text());
    }
    list
}

/// Adds one usage to another.
pub fn add(to: &mut Usage, usage: &Usage) {
    for (resource, amount) in usage {
        let sum = to.get(resource).map_or(*amount, |there| there.plus(*amount));
        to.insert(resource.clone(), sum);
    }
}

fn amount(value: Option<&Value>) -> Option<Quantity> {
    match value? {
        Value::String(text) => Quantity::parse(text).ok(),
        Value::Int(number) => Some(Quantity::from_units(*number)),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
