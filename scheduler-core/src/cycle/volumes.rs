//! Pods with volumes or claims of devices: looking them up before nodes are asked, assuming what was decided about them,
//! taking it back, and waking those whom a change helps. Pods without never come here.

use std::sync::Arc;

use super::Scheduler;
use super::find::Verdicts;
use crate::columns::Slot;
use crate::pods::PodIndex;
use crate::queue::{GroupId, Seen};
use crate::storage::ask::Ask;
use crate::storage::{Preparation, Storage, Tenant};

impl Scheduler {
    /// Looks up a pod's volumes and claims and leaves them in `ask`; or, when they rule out every node, leaves why in
    /// `rejection` and says `false`.
    pub(super) fn look_up_volumes(&mut self, index: PodIndex) -> bool {
        let Some(pod) = self.pods.get(index) else { return true };
        let Some(tenant) = pod.tenant.clone() else { return true };
        let class = self.classes.get(pod.class);
        if class.conflicts() || self.columns.count() == 0 {
            // Node affinity is asked before the volumes; and without any node nothing is asked.
            return true;
        }
        match self.storage.ask(&mut self.columns, &tenant, &class.profile) {
            Ok(ask) => self.ask = Some(ask),
            Err(rejection) => {
                self.verdicts = Verdicts::InScratch;
                self.scratch.verdicts.clear();
                self.rejection = Some(rejection);
            }
        }
        self.rejection.is_none()
    }

    /// Whether asking nodes about devices went so wrong that no node counts: leaves why in `rejection`.
    pub(super) fn has_failed(&mut self) -> bool {
        let Some(failure) = self.ask.as_ref().and_then(Ask::failure) else { return false };
        self.scratch.clear();
        self.rejection = Some(failure);
        true
    }

    /// The volumes and claims of the pod that was last looked for a node for.
    pub(super) fn volumes(&self) -> Option<(&Storage, &Ask)> {
        self.ask.as_ref().map(|ask| (&self.storage, ask))
    }

    /// Holds what is to be done about a pod's volumes and claims on its node; `None` where that is nothing.
    pub(super) fn prepare(&mut self, index: PodIndex, slot: Slot) -> Option<Arc<Preparation>> {
        let work = self.ask.take()?.work(&self.storage, &self.columns, slot);
        if work.is_empty() {
            return None;
        }
        self.storage.assume(&work, self.columns.name(slot));
        let work = Arc::new(work);
        self.pods.at(index).preparation = Some(Arc::clone(&work));
        Some(work)
    }

    /// Lets go of what is assumed about a pod's volumes and claims.
    pub(super) fn take_back_preparation(&mut self, index: PodIndex) {
        if let Some(work) = self.pods.at(index).preparation.take() {
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
        if heard {
            // What it waits for now may be something else: a claim that has come names a class and a volume.
            self.storage.listen(group, tenant);
        }
        let displaces = self.may_displace(index);
        // Nothing but nodes has changed: those are looked at alone.
        let local = !heard && !others && !in_doubt && !displaces && self.nominations.is_empty();
        // With terms about others, a node's labels decide about the rest of its domain; and who was refused because one node
        // went wrong may be helped by that one.
        let terms = self.classes.get(group.0).is_wide() || self.neighbours.anybody_forbids();
        let local = local && !terms && !self.pods.at(index).failed;
        let changes = if local { self.columns.journal.since(seen.0) } else { None };
        let slots: Option<Vec<Slot>> = changes.map(|changes| changes.map(|(slot, _)| slot).collect());
        let Some(slots) = slots else {
            if let Some(found) = self.find(index) {
                return found.room;
            }
            return usize::from(displaces && self.rejection.is_none() && self.could_displace(index, None));
        };
        let profile = Arc::clone(&self.classes.get(group.0).profile);
        let Ok(ask) = self.storage.ask(&mut self.columns, tenant, &profile) else { return 0 };
        let class = self.classes.get_mut(group.0);
        class.learn(&self.columns);
        let fits = |slot: &Slot| {
            class.verdict(&self.columns, *slot).fits()
                && ask.verdict(&self.storage, &self.columns, *slot).fits()
                && ask.device_verdict(&self.storage, &self.columns, *slot).0.fits()
        };
        usize::from(slots.iter().any(fits))
    }
}
