//! Which pods are on which node, as far as other pods' terms ask: one count per node and question, kept as pods come
//! and go, so that spread and (anti-)affinity never walk over pods.
//!
//! Two kinds of questions. A *crowd* counts the pods that match a selector: what an incoming pod's own terms ask. A
//! *bond* counts the pods that hold a term towards others: what existing pods' anti-affinity and preferences ask of an
//! incoming pod. Equal questions share one count; classes hold references. Written by `cycle` whenever a pod enters or
//! leaves a node, read by `wide`.

use ahash::RandomState;
use hashbrown::HashMap;

use crate::columns::{Columns, Slot};
use crate::intern::fixed_hasher;
use crate::rows::{Operator, PodTerm, Selector};

/// The index of a crowd.
pub type CrowdId = u32;
/// The index of a bond.
pub type BondId = u32;

type Labels = [(Box<str>, Box<str>)];

/// Which pods are counted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Question {
    /// Those of a namespace that a spread constraint selects; terminating ones do not count.
    Spread(Box<str>, Selector),
    /// Those that match all of these affinity terms (their topology keys do not matter).
    Matching(Box<[PodTerm]>),
}

/// What an existing pod's term means to a pod that it selects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Meaning {
    /// It must not come near.
    Forbids,
    /// It had better come near, or (negative) not.
    Weighs(i32),
    /// It had better come near, by as much as the pod's profile gives to what others require.
    Requires,
}

/// A pod, as far as questions look at it.
#[derive(Clone, Copy, Debug)]
pub struct Passport<'a> {
    /// Its namespace.
    pub namespace: &'a str,
    /// Its labels, sorted by key.
    pub labels: &'a Labels,
    /// Whether it is terminating.
    pub leaving: bool,
}

/// Counts per slot.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    by_slot: Vec<u32>,
    /// The sum.
    pub total: u64,
}

impl Counts {
    /// The count at a slot.
    #[inline]
    #[must_use]
    pub fn at(&self, slot: usize) -> u32 {
        self.by_slot.get(slot).copied().unwrap_or(0)
    }

    fn add(&mut self, slot: Slot, enters: bool) {
        let at = slot as usize;
        if self.by_slot.len() <= at {
            self.by_slot.resize(at + 1, 0);
        }
        if enters {
            self.by_slot[at] += 1;
            self.total += 1;
        } else {
            self.by_slot[at] -= 1;
            self.total -= 1;
        }
    }
}

#[derive(Debug)]
struct Crowd {
    question: Question,
    counts: Counts,
    references: u32,
}

/// A term that existing pods hold.
#[derive(Debug)]
pub struct Bond {
    /// Whom it selects.
    pub term: PodTerm,
    /// What it means to them.
    pub meaning: Meaning,
    /// The label column of its topology key.
    pub column: usize,
    /// How many pods on each node hold it.
    pub counts: Counts,
    references: u32,
}

/// All counts.
#[derive(Debug)]
pub struct Neighbours {
    crowds: Vec<Option<Crowd>>,
    /// Crowds by a label that their pods have: a pod asks only those that it may be of.
    crowds_of: HashMap<Option<u64>, Vec<CrowdId>, RandomState>,
    crowd_ids: HashMap<Question, CrowdId, RandomState>,
    bonds: Vec<Option<Bond>>,
    bond_ids: HashMap<(PodTerm, Meaning), BondId, RandomState>,
    namespaces: HashMap<Box<str>, Box<Labels>, RandomState>,
    version: u64,
}

impl Default for Neighbours {
    fn default() -> Self {
        Self {
            crowds: Vec::new(),
            crowds_of: HashMap::with_hasher(fixed_hasher()),
            crowd_ids: HashMap::with_hasher(fixed_hasher()),
            bonds: Vec::new(),
            bond_ids: HashMap::with_hasher(fixed_hasher()),
            namespaces: HashMap::with_hasher(fixed_hasher()),
            version: 0,
        }
    }
}

impl Neighbours {
    /// A crowd, referred to once more. A new one counts the pods that are placed already.
    pub fn crowd<'p>(&mut self, question: Question, placed: impl Iterator<Item = (Slot, Passport<'p>)>) -> CrowdId {
        if let Some(id) = self.crowd_ids.get(&question) {
            self.crowds[*id as usize].as_mut().expect("a crowd in the table is there").references += 1;
            return *id;
        }
        let mut counts = Counts::default();
        for (slot, pod) in placed {
            if self.answers(&question, pod) {
                counts.add(slot, true);
            }
        }
        let crowd = Crowd { question: question.clone(), counts, references: 1 };
        let id = vacancy(&mut self.crowds, crowd);
        let entrance = self.entrance(&question);
        self.crowds_of.entry(entrance).or_default().push(id);
        self.crowd_ids.insert(question, id);
        id
    }

    /// Where a crowd's pods are found: a label that all of them have, the one that the fewest crowds are found by.
    fn entrance(&self, question: &Question) -> Option<u64> {
        let Question::Spread(namespace, selector) = question else { return None };
        let certain = selector.requirements.iter().filter(|r| r.operator == Operator::In && r.values.len() == 1);
        let doors = certain.map(|r| door(namespace, &r.key, &r.values[0]));
        doors.min_by_key(|door| self.crowds_of.get(&Some(*door)).map_or(0, Vec::len))
    }

    /// A bond, referred to once more. A new one is held by nobody yet.
    pub fn bond(&mut self, columns: &mut Columns, term: &PodTerm, meaning: Meaning) -> BondId {
        if let Some(id) = self.bond_ids.get(&(term.clone(), meaning)) {
            self.bonds[*id as usize].as_mut().expect("a bond in the table is there").references += 1;
            return *id;
        }
        let column = columns.label_column(&term.topology_key);
        let bond = Bond { term: term.clone(), meaning, column, counts: Counts::default(), references: 1 };
        let id = vacancy(&mut self.bonds, bond);
        self.bond_ids.insert((term.clone(), meaning), id);
        id
    }

    /// Gives references back.
    pub fn release(&mut self, crowds: impl Iterator<Item = CrowdId>, bonds: impl Iterator<Item = BondId>) {
        for id in crowds {
            let crowd = self.crowds[id as usize].as_mut().expect("referred to");
            crowd.references -= 1;
            if crowd.references == 0
                && let Some(crowd) = self.crowds[id as usize].take()
            {
                self.crowds_of.retain(|_, crowds| {
                    crowds.retain(|known| *known != id);
                    !crowds.is_empty()
                });
                self.crowd_ids.remove(&crowd.question);
            }
        }
        for id in bonds {
            let bond = self.bonds[id as usize].as_mut().expect("referred to");
            bond.references -= 1;
            if bond.references == 0
                && let Some(bond) = self.bonds[id as usize].take()
            {
                self.bond_ids.remove(&(bond.term, bond.meaning));
            }
        }
    }

    /// A pod enters or leaves a node, with the bonds it holds. Says which bonds nobody held before.
    pub fn moved(&mut self, slot: Slot, pod: Passport<'_>, holds: &[BondId], enters: bool) -> Vec<BondId> {
        self.version += 1;
        let doors = pod.labels.iter().map(|(key, value)| Some(door(pod.namespace, key, value))).chain([None]);
        let asked: Vec<CrowdId> = doors.filter_map(|door| self.crowds_of.get(&door)).flatten().copied().collect();
        for id in asked {
            let at = id as usize;
            let Some(crowd) = &self.crowds[at] else { continue };
            if self.answers(&crowd.question, pod)
                && let Some(crowd) = &mut self.crowds[at]
            {
                crowd.counts.add(slot, enters);
            }
        }
        let mut new = Vec::new();
        for id in holds {
            let bond = self.bonds[*id as usize].as_mut().expect("its class refers to it");
            if bond.counts.total == 0 {
                new.push(*id);
            }
            bond.counts.add(slot, enters);
        }
        new
    }

    /// The counts of a crowd.
    #[must_use]
    pub fn counts(&self, id: CrowdId) -> &Counts {
        &self.crowds[id as usize].as_ref().expect("its class refers to it").counts
    }

    /// The bonds that somebody holds and that select this pod.
    pub fn towards<'a>(&'a self, pod: Passport<'a>) -> impl Iterator<Item = (BondId, &'a Bond)> {
        let held = (0..).zip(&self.bonds).filter_map(|(id, b)| Some((id, b.as_ref()?)));
        held.filter(move |(_, bond)| bond.counts.total > 0 && self.selects(&bond.term, pod))
    }

    /// Whether any pod on a node keeps others away.
    #[must_use]
    pub fn anybody_forbids(&self) -> bool {
        self.bonds.iter().flatten().any(|bond| bond.meaning == Meaning::Forbids && bond.counts.total > 0)
    }

    /// A bond.
    #[must_use]
    pub fn bond_at(&self, id: BondId) -> &Bond {
        self.bonds[id as usize].as_ref().expect("its class refers to it")
    }

    /// Whether an affinity term selects a pod.
    #[must_use]
    pub fn selects(&self, term: &PodTerm, pod: Passport<'_>) -> bool {
        let named = term.namespaces.iter().any(|n| **n == *pod.namespace);
        let namespace = named
            || term.namespace_selector.as_ref().is_some_and(|selector| {
                selector.matches(self.namespaces.get(pod.namespace).map_or(&[], |labels| labels))
            });
        namespace && term.selector.as_ref().is_some_and(|selector| selector.matches(pod.labels))
    }

    /// Whether a pod counts.
    #[must_use]
    pub fn answers(&self, question: &Question, pod: Passport<'_>) -> bool {
        match question {
            // A selector that selects everything counts nothing, as upstream has it.
            Question::Spread(namespace, selector) => {
                !pod.leaving
                    && **namespace == *pod.namespace
                    && !selector.requirements.is_empty()
                    && selector.matches(pod.labels)
            }
            Question::Matching(terms) => terms.iter().all(|term| self.selects(term, pod)),
        }
    }

    /// Sets a namespace's labels; `None` when it is gone. Counts that look at namespaces' labels are made anew.
    pub fn set_namespace<'p, I>(
        &mut self,
        name: &str,
        labels: Option<Vec<(Box<str>, Box<str>)>>,
        placed: impl Fn() -> I,
    ) where
        I: Iterator<Item = (Slot, Passport<'p>)>,
    {
        let same = match (&labels, self.namespaces.get(name)) {
            (Some(new), Some(old)) => **new == **old,
            (Some(new), None) => new.is_empty(),
            (None, old) => old.is_none_or(|old| old.is_empty()),
        };
        match labels {
            Some(labels) => self.namespaces.insert(name.into(), labels.into()),
            None => self.namespaces.remove(name),
        };
        if same {
            return;
        }
        self.version += 1;
        for at in 0..self.crowds.len() {
            let Some(crowd) = &self.crowds[at] else { continue };
            let Question::Matching(terms) = &crowd.question else { continue };
            if terms.iter().all(|term| term.namespace_selector.is_none()) {
                continue;
            }
            let mut counts = Counts::default();
            for (slot, pod) in placed() {
                if self.answers(&crowd.question, pod) {
                    counts.add(slot, true);
                }
            }
            if let Some(crowd) = &mut self.crowds[at] {
                crowd.counts = counts;
            }
        }
    }

    /// The namespaces known.
    pub fn namespaces(&self) -> impl Iterator<Item = &str> {
        self.namespaces.keys().map(|name| &**name)
    }

    /// Counts every change.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }
}

/// A namespace and a label, as a number; equal numbers of different labels cost a needless look.
fn door(namespace: &str, key: &str, value: &str) -> u64 {
    fixed_hasher().hash_one((namespace, key, value))
}

fn vacancy<T>(all: &mut Vec<Option<T>>, new: T) -> u32 {
    let at = all.iter().position(Option::is_none).unwrap_or_else(|| {
        all.push(None);
        all.len() - 1
    });
    all[at] = Some(new);
    u32::try_from(at).expect("fewer than 2^32 questions")
}
