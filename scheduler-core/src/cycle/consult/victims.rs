//! Extenders with a say in preemption: who could leave for a pod is handed out before anybody is displaced, and the
//! extenders come back with fewer nodes, or with other victims on them (upstream's `ProcessPreemption`).
//!
//! What they leave is checked against the cluster as it is then: the nodes must still be full and the victims still there.
//! That their going makes enough room is taken from the extenders, as upstream does: they may know of room that the core
//! does not count.

use crate::columns::Slot;
use crate::cycle::Scheduler;
use crate::cycle::displace::{Attempt, Tried};
use crate::plan::{Decision, Millis, Proposal, Question};
use crate::pods::PodIndex;
use crate::preempt::Candidate;

impl Scheduler {
    /// Whether extenders have a say in who is displaced for a pod.
    pub(in crate::cycle) fn extenders_choose(&self, index: PodIndex) -> bool {
        self.pods.get(index).is_some_and(|pod| self.classes.get(pod.class).interests & self.config.preempting != 0)
    }

    /// Hands out the nodes that could be freed for a pod, the cheapest first; puts it off while too many are being asked
    /// about. `turned_down` is why extenders turned down the nodes that could have taken it as they are.
    pub(in crate::cycle) fn consult_about_victims(
        &mut self,
        index: PodIndex,
        candidates: &[Candidate],
        turned_down: Vec<(String, u32)>,
    ) -> Option<Decision> {
        if self.must_be_put_off(index) {
            return None;
        }
        let most = self.proposals_max(index);
        let proposals = candidates.iter().take(most).map(|candidate| self.proposal(candidate)).collect();
        // A pod that was asked about already gets another ticket: the old answer is no answer to this.
        let ticket = self.queue.ticket();
        self.pods.at(index).ticket = ticket;
        Some(self.ask_extenders(index, Question::Victims { proposals, turned_down }))
    }

    /// How many nodes are proposed: upstream stops its dry runs at as many candidates (`GetOffsetAndNumCandidates`), so
    /// extenders never hear of more. Here they are the cheapest of all.
    fn proposals_max(&self, index: PodIndex) -> usize {
        let Some(pod) = self.pods.get(index) else { return 0 };
        let profile = &self.classes.get(pod.class).profile;
        let share = u64::from(self.columns.count()) * u64::from(profile.min_candidate_nodes_percentage) / 100;
        usize::try_from(share.max(u64::from(profile.min_candidate_nodes_absolute))).unwrap_or(usize::MAX)
    }

    fn proposal(&self, candidate: &Candidate) -> Proposal {
        let victims = candidate.victims.iter().filter_map(|victim| self.pods.get(*victim));
        Proposal {
            node: self.columns.name(candidate.slot).into(),
            victims: victims.map(|pod| (*pod.id).clone()).collect(),
            violations: candidate.price.violations,
        }
    }

    /// The extenders leave these nodes: the cheapest is freed. Where things have changed meanwhile the pod goes round
    /// again; where the extenders failed it is told so.
    pub(super) fn may_free(
        &mut self,
        now: Millis,
        index: PodIndex,
        proposals: Result<Vec<Proposal>, String>,
        turned_down: Vec<(String, u32)>,
    ) -> Option<Decision> {
        if self.must_go_round_again(index, &turned_down) || self.pods.at(index).never_preempts {
            self.activate(index);
            return None;
        }
        let attempt = match proposals {
            Err(failure) => Attempt::Declined(Tried { failure: Some(failure), ..Tried::default() }),
            Ok(proposals) if proposals.is_empty() => Attempt::Declined(Tried::default()),
            Ok(proposals) => {
                let candidates = proposals.iter().filter_map(|proposal| self.still_stands(index, proposal));
                let Some(cheapest) = candidates.min_by_key(|candidate| self.cost(candidate)) else {
                    self.activate(index);
                    return None;
                };
                Attempt::Candidate(cheapest)
            }
        };
        self.conclude(now, index, self.alike(index), attempt, turned_down)
    }

    /// The candidate that a proposal comes to by the verdicts in `scratch`: `None` when the node is gone, or no pods have
    /// to leave it, or could help by leaving; or when one of the victims is gone, or no longer less important.
    fn still_stands(&self, index: PodIndex, proposal: &Proposal) -> Option<Candidate> {
        let slot: Slot = self.columns.find(&proposal.node)?;
        let verdict = self.scratch.verdicts.get(slot as usize)?;
        if verdict.fits() || verdict.is_unresolvable() {
            return None;
        }
        let victims: Vec<PodIndex> =
            proposal.victims.iter().map(|victim| self.pods.find(&victim.uid)).collect::<Option<_>>()?;
        let priority = self.pods.get(index)?.priority;
        self.bystanders().proposed(slot, priority, &victims, proposal.violations)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cycle::consult::{Advice, CONSULTATIONS_MAX, Interest};
    use crate::cycle::{Config, Event};
    use crate::plan::{Consultation, Preemption, Refusal};
    use crate::rows::{Amounts, Demand, NodeRow, PodAffinity, PodRow, PodTerm};

    fn node(name: &str) -> Event {
        let allocatable = Amounts { cpu: 100, memory: 1000, pods: 100, ..Amounts::default() };
        Event::Node(Box::new(NodeRow { name: name.into(), allocatable, ..NodeRow::default() }))
    }

    fn row(name: &str, priority: i32, cpu: i64) -> PodRow {
        let requests = Amounts { cpu, ..Amounts::default() };
        let demand = Demand { scored_cpu: cpu, requests, ..Demand::default() };
        let (name, scheduler) = (name.into(), "default-scheduler".into());
        PodRow { uid: Box::clone(&name), name, scheduler, priority, demand, ..PodRow::default() }
    }

    /// A pod that waits for a node.
    fn pod(name: &str, priority: i32) -> Event {
        Event::Pod(Box::new(row(name, priority, 80)))
    }

    /// A pod that runs.
    fn sits(name: &str, priority: i32, cpu: i64, node: &str) -> Event {
        Event::Pod(Box::new(PodRow { node: node.into(), ..row(name, priority, cpu) }))
    }

    /// A core whose only extender has a say in preemption, and what it starts with.
    fn started(events: impl IntoIterator<Item = Event>) -> Scheduler {
        let config = Config { interests: vec![Interest::Everyone], preempting: 1, ..Config::default() };
        let mut core = Scheduler::new(config);
        core.step(0, events, 100);
        core
    }

    /// Two full nodes, `a` the cheaper to free.
    fn full() -> Vec<Event> {
        vec![node("a"), node("b"), sits("low-a", 1, 50, "a"), sits("low-b", 2, 30, "b"), sits("lower-b", 1, 30, "b")]
    }

    fn asked(decisions: &[Decision]) -> Consultation {
        let [Decision::Consult(consultation)] = decisions else { panic!("{decisions:?}") };
        consultation.clone()
    }

    /// What is proposed, as texts.
    fn proposed(asked: &Consultation) -> Vec<(&str, Vec<&str>, u32)> {
        let Question::Victims { proposals, .. } = &asked.question else { panic!("{asked:?}") };
        proposals.iter().map(|p| (&*p.node, p.victims.iter().map(|v| &*v.uid).collect(), p.violations)).collect()
    }

    /// The answer that leaves the proposals for these nodes.
    fn left(asked: &Consultation, nodes: &[&str]) -> Event {
        let Question::Victims { mut proposals, turned_down } = asked.question.clone() else { panic!("{asked:?}") };
        proposals.retain(|proposal| nodes.contains(&&*proposal.node));
        Event::Advised(asked.pod.uid.clone(), asked.ticket, Advice::Victims { proposals: Ok(proposals), turned_down })
    }

    fn nowhere(asked: &Consultation, nodes: u32) -> Event {
        let advice = Advice::Nowhere(vec![("too hot".into(), nodes)]);
        Event::Advised(asked.pod.uid.clone(), asked.ticket, advice)
    }

    fn refused(decisions: &[Decision]) -> &Refusal {
        let [Decision::Refuse(refusal)] = decisions else { panic!("{decisions:?}") };
        refusal
    }

    /// The node that is freed, and of whom.
    fn freed(decisions: &[Decision]) -> (&str, Vec<&str>) {
        let Some(Preemption { node, victims, .. }) = &refused(decisions).preemption else { panic!("{decisions:?}") };
        (node, victims.iter().map(|victim| &*victim.pod.uid).collect())
    }

    #[test]
    fn the_extenders_choose_among_all_candidates() {
        let mut core = started(full());
        let question = asked(&core.step(1, [pod("p", 5)], 100).decisions);
        assert_eq!(proposed(&question), [("a", vec!["low-a"], 0), ("b", vec!["low-b", "lower-b"], 0)]);
        assert_eq!((question.interests, &*question.pod.uid), (1, "p"));
        let plan = core.step(2, [left(&question, &["b"])], 100);
        assert_eq!(freed(&plan.decisions), ("b", vec!["low-b", "lower-b"]));
        let refusal = refused(&plan.decisions);
        assert_eq!(refusal.nomination, Some(crate::plan::Nomination::Node("b".into())));
        assert_eq!(&*refusal.message, "0/2 nodes are available: 2 Insufficient cpu.");
        // Nobody is asked to go twice, and the room is the pod's once it is free.
        assert!(core.step(3, [left(&question, &["a"])], 100).decisions.is_empty());
        let gone = ["low-b", "lower-b"].map(|uid| Event::PodGone(uid.into()));
        let Question::Node(nodes) = asked(&core.step(4, gone, 100).decisions).question else { panic!("nodes") };
        assert_eq!(nodes.iter().map(|(name, _)| &**name).collect::<Vec<_>>(), ["b"]);
    }

    #[test]
    fn the_cheapest_by_the_extenders_own_count_is_freed_of_whom_they_say() {
        let mut core = started(full());
        let question = asked(&core.step(1, [pod("p", 5)], 100).decisions);
        let Question::Victims { mut proposals, turned_down } = question.question else { panic!("{question:?}") };
        proposals[0].violations = 1;
        proposals[1].victims.remove(0);
        let advice = Advice::Victims { proposals: Ok(proposals), turned_down };
        let plan = core.step(2, [Event::Advised("p".into(), question.ticket, advice)], 100);
        assert_eq!(freed(&plan.decisions), ("b", vec!["lower-b"]));
    }

    #[test]
    fn what_has_changed_before_the_answer_sends_the_pod_round_again() {
        let changes = [
            // A victim is gone: the node has room.
            Event::PodGone("low-a".into()),
            // It has become too important.
            sits("low-a", 7, 50, "a"),
            // The node is gone.
            Event::NodeGone("a".into()),
        ];
        for change in changes {
            let mut core = started(full());
            let question = asked(&core.step(1, [pod("p", 5)], 100).decisions);
            let again = asked(&core.step(2, [change, left(&question, &["a"])], 100).decisions);
            match &again.question {
                Question::Node(nodes) => assert_eq!(&*nodes[0].0, "a"),
                Question::Victims { .. } => assert_eq!(proposed(&again), [("b", vec!["low-b", "lower-b"], 0)]),
            }
            // The old question's answer counts for nothing.
            assert!(core.step(3, [left(&question, &["b"])], 100).decisions.is_empty());
        }
        // Of several victims, one is gone, and still there is no room.
        let mut core = started([node("b"), sits("low", 2, 60, "b"), sits("lower", 1, 30, "b")]);
        let question = asked(&core.step(1, [pod("p", 5)], 100).decisions);
        assert_eq!(proposed(&question), [("b", vec!["low", "lower"], 0)]);
        let events = [Event::PodGone("lower".into()), left(&question, &["b"])];
        assert_eq!(proposed(&asked(&core.step(2, events, 100).decisions)), [("b", vec!["low"], 0)]);
    }

    #[test]
    fn a_pod_that_the_extenders_leave_no_node_is_told_and_asks_again_after_a_pause() {
        let mut core = started(full());
        let question = asked(&core.step(1, [pod("p", 5)], 100).decisions);
        let plan = core.step(2, [left(&question, &[])], 100);
        let refusal = refused(&plan.decisions);
        assert_eq!((&refusal.preemption, &refusal.nomination), (&None, &None));
        assert_eq!(
            &*refusal.message,
            "0/2 nodes are available: 2 Insufficient cpu. no new claims to deallocate, preemption: no candidate node for \
             preemption"
        );
        assert!(core.step(500, [], 100).decisions.is_empty());
        assert_eq!(proposed(&asked(&core.step(1002, [], 100).decisions)).len(), 2);
        // An extender that failed is asked again, too; the pod hears of it, and nobody else hears the same.
        let mut core = started(full());
        let question = asked(&core.step(1, [pod("p", 5)], 100).decisions);
        let failed = Advice::Victims { proposals: Err("code 500".into()), turned_down: Vec::new() };
        let plan = core.step(2, [Event::Advised("p".into(), question.ticket, failed)], 100);
        let message = "0/2 nodes are available: 2 Insufficient cpu. preemption: code 500";
        assert_eq!(&*refused(&plan.decisions).message, message);
        assert_eq!(proposed(&asked(&core.step(1002, [], 100).decisions)).len(), 2);
    }

    #[test]
    fn nobody_is_asked_who_may_not_or_need_not_displace_anybody() {
        let mut core = started(full());
        let never = PodRow { never_preempts: true, ..row("never", 5, 80) };
        let plan = core.step(1, [Event::Pod(Box::new(never))], 100);
        assert!(refused(&plan.decisions).message.ends_with("not eligible due to preemptionPolicy=Never."));
        let plan = core.step(2, [pod("lowest", 0)], 100);
        assert!(refused(&plan.decisions).message.ends_with("2 No preemption victims found for incoming pod."));
    }

    #[test]
    fn extenders_without_a_say_are_not_asked() {
        for (preempting, interest) in [(0, Interest::Everyone), (1, Interest::Resources(vec!["x.y/gpu".into()]))] {
            let config = Config { interests: vec![interest], preempting, ..Config::default() };
            let mut core = Scheduler::new(config);
            core.step(0, full(), 100);
            let plan = core.step(1, [pod("p", 5)], 100);
            assert_eq!(freed(&plan.decisions), ("a", vec!["low-a"]));
        }
    }

    #[test]
    fn extenders_that_leave_everything_change_nothing() {
        let mut state = 7u64;
        let mut random = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        for _ in 0..50 {
            let mut events: Vec<Event> = (0..8).map(|n| node(&format!("n{n}"))).collect();
            for place in 0..32 {
                let priority = i32::try_from(random(4)).expect("small");
                let cpu = i64::try_from(5 + random(20)).expect("small");
                events.push(sits(&format!("s{place}"), priority, cpu, &format!("n{}", place % 8)));
            }
            let mut alone = Scheduler::new(Config::default());
            alone.step(0, events.clone(), 100);
            let plan = alone.step(1, [pod("p", 3)], 100);
            let mut asking = started(events);
            let question = asked(&asking.step(1, [pod("p", 3)], 100).decisions);
            let Question::Victims { proposals, .. } = &question.question else {
                assert!(matches!(&*plan.decisions, [Decision::Bind(_)]));
                continue;
            };
            let nodes: Vec<&str> = proposals.iter().map(|proposal| &*proposal.node).collect();
            let answered = asking.step(2, [left(&question, &nodes)], 100);
            assert_eq!(answered.decisions, plan.decisions);
        }
    }

    #[test]
    fn a_pod_turned_away_displaces_others_where_it_fits_nowhere() {
        let config = Config { interests: vec![Interest::Everyone], ..Config::default() };
        let mut core = Scheduler::new(config);
        core.step(0, full().into_iter().chain([node("free")]), 100);
        let question = asked(&core.step(1, [pod("p", 5)], 100).decisions);
        let plan = core.step(2, [nowhere(&question, 1)], 100);
        assert_eq!(freed(&plan.decisions), ("a", vec!["low-a"]));
        assert_eq!(&*refused(&plan.decisions).message, "0/3 nodes are available: 1 too hot, 2 Insufficient cpu.");
        // It waits for that room rather than asking about the node that it was turned away from.
        assert!(core.step(60_000, [], 100).decisions.is_empty());
        let question = asked(&core.step(60_001, [Event::PodGone("low-a".into())], 100).decisions);
        let Question::Node(nodes) = question.question else { panic!("{question:?}") };
        assert_eq!(nodes.len(), 2);
    }

    #[test]
    fn a_pod_turned_away_asks_the_extenders_about_victims_too() {
        let mut core = started(full().into_iter().chain([node("free")]));
        let first = asked(&core.step(1, [pod("p", 5)], 100).decisions);
        let second = asked(&core.step(2, [nowhere(&first, 1)], 100).decisions);
        assert_eq!(proposed(&second), [("a", vec!["low-a"], 0), ("b", vec!["low-b", "lower-b"], 0)]);
        // The first question is answered already.
        assert!(core.step(3, [nowhere(&first, 1)], 100).decisions.is_empty());
        let plan = core.step(4, [left(&second, &["b"])], 100);
        assert_eq!(freed(&plan.decisions), ("b", vec!["low-b", "lower-b"]));
        assert_eq!(&*refused(&plan.decisions).message, "0/3 nodes are available: 1 too hot, 2 Insufficient cpu.");
    }

    #[test]
    fn a_node_that_came_before_the_answer_is_asked_about_first() {
        let mut core = started(full().into_iter().chain([node("free")]));
        let first = asked(&core.step(1, [pod("p", 5)], 100).decisions);
        let second = asked(&core.step(2, [nowhere(&first, 1)], 100).decisions);
        let third = asked(&core.step(3, [node("new"), left(&second, &["a"])], 100).decisions);
        let Question::Node(nodes) = &third.question else { panic!("{third:?}") };
        assert_eq!(nodes.len(), 2);
        // Likewise while they were asked about nodes.
        let fourth = asked(&core.step(4, [node("newer"), nowhere(&third, 2)], 100).decisions);
        let Question::Node(nodes) = &fourth.question else { panic!("{fourth:?}") };
        assert_eq!(nodes.len(), 3);
    }

    #[test]
    fn no_more_pods_are_asked_about_than_at_once_and_the_rest_wait_their_turn() {
        let places = (0..40).flat_map(|n| {
            let name = format!("n{n:02}");
            [node(&name), sits(&format!("low-{n:02}"), 1, 50, &name)]
        });
        let mut core = started(places);
        let plan = core.step(1, (0..40).map(|n| pod(&format!("p{n:02}"), 5)), 100);
        assert_eq!(plan.decisions.len(), CONSULTATIONS_MAX);
        let mut open = plan.decisions;
        let mut freed = 0;
        while let Some(decision) = open.pop() {
            let question = asked(&[decision]);
            let node = proposed(&question)[0].0.to_owned();
            for decision in core.step(2, [left(&question, &[&node])], 100).decisions {
                match decision {
                    Decision::Consult(_) => open.push(decision),
                    Decision::Refuse(refusal) => freed += u32::from(refusal.preemption.is_some()),
                    other => panic!("{other:?}"),
                }
            }
        }
        assert_eq!(freed, 40);
    }

    #[test]
    fn as_many_nodes_are_proposed_as_upstream_would_try() {
        let places = (0..150).flat_map(|n| {
            let name = format!("n{n:03}");
            [node(&name), sits(&format!("low-{n:03}"), 150 - n, 50, &name)]
        });
        let mut core = started(places);
        let question = asked(&core.step(1, [pod("p", 1000)], 100).decisions);
        let proposed = proposed(&question);
        assert_eq!((proposed.len(), proposed[0].0, proposed[99].0), (100, "n149", "n050"));
    }

    #[test]
    fn a_pod_that_waits_is_woken_when_it_could_displace_somebody() {
        let alone = PodAffinity { forbidden: vec![PodTerm::default()], ..PodAffinity::default() };
        // Pods with terms about others are looked at one by one.
        for (pods, own) in [(None, None), (Some(Box::new(alone)), Some(Box::default()))] {
            let mut core = started([node("a"), sits("high", 9, 50, "a")]);
            let mut waits = row("p", 5, 80);
            waits.demand = Demand { pods, own, ..waits.demand };
            let plan = core.step(1, [Event::Pod(Box::new(waits))], 100);
            assert!(refused(&plan.decisions).preemption.is_none());
            let question = asked(&core.step(2, [node("b"), sits("low", 1, 50, "b")], 100).decisions);
            assert_eq!(proposed(&question), [("b", vec!["low"], 0)]);
        }
    }
}
