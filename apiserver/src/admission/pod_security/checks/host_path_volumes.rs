//! No volume is a path of the host.

use super::Violation;
use crate::admission::pod_security::pod::{Pod, plural, quoted};
use crate::admission::pod_security::policy::Standard;

pub(super) fn test(pod: Pod<'_>, _: Standard) -> Option<Violation> {
    let paths = pod.volumes().iter().filter(|volume| volume.get("hostPath").is_some());
    let names: Vec<&str> = paths.filter_map(|volume| volume.str_at(&["name"])).collect();
    (!names.is_empty()).then(|| {
        let detail = format!("{} {}", plural("volume", "volumes", names.len()), quoted(&names));
        Violation::new("hostPath volumes", detail)
    })
}
