//! The log and table of a store on this machine: fjall, one atomic batch and one fdatasync per group commit.
//!
//! One keyspace holds one record per object under its path, and the last revision under a key that no path can have;
//! it is written with every batch, so the counter never goes back, even when the last commits were deletions. All
//! reads are served from memory: fjall is read once, when the store is opened, so its caches are kept small.
//!
//! Every result of a write is looked at: fjall has, in its history, swallowed journal errors. After a failure the
//! committer writes no more.

use std::path::Path;
use std::sync::Arc;

use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};

use super::Describe;
use super::batch::LogOp;
use super::engine::{Engine, EngineError, Loaded};
use super::record;
use crate::cache::shard::shard_of;
use crate::key::ObjectKey;
use crate::object::StoredObject;
use crate::revision::Revision;

/// Sorts before every path, and contains no `/`.
const REVISION_KEY: &[u8] = b"\0revision";
/// There while a process runs that acknowledges some writes before the disk has them.
const RELAXED_KEY: &[u8] = b"\0relaxed";
/// After a power cut the counter may have forgotten revisions that were acknowledged that way. It goes on this far
/// ahead, so that none is given out twice; more than this many are never in doubt at once, because any other write
/// brings them all to the disk.
const RELAXED_GAP: u64 = 1 << 24;
const BLOCK_CACHE_BYTES: u64 = 4 << 20;
/// Small, because everything in it is in our memory as well; large enough that flushes stay rare.
const MEMTABLE_BYTES: u64 = 16 << 20;
const JOURNALS_BYTES_MAX: u64 = 256 << 20;
/// Records handed to a loading thread at once.
const LOAD_CHUNK: usize = 512;

/// An open data directory.
pub(crate) struct Embedded {
    database: Database,
    objects: Keyspace,
    relaxed: bool,
}

impl Embedded {
    /// Opens or creates the store in `data_dir`. `relaxed`: not every write will be synced.
    pub(crate) fn open(data_dir: &Path, relaxed: bool) -> Result<Self, EngineError> {
        let failed = |error: fjall::Error| match error {
            fjall::Error::Locked => {
                EngineError(format!("{}: another process has this data directory open", data_dir.display()).into())
            }
            error => EngineError::new(&format!("cannot open {}", data_dir.display()), error),
        };
        std::fs::create_dir_all(data_dir)
            .map_err(|error| EngineError::new(&format!("cannot create {}", data_dir.display()), error))?;
        let database = Database::builder(data_dir.join("objects"))
            .cache_size(BLOCK_CACHE_BYTES)
            .max_journaling_size(JOURNALS_BYTES_MAX)
            .worker_threads(1)
            .open()
            .map_err(failed)?;
        let options = || KeyspaceCreateOptions::default().max_memtable_size(MEMTABLE_BYTES);
        let objects = database.keyspace("objects", options).map_err(failed)?;
        Ok(Self { database, objects, relaxed })
    }

    /// Reads everything: one thread reads records, one per shard decodes and describes them.
    pub(crate) fn load(&mut self, shards: usize, describe: &dyn Describe) -> Result<Loaded, EngineError> {
        let mut revision = Revision(0);
        let mut was_relaxed = false;
        let parts = std::thread::scope(|scope| {
            let mut feeds = Vec::new();
            let mut loaders = Vec::new();
            for _ in 0..shards {
                let (feed, chunks) = crossbeam::channel::bounded::<Vec<(ObjectKey, fjall::UserValue)>>(4);
                feeds.push((feed, Vec::with_capacity(LOAD_CHUNK)));
                loaders.push(scope.spawn(move || {
                    let mut objects = Vec::new();
                    for (key, value) in chunks.into_iter().flatten() {
                        objects.push(Arc::new(object_from(key, &value, describe)?));
                    }
                    Ok::<_, EngineError>(objects)
                }));
            }
            for guard in self.objects.iter() {
                let (key, value) =
                    guard.into_inner().map_err(|error| EngineError::new("cannot read the store", error))?;
                if key[..] == *REVISION_KEY {
                    revision = revision_from(&value)?;
                    continue;
                }
                if key[..] == *RELAXED_KEY {
                    was_relaxed = true;
                    continue;
                }
                let key = std::str::from_utf8(&key)
                    .ok()
                    .and_then(ObjectKey::parse)
                    .ok_or_else(|| EngineError("the store holds a key that is not ours".into()))?;
                let (feed, chunk) = &mut feeds[shard_of(&key, shards)];
                chunk.push((key, value));
                if chunk.len() == LOAD_CHUNK {
                    let full = std::mem::replace(chunk, Vec::with_capacity(LOAD_CHUNK));
                    // A loader that stopped has an error to tell, below.
                    let _ = feed.send(full);
                }
            }
            for (feed, rest) in feeds {
                let _ = feed.send(rest);
            }
            loaders
                .into_iter()
                .map(|loader| loader.join().unwrap_or_else(|_| Err(EngineError("a describer panicked".into()))))
                .collect::<Result<Vec<_>, _>>()
        })?;
        let newest = parts.iter().flatten().map(|object: &Arc<StoredObject>| object.revision).max();
        if newest.is_some_and(|newest| newest > revision) {
            return Err(EngineError("the store holds an object newer than its last revision".into()));
        }
        if was_relaxed {
            revision.0 += RELAXED_GAP;
        }
        if was_relaxed || self.relaxed {
            self.mark_relaxed(self.relaxed, revision)
                .map_err(|error| EngineError::new("cannot write the store", error))?;
        }
        Ok(Loaded { parts, revision, checkpoint: None })
    }

    fn mark_relaxed(&self, relaxed: bool, revision: Revision) -> Result<(), fjall::Error> {
        let mut batch = self.database.batch().durability(Some(PersistMode::SyncData));
        if relaxed {
            batch.insert(&self.objects, RELAXED_KEY, []);
        } else {
            batch.remove(&self.objects, RELAXED_KEY);
        }
        batch.insert(&self.objects, REVISION_KEY, revision.0.to_le_bytes());
        batch.commit()
    }

    /// The last act of an orderly end: all is on disk, and the next process need not doubt the counter.
    fn finish(&self) -> Result<(), fjall::Error> {
        self.database.persist(PersistMode::SyncAll)?;
        if self.relaxed {
            self.objects.remove(RELAXED_KEY)?;
            self.database.persist(PersistMode::SyncAll)?;
        }
        Ok(())
    }
}

fn object_from(key: ObjectKey, value: &[u8], describe: &dyn Describe) -> Result<StoredObject, EngineError> {
    let record = record::decode(value).map_err(|error| EngineError::new(key.as_str(), error))?;
    let facets = describe.facets(&key, record.raw);
    Ok(record.into_object(key, facets))
}

fn revision_from(value: &[u8]) -> Result<Revision, EngineError> {
    let digits = value.try_into().map_err(|_| EngineError("the store's revision is damaged".into()))?;
    Ok(Revision(u64::from_le_bytes(digits)))
}

impl Engine for Embedded {
    fn write(&mut self, log: Vec<LogOp>, revision: Revision, sync: bool) -> Result<(), EngineError> {
        let mode = if sync { PersistMode::SyncData } else { PersistMode::Buffer };
        let mut batch = self.database.batch().durability(Some(mode));
        for op in log {
            match op.record {
                Some(record) => batch.insert(&self.objects, op.key.as_str(), record),
                None => batch.remove(&self.objects, op.key.as_str()),
            }
        }
        batch.insert(&self.objects, REVISION_KEY, revision.0.to_le_bytes());
        batch.commit().map_err(|error| EngineError::new("writing the log failed", error))
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        if let Err(error) = self.finish() {
            tracing::error!(%error, "the last sync of the store failed");
        }
    }
}
