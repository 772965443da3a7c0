//! Uids and the suffixes of generated names, from the operating system's random source.
//!
//! Both are made once per created object, so the source is read in blocks, one per thread.

use std::cell::RefCell;

use compact_str::CompactString;
use ring::rand::{SecureRandom, SystemRandom};

/// No vowels and none of 0, 1, 3: suffixes spell no words and are not misread. Upstream's alphabet.
const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

const BLOCK: usize = 1024;

struct Block {
    bytes: [u8; BLOCK],
    used: usize,
}

thread_local! {
    static BLOCK_OF_THREAD: RefCell<Block> = const { RefCell::new(Block { bytes: [0; BLOCK], used: BLOCK }) };
}

/// Random bytes.
pub(crate) fn bytes<const N: usize>() -> [u8; N] {
    const { assert!(N <= BLOCK) };
    BLOCK_OF_THREAD.with_borrow_mut(|block| {
        if block.used + N > BLOCK {
            SystemRandom::new().fill(&mut block.bytes).expect("Linux always has random bytes once it has booted");
            block.used = 0;
        }
        let mut out = [0; N];
        out.copy_from_slice(&block.bytes[block.used..block.used + N]);
        block.used += N;
        out
    })
}

/// A random (version 4) UUID in its usual form.
pub(crate) fn uuid() -> CompactString {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut id: [u8; 16] = bytes();
    id[6] = (id[6] & 0x0f) | 0x40;
    id[8] = (id[8] & 0x3f) | 0x80;
    let mut text = CompactString::with_capacity(36);
    for (at, byte) in id.iter().enumerate() {
        if matches!(at, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        text.push(char::from(HEX[usize::from(byte >> 4)]));
        text.push(char::from(HEX[usize::from(byte & 15)]));
    }
    text
}

/// `length` characters for the end of a generated name.
pub(crate) fn suffix(length: usize) -> CompactString {
    let mut text = CompactString::with_capacity(length);
    while text.len() < length {
        let [byte] = bytes();
        // 243 is the largest multiple of 27 that a byte holds: above it the letters would not be equally likely.
        if byte < 243 {
            text.push(char::from(ALPHABET[usize::from(byte) % ALPHABET.len()]));
        }
    }
    text
}

/// A number below `bound`, which is not zero.
pub(crate) fn below(bound: u64) -> u64 {
    // The bias of a 64-bit remainder over ranges of addresses and seconds is far below anything observable.
    u64::from_le_bytes(bytes()) % bound
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuids_have_the_form_of_version_4() {
        let id = uuid();
        assert_eq!(id.len(), 36);
        assert_eq!(&id[14..15], "4");
        assert!(matches!(&id[19..20], "8" | "9" | "a" | "b"), "{id}");
        assert_eq!(id.bytes().filter(|b| *b == b'-').count(), 4);
        assert_ne!(id, uuid());
    }

    #[test]
    fn suffixes_use_the_alphabet_only() {
        let text = suffix(500);
        assert_eq!(text.len(), 500);
        assert!(text.bytes().all(|b| ALPHABET.contains(&b)));
    }
}
