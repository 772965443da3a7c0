//! Service addresses: given once, given back.

use std::collections::HashSet;

use futures_util::future::join_all;
use gantry_machinery::resource::gvr;
use gantry_machinery::resource_api::{DeleteOptions, ResourceApi, Target};
use gantry_machinery::value;
use gantry_machinery::value::Value;

use crate::support::{Cluster, told, value};

fn service(name: &str, spec: Value) -> Value {
    let mut spec = spec;
    spec.set(&["selector"], value!({"app": "web"}));
    spec.set(&["ports"], value!([{"port": 80}]));
    value!({"metadata": {"name": name, "namespace": "default"}, "spec": spec})
}

#[tokio::test]
async fn every_service_gets_an_address_of_its_own() {
    let cluster = Cluster::new().await;
    let created = join_all((0..30).map(|n| {
        let object = service(&format!("s{n}"), value!({}));
        cluster.create(&gvr::SERVICES, "default", object)
    }))
    .await;
    let addresses: HashSet<String> =
        created.into_iter().map(|s| value(&s.unwrap()).str_at(&["spec", "clusterIP"]).unwrap().to_owned()).collect();
    assert_eq!(addresses.len(), 30);
    let first: std::net::Ipv4Addr = addresses.iter().next().unwrap().parse().unwrap();
    assert_eq!(first.octets()[0], 10);
}

#[tokio::test]
async fn a_chosen_address_is_checked_and_comes_back() {
    let cluster = Cluster::new().await;
    let chosen = || service("a", value!({"clusterIP": "10.96.0.77"}));
    cluster.create(&gvr::SERVICES, "default", chosen()).await.unwrap();
    let mut second = chosen();
    second.set(&["metadata", "name"], "b");
    let (code, _, message) = told(cluster.create(&gvr::SERVICES, "default", second.clone()).await);
    assert_eq!(code, 422);
    assert!(message.contains("failed to allocate IP 10.96.0.77: provided IP is already allocated"), "{message}");
    let far = service("c", value!({"clusterIP": "192.168.0.1"}));
    assert!(told(cluster.create(&gvr::SERVICES, "default", far).await).2.contains("is not in the valid range"));

    cluster.api.delete(&Target::object(&gvr::SERVICES, "default", "a"), &DeleteOptions::default()).await.unwrap();
    cluster.create(&gvr::SERVICES, "default", second).await.unwrap();
}

#[tokio::test]
async fn node_ports_come_with_the_type_and_go_with_it() {
    let cluster = Cluster::new().await;
    let stored = cluster.create(&gvr::SERVICES, "default", service("a", value!({"type": "NodePort"}))).await.unwrap();
    let object = value(&stored);
    let port = object.array_at(&["spec", "ports"])[0].i64_at(&["nodePort"]).unwrap();
    assert!((30_000..=32_767).contains(&port), "{port}");
    let mut taken = service("b", value!({"type": "NodePort"}));
    taken.set(&["spec", "ports"], value!([{"port": 80, "nodePort": port}]));
    let (code, _, message) = told(cluster.create(&gvr::SERVICES, "default", taken.clone()).await);
    assert_eq!(code, 422);
    assert!(message.contains("provided port is already allocated"), "{message}");

    let again = value(&cluster.update(&gvr::SERVICES, object.clone()).await.unwrap());
    assert_eq!(again, object, "written again it keeps its port and address");
    let mut plain = object;
    plain.set(&["spec", "type"], "ClusterIP");
    plain.set(&["spec", "ports"], value!([{"port": 80}]));
    let plain = value(&cluster.update(&gvr::SERVICES, plain).await.unwrap());
    assert!(plain.array_at(&["spec", "ports"])[0].get("nodePort").is_none());
    cluster.create(&gvr::SERVICES, "default", taken).await.unwrap();
}

#[tokio::test]
async fn a_headless_service_has_none() {
    let cluster = Cluster::new().await;
    let before = cluster.registry.store().view().count("ipaddresses.networking.k8s.io", None);
    let headless = service("a", value!({"clusterIP": "None"}));
    let object = value(&cluster.create(&gvr::SERVICES, "default", headless).await.unwrap());
    assert_eq!(object.str_at(&["spec", "clusterIP"]), Some("None"));
    assert_eq!(cluster.registry.store().view().count("ipaddresses.networking.k8s.io", None), before);
}
