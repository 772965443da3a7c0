//! What one step decided: placements to bind and pods that fit nowhere, in the order of the decisions.
//!
//! Made by `cycle`; the scheduling loop binds, reports and feeds the outcome back as events.

use std::fmt::Write as _;
use std::sync::Arc;

use crate::devices;
use crate::filter::tally::Tally;
use crate::filter::{Rule, resources_fit, volume_binding};
use crate::meter::Lap;
use crate::profile::{Plugin, ProfileId};
use crate::rows::Demand;
use crate::rows::storage::Key;
use crate::storage::Preparation;
use crate::storage::ask::Rejection;

/// Milliseconds on the caller's steady clock.
pub type Millis = u64;

/// The decisions of one step.
#[derive(Debug, Default)]
pub struct Plan {
    /// In order: each was made with those before it in force.
    pub decisions: Vec<Decision>,
    /// Whether the step stopped at its limit with pods left to try: step again at once.
    pub more: bool,
    /// When the next pod leaves its backoff or has waited long enough to be tried again without a reason.
    pub next_wake: Option<Millis>,
    /// A sample of how long things took, where the scheduler was lent a stopwatch.
    pub laps: Vec<Lap>,
}

/// One pod's fate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It is assumed to run on a node: bind it.
    Bind(Placement),
    /// It fits nowhere for now.
    Refuse(Refusal),
    /// The pods of a gang are assumed to run on nodes: bind them all in one commit, or none.
    BindAll(Together),
    /// Too few pods of a gang fit: none is placed.
    RefuseAll(Apart),
    /// Extenders are to be asked about it; [`Event::Advised`](crate::cycle::Event::Advised) is the answer.
    Consult(Consultation),
}

impl Decision {
    /// How many pods it is about.
    #[must_use]
    pub fn pods(&self) -> usize {
        match self {
            Self::Bind(_) | Self::Refuse(_) | Self::Consult(_) => 1,
            Self::BindAll(together) => together.placements.len(),
            Self::RefuseAll(apart) => apart.refusals.len(),
        }
    }
}

/// Who a pod is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PodId {
    /// Its namespace.
    pub namespace: Box<str>,
    /// Its name.
    pub name: Box<str>,
    /// Its uid: a pod of the same name may come later.
    pub uid: Box<str>,
}

/// A PodGroup whose pods are placed together.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GangName {
    /// Its namespace.
    pub namespace: Box<str>,
    /// Its name.
    pub name: Box<str>,
}

/// The pods of a gang that are to be bound together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Together {
    /// The gang.
    pub gang: Arc<GangName>,
    /// Its pods, in the order in which they were decided on.
    pub placements: Vec<Placement>,
    /// Whether its PodGroup has yet to hear that it is scheduled.
    pub news: bool,
}

/// The pods of a gang that cannot be placed together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Apart {
    /// The gang.
    pub gang: Arc<GangName>,
    /// Why, pod by pod.
    pub refusals: Vec<Refusal>,
    /// Whether its PodGroup has yet to hear of it.
    pub news: bool,
}

/// What upstream says of a PodGroup that cannot be scheduled.
pub const GANG_UNSCHEDULABLE: &str = "pod group is unschedulable";

/// A pod and its node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// The pod.
    pub pod: Arc<PodId>,
    /// The node.
    pub node: Arc<str>,
    /// Its score: the sum of all rules.
    pub score: u32,
    /// How often it was tried, this time included.
    pub attempts: u32,
    /// When it first came into the queue.
    pub since: Millis,
    /// The profile that placed it.
    pub profile: ProfileId,
    /// What must be written about its volumes and claims before it is bound; `None` for most.
    pub preparation: Option<Arc<Preparation>>,
    /// The extenders whose business it is, a bit each.
    pub interests: u32,
}

/// A pod that extenders have a say in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consultation {
    /// The pod.
    pub pod: PodId,
    /// To be given back with the answer: an answer to an older question counts for nothing.
    pub ticket: u64,
    /// The profile that schedules it.
    pub profile: ProfileId,
    /// The extenders whose business it is, a bit each.
    pub interests: u32,
    /// What they are asked.
    pub question: Question,
}

/// What extenders are asked about a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// Which node it shall be: those that could take it, with their scores, best first.
    Node(Vec<(Box<str>, u32)>),
    /// Who shall leave for it.
    Victims {
        /// The nodes that could be freed, the cheapest first.
        proposals: Vec<Proposal>,
        /// Why extenders turned nodes down that could have taken it as they are; to be given back with the answer.
        turned_down: Vec<(String, u32)>,
    },
}

/// A node that could be freed for a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    /// The node.
    pub node: Box<str>,
    /// All who would have to go, the most important first.
    pub victims: Vec<PodId>,
    /// Victims whose going breaks a disruption budget.
    pub violations: u32,
}

/// A pod that fits nowhere, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The pod.
    pub pod: PodId,
    /// Upstream's text: condition and event.
    pub message: Arc<str>,
    /// The plugins that turned nodes down, for metrics and `explain`.
    pub plugins: Arc<[&'static str]>,
    /// Whether the message differs from what the pod was told before (or its condition says): if not, nobody needs to
    /// hear it again.
    pub news: bool,
    /// Whether it was tried because it had waited for so long: worth a reminder even if there is no news.
    pub overdue: bool,
    /// How often it was tried, this time included.
    pub attempts: u32,
    /// What its `status.nominatedNodeName` must become, if that is to change.
    pub nomination: Option<Nomination>,
    /// A claim of devices, and its uid, that is to be given back: nobody but the pod has it, and it keeps the pod away.
    pub release: Option<(Key, Box<str>)>,
    /// Who makes room for it, if somebody does.
    pub preemption: Option<Preemption>,
    /// The profile that tried it.
    pub profile: ProfileId,
}

/// What a pod's `status.nominatedNodeName` must become.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Nomination {
    /// This node: room is being made there.
    Node(Box<str>),
    /// Nothing: no room can be made anywhere.
    Nowhere,
}

/// Pods that must leave a node for the sake of one of higher priority. In force at once: the pod is nominated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preemption {
    /// The node.
    pub node: Box<str>,
    /// All who have to go, the most important first.
    pub victims: Vec<Victim>,
    /// Pods of lower priority that were nominated to the node and no longer are: their `status.nominatedNodeName` must
    /// be cleared.
    pub denominated: Vec<PodId>,
}

/// A pod that has to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Victim {
    /// Who.
    pub pod: PodId,
    /// Whether it is going already and nothing needs to be done about it.
    pub leaving: bool,
}

/// Why the pods of a group fit nowhere: shared by all of them.
#[derive(Clone, Debug)]
pub(crate) struct Reasons {
    pub(crate) message: Arc<str>,
    pub(crate) plugins: Arc<[&'static str]>,
}

/// Upstream's message for a pod that is refused before any node is asked. Its last words are what PostFilter says: the
/// plugin for dynamic resources did not come to its turn and does not find its notes; or, if it refused the pod itself,
/// `of_devices`.
pub(crate) fn rejected_message(nodes: u32, rejection: &Rejection, of_devices: &str) -> String {
    if nodes == 0 {
        return "no nodes available to schedule pods".to_owned();
    }
    let Rejection { message, plugin, failed } = rejection;
    if *failed {
        return format!("running \"{plugin}\" filter plugin: {message}");
    }
    let rest = if *plugin == Plugin::DynamicResources.name() { of_devices } else { "not found" };
    format!("0/{nodes} nodes are available: {message}. {rest}")
}

/// Upstream's message for a pod that fits nowhere (`FitError`): why nodes were turned down, how many for each reason, and
/// what preemption found.
pub(crate) fn message(nodes: u32, reasons: Vec<(String, u32)>, conflicts: bool, preemption: &str) -> String {
    if nodes == 0 {
        return "no nodes available to schedule pods".to_owned();
    }
    let mut text = format!("0/{nodes} nodes are available:");
    if conflicts {
        text.push_str(" pod affinity terms conflict.");
    } else {
        list(&mut text, reasons);
    }
    if !preemption.is_empty() {
        text.push(' ');
        text.push_str(preemption);
    }
    text
}

/// Upstream's texts for verdicts, and how many nodes each is said of.
pub(crate) fn reasons(verdicts: &Tally, demand: &Demand) -> Vec<(String, u32)> {
    let mut reasons: Vec<(String, u32)> = Vec::new();
    for (verdict, nodes) in verdicts.turned_down() {
        let mut add = |reason: String| match reasons.iter_mut().find(|(r, _)| *r == reason) {
            Some((_, sum)) => *sum += nodes,
            None => reasons.push((reason, nodes)),
        };
        match verdict.rule() {
            Rule::Resources => resources_fit::texts(verdict.mask(), demand).for_each(&mut add),
            Rule::Volumes => volume_binding::texts(verdict.mask()).for_each(&mut add),
            Rule::Devices => add(devices::ask::text(verdict.mask()).to_owned()),
            rule => add(rule.text().to_owned()),
        }
    }
    reasons
}

/// Appends ` 2 this, 1 that.`, sorted as texts with their numbers, as upstream sorts them.
pub(crate) fn list(text: &mut String, reasons: Vec<(String, u32)>) {
    let mut lines: Vec<String> = reasons.into_iter().map(|(reason, nodes)| format!("{nodes} {reason}")).collect();
    lines.sort_unstable();
    if !lines.is_empty() {
        let _ = write!(text, " {}.", lines.join(", "));
    }
}

/// The plugins behind verdicts, each once, in upstream's order; then the extenders, as upstream names them together, if
/// they turned nodes down.
pub(crate) fn plugins(verdicts: &Tally, extenders: bool) -> Arc<[&'static str]> {
    let mut rules: Vec<Rule> = verdicts.turned_down().map(|(v, _)| v.rule()).collect();
    rules.sort_unstable();
    let mut names: Vec<&'static str> = Vec::new();
    for name in rules.into_iter().map(Rule::plugin) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names.extend(extenders.then_some("Extender"));
    names.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::Verdict;

    #[test]
    fn the_message_is_upstreams() {
        let verdicts = Tally::of(&[
            Verdict::resources(0b010, false),
            Verdict::resources(0b110, true),
            Verdict::new(Rule::Taints),
            Verdict::ABSENT,
        ]);
        let preemption = "no new claims to deallocate, preemption: 0/3 nodes are available: 3 X.";
        assert_eq!(
            message(3, reasons(&verdicts, &Demand::default()), false, preemption),
            "0/3 nodes are available: 1 Insufficient memory, 1 node(s) had untolerated taint(s), 2 Insufficient cpu. \
             no new claims to deallocate, preemption: 0/3 nodes are available: 3 X."
        );
        assert_eq!(message(0, vec![], false, ""), "no nodes available to schedule pods");
        assert_eq!(message(2, vec![], true, ""), "0/2 nodes are available: pod affinity terms conflict.");
        assert_eq!(*plugins(&verdicts, false), ["TaintToleration", "NodeResourcesFit"]);
        assert_eq!(*plugins(&verdicts, true), ["TaintToleration", "NodeResourcesFit", "Extender"]);
    }
}
