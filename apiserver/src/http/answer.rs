//! Answers: objects, lists and Statuses as HTTP responses.
//!
//! A stored object's JSON goes out as the very bytes in the cache. A list is streamed: its head, then stored bodies with
//! commas between them, in ropes of some hundred items, so that the first byte leaves at once and the list never exists
//! as a whole. Everything else is encoded by [`Form`].

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream;
use gantry_machinery::resource_api::ObjectList;
use gantry_machinery::status::Status;
use gantry_store_cache::object::StoredObject;
use http::header::{CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER, VARY};
use http::{HeaderValue, Response, StatusCode};

use super::compress::{PLAIN_MAX_BYTES, gzip};
use super::form::Form;
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

/// An error, or a success without an object.
#[must_use]
pub fn status(status: &Status) -> Response<Payload> {
    let mut text = status.to_json();
    text.push(b'\n');
    let mut response = response(status.code, "application/json", Payload::whole(Bytes::from(text)));
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
    if !form.is_stored() {
        return Ok(whole(code, form, form.list(&list)?, compress));
    }
    let head = form.list_head(&list);
    let size = head.len() + list.items.iter().map(|o| o.body.len() + 1).sum::<usize>();
    let strip = form.type_prefix();
    let ropes = move |from: usize, items: &[std::sync::Arc<StoredObject>]| {
        let mut rope = Rope::with_capacity(2 * items.len() + 1);
        for (at, object) in items.iter().enumerate() {
            push_item(&mut rope, &object.body, &strip, from + at == 0);
        }
        rope
    };
    if size <= PLAIN_MAX_BYTES {
        let mut rope = head;
        let items = ropes(0, &list.items);
        for piece in items.pieces() {
            rope.push(piece.clone());
        }
        rope.push(Bytes::from_static(LIST_END));
        return Ok(response(code, form.content_type(), Payload::whole(rope)));
    }
    let items = list.items;
    let body = stream::unfold(Some((Some(head), items, 0)), move |state| {
        let next = state.map(|(head, items, at)| {
            if let Some(head) = head {
                return (head, Some((None, items, 0)));
            }
            let end = items.len().min(at + ITEMS_PER_ROPE);
            let mut rope = ropes(at, &items[at..end]);
            if end < items.len() {
                return (rope, Some((None, items, end)));
            }
            rope.push(Bytes::from_static(LIST_END));
            (rope, None)
        });
        std::future::ready(next)
    });
    if compress {
        return Ok(compressed(code, form, body.boxed()));
    }
    Ok(response(code, form.content_type(), Payload::stream(body)))
}

const LIST_END: &[u8] = b"]}\n";

/// Items of a list carry no kind of their own: where the stored body begins with it, that part is left out.
fn push_item(rope: &mut Rope, body: &Bytes, type_prefix: &[u8], first: bool) {
    if body.starts_with(type_prefix) {
        rope.push(Bytes::from_static(if first { b"{" } else { b",{" }));
        rope.push(body.slice(type_prefix.len()..));
    } else {
        if !first {
            rope.push(Bytes::from_static(b","));
        }
        rope.push(body.clone());
    }
}
