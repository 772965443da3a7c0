//! What the core counts and times for those who watch it: which plugins have a say in decisions, whom they keep waiting,
//! and how long decisions take, piece by piece.
//!
//! The core has no clock. Who wants times lends it a [`Stopwatch`]; then one decision and one event in [`SAMPLE`] are
//! timed (upstream times a tenth of the plugins' runs) and the [`Lap`]s come with the plan. Without one nothing is asked
//! and nothing is kept. Counting costs a few nanoseconds per decision.

use crate::profile::{Plugin, PluginSet, Profile, ProfileId};
use crate::rows::Demand;

/// One in so many decisions and events is timed.
pub const SAMPLE: u64 = 10;

/// A steady clock that the caller lends.
pub trait Stopwatch: Send + std::fmt::Debug {
    /// Nanoseconds since some fixed moment. Never goes back.
    fn nanos(&self) -> u64;
}

/// An extension point, as far as the core runs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Point {
    /// What a pod asks for is looked up: volumes.
    PreFilter,
    /// The best node is looked for. Filtering and scoring are one scan of a class, and mostly none at all: both count here.
    Filter,
    /// Somebody makes room.
    PostFilter,
    /// The pod takes its place.
    Reserve,
}

/// Something that was timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lap {
    /// What.
    pub what: Timed,
    /// How long it took, in nanoseconds.
    pub nanos: u64,
}

/// What can be timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timed {
    /// All plugins of a point, for one pod.
    Point {
        /// The point.
        point: Point,
        /// The pod's profile.
        profile: ProfileId,
        /// Whether the pod passed.
        passed: bool,
    },
    /// One plugin at a point, for one pod: where plugins run by themselves.
    Plugin {
        /// The plugin.
        plugin: Plugin,
        /// The point.
        point: Point,
        /// Whether the pod passed.
        passed: bool,
    },
    /// One event, by upstream's label of what it is.
    Event(&'static str),
}

/// How often plugins had a say, and whom they keep waiting.
#[derive(Clone, Debug, Default)]
pub struct Tallies {
    /// Decisions, by profile and the plugins that had a say in filtering and in scoring.
    evaluations: Vec<(ProfileId, PluginSet, PluginSet, u64)>,
    /// Pods that wait, by profile and a plugin that turned nodes down.
    unschedulable: Vec<(ProfileId, &'static str, usize)>,
    /// Pods that were placed when they were tried only because they had waited for so long.
    pub placed_after_flush: u64,
    /// Attempts to make room for a pod that fits nowhere.
    pub preemptions: u64,
}

impl Tallies {
    /// Decisions in which a plugin had a say: profile, plugin, whether in scoring (else in filtering), and how many.
    pub fn evaluations(&self) -> impl Iterator<Item = (ProfileId, Plugin, bool, u64)> {
        self.evaluations.iter().flat_map(|(profile, filters, scores, count)| {
            let of = move |set: PluginSet, scoring| {
                let plugins = Plugin::ALL.into_iter().filter(move |plugin| set.has(*plugin));
                plugins.map(move |plugin| (*profile, plugin, scoring, *count))
            };
            of(*filters, false).chain(of(*scores, true))
        })
    }

    /// Pods that wait because of a plugin: profile, plugin, and how many.
    pub fn unschedulable(&self) -> impl Iterator<Item = (ProfileId, &'static str, usize)> {
        self.unschedulable.iter().copied()
    }

    pub(crate) fn evaluated(&mut self, profile: ProfileId, filters: PluginSet, scores: PluginSet) {
        let known = self.evaluations.iter_mut().find(|known| (known.0, known.1, known.2) == (profile, filters, scores));
        match known {
            Some((.., count)) => *count += 1,
            None => self.evaluations.push((profile, filters, scores, 1)),
        }
    }

    pub(crate) fn waits(&mut self, profile: ProfileId, plugins: &[&'static str], by: isize) {
        for plugin in plugins {
            match self.unschedulable.iter_mut().find(|(p, name, _)| (*p, *name) == (profile, *plugin)) {
                Some((.., count)) => *count = count.wrapping_add_signed(by),
                None => self.unschedulable.push((profile, plugin, usize::try_from(by).unwrap_or(0))),
            }
        }
    }
}

/// The plugins of a profile that have a say in where a pod may run: upstream's PreFilter tells the others to stand aside.
pub(crate) fn filters(profile: &Profile, demand: &Demand, volumes: bool, forbidden: bool) -> PluginSet {
    use Plugin as P;
    let pods = demand.pods.is_some() || forbidden;
    let set = [P::NodeUnschedulable, P::NodeName, P::TaintToleration, P::NodeResourcesFit];
    let affine = !demand.node_selector.is_empty() || demand.node_terms.is_some() || profile.added_node_terms.is_some();
    let some = [
        (P::NodeAffinity, affine),
        (P::NodePorts, !demand.host_ports.is_empty()),
        (P::NodeDeclaredFeatures, !demand.features.is_empty()),
        (P::VolumeRestrictions, volumes),
        (P::NodeVolumeLimits, volumes),
        (P::VolumeBinding, volumes),
        (P::VolumeZone, volumes),
        (P::PodTopologySpread, demand.spread.iter().any(|constraint| constraint.hard)),
        (P::InterPodAffinity, pods),
    ];
    let some = some.into_iter().filter(|(_, has)| *has).map(|(plugin, _)| plugin);
    set.into_iter().chain(some).filter(|plugin| profile.filters.has(*plugin)).collect()
}

/// The plugins of a profile that have a say in how well a node suits a pod.
pub(crate) fn scores(profile: &Profile, demand: &Demand) -> PluginSet {
    use Plugin as P;
    let set = [P::TaintToleration, P::NodeResourcesFit, P::NodeResourcesBalancedAllocation, P::ImageLocality];
    let preferred = !demand.preferred_node_terms.is_empty() || !profile.added_preferred_node_terms.is_empty();
    let some = [
        (P::NodeAffinity, preferred),
        (P::PodTopologySpread, demand.spread.iter().any(|constraint| !constraint.hard)),
        (P::InterPodAffinity, demand.pods.is_some()),
    ];
    let some = some.into_iter().filter(|(_, has)| *has).map(|(plugin, _)| plugin);
    set.into_iter().chain(some).filter(|plugin| profile.weights.of(*plugin) > 0).collect()
}

/// Times what it is told to, where there is a stopwatch.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    stopwatch: Option<Box<dyn Stopwatch>>,
    decisions: u64,
    events: u64,
    /// Whether the decision under way is timed.
    timed: bool,
    pub(crate) laps: Vec<Lap>,
    pub(crate) tallies: Tallies,
}

/// The time when something began; nothing where it is not timed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Began(Option<u64>);

impl Meter {
    pub(crate) fn lend(&mut self, stopwatch: Box<dyn Stopwatch>) {
        self.stopwatch = Some(stopwatch);
    }

    /// A decision begins.
    pub(crate) fn decide(&mut self) {
        self.decisions += 1;
        self.timed = self.stopwatch.is_some() && self.decisions.is_multiple_of(SAMPLE);
    }

    /// The decision is made: what is looked for in between, to see whom to wake, is not timed.
    pub(crate) fn decided(&mut self) {
        self.timed = false;
    }

    /// A piece of the decision under way begins.
    pub(crate) fn begin(&self) -> Began {
        Began(if self.timed { self.nanos() } else { None })
    }

    /// An event is about to be taken in; whether it is timed.
    pub(crate) fn event(&mut self) -> Began {
        self.events += 1;
        let timed = self.stopwatch.is_some() && self.events.is_multiple_of(SAMPLE);
        Began(if timed { self.nanos() } else { None })
    }

    /// What began has ended.
    pub(crate) fn end(&mut self, began: Began, what: impl FnOnce() -> Timed) {
        if let Began(Some(began)) = began
            && let Some(now) = self.nanos()
        {
            self.laps.push(Lap { what: what(), nanos: now.saturating_sub(began) });
        }
    }

    fn nanos(&self) -> Option<u64> {
        self.stopwatch.as_ref().map(|watch| watch.nanos())
    }
}

impl Began {
    pub(crate) const fn is_timed(self) -> bool {
        self.0.is_some()
    }
}
