//! Pods that wait for room on a node: the room is theirs before any pod of lower priority.
//!
//! A nomination is made by preemption, or by somebody who writes `status.nominatedNodeName`; it ends when the pod is
//! placed or gone, or when preemption for a pod of higher priority takes it away. Nodes go by name: a nomination may
//! outlive its node. Written by `cycle`; usually empty, and then nothing asks it anything.

use ahash::RandomState;
use hashbrown::HashMap;

use crate::intern::fixed_hasher;
use crate::pods::PodIndex;

/// All nominations.
#[derive(Debug)]
pub struct Nominations {
    by_node: HashMap<Box<str>, Vec<PodIndex>, RandomState>,
    version: u64,
}

impl Default for Nominations {
    fn default() -> Self {
        Self { by_node: HashMap::with_hasher(fixed_hasher()), version: 0 }
    }
}

impl Nominations {
    /// Whether there is none.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_node.is_empty()
    }

    /// A pod waits for a node.
    pub fn add(&mut self, node: &str, pod: PodIndex) {
        self.version += 1;
        self.by_node.entry_ref(node).or_default().push(pod);
    }

    /// A pod waits for the node no more.
    pub fn remove(&mut self, node: &str, pod: PodIndex) {
        if let Some(pods) = self.by_node.get_mut(node) {
            self.version += 1;
            pods.retain(|known| *known != pod);
            if pods.is_empty() {
                self.by_node.remove(node);
            }
        }
    }

    /// The pods that wait for a node.
    #[must_use]
    pub fn on(&self, node: &str) -> &[PodIndex] {
        self.by_node.get(node).map_or(&[], Vec::as_slice)
    }

    /// All nodes that are waited for, with the pods.
    pub fn all(&self) -> impl Iterator<Item = (&str, &[PodIndex])> {
        self.by_node.iter().map(|(node, pods)| (&**node, pods.as_slice()))
    }

    /// Counts every change.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }
}
