//! Gives every namespace its `default` ServiceAccount (Kubernetes, "Configure Service Accounts for Pods").

use std::sync::Arc;

use async_trait::async_trait;
use gantry_machinery::resource::gvr;
use gantry_machinery::value;
use gantry_store_cache::key::ObjectKey;

use crate::runtime::informer::Informer;
use crate::runtime::informers::Informers;
use crate::runtime::reconcile::{Action, Queue, Reconcile};
use crate::runtime::rows::{HasMeta, MetaRow};
use crate::runtime::write::{LoopError, Writer, is_already_exists, is_namespace_terminating, is_not_found};

const NAME: &str = "default";

/// The loop; keys are namespaces.
pub struct ServiceAccounts {
    namespaces: Arc<Informer<MetaRow>>,
    accounts: Arc<Informer<MetaRow>>,
    writer: Writer,
}

impl ServiceAccounts {
    /// Over these informers.
    #[must_use]
    pub fn new(informers: &Informers) -> Arc<Self> {
        Arc::new(Self {
            namespaces: informers.of(&gvr::NAMESPACES),
            accounts: informers.of(&gvr::SERVICE_ACCOUNTS),
            writer: Writer::new(informers.api().clone(), "serviceaccount-controller"),
        })
    }
}

#[async_trait]
impl Reconcile for ServiceAccounts {
    fn name(&self) -> &'static str {
        "serviceaccount-controller"
    }

    fn watch(self: Arc<Self>, queue: &Arc<Queue>) {
        let to = queue.clone();
        self.namespaces.on_change(move |_, after| {
            if let Some(namespace) = after {
                to.add(namespace.key().clone());
            }
        });
        let (me, to) = (self.clone(), queue.clone());
        self.accounts.on_change(move |before, after| {
            if let (Some(account), None) = (before, after)
                && account.name() == NAME
            {
                to.add(me.namespaces.key("", account.namespace()));
            }
        });
    }

    async fn synced(&self) {
        self.namespaces.synced().await;
        self.accounts.synced().await;
    }

    async fn reconcile(&self, key: &ObjectKey) -> Result<Action, LoopError> {
        let namespace = key.name();
        let wanted = self.namespaces.get_key(key).is_some_and(|namespace| !namespace.row.meta().deleting());
        if !wanted || self.accounts.get(namespace, NAME).is_some() {
            return Ok(Action::Done);
        }
        let account = value!({
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": {"name": NAME, "namespace": namespace},
        });
        match self.writer.create(&gvr::SERVICE_ACCOUNTS, namespace, account).await {
            Ok(_) => Ok(Action::Done),
            Err(status) if is_already_exists(&status) || is_namespace_terminating(&status) || is_not_found(&status) => {
                Ok(Action::Done)
            }
            Err(status) => Err(status.into()),
        }
    }
}
