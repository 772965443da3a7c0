//! Claims with `adminAccess` reach devices that others use: only in namespaces that are labelled for it (KEP-5018). Upstream
//! has this rule in the strategy of claims and of their templates, and answers with 422.

use gantry_machinery::status::{FieldError, FieldPath, Status};
use gantry_machinery::value::Value;
use gantry_store_cache::key::ObjectKey;

use super::{Attributes, Plugin};
use crate::registry::body;

const LABEL: &str = "resource.kubernetes.io/admin-access";

/// See the file's head.
pub(crate) struct AdminAccess;

impl Plugin for AdminAccess {
    fn name(&self) -> &'static str {
        "DRAAdminAccess"
    }

    fn handles(&self, attributes: &Attributes<'_>) -> bool {
        attributes.creates("resourceclaims.resource.k8s.io")
            || attributes.creates("resourceclaimtemplates.resource.k8s.io")
    }

    fn validate(&self, attributes: &Attributes<'_>, new: Option<&Value>, _old: Option<&Value>) -> Result<(), Status> {
        let Some(new) = new else { return Ok(()) };
        let (path, at): (&[&str], _) = match attributes.call.row.plural() {
            "resourceclaims" => (&["spec", "devices", "requests"], FieldPath::new("spec.devices.requests")),
            _ => (&["spec", "spec", "devices", "requests"], FieldPath::new("spec.spec.devices.requests")),
        };
        let asks = |request: &Value| request.bool_at(&["exactly", "adminAccess"]) == Some(true);
        let Some(n) = new.array_at(path).iter().position(asks) else { return Ok(()) };
        let namespace = attributes.registry.store().get(&ObjectKey::new("namespaces", "", attributes.call.namespace));
        let labelled = match namespace {
            Some(namespace) => body::decode(&namespace)?.str_at(&["metadata", "labels", LABEL]) == Some("true"),
            None => false,
        };
        if labelled {
            return Ok(());
        }
        let detail = format!("admin access to devices requires the `{LABEL}: true` label on the containing namespace");
        let error = FieldError::forbidden(at.index(n).child("adminAccess"), detail);
        let name = new.str_at(&["metadata", "name"]).unwrap_or_default();
        Err(attributes.call.row.invalid(name, &[error]))
    }
}
