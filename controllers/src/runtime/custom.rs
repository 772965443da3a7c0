//! The custom resources that are served now: read from their definitions, which loops that concern every kind follow.

use gantry_machinery::resource::GroupVersionResource;
use gantry_machinery::resource_api::{Collection, ListOptions, ResourceApi};
use gantry_machinery::status::Status;
use gantry_machinery::typed::value_of;
use gantry_machinery::value::Value;

use super::write::is_not_found;

/// The definitions themselves.
pub static DEFINITIONS: GroupVersionResource =
    GroupVersionResource::of("apiextensions.k8s.io", "v1", "customresourcedefinitions");

/// A custom resource by one of its served versions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CustomResource {
    /// Its path.
    pub gvr: GroupVersionResource,
    /// What `kind` says.
    pub kind: String,
    /// Whether its objects live in namespaces.
    pub namespaced: bool,
}

impl CustomResource {
    /// What a definition serves, the stored version rather than another; `None` before it is established.
    fn of(definition: &Value) -> Option<Self> {
        let conditions = definition.array_at(&["status", "conditions"]);
        let is = |c: &Value| c.str_at(&["type"]) == Some("Established") && c.str_at(&["status"]) == Some("True");
        if !conditions.iter().any(is) {
            return None;
        }
        let truth = |version: &Value, field: &str| version.bool_at(&[field]) == Some(true);
        let versions = definition.array_at(&["spec", "versions"]);
        let mut served = versions.iter().filter(|version| truth(version, "served")).peekable();
        let first = *served.peek()?;
        let version = served.find(|version| truth(version, "storage")).unwrap_or(first);
        let text = |path: &[&str]| definition.str_at(path).map(ToOwned::to_owned);
        Some(Self {
            gvr: GroupVersionResource {
                group: text(&["spec", "group"])?.into(),
                version: version.str_at(&["name"])?.to_owned().into(),
                resource: text(&["spec", "names", "plural"])?.into(),
            },
            kind: text(&["spec", "names", "kind"])?,
            namespaced: text(&["spec", "scope"])? == "Namespaced",
        })
    }
}

/// All custom resources that are established; none where definitions are not served.
///
/// # Errors
/// What the API says.
pub async fn custom_resources(api: &dyn ResourceApi) -> Result<Vec<CustomResource>, Status> {
    let of = Collection { resource: &DEFINITIONS, namespace: "" };
    let definitions = match api.list(&of, &ListOptions::default()).await {
        Ok(definitions) => definitions,
        Err(status) if is_not_found(&status) => return Ok(Vec::new()),
        Err(status) => return Err(status),
    };
    let read = |object: &std::sync::Arc<_>| value_of(object).ok().and_then(|value| CustomResource::of(&value));
    Ok(definitions.items.iter().filter_map(read).collect())
}

#[cfg(test)]
mod tests {
    use gantry_machinery::value;

    use super::*;

    #[test]
    fn a_definition_is_read_by_its_stored_version_once_it_is_established() {
        let mut definition = value!({
            "spec": {"group": "example.com", "scope": "Namespaced", "names": {"plural": "things", "kind": "Thing"},
                "versions": [{"name": "v1beta1", "served": true}, {"name": "v1", "served": true, "storage": true}]},
        });
        assert_eq!(CustomResource::of(&definition), None);
        definition.set(&["status", "conditions"], value!([{"type": "Established", "status": "True"}]));
        let found = CustomResource::of(&definition).expect("it is established");
        assert_eq!(found.gvr.to_string(), "example.com/v1/things");
        assert!(found.namespaced && found.kind == "Thing");
    }
}
