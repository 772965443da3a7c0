//! Admission inside this process: what is changed in, and asked of, an object between decoding and validation (C3 of the
//! surface map; API docs "Admission control"). The plugins run in upstream's order: all that change, then all that only
//! check.
//!
//! Called by the registry's verbs. A plugin reads the store but never writes it, and decides at once: the one thing worth
//! waiting for (a new namespace's default ServiceAccount) is waited for in [`Chain::settle`], before any plugin runs.
//! What comes last with upstream, [`resource_quota`], is part of the commit here and no plugin.

pub(crate) mod admin_access;
pub(crate) mod certificates;
pub(crate) mod claim_resize;
pub(crate) mod default_class;
pub(crate) mod default_toleration_seconds;
pub(crate) mod ip_address_in_use;
pub(crate) mod limit_ranger;
pub(crate) mod namespace_lifecycle;
pub(crate) mod node_restriction;
pub(crate) mod pod_group;
pub(crate) mod pod_resize;
pub(crate) mod pod_security;
pub(crate) mod priority;
pub(crate) mod rbac_escalation;
pub(crate) mod resource_quota;
pub(crate) mod runtime_class;
pub(crate) mod service_account;
pub(crate) mod storage_in_use;
pub(crate) mod taint_nodes;

use gantry_machinery::status::Status;
use gantry_machinery::value::Value;

use crate::registry::Registry;
use crate::registry::call::Call;

/// What is being done to the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    /// It is new.
    Create,
    /// It changes.
    Update,
    /// It goes.
    Delete,
}

/// One admission: the request, and what it does to which object.
pub(crate) struct Attributes<'a> {
    /// The registry, for looking at other objects.
    pub(crate) registry: &'a Registry,
    /// The write.
    pub(crate) call: &'a Call<'a>,
    /// What it does.
    pub(crate) operation: Operation,
}

impl Attributes<'_> {
    /// Whether this writes the object itself, of this collection, not one of its subresources.
    pub(crate) fn writes(&self, collection: &str) -> bool {
        self.call.subresource.is_empty() && self.call.row.collection == collection
    }

    /// Whether this creates an object of this collection.
    pub(crate) fn creates(&self, collection: &str) -> bool {
        self.operation == Operation::Create && self.writes(collection)
    }

    /// 403 for this object.
    pub(crate) fn forbidden(&self, object: &Value, why: impl std::fmt::Display) -> Status {
        let name = object.str_at(&["metadata", "name"]).unwrap_or(self.call.name);
        Status::forbidden(self.call.row.gvr(), name, why)
    }
}

/// One rule. Stateless, or with state of its own that survives any order of calls.
pub(crate) trait Plugin: Send + Sync + 'static {
    /// Upstream's name of it.
    fn name(&self) -> &'static str;

    /// Whether it has anything to say about this write. Cheap: asked for every plugin at every write.
    fn handles(&self, attributes: &Attributes<'_>) -> bool;

    /// Changes the object, or refuses it.
    fn mutate(&self, _attributes: &Attributes<'_>, _new: &mut Value, _old: Option<&Value>) -> Result<(), Status> {
        Ok(())
    }

    /// Refuses the object as it is to be written; `new` is `None` for deletions.
    fn validate(&self, _attributes: &Attributes<'_>, _new: Option<&Value>, _old: Option<&Value>) -> Result<(), Status> {
        Ok(())
    }
}

/// The plugins, in order.
pub(crate) struct Chain {
    plugins: Vec<Box<dyn Plugin>>,
}

impl Default for Chain {
    fn default() -> Self {
        Self {
            plugins: vec![
                Box::new(namespace_lifecycle::NamespaceLifecycle),
                Box::new(limit_ranger::LimitRanger),
                Box::new(service_account::ServiceAccount),
                Box::new(node_restriction::NodeRestriction),
                Box::new(taint_nodes::TaintNodesByCondition),
                Box::new(pod_security::PodSecurity),
                Box::new(priority::Priority),
                Box::new(default_toleration_seconds::DefaultTolerationSeconds::default()),
                Box::new(default_class::DefaultClass::STORAGE),
                Box::new(storage_in_use::StorageObjectInUseProtection),
                Box::new(claim_resize::ClaimResize),
                Box::new(runtime_class::RuntimeClass),
                Box::new(certificates::CertificateRequester),
                Box::new(certificates::CertificateAuthorization),
                Box::new(certificates::CertificateSubjectRestriction),
                Box::new(default_class::DefaultClass::INGRESS),
                Box::new(admin_access::AdminAccess),
                Box::new(rbac_escalation::RbacEscalation),
                Box::new(pod_group::PodGroupWorkloadExists),
                Box::new(pod_resize::PodResize),
                Box::new(ip_address_in_use::IpAddressInUse),
            ],
        }
    }
}

impl Chain {
    /// Waits, briefly, for what the cluster itself is about to create for this object.
    pub(crate) async fn settle(&self, attributes: &Attributes<'_>, object: &Value) {
        if attributes.creates("pods") {
            service_account::await_default(attributes, object).await;
        }
    }

    /// The changing phase.
    ///
    /// # Errors
    /// The first refusal.
    pub(crate) fn mutate(
        &self,
        attributes: &Attributes<'_>,
        new: &mut Value,
        old: Option<&Value>,
    ) -> Result<(), Status> {
        for plugin in self.handling(attributes) {
            plugin.mutate(attributes, new, old).inspect_err(|status| refused(plugin, status))?;
        }
        Ok(())
    }

    /// The checking phase.
    ///
    /// # Errors
    /// The first refusal.
    pub(crate) fn validate(
        &self,
        attributes: &Attributes<'_>,
        new: Option<&Value>,
        old: Option<&Value>,
    ) -> Result<(), Status> {
        for plugin in self.handling(attributes) {
            plugin.validate(attributes, new, old).inspect_err(|status| refused(plugin, status))?;
        }
        Ok(())
    }

    /// Whether any plugin has something to say about this write.
    pub(crate) fn concerned(&self, attributes: &Attributes<'_>) -> bool {
        self.handling(attributes).next().is_some()
    }

    fn handling<'c>(&'c self, attributes: &'c Attributes<'_>) -> impl Iterator<Item = &'c dyn Plugin> {
        self.plugins.iter().map(AsRef::as_ref).filter(|plugin| plugin.handles(attributes))
    }
}

fn refused(plugin: &dyn Plugin, status: &Status) {
    tracing::debug!(plugin = plugin.name(), %status, "admission refused a write");
}
