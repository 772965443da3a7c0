//! Discovery and OpenAPI: documents made when the resources change, served as bytes with an ETag.
//!
//! The texts come from the object model; here is only which one a path and an `Accept` header mean, and the 304 for
//! clients that already have it. OpenAPI documents are made when first asked for, which takes a while: callers ask from
//! a thread that may block.

use std::sync::Arc;

use arc_swap::ArcSwap;
use futures_util::stream;
use gantry_descriptions::Descriptions;
use gantry_machinery::discovery::{Aggregated, Discovery};
use gantry_machinery::document::{Body, Document};
use gantry_machinery::openapi::{CustomSchema, CustomSchemas, Describe, OpenApi, V2_PROTOBUF};
use gantry_machinery::resource::Resource;
use gantry_machinery::schema::{self, Ref};
use gantry_machinery::status::Status;
use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_ENCODING, ETAG, IF_NONE_MATCH, VARY};
use http::{HeaderMap, HeaderValue, Response};

use super::answer;
use super::compress::accepts_gzip;
use super::paths::GIT_VERSION;
use super::payload::{Payload, Rope};
use crate::registry::custom::publish;
use crate::registry::table::Row;

/// The documents of this server.
pub struct Documents {
    made: ArcSwap<Made>,
    /// The legacy form of `/api`, which names the server's address.
    core: Document,
}

/// The API reference's words, as the documents ask for them.
struct Reference(Descriptions);

impl Describe for Reference {
    fn definition(&self, name: &str) -> Option<&str> {
        self.0.definition(name)
    }

    fn field(&self, definition: &str, field: &str) -> Option<&str> {
        self.0.field(definition, field)
    }
}

/// What one set of resources gives.
struct Made {
    discovery: Discovery,
    openapi: OpenApi,
}

impl Made {
    fn of(resources: &[Resource], custom: &[Arc<Row>]) -> Self {
        let mut schemas = CustomSchemas::new();
        for row in custom {
            let made_of = row.clone();
            let make: CustomSchema = Arc::new(move |refs| publish::schema(&made_of, refs));
            schemas.insert(row.strategy.message().name.to_string(), make);
        }
        let message = |group: &str, version: &str, kind: &str| {
            let custom = || {
                let is = |row: &&Arc<Row>| {
                    let gvr = row.gvr();
                    gvr.group == group && gvr.version == version && row.resource.kind == kind
                };
                custom.iter().find(is)?.strategy.custom().map(|custom| Ref::Shared(custom.message.clone()))
            };
            schema::kind(group, version, kind).map(Ref::Static).or_else(custom)
        };
        let openapi = OpenApi::new(resources, GIT_VERSION, message, || Box::new(Reference(Descriptions::unpack())));
        Self { discovery: Discovery::new(resources), openapi: openapi.with_custom(schemas) }
    }
}

impl Documents {
    /// The documents of these resources, `custom` being the rows of those that are no built-in ones; `address` is host
    /// and port that clients reach the server at.
    #[must_use]
    pub fn new(resources: &[Resource], custom: &[Arc<Row>], address: &str) -> Self {
        let made = Made::of(resources, custom);
        let core = made.discovery.core_versions(address);
        Self { made: ArcSwap::from_pointee(made), core }
    }

    /// The documents of other resources from now on.
    pub fn replace(&self, resources: &[Resource], custom: &[Arc<Row>]) {
        self.made.store(Arc::new(Made::of(resources, custom)));
    }

    /// The document at a path. May take long for `/openapi`.
    ///
    /// # Errors
    /// 404 where there is none, 406 for an `Accept` that none fits.
    pub fn answer(&self, path: &str, headers: &HeaderMap) -> Result<Response<Payload>, Status> {
        let made: Arc<Made> = self.made.load_full();
        let Made { discovery, openapi } = &*made;
        let parts: Vec<&str> = path.split('/').filter(|p| !p.is_empty()).collect();
        let document = match parts.as_slice() {
            ["api" | "apis"] if let Some(version) = aggregated(headers) => {
                Some(discovery.aggregated(parts == ["api"], version))
            }
            ["api"] => Some(&self.core),
            ["apis"] => Some(discovery.groups()),
            ["api", version] => discovery.resources("", version),
            ["apis", group] => discovery.group(group),
            ["apis", group, version] => discovery.resources(group, version),
            ["openapi", "v2"] => Some(openapi_v2(openapi, headers)?),
            ["openapi", "v3"] => Some(openapi.v3_index()),
            ["openapi", "v3", ..] => openapi.v3(&parts[2..].join("/")),
            _ => None,
        };
        document.map(|d| serve(d, headers)).ok_or_else(Status::no_such_resource)
    }
}

/// JSON, or protobuf for those who ask for it first.
fn openapi_v2<'a>(openapi: &'a OpenApi, headers: &HeaderMap) -> Result<&'a Document, Status> {
    const JSON: &str = "application/json";
    let mut asked =
        headers.get_all(ACCEPT).iter().filter_map(|v| v.to_str().ok()).flat_map(|v| v.split(',')).peekable();
    if asked.peek().is_none() {
        return Ok(openapi.v2());
    }
    asked
        .find_map(|alternative| match alternative.split(';').next().unwrap_or_default().trim() {
            V2_PROTOBUF => Some(openapi.v2_protobuf()),
            JSON | "*/*" | "application/*" => Some(openapi.v2()),
            _ => None,
        })
        .ok_or_else(|| Status::not_acceptable(&[JSON, V2_PROTOBUF]))
}

/// Whether, and in which version, the client takes aggregated discovery: the first alternative that names one.
fn aggregated(headers: &HeaderMap) -> Option<Aggregated> {
    headers.get_all(ACCEPT).iter().filter_map(|v| v.to_str().ok()).flat_map(|v| v.split(',')).find_map(|alternative| {
        let says = |p: &str| alternative.split(';').skip(1).any(|part| part.trim().eq_ignore_ascii_case(p));
        if !says("as=APIGroupDiscoveryList") || !says("g=apidiscovery.k8s.io") {
            return None;
        }
        if says("v=v2") {
            Some(Aggregated::V2)
        } else if says("v=v2beta1") {
            Some(Aggregated::V2beta1)
        } else {
            None
        }
    })
}

fn serve(document: &Document, headers: &HeaderMap) -> Response<Payload> {
    let held = headers.get(IF_NONE_MATCH).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let unchanged = held.split(',').any(|tag| tag.trim() == document.etag);
    let mut packed = false;
    let (code, payload) = match document.body() {
        _ if unchanged => (304, Payload::empty()),
        Body::Plain(text) => (200, Payload::whole(text.clone())),
        Body::Packed(bytes) if accepts_gzip(headers) => {
            packed = true;
            (200, Payload::whole(bytes.clone()))
        }
        Body::Packed(_) => (200, Payload::stream(stream::iter(document.pieces().map(Rope::from)))),
    };
    let mut response = answer::response(code, document.content_type, payload);
    let headers = response.headers_mut();
    if packed {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    if let Ok(etag) = HeaderValue::from_str(&document.etag) {
        headers.insert(ETAG, etag);
    }
    headers.insert(VARY, HeaderValue::from_static("Accept, Accept-Encoding"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("public"));
    response
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use http_body_util::BodyExt;

    use super::*;

    fn documents() -> Documents {
        Documents::new(gantry_machinery::resource::table(), &[], "192.0.2.1:6443")
    }

    fn headers(pairs: &[(http::HeaderName, &str)]) -> HeaderMap {
        pairs.iter().map(|(k, v)| (k.clone(), v.parse().unwrap())).collect()
    }

    #[test]
    fn a_client_that_has_the_document_is_told_so() {
        let documents = documents();
        let first = documents.answer("/apis", &HeaderMap::new()).unwrap();
        let etag = first.headers()[ETAG].to_str().unwrap().to_owned();
        let again = documents.answer("/apis", &headers(&[(IF_NONE_MATCH, &etag)])).unwrap();
        assert_eq!((first.status().as_u16(), again.status().as_u16()), (200, 304));
        assert_eq!(documents.answer("/apis/nothing.example", &HeaderMap::new()).unwrap_err().code, 404);
    }

    #[tokio::test]
    async fn openapi_documents_are_small_to_keep_and_come_whole_to_whoever_takes_no_gzip() {
        let documents = documents();
        let packed = [(http::header::ACCEPT_ENCODING, "gzip")];
        let protobuf = [(http::header::ACCEPT_ENCODING, "gzip"), (ACCEPT, V2_PROTOBUF)];
        let index: serde_json::Value = {
            let index = documents.answer("/openapi/v3", &HeaderMap::new()).unwrap();
            serde_json::from_slice(&index.into_body().collect().await.unwrap().to_bytes()).unwrap()
        };
        let paths = index["paths"].as_object().unwrap().keys().map(|path| format!("/openapi/v3/{path}"));
        let mut asked: Vec<(String, HeaderMap)> = paths.map(|path| (path, headers(&packed))).collect();
        asked.push(("/openapi/v2".to_owned(), headers(&packed)));
        asked.push(("/openapi/v2".to_owned(), headers(&protobuf)));
        let (mut kept, mut whole) = (0, 0);
        for (path, with) in asked {
            let answer = documents.answer(&path, &with).unwrap();
            let was_packed = answer.headers().contains_key(CONTENT_ENCODING);
            let sent = answer.into_body().collect().await.unwrap().to_bytes();
            kept += sent.len();
            let mut plain = with;
            plain.remove(http::header::ACCEPT_ENCODING);
            let answer = documents.answer(&path, &plain).unwrap();
            assert!(!answer.headers().contains_key(CONTENT_ENCODING));
            let text = answer.into_body().collect().await.unwrap().to_bytes();
            whole += text.len();
            if was_packed {
                let mut back = Vec::new();
                flate2::read::GzDecoder::new(&sent[..]).read_to_end(&mut back).unwrap();
                assert!(back == text, "{path}");
            }
        }
        // Nothing else of them is kept.
        assert!(whole > 6_000_000 && kept < 3_500_000, "{kept} bytes of {whole}");
    }

    #[test]
    fn aggregated_discovery_is_given_to_who_asks() {
        let asked = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";
        let response = documents().answer("/api", &headers(&[(ACCEPT, asked)])).unwrap();
        let content_type = response.headers()[http::header::CONTENT_TYPE].to_str().unwrap();
        assert_eq!(content_type, Aggregated::V2.content_type());
        let plain = documents().answer("/api", &headers(&[(ACCEPT, "application/json")])).unwrap();
        assert_eq!(plain.headers()[http::header::CONTENT_TYPE], "application/json");
    }
}
