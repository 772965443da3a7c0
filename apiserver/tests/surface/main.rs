//! Every resource that discovery names, by every verb, in every format: what a client of any kind may ask of any kind of
//! object. Driven by the served discovery and `manifests.yaml`; a kind without a manifest fails.
//!
//! ```text
//! create (JSON, YAML, protobuf) → get → lists and watches in every format and shape → update → four patches → dry run
//!   → what hangs below → delete → deletecollection; and what must be refused
//! ```
//!
//! Resources of a definition's making are walked like any other.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../support/client.rs"]
mod client;
mod format;
mod lists;
mod negotiation;
mod subresources;
mod walk;

use std::sync::Arc;

use client::Client;
use format::Format;
use gantry_apiserver::config::Config;
use gantry_apiserver::registry::Registry;
use gantry_apiserver::registry::describe::{FacetReader, indexed_fields};
use gantry_apiserver::registry::kinds;
use gantry_apiserver::registry::runtime_config::RuntimeConfig;
use gantry_apiserver::registry::table::Table;
use gantry_apiserver::server::{ApiServer, Running};
use gantry_machinery::codec::yaml;
use gantry_machinery::feature::{Gate, Gates};
use gantry_machinery::value::Value;
use gantry_store_cache::config::{ExecutorKind, StoreConfig};
use gantry_store_cache::store::Store;
use tempfile::TempDir;
use walk::{Served, Walk};

/// What the walk passes over, and why.
const PASSED_OVER: [(&str, &str); 2] =
    [("bindings", "the older path of what hangs below pods as `binding`"), ("componentstatuses", "nobody writes them")];

/// A kind of one's own in two versions, with all that hangs below.
const DEFINITION: &str = r#"
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: crontabs.walk.example.com}
spec:
  group: walk.example.com
  scope: Namespaced
  names: {plural: crontabs, kind: CronTab}
  versions:
  - &version
    name: v1
    served: true
    storage: true
    subresources: {status: {}, scale: {specReplicasPath: .spec.replicas, statusReplicasPath: .status.replicas}}
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec: {type: object, required: [at], properties: {at: {type: string}, replicas: {type: integer, default: 1}}}
          status: {type: object, properties: {replicas: {type: integer}}}
  - {<<: *version, name: v1beta1, storage: false}
"#;

/// Events that a server keeps where a test does not care.
const EVENTS: usize = 10_000;

/// A server with an administrator's connection to it.
struct Server {
    client: Client,
    store: Store,
    _running: Running,
    _dir: TempDir,
}

impl Server {
    async fn start() -> Self {
        Self::remembering(EVENTS).await
    }

    /// A server that keeps this many events of each kind for watches and lists of the past.
    async fn remembering(events: usize) -> Self {
        Self::serving(Table::new(kinds::all()), events).await
    }

    async fn serving(table: Table, events: usize) -> Self {
        let dir = TempDir::new().unwrap();
        let mut config = Config::new(dir.path().join("pki"));
        config.bind_address = [127, 0, 0, 1].into();
        config.secure_port = 0;
        let store = StoreConfig {
            shards: 2,
            executors: ExecutorKind::Inline,
            window_events_max: events,
            indexed_fields: indexed_fields(),
            ..StoreConfig::default()
        };
        let describe = Arc::new(FacetReader::new(Table::new(kinds::all())));
        let store = Store::open(store, describe, Vec::new()).unwrap();
        let registry = Registry::new(store.clone(), table);
        let running = ApiServer::start(config, registry).await.unwrap();
        let pki = running.pki();
        let client = Client::connect_http2(running.address(), &pki.ca.certificate, Some(&pki.admin)).await;
        Self { client, store, _running: running, _dir: dir }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_resource_by_every_verb_in_every_format() {
    walk_all(Server::start().await).await;
}

/// With the versions that are off unless they are asked for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_resource_of_every_version() {
    let every = RuntimeConfig::parse(["api/all=true"]).unwrap();
    let gates = Gate::ALL.into_iter().fold(Gates::default(), |gates, gate| gates.with(gate, true));
    walk_all(Server::serving(Table::served(&every, gates), EVENTS).await).await;
}

async fn walk_all(mut server: Server) {
    let client = &mut server.client;
    let manifests = yaml::parse(include_bytes!("manifests.yaml")).unwrap();

    // Pods run as somebody.
    let account = r#"{"metadata":{"name":"default"}}"#;
    client.send("POST", "/api/v1/namespaces/default/serviceaccounts", &[], account).await;
    define(client).await;
    let served = discovered(client).await;
    assert!(served.len() > 30, "discovery names only {} resources", served.len());
    let mut walks = Vec::new();
    let mut faults = Vec::new();
    for resource in served {
        let collection = resource.collection();
        if PASSED_OVER.iter().any(|(passed, _)| *passed == collection) {
            continue;
        }
        let of_version = format!("{collection}/{}", resource.version);
        let Some(manifest) = manifests.get(&of_version).or_else(|| manifests.get(&collection)) else {
            faults.push(format!("{collection}: no manifest in tests/surface/manifests.yaml"));
            continue;
        };
        let walk = Walk::new(client.another(), resource, manifest.clone());
        walks.push(tokio::spawn(walk.all()));
    }
    let walked = walks.len();
    for walk in walks {
        faults.extend(walk.await.unwrap());
    }
    assert!(faults.is_empty(), "{walked} resources walked, {} faults:\n{}", faults.len(), faults.join("\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_walk_passes_over_in_every_format() {
    let mut server = Server::start().await;
    let pods = "/api/v1/namespaces/default/pods";
    let account = r#"{"metadata":{"name":"default"}}"#;
    server.client.send("POST", "/api/v1/namespaces/default/serviceaccounts", &[], account).await;
    for format in Format::ALL {
        let headers = [("content-type", format.media_type()), ("accept", format.media_type())];
        let name = format!("bound-{format:?}").to_lowercase();
        let pod = format!(r#"{{"metadata":{{"name":"{name}"}},"spec":{{"containers":[{{"name":"c","image":"i"}}]}}}}"#);
        assert_eq!(server.client.send("POST", pods, &[], pod).await.code, 201);
        let binding = gantry_machinery::value!({
            "apiVersion": "v1", "kind": "Binding", "metadata": {"name": (name.as_str())},
            "target": {"apiVersion": "v1", "kind": "Node", "name": "n"},
        });
        let path = "/api/v1/namespaces/default/bindings";
        let answer = server.client.send("POST", path, &headers, format.write(&binding)).await;
        let status = format.read(&answer.body).unwrap();
        assert_eq!((answer.code, status.str_at(&["status"])), (201, Some("Success")), "{format:?} {status:?}");
        let bound = server.client.get(&format!("{pods}/{name}")).await.json();
        assert_eq!(bound["spec"]["nodeName"], "n");

        let list = server.client.send("GET", "/api/v1/componentstatuses", &headers, "").await;
        let list = format.read(&list.body).unwrap();
        assert_eq!(list.str_at(&["kind"]), Some("ComponentStatusList"));
        let one = list.array_at(&["items"])[0].str_at(&["metadata", "name"]).unwrap().to_owned();
        let answer = server.client.send("GET", &format!("/api/v1/componentstatuses/{one}"), &headers, "").await;
        let got = format.read(&answer.body).unwrap();
        assert_eq!((answer.code, got.str_at(&["metadata", "name"])), (200, Some(one.as_str())), "{got:?}");
    }
}

/// Makes the definition, and waits until it is established.
async fn define(client: &mut Client) {
    let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    let answer = client.send("POST", path, &[("content-type", "application/yaml")], DEFINITION).await;
    assert_eq!(answer.code, 201, "{}", answer.text());
    let path = format!("{path}?watch=1&fieldSelector=metadata.name%3Dcrontabs.walk.example.com");
    let established = |read: &[u8]| {
        let is = |line: &[u8]| {
            let event: serde_json::Value = serde_json::from_slice(line).unwrap_or_default();
            let conditions = event["object"]["status"]["conditions"].as_array().cloned().unwrap_or_default();
            conditions.iter().any(|c| c["type"] == "Established" && c["status"] == "True")
        };
        read.split(|b| *b == b'\n').any(is)
    };
    client.beginning(&path, &[], established).await;
}

/// Every resource of every served group and version.
async fn discovered(client: &mut Client) -> Vec<Served> {
    let mut versions = vec![("api/v1".to_owned(), String::new(), "v1".to_owned())];
    for group in client.get("/apis").await.json()["groups"].as_array().unwrap() {
        for version in group["versions"].as_array().unwrap() {
            let path = format!("apis/{}", version["groupVersion"].as_str().unwrap());
            let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
            versions.push((path, text(&group["name"]), text(&version["version"])));
        }
    }
    let mut served = Vec::new();
    for (path, group, version) in versions {
        let list = client.get(&format!("/{path}")).await.json();
        let resources = list["resources"].as_array().unwrap_or_else(|| panic!("{path}: {list}"));
        let verbs = |row: &serde_json::Value| -> Vec<String> {
            row["verbs"].as_array().unwrap().iter().map(|v| v.as_str().unwrap().to_owned()).collect()
        };
        for row in resources {
            let name = row["name"].as_str().unwrap();
            if name.contains('/') {
                continue;
            }
            let of_it = |row: &&serde_json::Value| row["name"].as_str().unwrap().starts_with(&format!("{name}/"));
            served.push(Served {
                path: path.clone(),
                group: group.clone(),
                version: version.clone(),
                plural: name.to_owned(),
                kind: row["kind"].as_str().unwrap().to_owned(),
                namespaced: row["namespaced"] == true,
                verbs: verbs(row),
                subresources: resources
                    .iter()
                    .filter(of_it)
                    .map(|row| (row["name"].as_str().unwrap()[name.len() + 1..].to_owned(), verbs(row)))
                    .collect(),
            });
        }
    }
    served
}

/// A certificate request, base64 of its PEM, as manifests cannot hold one.
fn certificate_request() -> Value {
    use base64::Engine;
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(rcgen::DnType::CommonName, "surface");
    let pem = params.serialize_request(&key).unwrap().pem().unwrap();
    Value::from(base64::engine::general_purpose::STANDARD.encode(pem))
}
