//! Several versions of one object: one collection, one history, each reader in its own words.

use gantry_machinery::resource::GroupVersionResource;
use gantry_machinery::resource_api::{
    Collection, DeleteOptions, Deleted, ListOptions, PatchBody, PatchKind, ResourceApi, Target, WatchEvent,
    WatchOptions, WatchStream, WriteOptions,
};
use gantry_machinery::selector::FieldSelector;
use gantry_machinery::value;
use gantry_machinery::value::Value;

use super::support::{Cluster, told, value};

static V1: GroupVersionResource = GroupVersionResource::of("autoscaling", "v1", "horizontalpodautoscalers");
static V2: GroupVersionResource = GroupVersionResource::of("autoscaling", "v2", "horizontalpodautoscalers");
static CORE: GroupVersionResource = GroupVersionResource::of("", "v1", "events");
static EVENTS: GroupVersionResource = GroupVersionResource::of("events.k8s.io", "v1", "events");

fn scaler() -> Value {
    value!({
        "metadata": {"name": "web"},
        "spec": {
            "maxReplicas": 5, "targetCPUUtilizationPercentage": 70,
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
        },
    })
}

/// Who owns what, in which version: `manager apiVersion fields`.
fn owners(object: &Value) -> Vec<String> {
    let entry = |e: &Value| {
        let text = |field: &str| e.str_at(&[field]).unwrap_or_default().to_owned();
        let spec = e.object_at(&["fieldsV1", "f:spec"]);
        let fields: Vec<&str> = spec.into_iter().flat_map(|s| s.keys()).map(|k| k.as_str()).collect();
        format!("{} {} {}", text("manager"), text("apiVersion"), fields.join(" "))
    };
    object.array_at(&["metadata", "managedFields"]).iter().map(entry).collect()
}

#[tokio::test]
async fn one_autoscaler_is_read_and_written_in_both_versions() {
    let cluster = Cluster::new().await;
    let made = value(&cluster.create(&V1, "default", scaler()).await.unwrap());
    assert_eq!(made.str_at(&["apiVersion"]), Some("autoscaling/v1"));
    assert_eq!(made.i64_at(&["spec", "targetCPUUtilizationPercentage"]), Some(70));
    assert_eq!(made.i64_at(&["spec", "minReplicas"]), Some(1), "v1 has defaults of its own");

    let in_v2 = value(&cluster.get(&V2, "web").await.unwrap());
    assert_eq!(in_v2.str_at(&["apiVersion"]), Some("autoscaling/v2"));
    let target = ["resource", "target", "averageUtilization"];
    assert_eq!(in_v2.array_at(&["spec", "metrics"])[0].i64_at(&target), Some(70));
    for field in ["uid", "resourceVersion", "creationTimestamp"] {
        assert_eq!(made.at(&["metadata", field]), in_v2.at(&["metadata", field]), "{field}");
    }
    assert_eq!(
        owners(&in_v2)[0].split(' ').nth(1),
        Some("autoscaling/v1"),
        "entries keep the version they were made in"
    );

    // A patch of v1 is made on what v1 shows, and is seen in v2.
    let patch = r#"{"spec":{"targetCPUUtilizationPercentage":50}}"#;
    let patched = value(&cluster.patch(&V1, "web", PatchKind::Merge, patch).await.unwrap());
    assert_eq!(patched.i64_at(&["spec", "targetCPUUtilizationPercentage"]), Some(50));
    let in_v2 = value(&cluster.get(&V2, "web").await.unwrap());
    assert_eq!(in_v2.array_at(&["spec", "metrics"])[0].i64_at(&target), Some(50));

    // What only v2 can say survives a client of v1 that writes back what it read.
    let metrics = r#"[{"op":"add","path":"/spec/metrics/-","value":{"type":"Resource","resource":{"name":"memory",
        "target":{"type":"AverageValue","averageValue":"1Gi"}}}}]"#;
    cluster.patch(&V2, "web", PatchKind::Json, metrics).await.unwrap();
    let mut in_v1 = value(&cluster.get(&V1, "web").await.unwrap());
    assert!(in_v1.str_at(&["metadata", "annotations", "autoscaling.alpha.kubernetes.io/metrics"]).is_some());
    in_v1.set(&["spec", "maxReplicas"], 9);
    cluster.update(&V1, in_v1).await.unwrap();
    let in_v2 = value(&cluster.get(&V2, "web").await.unwrap());
    assert_eq!(in_v2.i64_at(&["spec", "maxReplicas"]), Some(9));
    assert_eq!(in_v2.array_at(&["spec", "metrics"]).len(), 2);
    assert!(in_v2.at(&["metadata", "annotations"]).is_none(), "v2 speaks for itself");

    // The same object again is no write, in either version.
    let revision = cluster.revision();
    let in_v1 = value(&cluster.get(&V1, "web").await.unwrap());
    cluster.update(&V1, in_v1).await.unwrap();
    assert_eq!(cluster.revision(), revision);

    let gone = cluster.api.delete(&Target::object(&V1, "default", "web"), &DeleteOptions::default()).await.unwrap();
    let Deleted::Gone(gone) = gone else { panic!("nothing holds it") };
    assert_eq!(value(&gone).str_at(&["apiVersion"]), Some("autoscaling/v1"));
    assert_eq!(told(cluster.get(&V2, "web").await).0, 404);
}

#[tokio::test]
async fn watches_of_both_versions_see_the_same_changes() {
    let cluster = Cluster::new().await;
    let options = WatchOptions { initial_events: true, ..WatchOptions::default() };
    let of = |resource| Collection { resource, namespace: "" };
    let mut old = cluster.api.watch(&of(&V1), &options).await.unwrap();
    let mut new = cluster.api.watch(&of(&V2), &options).await.unwrap();
    cluster
        .create(&V2, "default", {
            let mut scaler = scaler();
            scaler.remove(&["spec", "targetCPUUtilizationPercentage"]);
            scaler
        })
        .await
        .unwrap();
    cluster.patch(&V1, "web", PatchKind::Merge, r#"{"spec":{"maxReplicas":6}}"#).await.unwrap();
    cluster.api.delete(&Target::object(&V2, "default", "web"), &DeleteOptions::default()).await.unwrap();
    let (old, new) = (three(&mut *old).await, three(&mut *new).await);
    let summary = |events: &[(&'static str, u64, Value)]| {
        events
            .iter()
            .map(|(kind, revision, o)| (*kind, *revision, o.i64_at(&["spec", "maxReplicas"])))
            .collect::<Vec<_>>()
    };
    assert_eq!(summary(&old), summary(&new));
    assert_eq!(old.iter().map(|e| e.0).collect::<Vec<_>>(), ["added", "modified", "deleted"]);
    assert!(old.iter().all(|e| e.2.str_at(&["apiVersion"]) == Some("autoscaling/v1")));
    assert!(new.iter().all(|e| e.2.str_at(&["apiVersion"]) == Some("autoscaling/v2")));
}

/// The first three changes of a watch.
async fn three(watch: &mut dyn WatchStream) -> Vec<(&'static str, u64, Value)> {
    let mut seen = Vec::new();
    while seen.len() < 3 {
        for event in watch.next(8).await.unwrap().unwrap() {
            let (kind, object) = match &event {
                WatchEvent::Added(object) => ("added", object),
                WatchEvent::Modified(object) => ("modified", object),
                WatchEvent::Deleted(object) => ("deleted", object),
                WatchEvent::Bookmark { .. } => continue,
            };
            seen.push((kind, object.revision.0, value(object)));
        }
    }
    seen
}

async fn apply(cluster: &Cluster, resource: &GroupVersionResource, document: Value) -> Result<Value, String> {
    let options = WriteOptions { field_manager: "applier".into(), ..WriteOptions::default() };
    let body = PatchBody { kind: PatchKind::Apply, body: gantry_machinery::codec::json::to_string(&document).into() };
    let target = Target::object(resource, "default", "web");
    cluster.api.patch(&target, body, &options).await.map(|o| value(&o)).map_err(|s| s.message)
}

#[tokio::test]
async fn ownership_is_compared_in_the_version_that_it_was_taken_in() {
    let cluster = Cluster::new().await;
    let typed = |api_version: &str, mut object: Value| {
        object.set(&["apiVersion"], api_version);
        object.set(&["kind"], "HorizontalPodAutoscaler");
        object
    };
    apply(&cluster, &V1, typed("autoscaling/v1", scaler())).await.unwrap();

    // Somebody of v2 moves what v1 calls the CPU target: the applier of v1 no longer owns that, but the rest.
    let metrics = r#"{"spec":{"metrics":[{"type":"Resource","resource":{"name":"cpu",
        "target":{"type":"Utilization","averageUtilization":40}}}]}}"#;
    let patched = value(&cluster.patch(&V2, "web", PatchKind::Merge, metrics).await.unwrap());
    assert_eq!(
        owners(&patched),
        ["applier autoscaling/v1 f:maxReplicas f:scaleTargetRef", "patcher autoscaling/v2 f:metrics"]
    );

    // Taking it back needs force, and says who has it.
    let refused = apply(&cluster, &V1, typed("autoscaling/v1", scaler())).await.unwrap_err();
    assert!(refused.contains("\"patcher\" using autoscaling/v2"), "{refused}");

    // The same applier goes on in v2: one entry, in its new version; what it drops goes.
    let mut in_v2 = typed("autoscaling/v2", scaler());
    in_v2.remove(&["spec", "targetCPUUtilizationPercentage"]);
    in_v2.set(&["spec", "minReplicas"], 2);
    let applied = apply(&cluster, &V2, in_v2.clone()).await.unwrap();
    assert_eq!(
        owners(&applied),
        ["applier autoscaling/v2 f:maxReplicas f:minReplicas f:scaleTargetRef", "patcher autoscaling/v2 f:metrics"]
    );
    assert_eq!(
        applied.array_at(&["spec", "metrics"])[0].i64_at(&["resource", "target", "averageUtilization"]),
        Some(40)
    );
}

fn event(name: &str) -> Value {
    value!({
        "metadata": {"name": name, "namespace": "default"},
        "eventTime": "2026-01-02T03:04:05.000006Z",
        "reportingController": "example.com/loop", "reportingInstance": "loop-1", "action": "Do", "reason": "Done",
        "regarding": {"kind": "Pod", "namespace": "default", "name": "web"}, "note": "it is done", "type": "Normal",
    })
}

#[tokio::test]
async fn events_are_the_same_in_both_groups() {
    let cluster = Cluster::new().await;
    let made = value(&cluster.create(&EVENTS, "default", event("a")).await.unwrap());
    assert_eq!(made.str_at(&["note"]), Some("it is done"));
    assert!(made.get("message").is_none() && made.get("involvedObject").is_none());
    let core = value(&cluster.get(&CORE, "a").await.unwrap());
    assert_eq!(core.str_at(&["apiVersion"]), Some("v1"));
    assert_eq!(core.str_at(&["message"]), Some("it is done"));
    assert_eq!(core.str_at(&["reportingComponent"]), Some("example.com/loop"));

    let old = value!({"metadata": {"name": "b"}, "message": "m", "count": 3,
        "involvedObject": {"kind": "Node", "namespace": "default", "name": "n"}, "source": {"component": "kubelet"}});
    cluster.create(&CORE, "default", old).await.unwrap();
    let shown = value(&cluster.get(&EVENTS, "b").await.unwrap());
    assert_eq!(shown.i64_at(&["deprecatedCount"]), Some(3));
    assert_eq!(shown.str_at(&["deprecatedSource", "component"]), Some("kubelet"));

    // Each group selects by its own names, and only by those.
    let list = async |resource: &GroupVersionResource, field: &str, is: &str| {
        let options = ListOptions { fields: FieldSelector::equals(field, is), ..ListOptions::default() };
        let found = cluster.api.list(&Collection { resource, namespace: "default" }, &options).await;
        found.map(|l| {
            l.items.iter().map(|o| value(o).str_at(&["metadata", "name"]).unwrap().to_owned()).collect::<Vec<_>>()
        })
    };
    assert_eq!(list(&EVENTS, "regarding.kind", "Pod").await.unwrap(), ["a"]);
    assert_eq!(list(&EVENTS, "reportingController", "example.com/loop").await.unwrap(), ["a"]);
    assert_eq!(list(&CORE, "involvedObject.kind", "Node").await.unwrap(), ["b"]);
    let refused = told(list(&EVENTS, "involvedObject.kind", "Pod").await);
    assert_eq!((refused.0, refused.2.as_str()), (400, "field label not supported: involvedObject.kind"));
    assert_eq!(told(list(&CORE, "regarding.kind", "Pod").await).0, 400);

    // And each has its own rules.
    let mut bare = event("c");
    bare.remove(&["eventTime"]);
    let (code, reason, text) = told(cluster.create(&EVENTS, "default", bare).await);
    assert_eq!((code, reason), (422, "Invalid"));
    assert!(text.contains("eventTime: Required value"), "{text}");
    let mut changed = value(&cluster.get(&EVENTS, "a").await.unwrap());
    changed.set(&["note"], "something else");
    let (code, _, text) = told(cluster.update(&EVENTS, changed).await);
    assert!(code == 422 && text.contains("message: Invalid value: \"something else\": field is immutable"), "{text}");
}
