//! The promise: nothing acknowledged is ever lost. The server dies by `kill -9` in the middle of writes, again and
//! again; what it acknowledged is there afterwards, nothing else is, and the cluster goes on to converge.

#[path = "support/cluster.rs"]
mod cluster;
#[path = "support/load.rs"]
mod load;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use cluster::{Cluster, PATIENCE};
use gantry_machinery::resource::gvr;
use gantry_machinery::resource_api::{Collection, ResourceApi, WatchOptions};
use load::Ledger;

const ROUNDS: u64 = 4;
const WRITERS: u64 = 16;
const MANIFESTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/manifests");

/// Deterministic numbers for the moments of death (splitmix64).
fn random(seed: u64) -> u64 {
    let mut z = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[test]
fn kill_9_under_load_loses_nothing_acknowledged() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut c = Cluster::up(&[]);
    c.kubectl(&format!("apply -f {MANIFESTS}/nginx.yaml"));
    let ledger = Arc::new(Ledger::default());
    for round in 0..ROUNDS {
        let client = load::client(c.kubeconfig());
        let stop = Arc::new(AtomicBool::new(false));
        let before = ledger.count.load(Ordering::Relaxed);
        let writing = runtime.spawn(load::write(client, ledger.clone(), WRITERS, round, stop.clone()));
        // A rollout is under way, too, when the server dies.
        c.kubectl(&format!("set image deployment/nginx-deployment nginx=nginx:1.{round}"));
        let enough = before + 100 + random(round) % 600;
        let deadline = Instant::now() + PATIENCE;
        while ledger.count.load(Ordering::Relaxed) < enough {
            assert!(Instant::now() < deadline, "writes are not acknowledged");
            std::thread::yield_now();
        }
        c.kill();
        stop.store(true, Ordering::Relaxed);
        runtime.block_on(async { tokio::time::timeout(PATIENCE, writing).await }).unwrap().unwrap();
        c.restart();
        runtime.block_on(load::check(&load::client(c.kubeconfig()), &ledger));
    }
    c.kubectl("rollout status deployment/nginx-deployment --timeout=60s");
    let image = format!("nginx:1.{}", ROUNDS - 1);
    c.eventually("get pods -l app=nginx -o jsonpath={.items[*].spec.containers[0].image}", |s| {
        s.split_whitespace().count() == 3 && s.split_whitespace().all(|i| i == image)
    });
}

#[test]
fn sigterm_under_load_ends_in_order_and_loses_nothing_acknowledged() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut c = Cluster::up(&["--simulated-nodes", "1"]);
    let ledger = Arc::new(Ledger::default());
    let client = load::client(c.kubeconfig());
    let of = Collection { resource: &gvr::CONFIG_MAPS, namespace: "kube-system" };
    let mut watch = runtime.block_on(client.watch(&of, &WatchOptions::default())).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let writing = runtime.spawn(load::write(client, ledger.clone(), WRITERS, 0, stop.clone()));
    let deadline = Instant::now() + PATIENCE;
    while ledger.count.load(Ordering::Relaxed) < 300 {
        assert!(Instant::now() < deadline, "writes are not acknowledged");
        std::thread::yield_now();
    }
    let began = Instant::now();
    assert_eq!(c.terminate(), Some(0), "SIGTERM is an order to end, not an error");
    assert!(began.elapsed() < Duration::from_secs(30));
    stop.store(true, Ordering::Relaxed);
    runtime.block_on(async {
        tokio::time::timeout(PATIENCE, writing).await.unwrap().unwrap();
        let ended = async {
            while let Some(events) = watch.next(100).await {
                assert!(events.is_ok(), "ended in order, not broken off: {events:?}");
            }
        };
        tokio::time::timeout(PATIENCE, ended).await.expect("the watch ended with its server");
    });
    c.restart();
    runtime.block_on(load::check(&load::client(c.kubeconfig()), &ledger));
}

#[test]
fn an_orderly_end_and_a_second_start_find_everything_as_it_was() {
    let mut c = Cluster::up(&[]);
    c.kubectl(&format!("apply -f {MANIFESTS}/nginx.yaml"));
    c.kubectl("rollout status deployment/nginx-deployment --timeout=60s");
    let state = |c: &Cluster| {
        c.kubectl("get pods,deployments,replicasets,configmaps,secrets -n default -o jsonpath={range.items[*]}{.kind}/{.metadata.name}/{.metadata.uid}{'\\n'}{end}")
    };
    let before = state(&c);
    assert!(before.contains("Pod/nginx-deployment-"), "{before}");
    let began = Instant::now();
    assert_eq!(c.terminate(), Some(0), "SIGTERM is an order to end, not an error");
    assert!(began.elapsed() < Duration::from_secs(30));
    c.restart();
    assert_eq!(state(&c), before);
    c.kubectl("scale deployment nginx-deployment --replicas=4");
    c.kubectl("rollout status deployment/nginx-deployment --timeout=60s");
}

#[test]
fn a_backup_restored_elsewhere_holds_the_same_objects() {
    let mut c = Cluster::up(&["--simulated-nodes", "1"]);
    c.kubectl("create configmap kept --from-literal=a=b");
    let uid = c.value("configmap kept", "{.metadata.uid}");
    c.terminate();
    let copy = c.data_dir().join("backup");
    let run = |role: &str, dir: &std::path::Path| {
        let mut gantry = cluster::gantry();
        gantry.arg(role).arg("--data-dir").arg(dir).arg(&copy);
        cluster::run(gantry, "")
    };
    let said = run("backup", &c.data_dir().join("state"));
    assert_eq!(said.code, 0, "{said:#?}");
    let said = run("backup", &c.data_dir().join("state"));
    assert_ne!(said.code, 0, "a backup never overwrites a file");
    std::fs::remove_dir_all(c.data_dir().join("state/store")).unwrap();
    let said = run("restore", &c.data_dir().join("state"));
    assert_eq!(said.code, 0, "{said:#?}");
    c.restart();
    assert_eq!(c.value("configmap kept", "{.metadata.uid}"), uid);
}
