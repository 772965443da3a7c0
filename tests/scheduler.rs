//! The promise: the scheduler does what its configuration file says, says what is wrong with one that it cannot follow,
//! explains itself, asks extenders, and shares a cluster with others of its kind.

#[path = "support/cluster.rs"]
mod cluster;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Command;
use std::thread;

use cluster::Cluster;
use tempfile::TempDir;

const HEAD: &str = "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\n";

/// A configuration file with this body.
fn config(dir: &TempDir, body: &str) -> String {
    let path: PathBuf = dir.path().join("scheduler.yaml");
    std::fs::write(&path, format!("{HEAD}{body}")).expect("the file can be written");
    path.to_str().expect("a plain path").to_owned()
}

fn pod(name: &str, scheduler: &str, more: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n  schedulerName: {scheduler}\n  \
         containers: [{{name: c, image: nginx, resources: {{requests: {{cpu: 500m, memory: 64Mi}}}}}}]\n{more}---\n"
    )
}

/// Where a pod is, once it is anywhere.
fn node(c: &Cluster, name: &str) -> String {
    c.eventually(&format!("get pod {name} -o jsonpath={{.spec.nodeName}}"), |node| !node.is_empty())
}

fn gantry(args: &[&str]) -> (bool, String, String) {
    let said =
        Command::new(env!("CARGO_BIN_EXE_gantry")).args(args).env_remove("KUBECONFIG").output().expect("it runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (said.status.success(), text(&said.stdout), text(&said.stderr))
}

#[test]
fn profiles_place_pods_by_their_names_and_explain_says_why() {
    let dir = TempDir::new().expect("a temporary directory");
    let body = r#"
profiles:
- schedulerName: default-scheduler
- schedulerName: packer
  pluginConfig:
  - name: NodeResourcesFit
    args: {scoringStrategy: {type: MostAllocated, resources: [{name: cpu, weight: 1}]}}
  - name: NodeAffinity
    args:
      addedAffinity:
        requiredDuringSchedulingIgnoredDuringExecution:
          nodeSelectorTerms: [{matchExpressions: [{key: pool, operator: In, values: [packed]}]}]
  plugins:
    score: {disabled: [{name: NodeResourcesBalancedAllocation}, {name: PodTopologySpread}]}
"#;
    let file = config(&dir, body);
    let c = Cluster::up(&["--config", &file, "--simulated-nodes", "4"]);
    let nodes = c.kubectl("get nodes -o jsonpath={.items[*].metadata.name}");
    let nodes: Vec<&str> = nodes.split_whitespace().collect();
    c.kubectl(&format!("label node {} {} pool=packed", nodes[1], nodes[2]));

    // The packer fills one node of its pool; the default scheduler spreads over all.
    let names: Vec<String> = (0..6).map(|n| format!("packed-{n}")).collect();
    c.apply(&names.iter().map(|name| pod(name, "packer", "")).collect::<String>());
    let mut used: Vec<String> = names.iter().map(|name| node(&c, name)).collect();
    used.sort();
    used.dedup();
    assert_eq!(used.len(), 1, "packed onto one node: {used:?}");
    assert!(used[0] == nodes[1] || used[0] == nodes[2], "within the pool: {used:?}");
    let said = c
        .eventually("get events --field-selector reason=Scheduled -o jsonpath={.items[*].reportingComponent}", |s| {
            s.contains("packer")
        });
    assert!(!said.contains("default-scheduler"));

    // Nobody answers to this name: the pod is left alone.
    c.apply(&pod("orphan", "nobody", ""));
    c.apply(&pod("picky", "packer", "  nodeSelector: {disk: ssd}\n"));
    let message = c.eventually("get pod picky -o jsonpath={.status.conditions[0].message}", |s| !s.is_empty());
    assert!(message.starts_with("0/4 nodes are available: "), "{message}");
    assert!(message.contains("2 node(s) didn't match Pod's node affinity/selector"), "{message}");
    assert!(message.contains("2 node(s) didn't match scheduler-enforced node affinity"), "{message}");
    assert_eq!(c.value("pod orphan", "{.spec.nodeName}{.status.conditions}"), "");

    let kubeconfig = c.kubeconfig().to_str().expect("a plain path").to_owned();
    let explain = |name: &str, more: &[&str]| {
        let args = [&["explain", "pod", name, "--config", &file, "--kubeconfig", &kubeconfig], more].concat();
        let (success, out, errors) = gantry(&args);
        assert!(success, "{errors}");
        out
    };
    let told = explain("packed-0", &[]);
    for line in [
        &format!("Pod default/packed-0 is on node {}.", used[0]),
        "Scheduler packer, priority 0.",
        "4 nodes, 2 could take it.",
        "node(s) didn't match scheduler-enforced node affinity",
        &format!("{}*", used[0]),
        "TOTAL (SCORE x WEIGHT)",
    ] {
        assert!(told.contains(line), "{line:?} is missing in\n{told}");
    }
    let json: serde_json::Value = serde_json::from_str(&explain("packed-0", &["-o", "json"])).expect("JSON");
    assert_eq!((&json["feasible"], &json["standing"]), (&2.into(), &"Placed".into()));
    assert_eq!(json["best"][0]["node"], used[0]);
    assert!(json["best"][0]["total"].as_u64() > json["best"][1]["total"].as_u64());
    assert!(explain("picky", &[]).contains("Pod default/picky has no node."));
    assert!(explain("orphan", &[]).contains("That scheduler is not one of default-scheduler, packer"));
    let (success, _, errors) = gantry(&["explain", "pod", "absent", "--kubeconfig", &kubeconfig]);
    assert!(!success && errors.trim() == "gantry: pods \"absent\" not found", "{errors}");
}

#[test]
fn a_configuration_that_is_wrong_is_refused_in_one_line() {
    let dir = TempDir::new().expect("a temporary directory");
    for (body, wanted) in [
        ("profiles: [{schedulerNme: x}]", "strict decoding error: unknown field \"profiles[0].schedulerNme\""),
        (
            "profiles: [{plugins: {score: {enabled: [{name: Mine}]}}}]",
            "profiles[0].plugins.score.enabled[0].name: Invalid value: \"Mine\": plugin \"Mine\" does not exist",
        ),
        ("podInitialBackoffSeconds: 0", "podInitialBackoffSeconds: Invalid value: 0: must be greater than 0"),
    ] {
        let file = config(&dir, body);
        for role in ["up", "scheduler"] {
            let data = dir.path().join("data");
            let data = data.to_str().expect("a plain path");
            let args =
                if role == "up" { vec!["up", "--data-dir", data] } else { vec!["scheduler", "--kubeconfig", "x"] };
            let (success, _, errors) = gantry(&[&args[..], &["--config", &file]].concat());
            assert!(!success);
            assert_eq!(errors.trim(), format!("gantry: cannot use --config {file}: {wanted}"), "{role}");
        }
    }
    assert!(!dir.path().join("data").exists(), "nothing is touched before the file is understood");
}

/// An extender that turns down every node but the one of this name, and counts who asks.
fn serve_extender(only: String) -> (String, std::sync::mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    let (sender, asked) = std::sync::mpsc::channel();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut reader = BufReader::new(stream.try_clone().expect("a socket can be cloned"));
            let mut length = 0;
            let mut line = String::new();
            while reader.read_line(&mut line).unwrap_or(0) > 2 {
                let lower = line.to_lowercase();
                if let Some(value) = lower.strip_prefix("content-length:") {
                    length = value.trim().parse().expect("a number");
                }
                line.clear();
            }
            let mut body = vec![0; length];
            if reader.read_exact(&mut body).is_err() {
                continue;
            }
            let question: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
            let names = question["NodeNames"].as_array().expect("names").clone();
            let failed: BTreeMap<&str, &str> = names
                .iter()
                .filter_map(|n| n.as_str())
                .filter(|n| *n != only)
                .map(|n| (n, "node(s) are too warm"))
                .collect();
            let kept: Vec<_> = names.iter().filter(|name| **name == only).collect();
            let answer = serde_json::json!({"NodeNames": kept, "FailedNodes": failed}).to_string();
            let _ = sender.send(question["Pod"]["metadata"]["name"].as_str().unwrap_or_default().to_owned());
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", answer.len());
            let _ = stream.write_all((head + &answer).as_bytes());
        }
    });
    (format!("http://{address}"), asked)
}

#[test]
fn an_extender_has_its_say_on_the_pods_that_are_its_business() {
    let dir = TempDir::new().expect("a temporary directory");
    let plain = Cluster::up(&[]);
    let names = plain.kubectl("get nodes -o jsonpath={.items[*].metadata.name}");
    // Simulated nodes have the same names in every cluster.
    let chosen = names.split_whitespace().last().expect("there are nodes").to_owned();
    drop(plain);
    let (url, asked) = serve_extender(chosen.clone());
    let managed = "managedResources: [{name: example.com/cool, ignoredByScheduler: true}]";
    let body = format!(
        "extenders:\n- {{urlPrefix: '{url}', filterVerb: filter, nodeCacheCapable: true, httpTimeout: 10s, {managed}}}\n"
    );
    let c = Cluster::up(&["--config", &config(&dir, &body)]);
    let business = "    resources: {requests: {example.com/cool: 1}, limits: {example.com/cool: 1}}\n";
    let manifest = |name: &str| {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n  containers:\n  - name: c\n    image: nginx\n{business}---\n"
        )
    };
    c.apply(&format!("{}{}{}", manifest("cool-0"), manifest("cool-1"), pod("plain", "default-scheduler", "")));
    for name in ["cool-0", "cool-1"] {
        assert_eq!(node(&c, name), chosen);
    }
    node(&c, "plain");
    c.kubectl(&format!("cordon {chosen}"));
    c.apply(&manifest("cool-2"));
    let message = c.eventually("get pod cool-2 -o jsonpath={.status.conditions[0].message}", |s| !s.is_empty());
    assert!(
        message.starts_with("0/3 nodes are available: 1 node(s) were unschedulable, 2 node(s) are too warm."),
        "{message}"
    );
    let asked: Vec<String> = asked.try_iter().collect();
    assert!(asked.iter().all(|name| name.starts_with("cool-")), "others are not its business: {asked:?}");
}

#[test]
fn two_schedulers_share_a_cluster_and_nobody_is_bound_twice() {
    let c = Cluster::apiserver(&[]);
    let kubelet = c.role("kubelet", &["--simulated-nodes", "3", "--simulated-start-delay-ms", "20"]);
    let schedulers = [(); 2].map(|()| c.role("scheduler", &["--leader-elect=false"]));
    // Pods are refused until a loop has made the account that they run as.
    let manager = c.role("controller-manager", &["--leader-elect=false"]);
    c.eventually("get serviceaccounts -n default -o name", |s| s.contains("default"));
    let pods: String = (0..120).map(|n| pod(&format!("p-{n}"), "default-scheduler", "")).collect();
    c.apply(&pods);
    let count = |s: &str| s.split_whitespace().count();
    c.eventually("get pods -o jsonpath={.items[*].spec.nodeName}", |s| count(s) == 120);
    let said = c.kubectl(
        "get events --field-selector reason=Scheduled -o jsonpath={range.items[*]}{.involvedObject.uid}={.reason}{'\\n'}{end}",
    );
    let mut told: BTreeMap<&str, u32> = BTreeMap::new();
    for (uid, _) in said.lines().filter_map(|line| line.split_once('=')) {
        *told.entry(uid).or_default() += 1;
    }
    assert!(told.values().all(|times| *times == 1), "bound more than once: {told:?}");
    // What one was refused because the other was first leaves no trace in the pods.
    c.eventually("get pods -o jsonpath={.items[*].status.phase}", |s| s.split_whitespace().all(|p| p == "Running"));
    for role in schedulers.into_iter().chain([kubelet, manager]) {
        assert_eq!(role.terminate(), Some(0));
    }
}

#[test]
fn a_scheduler_killed_again_and_again_loses_nothing_and_doubles_nothing() {
    const ROUNDS: usize = 5;
    const EACH: usize = 24;
    let c = Cluster::apiserver(&[]);
    let _kubelet = c.role("kubelet", &["--simulated-nodes", "3", "--simulated-start-delay-ms", "20"]);
    let _manager = c.role("controller-manager", &["--leader-elect=false"]);
    c.eventually("get serviceaccounts -n default -o name", |s| s.contains("default"));
    let count = |s: &str| s.split_whitespace().count();
    for round in 0..ROUNDS {
        let scheduler = c.role("scheduler", &["--leader-elect=false"]);
        let pods: String = (0..EACH).map(|n| pod(&format!("p-{round}-{n}"), "default-scheduler", "")).collect();
        thread::scope(|scope| {
            let applying = scope.spawn(|| c.apply(&pods));
            // Killed while pods come in: some bound, some decided on, some unseen.
            let bound = round * EACH + round * 4;
            c.eventually("get pods -o jsonpath={.items[*].spec.nodeName}", |s| count(s) > bound);
            scheduler.kill();
            applying.join().expect("the pods are created");
        });
    }
    let last = c.role("scheduler", &["--leader-elect=false"]);
    c.eventually("get pods -o jsonpath={.items[*].spec.nodeName}", |s| count(s) == ROUNDS * EACH);
    c.eventually("get pods -o jsonpath={.items[*].status.phase}", |s| s.split_whitespace().all(|p| p == "Running"));
    let room =
        c.kubectl("get nodes -o jsonpath={range.items[*]}{.metadata.name}={.status.allocatable.pods}{'\\n'}{end}");
    let placed = c.kubectl("get pods -o jsonpath={.items[*].spec.nodeName}");
    for (node, pods) in room.lines().filter_map(|line| line.split_once('=')) {
        let there = placed.split_whitespace().filter(|name| *name == node).count();
        assert!(there <= pods.parse().expect("a number"), "{node} has {there} pods, room for {pods}");
    }
    assert_eq!(last.terminate(), Some(0));
}
