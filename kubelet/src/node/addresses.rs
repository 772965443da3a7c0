//! Addresses of simulated nodes and their pods: by arithmetic from the node's number, with one bit per address in use.
//!
//! Nodes count up from 172.16.0.10. Each has a block of pod addresses out of 10.128.0.0 and up, big enough for its
//! pods; fleets of more than 32,768 nodes go on past 10.255.255.255, which harms nobody as no packet is ever sent.

use std::net::Ipv4Addr;

use compact_str::{CompactString, ToCompactString};

const FIRST_HOST: u32 = u32::from_be_bytes([172, 16, 0, 10]);
const FIRST_BLOCK: u32 = u32::from_be_bytes([10, 128, 0, 0]);
/// The first addresses of a block are the network's and the bridge's.
const RESERVED: u32 = 2;

/// The address of node number `node`.
#[must_use]
pub fn host(node: u32) -> Ipv4Addr {
    Ipv4Addr::from(FIRST_HOST + node)
}

/// The pod addresses of one node.
#[derive(Clone, Debug)]
pub struct Block {
    first: u32,
    /// A power of two.
    size: u32,
    used: Vec<u64>,
    next: u32,
}

impl Block {
    /// The block of node number `node`, with room for `pods` pods and at least 254.
    #[must_use]
    pub fn new(node: u32, pods: u32) -> Self {
        let size = (pods + RESERVED + 1).next_power_of_two().max(256);
        Self { first: FIRST_BLOCK.wrapping_add(node.wrapping_mul(size)), size, used: Vec::new(), next: RESERVED }
    }

    /// As `spec.podCIDR` says it.
    #[must_use]
    pub fn cidr(&self) -> String {
        format!("{}/{}", Ipv4Addr::from(self.first), 32 - self.size.trailing_zeros())
    }

    /// An address nobody has, not one given back just now; `None` when all are taken.
    pub fn take(&mut self) -> Option<CompactString> {
        let last = self.size - 1;
        for _ in RESERVED..last {
            let at = self.next;
            self.next = if at + 1 < last { at + 1 } else { RESERVED };
            if self.set(at, true) {
                return Some(Ipv4Addr::from(self.first + at).to_compact_string());
            }
        }
        None
    }

    /// Marks an address as taken, if it is one of ours and free.
    pub fn reserve(&mut self, address: &str) -> bool {
        self.place(address).is_some_and(|at| self.set(at, true))
    }

    /// Gives an address back.
    pub fn free(&mut self, address: &str) {
        if let Some(at) = self.place(address) {
            self.set(at, false);
        }
    }

    fn place(&self, address: &str) -> Option<u32> {
        let address: Ipv4Addr = address.parse().ok()?;
        let at = u32::from(address).checked_sub(self.first)?;
        (at < self.size).then_some(at)
    }

    /// Whether the bit changed.
    fn set(&mut self, at: u32, taken: bool) -> bool {
        let (word, bit) = ((at / 64) as usize, 1_u64 << (at % 64));
        if self.used.len() <= word {
            self.used.resize(word + 1, 0);
        }
        let before = self.used[word] & bit != 0;
        if taken {
            self.used[word] |= bit;
        } else {
            self.used[word] &= !bit;
        }
        before != taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_distinct_until_given_back() {
        let mut block = Block::new(1, 110);
        assert_eq!(block.cidr(), "10.128.1.0/24");
        assert!(block.reserve("10.128.1.3"));
        let taken: Vec<_> = std::iter::from_fn(|| block.take()).collect();
        assert_eq!(taken[..2], ["10.128.1.2", "10.128.1.4"]);
        assert_eq!(taken.len(), 252);
        block.free("10.128.1.77");
        assert_eq!(block.take().as_deref(), Some("10.128.1.77"));
        assert!(!block.reserve("10.128.2.3"), "not ours");
        assert_eq!(host(0).to_string(), "172.16.0.10");
    }
}
