//! [`Handle`]: the registry as one user sees it. Implements [`ResourceApi`] for loops in this process, and offers the
//! HTTP layer the same verbs on request bodies and shared events.
//!
//! Nothing is decided here: each call goes to the verb's own file.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use gantry_machinery::event::NewEvent;
use gantry_machinery::interchange::{Part, Row};
use gantry_machinery::resource_api::{
    Binding, Collection, DeleteOptions, Deleted, ListOptions, ObjectList, PatchBody, ResourceApi, RowStream, Target,
    VersionRule, WatchOptions, WatchStream, WriteOptions,
};
use gantry_machinery::status::Status;
use gantry_machinery::value::Value;
use gantry_store_cache::object::StoredObject;
use gantry_store_cache::row_feed::RowFeed;

use super::Registry;
use super::request::RequestContext;
use super::watch::WatchFeed;

/// The registry as one user, for the length of one request (or the life of one loop).
#[derive(Clone)]
pub struct Handle {
    pub(super) registry: Arc<Registry>,
    pub(super) request: Arc<RequestContext>,
}

/// A request's body as it came over the wire.
#[derive(Clone, Debug)]
pub struct RequestBody {
    /// How it is encoded.
    pub format: BodyFormat,
    /// The bytes, at most as many as the HTTP layer lets in.
    pub bytes: Bytes,
}

/// The encodings that request bodies come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyFormat {
    /// `application/json`
    Json,
    /// `application/yaml`
    Yaml,
    /// `application/vnd.kubernetes.protobuf`
    Protobuf,
}

/// What a write came to.
#[derive(Clone, Debug)]
pub struct Written {
    /// The object as it is now (for `binding` and `eviction` a `Status`, for `scale` a `Scale`, and so on).
    pub object: Arc<StoredObject>,
    /// Whether it did not exist before: 201 instead of 200.
    pub created: bool,
}

impl Handle {
    /// The request this handle serves.
    #[must_use]
    pub fn request(&self) -> &Arc<RequestContext> {
        &self.request
    }

    /// The registry behind it.
    #[must_use]
    pub fn registry(&self) -> &Arc<Registry> {
        &self.registry
    }

    /// [`ResourceApi::create`] from a request's body: decodes it as the target's kind with the field validation asked
    /// for, leaving warnings in the request's context.
    ///
    /// # Errors
    /// The Status that the client is sent; nothing was written.
    pub async fn create_body(
        &self,
        target: &Target<'_>,
        body: RequestBody,
        options: &WriteOptions,
    ) -> Result<Written, Status> {
        let object = self.registry.decode_body(&self.request, target, &body, options)?;
        self.registry.create(&self.request, target, object, options).await
    }

    /// [`ResourceApi::update`] from a request's body.
    ///
    /// # Errors
    /// The Status that the client is sent; nothing was written.
    pub async fn update_body(
        &self,
        target: &Target<'_>,
        body: RequestBody,
        options: &WriteOptions,
    ) -> Result<Written, Status> {
        let object = self.registry.decode_body(&self.request, target, &body, options)?;
        self.registry.update(&self.request, target, object, options).await
    }

    /// [`ResourceApi::get`] in a state that is new enough.
    ///
    /// # Errors
    /// As there; 504 for a revision that is not reached in time.
    pub async fn get_at(&self, target: &Target<'_>, version: VersionRule) -> Result<Arc<StoredObject>, Status> {
        self.registry.get_at(&self.request, target, version).await
    }

    /// [`ResourceApi::patch`], telling whether it created the object (apply does).
    ///
    /// # Errors
    /// The Status that the client is sent; nothing was written.
    pub async fn patch_body(
        &self,
        target: &Target<'_>,
        patch: PatchBody,
        options: &WriteOptions,
    ) -> Result<Written, Status> {
        self.registry.patch(&self.request, target, patch, options).await
    }

    /// Why the target cannot be connected to (`log`, `exec`, `attach`, `portforward`, `proxy`): 404 for an object that is
    /// not there, 400 for a pod without a node, 501 with the reason for all else.
    #[must_use]
    pub fn connection_refused(&self, target: &Target<'_>) -> Status {
        let Some(row) = self.registry.table.get(target.resource) else { return Status::no_such_resource() };
        let refused = self.registry.unconnected(&row, target.namespace, target.name, target.subresource);
        refused.unwrap_or_else(|| Status::method_not_supported(row.gvr(), "connect"))
    }

    /// [`ResourceApi::watch`], giving the events themselves: what they are encoded to is then made once for all
    /// watchers ([`gantry_store_cache::event::Event::encoded`]).
    ///
    /// # Errors
    /// 410 `Expired` when the revision asked for is too old, 400 for a selector the kind does not have.
    pub async fn subscribe(&self, of: &Collection<'_>, options: &WatchOptions) -> Result<WatchFeed, Status> {
        self.registry.subscribe(&self.request, of, options).await
    }
}

#[async_trait]
impl ResourceApi for Handle {
    async fn get(&self, target: &Target<'_>) -> Result<Arc<StoredObject>, Status> {
        self.registry.get(&self.request, target).await
    }

    async fn list(&self, of: &Collection<'_>, options: &ListOptions) -> Result<ObjectList, Status> {
        self.registry.list(&self.request, of, options).await
    }

    async fn watch(&self, of: &Collection<'_>, options: &WatchOptions) -> Result<Box<dyn WatchStream>, Status> {
        Ok(Box::new(self.subscribe(of, options).await?))
    }

    async fn create(
        &self,
        target: &Target<'_>,
        object: Value,
        options: &WriteOptions,
    ) -> Result<Arc<StoredObject>, Status> {
        Ok(self.registry.create(&self.request, target, object, options).await?.object)
    }

    async fn update(
        &self,
        target: &Target<'_>,
        object: Value,
        options: &WriteOptions,
    ) -> Result<Arc<StoredObject>, Status> {
        Ok(self.registry.update(&self.request, target, object, options).await?.object)
    }

    async fn patch(
        &self,
        target: &Target<'_>,
        patch: PatchBody,
        options: &WriteOptions,
    ) -> Result<Arc<StoredObject>, Status> {
        Ok(self.registry.patch(&self.request, target, patch, options).await?.object)
    }

    async fn delete(&self, target: &Target<'_>, options: &DeleteOptions) -> Result<Deleted, Status> {
        self.registry.delete(&self.request, target, options).await
    }

    async fn delete_collection(
        &self,
        of: &Collection<'_>,
        list: &ListOptions,
        options: &DeleteOptions,
    ) -> Result<ObjectList, Status> {
        self.registry.delete_collection(&self.request, of, list, options).await
    }

    async fn create_events(&self, events: Vec<NewEvent>) -> Vec<Result<(), Status>> {
        self.registry.create_events(&self.request, events).await
    }

    async fn rows(&self, projection: &str) -> Result<Option<Box<dyn RowStream>>, Status> {
        let feed = self.registry.store().row_feed(projection);
        Ok(feed.map(|feed| Box::new(Rows { feed, complete: false }) as Box<dyn RowStream>))
    }

    async fn bind_batch(&self, bindings: Vec<Binding>) -> Vec<Result<(), Status>> {
        self.registry.bind_batch(bindings).await
    }

    async fn bind_gang(&self, bindings: Vec<Binding>) -> Result<(), Status> {
        self.registry.bind_gang(&bindings).await
    }
}

/// Rows of this process's store.
struct Rows {
    feed: RowFeed,
    /// Whether all there were have been given.
    complete: bool,
}

#[async_trait]
impl RowStream for Rows {
    async fn next(&mut self) -> Option<Result<Part, Status>> {
        let rows = self.feed.next().await.into_iter().map(Row::from).collect();
        let complete = !std::mem::replace(&mut self.complete, true);
        Some(Ok(Part { rows, complete }))
    }
}
