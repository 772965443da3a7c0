//! The fields that scheduling reads, as serde finds them in stored JSON. Texts borrow from the bytes; `null` reads as
//! absent, as it does in Go.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Deserialize;

pub(super) type Text<'a> = Cow<'a, str>;
pub(super) type Map<'a> = BTreeMap<Text<'a>, Text<'a>>;
pub(super) type Quantities<'a> = BTreeMap<Text<'a>, Quantity<'a>>;

/// A quantity is written as a text, and by some as a number.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum Quantity<'a> {
    Text(#[serde(borrow)] Text<'a>),
    Int(i64),
    Float(f64),
}

#[derive(Deserialize, Default)]
#[serde(default, bound(deserialize = "'de: 'a"))]
pub(super) struct Meta<'a> {
    pub(super) name: Option<Text<'a>>,
    pub(super) namespace: Option<Text<'a>>,
    pub(super) uid: Option<Text<'a>>,
    pub(super) labels: Option<Map<'a>>,
    pub(super) generation: Option<i64>,
    #[serde(rename = "deletionTimestamp")]
    pub(super) deleted: Option<Text<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default, bound(deserialize = "'de: 'a"))]
pub(super) struct NodeJson<'a> {
    pub(super) metadata: Option<Meta<'a>>,
    pub(super) spec: Option<NodeSpec<'a>>,
    pub(super) status: Option<NodeStatus<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default, bound(deserialize = "'de: 'a"))]
pub(super) struct NodeSpec<'a> {
    pub(super) unschedulable: Option<bool>,
    pub(super) taints: Option<Vec<TaintJson<'a>>>,
}

#[derive(Deserialize, Default)]
#[serde(default, bound(deserialize = "'de: 'a"))]
pub(super) struct TaintJson<'a> {
    pub(super) key: Option<Text<'a>>,
    pub(super) value: Option<Text<'a>>,
    pub(super) effect: Option<Text<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default, bound(deserialize = "'de: 'a"))]
pub(super) struct NodeStatus<'a> {
    pub(super) allocatable: Option<Quantities<'a>>,
    pub(super) images: Option<Vec<ImageJson<'a>>>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase", bound(deserialize = "'de: 'a"))]
pub(super) struct ImageJson<'a> {
    pub(super) names: Option<Vec<Text<'a>>>,
    pub(super) size_bytes: Option<i64>,
}

#[derive(Deserialize, Default)]
#[serde(default, bound(deserialize = "'de: 'a"))]
pub(super) struct PodJson<'a> {
    pub(super) metadata: Option<Meta<'a>>,
    pub(super) spec: Option<PodSpec<'a>>,
    pub(super) status: Option<PodStatus<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase", bound(deserialize = "'de: 'a"))]
pub(super) struct PodSpec<'a> {
    pub(super) node_name: Option<Text<'a>>,
    pub(super) scheduler_name: Option<Text<'a>>,
    pub(super) priority: Option<i32>,
    pub(super) preemption_policy: Option<Text<'a>>,
    pub(super) scheduling_gates: Option<Vec<serde::de::IgnoredAny>>,
    pub(super) containers: Option<Vec<Container<'a>>>,
    pub(super) init_containers: Option<Vec<Container<'a>>>,
    pub(super) overhead: Option<Quantities<'a>>,
    pub(super) resources: Option<Resources<'a>>,
    pub(super) node_selector: Option<Map<'a>>,
    pub(super) affinity: Option<Affinity<'a>>,
    pub(super) tolerations: Option<Vec<TolerationJson<'a>>>,
    pub(super) topology_spread_constraints: Option<Vec<SpreadJson<'a>>>,
    pub(super) volumes: Option<Vec<Volume<'a>>>,
    pub(super) resource_claims: Option<Vec<serde::de::IgnoredAny>>,
    pub(super) host_network: Option<bool>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase", bound(deserialize = "'de: 'a"))]
pub(super) struct PodStatus<'a> {
    pub(super) phase: Option<Text<'a>>,
    pub(super) start_time: Option<Text<'a>>,
    pub(super) conditions: Option<Vec<Condition<'a>>>,
    pub(super) container_statuses: Option<Vec<ContainerStatus<'a>>>,
    pub(super) init_container_statuses: Option<Vec<ContainerStatus<'a>>>,
}

#[derive(Deserialize, Default)]
#[serde(default, bound(deserialize = "'de: 'a"))]
pub(super) struct Condition<'a> {
    #[serde(rename = "type")]
    pub(super) kind: Option<Text<'a>>,
    pub(super) status: Option<Text<'a>>,
    pub(super) reason: Option<Text<'a>>,
    pub(super) message: Option<Text<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase", bound(deserialize = "'de: 'a"))]
pub(super) struct ContainerStatus<'a> {
    pub(super) name: Option<Text<'a>>,
    pub(super) resources: Option<Resources<'a>>,
    pub(super) allocated_resources: Option<Quantities<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase", bound(deserialize = "'de: 'a"))]
pub(super) struct Container<'a> {
    pub(super) name: Option<Text<'a>>,
    pub(super) image: Option<Text<'a>>,
    pub(super) restart_policy: Option<Text<'a>>,
    pub(super) resources: Option<Resources<'a>>,
    pub(super) ports: Option<Vec<PortJson<'a>>>,
}

#[derive(Deserialize, Default)]
#[serde(default, bound(deserialize = "'de: 'a"))]
pub(super) struct Resources<'a> {
    pub(super) requests: Option<Quantities<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase", bound(deserialize = "'de: 'a"))]
pub(super) struct PortJson<'a> {
    pub(super) container_port: Option<i64>,
    pub(super) host_port: Option<i64>,
    #[serde(rename = "hostIP")]
    pub(super) host_ip: Option<Text<'a>>,
    pub(super) protocol: Option<Text<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase", bound(deserialize = "'de: 'a"))]
pub(super) struct Affinity<'a> {
    pub(super) node_affinity: Option<NodeAffinityJson<'a>>,
    pub(super) pod_affinity: Option<PodAffinityJson<'a>>,
    pub(super) pod_anti_affinity: Option<PodAffinityJson<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default, bound(deserialize = "'de: 'a"))]
pub(super) struct NodeAffinityJson<'a> {
    #[serde(rename = "requiredDuringSchedulingIgnoredDuringExecution")]
    pub(super) required: Option<NodeSelectorJson<'a>>,
    #[serde(rename = "preferredDuringSchedulingIgnoredDuringExecution")]
    pub(super) preferred: Option<Vec<PreferredNodeJson<'a>>>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase", bound(deserialize = "'de: 'a"))]
pub(super) struct NodeSelectorJson<'a> {
    pub(super) node_selector_terms: Option<Vec<NodeTermJson<'a>>>,
}

#[derive(Deserialize, Default)]
#[serde(default, bound(deserialize = "'de: 'a"))]
pub(super) struct PreferredNodeJson<'a> {
    pub(super) weight: Option<i32>,
    pub(super) preference: Option<NodeTermJson<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase", bound(deserialize = "'de: 'a"))]
pub(super) struct NodeTermJson<'a> {
    pub(super) match_expressions: Option<Vec<RequirementJson<'a>>>,
    pub(super) match_fields: Option<Vec<RequirementJson<'a>>>,
}

#[derive(Deserialize, Default)]
#[serde(default, bound(deserialize = "'de: 'a"))]
pub(super) struct RequirementJson<'a> {
    pub(super) key: Option<Text<'a>>,
    pub(super) operator: Option<Text<'a>>,
    pub(super) values: Option<Vec<Text<'a>>>,
}

#[derive(Deserialize, Default)]
#[serde(default, bound(deserialize = "'de: 'a"))]
pub(super) struct PodAffinityJson<'a> {
    #[serde(rename = "requiredDuringSchedulingIgnoredDuringExecution")]
    pub(super) required: Option<Vec<PodTermJson<'a>>>,
    #[serde(rename = "preferredDuringSchedulingIgnoredDuringExecution")]
    pub(super) preferred: Option<Vec<PreferredPodJson<'a>>>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase", bound(deserialize = "'de: 'a"))]
pub(super) struct PreferredPodJson<'a> {
    pub(super) weight: Option<i32>,
    pub(super) pod_affinity_term: Option<PodTermJson<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase", bound(deserialize = "'de: 'a"))]
pub(super) struct PodTermJson<'a> {
    pub(super) label_selector: Option<SelectorJson<'a>>,
    pub(super) namespaces: Option<Vec<Text<'a>>>,
    pub(super) namespace_selector: Option<SelectorJson<'a>>,
    pub(super) topology_key: Option<Text<'a>>,
    pub(super) match_label_keys: Option<Vec<Text<'a>>>,
    pub(super) mismatch_label_keys: Option<Vec<Text<'a>>>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase", bound(deserialize = "'de: 'a"))]
pub(super) struct SelectorJson<'a> {
    pub(super) match_labels: Option<Map<'a>>,
    pub(super) match_expressions: Option<Vec<RequirementJson<'a>>>,
}

#[derive(Deserialize, Default)]
#[serde(default, bound(deserialize = "'de: 'a"))]
pub(super) struct TolerationJson<'a> {
    pub(super) key: Option<Text<'a>>,
    pub(super) operator: Option<Text<'a>>,
    pub(super) value: Option<Text<'a>>,
    pub(super) effect: Option<Text<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase", bound(deserialize = "'de: 'a"))]
pub(super) struct SpreadJson<'a> {
    pub(super) max_skew: Option<i32>,
    pub(super) topology_key: Option<Text<'a>>,
    pub(super) when_unsatisfiable: Option<Text<'a>>,
    pub(super) label_selector: Option<SelectorJson<'a>>,
    pub(super) min_domains: Option<i32>,
    pub(super) node_affinity_policy: Option<Text<'a>>,
    pub(super) node_taints_policy: Option<Text<'a>>,
    pub(super) match_label_keys: Option<Vec<Text<'a>>>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase", bound(deserialize = "'de: 'a"))]
pub(super) struct Volume<'a> {
    pub(super) name: Option<Text<'a>>,
    pub(super) persistent_volume_claim: Option<ClaimSource<'a>>,
    pub(super) ephemeral: Option<serde::de::IgnoredAny>,
    pub(super) gce_persistent_disk: Option<Gce<'a>>,
    pub(super) aws_elastic_block_store: Option<Ebs<'a>>,
    pub(super) azure_disk: Option<Azure<'a>>,
    pub(super) cinder: Option<Ebs<'a>>,
    pub(super) iscsi: Option<Iscsi<'a>>,
    pub(super) rbd: Option<Rbd<'a>>,
    pub(super) image: Option<ImageVolume<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase", bound(deserialize = "'de: 'a"))]
pub(super) struct ClaimSource<'a> {
    pub(super) claim_name: Option<Text<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase", bound(deserialize = "'de: 'a"))]
pub(super) struct Gce<'a> {
    pub(super) pd_name: Option<Text<'a>>,
    pub(super) read_only: Option<bool>,
}

#[derive(Deserialize, Default)]
#[serde(default, bound(deserialize = "'de: 'a"))]
pub(super) struct Ebs<'a> {
    #[serde(rename = "volumeID")]
    pub(super) id: Option<Text<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default, bound(deserialize = "'de: 'a"))]
pub(super) struct Azure<'a> {
    #[serde(rename = "diskURI")]
    pub(super) uri: Option<Text<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase", bound(deserialize = "'de: 'a"))]
pub(super) struct Iscsi<'a> {
    pub(super) iqn: Option<Text<'a>>,
    pub(super) read_only: Option<bool>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase", bound(deserialize = "'de: 'a"))]
pub(super) struct Rbd<'a> {
    pub(super) monitors: Option<Vec<Text<'a>>>,
    pub(super) pool: Option<Text<'a>>,
    pub(super) image: Option<Text<'a>>,
    pub(super) read_only: Option<bool>,
}

#[derive(Deserialize, Default)]
#[serde(default, bound(deserialize = "'de: 'a"))]
pub(super) struct ImageVolume<'a> {
    pub(super) reference: Option<Text<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default, bound(deserialize = "'de: 'a"))]
pub(super) struct NamespaceJson<'a> {
    pub(super) metadata: Option<Meta<'a>>,
}
