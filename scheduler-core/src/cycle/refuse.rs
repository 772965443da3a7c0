//! What a pod that fits nowhere is told, and where it waits.

use std::sync::Arc;

use super::{Say, Scheduler, hash};
use crate::filter::Verdict;
use crate::plan::{self, Decision, Millis, Reasons, Refusal};
use crate::pods::{PodIndex, State};
use crate::queue::{GroupId, Turn};

/// Whether a pod could displace others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Displacing {
    /// Its policy forbids it.
    Never,
    /// There is no pod of lower priority on any node.
    Nobody,
    /// There is.
    Possible,
}

impl Scheduler {
    /// Lets a pod wait for a change that helps, and says why it must.
    pub(super) fn refuse(&mut self, now: Millis, index: PodIndex, say: Say) -> Decision {
        self.move_to(index, State::Waiting);
        self.arrivals.refused += 1;
        let ticket = self.queue.ticket();
        let seen = self.seen();
        let pod = self.pods.at(index);
        pod.ticket = ticket;
        pod.kin = if say == Say::Others { hash(&(&pod.id.namespace, &pod.labels)) } else { 0 };
        let group = (pod.class, pod.kin);
        let displacing = if pod.never_preempts {
            Displacing::Never
        } else if self.placed.range(..pod.priority).next().is_some() {
            Displacing::Possible
        } else {
            Displacing::Nobody
        };
        let reasons = self.reasons(group, displacing, say);
        let profile = self.classes.get(group.0).demand.profile;
        let told = hash(&*reasons.message);
        let pod = self.pods.at(index);
        let news = pod.told != told;
        pod.told = told;
        let overdue = std::mem::take(&mut pod.overdue);
        self.queue.wait(now, group, seen, Turn::new(pod.priority, ticket, index));
        Decision::Refuse(Refusal {
            pod: pod.id.clone(),
            message: reasons.message,
            plugins: reasons.plugins,
            news,
            overdue,
            attempts: pod.attempts,
            profile,
        })
    }

    /// Why a group fits nowhere, worked out once for all its pods while nothing changes.
    fn reasons(&mut self, group: GroupId, displacing: Displacing, say: Say) -> Reasons {
        let seen = self.seen();
        if self.reasons_at != seen {
            self.reasons.clear();
            self.reasons_at = seen;
        }
        if let Some(known) = self.reasons.get(&(group, displacing)) {
            return known.clone();
        }
        let nodes = self.columns.count();
        let id = group.0;
        let demand = Arc::clone(&self.classes.get(id).demand);
        let reasons = if let Some(need) = demand.unsupported {
            Reasons { message: plan::unsupported_message(nodes, need).into(), plugins: Arc::new([]) }
        } else {
            let conflicts = self.classes.get(id).conflicts();
            let verdicts = match say {
                Say::Class => self.classes.board(id, &self.columns).verdicts(),
                Say::Terms | Say::Others => &self.scratch.verdicts,
            };
            let preemption = preemption_message(nodes, verdicts, displacing);
            Reasons {
                message: plan::message(nodes, verdicts, &demand, conflicts, &preemption).into(),
                plugins: plan::plugins(verdicts),
            }
        };
        self.reasons.insert((group, displacing), reasons.clone());
        reasons
    }
}

/// What upstream's PostFilter plugins say of a pod that fits nowhere.
fn preemption_message(nodes: u32, verdicts: &[Verdict], displacing: Displacing) -> String {
    // Dynamic resource allocation answers first, also for pods without claims.
    const CLAIMS: &str = "no new claims to deallocate";
    if nodes == 0 {
        return String::new();
    }
    if displacing == Displacing::Never {
        return format!("{CLAIMS}, preemption: not eligible due to preemptionPolicy=Never.");
    }
    let unresolvable: u32 =
        plan::count(verdicts).iter().filter(|(v, _)| v.is_unresolvable()).map(|(_, nodes)| nodes).sum();
    if displacing == Displacing::Possible && unresolvable < nodes {
        // Say what is the case rather than that there are no victims.
        return format!("{CLAIMS}, preemption: this scheduler does not displace pods.");
    }
    let mut text = format!("{CLAIMS}, preemption: 0/{nodes} nodes are available:");
    let reasons = [
        ("Preemption is not helpful for scheduling", unresolvable),
        ("No preemption victims found for incoming pod", nodes - unresolvable),
    ];
    plan::list(&mut text, reasons.into_iter().filter(|(_, n)| *n > 0).map(|(r, n)| (r.to_owned(), n)).collect());
    text
}
