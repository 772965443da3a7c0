//! Whom a change helps: what has changed since a group of waiting pods last looked is tried against the group itself,
//! and as many of its pods are woken as there is room for, or as can make room. Nobody is woken in vain, and nobody who
//! fits stays behind.

use super::{Scheduler, hash};
use crate::class::ClassId;
use crate::columns::Slot;
use crate::pods::PodIndex;
use crate::queue::{GroupId, Seen};

impl Scheduler {
    /// Tries what has changed since they last looked against the groups of waiting pods; says whether anybody woke.
    pub(super) fn wake(&mut self) -> bool {
        self.hear_of_devices();
        let seen = self.seen();
        let mut groups = std::mem::take(&mut self.groups);
        groups.clear();
        groups.extend(self.queue.groups());
        let mut woke = false;
        for group in groups.iter().copied() {
            let most = self.help(group, seen);
            for turn in if most == 0 { Vec::new() } else { self.queue.take_waiting(group, most) } {
                // Taken out above already; `move_to` finds nothing left to take out.
                self.activate(turn.pod());
                self.arrivals.helped += 1;
                woke = true;
            }
        }
        self.groups = groups;
        self.wake_gangs() || woke
    }

    /// All that can change a decision.
    pub(super) fn seen(&self) -> Seen {
        (self.columns.journal.head(), self.neighbours.version() + self.nominations.version(), self.storage.version())
    }

    /// How many pods of a group the changes it has not seen may help.
    fn help(&mut self, id: GroupId, now: Seen) -> usize {
        let Some(group) = self.queue.group(id) else { return 0 };
        let (seen, in_doubt) = (group.seen, group.in_doubt);
        if seen == now && !in_doubt {
            return 0;
        }
        group.seen = now;
        let relieved = std::mem::replace(&mut group.reliefs, self.columns.reliefs()) != self.columns.reliefs();
        group.in_doubt = false;
        let Some(best) = group.best() else { return 0 };
        let (class, kin) = id;
        if let Some(tenant) = self.pods.at(best).tenant.clone() {
            return self.help_with_volumes(id, best, &tenant, seen, in_doubt);
        }
        let displaces = self.may_displace(best);
        if self.classes.get(class).is_wide() || kin != 0 {
            // They are alike in all that matters: what the first finds, the next may find.
            if let Some(found) = self.find(best) {
                return found.room;
            }
            return usize::from(displaces && self.could_displace(best, None));
        }
        if !relieved && !in_doubt {
            // Pods that came: whoever found no room then finds none now, not even by displacing them.
            return 0;
        }
        self.classes.get_mut(class).learn(&self.columns);
        let changes = if in_doubt { None } else { self.columns.journal.since(seen.0) };
        let changed: Option<Vec<Slot>> = changes.map(|changes| {
            let mut slots: Vec<Slot> = changes.map(|(slot, _)| slot).collect();
            slots.sort_unstable();
            slots.dedup();
            slots
        });
        let room = self.room_for(class, best, changed.as_deref());
        if room > 0 || !displaces {
            return room;
        }
        self.displacers(id, best, changed.as_deref())
    }

    /// How many pods of a class without terms of its own find room on these nodes (`None`: on all), as far as the class
    /// decides.
    fn room_for(&mut self, id: ClassId, best: PodIndex, slots: Option<&[Slot]>) -> usize {
        let priority = self.pods.at(best).priority;
        let Some(slots) = slots else {
            let Some((winner, _)) = self.classes.board(id, &self.columns).winner() else { return 0 };
            if self.has_room(id, winner, best, priority) {
                return self.classes.get(id).room(&self.columns, winner) as usize;
            }
            let mut all = 0..Slot::try_from(self.columns.slots()).unwrap_or(Slot::MAX);
            return usize::from(all.any(|slot| self.has_room(id, slot, best, priority)));
        };
        let helped = slots.iter().filter(|slot| self.has_room(id, **slot, best, priority));
        helped.map(|slot| self.classes.get(id).room(&self.columns, *slot) as usize).sum()
    }

    /// How many pods of such a group must be woken so that one who can displace others is among them.
    fn displacers(&mut self, id: GroupId, best: PodIndex, slots: Option<&[Slot]>) -> usize {
        if self.could_displace(best, slots) {
            return 1;
        }
        if !self.neighbours.anybody_forbids() && self.nominations.is_empty() {
            return 0;
        }
        // Terms that others have come to hold may keep the first away and not the next.
        let Some(group) = self.queue.group(id) else { return 0 };
        let pods: Vec<PodIndex> = group.pods().collect();
        let mut tried = Vec::new();
        for (at, index) in pods.into_iter().enumerate() {
            let pod = self.pods.at(index);
            let kind = hash(&(&pod.id.namespace, &pod.labels, pod.priority));
            if tried.contains(&kind) {
                continue;
            }
            tried.push(kind);
            if self.may_displace(index) && self.could_displace(index, slots) {
                return at + 1;
            }
        }
        0
    }
}
