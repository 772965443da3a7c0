//! Pods with volumes on nodes: who uses a claim, which disks a node has mounted, how many volumes are attached to it.

use std::sync::Arc;

use ahash::RandomState;
use hashbrown::HashMap;

use crate::columns::Slot;
use crate::filter::node_volume_limits::Attached;
use crate::intern::fixed_hasher;
use crate::plan::PodId;
use crate::rows::storage::{Key, Needs};

/// A pod with volumes.
#[derive(Debug, Hash, PartialEq, Eq)]
pub struct Tenant {
    /// Who it is.
    pub id: PodId,
    /// What it needs.
    pub needs: Needs,
}

impl Tenant {
    /// How often it uses a claim by name.
    pub(super) fn uses(&self, claim: &Key) -> u32 {
        let named = self.needs.claims.iter().filter(|used| !used.ephemeral && used.name == claim.name);
        if self.id.namespace == claim.namespace { u32::try_from(named.count()).unwrap_or(u32::MAX) } else { 0 }
    }

    fn keys(&self) -> impl Iterator<Item = (bool, Key)> + '_ {
        self.needs.claims.iter().map(|claim| (claim.ephemeral, Key::new(&self.id.namespace, &claim.name)))
    }
}

/// Who is where.
#[derive(Debug)]
pub(super) struct Tenants {
    on: HashMap<Slot, Vec<Arc<Tenant>>, RandomState>,
    /// Where each claim is used: a slot for each pod.
    used: HashMap<Key, Vec<Slot>, RandomState>,
    /// How often pods on nodes use a claim by its name (not as an ephemeral volume).
    by_name: HashMap<Key, u32, RandomState>,
    /// What is attached to a node; worked out when asked for.
    attached: HashMap<Slot, Attached, RandomState>,
}

impl Default for Tenants {
    fn default() -> Self {
        Self {
            on: HashMap::with_hasher(fixed_hasher()),
            used: HashMap::with_hasher(fixed_hasher()),
            by_name: HashMap::with_hasher(fixed_hasher()),
            attached: HashMap::with_hasher(fixed_hasher()),
        }
    }
}

impl Tenants {
    pub(super) fn enter(&mut self, slot: Slot, tenant: &Arc<Tenant>) {
        self.attached.remove(&slot);
        for (ephemeral, key) in tenant.keys() {
            if !ephemeral {
                *self.by_name.entry(key.clone()).or_default() += 1;
            }
            self.used.entry(key).or_default().push(slot);
        }
        self.on.entry(slot).or_default().push(Arc::clone(tenant));
    }

    pub(super) fn leave(&mut self, slot: Slot, tenant: &Arc<Tenant>) {
        self.attached.remove(&slot);
        for (ephemeral, key) in tenant.keys() {
            if !ephemeral && let Some(count) = self.by_name.get_mut(&key) {
                *count -= 1;
                if *count == 0 {
                    self.by_name.remove(&key);
                }
            }
            if let Some(slots) = self.used.get_mut(&key) {
                if let Some(at) = slots.iter().position(|s| *s == slot) {
                    slots.swap_remove(at);
                }
                if slots.is_empty() {
                    self.used.remove(&key);
                }
            }
        }
        if let Some(here) = self.on.get_mut(&slot) {
            here.retain(|other| other.id.uid != tenant.id.uid);
            if here.is_empty() {
                self.on.remove(&slot);
            }
        }
    }

    /// The pods with volumes on a node.
    pub(super) fn on(&self, slot: Slot) -> &[Arc<Tenant>] {
        self.on.get(&slot).map_or(&[], Vec::as_slice)
    }

    /// How often pods on nodes use a claim by name.
    pub(super) fn users(&self, claim: &Key) -> u32 {
        self.by_name.get(claim).copied().unwrap_or(0)
    }

    /// A claim, or the volume of one, is not what it was.
    pub(super) fn claim_changed(&mut self, claim: &Key) {
        for slot in self.used.get(claim).into_iter().flatten() {
            self.attached.remove(slot);
        }
    }

    /// Everything attached is to be worked out anew.
    pub(super) fn forget_attached(&mut self) {
        self.attached.clear();
    }

    /// What is attached to a node, as last worked out.
    pub(super) fn attached(&self, slot: Slot) -> Option<&Attached> {
        self.attached.get(&slot)
    }

    /// Keeps what is attached to a node.
    pub(super) fn keep(&mut self, slot: Slot, attached: Attached) {
        self.attached.insert(slot, attached);
    }
}
