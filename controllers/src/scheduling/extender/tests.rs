//! The protocol against an extender of a few lines.

mod preempt;

use std::sync::Mutex;

use serde_json::{Value as Json, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::super::fake::{FakeApi, Shared, node, pod};
use super::*;

/// Answers each POST with what `answer` makes of the path and the question; gives its address.
pub(in crate::scheduling) async fn serve(
    answer: impl Fn(&str, &Json) -> (u16, Json) + Send + Sync + 'static,
) -> String {
    serve_in(None, answer).await
}

/// The same, in TLS if a server's settings are given.
async fn serve_in(
    tls: Option<TlsAcceptor>,
    answer: impl Fn(&str, &Json) -> (u16, Json) + Send + Sync + 'static,
) -> String {
    let scheme = if tls.is_some() { "https" } else { "http" };
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let answer = Arc::new(answer);
    tokio::spawn(async move {
        loop {
            let Ok((stream, _)) = listener.accept().await else { return };
            let (answer, tls) = (answer.clone(), tls.clone());
            tokio::spawn(async move {
                match tls {
                    None => reply(stream, &*answer).await,
                    // A client that does not trust us hangs up.
                    Some(tls) => {
                        if let Ok(stream) = tls.accept(stream).await {
                            reply(stream, &*answer).await;
                        }
                    }
                }
            });
        }
    });
    format!("{scheme}://{address}/ext")
}

/// Reads a question from a connection and answers it.
async fn reply(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    answer: &(impl Fn(&str, &Json) -> (u16, Json) + ?Sized),
) {
    let mut read = Vec::new();
    let (head, length) = loop {
        if stream.read_buf(&mut read).await.unwrap_or(0) == 0 {
            return;
        }
        let text = String::from_utf8_lossy(&read).to_lowercase();
        let Some(end) = text.find("\r\n\r\n") else { continue };
        let length = text.split("content-length: ").nth(1).and_then(|t| t.lines().next()?.parse().ok());
        break (end + 4, length.unwrap_or(0usize));
    };
    while read.len() < head + length {
        if stream.read_buf(&mut read).await.unwrap_or(0) == 0 {
            return;
        }
    }
    let text = String::from_utf8_lossy(&read[..head]).into_owned();
    let path = text.split(' ').nth(1).unwrap_or_default().to_owned();
    let question = serde_json::from_slice(&read[head..]).unwrap_or(Json::Null);
    let (code, body) = answer(&path, &question);
    let body = body.to_string();
    let length = body.len();
    let text = format!("HTTP/1.1 {code} X\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}");
    let _ = stream.write_all(text.as_bytes()).await;
    let _ = stream.shutdown().await;
}

fn extenders(all: Vec<ExtenderConfig>) -> Extenders {
    let api = Arc::new(FakeApi::default());
    ["a", "b", "c"].iter().for_each(|name| api.put("nodes", node(name, 5)));
    api.put("pods", pod("p"));
    Extenders::new(Arc::new(Shared(api)), all.into())
}

fn question() -> Consultation {
    Consultation {
        pod: PodId { namespace: "d".into(), name: "p".into(), uid: "uid-p".into() },
        ticket: 1,
        profile: 0,
        interests: 0b11,
        question: Question::Node(vec![("a".into(), 300), ("b".into(), 290), ("c".into(), 280)]),
    }
}

fn extender(url_prefix: &str) -> ExtenderConfig {
    ExtenderConfig {
        url_prefix: url_prefix.into(),
        filter_verb: "filter".into(),
        timeout: Duration::from_secs(10),
        ..ExtenderConfig::default()
    }
}

#[tokio::test]
async fn names_are_filtered_and_scores_added() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = seen.clone();
    let url = serve(move |path, question| {
        log.lock().expect("no panic").push((path.to_owned(), question.clone()));
        match path {
            "/ext/filter" => (200, json!({"NodeNames": ["b", "c"], "FailedNodes": {"a": "too hot"}, "Error": ""})),
            _ => (200, json!([{"Host": "b", "Score": 1}, {"Host": "c", "Score": 3}])),
        }
    })
    .await;
    let config =
        ExtenderConfig { prioritize_verb: "prioritize".into(), weight: 2, node_cache_capable: true, ..extender(&url) };
    let advice = extenders(vec![config]).ask(question()).await.ok();
    // 290 + 1 * 2 * 10 against 280 + 3 * 2 * 10.
    assert_eq!(advice, Some(Advice::Node("c".into(), 340)));
    let seen = seen.lock().expect("no panic");
    assert_eq!(seen[0].1["NodeNames"], json!(["a", "b", "c"]));
    assert_eq!((&seen[0].1["Nodes"], &seen[0].1["Pod"]["metadata"]["name"]), (&Json::Null, &json!("p")));
    assert_eq!((seen[1].0.as_str(), &seen[1].1["NodeNames"]), ("/ext/prioritize", &json!(["b", "c"])));
}

#[tokio::test]
async fn whole_nodes_go_to_those_who_do_not_know_them_and_all_turned_down_says_why() {
    let url = serve(|_, question| {
        let items = question["Nodes"]["items"].as_array().cloned().unwrap_or_default();
        let names: Vec<&str> = items.iter().filter_map(|n| n["metadata"]["name"].as_str()).collect();
        assert_eq!(names, ["a", "b", "c"]);
        (200, json!({"nodes": {"items": []}, "failedNodes": {"a": "hot", "b": "hot"}, "failedAndUnresolvableNodes": {"c": "gone"}}))
    })
    .await;
    let advice = extenders(vec![extender(&url)]).ask(question()).await.ok();
    assert_eq!(advice, Some(Advice::Nowhere(vec![("hot".into(), 2), ("gone".into(), 1)])));
}

#[tokio::test]
async fn an_extender_that_fails_fails_the_pod_unless_it_may_be_ignored() {
    let broken = serve(|_, _| (500, Json::Null)).await;
    let failed = extenders(vec![extender(&broken)]).ask(question()).await;
    let Err(Failure(why)) = failed else { panic!("it must fail") };
    assert_eq!(why, format!("failed filter with extender at URL {broken}, code 500"));

    let working = serve(|_, _| (200, json!({"NodeNames": ["b"]}))).await;
    let ignorable = ExtenderConfig { ignorable: true, ..extender(&broken) };
    let both = vec![ignorable, ExtenderConfig { node_cache_capable: true, ..extender(&working) }];
    assert_eq!(extenders(both).ask(question()).await.ok(), Some(Advice::Node("b".into(), 290)));

    let confused = serve(|_, _| (200, json!({"Error": "no idea"}))).await;
    let failed = extenders(vec![extender(&confused)]).ask(question()).await;
    assert!(matches!(failed, Err(Failure(why)) if why == "no idea"));
}

#[tokio::test]
async fn an_extender_may_bind() {
    let url = serve(|path, question| {
        let asked = json!({"PodName": "p", "PodNamespace": "d", "PodUID": "uid-p", "Node": "a"});
        let error = if path == "/ext/bind" && *question == asked { "" } else { "wrong" };
        (200, json!({"Error": error}))
    })
    .await;
    let config = ExtenderConfig { bind_verb: "bind".into(), ..extender(&url) };
    let placement = Placement {
        pod: Arc::new(question().pod),
        node: "a".into(),
        score: 0,
        attempts: 1,
        since: 0,
        profile: 0,
        interests: 1,
        preparation: None,
    };
    assert_eq!(Extenders::bind(&config, &placement).await, Ok(()));
}

/// An authority and what it signs, as files: `ca.crt`, `server.crt`, `server.key`, ...
fn keys() -> tempfile::TempDir {
    use gantry_apiserver::pki::{Pki, ServingNames};
    let dir = tempfile::tempdir().expect("a temporary directory");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs();
    Pki::open(dir.path(), &ServingNames::usual([]), i64::try_from(now).expect("fits")).expect("keys can be made");
    dir
}

fn acceptor(dir: &std::path::Path) -> TlsAcceptor {
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(dir.join("apiserver.crt"))
        .expect("a certificate")
        .collect::<Result<_, _>>()
        .expect("a certificate");
    let key = PrivateKeyDer::from_pem_file(dir.join("apiserver.key")).expect("a key");
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .expect("they fit");
    TlsAcceptor::from(Arc::new(config))
}

/// The extender of a configuration file.
fn configured(extender: &str) -> ExtenderConfig {
    let text = format!(
        "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\nextenders: [{extender}]\n"
    );
    let config = super::super::config::Configuration::read(text.as_bytes()).expect("valid");
    config.extenders.into_iter().next().expect("one extender")
}

#[tokio::test]
async fn an_extender_over_https_is_trusted_as_configured() {
    let (ours, theirs) = (keys(), keys());
    let answer = |_: &str, _: &Json| (200, json!({"NodeNames": ["b"]}));
    let url = serve_in(Some(acceptor(ours.path())), answer).await;
    let ask = async |tls: String| {
        let common = format!("urlPrefix: '{url}', filterVerb: filter, nodeCacheCapable: true");
        let config = configured(&format!("{{{common}, {tls}}}"));
        extenders(vec![config]).ask(question()).await
    };
    let ca = |dir: &tempfile::TempDir| dir.path().join("ca.crt").display().to_string();
    let found = Some(Advice::Node("b".into(), 290));
    assert_eq!(ask(format!("enableHTTPS: true, tlsConfig: {{caFile: {}}}", ca(&ours))).await.ok(), found);
    assert_eq!(ask("enableHTTPS: true, tlsConfig: {insecure: true}".into()).await.ok(), found);
    // Upstream trusts anyone where HTTPS is on and no authority is named.
    assert_eq!(ask("enableHTTPS: true".into()).await.ok(), found);
    let strange = ask(format!("enableHTTPS: true, tlsConfig: {{caFile: {}}}", ca(&theirs))).await;
    assert!(matches!(strange, Err(Failure(why)) if why.contains("certificate")));
    let other_name =
        ask(format!("enableHTTPS: true, tlsConfig: {{caFile: {}, serverName: other.example}}", ca(&ours))).await;
    assert!(matches!(other_name, Err(Failure(why)) if why.contains("certificate")));
}
