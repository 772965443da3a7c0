//! [`ResourceApi::create_events`](gantry_machinery::resource_api::ResourceApi::create_events): many Events of loops in
//! one group commit. A pod placed makes one, so this is a hot write: the body is written once, as bytes, and what
//! validation would say is asked of the parts. What is not plainly right goes the way of every other creation.

use std::sync::Arc;

use gantry_machinery::event::NewEvent;
use gantry_machinery::recorder::Severity;
use gantry_machinery::resource::gvr;
use gantry_machinery::resource_api::{Target, WriteOptions};
use gantry_machinery::status::Status;
use gantry_machinery::time;
use gantry_store_cache::key::ObjectKey;
use gantry_store_cache::object::{Facets, NewBody, StoredObject};
use gantry_store_cache::txn::{Expect, Op, Txn, TxnError, Write};

use super::kinds::event::Events;
use super::request::RequestContext;
use super::strategy::Strategy as _;
use super::{Registry, answer, random, splice};

/// How often a batch is tried again because a namespace was written in between.
const ROUNDS_MAX: usize = 3;

impl Registry {
    /// Writes Events, each with an answer of its own, in one group commit.
    pub(super) async fn create_events(
        &self,
        request: &RequestContext,
        events: Vec<NewEvent>,
    ) -> Vec<Result<(), Status>> {
        let now = time::now();
        let mut answers: Vec<Option<Result<(), Status>>> = vec![None; events.len()];
        let mut open: Vec<usize> = (0..events.len()).filter(|at| events[*at].is_valid()).collect();
        for _ in 0..ROUNDS_MAX {
            let (mut sent, mut txns) = (Vec::with_capacity(open.len()), Vec::with_capacity(open.len()));
            // Most are about pods of one namespace.
            let mut namespace: Option<Arc<StoredObject>> = None;
            for at in std::mem::take(&mut open) {
                let event = &events[at];
                if namespace.as_ref().is_none_or(|known| known.key.name() != event.regarding.namespace) {
                    namespace = self.living(&event.regarding.namespace);
                }
                if let Some(namespace) = &namespace {
                    sent.push(at);
                    txns.push(txn(event, namespace, &now));
                }
            }
            if txns.is_empty() {
                break;
            }
            let outcomes = self.store.commit_all(txns).await;
            for (at, outcome) in sent.into_iter().zip(outcomes) {
                match outcome {
                    Ok(_) => answers[at] = Some(Ok(())),
                    // Somebody wrote the namespace in between: the next round looks at it again.
                    Err(TxnError::Conflict { .. }) => open.push(at),
                    Err(error) => answers[at] = Some(Err(answer::refused(error, &gvr::EVENTS, &events[at].name))),
                }
            }
        }
        let mut all = Vec::with_capacity(events.len());
        for (event, answered) in events.iter().zip(answers) {
            all.push(match answered {
                Some(answered) => answered,
                None => self.create_event(request, event).await,
            });
        }
        all
    }

    /// The long way.
    async fn create_event(&self, request: &RequestContext, event: &NewEvent) -> Result<(), Status> {
        let target = Target::object(&gvr::EVENTS, &event.regarding.namespace, "");
        self.create(request, &target, event.object(), &WriteOptions::default()).await.map(drop)
    }

    /// A namespace that is there and not ending.
    fn living(&self, name: &str) -> Option<Arc<StoredObject>> {
        let found = self.store.get(&ObjectKey::new("namespaces", "", name))?;
        let bytes = &found.body;
        let metadata = splice::get(bytes, &splice::root(bytes), "metadata")?;
        let deleted = splice::get(bytes, &metadata, "deletionTimestamp");
        (!splice::filled(bytes, deleted.as_ref())).then_some(found)
    }
}

/// The transaction that writes an Event, if its namespace is still the one that was looked at.
fn txn(event: &NewEvent, namespace: &StoredObject, now: &str) -> Txn {
    let (bytes, slot) = event.body(&random::uuid(), now);
    let key = ObjectKey::new("events", &event.regarding.namespace, &event.name);
    let write =
        Write::Put { body: NewBody { bytes, revision_slot: Some(slot) }, facets: facets(event), ttl: Events.ttl() };
    let mut txn = Txn::one(key, Expect::Absent, write);
    let expect = Expect::Revision(namespace.revision);
    txn.ops.push(Op { key: namespace.key.clone(), expect, write: Write::Check });
    txn
}

/// What an Event is selected by: the fields of its strategy.
fn facets(event: &NewEvent) -> Facets {
    let about = &event.regarding;
    let severity = match event.severity {
        Severity::Normal => "Normal",
        Severity::Warning => "Warning",
    };
    let fields = [
        ("involvedObject.kind", about.kind.clone()),
        ("involvedObject.namespace", about.namespace.clone()),
        ("involvedObject.name", about.name.clone()),
        ("involvedObject.uid", about.uid.clone()),
        ("involvedObject.apiVersion", about.api_version.clone()),
        ("reason", event.reason.clone()),
        ("reportingComponent", event.controller.clone()),
        ("source", event.controller.clone()),
        ("type", severity.into()),
    ];
    Facets { labels: Box::default(), fields: fields.into() }
}

#[cfg(test)]
mod tests {
    use gantry_machinery::codec::json;
    use gantry_machinery::recorder::Subject;

    use super::*;
    use crate::registry::body;

    #[test]
    fn an_event_is_selected_by_what_its_strategy_says() {
        let regarding = Subject {
            api_version: "v1".into(),
            kind: "Pod".into(),
            namespace: "d".into(),
            name: "p".into(),
            uid: "u".into(),
            ..Subject::default()
        };
        let event = NewEvent {
            name: "p.1".into(),
            regarding,
            severity: Severity::Warning,
            reason: "FailedScheduling".into(),
            action: "Scheduling".into(),
            note: "0/0 nodes".into(),
            controller: "default-scheduler".into(),
            instance: "default-scheduler-h".into(),
            at: "2026-01-02T03:04:05.000006Z".into(),
        };
        let (bytes, _) = event.body("1", "2026-01-02T03:04:05Z");
        let stored = json::parse_own(&bytes).expect("JSON");
        let wanted = body::facets(&Events, &stored);
        assert_eq!((facets(&event).labels, facets(&event).fields), (wanted.labels, wanted.fields));
        assert!(Events.validate(&event.object()).is_empty());
    }
}
