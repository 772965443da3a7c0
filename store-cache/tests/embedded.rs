//! The promises on the engines of one machine, and what only they promise: durability, bounds, times to live.

use std::sync::Arc;

use gantry_store_cache::config::StoreConfig;
use gantry_store_cache::store::Store;

use crate::fixture::*;

fn config(mut config: StoreConfig) -> StoreConfig {
    config.shards = 3;
    config.indexed_fields = vec![("pods".into(), vec![NODE])];
    config
}

fn open(with: StoreConfig) -> Store {
    Store::open(config(with), Arc::new(Lines), Vec::new()).unwrap()
}

mod memory {
    use super::*;

    crate::suite::promises!(async { (open(StoreConfig::default()), ()) });
}

mod disk {
    use super::*;

    crate::suite::promises!(async {
        let directory = tempfile::tempdir().unwrap();
        (open(StoreConfig::embedded(directory.path())), directory)
    });
}
