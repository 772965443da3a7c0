//! Writers that never rest, over the real wire, and a ledger of what the server acknowledged to them.

#![allow(dead_code, reason = "each test binary uses its own part of this module")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use gantry_machinery::client::Client;
use gantry_machinery::client::kubeconfig::Kubeconfig;
use gantry_machinery::resource::gvr;
use gantry_machinery::resource_api::{Collection, DeleteOptions, ListOptions, ResourceApi, Target, WriteOptions};
use gantry_machinery::selector::LabelSelector;
use gantry_machinery::typed::value_of;
use gantry_machinery::value;

/// What the server said of each object that was written.
#[derive(Default)]
pub(crate) struct Ledger {
    /// Acknowledged: name → the last value acknowledged, `None` once its deletion was.
    pub(crate) acknowledged: Mutex<BTreeMap<String, Option<u64>>>,
    /// Sent, answered or not: name → every value sent, and whether a deletion was.
    pub(crate) sent: Mutex<BTreeMap<String, (Vec<u64>, bool)>>,
    /// Acknowledgements so far.
    pub(crate) count: AtomicU64,
}

/// A client of the cluster that a kubeconfig names.
pub(crate) fn client(kubeconfig: &Path) -> Arc<Client> {
    let access = Kubeconfig::load(kubeconfig).and_then(|config| config.access(None)).expect("the kubeconfig is good");
    Client::new(access, "gantry-test")
}

/// Creates, rewrites and deletes ConfigMaps from `writers` tasks until `stop`, noting every acknowledgement. Writers go
/// on over errors: servers come back. `round` keeps the names of one run apart from the next.
pub(crate) async fn write(client: Arc<Client>, ledger: Arc<Ledger>, writers: u64, round: u64, stop: Arc<AtomicBool>) {
    let mut tasks = tokio::task::JoinSet::new();
    for writer in 0..writers {
        let (client, ledger, stop) = (client.clone(), ledger.clone(), stop.clone());
        tasks.spawn(async move {
            for turn in 0.. {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                let name = format!("w-{round}-{writer}-{turn}");
                one(&client, &ledger, &name, turn).await;
            }
        });
    }
    while tasks.join_next().await.is_some() {}
}

/// One object's life: created, rewritten, and every third one deleted.
async fn one(client: &Client, ledger: &Ledger, name: &str, turn: u64) {
    let options = WriteOptions::default();
    let target = Target::object(&gvr::CONFIG_MAPS, "default", name);
    let object = |value: u64| {
        value!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": name, "namespace": "default", "labels": {"load": "y"}},
            "data": {"value": (value.to_string()), "filler": ("x".repeat(200))}
        })
    };
    let sent = |value: Option<u64>| {
        let mut sent = ledger.sent.lock().expect("no holder panics");
        let entry = sent.entry(name.to_owned()).or_default();
        match value {
            Some(value) => entry.0.push(value),
            None => entry.1 = true,
        }
    };
    let acknowledged = |value: Option<u64>| {
        ledger.acknowledged.lock().expect("no holder panics").insert(name.to_owned(), value);
        ledger.count.fetch_add(1, Ordering::Relaxed);
    };
    sent(Some(2 * turn));
    if client.create(&target, object(2 * turn), &options).await.is_err() {
        return;
    }
    acknowledged(Some(2 * turn));
    sent(Some(2 * turn + 1));
    if client.update(&target, object(2 * turn + 1), &options).await.is_err() {
        return;
    }
    acknowledged(Some(2 * turn + 1));
    if turn.is_multiple_of(3) {
        sent(None);
        if client.delete(&target, &DeleteOptions::default()).await.is_ok() {
            acknowledged(None);
        }
    }
}

/// Every acknowledged write is there, and nothing is that was never sent. The write that was under way when the server
/// died may have happened or not.
pub(crate) async fn check(client: &Client, ledger: &Ledger) {
    let options = ListOptions { labels: LabelSelector::parse("load").expect("a selector"), ..ListOptions::default() };
    let of = Collection { resource: &gvr::CONFIG_MAPS, namespace: "default" };
    let list = client.list(&of, &options).await.expect("the server answers again");
    let found: BTreeMap<String, u64> = list
        .items
        .iter()
        .map(|object| {
            let value = value_of(object).expect("objects are JSON");
            let number =
                value.str_at(&["data", "value"]).and_then(|v| v.parse().ok()).expect("a value that was written");
            (object.key.name().to_owned(), number)
        })
        .collect();
    let sent = ledger.sent.lock().expect("no holder panics");
    for (name, value) in &found {
        let (values, _) = sent.get(name).unwrap_or_else(|| panic!("{name} was never written"));
        assert!(values.contains(value), "{name} holds {value}, which was never written");
    }
    for (name, acknowledged) in ledger.acknowledged.lock().expect("no holder panics").iter() {
        let (values, delete_sent) = &sent[name];
        match (acknowledged, found.get(name)) {
            (Some(value), Some(found)) => assert!(found >= value, "{name}: {value} was acknowledged, {found} is there"),
            (Some(value), None) => assert!(delete_sent, "{name}: {value} was acknowledged and is lost ({values:?})"),
            (None, Some(found)) => panic!("{name}: its deletion was acknowledged and {found} is there"),
            (None, None) => {}
        }
    }
}
