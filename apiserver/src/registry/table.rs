//! The table of resources: which strategy serves which path, and where its objects lie in the store.
//!
//! Built at start from [`kinds`](super::kinds); read by the verbs, by routing and by discovery. Rows of custom resources
//! come and go with their definitions ([`custom`](super::custom)); finding a built-in row costs nothing for it.

use std::ops::Deref;
use std::sync::Arc;

use arc_swap::ArcSwap;
use compact_str::CompactString;
use gantry_machinery::feature::Gates;
use gantry_machinery::resource::{GroupVersionResource, Resource};
use gantry_machinery::schema::Ref;
use hashbrown::{Equivalent, HashMap};
use tokio::sync::watch;

use super::kinds;
use super::runtime_config::RuntimeConfig;
use super::strategy::{AnyStrategy, Strategy};

/// One resource as the registry serves it.
#[derive(Clone)]
pub struct Row {
    /// The resource's row: path, kind, verbs, subresources.
    pub resource: Ref<Resource>,
    /// What is particular about the kind.
    pub strategy: AnyStrategy,
    /// Where its objects lie in the store (`pods`, `deployments.apps`).
    pub collection: CompactString,
}

impl Row {
    /// The row of a built-in strategy.
    #[must_use]
    pub fn new(strategy: &'static dyn Strategy) -> Self {
        let resource = strategy.resource();
        let stored = strategy.version().map_or(resource, |version| version.stored().resource());
        Self {
            collection: CompactString::from(stored.gvr.collection().as_ref()),
            resource: Ref::Static(resource),
            strategy: AnyStrategy::BuiltIn(strategy),
        }
    }

    /// The row of a custom strategy.
    #[must_use]
    pub fn custom(resource: Arc<Resource>, strategy: Arc<dyn Strategy>) -> Self {
        Self {
            collection: CompactString::from(resource.gvr.collection().as_ref()),
            resource: Ref::Shared(resource),
            strategy: AnyStrategy::Custom(strategy),
        }
    }

    /// Its path.
    #[must_use]
    pub fn gvr(&self) -> &GroupVersionResource {
        &self.resource.gvr
    }

    /// The plural name (`pods`).
    #[must_use]
    pub fn plural(&self) -> &str {
        &self.resource.gvr.resource
    }

    /// The API group; empty for core.
    #[must_use]
    pub fn group(&self) -> &str {
        &self.resource.gvr.group
    }

    /// Whether the resource serves `verb`.
    #[must_use]
    pub fn serves(&self, verb: &str) -> bool {
        self.resource.verbs.iter().any(|v| v == verb)
    }
}

impl std::fmt::Debug for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.resource.gvr)
    }
}

/// A path in parts: finds the owned key without becoming one. Hashes as [`GroupVersionResource`] does: the same texts in
/// the same order.
#[derive(Hash)]
struct Parts<'a> {
    group: &'a str,
    version: &'a str,
    resource: &'a str,
}

impl Equivalent<GroupVersionResource> for Parts<'_> {
    fn equivalent(&self, key: &GroupVersionResource) -> bool {
        key.resource == self.resource && key.version == self.version && key.group == self.group
    }
}

/// A row that was found: of the table itself, or of a custom resource, which lives as long as somebody uses it.
#[derive(Clone, Debug)]
pub enum Found<'t> {
    /// Of a built-in kind.
    BuiltIn(&'t Row),
    /// Of a custom kind.
    Custom(Arc<Row>),
}

impl Deref for Found<'_> {
    type Target = Row;
    fn deref(&self) -> &Row {
        match self {
            Self::BuiltIn(row) => row,
            Self::Custom(row) => row,
        }
    }
}

type ByPath<T> = HashMap<GroupVersionResource, T, ahash::RandomState>;

/// All resources, by path and by collection: the built-in ones, which never change, and the custom ones of this moment.
#[derive(Debug, Default)]
pub struct Table {
    rows: Vec<Row>,
    /// What is answered without a row: reviews, and the old way to bind.
    unstored: Vec<&'static Resource>,
    by_path: ByPath<usize>,
    by_collection: HashMap<CompactString, usize, ahash::RandomState>,
    custom: ArcSwap<ByPath<Arc<Row>>>,
    /// Counts the changes of `custom`.
    changes: watch::Sender<u64>,
    /// Up to which of them discovery tells; `None` where nobody makes documents.
    told: watch::Sender<Option<u64>>,
    gates: Gates,
}

impl Table {
    /// The table of these strategies. Of two with one path the later stands.
    #[must_use]
    pub fn new(strategies: impl IntoIterator<Item = &'static dyn Strategy>) -> Self {
        let mut table = Self { unstored: kinds::unstored().collect(), ..Self::default() };
        for strategy in strategies {
            let row = Row::new(strategy);
            let at = table.rows.len();
            table.by_path.insert(row.resource.gvr.clone(), at);
            // The stored version's row knows the collection best; another's stands in where that is not served.
            if row.strategy.version().is_none() {
                table.by_collection.insert(row.collection.clone(), at);
            } else {
                table.by_collection.entry(row.collection.clone()).or_insert(at);
            }
            table.rows.push(row);
        }
        table
    }

    /// The table of what a server serves that was started with these flags.
    #[must_use]
    pub fn served(config: &RuntimeConfig, gates: Gates) -> Self {
        let mut table = Self { gates, ..Self::new(kinds::served(config)) };
        table.unstored.retain(|resource| config.serves(&resource.gvr));
        table
    }

    /// Which features are on: what the kinds served here may hold.
    #[must_use]
    pub fn gates(&self) -> Gates {
        self.gates
    }

    /// The resources that are answered and never stored.
    #[must_use]
    pub fn unstored(&self) -> &[&'static Resource] {
        &self.unstored
    }

    /// Whether a path in parts is one of those.
    #[must_use]
    pub fn serves_unstored(&self, group: &str, version: &str, resource: &str) -> bool {
        let is = |gvr: &GroupVersionResource| gvr.resource == resource && gvr.version == version && gvr.group == group;
        self.unstored.iter().any(|row| is(&row.gvr))
    }

    /// The built-in rows, in the order of the kinds.
    #[must_use]
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// Every resource served now.
    #[must_use]
    pub fn resources(&self) -> Vec<Resource> {
        let mut custom: Vec<Resource> = self.custom_rows().iter().map(|row| (*row.resource).clone()).collect();
        custom.sort_by(|a, b| a.gvr.cmp(&b.gvr));
        self.rows.iter().map(|row| (*row.resource).clone()).chain(custom).collect()
    }

    /// The rows of custom resources, in no order.
    #[must_use]
    pub fn custom_rows(&self) -> Vec<Arc<Row>> {
        self.custom.load().values().cloned().collect()
    }

    /// Puts other custom rows in place of those there are. Requests under way end with the rows they began with.
    pub fn set_custom(&self, rows: impl IntoIterator<Item = Arc<Row>>) {
        let rows = rows.into_iter().filter(|row| !self.by_path.contains_key(row.gvr()));
        self.custom.store(Arc::new(rows.map(|row| (row.gvr().clone(), row)).collect()));
        self.changes.send_modify(|changes| *changes += 1);
    }

    /// Tells of changes of the custom rows.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Says that discovery tells of the custom rows up to this change, and that it will tell of others.
    pub fn discoverable(&self, change: u64) {
        self.told.send_replace(Some(change));
    }

    /// Waits until discovery, if there is any, tells of the custom rows of now.
    pub async fn until_discoverable(&self) {
        let change = *self.changes.borrow();
        // The sender lives as long as the table.
        let _ = self.told.subscribe().wait_for(|told| told.is_none_or(|told| told >= change)).await;
    }

    /// One row for each collection: what loops over all objects go by.
    pub fn collections(&self) -> impl Iterator<Item = &Row> {
        self.rows
            .iter()
            .enumerate()
            .filter(|(at, row)| self.by_collection.get(&row.collection) == Some(at))
            .map(|(_, row)| row)
    }

    /// The row of a path.
    #[must_use]
    pub fn get(&self, gvr: &GroupVersionResource) -> Option<Found<'_>> {
        self.find(&gvr.group, &gvr.version, &gvr.resource)
    }

    /// The row of a path in parts, as a router has it.
    #[must_use]
    pub fn find(&self, group: &str, version: &str, resource: &str) -> Option<Found<'_>> {
        let parts = Parts { group, version, resource };
        match self.by_path.get(&parts) {
            Some(at) => Some(Found::BuiltIn(&self.rows[*at])),
            None => self.custom.load().get(&parts).cloned().map(Found::Custom),
        }
    }

    /// The built-in row whose objects lie in a collection of the store.
    #[must_use]
    pub fn collection(&self, name: &str) -> Option<&Row> {
        self.by_collection.get(name).map(|at| &self.rows[*at])
    }
}
