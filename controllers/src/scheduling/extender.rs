//! Extenders: processes that are asked about nodes besides the plugins (upstream's `extender/v1` JSON protocol).
//!
//! Off the fast path: the core hands out the pods that an extender is interested in, with the nodes that could take
//! them, or those that could be freed for them; here they are asked, one extender after the other, and the core hears the
//! [`Advice`]. Many pods are asked about at once; what they are given is checked again before it counts.

mod call;
mod preempt;
mod protocol;
#[cfg(test)]
pub(super) mod tests;

use std::sync::Arc;
use std::time::Duration;

use gantry_machinery::resource::gvr;
use gantry_machinery::resource_api::{Collection, ListOptions, ResourceApi, Target};
use gantry_scheduler_core::cycle::Event;
use gantry_scheduler_core::cycle::consult::{Advice, Interest};
use gantry_scheduler_core::plan::{Consultation, Placement, PodId, Question};
use serde_json::value::RawValue;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio_rustls::rustls::ClientConfig;

use super::inbox::Inbox;
use super::report::Reports;
use protocol::{Args, BindingArgs, BindingResult, FilterResult, HostPriority};

/// Extenders give 0 to 10, plugins 0 to 100.
const SCORE_SCALE: i64 = 10;
/// Extenders that the core can tell apart.
pub(super) const EXTENDERS_MAX: usize = 32;

/// An extender as it is configured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExtenderConfig {
    /// `http://host:port/path` or `https://...`, without a slash at the end.
    pub url_prefix: String,
    /// Appended to the prefix when nodes are to be filtered; empty when it does not filter.
    pub filter_verb: String,
    /// Likewise for scores.
    pub prioritize_verb: String,
    /// Likewise for binding.
    pub bind_verb: String,
    /// Likewise for who is displaced.
    pub preempt_verb: String,
    /// What its scores count.
    pub weight: i64,
    /// How long one call may take.
    pub timeout: Duration,
    /// Whether it knows the nodes and is sent their names only.
    pub node_cache_capable: bool,
    /// If any, only pods that ask for one of these are its business.
    pub managed_resources: Vec<ManagedResource>,
    /// Whether pods are scheduled without it when it cannot be reached.
    pub ignorable: bool,
    /// How it is called over HTTPS; `None` for plain HTTP.
    pub tls: Option<ExtenderTls>,
}

/// `enableHTTPS` and `tlsConfig`.
#[derive(Clone)]
pub struct ExtenderTls {
    /// Whom it is taken for, and who we are.
    pub client: Arc<ClientConfig>,
    /// The name in its certificate, where that is not the URL's.
    pub server_name: String,
}

impl std::fmt::Debug for ExtenderTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ExtenderTls").field("server_name", &self.server_name).finish_non_exhaustive()
    }
}

impl PartialEq for ExtenderTls {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.client, &other.client) && self.server_name == other.server_name
    }
}

impl Eq for ExtenderTls {}

/// A resource that an extender manages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ManagedResource {
    /// The extended resource's name.
    pub name: String,
    /// Whether NodeResourcesFit leaves it to the extender.
    pub ignored_by_scheduler: bool,
}

impl ExtenderConfig {
    /// Which pods are its business.
    #[must_use]
    pub fn interest(&self) -> Interest {
        if self.managed_resources.is_empty() {
            return Interest::Everyone;
        }
        Interest::Resources(self.managed_resources.iter().map(|resource| resource.name.as_str().into()).collect())
    }
}

/// All extenders, ready to be asked.
pub(super) struct Extenders {
    api: Arc<dyn ResourceApi>,
    all: Arc<[ExtenderConfig]>,
}

/// Why a pod could not be asked about: upstream's SchedulerError.
struct Failure(String);

impl Extenders {
    pub(super) fn new(api: Arc<dyn ResourceApi>, all: Arc<[ExtenderConfig]>) -> Self {
        Self { api, all }
    }

    /// Asks about pods until the sender is gone. The core bounds how many are under way.
    pub(super) async fn run(
        self: Arc<Self>,
        mut questions: UnboundedReceiver<Consultation>,
        inbox: Arc<Inbox>,
        reports: Reports,
    ) {
        while let Some(question) = questions.recv().await {
            let (extenders, inbox, reports) = (self.clone(), inbox.clone(), reports.clone());
            tokio::spawn(async move {
                let Consultation { pod, ticket, profile, .. } = question.clone();
                let advice = extenders.ask(question).await.unwrap_or_else(|Failure(why)| {
                    reports.failed(&pod, profile, &why);
                    Advice::Failed
                });
                inbox.settle(0, vec![Event::Advised(pod.uid, ticket, advice)]);
            });
        }
    }

    fn interested(&self, interests: u32) -> impl Iterator<Item = &ExtenderConfig> {
        self.all.iter().enumerate().filter(move |(at, _)| interests & (1 << at) != 0).map(|(_, extender)| extender)
    }

    /// What the extenders say about a pod.
    async fn ask(&self, Consultation { pod, interests, question, .. }: Consultation) -> Result<Advice, Failure> {
        let PodId { namespace, name, .. } = &pod;
        let read = self.api.get(&Target::object(&gvr::PODS, namespace, name)).await;
        let pod = read.map_err(|status| Failure(format!("reading the pod: {}", status.message)))?;
        match question {
            Question::Node(candidates) => self.choose_node(interests, &pod.body, candidates).await,
            Question::Victims { proposals, turned_down } => {
                // The attempt has failed already; this says only how it ends.
                let left = self.choose_victims(interests, &pod.body, proposals).await;
                let proposals = left.map_err(|Failure(why)| why);
                Ok(Advice::Victims { proposals, turned_down })
            }
        }
    }

    /// The node that extenders and plugins together like best.
    async fn choose_node(
        &self,
        interests: u32,
        pod: &[u8],
        mut candidates: Vec<(Box<str>, u32)>,
    ) -> Result<Advice, Failure> {
        let mut turned_down: Vec<(String, u32)> = Vec::new();
        for extender in self.interested(interests).filter(|extender| !extender.filter_verb.is_empty()) {
            let args = self.args(extender, pod, &candidates).await?;
            let asked: Result<FilterResult, String> = call::post(extender, &extender.filter_verb, &args).await;
            let result = asked.and_then(|result| if result.error.is_empty() { Ok(result) } else { Err(result.error) });
            match result {
                Ok(result) => {
                    let (kept, reasons) = result.split(candidates);
                    candidates = kept;
                    for reason in reasons {
                        match turned_down.iter_mut().find(|(known, _)| *known == reason) {
                            Some((_, nodes)) => *nodes += 1,
                            None => turned_down.push((reason, 1)),
                        }
                    }
                }
                Err(error) if extender.ignorable => {
                    tracing::warn!(extender = extender.url_prefix, error, "skipping an extender that may be ignored");
                }
                Err(error) => return Err(Failure(error)),
            }
            if candidates.is_empty() {
                return Ok(Advice::Nowhere(turned_down));
            }
        }
        self.prioritize(interests, pod, &mut candidates).await?;
        // The candidates came best first: the first of equals is the core's own choice.
        let mut best: Option<(Box<str>, u32)> = None;
        for (node, score) in candidates {
            if best.as_ref().is_none_or(|(_, known)| score > *known) {
                best = Some((node, score));
            }
        }
        Ok(best.map_or(Advice::Nowhere(turned_down), |(node, score)| Advice::Node(node, score)))
    }

    /// Adds the extenders' scores. One that cannot give any is passed over, as upstream does.
    async fn prioritize(&self, interests: u32, pod: &[u8], candidates: &mut [(Box<str>, u32)]) -> Result<(), Failure> {
        if candidates.len() < 2 {
            return Ok(());
        }
        for extender in self.interested(interests).filter(|extender| !extender.prioritize_verb.is_empty()) {
            let args = self.args(extender, pod, candidates).await?;
            let asked: Result<Vec<HostPriority>, String> = call::post(extender, &extender.prioritize_verb, &args).await;
            let scores = match asked {
                Ok(scores) => scores,
                Err(error) => {
                    tracing::warn!(extender = extender.url_prefix, error, "an extender gave no scores");
                    continue;
                }
            };
            for (node, score) in candidates.iter_mut() {
                let given = scores.iter().find(|given| *given.host == **node).map_or(0, |given| given.score);
                let sum = i64::from(*score) + given.saturating_mul(extender.weight).saturating_mul(SCORE_SCALE);
                *score = u32::try_from(sum.max(0)).unwrap_or(u32::MAX);
            }
        }
        Ok(())
    }

    /// What an extender is sent: the pod, and the nodes or their names.
    async fn args(
        &self,
        extender: &ExtenderConfig,
        pod: &[u8],
        candidates: &[(Box<str>, u32)],
    ) -> Result<Args, Failure> {
        let pod = raw(pod)?;
        if extender.node_cache_capable {
            return Ok(Args::names(pod, candidates.iter().map(|(name, _)| name.to_string()).collect()));
        }
        let collection = Collection { resource: &gvr::NODES, namespace: "" };
        let listed = self.api.list(&collection, &ListOptions::default()).await;
        let nodes = listed.map_err(|status| Failure(format!("reading the nodes: {}", status.message)))?;
        let wanted: std::collections::HashSet<&str> = candidates.iter().map(|(name, _)| &**name).collect();
        let items = nodes.items.iter().filter(|node| wanted.contains(node.key.name()));
        Ok(Args::nodes(pod, items.map(|node| raw(&node.body)).collect::<Result<_, _>>()?))
    }

    /// The extender that binds this pod, if one does.
    pub(super) fn binder(&self, interests: u32) -> Option<&ExtenderConfig> {
        self.interested(interests).find(|extender| !extender.bind_verb.is_empty())
    }

    /// Has an extender bind a pod.
    pub(super) async fn bind(extender: &ExtenderConfig, placement: &Placement) -> Result<(), String> {
        let PodId { namespace, name, uid } = &*placement.pod;
        let args = BindingArgs {
            pod_name: name.to_string(),
            pod_namespace: namespace.to_string(),
            pod_uid: uid.to_string(),
            node: placement.node.to_string(),
        };
        let result: BindingResult = call::post(extender, &extender.bind_verb, &args).await?;
        if result.error.is_empty() { Ok(()) } else { Err(result.error) }
    }
}

/// An object as it is stored, to be sent on.
fn raw(body: &[u8]) -> Result<Box<RawValue>, Failure> {
    let text = String::from_utf8(body.to_vec()).map_err(|error| Failure(error.to_string()))?;
    RawValue::from_string(text).map_err(|error| Failure(error.to_string()))
}
