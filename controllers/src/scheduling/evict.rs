//! Asks the victims of preemption to go: the condition that says why, then the deletion, each victim by itself.
//!
//! A victim that is gone, or going, or another pod by now, is as good as asked. One that could not be asked is reported
//! to the core, which tries the preemptor again. Killed between any two writes, the loop starts over: the preemptor is
//! pending and nominated, and the next attempt finds the victims where they are.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use gantry_machinery::clock::Clock;
use gantry_machinery::resource::gvr;
use gantry_machinery::resource_api::{DeleteOptions, PatchBody, PatchKind, ResourceApi, Target, WriteOptions};
use gantry_machinery::status::Status;
use gantry_scheduler_core::cycle::Event;
use gantry_scheduler_core::plan::{PodId, Preemption};
use gantry_scheduler_core::profile::ProfileId;
use gantry_scheduler_core::rows::PodRow;
use serde_json::json;
use tokio::sync::Semaphore;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::SchedulingOptions;
use super::inbox::Inbox;
use super::metrics::Metrics;
use super::report::Reports;

/// Victims being asked at a time.
const EVICTIONS_MAX: usize = 16;
/// How often the condition is tried again because the victim has changed meanwhile.
const TRIES_MAX: u32 = 5;
const MANAGER: &str = "kube-scheduler";

/// Room to be made.
pub(super) struct ToEvict {
    pub(super) preemption: Preemption,
    pub(super) preemptor: PodId,
    pub(super) profile: ProfileId,
}

/// Where the core's thread hands in the room to be made: at most one for each pod that waits.
#[derive(Clone)]
pub(super) struct Evictions(UnboundedSender<ToEvict>);

impl Evictions {
    /// Room is to be made for a pod.
    pub(super) fn make_room(&self, room: ToEvict) {
        // Nobody listens any more only when the loop is ending.
        let _ = self.0.send(room);
    }
}

struct Work {
    api: Arc<dyn ResourceApi>,
    inbox: Arc<Inbox>,
    clock: Clock,
    reports: Reports,
    metrics: Arc<Metrics>,
    /// The names of the profiles.
    names: Vec<Box<str>>,
}

/// The handle, and the work, which goes on for ever.
pub(super) fn new(
    api: Arc<dyn ResourceApi>,
    inbox: Arc<Inbox>,
    clock: Clock,
    reports: Reports,
    metrics: Arc<Metrics>,
    options: &SchedulingOptions,
) -> (Evictions, impl Future<Output = ()> + use<>) {
    let (sender, rooms) = unbounded_channel();
    let names = options.core.profiles.iter().map(|profile| profile.name.clone()).collect();
    let work = Arc::new(Work { api, inbox, clock, reports, metrics, names });
    (Evictions(sender), run(work, rooms))
}

async fn run(work: Arc<Work>, mut rooms: UnboundedReceiver<ToEvict>) {
    let slots = Arc::new(Semaphore::new(EVICTIONS_MAX));
    while let Some(ToEvict { preemption, preemptor, profile }) = rooms.recv().await {
        work.metrics.preempted(preemption.victims.len());
        preemption.denominated.into_iter().for_each(|pod| work.reports.denominated(pod));
        let (node, preemptor) = (Arc::new(preemption.node), Arc::new(preemptor));
        for victim in preemption.victims.into_iter().filter(|victim| !victim.leaving) {
            let Ok(slot) = slots.clone().acquire_owned().await else { return };
            let (work, node, preemptor) = (work.clone(), node.clone(), preemptor.clone());
            tokio::spawn(async move {
                work.ask(&victim.pod, &preemptor, &node, profile).await;
                drop(slot);
            });
        }
    }
}

impl Work {
    async fn ask(&self, victim: &PodId, preemptor: &PodId, node: &str, profile: ProfileId) {
        let asked = Instant::now();
        let evicted = self.evict(victim, &self.names[usize::from(profile)]).await;
        self.metrics.evicted(evicted.is_ok(), asked.elapsed());
        match evicted {
            Ok(true) => self.reports.preempted(victim, preemptor, node, profile),
            Ok(false) => {}
            Err(status) => {
                tracing::warn!(victim = %victim.name, namespace = %victim.namespace, error = %status,
                    "a pod could not be asked to make room");
                let (victim, preemptor) = (victim.uid.clone(), preemptor.uid.clone());
                self.inbox.settle(0, vec![Event::EvictionFailed { victim, preemptor }]);
            }
        }
    }

    /// Says whether the victim was there to be deleted.
    async fn evict(&self, victim: &PodId, scheduler: &str) -> Result<bool, Status> {
        let mut tries = 0;
        loop {
            match self.explain(victim, scheduler).await {
                Ok(true) => break,
                Ok(false) => return Ok(false),
                // Somebody else changed the pod: look again.
                Err(status) if status.code == 409 && tries < TRIES_MAX => tries += 1,
                Err(status) if status.code == 404 => return Ok(false),
                Err(status) => return Err(status),
            }
        }
        let target = Target::object(&gvr::PODS, &victim.namespace, &victim.name);
        let options = DeleteOptions { uid: Some(victim.uid.to_string()), ..DeleteOptions::default() };
        match self.api.delete(&target, &options).await {
            Ok(_) => Ok(true),
            // Gone, or another pod of the same name.
            Err(status) if matches!(status.code, 404 | 409) => Ok(false),
            Err(status) => Err(status),
        }
    }

    /// Sets the victim's `DisruptionTarget` condition; `false` when it is gone or going.
    async fn explain(&self, victim: &PodId, scheduler: &str) -> Result<bool, Status> {
        let PodId { namespace, name, uid } = victim;
        let target = Target::object(&gvr::PODS, namespace, name);
        let object = self.api.get(&target).await?;
        let Ok(row) = PodRow::from_json(&object.body) else { return Ok(false) };
        if row.uid != *uid || row.deleting || row.terminal {
            return Ok(false);
        }
        if row.displaced {
            return Ok(true);
        }
        let mut condition = json!({
            "type": "DisruptionTarget",
            "status": "True",
            "reason": "PreemptionByScheduler",
            "message": format!("{scheduler}: preempting to accommodate a higher priority pod"),
            "lastProbeTime": null,
            "lastTransitionTime": self.clock.now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        });
        if row.generation > 0 {
            condition["observedGeneration"] = row.generation.into();
        }
        let patch = json!({
            "metadata": {"uid": &**uid, "resourceVersion": object.revision.to_string()},
            "status": {"conditions": [condition]},
        });
        let patch = PatchBody { kind: PatchKind::Strategic, body: Bytes::from(patch.to_string()) };
        let options = WriteOptions { field_manager: MANAGER.to_owned(), ..WriteOptions::default() };
        self.api.patch(&target.sub("status"), patch, &options).await.map(|_| true)
    }
}
