//! Whose is it? An owner keeps what carries its controller reference and matches its selector, lets go of what no
//! longer matches, and takes in what matches and belongs to nobody (Kubernetes, "ReplicaSet: Non-template pod
//! acquisitions").

use std::sync::Arc;

use gantry_machinery::resource::GroupVersionResource;
use gantry_machinery::resource_api::Target;
use gantry_machinery::typed::typed;
use gantry_machinery::value;
use gantry_machinery::value::Value;

use crate::runtime::informer::{Entry, Informer};
use crate::runtime::informers::BY_CONTROLLER;
use crate::runtime::rows::{HasMeta, MetaRow, SelectingRow};
use crate::runtime::selector::Selector;
use crate::runtime::write::{LoopError, Writer, is_conflict, is_not_found};

/// An object that owns others as their controller.
pub struct Owner<'a> {
    /// Its resource.
    pub resource: &'a GroupVersionResource,
    /// Its kind.
    pub kind: &'static str,
    /// The object.
    pub entry: &'a Entry<SelectingRow>,
    /// What it selects.
    pub selector: &'a Selector,
}

impl Owner<'_> {
    /// The controller reference that its dependents carry.
    #[must_use]
    pub fn reference(&self) -> Value {
        value!({
            "apiVersion": (self.resource.api_version().into_owned()),
            "kind": (self.kind),
            "name": (self.entry.name()),
            "uid": (self.entry.row.meta.uid.clone()),
            "controller": true,
            "blockOwnerDeletion": true,
        })
    }
}

/// The objects of `owned` that belong to `owner`, after letting go and taking in what must be. `orphans`: objects of
/// the owner's namespace without a controller.
///
/// # Errors
/// The API's, but for objects that went away or changed hands meanwhile.
pub async fn claim<R: HasMeta>(
    writer: &Writer,
    owner: &Owner<'_>,
    resource: &GroupVersionResource,
    owned: &Informer<R>,
    orphans: Vec<Arc<Entry<R>>>,
) -> Result<Vec<Arc<Entry<R>>>, LoopError> {
    let leaving = owner.entry.row.meta.deleting();
    let uid = owner.entry.row.meta.uid.as_str();
    let mut mine = Vec::new();
    for entry in owned.indexed(BY_CONTROLLER, uid) {
        if owner.selector.matches(&entry.object.facets) {
            mine.push(entry);
        } else if !leaving {
            let patch = serde_json::json!({
                "metadata": {
                    "uid": entry.row.meta().uid.as_str(),
                    "ownerReferences": [{"$patch": "delete", "uid": uid}],
                },
            });
            tolerate(writer.strategic(Target::object(resource, entry.namespace(), entry.name()), &patch).await)?;
        }
    }
    let mut confirmed = false;
    for entry in orphans {
        if leaving || entry.row.meta().deleting() || !owner.selector.matches(&entry.object.facets) {
            continue;
        }
        // An owner that is already gone, seen through an old informer, must not take anything in.
        if !confirmed && !still_there(writer, owner).await? {
            break;
        }
        confirmed = true;
        let reference = serde_json::json!({
            "apiVersion": owner.resource.api_version(),
            "kind": owner.kind,
            "name": owner.entry.name(),
            "uid": uid,
            "controller": true,
            "blockOwnerDeletion": true,
        });
        let patch = serde_json::json!({
            "metadata": {"uid": entry.row.meta().uid.as_str(), "ownerReferences": [reference]},
        });
        if tolerate(writer.strategic(Target::object(resource, entry.namespace(), entry.name()), &patch).await)? {
            mine.push(entry);
        }
    }
    Ok(mine)
}

async fn still_there(writer: &Writer, owner: &Owner<'_>) -> Result<bool, LoopError> {
    let Some(live) = writer.get(owner.resource, owner.entry.namespace(), owner.entry.name()).await? else {
        return Ok(false);
    };
    let row = typed::<MetaRow>(&live)?;
    Ok(row.meta().uid == owner.entry.row.meta.uid && !row.meta().deleting())
}

/// Whether the write succeeded; an object that is gone or another one by now is no error.
fn tolerate<T>(written: Result<T, gantry_machinery::status::Status>) -> Result<bool, gantry_machinery::status::Status> {
    match written {
        Ok(_) => Ok(true),
        Err(status) if is_not_found(&status) || is_conflict(&status) => Ok(false),
        // A controller reference was set by another owner first (validation refuses a second one).
        Err(status) if status.code == 422 => Ok(false),
        Err(status) => Err(status),
    }
}
