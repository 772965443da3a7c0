//! What tests of single loops stand on: a registry in memory, and time that moves only when it is told to.

use std::sync::Arc;
use std::time::Duration;

use gantry_apiserver::registry::Registry;
use gantry_apiserver::registry::describe::FacetReader;
use gantry_apiserver::registry::kinds;
use gantry_apiserver::registry::request::RequestContext;
use gantry_apiserver::registry::table::Table;
use gantry_machinery::resource::{GroupVersionResource, gvr};
use gantry_machinery::resource_api::{ResourceApi, Target, WriteOptions};
use gantry_machinery::typed::parse;
use gantry_store_cache::store::Store;
use serde_json::{Value, json};

/// An empty API with its first namespaces.
pub(crate) async fn api() -> Arc<dyn ResourceApi> {
    let store = Store::in_memory(Arc::new(FacetReader::new(Table::new(kinds::all()))));
    let registry = Registry::new(store, Table::new(kinds::all()));
    let api: Arc<dyn ResourceApi> = Arc::new(registry.as_user(RequestContext::in_process("test")));
    for namespace in ["default", "kube-system"] {
        let body = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}});
        create(&*api, &gvr::NAMESPACES, "", body).await;
    }
    api
}

pub(crate) async fn create(api: &dyn ResourceApi, resource: &GroupVersionResource, namespace: &str, body: Value) {
    let object = parse(body.to_string().as_bytes()).unwrap();
    api.create(&Target::object(resource, namespace, ""), object, &WriteOptions::default()).await.unwrap();
}

/// The object, if it exists.
pub(crate) async fn get(
    api: &dyn ResourceApi,
    resource: &GroupVersionResource,
    namespace: &str,
    name: &str,
) -> Option<Value> {
    let object = api.get(&Target::object(resource, namespace, name)).await.ok()?;
    Some(serde_json::from_slice(&object.body).unwrap())
}

/// Time stands still while this lives, but for [`pass`](Self::pass): tokio's paused clock alone would run ahead
/// whenever a task waits for the store's thread, which it does not do while something blocks.
pub(crate) struct FrozenTime {
    _release: std::sync::mpsc::Sender<()>,
}

impl FrozenTime {
    /// Stops the clock of this (single-threaded) runtime.
    pub(crate) fn new() -> Self {
        let (release, held) = std::sync::mpsc::channel();
        tokio::task::spawn_blocking(move || {
            // Ends, with an error, when the other end is dropped.
            let _ = held.recv();
        });
        tokio::time::pause();
        Self { _release: release }
    }

    pub(crate) async fn pass(&self, seconds: u64) {
        tokio::time::advance(Duration::from_secs(seconds)).await;
    }
}
