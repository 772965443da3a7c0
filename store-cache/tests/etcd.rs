//! The promises on etcd, and what only it promises: several servers on one store, and coming back from an outage.
//! Each test runs its own `etcd` on loopback (Debian package `etcd-server`).

use std::net::{Ipv4Addr, SocketAddr, TcpListener as StdListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use gantry_store_cache::config::{EtcdConfig, StoreConfig};
use gantry_store_cache::key::ObjectKey;
use gantry_store_cache::store::Store;
use gantry_store_cache::txn::{Expect, TxnError};
use gantry_store_cache::watch::{ChangeKind, Interest};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::fixture::*;

/// An etcd of the test's own.
struct Server {
    child: Child,
    client_port: u16,
    peer_port: u16,
    directory: TempDir,
}

impl Server {
    async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (client_port, peer_port) = (free_port(), free_port());
        let child = spawn(directory.path(), client_port, peer_port);
        let server = Self { child, client_port, peer_port, directory };
        server.answers().await;
        server
    }

    fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.client_port)
    }

    /// Until it takes requests.
    async fn answers(&self) {
        within(async {
            while TcpStream::connect((Ipv4Addr::LOCALHOST, self.client_port)).await.is_err() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    async fn restart(&mut self) {
        self.child = spawn(self.directory.path(), self.client_port, self.peer_port);
        self.answers().await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Killed by the test already, perhaps.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_port() -> u16 {
    StdListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

fn spawn(data: &Path, client_port: u16, peer_port: u16) -> Child {
    let (client, peer) = (format!("http://127.0.0.1:{client_port}"), format!("http://127.0.0.1:{peer_port}"));
    Command::new("etcd")
        .arg("--data-dir")
        .arg(data)
        .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
        .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
        .args(["--initial-cluster", &format!("default={peer}"), "--log-level", "error"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("these tests run `etcd`: install the Debian package etcd-server")
}

async fn open_at(endpoint: String) -> Store {
    let mut etcd = EtcdConfig::new(vec![endpoint]);
    etcd.request_timeout = Duration::from_secs(5);
    let mut config = StoreConfig::etcd(etcd);
    config.shards = 3;
    config.indexed_fields = vec![("pods".into(), vec![NODE])];
    // Opening blocks, as it does in a server's start.
    tokio::task::spawn_blocking(move || Store::open(config, Arc::new(Lines), Vec::new()).unwrap()).await.unwrap()
}

crate::suite::promises!(async {
    let server = Server::start().await;
    (open_at(server.endpoint()).await, server)
});

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_server_acknowledged_every_consistent_read_on_another_sees() {
    let server = Server::start().await;
    let (a, b) = (open_at(server.endpoint()).await, open_at(server.endpoint()).await);
    let mut watch = b.watch(Interest::all("pods"), b.view().revision()).unwrap();
    let mut expect = Expect::Absent;
    let mut revisions = Vec::new();
    for n in 0..50 {
        let writer = if n % 2 == 0 { &a } else { &b };
        let reader = if n % 2 == 0 { &b } else { &a };
        let revision = committed(writer, put(&pod("x"), expect, &n.to_string())).await.revision;
        let view = within(reader.consistent_view(Duration::from_secs(10))).await.unwrap();
        assert_eq!(text(&view.get(&pod("x")).unwrap()), n.to_string());
        expect = Expect::Revision(revision);
        revisions.push(revision);
    }
    let heard: Vec<_> = heard(&mut watch, 50).await.into_iter().map(|(_, _, revision)| revision).collect();
    assert_eq!(heard, revisions);
    // Of two servers that expect the same version, one wins.
    let (one, other) = tokio::join!(a.commit(put(&pod("x"), expect, "a")), b.commit(put(&pod("x"), expect, "b")));
    assert!(one.is_ok() != other.is_ok(), "{one:?} {other:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn somebody_elses_keys_do_not_hold_up_consistent_reads() {
    let server = Server::start().await;
    let store = open_at(server.endpoint()).await;
    committed(&store, put(&pod("a"), Expect::Absent, "1")).await;
    let mut other = etcd_client::Client::connect([server.endpoint()], None).await.unwrap();
    for n in 0..10 {
        other.put("/elsewhere", n.to_string(), None).await.unwrap();
        let reads = (0..20).map(|_| store.consistent_view(Duration::from_secs(10)));
        for view in within(futures_util::future::join_all(reads)).await {
            assert!(view.unwrap().get(&pod("a")).is_some());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_etcd_is_away_writes_fail_and_afterwards_everything_goes_on() {
    let mut server = Server::start().await;
    let store = open_at(server.endpoint()).await;
    let mut watch = store.watch(Interest::all("pods"), store.view().revision()).unwrap();
    let first = committed(&store, put(&pod("a"), Expect::Absent, "1")).await.revision;
    server.kill();
    // A write that was on its way may end in doubt; soon it is known that etcd is away.
    within(async {
        loop {
            match store.commit(put(&pod("b"), Expect::Absent, "lost?")).await {
                Err(TxnError::Unavailable(_)) => break,
                Err(TxnError::Unknown(_)) => {}
                other => panic!("etcd is dead, yet {other:?}"),
            }
        }
    })
    .await;
    assert_eq!(text(&store.get(&pod("a")).unwrap()), "1", "reads go on");
    assert!(store.consistent_view(Duration::from_millis(300)).await.is_err(), "consistent reads do not");
    server.restart().await;
    let again = within(async {
        loop {
            match store.commit(put(&pod("a"), Expect::Revision(first), "2")).await {
                Ok(done) => break done.revision,
                Err(TxnError::Conflict { current, .. }) => break current.unwrap().revision,
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    })
    .await;
    let mut last = first;
    while last < again {
        last = heard(&mut watch, 1).await[0].2;
    }
    within(store.consistent_view(Duration::from_secs(10))).await.unwrap();
    assert_eq!(text(&store.get(&pod("a")).unwrap()), "2");
}

/// Forwards one port to another until it is cut.
struct Wire {
    port: u16,
    to: u16,
    task: Option<JoinHandle<()>>,
}

impl Wire {
    async fn lay(to: u16) -> Self {
        let mut wire = Self { port: free_port(), to, task: None };
        wire.mend().await;
        wire
    }

    async fn mend(&mut self) {
        let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))).await.unwrap();
        let to = self.to;
        self.task = Some(tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let (mut near, _) = listener.accept().await.unwrap();
                connections.spawn(async move {
                    let mut far = TcpStream::connect((Ipv4Addr::LOCALHOST, to)).await.unwrap();
                    // Ends when either side does.
                    let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
                });
            }
        }));
    }

    async fn cut(&mut self) {
        let task = self.task.take().unwrap();
        task.abort();
        assert!(task.await.unwrap_err().is_cancelled());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_cut_off_past_compaction_catches_up_by_difference() {
    let server = Server::start().await;
    let mut wire = Wire::lay(server.client_port).await;
    let far = open_at(format!("http://127.0.0.1:{}", wire.port)).await;
    let near = open_at(server.endpoint()).await;
    for name in ["kept", "changed", "deleted"] {
        committed(&near, put(&pod(name), Expect::Absent, "old")).await;
    }
    let start = within(far.consistent_view(Duration::from_secs(10))).await.unwrap().revision();
    let mut watch = far.watch(Interest::all("pods"), start).unwrap();
    wire.cut().await;
    for n in 0..20 {
        committed(&near, put(&pod("changed"), Expect::Exists, &n.to_string())).await;
    }
    committed(&near, delete(&pod("deleted"), Expect::Exists)).await;
    let last = committed(&near, put(&pod("new"), Expect::Absent, "new")).await.revision;
    let mut etcd = etcd_client::Client::connect([server.endpoint()], None).await.unwrap();
    etcd.compact(i64::try_from(last.0).unwrap(), None).await.unwrap();
    wire.mend().await;
    let mut found = heard(&mut watch, 3).await;
    assert!(found.is_sorted_by_key(|(_, _, revision)| *revision));
    assert!(found.iter().all(|(_, _, revision)| *revision > start));
    found.sort_by(|a, b| a.1.cmp(&b.1));
    let found: Vec<_> = found.iter().map(|(kind, name, _)| (*kind, name.as_str())).collect();
    let expected = [(ChangeKind::Modified, "changed"), (ChangeKind::Deleted, "deleted"), (ChangeKind::Added, "new")];
    assert_eq!(found, expected);
    let view = within(far.consistent_view(Duration::from_secs(10))).await.unwrap();
    assert_eq!(names(view.scan("pods", None, None)), ["changed", "kept", "new"]);
    assert!(far.view_at("pods", start).is_err(), "what lay between is not known here");
    assert_eq!(text(&view.get(&pod("changed")).unwrap()), "19");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_with_a_time_to_live_goes_by_itself() {
    let server = Server::start().await;
    let store = open_at(server.endpoint()).await;
    let mut watch = store.watch(Interest::all("events"), store.view().revision()).unwrap();
    for name in ["a", "b"] {
        committed(&store, put_for(&ObjectKey::new("events", "default", name), "x", Duration::from_secs(1))).await;
    }
    let heard = heard(&mut watch, 4).await;
    assert!(heard[2..].iter().all(|(kind, _, _)| *kind == ChangeKind::Deleted), "{heard:?}");
    assert_eq!(store.view().count("events", None), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_server_finds_everything() {
    let server = Server::start().await;
    let store = open_at(server.endpoint()).await;
    // More than one page of the list.
    let txns = (0..2_500).map(|n| put(&pod(&format!("p{n:04}")), Expect::Absent, &n.to_string())).collect();
    assert!(within(store.commit_all(txns)).await.iter().all(Result::is_ok));
    drop(store);
    let store = open_at(server.endpoint()).await;
    let view = store.view();
    assert_eq!(view.count("pods", None), 2_500);
    assert!(view.scan("pods", None, None).enumerate().all(|(n, object)| text(&object) == n.to_string()));
}
