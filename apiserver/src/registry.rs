//! `ResourceApi` in process, and the table of resources.
//!
//! [`Registry`] is what the whole API server shares: the table, the store, admission. A request (or a loop) takes a
//! [`Handle`] with [`Registry::as_user`] and calls the verbs on it; the HTTP layer calls the handle's `*_body` forms,
//! which take the request's bytes, and [`Handle::subscribe`], which gives shared events instead of objects.
//! One verb, one file; what the verbs share of a kind is its [`strategy`].

mod addresses;
mod answer;
mod bind;
pub(crate) mod body;
pub(crate) mod call;
pub mod components;
mod continue_token;
pub(crate) mod create;
pub mod custom;
mod decode;
mod delete;
mod delete_collection;
pub mod describe;
mod events;
mod eviction;
mod finalize;
mod gated;
mod get;
pub mod handle;
pub mod kinds;
mod list;
mod managed;
mod metadata;
pub mod options;
mod patch;
mod pod_status;
pub(crate) mod random;
pub mod request;
mod rewrite;
pub mod runtime_config;
mod scale;
mod selection;
pub(crate) mod splice;
pub mod strategy;
pub mod table;
pub mod token;
mod unconnected;
mod update;
pub mod validate;
pub mod versions;
pub mod watch;

use std::sync::{Arc, OnceLock};

use gantry_store_cache::store::Store;

pub use self::addresses::ServiceRanges;
use self::components::Components;
pub use self::decode::delete_options;
use self::handle::Handle;
use self::request::RequestContext;
use self::table::Table;
use self::token::TokenIssuer;
use crate::admission::Chain;
use crate::admission::resource_quota::Turns;
use crate::gate::authz::Authorizer;

/// Everything the verbs share. One per process; cheap to hand around as an `Arc`.
pub struct Registry {
    store: Store,
    table: Table,
    components: Components,
    admission: Chain,
    addresses: ServiceRanges,
    turns: Turns,
    tokens: OnceLock<Arc<dyn TokenIssuer>>,
    authorizer: OnceLock<Arc<Authorizer>>,
}

impl Registry {
    /// The registry over a store, serving these resources, with the default ranges of Service addresses.
    #[must_use]
    pub fn new(store: Store, table: Table) -> Arc<Self> {
        Self::with_ranges(store, table, ServiceRanges::default())
    }

    /// The registry over a store, serving these resources; Services get their addresses from `ranges`.
    #[must_use]
    pub fn with_ranges(store: Store, table: Table, ranges: ServiceRanges) -> Arc<Self> {
        Arc::new(Self {
            store,
            table,
            components: Components::default(),
            admission: Chain::default(),
            addresses: ranges,
            turns: Turns::default(),
            tokens: OnceLock::new(),
            authorizer: OnceLock::new(),
        })
    }

    /// Says who signs ServiceAccount tokens. Until then `serviceaccounts/token` answers 503. Only the first call counts.
    pub fn set_token_issuer(&self, issuer: Arc<dyn TokenIssuer>) {
        // A second issuer would make tokens that the first one's verifier refuses: the first stands.
        let _ = self.tokens.set(issuer);
    }

    /// Says who decides what users may do: admission asks before rights are given away. Only the first call counts.
    pub fn set_authorizer(&self, authorizer: Arc<Authorizer>) {
        let _ = self.authorizer.set(authorizer);
    }

    /// Who decides what users may do; `None` until a server stands before this registry.
    pub(crate) fn authorizer(&self) -> Option<&Authorizer> {
        self.authorizer.get().map(|a| &**a)
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

    /// The ranges that Services get addresses from.
    #[must_use]
    pub fn service_ranges(&self) -> &ServiceRanges {
        &self.addresses
    }

    /// The registry as one user.
    #[must_use]
    pub fn as_user(self: &Arc<Self>, request: Arc<RequestContext>) -> Handle {
        Handle { registry: self.clone(), request }
    }
}
