//! What is said to extenders and what they say, in upstream's `extender/v1` JSON. Upstream writes Go's field names as they
//! are and reads any case; so do we.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// The question: a pod, and nodes or their names.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Args {
    pod: Box<RawValue>,
    nodes: Option<NodeList>,
    node_names: Option<Vec<String>>,
}

/// Whole nodes, as a NodeList.
#[derive(Debug, Serialize)]
struct NodeList {
    metadata: HashMap<String, String>,
    items: Vec<Box<RawValue>>,
}

impl Args {
    pub(super) fn names(pod: Box<RawValue>, names: Vec<String>) -> Self {
        Self { pod, nodes: None, node_names: Some(names) }
    }

    pub(super) fn nodes(pod: Box<RawValue>, items: Vec<Box<RawValue>>) -> Self {
        Self { pod, nodes: Some(NodeList { metadata: HashMap::new(), items }), node_names: None }
    }
}

/// The answer to `filter`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct FilterResult {
    #[serde(alias = "Nodes")]
    nodes: Option<Named>,
    #[serde(alias = "NodeNames", alias = "nodenames", alias = "nodeNames")]
    node_names: Option<Vec<String>>,
    #[serde(alias = "FailedNodes", alias = "failednodes", alias = "failedNodes")]
    failed_nodes: Option<HashMap<String, String>>,
    #[serde(
        alias = "FailedAndUnresolvableNodes",
        alias = "failedandunresolvablenodes",
        alias = "failedAndUnresolvableNodes"
    )]
    failed_and_unresolvable_nodes: Option<HashMap<String, String>>,
    #[serde(alias = "Error")]
    pub(super) error: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Named {
    #[serde(alias = "Items")]
    items: Option<Vec<NamedNode>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct NamedNode {
    metadata: NamedMeta,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct NamedMeta {
    name: String,
}

impl FilterResult {
    /// The candidates that are left, in their order, and why each of the others is not.
    pub(super) fn split(self, candidates: Vec<(Box<str>, u32)>) -> (Vec<(Box<str>, u32)>, Vec<String>) {
        let of_list =
            |nodes: Named| nodes.items.unwrap_or_default().into_iter().map(|node| node.metadata.name).collect();
        let kept: std::collections::HashSet<String> = match (self.node_names, self.nodes) {
            (Some(names), _) => names.into_iter().collect(),
            (None, Some(nodes)) => of_list(nodes),
            (None, None) => std::collections::HashSet::new(),
        };
        let mut why = self.failed_nodes.unwrap_or_default();
        why.extend(self.failed_and_unresolvable_nodes.unwrap_or_default());
        let mut reasons = Vec::new();
        let mut left = Vec::new();
        for candidate in candidates {
            if kept.contains(&*candidate.0) {
                left.push(candidate);
            } else {
                reasons.push(
                    why.remove(&*candidate.0).unwrap_or_else(|| "node(s) were filtered out by an extender".into()),
                );
            }
        }
        (left, reasons)
    }
}

/// One line of the answer to `prioritize`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct HostPriority {
    #[serde(alias = "Host")]
    pub(super) host: String,
    #[serde(alias = "Score")]
    pub(super) score: i64,
}

/// What `preempt` is sent: a pod, and the nodes that could be freed for it, with whole victims or their uids.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct PreemptionArgs {
    pub(super) pod: Box<RawValue>,
    pub(super) node_name_to_victims: Option<BTreeMap<String, Victims<Box<RawValue>>>>,
    pub(super) node_name_to_meta_victims: Option<BTreeMap<String, Victims<MetaPod>>>,
}

/// Who would have to leave a node.
#[derive(Debug, Serialize)]
pub(super) struct Victims<P> {
    #[serde(rename = "Pods")]
    pub(super) pods: Vec<P>,
    #[serde(rename = "NumPDBViolations")]
    pub(super) violations: u32,
}

/// A pod by its uid.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct MetaPod {
    #[serde(rename = "UID", alias = "uid", alias = "Uid")]
    pub(super) uid: String,
}

/// What it answers: the nodes that are left, with their victims.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct PreemptionResult {
    #[serde(alias = "NodeNameToMetaVictims", alias = "nodenametometavictims", alias = "nodeNameToMetaVictims")]
    node_name_to_meta_victims: Option<BTreeMap<String, Option<MetaVictims>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct MetaVictims {
    #[serde(alias = "Pods")]
    pods: Option<Vec<MetaPod>>,
    #[serde(alias = "NumPDBViolations", alias = "numpdbviolations", alias = "numPDBViolations")]
    num_pdb_violations: i64,
}

impl PreemptionResult {
    /// The victims' uids by node, and how many disruption budgets they break.
    pub(super) fn by_node(self) -> BTreeMap<String, Victims<String>> {
        let nodes = self.node_name_to_meta_victims.unwrap_or_default().into_iter();
        let victims = |victims: Option<MetaVictims>| {
            let MetaVictims { pods, num_pdb_violations } = victims.unwrap_or_default();
            let violations = u32::try_from(num_pdb_violations.max(0)).unwrap_or(u32::MAX);
            Victims { pods: pods.unwrap_or_default().into_iter().map(|pod| pod.uid).collect(), violations }
        };
        nodes.map(|(node, given)| (node, victims(given))).collect()
    }
}

/// What `bind` is sent.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct BindingArgs {
    pub(super) pod_name: String,
    pub(super) pod_namespace: String,
    #[serde(rename = "PodUID")]
    pub(super) pod_uid: String,
    pub(super) node: String,
}

/// What it answers.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct BindingResult {
    #[serde(alias = "Error")]
    pub(super) error: String,
}
