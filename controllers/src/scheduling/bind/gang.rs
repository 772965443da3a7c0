//! Binds the pods of a gang: one call, one commit, all of them or none.
//!
//! When the call fails, every pod of the gang is read again, and the core hears of all of them at once: no pod of it is
//! tried anew while another's fate is unknown. A server other than ours binds them one by one; what it had bound when it
//! refused one stays bound, and the rest of the gang is tried again.

use std::sync::Arc;
use std::time::Instant;

use futures_util::future::try_join_all;
use futures_util::stream::{self, StreamExt};
use gantry_scheduler_core::cycle::Event;
use gantry_scheduler_core::plan::Placement;

use super::super::inbox::Inbox;
use super::super::report::Reports;
use super::super::worker::ToBindTogether;
use super::ready::Readying;
use super::{binding, find_out};

/// Pods read again at a time.
const READS_AT_ONCE: usize = 32;

/// Who has a part in it.
#[derive(Clone)]
pub(super) struct Hands {
    pub(super) readying: Readying,
    pub(super) inbox: Arc<Inbox>,
    pub(super) reports: Reports,
}

impl ToBindTogether {
    /// Whether something must be written and waited for before.
    pub(super) fn needs_preparation(&self) -> bool {
        self.together.placements.iter().any(|placement| placement.preparation.is_some())
    }
}

/// Makes ready what a gang's pods need of volumes and claims, then binds it. That may take minutes: meanwhile the gang does
/// not count as unconfirmed.
pub(super) async fn prepare(hands: Hands, gang: ToBindTogether) {
    let Hands { readying, inbox, .. } = &hands;
    inbox.settle(gang.together.placements.len(), Vec::new());
    let ready = gang.together.placements.iter().map(|placement| readying.make_ready(placement));
    match try_join_all(ready).await {
        Ok(_) => commit(hands, gang, 0).await,
        Err((plugin, why)) => {
            let text = format!("running PreBind plugin \"{}\": {why}", plugin.name());
            settle(&hands, gang.together.placements, &text, 0).await;
        }
    }
}

/// Binds a gang.
pub(super) async fn bind(hands: Hands, gang: ToBindTogether) {
    let counts = gang.together.placements.len();
    commit(hands, gang, counts).await;
}

async fn commit(hands: Hands, gang: ToBindTogether, counts: usize) {
    let ToBindTogether { together, queued } = gang;
    let Hands { readying: Readying { api, metrics, .. }, inbox, reports } = &hands;
    let asked = Instant::now();
    let answer = api.bind_gang(together.placements.iter().map(binding).collect()).await;
    let took = asked.elapsed();
    for placement in &together.placements {
        metrics.bind(placement.profile, answer.is_ok(), took);
    }
    match answer {
        Ok(()) => {
            for (placement, queued) in together.placements.iter().zip(queued) {
                metrics.bound(queued.elapsed(), placement.attempts);
                reports.bound(placement);
            }
            if together.news {
                reports.gang_bound(together.gang);
            }
            inbox.settle(counts, Vec::new());
        }
        Err(why) => {
            let (name, namespace) = (&together.gang.name, &together.gang.namespace);
            tracing::debug!(gang = %name, %namespace, error = %why, "gang not bound");
            let text = format!("binding rejected: running Bind plugin \"DefaultBinder\": {}", why.message);
            // Seeking evidence may take long: nobody else should wait for it.
            tokio::spawn(async move { settle(&hands, together.placements, &text, counts).await });
        }
    }
}

/// Finds out what became of every pod of a gang, then tells the core of all of them at once.
async fn settle(hands: &Hands, placements: Vec<Placement>, why: &str, counts: usize) {
    let Hands { readying: Readying { api, .. }, inbox, reports } = hands;
    let found = |placement: Placement| async move { find_out(api, reports, &placement, why).await };
    let events: Vec<Vec<Event>> = stream::iter(placements).map(found).buffered(READS_AT_ONCE).collect().await;
    inbox.settle(counts, events.concat());
}
