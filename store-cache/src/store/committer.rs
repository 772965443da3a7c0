//! The single writer of a store on this machine.
//!
//! ```text
//! callers ─▶ bounded queue ─▶ check and number ─▶ log, one fsync ─▶ cache publishes ─▶ answers ─▶ watchers woken
//! ```
//! A batch is whatever arrived while the last fsync ran: alone, a write waits for nothing but its own fsync; among others
//! it may wait a moment for them (`StoreConfig::linger`), and under load batches grow by themselves. Publishing comes
//! before answering, so that a client whose write succeeded finds it in its next list. After a failed log write nothing
//! is taken any more: what is on disk is in doubt until reopened.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Instant;

use crossbeam::channel::{Receiver, RecvTimeoutError, Sender};
use parking_lot::{Mutex, RwLock};
use tokio::sync::oneshot;

use super::batch::Batch;
use super::engine::Engine;
use super::expiry::Expiry;
use crate::cache::Cache;
use crate::config::StoreConfig;
use crate::revision::Revision;
use crate::stats::Stats;
use crate::txn::{Committed, Txn, TxnError, Write};

type Answer = Result<Committed, TxnError>;

/// The way in to the committer thread.
pub(crate) struct Committer {
    /// Taken away when the store closes; the thread then finishes what is queued and ends.
    queue: RwLock<Option<Sender<Request>>>,
    load: Arc<Load>,
    failed: Failed,
    thread: Mutex<Option<JoinHandle<()>>>,
    queue_txns_max: usize,
    queue_bytes_max: usize,
}

/// Why the log is in doubt, once it is.
type Failed = Arc<OnceLock<Arc<str>>>;

/// What waits in the queue.
#[derive(Default)]
struct Load {
    txns: AtomicUsize,
    bytes: AtomicUsize,
}

struct Request {
    txns: Txns,
    bytes: usize,
}

enum Txns {
    One(Txn, oneshot::Sender<Answer>),
    Many(Vec<Txn>, oneshot::Sender<Vec<Answer>>),
}

impl Txns {
    fn len(&self) -> usize {
        match self {
            Self::One(..) => 1,
            Self::Many(txns, _) => txns.len(),
        }
    }
}

impl Committer {
    pub(crate) fn start(
        config: &StoreConfig,
        engine: Box<dyn Engine>,
        cache: Arc<Cache>,
        revision: Revision,
        stats: Arc<Stats>,
    ) -> std::io::Result<Self> {
        let (sender, queue) = crossbeam::channel::unbounded();
        let load = Arc::new(Load::default());
        let failed = Failed::default();
        let mut expiry = Expiry::default();
        let view = cache.view();
        for collection in view.collections() {
            let mut objects = view.scan(&collection, None, None);
            while let Some(object) = objects.next_ref() {
                expiry.watch(object);
            }
        }
        let thread = Thread {
            engine,
            cache,
            queue,
            load: load.clone(),
            revision,
            expiry,
            next_sweep: Instant::now() + config.sweep_every,
            company: 0,
            failed: failed.clone(),
            config: config.clone(),
            stats,
        };
        let thread = std::thread::Builder::new().name("commit".into()).spawn(move || thread.run())?;
        Ok(Self {
            queue: RwLock::new(Some(sender)),
            load,
            failed,
            thread: Mutex::new(Some(thread)),
            queue_txns_max: config.queue_txns_max,
            queue_bytes_max: config.queue_bytes_max,
        })
    }

    pub(crate) async fn commit(&self, txn: Txn) -> Answer {
        let (sender, answer) = oneshot::channel();
        self.enqueue(bytes_of(&txn), Txns::One(txn, sender))?;
        answer.await.unwrap_or_else(|_| Err(unknown()))
    }

    pub(crate) async fn commit_all(&self, txns: Vec<Txn>) -> Vec<Answer> {
        let count = txns.len();
        if count == 0 {
            return Vec::new();
        }
        let (sender, answers) = oneshot::channel();
        let bytes = txns.iter().map(bytes_of).sum();
        match self.enqueue(bytes, Txns::Many(txns, sender)) {
            Ok(()) => answers.await.unwrap_or_else(|_| vec![Err(unknown()); count]),
            Err(error) => vec![Err(error); count],
        }
    }

    /// Queues a request if less than the bound waits; the last one admitted may pass it.
    fn enqueue(&self, bytes: usize, txns: Txns) -> Result<(), TxnError> {
        let queue = self.queue.read();
        let Some(queue) = queue.as_ref() else { return Err(closed()) };
        let count = txns.len();
        if self.load.txns.load(Ordering::Relaxed) >= self.queue_txns_max
            || self.load.bytes.load(Ordering::Relaxed) >= self.queue_bytes_max
        {
            return Err(TxnError::Overloaded);
        }
        self.load.txns.fetch_add(count, Ordering::Relaxed);
        self.load.bytes.fetch_add(bytes, Ordering::Relaxed);
        queue.send(Request { txns, bytes }).map_err(|_| closed())
    }

    pub(crate) fn waiting(&self) -> usize {
        self.load.txns.load(Ordering::Relaxed)
    }

    /// Whether writes can be taken; why not, if not.
    pub(crate) fn health(&self) -> Result<(), String> {
        match self.failed.get() {
            Some(reason) => Err(format!("the log failed: {reason}")),
            None if self.queue.read().is_none() => Err("the store is closed".into()),
            None => Ok(()),
        }
    }

    /// Takes no more, finishes what is queued, and closes the log.
    pub(crate) fn close(&self) {
        drop(self.queue.write().take());
        if let Some(thread) = self.thread.lock().take()
            && thread.join().is_err()
        {
            tracing::error!("the committer panicked");
        }
    }
}

impl Drop for Committer {
    fn drop(&mut self) {
        self.close();
    }
}

fn closed() -> TxnError {
    TxnError::Unavailable("it is closed".into())
}

fn unknown() -> TxnError {
    TxnError::Unknown("the committer ended".into())
}

fn bytes_of(txn: &Txn) -> usize {
    let body = |op: &crate::txn::Op| match &op.write {
        Write::Put { body, .. } | Write::Delete { last: Some(body) } => body.bytes.len(),
        Write::Check | Write::Delete { last: None } => 0,
    };
    txn.ops.iter().map(body).sum()
}

/// A batch of as many requests or more was written by several at a time.
const CROWD_MIN: usize = 4;
/// How often a batch that waits for company looks whether all are there.
const LOOKS: u32 = 2;

/// The thread's own state.
struct Thread {
    engine: Box<dyn Engine>,
    cache: Arc<Cache>,
    queue: Receiver<Request>,
    load: Arc<Load>,
    revision: Revision,
    expiry: Expiry,
    next_sweep: Instant,
    /// The requests of the last batch.
    company: usize,
    failed: Failed,
    config: StoreConfig,
    stats: Arc<Stats>,
}

/// An answer that waits for the log.
enum Owed {
    One(Answer, oneshot::Sender<Answer>),
    Many(Vec<Answer>, oneshot::Sender<Vec<Answer>>),
}

impl Thread {
    fn run(mut self) {
        let mut requests = Vec::new();
        loop {
            match self.queue.recv_deadline(self.next_sweep) {
                Ok(first) => self.gather(first, &mut requests),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            self.commit(&mut requests);
        }
    }

    /// Takes what has arrived, up to the size of a batch; in company, waits for the others first.
    fn gather(&mut self, first: Request, requests: &mut Vec<Request>) {
        if self.company >= CROWD_MIN {
            // Asleep, not listening: being woken by each that arrives is what this saves.
            for _ in 0..LOOKS {
                if self.queue.len() + 1 >= self.company {
                    break;
                }
                std::thread::sleep(self.config.linger / LOOKS);
            }
        }
        let mut txns = first.txns.len();
        let mut bytes = first.bytes;
        requests.push(first);
        while txns < self.config.batch_txns_max && bytes < self.config.batch_bytes_max {
            let Ok(request) = self.queue.try_recv() else { break };
            txns += request.txns.len();
            bytes += request.bytes;
            requests.push(request);
        }
        self.company = requests.len();
        self.load.txns.fetch_sub(txns, Ordering::Relaxed);
        self.load.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    fn commit(&mut self, requests: &mut Vec<Request>) {
        if let Some(reason) = self.failed.get() {
            let refusal = TxnError::Unavailable(reason.clone());
            for request in requests.drain(..) {
                request.refuse(&refusal);
            }
            self.next_sweep = Instant::now() + self.config.sweep_every;
            return;
        }
        let view = self.cache.view();
        let now_ms = self.config.clock.now_ms();
        let mut batch = Batch::new(&view, self.revision, now_ms);
        let mut owed = Vec::with_capacity(requests.len());
        for request in requests.drain(..) {
            owed.push(match request.txns {
                Txns::One(txn, to) => Owed::One(batch.add(txn), to),
                Txns::Many(txns, to) => Owed::Many(txns.into_iter().map(|txn| batch.add(txn)).collect(), to),
            });
        }
        if Instant::now() >= self.next_sweep {
            self.next_sweep = Instant::now() + self.config.sweep_every;
            for deletion in self.expiry.take_due(now_ms, &view) {
                // One that fails was overtaken by a write in this very batch.
                let _ = batch.add(deletion);
            }
        }
        let Batch { revision, events, log, expiring, .. } = batch;
        drop(view);
        if events.is_empty() {
            return answer(owed);
        }
        let sync = self.must_sync(&log);
        self.cache.make_rows_ahead(&events);
        let started = Instant::now();
        if let Err(error) = self.engine.write(log, revision, sync) {
            tracing::error!(%error, "the log failed: the store takes no more writes until it is reopened");
            let _ = self.failed.set(error.0.clone());
            for owed in owed {
                owed.in_doubt(&error.0);
            }
            return;
        }
        self.stats.batch(owed.len(), events.len(), sync, started.elapsed());
        self.revision = revision;
        for object in &expiring {
            self.expiry.watch(object);
        }
        let touched = self.cache.apply(&events, revision);
        drop(events);
        answer(owed);
        self.cache.notify(touched);
        self.stats.commit(started.elapsed());
    }

    /// Whether any write of the batch is of a collection whose writes must be on disk.
    fn must_sync(&self, log: &[super::batch::LogOp]) -> bool {
        self.config.relaxed.is_empty()
            || log.iter().any(|op| !self.config.relaxed.iter().any(|name| name == op.key.collection()))
    }
}

fn answer(owed: Vec<Owed>) {
    for owed in owed {
        // A caller that went away is not there to be told; its write stands.
        match owed {
            Owed::One(answer, to) => drop(to.send(answer)),
            Owed::Many(answers, to) => drop(to.send(answers)),
        }
    }
}

impl Owed {
    /// The log failed: what would have been written may or may not be there; refusals stand.
    fn in_doubt(self, reason: &Arc<str>) {
        let doubt = |answer: Answer| answer.and_then(|_| Err(TxnError::Unknown(reason.clone())));
        match self {
            Self::One(answer, to) => drop(to.send(doubt(answer))),
            Self::Many(answers, to) => drop(to.send(answers.into_iter().map(doubt).collect())),
        }
    }
}

impl Request {
    fn refuse(self, refusal: &TxnError) {
        match self.txns {
            Txns::One(_, to) => drop(to.send(Err(refusal.clone()))),
            Txns::Many(txns, to) => drop(to.send(vec![Err(refusal.clone()); txns.len()])),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::ExecutorKind;
    use crate::key::ObjectKey;
    use crate::object::{Facets, NewBody};
    use crate::store::batch::LogOp;
    use crate::store::engine::EngineError;
    use crate::txn::Expect;

    /// A log that waits to be told how each write ends.
    struct Told(Receiver<bool>);

    impl Engine for Told {
        fn write(&mut self, _log: Vec<LogOp>, _revision: Revision, _sync: bool) -> Result<(), EngineError> {
            match self.0.recv() {
                Ok(true) => Ok(()),
                _ => Err(EngineError("the disk is gone".into())),
            }
        }
    }

    fn start(queue_txns_max: usize) -> (Arc<Committer>, Sender<bool>, Arc<Cache>) {
        start_with(StoreConfig { queue_txns_max, ..StoreConfig::default() })
    }

    fn start_with(config: StoreConfig) -> (Arc<Committer>, Sender<bool>, Arc<Cache>) {
        let config = StoreConfig { shards: 1, executors: ExecutorKind::Inline, ..config };
        let (tell, told) = crossbeam::channel::unbounded();
        let cache = Arc::new(Cache::new(&config, &[]));
        let stats = Arc::new(Stats::new());
        let committer =
            Committer::start(&config, Box::new(Told(told)), cache.clone(), Revision(0), stats).expect("a thread");
        (Arc::new(committer), tell, cache)
    }

    fn put(name: &str) -> Txn {
        let body = NewBody { bytes: b"{}".to_vec(), revision_slot: None };
        let write = Write::Put { body, facets: Facets::default(), ttl: None };
        Txn::one(ObjectKey::new("pods", "default", name), Expect::Absent, write)
    }

    #[tokio::test]
    async fn after_a_failed_log_write_nothing_is_taken_and_nothing_was_shown() {
        let (committer, tell, cache) = start(100);
        tell.send(true).expect("it listens");
        assert!(committer.commit(put("a")).await.is_ok());
        assert_eq!(committer.health(), Ok(()));
        tell.send(false).expect("it listens");
        assert!(matches!(committer.commit(put("b")).await, Err(TxnError::Unknown(_))));
        tell.send(true).expect("it listens");
        for name in ["b", "c"] {
            assert!(matches!(committer.commit(put(name)).await, Err(TxnError::Unavailable(_))));
        }
        assert!(committer.health().is_err_and(|why| why.contains("the disk is gone")));
        assert_eq!(cache.published(), Revision(1));
        assert_eq!(cache.view().count("pods", None), 1);
    }

    #[tokio::test]
    async fn a_full_queue_refuses_and_what_was_admitted_is_committed_in_one_group() {
        let (committer, tell, cache) = start(5);
        let send = |name: String| {
            let committer = committer.clone();
            tokio::spawn(async move { committer.commit(put(&name)).await })
        };
        // The first occupies the committer, which has taken it off the queue when nothing waits any more.
        let mut writers = vec![send("first".to_owned())];
        tokio::task::yield_now().await;
        while committer.waiting() > 0 {
            tokio::task::yield_now().await;
        }
        writers.extend((0..5).map(|n| send(format!("p{n}"))));
        while committer.waiting() < 5 {
            tokio::task::yield_now().await;
        }
        assert!(matches!(committer.commit(put("refused")).await, Err(TxnError::Overloaded)));
        assert!(matches!(committer.commit_all(vec![put("refused")]).await[..], [Err(TxnError::Overloaded)]));
        // Two log writes, for six transactions.
        tell.send(true).expect("it listens");
        tell.send(true).expect("it listens");
        for writer in writers {
            assert!(writer.await.expect("it ran").is_ok());
        }
        assert_eq!(cache.view().count("pods", None), 6);
    }

    #[tokio::test]
    async fn a_batch_that_is_as_large_as_the_last_waits_for_nobody() {
        let linger = Duration::from_secs(3600);
        let (committer, tell, _) = start_with(StoreConfig { linger, ..StoreConfig::default() });
        let send = |name: String| {
            let committer = committer.clone();
            tokio::spawn(async move { committer.commit(put(&name)).await })
        };
        let mut writers = vec![send("first".to_owned())];
        tokio::task::yield_now().await;
        while committer.waiting() > 0 {
            tokio::task::yield_now().await;
        }
        // A crowd while the first is written: one batch, and the measure for the next.
        writers.extend((0..CROWD_MIN).map(|n| send(format!("a{n}"))));
        while committer.waiting() < CROWD_MIN {
            tokio::task::yield_now().await;
        }
        tell.send(true).expect("it listens");
        while committer.waiting() > 0 {
            tokio::task::yield_now().await;
        }
        writers.extend((0..CROWD_MIN).map(|n| send(format!("b{n}"))));
        while committer.waiting() < CROWD_MIN {
            tokio::task::yield_now().await;
        }
        // Two log writes more: one for each crowd.
        tell.send(true).expect("it listens");
        tell.send(true).expect("it listens");
        for writer in writers {
            let written = tokio::time::timeout(Duration::from_secs(60), writer).await.expect("nobody waited");
            assert!(written.expect("it ran").is_ok());
        }
    }
}
