//! One collection as the core hears of it: as rows, where the server feeds them, else as objects that are made to rows
//! here.
//!
//! [`super::feed`] holds one source per collection. Which way it goes is found out once, when it is first asked: Gantry's
//! API server feeds rows to other processes ([`gantry_machinery::interchange`]), any other Kubernetes does not.

use std::sync::Arc;
use std::time::Duration;

use gantry_machinery::interchange::{Row as Carried, Rows};
use gantry_machinery::reflector::{Delta, Reflector};
use gantry_machinery::resource::{GroupVersionResource, gvr};
use gantry_machinery::resource_api::{ResourceApi, RowStream, WatchEvent};
use gantry_machinery::selector::{FieldSelector, LabelSelector};
use gantry_machinery::status::Status;
use gantry_scheduler_core::cycle::Event;
use gantry_scheduler_core::rows::json::NotAnObject;
use gantry_scheduler_core::rows::projection::{NodeProjection, PodProjection, read_node, read_pod};
use gantry_scheduler_core::rows::{NodeRow, PodRow};
use gantry_store_cache::object::StoredObject;
use gantry_store_cache::projection::Projection;

/// The first pause after an error.
const PAUSE_FIRST: Duration = Duration::from_millis(200);
/// The longest.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// A kind of row that the core takes.
pub(super) trait Row: Sized + Send + 'static {
    /// What its objects are.
    fn resource() -> &'static GroupVersionResource;
    /// The name of the projection that makes it.
    fn projection() -> &'static str;
    /// From a row as the projection archived it.
    fn from_archive(bytes: &[u8]) -> Result<Self, rkyv::rancor::Error>;
    /// From an object.
    fn from_object(body: &[u8]) -> Result<Self, NotAnObject>;
    /// These are all there are.
    fn all(rows: Vec<Self>) -> Event;
    /// This one is new or changed.
    fn changed(self) -> Event;
    /// This one is gone.
    fn gone(self) -> Event;
}

impl Row for NodeRow {
    fn resource() -> &'static GroupVersionResource {
        &gvr::NODES
    }

    fn projection() -> &'static str {
        NodeProjection.name()
    }

    fn from_archive(bytes: &[u8]) -> Result<Self, rkyv::rancor::Error> {
        read_node(bytes)
    }

    fn from_object(body: &[u8]) -> Result<Self, NotAnObject> {
        Self::from_json(body)
    }

    fn all(rows: Vec<Self>) -> Event {
        Event::Nodes(rows)
    }

    fn changed(self) -> Event {
        Event::Node(Box::new(self))
    }

    fn gone(self) -> Event {
        Event::NodeGone(self.name)
    }
}

impl Row for PodRow {
    fn resource() -> &'static GroupVersionResource {
        &gvr::PODS
    }

    fn projection() -> &'static str {
        PodProjection.name()
    }

    fn from_archive(bytes: &[u8]) -> Result<Self, rkyv::rancor::Error> {
        read_pod(bytes)
    }

    fn from_object(body: &[u8]) -> Result<Self, NotAnObject> {
        Self::from_json(body)
    }

    fn all(rows: Vec<Self>) -> Event {
        Event::Pods(rows)
    }

    fn changed(self) -> Event {
        Event::Pod(Box::new(self))
    }

    fn gone(self) -> Event {
        Event::PodGone(self.uid)
    }
}

/// A collection, followed for ever.
pub(super) struct Source<R> {
    api: Arc<dyn ResourceApi>,
    way: Way,
    /// Initial rows that have come so far.
    initial: Option<Vec<R>>,
    pause: Duration,
}

/// `Unknown → Rows ⇄ Broken` or `Unknown → Objects`.
enum Way {
    Unknown,
    Rows(Box<dyn RowStream>),
    Broken,
    Objects(Box<Reflector>),
}

impl<R: Row> Source<R> {
    pub(super) fn new(api: Arc<dyn ResourceApi>) -> Self {
        Self { api, way: Way::Unknown, initial: None, pause: PAUSE_FIRST }
    }

    /// What happened next; waits for it, through errors. The first answer, and the first after a break, is all rows.
    pub(super) async fn next(&mut self) -> Vec<Event> {
        loop {
            match &mut self.way {
                Way::Unknown | Way::Broken => match self.api.rows(R::projection()).await {
                    Ok(Some(stream)) => {
                        self.initial = Some(Vec::new());
                        self.way = Way::Rows(stream);
                    }
                    Ok(None) => {
                        let (labels, fields) = (LabelSelector::default(), FieldSelector::default());
                        let reflector = Reflector::new(self.api.clone(), R::resource().clone(), labels, fields);
                        self.way = Way::Objects(Box::new(reflector));
                    }
                    Err(status) => self.wait_after(&status).await,
                },
                Way::Rows(stream) => match stream.next().await {
                    Some(Ok(part)) => {
                        self.pause = PAUSE_FIRST;
                        let events = self.read(part);
                        if !events.is_empty() {
                            return events;
                        }
                    }
                    Some(Err(status)) => {
                        self.way = Way::Broken;
                        self.wait_after(&status).await;
                    }
                    None => self.way = Way::Broken,
                },
                Way::Objects(reflector) => return delta::<R>(reflector.next().await),
            }
        }
    }

    fn read(&mut self, part: Rows) -> Vec<Event> {
        let rows = part.rows.into_iter().filter_map(|row| Some((archived::<R>(&row)?, row.gone)));
        match &mut self.initial {
            Some(initial) => {
                initial.extend(rows.map(|(row, _)| row));
                if !part.complete {
                    return Vec::new();
                }
                self.initial.take().map(R::all).into_iter().collect()
            }
            None => rows.map(|(row, gone)| if gone { row.gone() } else { row.changed() }).collect(),
        }
    }

    async fn wait_after(&mut self, status: &Status) {
        tracing::debug!(rows = R::projection(), error = %status, pause = ?self.pause, "no rows for now");
        tokio::time::sleep(self.pause).await;
        self.pause = (self.pause * 2).min(PAUSE_MAX);
    }
}

/// What happened to the objects, as the core hears it.
pub(super) fn delta<R: Row>(delta: Delta) -> Vec<Event> {
    match delta {
        Delta::Replace(all) => vec![R::all(all.iter().filter_map(|object| object_row(object)).collect())],
        Delta::Changes(changes) => {
            let event = |change: &WatchEvent| match change {
                WatchEvent::Added(object) | WatchEvent::Modified(object) => Some(object_row::<R>(object)?.changed()),
                WatchEvent::Deleted(object) => Some(object_row::<R>(object)?.gone()),
                WatchEvent::Bookmark { .. } => None,
            };
            changes.iter().filter_map(event).collect()
        }
    }
}

/// The row of an object. One that cannot be read is left out, with a line in the log: it must not stop the others.
fn object_row<R: Row>(object: &StoredObject) -> Option<R> {
    let read = R::from_object(&object.body);
    read.inspect_err(|error| tracing::error!(object = %object.key, %error, "left out of scheduling")).ok()
}

/// The same for a row that came as one.
fn archived<R: Row>(row: &Carried) -> Option<R> {
    let mut aligned = rkyv::util::AlignedVec::<16>::with_capacity(row.archived.len());
    aligned.extend_from_slice(&row.archived);
    let read = R::from_archive(&aligned);
    read.inspect_err(|error| tracing::error!(rows = R::projection(), %error, "left out of scheduling")).ok()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use gantry_store_cache::key::ObjectKey;
    use gantry_store_cache::object::Facets;
    use gantry_store_cache::revision::Revision;

    use super::super::fake::{FakeApi, Shared, pod};
    use super::*;

    fn carried(name: &str, gone: bool) -> Carried {
        let (revision, body) = (Revision(1), Bytes::from(pod(name).to_string()));
        let key = ObjectKey::new("pods", "d", name);
        let object = StoredObject::new(key, revision, revision, body, Facets::default());
        let mut archived = rkyv::util::AlignedVec::new();
        PodProjection.project(&object, &mut archived);
        Carried { archived: archived.to_vec(), gone }
    }

    #[test]
    fn rows_are_all_at_first_and_then_changes() {
        let mut source = Source::<PodRow>::new(Arc::new(Shared(Arc::new(FakeApi::default()))));
        source.initial = Some(Vec::new());
        assert!(source.read(Rows { rows: vec![carried("a", false)], complete: false }).is_empty());
        let all = source.read(Rows { rows: vec![carried("b", false)], complete: true });
        let [Event::Pods(rows)] = &all[..] else { panic!("{all:?}") };
        assert_eq!(rows.iter().map(|row| &*row.name).collect::<Vec<_>>(), ["a", "b"]);

        let broken = Carried { archived: vec![1, 2, 3], gone: false };
        let changes =
            source.read(Rows { rows: vec![carried("c", false), broken, carried("a", true)], complete: false });
        let [Event::Pod(changed), Event::PodGone(uid)] = &changes[..] else { panic!("{changes:?}") };
        assert_eq!((&*changed.name, &**uid), ("c", "uid-a"));
        assert!(source.read(Rows::default()).is_empty(), "a sign of life is no event");
    }
}
