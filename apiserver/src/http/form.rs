//! How one request wants its objects: format, shape, and what is fixed about their kind.
//!
//! Made once per request by negotiation, then asked for objects, lists and watch frames. [`Form::is_stored`] is the
//! fast path of everything: JSON objects, which are the bytes in the cache.

use std::sync::Arc;

use bytes::Bytes;
use gantry_machinery::codec::json;
use gantry_machinery::codec::table::{Column, IncludeObject, ListMeta, TableWriter, write_partial_metadata};
use gantry_machinery::codec::{protobuf, yaml};
use gantry_machinery::resource::Subresource;
use gantry_machinery::resource_api::ObjectList;
use gantry_machinery::schema::{self, Message};
use gantry_machinery::selector::ShardSelector;
use gantry_machinery::status::Status;
use gantry_machinery::time;
use gantry_machinery::value::Value;
use gantry_store_cache::object::StoredObject;
use gantry_store_cache::revision::Revision;
use gantry_store_cache::translation::Translations;
use http::HeaderMap;

use super::negotiate::{self, Accepted, FORMATS, Format, MetaVersion, Offer, Shape};
use super::payload::Rope;
use super::pretty::pretty;
use super::query::Query;
use crate::registry::handle::BodyFormat;
use crate::registry::table::Row;
use crate::registry::versions::Version;

/// The protobuf message of metadata alone; it stands in no OpenAPI document.
const PARTIAL_METADATA: &str = "k8s.io.apimachinery.pkg.apis.meta.v1.PartialObjectMetadata";

fn api_version(group: &str, version: &str) -> String {
    if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") }
}

/// The columns of a Scale.
static SCALE_COLUMNS: [Column; 4] =
    [Column::name(), Column::integer("Desired"), Column::integer("Available"), Column::string("Age")];

fn scale_cells(scale: &Value, now: i64) -> Vec<Value> {
    vec![
        scale.str_at(&["metadata", "name"]).unwrap_or_default().into(),
        scale.i64_at(&["spec", "replicas"]).unwrap_or(0).into(),
        scale.i64_at(&["status", "replicas"]).unwrap_or(0).into(),
        Value::String(time::age(scale.str_at(&["metadata", "creationTimestamp"]), now)),
    ]
}

/// What a Table's rows are to hold besides cells.
fn include_object(text: &str) -> Result<IncludeObject, Status> {
    IncludeObject::parse(text).ok_or_else(|| {
        Status::bad_request(format!(
            "Unable to convert to Table as requested: includeObject: Invalid value: {text:?}: must be 'Metadata', \
             'Object', 'None', or empty"
        ))
    })
}

/// The package that upstream's own form of a group's kinds lives in.
fn go_package(group: &str) -> &str {
    match group {
        "" | "events.k8s.io" => "core",
        other => other.split('.').next().unwrap_or_default(),
    }
}

/// The form of one request's answer.
#[derive(Clone)]
pub struct Form {
    accepted: Accepted,
    include: IncludeObject,
    row: Row,
    kind: String,
    api_version: String,
    /// The type of what protobuf shows; `None` in other formats, and where it is the row's own.
    message: Option<&'static Message>,
    /// Whether Scales are shown, which have columns of their own whatever they scale.
    scale: bool,
    /// Whether this watch's Tables have named their columns: only the first does.
    columns_told: bool,
    /// The shard selector that lists are made by; empty for whole collections.
    shard: String,
    translations: Arc<Translations>,
}

impl Form {
    /// What the client accepts of what there is.
    ///
    /// # Errors
    /// 406.
    pub fn negotiate(
        headers: &HeaderMap,
        query: &str,
        offer: Offer,
        row: &Row,
        subresource: Option<&Subresource>,
        translations: &Arc<Translations>,
    ) -> Result<Self, Status> {
        let mut accepted = negotiate::accept(headers, offer).map_err(|refused| {
            let list = if offer == Offer::List { "List" } else { "" };
            refused.status(&format!("*{}.{}{list}", go_package(row.group()), row.resource.kind))
        })?;
        // Frames are lines: nothing in them is indented.
        accepted.pretty = offer != Offer::Watch && (accepted.pretty || negotiate::pretty(headers, query));
        let include = match accepted.shape {
            Shape::Table => include_object(Query::new(query).text("includeObject"))?,
            _ => IncludeObject::default(),
        };
        let gvr = row.gvr();
        let other = subresource.filter(|sub| sub.kind != row.resource.kind);
        let (group, version, kind) = match other {
            Some(sub) => (
                sub.kind_group.as_deref().unwrap_or(&gvr.group),
                sub.kind_version.as_deref().unwrap_or(&gvr.version),
                sub.kind.as_ref(),
            ),
            None => (gvr.group.as_ref(), gvr.version.as_ref(), row.resource.kind.as_ref()),
        };
        let message = match (accepted.format, accepted.shape) {
            (Format::Json | Format::Yaml, _) => None,
            (Format::Protobuf, Shape::Metadata | Shape::MetadataList) => schema::message(PARTIAL_METADATA),
            (Format::Protobuf, _) if other.is_none() => None,
            (Format::Protobuf, _) => schema::kind(group, version, kind),
        };
        let own = other.is_none() && !row.strategy.is_custom();
        if accepted.format == Format::Protobuf && message.is_none() && !own {
            return Err(Status::not_acceptable(&FORMATS[..2]));
        }
        let api_version = api_version(group, version);
        let scale = other.is_some() && kind == "Scale";
        let (kind, row) = (kind.to_owned(), row.clone());
        let translations = translations.clone();
        Ok(Self {
            accepted,
            include,
            row,
            kind,
            api_version,
            message,
            scale,
            columns_told: false,
            shard: String::new(),
            translations,
        })
    }

    /// The same for lists of a shard, which say so.
    #[must_use]
    pub fn of_shard(self, shard: Option<&ShardSelector>) -> Self {
        Self { shard: shard.map(|shard| shard.text().to_owned()).unwrap_or_default(), ..self }
    }

    /// Whether objects go out as they are stored.
    #[must_use]
    pub fn is_stored(&self) -> bool {
        self.accepted == Accepted::default() && self.row.strategy.version().is_none()
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
        let Accepted { format, shape, version, pretty } = self.accepted;
        u32::from(kind)
            | (format as u32) << 8
            | (shape as u32) << 12
            | (self.include as u32) << 16
            | u32::from(pretty) << 18
            | (version as u32) << 19
            | self.row.strategy.version().map_or(0, Version::ordinal) << 21
    }

    /// Appends one object.
    ///
    /// # Errors
    /// 500 for a stored body that cannot be read, 406 for a shape it does not have.
    pub fn push_object(&self, rope: &mut Rope, object: &StoredObject) -> Result<(), Status> {
        if self.is_translation() {
            rope.append(self.enveloped(&self.item(object)?));
            return Ok(());
        }
        rope.push(self.body(object, true)?);
        if self.streams() {
            rope.push(Bytes::from_static(b"\n"));
        }
        Ok(())
    }

    /// The object in the form asked for; `columns`: a Table names its columns.
    fn body(&self, object: &StoredObject, columns: bool) -> Result<Bytes, Status> {
        if self.is_translation() {
            return Ok(self.enveloped(&self.item(object)?).gather().into());
        }
        let shaped = match self.accepted.shape {
            Shape::Object => object.body.clone(),
            Shape::Metadata | Shape::MetadataList => {
                let mut out = Vec::new();
                write_partial_metadata(&mut out, self.accepted.version.name(), &object.body);
                out.into()
            }
            Shape::Table => {
                let mut out = Vec::new();
                let meta = ListMeta { revision: object.revision.0, ..ListMeta::default() };
                let mut table = self.table(&mut out, &meta, columns);
                self.push_row(&mut table, &mut out, object)?;
                table.end(&mut out);
                out.into()
            }
        };
        self.encode(shaped)
    }

    fn table(&self, out: &mut Vec<u8>, meta: &ListMeta<'_>, columns: bool) -> TableWriter<'static> {
        let columns = columns.then(|| if self.scale { &SCALE_COLUMNS } else { self.row.strategy.columns() });
        TableWriter::begin(out, self.accepted.version.name(), meta, columns, self.include)
    }

    fn push_row(
        &self,
        table: &mut TableWriter<'static>,
        out: &mut Vec<u8>,
        object: &StoredObject,
    ) -> Result<(), Status> {
        let value =
            json::parse(&object.body).map_err(|e| Status::internal(format!("{} cannot be read: {e}", object.key)))?;
        let now = time::now_unix();
        let cells = if self.scale { scale_cells(&value, now) } else { self.row.strategy.row(&value, now) };
        table.row(out, &cells, &object.body);
        Ok(())
    }

    /// JSON as the format asked for.
    fn encode(&self, shaped: Bytes) -> Result<Bytes, Status> {
        match self.accepted.format {
            Format::Json if self.accepted.pretty => Ok(pretty(&shaped).into()),
            Format::Json => Ok(shaped),
            Format::Yaml => Ok(yaml::encode(&parse(&shaped)?).into()),
            Format::Protobuf => self.protobuf(&parse(&shaped)?),
        }
    }

    /// The type of what protobuf shows.
    fn message(&self) -> &Message {
        self.message.unwrap_or_else(|| self.row.strategy.message())
    }

    fn protobuf(&self, value: &Value) -> Result<Bytes, Status> {
        // A binding or an eviction is answered with a Status, not with another of its own.
        let status = value.str_at(&["kind"]) == Some("Status");
        let message = status.then(|| schema::kind("", "v1", "Status")).flatten().unwrap_or_else(|| self.message());
        protobuf::encode(value, message).map(Into::into).map_err(Status::internal)
    }

    /// Whether objects go out as the translations that are kept with them: protobuf of the kind and version stored.
    fn is_translation(&self) -> bool {
        let Accepted { format, shape, .. } = self.accepted;
        format == Format::Protobuf
            && shape == Shape::Object
            && self.message.is_none()
            && self.row.strategy.version().is_none()
    }

    /// The object as an item of a protobuf list: kept with it, where it is its translation.
    fn item(&self, object: &StoredObject) -> Result<Bytes, Status> {
        let translate = |object: &StoredObject| {
            let mut item = Vec::with_capacity(object.body.len());
            protobuf::push_item(&parse(&object.body)?, self.message(), &mut item).map_err(Status::internal)?;
            // Its own size, not the buffer's.
            Ok(Bytes::copy_from_slice(&item))
        };
        if self.is_translation() { object.translated(&self.translations, translate) } else { translate(object) }
    }

    /// An item of a list as an object of its own.
    fn enveloped(&self, item: &Bytes) -> Rope {
        let message = protobuf::message_of_item(item);
        let mut rope = Rope::with_capacity(3);
        rope.push(protobuf::object_head(&self.api_version, &self.kind, message.len()));
        rope.push(message);
        rope.push(Bytes::from_static(protobuf::TAIL));
        rope
    }

    /// What was negotiated.
    #[must_use]
    pub fn accepted(&self) -> Accepted {
        self.accepted
    }

    /// Whether a list can be written piece by piece: it is JSON for machines, which ends in a line end besides.
    #[must_use]
    pub fn streams(&self) -> bool {
        self.accepted.format == Format::Json && !self.accepted.pretty
    }

    /// Begins a list in JSON: its head, and what writes the rest.
    #[must_use]
    pub fn begin_list(&self, list: &ObjectList) -> (Rope, ListWriter) {
        if self.accepted.shape == Shape::Table {
            let mut out = Vec::new();
            let table = self.table(&mut out, &self.list_meta(list), true);
            return (
                Rope::from(Bytes::from(out)),
                ListWriter { form: self.clone(), table: Some(table), strip: Default::default(), written: 0 },
            );
        }
        let writer = ListWriter { form: self.clone(), table: None, strip: self.type_prefixes(), written: 0 };
        (self.list_head(list), writer)
    }

    /// A whole list in a form that is not written piece by piece.
    ///
    /// # Errors
    /// As [`Self::push_object`].
    pub fn whole_list(&self, list: &ObjectList) -> Result<Rope, Status> {
        if self.accepted.format == Format::Protobuf {
            return self.protobuf_list(list);
        }
        let (head, mut writer) = self.begin_list(list);
        let mut whole = head.gather();
        whole.extend_from_slice(&writer.items(&list.items)?.gather());
        whole.extend_from_slice(&writer.end().gather());
        while whole.last().is_some_and(u8::is_ascii_whitespace) {
            whole.pop();
        }
        Ok(Rope::from(self.encode(whole.into())?))
    }

    fn protobuf_list(&self, list: &ObjectList) -> Result<Rope, Status> {
        let mut metadata = Value::object();
        metadata.set(&["resourceVersion"], list.revision.to_string());
        if !list.continue_token.is_empty() {
            metadata.set(&["continue"], list.continue_token.as_str());
        }
        if let Some(remaining) = list.remaining {
            metadata.set(&["remainingItemCount"], i64::try_from(remaining).unwrap_or(i64::MAX));
        }
        if !self.shard.is_empty() {
            metadata.set(&["shardInfo", "selector"], self.shard.as_str());
        }
        let items = list.items.iter().map(|object| self.item(object)).collect::<Result<Vec<_>, _>>()?;
        let (kind, api_version) = self.shown_type();
        let len = items.iter().map(Bytes::len).sum();
        let head = protobuf::list_head(api_version, &format!("{kind}List"), &metadata, len);
        let mut rope = Rope::with_capacity(items.len() + 2);
        rope.push(head.map_err(Status::internal)?);
        items.into_iter().for_each(|item| rope.push(item));
        rope.push(Bytes::from_static(protobuf::TAIL));
        Ok(rope)
    }

    fn list_meta<'l>(&'l self, list: &'l ObjectList) -> ListMeta<'l> {
        ListMeta {
            revision: list.revision.0,
            continue_token: &list.continue_token,
            remaining: list.remaining,
            shard: &self.shard,
        }
    }

    fn meta_api_version(&self) -> &'static str {
        match self.accepted.version {
            MetaVersion::V1 => "meta.k8s.io/v1",
            MetaVersion::V1beta1 => "meta.k8s.io/v1beta1",
        }
    }

    /// What `kind` and `apiVersion` say of objects in this shape.
    fn shown_type(&self) -> (&str, &str) {
        match self.accepted.shape {
            Shape::Metadata | Shape::MetadataList => ("PartialObjectMetadata", self.meta_api_version()),
            Shape::Table => ("Table", self.meta_api_version()),
            Shape::Object => (&self.kind, &self.api_version),
        }
    }

    /// `{"kind":"PodList","apiVersion":"v1","metadata":{...},"items":[`
    fn list_head(&self, list: &ObjectList) -> Rope {
        let (kind, api_version) = self.shown_type();
        let mut head = format!("{{\"kind\":\"{kind}List\",\"apiVersion\":\"{api_version}\",\"metadata\":").into_bytes();
        self.list_meta(list).write(&mut head);
        head.extend_from_slice(b",\"items\":[");
        Rope::from(Bytes::from(head))
    }

    /// What stored bodies of this kind may begin with: their type, in either order.
    fn type_prefixes(&self) -> [Vec<u8>; 2] {
        let Self { kind, api_version, .. } = self;
        [
            format!("{{\"apiVersion\":\"{api_version}\",\"kind\":\"{kind}\",").into_bytes(),
            format!("{{\"kind\":\"{kind}\",\"apiVersion\":\"{api_version}\",").into_bytes(),
        ]
    }

    /// Appends a watch frame.
    ///
    /// # Errors
    /// As [`Self::push_object`].
    pub fn push_event(&mut self, rope: &mut Rope, kind: &str, object: &StoredObject) -> Result<(), Status> {
        let first = !std::mem::replace(&mut self.columns_told, true);
        self.push_later_event(rope, kind, object, first)
    }

    /// Whether the next event differs from what other watchers of the same form are sent. Tables of custom resources
    /// differ by version and by what the definition said when the watch began.
    #[must_use]
    pub fn next_event_is_own(&self) -> bool {
        self.accepted.shape == Shape::Table && (!self.columns_told || self.row.strategy.is_custom())
    }

    /// Appends the watch frame that every watcher of this form is sent.
    ///
    /// # Errors
    /// As [`Self::push_object`].
    pub fn push_shared_event(&self, rope: &mut Rope, kind: &str, object: &StoredObject) -> Result<(), Status> {
        self.push_later_event(rope, kind, object, false)
    }

    fn push_later_event(
        &self,
        rope: &mut Rope,
        kind: &str,
        object: &StoredObject,
        columns: bool,
    ) -> Result<(), Status> {
        // Events are shared by the watchers of every version: here they become the one asked for.
        let body = match self.row.strategy.version() {
            None => self.body(object, columns)?,
            Some(version) => self.body(&version.shown(object)?, columns)?,
        };
        if self.accepted.format == Format::Protobuf {
            rope.push(Bytes::from(protobuf::watch_frame(kind, &body)));
            return Ok(());
        }
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
        let (kind, api_version) = self.shown_type();
        if self.accepted.format == Format::Protobuf {
            let mut object = Value::object();
            object.set(&["kind"], kind);
            object.set(&["apiVersion"], api_version);
            object.set(&["metadata", "resourceVersion"], revision.to_string());
            if initial_events_end {
                object.set(&["metadata", "annotations", "k8s.io/initial-events-end"], "true");
            }
            rope.push(Bytes::from(protobuf::watch_frame("BOOKMARK", &self.protobuf(&object)?)));
            return Ok(());
        }
        let annotations =
            if initial_events_end { r#","annotations":{"k8s.io/initial-events-end":"true"}"# } else { "" };
        rope.push(Bytes::from(format!(
            "{{\"type\":\"BOOKMARK\",\"object\":{{\"kind\":\"{kind}\",\"apiVersion\":\"{api_version}\",\
             \"metadata\":{{\"resourceVersion\":\"{revision}\"{annotations}}}}}}}\n"
        )));
        Ok(())
    }

    /// Appends the last frame of a watch that failed.
    pub fn push_error(&self, rope: &mut Rope, status: &Status) {
        if self.accepted.format == Format::Protobuf
            && let Some(message) = schema::kind("", "v1", "Status")
            && let Ok(encoded) = protobuf::encode(&status.to_value(), message)
        {
            rope.push(Bytes::from(protobuf::watch_frame("ERROR", &encoded)));
            return;
        }
        rope.push(Bytes::from_static(br#"{"type":"ERROR","object":"#));
        rope.push(Bytes::from(status.to_json()));
        rope.push(Bytes::from_static(b"}\n"));
    }
}

/// Writes a list's items, some at a time.
pub struct ListWriter {
    form: Form,
    table: Option<TableWriter<'static>>,
    /// What stored bodies begin with, in either order, and items of a list go without.
    strip: [Vec<u8>; 2],
    written: usize,
}

impl ListWriter {
    /// The next items.
    ///
    /// # Errors
    /// As [`Form::push_object`].
    pub fn items(&mut self, items: &[Arc<StoredObject>]) -> Result<Rope, Status> {
        if let Some(table) = &mut self.table {
            let mut out = Vec::new();
            for object in items {
                self.form.push_row(table, &mut out, object)?;
            }
            return Ok(Rope::from(Bytes::from(out)));
        }
        let mut rope = Rope::with_capacity(2 * items.len());
        for object in items {
            let first = self.written == 0;
            self.written += 1;
            if self.form.accepted.shape == Shape::MetadataList {
                let mut out = if first { Vec::new() } else { vec![b','] };
                write_partial_metadata(&mut out, self.form.accepted.version.name(), &object.body);
                rope.push(Bytes::from(out));
            } else if let Some(prefix) = self.strip.iter().find(|prefix| object.body.starts_with(prefix)) {
                rope.push(Bytes::from_static(if first { b"{" } else { b",{" }));
                rope.push(object.body.slice(prefix.len()..));
            } else {
                rope.push(Bytes::from_static(if first { b"" } else { b"," }));
                rope.push(object.body.clone());
            }
        }
        Ok(rope)
    }

    /// The end.
    #[must_use]
    pub fn end(self) -> Rope {
        let mut out = Vec::new();
        match self.table {
            Some(table) => table.end(&mut out),
            None => out.extend_from_slice(b"]}"),
        }
        out.push(b'\n');
        Rope::from(Bytes::from(out))
    }
}

/// A stored or shaped body as a value.
pub(super) fn parse(body: &[u8]) -> Result<Value, Status> {
    json::parse(body).map_err(|e| Status::internal(format!("a stored object cannot be read: {e}")))
}

/// A body that is not the registry's to decode, as the kind it should be.
///
/// # Errors
/// 400 for what cannot be read.
pub fn decode(format: BodyFormat, bytes: &[u8], group: &str, version: &str, kind: &str) -> Result<Value, Status> {
    match format {
        BodyFormat::Json => json::parse(bytes).map_err(|e| Status::bad_request(e.to_string())),
        BodyFormat::Yaml => yaml::parse(bytes).map_err(|e| Status::bad_request(e.to_string())),
        BodyFormat::Protobuf => {
            let message =
                schema::kind(group, version, kind).ok_or_else(|| Status::unsupported_media_type(&FORMATS[..2]))?;
            protobuf::decode(bytes, message).map_err(|e| Status::bad_request(e.to_string()))
        }
    }
}

/// An object made by us, in the form asked for.
///
/// # Errors
/// 406 for a kind without protobuf.
pub fn encode(accepted: &Accepted, object: &Value, group: &str, version: &str, kind: &str) -> Result<Bytes, Status> {
    match accepted.format {
        Format::Json if accepted.pretty => Ok(pretty(&json::encode(object)).into()),
        Format::Json => {
            let mut text = json::encode(object);
            text.push(b'\n');
            Ok(text.into())
        }
        Format::Yaml => Ok(yaml::encode(object).into()),
        Format::Protobuf => {
            let message = schema::kind(group, version, kind).ok_or_else(|| Status::not_acceptable(&FORMATS[..2]))?;
            protobuf::encode(object, message).map(Into::into).map_err(Status::internal)
        }
    }
}
