//! StorageObjectInUseProtection: volumes and claims begin with the finalizer by which the controllers of that name keep
//! them while they are used (Kubernetes, "Storage Object in Use Protection").

use gantry_machinery::status::Status;
use gantry_machinery::value::Value;

use super::{Attributes, Plugin};

/// See the file's head.
pub(crate) struct StorageObjectInUseProtection;

/// What is protected, by which finalizer.
const FINALIZERS: [(&str, &str); 2] =
    [("persistentvolumeclaims", "kubernetes.io/pvc-protection"), ("persistentvolumes", "kubernetes.io/pv-protection")];

impl Plugin for StorageObjectInUseProtection {
    fn name(&self) -> &'static str {
        "StorageObjectInUseProtection"
    }

    fn handles(&self, attributes: &Attributes<'_>) -> bool {
        FINALIZERS.iter().any(|(collection, _)| attributes.creates(collection))
    }

    fn mutate(&self, attributes: &Attributes<'_>, new: &mut Value, _old: Option<&Value>) -> Result<(), Status> {
        let Some((_, finalizer)) = FINALIZERS.iter().find(|(collection, _)| attributes.creates(collection)) else {
            return Ok(());
        };
        match new.force_object().object_entry("metadata").entry("finalizers") {
            Value::Array(finalizers) if finalizers.iter().any(|f| f.as_str() == Some(finalizer)) => {}
            Value::Array(finalizers) => finalizers.push(Value::from(*finalizer)),
            none => *none = Value::Array(vec![Value::from(*finalizer)]),
        }
        Ok(())
    }
}
