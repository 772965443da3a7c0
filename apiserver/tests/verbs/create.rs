//! POST.

use gantry_apiserver::registry::handle::{BodyFormat, RequestBody};
use gantry_machinery::resource::gvr;
use gantry_machinery::resource_api::{DeleteOptions, FieldValidation, ResourceApi, Target, WriteOptions};
use gantry_machinery::value;

use crate::support::{Cluster, config_map, pod, told, value};

#[tokio::test]
async fn the_server_fills_in_identity_and_owner() {
    let cluster = Cluster::new().await;
    let stored = cluster.create(&gvr::CONFIG_MAPS, "default", config_map("a")).await.unwrap();
    let object = value(&stored);
    assert_eq!(object.str_at(&["kind"]), Some("ConfigMap"));
    assert_eq!(object.str_at(&["apiVersion"]), Some("v1"));
    assert_eq!(object.str_at(&["metadata", "uid"]).unwrap().len(), 36);
    assert!(object.str_at(&["metadata", "creationTimestamp"]).unwrap().ends_with('Z'));
    assert_eq!(object.str_at(&["metadata", "resourceVersion"]), Some(stored.revision.to_string().as_str()));
    let managed = object.array_at(&["metadata", "managedFields"]);
    assert_eq!(managed.len(), 1);
    assert_eq!(managed[0].str_at(&["manager"]), Some("test"));
    assert_eq!(cluster.get(&gvr::CONFIG_MAPS, "a").await.unwrap().body, stored.body);
}

#[tokio::test]
async fn a_taken_name_is_refused_and_a_generated_one_is_not() {
    let cluster = Cluster::new().await;
    cluster.create(&gvr::CONFIG_MAPS, "default", config_map("a")).await.unwrap();
    let before = cluster.revision();
    let again = cluster.create(&gvr::CONFIG_MAPS, "default", config_map("a")).await;
    assert_eq!(told(again), (409, "AlreadyExists", "configmaps \"a\" already exists".into()));
    assert_eq!(cluster.revision(), before);

    let named = value!({"metadata": {"generateName": "web-"}});
    let stored = cluster.create(&gvr::CONFIG_MAPS, "default", named).await.unwrap();
    let name = stored.key.name();
    assert!(name.starts_with("web-") && name.len() == 9, "{name}");
    assert_eq!(value(&stored).str_at(&["metadata", "generateName"]), Some("web-"));
}

#[tokio::test]
async fn bad_input_gets_its_status_and_changes_nothing() {
    let cluster = Cluster::new().await;
    let before = cluster.revision();
    let nameless = cluster.create(&gvr::CONFIG_MAPS, "default", value!({"metadata": {}})).await;
    let text = "ConfigMap \"\" is invalid: metadata.name: Required value: name or generateName is required";
    assert_eq!(told(nameless), (422, "Invalid", text.into()));

    let elsewhere = value!({"metadata": {"name": "a", "namespace": "other"}});
    let status = cluster.create(&gvr::CONFIG_MAPS, "default", elsewhere).await.unwrap_err();
    let text = "the namespace of the provided object does not match the namespace sent on the request";
    assert_eq!((status.code, status.message.as_str()), (400, text));

    let missing = cluster.create(&gvr::CONFIG_MAPS, "nowhere", value!({"metadata": {"name": "a"}})).await;
    assert_eq!(told(missing), (404, "NotFound", "namespaces \"nowhere\" not found".into()));

    let versioned = value!({"metadata": {"name": "a", "resourceVersion": "1"}});
    let status = cluster.create(&gvr::CONFIG_MAPS, "default", versioned).await.unwrap_err();
    assert_eq!(status.message, "resourceVersion should not be set on objects to be created");

    let other_kind = value!({"kind": "Secret", "apiVersion": "v1", "metadata": {"name": "a"}});
    assert_eq!(cluster.create(&gvr::CONFIG_MAPS, "default", other_kind).await.unwrap_err().code, 400);

    let labelled = value!({"metadata": {"name": "a", "labels": {"-bad": "x"}, "finalizers": ["no_slash!"]}});
    let status = cluster.create(&gvr::CONFIG_MAPS, "default", labelled).await.unwrap_err();
    let fields: Vec<&str> = status.details.as_ref().unwrap().causes.iter().map(|c| c.field.as_str()).collect();
    assert_eq!(fields[0], "metadata.labels");
    assert!(fields.contains(&"metadata.finalizers"), "{fields:?}");
    assert_eq!(cluster.revision(), before, "nothing was written");
}

#[tokio::test]
async fn a_dry_run_goes_all_the_way_but_one_step() {
    let cluster = Cluster::new().await;
    let before = cluster.revision();
    let target = Target::object(&gvr::CONFIG_MAPS, "default", "");
    let options = WriteOptions { dry_run: true, ..WriteOptions::default() };
    let object = value(&cluster.api.create(&target, config_map("a"), &options).await.unwrap());
    assert_eq!(object.str_at(&["metadata", "uid"]).unwrap().len(), 36);
    assert!(object.at(&["metadata", "resourceVersion"]).is_none());
    assert_eq!(cluster.revision(), before);
    cluster.create(&gvr::CONFIG_MAPS, "default", config_map("a")).await.unwrap();
    let taken = cluster.api.create(&target, config_map("a"), &options).await;
    assert_eq!(told(taken).1, "AlreadyExists");
}

#[tokio::test]
async fn nothing_is_created_in_a_namespace_that_ends() {
    let cluster = Cluster::new().await;
    cluster.create(&gvr::NAMESPACES, "", value!({"metadata": {"name": "ending"}})).await.unwrap();
    cluster.api.delete(&Target::object(&gvr::NAMESPACES, "", "ending"), &DeleteOptions::default()).await.unwrap();
    let status = cluster.create(&gvr::CONFIG_MAPS, "ending", value!({"metadata": {"name": "a"}})).await.unwrap_err();
    assert_eq!((status.code, status.reason), (403, "Forbidden"));
    assert_eq!(
        status.message,
        "configmaps \"a\" is forbidden: unable to create new content in namespace ending because it is being terminated"
    );
    assert!(status.has_cause("NamespaceTerminating"));
    let immortal =
        cluster.api.delete(&Target::object(&gvr::NAMESPACES, "", "default"), &DeleteOptions::default()).await;
    assert_eq!(
        told(immortal),
        (403, "Forbidden", "namespaces \"default\" is forbidden: this namespace may not be deleted".into())
    );
}

#[tokio::test]
async fn a_pod_is_admitted_with_account_tolerations_and_priority() {
    let cluster = Cluster::new().await;
    let pod = value(&cluster.create(&gvr::PODS, "default", pod("a")).await.unwrap());
    assert_eq!(pod.str_at(&["spec", "serviceAccountName"]), Some("default"));
    assert_eq!(pod.i64_at(&["spec", "priority"]), Some(0));
    assert_eq!(pod.str_at(&["spec", "preemptionPolicy"]), Some("PreemptLowerPriority"));
    let tolerations = pod.array_at(&["spec", "tolerations"]);
    assert_eq!(tolerations.len(), 2);
    assert_eq!(tolerations[0].i64_at(&["tolerationSeconds"]), Some(300));
    let mount = &pod.array_at(&["spec", "containers"])[0].array_at(&["volumeMounts"])[0];
    assert_eq!(mount.str_at(&["mountPath"]), Some("/var/run/secrets/kubernetes.io/serviceaccount"));
    assert_eq!(pod.i64_at(&["metadata", "generation"]), Some(1));
    assert_eq!(pod.str_at(&["status", "phase"]), Some("Pending"));

    let mut unknown = crate::support::pod("b");
    unknown.set(&["spec", "priorityClassName"], "none-such");
    let refused = told(cluster.create(&gvr::PODS, "default", unknown).await);
    let text = "pods \"b\" is forbidden: no PriorityClass with name none-such was found";
    assert_eq!(refused, (403, "Forbidden", text.into()));
    let mut stranger = crate::support::pod("c");
    stranger.set(&["spec", "serviceAccountName"], "none-such");
    let refused = told(cluster.create(&gvr::PODS, "default", stranger).await);
    let text = "pods \"c\" is forbidden: error looking up service account default/none-such: serviceaccounts \
                \"none-such\" not found";
    assert_eq!(refused, (403, "Forbidden", text.into()));
}

#[tokio::test]
async fn a_new_node_is_tainted_until_it_is_seen_ready() {
    let cluster = Cluster::new().await;
    let node = value(&cluster.create(&gvr::NODES, "", value!({"metadata": {"name": "n1"}})).await.unwrap());
    let taints = node.array_at(&["spec", "taints"]);
    assert_eq!(taints.len(), 1);
    assert_eq!(taints[0].str_at(&["key"]), Some("node.kubernetes.io/not-ready"));
    assert_eq!(taints[0].str_at(&["effect"]), Some("NoSchedule"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_is_left_in_a_namespace_after_its_end_began() {
    let cluster = std::sync::Arc::new(Cluster::new().await);
    cluster.create(&gvr::NAMESPACES, "", value!({"metadata": {"name": "ending"}})).await.unwrap();
    let creators = (0..8).map(|creator| {
        let cluster = cluster.clone();
        tokio::spawn(async move {
            for n in 0..50 {
                let map = value!({"metadata": {"name": (format!("m{creator}-{n}"))}});
                if let Err(status) = cluster.create(&gvr::CONFIG_MAPS, "ending", map).await {
                    assert!(status.has_cause("NamespaceTerminating"), "{status}");
                }
            }
        })
    });
    let creators = futures_util::future::join_all(creators);
    let target = Target::object(&gvr::NAMESPACES, "", "ending");
    let options = DeleteOptions::default();
    let (created, ended) = tokio::join!(creators, cluster.api.delete(&target, &options));
    assert!(created.into_iter().all(|c| c.is_ok()));
    let gantry_machinery::resource_api::Deleted::Marked(ended) = ended.unwrap() else { panic!("it has a finalizer") };
    let view = cluster.registry.store().view();
    assert!(view.scan("configmaps", Some("ending"), None).all(|map| map.created < ended.revision));
}

#[tokio::test]
async fn bodies_are_read_by_the_schema() {
    let cluster = Cluster::new().await;
    let target = Target::object(&gvr::CONFIG_MAPS, "default", "");
    let send = async |format, body: &str, field_validation| {
        let body = RequestBody { format, bytes: body.to_owned().into() };
        let options = WriteOptions { field_validation, ..WriteOptions::default() };
        cluster.api.create_body(&target, body, &options).await
    };
    let unknown = r#"{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"a"},"colour":"red"}"#;
    let before = cluster.revision();
    let (code, reason, message) = told(send(BodyFormat::Json, unknown, FieldValidation::Strict).await);
    assert_eq!((code, reason), (400, "BadRequest"));
    assert!(message.contains("strict decoding error: unknown field \"colour\""), "{message}");
    let wrong = r#"{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"a"},"data":{"k":1}}"#;
    assert_eq!(told(send(BodyFormat::Json, wrong, FieldValidation::Ignore).await).0, 400);
    assert_eq!(told(send(BodyFormat::Json, "{", FieldValidation::Ignore).await).0, 400);
    let other = r#"{"kind":"Secret","apiVersion":"v1","metadata":{"name":"a"}}"#;
    assert_eq!(told(send(BodyFormat::Json, other, FieldValidation::Ignore).await).0, 400);
    assert_eq!(cluster.revision(), before);

    let written = send(BodyFormat::Json, unknown, FieldValidation::Warn).await.unwrap();
    assert!(written.created && value(&written.object).get("colour").is_none());
    assert_eq!(cluster.api.request().warnings.take(), ["unknown field \"colour\""]);
    let yaml = "kind: ConfigMap\napiVersion: v1\nmetadata:\n  name: b\ndata: {k: 'yes'}\n";
    let written = send(BodyFormat::Yaml, yaml, FieldValidation::Strict).await.unwrap();
    assert_eq!(value(&written.object).str_at(&["data", "k"]), Some("yes"));
}

#[tokio::test]
async fn some_kinds_are_created_by_writing_them() {
    let cluster = Cluster::new().await;
    let lease = value!({"metadata": {"name": "l", "namespace": "default"}, "spec": {"holderIdentity": "me"}});
    let written = cluster.update(&gvr::LEASES, lease).await.unwrap();
    assert_eq!(value(&written).str_at(&["metadata", "uid"]).unwrap().len(), 36);
}
