//! Rows of devices, their classes and claims, from stored JSON; and which claims a pod refers to.

use gantry_cel::device::Attribute;
use gantry_cel::quantity::Quantity;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::wire::{
    Container, Map, Meta, NodeSelectorJson, OwnerJson, PodSpec, PodStatus, Quantities, Text, TolerationJson,
};
use super::{node_term, text};
use crate::devices::extended::{ANNOTATION, IMPLICIT};
use crate::rows::devices::{
    Allocated, Allocation, Capacity, Choice, ClaimName, ClaimSpec, Config, Constraint, ContainerAsk, CounterSet,
    DeviceClaimRow, DeviceClassRow, DeviceId, DeviceRow, DeviceTaint, DeviceToleration, DeviceUse, Reach, Request,
    ResourceAsk, SliceRow, Wanted,
};
use crate::rows::storage::Key;
use crate::rows::{Amounts, NodeTerm};

/// A claim as stored.
#[derive(Deserialize, Default)]
#[serde(default, bound(deserialize = "'de: 'a"))]
pub(super) struct ClaimJson<'a> {
    metadata: Option<ClaimMeta<'a>>,
    spec: Option<SpecJson<'a>>,
    status: Option<StatusJson<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase", bound(deserialize = "'de: 'a"))]
struct ClaimMeta<'a> {
    name: Option<Text<'a>>,
    namespace: Option<Text<'a>>,
    uid: Option<Text<'a>>,
    annotations: Option<Map<'a>>,
    owner_references: Option<Vec<OwnerJson<'a>>>,
    deletion_timestamp: Option<Text<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default, bound(deserialize = "'de: 'a"))]
struct SpecJson<'a> {
    devices: Option<ClaimDevices<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default, bound(deserialize = "'de: 'a"))]
struct ClaimDevices<'a> {
    requests: Option<Vec<RequestJson<'a>>>,
    constraints: Option<Vec<ConstraintJson<'a>>>,
    config: Option<Vec<ConfigJson<'a>>>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase", bound(deserialize = "'de: 'a"))]
struct RequestJson<'a> {
    name: Option<Text<'a>>,
    exactly: Option<WantedJson<'a>>,
    first_available: Option<Vec<WantedJson<'a>>>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase", bound(deserialize = "'de: 'a"))]
struct WantedJson<'a> {
    name: Option<Text<'a>>,
    device_class_name: Option<Text<'a>>,
    selectors: Option<Vec<SelectorJson<'a>>>,
    allocation_mode: Option<Text<'a>>,
    count: Option<i64>,
    admin_access: Option<bool>,
    tolerations: Option<Vec<DeviceTolerationJson<'a>>>,
    capacity: Option<CapacityRequests<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default, bound(deserialize = "'de: 'a"))]
struct SelectorJson<'a> {
    cel: Option<CelJson<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default, bound(deserialize = "'de: 'a"))]
struct CelJson<'a> {
    expression: Option<Text<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default, bound(deserialize = "'de: 'a"))]
struct CapacityRequests<'a> {
    requests: Option<Quantities<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase", bound(deserialize = "'de: 'a"))]
struct DeviceTolerationJson<'a> {
    #[serde(flatten)]
    plain: TolerationJson<'a>,
    toleration_seconds: Option<i64>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase", bound(deserialize = "'de: 'a"))]
struct ConstraintJson<'a> {
    requests: Option<Vec<Text<'a>>>,
    match_attribute: Option<Text<'a>>,
    distinct_attribute: Option<Text<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default, bound(deserialize = "'de: 'a"))]
struct ConfigJson<'a> {
    requests: Option<Vec<Text<'a>>>,
    #[serde(borrow)]
    opaque: Option<&'a RawValue>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase", bound(deserialize = "'de: 'a"))]
struct StatusJson<'a> {
    allocation: Option<AllocationJson<'a>>,
    reserved_for: Option<Vec<Consumer<'a>>>,
    devices: Option<Vec<DeviceStatus<'a>>>,
}

#[derive(Deserialize, Default)]
#[serde(default, bound(deserialize = "'de: 'a"))]
struct Consumer<'a> {
    uid: Option<Text<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase", bound(deserialize = "'de: 'a"))]
struct AllocationJson<'a> {
    devices: Option<Results<'a>>,
    node_selector: Option<NodeSelectorJson<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default, bound(deserialize = "'de: 'a"))]
struct Results<'a> {
    results: Option<Vec<ResultJson<'a>>>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase", bound(deserialize = "'de: 'a"))]
struct ResultJson<'a> {
    driver: Option<Text<'a>>,
    pool: Option<Text<'a>>,
    device: Option<Text<'a>>,
    admin_access: Option<bool>,
    #[serde(rename = "shareID")]
    share: Option<Text<'a>>,
    consumed_capacity: Option<Quantities<'a>>,
    binding_conditions: Option<Vec<Text<'a>>>,
    binding_failure_conditions: Option<Vec<Text<'a>>>,
}

#[derive(Deserialize, Default)]
#[serde(default, bound(deserialize = "'de: 'a"))]
struct DeviceStatus<'a> {
    driver: Option<Text<'a>>,
    pool: Option<Text<'a>>,
    device: Option<Text<'a>>,
    conditions: Option<Vec<super::wire::Condition<'a>>>,
}

/// A class as stored.
#[derive(Deserialize, Default)]
#[serde(default, bound(deserialize = "'de: 'a"))]
pub(super) struct ClassJson<'a> {
    metadata: Option<ClassMeta<'a>>,
    spec: Option<ClassSpec<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase", bound(deserialize = "'de: 'a"))]
struct ClassMeta<'a> {
    name: Option<Text<'a>>,
    creation_timestamp: Option<Text<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase", bound(deserialize = "'de: 'a"))]
struct ClassSpec<'a> {
    extended_resource_name: Option<Text<'a>>,
    selectors: Option<Vec<SelectorJson<'a>>>,
    config: Option<Vec<ConfigJson<'a>>>,
}

/// A slice as stored.
#[derive(Deserialize, Default)]
#[serde(default, bound(deserialize = "'de: 'a"))]
pub(super) struct SliceJson<'a> {
    metadata: Option<Meta<'a>>,
    spec: Option<SliceSpec<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase", bound(deserialize = "'de: 'a"))]
struct SliceSpec<'a> {
    driver: Option<Text<'a>>,
    pool: Option<PoolJson<'a>>,
    node_name: Option<Text<'a>>,
    node_selector: Option<NodeSelectorJson<'a>>,
    all_nodes: Option<bool>,
    per_device_node_selection: Option<bool>,
    devices: Option<Vec<DeviceJson<'a>>>,
    shared_counters: Option<Vec<CountersJson<'a>>>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase", bound(deserialize = "'de: 'a"))]
struct PoolJson<'a> {
    name: Option<Text<'a>>,
    generation: Option<i64>,
    resource_slice_count: Option<i64>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase", bound(deserialize = "'de: 'a"))]
struct DeviceJson<'a> {
    name: Option<Text<'a>>,
    attributes: Option<BTreeMap<Text<'a>, AttributeJson<'a>>>,
    capacity: Option<BTreeMap<Text<'a>, CapacityJson<'a>>>,
    consumes_counters: Option<Vec<CountersJson<'a>>>,
    node_name: Option<Text<'a>>,
    node_selector: Option<NodeSelectorJson<'a>>,
    all_nodes: Option<bool>,
    taints: Option<Vec<super::wire::TaintJson<'a>>>,
    allow_multiple_allocations: Option<bool>,
    binds_to_node: Option<bool>,
    binding_conditions: Option<Vec<Text<'a>>>,
    binding_failure_conditions: Option<Vec<Text<'a>>>,
}

#[derive(Deserialize, Default)]
#[serde(default, bound(deserialize = "'de: 'a"))]
struct AttributeJson<'a> {
    int: Option<i64>,
    bool: Option<bool>,
    string: Option<Text<'a>>,
    version: Option<Text<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase", bound(deserialize = "'de: 'a"))]
struct CapacityJson<'a> {
    value: Option<super::Quantity<'a>>,
    request_policy: Option<PolicyJson<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase", bound(deserialize = "'de: 'a"))]
struct PolicyJson<'a> {
    default: Option<super::Quantity<'a>>,
    valid_values: Option<Vec<super::Quantity<'a>>>,
    valid_range: Option<RangeJson<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default, bound(deserialize = "'de: 'a"))]
struct RangeJson<'a> {
    min: Option<super::Quantity<'a>>,
    max: Option<super::Quantity<'a>>,
    step: Option<super::Quantity<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase", bound(deserialize = "'de: 'a"))]
struct CountersJson<'a> {
    name: Option<Text<'a>>,
    counter_set: Option<Text<'a>>,
    counters: Option<BTreeMap<Text<'a>, CounterJson<'a>>>,
}

#[derive(Deserialize, Default)]
#[serde(default, bound(deserialize = "'de: 'a"))]
struct CounterJson<'a> {
    value: Option<super::Quantity<'a>>,
}

/// A pod's reference to a claim.
#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase", bound(deserialize = "'de: 'a"))]
pub(in crate::rows) struct PodClaim<'a> {
    name: Option<Text<'a>>,
    resource_claim_name: Option<Text<'a>>,
    resource_claim_template_name: Option<Text<'a>>,
}

/// What became of it.
#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase", bound(deserialize = "'de: 'a"))]
pub(in crate::rows) struct PodClaimStatus<'a> {
    name: Option<Text<'a>>,
    resource_claim_name: Option<Text<'a>>,
}

/// The claims that a pod refers to.
pub(super) fn uses(spec: &PodSpec<'_>, status: &PodStatus<'_>) -> Vec<DeviceUse> {
    let known = status.resource_claim_statuses.as_deref().unwrap_or_default();
    let used = |claim: &PodClaim<'_>| {
        let claim_name = match (&claim.resource_claim_name, &claim.resource_claim_template_name) {
            (Some(name), _) => ClaimName::Is(Box::from(&**name)),
            (None, Some(_)) => match known.iter().find(|status| status.name == claim.name) {
                Some(status) => match &status.resource_claim_name {
                    Some(name) => ClaimName::Is(Box::from(&**name)),
                    None => ClaimName::None,
                },
                None => ClaimName::Pending,
            },
            (None, None) => ClaimName::None,
        };
        DeviceUse { name: owned(&claim.name), claim: claim_name, generated: claim.resource_claim_name.is_none() }
    };
    spec.resource_claims.iter().flatten().map(used).collect()
}

/// The extended resources that a pod's containers ask for.
pub(super) fn extended(spec: &PodSpec<'_>) -> Vec<ContainerAsk> {
    let init = spec.init_containers.iter().flatten().map(|container| (container, true));
    let all = init.chain(spec.containers.iter().flatten().map(|container| (container, false)));
    let ask = |(at, (container, init)): (u32, (&Container<'_>, bool))| {
        let requests = container.resources.as_ref()?.requests.as_ref()?;
        if !requests.keys().any(|name| may_be_devices(name)) {
            return None;
        }
        // By name, as the wire's map has them.
        let wants = (0..).zip(requests).filter(|(_, (name, _))| may_be_devices(name));
        let wants = wants.map(|(at, (name, amount))| {
            let mut amounts = Amounts::default();
            super::set(&mut amounts, name, amount);
            ResourceAsk { resource: Box::from(&**name), count: amounts.extended(name), at }
        });
        Some(ContainerAsk {
            name: owned(&container.name),
            at,
            ends: init && container.restart_policy.as_deref() != Some("Always"),
            wants: wants.filter(|want| want.count > 0).collect(),
        })
    };
    (0..).zip(all).filter_map(ask).filter(|ask| !ask.wants.is_empty()).collect()
}

/// Whether a DeviceClass may stand behind a resource of this name (`IsDRAExtendedResourceName`).
fn may_be_devices(resource: &str) -> bool {
    let native = !resource.contains('/') || resource.contains("kubernetes.io/");
    resource.starts_with(IMPLICIT) || !native && !resource.starts_with("requests.")
}

fn owned(text: &Option<Text<'_>>) -> Box<str> {
    Box::from(text.as_deref().unwrap_or_default())
}

fn texts(list: Option<Vec<Text<'_>>>) -> Vec<Box<str>> {
    list.into_iter().flatten().map(|text| text.into_owned().into()).collect()
}

/// An exact amount; the API server lets nothing else in.
fn amount(quantity: &super::Quantity<'_>) -> Quantity {
    match quantity {
        super::Quantity::Text(text) => Quantity::parse(text).unwrap_or_default(),
        super::Quantity::Int(number) => Quantity::from_units(*number),
        super::Quantity::Float(number) => Quantity::parse(&number.to_string()).unwrap_or_default(),
    }
}

fn amounts(quantities: Option<Quantities<'_>>) -> Vec<(Box<str>, Quantity)> {
    quantities.into_iter().flatten().map(|(name, value)| (name.into_owned().into(), amount(&value))).collect()
}

fn terms(selector: NodeSelectorJson<'_>) -> Vec<NodeTerm> {
    selector.node_selector_terms.iter().flatten().map(node_term).collect()
}

fn expressions(selectors: Option<Vec<SelectorJson<'_>>>) -> Vec<Box<str>> {
    let expression = |s: SelectorJson<'_>| text(s.cel.and_then(|cel| cel.expression));
    selectors.into_iter().flatten().map(expression).collect()
}

pub(super) fn claim(claim: ClaimJson<'_>) -> DeviceClaimRow {
    let (meta, status) = (claim.metadata.unwrap_or_default(), claim.status.unwrap_or_default());
    let devices = claim.spec.and_then(|spec| spec.devices).unwrap_or_default();
    let pod = meta.owner_references.iter().flatten().find(|owner| {
        owner.controller == Some(true)
            && owner.kind.as_deref() == Some("Pod")
            && owner.api_version.as_deref() == Some("v1")
    });
    let pod = owned(&pod.and_then(|owner| owner.uid.clone()));
    let binding_failed = status.allocation.as_ref().is_some_and(|allocation| {
        let results = allocation.devices.iter().flat_map(|devices| devices.results.iter().flatten());
        let mut conditional = results.filter(|r| r.binding_conditions.as_ref().is_some_and(|list| !list.is_empty()));
        conditional.any(|result| has_failed(result, status.devices.as_deref().unwrap_or_default()))
    });
    DeviceClaimRow {
        key: Key { namespace: text(meta.namespace), name: text(meta.name) },
        uid: text(meta.uid),
        pod,
        extended: annotated(meta.annotations.as_ref()),
        deleting: meta.deletion_timestamp.is_some(),
        spec: Arc::new(ClaimSpec {
            requests: devices.requests.into_iter().flatten().map(request).collect(),
            constraints: devices.constraints.into_iter().flatten().map(constraint).collect(),
            config: devices.config.into_iter().flatten().map(config).collect(),
        }),
        allocation: status.allocation.map(|allocation| Arc::new(allocated(allocation))),
        reserved_for: status.reserved_for.into_iter().flatten().map(|consumer| text(consumer.uid)).collect(),
        binding_failed,
    }
}

fn annotated(annotations: Option<&Map<'_>>) -> bool {
    annotations.and_then(|all| all.get(ANNOTATION)).is_some_and(|value| &**value == "true")
}

/// Whether a device's status says that its binding failed.
fn has_failed(result: &ResultJson<'_>, statuses: &[DeviceStatus<'_>]) -> bool {
    let of = |s: &&DeviceStatus<'_>| s.driver == result.driver && s.pool == result.pool && s.device == result.device;
    let conditions = statuses.iter().find(of).and_then(|status| status.conditions.as_ref());
    conditions.into_iter().flatten().any(|condition| {
        condition.status.as_deref() == Some("True")
            && result.binding_failure_conditions.iter().flatten().any(|kind| Some(kind) == condition.kind.as_ref())
    })
}

fn request(request: RequestJson<'_>) -> Request {
    let name = text(request.name);
    match request.exactly {
        Some(exactly) => Request { name, options: vec![wanted(exactly)], prioritized: false },
        None => {
            let options = request.first_available.into_iter().flatten().map(wanted).collect();
            Request { name, options, prioritized: true }
        }
    }
}

fn wanted(wanted: WantedJson<'_>) -> Wanted {
    let all = wanted.allocation_mode.as_deref() == Some("All");
    let count = usize::try_from(wanted.count.unwrap_or(1)).unwrap_or(usize::MAX);
    Wanted {
        name: text(wanted.name),
        class: text(wanted.device_class_name),
        selectors: expressions(wanted.selectors),
        count: (!all).then_some(count),
        admin: wanted.admin_access.unwrap_or(false),
        tolerations: wanted.tolerations.into_iter().flatten().map(toleration).collect(),
        capacity: amounts(wanted.capacity.and_then(|capacity| capacity.requests)),
    }
}

fn toleration(toleration: DeviceTolerationJson<'_>) -> DeviceToleration {
    let DeviceTolerationJson { plain, toleration_seconds } = toleration;
    DeviceToleration {
        key: text(plain.key),
        exists: plain.operator.as_deref() == Some("Exists"),
        value: text(plain.value),
        effect: text(plain.effect),
        seconds: toleration_seconds,
    }
}

fn constraint(constraint: ConstraintJson<'_>) -> Constraint {
    let distinct = constraint.match_attribute.is_none();
    let attribute = text(constraint.match_attribute.or(constraint.distinct_attribute));
    Constraint { requests: texts(constraint.requests), attribute, distinct }
}

fn config(config: ConfigJson<'_>) -> Config {
    Config { requests: texts(config.requests), opaque: config.opaque.map_or("null", RawValue::get).into() }
}

fn allocated(allocation: AllocationJson<'_>) -> Allocation {
    let result = |result: ResultJson<'_>| Allocated {
        device: DeviceId { driver: text(result.driver), pool: text(result.pool), name: text(result.device) },
        admin: result.admin_access.unwrap_or(false),
        share: result.share.map(|_| amounts(result.consumed_capacity)),
        conditional: result.binding_conditions.is_some_and(|conditions| !conditions.is_empty()),
    };
    let results = allocation.devices.and_then(|devices| devices.results);
    Allocation {
        results: results.into_iter().flatten().map(result).collect(),
        terms: allocation.node_selector.map(terms),
    }
}

pub(super) fn class(class: ClassJson<'_>) -> DeviceClassRow {
    let spec = class.spec.unwrap_or_default();
    let meta = class.metadata.unwrap_or_default();
    DeviceClassRow {
        name: text(meta.name),
        extended: spec.extended_resource_name.map(|name| name.into_owned().into()),
        created: text(meta.creation_timestamp),
        selectors: expressions(spec.selectors),
        config: spec.config.into_iter().flatten().map(|c| config(c).opaque).collect(),
    }
}

fn reach(node: Option<Text<'_>>, selector: Option<NodeSelectorJson<'_>>, all: Option<bool>) -> Reach {
    match (node.filter(|node| !node.is_empty()), all, selector) {
        (Some(node), ..) => Reach::Node(node.into_owned().into()),
        (None, Some(true), _) => Reach::Everywhere,
        (None, _, Some(selector)) => Reach::Terms(terms(selector)),
        (None, _, None) => Reach::Nowhere,
    }
}

pub(super) fn slice(slice: SliceJson<'_>) -> SliceRow {
    let spec = slice.spec.unwrap_or_default();
    let pool = spec.pool.unwrap_or_default();
    let reach = match reach(spec.node_name, spec.node_selector, spec.all_nodes) {
        Reach::Nowhere if spec.per_device_node_selection == Some(true) => Reach::PerDevice,
        reach => reach,
    };
    SliceRow {
        name: text(slice.metadata.and_then(|meta| meta.name)),
        driver: text(spec.driver),
        pool: text(pool.name),
        generation: pool.generation.unwrap_or(0),
        slices: pool.resource_slice_count.unwrap_or(0),
        reach,
        devices: spec.devices.into_iter().flatten().map(device).collect(),
        counters: spec.shared_counters.into_iter().flatten().map(counters).collect(),
    }
}

fn counters(set: CountersJson<'_>) -> CounterSet {
    let counter = |(name, counter): (Text<'_>, CounterJson<'_>)| {
        (name.into_owned().into(), counter.value.as_ref().map(amount).unwrap_or_default())
    };
    CounterSet {
        name: text(set.name.or(set.counter_set)),
        counters: set.counters.into_iter().flatten().map(counter).collect(),
    }
}

fn device(device: DeviceJson<'_>) -> DeviceRow {
    let taint = |taint: super::wire::TaintJson<'_>| DeviceTaint {
        key: text(taint.key),
        value: text(taint.value),
        effect: text(taint.effect),
    };
    let attribute = |(name, value): (Text<'_>, AttributeJson<'_>)| {
        // Lists are behind a gate that is off: such an attribute is not there.
        let value = match value {
            AttributeJson { int: Some(number), .. } => Attribute::Int(number),
            AttributeJson { bool: Some(is), .. } => Attribute::Bool(is),
            AttributeJson { string: Some(text), .. } => Attribute::Text(text.into_owned().into()),
            AttributeJson { version: Some(text), .. } => Attribute::Version(text.into_owned().into()),
            _ => return None,
        };
        Some((name.into_owned().into(), value))
    };
    DeviceRow {
        name: text(device.name),
        attributes: device.attributes.into_iter().flatten().filter_map(attribute).collect(),
        capacity: device
            .capacity
            .into_iter()
            .flatten()
            .map(|(name, value)| (name.into_owned().into(), capacity(value)))
            .collect(),
        consumes: device.consumes_counters.into_iter().flatten().map(counters).collect(),
        reach: reach(device.node_name, device.node_selector, device.all_nodes),
        taints: device.taints.into_iter().flatten().map(taint).collect(),
        shared: device.allow_multiple_allocations.unwrap_or(false),
        binds_to_node: device.binds_to_node.unwrap_or(false),
        binding: texts(device.binding_conditions),
        failure: texts(device.binding_failure_conditions),
    }
}

fn capacity(capacity: CapacityJson<'_>) -> Capacity {
    let policy = capacity.request_policy.unwrap_or_default();
    let choice = match (policy.valid_range, policy.valid_values) {
        (Some(RangeJson { min: Some(min), max, step }), _) => {
            Choice::Range { min: amount(&min), max: max.as_ref().map(amount), step: step.as_ref().map(amount) }
        }
        (_, Some(values)) if !values.is_empty() => Choice::Values(values.iter().map(amount).collect()),
        _ => Choice::Any,
    };
    Capacity {
        value: capacity.value.as_ref().map(amount).unwrap_or_default(),
        default: policy.default.as_ref().map(amount),
        choice,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::PodRow;
    use crate::rows::storage::{Kind, Thing};

    #[test]
    fn a_pod_refers_to_claims_by_name_or_by_what_was_made_for_it() {
        let row = PodRow::from_json(
            br#"{"metadata":{"name":"p","namespace":"d"},"spec":{"resourceClaims":[
                {"name":"a","resourceClaimName":"shared"},
                {"name":"b","resourceClaimTemplateName":"t"},
                {"name":"c","resourceClaimTemplateName":"t"},
                {"name":"e","resourceClaimTemplateName":"t"}]},
              "status":{"resourceClaimStatuses":[{"name":"b","resourceClaimName":"p-b-x"},{"name":"c"}]}}"#,
        );
        let devices = row.expect("valid").needs.expect("some").devices;
        let claims: Vec<(&ClaimName, bool)> = devices.iter().map(|used| (&used.claim, used.generated)).collect();
        let is = |name: &str| ClaimName::Is(name.into());
        assert_eq!(
            claims,
            [(&is("shared"), false), (&is("p-b-x"), true), (&ClaimName::None, true), (&ClaimName::Pending, true)]
        );
    }

    #[test]
    fn claims_slices_and_classes_read_as_they_are_stored() {
        let body = br#"{"metadata":{"name":"c","namespace":"d","uid":"u","ownerReferences":[
                {"apiVersion":"v1","kind":"Pod","name":"p","uid":"pu","controller":true}]},
            "spec":{"devices":{"requests":[
                {"name":"a","exactly":{"deviceClassName":"x","allocationMode":"All","adminAccess":true}},
                {"name":"b","firstAvailable":[{"name":"big","deviceClassName":"y","count":2,"selectors":
                    [{"cel":{"expression":"true"}}],"tolerations":[{"key":"k","operator":"Exists","tolerationSeconds":5}],
                    "capacity":{"requests":{"memory":"1Gi"}}}]}],
              "constraints":[{"matchAttribute":"d.e/numa"},{"distinctAttribute":"d.e/slot","requests":["a"]}],
              "config":[{"opaque":{"driver":"d.e","parameters":{"z": 1}}}]}},
            "status":{"allocation":{"devices":{"results":[{"request":"a","driver":"d.e","pool":"p","device":"x",
                "bindingConditions":["Ready"],"bindingFailureConditions":["Bad"]}]},
                "nodeSelector":{"nodeSelectorTerms":[{"matchFields":[{"key":"metadata.name","operator":"In","values":["n"]}]}]}},
              "reservedFor":[{"resource":"pods","name":"p","uid":"pu"}],
              "devices":[{"driver":"d.e","pool":"p","device":"x","conditions":[{"type":"Bad","status":"True"}]}]}}"#;
        let Ok(Thing::DeviceClaim(row)) = Thing::from_json(Kind::DeviceClaim, body) else { panic!("a claim") };
        assert_eq!((&*row.uid, &*row.pod, row.binding_failed, row.deleting), ("u", "pu", true, false));
        let [all, first] = &row.spec.requests[..] else { panic!("two requests") };
        assert_eq!((all.options[0].count, all.options[0].admin, all.prioritized), (None, true, false));
        let big = &first.options[0];
        assert_eq!((big.count, &*big.name, &*big.selectors[0], first.prioritized), (Some(2), "big", "true", true));
        assert_eq!((big.tolerations[0].exists, big.tolerations[0].seconds), (true, Some(5)));
        assert_eq!(big.capacity, [("memory".into(), Quantity::from_bytes(1 << 30))]);
        assert_eq!(row.spec.constraints.iter().map(|c| c.distinct).collect::<Vec<_>>(), [false, true]);
        assert_eq!(&*row.spec.config[0].opaque, r#"{"driver":"d.e","parameters":{"z": 1}}"#);
        let allocation = row.allocation.expect("allocated");
        assert!(allocation.results[0].conditional && allocation.results[0].share.is_none());
        assert_eq!(allocation.terms.as_ref().map(Vec::len), Some(1));

        let body = br#"{"metadata":{"name":"s"},"spec":{"driver":"d.e","perDeviceNodeSelection":true,
            "pool":{"name":"p","generation":3,"resourceSliceCount":2},
            "devices":[{"name":"x","nodeName":"n","attributes":{"a":{"int":1},"l":{"ints":[1]}},
              "capacity":{"m":{"value":"2Gi","requestPolicy":{"default":"1Gi","validRange":{"min":"1Gi","step":"1Gi"}}}},
              "allowMultipleAllocations":true,"taints":[{"key":"k","effect":"NoSchedule"}],
              "consumesCounters":[{"counterSet":"c","counters":{"n":{"value":"3"}}}]}]}}"#;
        let Ok(Thing::Slice(row)) = Thing::from_json(Kind::Slice, body) else { panic!("a slice") };
        assert_eq!((row.generation, row.slices, &row.reach), (3, 2, &Reach::PerDevice));
        let device = &row.devices[0];
        assert_eq!((device.attributes.len(), device.shared, &device.reach), (1, true, &Reach::Node("n".into())));
        assert!(matches!(device.capacity[0].1.choice, Choice::Range { max: None, step: Some(_), .. }));
        assert_eq!((&*device.consumes[0].name, &*device.taints[0].effect), ("c", "NoSchedule"));
    }
}
