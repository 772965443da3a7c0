//! NodeRestriction: what a node may write is its own, and nothing that would bring it other workloads or other people's
//! secrets (API docs "Admission control", "Node authorization").
//!
//! Who is no node is not concerned. Which objects a node may touch at all is the authorizer's; what is in them, and
//! whose pods they are, is asked here. A node's tokens are asked for elsewhere (`serviceaccounts/token` is no write).

use gantry_machinery::status::Status;
use gantry_machinery::value::Value;
use gantry_store_cache::key::ObjectKey;

use super::{Attributes, Operation, Plugin};
use crate::registry::body;
use crate::registry::kinds::certificate::common_name_asked;
use crate::registry::validate::same;

const MIRROR: &str = "kubernetes.io/config.mirror";
const LEASE_NAMESPACE: &str = "kube-node-lease";
const RESTRICTED: &str = "node-restriction.kubernetes.io";
/// Labels that the kubelet knows about its node, and domains that are the kubelet's own.
const KUBELET_LABELS: [&str; 11] = [
    "beta.kubernetes.io/arch",
    "beta.kubernetes.io/instance-type",
    "beta.kubernetes.io/os",
    "failure-domain.beta.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "kubernetes.io/arch",
    "kubernetes.io/hostname",
    "kubernetes.io/os",
    "node.kubernetes.io/instance-type",
    "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone",
];
const KUBELET_DOMAINS: [&str; 2] = ["kubelet.kubernetes.io", "node.kubernetes.io"];
/// Signers whose certificates speak for a node.
const KUBELET_SIGNERS: [&str; 2] = ["kubernetes.io/kubelet-serving", "kubernetes.io/kube-apiserver-client-kubelet"];

/// See the file's head.
pub(crate) struct NodeRestriction;

impl Plugin for NodeRestriction {
    fn name(&self) -> &'static str {
        "NodeRestriction"
    }

    fn handles(&self, attributes: &Attributes<'_>) -> bool {
        node(attributes).is_some()
    }

    fn mutate(&self, attributes: &Attributes<'_>, new: &mut Value, old: Option<&Value>) -> Result<(), Status> {
        admit(attributes, Some(new), old)
    }

    /// A deletion changes nothing that the first phase could see.
    fn validate(&self, attributes: &Attributes<'_>, _new: Option<&Value>, old: Option<&Value>) -> Result<(), Status> {
        if attributes.operation == Operation::Delete { admit(attributes, None, old) } else { Ok(()) }
    }
}

/// The node that asks, if one does.
fn node<'a>(attributes: &'a Attributes<'_>) -> Option<&'a str> {
    let user = &attributes.call.request.user;
    user.name.strip_prefix("system:node:").filter(|_| user.is_in("system:nodes"))
}

fn admit(attributes: &Attributes<'_>, new: Option<&Value>, old: Option<&Value>) -> Result<(), Status> {
    let Some(node) = node(attributes) else { return Ok(()) };
    let null = Value::Null;
    let seen = new.or(old).unwrap_or(&null);
    let refuse = |why: String| Err(attributes.forbidden(seen, why));
    if node.is_empty() {
        return refuse("could not determine node from user \"system:node:\"".to_owned());
    }
    let own_name = || seen.str_at(&["metadata", "name"]).unwrap_or(attributes.call.name) == node;
    let outcome = match (&*attributes.call.row.collection, attributes.call.subresource) {
        ("pods", "" | "eviction") if attributes.operation == Operation::Delete => {
            let at = seen.str_at(&["spec", "nodeName"]).unwrap_or_default();
            if at == node {
                Ok(())
            } else if attributes.call.subresource == "eviction" {
                Err(format!("node {node} can only evict pods with spec.nodeName set to itself"))
            } else {
                Err(format!("node {node:?} can only delete pods with spec.nodeName set to itself"))
            }
        }
        ("pods", "") if attributes.operation == Operation::Create => return pod(attributes, node, seen),
        ("pods", "") => {
            Err(format!("unexpected operation \"UPDATE\", node {node:?} can only create and delete mirror pods"))
        }
        ("pods", "status") => pod_status(node, seen, old.unwrap_or(&null)),
        ("pods", other) => {
            Err(format!("unexpected pod subresource {other:?}, only 'status' and 'eviction' are allowed"))
        }
        ("nodes", _) if !own_name() => {
            let name = seen.str_at(&["metadata", "name"]).unwrap_or(attributes.call.name);
            Err(format!("node {node:?} is not allowed to modify node {name:?}"))
        }
        ("nodes", _) if attributes.operation != Operation::Delete => own_node(node, seen, old),
        ("persistentvolumeclaims", "status") => claim_status(node, seen, old.unwrap_or(&null)),
        ("persistentvolumeclaims", _) => Err("may only update PVC status".to_owned()),
        ("leases.coordination.k8s.io", _) if attributes.call.namespace != LEASE_NAMESPACE => {
            Err(format!("can only access leases in the {LEASE_NAMESPACE:?} system namespace"))
        }
        ("leases.coordination.k8s.io", _) if !own_name() => {
            Err("can only access node lease with the same name as the requesting node".to_owned())
        }
        ("csinodes.storage.k8s.io", _) if !own_name() => {
            Err("can only access CSINode with the same name as the requesting node".to_owned())
        }
        ("resourceslices.resource.k8s.io", _) if attributes.operation != Operation::Update => {
            let verb = if attributes.operation == Operation::Create { "create" } else { "delete" };
            if seen.str_at(&["spec", "nodeName"]) == Some(node) {
                Ok(())
            } else {
                Err(format!("can only {verb} ResourceSlice with the same NodeName as the requesting node"))
            }
        }
        ("certificatesigningrequests.certificates.k8s.io", "") if attributes.operation == Operation::Create => {
            certificate(node, seen)
        }
        _ => Ok(()),
    };
    outcome.or_else(refuse)
}

/// A node makes only mirrors of its static pods, which refer to no other object.
fn pod(attributes: &Attributes<'_>, node: &str, pod: &Value) -> Result<(), Status> {
    let refuse = |why: String| Err(attributes.forbidden(pod, why));
    if pod.at(&["metadata", "annotations", MIRROR]).is_none() {
        return refuse(format!("pod does not have {MIRROR:?} annotation, node {node:?} can only create mirror pods"));
    }
    if pod.str_at(&["spec", "nodeName"]) != Some(node) {
        return refuse(format!("node {node:?} can only create pods with spec.nodeName set to itself"));
    }
    let wrong = match pod.array_at(&["metadata", "ownerReferences"]) {
        [] => "can only create pods with an owner reference set to itself",
        [owner] => {
            let is = |field: &str, wanted: &str| owner.str_at(&[field]) == Some(wanted);
            if !(is("apiVersion", "v1") && is("kind", "Node") && is("name", node)) {
                "can only create pods with an owner reference set to itself"
            } else if owner.bool_at(&["controller"]) != Some(true) {
                "can only create pods with a controller owner reference set to itself"
            } else if owner.bool_at(&["blockOwnerDeletion"]) == Some(true) {
                "must not set blockOwnerDeletion on an owner reference"
            } else {
                let Some(stored) = attributes.registry.store().get(&ObjectKey::new("nodes", "", node)) else {
                    return Err(Status::not_found(&gantry_machinery::resource::gvr::NODES, node));
                };
                let stored = body::decode(&stored)?;
                let uids = [owner.str_at(&["uid"]), stored.str_at(&["metadata", "uid"])];
                let [given, wanted] = uids.map(Option::unwrap_or_default);
                if given != wanted {
                    return refuse(format!("node {node} UID mismatch: expected {given} got {wanted}"));
                }
                ""
            }
        }
        _ => "can only create pods with a single owner reference set to itself",
    };
    if !wrong.is_empty() {
        return refuse(format!("node {node:?} {wrong}"));
    }

    let null = Value::Null;
    let spec = pod.get("spec").unwrap_or(&null);
    let pulls = !spec.array_at(&["imagePullSecrets"]).is_empty();
    let referred = if spec.str_at(&["serviceAccountName"]).is_some_and(|name| !name.is_empty()) {
        "a service account"
    } else if pulls || refers(spec, &["secret", "secretRef", "secretKeyRef", "nodePublishSecretRef", "azureFile"]) {
        "secrets"
    } else if refers(spec, &["configMap", "configMapRef", "configMapKeyRef"]) {
        "configmaps"
    } else if refers(spec, &["clusterTrustBundle"]) {
        "clustertrustbundles"
    } else if refers(spec, &["persistentVolumeClaim"]) {
        "persistentvolumeclaims"
    } else {
        return Ok(());
    };
    refuse(format!("node {node:?} can not create pods that reference {referred}"))
}

/// Whether anything in `value` has one of `fields`, as an object. (In a map of texts these are but keys.)
fn refers(value: &Value, fields: &[&str]) -> bool {
    match value {
        Value::Object(object) => object.iter().any(|(key, value)| {
            (matches!(value, Value::Object(_)) && fields.contains(&key.as_str())) || refers(value, fields)
        }),
        Value::Array(items) => items.iter().any(|item| refers(item, fields)),
        _ => false,
    }
}

fn pod_status(node: &str, new: &Value, old: &Value) -> Result<(), String> {
    if old.str_at(&["spec", "nodeName"]) != Some(node) {
        return Err(format!("node {node:?} can only update pod status for pods with spec.nodeName set to itself"));
    }
    let differs = |path: &[&str]| !same(new.at(path), old.at(path));
    if differs(&["metadata", "labels"]) {
        return Err(format!("node {node:?} cannot update labels through pod status"));
    }
    if differs(&["status", "resourceClaimStatuses"]) {
        return Err(format!("node {node:?} cannot update resource claim statues"));
    }
    if differs(&["status", "extendedResourceClaimStatus"]) {
        return Err(format!("node {node:?} cannot update extended resource claim status"));
    }
    Ok(())
}

/// Taints and most of Kubernetes' own labels decide what runs on a node: not for the node to say.
fn own_node(node: &str, new: &Value, old: Option<&Value>) -> Result<(), String> {
    let taints = |object: &Value| object.array_at(&["spec", "taints"]).to_vec();
    if old.is_some_and(|old| taints(old) != taints(new)) {
        return Err(format!("node {node:?} is not allowed to modify taints"));
    }
    let labels = |object: Option<&'_ Value>| -> Vec<(String, String)> {
        let labels = object.and_then(|o| o.object_at(&["metadata", "labels"]));
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        labels.into_iter().flat_map(|l| l.iter()).map(|(key, value)| (key.to_string(), text(value))).collect()
    };
    let (now, before) = (labels(Some(new)), labels(old));
    let changed = now.iter().filter(|l| !before.contains(l)).chain(before.iter().filter(|l| !now.contains(l)));
    let mut forbidden: Vec<&str> = changed.map(|(key, _)| key.as_str()).filter(|key| is_forbidden(key)).collect();
    forbidden.sort_unstable();
    forbidden.dedup();
    if forbidden.is_empty() {
        return Ok(());
    }
    let listed = forbidden.join(", ");
    Err(match old {
        None => format!("node {node:?} is not allowed to set the following labels: {listed}"),
        Some(_) => format!("is not allowed to modify labels: {listed}"),
    })
}

fn is_forbidden(label: &str) -> bool {
    let domain = label.split_once('/').map_or("", |(domain, _)| domain);
    let within = |of: &str| domain == of || domain.strip_suffix(of).is_some_and(|rest| rest.ends_with('.'));
    let kubelets = || KUBELET_LABELS.contains(&label) || KUBELET_DOMAINS.iter().any(|of| within(of));
    within(RESTRICTED) || ((within("kubernetes.io") || within("k8s.io")) && !kubelets())
}

/// Of a claim, a node says how large the volume has become, and nothing else.
fn claim_status(node: &str, new: &Value, old: &Value) -> Result<(), String> {
    let rest = |claim: &Value| {
        let mut claim = claim.clone();
        for field in ["resourceVersion", "managedFields"] {
            claim.remove(&["metadata", field]);
        }
        for field in ["capacity", "conditions", "allocatedResourceStatuses", "allocatedResources"] {
            claim.remove(&["status", field]);
        }
        claim.sorted()
    };
    if rest(new) == rest(old) {
        return Ok(());
    }
    Err(format!("node {node:?} is not allowed to update fields other than status.quantity and status.conditions"))
}

fn certificate(node: &str, request: &Value) -> Result<(), String> {
    let signer = request.str_at(&["spec", "signerName"]).unwrap_or_default();
    if !KUBELET_SIGNERS.contains(&signer) {
        return Ok(());
    }
    let asked = common_name_asked(request.str_at(&["spec", "request"]).unwrap_or_default());
    match asked {
        Err(why) => Err(format!("unable to parse csr: {why}")),
        Ok(name) if name == format!("system:node:{node}") => Ok(()),
        Ok(_) => Err(format!("can only create a node CSR with CN=system:node:{node}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_labels_itself_with_what_the_kubelet_knows() {
        for own in
            ["zone", "example.com/a", "kubernetes.io/hostname", "node.kubernetes.io/x", "a.kubelet.kubernetes.io/x"]
        {
            assert!(!is_forbidden(own), "{own}");
        }
        for other in ["node-restriction.kubernetes.io/x", "a.node-restriction.kubernetes.io/x", "kubernetes.io/x"] {
            assert!(is_forbidden(other), "{other}");
        }
        assert!(is_forbidden("node-role.kubernetes.io/control-plane") && is_forbidden("x.k8s.io/y"));
    }
}
