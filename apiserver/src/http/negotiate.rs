//! Content negotiation: which format and shape an answer has, and which format a body came in.
//!
//! Follows upstream: the client's first acceptable alternative wins (by quality, then order); `as=Table` and
//! `as=PartialObjectMetadata(List)` change the shape; a watch may ask `;stream=watch`.

use http::HeaderMap;
use http::header::{ACCEPT, CONTENT_TYPE};

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

/// What the client takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Accepted {
    /// The format.
    pub format: Format,
    /// The shape.
    pub shape: Shape,
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

/// None of the formats is acceptable: 406.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAcceptable;

/// Chooses the answer's form.
///
/// # Errors
/// [`NotAcceptable`].
pub fn accept(headers: &HeaderMap, offer: Offer) -> Result<Accepted, NotAcceptable> {
    let mut alternatives: Vec<(&str, f32)> = headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(','))
        .map(str::trim)
        .filter(|a| !a.is_empty())
        .map(|a| (a, parameter(a, "q").and_then(|q| q.parse().ok()).unwrap_or(1.0)))
        .collect();
    if alternatives.is_empty() {
        return Ok(Accepted::default());
    }
    // Stable: equal qualities keep the client's order.
    alternatives.sort_by(|(_, a), (_, b)| b.total_cmp(a));
    alternatives
        .iter()
        .find_map(|(alternative, quality)| (*quality > 0.0).then(|| fit(alternative, offer))?)
        .ok_or(NotAcceptable)
}

/// One alternative, if it can be had.
fn fit(alternative: &str, offer: Offer) -> Option<Accepted> {
    let media = alternative.split(';').next().unwrap_or_default().trim();
    let format = match media.to_ascii_lowercase().as_str() {
        "application/json" | "*/*" | "application/*" => Format::Json,
        "application/yaml" => Format::Yaml,
        "application/vnd.kubernetes.protobuf" => Format::Protobuf,
        _ => return None,
    };
    let stream = parameter(alternative, "stream");
    if stream.is_some_and(|s| s != "watch") || (stream.is_some() && offer != Offer::Watch) {
        return None;
    }
    if format == Format::Yaml && offer == Offer::Watch {
        return None;
    }
    let shape = match parameter(alternative, "as") {
        None => Shape::Object,
        Some(name) => {
            let group = parameter(alternative, "g").unwrap_or_default();
            let version = parameter(alternative, "v").unwrap_or_default();
            if group != "meta.k8s.io" || version != "v1" {
                return None;
            }
            match (name, offer) {
                // Tables have no protobuf form.
                ("Table", Offer::Object | Offer::List | Offer::Watch) if format != Format::Protobuf => Shape::Table,
                ("PartialObjectMetadata", Offer::Object | Offer::Watch) => Shape::Metadata,
                ("PartialObjectMetadataList", Offer::List) => Shape::MetadataList,
                _ => return None,
            }
        }
    };
    let pretty = parameter(alternative, "pretty").is_some_and(|p| p == "1" || p == "true");
    Some(Accepted { format, shape, pretty })
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

    fn chosen(accept_header: &str, offer: Offer) -> Option<(Format, Shape)> {
        let headers = HeaderMap::from_iter([(ACCEPT, accept_header.parse().unwrap())]);
        accept(&headers, offer).ok().map(|a| (a.format, a.shape))
    }

    #[test]
    fn the_first_alternative_that_can_be_had_wins() {
        let kubectl = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";
        assert_eq!(chosen(kubectl, Offer::List), Some((Format::Json, Shape::Table)));
        assert_eq!(chosen(kubectl, Offer::Watch), Some((Format::Json, Shape::Table)));
        assert_eq!(chosen(kubectl, Offer::Plain), Some((Format::Json, Shape::Object)));
        let client_go = "application/vnd.kubernetes.protobuf,application/json";
        assert_eq!(chosen(client_go, Offer::Object), Some((Format::Protobuf, Shape::Object)));
        let metadata = "application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json";
        assert_eq!(chosen(metadata, Offer::List), Some((Format::Protobuf, Shape::MetadataList)));
        assert_eq!(chosen(metadata, Offer::Object), Some((Format::Json, Shape::Object)));
        assert_eq!(chosen("application/json;stream=watch", Offer::Watch), Some((Format::Json, Shape::Object)));
        assert_eq!(chosen("*/*", Offer::List), Some((Format::Json, Shape::Object)));
        assert_eq!(chosen("text/html;q=0.9, application/yaml", Offer::List), Some((Format::Yaml, Shape::Object)));
        assert_eq!(
            chosen("application/yaml;q=0.1, application/json", Offer::List),
            Some((Format::Json, Shape::Object))
        );
    }

    #[test]
    fn what_cannot_be_had_is_refused() {
        assert_eq!(chosen("text/html", Offer::List), None);
        assert_eq!(chosen("application/json;as=Table;v=v1beta1;g=meta.k8s.io", Offer::List), None);
        assert_eq!(chosen("application/json;q=0", Offer::List), None);
        assert!(accept(&HeaderMap::new(), Offer::List).is_ok());
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
