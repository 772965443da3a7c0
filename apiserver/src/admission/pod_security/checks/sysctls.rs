//! Only kernel parameters that concern nobody outside of the pod.

use gantry_machinery::value::Value;

use super::Violation;
use crate::admission::pod_security::pod::Pod;
use crate::admission::pod_security::policy::Standard;

/// What is safe, and the release, 1.N, whose standards say so first.
const SAFE: [(&str, u32); 12] = [
    ("kernel.shm_rmid_forced", 0),
    ("net.ipv4.ip_local_port_range", 0),
    ("net.ipv4.tcp_syncookies", 0),
    ("net.ipv4.ping_group_range", 0),
    ("net.ipv4.ip_unprivileged_port_start", 0),
    ("net.ipv4.ip_local_reserved_ports", 27),
    ("net.ipv4.tcp_keepalive_time", 29),
    ("net.ipv4.tcp_fin_timeout", 29),
    ("net.ipv4.tcp_keepalive_intvl", 29),
    ("net.ipv4.tcp_keepalive_probes", 29),
    ("net.ipv4.tcp_rmem", 32),
    ("net.ipv4.tcp_wmem", 32),
];

pub(super) fn test(pod: Pod<'_>, standard: Standard) -> Option<Violation> {
    let safe = |name: &str| SAFE.iter().any(|(known, since)| *known == name && standard.version.has(*since));
    let set = pod.security(&["sysctls"]).and_then(Value::as_array).into_iter().flatten();
    let bad: Vec<&str> = set.filter_map(|sysctl| sysctl.str_at(&["name"])).filter(|name| !safe(name)).collect();
    (!bad.is_empty()).then(|| Violation::new("forbidden sysctls", bad.join(", ")))
}
