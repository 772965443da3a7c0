//! One collection as the core hears of it: as rows, where the server feeds them, else as objects that are made to rows
//! here.
//!
//! [`super::feed`] holds one source per collection it knows. Which way it goes is found out once, when it is first asked:
//! Gantry's API server feeds rows, in this process straight from the store's snapshots, to others over
//! [`gantry_machinery::interchange`]; any other Kubernetes does not.

use std::sync::Arc;
use std::time::Duration;

use gantry_machinery::interchange::{Part, Row};
use gantry_machinery::reflector::Reflector;
use gantry_machinery::resource_api::{ResourceApi, RowStream};
use gantry_machinery::selector::{FieldSelector, LabelSelector};
use gantry_machinery::status::Status;
use gantry_scheduler_core::cycle::Event;

use super::feed::{AsRows, Known};

/// The first pause after an error.
const PAUSE_FIRST: Duration = Duration::from_millis(200);
/// The longest.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// A collection, followed for ever.
pub(super) struct Source {
    api: Arc<dyn ResourceApi>,
    known: &'static Known,
    way: Way,
    pause: Duration,
}

/// `Unknown → Rows ⇄ Unknown` where the server feeds rows, else `Unknown → Objects` for good.
enum Way {
    Unknown,
    Rows { stream: Box<dyn RowStream>, as_rows: &'static AsRows, initial: Option<Vec<Row>> },
    Objects(Box<Reflector>),
}

impl Source {
    pub(super) fn new(api: Arc<dyn ResourceApi>, known: &'static Known) -> Self {
        Self { api, known, way: Way::Unknown, pause: PAUSE_FIRST }
    }

    /// What happened next; waits for it, through errors. The first answer, and the first after a break, is all there is.
    pub(super) async fn next(&mut self) -> Vec<Event> {
        loop {
            match &mut self.way {
                Way::Unknown => match self.ask().await {
                    Ok(way) => self.way = way,
                    Err(status) => self.wait_after(&status).await,
                },
                Way::Rows { stream, as_rows, initial } => match stream.next().await {
                    Some(Ok(part)) => {
                        self.pause = PAUSE_FIRST;
                        let events = read(part, as_rows, initial);
                        if !events.is_empty() {
                            return events;
                        }
                    }
                    Some(Err(status)) => {
                        self.way = Way::Unknown;
                        self.wait_after(&status).await;
                    }
                    None => self.way = Way::Unknown,
                },
                Way::Objects(reflector) => {
                    let delta = reflector.next().await;
                    return (self.known.told)(delta);
                }
            }
        }
    }

    /// Which way to go.
    async fn ask(&mut self) -> Result<Way, Status> {
        if let Some(as_rows) = &self.known.rows
            && let Some(stream) = self.api.rows(as_rows.projection).await?
        {
            return Ok(Way::Rows { stream, as_rows, initial: Some(Vec::new()) });
        }
        let (labels, fields) = (LabelSelector::default(), FieldSelector::default());
        let reflector = Reflector::new(self.api.clone(), self.known.resource.clone(), labels, fields);
        Ok(Way::Objects(Box::new(reflector)))
    }

    async fn wait_after(&mut self, status: &Status) {
        tracing::debug!(resource = %self.known.resource, error = %status, pause = ?self.pause, "no rows for now");
        tokio::time::sleep(self.pause).await;
        self.pause = (self.pause * 2).min(PAUSE_MAX);
    }
}

/// What a part of the rows says; nothing until the initial ones are complete.
fn read(part: Part, as_rows: &AsRows, initial: &mut Option<Vec<Row>>) -> Vec<Event> {
    let Some(so_far) = initial else { return part.rows.iter().filter_map(as_rows.changed).collect() };
    so_far.extend(part.rows);
    if !part.complete {
        return Vec::new();
    }
    initial.take().map(|rows| (as_rows.all)(&rows)).into_iter().collect()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use gantry_machinery::interchange::Archived;
    use gantry_machinery::resource::gvr;
    use gantry_scheduler_core::rows::projection::PodProjection;
    use gantry_store_cache::key::ObjectKey;
    use gantry_store_cache::object::{Facets, StoredObject};
    use gantry_store_cache::projection::Projection;
    use gantry_store_cache::revision::Revision;

    use super::super::fake::pod;
    use super::super::feed::COLLECTIONS;
    use super::*;

    fn carried(name: &str, gone: bool) -> Row {
        let (revision, body) = (Revision(1), Bytes::from(pod(name).to_string()));
        let key = ObjectKey::new("pods", "d", name);
        let object = StoredObject::new(key, revision, revision, body, Facets::default());
        let mut archived = rkyv::util::AlignedVec::new();
        PodProjection.project(&object, &mut archived);
        Row { archived: Archived::Sent(archived), gone }
    }

    #[test]
    fn rows_are_all_at_first_and_then_changes() {
        let pods = COLLECTIONS.iter().find(|known| *known.resource == gvr::PODS).expect("pods are known");
        let as_rows = pods.rows.as_ref().expect("pods come as rows");
        let mut initial = Some(Vec::new());
        let part = Part { rows: vec![carried("a", false)], complete: false };
        assert!(read(part, as_rows, &mut initial).is_empty());
        let all = read(Part { rows: vec![carried("b", false)], complete: true }, as_rows, &mut initial);
        let [Event::Pods(rows)] = &all[..] else { panic!("{all:?}") };
        assert_eq!(rows.iter().map(|row| &*row.name).collect::<Vec<_>>(), ["a", "b"]);

        let mut broken = rkyv::util::AlignedVec::new();
        broken.extend_from_slice(&[1, 2, 3]);
        let broken = Row { archived: Archived::Sent(broken), gone: false };
        let part = Part { rows: vec![carried("c", false), broken, carried("a", true)], complete: false };
        let changes = read(part, as_rows, &mut initial);
        let [Event::Pod(changed), Event::PodGone(uid)] = &changes[..] else { panic!("{changes:?}") };
        assert_eq!((&*changed.name, &**uid), ("c", "uid-a"));
        assert!(read(Part::default(), as_rows, &mut initial).is_empty(), "a sign of life is no event");
    }
}
