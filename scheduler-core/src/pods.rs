//! Every pod the scheduler knows, and what has become of it.
//!
//! ```text
//!          ┌────────→ Gated                 ┌─ refused ─→ Waiting ─┐ something changed that helps
//! seen ────┼────────→ Active ── decided ────┤                      └──→ Active
//!          └→ Aside (not ours, leaving)     └─ Assumed ── seen bound ─→ Bound ── gone
//!                     Active ← Backoff ← binding failed ─┘
//! ```
//! A pod is `Assumed` from the decision until there is evidence: it is seen bound, or its binding failed, or it is gone.
//! Time alone never takes an assumption back, because a bind that went through would then be over-committed.

use std::sync::Arc;

use ahash::RandomState;
use hashbrown::HashTable;

use crate::class::ClassId;
use crate::columns::Slot;
use crate::intern::fixed_hasher;
use crate::neighbours::Passport;
use crate::plan::{GangName, Millis, PodId};
use crate::rows::Keeper;
use crate::seats::Moment;
use crate::storage::{Preparation, Tenant};

/// The index of a pod.
pub type PodIndex = u32;

/// Where a pod stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Unbound, and not to be scheduled by us: another scheduler's, or leaving.
    Aside,
    /// Held back by scheduling gates, or until its gang is complete.
    Gated,
    /// To be tried.
    Active,
    /// Extenders are being asked about it.
    Consulting,
    /// To be tried after a pause.
    Backoff,
    /// Fits nowhere; waits for a change that helps.
    Waiting,
    /// Placed, binding under way.
    Assumed(Slot),
    /// Seen bound.
    Bound(Slot),
}

impl State {
    /// The node whose resources it holds.
    #[must_use]
    pub fn slot(self) -> Option<Slot> {
        match self {
            Self::Assumed(slot) | Self::Bound(slot) => Some(slot),
            _ => None,
        }
    }

    /// Whether it is in one of the queues.
    #[must_use]
    pub fn is_pending(self) -> bool {
        matches!(self, Self::Active | Self::Consulting | Self::Backoff | Self::Waiting)
    }
}

/// A pod.
#[derive(Debug)]
pub struct Pod {
    /// Who it is; shared with the plans that it is in.
    pub id: Arc<PodId>,
    /// Its scheduling class.
    pub class: ClassId,
    /// Where it stands.
    pub state: State,
    /// Greater goes first.
    pub priority: i32,
    /// Whether it may not displace others.
    pub never_preempts: bool,
    /// Labels, sorted by key.
    pub labels: Box<[(Box<str>, Box<str>)]>,
    /// When it started.
    pub started: Moment,
    /// Its place in the queue it is in; entries with another number are stale.
    pub ticket: u64,
    /// When it first came into the queue.
    pub since: Millis,
    /// How often it was tried.
    pub attempts: u32,
    /// Failed bindings in a row.
    pub failures: u32,
    /// The controller that keeps it.
    pub owner: Option<(Keeper, Box<str>)>,
    /// What was known of Services and controllers when its class was last looked for.
    pub kindred: u64,
    /// What was known of DeviceClasses then.
    pub backing: u64,
    /// The hash of the last refusal it was told; 0 for none.
    pub told: u64,
    /// Whether it is terminating.
    pub leaving: bool,
    /// Whether its scheduler's name is one of ours.
    pub scheduled: bool,
    /// Whether it says that a scheduler displaced it.
    pub displaced: bool,
    /// Whether this scheduler has decided to displace it, and has not seen it terminate yet.
    pub doomed: bool,
    /// The node that room is made on for it; empty for none. Only pods that wait for a place have one.
    pub nominated: Box<str>,
    /// The node that its `status.nominatedNodeName` named when it was last seen.
    pub told_nominated: Box<str>,
    /// Tells waiting pods of a class apart where they are not alike: when others' terms select some of them, or room is
    /// made for one, or one may not displace others. 0 otherwise.
    pub kin: u64,
    /// Whether it is tried because it waited for so long.
    pub overdue: bool,
    /// The PodGroup it belongs to.
    pub gang: Option<Arc<GangName>>,
    /// Whether it waits with its gang, if it waits: then it is in no group of the queue.
    pub waits_with_gang: bool,
    /// Whether scheduling gates of its own, or claims that are not there, hold it back.
    pub gated: bool,
    /// All that it may need besides room.
    pub needs: Option<Arc<Tenant>>,
    /// The same, if there are volumes, claims or devices behind it that matter as things are.
    pub tenant: Option<Arc<Tenant>>,
    /// What is assumed about them since it was placed.
    pub preparation: Option<Arc<Preparation>>,
    /// Whether it was refused because asking some node went wrong, so that no other counted: whatever happens to that one
    /// may help.
    pub failed: bool,
    /// The plugins that turned nodes down, while it waits.
    pub refused_by: Option<Arc<[&'static str]>>,
}

impl Pod {
    /// Whether it is on its way out because a scheduler displaced it (`podTerminatingByPreemption`).
    #[must_use]
    pub fn is_being_displaced(&self) -> bool {
        self.doomed || self.leaving && self.displaced
    }

    /// As others' terms see it.
    #[must_use]
    pub fn passport(&self) -> Passport<'_> {
        Passport { namespace: &self.id.namespace, labels: &self.labels, leaving: self.leaving }
    }
}

/// All pods.
#[derive(Debug)]
pub struct Pods {
    pods: Vec<Option<Pod>>,
    free: Vec<PodIndex>,
    /// Indexes by uid, which the pods hold themselves.
    by_uid: HashTable<PodIndex>,
    hasher: RandomState,
}

impl Default for Pods {
    fn default() -> Self {
        Self { pods: Vec::new(), free: Vec::new(), by_uid: HashTable::new(), hasher: fixed_hasher() }
    }
}

impl Pods {
    /// The index of a pod.
    #[must_use]
    pub fn find(&self, uid: &str) -> Option<PodIndex> {
        let is = |index: &PodIndex| self.get(*index).is_some_and(|pod| *pod.id.uid == *uid);
        self.by_uid.find(self.hasher.hash_one(uid), is).copied()
    }

    /// Adds a pod that is not there yet.
    pub fn add(&mut self, pod: Pod) -> PodIndex {
        let hash = self.hasher.hash_one(&*pod.id.uid);
        let index = match self.free.pop() {
            Some(index) => {
                self.pods[index as usize] = Some(pod);
                index
            }
            None => {
                self.pods.push(Some(pod));
                PodIndex::try_from(self.pods.len() - 1).expect("fewer than 2^32 pods")
            }
        };
        let (pods, hasher) = (&self.pods, &self.hasher);
        let rehash = |index: &PodIndex| pods[*index as usize].as_ref().map_or(0, |pod| hasher.hash_one(&*pod.id.uid));
        self.by_uid.insert_unique(hash, index, rehash);
        index
    }

    /// Takes a pod out.
    pub fn remove(&mut self, index: PodIndex) -> Option<Pod> {
        let pod = self.pods[index as usize].take()?;
        if let Ok(entry) = self.by_uid.find_entry(self.hasher.hash_one(&*pod.id.uid), |known| *known == index) {
            entry.remove();
        }
        self.free.push(index);
        Some(pod)
    }

    /// The pod of an index, if it is still there.
    #[must_use]
    pub fn get(&self, index: PodIndex) -> Option<&Pod> {
        self.pods.get(index as usize)?.as_ref()
    }

    /// The pod of an index.
    ///
    /// # Panics
    /// When it is gone.
    pub fn at(&mut self, index: PodIndex) -> &mut Pod {
        self.pods[index as usize].as_mut().expect("the caller just found it")
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.by_uid.len()
    }

    /// The pods on nodes.
    pub fn placed(&self) -> impl Iterator<Item = (Slot, Passport<'_>)> {
        self.iter().filter_map(|(_, pod)| Some((pod.state.slot()?, pod.passport())))
    }

    /// All pods.
    pub fn iter(&self) -> impl Iterator<Item = (PodIndex, &Pod)> {
        (0..).zip(&self.pods).filter_map(|(index, pod)| Some((index, pod.as_ref()?)))
    }
}
