//! Pods with claims of devices: held back while their claims are not there (upstream's PreEnqueue of DynamicResources), and
//! told when nodes have devices that they had not.

use std::sync::Arc;

use super::Scheduler;
use crate::gangs::Standing;
use crate::plan::Millis;
use crate::pods::{PodIndex, State};
use crate::profile::{Plugin, Profile};
use crate::rows::devices::ClaimName;
use crate::rows::storage::{Key, Needs};
use crate::storage::Tenant;

impl Scheduler {
    /// What a pod needs of volumes and devices has changed: its claims have been made.
    pub(super) fn change_needs(&mut self, index: PodIndex, needs: Option<Box<Needs>>) {
        let pod = self.pods.at(index);
        if pod.needs.as_ref().map(|tenant| &tenant.needs) == needs.as_deref() {
            return;
        }
        let needs = needs.map(|needs| Arc::new(Tenant { id: (*pod.id).clone(), needs: *needs }));
        let state = pod.state;
        let tenant = self.in_force(needs.as_ref());
        if let Some(slot) = state.slot() {
            self.tell_neighbours(index, slot, false);
        }
        if state == State::Waiting {
            self.activate(index);
        }
        self.stop_missing(index);
        let pod = self.pods.at(index);
        (pod.needs, pod.tenant) = (needs, tenant);
        if let Some(slot) = state.slot() {
            self.tell_neighbours(index, slot, true);
        }
    }

    /// Whether a pod's claims are there and may be used by it; if not, it is noted which are missed.
    pub(super) fn has_its_claims(&mut self, index: PodIndex, profile: &Profile) -> bool {
        let Some(pod) = self.pods.get(index) else { return true };
        let Some(tenant) = pod.tenant.as_ref().filter(|tenant| !tenant.needs.devices.is_empty()) else { return true };
        if !profile.pre_enqueue.has(Plugin::DynamicResources)
            || self.storage.devices().claims_of(&pod.id, &tenant.needs.devices).is_ok()
        {
            return true;
        }
        for key in keys(tenant) {
            let waiting = self.missing.entry(key).or_default();
            if !waiting.contains(&index) {
                waiting.push(index);
            }
        }
        false
    }

    /// Lets those in whose claims have come.
    pub(super) fn let_in(&mut self, now: Millis) {
        for key in self.storage.take_changed_claims() {
            for index in self.missing.remove(&key).unwrap_or_default() {
                let Some(pod) = self.pods.get(index) else { continue };
                if pod.state != State::Gated {
                    continue;
                }
                let profile = Arc::clone(&self.classes.get(pod.class).profile);
                if self.has_its_claims(index, &profile) {
                    self.stop_missing(index);
                    let pod = self.pods.at(index);
                    pod.gated = false;
                    pod.since = now;
                    if self.standing(index) == Standing::NotYet {
                        self.hold_back(index);
                    } else {
                        self.arrivals.added += 1;
                        self.activate(index);
                    }
                }
            }
        }
    }

    /// A pod misses no claims any more.
    pub(super) fn stop_missing(&mut self, index: PodIndex) {
        if self.missing.is_empty() {
            return;
        }
        let Some(tenant) = self.pods.get(index).and_then(|pod| pod.tenant.as_ref()) else { return };
        for key in keys(tenant) {
            if let Some(waiting) = self.missing.get_mut(&key) {
                waiting.retain(|other| *other != index);
                if waiting.is_empty() {
                    self.missing.remove(&key);
                }
            }
        }
    }

    /// Marks the nodes whose devices have changed: whoever waits looks at them again.
    pub(super) fn hear_of_devices(&mut self) {
        for node in self.storage.take_changed_nodes() {
            if let Some(slot) = self.columns.find(&node) {
                self.columns.touch(slot);
            }
        }
    }
}

fn keys(tenant: &Tenant) -> Vec<Key> {
    let names = tenant.needs.devices.iter().filter_map(|used| match &used.claim {
        ClaimName::Is(name) => Some(name),
        ClaimName::Pending | ClaimName::None => None,
    });
    names.map(|name| Key::new(&tenant.id.namespace, name)).collect()
}
