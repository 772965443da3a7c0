//! How one term about other pods looks at nodes: what it marks them with, and how many pods count for each mark.

use std::collections::BTreeMap;

use ahash::RandomState;
use hashbrown::HashMap;

use crate::class::{Class, ClassBoard};
use crate::columns::Columns;
use crate::intern::{NO_TEXT, TextId, fixed_hasher};
use crate::neighbours::{BondId, CrowdId, Meaning, Neighbours};
use crate::profile::Plugin;
use crate::wide::{Towards, WideRules};

/// How one term looks at nodes.
#[derive(Debug)]
pub(super) struct Lens {
    pub(super) role: Role,
    pub(super) column: usize,
    /// Whether the pods on the node itself are all that counts.
    pub(super) by_node: bool,
    /// Whether it does so even where two nodes share a value: host names in preferences, as upstream has it.
    pub(super) by_host: bool,
    pub(super) counted: Counted,
    pub(super) domains: Vec<Domain>,
    domain_of: HashMap<TextId, u32, RandomState>,
    /// For a hard constraint by node: how many nodes that count have so many pods.
    pub(super) levels: BTreeMap<u32, u32>,
    /// All pods seen.
    pub(super) pods: u64,
}

/// What a lens is for; constraints by their place in the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Hard(usize),
    Soft(usize),
    Required,
    /// Pods of ours or of others that must not be near.
    Forbidden,
    Weighs(i64),
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Counted {
    Nobody,
    Crowd(CrowdId),
    Bond(BondId),
}

/// One value of a topology key.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Domain {
    /// The nodes whose pods count.
    pub(super) nodes: u32,
    pods: u64,
    /// Whether a feasible node was found in it, while that is being looked for.
    met: bool,
}

/// What a lens sees of a node.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Glimpse {
    /// 0 for a node without the label. By node: one more than the pods that count; otherwise the domain.
    pub(super) mark: u32,
    /// The pods that count.
    pub(super) pods: u32,
    /// Whether the node's pods count at all.
    pub(super) member: bool,
}

/// The terms that have a say in a class's decisions, in the order of the rules.
pub(super) fn lenses(class: &Class, columns: &Columns, neighbours: &Neighbours, towards: &Towards) -> Vec<Lens> {
    let none = WideRules::default();
    let rules = class.wide.as_deref().unwrap_or(&none);
    let profile = &class.profile;
    let crowd = |crowd: Option<CrowdId>| crowd.map_or(Counted::Nobody, Counted::Crowd);
    let mut lenses = Vec::new();
    let mut add = |role: Role, column: usize, counted: Counted| {
        let by_host = matches!(role, Role::Soft(constraint) if rules.soft[constraint].is_hostname);
        let by_node = by_host || columns.is_unique(column);
        lenses.push(Lens { by_host, ..Lens::new(role, column, by_node, counted) });
    };
    if profile.filters.has(Plugin::PodTopologySpread) {
        rules.hard.iter().enumerate().for_each(|(at, c)| add(Role::Hard(at), c.column, crowd(c.crowd)));
    }
    if profile.filters.has(Plugin::InterPodAffinity) {
        if let Some((keys, crowd)) = &rules.required {
            keys.iter().for_each(|column| add(Role::Required, *column, Counted::Crowd(*crowd)));
        }
        rules.forbidden.iter().for_each(|(column, crowd)| add(Role::Forbidden, *column, Counted::Crowd(*crowd)));
        let bonds = towards.bonds.iter().filter(|(_, meaning)| *meaning == Meaning::Forbids);
        bonds.for_each(|(id, _)| add(Role::Forbidden, neighbours.bond_at(*id).column, Counted::Bond(*id)));
    }
    if class.weight(Plugin::PodTopologySpread) != 0 {
        rules.soft.iter().enumerate().for_each(|(at, c)| add(Role::Soft(at), c.column, crowd(c.crowd)));
    }
    let silent = profile.ignore_preferred_terms_of_existing_pods && rules.preferred.is_empty();
    if !silent && class.weight(Plugin::InterPodAffinity) != 0 {
        for (weight, column, crowd) in &rules.preferred {
            add(Role::Weighs(*weight), *column, Counted::Crowd(*crowd));
        }
        for (id, meaning) in &towards.bonds {
            let weight = match meaning {
                Meaning::Weighs(weight) => i64::from(*weight),
                Meaning::Requires => profile.hard_pod_affinity_weight.into(),
                Meaning::Forbids => continue,
            };
            add(Role::Weighs(weight), neighbours.bond_at(*id).column, Counted::Bond(*id));
        }
    }
    lenses
}

impl Lens {
    fn new(role: Role, column: usize, by_node: bool, counted: Counted) -> Self {
        Self {
            role,
            column,
            by_node,
            by_host: false,
            counted,
            // The first stands for nodes without the label.
            domains: vec![Domain::default()],
            domain_of: HashMap::with_hasher(fixed_hasher()),
            levels: BTreeMap::new(),
            pods: 0,
        }
    }

    /// What it sees of a node; `before` where nothing about the node itself has changed since.
    pub(super) fn look(
        &mut self,
        rules: Option<&WideRules>,
        board: &ClassBoard<'_>,
        columns: &Columns,
        neighbours: &Neighbours,
        at: usize,
        before: Option<Glimpse>,
    ) -> Glimpse {
        let count = match self.counted {
            Counted::Nobody => 0,
            Counted::Crowd(crowd) => neighbours.counts(crowd).at(at),
            Counted::Bond(bond) => neighbours.bond_at(bond).counts.at(at),
        };
        let value = columns.labels(self.column)[at];
        let member = before.map_or_else(|| self.is_member(rules, board, columns, at), |before| before.member);
        let pods = if member { count } else { 0 };
        let mark = if value == NO_TEXT {
            0
        } else if self.by_node {
            match self.role {
                // More than one is no worse.
                Role::Required | Role::Forbidden => 1 + pods.min(1),
                Role::Hard(_) | Role::Soft(_) | Role::Weighs(_) => 1 + pods,
            }
        } else if let Some(before) = before {
            before.mark
        } else {
            *self.domain_of.entry(value).or_insert_with(|| {
                self.domains.push(Domain::default());
                u32::try_from(self.domains.len() - 1).expect("no more domains than nodes")
            })
        };
        Glimpse { mark, pods, member }
    }

    /// Whether a node's pods count.
    fn is_member(&self, rules: Option<&WideRules>, board: &ClassBoard<'_>, columns: &Columns, at: usize) -> bool {
        let labelled = |constraints: &[crate::wide::Spread]| {
            constraints.iter().all(|constraint| columns.labels(constraint.column)[at] != NO_TEXT)
        };
        match (self.role, rules) {
            (Role::Hard(constraint), Some(rules)) => {
                columns.present[at] != 0 && labelled(&rules.hard) && rules.hard[constraint].includes(board, at)
            }
            (Role::Soft(constraint), Some(rules)) => {
                let constraint = &rules.soft[constraint];
                constraint.is_hostname
                    || columns.present[at] != 0
                        && (rules.lenient || labelled(&rules.soft))
                        && constraint.includes(board, at)
            }
            _ => columns.labels(self.column)[at] != NO_TEXT,
        }
    }

    /// Takes what was seen of a node off the tables, and puts what is seen now in its place.
    pub(super) fn replace(&mut self, before: Glimpse, after: Glimpse) {
        if before.member {
            self.pods -= u64::from(before.pods);
            if !self.by_node {
                let domain = &mut self.domains[before.mark as usize];
                domain.nodes -= 1;
                domain.pods -= u64::from(before.pods);
            } else if let (Role::Hard(_), Some(nodes)) = (self.role, self.levels.get_mut(&before.pods)) {
                *nodes -= 1;
                if *nodes == 0 {
                    self.levels.remove(&before.pods);
                }
            }
        }
        if after.member {
            self.pods += u64::from(after.pods);
            if !self.by_node {
                let domain = &mut self.domains[after.mark as usize];
                domain.nodes += 1;
                domain.pods += u64::from(after.pods);
            } else if let Role::Hard(_) = self.role {
                *self.levels.entry(after.pods).or_default() += 1;
            }
        }
    }

    /// The pods in the domain of a mark.
    #[inline]
    pub(super) fn pods_near(&self, mark: u32) -> i64 {
        if self.by_node {
            i64::from(mark) - 1
        } else {
            i64::try_from(self.domains[mark as usize].pods).unwrap_or(i64::MAX)
        }
    }

    /// For a hard constraint, the most pods that a domain may have for one more to come.
    pub(super) fn limit(&self, rules: &WideRules) -> i64 {
        let Role::Hard(constraint) = self.role else { return 0 };
        let constraint = &rules.hard[constraint];
        let (least, domains) = if self.by_node {
            let nodes: u32 = self.levels.values().sum();
            (self.levels.first_key_value().map(|(pods, _)| i64::from(*pods)), nodes as usize)
        } else {
            let there = || self.domains.iter().filter(|domain| domain.nodes > 0);
            (there().map(|domain| domain.pods as i64).min(), there().count())
        };
        let least = if domains < constraint.min_domains { 0 } else { least.unwrap_or(i32::MAX.into()) };
        constraint.max_skew + least - i64::from(constraint.counts_itself)
    }

    /// How many values these groups of nodes have, nodes without the label taken as one.
    pub(super) fn domains_among(&mut self, cells: impl Iterator<Item = (u32, usize)>) -> usize {
        self.domains.iter_mut().for_each(|domain| domain.met = false);
        let (mut values, mut unlabelled) = (0, false);
        for (mark, nodes) in cells {
            if self.by_node && mark != 0 {
                values += nodes;
            } else if self.by_node {
                unlabelled = true;
            } else if !std::mem::replace(&mut self.domains[mark as usize].met, true) {
                values += 1;
            }
        }
        values + usize::from(unlabelled)
    }
}
