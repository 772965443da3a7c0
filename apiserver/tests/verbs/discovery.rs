//! What discovery promises is there: every resource of the generated table, every verb of every resource, and nothing
//! that was switched off.

use gantry_apiserver::registry::Registry;
use gantry_apiserver::registry::request::RequestContext;
use gantry_apiserver::registry::runtime_config::RuntimeConfig;
use gantry_apiserver::registry::table::Table;
use gantry_machinery::feature::Gates;
use gantry_machinery::resource::{self, GroupVersionResource, Resource};
use gantry_machinery::resource_api::{
    Collection, DeleteOptions, ListOptions, PatchBody, PatchKind, ResourceApi, Target, WatchOptions, WriteOptions,
};
use gantry_machinery::status::Status;
use gantry_machinery::value::Value;

use super::support::Cluster;

/// Resources of the API that are not built; each is told of in the README.
const UNBUILT: &[(&str, &str)] = &[("apiextensions.k8s.io", "*")];

fn is_among(list: &[(&str, &str)], group: &str, name: &str) -> bool {
    list.iter().any(|(g, n)| *g == group && (*n == "*" || *n == name))
}

fn served(flag: &str) -> (Table, Vec<&'static Resource>) {
    let table = Table::served(&flag.parse::<RuntimeConfig>().unwrap(), Gates::default());
    let all = table.rows().iter().map(|row| row.gvr().clone());
    let all: Vec<GroupVersionResource> = all.chain(table.unstored().iter().map(|row| row.gvr.clone())).collect();
    let found = resource::table().iter().filter(|row| all.contains(&row.gvr)).collect();
    (table, found)
}

#[test]
fn the_default_api_is_the_generated_tables() {
    let (_, found) = served("");
    for row in resource::table().iter().filter(|row| row.is_stable()) {
        let there = found.iter().any(|r| r.gvr == row.gvr);
        assert!(there || is_among(UNBUILT, &row.gvr.group, &row.gvr.resource), "{} is not served", row.gvr);
    }
    assert!(found.iter().all(|row| row.is_stable()), "beta and alpha versions are off");
}

#[test]
fn everything_can_be_switched_on_and_off() {
    let (_, found) = served("api/all=true");
    for row in resource::table() {
        let there = found.iter().any(|r| r.gvr == row.gvr);
        let gvr = &row.gvr;
        let unbuilt = is_among(UNBUILT, &gvr.group, &gvr.resource);
        assert!(there || unbuilt, "{gvr} cannot be switched on");
    }
    let (table, _) = served("autoscaling/v2=false,authorization.k8s.io/v1/subjectaccessreviews=false");
    assert!(table.find("autoscaling", "v2", "horizontalpodautoscalers").is_none());
    assert!(table.find("autoscaling", "v1", "horizontalpodautoscalers").is_some(), "the other version stays");
    assert!(!table.serves_unstored("authorization.k8s.io", "v1", "subjectaccessreviews"));
    assert!(table.serves_unstored("authorization.k8s.io", "v1", "selfsubjectaccessreviews"));
}

#[test]
fn one_row_stands_for_each_collection() {
    let (table, _) = served("api/all=true");
    let mut names: Vec<&str> = table.collections().map(|row| row.collection.as_str()).collect();
    let all = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), all);
    assert!(table.collections().all(|row| row.strategy.version().is_none()), "the stored version is the one");
}

/// Asks for a verb on an object that does not exist; gives what came of it.
async fn ask(api: &dyn ResourceApi, row: &Resource, verb: &str, subresource: &str) -> Result<(), Status> {
    let namespace = if row.namespaced { "default" } else { "" };
    let target = Target { resource: &row.gvr, namespace, name: "no-such-object", subresource };
    let collection = Collection { resource: &row.gvr, namespace };
    let options = WriteOptions { dry_run: true, ..WriteOptions::default() };
    let gone = DeleteOptions { dry_run: true, ..DeleteOptions::default() };
    match verb {
        "get" => api.get(&target).await.map(drop),
        "list" => api.list(&collection, &ListOptions::default()).await.map(drop),
        "watch" => api.watch(&collection, &WatchOptions::default()).await.map(drop),
        "create" => api.create(&target, Value::object(), &options).await.map(drop),
        "update" => api.update(&target, Value::object(), &options).await.map(drop),
        "patch" => {
            let body = PatchBody { kind: PatchKind::Merge, body: "{}".into() };
            api.patch(&target, body, &options).await.map(drop)
        }
        "delete" => api.delete(&target, &gone).await.map(drop),
        "deletecollection" => api.delete_collection(&collection, &ListOptions::default(), &gone).await.map(drop),
        other => panic!("discovery names the verb {other}"),
    }
}

#[tokio::test]
async fn every_verb_that_discovery_names_is_there() {
    let cluster = Cluster::new().await;
    let table = Table::served(&"api/all=true".parse().unwrap(), Gates::default());
    let rows = table.rows().to_vec();
    let registry = Registry::new(cluster.registry.store().clone(), table);
    let api = registry.as_user(RequestContext::in_process("test"));
    let mut missing = Vec::new();
    for row in &rows {
        let row = &*row.resource;
        let subs = row.subresources.iter().map(|sub| (&*sub.name, &sub.verbs));
        for (subresource, verbs) in std::iter::once(("", &row.verbs)).chain(subs) {
            // What connects to a pod or a node has no verb of this door.
            if matches!(subresource, "log" | "exec" | "attach" | "portforward" | "proxy") {
                continue;
            }
            for verb in verbs.iter() {
                if let Err(status) = ask(&api, row, verb, subresource).await
                    && (status.code == 405 || status == Status::no_such_resource())
                {
                    missing.push(format!("{verb} {}/{subresource}: {}", row.gvr, status.message));
                }
            }
        }
    }
    assert_eq!(missing, Vec::<String>::new());
}
