//! No container takes a port of the host.

use std::collections::BTreeSet;

use gantry_machinery::value::Value;

use super::Violation;
use crate::admission::pod_security::pod::{Offenders, Pod, plural, quoted};
use crate::admission::pod_security::policy::Standard;

pub(super) fn test(pod: Pod<'_>, _: Standard) -> Option<Violation> {
    let mut taken = BTreeSet::new();
    let bad = Offenders::among(pod, |c| {
        let ports = c.at(&["ports"]).and_then(Value::as_array).into_iter().flatten();
        let of_host = ports.filter_map(|port| port.i64_at(&["hostPort"])).filter(|port| *port != 0);
        of_host.map(|port| taken.insert(port.to_string())).count() > 0
    });
    (!bad.is_empty()).then(|| {
        let (who, uses) = (&bad.containers, plural("uses", "use", bad.containers.len()));
        let called = plural("hostPort", "hostPorts", taken.len());
        let ports: Vec<String> = taken.into_iter().collect();
        let containers = plural("container", "containers", who.len());
        let detail = format!("{containers} {} {uses} {called} {}", quoted(who), ports.join(", "));
        Violation::new("hostPort", detail)
    })
}
