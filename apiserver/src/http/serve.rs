//! The listening socket: TLS, connections and their limits, HTTP/1.1 and HTTP/2 on one port, and an orderly end.
//!
//! [`Listener::run`] is started by [`crate::server`] and hands each request, with what the connection's certificate
//! says, to a [`Handle`]. At shutdown it stops accepting, tells every connection to finish what it is doing (watches
//! end by the same token), and gives up on those that take too long.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls_pki_types::pem::PemObject;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::payload::Payload;
use super::stall::StallGuard;
use crate::gate::certificate::{AskForCertificate, ClientRoots, PeerCertificate, provider};
use crate::pki::Identity;

/// How long a TLS handshake may take.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
/// How long a connection may be idle, or take to send a request's head (upstream's idle timeout).
const IDLE_MAX: Duration = Duration::from_secs(90);
/// How often an HTTP/2 connection is asked whether anybody is there, and how long it has to answer.
const PING_EVERY: Duration = Duration::from_secs(30);
const PING_MAX: Duration = Duration::from_secs(20);
/// How long a client may leave what it is sent unread.
const STALL_MAX: Duration = Duration::from_secs(300);
/// Requests at once on one HTTP/2 connection: informers of every kind share one.
const STREAMS_MAX: u32 = 1000;
/// Bytes of request heads.
const HEAD_BYTES_MAX: u32 = 1 << 20;
/// How far an HTTP/2 client may send ahead, per request and per connection.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 4 << 20;
/// The pause after the system had no file descriptor or memory for a new connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Answers requests.
pub trait Handle: Send + Sync + 'static {
    /// The answer to one request.
    fn handle(
        self: Arc<Self>,
        peer: Arc<Peer>,
        request: Request<Incoming>,
    ) -> impl Future<Output = Response<Payload>> + Send;
}

/// The other end of a connection.
#[derive(Debug)]
pub struct Peer {
    /// Its address.
    pub address: SocketAddr,
    /// What its certificate says.
    pub certificate: PeerCertificate,
}

/// Why the server does not listen.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The port is taken.
    #[error("cannot listen on {0}: another process has the port (choose another with --secure-port)")]
    Taken(SocketAddr),
    /// Something else about the address.
    #[error("cannot listen on {address}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The certificate or its key cannot be used.
    #[error("cannot serve with this certificate: {0}")]
    Certificate(String),
}

/// A bound socket, ready to run.
pub struct Listener {
    tcp: TcpListener,
    address: SocketAddr,
    tls: TlsAcceptor,
    roots: Arc<ClientRoots>,
    connections: Arc<Semaphore>,
}

impl Listener {
    /// Binds. The server is not reachable before [`run`](Self::run), but the port is ours.
    ///
    /// # Errors
    /// [`ServeError`].
    pub async fn bind(
        address: SocketAddr,
        identity: &Identity,
        roots: Arc<ClientRoots>,
        connections_max: usize,
    ) -> Result<Self, ServeError> {
        let tls = tls_config(identity, &roots)?;
        let tcp = TcpListener::bind(address).await.map_err(|source| match source.kind() {
            io::ErrorKind::AddrInUse => ServeError::Taken(address),
            _ => ServeError::Bind { address, source },
        })?;
        let address = tcp.local_addr().map_err(|source| ServeError::Bind { address, source })?;
        let connections = Arc::new(Semaphore::new(connections_max));
        Ok(Self { tcp, address, tls: TlsAcceptor::from(Arc::new(tls)), roots, connections })
    }

    /// The address, with the port that the system chose where none was asked for.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `shutdown`, then lets what runs finish within `drain`.
    pub async fn run<H: Handle>(self, handler: Arc<H>, shutdown: CancellationToken, drain: Duration) {
        let connections = TaskTracker::new();
        let abandon = CancellationToken::new();
        let http = Arc::new(http_builder());
        loop {
            // A place first: while there is none, new connections wait in the system's backlog.
            let accepted = async {
                let place = self.connections.clone().acquire_owned().await.expect("the semaphore is never closed");
                (self.tcp.accept().await, place)
            };
            let (accepted, place) = tokio::select! {
                accepted = accepted => accepted,
                () = shutdown.cancelled() => break,
            };
            match accepted {
                Ok((tcp, address)) => {
                    let connection = Connection {
                        address,
                        tls: self.tls.clone(),
                        roots: self.roots.clone(),
                        http: http.clone(),
                        shutdown: shutdown.clone(),
                    };
                    let (handler, abandon) = (handler.clone(), abandon.clone());
                    connections.spawn(async move {
                        let _place = place;
                        tokio::select! {
                            () = connection.serve(tcp, handler) => {}
                            () = abandon.cancelled() => {}
                        }
                    });
                }
                Err(e) => {
                    tracing::warn!(error = %e, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        drop(self.tcp);
        connections.close();
        if tokio::time::timeout(drain, connections.wait()).await.is_err() {
            tracing::warn!(connections = connections.len(), "connections that did not end in time are broken off");
            abandon.cancel();
            connections.wait().await;
        }
    }
}

struct Connection {
    address: SocketAddr,
    tls: TlsAcceptor,
    roots: Arc<ClientRoots>,
    http: Arc<auto::Builder<TokioExecutor>>,
    shutdown: CancellationToken,
}

impl Connection {
    async fn serve<H: Handle>(self, tcp: TcpStream, handler: Arc<H>) {
        let address = self.address;
        // Frames are written whole; waiting for more to send would only delay them.
        if let Err(e) = tcp.set_nodelay(true) {
            tracing::debug!(%address, error = %e, "TCP_NODELAY");
        }
        let handshake = self.tls.accept(StallGuard::new(tcp, STALL_MAX));
        let stream = match tokio::time::timeout(HANDSHAKE_MAX, handshake).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(e)) => return tracing::debug!(%address, error = %e, "TLS handshake failed"),
            Err(_) => return tracing::debug!(%address, "TLS handshake took too long"),
        };
        let certificate = self.roots.judge(stream.get_ref().1.peer_certificates());
        let peer = Arc::new(Peer { address, certificate });
        let service = service_fn(move |request| {
            let (handler, peer) = (handler.clone(), peer.clone());
            async move { Ok::<_, Infallible>(handler.handle(peer, request).await) }
        });
        let connection = self.http.serve_connection_with_upgrades(TokioIo::new(stream), service);
        tokio::pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = self.shutdown.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(e) = ended {
            tracing::debug!(%address, error = %e, "the connection broke");
        }
    }
}

fn http_builder() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(IDLE_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(HEAD_BYTES_MAX)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_MAX);
    builder
}

fn tls_config(identity: &Identity, roots: &ClientRoots) -> Result<ServerConfig, ServeError> {
    let refuse = |e: &dyn std::fmt::Display| ServeError::Certificate(e.to_string());
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(identity.certificate.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|e| refuse(&e))?;
    let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).map_err(|e| refuse(&e))?;
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|e| refuse(&e))?
        .with_client_cert_verifier(AskForCertificate::new(roots.hints()))
        .with_single_cert(chain, key)
        .map_err(|e| refuse(&e))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}
