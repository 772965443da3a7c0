//! The projections' rows in one file, mapped at restart: what an object says need not be read again.
//!
//! ```text
//! "GANTRYC1" | shards 4 | projections 4 | { name length 4 | name }* | { offset 8 | length 8 | crc 4 }* | parts
//! part: chunks 4 | { rows 4 | data offset 4 | data length 4 | { slot 4 | start 4 | end 4 | revision 8 | key length 4 |
//!       key }* }* | data, every chunk's at a multiple of 16
//! ```
//! Little-endian; one part for each shard of each projection. A checkpoint is never trusted for more than speed: each
//! row carries the revision of the object it was made from, and is taken only if the log holds just that version. So it
//! may be old, and one that is damaged or was written with other projections or shards is ignored.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use bytes::Bytes;

use super::checksum::Checksum;
use super::mapped;
use crate::key::ObjectKey;
use crate::revision::Revision;
use crate::snapshot::{CHUNK_ROWS, ChunkImage, ROW_ALIGNMENT, RowImage, Rows};
use crate::view::View;

const MAGIC: &[u8; 8] = b"GANTRYC1";
/// The file's name in the data directory.
pub(crate) const NAME: &str = "rows.checkpoint";

/// A mapped checkpoint.
pub(crate) struct Checkpoint {
    file: Bytes,
    projections: Vec<String>,
    shards: usize,
    /// By projection, then by shard.
    parts: Vec<Part>,
}

struct Part {
    bytes: Bytes,
    crc: u32,
}

/// Writes the rows of `view` to `path`, replacing an older checkpoint when it is whole and synced.
pub(crate) fn write(view: &View, projections: &[&'static str], path: &Path) -> io::Result<()> {
    let partial = path.with_extension("partial");
    let mut file = File::create(&partial)?;
    let mut head = MAGIC.to_vec();
    head.extend_from_slice(&(view.shards().len() as u32).to_le_bytes());
    head.extend_from_slice(&(projections.len() as u32).to_le_bytes());
    for name in projections {
        head.extend_from_slice(&(name.len() as u32).to_le_bytes());
        head.extend_from_slice(name.as_bytes());
    }
    let count = projections.len() * view.shards().len();
    let mut offset = (head.len() + count * 20).next_multiple_of(ROW_ALIGNMENT);
    let mut parts = Vec::with_capacity(count);
    for name in projections {
        for shard in view.shards() {
            let part = shard.rows(name).map(|rows| encode(&rows)).unwrap_or_default();
            let mut checksum = Checksum::new();
            checksum.add(&part);
            head.extend_from_slice(&(offset as u64).to_le_bytes());
            head.extend_from_slice(&(part.len() as u64).to_le_bytes());
            head.extend_from_slice(&checksum.value().to_le_bytes());
            offset = (offset + part.len()).next_multiple_of(ROW_ALIGNMENT);
            parts.push(part);
        }
    }
    pad(&mut head);
    file.write_all(&head)?;
    for mut part in parts {
        pad(&mut part);
        file.write_all(&part)?;
    }
    file.sync_all()?;
    fs::rename(partial, path)
}

fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(ROW_ALIGNMENT), 0);
}

fn encode(rows: &Rows) -> Vec<u8> {
    let mut head_length = 4;
    for chunk in rows.chunks() {
        head_length += 12 + chunk.placed().map(|row| 24 + row.key.as_str().len()).sum::<usize>();
    }
    let mut head = Vec::with_capacity(head_length.next_multiple_of(ROW_ALIGNMENT));
    let mut data = Vec::new();
    head.extend_from_slice(&(rows.chunks().count() as u32).to_le_bytes());
    let data_at = head_length.next_multiple_of(ROW_ALIGNMENT);
    for chunk in rows.chunks() {
        head.extend_from_slice(&(chunk.placed().count() as u32).to_le_bytes());
        head.extend_from_slice(&((data_at + data.len()) as u32).to_le_bytes());
        head.extend_from_slice(&(chunk.data().len() as u32).to_le_bytes());
        for row in chunk.placed() {
            for number in [row.slot as u32, row.start, row.end] {
                head.extend_from_slice(&number.to_le_bytes());
            }
            head.extend_from_slice(&row.revision.0.to_le_bytes());
            head.extend_from_slice(&(row.key.as_str().len() as u32).to_le_bytes());
            head.extend_from_slice(row.key.as_str().as_bytes());
        }
        data.extend_from_slice(chunk.data());
        pad(&mut data);
    }
    pad(&mut head);
    head.extend_from_slice(&data);
    head
}

impl Checkpoint {
    /// Maps the checkpoint at `path`; `None` if there is none, or none that is of use.
    pub(crate) fn open(path: &Path) -> Option<Self> {
        let file = match mapped::map(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                tracing::warn!(%error, path = %path.display(), "the checkpoint cannot be read and is ignored");
                return None;
            }
        };
        let checkpoint = Self::read(file);
        if checkpoint.is_none() {
            tracing::warn!(path = %path.display(), "the checkpoint is damaged and is ignored");
        }
        checkpoint
    }

    fn read(file: Bytes) -> Option<Self> {
        let mut at = Reader { bytes: &file };
        if at.take(8)? != MAGIC {
            return None;
        }
        let (shards, projections) = (at.number()? as usize, at.number()? as usize);
        let names = (0..projections).map(|_| at.text()).collect::<Option<Vec<_>>>()?;
        let mut parts = Vec::new();
        for _ in 0..projections.checked_mul(shards)? {
            let (offset, length) = (usize::try_from(at.long()?).ok()?, usize::try_from(at.long()?).ok()?);
            let crc = at.number()?;
            if offset.checked_add(length)? > file.len() || !offset.is_multiple_of(ROW_ALIGNMENT) {
                return None;
            }
            parts.push(Part { bytes: file.slice(offset..offset + length), crc });
        }
        let projections = names.into_iter().map(str::to_owned).collect();
        Some(Self { projections, shards, parts, file: file.clone() })
    }

    /// The chunks of one shard of a projection, whole or not at all.
    pub(crate) fn chunks(&self, projection: &str, shard: usize, shards: usize) -> Option<Vec<ChunkImage>> {
        let at = self.projections.iter().position(|name| name == projection)?;
        if shards != self.shards {
            return None;
        }
        let part = &self.parts[at * self.shards + shard];
        let mut checksum = Checksum::new();
        checksum.add(&part.bytes);
        if checksum.value() != part.crc {
            tracing::warn!(projection, shard, bytes = self.file.len(), "a part of the checkpoint is damaged");
            return None;
        }
        let mut at = Reader { bytes: &part.bytes };
        (0..at.number()?).map(|_| chunk(&part.bytes, &mut at)).collect()
    }
}

fn chunk(part: &Bytes, at: &mut Reader<'_>) -> Option<ChunkImage> {
    let (rows, offset, length) = (at.number()?, at.number()? as usize, at.number()? as usize);
    if offset.checked_add(length)? > part.len() {
        return None;
    }
    let rows = (0..rows)
        .map(|_| {
            let (slot, start, end) = (at.number()? as usize, at.number()?, at.number()?);
            let revision = Revision(at.long()?);
            let key = ObjectKey::parse(at.text()?)?;
            (slot < CHUNK_ROWS && start <= end && end as usize <= length).then_some(RowImage {
                slot,
                start,
                end,
                revision,
                key,
            })
        })
        .collect::<Option<Vec<_>>>()?;
    Some(ChunkImage { rows, data: part.slice(offset..offset + length) })
}

/// Takes numbers and texts off the front; `None` where there are none left.
struct Reader<'b> {
    bytes: &'b [u8],
}

impl<'b> Reader<'b> {
    fn take(&mut self, count: usize) -> Option<&'b [u8]> {
        let (taken, rest) = self.bytes.split_at_checked(count)?;
        self.bytes = rest;
        Some(taken)
    }

    fn number(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.take(4)?.try_into().ok()?))
    }

    fn long(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.take(8)?.try_into().ok()?))
    }

    fn text(&mut self) -> Option<&'b str> {
        let length = self.number()? as usize;
        std::str::from_utf8(self.take(length)?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_cut_or_foreign_file_is_taken_for_a_checkpoint() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join(NAME);
        assert!(Checkpoint::open(&path).is_none());
        let view = View::new(Revision(0), Box::new([]));
        write(&view, &["a/1"], &path).expect("written");
        assert!(Checkpoint::open(&path).is_some());
        let whole = fs::read(&path).expect("it is there");
        for cut in 0..21 {
            assert!(Checkpoint::read(Bytes::copy_from_slice(&whole[..cut])).is_none(), "{cut}");
        }
        assert!(Checkpoint::read(Bytes::from_static(b"GANTRYC1\xff\xff\xff\xff\xff\xff\xff\xff")).is_none());
    }
}
