//! Requests and limits: names of resources, quantities, and how the two must fit.

use gantry_machinery::names;
use gantry_machinery::value::Value;

use super::view::{Held, view};
use super::{Errors, Path, name, quantity};
use crate::registry::kinds::pod::qos::containers_request;

view! {
    struct Requirements { limits: "limits", requests: "requests", claims: "claims" }
}

/// The `resources` of a container (or a pod's overhead, as limits). `claims` are the pod's claims that it may name.
pub fn check_requirements(resources: &Value, claims: &[Value], at: &Path<'_>, errors: &mut Errors) {
    let given = Requirements::of(resources);
    check_lists(given.limits, given.requests, check_container_name, at, errors);
    check_claims(given.claims.items(), claims, &at.child("claims"), errors);
}

/// The `overhead` of a pod: a list of quantities under the rules of limits.
pub fn check_overhead(overhead: &Value, at: &Path<'_>, errors: &mut Errors) {
    check_lists(Some(overhead), None, check_container_name, at, errors);
}

/// The `resources` of a pod as a whole: cpu, memory and huge pages only, and room for what its containers ask for.
pub fn check_pod_requirements(resources: &Value, spec: &Value, at: &Path<'_>, errors: &mut Errors) {
    let given = Requirements::of(resources);
    if given.claims.is_some() {
        errors.forbidden(&at.child("claims"), "claims may not be set for Resources at pod-level");
    }
    let check = |name: &str, at: &Path<'_>, errors: &mut Errors| {
        if !matches!(name, "cpu" | "memory") && !is_huge_page(name) {
            errors.not_supported(at, name, &["cpu", "hugepages-", "memory"]);
        }
    };
    check_lists(given.limits, given.requests, check, at, errors);
    let spec = spec.as_object();
    let requests_at = at.child("requests");
    for (resource, value) in given.requests.entries() {
        let asked = spec.and_then(|spec| containers_request(spec, resource));
        if let Some(asked) = asked.filter(|asked| quantity::of(value).is_some_and(|own| *asked > own)) {
            let shown = quantity::canonical(value).unwrap_or_default();
            let detail =
                format!("must be greater than or equal to aggregate container requests of {}", asked.to_text());
            errors.invalid(&requests_at.key(resource), shown, detail);
        }
    }
    let containers_at = at.child("containers");
    for (n, container) in spec.and_then(|spec| spec.get("containers")).items().iter().enumerate() {
        for (resource, value) in container.at(&["resources", "limits"]).entries() {
            let Some(own) = given.limits.and_then(|limits| limits.get(resource)) else { continue };
            if quantity::of(value) > quantity::of(own) {
                let own = quantity::canonical(own).unwrap_or_default();
                let item = containers_at.index(n);
                let item = item.key(resource);
                let shown = quantity::canonical(value).unwrap_or_default();
                errors.invalid(
                    &item.child("limits"),
                    shown,
                    format!("must be less than or equal to pod limits of {own}"),
                );
            }
        }
    }
}

fn check_lists(
    limits: Option<&Value>,
    requests: Option<&Value>,
    check_name: impl Fn(&str, &Path<'_>, &mut Errors),
    at: &Path<'_>,
    errors: &mut Errors,
) {
    let (limits_at, requests_at) = (at.child("limits"), at.child("requests"));
    let mut basic = false;
    let mut huge = false;
    for (resource, value) in limits.entries() {
        let at = limits_at.key(resource);
        check_name(resource, &at, errors);
        check_quantity(resource, value, &at, errors);
        check_huge_page(resource, value, &at, errors);
        basic |= matches!(resource, "cpu" | "memory");
        huge |= is_huge_page(resource);
    }
    for (resource, value) in requests.entries() {
        let at = requests_at.key(resource);
        check_name(resource, &at, errors);
        check_quantity(resource, value, &at, errors);
        basic |= matches!(resource, "cpu" | "memory");
        huge |= is_huge_page(resource);
        match limits.and_then(|l| l.get(resource)) {
            Some(limit) => {
                let order = quantity::of(value).cmp(&quantity::of(limit));
                let more = |how: &str| {
                    let limit = quantity::canonical(limit).unwrap_or_default();
                    format!("must be {how} to {resource} limit of {limit}")
                };
                let shown = || quantity::canonical(value).unwrap_or_default();
                if order.is_ne() && !may_overcommit(resource) {
                    errors.invalid(&requests_at, shown(), more("equal"));
                } else if order.is_gt() {
                    errors.invalid(&requests_at, shown(), more("less than or equal"));
                }
            }
            None if !may_overcommit(resource) => {
                errors.required(&limits_at, "Limit must be set for non overcommitable resources");
            }
            None => {}
        }
        check_huge_page(resource, value, &at, errors);
    }
    if huge && !basic {
        errors.forbidden(at, "HugePages require cpu or memory");
    }
}

fn check_claims(claims: &[Value], known: &[Value], at: &Path<'_>, errors: &mut Errors) {
    for (n, claim) in claims.iter().enumerate() {
        let at = at.index(n);
        let name = claim.get("name").text();
        if name.is_empty() {
            errors.required(&at, "");
            continue;
        }
        if claims[..n].iter().any(|c| c.get("name").text() == name) {
            errors.duplicate(&at, name);
        }
        if !known.iter().any(|k| k.get("name").text() == name) {
            let mut names: Vec<&str> = known.iter().map(|k| k.get("name").text()).collect();
            names.sort_unstable();
            let detail = match names.as_slice() {
                [] => "must be one of the names in pod.spec.resourceClaims which is empty".to_owned(),
                names => format!("must be one of the names in pod.spec.resourceClaims: {}", names.join(", ")),
            };
            errors.not_found_because(&at, name, detail);
        }
    }
}

/// A quantity of a resource: not negative, whole where the resource is counted.
pub fn check_quantity(resource: &str, value: &Value, at: &Path<'_>, errors: &mut Errors) {
    let Some(quantity) = quantity::of(value) else {
        return errors.invalid(at, value, "must be a valid resource quantity");
    };
    if quantity.sign() < 0 {
        errors.invalid(at, quantity::canonical(value).unwrap_or_default(), "must be greater than or equal to 0");
    }
    if is_counted(resource) && !quantity.is_whole() {
        errors.invalid(at, quantity::canonical(value).unwrap_or_default(), "must be an integer");
    }
}

fn check_huge_page(resource: &str, value: &Value, at: &Path<'_>, errors: &mut Errors) {
    let Some(size) = resource.strip_prefix("hugepages-") else { return };
    if !quantity::is_multiple(value, size) {
        let shown = quantity::canonical(value).unwrap_or_default();
        let detail = format!("{shown} is not positive integer multiple of {resource}");
        errors.invalid(at, shown, detail);
    }
}

/// The name of a resource that a container may ask for.
pub fn check_container_name(resource: &str, at: &Path<'_>, errors: &mut Errors) {
    if matches!(resource, "cpu" | "memory" | "ephemeral-storage") {
        return;
    }
    check_name(resource, at, errors);
    if !resource.contains('/') {
        if !is_huge_page(resource) {
            errors.invalid(at, resource, "must be a standard resource for containers");
        }
    } else if !is_native(resource) && !is_extended(resource) {
        errors.invalid(at, resource, "doesn't follow extended resource name standard");
    }
}

/// The name of any resource.
pub fn check_name(resource: &str, at: &Path<'_>, errors: &mut Errors) {
    let before = errors.len();
    name::qualified(resource, at, errors);
    if errors.len() == before && !resource.contains('/') && !is_standard(resource) {
        errors.invalid(at, resource, "must be a standard resource type or fully qualified");
    }
}

/// The name of a resource that a quota may limit.
pub fn check_quota_name(resource: &str, at: &Path<'_>, errors: &mut Errors) {
    check_name(resource, at, errors);
    if !resource.contains('/') && !is_standard_quota(resource) {
        errors.invalid(at, resource, "must be a standard resource for quota");
    }
}

fn is_huge_page(resource: &str) -> bool {
    resource.starts_with("hugepages-")
}

fn is_native(resource: &str) -> bool {
    !resource.contains('/') || resource.contains("kubernetes.io/")
}

/// Whether a resource name is one that somebody other than Kubernetes counts.
pub fn is_extended(resource: &str) -> bool {
    !is_native(resource)
        && !resource.starts_with("requests.")
        && names::qualified_name(&format!("requests.{resource}")).is_empty()
}

/// Whether pods may be promised more of a resource than a node has.
pub fn may_overcommit(resource: &str) -> bool {
    is_native(resource) && !is_huge_page(resource)
}

fn is_object_count(resource: &str) -> bool {
    matches!(
        resource,
        "pods"
            | "resourcequotas"
            | "services"
            | "replicationcontrollers"
            | "secrets"
            | "configmaps"
            | "persistentvolumeclaims"
            | "services.nodeports"
            | "services.loadbalancers"
    )
}

fn is_counted(resource: &str) -> bool {
    is_object_count(resource) || (resource.contains('/') && is_extended(resource))
}

/// Whether a name without a domain is of something that quotas count.
pub fn is_standard_quota(resource: &str) -> bool {
    let compute = resource.strip_prefix("requests.").or_else(|| resource.strip_prefix("limits.")).unwrap_or(resource);
    matches!(compute, "cpu" | "memory" | "ephemeral-storage")
        || is_huge_page(compute)
        || resource == "requests.storage"
        || is_object_count(resource)
}

fn is_standard(resource: &str) -> bool {
    resource == "storage" || is_standard_quota(resource)
}
