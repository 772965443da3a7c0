//! What is charged for objects of each kind, and what scopes hold.

use super::*;
use crate::value;

fn told(collection: &str, object: &Value) -> Vec<String> {
    usage(collection, object, 0).iter().map(|(resource, amount)| format!("{resource}={amount}")).collect()
}

#[test]
fn a_pod_costs_what_it_asks_for_as_a_whole() {
    let pod = value!({"spec": {
        "containers": [
            {"name": "a", "resources": {"requests": {"cpu": "500m", "memory": "1Gi"}, "limits": {"cpu": "1"}}},
            {"name": "b", "resources": {"requests": {"cpu": "100m", "example.com/gpu": "1"}}},
        ],
        "initContainers": [
            {"name": "s", "restartPolicy": "Always", "resources": {"requests": {"cpu": "100m"}}},
            {"name": "i", "resources": {"requests": {"cpu": "2"}}},
        ],
        "overhead": {"cpu": "10m"},
    }});
    assert_eq!(
        told("pods", &pod),
        [
            "count/pods=1",
            "cpu=2110m",
            "limits.cpu=1010m",
            "memory=1Gi",
            "pods=1",
            "requests.cpu=2110m",
            "requests.example.com/gpu=1",
            "requests.memory=1Gi",
        ]
    );
}

#[test]
fn a_pod_that_has_ended_is_only_counted() {
    let ended = value!({"spec": {"containers": []}, "status": {"phase": "Succeeded"}});
    assert_eq!(told("pods", &ended), ["count/pods=1"]);
    let overdue = value!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z", "deletionGracePeriodSeconds": 30}});
    let at = |moment: &str| usage("pods", &overdue, crate::time::parse(moment).unwrap()).contains_key("pods");
    assert!(at("2026-01-01T00:00:29Z") && !at("2026-01-01T00:00:31Z"));
}

#[test]
fn services_claims_and_the_rest_cost_what_they_are() {
    let service = value!({"spec": {"type": "LoadBalancer", "ports": [{"port": 80}, {"port": 81}]}});
    assert_eq!(
        told("services", &service),
        ["count/services=1", "services=1", "services.loadbalancers=1", "services.nodeports=2"]
    );
    let claim = value!({"spec": {"storageClassName": "gold", "resources": {"requests": {"storage": "5Gi"}}}});
    assert_eq!(
        told(CLAIMS, &claim),
        [
            "count/persistentvolumeclaims=1",
            "gold.storageclass.storage.k8s.io/persistentvolumeclaims=1",
            "gold.storageclass.storage.k8s.io/requests.storage=5Gi",
            "persistentvolumeclaims=1",
            "requests.storage=5Gi",
        ]
    );
    assert_eq!(told("secrets", &value!({})), ["count/secrets=1", "secrets=1"]);
    assert_eq!(told("deployments.apps", &value!({})), ["count/deployments.apps=1"]);
}

#[test]
fn every_resource_is_drawn_on_by_one_kind() {
    for (resource, collection) in [
        ("pods", Some("pods")),
        ("limits.memory", Some("pods")),
        ("requests.example.com/gpu", Some("pods")),
        ("requests.storage", Some(CLAIMS)),
        ("gold.storageclass.storage.k8s.io/requests.storage", Some(CLAIMS)),
        ("services.nodeports", Some("services")),
        ("secrets", Some("secrets")),
        ("count/jobs.batch", Some("jobs.batch")),
        ("apples", None),
    ] {
        assert_eq!(drawn_on_by(resource), collection, "{resource}");
    }
}

#[test]
fn scopes_hold_the_pods_they_speak_of() {
    let quota = |scopes: Value| value!({"spec": {"scopes": scopes}});
    let idle = value!({"spec": {"containers": [{"name": "a"}]}});
    let busy = value!({"spec": {"activeDeadlineSeconds": 5, "priorityClassName": "high",
        "containers": [{"name": "a", "resources": {"requests": {"cpu": "1"}}}]}});
    for (scope, of_idle, of_busy) in [
        ("BestEffort", true, false),
        ("NotBestEffort", false, true),
        ("Terminating", false, true),
        ("NotTerminating", true, false),
        ("PriorityClass", false, true),
    ] {
        let quota = quota(value!([scope]));
        assert_eq!((in_scopes(&quota, "pods", &idle), in_scopes(&quota, "pods", &busy)), (of_idle, of_busy), "{scope}");
        assert!(!in_scopes(&quota, "services", &idle), "scopes are about pods");
    }
    let chosen = |operator: &str| {
        value!({"spec": {"scopeSelector": {"matchExpressions":
            [{"scopeName": "PriorityClass", "operator": operator, "values": ["high"]}]}}})
    };
    assert!(in_scopes(&chosen("In"), "pods", &busy) && !in_scopes(&chosen("In"), "pods", &idle));
    assert!(in_scopes(&chosen("NotIn"), "pods", &idle) && !in_scopes(&chosen("NotIn"), "pods", &busy));
}

#[test]
fn containers_must_name_the_cpu_and_memory_that_a_quota_is_about() {
    let pod = value!({"spec": {"containers": [
        {"name": "b", "resources": {"requests": {"cpu": "1"}}}, {"name": "a"}]}});
    let quota = ["requests.cpu", "limits.memory", "pods"];
    assert_eq!(missing("pods", &pod, quota.into_iter()).unwrap(), "limits.memory for: a,b; requests.cpu for: a");
    assert_eq!(missing("pods", &pod, ["pods"].into_iter()), None);
}
