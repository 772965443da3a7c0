//! Answers: objects, lists and Statuses as HTTP responses.
//!
//! A stored object's JSON goes out as the very bytes in the cache. A list is streamed: its head, then stored bodies with
//! commas between them, in ropes of some hundred items, so that the first byte leaves at once and the list never exists
//! as a whole. Everything else is encoded by [`Form`].

use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream;
use gantry_machinery::resource_api::ObjectList;
use gantry_machinery::status::Status;
use gantry_store_cache::object::StoredObject;
use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER, VARY, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, HeaderValue, Response, StatusCode};

use super::compress::{PLAIN_MAX_BYTES, gzip};
use super::form::{self, Form, ListWriter};
use super::negotiate::{self, Accepted, Format, Offer};
use super::payload::{Payload, Rope};

/// Items in one rope of a streamed list.
const ITEMS_PER_ROPE: usize = 128;

/// A response of this code and type.
#[must_use]
pub fn response(code: u16, content_type: &'static str, payload: Payload) -> Response<Payload> {
    let mut response = Response::new(payload);
    *response.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    response
}

/// JSON made by us.
#[must_use]
pub fn json(code: u16, value: &serde_json::Value) -> Response<Payload> {
    let mut text = serde_json::to_vec(value).expect("a JSON value always has a text");
    text.push(b'\n');
    response(code, "application/json", Payload::whole(Bytes::from(text)))
}

/// What Go's servers say of a path that nobody serves.
#[must_use]
pub fn no_such_path() -> Response<Payload> {
    let text = Bytes::from_static(b"404 page not found\n");
    let mut response = response(404, "text/plain; charset=utf-8", Payload::whole(text));
    response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// How a client is told of errors: in the format that it takes, and where it takes none of ours, in JSON for people.
/// Made before the request is taken apart, looked at only when there is something to tell.
#[derive(Clone, Debug)]
pub struct Voice {
    accept: Option<HeaderValue>,
    pretty: bool,
}

impl Voice {
    /// The voice for whoever sent these.
    #[must_use]
    pub fn of(headers: &HeaderMap, query: &str) -> Self {
        Self { accept: headers.get(ACCEPT).cloned(), pretty: negotiate::pretty(headers, query) }
    }

    /// An error.
    #[must_use]
    pub fn error(&self, error: &Status) -> Response<Payload> {
        let header = self.accept.as_ref().and_then(|value| value.to_str().ok()).unwrap_or_default();
        let people = Accepted { pretty: true, ..Accepted::default() };
        let mut accepted = negotiate::accept_text(header, Offer::Plain).unwrap_or(people);
        accepted.pretty |= self.pretty;
        status(error, &accepted)
    }
}

/// An error, or a success without an object.
#[must_use]
pub fn status(status: &Status, accepted: &Accepted) -> Response<Payload> {
    let (format, text) = match form::encode(accepted, &status.to_value(), "", "v1", "Status") {
        Ok(text) => (accepted.format, text),
        Err(_) => (Format::Json, status.to_json().into()),
    };
    let mut response = response(status.code, format.media_type(), Payload::whole(text));
    if let Some(seconds) = status.details.as_ref().map(|d| d.retry_after_seconds).filter(|s| *s > 0) {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// One object.
///
/// # Errors
/// What the form reports of an object it cannot show.
pub fn object(code: u16, object: &StoredObject, form: &Form, compress: bool) -> Result<Response<Payload>, Status> {
    let mut rope = Rope::with_capacity(2);
    form.push_object(&mut rope, object)?;
    Ok(whole(code, form, rope, compress))
}

fn whole(code: u16, form: &Form, rope: Rope, compress: bool) -> Response<Payload> {
    if !compress || rope.len() <= PLAIN_MAX_BYTES {
        return response(code, form.content_type(), Payload::whole(rope));
    }
    compressed(code, form, stream::iter([rope]).boxed())
}

fn compressed(code: u16, form: &Form, ropes: stream::BoxStream<'static, Rope>) -> Response<Payload> {
    let mut response = response(code, form.content_type(), Payload::stream(gzip(ropes)));
    response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    response.headers_mut().insert(VARY, HeaderValue::from_static("Accept-Encoding"));
    response
}

/// A list.
///
/// # Errors
/// What the form reports of an object it cannot show.
pub fn list(code: u16, list: ObjectList, form: &Form, compress: bool) -> Result<Response<Payload>, Status> {
    if !form.streams() {
        return Ok(whole(code, form, form.whole_list(&list)?, compress));
    }
    let (mut head, mut writer) = form.begin_list(&list);
    let size: usize = list.items.iter().map(|object| object.body.len()).sum();
    if size <= PLAIN_MAX_BYTES {
        head.append(writer.items(&list.items)?);
        head.append(writer.end());
        return Ok(whole(code, form, head, compress));
    }
    let state = Listing { head: Some(head), writer, items: list.items, at: 0 };
    let ropes = stream::unfold(Some(state), |state| std::future::ready(state.map(Listing::next)));
    if compress {
        return Ok(compressed(code, form, ropes.boxed()));
    }
    Ok(response(code, form.content_type(), Payload::stream(ropes)))
}

/// A list on its way out.
struct Listing {
    head: Option<Rope>,
    writer: ListWriter,
    items: Vec<Arc<StoredObject>>,
    at: usize,
}

impl Listing {
    fn next(mut self) -> (Rope, Option<Self>) {
        if let Some(head) = self.head.take() {
            return (head, Some(self));
        }
        let end = self.items.len().min(self.at + ITEMS_PER_ROPE);
        let mut rope = match self.writer.items(&self.items[self.at..end]) {
            Ok(rope) => rope,
            Err(status) => {
                // The head is out: breaking off in the middle is all that is left to say.
                tracing::error!(%status, "a list breaks off");
                return (Rope::new(), None);
            }
        };
        self.at = end;
        if end < self.items.len() {
            return (rope, Some(self));
        }
        rope.append(self.writer.end());
        (rope, None)
    }
}
