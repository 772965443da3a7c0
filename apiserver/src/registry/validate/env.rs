//! Environment variables of containers, and the references that variables and volumes share.

use gantry_machinery::value::Value;

use super::view::{Held, view};
use super::volume::check_no_backsteps;
use super::{Errors, Path, name, quantity};

view! {
    struct EnvVar { name: "name", value: "value", value_from: "valueFrom" }
}

view! {
    struct ValueFrom {
        field: "fieldRef",
        resource: "resourceFieldRef",
        config_map: "configMapKeyRef",
        secret: "secretKeyRef",
        file: "fileKeyRef",
    }
}

/// The `env` list of a container.
pub fn check_env(vars: &[Value], at: &Path<'_>, errors: &mut Errors) {
    for (n, var) in vars.iter().enumerate() {
        let at = at.index(n);
        let var = EnvVar::of(var);
        match var.name.text() {
            "" => errors.required(&at.child("name"), ""),
            text => name::env_var(text, &at.child("name"), errors),
        }
        if let Some(source) = var.value_from {
            check_value_from(source, !var.value.text().is_empty(), &at.child("valueFrom"), errors);
        }
    }
}

fn check_value_from(source: &Value, has_value: bool, at: &Path<'_>, errors: &mut Errors) {
    let from = ValueFrom::of(source);
    let mut sources = 0;
    if let Some(field) = from.field {
        sources += 1;
        check_field_ref(field, ENV_FIELDS, &at.child("fieldRef"), errors);
    }
    if let Some(resource) = from.resource {
        sources += 1;
        check_resource_field_ref(resource, false, &at.child("resourceFieldRef"), errors);
    }
    for (key, reference) in [("configMapKeyRef", from.config_map), ("secretKeyRef", from.secret)] {
        if let Some(reference) = reference {
            sources += 1;
            check_key_ref(reference, &at.child(key), errors);
        }
    }
    if let Some(file) = from.file {
        sources += 1;
        check_file_key_ref(file, &at.child("fileKeyRef"), errors);
    }
    if sources == 0 {
        errors.invalid(
            at,
            "",
            "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`",
        );
    } else if has_value {
        errors.invalid(at, "", "may not be specified when `value` is not empty");
    } else if sources > 1 {
        errors.invalid(at, "", "may not have more than one field specified at a time");
    }
}

/// A variable out of a file on a volume (KEP-3721).
fn check_file_key_ref(file: &Value, at: &Path<'_>, errors: &mut Errors) {
    match file.get("key").text() {
        "" => errors.required(&at.child("key"), ""),
        key => name::env_var(key, &at.child("key"), errors),
    }
    match file.get("volumeName").text() {
        "" => errors.required(&at.child("volumeName"), ""),
        volume => name::label(volume, &at.child("volumeName"), errors),
    }
    match file.get("path").text() {
        "" => errors.required(&at.child("path"), ""),
        path => check_no_backsteps(path, &at.child("path"), errors),
    }
}

/// The volumes that hold such files must be the pod's own empty directories.
pub fn check_file_volumes(spec: &Value, at: &Path<'_>, errors: &mut Errors) {
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        let list_at = at.child(list);
        for (n, container) in spec.get(list).items().iter().enumerate() {
            for (m, var) in container.get("env").items().iter().enumerate() {
                let Some(file) = var.at(&["valueFrom", "fileKeyRef"]).filter(|file| !file.is_null()) else { continue };
                let volume = file.get("volumeName").text();
                let found = spec.get("volumes").items().iter().rfind(|v| v.get("name").text() == volume);
                let item = list_at.index(n);
                let env = item.child("env");
                let var_at = env.index(m);
                let at = var_at.child("valueFrom.fileKeyRef.volumeName");
                match found {
                    None => errors.not_found(&at, volume),
                    Some(found) if found.get("emptyDir").is_none() => {
                        errors.invalid(&at, volume, "referenced volume must be of type emptyDir");
                    }
                    Some(_) => {}
                }
            }
        }
    }
}

fn check_key_ref(reference: &Value, at: &Path<'_>, errors: &mut Errors) {
    name::subdomain(reference.get("name").text(), &at.child("name"), errors);
    match reference.get("key").text() {
        "" => errors.required(&at.child("key"), ""),
        key => name::config_key(key, &at.child("key"), errors),
    }
}

/// The `envFrom` list of a container.
pub fn check_env_from(sources: &[Value], at: &Path<'_>, errors: &mut Errors) {
    for (n, source) in sources.iter().enumerate() {
        let item = at.index(n);
        let prefix = source.get("prefix").text();
        if !prefix.is_empty() {
            name::env_var(prefix, &item.child("prefix"), errors);
        }
        let mut count = 0;
        for key in ["configMapRef", "secretRef"] {
            if let Some(reference) = source.get(key).filter(|r| !r.is_null()) {
                count += 1;
                let at = item.child(key);
                match reference.get("name").text() {
                    "" => errors.required(&at.child("name"), ""),
                    text => name::subdomain(text, &at.child("name"), errors),
                }
            }
        }
        if count == 0 {
            errors.invalid(at, "", "must specify one of: `configMapRef` or `secretRef`");
        } else if count > 1 {
            errors.invalid(at, "", "may not have more than one field specified at a time");
        }
    }
}

/// The pod fields that a variable may take.
const ENV_FIELDS: &[&str] = &[
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];

/// The pod fields that a file of a downward API volume may take.
pub(super) const VOLUME_FIELDS: &[&str] =
    &["metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"];

/// The pod fields that the downward API knows at all.
const KNOWN_FIELDS: &[&str] = &[
    "metadata.annotations",
    "metadata.labels",
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.restartPolicy",
    "spec.serviceAccountName",
    "spec.schedulerName",
    "status.phase",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];

/// A reference to a field of the pod, which must be one of `allowed`.
pub(super) fn check_field_ref(reference: &Value, allowed: &[&str], at: &Path<'_>, errors: &mut Errors) {
    let version = reference.get("apiVersion").text();
    let path = reference.get("fieldPath").text();
    if version.is_empty() {
        return errors.required(&at.child("apiVersion"), "");
    }
    if path.is_empty() {
        return errors.required(&at.child("fieldPath"), "");
    }
    if version != "v1" {
        let detail = format!("error converting fieldPath: unsupported pod version: {version}");
        return errors.invalid(&at.child("fieldPath"), path, detail);
    }
    if let Some((map, key)) = path.strip_suffix("']").and_then(|p| p.split_once("['")) {
        match map {
            "metadata.annotations" => name::qualified(&key.to_lowercase(), at, errors),
            "metadata.labels" => name::qualified(key, at, errors),
            _ if KNOWN_FIELDS.contains(&map) => errors.invalid(at, map, "does not support subscript"),
            _ => {
                let detail = format!("error converting fieldPath: field label does not support subscript: {path}");
                errors.invalid(&at.child("fieldPath"), path, detail);
            }
        }
    } else if !KNOWN_FIELDS.contains(&path) && path != "spec.host" {
        let detail = format!("error converting fieldPath: field label not supported: {path}");
        errors.invalid(&at.child("fieldPath"), path, detail);
    } else if !allowed.contains(&path) {
        errors.not_supported(&at.child("fieldPath"), path, allowed);
    }
}

/// The container resources that the downward API gives.
const RESOURCE_FIELDS: &[&str] = &[
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
];

/// A reference to a resource of a container; volumes must name the container.
pub(super) fn check_resource_field_ref(reference: &Value, volume: bool, at: &Path<'_>, errors: &mut Errors) {
    let resource = reference.get("resource").text();
    let huge = resource.starts_with("limits.hugepages-") || resource.starts_with("requests.hugepages-");
    if volume && reference.get("containerName").text().is_empty() {
        errors.required(&at.child("containerName"), "");
    } else if resource.is_empty() {
        errors.required(&at.child("resource"), "");
    } else if !RESOURCE_FIELDS.contains(&resource) && !huge {
        errors.not_supported(&at.child("resource"), resource, RESOURCE_FIELDS);
    }
    check_divisor(resource, huge, reference.get("divisor"), at, errors);
}

fn check_divisor(resource: &str, huge: bool, divisor: Option<&Value>, at: &Path<'_>, errors: &mut Errors) {
    const UNITS: &[&str] = &["1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"];
    let Some(text) = divisor.and_then(quantity::canonical).filter(|text| text != "0") else {
        return;
    };
    let what = match resource {
        "limits.cpu" | "requests.cpu" => {
            if !matches!(text.as_str(), "1" | "1m") {
                let detail = "only divisor's values 1m and 1 are supported with the cpu resource";
                errors.invalid(&at.child("divisor"), resource, detail);
            }
            return;
        }
        "limits.memory" | "requests.memory" => "memory",
        "limits.ephemeral-storage" | "requests.ephemeral-storage" => "local ephemeral storage",
        _ if huge => "hugepages",
        _ => return,
    };
    if !UNITS.contains(&text.as_str()) {
        let detail = format!("only divisor's values {} are supported with the {what} resource", UNITS.join(", "));
        errors.invalid(&at.child("divisor"), resource, detail);
    }
}
