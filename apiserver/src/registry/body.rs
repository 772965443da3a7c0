//! Between a decoded object and the bytes the store keeps: encoding with the slot for the revision, the facets an
//! object is selected by, and answers that were never stored.

use std::sync::Arc;

use bytes::Bytes;
use compact_str::CompactString;
use gantry_machinery::codec::json;
use gantry_machinery::status::Status;
use gantry_machinery::value::{Object, Value};
use gantry_store_cache::key::ObjectKey;
use gantry_store_cache::object::{Facets, NewBody, StoredObject};
use gantry_store_cache::revision::Revision;

use super::strategy::Strategy;

/// The decoded form of a stored object, shared with whoever else holds it.
///
/// # Errors
/// 500 when the stored bytes are no JSON object, which only a foreign writer of the same etcd can bring about.
pub(crate) fn decode(object: &StoredObject) -> Result<Arc<Value>, Status> {
    let value = object.shared(|o| json::parse_own(&o.body).unwrap_or_default());
    match *value {
        Value::Object(_) => Ok(value),
        _ => Err(Status::internal(format_args!("{} is stored in a form that cannot be read", object.key))),
    }
}

/// The object as the store takes it, its resourceVersion left open for the commit.
pub(crate) fn encode(object: &mut Value) -> NewBody {
    // Only what has a metadata object has a place for its version.
    object.force_object().object_entry("metadata");
    json::encode_with_revision_slot(object)
}

/// What an object is selected by.
pub(crate) fn facets(strategy: &dyn Strategy, object: &Value) -> Facets {
    Facets { labels: labels(object), fields: strategy.fields(object).into() }
}

pub(crate) fn labels(object: &Value) -> Box<[(CompactString, CompactString)]> {
    let mut labels: Vec<(CompactString, CompactString)> = object
        .object_at(&["metadata", "labels"])
        .into_iter()
        .flat_map(Object::iter)
        .map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().into()))
        .collect();
    labels.sort_unstable();
    labels.into()
}

/// An answer in the stored form that is not in the store: the result of a dry run, a `Scale`, a `Status`.
pub(crate) fn answer(key: ObjectKey, revision: Revision, object: &Value, facets: Facets) -> Arc<StoredObject> {
    Arc::new(StoredObject::new(key, revision, revision, Bytes::from(json::encode(object)), facets))
}
