//! A projection's rows as of one view: refcounted chunks of archived rows, read in place.
//!
//! Written by the shards (`cache/rows`), read by schedulers, through a [`RowFeed`](crate::row_feed::RowFeed) or as they
//! are. A row never moves while a snapshot is held, and a chunk that no write touched is the same allocation in the next
//! snapshot. Which chunks were written last is noted beside them, so that [`Snapshot::changes_since`] costs what changed,
//! and one pointer comparison per chunk for a reader that comes late.

use std::sync::Arc;

use bytes::Bytes;
use imbl::Vector;
use rkyv::util::AlignedVec;

use crate::key::ObjectKey;
use crate::object::StoredObject;
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

    /// What became of the rows since an earlier snapshot of the same projection, or (without one) all there are: first the
    /// rows that are gone, as they were last, then those that are new or different, in the order of their commits. Of a
    /// row that changed several times only the last state is among them.
    #[must_use]
    pub fn changes_since(&self, earlier: Option<&Self>) -> Vec<RowChange> {
        let earlier = earlier.filter(|earlier| earlier.parts.len() == self.parts.len());
        let none = Rows::default();
        let mut changes = Vec::new();
        for (part, rows) in self.parts.iter().enumerate() {
            match earlier {
                Some(earlier) => rows.changes_since(&earlier.parts[part], earlier.revision, &mut changes),
                None => rows.changes_since(&none, Revision(0), &mut changes),
            }
        }
        changes.sort_by_key(|change| (!change.gone, change.revision));
        changes
    }
}

/// What became of one row.
#[derive(Clone)]
pub struct RowChange {
    /// The row; of one that is gone, its last state.
    pub row: RowRef,
    /// Whether the object is gone, or has no row any more.
    pub gone: bool,
    /// The commit that made this state of the row.
    pub revision: Revision,
}

/// A row where it lies, kept alive.
#[derive(Clone)]
pub struct RowRef {
    chunk: Arc<Chunk>,
    slot: usize,
}

impl std::ops::Deref for RowRef {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.chunk.row(self.slot)
    }
}

/// One shard's rows.
#[derive(Clone, Default)]
pub(crate) struct Rows {
    chunks: Vector<Arc<Chunk>>,
    /// The chunks in which rows changed last, oldest first, each with the commit.
    written: Vector<(Revision, u32)>,
    /// Nothing after this commit is missing in `written`.
    written_since: Revision,
}

/// How many written chunks are remembered: a reader that comes later than this compares all.
const WRITTEN_MAX: usize = 1024;

impl Rows {
    pub(crate) fn chunks(&self) -> impl Iterator<Item = &Arc<Chunk>> {
        self.chunks.iter()
    }

    pub(crate) fn push(&mut self, chunk: Chunk) {
        self.chunks.push_back(Arc::new(chunk));
    }

    /// Rewrites a chunk in the commit `revision`.
    pub(crate) fn rewrite(&mut self, at: usize, revision: Revision, make: impl FnOnce(Option<&Chunk>) -> Rewritten) {
        while self.chunks.len() < at {
            self.chunks.push_back(Arc::new(Chunk::empty(Data::nothing())));
        }
        let Rewritten { chunk, different } = make(self.chunks.get(at).map(|chunk| &**chunk));
        let new = Arc::new(chunk);
        if at == self.chunks.len() {
            self.chunks.push_back(new);
        } else {
            self.chunks.set(at, new);
        }
        if different {
            self.written.push_back((revision, at as u32));
            if self.written.len() > WRITTEN_MAX
                && let Some((forgotten, _)) = self.written.pop_front()
            {
                self.written_since = forgotten;
            }
        }
    }

    /// Adds what changed since `earlier`, which was the state as of the commit `since`.
    fn changes_since(&self, earlier: &Self, since: Revision, changes: &mut Vec<RowChange>) {
        let mut compare = |at: usize| {
            let (old, new) = (earlier.chunks.get(at), self.chunks.get(at));
            if let Some(new) = new
                && !old.is_some_and(|old| Arc::ptr_eq(old, new))
            {
                new.changes_since(old, changes);
            }
        };
        if since < self.written_since || earlier.chunks.is_empty() {
            return (0..self.chunks.len()).for_each(compare);
        }
        let recent = self.written.iter().rev().take_while(|(revision, _)| *revision > since);
        let mut recent: Vec<u32> = recent.map(|(_, at)| *at).collect();
        recent.sort_unstable();
        recent.dedup();
        recent.into_iter().for_each(|at| compare(at as usize));
    }
}

/// A chunk in place of another.
pub(crate) struct Rewritten {
    pub(crate) chunk: Chunk,
    /// Whether any row came, went or became another.
    pub(crate) different: bool,
}

/// Up to 64 rows in one allocation, or in one piece of a mapped checkpoint.
pub struct Chunk {
    keys: Box<[Option<ObjectKey>]>,
    versions: Box<[Version]>,
    /// Where each row begins and ends in `data`.
    spans: Box<[(u32, u32)]>,
    data: Data,
}

#[derive(Clone)]
enum Data {
    Own(Arc<AlignedVec<ROW_ALIGNMENT>>),
    /// Begins at a multiple of the alignment in a mapping, which begins at a page.
    Mapped(Bytes),
}

impl Data {
    fn nothing() -> Self {
        Self::Own(Arc::default())
    }
}

/// Which object a row was made from.
#[derive(Clone, Copy, Default)]
pub(crate) struct Version {
    /// The commit that created it: tells it from another of its name.
    pub(crate) created: Revision,
    /// The commit that wrote its latest version, from which the row would be made again as it is.
    pub(crate) object: Revision,
    /// The commit that made the row what it is.
    pub(crate) row: Revision,
}

/// A row that is to be placed in a slot.
pub(crate) struct NewRow {
    pub(crate) object: Arc<StoredObject>,
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
            Some(RowImage { slot, start, end, revision: self.versions[slot].object, key: self.keys[slot].clone()? })
        })
    }

    /// Adds the rows that are not those of `old`, the chunk that was here before.
    fn changes_since(self: &Arc<Self>, old: Option<&Arc<Self>>, changes: &mut Vec<RowChange>) {
        for slot in 0..CHUNK_ROWS {
            let was = old.filter(|old| old.keys[slot].is_some());
            let is = self.keys[slot].as_ref();
            let same = was.is_some_and(|was| {
                was.keys[slot].as_ref() == is && was.versions[slot].created == self.versions[slot].created
            });
            if let Some(was) = was
                && !same
            {
                let row = RowRef { chunk: was.clone(), slot };
                changes.push(RowChange { row, gone: true, revision: was.versions[slot].row });
            }
            let revision = self.versions[slot].row;
            if is.is_some() && !(same && was.is_some_and(|was| was.versions[slot].row == revision)) {
                let row = RowRef { chunk: self.clone(), slot };
                changes.push(RowChange { row, gone: false, revision });
            }
        }
    }

    fn empty(data: Data) -> Self {
        Self {
            keys: vec![None; CHUNK_ROWS].into(),
            versions: vec![Version::default(); CHUNK_ROWS].into(),
            spans: vec![(0, 0); CHUNK_ROWS].into(),
            data,
        }
    }

    /// The chunk of a checkpoint, with the rows that still hold, each with the creation of its object; the others' slots
    /// are empty.
    pub(crate) fn from_image(rows: impl Iterator<Item = (RowImage, Revision)>, data: Bytes) -> Self {
        let mut chunk = Self::empty(Data::Mapped(data));
        for (row, created) in rows {
            chunk.keys[row.slot] = Some(row.key);
            chunk.versions[row.slot] = Version { created, object: row.revision, row: row.revision };
            chunk.spans[row.slot] = (row.start, row.end);
        }
        chunk
    }

    /// `old` with some slots, in order, replaced. Where every row stays what it is, the bytes are shared; else they are
    /// copied.
    pub(crate) fn rewritten(old: Option<&Self>, changed: Vec<(usize, Option<NewRow>)>) -> Rewritten {
        if let Some(old) = old
            && let Some(same) = old.renewed(&changed)
        {
            return Rewritten { chunk: same, different: false };
        }
        let capacity = old.map_or(0, |old| old.data().len()) + 256 * changed.len();
        let mut data = AlignedVec::with_capacity(capacity);
        let mut chunk = Self::empty(Data::nothing());
        let mut changed = changed.into_iter().peekable();
        for at in 0..CHUNK_ROWS {
            if let Some((_, write)) = changed.next_if(|(slot, _)| *slot == at) {
                if let Some(NewRow { object, bytes }) = write {
                    let kept = old.filter(|old| old.is_row_of(at, &object, &bytes));
                    let row = kept.map_or(object.revision, |old| old.versions[at].row);
                    let version = Version { created: object.created, object: object.revision, row };
                    chunk.place(at, object.key.clone(), version, append(&mut data, &bytes));
                }
            } else if let Some(old) = old
                && let Some(key) = &old.keys[at]
            {
                chunk.place(at, key.clone(), old.versions[at], append(&mut data, old.row(at)));
            }
        }
        chunk.data = Data::Own(Arc::new(data));
        Rewritten { chunk, different: true }
    }

    /// The same rows, made from later versions of their objects; `None` if any is different.
    fn renewed(&self, changed: &[(usize, Option<NewRow>)]) -> Option<Self> {
        let same = changed
            .iter()
            .all(|(slot, write)| write.as_ref().is_some_and(|new| self.is_row_of(*slot, &new.object, &new.bytes)));
        if !same {
            return None;
        }
        let mut versions = self.versions.clone();
        for (slot, write) in changed {
            versions[*slot].object = write.as_ref().map_or(versions[*slot].object, |new| new.object.revision);
        }
        let (keys, spans, data) = (self.keys.clone(), self.spans.clone(), self.data.clone());
        Some(Self { keys, versions, spans, data })
    }

    /// Whether a slot holds just this row of just this object.
    fn is_row_of(&self, slot: usize, object: &StoredObject, bytes: &[u8]) -> bool {
        self.versions[slot].created == object.created
            && self.keys[slot].as_ref() == Some(&object.key)
            && self.row(slot) == bytes
    }

    fn place(&mut self, at: usize, key: ObjectKey, version: Version, span: (u32, u32)) {
        self.keys[at] = Some(key);
        self.versions[at] = version;
        self.spans[at] = span;
    }
}

fn append(data: &mut AlignedVec<ROW_ALIGNMENT>, row: &[u8]) -> (u32, u32) {
    let start = data.len().next_multiple_of(ROW_ALIGNMENT);
    data.resize(start, 0);
    data.extend_from_slice(row);
    (start as u32, data.len() as u32)
}
