//! NamespaceLifecycle: nothing is created in a namespace that is not there or is ending, and the namespaces that the
//! cluster itself lives in are not deleted.

use gantry_machinery::resource::gvr;
use gantry_machinery::status::{CAUSE_NAMESPACE_TERMINATING, Status};
use gantry_machinery::value::Value;
use gantry_store_cache::key::ObjectKey;

use super::{Attributes, Operation, Plugin};
use crate::registry::splice;

/// Namespaces that cannot be deleted.
const IMMORTAL: [&str; 3] = ["default", "kube-system", "kube-public"];

/// See the file's head.
pub(crate) struct NamespaceLifecycle;

impl Plugin for NamespaceLifecycle {
    fn name(&self) -> &'static str {
        "NamespaceLifecycle"
    }

    fn handles(&self, attributes: &Attributes<'_>) -> bool {
        match attributes.operation {
            Operation::Create => attributes.call.row.resource.namespaced,
            Operation::Delete => attributes.call.row.collection == "namespaces",
            Operation::Update => false,
        }
    }

    fn mutate(&self, attributes: &Attributes<'_>, new: &mut Value, _old: Option<&Value>) -> Result<(), Status> {
        let namespace = attributes.call.namespace;
        let Some(found) = attributes.registry.store().get(&ObjectKey::new("namespaces", "", namespace)) else {
            return Err(Status::not_found(&gvr::NAMESPACES, namespace));
        };
        let bytes = &found.body;
        let metadata = splice::get(bytes, &splice::root(bytes), "metadata");
        let deleted = metadata.and_then(|metadata| splice::get(bytes, &metadata, "deletionTimestamp"));
        if !splice::filled(bytes, deleted.as_ref()) {
            return Ok(());
        }
        let why = format!("unable to create new content in namespace {namespace} because it is being terminated");
        Err(attributes.forbidden(new, why).with_cause(
            CAUSE_NAMESPACE_TERMINATING,
            "metadata.namespace",
            format!("namespace {namespace} is being terminated"),
        ))
    }

    fn validate(&self, attributes: &Attributes<'_>, _new: Option<&Value>, _old: Option<&Value>) -> Result<(), Status> {
        let name = attributes.call.name;
        if attributes.operation == Operation::Delete && IMMORTAL.contains(&name) {
            return Err(Status::forbidden(&gvr::NAMESPACES, name, "this namespace may not be deleted"));
        }
        Ok(())
    }
}
