//! NamespaceLifecycle: nothing is created in a namespace that is not there or is ending, and the namespaces that the
//! cluster itself lives in are not deleted.

use std::sync::Arc;

use gantry_machinery::resource::gvr;
use gantry_machinery::status::{CAUSE_NAMESPACE_TERMINATING, Status};
use gantry_machinery::value::Value;
use gantry_store_cache::key::ObjectKey;
use gantry_store_cache::object::StoredObject;
use gantry_store_cache::store::Store;
use gantry_store_cache::txn::{Expect, Op, Write};

use super::{Attributes, Operation, Plugin};
use crate::registry::call::Call;
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
        let name = new.str_at(&["metadata", "name"]).unwrap_or_default();
        living(attributes.registry.store(), attributes.call, name).map(|_| ())
    }

    fn validate(&self, attributes: &Attributes<'_>, _new: Option<&Value>, _old: Option<&Value>) -> Result<(), Status> {
        let name = attributes.call.name;
        if attributes.operation == Operation::Delete && IMMORTAL.contains(&name) {
            return Err(Status::forbidden(&gvr::NAMESPACES, name, "this namespace may not be deleted"));
        }
        Ok(())
    }
}

/// The operation by which a creation holds only if its namespace is, at the commit, the one that was looked at: so
/// nothing is ever left in a namespace whose content is already being deleted. (Upstream checks, but cannot guard.)
pub(crate) fn guard(store: &Store, call: &Call<'_>, name: &str) -> Result<Option<Op>, Status> {
    if !call.row.resource.namespaced {
        return Ok(None);
    }
    let namespace = living(store, call, name)?;
    let expect = Expect::Revision(namespace.revision);
    Ok(Some(Op { key: namespace.key.clone(), expect, write: Write::Check }))
}

/// The namespace of a creation, if it is there and not ending.
fn living(store: &Store, call: &Call<'_>, name: &str) -> Result<Arc<StoredObject>, Status> {
    let namespace = call.namespace;
    let Some(found) = store.get(&ObjectKey::new("namespaces", "", namespace)) else {
        return Err(Status::not_found(&gvr::NAMESPACES, namespace));
    };
    let bytes = &found.body;
    let metadata = splice::get(bytes, &splice::root(bytes), "metadata");
    let deleted = metadata.and_then(|metadata| splice::get(bytes, &metadata, "deletionTimestamp"));
    if !splice::filled(bytes, deleted.as_ref()) {
        return Ok(found);
    }
    let why = format!("unable to create new content in namespace {namespace} because it is being terminated");
    Err(Status::forbidden(call.row.gvr(), name, why).with_cause(
        CAUSE_NAMESPACE_TERMINATING,
        "metadata.namespace",
        format!("namespace {namespace} is being terminated"),
    ))
}
