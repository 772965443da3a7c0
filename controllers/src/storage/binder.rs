//! Binds claims to volumes and keeps the phases of both (Kubernetes, "Persistent Volumes: lifecycle of a volume and
//! claim").
//!
//! ```text
//! volume:  Pending → Available ── claim finds it ──→ Bound ── claim gone ──→ Released (Retain) | Failed (no deleter)
//! claim:   Pending ── volume found, or made by a provisioner ──→ Bound ── volume gone ──→ Lost
//! ```
//! A binding is four writes, each of which a later round finds done: `claimRef` into the volume, the volume's phase,
//! `volumeName` into the claim, the claim's phase. Claims of a class that waits for its first consumer are bound when the
//! scheduler has chosen the node: it writes the `claimRef`, the rest is done here. Volumes are made by provisioners of
//! their own; none is built in, and nothing is deleted or recycled here: a volume to be deleted becomes `Failed` and says so.

use std::sync::Arc;

use async_trait::async_trait;
use compact_str::CompactString;
use gantry_machinery::clock::Clock;
use gantry_machinery::recorder::{Recorder, Subject};
use gantry_machinery::resource::gvr;
use gantry_machinery::value;
use gantry_scheduler_core::rows::storage::{ClaimRef, Key};
use gantry_store_cache::key::ObjectKey;
use gantry_store_cache::object::StoredObject;
use serde_json::json;

use super::rows::{BIND_COMPLETED, BOUND_BY_CONTROLLER, Claim, Class, Volume};
use crate::runtime::informer::{Entry, Informer};
use crate::runtime::informers::{BY_CLAIM, BY_VOLUME, Informers, OPEN_BY_CLASS, VOLUMES_BY_CLASS};
use crate::runtime::reconcile::{Action, Queue, Reconcile};
use crate::runtime::write::{LoopError, Writer};

const NAME: &str = "persistentvolume-binder-controller";
const NO_PROVISIONER: &str = "kubernetes.io/no-provisioner";
/// Who is to make the claim's volume; provisioners look for their name here.
const PROVISIONER: [&str; 2] =
    ["volume.kubernetes.io/storage-provisioner", "volume.beta.kubernetes.io/storage-provisioner"];

/// The loop; keys are volumes and claims.
pub struct Binder {
    volumes: Arc<Informer<Volume>>,
    claims: Arc<Informer<Claim>>,
    classes: Arc<Informer<Class>>,
    writer: Writer,
    recorder: Recorder,
    clock: Clock,
}

impl Binder {
    /// Over these informers.
    #[must_use]
    pub fn new(informers: &Informers) -> Arc<Self> {
        Arc::new(Self {
            volumes: informers.volumes(),
            claims: informers.claims(),
            classes: informers.storage_classes(),
            writer: Writer::new(informers.api().clone(), NAME),
            recorder: informers.recorder("persistentvolume-controller"),
            clock: informers.clock(),
        })
    }

    fn claim(&self, key: &Key) -> Option<Arc<Entry<Claim>>> {
        self.claims.get(&key.namespace, &key.name)
    }

    async fn sync_claim(&self, claim: &Entry<Claim>) -> Result<(), LoopError> {
        let row = &claim.row.row;
        if row.bind_completed {
            return self.sync_bound_claim(claim).await;
        }
        if !row.volume.is_empty() {
            let Some(volume) = self.volumes.get("", &row.volume) else { return self.pend(claim).await };
            return match &volume.row.row.claim {
                None if self.satisfies(&volume.row, claim) => self.bind(&volume, claim).await,
                None => {
                    let why = "Cannot bind to requested volume: it does not satisfy the claim";
                    self.recorder.warning(claim_subject(claim), "VolumeMismatch", why);
                    self.pend(claim).await
                }
                Some(of) if is_same(of, claim) => self.bind(&volume, claim).await,
                Some(_) => {
                    let why = format!("volume {:?} already bound to a different claim.", row.volume);
                    self.recorder.warning(claim_subject(claim), "FailedBinding", why);
                    self.pend(claim).await
                }
            };
        }
        if claim.row.meta.deleting() {
            return Ok(());
        }
        let class = self.classes.get("", &row.class);
        let waits = class.as_ref().is_some_and(|class| class.row.row.waits) && row.selected_node.is_none();
        if let Some(volume) = self.best(claim, waits) {
            return self.bind(&volume, claim).await;
        }
        if waits {
            let why = "waiting for first consumer to be created before binding";
            self.recorder.normal(claim_subject(claim), "WaitForFirstConsumer", why);
        } else if row.class.is_empty() {
            let why = "no persistent volumes available for this claim and no storage class is set";
            self.recorder.normal(claim_subject(claim), "FailedBinding", why);
        } else {
            self.ask_provisioner(claim, class.as_deref()).await?;
        }
        self.pend(claim).await
    }

    /// Names the class's provisioner in the claim: it is for him to make the volume.
    async fn ask_provisioner(&self, claim: &Entry<Claim>, class: Option<&Entry<Class>>) -> Result<(), LoopError> {
        let subject = claim_subject(claim);
        let Some(class) = class else {
            let why = format!("storageclass.storage.k8s.io {:?} not found", claim.row.row.class);
            self.recorder.warning(subject, "ProvisioningFailed", why);
            return Ok(());
        };
        let provisioner = &*class.row.row.provisioner;
        if provisioner == NO_PROVISIONER {
            let why = format!("no volume plugin matched name: {provisioner}");
            self.recorder.warning(subject, "ProvisioningFailed", why);
            return Ok(());
        }
        let why = format!(
            "Waiting for a volume to be created either by the external provisioner '{provisioner}' or manually by the \
             system administrator. If volume creation is delayed, please verify that the provisioner is running and \
             correctly registered."
        );
        self.recorder.normal(subject, "ExternalProvisioning", why);
        let value = gantry_machinery::typed::value_of(&claim.object)?;
        let named = |name: &&str| value.str_at(&["metadata", "annotations", name]) == Some(provisioner);
        if !PROVISIONER.iter().all(named) {
            self.writer
                .edit(&gvr::PERSISTENT_VOLUME_CLAIMS, &claim.object, |value| {
                    for name in PROVISIONER {
                        value.set(&["metadata", "annotations", name], provisioner);
                    }
                })
                .await?;
        }
        Ok(())
    }

    async fn sync_bound_claim(&self, claim: &Entry<Claim>) -> Result<(), LoopError> {
        let row = &claim.row.row;
        if row.volume.is_empty() {
            let why = "Bound claim has lost reference to PersistentVolume. Data on the volume is lost!";
            return self.lose(claim, "ClaimLost", why).await;
        }
        let Some(volume) = self.volumes.get("", &row.volume) else {
            let why = "Bound claim has lost its PersistentVolume. Data on the volume is lost!";
            return self.lose(claim, "ClaimLost", why).await;
        };
        match &volume.row.row.claim {
            None => self.bind(&volume, claim).await,
            Some(of) if of.uid == row.uid => self.bind(&volume, claim).await,
            Some(_) => {
                let why = "Two claims are bound to the same volume, this one is bound incorrectly";
                self.lose(claim, "ClaimMisbound", why).await
            }
        }
    }

    /// The volume that suits a claim best: one meant for it, or the smallest with the fewest access modes.
    fn best(&self, claim: &Entry<Claim>, waits: bool) -> Option<Arc<Entry<Volume>>> {
        let meant = self.volumes.indexed(BY_CLAIM, &path(&claim.row.row.key));
        let meant = meant.into_iter().find(|volume| {
            let of = volume.row.row.claim.as_ref();
            of.is_some_and(|of| is_same(of, claim)) && self.satisfies(&volume.row, claim)
        });
        if meant.is_some() || waits {
            return meant;
        }
        let row = &claim.row.row;
        let all = self.volumes.indexed(VOLUMES_BY_CLASS, &row.class);
        all.into_iter()
            .filter(|volume| {
                let offered = &volume.row.row;
                offered.claim.is_none()
                    && offered.available
                    && self.satisfies(&volume.row, claim)
                    && row.selector.as_ref().is_none_or(|selector| selector.matches(&offered.labels))
                    && row.modes.iter().all(|mode| offered.modes.contains(mode))
            })
            .min_by_key(|volume| (volume.row.row.modes.len(), volume.row.row.capacity))
    }

    /// Whether a volume is large enough and of the kind that a claim asks for.
    fn satisfies(&self, volume: &Volume, claim: &Entry<Claim>) -> bool {
        let (offered, wanted) = (&volume.row, &claim.row.row);
        offered.capacity >= wanted.request.unwrap_or(0)
            && offered.block == wanted.block
            && offered.class == wanted.class
            && offered.attributes_class == wanted.attributes_class
            && !offered.deleting
    }

    /// All four writes, those that are missing.
    async fn bind(&self, volume: &Entry<Volume>, claim: &Entry<Claim>) -> Result<(), LoopError> {
        let key = &claim.row.row.key;
        let bound = volume.row.row.claim.as_ref().is_some_and(|of| of.key == *key && of.uid == claim.row.row.uid);
        let mut object = volume.object.clone();
        if !bound {
            let by_user = volume.row.row.claim.is_some();
            object = self
                .writer
                .edit(&gvr::PERSISTENT_VOLUMES, &object, |value| {
                    let reference = value!({
                        "apiVersion": "v1",
                        "kind": "PersistentVolumeClaim",
                        "namespace": (&*key.namespace),
                        "name": (&*key.name),
                        "uid": (&*claim.row.row.uid),
                        "resourceVersion": (claim.object.revision.to_string()),
                    });
                    value.set(&["spec", "claimRef"], reference);
                    if !by_user {
                        value.set(&["metadata", "annotations", BOUND_BY_CONTROLLER], "yes");
                    }
                })
                .await?;
        }
        self.set_phase(&volume.row, &object, "Bound", "").await?;
        let mut object = claim.object.clone();
        if claim.row.row.volume != volume.row.row.name || !claim.row.row.bind_completed {
            let by_user = !claim.row.row.volume.is_empty();
            object = self
                .writer
                .edit(&gvr::PERSISTENT_VOLUME_CLAIMS, &object, |value| {
                    value.set(&["spec", "volumeName"], &*volume.row.row.name);
                    value.set(&["metadata", "annotations", BIND_COMPLETED], "yes");
                    if !by_user {
                        value.set(&["metadata", "annotations", BOUND_BY_CONTROLLER], "yes");
                    }
                })
                .await?;
        }
        if &*claim.row.phase != "Bound" {
            let spec = gantry_machinery::typed::value_of(&volume.object)?;
            let status = json!({
                "phase": "Bound",
                "accessModes": volume.row.row.modes,
                "capacity": {"storage": spec.str_at(&["spec", "capacity", "storage"])},
            });
            self.writer.set_status(&gvr::PERSISTENT_VOLUME_CLAIMS, &object, &status).await?;
        }
        Ok(())
    }

    async fn pend(&self, claim: &Entry<Claim>) -> Result<(), LoopError> {
        if !matches!(&*claim.row.phase, "" | "Pending") {
            let status = json!({"phase": "Pending"});
            self.writer.set_status(&gvr::PERSISTENT_VOLUME_CLAIMS, &claim.object, &status).await?;
        }
        Ok(())
    }

    async fn lose(&self, claim: &Entry<Claim>, reason: &'static str, why: &str) -> Result<(), LoopError> {
        if &*claim.row.phase != "Lost" {
            let status = json!({"phase": "Lost"});
            self.writer.set_status(&gvr::PERSISTENT_VOLUME_CLAIMS, &claim.object, &status).await?;
            self.recorder.warning(claim_subject(claim), reason, why);
        }
        Ok(())
    }

    async fn set_phase(
        &self,
        row: &Volume,
        object: &StoredObject,
        phase: &str,
        message: &str,
    ) -> Result<(), LoopError> {
        if &*row.phase == phase {
            return Ok(());
        }
        let mut status = json!({
            "phase": phase,
            "lastPhaseTransitionTime": self.clock.now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        });
        if !message.is_empty() {
            status["message"] = message.into();
        }
        self.writer.set_status(&gvr::PERSISTENT_VOLUMES, object, &status).await?;
        Ok(())
    }

    async fn sync_volume(&self, volume: &Entry<Volume>) -> Result<(), LoopError> {
        let row = &volume.row;
        // A claim that a user named in advance, or nobody's yet.
        let Some(of) = row.row.claim.as_ref().filter(|of| !of.uid.is_empty()) else {
            return self.set_phase(row, &volume.object, "Available", "").await;
        };
        let claim = self.claim(&of.key).filter(|claim| claim.row.row.uid == of.uid);
        let Some(claim) = claim else { return self.release(volume, of).await };
        if claim.row.row.volume.is_empty() {
            // The claim's round finishes the binding.
            return Ok(());
        }
        if claim.row.row.volume == row.row.name {
            return self.set_phase(row, &volume.object, "Bound", "").await;
        }
        // The claim has another volume.
        if row.provisioned && &*row.policy == "Delete" {
            return self.release(volume, of).await;
        }
        self.writer
            .edit(&gvr::PERSISTENT_VOLUMES, &volume.object, |value| {
                if row.bound_by_controller {
                    value.remove(&["spec", "claimRef"]);
                    value.remove(&["metadata", "annotations", BOUND_BY_CONTROLLER]);
                } else {
                    value.remove(&["spec", "claimRef", "uid"]);
                }
            })
            .await?;
        Ok(())
    }

    /// The claim is gone: what becomes of the volume is said by its policy.
    async fn release(&self, volume: &Entry<Volume>, of: &ClaimRef) -> Result<(), LoopError> {
        let row = &volume.row;
        // The view of claims may be older than that of volumes: ask, before data may be thrown away.
        let read = self.writer.get(&gvr::PERSISTENT_VOLUME_CLAIMS, &of.key.namespace, &of.key.name).await?;
        if let Some(object) = read
            && gantry_machinery::typed::value_of(&object)?.str_at(&["metadata", "uid"]) == Some(&*of.uid)
        {
            return Ok(());
        }
        if &*row.phase == "Failed" {
            return Ok(());
        }
        match &*row.policy {
            "Delete" if !row.provisioned => {
                let why = format!(
                    "error getting deleter volume plugin for volume {:?}: no deletable volume plugin matched",
                    row.row.name
                );
                self.set_phase(row, &volume.object, "Failed", &why).await?;
                self.recorder.warning(volume_subject(volume), "VolumeFailedDelete", why);
            }
            "Recycle" => {
                let why = "No recycler plugin found for the volume!";
                self.set_phase(row, &volume.object, "Failed", why).await?;
                self.recorder.warning(volume_subject(volume), "VolumeFailedRecycle", why);
            }
            // Kept for the administrator, or for the driver that made it.
            _ => self.set_phase(row, &volume.object, "Released", "").await?,
        }
        Ok(())
    }
}

#[async_trait]
impl Reconcile for Binder {
    fn name(&self) -> &'static str {
        NAME
    }

    fn watch(self: Arc<Self>, queue: &Arc<Queue>) {
        let (me, to) = (self.clone(), queue.clone());
        self.claims.on_change(move |before, after| {
            for claim in [before, after].into_iter().flatten() {
                if !claim.row.row.volume.is_empty() {
                    to.add(me.volumes.key("", &claim.row.row.volume));
                }
                for volume in me.volumes.indexed(BY_CLAIM, &path(&claim.row.row.key)) {
                    to.add(volume.key().clone());
                }
            }
            if let Some(claim) = after {
                to.add(claim.key().clone());
            }
        });
        let (me, to) = (self.clone(), queue.clone());
        self.volumes.on_change(move |before, after| {
            if let Some(volume) = after {
                to.add(volume.key().clone());
                if volume.row.row.available && !before.is_some_and(|before| before.row.row.available) {
                    for claim in me.claims.indexed(OPEN_BY_CLASS, &volume.row.row.class) {
                        to.add(claim.key().clone());
                    }
                }
            }
            for volume in [before, after].into_iter().flatten() {
                if let Some(of) = &volume.row.row.claim {
                    to.add(me.claims.key(&of.key.namespace, &of.key.name));
                }
            }
            for claim in me.claims.indexed(BY_VOLUME, after.or(before).map_or("", |volume| volume.name())) {
                to.add(claim.key().clone());
            }
        });
        let (me, to) = (self.clone(), queue.clone());
        self.classes.on_change(move |_, after| {
            for claim in after.into_iter().flat_map(|class| me.claims.indexed(OPEN_BY_CLASS, class.name())) {
                to.add(claim.key().clone());
            }
        });
    }

    async fn synced(&self) {
        self.volumes.synced().await;
        self.claims.synced().await;
        self.classes.synced().await;
    }

    async fn reconcile(&self, key: &ObjectKey) -> Result<Action, LoopError> {
        if let Some(claim) = self.claims.get_key(key) {
            self.sync_claim(&claim).await?;
        } else if let Some(volume) = self.volumes.get_key(key) {
            self.sync_volume(&volume).await?;
        }
        Ok(Action::Done)
    }
}

/// A key as the index of volumes by claim has it.
fn path(key: &Key) -> String {
    format!("{}/{}", key.namespace, key.name)
}

/// Whether a reference means this claim; one without a uid was written by a user, in advance.
fn is_same(of: &ClaimRef, claim: &Entry<Claim>) -> bool {
    of.key == claim.row.row.key && (of.uid.is_empty() || of.uid == claim.row.row.uid)
}

fn claim_subject(claim: &Entry<Claim>) -> Subject {
    subject("PersistentVolumeClaim", claim.key(), &claim.row.meta.uid)
}

fn volume_subject(volume: &Entry<Volume>) -> Subject {
    subject("PersistentVolume", volume.key(), &volume.row.meta.uid)
}

fn subject(kind: &'static str, key: &ObjectKey, uid: &str) -> Subject {
    Subject {
        api_version: "v1".into(),
        kind: kind.into(),
        namespace: key.namespace().into(),
        name: key.name().into(),
        uid: uid.into(),
        field_path: CompactString::default(),
    }
}
