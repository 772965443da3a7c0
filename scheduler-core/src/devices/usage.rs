//! Which devices are in use: taken whole, or in shares. Those that are only looked at (admin access) are not.

use ahash::RandomState;
use gantry_cel::quantity::Quantity;
use hashbrown::HashMap;

use crate::intern::fixed_hasher;
use crate::rows::devices::{Allocated, DeviceId};

/// How a device is used.
#[derive(Clone, Debug, Default)]
pub(super) struct Used {
    /// How many have it whole; more than one only when somebody else allocates, too.
    pub(super) whole: u32,
    /// How many have a share of it.
    pub(super) shares: u32,
    /// What the shares consume together, by capacity.
    pub(super) consumed: Vec<(Box<str>, Quantity)>,
}

/// All devices in use.
#[derive(Debug)]
pub(super) struct Usage(HashMap<DeviceId, Used, RandomState>);

impl Default for Usage {
    fn default() -> Self {
        Self(HashMap::with_hasher(fixed_hasher()))
    }
}

impl Usage {
    pub(super) fn of(&self, device: &DeviceId) -> Option<&Used> {
        self.0.get(device)
    }

    pub(super) fn take(&mut self, result: &Allocated) {
        let used = self.0.entry_ref(&result.device).or_default();
        match &result.share {
            None => used.whole += 1,
            Some(consumed) => {
                used.shares += 1;
                for (name, amount) in consumed {
                    add(&mut used.consumed, name, *amount);
                }
            }
        }
    }

    pub(super) fn release(&mut self, result: &Allocated) {
        let Some(used) = self.0.get_mut(&result.device) else { return };
        match &result.share {
            None => used.whole = used.whole.saturating_sub(1),
            Some(consumed) => {
                used.shares = used.shares.saturating_sub(1);
                for (name, amount) in consumed {
                    subtract(&mut used.consumed, name, *amount);
                }
            }
        }
        if used.whole == 0 && used.shares == 0 {
            self.0.remove(&result.device);
        }
    }
}

impl From<&DeviceId> for DeviceId {
    fn from(id: &DeviceId) -> Self {
        id.clone()
    }
}

/// Adds to the amount of a name.
pub(super) fn add(amounts: &mut Vec<(Box<str>, Quantity)>, name: &str, by: Quantity) {
    match amounts.iter_mut().find(|(known, _)| **known == *name) {
        Some((_, amount)) => *amount = amount.plus(by),
        None => amounts.push((name.into(), by)),
    }
}

/// Takes off the amount of a name.
pub(super) fn subtract(amounts: &mut [(Box<str>, Quantity)], name: &str, by: Quantity) {
    if let Some((_, amount)) = amounts.iter_mut().find(|(known, _)| **known == *name) {
        *amount = amount.minus(by);
    }
}

/// The amount of a name.
pub(super) fn amount(amounts: &[(Box<str>, Quantity)], name: &str) -> Quantity {
    amounts.iter().find(|(known, _)| **known == *name).map(|(_, amount)| *amount).unwrap_or_default()
}
