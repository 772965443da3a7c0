//! The row of a service: what `kubectl get services` shows.

use gantry_machinery::value::Value;

use crate::registry::kinds::cells::{age_cell, labels_cell, name_cell, or_none, text_cell};
use crate::registry::strategy::Column;
use crate::registry::validate::view::Held;

pub(super) const COLUMNS: &[Column] = &[
    Column::name(),
    Column::string("Type"),
    Column::string("Cluster-IP"),
    Column::string("External-IP"),
    Column::string("Port(s)"),
    Column::string("Age"),
    Column::string("Selector").wide(),
];

pub(super) fn row(service: &Value, now: i64) -> Vec<Value> {
    vec![
        name_cell(service),
        text_cell(service, &["spec", "type"]),
        or_none(service.array_at(&["spec", "clusterIPs"]).first().and_then(Value::as_str).unwrap_or_default()),
        Value::from(external_ip(service)),
        or_none(&ports(service.array_at(&["spec", "ports"]))),
        age_cell(service, now),
        labels_cell(service.at(&["spec", "selector"])),
    ]
}

fn external_ip(service: &Value) -> String {
    let given: Vec<&str> = service.array_at(&["spec", "externalIPs"]).iter().filter_map(Value::as_str).collect();
    match service.at(&["spec", "type"]).text() {
        "ClusterIP" | "NodePort" if given.is_empty() => "<none>".to_owned(),
        "ClusterIP" | "NodePort" => given.join(","),
        "LoadBalancer" => {
            let ingress = service.array_at(&["status", "loadBalancer", "ingress"]).iter();
            let mut all: Vec<&str> = ingress
                .map(|i| {
                    let ip = i.get("ip").text();
                    if ip.is_empty() { i.get("hostname").text() } else { ip }
                })
                .filter(|text| !text.is_empty())
                .collect();
            all.sort_unstable();
            all.dedup();
            all.extend(given);
            if all.is_empty() { "<pending>".to_owned() } else { all.join(",") }
        }
        "ExternalName" => service.at(&["spec", "externalName"]).text().to_owned(),
        _ => "<unknown>".to_owned(),
    }
}

fn ports(ports: &[Value]) -> String {
    let one = |port: &Value| {
        let (number, node, protocol) =
            (port.get("port").number(), port.get("nodePort").number(), port.get("protocol").text());
        if node > 0 { format!("{number}:{node}/{protocol}") } else { format!("{number}/{protocol}") }
    };
    ports.iter().map(one).collect::<Vec<_>>().join(",")
}
