//! Where a volume's bytes come from: the sources that pods and PersistentVolumes have in common, which for most of them
//! is a storage plugin that was part of Kubernetes once.
//!
//! [`super`] checks what only pods can mount, the storage kinds what only PersistentVolumes can name.

use std::sync::LazyLock;

use gantry_machinery::names;
use gantry_machinery::value::Value;
use regex::Regex;

use super::{check_csi_driver, check_host_path, check_local_path, check_no_backsteps};
use crate::registry::validate::security::check_choice;
use crate::registry::validate::view::Held;
use crate::registry::validate::{Errors, Path, name};

/// Whose source it is: a PersistentVolume's names the namespaces of what it refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner<'a> {
    /// A pod.
    Pod,
    /// The PersistentVolume of this name.
    Volume(&'a str),
}

impl Owner<'_> {
    fn is_volume(self) -> bool {
        matches!(self, Self::Volume(_))
    }
}

/// One source; `at` is its place, for which upstream's words are not always the field's name. Sources that are not
/// shared are not looked at.
pub fn check(kind: &str, source: &Value, owner: Owner<'_>, at: &Path<'_>, errors: &mut Errors) {
    match kind {
        "hostPath" => check_host_path(source, at, errors),
        "nfs" => {
            need(source, &["server", "path"], at, errors);
            let path = source.get("path").text();
            if !path.starts_with('/') {
                errors.invalid(&at.child("path"), path, "must be an absolute path");
            }
        }
        "iscsi" => check_iscsi(source, owner, at, errors),
        "fc" => check_fibre(source, at, errors),
        "gcePersistentDisk" => {
            need(source, &["pdName"], at, errors);
            check_partition(source, at, errors);
        }
        "awsElasticBlockStore" => {
            need(source, &["volumeID"], at, errors);
            check_partition(source, at, errors);
        }
        "portworxVolume" => need(source, &["volumeID"], at, errors),
        "cinder" => {
            need(source, &["volumeID"], at, errors);
            check_secret(source, owner, at, errors);
        }
        "glusterfs" => {
            need(source, &["endpoints", "path"], at, errors);
            if let Some(namespace) = source.str_at(&["endpointsNamespace"]) {
                let at = at.child("endpointsNamespace");
                if namespace.is_empty() {
                    let detail = "if the endpointnamespace is set, it must be a valid namespace name";
                    errors.invalid(&at, namespace, detail);
                } else {
                    name::label(namespace, &at, errors);
                }
            }
        }
        "rbd" => need(source, &["monitors", "image"], at, errors),
        "cephfs" => need(source, &["monitors"], at, errors),
        "flocker" => check_flocker(source, at, errors),
        "quobyte" => check_quobyte(source, at, errors),
        "flexVolume" => check_flex(source, at, errors),
        "azureFile" => {
            need(source, &["secretName", "shareName"], at, errors);
            if source.str_at(&["secretNamespace"]) == Some("") {
                errors.required(&at.child("secretNamespace"), "");
            }
        }
        "azureDisk" => check_azure_disk(source, at, errors),
        "vsphereVolume" => need(source, &["volumePath"], at, errors),
        "photonPersistentDisk" => need(source, &["pdID"], at, errors),
        "scaleIO" => need(source, &["gateway", "system", "volumeName"], at, errors),
        "storageos" => {
            for (field, must) in [("volumeName", true), ("volumeNamespace", false)] {
                match source.get(field).text() {
                    "" if must => errors.required(&at.child(field), ""),
                    "" => {}
                    text => name::label(text, &at.child(field), errors),
                }
            }
            check_secret(source, owner, at, errors);
        }
        "local" => match source.get("path").text() {
            "" => errors.required(&at.child("path"), ""),
            path => check_no_backsteps(path, &at.child("path"), errors),
        },
        "csi" => check_csi(source, owner, at, errors),
        "gitRepo" => {
            need(source, &["repository"], at, errors);
            check_local_path(source.get("directory").text(), &at.child("directory"), errors);
        }
        _ => {}
    }
}

fn need(source: &Value, fields: &[&str], at: &Path<'_>, errors: &mut Errors) {
    for field in fields {
        let value = source.get(field);
        if value.text().is_empty() && value.items().is_empty() {
            errors.required(&at.child(field), "");
        }
    }
}

/// The secret of a source; that of a PersistentVolume lives in a namespace.
fn check_secret(source: &Value, owner: Owner<'_>, at: &Path<'_>, errors: &mut Errors) {
    if let Some(secret) = source.get("secretRef").filter(|secret| !secret.is_null()) {
        let fields: &[&str] = if owner.is_volume() { &["name", "namespace"] } else { &["name"] };
        need(secret, fields, &at.child("secretRef"), errors);
    }
}

fn check_partition(source: &Value, at: &Path<'_>, errors: &mut Errors) {
    let partition = source.get("partition").number();
    if !(0..=255).contains(&partition) {
        // None at all is 0: upstream's words leave it out.
        errors.invalid(&at.child("partition"), partition, names::inclusive_range_error(1, 255));
    }
}

fn check_iscsi(source: &Value, owner: Owner<'_>, at: &Path<'_>, errors: &mut Errors) {
    need(source, &["targetPortal"], at, errors);
    let initiator = source.str_at(&["initiatorName"]);
    if let Owner::Volume(volume) = owner
        && initiator.is_some()
    {
        let portal = source.get("targetPortal").text();
        if volume.len() + 1 + portal.len() > 64 {
            let detail = "Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters if \
                          iscsi.initiatorName is specified.";
            errors.invalid(&at.child("targetportal"), portal, detail);
        }
    }
    match source.get("iqn").text() {
        "" => errors.required(&at.child("iqn"), ""),
        qualified => check_initiator(qualified, owner, &at.child("iqn"), errors),
    }
    name::range(source.get("lun").number(), 0, 255, &at.child("lun"), errors);
    let secret = source.get("secretRef").filter(|secret| !secret.is_null());
    let authenticates = |field: &str| source.get(field).truth();
    if (authenticates("chapAuthDiscovery") || authenticates("chapAuthSession")) && secret.is_none() {
        errors.required(&at.child("secretRef"), "");
    }
    if let Some(secret) = secret.filter(|_| owner.is_volume()) {
        need(secret, &["name"], &at.child("secretRef"), errors);
    }
    if let Some(initiator) = initiator {
        check_initiator(initiator, owner, &at.child("initiatorname"), errors);
    }
}

/// A qualified iSCSI name in one of its three forms.
fn check_initiator(text: &str, owner: Owner<'_>, at: &Path<'_>, errors: &mut Errors) {
    static FORMS: LazyLock<[(&str, Regex); 3]> = LazyLock::new(|| {
        let form = |pattern| Regex::new(pattern).unwrap_or_else(|e| unreachable!("a constant pattern: {e}"));
        [
            ("iqn", form(r"iqn\.\d{4}-\d{2}\.([[:alnum:]\-.]+)(:[^,;*&$|\s]+)$")),
            ("eui", form("^eui.[[:alnum:]]{16}$")),
            ("naa", form("^naa.[[:alnum:]]{32}$")),
        ]
    });
    match FORMS.iter().find(|(start, _)| text.starts_with(start)) {
        Some((_, form)) if form.is_match(text) => {}
        None if !owner.is_volume() => {
            errors.invalid(at, text, "must be valid format starting with iqn, eui, or naa");
        }
        _ => errors.invalid(at, text, "must be valid format"),
    }
}

fn check_fibre(source: &Value, at: &Path<'_>, errors: &mut Errors) {
    let targets = source.get("targetWWNs");
    let targets_at = at.child("targetWWNs");
    match (targets.items().is_empty(), source.get("wwids").items().is_empty()) {
        (true, true) => errors.required(&targets_at, "must specify either targetWWNs or wwids, but not both"),
        (false, false) => {
            errors.invalid(&targets_at, targets, "targetWWNs and wwids can not be specified simultaneously");
        }
        _ => {}
    }
    if !targets.items().is_empty() {
        match source.get("lun").int() {
            None => errors.required(&at.child("lun"), "lun is required if targetWWNs is specified"),
            Some(lun) => name::range(lun, 0, 255, &at.child("lun"), errors),
        }
    }
}

fn check_flocker(source: &Value, at: &Path<'_>, errors: &mut Errors) {
    let dataset = source.get("datasetName").text();
    match (dataset.is_empty(), source.get("datasetUUID").text().is_empty()) {
        (true, true) => errors.required(at, "one of datasetName and datasetUUID is required"),
        (false, false) => {
            errors.invalid(at, "resource", "datasetName and datasetUUID can not be specified simultaneously");
        }
        _ => {}
    }
    if dataset.contains('/') {
        errors.invalid(&at.child("datasetName"), dataset, "must not contain '/'");
    }
}

fn check_quobyte(source: &Value, at: &Path<'_>, errors: &mut Errors) {
    const PAIRS: &str = "must be a host:port pair or multiple pairs separated by commas";
    let registry = source.get("registry").text();
    if registry.is_empty() {
        errors.required(&at.child("registry"), PAIRS);
    } else if source.get("tenant").text().len() > 64 {
        let detail = "must be a UUID and may not exceed a length of 64 characters";
        errors.required(&at.child("tenant"), detail);
    } else {
        for _ in registry.split(',').filter(|pair| !is_host_and_port(pair)) {
            errors.invalid(&at.child("registry"), registry, PAIRS);
        }
    }
    need(source, &["volume"], at, errors);
}

/// Whether a text is `host:port` as Go splits it: an address with colons stands in brackets.
fn is_host_and_port(text: &str) -> bool {
    match text.rsplit_once(':') {
        Some((host, port)) => match host.strip_prefix('[') {
            Some(host) => host.strip_suffix(']').is_some_and(|host| !host.contains(['[', ']'])),
            None => !host.contains([':', '[', ']']) && !port.contains(['[', ']']),
        },
        None => false,
    }
}

fn check_flex(source: &Value, at: &Path<'_>, errors: &mut Errors) {
    need(source, &["driver"], at, errors);
    let options = at.child("options");
    for (key, _) in source.get("options").entries() {
        let space = format!(".{}", key.split_once('/').map_or(key, |(space, _)| space).to_lowercase());
        if space.ends_with(".kubernetes.io") || space.ends_with(".k8s.io") {
            errors.invalid(&options.key(key), key, "kubernetes.io and k8s.io namespaces are reserved");
        }
    }
}

fn check_azure_disk(source: &Value, at: &Path<'_>, errors: &mut Errors) {
    need(source, &["diskName", "diskURI"], at, errors);
    let given = |field: &str| source.get(field).filter(|value| !value.is_null());
    check_choice(given("cachingMode"), &["None", "ReadOnly", "ReadWrite"], &at.child("cachingMode"), errors);
    check_choice(given("kind"), &["Dedicated", "Managed", "Shared"], &at.child("kind"), errors);
    let Some(kind) = given("kind") else { return };
    let (start, form) = if kind.as_str() == Some("Managed") {
        let form = "/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}";
        ("/subscriptions/", form)
    } else {
        ("https://", "https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd")
    };
    let place = source.get("diskURI").text();
    if !place.starts_with(start) {
        errors.not_supported(&at.child("diskURI"), place, &[form]);
    }
}

fn check_csi(source: &Value, owner: Owner<'_>, at: &Path<'_>, errors: &mut Errors) {
    check_csi_driver(source.get("driver").text(), &at.child("driver"), errors);
    if owner.is_volume() {
        need(source, &["volumeHandle"], at, errors);
        let secrets =
            ["controllerPublishSecretRef", "controllerExpandSecretRef", "nodePublishSecretRef", "nodeExpandSecretRef"];
        for field in secrets {
            let Some(secret) = source.get(field).filter(|secret| !secret.is_null()) else { continue };
            let at = at.child(field);
            match secret.get("name").text() {
                "" => errors.required(&at.child("name"), ""),
                text => name::subdomain(text, &at.child("name"), errors),
            }
            match secret.get("namespace").text() {
                "" => errors.required(&at.child("namespace"), ""),
                text => name::label(text, &at.child("namespace"), errors),
            }
        }
    } else if let Some(secret) = source.get("nodePublishSecretRef").filter(|secret| !secret.is_null()) {
        match secret.get("name").text() {
            "" => errors.required(&at.child("nodePublishSecretRef.name"), ""),
            // The path is upstream's.
            text => name::subdomain(text, &at.child("name"), errors),
        }
    }
}
