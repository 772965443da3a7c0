//! All capabilities are dropped; only `NET_BIND_SERVICE` may be added again.

use std::collections::BTreeSet;

use super::Violation;
use crate::admission::pod_security::pod::{Offenders, Pod, quoted};
use crate::admission::pod_security::policy::Standard;

pub(super) fn test(pod: Pod<'_>, standard: Standard) -> Option<Violation> {
    if standard.version.has(25) && pod.is_for_windows() {
        return None;
    }
    let keeping = Offenders::among(pod, |c| !c.security_texts(&["capabilities", "drop"]).any(|d| d == "ALL"));
    let mut added = BTreeSet::new();
    let adding = Offenders::among(pod, |c| {
        let others = c.security_texts(&["capabilities", "add"]).filter(|a| *a != "NET_BIND_SERVICE");
        others.map(|other| added.insert(other)).count() > 0
    });
    let mut details = Vec::new();
    if !keeping.is_empty() {
        details.push(format!("{} must set securityContext.capabilities.drop=[\"ALL\"]", keeping.containers_named()));
    }
    if !adding.is_empty() {
        let (who, what) = (adding.containers_named(), quoted(&added));
        details.push(format!("{who} must not include {what} in securityContext.capabilities.add"));
    }
    (!details.is_empty()).then(|| Violation::new("unrestricted capabilities", details.join("; ")))
}
