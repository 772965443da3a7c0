//! The quality-of-service class of a pod, and sums over its containers (KEP-753 sidecars included where they count).

use gantry_machinery::quantity::Quantity;
use gantry_machinery::value::{Object, Value};

use crate::registry::validate::quantity;
use crate::registry::validate::view::Held;

/// `Guaranteed`, `Burstable` or `BestEffort`, by the cpu and memory that the pod's containers ask for (or the pod as a
/// whole, where it says so itself).
pub fn class(spec: &Value) -> &'static str {
    if let Some(own) = spec.get("resources").filter(|r| asks(r, "requests") || asks(r, "limits")) {
        return of_lists(&mut std::iter::once(own));
    }
    let lists = ["containers", "initContainers"].iter().flat_map(|list| spec.get(list).items());
    of_lists(&mut lists.map(|c| c.get("resources").unwrap_or(&Value::Null)))
}

fn asks(resources: &Value, list: &str) -> bool {
    resources.get(list).entries().next().is_some()
}

fn of_lists(resources: &mut dyn Iterator<Item = &Value>) -> &'static str {
    const BASIC: [&str; 2] = ["cpu", "memory"];
    let mut requests = [Quantity::ZERO; 2];
    let mut limits = [Quantity::ZERO; 2];
    let mut all_limited = true;
    for one in resources {
        for (n, resource) in BASIC.iter().enumerate() {
            let found = |list: &str| one.at(&[list, resource]).and_then(quantity::of);
            let positive = |q: &Quantity| q.sign() > 0;
            // A limit without a request is the request too: so defaulting has it.
            let limit = found("limits");
            if let Some(amount) = found("requests").or(limit).filter(positive) {
                requests[n] = requests[n] + amount;
            }
            match limit.filter(positive) {
                Some(amount) => limits[n] = limits[n] + amount,
                None => all_limited = false,
            }
        }
    }
    if requests.iter().chain(&limits).all(Quantity::is_zero) {
        "BestEffort"
    } else if all_limited && requests == limits {
        "Guaranteed"
    } else {
        "Burstable"
    }
}

/// What a pod's containers request of a resource at most at one time; `None` if none names it.
pub(crate) fn containers_request(spec: &Object, resource: &str) -> Option<Quantity> {
    let request = |c: &Value| c.at(&["resources", "requests", resource]).and_then(quantity::of);
    let mut named = false;
    let mut sum = |total: Quantity, c: &Value| {
        request(c).map_or(total, |q| {
            named = true;
            total + q
        })
    };
    let regular = spec.get("containers").items().iter().fold(Quantity::ZERO, &mut sum);
    // Init containers run one by one beside the sidecars started before them.
    let mut sidecars = Quantity::ZERO;
    let mut peak = Quantity::ZERO;
    for container in spec.get("initContainers").items() {
        if container.get("restartPolicy").text() == "Always" {
            sidecars = sum(sidecars, container);
            peak = peak.max(sidecars);
        } else {
            peak = peak.max(sum(sidecars, container));
        }
    }
    named.then(|| peak.max(regular + sidecars))
}
