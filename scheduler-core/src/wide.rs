//! Decisions that look beyond the node: topology spread and affinity between pods, on counts that `neighbours` keeps; the
//! verdicts and scores of all other rules come from the class's board. Here is the pass over all nodes; a class that
//! comes again has a [chart] of what it finds.
//!
//! Rules as in upstream's PodTopologySpread (`filtering.go`, `scoring.go`) and InterPodAffinity.

pub mod chart;
pub mod whatif;

use smallvec::SmallVec;

use crate::class::{Class, ClassBoard};
use crate::columns::{Columns, Slot};
use crate::filter::{Rule, Verdict};
use crate::intern::{NO_TEXT, TextId};
use crate::neighbours::{BondId, Counts, CrowdId, Meaning, Neighbours, Passport, Question};
use crate::profile::Plugin;
use crate::rows::{Demand, PodTerm, Selector, SpreadConstraint};
use crate::score::{self, MAX};
use crate::storage::Storage;
use crate::storage::ask::Ask;
use crate::tournament;

const HOSTNAME: &str = "kubernetes.io/hostname";

/// The spread and affinity terms of one class, compiled.
#[derive(Debug, Default)]
pub struct WideRules {
    hard: Vec<Spread>,
    soft: Vec<Spread>,
    /// Whether nodes that lack some of the labels are rated by the others.
    lenient: bool,
    /// Columns of the required affinity terms, and the pods that match all of them.
    required: Option<(SmallVec<[usize; 2]>, CrowdId)>,
    forbidden: Vec<(usize, CrowdId)>,
    preferred: Vec<(i64, usize, CrowdId)>,
    /// The bonds its pods hold once they are placed.
    pub holds: Vec<BondId>,
}

#[derive(Debug)]
struct Spread {
    max_skew: i64,
    column: usize,
    is_hostname: bool,
    min_domains: usize,
    ignores_affinity: bool,
    honors_taints: bool,
    /// `None` when the selector counts nobody.
    crowd: Option<CrowdId>,
    selector: Option<Selector>,
    counts_itself: bool,
}

/// Bonds towards one pod: what existing pods' terms mean to it.
#[derive(Debug, Default)]
pub struct Towards {
    bonds: SmallVec<[(BondId, Meaning); 4]>,
    serials: SmallVec<[u64; 4]>,
}

impl Towards {
    /// The bonds towards a pod.
    #[must_use]
    pub fn new(neighbours: &Neighbours, pod: Passport<'_>) -> Self {
        let mut towards = Self::default();
        for (id, bond) in neighbours.towards(pod) {
            towards.bonds.push((id, bond.meaning));
            towards.serials.push(bond.serial);
        }
        towards.serials.sort_unstable();
        towards
    }

    /// What tells these bonds from all others there ever were.
    fn serials(&self) -> SmallVec<[u64; 4]> {
        self.serials.clone()
    }

    fn has_serials(&self, serials: &[u64]) -> bool {
        *self.serials == *serials
    }

    /// Whether nobody's terms select it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bonds.is_empty()
    }

    /// Whether somebody's terms keep it away from somewhere.
    #[must_use]
    pub fn forbid(&self) -> bool {
        self.bonds.iter().any(|(_, meaning)| *meaning == Meaning::Forbids)
    }
}

impl WideRules {
    /// The rules of a demand; `None` when it has no such terms. `placed` are all pods on nodes, for new counts.
    pub fn new<'p, I>(
        columns: &mut Columns,
        neighbours: &mut Neighbours,
        demand: &Demand,
        placed: impl Fn() -> I,
    ) -> Option<Self>
    where
        I: Iterator<Item = (Slot, Passport<'p>)>,
    {
        let own = demand.own.as_deref()?;
        let passport = Passport { namespace: &own.namespace, labels: &own.labels, leaving: false };
        let mut rules = Self { lenient: demand.lenient, ..Self::default() };
        for constraint in &demand.spread {
            let compiled = Spread::new(columns, neighbours, constraint, passport, &placed);
            if constraint.hard { rules.hard.push(compiled) } else { rules.soft.push(compiled) }
        }
        let Some(pods) = demand.pods.as_deref() else { return Some(rules) };
        let crowd = |neighbours: &mut Neighbours, terms: &[PodTerm]| {
            neighbours.crowd(Question::Matching(terms.iter().map(without_key).collect()), placed())
        };
        if !pods.required.is_empty() {
            let keys = pods.required.iter().map(|t| columns.label_column(&t.topology_key)).collect();
            rules.required = Some((keys, crowd(neighbours, &pods.required)));
        }
        for term in &pods.forbidden {
            let column = columns.label_column(&term.topology_key);
            rules.forbidden.push((column, crowd(neighbours, std::slice::from_ref(term))));
            rules.holds.push(neighbours.bond(columns, term, Meaning::Forbids));
        }
        for (weight, term) in pods.preferred.iter().filter(|(weight, _)| *weight != 0) {
            let column = columns.label_column(&term.topology_key);
            rules.preferred.push(((*weight).into(), column, crowd(neighbours, std::slice::from_ref(term))));
            rules.holds.push(neighbours.bond(columns, term, Meaning::Weighs(*weight)));
        }
        for term in &pods.required {
            rules.holds.push(neighbours.bond(columns, term, Meaning::Requires));
        }
        Some(rules)
    }

    /// Whether it takes part in decisions on its own pods.
    #[must_use]
    pub fn decides(&self) -> bool {
        !self.hard.is_empty()
            || !self.soft.is_empty()
            || self.required.is_some()
            || !self.forbidden.is_empty()
            || !self.preferred.is_empty()
    }

    /// The nodes that hold pods which count for its terms or hold terms towards its pods, where they are
    /// few: at most `most`.
    #[must_use]
    pub fn few_slots(&self, neighbours: &Neighbours, towards: &Towards, most: usize) -> Option<Vec<Slot>> {
        let spread = self.hard.iter().chain(&self.soft).filter_map(|s| s.crowd);
        let terms = self.required.iter().map(|(_, c)| *c).chain(self.forbidden.iter().map(|(_, c)| *c));
        let crowds = spread.chain(terms).chain(self.preferred.iter().map(|(.., c)| *c));
        let crowds = crowds.map(|crowd| neighbours.counts(crowd));
        let bonds = towards.bonds.iter().map(|(bond, _)| &neighbours.bond_at(*bond).counts);
        let mut slots: Vec<Slot> = Vec::new();
        for counts in crowds.chain(bonds) {
            slots.extend(counts.few()?.iter().map(|(slot, _)| *slot));
        }
        slots.sort_unstable();
        slots.dedup();
        (slots.len() <= most).then_some(slots)
    }

    /// Gives back what it refers to.
    pub fn release(self, neighbours: &mut Neighbours) {
        let spread = self.hard.iter().chain(&self.soft).filter_map(|s| s.crowd);
        let terms = self.required.iter().map(|(_, c)| *c).chain(self.forbidden.iter().map(|(_, c)| *c));
        let crowds = spread.chain(terms).chain(self.preferred.iter().map(|(.., c)| *c));
        neighbours.release(crowds, self.holds.iter().copied());
    }
}

/// A term as a question about pods: where they are is asked per node.
fn without_key(term: &PodTerm) -> PodTerm {
    PodTerm { topology_key: "".into(), ..term.clone() }
}

impl Spread {
    fn new<'p, I>(
        columns: &mut Columns,
        neighbours: &mut Neighbours,
        c: &SpreadConstraint,
        own: Passport<'_>,
        placed: impl Fn() -> I,
    ) -> Self
    where
        I: Iterator<Item = (Slot, Passport<'p>)>,
    {
        let counting = c.selector.as_ref().filter(|s| !s.requirements.is_empty());
        let question = counting.map(|s| Question::Spread(own.namespace.into(), s.clone()));
        Self {
            max_skew: c.max_skew.into(),
            column: columns.label_column(&c.topology_key),
            is_hostname: &*c.topology_key == HOSTNAME,
            min_domains: usize::try_from(c.min_domains).unwrap_or(0).max(1),
            ignores_affinity: c.ignores_affinity,
            honors_taints: c.honors_taints,
            crowd: question.map(|q| neighbours.crowd(q, placed())),
            selector: c.selector.clone(),
            counts_itself: c.selector.as_ref().is_some_and(|s| s.matches(own.labels)),
        }
    }

    fn count(&self, neighbours: &Neighbours, at: usize) -> i64 {
        self.crowd.map_or(0, |crowd| neighbours.counts(crowd).at(at).into())
    }

    /// Whether a node's pods count (`nodeAffinityPolicy`, `nodeTaintsPolicy`).
    fn includes(&self, board: &ClassBoard<'_>, at: usize) -> bool {
        (self.ignores_affinity || board.is_affine(at)) && (!self.honors_taints || !board.is_tainted(at))
    }
}

/// Sums by label value. Cleared in O(1): an entry of another turn counts as absent.
#[derive(Debug, Default)]
struct Sums {
    entries: Vec<(u32, i64)>,
    turn: u32,
    /// The values present in this turn.
    values: Vec<TextId>,
}

impl Sums {
    fn clear(&mut self) {
        self.turn = self.turn.wrapping_add(1);
        if self.turn == 0 {
            self.entries.fill((0, 0));
            self.turn = 1;
        }
        self.values.clear();
    }

    /// Makes room for this many texts.
    fn fit(&mut self, texts: usize) {
        if self.entries.len() < texts {
            self.entries.resize(texts, (0, 0));
        }
    }

    #[inline]
    fn add(&mut self, value: TextId, by: i64) {
        let entry = &mut self.entries[value as usize];
        if entry.0 == self.turn {
            entry.1 += by;
        } else {
            *entry = (self.turn, by);
            self.values.push(value);
        }
    }

    #[inline]
    fn get(&self, value: TextId) -> Option<i64> {
        let (turn, sum) = self.entries[value as usize];
        (turn == self.turn).then_some(sum)
    }
}

/// Room to work in, kept between decisions.
#[derive(Debug, Default)]
pub struct Scratch {
    /// The verdicts of the last decision.
    pub verdicts: Vec<Verdict>,
    feasible: Vec<Slot>,
    spread: Vec<i64>,
    affinity: Vec<i64>,
    near: Vec<bool>,
    sums: Sums,
}

impl Scratch {
    /// Forgets the last decision.
    pub fn clear(&mut self) {
        self.verdicts.clear();
        self.feasible.clear();
        self.spread.clear();
        self.affinity.clear();
    }

    /// The nodes that were feasible in the last decision, with their scores of spread and of affinity.
    pub fn scored(&self) -> impl Iterator<Item = (Slot, i64, i64)> + '_ {
        let scores = self.spread.iter().zip(&self.affinity);
        self.feasible.iter().zip(scores).map(|(slot, (spread, affinity))| (*slot, *spread, *affinity))
    }

    /// How many nodes were feasible in the last decision.
    #[must_use]
    pub fn feasible(&self) -> usize {
        self.feasible.len()
    }
}

/// What one decision looks at.
pub struct Decision<'a> {
    /// The nodes.
    pub columns: &'a Columns,
    /// Who is where.
    pub neighbours: &'a Neighbours,
    /// The pod's class.
    pub class: &'a Class,
    /// Its terms, if it has any.
    pub rules: Option<&'a WideRules>,
    /// Others' terms towards it.
    pub towards: &'a Towards,
    /// Its volumes, if it has any that matter.
    pub volumes: Option<(&'a Storage, &'a Ask)>,
}

impl Decision<'_> {
    /// The best node and its score. Leaves the verdicts in `scratch`.
    pub fn make(&self, scratch: &mut Scratch) -> Option<(Slot, u32)> {
        self.filter(scratch);
        self.choose(scratch)
    }

    /// The verdicts on all nodes, left in `scratch`.
    pub fn filter(&self, scratch: &mut Scratch) {
        let board = self.class.last_board();
        scratch.sums.fit(self.columns.texts.len());
        scratch.verdicts.clear();
        scratch.verdicts.extend_from_slice(board.verdicts());
        let none = WideRules::default();
        let rules = self.rules.unwrap_or(&none);
        if let Some((storage, ask)) = self.volumes {
            for (slot, verdict) in (0..).zip(&mut scratch.verdicts).filter(|(_, verdict)| verdict.fits()) {
                *verdict = ask.verdict(storage, self.columns, slot);
            }
        }
        let profile = &self.class.profile;
        if profile.filters.has(Plugin::PodTopologySpread) {
            self.filter_spread(rules, &board, scratch);
        }
        if profile.filters.has(Plugin::InterPodAffinity) {
            self.filter_affinity(rules, scratch);
        }
    }

    /// The best of the nodes that the verdicts in `scratch` leave.
    pub fn choose(&self, scratch: &mut Scratch) -> Option<(Slot, u32)> {
        let board = self.class.last_board();
        let none = WideRules::default();
        let rules = self.rules.unwrap_or(&none);
        scratch.feasible.clear();
        let fits = (0..).zip(&scratch.verdicts).filter(|(_, v)| v.fits()).map(|(slot, _)| slot);
        scratch.feasible.extend(fits);
        if scratch.feasible.is_empty() {
            return None;
        }
        self.score_spread(rules, &board, scratch);
        self.score_affinity(rules, scratch);
        let worst = scratch.feasible.iter().map(|s| board.unwelcome(*s)).max().unwrap_or(0);
        let most = scratch.feasible.iter().map(|s| board.preferred(*s)).max().unwrap_or(0);
        let weigh = |plugin| self.class.weight(plugin);
        let (taints, node_affinity) = (weigh(Plugin::TaintToleration), weigh(Plugin::NodeAffinity));
        let spread = i64::from(weigh(Plugin::PodTopologySpread));
        let pod_affinity = i64::from(weigh(Plugin::InterPodAffinity));
        let keys = scratch.feasible.iter().enumerate().map(|(at, slot)| {
            let of_node = board.own_score(*slot)
                + taints * score::taint_toleration::score(board.unwelcome(*slot), worst)
                + node_affinity * score::node_affinity::score(board.preferred(*slot), most);
            let of_pods = spread * scratch.spread[at] + pod_affinity * scratch.affinity[at];
            let score = of_node + u32::try_from(of_pods).unwrap_or(0);
            (tournament::key(score, self.columns.standing(*slot as usize)), *slot)
        });
        let (key, slot) = keys.max_by_key(|(key, slot)| (*key, std::cmp::Reverse(*slot)))?;
        Some((slot, tournament::score_of(key)))
    }

    /// `DoNotSchedule` constraints.
    fn filter_spread(&self, rules: &WideRules, board: &ClassBoard<'_>, scratch: &mut Scratch) {
        let columns = self.columns;
        let Scratch { verdicts, sums, .. } = scratch;
        let has_all = |at: usize| rules.hard.iter().all(|c| columns.labels(c.column)[at] != NO_TEXT);
        for constraint in &rules.hard {
            let values = columns.labels(constraint.column);
            sums.clear();
            for (at, value) in values.iter().enumerate() {
                if columns.present[at] != 0 && has_all(at) && constraint.includes(board, at) {
                    sums.add(*value, constraint.count(self.neighbours, at));
                }
            }
            let least = sums.values.iter().filter_map(|v| sums.get(*v)).min().unwrap_or(i32::MAX.into());
            let least = if sums.values.len() < constraint.min_domains { 0 } else { least };
            let itself = i64::from(constraint.counts_itself);
            for (at, verdict) in verdicts.iter_mut().enumerate() {
                if !verdict.fits() {
                    continue;
                }
                if values[at] == NO_TEXT {
                    *verdict = Verdict::new(Rule::SpreadLabel);
                } else if sums.get(values[at]).unwrap_or(0) + itself - least > constraint.max_skew {
                    *verdict = Verdict::new(Rule::Spread);
                }
            }
        }
    }

    /// Required affinity, required anti-affinity, and others' required anti-affinity.
    fn filter_affinity(&self, rules: &WideRules, scratch: &mut Scratch) {
        let columns = self.columns;
        let Scratch { verdicts, sums, near, .. } = scratch;
        if let Some((keys, crowd)) = &rules.required {
            let counts = self.neighbours.counts(*crowd);
            let mut anywhere = false;
            near.clear();
            near.resize(verdicts.len(), true);
            for column in keys {
                let values = columns.labels(*column);
                sums.clear();
                for (at, value) in values.iter().enumerate() {
                    if *value != NO_TEXT && counts.at(at) > 0 {
                        sums.add(*value, 1);
                        anywhere = true;
                    }
                }
                for (at, near) in near.iter_mut().enumerate() {
                    *near &= sums.get(values[at]).is_some();
                }
            }
            // The first of a group that wants to be together may go anywhere it can be joined.
            let first = !anywhere && self.class.matches_itself(self.neighbours);
            for (at, verdict) in verdicts.iter_mut().enumerate() {
                let labelled = keys.iter().all(|column| columns.labels(*column)[at] != NO_TEXT);
                if verdict.fits() && !(labelled && (near[at] || first)) {
                    *verdict = Verdict::new(Rule::PodAffinity);
                }
            }
        }
        for (column, crowd) in &rules.forbidden {
            forbid(columns.labels(*column), self.neighbours.counts(*crowd), sums, verdicts, Rule::PodAntiAffinity);
        }
        for (id, meaning) in &self.towards.bonds {
            if *meaning == Meaning::Forbids {
                let bond = self.neighbours.bond_at(*id);
                forbid(columns.labels(bond.column), &bond.counts, sums, verdicts, Rule::ExistingAntiAffinity);
            }
        }
    }

    /// `ScheduleAnyway` constraints, normalised, per feasible node.
    fn score_spread(&self, rules: &WideRules, board: &ClassBoard<'_>, scratch: &mut Scratch) {
        let columns = self.columns;
        let Scratch { feasible, spread, sums, .. } = scratch;
        spread.clear();
        spread.resize(feasible.len(), 0);
        if rules.soft.is_empty() || self.class.weight(Plugin::PodTopologySpread) == 0 {
            return;
        }
        let has_all = |at: usize| rules.lenient || rules.soft.iter().all(|c| columns.labels(c.column)[at] != NO_TEXT);
        let rated = feasible.iter().filter(|slot| has_all(**slot as usize)).count();
        let mut raw = vec![0f64; feasible.len()];
        for constraint in &rules.soft {
            let values = columns.labels(constraint.column);
            sums.clear();
            let domains = if constraint.is_hostname {
                rated
            } else {
                for slot in feasible.iter().filter(|slot| has_all(**slot as usize)) {
                    sums.add(values[*slot as usize], 0);
                }
                for (at, value) in values.iter().enumerate() {
                    let counts = columns.present[at] != 0 && has_all(at) && constraint.includes(board, at);
                    if counts && sums.get(*value).is_some() {
                        sums.add(*value, constraint.count(self.neighbours, at));
                    }
                }
                sums.values.len()
            };
            let per_pod = (domains as f64 + 2.0).ln();
            for (raw, slot) in raw.iter_mut().zip(feasible.iter()) {
                let at = *slot as usize;
                if has_all(at) && values[at] != NO_TEXT {
                    let count = if constraint.is_hostname {
                        constraint.count(self.neighbours, at)
                    } else {
                        sums.get(values[at]).unwrap_or(0)
                    };
                    *raw += count as f64 * per_pod + (constraint.max_skew - 1) as f64;
                }
            }
        }
        let rounded = |at: usize| raw[at].round() as i64;
        let rated = || (0..feasible.len()).filter(|at| has_all(feasible[*at] as usize));
        let (least, most) = (rated().map(rounded).min().unwrap_or(i64::MAX), rated().map(rounded).max().unwrap_or(0));
        for at in rated() {
            spread[at] = if most == 0 { MAX } else { MAX * (most + least - rounded(at)) / most };
        }
    }

    /// Preferred affinity and anti-affinity, ours and others', normalised, per feasible node.
    fn score_affinity(&self, rules: &WideRules, scratch: &mut Scratch) {
        let columns = self.columns;
        let Scratch { feasible, affinity, sums, .. } = scratch;
        affinity.clear();
        affinity.resize(feasible.len(), 0);
        let profile = &self.class.profile;
        let silent = profile.ignore_preferred_terms_of_existing_pods && rules.preferred.is_empty();
        if silent || self.class.weight(Plugin::InterPodAffinity) == 0 {
            return;
        }
        let hard_weight = i64::from(profile.hard_pod_affinity_weight);
        let ours = rules.preferred.iter().map(|(w, column, crowd)| (*w, *column, self.neighbours.counts(*crowd)));
        let theirs = self.towards.bonds.iter().filter_map(|(id, meaning)| {
            let weight = match meaning {
                Meaning::Weighs(weight) => i64::from(*weight),
                Meaning::Requires => hard_weight,
                Meaning::Forbids => return None,
            };
            let bond = self.neighbours.bond_at(*id);
            Some((weight, bond.column, &bond.counts))
        });
        for (weight, column, counts) in ours.chain(theirs) {
            if counts.total == 0 {
                continue;
            }
            let values = columns.labels(column);
            sums.clear();
            for (at, value) in values.iter().enumerate() {
                if *value != NO_TEXT && counts.at(at) > 0 {
                    sums.add(*value, counts.at(at).into());
                }
            }
            for (sum, slot) in affinity.iter_mut().zip(feasible.iter()) {
                let value = values[*slot as usize];
                *sum += weight * sums.get(value).filter(|_| value != NO_TEXT).unwrap_or(0);
            }
        }
        let (least, most) = (affinity.iter().min().copied().unwrap_or(0), affinity.iter().max().copied().unwrap_or(0));
        let range = most - least;
        for sum in affinity.iter_mut() {
            *sum = if range > 0 { (MAX as f64 * ((*sum - least) as f64 / range as f64)) as i64 } else { 0 };
        }
    }
}

/// Turns down the nodes of every domain that holds a counted pod.
fn forbid(values: &[TextId], counts: &Counts, sums: &mut Sums, verdicts: &mut [Verdict], rule: Rule) {
    if counts.total == 0 {
        return;
    }
    sums.clear();
    for (at, value) in values.iter().enumerate() {
        if *value != NO_TEXT && counts.at(at) > 0 {
            sums.add(*value, 1);
        }
    }
    for (verdict, value) in verdicts.iter_mut().zip(values) {
        if verdict.fits() && *value != NO_TEXT && sums.get(*value).is_some() {
            *verdict = Verdict::new(rule);
        }
    }
}
