//! Backup: one view in one file. Restore: such a file into an empty data directory.
//!
//! ```text
//! "GANTRYB1" | revision 8 | { key length 4 | key | record length 4 | record }* | 0xFFFFFFFF | count 8 | crc 4
//! ```
//! Little-endian; the checksum covers everything before it. A backup is written under a temporary name and renamed
//! when it is whole and synced. A restore reads the whole file once for its checksum before it writes anything.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use super::batch::LogOp;
use super::checksum::Checksum;
use super::embedded::Embedded;
use super::engine::{Engine, EngineError};
use super::record;
use crate::key::ObjectKey;
use crate::revision::Revision;
use crate::view::View;

const MAGIC: &[u8; 8] = b"GANTRYB1";
const END: u32 = u32::MAX;
/// No record is longer: it keeps a damaged length from becoming an allocation.
const PART_BYTES_MAX: u32 = 64 << 20;
const RESTORE_BATCH: usize = 1024;

/// Why a backup or a restore did not happen.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// Reading or writing failed.
    #[error("{}", path.display())]
    Io {
        /// The file or directory concerned.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// It would overwrite something.
    #[error("{} exists already", .0.display())]
    Exists(PathBuf),
    /// The file is cut short, altered, or no backup of ours.
    #[error("{} is not a whole backup: {what}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The new store could not be written.
    #[error("cannot write the restored store")]
    Engine(#[source] EngineError),
}

/// Writes `view` to a new file.
pub(crate) fn write(view: &View, to: &Path) -> Result<Revision, BackupError> {
    if to.exists() {
        return Err(BackupError::Exists(to.to_owned()));
    }
    let mut partial = to.as_os_str().to_owned();
    partial.push(".partial");
    let partial = PathBuf::from(partial);
    let written = write_file(view, &partial).and_then(|()| {
        fs::rename(&partial, to)?;
        let directory = to.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(directory)?.sync_all()
    });
    written.map_err(|source| {
        // Best effort: the error to tell is the first one.
        let _ = fs::remove_file(&partial);
        BackupError::Io { path: to.to_owned(), source }
    })?;
    Ok(view.revision())
}

fn write_file(view: &View, path: &Path) -> io::Result<()> {
    let mut out = Summed { inner: BufWriter::with_capacity(1 << 20, File::create(path)?), checksum: Checksum::new() };
    out.put(MAGIC)?;
    out.put(&view.revision().0.to_le_bytes())?;
    let mut count = 0_u64;
    for collection in view.collections() {
        let mut objects = view.scan(&collection, None, None);
        while let Some(object) = objects.next_ref() {
            out.put_part(object.key.as_str().as_bytes())?;
            out.put_part(&record::encode_object(object))?;
            count += 1;
        }
    }
    out.put(&END.to_le_bytes())?;
    out.put(&count.to_le_bytes())?;
    let crc = out.checksum.value();
    out.put(&crc.to_le_bytes())?;
    out.inner.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()
}

/// A writer that sums what passes.
struct Summed<W> {
    inner: W,
    checksum: Checksum,
}

impl<W: Write> Summed<W> {
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.checksum.add(bytes);
        self.inner.write_all(bytes)
    }

    fn put_part(&mut self, bytes: &[u8]) -> io::Result<()> {
        let length = u32::try_from(bytes.len()).map_err(io::Error::other)?;
        self.put(&length.to_le_bytes())?;
        self.put(bytes)
    }
}

impl<R: Read> Summed<R> {
    fn take<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.inner.read_exact(&mut bytes)?;
        self.checksum.add(&bytes);
        Ok(bytes)
    }

    fn take_part(&mut self, length: u32) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; length as usize];
        self.inner.read_exact(&mut bytes)?;
        self.checksum.add(&bytes);
        Ok(bytes)
    }
}

/// Makes a data directory from a backup. The store must be opened afterwards as any other.
///
/// # Errors
/// The backup is not whole, or `data_dir` already holds a store: then nothing was written.
pub fn restore(from: &Path, data_dir: &Path) -> Result<Revision, BackupError> {
    if data_dir.join("objects").exists() {
        return Err(BackupError::Exists(data_dir.join("objects")));
    }
    read(from, |_, _| Ok(()))?;
    let mut engine = Embedded::open(data_dir, false).map_err(BackupError::Engine)?;
    let mut pending = Vec::new();
    let revision = read(from, |key, record| {
        pending.push(LogOp { key, record: Some(record) });
        if pending.len() == RESTORE_BATCH {
            // Not synced, and with no revision yet: the last write below makes the store valid, all of it.
            engine.write(std::mem::take(&mut pending), Revision(0), false).map_err(BackupError::Engine)?;
        }
        Ok(())
    })?;
    engine.write(pending, revision, true).map_err(BackupError::Engine)?;
    Ok(revision)
}

fn read(
    from: &Path,
    mut each: impl FnMut(ObjectKey, Vec<u8>) -> Result<(), BackupError>,
) -> Result<Revision, BackupError> {
    let damaged = |what| BackupError::Damaged { path: from.to_owned(), what };
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::UnexpectedEof => damaged("it ends too early"),
        _ => BackupError::Io { path: from.to_owned(), source },
    };
    let file = File::open(from).map_err(failed)?;
    let mut input = Summed { inner: BufReader::with_capacity(1 << 20, file), checksum: Checksum::new() };
    if input.take::<8>().map_err(failed)? != *MAGIC {
        return Err(damaged("it does not begin as one"));
    }
    let revision = Revision(u64::from_le_bytes(input.take().map_err(failed)?));
    let mut count = 0_u64;
    loop {
        let length = u32::from_le_bytes(input.take().map_err(failed)?);
        if length == END {
            break;
        }
        if length > PART_BYTES_MAX {
            return Err(damaged("a length is impossible"));
        }
        let key = input.take_part(length).map_err(failed)?;
        let key = std::str::from_utf8(&key).ok().and_then(ObjectKey::parse).ok_or_else(|| damaged("a key is none"))?;
        let length = u32::from_le_bytes(input.take().map_err(failed)?);
        if length > PART_BYTES_MAX {
            return Err(damaged("a length is impossible"));
        }
        let bytes = input.take_part(length).map_err(failed)?;
        record::decode(&bytes).map_err(|_| damaged("a record is none"))?;
        each(key, bytes)?;
        count += 1;
    }
    if u64::from_le_bytes(input.take().map_err(failed)?) != count {
        return Err(damaged("objects are missing"));
    }
    let sum = input.checksum.value();
    if u32::from_le_bytes(input.take().map_err(failed)?) != sum {
        return Err(damaged("its checksum is wrong"));
    }
    Ok(revision)
}
