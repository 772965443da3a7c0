//! What a pod costs: its requests and limits as the scheduler counts them, and the scopes that only pods have.

use std::collections::{BTreeMap, BTreeSet};

use compact_str::{CompactString, format_compact};

use super::{Usage, amount, amounts};
use crate::quantity::Quantity;
use crate::time;
use crate::value::Value;

/// The resources that are requested under their plain names, too.
const COMPUTE: [&str; 3] = ["cpu", "memory", "ephemeral-storage"];

/// Whether pods draw on the resource.
pub(super) fn draws_on(resource: &str) -> bool {
    let plain = resource.strip_prefix("requests.").or_else(|| resource.strip_prefix("limits.")).unwrap_or(resource);
    let requested = resource.strip_prefix("requests.");
    resource == "pods"
        || COMPUTE.contains(&plain)
        || requested.unwrap_or(resource).starts_with("hugepages-")
        || requested.is_some_and(is_extended)
}

/// Whether a resource is one that nodes advertise under a domain of their own.
fn is_extended(resource: &str) -> bool {
    resource.split_once('/').is_some_and(|(domain, _)| domain != "kubernetes.io" && !domain.ends_with(".kubernetes.io"))
}

/// Adds what the pod draws beside its count.
pub(super) fn add_usage(pod: &Value, now: i64, usage: &mut Usage) {
    if has_ended(pod, now) {
        return;
    }
    usage.insert("pods".into(), Quantity::from_units(1));
    usage.extend(named(&whole(pod, "requests"), &whole(pod, "limits")));
}

/// Requests and limits by the names that quotas have for them.
fn named(requests: &Usage, limits: &Usage) -> Usage {
    let mut usage = Usage::new();
    for (resource, amount) in requests {
        let as_asked = COMPUTE.contains(&resource.as_str()) || resource.starts_with("hugepages-");
        if as_asked {
            usage.insert(resource.clone(), *amount);
        }
        if as_asked || is_extended(resource) {
            usage.insert(format_compact!("requests.{resource}"), *amount);
        }
    }
    for (resource, amount) in limits.iter().filter(|(resource, _)| COMPUTE.contains(&resource.as_str())) {
        usage.insert(format_compact!("limits.{resource}"), *amount);
    }
    usage
}

/// Whether the pod is at its end: by phase, or because its time to go is over.
fn has_ended(pod: &Value, now: i64) -> bool {
    if matches!(pod.str_at(&["status", "phase"]), Some("Failed" | "Succeeded")) {
        return true;
    }
    let deleted = pod.str_at(&["metadata", "deletionTimestamp"]).and_then(time::parse);
    let grace = pod.i64_at(&["metadata", "deletionGracePeriodSeconds"]);
    matches!((deleted, grace), (Some(deleted), Some(grace)) if now > deleted + grace)
}

/// What the whole pod asks for: its containers and sidecars together, or its most demanding init step if that is more;
/// what the pod asks for as one goes before that; overhead comes on top (KEP-753, KEP-2837).
fn whole(pod: &Value, list: &str) -> Usage {
    let of = |container: &Value| amounts(container.at(&["resources", list]));
    let mut running = Usage::new();
    for container in pod.array_at(&["spec", "containers"]) {
        super::add(&mut running, &of(container));
    }
    let (mut sidecars, mut steps) = (Usage::new(), Usage::new());
    for container in pod.array_at(&["spec", "initContainers"]) {
        let mut step = of(container);
        if container.str_at(&["restartPolicy"]) == Some("Always") {
            super::add(&mut running, &step);
            super::add(&mut sidecars, &step);
            step = sidecars.clone();
        } else {
            super::add(&mut step, &sidecars);
        }
        raise(&mut steps, step);
    }
    raise(&mut running, steps);
    let of_pod = amounts(pod.at(&["spec", "resources", list]));
    running.extend(of_pod.into_iter().filter(|(resource, _)| !is_extended(resource)));
    for (resource, overhead) in amounts(pod.at(&["spec", "overhead"])) {
        // A limit that is not there stays away.
        if list == "requests" || running.contains_key(&resource) {
            let sum = running.get(&resource).map_or(overhead, |there| there.plus(overhead));
            running.insert(resource, sum);
        }
    }
    running
}

/// Makes every amount at least that of the other.
fn raise(to: &mut Usage, other: Usage) {
    for (resource, amount) in other {
        let most = to.get(&resource).map_or(amount, |there| (*there).max(amount));
        to.insert(resource, most);
    }
}

/// Whether the pod is of a scope that takes no values.
pub(super) fn is_of(pod: &Value, scope: &str) -> bool {
    let terminating = || pod.i64_at(&["spec", "activeDeadlineSeconds"]).is_some_and(|seconds| seconds >= 0);
    match scope {
        "Terminating" => terminating(),
        "NotTerminating" => !terminating(),
        "BestEffort" => is_best_effort(pod),
        "NotBestEffort" => !is_best_effort(pod),
        "CrossNamespacePodAffinity" => reaches_elsewhere(pod),
        _ => false,
    }
}

/// Whether nothing in the pod asks for CPU or memory.
fn is_best_effort(pod: &Value) -> bool {
    let lists = ["containers", "initContainers"];
    let holders = lists.into_iter().flat_map(|list| pod.array_at(&["spec", list])).chain(pod.get("spec"));
    let asks = |holder: &Value| {
        let amounts =
            ["requests", "limits"].map(|list| ["cpu", "memory"].map(|r| amount(holder.at(&["resources", list, r]))));
        amounts.as_flattened().iter().flatten().any(|amount| amount.sign() > 0)
    };
    !holders.into_iter().any(asks)
}

/// Whether a term of its (anti-)affinity looks at pods of other namespaces.
fn reaches_elsewhere(pod: &Value) -> bool {
    let reaches = |term: &Value| !term.array_at(&["namespaces"]).is_empty() || term.get("namespaceSelector").is_some();
    ["podAffinity", "podAntiAffinity"].into_iter().any(|kind| {
        let terms = |how: &str| pod.array_at(&["spec", "affinity", kind, how]);
        let weighted = terms("preferredDuringSchedulingIgnoredDuringExecution").iter();
        terms("requiredDuringSchedulingIgnoredDuringExecution").iter().any(reaches)
            || weighted.filter_map(|term| term.get("podAffinityTerm")).any(reaches)
    })
}

/// The CPU and memory that the quota is about and containers do not name.
pub(super) fn missing<'r>(pod: &Value, resources: impl Iterator<Item = &'r str>) -> Option<String> {
    let must = |resource: &&str| {
        let plain = resource.strip_prefix("requests.").or_else(|| resource.strip_prefix("limits.")).unwrap_or(resource);
        matches!(plain, "cpu" | "memory")
    };
    let resources: Vec<&str> = resources.filter(must).collect();
    let mut lacking: BTreeMap<&str, BTreeSet<CompactString>> = BTreeMap::new();
    for container in ["containers", "initContainers"].into_iter().flat_map(|list| pod.array_at(&["spec", list])) {
        let of = |list: &str| amounts(container.at(&["resources", list]));
        let said = named(&of("requests"), &of("limits"));
        for resource in resources.iter().filter(|resource| !said.contains_key(**resource)) {
            lacking.entry(resource).or_default().insert(container.str_at(&["name"]).unwrap_or_default().into());
        }
    }
    let each: Vec<String> = lacking
        .into_iter()
        .map(|(resource, names)| format!("{resource} for: {}", names.into_iter().collect::<Vec<_>>().join(",")))
        .collect();
    (!each.is_empty()).then(|| each.join("; "))
}
