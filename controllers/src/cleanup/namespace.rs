//! Empties a namespace that is to go, then lets it go (Kubernetes, "Namespaces"; KEP-5080 for the order).
//!
//! Pods go first, so that nothing they rely on (network policies, secrets) is taken away under them; then all other
//! kinds. What keeps it open is said in the namespace's conditions. The `kubernetes` finalizer is removed last, through
//! the `finalize` subresource.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use gantry_machinery::clock::Clock;
use gantry_machinery::resource::{GroupVersionResource, Resource, gvr};
use gantry_machinery::resource_api::{Collection, DeleteOptions, ListOptions, Propagation, Target};
use gantry_machinery::status::Status;
use gantry_machinery::typed::{typed, value_of};
use gantry_machinery::value::Value;
use gantry_store_cache::key::ObjectKey;
use k8s_openapi::api::core::v1::{Namespace, NamespaceCondition, NamespaceStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::runtime::custom::custom_resources;
use crate::runtime::informer::Informer;
use crate::runtime::informers::Informers;
use crate::runtime::reconcile::{Action, Queue, Reconcile};
use crate::runtime::rows::{HasMeta, MetaRow};
use crate::runtime::write::{LoopError, Writer, is_conflict, is_not_found};

const FINALIZER: &str = "kubernetes";
/// Between looks at what remains; pods take their grace period.
const LOOK_AGAIN: Duration = Duration::from_millis(500);
const LOOK_AGAIN_MAX: Duration = Duration::from_secs(5);

/// The loop; keys are namespaces.
pub struct Namespaces {
    namespaces: Arc<Informer<MetaRow>>,
    writer: Writer,
    clock: Clock,
    /// What to empty: pods first.
    resources: Vec<GroupVersionResource>,
}

/// What is left of a namespace.
#[derive(Default)]
struct Remains {
    /// By resource: how many objects.
    counts: Vec<(String, usize)>,
    /// By finalizer: how many objects it holds.
    finalizers: std::collections::BTreeMap<String, usize>,
    /// What could not be deleted.
    failures: Vec<String>,
}

impl Namespaces {
    /// Empties namespaces of all `resources` that can be listed and deleted.
    #[must_use]
    pub fn new(informers: &Informers, resources: &[Resource]) -> Arc<Self> {
        let has = |resource: &Resource, verb: &str| resource.verbs.iter().any(|served| served == verb);
        let mut deletable: Vec<_> = resources
            .iter()
            .filter(|resource| resource.namespaced && has(resource, "list") && has(resource, "delete"))
            .map(|resource| resource.gvr.clone())
            .collect();
        deletable.sort_by_key(|resource| *resource != gvr::PODS);
        Arc::new(Self {
            namespaces: informers.of(&gvr::NAMESPACES),
            writer: Writer::new(informers.api().clone(), "namespace-controller"),
            clock: informers.clock(),
            resources: deletable,
        })
    }

    /// Deletes what there is and says what is left.
    async fn empty(&self, namespace: &str) -> Result<Remains, Status> {
        let mut remains = Remains::default();
        // What is defined by now, served or not at the time the loops began.
        let custom = custom_resources(&**self.writer.api()).await?;
        let custom = custom.into_iter().filter(|custom| custom.namespaced).map(|custom| custom.gvr);
        let custom: Vec<_> = custom.filter(|gvr| !self.resources.contains(gvr)).collect();
        for resource in self.resources.iter().chain(&custom) {
            let of = Collection { resource, namespace };
            let options = DeleteOptions { propagation: Some(Propagation::Background), ..DeleteOptions::default() };
            let everything = ListOptions::default();
            let present = match self.writer.api().list(&of, &everything).await {
                Ok(list) => list,
                // Not served any more.
                Err(status) if is_not_found(&status) => continue,
                Err(status) => return Err(status),
            };
            if present.items.is_empty() {
                continue;
            }
            if let Err(status) = self.writer.api().delete_collection(&of, &everything, &options).await {
                remains.failures.push(format!("{resource}: {status}"));
            }
            let left = match self.writer.api().list(&of, &everything).await {
                Ok(left) => left,
                Err(status) if is_not_found(&status) => continue,
                Err(status) => return Err(status),
            };
            if left.items.is_empty() {
                continue;
            }
            remains.counts.push((resource.collection().into_owned(), left.items.len()));
            for object in &left.items {
                let row = typed::<MetaRow>(object);
                for finalizer in row.iter().flat_map(|row| row.meta().finalizers.iter()) {
                    *remains.finalizers.entry(finalizer.to_string()).or_default() += 1;
                }
            }
            // Nothing else goes while pods run.
            if *resource == gvr::PODS {
                break;
            }
        }
        Ok(remains)
    }

    /// Says in the conditions what keeps the namespace open.
    async fn report(&self, key: &ObjectKey, remains: &Remains) -> Result<(), LoopError> {
        let Some(live) = self.writer.get(&gvr::NAMESPACES, "", key.name()).await? else { return Ok(()) };
        let old = typed::<Namespace>(&live)?.status.clone().unwrap_or_default();
        let list = |items: &mut dyn Iterator<Item = String>| items.collect::<Vec<_>>().join(", ");
        let counts =
            list(&mut remains.counts.iter().map(|(what, count)| format!("{what} has {count} resource instances")));
        let finalizers =
            list(&mut remains.finalizers.iter().map(|(what, count)| format!("{what} in {count} resource instances")));
        let failures = remains.failures.join(", ");
        let rows = [
            (
                "NamespaceDeletionDiscoveryFailure",
                false,
                ("ResourcesDiscovered", "All resources successfully discovered".to_owned()),
            ),
            (
                "NamespaceDeletionGroupVersionParsingFailure",
                false,
                ("ParsedGroupVersions", "All legacy kube types successfully parsed".to_owned()),
            ),
            (
                "NamespaceDeletionContentFailure",
                !failures.is_empty(),
                if failures.is_empty() {
                    ("ContentDeleted", "All content successfully deleted, may be waiting on finalization".to_owned())
                } else {
                    (
                        "ContentDeletionFailed",
                        format!(
                            "Failed to delete all resource types, {} remaining: {failures}",
                            remains.failures.len()
                        ),
                    )
                },
            ),
            (
                "NamespaceContentRemaining",
                !counts.is_empty(),
                if counts.is_empty() {
                    ("ContentRemoved", "All content successfully removed".to_owned())
                } else {
                    ("SomeResourcesRemain", format!("Some resources are remaining: {counts}"))
                },
            ),
            (
                "NamespaceFinalizersRemaining",
                !finalizers.is_empty(),
                if finalizers.is_empty() {
                    ("ContentHasNoFinalizers", "All content-preserving finalizers finished".to_owned())
                } else {
                    (
                        "SomeFinalizersRemain",
                        format!("Some content in the namespace has finalizers remaining: {finalizers}"),
                    )
                },
            ),
        ];
        let mut status = NamespaceStatus { phase: Some("Terminating".into()), ..old.clone() };
        let conditions = status.conditions.get_or_insert_default();
        for (kind, holds, (reason, message)) in rows {
            let truth = if holds { "True" } else { "False" };
            let before = conditions.iter().position(|condition| condition.type_ == kind);
            let before = before.map(|at| conditions.remove(at));
            let since = before.filter(|before| before.status == truth).and_then(|before| before.last_transition_time);
            let now = self.clock.now();
            let now = jiff::Timestamp::from_second(now.as_second()).unwrap_or(now);
            conditions.push(NamespaceCondition {
                type_: kind.into(),
                status: truth.into(),
                reason: Some(reason.into()),
                message: Some(message),
                last_transition_time: Some(since.unwrap_or(Time(now))),
            });
        }
        if status != old {
            self.writer.set_status(&gvr::NAMESPACES, &live, &status).await?;
        }
        Ok(())
    }

    /// Takes the finalizer off: with it the namespace goes.
    async fn finalize(&self, key: &ObjectKey) -> Result<(), LoopError> {
        let Some(live) = self.writer.get(&gvr::NAMESPACES, "", key.name()).await? else { return Ok(()) };
        let mut namespace = value_of(&live)?;
        let finalizers = namespace.array_at(&["spec", "finalizers"]);
        let left: Vec<Value> =
            finalizers.iter().filter(|finalizer| finalizer.as_str() != Some(FINALIZER)).cloned().collect();
        namespace.set(&["spec", "finalizers"], Value::Array(left));
        let target = Target::object(&gvr::NAMESPACES, "", key.name()).sub("finalize");
        match self.writer.update(target, namespace).await {
            Ok(_) => Ok(()),
            Err(status) if is_not_found(&status) || is_conflict(&status) => Ok(()),
            Err(status) => Err(status.into()),
        }
    }
}

#[async_trait]
impl Reconcile for Namespaces {
    fn name(&self) -> &'static str {
        "namespace-controller"
    }

    fn watch(self: Arc<Self>, queue: &Arc<Queue>) {
        let to = queue.clone();
        self.namespaces.on_change(move |_, after| {
            if let Some(namespace) = after
                && namespace.row.meta().deleting()
            {
                to.add(namespace.key().clone());
            }
        });
    }

    async fn synced(&self) {
        self.namespaces.synced().await;
    }

    async fn reconcile(&self, key: &ObjectKey) -> Result<Action, LoopError> {
        let Some(entry) = self.namespaces.get_key(key) else { return Ok(Action::Done) };
        let Some(since) = entry.row.meta().deletion_timestamp.as_ref() else { return Ok(Action::Done) };
        let remains = self.empty(key.name()).await?;
        if remains.counts.is_empty() && remains.failures.is_empty() {
            self.finalize(key).await?;
            return Ok(Action::Done);
        }
        self.report(key, &remains).await?;
        // What takes long is looked at less often.
        let waited = self.clock.since(since.0);
        Ok(Action::After((waited / 4).clamp(LOOK_AGAIN, LOOK_AGAIN_MAX)))
    }
}
