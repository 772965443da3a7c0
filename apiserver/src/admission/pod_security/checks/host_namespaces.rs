//! The pod shares no namespace of the host.

use gantry_machinery::value::Value;

use super::Violation;
use crate::admission::pod_security::pod::Pod;
use crate::admission::pod_security::policy::Standard;

pub(super) fn test(pod: Pod<'_>, _: Standard) -> Option<Violation> {
    let shared = ["hostNetwork", "hostPID", "hostIPC"]
        .into_iter()
        .filter(|field| pod.spec(&[field]).and_then(Value::as_bool) == Some(true));
    let shared: Vec<String> = shared.map(|field| format!("{field}=true")).collect();
    (!shared.is_empty()).then(|| Violation::new("host namespaces", shared.join(", ")))
}
