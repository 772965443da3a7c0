//! The promise: load beyond the limits is refused with 429 and costs no memory, readers that do not read cost nobody
//! anything, and the server is itself again as soon as the storm is over.

#[path = "support/cluster.rs"]
mod cluster;
#[path = "support/load.rs"]
mod load;

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use cluster::{Cluster, PATIENCE};
use futures_util::StreamExt as _;
use gantry_machinery::client::Client;
use gantry_machinery::resource::gvr;
use gantry_machinery::resource_api::{Collection, ResourceApi, Target, WatchEvent, WatchOptions, WriteOptions};
use gantry_machinery::value;
use serde_json::Value;

const MEGABYTE: u64 = 1 << 20;

/// An API server, and somebody who may do everything without being exempt from its limits.
struct Api {
    cluster: Cluster,
    server: String,
    authorization: String,
}

impl Api {
    fn start(args: &[&str]) -> Self {
        let cluster = Cluster::apiserver(args);
        cluster.kubectl("create serviceaccount tester");
        cluster.kubectl("create clusterrolebinding tester --clusterrole=cluster-admin --serviceaccount=default:tester");
        let token = cluster.kubectl("create token tester").trim().to_owned();
        cluster.eventually(&format!("auth can-i get pods --token={token}"), |said| said.trim() == "yes");
        let server = cluster.kubectl("config view --minify -o jsonpath={.clusters[0].cluster.server}");
        Self { cluster, server, authorization: format!("Authorization: Bearer {token}") }
    }

    fn curl(&self, path: &str) -> Command {
        let mut curl = Command::new("curl");
        curl.args(["-sk", "-H", &self.authorization, &format!("{}{path}", self.server)]);
        curl
    }

    /// Bytes of memory that the server occupies.
    fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.cluster.pid())).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it has memory");
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
    }
}

#[test]
fn creates_beyond_the_limit_are_told_to_come_back_and_the_server_recovers() {
    let api = Api::start(&["--max-mutating-requests-inflight", "1"]);
    let flood = || {
        let mut curl = api.curl("/api/v1/namespaces/default/configmaps?fieldValidation=Ignore&n=[1-2000]");
        curl.args(["-Z", "--parallel-immediate", "--parallel-max", "200", "-o", "/dev/null"])
            .args(["-w", "%{http_code} %header{retry-after}\\n"])
            .args(["-H", "Content-Type: application/json", "--data-binary"])
            .arg(r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"generateName":"flood-"}}"#);
        let said = cluster::run(curl, "");
        let count = |wanted: &str| said.stdout.lines().filter(|line| line.trim() == wanted).count();
        let (made, refused) = (count("201"), count("429 1"));
        assert_eq!(made + refused, 2000, "made, or refused with Retry-After, and nothing else: {said:?}");
        (made, refused)
    };
    let (mut made, refused) = flood();
    assert!(made > 0 && refused > 0, "{made} made, {refused} refused");
    let before = api.memory();
    made += flood().0;
    let grown = api.memory().saturating_sub(before);
    assert!(grown < 64 * MEGABYTE, "{grown} bytes for 2000 requests");
    let names = api.cluster.kubectl("get configmaps -n default -o name");
    let there = names.lines().filter(|name| name.contains("/flood-")).count();
    assert_eq!(there, made, "what was refused did not happen, what was acknowledged did");
    let token = api.authorization.rsplit(' ').next().expect("a token");
    api.cluster.kubectl(&format!("create configmap after --token={token}"));
}

/// A watcher that reads what curl has buffered when it is asked to, and nothing before.
struct Sleeper(Child);

impl Sleeper {
    fn new(api: &Api, after: &str) -> Self {
        let mut curl = api.curl(&format!("/api/v1/namespaces/default/configmaps?watch=true&resourceVersion={after}"));
        Self(curl.arg("-N").stdout(Stdio::piped()).spawn().expect("curl starts"))
    }

    /// Wakes up: the revisions of all events until `last`, or until the server says that it cannot go on.
    fn read(&mut self, last: u64) -> (Vec<u64>, bool) {
        let mut revisions = Vec::new();
        for line in BufReader::new(self.0.stdout.take().expect("stdout is piped")).lines() {
            let event: Value = serde_json::from_str(&line.expect("text")).expect("whole events");
            if event["type"] == "ERROR" {
                assert_eq!(event["object"]["code"], 410, "{event}");
                return (revisions, true);
            }
            let revision = event["object"]["metadata"]["resourceVersion"].as_str().expect("a revision");
            revisions.push(revision.parse().expect("a number"));
            if revisions.last() == Some(&last) {
                break;
            }
        }
        (revisions, false)
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Rewrites one object `times` with 32 KiB each; the revision of every write, in order.
async fn rewrite(client: &Arc<Client>, times: u64) -> Vec<u64> {
    let write = |turn: u64| async move {
        let filler = format!("{turn:032}").repeat(1024);
        let name = format!("big-{}", turn % 8);
        let target = Target::object(&gvr::CONFIG_MAPS, "default", &name);
        let object = value!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": (name.clone()), "namespace": "default"}, "data": {"filler": (filler)}
        });
        let options = WriteOptions::default();
        let made = match client.update(&target, object.clone(), &options).await {
            Err(status) if status.code == 404 => match client.create(&target, object.clone(), &options).await {
                // The turn before, for the same object, was not done yet.
                Err(status) if status.is_already_exists() => client.update(&target, object, &options).await,
                other => other,
            },
            other => other,
        };
        made.expect("writes are not held up by those who do not read").revision.0
    };
    let mut revisions: Vec<u64> = futures_util::stream::iter(0..times).map(write).buffer_unordered(8).collect().await;
    revisions.sort_unstable();
    revisions
}

#[test]
fn watchers_that_do_not_read_cost_little_and_go_on_in_order_or_are_told_to_list_again() {
    let api = Api::start(&[]);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let client = load::client(api.cluster.kubeconfig());
    // Once without them: the log's buffers and the window for resumed watches fill up.
    let before = runtime.block_on(rewrite(&client, 1500));
    let now = before[before.len() - 1].to_string();
    let before = api.memory();
    let mut sleepers: Vec<Sleeper> = (0..20).map(|_| Sleeper::new(&api, &now)).collect();
    let first = runtime.block_on(rewrite(&client, 200));
    // One that reads sees everything at once, whatever the others do.
    let of = Collection { resource: &gvr::CONFIG_MAPS, namespace: "default" };
    let after = Some(gantry_store_cache::revision::Revision(*first.last().expect("writes")));
    let options = WatchOptions { after, ..WatchOptions::default() };
    let written = runtime.block_on(async {
        let mut watch = client.watch(&of, &options).await.expect("a watch");
        let reading = async {
            let mut seen = Vec::new();
            while seen.len() < 1300 {
                for event in watch.next(100).await.expect("it goes on").expect("it reads in time") {
                    if let WatchEvent::Added(object) | WatchEvent::Modified(object) = event {
                        seen.push(object.revision.0);
                    }
                }
            }
            seen
        };
        let both = async { tokio::join!(rewrite(&client, 1300), reading) };
        let (written, seen) = tokio::time::timeout(PATIENCE, both).await.expect("nobody is held up");
        assert_eq!(seen, written, "all of them, in order");
        written
    });
    let grown = api.memory().saturating_sub(before);
    assert!(grown < 64 * MEGABYTE, "{grown} bytes for 20 watchers that did not read 47 MiB each");
    let all: Vec<u64> = first.into_iter().chain(written).collect();
    for sleeper in &mut sleepers[..4] {
        let (seen, expired) = sleeper.read(all[all.len() - 1]);
        let skip = all.iter().position(|revision| Some(revision) == seen.first()).unwrap_or(0);
        assert_eq!(seen, all[skip..skip + seen.len()], "in order, no gap, nothing twice");
        assert!(expired || seen.last() == all.last(), "the end, or a word that there is a gap");
    }
    let watching = |text: &str| {
        text.lines()
            .filter(|line| line.starts_with("apiserver_longrunning_requests{") && line.contains("configmaps"))
            .any(|line| !line.ends_with(" 0"))
    };
    api.cluster.eventually("get --raw /metrics", watching);
    drop(sleepers);
    // Whoever has gone is forgotten.
    api.cluster.eventually("get --raw /metrics", |text| !watching(text));
}
