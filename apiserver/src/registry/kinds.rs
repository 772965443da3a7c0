//! One file per kind: its strategy and nothing else. [`all`] is the table the registry is built from.
//!
//! A strategy names its resource with `row!`; the trait's own methods serve a kind without rules. What kinds share is
//! in [`cells`] (Tables), [`field`] (defaulting) and [`super::validate`].

mod cells;
mod field;

pub mod config_map;
pub mod controller_revision;
pub mod cron_job;
pub mod daemon_set;
pub mod deployment;
pub mod endpoint_slice;
pub mod endpoints;
pub mod event;
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
pub mod stateful_set;
pub mod storage;
mod workload;

use gantry_machinery::resource::Resource;
use gantry_machinery::schema::Message;

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

/// Every built-in kind that is stored, in the order that discovery lists groups.
#[must_use]
pub fn all() -> Vec<&'static dyn Strategy> {
    let mut all: Vec<&'static dyn Strategy> = vec![
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
        &storage::StorageClasses,
    ];
    all.extend(plain::ALL.iter().map(|kind| kind as &dyn Strategy));
    all
}

fn resource(group: &str, version: &str, resource: &str) -> &'static Resource {
    gantry_machinery::resource::find(group, version, resource).expect("the generated table has every built-in resource")
}

fn message(group: &str, version: &str, resource: &str) -> &'static Message {
    let kind = &self::resource(group, version, resource).kind;
    gantry_machinery::schema::kind(group, version, kind).expect("the generated table has every built-in kind")
}
