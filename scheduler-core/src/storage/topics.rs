//! Which waiting pods a change concerns: from what changed to the groups that wait for it.
//!
//! Topics are kept as hashes; two that collide wake a group for nothing, never too little.

use std::collections::BTreeSet;
use std::hash::Hash;

use ahash::RandomState;
use hashbrown::{HashMap, HashSet};

use crate::intern::fixed_hasher;
use crate::queue::GroupId;
use crate::rows::storage::Key;

/// Something that a pod may wait for.
#[derive(Clone, Copy, Debug, Hash)]
pub(super) enum Topic<'a> {
    /// A claim.
    Claim(&'a Key),
    /// A volume.
    Volume(&'a str),
    /// Any volume of a class.
    VolumesOf(&'a str),
    /// A class.
    Class(&'a str),
    /// Where there is room for volumes of a class.
    CapacityOf(&'a str),
    /// A CSI driver.
    Driver(&'a str),
    /// How many volumes nodes can hold, and hold.
    Limits,
    /// A claim of devices.
    DeviceClaim(&'a Key),
    /// A class of devices.
    DeviceClass(&'a str),
    /// Devices that more than one node can reach.
    Devices,
}

impl Topic<'_> {
    /// The number of a topic.
    pub(super) fn number(&self) -> u64 {
        fixed_hasher().hash_one(self)
    }
}

/// Who listens to what.
#[derive(Debug)]
pub(super) struct Topics {
    listeners: HashMap<u64, BTreeSet<GroupId>, RandomState>,
    topics: HashMap<GroupId, Vec<u64>, RandomState>,
    heard: HashSet<GroupId, RandomState>,
}

impl Default for Topics {
    fn default() -> Self {
        Self {
            listeners: HashMap::with_hasher(fixed_hasher()),
            topics: HashMap::with_hasher(fixed_hasher()),
            heard: HashSet::with_hasher(fixed_hasher()),
        }
    }
}

impl Topics {
    /// Something changed.
    pub(super) fn touch(&mut self, topic: &Topic<'_>) {
        if self.listeners.is_empty() {
            return;
        }
        if let Some(groups) = self.listeners.get(&topic.number()) {
            self.heard.extend(groups.iter().copied());
        }
    }

    /// Lets a group listen to these topics, and no others.
    pub(super) fn listen(&mut self, group: GroupId, topics: Vec<u64>) {
        self.hush(group);
        for topic in &topics {
            self.listeners.entry(*topic).or_default().insert(group);
        }
        self.topics.insert(group, topics);
    }

    /// Whether a group has heard anything since the last time.
    pub(super) fn heard(&mut self, group: GroupId) -> bool {
        self.heard.remove(&group)
    }

    /// Lets a group listen no more.
    pub(super) fn hush(&mut self, group: GroupId) {
        self.heard.remove(&group);
        for topic in self.topics.remove(&group).unwrap_or_default() {
            if let Some(groups) = self.listeners.get_mut(&topic) {
                groups.remove(&group);
                if groups.is_empty() {
                    self.listeners.remove(&topic);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_listeners_hear_and_only_once() {
        let mut topics = Topics::default();
        let key = Key::new("d", "c");
        topics.listen((1, 7), vec![Topic::Claim(&key).number(), Topic::Limits.number()]);
        topics.listen((2, 8), vec![Topic::Limits.number()]);
        topics.touch(&Topic::Claim(&key));
        assert!(topics.heard((1, 7)) && !topics.heard((1, 7)) && !topics.heard((2, 8)));
        topics.hush((1, 7));
        topics.touch(&Topic::Limits);
        assert!(!topics.heard((1, 7)) && topics.heard((2, 8)));
        topics.hush((2, 8));
        assert!(topics.listeners.is_empty());
    }
}
