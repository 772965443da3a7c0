//! What CSI drivers and their sidecars write into `storage.k8s.io`: drivers, nodes, capacities, attachments, and the classes
//! of attributes that volumes can be given. Kept, checked and shown; attaching and provisioning are loops of their own.

use gantry_machinery::names;
use gantry_machinery::value::Value;

use super::cells::{age_cell, name_cell, or_unset, text_cell};
use super::field::{fill, fill_with};
use super::plain::Plain;
use super::storage;
use super::storage_class::check_parameters;
use crate::registry::strategy::Column;
use crate::registry::validate::labels::check_selector;
use crate::registry::validate::view::Held;
use crate::registry::validate::volume::check_csi_driver;
use crate::registry::validate::{Errors, Path, name, quantity, same};

const METADATA_MAX: usize = 256 * 1024;

/// The kinds.
pub(super) static ALL: [Plain; 5] = [
    Plain::new(
        "storage.k8s.io",
        "csidrivers",
        const {
            &[
                Column::name(),
                Column::string("AttachRequired"),
                Column::string("PodInfoOnMount"),
                Column::string("StorageCapacity"),
                Column::string("TokenRequests"),
                Column::string("RequiresRepublish"),
                Column::string("Modes"),
                Column::string("Age"),
            ]
        },
        |driver, now| {
            let flag = |field: &str| Value::Bool(driver.at(&["spec", field]).truth());
            let join = |list: Vec<&str>| or_unset(&list.join(","));
            let tokens = driver.array_at(&["spec", "tokenRequests"]).iter().map(|t| t.get("audience").text()).collect();
            let modes = driver.array_at(&["spec", "volumeLifecycleModes"]).iter().filter_map(Value::as_str).collect();
            vec![
                name_cell(driver),
                flag("attachRequired"),
                flag("podInfoOnMount"),
                flag("storageCapacity"),
                join(tokens),
                flag("requiresRepublish"),
                join(modes),
                age_cell(driver, now),
            ]
        },
    )
    .with(
        |driver| {
            let spec = driver.force_object().object_entry("spec");
            for (field, default) in [
                ("attachRequired", true),
                ("podInfoOnMount", false),
                ("storageCapacity", false),
                ("requiresRepublish", false),
                ("seLinuxMount", false),
            ] {
                fill_with(spec, field, || Value::Bool(default));
            }
            fill(spec, "fsGroupPolicy", "ReadWriteOnceWithFSType");
            if spec.get("volumeLifecycleModes").items().is_empty() {
                spec.insert("volumeLifecycleModes", vec!["Persistent"]);
            }
        },
        check_driver,
    )
    .changing(|new, old, _, errors| {
        check_driver(new, errors);
        let at = Path::new("spec");
        for (field, path) in [("attachRequired", "attachedRequired"), ("volumeLifecycleModes", "volumeLifecycleModes")]
        {
            errors.immutable(&at.child(path), new.at(&["spec", field]), old.at(&["spec", field]));
        }
    })
    .with_generation()
    .versioned(),
    Plain::new(
        "storage.k8s.io",
        "csinodes",
        const { &[Column::name(), Column::integer("Drivers"), Column::string("Age")] },
        |node, now| {
            let drivers = node.array_at(&["spec", "drivers"]).len();
            vec![name_cell(node), Value::Int(i64::try_from(drivers).unwrap_or(i64::MAX)), age_cell(node, now)]
        },
    )
    .with(|_| {}, check_node)
    .changing(|new, old, _, errors| {
        check_node(new, errors);
        for was in old.array_at(&["spec", "drivers"]) {
            let now = new.array_at(&["spec", "drivers"]).iter().find(|d| d.get("name") == was.get("name"));
            // How many volumes the driver takes may change; who it is may not.
            let kept = |d: &Value| ["nodeID", "topologyKeys"].map(|field| d.get(field).cloned());
            if let Some(driver) = now.filter(|now| kept(now) != kept(was)) {
                errors.invalid(&Path::new("spec.drivers"), driver, "field is immutable");
            }
        }
    })
    .versioned(),
    Plain::new(
        "storage.k8s.io",
        "csistoragecapacities",
        const { &[Column::name(), Column::string("StorageClassName"), Column::string("Capacity")] },
        |capacity, _| {
            vec![name_cell(capacity), text_cell(capacity, &["storageClassName"]), text_cell(capacity, &["capacity"])]
        },
    )
    .with(|_| {}, check_capacity)
    .changing(|new, old, _, errors| {
        check_capacity(new, errors);
        for field in ["nodeTopology", "storageClassName"] {
            errors.immutable(&Path::new(field), new.get(field), old.get(field));
        }
    })
    .versioned(),
    Plain::new(
        "storage.k8s.io",
        "volumeattachments",
        const {
            &[
                Column::name(),
                Column::string("Attacher"),
                Column::string("PV"),
                Column::string("Node"),
                Column::string("Attached"),
                Column::string("Age"),
            ]
        },
        |attachment, now| {
            vec![
                name_cell(attachment),
                text_cell(attachment, &["spec", "attacher"]),
                text_cell(attachment, &["spec", "source", "persistentVolumeName"]),
                text_cell(attachment, &["spec", "nodeName"]),
                Value::Bool(attachment.at(&["status", "attached"]).truth()),
                age_cell(attachment, now),
            ]
        },
    )
    // Upstream's objects say so before anybody has tried.
    .prepared(|attachment| attachment.set(&["status"], gantry_machinery::value!({"attached": false})))
    .with(|_| {}, check_new_attachment)
    .changing(|new, old, _, errors| {
        check_attachment(new, errors);
        errors.immutable(&Path::new("spec"), new.get("spec"), old.get("spec"));
    })
    .versioned(),
    Plain::new(
        "storage.k8s.io",
        "volumeattributesclasses",
        const { &[Column::name(), Column::string("DriverName"), Column::string("Age")] },
        |class, now| vec![name_cell(class), text_cell(class, &["driverName"]), age_cell(class, now)],
    )
    .with(|_| {}, check_attributes_class)
    .changing(|new, old, _, errors| {
        check_attributes_class(new, errors);
        for field in ["driverName", "parameters"] {
            if !same(new.get(field), old.get(field)) {
                errors.forbidden(&Path::new(field), format!("updates to {field} are forbidden."));
            }
        }
    }),
];

fn check_driver(driver: &Value, errors: &mut Errors) {
    let null = Value::Null;
    let (spec, at) = (driver.get("spec").unwrap_or(&null), Path::new("spec"));
    let policies = &["File", "None", "ReadWriteOnceWithFSType"];
    name::one_of(spec.get("fsGroupPolicy").text(), policies, &at.child("fsGroupPolicy"), errors);
    let tokens = at.child("tokenRequests");
    let mut audiences: Vec<&str> = Vec::new();
    for (n, token) in spec.get("tokenRequests").items().iter().enumerate() {
        let at = tokens.index(n);
        let audience = token.get("audience").text();
        if audiences.contains(&audience) {
            errors.duplicate(&at.child("audience"), audience);
            continue;
        }
        audiences.push(audience);
        let at = at.child("expirationSeconds");
        if let Some(seconds) = token.get("expirationSeconds").int() {
            if seconds < 600 {
                errors.invalid(&at, seconds, "may not specify a duration less than 10 minutes");
            } else if seconds > 1 << 32 {
                errors.invalid(&at, seconds, "may not specify a duration larger than 2^32 seconds");
            }
        }
    }
    let modes = at.child("volumeLifecycleModes");
    for mode in spec.get("volumeLifecycleModes").items() {
        name::one_of(mode.as_str().unwrap_or_default(), &["Ephemeral", "Persistent"], &modes, errors);
    }
    if let Some(seconds) = spec.get("nodeAllocatableUpdatePeriodSeconds").int().filter(|s| *s < 10) {
        let at = at.child("nodeAllocatableUpdatePeriodSeconds");
        errors.invalid(&at, seconds, "must be greater than or equal to 10 seconds");
    }
    if spec.get("serviceAccountTokenInSecrets").truth() && audiences.is_empty() {
        let at = at.child("serviceAccountTokenInSecrets");
        errors.invalid(&at, true, "serviceAccountTokenInSecrets cannot be set when tokenRequests is empty");
    }
}

fn check_node(node: &Value, errors: &mut Errors) {
    let at = Path::new("spec.drivers");
    let mut seen: Vec<&str> = Vec::new();
    for (n, driver) in node.array_at(&["spec", "drivers"]).iter().enumerate() {
        let at = at.index(n);
        let name = driver.get("name").text();
        check_csi_driver(name, &at.child("name"), errors);
        match driver.get("nodeID").text() {
            "" => errors.required(&at.child("nodeID"), ""),
            id if id.len() > 192 => errors.invalid(&at.child("nodeID"), id, "must be 192 characters or less"),
            _ => {}
        }
        if let Some(count) = driver.at(&["allocatable", "count"]).int() {
            name::non_negative(count, &at.child("allocatable.count"), errors);
        }
        if seen.contains(&name) {
            errors.duplicate(&at.child("name"), name);
        }
        seen.push(name);
        // What is wrong with a key is said of its driver.
        let keys = driver.get("topologyKeys");
        for (n, key) in keys.items().iter().enumerate() {
            let text = Some(key).text();
            if text.is_empty() {
                errors.required(&at, "");
            }
            if keys.items()[..n].contains(key) {
                errors.duplicate(&at, key);
            }
            name::qualified(text, &at, errors);
        }
    }
}

fn check_capacity(capacity: &Value, errors: &mut Errors) {
    check_selector(capacity.get("nodeTopology").filter(|t| !t.is_null()), &Path::new("nodeTopology"), errors);
    name::subdomain(capacity.get("storageClassName").text(), &Path::new("storageClassName"), errors);
    for field in ["capacity", "maximumVolumeSize"] {
        let Some(value) = capacity.get(field).filter(|v| !v.is_null()) else { continue };
        if quantity::of(value).is_some_and(|q| q.sign() < 0) {
            let shown = quantity::canonical(value).unwrap_or_default();
            errors.invalid(&Path::new(field), shown, "must be greater than or equal to 0");
        }
    }
}

/// A new attachment: what every version asks, and then what `v1` asks beside it.
fn check_new_attachment(attachment: &Value, errors: &mut Errors) {
    check_attachment(attachment, errors);
    let at = Path::new("spec");
    check_csi_driver(attachment.at(&["spec", "attacher"]).text(), &at.child("attacher"), errors);
    if let Some(volume) = attachment.str_at(&["spec", "source", "persistentVolumeName"]) {
        name::subdomain(volume, &at.child("source.persistentVolumeName"), errors);
    }
}

fn check_attachment(attachment: &Value, errors: &mut Errors) {
    let null = Value::Null;
    let (spec, at) = (attachment.get("spec").unwrap_or(&null), Path::new("spec"));
    if spec.get("attacher").text().is_empty() {
        errors.required(&at.child("attacher"), "");
    }
    let source = spec.get("source").unwrap_or(&null);
    let source_at = at.child("source");
    let inline = source.get("inlineVolumeSpec").filter(|s| !s.is_null());
    let volume = source.get("persistentVolumeName").and_then(Value::as_str);
    const ONE: &str = "must specify exactly one of inlineVolumeSpec and persistentVolumeName";
    match (inline, volume) {
        (None, None) => errors.required(&source_at, ONE),
        (Some(_), Some(_)) => errors.forbidden(&source_at, ONE),
        (None, Some("")) => {
            let at = source_at.child("persistentVolumeName");
            errors.required(&at, "must specify non empty persistentVolumeName");
        }
        (None, Some(_)) => {}
        (Some(spec), None) => storage::check_inline_volume(spec, &source_at.child("inlineVolumeSpec"), errors),
    }
    name::subdomain(spec.get("nodeName").text(), &at.child("nodeName"), errors);
    check_attachment_status(attachment, errors);
}

fn check_attachment_status(attachment: &Value, errors: &mut Errors) {
    let at = Path::new("status");
    let size: usize = attachment
        .at(&["status", "attachmentMetadata"])
        .entries()
        .map(|(key, value)| key.len() + Some(value).text().len())
        .sum();
    if size > METADATA_MAX {
        errors.too_long(&at.child("attachmentMetadata"), METADATA_MAX);
    }
    for field in ["attachError", "detachError"] {
        let field_at = at.child(field);
        if attachment.at(&["status", field, "message"]).text().len() > 1024 {
            // The bound that is told is upstream's slip.
            errors.too_long(&field_at.child("message"), METADATA_MAX);
        }
        if let Some(code) = attachment.at(&["status", field, "errorCode"]).int() {
            name::range(code, 0, i64::from(i32::MAX), &field_at.child("errorCode"), errors);
        }
    }
}

fn check_attributes_class(class: &Value, errors: &mut Errors) {
    let at = Path::new("driverName");
    match class.get("driverName").text() {
        "" => errors.required(&at, ""),
        text => {
            for wrong in names::qualified_name(&text.to_lowercase()) {
                errors.invalid(&at, text, wrong);
            }
        }
    }
    let at = Path::new("parameters");
    let parameters = class.get("parameters");
    if parameters.entries().next().is_none() {
        errors.required(&at, "must contain at least one key/value pair");
    }
    check_parameters(parameters, &at, errors);
}
