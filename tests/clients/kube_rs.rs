//! kube-rs asks, through its `Api` of dynamic objects.

use std::collections::BTreeMap;

use futures_util::TryStreamExt;
use kube::api::{
    ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams, PostParams,
    Preconditions, PropagationPolicy, ValidationDirective, VersionMatch, WatchParams,
};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client as KubeClient, Config, Error};
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::Client;
use crate::cluster::Cluster;
use crate::outcome::Outcome;
use crate::request::{Kind, Request, Verb};

/// A kube-rs client as the cluster's kubeconfig has it.
pub(crate) async fn client(cluster: &Cluster) -> KubeClient {
    let kubeconfig = Kubeconfig::read_from(cluster.kubeconfig()).unwrap();
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
    KubeClient::try_from(config).unwrap()
}

/// kube-rs with a runtime of its own.
pub(crate) struct KubeRs {
    runtime: Runtime,
    client: KubeClient,
}

impl KubeRs {
    pub(crate) fn new(cluster: &Cluster) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let client = runtime.block_on(client(cluster));
        Self { runtime, client }
    }

    fn api(&self, kind: &Kind, namespace: &str) -> Api<DynamicObject> {
        let (group, version) = kind.group_version();
        let gvk = GroupVersionKind::gvk(group, version, &kind.kind);
        let resource = ApiResource::from_gvk_with_plural(&gvk, &kind.plural);
        match kind.namespaced {
            true => Api::namespaced_with(self.client.clone(), namespace, &resource),
            false => Api::all_with(self.client.clone(), &resource),
        }
    }
}

impl Client for KubeRs {
    fn ask(&mut self, request: &Request) -> Outcome {
        match self.runtime.block_on(asked(&self.api(&request.kind, &request.namespace), request)) {
            Ok(outcome) => outcome,
            Err(Error::Api(status)) => Outcome::Refused(serde_json::to_value(*status).unwrap()),
            Err(other) => panic!("{request:?}: {other}"),
        }
    }
}

async fn asked(api: &Api<DynamicObject>, request: &Request) -> Result<Outcome, Error> {
    let Request { verb, name, body, query, .. } = request;
    let subresource = request.subresource.as_deref();
    let dry_run = query.contains_key("dryRun");
    let field_manager = query.get("fieldManager").cloned();
    let post = PostParams { dry_run, field_manager: field_manager.clone() };
    let object = || serde_json::from_value::<DynamicObject>(body.clone()).unwrap();
    let answer = match (verb, subresource) {
        (Verb::Create, _) => value(api.create(&post, &object()).await?),
        (Verb::Get, None) => value(api.get(name).await?),
        (Verb::Get, Some("scale")) => value(api.get_scale(name).await?),
        (Verb::Get, Some(subresource)) => value(api.get_subresource(subresource, name).await?),
        (Verb::List, _) => value(api.list(&listed(query)).await?),
        (Verb::Replace, None) => value(api.replace(name, &post, &object()).await?),
        (Verb::Replace, Some("scale")) => {
            value(api.replace_scale(name, &post, &serde_json::from_value(body.clone()).unwrap()).await?)
        }
        (Verb::Replace, Some(subresource)) => {
            value(api.replace_subresource(subresource, name, &post, &object()).await?)
        }
        (Verb::Patch(_) | Verb::Apply, subresource) => {
            let validation = query.get("fieldValidation").map(|_| ValidationDirective::Strict);
            let force = query.contains_key("force");
            let params = PatchParams { dry_run, force, field_manager, field_validation: validation };
            let patch = patch(*verb, body);
            value(match subresource {
                None => api.patch(name, &params, &patch).await?,
                Some(subresource) => api.patch_subresource(subresource, name, &params, &patch).await?,
            })
        }
        (Verb::Delete, _) => {
            let gone = api.delete(name, &deletion(body)).await?;
            gone.either(value, value)
        }
        (Verb::DeleteAll, _) => {
            let gone = api.delete_collection(&DeleteParams::default(), &listed(query)).await?;
            gone.either(value, value)
        }
        (Verb::Watch, _) => {
            let text = |name: &str| query.get(name).map(String::as_str);
            let params = WatchParams {
                label_selector: text("labelSelector").map(Into::into),
                timeout: text("timeoutSeconds").map(|seconds| seconds.parse().unwrap()),
                bookmarks: text("allowWatchBookmarks").is_some(),
                send_initial_events: text("sendInitialEvents").is_some(),
                ..WatchParams::default()
            };
            let events = api.watch(&params, text("resourceVersion").unwrap_or_default()).await?;
            let mut brought = Vec::new();
            let mut events = std::pin::pin!(events);
            while brought.len() < request.events {
                match events.try_next().await? {
                    Some(event) => brought.push(value(event)),
                    None => break,
                }
            }
            return Ok(Outcome::Brought(brought));
        }
    };
    Ok(Outcome::Answered(answer))
}

fn value(answer: impl serde::Serialize) -> Value {
    serde_json::to_value(answer).unwrap()
}

fn patch(verb: Verb, body: &Value) -> Patch<Value> {
    let body = body.clone();
    match verb {
        Verb::Patch("merge") => Patch::Merge(body),
        Verb::Patch("strategic") => Patch::Strategic(body),
        Verb::Patch(_) => Patch::Json(serde_json::from_value(body).unwrap()),
        _ => Patch::Apply(body),
    }
}

fn listed(query: &BTreeMap<String, String>) -> ListParams {
    let text = |name: &str| query.get(name).cloned();
    ListParams {
        label_selector: text("labelSelector"),
        field_selector: text("fieldSelector"),
        limit: text("limit").map(|limit| limit.parse().unwrap()),
        continue_token: text("continue"),
        resource_version: text("resourceVersion"),
        version_match: text("resourceVersionMatch").map(|matching| match matching.as_str() {
            "Exact" => VersionMatch::Exact,
            _ => VersionMatch::NotOlderThan,
        }),
        ..ListParams::default()
    }
}

fn deletion(body: &Value) -> DeleteParams {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    DeleteParams {
        dry_run: body["dryRun"].is_array(),
        grace_period_seconds: body["gracePeriodSeconds"].as_u64().map(|seconds| seconds.try_into().unwrap()),
        propagation_policy: match body["propagationPolicy"].as_str() {
            Some("Foreground") => Some(PropagationPolicy::Foreground),
            Some("Orphan") => Some(PropagationPolicy::Orphan),
            Some(_) => Some(PropagationPolicy::Background),
            None => None,
        },
        preconditions: body["preconditions"].is_object().then(|| Preconditions {
            resource_version: text(&body["preconditions"]["resourceVersion"]),
            uid: text(&body["preconditions"]["uid"]),
        }),
    }
}
