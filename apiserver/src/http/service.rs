//! One request, top to bottom: route, authenticate, impersonate, flow control, authorize, then the resource's verb or one
//! of the server's own paths. The order is the design's ("One write, from request to bound pod") and upstream's.
//!
//! Whatever happens, the answer carries an `Audit-Id`, the request is counted, and an error is a Status.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use compact_str::{CompactString, format_compact};
use gantry_machinery::status::Status;
use http::header::USER_AGENT;
use http::{HeaderMap, HeaderValue, Method, Request, Response};
use hyper::body::Incoming;
use tokio_util::sync::CancellationToken;

use super::answer::Voice;
use super::documents::Documents;
use super::health::Health;
use super::payload::Payload;
use super::route::{RequestInfo, route};
use super::serve::{Handle, Peer};
use super::{body, interchange, paths, resources};
use crate::gate::authn::Authenticator;
use crate::gate::authz::{Attributes, Authorizer};
use crate::gate::flow::{FlowControl, Lane};
use crate::gate::impersonate::impersonated;
use crate::gate::reviews::Review;
use crate::gate::schemas::FlowSchemas;
use crate::gate::token::unix_now;
use crate::metrics::{Metrics, Running};
use crate::registry::Registry;
use crate::registry::request::{RequestContext, UserInfo};

/// Everything that answering needs.
pub struct Service {
    /// The resources.
    pub registry: Arc<Registry>,
    /// Who asks.
    pub authenticator: Authenticator,
    /// May they.
    pub authorizer: Arc<Authorizer>,
    /// Is there room.
    pub flow: Arc<FlowControl>,
    /// What kind of request it is.
    pub schemas: Arc<FlowSchemas>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// How the server is.
    pub health: Health,
    /// Discovery and OpenAPI.
    pub documents: Documents,
    /// Ends watches.
    pub shutdown: CancellationToken,
    /// The time limit of requests that are not long-running.
    pub request_timeout: Duration,
    /// Makes audit ids.
    pub ids: AuditIds,
}

/// Ids that no other request of this or another server has: random bits of the process and a count.
#[derive(Debug)]
pub struct AuditIds {
    process: u64,
    next: AtomicU64,
}

impl AuditIds {
    /// Ids that begin with these random bits.
    #[must_use]
    pub fn new(process: u64) -> Self {
        Self { process, next: AtomicU64::new(0) }
    }

    fn next(&self) -> CompactString {
        let count = self.next.fetch_add(1, Ordering::Relaxed);
        let process = self.process;
        format_compact!(
            "{:08x}-{:04x}-4{:03x}-8{:03x}-{:012x}",
            process >> 32,
            (process >> 16) & 0xffff,
            process & 0xfff,
            (count >> 48) & 0xfff,
            count & 0xffff_ffff_ffff
        )
    }
}

/// One request on its way down.
pub struct Asked {
    /// What is asked.
    pub info: RequestInfo,
    /// By whom, and where warnings go.
    pub context: Arc<RequestContext>,
    /// The headers.
    pub headers: HeaderMap,
    /// The query.
    pub query: String,
    /// The body, unread.
    pub body: Incoming,
    /// Counts the request until it is dropped: a watch keeps it for as long as it lasts.
    pub counted: Running,
}

impl Handle for Service {
    async fn handle(self: Arc<Self>, peer: Arc<Peer>, request: Request<Incoming>) -> Response<Payload> {
        let (parts, body) = request.into_parts();
        let query = parts.uri.query().unwrap_or_default().to_owned();
        let info = route(&parts.method, parts.uri.path(), &query);
        let counted = self.metrics.begin(&info, self.serves(&info));
        let audit_id = audit_id(&parts.headers).unwrap_or_else(|| self.ids.next());
        let voice = Voice::of(&parts.headers, &query);
        let headers_only = parts.method == Method::HEAD;
        let arrived = Arrived { info, headers: parts.headers, query, body };
        let work = self.admit(&peer, arrived, &voice, audit_id.clone(), counted.clone());
        let mut response = match tokio::time::timeout(self.request_timeout, work).await {
            Ok(response) => response,
            Err(_) => voice.error(&Status::timeout("request did not complete within the allotted timeout", 0)),
        };
        if headers_only {
            // Over HTTP/1.1 hyper leaves the body out by itself, over HTTP/2 it would break the stream.
            *response.body_mut() = Payload::empty();
        }
        counted.answered(response.status().as_u16());
        if let Ok(id) = HeaderValue::from_str(&audit_id) {
            response.headers_mut().insert("audit-id", id);
        }
        response
    }
}

/// A request as it came.
struct Arrived {
    info: RequestInfo,
    headers: HeaderMap,
    query: String,
    body: Incoming,
}

/// The id that a client or proxy gave the request, if it is sound.
fn audit_id(headers: &HeaderMap) -> Option<CompactString> {
    let id = headers.get("audit-id")?.to_str().ok()?;
    (!id.is_empty() && id.len() <= 128).then(|| id.into())
}

impl Service {
    /// Whether the request's resource is one that is served: only then its names become labels of metrics.
    fn serves(&self, info: &RequestInfo) -> bool {
        if !info.resource_request || Review::of(info).is_some() {
            return info.resource_request;
        }
        self.registry
            .table()
            .find(&info.group, &info.version, &info.resource)
            .is_some_and(|row| info.subresource.is_empty() || row.resource.subresource(&info.subresource).is_some())
    }

    /// The gate, then the answer with what went beside it: warnings and the FlowSchema.
    async fn admit(
        self: &Arc<Self>,
        peer: &Peer,
        mut arrived: Arrived,
        voice: &Voice,
        audit_id: CompactString,
        counted: Running,
    ) -> Response<Payload> {
        let (user, lane) = match self.identify(peer, &arrived.headers, &arrived.info) {
            Ok(identified) => identified,
            Err(status) => {
                body::discard(&mut arrived.body, body::BODY_BYTES_MAX).await;
                return voice.error(&status);
            }
        };
        let agent = arrived.headers.get(USER_AGENT).and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
        let context = Arc::new(RequestContext { user, user_agent: agent, audit_id, ..RequestContext::default() });
        let class = self.schemas.classify(&context.user, &arrived.info);
        let answered = self.admitted(lane, arrived, context.clone(), counted).await;
        let mut response = answered.unwrap_or_else(|status| voice.error(&status));
        let headers = response.headers_mut();
        for text in context.warnings.take() {
            if let Ok(value) = HeaderValue::from_str(&warning(&text)) {
                headers.append("warning", value);
            }
        }
        if let Some(class) = class {
            headers.insert("x-kubernetes-pf-flowschema-uid", class.schema);
            headers.insert("x-kubernetes-pf-prioritylevel-uid", class.level);
        }
        response
    }

    /// Who asks, after impersonation, and the lane of whoever really asked.
    fn identify(&self, peer: &Peer, headers: &HeaderMap, info: &RequestInfo) -> Result<(UserInfo, Lane), Status> {
        let user = self.authenticator.authenticate(&peer.certificate, headers, unix_now()).map_err(|why| {
            tracing::debug!(address = %peer.address, path = %info.path, %why, "not authenticated");
            Status::unauthorized()
        })?;
        let lane = Lane::of(&user, info);
        Ok((impersonated(&self.authorizer, &user, headers)?.unwrap_or(user), lane))
    }

    async fn admitted(
        self: &Arc<Self>,
        lane: Lane,
        mut arrived: Arrived,
        context: Arc<RequestContext>,
        counted: Running,
    ) -> Result<Response<Payload>, Status> {
        let entered = self.flow.enter(lane).await;
        // What an interchange call needs is known once its message is read: it asks by itself.
        let own_check = interchange::is_for(&arrived.info.path);
        let check =
            || if own_check { Ok(()) } else { self.authorizer.check(&Attributes::of(&context.user, &arrived.info)) };
        let allowed = entered.and_then(|place| check().map(|()| place));
        let _place = match allowed {
            Ok(place) => place,
            Err(status) => {
                body::discard(&mut arrived.body, body::BODY_BYTES_MAX).await;
                return Err(status);
            }
        };
        let Arrived { info, headers, query, body } = arrived;
        let asked = Asked { info, context, headers, query, body, counted };
        if own_check {
            Ok(interchange::answer(self, asked).await)
        } else if asked.info.resource_request {
            resources::answer(self, asked).await
        } else {
            paths::answer(self, asked).await
        }
    }
}

/// `299 - "text"`, quotes and backslashes escaped, control characters gone.
fn warning(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    out.push_str("299 - \"");
    for c in text.chars().filter(|c| !c.is_control()) {
        if matches!(c, '"' | '\\') {
            out.push('\\');
        }
        out.push(c);
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_are_quoted() {
        assert_eq!(warning("unknown field \"spec.x\"\n"), r#"299 - "unknown field \"spec.x\"""#);
    }

    #[test]
    fn audit_ids_are_uuids_and_differ() {
        let ids = AuditIds::new(0x0123_4567_89ab_cdef);
        let (a, b) = (ids.next(), ids.next());
        assert_ne!(a, b);
        assert_eq!(a.split('-').map(str::len).collect::<Vec<_>>(), [8, 4, 4, 4, 12]);
    }
}
