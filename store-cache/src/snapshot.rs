//! A projection's rows as of one view: refcounted chunks of archived rows, read in place.
//!
//! Written by the shards (`cache/rows`), read by schedulers. A row never moves while a snapshot is held, and a chunk
//! that no write touched is the same allocation in the next snapshot: [`Snapshot::changed_since`] costs one pointer
//! comparison per chunk.

use std::sync::Arc;

use imbl::Vector;
use rkyv::util::AlignedVec;

use crate::key::ObjectKey;
use crate::revision::Revision;

/// Rows per chunk: a write copies the other rows of its chunk, about 15 KiB at 240 bytes a row.
pub(crate) const CHUNK_ROWS: usize = 64;

/// Every row begins at a multiple of this, as rkyv's archived types want.
const ROW_ALIGNMENT: usize = 16;

/// The rows of one projection, consistent with the view of the same revision.
#[derive(Clone)]
pub struct Snapshot {
    revision: Revision,
    parts: Box<[Rows]>,
}

impl Snapshot {
    pub(crate) fn new(revision: Revision, parts: Box<[Rows]>) -> Self {
        Self { revision, parts }
    }

    /// The last commit these rows hold.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// Every row with its object's key, in no particular order.
    pub fn rows(&self) -> impl Iterator<Item = (&ObjectKey, &[u8])> {
        self.chunks().flat_map(|chunk| chunk.rows())
    }

    /// The chunks, for readers that keep something per chunk.
    pub fn chunks(&self) -> impl Iterator<Item = &Arc<Chunk>> {
        self.parts.iter().flat_map(|rows| rows.chunks.iter())
    }

    /// The chunks that differ from an earlier snapshot's, each with the one it replaced. A row of the earlier chunk
    /// that is not in the later one is gone (or has become another object's).
    pub fn changed_since<'s>(
        &'s self,
        earlier: &'s Snapshot,
    ) -> impl Iterator<Item = (Option<&'s Arc<Chunk>>, &'s Arc<Chunk>)> {
        let none = &[][..];
        let earlier = if earlier.parts.len() == self.parts.len() { &earlier.parts[..] } else { none };
        self.parts.iter().enumerate().flat_map(move |(part, rows)| {
            let before = earlier.get(part);
            rows.chunks.iter().enumerate().filter_map(move |(at, chunk)| {
                let old = before.and_then(|rows| rows.chunks.get(at));
                (!old.is_some_and(|old| Arc::ptr_eq(old, chunk))).then_some((old, chunk))
            })
        })
    }
}

/// One shard's rows.
#[derive(Clone, Default)]
pub(crate) struct Rows {
    chunks: Vector<Arc<Chunk>>,
}

impl Rows {
    pub(crate) fn rewrite(&mut self, at: usize, make: impl FnOnce(Option<&Chunk>) -> Chunk) {
        while self.chunks.len() < at {
            self.chunks.push_back(Arc::new(Chunk::rewritten(None, Vec::new())));
        }
        let new = Arc::new(make(self.chunks.get(at).map(|chunk| &**chunk)));
        if at == self.chunks.len() {
            self.chunks.push_back(new);
        } else {
            self.chunks.set(at, new);
        }
    }
}

/// Up to 64 rows in one allocation.
pub struct Chunk {
    keys: Box<[Option<ObjectKey>]>,
    /// Where each row begins and ends in `data`.
    spans: Box<[(u32, u32)]>,
    data: AlignedVec<ROW_ALIGNMENT>,
}

impl Chunk {
    /// The rows here, with their objects' keys.
    pub fn rows(&self) -> impl Iterator<Item = (&ObjectKey, &[u8])> {
        (0..self.keys.len()).filter_map(|at| Some((self.keys[at].as_ref()?, self.row(at))))
    }

    fn row(&self, at: usize) -> &[u8] {
        let (start, end) = self.spans[at];
        &self.data[start as usize..end as usize]
    }

    /// `old` with some slots replaced; copies the bytes of the others.
    pub(crate) fn rewritten(old: Option<&Chunk>, mut changed: Vec<(usize, Option<(ObjectKey, AlignedVec)>)>) -> Self {
        let mut chunk = Self {
            keys: vec![None; CHUNK_ROWS].into(),
            spans: vec![(0, 0); CHUNK_ROWS].into(),
            data: AlignedVec::with_capacity(old.map_or(0, |old| old.data.len()) + 256 * changed.len()),
        };
        let mut changed = changed.drain(..).peekable();
        for at in 0..CHUNK_ROWS {
            if let Some((_, write)) = changed.next_if(|(slot, _)| *slot == at) {
                if let Some((key, row)) = write {
                    chunk.place(at, key, &row);
                }
            } else if let Some(old) = old
                && let Some(key) = &old.keys[at]
            {
                chunk.place(at, key.clone(), old.row(at));
            }
        }
        chunk
    }

    fn place(&mut self, at: usize, key: ObjectKey, row: &[u8]) {
        let start = self.data.len().next_multiple_of(ROW_ALIGNMENT);
        self.data.resize(start, 0);
        self.data.extend_from_slice(row);
        self.keys[at] = Some(key);
        self.spans[at] = (start as u32, self.data.len() as u32);
    }
}
