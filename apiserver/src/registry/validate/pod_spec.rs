//! The spec of a pod, standing alone or in a template.
//!
//! The order of the checks is upstream's, so that the causes of a bad pod come in the same order.

use gantry_machinery::names;
use gantry_machinery::value::Value;

use super::affinity::{check_affinity, check_spread, check_tolerations};
use super::container::{self, check_containers, check_ephemeral_containers, check_init_containers};
use super::env::check_file_volumes;
use super::labels::check_labels;
use super::resources::{check_overhead, check_pod_requirements};
use super::security::{check_host_process, check_os, check_pod_context};
use super::view::{Held, view};
use super::volume::check_volumes;
use super::{Errors, Path, name};

view! {
    struct Spec {
        volumes: "volumes",
        claims: "resourceClaims",
        containers: "containers",
        init: "initContainers",
        ephemeral: "ephemeralContainers",
        restart_policy: "restartPolicy",
        grace: "terminationGracePeriodSeconds",
        deadline: "activeDeadlineSeconds",
        dns_policy: "dnsPolicy",
        dns_config: "dnsConfig",
        node_selector: "nodeSelector",
        node_name: "nodeName",
        account: "serviceAccountName",
        host_network: "hostNetwork",
        host_users: "hostUsers",
        security: "securityContext",
        pull_secrets: "imagePullSecrets",
        hostname: "hostname",
        subdomain: "subdomain",
        hostname_override: "hostnameOverride",
        affinity: "affinity",
        tolerations: "tolerations",
        host_aliases: "hostAliases",
        priority_class: "priorityClassName",
        preemption: "preemptionPolicy",
        readiness_gates: "readinessGates",
        scheduling_gates: "schedulingGates",
        spread: "topologySpreadConstraints",
        runtime_class: "runtimeClassName",
        overhead: "overhead",
        os: "os",
        resources: "resources",
    }
}

/// Whose spec it is: a pod's own is held to a little more than a template's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner<'a> {
    /// A pod of this name.
    Pod(&'a str),
    /// A template.
    Template,
}

/// The whole spec, after defaulting.
pub fn check_spec(spec: &Value, owner: Owner<'_>, at: &Path<'_>, errors: &mut Errors) {
    let given = Spec::of(spec);
    let pod_name = match owner {
        Owner::Pod(name) => name,
        Owner::Template => "",
    };
    if given.grace.is_none() {
        errors.required(&at.child("terminationGracePeriodSeconds"), "");
    }
    let volumes = check_volumes(given.volumes.items(), pod_name, &at.child("volumes"), errors);
    check_claims(given.claims.items(), &at.child("resourceClaims"), errors);
    let pod = container::Pod {
        volumes,
        claims: given.claims.items(),
        restart_policy: given.restart_policy.text(),
        grace: given.grace.int(),
        host_users: given.host_users.and_then(Value::as_bool) != Some(false),
    };
    let (regular, init) = (given.containers.items(), given.init.items());
    check_containers(regular, &pod, &at.child("containers"), errors);
    check_init_containers(init, regular, &pod, &at.child("initContainers"), errors);
    let ephemeral = given.ephemeral.items();
    check_ephemeral_containers(ephemeral, regular, init, &pod, &at.child("ephemeralContainers"), errors);
    if let Some(resources) = given.resources {
        if given.os.and_then(|os| os.get("name")).text() == "windows" {
            errors.forbidden(&at.child("resources"), "may not be set for a windows pod");
        } else {
            check_pod_requirements(resources, spec, &at.child("resources"), errors);
        }
    }
    if given.host_network.truth() {
        check_host_network(regular, owner, &at.child("containers"), errors);
    }
    let policies = &["Always", "OnFailure", "Never"];
    name::one_of(given.restart_policy.text(), policies, &at.child("restartPolicy"), errors);
    let policies = &["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"];
    name::one_of(given.dns_policy.text(), policies, &at.child("dnsPolicy"), errors);
    check_labels(given.node_selector, &at.child("nodeSelector"), errors);
    if let Some(security) = given.security {
        check_pod_context(security, spec, &at.child("securityContext"), errors);
    }
    if let Some(affinity) = given.affinity {
        check_affinity(affinity, &at.child("affinity"), errors);
    }
    check_dns(&given, &at.child("dnsConfig"), errors);
    let gates = at.child("readinessGates");
    for (n, gate) in given.readiness_gates.items().iter().enumerate() {
        name::qualified(gate.get("conditionType").text(), &gates.index(n).child("conditionType"), errors);
    }
    check_gates(given.scheduling_gates.items(), &at.child("schedulingGates"), errors);
    check_spread(given.spread.items(), &at.child("topologySpreadConstraints"), errors);
    check_host_process(spec, at, errors);
    if !pod.host_users {
        check_user_namespace(spec, at, errors);
    }
    check_hostname_override(&given, spec, at, errors);
    check_names(&given, at, errors);
    if let Some(value) = given.deadline.int() {
        name::range(value, 1, i64::from(i32::MAX), &at.child("activeDeadlineSeconds"), errors);
    }
    check_host_names(&given, at, errors);
    check_tolerations(given.tolerations.items(), &at.child("tolerations"), errors);
    check_host_aliases(given.host_aliases.items(), &at.child("hostAliases"), errors);
    check_classes(&given, at, errors);
    if let Some(overhead) = given.overhead {
        check_overhead(overhead, &at.child("overhead"), errors);
    }
    if let Some(os) = given.os {
        let at_os = at.child("os");
        match os.get("name").text() {
            "" => errors.required(&at_os.child("name"), ""),
            "linux" | "windows" => check_os(spec, at, errors),
            other => errors.not_supported(&at_os, other, &["linux", "windows"]),
        }
    }
    if let Some(group) = spec.get("schedulingGroup").filter(|group| !group.is_null()) {
        check_group(group, &at.child("schedulingGroup"), errors);
    }
    check_file_volumes(spec, at, errors);
}

fn check_names(given: &Spec<'_>, at: &Path<'_>, errors: &mut Errors) {
    for (field, value) in [("serviceAccountName", given.account), ("nodeName", given.node_name)] {
        if !value.text().is_empty() {
            name::subdomain(value.text(), &at.child(field), errors);
        }
    }
}

fn check_host_names(given: &Spec<'_>, at: &Path<'_>, errors: &mut Errors) {
    for (field, value) in [("hostname", given.hostname), ("subdomain", given.subdomain)] {
        if !value.text().is_empty() {
            name::label(value.text(), &at.child(field), errors);
        }
    }
}

fn check_hostname_override(given: &Spec<'_>, spec: &Value, at: &Path<'_>, errors: &mut Errors) {
    let Some(value) = given.hostname_override else { return };
    let at = at.child("hostnameOverride");
    let text = value.as_str().unwrap_or_default();
    if spec.get("setHostnameAsFQDN").truth() {
        errors.forbidden(&at, "may not be specified when setHostnameAsFQDN is true");
    }
    if given.host_network.truth() {
        errors.forbidden(&at, "may not be specified when hostNetwork is true");
    }
    if text.len() > 64 {
        errors.too_long(&at, 64);
    }
    name::subdomain(text, &at, errors);
}

fn check_classes(given: &Spec<'_>, at: &Path<'_>, errors: &mut Errors) {
    if !given.priority_class.text().is_empty() {
        name::subdomain(given.priority_class.text(), &at.child("priorityClassName"), errors);
    }
    if let Some(class) = given.runtime_class {
        name::subdomain(class.as_str().unwrap_or_default(), &at.child("runtimeClassName"), errors);
    }
    if let Some(policy) = given.preemption {
        let policies = &["PreemptLowerPriority", "Never"];
        name::one_of(policy.as_str().unwrap_or_default(), policies, &at.child("preemptionPolicy"), errors);
    }
}

view! {
    struct Claim { name: "name", claim: "resourceClaimName", template: "resourceClaimTemplateName" }
}

fn check_claims(claims: &[Value], at: &Path<'_>, errors: &mut Errors) {
    for (n, claim) in claims.iter().enumerate() {
        let at = at.index(n);
        let given = Claim::of(claim);
        let claim_name = given.name.text();
        if claim_name.is_empty() {
            errors.required(&at.child("name"), "");
        } else if claims[..n].iter().any(|c| c.get("name").text() == claim_name) {
            errors.duplicate(&at.child("name"), claim_name);
        } else {
            name::label(claim_name, &at.child("name"), errors);
        }
        match (given.claim, given.template) {
            (Some(_), Some(_)) => {
                let detail = "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified";
                errors.invalid(&at, claim, detail);
            }
            (None, None) => {
                let detail = "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`";
                errors.invalid(&at, claim, detail);
            }
            _ => {}
        }
        for (field, value) in [("resourceClaimName", given.claim), ("resourceClaimTemplateName", given.template)] {
            if let Some(value) = value {
                name::subdomain(value.as_str().unwrap_or_default(), &at.child(field), errors);
            }
        }
    }
}

fn check_host_network(containers: &[Value], owner: Owner<'_>, at: &Path<'_>, errors: &mut Errors) {
    for (n, container) in containers.iter().enumerate() {
        let item = at.index(n);
        let ports = item.child("ports");
        for (m, port) in container.get("ports").items().iter().enumerate() {
            let (host, own) = (port.get("hostPort").number(), port.get("containerPort").number());
            // A template's port is filled in when the pod is made.
            if host != own && (host != 0 || owner != Owner::Template) {
                let detail = "must match `containerPort` when `hostNetwork` is true";
                errors.invalid(&ports.index(m).child("hostPort"), host, detail);
            }
        }
    }
}

fn check_user_namespace(spec: &Value, at: &Path<'_>, errors: &mut Errors) {
    // The field names in these paths are upstream's.
    for (field, shown) in [("hostNetwork", "hostNetwork"), ("hostPID", "HostPID"), ("hostIPC", "HostIPC")] {
        if spec.get(field).truth() {
            errors.forbidden(&at.child(shown), "when `hostUsers` is false");
        }
    }
    // Devices are neither mapped to other users nor given to them.
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        let list_at = at.child(list);
        for (n, container) in spec.get(list).items().iter().enumerate() {
            if !container.get("volumeDevices").items().is_empty() {
                errors.forbidden(&list_at.index(n).child("volumeDevices"), "when `hostUsers` is false");
            }
        }
    }
}

fn check_dns(given: &Spec<'_>, at: &Path<'_>, errors: &mut Errors) {
    let config = given.dns_config;
    let servers = config.and_then(|c| c.get("nameservers")).items();
    if given.dns_policy.text() == "None" {
        if config.is_none() {
            return errors.required(at, "must provide `dnsConfig` when `dnsPolicy` is None");
        }
        if servers.is_empty() {
            let detail = "must provide at least one DNS nameserver when `dnsPolicy` is None";
            return errors.required(&at.child("nameservers"), detail);
        }
    }
    let Some(config) = config else { return };
    let servers_at = at.child("nameservers");
    if servers.len() > 3 {
        errors.invalid(&servers_at, config.get("nameservers"), "must not have more than 3 nameservers");
    }
    for (n, server) in servers.iter().enumerate() {
        name::ip(server.as_str().unwrap_or_default(), &servers_at.index(n), errors);
    }
    let searches_at = at.child("searches");
    let searches = config.get("searches").items();
    if searches.len() > 32 {
        errors.invalid(&searches_at, config.get("searches"), "must not have more than 32 search paths");
    }
    let length: usize = searches.iter().map(|s| s.as_str().map_or(0, str::len) + 1).sum();
    if length > 2048 + 1 {
        let detail = "must not have more than 2048 characters (including spaces) in the search list";
        errors.invalid(&searches_at, config.get("searches"), detail);
    }
    for (n, search) in searches.iter().enumerate() {
        let search = search.as_str().unwrap_or_default();
        // A single dot and underscores are allowed (RelaxedDNSSearchValidation).
        if search != "." {
            let plain = search.strip_suffix('.').unwrap_or(search);
            name::subdomain_with_underscores(plain, &searches_at.index(n), errors);
        }
    }
    let options = at.child("options");
    for (n, option) in config.get("options").items().iter().enumerate() {
        if option.get("name").text().is_empty() {
            errors.required(&options.index(n), "must not be empty");
        }
    }
}

/// The PodGroup that a pod belongs to.
fn check_group(group: &Value, at: &Path<'_>, errors: &mut Errors) {
    let name = group.get("podGroupName").text();
    if name.is_empty() {
        return errors.invalid(at, "", "must specify one of: `podGroupName`");
    }
    for wrong in names::dns_subdomain(name) {
        errors.invalid(&at.child("podGroupName"), name, wrong);
    }
}

fn check_gates(gates: &[Value], at: &Path<'_>, errors: &mut Errors) {
    for (n, gate) in gates.iter().enumerate() {
        let gate = gate.get("name").text();
        name::qualified(gate, &at.index(n), errors);
        if gates[..n].iter().any(|g| g.get("name").text() == gate) {
            errors.duplicate(&at.index(n), gate);
        }
    }
}

fn check_host_aliases(aliases: &[Value], at: &Path<'_>, errors: &mut Errors) {
    for (n, alias) in aliases.iter().enumerate() {
        let at = at.index(n);
        name::ip(alias.get("ip").text(), &at.child("ip"), errors);
        let names = at.child("hostnames");
        for (n, host) in alias.get("hostnames").items().iter().enumerate() {
            name::subdomain(host.as_str().unwrap_or_default(), &names.index(n), errors);
        }
    }
}
