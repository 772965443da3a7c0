//! The rows that informers keep: what loops read of pods, nodes, leases and of any object's metadata. Decoded once per
//! version, small enough for hundreds of thousands; loops that need more decode the whole object while they look.

use std::collections::BTreeMap;

use compact_str::CompactString;
use gantry_machinery::codec::json;
use gantry_store_cache::object::StoredObject;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, MicroTime, Time};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::informer::Row;
use super::selector::Selector;

/// Decodes what a row is made of.
fn read<T: DeserializeOwned>(object: &StoredObject) -> Result<T, serde_json::Error> {
    match json::lean(&object.body) {
        Some(text) => serde_json::from_str(&text),
        None => serde_json::from_slice(&object.body),
    }
}

/// What all objects have that loops care about.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Meta {
    /// The object's identity.
    pub uid: CompactString,
    /// `metadata.generation`; 0 for kinds without.
    pub generation: i64,
    /// When it was created.
    pub creation_timestamp: Option<Time>,
    /// When it is to be gone; `Some` means it is on its way out.
    pub deletion_timestamp: Option<Time>,
    /// What must be done before it may go.
    pub finalizers: Box<[CompactString]>,
    /// Whose it is.
    pub owner_references: Box<[Owner]>,
    /// The annotations that loops look at.
    pub annotations: Annotations,
}

/// The annotations that loops look at; there may be others.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Annotations {
    /// Which pods of a ReplicaSet go first when it shrinks: the cheapest.
    #[serde(rename = "controller.kubernetes.io/pod-deletion-cost")]
    pub deletion_cost: Option<CompactString>,
}

/// One owner reference.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Owner {
    /// `apps/v1`
    pub api_version: CompactString,
    /// `ReplicaSet`
    pub kind: CompactString,
    /// The owner's name, in the dependent's namespace or cluster-wide.
    pub name: CompactString,
    /// The owner's uid: the name alone proves nothing.
    pub uid: CompactString,
    /// Whether it is the managing controller.
    pub controller: bool,
    /// Whether a foreground deletion of the owner waits for this object.
    pub block_owner_deletion: bool,
}

impl Meta {
    /// The managing controller, if there is one.
    #[must_use]
    pub fn controller(&self) -> Option<&Owner> {
        self.owner_references.iter().find(|owner| owner.controller)
    }

    /// Whether it is on its way out.
    #[must_use]
    pub fn deleting(&self) -> bool {
        self.deletion_timestamp.is_some()
    }

    /// When it was created; the beginning of time where the server did not say.
    #[must_use]
    pub fn created(&self) -> Timestamp {
        self.creation_timestamp.as_ref().map_or(Timestamp::UNIX_EPOCH, |time| time.0)
    }
}

/// A row with metadata in it.
pub trait HasMeta: Row {
    /// The metadata.
    fn meta(&self) -> &Meta;
}

/// Metadata alone: the row of most kinds.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct MetaRow {
    metadata: Meta,
}

impl Row for MetaRow {
    fn of(object: &StoredObject) -> Result<Self, serde_json::Error> {
        read(object)
    }
}

impl HasMeta for MetaRow {
    fn meta(&self) -> &Meta {
        &self.metadata
    }
}

/// `status.phase` of a pod.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum Phase {
    /// Accepted, not all of it running yet.
    #[default]
    Pending,
    /// Bound, and at least one container runs or restarts.
    Running,
    /// All containers ended well and will not be restarted.
    Succeeded,
    /// All containers ended, one of them badly.
    Failed,
    /// Nobody can say.
    #[serde(other)]
    Unknown,
}

impl Phase {
    /// Whether the pod has ended for good.
    #[must_use]
    pub fn ended(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed)
    }
}

/// What loops read of a pod.
#[derive(Clone, Debug, Default)]
pub struct PodRow {
    /// Its metadata.
    pub meta: Meta,
    /// Where it runs; empty until bound.
    pub node: CompactString,
    /// Its phase.
    pub phase: Phase,
    /// The Ready condition is True.
    pub ready: bool,
    /// When the Ready condition last changed.
    pub ready_changed: Option<Timestamp>,
    /// The highest restart count of its containers.
    pub restarts: i32,
    /// Its first IP; empty until it has one.
    pub ip: CompactString,
}

impl PodRow {
    /// Neither ended nor on its way out: it counts as a replica.
    #[must_use]
    pub fn active(&self) -> bool {
        !self.phase.ended() && !self.meta.deleting()
    }

    /// Ready for at least `min_ready_seconds`.
    #[must_use]
    pub fn available(&self, min_ready_seconds: i32, now: Timestamp) -> bool {
        self.ready
            && (min_ready_seconds == 0
                || self.ready_changed.is_some_and(|since| {
                    now.duration_since(since) >= jiff::SignedDuration::from_secs(min_ready_seconds.into())
                }))
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawPod {
    metadata: Meta,
    spec: RawPodSpec,
    status: RawPodStatus,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawPodSpec {
    node_name: CompactString,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawPodStatus {
    phase: Phase,
    conditions: Vec<RawCondition>,
    container_statuses: Vec<RawContainerStatus>,
    #[serde(rename = "podIP")]
    pod_ip: CompactString,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawContainerStatus {
    restart_count: i32,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawCondition {
    r#type: CompactString,
    status: CompactString,
    last_transition_time: Option<Time>,
    last_heartbeat_time: Option<Time>,
    reason: CompactString,
}

impl Row for PodRow {
    fn of(object: &StoredObject) -> Result<Self, serde_json::Error> {
        let raw: RawPod = read(object)?;
        let ready = raw.status.conditions.iter().find(|condition| condition.r#type == "Ready");
        Ok(Self {
            meta: raw.metadata,
            node: raw.spec.node_name,
            phase: raw.status.phase,
            ready: ready.is_some_and(|condition| condition.status == "True"),
            ready_changed: ready.and_then(|condition| condition.last_transition_time.as_ref()).map(|time| time.0),
            restarts: raw.status.container_statuses.iter().map(|c| c.restart_count).max().unwrap_or(0),
            ip: raw.status.pod_ip,
        })
    }
}

impl HasMeta for PodRow {
    fn meta(&self) -> &Meta {
        &self.meta
    }
}

/// What loops read of an object that selects pods: ReplicaSets, Deployments, PodDisruptionBudgets and the like.
#[derive(Clone, Debug, Default)]
pub struct SelectingRow {
    /// Its metadata.
    pub meta: Meta,
    /// The pods it means. A Service without a selector, or a workload whose selector is missing, has none.
    pub selector: Option<Selector>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawSelecting {
    metadata: Meta,
    spec: RawSelectingSpec,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawSelectingSpec {
    selector: Option<RawSelector>,
}

/// Either form: the map of a Service, or matchLabels and matchExpressions.
#[derive(Default)]
struct RawSelector(Selector);

impl<'de> Deserialize<'de> for RawSelector {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let fields: BTreeMap<String, serde_json::Value> = BTreeMap::deserialize(deserializer)?;
        let structured = fields.values().any(|value| !value.is_string());
        if structured {
            let selector = serde_json::from_value::<LabelSelector>(fields.into_iter().collect());
            return selector.map(|selector| Self(Selector::of(&selector))).map_err(serde::de::Error::custom);
        }
        let labels = fields.into_iter().filter_map(|(key, value)| match value {
            serde_json::Value::String(value) => Some((key, value)),
            _ => None,
        });
        Ok(Self(Selector::of_map(Some(&labels.collect()))))
    }
}

impl Row for SelectingRow {
    fn of(object: &StoredObject) -> Result<Self, serde_json::Error> {
        let raw: RawSelecting = read(object)?;
        Ok(Self { meta: raw.metadata, selector: raw.spec.selector.map(|selector| selector.0) })
    }
}

impl HasMeta for SelectingRow {
    fn meta(&self) -> &Meta {
        &self.meta
    }
}

/// A condition's status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Truth {
    /// `True`
    True,
    /// `False`
    False,
    /// `Unknown`, or no condition at all.
    #[default]
    Unknown,
}

impl Truth {
    fn of(text: &str) -> Self {
        match text {
            "True" => Self::True,
            "False" => Self::False,
            _ => Self::Unknown,
        }
    }

    /// As the API writes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

/// What loops read of a node.
#[derive(Clone, Debug, Default)]
pub struct NodeRow {
    /// Its metadata.
    pub meta: Meta,
    /// The Ready condition.
    pub ready: Truth,
    /// The Ready condition's reason.
    pub ready_reason: CompactString,
    /// When its kubelet last posted a status.
    pub heartbeat: Option<Timestamp>,
    /// Pressure and network conditions that are True: `MemoryPressure` and so on.
    pub troubles: Box<[CompactString]>,
    /// `spec.unschedulable`
    pub unschedulable: bool,
    /// Its taints.
    pub taints: Box<[TaintRow]>,
}

/// A taint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TaintRow {
    /// Its key.
    pub key: CompactString,
    /// Its value, often empty.
    pub value: CompactString,
    /// `NoSchedule`, `PreferNoSchedule` or `NoExecute`.
    pub effect: CompactString,
    /// Since when, for NoExecute.
    pub time_added: Option<Time>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawNode {
    metadata: Meta,
    spec: RawNodeSpec,
    status: RawNodeStatus,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawNodeSpec {
    unschedulable: bool,
    taints: Box<[TaintRow]>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawNodeStatus {
    conditions: Vec<RawCondition>,
}

impl Row for NodeRow {
    fn of(object: &StoredObject) -> Result<Self, serde_json::Error> {
        let raw: RawNode = read(object)?;
        let mut row = Self {
            meta: raw.metadata,
            unschedulable: raw.spec.unschedulable,
            taints: raw.spec.taints,
            ..Self::default()
        };
        let mut troubles = Vec::new();
        for condition in raw.status.conditions {
            if condition.r#type == "Ready" {
                row.ready = Truth::of(&condition.status);
                row.ready_reason = condition.reason;
                row.heartbeat = condition.last_heartbeat_time.map(|time| time.0);
            } else if condition.status == "True" {
                troubles.push(condition.r#type);
            }
        }
        row.troubles = troubles.into();
        Ok(row)
    }
}

impl HasMeta for NodeRow {
    fn meta(&self) -> &Meta {
        &self.meta
    }
}

/// What loops read of a Lease.
#[derive(Clone, Debug, Default)]
pub struct LeaseRow {
    /// Its metadata.
    pub meta: Meta,
    /// When its holder last renewed it.
    pub renewed: Option<Timestamp>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawLease {
    metadata: Meta,
    spec: RawLeaseSpec,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawLeaseSpec {
    renew_time: Option<MicroTime>,
}

impl Row for LeaseRow {
    fn of(object: &StoredObject) -> Result<Self, serde_json::Error> {
        let raw: RawLease = read(object)?;
        Ok(Self { meta: raw.metadata, renewed: raw.spec.renew_time.map(|time| time.0) })
    }
}

impl HasMeta for LeaseRow {
    fn meta(&self) -> &Meta {
        &self.meta
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use gantry_store_cache::key::ObjectKey;
    use gantry_store_cache::object::Facets;
    use gantry_store_cache::revision::Revision;

    fn row<R: Row>(body: &serde_json::Value) -> R {
        let key = ObjectKey::new("any", "default", "x");
        let body = Bytes::from(body.to_string());
        R::of(&StoredObject::new(key, Revision(1), Revision(1), body, Facets::default())).unwrap()
    }

    #[test]
    fn both_forms_of_selector_are_read() {
        let facets = Facets { labels: [("app".into(), "web".into())].into(), ..Facets::default() };
        for selector in [
            serde_json::json!({"app": "web"}),
            serde_json::json!({"matchLabels": {"app": "web"}}),
            serde_json::json!({"matchExpressions": [{"key": "app", "operator": "Exists"}]}),
        ] {
            let row: SelectingRow = row(&serde_json::json!({"spec": {"selector": selector}}));
            assert!(row.selector.unwrap().matches(&facets), "{selector}");
        }
        let none: SelectingRow = row(&serde_json::json!({"spec": {}}));
        assert!(none.selector.is_none());
    }

    #[test]
    fn a_pod_is_available_when_it_was_ready_long_enough() {
        let pod: PodRow = row(&serde_json::json!({
            "metadata": {"uid": "u", "ownerReferences": [{"kind": "ReplicaSet", "name": "r", "uid": "o", "controller": true}]},
            "spec": {"nodeName": "n"},
            "status": {
                "phase": "Running",
                "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}],
                "containerStatuses": [{"restartCount": 2}, {"restartCount": 5}],
            },
        }));
        let at = |text: &str| text.parse().unwrap();
        assert!(pod.active() && pod.ready && pod.restarts == 5);
        assert_eq!(pod.meta.controller().map(|owner| owner.name.as_str()), Some("r"));
        assert!(!pod.available(10, at("2026-01-01T00:00:09Z")));
        assert!(pod.available(10, at("2026-01-01T00:00:10Z")));
        assert!(pod.available(0, at("2026-01-01T00:00:00Z")));
    }
}
