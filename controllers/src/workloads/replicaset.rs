//! The ReplicaSet loop: as many pods as `spec.replicas` says, made from the template (Kubernetes, "ReplicaSet").
//!
//! Pods are created in growing batches (1, 2, 4, ...: a template that the API refuses costs one refusal, not a
//! thousand), at most 500 a round; too many pods are deleted in upstream's order of preference. Status follows the
//! pods seen.

use std::sync::Arc;
use std::time::Duration;

use ahash::HashMap;
use async_trait::async_trait;
use compact_str::CompactString;
use gantry_machinery::clock::Clock;
use gantry_machinery::recorder::{Recorder, Subject};
use gantry_machinery::resource::gvr;
use gantry_machinery::resource_api::{DeleteOptions, Deleted};
use gantry_machinery::status::Status;
use gantry_machinery::typed::value_of;
use gantry_machinery::value::Value;
use gantry_store_cache::key::ObjectKey;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetCondition, ReplicaSetStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use tokio::task::JoinSet;

use super::claim::{Owner, claim};
use crate::runtime::expectations::Expectations;
use crate::runtime::informer::{Entry, Informer};
use crate::runtime::informers::{BY_CONTROLLER, Informers, ORPHANS};
use crate::runtime::reconcile::{Action, Queue, Reconcile};
use crate::runtime::rows::{Phase, PodRow, SelectingRow};
use crate::runtime::write::{LoopError, Writer, is_namespace_terminating};

/// Pods created or deleted in one round at most.
const BURST: usize = 500;
/// When a wait for our own writes is looked at again, should no event do it.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// The loop; see the module's text.
pub struct ReplicaSets {
    sets: Arc<Informer<SelectingRow>>,
    pods: Arc<Informer<PodRow>>,
    writer: Writer,
    recorder: Recorder,
    clock: Clock,
    expectations: Expectations,
}

type Pod = Arc<Entry<PodRow>>;

impl ReplicaSets {
    /// Over these informers.
    #[must_use]
    pub fn new(informers: &Informers) -> Arc<Self> {
        Arc::new(Self {
            sets: informers.selecting(&gvr::REPLICA_SETS),
            pods: informers.pods(),
            writer: Writer::new(informers.api().clone(), "replicaset-controller"),
            recorder: informers.recorder("replicaset-controller"),
            clock: informers.clock(),
            expectations: Expectations::default(),
        })
    }

    /// Names the sets that a pod concerns: its owner, or whoever might take it in.
    fn concerned(&self, pod: &Pod, queue: &Queue) {
        match pod.row.meta.controller() {
            Some(owner) if owner.kind == "ReplicaSet" && owner.api_version.starts_with("apps/") => {
                queue.add(self.sets.key(pod.namespace(), &owner.name));
            }
            Some(_) => {}
            None => {
                for set in self.sets.in_namespace(pod.namespace()) {
                    if set.row.selector.as_ref().is_some_and(|selector| selector.matches(&pod.object.facets)) {
                        queue.add(set.key().clone());
                    }
                }
            }
        }
    }

    async fn create(&self, set: &Entry<SelectingRow>, missing: usize) -> Result<(), Status> {
        let template = Template::of(set).map_err(|error| internal(&error))?;
        let mut left = missing;
        let mut batch = 1;
        while left > 0 {
            let size = batch.min(left);
            let mut creates = JoinSet::new();
            for _ in 0..size {
                let (writer, pod) = (self.writer.clone(), template.pod());
                let namespace = set.namespace().to_owned();
                creates.spawn(async move { writer.create(&gvr::PODS, &namespace, pod).await });
            }
            let mut failure = None;
            while let Some(created) = creates.join_next().await {
                match created {
                    Ok(Ok(pod)) => {
                        self.expectations.wrote(set.key(), pod.revision);
                        let message = format!("Created pod: {}", pod.key.name());
                        self.recorder.normal(subject(set), "SuccessfulCreate", message);
                    }
                    Ok(Err(status)) => failure = Some(status),
                    Err(error) => failure = Some(internal(&error)),
                }
            }
            if let Some(status) = failure {
                if is_namespace_terminating(&status) {
                    return Ok(());
                }
                self.recorder.warning(subject(set), "FailedCreate", format!("Error creating: {status}"));
                return Err(status);
            }
            left -= size;
            batch *= 2;
        }
        Ok(())
    }

    async fn delete(&self, set: &Entry<SelectingRow>, pods: &[Pod]) -> Result<(), Status> {
        let mut deletes = JoinSet::new();
        for pod in pods {
            let (writer, pod) = (self.writer.clone(), pod.clone());
            deletes.spawn(async move {
                let options = DeleteOptions { uid: Some(pod.row.meta.uid.to_string()), ..DeleteOptions::default() };
                let deleted = writer.delete(&gvr::PODS, pod.namespace(), pod.name(), options).await;
                (pod, deleted)
            });
        }
        let mut failure = None;
        while let Some(deleted) = deletes.join_next().await {
            match deleted {
                Ok((pod, Ok(Some(Deleted::Gone(object) | Deleted::Marked(object))))) => {
                    self.expectations.wrote(set.key(), object.revision);
                    let message = format!("Deleted pod: {}", pod.name());
                    self.recorder.normal(subject(set), "SuccessfulDelete", message);
                }
                Ok((_, Ok(None))) => {}
                Ok((pod, Err(status))) => {
                    let message = format!("Error deleting: pods \"{}\": {status}", pod.name());
                    self.recorder.warning(subject(set), "FailedDelete", message);
                    failure = Some(status);
                }
                Err(error) => failure = Some(internal(&error)),
            }
        }
        failure.map_or(Ok(()), Err)
    }

    /// How many pods of sets with the same owner each node holds: crowded nodes give up pods first.
    fn crowd(&self, set: &Entry<SelectingRow>) -> HashMap<CompactString, usize> {
        let related = match set.row.meta.controller() {
            Some(owner) => self.sets.indexed(BY_CONTROLLER, &owner.uid),
            None => Vec::new(),
        };
        let own = [set.row.meta.uid.clone()];
        let uids: Vec<CompactString> =
            if related.is_empty() { own.into() } else { related.iter().map(|set| set.row.meta.uid.clone()).collect() };
        let mut crowd = HashMap::default();
        for uid in uids {
            for pod in self.pods.indexed(BY_CONTROLLER, &uid) {
                if pod.row.active() && !pod.row.node.is_empty() {
                    *crowd.entry(pod.row.node.clone()).or_default() += 1;
                }
            }
        }
        crowd
    }
}

#[async_trait]
impl Reconcile for ReplicaSets {
    fn name(&self) -> &'static str {
        "replicaset-controller"
    }

    fn watch(self: Arc<Self>, queue: &Arc<Queue>) {
        let to = queue.clone();
        self.sets.on_change(move |before, after| {
            if let Some(entry) = after.or(before) {
                to.add(entry.key().clone());
            }
        });
        let (me, to) = (self.clone(), queue.clone());
        self.pods.on_change(move |before, after| {
            if let Some(after) = after {
                me.concerned(after, &to);
            }
            // Also whoever loses the pod.
            if let Some(before) = before
                && after.is_none_or(|after| {
                    after.row.meta.controller().map(|owner| &owner.uid)
                        != before.row.meta.controller().map(|owner| &owner.uid)
                })
            {
                me.concerned(before, &to);
            }
        });
    }

    async fn synced(&self) {
        self.sets.synced().await;
        self.pods.synced().await;
    }

    async fn reconcile(&self, key: &ObjectKey) -> Result<Action, LoopError> {
        let Some(set) = self.sets.get_key(key) else {
            return Ok(Action::Done);
        };
        if !self.expectations.met(key, self.pods.reached()) {
            return Ok(Action::After(LOOK_AGAIN));
        }
        let Some(selector) = &set.row.selector else { return Ok(Action::Done) };
        let typed = set.typed::<ReplicaSet>()?;
        let owner = Owner { resource: &gvr::REPLICA_SETS, kind: "ReplicaSet", entry: &set, selector };
        let orphans = self.pods.indexed(ORPHANS, set.namespace());
        let orphans = orphans.into_iter().filter(|pod| pod.row.active()).collect();
        let mut mine = claim(&self.writer, &owner, &gvr::PODS, &self.pods, orphans).await?;
        let terminating = mine.iter().filter(|pod| pod.row.meta.deleting() && !pod.row.phase.ended()).count();
        mine.retain(|pod| pod.row.active());

        let spec = typed.spec.clone().unwrap_or_default();
        let wanted = usize::try_from(spec.replicas.unwrap_or(1)).unwrap_or(0);
        let mut managed = Ok(());
        if !set.row.meta.deleting() {
            if mine.len() < wanted {
                managed = self.create(&set, (wanted - mine.len()).min(BURST)).await;
            } else if mine.len() > wanted {
                let surplus = (mine.len() - wanted).min(BURST);
                let mut ranked = mine.clone();
                rank_for_deletion(&mut ranked, &self.crowd(&set));
                managed = self.delete(&set, &ranked[..surplus]).await;
            }
        }

        let now = self.clock.now();
        let min_ready = spec.min_ready_seconds.unwrap_or(0);
        let counts = Counts::of(&mine, &spec.template.and_then(|t| t.metadata).and_then(|m| m.labels), min_ready, now);
        let old = typed.status.clone().unwrap_or_default();
        let status = status(&typed, &old, &counts, terminating, wanted, &managed, now);
        if status != old {
            self.writer.set_status(&gvr::REPLICA_SETS, &set.object, &status).await?;
        }
        managed?;
        if counts.ready > counts.available {
            // Somebody must look when the first of them has been ready for long enough.
            return Ok(Action::After(Duration::from_secs(u64::try_from(min_ready).unwrap_or(1)).min(counts.next)));
        }
        Ok(Action::Done)
    }
}

/// Pods made of a set's template: the common part is built once.
struct Template(Value);

impl Template {
    fn of(set: &Entry<SelectingRow>) -> Result<Self, LoopError> {
        let mut body = value_of(&set.object)?;
        let mut template = body.remove(&["spec", "template"]).unwrap_or_default();
        let mut pod = Value::object();
        pod.set(&["apiVersion"], "v1");
        pod.set(&["kind"], "Pod");
        pod.set(&["metadata", "generateName"], format!("{}-", generate_prefix(set.name())));
        for field in ["labels", "annotations", "finalizers"] {
            if let Some(value) = template.remove(&["metadata", field]) {
                pod.set(&["metadata", field], value);
            }
        }
        let selector = set.row.selector.clone().unwrap_or_default();
        let owner = Owner { resource: &gvr::REPLICA_SETS, kind: "ReplicaSet", entry: set, selector: &selector };
        pod.set(&["metadata", "ownerReferences"], Value::Array(vec![owner.reference()]));
        pod.set(&["spec"], template.remove(&["spec"]).unwrap_or_default());
        Ok(Self(pod))
    }

    fn pod(&self) -> Value {
        self.0.clone()
    }
}

/// A set's name may be longer than a pod's prefix.
fn generate_prefix(name: &str) -> &str {
    &name[..name.len().min(242)]
}

fn internal(error: &dyn std::fmt::Display) -> Status {
    Status { code: 500, reason: "InternalError", message: error.to_string(), ..Status::default() }
}

/// The subject of Events about a set.
fn subject(set: &Entry<SelectingRow>) -> Subject {
    Subject {
        api_version: "apps/v1".into(),
        kind: "ReplicaSet".into(),
        namespace: set.namespace().into(),
        name: set.name().into(),
        uid: set.row.meta.uid.clone(),
        field_path: CompactString::default(),
    }
}

/// Upstream's order of preference, first to go first: not bound; not running; not ready; cheap; on a crowded node;
/// ready for a shorter time; restarted more often; younger.
fn rank_for_deletion(pods: &mut [Pod], crowd: &HashMap<CompactString, usize>) {
    let cost = |pod: &Pod| -> i32 {
        pod.row.meta.annotations.deletion_cost.as_ref().and_then(|cost| cost.parse().ok()).unwrap_or(0)
    };
    let phase = |pod: &Pod| match pod.row.phase {
        Phase::Pending => 0,
        Phase::Unknown => 1,
        _ => 2,
    };
    let crowded = |pod: &Pod| crowd.get(&pod.row.node).copied().unwrap_or(0);
    pods.sort_by(|a, b| {
        (!a.row.node.is_empty())
            .cmp(&!b.row.node.is_empty())
            .then_with(|| phase(a).cmp(&phase(b)))
            .then_with(|| a.row.ready.cmp(&b.row.ready))
            .then_with(|| cost(a).cmp(&cost(b)))
            .then_with(|| crowded(b).cmp(&crowded(a)))
            .then_with(|| b.row.ready_changed.cmp(&a.row.ready_changed))
            .then_with(|| b.row.restarts.cmp(&a.row.restarts))
            .then_with(|| b.row.meta.created().cmp(&a.row.meta.created()))
    });
}

/// What the pods of a set add up to.
struct Counts {
    all: usize,
    labeled: usize,
    ready: usize,
    available: usize,
    /// Until the next ready pod counts as available.
    next: Duration,
}

impl Counts {
    fn of(
        pods: &[Pod],
        labels: &Option<std::collections::BTreeMap<String, String>>,
        min_ready: i32,
        now: Timestamp,
    ) -> Self {
        let mut counts = Self { all: pods.len(), labeled: 0, ready: 0, available: 0, next: Duration::MAX };
        for pod in pods {
            let facets = &pod.object.facets;
            let labeled = labels.iter().flatten().all(|(key, value)| facets.label(key) == Some(value));
            counts.labeled += usize::from(labeled);
            counts.ready += usize::from(pod.row.ready);
            if pod.row.available(min_ready, now) {
                counts.available += 1;
            } else if let (true, Some(since)) = (pod.row.ready, pod.row.ready_changed) {
                let ripe = since.saturating_add(jiff::SignedDuration::from_secs(min_ready.into()));
                let left = ripe.ok().and_then(|ripe| Duration::try_from(ripe.duration_since(now)).ok());
                counts.next = counts.next.min(left.unwrap_or_default().max(Duration::from_millis(10)));
            }
        }
        counts
    }
}

fn status(
    set: &ReplicaSet,
    old: &ReplicaSetStatus,
    counts: &Counts,
    terminating: usize,
    wanted: usize,
    managed: &Result<(), Status>,
    now: Timestamp,
) -> ReplicaSetStatus {
    let number = |count: usize| i32::try_from(count).unwrap_or(i32::MAX);
    let some = |count: usize| (count > 0).then(|| number(count));
    let failure = old.conditions.iter().flatten().find(|condition| condition.type_ == "ReplicaFailure");
    let conditions = match (managed, failure) {
        (Err(_), Some(_)) => old.conditions.clone(),
        (Err(status), None) => {
            let reason = if counts.all < wanted { "FailedCreate" } else { "FailedDelete" };
            Some(vec![ReplicaSetCondition {
                type_: "ReplicaFailure".into(),
                status: "True".into(),
                reason: Some(reason.into()),
                message: Some(status.message.clone()),
                last_transition_time: Some(Time(now)),
            }])
        }
        (Ok(()), Some(_)) => {
            let others = old.conditions.iter().flatten().filter(|condition| condition.type_ != "ReplicaFailure");
            Some(others.cloned().collect::<Vec<_>>()).filter(|left| !left.is_empty())
        }
        (Ok(()), None) => old.conditions.clone(),
    };
    ReplicaSetStatus {
        replicas: number(counts.all),
        fully_labeled_replicas: some(counts.labeled),
        ready_replicas: some(counts.ready),
        available_replicas: some(counts.available),
        terminating_replicas: Some(number(terminating)),
        observed_generation: set.metadata.generation,
        conditions,
    }
}
