//! An APIService for every version of a group that definitions make, as upstream's registration of definitions keeps them:
//! `v1.example.com`, answered by this server itself, gone when nothing of that version is served any more. Aggregating
//! clients and dashboards read from them what there is.
//!
//! One task per API server, woken by the table of resources and by the APIServices themselves: one that was deleted or
//! altered by hand comes back. Only those with the label of this task are touched, so an APIService that a user made for
//! the same version stands. Several servers on one store write the same.

use std::collections::BTreeMap;
use std::sync::Arc;

use gantry_machinery::resource_api::{DeleteOptions, ResourceApi, Target, WriteOptions};
use gantry_machinery::status::Status;
use gantry_machinery::value::Value;
use gantry_store_cache::watch::Interest;
use tokio_util::sync::CancellationToken;

use crate::registry::handle::Handle;
use crate::registry::kinds::api_service::{self, API_SERVICES, COLLECTION};
use crate::registry::{Registry, body};

const BATCH: usize = 64;

/// Keeps the APIServices until `stop`.
pub(super) async fn run(registry: Arc<Registry>, handle: Handle, stop: CancellationToken) {
    let mut changes = registry.table().changes();
    loop {
        let since = registry.store().view().revision();
        let Ok(mut services) = registry.store().watch(Interest::all(COLLECTION), since) else { continue };
        loop {
            changes.mark_unchanged();
            if let Err(status) = settle(&registry, &handle).await {
                // Somebody else wrote, which is told in its turn; or the store is away, and so is everything else.
                tracing::debug!(%status, "an APIService was not written");
            }
            let told = tokio::select! {
                () = stop.cancelled() => return,
                changed = changes.changed() => changed.is_ok(),
                batch = services.next(BATCH) => batch.is_ok(),
            };
            if !told {
                break;
            }
        }
    }
}

/// Writes and deletes what is due.
async fn settle(registry: &Registry, handle: &Handle) -> Result<(), Status> {
    let mut wanted: BTreeMap<String, Value> = BTreeMap::new();
    for row in registry.table().custom_rows() {
        let gvr = row.gvr();
        wanted
            .entry(format!("{}.{}", gvr.version, gvr.group))
            .or_insert_with(|| api_service::announced(&gvr.group, &gvr.version));
    }
    let view = registry.store().view();
    for stored in view.scan(COLLECTION, None, None) {
        let name = stored.key.name();
        let announced = stored.facets.label(api_service::MANAGED) == Some(api_service::ALWAYS);
        let target = Target::object(&API_SERVICES, "", name);
        match wanted.remove(name) {
            _ if !announced => {}
            None => {
                handle.delete(&target, &DeleteOptions::default()).await?;
            }
            Some(right) => {
                let mut service = (*body::decode(&stored)?).clone();
                if service.get("spec") != right.get("spec") {
                    service.set(&["spec"], right.get("spec").cloned().unwrap_or_default());
                    handle.update(&target, service, &WriteOptions::default()).await?;
                }
            }
        }
    }
    for service in wanted.into_values() {
        match handle.create(&Target::object(&API_SERVICES, "", ""), service, &WriteOptions::default()).await {
            Err(status) if !status.is_already_exists() => return Err(status),
            _ => {}
        }
    }
    Ok(())
}
