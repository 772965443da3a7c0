//! How one request wants its objects: format, shape, and what is fixed about their kind.
//!
//! Made once per request by negotiation, then asked for objects, lists and watch frames. [`Form::is_stored`] is the
//! fast path of everything: JSON objects, which are the bytes in the cache.

use std::sync::Arc;

use bytes::Bytes;
use gantry_machinery::codec::json;
use gantry_machinery::resource::Subresource;
use gantry_machinery::resource_api::ObjectList;
use gantry_machinery::status::Status;
use gantry_machinery::value::Value;
use gantry_store_cache::object::StoredObject;
use gantry_store_cache::revision::Revision;
use http::HeaderMap;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::negotiate::{self, Accepted, Format, Offer, Shape};
use super::payload::Rope;
use super::pretty::pretty;
use super::query::Query;
use crate::registry::handle::BodyFormat;
use crate::registry::table::Row;

/// What answers may be given in.
pub(super) const FORMATS: [&str; 3] = ["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"];

/// The form of one request's answer.
#[derive(Clone)]
pub struct Form {
    accepted: Accepted,
    row: Row,
    kind: String,
    api_version: String,
}

impl Form {
    /// What the client accepts of what there is.
    ///
    /// # Errors
    /// 406.
    pub fn negotiate(
        headers: &HeaderMap,
        query: &Query<'_>,
        offer: Offer,
        row: &Row,
        subresource: Option<&Subresource>,
    ) -> Result<Self, Status> {
        let mut accepted = negotiate::accept(headers, offer).map_err(|_| Status::not_acceptable(&FORMATS))?;
        accepted.pretty |= query.truth("pretty").unwrap_or(false);
        let gvr = row.gvr();
        let (kind, api_version) = match subresource {
            Some(sub) => {
                let group = sub.kind_group.as_deref().unwrap_or(&gvr.group);
                let version = sub.kind_version.as_deref().unwrap_or(&gvr.version);
                let api_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
                (sub.kind.to_string(), api_version)
            }
            None => (row.resource.kind.to_string(), gvr.api_version().into_owned()),
        };
        Ok(Self { accepted, row: row.clone(), kind, api_version })
    }

    /// Whether objects go out as they are stored.
    #[must_use]
    pub fn is_stored(&self) -> bool {
        self.accepted == Accepted::default()
    }

    /// The answer's `Content-Type`.
    #[must_use]
    pub fn content_type(&self) -> &'static str {
        self.accepted.format.media_type()
    }

    /// A watch's `Content-Type`.
    #[must_use]
    pub fn watch_content_type(&self) -> &'static str {
        match self.accepted.format {
            Format::Protobuf => "application/vnd.kubernetes.protobuf;stream=watch",
            Format::Json | Format::Yaml => "application/json",
        }
    }

    /// Numbers the form for [`gantry_store_cache::event::Event::encoded`]; `kind` is the change's.
    #[must_use]
    pub fn number(&self, kind: u8) -> u32 {
        let Accepted { format, shape, pretty } = self.accepted;
        u32::from(kind) | (format as u32) << 8 | (shape as u32) << 12 | u32::from(pretty) << 16
    }

    /// Appends one object.
    ///
    /// # Errors
    /// 500 for a stored body that cannot be read, 406 for a shape it does not have.
    pub fn push_object(&self, rope: &mut Rope, object: &StoredObject) -> Result<(), Status> {
        let body = self.body(object)?;
        rope.push(body);
        if self.accepted.format == Format::Json {
            rope.push(Bytes::from_static(b"\n"));
        }
        Ok(())
    }

    /// The object in the form asked for.
    fn body(&self, object: &StoredObject) -> Result<Bytes, Status> {
        let shaped = match self.accepted.shape {
            Shape::Object => object.body.clone(),
            Shape::Metadata | Shape::MetadataList => partial_metadata(object)?,
            Shape::Table => return Err(Status::not_acceptable(&FORMATS)),
        };
        self.encode(shaped)
    }

    /// JSON as the format asked for.
    fn encode(&self, shaped: Bytes) -> Result<Bytes, Status> {
        match self.accepted.format {
            Format::Json if self.accepted.pretty => Ok(pretty(&shaped).into()),
            Format::Json => Ok(shaped),
            Format::Yaml | Format::Protobuf => Err(Status::not_acceptable(&FORMATS[..1])),
        }
    }

    /// A list that does not go out as stored.
    ///
    /// # Errors
    /// As [`Self::push_object`].
    pub fn list(&self, list: &ObjectList) -> Result<Rope, Status> {
        let mut whole: Vec<u8> = Vec::new();
        for piece in self.list_head(list).pieces() {
            whole.extend_from_slice(piece);
        }
        for (at, object) in list.items.iter().enumerate() {
            if at > 0 {
                whole.push(b',');
            }
            match self.accepted.shape {
                Shape::MetadataList | Shape::Metadata => whole.extend_from_slice(&partial_metadata(object)?),
                Shape::Object => whole.extend_from_slice(&object.body),
                Shape::Table => return Err(Status::not_acceptable(&FORMATS)),
            }
        }
        whole.extend_from_slice(b"]}");
        let mut rope = Rope::from(self.encode(whole.into())?);
        rope.push(Bytes::from_static(b"\n"));
        Ok(rope)
    }

    /// `{"kind":"PodList","apiVersion":"v1","metadata":{...},"items":[`
    #[must_use]
    pub fn list_head(&self, list: &ObjectList) -> Rope {
        let (kind, api_version) = match self.accepted.shape {
            Shape::MetadataList => ("PartialObjectMetadata", "meta.k8s.io/v1"),
            _ => (self.kind.as_str(), self.api_version.as_str()),
        };
        let mut head = format!(
            "{{\"kind\":\"{kind}List\",\"apiVersion\":\"{api_version}\",\"metadata\":{{\"resourceVersion\":\"{}\"",
            list.revision
        );
        if !list.continue_token.is_empty() {
            head.push_str(",\"continue\":");
            head.push_str(&json::to_string(&Value::from(list.continue_token.as_str())));
        }
        if let Some(remaining) = list.remaining {
            head.push_str(&format!(",\"remainingItemCount\":{remaining}"));
        }
        head.push_str("},\"items\":[");
        Rope::from(Bytes::from(head))
    }

    /// What stored bodies of this kind begin with.
    #[must_use]
    pub fn type_prefix(&self) -> Vec<u8> {
        format!("{{\"kind\":\"{}\",\"apiVersion\":\"{}\",", self.kind, self.api_version).into_bytes()
    }

    /// Appends a watch frame.
    ///
    /// # Errors
    /// As [`Self::push_object`].
    pub fn push_event(&self, rope: &mut Rope, kind: &str, object: &StoredObject) -> Result<(), Status> {
        let body = self.body(object)?;
        rope.push(Bytes::from_static(match kind {
            "ADDED" => br#"{"type":"ADDED","object":"#,
            "MODIFIED" => br#"{"type":"MODIFIED","object":"#,
            _ => br#"{"type":"DELETED","object":"#,
        }));
        rope.push(body);
        rope.push(Bytes::from_static(b"}\n"));
        Ok(())
    }

    /// Appends a bookmark: nothing but the revision reached.
    ///
    /// # Errors
    /// As [`Self::push_object`].
    pub fn push_bookmark(&self, rope: &mut Rope, revision: Revision, initial_events_end: bool) -> Result<(), Status> {
        let (kind, api_version) = match self.accepted.shape {
            Shape::Metadata | Shape::MetadataList => ("PartialObjectMetadata", "meta.k8s.io/v1"),
            Shape::Table => ("Table", "meta.k8s.io/v1"),
            Shape::Object => (self.kind.as_str(), self.api_version.as_str()),
        };
        let annotations =
            if initial_events_end { r#","annotations":{"k8s.io/initial-events-end":"true"}"# } else { "" };
        rope.push(Bytes::from(format!(
            "{{\"type\":\"BOOKMARK\",\"object\":{{\"kind\":\"{kind}\",\"apiVersion\":\"{api_version}\",\
             \"metadata\":{{\"resourceVersion\":\"{revision}\",\"creationTimestamp\":null{annotations}}}}}}}\n"
        )));
        Ok(())
    }

    /// Appends the last frame of a watch that failed.
    pub fn push_error(&self, rope: &mut Rope, status: &Status) {
        rope.push(Bytes::from_static(br#"{"type":"ERROR","object":"#));
        rope.push(Bytes::from(status.to_json()));
        rope.push(Bytes::from_static(b"}\n"));
    }
}

#[derive(Deserialize)]
struct OnlyMetadata<'a> {
    #[serde(borrow)]
    metadata: &'a RawValue,
}

/// `PartialObjectMetadata`: the metadata's bytes as they stand in the stored body.
fn partial_metadata(object: &StoredObject) -> Result<Bytes, Status> {
    let only: OnlyMetadata<'_> = serde_json::from_slice(&object.body)
        .map_err(|e| Status::internal(format!("{} cannot be read: {e}", object.key)))?;
    let metadata = only.metadata.get();
    let mut out = Vec::with_capacity(metadata.len() + 80);
    out.extend_from_slice(br#"{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":"#);
    out.extend_from_slice(metadata.as_bytes());
    out.push(b'}');
    Ok(out.into())
}

/// The uid in a stored body.
#[must_use]
pub fn uid(object: &Arc<StoredObject>) -> String {
    #[derive(Deserialize)]
    struct Body {
        metadata: Metadata,
    }
    #[derive(Deserialize)]
    struct Metadata {
        #[serde(default)]
        uid: String,
    }
    serde_json::from_slice::<Body>(&object.body).map(|b| b.metadata.uid).unwrap_or_default()
}

/// A body that is not the registry's to decode, as the kind it should be.
///
/// # Errors
/// 400 for what cannot be read.
pub fn decode(format: BodyFormat, bytes: &[u8], _api_version: &str, _kind: &str) -> Result<Value, Status> {
    match format {
        BodyFormat::Json => json::parse(bytes).map_err(|e| Status::bad_request(e.to_string())),
        BodyFormat::Yaml | BodyFormat::Protobuf => Err(Status::unsupported_media_type(&FORMATS[..1])),
    }
}

/// An object made by us, in the form asked for.
///
/// # Errors
/// 406.
pub fn encode(accepted: &Accepted, object: &Value, _api_version: &str, _kind: &str) -> Result<Bytes, Status> {
    match accepted.format {
        Format::Json => Ok(json::encode(object).into()),
        Format::Yaml | Format::Protobuf => Err(Status::not_acceptable(&FORMATS[..1])),
    }
}
