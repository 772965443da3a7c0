//! Tells people: the `PodScheduled` condition of pods that fit nowhere or met an error, and the events `FailedScheduling` and
//! `Scheduled`. Never on the way of a binding.
//!
//! Conditions are written only when the message changed, and only the latest: what is not yet written is kept by pod,
//! so it is bounded by the pods that wait, and forgotten when the pod finds its place. Events go through the recorder,
//! which counts equal ones and drops what the API cannot take; a refusal makes an event when there is news, and again
//! every five minutes, since Events expire.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use compact_str::CompactString;
use gantry_machinery::clock::Clock;
use gantry_machinery::recorder::{Recorder, Subject};
use gantry_machinery::resource::gvr;
use gantry_machinery::resource_api::{PatchBody, PatchKind, ResourceApi, Target, WriteOptions};
use gantry_machinery::status::Status;
use gantry_scheduler_core::plan::{Placement, PodId, Refusal};
use gantry_scheduler_core::profile::ProfileId;
use gantry_scheduler_core::rows::PodRow;
use hashbrown::HashMap;
use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore};
use tokio::time::Instant;

use super::SchedulingOptions;

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
    /// One for each profile, speaking under its name.
    recorders: Box<[Recorder]>,
    /// Tidings by uid that are not written yet.
    unwritten: Mutex<HashMap<Box<str>, Tiding, ahash::RandomState>>,
    wake: Notify,
    scheduled: Mutex<Budget>,
}

/// What a pod's `PodScheduled` condition is to say.
struct Tiding {
    pod: PodId,
    reason: &'static str,
    message: Arc<str>,
}

/// So many events may still be written.
struct Budget {
    left: f64,
    per_second: f64,
    at: Instant,
}

impl Budget {
    fn afford(&mut self, now: Instant) -> bool {
        let refill = now.duration_since(self.at).as_secs_f64() * self.per_second;
        self.left = (self.left + refill).min(self.per_second * 10.0);
        self.at = now;
        let afford = self.left >= 1.0;
        self.left -= f64::from(u8::from(afford));
        afford
    }
}

impl Reports {
    /// Nothing to report yet.
    #[must_use]
    pub(super) fn new(
        api: Arc<dyn ResourceApi>,
        clock: Clock,
        recorder: Recorder,
        options: &SchedulingOptions,
    ) -> Self {
        let per_second = f64::from(options.scheduled_events_per_second);
        Self(Arc::new(Inner {
            api,
            clock,
            recorders: options.core.profiles.iter().map(|p| recorder.speaking_for(&*p.name)).collect(),
            unwritten: Mutex::default(),
            wake: Notify::new(),
            scheduled: Mutex::new(Budget { left: per_second * 10.0, per_second, at: Instant::now() }),
        }))
    }

    /// A pod fits nowhere.
    pub(super) fn refused(&self, refusal: Refusal) {
        if refusal.news || refusal.overdue {
            self.recorder(refusal.profile).warning(subject(&refusal.pod), "FailedScheduling", &*refusal.message);
        }
        if refusal.news {
            self.tell(Tiding { pod: refusal.pod, reason: "Unschedulable", message: refusal.message });
        }
    }

    /// Scheduling a pod went wrong: its binding was turned down, an extender could not be asked.
    pub(super) fn failed(&self, pod: PodId, profile: ProfileId, message: &str) {
        self.recorder(profile).warning(subject(&pod), "FailedScheduling", message);
        self.tell(Tiding { pod, reason: "SchedulerError", message: message.into() });
    }

    fn tell(&self, tiding: Tiding) {
        self.0.unwritten.lock().insert(tiding.pod.uid.clone(), tiding);
        self.0.wake.notify_one();
    }

    fn recorder(&self, profile: ProfileId) -> &Recorder {
        &self.0.recorders[usize::from(profile)]
    }

    /// A pod is bound.
    pub(super) fn bound(&self, placement: &Placement) {
        self.0.unwritten.lock().remove(&placement.pod.uid);
        if self.0.scheduled.lock().afford(Instant::now()) {
            let PodId { namespace, name, .. } = &placement.pod;
            let message = format!("Successfully assigned {namespace}/{name} to {}", placement.node);
            self.recorder(placement.profile).normal(subject(&placement.pod), "Scheduled", message);
        }
    }

    /// Writes conditions for ever.
    pub(super) async fn run(&self) {
        let slots = Arc::new(Semaphore::new(WRITES_MAX));
        loop {
            let tiding = {
                let mut unwritten = self.0.unwritten.lock();
                let uid = unwritten.keys().next().cloned();
                uid.and_then(|uid| unwritten.remove(&uid))
            };
            let Some(tiding) = tiding else {
                self.0.wake.notified().await;
                continue;
            };
            let Ok(slot) = slots.clone().acquire_owned().await else { return };
            let inner = self.0.clone();
            tokio::spawn(async move {
                inner.write(&tiding).await;
                drop(slot);
            });
        }
    }
}

impl Inner {
    /// Sets the condition, unless the pod has found its place meanwhile. A failure is left at that: the pod is tried
    /// again in time, and told again if it matters.
    async fn write(&self, tiding: &Tiding) {
        for _ in 0..TRIES_MAX {
            match self.try_write(tiding).await {
                // Somebody else changed the pod, perhaps by binding it: look again.
                Err(status) if status.code == 409 => {}
                Err(status) if status.code == 404 => return,
                Err(status) => {
                    let PodId { namespace, name, .. } = &tiding.pod;
                    tracing::warn!(pod = %name, %namespace, error = %status, "condition not written");
                    return;
                }
                Ok(()) => return,
            }
        }
    }

    async fn try_write(&self, tiding: &Tiding) -> Result<(), Status> {
        let PodId { namespace, name, uid } = &tiding.pod;
        let target = Target::object(&gvr::PODS, namespace, name);
        let object = self.api.get(&target).await?;
        let Ok(row) = PodRow::from_json(&object.body) else { return Ok(()) };
        let now = said(&object.body);
        let was_false = now.as_ref().is_some_and(|c| c.status.as_deref() == Some("False"));
        let told = was_false
            && now.is_some_and(|c| {
                c.reason.as_deref() == Some(tiding.reason) && c.message.as_deref() == Some(&*tiding.message)
            });
        if row.uid != *uid || !row.node.is_empty() || told {
            return Ok(());
        }
        let mut condition = serde_json::json!({
            "type": "PodScheduled",
            "status": "False",
            "reason": tiding.reason,
            "message": &*tiding.message,
            "lastProbeTime": null,
        });
        if !was_false {
            condition["lastTransitionTime"] = self.clock.now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string().into();
        }
        if row.generation > 0 {
            condition["observedGeneration"] = row.generation.into();
        }
        // Nothing may have happened since we looked: a bound pod must not be called unschedulable.
        let patch = serde_json::json!({
            "metadata": {"uid": &**uid, "resourceVersion": object.revision.to_string()},
            "status": {"conditions": [condition]},
        });
        let patch = PatchBody { kind: PatchKind::Strategic, body: Bytes::from(patch.to_string()) };
        let options = WriteOptions { field_manager: MANAGER.to_owned(), ..WriteOptions::default() };
        self.api.patch(&target.sub("status"), patch, &options).await.map(drop)
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

fn subject(pod: &PodId) -> Subject {
    Subject {
        api_version: "v1".into(),
        kind: "Pod".into(),
        namespace: CompactString::new(&pod.namespace),
        name: CompactString::new(&pod.name),
        uid: CompactString::new(&pod.uid),
        field_path: CompactString::default(),
    }
}
