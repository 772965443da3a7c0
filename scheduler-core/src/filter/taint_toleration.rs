//! TaintToleration: taints keep out pods that do not tolerate them.
//!
//! Nodes with equal taints share a taint list, so a class answers once per list, not once per node.

use super::node_unschedulable;
use crate::columns::TaintSetId;
use crate::rows::{Demand, Effect, Taint, Toleration};

/// A class's answers to all taint lists seen so far.
#[derive(Debug)]
pub struct TaintToleration {
    tolerations: Box<[Toleration]>,
    tolerates_cordon: bool,
    answers: Vec<Answer>,
}

#[derive(Clone, Copy, Debug)]
struct Answer {
    keeps_out: bool,
    unwelcome: u16,
}

impl TaintToleration {
    /// The tolerations of a demand; no answers yet.
    #[must_use]
    pub fn new(demand: &Demand) -> Self {
        let cordon = Taint { key: node_unschedulable::TAINT.into(), value: "".into(), effect: Effect::NoSchedule };
        Self {
            tolerates_cordon: demand.tolerations.iter().any(|t| t.tolerates(&cordon)),
            tolerations: demand.tolerations.clone().into(),
            answers: Vec::new(),
        }
    }

    /// Answers the lists that are new since the last time. Must be called before the others with the same lists.
    pub fn learn(&mut self, lists: &[Vec<Taint>]) {
        for list in &lists[self.answers.len().min(lists.len())..] {
            self.answers.push(self.answer(list));
        }
    }

    fn answer(&self, taints: &[Taint]) -> Answer {
        let keeps_out = taints
            .iter()
            .filter(|t| t.effect != Effect::PreferNoSchedule)
            .any(|taint| !self.tolerations.iter().any(|t| t.tolerates(taint)));
        // Only tolerations of this effect, or of any, count here; `tolerates` compares effects already.
        let unwelcome = taints
            .iter()
            .filter(|t| t.effect == Effect::PreferNoSchedule)
            .filter(|taint| !self.tolerations.iter().any(|t| t.tolerates(taint)))
            .count();
        Answer { keeps_out, unwelcome: u16::try_from(unwelcome).unwrap_or(u16::MAX) }
    }

    /// Whether a `NoSchedule` or `NoExecute` taint of the list is not tolerated.
    #[inline]
    #[must_use]
    pub fn keeps_out(&self, list: TaintSetId) -> bool {
        self.answers[list as usize].keeps_out
    }

    /// How many `PreferNoSchedule` taints of the list are not tolerated: what the score looks at.
    #[inline]
    #[must_use]
    pub fn unwelcome(&self, list: TaintSetId) -> u16 {
        self.answers[list as usize].unwelcome
    }

    /// Whether the class may run on cordoned nodes.
    #[inline]
    #[must_use]
    pub fn tolerates_cordon(&self) -> bool {
        self.tolerates_cordon
    }
}

impl Toleration {
    /// Whether it tolerates a taint (`Toleration.ToleratesTaint`).
    #[must_use]
    pub fn tolerates(&self, taint: &Taint) -> bool {
        self.effect.is_none_or(|e| e == taint.effect)
            && (self.key.is_empty() || self.key == taint.key)
            && (self.exists || self.value == taint.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taint(key: &str, value: &str, effect: Effect) -> Taint {
        Taint { key: key.into(), value: value.into(), effect }
    }

    #[test]
    fn tolerations_tolerate_as_upstream_says() {
        let exists_all = Toleration { exists: true, ..Toleration::default() };
        let key = Toleration { key: "k".into(), exists: true, ..Toleration::default() };
        let value = Toleration { key: "k".into(), value: "v".into(), ..Toleration::default() };
        let effect = Toleration { effect: Some(Effect::NoExecute), ..key.clone() };
        let tainted = taint("k", "v", Effect::NoSchedule);
        assert!(exists_all.tolerates(&tainted) && key.tolerates(&tainted) && value.tolerates(&tainted));
        assert!(!effect.tolerates(&tainted));
        assert!(!value.tolerates(&taint("k", "w", Effect::NoSchedule)));
        assert!(!key.tolerates(&taint("l", "v", Effect::NoSchedule)));
    }

    #[test]
    fn answers_grow_with_the_lists() {
        let demand = Demand {
            tolerations: vec![Toleration { key: "ok".into(), exists: true, ..Toleration::default() }],
            ..Demand::default()
        };
        let mut rule = TaintToleration::new(&demand);
        let mut lists = vec![vec![], vec![taint("no", "", Effect::NoSchedule)]];
        rule.learn(&lists);
        lists.push(vec![taint("ok", "", Effect::NoExecute), taint("meh", "", Effect::PreferNoSchedule)]);
        rule.learn(&lists);
        assert_eq!([0, 1, 2].map(|l| rule.keeps_out(l)), [false, true, false]);
        assert_eq!(rule.unwelcome(2), 1);
        assert!(!rule.tolerates_cordon());
    }
}
