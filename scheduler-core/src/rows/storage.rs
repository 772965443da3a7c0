//! What the scheduler knows of volumes: claims, PersistentVolumes, classes, CSI nodes, drivers, capacities, attachments;
//! and what a pod needs of them and of devices.
//!
//! Made by `json::storage` in the loop's feed, kept by [`storage`](crate::storage). A pod's [`Needs`] are no part of its
//! [`Demand`](super::Demand): pods that differ only in their volumes share a class and its board.

use rkyv::{Archive, Deserialize, Serialize};

use super::devices::{ContainerAsk, DeviceClaimRow, DeviceClassRow, DeviceUse, SliceRow};
use super::{NodeTerm, Selector};

/// What a pod needs besides its node: volumes and devices.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Needs {
    /// The claims of its volumes, in order.
    pub claims: Vec<ClaimUse>,
    /// Disks named in the pod itself whose attachment is exclusive.
    pub disks: Vec<Disk>,
    /// Volumes named in the pod itself that a CSI driver attaches: driver and handle.
    pub inline: Vec<(Box<str>, Box<str>)>,
    /// The claims of devices that it refers to, in order.
    pub devices: Vec<DeviceUse>,
    /// The extended resources that its containers ask for: devices stand in for them if a DeviceClass says so.
    pub extended: Vec<ContainerAsk>,
}

impl Needs {
    /// Whether there is nothing to look at.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.is_only_extended() && self.extended.is_empty()
    }

    /// Whether extended resources are all there is to look at, if a DeviceClass stands behind them.
    #[must_use]
    pub fn is_only_extended(&self) -> bool {
        self.claims.is_empty() && self.disks.is_empty() && self.inline.is_empty() && self.devices.is_empty()
    }
}

/// A volume that is a claim.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ClaimUse {
    /// The claim's name, in the pod's namespace.
    pub name: Box<str>,
    /// Whether the claim is made for the pod (`ephemeral`), and must be its own.
    pub ephemeral: bool,
}

/// A disk that two pods of one node may not share, or only to read.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq, Hash)]
pub struct Disk {
    /// What it is.
    pub kind: DiskKind,
    /// `pdName`, `volumeID`, `iqn` or `image`.
    pub name: Box<str>,
    /// `pool`, of Ceph RBD.
    pub pool: Box<str>,
    /// `monitors`, of Ceph RBD: one in common is enough.
    pub monitors: Vec<Box<str>>,
    /// Mounted to read only.
    pub read_only: bool,
}

/// The kinds of disks that are attached exclusively.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DiskKind {
    /// `gcePersistentDisk`: shared by readers only.
    Gce,
    /// `awsElasticBlockStore`: never shared.
    Ebs,
    /// `iscsi`: shared by readers only.
    Iscsi,
    /// `rbd`: shared by readers only.
    Rbd,
}

/// Who an object is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// Its namespace; empty where there is none.
    pub namespace: Box<str>,
    /// Its name.
    pub name: Box<str>,
}

impl Key {
    /// A key.
    #[must_use]
    pub fn new(namespace: &str, name: &str) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }
}

/// The claim a volume is bound to, or meant for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClaimRef {
    /// Which.
    pub key: Key,
    /// Its uid; empty while nobody has bound it.
    pub uid: Box<str>,
}

/// A PersistentVolume.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VolumeRow {
    /// Its name.
    pub name: Box<str>,
    /// Labels, sorted by key: selectors of claims, and zones.
    pub labels: Vec<(Box<str>, Box<str>)>,
    /// `spec.capacity.storage`, bytes.
    pub capacity: i64,
    /// Its class; empty for none.
    pub class: Box<str>,
    /// `spec.accessModes`.
    pub modes: Vec<Box<str>>,
    /// `volumeMode: Block`.
    pub block: bool,
    /// `spec.volumeAttributesClassName`; empty for none.
    pub attributes_class: Box<str>,
    /// `spec.claimRef`.
    pub claim: Option<ClaimRef>,
    /// `spec.nodeAffinity.required`: any of these terms; `None` for all nodes.
    pub terms: Option<Vec<NodeTerm>>,
    /// Whether the phase is `Available`.
    pub available: bool,
    /// Whether it is on its way out.
    pub deleting: bool,
    /// The CSI driver that attaches it (also for in-tree volumes that drivers took over), and its handle.
    pub attachment: Option<(Box<str>, Box<str>)>,
}

/// A PersistentVolumeClaim.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClaimRow {
    /// Who it is.
    pub key: Key,
    /// Its uid.
    pub uid: Box<str>,
    /// The uid of its managing controller: the pod, for ephemeral volumes.
    pub controller: Box<str>,
    /// `spec.volumeName`.
    pub volume: Box<str>,
    /// Whether both sides of the binding are written (`pv.kubernetes.io/bind-completed`).
    pub bind_completed: bool,
    /// Its class; empty for none.
    pub class: Box<str>,
    /// `spec.resources.requests.storage`, bytes.
    pub request: Option<i64>,
    /// `spec.accessModes`.
    pub modes: Vec<Box<str>>,
    /// `volumeMode: Block`.
    pub block: bool,
    /// `spec.volumeAttributesClassName`; empty for none.
    pub attributes_class: Box<str>,
    /// `spec.selector`.
    pub selector: Option<Selector>,
    /// The node its volume is to be provisioned for (`volume.kubernetes.io/selected-node`).
    pub selected_node: Option<Box<str>>,
    /// Whether the phase is `Lost`.
    pub lost: bool,
    /// Whether it is on its way out.
    pub deleting: bool,
}

impl ClaimRow {
    /// Whether the binding is complete.
    #[must_use]
    pub fn is_bound(&self) -> bool {
        !self.volume.is_empty() && self.bind_completed
    }

    /// Whether only one pod may use it.
    #[must_use]
    pub fn is_for_one_pod(&self) -> bool {
        self.modes.iter().any(|mode| &**mode == "ReadWriteOncePod")
    }
}

/// A StorageClass.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StorageClassRow {
    /// Its name.
    pub name: Box<str>,
    /// Who makes its volumes.
    pub provisioner: Box<str>,
    /// `volumeBindingMode: WaitForFirstConsumer`.
    pub waits: bool,
    /// `allowedTopologies`: any of these, each all of its requirements; empty for everywhere.
    pub topologies: Vec<Selector>,
}

/// A CSINode.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CsiNodeRow {
    /// The node's name.
    pub name: Box<str>,
    /// How many volumes of a driver may be attached.
    pub limits: Vec<(Box<str>, i64)>,
}

/// A CSIDriver.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CsiDriverRow {
    /// Its name.
    pub name: Box<str>,
    /// Whether it publishes where there is room.
    pub storage_capacity: bool,
}

/// A CSIStorageCapacity.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CapacityRow {
    /// Who it is.
    pub key: Key,
    /// The class it is about.
    pub class: Box<str>,
    /// The nodes it is about; `None` for none.
    pub topology: Option<Selector>,
    /// The largest volume there is room for, bytes; `None` where not known.
    pub limit: Option<i64>,
}

/// A VolumeAttachment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AttachmentRow {
    /// Its name.
    pub name: Box<str>,
    /// The driver.
    pub driver: Box<str>,
    /// The node.
    pub node: Box<str>,
    /// The PersistentVolume.
    pub volume: Box<str>,
}

/// Something that pods may need or that says where they can have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Thing {
    /// A PersistentVolume.
    Volume(VolumeRow),
    /// A PersistentVolumeClaim.
    Claim(ClaimRow),
    /// A StorageClass.
    Class(StorageClassRow),
    /// A CSINode.
    CsiNode(CsiNodeRow),
    /// A CSIDriver.
    CsiDriver(CsiDriverRow),
    /// A CSIStorageCapacity.
    Capacity(CapacityRow),
    /// A VolumeAttachment.
    Attachment(AttachmentRow),
    /// A ResourceClaim.
    DeviceClaim(DeviceClaimRow),
    /// A DeviceClass.
    DeviceClass(DeviceClassRow),
    /// A ResourceSlice.
    Slice(SliceRow),
}

/// The kinds of [`Thing`]s.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// PersistentVolumes.
    Volume,
    /// PersistentVolumeClaims.
    Claim,
    /// StorageClasses.
    Class,
    /// CSINodes.
    CsiNode,
    /// CSIDrivers.
    CsiDriver,
    /// CSIStorageCapacities.
    Capacity,
    /// VolumeAttachments.
    Attachment,
    /// ResourceClaims.
    DeviceClaim,
    /// DeviceClasses.
    DeviceClass,
    /// ResourceSlices.
    Slice,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 10] = [
        Self::Volume,
        Self::Claim,
        Self::Class,
        Self::CsiNode,
        Self::CsiDriver,
        Self::Capacity,
        Self::Attachment,
        Self::DeviceClaim,
        Self::DeviceClass,
        Self::Slice,
    ];
}

/// What happened to things.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// One as it is now.
    Is(Box<Thing>),
    /// One is gone.
    Gone(Kind, Key),
    /// These are all of a kind: after a new list.
    All(Kind, Vec<Thing>),
}
