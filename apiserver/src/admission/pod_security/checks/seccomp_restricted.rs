//! Seccomp is turned on, for the pod or for each container.

use gantry_machinery::value::Value;

use super::Violation;
use super::seccomp_baseline::{confines, unconfined};
use crate::admission::pod_security::pod::{Offenders, Pod};
use crate::admission::pod_security::policy::Standard;

pub(super) fn test(pod: Pod<'_>, standard: Standard) -> Option<Violation> {
    if standard.version.has(25) && pod.is_for_windows() {
        return None;
    }
    let of_pod = pod.security(&["seccompProfile", "type"]).and_then(Value::as_str).is_some_and(confines);
    unconfined(pod).or_else(|| {
        let silent = Offenders::among(pod, |c| !of_pod && c.security(&["seccompProfile"]).is_none());
        (!silent.is_empty()).then(|| {
            let detail = format!(
                "pod or {} must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\"",
                silent.containers_named()
            );
            Violation::new("seccompProfile", detail)
        })
    })
}
