//! The server's end of [`gantry_machinery::interchange`]: gRPC on the same port, behind the same gate.
//!
//! Called by [`super::service`] for its paths. What a call may do is what the same user may do by plain requests: batch
//! binding wants `create pods/binding` everywhere, telling `create events`, rows want `list` and `watch` of the objects they are made of.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, StreamExt, stream};
use gantry_machinery::event::NewEvent;
use gantry_machinery::interchange::{
    BIND_BATCH, BIND_GANG, BindAnswer, BindAnswers, BindBatch, CREATE_EVENTS, EventBatch, PREFIX, PodBinding, ROWS,
    Rows, RowsRequest, SentRow,
};
use gantry_machinery::resource::GroupVersionResource;
use gantry_machinery::resource_api::{Binding, ResourceApi};
use gantry_store_cache::row_feed::RowFeed;
use gantry_store_cache::snapshot::RowChange;
use http::{Request, Response};
use hyper::body::Frame;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::server::{Grpc, ServerStreamingService, UnaryService};
use tonic_prost::ProstCodec;

use super::payload::{Payload, Rope};
use super::service::{Asked, Service};
use crate::gate::authz::Attributes;
use crate::metrics::Running;
use crate::registry::request::RequestContext;

/// At most this many rows in one message: some 100 KiB.
const ROWS_MAX: usize = 512;
/// A stream that has nothing to say says so this often.
const SAY_SOMETHING_EVERY: Duration = Duration::from_secs(20);

/// Whether a path is answered here.
pub(super) fn is_for(path: &str) -> bool {
    path.starts_with(PREFIX)
}

/// The answer to a call. Errors are gRPC's: status and message in the trailers of a 200.
pub(super) async fn answer(service: &Arc<Service>, asked: Asked) -> Response<Payload> {
    let Asked { info, context, headers, body, counted, .. } = asked;
    let mut request = Request::new(body);
    *request.headers_mut() = headers;
    let response = match info.path.as_str() {
        BIND_BATCH => {
            let call = Bind { service: service.clone(), context };
            Grpc::new(ProstCodec::<BindAnswers, BindBatch>::default()).unary(call, request).await
        }
        BIND_GANG => {
            let call = BindTogether { service: service.clone(), context };
            Grpc::new(ProstCodec::<BindAnswer, BindBatch>::default()).unary(call, request).await
        }
        CREATE_EVENTS => {
            let call = Tell { service: service.clone(), context };
            Grpc::new(ProstCodec::<BindAnswers, EventBatch>::default()).unary(call, request).await
        }
        ROWS => {
            let call = Feed { service: service.clone(), context, counted };
            Grpc::new(ProstCodec::<Rows, RowsRequest>::default()).server_streaming(call, request).await
        }
        _ => Status::unimplemented("there is no such call").into_http(),
    };
    response.map(payload)
}

/// A body of tonic's, trailers included.
fn payload(body: tonic::body::Body) -> Payload {
    Payload::frames(http_body_util::BodyStream::new(body).filter_map(async |frame| {
        // Errors of the call are in the trailers already; what is left is a body that broke off.
        frame.ok().map(|frame: Frame<bytes::Bytes>| frame.map_data(Rope::from))
    }))
}

fn authorize(
    service: &Service,
    context: &RequestContext,
    verb: &str,
    resource: &GroupVersionResource,
    subresource: &str,
) -> Result<(), Status> {
    let wanted = Attributes::on(&context.user, verb, &resource.group, &resource.resource, "");
    let wanted = Attributes { version: &resource.version, subresource, ..wanted };
    service.authorizer.check(&wanted).map_err(|refused| Status::permission_denied(refused.message))
}

type Calling<T> = Pin<Box<dyn Future<Output = Result<tonic::Response<T>, Status>> + Send>>;

/// `BindBatch`.
struct Bind {
    service: Arc<Service>,
    context: Arc<RequestContext>,
}

impl UnaryService<BindBatch> for Bind {
    type Response = BindAnswers;
    type Future = Calling<BindAnswers>;

    fn call(&mut self, request: tonic::Request<BindBatch>) -> Self::Future {
        let (service, context) = (self.service.clone(), self.context.clone());
        Box::pin(async move {
            authorize(&service, &context, "create", &gantry_machinery::resource::gvr::PODS, "binding")?;
            let bindings = bindings(request.into_inner());
            let outcomes = service.registry.as_user(context).bind_batch(bindings).await;
            let answers = outcomes.iter().map(BindAnswer::of).collect();
            Ok(tonic::Response::new(BindAnswers { answers }))
        })
    }
}

/// `BindGang`.
struct BindTogether {
    service: Arc<Service>,
    context: Arc<RequestContext>,
}

impl UnaryService<BindBatch> for BindTogether {
    type Response = BindAnswer;
    type Future = Calling<BindAnswer>;

    fn call(&mut self, request: tonic::Request<BindBatch>) -> Self::Future {
        let (service, context) = (self.service.clone(), self.context.clone());
        Box::pin(async move {
            authorize(&service, &context, "create", &gantry_machinery::resource::gvr::PODS, "binding")?;
            let bindings = bindings(request.into_inner());
            let outcome = service.registry.as_user(context).bind_gang(bindings).await;
            Ok(tonic::Response::new(BindAnswer::of(&outcome)))
        })
    }
}

/// `CreateEvents`.
struct Tell {
    service: Arc<Service>,
    context: Arc<RequestContext>,
}

impl UnaryService<EventBatch> for Tell {
    type Response = BindAnswers;
    type Future = Calling<BindAnswers>;

    fn call(&mut self, request: tonic::Request<EventBatch>) -> Self::Future {
        let (service, context) = (self.service.clone(), self.context.clone());
        Box::pin(async move {
            authorize(&service, &context, "create", &gantry_machinery::resource::gvr::EVENTS, "")?;
            let events = request.into_inner().events.into_iter().map(NewEvent::from).collect();
            let outcomes = service.registry.as_user(context).create_events(events).await;
            Ok(tonic::Response::new(BindAnswers { answers: outcomes.iter().map(BindAnswer::of).collect() }))
        })
    }
}

fn bindings(batch: BindBatch) -> Vec<Binding> {
    let binding = |b: PodBinding| Binding { namespace: b.namespace, name: b.name, uid: b.uid, node: b.node };
    batch.bindings.into_iter().map(binding).collect()
}

/// `Rows`.
struct Feed {
    service: Arc<Service>,
    context: Arc<RequestContext>,
    counted: Running,
}

impl ServerStreamingService<RowsRequest> for Feed {
    type Response = Rows;
    type ResponseStream = Pin<Box<dyn Stream<Item = Result<Rows, Status>> + Send>>;
    type Future = Calling<Self::ResponseStream>;

    fn call(&mut self, request: tonic::Request<RowsRequest>) -> Self::Future {
        let (service, context, counted) = (self.service.clone(), self.context.clone(), self.counted.clone());
        Box::pin(async move {
            let name = request.into_inner().projection;
            let feed = service.registry.store().row_feed(&name);
            let feed = feed.ok_or_else(|| Status::not_found(format!("no rows are called {name:?}")))?;
            let table = service.registry.table();
            let row = table.rows().iter().find(|row| row.collection == feed.collection());
            let resource = row.ok_or_else(|| Status::not_found("the objects are not served"))?.gvr().clone();
            authorize(&service, &context, "list", &resource, "")?;
            authorize(&service, &context, "watch", &resource, "")?;
            let parts = Parts { feed, waiting: Vec::new().into_iter(), complete: false, _counted: counted };
            let shutdown = service.shutdown.clone();
            let parts = stream::unfold(parts, move |parts| parts.next(shutdown.clone()));
            Ok(tonic::Response::new(Box::pin(parts) as Self::ResponseStream))
        })
    }
}

/// One stream of rows. A client that is slow to take them is sent the latest of what changed meanwhile.
struct Parts {
    feed: RowFeed,
    /// What the feed gave and is not yet sent.
    waiting: std::vec::IntoIter<RowChange>,
    /// Whether the initial rows have all been sent.
    complete: bool,
    /// Counts the request for as long as it lasts.
    _counted: Running,
}

impl Parts {
    /// The next message; `None` at shutdown.
    async fn next(mut self, shutdown: CancellationToken) -> Option<(Result<Rows, Status>, Self)> {
        if self.waiting.len() == 0 {
            let changes = tokio::select! {
                biased;
                changes = self.feed.next() => changes,
                () = shutdown.cancelled() => return None,
                () = tokio::time::sleep(SAY_SOMETHING_EVERY) => return Some((Ok(Rows::default()), self)),
            };
            self.waiting = changes.into_iter();
        }
        let sent = |change: RowChange| SentRow { archived: change.row.to_vec(), gone: change.gone };
        let rows = self.waiting.by_ref().take(ROWS_MAX).map(sent).collect();
        let complete = !self.complete && self.waiting.len() == 0;
        self.complete |= complete;
        Some((Ok(Rows { rows, complete }), self))
    }
}
