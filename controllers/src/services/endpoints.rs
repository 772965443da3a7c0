//! The Endpoints loop: the old form of a Service's members, one object per Service (Kubernetes, "Services", section on
//! Endpoints). Deprecated upstream since 1.33 and still served to every client that asks.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use gantry_machinery::resource::gvr;
use gantry_machinery::resource_api::{DeleteOptions, Target};
use gantry_machinery::typed::value_of;
use gantry_machinery::value;
use gantry_machinery::value::{Object, Value};
use gantry_store_cache::key::ObjectKey;

use super::members::{Group, Member, groups, selected, wake_services};
use crate::runtime::expectations::Expectations;
use crate::runtime::informer::Informer;
use crate::runtime::informers::Informers;
use crate::runtime::reconcile::{Action, Queue, Reconcile};
use crate::runtime::rows::{MetaRow, PodRow, SelectingRow};
use crate::runtime::write::{LoopError, Writer, is_namespace_terminating, is_not_found};

const NAME: &str = "endpoints-controller";
const MANAGED_BY: &str = "endpoints.kubernetes.io/managed-by";
const OURS: &str = "endpoint-controller";
/// Said of Endpoints that leave members out because there are too many.
const OVER_CAPACITY: &str = "endpoints.kubernetes.io/over-capacity";
/// Members in one Endpoints object at most: upstream's bound.
const MEMBERS_MAX: usize = 1000;
/// When a wait for our own writes is looked at again, should no event do it.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// The loop; see the module's text.
pub struct Endpoints {
    services: Arc<Informer<SelectingRow>>,
    pods: Arc<Informer<PodRow>>,
    endpoints: Arc<Informer<MetaRow>>,
    writer: Writer,
    expectations: Expectations,
}

impl Endpoints {
    /// Over these informers.
    #[must_use]
    pub fn new(informers: &Informers) -> Arc<Self> {
        Arc::new(Self {
            services: informers.selecting(&gvr::SERVICES),
            pods: informers.pods(),
            endpoints: informers.of(&gvr::ENDPOINTS),
            writer: Writer::new(informers.api().clone(), NAME),
            expectations: Expectations::default(),
        })
    }

    /// Endpoints outlive their Service only if somebody else made them.
    async fn clean_up(&self, key: &ObjectKey) -> Result<(), LoopError> {
        let Some(left) = self.endpoints.get(key.namespace(), key.name()) else { return Ok(()) };
        if left.object.facets.label(MANAGED_BY) != Some(OURS) {
            return Ok(());
        }
        let options = DeleteOptions::default();
        match self.writer.delete(&gvr::ENDPOINTS, key.namespace(), key.name(), options).await {
            Ok(_) => Ok(()),
            Err(status) if is_not_found(&status) => Ok(()),
            Err(status) => Err(status.into()),
        }
    }
}

#[async_trait]
impl Reconcile for Endpoints {
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
        self.endpoints.on_change(move |before, after| {
            if let Some(endpoints) = after.or(before) {
                to.add(services.key(endpoints.namespace(), endpoints.name()));
            }
        });
    }

    async fn synced(&self) {
        tokio::join!(self.services.synced(), self.pods.synced(), self.endpoints.synced());
    }

    async fn reconcile(&self, key: &ObjectKey) -> Result<Action, LoopError> {
        if !self.expectations.met(key, self.endpoints.reached()) {
            return Ok(Action::After(LOOK_AGAIN));
        }
        let Some(service) = self.services.get_key(key) else {
            self.clean_up(key).await?;
            return Ok(Action::Done);
        };
        let Some(pods) = selected(&service, &self.pods) else { return Ok(Action::Done) };
        let service = value_of(&service.object)?;
        if service.str_at(&["spec", "type"]) == Some("ExternalName") {
            return Ok(Action::Done);
        }
        let mut members = groups(&service, key.name(), &pods)?;
        // Pods on their way out are no endpoints in the old form.
        for group in &mut members {
            group.members.retain(|member| !member.terminating);
        }
        members.retain(|group| !group.members.is_empty());
        let over = truncate(&mut members);
        let subsets: Vec<Value> = members.iter().map(|group| subset(group, key.namespace())).collect();
        let labels = labels(&service);

        let present = self.endpoints.get(key.namespace(), key.name());
        let written = match present {
            Some(present) => {
                let mut object = value_of(&present.object)?;
                let marked = object.str_at(&["metadata", "annotations", OVER_CAPACITY]).is_some();
                let same = object.array_at(&["subsets"]) == subsets
                    && object.at(&["metadata", "labels"]).and_then(Value::as_object) == Some(&labels)
                    && marked == over;
                if same {
                    return Ok(Action::Done);
                }
                object.set(&["subsets"], Value::Array(subsets));
                object.set(&["metadata", "labels"], labels);
                mark(&mut object, over);
                self.writer.update(Target::object(&gvr::ENDPOINTS, key.namespace(), key.name()), object).await?
            }
            None => {
                let mut object = value!({
                    "apiVersion": "v1",
                    "kind": "Endpoints",
                    "metadata": {"name": (key.name()), "namespace": (key.namespace()), "labels": labels},
                    "subsets": subsets
                });
                mark(&mut object, over);
                match self.writer.create(&gvr::ENDPOINTS, key.namespace(), object).await {
                    Ok(written) => written,
                    Err(status) if is_namespace_terminating(&status) => return Ok(Action::Done),
                    Err(status) => return Err(status.into()),
                }
            }
        };
        self.expectations.wrote(key, written.revision);
        Ok(Action::Done)
    }
}

/// Cuts the members down to what one object may hold; says whether anything was left out.
fn truncate(groups: &mut Vec<Group>) -> bool {
    let mut room = MEMBERS_MAX;
    let mut over = false;
    for group in groups.iter_mut() {
        over |= group.members.len() > room;
        // Ready members matter more than those that are not.
        group.members.sort_by_key(|member| !member.ready);
        group.members.truncate(room);
        group.members.sort_by(|a, b| a.ip.cmp(&b.ip));
        room -= group.members.len();
    }
    groups.retain(|group| !group.members.is_empty());
    over
}

fn mark(object: &mut Value, over: bool) {
    if over {
        object.set(&["metadata", "annotations", OVER_CAPACITY], "truncated");
    } else {
        object.remove(&["metadata", "annotations", OVER_CAPACITY]);
    }
}

fn subset(group: &Group, namespace: &str) -> Value {
    let address = |member: &Member| {
        let mut address = value!({
            "ip": (member.ip.clone()),
            "nodeName": (member.node.clone()),
            "targetRef": (member.target(namespace))
        });
        if let Some(hostname) = &member.hostname {
            address.set(&["hostname"], hostname.clone());
        }
        address
    };
    let mut subset = Object::new();
    for (field, ready) in [("addresses", true), ("notReadyAddresses", false)] {
        let addresses: Vec<Value> = group.members.iter().filter(|m| m.ready == ready).map(address).collect();
        if !addresses.is_empty() {
            subset.insert(field, Value::Array(addresses));
        }
    }
    let ports: Vec<Value> = group
        .ports
        .iter()
        .map(|port| {
            let mut value = value!({"port": (port.port), "protocol": (port.protocol.clone())});
            if !port.name.is_empty() {
                value.set(&["name"], port.name.clone());
            }
            if let Some(protocol) = &port.app_protocol {
                value.set(&["appProtocol"], protocol.clone());
            }
            value
        })
        .collect();
    if !ports.is_empty() {
        subset.insert("ports", Value::Array(ports));
    }
    subset.into()
}

/// The Service's labels with ours, and the mark of headless Services.
fn labels(service: &Value) -> Object {
    let mut labels = service.object_at(&["metadata", "labels"]).cloned().unwrap_or_default();
    labels.insert(MANAGED_BY, OURS);
    if service.str_at(&["spec", "clusterIP"]) == Some("None") {
        labels.insert("service.kubernetes.io/headless", "");
    }
    labels
}
