//! Quantities as exact integers: milli-CPU, bytes, counts.
//!
//! Upstream's scheduler reads a Quantity as `MilliValue` (CPU) or `Value` (all else), rounded up; so do we, and add and
//! compare integers from there on.

use rkyv::{Archive, Deserialize, Serialize};

/// What a node has of a resource, at most: a pebibyte, or a billion cores. More is taken for this.
pub const NODE_MAX: i64 = 1 << 50;
/// What a pod asks for, at most: more than any node has. Thousands of such pods still add up to a number.
pub const POD_MAX: i64 = 1 << 51;

/// Amounts of each resource.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Amounts {
    /// CPU in thousandths of a core.
    pub cpu: i64,
    /// Memory in bytes.
    pub memory: i64,
    /// Ephemeral storage in bytes.
    pub ephemeral: i64,
    /// Pods.
    pub pods: i64,
    /// Hugepages, attachable volumes and extended resources, sorted by name.
    pub extended: Vec<(Box<str>, i64)>,
}

impl Amounts {
    /// Sets one resource from its quantity text. Names that scheduling does not count are left out.
    pub fn set(&mut self, resource: &str, quantity: &str) {
        match resource {
            "cpu" => self.cpu = milli(quantity),
            "memory" => self.memory = whole(quantity),
            "ephemeral-storage" => self.ephemeral = whole(quantity),
            "pods" => self.pods = whole(quantity),
            _ if is_scalar(resource) => *self.extended_mut(resource) = whole(quantity),
            _ => {}
        }
    }

    /// The amount of an extended resource, to change; 0 if it was not there.
    pub fn extended_mut(&mut self, resource: &str) -> &mut i64 {
        let at = match self.extended.binary_search_by(|(name, _)| (**name).cmp(resource)) {
            Ok(at) => at,
            Err(at) => {
                self.extended.insert(at, (resource.into(), 0));
                at
            }
        };
        &mut self.extended[at].1
    }

    /// The amount of an extended resource.
    #[must_use]
    pub fn extended(&self, resource: &str) -> i64 {
        self.extended.binary_search_by(|(name, _)| (**name).cmp(resource)).map_or(0, |at| self.extended[at].1)
    }

    /// Adds `other` to each resource.
    pub fn add(&mut self, other: &Self) {
        self.cpu = self.cpu.saturating_add(other.cpu);
        self.memory = self.memory.saturating_add(other.memory);
        self.ephemeral = self.ephemeral.saturating_add(other.ephemeral);
        self.pods = self.pods.saturating_add(other.pods);
        for (name, amount) in &other.extended {
            let sum = self.extended_mut(name);
            *sum = sum.saturating_add(*amount);
        }
    }

    /// Raises each resource to at least that of `other`.
    pub fn raise(&mut self, other: &Self) {
        self.cpu = self.cpu.max(other.cpu);
        self.memory = self.memory.max(other.memory);
        self.ephemeral = self.ephemeral.max(other.ephemeral);
        self.pods = self.pods.max(other.pods);
        for (name, amount) in &other.extended {
            let most = self.extended_mut(name);
            *most = (*most).max(*amount);
        }
    }

    /// Lowers each resource to at most `most`: sums of what is left cannot overflow.
    pub fn cap(&mut self, most: i64) {
        for amount in [&mut self.cpu, &mut self.memory, &mut self.ephemeral, &mut self.pods] {
            *amount = (*amount).clamp(-most, most);
        }
        for (_, amount) in &mut self.extended {
            *amount = (*amount).clamp(-most, most);
        }
    }

    /// Takes `other` away from each resource, down to 0.
    pub fn take_away(&mut self, other: &Self) {
        self.cpu = (self.cpu - other.cpu).max(0);
        self.memory = (self.memory - other.memory).max(0);
        self.ephemeral = (self.ephemeral - other.ephemeral).max(0);
        self.pods = (self.pods - other.pods).max(0);
        for (name, amount) in &mut self.extended {
            *amount = (*amount - other.extended(name)).max(0);
        }
    }

    /// Makes one resource what it is in `other`.
    pub fn take(&mut self, resource: &str, other: &Self) {
        match resource {
            "cpu" => self.cpu = other.cpu,
            "memory" => self.memory = other.memory,
            "ephemeral-storage" => self.ephemeral = other.ephemeral,
            "pods" => self.pods = other.pods,
            _ => *self.extended_mut(resource) = other.extended(resource),
        }
    }

    /// Drops resources of amount 0, so that equal demands look equal.
    pub fn tidy(&mut self) {
        self.extended.retain(|(_, amount)| *amount != 0);
    }
}

/// Whether NodeResourcesFit counts a resource of this name besides the four it knows (`IsScalarResourceName`).
fn is_scalar(resource: &str) -> bool {
    resource.starts_with("hugepages-") || resource.starts_with("attachable-volumes-") || resource.contains('/')
}

/// A quantity in thousandths, rounded up (`MilliValue`).
#[must_use]
pub fn milli(quantity: &str) -> i64 {
    scaled(quantity, 3)
}

/// A quantity in wholes, rounded up (`Value`).
#[must_use]
pub fn whole(quantity: &str) -> i64 {
    scaled(quantity, 0)
}

/// `quantity × 10^places`, rounded up, within i64. Text that is no quantity counts as 0: the API server lets none in.
fn scaled(quantity: &str, places: i32) -> i64 {
    let text = quantity.trim();
    let (negative, text) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    let end = text.bytes().position(|b| !b.is_ascii_digit() && b != b'.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let Some((binary, decimal)) = factor(suffix) else { return 0 };
    let mut mantissa: i128 = 0;
    let mut exponent = decimal + places;
    let mut seen_point = false;
    for byte in number.bytes() {
        if byte == b'.' {
            if seen_point {
                return 0;
            }
            seen_point = true;
        } else if mantissa < i128::pow(10, 24) {
            mantissa = mantissa * 10 + i128::from(byte - b'0');
            exponent -= i32::from(seen_point);
        } else {
            // More digits than any amount has: keep the magnitude.
            exponent += i32::from(!seen_point);
        }
    }
    let mut value = mantissa.saturating_mul(binary);
    if exponent >= 0 {
        value = value.saturating_mul(i128::checked_pow(10, exponent.unsigned_abs()).unwrap_or(i128::MAX));
    } else {
        let by = i128::checked_pow(10, exponent.unsigned_abs()).unwrap_or(i128::MAX);
        // Up: away from zero, as apimachinery rounds.
        value = value / by + i128::from(value % by != 0);
    }
    let value = i64::try_from(value).unwrap_or(i64::MAX);
    if negative { -value } else { value }
}

/// A suffix as a binary factor and a power of ten.
fn factor(suffix: &str) -> Option<(i128, i32)> {
    Some(match suffix {
        "" => (1, 0),
        "n" => (1, -9),
        "u" => (1, -6),
        "m" => (1, -3),
        "k" => (1, 3),
        "M" => (1, 6),
        "G" => (1, 9),
        "T" => (1, 12),
        "P" => (1, 15),
        "E" => (1, 18),
        "Ki" => (1 << 10, 0),
        "Mi" => (1 << 20, 0),
        "Gi" => (1 << 30, 0),
        "Ti" => (1 << 40, 0),
        "Pi" => (1 << 50, 0),
        "Ei" => (1 << 60, 0),
        _ => (1, suffix.strip_prefix(['e', 'E'])?.parse::<i32>().ok()?.clamp(-60, 60)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_read_as_upstream_reads_them() {
        for (text, as_milli, as_whole) in [
            ("100m", 100, 1),
            ("1", 1000, 1),
            ("0.1", 100, 1),
            ("1.5", 1500, 2),
            ("1Ki", 1_024_000, 1024),
            ("1.5Gi", 1_610_612_736_000, 1_610_612_736),
            ("1e3", 1_000_000, 1000),
            ("1E", 1_000_000_000_000_000_000 * 9 + 223_372_036_854_775_807, 1_000_000_000_000_000_000),
            ("12E2", 1_200_000, 1200),
            ("5n", 1, 1),
            ("-1", -1000, -1),
            ("9223372036854775807", i64::MAX, i64::MAX),
            ("", 0, 0),
            ("1x", 0, 0),
        ] {
            assert_eq!((milli(text), whole(text)), (as_milli, as_whole), "{text}");
        }
    }

    #[test]
    fn extended_resources_keep_their_names_and_others_are_left_out() {
        let mut amounts = Amounts::default();
        amounts.set("example.com/gpu", "2");
        amounts.set("hugepages-2Mi", "4Mi");
        amounts.set("storage", "1Gi");
        assert_eq!((amounts.extended("example.com/gpu"), amounts.extended("hugepages-2Mi")), (2, 4 << 20));
        assert_eq!(amounts.extended.len(), 2);
    }
}
