//! The Deployment loop: rolls a Deployment's template out over ReplicaSets (Kubernetes, "Deployments").
//!
//! One round: claim the ReplicaSets, find the one of the current template ([`revision`]), then either scale
//! ([`scale`]: a change of `spec.replicas`, or a pause) or take one step of the rollout ([`rolling`], [`recreate`]),
//! and report ([`status`]). Every step is decided from what is there, so a round that was cut off is repeated.

mod recreate;
mod revision;
mod rolling;
mod scale;
mod status;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use gantry_machinery::clock::Clock;
use gantry_machinery::recorder::{Recorder, Subject};
use gantry_machinery::resource::gvr;
use gantry_machinery::typed::typed;
use gantry_machinery::value::Value;
use gantry_store_cache::key::ObjectKey;
use gantry_store_cache::object::StoredObject;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, DeploymentStatus, ReplicaSet};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::claim::{Owner, claim};
use crate::runtime::expectations::Expectations;
use crate::runtime::informer::{Entry, Informer};
use crate::runtime::informers::Informers;
use crate::runtime::reconcile::{Action, Queue, Reconcile};
use crate::runtime::rows::{PodRow, SelectingRow};
use crate::runtime::write::{LoopError, Writer};

/// When a wait for our own writes is looked at again, should no event do it.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// The loop; see the module's text.
pub struct Deployments {
    deployments: Arc<Informer<SelectingRow>>,
    sets: Arc<Informer<SelectingRow>>,
    pods: Arc<Informer<PodRow>>,
    writer: Writer,
    recorder: Recorder,
    clock: Clock,
    expectations: Expectations,
}

impl Deployments {
    /// Over these informers.
    #[must_use]
    pub fn new(informers: &Informers) -> Arc<Self> {
        Arc::new(Self {
            deployments: informers.selecting(&gvr::DEPLOYMENTS),
            sets: informers.selecting(&gvr::REPLICA_SETS),
            pods: informers.pods(),
            writer: Writer::new(informers.api().clone(), "deployment-controller"),
            recorder: informers.recorder("deployment-controller"),
            clock: informers.clock(),
            expectations: Expectations::default(),
        })
    }

    /// Names the Deployments that a ReplicaSet concerns: its owner, or whoever might take it in.
    fn concerned(&self, set: &Entry<SelectingRow>, queue: &Queue) {
        match set.row.meta.controller() {
            Some(owner) if owner.kind == "Deployment" => {
                queue.add(self.deployments.key(set.namespace(), &owner.name));
            }
            Some(_) => {}
            None => {
                for deployment in self.deployments.in_namespace(set.namespace()) {
                    let selector = deployment.row.selector.as_ref();
                    if selector.is_some_and(|selector| selector.matches(&set.object.facets)) {
                        queue.add(deployment.key().clone());
                    }
                }
            }
        }
    }
}

#[async_trait]
impl Reconcile for Deployments {
    fn name(&self) -> &'static str {
        "deployment-controller"
    }

    fn watch(self: Arc<Self>, queue: &Arc<Queue>) {
        let to = queue.clone();
        self.deployments.on_change(move |before, after| {
            if let Some(entry) = after.or(before) {
                to.add(entry.key().clone());
            }
        });
        let (me, to) = (self.clone(), queue.clone());
        self.sets.on_change(move |before, after| {
            for entry in before.into_iter().chain(after) {
                me.concerned(entry, &to);
            }
        });
        // A Recreate rollout waits for the old pods to be gone.
        let (me, to) = (self.clone(), queue.clone());
        self.pods.on_change(move |before, after| {
            if let (Some(pod), None) = (before, after)
                && let Some(owner) = pod.row.meta.controller()
                && owner.kind == "ReplicaSet"
                && let Some(set) = me.sets.get(pod.namespace(), &owner.name)
            {
                me.concerned(&set, &to);
            }
        });
    }

    async fn synced(&self) {
        self.deployments.synced().await;
        self.sets.synced().await;
        self.pods.synced().await;
    }

    async fn reconcile(&self, key: &ObjectKey) -> Result<Action, LoopError> {
        let Some(entry) = self.deployments.get_key(key) else {
            return Ok(Action::Done);
        };
        if !self.expectations.met(key, self.sets.reached()) {
            return Ok(Action::After(LOOK_AGAIN));
        }
        let Some(selector) = &entry.row.selector else { return Ok(Action::Done) };
        let mut rollout = Rollout::new(self, &entry)?;
        if selector.is_empty() {
            let message = "This deployment is selecting all pods. A non-empty selector is required.";
            self.recorder.warning(rollout.subject(), "SelectingAll", message);
            return Ok(Action::Done);
        }
        let owner = Owner { resource: &gvr::DEPLOYMENTS, kind: "Deployment", entry: &entry, selector };
        let orphans = self.sets.in_namespace(entry.namespace());
        let orphans = orphans.into_iter().filter(|set| set.row.meta.controller().is_none()).collect();
        let claimed = claim(&self.writer, &owner, &gvr::REPLICA_SETS, &self.sets, orphans).await?;
        rollout.take(claimed)?;

        if entry.row.meta.deleting() {
            rollout.find_current();
            return rollout.report_only().await;
        }
        rollout.note_pause();
        rollout.find_current();
        if rollout.spec.paused == Some(true) || rollout.is_scaling() {
            rollout.revise(false, &owner).await?;
            rollout.rescale().await?;
            if rollout.spec.paused == Some(true) {
                rollout.clean_up().await?;
            }
            return rollout.report_only().await;
        }
        if rollout.rolls() { rollout.roll(&owner).await } else { rollout.recreate(&owner).await }
    }
}

/// One round's working copy of a Deployment and its ReplicaSets.
struct Rollout<'a> {
    looped: &'a Deployments,
    key: &'a ObjectKey,
    uid: &'a str,
    /// The Deployment as last written.
    object: Arc<StoredObject>,
    generation: i64,
    annotations: std::collections::BTreeMap<String, String>,
    spec: DeploymentSpec,
    /// The status as stored, and with this round's changes to conditions and collisions.
    stored: DeploymentStatus,
    status: DeploymentStatus,
    /// All sets, oldest first; `current` says which is of the current template.
    sets: Vec<Set>,
    current: Option<usize>,
}

/// A ReplicaSet in a round.
#[derive(Clone)]
struct Set {
    /// As last written.
    object: Arc<StoredObject>,
    /// Decoded, with this round's changes.
    set: ReplicaSet,
}

impl Set {
    fn of(object: Arc<StoredObject>) -> Result<Self, LoopError> {
        let set = ReplicaSet::clone(&*typed::<ReplicaSet>(&object)?);
        Ok(Self { object, set })
    }

    fn name(&self) -> &str {
        self.object.key.name()
    }

    /// `spec.replicas`
    fn wanted(&self) -> i32 {
        self.set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1)
    }

    /// `status.replicas`
    fn actual(&self) -> i32 {
        self.set.status.as_ref().map_or(0, |status| status.replicas)
    }

    fn ready(&self) -> i32 {
        self.set.status.as_ref().and_then(|status| status.ready_replicas).unwrap_or(0)
    }

    fn available(&self) -> i32 {
        self.set.status.as_ref().and_then(|status| status.available_replicas).unwrap_or(0)
    }

    fn terminating(&self) -> i32 {
        self.set.status.as_ref().and_then(|status| status.terminating_replicas).unwrap_or(0)
    }

    fn annotation(&self, key: &str) -> Option<&str> {
        self.set.metadata.annotations.as_ref()?.get(key).map(String::as_str)
    }

    fn revision(&self) -> i64 {
        self.annotation(revision::REVISION).and_then(|text| text.parse().ok()).unwrap_or(0)
    }
}

impl<'a> Rollout<'a> {
    fn new(looped: &'a Deployments, entry: &'a Arc<Entry<SelectingRow>>) -> Result<Self, LoopError> {
        let deployment = entry.typed::<Deployment>()?;
        let stored = deployment.status.clone().unwrap_or_default();
        Ok(Self {
            looped,
            key: entry.key(),
            uid: &entry.row.meta.uid,
            object: entry.object.clone(),
            generation: entry.row.meta.generation,
            annotations: deployment.metadata.annotations.clone().unwrap_or_default(),
            spec: deployment.spec.clone().unwrap_or_default(),
            status: stored.clone(),
            stored,
            sets: Vec::new(),
            current: None,
        })
    }

    fn take(&mut self, claimed: Vec<Arc<Entry<SelectingRow>>>) -> Result<(), LoopError> {
        for entry in claimed {
            self.sets.push(Set::of(entry.object.clone())?);
        }
        self.sets.sort_by(|a, b| {
            let created = |set: &Set| set.set.metadata.creation_timestamp.as_ref().map(|time| time.0);
            created(a).cmp(&created(b)).then_with(|| a.name().cmp(b.name()))
        });
        Ok(())
    }

    fn name(&self) -> &str {
        self.key.name()
    }

    /// `spec.replicas`
    fn replicas(&self) -> i32 {
        self.spec.replicas.unwrap_or(1)
    }

    fn rolls(&self) -> bool {
        self.spec.strategy.as_ref().and_then(|strategy| strategy.type_.as_deref()) != Some("Recreate")
    }

    /// `(maxSurge, maxUnavailable)` in pods. Never both zero for a rolling update, as it could not move.
    fn fences(&self) -> (i32, i32) {
        if !self.rolls() {
            return (0, 0);
        }
        let rolling = self.spec.strategy.as_ref().and_then(|strategy| strategy.rolling_update.as_ref());
        let replicas = self.replicas();
        let quarter = IntOrString::String("25%".into());
        let surge = rolling.and_then(|rolling| rolling.max_surge.as_ref()).unwrap_or(&quarter);
        let unavailable = rolling.and_then(|rolling| rolling.max_unavailable.as_ref()).unwrap_or(&quarter);
        let surge = share(surge, replicas, true);
        let unavailable = share(unavailable, replicas, false);
        if surge == 0 && unavailable == 0 { (0, 1) } else { (surge, unavailable) }
    }

    fn max_surge(&self) -> i32 {
        self.fences().0
    }

    fn max_unavailable(&self) -> i32 {
        if self.replicas() == 0 { 0 } else { self.fences().1.min(self.replicas()) }
    }

    fn current(&self) -> Option<&Set> {
        self.current.map(|at| &self.sets[at])
    }

    /// The sets of earlier templates, oldest first, by their places.
    fn old(&self) -> Vec<usize> {
        (0..self.sets.len()).filter(|at| Some(*at) != self.current).collect()
    }

    /// Those of them that want pods.
    fn active_old(&self) -> Vec<usize> {
        self.old().into_iter().filter(|at| self.sets[*at].wanted() > 0).collect()
    }

    fn wanted_by(&self, sets: impl IntoIterator<Item = usize>) -> i32 {
        sets.into_iter().map(|at| self.sets[at].wanted()).sum()
    }

    fn subject(&self) -> Subject {
        Subject {
            api_version: "apps/v1".into(),
            kind: "Deployment".into(),
            namespace: self.key.namespace().into(),
            name: self.key.name().into(),
            uid: self.uid.into(),
            field_path: compact_str::CompactString::default(),
        }
    }

    /// Writes a set with `change`, and waits to see it before the next round.
    async fn write_set(&mut self, at: usize, change: impl FnOnce(&mut Value)) -> Result<(), LoopError> {
        let written = self.looped.writer.edit(&gvr::REPLICA_SETS, &self.sets[at].object, change).await?;
        self.looped.expectations.wrote(self.key, written.revision);
        self.sets[at] = Set::of(written)?;
        Ok(())
    }
}

/// A number or a share of `whole`.
fn share(of: &IntOrString, whole: i32, up: bool) -> i32 {
    match of {
        IntOrString::Int(number) => *number,
        IntOrString::String(text) => {
            let percent: i64 = text.trim_end_matches('%').parse().unwrap_or(0);
            let exact = percent * i64::from(whole);
            let pods = if up { (exact + 99).div_euclid(100) } else { exact.div_euclid(100) };
            i32::try_from(pods).unwrap_or(i32::MAX)
        }
    }
}
