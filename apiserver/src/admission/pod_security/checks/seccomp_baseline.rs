//! Seccomp is not turned off: by field since 1.19, before that by annotation.

use std::collections::BTreeSet;

use gantry_machinery::value::Value;

use super::Violation;
use crate::admission::pod_security::pod::{Offenders, Pod, plural, quoted};
use crate::admission::pod_security::policy::Standard;

const FIELD: [&str; 2] = ["seccompProfile", "type"];
const OF_POD: &str = "seccomp.security.alpha.kubernetes.io/pod";
const OF_CONTAINER: &str = "container.seccomp.security.alpha.kubernetes.io/";

pub(super) fn test(pod: Pod<'_>, standard: Standard) -> Option<Violation> {
    if standard.version.has(19) { unconfined(pod) } else { unconfined_by_annotation(pod) }
}

/// Whoever sets a profile other than the runtime's or a local one.
pub(super) fn unconfined(pod: Pod<'_>) -> Option<Violation> {
    let mut kinds = BTreeSet::new();
    let mut bad = |kind: Option<&Value>| {
        let kind = kind.and_then(Value::as_str);
        kind.filter(|kind| !confines(kind)).is_some_and(|kind| (kinds.insert(kind.to_owned()), true).1)
    };
    let of_pod = bad(pod.security(&FIELD));
    let mut offenders = Offenders::among(pod, |c| bad(c.security(&FIELD)));
    offenders.pod = of_pod;
    (!offenders.is_empty()).then(|| {
        let (who, what) = (offenders.named(), quoted(&kinds));
        Violation::new("seccompProfile", format!("{who} must not set securityContext.seccompProfile.type to {what}"))
    })
}

/// Whether a profile of this type keeps the container in bounds.
pub(super) fn confines(kind: &str) -> bool {
    matches!(kind, "RuntimeDefault" | "Localhost")
}

fn unconfined_by_annotation(pod: Pod<'_>) -> Option<Violation> {
    let concerns = |key: &str| {
        key == OF_POD || key.strip_prefix(OF_CONTAINER).is_some_and(|name| pod.containers().any(|c| c.name() == name))
    };
    let confines =
        |value: &str| matches!(value, "runtime/default" | "docker/default") || value.starts_with("localhost/");
    let bad = pod.annotations().filter(|(key, value)| concerns(key) && !confines(value));
    let bad: BTreeSet<String> = bad.map(|(key, value)| format!("{key}={value:?}")).collect();
    (!bad.is_empty()).then(|| {
        let called = plural("annotation", "annotations", bad.len());
        let bad: Vec<String> = bad.into_iter().collect();
        Violation::new("seccompProfile", format!("forbidden {called} {}", bad.join(", ")))
    })
}
