//! The Recreate strategy: all old pods go, then the new ones come.

use super::super::claim::Owner;
use super::Rollout;
use crate::runtime::informers::BY_CONTROLLER;
use crate::runtime::reconcile::Action;
use crate::runtime::write::LoopError;

impl Rollout<'_> {
    /// One step of a rollout that replaces everything at once.
    pub(super) async fn recreate(mut self, owner: &Owner<'_>) -> Result<Action, LoopError> {
        self.revise(false, owner).await?;
        let mut scaled = false;
        for at in self.active_old() {
            scaled |= self.scale(at, 0).await?;
        }
        // Pods that are being stopped still run: they, too, must be gone first.
        if scaled || self.old_pods_run() {
            return self.report().await;
        }
        if self.current.is_none() {
            self.revise(true, owner).await?;
        }
        if let Some(at) = self.current {
            self.scale(at, self.replicas()).await?;
        }
        if self.is_complete(&self.status) {
            self.clean_up().await?;
        }
        self.report().await
    }

    fn old_pods_run(&self) -> bool {
        self.old().into_iter().any(|at| {
            let uid = self.sets[at].set.metadata.uid.as_deref().unwrap_or_default();
            self.looped.pods.indexed(BY_CONTROLLER, uid).iter().any(|pod| !pod.row.phase.ended())
        })
    }
}
