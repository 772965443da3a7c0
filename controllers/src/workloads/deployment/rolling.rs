//! The rolling update: one step per round, up first, then down, never beyond `maxSurge` above or `maxUnavailable` below.

use super::super::claim::Owner;
use super::{Rollout, Set};
use crate::runtime::reconcile::Action;
use crate::runtime::write::LoopError;

impl Rollout<'_> {
    /// One step of a rolling update.
    pub(super) async fn roll(mut self, owner: &Owner<'_>) -> Result<Action, LoopError> {
        self.revise(true, owner).await?;
        if !self.grow_current().await? && !self.shrink_old().await? && self.is_complete(&self.status) {
            self.clean_up().await?;
        }
        self.report().await
    }

    /// How many pods the current set may want now; `None` for one that is about to be made.
    pub(super) fn new_set_replicas(&self, current: Option<&Set>) -> i32 {
        let has = current.map_or(0, Set::wanted);
        if !self.rolls() {
            return self.replicas();
        }
        let pods = self.wanted_by(0..self.sets.len());
        let room = self.replicas() + self.max_surge() - pods;
        if room <= 0 { has } else { has + room.min(self.replicas() - has) }
    }

    async fn grow_current(&mut self) -> Result<bool, LoopError> {
        let Some(at) = self.current else { return Ok(false) };
        let set = &self.sets[at];
        let size = match set.wanted().cmp(&self.replicas()) {
            std::cmp::Ordering::Equal => return Ok(false),
            std::cmp::Ordering::Greater => self.replicas(),
            std::cmp::Ordering::Less => self.new_set_replicas(Some(set)),
        };
        self.scale(at, size).await
    }

    async fn shrink_old(&mut self) -> Result<bool, LoopError> {
        let old = self.active_old();
        if old.is_empty() {
            return Ok(false);
        }
        let needed = self.replicas() - self.max_unavailable();
        // Pods of the new set that are not available yet must not cost old ones their place.
        let pending = self.current().map_or(0, |set| set.wanted() - set.available());
        let mut room = self.wanted_by(0..self.sets.len()) - needed - pending;
        if room <= 0 {
            return Ok(false);
        }
        let mut changed = false;
        // First those that serve nobody: they block the rollout and are no loss.
        for at in &old {
            let set = &self.sets[*at];
            let idle = (set.wanted() - set.available()).min(room);
            if idle > 0 {
                room -= idle;
                changed |= self.scale(*at, set.wanted() - idle).await?;
            }
        }
        let available: i32 = self.sets.iter().map(Set::available).sum();
        let mut surplus = available - needed;
        for at in old {
            let size = self.sets[at].wanted();
            let less = size.min(surplus);
            if less > 0 {
                surplus -= less;
                changed |= self.scale(at, size - less).await?;
            }
        }
        Ok(changed)
    }
}
