//! Volumes of pods, and the mounts and devices by which containers use them.

use gantry_machinery::value::Value;
use smallvec::SmallVec;

use super::env::{VOLUME_FIELDS, check_field_ref, check_resource_field_ref};
use super::security::check_choice;
use super::view::{Held, view};
use super::{Errors, Path, labels, name, quantity, same};

pub mod source;

/// The volumes that containers may use: those without errors, by name.
pub type Volumes<'a> = SmallVec<[(&'a str, &'a Value); 8]>;

/// A pod's `volumes`. `pod` is the pod's name where it is known: ephemeral claims are named after it.
pub fn check_volumes<'a>(volumes: &'a [Value], pod: &str, at: &Path<'_>, errors: &mut Errors) -> Volumes<'a> {
    let mut usable = Volumes::new();
    for (n, volume) in volumes.iter().enumerate() {
        let at = at.index(n);
        let before = errors.len();
        let volume_name = volume.get("name").text();
        check_source(volume, volume_name, pod, &at, errors);
        match volume_name {
            "" => errors.required(&at.child("name"), ""),
            text => name::label(text, &at.child("name"), errors),
        }
        if usable.iter().any(|(used, _)| *used == volume_name) {
            errors.duplicate(&at.child("name"), volume_name);
        }
        if errors.len() == before {
            usable.push((volume_name, volume));
        }
        if let Some(claim) = volume.str_at(&["persistentVolumeClaim", "claimName"])
            && !pod.is_empty()
            && let Some(rest) = claim.strip_prefix(pod).and_then(|rest| rest.strip_prefix('-'))
            && volumes.iter().any(|v| v.get("ephemeral").is_some() && v.get("name").text() == rest)
        {
            let at = at.child("persistentVolumeClaim");
            let detail = "must not reference a PVC that gets created for an ephemeral volume";
            errors.invalid(&at.child("claimName"), claim, detail);
        }
    }
    usable
}

/// The sources in the order upstream looks at them.
const SOURCES: &[&str] = &[
    "emptyDir",
    "hostPath",
    "gitRepo",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "secret",
    "nfs",
    "iscsi",
    "glusterfs",
    "flocker",
    "persistentVolumeClaim",
    "rbd",
    "cinder",
    "cephfs",
    "quobyte",
    "downwardAPI",
    "fc",
    "flexVolume",
    "configMap",
    "azureFile",
    "vsphereVolume",
    "photonPersistentDisk",
    "portworxVolume",
    "azureDisk",
    "storageos",
    "projected",
    "scaleIO",
    "csi",
    "ephemeral",
    "image",
];

fn check_source(volume: &Value, volume_name: &str, pod: &str, at: &Path<'_>, errors: &mut Errors) {
    // Nearly every volume has one source: find it among its own few fields, and look closer only at oddities.
    let mut sources: SmallVec<[(usize, &Value); 2]> = SmallVec::new();
    for (key, value) in Some(volume).entries() {
        if let Some(rank) = SOURCES.iter().position(|s| *s == key).filter(|_| !value.is_null()) {
            sources.push((rank, value));
        }
    }
    sources.sort_unstable_by_key(|(rank, _)| *rank);
    let Some((first, rest)) = sources.split_first() else {
        return errors.required(at, "must specify a volume type");
    };
    let (kind, source) = (SOURCES[first.0], first.1);
    check_one(kind, source, &at.child(kind), errors);
    if kind == "ephemeral" && !pod.is_empty() && !volume_name.is_empty() {
        let claim = format!("{pod}-{volume_name}");
        for wrong in gantry_machinery::names::dns_subdomain(&claim) {
            errors.invalid(&at.child("name"), volume_name, format!("PVC name {claim:?}: {wrong}"));
        }
    }
    for (rank, _) in rest {
        errors.forbidden(&at.child(SOURCES[*rank]), "may not specify more than 1 volume type");
    }
}

fn check_one(kind: &str, source: &Value, at: &Path<'_>, errors: &mut Errors) {
    let mut needs = |fields: &[&str]| {
        for field in fields {
            if source.get(field).is_none_or(|v| matches!(v.as_str(), Some(""))) {
                errors.required(&at.child(field), "");
            }
        }
    };
    match kind {
        "emptyDir" => {
            let limit = source.get("sizeLimit").and_then(quantity::of);
            if limit.is_some_and(|l| l.sign() < 0) {
                errors.forbidden(&at.child("sizeLimit"), "SizeLimit field must be a valid resource quantity");
            }
        }
        "secret" => {
            needs(&["secretName"]);
            check_files(source, at, errors);
        }
        "configMap" => {
            needs(&["name"]);
            check_files(source, at, errors);
        }
        "persistentVolumeClaim" => needs(&["claimName"]),
        "downwardAPI" => {
            check_mode(source.get("defaultMode"), &at.child("defaultMode"), errors);
            for file in source.get("items").items() {
                check_downward_file(file, at, errors);
            }
        }
        "projected" => check_projected(source, at, errors),
        "ephemeral" => {
            let at = at.child("volumeClaimTemplate");
            match source.get("volumeClaimTemplate").filter(|t| !t.is_null()) {
                None => errors.required(&at, ""),
                Some(template) => {
                    let meta_at = at.child("metadata");
                    check_claim_metadata(template.get("metadata"), &meta_at, errors);
                    check_claim_spec(template.get("spec").unwrap_or(&Value::Null), &at.child("spec"), errors);
                }
            }
        }
        "image" => {
            needs(&["reference"]);
            let policy = source.get("pullPolicy").text();
            name::one_of(policy, &["Always", "IfNotPresent", "Never"], &at.child("pullPolicy"), errors);
        }
        _ => source::check(kind, source, source::Owner::Pod, at, errors),
    }
}

fn check_host_path(source: &Value, at: &Path<'_>, errors: &mut Errors) {
    const TYPES: &[&str] =
        &["", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"];
    let path = source.get("path").text();
    if path.is_empty() {
        return errors.required(&at.child("path"), "");
    }
    check_no_backsteps(path, &at.child("path"), errors);
    check_choice(source.get("type").filter(|t| !t.is_null()), TYPES, &at.child("type"), errors);
}

/// The metadata of a claim's template: labels and annotations, and nothing else.
pub fn check_claim_metadata(metadata: Option<&Value>, at: &Path<'_>, errors: &mut Errors) {
    let Some(metadata) = metadata else { return };
    labels::check_annotations(metadata.get("annotations"), &at.child("annotations"), errors);
    labels::check_labels(metadata.get("labels"), &at.child("labels"), errors);
    // In the order that upstream's type has them.
    const OTHERS: [&str; 13] = [
        "name",
        "generateName",
        "namespace",
        "selfLink",
        "uid",
        "resourceVersion",
        "generation",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "ownerReferences",
        "finalizers",
        "managedFields",
    ];
    for field in OTHERS {
        if !same(metadata.get(field), None) {
            errors.forbidden(&at.child(field), "cannot be set");
        }
    }
}

/// The driver of a CSI volume.
pub fn check_csi_driver(driver: &str, at: &Path<'_>, errors: &mut Errors) {
    if driver.is_empty() {
        errors.required(at, "");
    }
    if driver.len() > 63 {
        errors.too_long(at, 63);
    }
    for wrong in gantry_machinery::names::dns_subdomain(&driver.to_lowercase()) {
        errors.invalid(at, driver, wrong);
    }
}

fn check_mode(mode: Option<&Value>, at: &Path<'_>, errors: &mut Errors) {
    if let Some(mode) = mode.int().filter(|m| !(0..=0o777).contains(m)) {
        errors.invalid(at, mode, "must be a number between 0 and 0777 (octal), both inclusive");
    }
}

fn check_files(source: &Value, at: &Path<'_>, errors: &mut Errors) {
    check_mode(source.get("defaultMode"), &at.child("defaultMode"), errors);
    let items = at.child("items");
    for (n, item) in source.get("items").items().iter().enumerate() {
        check_key_to_path(item, &items.index(n), errors);
    }
}

fn check_key_to_path(item: &Value, at: &Path<'_>, errors: &mut Errors) {
    if item.get("key").text().is_empty() {
        errors.required(&at.child("key"), "");
    }
    let path = item.get("path").text();
    if path.is_empty() {
        errors.required(&at.child("path"), "");
    }
    check_local_path_with(path, &at.child("path"), errors);
    check_mode(item.get("mode"), &at.child("mode"), errors);
}

fn check_downward_file(file: &Value, at: &Path<'_>, errors: &mut Errors) {
    let path = file.get("path").text();
    if path.is_empty() {
        errors.required(&at.child("path"), "");
    }
    check_local_path_with(path, &at.child("path"), errors);
    let (field, resource) = (file.get("fieldRef"), file.get("resourceFieldRef"));
    if let Some(field) = field {
        check_field_ref(field, VOLUME_FIELDS, &at.child("fieldRef"), errors);
        if resource.is_some() {
            let detail = "fieldRef and resourceFieldRef can not be specified simultaneously";
            errors.invalid(at, "resource", detail);
        }
    } else if let Some(resource) = resource {
        check_resource_field_ref(resource, true, &at.child("resourceFieldRef"), errors);
    } else {
        errors.required(at, "one of fieldRef and resourceFieldRef is required");
    }
    check_mode(file.get("mode"), &at.child("mode"), errors);
}

view! {
    struct Projection {
        secret: "secret",
        config_map: "configMap",
        downward: "downwardAPI",
        token: "serviceAccountToken",
        trust: "clusterTrustBundle",
        certificate: "podCertificate",
    }
}

fn check_projected(projected: &Value, at: &Path<'_>, errors: &mut Errors) {
    check_mode(projected.get("defaultMode"), &at.child("defaultMode"), errors);
    let sources = at.child("sources");
    let mut paths: SmallVec<[&str; 8]> = SmallVec::new();
    for (n, source) in projected.get("sources").items().iter().enumerate() {
        let item = sources.index(n);
        let given = Projection::of(source);
        let mut count = 0;
        for (field, files) in [("secret", given.secret), ("configMap", given.config_map)] {
            let Some(files) = files else { continue };
            count += 1;
            let field_at = item.child(field);
            let named = files.get("name").text();
            if named.is_empty() {
                errors.required(&field_at.child("name"), "");
            }
            let items = field_at.child("items");
            for (n, file) in files.get("items").items().iter().enumerate() {
                check_key_to_path(file, &items.index(n), errors);
                claim_path(file.get("path").text(), named, &mut paths, at, errors);
            }
        }
        if let Some(downward) = given.downward {
            count += 1;
            for file in downward.get("items").items() {
                check_downward_file(file, &item.child("downwardAPI"), errors);
                let path = file.get("path").text();
                claim_path(path, path, &mut paths, at, errors);
            }
        }
        if let Some(token) = given.token {
            count += 1;
            check_token(token, &item.child("serviceAccountToken"), at, errors);
        }
        if let Some(trust) = given.trust {
            count += 1;
            let item = item.child("clusterTrustBundle");
            let path = trust.get("path").text();
            match (trust.get("name").is_some(), trust.get("signerName").is_some()) {
                (true, true) => errors.invalid(&item, trust, "only one of name and signerName may be used"),
                (false, false) => errors.required(&item, "either name or signerName must be specified"),
                _ => {}
            }
            if path.is_empty() {
                errors.required(&item.child("path"), "");
            }
            check_local_path_with(path, &item.child("path"), errors);
            claim_path(path, path, &mut paths, at, errors);
        }
        count += i32::from(given.certificate.is_some());
        if count > 1 {
            errors.forbidden(&item, "may not specify more than 1 volume type per source");
        }
    }
}

fn claim_path<'a>(path: &'a str, shown: &str, paths: &mut SmallVec<[&'a str; 8]>, at: &Path<'_>, errors: &mut Errors) {
    if path.is_empty() {
        return;
    }
    if paths.contains(&path) {
        errors.invalid(at, shown, "conflicting duplicate paths");
    } else {
        paths.push(path);
    }
}

fn check_token(token: &Value, at: &Path<'_>, volume: &Path<'_>, errors: &mut Errors) {
    let seconds = token.get("expirationSeconds").number();
    if seconds < 600 {
        let detail = "may not specify a duration less than 10 minutes";
        errors.invalid(&at.child("expirationSeconds"), seconds, detail);
    }
    if seconds > 1 << 32 {
        let detail = "may not specify a duration larger than 2^32 seconds";
        errors.invalid(&at.child("expirationSeconds"), seconds, detail);
    }
    match token.get("path").text() {
        "" => errors.required(&volume.child("path"), ""),
        path => check_local_path_with(path, &volume.child("path"), errors),
    }
}

/// A path without `..`.
pub fn check_no_backsteps(path: &str, at: &Path<'_>, errors: &mut Errors) {
    if path.contains("..") && path.split('/').any(|part| part == "..") {
        errors.invalid(at, path, "must not contain '..'");
    }
}

/// A path below some directory: relative, without `..`.
pub fn check_local_path(path: &str, at: &Path<'_>, errors: &mut Errors) {
    if path.starts_with('/') {
        errors.invalid(at, path, "must be a relative path");
    }
    check_no_backsteps(path, at, errors);
}

/// The same, and no name that begins with `..`, which the atomic writer keeps for itself.
pub fn check_local_path_with(path: &str, at: &Path<'_>, errors: &mut Errors) {
    check_local_path(path, at, errors);
    if path.starts_with("..") && !path.starts_with("../") {
        errors.invalid(at, path, "must not start with '..'");
    }
}

view! {
    struct Mount {
        name: "name",
        path: "mountPath",
        sub_path: "subPath",
        sub_path_expr: "subPathExpr",
        propagation: "mountPropagation",
        recursive: "recursiveReadOnly",
        read_only: "readOnly",
    }
}

/// A container's `volumeMounts`.
pub fn check_mounts(
    mounts: &[Value],
    devices: &[Value],
    volumes: &Volumes<'_>,
    privileged: bool,
    at: &Path<'_>,
    errors: &mut Errors,
) {
    for (n, mount) in mounts.iter().enumerate() {
        let item = at.index(n);
        let given = Mount::of(mount);
        let (volume, path) = (given.name.text(), given.path.text());
        if volume.is_empty() {
            errors.required(&item.child("name"), "");
        }
        if !volumes.iter().any(|(known, _)| *known == volume) {
            errors.not_found(&item.child("name"), volume);
        }
        if path.is_empty() {
            errors.required(&item.child("mountPath"), "");
        }
        if mounts[..n].iter().any(|m| m.get("mountPath").text() == path) {
            errors.invalid(&item.child("mountPath"), path, "must be unique");
        }
        if devices.iter().any(|d| d.get("name").text() == volume) {
            errors.invalid(&item.child("name"), volume, "must not already exist in volumeDevices");
        }
        if devices.iter().any(|d| d.get("devicePath").text() == path) {
            errors.invalid(&item.child("mountPath"), path, "must not already exist as a path in volumeDevices");
        }
        let (sub, expression) = (given.sub_path.text(), given.sub_path_expr.text());
        // Upstream gives the list's path for these, without the index.
        if !sub.is_empty() {
            check_local_path(sub, &at.child("subPath"), errors);
        }
        if !expression.is_empty() {
            if !sub.is_empty() {
                let detail = "subPathExpr and subPath are mutually exclusive";
                errors.invalid(&item.child("subPathExpr"), expression, detail);
            }
            check_local_path(expression, &at.child("subPathExpr"), errors);
        }
        check_propagation(&given, privileged, at, errors);
    }
}

fn check_propagation(mount: &Mount<'_>, privileged: bool, at: &Path<'_>, errors: &mut Errors) {
    if mount.propagation.is_some() {
        let at = at.child("mountPropagation");
        check_choice(mount.propagation, &["Bidirectional", "HostToContainer", "None"], &at, errors);
        if mount.propagation.text() == "Bidirectional" && !privileged {
            errors.forbidden(&at, "Bidirectional mount propagation is available only to privileged containers");
        }
    }
    let at = at.child("recursiveReadOnly");
    match mount.recursive.and_then(Value::as_str) {
        None | Some("Disabled") => {}
        Some("Enabled" | "IfPossible") => {
            if !mount.read_only.truth() {
                errors.forbidden(&at, "may only be specified when readOnly is true");
            }
            if !matches!(mount.propagation.text(), "" | "None") {
                errors.forbidden(&at, "may only be specified when mountPropagation is None or not specified");
            }
        }
        Some(other) => errors.not_supported(&at, other, &["Disabled", "Enabled", "IfPossible"]),
    }
}

/// A container's `volumeDevices`.
pub fn check_devices(devices: &[Value], mounts: &[Value], volumes: &Volumes<'_>, at: &Path<'_>, errors: &mut Errors) {
    for (n, device) in devices.iter().enumerate() {
        let at = at.index(n);
        let (volume, path) = (device.get("name").text(), device.get("devicePath").text());
        let before = &devices[..n];
        if volume.is_empty() {
            errors.required(&at.child("name"), "");
        }
        if before.iter().any(|d| d.get("name").text() == volume) {
            errors.invalid(&at.child("name"), volume, "must be unique");
        }
        match volumes.iter().find(|(known, _)| *known == volume) {
            None => errors.not_found(&at.child("name"), volume),
            Some((_, source)) => {
                if source.get("persistentVolumeClaim").is_none() && source.get("ephemeral").is_none() {
                    let detail = "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode";
                    errors.invalid(&at.child("name"), volume, detail);
                }
            }
        }
        if path.is_empty() {
            errors.required(&at.child("devicePath"), "");
        }
        if before.iter().any(|d| d.get("devicePath").text() == path) {
            errors.invalid(&at.child("devicePath"), path, "must be unique");
        }
        if path.split('/').any(|part| part == "..") {
            errors.invalid(&at.child("devicePath"), path, "can not contain backsteps ('..')");
        }
        if mounts.iter().any(|m| m.get("name").text() == volume) {
            errors.invalid(&at.child("name"), volume, "must not already exist in volumeMounts");
        }
        if mounts.iter().any(|m| m.get("mountPath").text() == path) {
            errors.invalid(&at.child("devicePath"), path, "must not already exist as a path in volumeMounts");
        }
    }
}

/// The access modes of volumes and claims.
pub const ACCESS_MODES: &[&str] = &["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];

/// The `accessModes` of a volume or claim.
pub fn check_access_modes(modes: &[Value], at: &Path<'_>, errors: &mut Errors) {
    let mut once_pod = false;
    let mut others = false;
    for mode in modes {
        let mode = mode.as_str().unwrap_or_default();
        if !ACCESS_MODES.contains(&mode) {
            errors.not_supported(at, mode, ACCESS_MODES);
        } else if mode == "ReadWriteOncePod" {
            once_pod = true;
        } else {
            others = true;
        }
    }
    if once_pod && others {
        errors.forbidden(at, "may not use ReadWriteOncePod with other access modes");
    }
}

/// The spec of a claim.
pub fn check_claim_spec(spec: &Value, at: &Path<'_>, errors: &mut Errors) {
    let modes = spec.get("accessModes").items();
    if modes.is_empty() {
        errors.required(&at.child("accessModes"), "at least 1 access mode is required");
    }
    labels::check_selector(spec.get("selector").filter(|s| !s.is_null()), &at.child("selector"), errors);
    check_access_modes(modes, &at.child("accessModes"), errors);
    let resources = at.child("resources");
    let storage = resources.key("storage");
    match spec.at(&["resources", "requests", "storage"]) {
        None => errors.required(&storage, ""),
        Some(value) => match quantity::of(value) {
            Some(size) if size.sign() > 0 => {}
            _ => errors.invalid(&storage, quantity::canonical(value).unwrap_or_default(), "must be greater than zero"),
        },
    }
    let class = spec.get("storageClassName").text();
    if !class.is_empty() {
        name::subdomain(class, &at.child("storageClassName"), errors);
    }
    check_choice(
        spec.get("volumeMode").filter(|m| !m.is_null()),
        &["Block", "Filesystem"],
        &at.child("volumeMode"),
        errors,
    );
    check_data_sources(spec, at, errors);
    let class = spec.get("volumeAttributesClassName").text();
    if !class.is_empty() {
        name::subdomain(class, &at.child("volumeAttributesClassName"), errors);
    }
}

/// What a claim is filled from: the old field names an object of the namespace, the newer one of any.
fn check_data_sources(spec: &Value, at: &Path<'_>, errors: &mut Errors) {
    let given = |field: &str| spec.get(field).filter(|source| !source.is_null());
    let (old, new) = (given("dataSource"), given("dataSourceRef"));
    for (field, source) in [("dataSource", old), ("dataSourceRef", new)] {
        let Some(source) = source else { continue };
        let at = at.child(field);
        for field in ["name", "kind"] {
            if source.get(field).text().is_empty() {
                errors.required(&at.child(field), "");
            }
        }
        let (group, kind) = (source.get("apiGroup").text(), source.get("kind").text());
        if group.is_empty() && kind != "PersistentVolumeClaim" {
            errors.invalid(&at, kind, "must be 'PersistentVolumeClaim' when referencing the default apiGroup");
        }
        if !group.is_empty() {
            name::subdomain(group, &at.child("apiGroup"), errors);
        }
        let namespace = source.get("namespace").text();
        if !namespace.is_empty() {
            name::label(namespace, &at.child("namespace"), errors);
        }
    }
    let (Some(old), Some(new)) = (old, new) else { return };
    let place = at.child("dataSource").to_string();
    if !new.get("namespace").text().is_empty() {
        errors.invalid(at, place, "may not be specified when dataSourceRef.namespace is specified");
    } else if ["apiGroup", "kind", "name"].iter().any(|field| old.get(field).text() != new.get(field).text()) {
        errors.invalid(at, place, "must match dataSourceRef");
    }
}
