//! Which nodes are alive: a node whose Lease and status stand still for 50 s is `Unknown`, and is tainted so that pods
//! neither come nor, after a while, stay (Kubernetes, "Nodes: heartbeats", "Taint based Evictions").
//!
//! NoSchedule taints follow the node's state at once. NoExecute taints, which make pods leave, are given out slowly
//! per zone (0.1 nodes a second): when many nodes fail together, it is more likely us who cannot see them. They are
//! taken away at once.

use std::sync::Arc;
use std::time::Duration;

use ahash::HashMap;
use async_trait::async_trait;
use compact_str::CompactString;
use gantry_machinery::clock::Clock;
use gantry_machinery::recorder::{Recorder, Subject};
use gantry_machinery::resource::gvr;
use gantry_machinery::resource_api::Target;
use gantry_machinery::value;
use gantry_machinery::value::Value;
use gantry_store_cache::key::ObjectKey;
use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::taints;
use crate::runtime::informer::{Entry, Informer};
use crate::runtime::informers::{BY_NODE, Informers};
use crate::runtime::reconcile::{Action, Queue, Reconcile};
use crate::runtime::rows::{LeaseRow, NodeRow, PodRow, Truth};
use crate::runtime::write::{LoopError, Writer, is_conflict, is_not_found};

/// Where kubelets keep their Leases.
const LEASES: &str = "kube-node-lease";
/// The conditions a silent node's kubelet can no longer vouch for.
const KUBELETS: [&str; 4] = ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"];

/// The loop; keys are nodes.
pub struct NodeLifecycle {
    nodes: Arc<Informer<NodeRow>>,
    leases: Arc<Informer<LeaseRow>>,
    pods: Arc<Informer<PodRow>>,
    writer: Writer,
    recorder: Recorder,
    clock: Clock,
    grace: Duration,
    /// When each node was last heard of, by our own clock.
    heard: Mutex<HashMap<CompactString, Heard>>,
    /// When the next NoExecute taint may be given out, by zone.
    zones: Mutex<HashMap<CompactString, Instant>>,
    eviction_pause: Duration,
}

/// The last sign of life of a node.
struct Heard {
    /// What its Lease said.
    renewed: Option<Timestamp>,
    /// When it said something new.
    at: Instant,
}

type Node = Arc<Entry<NodeRow>>;

impl NodeLifecycle {
    /// A node is unknown after `grace`; per zone, `evictions_per_second` nodes lose their pods.
    #[must_use]
    pub fn new(informers: &Informers, grace: Duration, evictions_per_second: f64) -> Arc<Self> {
        let pause = Duration::try_from_secs_f64(1.0 / evictions_per_second).unwrap_or(Duration::MAX);
        Arc::new(Self {
            nodes: informers.nodes(),
            leases: informers.leases(),
            pods: informers.pods(),
            writer: Writer::new(informers.api().clone(), "node-lifecycle-controller"),
            recorder: informers.recorder("node-controller"),
            clock: informers.clock(),
            grace,
            heard: Mutex::default(),
            zones: Mutex::default(),
            eviction_pause: pause,
        })
    }

    /// A sign of life: a posted status, or a Lease that says something new.
    fn hear(&self, node: &str, renewed: Option<Timestamp>) {
        let now = Instant::now();
        let mut heard = self.heard.lock();
        match heard.get_mut(node) {
            Some(known) if renewed.is_none() || known.renewed != renewed => {
                known.renewed = renewed.or(known.renewed);
                known.at = now;
            }
            Some(_) => {}
            None => {
                heard.insert(node.into(), Heard { renewed, at: now });
            }
        }
    }

    /// How much longer the node may be silent; zero when it has been for too long.
    fn patience(&self, node: &str) -> Duration {
        let mut heard = self.heard.lock();
        let now = Instant::now();
        let known = heard.entry(node.into()).or_insert(Heard { renewed: None, at: now });
        self.grace.saturating_sub(now - known.at)
    }

    /// Says in the node's conditions that nobody can say.
    async fn mark_unknown(&self, node: &Node) -> Result<(), LoopError> {
        let now = seconds(self.clock.now());
        let object = gantry_machinery::typed::value_of(&node.object)?;
        let conditions: Vec<Value> = KUBELETS
            .iter()
            .map(|kind| {
                let before = object
                    .array_at(&["status", "conditions"])
                    .iter()
                    .find(|condition| condition.str_at(&["type"]) == Some(kind));
                let (reason, message) = match before {
                    Some(_) => ("NodeStatusUnknown", "Kubelet stopped posting node status."),
                    None => ("NodeStatusNeverUpdated", "Kubelet never posted node status."),
                };
                let heartbeat = before.and_then(|before| before.str_at(&["lastHeartbeatTime"]));
                let heartbeat = heartbeat.map_or_else(|| seconds(node.row.meta.created()), str::to_owned);
                let since = before
                    .filter(|before| before.str_at(&["status"]) == Some("Unknown"))
                    .and_then(|before| before.str_at(&["lastTransitionTime"]))
                    .map_or_else(|| now.clone(), str::to_owned);
                value!({
                    "type": (*kind),
                    "status": "Unknown",
                    "reason": reason,
                    "message": message,
                    "lastHeartbeatTime": heartbeat,
                    "lastTransitionTime": since,
                })
            })
            .collect();
        let patch = gantry_machinery::typed::to_json(&value!({"status": {"conditions": (Value::Array(conditions))}}));
        let patch: serde_json::Value = serde_json::from_slice(&patch).unwrap_or_default();
        let target = Target::object(&gvr::NODES, "", node.name()).sub("status");
        self.writer.strategic(target, &patch).await?;
        let message = format!("Node {} status is now: NodeNotReady", node.name());
        self.recorder.normal(subject(node), "NodeNotReady", message);
        Ok(())
    }

    /// The pods of a node that is not ready are not ready either: services must stop sending to them.
    async fn mark_pods_not_ready(&self, node: &Node) -> Result<(), LoopError> {
        let now = seconds(self.clock.now());
        for pod in self.pods.indexed(BY_NODE, node.name()) {
            if !pod.row.ready || pod.row.meta.deleting() {
                continue;
            }
            let patch = serde_json::json!({
                "metadata": {"uid": pod.row.meta.uid.as_str()},
                "status": {"conditions": [{"type": "Ready", "status": "False", "lastTransitionTime": now}]},
            });
            let target = Target::object(&gvr::PODS, pod.namespace(), pod.name()).sub("status");
            match self.writer.strategic(target, &patch).await {
                Ok(_) => {}
                Err(status) if is_not_found(&status) || is_conflict(&status) => {}
                Err(status) => return Err(status.into()),
            }
        }
        Ok(())
    }

    /// Puts on and takes off the system's taints; says when to come back for one that had to wait.
    async fn taint(&self, node: &Node) -> Result<Option<Duration>, LoopError> {
        let row = &node.row;
        let mut wanted: Vec<(&str, &str)> =
            taints::no_schedule(row).into_iter().map(|key| (key, "NoSchedule")).collect();
        let mut wait = None;
        if let Some(key) = taints::no_execute(row) {
            let has = row.taints.iter().any(|taint| taint.key == key && taint.effect == "NoExecute");
            match self.may_evict(node, has) {
                None => wanted.push((key, "NoExecute")),
                Some(pause) => wait = Some(pause),
            }
        }
        let is_wanted = |taint: &crate::runtime::rows::TaintRow| {
            wanted.iter().any(|(key, effect)| taint.key == *key && taint.effect == *effect)
        };
        let surplus = row.taints.iter().any(|taint| taints::managed(taint) && !is_wanted(taint));
        let missing: Vec<_> = wanted
            .iter()
            .filter(|(key, effect)| !row.taints.iter().any(|taint| taint.key == *key && taint.effect == *effect))
            .collect();
        if !surplus && missing.is_empty() {
            return Ok(wait);
        }
        let mut list: Vec<Value> = Vec::new();
        let kept = row.taints.iter().filter(|taint| !taints::managed(taint) || is_wanted(taint));
        for taint in kept {
            let mut entry = value!({"key": (taint.key.clone()), "effect": (taint.effect.clone())});
            if !taint.value.is_empty() {
                entry.set(&["value"], taint.value.clone());
            }
            if let Some(added) = &taint.time_added {
                entry.set(&["timeAdded"], seconds(added.0));
            }
            list.push(entry);
        }
        for (key, effect) in missing {
            let mut entry = value!({"key": (*key), "effect": (*effect)});
            entry.set(&["timeAdded"], seconds(self.clock.now()));
            list.push(entry);
        }
        self.writer
            .edit(&gvr::NODES, &node.object, |object| {
                if list.is_empty() {
                    object.remove(&["spec", "taints"]);
                } else {
                    object.set(&["spec", "taints"], Value::Array(list));
                }
            })
            .await?;
        Ok(wait)
    }

    /// `None` when the node may be given a NoExecute taint now; else when to ask again.
    fn may_evict(&self, node: &Node, has: bool) -> Option<Duration> {
        if has {
            return None;
        }
        let zone = node.object.facets.label("topology.kubernetes.io/zone").unwrap_or_default();
        let now = Instant::now();
        let mut zones = self.zones.lock();
        match zones.get_mut(zone) {
            Some(next) if *next > now => Some(*next - now),
            Some(next) => {
                *next = now + self.eviction_pause;
                None
            }
            None => {
                zones.insert(zone.into(), now + self.eviction_pause);
                None
            }
        }
    }
}

#[async_trait]
impl Reconcile for NodeLifecycle {
    fn name(&self) -> &'static str {
        "node-lifecycle-controller"
    }

    fn watch(self: Arc<Self>, queue: &Arc<Queue>) {
        let (me, to) = (self.clone(), queue.clone());
        self.nodes.on_change(move |before, after| {
            match (before, after) {
                // A status posted by its kubelet is a sign of life, too.
                (Some(before), Some(node)) if before.row.heartbeat != node.row.heartbeat => {
                    me.hear(node.name(), None);
                }
                (None, Some(node)) => me.hear(node.name(), None),
                (Some(node), None) => {
                    me.heard.lock().remove(node.name());
                }
                _ => {}
            }
            if let Some(node) = after {
                to.add(node.key().clone());
            }
        });
        let (me, to) = (self.clone(), queue.clone());
        self.leases.on_change(move |_, after| {
            if let Some(lease) = after
                && lease.namespace() == LEASES
            {
                let key = me.nodes.key("", lease.name());
                let late = me.heard.lock().get(lease.name()).is_none_or(|heard| heard.at.elapsed() >= me.grace);
                me.hear(lease.name(), lease.row.renewed);
                // A node heard of again in time needs no look: its timer finds out by itself.
                if late {
                    to.add(key);
                }
            }
        });
    }

    async fn synced(&self) {
        self.nodes.synced().await;
        self.leases.synced().await;
        self.pods.synced().await;
    }

    async fn reconcile(&self, key: &ObjectKey) -> Result<Action, LoopError> {
        let Some(node) = self.nodes.get_key(key) else { return Ok(Action::Done) };
        if node.row.meta.deleting() {
            return Ok(Action::Done);
        }
        let patience = self.patience(node.name());
        if patience.is_zero() && node.row.ready != Truth::Unknown {
            // The change comes back as an event, with the taints to follow.
            self.mark_unknown(&node).await?;
            return Ok(Action::Done);
        }
        if node.row.ready != Truth::True {
            self.mark_pods_not_ready(&node).await?;
        }
        let wait = self.taint(&node).await?;
        let next = match (patience.is_zero(), wait) {
            (false, Some(wait)) => Some(wait.min(patience)),
            (false, None) => Some(patience),
            (true, wait) => wait,
        };
        // A little later, so that the time has surely come.
        Ok(next.map_or(Action::Done, |next| Action::After(next + Duration::from_millis(10))))
    }
}

fn seconds(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn subject(node: &Node) -> Subject {
    Subject {
        api_version: "v1".into(),
        kind: "Node".into(),
        namespace: CompactString::default(),
        name: node.name().into(),
        uid: node.row.meta.uid.clone(),
        field_path: CompactString::default(),
    }
}
