//! NodeResourcesBalancedAllocation: the more evenly CPU and memory would be used compared with now, the better.
//!
//! As of 1.36 (upstream's pull request 135573) the change counts, not the outcome: an unchanged balance gives 75.
//! Computed in f64 in upstream's order of operations, so that rounding agrees to the last bit.

use super::MAX;

/// The score of a node offering `cpu` and `memory`, of which the pairs are in use without and with this pod.
#[inline]
#[must_use]
pub fn score(cpu: i64, cpu_used: (i64, i64), memory: i64, memory_used: (i64, i64)) -> u32 {
    let without = balance(cpu, cpu_used.0, memory, memory_used.0);
    let with = balance(cpu, cpu_used.1, memory, memory_used.1);
    change(without, with)
}

/// The score of a balance that changes.
#[inline]
#[must_use]
pub fn change(without: i64, with: i64) -> u32 {
    u32::try_from(MAX / 2 + (MAX / 2 + with - without) / 2).unwrap_or(0)
}

/// 100 less the standard deviation of the used fractions, in percent.
#[inline]
#[must_use]
pub fn balance(cpu: i64, cpu_used: i64, memory: i64, memory_used: i64) -> i64 {
    if cpu == 0 || memory == 0 {
        // One fraction, or none, does not deviate.
        return MAX;
    }
    let deviation = ((fraction(cpu_used, cpu) - fraction(memory_used, memory)) / 2.0).abs();
    ((1.0 - deviation) * MAX as f64) as i64
}

#[inline]
fn fraction(used: i64, capacity: i64) -> f64 {
    (used as f64 / capacity as f64).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unchanged_balance_scores_75_and_the_extremes_50_and_100() {
        assert_eq!(score(100, (10, 20), 100, (10, 20)), 75);
        assert_eq!(score(100, (0, 100), 100, (0, 0)), 50);
        assert_eq!(score(100, (0, 100), 100, (100, 100)), 100);
        assert_eq!(score(0, (0, 1), 100, (0, 50)), 75);
        assert_eq!(score(100, (0, 300), 100, (0, 100)), 75);
    }
}
