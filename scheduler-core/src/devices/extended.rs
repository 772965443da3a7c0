//! Devices that stand in for extended resources (KEP-5004): a pod asks for `example.com/gpu: 2`, a DeviceClass names that
//! resource, and a node that has none of it itself gives devices of the class instead, by a claim that is made for the pod
//! when it is bound.
//!
//! Which resources a node lacks differs from node to node, and with it what would have to be claimed there: a
//! [`StandIns`] holds one list of claims for every set of resources that some node lacks; there are few.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::ask::{Open, Refused};
use super::known::Answers;
use super::{Devices, Map};
use crate::columns::{Columns, ExtendedId, Slot};
use crate::plan::PodId;
use crate::rows::devices::{ClaimSpec, ContainerAsk, DeviceClassRow, Request, Wanted};
use crate::rows::storage::Key;

/// Every DeviceClass stands behind a resource of this prefix and its name.
pub const IMPLICIT: &str = "deviceclass.resource.kubernetes.io/";
/// The annotation of claims that are made for a pod's extended resources.
pub const ANNOTATION: &str = "resource.kubernetes.io/extended-resource-claim";
/// What a claim is called that has yet to be made.
const UNMADE: &str = "<extended-resources>";
/// Resources of one pod that devices may stand in for; a bit each.
const RESOURCES_MAX: usize = 32;

/// A claim to be made for a pod's extended resources.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewClaim {
    /// Its requests.
    pub requests: Vec<NewRequest>,
    /// What becomes of each container's wishes: `status.extendedResourceClaimStatus.requestMappings`.
    pub mappings: Vec<Mapping>,
}

/// A request of such a claim.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewRequest {
    /// Its name.
    pub name: Box<str>,
    /// The class of its devices.
    pub class: Box<str>,
    /// How many.
    pub count: usize,
}

/// Where a container finds the devices that stand in for a resource.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mapping {
    /// The container.
    pub container: Box<str>,
    /// The resource.
    pub resource: Box<str>,
    /// The request.
    pub request: Box<str>,
}

/// The uid that a claim goes by which has yet to be made for a pod.
pub(super) fn unmade_uid(pod: &str) -> Box<str> {
    format!("extended/{pod}").into()
}

/// Which class stands behind which resource.
#[derive(Debug)]
pub(super) struct Backing {
    /// Only those that classes name; every class stands behind [`IMPLICIT`] and its own name, too.
    named: Map<Box<str>, Box<str>>,
    /// Counts the changes.
    version: u64,
}

impl Backing {
    pub(super) fn new(named: Map<Box<str>, Box<str>>) -> Self {
        Self { named, version: 0 }
    }

    /// Works it out anew: classes have come, gone, or changed. Of two that name the same resource the one created later
    /// wins, or else the first by name.
    pub(super) fn renew<'a>(&mut self, classes: impl Iterator<Item = &'a Arc<DeviceClassRow>>) {
        self.version += 1;
        self.named.clear();
        let mut all: Vec<&DeviceClassRow> = classes.map(|class| &**class).collect();
        all.sort_unstable_by(|a, b| a.created.cmp(&b.created).then_with(|| b.name.cmp(&a.name)));
        for class in all {
            if let Some(resource) = &class.extended {
                self.named.insert(resource.clone(), class.name.clone());
            }
        }
    }
}

/// What a pod's extended resources come to on nodes that lack some of them.
#[derive(Debug)]
pub(super) struct StandIns {
    resources: Vec<ExtendedId>,
    /// By which of the resources a node lacks, a bit each.
    variants: Vec<(u32, Variant)>,
}

/// All that is to be claimed on nodes that lack the same resources.
#[derive(Debug)]
pub(super) struct Variant {
    /// The pod's own claims and, last, the one to be made.
    pub(super) open: Vec<Open>,
    /// What is known about nodes for them.
    pub(super) known: Arc<Answers>,
    pub(super) new: Arc<NewClaim>,
}

impl StandIns {
    /// What is to be claimed on a node; `None` where it lacks nothing that devices stand in for.
    pub(super) fn on(&self, columns: &Columns, slot: Slot) -> Option<&Variant> {
        let lacking = lacking(&self.resources, columns, slot);
        self.variants.iter().find(|(of, _)| *of == lacking).map(|(_, variant)| variant)
    }
}

fn lacking(resources: &[ExtendedId], columns: &Columns, slot: Slot) -> u32 {
    let mut lacking = 0;
    for (bit, resource) in resources.iter().enumerate() {
        lacking |= u32::from(columns.extended[*resource as usize].allocatable[slot as usize] == 0) << bit;
    }
    lacking
}

impl Devices {
    /// The class that stands behind an extended resource.
    pub(crate) fn class_behind(&self, resource: &str) -> Option<&Arc<DeviceClassRow>> {
        let named = self.backing.named.get(resource).map(|name| &**name);
        self.classes.get(named.or_else(|| resource.strip_prefix(IMPLICIT))?)
    }

    /// Counts the changes of which class stands behind which resource.
    pub(crate) fn backing_version(&self) -> u64 {
        self.backing.version
    }

    /// The resources that a pod asks for and classes stand behind.
    pub(crate) fn backed<'a>(&'a self, asks: &'a [ContainerAsk]) -> impl Iterator<Item = &'a Box<str>> {
        let wants = asks.iter().flat_map(|ask| &ask.wants).map(|want| &want.resource);
        wants.filter(|resource| self.class_behind(resource).is_some())
    }

    /// The claim that was made for a pod's extended resources, and its uid.
    pub(crate) fn made_for(&self, pod: &str) -> Option<(Key, Box<str>)> {
        let claim = self.claims.get(self.made.get(pod)?)?;
        Some((claim.key.clone(), claim.uid.clone()))
    }

    /// What a pod's extended resources come to, with what it claims itself; `None` where that is nothing.
    pub(super) fn stand_ins(
        &mut self,
        columns: &mut Columns,
        pod: &PodId,
        asks: &[ContainerAsk],
        own: &[Open],
        steps_max: u64,
    ) -> Result<Option<StandIns>, Refused> {
        let names: BTreeSet<Box<str>> = self.backed(asks).cloned().collect();
        if names.is_empty() {
            return Ok(None);
        }
        let names: Vec<Box<str>> = names.into_iter().take(RESOURCES_MAX).collect();
        let resources: Vec<ExtendedId> = names.iter().map(|name| columns.extended_id(name)).collect();
        let slots = (0..columns.slots()).map(|slot| Slot::try_from(slot).unwrap_or(Slot::MAX));
        let present = slots.filter(|slot| columns.is_present(*slot));
        let all: BTreeSet<u32> = present.map(|slot| lacking(&resources, columns, slot)).collect();
        let mut variants = Vec::with_capacity(all.len());
        for lacking in all.into_iter().filter(|lacking| *lacking != 0) {
            let lacks = names.iter().enumerate().filter(|(bit, _)| lacking & (1 << bit) != 0);
            let lacks: Vec<(&str, Box<str>)> =
                lacks.filter_map(|(_, name)| Some((&**name, self.class_behind(name)?.name.clone()))).collect();
            let new = new_claim(asks, &lacks);
            let spec = ClaimSpec { requests: new.requests.iter().map(request).collect(), ..ClaimSpec::default() };
            let (key, uid) = (Key::new(&pod.namespace, UNMADE), unmade_uid(&pod.uid));
            let wishes = self.wishes_of(&key, &spec)?;
            let mut open = own.to_vec();
            open.push(Open { key, uid, spec: Arc::new(spec), wishes });
            let known = self.known.of(&open, steps_max, columns);
            variants.push((lacking, Variant { open, known, new: Arc::new(new) }));
        }
        Ok(Some(StandIns { resources, variants }))
    }
}

fn request(request: &NewRequest) -> Request {
    let wanted = Wanted { class: request.class.clone(), count: Some(request.count), ..Wanted::default() };
    Request { name: request.name.clone(), options: vec![wanted], prioritized: false }
}

/// The requests for resources that a node lacks, each with its class; upstream's, with its names.
///
/// Containers that run side by side have a request each. Init containers that end before the containers start use what
/// those after them will have; what they need beyond is one request for all of them, as large as the largest.
fn new_claim(asks: &[ContainerAsk], lacks: &[(&str, Box<str>)]) -> NewClaim {
    let mut claim = NewClaim::default();
    for (resource, class) in lacks {
        let wants = asks.iter().filter_map(|ask| {
            let want = ask.wants.iter().find(|want| *want.resource == **resource)?;
            let name: Box<str> = format!("container-{}-request-{}", ask.at, want.at).into();
            Some((ask, name, usize::try_from(want.count).unwrap_or(0)))
        });
        let (brief, lasting): (Vec<_>, Vec<_>) = wants.partition(|(ask, ..)| ask.ends);
        let mapping = |ask: &ContainerAsk, request: &str| Mapping {
            container: ask.name.clone(),
            resource: (*resource).into(),
            request: request.into(),
        };
        claim.mappings.extend(lasting.iter().map(|(ask, name, _)| mapping(ask, name)));
        let mut beyond: Vec<(&Box<str>, usize)> = Vec::new();
        let mut uses: Vec<Mapping> = Vec::new();
        for (ask, name, count) in &brief {
            let mut left = *count;
            for (_, later, theirs) in lasting.iter().filter(|(later, ..)| later.at >= ask.at) {
                uses.push(mapping(ask, later));
                left = left.saturating_sub(*theirs);
                if left == 0 {
                    break;
                }
            }
            if left > 0 {
                uses.push(mapping(ask, name));
                beyond.push((name, left));
            }
        }
        let mut largest: Option<(&Box<str>, usize)> = None;
        for (name, count) in &beyond {
            if largest.is_none_or(|(_, most)| most < *count) {
                largest = Some((name, *count));
            }
        }
        if let Some((most, count)) = largest {
            for used in uses.iter_mut().filter(|used| beyond.iter().any(|(name, _)| **name == used.request)) {
                used.request = most.clone();
            }
            claim.requests.push(NewRequest { name: most.clone(), class: class.clone(), count });
        }
        claim.mappings.extend(uses);
        let lasting = lasting.into_iter();
        claim.requests.extend(lasting.map(|(_, name, count)| NewRequest { name, class: class.clone(), count }));
    }
    claim.requests.sort_by(|a, b| a.name.cmp(&b.name));
    claim
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::PodRow;

    /// The claim of a pod whose containers ask for `x.y/gpu`: name, whether it is an init container, whether it is a
    /// sidecar, how many.
    fn of(containers: &[(&str, bool, bool, i64)]) -> NewClaim {
        let json = |init: bool| {
            let here = containers.iter().filter(move |(_, is_init, ..)| *is_init == init);
            let one = |(name, _, sidecar, count): &(&str, bool, bool, i64)| {
                let restart = if *sidecar { r#""restartPolicy":"Always","# } else { "" };
                format!(r#"{{"name":"{name}",{restart}"resources":{{"requests":{{"cpu":"1","x.y/gpu":"{count}"}}}}}}"#)
            };
            here.map(one).collect::<Vec<String>>().join(",")
        };
        let body = format!(
            r#"{{"metadata":{{"name":"p"}},"spec":{{"initContainers":[{}],"containers":[{}]}}}}"#,
            json(true),
            json(false)
        );
        let row = PodRow::from_json(body.as_bytes()).expect("a pod");
        new_claim(&row.needs.map(|needs| needs.extended).unwrap_or_default(), &[("x.y/gpu", "gpus".into())])
    }

    fn requests(claim: &NewClaim) -> Vec<(&str, usize)> {
        claim.requests.iter().map(|request| (&*request.name, request.count)).collect()
    }

    fn mappings(claim: &NewClaim) -> Vec<(&str, &str)> {
        claim.mappings.iter().map(|mapping| (&*mapping.container, &*mapping.request)).collect()
    }

    #[test]
    fn containers_have_a_request_each() {
        let claim = of(&[("a", false, false, 1), ("b", false, false, 0), ("c", false, false, 3)]);
        assert_eq!(requests(&claim), [("container-0-request-1", 1), ("container-2-request-1", 3)]);
        assert_eq!(mappings(&claim), [("a", "container-0-request-1"), ("c", "container-2-request-1")]);
    }

    #[test]
    fn init_containers_use_what_those_after_them_will_have() {
        // Enough beside: nothing more is asked for.
        let claim = of(&[("i", true, false, 2), ("a", false, false, 3)]);
        assert_eq!(requests(&claim), [("container-1-request-1", 3)]);
        assert_eq!(mappings(&claim), [("a", "container-1-request-1"), ("i", "container-1-request-1")]);
        // Two that need more share one request, the larger; a sidecar before them is of no use to them.
        let claim = of(&[("s", true, true, 4), ("i", true, false, 2), ("j", true, false, 3), ("a", false, false, 1)]);
        assert_eq!(
            requests(&claim),
            [("container-0-request-1", 4), ("container-2-request-1", 2), ("container-3-request-1", 1)]
        );
        assert_eq!(
            mappings(&claim),
            [
                ("s", "container-0-request-1"),
                ("a", "container-3-request-1"),
                ("i", "container-3-request-1"),
                ("i", "container-2-request-1"),
                ("j", "container-3-request-1"),
                ("j", "container-2-request-1"),
            ]
        );
    }

    #[test]
    fn the_later_class_wins_or_the_first_by_name() {
        let class = |name: &str, created: &str, extended: Option<&str>| {
            let (extended, created) = (extended.map(Box::from), created.into());
            DeviceClassRow { name: name.into(), extended, created, ..DeviceClassRow::default() }
        };
        let mut devices = Devices::default();
        let behind = |devices: &Devices, resource: &str| devices.class_behind(resource).map(|c| c.name.to_string());
        devices.set_class(class("b", "2026-01-01T00:00:00Z", Some("x.y/gpu")));
        devices.set_class(class("a", "2026-01-01T00:00:00Z", Some("x.y/gpu")));
        assert_eq!(behind(&devices, "x.y/gpu").as_deref(), Some("a"));
        devices.set_class(class("c", "2026-01-01T00:00:01Z", Some("x.y/gpu")));
        assert_eq!(behind(&devices, "x.y/gpu").as_deref(), Some("c"));
        assert_eq!(behind(&devices, "deviceclass.resource.kubernetes.io/b").as_deref(), Some("b"));
        let version = devices.backing_version();
        devices.remove_class("c");
        assert_eq!(behind(&devices, "x.y/gpu").as_deref(), Some("a"));
        assert!(devices.backing_version() > version && behind(&devices, "x.y/other").is_none());
    }
}
