//! The best of many, kept as a 16-way tournament: changing one leaf costs O(log nodes), asking for the winner O(1).
//!
//! A leaf is a node's key for one class of pods: its score above, its seeded tie-break below, or [`OUT`] when the node
//! is not feasible. Written by `class`, which rebuilds it after a scan and repairs it from the columns' journal.

/// The key of a node that is out of the running.
pub const OUT: u64 = 0;

const WAYS: usize = 16;
/// The lower bits of a key: the standing among equally good nodes, shortened.
pub const TIE_BITS: u32 = 40;
/// Scores are less than this.
pub const SCORE_MAX: u32 = (1 << (64 - TIE_BITS)) - 1;

/// A key that orders by score, then by tie-break. Never [`OUT`].
///
/// Upstream picks at random among the best nodes. We pick the one with the greatest tie-break
/// ([`Columns::standing`](crate::columns::Columns::standing)): the fewest pods, then a hash of the scheduler's seed and the
/// node's name. Deterministic for tests and replays, different between schedulers that share a cluster, and replicas
/// too small to move a score still spread, as they do by chance upstream. Two names with equal 24-bit hashes fall to the
/// lower slot.
#[inline]
#[must_use]
pub fn key(score: u32, tie: u64) -> u64 {
    debug_assert!(score < SCORE_MAX);
    (u64::from(score + 1) << TIE_BITS) | (tie >> (64 - TIE_BITS))
}

/// The score inside a key.
#[must_use]
pub fn score_of(key: u64) -> u32 {
    ((key >> TIE_BITS) as u32).saturating_sub(1)
}

/// Keys of all nodes and, above them, the greatest of each group of 16, up to one.
#[derive(Clone, Debug, Default)]
pub struct Tournament {
    /// `levels[0]` are the leaves; every level is padded to whole groups with [`OUT`].
    levels: Vec<Vec<u64>>,
}

impl Tournament {
    /// A tournament over these leaves.
    #[must_use]
    pub fn new(mut leaves: Vec<u64>) -> Self {
        pad(&mut leaves);
        let mut levels = vec![leaves];
        while levels[levels.len() - 1].len() > WAYS {
            let below = &levels[levels.len() - 1];
            let mut above: Vec<u64> = below.chunks_exact(WAYS).map(greatest).collect();
            pad(&mut above);
            levels.push(above);
        }
        Self { levels }
    }

    /// Sets one leaf and settles the matches above it.
    pub fn set(&mut self, leaf: usize, key: u64) {
        if leaf >= self.levels[0].len() {
            let mut leaves = std::mem::take(&mut self.levels[0]);
            leaves.resize(leaf + 1, OUT);
            leaves[leaf] = key;
            *self = Self::new(leaves);
            return;
        }
        let mut at = leaf;
        let mut value = key;
        for level in 0..self.levels.len() {
            if self.levels[level][at] == value {
                return;
            }
            self.levels[level][at] = value;
            let group = at / WAYS;
            value = greatest(&self.levels[level][group * WAYS..(group + 1) * WAYS]);
            at = group;
        }
    }

    /// The leaf with the greatest key; `None` when all are [`OUT`].
    #[must_use]
    pub fn winner(&self) -> Option<(usize, u64)> {
        let top = self.levels.last()?;
        let best = greatest(top);
        if best == OUT {
            return None;
        }
        let mut at = 0;
        for level in self.levels.iter().rev() {
            let group = &level[at * WAYS..(at + 1) * WAYS];
            at = at * WAYS + group.iter().position(|k| *k == best).expect("a winner won all its matches");
        }
        Some((at, best))
    }

    /// The key of a leaf.
    #[must_use]
    pub fn leaf(&self, leaf: usize) -> u64 {
        self.levels.first().and_then(|l| l.get(leaf)).copied().unwrap_or(OUT)
    }

    /// What it occupies.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.levels.iter().map(|l| l.len() * 8).sum()
    }
}

fn pad(level: &mut Vec<u64>) {
    level.resize(level.len().max(1).next_multiple_of(WAYS), OUT);
}

fn greatest(group: &[u64]) -> u64 {
    group.iter().copied().max().unwrap_or(OUT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_winner_is_the_greatest_after_any_changes() {
        for size in [1usize, 15, 16, 17, 300, 5000] {
            let mut plain: Vec<u64> = (0..size as u64).map(|i| key((i * 7919 % 101) as u32, mix(i))).collect();
            let mut tree = Tournament::new(plain.clone());
            let mut state = 1u64;
            for _ in 0..500 {
                state = mix(state);
                let leaf = (state % size as u64) as usize;
                let new = if state.is_multiple_of(3) { OUT } else { key((state >> 32) as u32 % 1000, state) };
                plain[leaf] = new;
                tree.set(leaf, new);
                let expected = plain.iter().copied().max().filter(|k| *k != OUT);
                assert_eq!(tree.winner().map(|(_, k)| k), expected);
                if let Some((at, k)) = tree.winner() {
                    assert_eq!(plain[at], k);
                }
            }
        }
    }

    #[test]
    fn a_leaf_beyond_the_end_makes_room() {
        let mut tree = Tournament::new(vec![key(1, 5)]);
        tree.set(40, key(9, 0));
        assert_eq!(tree.winner(), Some((40, key(9, 0))));
        tree.set(40, OUT);
        assert_eq!(tree.winner(), Some((0, key(1, 5))));
    }

    #[test]
    fn score_outranks_tie_break() {
        assert!(key(3, 0) > key(2, u64::MAX));
        assert!(key(0, 0) > OUT);
        assert_eq!(score_of(key(17, u64::MAX)), 17);
    }

    fn mix(x: u64) -> u64 {
        let x = (x ^ (x >> 31)).wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(1);
        x ^ (x >> 29)
    }
}
