//! What admission adds to objects, and refuses, by looking at other objects.

use futures_util::future::join_all;
use gantry_machinery::resource::{GroupVersionResource, gvr};
use gantry_machinery::resource_api::{PatchBody, PatchKind, ResourceApi, Target, WriteOptions};
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

static QUOTAS: GroupVersionResource = GroupVersionResource::of("", "v1", "resourcequotas");

/// A quota as it is once its namespace has been counted.
async fn counted_quota(cluster: &Cluster, hard: Value, used: Value) {
    let quota = value!({"metadata": {"name": "q"}, "spec": {"hard": (hard.clone())}});
    let mut quota = value(&cluster.create(&QUOTAS, "default", quota).await.unwrap());
    quota.set(&["status"], value!({"hard": hard, "used": used}));
    let target = Target { subresource: "status", ..Target::object(&QUOTAS, "default", "q") };
    cluster.api.update(&target, quota, &WriteOptions::default()).await.unwrap();
}

async fn used(cluster: &Cluster, resource: &str) -> String {
    let quota = value(&cluster.get(&QUOTAS, "q").await.unwrap());
    quota.str_at(&["status", "used", resource]).unwrap_or_default().to_owned()
}

#[tokio::test]
async fn creations_at_the_same_time_never_use_more_than_the_quota_has() {
    let cluster = Cluster::new().await;
    counted_quota(&cluster, value!({"pods": "5"}), value!({"pods": "0"})).await;
    let names: Vec<String> = (0..20).map(|n| format!("p{n}")).collect();
    let outcomes = join_all(names.iter().map(|name| cluster.create(&gvr::PODS, "default", pod(name)))).await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 5);
    assert_eq!(used(&cluster, "pods").await, "5");
    let (code, _, message) = told(outcomes.into_iter().find(Result::is_err).unwrap());
    assert_eq!(code, 403);
    assert!(message.ends_with("exceeded quota: q, requested: pods=1, used: pods=5, limited: pods=5"), "{message}");
}

#[tokio::test]
async fn a_quota_is_charged_with_what_was_written_and_nothing_else() {
    let cluster = Cluster::new().await;
    counted_quota(&cluster, value!({"requests.cpu": "1", "pods": "9"}), value!({"requests.cpu": "0", "pods": "0"}))
        .await;
    let (code, _, message) = told(cluster.create(&gvr::PODS, "default", pod("silent")).await);
    assert_eq!(code, 403);
    assert!(message.ends_with("failed quota: q: must specify requests.cpu for: c"), "{message}");
    let asking = |name: &str, cpu: &str| {
        let mut pod = pod(name);
        let Some(Value::Array(containers)) = pod.at_mut(&["spec", "containers"]) else { unreachable!() };
        containers[0].set(&["resources", "requests", "cpu"], cpu);
        pod
    };
    cluster.create(&gvr::PODS, "default", asking("a", "600m")).await.unwrap();
    let (_, _, message) = told(cluster.create(&gvr::PODS, "default", asking("b", "500m")).await);
    let told_all = "exceeded quota: q, requested: requests.cpu=500m, used: requests.cpu=600m, limited: requests.cpu=1";
    assert!(message.ends_with(told_all), "{message}");
    // Neither a refusal, nor a rehearsal, nor a name that is taken costs anything.
    let rehearsal = WriteOptions { dry_run: true, ..WriteOptions::default() };
    let target = Target::object(&gvr::PODS, "default", "");
    cluster.api.create(&target, asking("c", "100m"), &rehearsal).await.unwrap();
    assert_eq!(told(cluster.create(&gvr::PODS, "default", asking("a", "100m")).await).1, "AlreadyExists");
    assert_eq!((used(&cluster, "requests.cpu").await, used(&cluster, "pods").await), ("600m".into(), "1".into()));
}

#[tokio::test]
async fn a_quota_without_a_count_lets_nothing_in_and_an_update_costs_the_difference() {
    let cluster = Cluster::new().await;
    counted_quota(&cluster, value!({"services.nodeports": "1", "services": "3"}), value!({"services": "0"})).await;
    let service =
        |name: &str, kind: &str| value!({"metadata": {"name": name}, "spec": {"type": kind, "ports": [{"port": 80}]}});
    let (_, _, message) = told(cluster.create(&gvr::SERVICES, "default", service("s", "ClusterIP")).await);
    assert!(message.ends_with("status unknown for quota: q, resources: services,services.nodeports"), "{message}");
    let target = Target { subresource: "status", ..Target::object(&QUOTAS, "default", "q") };
    let mut quota = value(&cluster.get(&QUOTAS, "q").await.unwrap());
    quota.set(&["status", "used", "services.nodeports"], "0");
    cluster.api.update(&target, quota, &WriteOptions::default()).await.unwrap();
    for name in ["s", "t"] {
        cluster.create(&gvr::SERVICES, "default", service(name, "ClusterIP")).await.unwrap();
    }
    let exposed = r#"{"spec":{"type":"NodePort"}}"#;
    cluster.patch(&gvr::SERVICES, "s", PatchKind::Merge, exposed).await.unwrap();
    assert_eq!(
        (used(&cluster, "services.nodeports").await, used(&cluster, "services").await),
        ("1".into(), "2".into())
    );
    let (code, _, _) = told(cluster.patch(&gvr::SERVICES, "t", PatchKind::Merge, exposed).await);
    assert_eq!(code, 403);
}
