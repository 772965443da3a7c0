//! Keeps claims that pods use, and volumes that claims are bound to, from going away (Kubernetes, "Storage Object in Use
//! Protection"): a finalizer each, taken away when nobody uses them any more.

use std::sync::Arc;

use async_trait::async_trait;
use gantry_machinery::resource::{GroupVersionResource, gvr};
use gantry_machinery::value::Value;
use gantry_scheduler_core::rows::PodRow as Needing;
use gantry_store_cache::key::ObjectKey;
use gantry_store_cache::object::StoredObject;

use super::rows::{Claim, Volume};
use crate::runtime::informer::Informer;
use crate::runtime::informers::Informers;
use crate::runtime::reconcile::{Action, Queue, Reconcile};
use crate::runtime::rows::PodRow;
use crate::runtime::write::{LoopError, Writer};

const CLAIM_FINALIZER: &str = "kubernetes.io/pvc-protection";
const VOLUME_FINALIZER: &str = "kubernetes.io/pv-protection";

/// Protects claims; keys are claims.
pub struct ClaimProtection {
    claims: Arc<Informer<Claim>>,
    pods: Arc<Informer<PodRow>>,
    writer: Writer,
}

impl ClaimProtection {
    /// Over these informers.
    #[must_use]
    pub fn new(informers: &Informers) -> Arc<Self> {
        Arc::new(Self {
            claims: informers.claims(),
            pods: informers.pods(),
            writer: Writer::new(informers.api().clone(), "persistentvolumeclaim-protection-controller"),
        })
    }

    /// Whether a pod on a node may have it mounted. Pods are read again: the informer's row knows no volumes.
    async fn is_used(&self, namespace: &str, name: &str) -> Result<bool, LoopError> {
        for pod in self.pods.in_namespace(namespace) {
            if pod.row.node.is_empty() || pod.row.phase.ended() {
                continue;
            }
            let Ok(row) = Needing::from_json(&pod.object.body) else { continue };
            if row.needs.is_some_and(|needs| needs.claims.iter().any(|claim| &*claim.name == name)) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

#[async_trait]
impl Reconcile for ClaimProtection {
    fn name(&self) -> &'static str {
        "persistentvolumeclaim-protection-controller"
    }

    fn watch(self: Arc<Self>, queue: &Arc<Queue>) {
        let to = queue.clone();
        self.claims.on_change(move |_, after| {
            if let Some(claim) = after {
                to.add(claim.key().clone());
            }
        });
        let (me, to) = (self.clone(), queue.clone());
        self.pods.on_change(move |before, after| {
            let Some(pod) = before else { return };
            if after.is_none_or(|after| after.row.phase.ended()) {
                let claims = me.claims.in_namespace(pod.namespace());
                claims.iter().filter(|claim| claim.row.meta.deleting()).for_each(|claim| to.add(claim.key().clone()));
            }
        });
    }

    async fn synced(&self) {
        self.claims.synced().await;
        self.pods.synced().await;
    }

    async fn reconcile(&self, key: &ObjectKey) -> Result<Action, LoopError> {
        let Some(claim) = self.claims.get_key(key) else { return Ok(Action::Done) };
        let held = claim.row.meta.finalizers.iter().any(|f| f == CLAIM_FINALIZER);
        let resource = &gvr::PERSISTENT_VOLUME_CLAIMS;
        if !claim.row.meta.deleting() && !held {
            hold(&self.writer, resource, &claim.object, CLAIM_FINALIZER).await?;
        } else if claim.row.meta.deleting() && held && !self.is_used(key.namespace(), key.name()).await? {
            let_go(&self.writer, resource, &claim.object, CLAIM_FINALIZER).await?;
        }
        Ok(Action::Done)
    }
}

/// Protects volumes; keys are volumes.
pub struct VolumeProtection {
    volumes: Arc<Informer<Volume>>,
    writer: Writer,
}

impl VolumeProtection {
    /// Over these informers.
    #[must_use]
    pub fn new(informers: &Informers) -> Arc<Self> {
        Arc::new(Self {
            volumes: informers.volumes(),
            writer: Writer::new(informers.api().clone(), "persistentvolume-protection-controller"),
        })
    }
}

#[async_trait]
impl Reconcile for VolumeProtection {
    fn name(&self) -> &'static str {
        "persistentvolume-protection-controller"
    }

    fn watch(self: Arc<Self>, queue: &Arc<Queue>) {
        let to = queue.clone();
        self.volumes.on_change(move |_, after| {
            if let Some(volume) = after {
                to.add(volume.key().clone());
            }
        });
    }

    async fn synced(&self) {
        self.volumes.synced().await;
    }

    async fn reconcile(&self, key: &ObjectKey) -> Result<Action, LoopError> {
        let Some(volume) = self.volumes.get_key(key) else { return Ok(Action::Done) };
        let held = volume.row.meta.finalizers.iter().any(|f| f == VOLUME_FINALIZER);
        let resource = &gvr::PERSISTENT_VOLUMES;
        if !volume.row.meta.deleting() && !held {
            hold(&self.writer, resource, &volume.object, VOLUME_FINALIZER).await?;
        } else if volume.row.meta.deleting() && held && &*volume.row.phase != "Bound" {
            let_go(&self.writer, resource, &volume.object, VOLUME_FINALIZER).await?;
        }
        Ok(Action::Done)
    }
}

async fn hold(
    writer: &Writer,
    resource: &GroupVersionResource,
    object: &StoredObject,
    finalizer: &str,
) -> Result<(), LoopError> {
    let add = |value: &mut Value| {
        let mut all = value.array_at(&["metadata", "finalizers"]).to_vec();
        all.push(Value::from(finalizer));
        value.set(&["metadata", "finalizers"], Value::Array(all));
    };
    writer.edit(resource, object, add).await.map(drop)
}

async fn let_go(
    writer: &Writer,
    resource: &GroupVersionResource,
    object: &StoredObject,
    finalizer: &str,
) -> Result<(), LoopError> {
    let remove = |value: &mut Value| {
        let all = value.array_at(&["metadata", "finalizers"]).iter();
        let rest: Vec<Value> = all.filter(|f| f.as_str() != Some(finalizer)).cloned().collect();
        value.set(&["metadata", "finalizers"], Value::Array(rest));
    };
    writer.edit(resource, object, remove).await.map(drop)
}
