//! Evictions and the budgets they ask; tokens.

use std::sync::Arc;

use gantry_apiserver::registry::token::{IssuedToken, TokenClaims, TokenIssuer};
use gantry_machinery::codec::json;
use gantry_machinery::resource::gvr;
use gantry_machinery::resource_api::{Binding, ResourceApi, Target, WriteOptions};
use gantry_machinery::status::Status;
use gantry_machinery::value;
use gantry_machinery::value::Value;
use gantry_store_cache::key::ObjectKey;
use gantry_store_cache::object::{Facets, NewBody};
use gantry_store_cache::txn::{Expect, Txn, Write};

use crate::support::{Cluster, pod, told, value};

fn eviction(pod: &str) -> Value {
    value!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod}})
}

async fn evict(cluster: &Cluster, pod: &str) -> Result<(), Status> {
    let target = Target::object(&gvr::PODS, "default", pod).sub("eviction");
    cluster.api.create(&target, eviction(pod), &WriteOptions::default()).await.map(|_| ())
}

/// A budget as its controller would leave it; written past the registry, so that no kind is needed for it.
async fn budget(cluster: &Cluster, name: &str, allowed: i64) {
    let object = value!({
        "metadata": {"name": name, "namespace": "default", "generation": 1},
        "spec": {"selector": {"matchLabels": {"app": "web"}}},
        "status": {"observedGeneration": 1, "disruptionsAllowed": allowed, "desiredHealthy": 2, "currentHealthy": 2},
    });
    let body = NewBody { bytes: json::encode(&object), revision_slot: None };
    let key = ObjectKey::new("poddisruptionbudgets.policy", "default", name);
    let write = Write::Put { body, facets: Facets::default(), ttl: None };
    cluster.registry.store().commit(Txn::one(key, Expect::Any, write)).await.unwrap();
}

async fn running(cluster: &Cluster, name: &str) {
    cluster.create(&gvr::PODS, "default", pod(name)).await.unwrap();
    let binding = Binding { namespace: "default".into(), name: name.into(), uid: String::new(), node: "n1".into() };
    assert_eq!(cluster.api.bind_batch(vec![binding]).await, [Ok(())]);
    let mut object = value(&cluster.get(&gvr::PODS, name).await.unwrap());
    object.set(&["status", "phase"], "Running");
    object.set(&["status", "conditions"], value!([{"type": "Ready", "status": "True"}]));
    let target = Target::object(&gvr::PODS, "default", name).sub("status");
    cluster.api.update(&target, object, &WriteOptions::default()).await.unwrap();
}

#[tokio::test]
async fn a_budget_lets_through_what_it_allows() {
    let cluster = Cluster::new().await;
    running(&cluster, "a").await;
    running(&cluster, "b").await;
    budget(&cluster, "pdb", 1).await;
    evict(&cluster, "a").await.unwrap();
    let marked = value(&cluster.get(&gvr::PODS, "a").await.unwrap());
    assert!(marked.at(&["metadata", "deletionTimestamp"]).is_some());
    let status = evict(&cluster, "b").await.unwrap_err();
    assert_eq!((status.code, status.reason), (429, "TooManyRequests"));
    assert_eq!(status.message, "Cannot evict pod as it would violate the pod's disruption budget.");
    let cause = &status.details.as_ref().unwrap().causes[0];
    assert_eq!(cause.reason, "DisruptionBudget");
    assert_eq!(cause.message, "The disruption budget pdb needs 2 healthy pods and has 2 currently");
    let kept = value(&cluster.get(&gvr::PODS, "b").await.unwrap());
    assert!(kept.at(&["metadata", "deletionTimestamp"]).is_none());
    budget(&cluster, "second", 1).await;
    assert_eq!(told(evict(&cluster, "b").await).0, 500, "two budgets for one pod");
}

#[tokio::test]
async fn pods_that_do_not_count_go_without_asking() {
    let cluster = Cluster::new().await;
    budget(&cluster, "pdb", 0).await;
    cluster.create(&gvr::PODS, "default", pod("pending")).await.unwrap();
    evict(&cluster, "pending").await.unwrap();
    assert_eq!(told(cluster.get(&gvr::PODS, "pending").await).0, 404);
    assert_eq!(told(evict(&cluster, "none").await).0, 404);
}

struct Issuer;

impl TokenIssuer for Issuer {
    fn issue(&self, claims: &TokenClaims) -> Result<IssuedToken, Status> {
        Ok(IssuedToken {
            token: format!("{}/{}", claims.namespace, claims.account),
            audiences: vec!["api".into()],
            expiration_seconds: claims.expiration_seconds,
            expires_at: 1_000_000_000,
        })
    }
}

#[tokio::test]
async fn a_token_request_is_checked_then_signed() {
    let cluster = Cluster::new().await;
    let target = Target::object(&gvr::SERVICE_ACCOUNTS, "default", "default").sub("token");
    let asked = |spec: Value| value!({"spec": spec});
    let options = WriteOptions::default();
    let unsigned = cluster.api.create(&target, asked(value!({})), &options).await;
    assert_eq!(told(unsigned).0, 503);
    cluster.registry.set_token_issuer(Arc::new(Issuer));
    let token = value(&cluster.api.create(&target, asked(value!({"expirationSeconds": 600})), &options).await.unwrap());
    assert_eq!(token.str_at(&["status", "token"]), Some("default/default"));
    assert_eq!(token.str_at(&["status", "expirationTimestamp"]), Some("2001-09-09T01:46:40Z"));
    let brief = cluster.api.create(&target, asked(value!({"expirationSeconds": 5})), &options).await;
    let text = "TokenRequest.authentication.k8s.io \"default\" is invalid: spec.expirationSeconds: Invalid value: 5: may \
                not specify a duration less than 10 minutes";
    assert_eq!(told(brief), (422, "Invalid", text.into()));
    let bound = value!({"boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": "none"}});
    assert_eq!(told(cluster.api.create(&target, asked(bound), &options).await).0, 404);
}

#[tokio::test]
async fn what_needs_a_node_says_why_it_is_not_there() {
    let cluster = Cluster::new().await;
    cluster.create(&gvr::PODS, "default", pod("a")).await.unwrap();
    let target = Target::object(&gvr::PODS, "default", "a").sub("log");
    let (code, reason, message) = told(cluster.api.get(&target).await);
    assert_eq!((code, reason, message.as_str()), (400, "BadRequest", "pod a does not have a host assigned"));
    let binding = Binding { namespace: "default".into(), name: "a".into(), uid: String::new(), node: "n1".into() };
    cluster.api.bind_batch(vec![binding]).await;
    let (code, _, message) = told(cluster.api.get(&target).await);
    assert_eq!(code, 501);
    assert_eq!(message, "pod \"a\" on simulated node \"n1\" has no logs: its containers are simulated");
}
