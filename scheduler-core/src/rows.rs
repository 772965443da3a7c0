//! What the scheduler knows of a node and of a pod: rows of the hot fields, taken from stored JSON once per change.
//!
//! A row is made by [`NodeRow::from_json`] or [`PodRow::from_json`] (in the loop's feed), or by the owning shard through
//! the [projections](projection), archived with rkyv, read by schedulers in place or in another process. Rows are
//! plain data: amounts are exact integers, lists are sorted where order has no meaning, everything the scheduling
//! result can depend on is in [`Demand`], so pods with equal demands are one class.

pub mod amounts;
pub mod budget;
pub mod devices;
pub mod gang;
pub mod json;
pub mod kindred;
pub mod projection;
pub mod storage;

use rkyv::{Archive, Deserialize, Serialize};

pub use amounts::Amounts;
pub use budget::BudgetRow;
pub use gang::PodGroupRow;
pub use kindred::KindredRow;
pub use storage::Needs;

/// What scheduling reads of a Node.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeRow {
    /// `metadata.name`.
    pub name: Box<str>,
    /// `metadata.uid`.
    pub uid: Box<str>,
    /// Labels, sorted by key.
    pub labels: Vec<(Box<str>, Box<str>)>,
    /// `spec.taints`, in order: the message names the first that is not tolerated.
    pub taints: Vec<Taint>,
    /// `spec.unschedulable`: cordoned.
    pub unschedulable: bool,
    /// `status.allocatable`.
    pub allocatable: Amounts,
    /// `status.declaredFeatures`, as far as pods may need them.
    pub features: Features,
    /// `status.images`.
    pub images: Vec<NodeImage>,
}

/// Features that nodes declare and pods may need (KEP-5328), those of 1.36: a bit each.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Features(u8);

impl Features {
    /// `RestartAllContainersOnContainerExits`: a container's end may restart all of them.
    pub const RESTART_ALL_CONTAINERS: Self = Self(1);
    /// `UserNamespacesHostNetworkSupport`: a user namespace on the host's network.
    pub const USER_NAMESPACES_HOST_NETWORK: Self = Self(2);

    /// With others added.
    #[must_use]
    pub const fn with(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }

    /// Whether all of these are among the others.
    #[must_use]
    pub const fn are_in(self, others: Self) -> bool {
        self.0 & !others.0 == 0
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl<'a> FromIterator<&'a str> for Features {
    /// From their names; those that no pod can need are left out.
    fn from_iter<I: IntoIterator<Item = &'a str>>(names: I) -> Self {
        names.into_iter().fold(Self::default(), |all, name| match name {
            "RestartAllContainersOnContainerExits" => all.with(Self::RESTART_ALL_CONTAINERS),
            "UserNamespacesHostNetworkSupport" => all.with(Self::USER_NAMESPACES_HOST_NETWORK),
            _ => all,
        })
    }
}

/// A taint of a node.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Taint {
    /// Its key.
    pub key: Box<str>,
    /// Its value, often empty.
    pub value: Box<str>,
    /// What it does to pods that do not tolerate it.
    pub effect: Effect,
}

/// What a taint does.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Effect {
    /// Keeps pods away.
    #[default]
    NoSchedule,
    /// Keeps pods away if there is another place.
    PreferNoSchedule,
    /// Keeps pods away and drives running ones out.
    NoExecute,
}

/// An image that a node holds.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeImage {
    /// All names it goes by.
    pub names: Vec<Box<str>>,
    /// Bytes.
    pub size: i64,
}

/// What scheduling reads of a Namespace: affinity terms may select namespaces by their labels.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct NamespaceRow {
    /// `metadata.name`.
    pub name: Box<str>,
    /// Labels, sorted by key.
    pub labels: Vec<(Box<str>, Box<str>)>,
}

/// What scheduling reads of a Pod.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct PodRow {
    /// `metadata.namespace`.
    pub namespace: Box<str>,
    /// `metadata.name`.
    pub name: Box<str>,
    /// `metadata.uid`.
    pub uid: Box<str>,
    /// Labels, sorted by key: what other pods' selectors look at.
    pub labels: Vec<(Box<str>, Box<str>)>,
    /// `spec.nodeName`; empty while unbound.
    pub node: Box<str>,
    /// `spec.schedulerName`.
    pub scheduler: Box<str>,
    /// `spec.priority`.
    pub priority: i32,
    /// `spec.preemptionPolicy` is `Never`.
    pub never_preempts: bool,
    /// Whether `spec.schedulingGates` holds anything.
    pub gated: bool,
    /// Whether `metadata.deletionTimestamp` is set.
    pub deleting: bool,
    /// Whether its `DisruptionTarget` condition says that a scheduler displaced it.
    pub displaced: bool,
    /// `status.nominatedNodeName`: where room is being made for it; often empty.
    pub nominated: Box<str>,
    /// Whether the phase is `Succeeded` or `Failed`: it holds no resources any more.
    pub terminal: bool,
    /// `status.startTime`, as written (RFC 3339 sorts by time); empty before the kubelet has seen it.
    pub started: Box<str>,
    /// `metadata.generation`.
    pub generation: i64,
    /// What the `PodScheduled` condition says now when it is `False` with reason `Unschedulable`.
    pub refused_because: Option<Box<str>>,
    /// `spec.schedulingGroup.podGroupName`: the PodGroup it belongs to; empty for none, as for nearly all.
    pub group: Box<str>,
    /// The controller that keeps it, where that says which pods belong together.
    pub owner: Option<(Keeper, Box<str>)>,
    /// All that decides where it may run, but for its volumes and devices.
    pub demand: Demand,
    /// Its volumes and devices, where they have a say in it.
    pub needs: Option<Box<Needs>>,
}

/// A kind of object whose selector says which pods belong together.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Keeper {
    /// Service.
    Service,
    /// ReplicationController.
    ReplicationController,
    /// ReplicaSet.
    ReplicaSet,
    /// StatefulSet.
    StatefulSet,
}

/// The scheduling fingerprint: all of a pod that decides where it may run and how well, but its identity, priority and
/// labels. Equal demands share one class, one scan, one tournament.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Demand {
    /// What it requests of each resource (`pods` is not used).
    pub requests: Amounts,
    /// Those of its extended resources that devices stand in for on nodes that have none of them: set by the core.
    pub backed: Vec<Box<str>>,
    /// CPU in milli for scoring: containers without a request count as 100m.
    pub scored_cpu: i64,
    /// Memory in bytes for scoring: containers without a request count as 200Mi.
    pub scored_memory: i64,
    /// `spec.nodeSelector`, sorted by key.
    pub node_selector: Vec<(Box<str>, Box<str>)>,
    /// Required node affinity: any of these terms. `None` when not set; an empty list matches no node.
    pub node_terms: Option<Vec<NodeTerm>>,
    /// Preferred node affinity.
    pub preferred_node_terms: Vec<PreferredNodeTerm>,
    /// `spec.tolerations`.
    pub tolerations: Vec<Toleration>,
    /// Host ports of all containers.
    pub host_ports: Vec<HostPort>,
    /// Images of containers, init containers and image volumes, normalised (`:latest` added), in order.
    pub images: Vec<Box<str>>,
    /// `spec.topologySpreadConstraints`.
    pub spread: Vec<SpreadConstraint>,
    /// Whether the constraints are the profile's, not the pod's: set by the core.
    pub defaulted: bool,
    /// Whether a node that lacks some of the topology labels is rated by the others: so for the system's constraints.
    pub lenient: bool,
    /// Affinity to and against other pods; `None` when there is neither.
    pub pods: Option<Box<PodAffinity>>,
    /// The pod's namespace and labels, kept only where its own spread or affinity terms make them matter.
    pub own: Option<Box<Own>>,
    /// The features that its node must declare.
    pub features: Features,
    /// The profile that schedules it, a [`ProfileId`](crate::profile::ProfileId): set by the core from the scheduler's name,
    /// 0 in rows.
    pub profile: u16,
}

impl Demand {
    /// The same demand with terms about other pods that select nobody: all such demands think alike of nodes that hold
    /// none of the pods they select.
    #[must_use]
    pub fn ground(&self) -> Self {
        let mut ground = self.clone();
        ground.own = self.own.as_ref().map(|_| Box::default());
        ground.defaulted = false;
        ground.spread.iter_mut().for_each(|constraint| constraint.selector = None);
        if let Some(pods) = &mut ground.pods {
            let terms = pods.required.iter_mut().chain(&mut pods.forbidden);
            for term in terms.chain(pods.preferred.iter_mut().map(|(_, term)| term)) {
                (term.selector, term.namespace_selector) = (None, None);
                term.namespaces.clear();
            }
        }
        ground
    }
}

/// The part of a pod's identity that its own terms refer to.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Own {
    /// Its namespace.
    pub namespace: Box<str>,
    /// Its labels, sorted by key.
    pub labels: Vec<(Box<str>, Box<str>)>,
}

/// A term of node affinity: all its requirements. A term without any matches nothing.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct NodeTerm {
    /// On labels.
    pub labels: Vec<Requirement>,
    /// On fields; `metadata.name` is the only one there is.
    pub fields: Vec<Requirement>,
}

/// A preferred term of node affinity.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct PreferredNodeTerm {
    /// 1 to 100.
    pub weight: i32,
    /// What is preferred.
    pub term: NodeTerm,
}

/// A requirement of a selector.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Requirement {
    /// The label's key.
    pub key: Box<str>,
    /// How it is compared.
    pub operator: Operator,
    /// With what; sorted.
    pub values: Vec<Box<str>>,
}

/// How a selector compares.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Operator {
    /// The label is there and its value among these.
    #[default]
    In,
    /// The label is not there or its value not among these.
    NotIn,
    /// The label is there.
    Exists,
    /// The label is not there.
    DoesNotExist,
    /// The label is an integer greater than this one.
    Gt,
    /// The label is an integer less than this one.
    Lt,
}

/// A label selector: all requirements. Without any it selects everything.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Selector {
    /// What must hold, `matchLabels` and `matchExpressions` alike.
    pub requirements: Vec<Requirement>,
}

/// A toleration of a pod.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Toleration {
    /// The taint key; empty for any, with `exists`.
    pub key: Box<str>,
    /// Whether the value does not matter (`operator: Exists`).
    pub exists: bool,
    /// The value.
    pub value: Box<str>,
    /// The effect; `None` for any.
    pub effect: Option<Effect>,
}

/// A port of the node that a container asks for.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct HostPort {
    /// The address; `0.0.0.0` for all.
    pub ip: Box<str>,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: Box<str>,
    /// The port.
    pub port: u16,
}

/// A topology spread constraint.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct SpreadConstraint {
    /// How uneven it may be.
    pub max_skew: i32,
    /// The node label that makes domains.
    pub topology_key: Box<str>,
    /// `DoNotSchedule`; otherwise a preference.
    pub hard: bool,
    /// Which pods are counted (`matchLabelKeys` merged in); `None` counts none.
    pub selector: Option<Selector>,
    /// With fewer domains than this, the least count is taken as 0; 0 when not set.
    pub min_domains: i32,
    /// `nodeAffinityPolicy: Ignore`.
    pub ignores_affinity: bool,
    /// `nodeTaintsPolicy: Honor`.
    pub honors_taints: bool,
}

/// Affinity to and against other pods.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct PodAffinity {
    /// `podAffinity.required...`: all of them.
    pub required: Vec<PodTerm>,
    /// `podAntiAffinity.required...`: none of them.
    pub forbidden: Vec<PodTerm>,
    /// Preferred terms with their weights; those of anti-affinity are negative.
    pub preferred: Vec<(i32, PodTerm)>,
}

/// A term of pod affinity.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct PodTerm {
    /// Which pods (`matchLabelKeys` and `mismatchLabelKeys` merged in); `None` matches none.
    pub selector: Option<Selector>,
    /// In these namespaces, sorted; the pod's own where the term names none.
    pub namespaces: Vec<Box<str>>,
    /// And in the namespaces whose labels match.
    pub namespace_selector: Option<Selector>,
    /// The node label that makes domains.
    pub topology_key: Box<str>,
}

impl PodRow {
    /// Whether it holds resources of its node.
    #[must_use]
    pub fn occupies(&self) -> bool {
        !self.node.is_empty() && !self.terminal
    }
}
