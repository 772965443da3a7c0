//! Pods whose extended resources devices may stand in for ([`devices::extended`](crate::devices::extended)): DeviceClasses
//! come and go without the pods' knowing, so each decision looks again. A pod that no class stands behind is as plain as
//! any other; one that a class stands behind has its nodes asked for devices.

use std::sync::Arc;

use super::Scheduler;
use crate::pods::{PodIndex, State};
use crate::rows::{Demand, Needs};
use crate::storage::Tenant;

impl Scheduler {
    /// Says in a demand which of its resources devices may stand in for.
    pub(super) fn back(&self, demand: &mut Demand, needs: Option<&Needs>) {
        demand.backed.clear();
        let asks = needs.map_or(&[][..], |needs| &needs.extended);
        if self.config.devices_stand_in && !asks.is_empty() {
            demand.backed.extend(self.storage.devices().backed(asks).cloned());
            demand.backed.sort_unstable();
            demand.backed.dedup();
        }
    }

    /// What a pod needs as things are: extended resources alone are nothing while no class stands behind them.
    pub(super) fn in_force(&self, needs: Option<&Arc<Tenant>>) -> Option<Arc<Tenant>> {
        let is_backed = |needs: &Needs| {
            self.config.devices_stand_in && self.storage.devices().backed(&needs.extended).next().is_some()
        };
        needs.filter(|tenant| !tenant.needs.is_only_extended() || is_backed(&tenant.needs)).cloned()
    }

    /// Looks again at what a pod that is on no node may need, if something may have changed about it.
    pub(super) fn renew(&mut self, index: PodIndex) {
        self.renew_defaults(index);
        let version = self.storage.devices().backing_version();
        let pod = self.pods.at(index);
        if std::mem::replace(&mut pod.backing, version) == version {
            return;
        }
        let Some(needs) = pod.needs.clone().filter(|tenant| !tenant.needs.extended.is_empty()) else { return };
        let mut demand = (*self.classes.get(self.pods.at(index).class).demand).clone();
        self.back(&mut demand, Some(&needs.needs));
        self.reclass(index, demand);
        let tenant = self.in_force(Some(&needs));
        self.pods.at(index).tenant = tenant;
    }

    /// Gives a pod on no node another class, if its demand is another now.
    pub(super) fn reclass(&mut self, index: PodIndex, demand: Demand) {
        let old = self.pods.at(index).class;
        if demand == *self.classes.get(old).demand {
            return;
        }
        let pod = self.pods.at(index);
        if pod.state == State::Waiting && !pod.waits_with_gang {
            // The waiting room is the old class's.
            self.activate(index);
        }
        let new = self.join(demand);
        self.pods.at(index).class = new;
        self.leave(old);
    }

    /// Classes have come or gone: those who wait and ask for extended resources are tried again.
    pub(super) fn hear_of_backing(&mut self) {
        let version = self.storage.devices().backing_version();
        if std::mem::replace(&mut self.backing, version) == version || !self.config.devices_stand_in {
            return;
        }
        let asks = |tenant: &Arc<Tenant>| !tenant.needs.extended.is_empty();
        let pods = self.pods.iter().filter(|(_, pod)| pod.state == State::Waiting);
        let waiting: Vec<PodIndex> =
            pods.filter(|(_, pod)| pod.needs.as_ref().is_some_and(asks)).map(|(index, _)| index).collect();
        waiting.into_iter().for_each(|index| self.activate(index));
    }
}
