//! Volumes as one would keep them on a blackboard, and clusters' worth of them, small and crowded.

use std::collections::{BTreeMap, BTreeSet};

use gantry_scheduler_core::profile::{Plugin, PluginSet};
use gantry_scheduler_core::rows::storage::{
    AttachmentRow, CapacityRow, Change, ClaimRef, ClaimRow, ClaimUse, CsiDriverRow, CsiNodeRow, Disk, DiskKind, Key,
    Kind, StorageClassRow, Thing, VolumeRow,
};
use gantry_scheduler_core::rows::{Needs, NodeRow, NodeTerm, Operator, PodRow, Requirement, Selector};
use gantry_scheduler_core::storage::Preparation;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use crate::devices::Rack;

const DRIVER: &str = "drv";
const ZONE: &str = "topology.kubernetes.io/zone";

/// All volumes and what says where they can be had; and what was decided and is not yet written.
#[derive(Default)]
pub(crate) struct Shelf {
    pub(crate) volumes: BTreeMap<Box<str>, VolumeRow>,
    pub(crate) claims: BTreeMap<Key, ClaimRow>,
    classes: BTreeMap<Box<str>, StorageClassRow>,
    csi_nodes: BTreeMap<Box<str>, CsiNodeRow>,
    csi_drivers: BTreeMap<Box<str>, CsiDriverRow>,
    capacities: BTreeMap<Key, CapacityRow>,
    attachments: BTreeMap<Box<str>, AttachmentRow>,
    pub(crate) rack: Rack,
    given: BTreeMap<Box<str>, ClaimRef>,
    promised: BTreeMap<Key, Box<str>>,
}

impl Shelf {
    pub(crate) fn put(&mut self, thing: Thing) {
        match thing {
            Thing::Volume(row) => {
                // What does not differ is no news.
                if self.volumes.get(&row.name) != Some(&row) && row.claim.is_some() {
                    self.given.remove(&row.name);
                }
                self.volumes.insert(row.name.clone(), row);
            }
            Thing::Claim(row) => {
                let said = row.selected_node.is_some() || !row.volume.is_empty();
                if self.claims.get(&row.key) != Some(&row) && said {
                    self.promised.remove(&row.key);
                }
                self.claims.insert(row.key.clone(), row);
            }
            Thing::Class(row) => drop(self.classes.insert(row.name.clone(), row)),
            Thing::CsiNode(row) => drop(self.csi_nodes.insert(row.name.clone(), row)),
            Thing::CsiDriver(row) => drop(self.csi_drivers.insert(row.name.clone(), row)),
            Thing::Capacity(row) => drop(self.capacities.insert(row.key.clone(), row)),
            Thing::Attachment(row) => drop(self.attachments.insert(row.name.clone(), row)),
            thing => self.rack.put(thing),
        }
    }

    pub(crate) fn take(&mut self, thing: &Thing) {
        match thing {
            Thing::Volume(row) => {
                if self.volumes.remove(&row.name).is_some() {
                    self.given.remove(&row.name);
                }
            }
            Thing::Claim(row) => {
                if self.claims.remove(&row.key).is_some() {
                    self.promised.remove(&row.key);
                }
            }
            Thing::Class(row) => drop(self.classes.remove(&row.name)),
            Thing::CsiNode(row) => drop(self.csi_nodes.remove(&row.name)),
            Thing::CsiDriver(row) => drop(self.csi_drivers.remove(&row.name)),
            Thing::Capacity(row) => drop(self.capacities.remove(&row.key)),
            Thing::Attachment(row) => drop(self.attachments.remove(&row.name)),
            thing => self.rack.take(thing),
        }
    }

    pub(crate) fn assume(&mut self, work: &Preparation, node: &str) {
        for (claim, volume) in &work.bind {
            self.given.insert(volume.clone(), claim.clone());
        }
        for claim in &work.provision {
            self.promised.insert(claim.key.clone(), node.into());
        }
        self.rack.assume(&work.claims);
    }

    pub(crate) fn take_back(&mut self, work: &Preparation) {
        for (claim, volume) in &work.bind {
            if self.given.get(volume) == Some(claim) {
                self.given.remove(volume);
            }
        }
        for claim in &work.provision {
            self.promised.remove(&claim.key);
        }
        self.rack.take_back(&work.claims);
    }

    /// Why a pod cannot run anywhere.
    pub(crate) fn objection(&self, pod: &PodRow, asked: PluginSet) -> Option<String> {
        let needs = pod.needs.as_deref()?;
        let missing = |name: &str| format!("persistentvolumeclaim \"{name}\" not found");
        let named: Vec<&ClaimUse> = needs.claims.iter().filter(|c| !c.ephemeral).collect();
        if asked.has(Plugin::VolumeRestrictions)
            && let Some(used) = named.iter().find(|used| self.claim(pod, used).is_none())
        {
            return Some(missing(&used.name));
        }
        if asked.has(Plugin::VolumeBinding) {
            for used in &needs.claims {
                let name = &used.name;
                let Some(claim) = self.claim(pod, used) else {
                    return Some(if used.ephemeral {
                        format!(
                            "waiting for ephemeral volume controller to create the persistentvolumeclaim \"{name}\""
                        )
                    } else {
                        missing(name)
                    });
                };
                if claim.lost {
                    let volume = &claim.volume;
                    return Some(format!(
                        "persistentvolumeclaim \"{name}\" bound to non-existent persistentvolume \"{volume}\""
                    ));
                }
                if claim.deleting {
                    return Some(format!("persistentvolumeclaim \"{name}\" is being deleted"));
                }
                if used.ephemeral && claim.controller != pod.uid {
                    let (ns, pod) = (&pod.namespace, &pod.name);
                    return Some(format!("PVC {ns}/{name} was not created for pod {ns}/{pod} (pod is not owner)"));
                }
            }
            for used in &needs.claims {
                let claim = self.claim(pod, used).expect("looked up above");
                let waits = self.classes.get(&claim.class).is_some_and(|class| class.waits);
                if !(is_bound(claim) || waits && claim.volume.is_empty()) {
                    return Some("pod has unbound immediate PersistentVolumeClaims".into());
                }
            }
        }
        if asked.has(Plugin::VolumeZone) {
            for used in named {
                let Some(claim) = self.claim(pod, used) else { return Some(missing(&used.name)) };
                if !claim.volume.is_empty() && !self.volumes.contains_key(&claim.volume) {
                    return Some(format!("persistentvolume \"{}\" not found", claim.volume));
                }
            }
        }
        None
    }

    fn claim(&self, pod: &PodRow, used: &ClaimUse) -> Option<&ClaimRow> {
        self.claims.get(&Key::new(&pod.namespace, &used.name))
    }

    /// The texts against a node, and whether removing pods from it is of no use.
    pub(crate) fn filter(
        &self,
        pod: &PodRow,
        node: &NodeRow,
        asked: PluginSet,
        here: &[&PodRow],
        anywhere: &[&PodRow],
    ) -> Result<(), (Vec<String>, bool)> {
        let Some(needs) = pod.needs.as_deref() else { return Ok(()) };
        let no = |text: &str, hopeless: bool| Err((vec![text.to_owned()], hopeless));
        if asked.has(Plugin::VolumeRestrictions) {
            let mounted = here.iter().flat_map(|p| p.needs.iter().flat_map(|needs| &needs.disks));
            if mounted.into_iter().any(|m| needs.disks.iter().any(|d| clash(m, d))) {
                return no("node(s) had no available disk", false);
            }
            let uses = |p: &PodRow, name: &str| {
                let theirs = p.needs.iter().flat_map(|needs| &needs.claims);
                p.namespace == pod.namespace && theirs.into_iter().any(|c| !c.ephemeral && &*c.name == name)
            };
            let alone = needs.claims.iter().filter(|used| {
                let modes = self.claim(pod, used).map_or(&[][..], |claim| &claim.modes);
                !used.ephemeral && modes.iter().any(|mode| &**mode == "ReadWriteOncePod")
            });
            if alone.into_iter().any(|used| anywhere.iter().any(|p| uses(p, &used.name))) {
                let text =
                    "node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode";
                return no(text, false);
            }
        }
        if asked.has(Plugin::NodeVolumeLimits) && !self.has_room(pod, node, here) {
            return no("node(s) exceed max volume count", false);
        }
        if asked.has(Plugin::VolumeBinding) {
            let texts = self.binding_conflicts(pod, node);
            if !texts.is_empty() {
                return Err((texts, true));
            }
        }
        if asked.has(Plugin::VolumeZone) && !self.is_in_zone(pod, node) {
            return no("node(s) had no available volume zone", true);
        }
        Ok(())
    }

    fn attachable(&self, pod: &PodRow) -> BTreeSet<(Box<str>, Box<str>)> {
        let mut all = BTreeSet::new();
        let Some(needs) = pod.needs.as_deref() else { return all };
        all.extend(needs.inline.iter().cloned());
        for used in &needs.claims {
            let Some(claim) = self.claim(pod, used) else { continue };
            if used.ephemeral && claim.controller != pod.uid {
                continue;
            }
            match self.volumes.get(&claim.volume).filter(|_| !claim.volume.is_empty()) {
                Some(volume) => all.extend(volume.attachment.clone()),
                None => {
                    let class = self.classes.get(&claim.class);
                    all.extend(class.map(|c| (c.provisioner.clone(), format!("new {:?}", claim.key).into())));
                }
            }
        }
        all
    }

    fn has_room(&self, pod: &PodRow, node: &NodeRow, here: &[&PodRow]) -> bool {
        let Some(limits) = self.csi_nodes.get(&node.name).map(|csi| &csi.limits) else { return true };
        let mut there: BTreeSet<(Box<str>, Box<str>)> = here.iter().flat_map(|p| self.attachable(p)).collect();
        for attachment in self.attachments.values().filter(|a| a.node == node.name) {
            there.extend(self.volumes.get(&attachment.volume).and_then(|v| v.attachment.clone()));
        }
        let new: Vec<_> = self.attachable(pod).into_iter().filter(|volume| !there.contains(volume)).collect();
        limits.iter().all(|(driver, limit)| {
            let of = |all: &mut dyn Iterator<Item = &(Box<str>, Box<str>)>| all.filter(|v| v.0 == *driver).count();
            let (new, there) = (of(&mut new.iter()), of(&mut there.iter()));
            new == 0 || i64::try_from(new + there).expect("few") <= *limit
        })
    }

    fn is_in_zone(&self, pod: &PodRow, node: &NodeRow) -> bool {
        let Some(here) = label(&node.labels, ZONE) else { return true };
        let needs = pod.needs.as_deref().expect("asked of pods with volumes");
        let claims = needs.claims.iter().filter(|c| !c.ephemeral).filter_map(|used| self.claim(pod, used));
        let volumes = claims.filter_map(|claim| self.volumes.get(&claim.volume).filter(|_| !claim.volume.is_empty()));
        volumes.filter_map(|v| label(&v.labels, ZONE)).all(|zones| zones.split("__").any(|zone| zone == here))
    }

    fn binding_conflicts(&self, pod: &PodRow, node: &NodeRow) -> Vec<String> {
        let mut texts = Vec::new();
        let needs = pod.needs.as_deref().expect("asked of pods with volumes");
        let bound = needs.claims.iter().filter_map(|used| self.claim(pod, used)).filter(|claim| is_bound(claim));
        for claim in bound {
            match self.volumes.get(&claim.volume) {
                None => {
                    texts.push("node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)".into());
                    break;
                }
                Some(volume) if !reaches(volume, node) => {
                    texts.push("node(s) had volume node affinity conflict".into());
                    break;
                }
                Some(_) => {}
            }
        }
        texts.extend(self.work(pod, node).err().map(str::to_owned));
        texts
    }

    /// What would have to be done on a node.
    pub(crate) fn work(&self, pod: &PodRow, node: &NodeRow) -> Result<Preparation, &'static str> {
        const NOTHING: &str = "node(s) didn't find available persistent volumes to bind";
        let needs = pod.needs.as_deref().expect("asked of pods with volumes");
        let mut open: Vec<&ClaimRow> = Vec::new();
        for claim in needs.claims.iter().filter_map(|used| self.claim(pod, used)).filter(|claim| !is_bound(claim)) {
            if !open.iter().any(|other| other.key == claim.key) {
                open.push(claim);
            }
        }
        open.sort_by_key(|claim| claim.request.unwrap_or(0));
        let promised =
            |claim: &ClaimRow| claim.selected_node.clone().or_else(|| self.promised.get(&claim.key).cloned());
        if open.iter().any(|claim| promised(claim).is_some_and(|to| to != node.name)) {
            return Err(NOTHING);
        }
        let refer = |claim: &ClaimRow| ClaimRef { key: claim.key.clone(), uid: claim.uid.clone() };
        let mut work = Preparation::default();
        work.provision.extend(open.iter().filter(|c| promised(c).is_some()).map(|c| refer(c)));
        for claim in open.iter().filter(|claim| promised(claim).is_none()) {
            let taken = |v: &VolumeRow| work.bind.iter().any(|(_, name)| *name == v.name);
            match self.best_volume(claim, node, &taken) {
                Some(volume) => work.bind.push((refer(claim), volume.name.clone())),
                None => work.provision.push(refer(claim)),
            }
        }
        for claim in &work.provision {
            let claim = &self.claims[&claim.key];
            let class = &self.classes[&claim.class];
            let allowed = |term: &Selector| !term.requirements.is_empty() && selects(term, &node.labels);
            if &*class.provisioner == "kubernetes.io/no-provisioner"
                || !(class.topologies.is_empty() || class.topologies.iter().any(allowed))
            {
                return Err(NOTHING);
            }
            let counts = self.csi_drivers.get(&class.provisioner).is_some_and(|driver| driver.storage_capacity);
            let room = |c: &CapacityRow| {
                c.class == class.name
                    && c.limit.is_some_and(|limit| limit >= claim.request.unwrap_or(0))
                    && c.topology.as_ref().is_some_and(|t| selects(t, &node.labels))
            };
            if counts && claim.request.is_some() && !self.capacities.values().any(room) {
                return Err("node(s) did not have enough free storage");
            }
        }
        Ok(work)
    }

    fn best_volume(&self, claim: &ClaimRow, node: &NodeRow, taken: &dyn Fn(&VolumeRow) -> bool) -> Option<&VolumeRow> {
        let suitable = self.volumes.values().filter(|v| {
            v.class == claim.class
                && v.capacity >= claim.request.unwrap_or(0)
                && v.block == claim.block
                && v.attributes_class == claim.attributes_class
                && !v.deleting
        });
        let mut best: Option<&VolumeRow> = None;
        for volume in suitable.filter(|v| !taken(v)) {
            match self.given.get(&volume.name).or(volume.claim.as_ref()) {
                // One that is meant for the claim counts before all others, wherever it stands in the list.
                Some(of) if of.key == claim.key && (of.uid.is_empty() || of.uid == claim.uid) => {
                    return reaches(volume, node).then_some(volume);
                }
                Some(_) => continue,
                None => {}
            }
            let offered = volume.available
                && claim.selector.as_ref().is_none_or(|s| selects(s, &volume.labels))
                && claim.modes.iter().all(|mode| volume.modes.contains(mode))
                && reaches(volume, node);
            if offered && best.is_none_or(|best| best.capacity > volume.capacity) {
                best = Some(volume);
            }
        }
        best
    }
}

fn is_bound(claim: &ClaimRow) -> bool {
    !claim.volume.is_empty() && claim.bind_completed
}

fn reaches(volume: &VolumeRow, node: &NodeRow) -> bool {
    let holds = |term: &NodeTerm| {
        let terms = Selector { requirements: term.labels.clone() };
        term.fields.is_empty() && !term.labels.is_empty() && selects(&terms, &node.labels)
    };
    volume.terms.as_ref().is_none_or(|terms| terms.iter().any(holds))
}

fn label<'a>(labels: &'a [(Box<str>, Box<str>)], key: &str) -> Option<&'a str> {
    labels.iter().find(|(k, _)| **k == *key).map(|(_, v)| &**v)
}

/// Only `In` is generated here.
fn selects(selector: &Selector, labels: &[(Box<str>, Box<str>)]) -> bool {
    selector.requirements.iter().all(|r| label(labels, &r.key).is_some_and(|v| r.values.iter().any(|w| **w == *v)))
}

fn clash(a: &Disk, b: &Disk) -> bool {
    a.kind == b.kind && a.name == b.name && (a.kind == DiskKind::Ebs || !(a.read_only && b.read_only))
}

/// What a pod may need.
pub(crate) fn needs() -> impl Strategy<Value = Needs> {
    let used = (0..4u8, prop::bool::weighted(0.1))
        .prop_map(|(n, ephemeral)| ClaimUse { name: format!("c{n}").into(), ephemeral });
    let disk = (any::<bool>(), 0..2u8, any::<bool>()).prop_map(|(ebs, n, read_only)| Disk {
        kind: if ebs { DiskKind::Ebs } else { DiskKind::Gce },
        name: n.to_string().into(),
        pool: "".into(),
        monitors: Vec::new(),
        read_only,
    });
    let inline = (0..3u8).prop_map(|n| (Box::from(DRIVER), Box::from(format!("h{n}"))));
    let few = |n| prop_oneof![1 => Just(0usize), 1 => Just(n)];
    (vec(used, 0..3), few(1), few(1))
        .prop_flat_map(move |(claims, disks, inlines)| {
            (Just(claims), vec(disk.clone(), 0..=disks), vec(inline.clone(), 0..=inlines))
        })
        .prop_map(|(claims, disks, inline)| Needs { claims, disks, inline, ..Needs::default() })
}

fn one_of(key: &str, values: Vec<u8>, prefix: &str) -> Requirement {
    let mut values: Vec<Box<str>> = values.into_iter().map(|v| format!("{prefix}{v}").into()).collect();
    values.sort();
    values.dedup();
    Requirement { key: key.into(), operator: Operator::In, values }
}

fn place() -> impl Strategy<Value = Requirement> {
    prop_oneof![
        vec(0..3u8, 1..3).prop_map(|zones| one_of("zone", zones, "")),
        vec(0..7u8, 1..4).prop_map(|nodes| one_of("kubernetes.io/hostname", nodes, "n")),
    ]
}

fn modes() -> impl Strategy<Value = Vec<Box<str>>> {
    prop::sample::select(vec![
        vec!["ReadWriteOnce"],
        vec!["ReadWriteOnce"],
        vec!["ReadWriteOncePod"],
        vec!["ReadWriteOnce", "ReadWriteOncePod"],
    ])
    .prop_map(|modes| modes.into_iter().map(Box::from).collect())
}

fn class_name() -> impl Strategy<Value = Box<str>> {
    prop::sample::select(vec!["local", "local", "made", "made", "made", "now", ""]).prop_map(Box::from)
}

/// A class; the names say what they are.
fn class() -> impl Strategy<Value = StorageClassRow> {
    let topologies = prop_oneof![2 => Just(vec![]), 1 => vec(vec(place(), 0..2), 1..3)];
    (prop::sample::select(vec!["local", "made", "made", "now"]), topologies).prop_map(|(name, topologies)| {
        StorageClassRow {
            name: name.into(),
            provisioner: if name == "local" { "kubernetes.io/no-provisioner".into() } else { DRIVER.into() },
            waits: name != "now",
            topologies: topologies.into_iter().map(|requirements| Selector { requirements }).collect(),
        }
    })
}

fn claim() -> impl Strategy<Value = ClaimRow> {
    let state = prop_oneof![
        5 => Just((None, false)),
        3 => (0..4u8).prop_map(|v| (Some(v), true)),
        1 => (0..4u8).prop_map(|v| (Some(v), false)),
    ];
    let flags = (prop::bool::weighted(0.05), prop::bool::weighted(0.05), prop::bool::weighted(0.1));
    let selected = option::weighted(0.1, 0..7u8);
    (0..4u8, state, class_name(), option::weighted(0.9, 1..4i64), modes(), flags, selected).prop_map(
        |(name, (volume, bind_completed), class, request, modes, (lost, deleting, block), selected)| ClaimRow {
            key: Key::new("default", &format!("c{name}")),
            uid: format!("uid-c{name}").into(),
            controller: "u00001".into(),
            volume: volume.map(|v| format!("v{v}").into()).unwrap_or_default(),
            bind_completed,
            class,
            request,
            modes,
            block,
            selector: block.then(|| Selector { requirements: vec![one_of("disk", vec![1], "")] }),
            selected_node: selected.map(|n| format!("n{n}").into()),
            lost,
            deleting,
            ..ClaimRow::default()
        },
    )
}

fn volume() -> impl Strategy<Value = VolumeRow> {
    let claim = option::weighted(0.2, (0..4u8, any::<bool>()));
    let terms = option::weighted(0.7, vec(vec(place(), 0..3), 1..3));
    let labels = (option::weighted(0.6, 0..3u8), any::<bool>());
    let flags = (prop::bool::weighted(0.1), prop::bool::weighted(0.9), prop::bool::weighted(0.05));
    (0..4u8, class_name(), 1..4i64, modes(), claim, terms, labels, flags).prop_map(
        |(name, class, capacity, modes, claim, terms, (zone, disk), (block, available, deleting))| {
            let zone = zone.map(|z| (Box::from(ZONE), Box::from(z.to_string())));
            let disk = disk.then(|| (Box::from("disk"), Box::from("1")));
            VolumeRow {
                name: format!("v{name}").into(),
                labels: disk.into_iter().chain(zone).collect(),
                capacity,
                class,
                modes,
                block,
                claim: claim.map(|(c, whole)| ClaimRef {
                    key: Key::new("default", &format!("c{c}")),
                    uid: if whole { format!("uid-c{c}").into() } else { "".into() },
                }),
                terms: terms.map(|terms| {
                    let term = |labels| NodeTerm { labels, fields: vec![] };
                    terms.into_iter().map(term).collect()
                }),
                available,
                deleting,
                attachment: Some((DRIVER.into(), format!("h{name}").into())),
                ..VolumeRow::default()
            }
        },
    )
}

fn csi_node() -> impl Strategy<Value = CsiNodeRow> {
    (0..7u8, option::weighted(0.8, 0..3i64)).prop_map(|(node, limit)| CsiNodeRow {
        name: format!("n{node}").into(),
        limits: limit.map(|limit| (DRIVER.into(), limit)).into_iter().collect(),
    })
}

/// Anything there may be.
pub(crate) fn thing() -> impl Strategy<Value = Thing> {
    let topology = option::weighted(0.9, vec(place(), 0..2));
    let capacity =
        (0..3u8, any::<bool>(), topology, option::weighted(0.9, 0..4i64)).prop_map(|(name, made, topology, limit)| {
            CapacityRow {
                key: Key::new("default", &name.to_string()),
                class: if made { "made".into() } else { "now".into() },
                topology: topology.map(|requirements| Selector { requirements }),
                limit,
            }
        });
    let attachment = (0..3u8, 0..7u8, 0..4u8).prop_map(|(name, node, volume)| AttachmentRow {
        name: name.to_string().into(),
        driver: DRIVER.into(),
        node: format!("n{node}").into(),
        volume: format!("v{volume}").into(),
    });
    prop_oneof![
        5 => volume().prop_map(Thing::Volume),
        5 => claim().prop_map(Thing::Claim),
        3 => class().prop_map(Thing::Class),
        1 => csi_node().prop_map(Thing::CsiNode),
        1 => any::<bool>()
            .prop_map(|storage_capacity| Thing::CsiDriver(CsiDriverRow { name: DRIVER.into(), storage_capacity })),
        2 => capacity.prop_map(Thing::Capacity),
        1 => attachment.prop_map(Thing::Attachment),
    ]
}

/// Classes, claims and volumes enough for something to come of it.
pub(crate) fn warehouse() -> impl Strategy<Value = Vec<Thing>> {
    let classes = vec(class().prop_map(Thing::Class), 4);
    let claims = vec(claim().prop_map(Thing::Claim), 6);
    let volumes = vec(volume().prop_map(Thing::Volume), 6);
    let rest = prop_oneof![vec(thing(), 0..4), vec(csi_node().prop_map(Thing::CsiNode), 7)];
    let driver = any::<bool>()
        .prop_map(|storage_capacity| vec![Thing::CsiDriver(CsiDriverRow { name: DRIVER.into(), storage_capacity })]);
    (classes, claims, volumes, rest, driver).prop_map(|(a, b, c, d, e)| [a, b, c, d, e].concat())
}

/// What the API says once a pod's volumes are written.
pub(crate) fn written(shelf: &Shelf, work: &Preparation, node: &str) -> Vec<Thing> {
    let mut things = Vec::new();
    for (claim, volume) in &work.bind {
        if let (Some(volume), Some(row)) = (shelf.volumes.get(volume), shelf.claims.get(&claim.key)) {
            things.push(Thing::Volume(VolumeRow { claim: Some(claim.clone()), ..volume.clone() }));
            let bound = ClaimRow { volume: volume.name.clone(), bind_completed: true, ..row.clone() };
            things.push(Thing::Claim(bound));
        }
    }
    for claim in &work.provision {
        if let Some(row) = shelf.claims.get(&claim.key) {
            things.push(Thing::Claim(ClaimRow { selected_node: Some(node.into()), ..row.clone() }));
        }
    }
    things
}

/// That a thing is gone.
pub(crate) fn gone(thing: &Thing) -> Change {
    let named = |kind, name: &str| Change::Gone(kind, Key::new("", name));
    match thing {
        Thing::Volume(row) => named(Kind::Volume, &row.name),
        Thing::Claim(row) => Change::Gone(Kind::Claim, row.key.clone()),
        Thing::Class(row) => named(Kind::Class, &row.name),
        Thing::CsiNode(row) => named(Kind::CsiNode, &row.name),
        Thing::CsiDriver(row) => named(Kind::CsiDriver, &row.name),
        Thing::Capacity(row) => Change::Gone(Kind::Capacity, row.key.clone()),
        Thing::Attachment(row) => named(Kind::Attachment, &row.name),
        Thing::DeviceClaim(row) => Change::Gone(Kind::DeviceClaim, row.key.clone()),
        Thing::DeviceClass(row) => named(Kind::DeviceClass, &row.name),
        Thing::Slice(row) => named(Kind::Slice, &row.name),
    }
}
