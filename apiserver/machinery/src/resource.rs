//! Groups, versions, kinds and resources: the rows that routing, discovery and storage are built from.

mod row;
mod table;

use std::borrow::Cow;
use std::fmt;

/// A resource as paths name it: `/apis/{group}/{version}/.../{resource}`; the core group is the empty text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupVersionResource {
    /// The API group; empty for core.
    pub group: Cow<'static, str>,
    /// The version.
    pub version: Cow<'static, str>,
    /// The plural name.
    pub resource: Cow<'static, str>,
}

impl GroupVersionResource {
    /// A constant row.
    #[must_use]
    pub const fn of(group: &'static str, version: &'static str, resource: &'static str) -> Self {
        Self { group: Cow::Borrowed(group), version: Cow::Borrowed(version), resource: Cow::Borrowed(resource) }
    }

    /// The store's collection for objects of this resource, whatever version they are read in: `pods`,
    /// `deployments.apps`. Also what error messages call it.
    #[must_use]
    pub fn collection(&self) -> Cow<'_, str> {
        if self.group.is_empty() {
            Cow::Borrowed(&self.resource)
        } else {
            Cow::Owned(format!("{}.{}", self.resource, self.group))
        }
    }

    /// `v1` or `apps/v1`: what `apiVersion` says.
    #[must_use]
    pub fn api_version(&self) -> Cow<'_, str> {
        if self.group.is_empty() {
            Cow::Borrowed(&self.version)
        } else {
            Cow::Owned(format!("{}/{}", self.group, self.version))
        }
    }
}

impl fmt::Display for GroupVersionResource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.api_version(), self.resource)
    }
}

/// One resource of the API: a row of the table that routing, discovery and the registry are built from.
#[derive(Clone, Debug)]
pub struct Resource {
    /// Its path.
    pub gvr: GroupVersionResource,
    /// What `kind` says (`Pod`).
    pub kind: Cow<'static, str>,
    /// The singular name.
    pub singular: Cow<'static, str>,
    /// Whether its objects live in namespaces.
    pub namespaced: bool,
    /// The verbs it serves, as discovery lists them.
    pub verbs: Cow<'static, [Cow<'static, str>]>,
    /// kubectl's short names.
    pub short_names: Cow<'static, [Cow<'static, str>]>,
    /// kubectl's categories.
    pub categories: Cow<'static, [Cow<'static, str>]>,
    /// What hangs below an object.
    pub subresources: Cow<'static, [Subresource]>,
}

/// A subresource: `status`, `scale`, `binding` and so on.
#[derive(Clone, Debug)]
pub struct Subresource {
    /// Its name in the path.
    pub name: Cow<'static, str>,
    /// The kind it takes and gives.
    pub kind: Cow<'static, str>,
    /// The group of that kind where it is not the resource's own (`autoscaling` for `scale`).
    pub kind_group: Option<Cow<'static, str>>,
    /// The version of that kind where it is not the resource's own.
    pub kind_version: Option<Cow<'static, str>>,
    /// The verbs it serves.
    pub verbs: Cow<'static, [Cow<'static, str>]>,
}

impl Resource {
    /// `apps/v1`, or `v1`.
    #[must_use]
    pub fn api_version(&self) -> Cow<'_, str> {
        self.gvr.api_version()
    }

    /// Group and version that its objects are stored in.
    #[must_use]
    pub fn stored_in(&self) -> (&str, &str) {
        let gvr = &self.gvr;
        match (&*gvr.group, &*gvr.version, &*gvr.resource) {
            ("events.k8s.io", "v1", "events") => ("", "v1"),
            ("autoscaling", "v1", "horizontalpodautoscalers") => ("autoscaling", "v2"),
            ("coordination.k8s.io" | "certificates.k8s.io", "v1alpha1" | "v1alpha2", _) => (&gvr.group, "v1beta1"),
            ("resource.k8s.io", "v1alpha3", "devicetaintrules") => (&gvr.group, "v1beta2"),
            // Beta and alpha versions are stored in the stable one where there is one.
            (group, version, resource) => match find(group, "v1", resource) {
                Some(stable) => (group, &stable.gvr.version),
                None => (group, version),
            },
        }
    }

    /// Whether its version is generally available (`v1`, not `v1beta1`), and so served by default.
    #[must_use]
    pub fn is_stable(&self) -> bool {
        !self.gvr.version.contains("alpha") && !self.gvr.version.contains("beta")
    }

    /// The subresource of this name.
    #[must_use]
    pub fn subresource(&self, name: &str) -> Option<&Subresource> {
        self.subresources.iter().find(|s| s.name == name)
    }
}

/// Every built-in resource of 1.36, by group, version and name; alpha and beta ones included.
#[must_use]
pub fn table() -> &'static [Resource] {
    &table::RESOURCES
}

/// One row for each collection of the default API: the preferred version where several show the same objects. What loops
/// over all objects go by.
pub fn collections() -> impl Iterator<Item = &'static Resource> {
    let shown_elsewhere = |row: &Resource| {
        matches!((&*row.gvr.group, &*row.gvr.version), ("autoscaling", "v1") | ("events.k8s.io", "v1"))
    };
    table().iter().filter(move |row| row.is_stable() && !shown_elsewhere(row))
}

/// The row of a built-in resource.
#[must_use]
pub fn find(group: &str, version: &str, resource: &str) -> Option<&'static Resource> {
    table().iter().find(|row| row.gvr.group == group && row.gvr.version == version && row.gvr.resource == resource)
}

/// The resources that loops name most, as constants.
pub mod gvr {
    use super::GroupVersionResource as G;

    /// Pods.
    pub static PODS: G = G::of("", "v1", "pods");
    /// Nodes.
    pub static NODES: G = G::of("", "v1", "nodes");
    /// Namespaces.
    pub static NAMESPACES: G = G::of("", "v1", "namespaces");
    /// ConfigMaps.
    pub static CONFIG_MAPS: G = G::of("", "v1", "configmaps");
    /// Secrets.
    pub static SECRETS: G = G::of("", "v1", "secrets");
    /// ServiceAccounts.
    pub static SERVICE_ACCOUNTS: G = G::of("", "v1", "serviceaccounts");
    /// Services.
    pub static SERVICES: G = G::of("", "v1", "services");
    /// Events of the core group.
    pub static EVENTS: G = G::of("", "v1", "events");
    /// Endpoints.
    pub static ENDPOINTS: G = G::of("", "v1", "endpoints");
    /// EndpointSlices.
    pub static ENDPOINT_SLICES: G = G::of("discovery.k8s.io", "v1", "endpointslices");
    /// Leases.
    pub static LEASES: G = G::of("coordination.k8s.io", "v1", "leases");
    /// Deployments.
    pub static DEPLOYMENTS: G = G::of("apps", "v1", "deployments");
    /// ReplicaSets.
    pub static REPLICA_SETS: G = G::of("apps", "v1", "replicasets");
    /// StatefulSets.
    pub static STATEFUL_SETS: G = G::of("apps", "v1", "statefulsets");
    /// ReplicationControllers.
    pub static REPLICATION_CONTROLLERS: G = G::of("", "v1", "replicationcontrollers");
    /// Roles.
    pub static ROLES: G = G::of("rbac.authorization.k8s.io", "v1", "roles");
    /// RoleBindings.
    pub static ROLE_BINDINGS: G = G::of("rbac.authorization.k8s.io", "v1", "rolebindings");
    /// ClusterRoles.
    pub static CLUSTER_ROLES: G = G::of("rbac.authorization.k8s.io", "v1", "clusterroles");
    /// ClusterRoleBindings.
    pub static CLUSTER_ROLE_BINDINGS: G = G::of("rbac.authorization.k8s.io", "v1", "clusterrolebindings");
    /// PodDisruptionBudgets.
    pub static POD_DISRUPTION_BUDGETS: G = G::of("policy", "v1", "poddisruptionbudgets");
    /// `podgroups` of `scheduling.k8s.io` (off unless `--runtime-config` says otherwise)
    pub static POD_GROUPS: G = G::of("scheduling.k8s.io", "v1alpha2", "podgroups");
    /// PersistentVolumes.
    pub static PERSISTENT_VOLUMES: G = G::of("", "v1", "persistentvolumes");
    /// PersistentVolumeClaims.
    pub static PERSISTENT_VOLUME_CLAIMS: G = G::of("", "v1", "persistentvolumeclaims");
    /// StorageClasses.
    pub static STORAGE_CLASSES: G = G::of("storage.k8s.io", "v1", "storageclasses");
    /// CSINodes.
    pub static CSI_NODES: G = G::of("storage.k8s.io", "v1", "csinodes");
    /// CSIDrivers.
    pub static CSI_DRIVERS: G = G::of("storage.k8s.io", "v1", "csidrivers");
    /// CSIStorageCapacities.
    pub static CSI_STORAGE_CAPACITIES: G = G::of("storage.k8s.io", "v1", "csistoragecapacities");
    /// VolumeAttachments.
    pub static VOLUME_ATTACHMENTS: G = G::of("storage.k8s.io", "v1", "volumeattachments");
    /// ResourceClaims.
    pub static RESOURCE_CLAIMS: G = G::of("resource.k8s.io", "v1", "resourceclaims");
    /// ResourceClaimTemplates.
    pub static RESOURCE_CLAIM_TEMPLATES: G = G::of("resource.k8s.io", "v1", "resourceclaimtemplates");
    /// DeviceClasses.
    pub static DEVICE_CLASSES: G = G::of("resource.k8s.io", "v1", "deviceclasses");
    /// ResourceSlices.
    pub static RESOURCE_SLICES: G = G::of("resource.k8s.io", "v1", "resourceslices");
    /// PriorityClasses.
    pub static PRIORITY_CLASSES: G = G::of("scheduling.k8s.io", "v1", "priorityclasses");
}
