//! Between a decoded object and the bytes the store keeps: encoding with the slot for the revision, the facets an
//! object is selected by, and answers that were never stored.

use std::borrow::Cow;
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

/// The uid of a stored object, read without decoding the rest.
pub(crate) fn uid(object: &StoredObject) -> String {
    let [uid] = json::pick(&object.body, [&["metadata", "uid"]]);
    uid.and_then(|uid| uid.as_str()).map(Cow::into_owned).unwrap_or_default()
}

/// The decoded form of a stored object as readers of a version see it, and whether that is otherwise than stored.
pub(crate) fn decode_as(strategy: &dyn Strategy, object: &StoredObject) -> Result<(Arc<Value>, bool), Status> {
    let value = decode(object)?;
    if strategy.is_as_stored(object.revision) && !strategy.is_custom() {
        return Ok((value, false));
    }
    let mut shown = (*value).clone();
    let changed = strategy.read_stored(&mut shown);
    Ok(if changed { (Arc::new(shown), true) } else { (value, false) })
}

/// A stored object as readers of a version see it: itself, wherever its bytes will do.
///
/// # Errors
/// As [`decode`].
pub(crate) fn shown(strategy: &dyn Strategy, object: Arc<StoredObject>) -> Result<Arc<StoredObject>, Status> {
    if strategy.is_as_stored(object.revision) { Ok(object) } else { converted(strategy, object) }
}

/// [`shown`] for an object whose revision does not tell when its body was written: one that is gone.
///
/// # Errors
/// As [`decode`].
pub(crate) fn converted(strategy: &dyn Strategy, object: Arc<StoredObject>) -> Result<Arc<StoredObject>, Status> {
    if !strategy.is_custom() {
        return Ok(object);
    }
    let mut value = (*decode(&object)?).clone();
    if !strategy.read_stored(&mut value) {
        return Ok(object);
    }
    let facets = object.facets.clone();
    let body = Bytes::from(json::encode(&value));
    Ok(Arc::new(StoredObject::new(object.key.clone(), object.revision, object.created, body, facets)))
}

/// [`encode`] for an object of this strategy's version; the object itself stays in it.
pub(crate) fn encode_as(strategy: &dyn Strategy, object: &mut Value) -> NewBody {
    if !strategy.is_custom() {
        return encode(object);
    }
    let mut stored = object.clone();
    strategy.write_stored(&mut stored);
    encode(&mut stored)
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
