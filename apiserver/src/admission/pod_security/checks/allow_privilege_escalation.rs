//! No process gains privileges that its parent has not: `allowPrivilegeEscalation` must be `false`.

use gantry_machinery::value::Value;

use super::Violation;
use crate::admission::pod_security::pod::{Offenders, Pod};
use crate::admission::pod_security::policy::Standard;

pub(super) fn test(pod: Pod<'_>, standard: Standard) -> Option<Violation> {
    if standard.version.has(25) && pod.is_for_windows() {
        return None;
    }
    let allowed = |value: Option<&Value>| value.and_then(Value::as_bool) != Some(false);
    let bad = Offenders::among(pod, |c| allowed(c.security(&["allowPrivilegeEscalation"])));
    (!bad.is_empty()).then(|| {
        let detail = format!("{} must set securityContext.allowPrivilegeEscalation=false", bad.containers_named());
        Violation::new("allowPrivilegeEscalation != false", detail)
    })
}
