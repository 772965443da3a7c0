//! The reference's preemption: every node where it could help, every pod of lower priority taken away and brought back
//! one by one, all rules asked anew each time.

use std::cmp::Reverse;

use gantry_scheduler_core::columns::tie;
use gantry_scheduler_core::profile::Plugin;
use gantry_scheduler_core::rows::{NodeRow, PodRow};

use crate::reference::{Imagined, Placed, Reference, WRONG, selects};

/// Texts of the rule that says no, and whether removing pods is of no use.
type No = (Vec<String>, bool);

impl Reference {
    /// The node that room is made on for a pod, if it is there.
    pub(crate) fn own_node(&self, pod: &PodRow) -> Option<&NodeRow> {
        self.nodes.get(self.pods.get(&*pod.uid)?.nominated.as_ref()?)
    }

    /// The filters, with and without the pods nominated to the node that are no less important.
    pub(crate) fn filter_beside_nominated(&self, pod: &PodRow, node: &NodeRow) -> Result<(), No> {
        let before = self.imagined.borrow().clone();
        for (uid, rival) in &self.pods {
            let here = rival.nominated.as_deref() == Some(&*node.name);
            if here && *uid != *pod.uid && rival.row.priority >= pod.priority {
                self.imagined.borrow_mut().come.push((uid.clone(), node.name.to_string()));
            }
        }
        let with = self.filter(pod, node);
        *self.imagined.borrow_mut() = before;
        with?;
        self.filter(pod, node)
    }

    /// Whether giving a claim back may help: one keeps the pod from a node that would do otherwise.
    fn could_release(&self, pod: &PodRow) -> bool {
        let away = |node: &&NodeRow| match self.filter_beside_nominated(pod, node) {
            Err((texts, _)) => texts[0] == "resourceclaim not available on the node",
            Ok(()) => false,
        };
        self.nodes.values().filter(away).any(|node| self.shelf.rack.can_release(pod, node))
    }

    /// How the message ends, the node to be freed and who has to go, and whether no node can be.
    pub(crate) fn displace(&self, pod: &PodRow, helpful: &[&NodeRow]) -> (String, Option<(String, Vec<String>)>, bool) {
        let all = self.nodes.len();
        let post_filters = self.profile(pod).expect("ours").post_filters;
        let asks = self.profile(pod).expect("ours").filters.has(Plugin::DynamicResources);
        // Terms that contradict each other are seen before claims are.
        let of_devices = if !asks || self.conflicts(pod) || !self.shelf.rack.has_claims(pod) {
            "no new claims to deallocate"
        } else if self.shelf.rack.stale(pod).is_some() {
            "deletion of ResourceClaim completed"
        } else if self.could_release(pod) {
            "deallocation of ResourceClaim completed"
        } else {
            "still not schedulable"
        };
        let claims = post_filters.has(Plugin::DynamicResources).then_some(of_devices);
        let end = |text: Option<String>| {
            let preemption = text.map(|text| format!("preemption: {text}"));
            let said: Vec<String> = claims.map(str::to_owned).into_iter().chain(preemption).collect();
            if all == 0 || said.is_empty() { String::new() } else { format!(" {}", said.join(", ")) }
        };
        if !post_filters.has(Plugin::DefaultPreemption) {
            return (end(None), None, false);
        }
        if self.in_gang.get() {
            return (end(Some("not tried for the pods of a gang.".into())), None, false);
        }
        if pod.never_preempts {
            return (end(Some("not eligible due to preemptionPolicy=Never.".into())), None, false);
        }
        if self.waits_for_victims(pod) {
            let text = "not eligible due to a terminating pod on the nominated node.";
            return (end(Some(text.into())), None, false);
        }
        let mut reasons: Vec<(String, usize)> = Vec::new();
        let mut say = |text: &str, nodes: usize| match reasons.iter_mut().find(|(known, _)| known == text) {
            Some((_, sum)) => *sum += nodes,
            None => reasons.push((text.into(), nodes)),
        };
        let mut candidates = Vec::new();
        let mut wrong: Vec<String> = Vec::new();
        for node in helpful {
            match self.dry_run(pod, node) {
                Ok(candidate) => candidates.push(candidate),
                Err(texts) if texts[0].starts_with(WRONG) => wrong.extend(texts),
                Err(texts) => texts.iter().for_each(|text| say(text, 1)),
            }
        }
        say("Preemption is not helpful for scheduling", all - helpful.len());
        if let Some((.., node, victims)) = candidates.into_iter().min() {
            return (String::new(), Some((node, victims)), false);
        }
        if let Some(why) = wrong.into_iter().min() {
            let text = format!(" running \"DynamicResources\" filter plugin: {}", why.trim_start_matches(WRONG));
            return (text, None, false);
        }
        let mut lines: Vec<String> =
            reasons.iter().filter(|(_, n)| *n > 0).map(|(text, nodes)| format!("{nodes} {text}")).collect();
        lines.sort();
        (end(Some(format!("0/{all} nodes are available: {}.", lines.join(", ")))), None, true)
    }

    fn waits_for_victims(&self, pod: &PodRow) -> bool {
        let Some(node) = self.own_node(pod) else { return false };
        if self.filter_beside_nominated(pod, node).is_err_and(|(_, hopeless)| hopeless) {
            return false;
        }
        let mut there = self.pods.values().filter(|p| p.node.as_deref() == Some(&*node.name));
        there.any(|p| p.row.priority < pod.priority && (p.doomed_for.is_some() || p.row.deleting && p.row.displaced))
    }

    /// What freeing a node costs, dearer later; the tie-break; the node and who has to go. Or why it cannot be freed.
    #[expect(clippy::type_complexity, reason = "a tuple that orders as upstream compares")]
    fn dry_run(
        &self,
        pod: &PodRow,
        node: &NodeRow,
    ) -> Result<((usize, i32, i64, usize, Reverse<(bool, String)>), Reverse<u64>, String, Vec<String>), Vec<String>>
    {
        let there = self.pods.iter().filter(|(_, p)| p.node.as_deref() == Some(&*node.name));
        let mut lower: Vec<(&String, &Placed)> = there.filter(|(_, p)| p.row.priority < pod.priority).collect();
        if lower.is_empty() {
            return Err(vec!["No preemption victims found for incoming pod".into()]);
        }
        let started = |p: &Placed| (p.row.started.is_empty(), p.row.started.to_string());
        lower.sort_by_key(|(uid, p)| (Reverse(p.row.priority), started(p), (*uid).clone()));
        *self.imagined.borrow_mut() =
            Imagined { gone: lower.iter().map(|(uid, _)| (*uid).clone()).collect(), come: Vec::new() };
        let fits = self.filter_beside_nominated(pod, node);
        if let Err((texts, _)) = fits {
            *self.imagined.borrow_mut() = Imagined::default();
            return Err(texts);
        }
        let breaking = self.breaking(&lower);
        let mut violations = 0;
        for wanted in [true, false] {
            for (uid, _) in lower.iter().filter(|(uid, _)| breaking.contains(uid) == wanted) {
                self.imagined.borrow_mut().gone.retain(|gone| gone != *uid);
                if self.filter_beside_nominated(pod, node).is_err() {
                    self.imagined.borrow_mut().gone.push((*uid).clone());
                    violations += usize::from(wanted);
                }
            }
        }
        let gone = std::mem::take(&mut *self.imagined.borrow_mut()).gone;
        lower.retain(|(uid, _)| gone.contains(uid));
        let highest = lower.iter().map(|(_, p)| p.row.priority).max().expect("without victims it fits not");
        let sum = lower.iter().map(|(_, p)| i64::from(p.row.priority) + (1 << 31)).sum();
        let first = lower.iter().filter(|(_, p)| p.row.priority == highest).map(|(_, p)| started(p)).min();
        let price = (violations, highest, sum, lower.len(), Reverse(first.expect("one has it")));
        let victims = lower.iter().map(|(uid, _)| (*uid).clone()).collect();
        Ok((price, Reverse(tie(self.seed, &node.name)), node.name.to_string(), victims))
    }

    /// Those of the pods that cannot go, one after another, without breaking a budget.
    fn breaking(&self, pods: &[(&String, &Placed)]) -> Vec<String> {
        let mut left: Vec<i32> = self.budgets.values().map(|b| b.allowed).collect();
        let mut breaking = Vec::new();
        for (uid, placed) in pods {
            let mut breaks = false;
            for (left, budget) in left.iter_mut().zip(self.budgets.values()) {
                let selector = budget.selector.as_ref().filter(|s| !s.requirements.is_empty());
                let protects = budget.namespace == placed.row.namespace
                    && !placed.row.labels.is_empty()
                    && selector.is_some_and(|s| selects(s, &placed.row.labels))
                    && !budget.disrupted.contains(&placed.row.name);
                if protects {
                    *left -= 1;
                    breaks |= *left < 0;
                }
            }
            if breaks {
                breaking.push((*uid).clone());
            }
        }
        breaking
    }
}
