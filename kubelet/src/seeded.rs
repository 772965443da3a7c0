//! Numbers that look random and follow from a seed, the same on every machine and in every version.

/// A number from a seed and some bytes (FNV-1a, finished with SplitMix64's mixer).
#[must_use]
pub(crate) fn of(seed: u64, parts: &[&[u8]]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325 ^ mix(seed);
    for part in parts {
        for byte in *part {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
        // A boundary, so that ("ab", "c") and ("a", "bc") differ.
        hash = (hash ^ 0x1ff).wrapping_mul(0x0100_0000_01b3);
    }
    mix(hash)
}

/// A number in [0, 1) from a salt.
#[must_use]
pub(crate) fn unit(salt: u64) -> f64 {
    (mix(salt) >> 11) as f64 / (1_u64 << 53) as f64
}

/// 64 hexadecimal digits, as container and image ids have.
#[must_use]
pub(crate) fn id(parts: &[&[u8]]) -> String {
    (0..4).map(|round| format!("{:016x}", of(round, parts))).collect()
}

fn mix(mut x: u64) -> u64 {
    x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}
