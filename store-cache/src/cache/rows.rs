//! A projection's rows on the shard that owns them: which slot an object's row sits in, and the rewriting of chunks.
//!
//! A batch computes each changed row once, then rewrites each chunk it touches once. Untouched chunks stay the very
//! same allocation, which is how a reader finds what changed.

use std::collections::BTreeMap;
use std::sync::Arc;

use hashbrown::HashMap;
use rkyv::util::AlignedVec;

use crate::event::Event;
use crate::key::ObjectKey;
use crate::object::StoredObject;
use crate::projection::Projection;
use crate::revision::Revision;
use crate::snapshot::{CHUNK_ROWS, Chunk, ChunkImage, NewRow, Rows};

/// The writable side of one projection on one shard.
pub(crate) struct RowTable {
    projection: Arc<dyn Projection>,
    slots: HashMap<ObjectKey, u32, ahash::RandomState>,
    free: Vec<u32>,
    next: u32,
}

/// What becomes of one slot: a row, or nothing.
type SlotWrite = Option<NewRow>;

impl RowTable {
    pub(crate) fn new(projection: Arc<dyn Projection>) -> Self {
        Self { projection, slots: HashMap::default(), free: Vec::new(), next: 0 }
    }

    pub(crate) fn name(&self) -> &'static str {
        self.projection.name()
    }

    /// Brings `rows` up to the commit `revision`, by its events in order.
    pub(crate) fn apply(&mut self, events: &[Arc<Event>], revision: Revision, rows: &mut Rows) {
        let projection = self.projection.clone();
        let ours = events.iter().filter(|event| event.object.key.collection() == projection.collection());
        let made = ours.map(|event| (&event.object, event.take_row(&*projection)));
        self.put(made, revision, rows);
    }

    /// Takes in objects that were there when the store was opened.
    pub(crate) fn load<'o>(&mut self, objects: impl Iterator<Item = &'o Arc<StoredObject>>, rows: &mut Rows) {
        let projection = self.projection.clone();
        let ours = objects.filter(|object| object.key.collection() == projection.collection());
        let made = ours.map(|object| {
            let mut row = AlignedVec::new();
            projection.project(object, &mut row);
            (object, row)
        });
        self.put(made, Revision(0), rows);
    }

    /// Puts objects' rows where they belong; an empty one is none.
    fn put<'o>(
        &mut self,
        made: impl Iterator<Item = (&'o Arc<StoredObject>, AlignedVec)>,
        revision: Revision,
        rows: &mut Rows,
    ) {
        let mut writes: BTreeMap<u32, SlotWrite> = BTreeMap::new();
        let mut freed = Vec::new();
        for (object, row) in made {
            let key = &object.key;
            if row.is_empty() {
                if let Some(slot) = self.slots.remove(key) {
                    writes.insert(slot, None);
                    freed.push(slot);
                }
            } else {
                let slot = self.slot_for(key);
                writes.insert(slot, Some(NewRow { object: object.clone(), bytes: row }));
            }
        }
        // Slots freed by this batch are for the next one: within it, a slot means one object.
        self.free.append(&mut freed);
        let mut writes = writes.into_iter().peekable();
        while let Some((slot, _)) = writes.peek() {
            let chunk = *slot / CHUNK_ROWS as u32;
            let mut changed: Vec<(usize, SlotWrite)> = Vec::new();
            while let Some((slot, write)) = writes.next_if(|(slot, _)| slot / CHUNK_ROWS as u32 == chunk) {
                changed.push((slot as usize % CHUNK_ROWS, write));
            }
            rows.rewrite(chunk as usize, revision, |old| Chunk::rewritten(old, changed));
        }
    }

    /// Takes over a checkpoint's chunks where they are, but for the rows of versions that are not
    /// the latest.
    pub(crate) fn adopt(
        &mut self,
        chunks: Vec<ChunkImage>,
        latest: impl Fn(&ObjectKey) -> Option<Arc<StoredObject>>,
        rows: &mut Rows,
    ) {
        for chunk in chunks {
            let mut free: Vec<u32> = (self.next..self.next + CHUNK_ROWS as u32).rev().collect();
            let first = self.next;
            let mut kept = Vec::new();
            for mut row in chunk.rows {
                let Some(object) = latest(&row.key).filter(|object| object.revision == row.revision) else { continue };
                let slot = first + row.slot as u32;
                row.key = object.key.clone();
                if self.slots.try_insert(row.key.clone(), slot).is_ok() {
                    free.retain(|other| *other != slot);
                    kept.push((row, object.created));
                }
            }
            rows.push(Chunk::from_image(kept.into_iter(), chunk.data));
            self.free.append(&mut free);
            self.next += CHUNK_ROWS as u32;
        }
    }

    /// Whether the object has a row already.
    pub(crate) fn knows(&self, key: &ObjectKey) -> bool {
        self.slots.contains_key(key)
    }

    fn slot_for(&mut self, key: &ObjectKey) -> u32 {
        if let Some(slot) = self.slots.get(key) {
            return *slot;
        }
        let slot = self.free.pop().unwrap_or_else(|| {
            self.next += 1;
            self.next - 1
        });
        self.slots.insert(key.clone(), slot);
        slot
    }
}
