//! What the loops here read of volumes and claims: the rows of the scheduler, which knows them best, and the little that
//! only loops need.

use gantry_scheduler_core::rows::storage::{ClaimRow, Kind, StorageClassRow, Thing, VolumeRow};
use gantry_store_cache::object::StoredObject;
use serde::Deserialize;
use serde::de::Error as _;
use serde_json::Value as Json;

use crate::runtime::informer::Row;
use crate::runtime::rows::{HasMeta, Meta};

/// The volume was bound by a loop, not by a user.
pub const BOUND_BY_CONTROLLER: &str = "pv.kubernetes.io/bound-by-controller";
/// Both sides of the binding are written.
pub const BIND_COMPLETED: &str = "pv.kubernetes.io/bind-completed";
/// Who made the volume.
pub const PROVISIONED_BY: &str = "pv.kubernetes.io/provisioned-by";

/// A PersistentVolume.
#[derive(Clone, Debug, Default)]
pub struct Volume {
    /// Its metadata.
    pub meta: Meta,
    /// What scheduling reads.
    pub row: VolumeRow,
    /// `status.phase`.
    pub phase: Box<str>,
    /// `spec.persistentVolumeReclaimPolicy`.
    pub policy: Box<str>,
    /// Whether a loop wrote its `claimRef`.
    pub bound_by_controller: bool,
    /// Whether somebody made it on demand.
    pub provisioned: bool,
}

/// A PersistentVolumeClaim.
#[derive(Clone, Debug, Default)]
pub struct Claim {
    /// Its metadata.
    pub meta: Meta,
    /// What scheduling reads.
    pub row: ClaimRow,
    /// `status.phase`.
    pub phase: Box<str>,
}

/// A StorageClass.
#[derive(Clone, Debug, Default)]
pub struct Class {
    /// Its metadata.
    pub meta: Meta,
    /// What scheduling reads.
    pub row: StorageClassRow,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Raw {
    metadata: Meta,
    status: RawStatus,
    spec: RawSpec,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawAnnotated {
    metadata: RawMeta,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawMeta {
    annotations: std::collections::BTreeMap<String, Json>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawStatus {
    phase: Box<str>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawSpec {
    #[serde(rename = "persistentVolumeReclaimPolicy")]
    policy: Box<str>,
}

fn thing(kind: Kind, object: &StoredObject) -> Result<Thing, serde_json::Error> {
    Thing::from_json(kind, &object.body).map_err(serde_json::Error::custom)
}

fn unlike() -> serde_json::Error {
    serde_json::Error::custom("another kind than asked for")
}

impl Row for Volume {
    fn of(object: &StoredObject) -> Result<Self, serde_json::Error> {
        let raw: Raw = serde_json::from_slice(&object.body)?;
        let annotated: RawAnnotated = serde_json::from_slice(&object.body)?;
        let has = |name: &str| annotated.metadata.annotations.contains_key(name);
        let (bound_by_controller, provisioned) = (has(BOUND_BY_CONTROLLER), has(PROVISIONED_BY));
        let Thing::Volume(row) = thing(Kind::Volume, object)? else { return Err(unlike()) };
        let (phase, policy) = (raw.status.phase, raw.spec.policy);
        Ok(Self { meta: raw.metadata, row, phase, policy, bound_by_controller, provisioned })
    }
}

impl Row for Claim {
    fn of(object: &StoredObject) -> Result<Self, serde_json::Error> {
        let raw: Raw = serde_json::from_slice(&object.body)?;
        let Thing::Claim(row) = thing(Kind::Claim, object)? else { return Err(unlike()) };
        Ok(Self { meta: raw.metadata, row, phase: raw.status.phase })
    }
}

impl Row for Class {
    fn of(object: &StoredObject) -> Result<Self, serde_json::Error> {
        let raw: Raw = serde_json::from_slice(&object.body)?;
        let Thing::Class(row) = thing(Kind::Class, object)? else { return Err(unlike()) };
        Ok(Self { meta: raw.metadata, row })
    }
}

impl HasMeta for Volume {
    fn meta(&self) -> &Meta {
        &self.meta
    }
}

impl HasMeta for Claim {
    fn meta(&self) -> &Meta {
        &self.meta
    }
}

impl HasMeta for Class {
    fn meta(&self) -> &Meta {
        &self.meta
    }
}
