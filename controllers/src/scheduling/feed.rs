//! What the core knows of the cluster, collection by collection, and how it is told: nodes, pods, namespaces, disruption
//! budgets, Services and the controllers that keep pods, and what pods need of volumes and devices.
//!
//! [`COLLECTIONS`] is the one list of them. [`run`] follows each for ever, one task per collection, through a [`Source`]
//! that survives disconnects; [`super::explain`] reads each once. The core hears nothing until all lists are in, lest it
//! refuse pods for want of nodes it has not seen.

use std::fmt::Display;
use std::sync::Arc;

use futures_util::future::join_all;
use gantry_machinery::codec::json;
use gantry_machinery::interchange::Row;
use gantry_machinery::reflector::Delta;
use gantry_machinery::resource::{GroupVersionResource, gvr};
use gantry_machinery::resource_api::{ResourceApi, WatchEvent};
use gantry_scheduler_core::cycle::Event;
use gantry_scheduler_core::rows::json::NotAnObject;
use gantry_scheduler_core::rows::projection::{NODES, PODS, read_node, read_pod};
use gantry_scheduler_core::rows::storage::{Change, Key, Kind, Thing};
use gantry_scheduler_core::rows::{BudgetRow, Keeper, KindredRow, NamespaceRow, NodeRow, PodGroupRow, PodRow};
use gantry_store_cache::object::StoredObject;

use super::inbox::Inbox;
use super::metrics::Metrics;
use super::source::Source;
use super::volumes::Notices;

/// A collection that the core knows.
pub(super) struct Known {
    /// Its objects.
    pub(super) resource: &'static GroupVersionResource,
    /// Whether servers of a supported version may not know it: to them there are none.
    pub(super) recent: bool,
    /// What happened to them, as the core hears it.
    pub(super) told: fn(Delta) -> Vec<Event>,
    /// The same from rows, where Gantry's own server feeds them.
    pub(super) rows: Option<AsRows>,
}

/// How a collection is told from rows.
pub(super) struct AsRows {
    /// The projection that makes them.
    pub(super) projection: &'static str,
    /// These are all there are.
    pub(super) all: fn(&[Row]) -> Event,
    /// One has come, changed or gone.
    pub(super) changed: fn(&Row) -> Option<Event>,
}

/// All collections that the core knows. What others refer to comes first.
pub(super) static COLLECTIONS: [Known; 18] = [
    Known { resource: &gvr::NAMESPACES, recent: false, told: namespaces, rows: None },
    Known { resource: &gvr::POD_DISRUPTION_BUDGETS, recent: false, told: budgets, rows: None },
    Known { resource: &gvr::SERVICES, recent: false, told: |delta| kindred(Keeper::Service, delta), rows: None },
    Known { resource: &gvr::REPLICA_SETS, recent: false, told: |delta| kindred(Keeper::ReplicaSet, delta), rows: None },
    Known {
        resource: &gvr::STATEFUL_SETS,
        recent: false,
        told: |delta| kindred(Keeper::StatefulSet, delta),
        rows: None,
    },
    Known {
        resource: &gvr::REPLICATION_CONTROLLERS,
        recent: false,
        told: |delta| kindred(Keeper::ReplicationController, delta),
        rows: None,
    },
    Known { resource: &gvr::PERSISTENT_VOLUMES, recent: false, told: |delta| things(Kind::Volume, delta), rows: None },
    Known {
        resource: &gvr::PERSISTENT_VOLUME_CLAIMS,
        recent: false,
        told: |delta| things(Kind::Claim, delta),
        rows: None,
    },
    Known { resource: &gvr::STORAGE_CLASSES, recent: false, told: |delta| things(Kind::Class, delta), rows: None },
    Known { resource: &gvr::CSI_NODES, recent: false, told: |delta| things(Kind::CsiNode, delta), rows: None },
    Known { resource: &gvr::CSI_DRIVERS, recent: false, told: |delta| things(Kind::CsiDriver, delta), rows: None },
    Known {
        resource: &gvr::CSI_STORAGE_CAPACITIES,
        recent: false,
        told: |delta| things(Kind::Capacity, delta),
        rows: None,
    },
    Known {
        resource: &gvr::VOLUME_ATTACHMENTS,
        recent: false,
        told: |delta| things(Kind::Attachment, delta),
        rows: None,
    },
    Known { resource: &gvr::DEVICE_CLASSES, recent: true, told: |delta| things(Kind::DeviceClass, delta), rows: None },
    Known { resource: &gvr::RESOURCE_SLICES, recent: true, told: |delta| things(Kind::Slice, delta), rows: None },
    Known { resource: &gvr::RESOURCE_CLAIMS, recent: true, told: |delta| things(Kind::DeviceClaim, delta), rows: None },
    Known {
        resource: &gvr::NODES,
        recent: false,
        told: nodes,
        rows: Some(AsRows {
            projection: NODES,
            all: |rows| Event::Nodes(rows.iter().filter_map(|row| archived(row, read_node)).collect()),
            changed: |row| {
                let node = archived(row, read_node)?;
                Some(if row.gone { Event::NodeGone(node.name) } else { Event::Node(Box::new(node)) })
            },
        }),
    },
    Known {
        resource: &gvr::PODS,
        recent: false,
        told: pods,
        rows: Some(AsRows {
            projection: PODS,
            all: |rows| Event::Pods(rows.iter().filter_map(|row| archived(row, read_pod)).collect()),
            changed: |row| {
                let pod = archived(row, read_pod)?;
                Some(if row.gone { Event::PodGone(pod.uid) } else { Event::Pod(Box::new(pod)) })
            },
        }),
    },
];

/// PodGroups, which only a scheduler of gangs asks for. Nobody waits for them: pods whose group is not known yet are
/// held back by the core, and a server may not have the kind at all.
static POD_GROUPS: Known = Known { resource: &gvr::POD_GROUPS, recent: true, told: pod_groups, rows: None };

/// Feeds the inbox for ever.
pub(super) async fn run(
    api: Arc<dyn ResourceApi>,
    inbox: Arc<Inbox>,
    notices: Arc<Notices>,
    metrics: Arc<Metrics>,
    gangs: bool,
) {
    let mut sources: Vec<Source> = COLLECTIONS.iter().map(|known| Source::new(api.clone(), known)).collect();
    let first = join_all(sources.iter_mut().map(Source::next)).await;
    inbox.feed(first.concat()).await;
    metrics.is_synced();
    sources.extend(gangs.then(|| Source::new(api.clone(), &POD_GROUPS)));
    let follow = sources.into_iter().map(|mut source| {
        let (inbox, notices) = (&inbox, &notices);
        async move {
            loop {
                let events = source.next().await;
                // Whoever waits for a claim reads it from the API: the news is all it needs.
                events.iter().for_each(|event| notices.tell(event));
                inbox.feed(events).await;
            }
        }
    });
    let _: Vec<()> = join_all(follow).await;
}

fn nodes(delta: Delta) -> Vec<Event> {
    let gone = |object: &StoredObject| Some(Event::NodeGone(object.key.name().into()));
    tell(delta, NodeRow::from_json, Event::Nodes, |row| Event::Node(Box::new(row)), gone)
}

fn pods(delta: Delta) -> Vec<Event> {
    let gone = |object: &StoredObject| Some(Event::PodGone(row(object, PodRow::from_json)?.uid));
    tell(delta, PodRow::from_json, Event::Pods, |row| Event::Pod(Box::new(row)), gone)
}

fn namespaces(delta: Delta) -> Vec<Event> {
    let gone = |object: &StoredObject| Some(Event::NamespaceGone(object.key.name().into()));
    tell(delta, NamespaceRow::from_json, Event::Namespaces, Event::Namespace, gone)
}

fn budgets(delta: Delta) -> Vec<Event> {
    let gone = |object: &StoredObject| Some(Event::BudgetGone(object.key.namespace().into(), object.key.name().into()));
    tell(delta, BudgetRow::from_json, Event::Budgets, Event::Budget, gone)
}

fn pod_groups(delta: Delta) -> Vec<Event> {
    let gone =
        |object: &StoredObject| Some(Event::PodGroupGone(object.key.namespace().into(), object.key.name().into()));
    tell(delta, PodGroupRow::from_json, Event::PodGroups, Event::PodGroup, gone)
}

fn kindred(keeper: Keeper, delta: Delta) -> Vec<Event> {
    let read = |body: &[u8]| KindredRow::from_json(keeper, body);
    let gone = |object: &StoredObject| {
        Some(Event::KindredGone(keeper, object.key.namespace().into(), object.key.name().into()))
    };
    tell(delta, read, |rows| Event::AllKindred(keeper, rows), Event::Kindred, gone)
}

fn things(kind: Kind, delta: Delta) -> Vec<Event> {
    let read = |body: &[u8]| Thing::from_json(kind, body);
    let gone = |object: &StoredObject| {
        Some(Event::Storage(Change::Gone(kind, Key::new(object.key.namespace(), object.key.name()))))
    };
    let all = |things| Event::Storage(Change::All(kind, things));
    tell(delta, read, all, |thing| Event::Storage(Change::Is(Box::new(thing))), gone)
}

/// What happened to objects, as events about their rows.
fn tell<T>(
    delta: Delta,
    read: impl Fn(&[u8]) -> Result<T, NotAnObject>,
    all: impl FnOnce(Vec<T>) -> Event,
    is: impl Fn(T) -> Event,
    gone: impl Fn(&StoredObject) -> Option<Event>,
) -> Vec<Event> {
    match delta {
        Delta::Replace(objects) => vec![all(objects.iter().filter_map(|object| row(object, &read)).collect())],
        Delta::Changes(changes) => {
            let event = |change: &WatchEvent| match change {
                WatchEvent::Added(object) | WatchEvent::Modified(object) => row(object, &read).map(&is),
                WatchEvent::Deleted(object) => gone(object),
                WatchEvent::Bookmark { .. } => None,
            };
            changes.iter().filter_map(event).collect()
        }
    }
}

/// The row of an object. One that cannot be read is left out, with a line in the log: it must not stop the others.
fn row<T>(object: &StoredObject, read: impl Fn(&[u8]) -> Result<T, NotAnObject>) -> Option<T> {
    let lean = json::lean(&object.body);
    let body = lean.as_ref().map_or(&object.body[..], |text| text.as_bytes());
    read(body).inspect_err(|error| tracing::error!(object = %object.key, %error, "left out of scheduling")).ok()
}

/// The same for a row that came as one.
fn archived<T, E: Display>(row: &Row, read: impl Fn(&[u8]) -> Result<T, E>) -> Option<T> {
    read(&row.archived).inspect_err(|error| tracing::error!(%error, "a row is left out of scheduling")).ok()
}
