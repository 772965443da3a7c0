//! Makes the claims of generic ephemeral volumes: one for each, owned by its pod, gone with it (Kubernetes, "Generic
//! ephemeral volumes").

use std::sync::Arc;

use async_trait::async_trait;
use gantry_machinery::resource::gvr;
use gantry_machinery::typed::value_of;
use gantry_machinery::value;
use gantry_machinery::value::Value;
use gantry_store_cache::key::ObjectKey;

use super::rows::Claim;
use crate::runtime::informer::Informer;
use crate::runtime::informers::Informers;
use crate::runtime::reconcile::{Action, Queue, Reconcile};
use crate::runtime::rows::PodRow;
use crate::runtime::write::{LoopError, Writer, is_already_exists, is_namespace_terminating};

/// The loop; keys are pods.
pub struct EphemeralVolumes {
    pods: Arc<Informer<PodRow>>,
    claims: Arc<Informer<Claim>>,
    writer: Writer,
}

impl EphemeralVolumes {
    /// Over these informers.
    #[must_use]
    pub fn new(informers: &Informers) -> Arc<Self> {
        Arc::new(Self {
            pods: informers.pods(),
            claims: informers.claims(),
            writer: Writer::new(informers.api().clone(), "ephemeral-volume-controller"),
        })
    }
}

/// Whether the bytes of a pod speak of an ephemeral volume: cheap, and rarely wrong.
fn may_have_ephemeral(body: &[u8]) -> bool {
    const FIELD: &[u8] = b"\"volumeClaimTemplate\"";
    body.windows(FIELD.len()).any(|window| window == FIELD)
}

#[async_trait]
impl Reconcile for EphemeralVolumes {
    fn name(&self) -> &'static str {
        "ephemeral-volume-controller"
    }

    fn watch(self: Arc<Self>, queue: &Arc<Queue>) {
        let to = queue.clone();
        self.pods.on_change(move |before, after| {
            if let (None, Some(pod)) = (before, after)
                && pod.row.node.is_empty()
                && may_have_ephemeral(&pod.object.body)
            {
                to.add(pod.key().clone());
            }
        });
        let (me, to) = (self.clone(), queue.clone());
        self.claims.on_change(move |before, after| {
            if let (Some(claim), None) = (before, after)
                && let Some(owner) = claim.row.meta.controller().filter(|owner| owner.kind == "Pod")
            {
                to.add(me.pods.key(claim.namespace(), &owner.name));
            }
        });
    }

    async fn synced(&self) {
        self.pods.synced().await;
        self.claims.synced().await;
    }

    async fn reconcile(&self, key: &ObjectKey) -> Result<Action, LoopError> {
        let Some(pod) = self.pods.get_key(key) else { return Ok(Action::Done) };
        if pod.row.meta.deleting() || pod.row.phase.ended() {
            return Ok(Action::Done);
        }
        let object = value_of(&pod.object)?;
        for volume in object.array_at(&["spec", "volumes"]) {
            let Some(template) = volume.at(&["ephemeral", "volumeClaimTemplate"]) else { continue };
            let name = format!("{}-{}", key.name(), volume.str_at(&["name"]).unwrap_or_default());
            if self.claims.get(key.namespace(), &name).is_some() {
                // Another's claim of that name is the scheduler's to refuse.
                continue;
            }
            let mut claim = value!({
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "metadata": {
                    "name": (&*name),
                    "namespace": (key.namespace()),
                    "ownerReferences": [{
                        "apiVersion": "v1",
                        "kind": "Pod",
                        "name": (key.name()),
                        "uid": (&*pod.row.meta.uid),
                        "controller": true,
                        "blockOwnerDeletion": true,
                    }],
                },
            });
            for field in ["labels", "annotations"] {
                if let Some(given) = template.at(&["metadata", field]) {
                    claim.set(&["metadata", field], given.clone());
                }
            }
            claim.set(&["spec"], template.at(&["spec"]).cloned().unwrap_or(Value::Null));
            match self.writer.create(&gvr::PERSISTENT_VOLUME_CLAIMS, key.namespace(), claim).await {
                Ok(_) => {}
                Err(status) if is_already_exists(&status) || is_namespace_terminating(&status) => {}
                Err(status) => return Err(status.into()),
            }
        }
        Ok(Action::Done)
    }
}
