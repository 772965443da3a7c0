//! The API server on its store: what `up` and `apiserver` have in common.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context as _;
use gantry_apiserver::config::Config;
use gantry_apiserver::registry::Registry;
use gantry_apiserver::registry::describe::{FacetReader, indexed_fields};
use gantry_apiserver::registry::kinds;
use gantry_apiserver::registry::runtime_config::RuntimeConfig;
use gantry_apiserver::registry::table::Table;
use gantry_apiserver::server::{ApiServer, Running};
use gantry_machinery::feature::Gates;
use gantry_scheduler_core::rows::projection::{NodeProjection, PodProjection};
use gantry_store_cache::config::{EtcdConfig, StoreConfig};
use gantry_store_cache::projection::Projection;
use gantry_store_cache::store::Store;

use crate::flags::{self, Apiserver};
use crate::signals::Signals;
use crate::{log, say};

/// An API server that listens, with what is needed to run loops beside it and to end it in order.
pub(crate) struct Served {
    pub(crate) server: Running,
    pub(crate) registry: Arc<Registry>,
    pub(crate) kubeconfig: PathBuf,
    /// Which features are on.
    pub(crate) gates: Gates,
    store: Store,
}

impl Served {
    /// Opens the store and starts the server on it.
    pub(crate) async fn start(flags: &Apiserver) -> anyhow::Result<Self> {
        let data_dir = flags::data_dir(flags.data_dir.clone())?;
        create_private(&data_dir)?;
        let config = config(flags, &data_dir)?;
        config.validate().map_err(|wrong| anyhow::anyhow!(wrong.join("; ")))?;

        let served = RuntimeConfig::parse(flags.runtime_config.iter().map(String::as_str))
            .map_err(|error| anyhow::anyhow!("--runtime-config: {error}"))?;

        let gates = flags.features.gates()?;

        let store = open(flags, &data_dir).await?;
        let registry = Registry::new(store.clone(), Table::served(&served, gates));
        let server = ApiServer::start(config, registry.clone()).await?;
        server.metrics().add_source(move |out| gates.write_metrics(out));
        let kubeconfig = data_dir.join("admin.kubeconfig");
        server.write_admin_kubeconfig(&kubeconfig)?;
        Ok(Self { server, registry, kubeconfig, gates, store })
    }

    /// Ends the server, then the store: every acknowledged write is on disk when this returns.
    pub(crate) async fn stop(self) {
        self.server.stop().await;
        let store = self.store;
        let _ = tokio::task::spawn_blocking(move || store.close()).await;
    }
}

/// The role `apiserver`.
pub(crate) fn run(flags: Apiserver) -> anyhow::Result<()> {
    log::start(&flags.logging);
    runtime()?.block_on(async {
        let began = Instant::now();
        let mut signals = Signals::listen()?;
        let served = Served::start(&flags).await?;
        say(&format!(
            "gantry apiserver listens on {} ({:.2} s)\n  export KUBECONFIG={}",
            served.server.local_url(),
            began.elapsed().as_secs_f64(),
            served.kubeconfig.display()
        ))?;
        let signal = signals.next().await;
        tracing::info!(signal, "shutting down");
        served.stop().await;
        Ok(())
    })
}

/// One worker per core, all kinds of I/O.
pub(crate) fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start the runtime")
}

/// The rows that schedulers read, in this process and others.
fn projections() -> Vec<Arc<dyn Projection>> {
    vec![Arc::new(NodeProjection), Arc::new(PodProjection)]
}

fn config(flags: &Apiserver, data_dir: &Path) -> anyhow::Result<Config> {
    let mut config = Config::new(data_dir.join("pki"));
    config.bind_address = flags.bind_address;
    config.secure_port = flags.secure_port;
    config.tls_sans.clone_from(&flags.tls_san);
    config.anonymous_auth = flags.anonymous_auth;
    config.authorization_mode = flags
        .authorization_mode
        .split(',')
        .map(|mode| mode.parse().map_err(|error| anyhow::anyhow!("--authorization-mode: {error}")))
        .collect::<anyhow::Result<_>>()?;
    config.service_cluster_ip_range = flags
        .service_cluster_ip_range
        .parse()
        .map_err(|error| anyhow::anyhow!("--service-cluster-ip-range: {error}"))?;
    config.max_requests_inflight = flags.max_requests_inflight;
    config.max_mutating_requests_inflight = flags.max_mutating_requests_inflight;
    Ok(config)
}

async fn open(flags: &Apiserver, data_dir: &Path) -> anyhow::Result<Store> {
    let mut config = if flags.etcd_servers.is_empty() {
        StoreConfig::embedded(store_dir(data_dir))
    } else {
        let mut etcd = EtcdConfig::new(flags.etcd_servers.clone());
        etcd.prefix.clone_from(&flags.etcd_prefix);
        StoreConfig::etcd(etcd)
    };
    if let Some(shards) = flags.shards {
        anyhow::ensure!((1..=256).contains(&shards), "--shards: {shards} is not between 1 and 256");
        config.shards = shards;
    }
    config.relaxed = flags.relaxed_durability.iter().map(Into::into).collect();
    config.indexed_fields = indexed_fields();
    let describe = Arc::new(FacetReader::new(Table::new(kinds::every())));
    let opened = tokio::task::spawn_blocking(move || Store::open(config, describe, projections())).await?;
    opened.context("cannot open the store")
}

/// Where the embedded store is inside the data directory.
pub(crate) fn store_dir(data_dir: &Path) -> PathBuf {
    data_dir.join("store")
}

/// Makes the data directory; it holds keys, so nobody else may look inside.
fn create_private(dir: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(dir)
        .and_then(|()| fs::set_permissions(dir, fs::Permissions::from_mode(0o700)))
        .with_context(|| format!("cannot use --data-dir {}", dir.display()))
}
