//! The rules for services.

use gantry_machinery::value::Value;

use crate::registry::validate::container::PROTOCOLS;
use crate::registry::validate::labels::check_labels;
use crate::registry::validate::view::{Held, view};
use crate::registry::validate::{Errors, Path, name};

view! {
    struct Spec {
        kind: "type",
        ports: "ports",
        selector: "selector",
        cluster_ip: "clusterIP",
        cluster_ips: "clusterIPs",
        families: "ipFamilies",
        family_policy: "ipFamilyPolicy",
        external_name: "externalName",
        external_ips: "externalIPs",
        affinity: "sessionAffinity",
        affinity_config: "sessionAffinityConfig",
        source_ranges: "loadBalancerSourceRanges",
        allocate_ports: "allocateLoadBalancerNodePorts",
        class: "loadBalancerClass",
        outside_policy: "externalTrafficPolicy",
        inside_policy: "internalTrafficPolicy",
        health_port: "healthCheckNodePort",
        distribution: "trafficDistribution",
    }
}

const POLICIES: &[&str] = &["Cluster", "Local"];
const ONLY_BALANCED: &str = "may only be used when `type` is 'LoadBalancer'";
const ONCE: &str = "may not change once set";

/// A whole service, new (`old` is none) or changed.
pub(super) fn check(service: &Value, old: Option<&Value>, errors: &mut Errors) {
    let null = Value::Null;
    let at = Path::new("spec");
    let spec = Spec::of(service.get("spec").unwrap_or(&null));
    let was = old.map(|o| Spec::of(o.get("spec").unwrap_or(&null)));
    if let Some(was) = &was {
        check_address_change(&spec, was, &at, errors);
        check_family_change(&spec, was, &at, errors);
        if is_balanced(&spec) && is_balanced(was) && spec.class.text() != was.class.text() {
            errors.invalid(&at.child("loadBalancerClass"), spec.class, ONCE);
        }
        let health = |s: &Spec<'_>| needs_health(s).then(|| s.health_port.number());
        if let (Some(now), Some(before)) = (health(&spec), health(was))
            && now != before
        {
            errors.forbidden(&at.child("healthCheckNodePort"), "field is immutable");
        }
    }
    check_hints(service, errors);
    check_type(&spec, &at, errors);
    check_ports(&spec, &at.child("ports"), errors);
    check_labels(spec.selector, &at.child("selector"), errors);
    check_affinity(&spec, &at, errors);
    if spec.kind.text() != "ExternalName" {
        check_addresses(&spec, &at, errors);
    }
    check_external_ips(spec.external_ips.items(), &at.child("externalIPs"), errors);
    let kinds = &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
    name::one_of(spec.kind.text(), kinds, &at.child("type"), errors);
    check_port_conflicts(&spec, &at.child("ports"), errors);
    check_balancer(&spec, service.at(&["metadata", "annotations"]), &at, errors);
    check_policies(&spec, &at, errors);
}

fn is_balanced(spec: &Spec<'_>) -> bool {
    spec.kind.text() == "LoadBalancer"
}

fn is_headless(spec: &Spec<'_>) -> bool {
    spec.cluster_ips.items().first().and_then(Value::as_str) == Some("None")
}

fn needs_health(spec: &Spec<'_>) -> bool {
    is_balanced(spec) && spec.outside_policy.text() == "Local"
}

fn check_type(spec: &Spec<'_>, at: &Path<'_>, errors: &mut Errors) {
    let kind = spec.kind.text();
    if spec.ports.items().is_empty() && !is_headless(spec) && kind != "ExternalName" {
        errors.required(&at.child("ports"), "");
    }
    let ips = at.child("clusterIPs");
    match kind {
        "LoadBalancer" | "NodePort" if is_headless(spec) => {
            let detail = format!("may not be set to 'None' for {kind} services");
            errors.invalid(&ips.index(0), "None", detail);
        }
        "ExternalName" => {
            const DETAIL: &str = "may not be set for ExternalName services";
            if !spec.cluster_ips.items().is_empty() {
                errors.forbidden(&ips, DETAIL);
            }
            if !spec.families.items().is_empty() {
                errors.forbidden(&at.child("ipFamilies"), DETAIL);
            }
            if spec.family_policy.is_some() {
                errors.forbidden(&at.child("ipFamilyPolicy"), DETAIL);
            }
            let host = spec.external_name.text();
            match host.strip_suffix('.').unwrap_or(host) {
                "" => errors.required(&at.child("externalName"), ""),
                host => name::subdomain(host, &at.child("externalName"), errors),
            }
        }
        _ => {}
    }
}

view! {
    struct Port {
        name: "name",
        protocol: "protocol",
        number: "port",
        target: "targetPort",
        node: "nodePort",
        app: "appProtocol",
    }
}

fn check_ports(spec: &Spec<'_>, at: &Path<'_>, errors: &mut Errors) {
    let ports = spec.ports.items();
    for (n, port) in ports.iter().enumerate() {
        let at = at.index(n);
        let given = Port::of(port);
        let port_name = given.name.text();
        if !port_name.is_empty() {
            name::label(port_name, &at.child("name"), errors);
            if ports[..n].iter().any(|p| p.get("name").text() == port_name) {
                errors.duplicate(&at.child("name"), port_name);
            }
        } else if ports.len() > 1 {
            errors.required(&at.child("name"), "");
        }
        name::port_number(given.number.number(), &at.child("port"), errors);
        name::one_of(given.protocol.text(), PROTOCOLS, &at.child("protocol"), errors);
        name::port(given.target, &at.child("targetPort"), errors);
        if let Some(app) = given.app {
            name::qualified(app.as_str().unwrap_or_default(), &at.child("appProtocol"), errors);
        }
    }
}

fn check_port_conflicts(spec: &Spec<'_>, at: &Path<'_>, errors: &mut Errors) {
    let ports = spec.ports.items();
    let protocol = |p: &Value| p.get("protocol").text().to_owned();
    for (n, port) in ports.iter().enumerate() {
        let node = port.get("nodePort").number();
        if node != 0 && spec.kind.text() == "ClusterIP" {
            errors.forbidden(&at.index(n).child("nodePort"), "may not be used when `type` is 'ClusterIP'");
        }
    }
    for (n, port) in ports.iter().enumerate() {
        let node = port.get("nodePort").number();
        let alike = |p: &Value| p.get("nodePort").number() == node && protocol(p) == protocol(port);
        if node != 0 && ports[..n].iter().any(alike) {
            errors.duplicate(&at.index(n).child("nodePort"), node);
        }
    }
    for (n, port) in ports.iter().enumerate() {
        let number = port.get("port").number();
        let alike = |p: &Value| p.get("port").number() == number && protocol(p) == protocol(port);
        if ports[..n].iter().any(alike) {
            let key = gantry_machinery::value!({"protocol": (protocol(port)), "port": number, "targetPort": 0});
            errors.duplicate(&at.index(n), key);
        }
    }
}

fn check_affinity(spec: &Spec<'_>, at: &Path<'_>, errors: &mut Errors) {
    let affinity = spec.affinity.text();
    name::one_of(affinity, &["ClientIP", "None"], &at.child("sessionAffinity"), errors);
    let at = at.child("sessionAffinityConfig");
    match affinity {
        "ClientIP" => {
            let seconds = spec.affinity_config.and_then(|c| c.at(&["clientIP", "timeoutSeconds"])).int();
            let client = at.child("clientIP");
            match seconds {
                None => errors.required(&client.child("timeoutSeconds"), "when session affinity type is ClientIP"),
                Some(seconds) if !(1..=86400).contains(&seconds) => {
                    let detail = "must be greater than 0 and less than 86400";
                    errors.invalid(&client.child("timeoutSeconds"), seconds, detail);
                }
                Some(_) => {}
            }
        }
        "None" if spec.affinity_config.is_some() => {
            errors.forbidden(&at, "must not be set when session affinity is None");
        }
        _ => {}
    }
}

fn check_addresses(spec: &Spec<'_>, at: &Path<'_>, errors: &mut Errors) {
    let list_at = at.child("clusterIPs");
    let list = spec.cluster_ips.items();
    let first = spec.cluster_ip.text();
    if first.is_empty() {
        if !list.is_empty() {
            errors.invalid(&list_at, spec.cluster_ips, "must be empty when `clusterIP` is not specified");
        }
    } else if list.is_empty() {
        errors.required(&list_at, "");
    } else if list[0].as_str() != Some(first) {
        errors.invalid(&list_at, spec.cluster_ips, "first value must match `clusterIP`");
    }
    let families = spec.families.items();
    let families_at = at.child("ipFamilies");
    for (n, family) in families.iter().enumerate() {
        let text = family.as_str().unwrap_or_default();
        if !matches!(text, "IPv4" | "IPv6") {
            errors.not_supported(&families_at.index(n), text, &["IPv4", "IPv6"]);
        }
        if families[..n].contains(family) {
            errors.duplicate(&families_at.index(n), text);
        }
    }
    if let Some(policy) = spec.family_policy {
        let policies = &["PreferDualStack", "RequireDualStack", "SingleStack"];
        if !policies.contains(&policy.as_str().unwrap_or_default()) {
            errors.not_supported(&at.child("ipFamilyPolicy"), policy.as_str().unwrap_or_default(), policies);
        }
    }
    let before = errors.len();
    for (n, ip) in list.iter().enumerate() {
        let ip = ip.as_str().unwrap_or_default();
        if n == 0 && ip == "None" {
            if list.len() > 1 {
                errors.invalid(&list_at, spec.cluster_ips, "'None' must be the first and only value");
            }
        } else {
            name::ip(ip, &list_at.index(n), errors);
        }
    }
    if list.len() > 2 {
        errors.invalid(&list_at, spec.cluster_ips, "may only hold up to 2 values");
    }
    if errors.len() > before {
        return;
    }
    let six = |ip: &Value| ip.as_str().is_some_and(|t| t.contains(':'));
    if let [one, other] = list
        && six(one) == six(other)
    {
        errors.invalid(&list_at, spec.cluster_ips, "may specify no more than one IP for each IP family");
    }
    if !is_headless(spec) {
        for (n, (ip, family)) in list.iter().zip(families).enumerate() {
            let family = family.as_str().unwrap_or_default();
            if (family == "IPv6") != six(ip) {
                let detail = format!("expected an {family} value as indicated by `ipFamilies[{n}]`");
                errors.invalid(&list_at.index(n), ip, detail);
            }
        }
    }
}

fn check_external_ips(list: &[Value], at: &Path<'_>, errors: &mut Errors) {
    for (n, ip) in list.iter().enumerate() {
        let at = at.index(n);
        let text = ip.as_str().unwrap_or_default();
        let before = errors.len();
        name::ip(text, &at, errors);
        if errors.len() == before {
            check_ordinary_ip(text, &at, errors);
        }
    }
}

/// An address that another host could have.
pub(in crate::registry::kinds) fn check_ordinary_ip(text: &str, at: &Path<'_>, errors: &mut Errors) {
    let Ok(ip) = text.parse::<std::net::IpAddr>() else {
        return errors.invalid(at, text, "must be a valid IP address");
    };
    let (link_local, link_multicast) = match ip {
        std::net::IpAddr::V4(ip) => (ip.is_link_local(), ip.octets()[..3] == [224, 0, 0]),
        std::net::IpAddr::V6(ip) => (ip.segments()[0] & 0xffc0 == 0xfe80, ip.segments()[0] & 0xff0f == 0xff02),
    };
    if ip.is_unspecified() {
        errors.invalid(at, text, format!("may not be unspecified ({text})"));
    }
    if ip.is_loopback() {
        errors.invalid(at, text, "may not be in the loopback range (127.0.0.0/8, ::1/128)");
    }
    if link_local {
        errors.invalid(at, text, "may not be in the link-local range (169.254.0.0/16, fe80::/10)");
    }
    if link_multicast {
        errors.invalid(at, text, "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)");
    }
}

/// The annotation that asks for topology hints, and its old name.
fn check_hints(service: &Value, errors: &mut Errors) {
    const OLD: &str = "service.kubernetes.io/topology-aware-hints";
    const NEW: &str = "service.kubernetes.io/topology-mode";
    let annotation = |key: &str| service.str_at(&["metadata", "annotations", key]);
    if let (Some(old), Some(new)) = (annotation(OLD), annotation(NEW))
        && old != new
    {
        let at = Path::new("metadata.annotations");
        errors.invalid(&at.key(NEW), new, format!("must match annotations[{OLD}] when both are specified"));
    }
}

/// The annotation that says what [`Spec::source_ranges`] says now.
const SOURCE_RANGES: &str = "service.beta.kubernetes.io/load-balancer-source-ranges";

fn check_balancer(spec: &Spec<'_>, annotations: Option<&Value>, at: &Path<'_>, errors: &mut Errors) {
    let ranges = spec.source_ranges.items();
    if !ranges.is_empty() {
        let at = at.child("LoadBalancerSourceRanges");
        if !is_balanced(spec) {
            errors.forbidden(&at, ONLY_BALANCED);
        }
        for (n, range) in ranges.iter().enumerate() {
            name::cidr(range.as_str().unwrap_or_default().trim(), &at.index(n), errors);
        }
    } else if let Some(ranges) = annotations.and_then(|all| all.str_at(&[SOURCE_RANGES])) {
        let at = Path::new("metadata.annotations");
        let at = at.key(SOURCE_RANGES);
        if !is_balanced(spec) {
            errors.forbidden(&at, ONLY_BALANCED);
        }
        for range in ranges.split(',').filter(|_| !ranges.trim().is_empty()) {
            name::cidr(range.trim(), &at, errors);
        }
    }
    if spec.allocate_ports.is_some() && !is_balanced(spec) {
        errors.forbidden(&at.child("allocateLoadBalancerNodePorts"), ONLY_BALANCED);
    }
    if let Some(class) = spec.class {
        let at = at.child("loadBalancerClass");
        if is_balanced(spec) {
            name::qualified(class.as_str().unwrap_or_default(), &at, errors);
        } else {
            errors.forbidden(&at, ONLY_BALANCED);
        }
    }
}

fn check_policies(spec: &Spec<'_>, at: &Path<'_>, errors: &mut Errors) {
    let kind = spec.kind.text();
    let external =
        matches!(kind, "NodePort" | "LoadBalancer") || (kind == "ClusterIP" && !spec.external_ips.items().is_empty());
    let outside = at.child("externalTrafficPolicy");
    if external {
        name::one_of(spec.outside_policy.text(), POLICIES, &outside, errors);
    } else if !spec.outside_policy.text().is_empty() {
        let detail = "may only be set for externally-accessible services";
        errors.invalid(&outside, spec.outside_policy.text(), detail);
    }
    let health = spec.health_port.number();
    if health != 0 {
        let at = at.child("healthCheckNodePort");
        if needs_health(spec) {
            name::port_number(health, &at, errors);
        } else {
            let detail = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'";
            errors.invalid(&at, health, detail);
        }
    }
    let inside = at.child("internalTrafficPolicy");
    match spec.inside_policy {
        None if matches!(kind, "NodePort" | "LoadBalancer" | "ClusterIP") => errors.required(&inside, ""),
        None => {}
        Some(policy) => {
            let text = policy.as_str().unwrap_or_default();
            if !POLICIES.contains(&text) {
                errors.not_supported(&inside, text, POLICIES);
            }
        }
    }
    if let Some(distribution) = spec.distribution {
        let allowed = &["PreferClose", "PreferSameZone", "PreferSameNode"];
        let text = distribution.as_str().unwrap_or_default();
        if !allowed.contains(&text) {
            errors.not_supported(&at.child("trafficDistribution"), text, allowed);
        }
    }
}

fn check_address_change(spec: &Spec<'_>, was: &Spec<'_>, at: &Path<'_>, errors: &mut Errors) {
    if spec.kind.text() == "ExternalName" || was.kind.text() == "ExternalName" {
        return;
    }
    if is_headless(spec) && is_headless(was) {
        return;
    }
    check_pair("clusterIP", spec.cluster_ips.items(), was.cluster_ips.items(), spec, at, errors);
}

fn check_family_change(spec: &Spec<'_>, was: &Spec<'_>, at: &Path<'_>, errors: &mut Errors) {
    if spec.kind.text() == "ExternalName" || was.kind.text() == "ExternalName" {
        return;
    }
    // Headless services may say any families, and a change from or to one is told elsewhere.
    if is_headless(spec) || is_headless(was) {
        return;
    }
    check_pair("ipFamily", spec.families.items(), was.families.items(), spec, at, errors);
}

/// A list of one or two: the second may come and go, the first stays.
fn check_pair(what: &str, now: &[Value], was: &[Value], spec: &Spec<'_>, at: &Path<'_>, errors: &mut Errors) {
    let list_at = at.child(if what == "clusterIP" { "clusterIPs" } else { "ipFamilies" });
    let shown = Value::Array(now.to_vec());
    if now.len() == was.len() {
        for (n, _) in now.iter().zip(was).enumerate().filter(|(_, (now, was))| now != was) {
            // Upstream gives the first place whichever family it is.
            let n = if what == "clusterIP" { n } else { 0 };
            errors.invalid(&list_at.index(n), &shown, ONCE);
        }
        return;
    }
    if now.len() < was.len() && spec.cluster_ips.items().is_empty() {
        errors.invalid(&list_at.index(0), &shown, format!("primary {what} can not be unset"));
    }
    if let (Some(first), Some(before)) = (now.first(), was.first())
        && first != before
    {
        errors.invalid(&list_at.index(0), &shown, ONCE);
    }
    if now.len() == 1 && was.len() == 2 && spec.family_policy.text() != "SingleStack" {
        let detail = format!("must be set to 'SingleStack' when releasing the secondary {what}");
        errors.invalid(&at.child("ipFamilyPolicy"), spec.family_policy, detail);
    }
}

/// The status of a balanced service.
pub(super) fn check_status(service: &Value, errors: &mut Errors) {
    let at = Path::new("status.loadBalancer.ingress");
    let ingress = service.array_at(&["status", "loadBalancer", "ingress"]);
    if !ingress.is_empty() && service.at(&["spec", "type"]).text() != "LoadBalancer" {
        return errors.forbidden(&at, "may only be used when `spec.type` is 'LoadBalancer'");
    }
    for (n, entry) in ingress.iter().enumerate() {
        let at = at.index(n);
        let (ip, host) = (entry.get("ip").text(), entry.get("hostname").text());
        if !ip.is_empty() {
            name::ip(ip, &at.child("ip"), errors);
        }
        match entry.get("ipMode").and_then(Value::as_str) {
            None if !ip.is_empty() => errors.required(&at.child("ipMode"), "must be specified when `ip` is set"),
            None => {}
            Some(_) if ip.is_empty() => {
                errors.forbidden(&at.child("ipMode"), "may not be specified when `ip` is not set");
            }
            Some(mode) if !matches!(mode, "Proxy" | "VIP") => {
                errors.not_supported(&at.child("ipMode"), mode, &["Proxy", "VIP"]);
            }
            Some(_) => {}
        }
        if !host.is_empty() {
            name::subdomain(host, &at.child("hostname"), errors);
            if host.parse::<std::net::IpAddr>().is_ok() {
                errors.invalid(&at.child("hostname"), host, "must be a DNS name, not an IP address");
            }
        }
    }
}
