//! PersistentVolumeClaimResize: a claim grows only once it is bound, and only where its class lets volumes grow.

use gantry_machinery::status::Status;
use gantry_machinery::value::Value;
use gantry_store_cache::key::ObjectKey;

use super::{Attributes, Operation, Plugin};
use crate::registry::body;
use crate::registry::validate::quantity;

/// See the file's head.
pub(crate) struct ClaimResize;

impl Plugin for ClaimResize {
    fn name(&self) -> &'static str {
        "PersistentVolumeClaimResize"
    }

    fn handles(&self, attributes: &Attributes<'_>) -> bool {
        attributes.operation == Operation::Update && attributes.writes("persistentvolumeclaims")
    }

    fn validate(&self, attributes: &Attributes<'_>, new: Option<&Value>, old: Option<&Value>) -> Result<(), Status> {
        let (Some(new), Some(old)) = (new, old) else { return Ok(()) };
        let size = |claim: &Value| claim.at(&["spec", "resources", "requests", "storage"]).and_then(quantity::of);
        if size(new) <= size(old) {
            return Ok(());
        }
        if old.str_at(&["status", "phase"]) != Some("Bound") {
            return Err(attributes.forbidden(new, "Only bound persistent volume claims can be expanded"));
        }
        let class = new.str_at(&["metadata", "annotations", "volume.beta.kubernetes.io/storage-class"]);
        let class = class.or_else(|| new.str_at(&["spec", "storageClassName"])).unwrap_or_default();
        let class = attributes.registry.store().get(&ObjectKey::new("storageclasses.storage.k8s.io", "", class));
        let grows = match class {
            Some(class) => body::decode(&class)?.bool_at(&["allowVolumeExpansion"]) == Some(true),
            None => false,
        };
        if grows {
            return Ok(());
        }
        let why = "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must \
                   support resize";
        Err(attributes.forbidden(new, why))
    }
}
