//! Writes down who serves each Service, in slices of at most 100 endpoints (Kubernetes, "EndpointSlices").
//!
//! Slices change as little as possible: an endpoint stays in its slice, new ones fill the gaps, and a slice is written
//! only when something in it differs.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use compact_str::CompactString;
use gantry_machinery::resource::gvr;
use gantry_machinery::resource_api::DeleteOptions;
use gantry_machinery::typed::value_of;
use gantry_machinery::value;
use gantry_machinery::value::Value;
use gantry_store_cache::key::ObjectKey;
use gantry_store_cache::object::StoredObject;
use k8s_openapi::api::core::v1::Service;

use super::backends::{self, Backend, Port};
use crate::runtime::expectations::Expectations;
use crate::runtime::informer::{Entry, Informer};
use crate::runtime::informers::Informers;
use crate::runtime::reconcile::{Action, Queue, Reconcile};
use crate::runtime::rows::{HasMeta, MetaRow, NodeRow, PodRow, SelectingRow};
use crate::runtime::write::{LoopError, Writer, is_namespace_terminating, is_not_found};

/// Endpoints in one slice.
const SLICE_MAX: usize = 100;
const SERVICE_NAME: &str = "kubernetes.io/service-name";
const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
const MANAGER: &str = "endpointslice-controller.k8s.io";
const HEADLESS: &str = "service.kubernetes.io/headless";
/// When a wait for our own writes is looked at again, should no event do it.
const LOOK_AGAIN: std::time::Duration = std::time::Duration::from_millis(500);

/// The loop; keys are Services.
pub struct EndpointSlices {
    services: Arc<Informer<SelectingRow>>,
    slices: Arc<Informer<MetaRow>>,
    pods: Arc<Informer<PodRow>>,
    nodes: Arc<Informer<NodeRow>>,
    writer: Writer,
    expectations: Expectations,
}

/// A slice as it is and as it is to be.
struct Slice {
    object: Arc<StoredObject>,
    endpoints: Vec<Value>,
    changed: bool,
}

impl EndpointSlices {
    /// Over these informers.
    #[must_use]
    pub fn new(informers: &Informers) -> Arc<Self> {
        Arc::new(Self {
            services: informers.selecting(&gvr::SERVICES),
            slices: informers.of(&gvr::ENDPOINT_SLICES),
            pods: informers.pods(),
            nodes: informers.nodes(),
            writer: Writer::new(informers.api().clone(), "endpointslice-controller"),
            expectations: Expectations::default(),
        })
    }

    fn slices_of(&self, service: &Entry<SelectingRow>) -> Vec<Arc<Entry<MetaRow>>> {
        let mut slices = self.slices.in_namespace(service.namespace());
        slices.retain(|slice| {
            let facets = &slice.object.facets;
            facets.label(SERVICE_NAME) == Some(service.name())
                && facets.label(MANAGED_BY) == Some(MANAGER)
                && !slice.row.meta().deleting()
        });
        slices
    }

    fn endpoint(&self, backend: &Backend, namespace: &str, publish_all: bool) -> Value {
        let ready = publish_all || (backend.serving && !backend.terminating);
        let addresses = Value::Array(vec![backend.ip.clone().into()]);
        let mut endpoint = value!({
            "addresses": addresses,
            "conditions": {
                "ready": ready,
                "serving": (backend.serving || publish_all),
                "terminating": (backend.terminating),
            },
        });
        if !backend.hostname.is_empty() {
            endpoint.set(&["hostname"], backend.hostname.clone());
        }
        endpoint.set(
            &["targetRef"],
            value!({
                "kind": "Pod",
                "namespace": namespace,
                "name": (backend.name.clone()),
                "uid": (backend.uid.clone()),
            }),
        );
        if !backend.node.is_empty() {
            endpoint.set(&["nodeName"], backend.node.clone());
            let node = self.nodes.get("", &backend.node);
            let zone = node.as_ref().and_then(|node| node.object.facets.label("topology.kubernetes.io/zone"));
            if let Some(zone) = zone {
                endpoint.set(&["zone"], zone);
            }
        }
        endpoint
    }

    /// Brings the slices of one set of ports in line with `wanted`.
    async fn write(
        &self,
        service: &Entry<SelectingRow>,
        frame: &Frame,
        ports: &Value,
        mut wanted: BTreeMap<CompactString, Value>,
        slices: Vec<Arc<Entry<MetaRow>>>,
    ) -> Result<(), LoopError> {
        let mut kept: Vec<Slice> = Vec::with_capacity(slices.len());
        for slice in slices {
            let object = value_of(&slice.object)?;
            let before = object.array_at(&["endpoints"]);
            let stays = |endpoint: &Value, wanted: &mut BTreeMap<CompactString, Value>| {
                wanted.remove(endpoint.str_at(&["targetRef", "uid"])?)
            };
            let endpoints: Vec<Value> =
                before.iter().filter_map(|endpoint| stays(endpoint, &mut wanted)).take(SLICE_MAX).collect();
            let changed = endpoints != before
                || object.at(&["metadata", "labels"]) != Some(&frame.labels)
                || object.at(&["ports"]).unwrap_or(&Value::Array(Vec::new())) != ports;
            kept.push(Slice { object: slice.object.clone(), endpoints, changed });
        }
        let mut new = wanted.into_values();
        for slice in &mut kept {
            let room = SLICE_MAX - slice.endpoints.len();
            let before = slice.endpoints.len();
            slice.endpoints.extend(new.by_ref().take(room));
            slice.changed |= slice.endpoints.len() != before;
        }
        let mut full = kept.iter().any(|slice| !slice.endpoints.is_empty());
        for slice in kept {
            let (namespace, name) = (service.namespace(), slice.object.key.name());
            if slice.endpoints.is_empty() && full {
                let options = DeleteOptions::default();
                if let Some(gone) = self.writer.delete(&gvr::ENDPOINT_SLICES, namespace, name, options).await? {
                    let (gantry_machinery::resource_api::Deleted::Gone(object)
                    | gantry_machinery::resource_api::Deleted::Marked(object)) = gone;
                    self.expectations.wrote(service.key(), object.revision);
                }
                continue;
            }
            // One empty slice stays, as upstream's placeholder.
            full = true;
            if slice.changed {
                let edit = |object: &mut Value| {
                    object.set(&["endpoints"], Value::Array(slice.endpoints));
                    object.set(&["metadata", "labels"], frame.labels.clone());
                    object.set(&["ports"], ports.clone());
                };
                match self.writer.edit(&gvr::ENDPOINT_SLICES, &slice.object, edit).await {
                    Ok(written) => self.expectations.wrote(service.key(), written.revision),
                    Err(LoopError::Api(status)) if is_not_found(&status) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        let mut rest: Vec<Value> = new.collect();
        while !rest.is_empty() || !full {
            let tail = rest.split_off(rest.len().min(SLICE_MAX));
            let slice = frame.slice(service, ports.clone(), std::mem::replace(&mut rest, tail));
            match self.writer.create(&gvr::ENDPOINT_SLICES, service.namespace(), slice).await {
                Ok(made) => self.expectations.wrote(service.key(), made.revision),
                Err(status) if is_namespace_terminating(&status) || is_not_found(&status) => return Ok(()),
                Err(status) => return Err(status.into()),
            }
            full = true;
        }
        Ok(())
    }
}

/// What all slices of a Service have in common.
struct Frame {
    labels: Value,
    address_type: &'static str,
}

impl Frame {
    fn of(service: &Service) -> Self {
        let mut labels = Value::object();
        for (key, value) in service.metadata.labels.iter().flatten() {
            labels.set(&[key], value.as_str());
        }
        let spec = service.spec.as_ref();
        if spec.and_then(|spec| spec.cluster_ip.as_deref()) == Some("None") {
            labels.set(&[HEADLESS], "");
        }
        labels.set(&[MANAGED_BY], MANAGER);
        labels.set(&[SERVICE_NAME], service.metadata.name.as_deref().unwrap_or_default());
        Self { labels, address_type: "IPv4" }
    }

    fn slice(&self, service: &Entry<SelectingRow>, ports: Value, endpoints: Vec<Value>) -> Value {
        value!({
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "generateName": (format!("{}-", service.name())),
                "namespace": (service.namespace()),
                "labels": (self.labels.clone()),
                "ownerReferences": [{
                    "apiVersion": "v1",
                    "kind": "Service",
                    "name": (service.name()),
                    "uid": (service.row.meta.uid.clone()),
                    "controller": true,
                    "blockOwnerDeletion": true,
                }],
            },
            "addressType": (self.address_type),
            "endpoints": (Value::Array(endpoints)),
            "ports": ports,
        })
    }
}

fn ports_value(ports: &[Port]) -> Value {
    let row = |port: &Port| {
        let mut row =
            value!({"name": (port.name.as_str()), "port": (port.number), "protocol": (port.protocol.as_str())});
        if let Some(spoken) = &port.app_protocol {
            row.set(&["appProtocol"], spoken.as_str());
        }
        row
    };
    Value::Array(ports.iter().map(row).collect())
}

#[async_trait]
impl Reconcile for EndpointSlices {
    fn name(&self) -> &'static str {
        "endpointslice-controller"
    }

    fn watch(self: Arc<Self>, queue: &Arc<Queue>) {
        let to = queue.clone();
        self.services.on_change(move |_, after| {
            if let Some(service) = after {
                to.add(service.key().clone());
            }
        });
        let (me, to) = (self.clone(), queue.clone());
        self.pods.on_change(move |before, after| backends::concerned(&me.services, before, after, &to));
        let (me, to) = (self.clone(), queue.clone());
        self.slices.on_change(move |before, after| {
            // Edits and deletions by others are mended; a new slice is our own.
            if let Some(slice) = before.or(after)
                && slice.object.facets.label(MANAGED_BY) == Some(MANAGER)
                && let Some(service) = slice.object.facets.label(SERVICE_NAME)
            {
                to.add(me.services.key(slice.namespace(), service));
            }
        });
    }

    async fn synced(&self) {
        self.services.synced().await;
        self.slices.synced().await;
        self.pods.synced().await;
        self.nodes.synced().await;
    }

    async fn reconcile(&self, key: &ObjectKey) -> Result<Action, LoopError> {
        // Slices of a Service that is gone go with it, by the garbage collector.
        let Some(service) = self.services.get_key(key) else { return Ok(Action::Done) };
        let Some(selector) = backends::selector(&service) else { return Ok(Action::Done) };
        if service.row.meta.deleting() {
            return Ok(Action::Done);
        }
        if !self.expectations.met(key, self.slices.reached()) {
            return Ok(Action::After(LOOK_AGAIN));
        }
        let typed = service.typed::<Service>()?;
        let spec = typed.spec.clone().unwrap_or_default();
        if spec.type_.as_deref() == Some("ExternalName") {
            return Ok(Action::Done);
        }
        let publish_all = spec.publish_not_ready_addresses == Some(true);
        let frame = Frame::of(&typed);
        let backends = backends::of(&typed, selector, &self.pods.in_namespace(service.namespace()));

        // Pods may resolve a named port differently: one set of slices per set of ports.
        let mut groups: BTreeMap<Vec<Port>, BTreeMap<CompactString, Value>> = BTreeMap::new();
        for backend in &backends {
            let endpoint = self.endpoint(backend, service.namespace(), publish_all);
            groups.entry(backend.ports.clone()).or_default().insert(backend.uid.clone(), endpoint);
        }
        let mut existing: Vec<(Value, Vec<Arc<Entry<MetaRow>>>)> = Vec::new();
        for slice in self.slices_of(&service) {
            let ports = value_of(&slice.object)?.remove(&["ports"]).unwrap_or(Value::Array(Vec::new()));
            match existing.iter_mut().find(|(known, _)| *known == ports) {
                Some((_, slices)) => slices.push(slice),
                None => existing.push((ports, vec![slice])),
            }
        }
        if groups.is_empty() {
            groups.insert(Vec::new(), BTreeMap::new());
        }
        for (ports, wanted) in groups {
            let ports = ports_value(&ports);
            let at = existing.iter().position(|(known, _)| *known == ports);
            // Slices of ports that nobody serves any more are taken over rather than deleted and made anew.
            let slices = match at {
                Some(at) => existing.remove(at).1,
                None => existing.pop().map(|(_, slices)| slices).unwrap_or_default(),
            };
            self.write(&service, &frame, &ports, wanted, slices).await?;
        }
        for slice in existing.into_iter().flat_map(|(_, slices)| slices) {
            let options = DeleteOptions::default();
            self.writer.delete(&gvr::ENDPOINT_SLICES, slice.namespace(), slice.name(), options).await?;
        }
        Ok(Action::Done)
    }
}
