//! Authorization: may this user do this?
//!
//! Asked for every request once its user is known, for impersonation, and by the review APIs. Members of
//! `system:masters` may do everything; then the configured modes are asked in order, and the first that has an opinion
//! decides; if none has, the answer is no.

use std::fmt;
use std::sync::Arc;

use gantry_machinery::resource::GroupVersionResource;
use gantry_machinery::status::Status;

use super::rbac::Rbac;
use crate::http::route::RequestInfo;
use crate::registry::request::UserInfo;

/// Whose members may do everything.
pub const MASTERS: &str = "system:masters";

/// What somebody wants to do.
#[derive(Clone, Copy, Debug)]
pub struct Attributes<'a> {
    /// Who.
    pub user: &'a UserInfo,
    /// The verb.
    pub verb: &'a str,
    /// Whether a resource is meant; otherwise only `path` counts.
    pub resource_request: bool,
    /// The group.
    pub group: &'a str,
    /// The version.
    pub version: &'a str,
    /// The resource.
    pub resource: &'a str,
    /// The subresource.
    pub subresource: &'a str,
    /// The namespace.
    pub namespace: &'a str,
    /// The object.
    pub name: &'a str,
    /// The path.
    pub path: &'a str,
}

impl<'a> Attributes<'a> {
    /// What a request wants.
    #[must_use]
    pub fn of(user: &'a UserInfo, info: &'a RequestInfo) -> Self {
        Self {
            user,
            verb: info.verb,
            resource_request: info.resource_request,
            group: &info.group,
            version: &info.version,
            resource: &info.resource,
            subresource: &info.subresource,
            namespace: &info.namespace,
            name: &info.name,
            path: &info.path,
        }
    }

    /// `verb` on a resource of a group, cluster-wide.
    #[must_use]
    pub fn on(user: &'a UserInfo, verb: &'a str, group: &'a str, resource: &'a str, name: &'a str) -> Self {
        Self {
            user,
            verb,
            resource_request: true,
            group,
            version: "",
            resource,
            subresource: "",
            namespace: "",
            name,
            path: "",
        }
    }
}

/// An authorizer's opinion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Yes, for this reason.
    Allow(String),
    /// No, whatever others say.
    Deny(String),
    /// Ask somebody else.
    NoOpinion(String),
}

impl Decision {
    /// Whether it is yes.
    #[must_use]
    pub fn allowed(&self) -> bool {
        matches!(self, Self::Allow(_))
    }

    /// Why.
    #[must_use]
    pub fn reason(&self) -> &str {
        match self {
            Self::Allow(reason) | Self::Deny(reason) | Self::NoOpinion(reason) => reason,
        }
    }
}

/// One of `--authorization-mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Yes to everything.
    AlwaysAllow,
    /// No to everything.
    AlwaysDeny,
    /// What a kubelet needs for its own node.
    Node,
    /// Roles and bindings.
    Rbac,
}

/// The chain.
pub struct Authorizer {
    modes: Vec<Mode>,
    rbac: Arc<Rbac>,
}

impl Authorizer {
    /// Asks `modes` in order.
    #[must_use]
    pub fn new(modes: Vec<Mode>, rbac: Arc<Rbac>) -> Self {
        Self { modes, rbac }
    }

    /// The roles and bindings behind it.
    #[must_use]
    pub fn rbac(&self) -> &Rbac {
        &self.rbac
    }

    /// Whether it is allowed, and why.
    #[must_use]
    pub fn decide(&self, wanted: &Attributes<'_>) -> Decision {
        if wanted.user.is_in(MASTERS) {
            return Decision::Allow(String::new());
        }
        let mut reasons: Vec<String> = Vec::new();
        for mode in &self.modes {
            let opinion = match mode {
                Mode::AlwaysAllow => Decision::Allow(String::new()),
                Mode::AlwaysDeny => Decision::NoOpinion("Everything is forbidden.".to_owned()),
                Mode::Node => node(wanted),
                Mode::Rbac => self.rbac.decide(wanted),
            };
            match opinion {
                Decision::NoOpinion(reason) if reason.is_empty() => {}
                Decision::NoOpinion(reason) => reasons.push(reason),
                decided => return decided,
            }
        }
        Decision::NoOpinion(reasons.join("\n"))
    }

    /// [`Self::decide`] as a request's check.
    ///
    /// # Errors
    /// 403 in upstream's words.
    pub fn check(&self, wanted: &Attributes<'_>) -> Result<(), Status> {
        match self.decide(wanted) {
            Decision::Allow(_) => Ok(()),
            decision => Err(refusal(wanted, decision.reason())),
        }
    }
}

/// The 403 for what was wanted.
fn refusal(wanted: &Attributes<'_>, reason: &str) -> Status {
    let mut why = Sentence(wanted).to_string();
    if !reason.is_empty() {
        why.push_str(": ");
        why.push_str(reason);
    }
    if !wanted.resource_request {
        return Status::forbidden_path(why);
    }
    let resource = GroupVersionResource {
        group: wanted.group.to_owned().into(),
        version: wanted.version.to_owned().into(),
        resource: wanted.resource.to_owned().into(),
    };
    Status::forbidden(&resource, wanted.name, why)
}

/// `User "x" cannot list resource "pods" in API group "" in the namespace "default"`.
struct Sentence<'a>(&'a Attributes<'a>);

impl fmt::Display for Sentence<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Attributes { user, verb, resource, subresource, group, namespace, path, .. } = self.0;
        write!(f, "User {:?} cannot {verb} ", user.name)?;
        if !self.0.resource_request {
            return write!(f, "path {path:?}");
        }
        if subresource.is_empty() {
            write!(f, "resource {resource:?}")?;
        } else {
            write!(f, "resource \"{resource}/{subresource}\"")?;
        }
        write!(f, " in API group {group:?} ")?;
        if namespace.is_empty() {
            f.write_str("at the cluster scope")
        } else {
            write!(f, "in the namespace {namespace:?}")
        }
    }
}

/// What a kubelet may do as its node. Narrower than upstream's graph of what the node's pods refer to where that
/// matters most (a node writes only its own Node, Lease and CSINode), wider in reads: it may read any Secret and
/// ConfigMap by name, but never list them.
fn node(wanted: &Attributes<'_>) -> Decision {
    let none = Decision::NoOpinion(String::new());
    let Some(name) = wanted.user.name.strip_prefix("system:node:") else { return none };
    if !wanted.user.is_in("system:nodes") || !wanted.resource_request {
        return none;
    }
    let reads = matches!(wanted.verb, "get" | "list" | "watch");
    let own = wanted.name == name || (wanted.verb == "create" && wanted.name.is_empty());
    let allowed = match (wanted.group, wanted.resource, wanted.subresource) {
        ("", "nodes", "" | "status") => {
            reads || (own && matches!(wanted.verb, "create" | "update" | "patch" | "delete"))
        }
        ("", "pods", "") => reads || matches!(wanted.verb, "create" | "delete"),
        ("", "pods", "status") => matches!(wanted.verb, "get" | "patch" | "update"),
        ("", "pods", "eviction") => wanted.verb == "create",
        ("", "secrets" | "configmaps", "") => reads && !wanted.name.is_empty(),
        ("", "services" | "persistentvolumes" | "persistentvolumeclaims" | "serviceaccounts", "") => reads,
        ("", "persistentvolumeclaims", "status") => matches!(wanted.verb, "get" | "patch" | "update"),
        ("", "serviceaccounts", "token") => wanted.verb == "create",
        ("" | "events.k8s.io", "events", "") => matches!(wanted.verb, "create" | "patch" | "update"),
        ("coordination.k8s.io", "leases", "") => {
            wanted.namespace == "kube-node-lease"
                && own
                && matches!(wanted.verb, "get" | "create" | "update" | "patch" | "delete")
        }
        ("storage.k8s.io", "csinodes", "") => {
            own && matches!(wanted.verb, "get" | "create" | "update" | "patch" | "delete")
        }
        ("storage.k8s.io", "csidrivers" | "volumeattachments", "") => reads,
        ("node.k8s.io", "runtimeclasses", "") => reads,
        ("certificates.k8s.io", "certificatesigningrequests", "") => reads || wanted.verb == "create",
        ("authentication.k8s.io", "tokenreviews", "") => wanted.verb == "create",
        ("authorization.k8s.io", "subjectaccessreviews" | "localsubjectaccessreviews", "") => wanted.verb == "create",
        _ => false,
    };
    if allowed { Decision::Allow(String::new()) } else { none }
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;
    use crate::http::route::route;

    fn message(path: &str) -> String {
        let user = UserInfo::new("jane", &["system:authenticated"]);
        let info = route(&Method::GET, path, "");
        let authorizer = Authorizer::new(vec![Mode::Rbac], Arc::default());
        authorizer.check(&Attributes::of(&user, &info)).unwrap_err().message
    }

    #[test]
    fn refusals_are_in_upstreams_words() {
        assert_eq!(
            message("/api/v1/namespaces/default/pods"),
            r#"pods is forbidden: User "jane" cannot list resource "pods" in API group "" in the namespace "default""#
        );
        assert_eq!(
            message("/apis/apps/v1/namespaces/a/deployments/d/scale"),
            r#"deployments.apps "d" is forbidden: User "jane" cannot get resource "deployments/scale" in API group "apps" in the namespace "a""#
        );
        assert_eq!(
            message("/api/v1/nodes"),
            r#"nodes is forbidden: User "jane" cannot list resource "nodes" in API group "" at the cluster scope"#
        );
        assert_eq!(message("/metrics"), r#"forbidden: User "jane" cannot get path "/metrics""#);
    }

    #[test]
    fn masters_pass_and_nodes_write_only_their_own() {
        let authorizer = Authorizer::new(vec![Mode::Node, Mode::Rbac], Arc::default());
        let master = UserInfo::new("root", &[MASTERS]);
        assert!(authorizer.decide(&Attributes::on(&master, "delete", "", "nodes", "n")).allowed());
        let kubelet = UserInfo::new("system:node:n1", &["system:nodes"]);
        let may = |verb, name| authorizer.decide(&Attributes::on(&kubelet, verb, "", "nodes", name)).allowed();
        assert!(may("patch", "n1") && may("list", "") && may("create", ""));
        assert!(!may("patch", "n2"));
        let secrets = |verb, name| authorizer.decide(&Attributes::on(&kubelet, verb, "", "secrets", name)).allowed();
        assert!(secrets("get", "s") && !secrets("list", ""));
        let impostor = UserInfo::new("system:node:n1", &["dev"]);
        assert!(!authorizer.decide(&Attributes::on(&impostor, "get", "", "nodes", "n1")).allowed());
    }
}
