//! One pod's volumes and claims of devices, looked up and compiled: either the pod is refused at once, whatever the nodes (upstream's
//! PreFilter), or each node can be asked.
//!
//! Order and texts as upstream: VolumeRestrictions, NodeVolumeLimits, VolumeBinding, VolumeZone; DynamicResources
//! comes after the rules about other pods.

use std::sync::Arc;

use super::{Preparation, Storage, Tenant};
use crate::columns::{Columns, Slot};
use crate::devices;
use crate::filter::node_volume_limits::{Attachable, Attached};
use crate::filter::volume_binding::{Candidates, Claims, OpenClaim, Provision, Reach};
use crate::filter::volume_zone::Zones;
use crate::filter::{Rule, Verdict, volume_restrictions};
use crate::profile::{Plugin, Profile};
use crate::rows::json::storage::driver_of;
use crate::rows::storage::{ClaimRef, ClaimRow, ClaimUse, Disk, Key, VolumeRow};

const NO_PROVISIONER: &str = "kubernetes.io/no-provisioner";

/// Why a pod cannot run anywhere for now: upstream's text, and the plugin that says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// The text.
    pub message: String,
    /// The plugin.
    pub plugin: &'static str,
    /// Whether something is wrong, rather than missing: upstream's `Error`.
    pub failed: bool,
}

/// A pod's volumes and claims, ready to be asked about nodes.
#[derive(Debug)]
pub struct Ask {
    /// Whether there is anything but devices.
    has_volumes: bool,
    /// Claims that only one pod may use.
    exclusive: Vec<Key>,
    disks: Vec<Disk>,
    /// Volumes that drivers would have to attach.
    attach: Vec<Attachable>,
    claims: Claims,
    zones: Zones,
    devices: Option<devices::ask::Ask>,
}

/// Pods with volumes that are imagined to leave a node, or to come to it.
#[derive(Clone, Debug, Default)]
pub struct Moved {
    /// Those that go.
    pub gone: Vec<Arc<Tenant>>,
    /// Those that come.
    pub come: Vec<Arc<Tenant>>,
}

impl Moved {
    /// Whether all is as it is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.gone.is_empty() && self.come.is_empty()
    }
}

impl Storage {
    /// Looks up what a pod needs.
    ///
    /// # Errors
    /// When something is missing without which it cannot run on any node.
    pub fn ask(&mut self, columns: &mut Columns, tenant: &Tenant, profile: &Profile) -> Result<Ask, Rejection> {
        let asked = profile.filters;
        let needs = &tenant.needs;
        let named = || needs.claims.iter().filter(|claim| !claim.ephemeral);
        let key = |used: &ClaimUse| Key::new(&tenant.id.namespace, &used.name);
        let mut exclusive = Vec::new();
        let restricts = asked.has(Plugin::VolumeRestrictions);
        for used in named().filter(|_| restricts) {
            let key = key(used);
            let Some(claim) = self.claims.get(&key) else {
                return Err(reject(Plugin::VolumeRestrictions, not_found(&used.name)));
            };
            if claim.is_for_one_pod() {
                exclusive.push(key);
            }
        }
        let mut claims = Claims::default();
        if asked.has(Plugin::VolumeBinding) {
            claims = self.claims(columns, tenant).map_err(|message| reject(Plugin::VolumeBinding, message))?;
        }
        let mut zones = Zones::default();
        let zoned = asked.has(Plugin::VolumeZone);
        for used in named().filter(|_| zoned) {
            let Some(claim) = self.claims.get(&key(used)) else {
                return Err(reject(Plugin::VolumeZone, not_found(&used.name)));
            };
            if claim.volume.is_empty() {
                continue;
            }
            let Some(volume) = self.volumes.get(&claim.volume) else {
                let message = format!("persistentvolume \"{}\" not found", claim.volume);
                return Err(reject(Plugin::VolumeZone, message));
            };
            zones.add(columns, &volume.labels);
        }
        let limits = asked.has(Plugin::NodeVolumeLimits) && self.limited > 0;
        let attach = if limits { self.attachable(tenant) } else { Vec::new() };
        let disks = if restricts { needs.disks.clone() } else { Vec::new() };
        let mut devices = None;
        let wants_devices = !needs.devices.is_empty() || !needs.extended.is_empty();
        if asked.has(Plugin::DynamicResources) && wants_devices {
            devices = self.devices.ask(columns, &tenant.id, needs, profile.search_max).map_err(|refused| {
                Rejection { failed: refused.failed, ..reject(Plugin::DynamicResources, refused.message) }
            })?;
        }
        let has_volumes = !(needs.claims.is_empty() && needs.disks.is_empty() && needs.inline.is_empty());
        let ask = Ask { has_volumes, exclusive, disks, attach, claims, zones, devices };
        self.work_out_attached(columns, &ask);
        Ok(ask)
    }

    /// For a pod that is on its node: see [`Devices::hold_made`](crate::devices::Devices::hold_made).
    pub(crate) fn hold_made(&self, ask: &mut Ask) {
        if let Some(devices) = &mut ask.devices {
            self.devices.hold_made(devices);
        }
    }

    /// The claims of a pod for VolumeBinding.
    fn claims(&self, columns: &mut Columns, tenant: &Tenant) -> Result<Claims, String> {
        if let Some(message) = tenant.needs.claims.iter().find_map(|used| self.objection(tenant, used)) {
            return Err(message);
        }
        let mut claims = Claims::default();
        let mut open: Vec<&ClaimRow> = Vec::new();
        for used in &tenant.needs.claims {
            let claim = &self.claims[&Key::new(&tenant.id.namespace, &used.name)];
            if claim.is_bound() {
                claims.bound.push(match self.volumes.get(&claim.volume) {
                    Some(volume) => Reach::new(columns, volume.terms.as_deref()),
                    None => Reach::NoVolume,
                });
            } else if claim.volume.is_empty() && self.classes.get(&claim.class).is_some_and(|class| class.waits) {
                // Two volumes of a pod may be the same claim.
                if !open.iter().any(|other| other.key == claim.key) {
                    open.push(claim);
                }
            } else {
                return Err("pod has unbound immediate PersistentVolumeClaims".to_owned());
            }
        }
        // The smallest first, so that each gets the smallest that fits.
        open.sort_by_key(|claim| claim.request.unwrap_or(0));
        claims.open = open.iter().map(|claim| self.open_claim(columns, claim)).collect();
        Ok(claims)
    }

    /// What is wrong with a claim.
    fn objection(&self, tenant: &Tenant, used: &ClaimUse) -> Option<String> {
        let (namespace, name) = (&tenant.id.namespace, &used.name);
        let Some(claim) = self.claims.get(&Key::new(namespace, name)) else {
            if !used.ephemeral {
                return Some(not_found(name));
            }
            let wait = "waiting for ephemeral volume controller to create the persistentvolumeclaim";
            return Some(format!("{wait} \"{name}\""));
        };
        if claim.lost {
            return Some(format!(
                "persistentvolumeclaim \"{name}\" bound to non-existent persistentvolume \"{}\"",
                claim.volume
            ));
        }
        if claim.deleting {
            return Some(format!("persistentvolumeclaim \"{name}\" is being deleted"));
        }
        (used.ephemeral && claim.controller != tenant.id.uid).then(|| {
            let pod = &tenant.id.name;
            format!("PVC {namespace}/{name} was not created for pod {namespace}/{pod} (pod is not owner)")
        })
    }

    fn open_claim(&self, columns: &mut Columns, claim: &ClaimRow) -> OpenClaim {
        let named = claim.selected_node.as_ref().or_else(|| self.assumed_nodes.get(&claim.key));
        let node = named.map(|node| columns.texts.id(node));
        let names = self.by_class.get(&claim.class).into_iter().flatten();
        let mut own = None;
        let mut rest: Vec<&VolumeRow> = Vec::new();
        if node.is_none() {
            for volume in names.filter_map(|name| self.volumes.get(name)).filter(|volume| is_enough(volume, claim)) {
                match self.claim_of(volume) {
                    Some(of) if is_same(of, claim) => own = own.or(Some(volume)),
                    Some(_) => {}
                    None if is_offered(volume, claim) => rest.push(volume),
                    None => {}
                }
            }
        }
        // Of equal size, by name: upstream takes whichever comes first.
        rest.sort_by_key(|volume| volume.capacity);
        let candidates = Candidates::new(columns, own, rest.into_iter());
        let claim_ref = ClaimRef { key: claim.key.clone(), uid: claim.uid.clone() };
        OpenClaim { node, candidates, provision: self.provision(columns, claim), claim: claim_ref }
    }

    fn provision(&self, columns: &mut Columns, claim: &ClaimRow) -> Provision {
        let Some(class) = self.classes.get(&claim.class) else { return Provision::default() };
        if matches!(&*class.provisioner, "" | NO_PROVISIONER) {
            return Provision::default();
        }
        let counts = self.csi_drivers.get(&class.provisioner).is_some_and(|driver| driver.storage_capacity);
        let room = claim.request.filter(|_| counts).map(|size| {
            let enough = move |limit: Option<i64>| limit.is_some_and(|limit| limit >= size);
            let of_class = self.capacities.values().filter(move |c| c.class == class.name && enough(c.limit));
            of_class.filter_map(|capacity| capacity.topology.as_ref())
        });
        Provision::new(columns, &class.topologies, room)
    }

    /// The volumes that drivers attach for a pod, each once. What cannot be looked up does not count.
    fn attachable(&self, tenant: &Tenant) -> Vec<Attachable> {
        let mut all: Vec<Attachable> = tenant.needs.inline.clone();
        for used in &tenant.needs.claims {
            let Some(claim) = self.claims.get(&Key::new(&tenant.id.namespace, &used.name)) else { continue };
            if used.ephemeral && claim.controller != tenant.id.uid {
                continue;
            }
            let volume = self.volumes.get(&claim.volume).filter(|_| !claim.volume.is_empty());
            all.extend(match volume {
                Some(volume) => volume.attachment.clone(),
                // Not made yet: its handle will be one that no other has.
                None => self.classes.get(&claim.class).map(|class| {
                    let handle = format!("\0{}/{}", claim.key.namespace, claim.key.name);
                    (driver_of(&class.provisioner).into(), handle.into())
                }),
            });
        }
        all.sort_unstable();
        all.dedup();
        all
    }

    /// Works out what is attached to the nodes whose limits may matter to `ask`.
    fn work_out_attached(&mut self, columns: &Columns, ask: &Ask) {
        if ask.attach.is_empty() {
            return;
        }
        let limited = self.csi_nodes.values().filter(|node| !node.limits.is_empty());
        let slots = limited.filter_map(|node| columns.find(&node.name));
        let missing: Vec<Slot> = slots.filter(|slot| self.tenants.attached(*slot).is_none()).collect();
        for slot in missing {
            let attached = self.attached_if(columns, slot, &Moved::default());
            self.tenants.keep(slot, attached);
        }
    }

    /// What is attached to a node, as if some of its pods were gone and others had come.
    fn attached_if(&self, columns: &Columns, slot: Slot, moved: &Moved) -> Attached {
        let mut attached = Attached::default();
        let stays = |tenant: &&Arc<Tenant>| !moved.gone.iter().any(|gone| Arc::ptr_eq(gone, tenant));
        for tenant in self.tenants.on(slot).iter().filter(stays).chain(&moved.come) {
            self.attachable(tenant).into_iter().for_each(|volume| attached.add(volume));
        }
        let names = self.attached_to.get(columns.name(slot)).into_iter().flatten();
        for attachment in names.filter_map(|name| self.attachments.get(name)) {
            let volume = self.volumes.get(&attachment.volume);
            if let Some(volume) = volume.and_then(|volume| volume.attachment.clone()) {
                attached.add(volume);
            }
        }
        attached
    }
}

impl Ask {
    /// The verdict on one node that passes the rules before these.
    #[must_use]
    pub fn verdict(&self, storage: &Storage, columns: &Columns, slot: Slot) -> Verdict {
        self.verdict_if(storage, columns, slot, &Moved::default())
    }

    /// The same, as if some pods of the node were gone and others had come.
    #[must_use]
    pub fn verdict_if(&self, storage: &Storage, columns: &Columns, slot: Slot, moved: &Moved) -> Verdict {
        if !self.has_volumes {
            return Verdict::FITS;
        }
        if !self.disks.is_empty() {
            let stays = |tenant: &&Arc<Tenant>| !moved.gone.iter().any(|gone| Arc::ptr_eq(gone, tenant));
            let there = storage.tenants.on(slot).iter().filter(stays).chain(&moved.come);
            if volume_restrictions::is_taken(there.flat_map(|tenant| &tenant.needs.disks), &self.disks) {
                return Verdict::new(Rule::DiskConflict);
            }
        }
        let uses = |all: &[Arc<Tenant>], claim: &Key| all.iter().map(|tenant| tenant.uses(claim)).sum::<u32>();
        let is_used = |claim: &Key| storage.tenants.users(claim) + uses(&moved.come, claim) > uses(&moved.gone, claim);
        if self.exclusive.iter().any(is_used) {
            return Verdict::new(Rule::ClaimInUse);
        }
        if !self.attach.is_empty()
            && let Some(node) = storage.csi_nodes.get(columns.name(slot)).filter(|node| !node.limits.is_empty())
        {
            let otherwise = (!moved.is_empty()).then(|| storage.attached_if(columns, slot, moved));
            let attached = otherwise.as_ref().or_else(|| storage.tenants.attached(slot));
            if attached.is_some_and(|attached| !attached.has_room(&node.limits, &self.attach)) {
                return Verdict::new(Rule::VolumeLimits);
            }
        }
        let mask = self.claims.verdict(columns, slot);
        if mask != 0 {
            return Verdict::masked(Rule::Volumes, mask);
        }
        if !self.zones.holds(columns, slot) {
            return Verdict::new(Rule::VolumeZone);
        }
        Verdict::FITS
    }

    /// The verdict on the devices of a node that passes all other rules, and how well they suit.
    #[must_use]
    pub fn device_verdict(&self, storage: &Storage, columns: &Columns, slot: Slot) -> (Verdict, u32) {
        self.devices.as_ref().map_or((Verdict::FITS, 0), |ask| storage.devices.verdict(ask, columns, slot))
    }

    /// A claim of an earlier attempt that is in the way, and its uid.
    #[must_use]
    pub fn stale(&self) -> Option<&(Key, Box<str>)> {
        self.devices.as_ref()?.stale()
    }

    /// Whether devices are asked for.
    #[must_use]
    pub fn wants_devices(&self) -> bool {
        self.devices.is_some()
    }

    /// Whether some nodes may have devices that suit better than others'.
    #[must_use]
    pub fn scores_devices(&self) -> bool {
        self.devices.as_ref().is_some_and(devices::ask::Ask::scores)
    }

    /// Why the attempt failed altogether, once nodes were asked.
    #[must_use]
    pub fn failure(&self) -> Option<Rejection> {
        let why = self.devices.as_ref()?.failure()?;
        Some(Rejection { failed: true, ..reject(Plugin::DynamicResources, why) })
    }

    /// A claim of devices to give back, if that may help: by the verdicts on all nodes.
    #[must_use]
    pub fn to_release(&self, columns: &Columns, verdicts: &[Verdict]) -> Option<(Key, Box<str>)> {
        self.devices.as_ref()?.to_release(columns, verdicts)
    }

    /// What is to be done about volumes and claims on a node that fits.
    #[must_use]
    pub fn work(&self, storage: &Storage, columns: &Columns, slot: Slot) -> Preparation {
        let claims = self.devices.as_ref().map_or_else(Vec::new, |ask| storage.devices.work(ask, columns, slot));
        let Ok(choice) = self.claims.choose(columns, slot) else {
            return Preparation { claims, ..Preparation::default() };
        };
        let claim = |at: usize| self.claims.open[at].claim.clone();
        Preparation {
            bind: choice.bind.iter().map(|(at, volume)| (claim(*at), Box::from(*volume))).collect(),
            provision: choice.provision.iter().map(|at| claim(*at)).collect(),
            claims,
        }
    }
}

fn reject(plugin: Plugin, message: String) -> Rejection {
    Rejection { message, plugin: plugin.name(), failed: false }
}

fn not_found(claim: &str) -> String {
    format!("persistentvolumeclaim \"{claim}\" not found")
}

/// Whether a reference means this claim; one without a uid was written by a user, in advance.
fn is_same(of: &ClaimRef, claim: &ClaimRow) -> bool {
    of.key == claim.key && (of.uid.is_empty() || of.uid == claim.uid)
}

/// Whether a volume is large enough and of the right kind.
fn is_enough(volume: &VolumeRow, claim: &ClaimRow) -> bool {
    volume.capacity >= claim.request.unwrap_or(0)
        && volume.block == claim.block
        && volume.attributes_class == claim.attributes_class
        && !volume.deleting
}

/// Whether a volume that is nobody's may become this claim's.
fn is_offered(volume: &VolumeRow, claim: &ClaimRow) -> bool {
    volume.available
        && claim.selector.as_ref().is_none_or(|selector| selector.matches(&volume.labels))
        && claim.modes.iter().all(|mode| volume.modes.contains(mode))
}
