//! Extenders with a say in who leaves for a pod (`preemptVerb`; upstream's `callExtenders` and `ProcessPreemption`): each is
//! sent the nodes that could be freed and their victims, and what it leaves of them goes on to the next.
//!
//! An extender may drop nodes and name other victims on a node. Upstream displaces whomever it names; here they must be of
//! lower priority than the pod, as the API promises.

use std::collections::BTreeMap;

use futures_util::stream::{self, StreamExt, TryStreamExt};
use gantry_machinery::resource::gvr;
use gantry_machinery::resource_api::{Collection, ListOptions, Target};
use gantry_machinery::selector::FieldSelector;
use gantry_scheduler_core::plan::{PodId, Proposal};
use gantry_scheduler_core::rows::PodRow;
use serde_json::value::RawValue;

use super::protocol::{MetaPod, PreemptionArgs, PreemptionResult, Victims};
use super::{ExtenderConfig, Extenders, Failure, call, raw};

/// Victims being read at a time.
const READS_MAX: usize = 16;

impl Extenders {
    /// What the extenders leave of the nodes that could be freed.
    pub(super) async fn choose_victims(
        &self,
        interests: u32,
        pod: &[u8],
        mut proposals: Vec<Proposal>,
    ) -> Result<Vec<Proposal>, Failure> {
        for extender in self.interested(interests).filter(|extender| !extender.preempt_verb.is_empty()) {
            match self.preempt(extender, pod, &proposals).await {
                Ok(left) => proposals = left,
                Err(Failure(error)) if extender.ignorable => {
                    tracing::warn!(extender = extender.url_prefix, error, "skipping an extender that may be ignored");
                    continue;
                }
                Err(failure) => return Err(failure),
            }
            if extender.ignorable {
                proposals.retain(|proposal| !proposal.victims.is_empty());
            } else if let Some(proposal) = proposals.iter().find(|proposal| proposal.victims.is_empty()) {
                return Err(Failure(format!("expected at least one victim pod on node {:?}", proposal.node)));
            }
            if proposals.is_empty() {
                break;
            }
        }
        Ok(proposals)
    }

    /// What one extender leaves; nodes that it names no victims for are among them.
    async fn preempt(
        &self,
        extender: &ExtenderConfig,
        pod: &[u8],
        proposals: &[Proposal],
    ) -> Result<Vec<Proposal>, Failure> {
        let (mut whole, mut meta) = (None, None);
        if extender.node_cache_capable {
            let uids = |proposal: &Proposal| {
                let pods = proposal.victims.iter().map(|victim| MetaPod { uid: victim.uid.to_string() }).collect();
                (proposal.node.to_string(), Victims { pods, violations: proposal.violations })
            };
            meta = Some(proposals.iter().map(uids).collect());
        } else {
            let victims = self.whole_victims(proposals).await?;
            if victims.is_empty() {
                return Ok(Vec::new());
            }
            whole = Some(victims);
        }
        let args = PreemptionArgs { pod: raw(pod)?, node_name_to_victims: whole, node_name_to_meta_victims: meta };
        let answer: PreemptionResult = call::post(extender, &extender.preempt_verb, &args).await.map_err(Failure)?;
        self.left(extender, pod, proposals, answer.by_node()).await
    }

    /// The victims as the API has them. A node that one of them has left meanwhile is left out: it is no longer what it was
    /// when it was proposed.
    async fn whole_victims(&self, proposals: &[Proposal]) -> Result<BTreeMap<String, Victims<Box<RawValue>>>, Failure> {
        let victims = proposals.iter().flat_map(|proposal| &proposal.victims);
        let reads: Vec<_> = victims.map(|victim| self.whole(victim)).collect();
        let read: Vec<Option<Box<RawValue>>> = stream::iter(reads).buffered(READS_MAX).try_collect().await?;
        let mut read = read.into_iter();
        let mut whole = BTreeMap::new();
        for Proposal { node, victims, violations } in proposals {
            let pods: Vec<_> = read.by_ref().take(victims.len()).collect();
            if let Some(pods) = pods.into_iter().collect() {
                whole.insert(node.to_string(), Victims { pods, violations: *violations });
            }
        }
        Ok(whole)
    }

    /// A pod as the API has it; `None` when it is gone.
    async fn whole(&self, PodId { namespace, name, uid }: &PodId) -> Result<Option<Box<RawValue>>, Failure> {
        match self.api.get(&Target::object(&gvr::PODS, namespace, name)).await {
            Ok(object) if PodRow::from_json(&object.body).is_ok_and(|row| row.uid == *uid) => {
                raw(&object.body).map(Some)
            }
            Ok(_) => Ok(None),
            Err(status) if status.code == 404 => Ok(None),
            Err(status) => Err(Failure(format!("reading a victim: {}", status.message))),
        }
    }

    /// What an answer leaves of the proposals, in their order.
    async fn left(
        &self,
        extender: &ExtenderConfig,
        pod: &[u8],
        proposals: &[Proposal],
        mut answer: BTreeMap<String, Victims<String>>,
    ) -> Result<Vec<Proposal>, Failure> {
        let url = &extender.url_prefix;
        let mut left = Vec::with_capacity(answer.len());
        for proposal in proposals {
            let Some(Victims { pods, violations }) = answer.remove(&*proposal.node) else { continue };
            let mut victims = Vec::with_capacity(pods.len());
            for uid in pods {
                let known = proposal.victims.iter().find(|victim| *victim.uid == *uid).cloned();
                let victim = match known {
                    Some(victim) => Some(victim),
                    None => self.other_victim(pod, &proposal.node, &uid).await?,
                };
                victims.push(victim.ok_or_else(|| {
                    Failure(format!(
                        "extender: {url} claims to preempt pod (UID: {uid}) on node: {}, but the pod is not found on that \
                         node",
                        proposal.node
                    ))
                })?);
            }
            left.push(Proposal { node: proposal.node.clone(), victims, violations });
        }
        match answer.into_keys().next() {
            Some(node) => {
                Err(Failure(format!("extender: {url} claims to preempt on node: {node}, which was not asked about")))
            }
            None => Ok(left),
        }
    }

    /// A pod that the core did not propose: one that is on the node, and less important than the pod that it is to leave
    /// for.
    async fn other_victim(&self, pod: &[u8], node: &str, uid: &str) -> Result<Option<PodId>, Failure> {
        let priority = PodRow::from_json(pod).map(|row| row.priority).unwrap_or_default();
        let fields = FieldSelector::parse(&format!("spec.nodeName={node}")).unwrap_or_default();
        let options = ListOptions { fields, ..ListOptions::default() };
        let listed = self.api.list(&Collection { resource: &gvr::PODS, namespace: "" }, &options).await;
        let pods = listed.map_err(|status| Failure(format!("reading the pods: {}", status.message)))?;
        let rows = pods.items.iter().filter_map(|object| PodRow::from_json(&object.body).ok());
        let mut fitting = rows.filter(|row| *row.node == *node && !row.terminal && row.priority < priority);
        let found = fitting.find(|row| *row.uid == *uid);
        Ok(found.map(|PodRow { namespace, name, uid, .. }| PodId { namespace, name, uid }))
    }
}
