//! What a list, a watch or a deletecollection selects: both selectors, checked against what the kind offers, and the way
//! the store finds it fastest.

use std::sync::Arc;

use compact_str::CompactString;
use gantry_machinery::resource_api::Collection;
use gantry_machinery::selector::{FieldRequirement, FieldSelector, LabelSelector, ShardField, ShardSelector};
use gantry_machinery::status::Status;
use gantry_machinery::value::Value;
use gantry_store_cache::key::ObjectKey;
use gantry_store_cache::object::StoredObject;
use gantry_store_cache::view::View;
use gantry_store_cache::watch::{Facet, Interest};

use super::body;
use super::strategy::AnyStrategy;
use super::table::Row;

/// A selection of one collection's objects.
#[derive(Clone)]
pub(super) struct Selection {
    collection: CompactString,
    namespaced: bool,
    /// One namespace, from the path or from `metadata.namespace`.
    namespace: Option<CompactString>,
    /// One name, from `metadata.name`.
    name: Option<CompactString>,
    /// Pairs that objects must have, for an index to begin with: fields first, they select fewer.
    facets: Vec<Facet>,
    labels: LabelSelector,
    fields: FieldSelector,
    /// Requirements on fields that are read from the object itself, by the strategy that knows how.
    computed: Vec<FieldRequirement>,
    shard: Option<ShardSelector>,
    strategy: AnyStrategy,
}

impl Selection {
    /// The selection of a request.
    ///
    /// # Errors
    /// 400 for a field that the kind cannot be selected by, in upstream's words.
    pub(super) fn new(
        row: &Row,
        of: &Collection<'_>,
        labels: &LabelSelector,
        fields: &FieldSelector,
        shard: Option<&ShardSelector>,
    ) -> Result<Self, Status> {
        let mut namespace = (row.resource.namespaced && !of.namespace.is_empty()).then(|| of.namespace.into());
        let mut name = None;
        let mut facets = Vec::new();
        let mut computed = Vec::new();
        let translated;
        let fields = match row.strategy.version() {
            None => fields,
            Some(version) => {
                translated = version.translated(fields).map_err(|field| unsupported(&field, row))?;
                &translated
            }
        };
        for requirement in fields.requirements() {
            let field = requirement.field.as_str();
            let exact = || (!requirement.negated).then(|| requirement.value.clone());
            match field {
                "metadata.name" => name = name.or_else(exact),
                "metadata.namespace" if row.resource.namespaced => namespace = namespace.or_else(exact),
                "metadata.namespace" => {}
                _ if row.strategy.computed_field(&Value::Null, field).is_some() => computed.push(requirement.clone()),
                _ => {
                    let offered = row.strategy.selectable_fields();
                    let Some(known) = offered.iter().find(|f| **f == field) else {
                        return Err(unsupported(field, row));
                    };
                    if let Some(value) = exact() {
                        facets.push(Facet::Field(known, value));
                    }
                }
            }
        }
        if let Some((key, value)) = labels.exact_label() {
            facets.push(Facet::Label(key.into(), value.into()));
        }
        Ok(Self {
            collection: row.collection.clone(),
            namespaced: row.resource.namespaced,
            namespace,
            name,
            facets,
            labels: labels.clone(),
            fields: if computed.is_empty() { fields.clone() } else { fields.without(&computed) },
            computed,
            shard: shard.cloned(),
            strategy: row.strategy.clone(),
        })
    }

    /// Whether every object of the collection (or of its namespace) is selected, so that counting needs no looking.
    pub(super) fn is_everything(&self) -> bool {
        self.labels.is_everything() && self.fields.is_everything() && self.computed.is_empty() && self.shard.is_none()
    }

    /// Whether an object of the collection is selected.
    pub(super) fn matches(&self, object: &StoredObject) -> bool {
        self.namespace.as_ref().is_none_or(|n| n.as_str() == object.key.namespace())
            && self.labels.matches(&object.facets)
            && self.fields.matches_object(object)
            && self.shard.as_ref().is_none_or(|shard| is_of(shard, object))
            && (self.computed.is_empty() || self.computed_match(object))
    }

    /// Whether the fields that are no facets are as asked.
    fn computed_match(&self, object: &StoredObject) -> bool {
        let Ok(value) = body::decode(object) else { return false };
        self.computed.iter().all(|requirement| {
            let held = self.strategy.computed_field(&value, &requirement.field).unwrap_or_default();
            (held == requirement.value) != requirement.negated
        })
    }

    /// How many objects the collection, or its one namespace, holds in all.
    pub(super) fn count(&self, view: &View) -> usize {
        view.count(&self.collection, self.namespace.as_deref())
    }

    /// The selected objects in key order, beginning after `after`: a point read, an index, or a scan.
    pub(super) fn objects<'v>(
        &'v self,
        view: &'v View,
        after: Option<&'v ObjectKey>,
    ) -> Box<dyn Iterator<Item = Arc<StoredObject>> + Send + 'v> {
        if self.labels.is_nothing() {
            return Box::new(std::iter::empty());
        }
        let later = move |object: &Arc<StoredObject>| after.is_none_or(|a| object.key > *a);
        if let (Some(name), Some(namespace)) = (&self.name, self.namespace_of_name()) {
            let found = view.get(&ObjectKey::new(&self.collection, namespace, name));
            return Box::new(found.into_iter().filter(later).filter(|o| self.matches(o)));
        }
        if let Some(found) = self.facets.iter().find_map(|facet| view.indexed(&self.collection, facet)) {
            return Box::new(found.into_iter().filter(later).filter(|o| self.matches(o)));
        }
        let scan = view.scan(&self.collection, self.namespace.as_deref(), after);
        if self.is_everything() { Box::new(scan) } else { Box::new(scan.filter(|o| self.matches(o))) }
    }

    /// Where an object of the one name lies, if that is certain.
    fn namespace_of_name(&self) -> Option<&str> {
        match &self.namespace {
            Some(namespace) => Some(namespace),
            None if !self.namespaced => Some(""),
            None => None,
        }
    }

    /// What a watcher of this selection is woken for.
    pub(super) fn interest(&self) -> Interest {
        let mut interest = Interest {
            collection: self.collection.clone(),
            namespace: self.namespace.clone(),
            name: self.name.clone(),
            facet: self.facets.first().cloned(),
            filter: None,
        };
        if !self.is_everything() {
            let this = self.clone();
            interest.filter = Some(Arc::new(move |object| this.matches(object)));
        }
        if self.labels.is_nothing() {
            interest.filter = Some(Arc::new(|_| false));
        }
        interest
    }
}

/// Whether an object is of a shard. It is so for as long as it lives: neither value ever changes.
fn is_of(shard: &ShardSelector, object: &StoredObject) -> bool {
    match shard.field() {
        ShardField::Namespace => shard.matches(object.key.namespace()),
        ShardField::Uid => shard.matches(&body::uid(object)),
    }
}

fn unsupported(field: &str, row: &Row) -> Status {
    // Kinds with fields of their own, and custom ones, are refused by other functions upstream than kinds without.
    let plain = row.strategy.selectable_fields().is_empty() && !row.strategy.is_custom();
    Status::bad_request(if plain {
        format!("{field:?} is not a known field selector: only \"metadata.name\", \"metadata.namespace\"")
    } else {
        format!("field label not supported: {field}")
    })
}
