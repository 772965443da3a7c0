//! Follows nodes, pods and namespaces and tells the core about them, as rows.
//!
//! One task per collection: list, then watch, through the [`Reflector`], which survives disconnects and answers 410 with
//! a new list. The core hears nothing until all lists are in, lest it refuse pods for want of nodes it has not seen.

use std::sync::Arc;

use futures_util::future::join_all;
use gantry_machinery::reflector::{Delta, Reflector};
use gantry_machinery::resource::{GroupVersionResource, gvr};
use gantry_machinery::resource_api::{ResourceApi, WatchEvent};
use gantry_machinery::selector::{FieldSelector, LabelSelector};
use gantry_scheduler_core::cycle::Event;
use gantry_scheduler_core::rows::json::NotAnObject;
use gantry_scheduler_core::rows::{NamespaceRow, NodeRow, PodRow};
use gantry_store_cache::object::StoredObject;

use super::inbox::Inbox;

/// What the core knows of the cluster: the collections, and how each becomes events.
pub(super) static COLLECTIONS: [(&GroupVersionResource, fn(Delta) -> Vec<Event>); 3] =
    [(&gvr::NAMESPACES, namespace_events), (&gvr::NODES, node_events), (&gvr::PODS, pod_events)];

/// Feeds the inbox for ever.
pub(super) async fn run(api: Arc<dyn ResourceApi>, inbox: Arc<Inbox>) {
    let follow = |resource: &GroupVersionResource| {
        Reflector::new(api.clone(), resource.clone(), LabelSelector::default(), FieldSelector::default())
    };
    let mut streams: Vec<_> = COLLECTIONS.iter().map(|(resource, read)| (follow(resource), read)).collect();
    let first = streams.iter_mut().map(async |(stream, read)| read(stream.next().await));
    inbox.feed(join_all(first).await.concat()).await;
    let rest = streams.iter_mut().map(async |(stream, read)| {
        loop {
            inbox.feed(read(stream.next().await)).await;
        }
    });
    join_all(rest).await;
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

fn node_events(delta: Delta) -> Vec<Event> {
    match delta {
        Delta::Replace(all) => vec![Event::Nodes(all.iter().filter_map(|o| row(o, NodeRow::from_json)).collect())],
        Delta::Changes(changes) => changes.iter().filter_map(node_event).collect(),
    }
}

fn node_event(change: &WatchEvent) -> Option<Event> {
    match change {
        WatchEvent::Added(object) | WatchEvent::Modified(object) => {
            Some(Event::Node(Box::new(row(object, NodeRow::from_json)?)))
        }
        WatchEvent::Deleted(object) => Some(Event::NodeGone(object.key.name().into())),
        WatchEvent::Bookmark { .. } => None,
    }
}

fn pod_events(delta: Delta) -> Vec<Event> {
    match delta {
        Delta::Replace(all) => vec![Event::Pods(all.iter().filter_map(|o| row(o, PodRow::from_json)).collect())],
        Delta::Changes(changes) => changes.iter().filter_map(pod_event).collect(),
    }
}

fn pod_event(change: &WatchEvent) -> Option<Event> {
    match change {
        WatchEvent::Added(object) | WatchEvent::Modified(object) => {
            Some(Event::Pod(Box::new(row(object, PodRow::from_json)?)))
        }
        WatchEvent::Deleted(object) => Some(Event::PodGone(row(object, PodRow::from_json)?.uid)),
        WatchEvent::Bookmark { .. } => None,
    }
}

/// The row of an object. One that cannot be read is left out, with a line in the log: it must not stop the others.
fn row<T>(object: &StoredObject, read: impl Fn(&[u8]) -> Result<T, NotAnObject>) -> Option<T> {
    read(&object.body).inspect_err(|error| tracing::error!(object = %object.key, %error, "left out of scheduling")).ok()
}
