//! RBAC escalation: who writes a role or a binding must already hold every right it gives, or the verb `escalate` (on
//! roles) or `bind` (on the role bound) ("Using RBAC authorization", "Privilege escalation prevention").
//!
//! Upstream does this in its storage for the four kinds; it is the last check before the write here as there.

use gantry_machinery::codec::json;
use gantry_machinery::status::Status;
use gantry_machinery::value::Value;
use gantry_store_cache::key::ObjectKey;

use super::{Attributes, Operation, Plugin};
use crate::gate::authz::{self, Authorizer, MASTERS};
use crate::gate::escalation::{lacking, refusal};
use crate::gate::rbac::{Rule, rules_of};

const GROUP: &str = "rbac.authorization.k8s.io";

/// See the file's head.
pub(crate) struct RbacEscalation;

impl Plugin for RbacEscalation {
    fn name(&self) -> &'static str {
        "RBACEscalation"
    }

    fn handles(&self, attributes: &Attributes<'_>) -> bool {
        attributes.operation != Operation::Delete
            && attributes.call.row.group() == GROUP
            && !attributes.call.request.user.is_in(MASTERS)
    }

    fn validate(&self, attributes: &Attributes<'_>, new: Option<&Value>, old: Option<&Value>) -> Result<(), Status> {
        let (Some(new), Some(authorizer)) = (new, attributes.registry.authorizer()) else { return Ok(()) };
        if attributes.call.row.plural().ends_with("bindings") {
            binding(attributes, authorizer, new, old)
        } else {
            role(attributes, authorizer, new, old)
        }
    }
}

fn role(attributes: &Attributes<'_>, authorizer: &Authorizer, new: &Value, old: Option<&Value>) -> Result<(), Status> {
    let unchanged = |field| old.is_some_and(|old| old.get(field) == new.get(field));
    if unchanged("rules") && unchanged("aggregationRule") {
        return Ok(());
    }
    let name = new.str_at(&["metadata", "name"]).unwrap_or_default();
    if may(attributes, authorizer, "escalate", attributes.call.row.plural(), attributes.call.namespace, name) {
        return Ok(());
    }
    let mut wanted = rules(new);
    if new.get("aggregationRule").is_some_and(|rule| !rule.is_null()) && !unchanged("aggregationRule") {
        // An aggregate may come to hold anything.
        let all = || vec!["*".into()];
        wanted.push(Rule { verbs: all(), api_groups: all(), resources: all(), ..Rule::default() });
        wanted.push(Rule { verbs: all(), non_resource_urls: all(), ..Rule::default() });
    }
    held(attributes, authorizer, new, &wanted)
}

fn binding(
    attributes: &Attributes<'_>,
    authorizer: &Authorizer,
    new: &Value,
    old: Option<&Value>,
) -> Result<(), Status> {
    let unchanged = |field| old.is_some_and(|old| old.get(field) == new.get(field));
    if unchanged("subjects") && unchanged("roleRef") {
        return Ok(());
    }
    let name = new.str_at(&["roleRef", "name"]).unwrap_or_default();
    let (resource, namespace) = match new.str_at(&["roleRef", "kind"]) {
        Some("Role") => ("roles", attributes.call.namespace),
        _ => ("clusterroles", ""),
    };
    if may(attributes, authorizer, "bind", resource, attributes.call.namespace, name) {
        return Ok(());
    }
    let key = ObjectKey::new(&format!("{resource}.{GROUP}"), namespace, name);
    let Some(role) = attributes.registry.store().get(&key) else {
        // What it will allow once it exists cannot be checked now.
        let why = format!("{resource}.{GROUP} {name:?} not found");
        return Err(attributes.forbidden(new, why));
    };
    held(attributes, authorizer, new, &rules_of(&role.body))
}

fn may(
    attributes: &Attributes<'_>,
    authorizer: &Authorizer,
    verb: &str,
    resource: &str,
    namespace: &str,
    name: &str,
) -> bool {
    let user = &attributes.call.request.user;
    let wanted =
        authz::Attributes { version: "v1", namespace, ..authz::Attributes::on(user, verb, GROUP, resource, name) };
    authorizer.decide(&wanted).allowed()
}

fn held(attributes: &Attributes<'_>, authorizer: &Authorizer, new: &Value, wanted: &[Rule]) -> Result<(), Status> {
    let user = &attributes.call.request.user;
    let mut own = Vec::new();
    authorizer.rbac().rules_for(user, attributes.call.namespace, |rule| {
        own.push(rule.clone());
        true
    });
    let lacking = lacking(&own, wanted);
    if lacking.is_empty() { Ok(()) } else { Err(attributes.forbidden(new, refusal(user, &lacking))) }
}

fn rules(role: &Value) -> Vec<Rule> {
    rules_of(&json::encode(role))
}
