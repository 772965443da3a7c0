//! What a loop is, and how it is run: handlers name keys, workers take them from the queue, the loop makes what is be
//! what should be.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use gantry_store_cache::key::ObjectKey;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::work_queue::WorkQueue;
use super::write::LoopError;

/// The queue of a loop.
pub type Queue = WorkQueue<ObjectKey>;

/// What is left to do about a key after a successful round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Nothing until something changes.
    Done,
    /// Look again after this long.
    After(Duration),
}

/// One loop. `reconcile` must be idempotent: stopped between any two of its writes, a later round converges.
#[async_trait]
pub trait Reconcile: Send + Sync + 'static {
    /// Upstream's name of the loop (`deployment-controller`), also its field manager.
    fn name(&self) -> &'static str;

    /// Registers the handlers that put keys into `queue`. Called once, before any work.
    fn watch(self: Arc<Self>, queue: &Arc<Queue>);

    /// Waits until everything the loop reads has been listed once.
    async fn synced(&self);

    /// Looks at one key and makes one round of changes.
    ///
    /// # Errors
    /// Whatever went wrong; the key comes again with a growing pause.
    async fn reconcile(&self, key: &ObjectKey) -> Result<Action, LoopError>;

    /// Appends what the loop counts besides its queue, in the Prometheus text format. Called when somebody asks.
    fn write_figures(&self, _out: &mut String) {}
}

/// Runs a loop with `workers` workers on `tasks` until `stop`; gives its queue. Work begun is finished first.
pub fn run(looped: Arc<dyn Reconcile>, workers: usize, tasks: &TaskTracker, stop: CancellationToken) -> Arc<Queue> {
    let queue = Arc::new(Queue::default());
    looped.clone().watch(&queue);
    for _ in 0..workers {
        let (looped, queue, stop) = (looped.clone(), queue.clone(), stop.clone());
        tasks.spawn(async move {
            let synced = stop.run_until_cancelled(looped.synced()).await;
            if synced.is_some() {
                while let Some(Some(key)) = stop.run_until_cancelled(queue.get()).await {
                    work(&*looped, &queue, key).await;
                }
            }
            queue.shut();
        });
    }
    queue
}

async fn work(looped: &dyn Reconcile, queue: &Queue, key: ObjectKey) {
    match looped.reconcile(&key).await {
        Ok(Action::Done) => queue.forget(&key),
        Ok(Action::After(delay)) => {
            queue.forget(&key);
            queue.add_after(key.clone(), delay);
        }
        Err(error) => {
            if error.is_conflict() {
                tracing::debug!(looped = looped.name(), %key, %error, "somebody wrote first");
            } else {
                tracing::warn!(looped = looped.name(), %key, %error, "will try again");
            }
            queue.add_failed(key.clone());
        }
    }
    queue.done(&key);
}
