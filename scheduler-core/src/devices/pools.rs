//! Slices that belong together: the pools of drivers, their generations, and what of them a node reaches.
//!
//! A pool counts when all slices of its greatest generation are there; while a driver replaces one generation by the next
//! it is incomplete, and nothing is allocated from it. A pool that contradicts itself is invalid, likewise.

use std::collections::BTreeMap;

use ahash::RandomState;
use gantry_cel::device::Device as Seen;
use hashbrown::HashMap;
use smallvec::SmallVec;

use super::Devices;
use super::usage::{Usage, Used};
use crate::intern::fixed_hasher;
use crate::rows::NodeRow;
use crate::rows::devices::{CounterSet, DeviceId, Reach, SliceRow};

/// The number of a slice, as long as it is there.
pub(super) type SliceId = u32;

/// A slice.
#[derive(Debug)]
pub(super) struct Slice {
    pub(super) row: SliceRow,
    /// `driver/pool`.
    pub(super) pool: Box<str>,
    /// Another one for every slice that came: what was worked out for one is not for the next.
    pub(super) stamp: u64,
    pub(super) devices: Vec<Device>,
}

/// What is worked out of a device once.
#[derive(Debug)]
pub(super) struct Device {
    /// As selectors see it.
    pub(super) seen: Seen,
    /// How it is used now.
    pub(super) usage: Option<Used>,
}

impl Slice {
    pub(super) fn new(row: SliceRow, stamp: u64, usage: &Usage) -> Self {
        let devices = row.devices.iter().map(|device| {
            let attributes = device.attributes.iter().map(|(name, value)| (&**name, value));
            let capacity = device.capacity.iter().map(|(name, capacity)| (&**name, capacity.value));
            let id = DeviceId { driver: row.driver.clone(), pool: row.pool.clone(), name: device.name.clone() };
            Device { seen: Seen::new(&row.driver, attributes, capacity, device.shared), usage: usage.of(&id).cloned() }
        });
        Self { devices: devices.collect(), stamp, pool: pool_id(&row.driver, &row.pool), row }
    }

    /// Whether any of its devices can be reached from a node.
    fn reaches(&self, node: &NodeRow) -> bool {
        match &self.row.reach {
            Reach::PerDevice => self.row.devices.iter().any(|device| reaches(&device.reach, node)),
            reach => reaches(reach, node),
        }
    }
}

/// Whether something can be reached from a node.
pub(super) fn reaches(reach: &Reach, node: &NodeRow) -> bool {
    match reach {
        Reach::Node(name) => *name == node.name,
        Reach::Everywhere => true,
        Reach::Terms(terms) => terms.iter().any(|term| term.matches_node(&node.name, &node.labels)),
        Reach::Nowhere | Reach::PerDevice => false,
    }
}

/// What a pool is called, and ordered by.
pub(super) fn pool_id(driver: &str, pool: &str) -> Box<str> {
    format!("{driver}/{pool}").into()
}

/// A slice of a pool, and the place of a device in it.
type Place = (SliceId, u16);

/// The slices of a pool, whatever their generation.
#[derive(Debug)]
pub(super) struct Pool {
    /// By name, which is the order they are tried in.
    slices: BTreeMap<Box<str>, (SliceId, i64)>,
    /// Where the devices of a name are.
    devices: HashMap<Box<str>, SmallVec<[Place; 1]>, RandomState>,
    facts: Facts,
}

/// What is worked out whenever a slice comes or goes.
#[derive(Clone, Copy, Debug, Default)]
struct Facts {
    /// The greatest generation.
    newest: i64,
    /// How many slices are of it.
    current: usize,
    /// Whether the pool contradicts itself.
    invalid: bool,
}

impl Default for Pool {
    fn default() -> Self {
        Self { slices: BTreeMap::new(), devices: HashMap::with_hasher(fixed_hasher()), facts: Facts::default() }
    }
}

impl Pool {
    pub(super) fn is_empty(&self) -> bool {
        self.slices.is_empty()
    }

    pub(super) fn slices(&self) -> impl Iterator<Item = SliceId> + '_ {
        self.slices.values().map(|(id, _)| *id)
    }

    pub(super) fn places(&self, device: &str) -> &[Place] {
        self.devices.get(device).map_or(&[], SmallVec::as_slice)
    }

    pub(super) fn enter(&mut self, id: SliceId, slice: &Slice) {
        self.slices.insert(slice.row.name.clone(), (id, slice.row.generation));
        for (at, device) in (0..).zip(&slice.row.devices) {
            self.devices.entry(device.name.clone()).or_default().push((id, at));
        }
    }

    pub(super) fn leave(&mut self, id: SliceId, slice: &Slice) {
        self.slices.remove(&slice.row.name);
        for device in &slice.row.devices {
            if let Some(places) = self.devices.get_mut(&device.name) {
                places.retain(|(of, _)| *of != id);
                if places.is_empty() {
                    self.devices.remove(&device.name);
                }
            }
        }
    }

    /// The slices of the greatest generation.
    pub(super) fn current(&self) -> impl Iterator<Item = SliceId> + '_ {
        self.slices.values().filter(|(_, generation)| *generation == self.facts.newest).map(|(id, _)| *id)
    }
}

/// A pool as one node sees it.
#[derive(Debug)]
pub(super) struct PoolView<'a> {
    /// `driver/pool`.
    pub(super) id: &'a str,
    pub(super) pool: &'a Pool,
    /// The slices that reach the node, in the order of their names.
    pub(super) slices: SmallVec<[(SliceId, &'a Slice); 2]>,
    /// Whether slices are missing.
    pub(super) incomplete: bool,
    /// Whether it contradicts itself.
    pub(super) invalid: bool,
    /// Whether some of its devices are bound under conditions: such pools are tried last.
    conditional: bool,
}

impl Devices {
    /// The pools that a node reaches, in the order in which they are tried.
    pub(super) fn pools_for(&self, node: &NodeRow) -> Vec<PoolView<'_>> {
        let own = self.on_node.get(&node.name).into_iter().flatten();
        let mut views: BTreeMap<&str, PoolView<'_>> = BTreeMap::new();
        for id in own.chain(&self.elsewhere) {
            let slice = self.slice(*id);
            if !slice.reaches(node) {
                continue;
            }
            let Some((name, pool)) = self.pools.get_key_value(&slice.pool) else { continue };
            if slice.row.generation < pool.facts.newest {
                // Outdated; and a pool whose newest slices do not reach the node has nothing for it.
                continue;
            }
            let view = views.entry(name).or_insert_with(|| PoolView {
                id: name,
                pool,
                slices: SmallVec::new(),
                incomplete: false,
                invalid: false,
                conditional: false,
            });
            view.conditional |= slice.row.devices.iter().any(|device| !device.binding.is_empty());
            view.slices.push((*id, slice));
        }
        let mut views: Vec<PoolView<'_>> = views.into_values().collect();
        for view in &mut views {
            view.slices.sort_by(|(_, a), (_, b)| a.row.name.cmp(&b.row.name));
            view.incomplete = i64::try_from(view.pool.facts.current) != Ok(view.slices[0].1.row.slices);
            view.invalid = view.pool.facts.invalid;
        }
        // Stable: by name otherwise.
        views.sort_by_key(|view| view.conditional);
        views
    }

    /// Works out what is known of a pool anew, if it is still there.
    pub(super) fn settle_pool(&mut self, id: &str) {
        let Some(pool) = self.pools.get_mut(id) else { return };
        pool.facts.newest = pool.slices.values().map(|(_, generation)| *generation).max().unwrap_or(0);
        pool.facts.current = pool.current().count();
        let invalid = self.pools.get(id).is_some_and(|pool| self.contradicts_itself(pool));
        if let Some(pool) = self.pools.get_mut(id) {
            pool.facts.invalid = invalid;
        }
    }

    /// Whether two devices of a pool have the same name, or counters are consumed that are not there.
    fn contradicts_itself(&self, pool: &Pool) -> bool {
        let mut plain = true;
        for id in pool.current() {
            let row = &self.slice(id).row;
            plain &= row.counters.is_empty() && row.devices.iter().all(|device| device.consumes.is_empty());
        }
        let current = |(id, _): &&Place| pool.current().any(|other| other == *id);
        if pool.devices.values().any(|places| places.len() > 1 && places.iter().filter(current).count() > 1) {
            return true;
        }
        if plain {
            return false;
        }
        let sets = self.counter_sets(pool);
        let twice = sets.iter().enumerate().any(|(at, set)| sets[..at].iter().any(|other| other.name == set.name));
        let known = |consumed: &CounterSet| {
            let set = sets.iter().find(|set| set.name == consumed.name);
            set.is_some_and(|set| {
                consumed.counters.iter().all(|(name, _)| set.counters.iter().any(|(counter, _)| counter == name))
            })
        };
        let devices = || pool.current().flat_map(|id| &self.slice(id).row.devices);
        twice || !devices().flat_map(|device| &device.consumes).all(known)
    }

    /// The counters of a pool, and how much there is of each.
    pub(super) fn counter_sets(&self, pool: &Pool) -> Vec<&CounterSet> {
        pool.current().flat_map(|id| &self.slice(id).row.counters).collect()
    }

    /// What the devices of a pool that are in use consume of its counters: set, counter, amount.
    pub(super) fn consumed_counters(&self, pool: &Pool) -> Vec<CounterSet> {
        let mut consumed: Vec<CounterSet> = Vec::new();
        for id in pool.current() {
            let slice = self.slice(id);
            let used = slice.row.devices.iter().zip(&slice.devices).filter(|(_, device)| device.usage.is_some());
            for set in used.flat_map(|(device, _)| &device.consumes) {
                add_counters(&mut consumed, set);
            }
        }
        consumed
    }
}

/// Adds counters to those of their set.
pub(super) fn add_counters(sets: &mut Vec<CounterSet>, more: &CounterSet) {
    let at = sets.iter().position(|set| set.name == more.name).unwrap_or_else(|| {
        sets.push(CounterSet { name: more.name.clone(), counters: Vec::new() });
        sets.len() - 1
    });
    for (name, amount) in &more.counters {
        super::usage::add(&mut sets[at].counters, name, *amount);
    }
}
