//! PATCH in its four formats.

use futures_util::future::join_all;
use gantry_machinery::resource::gvr;
use gantry_machinery::resource_api::PatchKind::{Apply, Json, Merge, Strategic};

use crate::support::{Cluster, config_map, pod, told, value};

#[tokio::test]
async fn every_format_changes_the_object() {
    let cluster = Cluster::new().await;
    cluster.create(&gvr::PODS, "default", pod("a")).await.unwrap();
    let merged =
        cluster.patch(&gvr::PODS, "a", Merge, r#"{"metadata":{"labels":{"app":null,"x":"1"}}}"#).await.unwrap();
    assert_eq!((merged.facets.label("app"), merged.facets.label("x")), (None, Some("1")));
    let document = r#"[{"op":"test","path":"/metadata/labels/x","value":"1"},{"op":"add","path":"/metadata/labels/y","value":"2"}]"#;
    let patched = cluster.patch(&gvr::PODS, "a", Json, document).await.unwrap();
    assert_eq!(patched.facets.label("y"), Some("2"));
    let document = r#"{"spec":{"containers":[{"name":"c","image":"nginx:2"}]}}"#;
    let object = value(&cluster.patch(&gvr::PODS, "a", Strategic, document).await.unwrap());
    let container = &object.array_at(&["spec", "containers"])[0];
    assert_eq!(container.str_at(&["image"]), Some("nginx:2"));
    assert!(!container.array_at(&["volumeMounts"]).is_empty(), "the container was merged by its name");
    assert_eq!(object.i64_at(&["metadata", "generation"]), Some(2));
}

#[tokio::test]
async fn concurrent_patches_all_take_effect() {
    let cluster = Cluster::new().await;
    cluster.create(&gvr::CONFIG_MAPS, "default", config_map("a")).await.unwrap();
    // As many as there are attempts: each round lets at least one through.
    let documents: Vec<String> = (0..5).map(|n| format!(r#"{{"data":{{"k{n}":"v"}}}}"#)).collect();
    let outcomes = join_all(documents.iter().map(|d| cluster.patch(&gvr::CONFIG_MAPS, "a", Merge, d))).await;
    assert!(outcomes.iter().all(Result::is_ok));
    let object = value(&cluster.get(&gvr::CONFIG_MAPS, "a").await.unwrap());
    assert_eq!(object.object_at(&["data"]).unwrap().len(), 6);
}

#[tokio::test]
async fn a_version_in_the_patch_is_a_precondition() {
    let cluster = Cluster::new().await;
    let stored = cluster.create(&gvr::CONFIG_MAPS, "default", config_map("a")).await.unwrap();
    let with = |version: u64| format!(r#"{{"metadata":{{"resourceVersion":"{version}"}},"data":{{"n":"1"}}}}"#);
    let before = cluster.revision();
    let stale = cluster.patch(&gvr::CONFIG_MAPS, "a", Merge, &with(stored.revision.0 - 1)).await;
    assert_eq!(told(stale).1, "Conflict");
    assert_eq!(cluster.revision(), before);
    cluster.patch(&gvr::CONFIG_MAPS, "a", Merge, &with(stored.revision.0)).await.unwrap();
}

#[tokio::test]
async fn a_patch_that_cannot_be_made_changes_nothing() {
    let cluster = Cluster::new().await;
    cluster.create(&gvr::CONFIG_MAPS, "default", config_map("a")).await.unwrap();
    let before = cluster.revision();
    let failing = r#"[{"op":"test","path":"/data/k","value":"other"}]"#;
    assert_eq!(told(cluster.patch(&gvr::CONFIG_MAPS, "a", Json, failing).await).0, 422);
    assert_eq!(told(cluster.patch(&gvr::CONFIG_MAPS, "a", Merge, "{").await).0, 400);
    assert_eq!(told(cluster.patch(&gvr::CONFIG_MAPS, "none", Merge, "{}").await).0, 404);
    let renamed = cluster.patch(&gvr::CONFIG_MAPS, "a", Merge, r#"{"metadata":{"name":"b"}}"#).await;
    assert_eq!(told(renamed).0, 400);
    let unchanged = cluster.patch(&gvr::CONFIG_MAPS, "a", Merge, r#"{"data":{"k":"v"}}"#).await.unwrap();
    assert_eq!(unchanged.revision.0, before, "a patch that changes nothing is no write");
    assert_eq!(cluster.revision(), before);
}

#[tokio::test]
async fn apply_creates_then_changes_then_conflicts() {
    let cluster = Cluster::new().await;
    let document = r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"},"data":{"x":"1"}}"#;
    let first = cluster.patch(&gvr::CONFIG_MAPS, "a", Apply, document).await.unwrap();
    let managed = value(&first);
    let managed = managed.array_at(&["metadata", "managedFields"]);
    assert_eq!(managed[0].str_at(&["operation"]), Some("Apply"));
    assert_eq!(managed[0].str_at(&["manager"]), Some("patcher"));
    let yaml = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {x: '1'}\n";
    let again = cluster.patch(&gvr::CONFIG_MAPS, "a", Apply, yaml).await.unwrap();
    assert_eq!(again.revision, first.revision, "the same configuration again is no write");

    // Another manager takes the field; applying another value of it now conflicts.
    let mut object = value(&first);
    object.set(&["data", "x"], "2");
    cluster.update(&gvr::CONFIG_MAPS, object).await.unwrap();
    let status = cluster.patch(&gvr::CONFIG_MAPS, "a", Apply, document).await.unwrap_err();
    assert_eq!((status.code, status.reason), (409, "Conflict"));
    assert!(status.has_cause("FieldManagerConflict"));
}
