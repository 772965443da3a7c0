//! What the committer asks of a log on this machine. `embedded` is the real one; `Nowhere` serves tests.

use std::sync::Arc;

use super::batch::LogOp;
use super::checkpoint::Checkpoint;
use crate::object::StoredObject;
use crate::revision::Revision;

/// Why a log could not be opened or written, in words for the log and for the caller's `Unavailable`.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct EngineError(pub(crate) Arc<str>);

impl EngineError {
    pub(crate) fn new(what: &str, error: impl std::fmt::Display) -> Self {
        Self(format!("{what}: {error}").into())
    }
}

/// A durable table of records, written by one thread in groups.
pub(crate) trait Engine: Send + 'static {
    /// Makes a group of writes durable, all or nothing, with the revision they lead up to. With `sync` unset the group
    /// must survive the process, not the machine.
    ///
    /// # Errors
    /// After one the log is in doubt and is written no more.
    fn write(&mut self, log: Vec<LogOp>, revision: Revision, sync: bool) -> Result<(), EngineError>;
}

/// What an engine held when it was opened.
pub(crate) struct Loaded {
    /// By shard.
    pub(crate) parts: Vec<Vec<Arc<StoredObject>>>,
    pub(crate) revision: Revision,
    pub(crate) checkpoint: Option<Checkpoint>,
}

impl Loaded {
    pub(crate) fn nothing() -> Self {
        Self { parts: Vec::new(), revision: Revision(0), checkpoint: None }
    }
}

/// Keeps nothing.
pub(crate) struct Nowhere;

impl Engine for Nowhere {
    fn write(&mut self, _log: Vec<LogOp>, _revision: Revision, _sync: bool) -> Result<(), EngineError> {
        Ok(())
    }
}
