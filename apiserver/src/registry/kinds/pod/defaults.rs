//! What upstream's v1 defaulting fills into pods and pod templates.
//!
//! One pass over each object finds what is there; what is missing is appended. Nothing is allocated for a key.

use compact_str::CompactString;
use gantry_machinery::quantity::Quantity;
use gantry_machinery::value::{Object, Value};

use crate::registry::kinds::field::{fill, fill_with, is_blank, put};
use crate::registry::validate::{quantity, view::Held};

/// The defaults of a pod's spec: a template's, and what only a pod itself is given.
pub fn pod(spec: &mut Object) {
    pod_spec(spec);
    for list in ["containers", "initContainers"] {
        for container in items(spec, list) {
            requests_from_limits(container);
        }
    }
    pod_level_requests(spec);
    fill(spec, "enableServiceLinks", true);
    if spec.get("hostNetwork").truth() {
        for list in ["containers", "initContainers"] {
            for container in items(spec, list) {
                host_ports(container);
            }
        }
    }
}

fn items<'a>(object: &'a mut Object, list: &str) -> impl Iterator<Item = &'a mut Object> {
    let items = object.get_mut(list).and_then(Value::as_array_mut).map(Vec::as_mut_slice).unwrap_or_default();
    items.iter_mut().filter_map(Value::as_object_mut)
}

/// The defaults of the spec in a template (`{"metadata":..., "spec":...}`).
pub fn template(template: &mut Object) {
    fill_with(template, "metadata", Value::object);
    pod_spec(template.object_entry("spec"));
}

/// The defaults of a spec, wherever it stands.
pub fn pod_spec(spec: &mut Object) {
    let mut dns = false;
    let mut restart = false;
    let mut security = false;
    let mut grace = false;
    let mut scheduler = false;
    let mut account: Option<CompactString> = None;
    let mut old_account: Option<CompactString> = None;
    for (key, value) in spec.iter_mut() {
        match key.as_str() {
            "dnsPolicy" => dns = or_text(value, "ClusterFirst"),
            "restartPolicy" => restart = or_text(value, "Always"),
            "schedulerName" => scheduler = or_text(value, "default-scheduler"),
            "securityContext" => security = or(value, Value::object),
            "terminationGracePeriodSeconds" => grace = or(value, || Value::Int(30)),
            "serviceAccountName" => account = text_of(value),
            "serviceAccount" => old_account = text_of(value),
            "containers" | "initContainers" | "ephemeralContainers" => each(value, container),
            "volumes" => each(value, volume),
            "resources" | "overhead" => resource_lists(key == "overhead", value),
            _ => {}
        }
    }
    if !restart {
        put(spec, "restartPolicy", "Always");
    }
    if !grace {
        put(spec, "terminationGracePeriodSeconds", 30);
    }
    if !dns {
        put(spec, "dnsPolicy", "ClusterFirst");
    }
    // The old name of the field is kept in step, as conversion does upstream.
    match (account, old_account) {
        (Some(account), None) => put(spec, "serviceAccount", account),
        (None, Some(account)) => {
            spec.insert("serviceAccountName", account);
        }
        (Some(account), Some(old)) if account != old => {
            spec.insert("serviceAccount", account);
        }
        _ => {}
    }
    if !security {
        put(spec, "securityContext", Value::object());
    }
    if !scheduler {
        put(spec, "schedulerName", "default-scheduler");
    }
}

fn text_of(value: &Value) -> Option<CompactString> {
    match value {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        _ => None,
    }
}

/// Fills a field that is there but blank; says that it is there.
fn or_text(value: &mut Value, default: &'static str) -> bool {
    if is_blank(value) {
        *value = Value::String(CompactString::const_new(default));
    }
    true
}

fn or(value: &mut Value, default: impl FnOnce() -> Value) -> bool {
    if value.is_null() {
        *value = default();
    }
    true
}

fn each(list: &mut Value, each: impl Fn(&mut Object)) {
    let items = list.as_array_mut().map(Vec::as_mut_slice).unwrap_or_default();
    items.iter_mut().filter_map(Value::as_object_mut).for_each(each);
}

fn container(container: &mut Object) {
    let mut pull = false;
    let mut path = false;
    let mut policy = false;
    let mut resources = false;
    let mut latest = false;
    for (key, value) in container.iter_mut() {
        match key.as_str() {
            "image" => latest = is_latest(value.as_str().unwrap_or_default()),
            "imagePullPolicy" => pull = !is_blank(value),
            "terminationMessagePath" => path = or_text(value, "/dev/termination-log"),
            "terminationMessagePolicy" => policy = or_text(value, "File"),
            "resources" => {
                resources = or(value, Value::object);
                resource_lists(false, value);
            }
            "ports" => each(value, |port| fill(port, "protocol", "TCP")),
            "env" => each(value, env_var),
            "livenessProbe" | "readinessProbe" | "startupProbe" => {
                if let Some(probe_fields) = value.as_object_mut() {
                    probe(probe_fields);
                }
            }
            "lifecycle" => {
                for hook in ["postStart", "preStop"] {
                    if let Some(handler) = value.get_mut(hook).and_then(Value::as_object_mut) {
                        http_get(handler);
                    }
                }
            }
            _ => {}
        }
    }
    if !resources {
        put(container, "resources", Value::object());
    }
    if !path {
        put(container, "terminationMessagePath", "/dev/termination-log");
    }
    if !policy {
        put(container, "terminationMessagePolicy", "File");
    }
    if !pull {
        fill(container, "imagePullPolicy", if latest { "Always" } else { "IfNotPresent" });
    }
}

/// Whether an image reference means the tag `latest`: by name, or by having neither tag nor digest.
fn is_latest(image: &str) -> bool {
    if image.is_empty() || image.contains(char::is_whitespace) {
        return false;
    }
    let (named, digest) = match image.split_once('@') {
        Some((named, _)) => (named, true),
        None => (image, false),
    };
    let last = named.rsplit('/').next().unwrap_or(named);
    match last.split_once(':') {
        Some((_, tag)) => tag == "latest",
        None => !digest,
    }
}

fn env_var(var: &mut Object) {
    let Some(from) = var.get_mut("valueFrom").and_then(Value::as_object_mut) else { return };
    for (key, value) in from.iter_mut() {
        match (key.as_str(), value.as_object_mut()) {
            ("fieldRef", Some(reference)) => fill(reference, "apiVersion", "v1"),
            ("resourceFieldRef", Some(reference)) => divisor(reference),
            ("fileKeyRef", Some(reference)) => fill(reference, "optional", false),
            _ => {}
        }
    }
}

/// The divisor is no pointer upstream: it is always shown.
fn divisor(reference: &mut Object) {
    match reference.get_mut("divisor") {
        Some(value) => canonical(value),
        None => put(reference, "divisor", "0"),
    }
}

fn probe(probe: &mut Object) {
    http_get(probe);
    if let Some(grpc) = probe.get_mut("grpc").and_then(Value::as_object_mut) {
        fill_with(grpc, "service", || Value::from(""));
    }
    for (key, default) in
        [("timeoutSeconds", 1), ("periodSeconds", 10), ("successThreshold", 1), ("failureThreshold", 3)]
    {
        fill(probe, key, default);
    }
}

fn http_get(handler: &mut Object) {
    if let Some(http) = handler.get_mut("httpGet").and_then(Value::as_object_mut) {
        fill(http, "path", "/");
        fill(http, "scheme", "HTTP");
    }
}

fn volume(volume: &mut Object) {
    let mut sources = 0;
    for (key, value) in volume.iter_mut() {
        if key == "name" || value.is_null() {
            continue;
        }
        sources += 1;
        let Some(source) = value.as_object_mut() else { continue };
        match key.as_str() {
            "secret" | "configMap" => fill_with(source, "defaultMode", || Value::Int(420)),
            "downwardAPI" => {
                fill_with(source, "defaultMode", || Value::Int(420));
                downward_files(source);
            }
            "projected" => {
                fill_with(source, "defaultMode", || Value::Int(420));
                for part in items(source, "sources") {
                    projection(part);
                }
            }
            "hostPath" => fill_with(source, "type", || Value::from("")),
            "emptyDir" => {
                if let Some(limit) = source.get_mut("sizeLimit") {
                    canonical(limit);
                }
            }
            "image" => {
                let latest = is_latest(source.get("reference").text());
                fill(source, "pullPolicy", if latest { "Always" } else { "IfNotPresent" });
            }
            "ephemeral" => {
                if let Some(spec) = value.at_mut(&["volumeClaimTemplate", "spec"]).and_then(Value::as_object_mut) {
                    claim_spec(spec);
                }
                if let Some(template) = value.get_mut("volumeClaimTemplate").and_then(Value::as_object_mut) {
                    fill_with(template, "metadata", Value::object);
                }
            }
            "iscsi" => fill(source, "iscsiInterface", "default"),
            "rbd" => {
                fill(source, "pool", "rbd");
                fill(source, "user", "admin");
                fill(source, "keyring", "/etc/ceph/keyring");
            }
            "azureDisk" => {
                fill(source, "cachingMode", "ReadWrite");
                fill(source, "kind", "Shared");
                fill(source, "fsType", "ext4");
                fill(source, "readOnly", false);
            }
            "scaleIO" => {
                fill(source, "storageMode", "ThinProvisioned");
                fill(source, "fsType", "xfs");
            }
            _ => {}
        }
    }
    if sources == 0 {
        put(volume, "emptyDir", Value::object());
    }
}

/// The defaults of a claim's spec.
pub(in crate::registry::kinds) fn claim_spec(spec: &mut Object) {
    fill(spec, "volumeMode", "Filesystem");
    if let Some(resources) = spec.get_mut("resources") {
        resource_lists(false, resources);
    }
    fill_with(spec, "resources", Value::object);
}

fn projection(part: &mut Object) {
    for (key, value) in part.iter_mut() {
        match (key.as_str(), value.as_object_mut()) {
            ("serviceAccountToken", Some(token)) => fill_with(token, "expirationSeconds", || Value::Int(3600)),
            ("downwardAPI", Some(downward)) => downward_files(downward),
            _ => {}
        }
    }
}

fn downward_files(source: &mut Object) {
    for file in items(source, "items") {
        for (key, value) in file.iter_mut() {
            match (key.as_str(), value.as_object_mut()) {
                ("fieldRef", Some(reference)) => fill(reference, "apiVersion", "v1"),
                ("resourceFieldRef", Some(reference)) => divisor(reference),
                _ => {}
            }
        }
    }
}

/// Quantities in their canonical texts: of `limits` and `requests`, or of the list itself.
fn resource_lists(itself: bool, value: &mut Value) {
    let Some(object) = value.as_object_mut() else { return };
    if itself {
        return resource_list(object);
    }
    for (key, list) in object.iter_mut() {
        if let ("limits" | "requests", Some(list)) = (key.as_str(), list.as_object_mut()) {
            resource_list(list);
        }
    }
}

/// The quantities of a list of resources in their canonical texts.
pub(in crate::registry::kinds) fn resource_list(list: &mut Object) {
    for (_, value) in list.iter_mut() {
        // Finer than a thousandth is rounded up, as upstream keeps resources; plain numbers cannot be.
        let fine = value.as_str().is_some_and(|t| t.contains(['n', 'u', '.', 'e']));
        if let Some(quantity) = quantity::of(value).filter(|q| fine && q.value().unsigned_abs() < 1 << 50) {
            let rounded = Quantity::from_millis(quantity.milli_value()).with_format(quantity.format());
            if rounded != quantity {
                *value = Value::String(rounded.to_text());
                continue;
            }
        }
        canonical(value);
    }
}

/// A quantity in its canonical text; what is none is left for validation.
fn canonical(value: &mut Value) {
    let Some(quantity) = quantity::of(value) else { return };
    let text = quantity.to_text();
    if value.as_str() != Some(&text) {
        *value = Value::String(text);
    }
}

fn requests_from_limits(container: &mut Object) {
    let Some(resources) = container.get_mut("resources").and_then(Value::as_object_mut) else { return };
    let Some(limits) = resources.get("limits").and_then(Value::as_object) else { return };
    let missing = |key: &str| resources.get("requests").is_none_or(|r| r.get(key).is_none());
    let add: Vec<(CompactString, Value)> =
        limits.iter().filter(|(key, _)| missing(key)).map(|(k, v)| (k.clone(), v.clone())).collect();
    if add.is_empty() {
        return;
    }
    let requests = resources.object_entry("requests");
    for (key, value) in add {
        requests.push_unchecked(key, value);
    }
}

/// Requests of the whole pod, where it has limits of its own: what its containers ask for together, else the limit.
fn pod_level_requests(spec: &mut Object) {
    let Some(limits) = spec.get("resources").and_then(|r| r.get("limits")).and_then(Value::as_object) else { return };
    let add: Vec<(CompactString, Value)> = limits
        .iter()
        .filter(|(key, _)| spec.get("resources").and_then(|r| r.at(&["requests", key])).is_none())
        .map(|(key, limit)| {
            let asked = super::qos::containers_request(spec, key);
            (key.clone(), asked.map_or_else(|| limit.clone(), |q| Value::String(q.to_text())))
        })
        .collect();
    if !add.is_empty() {
        let requests = spec.object_entry("resources").object_entry("requests");
        for (key, value) in add {
            requests.push_unchecked(key, value);
        }
    }
}

fn host_ports(container: &mut Object) {
    for port in items(container, "ports") {
        if port.get("hostPort").number() == 0 {
            let own = port.get("containerPort").number();
            port.insert("hostPort", own);
        }
    }
}
