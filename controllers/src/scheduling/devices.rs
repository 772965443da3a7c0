//! What must be written about claims of devices before a pod may be bound (upstream's PreBind of DynamicResources): the
//! allocation that the core decided, the pod among those it is reserved for; then, where a driver asks for it, the wait
//! until its conditions say that the devices are there (KEP-5007).
//!
//! ```text
//! (made, if it is for extended resources) claim ─→ finalizer ─→ allocation and reservation, one write ─→ conditions, if any ─→ bind
//!                                    └── elsewhere allocated, failed, too late ──→ told, back to the queue
//! ```
//! Killed between the two writes, a claim has a finalizer too many until it is allocated or deleted; killed after them, it
//! is allocated and reserved, and the next decision on the pod respects that. A pod that is not bound after all gives its
//! reservation back ([`unreserve`]); the allocation stays for its next attempt.

mod extended;

use std::sync::Arc;
use std::time::Duration;

use gantry_machinery::clock::Clock;
use gantry_machinery::resource::gvr;
use gantry_machinery::resource_api::{ResourceApi, Target};
use gantry_machinery::typed::{to_value, value_of};
use gantry_machinery::value::Value;
use gantry_scheduler_core::devices::grant::{ClaimWork, Grant, Granted, GrantedConfig};
use gantry_scheduler_core::plan::{Placement, PodId};
use gantry_scheduler_core::rows::devices::DeviceToleration;
use gantry_scheduler_core::rows::storage::Key;
use gantry_scheduler_core::rows::{NodeTerm, Operator, Requirement};
use serde_json::json;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::Instant;

use super::metrics::Metrics;
use super::volumes::{NotReady, Notices};
use crate::runtime::write::{LoopError, Writer, is_conflict, is_not_found};

/// Claims that are allocated carry it: only who deallocates them may let them go.
pub(crate) const FINALIZER: &str = "resource.kubernetes.io/delete-protection";
/// How soon a claim is looked at again without news.
const SECOND_LOOK: Duration = Duration::from_secs(10);
/// How often a write is tried again because somebody else was faster.
const TRIES_MAX: u32 = 5;
const MANAGER: &str = "kube-scheduler";

/// A claim to be given back.
pub(super) struct Release {
    pub(super) key: Key,
    pub(super) uid: Box<str>,
    /// For whose sake: nobody else may have it by then.
    pub(super) pod: PodId,
}

/// Writes claims.
pub(super) struct Scribe<'a> {
    writer: Writer,
    /// Says when a claim was allocated.
    clock: Clock,
    metrics: &'a Metrics,
}

impl<'a> Scribe<'a> {
    pub(super) fn new(api: &Arc<dyn ResourceApi>, clock: Clock, metrics: &'a Metrics) -> Self {
        Self { writer: Writer::new(api.clone(), MANAGER), clock, metrics }
    }
}

/// Makes a pod's claims ready; waits so long for the conditions of their devices.
///
/// # Errors
/// When they cannot be: the pod must be decided on again.
pub(super) async fn prepare(
    scribe: &Scribe<'_>,
    notices: &Notices,
    patience: Duration,
    placement: &Placement,
    claims: &[ClaimWork],
) -> Result<(), NotReady> {
    let Scribe { writer, clock, metrics } = scribe;
    let pod = &placement.pod;
    let mut conditional = Vec::new();
    for work in claims {
        let (claim, has_conditions) = match &work.new {
            None => (work.clone(), reserve(writer, *clock, pod, work).await?),
            Some(new) => {
                let claim = extended::make(writer, metrics, pod, work, new).await?;
                let done = async {
                    let has_conditions = reserve(writer, *clock, pod, &claim).await?;
                    extended::tell(writer, pod, &claim.key, new).await.map(|()| has_conditions)
                };
                match done.await {
                    Ok(has_conditions) => (claim, has_conditions),
                    Err(why) => {
                        extended::discard(writer, &claim.key, &claim.uid, pod).await;
                        return Err(why);
                    }
                }
            }
        };
        if has_conditions {
            conditional.push(claim);
        }
    }
    let deadline = Instant::now() + patience;
    for claim in &conditional {
        let notify = notices.of(&claim.key);
        loop {
            let news = notify.notified();
            tokio::pin!(news);
            // Before looking: what happens from now on is news.
            news.as_mut().enable();
            if is_ready(writer, claim).await? {
                break;
            }
            if Instant::now() >= deadline {
                let release = Release { key: claim.key.clone(), uid: claim.uid.clone(), pod: PodId::clone(pod) };
                give_back(writer, &release).await;
                return Err(NotReady::Changed("device binding timeout".to_owned()));
            }
            let again = deadline.min(Instant::now() + SECOND_LOOK);
            // Either way the claim is looked at again.
            let _ = tokio::time::timeout_at(again, news).await;
        }
    }
    Ok(())
}

/// A claim as it is, if it is still the one that is meant.
async fn read(writer: &Writer, key: &Key, uid: &str) -> Result<Option<Value>, NotReady> {
    let object = writer.get(&gvr::RESOURCE_CLAIMS, &key.namespace, &key.name).await?;
    let Some(object) = object else { return Ok(None) };
    let claim = value_of(&object).map_err(LoopError::from)?;
    Ok(Some(claim).filter(|claim| claim.str_at(&["metadata", "uid"]) == Some(uid)))
}

/// Writes a claim's allocation, if it has none, and reserves it for the pod. Says whether a driver has conditions.
async fn reserve(writer: &Writer, clock: Clock, pod: &PodId, work: &ClaimWork) -> Result<bool, NotReady> {
    let Key { namespace, name } = &work.key;
    let changed = |what: &str| NotReady::Changed(format!("claim {namespace}/{name} {what}"));
    for _ in 0..TRIES_MAX {
        let Some(mut claim) = read(writer, &work.key, &work.uid).await? else {
            return Err(changed("got deleted in the meantime"));
        };
        if claim.str_at(&["metadata", "deletionTimestamp"]).is_some() {
            return Err(changed("got deleted in the meantime"));
        }
        let is_allocated = claim.at(&["status", "allocation"]).is_some_and(|allocation| *allocation != Value::Null);
        match (&work.grant, is_allocated) {
            (Some(_), true) => return Err(changed("got allocated elsewhere in the meantime")),
            (None, false) => return Err(changed("got deallocated in the meantime")),
            (Some(_), false) | (None, true) => {}
        }
        let consumers = claim.array_at(&["status", "reservedFor"]);
        if consumers.iter().any(|consumer| consumer.str_at(&["uid"]) == Some(&pod.uid)) {
            return Ok(has_conditions(&claim));
        }
        let target = || Target::object(&gvr::RESOURCE_CLAIMS, namespace, name);
        if let Some(grant) = &work.grant {
            let finalizers = claim.array_at(&["metadata", "finalizers"]);
            if !finalizers.iter().any(|finalizer| finalizer.as_str() == Some(FINALIZER)) {
                let mut all = finalizers.to_vec();
                all.push(Value::from(FINALIZER));
                claim.set(&["metadata", "finalizers"], Value::Array(all));
                match writer.update(target(), claim).await {
                    Ok(object) => claim = value_of(&object).map_err(LoopError::from)?,
                    Err(status) if is_conflict(&status) => continue,
                    Err(status) => return Err(status.into()),
                }
            }
            claim.set(&["status", "allocation"], allocation(grant)?);
        }
        if claim.at(&["status", "allocation", "allocationTimestamp"]).is_none() {
            let now = clock.now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
            claim.set(&["status", "allocation", "allocationTimestamp"], Value::from(now));
        }
        let mut consumers = claim.array_at(&["status", "reservedFor"]).to_vec();
        let consumer = json!({"resource": "pods", "name": &*pod.name, "uid": &*pod.uid});
        consumers.push(to_value(&consumer).map_err(LoopError::from)?);
        claim.set(&["status", "reservedFor"], Value::Array(consumers));
        let conditional = has_conditions(&claim);
        match writer.update(target().sub("status"), claim).await {
            Ok(_) => return Ok(conditional),
            Err(status) if is_conflict(&status) => {}
            Err(status) => return Err(status.into()),
        }
    }
    Err(changed("keeps changing"))
}

fn results(claim: &Value) -> &[Value] {
    claim.array_at(&["status", "allocation", "devices", "results"])
}

fn has_conditions(claim: &Value) -> bool {
    results(claim).iter().any(|result| !result.array_at(&["bindingConditions"]).is_empty())
}

/// Whether all conditions of a claim's devices hold; an error when one of those for failure does.
async fn is_ready(writer: &Writer, work: &ClaimWork) -> Result<bool, NotReady> {
    let name = &work.key.name;
    let gone = || NotReady::Changed(format!("claim {name} is not allocated any more"));
    let claim = read(writer, &work.key, &work.uid).await?.ok_or_else(gone)?;
    if results(&claim).is_empty() {
        return Err(gone());
    }
    for result in results(&claim) {
        let conditions = result.array_at(&["bindingConditions"]);
        if conditions.is_empty() {
            continue;
        }
        let same = |status: &&Value| {
            ["driver", "pool", "device"].iter().all(|field| status.str_at(&[field]) == result.str_at(&[field]))
        };
        let Some(status) = claim.array_at(&["status", "devices"]).iter().find(same) else { return Ok(false) };
        let holding = |kind: &Value| {
            let all = status.array_at(&["conditions"]).iter();
            let mut all = all.filter(|condition| condition.str_at(&["status"]) == Some("True"));
            all.find(|condition| condition.str_at(&["type"]) == kind.as_str())
        };
        if let Some(failed) = result.array_at(&["bindingFailureConditions"]).iter().find_map(holding) {
            let (reason, message) = (failed.str_at(&["reason"]), failed.str_at(&["message"]));
            return Err(NotReady::Changed(format!(
                "claim {name} binding failed: reason={}, message={:?}",
                reason.unwrap_or_default(),
                message.unwrap_or_default()
            )));
        }
        if !conditions.iter().all(|kind| holding(kind).is_some()) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Takes a pod that was not bound off the claims that were reserved for it. Left at that if it fails: the pod is tried
/// again, or goes, and the claims' own loop sees to it.
pub(super) async fn unreserve(api: &Arc<dyn ResourceApi>, pod: &PodId, claims: &[ClaimWork]) {
    let writer = Writer::new(api.clone(), MANAGER);
    for claim in claims {
        if claim.new.is_some() {
            extended::take_back(&writer, pod).await;
            continue;
        }
        let patch = json!({
            "metadata": {"uid": &*claim.uid},
            "status": {"reservedFor": [{"$patch": "delete", "uid": &*pod.uid}]},
        });
        let target = Target::object(&gvr::RESOURCE_CLAIMS, &claim.key.namespace, &claim.key.name).sub("status");
        match writer.strategic(target, &patch).await {
            Ok(_) => {}
            Err(status) if is_not_found(&status) || is_conflict(&status) => {}
            Err(error) => tracing::warn!(claim = %claim.key.name, %error, "a reservation is not given back"),
        }
    }
}

/// Gives claims back that keep pods from where they could run (upstream's PostFilter), for ever.
pub(super) async fn release(api: Arc<dyn ResourceApi>, mut releases: UnboundedReceiver<Release>) {
    let writer = Writer::new(api, MANAGER);
    while let Some(release) = releases.recv().await {
        give_back(&writer, &release).await;
    }
    std::future::pending().await
}

async fn give_back(writer: &Writer, release: &Release) {
    let Key { namespace, name } = &release.key;
    for _ in 0..TRIES_MAX {
        let Ok(Some(mut claim)) = read(writer, &release.key, &release.uid).await else { return };
        let others = claim.array_at(&["status", "reservedFor"]).iter();
        let mut others = others.filter(|consumer| consumer.str_at(&["uid"]) != Some(&release.pod.uid));
        if others.next().is_some() {
            return;
        }
        if extended::is_made_for(&claim, &release.pod) {
            return extended::discard(writer, &release.key, &release.uid, &release.pod).await;
        }
        for field in ["allocation", "reservedFor", "devices"] {
            claim.remove(&["status", field]);
        }
        let target = Target::object(&gvr::RESOURCE_CLAIMS, namespace, name).sub("status");
        match writer.update(target, claim).await {
            Err(status) if is_conflict(&status) => {}
            Err(error) => return tracing::warn!(claim = %name, %namespace, %error, "a claim is not given back"),
            Ok(_) => return,
        }
    }
}

/// `AllocationResult`.
fn allocation(grant: &Grant) -> Result<Value, LoopError> {
    let mut allocation = json!({"devices": {"results": grant.results.iter().map(result).collect::<Vec<_>>()}});
    if !grant.config.is_empty() {
        allocation["devices"]["config"] = grant.config.iter().map(config).collect();
    }
    if let Some(term) = &grant.term {
        allocation["nodeSelector"] = json!({"nodeSelectorTerms": [node_term(term)]});
    }
    Ok(to_value(&allocation)?)
}

fn result(granted: &Granted) -> serde_json::Value {
    let mut result = json!({
        "request": &*granted.request,
        "driver": &*granted.device.driver,
        "pool": &*granted.device.pool,
        "device": &*granted.device.name,
    });
    if granted.admin {
        result["adminAccess"] = true.into();
    }
    if !granted.tolerations.is_empty() {
        result["tolerations"] = granted.tolerations.iter().map(toleration).collect();
    }
    for (field, conditions) in [("bindingConditions", &granted.binding), ("bindingFailureConditions", &granted.failure)]
    {
        if !conditions.is_empty() {
            result[field] = conditions.iter().map(|condition| json!(&**condition)).collect();
        }
    }
    if let Some((id, consumed)) = &granted.share {
        result["shareID"] = json!(&**id);
        let consumed = consumed.iter().map(|(name, amount)| (name.to_string(), json!(amount.to_text().as_str())));
        let consumed: serde_json::Map<String, serde_json::Value> = consumed.collect();
        if !consumed.is_empty() {
            result["consumedCapacity"] = consumed.into();
        }
    }
    result
}

fn toleration(toleration: &DeviceToleration) -> serde_json::Value {
    let mut json = json!({"operator": if toleration.exists { "Exists" } else { "Equal" }});
    for (field, text) in [("key", &toleration.key), ("value", &toleration.value), ("effect", &toleration.effect)] {
        if !text.is_empty() {
            json[field] = json!(&**text);
        }
    }
    if let Some(seconds) = toleration.seconds {
        json["tolerationSeconds"] = seconds.into();
    }
    json
}

fn config(config: &GrantedConfig) -> serde_json::Value {
    let source = if config.from_class { "FromClass" } else { "FromClaim" };
    let opaque: serde_json::Value = serde_json::from_str(&config.opaque).unwrap_or_default();
    let mut json = json!({"source": source, "opaque": opaque});
    if !config.requests.is_empty() {
        json["requests"] = config.requests.iter().map(|request| json!(&**request)).collect();
    }
    json
}

fn node_term(term: &NodeTerm) -> serde_json::Value {
    let requirement = |requirement: &Requirement| {
        let operator = match requirement.operator {
            Operator::In => "In",
            Operator::NotIn => "NotIn",
            Operator::Exists => "Exists",
            Operator::DoesNotExist => "DoesNotExist",
            Operator::Gt => "Gt",
            Operator::Lt => "Lt",
        };
        let mut json = json!({"key": &*requirement.key, "operator": operator});
        if !requirement.values.is_empty() {
            json["values"] = requirement.values.iter().map(|value| json!(&**value)).collect();
        }
        json
    };
    let mut json = json!({});
    for (field, requirements) in [("matchExpressions", &term.labels), ("matchFields", &term.fields)] {
        if !requirements.is_empty() {
            json[field] = requirements.iter().map(requirement).collect();
        }
    }
    json
}

#[cfg(test)]
mod tests {
    use super::*;
    use gantry_scheduler_core::rows::devices::DeviceId;

    #[test]
    fn allocations_have_upstreams_shape() {
        let device = DeviceId { driver: "d.e".into(), pool: "p".into(), name: "x".into() };
        let name = Requirement { key: "metadata.name".into(), operator: Operator::In, values: vec!["n".into()] };
        let grant = Grant {
            results: vec![Granted { request: "r/s".into(), device, admin: true, ..Granted::default() }],
            config: vec![GrantedConfig {
                from_class: true,
                requests: vec!["r/s".into()],
                opaque: r#"{"driver":"d.e","parameters":{"a":1}}"#.into(),
            }],
            term: Some(NodeTerm { labels: Vec::new(), fields: vec![name] }),
        };
        let expected = json!({
            "devices": {
                "results": [{"request": "r/s", "driver": "d.e", "pool": "p", "device": "x", "adminAccess": true}],
                "config": [{
                    "source": "FromClass", "requests": ["r/s"], "opaque": {"driver": "d.e", "parameters": {"a": 1}},
                }],
            },
            "nodeSelector": {"nodeSelectorTerms": [
                {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n"]}]},
            ]},
        });
        assert_eq!(allocation(&grant).expect("plain JSON"), to_value(&expected).expect("plain JSON"));
    }
}
