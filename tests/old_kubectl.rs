//! The promise: kubectl of another age has the same outcomes. The machine's kubectl and Debian's (1.20, sixteen releases
//! behind the server) do the same work in namespaces of their own; what came of it must be equal.
//!
//! `tests/run` fetches the older one into `target/kubectl-old`; `GANTRY_OLD_KUBECTL` may name another.

#[path = "support/cluster.rs"]
mod cluster;

use std::path::{Path, PathBuf};
use std::process::Command;

use cluster::{Cluster, run};

const MANIFEST: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: applied, labels: {app: applied}}
spec:
  replicas: 2
  selector: {matchLabels: {app: applied}}
  template:
    metadata: {labels: {app: applied}}
    spec:
      containers:
      - {name: c, image: "nginx:1", ports: [{containerPort: 80}, {containerPort: 53, protocol: UDP}]}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: applied}
data: {a: "1"}
"#;

/// What is done, and what is asked of it: words, standard input, the exit code.
const WORK: [(&str, &str, i32); 24] = [
    ("create deployment web --image=nginx", "", 0),
    ("rollout status deployment/web --timeout=60s", "", 0),
    ("scale deployment/web --replicas=3", "", 0),
    ("rollout status deployment/web --timeout=60s", "", 0),
    ("get deployment web -o jsonpath={.spec.replicas}/{.status.readyReplicas}", "", 0),
    ("expose deployment web --port=80", "", 0),
    ("get service web -o jsonpath={.spec.ports[0].targetPort}/{.spec.selector.app}", "", 0),
    ("apply -f -", MANIFEST, 0),
    ("apply -f -", MANIFEST, 0),
    ("diff -f -", MANIFEST, 0),
    ("set image deployment/applied c=nginx:2", "", 0),
    ("diff -f -", MANIFEST, 1),
    ("rollout status deployment/applied --timeout=60s", "", 0),
    ("rollout undo deployment/applied", "", 0),
    ("get deployment applied -o jsonpath={.spec.template.spec.containers[0].image}", "", 0),
    ("label configmap applied tier=back", "", 0),
    ("annotate configmap applied why=test", "", 0),
    (r#"patch configmap applied --type=merge -p {"data":{"b":"2"}}"#, "", 0),
    (r#"patch configmap applied --type=json -p [{"op":"remove","path":"/data/a"}]"#, "", 0),
    ("get configmap -l tier=back -o jsonpath={.items[*].data}", "", 0),
    ("apply --server-side --force-conflicts --field-manager=me -f -", MANIFEST, 0),
    ("get configmap applied -o jsonpath={.data}", "", 0),
    ("delete deployment/web service/web configmap/applied", "", 0),
    ("get service web", "", 1),
];

fn kubectl(of: &Path, c: &Cluster, namespace: &str, words: &str, stdin: &str) -> cluster::Said {
    let mut command = Command::new(of);
    command.arg("--namespace").arg(namespace).args(words.split_whitespace());
    command.env("KUBECONFIG", c.kubeconfig()).env("HOME", c.data_dir());
    run(command, stdin)
}

/// What the work said, without what differs by namespace or by the age of the words.
fn outcomes(of: &Path, c: &Cluster, namespace: &str) -> Vec<String> {
    c.kubectl(&format!("create namespace {namespace}"));
    let mut outcomes = Vec::new();
    for (words, stdin, code) in WORK {
        let said = kubectl(of, c, namespace, words, stdin);
        assert_eq!(said.code, code, "{} {words}\n{said:#?}", of.display());
        // Progress and differences are told in many ways; what changed is asked for after.
        let told = !words.starts_with("rollout status") && !words.starts_with("diff");
        outcomes.push(if told { said.stdout.replace(namespace, "NAMESPACE") } else { String::new() });
    }
    outcomes
}

#[test]
fn kubectl_of_another_age_has_the_same_outcomes() {
    let here = concat!(env!("CARGO_MANIFEST_DIR"), "/target/kubectl-old/usr/bin/kubectl");
    let old = std::env::var_os("GANTRY_OLD_KUBECTL").map_or_else(|| PathBuf::from(here), PathBuf::from);
    if !old.exists() {
        eprintln!("NOT RUN: no older kubectl at {} (tests/run fetches it)", old.display());
        return;
    }
    let c = Cluster::up(&[]);
    let theirs = outcomes(Path::new("kubectl"), &c, "machines");
    let its = outcomes(&old, &c, "debians");
    assert_eq!(its, theirs);

    // What prints Tables, discovery and OpenAPI must understand them.
    for words in
        ["get pods -o wide", "get nodes", "api-resources", "explain deployment.spec.strategy", "get all", "version"]
    {
        let said = kubectl(&old, &c, "debians", words, "");
        assert_eq!(said.code, 0, "{words}\n{said:#?}");
    }
    let pods = kubectl(&old, &c, "debians", "get pods -o wide", "").stdout;
    assert!(pods.starts_with("NAME") && pods.contains("NOMINATED NODE"), "{pods}");
    let described = kubectl(&old, &c, "debians", "describe pods -l app=applied", "").stdout;
    assert!(described.contains("Status:") && described.contains("nginx:1"), "{described}");
    assert_eq!(kubectl(&old, &c, "debians", "delete namespace debians --timeout=60s", "").code, 0);
}
