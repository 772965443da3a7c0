//! From what the store says to what the client is told.

use gantry_machinery::resource::GroupVersionResource;
use gantry_machinery::status::Status;
use gantry_store_cache::store::Behind;
use gantry_store_cache::txn::TxnError;
use gantry_store_cache::watch::Expired;

/// Seconds after which a client whose write found a full queue should try again.
const OVERLOAD_RETRY_SECONDS: u32 = 1;

/// Why a transaction did not commit, for a write of `name`. A conflict that the verb does not handle itself means that
/// somebody wrote in between.
pub(crate) fn refused(error: TxnError, resource: &GroupVersionResource, name: &str) -> Status {
    match error {
        TxnError::Conflict { .. } => Status::modified(resource, name),
        TxnError::Overloaded => {
            Status::too_many_requests("too many writes are waiting, please try again later", OVERLOAD_RETRY_SECONDS)
        }
        TxnError::Unavailable(why) => {
            tracing::warn!(%why, "a write was refused: the store is unavailable");
            Status::service_unavailable("the store is unavailable, please try again later")
        }
        TxnError::Unknown(why) => {
            tracing::warn!(%why, "the outcome of a write is unknown");
            Status::timeout("the store went away during the write, which may or may not have happened", 1)
        }
    }
}

/// A read at a revision that the cache has not reached in time.
pub(crate) fn behind(error: Behind) -> Status {
    Status::resource_version_too_large(error.wanted.0, error.reached.0, 1)
}

/// A watch from before the window, or of a watcher that fell out of it.
pub(crate) fn too_old(error: Expired) -> Status {
    Status::expired(error.to_string())
}
