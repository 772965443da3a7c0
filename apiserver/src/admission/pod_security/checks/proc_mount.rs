//! `/proc` stays masked. From 1.35 on, the baseline leaves it to pods with users of their own.

use std::collections::BTreeSet;

use gantry_machinery::value::Value;

use super::Violation;
use crate::admission::pod_security::pod::{Offenders, Pod, quoted};
use crate::admission::pod_security::policy::{Level, Standard};

pub(super) fn test(pod: Pod<'_>, standard: Standard) -> Option<Violation> {
    if standard.version.has(35) && standard.level == Level::Baseline && pod.has_own_users() {
        return None;
    }
    let mut mounts = BTreeSet::new();
    let bad = Offenders::among(pod, |c| {
        let mount = c.security(&["procMount"]).and_then(Value::as_str);
        mount.filter(|mount| *mount != "Default").is_some_and(|mount| (mounts.insert(mount), true).1)
    });
    (!bad.is_empty()).then(|| {
        let (who, what) = (bad.containers_named(), quoted(&mounts));
        Violation::new("procMount", format!("{who} must not set securityContext.procMount to {what}"))
    })
}
