//! Keeps the status of PodDisruptionBudgets: how many of their pods are healthy, and how many may be evicted now
//! (Kubernetes, "Specifying a Disruption Budget for your Application"). The eviction subresource spends from it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ahash::HashMap;
use async_trait::async_trait;
use compact_str::CompactString;
use gantry_machinery::clock::Clock;
use gantry_machinery::resource::{GroupVersionResource, gvr};
use gantry_machinery::typed::typed;
use gantry_store_cache::key::ObjectKey;
use gantry_store_cache::object::StoredObject;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec, PodDisruptionBudgetStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde::Deserialize;

use crate::runtime::informer::{Entry, Informer};
use crate::runtime::informers::Informers;
use crate::runtime::reconcile::{Action, Queue, Reconcile};
use crate::runtime::rows::{HasMeta, MetaRow, PodRow, SelectingRow};
use crate::runtime::write::{LoopError, Writer};

/// How long an eviction that was allowed may take to show as a deletion.
const DISRUPTION_MAX: SignedDuration = SignedDuration::from_mins(2);
/// Workloads that say how many pods there should be.
static SCALABLE: [(&str, GroupVersionResource); 4] = [
    ("ReplicaSet", GroupVersionResource::of("apps", "v1", "replicasets")),
    ("Deployment", GroupVersionResource::of("apps", "v1", "deployments")),
    ("StatefulSet", GroupVersionResource::of("apps", "v1", "statefulsets")),
    ("ReplicationController", GroupVersionResource::of("", "v1", "replicationcontrollers")),
];

/// The loop; keys are budgets.
pub struct Disruption {
    budgets: Arc<Informer<SelectingRow>>,
    pods: Arc<Informer<PodRow>>,
    writer: Writer,
    clock: Clock,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawScaled {
    spec: RawScale,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawScale {
    replicas: Option<i32>,
}

impl Disruption {
    /// Over these informers.
    #[must_use]
    pub fn new(informers: &Informers) -> Arc<Self> {
        Arc::new(Self {
            budgets: informers.selecting(&gvr::POD_DISRUPTION_BUDGETS),
            pods: informers.pods(),
            writer: Writer::new(informers.api().clone(), "disruption-controller"),
            clock: informers.clock(),
        })
    }

    /// How many pods there should be, by the workloads that the pods belong to; `None` when a pod belongs to none.
    async fn scale(&self, namespace: &str, pods: &[Arc<Entry<PodRow>>]) -> Result<Option<i32>, LoopError> {
        let mut owners: HashMap<CompactString, i32> = HashMap::default();
        for pod in pods {
            let Some(owner) = pod.row.meta.controller() else { return Ok(None) };
            if owners.contains_key(&owner.uid) {
                continue;
            }
            let Some(mut object) = self.owner(namespace, &owner.kind, &owner.name).await? else { return Ok(None) };
            // A ReplicaSet of a Deployment is but a part of it, while a rollout is under way.
            let above = typed::<MetaRow>(&object)?.meta().controller().cloned();
            let mut uid = owner.uid.clone();
            if let Some(above) = above
                && let Some(found) = self.owner(namespace, &above.kind, &above.name).await?
            {
                uid = above.uid;
                object = found;
            }
            let replicas = typed::<RawScaled>(&object)?.spec.replicas.unwrap_or(1);
            owners.insert(uid, replicas);
        }
        Ok(Some(owners.values().sum()))
    }

    async fn owner(&self, namespace: &str, kind: &str, name: &str) -> Result<Option<Arc<StoredObject>>, LoopError> {
        let Some((_, resource)) = SCALABLE.iter().find(|(known, _)| *known == kind) else { return Ok(None) };
        Ok(self.writer.get(resource, namespace, name).await?)
    }

    /// `(expected, desired healthy)`; `None` when the pods do not say how many there should be.
    async fn expect(
        &self,
        namespace: &str,
        spec: &PodDisruptionBudgetSpec,
        pods: &[Arc<Entry<PodRow>>],
    ) -> Result<Option<(i32, i32)>, LoopError> {
        let count = i32::try_from(pods.len()).unwrap_or(i32::MAX);
        Ok(match (&spec.max_unavailable, &spec.min_available) {
            (Some(unavailable), _) => {
                let scale = self.scale(namespace, pods).await?;
                scale.map(|expected| (expected, (expected - rounded_up(unavailable, expected)).max(0)))
            }
            (None, Some(IntOrString::Int(available))) => Some((count, *available)),
            (None, Some(share)) => {
                let scale = self.scale(namespace, pods).await?;
                scale.map(|expected| (expected, rounded_up(share, expected)))
            }
            (None, None) => Some((count, 0)),
        })
    }
}

fn rounded_up(of: &IntOrString, whole: i32) -> i32 {
    match of {
        IntOrString::Int(number) => *number,
        IntOrString::String(text) => {
            let percent: i64 = text.trim_end_matches('%').parse().unwrap_or(0);
            i32::try_from((percent * i64::from(whole) + 99).div_euclid(100)).unwrap_or(i32::MAX)
        }
    }
}

/// Evictions that were allowed and do not show as deletions yet.
fn under_way(
    before: Option<&BTreeMap<String, Time>>,
    pods: &[Arc<Entry<PodRow>>],
    now: Timestamp,
) -> BTreeMap<String, Time> {
    let waits = |name: &str, since: &Time| {
        now.duration_since(since.0) < DISRUPTION_MAX
            && pods.iter().any(|pod| pod.name() == name && !pod.row.meta.deleting())
    };
    before
        .into_iter()
        .flatten()
        .filter(|(name, since)| waits(name, since))
        .map(|(n, t)| (n.clone(), t.clone()))
        .collect()
}

#[async_trait]
impl Reconcile for Disruption {
    fn name(&self) -> &'static str {
        "disruption-controller"
    }

    fn watch(self: Arc<Self>, queue: &Arc<Queue>) {
        let to = queue.clone();
        self.budgets.on_change(move |_, after| {
            if let Some(budget) = after {
                to.add(budget.key().clone());
            }
        });
        let (me, to) = (self.clone(), queue.clone());
        self.pods.on_change(move |before, after| {
            let Some(any) = after.or(before) else { return };
            for budget in me.budgets.in_namespace(any.namespace()) {
                let selects = |pod: &Arc<Entry<PodRow>>| {
                    budget.row.selector.as_ref().is_some_and(|selector| selector.matches(&pod.object.facets))
                };
                if before.is_some_and(selects) || after.is_some_and(selects) {
                    to.add(budget.key().clone());
                }
            }
        });
    }

    async fn synced(&self) {
        self.budgets.synced().await;
        self.pods.synced().await;
    }

    async fn reconcile(&self, key: &ObjectKey) -> Result<Action, LoopError> {
        let Some(entry) = self.budgets.get_key(key) else { return Ok(Action::Done) };
        let budget = entry.typed::<PodDisruptionBudget>()?;
        let spec = budget.spec.clone().unwrap_or_default();
        let mut pods = self.pods.in_namespace(key.namespace());
        pods.retain(|pod| {
            let selector = entry.row.selector.as_ref();
            !pod.row.phase.ended() && selector.is_some_and(|selector| selector.matches(&pod.object.facets))
        });
        let old = budget.status.clone().unwrap_or_default();
        let now = self.clock.now();
        let disrupted = under_way(old.disrupted_pods.as_ref(), &pods, now);
        let counts = |pod: &&Arc<Entry<PodRow>>| {
            pod.row.ready && !pod.row.meta.deleting() && !disrupted.contains_key(pod.name())
        };
        let healthy = i32::try_from(pods.iter().filter(counts).count()).unwrap_or(i32::MAX);
        let expected = self.expect(key.namespace(), &spec, &pods).await?;
        let (count, desired) = expected.unwrap_or((0, 0));
        let allowed = if count > 0 { (healthy - desired).max(0) } else { 0 };
        let (reason, message) = match expected {
            None => ("SyncFailed", "found pods without a controller that says how many there should be"),
            Some(_) if allowed > 0 => ("SufficientPods", ""),
            Some(_) => ("InsufficientPods", ""),
        };
        let truth = if allowed > 0 { "True" } else { "False" };
        let before = old.conditions.iter().flatten().find(|condition| condition.type_ == "DisruptionAllowed");
        let since = before.filter(|before| before.status == truth).map(|before| before.last_transition_time.clone());
        let whole = Timestamp::from_second(now.as_second()).unwrap_or(now);
        let waiting = !disrupted.is_empty();
        let status = PodDisruptionBudgetStatus {
            current_healthy: Some(healthy),
            desired_healthy: Some(desired),
            expected_pods: Some(count),
            disruptions_allowed: Some(allowed),
            disrupted_pods: Some(disrupted).filter(|disrupted| !disrupted.is_empty()),
            observed_generation: budget.metadata.generation,
            conditions: Some(vec![Condition {
                type_: "DisruptionAllowed".into(),
                status: truth.into(),
                reason: reason.into(),
                message: message.into(),
                observed_generation: budget.metadata.generation,
                last_transition_time: since.unwrap_or(Time(whole)),
            }]),
        };
        if status != old {
            self.writer.set_status(&gvr::POD_DISRUPTION_BUDGETS, &entry.object, &status).await?;
        }
        // An eviction that never came to a deletion is forgotten in time.
        let forget = Duration::try_from(DISRUPTION_MAX).unwrap_or_default();
        Ok(if waiting { Action::After(forget) } else { Action::Done })
    }
}
