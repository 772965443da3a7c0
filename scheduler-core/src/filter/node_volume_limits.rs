//! NodeVolumeLimits: how many volumes of a CSI driver a node can hold. A volume that several pods of a node share counts
//! once.

use hashbrown::HashSet;
use smallvec::SmallVec;

/// A volume as drivers tell them apart: the driver, and the handle made unique over all drivers.
pub type Attachable = (Box<str>, Box<str>);

/// The volumes attached to one node, or about to be.
#[derive(Debug, Default)]
pub struct Attached {
    handles: HashSet<Attachable, ahash::RandomState>,
    counts: SmallVec<[(Box<str>, i64); 2]>,
}

impl Attached {
    /// Adds a volume, once.
    pub fn add(&mut self, volume: Attachable) {
        if self.handles.contains(&volume) {
            return;
        }
        match self.counts.iter_mut().find(|(driver, _)| *driver == volume.0) {
            Some((_, count)) => *count += 1,
            None => self.counts.push((volume.0.clone(), 1)),
        }
        self.handles.insert(volume);
    }

    /// Whether `wanted` fit in as well, under the node's limits by driver.
    #[must_use]
    pub fn has_room(&self, limits: &[(Box<str>, i64)], wanted: &[Attachable]) -> bool {
        limits.iter().all(|(driver, limit)| {
            let new = wanted.iter().filter(|volume| volume.0 == *driver && !self.handles.contains(*volume)).count();
            let there = self.counts.iter().find(|(d, _)| d == driver).map_or(0, |(_, count)| *count);
            new == 0 || there + i64::try_from(new).unwrap_or(i64::MAX) <= *limit
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shared_volume_counts_once_and_drivers_count_apart() {
        let volume = |driver: &str, handle: &str| (Box::from(driver), Box::from(handle));
        let mut attached = Attached::default();
        for handle in ["1", "2", "2"] {
            attached.add(volume("d", handle));
        }
        let limits = [(Box::from("d"), 3)];
        assert!(attached.has_room(&limits, &[volume("d", "3")]));
        assert!(!attached.has_room(&limits, &[volume("d", "3"), volume("d", "4")]));
        assert!(attached.has_room(&limits, &[volume("d", "3"), volume("d", "1"), volume("e", "4")]));
        // What is there already may be used though there is too much of it.
        assert!(attached.has_room(&[(Box::from("d"), 1)], &[volume("d", "1")]));
    }
}
