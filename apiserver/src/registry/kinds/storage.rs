//! Volumes, claims and storage classes: stored, defaulted and checked; binding and provisioning are loops of their own.

use gantry_machinery::value::{Object, Value};

use super::cells::{age_cell, modes_text, name_cell, or_unknown, or_unset, text_cell};
use super::field::{fill, fill_with};
use super::pod::defaults::{claim_spec, resource_list};
use super::row;
use crate::registry::strategy::{Column, Strategy};
use crate::registry::validate::labels::check_node_selector;
use crate::registry::validate::view::Held;
use crate::registry::validate::volume::{check_access_modes, check_claim_spec, check_csi_driver};
use crate::registry::validate::{Errors, Path, name, quantity, same, security};

/// PersistentVolumes of the core group.
#[derive(Debug)]
pub struct PersistentVolumes;

/// The annotation that named the class before the field did.
const CLASS_ANNOTATION: &str = "volume.beta.kubernetes.io/storage-class";

/// The fields of a volume's spec that are no source.
const NO_SOURCE: &[&str] = &[
    "capacity",
    "accessModes",
    "claimRef",
    "persistentVolumeReclaimPolicy",
    "storageClassName",
    "mountOptions",
    "volumeMode",
    "nodeAffinity",
    "volumeAttributesClassName",
];

impl Strategy for PersistentVolumes {
    row!("", "v1", "persistentvolumes");

    fn default(&self, volume: &mut Value) {
        let spec = volume.force_object().object_entry("spec");
        if let Some(capacity) = spec.get_mut("capacity").and_then(Value::as_object_mut) {
            resource_list(capacity);
        }
        fill(spec, "persistentVolumeReclaimPolicy", "Retain");
        fill_with(spec, "volumeMode", || Value::from("Filesystem"));
        if let Some(path) = spec.get_mut("hostPath").and_then(Value::as_object_mut) {
            fill_with(path, "type", || Value::from(""));
        }
        fill(volume.force_object().object_entry("status"), "phase", "Pending");
    }

    fn check(&self, volume: &Value, errors: &mut Errors) {
        let null = Value::Null;
        let spec = volume.get("spec").unwrap_or(&null);
        let at = Path::new("spec");
        let modes = spec.get("accessModes").items();
        if modes.is_empty() {
            errors.required(&at.child("accessModes"), "");
        }
        check_access_modes(modes, &at.child("accessModes"), errors);
        check_capacity(spec.get("capacity"), &at.child("capacity"), errors);
        let policy = spec.get("persistentVolumeReclaimPolicy").text();
        let policies = &["Delete", "Recycle", "Retain"];
        name::one_of(policy, policies, &at.child("persistentVolumeReclaimPolicy"), errors);
        if let Some(affinity) = spec.get("nodeAffinity").filter(|a| !a.is_null()) {
            let at = at.child("nodeAffinity");
            match affinity.get("required").filter(|r| !r.is_null()) {
                None => errors.required(&at.child("required"), "must specify required node constraints"),
                Some(required) => check_node_selector(required, &at.child("required"), errors),
            }
        }
        check_source(spec, &at, errors);
        let class = spec.get("storageClassName").text();
        if !class.is_empty() {
            name::subdomain(class, &at.child("storageClassName"), errors);
        }
        let mode = spec.get("volumeMode").text();
        if !mode.is_empty() && !matches!(mode, "Block" | "Filesystem") {
            errors.not_supported(&at.child("volumeMode"), mode, &["Block", "Filesystem"]);
        }
    }

    fn check_update(&self, new: &Value, old: &Value, subresource: &str, errors: &mut Errors) {
        if subresource == "status" {
            return;
        }
        self.check(new, errors);
        let source = |volume: &Value| {
            let mut spec = volume.get("spec").cloned().unwrap_or_default();
            spec.force_object().retain(|key, _| !NO_SOURCE.contains(&key));
            spec
        };
        if !same(Some(&source(new)), Some(&source(old))) {
            let detail = "spec.persistentvolumesource is immutable after creation";
            errors.forbidden(&Path::new("spec.persistentvolumesource"), detail);
        }
        let path = ["spec", "volumeMode"];
        errors.immutable(&Path::new("volumeMode"), new.at(&path), old.at(&path));
        let path = ["spec", "nodeAffinity"];
        if old.at(&path).is_some() {
            errors.immutable(&Path::new("nodeAffinity"), new.at(&path), old.at(&path));
        }
    }

    fn has_generation(&self) -> bool {
        false
    }

    fn columns(&self) -> &'static [Column] {
        const {
            &[
                Column::name(),
                Column::string("Capacity"),
                Column::string("Access Modes"),
                Column::string("Reclaim Policy"),
                Column::string("Status"),
                Column::string("Claim"),
                Column::string("StorageClass"),
                Column::string("VolumeAttributesClass"),
                Column::string("Reason"),
                Column::string("Age"),
                Column::string("VolumeMode").wide(),
            ]
        }
    }

    fn row(&self, volume: &Value, now: i64) -> Vec<Value> {
        let claim = volume
            .at(&["spec", "claimRef"])
            .map(|claim| format!("{}/{}", claim.get("namespace").text(), claim.get("name").text()));
        let mut phase = volume.at(&["status", "phase"]).text().to_owned();
        if volume.at(&["metadata", "deletionTimestamp"]).is_some() {
            "Terminating".clone_into(&mut phase);
        }
        vec![
            name_cell(volume),
            Value::from(storage(volume.at(&["spec", "capacity", "storage"]))),
            Value::from(modes_text(volume.array_at(&["spec", "accessModes"]))),
            text_cell(volume, &["spec", "persistentVolumeReclaimPolicy"]),
            Value::from(phase),
            Value::from(claim.unwrap_or_default()),
            Value::from(class_of(volume)),
            Value::from(attributes_class(volume)),
            text_cell(volume, &["status", "reason"]),
            age_cell(volume, now),
            or_unset(volume.at(&["spec", "volumeMode"]).text()),
        ]
    }
}

fn storage(value: Option<&Value>) -> String {
    value.and_then(quantity::canonical).unwrap_or_else(|| "0".to_owned())
}

fn class_of(object: &Value) -> &str {
    match object.at(&["metadata", "annotations", CLASS_ANNOTATION]).text() {
        "" => object.at(&["spec", "storageClassName"]).text(),
        class => class,
    }
}

fn attributes_class(object: &Value) -> &str {
    match object.at(&["spec", "volumeAttributesClassName"]).text() {
        "" => "<unset>",
        class => class,
    }
}

fn check_capacity(capacity: Option<&Value>, at: &Path<'_>, errors: &mut Errors) {
    let count = capacity.entries().count();
    if count == 0 {
        errors.required(at, "");
    }
    if capacity.and_then(|c| c.get("storage")).is_none() || count > 1 {
        errors.not_supported_value(at, capacity, &["storage"]);
    }
    for (resource, value) in capacity.entries() {
        if quantity::of(value).is_none_or(|q| q.sign() <= 0) {
            let shown = quantity::canonical(value).unwrap_or_default();
            errors.invalid(&at.key(resource), shown, "must be greater than zero");
        }
    }
}

fn check_source(spec: &Value, at: &Path<'_>, errors: &mut Errors) {
    let mut first = true;
    for (kind, source) in Some(spec).entries().filter(|(key, value)| !NO_SOURCE.contains(key) && !value.is_null()) {
        let at = at.child(kind);
        if !first {
            errors.forbidden(&at, "may not specify more than 1 volume type");
            continue;
        }
        first = false;
        let mut needs = |fields: &[&str]| {
            for field in fields {
                if source.get(field).text().is_empty() {
                    errors.required(&at.child(field), "");
                }
            }
        };
        match kind {
            "csi" => {
                needs(&["driver", "volumeHandle"]);
                let driver = source.get("driver").text();
                if !driver.is_empty() {
                    check_csi_driver(driver, &at.child("driver"), errors);
                }
            }
            "hostPath" => {
                needs(&["path"]);
                if source.get("path").text() == "/" && spec.get("persistentVolumeReclaimPolicy").text() == "Recycle" {
                    let detail = "may not be 'recycle' for a hostPath mount of '/'";
                    errors.forbidden(&Path::new("spec.persistentVolumeReclaimPolicy"), detail);
                }
            }
            "local" => {
                needs(&["path"]);
                if spec.get("nodeAffinity").is_none() {
                    errors.required(&Path::new("metadata.annotations"), "Local volume requires node affinity");
                }
            }
            "nfs" => needs(&["server", "path"]),
            "iscsi" => needs(&["targetPortal", "iqn"]),
            "gcePersistentDisk" => needs(&["pdName"]),
            "awsElasticBlockStore" | "cinder" | "portworxVolume" => needs(&["volumeID"]),
            "glusterfs" => needs(&["endpoints", "path"]),
            "azureDisk" => needs(&["diskName", "diskURI"]),
            "azureFile" => needs(&["secretName", "shareName"]),
            "flexVolume" => needs(&["driver"]),
            "vsphereVolume" => needs(&["volumePath"]),
            _ => {}
        }
    }
    if first {
        errors.required(at, "must specify a volume type");
    }
}

/// PersistentVolumeClaims of the core group.
#[derive(Debug)]
pub struct PersistentVolumeClaims;

impl Strategy for PersistentVolumeClaims {
    row!("", "v1", "persistentvolumeclaims");

    fn prepare_for_create(&self, claim: &mut Value) {
        claim.set(&["status"], gantry_machinery::value!({"phase": "Pending"}));
        // A source that both fields can name is named by both.
        let spec = claim.force_object().object_entry("spec");
        match (spec.get("dataSource").cloned(), spec.get("dataSourceRef").cloned()) {
            (Some(source), None) if !source.is_null() => {
                spec.insert("dataSourceRef", source);
            }
            (None, Some(source)) if source.get("namespace").text().is_empty() && is_old_source(&source) => {
                spec.insert("dataSource", source);
            }
            _ => {}
        }
    }

    fn default(&self, claim: &mut Value) {
        claim_spec(claim.force_object().object_entry("spec"));
        let status = claim.force_object().object_entry("status");
        fill(status, "phase", "Pending");
        if let Some(capacity) = status.get_mut("capacity").and_then(Value::as_object_mut) {
            resource_list(capacity);
        }
    }

    fn check(&self, claim: &Value, errors: &mut Errors) {
        check_claim_spec(claim.get("spec").unwrap_or(&Value::Null), &Path::new("spec"), errors);
    }

    fn check_update(&self, new: &Value, old: &Value, subresource: &str, errors: &mut Errors) {
        if subresource == "status" {
            return;
        }
        self.check(new, errors);
        check_claim_change(new, old, errors);
    }

    fn has_generation(&self) -> bool {
        false
    }

    fn columns(&self) -> &'static [Column] {
        const {
            &[
                Column::name(),
                Column::string("Status"),
                Column::string("Volume"),
                Column::string("Capacity"),
                Column::string("Access Modes"),
                Column::string("StorageClass"),
                Column::string("VolumeAttributesClass"),
                Column::string("Age"),
                Column::string("VolumeMode").wide(),
            ]
        }
    }

    fn row(&self, claim: &Value, now: i64) -> Vec<Value> {
        let bound = !claim.at(&["spec", "volumeName"]).text().is_empty();
        let mut phase = claim.at(&["status", "phase"]).text().to_owned();
        if claim.at(&["metadata", "deletionTimestamp"]).is_some() {
            "Terminating".clone_into(&mut phase);
        }
        let (capacity, modes) = if bound {
            (
                storage(claim.at(&["status", "capacity", "storage"])),
                modes_text(claim.array_at(&["status", "accessModes"])),
            )
        } else {
            Default::default()
        };
        vec![
            name_cell(claim),
            Value::from(phase),
            text_cell(claim, &["spec", "volumeName"]),
            Value::from(capacity),
            Value::from(modes),
            Value::from(class_of(claim)),
            Value::from(attributes_class(claim)),
            age_cell(claim, now),
            or_unset(claim.at(&["spec", "volumeMode"]).text()),
        ]
    }
}

/// Whether the old field can name it: another claim or a snapshot.
fn is_old_source(source: &Value) -> bool {
    matches!(
        (source.get("apiGroup").text(), source.get("kind").text()),
        ("", "PersistentVolumeClaim") | ("snapshot.storage.k8s.io", "VolumeSnapshot")
    )
}

fn check_claim_change(new: &Value, old: &Value, errors: &mut Errors) {
    let strip = |claim: &Value, also: &[&str]| {
        let mut spec = claim.get("spec").cloned().unwrap_or_default();
        spec.remove(&["volumeAttributesClassName"]);
        for field in also {
            spec.remove(&[field]);
        }
        spec
    };
    let mut free: Vec<&str> = Vec::new();
    // The volume is named once; a class may be filled in where there was none.
    if old.at(&["spec", "volumeName"]).text().is_empty() {
        free.push("volumeName");
    }
    if old.at(&["spec", "storageClassName"]).is_none() {
        free.push("storageClassName");
    }
    let (mut now, mut before) = (strip(new, &free), strip(old, &free));
    if new.at(&["status", "phase"]).text() == "Bound" {
        now.remove(&["resources", "requests", "storage"]);
        before.remove(&["resources", "requests", "storage"]);
    }
    if !same(Some(&now), Some(&before)) {
        let detail = "spec is immutable after creation except resources.requests and volumeAttributesClassName for \
                      bound claims";
        errors.forbidden(&Path::new("spec"), detail);
    }
    let size = |claim: &Value| claim.at(&["spec", "resources", "requests", "storage"]).and_then(quantity::of);
    let has = old.at(&["status", "capacity", "storage"]).and_then(quantity::of);
    if size(new) < size(old) && size(new) <= has {
        let at = Path::new("spec.resources.requests.storage");
        errors.forbidden(&at, "field can not be less than status.capacity");
    }
    let path = ["spec", "volumeMode"];
    errors.immutable(&Path::new("volumeMode"), new.at(&path), old.at(&path));
}

/// StorageClasses of `storage.k8s.io`.
#[derive(Debug)]
pub struct StorageClasses;

impl Strategy for StorageClasses {
    row!("storage.k8s.io", "v1", "storageclasses");

    fn default(&self, class: &mut Value) {
        let class: &mut Object = class.force_object();
        fill(class, "reclaimPolicy", "Delete");
        fill(class, "volumeBindingMode", "Immediate");
    }

    fn check(&self, class: &Value, errors: &mut Errors) {
        let at = Path::new("provisioner");
        match class.get("provisioner").text() {
            "" => errors.required(&at, "provisioner"),
            text => name::qualified(&text.to_lowercase(), &at, errors),
        }
        let at = Path::new("parameters");
        for (key, _) in class.get("parameters").entries() {
            if key.is_empty() {
                errors.invalid(&at, key, "field can not be empty.");
            }
        }
        let policies = &["Delete", "Retain"];
        security::check_choice(class.get("reclaimPolicy"), policies, &Path::new("reclaimPolicy"), errors);
        let modes = &["Immediate", "WaitForFirstConsumer"];
        name::one_of(class.get("volumeBindingMode").text(), modes, &Path::new("volumeBindingMode"), errors);
    }

    fn check_update(&self, new: &Value, old: &Value, _subresource: &str, errors: &mut Errors) {
        self.check(new, errors);
        for field in ["parameters", "provisioner", "reclaimPolicy"] {
            if !same(new.get(field), old.get(field)) {
                errors.forbidden(&Path::new(field), format!("updates to {field} are forbidden."));
            }
        }
        let field = "volumeBindingMode";
        errors.immutable(&Path::new(field), new.get(field), old.get(field));
    }

    fn columns(&self) -> &'static [Column] {
        const {
            &[
                Column::name(),
                Column::string("Provisioner"),
                Column::string("ReclaimPolicy"),
                Column::string("VolumeBindingMode"),
                Column::string("AllowVolumeExpansion"),
                Column::string("Age"),
            ]
        }
    }

    fn row(&self, class: &Value, now: i64) -> Vec<Value> {
        let annotation = "storageclass.kubernetes.io/is-default-class";
        let default = class.at(&["metadata", "annotations", annotation]).text() == "true";
        let mut name = class.at(&["metadata", "name"]).text().to_owned();
        if default {
            name.push_str(" (default)");
        }
        vec![
            Value::from(name),
            text_cell(class, &["provisioner"]),
            or_unknown(class.get("reclaimPolicy").text()),
            or_unknown(class.get("volumeBindingMode").text()),
            Value::Bool(class.get("allowVolumeExpansion").truth()),
            age_cell(class, now),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gantry_machinery::value;

    fn causes(errors: Vec<gantry_machinery::status::FieldError>) -> Vec<String> {
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn volumes_need_size_mode_and_source() {
        let mut volume = value!({"spec": {}});
        PersistentVolumes.default(&mut volume);
        assert_eq!(
            causes(PersistentVolumes.validate(&volume)),
            [
                "spec.accessModes: Required value",
                "spec.capacity: Required value",
                "spec.capacity: Unsupported value: null: supported values: \"storage\"",
                "spec: Required value: must specify a volume type",
            ]
        );
        let mut good = value!({"metadata": {"name": "v"}, "spec": {
            "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/x"}}});
        PersistentVolumes.default(&mut good);
        assert_eq!(causes(PersistentVolumes.validate(&good)), Vec::<String>::new());
        let row = PersistentVolumes.row(&good, 0);
        let texts: Vec<&str> = row.iter().filter_map(Value::as_str).collect();
        assert_eq!(texts, ["v", "1Gi", "RWO", "Retain", "Pending", "", "", "<unset>", "", "<unknown>", "Filesystem"]);
    }

    #[test]
    fn claims_grow_once_bound_and_do_not_change_else() {
        let mut old = value!({"spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "a",
            "resources": {"requests": {"storage": "1Gi"}}}});
        PersistentVolumeClaims.prepare_for_create(&mut old);
        PersistentVolumeClaims.default(&mut old);
        assert_eq!(causes(PersistentVolumeClaims.validate(&old)), Vec::<String>::new());
        let mut new = old.clone();
        new.set(&["spec", "resources", "requests", "storage"], "2Gi");
        assert_eq!(PersistentVolumeClaims.validate_update(&new, &old, "").len(), 1);
        new.set(&["status", "phase"], "Bound");
        assert!(PersistentVolumeClaims.validate_update(&new, &old, "").is_empty());
        new.set(&["spec", "storageClassName"], "b");
        assert_eq!(PersistentVolumeClaims.validate_update(&new, &old, "")[0].field, "spec");
    }

    #[test]
    fn classes_stay_what_they_are() {
        let mut old = value!({"provisioner": "a.example/x"});
        StorageClasses.default(&mut old);
        assert!(StorageClasses.validate(&old).is_empty());
        let mut new = old.clone();
        new.set(&["reclaimPolicy"], "Retain");
        assert_eq!(
            causes(StorageClasses.validate_update(&new, &old, "")),
            ["reclaimPolicy: Forbidden: updates to reclaimPolicy are forbidden."]
        );
    }
}
