//! The promise: every role runs as a process of its own against nothing but a kubeconfig; any of them may die at any
//! moment and a new one goes on where it stopped; and whoever starts one wrongly is told why in one line.

#[path = "support/cluster.rs"]
mod cluster;

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use cluster::{Cluster, PATIENCE, Role, Said};

/// Bindings of pods to nodes as the events tell them: whoever is named twice was bound twice.
fn bindings(c: &Cluster) -> BTreeMap<String, Vec<String>> {
    let said = c.kubectl(
        "get events --field-selector reason=Scheduled -o jsonpath={range.items[*]}{.involvedObject.uid}={.message}{'\\n'}{end}",
    );
    let mut bound: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in said.lines() {
        let (uid, message) = line.split_once('=').expect("uid and message");
        bound.entry(uid.to_owned()).or_default().push(message.to_owned());
    }
    bound
}

fn loops(c: &Cluster, args: &[&str]) -> [Role; 2] {
    [c.role("scheduler", args), c.role("controller-manager", args)]
}

#[test]
fn roles_apart_converge_though_they_are_killed_midway() {
    let c = Cluster::apiserver(&[]);
    let [scheduler, manager] = loops(&c, &["--leader-elect=false"]);
    let kubelet = c.role("kubelet", &["--simulated-nodes", "3", "--simulated-start-delay-ms", "20"]);
    c.kubectl("create deployment web --image=nginx --replicas=3");
    c.kubectl("rollout status deployment/web --timeout=60s");
    assert_eq!(c.value("deployment web", "{.status.readyReplicas}"), "3");

    // Both die once the growth has begun: pods made and not bound, bound and not counted.
    c.kubectl("scale deployment web --replicas=150");
    c.eventually("get pods -o jsonpath={.items[*].spec.nodeName}", |s| s.split_whitespace().count() > 5);
    scheduler.kill();
    manager.kill();
    c.kubectl("scale deployment web --replicas=160");
    let [scheduler, manager] = loops(&c, &["--leader-elect=false"]);
    c.eventually("get deployment web -o jsonpath={.status.readyReplicas}", |s| s == "160");
    let pods = c.kubectl("get pods -o jsonpath={range.items[*]}{.metadata.uid}={.spec.nodeName}{'\\n'}{end}");
    assert_eq!(pods.lines().count(), 160, "exactly what was asked for, nothing on its way out");
    for (uid, bound) in bindings(&c) {
        assert_eq!(bound.len(), 1, "{uid} was bound more than once: {bound:?}");
    }
    for role in [scheduler, manager, kubelet] {
        assert_eq!(role.terminate(), Some(0), "SIGTERM is an order to end, not an error");
    }
}

#[test]
fn a_second_instance_stays_passive_until_the_first_gives_its_lease_back() {
    let c = Cluster::apiserver(&[]);
    let holder = |c: &Cluster| {
        let lease = "get lease kube-controller-manager -n kube-system -o jsonpath={.spec.holderIdentity}";
        c.eventually(lease, |holder| !holder.is_empty())
    };
    let first = c.role("controller-manager", &[]);
    assert!(holder(&c).ends_with(&format!("_{}", first.pid())));
    let mut second = c.role("controller-manager", &[]);
    // Only the loops publish accounts: the first is at work while the second waits.
    c.eventually("get serviceaccounts -n default -o name", |s| s.contains("default"));
    assert!(second.runs(), "who does not lead waits");
    assert!(holder(&c).ends_with(&format!("_{}", first.pid())), "who came second does not lead");
    let (leader, follower) = (first, second);
    assert_eq!(leader.terminate(), Some(0));
    let heir = format!("_{}", follower.pid());
    c.eventually("get lease kube-controller-manager -n kube-system -o jsonpath={.spec.holderIdentity}", |holder| {
        holder.ends_with(&heir)
    });
    c.kubectl("create namespace later");
    c.eventually("get serviceaccounts -n later -o name", |s| s.contains("default"));
    assert_eq!(follower.terminate(), Some(0));
}

/// Runs the binary, which must end by itself, with an error and one line that says `wanted`.
fn refuses(args: &[&str], wanted: &str) {
    let said = run(args);
    assert_ne!(said.code, 0, "{args:?} should be refused: {said:#?}");
    let lines: Vec<&str> = said.stderr.lines().filter(|line| !line.contains(" INFO ")).collect();
    assert!(lines.len() == 1 && lines[0].contains(wanted), "{args:?} should say {wanted:?} in one line: {said:#?}");
    assert!(!said.stderr.contains("panicked"), "{said:#?}");
}

fn run(args: &[&str]) -> Said {
    let mut gantry = cluster::gantry();
    gantry.args(args).env_remove("KUBECONFIG");
    let began = Instant::now();
    let said = cluster::run(gantry, "");
    assert!(began.elapsed() < PATIENCE + Duration::from_secs(1), "{args:?}");
    said
}

#[test]
fn who_starts_a_server_wrongly_is_told_why_in_one_line() {
    let dir = tempfile::TempDir::new().unwrap();
    let data = dir.path().join("data");
    let data = data.to_str().unwrap();
    let up = |more: &[&str], wanted: &str| {
        let mut args = vec!["up", "--data-dir", data];
        args.extend(more);
        refuses(&args, wanted);
    };
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    up(&["--secure-port", &port], &port);
    up(&["--secure-port", "0", "--authorization-mode", "Nobody"], "--authorization-mode");
    up(&["--secure-port", "0", "--service-cluster-ip-range", "10.0.0.0"], "--service-cluster-ip-range");
    up(&["--secure-port", "0", "--shards", "0"], "--shards");
    up(&["--secure-port", "0", "--feature-gates=NoSuch=true"], "--feature-gates: unrecognized feature gate: NoSuch");
    let locked = "cannot set feature gate DynamicResourceAllocation to false, feature is locked to true";
    up(&["--secure-port", "0", "--feature-gates=DynamicResourceAllocation=false"], locked);
    up(&["--secure-port", "0", "--controllers", "no-such-controller"], "no-such-controller");
    up(&["--secure-port", "0", "--etcd-servers", "http://127.0.0.1:1"], "etcd at http://127.0.0.1:1");
    // Where a directory should be there is a file.
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    let inside = file.join("data");
    refuses(&["up", "--secure-port", "0", "--data-dir", inside.to_str().unwrap()], "cannot use --data-dir");
    refuses(&["backup", "--data-dir", inside.to_str().unwrap(), "/dev/null"], "there is no store");
    // What the flags' parser refuses is one line, too.
    let said = run(&["up", "--no-such-flag"]);
    assert_eq!(said.stderr.lines().count(), 1, "{said:#?}");
    assert!(said.code == 2 && said.stderr.starts_with("gantry: unexpected argument '--no-such-flag'"), "{said:#?}");
}

#[test]
fn damaged_keys_are_named_and_not_replaced() {
    let dir = tempfile::TempDir::new().unwrap();
    let data = dir.path().join("data");
    let keys = data.join("pki");
    std::fs::create_dir_all(&keys).unwrap();
    let args = ["up", "--secure-port", "0", "--data-dir", data.to_str().unwrap()];
    for (name, text) in [("ca.crt", "-----BEGIN CERTIFICATE-----\nMIIB"), ("ca.key", "nothing of the kind")] {
        std::fs::write(keys.join(name), text).unwrap();
    }
    refuses(&args, "ca.");
    assert_eq!(std::fs::read_to_string(keys.join("ca.key")).unwrap(), "nothing of the kind");
}

#[test]
fn who_starts_a_loop_wrongly_is_told_why_in_one_line() {
    let dir = tempfile::TempDir::new().unwrap();
    let path = dir.path().join("kubeconfig");
    let path = path.to_str().unwrap();
    refuses(&["scheduler", "--kubeconfig", path], path);
    for broken in ["", "apiVersion: v1\nkind: Config\nclusters: [", "\u{0}\u{1}", "apiVersion: v1\nkind: Config\n"] {
        std::fs::write(path, broken).unwrap();
        for role in ["scheduler", "controller-manager", "kubelet"] {
            refuses(&[role, "--kubeconfig", path], "kubeconfig");
        }
    }
    let c = Cluster::apiserver(&[]);
    let good = std::fs::read_to_string(c.kubeconfig()).unwrap();
    std::fs::write(path, &good[..good.len() / 2]).unwrap();
    refuses(&["scheduler", "--kubeconfig", path], "kubeconfig");
    let good = c.kubeconfig().to_str().unwrap();
    let unknown = ["--leader-elect=false", "--controllers", "no-such-controller"];
    refuses(&[&["controller-manager", "--kubeconfig", good], &unknown[..]].concat(), "no-such-controller");
    refuses(&["controller-manager", "--kubeconfig", good, "--controllers", "no-such-controller"], "no-such-controller");
    refuses(&["controller-manager", "--kubeconfig", good, "--root-ca-file", "/no/such"], "--root-ca-file");
    for role in ["scheduler", "controller-manager"] {
        let without = "GangScheduling is enabled, but depends on features that are disabled: [GenericWorkload]";
        refuses(&[role, "--kubeconfig", good, "--feature-gates=GangScheduling=true"], without);
    }

    // A second server on the data of the first, and a copy of what is in use.
    let data = c.data_dir().join("state");
    let data = data.to_str().unwrap();
    refuses(&["up", "--secure-port", "0", "--data-dir", data], "another process");
    let copy = dir.path().join("copy");
    refuses(&["backup", "--data-dir", data, copy.to_str().unwrap()], "still running");
    assert!(!copy.exists());
}
