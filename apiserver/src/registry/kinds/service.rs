//! Service: defaults, ports, types, and which of its addresses may change. Addresses and node ports are allocated by
//! the registry; what a user leaves out of an update is carried over here.

mod check;
mod table;
mod warnings;

use compact_str::CompactString;
use gantry_machinery::value;
use gantry_machinery::value::{Object, Value};

use super::field::{fill, fill_with};
use super::row;
use crate::registry::strategy::{Column, Strategy, keep, keep_all_but_status};
use crate::registry::validate::view::Held;
use crate::registry::validate::{Errors, name};
pub(super) use check::check_ordinary_ip;

/// Services of the core group.
#[derive(Debug)]
pub struct Services;

impl Strategy for Services {
    row!("", "v1", "services");

    fn name_errors(&self, name: &str, prefix: bool) -> Vec<String> {
        // Relaxed (KEP-5311): a digit may come first.
        name::label_errors(name, prefix)
    }

    fn prepare_for_create(&self, service: &mut Value) {
        service.set(&["status"], value!({"loadBalancer": {}}));
        let spec = service.force_object().object_entry("spec");
        // One address given the old way is the first of the list.
        if let Some(Value::String(ip)) = spec.get("clusterIP").filter(|ip| !ip.as_str().unwrap_or_default().is_empty())
            && spec.get("clusterIPs").items().is_empty()
        {
            let list = vec![Value::String(ip.clone())];
            spec.insert("clusterIPs", Value::Array(list));
        }
    }

    fn default(&self, service: &mut Value) {
        let service = service.force_object();
        default_spec(service.object_entry("spec"));
        let balanced = service.get("spec").and_then(|s| s.get("type")).text() == "LoadBalancer";
        let status = service.object_entry("status");
        let balancer = status.object_entry("loadBalancer");
        if balanced {
            let ingress = balancer.get_mut("ingress").and_then(Value::as_array_mut);
            for entry in ingress.into_iter().flatten().filter_map(Value::as_object_mut) {
                if !entry.get("ip").text().is_empty() {
                    fill_with(entry, "ipMode", || Value::from("VIP"));
                }
            }
        }
    }

    fn check(&self, service: &Value, errors: &mut Errors) {
        check::check(service, None, errors);
    }

    fn prepare_for_update(&self, new: &mut Value, old: &Value, subresource: &str) {
        if subresource == "status" {
            return keep_all_but_status(new, old);
        }
        keep(new, old, "status");
        let null = Value::Null;
        let was = old.get("spec").unwrap_or(&null);
        let spec = new.force_object().object_entry("spec");
        carry_over(spec, was);
        drop_by_type(spec, was);
    }

    fn check_update(&self, new: &Value, old: &Value, subresource: &str, errors: &mut Errors) {
        if subresource == "status" {
            check::check_status(new, errors);
        } else {
            check::check(new, Some(old), errors);
        }
    }

    fn has_generation(&self) -> bool {
        false
    }

    fn create_on_update(&self) -> bool {
        true
    }

    fn selectable_fields(&self) -> &'static [&'static str] {
        &["spec.clusterIP", "spec.type"]
    }

    fn fields(&self, service: &Value) -> Vec<(&'static str, CompactString)> {
        vec![
            ("spec.clusterIP", service.at(&["spec", "clusterIP"]).text().into()),
            ("spec.type", service.at(&["spec", "type"]).text().into()),
        ]
    }

    fn warnings(&self, new: &Value, _old: Option<&Value>) -> Vec<String> {
        warnings::warnings(new)
    }

    fn columns(&self) -> &'static [Column] {
        table::COLUMNS
    }

    fn row(&self, service: &Value, now: i64) -> Vec<Value> {
        table::row(service, now)
    }
}

fn default_spec(spec: &mut Object) {
    fill(spec, "sessionAffinity", "None");
    match spec.get("sessionAffinity").text() {
        "None" => {
            spec.remove("sessionAffinityConfig");
        }
        "ClientIP" => {
            let given = spec.get("sessionAffinityConfig").and_then(|c| c.at(&["clientIP", "timeoutSeconds"]));
            if given.is_none() {
                spec.insert("sessionAffinityConfig", value!({"clientIP": {"timeoutSeconds": 10800}}));
            }
        }
        _ => {}
    }
    fill(spec, "type", "ClusterIP");
    let ports = spec.get_mut("ports").and_then(Value::as_array_mut);
    for port in ports.into_iter().flatten().filter_map(Value::as_object_mut) {
        fill(port, "protocol", "TCP");
        let number = port.get("port").number();
        fill(port, "targetPort", number);
    }
    let kind = spec.get("type").text();
    let (external, inside) = (is_external(spec), matches!(kind, "NodePort" | "LoadBalancer" | "ClusterIP"));
    let balanced = kind == "LoadBalancer";
    if external {
        fill(spec, "externalTrafficPolicy", "Cluster");
    }
    if inside {
        fill_with(spec, "internalTrafficPolicy", || Value::from("Cluster"));
    }
    if balanced {
        fill_with(spec, "allocateLoadBalancerNodePorts", || Value::Bool(true));
    }
}

/// Whether the outside reaches it: by node ports, a balancer, or external addresses.
fn is_external(spec: &Object) -> bool {
    match spec.get("type").text() {
        "NodePort" | "LoadBalancer" => true,
        "ClusterIP" => !spec.get("externalIPs").items().is_empty(),
        _ => false,
    }
}

fn has_cluster_ip(kind: &str) -> bool {
    matches!(kind, "" | "ClusterIP" | "NodePort" | "LoadBalancer")
}

/// What was allocated stays when an update does not name it.
fn carry_over(spec: &mut Object, was: &Value) {
    let (kind, old_kind) = (spec.get("type").text().to_owned(), was.get("type").text());
    if has_cluster_ip(&kind) && has_cluster_ip(old_kind) {
        carry_addresses(spec, was);
        for field in ["ipFamilies", "ipFamilyPolicy"] {
            if spec.get(field).is_none_or(Value::is_null)
                && let Some(value) = was.get(field)
            {
                spec.insert(field, value.clone());
            }
        }
    }
    let node_ports = |kind: &str| matches!(kind, "NodePort" | "LoadBalancer");
    if node_ports(&kind) && node_ports(old_kind) {
        carry_node_ports(spec, was);
    }
    let checked = |kind: &str, policy: &str| kind == "LoadBalancer" && policy == "Local";
    if checked(&kind, spec.get("externalTrafficPolicy").text())
        && checked(old_kind, was.get("externalTrafficPolicy").text())
        && spec.get("healthCheckNodePort").number() == 0
        && let Some(port) = was.get("healthCheckNodePort")
    {
        spec.insert("healthCheckNodePort", port.clone());
    }
}

/// `clusterIP` and `clusterIPs` say the same; whichever the user changed leads.
fn carry_addresses(spec: &mut Object, was: &Value) {
    let old_ip = was.get("clusterIP").text();
    let ip = spec.get("clusterIP").text().to_owned();
    if ip.is_empty() && spec.get("clusterIPs").items().is_empty() {
        for field in ["clusterIP", "clusterIPs"] {
            if let Some(value) = was.get(field) {
                spec.insert(field, value.clone());
            }
        }
        return;
    }
    let list_changed = spec.get("clusterIPs") != was.get("clusterIPs");
    if ip != old_ip && !list_changed {
        // The single field was changed (or emptied) and the list was not.
        if ip.is_empty() {
            spec.remove("clusterIPs");
        } else {
            spec.insert("clusterIPs", Value::Array(vec![Value::from(ip)]));
        }
    } else if ip.is_empty() || spec.get("clusterIPs").items().is_empty() {
        let first = spec.get("clusterIPs").items().first().cloned();
        match first {
            Some(first) => {
                spec.insert("clusterIP", first);
            }
            None => {
                spec.insert("clusterIPs", Value::Array(vec![Value::from(ip)]));
            }
        }
    }
}

fn carry_node_ports(spec: &mut Object, was: &Value) {
    let key = |port: &Value| {
        let protocol = port.get("protocol").text();
        (if protocol.is_empty() { "TCP" } else { protocol }.to_owned(), port.get("port").number())
    };
    let used: Vec<i64> = spec.get("ports").items().iter().map(|p| p.get("nodePort").number()).collect();
    let ports = spec.get_mut("ports").and_then(Value::as_array_mut);
    for port in ports.into_iter().flatten() {
        if port.get("nodePort").number() != 0 {
            continue;
        }
        let found = was.get("ports").items().iter().find(|old| key(old) == key(port));
        let number = found.and_then(|old| old.get("nodePort")).number();
        if number != 0 && !used.contains(&number) {
            port.set(&["nodePort"], number);
        }
    }
}

/// When the type changes, what only the old type had goes, unless the user changed it too.
fn drop_by_type(spec: &mut Object, was: &Value) {
    let (kind, old_kind) = (spec.get("type").text().to_owned(), was.get("type").text().to_owned());
    let same = |spec: &Object, field: &str| spec.get(field) == was.get(field);
    if has_cluster_ip(&old_kind) && !has_cluster_ip(&kind) && same(spec, "clusterIP") && same(spec, "clusterIPs") {
        for field in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
            spec.remove(field);
        }
    }
    let node_ports = |kind: &str| matches!(kind, "NodePort" | "LoadBalancer");
    if node_ports(&old_kind) && !node_ports(&kind) && same(spec, "ports") {
        let ports = spec.get_mut("ports").and_then(Value::as_array_mut);
        for port in ports.into_iter().flatten().filter_map(Value::as_object_mut) {
            port.remove("nodePort");
        }
    }
    if old_kind == "LoadBalancer" && kind != "LoadBalancer" {
        for field in ["healthCheckNodePort", "allocateLoadBalancerNodePorts", "loadBalancerClass"] {
            if same(spec, field) {
                spec.remove(field);
            }
        }
    }
    if node_ports(&old_kind) && !is_external(spec) && same(spec, "externalTrafficPolicy") {
        spec.remove("externalTrafficPolicy");
    }
    if old_kind == "ExternalName" && kind != "ExternalName" && same(spec, "externalName") {
        spec.remove("externalName");
    }
}

#[cfg(test)]
mod tests;
