//! All that is known of devices (dynamic resource allocation, KEP-4381 and its followers), with the allocations that were
//! decided and are not yet seen written. A part of [`storage`](crate::storage), which hears the changes and wakes the
//! pods.
//!
//! ```text
//! claims, classes, slices ─→ Devices ─ ask (a pod's claims looked up: refused at once, or compiled)
//!                              │              └─ wishes (selectors, evaluated once per device)
//!                              ├─ pools (slices that belong together; what of them a node reaches)
//!                              ├─ use (which devices are taken, by claims seen or assumed)
//!                              ├─ extended (devices that stand in for extended resources)
//!                              ├─ known (what was found out about nodes for such claims)
//!                              └─ allocate (search on one node) ─→ grant (what the claim's status says)
//! ```
//! Gates as in 1.36: extended resources by DeviceClass, admin access, prioritized lists, partitionable devices, taints of devices, binding conditions and
//! consumable capacity are on; lists as attributes, DeviceTaintRules and node-allocatable resources are off.

pub mod allocate;
pub mod ask;
mod capacity;
pub mod extended;
pub mod grant;
mod known;
mod pools;
#[cfg(test)]
mod tests;
mod usage;
mod wishes;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ahash::RandomState;
use hashbrown::HashMap;

use crate::intern::fixed_hasher;
use crate::rows::devices::{Allocation, DeviceClaimRow, DeviceClassRow, Reach, SliceRow};
use crate::rows::storage::Key;

use extended::Backing;
use grant::ClaimWork;
use known::Knowledge;
use pools::{Pool, Slice, SliceId};
use usage::Usage;
use wishes::Wishes;

type Map<K, V> = HashMap<K, V, RandomState>;

/// Whom a change of devices concerns, besides those who wait for the very object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// Pods that would run on these nodes.
    On(Vec<Box<str>>),
    /// All pods that wait for devices.
    Everywhere,
}

/// Everything about devices.
#[derive(Debug)]
pub struct Devices {
    claims: Map<Key, DeviceClaimRow>,
    /// The claims that were made for pods' extended resources, by the pod's uid.
    made: Map<Box<str>, Key>,
    backing: Backing,
    classes: Map<Box<str>, Arc<DeviceClassRow>>,
    slices: Vec<Option<Slice>>,
    free: Vec<SliceId>,
    by_name: Map<Box<str>, SliceId>,
    /// Slices of one node, by its name.
    on_node: Map<Box<str>, BTreeSet<SliceId>>,
    /// All others.
    elsewhere: BTreeSet<SliceId>,
    /// By `driver/pool`, which is the order they are tried in.
    pools: BTreeMap<Box<str>, Pool>,
    /// Allocations decided, not yet seen written, by the claim's uid.
    assumed: Map<Box<str>, Arc<Allocation>>,
    usage: Usage,
    wishes: Wishes,
    known: Knowledge,
    /// Counts the slices that came or changed.
    stamp: u64,
}

impl Default for Devices {
    fn default() -> Self {
        let hasher = fixed_hasher;
        Self {
            claims: HashMap::with_hasher(hasher()),
            made: HashMap::with_hasher(hasher()),
            backing: Backing::new(HashMap::with_hasher(hasher())),
            classes: HashMap::with_hasher(hasher()),
            slices: Vec::new(),
            free: Vec::new(),
            by_name: HashMap::with_hasher(hasher()),
            on_node: HashMap::with_hasher(hasher()),
            elsewhere: BTreeSet::new(),
            pools: BTreeMap::new(),
            assumed: HashMap::with_hasher(hasher()),
            usage: Usage::default(),
            wishes: Wishes::default(),
            known: Knowledge::default(),
            stamp: 0,
        }
    }
}

impl Devices {
    /// The keys of all claims.
    pub(crate) fn claim_keys(&self) -> impl Iterator<Item = &Key> {
        self.claims.keys()
    }

    /// The names of all classes.
    pub(crate) fn class_names(&self) -> impl Iterator<Item = &Box<str>> {
        self.classes.keys()
    }

    /// The names of all slices.
    pub(crate) fn slice_names(&self) -> impl Iterator<Item = &Box<str>> {
        self.by_name.keys()
    }

    /// A claim as it is now. `None` when that is nothing new; otherwise whom devices that it gave back may help.
    pub(crate) fn set_claim(&mut self, row: DeviceClaimRow) -> Option<News> {
        if self.claims.get(&row.key) == Some(&row) {
            return None;
        }
        let mut freed = Vec::new();
        if let Some(old) = self.claims.get(&row.key) {
            freed.extend(old.allocation.clone());
            if old.uid != row.uid {
                let assumed = self.assumed.remove(&old.uid);
                freed.extend(assumed);
            }
        }
        if row.allocation.is_some() {
            // Whatever was assumed: now there is evidence.
            freed.extend(self.assumed.remove(&row.uid));
            if row.extended {
                freed.extend(self.assumed.remove(&extended::unmade_uid(&row.pod)));
            }
        }
        if let Some(allocation) = &row.allocation {
            self.take(allocation);
        }
        if row.extended {
            self.made.insert(row.pod.clone(), row.key.clone());
        }
        self.claims.insert(row.key.clone(), row);
        Some(self.release_all(&freed))
    }

    /// A claim is gone.
    pub(crate) fn remove_claim(&mut self, key: &Key) -> Option<News> {
        let old = self.claims.remove(key)?;
        if self.made.get(&old.pod) == Some(key) {
            self.made.remove(&old.pod);
        }
        let assumed = self.assumed.remove(&old.uid);
        let freed: Vec<Arc<Allocation>> = old.allocation.into_iter().chain(assumed).collect();
        Some(self.release_all(&freed))
    }

    /// A class as it is now; says whether that is news.
    pub(crate) fn set_class(&mut self, row: DeviceClassRow) -> bool {
        let news = self.classes.get(&row.name).is_none_or(|known| **known != row);
        if news {
            self.known.forget_all();
            self.classes.insert(row.name.clone(), Arc::new(row));
            self.backing.renew(self.classes.values());
        }
        news
    }

    /// A class is gone.
    pub(crate) fn remove_class(&mut self, name: &str) -> bool {
        let news = self.classes.remove(name).is_some();
        self.known.forget_all();
        self.backing.renew(self.classes.values());
        news
    }

    /// A slice as it is now.
    pub(crate) fn set_slice(&mut self, row: SliceRow) -> Option<News> {
        let known = self.by_name.get(&row.name).copied();
        if known.is_some_and(|id| self.slice(id).row == row) {
            return None;
        }
        let before = self.remove_slice(&row.name.clone());
        self.stamp += 1;
        let id = self.free.pop().unwrap_or_else(|| {
            self.slices.push(None);
            SliceId::try_from(self.slices.len() - 1).unwrap_or(SliceId::MAX)
        });
        self.by_name.insert(row.name.clone(), id);
        match &row.reach {
            Reach::Node(node) => self.on_node.entry(node.clone()).or_default().insert(id),
            _ => self.elsewhere.insert(id),
        };
        let slice = Slice::new(row, self.stamp, &self.usage);
        let pool_id = slice.pool.clone();
        let pool = self.pools.entry(pool_id.clone()).or_default();
        pool.enter(id, &slice);
        self.slices[id as usize] = Some(slice);
        self.settle_pool(&pool_id);
        let now = self.news_of_pool(&pool_id);
        self.known.disturb(&now);
        Some(match before {
            Some(before) => both(before, now),
            None => now,
        })
    }

    /// A slice is gone.
    pub(crate) fn remove_slice(&mut self, name: &str) -> Option<News> {
        let id = self.by_name.remove(name)?;
        let pool_id = self.slice(id).pool.clone();
        // While it is still one of the pool.
        let news = self.news_of_pool(&pool_id);
        self.known.disturb(&news);
        let slice = self.slices[id as usize].take()?;
        match &slice.row.reach {
            Reach::Node(node) => {
                if let Some(ids) = self.on_node.get_mut(node) {
                    ids.remove(&id);
                    if ids.is_empty() {
                        self.on_node.remove(node);
                    }
                }
            }
            _ => {
                self.elsewhere.remove(&id);
            }
        }
        if let Some(pool) = self.pools.get_mut(&pool_id) {
            pool.leave(id, &slice);
            if pool.is_empty() {
                self.pools.remove(&pool_id);
            }
        }
        self.settle_pool(&pool_id);
        self.free.push(id);
        Some(news)
    }

    /// Holds the allocations that were decided for a pod.
    pub(crate) fn assume(&mut self, work: &[ClaimWork]) {
        for claim in work {
            if let Some(grant) = &claim.grant {
                let allocation = Arc::new(grant.allocation());
                self.take(&allocation);
                self.assumed.insert(claim.uid.clone(), allocation);
            }
        }
    }

    /// Takes them back, as far as the API has not said them meanwhile.
    pub(crate) fn take_back(&mut self, work: &[ClaimWork]) -> Option<News> {
        let assumed = work.iter().filter_map(|claim| self.assumed.remove(&claim.uid));
        let freed: Vec<Arc<Allocation>> = assumed.collect();
        (!freed.is_empty()).then(|| self.release_all(&freed))
    }

    fn slice(&self, id: SliceId) -> &Slice {
        self.slices[id as usize].as_ref().expect("slices are taken out of all indexes when they go")
    }

    fn take(&mut self, allocation: &Allocation) {
        for result in allocation.results.iter().filter(|result| !result.admin) {
            self.usage.take(result);
            self.show_use(&result.device);
            let of_pool = self.news_of_pool(&pools::pool_id(&result.device.driver, &result.device.pool));
            self.known.disturb(&of_pool);
        }
    }

    fn release_all(&mut self, freed: &[Arc<Allocation>]) -> News {
        let mut news = News::On(Vec::new());
        for result in freed.iter().flat_map(|allocation| &allocation.results).filter(|result| !result.admin) {
            self.usage.release(result);
            self.show_use(&result.device);
            let of_pool = self.news_of_pool(&pools::pool_id(&result.device.driver, &result.device.pool));
            news = both(news, of_pool);
        }
        self.known.disturb(&news);
        news
    }

    /// Tells the slices that hold a device how it is used.
    fn show_use(&mut self, device: &crate::rows::devices::DeviceId) {
        let Some(pool) = self.pools.get(&*pools::pool_id(&device.driver, &device.pool)) else { return };
        for (id, at) in pool.places(&device.name) {
            if let Some(slice) = &mut self.slices[*id as usize] {
                slice.devices[*at as usize].usage = self.usage.of(device).cloned();
            }
        }
    }

    /// Who can be helped by a change in a pool.
    fn news_of_pool(&self, pool: &str) -> News {
        let Some(pool) = self.pools.get(pool) else { return News::On(Vec::new()) };
        let mut nodes = BTreeSet::new();
        for id in pool.slices() {
            match &self.slice(id).row.reach {
                Reach::Node(node) => nodes.insert(node.clone()),
                _ => return News::Everywhere,
            };
        }
        // What is missing of a pool of several nodes keeps all of them from it.
        if nodes.len() > 1 { News::Everywhere } else { News::On(nodes.into_iter().collect()) }
    }
}

fn both(a: News, b: News) -> News {
    match (a, b) {
        (News::On(mut a), News::On(b)) => {
            for node in b {
                if !a.contains(&node) {
                    a.push(node);
                }
            }
            News::On(a)
        }
        _ => News::Everywhere,
    }
}
