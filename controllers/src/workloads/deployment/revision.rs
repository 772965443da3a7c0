//! Which ReplicaSet is of the current template, and how a new one is made: its name and hash label, its revision, and
//! the annotations it takes over.

use gantry_machinery::resource::gvr;
use gantry_machinery::typed::{to_json, to_value, value_of};
use gantry_machinery::value::Value;
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::PodTemplateSpec;

use super::super::claim::Owner;
use super::{Rollout, Set};
use crate::runtime::write::{LoopError, is_already_exists, is_namespace_terminating};

/// On a Deployment and each of its sets: which rollout it was.
pub(super) const REVISION: &str = "deployment.kubernetes.io/revision";
/// On a set that came back: which rollouts it was before.
const HISTORY: &str = "deployment.kubernetes.io/revision-history";
/// On a set: how many replicas its Deployment wanted when it was last scaled.
pub(super) const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
/// On a set: the same plus the surge.
pub(super) const MAX: &str = "deployment.kubernetes.io/max-replicas";
/// The label that keeps the pods of different templates apart.
pub(super) const HASH: &str = "pod-template-hash";
/// Annotations of a Deployment that are not its sets'.
const NOT_COPIED: [&str; 6] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    REVISION,
    HISTORY,
    DESIRED,
    MAX,
    "deprecated.deployment.rollback.to",
];
/// Characters of history kept.
const HISTORY_MAX: usize = 2000;

impl Rollout<'_> {
    /// Finds the set of the current template: the oldest one, should there be several.
    pub(super) fn find_current(&mut self) {
        let template = &self.spec.template;
        self.current = self.sets.iter().position(|set| same_template(set, template));
    }

    /// Brings the current set's revision and annotations up to date, and makes the set where it is missing and `create`.
    pub(super) async fn revise(&mut self, create: bool, owner: &Owner<'_>) -> Result<(), LoopError> {
        let newest_old = self.old().into_iter().map(|at| self.sets[at].revision()).max().unwrap_or(0);
        let revision = newest_old + 1;
        let shown = match self.current {
            Some(at) => {
                self.revise_current(at, revision).await?;
                let message = format!("Found new replica set \"{}\"", self.sets[at].name());
                self.note_set("FoundNewReplicaSet", message, false);
                self.sets[at].annotation(REVISION).unwrap_or_default().to_owned()
            }
            None if create => {
                if !self.create_current(revision, owner).await? {
                    return Ok(());
                }
                revision.to_string()
            }
            None => return Ok(()),
        };
        if self.annotations.get(REVISION) != Some(&shown) {
            let written = self
                .looped
                .writer
                .edit(&gvr::DEPLOYMENTS, &self.object, |object| {
                    object.set(&["metadata", "annotations", REVISION], shown.as_str());
                })
                .await?;
            self.object = written;
            self.annotations.insert(REVISION.to_owned(), shown);
        }
        Ok(())
    }

    /// An existing set of the current template, also one that is rolled back to.
    async fn revise_current(&mut self, at: usize, revision: i64) -> Result<(), LoopError> {
        let set = &self.sets[at];
        let copied: Vec<_> = self
            .annotations
            .iter()
            .filter(|(key, value)| !NOT_COPIED.contains(&key.as_str()) && set.annotation(key) != Some(value))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        let before = set.revision();
        let newer = before < revision;
        let min_ready = self.spec.min_ready_seconds.unwrap_or(0);
        let new_min_ready = set.set.spec.as_ref().and_then(|spec| spec.min_ready_seconds).unwrap_or(0) != min_ready;
        if copied.is_empty() && !newer && !new_min_ready {
            return Ok(());
        }
        let history = history(set.annotation(HISTORY), set.annotation(REVISION)).filter(|_| newer);
        self.write_set(at, |object| {
            for (key, value) in &copied {
                object.set(&["metadata", "annotations", key], value.as_str());
            }
            if newer {
                object.set(&["metadata", "annotations", REVISION], revision.to_string());
            }
            if let Some(history) = history {
                object.set(&["metadata", "annotations", HISTORY], history);
            }
            if new_min_ready {
                object.set(&["spec", "minReadySeconds"], min_ready);
            }
        })
        .await
    }

    /// Makes the set of the current template; whether there is one now.
    async fn create_current(&mut self, revision: i64, owner: &Owner<'_>) -> Result<bool, LoopError> {
        let deployment = value_of(&self.object)?;
        let template = deployment.at(&["spec", "template"]).cloned().unwrap_or_default();
        let hash = template_hash(&template, self.status.collision_count);
        let name = format!("{}-{hash}", self.name());
        let replicas = self.new_set_replicas(None);
        let mut set = Value::object();
        set.set(&["apiVersion"], "apps/v1");
        set.set(&["kind"], "ReplicaSet");
        set.set(&["metadata", "name"], name.as_str());
        set.set(&["metadata", "namespace"], self.key.namespace());
        set.set(&["metadata", "ownerReferences"], Value::Array(vec![owner.reference()]));
        let labels = template.at(&["metadata", "labels"]).cloned().unwrap_or_default();
        set.set(&["metadata", "labels"], labels);
        set.set(&["metadata", "labels", HASH], hash.as_str());
        for (key, value) in self.annotations.iter().filter(|(key, _)| !NOT_COPIED.contains(&key.as_str())) {
            set.set(&["metadata", "annotations", key], value.as_str());
        }
        set.set(&["metadata", "annotations", REVISION], revision.to_string());
        set.set(&["metadata", "annotations", DESIRED], self.replicas().to_string());
        set.set(&["metadata", "annotations", MAX], (self.replicas() + self.max_surge()).to_string());
        set.set(&["spec", "replicas"], replicas);
        if let Some(seconds) = self.spec.min_ready_seconds.filter(|seconds| *seconds > 0) {
            set.set(&["spec", "minReadySeconds"], seconds);
        }
        set.set(&["spec", "selector"], to_value(&self.spec.selector)?);
        set.set(&["spec", "selector", "matchLabels", HASH], hash.as_str());
        set.set(&["spec", "template"], template);
        set.set(&["spec", "template", "metadata", "labels", HASH], hash.as_str());

        let created = match self.looped.writer.create(&gvr::REPLICA_SETS, self.key.namespace(), set).await {
            Ok(created) => Set::of(created)?,
            Err(status) if is_already_exists(&status) => {
                // Ours, made by a round that was cut off or is not seen yet, or somebody else's of the same name.
                let found = self.looped.writer.get(&gvr::REPLICA_SETS, self.key.namespace(), &name).await?;
                let found = found.map(Set::of).transpose()?;
                match found {
                    Some(found) if self.owns(&found.set) && same_template(&found, &self.spec.template) => found,
                    _ => {
                        self.status.collision_count = Some(self.status.collision_count.unwrap_or(0) + 1);
                        self.write_status(self.status.clone()).await?;
                        return Err(LoopError::Api(status));
                    }
                }
            }
            Err(status) if is_namespace_terminating(&status) => return Ok(false),
            Err(status) => {
                let message = format!("Failed to create new replica set \"{name}\": {status}");
                self.looped.recorder.warning(self.subject(), "ReplicaSetCreateError", message.clone());
                self.set_progressing("False", "ReplicaSetCreateError", message);
                self.write_status(self.status.clone()).await?;
                return Err(LoopError::Api(status));
            }
        };
        self.looped.expectations.wrote(self.key, created.object.revision);
        if replicas > 0 {
            let message = format!("Scaled up replica set {name} from 0 to {replicas}");
            self.looped.recorder.normal(self.subject(), "ScalingReplicaSet", message);
        }
        self.note_set("NewReplicaSetCreated", format!("Created new replica set \"{name}\""), true);
        self.sets.push(created);
        self.current = Some(self.sets.len() - 1);
        Ok(true)
    }

    fn owns(&self, set: &ReplicaSet) -> bool {
        set.metadata
            .owner_references
            .iter()
            .flatten()
            .any(|owner| owner.controller == Some(true) && owner.uid == self.uid)
    }
}

/// Whether the set was made of this template: equal but for the hash label.
fn same_template(set: &Set, template: &PodTemplateSpec) -> bool {
    let Some(theirs) = set.set.spec.as_ref().and_then(|spec| spec.template.as_ref()) else { return false };
    if theirs.spec != template.spec {
        return false;
    }
    let stripped = |template: &PodTemplateSpec| {
        let mut metadata = template.metadata.clone().unwrap_or_default();
        if let Some(labels) = &mut metadata.labels {
            labels.remove(HASH);
        }
        metadata.labels = metadata.labels.filter(|labels| !labels.is_empty());
        metadata.creation_timestamp = None;
        metadata
    };
    stripped(theirs) == stripped(template)
}

/// The history with one more revision at its end; the oldest fall off.
fn history(before: Option<&str>, revision: Option<&str>) -> Option<String> {
    let revision = revision?;
    let mut history: Vec<&str> = before.unwrap_or_default().split(',').filter(|part| !part.is_empty()).collect();
    history.push(revision);
    while history.iter().map(|part| part.len() + 1).sum::<usize>() > HISTORY_MAX {
        history.remove(0);
    }
    Some(history.join(","))
}

/// A name for a template: FNV-1a over its JSON and the number of collisions, spelled without vowels and look-alikes so
/// that it neither offends nor confuses. Upstream hashes a Go dump instead: the same look, other letters.
fn template_hash(template: &Value, collisions: Option<i32>) -> String {
    const LETTERS: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
    let mut canonical = template.clone();
    sort(&mut canonical);
    let mut hash = 0x811c_9dc5_u32;
    let salt = collisions.map_or_else(Vec::new, |count| count.to_le_bytes().to_vec());
    for byte in to_json(&canonical).into_iter().chain(salt) {
        hash = (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    }
    hash.to_string().bytes().map(|digit| char::from(LETTERS[usize::from(digit) % LETTERS.len()])).collect()
}

fn sort(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.sort_keys();
            fields.iter_mut().for_each(|(_, value)| sort(value));
        }
        Value::Array(items) => items.iter_mut().for_each(sort),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gantry_machinery::value;

    #[test]
    fn the_hash_follows_the_template_and_not_the_order_of_fields() {
        let a = template_hash(&value!({"spec": {"a": 1, "b": 2}}), None);
        assert_eq!(a, template_hash(&value!({"spec": {"b": 2, "a": 1}}), None));
        assert_ne!(a, template_hash(&value!({"spec": {"b": 2, "a": 3}}), None));
        assert_ne!(a, template_hash(&value!({"spec": {"a": 1, "b": 2}}), Some(1)));
        assert!(a.bytes().all(|letter| b"bcdfghjklmnpqrstvwxz2456789".contains(&letter)), "{a}");
    }

    #[test]
    fn history_grows_at_its_end() {
        assert_eq!(history(None, Some("1")).as_deref(), Some("1"));
        assert_eq!(history(Some("1,3"), Some("5")).as_deref(), Some("1,3,5"));
        assert_eq!(history(Some("1"), None), None);
    }
}
