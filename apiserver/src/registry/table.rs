//! The table of resources: which strategy serves which path, and where its objects lie in the store.
//!
//! Built once at start from [`kinds`](super::kinds); read by the verbs, by routing and by discovery.

use compact_str::CompactString;
use gantry_machinery::resource::{GroupVersionResource, Resource};
use hashbrown::{Equivalent, HashMap};

use super::kinds;
use super::runtime_config::RuntimeConfig;
use super::strategy::Strategy;

/// One resource as the registry serves it.
#[derive(Clone)]
pub struct Row {
    /// The resource's row: path, kind, verbs, subresources.
    pub resource: &'static Resource,
    /// What is particular about the kind.
    pub strategy: &'static dyn Strategy,
    /// Where its objects lie in the store (`pods`, `deployments.apps`).
    pub collection: CompactString,
}

impl Row {
    /// The row of a strategy.
    #[must_use]
    pub fn new(strategy: &'static dyn Strategy) -> Self {
        let resource = strategy.resource();
        let stored = strategy.version().map_or(resource, |version| version.stored().resource());
        Self { resource, strategy, collection: CompactString::from(stored.gvr.collection().as_ref()) }
    }

    /// Its path.
    #[must_use]
    pub fn gvr(&self) -> &'static GroupVersionResource {
        &self.resource.gvr
    }

    /// The plural name (`pods`).
    #[must_use]
    pub fn plural(&self) -> &'static str {
        &self.resource.gvr.resource
    }

    /// The API group; empty for core.
    #[must_use]
    pub fn group(&self) -> &'static str {
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

/// All resources, by path and by collection.
#[derive(Debug, Default)]
pub struct Table {
    rows: Vec<Row>,
    /// What is answered without a row: reviews, and the old way to bind.
    unstored: Vec<&'static Resource>,
    by_path: HashMap<GroupVersionResource, usize, ahash::RandomState>,
    by_collection: HashMap<CompactString, usize, ahash::RandomState>,
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

    /// The table of what a server serves that was started with this flag.
    #[must_use]
    pub fn served(config: &RuntimeConfig) -> Self {
        let mut table = Self::new(kinds::served(config));
        table.unstored.retain(|resource| config.serves(&resource.gvr));
        table
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

    /// The rows, in the order of the kinds.
    #[must_use]
    pub fn rows(&self) -> &[Row] {
        &self.rows
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
    pub fn get(&self, gvr: &GroupVersionResource) -> Option<&Row> {
        self.by_path.get(gvr).map(|at| &self.rows[*at])
    }

    /// The row of a path in parts, as a router has it.
    #[must_use]
    pub fn find(&self, group: &str, version: &str, resource: &str) -> Option<&Row> {
        self.by_path.get(&Parts { group, version, resource }).map(|at| &self.rows[*at])
    }

    /// The row whose objects lie in a collection of the store.
    #[must_use]
    pub fn collection(&self, name: &str) -> Option<&Row> {
        self.by_collection.get(name).map(|at| &self.rows[*at])
    }
}
