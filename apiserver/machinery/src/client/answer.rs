//! Answers of a remote server as the stored form: the bytes that came, with key, revision and facets read from them.

use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use compact_str::CompactString;
use gantry_store_cache::key::ObjectKey;
use gantry_store_cache::object::{Facets, StoredObject};
use gantry_store_cache::revision::Revision;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::resource::{self, GroupVersionResource};
use crate::resource_api::{ObjectList, WatchEvent};
use crate::status::Status;
use crate::typed;

const INITIAL_EVENTS_END: &str = "k8s.io/initial-events-end";

/// The part of an object that is read from every answer.
#[derive(Deserialize)]
struct Head<'a> {
    #[serde(borrow, default)]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    metadata: Metadata<'a>,
    #[serde(borrow, default)]
    spec: Option<Spec<'a>>,
    #[serde(borrow, default)]
    status: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Metadata<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow)]
    namespace: Cow<'a, str>,
    #[serde(borrow)]
    resource_version: Cow<'a, str>,
    deletion_timestamp: Option<String>,
    labels: Option<BTreeMap<CompactString, CompactString>>,
    /// Read for bookmarks alone.
    #[serde(borrow)]
    annotations: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec<'a> {
    #[serde(borrow)]
    node_name: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct List<'a> {
    #[serde(default)]
    metadata: ListMetadata,
    #[serde(borrow)]
    items: Option<Vec<&'a RawValue>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ListMetadata {
    resource_version: String,
    #[serde(rename = "continue")]
    continue_token: String,
    remaining_item_count: Option<u64>,
}

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    object: &'a RawValue,
}

/// Reads objects of one resource.
#[derive(Clone)]
pub(super) struct Reader {
    collection: CompactString,
    /// `"apiVersion":"v1","kind":"Pod",`: what lists and some servers leave out of items.
    type_meta: String,
}

impl Reader {
    pub(super) fn new(resource: &GroupVersionResource) -> Self {
        let kind = resource::find(&resource.group, &resource.version, &resource.resource).map(|row| &*row.kind);
        let type_meta = kind.map(|kind| format!("\"kind\":\"{kind}\",\"apiVersion\":\"{}\",", resource.api_version()));
        Self { collection: (&*resource.collection()).into(), type_meta: type_meta.unwrap_or_default() }
    }

    pub(super) fn object(&self, body: Bytes) -> Result<Arc<StoredObject>, Status> {
        let head: Head<'_> = parse(&body)?;
        let key = ObjectKey::new(&self.collection, &head.metadata.namespace, &head.metadata.name);
        let revision = revision_of(&head.metadata.resource_version);
        let facets = facets_of(&head);
        let body = if head.kind.is_empty() { self.with_type(&body) } else { body };
        Ok(Arc::new(StoredObject::new(key, revision, revision, body, facets)))
    }

    /// An object of which only the address is known.
    pub(super) fn named(&self, namespace: &str, name: &str) -> Arc<StoredObject> {
        let key = ObjectKey::new(&self.collection, namespace, name);
        let none = Revision::default();
        Arc::new(StoredObject::new(key, none, none, Bytes::from_static(b"{}"), Facets::default()))
    }

    pub(super) fn list(&self, body: Bytes) -> Result<ObjectList, Status> {
        let list: List<'_> = parse(&body)?;
        let items = list.items.unwrap_or_default();
        Ok(ObjectList {
            revision: revision_of(&list.metadata.resource_version),
            items: items
                .into_iter()
                .map(|item| self.object(Bytes::copy_from_slice(item.get().as_bytes())))
                .collect::<Result<_, _>>()?,
            continue_token: list.metadata.continue_token,
            remaining: list.metadata.remaining_item_count,
        })
    }

    pub(super) fn is_status(&self, body: &[u8]) -> bool {
        parse::<Head<'_>>(body).is_ok_and(|head| head.kind == "Status")
    }

    pub(super) fn is_marked(&self, object: &StoredObject) -> bool {
        parse::<Head<'_>>(&object.body).is_ok_and(|head| head.metadata.deletion_timestamp.is_some())
    }

    fn with_type(&self, body: &[u8]) -> Bytes {
        let mut whole = Vec::with_capacity(body.len() + self.type_meta.len());
        whole.push(b'{');
        whole.extend_from_slice(self.type_meta.as_bytes());
        whole.extend_from_slice(&body[1..]);
        whole.into()
    }

    fn event(&self, line: &[u8]) -> Result<Option<WatchEvent>, Status> {
        let event: Event<'_> = parse(line)?;
        let json = event.object.get().as_bytes();
        match &*event.kind {
            "BOOKMARK" => {
                let head: Head<'_> = parse(json)?;
                let annotations = head.metadata.annotations.map_or("null", RawValue::get);
                let annotations: Option<BTreeMap<String, String>> = parse(annotations.as_bytes())?;
                Ok(Some(WatchEvent::Bookmark {
                    revision: revision_of(&head.metadata.resource_version),
                    initial_events_end: annotations
                        .is_some_and(|all| all.get(INITIAL_EVENTS_END).is_some_and(|value| value == "true")),
                }))
            }
            "ERROR" => Err(status(500, json)),
            kind => {
                let object = self.object(Bytes::copy_from_slice(json))?;
                Ok(match kind {
                    "ADDED" => Some(WatchEvent::Added(object)),
                    "MODIFIED" => Some(WatchEvent::Modified(object)),
                    "DELETED" => Some(WatchEvent::Deleted(object)),
                    // A type of event that this version does not know cannot concern it.
                    _ => None,
                })
            }
        }
    }
}

/// The Status inside an error's body; one made of the code where the body is none.
pub(super) fn status(code: u16, body: &[u8]) -> Status {
    let read = typed::parse(body).ok().and_then(|value| Status::from_value(&value, code));
    read.unwrap_or_else(|| Status::from_code(code, &String::from_utf8_lossy(body)))
}

fn parse<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Status> {
    serde_json::from_slice(body)
        .map_err(|error| Status::internal(format!("the server's answer makes no sense: {error}")))
}

fn revision_of(resource_version: &str) -> Revision {
    Revision(resource_version.parse().unwrap_or_default())
}

fn facets_of(head: &Head<'_>) -> Facets {
    #[derive(Deserialize)]
    struct Phase<'a> {
        #[serde(borrow)]
        phase: Option<Cow<'a, str>>,
    }
    let labels = head.metadata.labels.iter().flatten().map(|(key, value)| (key.clone(), value.clone())).collect();
    let mut fields: Vec<(&'static str, CompactString)> = Vec::new();
    if let Some(node) = head.spec.as_ref().and_then(|spec| spec.node_name.as_deref()) {
        fields.push(("spec.nodeName", node.into()));
    }
    let phase = head.status.and_then(|status| serde_json::from_str::<Phase<'_>>(status.get()).ok()?.phase);
    if let Some(phase) = phase {
        fields.push(("status.phase", (&*phase).into()));
    }
    Facets { labels, fields: fields.into() }
}

/// Cuts a watch's bytes into events.
pub(super) struct Lines {
    reader: Reader,
    rest: Vec<u8>,
    ready: VecDeque<Result<WatchEvent, Status>>,
}

impl Lines {
    pub(super) fn new(reader: Reader) -> Self {
        Self { reader, rest: Vec::new(), ready: VecDeque::new() }
    }

    pub(super) fn push(&mut self, data: &[u8]) {
        let mut data = data;
        while let Some(end) = memchr::memchr(b'\n', data) {
            let line = if self.rest.is_empty() {
                self.reader.event(&data[..end])
            } else {
                self.rest.extend_from_slice(&data[..end]);
                let event = self.reader.event(&self.rest);
                self.rest.clear();
                event
            };
            self.ready.extend(line.transpose());
            data = &data[end + 1..];
        }
        self.rest.extend_from_slice(data);
    }

    /// Up to `max` events that have arrived whole, or the error that comes next.
    pub(super) fn take(&mut self, max: usize) -> Option<Result<Vec<WatchEvent>, Status>> {
        let mut events = Vec::new();
        while events.len() < max {
            match self.ready.pop_front() {
                Some(Ok(event)) => events.push(event),
                Some(Err(status)) if events.is_empty() => return Some(Err(status)),
                Some(error) => {
                    self.ready.push_front(error);
                    break;
                }
                None => break,
            }
        }
        if events.is_empty() { None } else { Some(Ok(events)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::gvr;

    #[test]
    fn items_of_a_list_get_their_kind_back() {
        let body = r#"{"kind":"PodList","metadata":{"resourceVersion":"9","continue":"t","remainingItemCount":3},"items":[{"metadata":{"name":"a","namespace":"n","resourceVersion":"7","labels":{"x":"y"}},"spec":{"nodeName":"n1"},"status":{"phase":"Running"}}]}"#;
        let list = Reader::new(&gvr::PODS).list(Bytes::from_static(body.as_bytes())).unwrap();
        assert_eq!((list.revision, list.continue_token.as_str(), list.remaining), (Revision(9), "t", Some(3)));
        let pod = &list.items[0];
        assert_eq!((pod.key.as_str(), pod.revision), ("pods/n/a", Revision(7)));
        assert_eq!((pod.facets.label("x"), pod.facets.field("spec.nodeName")), (Some("y"), "n1"));
        assert_eq!(pod.facets.field("status.phase"), "Running");
        assert!(pod.body.starts_with(br#"{"kind":"Pod","apiVersion":"v1","metadata""#));
    }

    #[test]
    fn events_are_cut_wherever_the_bytes_were_and_errors_come_in_their_place() {
        let mut lines = Lines::new(Reader::new(&gvr::PODS));
        let text = concat!(
            r#"{"type":"ADDED","object":{"kind":"Pod","metadata":{"name":"a","resourceVersion":"1"}}}"#,
            "\n",
            r#"{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"5","annotations":{"k8s.io/initial-events-end":"true"}}}}"#,
            "\n",
            r#"{"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired","message":"too old"}}"#,
            "\n"
        );
        for part in text.as_bytes().chunks(7) {
            lines.push(part);
        }
        let events = lines.take(10).unwrap().unwrap();
        assert!(matches!(&events[0], WatchEvent::Added(pod) if pod.key.name() == "a"));
        assert!(matches!(events[1], WatchEvent::Bookmark { revision: Revision(5), initial_events_end: true }));
        assert_eq!(lines.take(10).unwrap().unwrap_err().code, 410);
        assert!(lines.take(10).is_none());
    }
}
