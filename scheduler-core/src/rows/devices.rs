//! What the scheduler knows of devices (resource.k8s.io/v1): claims, what drivers offer (slices), classes; and which
//! claims a pod refers to.
//!
//! Made by `json::devices` in the loop's feed, kept by [`devices`](crate::devices). Amounts are exact
//! [`Quantity`]s. What only has to be copied into an allocation (opaque configuration) stays JSON text.

use std::sync::Arc;

use gantry_cel::device::Attribute;
use gantry_cel::quantity::Quantity;
use rkyv::{Archive, Deserialize, Serialize};

use super::NodeTerm;
use super::storage::Key;

/// A claim that a pod refers to (`spec.resourceClaims`, with what `status.resourceClaimStatuses` says of it).
#[derive(Archive, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct DeviceUse {
    /// Its name in the pod.
    pub name: Box<str>,
    /// The claim, in the pod's namespace.
    pub claim: ClaimName,
    /// Whether it is made for the pod, and must be its own.
    pub generated: bool,
}

/// What is known of a claim's name.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum ClaimName {
    /// This is it.
    Is(Box<str>),
    /// It has not been made yet.
    #[default]
    Pending,
    /// None was needed.
    None,
}

/// What a container asks for of extended resources, for devices to stand in for where a node has none (KEP-5004).
#[derive(Archive, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ContainerAsk {
    /// Its name.
    pub name: Box<str>,
    /// Its place among the init containers and, after them, the containers.
    pub at: u32,
    /// Whether it has ended before the containers start: an init container that is no sidecar.
    pub ends: bool,
    /// What it asks for, sorted by name.
    pub wants: Vec<ResourceAsk>,
}

/// What a container asks for of one extended resource.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ResourceAsk {
    /// The resource.
    pub resource: Box<str>,
    /// How many.
    pub count: i64,
    /// Its place among all that the container requests, sorted by name.
    pub at: u32,
}

/// A ResourceClaim.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceClaimRow {
    /// Who it is.
    pub key: Key,
    /// Its uid.
    pub uid: Box<str>,
    /// The uid of the pod that it was made for; empty for none.
    pub pod: Box<str>,
    /// Whether it was made for the pod's extended resources (`resource.kubernetes.io/extended-resource-claim`).
    pub extended: bool,
    /// Whether it is on its way out.
    pub deleting: bool,
    /// What it asks for: never changes.
    pub spec: Arc<ClaimSpec>,
    /// `status.allocation`.
    pub allocation: Option<Arc<Allocation>>,
    /// The uids in `status.reservedFor`.
    pub reserved_for: Vec<Box<str>>,
    /// Whether a device says that its binding failed (`bindingFailureConditions`).
    pub binding_failed: bool,
}

/// `ResourceClaimSpec`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClaimSpec {
    /// `devices.requests`.
    pub requests: Vec<Request>,
    /// `devices.constraints`.
    pub constraints: Vec<Constraint>,
    /// `devices.config`.
    pub config: Vec<Config>,
}

/// A request: one way to satisfy it, or several in the order of preference.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// Its name.
    pub name: Box<str>,
    /// `exactly`: the one way, without a name; or `firstAvailable`.
    pub options: Vec<Wanted>,
    /// Whether it is `firstAvailable`.
    pub prioritized: bool,
}

/// Which devices, and how many.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// The name of a subrequest; empty otherwise.
    pub name: Box<str>,
    /// `deviceClassName`.
    pub class: Box<str>,
    /// CEL expressions; all must hold.
    pub selectors: Vec<Box<str>>,
    /// How many; `None` for all that there are.
    pub count: Option<usize>,
    /// Whether devices are looked at that others use.
    pub admin: bool,
    /// Taints of devices that do not matter.
    pub tolerations: Vec<DeviceToleration>,
    /// What of a shared device's capacity is wanted (`capacity.requests`), by name.
    pub capacity: Vec<(Box<str>, Quantity)>,
}

/// A toleration of a device's taint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct DeviceToleration {
    /// The taint key; empty for any, with `exists`.
    pub key: Box<str>,
    /// Whether the value does not matter.
    pub exists: bool,
    /// The value.
    pub value: Box<str>,
    /// The effect; empty for any.
    pub effect: Box<str>,
    /// `tolerationSeconds`.
    pub seconds: Option<i64>,
}

/// A constraint on all devices of some requests.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Constraint {
    /// The requests, `request` or `request/subrequest`; empty for all.
    pub requests: Vec<Box<str>>,
    /// The attribute, with its domain.
    pub attribute: Box<str>,
    /// `distinctAttribute`: no two devices have the same value; otherwise `matchAttribute`: all have.
    pub distinct: bool,
}

/// Configuration for a driver.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Config {
    /// The requests that it is for; empty for all.
    pub requests: Vec<Box<str>>,
    /// `opaque`, as JSON.
    pub opaque: Box<str>,
}

/// What a claim was given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allocation {
    /// The devices.
    pub results: Vec<Allocated>,
    /// `nodeSelector`: any of these terms; `None` for all nodes.
    pub terms: Option<Vec<NodeTerm>>,
}

/// A device of an allocation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allocated {
    /// Which.
    pub device: DeviceId,
    /// Whether it is only looked at.
    pub admin: bool,
    /// Whether it is a share of the device (`shareID`), and what of its capacity.
    pub share: Option<Vec<(Box<str>, Quantity)>>,
    /// Whether the driver is to say when the pod may be bound.
    pub conditional: bool,
}

/// A device.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DeviceId {
    /// Its driver.
    pub driver: Box<str>,
    /// Its pool.
    pub pool: Box<str>,
    /// Its name in the pool.
    pub name: Box<str>,
}

/// A DeviceClass.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceClassRow {
    /// Its name.
    pub name: Box<str>,
    /// CEL expressions; all must hold.
    pub selectors: Vec<Box<str>>,
    /// `config`, each as JSON.
    pub config: Vec<Box<str>>,
    /// `extendedResourceName`: the extended resource that its devices stand in for.
    pub extended: Option<Box<str>>,
    /// When it was created, as written (RFC 3339 sorts by time).
    pub created: Box<str>,
}

/// A ResourceSlice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SliceRow {
    /// Its name.
    pub name: Box<str>,
    /// The driver that published it.
    pub driver: Box<str>,
    /// The pool that it is a part of.
    pub pool: Box<str>,
    /// `pool.generation`: only those of the greatest count.
    pub generation: i64,
    /// `pool.resourceSliceCount`: how many of the generation there are when all are published.
    pub slices: i64,
    /// From where its devices can be reached.
    pub reach: Reach,
    /// The devices.
    pub devices: Vec<DeviceRow>,
    /// `sharedCounters`: sets of counters that devices of the pool consume.
    pub counters: Vec<CounterSet>,
}

/// From which nodes devices can be reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Reach {
    /// From none: nothing known is said.
    #[default]
    Nowhere,
    /// From this one.
    Node(Box<str>),
    /// From those that match any of these terms.
    Terms(Vec<NodeTerm>),
    /// From all.
    Everywhere,
    /// Each device says it itself.
    PerDevice,
}

/// Counters by name, and how much there is of each, or is consumed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CounterSet {
    /// The set's name.
    pub name: Box<str>,
    /// The counters.
    pub counters: Vec<(Box<str>, Quantity)>,
}

/// A device as published.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceRow {
    /// Its name in the pool.
    pub name: Box<str>,
    /// Attributes by name; names without a domain belong to the driver's.
    pub attributes: Vec<(Box<str>, Attribute)>,
    /// Capacities by name, likewise.
    pub capacity: Vec<(Box<str>, Capacity)>,
    /// `consumesCounters`.
    pub consumes: Vec<CounterSet>,
    /// From where it can be reached, where its slice leaves that to it.
    pub reach: Reach,
    /// Its taints.
    pub taints: Vec<DeviceTaint>,
    /// `allowMultipleAllocations`.
    pub shared: bool,
    /// `bindsToNode`: whoever has it is tied to one node.
    pub binds_to_node: bool,
    /// `bindingConditions`.
    pub binding: Vec<Box<str>>,
    /// `bindingFailureConditions`.
    pub failure: Vec<Box<str>>,
}

/// A capacity of a device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Capacity {
    /// How much there is.
    pub value: Quantity,
    /// What one claim gets of a shared device that asks for nothing; `None` for all.
    pub default: Option<Quantity>,
    /// What may be asked for.
    pub choice: Choice,
}

/// The amounts of a capacity that may be consumed; others are rounded up to them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Choice {
    /// Any.
    #[default]
    Any,
    /// One of these, ascending.
    Values(Vec<Quantity>),
    /// From `min` in steps, to `max`.
    Range {
        /// The least.
        min: Quantity,
        /// The most.
        max: Option<Quantity>,
        /// The width of a step.
        step: Option<Quantity>,
    },
}

/// A taint of a device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceTaint {
    /// Its key.
    pub key: Box<str>,
    /// Its value, often empty.
    pub value: Box<str>,
    /// `NoSchedule`, `NoExecute`, or another that keeps nobody away.
    pub effect: Box<str>,
}
