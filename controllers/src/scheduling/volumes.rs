//! What must be written before a pod with volumes may be bound, and the wait until it is done (upstream's PreBind of
//! VolumeBinding).
//!
//! ```text
//! placement with work ─→ give volumes to claims, name the node for those to be made ─→ wait until all are bound ─→ bind
//!                                                  └──────────── failed, reset, too late ──→ told, back to the queue
//! ```
//! Every write is one that somebody may have made before: killed between any two, the binder loop finishes what is
//! written, and the pod is decided on again. Nobody polls: a claim's news wake whoever waits for it; a slow second look
//! covers a watch that was replaced by a list.

use std::sync::Arc;
use std::time::Duration;

use gantry_machinery::resource::{GroupVersionResource, gvr};
use gantry_machinery::resource_api::{ResourceApi, Target};
use gantry_machinery::status::Status;
use gantry_machinery::typed::value_of;
use gantry_machinery::value;
use gantry_machinery::value::Value;
use gantry_scheduler_core::cycle::Event;
use gantry_scheduler_core::plan::Placement;
use gantry_scheduler_core::rows::json::storage::SELECTED_NODE;
use gantry_scheduler_core::rows::storage::{Change, ClaimRef, ClaimRow, Key, Kind, Thing, VolumeRow};
use gantry_scheduler_core::rows::{NodeRow, PodRow};
use gantry_scheduler_core::storage::Preparation;
use gantry_store_cache::object::StoredObject;
use hashbrown::HashMap;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::runtime::write::{LoopError, Writer, is_conflict};

/// How soon a claim is looked at again without news.
const SECOND_LOOK: Duration = Duration::from_secs(10);
/// How often a write is tried again because somebody else was faster.
const TRIES_MAX: u32 = 5;
const MANAGER: &str = "kube-scheduler";
const BY_CONTROLLER: &str = "pv.kubernetes.io/bound-by-controller";

/// Who waits for news of which claim.
#[derive(Default)]
pub(super) struct Notices {
    waiting: Mutex<HashMap<Key, Arc<Notify>, ahash::RandomState>>,
}

impl Notices {
    /// Wakes whom an event concerns.
    pub(super) fn tell(&self, event: &Event) {
        let Event::Storage(change) = event else { return };
        let waiting = self.waiting.lock();
        let tell = |key: &Key| {
            if let Some(notify) = waiting.get(key) {
                notify.notify_waiters();
            }
        };
        match change {
            Change::Is(thing) => match &**thing {
                Thing::Claim(row) => tell(&row.key),
                Thing::Volume(VolumeRow { claim: Some(claim), .. }) => tell(&claim.key),
                Thing::DeviceClaim(row) => tell(&row.key),
                _ => {}
            },
            Change::Gone(Kind::Claim | Kind::DeviceClaim, key) => tell(key),
            Change::All(Kind::Claim | Kind::Volume | Kind::DeviceClaim, _) => {
                waiting.values().for_each(|notify| notify.notify_waiters())
            }
            Change::Gone(..) | Change::All(..) => {}
        }
    }

    pub(super) fn of(&self, key: &Key) -> Arc<Notify> {
        self.waiting.lock().entry(key.clone()).or_default().clone()
    }

    /// Drops those that nobody else holds.
    fn tidy(&self) {
        self.waiting.lock().retain(|_, notify| Arc::strong_count(notify) > 1);
    }
}

/// Why a pod's volumes or claims are not ready.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotReady {
    /// Something is not, or no longer, as it was when the pod was decided on.
    #[error("{0}")]
    Changed(String),
    /// It took too long.
    #[error("binding volumes: context deadline exceeded")]
    TooLate,
    /// The API refused.
    #[error("binding volumes: {0}")]
    Refused(#[from] LoopError),
}

impl From<Status> for NotReady {
    fn from(status: Status) -> Self {
        Self::Refused(status.into())
    }
}

/// Makes a pod's volumes ready for its node; waits so long for them.
///
/// # Errors
/// When they cannot be: the pod must be decided on again.
pub(super) async fn prepare(
    api: &Arc<dyn ResourceApi>,
    notices: &Notices,
    patience: Duration,
    placement: &Placement,
    work: &Preparation,
) -> Result<(), NotReady> {
    let preparing = Preparing { writer: Writer::new(api.clone(), MANAGER), notices, patience, placement, work };
    let done = preparing.run().await;
    drop(preparing);
    notices.tidy();
    done
}

struct Preparing<'a> {
    writer: Writer,
    notices: &'a Notices,
    patience: Duration,
    placement: &'a Placement,
    work: &'a Preparation,
}

impl Preparing<'_> {
    async fn run(&self) -> Result<(), NotReady> {
        for (claim, volume) in &self.work.bind {
            self.give(claim, volume).await?;
        }
        for claim in &self.work.provision {
            self.promise(claim).await?;
        }
        let deadline = Instant::now() + self.patience;
        let bind = self.work.bind.iter().map(|(claim, volume)| (claim, Some(&**volume)));
        for (claim, volume) in bind.chain(self.work.provision.iter().map(|claim| (claim, None))) {
            let notify = self.notices.of(&claim.key);
            loop {
                let news = notify.notified();
                tokio::pin!(news);
                // Before looking: what happens from now on is news.
                news.as_mut().enable();
                if self.is_bound(claim, volume).await? {
                    break;
                }
                if Instant::now() >= deadline {
                    return Err(NotReady::TooLate);
                }
                let again = deadline.min(Instant::now() + SECOND_LOOK);
                // Either way the claim is looked at again.
                let _ = tokio::time::timeout_at(again, news).await;
            }
        }
        Ok(())
    }

    /// Changes an object until nobody else is faster. `change` says whether there is anything to do.
    async fn edit(
        &self,
        resource: &GroupVersionResource,
        key: &Key,
        change: impl Fn(&StoredObject, &mut Value) -> Result<bool, NotReady>,
    ) -> Result<(), NotReady> {
        for _ in 0..TRIES_MAX {
            let Some(object) = self.writer.get(resource, &key.namespace, &key.name).await? else {
                return Err(gone(resource, &key.name));
            };
            let mut value = value_of(&object).map_err(LoopError::from)?;
            if !change(&object, &mut value)? {
                return Ok(());
            }
            match self.writer.update(Target::object(resource, &key.namespace, &key.name), value).await {
                Ok(_) => return Ok(()),
                Err(status) if is_conflict(&status) => {}
                Err(status) => return Err(status.into()),
            }
        }
        Err(NotReady::Changed(format!("{} {:?} keeps changing", resource.resource, key.name)))
    }

    /// Writes the claim into the volume.
    async fn give(&self, claim: &ClaimRef, volume: &str) -> Result<(), NotReady> {
        self.edit(&gvr::PERSISTENT_VOLUMES, &Key::new("", volume), |object, value| {
            let row = volume_row(object)?;
            let named = match &row.claim {
                Some(of) if of.key == claim.key && of.uid == claim.uid => return Ok(false),
                Some(of) if of.key == claim.key && of.uid.is_empty() => true,
                Some(_) => {
                    return Err(NotReady::Changed(format!("persistentvolume {volume:?} is bound to another claim")));
                }
                None => false,
            };
            let reference = value!({
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "namespace": (&*claim.key.namespace),
                "name": (&*claim.key.name),
                "uid": (&*claim.uid),
            });
            value.set(&["spec", "claimRef"], reference);
            if !named {
                value.set(&["metadata", "annotations", BY_CONTROLLER], Value::from("yes"));
            }
            Ok(true)
        })
        .await
    }

    /// Writes the node into the claim, for whoever makes its volume.
    async fn promise(&self, claim: &ClaimRef) -> Result<(), NotReady> {
        let node = &*self.placement.node;
        self.edit(&gvr::PERSISTENT_VOLUME_CLAIMS, &claim.key, |object, value| {
            let row = claim_row(object)?;
            if row.uid != claim.uid {
                return Err(gone(&gvr::PERSISTENT_VOLUME_CLAIMS, &claim.key.name));
            }
            match row.selected_node.as_deref() {
                Some(selected) if selected == node => return Ok(false),
                Some(selected) => return Err(other_node(selected, node)),
                None => {}
            }
            value.set(&["metadata", "annotations", SELECTED_NODE], Value::from(node));
            Ok(true)
        })
        .await
    }

    /// Whether a claim's binding is complete; an error when it will never be.
    async fn is_bound(&self, claim: &ClaimRef, volume: Option<&str>) -> Result<bool, NotReady> {
        let pod = &self.placement.pod;
        let read = self.writer.get(&gvr::PODS, &pod.namespace, &pod.name).await?;
        let there = read.and_then(|object| PodRow::from_json(&object.body).ok());
        if there.is_none_or(|row| row.uid != pod.uid || row.deleting) {
            return Err(NotReady::Changed(format!("pod does not exist any more: {}/{}", pod.namespace, pod.name)));
        }
        let claims = &gvr::PERSISTENT_VOLUME_CLAIMS;
        let read = self.writer.get(claims, &claim.key.namespace, &claim.key.name).await?;
        let row = read.ok_or_else(|| gone(claims, &claim.key.name)).and_then(|object| claim_row(&object))?;
        if row.uid != claim.uid {
            return Err(gone(claims, &claim.key.name));
        }
        if row.is_bound() {
            self.check_reach(&row.volume).await?;
            return Ok(true);
        }
        let name = &claim.key.name;
        match volume {
            Some(volume) => {
                let read = self.writer.get(&gvr::PERSISTENT_VOLUMES, "", volume).await?;
                let row = read.ok_or_else(|| gone(&gvr::PERSISTENT_VOLUMES, volume)).and_then(|o| volume_row(&o))?;
                if row.claim.is_none_or(|of| of.uid.is_empty()) {
                    return Err(NotReady::Changed(format!("ClaimRef got reset for pv {volume:?}")));
                }
            }
            None => match row.selected_node.as_deref() {
                None => return Err(NotReady::Changed(format!("selectedNode annotation reset for PVC {name:?}"))),
                Some(selected) if *selected != *self.placement.node => {
                    return Err(other_node(selected, &self.placement.node));
                }
                Some(_) => {}
            },
        }
        Ok(false)
    }

    /// A volume made for the claim must be one that the node reaches.
    async fn check_reach(&self, volume: &str) -> Result<(), NotReady> {
        let node = &*self.placement.node;
        let read = self.writer.get(&gvr::PERSISTENT_VOLUMES, "", volume).await?;
        let row = read.ok_or_else(|| gone(&gvr::PERSISTENT_VOLUMES, volume)).and_then(|object| volume_row(&object))?;
        let Some(terms) = row.terms else { return Ok(()) };
        let read = self.writer.get(&gvr::NODES, "", node).await?;
        let Some(node_row) = read.and_then(|object| NodeRow::from_json(&object.body).ok()) else {
            return Err(gone(&gvr::NODES, node));
        };
        if terms.iter().any(|term| term.matches_labels(&node_row.labels)) {
            return Ok(());
        }
        Err(NotReady::Changed(format!("pv {volume:?} node affinity doesn't match node {node:?}")))
    }
}

fn gone(resource: &GroupVersionResource, name: &str) -> NotReady {
    NotReady::Changed(format!("{} {name:?} not found", resource.resource))
}

fn other_node(selected: &str, node: &str) -> NotReady {
    NotReady::Changed(format!("selectedNode annotation value {selected:?} not set to scheduled node {node:?}"))
}

fn claim_row(object: &StoredObject) -> Result<ClaimRow, NotReady> {
    match Thing::from_json(Kind::Claim, &object.body) {
        Ok(Thing::Claim(row)) => Ok(row),
        _ => Err(NotReady::Changed(format!("{} cannot be read", object.key))),
    }
}

fn volume_row(object: &StoredObject) -> Result<VolumeRow, NotReady> {
    match Thing::from_json(Kind::Volume, &object.body) {
        Ok(Thing::Volume(row)) => Ok(row),
        _ => Err(NotReady::Changed(format!("{} cannot be read", object.key))),
    }
}
