//! Makes the ResourceClaims that pods ask for by template, takes ended pods off the claims they had, and frees the devices
//! of claims that nobody has (upstream's resourceclaim-controller; Kubernetes, "Dynamic Resource Allocation").
//!
//! ```text
//! pod with templates ─→ claim (owned by the pod) ─→ its name in pod.status.resourceClaimStatuses
//! pod ended or gone  ─→ off status.reservedFor ─→ nobody left: no allocation, no finalizer; made for the pod: deleted
//! ```
//! A claim made before a crash is found again by its owner and annotation; the pod's status is then all that is missing.

mod figures;

use std::sync::Arc;

use async_trait::async_trait;
use compact_str::CompactString;
use gantry_machinery::recorder::{Recorder, Subject};
use gantry_machinery::resource::gvr;
use gantry_machinery::resource_api::{DeleteOptions, Target};
use gantry_machinery::typed::value_of;
use gantry_machinery::value;
use gantry_machinery::value::Value;
use gantry_store_cache::key::ObjectKey;
use serde_json::json;

use crate::runtime::informer::{Entry, Informer};
use crate::runtime::informers::{BY_CONTROLLER, Informers};
use crate::runtime::reconcile::{Action, Queue, Reconcile};
use crate::runtime::rows::{HasMeta, MetaRow, PodRow};
use crate::runtime::write::{LoopError, Writer, is_namespace_terminating, is_not_found};
use crate::scheduling::devices::FINALIZER;
use figures::{Creations, has_admin_access};

/// Which of the pod's claims a claim was made for.
const POD_CLAIM: &str = "resource.kubernetes.io/pod-claim-name";
/// The longest start of a generated name, a dash included: five random characters follow.
const BASE_MAX: usize = 57;

/// The loop; keys are pods and claims.
pub struct ResourceClaims {
    pods: Arc<Informer<PodRow>>,
    claims: Arc<Informer<MetaRow>>,
    templates: Arc<Informer<MetaRow>>,
    writer: Writer,
    recorder: Recorder,
    creations: Creations,
}

impl ResourceClaims {
    /// Over these informers.
    #[must_use]
    pub fn new(informers: &Informers) -> Arc<Self> {
        Arc::new(Self {
            pods: informers.pods(),
            claims: informers.of(&gvr::RESOURCE_CLAIMS),
            templates: informers.of(&gvr::RESOURCE_CLAIM_TEMPLATES),
            writer: Writer::new(informers.api().clone(), "resource-claim-controller"),
            recorder: informers.recorder("resource_claim"),
            creations: Creations::default(),
        })
    }

    /// Makes the claims of a pod.
    async fn make_claims(&self, pod: &Entry<PodRow>) -> Result<(), LoopError> {
        let object = value_of(&pod.object)?;
        let statuses = object.array_at(&["status", "resourceClaimStatuses"]);
        let mut made: Vec<serde_json::Value> = Vec::new();
        for used in object.array_at(&["spec", "resourceClaims"]) {
            let name = used.str_at(&["name"]).unwrap_or_default();
            let Some(template) = used.str_at(&["resourceClaimTemplateName"]) else { continue };
            if let Some(status) = statuses.iter().find(|status| status.str_at(&["name"]) == Some(name)) {
                // Without a claim's name: none was needed. With one that is gone: it is made again.
                let Some(claim) = status.str_at(&["resourceClaimName"]) else { continue };
                let known = self.claims.get(pod.namespace(), claim);
                if known.is_some_and(|claim| is_for(&claim, pod)) {
                    continue;
                }
            }
            let claim = match self.find(pod, name)? {
                Some(claim) => claim,
                None => match self.make(pod, name, template).await {
                    Ok(claim) => claim,
                    Err(LoopError::Api(status)) if is_namespace_terminating(&status) => return Ok(()),
                    Err(error) => {
                        let message = format!("PodResourceClaim {name}: {error}");
                        self.recorder.warning(subject(pod), "FailedResourceClaimCreation", message);
                        return Err(error);
                    }
                },
            };
            made.push(json!({"name": name, "resourceClaimName": claim}));
        }
        if made.is_empty() {
            return Ok(());
        }
        let patch = json!({
            "metadata": {"uid": pod.row.meta.uid.as_str()},
            "status": {"resourceClaimStatuses": made},
        });
        let target = Target::object(&gvr::PODS, pod.namespace(), pod.name()).sub("status");
        match self.writer.strategic(target, &patch).await {
            Ok(_) => Ok(()),
            Err(status) if is_not_found(&status) => Ok(()),
            Err(status) => Err(status.into()),
        }
    }

    /// A claim that was made for this, and that the pod's status does not name yet.
    fn find(&self, pod: &Entry<PodRow>, name: &str) -> Result<Option<CompactString>, LoopError> {
        for claim in self.claims.indexed(BY_CONTROLLER, &pod.row.meta.uid) {
            let object = value_of(&claim.object)?;
            if object.str_at(&["metadata", "annotations", POD_CLAIM]) == Some(name) {
                return Ok(Some(claim.name().into()));
            }
        }
        Ok(None)
    }

    async fn make(&self, pod: &Entry<PodRow>, name: &str, template: &str) -> Result<CompactString, LoopError> {
        let Some(found) = self.templates.get(pod.namespace(), template) else {
            let status = gantry_machinery::status::Status::not_found(&gvr::RESOURCE_CLAIM_TEMPLATES, template);
            return Err(status.into());
        };
        let template = value_of(&found.object)?;
        let mut claim = value!({
            "apiVersion": "resource.k8s.io/v1",
            "kind": "ResourceClaim",
            "metadata": {
                "generateName": (base(pod.name(), name)),
                "namespace": (pod.namespace()),
                "ownerReferences": [{
                    "apiVersion": "v1",
                    "kind": "Pod",
                    "name": (pod.name()),
                    "uid": (&*pod.row.meta.uid),
                    "controller": true,
                    "blockOwnerDeletion": true,
                }],
            },
        });
        for field in ["labels", "annotations"] {
            if let Some(given) = template.at(&["spec", "metadata", field]) {
                claim.set(&["metadata", field], given.clone());
            }
        }
        claim.set(&["metadata", "annotations", POD_CLAIM], Value::from(name));
        claim.set(&["spec"], template.at(&["spec", "spec"]).cloned().unwrap_or(Value::Null));
        let is_admin = has_admin_access(&claim);
        let made = self.writer.create(&gvr::RESOURCE_CLAIMS, pod.namespace(), claim).await;
        self.creations.count(made.is_ok(), is_admin);
        let made = made?;
        Ok(made.key.name().into())
    }

    /// Takes pods that are done off a claim, and frees it when nobody is left.
    async fn tidy(&self, known: &Entry<MetaRow>) -> Result<(), LoopError> {
        let mut claim = value_of(&known.object)?;
        let (namespace, name) = (known.namespace(), known.name());
        let consumers = claim.array_at(&["status", "reservedFor"]).to_vec();
        let mut staying = Vec::with_capacity(consumers.len());
        for consumer in &consumers {
            if self.stays(namespace, consumer).await? {
                staying.push(consumer.clone());
            }
        }
        let is_left = staying.len() < consumers.len();
        let is_protected = has_finalizer(&claim);
        let is_unused = staying.is_empty();
        if is_left || is_unused && is_protected && known.row.meta().deleting() {
            let is_allocated = claim.at(&["status", "allocation"]).is_some_and(|allocation| *allocation != Value::Null);
            if is_left || is_allocated {
                claim.set(&["status", "reservedFor"], Value::Array(staying));
                if is_unused {
                    claim.remove(&["status", "reservedFor"]);
                    if is_protected {
                        claim.remove(&["status", "allocation"]);
                    }
                }
                let target = Target::object(&gvr::RESOURCE_CLAIMS, namespace, name).sub("status");
                claim = value_of(&*self.writer.update(target, claim).await?)?;
            }
            let is_allocated = claim.at(&["status", "allocation"]).is_some_and(|allocation| *allocation != Value::Null);
            if has_finalizer(&claim) && !is_allocated {
                let finalizers = claim.array_at(&["metadata", "finalizers"]).iter();
                let others = finalizers.filter(|finalizer| finalizer.as_str() != Some(FINALIZER));
                let others = others.cloned().collect();
                claim.set(&["metadata", "finalizers"], Value::Array(others));
                let target = Target::object(&gvr::RESOURCE_CLAIMS, namespace, name);
                match self.writer.update(target, claim).await {
                    Ok(_) => {}
                    Err(status) if is_not_found(&status) => return Ok(()),
                    Err(status) => return Err(status.into()),
                }
            }
        }
        if is_unused && !known.row.meta().deleting() {
            self.delete_if_done(known).await?;
        }
        Ok(())
    }

    /// Whether somebody still needs a claim. A pod that is not known is asked for: it may be too new.
    async fn stays(&self, namespace: &str, consumer: &Value) -> Result<bool, LoopError> {
        let is_pod =
            consumer.str_at(&["resource"]) == Some("pods") && consumer.str_at(&["apiGroup"]).is_none_or(str::is_empty);
        if !is_pod {
            // Not ours to judge.
            return Ok(true);
        }
        let (name, uid) = (consumer.str_at(&["name"]).unwrap_or_default(), consumer.str_at(&["uid"]));
        if let Some(pod) = self.pods.get(namespace, name) {
            return Ok(Some(&*pod.row.meta.uid) == uid && !is_done(&pod.row));
        }
        let live = self.writer.get(&gvr::PODS, namespace, name).await?;
        let live = live.map(|object| value_of(&object)).transpose()?;
        Ok(live.is_some_and(|pod| pod.str_at(&["metadata", "uid"]) == uid))
    }

    /// Deletes a claim that was made for a pod which will not run any more. When the pod is gone, the garbage collector
    /// does it.
    async fn delete_if_done(&self, claim: &Entry<MetaRow>) -> Result<(), LoopError> {
        let Some(owner) =
            claim.row.meta().controller().filter(|owner| owner.kind == "Pod" && owner.api_version == "v1")
        else {
            return Ok(());
        };
        let Some(pod) = self.pods.get(claim.namespace(), &owner.name) else { return Ok(()) };
        if pod.row.meta.uid == owner.uid && !is_done(&pod.row) {
            return Ok(());
        }
        let options = DeleteOptions { uid: Some(claim.row.meta().uid.to_string()), ..DeleteOptions::default() };
        self.writer.delete(&gvr::RESOURCE_CLAIMS, claim.namespace(), claim.name(), options).await?;
        Ok(())
    }
}

/// Whether none of a pod's containers runs, nor ever will.
fn is_done(pod: &PodRow) -> bool {
    pod.phase.ended() || pod.meta.deleting() && pod.node.is_empty()
}

fn is_for(claim: &Entry<MetaRow>, pod: &Entry<PodRow>) -> bool {
    claim.row.meta().controller().is_some_and(|owner| owner.uid == pod.row.meta.uid)
}

fn has_finalizer(claim: &Value) -> bool {
    claim.array_at(&["metadata", "finalizers"]).iter().any(|finalizer| finalizer.as_str() == Some(FINALIZER))
}

/// How the name of a claim starts: with the pod's and its own name for it, both shortened where they are too long.
fn base(pod: &str, claim: &str) -> String {
    let whole = format!("{pod}-{claim}-");
    if whole.len() <= BASE_MAX {
        return whole;
    }
    let share = |name: &str| name[..name.len() * BASE_MAX / whole.len()].to_owned();
    format!("{}-{}", share(pod), share(claim))
}

/// Whether the bytes of a pod speak of claims: cheap, and rarely wrong.
fn may_have_claims(body: &[u8]) -> bool {
    const FIELD: &[u8] = b"\"resourceClaims\"";
    body.windows(FIELD.len()).any(|window| window == FIELD)
}

/// The names of the claims that a pod has.
fn names(pod: &Entry<PodRow>) -> Vec<String> {
    let Ok(object) = value_of(&pod.object) else { return Vec::new() };
    let lists = [&["spec", "resourceClaims"][..], &["status", "resourceClaimStatuses"]];
    let all = lists.iter().flat_map(|list| object.array_at(list));
    all.filter_map(|used| used.str_at(&["resourceClaimName"]).map(str::to_owned)).collect()
}

fn subject(pod: &Entry<PodRow>) -> Subject {
    Subject {
        api_version: "v1".into(),
        kind: "Pod".into(),
        namespace: pod.namespace().into(),
        name: pod.name().into(),
        uid: pod.row.meta.uid.clone(),
        field_path: CompactString::default(),
    }
}

#[async_trait]
impl Reconcile for ResourceClaims {
    fn name(&self) -> &'static str {
        "resourceclaim-controller"
    }

    fn watch(self: Arc<Self>, queue: &Arc<Queue>) {
        let (me, to) = (self.clone(), queue.clone());
        self.pods.on_change(move |before, after| {
            let Some(pod) = after.or(before).filter(|pod| may_have_claims(&pod.object.body)) else { return };
            if after.is_some_and(|pod| !is_done(&pod.row)) {
                if pod.row.node.is_empty() {
                    to.add(pod.key().clone());
                }
            } else {
                names(pod).iter().for_each(|claim| to.add(me.claims.key(pod.namespace(), claim)));
            }
        });
        let (me, to) = (self.clone(), queue.clone());
        self.claims.on_change(move |before, after| match (before, after) {
            (_, Some(claim)) => to.add(claim.key().clone()),
            (Some(claim), None) => {
                if let Some(owner) = claim.row.meta().controller().filter(|owner| owner.kind == "Pod") {
                    to.add(me.pods.key(claim.namespace(), &owner.name));
                }
            }
            (None, None) => {}
        });
        // Pods that wait for a template have failed and are tried again by themselves.
        self.templates.on_change(|_, _| {});
    }

    async fn synced(&self) {
        self.pods.synced().await;
        self.claims.synced().await;
        self.templates.synced().await;
    }

    async fn reconcile(&self, key: &ObjectKey) -> Result<Action, LoopError> {
        if let Some(pod) = self.pods.get_key(key) {
            if !is_done(&pod.row) && !pod.row.meta.deleting() {
                self.make_claims(&pod).await?;
            }
        } else if let Some(claim) = self.claims.get_key(key) {
            self.tidy(&claim).await?;
        }
        Ok(Action::Done)
    }

    fn write_figures(&self, out: &mut String) {
        self.creations.write(out);
        let claims = self.claims.all();
        figures::write_standing(out, claims.iter().filter_map(|claim| value_of(&claim.object).ok()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_names_keep_a_part_of_both() {
        assert_eq!(base("web", "gpu"), "web-gpu-");
        let long = base(&"p".repeat(100), &"c".repeat(50));
        assert!(long.len() <= BASE_MAX && long.starts_with("ppp") && long.ends_with("ccc"), "{long}");
    }
}
