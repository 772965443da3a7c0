//! The loops tell about themselves: `gantry scheduler` and `gantry controller-manager` serve health, metrics and their
//! configuration on ports of their own, to those whom the API server lets read them, as kubectl's client asks.

#[path = "support/cluster.rs"]
mod cluster;

use std::net::TcpListener;
use std::time::Instant;

use cluster::{Cluster, PATIENCE, Said};

/// A port that was free a moment ago.
fn free_port() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("bound").port().to_string()
}

/// Asks a component for a path with kubectl, as whom `flags` say.
fn ask(c: &Cluster, port: &str, path: &str, flags: &[&str]) -> Said {
    let server = format!("--server=https://127.0.0.1:{port}");
    let fixed = ["get", "--raw", path, &server, "--insecure-skip-tls-verify=true"];
    c.try_kubectl(fixed.iter().chain(flags))
}

/// Nobody in particular: kubectl wants a name, which proves nothing.
const NOBODY: [&str; 3] = ["--kubeconfig=/dev/null", "--username=nobody", "--password=none"];

/// Asks until the answer is as wanted.
fn eventually(c: &Cluster, port: &str, path: &str, flags: &[&str], wanted: impl Fn(&Said) -> bool) -> Said {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let said = ask(c, port, path, flags);
        if wanted(&said) {
            return said;
        }
        assert!(Instant::now() < deadline, "{path} was never as wanted: {said:#?}");
    }
}

#[test]
fn a_scheduler_shows_how_it_is_to_whom_it_may() {
    let c = Cluster::apiserver(&[]);
    let port = free_port();
    let _nodes = c.role("kubelet", &["--simulated-nodes", "2"]);
    let scheduler = c.role("scheduler", &["--secure-port", &port]);
    // Health is for everybody, the rest is not.
    for path in ["/healthz", "/livez", "/readyz"] {
        eventually(&c, &port, path, &NOBODY, |said| said.code == 0 && said.stdout.trim() == "ok");
    }
    let refused = ask(&c, &port, "/metrics", &NOBODY);
    assert!(refused.stderr.contains("User \"system:anonymous\" cannot get path \"/metrics\""), "{refused:#?}");
    let refused = ask(&c, &port, "/metrics", &["--kubeconfig=/dev/null", "--token=made-up"]);
    assert!(refused.stderr.contains("must be logged in"), "{refused:#?}");

    // The controllers make the account and take the taints of new nodes away.
    let _manager = c.role("controller-manager", &["--leader-elect=false"]);
    c.eventually("get serviceaccounts -n default -o name", |s| s.contains("default"));
    c.eventually("get nodes -o jsonpath={.items[*].metadata.name},{.items[*].spec.taints}", |s| {
        s.split_once(',').is_some_and(|(names, taints)| names.contains(' ') && taints.is_empty())
    });
    ["a", "b", "c"].iter().for_each(|name| drop(c.kubectl(&format!("run {name} --image=nginx"))));
    c.kubectl("run giant --image=nginx --overrides={\"spec\":{\"containers\":[{\"name\":\"giant\",\"image\":\"nginx\",\"resources\":{\"requests\":{\"cpu\":\"10k\"}}}]}}");
    // The administrator's certificate is one of the cluster's own authority.
    let has = |said: &Said, line: &str| said.stdout.lines().any(|l| l == line);
    let text = eventually(&c, &port, "/metrics", &[], |said| {
        has(said, "scheduler_schedule_attempts_total{profile=\"default-scheduler\",result=\"scheduled\"} 3")
            && has(said, "scheduler_unschedulable_pods{plugin=\"NodeResourcesFit\",profile=\"default-scheduler\"} 1")
            && has(said, "gantry_scheduler_events_total{result=\"written\"} 4")
    });
    for line in [
        "scheduler_pending_pods{queue=\"unschedulable\"} 1",
        "scheduler_cache_size{type=\"nodes\"} 2",
        "leader_election_master_status{name=\"kube-scheduler\"} 1",
        "gantry_scheduler_events_total{result=\"dropped\"} 0",
    ] {
        assert!(has(&text, line), "{line} in\n{}", text.stdout);
    }
    assert!(text.stdout.contains("\nprocess_resident_memory_bytes "));
    let text = ask(&c, &port, "/metrics/resources", &[]).stdout;
    assert!(text.contains("kube_pod_resource_request{namespace=\"default\",pod=\"giant\",node=\"\""), "{text}");

    // A ServiceAccount may once RBAC says so.
    c.kubectl("create serviceaccount scraper");
    let token = format!("--token={}", c.kubectl("create token scraper").trim());
    let as_scraper = ["--kubeconfig=/dev/null", token.as_str()];
    let refused = ask(&c, &port, "/configz", &as_scraper);
    assert!(refused.stderr.contains("system:serviceaccount:default:scraper\" cannot get path"), "{refused:#?}");
    c.kubectl("create clusterrole scraping --verb=get --non-resource-url=/configz");
    c.kubectl("create clusterrolebinding scraping --clusterrole=scraping --serviceaccount=default:scraper");
    // A refusal is remembered for ten seconds.
    let config = eventually(&c, &port, "/configz", &as_scraper, |said| said.code == 0).stdout;
    assert!(config.contains("\"schedulerName\":\"default-scheduler\""), "{config}");
    assert_eq!(scheduler.terminate(), Some(0));
}

#[test]
fn every_pod_has_its_events() {
    let c = Cluster::up(&["--simulated-nodes", "5"]);
    c.kubectl("create deployment web --image=nginx --replicas=200");
    c.kubectl("rollout status deployment/web --timeout=60s");
    let count = |text: &str| text.lines().count() == 200;
    let all = c.eventually("get events --field-selector reason=Scheduled -o name", count);
    assert_eq!(all.lines().count(), 200);
    c.kubectl("run lonely --image=nginx --overrides={\"spec\":{\"nodeSelector\":{\"disk\":\"none\"}}}");
    let described = c.eventually("describe pod lonely", |text| text.contains("FailedScheduling"));
    let line = "0/5 nodes are available: 5 node(s) didn't match Pod's node affinity/selector.";
    assert!(described.contains("default-scheduler") && described.contains(line), "{described}");
    let fields = "-o jsonpath={.items[0].action},{.items[0].type},{.items[0].regarding.kind},{.items[0].eventTime}";
    let event = c.kubectl(&format!("get events.events.k8s.io --field-selector reason=FailedScheduling {fields}"));
    assert!(event.starts_with("Scheduling,Warning,Pod,20"), "{event}");
}

#[test]
fn controllers_show_how_busy_they_are() {
    let c = Cluster::apiserver(&[]);
    let port = free_port();
    let manager = c.role("controller-manager", &["--secure-port", &port]);
    eventually(&c, &port, "/healthz", &NOBODY, |said| said.code == 0);
    c.kubectl("create deployment web --image=nginx");
    eventually(&c, &port, "/metrics", &[], |said| {
        let added = said
            .stdout
            .lines()
            .find_map(|l| l.strip_prefix("workqueue_adds_total{name=\"deployment-controller\"} ")?.parse::<u64>().ok());
        said.code == 0 && added.is_some_and(|added| added > 0)
    });
    let config = ask(&c, &port, "/configz", &[]).stdout;
    assert!(config.contains("kubecontrollermanager.config.k8s.io"), "{config}");
    assert_eq!(manager.terminate(), Some(0));
}
