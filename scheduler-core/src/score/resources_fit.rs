//! NodeResourcesFit, LeastAllocated: the more CPU and memory would be left, the better. Containers without requests
//! count as 100m and 200Mi, on both sides.

use super::MAX;

/// The score of a node offering `cpu` and `memory` of which `cpu_used` and `memory_used` would be used, this pod
/// included.
#[inline]
#[must_use]
pub fn score(cpu: i64, cpu_used: i64, memory: i64, memory_used: i64) -> u32 {
    let weights = i64::from(cpu != 0) + i64::from(memory != 0);
    if weights == 0 {
        return 0;
    }
    u32::try_from((left(cpu, cpu_used) + left(memory, memory_used)) / weights).unwrap_or(0)
}

/// The percentage left, rounded down.
#[inline]
fn left(capacity: i64, used: i64) -> i64 {
    if capacity == 0 || used > capacity { 0 } else { (capacity - used) * MAX / capacity }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn least_allocated_is_the_mean_of_what_is_left() {
        assert_eq!(score(4000, 3000, 10_000, 5000), (25 + 50) / 2);
        assert_eq!(score(4000, 5000, 10_000, 0), 50);
        assert_eq!(score(0, 100, 10_000, 2500), 75);
        assert_eq!(score(0, 0, 0, 0), 0);
    }
}
