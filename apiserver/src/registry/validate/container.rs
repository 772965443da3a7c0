//! Containers of a pod: what all three lists have in common, and what each may and may not.

use gantry_machinery::value::Value;
use smallvec::SmallVec;

use super::env::{check_env, check_env_from};
use super::probe::{Probe, check_lifecycle, check_probe};
use super::resources::check_requirements;
use super::security::{check_choice, check_context};
use super::view::{Held, view};
use super::volume::{Volumes, check_devices, check_mounts};
use super::{Errors, Path, name};

view! {
    struct Container {
        name: "name",
        image: "image",
        message_policy: "terminationMessagePolicy",
        ports: "ports",
        env: "env",
        env_from: "envFrom",
        mounts: "volumeMounts",
        devices: "volumeDevices",
        pull_policy: "imagePullPolicy",
        resources: "resources",
        resize_policy: "resizePolicy",
        security: "securityContext",
        lifecycle: "lifecycle",
        liveness: "livenessProbe",
        readiness: "readinessProbe",
        startup: "startupProbe",
        restart_policy: "restartPolicy",
        restart_rules: "restartPolicyRules",
        target: "targetContainerName",
    }
}

impl<'a> Container<'a> {
    fn probes(&self) -> [(Probe, Option<&'a Value>); 3] {
        [(Probe::Liveness, self.liveness), (Probe::Readiness, self.readiness), (Probe::Startup, self.startup)]
    }
}

/// What containers are checked against: facts about their pod.
#[derive(Debug)]
pub struct Pod<'a> {
    /// The volumes they may mount.
    pub volumes: Volumes<'a>,
    /// The claims they may name.
    pub claims: &'a [Value],
    /// The pod's `restartPolicy`.
    pub restart_policy: &'a str,
    /// The pod's `terminationGracePeriodSeconds`.
    pub grace: Option<i64>,
    /// Whether it shares the host's user namespace.
    pub host_users: bool,
}

/// `containers`.
pub fn check_containers(list: &[Value], pod: &Pod<'_>, at: &Path<'_>, errors: &mut Errors) {
    if list.is_empty() {
        return errors.required(at, "");
    }
    for (n, container) in list.iter().enumerate() {
        let item = at.index(n);
        let given = Container::of(container);
        check_common(&given, pod, &item, errors);
        let container_name = given.name.text();
        if list[..n].iter().any(|c| c.get("name").text() == container_name) {
            errors.duplicate(&item.child("name"), container_name);
        }
        check_hooks(&given, pod, &item, errors);
        check_restart(&given, &item, errors);
    }
    check_host_ports(list, at, errors);
}

/// `initContainers`, sidecars (`restartPolicy: Always`) among them.
pub fn check_init_containers(list: &[Value], regular: &[Value], pod: &Pod<'_>, at: &Path<'_>, errors: &mut Errors) {
    for (n, container) in list.iter().enumerate() {
        let item = at.index(n);
        let given = Container::of(container);
        check_common(&given, pod, &item, errors);
        let sidecar = given.restart_policy.text() == "Always";
        check_restart(&given, &item, errors);
        let container_name = given.name.text();
        if regular.iter().chain(&list[..n]).any(|c| c.get("name").text() == container_name) {
            errors.duplicate(&item.child("name"), container_name);
        }
        check_host_ports(std::slice::from_ref(container), at, errors);
        if sidecar {
            check_hooks(&given, pod, &item, errors);
        } else {
            const DETAIL: &str = "may not be set for init containers without restartPolicy=Always";
            if given.lifecycle.is_some() {
                errors.forbidden(&item.child("lifecycle"), DETAIL);
            }
            for (which, probe) in given.probes() {
                if probe.is_some() {
                    errors.forbidden(&item.child(which.field()), DETAIL);
                }
            }
            let policies = item.child("resizePolicy");
            for (n, policy) in given.resize_policy.items().iter().enumerate() {
                let restart = policy.get("restartPolicy").text();
                if restart == "RestartContainer" {
                    let detail = "must not be set to 'RestartContainer' for non-sidecar initContainers";
                    errors.invalid(&policies.index(n).child("restartPolicy"), restart, detail);
                }
            }
        }
    }
}

/// `ephemeralContainers`: nothing a service may rely on.
pub fn check_ephemeral_containers(
    list: &[Value],
    regular: &[Value],
    init: &[Value],
    pod: &Pod<'_>,
    at: &Path<'_>,
    errors: &mut Errors,
) {
    const DETAIL: &str = "cannot be set for an Ephemeral Container";
    let named = |c: &Value, text: &str| c.get("name").text() == text;
    for (n, container) in list.iter().enumerate() {
        let item = at.index(n);
        let given = Container::of(container);
        check_common(&given, pod, &item, errors);
        check_image_space(container, &item, errors);
        let container_name = given.name.text();
        if regular.iter().chain(init).chain(&list[..n]).any(|c| named(c, container_name)) {
            errors.duplicate(&item.child("name"), container_name);
        }
        let target = given.target.text();
        if !target.is_empty() && !regular.iter().chain(init).any(|c| named(c, target)) {
            errors.not_found(&item.child("targetContainerName"), target);
        }
        let empty_object = |v: &Value| v.as_object().is_some_and(gantry_machinery::value::Object::is_empty);
        let forbidden = [
            ("ports", given.ports.filter(|p| !p.as_array().is_some_and(<[Value]>::is_empty))),
            ("resources", given.resources.filter(|r| !empty_object(r))),
            ("resizePolicy", given.resize_policy.filter(|p| !p.as_array().is_some_and(<[Value]>::is_empty))),
            ("restartPolicy", given.restart_policy),
            ("restartPolicyRules", given.restart_rules.filter(|r| !r.as_array().is_some_and(<[Value]>::is_empty))),
            ("livenessProbe", given.liveness),
            ("readinessProbe", given.readiness),
            ("startupProbe", given.startup),
            ("lifecycle", given.lifecycle),
        ];
        for (field, value) in forbidden {
            if value.is_some() {
                errors.forbidden(&item.child(field), DETAIL);
            }
        }
        let mounts = item.child("volumeMounts");
        for (n, mount) in given.mounts.items().iter().enumerate() {
            for field in ["subPath", "subPathExpr"] {
                if !mount.get(field).text().is_empty() {
                    errors.forbidden(&mounts.index(n).child(field), DETAIL);
                }
            }
        }
    }
}

/// The image of a pod's container (not of a template's) has no spaces around it.
pub fn check_image_space(container: &Value, at: &Path<'_>, errors: &mut Errors) {
    let image = container.get("image").text();
    if image.trim().len() != image.len() {
        errors.invalid(&at.child("image"), image, "must not have leading or trailing whitespace");
    }
}

fn check_common(given: &Container<'_>, pod: &Pod<'_>, at: &Path<'_>, errors: &mut Errors) {
    match given.name.text() {
        "" => errors.required(&at.child("name"), ""),
        text => name::label(text, &at.child("name"), errors),
    }
    if given.image.text().is_empty() {
        errors.required(&at.child("image"), "");
    }
    let policies = &["File", "FallbackToLogsOnError"];
    name::one_of(given.message_policy.text(), policies, &at.child("terminationMessagePolicy"), errors);
    check_ports(given.ports.items(), &at.child("ports"), errors);
    check_env(given.env.items(), &at.child("env"), errors);
    check_env_from(given.env_from.items(), &at.child("envFrom"), errors);
    let (mounts, devices) = (given.mounts.items(), given.devices.items());
    let privileged = given.security.and_then(|s| s.get("privileged")).truth();
    check_mounts(mounts, devices, &pod.volumes, privileged, &at.child("volumeMounts"), errors);
    check_devices(devices, mounts, &pod.volumes, &at.child("volumeDevices"), errors);
    let policies = &["Always", "IfNotPresent", "Never"];
    name::one_of(given.pull_policy.text(), policies, &at.child("imagePullPolicy"), errors);
    if let Some(resources) = given.resources {
        check_requirements(resources, pod.claims, &at.child("resources"), errors);
    }
    check_resize(given.resize_policy.items(), pod.restart_policy, &at.child("resizePolicy"), errors);
    if let Some(security) = given.security {
        check_context(security, pod.host_users, &at.child("securityContext"), errors);
    }
}

fn check_hooks(given: &Container<'_>, pod: &Pod<'_>, at: &Path<'_>, errors: &mut Errors) {
    if let Some(lifecycle) = given.lifecycle {
        check_lifecycle(lifecycle, pod.grace, &at.child("lifecycle"), errors);
    }
    for (which, probe) in given.probes() {
        if let Some(probe) = probe {
            check_probe(probe, which, &at.child(which.field()), errors);
        }
    }
}

/// A container's own restart policy and rules (KEP-5307).
fn check_restart(given: &Container<'_>, at: &Path<'_>, errors: &mut Errors) {
    let policy_at = at.child("restartPolicy");
    let given_rules = given.restart_rules.items();
    match given.restart_policy {
        None if given_rules.is_empty() => return,
        None => errors.required(&policy_at, "must specify restartPolicy when restart rules are used"),
        Some(_) => check_choice(given.restart_policy, &["Always", "Never", "OnFailure"], &policy_at, errors),
    }
    let rules = at.child("restartPolicyRules");
    if given_rules.len() > 20 {
        errors.too_many(&rules, given_rules.len(), 20);
    }
    let must = |value: &str, allowed: &[&str], at: &Path<'_>, errors: &mut Errors| {
        if !allowed.contains(&value) {
            errors.not_supported(at, value, allowed);
        }
    };
    for (n, rule) in given_rules.iter().enumerate() {
        let at = rules.index(n);
        must(rule.get("action").text(), &["Restart", "RestartAllContainers"], &at.child("action"), errors);
        let at = at.child("exitCodes");
        match rule.get("exitCodes").filter(|codes| !codes.is_null()) {
            None => errors.required(&at, "must be specified"),
            Some(codes) => {
                must(codes.get("operator").text(), &["In", "NotIn"], &at.child("operator"), errors);
                let values = codes.get("values").items().len();
                if values > 255 {
                    errors.too_many(&at.child("values"), values, 255);
                }
            }
        }
    }
}

view! {
    struct Port { name: "name", container: "containerPort", host: "hostPort", protocol: "protocol", host_ip: "hostIP" }
}

/// The protocols of ports.
pub const PROTOCOLS: &[&str] = &["SCTP", "TCP", "UDP"];

fn check_ports(ports: &[Value], at: &Path<'_>, errors: &mut Errors) {
    for (n, port) in ports.iter().enumerate() {
        let at = at.index(n);
        let given = Port::of(port);
        let port_name = given.name.text();
        if !port_name.is_empty() {
            let before = errors.len();
            name::port_name(port_name, &at.child("name"), errors);
            if errors.len() == before && ports[..n].iter().any(|p| p.get("name").text() == port_name) {
                errors.duplicate(&at.child("name"), port_name);
            }
        }
        match given.container.number() {
            0 => errors.required(&at.child("containerPort"), ""),
            number => name::port_number(number, &at.child("containerPort"), errors),
        }
        if given.host.number() != 0 {
            name::port_number(given.host.number(), &at.child("hostPort"), errors);
        }
        name::one_of(given.protocol.text(), PROTOCOLS, &at.child("protocol"), errors);
    }
}

fn check_host_ports(list: &[Value], at: &Path<'_>, errors: &mut Errors) {
    let mut taken: SmallVec<[(&str, &str, i64); 8]> = SmallVec::new();
    for (n, container) in list.iter().enumerate() {
        for (m, port) in container.get("ports").items().iter().enumerate() {
            let given = Port::of(port);
            let host = given.host.number();
            if host == 0 {
                continue;
            }
            let key = (given.protocol.text(), given.host_ip.text(), host);
            if taken.contains(&key) {
                let item = at.index(n);
                let ports = item.child("ports");
                let port = ports.index(m);
                errors.duplicate(&port.child("hostPort"), format!("{}/{}/{}", key.0, key.1, key.2));
            } else {
                taken.push(key);
            }
        }
    }
}

fn check_resize(policies: &[Value], pod_policy: &str, at: &Path<'_>, errors: &mut Errors) {
    for (n, policy) in policies.iter().enumerate() {
        let (resource, restart) = (policy.get("resourceName").text(), policy.get("restartPolicy").text());
        if policies[..n].iter().any(|p| p.get("resourceName").text() == resource) {
            errors.duplicate(&at.index(n), resource);
        }
        name::one_of(resource, &["cpu", "memory"], at, errors);
        name::one_of(restart, &["NotRequired", "RestartContainer"], at, errors);
        if pod_policy == "Never" && restart != "NotRequired" {
            errors.invalid(at, restart, "must be 'NotRequired' when pod `restartPolicy` is 'Never'");
        }
    }
}
