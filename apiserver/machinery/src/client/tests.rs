//! The client against a scripted server: real TLS and HTTP/2 on loopback, answers from the test.

use std::convert::Infallible;
use std::sync::Mutex;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use gantry_store_cache::revision::Revision;
use http::{Request, Response};
use http_body_util::combinators::BoxBody;
use http_body_util::{Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::PrivateKeyDer;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;

use super::kubeconfig::Kubeconfig;
use super::*;

type Body = BoxBody<Bytes, Infallible>;
type Script = Box<dyn Fn(&Asked) -> Response<Body> + Send + Sync>;

/// What the server was asked.
#[derive(Clone, Debug)]
struct Asked {
    method: Method,
    path: String,
    token: String,
    content_type: String,
    body: String,
}

/// A server that answers by a script and remembers what it was asked.
struct Server {
    access: Access,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Server {
    /// Serves until the test ends; each connection ends after `requests` answers.
    async fn start(requests: usize, script: impl Fn(&Asked) -> Response<Body> + Send + Sync + 'static) -> Self {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let mut tls = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        tls.alpn_protocols = vec![b"h2".to_vec()];
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let script: Arc<Script> = Arc::new(Box::new(script));
        tokio::spawn(serve(listener, TlsAcceptor::from(Arc::new(tls)), requests, script, asked.clone()));
        Self { access: access(port, &made.cert.pem()), asked }
    }

    fn client(&self) -> Arc<Client> {
        Client::new(self.access.clone(), "gantry-test/1")
    }

    fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

/// Access by a kubeconfig, so that the way from the file to the connection is tested too.
fn access(port: u16, ca: &str) -> Access {
    let text = format!(
        "{{current-context: c, contexts: [{{name: c, context: {{cluster: k, user: u}}}}], \
          clusters: [{{name: k, cluster: {{server: 'https://127.0.0.1:{port}', tls-server-name: localhost, \
          certificate-authority-data: {}}}}}], users: [{{name: u, user: {{token: secret}}}}]}}",
        STANDARD.encode(ca)
    );
    let file = std::env::temp_dir().join(format!("gantry-client-test-{}-{port}", std::process::id()));
    std::fs::write(&file, text).unwrap();
    let access = Kubeconfig::load(&file).unwrap().access(None).unwrap();
    std::fs::remove_file(&file).unwrap();
    access
}

async fn serve(
    listener: TcpListener,
    tls: TlsAcceptor,
    requests: usize,
    script: Arc<Script>,
    asked: Arc<Mutex<Vec<Asked>>>,
) {
    while let Ok((stream, _)) = listener.accept().await {
        let (tls, script, asked) = (tls.clone(), script.clone(), asked.clone());
        tokio::spawn(async move {
            let Ok(stream) = tls.accept(stream).await else { return };
            let done = Arc::new(tokio::sync::Notify::new());
            let left = Arc::new(std::sync::atomic::AtomicUsize::new(requests));
            let service = service_fn(|request: Request<Incoming>| {
                let (script, asked, done, left) = (script.clone(), asked.clone(), done.clone(), left.clone());
                async move {
                    let header =
                        |name: &str| request.headers().get(name).map_or("", |v| v.to_str().unwrap()).to_owned();
                    let now = Asked {
                        method: request.method().clone(),
                        path: request.uri().path_and_query().unwrap().to_string(),
                        token: header("authorization"),
                        content_type: header("content-type"),
                        body: String::new(),
                    };
                    let body = request.into_body().collect().await.unwrap().to_bytes();
                    let now = Asked { body: String::from_utf8(body.to_vec()).unwrap(), ..now };
                    let answer = script(&now);
                    asked.lock().unwrap().push(now);
                    if left.fetch_sub(1, std::sync::atomic::Ordering::Relaxed) == 1 {
                        done.notify_one();
                    }
                    Ok::<_, Infallible>(answer)
                }
            });
            let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(stream), service);
            tokio::pin!(connection);
            tokio::select! {
                _ = &mut connection => {}
                () = done.notified() => {
                    connection.as_mut().graceful_shutdown();
                    let _ = connection.await;
                }
            }
        });
    }
}

fn answer(code: u16, body: impl Into<Bytes>) -> Response<Body> {
    Response::builder().status(code).body(Full::new(body.into()).boxed()).unwrap()
}

fn failure(code: u16, reason: &str) -> Response<Body> {
    let text = format!(
        r#"{{"kind":"Status","apiVersion":"v1","status":"Failure","code":{code},"reason":"{reason}","message":"no"}}"#
    );
    answer(code, text)
}

const POD: &str = r#"{"kind":"Pod","apiVersion":"v1","metadata":{"name":"a","namespace":"n","resourceVersion":"7"}}"#;

#[test]
fn paths_are_those_of_the_api() {
    let pod = Target::object(&gvr::PODS, "default", "a").sub("binding");
    assert_eq!(Path::of(&pod).0, "/api/v1/namespaces/default/pods/a/binding");
    let mut path = Path::of_collection(&Collection { resource: &gvr::DEPLOYMENTS, namespace: "" });
    path.add_list(&ListOptions { limit: 5, version: VersionRule::Exact(Revision(7)), ..ListOptions::default() });
    path.add("labelSelector", "a in (b,c)");
    assert_eq!(
        path.0,
        "/apis/apps/v1/deployments?limit=5&resourceVersion=7&resourceVersionMatch=Exact&labelSelector=a%20in%20%28b%2Cc%29"
    );
}

#[tokio::test]
async fn requests_say_who_asks_for_what() {
    let server = Server::start(usize::MAX, |_| answer(200, POD)).await;
    let client = server.client();
    let target = Target::object(&gvr::PODS, "n", "a");
    let pod = client.get(&target).await.unwrap();
    assert_eq!((pod.key.as_str(), pod.revision, &pod.body[..]), ("pods/n/a", Revision(7), POD.as_bytes()));
    let options = WriteOptions { field_manager: "me".into(), force: true, dry_run: true, ..WriteOptions::default() };
    let patch = PatchBody { kind: PatchKind::Apply, body: Bytes::from_static(b"{}") };
    client.patch(&target.sub("status"), patch, &options).await.unwrap();
    client.create(&target, value!({"a": 1}), &WriteOptions::default()).await.unwrap();
    let asked = server.asked();
    assert_eq!((&asked[0].method, asked[0].path.as_str()), (&Method::GET, "/api/v1/namespaces/n/pods/a"));
    assert_eq!(asked[0].token, "Bearer secret");
    assert_eq!(asked[1].path, "/api/v1/namespaces/n/pods/a/status?fieldManager=me&dryRun=All&force=true");
    assert_eq!(asked[1].content_type, "application/apply-patch+yaml");
    assert_eq!((asked[2].path.as_str(), asked[2].body.as_str()), ("/api/v1/namespaces/n/pods", r#"{"a":1}"#));
}

#[tokio::test]
async fn failures_come_back_as_the_status_that_was_sent() {
    let server = Server::start(usize::MAX, |asked| match asked.path.as_str() {
        "/api/v1/nodes/gone" => failure(404, "NotFound"),
        _ => answer(502, "<html>bad gateway</html>"),
    })
    .await;
    let client = server.client();
    let gone = client.get(&Target::object(&gvr::NODES, "", "gone")).await.unwrap_err();
    assert_eq!((gone.code, gone.is_not_found(), gone.message.as_str()), (404, true, "no"));
    assert_eq!(client.get(&Target::object(&gvr::NODES, "", "odd")).await.unwrap_err().code, 502);
}

#[tokio::test]
async fn requests_put_off_are_sent_again_a_few_times() {
    let later = || {
        let mut answer = failure(429, "TooManyRequests");
        answer.headers_mut().insert("retry-after", "0".parse().unwrap());
        answer
    };
    let calls = std::sync::atomic::AtomicUsize::new(0);
    let server = Server::start(usize::MAX, move |asked| match asked.path.as_str() {
        "/once" if calls.fetch_add(1, std::sync::atomic::Ordering::Relaxed) > 0 => answer(200, "ok"),
        _ => later(),
    })
    .await;
    let client = server.client();
    assert_eq!(client.get_raw("/once").await.unwrap(), "ok");
    assert_eq!(client.get_raw("/never").await.unwrap_err().code, 429);
    assert_eq!(server.asked().iter().filter(|a| a.path == "/never").count(), PATIENCE);
}

#[tokio::test]
async fn a_watch_gives_events_as_they_come_and_ends_with_its_stream() {
    let (sender, events) = mpsc::unbounded_channel::<Result<Frame<Bytes>, Infallible>>();
    let events = Mutex::new(Some(events));
    let server = Server::start(usize::MAX, move |asked| match events.lock().unwrap().take() {
        Some(mut events) => {
            let events = stream::poll_fn(move |context| events.poll_recv(context));
            Response::new(BodyExt::boxed(StreamBody::new(events)))
        }
        None if asked.path.contains("resourceVersion=5") => failure(410, "Expired"),
        None => failure(500, "InternalError"),
    })
    .await;
    let client = server.client();
    let pods = Collection { resource: &gvr::PODS, namespace: "" };
    let mut watch = client.watch(&pods, &WatchOptions { bookmarks: true, ..WatchOptions::default() }).await.unwrap();
    let send = |text: &str| {
        let data = Frame::data(Bytes::copy_from_slice(text.as_bytes()));
        sender.send(Ok(data)).unwrap();
    };
    let event = format!(r#"{{"type":"ADDED","object":{POD}}}"#);
    let (begin, end) = event.split_at(40);
    send(begin);
    send(&format!("{end}\n"));
    let first = watch.next(10).await.unwrap().unwrap();
    assert!(matches!(first.as_slice(), [WatchEvent::Added(pod)] if pod.key.name() == "a"));
    send(&format!("{event}\n{event}\n{event}\n"));
    let mut more = 0;
    while more < 3 {
        let some = watch.next(2).await.unwrap().unwrap();
        assert!(some.len() <= 2);
        more += some.len();
    }
    drop(sender);
    assert!(watch.next(10).await.is_none());
    let after = WatchOptions { after: Some(Revision(5)), ..WatchOptions::default() };
    assert!(client.watch(&pods, &after).await.err().unwrap().is_expired());
}

fn binding(name: &str) -> Binding {
    Binding { namespace: "n".into(), name: name.into(), uid: "u".into(), node: "node".into() }
}

fn codes(answers: &[Result<(), Status>]) -> Vec<u16> {
    answers.iter().map(|a| a.as_ref().err().map_or(200, |status| status.code)).collect()
}

#[tokio::test]
async fn a_server_that_knows_no_batches_gets_bindings_one_by_one() {
    let server = Server::start(usize::MAX, |asked| match asked.path.as_str() {
        path if path.starts_with(crate::interchange::PREFIX) => failure(404, "NotFound"),
        path if path.contains("/taken/") => failure(409, "Conflict"),
        _ => answer(201, r#"{"kind":"Status","status":"Success"}"#),
    })
    .await;
    let client = server.client();
    let answers = client.bind_batch(vec![binding("a"), binding("taken"), binding("b")]).await;
    assert_eq!(codes(&answers), [200, 409, 200]);
    assert_eq!(codes(&client.bind_batch(vec![binding("c")]).await), [200]);
    assert!(client.rows("scheduling.pods/1").await.unwrap().is_none());
    let (batches, single): (Vec<_>, Vec<_>) =
        server.asked().into_iter().partition(|asked| asked.path.starts_with(crate::interchange::PREFIX));
    assert_eq!(batches.len(), 1, "who does not know it is asked once");
    assert_eq!(single.len(), 4);
    assert!(single.iter().all(|a| a.path.ends_with("/binding") && a.body.contains(r#""uid":"u""#)));
}

#[tokio::test]
async fn a_batch_whose_answer_is_lost_is_not_sent_again() {
    let server = Server::start(usize::MAX, |_| failure(503, "ServiceUnavailable")).await;
    let answers = server.client().bind_batch(vec![binding("a"), binding("b")]).await;
    assert_eq!(codes(&answers), [503, 503], "nobody may conclude that they are not bound");
    assert_eq!(server.asked().len(), 1);
}

#[tokio::test]
async fn a_closed_connection_is_opened_again() {
    let server = Server::start(1, |_| answer(200, POD)).await;
    let client = server.client();
    let target = Target::object(&gvr::PODS, "n", "a");
    let mut served = 0;
    // A request may meet the connection while it closes: that one fails with 503, and the caller asks again.
    for _ in 0..20 {
        match client.get(&target).await {
            Ok(_) => served += 1,
            Err(status) => assert_eq!(status.code, 503, "{status}"),
        }
    }
    assert!(served >= 3, "{served} of 20 served");
}

#[tokio::test]
async fn an_absent_server_is_unavailable() {
    let server = Server::start(1, |_| answer(200, POD)).await;
    let closed = TcpListener::bind(("127.0.0.1", 0)).await.unwrap().local_addr().unwrap().port();
    let access = Access { port: closed, ..server.access.clone() };
    let error = Client::new(access, "x").get_raw("/").await.unwrap_err();
    assert_eq!(error.code, 503);
    assert!(error.message.contains("cannot be reached"), "{}", error.message);
}
