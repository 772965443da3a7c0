//! DefaultStorageClass and DefaultIngressClass: claims and Ingresses that name no class get the one marked as default.
//! Of several the newest counts, then the first by name.

use gantry_machinery::status::Status;
use gantry_machinery::value::Value;

use super::{Attributes, Plugin};
use crate::registry::body;

/// One such rule.
pub(crate) struct DefaultClass {
    name: &'static str,
    /// Whose objects get a class.
    of: &'static str,
    /// The field that names it.
    field: &'static str,
    /// The annotation that named it before the field did.
    before: &'static str,
    /// Where the classes are.
    classes: &'static str,
    /// What marks a class as default, in any of these annotations.
    marks: &'static [&'static str],
}

impl DefaultClass {
    /// PersistentVolumeClaims.
    pub(crate) const STORAGE: Self = Self {
        name: "DefaultStorageClass",
        of: "persistentvolumeclaims",
        field: "storageClassName",
        before: "volume.beta.kubernetes.io/storage-class",
        classes: "storageclasses.storage.k8s.io",
        marks: &["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"],
    };
    /// Ingresses.
    pub(crate) const INGRESS: Self = Self {
        name: "DefaultIngressClass",
        of: "ingresses.networking.k8s.io",
        field: "ingressClassName",
        before: "kubernetes.io/ingress.class",
        classes: "ingressclasses.networking.k8s.io",
        marks: &["ingressclass.kubernetes.io/is-default-class"],
    };

    fn is_default(&self, class: &Value) -> bool {
        self.marks.iter().any(|mark| class.str_at(&["metadata", "annotations", mark]) == Some("true"))
    }
}

impl Plugin for DefaultClass {
    fn name(&self) -> &'static str {
        self.name
    }

    fn handles(&self, attributes: &Attributes<'_>) -> bool {
        attributes.creates(self.of)
    }

    fn mutate(&self, attributes: &Attributes<'_>, new: &mut Value, _old: Option<&Value>) -> Result<(), Status> {
        // The empty class is a choice: none.
        let chosen = new.str_at(&["spec", self.field]).is_some()
            || new.str_at(&["metadata", "annotations", self.before]).is_some();
        if chosen {
            return Ok(());
        }
        let view = attributes.registry.store().view();
        let mut found: Option<(String, String)> = None;
        for object in view.scan(self.classes, None, None) {
            let class = body::decode(&object)?;
            let made = class.str_at(&["metadata", "creationTimestamp"]).unwrap_or_default();
            if self.is_default(&class) && found.as_ref().is_none_or(|(newest, _)| made > newest.as_str()) {
                found = Some((made.to_owned(), object.key.name().to_owned()));
            }
        }
        if let Some((_, name)) = found {
            new.set(&["spec", self.field], name);
        }
        Ok(())
    }
}
