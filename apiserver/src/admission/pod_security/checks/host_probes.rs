//! Probes and hooks ask the pod itself, no other host.

use std::collections::BTreeSet;

use gantry_machinery::value::Value;

use super::Violation;
use crate::admission::pod_security::pod::{Pod, plural, quoted};
use crate::admission::pod_security::policy::Standard;

const ASKING: [&[&str]; 5] = [
    &["livenessProbe"],
    &["readinessProbe"],
    &["startupProbe"],
    &["lifecycle", "postStart"],
    &["lifecycle", "preStop"],
];

pub(super) fn test(pod: Pod<'_>, _: Standard) -> Option<Violation> {
    let mut hosts = BTreeSet::new();
    let mut names = BTreeSet::new();
    for container in pod.containers() {
        let handlers = ASKING.iter().filter_map(|path| container.at(path));
        let asked = handlers.flat_map(|h| ["httpGet", "tcpSocket"].map(|how| h.at(&[how, "host"])));
        for host in asked.flatten().filter_map(Value::as_str).filter(|host| !host.is_empty()) {
            hosts.insert(host);
            names.insert(container.name());
        }
    }
    (!names.is_empty()).then(|| {
        let who = format!("{} {}", plural("container", "containers", names.len()), quoted(&names));
        let uses = plural("uses", "use", names.len());
        let what = plural("probe or lifecycle host", "probe or lifecycle hosts", hosts.len());
        Violation::new("probe or lifecycle host", format!("{who} {uses} {what} {}", quoted(&hosts)))
    })
}
