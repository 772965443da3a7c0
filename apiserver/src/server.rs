//! Start-up: from a [`Config`] and a [`Registry`] to a server that listens.
//!
//! Order matters: keys, then the port (so that a taken port changes nothing), then what a fresh cluster holds, then the
//! RBAC index, and only then requests. [`Running::stop`] does the reverse: not ready, no new connections, watches end,
//! requests finish.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use gantry_machinery::resource::Resource;
use gantry_machinery::status::Status;
use gantry_store_cache::store::Store;
use ring::rand::{SecureRandom, SystemRandom};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::bootstrap;
use crate::config::Config;
use crate::gate::authn::{Authenticator, static_tokens};
use crate::gate::authz::Authorizer;
use crate::gate::certificate::ClientRoots;
use crate::gate::flow::FlowControl;
use crate::gate::rbac::Rbac;
use crate::gate::schemas::FlowSchemas;
use crate::gate::token::{KeyError, TokenKeys, unix_now};
use crate::http::documents::Documents;
use crate::http::health::{Check, Health};
use crate::http::serve::{Listener, ServeError};
use crate::http::service::{AuditIds, Service};
use crate::metrics::{Metrics, sources};
use crate::pki::kubeconfig::write_kubeconfig;
use crate::pki::{Identity, Pki, PkiError, ServingNames};
use crate::registry::Registry;
use crate::registry::request::RequestContext;

/// Why the server did not start. Nothing of it runs.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration makes no sense.
    #[error("{}", .0.join("\n"))]
    Config(Vec<String>),
    /// The keys.
    #[error(transparent)]
    Pki(#[from] PkiError),
    /// A file that a flag names.
    #[error("cannot use {path} (--{flag}): {why}")]
    File {
        /// The flag.
        flag: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// The key that signs ServiceAccount tokens.
    #[error("cannot sign ServiceAccount tokens")]
    Key(#[from] KeyError),
    /// The socket.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// The first objects could not be written.
    #[error("cannot create the first objects: {0}")]
    Bootstrap(Status),
}

/// The API server.
pub struct ApiServer;

/// An API server that listens.
pub struct Running {
    address: SocketAddr,
    pki: Arc<Pki>,
    metrics: Arc<Metrics>,
    ready: Arc<AtomicBool>,
    shutdown: CancellationToken,
    serving: JoinHandle<()>,
    following: [JoinHandle<()>; 2],
}

impl ApiServer {
    /// Starts.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start(config: Config, registry: Arc<Registry>) -> Result<Running, StartError> {
        config.validate().map_err(StartError::Config)?;
        let service_ip = config.service_cluster_ip_range.nth(1);
        let advertised = config.advertised();
        let mut names = ServingNames::usual([service_ip, advertised, config.bind_address]);
        names.extend(&config.tls_sans);
        let pki = Arc::new(Pki::open(&config.cert_dir, &names, unix_now())?);
        let identity = match &config.tls {
            Some((certificate, key)) => {
                Identity { certificate: read("tls-cert-file", certificate)?, key: read("tls-private-key-file", key)? }
            }
            None => pki.serving.clone(),
        };
        let client_ca = match &config.client_ca_file {
            // Our own authority stays trusted: the loops of this process are its clients.
            Some(path) => format!("{}\n{}", read("client-ca-file", path)?, pki.ca.certificate),
            None => pki.ca.certificate.clone(),
        };
        let front_proxy_ca = match &config.requestheader_client_ca_file {
            Some(path) => read("requestheader-client-ca-file", path)?,
            None => pki.front_proxy_ca.certificate.clone(),
        };
        let roots = ClientRoots::new(&client_ca, &front_proxy_ca).map_err(|why| StartError::File {
            flag: "client-ca-file",
            path: config.client_ca_file.clone().unwrap_or_else(|| config.cert_dir.join("ca.crt")),
            why,
        })?;
        let roots = Arc::new(roots);
        let listener = Listener::bind(config.listen(), &identity, roots, config.connections_max).await?;
        let address = listener.address();

        let tokens = Arc::new(token_keys(&config, &pki)?);
        registry.set_token_issuer(tokens.clone());
        let facts = bootstrap::Facts {
            service_ip,
            service_range: format!(
                "{}/{}",
                config.service_cluster_ip_range.nth(0),
                config.service_cluster_ip_range.prefix
            ),
            advertise: advertised,
            port: address.port(),
            group_versions: group_versions(&registry),
            client_ca_pem: client_ca,
            front_proxy_ca_pem: front_proxy_ca,
        };
        bootstrap::run(&registry.as_user(RequestContext::in_process("gantry-bootstrap")), &facts)
            .await
            .map_err(StartError::Bootstrap)?;
        let rbac = Arc::new(Rbac::default());
        let since = rbac.load(registry.store());
        let following = tokio::spawn(rbac.clone().follow(registry.store().clone(), since));

        let schemas = Arc::new(FlowSchemas::default());
        let since = schemas.load(registry.store());
        let classifying = tokio::spawn(schemas.clone().follow(registry.store().clone(), since));

        let authorizer = Arc::new(Authorizer::new(config.authorization_mode.clone(), rbac));
        registry.set_authorizer(authorizer.clone());

        let shutdown = CancellationToken::new();
        let changes = registry.table().changes();
        registry.table().discoverable(0);
        registry.serve_custom_resources(shutdown.clone());
        let ready = Arc::new(AtomicBool::new(true));
        let metrics = Arc::new(Metrics::default());
        let flow = Arc::new(FlowControl::new(config.max_requests_inflight, config.max_mutating_requests_inflight));
        let (lanes, store) = (flow.clone(), registry.store().clone());
        metrics.add_source(move |out| sources::flow(&lanes, out));
        metrics.add_source(move |out| sources::store(&store, out));
        let reached_at = SocketAddr::new(advertised, address.port()).to_string();
        let documents = Documents::new(&discovered(&registry), &registry.table().custom_rows(), &reached_at);
        let service =
            Arc::new(Service {
                authenticator: Authenticator {
                    front_proxy_names: config.requestheader_allowed_names.clone(),
                    static_tokens: match &config.token_auth_file {
                        Some(path) => static_tokens(&read("token-auth-file", path)?)
                            .map_err(|why| StartError::File { flag: "token-auth-file", path: path.clone(), why })?,
                        None => std::collections::HashMap::new(),
                    },
                    tokens,
                    lookup: Arc::new(registry.store().clone()),
                    anonymous: config.anonymous_auth,
                },
                authorizer,
                flow,
                schemas,
                metrics: metrics.clone(),
                health: Health::new(checks(registry.store().clone(), ready.clone())),
                documents,
                shutdown: shutdown.clone(),
                request_timeout: config.request_timeout,
                ids: AuditIds::new(random()),
                registry,
            });
        tokio::spawn(republish(service.clone(), changes));
        tracing::info!(%address, "the API server listens");
        let serving = tokio::spawn(listener.run(service, shutdown.clone(), config.shutdown_grace));
        Ok(Running { address, pki, metrics, ready, shutdown, serving, following: [following, classifying] })
    }
}

/// What is done before the server listens, by the names that upstream gives the steps (`poststarthook/NAME`): an answer
/// from this server says that they are done. Who watches over a cluster asks for them by name.
const STARTED: [&str; 16] = [
    "poststarthook/start-kube-apiserver-admission-initializer",
    "poststarthook/generic-apiserver-start-informers",
    "poststarthook/priority-and-fairness-config-consumer",
    "poststarthook/priority-and-fairness-filter",
    "poststarthook/start-apiextensions-informers",
    "poststarthook/start-apiextensions-controllers",
    "poststarthook/crd-informer-synced",
    "poststarthook/start-system-namespaces-controller",
    "poststarthook/rbac/bootstrap-roles",
    "poststarthook/scheduling/bootstrap-system-priority-classes",
    "poststarthook/start-cluster-authentication-info-controller",
    "poststarthook/start-kube-aggregator-informers",
    "poststarthook/apiservice-registration-controller",
    "poststarthook/kube-apiserver-autoregistration",
    "autoregister-completion",
    "poststarthook/apiservice-openapi-controller",
];

/// What the health endpoints look at.
fn checks(store: Store, ready: Arc<AtomicBool>) -> Vec<Check> {
    let mut checks = vec![Check::alive("etcd", move || store.health()), Check::ready("informer-sync", || Ok(()))];
    checks.extend(STARTED.map(|step| Check::alive(step, || Ok(()))));
    checks.push(Check::ready("shutdown", move || {
        if ready.load(Ordering::Acquire) { Ok(()) } else { Err("shutting down".to_owned()) }
    }));
    checks
}

impl Running {
    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL by which clients on this machine reach it.
    #[must_use]
    pub fn local_url(&self) -> String {
        let host = match self.address.ip() {
            ip if !ip.is_unspecified() => ip,
            std::net::IpAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            std::net::IpAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        };
        format!("https://{}", SocketAddr::new(host, self.address.port()))
    }

    /// The cluster's keys.
    #[must_use]
    pub fn pki(&self) -> &Pki {
        &self.pki
    }

    /// What is counted: parts of this process may add series of their own.
    #[must_use]
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// Writes the administrator's kubeconfig.
    ///
    /// # Errors
    /// [`PkiError::File`].
    pub fn write_admin_kubeconfig(&self, path: &Path) -> Result<(), PkiError> {
        let (ca, admin) = (&self.pki.ca.certificate, &self.pki.admin);
        write_kubeconfig(path, &self.local_url(), ca, "kubernetes-admin", admin)
    }

    /// Stops: not ready any more, no new connections, watches end, running requests finish or are broken off after the
    /// configured grace.
    pub async fn stop(self) {
        self.ready.store(false, Ordering::Release);
        self.shutdown.cancel();
        if let Err(e) = self.serving.await {
            tracing::error!(error = %e, "the server's task failed");
        }
        self.following.iter().for_each(JoinHandle::abort);
    }
}

/// Makes the documents anew whenever the custom resources change.
async fn republish(service: Arc<Service>, mut changes: watch::Receiver<u64>) {
    while let Some(Ok(())) = service.shutdown.run_until_cancelled(changes.changed()).await {
        let change = *changes.borrow_and_update();
        let making = service.clone();
        let made = tokio::task::spawn_blocking(move || {
            making.documents.replace(&discovered(&making.registry), &making.registry.table().custom_rows());
        });
        if let Err(error) = made.await {
            tracing::error!(%error, "the documents were not made");
        }
        service.registry.table().discoverable(change);
    }
}

/// What discovery lists: the registry's resources, and those that are answered without being stored.
fn discovered(registry: &Registry) -> Vec<Resource> {
    let table = registry.table();
    table.resources().into_iter().chain(table.unstored().iter().map(|row| (*row).clone())).collect()
}

/// The group-versions of what discovery lists, each once.
fn group_versions(registry: &Registry) -> Vec<(String, String)> {
    let pairs = discovered(registry).into_iter().map(|r| (r.gvr.group.into_owned(), r.gvr.version.into_owned()));
    pairs.collect::<std::collections::BTreeSet<_>>().into_iter().collect()
}

fn token_keys(config: &Config, pki: &Pki) -> Result<TokenKeys, StartError> {
    let signing = match &config.service_account_signing_key_file {
        Some(path) => read("service-account-signing-key-file", path)?,
        None => pki.service_account_key.clone(),
    };
    let others = config
        .service_account_key_file
        .iter()
        .map(|path| read("service-account-key-file", path))
        .collect::<Result<Vec<_>, _>>()?;
    Ok(TokenKeys::new(&signing, &others, &config.service_account_issuer, &config.api_audiences)?)
}

/// The text of a file that a flag names.
pub(crate) fn read(flag: &'static str, path: &Path) -> Result<String, StartError> {
    fs::read_to_string(path).map_err(|e| StartError::File { flag, path: path.to_owned(), why: e.to_string() })
}

/// Random bits; zero where the system has none, which only makes audit ids less unique.
fn random() -> u64 {
    let mut bits = [0; 8];
    match SystemRandom::new().fill(&mut bits) {
        Ok(()) => u64::from_le_bytes(bits),
        Err(_) => 0,
    }
}
