//! The promise: with `ShardedListAndWatch`, a list or a watch of a shard shows that part of a collection and nothing
//! else, shards that cover the hash miss no object, and nothing of it happens while the gate is off.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails there")]

#[path = "support/cluster.rs"]
mod cluster;

use std::collections::BTreeSet;

use cluster::Cluster;
use serde_json::Value;

const PATH: &str = "/api/v1/namespaces/default/configmaps";
const OBJECTS: usize = 40;

/// The `shardSelector` of half the hashes, as a query has it.
fn half(field: &str, high: bool) -> String {
    let (from, to) =
        if high { ("8000000000000000", "10000000000000000") } else { ("0000000000000000", "8000000000000000") };
    format!("shardSelector=shardRange(object.metadata.{field},%20'0x{from}',%20'0x{to}')")
}

fn names(list: &Value) -> BTreeSet<String> {
    let items = list["items"].as_array().unwrap();
    items.iter().map(|item| item["metadata"]["name"].as_str().unwrap().to_owned()).collect()
}

fn make(c: &Cluster) -> BTreeSet<String> {
    // Comes by itself.
    c.eventually("get configmap kube-root-ca.crt -o name --ignore-not-found", |name| !name.is_empty());
    let manifest = |n: usize| {
        format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: c{n:02}, labels: {{n: \"{}\"}}}}\n", n % 2)
    };
    c.apply(&(0..OBJECTS).map(manifest).collect::<Vec<_>>().join("---\n"));
    names(&get(c, ""))
}

fn get(c: &Cluster, query: &str) -> Value {
    serde_json::from_str(&c.kubectl(&format!("get --raw {PATH}?{query}"))).unwrap()
}

#[test]
fn shards_are_disjoint_and_cover_the_collection() {
    let c = Cluster::up(&["--simulated-nodes=0", "--feature-gates=ShardedListAndWatch=true"]);
    let all = make(&c);
    let (low, high) = (get(&c, &half("uid", false)), get(&c, &half("uid", true)));
    let (in_low, in_high) = (names(&low), names(&high));
    assert!(in_low.is_disjoint(&in_high) && !in_low.is_empty() && !in_high.is_empty());
    assert_eq!(in_low.union(&in_high).cloned().collect::<BTreeSet<_>>(), all);
    let said = low["metadata"]["shardInfo"]["selector"].as_str().unwrap();
    assert_eq!(said, "shardRange(object.metadata.uid, '0x0000000000000000', '0x8000000000000000')");
    // All of one namespace are of one shard.
    let by_namespace = [false, true].map(|high| names(&get(&c, &half("namespace", high))).len());
    assert!(by_namespace.contains(&0) && by_namespace.contains(&all.len()), "{by_namespace:?}");
    // Together with other selectors, and chunk by chunk.
    let odd = names(&get(&c, &format!("labelSelector=n%3D1&{}", half("uid", false))));
    assert!(odd.is_subset(&in_low) && odd.len() < in_low.len());
    let (mut chunks, mut token) = (BTreeSet::new(), String::new());
    loop {
        let chunk = get(&c, &format!("limit=3&continue={token}&{}", half("uid", true)));
        chunks.extend(names(&chunk));
        match chunk["metadata"]["continue"].as_str() {
            Some(next) => token = next.replace('=', "%3D"),
            None => break,
        }
    }
    assert_eq!(chunks, in_high);

    // A watch hears of its shard alone: what is there, what changes, what goes.
    let since = get(&c, "limit=1")["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    c.kubectl("label configmaps --all seen=yes");
    c.kubectl("delete configmaps c00 c01 c02 c03");
    let watch = format!("watch=1&timeoutSeconds=1&resourceVersion={since}&{}", half("uid", false));
    let heard = c.kubectl(&format!("get --raw {PATH}?{watch}"));
    let events: Vec<Value> = heard.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |kind: &str| -> BTreeSet<String> {
        let events = events.iter().filter(|event| event["type"] == kind);
        events.map(|event| event["object"]["metadata"]["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(of("MODIFIED"), in_low);
    let gone: BTreeSet<String> = ["c00", "c01", "c02", "c03"].map(str::to_owned).into();
    assert_eq!(of("DELETED"), in_low.intersection(&gone).cloned().collect());

    let refused = c.kubectl_fails(&format!("get --raw {PATH}?shardSelector=shardRange(metadata.uid,'0x0','0x1')"));
    assert!(refused.contains("invalid shard selector: unsupported field path \"metadata.uid\""), "{refused}");
}

#[test]
fn without_the_gate_a_shard_selector_means_nothing() {
    let c = Cluster::up(&["--simulated-nodes=0"]);
    let all = make(&c);
    let list = get(&c, &half("uid", false));
    assert_eq!(names(&list), all);
    assert!(list["metadata"].get("shardInfo").is_none());
    assert_eq!(names(&get(&c, "shardSelector=nonsense")), all);
}
