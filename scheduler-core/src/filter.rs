//! May a pod of this class run on this node? One file per rule, asked in upstream's order; the first that says no is
//! the reason that is counted.
//!
//! Rules of two kinds: those about the node itself ([`NodeRules`], asked once per class and node change) and those
//! about what is on it ([`UsageRules`], asked again whenever a pod comes or goes). `class` keeps both answers.
//! NodeName needs no rule: a pod that names its node is bound already and never comes here.

pub mod node_affinity;
pub mod node_ports;
pub mod node_unschedulable;
pub mod node_volume_limits;
pub mod resources_fit;
pub mod taint_toleration;
pub mod tally;
pub mod volume_binding;
pub mod volume_restrictions;
pub mod volume_zone;

use crate::columns::{Columns, Load, Slot};
use crate::profile::{Plugin, PluginSet, Profile};
use crate::rows::{Demand, Features};

pub use node_affinity::NodeAffinity;
pub use taint_toleration::TaintToleration;

/// The rule that a node failed, in upstream's order of asking.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Rule {
    /// None: the node is feasible.
    Fits = 0,
    /// There is no node in this slot; it is not counted.
    Absent,
    /// The required affinity names other nodes (`metadata.name`).
    NotNamed,
    /// The node is cordoned.
    Unschedulable,
    /// A taint is not tolerated.
    Taints,
    /// The profile's own required affinity does not match.
    EnforcedAffinity,
    /// The node selector or required affinity does not match.
    NodeAffinity,
    /// The node does not declare a feature that the pod needs. Upstream asks this last; here it goes with what else is about
    /// the node itself, so that of a node that lacks more than that this is what is told.
    Features,
    /// A host port is taken.
    Ports,
    /// A resource does not suffice; the verdict says which.
    Resources,
    /// A disk is mounted there that cannot be shared.
    DiskConflict,
    /// A claim for one pod only is in use, wherever.
    ClaimInUse,
    /// No more volumes of a driver can be attached.
    VolumeLimits,
    /// The volumes are not there or cannot be had there; the verdict says why.
    Volumes,
    /// A volume is in another zone.
    VolumeZone,
    /// A topology spread constraint would be broken.
    Spread,
    /// The node lacks the label of a topology spread constraint.
    SpreadLabel,
    /// No pod that the pod must be near to.
    PodAffinity,
    /// A pod that the pod must not be near to.
    PodAntiAffinity,
    /// A pod that must not be near to this pod.
    ExistingAntiAffinity,
}

impl Rule {
    /// Upstream's name of the plugin that asks it, for metrics and `explain`.
    #[must_use]
    pub fn plugin(self) -> &'static str {
        match self {
            Self::Fits | Self::Absent => "",
            Self::Unschedulable => "NodeUnschedulable",
            Self::Taints => "TaintToleration",
            Self::NotNamed | Self::EnforcedAffinity | Self::NodeAffinity => "NodeAffinity",
            Self::Features => "NodeDeclaredFeatures",
            Self::Ports => "NodePorts",
            Self::Resources => "NodeResourcesFit",
            Self::DiskConflict | Self::ClaimInUse => "VolumeRestrictions",
            Self::VolumeLimits => "NodeVolumeLimits",
            Self::Volumes => "VolumeBinding",
            Self::VolumeZone => "VolumeZone",
            Self::Spread | Self::SpreadLabel => "PodTopologySpread",
            Self::PodAffinity | Self::PodAntiAffinity | Self::ExistingAntiAffinity => "InterPodAffinity",
        }
    }

    /// Upstream's text. Resources have one text per resource, made by [`resources_fit::texts`]; volumes one per reason,
    /// made by [`volume_binding::texts`].
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::Fits | Self::Absent | Self::Resources | Self::Volumes => "",
            Self::NotNamed => "node(s) didn't satisfy plugin(s) [NodeAffinity]",
            Self::Unschedulable => "node(s) were unschedulable",
            Self::Taints => "node(s) had untolerated taint(s)",
            Self::EnforcedAffinity => "node(s) didn't match scheduler-enforced node affinity",
            Self::NodeAffinity => "node(s) didn't match Pod's node affinity/selector",
            Self::Features => "node(s) didn't match Pod's required features",
            Self::Ports => "node(s) didn't have free ports for the requested pod ports",
            Self::DiskConflict => "node(s) had no available disk",
            Self::ClaimInUse => {
                "node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode"
            }
            Self::VolumeLimits => "node(s) exceed max volume count",
            Self::VolumeZone => "node(s) had no available volume zone",
            Self::Spread => "node(s) didn't match pod topology spread constraints",
            Self::SpreadLabel => "node(s) didn't match pod topology spread constraints (missing required label)",
            Self::PodAffinity => "node(s) didn't match pod affinity rules",
            Self::PodAntiAffinity => "node(s) didn't match pod anti-affinity rules",
            Self::ExistingAntiAffinity => "node(s) didn't satisfy existing pods anti-affinity rules",
        }
    }

    fn of(code: u8) -> Self {
        const ALL: [Rule; 20] = [
            Rule::Fits,
            Rule::Absent,
            Rule::NotNamed,
            Rule::Unschedulable,
            Rule::Taints,
            Rule::EnforcedAffinity,
            Rule::NodeAffinity,
            Rule::Features,
            Rule::Ports,
            Rule::Resources,
            Rule::DiskConflict,
            Rule::ClaimInUse,
            Rule::VolumeLimits,
            Rule::Volumes,
            Rule::VolumeZone,
            Rule::Spread,
            Rule::SpreadLabel,
            Rule::PodAffinity,
            Rule::PodAntiAffinity,
            Rule::ExistingAntiAffinity,
        ];
        ALL[usize::from(code)]
    }

    /// Whether removing pods from the node cannot change the answer (`UnschedulableAndUnresolvable`). Resources say so
    /// case by case.
    #[must_use]
    pub fn is_unresolvable(self) -> bool {
        !matches!(
            self,
            Self::Fits
                | Self::Ports
                | Self::Resources
                | Self::DiskConflict
                | Self::ClaimInUse
                | Self::VolumeLimits
                | Self::Spread
                | Self::PodAntiAffinity
                | Self::ExistingAntiAffinity
        )
    }
}

/// What the filters say of one node: feasible, or the first rule that failed and its details, in 32 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Verdict(u32);

impl Verdict {
    /// The pod may run there.
    pub const FITS: Self = Self(0);
    /// No node in the slot.
    pub const ABSENT: Self = Self::new(Rule::Absent);
    const UNRESOLVABLE: u32 = 1 << 8;
    const MASK_AT: u32 = 9;

    /// Failed by a rule.
    #[must_use]
    pub const fn new(rule: Rule) -> Self {
        Self(rule as u32)
    }

    /// Failed for want of the resources in `mask` (see [`resources_fit`]).
    #[must_use]
    pub const fn resources(mask: u32, unresolvable: bool) -> Self {
        let flag = if unresolvable { Self::UNRESOLVABLE } else { 0 };
        Self(Rule::Resources as u32 | flag | (mask << Self::MASK_AT))
    }

    /// Failed by a rule, for the reasons in `mask`.
    #[must_use]
    pub const fn masked(rule: Rule, mask: u32) -> Self {
        Self(rule as u32 | (mask << Self::MASK_AT))
    }

    /// Whether the pod may run there.
    #[inline]
    #[must_use]
    pub const fn fits(self) -> bool {
        self.0 == 0
    }

    /// The rule that failed.
    #[must_use]
    pub fn rule(self) -> Rule {
        Rule::of(self.0 as u8)
    }

    /// The resources that do not suffice.
    #[must_use]
    pub fn mask(self) -> u32 {
        self.0 >> Self::MASK_AT
    }

    /// Whether removing pods from the node cannot help.
    #[must_use]
    pub fn is_unresolvable(self) -> bool {
        self.0 & Self::UNRESOLVABLE != 0 || self.rule().is_unresolvable()
    }
}

/// The rules about the node itself, compiled for one class.
#[derive(Debug)]
pub struct NodeRules {
    /// NodeAffinity and nodeSelector.
    pub affinity: NodeAffinity,
    /// TaintToleration and NodeUnschedulable.
    pub taints: TaintToleration,
    /// Of the profile: required of every pod.
    added: Option<NodeAffinity>,
    features: Features,
    asked: PluginSet,
}

impl NodeRules {
    /// Compiles the rules of a demand.
    pub fn new(columns: &mut Columns, demand: &Demand, profile: &Profile) -> Self {
        let added = profile
            .added_node_terms
            .as_ref()
            .map(|terms| NodeAffinity::new(columns, &Demand { node_terms: Some(terms.clone()), ..Demand::default() }));
        Self {
            affinity: NodeAffinity::new(columns, demand),
            taints: TaintToleration::new(demand),
            added,
            features: demand.features,
            asked: profile.filters,
        }
    }

    /// The verdict on the node itself.
    #[must_use]
    pub fn verdict(&self, columns: &Columns, slot: Slot) -> Verdict {
        if !columns.is_present(slot) {
            return Verdict::ABSENT;
        }
        let by_affinity = self.asked.has(Plugin::NodeAffinity);
        if by_affinity && !self.affinity.is_named(columns, slot) {
            return Verdict::new(Rule::NotNamed);
        }
        if node_unschedulable::is_kept_out(columns, slot, &self.taints) && self.asked.has(Plugin::NodeUnschedulable) {
            return Verdict::new(Rule::Unschedulable);
        }
        if self.taints.keeps_out(columns.taint_set[slot as usize]) && self.asked.has(Plugin::TaintToleration) {
            return Verdict::new(Rule::Taints);
        }
        if by_affinity {
            if self.added.as_ref().is_some_and(|added| !added.matches(columns, slot)) {
                return Verdict::new(Rule::EnforcedAffinity);
            }
            if !self.affinity.matches(columns, slot) {
                return Verdict::new(Rule::NodeAffinity);
            }
        }
        if !self.features.are_in(columns.features[slot as usize]) && self.asked.has(Plugin::NodeDeclaredFeatures) {
            return Verdict::new(Rule::Features);
        }
        Verdict::FITS
    }
}

/// The rules about what is on the node: ports and resources. Asked of nodes that passed the [`NodeRules`]. `load` is what
/// the class [asks for](crate::class::Class::asks).
#[inline]
#[must_use]
pub fn usage_verdict(columns: &Columns, slot: Slot, load: &Load) -> Verdict {
    if !load.ports.is_empty() && node_ports::is_taken(columns.ports(slot), &load.ports) {
        return Verdict::new(Rule::Ports);
    }
    resources_fit::verdict(columns, slot, load)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_keeps_rule_mask_and_resolvability() {
        assert!(Verdict::FITS.fits());
        let verdict = Verdict::resources(0b101, true);
        assert_eq!((verdict.rule(), verdict.mask(), verdict.is_unresolvable()), (Rule::Resources, 0b101, true));
        assert!(!Verdict::resources(1, false).is_unresolvable());
        assert_eq!(Verdict::new(Rule::ExistingAntiAffinity).rule(), Rule::ExistingAntiAffinity);
        assert!(Verdict::new(Rule::Taints).is_unresolvable());
        assert!(!Verdict::new(Rule::Ports).is_unresolvable());
    }
}
