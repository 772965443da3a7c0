//! Removes pods that nobody else would: pods whose node is gone, unbound pods that are to go, and ended pods beyond a
//! number (Kubernetes, "Pod garbage collection").

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use ahash::{HashMap, HashSet};
use async_trait::async_trait;
use compact_str::CompactString;
use gantry_machinery::resource::gvr;
use gantry_machinery::resource_api::{DeleteOptions, Target};
use gantry_store_cache::key::ObjectKey;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::runtime::informer::{Entry, Informer};
use crate::runtime::informers::{BY_NODE, Informers};
use crate::runtime::reconcile::{Action, Queue, Reconcile};
use crate::runtime::rows::{NodeRow, PodRow};
use crate::runtime::write::{LoopError, Writer, is_conflict, is_not_found};

/// Between two looks.
const PERIOD: Duration = Duration::from_secs(20);
/// How long a node must have been gone: it may be about to register again.
const QUARANTINE: Duration = Duration::from_secs(40);

/// The loop; it has one key.
pub struct PodGc {
    pods: Arc<Informer<PodRow>>,
    nodes: Arc<Informer<NodeRow>>,
    writer: Writer,
    /// Ended pods kept (`--terminated-pod-gc-threshold`); 0 keeps all.
    ended_max: usize,
    /// Nodes that pods name and that do not exist, since when.
    missing: Mutex<HashMap<CompactString, Instant>>,
}

type Pod = Arc<Entry<PodRow>>;

impl PodGc {
    /// Keeps at most `ended_max` ended pods.
    #[must_use]
    pub fn new(informers: &Informers, ended_max: usize) -> Arc<Self> {
        Arc::new(Self {
            pods: informers.pods(),
            nodes: informers.nodes(),
            writer: Writer::new(informers.api().clone(), "pod-garbage-collector-controller"),
            ended_max,
            missing: Mutex::default(),
        })
    }

    /// Nodes that have been gone for long enough and, asked for directly, still are.
    async fn gone(&self, pods: &[Pod], now: Instant) -> Result<HashSet<CompactString>, LoopError> {
        let ripe: Vec<CompactString> = {
            let mut missing = self.missing.lock();
            let named: HashSet<&CompactString> = pods
                .iter()
                .map(|pod| &pod.row.node)
                .filter(|node| !node.is_empty() && self.nodes.get("", node).is_none())
                .collect();
            missing.retain(|node, _| named.contains(node));
            for node in named {
                missing.entry(node.clone()).or_insert(now);
            }
            missing.iter().filter(|(_, since)| now - **since >= QUARANTINE).map(|(node, _)| node.clone()).collect()
        };
        let mut gone = HashSet::default();
        for node in ripe {
            if self.writer.get(&gvr::NODES, "", &node).await?.is_none() {
                gone.insert(node);
            }
        }
        Ok(gone)
    }

    /// Deletes a pod at once, after marking it as failed where it had not ended.
    async fn remove(&self, pod: &Pod, disrupted: Option<&str>) -> Result<(), LoopError> {
        if !pod.row.phase.ended() {
            let mut status = serde_json::json!({"phase": "Failed"});
            if let Some(message) = disrupted {
                status["conditions"] = serde_json::json!([{
                    "type": "DisruptionTarget",
                    "status": "True",
                    "reason": "DeletionByPodGC",
                    "message": message,
                }]);
            }
            let patch = serde_json::json!({"metadata": {"uid": pod.row.meta.uid.as_str()}, "status": status});
            let target = Target::object(&gvr::PODS, pod.namespace(), pod.name()).sub("status");
            match self.writer.strategic(target, &patch).await {
                Ok(_) => {}
                Err(status) if is_not_found(&status) || is_conflict(&status) => return Ok(()),
                Err(status) => return Err(status.into()),
            }
        }
        let options = DeleteOptions {
            grace_period_seconds: Some(0),
            uid: Some(pod.row.meta.uid.to_string()),
            ..DeleteOptions::default()
        };
        self.writer.delete(&gvr::PODS, pod.namespace(), pod.name(), options).await?;
        Ok(())
    }
}

#[async_trait]
impl Reconcile for PodGc {
    fn name(&self) -> &'static str {
        "pod-garbage-collector-controller"
    }

    fn watch(self: Arc<Self>, queue: &Arc<Queue>) {
        queue.add(self.pods.key("", ""));
        let (me, to) = (self.clone(), queue.clone());
        self.nodes.on_change(move |before, after| {
            if let (Some(node), None) = (before, after)
                && me.pods.count(BY_NODE, node.name()) > 0
            {
                to.add(me.pods.key("", ""));
            }
        });
    }

    async fn synced(&self) {
        self.pods.synced().await;
        self.nodes.synced().await;
    }

    async fn reconcile(&self, _key: &ObjectKey) -> Result<Action, LoopError> {
        self.look(Instant::now()).await?;
        Ok(Action::After(PERIOD))
    }
}

impl PodGc {
    /// One look at all pods.
    async fn look(&self, now: Instant) -> Result<(), LoopError> {
        let pods = self.pods.all();
        let gone = self.gone(&pods, now).await?;
        let mut ended: Vec<&Pod> = Vec::new();
        for pod in &pods {
            if gone.contains(&pod.row.node) {
                self.remove(pod, Some("PodGC: node no longer exists")).await?;
            } else if pod.row.node.is_empty() && pod.row.meta.deleting() {
                self.remove(pod, None).await?;
            } else if pod.row.phase.ended() {
                ended.push(pod);
            }
        }
        if self.ended_max > 0 && ended.len() > self.ended_max {
            let surplus = ended.len() - self.ended_max;
            ended.sort_by_key(|pod| pod.row.meta.created());
            for pod in ended.into_iter().take(surplus) {
                self.remove(pod, None).await?;
            }
        }
        Ok(())
    }
}
