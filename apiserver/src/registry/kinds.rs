//! One file per kind: its strategy and nothing else. [`all`] is the table the registry is built from.
//!
//! A strategy names its resource with `row!`; the trait's own methods serve a kind without rules. What kinds share is
//! in [`cells`] (Tables), [`field`] (defaulting) and [`super::validate`].

mod cells;
mod field;

pub mod config_map;
pub mod namespace;
pub mod node;
pub mod pod;
pub mod secret;
pub mod service_account;
pub mod service;
pub mod endpoints;
pub mod endpoint_slice;
pub mod event;
pub mod lease;

pub mod workload;
pub mod deployment;
pub mod replica_set;
pub mod daemon_set;
pub mod stateful_set;
pub mod replication_controller;
pub mod controller_revision;
pub mod job;
pub mod cron_job;

pub mod rbac;
pub mod priority_class;
pub mod pod_disruption_budget;
pub mod resource_quota;
pub mod limit_range;

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

