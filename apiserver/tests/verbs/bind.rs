//! Bindings: one node per pod, whoever asks however often.

use std::sync::Arc;

use gantry_machinery::resource::gvr;
use gantry_machinery::resource_api::{Binding, Collection, ListOptions, ResourceApi, Target, WriteOptions};
use gantry_machinery::selector::FieldSelector;
use gantry_machinery::status::Status;
use gantry_machinery::value;

use crate::support::{Cluster, pod, told, value};

fn binding(pod: &str, node: &str) -> Binding {
    Binding { namespace: "default".into(), name: pod.into(), uid: String::new(), node: node.into() }
}

#[tokio::test]
async fn every_pod_of_a_batch_gets_its_own_answer() {
    let cluster = Cluster::new().await;
    cluster.create(&gvr::PODS, "default", pod("a")).await.unwrap();
    cluster.create(&gvr::PODS, "default", pod("b")).await.unwrap();
    let batch = vec![binding("a", "n1"), binding("none", "n1"), binding("a", "n2"), binding("b", "n2")];
    let answers = cluster.api.bind_batch(batch).await;
    let told: Vec<(u16, String)> = answers.into_iter().map(|a| told(a)).map(|(c, _, m)| (c, m)).collect();
    let taken = "Operation cannot be fulfilled on pods/binding \"a\": pod a is already assigned to node \"n1\"";
    let expected =
        [(200, String::new()), (404, "pods \"none\" not found".into()), (409, taken.into()), (200, String::new())];
    assert_eq!(told, expected);

    let bound = cluster.get(&gvr::PODS, "a").await.unwrap();
    assert_eq!(bound.facets.field("spec.nodeName"), "n1");
    let object = value(&bound);
    assert_eq!(object.str_at(&["spec", "nodeName"]), Some("n1"));
    assert_eq!(object.str_at(&["metadata", "resourceVersion"]), Some(bound.revision.to_string().as_str()));
    assert_eq!(object.i64_at(&["metadata", "generation"]), Some(1));
    let condition = &object.array_at(&["status", "conditions"])[0];
    assert_eq!(condition.str_at(&["type"]), Some("PodScheduled"));
    assert_eq!(condition.str_at(&["status"]), Some("True"));
    let of = Collection { resource: &gvr::PODS, namespace: "" };
    let on_n2 = ListOptions { fields: FieldSelector::equals("spec.nodeName", "n2"), ..ListOptions::default() };
    assert_eq!(cluster.api.list(&of, &on_n2).await.unwrap().items[0].key.name(), "b");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_pod_is_bound_twice_however_many_try() {
    const PODS: usize = 40;
    const BINDERS: usize = 8;
    let cluster = Arc::new(Cluster::new().await);
    for n in 0..PODS {
        cluster.create(&gvr::PODS, "default", pod(&format!("p{n}"))).await.unwrap();
    }
    let binders = (0..BINDERS).map(|binder| {
        let cluster = cluster.clone();
        tokio::spawn(async move {
            let batch = (0..PODS).map(|n| binding(&format!("p{n}"), &format!("n{binder}"))).collect();
            // Meanwhile somebody touches pods, so that versions move without a binding.
            let target = Target::object(&gvr::PODS, "default", "p0");
            let touch = gantry_machinery::resource_api::PatchBody {
                kind: gantry_machinery::resource_api::PatchKind::Merge,
                body: format!(r#"{{"metadata":{{"labels":{{"touch":"b{binder}"}}}}}}"#).into(),
            };
            let options = WriteOptions::default();
            let (answers, _) = tokio::join!(cluster.api.bind_batch(batch), cluster.api.patch(&target, touch, &options));
            answers
        })
    });
    let mut won = [0; PODS];
    for (binder, answers) in futures_util::future::join_all(binders).await.into_iter().enumerate() {
        for (n, answer) in answers.unwrap().into_iter().enumerate() {
            match answer {
                Ok(()) => {
                    won[n] += 1;
                    let bound = value(&cluster.get(&gvr::PODS, &format!("p{n}")).await.unwrap());
                    assert_eq!(bound.str_at(&["spec", "nodeName"]), Some(format!("n{binder}").as_str()));
                }
                Err(status) => assert_eq!((status.code, status.reason), (409, "Conflict"), "{status}"),
            }
        }
    }
    assert_eq!(won, [1; PODS], "each pod was won once");
}

#[tokio::test]
async fn a_gang_is_bound_whole_or_not_at_all() {
    let cluster = Cluster::new().await;
    for name in ["a", "b", "c", "d"] {
        cluster.create(&gvr::PODS, "default", pod(name)).await.unwrap();
    }
    let gang = |names: &[&str]| names.iter().map(|name| binding(name, "n1")).collect::<Vec<_>>();
    let node = async |name: &str| {
        let pod = value(&cluster.get(&gvr::PODS, name).await.unwrap());
        pod.str_at(&["spec", "nodeName"]).unwrap_or_default().to_owned()
    };
    cluster.api.bind_batch(gang(&["c"])).await;
    let before = cluster.revision();
    for (names, code) in [(["a", "b", "c"], 409), (["a", "none", "b"], 404)] {
        assert_eq!(told(cluster.api.bind_gang(gang(&names)).await).0, code, "{names:?}");
        assert_eq!(cluster.revision(), before, "nothing is written");
    }
    cluster.api.bind_gang(gang(&["a", "b", "d"])).await.unwrap();
    for name in ["a", "b", "d"] {
        assert_eq!(node(name).await, "n1");
    }
    let revisions = ["a", "b", "d"].map(async |name| cluster.get(&gvr::PODS, name).await.unwrap().revision);
    let revisions = futures_util::future::join_all(revisions).await;
    assert!(revisions.iter().all(|revision| *revision == revisions[0]), "one commit: {revisions:?}");
    cluster.api.bind_gang(Vec::new()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn gangs_that_share_pods_are_bound_one_whole_and_the_others_not() {
    const PODS: usize = 30;
    let cluster = Arc::new(Cluster::new().await);
    for n in 0..PODS {
        cluster.create(&gvr::PODS, "default", pod(&format!("p{n}"))).await.unwrap();
    }
    let binders = (0..6).map(|binder| {
        let cluster = cluster.clone();
        // Each leaves another pod out, so that no two are the same.
        let gang: Vec<Binding> =
            (0..PODS).filter(|n| *n != binder).map(|n| binding(&format!("p{n}"), &format!("n{binder}"))).collect();
        tokio::spawn(async move { cluster.api.bind_gang(gang).await })
    });
    let answers = futures_util::future::join_all(binders).await;
    let won: Vec<usize> = answers
        .into_iter()
        .enumerate()
        .filter(|(_, answer)| answer.as_ref().unwrap().is_ok())
        .map(|(n, _)| n)
        .collect();
    let [winner] = won[..] else { panic!("{won:?} are bound") };
    for n in 0..PODS {
        let pod = value(&cluster.get(&gvr::PODS, &format!("p{n}")).await.unwrap());
        let wanted = if n == winner { None } else { Some(format!("n{winner}")) };
        assert_eq!(pod.str_at(&["spec", "nodeName"]).filter(|node| !node.is_empty()), wanted.as_deref());
    }
}

#[tokio::test]
async fn the_subresource_binds_and_merges_annotations() {
    let cluster = Cluster::new().await;
    let stored = cluster.create(&gvr::PODS, "default", pod("a")).await.unwrap();
    let object = value!({
        "apiVersion": "v1",
        "kind": "Binding",
        "metadata": {"name": "a", "annotations": {"example.com/by": "me"}},
        "target": {"apiVersion": "v1", "kind": "Node", "name": "n7"},
    });
    let target = Target::object(&gvr::PODS, "default", "a").sub("binding");
    let before = cluster.revision();
    let dry = WriteOptions { dry_run: true, ..WriteOptions::default() };
    cluster.api.create(&target, object.clone(), &dry).await.unwrap();
    assert_eq!(cluster.revision(), before);
    let answer = value(&cluster.api.create(&target, object.clone(), &WriteOptions::default()).await.unwrap());
    assert_eq!(answer.str_at(&["status"]), Some("Success"));
    let bound = value(&cluster.get(&gvr::PODS, "a").await.unwrap());
    assert_eq!(bound.str_at(&["spec", "nodeName"]), Some("n7"));
    assert_eq!(bound.str_at(&["metadata", "annotations", "example.com/by"]), Some("me"));
    assert_eq!(bound.at(&["metadata", "uid"]), value(&stored).at(&["metadata", "uid"]));

    let twice: Result<_, Status> = cluster.api.create(&target, object.clone(), &WriteOptions::default()).await;
    assert_eq!(told(twice).0, 409);
    let mut nowhere = object;
    nowhere.set(&["target", "name"], "");
    let (code, _, message) = told(cluster.api.create(&target, nowhere, &WriteOptions::default()).await);
    assert_eq!((code, message.as_str()), (422, "Binding \"a\" is invalid: target.name: Required value"));
}
