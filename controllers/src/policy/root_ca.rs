//! Publishes the cluster's certificate authority as ConfigMap `kube-root-ca.crt` in every namespace, and mends edits:
//! pods verify the API server with it.

use std::sync::Arc;

use async_trait::async_trait;
use gantry_machinery::resource::gvr;
use gantry_machinery::typed::value_of;
use gantry_machinery::value;
use gantry_store_cache::key::ObjectKey;

use crate::runtime::informer::Informer;
use crate::runtime::informers::Informers;
use crate::runtime::reconcile::{Action, Queue, Reconcile};
use crate::runtime::rows::{HasMeta, MetaRow};
use crate::runtime::write::{LoopError, Writer, is_already_exists, is_namespace_terminating, is_not_found};

const NAME: &str = "kube-root-ca.crt";
const FILE: &str = "ca.crt";
const ABOUT: &str = "kubernetes.io/description";
const DESCRIPTION: &str = "Contains a CA bundle that can be used to verify the kube-apiserver when using internal \
    endpoints such as the internal service IP or kubernetes.default.svc. No other usage is guaranteed across \
    distributions of Kubernetes clusters.";

/// The loop; keys are namespaces.
pub struct RootCa {
    namespaces: Arc<Informer<MetaRow>>,
    maps: Arc<Informer<MetaRow>>,
    writer: Writer,
    bundle: String,
}

impl RootCa {
    /// Publishes `bundle` (PEM).
    #[must_use]
    pub fn new(informers: &Informers, bundle: String) -> Arc<Self> {
        Arc::new(Self {
            namespaces: informers.of(&gvr::NAMESPACES),
            maps: informers.of(&gvr::CONFIG_MAPS),
            writer: Writer::new(informers.api().clone(), "root-ca-certificate-publisher-controller"),
            bundle,
        })
    }
}

#[async_trait]
impl Reconcile for RootCa {
    fn name(&self) -> &'static str {
        "root-ca-certificate-publisher-controller"
    }

    fn watch(self: Arc<Self>, queue: &Arc<Queue>) {
        let to = queue.clone();
        self.namespaces.on_change(move |_, after| {
            if let Some(namespace) = after {
                to.add(namespace.key().clone());
            }
        });
        let (me, to) = (self.clone(), queue.clone());
        self.maps.on_change(move |before, after| {
            // Its first appearance is our own doing.
            if let Some(map) = before.or(after)
                && map.name() == NAME
            {
                to.add(me.namespaces.key("", map.namespace()));
            }
        });
    }

    async fn synced(&self) {
        self.namespaces.synced().await;
        self.maps.synced().await;
    }

    async fn reconcile(&self, key: &ObjectKey) -> Result<Action, LoopError> {
        let namespace = key.name();
        let wanted = self.namespaces.get_key(key).is_some_and(|namespace| !namespace.row.meta().deleting());
        if !wanted {
            return Ok(Action::Done);
        }
        if let Some(map) = self.maps.get(namespace, NAME) {
            let value = value_of(&map.object)?;
            let data = value.object_at(&["data"]);
            let right = data.is_some_and(|data| data.len() == 1)
                && value.str_at(&["data", FILE]) == Some(&self.bundle)
                && value.str_at(&["metadata", "annotations", ABOUT]).is_some();
            if !right {
                let write = |map: &mut value::Value| {
                    map.set(&["data"], value!({FILE: (self.bundle.as_str())}));
                    map.set(&["metadata", "annotations", ABOUT], DESCRIPTION);
                };
                self.writer.edit(&gvr::CONFIG_MAPS, &map.object, write).await?;
            }
            return Ok(Action::Done);
        }
        let map = value!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": NAME, "namespace": namespace, "annotations": {ABOUT: DESCRIPTION}},
            "data": {FILE: (self.bundle.as_str())},
        });
        match self.writer.create(&gvr::CONFIG_MAPS, namespace, map).await {
            Ok(_) => Ok(Action::Done),
            Err(status) if is_already_exists(&status) || is_namespace_terminating(&status) || is_not_found(&status) => {
                Ok(Action::Done)
            }
            Err(status) => Err(status.into()),
        }
    }
}
