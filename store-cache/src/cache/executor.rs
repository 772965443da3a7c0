//! Where the shards' work runs: one executor per shard, pinned to a core.
//!
//! glommio where the kernel lets us have io_uring and enough locked memory, plain pinned threads otherwise; which one
//! it became is said once in the log. Started by the first batch large enough to be spread, so that a small or idle
//! store has no idle threads. Jobs are short and never wait for each other.

use std::sync::Once;
use std::thread;

use glommio::{LocalExecutor, LocalExecutorBuilder, Placement};

use super::pin;
use crate::config::ExecutorKind;

/// A piece of work for one shard.
pub(crate) type Job = Box<dyn FnOnce() + Send>;

/// One queue per shard. Its length is bounded by its users: the committer waits for what it sends, and each collection
/// has at most one dispatch queued. The threads end when the queues are dropped.
pub(crate) struct Executors {
    queues: Vec<flume::Sender<Job>>,
}

/// Locked memory that glommio asks of the kernel for each executor's file work.
const IO_MEMORY_BYTES: usize = 64 << 10;
const RING_DEPTH: usize = 32;

impl Executors {
    pub(crate) fn start(kind: ExecutorKind, count: usize) -> Self {
        Self { queues: (0..count).map(|at| start_one(kind, at)).collect() }
    }

    /// Queues a job for the `at`-th executor (modulo their number).
    pub(crate) fn run(&self, at: usize, job: Job) {
        if let Err(flume::SendError(job)) = self.queues[at % self.queues.len()].send(job) {
            // The executor's thread could not be started: the work still has to be done.
            job();
        }
    }
}

fn start_one(kind: ExecutorKind, at: usize) -> flume::Sender<Job> {
    let (queue, jobs) = flume::unbounded::<Job>();
    let started = thread::Builder::new().name(format!("shard-{at}")).spawn(move || {
        pin::to_core(at);
        match (kind == ExecutorKind::Auto).then(glommio_executor).flatten() {
            Some(executor) => executor.run(async move {
                while let Ok(job) = jobs.recv_async().await {
                    job();
                }
            }),
            None => {
                while let Ok(job) = jobs.recv() {
                    job();
                }
            }
        }
    });
    if let Err(error) = started {
        tracing::warn!(%error, "no thread for a shard: its work is done by the committer");
    }
    queue
}

fn glommio_executor() -> Option<LocalExecutor> {
    static SAID: Once = Once::new();
    let made = LocalExecutorBuilder::new(Placement::Unbound)
        .name("shard")
        .io_memory(IO_MEMORY_BYTES)
        .ring_depth(RING_DEPTH)
        .make();
    match made {
        Ok(executor) => {
            SAID.call_once(|| tracing::info!("shards run on pinned glommio executors"));
            Some(executor)
        }
        Err(error) => {
            SAID.call_once(|| tracing::info!(%error, "shards run on plain pinned threads: glommio was refused"));
            None
        }
    }
}
