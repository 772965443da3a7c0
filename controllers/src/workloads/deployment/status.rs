//! What a Deployment reports: counts over its sets, and the conditions Available, Progressing and ReplicaFailure with
//! upstream's reasons and texts; `kubectl rollout status` reads them.

use std::time::Duration;

use gantry_machinery::resource::gvr;
use jiff::SignedDuration;
use k8s_openapi::api::apps::v1::{DeploymentCondition, DeploymentStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{Rollout, Set};
use crate::runtime::reconcile::Action;
use crate::runtime::write::LoopError;

const PROGRESSING: &str = "Progressing";
const COMPLETE: &str = "NewReplicaSetAvailable";
const TIMED_OUT: &str = "ProgressDeadlineExceeded";
const PAUSED: &str = "DeploymentPaused";

impl Rollout<'_> {
    /// Notes in the conditions that the rollout was paused or goes on.
    pub(super) fn note_pause(&mut self) {
        if self.deadline().is_none() {
            return;
        }
        let reason = find(&self.status, PROGRESSING).and_then(|condition| condition.reason.as_deref());
        if reason == Some(TIMED_OUT) {
            return;
        }
        let noted = reason == Some(PAUSED);
        match (self.spec.paused == Some(true), noted) {
            (true, false) => self.set_progressing("Unknown", PAUSED, "Deployment is paused".into()),
            (false, true) => {
                self.set_progressing("Unknown", "DeploymentResumed", "Deployment is resumed".into());
            }
            _ => {}
        }
    }

    /// Notes that the current set was made or found; a found one only where nothing is noted yet.
    pub(super) fn note_set(&mut self, reason: &str, message: String, made: bool) {
        if self.deadline().is_some() && (made || find(&self.status, PROGRESSING).is_none()) {
            self.set_progressing("True", reason, message);
        }
    }

    pub(super) fn set_progressing(&mut self, status: &str, reason: &str, message: String) {
        let condition = self.condition(PROGRESSING, status, reason, message);
        set(&mut self.status, condition);
    }

    /// Whether everything is as the spec says.
    pub(super) fn is_complete(&self, status: &DeploymentStatus) -> bool {
        let wanted = Some(self.replicas()).filter(|wanted| *wanted > 0);
        let positive = |count: Option<i32>| count.filter(|count| *count > 0);
        positive(status.updated_replicas) == wanted
            && positive(status.replicas) == wanted
            && positive(status.available_replicas) == wanted
            && status.observed_generation.unwrap_or(0) >= self.generation
    }

    /// Reports after a round that did not roll out.
    pub(super) async fn report_only(&mut self) -> Result<Action, LoopError> {
        let status = self.count();
        self.write_status(status).await?;
        Ok(Action::Done)
    }

    /// Reports after a step of a rollout; says when to look for its deadline.
    pub(super) async fn report(&mut self) -> Result<Action, LoopError> {
        let mut status = self.count();
        if self.deadline().is_none() {
            remove(&mut status, PROGRESSING);
        }
        let progressing = find(&self.status, PROGRESSING).cloned();
        let done = status.replicas == status.updated_replicas
            && progressing.as_ref().and_then(|condition| condition.reason.as_deref()) == Some(COMPLETE);
        if self.deadline().is_some() && !done {
            self.judge(&mut status, progressing.as_ref());
        }
        match self.failure() {
            Some(failure) => set(&mut status, failure),
            None => remove(&mut status, "ReplicaFailure"),
        }
        self.write_status(status.clone()).await?;
        Ok(self.next_look(&status))
    }

    /// Complete, progressing, or stuck for too long?
    fn judge(&self, status: &mut DeploymentStatus, before: Option<&DeploymentCondition>) {
        let subject = match self.current() {
            Some(set) => format!("ReplicaSet \"{}\"", set.name()),
            None => format!("Deployment \"{}\"", self.name()),
        };
        if self.is_complete(status) {
            let message = format!("{subject} has successfully progressed.");
            set(status, self.condition(PROGRESSING, "True", COMPLETE, message));
        } else if self.progressed(status) {
            let message = format!("{subject} is progressing.");
            let mut condition = self.condition(PROGRESSING, "True", "ReplicaSetUpdated", message);
            if let Some(before) = before.filter(|before| before.status == "True") {
                condition.last_transition_time = before.last_transition_time.clone();
            }
            // Also where nothing but the time changes: the deadline counts from the last progress.
            remove(status, PROGRESSING);
            set(status, condition);
        } else if self.timed_out(status) {
            let message = format!("{subject} has timed out progressing.");
            set(status, self.condition(PROGRESSING, "False", TIMED_OUT, message));
        }
    }

    /// Whether the counts are nearer to the goal than those stored.
    fn progressed(&self, status: &DeploymentStatus) -> bool {
        let n = |count: Option<i32>| count.unwrap_or(0);
        let old = |status: &DeploymentStatus| n(status.replicas) - n(status.updated_replicas);
        let before = &self.stored;
        n(status.updated_replicas) > n(before.updated_replicas)
            || old(status) < old(before)
            || n(status.ready_replicas) > n(before.ready_replicas)
            || n(status.available_replicas) > n(before.available_replicas)
    }

    fn timed_out(&self, status: &DeploymentStatus) -> bool {
        let (Some(deadline), Some(condition)) = (self.deadline(), find(status, PROGRESSING)) else { return false };
        match condition.reason.as_deref() {
            Some(COMPLETE) => false,
            Some(TIMED_OUT) => true,
            _ => condition
                .last_update_time
                .as_ref()
                .is_some_and(|since| self.looped.clock.now().duration_since(since.0) > deadline),
        }
    }

    fn next_look(&self, status: &DeploymentStatus) -> Action {
        let (Some(deadline), Some(condition)) = (self.deadline(), find(status, PROGRESSING)) else {
            return Action::Done;
        };
        if self.is_complete(status) || condition.reason.as_deref() == Some(TIMED_OUT) {
            return Action::Done;
        }
        let Some(since) = &condition.last_update_time else { return Action::Done };
        let left = deadline - self.looped.clock.now().duration_since(since.0);
        // A second later, so that the deadline has surely passed.
        Action::After(Duration::try_from(left).unwrap_or_default() + Duration::from_secs(1))
    }

    /// The counts, with Available.
    fn count(&self) -> DeploymentStatus {
        let sum = |of: fn(&Set) -> i32| self.sets.iter().map(of).sum::<i32>();
        let some = |count: i32| Some(count).filter(|count| *count != 0);
        let available = sum(Set::available);
        let mut status = DeploymentStatus {
            observed_generation: Some(self.generation),
            replicas: some(sum(Set::actual)),
            updated_replicas: some(self.current().map_or(0, Set::actual)),
            ready_replicas: some(sum(Set::ready)),
            available_replicas: some(available),
            unavailable_replicas: some((sum(Set::wanted) - available).max(0)),
            terminating_replicas: Some(sum(Set::terminating)),
            collision_count: self.status.collision_count,
            conditions: self.status.conditions.clone(),
        };
        let condition = if available >= self.replicas() - self.max_unavailable() {
            let message = "Deployment has minimum availability.".into();
            self.condition("Available", "True", "MinimumReplicasAvailable", message)
        } else {
            let message = "Deployment does not have minimum availability.".into();
            self.condition("Available", "False", "MinimumReplicasUnavailable", message)
        };
        set(&mut status, condition);
        status
    }

    /// Why pods cannot be made: the current set's failure, or else an old one's.
    fn failure(&self) -> Option<DeploymentCondition> {
        let of = |set: &Set| {
            let conditions = set.set.status.as_ref()?.conditions.as_ref()?;
            let failure = conditions.iter().find(|condition| condition.type_ == "ReplicaFailure")?;
            let mut condition = self.condition(
                "ReplicaFailure",
                &failure.status,
                failure.reason.as_deref().unwrap_or_default(),
                failure.message.clone().unwrap_or_default(),
            );
            condition.last_transition_time = failure.last_transition_time.clone();
            Some(condition)
        };
        self.current().and_then(of).or_else(|| self.old().into_iter().find_map(|at| of(&self.sets[at])))
    }

    pub(super) async fn write_status(&mut self, status: DeploymentStatus) -> Result<(), LoopError> {
        if status != self.stored {
            self.object = self.looped.writer.set_status(&gvr::DEPLOYMENTS, &self.object, &status).await?;
            self.stored = status;
        }
        Ok(())
    }

    /// `spec.progressDeadlineSeconds`, unless it says never.
    fn deadline(&self) -> Option<SignedDuration> {
        let seconds = self.spec.progress_deadline_seconds.filter(|seconds| *seconds != i32::MAX)?;
        Some(SignedDuration::from_secs(seconds.into()))
    }

    fn condition(&self, kind: &str, status: &str, reason: &str, message: String) -> DeploymentCondition {
        // Whole seconds, as they are stored: a status must compare equal to what was written.
        let now = self.looped.clock.now();
        let now = jiff::Timestamp::from_second(now.as_second()).unwrap_or(now);
        DeploymentCondition {
            type_: kind.into(),
            status: status.into(),
            reason: Some(reason.into()),
            message: Some(message),
            last_update_time: Some(Time(now)),
            last_transition_time: Some(Time(now)),
        }
    }
}

fn find<'s>(status: &'s DeploymentStatus, kind: &str) -> Option<&'s DeploymentCondition> {
    status.conditions.iter().flatten().find(|condition| condition.type_ == kind)
}

fn remove(status: &mut DeploymentStatus, kind: &str) {
    if let Some(conditions) = &mut status.conditions {
        conditions.retain(|condition| condition.type_ != kind);
    }
    status.conditions = status.conditions.take().filter(|conditions| !conditions.is_empty());
}

/// Sets a condition; one that says the same already stays as it is, and its transition time stays while its status does.
fn set(status: &mut DeploymentStatus, mut condition: DeploymentCondition) {
    if let Some(before) = find(status, &condition.type_) {
        if before.status == condition.status && before.reason == condition.reason {
            return;
        }
        if before.status == condition.status {
            condition.last_transition_time = before.last_transition_time.clone();
        }
    }
    remove(status, &condition.type_);
    status.conditions.get_or_insert_default().push(condition);
}
