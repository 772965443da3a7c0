//! Follows nodes, pods, namespaces, disruption budgets, Services, the controllers that keep pods, and what pods need of
//! volumes, and tells the core about them, as rows.
//!
//! One task per collection: list, then watch, through the [`Reflector`], which survives disconnects and answers 410 with
//! a new list. The core hears nothing until all lists are in, lest it refuse pods for want of nodes it has not seen.

use std::sync::Arc;

use futures_util::future::join_all;
use gantry_machinery::codec::json;
use gantry_machinery::reflector::{Delta, Reflector};
use gantry_machinery::resource::{GroupVersionResource, gvr};
use gantry_machinery::resource_api::{ResourceApi, WatchEvent};
use gantry_machinery::selector::{FieldSelector, LabelSelector};
use gantry_scheduler_core::cycle::Event;
use gantry_scheduler_core::rows::json::NotAnObject;
use gantry_scheduler_core::rows::storage::{Change, Key, Kind, Thing};
use gantry_scheduler_core::rows::{BudgetRow, Keeper, KindredRow, NamespaceRow, NodeRow, PodRow};
use gantry_store_cache::object::StoredObject;

use super::inbox::Inbox;
use super::source::{Source, delta};
use super::volumes::Notices;

/// What a list says to the core.
type Told = fn(Delta) -> Vec<Event>;

/// The collections that the core knows, and how a list of each is told to it: for those who look once.
pub(super) static COLLECTIONS: [(&GroupVersionResource, Told); 10] = [
    (&gvr::NAMESPACES, namespace_events),
    (&gvr::PERSISTENT_VOLUMES, |delta| thing_events(Kind::Volume, delta)),
    (&gvr::PERSISTENT_VOLUME_CLAIMS, |delta| thing_events(Kind::Claim, delta)),
    (&gvr::STORAGE_CLASSES, |delta| thing_events(Kind::Class, delta)),
    (&gvr::CSI_NODES, |delta| thing_events(Kind::CsiNode, delta)),
    (&gvr::CSI_DRIVERS, |delta| thing_events(Kind::CsiDriver, delta)),
    (&gvr::CSI_STORAGE_CAPACITIES, |delta| thing_events(Kind::Capacity, delta)),
    (&gvr::VOLUME_ATTACHMENTS, |delta| thing_events(Kind::Attachment, delta)),
    (&gvr::NODES, delta::<NodeRow>),
    (&gvr::PODS, delta::<PodRow>),
];

/// Feeds the inbox for ever.
pub(super) async fn run(api: Arc<dyn ResourceApi>, inbox: Arc<Inbox>, notices: Arc<Notices>) {
    let follow = |resource: &GroupVersionResource| {
        Reflector::new(api.clone(), resource.clone(), LabelSelector::default(), FieldSelector::default())
    };
    let (mut namespaces, mut budgets) = (follow(&gvr::NAMESPACES), follow(&gvr::POD_DISRUPTION_BUDGETS));
    let (mut services, mut replica_sets) = (follow(&gvr::SERVICES), follow(&gvr::REPLICA_SETS));
    let (mut stateful_sets, mut replication) = (follow(&gvr::STATEFUL_SETS), follow(&gvr::REPLICATION_CONTROLLERS));
    let mut nodes = Source::<NodeRow>::new(api.clone());
    let mut pods = Source::<PodRow>::new(api.clone());
    let mut things: Vec<(Kind, Reflector)> = Kind::ALL.map(|kind| (kind, follow(resource(kind)))).into();
    let first_things = join_all(things.iter_mut().map(|(kind, reflector)| async { (*kind, reflector.next().await) }));
    let kindred = tokio::join!(services.next(), replica_sets.next(), stateful_sets.next(), replication.next());
    let kindred = [
        kindred_events(Keeper::Service, kindred.0),
        kindred_events(Keeper::ReplicaSet, kindred.1),
        kindred_events(Keeper::StatefulSet, kindred.2),
        kindred_events(Keeper::ReplicationController, kindred.3),
    ];
    let first = tokio::join!(namespaces.next(), budgets.next(), nodes.next(), pods.next(), first_things);
    let first_things = first.4.into_iter().flat_map(|(kind, delta)| thing_events(kind, delta)).collect();
    let first = [namespace_events(first.0), budget_events(first.1), kindred.concat(), first_things, first.2, first.3];
    inbox.feed(first.concat()).await;
    let kindred = |keeper: Keeper, mut reflector: Reflector| {
        let inbox = &inbox;
        async move {
            loop {
                inbox.feed(kindred_events(keeper, reflector.next().await)).await;
            }
        }
    };
    let kindred = async {
        tokio::join!(
            kindred(Keeper::Service, services),
            kindred(Keeper::ReplicaSet, replica_sets),
            kindred(Keeper::StatefulSet, stateful_sets),
            kindred(Keeper::ReplicationController, replication),
        )
    };
    let budgets = async {
        loop {
            inbox.feed(budget_events(budgets.next().await)).await;
        }
    };
    let namespaces = async {
        loop {
            inbox.feed(namespace_events(namespaces.next().await)).await;
        }
    };
    let nodes = async {
        loop {
            inbox.feed(nodes.next().await).await;
        }
    };
    let pods = async {
        loop {
            inbox.feed(pods.next().await).await;
        }
    };
    let things = join_all(things.into_iter().map(|(kind, mut reflector)| {
        let (inbox, notices) = (&inbox, &notices);
        async move {
            loop {
                let events = thing_events(kind, reflector.next().await);
                // Whoever waits for a claim reads it from the API: the news is all it needs.
                events.iter().for_each(|event| notices.tell(event));
                inbox.feed(events).await;
            }
        }
    }));
    tokio::join!(namespaces, nodes, budgets, kindred, pods, things);
}

fn resource(kind: Kind) -> &'static GroupVersionResource {
    match kind {
        Kind::Volume => &gvr::PERSISTENT_VOLUMES,
        Kind::Claim => &gvr::PERSISTENT_VOLUME_CLAIMS,
        Kind::Class => &gvr::STORAGE_CLASSES,
        Kind::CsiNode => &gvr::CSI_NODES,
        Kind::CsiDriver => &gvr::CSI_DRIVERS,
        Kind::Capacity => &gvr::CSI_STORAGE_CAPACITIES,
        Kind::Attachment => &gvr::VOLUME_ATTACHMENTS,
    }
}

fn thing_events(kind: Kind, delta: Delta) -> Vec<Event> {
    let read = |object: &StoredObject| row(object, |body| Thing::from_json(kind, body));
    match delta {
        Delta::Replace(all) => {
            vec![Event::Storage(Change::All(kind, all.iter().filter_map(|o| read(o)).collect()))]
        }
        Delta::Changes(changes) => {
            let event = |change: &WatchEvent| match change {
                WatchEvent::Added(object) | WatchEvent::Modified(object) => Some(Change::Is(Box::new(read(object)?))),
                WatchEvent::Deleted(object) => {
                    Some(Change::Gone(kind, Key::new(object.key.namespace(), object.key.name())))
                }
                WatchEvent::Bookmark { .. } => None,
            };
            changes.iter().filter_map(event).map(Event::Storage).collect()
        }
    }
}

fn namespace_events(delta: Delta) -> Vec<Event> {
    let read = |object: &StoredObject| row(object, NamespaceRow::from_json);
    match delta {
        Delta::Replace(all) => vec![Event::Namespaces(all.iter().filter_map(|o| read(o)).collect())],
        Delta::Changes(changes) => {
            let event = |change: &WatchEvent| match change {
                WatchEvent::Added(object) | WatchEvent::Modified(object) => Some(Event::Namespace(read(object)?)),
                WatchEvent::Deleted(object) => Some(Event::NamespaceGone(object.key.name().into())),
                WatchEvent::Bookmark { .. } => None,
            };
            changes.iter().filter_map(event).collect()
        }
    }
}

fn kindred_events(keeper: Keeper, delta: Delta) -> Vec<Event> {
    let read = |object: &StoredObject| row(object, |body| KindredRow::from_json(keeper, body));
    match delta {
        Delta::Replace(all) => vec![Event::AllKindred(keeper, all.iter().filter_map(|o| read(o)).collect())],
        Delta::Changes(changes) => {
            let event = |change: &WatchEvent| match change {
                WatchEvent::Added(object) | WatchEvent::Modified(object) => Some(Event::Kindred(read(object)?)),
                WatchEvent::Deleted(object) => {
                    let (namespace, name) = (object.key.namespace().into(), object.key.name().into());
                    Some(Event::KindredGone(keeper, namespace, name))
                }
                WatchEvent::Bookmark { .. } => None,
            };
            changes.iter().filter_map(event).collect()
        }
    }
}

fn budget_events(delta: Delta) -> Vec<Event> {
    let read = |object: &StoredObject| row(object, BudgetRow::from_json);
    match delta {
        Delta::Replace(all) => vec![Event::Budgets(all.iter().filter_map(|o| read(o)).collect())],
        Delta::Changes(changes) => {
            let event = |change: &WatchEvent| match change {
                WatchEvent::Added(object) | WatchEvent::Modified(object) => Some(Event::Budget(read(object)?)),
                WatchEvent::Deleted(object) => {
                    Some(Event::BudgetGone(object.key.namespace().into(), object.key.name().into()))
                }
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
