//! Pods with volumes: finding a node, assuming what was decided about the volumes, taking it back, and waking those
//! whom a change helps. Pods without never come here.

use std::sync::Arc;

use super::{Say, Scheduler};
use crate::columns::Slot;
use crate::pods::PodIndex;
use crate::queue::{GroupId, Seen};
use crate::storage::{Tenant, VolumeWork};
use crate::wide::{self, Towards};

impl Scheduler {
    /// As [`find`](Scheduler::find), for a pod with volumes. Leaves them in `ask`, or why they rule out every node in
    /// `rejection`.
    pub(super) fn find_with_volumes(&mut self, index: PodIndex, tenant: &Tenant) -> (Option<(Slot, u32)>, Say) {
        self.ask = None;
        let Some(pod) = self.pods.get(index) else { return (None, Say::Class) };
        let class = self.classes.get(pod.class);
        if class.conflicts() {
            // Node affinity is asked before the volumes.
            return (None, Say::Class);
        }
        let ask = match self.storage.ask(&mut self.columns, tenant, class.profile.filters) {
            Ok(ask) => ask,
            Err(rejection) => {
                self.rejection = Some(rejection);
                return (None, Say::Rejected);
            }
        };
        if self.classes.board(pod.class, &self.columns).winner().is_none() {
            self.ask = Some(ask);
            return (None, Say::Class);
        }
        let towards = Towards::new(&self.neighbours, pod.passport());
        let class = self.classes.get(pod.class);
        let decision = wide::Decision {
            columns: &self.columns,
            neighbours: &self.neighbours,
            class,
            rules: class.wide.as_deref(),
            towards: &towards,
            volumes: Some((&self.storage, &ask)),
        };
        let found = decision.make(&mut self.scratch);
        self.ask = Some(ask);
        (found, Say::Volumes)
    }

    /// Holds what is to be done about a pod's volumes on its node; `None` where that is nothing.
    pub(super) fn assume_volumes(&mut self, index: PodIndex, slot: Slot) -> Option<Arc<VolumeWork>> {
        self.pods.get(index)?.tenant.as_ref()?;
        let work = self.ask.take()?.work(&self.columns, slot);
        if work.is_empty() {
            return None;
        }
        self.storage.assume(&work, self.columns.name(slot));
        let work = Arc::new(work);
        self.pods.at(index).volumes = Some(Arc::clone(&work));
        Some(work)
    }

    /// Lets go of what is assumed about a pod's volumes.
    pub(super) fn take_back_volumes(&mut self, index: PodIndex) {
        if let Some(work) = self.pods.at(index).volumes.take() {
            self.storage.take_back(&work);
        }
    }

    /// How many pods of a group with equal volumes (of one pod, mostly) the changes since `seen` may help.
    pub(super) fn help_with_volumes(
        &mut self,
        group: GroupId,
        index: PodIndex,
        tenant: &Tenant,
        seen: Seen,
        in_doubt: bool,
    ) -> usize {
        let now = self.seen();
        let heard = self.storage.heard(group);
        let others = seen.1 != now.1;
        if !heard && !others && !in_doubt && seen.0 == now.0 {
            return 0;
        }
        let class = self.classes.get(group.0);
        if class.demand.unsupported.is_some() {
            return 0;
        }
        let local = !heard && !others && !in_doubt && !class.is_wide();
        // Nothing but nodes has changed: those are looked at alone.
        let changes = if local { self.columns.journal.since(seen.0) } else { None };
        let slots: Option<Vec<Slot>> = changes.map(|changes| changes.map(|(slot, _)| slot).collect());
        let Some(slots) = slots else {
            return if self.find(index).0.is_some() { self.scratch.feasible().max(1) } else { 0 };
        };
        let asked = self.classes.get(group.0).profile.filters;
        let Ok(ask) = self.storage.ask(&mut self.columns, tenant, asked) else { return 0 };
        let class = self.classes.get_mut(group.0);
        class.learn(&self.columns);
        let fits = |slot: &Slot| {
            class.verdict(&self.columns, *slot).fits() && ask.verdict(&self.storage, &self.columns, *slot).fits()
        };
        usize::from(slots.iter().any(fits))
    }
}
