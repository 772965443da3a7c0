//! Volumes come from the API or from claims, not from the host or a network by themselves.

use std::collections::BTreeSet;

use gantry_machinery::value::Value;

use super::Violation;
use crate::admission::pod_security::pod::{Pod, plural, quoted};
use crate::admission::pod_security::policy::Standard;

const ALLOWED: [&str; 9] = [
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "image",
    "persistentVolumeClaim",
    "projected",
    "secret",
];

pub(super) fn test(pod: Pod<'_>, _: Standard) -> Option<Violation> {
    let mut names = Vec::new();
    let mut kinds = BTreeSet::new();
    for volume in pod.volumes() {
        let fields = volume.as_object().into_iter().flat_map(|fields| fields.keys());
        let kind = fields.map(|field| field.as_str()).find(|field| *field != "name").unwrap_or("unknown");
        if !ALLOWED.contains(&kind) {
            names.push(volume.get("name").and_then(Value::as_str).unwrap_or_default());
            kinds.insert(kind);
        }
    }
    (!names.is_empty()).then(|| {
        let who = format!("{} {}", plural("volume", "volumes", names.len()), quoted(&names));
        let uses = plural("uses", "use", names.len());
        let what = plural("restricted volume type", "restricted volume types", kinds.len());
        Violation::new("restricted volume types", format!("{who} {uses} {what} {}", quoted(&kinds)))
    })
}
