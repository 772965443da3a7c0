//! EndpointSlice: up to a thousand endpoints of a service, of one address family.

use gantry_machinery::value::Value;

use super::cells::{age_cell, name_cell, some_of, text_cell};
use super::field::{fill_with, put};
use super::row;
use super::service::check_ordinary_ip;
use crate::registry::strategy::{Column, Strategy};
use crate::registry::validate::container::PROTOCOLS;
use crate::registry::validate::view::Held;
use crate::registry::validate::{Errors, Path, name, same};

/// EndpointSlices of `discovery.k8s.io`.
#[derive(Debug)]
pub struct EndpointSlices;

const TYPES: &[&str] = &["FQDN", "IPv4", "IPv6"];

impl Strategy for EndpointSlices {
    row!("discovery.k8s.io", "v1", "endpointslices");

    fn default(&self, slice: &mut Value) {
        let slice = slice.force_object();
        // No pointer upstream: a slice without endpoints shows an empty list.
        if slice.get("endpoints").is_none_or(Value::is_null) {
            slice.remove("endpoints");
            put(slice, "endpoints", Value::Array(Vec::new()));
        }
        let endpoints = slice.get_mut("endpoints").and_then(Value::as_array_mut);
        for endpoint in endpoints.into_iter().flatten().filter_map(Value::as_object_mut) {
            fill_with(endpoint, "conditions", Value::object);
        }
        let ports = slice.get_mut("ports").and_then(Value::as_array_mut);
        for port in ports.into_iter().flatten().filter_map(Value::as_object_mut) {
            fill_with(port, "name", || Value::from(""));
            fill_with(port, "protocol", || Value::from("TCP"));
        }
    }

    fn check(&self, slice: &Value, errors: &mut Errors) {
        let kind = slice.get("addressType").text();
        name::one_of(kind, TYPES, &Path::new("addressType"), errors);
        let endpoints = slice.get("endpoints").items();
        let at = Path::new("endpoints");
        if endpoints.len() > 1000 {
            return errors.too_many(&at, endpoints.len(), 1000);
        }
        for (n, endpoint) in endpoints.iter().enumerate() {
            check_endpoint(endpoint, kind, &at.index(n), errors);
        }
        let ports = slice.get("ports").items();
        let at = Path::new("ports");
        if ports.len() > 20000 {
            return errors.too_many(&at, ports.len(), 20000);
        }
        for (n, port) in ports.iter().enumerate() {
            let at = at.index(n);
            let port_name = port.get("name").text();
            if !port_name.is_empty() {
                name::label(port_name, &at.child("name"), errors);
            }
            if ports[..n].iter().any(|p| p.get("name").text() == port_name) {
                errors.duplicate(&at.child("name"), port_name);
            }
            name::one_of(port.get("protocol").text(), PROTOCOLS, &at.child("protocol"), errors);
            if let Some(app) = port.str_at(&["appProtocol"]) {
                name::qualified(app, &at.child("appProtocol"), errors);
            }
        }
    }

    fn check_update(&self, new: &Value, old: &Value, _subresource: &str, errors: &mut Errors) {
        self.check(new, errors);
        errors.immutable(&Path::new("addressType"), new.get("addressType"), old.get("addressType"));
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn generation_changed(&self, new: &Value, old: &Value) -> bool {
        let part = |o: &Value, path: &[&str]| o.at(path).cloned();
        [&["endpoints"][..], &["ports"], &["addressType"], &["metadata", "labels"]]
            .iter()
            .any(|path| !same(part(new, path).as_ref(), part(old, path).as_ref()))
    }

    fn columns(&self) -> &'static [Column] {
        const {
            &[
                Column::name(),
                Column::string("AddressType"),
                Column::string("Ports"),
                Column::string("Endpoints"),
                Column::string("Age"),
            ]
        }
    }

    fn row(&self, slice: &Value, now: i64) -> Vec<Value> {
        let ports: Vec<String> = slice.get("ports").items().iter().map(port_text).collect();
        let addresses: Vec<String> = slice
            .get("endpoints")
            .items()
            .iter()
            .flat_map(|e| e.get("addresses").items())
            .map(|a| a.as_str().unwrap_or_default().to_owned())
            .collect();
        vec![
            name_cell(slice),
            text_cell(slice, &["addressType"]),
            Value::from(some_of(&ports, "<unset>")),
            Value::from(some_of(&addresses, "<unset>")),
            age_cell(slice, now),
        ]
    }
}

fn port_text(port: &Value) -> String {
    match (port.get("port").int(), port.str_at(&["name"])) {
        (Some(number), _) => number.to_string(),
        (None, Some(name)) => name.to_owned(),
        (None, None) => "*".to_owned(),
    }
}

fn check_endpoint(endpoint: &Value, kind: &str, at: &Path<'_>, errors: &mut Errors) {
    let addresses = endpoint.get("addresses").items();
    let list = at.child("addresses");
    if addresses.is_empty() {
        errors.required(&list, "must contain at least 1 address");
    } else if addresses.len() > 100 {
        errors.too_many(&list, addresses.len(), 100);
    }
    for (n, address) in addresses.iter().enumerate() {
        let at = list.index(n);
        let text = address.as_str().unwrap_or_default();
        match kind {
            "IPv4" | "IPv6" => {
                let fits = match text.parse::<std::net::IpAddr>() {
                    Ok(address) => address.is_ipv4() == (kind == "IPv4"),
                    Err(_) => false,
                };
                if !fits {
                    errors.invalid(&at, text, format!("must be a valid {kind} address"));
                }
                check_ordinary_ip(text, &at, errors);
            }
            "FQDN" => name::subdomain(text.strip_suffix('.').unwrap_or(text), &at, errors),
            _ => {}
        }
    }
    if let Some(node) = endpoint.str_at(&["nodeName"]) {
        name::subdomain(node, &at.child("nodeName"), errors);
    }
    if let Some(host) = endpoint.str_at(&["hostname"]) {
        name::label(host, &at.child("hostname"), errors);
    }
    for (field, max) in [("forZones", 8), ("forNodes", 8)] {
        check_hints(endpoint.at(&["hints", field]).items(), field, max, at, errors);
    }
    if endpoint.get("deprecatedTopology").entries().any(|(key, _)| key == "kubernetes.io/hostname") {
        let topology = at.child("deprecatedTopology");
        let detail = "may not be set in the v1 API, use nodeName instead";
        errors.forbidden(&topology.key("kubernetes.io/hostname"), detail);
    }
}

/// The zones or nodes that an endpoint is best used from: few, each named once.
fn check_hints(hints: &[Value], field: &str, max: usize, at: &Path<'_>, errors: &mut Errors) {
    let at = at.child("hints");
    let at = at.child(field);
    if hints.len() > max {
        return errors.too_many(&at, hints.len(), max);
    }
    for (n, hint) in hints.iter().enumerate() {
        let item = at.index(n);
        let at = item.child("name");
        let text = hint.get("name").text();
        if hints[..n].iter().any(|other| other.get("name").text() == text) {
            errors.duplicate(&at, text);
        }
        if field == "forNodes" {
            name::subdomain(text, &at, errors);
        } else {
            name::label_value(text, &at, errors);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gantry_machinery::value;

    #[test]
    fn addresses_are_of_the_slices_family() {
        let mut slice = value!({
            "addressType": "IPv4",
            "endpoints": [{"addresses": ["10.0.0.1"]}, {"addresses": ["fd00::1"]}, {"addresses": []}],
            "ports": [{"port": 80}, {"port": 81}],
        });
        EndpointSlices.default(&mut slice);
        let found: Vec<String> = EndpointSlices.validate(&slice).iter().map(ToString::to_string).collect();
        assert_eq!(
            found,
            [
                "endpoints[1].addresses[0]: Invalid value: \"fd00::1\": must be a valid IPv4 address",
                "endpoints[2].addresses: Required value: must contain at least 1 address",
                "ports[1].name: Duplicate value: \"\"",
            ]
        );
    }

    #[test]
    fn the_generation_follows_the_content() {
        let old = value!({"metadata": {"labels": {"a": "1"}}, "endpoints": []});
        let touched = value!({"metadata": {"labels": {"a": "1"}, "annotations": {"x": "y"}}, "endpoints": []});
        assert!(!EndpointSlices.generation_changed(&touched, &old));
        assert!(EndpointSlices.generation_changed(&value!({"endpoints": [{"addresses": ["10.0.0.1"]}]}), &old));
    }
}
