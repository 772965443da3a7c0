//! Discovery and OpenAPI: documents made when the resources change, served as bytes with an ETag.
//!
//! The texts come from the object model; here is only which one a path and an `Accept` header mean, and the 304 for
//! clients that already have it.

use std::sync::Arc;

use arc_swap::ArcSwap;
use gantry_machinery::discovery::{Aggregated, Discovery, Document};
use gantry_machinery::resource::Resource;
use http::header::{ACCEPT, CACHE_CONTROL, ETAG, IF_NONE_MATCH, VARY};
use http::{HeaderMap, HeaderValue, Response};

use super::answer;
use super::payload::Payload;

/// The documents of this server.
pub struct Documents {
    discovery: ArcSwap<Discovery>,
    /// The legacy form of `/api`, which names the server's address.
    core: Document,
}

impl Documents {
    /// The documents of these resources; `address` is host and port that clients reach the server at.
    #[must_use]
    pub fn new(resources: &[Resource], address: &str) -> Self {
        let discovery = Discovery::new(resources);
        let core = discovery.core_versions(address);
        Self { discovery: ArcSwap::from_pointee(discovery), core }
    }

    /// The document at a path; `None` where there is none.
    #[must_use]
    pub fn answer(&self, path: &str, headers: &HeaderMap) -> Option<Response<Payload>> {
        let discovery: Arc<Discovery> = self.discovery.load_full();
        let parts: Vec<&str> = path.split('/').filter(|p| !p.is_empty()).collect();
        let document = match parts.as_slice() {
            ["api" | "apis"] if let Some(version) = aggregated(headers) => {
                discovery.aggregated(parts == ["api"], version)
            }
            ["api"] => &self.core,
            ["apis"] => discovery.groups(),
            ["api", version] => discovery.resources("", version)?,
            ["apis", group] => discovery.group(group)?,
            ["apis", group, version] => discovery.resources(group, version)?,
            _ => return None,
        };
        Some(serve(document, headers))
    }
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
    let (code, payload) =
        if unchanged { (304, Payload::empty()) } else { (200, Payload::whole(document.body.clone())) };
    let mut response = answer::response(code, document.content_type, payload);
    let headers = response.headers_mut();
    if let Ok(etag) = HeaderValue::from_str(&document.etag) {
        headers.insert(ETAG, etag);
    }
    headers.insert(VARY, HeaderValue::from_static("Accept"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("public"));
    response
}
