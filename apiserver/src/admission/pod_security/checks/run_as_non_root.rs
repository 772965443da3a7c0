//! No container may start as root: `runAsNonRoot` is true, of the pod or of each container. From 1.35 on, pods with users
//! of their own may.

use gantry_machinery::value::Value;

use super::Violation;
use crate::admission::pod_security::pod::{Offenders, Pod};
use crate::admission::pod_security::policy::Standard;

const FIELD: [&str; 1] = ["runAsNonRoot"];

pub(super) fn test(pod: Pod<'_>, standard: Standard) -> Option<Violation> {
    if standard.version.has(35) && pod.has_own_users() {
        return None;
    }
    let said = |value: Option<&Value>| value.and_then(Value::as_bool);
    let of_pod = said(pod.security(&FIELD));
    let mut bad = Offenders::among(pod, |c| said(c.security(&FIELD)) == Some(false));
    bad.pod = of_pod == Some(false);
    if !bad.is_empty() {
        let detail = format!("{} must not set securityContext.runAsNonRoot=false", bad.named());
        return Some(Violation::new("runAsNonRoot != true", detail));
    }
    let silent = Offenders::among(pod, |c| of_pod != Some(true) && said(c.security(&FIELD)).is_none());
    (!silent.is_empty()).then(|| {
        let detail = format!("pod or {} must set securityContext.runAsNonRoot=true", silent.containers_named());
        Violation::new("runAsNonRoot != true", detail)
    })
}
