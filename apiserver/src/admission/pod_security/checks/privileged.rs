//! No container is privileged.

use gantry_machinery::value::Value;

use super::Violation;
use crate::admission::pod_security::pod::{Offenders, Pod};
use crate::admission::pod_security::policy::Standard;

pub(super) fn test(pod: Pod<'_>, _: Standard) -> Option<Violation> {
    let bad = Offenders::among(pod, |c| c.security(&["privileged"]).and_then(Value::as_bool) == Some(true));
    (!bad.is_empty()).then(|| {
        let detail = format!("{} must not set securityContext.privileged=true", bad.containers_named());
        Violation::new("privileged", detail)
    })
}
