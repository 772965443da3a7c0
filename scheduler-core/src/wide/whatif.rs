//! The verdict on one node for one pod, as if some pods were gone from it or had come: what preemption and nominated
//! pods ask. The counts of all nodes are summed up once per pod ([`Tables`]); each question then costs what the pod's
//! terms cost, whatever the size of the cluster.
//!
//! As upstream's `AddPod` and `RemovePod` have it, a pod that goes is taken off the counts of its topology domains even
//! when, being about to terminate, it was not counted there.

use std::sync::Arc;

use smallvec::SmallVec;

use super::{Sums, Towards, WideRules};
use crate::class::Class;
use crate::columns::{Columns, Load, Slot};
use crate::filter::resources_fit::{self, Shift};
use crate::filter::{Rule, Verdict, node_ports};
use crate::intern::{NO_TEXT, TextId};
use crate::neighbours::{BondId, Counts, Meaning, Neighbours, Passport};
use crate::profile::Plugin;
use crate::rows::{HostPort, PodAffinity};
use crate::storage::ask::{Ask, Moved};
use crate::storage::{Storage, Tenant};

/// The sums over all nodes that a pod's terms look at, by topology domain.
#[derive(Debug, Default)]
pub struct Tables {
    spread: Vec<SpreadTable>,
    required: Option<RequiredTable>,
    forbidden: Vec<Sums>,
    bonds: Vec<(BondId, usize, Sums)>,
}

/// One `DoNotSchedule` constraint.
#[derive(Debug)]
struct SpreadTable {
    sums: Sums,
    /// The two domains with the least counts; of the least, when only one node changes.
    least: [(TextId, i64); 2],
    domains: usize,
}

/// The required affinity terms, which are looked at together.
#[derive(Debug)]
struct RequiredTable {
    by_key: Vec<Sums>,
    /// All pods that match, once per key that their node is labelled with.
    anywhere: i64,
}

/// More than any count.
const ENDLESS: i64 = i32::MAX as i64;

impl Tables {
    /// Sums up for one pod: its class's terms, and others' terms towards it.
    #[must_use]
    pub fn new(columns: &Columns, neighbours: &Neighbours, class: &Class, towards: &Towards) -> Self {
        let mut tables = Self::default();
        let texts = columns.texts.len();
        let filters = class.profile.filters;
        if let Some(rules) = class.wide.as_deref() {
            if filters.has(Plugin::PodTopologySpread) {
                let spread = |at| spread_table(columns, neighbours, class, rules, at, texts);
                tables.spread = (0..rules.hard.len()).map(spread).collect();
            }
            if filters.has(Plugin::InterPodAffinity) {
                if let Some((keys, crowd)) = &rules.required {
                    let counts = neighbours.counts(*crowd);
                    let by_key: Vec<Sums> = keys.iter().map(|key| sums(columns, *key, counts, texts)).collect();
                    let anywhere = by_key.iter().flat_map(|s| s.values.iter().filter_map(|v| s.get(*v))).sum();
                    tables.required = Some(RequiredTable { by_key, anywhere });
                }
                let forbidden = rules.forbidden.iter();
                tables.forbidden =
                    forbidden.map(|(column, crowd)| sums(columns, *column, neighbours.counts(*crowd), texts)).collect();
            }
        }
        if filters.has(Plugin::InterPodAffinity) {
            for (id, meaning) in &towards.bonds {
                if *meaning == Meaning::Forbids {
                    let bond = neighbours.bond_at(*id);
                    tables.bonds.push((*id, bond.column, sums(columns, bond.column, &bond.counts, texts)));
                }
            }
        }
        tables
    }

    /// Whether amounts and ports are all that other pods matter by.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.spread.is_empty() && self.required.is_none() && self.forbidden.is_empty() && self.bonds.is_empty()
    }
}

fn sums(columns: &Columns, column: usize, counts: &Counts, texts: usize) -> Sums {
    let mut sums = Sums::default();
    sums.fit(texts);
    sums.clear();
    for (at, value) in columns.labels(column).iter().enumerate() {
        if *value != NO_TEXT && counts.at(at) > 0 {
            sums.add(*value, counts.at(at).into());
        }
    }
    sums
}

fn spread_table(
    columns: &Columns,
    neighbours: &Neighbours,
    class: &Class,
    rules: &WideRules,
    at: usize,
    texts: usize,
) -> SpreadTable {
    let constraint = &rules.hard[at];
    let mut sums = Sums::default();
    sums.fit(texts);
    sums.clear();
    for (slot, value) in (0..).zip(columns.labels(constraint.column)) {
        if counts_for(columns, class, rules, at, slot) {
            sums.add(*value, constraint.count(neighbours, slot as usize));
        }
    }
    let mut least = [(NO_TEXT, ENDLESS); 2];
    for value in &sums.values {
        let count = sums.get(*value).unwrap_or(0);
        if count < least[0].1 {
            least = [(*value, count), least[0]];
        } else if count < least[1].1 {
            least[1] = (*value, count);
        }
    }
    SpreadTable { domains: sums.values.len(), sums, least }
}

/// Whether a node's pods count for a constraint.
fn counts_for(columns: &Columns, class: &Class, rules: &WideRules, constraint: usize, slot: Slot) -> bool {
    let at = slot as usize;
    let constraint = &rules.hard[constraint];
    columns.present[at] != 0
        && rules.hard.iter().all(|c| columns.labels(c.column)[at] != NO_TEXT)
        && class.includes(columns, slot, constraint.ignores_affinity, constraint.honors_taints)
}

/// A pod that goes or comes.
#[derive(Clone, Copy, Debug)]
pub struct Other<'a> {
    /// What it takes.
    pub load: &'a Load,
    /// Who it is.
    pub passport: Passport<'a>,
    /// The terms it holds towards others.
    pub holds: &'a [BondId],
    /// Its terms about other pods.
    pub terms: Option<&'a PodAffinity>,
    /// Its volumes.
    pub tenant: Option<&'a Arc<Tenant>>,
}

/// How one node would differ.
#[derive(Clone, Debug, Default)]
pub struct Difference {
    used: Shift,
    /// The host ports in use, where the pod wants some.
    ports: Vec<HostPort>,
    spread: SmallVec<[i64; 2]>,
    required: i64,
    forbidden: SmallVec<[i64; 2]>,
    bonds: SmallVec<[i64; 2]>,
    /// Pods come whose terms keep the pod away from this node.
    forbidders: u32,
    /// Pods with volumes that go and that come, where the pod has volumes, too.
    moved: Moved,
}

/// A pod whose fate on single nodes is asked about.
#[derive(Clone, Copy)]
pub struct Case<'a> {
    /// The nodes.
    pub columns: &'a Columns,
    /// Who is where.
    pub neighbours: &'a Neighbours,
    /// The pod's class; it must have learned of all nodes.
    pub class: &'a Class,
    /// Who the pod is.
    pub passport: Passport<'a>,
    /// The sums for it.
    pub tables: &'a Tables,
    /// Its volumes, if it has any that matter.
    pub volumes: Option<(&'a Storage, &'a Ask)>,
}

impl Case<'_> {
    /// Whether pods, CPU, memory and ephemeral storage are all that other pods matter by.
    #[must_use]
    pub fn is_about_amounts(&self) -> bool {
        let asks = self.class.asks();
        self.tables.is_empty() && asks.ports.is_empty() && asks.extended.is_empty() && self.volumes.is_none()
    }

    /// A node as it is.
    #[must_use]
    pub fn as_it_is(&self, slot: Slot) -> Difference {
        let ports = if self.class.asks().ports.is_empty() { Vec::new() } else { self.columns.ports(slot).to_vec() };
        Difference {
            ports,
            spread: SmallVec::from_elem(0, self.tables.spread.len()),
            forbidden: SmallVec::from_elem(0, self.tables.forbidden.len()),
            bonds: SmallVec::from_elem(0, self.tables.bonds.len()),
            ..Difference::default()
        }
    }

    /// One of the node's pods goes.
    pub fn goes(&self, slot: Slot, difference: &mut Difference, other: &Other<'_>) {
        if !self.class.asks().ports.is_empty() {
            for port in &other.load.ports {
                if let Some(at) = difference.ports.iter().position(|p| p == port) {
                    difference.ports.swap_remove(at);
                }
            }
        }
        self.shift(slot, difference, other, -1);
        self.shift_bonds(difference, other, -1);
        if let (Some(tenant), Some(_)) = (other.tenant, self.volumes) {
            difference.moved.gone.push(Arc::clone(tenant));
        }
    }

    /// One of the node's pods that went comes back.
    pub fn comes_back(&self, slot: Slot, difference: &mut Difference, other: &Other<'_>) {
        self.shift(slot, difference, other, 1);
        self.shift_bonds(difference, other, 1);
        if let Some(tenant) = other.tenant {
            difference.moved.gone.retain(|gone| !Arc::ptr_eq(gone, tenant));
        }
        if !self.class.asks().ports.is_empty() {
            difference.ports.extend(other.load.ports.iter().cloned());
        }
    }

    /// A pod comes that is on no node.
    pub fn comes(&self, slot: Slot, difference: &mut Difference, other: &Other<'_>) {
        self.shift(slot, difference, other, 1);
        if let (Some(tenant), Some(_)) = (other.tenant, self.volumes) {
            difference.moved.come.push(Arc::clone(tenant));
        }
        if !self.class.asks().ports.is_empty() {
            difference.ports.extend(other.load.ports.iter().cloned());
        }
        if self.class.profile.filters.has(Plugin::InterPodAffinity) && self.is_forbidden_by(slot, other) {
            difference.forbidders += 1;
        }
    }

    /// Whether a pod on this node would keep the pod away from it.
    fn is_forbidden_by(&self, slot: Slot, other: &Other<'_>) -> bool {
        let labelled = |key: &str| {
            let row = self.columns.row(slot);
            row.is_some_and(|row| row.labels.iter().any(|(k, _)| **k == *key))
        };
        let terms = other.terms.iter().flat_map(|terms| &terms.forbidden);
        terms.into_iter().any(|t| self.neighbours.selects(t, self.passport) && labelled(&t.topology_key))
    }

    fn shift_bonds(&self, difference: &mut Difference, other: &Other<'_>, sign: i64) {
        for (sum, (id, ..)) in difference.bonds.iter_mut().zip(&self.tables.bonds) {
            *sum += sign * i64::try_from(other.holds.iter().filter(|held| *held == id).count()).unwrap_or(0);
        }
    }

    fn shift(&self, slot: Slot, difference: &mut Difference, other: &Other<'_>, sign: i64) {
        difference.used.add(self.class.asks(), other.load, sign);
        let Some(rules) = self.class.wide.as_deref() else { return };
        for (at, sum) in difference.spread.iter_mut().enumerate() {
            let selected = rules.hard[at].selector.as_ref().is_some_and(|s| s.matches(other.passport.labels));
            let same_namespace = *other.passport.namespace == *self.passport.namespace;
            if selected && same_namespace && counts_for(self.columns, self.class, rules, at, slot) {
                *sum += sign;
            }
        }
        let Some(terms) = self.class.demand.pods.as_deref() else { return };
        let selected = |term| self.neighbours.selects(term, other.passport);
        if self.tables.required.is_some() && terms.required.iter().all(selected) {
            difference.required += sign;
        }
        for (sum, term) in difference.forbidden.iter_mut().zip(&terms.forbidden) {
            if selected(term) {
                *sum += sign;
            }
        }
    }

    /// The verdict on the node, if it differed so.
    #[must_use]
    pub fn verdict(&self, slot: Slot, difference: &Difference) -> Verdict {
        let (columns, class) = (self.columns, self.class);
        let of_node = class.node_verdict(columns, slot);
        if !of_node.fits() {
            return of_node;
        }
        let asks = class.asks();
        if !asks.ports.is_empty() && node_ports::is_taken(&difference.ports, &asks.ports) {
            return Verdict::new(Rule::Ports);
        }
        let of_amounts = resources_fit::verdict_after(columns, slot, asks, &difference.used);
        if !of_amounts.fits() {
            return of_amounts;
        }
        if let Some((storage, ask)) = self.volumes {
            let of_volumes = ask.verdict_if(storage, columns, slot, &difference.moved);
            if !of_volumes.fits() {
                return of_volumes;
            }
        }
        let rule = match self.tables.is_empty() {
            true if difference.forbidders > 0 => Rule::ExistingAntiAffinity,
            true => Rule::Fits,
            false => self.among_pods(slot, difference),
        };
        match self.volumes {
            // Claims keep their devices as long as the pods that go have not gone: upstream imagines nothing else.
            Some((storage, ask)) if rule == Rule::Fits => ask.device_verdict(storage, columns, slot).0,
            _ => Verdict::new(rule),
        }
    }

    /// What the rules about other pods say.
    fn among_pods(&self, slot: Slot, difference: &Difference) -> Rule {
        let at = slot as usize;
        let none = WideRules::default();
        let rules = self.class.wide.as_deref().unwrap_or(&none);
        let value_of = |column: usize| self.columns.label(column, slot);
        for (which, table) in self.tables.spread.iter().enumerate() {
            let constraint = &rules.hard[which];
            let value = value_of(constraint.column);
            if value == NO_TEXT {
                return Rule::SpreadLabel;
            }
            let known = table.sums.get(value);
            let here = known.unwrap_or(0) + difference.spread[which];
            let elsewhere = if table.least[0].0 == value { table.least[1].1 } else { table.least[0].1 };
            let least = if known.is_some() { elsewhere.min(here) } else { elsewhere };
            let least = if table.domains < constraint.min_domains { 0 } else { least };
            if here + i64::from(constraint.counts_itself) - least > constraint.max_skew {
                return Rule::Spread;
            }
        }
        if let (Some(table), Some((keys, _))) = (&self.tables.required, &rules.required) {
            let labelled = keys.iter().all(|key| value_of(*key) != NO_TEXT);
            let near = || {
                let mut keys = keys.iter().zip(&table.by_key);
                keys.all(|(key, sums)| sums.get(value_of(*key)).unwrap_or(0) + difference.required > 0)
            };
            let each = i64::try_from(keys.len()).unwrap_or(0);
            let anywhere = || table.anywhere + difference.required * each > 0;
            if !labelled || !(near() || !anywhere() && self.matches_itself()) {
                return Rule::PodAffinity;
            }
        }
        for ((column, _), (sums, shift)) in
            rules.forbidden.iter().zip(self.tables.forbidden.iter().zip(&difference.forbidden))
        {
            let value = value_of(*column);
            if value != NO_TEXT && sums.get(value).unwrap_or(0) + shift > 0 {
                return Rule::PodAntiAffinity;
            }
        }
        let bonds = self.tables.bonds.iter().zip(&difference.bonds);
        let mut forbidding = bonds.map(|((_, column, sums), shift)| {
            let value = self.columns.labels(*column)[at];
            value != NO_TEXT && sums.get(value).unwrap_or(0) + shift > 0
        });
        if difference.forbidders > 0 || forbidding.any(|forbids| forbids) {
            return Rule::ExistingAntiAffinity;
        }
        Rule::Fits
    }

    fn matches_itself(&self) -> bool {
        let terms = self.class.demand.pods.as_deref();
        let own = Passport { leaving: false, ..self.passport };
        terms.is_some_and(|terms| terms.required.iter().all(|term| self.neighbours.selects(term, own)))
    }
}
