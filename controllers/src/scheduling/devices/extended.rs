//! Claims for extended resources that devices stand in for (KEP-5004): made when the pod is about to be bound, named in its
//! status for the kubelet to find, and deleted if it is not bound after all.
//!
//! Killed after the claim was made, the next decision on the pod finds it by its owner and annotation and has it deleted
//! before anything else.

use gantry_machinery::resource::gvr;
use gantry_machinery::resource_api::{DeleteOptions, Target};
use gantry_machinery::typed::{to_value, value_of};
use gantry_machinery::value::Value;
use gantry_scheduler_core::devices::extended::{ANNOTATION, Mapping, NewClaim};
use gantry_scheduler_core::devices::grant::ClaimWork;
use gantry_scheduler_core::plan::PodId;
use gantry_scheduler_core::rows::storage::Key;
use serde_json::json;

use super::super::metrics::Metrics;
use super::super::volumes::NotReady;
use super::{FINALIZER, TRIES_MAX, read};
use crate::runtime::write::{LoopError, Writer, is_conflict};

/// What is kept of a pod's name in the claim's: generated names have an end of a server's choice.
const NAME_MAX: usize = 220;

/// Makes the claim that a pod needs; gives it as it is known now.
pub(super) async fn make(
    writer: &Writer,
    metrics: &Metrics,
    pod: &PodId,
    work: &ClaimWork,
    new: &NewClaim,
) -> Result<ClaimWork, NotReady> {
    let requests: Vec<_> = new
        .requests
        .iter()
        .map(|request| {
            json!({
                "name": &*request.name,
                "exactly": {
                    "deviceClassName": &*request.class, "allocationMode": "ExactCount", "count": request.count,
                },
            })
        })
        .collect();
    let name = &pod.name[..pod.name.len().min(NAME_MAX)];
    let claim = json!({
        "apiVersion": "resource.k8s.io/v1",
        "kind": "ResourceClaim",
        "metadata": {
            "generateName": format!("{name}-extended-resources-"),
            "namespace": &*pod.namespace,
            "annotations": {ANNOTATION: "true"},
            "ownerReferences": [{
                "apiVersion": "v1", "kind": "Pod", "name": &*pod.name, "uid": &*pod.uid, "controller": true,
            }],
        },
        "spec": {"devices": {"requests": requests}},
    });
    let claim = to_value(&claim).map_err(LoopError::from)?;
    let made = writer.create(&gvr::RESOURCE_CLAIMS, &pod.namespace, claim).await;
    metrics.claim_made(made.is_ok());
    let made = made?;
    let uid = value_of(&made).map_err(LoopError::from)?.str_at(&["metadata", "uid"]).unwrap_or_default().into();
    let key = Key::new(made.key.namespace(), made.key.name());
    Ok(ClaimWork { key, uid, grant: work.grant.clone(), new: None })
}

/// Says in the pod's status which claim stands for what.
pub(super) async fn tell(writer: &Writer, pod: &PodId, claim: &Key, new: &NewClaim) -> Result<(), NotReady> {
    let mapping = |mapping: &Mapping| {
        json!({
            "containerName": &*mapping.container,
            "resourceName": &*mapping.resource,
            "requestName": &*mapping.request,
        })
    };
    let patch = json!({
        "metadata": {"uid": &*pod.uid},
        "status": {"extendedResourceClaimStatus": {
            "resourceClaimName": &*claim.name,
            "requestMappings": new.mappings.iter().map(mapping).collect::<Vec<_>>(),
        }},
    });
    let target = Target::object(&gvr::PODS, &pod.namespace, &pod.name).sub("status");
    Ok(writer.merge(target, &patch).await.map(drop)?)
}

/// Deletes the claim that a pod's status names, if it was made here: the pod is not bound after all.
pub(super) async fn take_back(writer: &Writer, pod: &PodId) {
    let Ok(Some(object)) = writer.get(&gvr::PODS, &pod.namespace, &pod.name).await else { return };
    let Ok(object) = value_of(&object) else { return };
    let Some(name) = object.str_at(&["status", "extendedResourceClaimStatus", "resourceClaimName"]) else { return };
    let key = Key::new(&pod.namespace, name);
    let Ok(Some(claim)) = writer.get(&gvr::RESOURCE_CLAIMS, &key.namespace, &key.name).await else { return };
    let Ok(claim) = value_of(&claim) else { return };
    let uid = claim.str_at(&["metadata", "uid"]).unwrap_or_default();
    discard(writer, &key, uid, pod).await;
}

/// Deletes a claim that was made for a pod's extended resources, if it is one. Left at that if it fails: whoever decides
/// on the pod next finds the claim and has it deleted first.
pub(super) async fn discard(writer: &Writer, key: &Key, uid: &str, pod: &PodId) {
    let Key { namespace, name } = key;
    for _ in 0..TRIES_MAX {
        let Ok(Some(mut claim)) = read(writer, key, uid).await else { return };
        if !is_made_for(&claim, pod) {
            return;
        }
        let finalizers = claim.array_at(&["metadata", "finalizers"]);
        let rest: Vec<Value> = finalizers.iter().filter(|f| f.as_str() != Some(FINALIZER)).cloned().collect();
        if rest.len() < finalizers.len() {
            claim.set(&["metadata", "finalizers"], Value::Array(rest));
            match writer.update(Target::object(&gvr::RESOURCE_CLAIMS, namespace, name), claim).await {
                Ok(_) => {}
                Err(status) if is_conflict(&status) => continue,
                Err(error) => return tracing::warn!(claim = %name, %namespace, %error, "a claim is not let go"),
            }
        }
        let options = DeleteOptions { uid: Some(uid.to_owned()), ..DeleteOptions::default() };
        if let Err(error) = writer.delete(&gvr::RESOURCE_CLAIMS, namespace, name, options).await {
            tracing::warn!(claim = %name, %namespace, %error, "a claim is not deleted");
        }
        return;
    }
}

/// Whether a claim was made for a pod's extended resources.
pub(super) fn is_made_for(claim: &Value, pod: &PodId) -> bool {
    claim.str_at(&["metadata", "annotations", ANNOTATION]) == Some("true")
        && claim.array_at(&["metadata", "ownerReferences"]).iter().any(|owner| {
            owner.str_at(&["uid"]) == Some(&pod.uid) && owner.at(&["controller"]) == Some(&Value::Bool(true))
        })
}

#[cfg(test)]
mod tests;
