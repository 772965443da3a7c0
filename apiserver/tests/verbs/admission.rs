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

/// A namespace with these labels, made anew.
async fn labelled(cluster: &Cluster, name: &str, labels: Value) {
    let namespace = value!({"metadata": {"name": name, "labels": labels}});
    cluster.create(&gvr::NAMESPACES, "", namespace).await.unwrap();
    let account = value!({"metadata": {"name": "default"}});
    cluster.create(&gvr::SERVICE_ACCOUNTS, name, account).await.unwrap();
}

fn pod_in(namespace: &str, name: &str, spec: &[(&str, Value)]) -> Value {
    let mut pod = pod(name);
    pod.set(&["metadata", "namespace"], namespace);
    for (field, value) in spec {
        pod.set(&["spec", field], value.clone());
    }
    pod
}

#[tokio::test]
async fn pods_are_held_to_the_standards_that_their_namespace_enforces() {
    let cluster = Cluster::new().await;
    labelled(&cluster, "safe", value!({"pod-security.kubernetes.io/enforce": "baseline"})).await;
    let shared = |name| pod_in("safe", name, &[("hostPID", Value::from(true))]);
    let (code, reason, message) = told(cluster.create(&gvr::PODS, "safe", shared("a")).await);
    assert_eq!((code, reason), (403, "Forbidden"));
    assert_eq!(
        message,
        "pods \"a\" is forbidden: violates PodSecurity \"baseline:latest\": host namespaces (hostPID=true)"
    );
    cluster.create(&gvr::PODS, "safe", pod_in("safe", "b", &[])).await.unwrap();
    // The same pod is nobody's concern where nothing is asked.
    cluster.create(&gvr::PODS, "default", pod_in("default", "a", &[("hostPID", Value::from(true))])).await.unwrap();
}

#[tokio::test]
async fn standards_that_warn_let_in_and_say_what_would_not_be() {
    let cluster = Cluster::new().await;
    labelled(&cluster, "told", value!({"pod-security.kubernetes.io/warn": "baseline"})).await;
    let request = gantry_apiserver::registry::request::RequestContext::in_process("test");
    let api = cluster.registry.as_user(request.clone());
    let made = |object: Value, resource: &'static GroupVersionResource| {
        let api = api.clone();
        async move {
            use gantry_machinery::resource_api::{ResourceApi, Target, WriteOptions};
            api.create(&Target::object(resource, "told", ""), object, &WriteOptions::default()).await.unwrap();
        }
    };
    made(pod_in("told", "a", &[("hostIPC", Value::from(true))]), &gvr::PODS).await;
    let expected = "would violate PodSecurity \"baseline:latest\": host namespaces (hostIPC=true)";
    assert_eq!(request.warnings.take(), [expected]);
    let mut deployment = crate::support::deployment("d");
    deployment.set(&["metadata", "namespace"], "told");
    deployment.set(&["spec", "template", "spec", "hostIPC"], true);
    made(deployment, &gvr::DEPLOYMENTS).await;
    assert_eq!(request.warnings.take(), [expected]);
}

#[tokio::test]
async fn namespaces_with_wrong_standards_are_refused_and_stricter_ones_name_the_pods_that_break_them() {
    let cluster = Cluster::new().await;
    let wrong = value!({"metadata": {"name": "n", "labels": {"pod-security.kubernetes.io/enforce": "strict"}}});
    let (code, reason, message) = told(cluster.create(&gvr::NAMESPACES, "", wrong).await);
    assert_eq!((code, reason), (422, "Invalid"));
    assert_eq!(
        message,
        "Namespace \"n\" is invalid: metadata.labels[pod-security.kubernetes.io/enforce]: Invalid value: \"strict\": must \
         be one of privileged, baseline, restricted"
    );
    for name in ["b", "a"] {
        let pod = pod_in("default", name, &[("hostPID", Value::from(true))]);
        cluster.create(&gvr::PODS, "default", pod).await.unwrap();
    }
    use gantry_machinery::resource_api::{PatchBody, PatchKind, ResourceApi, Target, WriteOptions};
    let request = gantry_apiserver::registry::request::RequestContext::in_process("test");
    let api = cluster.registry.as_user(request.clone());
    let labels = r#"{"metadata":{"labels":{"pod-security.kubernetes.io/enforce":"baseline"}}}"#;
    let patch = PatchBody { kind: PatchKind::Merge, body: labels.into() };
    let target = Target::object(&gvr::NAMESPACES, "", "default");
    api.patch(&target, patch, &WriteOptions::default()).await.unwrap();
    assert_eq!(
        request.warnings.take(),
        [
            "existing pods in namespace \"default\" violate the new PodSecurity enforce level \"baseline:latest\"",
            "a (and 1 other pod): host namespaces",
        ]
    );
}

#[tokio::test]
async fn volumes_and_claims_begin_with_the_finalizer_that_keeps_them_while_used() {
    let cluster = Cluster::new().await;
    let made = value(&cluster.create(&CLAIMS, "default", claim("kept")).await.unwrap());
    let finalizers = made.array_at(&["metadata", "finalizers"]);
    assert_eq!(finalizers, [Value::from("kubernetes.io/pvc-protection")]);
}
