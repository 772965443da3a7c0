//! The scheduling loop: carries what happens to the scheduler core and carries out what it decides.
//!
//! ```text
//! nodes, pods ─ feed (list + watch → rows) ─→ inbox ─→ the core's own thread: step(now, events) → plan
//!                                               ↑                    │ placements          │ refusals, evictions
//!                        outcomes of bindings ──┴── bind (bind_batch)┘                     └─→ report, evict, events
//! ```
//! Works over any [`ResourceApi`], in process or remote; who runs it decides about leadership. One core thread keeps
//! the computing off the runtime; everything between the parts is bounded: the inbox holds the feed back, and the core
//! stops deciding while too many bindings are under way.

mod bind;
pub mod config;
pub(crate) mod devices;
mod events;
mod evict;
pub mod explain;
pub mod extender;
#[cfg(test)]
mod fake;
mod feed;
mod inbox;
pub mod metrics;
mod report;
mod source;
#[cfg(test)]
mod tests;
mod volumes;
mod worker;

use std::sync::Arc;

use gantry_machinery::clock::Clock;
use gantry_machinery::resource_api::ResourceApi;
use gantry_scheduler_core::cycle::Config;
use tokio_util::sync::CancellationToken;

use extender::{ExtenderConfig, Extenders};
use inbox::Inbox;
use metrics::Metrics;

/// How the loop runs.
#[derive(Clone, Debug)]
pub struct SchedulingOptions {
    /// What the core is told at its start.
    pub core: Config,
    /// Bindings in one call.
    pub batch_max: usize,
    /// Calls of bindings under way at a time: while one waits for the disk, the next is made.
    pub batches_in_flight_max: usize,
    /// Pods assumed and not yet known to be bound, at most.
    pub unconfirmed_max: usize,
    /// The extenders, in the order of the core's interests.
    pub extenders: Arc<[ExtenderConfig]>,
}

impl Default for SchedulingOptions {
    fn default() -> Self {
        Self {
            core: Config::default(),
            batch_max: 512,
            batches_in_flight_max: 4,
            unconfirmed_max: 8192,
            extenders: Arc::new([]),
        }
    }
}

/// Schedules pods until `stop`. When it returns, no binding is under way.
pub async fn run(
    api: Arc<dyn ResourceApi>,
    clock: Clock,
    metrics: Arc<Metrics>,
    options: SchedulingOptions,
    stop: CancellationToken,
) {
    let inbox = Arc::new(Inbox::default());
    let (placements, to_bind) = tokio::sync::mpsc::unbounded_channel();
    let events = events::Events::new(api.clone(), clock, metrics.clone());
    let reports = report::Reports::new(api.clone(), clock, events.clone(), metrics.clone(), &options);

    let (evictions, evicting) =
        evict::new(api.clone(), inbox.clone(), clock, reports.clone(), metrics.clone(), &options);
    let notices = Arc::new(volumes::Notices::default());
    let feeding = feed::run(api.clone(), inbox.clone(), notices.clone(), metrics.clone(), options.core.gangs);
    let extenders = Arc::new(Extenders::new(api.clone(), options.extenders.clone()));
    let (questions, to_ask) = tokio::sync::mpsc::unbounded_channel();
    let asking = extenders.clone().run(to_ask, inbox.clone(), reports.clone());
    let (releases, to_release) = tokio::sync::mpsc::unbounded_channel();
    let releasing = devices::release(api.clone(), to_release);
    let helpers = bind::Helpers { extenders, notices, clock };
    let binding = bind::run(api, inbox.clone(), to_bind, reports.clone(), metrics.clone(), helpers, &options);
    let hands = worker::Hands { placements, questions, evictions, releases };
    let thread = worker::spawn(inbox.clone(), hands, reports.clone(), metrics, options.clone());

    let work = async {
        tokio::join!(feeding, evicting, reports.run(), events.run(), asking, releasing);
    };
    let binding = tokio::spawn(binding);
    stop.run_until_cancelled(work).await;
    // The thread ends first; with it the sender of placements, and then the binder, once all answers are in.
    inbox.close();
    if tokio::task::spawn_blocking(move || thread.join()).await.is_err() || binding.await.is_err() {
        tracing::error!("the scheduler did not end as it should");
    }
}
