//! The review APIs on the wire: decode, ask the gate, encode. See [`crate::gate::reviews`].

use std::sync::Arc;

use gantry_machinery::status::Status;
use http::Response;

use super::payload::Payload;
use super::service::{Asked, Service};
use super::{answer, body, form, negotiate};
use crate::gate::reviews::Review;
use crate::gate::token::unix_now;

/// The answer to a review.
pub(super) async fn answer(
    service: &Arc<Service>,
    review: Review,
    mut asked: Asked,
) -> Result<Response<Payload>, Status> {
    if asked.info.verb != "create" || !asked.info.name.is_empty() {
        return Err(Status::method_not_allowed());
    }
    let mut accepted =
        negotiate::accept(&asked.headers, negotiate::Offer::Plain).map_err(|refused| refused.status(""))?;
    accepted.pretty |= negotiate::pretty(&asked.headers, &asked.query);
    let format = super::resources::request_format(&asked.headers)?;
    let bytes = body::read(&asked.headers, &mut asked.body).await?;
    let api_version = format!("{}/{}", asked.info.group, asked.info.version);
    let mut object = form::decode(format, &bytes, &asked.info.group, &asked.info.version, review.kind())?;
    let kind = object.str_at(&["kind"]).unwrap_or(review.kind());
    if kind != review.kind() {
        return Err(Status::bad_request(format!("the body is of kind {kind:?}, not {:?}", review.kind())));
    }
    object.set(&["kind"], review.kind());
    object.set(&["apiVersion"], api_version.as_str());
    object.set(&["metadata", "creationTimestamp"], gantry_machinery::value::Value::Null);
    let answered = review.answer(
        object,
        &asked.info.namespace,
        &asked.context.user,
        &service.authorizer,
        &service.authenticator,
        unix_now(),
    )?;
    let bytes = form::encode(&accepted, &answered, &asked.info.group, &asked.info.version, review.kind())?;
    Ok(answer::response(201, accepted.format.media_type(), Payload::whole(bytes)))
}
