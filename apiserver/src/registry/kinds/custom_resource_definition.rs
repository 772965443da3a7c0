//! CustomResourceDefinition: how a kind is added to the API while it runs. The rules are in
//! [`definition`](crate::registry::validate::definition); what becomes of a definition is in [`custom`](crate::registry::custom).

use gantry_machinery::status::FieldError;
use gantry_machinery::value;
use gantry_machinery::value::Value;

use super::row;
use crate::registry::custom::{FINALIZER, conditions};
use crate::registry::metadata;
use crate::registry::strategy::Strategy;
use crate::registry::validate::{Errors, definition, name};

/// CustomResourceDefinitions of `apiextensions.k8s.io`.
#[derive(Debug)]
pub struct CustomResourceDefinitions;

/// The version that is stored.
fn storage_version(definition: &Value) -> Option<&str> {
    let versions = definition.array_at(&["spec", "versions"]).iter();
    versions.filter(|v| v.bool_at(&["storage"]) == Some(true)).find_map(|v| v.str_at(&["name"]))
}

/// Notes that objects may now be stored in the storage version.
fn note_storage_version(definition: &mut Value) {
    let Some(version) = storage_version(definition).map(ToOwned::to_owned) else { return };
    let stored = definition.force_object().object_entry("status").entry("storedVersions");
    if !matches!(stored, Value::Array(_)) {
        *stored = Value::Array(Vec::new());
    }
    if let Some(stored) = stored.as_array_mut()
        && stored.iter().all(|v| v.as_str() != Some(&version))
    {
        stored.push(version.into());
    }
}

impl Strategy for CustomResourceDefinitions {
    row!("apiextensions.k8s.io", "v1", "customresourcedefinitions");

    fn prepare_for_create(&self, definition: &mut Value) {
        let status = value!({"acceptedNames": {"kind": "", "plural": ""}, "conditions": [], "storedVersions": []});
        definition.set(&["status"], status);
    }

    fn default(&self, definition: &mut Value) {
        if let Some(names) = definition.at_mut(&["spec", "names"]).and_then(Value::as_object_mut) {
            let kind = names.get("kind").and_then(Value::as_str).unwrap_or_default().to_owned();
            let blank = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or_default().is_empty();
            if blank(names.get("singular")) && !kind.is_empty() {
                names.insert("singular", kind.to_lowercase());
            }
            if blank(names.get("listKind")) && !kind.is_empty() {
                names.insert("listKind", format!("{kind}List"));
            }
        }
        if let Some(spec) = definition.get_mut("spec").and_then(Value::as_object_mut)
            && spec.get("conversion").is_none_or(Value::is_null)
        {
            spec.insert("conversion", value!({"strategy": "None"}));
        }
        if definition.array_at(&["status", "storedVersions"]).is_empty() {
            note_storage_version(definition);
        }
    }

    fn name_errors(&self, text: &str, prefix: bool) -> Vec<String> {
        name::subdomain_errors(text, prefix)
    }

    fn check(&self, object: &Value, errors: &mut Errors) {
        definition::check(object, None, errors);
    }

    fn prepare_for_update(&self, new: &mut Value, old: &Value, subresource: &str) {
        if subresource == "status" {
            crate::registry::strategy::keep_all_but_status(new, old);
        } else {
            crate::registry::strategy::keep(new, old, "status");
            note_storage_version(new);
        }
    }

    fn validate_update(&self, new: &Value, old: &Value, subresource: &str) -> Vec<FieldError> {
        let mut errors = Errors::new();
        if subresource == "status" {
            definition::check_status(new, &mut errors);
        } else {
            definition::check(new, Some(old), &mut errors);
            definition::check_update(new, old, &mut errors);
        }
        errors.into_vec()
    }

    /// Holds a definition that is to be deleted until its objects are gone.
    fn prepare_for_delete(&self, definition: &mut Value) -> bool {
        if !metadata::finalizers(definition).any(|f| f == FINALIZER) {
            let mut finalizers = definition.array_at(&["metadata", "finalizers"]).to_vec();
            finalizers.push(FINALIZER.into());
            definition.set(&["metadata", "finalizers"], finalizers);
        }
        conditions::set(
            definition,
            "Terminating",
            "True",
            "InstanceDeletionPending",
            "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon",
        );
        true
    }
}
