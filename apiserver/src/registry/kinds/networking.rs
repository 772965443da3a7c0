//! Ingress, IngressClass and NetworkPolicy: stored, defaulted and checked; proxies and network plugins act on them.

use gantry_machinery::names;
use gantry_machinery::value::Value;

use super::cells::{age_cell, name_cell, or_none, selector_cell, text_cell};
use super::field::{fill, fill_with};
use super::row;
use crate::registry::strategy::{Column, Strategy};
use crate::registry::validate::labels::check_selector;
use crate::registry::validate::view::{Held, view};
use crate::registry::validate::{Errors, Path, name, security};

/// Ingresses of `networking.k8s.io`.
#[derive(Debug)]
pub struct Ingresses;

impl Strategy for Ingresses {
    row!("networking.k8s.io", "v1", "ingresses");

    fn default(&self, ingress: &mut Value) {
        let status = ingress.force_object().object_entry("status");
        fill_with(status, "loadBalancer", Value::object);
    }

    fn check(&self, ingress: &Value, errors: &mut Errors) {
        check_ingress(ingress, errors);
        // The annotation is what there was before the field.
        const CLASS: &str = "kubernetes.io/ingress.class";
        let old = ingress.str_at(&["metadata", "annotations", CLASS]);
        let new = ingress.str_at(&["spec", "ingressClassName"]);
        if let (Some(old), Some(new)) = (old, new)
            && old != new
        {
            let at = Path::new("annotations");
            errors.invalid(&at.child(CLASS), old, "must match `ingressClassName` when both are specified");
        }
    }

    fn check_update(&self, new: &Value, _old: &Value, subresource: &str, errors: &mut Errors) {
        if subresource.is_empty() {
            return check_ingress(new, errors);
        }
        let at = Path::new("status.loadBalancer.ingress");
        for (n, entry) in new.array_at(&["status", "loadBalancer", "ingress"]).iter().enumerate() {
            let at = at.index(n);
            let (ip, host) = (entry.get("ip").text(), entry.get("hostname").text());
            if !ip.is_empty() {
                name::ip(ip, &at.child("ip"), errors);
            }
            if !host.is_empty() {
                name::subdomain(host, &at.child("hostname"), errors);
                if host.parse::<std::net::IpAddr>().is_ok() {
                    errors.invalid(&at.child("hostname"), host, "must be a DNS name, not an IP address");
                }
            }
        }
    }

    fn columns(&self) -> &'static [Column] {
        const {
            &[
                Column::name(),
                Column::string("Class"),
                Column::string("Hosts"),
                Column::string("Address"),
                Column::string("Ports"),
                Column::string("Age"),
            ]
        }
    }

    fn row(&self, ingress: &Value, now: i64) -> Vec<Value> {
        let hosts: Vec<&str> = ingress
            .array_at(&["spec", "rules"])
            .iter()
            .map(|rule| rule.get("host").text())
            .filter(|host| !host.is_empty())
            .collect();
        let hosts = match hosts.as_slice() {
            [] => "*".to_owned(),
            [a, b, c, rest @ ..] if !rest.is_empty() => format!("{a},{b},{c} + {} more...", rest.len()),
            all => all.join(","),
        };
        let mut addresses: Vec<&str> = ingress
            .array_at(&["status", "loadBalancer", "ingress"])
            .iter()
            .map(|i| match i.get("ip").text() {
                "" => i.get("hostname").text(),
                ip => ip,
            })
            .collect();
        addresses.sort_unstable();
        addresses.dedup();
        let secure = !ingress.array_at(&["spec", "tls"]).is_empty();
        vec![
            name_cell(ingress),
            or_none(ingress.at(&["spec", "ingressClassName"]).text()),
            Value::from(hosts),
            Value::from(addresses.join(",")),
            Value::from(if secure { "80, 443" } else { "80" }),
            age_cell(ingress, now),
        ]
    }
}

fn check_ingress(ingress: &Value, errors: &mut Errors) {
    let null = Value::Null;
    let spec = ingress.get("spec").unwrap_or(&null);
    let at = Path::new("spec");
    let rules = spec.get("rules").items();
    let backend = spec.get("defaultBackend").filter(|b| !b.is_null());
    if rules.is_empty() && backend.is_none() {
        errors.invalid(&at, spec.get("rules"), "either `defaultBackend` or `rules` must be specified");
    }
    if let Some(backend) = backend {
        check_backend(backend, &at.child("defaultBackend"), errors);
    }
    let rules_at = at.child("rules");
    for (n, rule) in rules.iter().enumerate() {
        check_rule(rule, &rules_at.index(n), errors);
    }
    let tls = at.child("tls");
    for (n, entry) in spec.get("tls").items().iter().enumerate() {
        let item = tls.index(n);
        let hosts = item.child("hosts");
        for (n, host) in entry.get("hosts").items().iter().enumerate() {
            check_name(host.as_str().unwrap_or_default(), &hosts.index(n), errors);
        }
        let secret = entry.get("secretName").text();
        if !secret.is_empty() {
            name::subdomain(secret, &item.child("secretName"), errors);
        }
    }
    if let Some(class) = spec.str_at(&["ingressClassName"]) {
        name::subdomain(class, &at.child("ingressClassName"), errors);
    }
}

fn check_host(host: &str, at: &Path<'_>, errors: &mut Errors) {
    if host.parse::<std::net::IpAddr>().is_ok() {
        errors.invalid(at, host, "must be a DNS name, not an IP address");
    }
    check_name(host, at, errors);
}

fn check_name(host: &str, at: &Path<'_>, errors: &mut Errors) {
    let wrong = if host.contains('*') { names::wildcard_dns_subdomain(host) } else { names::dns_subdomain(host) };
    for detail in wrong {
        errors.invalid(at, host, detail);
    }
}

fn check_rule(rule: &Value, at: &Path<'_>, errors: &mut Errors) {
    let host = rule.get("host").text();
    if !host.is_empty() {
        check_host(host, &at.child("host"), errors);
    }
    let Some(http) = rule.get("http").filter(|h| !h.is_null()) else { return };
    let http_at = at.child("http");
    let paths_at = http_at.child("paths");
    let paths = http.get("paths").items();
    if paths.is_empty() {
        errors.required(&paths_at, "");
    }
    for (n, path) in paths.iter().enumerate() {
        let at = paths_at.index(n);
        let text = path.get("path").text();
        match path.str_at(&["pathType"]) {
            None => errors.required(&at.child("pathType"), "pathType must be specified"),
            Some("Exact" | "Prefix") => check_path(text, &at.child("path"), errors),
            Some("ImplementationSpecific") => {
                if !text.is_empty() && !text.starts_with('/') {
                    errors.invalid(&at.child("path"), text, "must be an absolute path");
                }
            }
            Some(other) => {
                let kinds = &["Exact", "ImplementationSpecific", "Prefix"];
                errors.not_supported(&at.child("pathType"), other, kinds);
            }
        }
        check_backend(path.get("backend").unwrap_or(&Value::Null), &at.child("backend"), errors);
    }
}

fn check_path(path: &str, at: &Path<'_>, errors: &mut Errors) {
    if !path.starts_with('/') {
        errors.invalid(at, path, "must be an absolute path");
    }
    for bad in ["//", "/./", "/../", "%2f", "%2F"] {
        if path.contains(bad) {
            errors.invalid(at, path, format!("must not contain '{bad}'"));
        }
    }
    for bad in ["/..", "/."] {
        if path.ends_with(bad) {
            errors.invalid(at, path, format!("cannot end with '{bad}'"));
        }
    }
}

fn check_backend(backend: &Value, at: &Path<'_>, errors: &mut Errors) {
    let backend_at = at;
    let resource = backend.get("resource").filter(|r| !r.is_null());
    let service = backend.get("service").filter(|s| !s.is_null());
    match (resource, service) {
        (Some(_), Some(_)) => {
            errors.invalid(at, "", "cannot set both resource and service backends");
        }
        (Some(resource), None) => {
            check_reference(resource, &at.child("resource"), errors);
        }
        (None, Some(service)) => {
            let at = at.child("service");
            match service.get("name").text() {
                "" => errors.required(&at.child("name"), ""),
                text => name::label(text, &at.child("name"), errors),
            }
            let port = service.get("port").unwrap_or(&Value::Null);
            let port_at = at.child("port");
            match (port.get("name").text(), port.get("number").number()) {
                ("", 0) => errors.required(backend_at, "port name or number is required"),
                ("", number) => name::port_number(number, &port_at.child("number"), errors),
                (text, 0) => name::port_name(text, &port_at.child("name"), errors),
                _ => errors.invalid(backend_at, "", "cannot set both port name & port number"),
            }
        }
        (None, None) => errors.invalid(at, "", "resource or service backend is required"),
    }
}

/// An object of another kind, by group, kind and name.
fn check_reference(reference: &Value, at: &Path<'_>, errors: &mut Errors) {
    if let Some(group) = reference.str_at(&["apiGroup"]) {
        name::subdomain(group, &at.child("apiGroup"), errors);
    }
    for field in ["kind", "name"] {
        let at = at.child(field);
        match reference.get(field).text() {
            "" => errors.required(&at, format!("{field} is required")),
            text => {
                for wrong in names::path_segment(text, false) {
                    errors.invalid(&at, text, wrong);
                }
            }
        }
    }
}

fn check_parameters(parameters: &Value, at: &Path<'_>, errors: &mut Errors) {
    check_reference(parameters, at, errors);
    let namespace_at = at.child("namespace");
    match (parameters.get("scope").text(), parameters.str_at(&["namespace"])) {
        ("Namespace", None) => errors.required(&namespace_at, "`parameters.scope` is set to 'Namespace'"),
        ("Namespace", Some(namespace)) => name::label(namespace, &namespace_at, errors),
        ("Cluster", Some(_)) => errors.forbidden(&namespace_at, "`parameters.scope` is set to 'Cluster'"),
        ("Cluster", None) => {}
        (scope, _) => errors.not_supported(&at.child("scope"), scope, &["Cluster", "Namespace"]),
    }
}

/// IngressClasses of `networking.k8s.io`.
#[derive(Debug)]
pub struct IngressClasses;

impl Strategy for IngressClasses {
    row!("networking.k8s.io", "v1", "ingressclasses");

    fn default(&self, class: &mut Value) {
        if let Some(parameters) = class.at_mut(&["spec", "parameters"]).and_then(Value::as_object_mut) {
            fill(parameters, "scope", "Cluster");
        }
    }

    fn check(&self, class: &Value, errors: &mut Errors) {
        let controller = class.at(&["spec", "controller"]).text();
        let at = Path::new("spec.controller");
        if controller.len() > 250 {
            errors.too_long(&at, 250);
        }
        name::domain_prefixed_path(controller, &at, errors);
        if let Some(parameters) = class.at(&["spec", "parameters"]).filter(|parameters| !parameters.is_null()) {
            check_parameters(parameters, &Path::new("spec.parameters"), errors);
        }
    }

    fn check_update(&self, new: &Value, old: &Value, _subresource: &str, errors: &mut Errors) {
        let path = ["spec", "controller"];
        errors.immutable(&Path::new("spec.controller"), new.at(&path), old.at(&path));
        self.check(new, errors);
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn columns(&self) -> &'static [Column] {
        const { &[Column::name(), Column::string("Controller"), Column::string("Parameters"), Column::string("Age")] }
    }

    fn row(&self, class: &Value, now: i64) -> Vec<Value> {
        let parameters = class.at(&["spec", "parameters"]).map(|p| {
            let (group, kind, name) = (p.get("apiGroup").text(), p.get("kind").text(), p.get("name").text());
            if group.is_empty() { format!("{kind}/{name}") } else { format!("{kind}.{group}/{name}") }
        });
        vec![
            name_cell(class),
            text_cell(class, &["spec", "controller"]),
            or_none(&parameters.unwrap_or_default()),
            age_cell(class, now),
        ]
    }
}

/// NetworkPolicies of `networking.k8s.io`.
#[derive(Debug)]
pub struct NetworkPolicies;

view! {
    struct Port { protocol: "protocol", port: "port", end: "endPort" }
}

const DIRECTIONS: [(&str, &str); 2] = [("ingress", "from"), ("egress", "to")];

impl Strategy for NetworkPolicies {
    row!("networking.k8s.io", "v1", "networkpolicies");

    fn default(&self, policy: &mut Value) {
        let spec = policy.force_object().object_entry("spec");
        fill_with(spec, "podSelector", Value::object);
        for (direction, _) in DIRECTIONS {
            let rules = spec.get_mut(direction).and_then(Value::as_array_mut);
            for rule in rules.into_iter().flatten() {
                let ports = rule.get_mut("ports").and_then(Value::as_array_mut);
                for port in ports.into_iter().flatten().filter_map(Value::as_object_mut) {
                    fill_with(port, "protocol", || Value::from("TCP"));
                }
            }
        }
        if spec.get("policyTypes").items().is_empty() {
            let mut kinds = vec!["Ingress"];
            if !spec.get("egress").items().is_empty() {
                kinds.push("Egress");
            }
            spec.insert("policyTypes", kinds);
        }
    }

    fn check(&self, policy: &Value, errors: &mut Errors) {
        let null = Value::Null;
        let spec = policy.get("spec").unwrap_or(&null);
        let at = Path::new("spec");
        check_selector(spec.get("podSelector"), &at.child("podSelector"), errors);
        for (direction, peers) in DIRECTIONS {
            let rules_at = at.child(direction);
            for (n, rule) in spec.get(direction).items().iter().enumerate() {
                let at = rules_at.index(n);
                let ports = at.child("ports");
                for (n, port) in rule.get("ports").items().iter().enumerate() {
                    check_port(&Port::of(port), &ports.index(n), errors);
                }
                let peers_at = at.child(peers);
                for (n, peer) in rule.get(peers).items().iter().enumerate() {
                    check_peer(peer, &peers_at.index(n), errors);
                }
            }
        }
        let kinds_at = at.child("policyTypes");
        let kinds = spec.get("policyTypes").items();
        if kinds.len() > 2 {
            return errors.invalid(&kinds_at, spec.get("policyTypes"), "may not specify more than two policyTypes");
        }
        for (n, kind) in kinds.iter().enumerate() {
            let kind = kind.as_str().unwrap_or_default();
            if !matches!(kind, "Ingress" | "Egress") {
                errors.not_supported(&kinds_at.index(n), kind, &["Ingress", "Egress"]);
            }
        }
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn columns(&self) -> &'static [Column] {
        const { &[Column::name(), Column::string("Pod-Selector"), Column::string("Age")] }
    }

    fn row(&self, policy: &Value, now: i64) -> Vec<Value> {
        vec![name_cell(policy), selector_cell(policy.at(&["spec", "podSelector"])), age_cell(policy, now)]
    }
}

fn check_port(port: &Port<'_>, at: &Path<'_>, errors: &mut Errors) {
    security::check_choice(port.protocol, &["TCP", "UDP", "SCTP"], &at.child("protocol"), errors);
    let (port_at, end_at) = (at.child("port"), at.child("endPort"));
    match (port.port, port.end.int()) {
        (None, None) => {}
        (None, Some(end)) => errors.invalid(&end_at, end, "may not be specified when `port` is not specified"),
        (Some(Value::String(text)), end) => {
            if let Some(end) = end {
                errors.invalid(&end_at, end, "may not be specified when `port` is non-numeric");
            }
            name::port_name(text, &port_at, errors);
        }
        (number, end) => {
            name::port_number(number.number(), &port_at, errors);
            if let Some(end) = end {
                if end < number.number() {
                    errors.invalid(&end_at, number.number(), "must be greater than or equal to `port`");
                }
                name::port_number(end, &end_at, errors);
            }
        }
    }
}

fn check_peer(peer: &Value, at: &Path<'_>, errors: &mut Errors) {
    let mut count = 0;
    for field in ["podSelector", "namespaceSelector"] {
        if let Some(selector) = peer.get(field).filter(|s| !s.is_null()) {
            count += 1;
            check_selector(Some(selector), &at.child(field), errors);
        }
    }
    if let Some(block) = peer.get("ipBlock").filter(|b| !b.is_null()) {
        let block_at = at.child("ipBlock");
        count += 1;
        check_block(block, &block_at, errors);
        if count > 1 {
            errors.forbidden(at, "may not specify both ipBlock and another peer");
        }
    }
    if count == 0 {
        errors.required(at, "must specify a peer");
    }
}

/// A block of addresses but for some blocks within it.
fn check_block(block: &Value, at: &Path<'_>, errors: &mut Errors) {
    let whole = block.get("cidr").text();
    if whole.is_empty() {
        return errors.required(&at.child("cidr"), "");
    }
    name::cidr(whole, &at.child("cidr"), errors);
    let Some(outer) = name::block(whole) else { return };
    let except = at.child("except");
    for (n, inner) in block.get("except").items().iter().enumerate() {
        let at = except.index(n);
        let text = Some(inner).text();
        name::cidr(text, &at, errors);
        let Some(inner) = name::block(text) else { continue };
        if !outer.holds(&inner) {
            errors.invalid(&at, text, "must be a strict subset of `cidr`");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gantry_machinery::value;

    fn causes(errors: Vec<gantry_machinery::status::FieldError>) -> Vec<String> {
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn an_ingress_leads_somewhere() {
        assert_eq!(
            causes(Ingresses.validate(&value!({"spec": {}}))),
            ["spec: Invalid value: null: either `defaultBackend` or `rules` must be specified"]
        );
        let ingress = value!({"metadata": {"name": "i"}, "spec": {"rules": [{"host": "a.example", "http": {"paths": [
            {"path": "x", "pathType": "Prefix", "backend": {"service": {"name": "s", "port": {"number": 80}}}},
            {"path": "/", "backend": {}},
        ]}}]}});
        assert_eq!(
            causes(Ingresses.validate(&ingress)),
            [
                "spec.rules[0].http.paths[0].path: Invalid value: \"x\": must be an absolute path",
                "spec.rules[0].http.paths[1].pathType: Required value: pathType must be specified",
                "spec.rules[0].http.paths[1].backend: Invalid value: \"\": resource or service backend is required",
            ]
        );
        let row: Vec<String> = Ingresses.row(&ingress, 0).iter().filter_map(Value::as_str).map(str::to_owned).collect();
        assert_eq!(row, ["i", "<none>", "a.example", "", "80", "<unknown>"]);
    }

    #[test]
    fn policies_get_their_types() {
        let mut policy = value!({"spec": {"egress": [{"ports": [{"port": 53}]}]}});
        NetworkPolicies.default(&mut policy);
        assert_eq!(policy.at(&["spec", "policyTypes"]), Some(&value!(["Ingress", "Egress"])));
        assert!(NetworkPolicies.validate(&policy).is_empty());
        policy.set(&["spec", "ingress"], value!([{"from": [{}, {"ipBlock": {"cidr": "x"}, "podSelector": {}}]}]));
        let fields: Vec<String> = NetworkPolicies.validate(&policy).into_iter().map(|e| e.field).collect();
        assert_eq!(
            fields,
            ["spec.ingress[0].from[0]", "spec.ingress[0].from[1].ipBlock.cidr", "spec.ingress[0].from[1]"]
        );
    }
}
