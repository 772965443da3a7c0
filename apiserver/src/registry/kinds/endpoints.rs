//! Endpoints: the addresses behind a service, the old way.

use gantry_machinery::value::Value;

use super::cells::{age_cell, name_cell, some_of};
use super::field::fill;
use super::row;
use super::service::check_ordinary_ip;
use crate::registry::strategy::{Column, Strategy};
use crate::registry::validate::container::PROTOCOLS;
use crate::registry::validate::view::Held;
use crate::registry::validate::{Errors, Path, name};

/// What every caller of this kind is told.
const DEPRECATED: &str = "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice";

/// Endpoints of the core group.
#[derive(Debug)]
pub struct EndpointsKind;

impl Strategy for EndpointsKind {
    row!("", "v1", "endpoints");

    fn default(&self, endpoints: &mut Value) {
        let subsets = endpoints.get_mut("subsets").and_then(Value::as_array_mut);
        for subset in subsets.into_iter().flatten() {
            let ports = subset.get_mut("ports").and_then(Value::as_array_mut);
            for port in ports.into_iter().flatten().filter_map(Value::as_object_mut) {
                fill(port, "protocol", "TCP");
            }
        }
    }

    fn check(&self, endpoints: &Value, errors: &mut Errors) {
        let at = Path::new("subsets");
        for (n, subset) in endpoints.array_at(&["subsets"]).iter().enumerate() {
            let at = at.index(n);
            let (ready, others) = (subset.get("addresses").items(), subset.get("notReadyAddresses").items());
            if ready.is_empty() && others.is_empty() {
                errors.required(&at, "must specify `addresses` or `notReadyAddresses`");
            }
            for (field, list) in [("addresses", ready), ("notReadyAddresses", others)] {
                let at = at.child(field);
                for (n, address) in list.iter().enumerate() {
                    check_address(address, &at.index(n), errors);
                }
            }
            let ports_at = at.child("ports");
            let ports = subset.get("ports").items();
            for (n, port) in ports.iter().enumerate() {
                let at = ports_at.index(n);
                match port.get("name").text() {
                    "" if ports.len() > 1 => errors.required(&at.child("name"), ""),
                    "" => {}
                    text => name::label(text, &at.child("name"), errors),
                }
                name::port_number(port.get("port").number(), &at.child("port"), errors);
                name::one_of(port.get("protocol").text(), PROTOCOLS, &at.child("protocol"), errors);
                if let Some(app) = port.str_at(&["appProtocol"]) {
                    name::qualified(app, &at.child("appProtocol"), errors);
                }
            }
        }
    }

    fn create_on_update(&self) -> bool {
        true
    }

    fn columns(&self) -> &'static [Column] {
        const { &[Column::name(), Column::string("Endpoints"), Column::string("Age")] }
    }

    fn row(&self, endpoints: &Value, now: i64) -> Vec<Value> {
        vec![name_cell(endpoints), Value::from(addresses(endpoints)), age_cell(endpoints, now)]
    }

    fn warnings(&self, _new: &Value, _old: Option<&Value>) -> Vec<String> {
        vec![DEPRECATED.to_owned()]
    }

    fn deprecated(&self) -> Option<&'static str> {
        Some(DEPRECATED)
    }
}

fn check_address(address: &Value, at: &Path<'_>, errors: &mut Errors) {
    let ip = address.get("ip").text();
    let before = errors.len();
    name::ip(ip, &at.child("ip"), errors);
    let host = address.get("hostname").text();
    if !host.is_empty() {
        name::label(host, &at.child("hostname"), errors);
    }
    let node = address.get("nodeName").text();
    if !node.is_empty() {
        name::subdomain(node, &at.child("nodeName"), errors);
    }
    if errors.len() == before {
        check_ordinary_ip(ip, &at.child("ip"), errors);
    }
}

fn addresses(endpoints: &Value) -> String {
    let mut list = Vec::new();
    for subset in endpoints.array_at(&["subsets"]) {
        let ips = || subset.get("addresses").items().iter().map(|a| a.get("ip").text());
        let ports = subset.get("ports").items();
        if ports.is_empty() {
            list.extend(ips().map(str::to_owned));
        }
        for port in ports {
            let number = port.get("port").number();
            let joined =
                |ip: &str| if ip.contains(':') { format!("[{ip}]:{number}") } else { format!("{ip}:{number}") };
            list.extend(ips().map(joined));
        }
    }
    // An object with subsets but no ready address shows nothing, as upstream's does.
    let nothing = if endpoints.array_at(&["subsets"]).is_empty() { "<none>" } else { "" };
    some_of(&list, nothing)
}

#[cfg(test)]
mod tests {
    use super::*;
    use gantry_machinery::value;

    #[test]
    fn the_row_shows_three_and_counts_the_rest() {
        let endpoints = value!({"subsets": [{
            "addresses": [{"ip": "10.0.0.1"}, {"ip": "10.0.0.2"}],
            "ports": [{"port": 80}, {"port": 81}],
        }]});
        assert_eq!(addresses(&endpoints), "10.0.0.1:80,10.0.0.2:80,10.0.0.1:81 + 1 more...");
        assert_eq!(addresses(&value!({})), "<none>");
    }

    #[test]
    fn loopback_is_no_endpoint() {
        let endpoints = value!({"subsets": [{"addresses": [{"ip": "127.0.0.1"}]}]});
        let found = EndpointsKind.validate(&endpoints);
        assert_eq!(found[0].field, "subsets[0].addresses[0].ip");
    }
}
