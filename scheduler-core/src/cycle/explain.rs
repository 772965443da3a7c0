//! Why a pod is where it is, or nowhere: every node's verdict by plugin, and the best nodes' scores rule by rule. Worked
//! out on demand from what decisions are made of; nothing here is asked while scheduling.

use super::Scheduler;
use super::find::Verdicts;
use crate::class::ClassId;
use crate::columns::Slot;
use crate::devices;
use crate::filter::{Rule, Verdict, resources_fit, volume_binding};
use crate::plan::{PodId, rejected_message};
use crate::pods::{PodIndex, State};
use crate::profile::Plugin;
use crate::wide::whatif::{Case, Tables};
use crate::wide::{self, Towards};

/// What can be said of a pod's place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The pod.
    pub pod: PodId,
    /// The profile that it goes by; `None` when its scheduler's name is not among ours.
    pub profile: Option<Box<str>>,
    /// Where it stands.
    pub standing: Standing,
    /// How many nodes there are.
    pub nodes: u32,
    /// How many could take it, as they are now, without the pod itself.
    pub feasible: u32,
    /// Why the others could not.
    pub turned_down: Vec<TurnedDown>,
    /// The best nodes, best first; and the one that the pod is on, if it could take the pod today.
    pub best: Vec<Scored>,
    /// What no node could answer for: said instead of everything else.
    pub obstacle: Option<String>,
}

/// Where a pod stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// On this node.
    On(Box<str>),
    /// Held back by its scheduling gates.
    Gated,
    /// Terminating before it was placed.
    Leaving,
    /// Waiting for a node.
    Pending,
}

/// Nodes that a rule turned down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TurnedDown {
    /// The plugin.
    pub plugin: &'static str,
    /// Upstream's words.
    pub reason: String,
    /// How many nodes.
    pub nodes: u32,
    /// The first of them, by name.
    pub examples: Vec<Box<str>>,
}

/// A node that could take the pod, and how good it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scored {
    /// The node.
    pub node: Box<str>,
    /// The sum of all scores times their weights.
    pub total: u32,
    /// The score of each plugin that has a weight, 0 to 100, and the weight.
    pub scores: Vec<(Plugin, u32, u32)>,
}

/// Names given as examples.
const EXAMPLES: usize = 3;

impl Scheduler {
    /// Why the pod of this uid is where it is, with the best `most` nodes. What is known now counts, not what was known
    /// when it was placed; the pod itself is thought away. `None` for a pod that is not known.
    pub fn explain(&mut self, uid: &str, most: usize) -> Option<Explanation> {
        let index = self.pods.find(uid)?;
        let state = self.pods.at(index).state;
        if state.slot().is_some() {
            self.settle(index, State::Aside);
        }
        // A pod that was found placed has never been asked what selects it.
        self.renew(index);
        let asked = self.look_up(index);
        if let Some(ask) = self.ask.as_mut().filter(|_| state.slot().is_some()) {
            self.storage.hold_made(ask);
        }
        let winner = if asked { self.survey_asked(index) } else { None };
        let pod = self.pods.get(index)?;
        let (id, class_id, scheduled, leaving) = ((*pod.id).clone(), pod.class, pod.scheduled, pod.leaving);
        let class = self.classes.get(class_id);
        let mut verdicts: Vec<Verdict> = self.scratch.verdicts.clone();
        verdicts.truncate(self.columns.slots());
        let mut explanation = Explanation {
            pod: id,
            profile: scheduled.then(|| class.profile.name.clone()),
            standing: match state {
                State::Assumed(slot) | State::Bound(slot) => Standing::On(self.columns.name(slot).into()),
                State::Gated => Standing::Gated,
                _ if leaving => Standing::Leaving,
                _ => Standing::Pending,
            },
            nodes: self.columns.count(),
            feasible: u32::try_from(verdicts.iter().filter(|v| v.fits()).count()).unwrap_or(u32::MAX),
            turned_down: self.turned_down(class_id, &verdicts),
            best: Vec::new(),
            obstacle: self
                .rejection
                .as_ref()
                .map(|why| rejected_message(self.columns.count(), why, "").trim_end().to_owned()),
        };
        if winner.is_some() {
            explanation.best = self.scored(class_id, most, state.slot());
        }
        if state.slot().is_some() {
            self.settle(index, state);
        }
        Some(explanation)
    }

    fn turned_down(&self, class: ClassId, verdicts: &[Verdict]) -> Vec<TurnedDown> {
        let demand = &self.classes.get(class).demand;
        let mut all: Vec<(Rule, TurnedDown)> = Vec::new();
        for (slot, verdict) in (0..).zip(verdicts).filter(|(_, v)| !v.fits() && v.rule() != Rule::Absent) {
            let rule = verdict.rule();
            let reasons: Vec<String> = match rule {
                Rule::Resources => resources_fit::texts(verdict.mask(), demand).collect(),
                Rule::Volumes => volume_binding::texts(verdict.mask()).collect(),
                Rule::Devices => vec![devices::ask::text(verdict.mask()).to_owned()],
                rule => vec![rule.text().to_owned()],
            };
            for reason in reasons {
                let at = all.iter().position(|(_, known)| known.reason == reason).unwrap_or_else(|| {
                    let new = TurnedDown { plugin: rule.plugin(), reason, nodes: 0, examples: Vec::new() };
                    all.push((rule, new));
                    all.len() - 1
                });
                let known = &mut all[at].1;
                known.nodes += 1;
                known.examples.push(self.columns.name(slot).into());
            }
        }
        for (_, known) in &mut all {
            known.examples.sort_unstable();
            known.examples.truncate(EXAMPLES);
        }
        all.sort_by(|(a, x), (b, y)| a.cmp(b).then_with(|| x.reason.cmp(&y.reason)));
        all.into_iter().map(|(_, known)| known).collect()
    }

    /// Every node's verdict for a pod and the feasible ones' scores, left in `scratch`; and the best. What a decision looks
    /// at without its short cuts.
    pub(super) fn survey(&mut self, index: PodIndex) -> Option<(Slot, u32)> {
        if self.look_up(index) { self.survey_asked(index) } else { None }
    }

    /// Looks up what a pod needs besides nodes; says whether any node is to be asked.
    fn look_up(&mut self, index: PodIndex) -> bool {
        (self.ask, self.rejection) = (None, None);
        self.verdicts = Verdicts::InScratch;
        let needs = self.pods.get(index).is_some_and(|pod| pod.tenant.is_some());
        let passed = !needs || self.look_up_volumes(index);
        if !passed {
            self.scratch.clear();
        }
        passed
    }

    fn survey_asked(&mut self, index: PodIndex) -> Option<(Slot, u32)> {
        let pod = self.pods.get(index)?;
        self.classes.board(pod.class, &self.columns);
        // Lent out while the rest is looked at.
        let mut scratch = std::mem::take(&mut self.scratch);
        let class = self.classes.get(pod.class);
        let towards = Towards::new(&self.neighbours, pod.passport());
        let (columns, neighbours, rules) = (&self.columns, &self.neighbours, class.wide.as_deref());
        let volumes = self.volumes();
        let decision = wide::Decision { columns, neighbours, class, rules, towards: &towards, volumes };
        decision.filter(&mut scratch);
        let rivals = self.rivals(index, pod.priority);
        if !rivals.is_empty() {
            let tables = Tables::new(columns, neighbours, class, &towards);
            let case = Case { columns, neighbours, class, passport: pod.passport(), tables: &tables, volumes };
            let bystanders = self.bystanders();
            for (slot, pods) in &rivals {
                let mut with = case.as_it_is(*slot);
                pods.iter().for_each(|pod| case.comes(*slot, &mut with, &bystanders.other(*pod)));
                let (verdict, known) = (case.verdict(*slot, &with), &mut scratch.verdicts[*slot as usize]);
                if !verdict.fits() {
                    *known = verdict;
                }
            }
        }
        let best = decision.choose(&mut scratch);
        self.scratch = scratch;
        if self.has_failed() { None } else { best }
    }

    /// The best nodes of the survey just made and, wherever it comes, the one that the pod is on.
    pub(super) fn scored(&self, class: ClassId, most: usize, here: Option<Slot>) -> Vec<Scored> {
        let class = self.classes.get(class);
        let board = class.last_board();
        let about_pods: Vec<(Slot, [i64; 3])> = self.scratch.scored().collect();
        let worst = about_pods.iter().map(|(slot, ..)| board.unwelcome(*slot)).max().unwrap_or(0);
        let dearest = about_pods.iter().map(|(slot, ..)| board.preferred(*slot)).max().unwrap_or(0);
        let mut all: Vec<(u64, Slot, Scored)> = Vec::new();
        for (slot, [spread, affinity, devices]) in about_pods {
            let as_score = |raw: i64| u32::try_from(raw).unwrap_or(0);
            let own = class.scores(&self.columns, slot, worst, dearest);
            let pods = [
                (Plugin::PodTopologySpread, as_score(spread)),
                (Plugin::InterPodAffinity, as_score(affinity)),
                (Plugin::DynamicResources, as_score(devices)),
            ];
            let scores = own.into_iter().chain(pods).map(|(plugin, score)| (plugin, score, class.weight(plugin)));
            let mut scores: Vec<_> = scores.filter(|(.., weight)| *weight > 0).collect();
            scores.sort_unstable();
            let total = scores.iter().map(|(_, score, weight)| score * weight).sum();
            let standing = self.columns.standing(slot as usize);
            let node = self.columns.name(slot).into();
            all.push((crate::tournament::key(total, standing), slot, Scored { node, total, scores }));
        }
        all.sort_unstable_by_key(|(key, slot, _)| (std::cmp::Reverse(*key), *slot));
        let shown = |(at, (_, slot, _)): &(usize, &(u64, Slot, Scored))| *at < most || Some(*slot) == here;
        all.iter().enumerate().filter(shown).map(|(_, (.., scored))| scored.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cycle::{Config, Event};
    use crate::plan::Decision;
    use crate::rows::{Amounts, Demand, Effect, Keeper, KindredRow, NodeRow, Operator, PodRow, Requirement};
    use crate::rows::{Selector, Taint};

    fn node(name: &str, cpu: i64, taints: &[&str]) -> Event {
        let taint = |key: &&str| Taint { key: (*key).into(), value: "".into(), effect: Effect::NoSchedule };
        Event::Node(Box::new(NodeRow {
            name: name.into(),
            taints: taints.iter().map(taint).collect(),
            allocatable: Amounts { cpu, memory: 1000, pods: 10, ..Amounts::default() },
            ..NodeRow::default()
        }))
    }

    fn pod(name: &str, scheduler: &str, cpu: i64) -> Event {
        Event::Pod(Box::new(PodRow {
            name: name.into(),
            uid: name.into(),
            scheduler: scheduler.into(),
            demand: Demand { requests: Amounts { cpu, ..Amounts::default() }, scored_cpu: cpu, ..Demand::default() },
            ..PodRow::default()
        }))
    }

    fn core(events: Vec<Event>) -> (Scheduler, Vec<Decision>) {
        let mut core = Scheduler::new(Config::default());
        let plan = core.step(0, events, 100);
        (core, plan.decisions)
    }

    #[test]
    fn the_best_node_and_its_scores_are_those_of_the_decision() {
        let nodes =
            vec![node("small", 100, &[]), node("mid", 1000, &[]), node("big", 4000, &[]), node("no", 9, &["t"])];
        let (mut core, decisions) = core(nodes.into_iter().chain([pod("p", "default-scheduler", 500)]).collect());
        let [Decision::Bind(placement)] = &*decisions else { panic!("{decisions:?}") };
        let answer = core.explain("p", 1).expect("known");
        assert_eq!(answer.standing, Standing::On("big".into()));
        assert_eq!((answer.nodes, answer.feasible, answer.best.len()), (4, 2, 1));
        assert_eq!((&*answer.best[0].node, answer.best[0].total), (&*placement.node, placement.score));
        let reasons: Vec<(&str, &str, u32)> =
            answer.turned_down.iter().map(|t| (t.plugin, &*t.reason, t.nodes)).collect();
        let taint = ("TaintToleration", "node(s) had untolerated taint(s)", 1);
        assert_eq!(reasons, [taint, ("NodeResourcesFit", "Insufficient cpu", 1)]);
        // Asking changes nothing.
        assert_eq!(core.explain("p", 1), Some(answer));
    }

    #[test]
    fn default_spread_counts_for_pods_that_were_found_placed() {
        let web = |name: &str, node: &str| {
            Event::Pod(Box::new(PodRow {
                name: name.into(),
                uid: name.into(),
                namespace: "d".into(),
                labels: vec![("app".into(), "web".into())],
                scheduler: "default-scheduler".into(),
                node: node.into(),
                ..PodRow::default()
            }))
        };
        let host = |name: &str| {
            let Event::Node(mut row) = node(name, 1000, &[]) else { unreachable!("a node was made") };
            row.labels = vec![("kubernetes.io/hostname".into(), name.into())];
            Event::Node(row)
        };
        let app = Requirement { key: "app".into(), operator: Operator::In, values: vec!["web".into()] };
        let service = Event::Kindred(KindredRow {
            keeper: Keeper::Service,
            namespace: "d".into(),
            name: "web".into(),
            selector: Some(Selector { requirements: vec![app] }),
        });
        let (mut core, _) = core(vec![host("a"), host("b"), web("p", "a"), web("q", "b"), service]);
        let answer = core.explain("p", 2).expect("known");
        let spread = |node: &str| {
            let scored = answer.best.iter().find(|scored| &*scored.node == node).expect("both could take it");
            scored.scores.iter().find(|(plugin, ..)| *plugin == Plugin::PodTopologySpread).map(|(_, score, _)| *score)
        };
        assert!(spread("a") > spread("b"), "q is on b: {answer:?}");
    }

    #[test]
    fn a_pod_of_another_scheduler_and_an_unknown_one_are_said_to_be() {
        let (mut core, _) = core(vec![node("n", 10, &[]), pod("p", "else", 500)]);
        let answer = core.explain("p", 3).expect("known");
        assert_eq!((answer.profile, answer.standing, answer.feasible), (None, Standing::Pending, 0));
        assert!(core.explain("q", 3).is_none());
    }
}
