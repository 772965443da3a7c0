//! `ResourceApi` in process, and the table of resources.
//!
//! [`Registry`] is what the whole API server shares: the table, the store, admission. A request (or a loop) takes a
//! [`Handle`] with [`Registry::as_user`] and calls the verbs on it; the HTTP layer calls the handle's `*_body` forms,
//! which take the request's bytes, and [`Handle::subscribe`], which gives shared events instead of objects.
//! One verb, one file; what the verbs share of a kind is its [`strategy`].

pub mod handle;
pub mod kinds;
pub mod request;
pub mod strategy;
pub mod table;
pub mod token;
pub mod validate;
pub mod watch;

use std::sync::{Arc, OnceLock};

use gantry_machinery::resource_api::{
    Binding, Collection, DeleteOptions, Deleted, ListOptions, ObjectList, PatchBody, Target, WriteOptions,
};
use gantry_machinery::status::Status;
use gantry_machinery::value::Value;
use gantry_store_cache::object::StoredObject;
use gantry_store_cache::store::Store;

use self::handle::{Handle, RequestBody, Written};
use self::request::RequestContext;
use self::table::Table;
use self::token::TokenIssuer;

/// Everything the verbs share. One per process; cheap to hand around as an `Arc`.
pub struct Registry {
    store: Store,
    table: Table,
    tokens: OnceLock<Arc<dyn TokenIssuer>>,
}

impl Registry {
    /// The registry over a store, serving these resources.
    #[must_use]
    pub fn new(store: Store, table: Table) -> Arc<Self> {
        Arc::new(Self { store, table, tokens: OnceLock::new() })
    }

    /// Says who signs ServiceAccount tokens. Until then `serviceaccounts/token` answers 503. Only the first call counts.
    pub fn set_token_issuer(&self, issuer: Arc<dyn TokenIssuer>) {
        // A second issuer would make tokens that the first one's verifier refuses: the first stands.
        let _ = self.tokens.set(issuer);
    }

    /// The resources served.
    #[must_use]
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// The store beneath.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The registry as one user.
    #[must_use]
    pub fn as_user(self: &Arc<Self>, request: Arc<RequestContext>) -> Handle {
        Handle { registry: self.clone(), request }
    }
}

pub(crate) fn not_built() -> Status {
    Status { code: 501, message: "this verb is being built".into(), ..Status::default() }
}

impl Registry {
    fn decode_body(
        &self,
        _request: &RequestContext,
        _target: &Target<'_>,
        _body: &RequestBody,
        _options: &WriteOptions,
    ) -> Result<Value, Status> {
        Err(not_built())
    }
    async fn get(&self, _request: &RequestContext, _target: &Target<'_>) -> Result<Arc<StoredObject>, Status> {
        Err(not_built())
    }
    async fn list(
        &self,
        _request: &RequestContext,
        _of: &Collection<'_>,
        _options: &ListOptions,
    ) -> Result<ObjectList, Status> {
        Err(not_built())
    }
    async fn create(
        &self,
        _request: &RequestContext,
        _target: &Target<'_>,
        _object: Value,
        _options: &WriteOptions,
    ) -> Result<Written, Status> {
        Err(not_built())
    }
    async fn update(
        &self,
        _request: &RequestContext,
        _target: &Target<'_>,
        _object: Value,
        _options: &WriteOptions,
    ) -> Result<Written, Status> {
        Err(not_built())
    }
    async fn patch(
        &self,
        _request: &RequestContext,
        _target: &Target<'_>,
        _patch: PatchBody,
        _options: &WriteOptions,
    ) -> Result<Written, Status> {
        Err(not_built())
    }
    async fn delete(
        &self,
        _request: &RequestContext,
        _target: &Target<'_>,
        _options: &DeleteOptions,
    ) -> Result<Deleted, Status> {
        Err(not_built())
    }
    async fn delete_collection(
        &self,
        _request: &RequestContext,
        _of: &Collection<'_>,
        _list: &ListOptions,
        _options: &DeleteOptions,
    ) -> Result<ObjectList, Status> {
        Err(not_built())
    }
    async fn bind_batch(&self, bindings: Vec<Binding>) -> Vec<Result<(), Status>> {
        bindings.iter().map(|_| Err(not_built())).collect()
    }
}
