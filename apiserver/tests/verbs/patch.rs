//! PATCH in its four formats.

use futures_util::future::join_all;
use gantry_machinery::resource::gvr;
use gantry_machinery::resource_api::PatchKind::{Apply, Json, Merge, Strategic};
use gantry_machinery::resource_api::{FieldValidation, PatchBody, PatchKind, ResourceApi, Target, WriteOptions};

use crate::support::{Cluster, config_map, deployment, pod, told, value};

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

/// A patch with `fieldValidation=Strict`.
async fn strictly(cluster: &Cluster, kind: PatchKind, document: &str) -> (u16, String) {
    let target = Target::object(&gvr::CONFIG_MAPS, "default", "strict");
    let options = WriteOptions {
        field_manager: "m".into(),
        field_validation: FieldValidation::Strict,
        ..WriteOptions::default()
    };
    let (code, _, message) =
        told(cluster.api.patch(&target, PatchBody { kind, body: document.to_owned().into() }, &options).await);
    (code, message)
}

#[tokio::test]
async fn strict_patches_name_no_field_twice_and_no_field_that_is_unknown() {
    let cluster = Cluster::new().await;
    cluster.create(&gvr::CONFIG_MAPS, "default", config_map("strict")).await.unwrap();
    let before = cluster.revision();
    let (code, message) = strictly(&cluster, Merge, r#"{"data":{"a":"1","a":"2"},"datum":{}}"#).await;
    assert_eq!(code, 422);
    assert!(
        message.ends_with("strict decoding error: duplicate field \"data.a\", unknown field \"datum\""),
        "{message}"
    );
    let operations = r#"[{"op":"add","path":"/data/a","path":"/data/b","value":"1","why":"?"}]"#;
    let (code, message) = strictly(&cluster, Json, operations).await;
    assert_eq!(code, 422);
    let both = "json patch duplicate field \"[0].path\", json patch unknown field \"[0].why\"";
    assert!(message.ends_with(both), "{message}");
    let (code, message) = strictly(&cluster, Strategic, r#"{"data":{"b":"1"},"datum":{"x":[1,null]}}"#).await;
    assert_eq!(code, 422);
    assert_eq!(
        message,
        " \"\" is invalid: patch: Invalid value: \"map[data:map[b:1] datum:map[x:[1 <nil>]]]\": strict decoding error: \
         unknown field \"datum\""
    );
    let applied = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: strict\ndata:\n  a: one\n  a: two\n";
    let (code, message) = strictly(&cluster, Apply, applied).await;
    assert_eq!(code, 400);
    assert_eq!(
        message,
        "error strict decoding YAML: error converting YAML to JSON: yaml: unmarshal errors:\n  line 7: key \"a\" already \
         set in map"
    );
    assert_eq!(cluster.revision(), before);
}

#[tokio::test]
async fn a_scale_can_be_applied_and_its_applier_owns_the_number() {
    let cluster = Cluster::new().await;
    cluster.create(&gvr::DEPLOYMENTS, "default", deployment("web")).await.unwrap();
    let target = Target { subresource: "scale", ..Target::object(&gvr::DEPLOYMENTS, "default", "web") };
    let scale = r#"{"apiVersion":"autoscaling/v1","kind":"Scale","metadata":{"name":"web"},"spec":{"replicas":5}}"#;
    let apply = |force: bool| {
        let options = WriteOptions { field_manager: "scaler".into(), force, ..WriteOptions::default() };
        let api = cluster.api.clone();
        async move { api.patch(&target, PatchBody { kind: Apply, body: scale.into() }, &options).await }
    };
    let (code, _, message) = told(apply(false).await);
    assert_eq!(code, 409);
    assert!(message.contains("conflict"), "{message}");
    let shown = value(&apply(true).await.unwrap());
    assert_eq!((shown.str_at(&["kind"]), shown.i64_at(&["spec", "replicas"])), (Some("Scale"), Some(5)));
    let stored = value(&cluster.get(&gvr::DEPLOYMENTS, "web").await.unwrap());
    let entries = stored.array_at(&["metadata", "managedFields"]);
    let own = entries.iter().find(|e| e.str_at(&["manager"]) == Some("scaler")).unwrap();
    assert_eq!((own.str_at(&["operation"]), own.str_at(&["subresource"])), (Some("Apply"), Some("scale")));
    assert!(own.at(&["fieldsV1", "f:spec", "f:replicas"]).is_some());
}

#[tokio::test]
async fn an_apply_with_a_uid_creates_nothing() {
    let cluster = Cluster::new().await;
    let document = r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"none","uid":"u"}}"#;
    let (code, reason, message) = told(cluster.patch(&gvr::CONFIG_MAPS, "none", Apply, document).await);
    assert_eq!((code, reason), (409, "Conflict"));
    assert!(message.ends_with("the provided object specified uid u, and no existing object was found"), "{message}");
}
