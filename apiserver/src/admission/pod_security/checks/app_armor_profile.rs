//! AppArmor is neither turned off nor given an unknown profile, by field or by the annotations that came before it.

use std::collections::BTreeSet;

use gantry_machinery::value::Value;

use super::Violation;
use crate::admission::pod_security::pod::{Offenders, Pod, plural, quoted};
use crate::admission::pod_security::policy::Standard;

const ANNOTATION: &str = "container.apparmor.security.beta.kubernetes.io/";

pub(super) fn test(pod: Pod<'_>, _: Standard) -> Option<Violation> {
    let mut values = BTreeSet::new();
    let mut bad = |kind: Option<&Value>| {
        let kind = kind.and_then(Value::as_str).unwrap_or("RuntimeDefault");
        let allowed = matches!(kind, "RuntimeDefault" | "Localhost");
        !allowed && (values.insert(kind.to_owned()), true).1
    };
    let of_pod = bad(pod.security(&["appArmorProfile", "type"]));
    let mut offenders = Offenders::among(pod, |c| bad(c.security(&["appArmorProfile", "type"])));
    offenders.pod = of_pod;

    let mut annotations: Vec<String> = pod
        .annotations()
        .filter(|(key, value)| key.starts_with(ANNOTATION) && !allowed_annotation(value))
        .map(|(key, value)| format!("{key}={value:?}"))
        .collect();
    annotations.sort();
    let mut setters: Vec<String> = Vec::new();
    if !offenders.is_empty() {
        setters.push(offenders.named());
    }
    if !annotations.is_empty() {
        setters.push(plural("annotation", "annotations", annotations.len()).to_owned());
    }
    let values: Vec<String> = values.into_iter().chain(annotations).collect();
    (!setters.is_empty()).then(|| {
        let reason = plural("forbidden AppArmor profile", "forbidden AppArmor profiles", values.len());
        let detail = format!("{} must not set AppArmor profile type to {}", setters.join(" and "), quoted(&values));
        Violation::new(reason, detail)
    })
}

fn allowed_annotation(value: &str) -> bool {
    value.is_empty() || value == "runtime/default" || value.starts_with("localhost/")
}
