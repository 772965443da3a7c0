//! The Events of pods: `Scheduled`, `FailedScheduling`, `Preempted`, one for each as upstream writes them, in a lane of
//! their own behind the bindings.
//!
//! Telling never waits: facts go into a bounded queue, and what does not fit is dropped, counted and said in the log once
//! a minute. They are written in batches, one at a time, each a moment after the first of it came in, so that a flood
//! of pods costs few commits and none of them holds up a binding. The same fact about the same pod again (a pod that
//! still fits nowhere for the same reason) becomes a series of the Event that is there (`events.k8s.io/v1`): written the
//! second time, and then as often as keeps it from expiring.

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use compact_str::{CompactString, format_compact};
use gantry_machinery::clock::Clock;
use gantry_machinery::event::{NOTE_BYTES_MAX, NewEvent};
use gantry_machinery::recorder::{Severity, Subject};
use gantry_machinery::resource::gvr;
use gantry_machinery::resource_api::{PatchBody, PatchKind, ResourceApi, Target, WriteOptions};
use gantry_machinery::time;
use gantry_scheduler_core::plan::PodId;
use hashbrown::HashMap;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::metrics::{EventFate, Metrics};

/// Facts that wait to be written; the rest is dropped.
const WAITING_MAX: usize = 65_536;
/// Events in one call.
const BATCH_MAX: usize = 1024;
/// How long the first of a batch waits for others.
const GATHER: Duration = Duration::from_millis(100);
/// Facts remembered to tell which come again.
const KNOWN_MAX: usize = 8192;
/// How long a fact that does not come again is remembered (upstream's `finishTime`).
const FORGET_AFTER: Duration = Duration::from_secs(6 * 60);
/// How often a series that goes on is written (upstream's `refreshTime`): Events expire after an hour.
const REFRESH_AFTER: Duration = Duration::from_secs(30 * 60);
/// How often dropped facts are told of in the log.
const SAY_EVERY: Duration = Duration::from_secs(60);

/// A fact about a pod.
pub(super) struct Fact {
    pub(super) pod: Arc<PodId>,
    pub(super) severity: Severity,
    pub(super) reason: &'static str,
    pub(super) action: &'static str,
    pub(super) note: String,
    /// The profile's name.
    pub(super) by: CompactString,
}

/// Takes facts from any thread.
#[derive(Clone)]
pub(super) struct Events(Arc<Inner>);

struct Inner {
    api: Arc<dyn ResourceApi>,
    clock: Clock,
    metrics: Arc<Metrics>,
    /// What upstream calls the reporting instance, without the profile before it.
    host: CompactString,
    waiting: Mutex<Waiting>,
    wake: Notify,
}

#[derive(Default)]
struct Waiting {
    facts: VecDeque<(Fact, i64)>,
    dropped: usize,
}

impl Events {
    /// Nothing to tell yet.
    pub(super) fn new(api: Arc<dyn ResourceApi>, clock: Clock, metrics: Arc<Metrics>) -> Self {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let host = if host.trim().is_empty() { "unknown".into() } else { CompactString::from(host.trim()) };
        Self(Arc::new(Inner { api, clock, metrics, host, waiting: Mutex::default(), wake: Notify::new() }))
    }

    /// Tells a fact, or drops it.
    pub(super) fn tell(&self, fact: Fact) {
        let at = self.0.clock.now().as_microsecond();
        let mut waiting = self.0.waiting.lock();
        if waiting.facts.len() >= WAITING_MAX {
            waiting.dropped += 1;
            drop(waiting);
            self.0.metrics.events(EventFate::Dropped, 1);
            return;
        }
        waiting.facts.push_back((fact, at));
        let first = waiting.facts.len() == 1;
        drop(waiting);
        if first {
            self.0.wake.notify_one();
        }
    }

    /// Writes for ever.
    pub(super) async fn run(&self) {
        let mut series = Series::default();
        let mut said = Instant::now();
        loop {
            let batch = self.take(BATCH_MAX, &mut said);
            if batch.is_empty() {
                self.0.wake.notified().await;
                tokio::time::sleep(GATHER).await;
                continue;
            }
            let whole = batch.len() == BATCH_MAX;
            self.write(batch, &mut series).await;
            if !whole {
                tokio::time::sleep(GATHER).await;
            }
        }
    }

    fn take(&self, most: usize, said: &mut Instant) -> Vec<(Fact, i64)> {
        let mut waiting = self.0.waiting.lock();
        let count = waiting.facts.len().min(most);
        let batch = waiting.facts.drain(..count).collect();
        if waiting.dropped > 0 && said.elapsed() >= SAY_EVERY {
            let dropped = std::mem::take(&mut waiting.dropped);
            drop(waiting);
            *said = Instant::now();
            tracing::warn!(dropped, "events of pods were dropped: the API could not keep up");
        }
        batch
    }

    async fn write(&self, batch: Vec<(Fact, i64)>, series: &mut Series) {
        let mut new = Vec::with_capacity(batch.len());
        for (fact, micros) in batch {
            match series.see(&fact, micros) {
                Seen::New(name) => new.push(self.event(fact, name, micros)),
                Seen::Again { name, count } => self.again(fact, name, count, micros).await,
                Seen::Enough => {}
            }
        }
        if new.is_empty() {
            return;
        }
        let answers = self.0.api.create_events(new).await;
        let failed: Vec<_> = answers.iter().filter_map(|answer| answer.as_ref().err()).collect();
        self.0.metrics.events(EventFate::Written, answers.len() - failed.len());
        self.0.metrics.events(EventFate::Failed, failed.len());
        if let Some(why) = failed.first() {
            tracing::debug!(count = failed.len(), error = %why, "events were not written");
        }
    }

    fn event(&self, fact: Fact, name: CompactString, micros: i64) -> NewEvent {
        let Fact { pod, severity, reason, action, mut note, by } = fact;
        if note.len() > NOTE_BYTES_MAX {
            // As upstream cuts them, at a whole character.
            note.truncate(note.floor_char_boundary(NOTE_BYTES_MAX - 4));
            note.push_str(" ...");
        }
        let instance = format_compact!("{by}-{}", self.0.host);
        let regarding = subject(&pod);
        let at = time::micro_time(micros);
        NewEvent {
            name,
            regarding,
            severity,
            reason: reason.into(),
            action: action.into(),
            note,
            controller: by,
            instance,
            at,
        }
    }

    /// Writes that an Event goes on; anew, when it has expired.
    async fn again(&self, fact: Fact, name: CompactString, count: i64, micros: i64) {
        let series = serde_json::json!({"series": {"count": count, "lastObservedTime": &*time::micro_time(micros)}});
        let patch = PatchBody { kind: PatchKind::Merge, body: Bytes::from(series.to_string()) };
        let options = WriteOptions { field_manager: "kube-scheduler".into(), ..WriteOptions::default() };
        let namespace: Box<str> = fact.pod.namespace.clone();
        let patched = self.0.api.patch(&Target::object(&gvr::EVENTS, &namespace, &name), patch, &options).await;
        let written = match patched {
            Err(status) if status.code == 404 => {
                self.0.api.create_events(vec![self.event(fact, name, micros)]).await.pop().unwrap_or(Ok(()))
            }
            other => other.map(drop),
        };
        let fate = if written.is_ok() { EventFate::Written } else { EventFate::Failed };
        self.0.metrics.events(fate, 1);
        if let Err(why) = written {
            tracing::debug!(error = %why, "an event's series was not written");
        }
    }
}

/// A pod, as Events refer to it.
fn subject(pod: &PodId) -> Subject {
    Subject {
        api_version: "v1".into(),
        kind: "Pod".into(),
        namespace: CompactString::new(&pod.namespace),
        name: CompactString::new(&pod.name),
        uid: CompactString::new(&pod.uid),
        field_path: CompactString::default(),
    }
}

/// What is to be done about a fact.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    /// It becomes an Event of this name.
    New(CompactString),
    /// The Event of this name goes on.
    Again {
        /// Its name.
        name: CompactString,
        /// How often it was seen by now.
        count: i64,
    },
    /// It goes on and was written lately.
    Enough,
}

/// The facts that may come again: those that something is wrong with.
#[derive(Default)]
struct Series {
    /// By what a fact says of whom.
    known: HashMap<u64, Known, ahash::RandomState>,
    oldest: VecDeque<u64>,
    hasher: RandomState,
    serial: u64,
}

struct Known {
    name: CompactString,
    count: i64,
    /// Microseconds.
    seen: i64,
    written: i64,
}

impl Series {
    fn see(&mut self, fact: &Fact, micros: i64) -> Seen {
        // A pod is scheduled once.
        let key = (fact.severity == Severity::Warning)
            .then(|| self.hasher.hash_one((&fact.pod.uid, fact.reason, fact.action, &fact.note, &fact.by)));
        if let Some(known) = key.and_then(|key| self.known.get_mut(&key)) {
            let silent = micros.saturating_sub(known.seen) >= micros_of(FORGET_AFTER);
            // One that is written anew every half an hour is still there, however seldom it comes.
            let there = micros.saturating_sub(known.written) < 2 * micros_of(REFRESH_AFTER);
            if there {
                known.seen = micros;
                known.count += 1;
                if known.count > 2 && !silent && micros.saturating_sub(known.written) < micros_of(REFRESH_AFTER) {
                    return Seen::Enough;
                }
                known.written = micros;
                return Seen::Again { name: known.name.clone(), count: known.count };
            }
        }
        self.serial += 1;
        // Nanoseconds as upstream; the serial keeps names apart where a clock stands still.
        let stamp = (micros as u64).wrapping_mul(1000).wrapping_add(self.serial);
        let name = format_compact!("{}.{stamp:x}", fact.pod.name);
        if let Some(key) = key {
            let known = Known { name: name.clone(), count: 1, seen: micros, written: micros };
            if self.known.insert(key, known).is_none() {
                self.oldest.push_back(key);
            }
            if self.oldest.len() > KNOWN_MAX
                && let Some(forgotten) = self.oldest.pop_front()
            {
                self.known.remove(&forgotten);
            }
        }
        Seen::New(name)
    }
}

fn micros_of(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fact(uid: &str, note: &str) -> Fact {
        Fact {
            pod: Arc::new(PodId { namespace: "d".into(), name: "p".into(), uid: uid.into() }),
            severity: Severity::Warning,
            reason: "FailedScheduling",
            action: "Scheduling",
            note: note.into(),
            by: "default-scheduler".into(),
        }
    }

    #[test]
    fn the_same_fact_becomes_a_series_and_another_one_an_event() {
        let mut series = Series::default();
        let minute = micros_of(Duration::from_secs(60));
        let Seen::New(name) = series.see(&fact("u", "a"), 0) else { panic!("it is new") };
        assert_eq!(series.see(&fact("u", "a"), minute), Seen::Again { name: name.clone(), count: 2 });
        assert_eq!(series.see(&fact("u", "a"), 2 * minute), Seen::Enough);
        assert!(matches!(series.see(&fact("u", "b"), 2 * minute), Seen::New(other) if other != name));
        assert!(matches!(series.see(&fact("v", "a"), 2 * minute), Seen::New(_)));
        // It had been silent, and it would expire.
        assert_eq!(series.see(&fact("u", "a"), 10 * minute), Seen::Again { name: name.clone(), count: 4 });
        assert_eq!(series.see(&fact("u", "a"), 12 * minute), Seen::Enough);
        assert!(matches!(series.see(&fact("u", "a"), 80 * minute), Seen::New(other) if other != name));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut series = Series::default();
        for uid in 0..2 * KNOWN_MAX {
            assert!(matches!(series.see(&fact(&uid.to_string(), "a"), 0), Seen::New(_)));
        }
        assert_eq!(series.known.len(), KNOWN_MAX);
    }
}
