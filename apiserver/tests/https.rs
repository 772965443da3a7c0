//! The API server over its socket: TLS, authentication, negotiation, errors, lists, watches and shutdown, as a client
//! without any library sees them.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/client.rs"]
mod client;

use std::sync::Arc;
use std::time::Duration;

use client::{Answer, Client};
use gantry_apiserver::config::Config;
use gantry_apiserver::registry::Registry;
use gantry_apiserver::registry::describe::FacetReader;
use gantry_apiserver::registry::kinds;
use gantry_apiserver::registry::table::Table;
use gantry_apiserver::server::{ApiServer, Running};
use gantry_machinery::client::kubeconfig::Kubeconfig;
use gantry_machinery::event::NewEvent;
use gantry_machinery::interchange::Part;
use gantry_machinery::recorder::{Severity, Subject};
use gantry_machinery::resource_api::{Binding, ResourceApi};
use gantry_store_cache::config::StoreConfig;
use gantry_store_cache::object::StoredObject;
use gantry_store_cache::projection::Projection;
use gantry_store_cache::store::Store;
use rkyv::util::AlignedVec;
use tempfile::TempDir;

/// Rows that are the names of pods and their nodes, with a dot between; pods called `hidden` have none.
struct Names;

impl Projection for Names {
    fn name(&self) -> &'static str {
        "test.names/1"
    }

    fn collection(&self) -> &'static str {
        "pods"
    }

    fn project(&self, object: &StoredObject, out: &mut AlignedVec) {
        if object.key.name() != "hidden" {
            let node = object.facets.field("spec.nodeName");
            out.extend_from_slice(format!("{}.{node}", object.key.name()).as_bytes());
        }
    }
}

struct Server {
    running: Running,
    _dir: TempDir,
}

impl Server {
    async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        let dir = TempDir::new().unwrap();
        let mut config = Config::new(dir.path().join("pki"));
        config.bind_address = [127, 0, 0, 1].into();
        config.secure_port = 0;
        std::fs::write(dir.path().join("tokens"), "jane-token,jane,1,dev\n").unwrap();
        config.token_auth_file = Some(dir.path().join("tokens"));
        change(&mut config);
        let describe = Arc::new(FacetReader::new(Table::new(kinds::all())));
        let store = Store::open(StoreConfig::default(), describe, vec![Arc::new(Names)]).unwrap();
        let registry = Registry::new(store, Table::new(kinds::all()));
        let running = ApiServer::start(config, registry).await.unwrap();
        Self { running, _dir: dir }
    }

    async fn admin(&self) -> Client {
        let pki = self.running.pki();
        Client::connect(self.running.address(), &pki.ca.certificate, Some(&pki.admin)).await
    }

    async fn stranger(&self) -> Client {
        Client::connect(self.running.address(), &self.running.pki().ca.certificate, None).await
    }
}

const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";

fn config_map(name: &str) -> String {
    format!(r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"{name}"}},"data":{{"a":"1"}}}}"#)
}

fn code(answer: &Answer) -> (u16, String) {
    (answer.code, answer.json()["message"].as_str().unwrap_or_default().to_owned())
}

#[tokio::test]
async fn objects_are_created_read_listed_changed_and_deleted() {
    let server = Server::start().await;
    let mut client = server.admin().await;
    let created = client.send("POST", CONFIG_MAPS, &[], config_map("one")).await;
    assert_eq!(created.code, 201, "{}", created.text());
    assert_eq!(created.header("cache-control"), "no-cache, private");
    assert_eq!(created.header("audit-id").len(), 36);
    let got = client.get(&format!("{CONFIG_MAPS}/one")).await;
    assert_eq!(got.json(), created.json());
    let listed = client.get(CONFIG_MAPS).await.json();
    assert_eq!(listed["kind"], "ConfigMapList");
    let names: Vec<&str> =
        listed["items"].as_array().unwrap().iter().map(|i| i["metadata"]["name"].as_str().unwrap()).collect();
    assert!(names.contains(&"one"), "{names:?}");
    let merge = [("content-type", "application/merge-patch+json")];
    let patched = client.send("PATCH", &format!("{CONFIG_MAPS}/one"), &merge, r#"{"data":{"b":"2"}}"#).await;
    assert_eq!((patched.code, &patched.json()["data"]["b"]), (200, &"2".into()));
    let deleted = client.send("DELETE", &format!("{CONFIG_MAPS}/one"), &[], "").await;
    assert_eq!((deleted.code, &deleted.json()["status"]), (200, &"Success".into()));
    let gone = client.get(&format!("{CONFIG_MAPS}/one")).await;
    assert_eq!(code(&gone), (404, "configmaps \"one\" not found".into()));
}

#[tokio::test]
async fn who_is_unknown_or_not_allowed_learns_nothing() {
    let server = Server::start().await;
    let mut stranger = server.stranger().await;
    let refused = stranger.get("/api/v1/namespaces/default/pods").await;
    let anonymous = "pods is forbidden: User \"system:anonymous\" cannot list resource \"pods\" in API group \"\" in \
                     the namespace \"default\"";
    assert_eq!(code(&refused), (403, anonymous.into()));
    let wrong = stranger.send("GET", "/api", &[("authorization", "Bearer wrong")], "").await;
    assert_eq!(code(&wrong), (401, "Unauthorized".into()));
    let jane = [("authorization", "Bearer jane-token")];
    let refused = stranger.send("GET", "/api/v1/nodes", &jane, "").await;
    assert!(code(&refused).1.contains("User \"jane\" cannot list resource \"nodes\""), "{refused:?}");
    let discovery = stranger.send("GET", "/apis", &jane, "").await;
    assert_eq!(discovery.code, 200, "everybody who is known may discover: {}", discovery.text());
    for path in ["/healthz", "/readyz", "/livez", "/version"] {
        assert_eq!(stranger.get(path).await.code, 200, "{path}");
    }
    assert_eq!(stranger.get("/metrics").await.code, 403);
}

#[tokio::test]
async fn a_strangers_certificate_gets_401_with_a_body() {
    let server = Server::start().await;
    let other = TempDir::new().unwrap();
    let now = gantry_apiserver::gate::token::unix_now();
    let pki = gantry_apiserver::pki::Pki::open(other.path(), &Default::default(), now).unwrap();
    let ca = &server.running.pki().ca.certificate;
    let mut client = Client::connect(server.running.address(), ca, Some(&pki.admin)).await;
    assert_eq!(code(&client.get("/api").await), (401, "Unauthorized".into()));
}

#[tokio::test]
async fn wrong_requests_get_upstreams_answers() {
    let server = Server::start().await;
    let mut client = server.admin().await;
    let missing = "the server could not find the requested resource";
    assert_eq!(code(&client.get("/api/v1/nothings").await), (404, missing.into()));
    assert_eq!(code(&client.get("/apis/apps/v9/deployments").await), (404, missing.into()));
    for path in ["/nothing", "/apis/nothing.example/v1/things", "/healthz/nothing"] {
        let answer = client.get(path).await;
        assert_eq!((answer.code, answer.text().as_str()), (404, "404 page not found\n"), "{path}");
        let headers = ["content-type", "x-content-type-options"].map(|name| answer.header(name));
        assert_eq!(headers, ["text/plain; charset=utf-8", "nosniff"]);
    }
    let method = client.send("PUT", CONFIG_MAPS, &[], "{}").await;
    assert_eq!(code(&method), (405, "the server does not allow this method on the requested resource".into()));
    let html = client.send("GET", CONFIG_MAPS, &[("accept", "text/html")], "").await;
    assert_eq!(html.code, 406);
    let media = client.send("POST", CONFIG_MAPS, &[("content-type", "text/plain")], "x").await;
    assert_eq!(media.code, 415);
    let patch = client.send("PATCH", &format!("{CONFIG_MAPS}/x"), &[("content-type", "application/json")], "{}").await;
    assert_eq!(patch.code, 415);
    let large = client.send("POST", CONFIG_MAPS, &[], "x".repeat(3 * 1024 * 1024 + 1)).await;
    assert_eq!(code(&large), (413, "Request entity too large: limit is 3145728".into()));
    let mut client = server.admin().await;
    let broken = client.send("POST", CONFIG_MAPS, &[], "{").await;
    assert_eq!(broken.code, 400);
    let limit = client.get(&format!("{CONFIG_MAPS}?limit=x")).await;
    assert_eq!(code(&limit), (400, "strconv.ParseInt: parsing \"x\": invalid syntax".into()));
}

#[tokio::test]
async fn tables_and_metadata_are_given_to_who_asks() {
    let server = Server::start().await;
    let mut client = server.admin().await;
    client.send("POST", CONFIG_MAPS, &[], config_map("one")).await;
    let table = [("accept", "application/json;as=Table;v=v1;g=meta.k8s.io,application/json")];
    let answer = client.send("GET", &format!("{CONFIG_MAPS}/one"), &table, "").await.json();
    assert_eq!((&answer["kind"], &answer["rows"][0]["cells"][0]), (&"Table".into(), &"one".into()));
    let listed = client.send("GET", CONFIG_MAPS, &table, "").await.json();
    assert_eq!(listed["columnDefinitions"][0]["name"], "Name");
    let metadata = [("accept", "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io")];
    let listed = client.send("GET", CONFIG_MAPS, &metadata, "").await.json();
    assert_eq!(listed["kind"], "PartialObjectMetadataList");
    assert!(listed["items"][0].get("data").is_none());
}

#[tokio::test]
async fn a_large_list_is_whole_in_every_encoding_and_protocol() {
    let server = Server::start().await;
    let mut client = server.admin().await;
    let value = "x".repeat(4000);
    for n in 0..200 {
        let body = config_map(&format!("c{n:03}")).replace("\"1\"", &format!("\"{value}\""));
        assert_eq!(client.send("POST", CONFIG_MAPS, &[], body).await.code, 201);
    }
    let plain = client.get(CONFIG_MAPS).await;
    assert!(plain.json()["items"].as_array().unwrap().len() >= 200);
    let packed = client.send("GET", CONFIG_MAPS, &[("accept-encoding", "gzip")], "").await;
    assert_eq!(packed.header("content-encoding"), "gzip");
    assert!(packed.body.len() < plain.body.len() / 2);
    assert_eq!(packed.gunzipped(), plain.body);
    let pki = server.running.pki();
    let mut http2 = Client::connect_http2(server.running.address(), &pki.ca.certificate, Some(&pki.admin)).await;
    assert_eq!(http2.get(CONFIG_MAPS).await.body, plain.body);
}

#[tokio::test]
async fn a_watch_shows_each_change_once_and_ends_cleanly_at_shutdown() {
    let server = Server::start().await;
    let mut client = server.admin().await;
    let version = client.get(CONFIG_MAPS).await.json()["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    let mut watch = server
        .admin()
        .await
        .open(&format!("{CONFIG_MAPS}?watch=1&resourceVersion={version}&allowWatchBookmarks=true"))
        .await;
    client.send("POST", CONFIG_MAPS, &[], config_map("one")).await;
    client.send("DELETE", &format!("{CONFIG_MAPS}/one"), &[], "").await;
    let mut seen = Vec::new();
    for _ in 0..2 {
        let event = watch.line().await.unwrap();
        seen.push((event["type"].as_str().unwrap().to_owned(), event["object"]["metadata"]["name"].clone()));
    }
    assert_eq!(seen, [("ADDED".to_owned(), "one".into()), ("DELETED".to_owned(), "one".into())]);
    server.running.stop().await;
    assert_eq!(watch.line().await, None, "the stream ends without an error");
}

#[tokio::test]
async fn a_streaming_list_ends_with_its_bookmark_and_tables_name_their_columns_once() {
    let server = Server::start().await;
    let mut client = server.admin().await;
    client.send("POST", CONFIG_MAPS, &[], config_map("one")).await;
    let query = "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true&fieldSelector=metadata.name%3Done";
    let mut watch = server.admin().await.open(&format!("{CONFIG_MAPS}?{query}")).await;
    assert_eq!(watch.line().await.unwrap()["type"], "ADDED");
    let bookmark = watch.line().await.unwrap();
    assert_eq!(bookmark["type"], "BOOKMARK");
    assert_eq!(bookmark["object"]["metadata"].get("creationTimestamp"), None, "left out since 1.34");
    assert_eq!(bookmark["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");

    let table = [("accept", "application/json;as=Table;v=v1;g=meta.k8s.io")];
    let path = format!("{CONFIG_MAPS}?watch=1&fieldSelector=metadata.name%3Done");
    let mut watch = server.admin().await.open_with(&path, &table).await;
    assert!(watch.line().await.unwrap()["object"]["columnDefinitions"].is_array());
    let merge = [("content-type", "application/merge-patch+json")];
    client.send("PATCH", &format!("{CONFIG_MAPS}/one"), &merge, r#"{"data":{"b":"2"}}"#).await;
    let event = watch.line().await.unwrap();
    assert_eq!(event["type"], "MODIFIED");
    assert!(event["object"]["columnDefinitions"].is_null(), "{event}");
}

#[tokio::test]
async fn reviews_answer_can_i_and_who_am_i() {
    let server = Server::start().await;
    let mut client = server.stranger().await;
    let jane = [("authorization", "Bearer jane-token")];
    let ask = r#"{"apiVersion":"authorization.k8s.io/v1","kind":"SelfSubjectAccessReview","spec":{"resourceAttributes":{"verb":"list","resource":"pods","namespace":"default"}}}"#;
    let answer = client.send("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", &jane, ask).await;
    assert_eq!((answer.code, &answer.json()["status"]["allowed"]), (201, &false.into()), "{}", answer.text());
    let who = r#"{"apiVersion":"authentication.k8s.io/v1","kind":"SelfSubjectReview"}"#;
    let answer = client.send("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", &jane, who).await;
    assert_eq!(answer.json()["status"]["userInfo"]["username"], "jane");
    let rules =
        r#"{"apiVersion":"authorization.k8s.io/v1","kind":"SelfSubjectRulesReview","spec":{"namespace":"default"}}"#;
    let answer = client.send("POST", "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews", &jane, rules).await;
    assert!(!answer.json()["status"]["resourceRules"].as_array().unwrap().is_empty(), "{}", answer.text());
}

#[tokio::test]
async fn health_metrics_and_discovery_answer() {
    let server = Server::start().await;
    let mut client = server.admin().await;
    let ready = client.get("/readyz?verbose").await;
    assert!(ready.text().ends_with("readyz check passed\n"), "{}", ready.text());
    assert!(client.get("/metrics").await.text().contains("apiserver_request_total{"));
    let core = client.get("/api/v1").await.json();
    assert!(core["resources"].as_array().unwrap().iter().any(|r| r["name"] == "configmaps"));
    assert_eq!(client.get("/version").await.json()["minor"], "36");
    assert_eq!(client.get("/openid/v1/jwks").await.json()["keys"][0]["kty"], "EC");
}

#[tokio::test]
async fn a_taken_port_is_one_clear_error() {
    let server = Server::start().await;
    let dir = TempDir::new().unwrap();
    let mut config = Config::new(dir.path());
    config.bind_address = [127, 0, 0, 1].into();
    config.secure_port = server.running.address().port();
    let store = Store::in_memory(Arc::new(FacetReader::new(Table::new(kinds::all()))));
    let registry = Registry::new(store, Table::new(kinds::all()));
    let Err(error) = ApiServer::start(config, registry).await else { panic!("it started") };
    assert!(error.to_string().contains("another process has the port"), "{error}");
}

#[tokio::test]
async fn a_client_that_says_nothing_does_not_hold_up_the_end() {
    let server = Server::start_with(|config| config.shutdown_grace = Duration::from_millis(200)).await;
    let _silent = tokio::net::TcpStream::connect(server.running.address()).await.unwrap();
    let _idle = server.admin().await;
    tokio::time::timeout(Duration::from_secs(20), server.running.stop()).await.expect("the server ends");
}

fn pod(name: &str) -> String {
    format!(
        r#"{{"apiVersion":"v1","kind":"Pod","metadata":{{"name":"{name}"}},"spec":{{"containers":[{{"name":"c","image":"i"}}]}}}}"#
    )
}

/// The rows of a part as texts, with `-` before those that are gone.
fn texts(part: &Part) -> Vec<String> {
    let text = |row: &gantry_machinery::interchange::Row| {
        let name = std::str::from_utf8(&row.archived).unwrap();
        if row.gone { format!("-{name}") } else { name.to_owned() }
    };
    part.rows.iter().map(text).collect()
}

#[tokio::test]
async fn another_process_reads_rows_and_binds_in_batches() {
    const PODS: &str = "/api/v1/namespaces/default/pods";
    let server = Server::start().await;
    let mut client = server.admin().await;
    let account = r#"{"apiVersion":"v1","kind":"ServiceAccount","metadata":{"name":"default"}}"#;
    assert_eq!(client.send("POST", "/api/v1/namespaces/default/serviceaccounts", &[], account).await.code, 201);
    for name in ["a", "b", "hidden"] {
        assert_eq!(client.send("POST", PODS, &[], pod(name)).await.code, 201);
    }
    let kubeconfig = server._dir.path().join("admin.kubeconfig");
    server.running.write_admin_kubeconfig(&kubeconfig).unwrap();
    let access = Kubeconfig::load(&kubeconfig).unwrap().access(None).unwrap();
    let remote = gantry_machinery::client::Client::new(access, "test");

    assert!(remote.rows("test.no-such/1").await.unwrap().is_none());
    let mut rows = remote.rows("test.names/1").await.unwrap().expect("the server has them");
    let mut initial = Vec::new();
    loop {
        let part = rows.next().await.unwrap().unwrap();
        initial.extend(texts(&part));
        if part.complete {
            break;
        }
    }
    assert_eq!(initial, ["a.", "b."], "what has no row is left out");

    let binding =
        |name: &str| Binding { namespace: "default".into(), name: name.into(), uid: String::new(), node: "n".into() };
    let refused = remote.bind_gang(vec![binding("a"), binding("missing"), binding("b")]).await.unwrap_err();
    assert_eq!((refused.code, refused.message.as_str()), (404, "pods \"missing\" not found"), "and nobody is bound");
    let answers = remote.bind_batch(vec![binding("a"), binding("missing"), binding("b")]).await;
    let codes: Vec<u16> = answers.iter().map(|a| a.as_ref().err().map_or(200, |status| status.code)).collect();
    assert_eq!(codes, [200, 404, 200]);
    let mut changed = Vec::new();
    while changed.len() < 2 {
        changed.extend(texts(&rows.next().await.unwrap().unwrap()));
    }
    assert_eq!(changed, ["a.n", "b.n"], "bound pods are told as changed");
    let deleted = client.send("DELETE", &format!("{PODS}/a?gracePeriodSeconds=0"), &[], "").await;
    assert_eq!(deleted.code, 200);
    assert_eq!(texts(&rows.next().await.unwrap().unwrap()), ["-a.n"]);

    let event = |name: &str, namespace: &str| NewEvent {
        name: name.into(),
        regarding: Subject {
            api_version: "v1".into(),
            kind: "Pod".into(),
            namespace: namespace.into(),
            name: "b".into(),
            uid: "u".into(),
            ..Subject::default()
        },
        severity: Severity::Normal,
        reason: "Scheduled".into(),
        action: "Binding".into(),
        note: "Successfully assigned default/b to n".into(),
        controller: "test".into(),
        instance: "test-1".into(),
        at: "2026-01-02T03:04:05.000006Z".into(),
    };
    let bad = NewEvent { note: "x".repeat(2000), ..event("b.3", "default") };
    let told = vec![event("b.1", "default"), event("b.1", "default"), event("b.2", "nowhere"), bad];
    let answers = remote.create_events(told).await;
    let codes: Vec<u16> = answers.iter().map(|a| a.as_ref().err().map_or(200, |status| status.code)).collect();
    assert_eq!(codes, [200, 409, 404, 422], "each is answered as if it came alone");
    let stored = client.send("GET", "/apis/events.k8s.io/v1/namespaces/default/events/b.1", &[], "").await;
    assert_eq!(stored.code, 200);
    for part in ["\"note\":\"Successfully assigned default/b to n\"", "\"reportingController\":\"test\""] {
        assert!(stored.text().contains(part), "{}", stored.text());
    }
}

#[tokio::test]
async fn batches_and_rows_are_for_those_who_may_do_the_same_one_by_one() {
    let server = Server::start().await;
    let mut stranger = server.stranger().await;
    let grpc = [("content-type", "application/grpc"), ("authorization", "Bearer jane-token")];
    // Frame of an empty message: asks to bind nothing, or for the rows of nothing.
    let rows = "\0\0\0\0\u{e}\n\u{c}test.names/1";
    let nothing = "\0\0\0\0\0";
    for (path, message) in [("BindBatch", nothing), ("BindGang", nothing), ("CreateEvents", nothing), ("Rows", rows)] {
        let path = format!("/gantry.interchange.v1.Interchange/{path}");
        let answer = stranger.send("POST", &path, &grpc, message).await;
        assert_eq!((answer.code, answer.header("grpc-status")), (200, "7"), "{path}: {answer:?}");
        assert!(answer.text().is_empty());
    }
}
