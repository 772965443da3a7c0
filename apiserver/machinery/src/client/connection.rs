//! One HTTP/2 connection to an API server, opened when first needed and again after it broke. The load generator opens
//! its own with [`open`].

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio_rustls::TlsConnector;

use super::kubeconfig::Access;
use crate::status::Status;

/// Windows large enough that a long list does not wait for round trips.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;

/// TLS as the server of `access` wants it, speaking HTTP/2.
#[must_use]
pub fn connector(access: &Access) -> TlsConnector {
    let mut tls: ClientConfig = access.tls.as_ref().clone();
    tls.alpn_protocols = vec![b"h2".to_vec()];
    TlsConnector::from(Arc::new(tls))
}

/// Opens one connection. It ends by itself; what went wrong is told to the requests under way.
///
/// # Errors
/// Nobody listens, or no TLS or HTTP/2 can be agreed on.
pub async fn open(access: &Access, tls: &TlsConnector) -> std::io::Result<SendRequest<Full<Bytes>>> {
    let stream = TcpStream::connect((access.host.as_str(), access.port)).await?;
    stream.set_nodelay(true)?;
    let name = ServerName::try_from(access.server_name.clone()).map_err(std::io::Error::other)?;
    let stream = tls.connect(name, stream).await?;
    let (sender, connection) = Builder::new(TokioExecutor::new())
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(std::io::Error::other)?;
    tokio::spawn(connection);
    Ok(sender)
}

/// A connection that heals itself: a request after a break opens a new one. Failed requests are not repeated here,
/// since only the caller knows whether that is safe.
pub(super) struct Connection {
    access: Access,
    tls: TlsConnector,
    user_agent: String,
    sender: Mutex<Option<SendRequest<Full<Bytes>>>>,
}

impl Connection {
    pub(super) fn new(access: Access, user_agent: &str) -> Self {
        let tls = connector(&access);
        Self { access, tls, user_agent: user_agent.to_owned(), sender: Mutex::new(None) }
    }

    /// Sends a request; the answer's body is still to come.
    ///
    /// # Errors
    /// 503 `ServiceUnavailable` when the server cannot be reached or hangs up.
    pub(super) async fn send(
        &self,
        method: Method,
        path: &str,
        content_type: Option<&str>,
        body: Bytes,
    ) -> Result<Response<Incoming>, Status> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!(
                "https://{}:{}{}{path}",
                bracketed(&self.access.host),
                self.access.port,
                self.access.path_prefix
            ))
            .header("accept", "application/json")
            .header("user-agent", &self.user_agent);
        if let Some(content_type) = content_type {
            request = request.header("content-type", content_type);
        }
        if let Some(token) = &self.access.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let request = request
            .body(Full::new(body))
            .map_err(|error| Status::bad_request(format!("the request cannot be written: {error}")))?;
        let mut sender = self.sender().await?;
        sender.send_request(request).await.map_err(|error| self.unreachable(&error))
    }

    async fn sender(&self) -> Result<SendRequest<Full<Bytes>>, Status> {
        // Held across the handshake on purpose: callers that come meanwhile wait for the one connection.
        let mut held = self.sender.lock().await;
        if let Some(sender) = held.as_mut()
            && sender.ready().await.is_ok()
        {
            return Ok(sender.clone());
        }
        let sender = self.open().await?;
        *held = Some(sender.clone());
        Ok(sender)
    }

    async fn open(&self) -> Result<SendRequest<Full<Bytes>>, Status> {
        open(&self.access, &self.tls).await.map_err(|error| self.unreachable(&error))
    }

    fn unreachable(&self, error: &dyn std::error::Error) -> Status {
        Status::service_unavailable(format!("{}:{} cannot be reached: {error}", self.access.host, self.access.port))
    }
}

/// IPv6 addresses stand in brackets in URLs.
fn bracketed(host: &str) -> std::borrow::Cow<'_, str> {
    if host.contains(':') { format!("[{host}]").into() } else { host.into() }
}
