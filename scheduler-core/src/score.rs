//! How well would a pod of this class run on this node? One file per rule; the sum decides.
//!
//! Every rule gives 0 to 100 after normalisation, in upstream's integer arithmetic, and is multiplied by its weight in
//! the pod's [profile](crate::profile). Rules about the node alone are kept per class and node; those about what is on it are computed
//! anew when a pod comes or goes.

pub mod allocation;
pub mod balanced_allocation;
pub mod image_locality;
pub mod node_affinity;
pub mod resources_fit;
pub mod sweep;
pub mod taint_toleration;

/// The best score of a rule.
pub const MAX: i64 = 100;

/// Scales a raw score to 0..100 by the greatest raw score among the feasible nodes (`DefaultNormalizeScore`).
#[inline]
#[must_use]
pub fn normalise(raw: i64, most: i64, reverse: bool) -> u32 {
    let scaled = if most == 0 { 0 } else { MAX * raw / most };
    u32::try_from(if reverse { MAX - scaled } else { scaled }).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normalising_scales_by_the_greatest_and_may_turn_it_round() {
        assert_eq!([0, 1, 3].map(|raw| normalise(raw, 3, false)), [0, 33, 100]);
        assert_eq!([0, 1, 3].map(|raw| normalise(raw, 3, true)), [100, 67, 0]);
        assert_eq!((normalise(0, 0, false), normalise(0, 0, true)), (0, 100));
    }
}
