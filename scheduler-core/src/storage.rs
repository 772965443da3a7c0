//! All that is known of volumes and [devices](crate::devices), with what was decided about them and is not yet seen
//! written.
//!
//! ```text
//! feed ─ Change ─→ Storage ←─ assume / take back ─ cycle
//!                    ├─ ask (a pod's claims looked up: refused at once, or compiled) ─→ nodes asked one by one
//!                    ├─ tenants (who uses which volume on which node)
//!                    └─ topics (which waiting pods a change concerns)
//! ```
//! An assumed binding hides what the API still says until the API says so itself, or until it is taken back: two pods
//! decided one after the other never get the same volume.

pub mod ask;
mod tenants;
mod topics;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ahash::RandomState;
use hashbrown::HashMap;

use crate::devices::grant::ClaimWork;
use crate::devices::{Devices, News};
use crate::intern::fixed_hasher;
use crate::queue::GroupId;
use crate::rows::storage::{
    AttachmentRow, CapacityRow, Change, ClaimRef, ClaimRow, CsiDriverRow, CsiNodeRow, Key, Kind, StorageClassRow,
    Thing, VolumeRow,
};

pub use tenants::Tenant;
use tenants::Tenants;
use topics::{Topic, Topics};

type Map<K, V> = HashMap<K, V, RandomState>;

/// What must be written before a pod is bound (upstream's PreBind).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Preparation {
    /// Volumes to bind to claims.
    pub bind: Vec<(ClaimRef, Box<str>)>,
    /// Claims to have a volume made for, on the pod's node.
    pub provision: Vec<ClaimRef>,
    /// Claims of devices to allocate and to reserve, and whose conditions to wait for.
    pub claims: Vec<ClaimWork>,
}

impl Preparation {
    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bind.is_empty() && self.provision.is_empty() && self.claims.is_empty()
    }
}

/// Everything about volumes and devices.
#[derive(Debug)]
pub struct Storage {
    volumes: BTreeMap<Box<str>, VolumeRow>,
    by_class: Map<Box<str>, BTreeSet<Box<str>>>,
    claims: Map<Key, ClaimRow>,
    classes: Map<Box<str>, StorageClassRow>,
    csi_nodes: Map<Box<str>, CsiNodeRow>,
    /// How many nodes limit volumes at all.
    limited: usize,
    csi_drivers: Map<Box<str>, CsiDriverRow>,
    capacities: BTreeMap<Key, CapacityRow>,
    attachments: BTreeMap<Box<str>, AttachmentRow>,
    attached_to: Map<Box<str>, BTreeSet<Box<str>>>,
    /// Volumes given to claims, not yet seen written.
    assumed_volumes: Map<Box<str>, ClaimRef>,
    /// Nodes that claims are to be provisioned for, not yet seen written.
    assumed_nodes: Map<Key, Box<str>>,
    tenants: Tenants,
    devices: Devices,
    topics: Topics,
    /// Nodes whose devices have changed, to be looked at again.
    changed_nodes: Vec<Box<str>>,
    /// Claims of devices that have come or changed.
    changed_claims: Vec<Key>,
    version: u64,
}

impl Default for Storage {
    fn default() -> Self {
        let hasher = fixed_hasher;
        Self {
            volumes: BTreeMap::new(),
            by_class: HashMap::with_hasher(hasher()),
            claims: HashMap::with_hasher(hasher()),
            classes: HashMap::with_hasher(hasher()),
            csi_nodes: HashMap::with_hasher(hasher()),
            limited: 0,
            csi_drivers: HashMap::with_hasher(hasher()),
            capacities: BTreeMap::new(),
            attachments: BTreeMap::new(),
            attached_to: HashMap::with_hasher(hasher()),
            assumed_volumes: HashMap::with_hasher(hasher()),
            assumed_nodes: HashMap::with_hasher(hasher()),
            tenants: Tenants::default(),
            devices: Devices::default(),
            changed_nodes: Vec::new(),
            changed_claims: Vec::new(),
            topics: Topics::default(),
            version: 0,
        }
    }
}

impl Storage {
    /// Counts the changes that can matter to a pod.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Takes in what happened.
    pub fn apply(&mut self, change: Change) {
        match change {
            Change::Is(thing) => self.set(*thing),
            Change::Gone(kind, key) => self.remove(kind, &key),
            Change::All(kind, things) => {
                let there: BTreeSet<Key> = things.iter().map(key_of).collect();
                for key in self.keys(kind) {
                    if !there.contains(&key) {
                        self.remove(kind, &key);
                    }
                }
                things.into_iter().for_each(|thing| self.set(thing));
            }
        }
    }

    fn keys(&self, kind: Kind) -> Vec<Key> {
        fn named<'a>(names: impl Iterator<Item = &'a Box<str>>) -> Vec<Key> {
            names.map(|name| Key::new("", name)).collect()
        }
        match kind {
            Kind::Volume => named(self.volumes.keys()),
            Kind::Claim => self.claims.keys().cloned().collect(),
            Kind::Class => named(self.classes.keys()),
            Kind::CsiNode => named(self.csi_nodes.keys()),
            Kind::CsiDriver => named(self.csi_drivers.keys()),
            Kind::Capacity => self.capacities.keys().cloned().collect(),
            Kind::Attachment => named(self.attachments.keys()),
            Kind::DeviceClaim => self.devices.claim_keys().cloned().collect(),
            Kind::DeviceClass => named(self.devices.class_names()),
            Kind::Slice => named(self.devices.slice_names()),
        }
    }

    fn set(&mut self, thing: Thing) {
        match thing {
            Thing::Volume(row) => self.set_volume(row),
            Thing::Claim(row) => self.set_claim(row),
            Thing::Class(row) => {
                if self.classes.get(&row.name) != Some(&row) {
                    self.touch(&Topic::Class(&row.name));
                    // Handles of volumes yet to be made depend on who makes them.
                    self.tenants.forget_attached();
                    self.classes.insert(row.name.clone(), row);
                }
            }
            Thing::CsiNode(row) => {
                if self.csi_nodes.get(&row.name) != Some(&row) {
                    self.touch(&Topic::Limits);
                    self.limited += usize::from(!row.limits.is_empty());
                    let old = self.csi_nodes.insert(row.name.clone(), row);
                    self.limited -= usize::from(old.is_some_and(|old| !old.limits.is_empty()));
                }
            }
            Thing::CsiDriver(row) => {
                if self.csi_drivers.get(&row.name) != Some(&row) {
                    self.touch(&Topic::Driver(&row.name));
                    self.csi_drivers.insert(row.name.clone(), row);
                }
            }
            Thing::Capacity(row) => {
                if self.capacities.get(&row.key) != Some(&row) {
                    self.touch(&Topic::CapacityOf(&row.class));
                    self.capacities.insert(row.key.clone(), row);
                }
            }
            Thing::Attachment(row) => {
                if self.attachments.get(&row.name) != Some(&row) {
                    self.remove(Kind::Attachment, &Key::new("", &row.name));
                    self.attached_to.entry(row.node.clone()).or_default().insert(row.name.clone());
                    self.attachments.insert(row.name.clone(), row);
                    self.tenants.forget_attached();
                }
            }
            Thing::DeviceClaim(row) => {
                let key = row.key.clone();
                if let Some(news) = self.devices.set_claim(row) {
                    self.claim_of_devices_changed(key, &news);
                }
            }
            Thing::DeviceClass(row) => {
                let name = row.name.clone();
                if self.devices.set_class(row) {
                    self.touch(&Topic::DeviceClass(&name));
                }
            }
            Thing::Slice(row) => {
                if let Some(news) = self.devices.set_slice(row) {
                    self.devices_changed(&news);
                }
            }
        }
    }

    fn set_volume(&mut self, row: VolumeRow) {
        if self.volumes.get(&row.name) == Some(&row) {
            return;
        }
        self.touch_volume(&row);
        if row.claim.is_some() {
            // Whatever was assumed: now there is evidence.
            self.assumed_volumes.remove(&row.name);
        }
        let (name, class) = (row.name.clone(), row.class.clone());
        if let Some(old) = self.volumes.insert(name.clone(), row) {
            self.leave_class(&old);
        }
        self.by_class.entry(class).or_default().insert(name);
    }

    fn set_claim(&mut self, row: ClaimRow) {
        if self.claims.get(&row.key) == Some(&row) {
            return;
        }
        if row.selected_node.is_some() || !row.volume.is_empty() {
            self.assumed_nodes.remove(&row.key);
        }
        self.touch(&Topic::Claim(&row.key));
        self.tenants.claim_changed(&row.key);
        self.claims.insert(row.key.clone(), row);
    }

    fn leave_class(&mut self, volume: &VolumeRow) {
        if let Some(names) = self.by_class.get_mut(&volume.class) {
            names.remove(&volume.name);
            if names.is_empty() {
                self.by_class.remove(&volume.class);
            }
        }
    }

    fn remove(&mut self, kind: Kind, key: &Key) {
        match kind {
            Kind::Volume => {
                if let Some(old) = self.volumes.remove(&key.name) {
                    self.leave_class(&old);
                    self.assumed_volumes.remove(&old.name);
                    self.touch_volume(&old);
                }
            }
            Kind::Claim => {
                if self.claims.remove(key).is_some() {
                    self.assumed_nodes.remove(key);
                    self.tenants.claim_changed(key);
                    self.touch(&Topic::Claim(key));
                }
            }
            Kind::Class => {
                if self.classes.remove(&key.name).is_some() {
                    self.touch(&Topic::Class(&key.name));
                    self.tenants.forget_attached();
                }
            }
            Kind::CsiNode => {
                if let Some(old) = self.csi_nodes.remove(&key.name) {
                    self.limited -= usize::from(!old.limits.is_empty());
                    self.touch(&Topic::Limits);
                }
            }
            Kind::CsiDriver => {
                if self.csi_drivers.remove(&key.name).is_some() {
                    self.touch(&Topic::Driver(&key.name));
                }
            }
            Kind::Capacity => {
                if let Some(old) = self.capacities.remove(key) {
                    self.touch(&Topic::CapacityOf(&old.class));
                }
            }
            Kind::Attachment => {
                if let Some(old) = self.attachments.remove(&key.name) {
                    if let Some(names) = self.attached_to.get_mut(&old.node) {
                        names.remove(&old.name);
                    }
                    self.tenants.forget_attached();
                    self.touch(&Topic::Limits);
                }
            }
            Kind::DeviceClaim => {
                if let Some(news) = self.devices.remove_claim(key) {
                    self.claim_of_devices_changed(key.clone(), &news);
                }
            }
            Kind::DeviceClass => {
                if self.devices.remove_class(&key.name) {
                    self.touch(&Topic::DeviceClass(&key.name));
                }
            }
            Kind::Slice => {
                if let Some(news) = self.devices.remove_slice(&key.name) {
                    self.devices_changed(&news);
                }
            }
        }
    }

    fn claim_of_devices_changed(&mut self, key: Key, news: &News) {
        self.touch(&Topic::DeviceClaim(&key));
        self.changed_claims.push(key);
        self.devices_changed(news);
    }

    fn devices_changed(&mut self, news: &News) {
        match news {
            News::On(nodes) => self.changed_nodes.extend(nodes.iter().cloned()),
            News::Everywhere => self.touch(&Topic::Devices),
        }
    }

    /// The nodes whose devices have changed since this was last asked.
    pub(crate) fn take_changed_nodes(&mut self) -> Vec<Box<str>> {
        std::mem::take(&mut self.changed_nodes)
    }

    /// The claims of devices that have come or changed since this was last asked.
    pub(crate) fn take_changed_claims(&mut self) -> Vec<Key> {
        std::mem::take(&mut self.changed_claims)
    }

    /// What is known of devices.
    pub(crate) fn devices(&self) -> &Devices {
        &self.devices
    }

    fn touch_volume(&mut self, volume: &VolumeRow) {
        self.touch(&Topic::Volume(&volume.name));
        self.touch(&Topic::VolumesOf(&volume.class));
        if let Some(claim) = &volume.claim {
            self.tenants.claim_changed(&claim.key);
        }
        if volume.attachment.is_some() {
            // VolumeAttachments name the volume, and it alone says what that is to its driver.
            self.tenants.forget_attached();
            if self.limited > 0 {
                self.touch(&Topic::Limits);
            }
        }
    }

    fn touch(&mut self, topic: &Topic<'_>) {
        self.version += 1;
        self.topics.touch(topic);
    }

    /// Holds what was decided about a pod's volumes: volumes given away, nodes promised.
    pub fn assume(&mut self, work: &Preparation, node: &str) {
        for (claim, volume) in &work.bind {
            self.assumed_volumes.insert(volume.clone(), claim.clone());
        }
        for claim in &work.provision {
            self.assumed_nodes.insert(claim.key.clone(), node.into());
        }
        self.devices.assume(&work.claims);
        self.version += u64::from(!work.is_empty());
    }

    /// Takes back what was assumed for a pod, as far as the API has not said it meanwhile.
    pub fn take_back(&mut self, work: &Preparation) {
        for (claim, volume) in &work.bind {
            if self.assumed_volumes.get(volume) == Some(claim) {
                self.assumed_volumes.remove(volume);
                let class = self.volumes.get(volume).map(|row| row.class.clone());
                self.touch(&Topic::Volume(volume));
                self.touch(&Topic::VolumesOf(&class.unwrap_or_default()));
                self.touch(&Topic::Claim(&claim.key));
            }
        }
        for claim in &work.provision {
            if self.assumed_nodes.remove(&claim.key).is_some() {
                self.touch(&Topic::Claim(&claim.key));
            }
        }
        if let Some(news) = self.devices.take_back(&work.claims) {
            for claim in &work.claims {
                self.touch(&Topic::DeviceClaim(&claim.key));
            }
            self.devices_changed(&news);
        }
    }

    /// A pod with volumes enters a node or leaves it.
    pub fn moved(&mut self, slot: u32, tenant: &Arc<Tenant>, enters: bool) {
        self.version += 1;
        if enters {
            self.tenants.enter(slot, tenant);
            return;
        }
        self.tenants.leave(slot, tenant);
        for claim in tenant.needs.claims.iter().filter(|claim| !claim.ephemeral) {
            self.topics.touch(&Topic::Claim(&Key::new(&tenant.id.namespace, &claim.name)));
        }
    }

    /// Lets a group of waiting pods hear of what concerns `tenant`'s volumes.
    pub fn listen(&mut self, group: GroupId, tenant: &Tenant) {
        let mut topics: Vec<u64> = Vec::new();
        if !tenant.needs.claims.is_empty() || !tenant.needs.inline.is_empty() {
            topics.push(Topic::Limits.number());
        }
        for used in &tenant.needs.claims {
            let key = Key::new(&tenant.id.namespace, &used.name);
            topics.push(Topic::Claim(&key).number());
            let Some(claim) = self.claims.get(&key) else { continue };
            topics.extend([Topic::Class(&claim.class), Topic::VolumesOf(&claim.class)].map(|t| t.number()));
            topics.push(Topic::CapacityOf(&claim.class).number());
            if !claim.volume.is_empty() {
                topics.push(Topic::Volume(&claim.volume).number());
            }
            if let Some(class) = self.classes.get(&claim.class) {
                topics.push(Topic::Driver(&class.provisioner).number());
            }
        }
        if !tenant.needs.devices.is_empty() || !tenant.needs.extended.is_empty() {
            topics.push(Topic::Devices.number());
            let (keys, classes) = self.devices.concerns(&tenant.id, &tenant.needs);
            topics.extend(keys.iter().map(|key| Topic::DeviceClaim(key).number()));
            topics.extend(classes.iter().map(|class| Topic::DeviceClass(class).number()));
        }
        self.topics.listen(group, topics);
    }

    /// Whether anything that concerns a group has changed since it was asked last.
    pub fn heard(&mut self, group: GroupId) -> bool {
        self.topics.heard(group)
    }

    /// A group waits no more.
    pub fn hush(&mut self, group: GroupId) {
        self.topics.hush(group);
    }

    /// The claim a volume is bound to or given to.
    fn claim_of<'a>(&'a self, volume: &'a VolumeRow) -> Option<&'a ClaimRef> {
        self.assumed_volumes.get(&volume.name).or(volume.claim.as_ref())
    }
}

fn key_of(thing: &Thing) -> Key {
    match thing {
        Thing::Volume(row) => Key::new("", &row.name),
        Thing::Claim(row) => row.key.clone(),
        Thing::Class(row) => Key::new("", &row.name),
        Thing::CsiNode(row) => Key::new("", &row.name),
        Thing::CsiDriver(row) => Key::new("", &row.name),
        Thing::Capacity(row) => row.key.clone(),
        Thing::Attachment(row) => Key::new("", &row.name),
        Thing::DeviceClaim(row) => row.key.clone(),
        Thing::DeviceClass(row) => Key::new("", &row.name),
        Thing::Slice(row) => Key::new("", &row.name),
    }
}
