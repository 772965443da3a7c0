//! Status patches of pods by way of their bytes come out as all patches do.

use std::sync::Arc;

use gantry_machinery::codec::json;
use gantry_machinery::resource::gvr;
use gantry_machinery::resource_api::{Binding, PatchBody, PatchKind, ResourceApi, Target, WriteOptions};
use gantry_machinery::status::Status;
use gantry_machinery::value;
use gantry_machinery::value::Value;
use gantry_store_cache::object::StoredObject;

use crate::support::{Cluster, pod, value};

/// Patches the status of pod `name` as `manager`.
async fn patch(cluster: &Cluster, name: &str, manager: &str, document: &Value) -> Result<Arc<StoredObject>, Status> {
    let target = Target::object(&gvr::PODS, "default", name).sub("status");
    let options = WriteOptions { field_manager: manager.into(), ..WriteOptions::default() };
    let body = PatchBody { kind: PatchKind::Strategic, body: json::encode(document).into() };
    cluster.api.patch(&target, body, &options).await
}

/// The pod without what differs from run to run.
fn comparable(object: &StoredObject) -> (String, String) {
    let mut pod = value(object);
    for field in ["uid", "resourceVersion", "creationTimestamp", "name"] {
        pod.remove(&["metadata", field]);
    }
    if let Some(Value::Array(entries)) = pod.at_mut(&["metadata", "managedFields"]) {
        for entry in entries.iter_mut() {
            entry.remove(&["time"]);
        }
        // Within a second entries stand by name, over seconds by time.
        entries.sort_by_key(|entry| entry.str_at(&["manager"]).unwrap_or_default().to_owned());
    }
    for condition in pod.at_mut(&["status", "conditions"]).and_then(Value::as_array_mut).into_iter().flatten() {
        if condition.str_at(&["type"]) == Some("PodScheduled") {
            condition.remove(&["lastTransitionTime"]);
        }
    }
    pod.remove(&["spec", "volumes"]);
    for container in pod.at_mut(&["spec", "containers"]).and_then(Value::as_array_mut).into_iter().flatten() {
        container.remove(&["volumeMounts"]);
    }
    let mut facets = object.facets.clone();
    facets.fields.sort_unstable();
    (json::to_string(&pod), format!("{facets:?}"))
}

fn running(ip: &str) -> Value {
    value!({"status": {
        "observedGeneration": 1,
        "phase": "Running",
        "conditions": [
            {"type": "Ready", "status": "True", "lastTransitionTime": "2026-11-23T12:00:00Z", "reason": null},
            {"type": "Initialized", "status": "True", "lastTransitionTime": "2026-11-23T12:00:00Z"},
        ],
        "reason": null,
        "hostIP": "10.0.0.1",
        "hostIPs": [{"ip": "10.0.0.1"}],
        "podIP": ip,
        "podIPs": [{"ip": ip}],
        "containerStatuses": [
            {"name": "c", "ready": true, "restartCount": 0, "image": "nginx", "imageID": "", "lastState": {}},
        ],
    }})
}

#[tokio::test]
async fn a_status_comes_out_the_same_either_way() {
    let cluster = Cluster::new().await;
    let waiting = value!({"status": {
        "phase": "Pending",
        "conditions": [
            {"type": "Ready", "status": "False", "lastTransitionTime": "2026-11-23T11:00:00Z", "reason": "NotReady"},
        ],
        "hostIP": "10.0.0.1",
        "hostIPs": [{"ip": "10.0.0.1"}],
    }});
    let gate = value!({"status": {"conditions": [{"type": "example.com/gate", "status": "True"}]}});
    let mut ended = running("10.1.0.1");
    ended.set(&["status", "phase"], "Succeeded");
    let gone =
        value!({"status": {"conditions": [{"type": "Ready", "$patch": "delete"}], "hostIPs": null, "podIPs": null}});
    let steps = [
        ("kubelet", &waiting),
        ("kubelet", &running("10.1.0.1")),
        ("kubelet", &running("10.1.0.1")),
        // Another writer of the status: from here on its share is read, too.
        ("gatekeeper", &gate),
        ("kubelet", &ended),
        ("kubelet", &gone),
    ];
    for name in ["a", "b"] {
        cluster.create(&gvr::PODS, "default", pod(name)).await.unwrap();
        let binding = Binding { namespace: "default".into(), name: name.into(), uid: String::new(), node: "n1".into() };
        cluster.api.bind_batch(vec![binding]).await.pop().unwrap().unwrap();
    }
    for (at, (manager, document)) in steps.into_iter().enumerate() {
        let before = cluster.revision();
        let quick = patch(&cluster, "a", manager, document).await.unwrap();
        let quick_wrote = cluster.revision() != before;
        // Naming the kind makes it a patch of more than the status.
        let mut whole = (*document).clone();
        whole.set(&["kind"], "Pod");
        let before = cluster.revision();
        let slow = patch(&cluster, "b", manager, &whole).await.unwrap();
        assert_eq!(comparable(&quick), comparable(&slow), "step {at}");
        assert_eq!(quick_wrote, cluster.revision() != before, "step {at}");
        assert_eq!(value(&quick).str_at(&["metadata", "resourceVersion"]), Some(&*quick.revision.0.to_string()));
        assert_eq!(quick_wrote, at != 2, "the same status again is no write");
    }
}

#[tokio::test]
async fn what_is_refused_is_refused_in_the_same_words_and_writes_nothing() {
    let cluster = Cluster::new().await;
    let mut ends = pod("ends");
    ends.set(&["spec", "restartPolicy"], "Never");
    let created = cluster.create(&gvr::PODS, "default", ends).await.unwrap();
    let uid = value(&created).str_at(&["metadata", "uid"]).unwrap().to_owned();
    let ended = value!({"metadata": {"uid": (uid.as_str())}, "status": {"containerStatuses": [
        {"name": "c", "state": {"terminated": {"exitCode": 0}}},
    ]}});
    patch(&cluster, "ends", "kubelet", &ended).await.unwrap();
    let before = cluster.revision();
    let long = "x".repeat(129);
    for (manager, document) in [
        ("kubelet", value!({"metadata": {"uid": "other"}, "status": {"phase": "Failed"}})),
        ("kubelet", value!({"status": {"phase": 7}})),
        ("kubelet", value!({"status": {"hostIPs": [{"ip": "nonsense"}]}})),
        ("kubelet", value!({"status": {"conditions": [{"status": "True"}]}})),
        ("kubelet", value!({"status": {"conditions": [{"type": "not a name", "status": "True"}]}})),
        ("kubelet", value!({"status": {"containerStatuses": [{"name": "c", "state": {"running": {}}}]}})),
        (long.as_str(), value!({"status": {"phase": "Failed"}})),
    ] {
        let quick = patch(&cluster, "ends", manager, &document).await.unwrap_err();
        let mut whole = document.clone();
        whole.set(&["kind"], "Pod");
        let slow = patch(&cluster, "ends", manager, &whole).await.unwrap_err();
        // Some messages show the patch, which differs by its kind.
        let message = slow.message.replace("map[kind:Pod ", "map[");
        assert_eq!((quick.code, &quick.message), (slow.code, &message), "{document:?}");
    }
    let missing = patch(&cluster, "nobody", "kubelet", &running("10.1.0.1")).await.unwrap_err();
    assert_eq!(missing.code, 404);
    assert_eq!(cluster.revision(), before);
}

/// What the rules look at besides the status, on pods that have it.
#[tokio::test]
async fn every_rule_sees_the_same_pod_either_way() {
    let cluster = Cluster::new().await;
    let state = |state: Value| value!({"status": {"containerStatuses": [{"name": "c", "state": state}]}});
    let ended = |code: i64| state(value!({"terminated": {"exitCode": code}}));
    let runs = || state(value!({"running": {}}));
    let claim = |name: &str| value!({"status": {"resourceClaimStatuses": [{"name": name, "resourceClaimName": "c"}]}});
    let asking = value!([{"name": "c", "image": "nginx", "resources": {"limits": {"x.y/gpu": "1"}}}]);
    let devices = |container: &str| {
        let mapping = value!({"containerName": container, "resourceName": "x.y/gpu", "requestName": "r"});
        value!({"status": {"extendedResourceClaimStatus": {"resourceClaimName": "c", "requestMappings": [mapping]}}})
    };
    let claims = || value!([{"name": "gpu", "resourceClaimName": "c"}]);
    let user = value!({"status": {"containerStatuses": [{"name": "c", "user": {"linux": {"uid": 1, "gid": 1}}}]}});
    let nominated = value!({"status": {"nominatedNodeName": "n2"}});
    let rules = value!([{"name": "c", "image": "nginx", "restartPolicy": "Never", "restartPolicyRules": [
        {"action": "Restart", "exitCodes": {"operator": "In", "values": [7]}},
    ]}]);
    let cases: Vec<(&str, Value, Vec<Value>, bool)> = vec![
        ("resourceClaims", claims(), vec![claim("gpu")], true),
        ("resourceClaims", claims(), vec![claim("none")], false),
        ("containers", asking.clone(), vec![devices("c"), runs()], true),
        ("containers", asking, vec![devices("none")], false),
        ("restartPolicy", "Always".into(), vec![ended(0), runs()], true),
        ("restartPolicy", "OnFailure".into(), vec![ended(1), runs()], true),
        ("restartPolicy", "OnFailure".into(), vec![ended(0), runs()], false),
        ("restartPolicy", "Never".into(), vec![ended(1), runs()], false),
        ("containers", rules.clone(), vec![ended(7), runs()], true),
        ("containers", rules, vec![ended(8), runs()], false),
        ("os", value!({"name": "windows"}), vec![user.clone()], false),
        ("os", value!({"name": "linux"}), vec![user], true),
        ("nodeName", "n1".into(), vec![nominated.clone()], false),
        ("schedulingGates", Value::Null, vec![nominated], true),
    ];
    for (at, (field, wanted, steps, fine)) in cases.into_iter().enumerate() {
        let mut outcomes = Vec::new();
        for way in ["quick", "slow"] {
            let name = format!("{way}-{at}");
            let mut made = pod(&name);
            if !wanted.is_null() {
                made.set(&["spec", field], wanted.clone());
            }
            cluster.create(&gvr::PODS, "default", made).await.unwrap();
            let mut last = None;
            for step in &steps {
                let mut document = step.clone();
                if way == "slow" {
                    document.set(&["kind"], "Pod");
                }
                last = Some(patch(&cluster, &name, "kubelet", &document).await);
            }
            let outcome = last.unwrap().map(|object| comparable(&object)).map_err(|status| {
                let message = status.message.replace(&name, "pod").replace("map[kind:Pod ", "map[");
                (status.code, message)
            });
            assert_eq!(outcome.is_ok(), fine, "{field} {at} {way}: {outcome:?}");
            outcomes.push(outcome);
        }
        assert_eq!(outcomes[0], outcomes[1], "{field} {at}");
    }
}
