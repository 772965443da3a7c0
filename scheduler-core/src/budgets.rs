//! PodDisruptionBudgets: which of a node's pods could not go without breaking one, and on which nodes the pods of a budget
//! are: there dry runs come out differently when it changes.

use ahash::RandomState;
use hashbrown::HashMap;

use crate::columns::{Change, Journal, Slot};
use crate::intern::fixed_hasher;
use crate::neighbours::Passport;
use crate::plan::PodId;
use crate::rows::BudgetRow;

/// Nodes that budgets changed for, kept for those who keep dry runs; who falls behind makes them anew.
const TOUCHED_MAX: usize = 1 << 16;

/// All budgets, by namespace.
#[derive(Debug)]
pub struct Budgets {
    by_namespace: HashMap<Box<str>, Vec<Budget>, RandomState>,
    /// Where a budget has changed that protects somebody.
    pub touched: Journal,
}

#[derive(Debug)]
struct Budget {
    row: BudgetRow,
    /// How many pods on each node it protects.
    on: HashMap<Slot, u32, RandomState>,
}

impl Budget {
    /// A budget, with the pods that are on nodes.
    fn new<'a>(row: BudgetRow, placed: impl Iterator<Item = (Slot, Passport<'a>)>) -> Self {
        let mut budget = Self { row, on: HashMap::with_hasher(fixed_hasher()) };
        for (slot, passport) in placed {
            if *passport.namespace == *budget.row.namespace {
                budget.moved(slot, passport.labels, true);
            }
        }
        budget
    }

    /// A pod of its namespace enters a node or leaves it.
    fn moved(&mut self, slot: Slot, labels: &[(Box<str>, Box<str>)], enters: bool) {
        if !protects(&self.row, labels) {
            return;
        }
        let count = self.on.entry(slot).or_default();
        *count = count.wrapping_add_signed(if enters { 1 } else { -1 });
        if *count == 0 {
            self.on.remove(&slot);
        }
    }
}

/// Whether a budget protects pods with such labels; one without a selector, or with an empty one, protects nobody here,
/// nor is anybody protected without labels, as upstream has it.
fn protects(row: &BudgetRow, labels: &[(Box<str>, Box<str>)]) -> bool {
    !labels.is_empty() && row.selector.as_ref().is_some_and(|s| !s.requirements.is_empty() && s.matches(labels))
}

impl Default for Budgets {
    fn default() -> Self {
        Self { by_namespace: HashMap::with_hasher(fixed_hasher()), touched: Journal::default() }
    }
}

impl Budgets {
    /// A budget as it is now; `placed` are the pods on nodes.
    pub fn set<'a, P: Iterator<Item = (Slot, Passport<'a>)>>(&mut self, row: BudgetRow, placed: impl FnOnce() -> P) {
        let all = self.by_namespace.entry(row.namespace.clone()).or_default();
        let at = all.iter().position(|known| known.row.name == row.name);
        let now = match at {
            // What it allows changes with every pod that goes; whom it protects, hardly ever.
            Some(at) if all[at].row.selector == row.selector => {
                all[at].row = row;
                at
            }
            Some(at) => {
                let before = std::mem::replace(&mut all[at], Budget::new(row, placed()));
                touch(&mut self.touched, &before);
                at
            }
            None => {
                all.push(Budget::new(row, placed()));
                all.len() - 1
            }
        };
        touch(&mut self.touched, &all[now]);
    }

    /// A budget is gone.
    pub fn remove(&mut self, namespace: &str, name: &str) {
        let Some(all) = self.by_namespace.get_mut(namespace) else { return };
        if let Some(at) = all.iter().position(|known| *known.row.name == *name) {
            touch(&mut self.touched, &all.remove(at));
        }
        if all.is_empty() {
            self.by_namespace.remove(namespace);
        }
    }

    /// These are all there are.
    pub fn replace<'a, P: Iterator<Item = (Slot, Passport<'a>)>>(
        &mut self,
        rows: Vec<BudgetRow>,
        placed: impl Fn() -> P,
    ) {
        let is = |row: &BudgetRow, known: &BudgetRow| row.namespace == known.namespace && row.name == known.name;
        let known = self.by_namespace.values().flatten().map(|budget| &budget.row);
        let gone = known.filter(|known| !rows.iter().any(|row| is(row, known)));
        let gone: Vec<(Box<str>, Box<str>)> = gone.map(|row| (row.namespace.clone(), row.name.clone())).collect();
        gone.iter().for_each(|(namespace, name)| self.remove(namespace, name));
        rows.into_iter().for_each(|row| self.set(row, &placed));
    }

    /// A pod enters a node or leaves it.
    pub fn moved(&mut self, slot: Slot, passport: Passport<'_>, enters: bool) {
        if self.by_namespace.is_empty() {
            return;
        }
        let all = self.by_namespace.get_mut(passport.namespace).into_iter().flatten();
        all.for_each(|budget| budget.moved(slot, passport.labels, enters));
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

fn touch(touched: &mut Journal, budget: &Budget) {
    for slot in budget.on.keys() {
        touched.push(*slot, Change::Usage, TOUCHED_MAX);
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
        for Budget { row, .. } in all {
            if !protects(row, labels) || row.disrupted.contains(&pod.name) {
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

    fn nobody() -> std::iter::Empty<(Slot, Passport<'static>)> {
        std::iter::empty()
    }

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
        budgets.set(row.clone(), nobody);
        budgets.set(
            BudgetRow { name: "all".into(), selector: Some(Selector::default()), allowed: 0, ..row.clone() },
            nobody,
        );
        let id =
            |namespace: &str, name: &str| PodId { namespace: namespace.into(), name: name.into(), uid: name.into() };
        let web: Vec<(Box<str>, Box<str>)> = vec![("app".into(), "web".into())];
        let mut toll = budgets.toll();
        let breaks = [("d", "gone"), ("d", "a"), ("e", "b"), ("d", "c")].map(|(ns, n)| toll.take(&id(ns, n), &web));
        assert_eq!(breaks, [false, false, false, true]);
        assert!(!budgets.toll().take(&id("d", "x"), &[]));
        budgets.replace(vec![row], nobody);
        budgets.remove("d", "b");
        assert!(budgets.is_empty());
    }

    #[test]
    fn nodes_with_protected_pods_are_told_of_whatever_changes_the_budget() {
        let web: Vec<(Box<str>, Box<str>)> = vec![("app".into(), "web".into())];
        let passport = |namespace, labels| Passport { namespace, labels, leaving: false };
        let app = |value: &str| {
            let app = Requirement { key: "app".into(), operator: Operator::In, values: vec![value.into()] };
            Some(Selector { requirements: vec![app] })
        };
        let row = |selector, allowed| BudgetRow {
            namespace: "d".into(),
            name: "b".into(),
            selector,
            allowed,
            ..BudgetRow::default()
        };
        let mut budgets = Budgets::default();
        let mut cursor = 0;
        let mut told = |budgets: &Budgets| {
            let mut slots: Vec<Slot> = budgets.touched.since(cursor).expect("few").map(|(slot, _)| slot).collect();
            cursor = budgets.touched.head();
            slots.sort_unstable();
            slots
        };
        let placed = [(1, passport("d", &web)), (1, passport("d", &web)), (2, passport("e", &web))];
        budgets.set(row(app("web"), 1), || placed.into_iter());
        assert_eq!(told(&budgets), [1]);
        budgets.moved(3, passport("d", &web), true);
        budgets.moved(1, passport("d", &web), false);
        assert_eq!(told(&budgets), Vec::<Slot>::new());
        budgets.set(row(app("web"), 0), nobody);
        assert_eq!(told(&budgets), [1, 3]);
        budgets.moved(1, passport("d", &web), false);
        budgets.set(row(app("other"), 0), nobody);
        assert_eq!(told(&budgets), [3]);
        budgets.set(row(app("web"), 0), || placed.into_iter());
        assert_eq!(told(&budgets), [1]);
        budgets.replace(vec![], nobody);
        assert_eq!((told(&budgets), budgets.is_empty()), (vec![1], true));
    }
}
