//! Watches: where they begin, what they show, how they end.

use std::time::Duration;

use gantry_machinery::resource::gvr;
use gantry_machinery::resource_api::{
    Collection, DeleteOptions, ResourceApi, Target, WatchEvent, WatchOptions, WatchStream,
};
use gantry_machinery::selector::{FieldSelector, LabelSelector};
use gantry_store_cache::revision::Revision;

use crate::support::{Cluster, config_map, told, value};

const MAPS: Collection<'static> = Collection { resource: &gvr::CONFIG_MAPS, namespace: "default" };

/// The next `count` events, one word each.
async fn words(stream: &mut Box<dyn WatchStream>, count: usize) -> Vec<String> {
    let mut words = Vec::new();
    while words.len() < count {
        let events = tokio::time::timeout(Duration::from_secs(120), stream.next(count - words.len()));
        for event in events.await.expect("events come").expect("the watch goes on").unwrap() {
            words.push(match event {
                WatchEvent::Added(o) => format!("+{}", o.key.name()),
                WatchEvent::Modified(o) => format!("~{}", o.key.name()),
                WatchEvent::Deleted(o) => {
                    format!("-{}@{}", o.key.name(), value(&o).str_at(&["metadata", "resourceVersion"]).unwrap())
                }
                WatchEvent::Bookmark { revision, initial_events_end } => {
                    format!("={revision}{}", if initial_events_end { "!" } else { "" })
                }
            });
        }
    }
    words
}

#[tokio::test]
async fn a_list_and_a_watch_from_it_miss_nothing() {
    let cluster = Cluster::new().await;
    cluster.create(&gvr::CONFIG_MAPS, "default", config_map("a")).await.unwrap();
    let list = cluster.api.list(&MAPS, &Default::default()).await.unwrap();
    let mut map = config_map("a");
    map.set(&["data", "k"], "2");
    cluster.update(&gvr::CONFIG_MAPS, map).await.unwrap();
    cluster.create(&gvr::CONFIG_MAPS, "default", config_map("b")).await.unwrap();
    let target = Target::object(&gvr::CONFIG_MAPS, "default", "a");
    cluster.api.delete(&target, &DeleteOptions::default()).await.unwrap();
    let options = WatchOptions { after: Some(list.revision), ..WatchOptions::default() };
    let mut stream = cluster.api.watch(&MAPS, &options).await.unwrap();
    let deleted = format!("-a@{}", list.revision.0 + 3);
    assert_eq!(words(&mut stream, 3).await, ["~a", "+b", deleted.as_str()]);
}

#[tokio::test]
async fn without_a_version_the_present_comes_first() {
    let cluster = Cluster::new().await;
    cluster.create(&gvr::CONFIG_MAPS, "default", config_map("a")).await.unwrap();
    for after in [None, Some(Revision(0))] {
        let options = WatchOptions { after, ..WatchOptions::default() };
        let mut stream = cluster.api.watch(&MAPS, &options).await.unwrap();
        assert_eq!(words(&mut stream, 1).await, ["+a"]);
    }
    let options = WatchOptions { initial_events: true, bookmarks: true, ..WatchOptions::default() };
    let mut stream = cluster.api.watch(&MAPS, &options).await.unwrap();
    let bookmark = format!("={}!", cluster.revision());
    assert_eq!(words(&mut stream, 2).await, ["+a", bookmark.as_str()]);
    cluster.create(&gvr::CONFIG_MAPS, "default", config_map("b")).await.unwrap();
    assert_eq!(words(&mut stream, 1).await, ["+b"]);
}

#[tokio::test]
async fn an_object_that_ceases_to_match_is_shown_as_gone() {
    let cluster = Cluster::new().await;
    let options = WatchOptions { labels: LabelSelector::parse("color=red").unwrap(), ..WatchOptions::default() };
    let mut stream = cluster.api.watch(&MAPS, &options).await.unwrap();
    let mut map = config_map("a");
    cluster.create(&gvr::CONFIG_MAPS, "default", map.clone()).await.unwrap();
    map.set(&["metadata", "labels", "color"], "red");
    cluster.update(&gvr::CONFIG_MAPS, map.clone()).await.unwrap();
    map.set(&["metadata", "labels", "color"], "blue");
    let left = cluster.update(&gvr::CONFIG_MAPS, map).await.unwrap();
    let gone = format!("-a@{}", left.revision);
    assert_eq!(words(&mut stream, 2).await, ["+a", gone.as_str()]);

    let one = WatchOptions { fields: FieldSelector::parse("metadata.name=b").unwrap(), ..WatchOptions::default() };
    let mut stream = cluster.api.watch(&MAPS, &one).await.unwrap();
    cluster.create(&gvr::CONFIG_MAPS, "default", config_map("c")).await.unwrap();
    cluster.create(&gvr::CONFIG_MAPS, "default", config_map("b")).await.unwrap();
    assert_eq!(words(&mut stream, 1).await, ["+b"]);
}

#[tokio::test(start_paused = true)]
async fn bookmarks_tell_a_quiet_watcher_how_far_it_is() {
    let cluster = Cluster::new().await;
    let options = WatchOptions {
        after: Some(Revision(cluster.revision())),
        bookmarks: true,
        timeout: Some(Duration::from_secs(200)),
        ..WatchOptions::default()
    };
    let mut stream = cluster.api.watch(&MAPS, &options).await.unwrap();
    cluster.create(&gvr::SECRETS, "default", gantry_machinery::value!({"metadata": {"name": "s"}})).await.unwrap();
    let reached = format!("={}", cluster.revision());
    assert_eq!(words(&mut stream, 1).await, [reached.as_str()]);
    let end = tokio::time::timeout(Duration::from_secs(300), stream.next(1)).await.expect("the watch ends by itself");
    assert!(end.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_watch_from_too_long_ago_is_refused_and_one_from_the_future_waits_for_it() {
    let cluster = Cluster::with(|config| config.window_events_max = 8).await;
    let begin = cluster.create(&gvr::CONFIG_MAPS, "default", config_map("a")).await.unwrap().revision;
    for n in 0..100 {
        let mut map = config_map("a");
        map.set(&["data", "n"], n.to_string());
        cluster.update(&gvr::CONFIG_MAPS, map).await.unwrap();
    }
    let from = |after: Revision| WatchOptions { after: Some(after), ..WatchOptions::default() };
    let (code, reason, message) = told(cluster.api.watch(&MAPS, &from(begin)).await);
    assert_eq!((code, reason), (410, "Expired"));
    assert!(message.starts_with(&format!("too old resource version: {begin} (")), "{message}");
    let mut future = cluster.api.watch(&MAPS, &from(Revision(cluster.revision() + 2))).await.unwrap();
    for name in ["b", "c", "d"] {
        cluster.create(&gvr::CONFIG_MAPS, "default", config_map(name)).await.unwrap();
    }
    assert_eq!(words(&mut future, 1).await, ["+d"]);
    // With the initial events there is a state to wait for, which does not come.
    let ahead = Some(Revision(cluster.revision() + 50));
    let initial = WatchOptions { after: ahead, initial_events: true, bookmarks: true, ..WatchOptions::default() };
    assert_eq!(told(cluster.api.watch(&MAPS, &initial).await).0, 504);
    // A fresh list recovers.
    let list = cluster.api.list(&MAPS, &Default::default()).await.unwrap();
    assert!(cluster.api.watch(&MAPS, &from(list.revision)).await.is_ok());
}
