//! Gangs: the pods of a PodGroup that are placed together or not at all (KEP-4671).
//!
//! ```text
//!  NotYet: its PodGroup is unknown, or too few pods exist ──→ Together: decided on as one, until enough are placed
//!                                                                │
//!  Alone: enough are seen bound; more join one by one ←── NotYet: some are placed, their binding is under way
//! ```
//! A PodGroup without a `gang` policy holds nobody together: its pods only wait until it exists. Written and read by
//! `cycle`; pods that belong to no group never come here.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ahash::RandomState;
use hashbrown::HashMap;

use crate::intern::fixed_hasher;
use crate::plan::GangName;
use crate::pods::{PodIndex, State};
use crate::queue::Seen;
use crate::rows::PodGroupRow;

/// How a pod of a gang is to be decided on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Like any other pod.
    Alone,
    /// With the other pods of its gang; so many more of them must be placed.
    Together(usize),
    /// Not at all for now.
    NotYet,
}

/// One PodGroup, or pods that name one that is unknown.
#[derive(Debug, Default)]
struct Gang {
    /// What the PodGroup says, if it is known: how many must be placed, 0 for a group that is no gang.
    min_count: Option<usize>,
    members: BTreeSet<PodIndex>,
    placed: usize,
    bound: usize,
    /// Whether pods are held back because of it.
    held: bool,
    /// Whether its PodGroup was told that it is scheduled, and whether it is; `None` before any word.
    told: Option<bool>,
}

impl Gang {
    fn standing(&self) -> Standing {
        let Some(min) = self.min_count else { return Standing::NotYet };
        if self.bound >= min {
            Standing::Alone
        } else if self.members.len() < min || self.placed > self.bound {
            Standing::NotYet
        } else {
            Standing::Together(min - self.bound)
        }
    }
}

/// All gangs.
#[derive(Debug)]
pub struct Gangs {
    gangs: HashMap<Arc<GangName>, Gang, RandomState>,
    /// Those that were tried and did not fit, with what is known not to help; `None` to be tried in any case.
    waiting: BTreeMap<Arc<GangName>, Option<Seen>>,
}

impl Default for Gangs {
    fn default() -> Self {
        Self { gangs: HashMap::with_hasher(fixed_hasher()), waiting: BTreeMap::new() }
    }
}

impl Gangs {
    /// A PodGroup as it is now. Gives whether its pods are to be looked at again.
    pub fn set(&mut self, row: &PodGroupRow) -> Option<Arc<GangName>> {
        let min = row.min_count.map_or(0, |min| usize::try_from(min).unwrap_or(0));
        let name = self.name(&row.namespace, &row.name);
        let gang = self.gangs.get_mut(&name)?;
        (gang.min_count.replace(min) != Some(min)).then_some(name)
    }

    /// A PodGroup is gone.
    pub fn remove(&mut self, name: &GangName) {
        if let Some(gang) = self.gangs.get_mut(name) {
            (gang.min_count, gang.told) = (None, None);
            self.drop_if_empty(name);
        }
    }

    /// The PodGroups that are known.
    #[must_use]
    pub fn known(&self) -> Vec<Arc<GangName>> {
        self.gangs.iter().filter(|(_, gang)| gang.min_count.is_some()).map(|(name, _)| Arc::clone(name)).collect()
    }

    /// The shared name of a gang, known or not.
    pub fn name(&mut self, namespace: &str, name: &str) -> Arc<GangName> {
        let name = GangName { namespace: namespace.into(), name: name.into() };
        if let Some((known, _)) = self.gangs.get_key_value(&name) {
            return Arc::clone(known);
        }
        let name = Arc::new(name);
        self.gangs.insert(Arc::clone(&name), Gang::default());
        name
    }

    /// A pod belongs to a gang from now on. Gives whether that makes the gang complete.
    pub fn join(&mut self, name: &GangName, pod: PodIndex) -> bool {
        let Some(gang) = self.gangs.get_mut(name) else { return false };
        gang.members.insert(pod);
        self.stir(name);
        self.gangs.get(name).is_some_and(|gang| gang.min_count == Some(gang.members.len()))
    }

    /// A pod is gone.
    pub fn leave(&mut self, name: &GangName, pod: PodIndex) {
        if let Some(gang) = self.gangs.get_mut(name) {
            gang.members.remove(&pod);
            // Without it the others may fit where it took the room.
            self.stir(name);
            self.drop_if_empty(name);
        }
    }

    fn drop_if_empty(&mut self, name: &GangName) {
        if self.gangs.get(name).is_some_and(|gang| gang.members.is_empty() && gang.min_count.is_none()) {
            self.gangs.remove(name);
            self.waiting.remove(name);
        }
    }

    /// A pod's state is another one.
    pub fn moved(&mut self, name: &GangName, before: State, state: State) {
        if let Some(gang) = self.gangs.get_mut(name) {
            let is_bound = |state: State| usize::from(matches!(state, State::Bound(_)));
            let is_placed = |state: State| usize::from(state.slot().is_some());
            gang.placed = gang.placed + is_placed(state) - is_placed(before);
            gang.bound = gang.bound + is_bound(state) - is_bound(before);
            if before.is_pending() && matches!(state, State::Aside | State::Gated) {
                // It is tried with the others no more: they may fit where it took the room.
                self.stir(name);
            }
        }
    }

    /// How its pods are to be decided on.
    #[must_use]
    pub fn standing(&self, name: &GangName) -> Standing {
        self.gangs.get(name).map_or(Standing::NotYet, Gang::standing)
    }

    /// Its pods.
    pub fn members(&self, name: &GangName) -> impl Iterator<Item = PodIndex> + '_ {
        self.gangs.get(name).into_iter().flat_map(|gang| gang.members.iter().copied())
    }

    /// Pods are held back because of it.
    pub fn hold(&mut self, name: &GangName) {
        if let Some(gang) = self.gangs.get_mut(name) {
            gang.held = true;
        }
    }

    /// Whether those held back are to be held back no more.
    pub fn release(&mut self, name: &GangName) -> bool {
        let Some(gang) = self.gangs.get_mut(name) else { return false };
        let ready = gang.held && gang.standing() != Standing::NotYet;
        gang.held &= !ready;
        ready
    }

    /// Its PodGroup is to be told that it is scheduled, or that it cannot be. Gives whether that is news; once scheduled,
    /// it stays so.
    pub fn tell(&mut self, name: &GangName, scheduled: bool) -> bool {
        let Some(gang) = self.gangs.get_mut(name) else { return false };
        let news = gang.told != Some(true) && gang.told != Some(scheduled);
        if news {
            gang.told = Some(scheduled);
        }
        news
    }

    /// It fits nowhere, as of what was seen.
    pub fn wait(&mut self, name: &Arc<GangName>, seen: Seen) {
        self.waiting.insert(Arc::clone(name), Some(seen));
    }

    /// It waits no more.
    pub fn stop_waiting(&mut self, name: &GangName) {
        self.waiting.remove(name);
    }

    /// Something about it is different: it is worth another look.
    pub fn stir(&mut self, name: &GangName) {
        if let Some(seen) = self.waiting.get_mut(name) {
            *seen = None;
        }
    }

    /// Those that wait and have not seen all that has happened.
    #[must_use]
    pub fn behind(&self, now: Seen) -> Vec<Arc<GangName>> {
        self.waiting.iter().filter(|(_, seen)| **seen != Some(now)).map(|(name, _)| Arc::clone(name)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(min_count: Option<i32>) -> PodGroupRow {
        PodGroupRow { namespace: "d".into(), name: "g".into(), min_count }
    }

    #[test]
    fn a_gang_is_decided_on_once_it_is_complete_and_until_it_runs() {
        let mut gangs = Gangs::default();
        let name = gangs.name("d", "g");
        assert!(!gangs.join(&name, 1));
        assert_eq!(gangs.standing(&name), Standing::NotYet, "its group is unknown");
        assert!(gangs.set(&group(Some(2))).is_some());
        assert!(gangs.set(&group(Some(2))).is_none(), "nothing new");
        assert_eq!(gangs.standing(&name), Standing::NotYet, "one is missing");
        assert!(gangs.join(&name, 2));
        assert_eq!(gangs.standing(&name), Standing::Together(2));
        gangs.moved(&name, State::Active, State::Assumed(0));
        assert_eq!(gangs.standing(&name), Standing::NotYet, "being bound: who knows what becomes of it");
        gangs.moved(&name, State::Active, State::Assumed(1));
        gangs.hold(&name);
        assert!(!gangs.release(&name));
        gangs.moved(&name, State::Assumed(0), State::Bound(0));
        assert_eq!(gangs.standing(&name), Standing::NotYet);
        gangs.moved(&name, State::Assumed(1), State::Bound(1));
        assert_eq!(gangs.standing(&name), Standing::Alone);
        assert!(gangs.release(&name) && !gangs.release(&name));
        gangs.remove(&name);
        assert_eq!(gangs.standing(&name), Standing::NotYet);
    }

    #[test]
    fn a_group_that_is_no_gang_holds_nobody_once_it_is_there() {
        let mut gangs = Gangs::default();
        let name = gangs.name("d", "g");
        gangs.join(&name, 1);
        assert!(gangs.set(&group(None)).is_some());
        assert_eq!(gangs.standing(&name), Standing::Alone);
    }

    #[test]
    fn who_was_told_that_it_is_scheduled_is_told_nothing_else() {
        let mut gangs = Gangs::default();
        let name = gangs.name("d", "g");
        let told: Vec<bool> =
            [false, false, true, false, true].into_iter().map(|scheduled| gangs.tell(&name, scheduled)).collect();
        assert_eq!(told, [true, false, true, false, false]);
    }

    #[test]
    fn a_waiting_gang_looks_again_at_what_it_has_not_seen() {
        let mut gangs = Gangs::default();
        let name = gangs.name("d", "g");
        gangs.wait(&name, (1, 0, 0));
        assert!(gangs.behind((1, 0, 0)).is_empty());
        assert_eq!(gangs.behind((2, 0, 0)), std::slice::from_ref(&name));
        gangs.join(&name, 7);
        assert_eq!(gangs.behind((1, 0, 0)), std::slice::from_ref(&name), "another pod came");
        gangs.stop_waiting(&name);
        assert!(gangs.behind((2, 0, 0)).is_empty());
    }
}
