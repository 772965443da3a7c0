//! ServiceAccount: every pod runs as an account, and finds a token, the cluster's CA and its namespace under
//! `/var/run/secrets/kubernetes.io/serviceaccount` unless it says otherwise.

use std::sync::Arc;
use std::time::Duration;

use gantry_machinery::resource::gvr;
use gantry_machinery::status::Status;
use gantry_machinery::value;
use gantry_machinery::value::Value;
use gantry_store_cache::key::ObjectKey;
use gantry_store_cache::object::StoredObject;
use gantry_store_cache::watch::Interest;

use super::{Attributes, Operation, Plugin};
use crate::registry::{body, random};

const DEFAULT: &str = "default";
const MIRROR: &str = "kubernetes.io/config.mirror";
const MOUNT_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const VOLUME_PREFIX: &str = "kube-api-access-";
/// Tokens of this age are renewed by the kubelet long before; the odd seconds tell these tokens from others.
const TOKEN_SECONDS: i64 = 3607;
/// How long a pod in a new namespace waits for the namespace's default account.
const DEFAULT_WAIT: Duration = Duration::from_secs(1);

/// See the file's head.
pub(crate) struct ServiceAccount;

/// Waits until the default account of the pod's namespace is there, if that is the one it needs.
pub(crate) async fn await_default(attributes: &Attributes<'_>, pod: &Value) {
    let name = account_name(pod);
    let namespace = attributes.call.namespace;
    if name != DEFAULT || is_mirror(pod) || find(attributes, name).is_some() {
        return;
    }
    let store = attributes.registry.store();
    if store.get(&ObjectKey::new("namespaces", "", namespace)).is_none() {
        return;
    }
    let view = store.view();
    if view.get(&ObjectKey::new("serviceaccounts", namespace, name)).is_some() {
        return;
    }
    let interest = Interest {
        collection: "serviceaccounts".into(),
        namespace: Some(namespace.into()),
        name: Some(name.into()),
        ..Interest::default()
    };
    if let Ok(mut created) = store.watch(interest, view.revision()) {
        // Whether it came or not, the plugin looks for itself.
        let _ = tokio::time::timeout(DEFAULT_WAIT, created.next(1)).await;
    }
}

impl Plugin for ServiceAccount {
    fn name(&self) -> &'static str {
        "ServiceAccount"
    }

    fn handles(&self, attributes: &Attributes<'_>) -> bool {
        attributes.operation == Operation::Create && attributes.writes("pods")
    }

    fn mutate(&self, attributes: &Attributes<'_>, new: &mut Value, _old: Option<&Value>) -> Result<(), Status> {
        if is_mirror(new) {
            return check_mirror(attributes, new);
        }
        let name = account_name(new).to_owned();
        let namespace = attributes.call.namespace;
        let Some(stored) = find(attributes, &name) else {
            let why = format!(
                "error looking up service account {namespace}/{name}: {}",
                Status::not_found(&gvr::SERVICE_ACCOUNTS, &name)
            );
            return Err(attributes.forbidden(new, why));
        };
        let account = body::decode(&stored)?;
        new.set(&["spec", "serviceAccountName"], name.as_str());
        new.set(&["spec", "serviceAccount"], name.as_str());
        let mounts = new
            .bool_at(&["spec", "automountServiceAccountToken"])
            .or_else(|| account.bool_at(&["automountServiceAccountToken"]))
            .unwrap_or(true);
        if mounts {
            mount(new);
        }
        if new.array_at(&["spec", "imagePullSecrets"]).is_empty() {
            let secrets = account.array_at(&["imagePullSecrets"]);
            if !secrets.is_empty() {
                new.set(&["spec", "imagePullSecrets"], Value::Array(secrets.to_vec()));
            }
        }
        Ok(())
    }
}

fn account_name(pod: &Value) -> &str {
    let said = |field: &str| pod.str_at(&["spec", field]).filter(|name| !name.is_empty());
    said("serviceAccountName").or_else(|| said("serviceAccount")).unwrap_or(DEFAULT)
}

fn find(attributes: &Attributes<'_>, name: &str) -> Option<Arc<StoredObject>> {
    attributes.registry.store().get(&ObjectKey::new("serviceaccounts", attributes.call.namespace, name))
}

fn is_mirror(pod: &Value) -> bool {
    pod.at(&["metadata", "annotations", MIRROR]).is_some()
}

/// A pod that mirrors a static one has no account and nothing that would need one.
fn check_mirror(attributes: &Attributes<'_>, pod: &Value) -> Result<(), Status> {
    if pod.str_at(&["spec", "serviceAccountName"]).is_some_and(|name| !name.is_empty()) {
        return Err(attributes.forbidden(pod, "a mirror pod may not reference service accounts"));
    }
    for volume in pod.array_at(&["spec", "volumes"]) {
        let sources = volume.array_at(&["projected", "sources"]);
        if sources.iter().any(|source| source.get("serviceAccountToken").is_some()) {
            return Err(attributes.forbidden(pod, "a mirror pod may not use ServiceAccountToken volume projections"));
        }
    }
    Ok(())
}

/// Adds the projected volume, and mounts it in every container that has nothing mounted there.
fn mount(pod: &mut Value) {
    let present = pod.array_at(&["spec", "volumes"]).iter().filter_map(|v| v.str_at(&["name"]));
    let present = present.filter(|name| name.starts_with(VOLUME_PREFIX)).map(ToOwned::to_owned).next();
    let name = present.clone().unwrap_or_else(|| format!("{VOLUME_PREFIX}{}", random::suffix(5)));
    let mut used = false;
    for list in ["initContainers", "containers"] {
        let Some(Value::Array(containers)) = pod.at_mut(&["spec", list]) else { continue };
        for container in containers {
            let mounted = container.array_at(&["volumeMounts"]);
            if mounted.iter().any(|m| m.str_at(&["mountPath"]) == Some(MOUNT_PATH)) {
                continue;
            }
            used = true;
            let mounts = container.force_object().entry("volumeMounts");
            if !matches!(mounts, Value::Array(_)) {
                *mounts = Value::Array(Vec::with_capacity(1));
            }
            if let Value::Array(mounts) = mounts {
                mounts.push(value!({"name": (name.as_str()), "readOnly": true, "mountPath": MOUNT_PATH}));
            }
        }
    }
    if !used || present.is_some() {
        return;
    }
    let volumes = pod.force_object().object_entry("spec").entry("volumes");
    if !matches!(volumes, Value::Array(_)) {
        *volumes = Value::Array(Vec::with_capacity(1));
    }
    if let Value::Array(volumes) = volumes {
        volumes.push(value!({
            "name": name,
            "projected": {
                "sources": [
                    {"serviceAccountToken": {"expirationSeconds": TOKEN_SECONDS, "path": "token"}},
                    {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
                    {"downwardAPI": {"items": [
                        {"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}},
                    ]}},
                ],
                "defaultMode": 420,
            },
        }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_container_gets_the_mount_once() {
        let mut pod = value!({"spec": {
            "initContainers": [{"name": "i"}],
            "containers": [
                {"name": "a"},
                {"name": "b", "volumeMounts": [{"name": "own", "mountPath": MOUNT_PATH}]},
            ],
        }});
        mount(&mut pod);
        let volume = pod.array_at(&["spec", "volumes"])[0].str_at(&["name"]).unwrap().to_owned();
        assert!(volume.starts_with(VOLUME_PREFIX) && volume.len() == VOLUME_PREFIX.len() + 5);
        let mounted = |list: &str, at: usize| {
            let containers = pod.array_at(&["spec", list]);
            containers[at].array_at(&["volumeMounts"])[0].str_at(&["name"]).unwrap().to_owned()
        };
        assert_eq!(mounted("initContainers", 0), volume);
        assert_eq!(mounted("containers", 0), volume);
        assert_eq!(mounted("containers", 1), "own");
        let once = pod.clone();
        mount(&mut pod);
        assert_eq!(pod, once, "a pod written again stays as it is");
    }
}
