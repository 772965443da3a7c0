//! What headers and a few parameters make of an answer, in upstream's words.

use gantry_machinery::value::Value;

use super::Server;
use super::client::Answer;
use super::format::Format;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const MISSING: &str = "/api/v1/namespaces/default/configmaps/missing";

impl Server {
    async fn accepting(&mut self, path: &str, accept: &str) -> Answer {
        self.client.send("GET", path, &[("accept", accept)], "").await
    }
}

fn message(status: &Value) -> &str {
    status.str_at(&["message"]).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn errors_come_in_the_format_that_was_asked_for() {
    let mut server = Server::start().await;
    for format in Format::ALL {
        let answer = server.accepting(MISSING, format.media_type()).await;
        assert_eq!((answer.code, answer.header("content-type")), (404, format.media_type()), "{format:?}");
        assert_eq!(message(&format.read(&answer.body).unwrap()), "configmaps \"missing\" not found");
        assert_eq!(answer.header("cache-control"), "no-cache, private");
    }
    // Where nothing of ours is accepted the error is told all the same, in JSON for people.
    let answer = server.accepting(MISSING, "text/html").await;
    assert_eq!((answer.code, answer.header("content-type")), (406, "application/json"));
    assert!(answer.text().starts_with("{\n  \"kind\": \"Status\""), "{}", answer.text());
    let formats = "only the following media types are accepted: application/json, application/yaml, \
                   application/vnd.kubernetes.protobuf";
    assert_eq!(answer.json()["message"], formats);
    let table = server.accepting(MISSING, "application/json;as=Table;v=v1;g=meta.k8s.io").await;
    assert_eq!((table.code, &table.json()["reason"]), (404, &"NotFound".into()));
    let refused = server.client.send("POST", MAPS, &[("accept", Format::Protobuf.media_type())], "{").await;
    assert_eq!(refused.code, 400);
    assert_eq!(Format::Protobuf.read(&refused.body).unwrap().str_at(&["reason"]), Some("BadRequest"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shapes_that_do_not_fit_are_refused_in_upstreams_words() {
    let mut server = Server::start().await;
    let one = "/api/v1/namespaces/default";
    for (path, accept, code, text) in [
        (
            MAPS,
            "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io",
            406,
            "you requested PartialObjectMetadata, but the requested object is a list (*core.ConfigMapList)",
        ),
        (
            one,
            "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io",
            406,
            "you requested PartialObjectMetadataList, but the requested object is not a list (*core.Namespace)",
        ),
        (
            "/api/v1/namespaces/default/configmaps?watch=1",
            "application/yaml",
            406,
            "only the following media types are accepted: application/json;stream=watch, \
             application/vnd.kubernetes.protobuf;stream=watch",
        ),
        (
            "/api/v1/namespaces/default/configmaps?includeObject=All",
            "application/json;as=Table;v=v1;g=meta.k8s.io",
            400,
            "Unable to convert to Table as requested: includeObject: Invalid value: \"All\": must be 'Metadata', 'Object', \
             'None', or empty",
        ),
    ] {
        let answer = server.accepting(path, accept).await;
        // Errors have no streams and no shapes: YAML is good enough for them.
        let format = if accept == Format::Yaml.media_type() { Format::Yaml } else { Format::Json };
        assert_eq!((answer.code, message(&format.read(&answer.body).unwrap())), (code, text), "{path} {accept}");
    }
    // Who asks for no Table is not held to its parameters.
    assert_eq!(server.client.get(&format!("{MAPS}?includeObject=All")).await.code, 200);
    let old = server.accepting(MAPS, "application/json;as=Table;v=v1beta1;g=meta.k8s.io").await.json();
    assert_eq!((&old["kind"], &old["apiVersion"]), (&"Table".into(), &"meta.k8s.io/v1beta1".into()));
    for (include, kind) in [("None", None), ("Metadata", Some("PartialObjectMetadata")), ("Object", Some("Namespace"))]
    {
        let table = "application/json;as=Table;v=v1;g=meta.k8s.io";
        let table = server.accepting(&format!("/api/v1/namespaces?includeObject={include}"), table).await.json();
        assert_eq!(table["rows"][0]["object"]["kind"].as_str(), kind, "{include}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn people_get_indented_json_and_others_may_ask_for_it() {
    let mut server = Server::start().await;
    let one = "/api/v1/namespaces/default";
    let compact = server.client.get(one).await.text();
    assert!(compact.starts_with("{\"") && compact.ends_with("}\n"));
    for (path, agent, indented) in [
        (one.to_owned(), "curl/8.5", true),
        (format!("{one}?pretty=false"), "curl/8.5", false),
        (format!("{one}?pretty=true"), "kubectl/v1.36", true),
        (MAPS.to_owned(), "Mozilla/5.0", true),
        (MISSING.to_owned(), "Wget/1", true),
    ] {
        let text = server.client.send("GET", &path, &[("user-agent", agent)], "").await.text();
        assert_eq!(text.starts_with("{\n  \""), indented, "{path} {agent}: {text}");
        assert_eq!(text.ends_with("}\n"), !indented, "{path} {agent}");
    }
    // A watch's frames are lines for everybody.
    let line = |read: &[u8]| read.contains(&b'\n');
    let frame = server.client.beginning("/api/v1/namespaces?watch=1", &[("user-agent", "curl/8.5")], line).await.text();
    assert!(frame.starts_with("{\"type\":\"ADDED\""), "{frame}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn small_answers_are_never_compressed_and_large_ones_only_when_asked() {
    let mut server = Server::start().await;
    let value = "x".repeat(100_000);
    for name in ["a", "b"] {
        let body = format!(r#"{{"metadata":{{"name":"{name}"}},"data":{{"d":"{value}"}}}}"#);
        assert_eq!(server.client.send("POST", MAPS, &[], body).await.code, 201);
    }
    let gzip = ("accept-encoding", "gzip");
    for format in Format::ALL {
        let accept = ("accept", format.media_type());
        let small = server.client.send("GET", &format!("{MAPS}/a"), &[accept, gzip], "").await;
        assert_eq!((small.header("content-encoding"), small.header("vary")), ("", ""), "{format:?}");
        let plain = server.client.send("GET", MAPS, &[accept], "").await;
        assert_eq!(plain.header("content-encoding"), "");
        let packed = server.client.send("GET", MAPS, &[accept, gzip], "").await;
        assert_eq!((packed.header("content-encoding"), packed.header("vary")), ("gzip", "Accept-Encoding"));
        assert_eq!(packed.gunzipped(), plain.body, "{format:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_are_selected_by_the_old_name_of_their_node() {
    let mut server = Server::start().await;
    let pods = "/api/v1/namespaces/default/pods";
    server
        .client
        .send("POST", "/api/v1/namespaces/default/serviceaccounts", &[], r#"{"metadata":{"name":"default"}}"#)
        .await;
    for (name, node) in [("a", "n1"), ("b", "n2")] {
        let body = format!(
            r#"{{"metadata":{{"name":"{name}"}},"spec":{{"nodeName":"{node}","containers":[{{"name":"c","image":"i"}}]}}}}"#
        );
        let created = server.client.send("POST", pods, &[], body).await;
        assert_eq!(created.code, 201, "{}", created.text());
    }
    let listed = server.client.get(&format!("{pods}?fieldSelector=spec.host%3Dn2")).await.json();
    assert_eq!((listed["items"].as_array().unwrap().len(), &listed["items"][0]["metadata"]["name"]), (1, &"b".into()));
    let named = server.client.get(&format!("{pods}/a?watch=1&fieldSelector=metadata.name%3Db")).await;
    assert_eq!(named.json()["message"], "fieldSelector metadata.name doesn't match requested name");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_strategic_patch_of_the_wrong_type_is_422_in_upstreams_words() {
    let mut server = Server::start().await;
    assert_eq!(server.client.send("POST", MAPS, &[], r#"{"metadata":{"name":"typed"}}"#).await.code, 201);
    let strategic = [("content-type", "application/strategic-merge-patch+json")];
    let answer = server.client.send("PATCH", &format!("{MAPS}/typed"), &strategic, r#"{"data":["x"]}"#).await;
    assert_eq!(answer.code, 422);
    let text = " \"\" is invalid: patch: Invalid value: \"map[data:[x]]\": cannot restore map from slice";
    assert_eq!(answer.json()["message"], text);
}
