//! The versions of kinds beside those that their objects are stored in. Beta and alpha ones are off unless
//! `--runtime-config` turns them on; one whose stored version is not built is not there.

use super::{device, event, horizontal_pod_autoscaler};
use crate::registry::versions::Version;

/// All of them.
pub(in crate::registry) static VERSIONS: [Version; 20] = [
    horizontal_pod_autoscaler::v1::version(),
    event::events_k8s_io::version(),
    Version::new("networking.k8s.io", "v1beta1", "ipaddresses", ("networking.k8s.io", "v1"))
        .deprecated_as("networking.k8s.io/v1beta1 IPAddress is deprecated in v1.34+, unavailable in v1.37+"),
    Version::new("networking.k8s.io", "v1beta1", "servicecidrs", ("networking.k8s.io", "v1"))
        .deprecated_as("networking.k8s.io/v1beta1 ServiceCIDR is deprecated in v1.34+, unavailable in v1.37+"),
    Version::new("storage.k8s.io", "v1beta1", "volumeattributesclasses", ("storage.k8s.io", "v1"))
        .deprecated_as("storage.k8s.io/v1beta1 VolumeAttributesClass is deprecated in v1.34+, unavailable in v1.37+"),
    admission("v1beta1", "mutatingadmissionpolicies"),
    admission("v1beta1", "mutatingadmissionpolicybindings"),
    admission("v1alpha1", "mutatingadmissionpolicies").deprecated_as(
        "admissionregistration.k8s.io/v1alpha1 MutatingAdmissionPolicy is deprecated in v1.35+, unavailable in v1.38+",
    ),
    admission("v1alpha1", "mutatingadmissionpolicybindings").deprecated_as(
        "admissionregistration.k8s.io/v1alpha1 MutatingAdmissionPolicyBinding is deprecated in v1.35+, unavailable in \
         v1.38+",
    ),
    Version::new("coordination.k8s.io", "v1alpha2", "leasecandidates", ("coordination.k8s.io", "v1beta1"))
        .deprecated_as("coordination.k8s.io/v1alpha2 LeaseCandidate is deprecated in v1.35+, unavailable in v1.38+"),
    Version::new("certificates.k8s.io", "v1alpha1", "clustertrustbundles", ("certificates.k8s.io", "v1beta1")),
    devices("deviceclasses"),
    devices("resourceclaims"),
    devices("resourceclaimtemplates"),
    devices("resourceslices"),
    device::v1beta1::same("deviceclasses"),
    device::v1beta1::claims(),
    device::v1beta1::templates(),
    device::v1beta1::slices(),
    Version::new("resource.k8s.io", "v1alpha3", "devicetaintrules", ("resource.k8s.io", "v1beta2")),
];

const fn admission(version: &'static str, resource: &'static str) -> Version {
    const GROUP: &str = "admissionregistration.k8s.io";
    Version::new(GROUP, version, resource, (GROUP, "v1"))
}

/// `v1beta2` of resource.k8s.io has v1's shape.
const fn devices(resource: &'static str) -> Version {
    Version::new("resource.k8s.io", "v1beta2", resource, ("resource.k8s.io", "v1"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use gantry_machinery::schema::{Message, Type, kind};

    use super::*;
    use crate::registry::strategy::Strategy;

    /// The fields of a type, all the way down.
    fn shape(message: &Message, path: &str, seen: &mut Vec<String>, out: &mut BTreeSet<String>) {
        if seen.iter().any(|name| *name == message.name) {
            return;
        }
        seen.push(message.name.to_string());
        for field in &*message.fields {
            let path = format!("{path}.{}", field.json);
            of_type(&field.ty, &path, seen, out);
            out.insert(path);
        }
        seen.pop();
    }

    fn of_type(ty: &Type, path: &str, seen: &mut Vec<String>, out: &mut BTreeSet<String>) {
        match ty {
            Type::Message(message) => shape(message, path, seen, out),
            Type::List(item) | Type::Map(item) => of_type(item, &format!("{path}[]"), seen, out),
            _ => {}
        }
    }

    #[test]
    fn versions_without_a_conversion_have_the_stored_versions_shape() {
        for version in VERSIONS.iter().filter(|v| !v.converts()) {
            let (group, stored) = version.stored_in();
            let [own_group, own, resource] = version.path();
            let row = super::super::resource(own_group, own, resource);
            let of = |message: &Message| {
                let mut out = BTreeSet::new();
                shape(message, "", &mut Vec::new(), &mut out);
                out
            };
            let message = kind(group, stored, &row.kind).expect("the stored kind is in the schema");
            let (own, there) = (of(super::super::message(own_group, own, resource)), of(message));
            let differing: Vec<_> = own.symmetric_difference(&there).collect();
            assert!(differing.is_empty(), "{version:?}: {differing:?}");
        }
    }

    #[test]
    fn versions_that_are_built_are_rows_of_their_own() {
        let built: Vec<&Version> = VERSIONS.iter().filter(|v| v.is_built()).collect();
        assert!(built.len() >= 3, "{built:?}");
        for version in built {
            assert_ne!(version.resource().gvr, version.stored().resource().gvr);
            assert!(version.ordinal() > 0);
        }
    }
}
