//! One file per kind: its strategy and nothing else. [`all`] is the table the registry is built from.
//!
//! A strategy names its resource with `row!`; the trait's own methods serve a kind without rules. What kinds share is
//! in [`cells`] (Tables), [`field`] (defaulting) and [`super::validate`].

mod cells;
mod field;

pub mod config_map;
pub mod endpoint_slice;
pub mod endpoints;
pub mod event;
pub mod lease;
pub mod namespace;
pub mod node;
pub mod pod;
pub mod secret;
pub mod service;
pub mod service_account;

pub mod deployment;
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
    vec![
        &config_map::ConfigMaps,
        &endpoints::EndpointsKind,
        &event::Events,
        &namespace::Namespaces,
        &node::Nodes,
        &pod::Pods,
        &secret::Secrets,
        &service_account::ServiceAccounts,
        &service::Services,
        &deployment::Deployments,
        &lease::Leases,
        &endpoint_slice::EndpointSlices,
    ]
}

fn resource(group: &str, version: &str, resource: &str) -> &'static Resource {
    gantry_machinery::resource::find(group, version, resource).expect("the generated table has every built-in resource")
}

fn message(group: &str, version: &str, resource: &str) -> &'static Message {
    let kind = &self::resource(group, version, resource).kind;
    gantry_machinery::schema::kind(group, version, kind).expect("the generated table has every built-in kind")
}
