//! Profiles: which rules a scheduler name asks for, how much each counts, and with what arguments.
//!
//! A profile is made from a `KubeSchedulerConfiguration` by the scheduling loop, or is the [default](Profile::default):
//! upstream's plugins, weights and arguments. A pod's `spec.schedulerName` picks it; the pod's class is of its profile, so
//! boards are scored with one profile's weights and the default profile pays nothing for the others. Read by `cycle`,
//! `class` and `wide`; fixed for the life of a scheduler.

use std::time::Duration;

use crate::rows::{NodeTerm, PreferredNodeTerm, SpreadConstraint};
use crate::score::allocation::Strategy;

/// The number of a profile in [`Config::profiles`](crate::cycle::Config::profiles).
pub type ProfileId = u16;

/// Upstream's plugins, in the order of its default set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
#[allow(missing_docs, reason = "upstream's names")]
pub enum Plugin {
    SchedulingGates,
    PrioritySort,
    NodeUnschedulable,
    NodeName,
    TaintToleration,
    NodeAffinity,
    NodePorts,
    NodeResourcesFit,
    VolumeRestrictions,
    NodeVolumeLimits,
    VolumeBinding,
    VolumeZone,
    PodTopologySpread,
    InterPodAffinity,
    DynamicResources,
    DefaultPreemption,
    NodeResourcesBalancedAllocation,
    ImageLocality,
    DefaultBinder,
    NodeDeclaredFeatures,
    GangScheduling,
    PodGroupPodsCount,
    TopologyPlacementGenerator,
}

impl Plugin {
    /// How many there are.
    pub const COUNT: usize = 23;

    /// All of them, in order.
    pub const ALL: [Self; Self::COUNT] = [
        Self::SchedulingGates,
        Self::PrioritySort,
        Self::NodeUnschedulable,
        Self::NodeName,
        Self::TaintToleration,
        Self::NodeAffinity,
        Self::NodePorts,
        Self::NodeResourcesFit,
        Self::VolumeRestrictions,
        Self::NodeVolumeLimits,
        Self::VolumeBinding,
        Self::VolumeZone,
        Self::PodTopologySpread,
        Self::InterPodAffinity,
        Self::DynamicResources,
        Self::DefaultPreemption,
        Self::NodeResourcesBalancedAllocation,
        Self::ImageLocality,
        Self::DefaultBinder,
        Self::NodeDeclaredFeatures,
        Self::GangScheduling,
        Self::PodGroupPodsCount,
        Self::TopologyPlacementGenerator,
    ];

    /// Upstream's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::SchedulingGates => "SchedulingGates",
            Self::PrioritySort => "PrioritySort",
            Self::NodeUnschedulable => "NodeUnschedulable",
            Self::NodeName => "NodeName",
            Self::TaintToleration => "TaintToleration",
            Self::NodeAffinity => "NodeAffinity",
            Self::NodePorts => "NodePorts",
            Self::NodeResourcesFit => "NodeResourcesFit",
            Self::VolumeRestrictions => "VolumeRestrictions",
            Self::NodeVolumeLimits => "NodeVolumeLimits",
            Self::VolumeBinding => "VolumeBinding",
            Self::VolumeZone => "VolumeZone",
            Self::PodTopologySpread => "PodTopologySpread",
            Self::InterPodAffinity => "InterPodAffinity",
            Self::DynamicResources => "DynamicResources",
            Self::DefaultPreemption => "DefaultPreemption",
            Self::NodeResourcesBalancedAllocation => "NodeResourcesBalancedAllocation",
            Self::ImageLocality => "ImageLocality",
            Self::DefaultBinder => "DefaultBinder",
            Self::NodeDeclaredFeatures => "NodeDeclaredFeatures",
            Self::GangScheduling => "GangScheduling",
            Self::PodGroupPodsCount => "PodGroupPodsCount",
            Self::TopologyPlacementGenerator => "TopologyPlacementGenerator",
        }
    }

    /// The plugin of a name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|plugin| plugin.name() == name)
    }

    /// The weight it has when nobody says (upstream's default set), where it scores.
    #[must_use]
    pub const fn default_weight(self) -> u32 {
        match self {
            Self::TaintToleration => 3,
            Self::NodeAffinity | Self::PodTopologySpread | Self::InterPodAffinity | Self::DynamicResources => 2,
            Self::NodeResourcesFit | Self::NodeResourcesBalancedAllocation | Self::ImageLocality => 1,
            _ => 0,
        }
    }
}

/// A set of plugins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PluginSet(u32);

impl PluginSet {
    /// All of them.
    pub const ALL: Self = Self((1 << Plugin::COUNT) - 1);

    /// Whether a plugin is in it.
    #[inline]
    #[must_use]
    pub const fn has(self, plugin: Plugin) -> bool {
        self.0 & (1 << plugin as u8) != 0
    }

    /// With a plugin added.
    #[must_use]
    pub const fn with(self, plugin: Plugin) -> Self {
        Self(self.0 | (1 << plugin as u8))
    }

    /// Without a plugin.
    #[must_use]
    pub const fn without(self, plugin: Plugin) -> Self {
        Self(self.0 & !(1 << plugin as u8))
    }
}

impl FromIterator<Plugin> for PluginSet {
    fn from_iter<I: IntoIterator<Item = Plugin>>(plugins: I) -> Self {
        plugins.into_iter().fold(Self::default(), Self::with)
    }
}

/// How much each rule's score counts; 0 is not asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Weights([u32; Plugin::COUNT]);

impl Default for Weights {
    fn default() -> Self {
        Self(Plugin::ALL.map(Plugin::default_weight))
    }
}

impl Weights {
    /// No rule counts.
    pub const NONE: Self = Self([0; Plugin::COUNT]);

    /// The greatest sum of weights a profile may have: a hundred times it still fits a tournament key. Upstream's limit
    /// is that of 64 bits.
    pub const SUM_MAX: u32 = (crate::tournament::SCORE_MAX - 1) / 100;

    /// A rule's weight.
    #[inline]
    #[must_use]
    pub const fn of(&self, plugin: Plugin) -> u32 {
        self.0[plugin as usize]
    }

    /// Sets a rule's weight.
    pub const fn set(&mut self, plugin: Plugin, weight: u32) {
        self.0[plugin as usize] = weight;
    }

    /// All of them together.
    #[must_use]
    pub fn sum(&self) -> u64 {
        self.0.iter().map(|w| u64::from(*w)).sum()
    }
}

/// Where topology spread constraints come from for pods that have none (`PodTopologySpreadArgs`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum SpreadDefaults {
    /// Upstream's: hostname with skew 3 and zone with skew 5, both preferences.
    #[default]
    System,
    /// These; their selectors come from the Services and controllers that select the pod.
    List(Vec<SpreadConstraint>),
}

/// All that a scheduler name stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// The name in `spec.schedulerName`.
    pub name: Box<str>,
    /// The plugins that may keep a pod out of the queue.
    pub pre_enqueue: PluginSet,
    /// The plugins that may turn a node down.
    pub filters: PluginSet,
    /// The plugins that are asked when a pod fits nowhere.
    pub post_filters: PluginSet,
    /// What the others' scores count.
    pub weights: Weights,
    /// `NodeResourcesFitArgs.scoringStrategy`.
    pub fit: Strategy,
    /// `NodeResourcesFitArgs.ignoredResources`: extended resources that are not asked of a node.
    pub ignored_resources: Vec<Box<str>>,
    /// `NodeResourcesFitArgs.ignoredResourceGroups`: all resources of these prefixes.
    pub ignored_resource_groups: Vec<Box<str>>,
    /// `NodeResourcesBalancedAllocationArgs.resources`.
    pub balanced: Vec<Box<str>>,
    /// `NodeAffinityArgs.addedAffinity`, required: any of these terms, for every pod.
    pub added_node_terms: Option<Vec<NodeTerm>>,
    /// `NodeAffinityArgs.addedAffinity`, preferred.
    pub added_preferred_node_terms: Vec<PreferredNodeTerm>,
    /// `InterPodAffinityArgs.hardPodAffinityWeight`: what existing pods' required affinity adds to a node's score.
    pub hard_pod_affinity_weight: i32,
    /// `InterPodAffinityArgs.ignorePreferredTermsOfExistingPods`: score only for pods with preferences of their own.
    pub ignore_preferred_terms_of_existing_pods: bool,
    /// `PodTopologySpreadArgs`.
    pub spread_defaults: SpreadDefaults,
    /// `DynamicResourcesArgs.filterTimeout`, in steps of the search for devices on one node: decisions do not depend on the
    /// machine's speed. Upstream's ten seconds are [`SEARCH_MAX`] steps.
    pub search_max: u64,
    /// How long is waited before a pod is bound: nothing that the core looks at.
    pub patience: Patience,
    /// `DefaultPreemptionArgs.minCandidateNodesPercentage`.
    pub min_candidate_nodes_percentage: u32,
    /// `DefaultPreemptionArgs.minCandidateNodesAbsolute`.
    pub min_candidate_nodes_absolute: u32,
}

/// Steps of the search for devices on one node, unless the profile says otherwise.
pub const SEARCH_MAX: u64 = 100_000;

/// How long what must be written before a pod is bound may take to come into force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// `VolumeBindingArgs.bindTimeoutSeconds`.
    pub volumes: Duration,
    /// `DynamicResourcesArgs.bindingTimeout`.
    pub devices: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { volumes: Duration::from_secs(600), devices: Duration::from_secs(600) }
    }
}

impl Default for Profile {
    fn default() -> Self {
        Self::named("default-scheduler")
    }
}

impl Profile {
    /// The default profile under a name.
    #[must_use]
    pub fn named(name: &str) -> Self {
        Self {
            name: name.into(),
            pre_enqueue: PluginSet::ALL,
            filters: PluginSet::ALL,
            post_filters: PluginSet::ALL,
            weights: Weights::default(),
            fit: Strategy::default(),
            ignored_resources: Vec::new(),
            ignored_resource_groups: Vec::new(),
            balanced: vec!["cpu".into(), "memory".into()],
            added_node_terms: None,
            added_preferred_node_terms: Vec::new(),
            hard_pod_affinity_weight: 1,
            ignore_preferred_terms_of_existing_pods: false,
            search_max: SEARCH_MAX,
            patience: Patience::default(),
            spread_defaults: SpreadDefaults::default(),
            min_candidate_nodes_percentage: 10,
            min_candidate_nodes_absolute: 100,
        }
    }

    /// Whether an extended resource is left to others (an extender, mostly) and not asked of a node. It is counted all
    /// the same.
    #[must_use]
    pub fn ignores(&self, resource: &str) -> bool {
        if resource.starts_with("hugepages-") || resource.starts_with("attachable-volumes-") {
            return false;
        }
        let group = resource.split('/').next().unwrap_or_default();
        self.ignored_resources.iter().any(|name| **name == *resource)
            || self.ignored_resource_groups.iter().any(|name| **name == *group)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plugins_have_their_own_names_and_places() {
        for (at, plugin) in Plugin::ALL.into_iter().enumerate() {
            assert_eq!(plugin as usize, at);
            assert_eq!(Plugin::named(plugin.name()), Some(plugin));
            assert!(PluginSet::ALL.has(plugin) && !PluginSet::ALL.without(plugin).has(plugin));
        }
        assert_eq!(Plugin::named("Nonsense"), None);
    }

    #[test]
    fn extended_resources_are_ignored_by_name_or_group() {
        let profile = Profile {
            ignored_resources: vec!["a.io/x".into()],
            ignored_resource_groups: vec!["b.io".into()],
            ..Profile::default()
        };
        let ignored = ["a.io/x", "a.io/y", "b.io/z", "hugepages-2Mi"].map(|name| profile.ignores(name));
        assert_eq!(ignored, [true, false, true, false]);
    }
}
