//! Services: defaults, rules, updates, rows.

use gantry_machinery::value;
use gantry_machinery::value::Value;

use super::Services;
use crate::registry::strategy::Strategy;

fn made(mut service: Value) -> Value {
    Services.prepare_for_create(&mut service);
    Services.default(&mut service);
    service
}

fn causes(errors: Vec<gantry_machinery::status::FieldError>) -> Vec<String> {
    errors.iter().map(ToString::to_string).collect()
}

#[test]
fn defaults_are_upstreams() {
    let service = made(value!({"spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]}}));
    assert_eq!(
        service,
        value!({
            "spec": {
                "selector": {"app": "web"},
                "ports": [{"port": 80, "protocol": "TCP", "targetPort": 80}],
                "sessionAffinity": "None",
                "type": "ClusterIP",
                "internalTrafficPolicy": "Cluster",
            },
            "status": {"loadBalancer": {}},
        })
    );
    let balanced = made(value!({"spec": {"type": "LoadBalancer", "ports": [{"port": 80}]}}));
    assert_eq!(balanced.str_at(&["spec", "externalTrafficPolicy"]), Some("Cluster"));
    assert_eq!(balanced.bool_at(&["spec", "allocateLoadBalancerNodePorts"]), Some(true));
}

#[test]
fn bad_services_get_upstreams_causes() {
    let cases = [
        (value!({"spec": {}}), vec!["spec.ports: Required value"]),
        (
            value!({"spec": {"ports": [{"port": 0}]}}),
            vec![
                "spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive",
                "spec.ports[0].targetPort: Invalid value: 0: must be between 1 and 65535, inclusive",
            ],
        ),
        (
            value!({"spec": {"ports": [{"port": 80}, {"port": 81, "name": "b"}]}}),
            vec!["spec.ports[0].name: Required value"],
        ),
        (
            value!({"spec": {"type": "Odd", "ports": [{"port": 80}]}}),
            vec![
                "spec.type: Unsupported value: \"Odd\": supported values: \"ClusterIP\", \"ExternalName\", \
                 \"LoadBalancer\", \"NodePort\"",
            ],
        ),
        (value!({"spec": {"type": "ExternalName"}}), vec!["spec.externalName: Required value"]),
        (
            value!({"spec": {"ports": [{"port": 80, "nodePort": 30000}]}}),
            vec!["spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'"],
        ),
        (
            value!({"spec": {"clusterIP": "x", "ports": [{"port": 80}]}}),
            vec![
                "spec.clusterIPs[0]: Invalid value: \"x\": must be a valid IP address, (e.g. 10.9.8.7 or \
                 2001:db8::ffff)",
            ],
        ),
    ];
    for (service, expected) in cases {
        assert_eq!(causes(Services.validate(&made(service.clone()))), expected, "{service:?}");
    }
}

#[test]
fn an_update_keeps_what_was_allocated_and_may_not_change_it() {
    let old = made(value!({"spec": {
        "type": "NodePort", "clusterIP": "10.0.0.1", "ports": [{"port": 80, "nodePort": 30000}],
    }}));
    let mut new = value!({"spec": {"type": "NodePort", "ports": [{"port": 80}]}});
    Services.default(&mut new);
    Services.prepare_for_update(&mut new, &old, "");
    assert_eq!(new.str_at(&["spec", "clusterIP"]), Some("10.0.0.1"));
    assert_eq!(new.array_at(&["spec", "ports"])[0].i64_at(&["nodePort"]), Some(30000));
    assert!(Services.validate_update(&new, &old, "").is_empty());

    let mut moved = new.clone();
    moved.set(&["spec", "clusterIP"], "10.0.0.2");
    Services.prepare_for_update(&mut moved, &old, "");
    assert_eq!(
        causes(Services.validate_update(&moved, &old, "")),
        ["spec.clusterIPs[0]: Invalid value: [\"10.0.0.2\"]: may not change once set"]
    );
}

#[test]
fn becoming_an_external_name_gives_up_the_address() {
    let old = made(value!({"spec": {"clusterIP": "10.0.0.1", "ports": [{"port": 80}]}}));
    let mut new = old.clone();
    new.set(&["spec", "type"], "ExternalName");
    new.set(&["spec", "externalName"], "example.com");
    Services.prepare_for_update(&mut new, &old, "");
    assert_eq!(new.at(&["spec", "clusterIP"]), None);
    assert!(Services.validate_update(&new, &old, "").is_empty());
}

#[test]
fn rows_show_addresses_and_ports() {
    let mut service = made(value!({
        "metadata": {"name": "s"},
        "spec": {"type": "LoadBalancer", "clusterIP": "10.0.0.1", "selector": {"b": "2", "a": "1"},
                 "ports": [{"port": 80, "nodePort": 30001}, {"port": 53, "protocol": "UDP"}]},
    }));
    let row = |service: &Value| -> Vec<String> {
        Services.row(service, 0).iter().map(|c| c.as_str().unwrap_or_default().to_owned()).collect()
    };
    let expected = ["s", "LoadBalancer", "10.0.0.1", "<pending>", "80:30001/TCP,53/UDP", "<unknown>", "a=1,b=2"];
    assert_eq!(row(&service), expected);
    service.set(&["status", "loadBalancer", "ingress"], value!([{"ip": "1.2.3.4"}]));
    assert_eq!(row(&service)[3], "1.2.3.4");
}
