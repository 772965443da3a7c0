//! Which pods go, at looks whose times are given.

use gantry_machinery::clock::Clock;
use gantry_machinery::resource_api::{PatchBody, PatchKind, ResourceApi, WriteOptions};
use serde_json::json;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::*;
use crate::testing;

struct Fixture {
    api: Arc<dyn ResourceApi>,
    informers: Arc<Informers>,
    gc: Arc<PodGc>,
    stop: CancellationToken,
    /// The time of the next look.
    now: Instant,
}

impl Fixture {
    async fn new(ended_max: usize) -> Self {
        let api = testing::api().await;
        let stop = CancellationToken::new();
        let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "here"}});
        testing::create(&*api, &gvr::NODES, "", node).await;
        // No pod without an account.
        let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}});
        testing::create(&*api, &gvr::SERVICE_ACCOUNTS, "default", account).await;
        let informers = Informers::new(api.clone(), Clock::System, TaskTracker::new(), stop.clone());
        let gc = PodGc::new(&informers, ended_max);
        gc.synced().await;
        let now = Instant::now();
        Self { api, informers, gc, stop, now }
    }

    /// A pod on a node, once the loop can see it.
    async fn pod(&self, name: &str, node: &str, phase: &str) {
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
            "spec": {"nodeName": node, "containers": [{"name": "c", "image": "nginx"}]},
        });
        testing::create(&*self.api, &gvr::PODS, "default", pod).await;
        let status = PatchBody { kind: PatchKind::Merge, body: json!({"status": {"phase": phase}}).to_string().into() };
        let target = Target::object(&gvr::PODS, "default", name).sub("status");
        self.api.patch(&target, status, &WriteOptions::default()).await.unwrap();
        let pods = self.informers.pods();
        let ended = matches!(phase, "Succeeded" | "Failed");
        while pods.get("default", name).is_none_or(|pod| pod.row.phase.ended() != ended) {
            tokio::task::yield_now().await;
        }
    }

    async fn look(&self) {
        self.gc.look(self.now).await.unwrap();
    }

    async fn there(&self, name: &str) -> bool {
        testing::get(&*self.api, &gvr::PODS, "default", name).await.is_some()
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

#[tokio::test]
async fn pods_of_a_node_that_is_gone_go_after_its_quarantine() {
    let mut f = Fixture::new(0).await;
    f.pod("safe", "here", "Running").await;
    f.pod("orphan", "gone", "Running").await;
    f.look().await;
    f.now += Duration::from_secs(39);
    f.look().await;
    assert!(f.there("orphan").await, "the node may be about to register again");
    f.now += Duration::from_secs(1);
    f.look().await;
    assert!(!f.there("orphan").await);
    assert!(f.there("safe").await);
}

#[tokio::test]
async fn a_node_that_comes_back_keeps_its_pods_and_begins_anew_when_it_goes_again() {
    let mut f = Fixture::new(0).await;
    f.pod("orphan", "gone", "Running").await;
    f.look().await;
    f.now += Duration::from_secs(30);
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "gone"}});
    testing::create(&*f.api, &gvr::NODES, "", node).await;
    let nodes = f.informers.nodes();
    while nodes.get("", "gone").is_none() {
        tokio::task::yield_now().await;
    }
    f.now += Duration::from_secs(30);
    f.look().await;
    assert!(f.there("orphan").await);
    f.api.delete(&Target::object(&gvr::NODES, "", "gone"), &DeleteOptions::default()).await.unwrap();
    while nodes.get("", "gone").is_some() {
        tokio::task::yield_now().await;
    }
    f.look().await;
    f.now += Duration::from_secs(39);
    f.look().await;
    assert!(f.there("orphan").await, "the first absence does not count");
    f.now += Duration::from_secs(1);
    f.look().await;
    assert!(!f.there("orphan").await);
}

#[tokio::test]
async fn ended_pods_beyond_the_number_go_and_no_others() {
    let f = Fixture::new(2).await;
    f.pod("running", "here", "Running").await;
    for (name, phase) in [("a", "Succeeded"), ("b", "Failed"), ("c", "Succeeded")] {
        f.pod(name, "here", phase).await;
    }
    f.look().await;
    let mut left = 0;
    for name in ["a", "b", "c"] {
        left += usize::from(f.there(name).await);
    }
    assert_eq!(left, 2);
    assert!(f.there("running").await);
}
