//! Which pods are on which node, as far as other pods' terms ask: one count per node and question, kept as pods come
//! and go, so that spread and (anti-)affinity never walk over pods.
//!
//! Two kinds of questions. A *crowd* counts the pods that match a selector: what an incoming pod's own terms ask. A
//! *bond* counts the pods that hold a term towards others: what existing pods' anti-affinity and preferences ask of an
//! incoming pod. Equal questions share one count; classes hold references. Written by `cycle` whenever a pod enters or
//! leaves a node, read by `wide`.

use ahash::RandomState;
use hashbrown::HashMap;
use smallvec::SmallVec;

use crate::columns::{Columns, Slot};
use crate::intern::fixed_hasher;
use crate::rows::{Operator, PodTerm, Selector};

/// The index of a crowd.
pub type CrowdId = u32;
/// The index of a bond.
pub type BondId = u32;

type Labels = [(Box<str>, Box<str>)];
/// What is found behind each door; `None` is the door that all pods pass.
type Doors = HashMap<Option<u64>, Vec<u32>, RandomState>;

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

/// Counts per slot: most questions are about few pods, on few nodes.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// The slots with a count, in order, while they are few.
    few: Vec<(Slot, u32)>,
    /// All slots, once they were many.
    many: Option<Vec<u32>>,
    /// The sum.
    pub total: u64,
}

/// So many slots are few.
const FEW: usize = 64;

impl Counts {
    /// The count at a slot.
    #[inline]
    #[must_use]
    pub fn at(&self, slot: usize) -> u32 {
        match &self.many {
            Some(many) => many.get(slot).copied().unwrap_or(0),
            None if self.few.is_empty() => 0,
            None => {
                let found = self.few.binary_search_by_key(&slot, |(slot, _)| *slot as usize);
                found.map_or(0, |at| self.few[at].1)
            }
        }
    }

    /// The slots with a count, in order; `None` when they are many, or were.
    #[must_use]
    pub fn few(&self) -> Option<&[(Slot, u32)]> {
        self.many.is_none().then_some(&*self.few)
    }

    fn add(&mut self, slot: Slot, enters: bool) {
        self.total = if enters { self.total + 1 } else { self.total - 1 };
        let by = if enters { 1 } else { -1 };
        if let Some(many) = &mut self.many {
            let at = slot as usize;
            if many.len() <= at {
                many.resize(at + 1, 0);
            }
            many[at] = many[at].wrapping_add_signed(by);
            return;
        }
        match self.few.binary_search_by_key(&slot, |(slot, _)| *slot) {
            Ok(at) => {
                self.few[at].1 = self.few[at].1.wrapping_add_signed(by);
                if self.few[at].1 == 0 {
                    self.few.remove(at);
                }
            }
            Err(at) => {
                self.few.insert(at, (slot, 1));
                if self.few.len() > FEW {
                    let mut many = vec![0; self.few.last().map_or(0, |(slot, _)| *slot as usize + 1)];
                    self.few.drain(..).for_each(|(slot, count)| many[slot as usize] = count);
                    self.many = Some(many);
                }
            }
        }
    }
}

#[derive(Debug)]
struct Crowd {
    question: Question,
    counts: Counts,
    references: u32,
    /// Where it is found.
    door: Option<u64>,
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
    /// Tells it from a later bond of the same index.
    pub serial: u64,
    references: u32,
    /// Where it is found.
    door: Option<u64>,
}

/// All counts.
#[derive(Debug)]
pub struct Neighbours {
    crowds: Vec<Option<Crowd>>,
    /// Crowds by a label that their pods have: a pod asks only those that it may be of.
    crowds_of: Doors,
    crowd_ids: HashMap<Question, CrowdId, RandomState>,
    bonds: Vec<Option<Bond>>,
    /// Bonds by a label that the pods they select have.
    bonds_of: Doors,
    bond_ids: HashMap<(PodTerm, Meaning), BondId, RandomState>,
    bonds_made: u64,
    namespaces: HashMap<Box<str>, Box<Labels>, RandomState>,
    /// How many pods on nodes have each label in each namespace: a crowd of a label that nobody has needs no counting.
    population: HashMap<u64, u32, RandomState>,
    vacant: Vacant,
    version: u64,
    recounts: u64,
}

/// Places of crowds and bonds that are gone.
#[derive(Debug, Default)]
struct Vacant {
    crowds: Vec<CrowdId>,
    bonds: Vec<BondId>,
}

impl Default for Neighbours {
    fn default() -> Self {
        Self {
            crowds: Vec::new(),
            crowds_of: HashMap::with_hasher(fixed_hasher()),
            crowd_ids: HashMap::with_hasher(fixed_hasher()),
            bonds: Vec::new(),
            bonds_of: HashMap::with_hasher(fixed_hasher()),
            bond_ids: HashMap::with_hasher(fixed_hasher()),
            bonds_made: 0,
            namespaces: HashMap::with_hasher(fixed_hasher()),
            population: HashMap::with_hasher(fixed_hasher()),
            vacant: Vacant::default(),
            version: 0,
            recounts: 0,
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
        if !self.is_of_nobody(&question) {
            for (slot, pod) in placed {
                if self.answers(&question, pod) {
                    counts.add(slot, true);
                }
            }
        }
        let door = match &question {
            Question::Spread(namespace, selector) => entrance(&self.crowds_of, namespace, selector),
            Question::Matching(terms) => terms.iter().find_map(|term| entrance_of_term(&self.crowds_of, term)),
        };
        let crowd = Crowd { question: question.clone(), counts, references: 1, door };
        let id = settle(&mut self.crowds, &mut self.vacant.crowds, crowd);
        self.crowds_of.entry(door).or_default().push(id);
        self.crowd_ids.insert(question, id);
        id
    }

    /// Whether it is plain that no pod on any node can be of a crowd: nobody has a label that all of it have.
    fn is_of_nobody(&self, question: &Question) -> bool {
        let nobody = |namespace: &str, selector: &Selector| {
            certain(namespace, selector).any(|door| !self.population.contains_key(&door))
        };
        match question {
            Question::Spread(namespace, selector) => nobody(namespace, selector),
            Question::Matching(terms) => terms.iter().any(|term| match (&*term.namespaces, &term.selector) {
                (_, None) => true,
                ([namespace], Some(selector)) => term.namespace_selector.is_none() && nobody(namespace, selector),
                _ => false,
            }),
        }
    }

    /// A bond, referred to once more. A new one is held by nobody yet.
    pub fn bond(&mut self, columns: &mut Columns, term: &PodTerm, meaning: Meaning) -> BondId {
        if let Some(id) = self.bond_ids.get(&(term.clone(), meaning)) {
            self.bonds[*id as usize].as_mut().expect("a bond in the table is there").references += 1;
            return *id;
        }
        let column = columns.label_column(&term.topology_key);
        self.bonds_made += 1;
        let bond = Bond {
            term: term.clone(),
            meaning,
            column,
            counts: Counts::default(),
            serial: self.bonds_made,
            references: 1,
            door: entrance_of_term(&self.bonds_of, term),
        };
        let door = bond.door;
        let id = settle(&mut self.bonds, &mut self.vacant.bonds, bond);
        self.bonds_of.entry(door).or_default().push(id);
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
                close(&mut self.crowds_of, crowd.door, id);
                self.vacant.crowds.push(id);
                self.crowd_ids.remove(&crowd.question);
            }
        }
        for id in bonds {
            let bond = self.bonds[id as usize].as_mut().expect("referred to");
            bond.references -= 1;
            if bond.references == 0
                && let Some(bond) = self.bonds[id as usize].take()
            {
                close(&mut self.bonds_of, bond.door, id);
                self.vacant.bonds.push(id);
                self.bond_ids.remove(&(bond.term, bond.meaning));
            }
        }
    }

    /// A pod enters or leaves a node, with the bonds it holds.
    pub fn moved(&mut self, slot: Slot, pod: Passport<'_>, holds: &[BondId], enters: bool) {
        for (key, value) in pod.labels {
            let door = door(pod.namespace, key, value);
            if enters {
                *self.population.entry(door).or_default() += 1;
            } else if let Some(pods) = self.population.get_mut(&door) {
                *pods -= 1;
                if *pods == 0 {
                    self.population.remove(&door);
                }
            }
        }
        let mut counted = !holds.is_empty();
        let asked: SmallVec<[CrowdId; 8]> = behind(&self.crowds_of, pod).collect();
        for id in asked {
            let at = id as usize;
            let Some(crowd) = &self.crowds[at] else { continue };
            if self.answers(&crowd.question, pod)
                && let Some(crowd) = &mut self.crowds[at]
            {
                crowd.counts.add(slot, enters);
                counted = true;
            }
        }
        self.version += u64::from(counted);
        for id in holds {
            let bond = self.bonds[*id as usize].as_mut().expect("its class refers to it");
            bond.counts.add(slot, enters);
        }
    }

    /// The counts of a crowd.
    #[must_use]
    pub fn counts(&self, id: CrowdId) -> &Counts {
        &self.crowds[id as usize].as_ref().expect("its class refers to it").counts
    }

    /// The bonds that somebody holds and that select this pod.
    pub fn towards<'a>(&'a self, pod: Passport<'a>) -> impl Iterator<Item = (BondId, &'a Bond)> {
        let known = behind(&self.bonds_of, pod).filter_map(|id| Some((id, self.bonds[id as usize].as_ref()?)));
        known.filter(move |(_, bond)| bond.counts.total > 0 && self.selects(&bond.term, pod))
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
        self.recounts += 1;
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

    /// Counts every change of a count.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Counts the times that counts were made anew: changes that no node's entry in the journal tells of.
    #[must_use]
    pub fn recounts(&self) -> u64 {
        self.recounts
    }
}

/// The doors of the labels that all pods have whom a selector selects.
fn certain(namespace: &str, selector: &Selector) -> impl Iterator<Item = u64> {
    let certain = selector.requirements.iter().filter(|r| r.operator == Operator::In && r.values.len() == 1);
    certain.map(move |r| door(namespace, &r.key, &r.values[0]))
}

/// One of them: the one that the fewest are found by.
fn entrance(doors: &Doors, namespace: &str, selector: &Selector) -> Option<u64> {
    certain(namespace, selector).min_by_key(|door| doors.get(&Some(*door)).map_or(0, Vec::len))
}

fn entrance_of_term(doors: &Doors, term: &PodTerm) -> Option<u64> {
    let namespace = match (&*term.namespaces, &term.namespace_selector) {
        ([namespace], None) => namespace,
        _ => ANYWHERE,
    };
    entrance(doors, namespace, term.selector.as_ref()?)
}

/// Those who may have to do with a pod: behind the doors of its labels, and behind the one that all pods pass.
fn behind<'a>(doors: &'a Doors, pod: Passport<'a>) -> impl Iterator<Item = u32> + 'a {
    let of_labels = pod
        .labels
        .iter()
        .flat_map(move |(key, value)| [Some(door(pod.namespace, key, value)), Some(door(ANYWHERE, key, value))]);
    of_labels.chain([None]).filter_map(|door| doors.get(&door)).flatten().copied()
}

fn close(doors: &mut Doors, door: Option<u64>, id: u32) {
    if let Some(ids) = doors.get_mut(&door) {
        ids.retain(|known| *known != id);
        if ids.is_empty() {
            doors.remove(&door);
        }
    }
}

/// Stands for any namespace in a door; no namespace has this name.
const ANYWHERE: &str = "";

/// A namespace and a label, as a number; equal numbers of different labels cost a needless look.
fn door(namespace: &str, key: &str, value: &str) -> u64 {
    fixed_hasher().hash_one((namespace, key, value))
}

fn settle<T>(all: &mut Vec<Option<T>>, vacant: &mut Vec<u32>, new: T) -> u32 {
    if let Some(id) = vacant.pop() {
        all[id as usize] = Some(new);
        return id;
    }
    all.push(Some(new));
    u32::try_from(all.len() - 1).expect("fewer than 2^32 questions")
}
