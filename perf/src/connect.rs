//! A thin HTTP/2 client: the generator must cost less than what it measures, so it sends prepared bytes and reads raw
//! frames instead of decoding objects.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, bail};
use bytes::Bytes;
use gantry_machinery::client::connection;
use gantry_machinery::client::kubeconfig::Kubeconfig;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;

/// A few connections to one server, taken in turn.
#[derive(Clone)]
pub(crate) struct Server {
    connections: Arc<[SendRequest<Full<Bytes>>]>,
    next: Arc<AtomicUsize>,
    authority: Arc<str>,
    bearer: Option<Arc<str>>,
}

impl Server {
    /// Opens `connections` connections to the current context's server.
    pub(crate) async fn connect(kubeconfig: &Path, connections: usize) -> anyhow::Result<Self> {
        let access = Kubeconfig::load(kubeconfig)?.access(None)?;
        let tls = connection::connector(&access);
        let mut opened = Vec::with_capacity(connections);
        for _ in 0..connections {
            let sender = connection::open(&access, &tls).await;
            opened.push(sender.with_context(|| format!("cannot reach {}:{}", access.host, access.port))?);
        }
        Ok(Self {
            connections: opened.into(),
            next: Arc::new(AtomicUsize::new(0)),
            authority: format!("{}:{}", access.host, access.port).into(),
            bearer: access.token.map(Into::into),
        })
    }

    /// Sends a request and gives the answer's head with its body still to come.
    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        content_type: &str,
        body: Bytes,
    ) -> anyhow::Result<http::Response<Incoming>> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("https://{}{path}", self.authority))
            .header("user-agent", "gantry-perf")
            .header("accept", "application/json");
        if !body.is_empty() {
            request = request.header("content-type", content_type);
        }
        if let Some(token) = &self.bearer {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let turn = self.next.fetch_add(1, Ordering::Relaxed) % self.connections.len();
        let mut connection = self.connections[turn].clone();
        connection.ready().await?;
        Ok(connection.send_request(request.body(Full::new(body))?).await?)
    }

    /// Sends a request, reads the answer whole, and fails unless it is a success.
    pub(crate) async fn call(&self, method: Method, path: &str, body: Bytes) -> anyhow::Result<Bytes> {
        let (status, body) = self.try_call(method.clone(), path, body).await?;
        if !status.is_success() {
            bail!("{method} {path}: {status}: {}", String::from_utf8_lossy(&body[..body.len().min(500)]));
        }
        Ok(body)
    }

    /// Sends a request and reads the answer whole, whatever its code.
    pub(crate) async fn try_call(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> anyhow::Result<(StatusCode, Bytes)> {
        let content_type = if method == Method::PATCH { "application/merge-patch+json" } else { "application/json" };
        let answer = self.send(method, path, content_type, body).await?;
        let status = answer.status();
        Ok((status, answer.into_body().collect().await?.to_bytes()))
    }
}

/// Cuts a stream of JSON lines into lines.
#[derive(Default)]
pub(crate) struct Lines {
    rest: Vec<u8>,
}

impl Lines {
    /// Hands every line completed by `data` to `each`.
    pub(crate) fn push(&mut self, data: &[u8], mut each: impl FnMut(&[u8])) {
        let mut data = data;
        while let Some(end) = data.iter().position(|b| *b == b'\n') {
            if self.rest.is_empty() {
                each(&data[..end]);
            } else {
                self.rest.extend_from_slice(&data[..end]);
                each(&self.rest);
                self.rest.clear();
            }
            data = &data[end + 1..];
        }
        self.rest.extend_from_slice(data);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_cut_wherever_the_data_was() {
        let mut lines = Lines::default();
        let mut seen = Vec::new();
        for part in ["a", "b\nc", "\n\nd", "e\n"] {
            lines.push(part.as_bytes(), |line| seen.push(String::from_utf8_lossy(line).into_owned()));
        }
        assert_eq!(seen, ["ab", "c", "", "de"]);
    }
}
