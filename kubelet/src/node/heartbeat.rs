//! Registers the nodes of a fleet and keeps them alive: a Lease each, renewed every 10 s, and the whole status every
//! 5 minutes (Kubernetes, "Nodes: heartbeats"; KEP-589).
//!
//! One task for all nodes. Nodes are dealt onto the slots of a wheel that turns once per period, so renewals come evenly;
//! within a slot a bounded number of writes is under way. A node whose object somebody deleted falls silent, like a
//! kubelet that does not register twice.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use gantry_machinery::clock::Clock;
use gantry_machinery::reflector::{Delta, Reflector};
use gantry_machinery::resource::gvr;
use gantry_machinery::resource_api::{PatchBody, PatchKind, ResourceApi, Target, WatchEvent, WriteOptions};
use gantry_machinery::selector::{FieldSelector, LabelSelector};
use gantry_machinery::status::Status;
use gantry_machinery::typed::to_json;
use gantry_machinery::value;
use gantry_machinery::value::Value;
use gantry_store_cache::revision::Revision;
use hashbrown::HashSet;
use jiff::Timestamp;
use parking_lot::Mutex;
use serde::Deserialize;
use tokio::time::{Instant, MissedTickBehavior};

use super::addresses::Block;
use super::describe::{self, NodeConfig};
use super::extended::{Amounts, Extended};

/// Where kubelets keep their Leases.
const LEASES: &str = "kube-node-lease";
/// Writes under way at a time, of registration and of one slot.
const WRITES_MAX: usize = 64;
/// Slots of the wheel at most.
const SLOTS_MAX: usize = 100;

/// How often nodes speak up. The defaults are upstream's.
#[derive(Clone, Copy, Debug)]
pub struct HeartbeatConfig {
    /// Between renewals of a Lease.
    pub lease_period: Duration,
    /// How long a Lease says it lasts, in seconds.
    pub lease_seconds: i32,
    /// Between reports of an unchanged status.
    pub status_period: Duration,
}

impl Default for HeartbeatConfig {
    fn default() -> Self {
        Self { lease_period: Duration::from_secs(10), lease_seconds: 40, status_period: Duration::from_secs(300) }
    }
}

/// All nodes of a fleet, as far as they register and beat.
pub struct Heartbeats {
    api: Arc<dyn ResourceApi>,
    clock: Clock,
    nodes: NodeConfig,
    config: HeartbeatConfig,
    runtime: String,
    options: WriteOptions,
    /// Nodes that play dead.
    silenced: Arc<Mutex<HashSet<u32>>>,
    /// Nodes that the cluster takes to be in trouble, though they are not: they speak up at their next turn.
    misjudged: Mutex<HashSet<u32>>,
}

/// One node's part.
struct Beat {
    number: u32,
    name: String,
    uid: String,
    /// What the Lease was last written at; `None` when we do not know.
    lease: Option<Revision>,
    next_status: Instant,
    since: Timestamp,
    gone: bool,
}

impl Heartbeats {
    /// For the nodes of `nodes`, which run `runtime`.
    #[must_use]
    pub fn new(
        api: Arc<dyn ResourceApi>,
        clock: Clock,
        nodes: NodeConfig,
        config: HeartbeatConfig,
        runtime: String,
        silenced: Arc<Mutex<HashSet<u32>>>,
    ) -> Self {
        let options = WriteOptions { field_manager: "kubelet".into(), ..WriteOptions::default() };
        Self { api, clock, nodes, config, runtime, options, silenced, misjudged: Mutex::default() }
    }

    /// Registers nodes `0..count`, calls `registered` when all of them are, and beats until dropped.
    pub async fn run(self, count: u32, registered: impl FnOnce() + Send) {
        tokio::select! {
            () = self.turn(count, registered) => {}
            () = self.listen(count) => {}
        }
    }

    /// Watches what the cluster thinks of the nodes, and what others write into their statuses.
    async fn listen(&self, count: u32) {
        let mut extended = Extended::default();
        let mut source =
            Reflector::new(self.api.clone(), gvr::NODES.clone(), LabelSelector::default(), FieldSelector::default());
        loop {
            let objects = match source.next().await {
                Delta::Replace(objects) => objects,
                Delta::Changes(events) => {
                    let object = |event| match event {
                        WatchEvent::Added(object) | WatchEvent::Modified(object) => Some(object),
                        WatchEvent::Deleted(_) | WatchEvent::Bookmark { .. } => None,
                    };
                    events.into_iter().filter_map(object).collect()
                }
            };
            for object in objects {
                let number = object.key.name().strip_prefix(&self.nodes.name_prefix).map(str::parse::<u32>);
                let Some(Ok(number)) = number else { continue };
                if number >= count {
                    continue;
                }
                let status = serde_json::from_slice::<RawNode>(&object.body).unwrap_or_default().status;
                let speaks = !self.silenced.lock().contains(&number);
                if speaks && let Some(amounts) = extended.correction(number, &status.capacity, &status.allocatable) {
                    let patch = value!({"status": {"allocatable": amounts}});
                    if let Err(error) = self.patch_status(object.key.name(), &patch).await {
                        tracing::warn!(node = object.key.name(), %error, "cannot report an extended resource");
                    }
                }
                if !status.is_ready() {
                    self.misjudged.lock().insert(number);
                }
            }
        }
    }

    async fn turn(&self, count: u32, registered: impl FnOnce() + Send) {
        let mut beats: Vec<Beat> =
            stream::iter(0..count).map(|number| self.register(number)).buffer_unordered(WRITES_MAX).collect().await;
        beats.sort_unstable_by_key(|beat| beat.number);
        registered();
        if beats.is_empty() {
            return std::future::pending().await;
        }
        let slots = beats.len().min(SLOTS_MAX);
        let mut wheel: Vec<Vec<Beat>> = (0..slots).map(|_| Vec::new()).collect();
        for (at, beat) in beats.into_iter().enumerate() {
            wheel[at % slots].push(beat);
        }
        let mut ticks = tokio::time::interval(self.config.lease_period / slots as u32);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            for slot in &mut wheel {
                ticks.tick().await;
                stream::iter(slot.iter_mut()).for_each_concurrent(WRITES_MAX, |beat| self.beat(beat)).await;
            }
        }
    }

    /// Registers one node, trying until it succeeds.
    async fn register(&self, number: u32) -> Beat {
        let name = self.nodes.name(number);
        let mut pause = Duration::from_millis(100);
        loop {
            match self.try_register(number, &name).await {
                Ok(uid) => {
                    let spread = self.config.status_period.mul_f64(crate::seeded::unit(number.into()));
                    return Beat {
                        number,
                        name,
                        uid,
                        lease: None,
                        next_status: Instant::now() + spread,
                        since: self.clock.now(),
                        gone: false,
                    };
                }
                Err(status) => {
                    tracing::warn!(node = name, error = %status, "cannot register; trying again");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(Duration::from_secs(7));
                }
            }
        }
    }

    /// The uid of the node's object, made or found.
    async fn try_register(&self, number: u32, name: &str) -> Result<String, Status> {
        let cidr = Block::new(number, self.nodes.pods).cidr();
        let node = describe::node(&self.nodes, number, &cidr, &self.runtime, self.clock.now());
        let found = match self.api.create(&Target::object(&gvr::NODES, "", ""), node, &self.options).await {
            Ok(created) => created,
            Err(status) if status.reason == "AlreadyExists" => {
                self.api.get(&Target::object(&gvr::NODES, "", name)).await?
            }
            Err(status) => return Err(status),
        };
        let found: RawNode = serde_json::from_slice(&found.body).unwrap_or_default();
        if !found.status.is_ready() {
            let status = describe::status(&self.nodes, number, &self.runtime, self.clock.now());
            self.patch_status(name, &value!({"status": status})).await?;
        }
        Ok(found.metadata.uid)
    }

    async fn beat(&self, beat: &mut Beat) {
        if beat.gone || self.silenced.lock().contains(&beat.number) {
            return;
        }
        if let Err(status) = self.renew(beat).await {
            tracing::warn!(node = beat.name, error = %status, "cannot renew the lease");
        }
        let misjudged = self.misjudged.lock().remove(&beat.number);
        if misjudged || Instant::now() >= beat.next_status {
            if misjudged {
                beat.since = self.clock.now();
            }
            beat.next_status = Instant::now() + self.config.status_period;
            let conditions = describe::conditions(self.clock.now(), Some(beat.since));
            match self.patch_status(&beat.name, &value!({"status": {"conditions": conditions}})).await {
                Ok(()) => {}
                Err(status) if status.code == 404 => beat.gone = true,
                Err(status) => tracing::warn!(node = beat.name, error = %status, "cannot report the node's status"),
            }
        }
    }

    async fn renew(&self, beat: &mut Beat) -> Result<(), Status> {
        let target = Target::object(&gvr::LEASES, LEASES, &beat.name);
        if let Some(revision) = beat.lease {
            match self.api.update(&target, self.lease(beat, Some(revision)), &self.options).await {
                Ok(written) => {
                    beat.lease = Some(written.revision);
                    return Ok(());
                }
                Err(status) if matches!(status.code, 404 | 409) => beat.lease = None,
                Err(status) => return Err(status),
            }
        }
        // Not known, or not as we left it: what is there now?
        match self.api.get(&target).await {
            Ok(found) => {
                let lease = self.lease(beat, Some(found.revision));
                beat.lease = Some(self.api.update(&target, lease, &self.options).await?.revision);
            }
            Err(status) if status.code == 404 => {
                // Leases go with their Node; a kubelet does not bring a deleted Node back.
                match self.api.get(&Target::object(&gvr::NODES, "", &beat.name)).await {
                    Err(status) if status.code == 404 => {
                        tracing::info!(node = beat.name, "the node was deleted; it falls silent");
                        beat.gone = true;
                        return Ok(());
                    }
                    _ => {}
                }
                let target = Target::object(&gvr::LEASES, LEASES, "");
                let lease = self.lease(beat, None);
                beat.lease = Some(self.api.create(&target, lease, &self.options).await?.revision);
            }
            Err(status) => return Err(status),
        }
        Ok(())
    }

    fn lease(&self, beat: &Beat, revision: Option<Revision>) -> Value {
        let renewed = self.clock.now().strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string();
        let mut lease = value!({
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {
                "name": (beat.name.as_str()),
                "namespace": LEASES,
                "ownerReferences": [
                    {"apiVersion": "v1", "kind": "Node", "name": (beat.name.as_str()), "uid": (beat.uid.as_str())},
                ],
            },
            "spec": {
                "holderIdentity": (beat.name.as_str()),
                "leaseDurationSeconds": (self.config.lease_seconds),
                "renewTime": renewed,
            },
        });
        if let Some(revision) = revision {
            lease.set(&["metadata", "resourceVersion"], revision.to_string());
        }
        lease
    }

    async fn patch_status(&self, name: &str, patch: &Value) -> Result<(), Status> {
        let body = PatchBody { kind: PatchKind::Strategic, body: to_json(patch).into() };
        let target = Target::object(&gvr::NODES, "", name).sub("status");
        self.api.patch(&target, body, &self.options).await.map(drop)
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawNode {
    metadata: RawMeta,
    status: RawStatus,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawMeta {
    uid: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawStatus {
    conditions: Vec<RawCondition>,
    capacity: Amounts,
    allocatable: Amounts,
}

impl RawStatus {
    /// Whether the Ready condition is True.
    fn is_ready(&self) -> bool {
        self.conditions.iter().any(|condition| condition.r#type == "Ready" && condition.status == "True")
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawCondition {
    r#type: String,
    status: String,
}
