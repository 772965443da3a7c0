//! One file per kind: its strategy and nothing else. [`all`] is the table the registry is built from by default,
//! [`every`] what can be switched on.
//!
//! A strategy names its resource with `row!`; the trait's own methods serve a kind without rules. What kinds share is
//! in [`cells`] (Tables), [`field`] (defaulting) and [`super::validate`].

mod cells;
mod field;
mod further_versions;
mod gang;
mod unstable;

pub mod admission;
pub mod api_service;
pub mod certificate;
pub mod component_status;
pub mod config_map;
pub mod controller_revision;
pub mod cron_job;
pub mod csi;
pub mod custom_resource_definition;
pub mod daemon_set;
pub mod deployment;
pub mod device;
pub mod endpoint_slice;
pub mod endpoints;
pub mod event;
pub mod flow_control;
pub mod horizontal_pod_autoscaler;
pub mod job;
pub mod lease;
pub mod limit_range;
pub mod namespace;
pub mod networking;
pub mod node;
pub mod plain;
pub mod pod;
pub mod pod_disruption_budget;
pub mod priority_class;
pub mod rbac;
pub mod replica_set;
pub mod replication_controller;
pub mod resource_quota;
pub mod secret;
pub mod service;
pub mod service_account;
pub mod service_cidr;
pub mod stateful_set;
pub mod storage;
pub mod storage_class;
mod workload;

use std::sync::LazyLock;

use gantry_machinery::resource::Resource;
use gantry_machinery::schema::Message;

pub(super) use self::further_versions::VERSIONS;
use super::runtime_config::RuntimeConfig;
use super::strategy::Strategy;

/// Names a strategy's resource: its row and its fields in the generated tables.
macro_rules! row {
    ($group:literal, $version:literal, $resource:literal) => {
        fn resource(&self) -> &'static gantry_machinery::resource::Resource {
            static ROW: std::sync::LazyLock<&'static gantry_machinery::resource::Resource> =
                std::sync::LazyLock::new(|| $crate::registry::kinds::resource($group, $version, $resource));
            &ROW
        }

        fn message(&self) -> &'static gantry_machinery::schema::Message {
            static FIELDS: std::sync::LazyLock<&'static gantry_machinery::schema::Message> =
                std::sync::LazyLock::new(|| $crate::registry::kinds::message($group, $version, $resource));
            &FIELDS
        }
    };
}
use row;

/// Everything that is served by default: the stable versions.
#[must_use]
pub fn all() -> Vec<&'static dyn Strategy> {
    served(&RuntimeConfig::default())
}

/// What is served by a server that was started with this flag.
#[must_use]
pub fn served(config: &RuntimeConfig) -> Vec<&'static dyn Strategy> {
    every().into_iter().filter(|kind| config.serves(&kind.resource().gvr)).collect()
}

/// The resources that are answered and never stored: reviews, and the old way to bind a pod.
pub(super) fn unstored() -> impl Iterator<Item = &'static Resource> {
    const PATHS: [(&str, &str); 7] = [
        ("", "bindings"),
        ("authentication.k8s.io", "selfsubjectreviews"),
        ("authentication.k8s.io", "tokenreviews"),
        ("authorization.k8s.io", "localsubjectaccessreviews"),
        ("authorization.k8s.io", "selfsubjectaccessreviews"),
        ("authorization.k8s.io", "selfsubjectrulesreviews"),
        ("authorization.k8s.io", "subjectaccessreviews"),
    ];
    PATHS.into_iter().map(|(group, name)| resource(group, "v1", name))
}

/// Every version of every kind that can be served, those that are off by default included.
#[must_use]
pub fn every() -> Vec<&'static dyn Strategy> {
    let mut every = STORED.clone();
    every.extend(VERSIONS.iter().filter(|version| version.is_built()).map(|version| version as &dyn Strategy));
    every
}

static STORED: LazyLock<Vec<&'static dyn Strategy>> = LazyLock::new(stored);

/// The strategy of a version that objects are stored in.
pub(super) fn stored_kind(group: &str, version: &str, resource: &str) -> Option<&'static dyn Strategy> {
    let is = |kind: &&&dyn Strategy| {
        let gvr = &kind.resource().gvr;
        gvr.resource == resource && gvr.version == version && gvr.group == group
    };
    STORED.iter().find(is).copied()
}

/// Every built-in kind in the version that it is stored in, in the order that discovery lists groups.
fn stored() -> Vec<&'static dyn Strategy> {
    let mut all: Vec<&'static dyn Strategy> = vec![
        &component_status::ComponentStatuses,
        &config_map::ConfigMaps,
        &endpoints::EndpointsKind,
        &event::Events,
        &limit_range::LimitRanges,
        &namespace::Namespaces,
        &node::Nodes,
        &storage::PersistentVolumeClaims,
        &storage::PersistentVolumes,
        &pod::Pods,
        &replication_controller::ReplicationControllers,
        &resource_quota::ResourceQuotas,
        &secret::Secrets,
        &service_account::ServiceAccounts,
        &service::Services,
        &controller_revision::ControllerRevisions,
        &custom_resource_definition::CustomResourceDefinitions,
        &daemon_set::DaemonSets,
        &deployment::Deployments,
        &replica_set::ReplicaSets,
        &stateful_set::StatefulSets,
        &horizontal_pod_autoscaler::HorizontalPodAutoscalers,
        &job::Jobs,
        &cron_job::CronJobs,
        &lease::Leases,
        &endpoint_slice::EndpointSlices,
        &networking::Ingresses,
        &networking::IngressClasses,
        &networking::NetworkPolicies,
        &pod_disruption_budget::PodDisruptionBudgets,
        &rbac::ClusterRoleBindings,
        &rbac::ClusterRoles,
        &rbac::RoleBindings,
        &rbac::Roles,
        &priority_class::PriorityClasses,
        &storage_class::StorageClasses,
    ];
    let tables: [&[plain::Plain]; 8] = [
        &plain::ALL,
        &csi::ALL,
        &service_cidr::ALL,
        &device::ALL,
        &flow_control::ALL,
        &certificate::ALL,
        &admission::ALL,
        &api_service::ALL,
    ];
    all.extend(unstable::ALL.iter().map(|kind| kind as &dyn Strategy));
    all.extend(tables.into_iter().flatten().map(|kind| kind as &dyn Strategy));
    all
}

pub(super) fn resource(group: &str, version: &str, resource: &str) -> &'static Resource {
    gantry_machinery::resource::find(group, version, resource).expect("the generated table has every built-in resource")
}

pub(super) fn message(group: &str, version: &str, resource: &str) -> &'static Message {
    let kind = &self::resource(group, version, resource).kind;
    gantry_machinery::schema::kind(group, version, kind).expect("the generated table has every built-in kind")
}

#[cfg(test)]
mod tests {
    use gantry_machinery::schema::Type;
    use gantry_machinery::value;
    use gantry_machinery::value::Value;

    use super::*;

    #[test]
    fn every_row_is_as_wide_as_its_columns() {
        for kind in every() {
            let cells = kind.row(&Value::object(), 0).len();
            assert_eq!(cells, kind.columns().len(), "{}", kind.resource().gvr);
        }
    }

    #[test]
    fn defaults_are_idempotent_and_rules_survive_anything() {
        for kind in every() {
            let mut once = value!({"metadata": {"name": "a"}});
            kind.default(&mut once);
            let mut twice = once.clone();
            kind.default(&mut twice);
            assert_eq!(once, twice, "{}", kind.resource().gvr);
            // Nothing in it may bring the rules down, whatever they say.
            kind.validate(&Value::object());
            kind.validate_update(&once, &Value::object(), "");
            kind.validate_update(&once, &once, "status");
        }
    }

    #[test]
    fn what_the_server_fills_in_is_in_the_schema() {
        for kind in every() {
            let mut object = value!({"metadata": {"name": "a", "uid": "u"}});
            kind.prepare_for_create(&mut object);
            kind.default(&mut object);
            let mut strangers = Vec::new();
            let message = kind.version().map_or(kind.message(), |version| version.stored().message());
            find_strangers(message, &object, "", &mut strangers);
            assert_eq!(strangers, Vec::<String>::new(), "{}", kind.resource().gvr);
        }
    }

    /// The fields of an object that its type does not have.
    fn find_strangers(message: &Message, value: &Value, path: &str, found: &mut Vec<String>) {
        for (key, value) in value.as_object().into_iter().flat_map(gantry_machinery::value::Object::iter) {
            let path = format!("{path}.{key}");
            match message.field(key) {
                None => found.push(path),
                Some(field) => find_in_type(&field.ty, value, &path, found),
            }
        }
    }

    fn find_in_type(ty: &Type, value: &Value, path: &str, found: &mut Vec<String>) {
        match (ty, value) {
            (Type::Message(message), _) => find_strangers(message, value, path, found),
            (Type::List(item), Value::Array(items)) => {
                items.iter().for_each(|value| find_in_type(item, value, path, found));
            }
            (Type::Map(item), Value::Object(entries)) => {
                entries.iter().for_each(|(_, value)| find_in_type(item, value, path, found));
            }
            _ => {}
        }
    }
}
