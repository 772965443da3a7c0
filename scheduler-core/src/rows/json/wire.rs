//! The fields that scheduling reads, as serde finds them in stored JSON. Texts borrow from the bytes; `null` reads as
//! absent, as it does in Go.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Deserialize;

use super::devices::{PodClaim, PodClaimStatus};

pub(in crate::rows) type Text<'a> = Cow<'a, str>;
pub(in crate::rows) type Map<'a> = BTreeMap<Text<'a>, Text<'a>>;
pub(in crate::rows) type Quantities<'a> = BTreeMap<Text<'a>, Quantity<'a>>;

/// A quantity is written as a text, and by some as a number.
#[derive(Deserialize)]
#[serde(untagged)]
pub(in crate::rows) enum Quantity<'a> {
    Text(#[serde(borrow)] Text<'a>),
    Int(i64),
    Float(f64),
}

#[derive(Deserialize, Default)]
#[serde(default, bound(deserialize = "'de: 'a"))]
pub(in crate::rows) struct Meta<'a> {
    pub(in crate::rows) name: Option<Text<'a>>,
    pub(in crate::rows) namespace: Option<Text<'a>>,
    pub(in crate::rows) uid: Option<Text<'a>>,
    pub(in crate::rows) labels: Option<Map<'a>>,
    pub(in crate::rows) generation: Option<i64>,
    #[serde(rename = "ownerReferences")]
    pub(in crate::rows) owner_references: Option<Vec<OwnerJson<'a>>>,
    #[serde(rename = "deletionTimestamp")]
    pub(in crate::rows) deleted: Option<Text<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase", bound(deserialize = "'de: 'a"))]
pub(in crate::rows) struct OwnerJson<'a> {
    pub(in crate::rows) api_version: Option<Text<'a>>,
    pub(in crate::rows) kind: Option<Text<'a>>,
    pub(in crate::rows) name: Option<Text<'a>>,
    pub(in crate::rows) uid: Option<Text<'a>>,
    pub(in crate::rows) controller: Option<bool>,
}

#[derive(Deserialize, Default)]
#[serde(default, bound(deserialize = "'de: 'a"))]
pub(in crate::rows) struct NodeJson<'a> {
    pub(in crate::rows) metadata: Option<Meta<'a>>,
    pub(in crate::rows) spec: Option<NodeSpec<'a>>,
    pub(in crate::rows) status: Option<NodeStatus<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default, bound(deserialize = "'de: 'a"))]
pub(in crate::rows) struct NodeSpec<'a> {
    pub(in crate::rows) unschedulable: Option<bool>,
    pub(in crate::rows) taints: Option<Vec<TaintJson<'a>>>,
}

#[derive(Deserialize, Default)]
#[serde(default, bound(deserialize = "'de: 'a"))]
pub(in crate::rows) struct TaintJson<'a> {
    pub(in crate::rows) key: Option<Text<'a>>,
    pub(in crate::rows) value: Option<Text<'a>>,
    pub(in crate::rows) effect: Option<Text<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default, bound(deserialize = "'de: 'a"))]
pub(in crate::rows) struct NodeStatus<'a> {
    pub(in crate::rows) allocatable: Option<Quantities<'a>>,
    pub(in crate::rows) images: Option<Vec<ImageJson<'a>>>,
    #[serde(rename = "declaredFeatures")]
    pub(in crate::rows) declared_features: Option<Vec<Text<'a>>>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase", bound(deserialize = "'de: 'a"))]
pub(in crate::rows) struct ImageJson<'a> {
    pub(in crate::rows) names: Option<Vec<Text<'a>>>,
    pub(in crate::rows) size_bytes: Option<i64>,
}

#[derive(Deserialize, Default)]
#[serde(default, bound(deserialize = "'de: 'a"))]
pub(in crate::rows) struct PodJson<'a> {
    pub(in crate::rows) metadata: Option<Meta<'a>>,
    pub(in crate::rows) spec: Option<PodSpec<'a>>,
    pub(in crate::rows) status: Option<PodStatus<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase", bound(deserialize = "'de: 'a"))]
pub(in crate::rows) struct PodSpec<'a> {
    pub(in crate::rows) node_name: Option<Text<'a>>,
    pub(in crate::rows) scheduler_name: Option<Text<'a>>,
    pub(in crate::rows) priority: Option<i32>,
    pub(in crate::rows) preemption_policy: Option<Text<'a>>,
    pub(in crate::rows) scheduling_gates: Option<Vec<serde::de::IgnoredAny>>,
    pub(in crate::rows) containers: Option<Vec<Container<'a>>>,
    pub(in crate::rows) init_containers: Option<Vec<Container<'a>>>,
    pub(in crate::rows) overhead: Option<Quantities<'a>>,
    pub(in crate::rows) resources: Option<Resources<'a>>,
    pub(in crate::rows) node_selector: Option<Map<'a>>,
    pub(in crate::rows) affinity: Option<Affinity<'a>>,
    pub(in crate::rows) tolerations: Option<Vec<TolerationJson<'a>>>,
    pub(in crate::rows) topology_spread_constraints: Option<Vec<SpreadJson<'a>>>,
    pub(in crate::rows) volumes: Option<Vec<Volume<'a>>>,
    pub(in crate::rows) resource_claims: Option<Vec<PodClaim<'a>>>,
    pub(in crate::rows) host_network: Option<bool>,
    pub(in crate::rows) host_users: Option<bool>,
    pub(in crate::rows) scheduling_group: Option<SchedulingGroup<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase", bound(deserialize = "'de: 'a"))]
pub(in crate::rows) struct SchedulingGroup<'a> {
    pub(in crate::rows) pod_group_name: Option<Text<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase", bound(deserialize = "'de: 'a"))]
pub(in crate::rows) struct PodStatus<'a> {
    pub(in crate::rows) phase: Option<Text<'a>>,
    pub(in crate::rows) start_time: Option<Text<'a>>,
    pub(in crate::rows) nominated_node_name: Option<Text<'a>>,
    pub(in crate::rows) resource_claim_statuses: Option<Vec<PodClaimStatus<'a>>>,
    pub(in crate::rows) conditions: Option<Vec<Condition<'a>>>,
    pub(in crate::rows) container_statuses: Option<Vec<ContainerStatus<'a>>>,
    pub(in crate::rows) init_container_statuses: Option<Vec<ContainerStatus<'a>>>,
    pub(in crate::rows) resources: Option<Resources<'a>>,
    pub(in crate::rows) allocated_resources: Option<Quantities<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default, bound(deserialize = "'de: 'a"))]
pub(in crate::rows) struct Condition<'a> {
    #[serde(rename = "type")]
    pub(in crate::rows) kind: Option<Text<'a>>,
    pub(in crate::rows) status: Option<Text<'a>>,
    pub(in crate::rows) reason: Option<Text<'a>>,
    pub(in crate::rows) message: Option<Text<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase", bound(deserialize = "'de: 'a"))]
pub(in crate::rows) struct ContainerStatus<'a> {
    pub(in crate::rows) name: Option<Text<'a>>,
    pub(in crate::rows) resources: Option<Resources<'a>>,
    pub(in crate::rows) allocated_resources: Option<Quantities<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase", bound(deserialize = "'de: 'a"))]
pub(in crate::rows) struct Container<'a> {
    pub(in crate::rows) name: Option<Text<'a>>,
    pub(in crate::rows) image: Option<Text<'a>>,
    pub(in crate::rows) restart_policy: Option<Text<'a>>,
    pub(in crate::rows) restart_policy_rules: Option<Vec<RestartRule<'a>>>,
    pub(in crate::rows) resources: Option<Resources<'a>>,
    pub(in crate::rows) ports: Option<Vec<PortJson<'a>>>,
}

#[derive(Deserialize, Default)]
#[serde(default, bound(deserialize = "'de: 'a"))]
pub(in crate::rows) struct RestartRule<'a> {
    pub(in crate::rows) action: Option<Text<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default, bound(deserialize = "'de: 'a"))]
pub(in crate::rows) struct Resources<'a> {
    pub(in crate::rows) requests: Option<Quantities<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase", bound(deserialize = "'de: 'a"))]
pub(in crate::rows) struct PortJson<'a> {
    pub(in crate::rows) container_port: Option<i64>,
    pub(in crate::rows) host_port: Option<i64>,
    #[serde(rename = "hostIP")]
    pub(in crate::rows) host_ip: Option<Text<'a>>,
    pub(in crate::rows) protocol: Option<Text<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase", bound(deserialize = "'de: 'a"))]
pub(in crate::rows) struct Affinity<'a> {
    pub(in crate::rows) node_affinity: Option<NodeAffinityJson<'a>>,
    pub(in crate::rows) pod_affinity: Option<PodAffinityJson<'a>>,
    pub(in crate::rows) pod_anti_affinity: Option<PodAffinityJson<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default, bound(deserialize = "'de: 'a"))]
pub(in crate::rows) struct NodeAffinityJson<'a> {
    #[serde(rename = "requiredDuringSchedulingIgnoredDuringExecution")]
    pub(in crate::rows) required: Option<NodeSelectorJson<'a>>,
    #[serde(rename = "preferredDuringSchedulingIgnoredDuringExecution")]
    pub(in crate::rows) preferred: Option<Vec<PreferredNodeJson<'a>>>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase", bound(deserialize = "'de: 'a"))]
pub(in crate::rows) struct NodeSelectorJson<'a> {
    pub(in crate::rows) node_selector_terms: Option<Vec<NodeTermJson<'a>>>,
}

#[derive(Deserialize, Default)]
#[serde(default, bound(deserialize = "'de: 'a"))]
pub(in crate::rows) struct PreferredNodeJson<'a> {
    pub(in crate::rows) weight: Option<i32>,
    pub(in crate::rows) preference: Option<NodeTermJson<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase", bound(deserialize = "'de: 'a"))]
pub(in crate::rows) struct NodeTermJson<'a> {
    pub(in crate::rows) match_expressions: Option<Vec<RequirementJson<'a>>>,
    pub(in crate::rows) match_fields: Option<Vec<RequirementJson<'a>>>,
}

#[derive(Deserialize, Default)]
#[serde(default, bound(deserialize = "'de: 'a"))]
pub(in crate::rows) struct RequirementJson<'a> {
    pub(in crate::rows) key: Option<Text<'a>>,
    pub(in crate::rows) operator: Option<Text<'a>>,
    pub(in crate::rows) values: Option<Vec<Text<'a>>>,
}

#[derive(Deserialize, Default)]
#[serde(default, bound(deserialize = "'de: 'a"))]
pub(in crate::rows) struct PodAffinityJson<'a> {
    #[serde(rename = "requiredDuringSchedulingIgnoredDuringExecution")]
    pub(in crate::rows) required: Option<Vec<PodTermJson<'a>>>,
    #[serde(rename = "preferredDuringSchedulingIgnoredDuringExecution")]
    pub(in crate::rows) preferred: Option<Vec<PreferredPodJson<'a>>>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase", bound(deserialize = "'de: 'a"))]
pub(in crate::rows) struct PreferredPodJson<'a> {
    pub(in crate::rows) weight: Option<i32>,
    pub(in crate::rows) pod_affinity_term: Option<PodTermJson<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase", bound(deserialize = "'de: 'a"))]
pub(in crate::rows) struct PodTermJson<'a> {
    pub(in crate::rows) label_selector: Option<SelectorJson<'a>>,
    pub(in crate::rows) namespaces: Option<Vec<Text<'a>>>,
    pub(in crate::rows) namespace_selector: Option<SelectorJson<'a>>,
    pub(in crate::rows) topology_key: Option<Text<'a>>,
    pub(in crate::rows) match_label_keys: Option<Vec<Text<'a>>>,
    pub(in crate::rows) mismatch_label_keys: Option<Vec<Text<'a>>>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase", bound(deserialize = "'de: 'a"))]
pub(in crate::rows) struct SelectorJson<'a> {
    pub(in crate::rows) match_labels: Option<Map<'a>>,
    pub(in crate::rows) match_expressions: Option<Vec<RequirementJson<'a>>>,
}

#[derive(Deserialize, Default)]
#[serde(default, bound(deserialize = "'de: 'a"))]
pub(in crate::rows) struct TolerationJson<'a> {
    pub(in crate::rows) key: Option<Text<'a>>,
    pub(in crate::rows) operator: Option<Text<'a>>,
    pub(in crate::rows) value: Option<Text<'a>>,
    pub(in crate::rows) effect: Option<Text<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase", bound(deserialize = "'de: 'a"))]
pub(in crate::rows) struct SpreadJson<'a> {
    pub(in crate::rows) max_skew: Option<i32>,
    pub(in crate::rows) topology_key: Option<Text<'a>>,
    pub(in crate::rows) when_unsatisfiable: Option<Text<'a>>,
    pub(in crate::rows) label_selector: Option<SelectorJson<'a>>,
    pub(in crate::rows) min_domains: Option<i32>,
    pub(in crate::rows) node_affinity_policy: Option<Text<'a>>,
    pub(in crate::rows) node_taints_policy: Option<Text<'a>>,
    pub(in crate::rows) match_label_keys: Option<Vec<Text<'a>>>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase", bound(deserialize = "'de: 'a"))]
pub(in crate::rows) struct Volume<'a> {
    pub(in crate::rows) name: Option<Text<'a>>,
    pub(in crate::rows) persistent_volume_claim: Option<ClaimSource<'a>>,
    pub(in crate::rows) ephemeral: Option<serde::de::IgnoredAny>,
    pub(in crate::rows) gce_persistent_disk: Option<Gce<'a>>,
    pub(in crate::rows) aws_elastic_block_store: Option<Ebs<'a>>,
    pub(in crate::rows) azure_disk: Option<Azure<'a>>,
    pub(in crate::rows) cinder: Option<Ebs<'a>>,
    pub(in crate::rows) iscsi: Option<Iscsi<'a>>,
    pub(in crate::rows) rbd: Option<Rbd<'a>>,
    pub(in crate::rows) image: Option<ImageVolume<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase", bound(deserialize = "'de: 'a"))]
pub(in crate::rows) struct ClaimSource<'a> {
    pub(in crate::rows) claim_name: Option<Text<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase", bound(deserialize = "'de: 'a"))]
pub(in crate::rows) struct Gce<'a> {
    pub(in crate::rows) pd_name: Option<Text<'a>>,
    pub(in crate::rows) read_only: Option<bool>,
}

#[derive(Deserialize, Default)]
#[serde(default, bound(deserialize = "'de: 'a"))]
pub(in crate::rows) struct Ebs<'a> {
    #[serde(rename = "volumeID")]
    pub(in crate::rows) id: Option<Text<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default, bound(deserialize = "'de: 'a"))]
pub(in crate::rows) struct Azure<'a> {
    #[serde(rename = "diskURI")]
    pub(in crate::rows) uri: Option<Text<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase", bound(deserialize = "'de: 'a"))]
pub(in crate::rows) struct Iscsi<'a> {
    pub(in crate::rows) iqn: Option<Text<'a>>,
    pub(in crate::rows) read_only: Option<bool>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase", bound(deserialize = "'de: 'a"))]
pub(in crate::rows) struct Rbd<'a> {
    pub(in crate::rows) monitors: Option<Vec<Text<'a>>>,
    pub(in crate::rows) pool: Option<Text<'a>>,
    pub(in crate::rows) image: Option<Text<'a>>,
    pub(in crate::rows) read_only: Option<bool>,
}

#[derive(Deserialize, Default)]
#[serde(default, bound(deserialize = "'de: 'a"))]
pub(in crate::rows) struct ImageVolume<'a> {
    pub(in crate::rows) reference: Option<Text<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default, bound(deserialize = "'de: 'a"))]
pub(in crate::rows) struct NamespaceJson<'a> {
    pub(in crate::rows) metadata: Option<Meta<'a>>,
}
