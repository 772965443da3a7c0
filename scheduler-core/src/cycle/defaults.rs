//! The profile's own spread constraints, for pods that have none and that a Service or controller selects
//! ("Pod Topology Spread Constraints", cluster-level default constraints).
//!
//! They are part of a pod's demand, and so of its class, and are looked up again at each decision: Services and
//! controllers change without the pod's knowing.

use std::sync::Arc;

use super::Scheduler;
use crate::kindred;
use crate::pods::PodIndex;
use crate::profile::Plugin;
use crate::rows::{Demand, Keeper};

impl Scheduler {
    /// The profile's spread constraints, for a pod that has none and that something selects.
    pub(super) fn add_defaults(
        &self,
        demand: &mut Demand,
        namespace: &str,
        labels: &[(Box<str>, Box<str>)],
        owner: Option<&(Keeper, Box<str>)>,
    ) {
        let profile = &self.config.profiles[usize::from(demand.profile)];
        let plugin = Plugin::PodTopologySpread;
        let asked = profile.weights.of(plugin) > 0 || profile.filters.has(plugin);
        if !demand.spread.is_empty() || !asked {
            return;
        }
        if let Some(selector) = self.kindred.selector(namespace, labels, owner) {
            kindred::add_defaults(demand, &profile.spread_defaults, selector, namespace, labels);
        }
    }

    /// The profile's constraints, and the devices in resources' stead, that a pod was placed by.
    pub(super) fn keep_defaults(&mut self, demand: &mut Demand, known: Option<PodIndex>) {
        let Some(index) = known else { return };
        let class = self.pods.at(index).class;
        let before = &self.classes.get(class).demand;
        demand.backed.clone_from(&before.backed);
        if before.defaulted && demand.spread.is_empty() {
            demand.spread.clone_from(&before.spread);
            if demand.own.is_none() {
                demand.own.clone_from(&before.own);
            }
            (demand.defaulted, demand.lenient) = (true, before.lenient);
        }
    }

    /// Looks for a pod's default constraints again when Services or controllers have changed, as each decision sees them
    /// as they are.
    pub(super) fn renew_defaults(&mut self, index: PodIndex) {
        let version = self.kindred.version();
        let pod = self.pods.at(index);
        if std::mem::replace(&mut pod.kindred, version) == version {
            return;
        }
        let (class, id, labels, owner) = (pod.class, pod.id.clone(), pod.labels.clone(), pod.owner.clone());
        let old = Arc::clone(&self.classes.get(class).demand);
        let mut demand = (*old).clone();
        if demand.defaulted {
            demand.spread.clear();
            (demand.defaulted, demand.lenient) = (false, false);
            if demand.pods.is_none() {
                demand.own = None;
            }
        }
        self.add_defaults(&mut demand, &id.namespace, &labels, owner.as_ref());
        self.reclass(index, demand);
    }
}
