//! Writes down who serves each Service in the legacy Endpoints form, for clients that still read it: at most 1,000
//! addresses, the ready ones apart from the others.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use gantry_machinery::resource::gvr;
use gantry_machinery::resource_api::DeleteOptions;
use gantry_machinery::typed::value_of;
use gantry_machinery::value;
use gantry_machinery::value::Value;
use gantry_store_cache::key::ObjectKey;
use k8s_openapi::api::core::v1::Service;

use super::backends::{self, Backend, Port};
use crate::runtime::informer::Informer;
use crate::runtime::informers::Informers;
use crate::runtime::reconcile::{Action, Queue, Reconcile};
use crate::runtime::rows::{MetaRow, PodRow, SelectingRow};
use crate::runtime::write::{LoopError, Writer, is_already_exists, is_namespace_terminating, is_not_found};

/// Addresses in one Endpoints object.
const ADDRESSES_MAX: usize = 1000;
const OVER_CAPACITY: &str = "endpoints.kubernetes.io/over-capacity";
const MANAGED_BY: &str = "endpoints.kubernetes.io/managed-by";
const HEADLESS: &str = "service.kubernetes.io/headless";

/// The loop; keys are Services.
pub struct EndpointsLoop {
    services: Arc<Informer<SelectingRow>>,
    endpoints: Arc<Informer<MetaRow>>,
    pods: Arc<Informer<PodRow>>,
    writer: Writer,
}

impl EndpointsLoop {
    /// Over these informers.
    #[must_use]
    pub fn new(informers: &Informers) -> Arc<Self> {
        Arc::new(Self {
            services: informers.selecting(&gvr::SERVICES),
            endpoints: informers.of(&gvr::ENDPOINTS),
            pods: informers.pods(),
            writer: Writer::new(informers.api().clone(), "endpoint-controller"),
        })
    }
}

/// Addresses of one set of ports.
#[derive(Default)]
struct Subset {
    ready: Vec<Value>,
    others: Vec<Value>,
}

/// The subsets, and whether some addresses had to be left out.
fn subsets(backends: &[Backend], namespace: &str, publish_all: bool) -> (Vec<Value>, bool) {
    let mut by_ports: BTreeMap<Vec<Port>, Subset> = BTreeMap::new();
    let mut left = ADDRESSES_MAX;
    for backend in backends {
        if backend.terminating && !publish_all {
            continue;
        }
        if left == 0 {
            break;
        }
        left -= 1;
        let mut address = value!({"ip": (backend.ip.clone())});
        if !backend.hostname.is_empty() {
            address.set(&["hostname"], backend.hostname.clone());
        }
        if !backend.node.is_empty() {
            address.set(&["nodeName"], backend.node.clone());
        }
        address.set(
            &["targetRef"],
            value!({
                "kind": "Pod",
                "namespace": namespace,
                "name": (backend.name.clone()),
                "uid": (backend.uid.clone()),
            }),
        );
        let subset = by_ports.entry(backend.ports.clone()).or_default();
        if backend.serving || publish_all { subset.ready.push(address) } else { subset.others.push(address) }
    }
    let rows = by_ports.into_iter().map(|(ports, subset)| {
        let mut row = Value::object();
        if !subset.ready.is_empty() {
            row.set(&["addresses"], Value::Array(subset.ready));
        }
        if !subset.others.is_empty() {
            row.set(&["notReadyAddresses"], Value::Array(subset.others));
        }
        let port = |port: &Port| {
            let mut row = value!({"port": (port.number), "protocol": (port.protocol.as_str())});
            if !port.name.is_empty() {
                row.set(&["name"], port.name.as_str());
            }
            if let Some(spoken) = &port.app_protocol {
                row.set(&["appProtocol"], spoken.as_str());
            }
            row
        };
        if !ports.is_empty() {
            row.set(&["ports"], Value::Array(ports.iter().map(port).collect()));
        }
        row
    });
    (rows.collect(), left == 0 && backends.len() > ADDRESSES_MAX)
}

#[async_trait]
impl Reconcile for EndpointsLoop {
    fn name(&self) -> &'static str {
        "endpoints-controller"
    }

    fn watch(self: Arc<Self>, queue: &Arc<Queue>) {
        let to = queue.clone();
        self.services.on_change(move |before, after| {
            if let Some(service) = after.or(before) {
                to.add(service.key().clone());
            }
        });
        let (me, to) = (self.clone(), queue.clone());
        self.pods.on_change(move |before, after| backends::concerned(&me.services, before, after, &to));
        let (me, to) = (self.clone(), queue.clone());
        self.endpoints.on_change(move |before, _| {
            if let Some(endpoints) = before {
                to.add(me.services.key(endpoints.namespace(), endpoints.name()));
            }
        });
    }

    async fn synced(&self) {
        self.services.synced().await;
        self.endpoints.synced().await;
        self.pods.synced().await;
    }

    async fn reconcile(&self, key: &ObjectKey) -> Result<Action, LoopError> {
        let (namespace, name) = (key.namespace(), key.name());
        let current = self.endpoints.get(namespace, name);
        let Some(service) = self.services.get_key(key) else {
            // Endpoints carry no owner reference, so nobody else takes them away. Those of other makers stay.
            if current.is_some_and(|endpoints| endpoints.object.facets.label(MANAGED_BY).is_some()) {
                self.writer.delete(&gvr::ENDPOINTS, namespace, name, DeleteOptions::default()).await?;
            }
            return Ok(Action::Done);
        };
        let Some(selector) = backends::selector(&service) else { return Ok(Action::Done) };
        let typed = service.typed::<Service>()?;
        let spec = typed.spec.clone().unwrap_or_default();
        if service.row.meta.deleting() || spec.type_.as_deref() == Some("ExternalName") {
            return Ok(Action::Done);
        }
        let publish_all = spec.publish_not_ready_addresses == Some(true);
        let backends = backends::of(&typed, selector, &self.pods.in_namespace(namespace));
        let (subsets, truncated) = subsets(&backends, namespace, publish_all);
        let mut labels = Value::object();
        for (key, value) in typed.metadata.labels.iter().flatten() {
            labels.set(&[key], value.as_str());
        }
        labels.set(&[MANAGED_BY], "endpoint-controller");
        if spec.cluster_ip.as_deref() == Some("None") {
            labels.set(&[HEADLESS], "");
        }
        let fill = |object: &mut Value| {
            object.set(&["metadata", "labels"], labels.clone());
            if subsets.is_empty() {
                object.remove(&["subsets"]);
            } else {
                object.set(&["subsets"], Value::Array(subsets.clone()));
            }
            if truncated {
                object.set(&["metadata", "annotations", OVER_CAPACITY], "truncated");
            } else {
                object.remove(&["metadata", "annotations", OVER_CAPACITY]);
            }
        };
        if let Some(current) = current {
            let before = value_of(&current.object)?;
            let mut after = before.clone();
            fill(&mut after);
            if after != before {
                self.writer.edit(&gvr::ENDPOINTS, &current.object, fill).await?;
            }
            return Ok(Action::Done);
        }
        let mut made = value!({
            "apiVersion": "v1",
            "kind": "Endpoints",
            "metadata": {"name": name, "namespace": namespace},
        });
        fill(&mut made);
        match self.writer.create(&gvr::ENDPOINTS, namespace, made).await {
            Ok(_) => Ok(Action::Done),
            Err(status) if is_already_exists(&status) || is_namespace_terminating(&status) || is_not_found(&status) => {
                Ok(Action::Done)
            }
            Err(status) => Err(status.into()),
        }
    }
}
