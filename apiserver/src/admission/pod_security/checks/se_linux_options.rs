//! SELinux is left as it is, but for the types made for containers.

use std::collections::BTreeSet;

use gantry_machinery::value::Value;

use super::Violation;
use crate::admission::pod_security::pod::{Offenders, Pod, plural, quoted};
use crate::admission::pod_security::policy::Standard;

pub(super) fn test(pod: Pod<'_>, standard: Standard) -> Option<Violation> {
    let (mut types, mut user, mut role) = (BTreeSet::new(), false, false);
    let mut bad = |options: Option<&Value>| {
        let Some(options) = options else { return false };
        let text = |field: &str| options.str_at(&[field]).unwrap_or_default();
        let kind = text("type");
        let allowed = matches!(kind, "" | "container_t" | "container_init_t" | "container_kvm_t")
            || (kind == "container_engine_t" && standard.version.has(31));
        if !allowed {
            types.insert(kind.to_owned());
        }
        let (sets_user, sets_role) = (!text("user").is_empty(), !text("role").is_empty());
        user |= sets_user;
        role |= sets_role;
        !allowed || sets_user || sets_role
    };
    let of_pod = bad(pod.security(&["seLinuxOptions"]));
    let mut offenders = Offenders::among(pod, |c| bad(c.security(&["seLinuxOptions"])));
    offenders.pod = of_pod;
    (!offenders.is_empty()).then(|| {
        let mut what = Vec::new();
        if !types.is_empty() {
            what.push(format!("{} {}", plural("type", "types", types.len()), quoted(&types)));
        }
        let fixed = [(user, "user may not be set"), (role, "role may not be set")];
        what.extend(fixed.into_iter().filter(|(set, _)| *set).map(|(_, text)| text.to_owned()));
        let (who, what) = (offenders.named(), what.join("; "));
        Violation::new("seLinuxOptions", format!("{who} set forbidden securityContext.seLinuxOptions: {what}"))
    })
}
