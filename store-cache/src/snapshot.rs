//! A projection's rows as of one view: refcounted chunks of archived rows, read in place.
//!
//! Written by the shards (`cache/rows`), read by schedulers. A row never moves while a snapshot is held, and a chunk
//! that no write touched is the same allocation in the next snapshot: [`Snapshot::changed_since`] costs one pointer
//! comparison per chunk.

use std::sync::Arc;

use bytes::Bytes;
use imbl::Vector;
use rkyv::util::AlignedVec;

use crate::key::ObjectKey;
use crate::revision::Revision;

/// Rows per chunk: a write copies the other rows of its chunk, about 15 KiB at 240 bytes a row.
pub(crate) const CHUNK_ROWS: usize = 64;

/// Every row begins at a multiple of this, as rkyv's archived types want.
pub(crate) const ROW_ALIGNMENT: usize = 16;

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
    pub(crate) fn chunks(&self) -> impl Iterator<Item = &Arc<Chunk>> {
        self.chunks.iter()
    }

    pub(crate) fn push(&mut self, chunk: Chunk) {
        self.chunks.push_back(Arc::new(chunk));
    }

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

/// Up to 64 rows in one allocation, or in one piece of a mapped checkpoint.
pub struct Chunk {
    keys: Box<[Option<ObjectKey>]>,
    /// The version that each row was made from.
    revisions: Box<[Revision]>,
    /// Where each row begins and ends in `data`.
    spans: Box<[(u32, u32)]>,
    data: Data,
}

enum Data {
    Own(AlignedVec<ROW_ALIGNMENT>),
    /// Begins at a multiple of the alignment in a mapping, which begins at a page.
    Mapped(Bytes),
}

/// A row that is to be placed in a slot.
pub(crate) struct NewRow {
    pub(crate) key: ObjectKey,
    pub(crate) revision: Revision,
    pub(crate) bytes: AlignedVec,
}

/// A chunk as a checkpoint holds it.
pub(crate) struct ChunkImage {
    pub(crate) rows: Vec<RowImage>,
    pub(crate) data: Bytes,
}

/// Where a checkpoint holds a row, and of which version.
pub(crate) struct RowImage {
    pub(crate) slot: usize,
    pub(crate) start: u32,
    pub(crate) end: u32,
    pub(crate) revision: Revision,
    pub(crate) key: ObjectKey,
}

impl Chunk {
    /// The rows here, with their objects' keys.
    pub fn rows(&self) -> impl Iterator<Item = (&ObjectKey, &[u8])> {
        (0..self.keys.len()).filter_map(|at| Some((self.keys[at].as_ref()?, self.row(at))))
    }

    fn row(&self, at: usize) -> &[u8] {
        let (start, end) = self.spans[at];
        &self.data()[start as usize..end as usize]
    }

    pub(crate) fn data(&self) -> &[u8] {
        match &self.data {
            Data::Own(bytes) => bytes,
            Data::Mapped(bytes) => bytes,
        }
    }

    /// The rows as a checkpoint notes them.
    pub(crate) fn placed(&self) -> impl Iterator<Item = RowImage> {
        (0..self.keys.len()).filter_map(|slot| {
            let (start, end) = self.spans[slot];
            Some(RowImage { slot, start, end, revision: self.revisions[slot], key: self.keys[slot].clone()? })
        })
    }

    fn empty(data: Data) -> Self {
        Self {
            keys: vec![None; CHUNK_ROWS].into(),
            revisions: vec![Revision(0); CHUNK_ROWS].into(),
            spans: vec![(0, 0); CHUNK_ROWS].into(),
            data,
        }
    }

    /// The chunk of a checkpoint, with the rows that still hold; the others' slots are empty.
    pub(crate) fn from_image(rows: impl Iterator<Item = RowImage>, data: Bytes) -> Self {
        let mut chunk = Self::empty(Data::Mapped(data));
        for row in rows {
            chunk.keys[row.slot] = Some(row.key);
            chunk.revisions[row.slot] = row.revision;
            chunk.spans[row.slot] = (row.start, row.end);
        }
        chunk
    }

    /// `old` with some slots, in order, replaced; copies the bytes of the others.
    pub(crate) fn rewritten(old: Option<&Chunk>, changed: Vec<(usize, Option<NewRow>)>) -> Self {
        let capacity = old.map_or(0, |old| old.data().len()) + 256 * changed.len();
        let mut data = AlignedVec::with_capacity(capacity);
        let mut chunk = Self::empty(Data::Own(AlignedVec::new()));
        let mut changed = changed.into_iter().peekable();
        for at in 0..CHUNK_ROWS {
            if let Some((_, write)) = changed.next_if(|(slot, _)| *slot == at) {
                if let Some(new) = write {
                    chunk.place(at, new.key, new.revision, append(&mut data, &new.bytes));
                }
            } else if let Some(old) = old
                && let Some(key) = &old.keys[at]
            {
                chunk.place(at, key.clone(), old.revisions[at], append(&mut data, old.row(at)));
            }
        }
        chunk.data = Data::Own(data);
        chunk
    }

    fn place(&mut self, at: usize, key: ObjectKey, revision: Revision, span: (u32, u32)) {
        self.keys[at] = Some(key);
        self.revisions[at] = revision;
        self.spans[at] = span;
    }
}

fn append(data: &mut AlignedVec<ROW_ALIGNMENT>, row: &[u8]) -> (u32, u32) {
    let start = data.len().next_multiple_of(ROW_ALIGNMENT);
    data.resize(start, 0);
    data.extend_from_slice(row);
    (start as u32, data.len() as u32)
}
