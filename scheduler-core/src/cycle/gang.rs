//! A gang's decision: its pods are tried one after another, each with those before it in force, and the trial becomes
//! the decision if enough find a place; if not, it is undone to the last count, and all of them wait.
//!
//! Upstream's pod group cycle (KEP-4671), with two differences. All bindings are one commit, so a refused one takes none
//! of the others along, and nobody joins a gang singly before enough of it is seen bound. And a gang makes no room: its
//! pods are not nominated and displace nobody, where upstream displaces for single pods of gangs that then may not fit.

use std::sync::Arc;

use hashbrown::HashSet;

use super::Scheduler;
use crate::columns::Slot;
use crate::gangs::Standing;
use crate::plan::{
    Apart, Decision, GANG_UNSCHEDULABLE, GangName, Millis, Nomination, Placement, Reasons, Refusal, Together,
};
use crate::pods::{Pod, PodIndex, State};
use crate::profile::Plugin;
use crate::queue::{Seen, Turn};
use crate::rows::PodGroupRow;
use crate::storage::Preparation;

/// One pod's part in a trial.
enum Part {
    /// It took a place.
    Placed(Taken),
    /// It found none; why, if anybody will ask.
    Nowhere(Option<Reasons>),
}

/// A place that was taken, and what to put back when the trial is undone.
struct Taken {
    slot: Slot,
    score: u32,
    preparation: Option<Arc<Preparation>>,
    before: State,
    nominated: Box<str>,
}

impl Scheduler {
    /// How a pod is to be decided on.
    pub(super) fn standing(&self, index: PodIndex) -> Standing {
        match self.pods.get(index).and_then(|pod| pod.gang.as_ref()) {
            Some(gang) if self.goes_with_its_gang(index) => self.gangs.standing(gang),
            _ => Standing::Alone,
        }
    }

    /// Whether a pod of a gang is decided on with it: its profile may not ask for that.
    fn goes_with_its_gang(&self, index: PodIndex) -> bool {
        let class = self.pods.get(index).map(|pod| self.classes.get(pod.class));
        class.is_some_and(|class| class.profile.pre_enqueue.has(Plugin::GangScheduling))
    }

    /// A PodGroup as it is now.
    pub(super) fn set_group(&mut self, row: &PodGroupRow) {
        if !self.config.gangs {
            return;
        }
        self.gangs.name(&row.namespace, &row.name);
        if let Some(gang) = self.gangs.set(row) {
            self.reconsider(&gang);
        }
    }

    /// A PodGroup is gone.
    pub(super) fn remove_group(&mut self, namespace: &str, name: &str) {
        let gang = GangName { namespace: namespace.into(), name: name.into() };
        self.gangs.remove(&gang);
        self.reconsider(&gang);
    }

    /// These are all PodGroups there are.
    pub(super) fn replace_groups(&mut self, rows: &[PodGroupRow]) {
        let there: HashSet<(&str, &str)> = rows.iter().map(|row| (&*row.namespace, &*row.name)).collect();
        for gang in self.gangs.known() {
            if !there.contains(&(&*gang.namespace, &*gang.name)) {
                self.remove_group(&gang.namespace, &gang.name);
            }
        }
        rows.iter().for_each(|row| self.set_group(row));
    }

    /// A pod belongs to a group, from its first day on.
    pub(super) fn join_gang(&mut self, index: PodIndex, group: &str) {
        if group.is_empty() || !self.config.gangs {
            return;
        }
        let gang = self.gangs.name(&self.pods.at(index).id.namespace, group);
        self.pods.at(index).gang = Some(Arc::clone(&gang));
        if self.gangs.join(&gang, index) {
            self.reconsider(&gang);
        }
    }

    /// Keeps a pod out of the queue until its gang is complete, or bound.
    pub(super) fn hold_back(&mut self, index: PodIndex) {
        self.move_to(index, State::Gated);
        if let Some(gang) = self.pods.at(index).gang.clone() {
            self.gangs.hold(&gang);
        }
    }

    /// Lets those go who were held back for a gang's sake, if there is no reason any more.
    pub(super) fn release_held(&mut self, index: PodIndex) {
        if let Some(gang) = self.pods.at(index).gang.clone()
            && self.gangs.release(&gang)
        {
            self.reconsider(&gang);
        }
    }

    /// Something about a gang is different: whoever of it waits or is held back is looked at again.
    fn reconsider(&mut self, gang: &GangName) -> bool {
        self.activate_members(gang, |pod| pod.state == State::Waiting || pod.state == State::Gated && !pod.gated)
    }

    /// Calls in whoever of a gang waits for a place of its own: all of it is decided on together now.
    fn gather(&mut self, gang: &GangName) -> bool {
        self.activate_members(gang, |pod| pod.state == State::Waiting && !pod.waits_with_gang)
    }

    /// Gives whether there was anybody to be tried.
    fn activate_members(&mut self, gang: &GangName, of: impl Fn(&Pod) -> bool) -> bool {
        let members = self.gangs.members(gang).filter(|index| self.goes_with_its_gang(*index));
        let chosen = members.filter(|index| self.pods.get(*index).is_some_and(&of));
        let chosen: Vec<PodIndex> = chosen.collect();
        chosen.iter().for_each(|index| self.activate(*index));
        !chosen.is_empty()
    }

    /// One gang's decision, when the first of its pods has its turn.
    pub(super) fn decide_together(&mut self, now: Millis, index: PodIndex, needed: usize) -> Option<Decision> {
        let gang = self.pods.get(index)?.gang.clone()?;
        self.gather(&gang);
        self.hold_back_who_misses_claims(&gang);
        let members = self.pending_members(&gang);
        if members.is_empty() {
            return None;
        }
        for member in &members {
            self.pods.at(*member).attempts += 1;
            self.renew(*member);
        }
        let before = self.seen();
        let parts = self.try_together(&members, None);
        let placed = parts.iter().filter(|part| matches!(part, Part::Placed(_))).count();
        if placed >= needed {
            self.gangs.stop_waiting(&gang);
            let news = self.gangs.tell(&gang, true);
            for member in &members {
                // What is left over waits with the gang no more, and whose turn it was has another.
                let state = self.pods.at(*member).state;
                if state == State::Waiting || state == State::Active && *member == index {
                    self.activate(*member);
                }
            }
            let parts = members.into_iter().zip(parts);
            let placements = parts.filter_map(|(member, part)| self.keep(member, part)).collect();
            return Some(Decision::BindAll(Together { gang, placements, news }));
        }
        self.undo(&members, &parts, before);
        let news = self.gangs.tell(&gang, false);
        // Before anybody gives up room that was kept for it: that may help the others.
        self.gangs.wait(&gang, self.stirred());
        let parts = members.into_iter().zip(parts);
        let refusals = parts.map(|(member, part)| self.refuse_with_gang(now, member, part)).collect();
        Some(Decision::RefuseAll(Apart { gang, refusals, news }))
    }

    /// Takes those out of a gang's decision whose claims of devices went while they were in the queue, as if they came now:
    /// nobody who cannot be placed at all takes part in it.
    fn hold_back_who_misses_claims(&mut self, gang: &GangName) {
        for index in self.pending_members(gang) {
            let profile = Arc::clone(&self.classes.get(self.pods.at(index).class).profile);
            if !self.has_its_claims(index, &profile) {
                self.move_to(index, State::Gated);
                self.pods.at(index).gated = true;
                self.arrivals.gated += 1;
            }
        }
    }

    /// Wakes the gangs that would find their places now; says whether there were any.
    pub(super) fn wake_gangs(&mut self) -> bool {
        let mut woke = false;
        for gang in self.gangs.behind(self.stirred()) {
            let Standing::Together(needed) = self.gangs.standing(&gang) else {
                self.gangs.stop_waiting(&gang);
                woke |= self.reconsider(&gang);
                continue;
            };
            if self.gather(&gang) {
                woke = true;
                continue;
            }
            let members = self.pending_members(&gang);
            if self.room_for_members(&members, needed) < needed || !self.would_fit(&members, needed) {
                self.gangs.wait(&gang, self.stirred());
                continue;
            }
            self.gangs.stop_waiting(&gang);
            for member in members {
                if self.pods.at(member).state == State::Waiting {
                    self.activate(member);
                    self.arrivals.helped += 1;
                    woke = true;
                }
            }
        }
        woke
    }

    /// What has happened, but for trials that were undone.
    fn stirred(&self) -> Seen {
        let (seen, undone) = (self.seen(), self.undone);
        (seen.0 - undone.0, seen.1 - undone.1, seen.2 - undone.2)
    }

    /// Who is tried, in order: the more important first, then by name.
    fn pending_members(&self, gang: &GangName) -> Vec<PodIndex> {
        let pending = |index: &PodIndex| {
            let state = self.pods.get(*index).map(|pod| pod.state);
            matches!(state, Some(State::Active | State::Backoff | State::Waiting)) && self.goes_with_its_gang(*index)
        };
        let mut members: Vec<PodIndex> = self.gangs.members(gang).filter(pending).collect();
        let order = |index: &PodIndex| self.pods.get(*index).map(|pod| (-i64::from(pod.priority), &pod.id.name));
        members.sort_unstable_by(|a, b| order(a).cmp(&order(b)));
        members
    }

    /// How many of these pods find room by what each asks of a node alone; an estimate from above that stops at `enough`.
    fn room_for_members(&mut self, members: &[PodIndex], enough: usize) -> usize {
        let mut classes: Vec<_> = members.iter().map(|member| self.pods.at(*member).class).collect();
        classes.sort_unstable();
        let mut room = 0;
        for alike in classes.chunk_by(|a, b| a == b) {
            let verdicts = self.classes.board(alike[0], &self.columns).verdicts();
            let fitting = (0..).zip(verdicts).filter(|(_, verdict)| verdict.fits()).map(|(slot, _)| slot);
            let slots: Vec<Slot> = fitting.collect();
            let class = self.classes.get(alike[0]);
            let mut theirs = 0;
            for slot in slots {
                theirs += class.room(&self.columns, slot) as usize;
                if theirs >= alike.len() {
                    theirs = alike.len();
                    break;
                }
            }
            room += theirs;
            if room >= enough {
                break;
            }
        }
        room
    }

    /// Whether a trial would succeed; leaves no trace.
    fn would_fit(&mut self, members: &[PodIndex], needed: usize) -> bool {
        for member in members {
            self.renew(*member);
        }
        let before = self.seen();
        let parts = self.try_together(members, Some(needed));
        let placed = parts.iter().filter(|part| matches!(part, Part::Placed(_))).count();
        self.undo(members, &parts, before);
        placed >= needed
    }

    /// Tries pods one after another. With `needed` it stops as soon as it is clear whether so many find a place, and
    /// keeps no reasons.
    fn try_together(&mut self, members: &[PodIndex], needed: Option<usize>) -> Vec<Part> {
        let mut parts = Vec::with_capacity(members.len());
        let mut placed = 0;
        for (at, member) in members.iter().enumerate() {
            if needed.is_some_and(|needed| placed >= needed || placed + members.len() - at < needed) {
                break;
            }
            let class = self.classes.get(self.pods.at(*member).class);
            let can = class.interests == 0;
            let found = if can { self.find(*member) } else { None };
            parts.push(match found {
                Some(found) => {
                    placed += 1;
                    Part::Placed(self.take(*member, found.slot, found.score))
                }
                None => Part::Nowhere(needed.is_none().then(|| self.why_nowhere(*member))),
            });
        }
        parts
    }

    /// A pod takes a place, for as long as the trial lasts.
    fn take(&mut self, index: PodIndex, slot: Slot, score: u32) -> Taken {
        let preparation = self.prepare(index, slot);
        let pod = self.pods.at(index);
        let before = pod.state;
        let nominated = std::mem::take(&mut pod.nominated);
        if !nominated.is_empty() {
            self.nominations.remove(&nominated, index);
        }
        self.get_on(index, slot);
        self.move_to(index, State::Assumed(slot));
        Taken { slot, score, preparation, before, nominated }
    }

    /// Puts everything back as it was before a trial. What that leaves in versions and journals is remembered, lest others
    /// take it for news.
    fn undo(&mut self, members: &[PodIndex], parts: &[Part], before: Seen) {
        for (index, part) in members.iter().zip(parts).rev() {
            let Part::Placed(taken) = part else { continue };
            self.take_back_preparation(*index);
            self.get_off(*index, taken.slot);
            self.move_to(*index, taken.before);
            if !taken.nominated.is_empty() {
                self.pods.at(*index).nominated = taken.nominated.clone();
                self.nominations.add(&taken.nominated, *index);
            }
        }
        let now = self.seen();
        let undone = &mut self.undone;
        *undone = (undone.0 + now.0 - before.0, undone.1 + now.1 - before.1, undone.2 + now.2 - before.2);
    }

    /// What a pod took is its own: its placement.
    fn keep(&mut self, index: PodIndex, part: Part) -> Option<Placement> {
        let Part::Placed(Taken { slot, score, preparation, nominated, .. }) = part else { return None };
        if let Some(kept) = self.columns.find(&nominated) {
            // What was kept for it is free for others.
            self.columns.touch(kept);
        }
        Some(self.placement(index, slot, score, preparation))
    }

    /// Why a pod of a gang found no place, just after it found none.
    fn why_nowhere(&mut self, index: PodIndex) -> Reasons {
        let class = self.pods.at(index).class;
        if self.classes.get(class).interests != 0 {
            let nodes = self.columns.count();
            let message =
                format!("0/{nodes} nodes are available: this scheduler asks no extender about pods of a gang.");
            return Reasons { message: message.into(), plugins: Arc::new([]) };
        }
        self.reasons_in_gang(index)
    }

    /// A pod of a gang that is not placed waits, and hears why.
    fn refuse_with_gang(&mut self, now: Millis, index: PodIndex, part: Part) -> Refusal {
        let reasons = match part {
            Part::Nowhere(Some(reasons)) => reasons,
            // It would fit; others of its gang do not.
            Part::Placed(_) | Part::Nowhere(None) => Reasons {
                message: format!("{GANG_UNSCHEDULABLE}, waiting for minCount pods from a gang to be scheduled").into(),
                plugins: Arc::new([Plugin::GangScheduling.name()]),
            },
        };
        // Room that was made for it while it stood alone is kept no more.
        let pod = self.pods.at(index);
        let was_nominated = !pod.nominated.is_empty() || !pod.told_nominated.is_empty();
        self.move_to(index, State::Aside);
        self.nominate(index, "");
        let ticket = self.queue.ticket();
        self.move_to(index, State::Waiting);
        self.arrivals.refused += 1;
        let pod = self.pods.at(index);
        (pod.ticket, pod.kin, pod.waits_with_gang) = (ticket, 0, true);
        let turn = Turn::new(pod.priority, ticket, index);
        self.queue.wait_with_gang(now, turn);
        let nomination = was_nominated.then_some(Nomination::Nowhere);
        Refusal { nomination, ..self.refusal(index, reasons) }
    }
}
