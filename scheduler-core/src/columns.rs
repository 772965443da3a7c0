//! The nodes as columns: one array per resource and per label key that some class asks for, indexed by slot.
//!
//! Written by `cycle` from node events and placements; read by the filters and scores. Every change of a slot goes into
//! a [journal](Journal), from which each class repairs its own view: a refresh costs what changed, never all nodes. A
//! heartbeat that changes nothing the scheduler reads leaves no trace.
//!
//! A node that is gone while pods are still recorded on it keeps its slot, marked as absent, until they are gone too;
//! a pod may also be seen before its node.

mod journal;
mod labels;

use std::sync::Arc;

use ahash::RandomState;
use hashbrown::HashMap;
use smallvec::SmallVec;

use crate::intern::{Interner, NO_TEXT, TextId, fixed_hasher};
use crate::rows::{Amounts, Features, HostPort, NodeRow, Taint};
use crate::score::balanced_allocation;

pub use journal::{Change, Journal};
use labels::LabelColumn;

/// The index of a node in all columns. Reused after its node and all pods on it are gone.
pub type Slot = u32;

/// The index of an extended resource.
pub type ExtendedId = u32;

/// The number of a taint list; equal lists share one. 0 is the empty list.
pub type TaintSetId = u32;

/// What a pod takes from its node.
#[derive(Clone, Debug, Default)]
pub struct Load {
    /// Milli-CPU.
    pub cpu: i64,
    /// Bytes.
    pub memory: i64,
    /// Bytes.
    pub ephemeral: i64,
    /// Milli-CPU as scoring sees it.
    pub scored_cpu: i64,
    /// Bytes as scoring sees it.
    pub scored_memory: i64,
    /// Extended resources, in the order of the demand.
    pub extended: SmallVec<[(ExtendedId, i64); 2]>,
    /// Those of them that devices stand in for on nodes that have none.
    pub backed: SmallVec<[ExtendedId; 2]>,
    /// Host ports.
    pub ports: Box<[HostPort]>,
    /// Whether the amounts are not asked of the node: the profile does without NodeResourcesFit.
    pub unasked: bool,
}

/// One resource of all nodes.
#[derive(Clone, Debug, Default)]
pub struct ResourceColumn {
    /// What the node offers.
    pub allocatable: Vec<i64>,
    /// What its pods request.
    pub used: Vec<i64>,
}

impl ResourceColumn {
    fn grow(&mut self, slots: usize) {
        self.allocatable.resize(slots, 0);
        self.used.resize(slots, 0);
    }
}

/// An image as nodes report it.
#[derive(Clone, Copy, Debug)]
struct ImageState {
    size: i64,
    nodes: u32,
}

/// What is kept of a node besides the columns.
#[derive(Debug)]
struct NodeInfo {
    name: Arc<str>,
    /// The row as last seen; `None` while the node is absent.
    row: Option<NodeRow>,
    labels: Vec<(TextId, TextId)>,
}

impl NodeInfo {
    fn named(name: &str) -> Self {
        Self { name: name.into(), row: None, labels: Vec::new() }
    }
}

/// All nodes.
#[derive(Debug)]
pub struct Columns {
    /// The numbers of label keys and values, image and node names.
    pub texts: Interner,
    /// What changed, for the classes.
    pub journal: Journal,
    /// The changes of nodes themselves once more, apart from those of what is on them.
    pub nodes_journal: Journal,
    /// CPU in milli.
    pub cpu: ResourceColumn,
    /// Memory in bytes.
    pub memory: ResourceColumn,
    /// Ephemeral storage in bytes.
    pub ephemeral: ResourceColumn,
    /// Pods.
    pub pods: ResourceColumn,
    /// CPU used, as scoring sees it.
    pub scored_cpu: Vec<i64>,
    /// Memory used, as scoring sees it.
    pub scored_memory: Vec<i64>,
    /// One over what the node offers of CPU; 0 where that is nothing.
    pub cpu_inverse: Vec<f64>,
    /// One over what the node offers of memory; 0 where that is nothing.
    pub memory_inverse: Vec<f64>,
    /// How evenly CPU and memory are used: what NodeResourcesBalancedAllocation compares with, 0 to 100.
    pub balance: Vec<u8>,
    /// Extended resources by their ids.
    pub extended: Vec<ResourceColumn>,
    /// 1 where there is a node, 0 where there is none (any more).
    pub present: Vec<u8>,
    /// 1 where the node is cordoned.
    pub unschedulable: Vec<u8>,
    /// The features that nodes declare.
    pub features: Vec<Features>,
    /// The node's taints.
    pub taint_set: Vec<TaintSetId>,
    /// The node's place among equals, from the seed and its name.
    pub tie: Vec<u64>,
    names: Vec<TextId>,
    nodes: Vec<NodeInfo>,
    by_name: HashMap<Box<str>, Slot, RandomState>,
    free: Vec<Slot>,
    count: u32,
    extended_ids: HashMap<Box<str>, ExtendedId, RandomState>,
    taint_sets: Vec<Vec<Taint>>,
    taint_set_ids: HashMap<Vec<Taint>, TaintSetId, RandomState>,
    label_columns: Vec<LabelColumn>,
    label_column_of: HashMap<TextId, usize, RandomState>,
    ports: HashMap<Slot, Vec<HostPort>, RandomState>,
    images: HashMap<Box<str>, ImageState, RandomState>,
    image_epoch: u64,
    seed: u64,
    /// Counts the changes that may leave a node more room.
    reliefs: u64,
    /// How many nodes offer more than [`SWEPT_MAX`] of CPU or memory.
    giants: u32,
}

/// Amounts up to this are exact in what a [sweep](crate::score::sweep) makes of them.
const SWEPT_MAX: i64 = 1 << 44;

impl Columns {
    /// The standing of a node among equally good ones; see [`standing`].
    #[inline]
    #[must_use]
    pub fn standing(&self, at: usize) -> u64 {
        standing(self.pods.used[at], self.tie[at])
    }

    /// No nodes. `seed` decides between equally good ones.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            texts: Interner::default(),
            journal: Journal::default(),
            nodes_journal: Journal::default(),
            cpu: ResourceColumn::default(),
            memory: ResourceColumn::default(),
            ephemeral: ResourceColumn::default(),
            pods: ResourceColumn::default(),
            scored_cpu: Vec::new(),
            scored_memory: Vec::new(),
            cpu_inverse: Vec::new(),
            memory_inverse: Vec::new(),
            balance: Vec::new(),
            giants: 0,
            reliefs: 0,
            extended: Vec::new(),
            present: Vec::new(),
            unschedulable: Vec::new(),
            features: Vec::new(),
            taint_set: Vec::new(),
            tie: Vec::new(),
            names: Vec::new(),
            nodes: Vec::new(),
            by_name: HashMap::with_hasher(fixed_hasher()),
            free: Vec::new(),
            count: 0,
            extended_ids: HashMap::with_hasher(fixed_hasher()),
            taint_sets: vec![Vec::new()],
            taint_set_ids: HashMap::with_hasher(fixed_hasher()),
            label_columns: Vec::new(),
            label_column_of: HashMap::with_hasher(fixed_hasher()),
            ports: HashMap::with_hasher(fixed_hasher()),
            images: HashMap::with_hasher(fixed_hasher()),
            image_epoch: 0,
            seed,
        }
    }

    /// How many slots there are, absent nodes included: the length of every column.
    #[must_use]
    pub fn slots(&self) -> usize {
        self.nodes.len()
    }

    /// How many nodes there are.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.count
    }

    /// A node's name.
    #[must_use]
    pub fn name(&self, slot: Slot) -> &str {
        &self.nodes[slot as usize].name
    }

    /// A node's name, to keep.
    #[must_use]
    pub fn shared_name(&self, slot: Slot) -> Arc<str> {
        Arc::clone(&self.nodes[slot as usize].name)
    }

    /// A node's name as a number.
    #[inline]
    #[must_use]
    pub fn name_id(&self, slot: Slot) -> TextId {
        self.names[slot as usize]
    }

    /// The row of a node, if it is there.
    #[must_use]
    pub fn row(&self, slot: Slot) -> Option<&NodeRow> {
        self.nodes[slot as usize].row.as_ref()
    }

    /// Whether there is a node in this slot.
    #[inline]
    #[must_use]
    pub fn is_present(&self, slot: Slot) -> bool {
        self.present[slot as usize] != 0
    }

    /// The slot of a node name, if it has one.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<Slot> {
        self.by_name.get(name).copied()
    }

    /// The slot of a node name, given one (without a node in it) if it has none.
    pub fn slot(&mut self, name: &str) -> Slot {
        if let Some(slot) = self.by_name.get(name) {
            return *slot;
        }
        let slot = self.free.pop().unwrap_or_else(|| self.grow());
        let at = slot as usize;
        self.nodes[at] = NodeInfo::named(name);
        self.names[at] = self.texts.id(name);
        self.tie[at] = tie(self.seed, name);
        self.by_name.insert(name.into(), slot);
        slot
    }

    fn grow(&mut self) -> Slot {
        self.nodes.push(NodeInfo::named(""));
        let slots = self.nodes.len();
        for column in [&mut self.cpu, &mut self.memory, &mut self.ephemeral, &mut self.pods] {
            column.grow(slots);
        }
        self.extended.iter_mut().for_each(|c| c.grow(slots));
        self.scored_cpu.resize(slots, 0);
        self.scored_memory.resize(slots, 0);
        self.cpu_inverse.resize(slots, 0.0);
        self.memory_inverse.resize(slots, 0.0);
        self.balance.resize(slots, 100);
        self.present.resize(slots, 0);
        self.unschedulable.resize(slots, 0);
        self.features.resize(slots, Features::default());
        self.taint_set.resize(slots, 0);
        self.tie.resize(slots, 0);
        self.names.resize(slots, NO_TEXT);
        self.label_columns.iter_mut().for_each(|c| c.values.resize(slots, NO_TEXT));
        Slot::try_from(slots - 1).expect("fewer than 2^32 nodes")
    }

    /// Adds or replaces a node. Says whether anything that scheduling reads is different.
    pub fn set_node(&mut self, row: NodeRow) -> bool {
        let slot = self.slot(&row.name);
        let at = slot as usize;
        if self.nodes[at].row.as_ref() == Some(&row) {
            return false;
        }
        let old_images = self.nodes[at].row.take().map(|old| old.images);
        if old_images.as_deref() != Some(&row.images) {
            self.change_images(old_images.unwrap_or_default(), &row);
        }
        self.set_allocatable(at, &row.allocatable);
        self.unschedulable[at] = u8::from(row.unschedulable);
        self.features[at] = row.features;
        self.taint_set[at] = self.taint_set_id(&row.taints);
        let labels: Vec<(TextId, TextId)> =
            row.labels.iter().map(|(k, v)| (self.texts.id(k), self.texts.id(v))).collect();
        self.set_labels(at, labels);
        if self.present[at] == 0 {
            self.present[at] = 1;
            self.count += 1;
        }
        self.nodes[at].row = Some(row);
        self.record(slot, Change::Node);
        true
    }

    /// Takes a node away. Its slot stays while pods are recorded on it.
    pub fn remove_node(&mut self, name: &str) -> bool {
        let Some(slot) = self.find(name) else { return false };
        let at = slot as usize;
        let Some(old) = self.nodes[at].row.take() else { return false };
        self.drop_images(&old.images);
        self.set_allocatable(at, &Amounts::default());
        self.set_labels(at, Vec::new());
        self.taint_set[at] = 0;
        self.unschedulable[at] = 0;
        self.features[at] = Features::default();
        self.present[at] = 0;
        self.count -= 1;
        self.record(slot, Change::Node);
        self.release_if_empty(slot);
        true
    }

    fn release_if_empty(&mut self, slot: Slot) {
        let at = slot as usize;
        if self.present[at] == 0 && self.pods.used[at] == 0 && !self.nodes[at].name.is_empty() {
            let name = std::mem::replace(&mut self.nodes[at].name, "".into());
            self.by_name.remove(&*name);
            self.names[at] = NO_TEXT;
            self.free.push(slot);
        }
    }

    fn set_allocatable(&mut self, at: usize, amounts: &Amounts) {
        let giant = |cpu, memory| u32::from(!(0..=SWEPT_MAX).contains(&cpu) || !(0..=SWEPT_MAX).contains(&memory));
        self.giants -= giant(self.cpu.allocatable[at], self.memory.allocatable[at]);
        self.giants += giant(amounts.cpu, amounts.memory);
        let inverse = |amount: i64| if amount == 0 { 0.0 } else { 1.0 / amount as f64 };
        (self.cpu_inverse[at], self.memory_inverse[at]) = (inverse(amounts.cpu), inverse(amounts.memory));
        self.cpu.allocatable[at] = amounts.cpu;
        self.memory.allocatable[at] = amounts.memory;
        self.ephemeral.allocatable[at] = amounts.ephemeral;
        self.pods.allocatable[at] = amounts.pods;
        self.rebalance(at);
        for column in &mut self.extended {
            column.allocatable[at] = 0;
        }
        for (name, amount) in &amounts.extended {
            let id = self.extended_id(name);
            self.extended[id as usize].allocatable[at] = *amount;
        }
    }

    fn set_labels(&mut self, at: usize, labels: Vec<(TextId, TextId)>) {
        let before = std::mem::take(&mut self.nodes[at].labels);
        for (key, _) in before.iter().filter(|(key, _)| !labels.iter().any(|(kept, _)| kept == key)) {
            if let Some(column) = self.label_column_of.get(key) {
                self.label_columns[*column].set(at, NO_TEXT);
            }
        }
        for (key, value) in &labels {
            if let Some(column) = self.label_column_of.get(key) {
                self.label_columns[*column].set(at, *value);
            }
        }
        self.nodes[at].labels = labels;
    }

    fn rebalance(&mut self, at: usize) {
        let (cpu, memory) = (self.cpu.allocatable[at], self.memory.allocatable[at]);
        let balance = balanced_allocation::balance(cpu, self.cpu.used[at], memory, self.memory.used[at]);
        self.balance[at] = u8::try_from(balance).unwrap_or(0);
    }

    /// Whether no node has so much of anything that a [sweep](crate::score::sweep) would not be exact.
    #[must_use]
    pub fn may_be_swept(&self) -> bool {
        self.giants == 0
    }

    /// The id of an extended resource, given one if it has none.
    pub fn extended_id(&mut self, name: &str) -> ExtendedId {
        if let Some(id) = self.extended_ids.get(name) {
            return *id;
        }
        let id = ExtendedId::try_from(self.extended.len()).expect("fewer than 2^32 resources");
        let mut column = ResourceColumn::default();
        column.grow(self.slots());
        self.extended.push(column);
        self.extended_ids.insert(name.into(), id);
        id
    }

    fn taint_set_id(&mut self, taints: &[Taint]) -> TaintSetId {
        if taints.is_empty() {
            return 0;
        }
        if let Some(id) = self.taint_set_ids.get(taints) {
            return *id;
        }
        let id = TaintSetId::try_from(self.taint_sets.len()).expect("fewer than 2^32 taint lists");
        self.taint_sets.push(taints.to_vec());
        self.taint_set_ids.insert(taints.to_vec(), id);
        id
    }

    /// All taint lists seen so far, by their ids.
    #[must_use]
    pub fn taint_sets(&self) -> &[Vec<Taint>] {
        &self.taint_sets
    }

    /// The column of a label key, made from the nodes' labels when it is asked for the first time.
    pub fn label_column(&mut self, key: &str) -> usize {
        let key = self.texts.id(key);
        if let Some(column) = self.label_column_of.get(&key) {
            return *column;
        }
        let values =
            self.nodes.iter().map(|n| n.labels.iter().find(|(k, _)| *k == key).map_or(NO_TEXT, |(_, v)| *v)).collect();
        self.label_columns.push(LabelColumn::new(values));
        self.label_column_of.insert(key, self.label_columns.len() - 1);
        self.label_columns.len() - 1
    }

    /// The value of a label column at a slot.
    #[inline]
    #[must_use]
    pub fn label(&self, column: usize, slot: Slot) -> TextId {
        self.label_columns[column].values[slot as usize]
    }

    /// A whole label column.
    #[must_use]
    pub fn labels(&self, column: usize) -> &[TextId] {
        &self.label_columns[column].values
    }

    /// Whether no two nodes have the same value of a label, as it should be with host names.
    #[inline]
    #[must_use]
    pub fn is_unique(&self, column: usize) -> bool {
        self.label_columns[column].shared == 0
    }

    /// Puts a pod on a node.
    pub fn occupy(&mut self, slot: Slot, load: &Load) {
        self.change_usage(slot, load, 1);
        if !load.ports.is_empty() {
            self.ports.entry(slot).or_default().extend(load.ports.iter().cloned());
        }
    }

    /// Takes a pod off a node.
    pub fn vacate(&mut self, slot: Slot, load: &Load) {
        if let Some(used) = self.ports.get_mut(&slot) {
            for port in &load.ports {
                if let Some(at) = used.iter().position(|p| p == port) {
                    used.swap_remove(at);
                }
            }
            if used.is_empty() {
                self.ports.remove(&slot);
            }
        }
        self.change_usage(slot, load, -1);
        self.release_if_empty(slot);
    }

    fn change_usage(&mut self, slot: Slot, load: &Load, sign: i64) {
        let at = slot as usize;
        self.cpu.used[at] += sign * load.cpu;
        self.memory.used[at] += sign * load.memory;
        self.ephemeral.used[at] += sign * load.ephemeral;
        self.pods.used[at] += sign;
        self.scored_cpu[at] += sign * load.scored_cpu;
        self.scored_memory[at] += sign * load.scored_memory;
        self.rebalance(at);
        for (id, amount) in &load.extended {
            self.extended[*id as usize].used[at] += sign * amount;
        }
        self.reliefs += u64::from(sign < 0);
        self.record(slot, Change::Usage);
    }

    /// Counts the changes that may leave a node more room than it had: all but pods that come.
    #[must_use]
    pub fn reliefs(&self) -> u64 {
        self.reliefs
    }

    /// Notes that something about a slot is different that the columns do not hold: waiting pods look at it again.
    pub fn touch(&mut self, slot: Slot) {
        self.reliefs += 1;
        self.record(slot, Change::Usage);
    }

    fn record(&mut self, slot: Slot, change: Change) {
        // Repairing more slots than this costs more than a scan.
        let keep = (self.slots() / 2).max(1024);
        self.journal.push(slot, change, keep);
        if change == Change::Node {
            self.reliefs += 1;
            self.nodes_journal.push(slot, change, keep);
        }
    }

    /// The host ports in use on a node.
    #[must_use]
    pub fn ports(&self, slot: Slot) -> &[HostPort] {
        self.ports.get(&slot).map_or(&[], Vec::as_slice)
    }

    /// Counts every change of what images are where.
    #[must_use]
    pub fn image_epoch(&self) -> u64 {
        self.image_epoch
    }

    /// The size of an image and the number of nodes that hold it.
    #[must_use]
    pub fn image(&self, name: &str) -> Option<(i64, u32)> {
        self.images.get(name).map(|i| (i.size, i.nodes))
    }

    fn change_images(&mut self, old: Vec<crate::rows::NodeImage>, new: &NodeRow) {
        self.drop_images(&old);
        for (name, size) in distinct_images(&new.images) {
            self.image_epoch += 1;
            // As upstream: the size first reported stands while any node holds the image.
            match self.images.get_mut(name) {
                Some(state) => state.nodes += 1,
                None => {
                    self.images.insert(name.into(), ImageState { size, nodes: 1 });
                }
            }
        }
    }

    fn drop_images(&mut self, old: &[crate::rows::NodeImage]) {
        for (name, _) in distinct_images(old) {
            self.image_epoch += 1;
            if let Some(state) = self.images.get_mut(name) {
                state.nodes -= 1;
                if state.nodes == 0 {
                    self.images.remove(name);
                }
            }
        }
    }
}

/// The names of a node's images, each once, with the size of the first image of that name.
fn distinct_images(images: &[crate::rows::NodeImage]) -> impl Iterator<Item = (&str, i64)> {
    let mut seen: Vec<&str> = Vec::new();
    images.iter().flat_map(|i| i.names.iter().map(|n| (&**n, i.size))).filter(move |(name, _)| {
        let new = !seen.contains(name);
        if new {
            seen.push(name);
        }
        new
    })
}

/// A node's standing among equally good nodes, greater is better: the fewest pods first, then the tie-break `tie` of its
/// name. See [`tournament::key`](crate::tournament::key).
#[inline]
#[must_use]
pub fn standing(pods: i64, tie: u64) -> u64 {
    const CROWDED: u64 = 0xFFFF;
    let room = CROWDED - u64::try_from(pods).unwrap_or(0).min(CROWDED);
    (room << 48) | (tie >> 16)
}

/// The tie-break of a node's name: random, but the same whenever it is asked for.
#[must_use]
pub fn tie(seed: u64, name: &str) -> u64 {
    // FNV-1a, then mixed (the finaliser of SplitMix64): names that differ in one digit must not come in order.
    let hash = name.bytes().fold(0xCBF2_9CE4_8422_2325 ^ seed, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01B3));
    let hash = (hash ^ (hash >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let hash = (hash ^ (hash >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    hash ^ (hash >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, cpu: i64) -> NodeRow {
        NodeRow {
            name: name.into(),
            labels: vec![("zone".into(), "a".into())],
            allocatable: Amounts { cpu, pods: 10, ..Amounts::default() },
            ..NodeRow::default()
        }
    }

    #[test]
    fn an_unchanged_node_leaves_no_trace_in_the_journal() {
        let mut columns = Columns::new(1);
        assert!(columns.set_node(node("a", 4)));
        let head = columns.journal.head();
        assert!(!columns.set_node(node("a", 4)));
        assert_eq!(columns.journal.head(), head);
        assert!(columns.set_node(node("a", 5)));
        assert_eq!(columns.journal.since(head).expect("kept").collect::<Vec<_>>(), [(0, Change::Node)]);
    }

    #[test]
    fn a_slot_outlives_its_node_while_pods_are_on_it_and_is_reused_after() {
        let mut columns = Columns::new(1);
        columns.set_node(node("a", 4));
        let slot = columns.find("a").expect("there");
        let load = Load { cpu: 1, ..Load::default() };
        columns.occupy(slot, &load);
        columns.remove_node("a");
        assert_eq!((columns.count(), columns.find("a")), (0, Some(slot)));
        columns.set_node(node("a", 4));
        assert_eq!(columns.cpu.used[slot as usize], 1);
        columns.remove_node("a");
        columns.vacate(slot, &load);
        assert_eq!(columns.find("a"), None);
        assert_eq!(columns.slot("b"), slot);
        assert_eq!(columns.cpu.used[slot as usize], 0);
    }

    #[test]
    fn label_columns_follow_the_nodes() {
        let mut columns = Columns::new(1);
        columns.set_node(node("a", 4));
        let zone = columns.label_column("zone");
        let a = columns.texts.id("a");
        assert_eq!(columns.label(zone, 0), a);
        assert!(columns.is_unique(zone));
        columns.set_node(node("c", 4));
        assert!(!columns.is_unique(zone));
        columns.remove_node("c");
        assert!(columns.is_unique(zone));
        columns.set_node(NodeRow { labels: vec![], ..node("a", 4) });
        assert_eq!(columns.label(zone, 0), NO_TEXT);
        columns.set_node(node("b", 4));
        assert_eq!(columns.label(zone, 1), a);
    }

    #[test]
    fn a_journal_that_forgot_says_so() {
        let mut columns = Columns::new(1);
        columns.set_node(node("a", 4));
        for _ in 0..2000 {
            columns.occupy(0, &Load::default());
        }
        assert!(columns.journal.since(0).is_none());
        assert!(columns.journal.since(columns.journal.head()).is_some_and(|mut c| c.next().is_none()));
    }

    #[test]
    fn images_are_counted_once_per_node() {
        let image = |size| crate::rows::NodeImage { names: vec!["i:1".into(), "i:1".into()], size };
        let mut columns = Columns::new(1);
        columns.set_node(NodeRow { images: vec![image(5)], ..node("a", 4) });
        columns.set_node(NodeRow { images: vec![image(7)], ..node("b", 4) });
        assert_eq!(columns.image("i:1"), Some((5, 2)));
        columns.remove_node("a");
        columns.set_node(node("b", 4));
        assert_eq!(columns.image("i:1"), None);
    }
}
