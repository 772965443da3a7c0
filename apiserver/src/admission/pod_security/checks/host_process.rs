//! Windows containers are no processes of the host.

use gantry_machinery::value::Value;

use super::Violation;
use crate::admission::pod_security::pod::{Offenders, Pod};
use crate::admission::pod_security::policy::Standard;

pub(super) fn test(pod: Pod<'_>, _: Standard) -> Option<Violation> {
    let set = |value: Option<&Value>| value.and_then(Value::as_bool) == Some(true);
    let field = ["windowsOptions", "hostProcess"];
    let mut bad = Offenders::among(pod, |c| set(c.security(&field)));
    bad.pod = set(pod.security(&field));
    (!bad.is_empty()).then(|| {
        let detail = format!("{} must not set securityContext.windowsOptions.hostProcess=true", bad.named());
        Violation::new("hostProcess", detail)
    })
}
