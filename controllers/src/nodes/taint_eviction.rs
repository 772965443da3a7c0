//! Makes pods leave nodes whose NoExecute taints they do not tolerate, at once or after `tolerationSeconds`
//! (Kubernetes, "Taints and Tolerations").

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use gantry_machinery::clock::Clock;
use gantry_machinery::recorder::{Recorder, Subject};
use gantry_machinery::resource::gvr;
use gantry_machinery::resource_api::{DeleteOptions, Target};
use gantry_store_cache::key::ObjectKey;
use gantry_store_cache::object::StoredObject;
use jiff::Timestamp;
use serde::Deserialize;

use crate::runtime::informer::{Entry, Informer};
use crate::runtime::informers::{BY_NODE, Informers};
use crate::runtime::reconcile::{Action, Queue, Reconcile};
use crate::runtime::rows::{NodeRow, PodRow, TaintRow};
use crate::runtime::write::{LoopError, Writer, is_conflict, is_not_found};

/// The loop; keys are pods.
pub struct TaintEviction {
    pods: Arc<Informer<PodRow>>,
    nodes: Arc<Informer<NodeRow>>,
    writer: Writer,
    recorder: Recorder,
    clock: Clock,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawPod {
    spec: RawSpec,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawSpec {
    tolerations: Vec<Toleration>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Toleration {
    key: String,
    operator: String,
    value: String,
    effect: String,
    toleration_seconds: Option<i64>,
}

impl Toleration {
    fn tolerates(&self, taint: &TaintRow) -> bool {
        let effect = self.effect.is_empty() || self.effect == taint.effect.as_str();
        let key = self.key.is_empty() || self.key == taint.key.as_str();
        let value = match self.operator.as_str() {
            "" | "Equal" => self.value == taint.value.as_str(),
            "Exists" => true,
            _ => false,
        };
        // An empty key means all keys, with Exists only.
        effect && key && value && (!self.key.is_empty() || self.operator == "Exists")
    }
}

/// When a pod must leave a node with these taints; `None`: never.
fn leaves_at(taints: &[&TaintRow], tolerations: &[Toleration], now: Timestamp) -> Option<Timestamp> {
    let mut earliest: Option<Timestamp> = None;
    for taint in taints {
        let mut tolerating = tolerations.iter().filter(|toleration| toleration.tolerates(taint)).peekable();
        if tolerating.peek().is_none() {
            return Some(now);
        }
        let shortest = tolerating.filter_map(|toleration| toleration.toleration_seconds).min();
        if let Some(seconds) = shortest {
            let since = taint.time_added.as_ref().map_or(now, |time| time.0);
            let at = since.saturating_add(jiff::SignedDuration::from_secs(seconds.max(0))).unwrap_or(now);
            earliest = Some(earliest.map_or(at, |earliest| earliest.min(at)));
        }
    }
    earliest
}

impl TaintEviction {
    /// Over these informers.
    #[must_use]
    pub fn new(informers: &Informers) -> Arc<Self> {
        Arc::new(Self {
            pods: informers.pods(),
            nodes: informers.nodes(),
            writer: Writer::new(informers.api().clone(), "taint-eviction-controller"),
            recorder: informers.recorder("taint-eviction-controller"),
            clock: informers.clock(),
        })
    }

    async fn evict(&self, pod: &Arc<Entry<PodRow>>) -> Result<(), LoopError> {
        let subject = Subject {
            api_version: "v1".into(),
            kind: "Pod".into(),
            namespace: pod.namespace().into(),
            name: pod.name().into(),
            uid: pod.row.meta.uid.clone(),
            field_path: compact_str::CompactString::default(),
        };
        let message = format!("Marking for deletion Pod {}/{}", pod.namespace(), pod.name());
        self.recorder.normal(subject, "TaintManagerEviction", message);
        let patch = serde_json::json!({
            "metadata": {"uid": pod.row.meta.uid.as_str()},
            "status": {"conditions": [{
                "type": "DisruptionTarget",
                "status": "True",
                "reason": "DeletionByTaintManager",
                "message": "Taint manager: deleting due to NoExecute taint",
                "lastTransitionTime": self.clock.now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            }]},
        });
        let target = Target::object(&gvr::PODS, pod.namespace(), pod.name()).sub("status");
        match self.writer.strategic(target, &patch).await {
            Ok(_) => {}
            Err(status) if is_not_found(&status) || is_conflict(&status) => return Ok(()),
            Err(status) => return Err(status.into()),
        }
        let options = DeleteOptions { uid: Some(pod.row.meta.uid.to_string()), ..DeleteOptions::default() };
        self.writer.delete(&gvr::PODS, pod.namespace(), pod.name(), options).await?;
        Ok(())
    }
}

fn expels(node: &NodeRow) -> bool {
    node.taints.iter().any(|taint| taint.effect == "NoExecute")
}

fn tolerations(object: &StoredObject) -> Vec<Toleration> {
    // The informer has decoded this body before.
    serde_json::from_slice::<RawPod>(&object.body).map(|pod| pod.spec.tolerations).unwrap_or_default()
}

#[async_trait]
impl Reconcile for TaintEviction {
    fn name(&self) -> &'static str {
        "taint-eviction-controller"
    }

    fn watch(self: Arc<Self>, queue: &Arc<Queue>) {
        let (me, to) = (self.clone(), queue.clone());
        self.nodes.on_change(move |before, after| {
            if let Some(node) = after
                && expels(&node.row)
                && before.is_none_or(|before| before.row.taints != node.row.taints)
            {
                for pod in me.pods.indexed(BY_NODE, node.name()) {
                    to.add(pod.key().clone());
                }
            }
        });
        let (me, to) = (self.clone(), queue.clone());
        self.pods.on_change(move |before, after| {
            if let Some(pod) = after
                && !pod.row.node.is_empty()
                && before.is_none_or(|before| before.row.node.is_empty())
                && me.nodes.get("", &pod.row.node).is_some_and(|node| expels(&node.row))
            {
                to.add(pod.key().clone());
            }
        });
    }

    async fn synced(&self) {
        self.pods.synced().await;
        self.nodes.synced().await;
    }

    async fn reconcile(&self, key: &ObjectKey) -> Result<Action, LoopError> {
        let Some(pod) = self.pods.get_key(key) else { return Ok(Action::Done) };
        if !pod.row.active() || pod.row.node.is_empty() {
            return Ok(Action::Done);
        }
        let Some(node) = self.nodes.get("", &pod.row.node) else { return Ok(Action::Done) };
        let taints: Vec<&TaintRow> = node.row.taints.iter().filter(|taint| taint.effect == "NoExecute").collect();
        if taints.is_empty() {
            return Ok(Action::Done);
        }
        let now = self.clock.now();
        let Some(at) = leaves_at(&taints, &tolerations(&pod.object), now) else { return Ok(Action::Done) };
        match Duration::try_from(at.duration_since(now)) {
            Ok(left) if !left.is_zero() => Ok(Action::After(left)),
            _ => {
                self.evict(&pod).await?;
                Ok(Action::Done)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn a_pod_leaves_when_its_shortest_toleration_ends() {
        let now = at("2026-01-01T00:01:00Z");
        let taint = TaintRow {
            key: "node.kubernetes.io/unreachable".into(),
            effect: "NoExecute".into(),
            time_added: Some(Time(at("2026-01-01T00:00:00Z"))),
            ..TaintRow::default()
        };
        let toleration = |seconds| Toleration {
            key: "node.kubernetes.io/unreachable".into(),
            operator: "Exists".into(),
            toleration_seconds: seconds,
            ..Toleration::default()
        };
        assert_eq!(leaves_at(&[&taint], &[], now), Some(now), "not tolerated");
        assert_eq!(leaves_at(&[&taint], &[toleration(None)], now), None, "tolerated for ever");
        let soon = leaves_at(&[&taint], &[toleration(Some(300)), toleration(Some(90))], now);
        assert_eq!(soon, Some(at("2026-01-01T00:01:30Z")));
        let other = TaintRow { key: "other".into(), ..taint.clone() };
        assert_eq!(leaves_at(&[&taint, &other], &[toleration(None)], now), Some(now), "one taint is enough");
        let all = Toleration { operator: "Exists".into(), ..Toleration::default() };
        assert_eq!(leaves_at(&[&taint, &other], &[all], now), None);
    }
}
