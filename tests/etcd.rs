//! The promise: etcd is a store as good as our own. The server dies under load and loses nothing; etcd itself stops and
//! comes back: writes meanwhile fail with a clear 5xx, watches recover, and nothing acknowledged is lost.

#[path = "support/cluster.rs"]
mod cluster;
#[path = "support/load.rs"]
mod load;

use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use cluster::{Cluster, PATIENCE};
use gantry_machinery::resource::gvr;
use gantry_machinery::resource_api::{
    Collection, ListOptions, ResourceApi, Target, WatchEvent, WatchOptions, WriteOptions,
};
use gantry_machinery::value;
use load::Ledger;
use tempfile::TempDir;

/// A real etcd on loopback.
struct Etcd {
    process: Child,
    data: TempDir,
    client: u16,
    peer: u16,
}

impl Etcd {
    fn start() -> Self {
        let data = TempDir::new().expect("a temporary directory");
        let free = || TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a free port").port();
        let (client, peer) = (free(), free());
        let process = Self::spawn(&data, client, peer);
        wait_for("etcd does not listen", || TcpStream::connect(("127.0.0.1", client)).is_ok());
        Self { process, data, client, peer }
    }

    fn spawn(data: &TempDir, client: u16, peer: u16) -> Child {
        let url = |port: u16| format!("http://127.0.0.1:{port}");
        Command::new("etcd")
            .arg("--data-dir")
            .arg(data.path())
            .args(["--listen-client-urls", &url(client), "--advertise-client-urls", &url(client)])
            .args(["--listen-peer-urls", &url(peer), "--initial-advertise-peer-urls", &url(peer)])
            .args(["--initial-cluster", &format!("default={}", url(peer)), "--log-level", "error"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("etcd is installed: `tests/run` installs it")
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.client)
    }

    fn stop(&mut self) {
        self.process.kill().expect("etcd can be killed");
        self.process.wait().expect("etcd can be waited for");
    }

    fn again(&mut self) {
        self.process = Self::spawn(&self.data, self.client, self.peer);
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::yield_now();
    }
}

#[test]
fn kill_9_on_etcd_loses_nothing_acknowledged_and_the_cluster_converges() {
    let etcd = Etcd::start();
    let url = etcd.url();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut c = Cluster::up(&["--etcd-servers", &url]);
    c.kubectl("create deployment web --image=nginx --replicas=2");
    let ledger = Arc::new(Ledger::default());
    for round in 0..2 {
        let stop = Arc::new(AtomicBool::new(false));
        let before = ledger.count.load(Ordering::Relaxed);
        let writing = runtime.spawn(load::write(load::client(c.kubeconfig()), ledger.clone(), 8, round, stop.clone()));
        wait_for("writes are not acknowledged", || ledger.count.load(Ordering::Relaxed) >= before + 150);
        c.kill();
        stop.store(true, Ordering::Relaxed);
        runtime.block_on(async { tokio::time::timeout(PATIENCE, writing).await }).unwrap().unwrap();
        c.restart();
        runtime.block_on(load::check(&load::client(c.kubeconfig()), &ledger));
    }
    c.kubectl("rollout status deployment/web --timeout=60s");
}

#[test]
fn etcd_away_means_a_clear_refusal_and_etcd_back_means_all_is_well() {
    let mut etcd = Etcd::start();
    let url = etcd.url();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let c = Cluster::up(&["--etcd-servers", &url, "--simulated-nodes", "1"]);
    let client = load::client(c.kubeconfig());
    let ledger = Arc::new(Ledger::default());
    let stop = Arc::new(AtomicBool::new(false));
    let writing = runtime.spawn(load::write(client.clone(), ledger.clone(), 8, 0, stop.clone()));
    wait_for("writes are not acknowledged", || ledger.count.load(Ordering::Relaxed) >= 100);

    assert_eq!(c.kubectl("get --raw /readyz"), "ok");
    etcd.stop();
    let map = |name: &str| value!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}});
    let target = Target::object(&gvr::CONFIG_MAPS, "default", "");
    let refused = runtime.block_on(async {
        let options = WriteOptions::default();
        let create = client.create(&target, map("refused"), &options);
        tokio::time::timeout(PATIENCE, create).await.expect("a refusal comes in time")
    });
    let status = refused.expect_err("nothing can be written while etcd is away");
    assert!((500..600).contains(&status.code), "{status:?}");

    let refused = c.kubectl_fails("get --raw /readyz");
    assert!(refused.contains("[-]etcd failed"), "{refused}");
    assert!(c.kubectl_fails("get --raw /readyz/etcd").contains("failed"));
    assert_eq!(c.kubectl("get --raw /readyz/ping"), "ok");

    etcd.again();
    c.eventually("get --raw /readyz", |said| said == "ok");
    let before = ledger.count.load(Ordering::Relaxed);
    wait_for("writes do not go on after etcd is back", || ledger.count.load(Ordering::Relaxed) >= before + 50);
    stop.store(true, Ordering::Relaxed);
    runtime.block_on(async { tokio::time::timeout(PATIENCE, writing).await }).unwrap().unwrap();
    runtime.block_on(async {
        load::check(&client, &ledger).await;
        // A watch from before the break, or a new one, sees what comes after it.
        let of = Collection { resource: &gvr::CONFIG_MAPS, namespace: "default" };
        let list = client.list(&of, &ListOptions::default()).await.unwrap();
        let options = WatchOptions { after: Some(list.revision), ..WatchOptions::default() };
        let mut watch = client.watch(&of, &options).await.unwrap();
        client.create(&target, map("seen"), &WriteOptions::default()).await.unwrap();
        let seen = tokio::time::timeout(PATIENCE, async {
            loop {
                let events = watch.next(100).await.expect("the watch goes on").unwrap();
                if events.iter().any(|e| matches!(e, WatchEvent::Added(o) if o.key.name() == "seen")) {
                    break;
                }
            }
        });
        seen.await.expect("the watch shows what was written after etcd came back");
    });
}
