//! The loops together, against the registry in process with simulated nodes: what users see of them.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails there")]

mod support;

use std::time::Duration;

use gantry_machinery::resource::{GroupVersionResource, gvr};
use gantry_machinery::resource_api::{Propagation, Target, WriteOptions};
use serde_json::{Value, json};
use support::{Cluster, condition, deployment};

fn complete(deployment: Option<&Value>, replicas: i64) -> bool {
    let Some(deployment) = deployment else { return false };
    let status = &deployment["status"];
    let n = |field: &str| status[field].as_i64().unwrap_or(0);
    n("observedGeneration") == deployment["metadata"]["generation"].as_i64().unwrap()
        && n("replicas") == replicas
        && n("updatedReplicas") == replicas
        && n("availableReplicas") == replicas
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deployment_runs_scales_rolls_out_and_goes_back() {
    let cluster = Cluster::new().await;
    cluster.create(&gvr::DEPLOYMENTS, "default", deployment("web", 3, "nginx:1.27")).await;
    let made = cluster.wait(&gvr::DEPLOYMENTS, "default", "web", |d| complete(d, 3)).await.unwrap();
    assert_eq!(condition(&made, "Available")["reason"], "MinimumReplicasAvailable");
    assert_eq!(made["metadata"]["annotations"]["deployment.kubernetes.io/revision"], "1");
    let done = |d: Option<&Value>| d.is_some_and(|d| condition(d, "Progressing")["reason"] == "NewReplicaSetAvailable");
    let made = cluster.wait(&gvr::DEPLOYMENTS, "default", "web", done).await.unwrap();
    let sets = cluster.list(&gvr::REPLICA_SETS, "default").await;
    let name = sets[0]["metadata"]["name"].as_str().unwrap();
    assert_eq!(
        condition(&made, "Progressing")["message"],
        format!("ReplicaSet \"{name}\" has successfully progressed.")
    );
    assert_eq!(sets[0]["spec"]["selector"]["matchLabels"]["pod-template-hash"], name["web-".len()..]);

    cluster.patch(&gvr::DEPLOYMENTS, "default", "web", json!({"spec": {"replicas": 10}})).await;
    cluster.wait(&gvr::DEPLOYMENTS, "default", "web", |d| complete(d, 10)).await;

    // A merge patch replaces lists whole.
    let image = |image: &str| json!({"spec": {"template": deployment("web", 0, image)["spec"]["template"].clone()}});
    cluster.patch(&gvr::DEPLOYMENTS, "default", "web", image("nginx:1.28")).await;
    // Never beyond the surge (25 % of 10, rounded up).
    let within = |pods: &[Value]| {
        let alive = pods.iter().filter(|pod| pod["metadata"]["deletionTimestamp"].is_null()).count();
        assert!(alive <= 13, "{alive} pods at once");
        let new = pods.iter().filter(|pod| pod["spec"]["containers"][0]["image"] == "nginx:1.28").count();
        new == 10 && pods.len() == 10
    };
    cluster.wait_all(&gvr::PODS, within).await;
    let second = cluster.wait(&gvr::DEPLOYMENTS, "default", "web", |d| complete(d, 10)).await.unwrap();
    assert_eq!(second["metadata"]["annotations"]["deployment.kubernetes.io/revision"], "2");

    // What `kubectl rollout undo` does: the template of the earlier ReplicaSet.
    cluster.patch(&gvr::DEPLOYMENTS, "default", "web", image("nginx:1.27")).await;
    let revision = |d: &Value| d["metadata"]["annotations"]["deployment.kubernetes.io/revision"].clone();
    let back = |d: Option<&Value>| complete(d, 10) && d.is_some_and(|d| revision(d) == "3");
    cluster.wait(&gvr::DEPLOYMENTS, "default", "web", back).await;
    let sets = cluster.list(&gvr::REPLICA_SETS, "default").await;
    assert_eq!(sets.len(), 2, "the first set serves again");
    let first = sets.iter().find(|set| set["metadata"]["name"] == name).unwrap();
    assert_eq!(first["metadata"]["annotations"]["deployment.kubernetes.io/revision-history"], "1");
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn recreate_stops_all_old_pods_before_the_new_ones_come() {
    let cluster = Cluster::new().await;
    let mut body = deployment("db", 3, "postgres:16");
    body["spec"]["strategy"] = json!({"type": "Recreate"});
    cluster.create(&gvr::DEPLOYMENTS, "default", body).await;
    cluster.wait(&gvr::DEPLOYMENTS, "default", "db", |d| complete(d, 3)).await;
    let new = json!({"spec": {"template": {"spec": {"containers": [{"name": "web", "image": "postgres:17"}]}}}});
    cluster.patch(&gvr::DEPLOYMENTS, "default", "db", new).await;
    let never_both = |pods: &[Value]| {
        let of = |image: &str| pods.iter().filter(|pod| pod["spec"]["containers"][0]["image"] == image).count();
        assert!(of("postgres:16") == 0 || of("postgres:17") == 0, "old and new at once");
        of("postgres:17") == 3
    };
    cluster.wait_all(&gvr::PODS, never_both).await;
    cluster.wait(&gvr::DEPLOYMENTS, "default", "db", |d| complete(d, 3)).await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn loops_that_were_stopped_midway_converge_after_a_restart() {
    let mut cluster = Cluster::new().await;
    cluster.create(&gvr::DEPLOYMENTS, "default", deployment("web", 40, "nginx:1.27")).await;
    for pods in [1, 7, 20] {
        cluster.wait_all(&gvr::PODS, |all| all.len() >= pods).await;
        cluster.stop_loops().await;
        cluster.start_loops();
    }
    cluster.wait(&gvr::DEPLOYMENTS, "default", "web", |d| complete(d, 40)).await;
    let exactly = cluster.list(&gvr::PODS, "default").await;
    assert_eq!(exactly.len(), 40);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicasets_replace_lost_pods_and_take_in_and_let_go_by_label() {
    let cluster = Cluster::new().await;
    cluster.create(&gvr::DEPLOYMENTS, "default", deployment("web", 2, "nginx:1.27")).await;
    cluster.wait(&gvr::DEPLOYMENTS, "default", "web", |d| complete(d, 2)).await;
    let pods = cluster.list(&gvr::PODS, "default").await;
    let name = |pod: &Value| pod["metadata"]["name"].as_str().unwrap().to_owned();
    let (lost, freed) = (name(&pods[0]), name(&pods[1]));
    cluster.delete(&gvr::PODS, "default", &lost, None).await;
    cluster.wait_all(&gvr::PODS, |all| all.len() == 2 && all.iter().all(|pod| name(pod) != lost)).await;
    cluster.patch(&gvr::PODS, "default", &freed, json!({"metadata": {"labels": {"app": "other"}}})).await;
    let free = |pod: Option<&Value>| pod.is_some_and(|pod| pod["metadata"]["ownerReferences"].is_null());
    cluster.wait(&gvr::PODS, "default", &freed, free).await;
    cluster.wait_all(&gvr::PODS, |all| all.len() == 3).await;
    // Back again: one too many, and the youngest or least useful goes.
    cluster.patch(&gvr::PODS, "default", &freed, json!({"metadata": {"labels": {"app": "web"}}})).await;
    cluster.wait_all(&gvr::PODS, |all| all.len() == 2).await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn owners_take_their_dependents_along_as_asked() {
    let cluster = Cluster::new().await;
    for (name, propagation) in [("back", Propagation::Background), ("fore", Propagation::Foreground)] {
        cluster.create(&gvr::DEPLOYMENTS, "default", deployment(name, 2, "nginx")).await;
        cluster.wait(&gvr::DEPLOYMENTS, "default", name, |d| complete(d, 2)).await;
        cluster.delete(&gvr::DEPLOYMENTS, "default", name, Some(propagation)).await;
        cluster.wait(&gvr::DEPLOYMENTS, "default", name, |d| d.is_none()).await;
        if propagation == Propagation::Foreground {
            assert!(cluster.list(&gvr::REPLICA_SETS, "default").await.is_empty(), "dependents went first");
        }
        cluster.wait_all(&gvr::PODS, |all| all.is_empty()).await;
        cluster.wait_all(&gvr::REPLICA_SETS, |all| all.is_empty()).await;
    }
    cluster.create(&gvr::DEPLOYMENTS, "default", deployment("stay", 2, "nginx")).await;
    cluster.wait(&gvr::DEPLOYMENTS, "default", "stay", |d| complete(d, 2)).await;
    cluster.delete(&gvr::DEPLOYMENTS, "default", "stay", Some(Propagation::Orphan)).await;
    cluster.wait(&gvr::DEPLOYMENTS, "default", "stay", |d| d.is_none()).await;
    let sets = cluster.list(&gvr::REPLICA_SETS, "default").await;
    assert_eq!(sets.len(), 1);
    assert!(sets[0]["metadata"]["ownerReferences"].is_null());
    assert_eq!(cluster.list(&gvr::PODS, "default").await.len(), 2);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn namespaces_get_what_they_need_and_go_with_all_they_hold() {
    let cluster = Cluster::new().await;
    let body = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}});
    cluster.create(&gvr::NAMESPACES, "", body).await;
    cluster.wait(&gvr::SERVICE_ACCOUNTS, "shop", "default", |account| account.is_some()).await;
    let ca = cluster.wait(&gvr::CONFIG_MAPS, "shop", "kube-root-ca.crt", |map| map.is_some()).await.unwrap();
    assert_eq!(ca["data"]["ca.crt"], "a certificate");
    cluster.patch(&gvr::CONFIG_MAPS, "shop", "kube-root-ca.crt", json!({"data": {"ca.crt": "forged"}})).await;
    let mended = |map: Option<&Value>| map.is_some_and(|map| map["data"]["ca.crt"] == "a certificate");
    cluster.wait(&gvr::CONFIG_MAPS, "shop", "kube-root-ca.crt", mended).await;
    cluster.create(&gvr::DEPLOYMENTS, "shop", deployment("web", 3, "nginx")).await;
    cluster.wait(&gvr::DEPLOYMENTS, "shop", "web", |d| complete(d, 3)).await;
    cluster.delete(&gvr::NAMESPACES, "", "shop", None).await;
    cluster.wait(&gvr::NAMESPACES, "", "shop", |namespace| namespace.is_none()).await;
    for resource in [&gvr::PODS, &gvr::DEPLOYMENTS, &gvr::REPLICA_SETS, &gvr::CONFIG_MAPS, &gvr::SERVICE_ACCOUNTS] {
        assert!(cluster.list(resource, "shop").await.is_empty(), "{resource} remain");
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn services_list_their_ready_pods_and_forget_them() {
    let cluster = Cluster::new().await;
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": "http"}]},
    });
    cluster.create(&gvr::SERVICES, "default", service).await;
    cluster.create(&gvr::DEPLOYMENTS, "default", deployment("web", 120, "nginx")).await;
    let ready = |slices: &[Value]| -> usize {
        let endpoints = slices.iter().flat_map(|slice| slice["endpoints"].as_array().cloned().unwrap_or_default());
        endpoints.filter(|endpoint| endpoint["conditions"]["ready"] == true).count()
    };
    let slices = cluster.wait_all(&gvr::ENDPOINT_SLICES, |slices| ready(slices) == 120).await;
    assert!(slices.iter().all(|slice| slice["endpoints"].as_array().unwrap().len() <= 100));
    assert_eq!(slices[0]["ports"][0]["port"], 80);
    assert_eq!(slices[0]["metadata"]["labels"]["kubernetes.io/service-name"], "web");
    let addresses = |endpoints: Option<&Value>| -> usize {
        endpoints.map_or(0, |e| e["subsets"][0]["addresses"].as_array().map_or(0, Vec::len))
    };
    cluster.wait(&gvr::ENDPOINTS, "default", "web", |endpoints| addresses(endpoints) == 120).await;
    cluster.patch(&gvr::DEPLOYMENTS, "default", "web", json!({"spec": {"replicas": 1}})).await;
    cluster.wait(&gvr::ENDPOINTS, "default", "web", |endpoints| addresses(endpoints) == 1).await;
    let slices = cluster.wait_all(&gvr::ENDPOINT_SLICES, |slices| {
        let all: usize = slices.iter().map(|slice| slice["endpoints"].as_array().map_or(0, Vec::len)).sum();
        all == 1 && slices.len() == 1
    });
    slices.await;
    cluster.delete(&gvr::SERVICES, "default", "web", None).await;
    cluster.wait_all(&gvr::ENDPOINT_SLICES, |slices| slices.is_empty()).await;
    cluster.wait(&gvr::ENDPOINTS, "default", "web", |endpoints| endpoints.is_none()).await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_node_is_unknown_and_tainted_and_comes_back() {
    let grace = Duration::from_millis(600);
    let cluster = Cluster::with(|config| config.node_grace = grace, Duration::from_millis(50)).await;
    cluster.create(&gvr::DEPLOYMENTS, "default", deployment("web", 3, "nginx")).await;
    cluster.wait(&gvr::DEPLOYMENTS, "default", "web", |d| complete(d, 3)).await;
    let taints = |node: &Value| -> Vec<String> {
        let taints = node["spec"]["taints"].as_array().cloned().unwrap_or_default();
        let text = |taint: &Value, field: &str| taint[field].as_str().unwrap_or_default().to_owned();
        taints.iter().map(|taint| format!("{}:{}", text(taint, "key"), text(taint, "effect"))).collect()
    };
    cluster.fleet.silence(1, true);
    let lost = |node: Option<&Value>| {
        node.is_some_and(|node| {
            let has = taints(node);
            condition(node, "Ready")["status"] == "Unknown"
                && has.contains(&"node.kubernetes.io/unreachable:NoSchedule".to_owned())
                && has.contains(&"node.kubernetes.io/unreachable:NoExecute".to_owned())
        })
    };
    let node = cluster.wait(&gvr::NODES, "", "node-1", lost).await.unwrap();
    assert_eq!(condition(&node, "Ready")["message"], "Kubelet stopped posting node status.");
    // Its pods no longer count as ready, but the node may come back: they stay for their toleration's 300 s.
    let unready = |pods: &[Value]| {
        let there = |pod: &&Value| pod["spec"]["nodeName"] == "node-1";
        pods.iter().filter(there).all(|pod| condition(pod, "Ready")["status"] == "False")
    };
    let pods = cluster.wait_all(&gvr::PODS, unready).await;
    assert_eq!(pods.len(), 3);
    cluster.fleet.silence(1, false);
    let back = |node: Option<&Value>| {
        node.is_some_and(|node| condition(node, "Ready")["status"] == "True" && taints(node).is_empty())
    };
    cluster.wait(&gvr::NODES, "", "node-1", back).await;
    cluster.wait(&gvr::DEPLOYMENTS, "default", "web", |d| complete(d, 3)).await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn taints_expel_pods_that_do_not_tolerate_them() {
    let cluster = Cluster::new().await;
    cluster.create(&gvr::DEPLOYMENTS, "default", deployment("web", 3, "nginx")).await;
    cluster.wait(&gvr::DEPLOYMENTS, "default", "web", |d| complete(d, 3)).await;
    let before = cluster.list(&gvr::PODS, "default").await;
    let victim = before.iter().find(|pod| pod["spec"]["nodeName"] == "node-2").unwrap();
    let name = victim["metadata"]["name"].as_str().unwrap().to_owned();
    let taint = json!({"spec": {"taints": [{"key": "broken", "effect": "NoExecute"}]}});
    cluster.patch(&gvr::NODES, "", "node-2", taint).await;
    cluster.wait(&gvr::PODS, "default", &name, |pod| pod.is_none()).await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn budgets_say_how_many_pods_may_go() {
    let cluster = Cluster::new().await;
    cluster.create(&gvr::DEPLOYMENTS, "default", deployment("web", 4, "nginx")).await;
    let budget = json!({
        "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "web"},
        "spec": {"maxUnavailable": "25%", "selector": {"matchLabels": {"app": "web"}}},
    });
    cluster.create(&gvr::POD_DISRUPTION_BUDGETS, "default", budget).await;
    let allows = |allowed: i64| {
        move |budget: Option<&Value>| {
            budget.is_some_and(|budget| {
                budget["status"]["disruptionsAllowed"] == allowed && budget["status"]["expectedPods"] == 4
            })
        }
    };
    let status = cluster.wait(&gvr::POD_DISRUPTION_BUDGETS, "default", "web", allows(1)).await.unwrap();
    assert_eq!(status["status"]["desiredHealthy"], 3);
    assert_eq!(condition(&status, "DisruptionAllowed")["reason"], "SufficientPods");
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quota_counts_its_namespace_refuses_what_it_has_no_room_for_and_gets_room_back() {
    static QUOTAS: GroupVersionResource = GroupVersionResource::of("", "v1", "resourcequotas");
    let cluster = Cluster::new().await;
    let map = |name: &str| json!({"metadata": {"name": name}, "data": {}});
    let used =
        |quota: Option<&Value>| quota.and_then(|q| q["status"]["used"]["count/configmaps"].as_str().map(str::to_owned));
    let quota = json!({"metadata": {"name": "q"}, "spec": {"hard": {"count/configmaps": "2", "pods": "1"}}});
    cluster.create(&gvr::CONFIG_MAPS, "default", map("a")).await;
    cluster.create(&QUOTAS, "default", quota).await;
    let counted = cluster.wait(&QUOTAS, "default", "q", |q| used(q).is_some()).await.unwrap();
    assert_eq!(counted["status"]["hard"], json!({"count/configmaps": "2", "pods": "1"}));
    let before: usize = used(Some(&counted)).unwrap().parse().unwrap();
    let room = 2 - before;
    for n in 0..room {
        cluster.create(&gvr::CONFIG_MAPS, "default", map(&format!("more-{n}"))).await;
    }
    // Charged in the creation's own transaction: no loop had to look.
    cluster.wait(&QUOTAS, "default", "q", |q| used(q).as_deref() == Some("2")).await;
    let over = gantry_machinery::value!({"metadata": {"name": "over"}});
    let target = Target::object(&gvr::CONFIG_MAPS, "default", "");
    let refused = cluster.api.create(&target, over, &WriteOptions::default()).await.unwrap_err();
    assert_eq!(
        refused.message,
        "configmaps \"over\" is forbidden: exceeded quota: q, requested: count/configmaps=1, used: count/configmaps=2, \
         limited: count/configmaps=2"
    );
    cluster.delete(&gvr::CONFIG_MAPS, "default", "a", None).await;
    cluster.wait(&QUOTAS, "default", "q", |q| used(q).as_deref() == Some("1")).await;
    cluster.create(&gvr::CONFIG_MAPS, "default", map("over")).await;
    cluster.stop().await;
}
