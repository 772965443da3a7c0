//! One transaction as one etcd transaction: preconditions become compares, the other branch fetches who was first.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use etcd_client::{
    Compare, CompareOp, DeleteOptions, Error, GetOptions, PutOptions, Txn as EtcdTxn, TxnOp, TxnOpResponse, TxnResponse,
};
use smallvec::SmallVec;

use super::{Link, number_from, revision_from};
use crate::key::ObjectKey;
use crate::object::{Stamp, StoredObject};
use crate::revision::Revision;
use crate::store::batch::last_state;
use crate::store::record;
use crate::txn::{Committed, Expect, Op, Txn, TxnError, Write};

/// After a conflict the cache is given this long to show the version that won, so that a retry reads it.
const CONFLICT_SHOWS_WITHIN: Duration = Duration::from_millis(100);

/// Splits a group into runs without a common key.
pub(super) fn waves(txns: Vec<Txn>) -> Vec<Vec<Txn>> {
    let mut waves = Vec::new();
    let mut wave = Vec::new();
    let mut keys: HashSet<ObjectKey> = HashSet::new();
    for txn in txns {
        if txn.ops.iter().any(|op| keys.contains(&op.key)) {
            waves.push(std::mem::take(&mut wave));
            keys.clear();
        }
        keys.extend(txn.ops.iter().map(|op| op.key.clone()));
        wave.push(txn);
    }
    waves.push(wave);
    waves
}

/// Commits, and waits until the cache shows it.
pub(super) async fn commit(link: &Arc<Link>, txn: Txn) -> Result<Committed, TxnError> {
    if link.away.load(Ordering::SeqCst) {
        return Err(TxnError::Unavailable("etcd is away".into()));
    }
    let started = Instant::now();
    let request = request_for(link, &txn).await?;
    let mut kv = link.kv.clone();
    let response = match tokio::time::timeout(link.config.request_timeout, kv.txn(request)).await {
        Ok(Ok(response)) => response,
        Ok(Err(error)) => return Err(failure(&error)),
        Err(_) => {
            return Err(TxnError::Unknown("etcd did not answer in time".into()));
        }
    };
    let revision = response.header().map_or(Revision(0), |header| revision_from(header.revision()));
    if !response.succeeded() {
        return Err(conflict(link, &txn, &response, revision).await);
    }
    let removed = removed_by(&txn, &response);
    let writes = txn.ops.iter().zip(&removed).filter(|(op, removed)| changes(op, **removed)).count();
    if writes == 0 {
        return Ok(Committed { revision, objects: SmallVec::from_elem(None, txn.ops.len()) });
    }
    link.stats.batch(1, writes, true, started.elapsed());
    // Answer only when our own readers see it.
    if !link.cache.reaches(revision, link.config.request_timeout).await {
        return Err(TxnError::Unknown("etcd took the write but does not show it".into()));
    }
    link.stats.commit(started.elapsed());
    let objects = txn
        .ops
        .into_iter()
        .zip(removed)
        .map(|(op, removed)| if changes(&op, removed) { written(link, op, revision) } else { None })
        .collect();
    Ok(Committed { revision, objects })
}

fn changes(op: &Op, removed: bool) -> bool {
    match op.write {
        Write::Check => false,
        Write::Put { .. } => true,
        Write::Delete { .. } => removed,
    }
}

async fn request_for(link: &Arc<Link>, txn: &Txn) -> Result<EtcdTxn, TxnError> {
    let mut compares = Vec::new();
    let mut writes = Vec::new();
    let mut otherwise = Vec::new();
    for (at, op) in txn.ops.iter().enumerate() {
        if txn.ops[..at].iter().any(|other| other.key == op.key) {
            return Err(TxnError::Unavailable(format!("{} occurs twice in one transaction", op.key).into()));
        }
        let path = link.path_of(&op.key);
        match op.expect {
            Expect::Any => {}
            Expect::Absent => compares.push(Compare::create_revision(path.as_str(), CompareOp::Equal, 0)),
            Expect::Exists => compares.push(Compare::create_revision(path.as_str(), CompareOp::Greater, 0)),
            // Zero is what etcd reports for a key that is not there; nobody expects that version of an object.
            Expect::Revision(Revision(0)) => {
                compares.push(Compare::mod_revision(path.as_str(), CompareOp::Less, 0));
            }
            Expect::Revision(revision) => {
                compares.push(Compare::mod_revision(path.as_str(), CompareOp::Equal, number_from(revision)));
            }
        }
        if op.expect != Expect::Any {
            otherwise.push(TxnOp::get(path.as_str(), Some(GetOptions::new())));
        }
        match &op.write {
            Write::Check => {}
            Write::Put { body, ttl, .. } => {
                let slot = body.revision_slot.filter(|slot| *slot <= body.bytes.len());
                let record = record::encode(body, Revision(0), Revision(0), Stamp::new(slot, 0));
                let options = match ttl {
                    Some(ttl) => {
                        let lease = link.leases.lease_for(link, *ttl).await.map_err(|error| failure(&error))?;
                        Some(PutOptions::new().with_lease(lease))
                    }
                    None => None,
                };
                writes.push(TxnOp::put(path, record, options));
            }
            Write::Delete { .. } => writes.push(TxnOp::delete(path, Some(DeleteOptions::new()))),
        }
    }
    Ok(EtcdTxn::new().when(compares).and_then(writes).or_else(otherwise))
}

/// For each operation, whether it was a deletion of something that was there.
fn removed_by(txn: &Txn, response: &TxnResponse) -> SmallVec<[bool; 1]> {
    let mut answers = response.op_responses().into_iter();
    txn.ops
        .iter()
        .map(|op| match op.write {
            Write::Check => false,
            Write::Put { .. } | Write::Delete { .. } => {
                matches!(answers.next(), Some(TxnOpResponse::Delete(deletion)) if deletion.deleted() > 0)
            }
        })
        .collect()
}

/// The object this write made, as the cache has it: the very one that watchers and readers share.
fn written(link: &Link, op: Op, revision: Revision) -> Option<Arc<StoredObject>> {
    let window = link.cache.collection(op.key.collection()).window();
    let event = window
        .from(window.seq_after(Revision(revision.0 - 1)))
        .map(|(_, event)| event)
        .take_while(|event| event.revision == revision)
        .find(|event| event.object.key == op.key);
    match (op.write, event) {
        (Write::Check, _) => None,
        (Write::Delete { last: Some(last) }, Some(event)) => {
            Some(Arc::new(last_state(&event.object, Some(last), revision)))
        }
        (_, Some(event)) => Some(event.object.clone()),
        // The window has moved on already: say what was written, as far as it is known here.
        (Write::Put { body, facets, .. }, None) => {
            let stamp = Stamp::new(body.revision_slot.filter(|slot| *slot <= body.bytes.len()), 0);
            let current = link.cache.view().get(&op.key);
            let created = current.map_or(revision, |current| current.created.min(revision));
            Some(Arc::new(StoredObject::stamped(op.key, revision, created, &body.bytes, facets, stamp)))
        }
        (Write::Delete { last }, None) => {
            let gone = StoredObject::new(op.key, revision, revision, bytes::Bytes::new(), Default::default());
            Some(Arc::new(last_state(&gone, last, revision)))
        }
    }
}

/// Who was first: the first operation whose precondition the fetched versions do not meet.
async fn conflict(link: &Arc<Link>, txn: &Txn, response: &TxnResponse, at: Revision) -> TxnError {
    let mut fetched = response.op_responses().into_iter();
    for op in txn.ops.iter().filter(|op| op.expect != Expect::Any) {
        let current = match fetched.next() {
            Some(TxnOpResponse::Get(found)) => found.kvs().first().and_then(|kv| link.object_from(kv)).map(Arc::new),
            _ => None,
        };
        if op.expect.holds_of(current.as_deref()) {
            continue;
        }
        let shown_from = current.as_ref().map_or(at, |current| current.revision);
        // If it does not, the caller still has the winning version in hand.
        link.cache.reaches(shown_from, CONFLICT_SHOWS_WITHIN).await;
        return TxnError::Conflict { key: op.key.clone(), current };
    }
    TxnError::Unavailable("etcd refused a transaction whose conditions hold".into())
}

/// What a failed request means for the write. Only what etcd says it did not do, or what never reached it, is certain.
pub(super) fn failure(error: &Error) -> TxnError {
    let text: Arc<str> = format!("etcd: {error}").into();
    let refused = match error {
        Error::GRpcStatus(status) => {
            // etcd-client keeps tonic to itself: codes are compared by their numbers (3 invalid argument, 7 permission
            // denied, 8 resource exhausted, 9 failed precondition, 16 unauthenticated).
            matches!(status.code() as i32, 3 | 7 | 8 | 9 | 16)
                || status.message().contains("no leader")
                || never_connected(status)
        }
        Error::InvalidArgs(_) | Error::InvalidUri(_) => true,
        Error::TransportError(error) => never_connected(error),
        _ => false,
    };
    if refused { TxnError::Unavailable(text) } else { TxnError::Unknown(text) }
}

fn never_connected(error: &dyn std::error::Error) -> bool {
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(io) = error.downcast_ref::<std::io::Error>() {
            return io.kind() == std::io::ErrorKind::ConnectionRefused;
        }
        cause = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_cut_where_a_key_comes_again() {
        let txn = |name: &str| Txn::one(ObjectKey::new("pods", "a", name), Expect::Any, Write::Check);
        let waves = waves(vec![txn("a"), txn("b"), txn("a"), txn("c"), txn("c")]);
        assert_eq!(waves.iter().map(Vec::len).collect::<Vec<_>>(), [2, 2, 1]);
    }
}
