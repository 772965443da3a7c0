//! PodDisruptionBudgets: which of a node's pods could not go without breaking one.

use ahash::RandomState;
use hashbrown::HashMap;

use crate::intern::fixed_hasher;
use crate::plan::PodId;
use crate::rows::BudgetRow;

/// All budgets, by namespace.
#[derive(Debug)]
pub struct Budgets {
    by_namespace: HashMap<Box<str>, Vec<BudgetRow>, RandomState>,
}

impl Default for Budgets {
    fn default() -> Self {
        Self { by_namespace: HashMap::with_hasher(fixed_hasher()) }
    }
}

impl Budgets {
    /// A budget as it is now.
    pub fn set(&mut self, row: BudgetRow) {
        let all = self.by_namespace.entry(row.namespace.clone()).or_default();
        match all.iter_mut().find(|known| known.name == row.name) {
            Some(known) => *known = row,
            None => all.push(row),
        }
    }

    /// A budget is gone.
    pub fn remove(&mut self, namespace: &str, name: &str) {
        if let Some(all) = self.by_namespace.get_mut(namespace) {
            all.retain(|row| *row.name != *name);
            if all.is_empty() {
                self.by_namespace.remove(namespace);
            }
        }
    }

    /// These are all there are.
    pub fn replace(&mut self, rows: Vec<BudgetRow>) {
        self.by_namespace.clear();
        rows.into_iter().for_each(|row| self.set(row));
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_namespace.is_empty()
    }

    /// Counts what the going of one pod after another would take from the budgets.
    #[must_use]
    pub fn toll(&self) -> Toll<'_> {
        Toll { budgets: self, taken: Vec::new() }
    }
}

/// What has been taken from the budgets in one line of thought.
#[derive(Debug)]
pub struct Toll<'a> {
    budgets: &'a Budgets,
    taken: Vec<(&'a BudgetRow, i32)>,
}

impl Toll<'_> {
    /// A pod goes; says whether that breaks a budget.
    pub fn take(&mut self, pod: &PodId, labels: &[(Box<str>, Box<str>)]) -> bool {
        let Some(all) = self.budgets.by_namespace.get(&pod.namespace) else { return false };
        let mut breaks = false;
        if labels.is_empty() {
            return false;
        }
        for row in all {
            let protects = row.selector.as_ref().is_some_and(|s| !s.requirements.is_empty() && s.matches(labels));
            if !protects || row.disrupted.contains(&pod.name) {
                continue;
            }
            let at = self.taken.iter().position(|(known, _)| std::ptr::eq(*known, row)).unwrap_or_else(|| {
                self.taken.push((row, 0));
                self.taken.len() - 1
            });
            self.taken[at].1 += 1;
            breaks |= self.taken[at].1 > row.allowed;
        }
        breaks
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::{Operator, Requirement, Selector};

    #[test]
    fn pods_beyond_what_is_allowed_break_a_budget() {
        let app = Requirement { key: "app".into(), operator: Operator::In, values: vec!["web".into()] };
        let row = BudgetRow {
            namespace: "d".into(),
            name: "b".into(),
            selector: Some(Selector { requirements: vec![app] }),
            allowed: 1,
            disrupted: vec!["gone".into()],
        };
        let mut budgets = Budgets::default();
        budgets.set(row.clone());
        budgets.set(BudgetRow { name: "all".into(), selector: Some(Selector::default()), allowed: 0, ..row.clone() });
        let id =
            |namespace: &str, name: &str| PodId { namespace: namespace.into(), name: name.into(), uid: name.into() };
        let web: Vec<(Box<str>, Box<str>)> = vec![("app".into(), "web".into())];
        let mut toll = budgets.toll();
        let breaks = [("d", "gone"), ("d", "a"), ("e", "b"), ("d", "c")].map(|(ns, n)| toll.take(&id(ns, n), &web));
        assert_eq!(breaks, [false, false, false, true]);
        assert!(!budgets.toll().take(&id("d", "x"), &[]));
        budgets.replace(vec![row]);
        budgets.remove("d", "b");
        assert!(budgets.is_empty());
    }
}
