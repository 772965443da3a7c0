//! A client with nothing between a test and the wire: one TLS connection, one request at a time.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(dead_code, reason = "each test binary uses its own part of this module")]

use std::fmt::Debug;
use std::io::Read;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use gantry_apiserver::gate::certificate::provider;
use gantry_apiserver::pki::Identity;
use http::{HeaderMap, Request};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls_pki_types::pem::PemObject;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// How long anything may take before a test gives up.
const PATIENCE: Duration = Duration::from_secs(60);

/// A connection.
pub(crate) enum Client {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) code: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// An answer that goes on.
pub(crate) struct Lines {
    body: Incoming,
    read: Vec<u8>,
    _client: Client,
}

impl Client {
    pub(crate) async fn connect(address: SocketAddr, ca: &str, identity: Option<&Identity>) -> Self {
        let io = tls(address, ca, identity, b"http/1.1").await;
        let (send, connection) = http1::handshake(io).await.unwrap();
        tokio::spawn(connection);
        Self::Http1(send)
    }

    pub(crate) async fn connect_http2(address: SocketAddr, ca: &str, identity: Option<&Identity>) -> Self {
        let io = tls(address, ca, identity, b"h2").await;
        let (send, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
        tokio::spawn(connection);
        Self::Http2(send)
    }

    pub(crate) async fn get(&mut self, path: &str) -> Answer {
        self.send("GET", path, &[], "").await
    }

    pub(crate) async fn send(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes> + Debug,
    ) -> Answer {
        let response = self.begin(method, path, headers, body.into()).await;
        let (parts, body) = response.into_parts();
        let body = tokio::time::timeout(PATIENCE, body.collect()).await.expect("an answer in time").unwrap().to_bytes();
        Answer { code: parts.status.as_u16(), headers: parts.headers, body }
    }

    /// Another user of the same HTTP/2 connection.
    pub(crate) fn another(&self) -> Self {
        match self {
            Self::Http2(send) => Self::Http2(send.clone()),
            Self::Http1(_) => panic!("HTTP/1.1 carries one request at a time"),
        }
    }

    /// The beginning of an answer that goes on, up to where `enough` says so.
    pub(crate) async fn beginning(
        &mut self,
        path: &str,
        headers: &[(&str, &str)],
        enough: impl Fn(&[u8]) -> bool,
    ) -> Answer {
        let (parts, mut body) = self.begin("GET", path, headers, Bytes::new()).await.into_parts();
        let mut read = Vec::new();
        while !enough(&read) {
            let frame = tokio::time::timeout(PATIENCE, body.frame()).await.expect("a frame in time");
            let Some(frame) = frame else { break };
            read.extend_from_slice(&frame.expect("no error").into_data().unwrap_or_default());
        }
        Answer { code: parts.status.as_u16(), headers: parts.headers, body: read.into() }
    }

    pub(crate) async fn open(self, path: &str) -> Lines {
        self.open_with(path, &[]).await
    }

    pub(crate) async fn open_with(mut self, path: &str, headers: &[(&str, &str)]) -> Lines {
        let response = self.begin("GET", path, headers, Bytes::new()).await;
        Lines { body: response.into_body(), read: Vec::new(), _client: self }
    }

    async fn begin(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> http::Response<Incoming> {
        let mut request = Request::builder().method(method).uri(path).header("host", "localhost");
        if matches!(self, Self::Http2(_)) {
            request = Request::builder().method(method).uri(format!("https://localhost{path}"));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body)).unwrap();
        let response = async {
            match self {
                Self::Http1(send) => {
                    send.ready().await.unwrap();
                    send.send_request(request).await.unwrap()
                }
                Self::Http2(send) => send.send_request(request).await.unwrap(),
            }
        };
        tokio::time::timeout(PATIENCE, response).await.expect("an answer in time")
    }
}

async fn tls(
    address: SocketAddr,
    ca: &str,
    identity: Option<&Identity>,
    protocol: &[u8],
) -> TokioIo<tokio_rustls::client::TlsStream<TcpStream>> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca.as_bytes()).unwrap()).unwrap();
    let builder = rustls::ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let mut config = match identity {
        Some(identity) => {
            let certificate = CertificateDer::from_pem_slice(identity.certificate.as_bytes()).unwrap();
            let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).unwrap();
            builder.with_client_auth_cert(vec![certificate], key).unwrap()
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![protocol.to_vec()];
    let tcp = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    TokioIo::new(TlsConnector::from(Arc::new(config)).connect(name, tcp).await.unwrap())
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {} {}", self.code, self.text()))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |v| v.to_str().unwrap())
    }

    pub(crate) fn gunzipped(&self) -> Bytes {
        let mut out = Vec::new();
        flate2::read::GzDecoder::new(&self.body[..]).read_to_end(&mut out).unwrap();
        out.into()
    }
}

impl Lines {
    /// The next line; `None` at the stream's clean end.
    pub(crate) async fn line(&mut self) -> Option<serde_json::Value> {
        loop {
            if let Some(end) = self.read.iter().position(|b| *b == b'\n') {
                let line: Vec<u8> = self.read.drain(..=end).collect();
                return Some(serde_json::from_slice(&line).unwrap());
            }
            let frame = tokio::time::timeout(PATIENCE, self.body.frame()).await.expect("an event in time")?;
            self.read.extend_from_slice(&frame.expect("no error").into_data().unwrap_or_default());
        }
    }
}
