//! What may change in a pod's status: along certain lines only.

use gantry_machinery::value::Value;

use super::update::check_annotation_changes;
use crate::registry::validate::view::Held;
use crate::registry::validate::{Errors, Path, name};

/// An update of the status.
pub(super) fn check(new: &Value, old: &Value, errors: &mut Errors) {
    check_annotation_changes(new, old, errors);
    let meta = Path::new("metadata.conditions");
    for (n, condition) in new.array_at(&["status", "conditions"]).iter().enumerate() {
        let kind = condition.get("type").text();
        if !matches!(kind, "PodScheduled" | "Ready" | "Initialized") {
            name::qualified(kind, &meta.index(n).child("Type"), errors);
        }
    }
    let at = Path::new("status");
    let nominated = new.at(&["status", "nominatedNodeName"]).text();
    if !nominated.is_empty() && nominated != old.at(&["status", "nominatedNodeName"]).text() {
        name::subdomain(nominated, &at.child("nominatedNodeName"), errors);
    }
    if !nominated.is_empty()
        && nominated != old.at(&["status", "nominatedNodeName"]).text()
        && !old.at(&["spec", "nodeName"]).text().is_empty()
    {
        let detail = "may not be set on pods that are already bound to a node";
        errors.forbidden(&at.child("nominatedNodeName"), detail);
    }
    let generation = new.at(&["status", "observedGeneration"]).number();
    if generation < 0 {
        errors.invalid(&at.child("observedGeneration"), generation, "must be a non-negative integer");
    }
    let class = ["status", "qosClass"];
    errors.immutable(&at.child("qosClass"), new.at(&class), old.at(&class));
    for (field, list) in [
        ("containerStatuses", Some("containers")),
        ("initContainerStatuses", Some("initContainers")),
        ("ephemeralContainerStatuses", None),
    ] {
        check_transitions(new, old, field, list, errors);
    }
    check_claims(new, &at.child("resourceClaimStatuses"), errors);
    check_extended(new, &at.child("extendedResourceClaimStatus"), errors);
    check_addresses(new, errors);
    for field in ["containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses"] {
        check_users(new, field, &at.child(field), errors);
    }
}

/// What was made for the pod's claims is told claim by claim.
fn check_claims(pod: &Value, at: &Path<'_>, errors: &mut Errors) {
    let statuses = pod.array_at(&["status", "resourceClaimStatuses"]);
    for (n, status) in statuses.iter().enumerate() {
        let at = at.index(n);
        let text = status.get("name").text();
        if !pod.array_at(&["spec", "resourceClaims"]).iter().any(|claim| claim.get("name").text() == text) {
            let detail = "must match the name of an entry in `spec.resourceClaims`";
            errors.invalid(&at.child("name"), text, detail);
        }
        if statuses[..n].iter().any(|other| other.get("name").text() == text) {
            errors.duplicate(&at.child("name"), text);
        }
        if let Some(claim) = status.str_at(&["resourceClaimName"]) {
            name::subdomain(claim, &at.child("name"), errors);
        }
    }
}

/// What was made for the pod's extended resources is told container by container (KEP-5004).
fn check_extended(pod: &Value, at: &Path<'_>, errors: &mut Errors) {
    let Some(status) = pod.at(&["status", "extendedResourceClaimStatus"]).filter(|status| !status.is_null()) else {
        return;
    };
    let mappings = status.get("requestMappings").items();
    let all = at.child("requestMappings");
    if mappings.is_empty() {
        errors.required(&all, "at least one request mapping is required");
    }
    let containers = || ["initContainers", "containers"].iter().flat_map(|list| pod.array_at(&["spec", list]));
    for (n, mapping) in mappings.iter().enumerate() {
        let item = all.index(n);
        let fields = ["containerName", "resourceName", "requestName"];
        let [container, resource, request] = fields.map(|field| mapping.get(field).text());
        match containers().find(|known| known.get("name").text() == container) {
            None => {
                let detail = "must match the name of an entry in spec.initContainers.name or spec.containers.name";
                errors.invalid(&item.child("containerName"), container, detail);
            }
            Some(known) if known.at(&["resources", "requests", resource]).is_none() => {
                let detail = "must match the extended resource name of an entry in \
                              spec.initContainers.resources.requests or spec.containers.resources.requests";
                errors.invalid(&item.child("resourceName"), resource, detail);
            }
            Some(_) => {}
        }
        name::label(request, &at.child("requestName"), errors);
        let same = |other: &Value| fields.iter().all(|field| other.get(field).text() == mapping.get(field).text());
        if mappings[..n].iter().any(same) {
            fields.iter().for_each(|field| errors.duplicate(&item.child(field), mapping.get(field).text()));
        }
    }
    name::subdomain(status.get("resourceClaimName").text(), &at.child("resourceClaimName"), errors);
}

/// The users that containers run as, which Windows has otherwise.
fn check_users(pod: &Value, field: &str, at: &Path<'_>, errors: &mut Errors) {
    let windows = pod.at(&["spec", "os", "name"]).text() == "windows";
    for (n, status) in pod.array_at(&["status", field]).iter().enumerate() {
        let Some(user) = status.at(&["user", "linux"]).filter(|user| !user.is_null()) else { continue };
        let item = at.index(n);
        let at = item.child("linux");
        if windows {
            errors.forbidden(&at, "cannot be set for a windows pod");
            continue;
        }
        for id in ["uid", "gid"] {
            name::range(user.get(id).number(), 0, i64::from(i32::MAX), &at.child(id), errors);
        }
        let groups = at.child("supplementalGroups");
        for (n, group) in user.get("supplementalGroups").items().iter().enumerate() {
            name::range(Some(group).number(), 0, i64::from(i32::MAX), &groups.index(n), errors);
        }
    }
}

/// A container that has ended for good does not run again: what its own rules say, its own policy, the pod's. `list` is
/// where it is declared; ephemeral containers never run again.
fn check_transitions(new: &Value, old: &Value, field: &str, list: Option<&str>, errors: &mut Errors) {
    let spec = old.get("spec").unwrap_or(&Value::Null);
    if list.is_some() && restarts_all(spec) {
        return;
    }
    let top = Path::new("status");
    let at = top.child(field);
    for (n, before) in old.array_at(&["status", field]).iter().enumerate() {
        let Some(ended) = before.at(&["state", "terminated"]).filter(|ended| !ended.is_null()) else { continue };
        let text = before.get("name").text();
        let runs =
            |now: &Value| now.get("name").text() == text && now.at(&["state", "terminated"]).is_none_or(Value::is_null);
        if !new.array_at(&["status", field]).iter().any(runs) {
            continue;
        }
        let declared = list.and_then(|list| spec.get(list).items().iter().find(|c| c.get("name").text() == text));
        if !declared.is_some_and(|container| may_restart(container, spec, ended.get("exitCode").number())) {
            errors.forbidden(&at.index(n).child("state"), "may not be transitioned to non-terminated state");
        }
    }
}

fn rules(container: &Value) -> &[Value] {
    container.get("restartPolicyRules").items()
}

/// Whether the exit of one container may start all of them again.
fn restarts_all(spec: &Value) -> bool {
    let lists = ["initContainers", "containers"].into_iter().flat_map(|list| spec.get(list).items());
    lists.flat_map(rules).any(|rule| rule.get("action").text() == "RestartAllContainers")
}

fn may_restart(container: &Value, spec: &Value, code: i64) -> bool {
    let applies = |rule: &&Value| {
        let named = rule.at(&["exitCodes", "values"]).items().iter().any(|value| value.as_i64() == Some(code));
        match rule.at(&["exitCodes", "operator"]).text() {
            "In" => named,
            "NotIn" => !named,
            _ => false,
        }
    };
    if let Some(rule) = rules(container).iter().find(applies) {
        return rule.get("action").text() == "Restart";
    }
    let policy = match container.get("restartPolicy").text() {
        "" => spec.get("restartPolicy").text(),
        own => own,
    };
    match policy {
        "Always" => true,
        "OnFailure" => code != 0,
        _ => false,
    }
}

fn check_addresses(pod: &Value, errors: &mut Errors) {
    let top = Path::new("status");
    for field in ["podIPs", "hostIPs"] {
        let at = top.child(field);
        let list = pod.array_at(&["status", field]);
        for (n, entry) in list.iter().enumerate() {
            name::ip(entry.get("ip").text(), &at.index(n), errors);
        }
        if field == "hostIPs"
            && let Some(first) = list.first()
            && first.get("ip").text() != pod.at(&["status", "hostIP"]).text()
        {
            let item = at.index(0);
            errors.invalid(&item.child("ip"), first.get("ip").text(), "must be equal to `hostIP`");
        }
        let six = |entry: &Value| entry.get("ip").text().contains(':');
        if list.len() > 1 {
            if list.len() > 2 || six(&list[0]) == six(&list[1]) {
                let all = Value::Array(list.to_vec());
                errors.invalid(&at, all, "may specify no more than one IP for each IP family");
            }
            for (n, entry) in list.iter().enumerate() {
                if list[..n].iter().any(|e| e.get("ip") == entry.get("ip")) {
                    errors.duplicate(&at.index(n), entry);
                }
            }
        }
    }
}
