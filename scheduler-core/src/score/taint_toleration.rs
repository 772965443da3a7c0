//! TaintToleration: the fewer `PreferNoSchedule` taints are not tolerated, the better.

/// The normalised score of a node with `unwelcome` such taints, where the worst feasible node has `most`.
#[inline]
#[must_use]
pub fn score(unwelcome: u16, most: u16) -> u32 {
    super::normalise(unwelcome.into(), most.into(), true)
}
