//! What kube-rs builds on watches: its reflector, filled by a list that is a stream (`sendInitialEvents`) and by one that
//! comes in pages, holds what the server holds, and follows it.

use std::collections::BTreeMap;
use std::pin::pin;

use futures_util::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{DeleteParams, ListParams, ObjectMeta, Patch, PatchParams, PostParams};
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher::{Config, Event};
use kube::runtime::{WatchStreamExt, reflector, watcher};
use kube::{Api, Client};
use serde_json::json;

use crate::cluster::{Cluster, PATIENCE};
use crate::kube_rs::client;

/// More than one page of `PAGE`.
const MAPS: usize = 25;
const PAGE: u32 = 10;

fn map(name: &str) -> ConfigMap {
    ConfigMap {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            labels: Some(BTreeMap::from([("of".into(), "reflector".into())])),
            ..ObjectMeta::default()
        },
        data: Some(BTreeMap::from([("d".into(), "1".into())])),
        ..ConfigMap::default()
    }
}

/// What a store holds, by name.
fn held(store: &Store<ConfigMap>) -> BTreeMap<String, ConfigMap> {
    store.state().into_iter().map(|map| (map.metadata.name.clone().unwrap(), (*map).clone())).collect()
}

async fn listed(maps: &Api<ConfigMap>) -> BTreeMap<String, ConfigMap> {
    let list = maps.list(&ListParams::default().labels("of=reflector")).await.unwrap();
    list.items.into_iter().map(|map| (map.metadata.name.clone().unwrap(), map)).collect()
}

/// How often the server was asked so by the verb.
async fn asked(client: &Client, verb: &str) -> u64 {
    let request = http::Request::get("/metrics").body(Vec::new()).unwrap();
    let metrics = client.request_text(request).await.unwrap();
    let of_maps = metrics.lines().filter(|line| {
        line.starts_with("apiserver_request_total{")
            && line.contains("resource=\"configmaps\"")
            && line.contains(&format!("verb=\"{verb}\""))
    });
    of_maps.map(|line| line.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap()).sum()
}

async fn follows(config: Config) -> u64 {
    let cluster = Cluster::apiserver(&[]);
    let client = client(&cluster).await;
    let maps: Api<ConfigMap> = Api::default_namespaced(client.clone());
    for n in 0..MAPS {
        maps.create(&PostParams::default(), &map(&format!("m-{n:02}"))).await.unwrap();
    }
    let before = asked(&client, "LIST").await;
    let (store, writer) = reflector::store();
    let stream = watcher(maps.clone(), config.labels("of=reflector")).reflect(writer);
    let mut events = pin!(stream);
    let mut first = 0;
    loop {
        match events.try_next().await.unwrap().expect("a watcher goes on") {
            Event::InitApply(_) => first += 1,
            Event::InitDone => break,
            Event::Init => {}
            other => panic!("{other:?} before the list is whole"),
        }
    }
    let lists = asked(&client, "LIST").await - before;
    assert_eq!(first, MAPS, "each object once");
    assert_eq!(held(&store), listed(&maps).await);

    let patch = Patch::Merge(json!({"data": {"d": "2"}}));
    maps.patch("m-03", &PatchParams::default(), &patch).await.unwrap();
    maps.delete("m-04", &DeleteParams::default()).await.unwrap();
    let unselected = Patch::Merge(json!({"metadata": {"labels": {"of": "nobody"}}}));
    maps.patch("m-05", &PatchParams::default(), &unselected).await.unwrap();
    maps.create(&PostParams::default(), &map("m-new")).await.unwrap();
    let mut told = Vec::new();
    for _ in 0..4 {
        told.push(match events.next().await.expect("a watcher goes on").unwrap() {
            Event::Apply(map) => format!("applied {}", map.metadata.name.unwrap()),
            Event::Delete(map) => format!("deleted {}", map.metadata.name.unwrap()),
            other => panic!("{other:?} after the list"),
        });
    }
    assert_eq!(told, ["applied m-03", "deleted m-04", "deleted m-05", "applied m-new"]);
    assert_eq!(held(&store), listed(&maps).await);
    let changed = store.get(&ObjectRef::new("m-03").within("default")).unwrap();
    assert_eq!(changed.data.as_ref().unwrap()["d"], "2");
    lists
}

#[tokio::test]
async fn a_reflector_is_filled_by_a_stream_and_follows() {
    let lists = tokio::time::timeout(PATIENCE, follows(Config::default().streaming_lists())).await.unwrap();
    assert_eq!(lists, 0, "the stream is the list");
}

#[tokio::test]
async fn a_reflector_is_filled_in_pages_and_follows() {
    let lists = tokio::time::timeout(PATIENCE, follows(Config::default().page_size(PAGE))).await.unwrap();
    assert_eq!(lists, MAPS.div_ceil(PAGE as usize) as u64);
}
