//! Subresources that need a connection to a node's kubelet, or to what runs behind a service: logs, exec, attach, port
//! forwarding, proxying. Until the server has such connections they are refused with the reason, never with silence.

use gantry_machinery::status::Status;

use super::table::Row;
use super::{Registry, splice};

/// 501, which upstream answers for what a server does not do.
const NOT_IMPLEMENTED: u16 = 501;

impl Registry {
    /// Why nothing can be connected to; `None` for subresources that are no connections.
    pub(super) fn unconnected(&self, row: &Row, namespace: &str, name: &str, subresource: &str) -> Option<Status> {
        let what = match (row.plural(), subresource) {
            ("pods", "log") => "has no logs: its containers are simulated",
            ("pods", "exec" | "attach") => "has no processes to talk to: its containers are simulated",
            ("pods", "portforward") => "has no ports to forward: its containers are simulated",
            ("pods" | "services" | "nodes", "proxy") => {
                "cannot be proxied to: this server has no connection to its nodes"
            }
            _ => return None,
        };
        let Some(object) = self.store.get(&row.key(namespace, name)) else {
            return Some(Status::not_found(row.gvr(), name));
        };
        let message = match row.plural() {
            "pods" if subresource != "proxy" => {
                let body = &object.body;
                let spec = splice::get(body, &splice::root(body), "spec");
                let node = spec.and_then(|spec| splice::get(body, &spec, "nodeName"));
                match node.and_then(|node| splice::text(body, &node)).filter(|node| !node.is_empty()) {
                    None => return Some(Status::bad_request(format!("pod {name} does not have a host assigned"))),
                    Some(node) => format!("pod {name:?} on simulated node {node:?} {what}"),
                }
            }
            _ => format!("{} {name:?} {what}", row.resource.singular),
        };
        Some(Status { code: NOT_IMPLEMENTED, reason: "", message, details: None })
    }
}
