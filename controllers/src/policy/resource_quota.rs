//! Counts what namespaces with ResourceQuotas hold, and writes it into the quotas' status (Kubernetes, "Resource Quotas").
//! Admission charges what is created from there; this loop gives back what has gone, and puts down the first count.
//!
//! A count is written against the version of the quota that was read before anything was counted: what admission charged
//! in between is a conflict, and counted anew.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use ahash::HashMap;
use async_trait::async_trait;
use compact_str::CompactString;
use gantry_machinery::clock::Clock;
use gantry_machinery::quantity::Quantity;
use gantry_machinery::quota::{self, Usage};
use gantry_machinery::resource::{GroupVersionResource, Resource, gvr};
use gantry_machinery::resource_api::{Collection, ListOptions, Target};
use gantry_machinery::status::Status;
use gantry_machinery::typed::value_of;
use gantry_machinery::value::Value;
use gantry_store_cache::key::ObjectKey;

use crate::runtime::custom::custom_resources;
use crate::runtime::informer::{Entry, Informer};
use crate::runtime::informers::Informers;
use crate::runtime::reconcile::{Action, Queue, Reconcile};
use crate::runtime::rows::{MetaRow, PodRow};
use crate::runtime::write::{LoopError, Writer, is_not_found};

/// How often everything is counted anew, whatever was seen to change (`--resource-quota-sync-period`).
const SYNC_PERIOD: Duration = Duration::from_secs(300);

/// How often quotas of resources are counted that no informer follows.
const UNFOLLOWED_PERIOD: Duration = Duration::from_secs(5);

/// How long changes are gathered before a namespace is counted.
const PAUSE: Duration = Duration::from_millis(100);

/// What may come to cost less by an update, pods aside.
const CHANGING: [&str; 2] = ["services", "persistentvolumeclaims"];

/// The loop; keys are quotas.
pub struct ResourceQuotas {
    informers: Arc<Informers>,
    quotas: Arc<Informer<MetaRow>>,
    writer: Writer,
    clock: Clock,
    /// What can be counted and is followed, by collection.
    resources: HashMap<CompactString, GroupVersionResource>,
}

impl ResourceQuotas {
    /// Over all `resources` in namespaces that can be listed and watched; Events cost nothing.
    #[must_use]
    pub fn new(informers: &Arc<Informers>, resources: &[Resource]) -> Arc<Self> {
        let has = |resource: &Resource, verb: &str| resource.verbs.iter().any(|served| served == verb);
        let counted = resources
            .iter()
            .filter(|resource| resource.namespaced && ["list", "watch"].iter().all(|verb| has(resource, verb)))
            .filter(|resource| resource.gvr.resource != gvr::EVENTS.resource)
            .map(|resource| (CompactString::from(&*resource.gvr.collection()), resource.gvr.clone()))
            .collect();
        Arc::new(Self {
            informers: informers.clone(),
            quotas: informers.of(&QUOTAS),
            writer: Writer::new(informers.api().clone(), "resourcequota-controller"),
            clock: informers.clock(),
            resources: counted,
        })
    }

    /// Where objects of a collection are listed, and whether changes of them are noticed; `None` if there are none.
    async fn listed(&self, collection: &str) -> Result<Option<(GroupVersionResource, bool)>, Status> {
        if let Some(resource) = self.resources.get(collection) {
            return Ok(Some((resource.clone(), true)));
        }
        let custom = custom_resources(&**self.writer.api()).await?;
        let found = custom.into_iter().find(|custom| custom.namespaced && custom.gvr.collection() == collection);
        Ok(found.map(|custom| (custom.gvr, false)))
    }

    /// What the namespace's objects draw on the quota, and whether all changes of them are noticed.
    async fn count(&self, namespace: &str, limits: &Value) -> Result<(Usage, bool), LoopError> {
        let hard = quota::amounts(limits.at(&["spec", "hard"]));
        let collections: BTreeSet<&str> = hard.keys().filter_map(|resource| quota::drawn_on_by(resource)).collect();
        let mut drawn = Usage::new();
        let mut noticed = true;
        let now = self.clock.now().as_second();
        for collection in collections {
            let Some((resource, followed)) = self.listed(collection).await? else {
                noticed = false;
                continue;
            };
            noticed &= followed;
            let of = Collection { resource: &resource, namespace };
            let objects = match self.writer.api().list(&of, &ListOptions::default()).await {
                Ok(objects) => objects,
                Err(status) if is_not_found(&status) => continue,
                Err(status) => return Err(status.into()),
            };
            for object in &objects.items {
                let object = value_of(object)?;
                if quota::in_scopes(limits, collection, &object) {
                    quota::add(&mut drawn, &quota::usage(collection, &object, now));
                }
            }
        }
        let of_hard = |resource: &CompactString| drawn.get(resource).copied().unwrap_or(Quantity::ZERO);
        Ok((hard.keys().map(|resource| (resource.clone(), of_hard(resource))).collect(), noticed))
    }
}

/// The quotas themselves.
static QUOTAS: GroupVersionResource = GroupVersionResource::of("", "v1", "resourcequotas");

#[async_trait]
impl Reconcile for ResourceQuotas {
    fn name(&self) -> &'static str {
        "resourcequota-controller"
    }

    fn watch(self: Arc<Self>, queue: &Arc<Queue>) {
        let to = queue.clone();
        self.quotas.on_change(move |_, after| {
            if let Some(quota) = after {
                to.add(quota.key().clone());
            }
        });
        let again = |queue: &Arc<Queue>| {
            let (quotas, to) = (self.quotas.clone(), queue.clone());
            move |key: &ObjectKey| {
                for quota in quotas.in_namespace(key.namespace()) {
                    to.add_after(quota.key().clone(), PAUSE);
                }
            }
        };
        for (collection, resource) in &self.resources {
            let again = again(queue);
            let changes = CHANGING.contains(&collection.as_str());
            // What is new was charged by admission.
            self.informers.on_any_change(resource, move |key, before, after| {
                if after.is_none() || (changes && before.is_some()) {
                    again(key);
                }
            });
        }
        let again = again(queue);
        self.informers.pods().on_change(move |before, after| {
            let ended = |pod: Option<&Arc<Entry<PodRow>>>| pod.is_some_and(|pod| pod.row.phase.ended());
            if let Some(pod) = after.filter(|_| ended(after) && !ended(before)) {
                again(pod.key());
            }
        });
    }

    async fn synced(&self) {
        self.quotas.synced().await;
    }

    async fn reconcile(&self, key: &ObjectKey) -> Result<Action, LoopError> {
        let Some(live) = self.writer.get(&QUOTAS, key.namespace(), key.name()).await? else {
            return Ok(Action::Done);
        };
        let mut limits = value_of(&live)?;
        let (used, noticed) = self.count(key.namespace(), &limits).await?;
        let hard = quota::amounts(limits.at(&["spec", "hard"]));
        let told = |field: &str| limits.at(&["status", field]).map(|list| quota::amounts(Some(list)));
        // A quota of nothing has a status, too, once it was looked at.
        if told("hard").unwrap_or_default() != hard || told("used").unwrap_or_default() != used {
            limits.set(&["status", "hard"], quota::to_value(&hard));
            limits.set(&["status", "used"], quota::to_value(&used));
            self.writer.update(Target::object(&QUOTAS, key.namespace(), key.name()).sub("status"), limits).await?;
        }
        Ok(Action::After(if noticed { SYNC_PERIOD } else { UNFOLLOWED_PERIOD }))
    }
}
