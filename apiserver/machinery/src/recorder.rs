//! Writes Events: what loops and nodes did, for people who ask `kubectl describe`.
//!
//! Recording never waits and never fails: facts go into a bounded channel and are dropped (counted, with a line in the
//! log) when the API cannot keep up. Equal facts become one Event with a count; an object that produces facts without
//! end is cut off (a burst of 25, then one in five minutes), both as client-go's correlator does it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ahash::HashMap;
use bytes::Bytes;
use compact_str::CompactString;
use jiff::Timestamp;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::resource::gvr;
use crate::resource_api::{PatchBody, PatchKind, ResourceApi, Target, WriteOptions};
use crate::value;
use crate::value::Value;

/// Facts that may wait for the API.
const WAITING_MAX: usize = 4096;
/// Event writes under way at a time.
const WRITES_MAX: usize = 16;
/// Facts remembered for counting.
const KNOWN_MAX: usize = 4096;
/// Facts per object in a burst.
const BURST: f64 = 25.0;
/// Facts per object and second afterwards.
const REFILL_PER_SECOND: f64 = 1.0 / 300.0;

/// The object an Event is about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Subject {
    /// `v1`, `apps/v1`
    pub api_version: CompactString,
    /// `Pod`
    pub kind: CompactString,
    /// Its namespace; Events about objects without one go to `default`.
    pub namespace: CompactString,
    /// Its name.
    pub name: CompactString,
    /// Its uid.
    pub uid: CompactString,
    /// The part it is about (`spec.containers{web}`); often empty.
    pub field_path: CompactString,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Severity {
    /// As it should be.
    Normal,
    /// Somebody may want to look.
    Warning,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Fact {
    subject: Subject,
    severity: Severity,
    reason: &'static str,
    message: String,
    component: CompactString,
    host: CompactString,
}

/// Takes facts from any thread.
#[derive(Clone)]
pub struct Recorder {
    facts: mpsc::Sender<Fact>,
    dropped: Arc<AtomicU64>,
    component: CompactString,
    host: CompactString,
}

impl Recorder {
    /// A recorder, and its work to run until `stop`.
    pub fn new(
        api: Arc<dyn ResourceApi>,
        clock: Clock,
        component: impl Into<CompactString>,
        stop: CancellationToken,
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (sender, facts) = mpsc::channel(WAITING_MAX);
        let dropped = Arc::new(AtomicU64::new(0));
        let recorder = Self {
            facts: sender,
            dropped: dropped.clone(),
            component: component.into(),
            host: CompactString::default(),
        };
        let work = async move {
            let writing = write_facts(api, clock, facts, &dropped);
            stop.run_until_cancelled(writing).await;
        };
        (recorder, work)
    }

    /// The same, speaking for another component.
    #[must_use]
    pub fn speaking_for(&self, component: impl Into<CompactString>) -> Self {
        Self { component: component.into(), ..self.clone() }
    }

    /// The same, speaking for a node.
    #[must_use]
    pub fn on_host(&self, host: &str) -> Self {
        Self { host: host.into(), ..self.clone() }
    }

    /// Something went as it should.
    pub fn normal(&self, subject: Subject, reason: &'static str, message: impl Into<String>) {
        self.record(subject, Severity::Normal, reason, message.into());
    }

    /// Something went wrong.
    pub fn warning(&self, subject: Subject, reason: &'static str, message: impl Into<String>) {
        self.record(subject, Severity::Warning, reason, message.into());
    }

    fn record(&self, subject: Subject, severity: Severity, reason: &'static str, message: String) {
        let fact =
            Fact { subject, severity, reason, message, component: self.component.clone(), host: self.host.clone() };
        if self.facts.try_send(fact).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

struct Known {
    name: String,
    count: i64,
    first: Timestamp,
}

struct Budget {
    left: f64,
    at: Timestamp,
}

async fn write_facts(api: Arc<dyn ResourceApi>, clock: Clock, mut facts: mpsc::Receiver<Fact>, dropped: &AtomicU64) {
    let mut known: HashMap<Fact, Known> = HashMap::default();
    let mut oldest: VecDeque<Fact> = VecDeque::new();
    let mut budgets: HashMap<CompactString, Budget> = HashMap::default();
    let slots = Arc::new(Semaphore::new(WRITES_MAX));
    let mut serial = 0_u64;
    while let Some(fact) = facts.recv().await {
        let lost = dropped.swap(0, Ordering::Relaxed);
        if lost > 0 {
            tracing::warn!(lost, "events were dropped: the API could not keep up");
        }
        let now = clock.now();
        if !afford(&mut budgets, &fact, now) {
            continue;
        }
        let repeated = match known.get_mut(&fact) {
            Some(known) => {
                known.count += 1;
                true
            }
            None => {
                serial += 1;
                // Nanoseconds as upstream; the serial keeps names apart where a clock stands still.
                let stamp = (now.as_nanosecond() as u64).wrapping_add(serial);
                let name = format!("{}.{stamp:x}", fact.subject.name);
                known.insert(fact.clone(), Known { name, count: 1, first: now });
                oldest.push_back(fact.clone());
                if oldest.len() > KNOWN_MAX
                    && let Some(forgotten) = oldest.pop_front()
                {
                    known.remove(&forgotten);
                }
                false
            }
        };
        let Some(Known { name, count, first }) = known.get(&fact) else { continue };
        let body = event(&fact, name, *count, *first, now);
        let name = repeated.then(|| name.clone());
        let count = *count;
        let Ok(slot) = slots.clone().acquire_owned().await else { return };
        let api = api.clone();
        tokio::spawn(async move {
            if let Err(status) = write(&*api, &fact, name, count, now, body).await {
                tracing::debug!(reason = fact.reason, object = %fact.subject.name, error = %status, "event not written");
            }
            drop(slot);
        });
    }
}

/// Takes one from the budget of the fact's object; false when there is nothing left.
fn afford(budgets: &mut HashMap<CompactString, Budget>, fact: &Fact, now: Timestamp) -> bool {
    if budgets.len() > KNOWN_MAX {
        // Those refilled long ago need no record.
        budgets.retain(|_, budget| now.duration_since(budget.at).as_secs_f64() < 600.0);
    }
    let budget = budgets.entry(fact.subject.uid.clone()).or_insert(Budget { left: BURST, at: now });
    let refill = now.duration_since(budget.at).as_secs_f64() * REFILL_PER_SECOND;
    budget.left = (budget.left + refill).min(BURST);
    budget.at = now;
    if budget.left < 1.0 {
        return false;
    }
    budget.left -= 1.0;
    true
}

async fn write(
    api: &dyn ResourceApi,
    fact: &Fact,
    repeated: Option<String>,
    count: i64,
    now: Timestamp,
    body: Value,
) -> Result<(), crate::status::Status> {
    let namespace = namespace_of(fact);
    let options = WriteOptions { field_manager: fact.component.to_string(), ..WriteOptions::default() };
    if let Some(name) = repeated {
        let patch = serde_json::json!({"count": count, "lastTimestamp": seconds(now)});
        let patch = PatchBody { kind: PatchKind::Merge, body: Bytes::from(patch.to_string()) };
        match api.patch(&Target::object(&gvr::EVENTS, namespace, &name), patch, &options).await {
            // Expired meanwhile: write it anew below.
            Err(status) if status.code == 404 => {}
            other => return other.map(drop),
        }
    }
    api.create(&Target::object(&gvr::EVENTS, namespace, ""), body, &options).await.map(drop)
}

fn namespace_of(fact: &Fact) -> &str {
    if fact.subject.namespace.is_empty() { "default" } else { &fact.subject.namespace }
}

fn event(fact: &Fact, name: &str, count: i64, first: Timestamp, now: Timestamp) -> Value {
    let Subject { api_version, kind, namespace, name: about, uid, field_path } = fact.subject.clone();
    let mut involved = value!({"kind": kind, "name": about, "uid": uid, "apiVersion": api_version});
    if !namespace.is_empty() {
        involved.set(&["namespace"], namespace);
    }
    if !field_path.is_empty() {
        involved.set(&["fieldPath"], field_path);
    }
    let mut source = value!({"component": (fact.component.clone())});
    if !fact.host.is_empty() {
        source.set(&["host"], fact.host.clone());
    }
    let severity = match fact.severity {
        Severity::Normal => "Normal",
        Severity::Warning => "Warning",
    };
    value!({
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": (namespace_of(fact))},
        "involvedObject": involved,
        "reason": (fact.reason),
        "message": (fact.message.as_str()),
        "source": source,
        "firstTimestamp": (seconds(first)),
        "lastTimestamp": (seconds(now)),
        "count": count,
        "type": severity,
        "eventTime": null,
        "reportingComponent": (fact.component.clone()),
        "reportingInstance": (fact.host.clone()),
    })
}

fn seconds(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
