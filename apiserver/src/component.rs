//! What a component other than the API server says of itself over HTTPS: health, metrics, configuration. Upstream's
//! `kube-scheduler` (10259) and `kube-controller-manager` (10257) serve the same paths in the same way.
//!
//! Made by a role's `main` before its work begins, so that probes find it while it waits to lead. Who may read what is
//! asked of the API server ([`delegated`]); liveness and readiness are open to everybody. Nothing here holds up the
//! component's work: pages are made when asked for.

pub mod delegated;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use gantry_machinery::resource_api::ResourceApi;
use gantry_machinery::status::Status;
use http::{Method, Request, Response};
use hyper::body::Incoming;
use rcgen::ExtendedKeyUsagePurpose;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::gate::certificate::ClientRoots;
use crate::gate::token::unix_now;
use crate::http::answer::{self, Voice};
use crate::http::health::Health;
use crate::http::payload::Payload;
use crate::http::query::Query;
use crate::http::serve::{Handle, Listener, Peer};
use crate::pki::issue::{Authority, Subject};
use crate::pki::{Identity, PkiError, ServingNames};
use crate::server::{StartError, read};
use delegated::Delegated;

/// The media type of metrics.
pub const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";
/// Connections at once: scrapers and probes are few.
const CONNECTIONS_MAX: usize = 256;
/// How long requests under way may take at the end.
const DRAIN: Duration = Duration::from_secs(2);
/// How long an answer may take.
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// How a component serves.
#[derive(Clone, Debug)]
pub struct Serving {
    /// Where it listens.
    pub address: SocketAddr,
    /// Certificate and key; without them a self-signed certificate is made, which lives as long as the process.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// The authority of client certificates; without it the cluster's own, as it publishes it.
    pub client_ca_file: Option<PathBuf>,
    /// Paths that everybody may read, a `*` at the end standing for anything.
    pub always_allowed: Vec<String>,
}

/// A page that is made when it is asked for.
pub struct Page {
    path: &'static str,
    content_type: &'static str,
    make: Box<dyn Fn() -> BoxFuture<'static, Result<String, Status>> + Send + Sync>,
}

impl Page {
    /// A page made at once.
    pub fn new(
        path: &'static str,
        content_type: &'static str,
        make: impl Fn() -> String + Send + Sync + 'static,
    ) -> Self {
        let make = move || -> BoxFuture<'static, Result<String, Status>> {
            let text = make();
            Box::pin(std::future::ready(Ok(text)))
        };
        Self { path, content_type, make: Box::new(make) }
    }

    /// A page for which others must be asked first.
    pub fn asked<F>(
        path: &'static str,
        content_type: &'static str,
        make: impl Fn() -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Result<String, Status>> + Send + 'static,
    {
        Self { path, content_type, make: Box::new(move || Box::pin(make())) }
    }
}

/// A component that serves. Dropped, it goes on until its token ends it.
pub struct Running {
    address: SocketAddr,
    serving: JoinHandle<()>,
}

impl Running {
    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits until it has stopped serving.
    pub async fn stopped(self) {
        if let Err(error) = self.serving.await {
            tracing::error!(%error, "the task that serves health and metrics failed");
        }
    }
}

/// Serves until `stop`. `authn` and `authz` are asked who somebody is and what they may.
///
/// # Errors
/// [`StartError`]: a taken port, a certificate that cannot be used.
pub async fn serve(
    serving: &Serving,
    health: Health,
    pages: Vec<Page>,
    authn: Arc<dyn ResourceApi>,
    authz: Arc<dyn ResourceApi>,
    stop: CancellationToken,
) -> Result<Running, StartError> {
    let identity = match &serving.tls {
        Some((certificate, key)) => {
            Identity { certificate: read("tls-cert-file", certificate)?, key: read("tls-private-key-file", key)? }
        }
        None => self_signed(serving)?,
    };
    let client_ca = serving.client_ca_file.as_ref().map(|path| read("client-ca-file", path)).transpose()?;
    let roots = ClientRoots::new(client_ca.as_deref().unwrap_or_default(), "").map_err(|why| StartError::File {
        flag: "client-ca-file",
        path: serving.client_ca_file.clone().unwrap_or_default(),
        why,
    })?;
    let roots = Arc::new(roots);
    let listener = Listener::bind(serving.address, &identity, roots.clone(), CONNECTIONS_MAX).await?;
    let address = listener.address();
    if client_ca.is_none() {
        let following = delegated::follow_client_ca(authn.clone(), roots);
        let stop = stop.clone();
        tokio::spawn(async move { stop.run_until_cancelled(following).await });
    }
    let gate = Delegated::new(authn, authz, serving.always_allowed.clone());
    let component = Arc::new(Component { health, pages, gate });
    tracing::info!(%address, "health and metrics are served");
    let serving = tokio::spawn(listener.run(component, stop, DRAIN));
    Ok(Running { address, serving })
}

/// A certificate that nobody signed but ourselves, for this process alone (upstream's without `--cert-dir`).
fn self_signed(serving: &Serving) -> Result<Identity, StartError> {
    let issue = |source| PkiError::Issue { path: "a self-signed certificate".into(), source };
    let ServingNames { names, addresses } = ServingNames::usual([serving.address.ip()]);
    let usage = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let subject = Subject { common_name: "localhost".into(), names, addresses, usage, ..Subject::default() };
    let now = unix_now();
    let (authority, _) = Authority::new("localhost-ca", now).map_err(issue)?;
    Ok(authority.issue(&subject, now).map_err(issue)?)
}

struct Component {
    health: Health,
    pages: Vec<Page>,
    gate: Delegated,
}

impl Handle for Component {
    async fn handle(self: Arc<Self>, peer: Arc<Peer>, request: Request<Incoming>) -> Response<Payload> {
        let voice = Voice::of(request.headers(), request.uri().query().unwrap_or_default());
        let headers_only = *request.method() == Method::HEAD;
        let answered = match tokio::time::timeout(ANSWER_MAX, self.answer(&peer, &request)).await {
            Ok(answered) => answered,
            Err(_) => Err(Status::timeout("request did not complete within the allotted timeout", 0)),
        };
        let mut response = answered.unwrap_or_else(|status| voice.error(&status));
        if headers_only {
            *response.body_mut() = Payload::empty();
        }
        response
    }
}

impl Component {
    async fn answer(&self, peer: &Peer, request: &Request<Incoming>) -> Result<Response<Payload>, Status> {
        let path = request.uri().path();
        self.gate.admit(&peer.certificate, request.headers(), request.method(), path).await?;
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return Err(Status::method_not_allowed());
        }
        let first = path.trim_start_matches('/').split('/').next().unwrap_or_default();
        if matches!(first, "healthz" | "livez" | "readyz") {
            let query = Query::new(request.uri().query().unwrap_or_default());
            return Ok(self.health.answer(path, &query).unwrap_or_else(answer::no_such_path));
        }
        let Some(page) = self.pages.iter().find(|page| page.path == path) else { return Ok(answer::no_such_path()) };
        let text = (page.make)().await?;
        Ok(answer::response(200, page.content_type, Payload::whole(Bytes::from(text))))
    }
}
