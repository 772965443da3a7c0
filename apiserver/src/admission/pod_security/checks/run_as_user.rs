//! Nobody asks to be root by number. From 1.35 on, pods with users of their own may.

use gantry_machinery::value::Value;

use super::Violation;
use crate::admission::pod_security::pod::{Offenders, Pod};
use crate::admission::pod_security::policy::Standard;

pub(super) fn test(pod: Pod<'_>, standard: Standard) -> Option<Violation> {
    if standard.version.has(35) && pod.has_own_users() {
        return None;
    }
    let root = |value: Option<&Value>| value.and_then(Value::as_i64) == Some(0);
    let mut bad = Offenders::among(pod, |c| root(c.security(&["runAsUser"])));
    bad.pod = root(pod.security(&["runAsUser"]));
    (!bad.is_empty()).then(|| Violation::new("runAsUser=0", format!("{} must not set runAsUser=0", bad.named())))
}
