//! The roles `backup` and `restore`: the embedded store of a stopped server to a file, and back.

use std::sync::Arc;

use anyhow::Context as _;
use gantry_apiserver::registry::describe::FacetReader;
use gantry_apiserver::registry::kinds;
use gantry_apiserver::registry::table::Table;
use gantry_store_cache::config::StoreConfig;
use gantry_store_cache::store::Store;
use gantry_store_cache::store::backup;

use crate::flags::{self, Backup, Restore};
use crate::say;
use crate::serve::store_dir;

pub(crate) fn backup(flags: Backup) -> anyhow::Result<()> {
    let dir = store_dir(&flags::data_dir(flags.data_dir)?);
    anyhow::ensure!(dir.exists(), "there is no store in {}", dir.display());
    let describe = Arc::new(FacetReader::new(Table::new(kinds::every())));
    let store = Store::open(StoreConfig::embedded(&dir), describe, Vec::new())
        .with_context(|| format!("cannot open {} (is its server still running?)", dir.display()))?;
    let revision = store.backup(&flags.file)?;
    store.close();
    say(&format!("revision {revision} is in {}", flags.file.display()))
}

pub(crate) fn restore(flags: &Restore) -> anyhow::Result<()> {
    let dir = store_dir(&flags::data_dir(flags.data_dir.clone())?);
    let revision = backup::restore(&flags.file, &dir)?;
    say(&format!("revision {revision} of {} is in {}", flags.file.display(), dir.display()))
}
