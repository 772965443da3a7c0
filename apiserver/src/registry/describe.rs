//! [`Describe`]: the facets of an object that somebody else wrote, read back from its bytes. Used when the log is
//! replayed at start and, with etcd, for every write of another server; so only the few values that facets are made of
//! are decoded.

use compact_str::CompactString;
use gantry_machinery::codec::json;
use gantry_machinery::value;
use gantry_machinery::value::{Object, Value};
use gantry_store_cache::key::ObjectKey;
use gantry_store_cache::object::Facets;
use gantry_store_cache::store::Describe;

use super::body;
use super::splice::{self, Span};
use super::strategy::Strategy;
use super::table::Table;

/// Reads facets back by the table's strategies. The store is opened with one.
pub struct FacetReader {
    table: Table,
}

impl FacetReader {
    /// A reader of what this table's strategies write.
    #[must_use]
    pub fn new(table: Table) -> Self {
        Self { table }
    }
}

impl Describe for FacetReader {
    fn facets(&self, key: &ObjectKey, bytes: &[u8]) -> Facets {
        match self.table.collection(key.collection()) {
            Some(row) => body::facets(&*row.strategy, &pick(&*row.strategy, key, bytes)),
            // A custom kind, whose definition may not have been read yet: labels are all that it has as facets. Or
            // bookkeeping of our own, which has none.
            None => Facets { labels: labels_of(bytes), fields: Box::default() },
        }
    }
}

fn labels_of(bytes: &[u8]) -> Box<[(CompactString, CompactString)]> {
    let metadata = splice::get(bytes, &splice::root(bytes), "metadata");
    let labels = metadata.and_then(|m| splice::get(bytes, &m, "labels")).and_then(|s| json::parse(&bytes[s]).ok());
    labels.map_or_else(Box::default, |labels| body::labels(&value!({"metadata": {"labels": labels}})))
}

/// The fields that the store indexes besides names and labels: those that every node, or every loop, selects by.
#[must_use]
pub fn indexed_fields() -> Vec<(CompactString, Vec<&'static str>)> {
    vec![
        ("pods".into(), vec!["spec.nodeName"]),
        ("events".into(), vec!["involvedObject.uid", "involvedObject.name"]),
        ("secrets".into(), vec!["type"]),
    ]
}

/// A thinned copy of the object that has all a strategy's `fields` looks at: its name, the labels, and of each top-level
/// field the scalars and small objects; lists only where a selectable field is one (`status.podIPs`).
fn pick(strategy: &dyn Strategy, key: &ObjectKey, bytes: &[u8]) -> Value {
    let root = splice::root(bytes);
    let mut object = Object::new();
    object.object_entry("metadata").insert("name", key.name());
    let selectable = strategy.selectable_fields();
    for (key, span) in splice::members(bytes, &root) {
        let Ok(key) = std::str::from_utf8(key) else { continue };
        if key == "metadata" {
            let labels = splice::get(bytes, &span, "labels").and_then(|s| json::parse(&bytes[s]).ok());
            if let Some(labels) = labels {
                object.object_entry("metadata").insert("labels", labels);
            }
        } else if !selectable.is_empty() {
            match bytes[span.start] {
                b'{' => {
                    let thinned = thin(bytes, &span, selectable);
                    object.insert(key, thinned);
                }
                b'[' => {}
                _ => put(&mut object, key, bytes, span),
            }
        }
    }
    Value::Object(object)
}

fn thin(bytes: &[u8], span: &Span, selectable: &[&str]) -> Object {
    let mut object = Object::new();
    for (key, span) in splice::members(bytes, span) {
        let Ok(key) = std::str::from_utf8(key) else { continue };
        let named = || selectable.iter().any(|f| f.rsplit('.').next() == Some(key));
        if !matches!(bytes[span.start], b'{' | b'[') || named() {
            put(&mut object, key, bytes, span);
        }
    }
    object
}

fn put(object: &mut Object, key: &str, bytes: &[u8], span: Span) {
    if let Ok(value) = json::parse(&bytes[span]) {
        object.insert(key, value);
    }
}
