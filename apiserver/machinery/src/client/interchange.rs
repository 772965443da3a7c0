//! The client's end of [`crate::interchange`]: tried first, and given up for good when the server does not speak it.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use http::header::CONTENT_TYPE;
use http::uri::PathAndQuery;
use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tonic::client::{Grpc, GrpcService};
use tonic::{Code, Streaming};
use tonic_prost::ProstCodec;

use super::answer;
use super::connection::Connection;
use crate::event::NewEvent;
use crate::interchange::{
    BIND_BATCH, BIND_GANG, BindAnswer, BindAnswers, BindBatch, CREATE_EVENTS, EventBatch, Part, PodBinding, ROWS, Rows,
    RowsRequest, SentEvent,
};
use crate::resource_api::{Binding, RowStream};
use crate::status::Status;

/// A server that says nothing for so long is not there any more: it says something every 20 s.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// Whether the server speaks it, as far as is known.
#[derive(Default)]
pub(super) struct Interchange {
    unknown_to_server: AtomicBool,
}

impl Interchange {
    /// Binds in one call; `None` when the server does not know how, or does not let this user: then the plain way is
    /// the one to go, and this one is not tried again.
    pub(super) async fn bind_batch(
        &self,
        connection: &Arc<Connection>,
        bindings: &[Binding],
    ) -> Option<Vec<Result<(), Status>>> {
        let mut grpc = self.grpc(connection)?;
        let request = batch(bindings);
        let codec = ProstCodec::<BindBatch, BindAnswers>::default();
        let answered = grpc.unary(tonic::Request::new(request), PathAndQuery::from_static(BIND_BATCH), codec).await;
        match self.understood(answered)? {
            Ok(answers) => {
                let answers = answers.into_inner().answers;
                Some(answers.into_iter().map(|a| outcome(&a.refusal)).collect())
            }
            // Whether any of them is bound is not known: nobody may conclude that they are not.
            Err(status) => Some(vec![Err(status); bindings.len()]),
        }
    }

    /// Binds all in one commit or none; `None` as in [`bind_batch`](Self::bind_batch).
    pub(super) async fn bind_gang(
        &self,
        connection: &Arc<Connection>,
        bindings: &[Binding],
    ) -> Option<Result<(), Status>> {
        let mut grpc = self.grpc(connection)?;
        let codec = ProstCodec::<BindBatch, BindAnswer>::default();
        let request = tonic::Request::new(batch(bindings));
        let answered = grpc.unary(request, PathAndQuery::from_static(BIND_GANG), codec).await;
        let answer = self.understood(answered)?;
        Some(answer.and_then(|answer| outcome(&answer.into_inner().refusal)))
    }

    /// Writes Events in one call; `None` as for [`bind_batch`](Self::bind_batch).
    pub(super) async fn create_events(
        &self,
        connection: &Arc<Connection>,
        events: &[NewEvent],
    ) -> Option<Vec<Result<(), Status>>> {
        let request = EventBatch { events: events.iter().map(SentEvent::from).collect() };
        let mut grpc = self.grpc(connection)?;
        let codec = ProstCodec::<EventBatch, BindAnswers>::default();
        let answered = grpc.unary(tonic::Request::new(request), PathAndQuery::from_static(CREATE_EVENTS), codec).await;
        Some(match self.understood(answered)? {
            Ok(answers) => answers.into_inner().answers.into_iter().map(|a| outcome(&a.refusal)).collect(),
            Err(status) => vec![Err(status); events.len()],
        })
    }

    /// A projection's rows; `None` when the server has none of that name.
    ///
    /// # Errors
    /// 503 when the server cannot be reached.
    pub(super) async fn rows(
        &self,
        connection: &Arc<Connection>,
        projection: &str,
    ) -> Result<Option<Box<dyn RowStream>>, Status> {
        let Some(mut grpc) = self.grpc(connection) else { return Ok(None) };
        let request = tonic::Request::new(RowsRequest { projection: projection.to_owned() });
        let codec = ProstCodec::<RowsRequest, Rows>::default();
        match grpc.server_streaming(request, PathAndQuery::from_static(ROWS), codec).await {
            Ok(answer) => Ok(Some(Box::new(RemoteRows(answer.into_inner())))),
            Err(refused) if refused.code() == Code::NotFound => Ok(None),
            Err(refused) => match self.understood::<()>(Err(refused)) {
                None => Ok(None),
                Some(failed) => failed.map(|()| None),
            },
        }
    }

    fn grpc(&self, connection: &Arc<Connection>) -> Option<Grpc<Channel>> {
        let known = !self.unknown_to_server.load(Ordering::Relaxed);
        known.then(|| Grpc::new(Channel(connection.clone())).max_decoding_message_size(64 << 20))
    }

    /// `None` for an answer that shows that the server does not speak this language with this user.
    fn understood<T>(&self, answered: Result<T, tonic::Status>) -> Option<Result<T, Status>> {
        match answered {
            Ok(answer) => Some(Ok(answer)),
            Err(refused) if matches!(refused.code(), Code::Unimplemented | Code::PermissionDenied) => {
                self.unknown_to_server.store(true, Ordering::Relaxed);
                tracing::info!(why = refused.message(), "the server takes plain Kubernetes calls only");
                None
            }
            Err(failed) => Some(Err(Status::service_unavailable(format!("the call failed: {failed}")))),
        }
    }
}

fn batch(bindings: &[Binding]) -> BindBatch {
    let pod = |b: &Binding| PodBinding {
        namespace: b.namespace.clone(),
        name: b.name.clone(),
        uid: b.uid.clone(),
        node: b.node.clone(),
    };
    BindBatch { bindings: bindings.iter().map(pod).collect() }
}

fn outcome(refusal: &[u8]) -> Result<(), Status> {
    if refusal.is_empty() { Ok(()) } else { Err(answer::status(500, refusal)) }
}

/// Rows as they come in.
struct RemoteRows(Streaming<Rows>);

#[async_trait]
impl RowStream for RemoteRows {
    async fn next(&mut self) -> Option<Result<Part, Status>> {
        match tokio::time::timeout(SILENCE_MAX, self.0.message()).await {
            Ok(Ok(part)) => part.map(|part| Ok(part.into())),
            Ok(Err(status)) => Some(Err(Status::service_unavailable(format!("the rows broke off: {status}")))),
            Err(_) => Some(Err(Status::service_unavailable("the server fell silent"))),
        }
    }
}

/// The connection as tonic sees it.
struct Channel(Arc<Connection>);

impl GrpcService<tonic::body::Body> for Channel {
    type ResponseBody = Incoming;
    type Error = tonic::Status;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Incoming>, tonic::Status>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), tonic::Status>> {
        // The connection is opened, or waited for, by the call itself.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<tonic::body::Body>) -> Self::Future {
        let connection = self.0.clone();
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let body = body.collect().await?.to_bytes();
            let sent = connection.send(Method::POST, parts.uri.path(), Some("application/grpc"), body).await;
            let answer = sent.map_err(|status| tonic::Status::unavailable(status.message))?;
            refusal(&answer).map_or(Ok(answer), Err)
        })
    }
}

/// What an answer that is not gRPC means: an API server other than ours answers in JSON.
fn refusal(answer: &Response<Incoming>) -> Option<tonic::Status> {
    let code = answer.status();
    let grpc = answer.headers().get(CONTENT_TYPE).is_some_and(|ty| ty.as_bytes().starts_with(b"application/grpc"));
    let status = match code {
        StatusCode::OK if grpc => return None,
        StatusCode::UNAUTHORIZED | StatusCode::TOO_MANY_REQUESTS => tonic::Status::unavailable,
        StatusCode::FORBIDDEN => tonic::Status::permission_denied,
        _ if code.is_server_error() => tonic::Status::unavailable,
        _ => tonic::Status::unimplemented,
    };
    Some(status(format!("the server answers {code}")))
}
