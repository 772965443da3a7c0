//! The EndpointSlice loop: for each Service with a selector, slices of at most 100 endpoints (Kubernetes,
//! "EndpointSlices"; KEP-752). Endpoints stay in the slice they are in, so that one pod's change rewrites one slice.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use compact_str::CompactString;
use gantry_machinery::resource::gvr;
use gantry_machinery::resource_api::{DeleteOptions, Target};
use gantry_machinery::typed::value_of;
use gantry_machinery::value;
use gantry_machinery::value::{Object, Value};
use gantry_store_cache::key::ObjectKey;

use super::members::{Group, Member, Port, groups, selected, wake_services};
use crate::runtime::expectations::Expectations;
use crate::runtime::informer::{Entry, Informer};
use crate::runtime::informers::Informers;
use crate::runtime::reconcile::{Action, Queue, Reconcile};
use crate::runtime::rows::{HasMeta, MetaRow, PodRow, SelectingRow};
use crate::runtime::write::{LoopError, Writer, is_namespace_terminating, is_not_found};

/// Endpoints in one slice at most: upstream's default.
const SLICE_MAX: usize = 100;
const NAME: &str = "endpointslice-controller";
const SERVICE_NAME: &str = "kubernetes.io/service-name";
const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
const OURS: &str = "endpointslice-controller.k8s.io";
const HEADLESS: &str = "service.kubernetes.io/headless";
/// When a wait for our own writes is looked at again, should no event do it.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// The loop; see the module's text.
pub struct EndpointSlices {
    services: Arc<Informer<SelectingRow>>,
    pods: Arc<Informer<PodRow>>,
    slices: Arc<Informer<MetaRow>>,
    writer: Writer,
    expectations: Expectations,
}

/// A slice to be: its name while it has one, its ports and members.
struct Plan {
    present: Option<Arc<Entry<MetaRow>>>,
    ports: Vec<Port>,
    members: Vec<Member>,
}

impl EndpointSlices {
    /// Over these informers.
    #[must_use]
    pub fn new(informers: &Informers) -> Arc<Self> {
        Arc::new(Self {
            services: informers.selecting(&gvr::SERVICES),
            pods: informers.pods(),
            slices: informers.of(&gvr::ENDPOINT_SLICES),
            writer: Writer::new(informers.api().clone(), NAME),
            expectations: Expectations::default(),
        })
    }

    /// The Service that a slice of ours belongs to.
    fn service_of(slice: &Entry<MetaRow>) -> Option<&str> {
        let facets = &slice.object.facets;
        facets.label(SERVICE_NAME).filter(|_| facets.label(MANAGED_BY) == Some(OURS))
    }

    fn slices_of(&self, namespace: &str, service: &str) -> Vec<Arc<Entry<MetaRow>>> {
        let mut slices = self.slices.in_namespace(namespace);
        slices.retain(|slice| Self::service_of(slice) == Some(service));
        slices
    }

    async fn write(&self, key: &ObjectKey, service: &Value, plan: Plan) -> Result<(), LoopError> {
        let endpoints: Vec<Value> = plan.members.iter().map(|member| endpoint(member, key.namespace())).collect();
        let ports: Vec<Value> = plan.ports.iter().map(port).collect();
        let labels = labels(service, key.name());
        let address_type = match service.str_at(&["spec", "clusterIP"]) {
            Some(ip) if ip.contains(':') => "IPv6",
            _ => "IPv4",
        };
        let written = match plan.present {
            Some(slice) => {
                let mut object = value_of(&slice.object)?;
                let same = object.array_at(&["endpoints"]) == endpoints
                    && object.array_at(&["ports"]) == ports
                    && object.at(&["metadata", "labels"]).and_then(Value::as_object) == Some(&labels);
                if same {
                    return Ok(());
                }
                object.set(&["endpoints"], Value::Array(endpoints));
                object.set(&["ports"], Value::Array(ports));
                object.set(&["metadata", "labels"], labels);
                let target = Target::object(&gvr::ENDPOINT_SLICES, key.namespace(), slice.name());
                self.writer.update(target, object).await?
            }
            None => {
                let owner = value!({
                    "apiVersion": "v1",
                    "kind": "Service",
                    "name": (key.name()),
                    "uid": (service.str_at(&["metadata", "uid"]).unwrap_or_default()),
                    "controller": true,
                    "blockOwnerDeletion": true
                });
                let object = value!({
                    "apiVersion": "discovery.k8s.io/v1",
                    "kind": "EndpointSlice",
                    "metadata": {
                        "generateName": (format!("{}-", key.name())),
                        "namespace": (key.namespace()),
                        "labels": labels,
                        "ownerReferences": [owner]
                    },
                    "addressType": address_type,
                    "endpoints": endpoints,
                    "ports": ports
                });
                match self.writer.create(&gvr::ENDPOINT_SLICES, key.namespace(), object).await {
                    Ok(written) => written,
                    Err(status) if is_namespace_terminating(&status) => return Ok(()),
                    Err(status) => return Err(status.into()),
                }
            }
        };
        self.expectations.wrote(key, written.revision);
        Ok(())
    }

    async fn delete(&self, slice: &Entry<MetaRow>) -> Result<(), LoopError> {
        let options = DeleteOptions { uid: Some(slice.row.meta().uid.to_string()), ..DeleteOptions::default() };
        match self.writer.delete(&gvr::ENDPOINT_SLICES, slice.namespace(), slice.name(), options).await {
            Ok(_) => Ok(()),
            Err(status) if is_not_found(&status) => Ok(()),
            Err(status) => Err(status.into()),
        }
    }
}

#[async_trait]
impl Reconcile for EndpointSlices {
    fn name(&self) -> &'static str {
        NAME
    }

    fn watch(self: Arc<Self>, queue: &Arc<Queue>) {
        let to = queue.clone();
        self.services.on_change(move |before, after| {
            if let Some(service) = after.or(before) {
                to.add(service.key().clone());
            }
        });
        let (to, services) = (queue.clone(), self.services.clone());
        self.pods.on_change(move |before, after| wake_services(&services, before, after, &to));
        let (to, services) = (queue.clone(), self.services.clone());
        self.slices.on_change(move |before, after| {
            let Some(slice) = after.or(before) else { return };
            if let Some(service) = Self::service_of(slice) {
                to.add(services.key(slice.namespace(), service));
            }
        });
    }

    async fn synced(&self) {
        tokio::join!(self.services.synced(), self.pods.synced(), self.slices.synced());
    }

    async fn reconcile(&self, key: &ObjectKey) -> Result<Action, LoopError> {
        if !self.expectations.met(key, self.slices.reached()) {
            return Ok(Action::After(LOOK_AGAIN));
        }
        let present = self.slices_of(key.namespace(), key.name());
        let service = self.services.get_key(key);
        let pods = service.as_ref().and_then(|service| selected(service, &self.pods));
        let (Some(service), Some(pods)) = (service, pods) else {
            // A Service that is gone takes its slices along through the garbage collector; one that lost its selector
            // leaves its slices to whoever manages them now.
            return Ok(Action::Done);
        };
        let service_object = value_of(&service.object)?;
        if service.row.meta.deleting() || service_object.str_at(&["spec", "type"]) == Some("ExternalName") {
            return Ok(Action::Done);
        }
        let wanted = groups(&service_object, key.name(), &pods)?;
        let (plans, surplus) = place(wanted, present)?;
        for plan in plans {
            self.write(key, &service_object, plan).await?;
        }
        for slice in surplus {
            self.delete(&slice).await?;
        }
        Ok(Action::Done)
    }
}

type Slice = Arc<Entry<MetaRow>>;

/// Distributes members over slices: each stays where it is, newcomers fill what room there is, then new slices. Gives
/// the slices to be and those that nobody needs. A Service without members keeps one slice, as upstream's does.
fn place(groups: Vec<Group>, present: Vec<Slice>) -> Result<(Vec<Plan>, Vec<Slice>), LoopError> {
    let mut present: Vec<(Slice, Vec<Port>, Vec<CompactString>)> = present
        .into_iter()
        .map(|slice| {
            let object = value_of(&slice.object)?;
            let uids = object.array_at(&["endpoints"]).iter().filter_map(|e| e.str_at(&["targetRef", "uid"]));
            let uids = uids.map(Into::into).collect();
            Ok((slice, ports_of(&object), uids))
        })
        .collect::<Result<_, LoopError>>()?;
    let mut plans: Vec<Plan> = Vec::new();
    for group in groups {
        let mut newcomers = group.members;
        let first = plans.len();
        let (same_ports, others) = present.into_iter().partition(|(_, ports, _)| *ports == group.ports);
        present = others;
        for (slice, ports, uids) in same_ports {
            let (mut members, rest): (Vec<Member>, Vec<Member>) =
                newcomers.into_iter().partition(|member| uids.contains(&member.uid));
            newcomers = rest;
            members.truncate(SLICE_MAX);
            plans.push(Plan { present: Some(slice), ports, members });
        }
        for plan in &mut plans[first..] {
            let room = SLICE_MAX - plan.members.len();
            plan.members.extend(newcomers.drain(..room.min(newcomers.len())));
        }
        for chunk in newcomers.chunks(SLICE_MAX) {
            plans.push(Plan { present: None, ports: group.ports.clone(), members: chunk.to_vec() });
        }
    }
    let (plans, emptied): (Vec<Plan>, Vec<Plan>) = plans.into_iter().partition(|plan| !plan.members.is_empty());
    let mut surplus: Vec<Slice> = emptied.into_iter().filter_map(|plan| plan.present).collect();
    surplus.extend(present.into_iter().map(|(slice, ..)| slice));
    if plans.is_empty() {
        let keep = if surplus.is_empty() { None } else { Some(surplus.remove(0)) };
        return Ok((vec![Plan { present: keep, ports: Vec::new(), members: Vec::new() }], surplus));
    }
    Ok((plans, surplus))
}

fn ports_of(slice: &Value) -> Vec<Port> {
    let mut ports: Vec<Port> = slice
        .array_at(&["ports"])
        .iter()
        .map(|port| Port {
            name: port.str_at(&["name"]).unwrap_or_default().into(),
            protocol: port.str_at(&["protocol"]).unwrap_or("TCP").into(),
            port: port.i64_at(&["port"]).unwrap_or_default(),
            app_protocol: port.str_at(&["appProtocol"]).map(Into::into),
        })
        .collect();
    ports.sort();
    ports
}

fn port(port: &Port) -> Value {
    let mut value = value!({"name": (port.name.clone()), "port": (port.port), "protocol": (port.protocol.clone())});
    if let Some(protocol) = &port.app_protocol {
        value.set(&["appProtocol"], protocol.clone());
    }
    value
}

fn endpoint(member: &Member, namespace: &str) -> Value {
    let mut endpoint = value!({
        "addresses": [(member.ip.clone())],
        "conditions": {"ready": (member.ready), "serving": (member.serving), "terminating": (member.terminating)},
        "nodeName": (member.node.clone()),
        "targetRef": (member.target(namespace))
    });
    if let Some(hostname) = &member.hostname {
        endpoint.set(&["hostname"], hostname.clone());
    }
    endpoint
}

/// The Service's labels with those that say whose the slice is.
fn labels(service: &Value, name: &str) -> Object {
    let mut labels = service.object_at(&["metadata", "labels"]).cloned().unwrap_or_default();
    labels.remove(HEADLESS);
    labels.insert(SERVICE_NAME, name);
    labels.insert(MANAGED_BY, OURS);
    if service.str_at(&["spec", "clusterIP"]) == Some("None") {
        labels.insert(HEADLESS, "");
    }
    labels
}
