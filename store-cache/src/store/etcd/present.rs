//! "What does etcd hold now?": the question behind consistent reads, asked once for all who wait.
//!
//! A caller joins the question that has not been sent yet, never one under way: its answer may be older than the
//! caller. The cache then only has to reach the revision in the answer. If it does not at once, the revision may belong
//! to somebody else's keys on the same etcd, of which our watch will never hear; then a marker is written under our
//! prefix, and the marker's own event brings the watch past it. (Asking the watch for progress would be cheaper, but
//! etcd before 3.4.25 and 3.5.8 may answer that too early.)

use std::sync::Arc;
use std::time::Duration;

use etcd_client::{Error, GetOptions};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::{Link, revision_from};
use crate::revision::Revision;

/// The usual delay between a commit and its event is well below this.
const MARK_AFTER: Duration = Duration::from_millis(25);
/// No `/` in it: no object's key.
const MARKER: &str = "!caught-up";

/// Callers waiting for the next question.
#[derive(Default)]
pub(super) struct Present {
    asking: Mutex<Asking>,
}

#[derive(Default)]
struct Asking {
    running: bool,
    next: Vec<oneshot::Sender<Revision>>,
}

/// Waits until the cache holds what etcd holds at this moment. False if etcd does not say; `wanted` tells how far it
/// got.
pub(super) async fn catch_up(link: &Arc<Link>, wanted: &mut Option<Revision>) -> bool {
    let Ok(revision) = ask(link).await else { return false };
    *wanted = Some(revision);
    while !link.cache.reaches(revision, MARK_AFTER).await {
        if let Err(error) = mark(link).await {
            tracing::debug!(%error, "no marker could be written");
        }
    }
    true
}

async fn ask(link: &Arc<Link>) -> Result<Revision, oneshot::error::RecvError> {
    let (sender, answer) = oneshot::channel();
    let start = {
        let mut asking = link.present.asking.lock();
        asking.next.push(sender);
        !std::mem::replace(&mut asking.running, true)
    };
    if start {
        tokio::spawn(ask_for_all(link.clone()));
    }
    answer.await
}

/// Asks as long as somebody waits. Whoever is not answered hears it from his dropped channel.
async fn ask_for_all(link: Arc<Link>) {
    loop {
        let waiting = {
            let mut asking = link.present.asking.lock();
            asking.running = !asking.next.is_empty();
            if !asking.running {
                return;
            }
            std::mem::take(&mut asking.next)
        };
        match revision_now(&link).await {
            Ok(revision) => {
                for caller in waiting {
                    // A caller past its deadline is gone.
                    let _ = caller.send(revision);
                }
            }
            Err(error) => tracing::debug!(%error, "etcd did not tell its revision"),
        }
    }
}

/// A linearizable read of nothing: its header carries a revision not older than any acknowledged write.
async fn revision_now(link: &Link) -> Result<Revision, Error> {
    let mut kv = link.kv.clone();
    let options = GetOptions::new().with_count_only();
    let nothing = kv.get(format!("{}{MARKER}", link.config.prefix), Some(options));
    let answer = tokio::time::timeout(link.config.request_timeout, nothing)
        .await
        .map_err(|_| Error::WatchError("no answer".to_owned()))??;
    Ok(answer.header().map_or(Revision(0), |header| revision_from(header.revision())))
}

async fn mark(link: &Link) -> Result<(), Error> {
    let mut kv = link.kv.clone();
    let put = kv.put(format!("{}{MARKER}", link.config.prefix), "", None);
    tokio::time::timeout(link.config.request_timeout, put)
        .await
        .map_err(|_| Error::WatchError("no answer".to_owned()))??;
    Ok(())
}
