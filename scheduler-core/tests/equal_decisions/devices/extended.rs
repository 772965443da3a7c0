//! Devices in the stead of extended resources, as one would note it on the blackboard: node by node, what the node lacks
//! and some class stands behind.

use std::collections::BTreeSet;
use std::sync::Arc;

use gantry_scheduler_core::devices::extended::{Mapping, NewClaim, NewRequest};
use gantry_scheduler_core::rows::devices::{ClaimSpec, DeviceClaimRow, Request, Wanted};
use gantry_scheduler_core::rows::storage::Key;
use gantry_scheduler_core::rows::{NodeRow, PodRow};

use super::Rack;

impl Rack {
    /// The class behind a resource.
    fn class_behind(&self, resource: &str) -> Option<&str> {
        let named = self.classes.values().filter(|class| class.extended.as_deref() == Some(resource));
        let newest = named.clone().map(|class| &class.created).max();
        // By name: the first of those created last.
        let named = named.into_iter().find(|class| Some(&class.created) == newest).map(|class| &*class.name);
        let implied = resource.strip_prefix("deviceclass.resource.kubernetes.io/");
        named.or_else(|| self.classes.get(implied?).map(|class| &*class.name))
    }

    fn backed(&self, pod: &PodRow) -> BTreeSet<Box<str>> {
        let asks = pod.needs.iter().flat_map(|needs| &needs.extended).flat_map(|ask| &ask.wants);
        let asks = asks.map(|want| want.resource.clone());
        asks.filter(|resource| self.class_behind(resource).is_some()).collect()
    }

    /// Whether a class stands behind anything that the pod asks for.
    pub(crate) fn is_backed(&self, pod: &PodRow) -> bool {
        !self.backed(pod).is_empty()
    }

    /// Whether devices stand in for a resource on a node.
    pub(crate) fn stands_in(&self, resource: &str, node: &NodeRow) -> bool {
        node.allocatable.extended(resource) == 0 && self.class_behind(resource).is_some()
    }

    /// The claim that an earlier attempt made for the pod.
    pub(crate) fn stale(&self, pod: &PodRow) -> Option<&DeviceClaimRow> {
        self.claims.values().find(|claim| self.is_backed(pod) && claim.extended && claim.pod == pod.uid)
    }

    /// The claim that would be made for the pod on a node, and what it is made of.
    pub(super) fn stand_in(&self, pod: &PodRow, node: &NodeRow) -> Option<(DeviceClaimRow, NewClaim)> {
        let lacking: Vec<Box<str>> = self.backed(pod).into_iter().filter(|r| self.stands_in(r, node)).collect();
        let mut new = NewClaim::default();
        for resource in &lacking {
            for ask in pod.needs.iter().flat_map(|needs| &needs.extended) {
                for want in ask.wants.iter().filter(|want| want.resource == *resource) {
                    let name: Box<str> = format!("container-{}-request-{}", ask.at, want.at).into();
                    let class = self.class_behind(resource).expect("it is backed").into();
                    new.requests.push(NewRequest { name: name.clone(), class, count: want.count as usize });
                    let (container, resource) = (ask.name.clone(), resource.clone());
                    new.mappings.push(Mapping { container, resource, request: name });
                }
            }
        }
        new.requests.sort_by(|a, b| a.name.cmp(&b.name));
        let row = DeviceClaimRow {
            key: Key::new(&pod.namespace, "<extended-resources>"),
            uid: format!("extended/{}", pod.uid).into(),
            spec: spec(&new),
            ..DeviceClaimRow::default()
        };
        (!lacking.is_empty()).then_some((row, new))
    }
}

fn spec(new: &NewClaim) -> Arc<ClaimSpec> {
    let request = |request: &NewRequest| Request {
        name: request.name.clone(),
        options: vec![Wanted { class: request.class.clone(), count: Some(request.count), ..Wanted::default() }],
        prioritized: false,
    };
    Arc::new(ClaimSpec { requests: new.requests.iter().map(request).collect(), ..ClaimSpec::default() })
}

/// The claim once it is made.
pub(super) fn made(namespace: &str, pod: &str, new: &NewClaim) -> DeviceClaimRow {
    DeviceClaimRow {
        key: Key::new(namespace, &format!("{pod}-extended-resources-x")),
        uid: format!("uid-of-{pod}-extended").into(),
        pod: pod.into(),
        extended: true,
        spec: spec(new),
        ..DeviceClaimRow::default()
    }
}
