//! PUT, and what it may change where.

use gantry_machinery::resource::gvr;
use gantry_machinery::resource_api::{PatchBody, PatchKind, ResourceApi, Target, WriteOptions};
use gantry_machinery::status::MODIFIED;
use gantry_machinery::value;

use crate::support::{Cluster, config_map, deployment, told, value};

#[tokio::test]
async fn a_stale_version_is_refused_and_none_means_the_latest() {
    let cluster = Cluster::new().await;
    let first = value(&cluster.create(&gvr::CONFIG_MAPS, "default", config_map("a")).await.unwrap());
    let mut second = first.clone();
    second.set(&["data", "k"], "2");
    cluster.update(&gvr::CONFIG_MAPS, second).await.unwrap();

    let before = cluster.revision();
    let mut stale = first;
    stale.set(&["data", "k"], "3");
    let text = format!("Operation cannot be fulfilled on configmaps \"a\": {MODIFIED}");
    assert_eq!(told(cluster.update(&gvr::CONFIG_MAPS, stale.clone()).await), (409, "Conflict", text));
    assert_eq!(cluster.revision(), before);

    stale.remove(&["metadata", "resourceVersion"]);
    let stored = value(&cluster.update(&gvr::CONFIG_MAPS, stale).await.unwrap());
    assert_eq!(stored.str_at(&["data", "k"]), Some("3"));
}

#[tokio::test]
async fn the_same_object_again_is_no_write() {
    let cluster = Cluster::new().await;
    let stored = cluster.create(&gvr::CONFIG_MAPS, "default", config_map("a")).await.unwrap();
    let before = cluster.revision();
    let again = cluster.update(&gvr::CONFIG_MAPS, value(&stored)).await.unwrap();
    assert_eq!(again.revision, stored.revision);
    let again = cluster.update(&gvr::CONFIG_MAPS, config_map("a")).await.unwrap();
    assert_eq!(again.revision, stored.revision, "what the server set is carried over");
    assert_eq!(cluster.revision(), before);
}

#[tokio::test]
async fn what_does_not_fit_is_refused() {
    let cluster = Cluster::new().await;
    let stored = value(&cluster.create(&gvr::CONFIG_MAPS, "default", config_map("a")).await.unwrap());
    assert_eq!(told(cluster.update(&gvr::CONFIG_MAPS, config_map("none")).await).1, "NotFound");
    let mut other = stored.clone();
    other.set(&["metadata", "uid"], "another");
    let (code, reason, message) = told(cluster.update(&gvr::CONFIG_MAPS, other).await);
    assert_eq!((code, reason), (409, "Conflict"));
    assert!(message.contains("Precondition failed: UID in precondition: another, UID in object meta: "), "{message}");
    let target = Target::object(&gvr::CONFIG_MAPS, "default", "b");
    let (code, _, message) = told(cluster.api.update(&target, stored, &WriteOptions::default()).await);
    assert_eq!(code, 400);
    assert_eq!(message, "the name of the object (a) does not match the name on the URL (b)");
}

#[tokio::test]
async fn spec_and_status_are_written_apart_and_generation_follows_the_spec() {
    let cluster = Cluster::new().await;
    let mut object = value(&cluster.create(&gvr::DEPLOYMENTS, "default", deployment("web")).await.unwrap());
    assert_eq!(object.i64_at(&["metadata", "generation"]), Some(1));
    object.set(&["spec", "replicas"], 5);
    object.set(&["status", "replicas"], 9);
    let updated = value(&cluster.update(&gvr::DEPLOYMENTS, object.clone()).await.unwrap());
    assert_eq!(updated.i64_at(&["metadata", "generation"]), Some(2));
    assert_eq!(updated.i64_at(&["spec", "replicas"]), Some(5));
    assert_ne!(updated.i64_at(&["status", "replicas"]), Some(9), "not by this endpoint");

    let mut status = updated.clone();
    status.set(&["spec", "replicas"], 7);
    status.set(&["status", "replicas"], 5);
    let target = Target::object(&gvr::DEPLOYMENTS, "default", "web").sub("status");
    let updated = value(&cluster.api.update(&target, status, &WriteOptions::default()).await.unwrap());
    assert_eq!(updated.i64_at(&["spec", "replicas"]), Some(5), "not by this endpoint");
    assert_eq!(updated.i64_at(&["status", "replicas"]), Some(5));
    assert_eq!(updated.i64_at(&["metadata", "generation"]), Some(2));
    let managed = updated.array_at(&["metadata", "managedFields"]);
    assert!(managed.iter().any(|m| m.str_at(&["subresource"]) == Some("status")), "{managed:?}");
}

#[tokio::test]
async fn scale_is_a_view_of_replicas() {
    let cluster = Cluster::new().await;
    cluster.create(&gvr::DEPLOYMENTS, "default", deployment("web")).await.unwrap();
    let target = Target::object(&gvr::DEPLOYMENTS, "default", "web").sub("scale");
    let mut scale = value(&cluster.api.get(&target).await.unwrap());
    assert_eq!(scale.str_at(&["kind"]), Some("Scale"));
    assert_eq!(scale.i64_at(&["spec", "replicas"]), Some(2));
    assert_eq!(scale.str_at(&["status", "selector"]), Some("app=web"));
    scale.set(&["spec", "replicas"], 4);
    let scaled = value(&cluster.api.update(&target, scale.clone(), &WriteOptions::default()).await.unwrap());
    assert_eq!(scaled.i64_at(&["spec", "replicas"]), Some(4));
    let object = value(&cluster.get(&gvr::DEPLOYMENTS, "web").await.unwrap());
    assert_eq!(object.i64_at(&["spec", "replicas"]), Some(4));
    assert_eq!(object.i64_at(&["metadata", "generation"]), Some(2));
    let stale = cluster.api.update(&target, scale.clone(), &WriteOptions::default()).await;
    assert_eq!(told(stale).1, "Conflict", "the Scale carries the version it was read at");
    scale.remove(&["metadata", "resourceVersion"]);
    scale.set(&["spec", "replicas"], -1);
    let (code, reason, message) = told(cluster.api.update(&target, scale, &WriteOptions::default()).await);
    assert_eq!((code, reason), (422, "Invalid"));
    assert!(message.contains("spec.replicas: Invalid value: -1: must be greater than or equal to 0"), "{message}");
}

#[tokio::test]
async fn an_invalid_update_changes_nothing() {
    let cluster = Cluster::new().await;
    let mut object = value(&cluster.create(&gvr::CONFIG_MAPS, "default", config_map("a")).await.unwrap());
    let before = cluster.revision();
    object.set(&["metadata", "ownerReferences"], value!([{"apiVersion": "v1", "kind": "Pod", "name": "p"}]));
    let (code, reason, message) = told(cluster.update(&gvr::CONFIG_MAPS, object).await);
    assert_eq!((code, reason), (422, "Invalid"));
    assert!(message.contains("metadata.ownerReferences.uid: Invalid value: \"\": must not be empty"), "{message}");
    assert_eq!(cluster.revision(), before);
}

#[tokio::test]
async fn a_kind_that_wants_the_version_named_is_still_patched_without() {
    let cluster = Cluster::new().await;
    let budget = value!({"metadata": {"name": "b", "namespace": "default"}, "spec": {"minAvailable": 1}});
    cluster.create(&gvr::POD_DISRUPTION_BUDGETS, "default", budget.clone()).await.unwrap();
    let (code, _, message) = told(cluster.update(&gvr::POD_DISRUPTION_BUDGETS, budget).await);
    assert_eq!(code, 422);
    assert!(message.contains("metadata.resourceVersion: Invalid value: \"\": must be specified"), "{message}");
    let target = Target::object(&gvr::POD_DISRUPTION_BUDGETS, "default", "b");
    let patch = PatchBody { kind: PatchKind::Merge, body: r#"{"spec":{"minAvailable":2}}"#.into() };
    let patched = value(&cluster.api.patch(&target, patch, &WriteOptions::default()).await.unwrap());
    assert_eq!(patched.i64_at(&["spec", "minAvailable"]), Some(2));
}
