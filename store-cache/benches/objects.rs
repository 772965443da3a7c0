//! Pods of about 2 KiB, as the benches write them.

use std::sync::Arc;

use gantry_store_cache::config::{ExecutorKind, StoreConfig};
use gantry_store_cache::key::ObjectKey;
use gantry_store_cache::object::{Facets, NewBody};
use gantry_store_cache::store::{Describe, Store};
use gantry_store_cache::txn::{Expect, Txn, Write};
use tokio::runtime::Runtime;

pub(crate) const NODE: &str = "spec.nodeName";
pub(crate) const BODY_BYTES: usize = 2 << 10;

struct Nothing;

impl Describe for Nothing {
    fn facets(&self, _key: &ObjectKey, _body: &[u8]) -> Facets {
        Facets::default()
    }
}

pub(crate) fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap()
}

pub(crate) fn open(mut config: StoreConfig) -> Store {
    config.indexed_fields = vec![("pods".into(), vec![NODE])];
    config.executors = ExecutorKind::Auto;
    Store::open(config, Arc::new(Nothing), Vec::new()).unwrap()
}

pub(crate) fn key(n: usize) -> ObjectKey {
    ObjectKey::new("pods", &format!("ns-{:02}", n % 50), &format!("pod-{n:06}"))
}

pub(crate) fn put(n: usize) -> Txn {
    let mut bytes = b"{\"metadata\":{\"resourceVersion\":\"\"},\"spec\":\"".to_vec();
    bytes.resize(BODY_BYTES, b'x');
    let facets = Facets {
        labels: vec![("app".into(), format!("app-{}", n % 100).into())].into(),
        fields: vec![(NODE, format!("node-{}", n % 5000).into())].into(),
    };
    let body = NewBody { bytes, revision_slot: Some(32) };
    Txn::one(key(n), Expect::Any, Write::Put { body, facets, ttl: None })
}

pub(crate) fn fill(runtime: &Runtime, store: &Store, count: usize) {
    for start in (0..count).step_by(1000) {
        let txns = (start..(start + 1000).min(count)).map(put).collect();
        assert!(runtime.block_on(store.commit_all(txns)).iter().all(Result::is_ok));
    }
}
