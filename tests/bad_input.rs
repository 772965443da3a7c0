//! The promise: bad input gets the Status that Kubernetes gives, with reason, causes and field paths, and changes
//! nothing. Requests are made with curl, so that nothing is mended on the way.

#[path = "support/cluster.rs"]
mod cluster;

use std::process::Command;

use cluster::Cluster;
use serde_json::{Value, json};

/// A cluster with a bearer token that may do everything.
struct Api {
    cluster: Cluster,
    token: String,
    server: String,
}

impl Api {
    fn start() -> Self {
        let cluster = Cluster::up(&["--simulated-nodes", "1"]);
        cluster.kubectl("create serviceaccount tester");
        cluster.kubectl("create clusterrolebinding tester --clusterrole=cluster-admin --serviceaccount=default:tester");
        let token = cluster.kubectl("create token tester").trim().to_owned();
        let server = cluster.kubectl("config view --minify -o jsonpath={.clusters[0].cluster.server}");
        let api = Self { cluster, token, server };
        api.cluster.eventually(&format!("auth can-i get pods --token={}", api.token), |s| s.trim() == "yes");
        api
    }

    /// Code and body of a request; `headers` replace the default ones.
    fn send(&self, method: &str, path: &str, headers: &[&str], body: &str) -> (u16, Value) {
        let mut curl = Command::new("curl");
        curl.args(["-sk", "-X", method, "-w", "\n%{http_code}", &format!("{}{path}", self.server)]);
        for header in headers {
            curl.args(["-H", header]);
        }
        if !body.is_empty() {
            curl.args(["--data-binary", "@-"]);
        }
        let said = cluster::run(curl, body);
        let (body, code) = said.stdout.rsplit_once('\n').expect("curl prints the code last");
        (code.parse().expect("a code"), serde_json::from_str(body).unwrap_or_else(|_| json!({ "text": body })))
    }

    fn authorized(&self, method: &str, path: &str, content_type: &str, body: &str) -> (u16, Value) {
        let token = format!("Authorization: Bearer {}", self.token);
        self.send(method, path, &[&token, &format!("Content-Type: {content_type}")], body)
    }

    fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        self.authorized("POST", path, "application/json", &body.to_string())
    }

    /// What the cluster holds of the kinds that these tests try to write.
    fn contents(&self) -> String {
        self.cluster.kubectl("get configmaps,pods,deployments,services,namespaces,secrets -A -o name")
    }
}

fn pod(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "i"}]}})
}

fn causes(status: &Value) -> Vec<(String, String)> {
    let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
    let causes = status["details"]["causes"].as_array().cloned().unwrap_or_default();
    causes.iter().map(|c| (text(&c["reason"]), text(&c["field"]))).collect()
}

#[track_caller]
fn expect(answer: &(u16, Value), code: u16, reason: &str, text: &str) {
    let (got, status) = answer;
    assert_eq!((*got, status["reason"].as_str().unwrap_or_default()), (code, reason), "{status:#}");
    assert_eq!(status["kind"], "Status", "{status:#}");
    assert_eq!(status["apiVersion"], "v1", "{status:#}");
    assert_eq!(status["status"], "Failure", "{status:#}");
    assert_eq!(status["code"], code, "{status:#}");
    assert!(status["message"].as_str().unwrap_or_default().contains(text), "no {text:?} in {status:#}");
}

#[test]
fn bad_bodies_get_upstreams_status_and_change_nothing() {
    let api = Api::start();
    let before = api.contents();
    let pods = "/api/v1/namespaces/default/pods";
    let configmaps = "/api/v1/namespaces/default/configmaps";

    let mut unknown = pod("a");
    unknown["spec"]["nope"] = json!(1);
    let answer = api.post(&format!("{pods}?fieldValidation=Strict"), &unknown);
    expect(&answer, 400, "BadRequest", "strict decoding error: unknown field \"spec.nope\"");
    let twice = r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a","name":"b"}}"#;
    let answer = api.authorized("POST", &format!("{configmaps}?fieldValidation=Strict"), "application/json", twice);
    expect(&answer, 400, "BadRequest", "duplicate field \"metadata.name\"");

    let mut wrong = pod("a");
    wrong["spec"]["containers"] = json!("c");
    expect(&api.post(pods, &wrong), 400, "BadRequest", "cannot unmarshal string into Go struct field");

    let answer = api.post(pods, &pod("Not_A_Name"));
    expect(
        &answer,
        422,
        "Invalid",
        "Pod \"Not_A_Name\" is invalid: metadata.name: Invalid value: \"Not_A_Name\": a lowercase RFC 1123 subdomain must consist of",
    );
    assert_eq!(causes(&answer.1), [("FieldValueInvalid".to_owned(), "metadata.name".to_owned())]);

    let answer = api.post(pods, &json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "spec": {"containers": [{"image": "i", "ports": [{"containerPort": 70000}]}], "restartPolicy": "Sometimes"}}));
    expect(&answer, 422, "Invalid", "Pod \"a\" is invalid: [");
    let found = causes(&answer.1);
    for (reason, field) in [
        ("FieldValueRequired", "spec.containers[0].name"),
        ("FieldValueInvalid", "spec.containers[0].ports[0].containerPort"),
        ("FieldValueNotSupported", "spec.restartPolicy"),
    ] {
        assert!(found.iter().any(|(r, f)| r == reason && f == field), "no {reason} {field} in {found:?}");
    }

    let answer = api.post(pods, &json!({"apiVersion": "v1", "kind": "Pod", "metadata": {}, "spec": {"containers": [{"name": "c", "image": "i"}]}}));
    expect(&answer, 422, "Invalid", "name or generateName is required");
    expect(
        &api.post(pods, &json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "x"}})),
        400,
        "BadRequest",
        "",
    );
    let mut elsewhere = pod("a");
    elsewhere["metadata"]["namespace"] = json!("kube-system");
    expect(
        &api.post(pods, &elsewhere),
        400,
        "BadRequest",
        "the namespace of the provided object does not match the namespace sent on the request",
    );
    expect(
        &api.post("/api/v1/namespaces/nowhere/pods", &pod("a")),
        404,
        "NotFound",
        "namespaces \"nowhere\" not found",
    );

    for (content_type, body) in [
        ("application/json", "{\"kind\": "),
        ("application/json", "[]"),
        ("application/yaml", "a: b: c"),
        ("application/yaml", "{"),
        ("application/json", ""),
    ] {
        let (code, status) = api.authorized("POST", configmaps, content_type, body);
        assert_eq!((code, status["reason"].as_str()), (400, Some("BadRequest")), "{content_type} {body:?} {status:#}");
    }
    let answer = api.authorized("POST", configmaps, "text/plain", "hello");
    expect(
        &answer,
        415,
        "UnsupportedMediaType",
        "the body of the request was in an unknown format - accepted media types include: ",
    );

    let deep = "[".repeat(200_000) + &"]".repeat(200_000);
    let (code, _) = api.authorized(
        "POST",
        configmaps,
        "application/json",
        &format!(r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"d"}},"data":{deep}}}"#),
    );
    assert_eq!(code, 400);
    let large =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "l"}, "data": {"x": "y".repeat(4 << 20)}});
    expect(&api.post(configmaps, &large), 413, "RequestEntityTooLarge", "limit is 3145728");

    assert_eq!(api.contents(), before, "bad input changed something");
}

#[test]
fn conflicts_and_immutable_fields_are_refused() {
    let api = Api::start();
    let path = "/api/v1/namespaces/default/configmaps";
    let (code, first) = api
        .post(path, &json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"a": "1"}}));
    assert_eq!(code, 201, "{first:#}");
    // Upstream answers 500 without a reason here, and so do we.
    expect(&api.post(path, &first), 500, "", "resourceVersion should not be set on objects to be created");
    let again = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}});
    expect(&api.post(path, &again), 409, "AlreadyExists", "configmaps \"c\" already exists");

    let put = |object: &Value| api.authorized("PUT", &format!("{path}/c"), "application/json", &object.to_string());
    let mut second = first.clone();
    second["data"]["a"] = json!("2");
    let (code, second) = put(&second);
    assert_eq!(code, 200, "{second:#}");
    expect(
        &put(&first),
        409,
        "Conflict",
        "Operation cannot be fulfilled on configmaps \"c\": the object has been modified; please apply your changes to the latest version and try again",
    );
    let mut other = second.clone();
    other["metadata"]["uid"] = json!("00000000-0000-0000-0000-000000000000");
    expect(&put(&other), 409, "Conflict", "Precondition failed: UID in precondition");
    let mut renamed = second.clone();
    renamed["metadata"]["name"] = json!("d");
    expect(&put(&renamed), 400, "BadRequest", "the name of the object (d) does not match the name on the URL (c)");
    assert_eq!(api.cluster.value("configmap c", "{.data.a}"), "2");

    api.cluster.kubectl("create deployment web --image=nginx");
    let body = r#"{"spec":{"selector":{"matchLabels":{"app":"other"}}}}"#;
    let deployment = "/apis/apps/v1/namespaces/default/deployments/web";
    let answer = api.authorized("PATCH", deployment, "application/merge-patch+json", body);
    expect(&answer, 422, "Invalid", "field is immutable");
    let answer = api.authorized("PATCH", deployment, "application/merge-patch+json", "{");
    assert_eq!(answer.0, 400, "{answer:?}");
    let answer = api.authorized("PATCH", deployment, "application/json", "{}");
    expect(&answer, 415, "UnsupportedMediaType", "application/apply-patch+yaml");
}

#[test]
fn bad_questions_get_upstreams_status() {
    let api = Api::start();
    let get = |path: &str| api.authorized("GET", path, "application/json", "");
    expect(&get("/api/v1/namespaces/default/pods/none"), 404, "NotFound", "pods \"none\" not found");
    assert_eq!(get("/apis/none.example.com/v1/things").0, 404);
    expect(&get("/api/v1/pods?labelSelector=a%20b%20c"), 400, "BadRequest", "unable to parse requirement");
    expect(&get("/api/v1/pods?fieldSelector=spec.none%3Dx"), 400, "BadRequest", "field label not supported: spec.none");
    expect(&get("/api/v1/pods?limit=1&continue=nonsense"), 400, "BadRequest", "continue");
    expect(&get("/api/v1/pods?resourceVersion=abc"), 400, "BadRequest", "resourceVersion: Invalid value: \"abc\"");
    expect(&get("/api/v1/pods?resourceVersion=99999999"), 504, "Timeout", "Too large resource version: 99999999");
    expect(&get("/api/v1/pods?resourceVersionMatch=Exact"), 422, "Invalid", "resourceVersionMatch");
    assert_eq!(api.authorized("POST", "/api/v1/namespaces/default/pods/x", "application/json", "{}").0, 405);
    let token = format!("Authorization: Bearer {}", api.token);
    let answer = api.send("GET", "/api/v1/pods", &[&token, "Accept: text/html"], "");
    expect(&answer, 406, "NotAcceptable", "only the following media types are accepted");
}

#[test]
fn without_credentials_nothing_is_learned() {
    let api = Api::start();
    let answer = api.send("GET", "/api/v1/secrets", &["Authorization: Bearer wrong"], "");
    expect(&answer, 401, "Unauthorized", "Unauthorized");
    let answer = api.send("GET", "/api/v1/namespaces/default/secrets/none", &[], "");
    expect(
        &answer,
        403,
        "Forbidden",
        "secrets \"none\" is forbidden: User \"system:anonymous\" cannot get resource \"secrets\" in API group \"\" in the namespace \"default\"",
    );
    let answer =
        api.send("POST", "/api/v1/namespaces", &["Content-Type: application/json"], r#"{"metadata":{"name":"x"}}"#);
    expect(&answer, 403, "Forbidden", "cannot create resource \"namespaces\"");
    let mut plain = Command::new("curl");
    plain.args(["-s", "-o", "/dev/null", "-w", "%{http_code}", &api.server.replace("https://", "http://")]);
    let said = cluster::run(plain, "");
    assert!(!said.stdout.starts_with('2'), "TLS only: {said:?}");
}

#[test]
fn an_expired_watch_gets_410_and_a_fresh_list_recovers() {
    let mut api = Api::start();
    // Events from before a restart are in no window any more.
    api.cluster.kill();
    api.cluster.restart();
    api.server = api.cluster.kubectl("config view --minify -o jsonpath={.clusters[0].cluster.server}");
    let (code, list) = api.authorized("GET", "/api/v1/namespaces/default/configmaps", "application/json", "");
    assert_eq!(code, 200);
    let watch = |revision: &str| {
        let path = format!("/api/v1/namespaces/default/configmaps?watch=1&timeoutSeconds=1&resourceVersion={revision}");
        api.authorized("GET", &path, "application/json", "")
    };
    let (code, event) = watch("1");
    let expired = if code == 200 { &event["object"] } else { &event };
    assert_eq!(
        (expired["code"].as_u64(), expired["reason"].as_str()),
        (Some(410), Some("Expired")),
        "{code} {event:#}"
    );
    assert!(expired["message"].as_str().unwrap().contains("too old resource version"), "{event:#}");
    let (code, _) = watch(list["metadata"]["resourceVersion"].as_str().unwrap());
    assert_eq!(code, 200);
}
