//! Pods that an extender has a say in: the core finds the nodes that could take the pod and hands them out; the loop asks
//! the extenders and comes back with one of them, or with none. Meanwhile the pod is in nobody's queue, and what it is
//! given in the end is checked against the cluster as it is then.
//!
//! Only classes that interest an extender come here. At most [`CONSULTATIONS_MAX`] are under way; the rest wait their
//! turn, best first.

mod victims;

use super::Scheduler;
use crate::plan::{Consultation, Decision, Millis, Proposal, Question};
use crate::pods::{PodIndex, State};
use crate::queue::Turn;
use crate::rows::Demand;

/// Pods that extenders are asked about at a time.
pub const CONSULTATIONS_MAX: usize = 16;

/// Which pods are an extender's business.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Interest {
    /// All of them.
    Everyone,
    /// Those that ask for one of these extended resources.
    Resources(Vec<Box<str>>),
}

impl Interest {
    /// Whether a demand is its business.
    #[must_use]
    pub fn has(&self, demand: &Demand) -> bool {
        match self {
            Self::Everyone => true,
            Self::Resources(names) => demand.requests.extended.iter().any(|(name, _)| names.contains(name)),
        }
    }
}

/// What came of a consultation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Advice {
    /// This node, with this score.
    Node(Box<str>, u32),
    /// None: upstream's texts of why, with the number of nodes each turned down; together all that were asked about.
    Nowhere(Vec<(String, u32)>),
    /// Who shall leave for it.
    Victims {
        /// The nodes that the extenders leave to be freed, and of whom; or how they failed.
        proposals: Result<Vec<Proposal>, String>,
        /// What came with the question.
        turned_down: Vec<(String, u32)>,
    },
    /// The extender could not be asked, or failed.
    Failed,
}

impl Scheduler {
    /// Hands a pod's candidates out; puts it off while too many are being asked about.
    pub(super) fn consult(&mut self, index: PodIndex) -> Option<Decision> {
        if self.must_be_put_off(index) {
            return None;
        }
        self.survey(index);
        let scored = self.scored(self.pods.get(index)?.class, usize::MAX, None).into_iter();
        let candidates = scored.map(|scored| (scored.node, scored.total)).collect();
        Some(self.ask_extenders(index, Question::Node(candidates)))
    }

    /// Puts a pod off while too many are being asked about; not one that is among them.
    fn must_be_put_off(&mut self, index: PodIndex) -> bool {
        let Some(pod) = self.pods.get(index) else { return true };
        let busy = pod.state != State::Consulting && self.consulting >= CONSULTATIONS_MAX;
        if busy {
            self.put_off.push(Turn::new(pod.priority, pod.ticket, index));
        }
        busy
    }

    fn ask_extenders(&mut self, index: PodIndex, question: Question) -> Decision {
        self.move_to(index, State::Consulting);
        let class = self.classes.get(self.pods.at(index).class);
        let (profile, interests) = (class.demand.profile, class.interests);
        let pod = self.pods.at(index);
        Decision::Consult(Consultation { pod: (*pod.id).clone(), ticket: pod.ticket, profile, interests, question })
    }

    /// Brings back those who were put off, as many as may be asked about now.
    pub(super) fn recall(&mut self) {
        let mut free = CONSULTATIONS_MAX.saturating_sub(self.consulting);
        while free > 0
            && let Some(turn) = self.put_off.pop()
        {
            if self.current(turn.pod(), turn.ticket(), State::Active).is_some() {
                self.queue.activate(turn);
                free -= 1;
            }
        }
    }

    /// The extenders have answered. A node that cannot take the pod any more sends it round again.
    pub(super) fn advised(&mut self, now: Millis, uid: &str, ticket: u64, advice: Advice) -> Option<Decision> {
        let index = self.pods.find(uid)?;
        self.current(index, ticket, State::Consulting)?;
        match advice {
            Advice::Node(node, score) => {
                let slot = self.columns.find(&node);
                self.survey(index);
                let verdicts = &self.scratch.verdicts;
                let fits = slot.is_some_and(|slot| verdicts.get(slot as usize).is_some_and(|verdict| verdict.fits()));
                match slot.filter(|_| fits) {
                    Some(slot) => Some(self.place(index, slot, score)),
                    None => {
                        self.activate(index);
                        None
                    }
                }
            }
            Advice::Nowhere(reasons) => self.turned_away(now, index, reasons),
            Advice::Victims { proposals, turned_down } => self.may_free(now, index, proposals, turned_down),
            Advice::Failed => {
                self.pause(now, index);
                None
            }
        }
    }

    /// The extenders turned down all nodes that could have taken the pod: it may displace others where it fits nowhere.
    fn turned_away(&mut self, now: Millis, index: PodIndex, turned_down: Vec<(String, u32)>) -> Option<Decision> {
        if self.must_go_round_again(index, &turned_down) {
            self.activate(index);
            return None;
        }
        let attempt = self.attempt_counted(index);
        self.conclude(now, index, self.alike(index), attempt, turned_down)
    }

    /// Whether things have changed so much since the extenders were asked that the pod must go round again: more nodes
    /// could take it than they turned down, or no node is to be asked at all. Leaves the verdicts on all nodes in
    /// `scratch`.
    fn must_go_round_again(&mut self, index: PodIndex, turned_down: &[(String, u32)]) -> bool {
        self.survey(index);
        let fits = self.scratch.verdicts.iter().filter(|verdict| verdict.fits()).count();
        let asked: usize = turned_down.iter().map(|(_, nodes)| *nodes as usize).sum();
        self.rejection.is_some() || fits > asked
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cycle::{Config, Event};
    use crate::rows::{Amounts, NodeRow, PodRow};

    fn node(name: &str, cpu: i64) -> Event {
        let allocatable = Amounts { cpu, memory: 1000, pods: 100, ..Amounts::default() };
        Event::Node(Box::new(NodeRow { name: name.into(), allocatable, ..NodeRow::default() }))
    }

    fn pod(name: &str, gpus: i64) -> Event {
        let extended = if gpus > 0 { vec![("x.y/gpu".into(), gpus)] } else { vec![] };
        let requests = Amounts { cpu: 10, extended, ..Amounts::default() };
        let demand = Demand { scored_cpu: 10, requests, ..Demand::default() };
        let (name, scheduler) = (name.into(), "default-scheduler".into());
        Event::Pod(Box::new(PodRow { uid: Box::clone(&name), name, scheduler, demand, ..PodRow::default() }))
    }

    fn core(interest: Interest, events: Vec<Event>) -> (Scheduler, Vec<Decision>) {
        let mut core = Scheduler::new(Config { interests: vec![interest], ..Config::default() });
        let plan = core.step(0, events, 100);
        (core, plan.decisions)
    }

    fn question(decision: &Decision) -> Consultation {
        match decision {
            Decision::Consult(question) => question.clone(),
            other => panic!("{other:?}"),
        }
    }

    fn names(asked: &Consultation) -> Vec<&str> {
        let Question::Node(candidates) = &asked.question else { panic!("{asked:?}") };
        candidates.iter().map(|(name, _)| &**name).collect()
    }

    #[test]
    fn a_pod_goes_where_the_extender_says_or_round_again() {
        let (mut core, decisions) = core(Interest::Everyone, vec![node("a", 100), node("b", 50), pod("p", 0)]);
        let asked = question(&decisions[0]);
        assert_eq!(names(&asked), ["a", "b"]);
        // The node is gone before the answer: it is asked again.
        let advice = |asked: &Consultation, advice| Event::Advised(asked.pod.uid.clone(), asked.ticket, advice);
        let gone = Event::NodeGone("b".into());
        let plan = core.step(1, [gone, advice(&asked, Advice::Node("b".into(), 5))], 100);
        let again = question(&plan.decisions[0]);
        assert_eq!(names(&again), ["a"]);
        // An answer to the old question counts for nothing.
        assert!(core.step(2, [advice(&asked, Advice::Node("a".into(), 5))], 100).decisions.is_empty());
        let plan = core.step(3, [advice(&again, Advice::Node("a".into(), 7))], 100);
        let [Decision::Bind(placement)] = &*plan.decisions else { panic!("{plan:?}") };
        assert_eq!((&*placement.node, placement.score, placement.interests), ("a", 7, 1));
    }

    #[test]
    fn a_pod_turned_away_is_told_and_asks_again_after_a_pause() {
        let (mut core, decisions) = core(Interest::Everyone, vec![node("a", 100), node("b", 5), pod("p", 0)]);
        let asked = question(&decisions[0]);
        let nowhere = Advice::Nowhere(vec![("too hot".into(), 1)]);
        let plan = core.step(1, [Event::Advised("p".into(), asked.ticket, nowhere)], 100);
        let [Decision::Refuse(refusal)] = &*plan.decisions else { panic!("{plan:?}") };
        assert_eq!(
            &*refusal.message,
            "0/2 nodes are available: 1 Insufficient cpu, 1 too hot. no new claims to deallocate, preemption: 0/2 nodes are \
             available: 2 Preemption is not helpful for scheduling."
        );
        assert_eq!(*refusal.plugins, ["NodeResourcesFit", "Extender"]);
        assert!(core.step(500, [], 100).decisions.is_empty());
        assert!(matches!(&*core.step(1001, [], 100).decisions, [Decision::Consult(_)]));
    }

    #[test]
    fn others_are_not_asked_about_and_those_who_are_wait_their_turn() {
        let mut events = vec![node("a", 100_000), pod("plain", 0)];
        events.extend((0..40).map(|n| pod(&format!("p{n:02}"), 0)));
        let gpus = Interest::Resources(vec!["x.y/gpu".into()]);
        let (_, decisions) = core(gpus, vec![node("a", 100), pod("plain", 0)]);
        assert!(matches!(&*decisions, [Decision::Bind(_)]));

        let (mut core, decisions) = core(Interest::Everyone, events);
        let mut asked: Vec<Consultation> = decisions.iter().map(question).collect();
        assert_eq!(asked.len(), CONSULTATIONS_MAX);
        let mut bound = 0;
        while let Some(question) = asked.pop() {
            let advice = Advice::Node("a".into(), 1);
            for decision in core.step(1, [Event::Advised(question.pod.uid, question.ticket, advice)], 100).decisions {
                match decision {
                    Decision::Consult(question) => asked.push(question),
                    Decision::Bind(_) => bound += 1,
                    other => panic!("{other:?}"),
                }
            }
        }
        assert_eq!(bound, 41);
    }
}
