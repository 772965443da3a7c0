//! The server's end of [`gantry_machinery::interchange`]: gRPC on the same port, behind the same gate.
//!
//! Called by [`super::service`] for its paths. What a call may do is what the same user may do by plain requests: batch
//! binding wants `create pods/binding` everywhere, rows want `list` and `watch` of the objects they are made of.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, StreamExt, stream};
use gantry_machinery::interchange::{
    BIND_BATCH, BIND_GANG, BindAnswer, BindAnswers, BindBatch, PREFIX, PodBinding, ROWS, Row, Rows, RowsRequest,
};
use gantry_machinery::resource::GroupVersionResource;
use gantry_machinery::resource_api::{Binding, Collection, ResourceApi, WatchOptions};
use gantry_store_cache::object::StoredObject;
use gantry_store_cache::projection::Projection;
use gantry_store_cache::watch::ChangeKind;
use http::{Request, Response};
use hyper::body::Frame;
use rkyv::util::AlignedVec;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::server::{Grpc, ServerStreamingService, UnaryService};
use tonic_prost::ProstCodec;

use super::payload::{Payload, Rope};
use super::service::{Asked, Service};
use crate::gate::authz::Attributes;
use crate::metrics::Running;
use crate::registry::request::RequestContext;
use crate::registry::watch::{FeedItem, WatchFeed};

/// At most this many rows in one message: some 100 KiB.
const ROWS_MAX: usize = 512;
/// A stream that has nothing to say says so this often.
const SAY_SOMETHING_EVERY: Duration = Duration::from_secs(20);
/// A rows stream does not end by itself; clients begin anew when it breaks.
const FOR_EVER: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

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
            let projection = service.projections.iter().find(|p| p.name() == name);
            let projection = projection.ok_or_else(|| Status::not_found(format!("no rows are called {name:?}")))?;
            let table = service.registry.table();
            let row = table.rows().iter().find(|row| row.collection == projection.collection());
            let resource = row.ok_or_else(|| Status::not_found("the objects are not served"))?.gvr().clone();
            authorize(&service, &context, "list", &resource, "")?;
            authorize(&service, &context, "watch", &resource, "")?;

            let of = Collection { resource: &resource, namespace: "" };
            let options = WatchOptions {
                initial_events: true,
                bookmarks: true,
                timeout: Some(FOR_EVER),
                ..WatchOptions::default()
            };
            let feed = service.registry.as_user(context).subscribe(&of, &options).await;
            let feed = feed.map_err(|status| Status::unavailable(status.message))?;
            let parts = parts(feed, projection.clone(), service.shutdown.clone(), counted);
            Ok(tonic::Response::new(Box::pin(parts) as Self::ResponseStream))
        })
    }
}

/// The messages of one stream. `counted` is held for as long as it lasts.
fn parts(
    feed: WatchFeed,
    projection: Arc<dyn Projection>,
    shutdown: CancellationToken,
    counted: Running,
) -> impl Stream<Item = Result<Rows, Status>> + Send {
    stream::unfold(Some((feed, projection, shutdown, counted)), |state| async move {
        let (mut feed, projection, shutdown, counted) = state?;
        let items = tokio::select! {
            biased;
            items = feed.next_items(ROWS_MAX) => items,
            () = shutdown.cancelled() => return None,
            () = tokio::time::sleep(SAY_SOMETHING_EVERY) => Some(Ok(Vec::new())),
        };
        match items? {
            Ok(items) => {
                let part = part(&items, &*projection);
                Some((Ok(part), Some((feed, projection, shutdown, counted))))
            }
            // The client was too slow; it begins anew.
            Err(status) => Some((Err(Status::out_of_range(status.message)), None)),
        }
    })
}

fn part(items: &[FeedItem], projection: &dyn Projection) -> Rows {
    let mut part = Rows::default();
    for item in items {
        match item {
            FeedItem::Initial(object) => part.rows.extend(row(object, projection, false)),
            FeedItem::Converted(kind, object) => {
                part.rows.extend(row(object, projection, *kind == ChangeKind::Deleted));
            }
            FeedItem::Change(change) => {
                let gone = change.kind == ChangeKind::Deleted;
                part.rows.extend(row(&change.event.object, projection, gone));
            }
            FeedItem::Bookmark { initial_events_end, .. } => part.complete |= initial_events_end,
        }
    }
    part
}

/// An object without a row is none of the reader's concern.
fn row(object: &StoredObject, projection: &dyn Projection, gone: bool) -> Option<Row> {
    let mut archived = AlignedVec::new();
    projection.project(object, &mut archived);
    (!archived.is_empty()).then(|| Row { archived: archived.to_vec(), gone })
}
