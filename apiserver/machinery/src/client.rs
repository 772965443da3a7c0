//! [`ResourceApi`] over HTTPS with a kubeconfig: what loops hold when they run apart from the API server, ours or any
//! other Kubernetes.
//!
//! Objects stay the bytes that came; only their metadata is read. Watches have a connection of their own, so that a
//! burst of events does not hold up calls.

pub mod kubeconfig;
pub mod tls;

mod answer;
pub mod connection;
mod interchange;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use gantry_store_cache::object::StoredObject;
use http::{Method, StatusCode};
use http_body_util::BodyExt;

use self::answer::{Lines, Reader};
use self::connection::Connection;
use self::interchange::Interchange;
use self::kubeconfig::Access;
use crate::codec::json;
use crate::event::NewEvent;
use crate::resource::{GroupVersionResource, gvr};
use crate::resource_api::{
    Binding, Collection, DeleteOptions, Deleted, FieldValidation, ListOptions, ObjectList, PatchBody, PatchKind,
    Propagation, ResourceApi, RowStream, Target, VersionRule, WatchEvent, WatchOptions, WatchStream, WriteOptions,
};
use crate::selector::{FieldSelector, LabelSelector, ShardSelector};
use crate::status::Status;
use crate::value;
use crate::value::Value;

/// Bindings sent at once by [`ResourceApi::bind_batch`]: servers other than ours take them one by one.
const BINDINGS_AT_ONCE: usize = 64;
/// Events sent at once by [`ResourceApi::create_events`]: they must not crowd out what matters more.
const EVENTS_AT_ONCE: usize = 16;
/// How often a request put off with 429 is sent again before the caller is told.
const PATIENCE: usize = 3;
/// The longest `Retry-After` that is waited for.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// A client of one API server as one user. Cheap to share; reconnects by itself.
pub struct Client {
    calls: Arc<Connection>,
    watches: Arc<Connection>,
    interchange: Interchange,
}

impl Client {
    /// A client that calls itself `user_agent`. Connects when first used.
    #[must_use]
    pub fn new(access: Access, user_agent: &str) -> Arc<Self> {
        Arc::new(Self {
            calls: Arc::new(Connection::new(access.clone(), user_agent)),
            watches: Arc::new(Connection::new(access, user_agent)),
            interchange: Interchange::default(),
        })
    }

    /// A GET of any path; the answer's body if it is a success.
    ///
    /// # Errors
    /// The server's Status, or 503 when it cannot be reached.
    pub async fn get_raw(&self, path: &str) -> Result<Bytes, Status> {
        self.call(Method::GET, path, None, Bytes::new()).await.map(|(_, body)| body)
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        content_type: Option<&str>,
        body: Bytes,
    ) -> Result<(StatusCode, Bytes), Status> {
        for attempt in 1.. {
            let answer = self.calls.send(method.clone(), path, content_type, body.clone()).await?;
            let code = answer.status();
            let wait = answer.headers().get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok());
            let body = answer
                .into_body()
                .collect()
                .await
                .map_err(|error| Status::service_unavailable(format!("the answer broke off: {error}")))?
                .to_bytes();
            if code.is_success() {
                return Ok((code, body));
            }
            match wait {
                Some(seconds) if code == StatusCode::TOO_MANY_REQUESTS && attempt < PATIENCE => {
                    tokio::time::sleep(Duration::from_secs(seconds).min(LONGEST_WAIT)).await;
                }
                _ => return Err(answer::status(code.as_u16(), &body)),
            }
        }
        unreachable!("the loop ends by returning")
    }

    async fn write(
        &self,
        method: Method,
        target: &Target<'_>,
        content_type: &str,
        body: Bytes,
        options: &WriteOptions,
    ) -> Result<Arc<StoredObject>, Status> {
        let mut path = Path::of(target);
        if !options.field_manager.is_empty() {
            path.add("fieldManager", &options.field_manager);
        }
        if options.dry_run {
            path.add("dryRun", "All");
        }
        match options.field_validation {
            FieldValidation::Ignore => path.add("fieldValidation", "Ignore"),
            FieldValidation::Warn => {}
            FieldValidation::Strict => path.add("fieldValidation", "Strict"),
        }
        if options.force {
            path.add("force", "true");
        }
        let (_, body) = self.call(method, &path.0, Some(content_type), body).await?;
        Reader::new(target.resource).object(body)
    }
}

impl Client {
    /// One binding as everybody makes it.
    async fn bind(&self, binding: &Binding) -> Result<(), Status> {
        let target = Target::object(&gvr::PODS, &binding.namespace, &binding.name).sub("binding");
        let mut body = value!({
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": (binding.name.as_str()), "namespace": (binding.namespace.as_str())},
            "target": {"apiVersion": "v1", "kind": "Node", "name": (binding.node.as_str())}
        });
        if !binding.uid.is_empty() {
            body.set(&["metadata", "uid"], binding.uid.as_str());
        }
        let path = Path::of(&target);
        self.call(Method::POST, &path.0, Some("application/json"), json::encode(&body).into()).await.map(drop)
    }
}

#[async_trait]
impl ResourceApi for Client {
    async fn get(&self, target: &Target<'_>) -> Result<Arc<StoredObject>, Status> {
        let (_, body) = self.call(Method::GET, &Path::of(target).0, None, Bytes::new()).await?;
        Reader::new(target.resource).object(body)
    }

    async fn list(&self, of: &Collection<'_>, options: &ListOptions) -> Result<ObjectList, Status> {
        let mut path = Path::of_collection(of);
        path.add_list(options);
        let (_, body) = self.call(Method::GET, &path.0, None, Bytes::new()).await?;
        Reader::new(of.resource).list(body)
    }

    async fn watch(&self, of: &Collection<'_>, options: &WatchOptions) -> Result<Box<dyn WatchStream>, Status> {
        let mut path = Path::of_collection(of);
        path.add("watch", "true");
        path.add_selectors(&options.labels, &options.fields, options.shard.as_ref());
        if let Some(after) = options.after {
            path.add("resourceVersion", &after.to_string());
        }
        if options.bookmarks {
            path.add("allowWatchBookmarks", "true");
        }
        if options.initial_events {
            path.add("sendInitialEvents", "true");
            path.add("resourceVersionMatch", "NotOlderThan");
        }
        if let Some(timeout) = options.timeout {
            path.add("timeoutSeconds", &timeout.as_secs().max(1).to_string());
        }
        let answer = self.watches.send(Method::GET, &path.0, None, Bytes::new()).await?;
        let code = answer.status();
        if !code.is_success() {
            let body = answer.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
            return Err(answer::status(code.as_u16(), &body));
        }
        Ok(Box::new(RemoteWatch { body: answer.into_body(), lines: Lines::new(Reader::new(of.resource)) }))
    }

    async fn create(
        &self,
        target: &Target<'_>,
        object: Value,
        options: &WriteOptions,
    ) -> Result<Arc<StoredObject>, Status> {
        // A name in the path belongs to the subresource's parent; plain creations go to the collection.
        let target = if target.subresource.is_empty() { Target { name: "", ..*target } } else { *target };
        self.write(Method::POST, &target, "application/json", json::encode(&object).into(), options).await
    }

    async fn update(
        &self,
        target: &Target<'_>,
        object: Value,
        options: &WriteOptions,
    ) -> Result<Arc<StoredObject>, Status> {
        self.write(Method::PUT, target, "application/json", json::encode(&object).into(), options).await
    }

    async fn patch(
        &self,
        target: &Target<'_>,
        patch: PatchBody,
        options: &WriteOptions,
    ) -> Result<Arc<StoredObject>, Status> {
        let content_type = match patch.kind {
            PatchKind::Json => "application/json-patch+json",
            PatchKind::Merge => "application/merge-patch+json",
            PatchKind::Strategic => "application/strategic-merge-patch+json",
            PatchKind::Apply => "application/apply-patch+yaml",
        };
        self.write(Method::PATCH, target, content_type, patch.body, options).await
    }

    async fn delete(&self, target: &Target<'_>, options: &DeleteOptions) -> Result<Deleted, Status> {
        let body = delete_body(options);
        let (code, body) = self.call(Method::DELETE, &Path::of(target).0, Some("application/json"), body).await?;
        let reader = Reader::new(target.resource);
        if reader.is_status(&body) {
            // The server says it is gone without showing it: what is known of it is its address.
            return Ok(Deleted::Gone(reader.named(target.namespace, target.name)));
        }
        let object = reader.object(body)?;
        let marked = code == StatusCode::ACCEPTED || reader.is_marked(&object);
        Ok(if marked { Deleted::Marked(object) } else { Deleted::Gone(object) })
    }

    async fn delete_collection(
        &self,
        of: &Collection<'_>,
        list: &ListOptions,
        options: &DeleteOptions,
    ) -> Result<ObjectList, Status> {
        let mut path = Path::of_collection(of);
        path.add_list(list);
        let (_, body) = self.call(Method::DELETE, &path.0, Some("application/json"), delete_body(options)).await?;
        Reader::new(of.resource).list(body)
    }

    async fn rows(&self, projection: &str) -> Result<Option<Box<dyn RowStream>>, Status> {
        self.interchange.rows(&self.watches, projection).await
    }

    async fn create_events(&self, events: Vec<NewEvent>) -> Vec<Result<(), Status>> {
        if let Some(answers) = self.interchange.create_events(&self.calls, &events).await {
            return answers;
        }
        let sent = events.into_iter().map(|event| async move {
            let target = Target::object(&gvr::EVENTS, &event.regarding.namespace, "");
            self.create(&target, event.object(), &WriteOptions::default()).await.map(drop)
        });
        stream::iter(sent).buffered(EVENTS_AT_ONCE).collect().await
    }

    async fn bind_batch(&self, bindings: Vec<Binding>) -> Vec<Result<(), Status>> {
        if let Some(answers) = self.interchange.bind_batch(&self.calls, &bindings).await {
            return answers;
        }
        let binding = |binding: Binding| async move { self.bind(&binding).await };
        stream::iter(bindings).map(binding).buffered(BINDINGS_AT_ONCE).collect().await
    }

    async fn bind_gang(&self, bindings: Vec<Binding>) -> Result<(), Status> {
        if let Some(answer) = self.interchange.bind_gang(&self.calls, &bindings).await {
            return answer;
        }
        for binding in &bindings {
            self.bind(binding).await?;
        }
        Ok(())
    }
}

fn delete_body(options: &DeleteOptions) -> Bytes {
    let mut body = value!({"apiVersion": "v1", "kind": "DeleteOptions"});
    if let Some(seconds) = options.grace_period_seconds {
        body.set(&["gracePeriodSeconds"], seconds);
    }
    if let Some(uid) = &options.uid {
        body.set(&["preconditions", "uid"], uid.as_str());
    }
    if let Some(version) = &options.resource_version {
        body.set(&["preconditions", "resourceVersion"], version.as_str());
    }
    if let Some(propagation) = options.propagation {
        let policy = match propagation {
            Propagation::Orphan => "Orphan",
            Propagation::Background => "Background",
            Propagation::Foreground => "Foreground",
        };
        body.set(&["propagationPolicy"], policy);
    }
    if options.dry_run {
        body.set(&["dryRun"], Value::Array(vec!["All".into()]));
    }
    json::encode(&body).into()
}

/// A path with its query, put together piece by piece.
struct Path(String);

impl Path {
    fn of_collection(of: &Collection<'_>) -> Self {
        let GroupVersionResource { group, version, resource } = of.resource;
        let mut path = if group.is_empty() { format!("/api/{version}") } else { format!("/apis/{group}/{version}") };
        if !of.namespace.is_empty() {
            path.push_str("/namespaces/");
            path.push_str(of.namespace);
        }
        path.push('/');
        path.push_str(resource);
        Self(path)
    }

    fn of(target: &Target<'_>) -> Self {
        let mut path = Self::of_collection(&Collection { resource: target.resource, namespace: target.namespace });
        for part in [target.name, target.subresource].into_iter().filter(|part| !part.is_empty()) {
            path.0.push('/');
            path.0.push_str(&escaped(part));
        }
        path
    }

    fn add(&mut self, key: &str, value: &str) {
        self.0.push(if self.0.contains('?') { '&' } else { '?' });
        self.0.push_str(key);
        self.0.push('=');
        self.0.push_str(&escaped(value));
    }

    fn add_selectors(&mut self, labels: &LabelSelector, fields: &FieldSelector, shard: Option<&ShardSelector>) {
        let shard = shard.map(|shard| shard.text().to_owned()).unwrap_or_default();
        let selectors =
            [("labelSelector", &labels.to_string()), ("fieldSelector", &fields.to_string()), ("shardSelector", &shard)];
        for (key, selector) in selectors {
            if !selector.is_empty() {
                self.add(key, selector);
            }
        }
    }

    fn add_list(&mut self, options: &ListOptions) {
        self.add_selectors(&options.labels, &options.fields, options.shard.as_ref());
        if options.limit > 0 {
            self.add("limit", &options.limit.to_string());
        }
        if !options.continue_token.is_empty() {
            self.add("continue", &options.continue_token);
        }
        match options.version {
            VersionRule::MostRecent => {}
            VersionRule::Any => self.add("resourceVersion", "0"),
            VersionRule::NotOlderThan(revision) => {
                self.add("resourceVersion", &revision.to_string());
                self.add("resourceVersionMatch", "NotOlderThan");
            }
            VersionRule::Exact(revision) => {
                self.add("resourceVersion", &revision.to_string());
                self.add("resourceVersionMatch", "Exact");
            }
        }
    }
}

/// Percent-encodes everything that is not unreserved in URLs (RFC 3986).
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// A watch's answer, read line by line.
struct RemoteWatch {
    body: hyper::body::Incoming,
    lines: Lines,
}

#[async_trait]
impl WatchStream for RemoteWatch {
    async fn next(&mut self, max: usize) -> Option<Result<Vec<WatchEvent>, Status>> {
        loop {
            if let Some(events) = self.lines.take(max) {
                return Some(events);
            }
            match self.body.frame().await? {
                Ok(frame) => {
                    if let Ok(data) = frame.into_data() {
                        self.lines.push(&data);
                    }
                }
                // A broken connection is how a server that restarts ends a watch: the caller begins anew.
                Err(_) => return None,
            }
        }
    }
}
