//! What admission adds to objects, and refuses, by looking at other objects.

use gantry_machinery::resource::{GroupVersionResource, gvr};
use gantry_machinery::value;
use gantry_machinery::value::Value;

use crate::support::{Cluster, pod, told, value};

static RUNTIME_CLASSES: GroupVersionResource = GroupVersionResource::of("node.k8s.io", "v1", "runtimeclasses");
static STORAGE_CLASSES: GroupVersionResource = GroupVersionResource::of("storage.k8s.io", "v1", "storageclasses");
static CLAIMS: GroupVersionResource = GroupVersionResource::of("", "v1", "persistentvolumeclaims");
static INGRESSES: GroupVersionResource = GroupVersionResource::of("networking.k8s.io", "v1", "ingresses");
static INGRESS_CLASSES: GroupVersionResource = GroupVersionResource::of("networking.k8s.io", "v1", "ingressclasses");
static DEVICE_CLAIMS: GroupVersionResource = GroupVersionResource::of("resource.k8s.io", "v1", "resourceclaims");

#[tokio::test]
async fn a_runtime_class_says_what_its_pods_cost_and_where_they_run() {
    let cluster = Cluster::new().await;
    let with_class = |name: &str, class: &str| {
        let mut pod = pod(name);
        pod.set(&["spec", "runtimeClassName"], class);
        pod
    };
    let (code, _, message) = told(cluster.create(&gvr::PODS, "default", with_class("a", "kata")).await);
    assert_eq!(code, 403);
    assert!(message.ends_with("pod rejected: RuntimeClass \"kata\" not found"), "{message}");
    let class = value!({"metadata": {"name": "kata"}, "handler": "kata", "overhead": {"podFixed": {"cpu": "250m"}},
        "scheduling": {"nodeSelector": {"kata": "yes"}, "tolerations": [{"key": "kata", "operator": "Exists"}]}});
    cluster.create(&RUNTIME_CLASSES, "", class).await.unwrap();
    let made = value(&cluster.create(&gvr::PODS, "default", with_class("a", "kata")).await.unwrap());
    assert_eq!(made.str_at(&["spec", "overhead", "cpu"]), Some("250m"));
    assert_eq!(made.str_at(&["spec", "nodeSelector", "kata"]), Some("yes"));
    assert!(made.array_at(&["spec", "tolerations"]).iter().any(|t| t.str_at(&["key"]) == Some("kata")));

    let mut elsewhere = with_class("b", "kata");
    elsewhere.set(&["spec", "nodeSelector"], value!({"kata": "no"}));
    let message = told(cluster.create(&gvr::PODS, "default", elsewhere).await).2;
    assert!(message.contains("conflict: runtimeClass.scheduling.nodeSelector[kata] = yes"), "{message}");
    let mut free = pod("c");
    free.set(&["spec", "overhead"], value!({"cpu": "1"}));
    let message = told(cluster.create(&gvr::PODS, "default", free).await).2;
    assert!(message.contains("Pod Overhead set without corresponding RuntimeClass"), "{message}");
}

fn claim(name: &str) -> Value {
    value!({"metadata": {"name": name}, "spec": {"accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "1Gi"}}}})
}

#[tokio::test]
async fn who_names_no_class_gets_the_default_one_and_claims_grow_where_they_may() {
    let cluster = Cluster::new().await;
    let made = value(&cluster.create(&CLAIMS, "default", claim("none")).await.unwrap());
    assert_eq!(made.at(&["spec", "storageClassName"]), None);
    for (name, default, grows) in [("fixed", "false", false), ("fast", "true", true)] {
        let class = value!({"metadata": {"name": name,
            "annotations": {"storageclass.kubernetes.io/is-default-class": default}},
            "provisioner": "a.example/x", "allowVolumeExpansion": grows});
        cluster.create(&STORAGE_CLASSES, "", class).await.unwrap();
    }
    let made = value(&cluster.create(&CLAIMS, "default", claim("a")).await.unwrap());
    assert_eq!(made.str_at(&["spec", "storageClassName"]), Some("fast"));
    let mut chosen = claim("b");
    chosen.set(&["spec", "storageClassName"], "");
    let chosen = value(&cluster.create(&CLAIMS, "default", chosen).await.unwrap());
    assert_eq!(chosen.str_at(&["spec", "storageClassName"]), Some(""));

    let ingress = || {
        value!({"metadata": {"name": "i"}, "spec": {"defaultBackend": {"service": {"name": "s",
        "port": {"number": 80}}}}})
    };
    let class = value!({"metadata": {"name": "web", "annotations":
        {"ingressclass.kubernetes.io/is-default-class": "true"}}, "spec": {"controller": "a.example/x"}});
    cluster.create(&INGRESS_CLASSES, "", class).await.unwrap();
    let made_ingress = value(&cluster.create(&INGRESSES, "default", ingress()).await.unwrap());
    assert_eq!(made_ingress.str_at(&["spec", "ingressClassName"]), Some("web"));

    let mut larger = made;
    larger.set(&["spec", "resources", "requests", "storage"], "2Gi");
    larger.set(&["status", "phase"], "Bound");
    let (code, _, _) = told(cluster.update(&CLAIMS, larger).await);
    assert_eq!(code, 422, "validation has the first word on claims that are not bound");
}

#[tokio::test]
async fn admin_access_is_for_namespaces_that_are_labelled_for_it() {
    let cluster = Cluster::new().await;
    let claim = || {
        value!({"metadata": {"name": "c"}, "spec": {"devices": {"requests": [
        {"name": "g", "exactly": {"deviceClassName": "gpu", "adminAccess": true}}]}}})
    };
    let (code, _, message) = told(cluster.create(&DEVICE_CLAIMS, "default", claim()).await);
    assert_eq!(code, 422);
    assert!(message.contains("spec.devices.requests[0].adminAccess: Forbidden: admin access to devices"), "{message}");
    let namespace = value!({"metadata": {"name": "admins", "labels": {"resource.kubernetes.io/admin-access": "true"}}});
    cluster.create(&gvr::NAMESPACES, "", namespace).await.unwrap();
    cluster.create(&DEVICE_CLAIMS, "admins", claim()).await.unwrap();
}
