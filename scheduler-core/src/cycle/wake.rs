//! Whom a change helps: what has changed since a group of waiting pods last looked is tried against the group itself,
//! and as many of its pods are woken as there is room for. Nobody is woken in vain, and nobody who fits stays behind.

use super::Scheduler;
use crate::columns::Slot;
use crate::queue::{GroupId, Seen};

impl Scheduler {
    /// Tries what has changed since they last looked against the groups of waiting pods; says whether anybody woke.
    pub(super) fn wake(&mut self) -> bool {
        let seen = self.seen();
        let groups: Vec<GroupId> = self.queue.groups().collect();
        let mut woke = false;
        for group in groups {
            let most = self.help(group, seen);
            for turn in if most == 0 { Vec::new() } else { self.queue.take_waiting(group, most) } {
                // Taken out above already; `move_to` finds nothing left to take out.
                self.activate(turn.pod());
                self.arrivals.helped += 1;
                woke = true;
            }
        }
        woke
    }

    /// All that can change a decision.
    pub(super) fn seen(&self) -> Seen {
        (self.columns.journal.head(), self.neighbours.version())
    }

    /// How many pods of a group the changes it has not seen may help.
    fn help(&mut self, id: GroupId, now: Seen) -> usize {
        let Some(group) = self.queue.group(id) else { return 0 };
        let (seen, in_doubt) = (group.seen, group.in_doubt);
        if seen == now && !in_doubt {
            return 0;
        }
        group.seen = now;
        group.in_doubt = false;
        let best = group.best();
        let (id, kin) = id;
        let class = self.classes.get_mut(id);
        if class.demand.unsupported.is_some() {
            return 0;
        }
        if class.is_wide() || kin != 0 {
            // They are alike in all that matters: what the first finds, the next may find.
            let found = best.and_then(|index| self.find(index).0);
            return if found.is_some() { self.scratch.feasible().max(1) } else { 0 };
        }
        class.learn(&self.columns);
        let changes = if in_doubt { None } else { self.columns.journal.since(seen.0) };
        let Some(changes) = changes else {
            let winner = self.classes.board(id, &self.columns).winner();
            return winner.map_or(0, |(slot, _)| self.classes.get(id).room(&self.columns, slot) as usize);
        };
        let mut helped: Vec<Slot> = Vec::new();
        let mut room = 0usize;
        for (slot, _) in changes {
            if class.verdict(&self.columns, slot).fits() && !helped.contains(&slot) {
                helped.push(slot);
                room += class.room(&self.columns, slot) as usize;
            }
        }
        room
    }
}
