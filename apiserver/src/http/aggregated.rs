//! Groups that an APIService hands to another server. Nothing is forwarded: they are unavailable, which is not the same as
//! unknown, and clients (garbage collectors above all) must be able to tell the two apart.

use gantry_machinery::status::Status;
use gantry_store_cache::key::ObjectKey;

use crate::registry::Registry;
use crate::registry::body;
use crate::registry::kinds::api_service::{COLLECTION, is_remote};

/// The answer for a group-version that this server does not serve: 503 where an APIService points elsewhere, else 404.
pub(super) fn unserved(registry: &Registry, group: &str, version: &str) -> Status {
    let key = ObjectKey::new(COLLECTION, "", &format!("{version}.{group}"));
    let service = registry.store().get(&key).and_then(|object| body::decode(&object).ok());
    match service {
        Some(service) if is_remote(&service) => Status::service_unavailable("service unavailable"),
        _ => Status::no_such_resource(),
    }
}

/// The same for a path below `/apis`.
pub(super) fn unserved_path(registry: &Registry, path: &str) -> Status {
    let mut parts = path.split('/').filter(|p| !p.is_empty());
    match (parts.next(), parts.next(), parts.next()) {
        (Some("apis"), Some(group), Some(version)) => unserved(registry, group, version),
        _ => Status::no_such_resource(),
    }
}
