//! Content negotiation: which format and shape an answer has, and which format a body came in.
//!
//! Follows upstream: the client's first acceptable alternative wins (by quality, then order); `as=Table` and
//! `as=PartialObjectMetadata(List)` change the shape; a watch may ask `;stream=watch`.

use gantry_machinery::status::Status;
use http::HeaderMap;
use http::header::{ACCEPT, CONTENT_TYPE, USER_AGENT};
use smallvec::SmallVec;

/// A wire format.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Format {
    /// `application/json`
    #[default]
    Json,
    /// `application/yaml`
    Yaml,
    /// `application/vnd.kubernetes.protobuf`
    Protobuf,
}

impl Format {
    /// The media type.
    #[must_use]
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Yaml => "application/yaml",
            Self::Protobuf => "application/vnd.kubernetes.protobuf",
        }
    }
}

/// How objects are shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Shape {
    /// As they are.
    #[default]
    Object,
    /// As rows of a Table.
    Table,
    /// Their metadata alone.
    Metadata,
    /// A collection's metadata alone.
    MetadataList,
}

/// Which version of `meta.k8s.io` a shape is asked for in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MetaVersion {
    /// `v1`
    #[default]
    V1,
    /// `v1beta1`, which kubectl before 1.16 asks for.
    V1beta1,
}

impl MetaVersion {
    /// The version's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::V1 => "v1",
            Self::V1beta1 => "v1beta1",
        }
    }
}

/// What the client takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Accepted {
    /// The format.
    pub format: Format,
    /// The shape.
    pub shape: Shape,
    /// The version of the shape, where it is not the object itself.
    pub version: MetaVersion,
    /// JSON for people: indented.
    pub pretty: bool,
}

/// What the path can give: other alternatives are passed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offer {
    /// One object.
    Object,
    /// A collection.
    List,
    /// A stream of events.
    Watch,
    /// Neither tables nor metadata (Status, discovery and the like).
    Plain,
}

/// Why there is no answer in a form that the client takes: 406.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// None of its alternatives is a format of ours.
    Unknown,
    /// Its format has no streams.
    NoStream,
    /// The metadata of one object was asked of a list.
    IsList,
    /// The metadata of a list was asked of one object.
    IsNoList,
}

/// What answers may be given in.
pub const FORMATS: [&str; 3] = ["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"];
/// What streams may be given in.
const STREAMS: [&str; 2] = ["application/json;stream=watch", "application/vnd.kubernetes.protobuf;stream=watch"];

impl Refused {
    /// The 406; `go_type` is what upstream calls the object (`*core.PodList`).
    #[must_use]
    pub fn status(self, go_type: &str) -> Status {
        let why = match self {
            Self::Unknown => return Status::not_acceptable(&FORMATS),
            Self::NoStream => return Status::not_acceptable(&STREAMS),
            Self::IsList => "you requested PartialObjectMetadata, but the requested object is a list",
            Self::IsNoList => "you requested PartialObjectMetadataList, but the requested object is not a list",
        };
        Status { message: format!("{why} ({go_type})"), ..Status::not_acceptable(&[]) }
    }
}

/// One alternative of an `Accept` header.
#[derive(Clone, Copy)]
struct Alternative<'a> {
    kind: &'a str,
    subtype: &'a str,
    quality: f32,
    /// With its parameters.
    text: &'a str,
}

impl Alternative<'_> {
    /// Whether it goes before another: by quality, and exact types before wildcards, whatever their quality. That the
    /// two rules may disagree is upstream's way.
    fn before(&self, other: &Self) -> bool {
        self.quality > other.quality
            || (self.kind != "*" && other.kind == "*")
            || (self.subtype != "*" && other.subtype == "*")
    }
}

/// The alternatives of an `Accept` header in the order upstream tries them. It sorts by insertion, which decides where
/// its rules disagree.
fn alternatives(header: &str) -> SmallVec<[Alternative<'_>; 4]> {
    let mut sorted: SmallVec<[Alternative<'_>; 4]> = SmallVec::new();
    for text in header.split(',').map(str::trim).filter(|text| !text.is_empty()) {
        let media = text.split(';').next().unwrap_or_default().trim();
        let (kind, subtype) = media.split_once('/').unwrap_or((media, if media == "*" { "*" } else { "" }));
        let quality = parameter(text, "q").map_or(1.0, |q| q.parse().unwrap_or(0.0));
        if quality > 0.0 {
            sorted.push(Alternative { kind, subtype, quality, text });
        }
        let mut at = sorted.len().saturating_sub(1);
        while at > 0 && sorted[at].before(&sorted[at - 1]) {
            sorted.swap(at, at - 1);
            at -= 1;
        }
    }
    sorted
}

/// Chooses the answer's form.
///
/// # Errors
/// [`Refused`].
pub fn accept(headers: &HeaderMap, offer: Offer) -> Result<Accepted, Refused> {
    accept_text(headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default(), offer)
}

/// Chooses the answer's form by the text of an `Accept` header.
///
/// # Errors
/// [`Refused`].
pub fn accept_text(header: &str, offer: Offer) -> Result<Accepted, Refused> {
    if header.is_empty() || header == "application/json" {
        return Ok(Accepted::default());
    }
    let mut accepted = alternatives(header)
        .iter()
        .find_map(|alternative| {
            let fits = |format: &Format| {
                let (kind, subtype) = format.media_type().split_once('/').unwrap_or_default();
                (alternative.kind == kind || alternative.kind == "*")
                    && (alternative.subtype == subtype || alternative.subtype == "*")
            };
            let formats = [Format::Json, Format::Yaml, Format::Protobuf].into_iter().filter(fits);
            formats.into_iter().find_map(|format| fit(alternative.text, format, offer))
        })
        .ok_or(Refused::Unknown)?;
    match (offer, accepted.shape, accepted.format) {
        (Offer::Watch, _, Format::Yaml) => Err(Refused::NoStream),
        (Offer::List, Shape::Metadata, _) => Err(Refused::IsList),
        (Offer::Object, Shape::MetadataList, _) => Err(Refused::IsNoList),
        // No event is a list: upstream shows the objects as they are.
        (Offer::Watch, Shape::MetadataList, _) => {
            accepted.shape = Shape::Object;
            Ok(accepted)
        }
        _ => Ok(accepted),
    }
}

/// One alternative in one format, if it can be had.
fn fit(alternative: &str, format: Format, offer: Offer) -> Option<Accepted> {
    let stream = parameter(alternative, "stream").unwrap_or_default();
    if !stream.is_empty() && (stream != "watch" || format == Format::Yaml) {
        return None;
    }
    let [kind, group, version] = ["as", "g", "v"].map(|name| parameter(alternative, name));
    let mut accepted = Accepted { format, ..Accepted::default() };
    if kind.is_some() || group.is_some() || version.is_some() {
        accepted.version = match (group, version) {
            _ if offer == Offer::Plain => return None,
            (Some("meta.k8s.io"), Some("v1")) => MetaVersion::V1,
            (Some("meta.k8s.io"), Some("v1beta1")) => MetaVersion::V1beta1,
            _ => return None,
        };
        accepted.shape = match kind {
            // Tables have no protobuf form.
            Some("Table") if format != Format::Protobuf => Shape::Table,
            Some("PartialObjectMetadata") => Shape::Metadata,
            Some("PartialObjectMetadataList") => Shape::MetadataList,
            _ => return None,
        };
    }
    accepted.pretty = parameter(alternative, "pretty") == Some("1");
    Some(accepted)
}

/// Whether JSON is to be indented though the `Accept` header does not say so: by `?pretty`, or where that is missing for
/// the agents that people read the answers of.
#[must_use]
pub fn pretty(headers: &HeaderMap, query: &str) -> bool {
    match super::route::parameter(query, "pretty").as_deref() {
        None | Some("") => {
            let agent = headers.get(USER_AGENT).and_then(|v| v.to_str().ok()).unwrap_or_default();
            ["curl", "Wget", "Mozilla/5.0"].iter().any(|people| agent.starts_with(people))
        }
        // As Go reads booleans; what it cannot read is false.
        Some(value) => matches!(value, "1" | "t" | "T" | "true" | "TRUE" | "True"),
    }
}

/// A parameter of a media type.
fn parameter<'a>(media_type: &'a str, name: &str) -> Option<&'a str> {
    media_type.split(';').skip(1).find_map(|p| {
        let (key, value) = p.split_once('=')?;
        key.trim().eq_ignore_ascii_case(name).then(|| value.trim().trim_matches('"'))
    })
}

/// The media type of a body, without its parameters; JSON where none is said.
#[must_use]
pub fn content_type(headers: &HeaderMap) -> &str {
    let said = headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    match said.split(';').next().unwrap_or_default().trim() {
        "" => "application/json",
        media => media,
    }
}

/// The format of a body; `None` for a media type that no object comes in: 415.
#[must_use]
pub fn body_format(headers: &HeaderMap) -> Option<Format> {
    let media = content_type(headers);
    [Format::Json, Format::Yaml, Format::Protobuf].into_iter().find(|f| media.eq_ignore_ascii_case(f.media_type()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(accept_header: &str, offer: Offer) -> Result<(Format, Shape), Refused> {
        let headers = HeaderMap::from_iter([(ACCEPT, accept_header.parse().unwrap())]);
        accept(&headers, offer).map(|a| (a.format, a.shape))
    }

    #[test]
    fn the_first_alternative_that_can_be_had_wins() {
        use Format::{Json, Protobuf, Yaml};
        let kubectl = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";
        let client_go = "application/vnd.kubernetes.protobuf,application/json";
        let metadata = "application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json";
        let proto_table = "application/vnd.kubernetes.protobuf;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1;g=meta.k8s.io";
        let discovery = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";
        for (header, offer, expected) in [
            (kubectl, Offer::List, (Json, Shape::Table)),
            (kubectl, Offer::Watch, (Json, Shape::Table)),
            (kubectl, Offer::Plain, (Json, Shape::Object)),
            (client_go, Offer::Object, (Protobuf, Shape::Object)),
            (metadata, Offer::List, (Protobuf, Shape::MetadataList)),
            (metadata, Offer::Watch, (Protobuf, Shape::Object)),
            (proto_table, Offer::List, (Json, Shape::Table)),
            (discovery, Offer::List, (Json, Shape::Object)),
            ("application/json;stream=watch", Offer::Watch, (Json, Shape::Object)),
            ("application/json;stream=watch", Offer::Object, (Json, Shape::Object)),
            ("*/*", Offer::List, (Json, Shape::Object)),
            ("application/*", Offer::List, (Json, Shape::Object)),
            ("text/html;q=0.9, application/yaml", Offer::List, (Yaml, Shape::Object)),
            ("application/yaml;q=0.1, application/json", Offer::List, (Json, Shape::Object)),
            ("*/*, application/yaml", Offer::List, (Yaml, Shape::Object)),
            ("*/*;q=1, application/yaml;q=0.1", Offer::List, (Yaml, Shape::Object)),
        ] {
            assert_eq!(chosen(header, offer), Ok(expected), "{header} for {offer:?}");
        }
        let old = "application/json;as=Table;v=v1beta1;g=meta.k8s.io, application/json";
        assert_eq!(accept_text(old, Offer::List).unwrap().version, MetaVersion::V1beta1);
    }

    #[test]
    fn what_cannot_be_had_is_refused() {
        let partial = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
        let partial_list = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
        for (header, offer, refused) in [
            ("text/html", Offer::List, Refused::Unknown),
            ("application/json;as=Table;v=v2;g=meta.k8s.io", Offer::List, Refused::Unknown),
            ("application/json;as=Table", Offer::List, Refused::Unknown),
            ("application/json;v=v1;g=meta.k8s.io", Offer::List, Refused::Unknown),
            ("application/vnd.kubernetes.protobuf;as=Table;v=v1;g=meta.k8s.io", Offer::List, Refused::Unknown),
            ("application/json;q=0", Offer::List, Refused::Unknown),
            ("application/json;stream=other", Offer::Watch, Refused::Unknown),
            ("application/yaml;stream=watch", Offer::Watch, Refused::Unknown),
            ("application/yaml, application/json", Offer::Watch, Refused::NoStream),
            (partial, Offer::List, Refused::IsList),
            (partial_list, Offer::Object, Refused::IsNoList),
        ] {
            assert_eq!(chosen(header, offer), Err(refused), "{header} for {offer:?}");
        }
        assert!(accept(&HeaderMap::new(), Offer::List).is_ok());
        assert_eq!(
            Refused::NoStream.status("").message,
            "only the following media types are accepted: application/json;stream=watch, \
             application/vnd.kubernetes.protobuf;stream=watch"
        );
        let list = Refused::IsList.status("*core.PodList");
        let text = "you requested PartialObjectMetadata, but the requested object is a list (*core.PodList)";
        assert_eq!((list.code, list.message.as_str()), (406, text));
    }

    #[test]
    fn people_get_indented_json() {
        let agent = |text: &str| HeaderMap::from_iter([(USER_AGENT, text.parse().unwrap())]);
        assert!(pretty(&agent("curl/8.0"), "") && pretty(&agent("Mozilla/5.0 (X11)"), "pretty="));
        assert!(!pretty(&agent("curl/8.0"), "pretty=false") && !pretty(&agent("curl/8.0"), "pretty=yes"));
        assert!(pretty(&agent("kubectl/v1.36"), "x=1&pretty=true") && !pretty(&agent("kubectl/v1.36"), ""));
    }

    #[test]
    fn bodies_without_a_type_are_json() {
        assert_eq!(body_format(&HeaderMap::new()), Some(Format::Json));
        let typed = |t: &str| HeaderMap::from_iter([(CONTENT_TYPE, t.parse().unwrap())]);
        assert_eq!(body_format(&typed("application/json; charset=utf-8")), Some(Format::Json));
        assert_eq!(body_format(&typed("application/yaml")), Some(Format::Yaml));
        assert_eq!(body_format(&typed("application/cbor")), None);
    }
}
