//! The promise: the real kubectl cannot tell this cluster from Kubernetes. Each test drives a fresh `gantry up` with
//! kubectl and looks at what came of it, not at exit codes alone.

#[path = "support/cluster.rs"]
mod cluster;

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use cluster::Cluster;

const MANIFESTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/manifests");

/// A cluster with the tutorial's nginx Deployment rolled out.
fn with_nginx() -> Cluster {
    let c = Cluster::up(&[]);
    assert_eq!(c.kubectl(&format!("apply -f {MANIFESTS}/nginx.yaml")), "deployment.apps/nginx-deployment created\n");
    c.kubectl("rollout status deployment/nginx-deployment --timeout=60s");
    c
}

fn lines(text: &str) -> Vec<Vec<&str>> {
    text.lines().map(|line| line.split_whitespace().collect()).collect()
}

#[test]
fn a_fresh_cluster_has_what_a_fresh_cluster_has() {
    let c = Cluster::up(&["--simulated-nodes", "4"]);
    let namespaces = c.kubectl("get namespaces -o name");
    for name in ["default", "kube-node-lease", "kube-public", "kube-system"] {
        assert!(namespaces.contains(&format!("namespace/{name}\n")), "{namespaces}");
    }
    c.kubectl("wait --for=condition=Ready node --all --timeout=60s");
    assert_eq!(c.kubectl("get nodes -o name").lines().count(), 4);
    c.eventually("get configmap kube-root-ca.crt -o jsonpath={.data.ca\\.crt}", |s| s.starts_with("-----BEGIN CERT"));
    c.eventually("get serviceaccount default -o name", |s| s == "serviceaccount/default\n");
    let service = c.kubectl("get service kubernetes");
    assert!(service.contains("ClusterIP") && service.contains("443/TCP"), "{service}");
    c.eventually("get leases -n kube-node-lease -o name", |s| s.lines().count() == 4);
    assert!(c.kubectl("get --raw /readyz?verbose").contains("[+]"));
    assert!(c.kubectl("version").contains("Server Version: v1.36"));
    assert!(c.kubectl("cluster-info").contains("is running at"));
    let nodes = c.kubectl("get nodes -o wide");
    assert!(nodes.starts_with("NAME"), "{nodes}");
    for heading in ["STATUS", "ROLES", "AGE", "VERSION", "INTERNAL-IP", "EXTERNAL-IP", "OS-IMAGE", "KERNEL-VERSION"] {
        assert!(nodes.lines().next().unwrap().contains(heading), "{nodes}");
    }
}

#[test]
fn the_nginx_deployment_runs_and_is_shown_as_upstream_shows_it() {
    let c = with_nginx();
    let deployment = c.kubectl("get deployment nginx-deployment");
    assert_eq!(lines(&deployment)[0], ["NAME", "READY", "UP-TO-DATE", "AVAILABLE", "AGE"]);
    assert_eq!(lines(&deployment)[1][..4], ["nginx-deployment", "3/3", "3", "3"]);
    let wide = c.kubectl("get deployment nginx-deployment -o wide");
    assert!(wide.contains("nginx:1.14.2") && wide.contains("app=nginx"), "{wide}");

    let pods = c.kubectl("get pods -l app=nginx -o wide");
    assert_eq!(lines(&pods).len(), 4, "{pods}");
    for pod in &lines(&pods)[1..] {
        assert!(pod[0].starts_with("nginx-deployment-"), "{pods}");
        assert_eq!(pod[1..4], ["1/1", "Running", "0"], "{pods}");
    }
    let ips = c.kubectl("get pods -l app=nginx -o jsonpath={.items[*].status.podIP}");
    let mut ips: Vec<&str> = ips.split_whitespace().collect();
    ips.sort_unstable();
    ips.dedup();
    assert_eq!(ips.len(), 3, "each pod has an address of its own");
    let nodes = c.kubectl("get pods -l app=nginx -o jsonpath={.items[*].spec.nodeName}");
    let mut nodes: Vec<&str> = nodes.split_whitespace().collect();
    nodes.sort_unstable();
    nodes.dedup();
    assert_eq!(nodes.len(), 3, "three replicas on three equal nodes spread");

    let replica_sets = c.kubectl("get replicasets -l app=nginx");
    assert_eq!(lines(&replica_sets)[1][1..4], ["3", "3", "3"], "{replica_sets}");
    let owner = c.value("pods -l app=nginx", "{.items[0].metadata.ownerReferences[0].kind}");
    assert_eq!(owner, "ReplicaSet");
    let pod = c.value("pods -l app=nginx", "{.items[0].metadata.name}");
    let described = c.kubectl(&format!("describe pod {pod}"));
    for part in ["Status:", "Running", "nginx:1.14.2", "Controlled By:", "ReplicaSet/", "Conditions:", "PodScheduled"] {
        assert!(described.contains(part), "no {part} in\n{described}");
    }
    let described = c.kubectl("describe deployment nginx-deployment");
    for part in
        ["3 desired | 3 updated | 3 total | 3 available | 0 unavailable", "RollingUpdateStrategy", "ScalingReplicaSet"]
    {
        assert!(described.contains(part), "no {part} in\n{described}");
    }
    assert!(c.kubectl("get events").contains("ScalingReplicaSet"));
    assert!(c.kubectl("events --for deployment/nginx-deployment").contains("ScalingReplicaSet"));
    let again = c.kubectl(&format!("apply -f {MANIFESTS}/nginx.yaml"));
    assert_eq!(again, "deployment.apps/nginx-deployment unchanged\n");
}

#[test]
fn an_application_of_many_files_runs() {
    let c = Cluster::up(&[]);
    let said = c.kubectl(&format!("apply -R -f {MANIFESTS}/guestbook"));
    assert_eq!(said.lines().filter(|line| line.ends_with(" created")).count(), 6, "{said}");
    c.kubectl("wait --for=condition=Available deployment --all --timeout=60s");
    assert_eq!(c.kubectl("get pods -o name").lines().count(), 4);
    assert_eq!(c.value("secret redis", "{.data.password}"), "b3Blbi1zZXNhbWU=");
    let address = c.value("service frontend", "{.spec.clusterIP}");
    assert!(address.starts_with("10."), "{address}");
    let port: u16 = c.value("service frontend", "{.spec.ports[0].nodePort}").parse().unwrap();
    assert!((30000..=32767).contains(&port));
    c.eventually("get endpoints frontend -o jsonpath={.subsets[*].addresses[*].ip}", |s| {
        s.split_whitespace().count() == 3
    });
    c.eventually(
        "get endpointslices -l kubernetes.io/service-name=frontend -o jsonpath={.items[*].endpoints[*].addresses[0]}",
        |s| s.split_whitespace().count() == 3,
    );
    let said = c.kubectl(&format!("apply -R -f {MANIFESTS}/guestbook"));
    assert!(said.lines().all(|line| line.ends_with(" unchanged")), "{said}");
    assert!(c.kubectl("get all").contains("service/frontend"));
    c.kubectl(&format!("delete -R -f {MANIFESTS}/guestbook"));
    c.eventually("get pods -o name", str::is_empty);
}

#[test]
fn scale_and_rollouts_go_forward_and_back() {
    let c = with_nginx();
    c.kubectl("scale deployment nginx-deployment --replicas=5");
    c.kubectl("rollout status deployment/nginx-deployment --timeout=60s");
    assert_eq!(c.value("deployment nginx-deployment", "{.status.readyReplicas}"), "5");
    let refused = c.kubectl_fails("scale deployment nginx-deployment --current-replicas=2 --replicas=1");
    assert!(refused.contains("Expected replicas to be 2, was 5"), "{refused}");

    c.kubectl("set image deployment/nginx-deployment nginx=nginx:1.16.1");
    c.kubectl("rollout status deployment/nginx-deployment --timeout=60s");
    c.eventually("get pods -l app=nginx -o jsonpath={.items[*].spec.containers[0].image}", |s| {
        s.split_whitespace().count() == 5 && s.split_whitespace().all(|image| image == "nginx:1.16.1")
    });
    assert_eq!(c.kubectl("get replicasets -o name").lines().count(), 2);
    let history = c.kubectl("rollout history deployment/nginx-deployment");
    assert!(history.contains("\n1 ") && history.contains("\n2 "), "{history}");
    assert!(c.kubectl("rollout history deployment/nginx-deployment --revision=1").contains("nginx:1.14.2"));

    c.kubectl("rollout undo deployment/nginx-deployment");
    c.kubectl("rollout status deployment/nginx-deployment --timeout=60s");
    assert_eq!(c.value("deployment nginx-deployment", "{.spec.template.spec.containers[0].image}"), "nginx:1.14.2");
    assert_eq!(
        c.value("deployment nginx-deployment", "{.metadata.annotations.deployment\\.kubernetes\\.io/revision}"),
        "3"
    );

    c.kubectl("rollout pause deployment/nginx-deployment");
    c.kubectl("set image deployment/nginx-deployment nginx=nginx:1.17");
    assert_eq!(c.kubectl("get replicasets -o name").lines().count(), 2, "a paused deployment makes no new replica set");
    c.kubectl("rollout resume deployment/nginx-deployment");
    c.kubectl("rollout status deployment/nginx-deployment --timeout=60s");
    c.kubectl("rollout restart deployment/nginx-deployment");
    c.kubectl("rollout status deployment/nginx-deployment --timeout=60s");
}

#[test]
fn a_rollout_to_an_image_that_does_not_exist_waits_and_can_be_undone() {
    let c = with_nginx();
    c.kubectl("set image deployment/nginx-deployment nginx=nginx:404");
    c.eventually("get pods -l app=nginx", |s| s.contains("ImagePullBackOff") || s.contains("ErrImagePull"));
    assert_eq!(c.value("deployment nginx-deployment", "{.status.availableReplicas}"), "3");
    c.kubectl("rollout undo deployment/nginx-deployment");
    c.kubectl("rollout status deployment/nginx-deployment --timeout=60s");
    c.eventually("get pods -l app=nginx -o jsonpath={.items[*].status.phase}", |s| s == "Running Running Running");
}

#[test]
fn labels_annotations_and_every_patch_type() {
    let c = with_nginx();
    let d = "deployment nginx-deployment";
    c.kubectl(&format!("label {d} tier=web"));
    assert_eq!(c.value(d, "{.metadata.labels.tier}"), "web");
    let refused = c.kubectl_fails(&format!("label {d} tier=db"));
    assert!(refused.contains("already has a value (web)"), "{refused}");
    c.kubectl(&format!("label {d} tier-"));
    assert_eq!(c.value(d, "{.metadata.labels.tier}"), "");
    c.kubectl(&format!("annotate {d} note=checked"));
    assert_eq!(c.value(d, "{.metadata.annotations.note}"), "checked");
    let refused = c.kubectl_fails(&format!("label {d} a/b/c=x"));
    assert!(refused.contains("a/b/c"), "{refused}");

    let patch = |kind: &str, body: &str| {
        let said = c.try_kubectl(["patch", "deployment", "nginx-deployment", "--type", kind, "-p", body]);
        assert_eq!(said.code, 0, "{said:#?}");
    };
    patch(
        "strategic",
        r#"{"spec":{"template":{"spec":{"containers":[{"name":"nginx","env":[{"name":"A","value":"1"}]}]}}}}"#,
    );
    assert_eq!(c.value(d, "{.spec.template.spec.containers[0].image}"), "nginx:1.14.2", "merged by name, not replaced");
    assert_eq!(c.value(d, "{.spec.template.spec.containers[0].env[0].name}"), "A");
    patch("merge", r#"{"spec":{"replicas":2},"metadata":{"annotations":{"note":null}}}"#);
    assert_eq!(c.value(d, "{.spec.replicas}/{.metadata.annotations.note}"), "2/");
    patch(
        "json",
        r#"[{"op":"test","path":"/spec/replicas","value":2},{"op":"replace","path":"/spec/replicas","value":4}]"#,
    );
    assert_eq!(c.value(d, "{.spec.replicas}"), "4");
    let refused = c.try_kubectl([
        "patch",
        "deployment",
        "nginx-deployment",
        "--type",
        "json",
        "-p",
        r#"[{"op":"test","path":"/spec/replicas","value":9}]"#,
    ]);
    assert_ne!(refused.code, 0);
    assert_eq!(c.value(d, "{.spec.replicas}"), "4");
}

#[test]
fn server_side_apply_knows_who_owns_what() {
    let c = Cluster::up(&[]);
    let manifest = |replicas: &str| {
        format!(
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: web}}\nspec:\n  {replicas}\n  selector: {{matchLabels: {{app: web}}}}\n  template:\n    metadata: {{labels: {{app: web}}}}\n    spec: {{containers: [{{name: c, image: 'nginx:1'}}]}}\n"
        )
    };
    let said = c.kubectl_with(&manifest("replicas: 2"), ["apply", "--server-side", "-f", "-"]);
    assert_eq!(said.stdout, "deployment.apps/web serverside-applied\n", "{said:#?}");
    let fields = c.kubectl("get deployment web -o yaml --show-managed-fields");
    for part in ["manager: kubectl", "operation: Apply", "f:replicas", "k:{\"name\":\"c\"}"] {
        assert!(fields.contains(part), "no {part} in\n{fields}");
    }
    let said = c.kubectl_with(&manifest("replicas: 3"), ["apply", "--server-side", "--field-manager=other", "-f", "-"]);
    assert_ne!(said.code, 0);
    assert!(
        said.stderr.contains("Apply failed with 1 conflict: conflict with \"kubectl\": .spec.replicas"),
        "{said:#?}"
    );
    assert_eq!(c.value("deployment web", "{.spec.replicas}"), "2");
    let said = c.kubectl_with(
        &manifest("replicas: 3"),
        ["apply", "--server-side", "--field-manager=other", "--force-conflicts", "-f", "-"],
    );
    assert_eq!(said.code, 0, "{said:#?}");
    assert_eq!(c.value("deployment web", "{.spec.replicas}"), "3");
    let said = c.kubectl_with(&manifest(""), ["apply", "--server-side", "-f", "-"]);
    assert_eq!(said.code, 0, "{said:#?}");
    assert_eq!(c.value("deployment web", "{.spec.replicas}"), "3", "the other manager still owns it");
}

#[test]
fn diff_and_dry_run_change_nothing() {
    let c = with_nginx();
    let manifest = std::fs::read_to_string(format!("{MANIFESTS}/nginx.yaml")).unwrap();
    assert_eq!(c.kubectl_with(&manifest, ["diff", "-f", "-"]).code, 0);
    let changed = manifest.replace("replicas: 3", "replicas: 7");
    let said = c.kubectl_with(&changed, ["diff", "-f", "-"]);
    assert_eq!(said.code, 1, "{said:#?}");
    assert!(said.stdout.contains("-  replicas: 3") && said.stdout.contains("+  replicas: 7"), "{said:#?}");
    let said = c.kubectl_with(&changed, ["apply", "--dry-run=server", "-f", "-"]);
    assert_eq!(said.stdout, "deployment.apps/nginx-deployment configured (server dry run)\n");
    assert_eq!(
        c.kubectl("create configmap x --from-literal=a=b --dry-run=server"),
        "configmap/x created (server dry run)\n"
    );
    assert!(c.kubectl_fails("get configmap x").contains("configmaps \"x\" not found"));
    assert_eq!(c.value("deployment nginx-deployment", "{.spec.replicas}"), "3");
}

#[test]
fn edit_writes_what_the_editor_left() {
    let c = with_nginx();
    let mut command = Command::new("kubectl");
    command
        .args(["edit", "deployment", "nginx-deployment"])
        .env("KUBECONFIG", c.kubeconfig())
        .env("KUBE_EDITOR", "sed -i /replicas:.3/s/3/1/");
    let said = cluster::run(command, "");
    assert_eq!(said.stdout, "deployment.apps/nginx-deployment edited\n", "{said:#?}");
    assert_eq!(c.value("deployment nginx-deployment", "{.spec.replicas}"), "1");
}

#[test]
fn watches_show_changes_as_they_happen() {
    let c = with_nginx();
    let mut watch = Command::new("kubectl")
        .args(["get", "pods", "-l", "app=nginx", "-w", "-o", "jsonpath={.metadata.name} {.status.phase}{\"\\n\"}"])
        .env("KUBECONFIG", c.kubeconfig())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut seen = BufReader::new(watch.stdout.take().unwrap()).lines();
    for _ in 0..3 {
        assert!(seen.next().unwrap().unwrap().ends_with(" Running"));
    }
    c.kubectl("scale deployment nginx-deployment --replicas=4");
    let mut phases = Vec::new();
    while !phases.iter().any(|line: &String| line.ends_with(" Running")) {
        phases.push(seen.next().unwrap().unwrap());
    }
    assert!(phases[0].ends_with(" Pending"), "{phases:?}");
    watch.kill().unwrap();
    watch.wait().unwrap();
}

#[test]
fn nodes_are_cordoned_drained_and_tainted() {
    let c = with_nginx();
    let node = c.value("pods -l app=nginx", "{.items[0].spec.nodeName}");
    c.kubectl(&format!("cordon {node}"));
    assert!(c.kubectl(&format!("get node {node}")).contains("Ready,SchedulingDisabled"));
    c.kubectl(&format!("drain {node} --ignore-daemonsets --timeout=60s"));
    assert_eq!(c.kubectl(&format!("get pods -A --field-selector spec.nodeName={node} -o name")), "");
    c.kubectl("rollout status deployment/nginx-deployment --timeout=60s");
    c.kubectl(&format!("uncordon {node}"));
    assert_eq!(c.value(&format!("node {node}"), "{.spec.unschedulable}"), "");

    c.kubectl("taint nodes --all dedicated=gpu:NoSchedule");
    c.kubectl("run waits --image=nginx");
    c.eventually("get events --field-selector reason=FailedScheduling -o jsonpath={.items[*].message}", |s| {
        s.contains("0/3 nodes are available") && s.contains("3 node(s) had untolerated taint")
    });
    assert_eq!(c.value("pod waits", "{.status.phase}"), "Pending");
    let node = c.value("nodes", "{.items[1].metadata.name}");
    c.kubectl(&format!("taint nodes {node} dedicated-"));
    c.kubectl("wait --for=condition=Ready pod/waits --timeout=60s");
    assert_eq!(c.value("pod waits", "{.spec.nodeName}"), node);
    let described = c.kubectl(&format!("describe node {node}"));
    for part in ["Allocatable:", "Conditions:", "Non-terminated Pods:", "waits", "Lease:"] {
        assert!(described.contains(part), "no {part} in\n{described}");
    }
}

#[test]
fn every_kind_of_deletion() {
    let c = with_nginx();
    c.kubectl("delete deployment nginx-deployment --cascade=orphan");
    let set = c.kubectl("get replicasets -o name");
    assert_eq!(set.lines().count(), 1, "the replica set stays");
    c.eventually(&format!("get {} -o jsonpath={{.metadata.ownerReferences}}", set.trim()), str::is_empty);
    assert_eq!(c.kubectl("get pods -l app=nginx -o name").lines().count(), 3);
    let pod = c.kubectl("get pods -l app=nginx -o name").lines().next().unwrap().to_owned();
    c.kubectl(&format!("delete {pod} --wait=true"));
    c.eventually("get pods -l app=nginx --field-selector status.phase=Running -o name", |s| s.lines().count() == 3);
    c.kubectl(&format!("delete {} --cascade=foreground --timeout=60s", set.trim()));
    assert_eq!(c.kubectl("get pods -l app=nginx -o name"), "", "dependents went first");

    c.kubectl("create namespace short-lived");
    c.kubectl("create deployment web --image=nginx -n short-lived");
    c.kubectl("wait --for=condition=Available deployment/web -n short-lived --timeout=60s");
    c.kubectl("delete namespace short-lived --timeout=60s");
    assert!(c.kubectl_fails("get namespace short-lived").contains("not found"));
    assert_eq!(c.kubectl("get pods -A -o name"), "");

    c.kubectl("create configmap held --from-literal=a=b");
    let patch = r#"{"metadata":{"finalizers":["example.com/hold"]}}"#;
    assert_eq!(c.try_kubectl(["patch", "configmap", "held", "--type=merge", "-p", patch]).code, 0);
    c.kubectl("delete configmap held --wait=false");
    assert_ne!(c.value("configmap held", "{.metadata.deletionTimestamp}"), "");
    let patch = r#"{"metadata":{"finalizers":null}}"#;
    assert_eq!(c.try_kubectl(["patch", "configmap", "held", "--type=merge", "-p", patch]).code, 0);
    assert!(c.kubectl_fails("get configmap held").contains("not found"));

    c.kubectl("run forced --image=nginx");
    c.kubectl("wait --for=condition=Ready pod/forced --timeout=60s");
    c.kubectl("delete pod forced --grace-period=0 --force");
    assert!(c.kubectl_fails("get pod forced").contains("not found"));
}

#[test]
fn kubectl_can_ask_what_there_is_and_what_is_allowed() {
    let c = Cluster::up(&[]);
    assert_eq!(c.kubectl("auth can-i create pods").trim(), "yes");
    let said = c.try_kubectl(["auth", "can-i", "create", "pods", "--as=system:serviceaccount:default:default"]);
    assert_eq!((said.code, said.stdout.trim()), (1, "no"), "{said:#?}");
    assert!(c.kubectl("auth whoami").contains("kubernetes-admin"));
    let refused = c.kubectl_fails("get pods --as=alice");
    assert!(
        refused.contains("pods is forbidden: User \"alice\" cannot list resource \"pods\" in API group \"\" in the namespace \"default\""),
        "{refused}"
    );
    c.kubectl("create role reader --verb=get,list --resource=pods");
    c.kubectl("create rolebinding alice --role=reader --user=alice");
    c.eventually("get pods --as=alice", |_| true);

    let resources = c.kubectl("api-resources");
    for line in ["deployments", "deploy", "apps/v1", "Deployment", "endpointslices", "leases", "clusterroles"] {
        assert!(resources.contains(line), "no {line} in\n{resources}");
    }
    assert!(c.kubectl("api-resources --namespaced=false -o name").contains("nodes\n"));
    assert!(c.kubectl("api-versions").contains("apps/v1\n"));
    let explained = c.kubectl("explain deployment.spec.strategy");
    assert!(explained.contains("rollingUpdate") && explained.contains("GROUP:      apps"), "{explained}");
    // The field's own description, and that of what is in it.
    assert!(explained.contains("The deployment strategy to use to replace"), "{explained}");
    assert!(explained.contains("Can be \"Recreate\" or \"RollingUpdate\""), "{explained}");
    assert!(c.kubectl("explain pod.spec.containers --recursive").contains("livenessProbe"));
    let token = c.kubectl("create token default");
    assert_eq!(token.trim().split('.').count(), 3, "{token}");
}

#[test]
fn logs_and_exec_of_a_simulated_pod_say_why_there_is_nothing() {
    let c = with_nginx();
    let pod = c.kubectl("get pods -l app=nginx -o name").lines().next().unwrap().to_owned();
    for words in [format!("logs {pod}"), format!("exec {pod} -- true")] {
        let refused = c.kubectl_fails(&words);
        assert!(refused.contains("simulated"), "{words}: {refused}");
    }
}
