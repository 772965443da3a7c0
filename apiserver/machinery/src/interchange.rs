//! What Gantry's own processes say to each other beyond the Kubernetes API: many bindings or Events in one call, and the
//! rows of a projection in place of whole objects. gRPC on the API server's own port, with the same credentials.
//!
//! [`crate::client`] speaks it when the server does and falls back on plain Kubernetes calls when not, so that a role
//! works against any API server. The messages stand here instead of in a `.proto` file: both ends are ours, and no
//! compiler for them is needed. Numbers are never used anew.

use gantry_store_cache::snapshot::{RowChange, RowRef};
use rkyv::util::AlignedVec;

use crate::event::NewEvent;
use crate::recorder::{Severity, Subject};
use crate::status::Status;

/// All paths begin with this.
pub const PREFIX: &str = "/gantry.interchange.v1.Interchange/";
/// [`BindBatch`] → [`BindAnswers`].
pub const BIND_BATCH: &str = "/gantry.interchange.v1.Interchange/BindBatch";
/// [`BindBatch`] → [`BindAnswer`]: all of them in one commit, or none.
pub const BIND_GANG: &str = "/gantry.interchange.v1.Interchange/BindGang";
/// [`EventBatch`] → [`BindAnswers`].
pub const CREATE_EVENTS: &str = "/gantry.interchange.v1.Interchange/CreateEvents";
/// [`RowsRequest`] → stream of [`Rows`].
pub const ROWS: &str = "/gantry.interchange.v1.Interchange/Rows";

/// Bindings to be made in one commit: each with an answer of its own, or all of them or none.
#[derive(Clone, PartialEq, prost::Message)]
pub struct BindBatch {
    /// The bindings.
    #[prost(message, repeated, tag = "1")]
    pub bindings: Vec<PodBinding>,
}

/// One pod and where it goes.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct PodBinding {
    /// The pod's namespace.
    #[prost(string, tag = "1")]
    pub namespace: String,
    /// Its name.
    #[prost(string, tag = "2")]
    pub name: String,
    /// Its uid; a pod of the same name with another is not bound.
    #[prost(string, tag = "3")]
    pub uid: String,
    /// The node.
    #[prost(string, tag = "4")]
    pub node: String,
}

/// Events to be written in one commit, each with an answer of its own.
#[derive(Clone, PartialEq, prost::Message)]
pub struct EventBatch {
    /// The Events.
    #[prost(message, repeated, tag = "1")]
    pub events: Vec<SentEvent>,
}

/// One [`NewEvent`] as it travels.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct SentEvent {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    about_api_version: String,
    #[prost(string, tag = "3")]
    about_kind: String,
    #[prost(string, tag = "4")]
    about_namespace: String,
    #[prost(string, tag = "5")]
    about_name: String,
    #[prost(string, tag = "6")]
    about_uid: String,
    #[prost(bool, tag = "7")]
    warning: bool,
    #[prost(string, tag = "8")]
    reason: String,
    #[prost(string, tag = "9")]
    action: String,
    #[prost(string, tag = "10")]
    note: String,
    #[prost(string, tag = "11")]
    controller: String,
    #[prost(string, tag = "12")]
    instance: String,
    #[prost(string, tag = "13")]
    at: String,
}

impl From<&NewEvent> for SentEvent {
    fn from(event: &NewEvent) -> Self {
        let about = &event.regarding;
        Self {
            name: event.name.to_string(),
            about_api_version: about.api_version.to_string(),
            about_kind: about.kind.to_string(),
            about_namespace: about.namespace.to_string(),
            about_name: about.name.to_string(),
            about_uid: about.uid.to_string(),
            warning: event.severity == Severity::Warning,
            reason: event.reason.to_string(),
            action: event.action.to_string(),
            note: event.note.clone(),
            controller: event.controller.to_string(),
            instance: event.instance.to_string(),
            at: event.at.to_string(),
        }
    }
}

impl From<SentEvent> for NewEvent {
    fn from(sent: SentEvent) -> Self {
        let regarding = Subject {
            api_version: sent.about_api_version.into(),
            kind: sent.about_kind.into(),
            namespace: sent.about_namespace.into(),
            name: sent.about_name.into(),
            uid: sent.about_uid.into(),
            ..Subject::default()
        };
        Self {
            name: sent.name.into(),
            regarding,
            severity: if sent.warning { Severity::Warning } else { Severity::Normal },
            reason: sent.reason.into(),
            action: sent.action.into(),
            note: sent.note,
            controller: sent.controller.into(),
            instance: sent.instance.into(),
            at: sent.at.into(),
        }
    }
}

/// What came of each binding or Event, in the order of the request.
#[derive(Clone, PartialEq, prost::Message)]
pub struct BindAnswers {
    /// The answers.
    #[prost(message, repeated, tag = "1")]
    pub answers: Vec<BindAnswer>,
}

/// What came of one of them.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct BindAnswer {
    /// The refusal as a Status in JSON; empty when it is done.
    #[prost(bytes = "vec", tag = "1")]
    pub refusal: Vec<u8>,
}

impl BindAnswer {
    /// As it travels.
    #[must_use]
    pub fn of(outcome: &Result<(), Status>) -> Self {
        Self { refusal: outcome.as_ref().err().map(Status::to_json).unwrap_or_default() }
    }
}

/// Asks for the rows of a projection: all there are, then every change.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct RowsRequest {
    /// The projection's name, which also names the layout of its rows (`scheduling.pods/1`).
    #[prost(string, tag = "1")]
    pub projection: String,
}

/// A piece of the answer. The first ones are the initial rows, up to the one that is `complete`; later ones are changes in
/// order. One without rows says that the server is there.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Rows {
    /// The rows.
    #[prost(message, repeated, tag = "1")]
    pub rows: Vec<SentRow>,
    /// Whether these end the initial rows.
    #[prost(bool, tag = "2")]
    pub complete: bool,
}

/// The row of one object, as its projection archived it.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct SentRow {
    /// The archived row; of an object that is gone, its last one.
    #[prost(bytes = "vec", tag = "1")]
    pub archived: Vec<u8>,
    /// Whether the object is gone.
    #[prost(bool, tag = "2")]
    pub gone: bool,
}

/// A part of a projection's rows as its reader has them: the first parts are all there are, up to the one that is
/// `complete`; later ones are changes in order.
#[derive(Default)]
pub struct Part {
    /// The rows.
    pub rows: Vec<Row>,
    /// Whether these end the initial rows.
    pub complete: bool,
}

/// The row of one object.
pub struct Row {
    /// The archived row; of an object that is gone, its last one.
    pub archived: Archived,
    /// Whether the object is gone.
    pub gone: bool,
}

/// An archived row, aligned to be read in place.
pub enum Archived {
    /// In the store of this process.
    Here(RowRef),
    /// As it was sent.
    Sent(AlignedVec),
}

impl std::ops::Deref for Archived {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Here(row) => row,
            Self::Sent(bytes) => bytes,
        }
    }
}

impl From<Rows> for Part {
    fn from(sent: Rows) -> Self {
        let row = |row: SentRow| {
            // Bytes of a message lie anywhere.
            let mut aligned = AlignedVec::with_capacity(row.archived.len());
            aligned.extend_from_slice(&row.archived);
            Row { archived: Archived::Sent(aligned), gone: row.gone }
        };
        Self { rows: sent.rows.into_iter().map(row).collect(), complete: sent.complete }
    }
}

impl From<RowChange> for Row {
    fn from(change: RowChange) -> Self {
        Self { archived: Archived::Here(change.row), gone: change.gone }
    }
}
