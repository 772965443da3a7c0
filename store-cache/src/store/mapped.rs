//! A file mapped into memory. The crate's second island of unsafe code.

#![allow(unsafe_code, reason = "mapping a file is a promise about who writes it, which only the caller can make")]

use std::fs::File;
use std::io;
use std::path::Path;

use bytes::Bytes;
use memmap2::Mmap;

/// Maps a file that nobody writes any more. The mapping lives as long as any part of the bytes is held.
///
/// Only for files that were completed under another name and renamed, as checkpoints are: replacing one makes a new
/// file and leaves the mapped one alone.
pub(crate) fn map(path: &Path) -> io::Result<Bytes> {
    let file = File::open(path)?;
    // SAFETY: the mapping is read-only, and by the contract above no process writes or truncates the file while it is
    // mapped: checkpoints are written beside their place and renamed into it.
    let map = unsafe { Mmap::map(&file)? };
    Ok(Bytes::from_owner(map))
}
