//! A small cluster without sockets: the registry over a store in memory, with the namespace and account that pods need.

use std::sync::Arc;

use gantry_apiserver::registry::Registry;
use gantry_apiserver::registry::describe::{FacetReader, indexed_fields};
use gantry_apiserver::registry::handle::Handle;
use gantry_apiserver::registry::kinds;
use gantry_apiserver::registry::request::RequestContext;
use gantry_apiserver::registry::table::Table;
use gantry_machinery::codec::json;
use gantry_machinery::resource::{GroupVersionResource, gvr};
use gantry_machinery::resource_api::{PatchBody, PatchKind, ResourceApi, Target, WriteOptions};
use gantry_machinery::status::Status;
use gantry_machinery::value;
use gantry_machinery::value::Value;
use gantry_store_cache::config::{ExecutorKind, StoreConfig};
use gantry_store_cache::object::StoredObject;
use gantry_store_cache::store::Store;

/// A registry, and a handle of an administrator on it.
pub(crate) struct Cluster {
    pub(crate) registry: Arc<Registry>,
    pub(crate) api: Handle,
}

impl Cluster {
    /// A cluster with the namespace `default` and its default account.
    pub(crate) async fn new() -> Self {
        Self::with(|_| {}).await
    }

    /// The same, on a store configured otherwise.
    pub(crate) async fn with(adjust: impl FnOnce(&mut StoreConfig)) -> Self {
        let mut config = StoreConfig {
            shards: 2,
            executors: ExecutorKind::Inline,
            indexed_fields: indexed_fields(),
            ..StoreConfig::default()
        };
        adjust(&mut config);
        let describe = Arc::new(FacetReader::new(Table::new(kinds::all())));
        let store = Store::open(config, describe, Vec::new()).unwrap();
        let registry = Registry::new(store, Table::new(kinds::all()));
        let api = registry.as_user(RequestContext::in_process("test"));
        let cluster = Self { registry, api };
        cluster.create(&gvr::NAMESPACES, "", value!({"metadata": {"name": "default"}})).await.unwrap();
        let account = value!({"metadata": {"name": "default"}});
        cluster.create(&gvr::SERVICE_ACCOUNTS, "default", account).await.unwrap();
        cluster
    }

    pub(crate) async fn create(
        &self,
        resource: &GroupVersionResource,
        namespace: &str,
        object: Value,
    ) -> Result<Arc<StoredObject>, Status> {
        self.api.create(&Target::object(resource, namespace, ""), object, &WriteOptions::default()).await
    }

    pub(crate) async fn get(&self, resource: &GroupVersionResource, name: &str) -> Result<Arc<StoredObject>, Status> {
        self.api.get(&Target::object(resource, namespace_of(resource), name)).await
    }

    pub(crate) async fn update(
        &self,
        resource: &GroupVersionResource,
        object: Value,
    ) -> Result<Arc<StoredObject>, Status> {
        let name = object.str_at(&["metadata", "name"]).unwrap().to_owned();
        let target = Target::object(resource, namespace_of(resource), &name);
        self.api.update(&target, object, &WriteOptions::default()).await
    }

    pub(crate) async fn patch(
        &self,
        resource: &GroupVersionResource,
        name: &str,
        kind: PatchKind,
        document: &str,
    ) -> Result<Arc<StoredObject>, Status> {
        let target = Target::object(resource, namespace_of(resource), name);
        let options = WriteOptions { field_manager: "patcher".into(), ..WriteOptions::default() };
        self.api.patch(&target, PatchBody { kind, body: document.to_owned().into() }, &options).await
    }

    /// The store's revision: unchanged means that nothing was written.
    pub(crate) fn revision(&self) -> u64 {
        self.registry.store().view().revision().0
    }
}

fn namespace_of(resource: &GroupVersionResource) -> &'static str {
    if matches!(resource.resource.as_ref(), "nodes" | "namespaces") { "" } else { "default" }
}

/// The decoded object.
pub(crate) fn value(object: &StoredObject) -> Value {
    json::parse(&object.body).unwrap()
}

pub(crate) fn config_map(name: &str) -> Value {
    value!({"metadata": {"name": name, "namespace": "default"}, "data": {"k": "v"}})
}

pub(crate) fn pod(name: &str) -> Value {
    value!({
        "metadata": {"name": name, "namespace": "default", "labels": {"app": "web"}},
        "spec": {"containers": [{"name": "c", "image": "nginx"}]},
    })
}

pub(crate) fn deployment(name: &str) -> Value {
    value!({
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "c", "image": "nginx"}]},
            },
        },
    })
}

/// Code, reason and message in one, for comparing.
pub(crate) fn told<T>(outcome: Result<T, Status>) -> (u16, &'static str, String) {
    match outcome {
        Ok(_) => (200, "", String::new()),
        Err(status) => (status.code, status.reason, status.message),
    }
}
