//! The end of a definition: its objects go first, then its finalizer.
//!
//! A delete marks the definition and holds it with [`FINALIZER`] (see the strategy of definitions). Whoever follows the
//! definitions then begins here: deletes every object by the rules of a delete, waits for those that finalizers hold, and
//! lets the definition go. Idempotent: several servers may do it at once.

use std::time::Duration;

use gantry_machinery::resource::GroupVersionResource;
use gantry_machinery::resource_api::{
    Collection, DeleteOptions, ListOptions, PatchBody, PatchKind, ResourceApi, Target, WriteOptions,
};
use gantry_machinery::status::Status;
use gantry_machinery::value::Value;
use tokio_util::sync::CancellationToken;

use super::conditions;
use super::follow::{DEFINITIONS, write_status};
use crate::registry::body;
use crate::registry::handle::Handle;
use crate::registry::metadata;

/// What holds a definition until its objects are gone.
pub(crate) const FINALIZER: &str = "customresourcecleanup.apiextensions.k8s.io";

const LOOK_AGAIN: Duration = Duration::from_millis(100);
const LOOK_AGAIN_MAX: Duration = Duration::from_secs(5);

/// Empties a definition that is being deleted, in a task of its own. The caller begins it once for each definition.
pub(super) fn begin(handle: &Handle, name: &str, stop: &CancellationToken) {
    let (handle, name, stop) = (handle.clone(), name.to_owned(), stop.clone());
    tokio::spawn(async move {
        stop.run_until_cancelled(empty(&handle, &name)).await;
    });
}

async fn empty(handle: &Handle, name: &str) {
    let mut wait = LOOK_AGAIN;
    loop {
        match round(handle, name).await {
            Ok(true) => return,
            Ok(false) => {}
            Err(status) => tracing::warn!(%name, %status, "a definition is not emptied yet"),
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(LOOK_AGAIN_MAX);
    }
}

/// One look at what is left; gives whether the definition is gone.
async fn round(handle: &Handle, name: &str) -> Result<bool, Status> {
    let target = Target::object(&DEFINITIONS, "", name);
    let stored = match handle.get(&target).await {
        Ok(stored) => stored,
        Err(status) if status.is_not_found() => return Ok(true),
        Err(status) => return Err(status),
    };
    let definition = body::decode(&stored)?;
    if !metadata::finalizers(&definition).any(|f| f == FINALIZER) {
        return Ok(true);
    }
    say(handle, name, &definition, "InstanceDeletionInProgress", "CustomResource deletion is in progress").await;
    let collection = collection_of(&definition);
    let left = |handle: &Handle| handle.registry().store().view().count(&collection, None);
    if left(handle) > 0 {
        let Some(resource) = served(handle, &definition) else {
            return Err(Status::internal(format_args!("{collection} has objects but is not served")));
        };
        let of = Collection { resource: &resource, namespace: "" };
        handle.delete_collection(&of, &ListOptions::default(), &DeleteOptions::default()).await?;
        if left(handle) > 0 {
            return Ok(false);
        }
    }
    let stored = handle.get(&target).await?;
    let definition = body::decode(&stored)?;
    say(handle, name, &definition, "InstanceDeletionCompleted", "removed all instances").await;
    release(handle, &target).await
}

/// Where the objects of a definition lie.
fn collection_of(definition: &Value) -> String {
    let text = |path: &[&str]| definition.str_at(path).unwrap_or_default().to_owned();
    format!("{}.{}", text(&["spec", "names", "plural"]), text(&["spec", "group"]))
}

/// A version by which the objects can be deleted.
fn served(handle: &Handle, definition: &Value) -> Option<GroupVersionResource> {
    let collection = collection_of(definition);
    let rows = handle.registry().table().custom_rows();
    rows.iter().find(|row| row.collection == collection).map(|row| row.gvr().clone())
}

async fn say(handle: &Handle, name: &str, definition: &Value, reason: &str, message: &str) {
    let mut new = definition.clone();
    let status = if reason == "InstanceDeletionCompleted" { "False" } else { "True" };
    conditions::set(&mut new, "Terminating", status, reason, message);
    if new != *definition {
        write_status(handle, name, new).await;
    }
}

/// Takes the finalizer away; gives whether that was all.
async fn release(handle: &Handle, target: &Target<'_>) -> Result<bool, Status> {
    let stored = handle.get(target).await?;
    let definition = body::decode(&stored)?;
    let left: Vec<&str> = metadata::finalizers(&definition).filter(|f| *f != FINALIZER).collect();
    let patch = serde_json::json!({"metadata": {
        "finalizers": left, "resourceVersion": stored.revision.to_string(),
    }});
    let patch = PatchBody { kind: PatchKind::Merge, body: patch.to_string().into() };
    handle.patch(target, patch, &WriteOptions::default()).await.map(|_| true)
}
