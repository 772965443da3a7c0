//! Scaling without a rollout: a change of `spec.replicas`, shared out over the sets that run, in proportion; and the
//! cleaning up of sets beyond the revision history.

use gantry_machinery::resource::gvr;
use gantry_machinery::resource_api::DeleteOptions;

use super::Rollout;
use super::revision::{DESIRED, MAX};
use crate::runtime::write::LoopError;

impl Rollout<'_> {
    /// Whether `spec.replicas` changed since a set was last scaled.
    pub(super) fn is_scaling(&self) -> bool {
        self.sets.iter().filter(|set| set.wanted() > 0).any(|set| {
            let desired = set.annotation(DESIRED).and_then(|text| text.parse::<i32>().ok());
            desired.is_some_and(|desired| desired != self.replicas())
        })
    }

    /// Shares `spec.replicas` out over the sets as they are.
    pub(super) async fn rescale(&mut self) -> Result<(), LoopError> {
        if let Some(only) = self.active_or_latest() {
            if self.sets[only].wanted() != self.replicas() {
                self.scale(only, self.replicas()).await?;
            }
            return Ok(());
        }
        if self.saturated() {
            for at in self.active_old() {
                self.scale(at, 0).await?;
            }
            return Ok(());
        }
        if !self.rolls() {
            return Ok(());
        }
        let mut active: Vec<usize> = (0..self.sets.len()).filter(|at| self.sets[*at].wanted() > 0).collect();
        let allowed = if self.replicas() > 0 { self.replicas() + self.max_surge() } else { 0 };
        let to_add = allowed - self.wanted_by(active.iter().copied());
        // The biggest first; among equals the newest when growing, the oldest when shrinking.
        active.sort_by_key(|at| (-self.sets[*at].wanted(), if to_add > 0 { -(*at as i64) } else { *at as i64 }));
        let mut sizes = Vec::with_capacity(active.len());
        let mut added = 0;
        for at in &active {
            let part = self.proportion(*at, to_add, added);
            added += part;
            sizes.push(self.sets[*at].wanted() + part);
        }
        if let Some(first) = sizes.first_mut() {
            *first = (*first + to_add - added).max(0);
        }
        for (at, size) in active.into_iter().zip(sizes) {
            self.scale(at, size).await?;
        }
        Ok(())
    }

    /// The one set to scale, unless several run.
    fn active_or_latest(&self) -> Option<usize> {
        let active: Vec<usize> = (0..self.sets.len()).filter(|at| self.sets[*at].wanted() > 0).collect();
        match active[..] {
            [] => self.current.or_else(|| self.old().last().copied()),
            [only] => Some(only),
            _ => None,
        }
    }

    /// Whether the current set alone does it all.
    fn saturated(&self) -> bool {
        self.current().is_some_and(|set| {
            let desired = set.annotation(DESIRED).and_then(|text| text.parse::<i32>().ok());
            let replicas = self.replicas();
            desired == Some(replicas) && set.wanted() == replicas && set.available() == replicas
        })
    }

    /// A set's part of what is to be added (or, below zero, taken away).
    fn proportion(&self, at: usize, to_add: i32, added: i32) -> i32 {
        let set = &self.sets[at];
        if set.wanted() == 0 || to_add == 0 || to_add == added {
            return 0;
        }
        let part = if self.replicas() == 0 {
            -set.wanted()
        } else {
            let max = self.replicas() + self.max_surge();
            let before = set.annotation(MAX).and_then(|text| text.parse::<i32>().ok()).filter(|max| *max > 0);
            let before = before.unwrap_or(self.status.replicas.unwrap_or(0)).max(1);
            let size = f64::from(set.wanted()) * f64::from(max) / f64::from(before);
            size.round() as i32 - set.wanted()
        };
        let allowed = to_add - added;
        if to_add > 0 { part.min(allowed) } else { part.max(allowed) }
    }

    /// Sets a set's size and what it remembers of the Deployment's; whether the size changed.
    pub(super) async fn scale(&mut self, at: usize, size: i32) -> Result<bool, LoopError> {
        let before = self.sets[at].wanted();
        let desired = self.replicas().to_string();
        let max = (self.replicas() + self.max_surge()).to_string();
        let set = &self.sets[at];
        if before == size && set.annotation(DESIRED) == Some(&desired) && set.annotation(MAX) == Some(&max) {
            return Ok(false);
        }
        self.write_set(at, |object| {
            object.set(&["spec", "replicas"], size);
            object.set(&["metadata", "annotations", DESIRED], desired);
            object.set(&["metadata", "annotations", MAX], max);
        })
        .await?;
        if before != size {
            let way = if before < size { "up" } else { "down" };
            let name = self.sets[at].name();
            let message = format!("Scaled {way} replica set {name} from {before} to {size}");
            self.looped.recorder.normal(self.subject(), "ScalingReplicaSet", message);
        }
        Ok(before != size)
    }

    /// Deletes the oldest sets beyond `spec.revisionHistoryLimit` that hold nothing.
    pub(super) async fn clean_up(&mut self) -> Result<(), LoopError> {
        let limit = usize::try_from(self.spec.revision_history_limit.unwrap_or(10)).unwrap_or(0);
        let mut old: Vec<usize> = self.old();
        old.retain(|at| self.sets[*at].set.metadata.deletion_timestamp.is_none());
        let Some(surplus) = old.len().checked_sub(limit) else { return Ok(()) };
        old.sort_by_key(|at| self.sets[*at].revision());
        for at in old.into_iter().take(surplus) {
            let set = &self.sets[at];
            let observed = set.set.status.as_ref().and_then(|status| status.observed_generation).unwrap_or(0);
            let busy = set.actual() != 0 || set.wanted() != 0 || set.set.metadata.generation.unwrap_or(0) > observed;
            if busy {
                continue;
            }
            let options = DeleteOptions { uid: set.set.metadata.uid.clone(), ..DeleteOptions::default() };
            self.looped.writer.delete(&gvr::REPLICA_SETS, self.key.namespace(), set.name(), options).await?;
        }
        Ok(())
    }
}
