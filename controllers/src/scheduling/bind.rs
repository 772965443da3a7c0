//! Binds what the core placed, in batches, and tells it what came of it.
//!
//! A binding that failed is not believed to have failed: the answer may have been lost on its way. So the pod is read
//! again, until there is evidence: it is bound (here or elsewhere), it is unbound, or it is gone. Only an unbound pod
//! goes back to the queue. Meanwhile the core keeps the node's resources reserved, so nothing is over-committed.
//!
//! A pod whose volumes must be bound or made first, or whose claims of devices must be written, takes the long way round,
//! through [`volumes`](super::volumes) and [`devices`](super::devices); nobody
//! waits for it, and when all stops before they are ready, it is simply not bound.

mod gang;
mod ready;

use std::sync::Arc;
use std::time::{Duration, Instant};

use gantry_machinery::clock::Clock;
use gantry_machinery::resource::gvr;
use gantry_machinery::resource_api::{Binding, ResourceApi, Target};
use gantry_machinery::status::Status;
use gantry_scheduler_core::cycle::Event;
use gantry_scheduler_core::plan::{Placement, PodId};
use gantry_scheduler_core::rows::PodRow;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tokio::task::JoinSet;

use super::SchedulingOptions;
use super::devices;
use super::extender::Extenders;
use super::inbox::Inbox;
use super::metrics::{Call, Metrics};
use super::report::Reports;
use super::volumes::Notices;
use super::worker::{ToBind, ToBindTogether, Work};
use ready::Readying;

/// The first pause before a pod is read again, after an answer that is no evidence.
const PAUSE_FIRST: Duration = Duration::from_millis(100);
/// The longest.
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// How long evidence is sought once nobody waits for it any more.
const READS_MAX: u32 = 1000;

/// Who else has a part in bindings.
pub(super) struct Helpers {
    /// May bind in our stead.
    pub(super) extenders: Arc<Extenders>,
    /// Tell of claims that are waited for.
    pub(super) notices: Arc<Notices>,
    /// Says when a claim was allocated.
    pub(super) clock: Clock,
}

/// Binds until the sender is gone, then until every answer is in. The channel is bounded by `unconfirmed_max`.
pub(super) fn run(
    api: Arc<dyn ResourceApi>,
    inbox: Arc<Inbox>,
    mut to_bind: UnboundedReceiver<Work>,
    reports: Reports,
    metrics: Arc<Metrics>,
    helpers: Helpers,
    options: &SchedulingOptions,
) -> impl Future<Output = ()> + Send + 'static {
    let Helpers { extenders, notices, clock } = helpers;
    let profiles = options.core.profiles.clone().into();
    let (batch_max, in_flight_max) = (options.batch_max.max(1), options.batches_in_flight_max.max(1));
    async move {
        let mut in_flight = JoinSet::new();
        // Dropped, and with it what is not ready, when all stops.
        let mut preparing = JoinSet::new();
        let (ready, mut prepared) = tokio::sync::mpsc::unbounded_channel();
        let readying = Readying { api: api.clone(), notices, clock, metrics: metrics.clone(), profiles };
        let hands = gang::Hands { readying: readying.clone(), inbox: inbox.clone(), reports: reports.clone() };
        let mut waiting: Vec<ToBind> = Vec::new();
        let mut gangs: Vec<ToBindTogether> = Vec::new();
        let mut open = true;
        while open || !waiting.is_empty() || !gangs.is_empty() {
            let mut sort = |work: Work, waiting: &mut Vec<ToBind>| match work {
                Work::Each(more) => waiting.extend(more),
                Work::Together(gang) => gangs.push(gang),
            };
            if waiting.is_empty() {
                tokio::select! {
                    more = to_bind.recv() => match more {
                        Some(more) => sort(more, &mut waiting),
                        None => open = false,
                    },
                    Some(one) = prepared.recv() => waiting.push(one),
                }
            }
            // The next batch is whatever was decided while the last ones were under way.
            while let Ok(more) = to_bind.try_recv() {
                sort(more, &mut waiting);
            }
            // A gang is a call of its own.
            for gang in gangs.drain(..) {
                if gang.needs_preparation() {
                    preparing.spawn(gang::prepare(hands.clone(), gang));
                    continue;
                }
                while in_flight.len() >= in_flight_max {
                    in_flight.join_next().await;
                }
                in_flight.spawn(gang::bind(hands.clone(), gang));
            }
            while let Ok(one) = prepared.try_recv() {
                waiting.push(one);
            }
            while preparing.try_join_next().is_some() {}
            for to_bind in waiting.extract_if(.., |b| b.placement.preparation.is_some() && !b.prepared) {
                let (readying, inbox, reports) = (readying.clone(), inbox.clone(), reports.clone());
                preparing.spawn(prepare(readying, inbox, reports, to_bind, ready.clone()));
            }
            if waiting.is_empty() {
                continue;
            }
            while in_flight.len() >= in_flight_max {
                in_flight.join_next().await;
            }
            let rest = waiting.split_off(waiting.len().min(batch_max));
            let batch = std::mem::replace(&mut waiting, rest);
            let batch = by_extenders(batch, &api, &inbox, &reports, &metrics, &extenders);
            let bound = bind(api.clone(), inbox.clone(), batch, reports.clone(), metrics.clone());
            in_flight.spawn(bound);
        }
        while in_flight.join_next().await.is_some() {}
    }
}

/// Makes a pod's volumes and claims ready, and hands it on; or back to the queue.
async fn prepare(
    readying: Readying,
    inbox: Arc<Inbox>,
    reports: Reports,
    mut to_bind: ToBind,
    ready: UnboundedSender<ToBind>,
) {
    // It may take minutes: others go on.
    inbox.settle(usize::from(std::mem::take(&mut to_bind.counts)), Vec::new());
    to_bind.prepared = true;
    let placement = &to_bind.placement;
    let asked = Instant::now();
    let done = readying.make_ready(placement).await;
    readying.metrics.volumes_prepared(placement.profile, done.is_ok(), asked.elapsed());
    match done {
        // Nobody takes it any more only when all stops.
        Ok(()) => drop(ready.send(to_bind)),
        Err((plugin, why)) => {
            let pod = &to_bind.placement.pod;
            tracing::debug!(pod = %pod.name, namespace = %pod.namespace, error = %why, "not ready to be bound");
            let text = format!("running PreBind plugin \"{}\": {why}", plugin.name());
            settle(readying.api, inbox, reports, to_bind.placement, text, 0).await;
        }
    }
}

/// Hands over what an extender binds itself; gives back the rest.
fn by_extenders(
    batch: Vec<ToBind>,
    api: &Arc<dyn ResourceApi>,
    inbox: &Arc<Inbox>,
    reports: &Reports,
    metrics: &Arc<Metrics>,
    extenders: &Arc<Extenders>,
) -> Vec<ToBind> {
    let theirs = |bind: &ToBind| bind.placement.interests != 0 && extenders.binder(bind.placement.interests).is_some();
    let (theirs, ours): (Vec<ToBind>, Vec<ToBind>) = batch.into_iter().partition(theirs);
    for ToBind { placement, queued, counts, .. } in theirs {
        let (api, inbox, reports) = (api.clone(), inbox.clone(), reports.clone());
        let (metrics, extenders) = (metrics.clone(), extenders.clone());
        tokio::spawn(async move {
            let Some(extender) = extenders.binder(placement.interests) else { return };
            metrics.calls_begin(Call::Binding, 1);
            let asked = Instant::now();
            let answer = Extenders::bind(extender, &placement).await;
            metrics.bind(placement.profile, answer.is_ok(), asked.elapsed());
            match answer {
                Ok(()) => {
                    metrics.bound(queued.elapsed(), placement.attempts);
                    reports.bound(&placement);
                    inbox.settle(usize::from(counts), Vec::new());
                }
                Err(why) => {
                    let text = format!("binding rejected: running Bind plugin \"DefaultBinder\": {why}");
                    settle(api, inbox, reports, placement, text, usize::from(counts)).await;
                }
            }
        });
    }
    ours
}

async fn bind(
    api: Arc<dyn ResourceApi>,
    inbox: Arc<Inbox>,
    batch: Vec<ToBind>,
    reports: Reports,
    metrics: Arc<Metrics>,
) {
    let bindings = batch.iter().map(|b| binding(&b.placement)).collect();
    metrics.calls_begin(Call::Binding, batch.len());
    let asked = Instant::now();
    let answers = api.bind_batch(bindings).await;
    let took = asked.elapsed();
    let mut bound = 0;
    // An answer that is missing is no answer.
    let answers = answers.into_iter().map(Some).chain(std::iter::repeat_with(|| None));
    for (ToBind { placement, queued, counts, .. }, answer) in batch.into_iter().zip(answers) {
        let counts = usize::from(counts);
        match answer {
            Some(Ok(())) => {
                bound += counts;
                metrics.bind(placement.profile, true, took);
                metrics.bound(queued.elapsed(), placement.attempts);
                reports.bound(&placement);
            }
            failed => {
                metrics.bind(placement.profile, false, took);
                let why = failed.and_then(Result::err).unwrap_or_default();
                tracing::debug!(pod = %placement.pod.name, node = %placement.node, error = %why, "binding refused");
                // Seeking evidence may take long: nobody else should wait for it.
                // Upstream's words for a binding that the API turned down.
                let text = format!("binding rejected: running Bind plugin \"DefaultBinder\": {}", why.message);
                tokio::spawn(settle(api.clone(), inbox.clone(), reports.clone(), placement, text, counts));
            }
        }
    }
    inbox.settle(bound, Vec::new());
}

fn binding(placement: &Placement) -> Binding {
    Binding {
        namespace: placement.pod.namespace.to_string(),
        name: placement.pod.name.to_string(),
        uid: placement.pod.uid.to_string(),
        node: placement.node.to_string(),
    }
}

/// Finds out what became of a pod whose binding failed, and tells the core.
async fn settle(
    api: Arc<dyn ResourceApi>,
    inbox: Arc<Inbox>,
    reports: Reports,
    placement: Placement,
    why: String,
    counts: usize,
) {
    let events = find_out(&api, &reports, &placement, &why).await;
    inbox.settle(counts, events);
}

/// What became of a pod whose binding failed: reads it until there is evidence, and tells the pod if it is unbound.
async fn find_out(api: &Arc<dyn ResourceApi>, reports: &Reports, placement: &Placement, why: &str) -> Vec<Event> {
    let Placement { pod, profile, preparation, .. } = placement;
    let mut pause = PAUSE_FIRST;
    for _ in 0..READS_MAX {
        let target = Target::object(&gvr::PODS, &pod.namespace, &pod.name);
        let read = api.get(&target).await;
        if let Some(events) = evidence(pod, read) {
            if events.iter().any(|event| matches!(event, Event::BindFailed(_))) {
                reports.failed(pod, *profile, why);
                if let Some(work) = preparation {
                    devices::unreserve(api, pod, &work.claims).await;
                }
            }
            return events;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
    tracing::error!(pod = %pod.name, namespace = %pod.namespace, error = %why,
        "the outcome of a binding is unknown; its node stays reserved until the pod is seen again");
    Vec::new()
}

/// What reading the pod again proves, if anything.
fn evidence(pod: &PodId, read: Result<Arc<gantry_store_cache::object::StoredObject>, Status>) -> Option<Vec<Event>> {
    match read {
        Ok(object) => {
            let row = PodRow::from_json(&object.body).ok()?;
            if row.uid != pod.uid {
                // Another pod of the same name; the watch tells about it.
                return Some(vec![Event::PodGone(pod.uid.clone())]);
            }
            let unbound = row.node.is_empty();
            let failed = unbound.then(|| Event::BindFailed(pod.uid.clone()));
            Some(std::iter::once(Event::Pod(Box::new(row))).chain(failed).collect())
        }
        Err(status) if status.code == 404 => Some(vec![Event::PodGone(pod.uid.clone())]),
        Err(_) => None,
    }
}
