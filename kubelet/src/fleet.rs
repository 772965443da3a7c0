//! All simulated nodes of a process and the pods on them: one task that owns every pod's [`Worker`].
//!
//! It is told of pods by one watch over all bound pods, of containers by the runtime, of ended writes by their tasks,
//! and of time by one heap; after each it begins the writes that are due. Nothing here waits for the API: writes run
//! on tasks of their own, a bounded number at a time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::time::Duration;

use compact_str::{CompactString, ToCompactString};
use futures_util::FutureExt as _;
use gantry_machinery::clock::Clock;
use gantry_machinery::recorder::{Recorder, Subject};
use gantry_machinery::reflector::{Delta, Reflector};
use gantry_machinery::resource::gvr;
use gantry_machinery::resource_api::{
    DeleteOptions, Deleted, PatchBody, PatchKind, ResourceApi, Target, WatchEvent, WriteOptions,
};
use gantry_machinery::selector::{FieldSelector, LabelSelector};
use gantry_machinery::status::Status;
use gantry_store_cache::key::ObjectKey;
use gantry_store_cache::object::StoredObject;
use gantry_store_cache::revision::Revision;
use hashbrown::{HashMap, HashSet};
use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::node::addresses::{self, Block};
use crate::node::describe::NodeConfig;
use crate::node::heartbeat::{HeartbeatConfig, Heartbeats};
use crate::pods::brief::{PodBrief, Prior};
use crate::pods::news::News;
use crate::pods::status::{self, Host};
use crate::pods::status_batch::{StatusBatch, Writing};
use crate::pods::worker::{Effects, Now, Stage, Worker};
use crate::runtime::simulated::{Simulated, SimulatedConfig};
use crate::runtime::{ContainerRuntime, Operation, Outcome, PodId};

/// A write that failed is tried again after this long.
const RETRY: Duration = Duration::from_secs(1);
/// How often the runtime is asked for more before statuses are written: a sandbox, its pull and its start are three.
const RUNTIME_ROUNDS_MAX: usize = 8;
/// While pods come thick, the fleet hears of them this often: what it then writes shares a commit.
const GATHER: Duration = Duration::from_millis(5);
/// Deltas of the pod watch that may wait for the fleet.
const DELTAS_MAX: usize = 16;

/// A fleet of simulated nodes.
#[derive(Clone, Debug)]
pub struct FleetConfig {
    /// How many nodes.
    pub nodes: u32,
    /// What they are like.
    pub node: NodeConfig,
    /// How often they speak up.
    pub heartbeat: HeartbeatConfig,
    /// How their containers behave.
    pub simulated: SimulatedConfig,
    /// Status writes under way at a time.
    pub writes_max: usize,
    /// Events (`Pulled`, `Created`, `Started`, ...) per second for the whole fleet, as the kubelet's `--event-qps`;
    /// beyond it they are left out. 0 for none.
    pub events_per_second: u32,
    /// What time it is.
    pub clock: Clock,
}

impl Default for FleetConfig {
    fn default() -> Self {
        Self {
            nodes: 3,
            node: NodeConfig::default(),
            heartbeat: HeartbeatConfig::default(),
            simulated: SimulatedConfig::default(),
            writes_max: 64,
            events_per_second: 50,
            clock: Clock::System,
        }
    }
}

/// A running fleet.
pub struct Fleet {
    registered: watch::Receiver<bool>,
    silenced: Arc<Mutex<HashSet<u32>>>,
}

impl Fleet {
    /// Starts the nodes on `tasks`, until `stop`.
    #[must_use]
    pub fn start(
        api: Arc<dyn ResourceApi>,
        config: FleetConfig,
        tasks: &TaskTracker,
        stop: &CancellationToken,
    ) -> Self {
        let runtime: Arc<dyn ContainerRuntime> = Arc::new(Simulated::new(config.simulated.clone(), config.clock));
        let silenced = Arc::new(Mutex::new(HashSet::new()));
        let (registering, registered) = watch::channel(config.nodes == 0);
        let heartbeats = Heartbeats::new(
            api.clone(),
            config.clock,
            config.node.clone(),
            config.heartbeat,
            runtime.version(),
            silenced.clone(),
        );
        let (count, ended) = (config.nodes, stop.clone());
        tasks.spawn(async move {
            let beating = heartbeats.run(count, move || {
                registering.send_replace(true);
            });
            ended.run_until_cancelled(beating).await;
        });

        let (sender, deltas) = mpsc::channel(DELTAS_MAX);
        let bound = FieldSelector::parse("spec.nodeName!=").expect("the selector is right");
        let source = Reflector::new(api.clone(), gvr::PODS.clone(), LabelSelector::default(), bound);
        let mut source = source.gathering(GATHER);
        let ended = stop.clone();
        tasks.spawn(async move {
            let following = async { while sender.send(source.next().await).await.is_ok() {} };
            ended.run_until_cancelled(following).await;
        });

        let (recorder, recording) = Recorder::new(api.clone(), config.clock, "kubelet", stop.clone());
        tasks.spawn(recording);
        let pods = Pods::new(api, config, runtime, recorder, silenced.clone());
        let ended = stop.clone();
        tasks.spawn(async move {
            ended.run_until_cancelled(pods.run(deltas)).await;
        });
        Self { registered, silenced }
    }

    /// Waits until every node is registered.
    pub async fn registered(&self) {
        // An error means that the fleet was stopped first: nothing to wait for.
        let _ = self.registered.clone().wait_for(|registered| *registered).await;
    }

    /// Lets a node play dead, or speak up again: no Lease, no status, nothing about its pods, which go on unseen.
    pub fn silence(&self, node: u32, silent: bool) {
        let mut silenced = self.silenced.lock();
        if silent {
            silenced.insert(node);
        } else {
            silenced.remove(&node);
        }
    }
}

struct Node {
    name: CompactString,
    ip: CompactString,
    block: Block,
}

struct Pod {
    key: ObjectKey,
    node: u32,
    worker: Worker,
    writing: Writing,
    /// A hash of the status the API has; 0 for none of ours.
    written: u64,
    news: News,
    /// The API has the status of the pod's end.
    end_written: bool,
    /// The final delete was accepted.
    deleted: bool,
    /// The next entry of the timer heap that is meant for it.
    timer: Option<Instant>,
}

struct Pods {
    api: Arc<dyn ResourceApi>,
    clock: Clock,
    runtime: Arc<dyn ContainerRuntime>,
    options: Arc<WriteOptions>,
    nodes: Vec<Node>,
    by_name: HashMap<CompactString, u32>,
    pods: HashMap<PodId, Pod>,
    by_key: HashMap<ObjectKey, PodId>,
    last_id: u64,
    timers: BinaryHeap<Reverse<(Instant, PodId)>>,
    batch: StatusBatch,
    writes: JoinSet<(PodId, Wrote)>,
    recorder: Recorder,
    events: Budget,
    silenced: Arc<Mutex<HashSet<u32>>>,
}

/// What a write came to.
enum Wrote {
    Status { hash: u64, end: bool, result: Result<Revision, Status> },
    Delete(Result<Option<Deleted>, Status>),
}

/// How many events may still be written.
struct Budget {
    left: f64,
    per_second: f64,
    at: Instant,
}

impl Pods {
    fn new(
        api: Arc<dyn ResourceApi>,
        config: FleetConfig,
        runtime: Arc<dyn ContainerRuntime>,
        recorder: Recorder,
        silenced: Arc<Mutex<HashSet<u32>>>,
    ) -> Self {
        let nodes: Vec<Node> = (0..config.nodes)
            .map(|number| Node {
                name: config.node.name(number).into(),
                ip: addresses::host(number).to_compact_string(),
                block: Block::new(number, config.node.pods),
            })
            .collect();
        let by_name = nodes.iter().zip(0..).map(|(node, number)| (node.name.clone(), number)).collect();
        let per_second = f64::from(config.events_per_second);
        Self {
            api,
            clock: config.clock,
            runtime,
            options: Arc::new(WriteOptions { field_manager: "kubelet".into(), ..WriteOptions::default() }),
            nodes,
            by_name,
            pods: HashMap::new(),
            by_key: HashMap::new(),
            last_id: 0,
            timers: BinaryHeap::new(),
            batch: StatusBatch::new(config.writes_max),
            writes: JoinSet::new(),
            recorder,
            events: Budget { left: 2.0 * per_second, per_second, at: Instant::now() },
            silenced,
        }
    }

    async fn run(mut self, mut deltas: mpsc::Receiver<Delta>) {
        let runtime = self.runtime.clone();
        loop {
            let timer = self.timers.peek().map(|Reverse((at, _))| *at);
            tokio::select! {
                delta = deltas.recv() => match delta {
                    Some(delta) => self.apply(delta),
                    // The source stops with the fleet.
                    None => return,
                },
                outcomes = runtime.finished() => self.happened(outcomes),
                Some(ended) = self.writes.join_next() => self.wrote(ended),
                () = until(timer) => self.ticked(),
            }
            // What the runtime has done meanwhile is part of the same news: one status write says it all.
            for _ in 0..RUNTIME_ROUNDS_MAX {
                let Some(outcomes) = runtime.finished().now_or_never() else { break };
                self.happened(outcomes);
            }
            self.write();
        }
    }

    fn now(&self) -> Now {
        Now { at: Instant::now(), wall: self.clock.now() }
    }

    fn apply(&mut self, delta: Delta) {
        match delta {
            Delta::Replace(objects) => {
                let present: HashSet<ObjectKey> = objects.iter().map(|object| object.key.clone()).collect();
                let gone: Vec<_> = self.by_key.keys().filter(|key| !present.contains(*key)).cloned().collect();
                for key in gone {
                    self.drop_pod(&key);
                }
                // Addresses in use first: a pod that is new to its node must not be given one of them.
                let (having, new): (Vec<_>, Vec<_>) = objects
                    .iter()
                    .filter_map(|object| Some((object, decode(object)?)))
                    .partition(|(_, (_, prior))| !prior.pod_ip.is_empty());
                for (object, (brief, prior)) in having.into_iter().chain(new) {
                    self.seen(object, brief, &prior);
                }
            }
            Delta::Changes(events) => {
                for event in events {
                    match event {
                        WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                            let id = self.by_key.get(&object.key).copied();
                            let known = id.and_then(|id| self.pods.get_mut(&id));
                            if known.is_none_or(|pod| pod.news.hear(&object, pod.writing.under_way())) {
                                self.read(&object);
                            }
                        }
                        WatchEvent::Deleted(object) => self.drop_pod(&object.key),
                        WatchEvent::Bookmark { .. } => {}
                    }
                }
            }
        }
    }

    /// A pod's object, read only where it is news.
    fn read(&mut self, object: &StoredObject) {
        if let Some((brief, prior)) = decode(object) {
            self.seen(object, brief, &prior);
        }
    }

    /// A pod as its object is now.
    fn seen(&mut self, object: &StoredObject, brief: PodBrief, prior: &Prior) {
        let key = &object.key;
        let known = self.by_key.get(key).copied();
        if let Some(id) = known {
            let same = self.pods.get_mut(&id).filter(|pod| pod.worker.brief.uid == brief.uid);
            if let Some(pod) = same {
                pod.news.read(object.revision);
                let overwritten = pod.news.is_overwritten(object.revision);
                let now = self.now();
                if !overwritten {
                    self.correct(id, prior);
                }
                self.step(id, |worker, effects| worker.observe(brief, prior, now, effects));
                return;
            }
            self.drop_pod(key);
        }
        if let Some(&node) = self.by_name.get(&brief.node) {
            self.take(object, node, brief, prior);
        }
    }

    /// Somebody else wrote what only the node may say (a node that was taken for dead has its pods marked unready):
    /// it is said again.
    fn correct(&mut self, id: PodId, prior: &Prior) {
        let Some(pod) = self.pods.get_mut(&id) else { return };
        let shown = prior.conditions.iter().find(|condition| condition.r#type == "Ready");
        let ready = shown.is_some_and(|condition| condition.status == "True");
        if pod.written != 0
            && pod.writing == Writing::Idle
            && pod.worker.conditions.ready.is_some_and(|r| r.holds != ready)
        {
            pod.written = 0;
            self.changed(id);
        }
    }

    /// A pod that is new to its node.
    fn take(&mut self, object: &StoredObject, node: u32, brief: PodBrief, prior: &Prior) {
        let ended = matches!(prior.phase.as_str(), "Succeeded" | "Failed");
        // Nothing is left to do for a pod that ended, unless it is to go.
        if ended && brief.deletion.is_none() {
            return;
        }
        let block = &mut self.nodes[node as usize].block;
        let ip = if brief.host_network || ended {
            CompactString::default()
        } else if !prior.pod_ip.is_empty() && block.reserve(&prior.pod_ip) {
            prior.pod_ip.clone()
        } else {
            block.take().unwrap_or_default()
        };
        self.last_id += 1;
        let id = PodId(self.last_id);
        let mut effects = Effects::default();
        let worker = Worker::new(Arc::new(brief), prior, ip, self.now(), &mut effects);
        let pod = Pod {
            key: object.key.clone(),
            node,
            worker,
            writing: Writing::Idle,
            written: 0,
            news: News::new(object.revision),
            end_written: ended,
            deleted: false,
            timer: None,
        };
        self.by_key.insert(object.key.clone(), id);
        self.pods.insert(id, pod);
        self.carry_out(id, effects);
    }

    fn drop_pod(&mut self, key: &ObjectKey) {
        let Some(id) = self.by_key.remove(key) else { return };
        if let Some(pod) = self.pods.remove(&id) {
            self.nodes[pod.node as usize].block.free(&pod.worker.pod_ip);
            self.runtime.forget(id);
        }
    }

    fn happened(&mut self, outcomes: Vec<Outcome>) {
        let now = self.now();
        for outcome in outcomes {
            self.step(outcome.pod, |worker, effects| worker.happened(&outcome.what, now, effects));
        }
    }

    fn ticked(&mut self) {
        let now = self.now();
        while let Some(Reverse((at, id))) = self.timers.peek().copied()
            && at <= now.at
        {
            self.timers.pop();
            if let Some(pod) = self.pods.get_mut(&id)
                && pod.timer == Some(at)
            {
                pod.timer = None;
                self.step(id, |worker, effects| worker.tick(now, effects));
                // A failed write waits here, too.
                self.changed(id);
            }
        }
    }

    fn step(&mut self, id: PodId, change: impl FnOnce(&mut Worker, &mut Effects)) {
        let mut effects = Effects::default();
        let Some(pod) = self.pods.get_mut(&id) else { return };
        change(&mut pod.worker, &mut effects);
        self.carry_out(id, effects);
    }

    fn carry_out(&mut self, id: PodId, effects: Effects) {
        let Some(pod) = self.pods.get_mut(&id) else { return };
        for what in effects.operations {
            self.runtime.begin(Operation { pod: id, brief: pod.worker.brief.clone(), what });
        }
        for fact in effects.facts {
            if self.events.afford() {
                let brief = &pod.worker.brief;
                let spec = &brief.containers[usize::from(fact.container)];
                let list = if spec.init { "initContainers" } else { "containers" };
                let subject = Subject {
                    api_version: "v1".into(),
                    kind: "Pod".into(),
                    namespace: brief.namespace.clone(),
                    name: brief.name.clone(),
                    uid: brief.uid.clone(),
                    field_path: format!("spec.{list}{{{}}}", spec.name).into(),
                };
                let recorder = self.recorder.on_host(&self.nodes[pod.node as usize].name);
                if fact.warning {
                    recorder.warning(subject, fact.reason, fact.message);
                } else {
                    recorder.normal(subject, fact.reason, fact.message);
                }
            }
        }
        if let Some(at) = pod.worker.next_deadline() {
            self.timer(id, at);
        }
        let Some(pod) = self.pods.get(&id) else { return };
        if effects.changed || pod.worker.finished() {
            self.changed(id);
        }
    }

    fn timer(&mut self, id: PodId, at: Instant) {
        if let Some(pod) = self.pods.get_mut(&id)
            && pod.timer.is_none_or(|earlier| at < earlier)
        {
            pod.timer = Some(at);
            self.timers.push(Reverse((at, id)));
        }
    }

    fn changed(&mut self, id: PodId) {
        if let Some(pod) = self.pods.get_mut(&id) {
            self.batch.changed(id, &mut pod.writing);
        }
    }

    /// Begins the writes that may begin.
    fn write(&mut self) {
        let now = self.clock.now();
        while let Some(id) = self.batch.take() {
            let Some(pod) = self.pods.get_mut(&id) else { continue };
            if self.silenced.lock().contains(&pod.node) {
                pod.writing = Writing::Idle;
                self.timer(id, Instant::now() + RETRY);
                continue;
            }
            let ended = pod.worker.stage == Stage::Ended;
            if pod.worker.finished() && (pod.end_written || !pod.worker.brief.finalizers) {
                if pod.deleted {
                    pod.writing = Writing::Idle;
                    continue;
                }
                self.batch.begun(&mut pod.writing);
                let (api, key, uid) = (self.api.clone(), pod.key.clone(), pod.worker.brief.uid.clone());
                self.writes.spawn(async move { (id, Wrote::Delete(delete(&*api, &key, &uid).await)) });
                continue;
            }
            let node = &self.nodes[pod.node as usize];
            let host = Host { ip: &node.ip, scheme: self.runtime.scheme() };
            let body = status::patch(&mut pod.worker, host, now);
            let hash = crate::seeded::of(0, &[&body]) | 1;
            if hash == pod.written {
                pod.writing = Writing::Idle;
                continue;
            }
            self.batch.begun(&mut pod.writing);
            let (api, key, options) = (self.api.clone(), pod.key.clone(), self.options.clone());
            self.writes.spawn(async move {
                let patch = PatchBody { kind: PatchKind::Strategic, body: body.into() };
                let target = Target::object(&gvr::PODS, key.namespace(), key.name()).sub("status");
                let result = api.patch(&target, patch, &options).await.map(|object| object.revision);
                (id, Wrote::Status { hash, end: ended, result })
            });
        }
    }

    fn wrote(&mut self, ended: Result<(PodId, Wrote), tokio::task::JoinError>) {
        let (id, wrote) = match ended {
            Ok(ended) => ended,
            Err(error) => {
                // Writes are never aborted, so this is a panic in the API's code: its pod keeps waiting, others go on.
                tracing::error!(%error, "a status write failed badly");
                return;
            }
        };
        let Some(pod) = self.pods.get_mut(&id) else {
            self.batch.ended(id, None);
            return;
        };
        let mut again = false;
        let mut gone = false;
        match wrote {
            Wrote::Status { hash, end, result: Ok(revision) } => {
                pod.written = hash;
                pod.news.wrote(revision);
                pod.end_written |= end;
                if pod.worker.finished() {
                    pod.writing = Writing::WritingAndAgain;
                }
            }
            // Gone: the watch will tell.
            Wrote::Status { result: Err(status), .. } if status.code == 404 => {}
            // Another pod of the same name by now, of which the watch will tell; or too many wrote at once.
            Wrote::Status { result: Err(status), .. } if status.code == 409 => again = true,
            Wrote::Status { result: Err(status), .. } => {
                tracing::warn!(pod = %pod.key, error = %status, "cannot write a pod's status; trying again");
                again = true;
            }
            Wrote::Delete(Ok(Some(Deleted::Marked(_)))) => pod.deleted = true,
            Wrote::Delete(Ok(_)) => gone = true,
            Wrote::Delete(Err(status)) if status.code == 409 => again = true,
            Wrote::Delete(Err(status)) => {
                tracing::warn!(pod = %pod.key, error = %status, "cannot delete a pod; trying again");
                again = true;
            }
        }
        self.batch.ended(id, Some(&mut pod.writing));
        let unheard = pod.news.answered();
        let key = pod.key.clone();
        if again {
            self.timer(id, Instant::now() + RETRY);
        }
        if gone {
            self.drop_pod(&key);
        } else if let Some(object) = unheard {
            self.read(&object);
        }
    }
}

impl Budget {
    fn afford(&mut self) -> bool {
        let now = Instant::now();
        let refill = (now - self.at).as_secs_f64() * self.per_second;
        self.left = (self.left + refill).min(4.0 * self.per_second);
        self.at = now;
        if self.left < 1.0 {
            return false;
        }
        self.left -= 1.0;
        true
    }
}

fn decode(object: &StoredObject) -> Option<(PodBrief, Prior)> {
    PodBrief::decode(&object.body)
        .inspect_err(|error| tracing::error!(pod = %object.key, %error, "cannot decode a pod; it is left alone"))
        .ok()
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// The final delete: nothing of the pod runs any more.
async fn delete(api: &dyn ResourceApi, key: &ObjectKey, uid: &str) -> Result<Option<Deleted>, Status> {
    let options =
        DeleteOptions { grace_period_seconds: Some(0), uid: Some(uid.to_owned()), ..DeleteOptions::default() };
    match api.delete(&Target::object(&gvr::PODS, key.namespace(), key.name()), &options).await {
        Ok(deleted) => Ok(Some(deleted)),
        Err(status) if status.code == 404 => Ok(None),
        Err(status) => Err(status),
    }
}
