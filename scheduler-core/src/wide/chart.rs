//! What a pass over all nodes finds, kept: a class's feasible nodes in groups that no term about other pods tells apart.
//! A placement moves one node from one group to another; a decision then compares groups, not nodes, and takes the best
//! node of the best group. Its cost follows the number of groups (zones, mostly, times pods of the class per node), not
//! the nodes and not the pods.
//!
//! Each term looks at nodes through a [`Lens`]. Where its topology key names single nodes (host names), the pods on the
//! node itself are all that counts, and how many they are is the node's mark. Otherwise the mark is the topology domain,
//! and a table per lens holds the pods of each domain. Nodes with equal marks and equal raw scores of the rules that are
//! scaled over all feasible nodes are one [`Group`]: equal verdicts, equal scores, but for what is the node's own, which
//! a heap per group is ordered by.
//!
//! Classes whose terms have the same shape, but select other pods, share the chart of a class that selects nobody, their
//! *ground*: as long as a class has few pods, its nodes are as they are there, but for those few
//! ([`best_upon`](Chart::best_upon)). Only a class with many pods has a chart of its own.
//!
//! Made and repaired by `class` from the columns' journal, as boards are. It must find what
//! [`Decision::make`](super::Decision::make) finds; that one is kept for the first pods of a class, which are not worth a
//! chart, and for decisions that volumes or nominated pods have a say in.

mod lens;

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use ahash::RandomState;
use hashbrown::HashMap;
use smallvec::SmallVec;

use super::{Towards, WideRules};
use crate::class::{Class, ClassBoard};
use crate::columns::{Change, Columns, Slot};
use crate::intern::{NO_TEXT, fixed_hasher};
use crate::neighbours::Neighbours;
use crate::profile::Plugin;
use crate::score::{self, MAX};
use crate::tournament::{self, TIE_BITS};

use lens::{Counted, Glimpse, Lens, Role, lenses};

/// The best node for a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Best {
    /// The node.
    pub slot: Slot,
    /// Its score.
    pub score: u32,
    /// How many nodes are feasible.
    pub feasible: usize,
}

/// A class's nodes, grouped by what terms about other pods can tell apart.
#[derive(Debug)]
pub struct Chart {
    lenses: Vec<Lens>,
    /// The bonds towards the pods that it is for, by their serial numbers.
    bonds: SmallVec<[u64; 4]>,
    /// The board that it goes with, and the recounts that it has seen.
    born: (u64, u64),
    cursor: u64,
    /// What each lens sees of each slot.
    glimpses: Vec<Glimpse>,
    places: Vec<Place>,
    groups: Vec<Group>,
    group_of: HashMap<Box<[u32]>, u32, RandomState>,
    vacant: Vec<u32>,
    /// Room to work in.
    marks: Vec<u32>,
    cells: Vec<Cell>,
}

/// Where a node is found: its group and its own key there; nowhere while it is not feasible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    group: u32,
    key: u64,
}

const NOWHERE: Place = Place { group: u32::MAX, key: 0 };

/// Nodes that are told apart by nothing but their own keys.
#[derive(Debug, Default)]
struct Group {
    /// The mark of each lens, then the raw scores of taints and of node affinity.
    marks: Box<[u32]>,
    nodes: u32,
    /// The nodes, best first. Entries that no longer say what is in the node's place are skipped.
    heap: BinaryHeap<(u64, Reverse<Slot>)>,
}

/// Nodes with equal marks, in one decision: a group, or one node that a group must do without.
#[derive(Clone, Debug)]
struct Cell {
    source: Source,
    nodes: u32,
    /// The mark of each lens.
    marks: SmallVec<[u32; 6]>,
    unwelcome: u16,
    preferred: i32,
    /// Whether the constraints rate it at all.
    has_all: bool,
    /// The score of spread, before it is scaled.
    raw: f64,
    spread: i64,
    affinity: i64,
    /// What all rules but those about the node alone give it.
    more: u32,
}

#[derive(Clone, Copy, Debug)]
enum Source {
    Group(u32),
    Node(Slot, u64),
}

impl Cell {
    fn new(source: Source, nodes: u32, marks: SmallVec<[u32; 6]>, unwelcome: u32, preferred: u32) -> Self {
        Self {
            source,
            nodes,
            marks,
            unwelcome: u16::try_from(unwelcome).unwrap_or(u16::MAX),
            preferred: preferred.cast_signed(),
            has_all: false,
            raw: 0.0,
            spread: 0,
            affinity: 0,
            more: 0,
        }
    }
}

impl Chart {
    /// A chart for the pods of a class, towards whom others hold these bonds. The class's board must be up to date.
    pub fn new(class: &Class, columns: &Columns, neighbours: &Neighbours, towards: &Towards) -> Self {
        let mut chart = Self {
            lenses: lenses(class, columns, neighbours, towards),
            bonds: towards.serials(),
            born: (class.board_serial(), neighbours.recounts()),
            cursor: columns.journal.head(),
            glimpses: Vec::new(),
            places: Vec::new(),
            groups: Vec::new(),
            group_of: HashMap::with_hasher(fixed_hasher()),
            vacant: Vec::new(),
            marks: Vec::new(),
            cells: Vec::new(),
        };
        chart.grow(columns.slots());
        let rules = class.wide.as_deref();
        let board = class.last_board();
        for slot in 0..columns.slots() as Slot {
            chart.resettle(rules, &board, columns, neighbours, slot, Change::Node);
        }
        chart
    }

    /// Whether it is for pods towards whom others hold these bonds.
    #[must_use]
    pub fn is_for(&self, towards: &Towards) -> bool {
        towards.has_serials(&self.bonds)
    }

    /// Brings it up to date with the class's board; `false` when it must be made anew. Says how many nodes it looked at.
    pub fn repair(&mut self, class: &Class, columns: &Columns, neighbours: &Neighbours) -> Option<u64> {
        let slots = columns.slots();
        let sound = |lens: &Lens| {
            (!lens.by_node || lens.by_host || columns.is_unique(lens.column)) && lens.domains.len() <= 2 * slots + 64
        };
        if self.born != (class.board_serial(), neighbours.recounts()) || !self.lenses.iter().all(sound) {
            return None;
        }
        let changes = columns.journal.since(self.cursor)?;
        self.grow(slots);
        let rules = class.wide.as_deref();
        let board = class.last_board();
        for (slot, change) in changes {
            self.resettle(rules, &board, columns, neighbours, slot, change);
        }
        let looked = columns.journal.head() - self.cursor;
        self.cursor = columns.journal.head();
        Some(looked)
    }

    /// What it occupies, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let heaps: usize = self.groups.iter().map(|group| group.heap.capacity()).sum();
        self.glimpses.len() * size_of::<Glimpse>() + self.places.len() * size_of::<Place>() + heaps * 16
    }

    fn grow(&mut self, slots: usize) {
        self.glimpses.resize(slots * self.lenses.len(), Glimpse::default());
        self.places.resize(slots, NOWHERE);
    }

    /// One node anew.
    fn resettle(
        &mut self,
        rules: Option<&WideRules>,
        board: &ClassBoard<'_>,
        columns: &Columns,
        neighbours: &Neighbours,
        slot: Slot,
        change: Change,
    ) {
        let at = slot as usize;
        let first = at * self.lenses.len();
        self.marks.clear();
        for (which, lens) in self.lenses.iter_mut().enumerate() {
            let before = self.glimpses[first + which];
            let after = lens.look(rules, board, columns, neighbours, at, (change == Change::Usage).then_some(before));
            lens.replace(before, after);
            self.glimpses[first + which] = after;
            self.marks.push(after.mark);
        }
        let mut place = NOWHERE;
        if board.verdicts()[at].fits() {
            self.marks.push(board.unwelcome(slot).into());
            self.marks.push(board.preferred(slot).cast_unsigned());
            let key = tournament::key(board.own_score(slot), columns.standing(at));
            place = Place { group: self.group(at), key };
        }
        self.put(slot, place);
    }

    /// The group of the node whose marks were taken last.
    fn group(&mut self, at: usize) -> u32 {
        let before = self.places[at].group;
        if self.groups.get(before as usize).is_some_and(|group| *group.marks == *self.marks) {
            return before;
        }
        if let Some(group) = self.group_of.get(&*self.marks) {
            return *group;
        }
        let marks: Box<[u32]> = self.marks.as_slice().into();
        let id = self.vacant.pop().unwrap_or_else(|| {
            self.groups.push(Group::default());
            u32::try_from(self.groups.len() - 1).expect("no more groups than nodes")
        });
        self.groups[id as usize].marks = marks.clone();
        self.group_of.insert(marks, id);
        id
    }

    fn put(&mut self, slot: Slot, place: Place) {
        let before = std::mem::replace(&mut self.places[slot as usize], place);
        if before == place {
            return;
        }
        if let Some(group) = self.groups.get_mut(place.group as usize) {
            group.nodes += u32::from(before.group != place.group);
            group.heap.push((place.key, Reverse(slot)));
            if group.heap.len() > 2 * group.nodes as usize + 64 {
                group.tidy(place.group, &self.places);
            }
        }
        if before.group != place.group
            && let Some(group) = self.groups.get_mut(before.group as usize)
        {
            group.nodes -= 1;
            if group.nodes == 0 {
                group.heap.clear();
                self.group_of.remove(&group.marks);
                self.vacant.push(before.group);
            }
        }
    }

    /// The best node for one of the class's pods; `itself` says whether the pod satisfies its own required affinity.
    pub fn best(&mut self, class: &Class, itself: impl Fn() -> bool) -> Option<Best> {
        let mut cells = std::mem::take(&mut self.cells);
        cells.clear();
        let lenses = self.lenses.len();
        for (id, group) in (0..).zip(&self.groups).filter(|(_, group)| group.nodes > 0) {
            let marks = group.marks[..lenses].into();
            let (unwelcome, preferred) = (group.marks[lenses], group.marks[lenses + 1]);
            cells.push(Cell::new(Source::Group(id), group.nodes, marks, unwelcome, preferred));
        }
        weigh(&mut self.lenses, &mut cells, class, itself);
        let best = self.choose(&cells, &[]);
        self.cells = cells;
        best
    }

    /// The best node for a pod of a class whose terms this chart has the shape of, but counts nobody for: all nodes are as
    /// they are here but for `slots`, which hold the pods that count. `None` where another bond is in the way.
    pub fn best_upon(
        &mut self,
        class: &Class,
        ground: &Class,
        columns: &Columns,
        neighbours: &Neighbours,
        towards: &Towards,
        slots: &[Slot],
    ) -> Option<Option<Best>> {
        let rules = class.wide.as_deref();
        let board = ground.last_board();
        let own = self.lenses.len();
        // Each lens of the class, and the one here that sees the same domains; none where nodes are seen one by one.
        let mut upon: SmallVec<[Option<usize>; 6]> = SmallVec::new();
        let mut next = 0;
        let mut lenses = lenses(class, columns, neighbours, towards);
        for lens in &mut lenses {
            let known = if let Counted::Bond(_) = lens.counted {
                let alike = |known: &Lens| known.column == lens.column && !known.by_node;
                let known = if lens.by_node { None } else { Some(self.lenses.iter().position(alike)?) };
                if let Some(known) = known {
                    lens.domains.clone_from(&self.lenses[known].domains);
                    lens.domains.iter_mut().for_each(|domain| domain.nodes = 0);
                }
                known
            } else {
                let known = self.lenses.get(next)?;
                lens.by_node = known.by_node;
                lens.domains.clone_from(&known.domains);
                lens.levels.clone_from(&known.levels);
                next += 1;
                Some(next - 1)
            };
            upon.push(known);
        }
        debug_assert!(next == own, "a class and its ground have the same terms");
        let mut cells = std::mem::take(&mut self.cells);
        cells.clear();
        for slot in slots {
            let at = *slot as usize;
            let mut marks = SmallVec::new();
            for (lens, known) in lenses.iter_mut().zip(&upon) {
                let here = known.map_or_else(Glimpse::default, |known| self.glimpses[at * own + known]);
                let is_bond = matches!(lens.counted, Counted::Bond(_));
                let labelled = Glimpse { member: columns.labels(lens.column)[at] != NO_TEXT, ..here };
                let seen = if is_bond { labelled } else { here };
                let after = lens.look(rules, &board, columns, neighbours, at, Some(seen));
                lens.replace(if is_bond { Glimpse::default() } else { here }, after);
                marks.push(after.mark);
            }
            let place = self.places[at];
            if let Some(group) = self.groups.get(place.group as usize) {
                let source = Source::Node(*slot, place.key);
                cells.push(Cell::new(source, 1, marks, group.marks[own], group.marks[own + 1]));
            }
        }
        let groups: SmallVec<[u32; 16]> = slots.iter().map(|slot| self.places[*slot as usize].group).collect();
        let apart = |id: u32| groups.iter().map(|group| u32::from(*group == id)).sum::<u32>();
        for (id, group) in (0..).zip(&self.groups).filter(|(_, group)| group.nodes > 0) {
            let nodes = group.nodes - apart(id);
            if nodes > 0 {
                // Without pods that count, a node has the mark 1 where it is seen by itself, or 0 without the label, which
                // makes no difference to a bond.
                let marks = upon.iter().map(|known| known.map_or(1, |known| group.marks[known])).collect();
                cells.push(Cell::new(Source::Group(id), nodes, marks, group.marks[own], group.marks[own + 1]));
            }
        }
        weigh(&mut lenses, &mut cells, class, || class.matches_itself(neighbours));
        let best = self.choose(&cells, slots);
        self.cells = cells;
        Some(best)
    }

    /// The best node of feasible cells; groups do without the nodes `apart`.
    fn choose(&mut self, cells: &[Cell], apart: &[Slot]) -> Option<Best> {
        let mut best: Option<(u64, Reverse<Slot>)> = None;
        let mut feasible = 0;
        for cell in cells {
            feasible += cell.nodes as usize;
            let top = match cell.source {
                Source::Node(slot, key) => Some((key, Reverse(slot))),
                Source::Group(id) => self.groups[id as usize].top(id, &self.places, apart),
            };
            if let Some((key, slot)) = top {
                best = best.max(Some((key + (u64::from(cell.more) << TIE_BITS), slot)));
            }
        }
        let (key, Reverse(slot)) = best?;
        Some(Best { slot, score: tournament::score_of(key), feasible })
    }
}

/// Keeps the cells that are feasible, and finds what each is given on top of its nodes' own scores.
fn weigh(lenses: &mut [Lens], cells: &mut Vec<Cell>, class: &Class, itself: impl Fn() -> bool) {
    let none = WideRules::default();
    let rules = class.wide.as_deref().unwrap_or(&none);
    filter(lenses, cells, rules, itself);
    score_spread(lenses, cells, rules);
    score_affinity(lenses, cells);
    let worst = cells.iter().map(|cell| cell.unwelcome).max().unwrap_or(0);
    let most = cells.iter().map(|cell| cell.preferred).max().unwrap_or(0);
    let weight = |plugin| class.weight(plugin);
    let (taints, node_affinity) = (weight(Plugin::TaintToleration), weight(Plugin::NodeAffinity));
    let spread = i64::from(weight(Plugin::PodTopologySpread));
    let pod_affinity = i64::from(weight(Plugin::InterPodAffinity));
    for cell in cells {
        let of_node = taints * score::taint_toleration::score(cell.unwelcome, worst)
            + node_affinity * score::node_affinity::score(cell.preferred, most);
        let of_pods = spread * cell.spread + pod_affinity * cell.affinity;
        cell.more = of_node + u32::try_from(of_pods).unwrap_or(0);
    }
}

/// Drops the cells that are not feasible.
fn filter(lenses: &[Lens], cells: &mut Vec<Cell>, rules: &WideRules, itself: impl Fn() -> bool) {
    let limits: SmallVec<[i64; 6]> = lenses.iter().map(|lens| lens.limit(rules)).collect();
    let mut required = lenses.iter().filter(|lens| lens.role == Role::Required);
    let asks = required.clone().next().is_some();
    let first = asks && required.all(|lens| lens.pods == 0) && itself();
    cells.retain_mut(|cell| {
        let mut has_all = true;
        let mut feasible = true;
        for ((lens, mark), limit) in lenses.iter().zip(&cell.marks).zip(&limits) {
            feasible &= match lens.role {
                Role::Hard(_) => *mark != 0 && lens.pods_near(*mark) <= *limit,
                Role::Required => *mark != 0 && (first || lens.pods_near(*mark) > 0),
                Role::Forbidden => *mark == 0 || lens.pods_near(*mark) == 0,
                Role::Soft(_) => {
                    has_all &= *mark != 0;
                    true
                }
                Role::Weighs(_) => true,
            };
        }
        cell.has_all = has_all || rules.lenient;
        feasible
    });
}

/// As [`Decision`](super::Decision) does it, cell by cell.
fn score_spread(lenses: &mut [Lens], cells: &mut [Cell], rules: &WideRules) {
    if !lenses.iter().any(|lens| matches!(lens.role, Role::Soft(_))) {
        return;
    }
    let all: usize = cells.iter().filter(|cell| cell.has_all).map(|cell| cell.nodes as usize).sum();
    for (which, lens) in lenses.iter_mut().enumerate() {
        let Role::Soft(constraint) = lens.role else { continue };
        let constraint = &rules.soft[constraint];
        let domains = if constraint.is_hostname {
            all
        } else {
            let rated = cells.iter().filter(|cell| cell.has_all);
            lens.domains_among(rated.map(|cell| (cell.marks[which], cell.nodes as usize)))
        };
        let per_pod = (domains as f64 + 2.0).ln();
        for cell in cells.iter_mut().filter(|cell| cell.has_all && cell.marks[which] != 0) {
            cell.raw += lens.pods_near(cell.marks[which]) as f64 * per_pod + (constraint.max_skew - 1) as f64;
        }
    }
    let rounded = || cells.iter().filter(|cell| cell.has_all).map(|cell| cell.raw.round() as i64);
    let (least, most) = (rounded().min().unwrap_or(i64::MAX), rounded().max().unwrap_or(0));
    for cell in cells.iter_mut().filter(|cell| cell.has_all) {
        let raw = cell.raw.round() as i64;
        cell.spread = if most == 0 { MAX } else { MAX * (most + least - raw) / most };
    }
}

/// As [`Decision`](super::Decision) does it, cell by cell.
fn score_affinity(lenses: &[Lens], cells: &mut [Cell]) {
    if !lenses.iter().any(|lens| matches!(lens.role, Role::Weighs(_)) && lens.pods > 0) {
        return;
    }
    for cell in cells.iter_mut() {
        for (lens, mark) in lenses.iter().zip(&cell.marks).filter(|(_, mark)| **mark != 0) {
            if let Role::Weighs(weight) = lens.role {
                cell.affinity += weight * lens.pods_near(*mark);
            }
        }
    }
    let sums = || cells.iter().map(|cell| cell.affinity);
    let (least, most) = (sums().min().unwrap_or(0), sums().max().unwrap_or(0));
    let range = most - least;
    for Cell { affinity: sum, .. } in cells {
        *sum = if range > 0 { (MAX as f64 * ((*sum - least) as f64 / range as f64)) as i64 } else { 0 };
    }
}

impl Group {
    /// The best of its nodes but for those `apart`.
    fn top(&mut self, id: u32, places: &[Place], apart: &[Slot]) -> Option<(u64, Reverse<Slot>)> {
        let mut aside: SmallVec<[(u64, Reverse<Slot>); 8]> = SmallVec::new();
        let mut top = None;
        while let Some((key, Reverse(slot))) = self.heap.peek().copied() {
            let current = places[slot as usize] == (Place { group: id, key });
            if current && !apart.contains(&slot) {
                top = Some((key, Reverse(slot)));
                break;
            }
            let entry = self.heap.pop();
            aside.extend(entry.filter(|_| current));
        }
        self.heap.extend(aside);
        top
    }

    /// Drops the entries that say nothing any more.
    fn tidy(&mut self, id: u32, places: &[Place]) {
        let mut entries = std::mem::take(&mut self.heap).into_vec();
        entries.retain(|(key, Reverse(slot))| places[*slot as usize] == (Place { group: id, key: *key }));
        entries.sort_unstable();
        entries.dedup();
        self.heap = entries.into();
    }
}
