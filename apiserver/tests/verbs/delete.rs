//! DELETE: grace, finalizers, preconditions, collections.

use gantry_machinery::resource::gvr;
use gantry_machinery::resource_api::{
    Binding, Collection, DeleteOptions, Deleted, ListOptions, Propagation, ResourceApi, Target, WriteOptions,
};
use gantry_machinery::selector::LabelSelector;
use gantry_machinery::value;

use crate::support::{Cluster, config_map, deployment, pod, told, value};

fn target(name: &str) -> Target<'_> {
    Target::object(&gvr::PODS, "default", name)
}

async fn bound_pod(cluster: &Cluster, name: &str) {
    cluster.create(&gvr::PODS, "default", pod(name)).await.unwrap();
    let binding = Binding { namespace: "default".into(), name: name.into(), uid: String::new(), node: "n1".into() };
    assert_eq!(cluster.api.bind_batch(vec![binding]).await, [Ok(())]);
}

#[tokio::test]
async fn a_pod_without_a_node_goes_at_once() {
    let cluster = Cluster::new().await;
    cluster.create(&gvr::PODS, "default", pod("a")).await.unwrap();
    let deleted = cluster.api.delete(&target("a"), &DeleteOptions::default()).await.unwrap();
    assert!(matches!(deleted, Deleted::Gone(_)));
    assert_eq!(told(cluster.get(&gvr::PODS, "a").await), (404, "NotFound", "pods \"a\" not found".into()));
}

#[tokio::test]
async fn a_running_pod_is_marked_and_its_grace_only_shrinks() {
    let cluster = Cluster::new().await;
    bound_pod(&cluster, "a").await;
    let Deleted::Marked(marked) = cluster.api.delete(&target("a"), &DeleteOptions::default()).await.unwrap() else {
        panic!("a bound pod has a grace period");
    };
    let first = value(&marked);
    assert_eq!(first.i64_at(&["metadata", "deletionGracePeriodSeconds"]), Some(30));
    assert_eq!(first.i64_at(&["metadata", "generation"]), Some(2));

    let longer = DeleteOptions { grace_period_seconds: Some(90), ..DeleteOptions::default() };
    let Deleted::Marked(same) = cluster.api.delete(&target("a"), &longer).await.unwrap() else {
        panic!("still marked")
    };
    assert_eq!(same.revision, marked.revision);

    let shorter = DeleteOptions { grace_period_seconds: Some(5), ..DeleteOptions::default() };
    let Deleted::Marked(sooner) = cluster.api.delete(&target("a"), &shorter).await.unwrap() else { panic!("marked") };
    let sooner = value(&sooner);
    assert_eq!(sooner.i64_at(&["metadata", "deletionGracePeriodSeconds"]), Some(5));
    assert!(sooner.str_at(&["metadata", "deletionTimestamp"]) < first.str_at(&["metadata", "deletionTimestamp"]));

    let now = DeleteOptions { grace_period_seconds: Some(0), ..DeleteOptions::default() };
    assert!(matches!(cluster.api.delete(&target("a"), &now).await.unwrap(), Deleted::Gone(_)));
}

#[tokio::test]
async fn a_finalizer_holds_the_object_until_it_is_taken_away() {
    let cluster = Cluster::new().await;
    let mut map = config_map("a");
    map.set(&["metadata", "finalizers"], value!(["example.com/hold"]));
    cluster.create(&gvr::CONFIG_MAPS, "default", map).await.unwrap();
    let target = Target::object(&gvr::CONFIG_MAPS, "default", "a");
    let Deleted::Marked(marked) = cluster.api.delete(&target, &DeleteOptions::default()).await.unwrap() else {
        panic!("a finalizer holds it");
    };
    let Deleted::Marked(again) = cluster.api.delete(&target, &DeleteOptions::default()).await.unwrap() else {
        panic!("a finalizer holds it");
    };
    assert_eq!(again.revision, marked.revision);
    let mut object = value(&marked);
    assert_eq!(object.i64_at(&["metadata", "deletionGracePeriodSeconds"]), Some(0));
    object.set(&["metadata", "finalizers"], value!(["example.com/hold", "example.com/more"]));
    let (code, _, message) = told(cluster.update(&gvr::CONFIG_MAPS, object.clone()).await);
    assert_eq!(code, 422);
    assert!(message.contains("no new finalizers can be added if the object is being deleted"), "{message}");
    object.remove(&["metadata", "finalizers"]);
    cluster.update(&gvr::CONFIG_MAPS, object).await.unwrap();
    assert_eq!(told(cluster.get(&gvr::CONFIG_MAPS, "a").await).0, 404);
}

#[tokio::test]
async fn propagation_leaves_its_finalizer() {
    let cluster = Cluster::new().await;
    for (name, propagation, finalizer) in
        [("a", Propagation::Foreground, "foregroundDeletion"), ("b", Propagation::Orphan, "orphan")]
    {
        cluster.create(&gvr::DEPLOYMENTS, "default", deployment(name)).await.unwrap();
        let target = Target::object(&gvr::DEPLOYMENTS, "default", name);
        let options = DeleteOptions { propagation: Some(propagation), ..DeleteOptions::default() };
        let Deleted::Marked(marked) = cluster.api.delete(&target, &options).await.unwrap() else {
            panic!("the collector has to see it");
        };
        let object = value(&marked);
        assert_eq!(object.array_at(&["metadata", "finalizers"])[0].as_str(), Some(finalizer));
        assert_eq!(object.i64_at(&["metadata", "generation"]), Some(2), "being deleted is a change of the wish");
    }
    cluster.create(&gvr::DEPLOYMENTS, "default", deployment("c")).await.unwrap();
    let target = Target::object(&gvr::DEPLOYMENTS, "default", "c");
    let background = DeleteOptions { propagation: Some(Propagation::Background), ..DeleteOptions::default() };
    assert!(matches!(cluster.api.delete(&target, &background).await.unwrap(), Deleted::Gone(_)));
}

#[tokio::test]
async fn preconditions_protect_the_successor() {
    let cluster = Cluster::new().await;
    let stored = cluster.create(&gvr::CONFIG_MAPS, "default", config_map("a")).await.unwrap();
    let target = Target::object(&gvr::CONFIG_MAPS, "default", "a");
    let other_uid = DeleteOptions { uid: Some("other".into()), ..DeleteOptions::default() };
    let (code, reason, message) = told(cluster.api.delete(&target, &other_uid).await);
    assert_eq!((code, reason), (409, "Conflict"));
    assert!(message.contains("the UID in the precondition (other) does not match the UID in record ("), "{message}");
    let old = DeleteOptions { resource_version: Some("1".into()), ..DeleteOptions::default() };
    assert_eq!(told(cluster.api.delete(&target, &old).await).1, "Conflict");
    let dry = DeleteOptions { dry_run: true, ..DeleteOptions::default() };
    assert!(matches!(cluster.api.delete(&target, &dry).await.unwrap(), Deleted::Gone(_)));
    assert_eq!(cluster.get(&gvr::CONFIG_MAPS, "a").await.unwrap().revision, stored.revision);
}

#[tokio::test]
async fn a_collection_goes_by_its_selector() {
    let cluster = Cluster::new().await;
    for n in 0..20 {
        let mut map = config_map(&format!("m{n}"));
        map.set(&["metadata", "labels", "half"], if n % 2 == 0 { "even" } else { "odd" });
        cluster.create(&gvr::CONFIG_MAPS, "default", map).await.unwrap();
    }
    let of = Collection { resource: &gvr::CONFIG_MAPS, namespace: "default" };
    let even = ListOptions { labels: LabelSelector::parse("half=even").unwrap(), ..ListOptions::default() };
    let gone = cluster.api.delete_collection(&of, &even, &DeleteOptions::default()).await.unwrap();
    assert_eq!(gone.items.len(), 10);
    let left = cluster.api.list(&of, &ListOptions::default()).await.unwrap();
    assert_eq!(left.items.len(), 10);
    assert!(left.items.iter().all(|o| o.facets.label("half") == Some("odd")));
}

#[tokio::test]
async fn a_namespace_ends_when_its_own_finalizer_goes() {
    let cluster = Cluster::new().await;
    let created = value(&cluster.create(&gvr::NAMESPACES, "", value!({"metadata": {"name": "x"}})).await.unwrap());
    assert_eq!(created.array_at(&["spec", "finalizers"])[0].as_str(), Some("kubernetes"));
    let target = Target::object(&gvr::NAMESPACES, "", "x");
    let Deleted::Marked(marked) = cluster.api.delete(&target, &DeleteOptions::default()).await.unwrap() else {
        panic!("its content has to go first");
    };
    let mut namespace = value(&marked);
    assert_eq!(namespace.str_at(&["status", "phase"]), Some("Terminating"));
    namespace.set(&["spec", "finalizers"], value!([]));
    cluster.api.update(&target.sub("finalize"), namespace, &WriteOptions::default()).await.unwrap();
    assert_eq!(told(cluster.get(&gvr::NAMESPACES, "x").await).0, 404);
}
