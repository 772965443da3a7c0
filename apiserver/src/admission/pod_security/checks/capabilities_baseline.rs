//! No capabilities beyond those that runtimes give by default.

use std::collections::BTreeSet;

use super::Violation;
use crate::admission::pod_security::pod::{Offenders, Pod, quoted};
use crate::admission::pod_security::policy::Standard;

const DEFAULT: [&str; 13] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

pub(super) fn test(pod: Pod<'_>, _: Standard) -> Option<Violation> {
    let mut added = BTreeSet::new();
    let bad = Offenders::among(pod, |c| {
        let others = c.security_texts(&["capabilities", "add"]).filter(|a| !DEFAULT.contains(a));
        others.map(|other| added.insert(other)).count() > 0
    });
    (!bad.is_empty()).then(|| {
        let (who, what) = (bad.containers_named(), quoted(&added));
        let detail = format!("{who} must not include {what} in securityContext.capabilities.add");
        Violation::new("non-default capabilities", detail)
    })
}
