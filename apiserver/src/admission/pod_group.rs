//! PodGroupWorkloadExists: a PodGroup made from a template of a Workload names one that is there (KEP-4671). Says nothing
//! unless the feature gate `GenericWorkload` is on.

use gantry_machinery::feature::Gate;
use gantry_machinery::status::Status;
use gantry_machinery::value::Value;
use gantry_store_cache::key::ObjectKey;

use super::{Attributes, Plugin};
use crate::registry::body;
use crate::registry::validate::view::Held;

/// See the file's head.
pub(crate) struct PodGroupWorkloadExists;

impl Plugin for PodGroupWorkloadExists {
    fn name(&self) -> &'static str {
        "PodGroupWorkloadExists"
    }

    fn handles(&self, attributes: &Attributes<'_>) -> bool {
        attributes.creates("podgroups.scheduling.k8s.io")
            && attributes.registry.table().gates().enabled(Gate::GenericWorkload)
    }

    fn validate(&self, attributes: &Attributes<'_>, new: Option<&Value>, _old: Option<&Value>) -> Result<(), Status> {
        let Some(group) = new else { return Ok(()) };
        let reference = group.at(&["spec", "podGroupTemplateRef", "workload"]).filter(|workload| !workload.is_null());
        let Some(reference) = reference else { return Ok(()) };
        let (name, template) = (reference.get("workloadName").text(), reference.get("podGroupTemplateName").text());
        let refuse = |why: String| Err(attributes.forbidden(group, format_args!("PodGroup rejected: {why}")));
        let key = ObjectKey::new("workloads.scheduling.k8s.io", attributes.call.namespace, name);
        let Some(workload) = attributes.registry.store().get(&key) else {
            return refuse(format!("Workload {name:?} not found"));
        };
        let workload = body::decode(&workload)?;
        if workload.at(&["metadata", "deletionTimestamp"]).is_some() {
            return refuse(format!("Workload {name:?} is being deleted"));
        }
        let templates = workload.at(&["spec", "podGroupTemplates"]).items();
        if !templates.iter().any(|known| known.get("name").text() == template) {
            return refuse(format!("PodGroupTemplate {template:?} not found in Workload {name:?}"));
        }
        Ok(())
    }
}
