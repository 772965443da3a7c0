//! Tells people: the `PodScheduled` condition of pods that fit nowhere or met an error, the node that room is made on
//! for them, the `PodGroupScheduled` condition of gangs, and the events `FailedScheduling`, `Preempted` and `Scheduled`. Never on the way of a binding.
//!
//! Conditions are written only when the message changed, and only the latest: what is not yet written is kept by pod,
//! so it is bounded by the pods that wait, and forgotten when the pod finds its place. One write of a pod at a time, so
//! that the latest is what stands. Events go through [`events`](super::events); a refusal makes one when there is news,
//! and again every five minutes, which makes a series of it.

mod gang;

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use compact_str::CompactString;
use gantry_machinery::clock::Clock;
use gantry_machinery::recorder::Severity;
use gantry_machinery::resource::gvr;
use gantry_machinery::resource_api::{PatchBody, PatchKind, ResourceApi, Target, WriteOptions};
use gantry_machinery::status::Status;
use gantry_scheduler_core::plan::{GangName, Nomination, Placement, PodId, Refusal};
use gantry_scheduler_core::profile::ProfileId;
use gantry_scheduler_core::rows::PodRow;
use hashbrown::{HashMap, HashSet};
use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore};
use tokio::time::Instant;

use super::SchedulingOptions;
use super::events::{Events, Fact};
use super::metrics::{Call, Metrics};

/// Condition writes under way at a time.
const WRITES_MAX: usize = 8;
/// How often a condition is tried again because the pod has changed meanwhile.
const TRIES_MAX: u32 = 5;
const MANAGER: &str = "kube-scheduler";

/// Takes reports from any thread; [`run`](Self::run) writes them.
#[derive(Clone)]
pub(super) struct Reports(Arc<Inner>);

struct Inner {
    api: Arc<dyn ResourceApi>,
    clock: Clock,
    events: Events,
    metrics: Arc<Metrics>,
    /// The profiles' names.
    names: Box<[CompactString]>,
    unwritten: Mutex<Unwritten>,
    wake: Notify,
}

/// What is to be written.
#[derive(Default)]
struct Unwritten {
    /// By uid.
    tidings: HashMap<Box<str>, Tiding, ahash::RandomState>,
    /// What PodGroups are to say.
    gangs: HashMap<Arc<GangName>, gang::Word, ahash::RandomState>,
    /// The uids of the pods that are being written.
    writing: HashSet<Box<str>, ahash::RandomState>,
}

/// What a pod's status is to say.
struct Tiding {
    pod: PodId,
    /// Reason and message of the `PodScheduled` condition.
    condition: Option<(&'static str, Arc<str>)>,
    /// `nominatedNodeName`.
    nomination: Option<Nomination>,
}

impl Reports {
    /// Nothing to report yet.
    #[must_use]
    pub(super) fn new(
        api: Arc<dyn ResourceApi>,
        clock: Clock,
        events: Events,
        metrics: Arc<Metrics>,
        options: &SchedulingOptions,
    ) -> Self {
        Self(Arc::new(Inner {
            api,
            clock,
            events,
            metrics,
            names: options.core.profiles.iter().map(|profile| CompactString::new(&profile.name)).collect(),
            unwritten: Mutex::default(),
            wake: Notify::new(),
        }))
    }

    /// A pod fits nowhere.
    pub(super) fn refused(&self, refusal: Refusal) {
        if refusal.news || refusal.overdue {
            self.warn(&refusal.pod, refusal.profile, &refusal.message);
        }
        if refusal.news || refusal.nomination.is_some() {
            let condition = refusal.news.then_some(("Unschedulable", refusal.message));
            self.tell(Tiding { pod: refusal.pod, condition, nomination: refusal.nomination });
        }
    }

    /// A gang is bound: its PodGroup says so.
    pub(super) fn gang_bound(&self, gang: Arc<GangName>) {
        self.tell_gang(gang, gang::BOUND);
    }

    /// A gang cannot be placed: its PodGroup says so.
    pub(super) fn gang_refused(&self, gang: Arc<GangName>) {
        self.tell_gang(gang, gang::REFUSED);
    }

    fn tell_gang(&self, gang: Arc<GangName>, word: gang::Word) {
        self.0.unwritten.lock().gangs.insert(gang, word);
        self.0.wake.notify_one();
    }

    /// Room is no longer made for a pod.
    pub(super) fn denominated(&self, pod: PodId) {
        self.tell(Tiding { pod, condition: None, nomination: Some(Nomination::Nowhere) });
    }

    /// A pod has been asked to go for the sake of another.
    pub(super) fn preempted(&self, victim: &PodId, preemptor: &PodId, node: &str, profile: ProfileId) {
        let message = format!("Preempted by pod {} on node {node}", preemptor.uid);
        self.event(Arc::new(victim.clone()), profile, Severity::Normal, ("Preempted", "Preempting"), message);
    }

    /// Scheduling a pod went wrong: its binding was turned down, an extender could not be asked.
    pub(super) fn failed(&self, pod: &PodId, profile: ProfileId, message: &str) {
        self.warn(pod, profile, message);
        self.tell(Tiding { pod: pod.clone(), condition: Some(("SchedulerError", message.into())), nomination: None });
    }

    fn tell(&self, tiding: Tiding) {
        let mut unwritten = self.0.unwritten.lock();
        match unwritten.tidings.get_mut(&tiding.pod.uid) {
            Some(known) => {
                known.condition = tiding.condition.or(known.condition.take());
                known.nomination = tiding.nomination.or(known.nomination.take());
            }
            None => {
                unwritten.tidings.insert(tiding.pod.uid.clone(), tiding);
            }
        }
        drop(unwritten);
        self.0.wake.notify_one();
    }

    fn warn(&self, pod: &PodId, profile: ProfileId, message: &str) {
        self.event(
            Arc::new(pod.clone()),
            profile,
            Severity::Warning,
            ("FailedScheduling", "Scheduling"),
            message.to_owned(),
        );
    }

    /// Tells an event: its reason, and the action it came of.
    fn event(
        &self,
        pod: Arc<PodId>,
        profile: ProfileId,
        severity: Severity,
        (reason, action): (&'static str, &'static str),
        note: String,
    ) {
        let by = self.0.names[usize::from(profile)].clone();
        self.0.events.tell(Fact { pod, severity, reason, action, note, by });
    }

    /// A pod is bound.
    pub(super) fn bound(&self, placement: &Placement) {
        self.0.unwritten.lock().tidings.remove(&placement.pod.uid);
        let PodId { namespace, name, .. } = &*placement.pod;
        let message = format!("Successfully assigned {namespace}/{name} to {}", placement.node);
        self.event(placement.pod.clone(), placement.profile, Severity::Normal, ("Scheduled", "Binding"), message);
    }

    /// Writes conditions for ever.
    pub(super) async fn run(&self) {
        let slots = Arc::new(Semaphore::new(WRITES_MAX));
        loop {
            let gangs = std::mem::take(&mut self.0.unwritten.lock().gangs);
            for (gang, word) in gangs {
                gang::write(&*self.0.api, self.0.clock, &gang, word).await;
            }
            let tiding = {
                let Unwritten { tidings, writing, .. } = &mut *self.0.unwritten.lock();
                let uid = tidings.keys().find(|uid| !writing.contains(*uid)).cloned();
                uid.and_then(|uid| {
                    writing.insert(uid.clone());
                    tidings.remove(&uid)
                })
            };
            let Some(tiding) = tiding else {
                self.0.wake.notified().await;
                continue;
            };
            let Ok(slot) = slots.clone().acquire_owned().await else { return };
            let inner = self.0.clone();
            tokio::spawn(async move {
                inner.metrics.calls_begin(Call::StatusPatch, 1);
                let asked = Instant::now();
                let written = inner.write(&tiding).await;
                inner.metrics.call_ended(Call::StatusPatch, written, asked.elapsed());
                inner.unwritten.lock().writing.remove(&tiding.pod.uid);
                inner.wake.notify_one();
                drop(slot);
            });
        }
    }
}

impl Inner {
    /// Sets the condition, unless the pod has found its place meanwhile. A failure is left at that: the pod is tried
    /// again in time, and told again if it matters. Says whether what had to be written is.
    async fn write(&self, tiding: &Tiding) -> bool {
        for _ in 0..TRIES_MAX {
            match self.try_write(tiding).await {
                // Somebody else changed the pod, perhaps by binding it: look again.
                Err(status) if status.code == 409 => {}
                Err(status) if status.code == 404 => return true,
                Err(status) => {
                    let PodId { namespace, name, .. } = &tiding.pod;
                    tracing::warn!(pod = %name, %namespace, error = %status, "condition not written");
                    return false;
                }
                Ok(()) => return true,
            }
        }
        false
    }

    async fn try_write(&self, tiding: &Tiding) -> Result<(), Status> {
        let PodId { namespace, name, uid } = &tiding.pod;
        let target = Target::object(&gvr::PODS, namespace, name);
        let object = self.api.get(&target).await?;
        let Ok(row) = PodRow::from_json(&object.body) else { return Ok(()) };
        if row.uid != *uid || !row.node.is_empty() {
            return Ok(());
        }
        let mut status = serde_json::Map::new();
        if let Some(condition) = tiding.condition.as_ref().and_then(|said| self.condition(said, &object.body, &row)) {
            status.insert("conditions".into(), vec![condition].into());
        }
        match &tiding.nomination {
            Some(Nomination::Node(node)) if row.nominated != *node => {
                status.insert("nominatedNodeName".into(), (**node).into());
            }
            Some(Nomination::Nowhere) if !row.nominated.is_empty() => {
                status.insert("nominatedNodeName".into(), serde_json::Value::Null);
            }
            _ => {}
        }
        if status.is_empty() {
            return Ok(());
        }
        // Nothing may have happened since we looked: a bound pod must not be called unschedulable.
        let patch = serde_json::json!({
            "metadata": {"uid": &**uid, "resourceVersion": object.revision.to_string()},
            "status": status,
        });
        let patch = PatchBody { kind: PatchKind::Strategic, body: Bytes::from(patch.to_string()) };
        let options = WriteOptions { field_manager: MANAGER.to_owned(), ..WriteOptions::default() };
        self.api.patch(&target.sub("status"), patch, &options).await.map(drop)
    }

    /// The condition to be written; `None` when it is there.
    fn condition(
        &self,
        (reason, message): &(&'static str, Arc<str>),
        body: &[u8],
        row: &PodRow,
    ) -> Option<serde_json::Value> {
        let now = said(body);
        let was_false = now.as_ref().is_some_and(|c| c.status.as_deref() == Some("False"));
        let same = |c: Condition<'_>| c.reason.as_deref() == Some(reason) && c.message.as_deref() == Some(message);
        if was_false && now.is_some_and(same) {
            return None;
        }
        let mut condition = serde_json::json!({
            "type": "PodScheduled",
            "status": "False",
            "reason": reason,
            "message": &**message,
            "lastProbeTime": null,
        });
        if !was_false {
            condition["lastTransitionTime"] = self.clock.now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string().into();
        }
        if row.generation > 0 {
            condition["observedGeneration"] = row.generation.into();
        }
        Some(condition)
    }
}

/// A condition, as far as it is compared.
#[derive(serde::Deserialize)]
struct Condition<'a> {
    #[serde(rename = "type", borrow)]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow)]
    status: Option<Cow<'a, str>>,
    #[serde(borrow)]
    reason: Option<Cow<'a, str>>,
    #[serde(borrow)]
    message: Option<Cow<'a, str>>,
}

/// A pod's `PodScheduled` condition as stored.
fn said(body: &[u8]) -> Option<Condition<'_>> {
    #[derive(serde::Deserialize)]
    struct Status<'a> {
        #[serde(borrow)]
        conditions: Option<Vec<Condition<'a>>>,
    }
    #[derive(serde::Deserialize)]
    struct Pod<'a> {
        #[serde(borrow)]
        status: Option<Status<'a>>,
    }
    let pod: Pod<'_> = serde_json::from_slice(body).ok()?;
    pod.status?.conditions?.into_iter().find(|c| c.kind.as_deref() == Some("PodScheduled"))
}
