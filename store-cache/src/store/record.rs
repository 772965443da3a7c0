//! The bytes of one stored version, as every engine and every backup keeps them.
//!
//! ```text
//! version 1 | revision 8 | created 8 | expires_ms 8 | slot 4 | body without its revision digits
//! ```
//! Little-endian. etcd counts revisions itself and leaves those two fields zero. A body is stored as its writer encoded
//! it; whoever reads it writes the digits in at `slot`, so a replay does what the commit did.

use crate::key::ObjectKey;
use crate::object::{Facets, NewBody, Stamp, StoredObject};
use crate::revision::Revision;

const VERSION: u8 = 1;
const HEADER_BYTES: usize = 29;

/// A record taken apart, its body still in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Record<'r> {
    pub(crate) revision: Revision,
    pub(crate) created: Revision,
    pub(crate) stamp: Stamp,
    pub(crate) raw: &'r [u8],
}

/// The bytes are no record of ours.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("not a record of this store, or of a later version")]
pub(crate) struct NotARecord;

pub(crate) fn encode(body: &NewBody, revision: Revision, created: Revision, stamp: Stamp) -> Vec<u8> {
    encode_parts(&body.bytes, &[], revision, created, stamp)
}

/// The record of a version that is in memory already.
pub(crate) fn encode_object(object: &StoredObject) -> Vec<u8> {
    let (head, tail) = object.around_revision();
    encode_parts(head, tail, object.revision, object.created, object.stamp())
}

fn encode_parts(head: &[u8], tail: &[u8], revision: Revision, created: Revision, stamp: Stamp) -> Vec<u8> {
    let mut record = Vec::with_capacity(HEADER_BYTES + head.len() + tail.len());
    record.push(VERSION);
    record.extend_from_slice(&revision.0.to_le_bytes());
    record.extend_from_slice(&created.0.to_le_bytes());
    record.extend_from_slice(&stamp.expires_ms.to_le_bytes());
    let slot = stamp.slot().and_then(|slot| u32::try_from(slot).ok()).unwrap_or(u32::MAX);
    record.extend_from_slice(&slot.to_le_bytes());
    record.extend_from_slice(head);
    record.extend_from_slice(tail);
    record
}

pub(crate) fn decode(bytes: &[u8]) -> Result<Record<'_>, NotARecord> {
    let (header, raw) = bytes.split_at_checked(HEADER_BYTES).ok_or(NotARecord)?;
    if header[0] != VERSION {
        return Err(NotARecord);
    }
    let number = |at: usize| {
        let mut digits = [0; 8];
        digits.copy_from_slice(&header[at..at + 8]);
        u64::from_le_bytes(digits)
    };
    let slot = u32::from_le_bytes([header[25], header[26], header[27], header[28]]);
    let slot = (slot != u32::MAX).then_some(slot as usize);
    if slot.is_some_and(|slot| slot > raw.len()) {
        return Err(NotARecord);
    }
    Ok(Record { revision: Revision(number(1)), created: Revision(number(9)), stamp: Stamp::new(slot, number(17)), raw })
}

impl Record<'_> {
    pub(crate) fn into_object(self, key: ObjectKey, facets: Facets) -> StoredObject {
        StoredObject::stamped(key, self.revision, self.created, self.raw, facets, self.stamp)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_comes_back_and_a_foreign_one_is_refused() {
        let body = NewBody { bytes: br#"{"rv":""}"#.to_vec(), revision_slot: Some(7) };
        let stamp = Stamp::new(body.revision_slot, 12_345);
        let bytes = encode(&body, Revision(9), Revision(4), stamp);
        let record = decode(&bytes).expect("our own record");
        assert_eq!(record, Record { revision: Revision(9), created: Revision(4), stamp, raw: &body.bytes });
        let object = record.into_object(ObjectKey::new("pods", "a", "b"), Facets::default());
        assert_eq!(&object.body[..], br#"{"rv":"9"}"#);
        assert_eq!(encode_object(&object), bytes);
        assert!(decode(b"{}").is_err());
        assert!(decode(&[2; 64]).is_err());
    }
}
