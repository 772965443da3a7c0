//! Volumes, claims and storage classes: stored, defaulted and checked; binding and provisioning are loops of their own.

use gantry_machinery::value::Value;

use super::cells::{age_cell, modes_text, name_cell, or_unset, text_cell};
use super::field::{fill, fill_with};
use super::pod::defaults::{claim_spec, resource_list};
use super::row;
use crate::registry::strategy::{Column, Strategy, keep};
use crate::registry::validate::difference::difference;
use crate::registry::validate::labels::check_node_selector;
use crate::registry::validate::view::Held;
use crate::registry::validate::volume::{check_access_modes, check_claim_spec, source};
use crate::registry::validate::{Errors, Path, name, quantity, same};

/// PersistentVolumes of the core group.
#[derive(Debug)]
pub struct PersistentVolumes;

/// The annotation that named the class before the field did.
const CLASS_ANNOTATION: &str = "volume.beta.kubernetes.io/storage-class";

/// The sources in the order upstream looks at them; in errors two are called otherwise.
const SOURCES: &[&str] = &[
    "hostPath",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "glusterfs",
    "flocker",
    "nfs",
    "rbd",
    "quobyte",
    "cephfs",
    "iscsi",
    "cinder",
    "fc",
    "flexVolume",
    "azureFile",
    "vsphereVolume",
    "photonPersistentDisk",
    "portworxVolume",
    "azureDisk",
    "scaleIO",
    "local",
    "storageos",
    "csi",
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
        let name = volume.at(&["metadata", "name"]).text();
        check_volume(volume.get("spec").unwrap_or(&Value::Null), Some(name), &Path::new("spec"), errors);
    }

    fn check_update(&self, new: &Value, old: &Value, subresource: &str, errors: &mut Errors) {
        if subresource == "status" {
            return;
        }
        self.check(new, errors);
        let source = |volume: &Value| {
            let mut spec = volume.get("spec").cloned().unwrap_or_default();
            spec.force_object().retain(|key, _| SOURCES.contains(&key));
            spec
        };
        let (mut now, before) = (source(new), source(old));
        // The secret that expansion needs may be named later.
        if before.get("csi").is_some_and(|csi| csi.get("controllerExpandSecretRef").is_none()) {
            now.remove(&["csi", "controllerExpandSecretRef"]);
        }
        if !same(Some(&now), Some(&before)) {
            let at = Path::new("spec.persistentvolumesource");
            let what = "spec.persistentvolumesource is immutable after creation";
            errors.forbidden(&at, format!("{what}\n{}", difference(&before, &now)));
        }
        let path = ["spec", "volumeMode"];
        errors.immutable(&Path::new("volumeMode"), new.at(&path), old.at(&path));
        let path = ["spec", "nodeAffinity"];
        if old.at(&path).is_some() {
            check_affinity_change(new.at(&path), old.at(&path), errors);
        }
        let class = |volume: &Value| volume.str_at(&["spec", "volumeAttributesClassName"]).is_some();
        if class(old) && !class(new) {
            let at = Path::new("spec.volumeAttributesClassName");
            errors.forbidden(&at, "update from non-nil value to nil is forbidden");
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

/// What is written down in an attachment, of a volume that no object stands for.
pub(super) fn check_inline_volume(spec: &Value, at: &Path<'_>, errors: &mut Errors) {
    check_volume(spec, None, at, errors);
}

const INLINE: &str = "may not be specified in the context of inline volumes";

/// The spec of the volume of this name, or of one without.
fn check_volume(spec: &Value, volume: Option<&str>, at: &Path<'_>, errors: &mut Errors) {
    let inline = volume.is_none();
    let given = |field: &str| spec.get(field).filter(|value| !same(Some(value), None));
    if inline {
        for field in ["claimRef", "capacity"] {
            if given(field).is_some() {
                errors.forbidden(&at.child(field), INLINE);
            }
        }
        if given("csi").is_none() {
            errors.required(&at.child("csi"), "has to be specified in the context of inline volumes");
        }
    }
    let modes = spec.get("accessModes").items();
    if modes.is_empty() {
        errors.required(&at.child("accessModes"), "");
    }
    check_access_modes(modes, &at.child("accessModes"), errors);
    if !inline {
        check_capacity(spec.get("capacity"), &at.child("capacity"), errors);
    }
    let policy = spec.get("persistentVolumeReclaimPolicy").text();
    let policy_at = at.child("persistentVolumeReclaimPolicy");
    match policy {
        "" | "Retain" => {}
        _ if inline => errors.forbidden(&policy_at, "may only be Retain in the context of inline volumes"),
        "Delete" | "Recycle" => {}
        other => errors.not_supported(&policy_at, other, &["Delete", "Recycle", "Retain"]),
    }
    if let Some(affinity) = spec.get("nodeAffinity").filter(|a| !a.is_null()) {
        let at = at.child("nodeAffinity");
        match affinity.get("required").filter(|r| !r.is_null()) {
            _ if inline => errors.forbidden(&at, INLINE),
            None => errors.required(&at.child("required"), "must specify required node constraints"),
            Some(required) => check_node_selector(required, &at.child("required"), errors),
        }
    }
    check_source(spec, volume.unwrap_or_default(), at, errors);
    match spec.get("storageClassName").text() {
        "" => {}
        _ if inline => errors.forbidden(&at.child("storageClassName"), INLINE),
        class => name::subdomain(class, &at.child("storageClassName"), errors),
    }
    match spec.get("volumeMode").text() {
        "" | "Filesystem" => {}
        _ if inline => {
            let detail = "may not specify volumeMode other than Filesystem in the context of inline volumes";
            errors.forbidden(&at.child("volumeMode"), detail);
        }
        "Block" => {}
        mode => errors.not_supported(&at.child("volumeMode"), mode, &["Block", "Filesystem"]),
    }
    if let Some(class) = spec.str_at(&["volumeAttributesClassName"]).filter(|_| !inline) {
        let class_at = at.child("volumeAttributesClassName");
        match class {
            "" => errors.required(&class_at, "an empty string is disallowed"),
            text => name::subdomain(text, &class_at, errors),
        }
        if spec.get("csi").is_none() {
            errors.required(&at.child("csi"), "has to be specified when using volumeAttributesClassName");
        }
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
        check_basic(value, &at.key(resource), errors);
        if quantity::of(value).is_none_or(|q| q.sign() <= 0) {
            let shown = quantity::canonical(value).unwrap_or_default();
            errors.invalid(&at.key(resource), shown, "must be greater than zero");
        }
    }
}

fn check_source(spec: &Value, volume: &str, at: &Path<'_>, errors: &mut Errors) {
    let mut first = true;
    for kind in SOURCES {
        let Some(source) = spec.get(kind).filter(|source| !source.is_null()) else { continue };
        if !first && *kind != "flexVolume" {
            let kind = if *kind == "cephfs" { "cephFS" } else { kind };
            errors.forbidden(&at.child(kind), "may not specify more than 1 volume type");
            continue;
        }
        first = false;
        let place = if *kind == "gcePersistentDisk" { "persistentDisk" } else { kind };
        source::check(kind, source, source::Owner::Volume(volume), &at.child(place), errors);
        if *kind == "local" && spec.at(&["nodeAffinity", "required"]).is_none_or(Value::is_null) {
            errors.required(&at.child("nodeAffinity"), "Local volume requires node affinity");
        }
    }
    if first {
        errors.required(at, "must specify a volume type");
    }
    let root = spec.at(&["hostPath", "path"]).text();
    let is_root = root.starts_with('/') && root.split('/').all(|part| matches!(part, "" | "."));
    if is_root && spec.get("persistentVolumeReclaimPolicy").text() == "Recycle" {
        let detail = "may not be 'recycle' for a hostPath mount of '/'";
        errors.forbidden(&at.child("persistentVolumeReclaimPolicy"), detail);
    }
}

/// Where a volume can be reached may not change, but for labels of nodes that have a new name now.
fn check_affinity_change(new: Option<&Value>, old: Option<&Value>, errors: &mut Errors) {
    // The old names of the labels, and what stands for each.
    const RENAMED: [(&str, &str); 5] = [
        ("failure-domain.beta.kubernetes.io/zone", "topology.kubernetes.io/zone"),
        ("failure-domain.beta.kubernetes.io/region", "topology.kubernetes.io/region"),
        ("beta.kubernetes.io/os", "kubernetes.io/os"),
        ("beta.kubernetes.io/arch", "kubernetes.io/arch"),
        ("beta.kubernetes.io/instance-type", "node.kubernetes.io/instance-type"),
    ];
    let (mut now, before) = (new.cloned().unwrap_or_default(), old.cloned().unwrap_or_default());
    let path = ["required", "nodeSelectorTerms"];
    let were = before.at(&path).items();
    let terms = now.at_mut(&path).and_then(Value::as_array_mut).map(Vec::as_mut_slice).unwrap_or_default();
    if terms.len() == were.len() {
        for (term, was) in terms.iter_mut().zip(were) {
            let were = was.get("matchExpressions").items();
            let expressions = term.get_mut("matchExpressions").and_then(Value::as_array_mut);
            for (expression, was) in expressions.into_iter().flatten().zip(were) {
                let renamed = RENAMED
                    .iter()
                    .any(|(from, to)| was.get("key").text() == *from && expression.get("key").text() == *to);
                if renamed {
                    expression.set(&["key"], was.get("key").text());
                }
            }
        }
    }
    if !same(Some(&now), Some(&before)) {
        errors.invalid(&Path::new("nodeAffinity"), new, "field is immutable");
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
            return check_claim_status(new, errors);
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
    let (mut now, mut before) =
        (new.get("spec").cloned().unwrap_or_default(), old.get("spec").cloned().unwrap_or_default());
    // The volume is named once.
    if before.get("volumeName").text().is_empty() {
        keep(&mut before, &now, "volumeName");
    }
    let annotation = |claim: &Value| claim.at(&["metadata", "annotations", CLASS_ANNOTATION]).cloned();
    let (named, was_named) = (annotation(new), annotation(old));
    let class = now.get("storageClassName").filter(|class| !class.is_null()).cloned();
    let had_class = before.get("storageClassName").is_some_and(|class| !class.is_null());
    // The class may move from the annotation to the field, or be filled in where there was none.
    let moved = class.is_some() && !had_class && was_named == class && (named.is_none() || named == was_named);
    if moved {
        now.remove(&["storageClassName"]);
    } else {
        let text = |value: &Option<Value>| value.as_ref().and_then(Value::as_str).unwrap_or_default().to_owned();
        if text(&named) != text(&was_named) {
            let at = Path::new("metadata.annotations");
            errors.invalid(&at.child(CLASS_ANNOTATION), text(&named), "field is immutable");
        }
        if class.is_some() && !had_class && (was_named.is_none() || was_named == class) {
            keep(&mut now, &before, "storageClassName");
        }
    }
    if new.at(&["status", "phase"]).text() == "Bound" {
        if now.at(&["resources", "requests"]).is_some_and(|requests| !requests.is_null()) {
            match before.at(&["resources", "requests", "storage"]) {
                Some(size) => now.set(&["resources", "requests", "storage"], size.clone()),
                None => {
                    now.remove(&["resources", "requests", "storage"]);
                }
            }
        }
        if now.str_at(&["volumeAttributesClassName"]).is_some() {
            keep(&mut now, &before, "volumeAttributesClassName");
        }
    }
    if !same(Some(&now), Some(&before)) {
        let what = "spec is immutable after creation except resources.requests and volumeAttributesClassName for \
                    bound claims";
        errors.forbidden(&Path::new("spec"), format!("{what}\n{}", difference(&before, &now)));
    }
    let size = |claim: &Value| claim.at(&["spec", "resources", "requests", "storage"]).and_then(quantity::of);
    let has = old.at(&["status", "capacity", "storage"]).and_then(quantity::of).unwrap_or_default();
    if size(new) < size(old) && size(new).unwrap_or_default() <= has {
        let at = Path::new("spec.resources.requests.storage");
        errors.forbidden(&at, "field can not be less than status.capacity");
    }
    let path = ["spec", "volumeMode"];
    errors.immutable(&Path::new("volumeMode"), new.at(&path), old.at(&path));
    let attributes = |claim: &'_ Value| claim.str_at(&["spec", "volumeAttributesClassName"]).map(str::to_owned);
    let at = Path::new("spec.volumeAttributesClassName");
    match (attributes(old), attributes(new).as_deref()) {
        (Some(_), None) => errors.forbidden(&at, "update from non-nil value to nil is forbidden"),
        (Some(was), Some("")) if !was.is_empty() => {
            errors.forbidden(&at, "update from non-nil value to an empty string is forbidden");
        }
        _ => {}
    }
}

/// A status as the volume controllers write it.
fn check_claim_status(claim: &Value, errors: &mut Errors) {
    if claim.array_at(&["spec", "accessModes"]).is_empty() {
        errors.required(&Path::new("Spec.accessModes"), "");
    }
    let status = claim.get("status");
    let at = Path::new("status.capacity");
    for (resource, value) in status.and_then(|s| s.get("capacity")).entries() {
        check_basic(value, &at.key(resource), errors);
    }
    const STATES: &[&str] = &[
        "ControllerResizeInProgress",
        "ControllerResizeInfeasible",
        "NodeResizeInProgress",
        "NodeResizeInfeasible",
        "NodeResizePending",
    ];
    let at = Path::new("status.allocatedResourceStatus");
    for (resource, state) in status.and_then(|s| s.get("allocatedResourceStatuses")).entries() {
        check_claim_resource(resource, &at, errors);
        if !STATES.contains(&state.as_str().unwrap_or_default()) {
            errors.not_supported(&at, resource, STATES);
        }
    }
    let at = Path::new("status.allocatedResources");
    for (resource, value) in status.and_then(|s| s.get("allocatedResources")).entries() {
        let before = errors.len();
        check_claim_resource(resource, &at, errors);
        if errors.len() == before {
            check_basic(value, &at.key(resource), errors);
        }
    }
}

fn check_basic(value: &Value, at: &Path<'_>, errors: &mut Errors) {
    if quantity::of(value).is_some_and(|q| q.sign() < 0) {
        errors.invalid(at, quantity::canonical(value).unwrap_or_default(), "must be a valid resource quantity");
    }
}

fn check_claim_resource(resource: &str, at: &Path<'_>, errors: &mut Errors) {
    let before = errors.len();
    name::qualified(resource, at, errors);
    let native = !resource.contains('/') || resource.contains("kubernetes.io/");
    if errors.len() == before && native && resource != "storage" {
        errors.not_supported(at, resource, &["storage"]);
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
}
