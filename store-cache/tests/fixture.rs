//! Objects, transactions and waiting, as the tests write them.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use gantry_store_cache::key::ObjectKey;
use gantry_store_cache::object::{Facets, NewBody, StoredObject};
use gantry_store_cache::revision::Revision;
use gantry_store_cache::store::{Describe, Store};
use gantry_store_cache::txn::{Committed, Expect, Txn, TxnError, Write};
use gantry_store_cache::watch::{Change, ChangeKind, Subscription};

/// A test body is `revision|node|app|text`, its revision in front: as little as facets can be read from.
pub(crate) struct Lines;

pub(crate) const NODE: &str = "spec.nodeName";

impl Describe for Lines {
    fn facets(&self, _key: &ObjectKey, body: &[u8]) -> Facets {
        let text = std::str::from_utf8(body).unwrap();
        let mut parts = text.split('|').skip(1);
        facets(parts.next().unwrap(), parts.next().unwrap())
    }
}

fn facets(node: &str, app: &str) -> Facets {
    let labels = if app.is_empty() { Vec::new() } else { vec![("app".into(), app.into())] };
    let fields = if node.is_empty() { Vec::new() } else { vec![(NODE, node.into())] };
    Facets { labels: labels.into(), fields: fields.into() }
}

pub(crate) fn describe() -> Arc<dyn Describe> {
    Arc::new(Lines)
}

pub(crate) fn pod(name: &str) -> ObjectKey {
    ObjectKey::new("pods", "default", name)
}

pub(crate) fn body(node: &str, app: &str, text: &str) -> (NewBody, Facets) {
    let body = NewBody { bytes: format!("|{node}|{app}|{text}").into_bytes(), revision_slot: Some(0) };
    (body, facets(node, app))
}

pub(crate) fn put_full(key: &ObjectKey, expect: Expect, node: &str, app: &str, text: &str) -> Txn {
    let (body, facets) = body(node, app, text);
    Txn::one(key.clone(), expect, Write::Put { body, facets, ttl: None })
}

pub(crate) fn put(key: &ObjectKey, expect: Expect, text: &str) -> Txn {
    put_full(key, expect, "", "", text)
}

pub(crate) fn put_for(key: &ObjectKey, text: &str, ttl: Duration) -> Txn {
    let (body, facets) = body("", "", text);
    Txn::one(key.clone(), Expect::Any, Write::Put { body, facets, ttl: Some(ttl) })
}

pub(crate) fn delete(key: &ObjectKey, expect: Expect) -> Txn {
    Txn::one(key.clone(), expect, Write::Delete { last: None })
}

pub(crate) async fn committed(store: &Store, txn: Txn) -> Committed {
    within(store.commit(txn)).await.unwrap()
}

pub(crate) async fn refused(store: &Store, txn: Txn) -> Option<Arc<StoredObject>> {
    match within(store.commit(txn)).await {
        Err(TxnError::Conflict { current, .. }) => current,
        other => panic!("expected a conflict, got {other:?}"),
    }
}

/// The text of an object, after checking that its body carries its own revision.
pub(crate) fn text(object: &StoredObject) -> String {
    let body = std::str::from_utf8(&object.body).unwrap();
    let mut parts = body.split('|');
    assert_eq!(parts.next().unwrap(), object.revision.to_string(), "the body of {object:?} carries its revision");
    parts.nth(2).unwrap().to_owned()
}

/// A deadline for what should happen at once, generous to a busy machine.
pub(crate) async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(20), future).await.expect("it should have happened by now")
}

/// The next `count` changes.
pub(crate) async fn changes(subscription: &mut Subscription, count: usize) -> Vec<Change> {
    let mut changes = Vec::new();
    while changes.len() < count {
        changes.extend(within(subscription.next(count - changes.len())).await.unwrap());
    }
    changes
}

/// The next `count` changes in short: kind, name, revision.
pub(crate) async fn heard(subscription: &mut Subscription, count: usize) -> Vec<(ChangeKind, String, Revision)> {
    let changes = changes(subscription, count).await;
    changes.iter().map(|c| (c.kind, c.event.object.key.name().to_owned(), c.event.revision)).collect()
}

/// That nothing is there for the subscription now.
pub(crate) async fn silent(subscription: &mut Subscription) {
    let next = subscription.next(10);
    tokio::pin!(next);
    let nothing = futures_util::poll!(next).is_pending();
    assert!(nothing, "nothing was expected");
}

pub(crate) fn names(objects: impl IntoIterator<Item = Arc<StoredObject>>) -> Vec<String> {
    objects.into_iter().map(|object| object.key.name().to_owned()).collect()
}
