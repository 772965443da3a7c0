//! Shares of a device's capacity (consumable capacity, KEP-5075): what a request consumes, rounded to what the driver
//! allows, and whether that is still there.

use gantry_cel::quantity::{Format, Quantity};

use super::usage::amount;
use crate::rows::devices::{Capacity, Choice, DeviceRow, Wanted};

/// Amounts by capacity.
pub(super) type Amounts = Vec<(Box<str>, Quantity)>;

/// What a request consumes of each capacity of a device, if it gets it: `None` when it asks for a capacity that the device
/// has not, for an amount that the driver does not allow, or for more than is left. `taken` are the amounts that others
/// have, seen and in this search.
pub(super) fn consumed(wanted: &Wanted, device: &DeviceRow, taken: [&[(Box<str>, Quantity)]; 2]) -> Option<Amounts> {
    let has = |name: &str| device.capacity.iter().any(|(known, _)| **known == *name);
    if !wanted.capacity.iter().all(|(name, _)| has(name)) {
        return None;
    }
    let mut all = Amounts::with_capacity(device.capacity.len());
    for (name, capacity) in &device.capacity {
        let asked = wanted.capacity.iter().find(|(known, _)| known == name).map(|(_, amount)| *amount);
        let takes = rounded(asked, capacity);
        if !is_allowed(takes, capacity) {
            return None;
        }
        let sum = taken.iter().fold(takes, |sum, taken| sum.plus(amount(taken, name)));
        if sum > capacity.value {
            return None;
        }
        all.push((name.clone(), takes));
    }
    Some(all)
}

/// The amount that a request is rounded up to.
fn rounded(asked: Option<Quantity>, capacity: &Capacity) -> Quantity {
    let Some(asked) = asked else { return capacity.default.unwrap_or(capacity.value) };
    match &capacity.choice {
        Choice::Any => asked,
        Choice::Values(values) => values.iter().find(|value| asked <= **value).copied().unwrap_or(asked),
        Choice::Range { min, .. } if asked < *min => *min,
        Choice::Range { step: None, .. } => asked,
        Choice::Range { min, step: Some(step), .. } => {
            let (min, step) = (min.value(), step.value().max(1));
            let steps = asked.value().saturating_sub(min);
            let steps = steps / step + i64::from(steps % step != 0);
            Quantity::from_units(min.saturating_add(step.saturating_mul(steps))).with_format(Format::BinarySi)
        }
    }
}

fn is_allowed(takes: Quantity, capacity: &Capacity) -> bool {
    if capacity.default == Some(takes) {
        return true;
    }
    match &capacity.choice {
        Choice::Any => true,
        Choice::Values(values) => values.contains(&takes),
        Choice::Range { min, max, step } => {
            let in_steps = step.is_none_or(|step| (takes.value() - min.value()) % step.value().max(1) == 0);
            max.is_none_or(|max| takes <= max) && in_steps
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gi(n: i64) -> Quantity {
        Quantity::from_bytes(n << 30)
    }

    fn takes(choice: Choice, default: Option<i64>, asked: Option<i64>, taken: i64) -> Option<Quantity> {
        let capacity = Capacity { value: gi(10), default: default.map(gi), choice };
        let device = DeviceRow { capacity: vec![("memory".into(), capacity)], ..DeviceRow::default() };
        let capacity = asked.map(|n| ("memory".into(), gi(n))).into_iter().collect();
        let wanted = Wanted { capacity, ..Wanted::default() };
        let taken = [("memory".into(), gi(taken))];
        consumed(&wanted, &device, [&taken, &[]]).map(|all| all[0].1)
    }

    #[test]
    fn requests_are_rounded_up_and_kept_within_what_is_left() {
        let values = || Choice::Values(vec![gi(2), gi(4)]);
        let range = |max: Option<i64>| Choice::Range { min: gi(2), max: max.map(gi), step: Some(gi(3)) };
        for (choice, default, asked, taken, expected) in [
            (Choice::Any, None, None, 0, Some(10)),
            (Choice::Any, None, None, 1, None),
            (Choice::Any, Some(3), None, 7, Some(3)),
            (Choice::Any, None, Some(4), 6, Some(4)),
            (Choice::Any, None, Some(4), 7, None),
            (values(), Some(2), Some(3), 0, Some(4)),
            (values(), Some(2), Some(5), 0, None),
            (values(), Some(2), None, 8, Some(2)),
            (range(None), Some(2), Some(1), 0, Some(2)),
            (range(None), Some(2), Some(3), 0, Some(5)),
            (range(Some(5)), Some(2), Some(6), 0, None),
        ] {
            let found = takes(choice.clone(), default, asked, taken);
            assert_eq!(found, expected.map(gi), "{choice:?} {default:?} {asked:?} {taken}");
        }
        let wanted = Wanted { capacity: vec![("cores".into(), gi(1))], ..Wanted::default() };
        assert_eq!(consumed(&wanted, &DeviceRow::default(), [&[], &[]]), None, "no such capacity");
    }
}
