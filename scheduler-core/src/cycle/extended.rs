//! Pods whose extended resources devices may stand in for ([`devices::extended`](crate::devices::extended)): DeviceClasses
//! come and go without the pods' knowing, so each decision looks again. A pod that no class stands behind is as plain as
//! any other; one that a class stands behind has its nodes asked for devices.

use std::sync::Arc;

use super::Scheduler;
use crate::pods::{PodIndex, State};
use crate::rows::{Demand, Needs};
use crate::storage::Tenant;

impl Scheduler {
    /// What a pod may need: where devices stand in for nothing, its extended resources are none of their business.
    pub(super) fn noted(&self, needs: Option<Box<Needs>>) -> Option<Box<Needs>> {
        let mut needs = needs?;
        if !self.config.devices_stand_in {
            needs.extended.clear();
        }
        (!needs.is_empty()).then_some(needs)
    }

    /// Says in a demand which of its resources devices may stand in for.
    pub(super) fn back(&self, demand: &mut Demand, needs: Option<&Needs>) {
        demand.backed.clear();
        let asks = needs.map_or(&[][..], |needs| &needs.extended);
        if !asks.is_empty() {
            demand.backed.extend(self.storage.devices().backed(asks).cloned());
            demand.backed.sort_unstable();
            demand.backed.dedup();
        }
    }

    /// What a pod needs as things are: extended resources alone are nothing while no class stands behind them.
    pub(super) fn in_force(&self, needs: Option<&Arc<Tenant>>) -> Option<Arc<Tenant>> {
        let is_backed = |needs: &Needs| self.storage.devices().backed(&needs.extended).next().is_some();
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
        if std::mem::replace(&mut self.backing, version) == version {
            return;
        }
        let asks = |tenant: &Arc<Tenant>| !tenant.needs.extended.is_empty();
        let pods = self.pods.iter().filter(|(_, pod)| pod.state == State::Waiting);
        let waiting: Vec<PodIndex> =
            pods.filter(|(_, pod)| pod.needs.as_ref().is_some_and(asks)).map(|(index, _)| index).collect();
        waiting.into_iter().for_each(|index| self.activate(index));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cycle::{Config, Event};
    use crate::plan::Decision;
    use crate::profile::Profile;
    use crate::rows::devices::{ContainerAsk, DeviceClassRow, DeviceRow, Reach, ResourceAsk, SliceRow};
    use crate::rows::storage::{Change, Thing};
    use crate::rows::{Amounts, NodeRow, PodRow};

    fn is(thing: Thing) -> Event {
        Event::Storage(Change::Is(Box::new(thing)))
    }

    /// What becomes of a pod that asks for a GPU, on a node that has none but a device of a class that stands behind it.
    fn decided(config: Config) -> Decision {
        let allocatable = Amounts { cpu: 1000, pods: 10, ..Amounts::default() };
        let device = DeviceRow { name: "x".into(), ..DeviceRow::default() };
        let (name, driver, pool, reach) = ("s".into(), "d.e".into(), "p".into(), Reach::Node("n".into()));
        let slice = SliceRow { name, driver, pool, reach, slices: 1, devices: vec![device], ..SliceRow::default() };
        let extended = Some("x.y/gpu".into());
        let wants = vec![ResourceAsk { resource: "x.y/gpu".into(), count: 1, at: 0 }];
        let asks = vec![ContainerAsk { name: "c".into(), wants, ..ContainerAsk::default() }];
        let requests = Amounts { extended: vec![("x.y/gpu".into(), 1)], ..Amounts::default() };
        let pod = PodRow {
            name: "p".into(),
            uid: "p".into(),
            scheduler: "default-scheduler".into(),
            demand: Demand { requests, ..Demand::default() },
            needs: Some(Box::new(Needs { extended: asks, ..Needs::default() })),
            ..PodRow::default()
        };
        let events = [
            Event::Node(Box::new(NodeRow { name: "n".into(), allocatable, ..NodeRow::default() })),
            is(Thing::DeviceClass(DeviceClassRow { name: "gpus".into(), extended, ..DeviceClassRow::default() })),
            is(Thing::Slice(slice)),
            Event::Pod(Box::new(pod)),
        ];
        Scheduler::new(config).step(0, events, 10).decisions.remove(0)
    }

    #[test]
    fn devices_stand_in_only_where_the_gate_is_on() {
        let Decision::Bind(placement) = decided(Config::default()) else { panic!("there is a device") };
        assert_eq!(placement.preparation.expect("a claim is to be made").claims.len(), 1);

        let off = Config { devices_stand_in: false, ..Config::default() };
        let Decision::Refuse(refusal) = decided(off.clone()) else { panic!("there is no GPU") };
        assert!(refusal.message.starts_with("0/1 nodes are available: 1 Insufficient x.y/gpu."), "{}", refusal.message);
        // Somebody else sees to the resource: nothing is claimed for it.
        let ignored_resources = vec!["x.y/gpu".into()];
        let profile = Arc::new(Profile { ignored_resources, ..Profile::default() });
        let Decision::Bind(placement) = decided(Config { profiles: vec![profile], ..off }) else { panic!("it fits") };
        assert!(placement.preparation.is_none());
    }
}
