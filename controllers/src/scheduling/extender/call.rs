//! One call of an extender: a POST of JSON over HTTP/1.1, plain or in TLS, answered in time or not at all.

use bytes::Bytes;
use http::{Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

use super::ExtenderConfig;

/// The longest answer that is read: 100,000 nodes and their reasons fit.
const ANSWER_MAX: usize = 64 << 20;

/// Asks an extender. Errors are texts for people: upstream's, with the URL.
pub(super) async fn post<A: DeserializeOwned>(
    extender: &ExtenderConfig,
    verb: &str,
    body: &impl Serialize,
) -> Result<A, String> {
    let url = format!("{}/{verb}", extender.url_prefix);
    let body = serde_json::to_vec(body).map_err(|error| error.to_string())?;
    let asked = tokio::time::timeout(extender.timeout, send(extender, &url, body)).await;
    let answer = asked.map_err(|_| format!("Post {url:?}: no answer within {:?}", extender.timeout))?;
    let (status, answer) = answer.map_err(|error| format!("Post {url:?}: {error}"))?;
    if status != StatusCode::OK {
        return Err(format!("failed {verb} with extender at URL {}, code {}", extender.url_prefix, status.as_u16()));
    }
    serde_json::from_slice(&answer).map_err(|error| format!("Post {url:?}: the answer is not understood: {error}"))
}

async fn send(extender: &ExtenderConfig, url: &str, body: Vec<u8>) -> Result<(StatusCode, Bytes), String> {
    let uri: Uri = url.parse().map_err(|error: http::uri::InvalidUri| error.to_string())?;
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    let port = uri.port_u16().unwrap_or(if extender.tls.is_some() { 443 } else { 80 });
    let stream = TcpStream::connect((host, port)).await.map_err(|e| e.to_string())?;
    let Some(tls) = &extender.tls else { return exchange(stream, &uri, body).await };
    let name = if tls.server_name.is_empty() { host } else { &tls.server_name };
    let name = ServerName::try_from(name.to_owned()).map_err(|e| e.to_string())?;
    let stream = TlsConnector::from(tls.client.clone()).connect(name, stream).await.map_err(|e| e.to_string())?;
    exchange(stream, &uri, body).await
}

/// Asks over a connection and hears the answer.
async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    uri: &Uri,
    body: Vec<u8>,
) -> Result<(StatusCode, Bytes), String> {
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|e| e.to_string())?;
    // Ends with the sender, when this call does.
    tokio::spawn(connection);
    let request = Request::builder()
        .method(Method::POST)
        .uri(uri.path_and_query().map_or("/", |path| path.as_str()))
        .header(header::HOST, uri.authority().map_or("", |authority| authority.as_str()))
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::CONNECTION, "close")
        .body(Full::new(Bytes::from(body)))
        .map_err(|e| e.to_string())?;
    let answer = sender.send_request(request).await.map_err(|e| e.to_string())?;
    let status = answer.status();
    let body = Limited::new(answer.into_body(), ANSWER_MAX).collect().await.map_err(|e| e.to_string())?;
    Ok((status, body.to_bytes()))
}
