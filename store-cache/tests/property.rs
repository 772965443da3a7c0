//! Whatever is written, read, dropped and reopened in whatever order, every watcher hears exactly what it asked for.
//!
//! Small bounds make queues overflow and windows pass by all the time. The model is the plain list of commits.

use std::collections::BTreeMap;
use std::sync::Arc;

use gantry_store_cache::config::{ExecutorKind, StoreConfig};
use gantry_store_cache::key::ObjectKey;
use gantry_store_cache::object::StoredObject;
use gantry_store_cache::revision::Revision;
use gantry_store_cache::store::Store;
use gantry_store_cache::txn::{Expect, Txn};
use gantry_store_cache::watch::{ChangeKind, Facet, Interest, Subscription};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use crate::fixture::*;

#[derive(Clone, Debug)]
enum Step {
    Write(Vec<Change>),
    Open(usize),
    Read(usize, usize),
    Drop(usize),
    Past(usize),
}

/// Of which key: a put on a node with an app, or a deletion.
type Change = (u8, Option<(u8, u8)>);

const INTERESTS: usize = 6;

fn interest(of: usize) -> Interest {
    let all = Interest::all("pods");
    match of {
        0 => all,
        1 => Interest { namespace: Some("one".into()), ..all },
        2 => Interest { name: Some("k0".into()), ..all },
        3 => Interest { facet: Some(Facet::Field(NODE, "n1".into())), ..all },
        4 => Interest { facet: Some(Facet::Label("app".into(), "a1".into())), namespace: Some("two".into()), ..all },
        _ => Interest { filter: Some(Arc::new(|object| object.facets.field(NODE) != "n1")), ..all },
    }
}

fn key(of: u8) -> ObjectKey {
    ObjectKey::new("pods", if of.is_multiple_of(2) { "one" } else { "two" }, &format!("k{}", of / 2))
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let change = (0..8_u8, proptest::option::weighted(0.8, (0..3_u8, 0..3_u8)));
    let step = prop_oneof![
        6 => prop::collection::vec(change, 1..6).prop_map(Step::Write),
        1 => (0..INTERESTS).prop_map(Step::Open),
        3 => (0..8_usize, 1..6_usize).prop_map(|(which, max)| Step::Read(which, max)),
        1 => (0..8_usize).prop_map(Step::Drop),
        1 => (0..40_usize).prop_map(Step::Past),
    ];
    prop::collection::vec(step, 1..60)
}

/// A reader: what it was told so far, applied.
struct Reader {
    interest: usize,
    watch: Subscription,
    known: BTreeMap<ObjectKey, Revision>,
    last: Revision,
}

type State = BTreeMap<ObjectKey, Arc<StoredObject>>;

/// Each commit's revision, with the state after it.
struct Model {
    history: Vec<(Revision, State)>,
}

impl Model {
    fn now(&self) -> &(Revision, State) {
        self.history.last().unwrap()
    }

    /// The next commit after `after` that `interest` sees, and what it is to it.
    fn next_after(&self, interest: &Interest, after: Revision) -> Option<(ChangeKind, ObjectKey, Revision)> {
        self.history.windows(2).filter(|pair| pair[1].0 > after).find_map(|pair| {
            let ((_, before), (revision, now)) = (&pair[0], &pair[1]);
            let changed = before
                .keys()
                .chain(now.keys())
                .find(|key| before.get(*key).map(|o| o.revision) != now.get(*key).map(|o| o.revision))?;
            let matched = before.get(changed).is_some_and(|object| interest.matches(object));
            let matches = now.get(changed).is_some_and(|object| interest.matches(object));
            let kind = match (matched, matches) {
                (false, true) => ChangeKind::Added,
                (true, true) => ChangeKind::Modified,
                (true, false) => ChangeKind::Deleted,
                (false, false) => return None,
            };
            Some((kind, changed.clone(), *revision))
        })
    }
}

impl Reader {
    fn open(store: &Store, interest_of: usize) -> Self {
        let view = store.view();
        let wanted = interest(interest_of);
        let known = view.scan("pods", None, None).filter(|o| wanted.matches(o)).map(|o| (o.key.clone(), o.revision));
        let known = known.collect();
        let watch = store.watch(wanted, view.revision()).unwrap();
        Self { interest: interest_of, watch, known, last: view.revision() }
    }

    /// Reads what is there, at most `max`, and checks each change against the model; lists again when expired.
    async fn read(&mut self, store: &Store, model: &Model, max: usize) -> usize {
        let wanted = interest(self.interest);
        let next = {
            let next = self.watch.next(max);
            tokio::pin!(next);
            futures_util::poll!(next)
        };
        let changes = match next {
            std::task::Poll::Pending => {
                assert_eq!(model.next_after(&wanted, self.last), None, "a change was due");
                assert_eq!(self.watch.reached(), model.now().0);
                return 0;
            }
            std::task::Poll::Ready(Err(_)) => {
                *self = Self::open(store, self.interest);
                return 1;
            }
            std::task::Poll::Ready(Ok(changes)) => changes,
        };
        assert!(!changes.is_empty() && changes.len() <= max);
        for change in &changes {
            let event = &change.event;
            let told = (change.kind, event.object.key.clone(), event.revision);
            assert_eq!(Some(told), model.next_after(&wanted, self.last));
            match change.kind {
                ChangeKind::Deleted => self.known.remove(&event.object.key),
                _ => self.known.insert(event.object.key.clone(), event.revision),
            };
            self.last = event.revision;
        }
        let reached = self.watch.reached();
        assert!(reached >= self.last && model.next_after(&wanted, self.last).is_none_or(|next| next.2 > reached));
        changes.len()
    }
}

async fn write(store: &Store, model: &mut Model, changes: &[Change]) {
    let txns: Vec<Txn> = changes
        .iter()
        .map(|(of, put)| match put {
            Some((node, app)) => put_full(&key(*of), Expect::Any, &format!("n{node}"), &format!("a{app}"), "x"),
            None => delete(&key(*of), Expect::Any),
        })
        .collect();
    for ((of, put), done) in changes.iter().zip(store.commit_all(txns).await) {
        let done = done.unwrap();
        let Some(object) = &done.objects[0] else { continue };
        let mut state = model.now().1.clone();
        match put {
            Some(_) => state.insert(key(*of), object.clone()),
            None => state.remove(&key(*of)),
        };
        model.history.push((done.revision, state));
    }
}

async fn run(steps: Vec<Step>) {
    let config = StoreConfig {
        shards: 3,
        executors: ExecutorKind::Inline,
        window_events_max: 24,
        watcher_queue_max: 3,
        ..StoreConfig::default()
    };
    let store = Store::open(config, describe(), Vec::new()).unwrap();
    let mut model = Model { history: vec![(Revision(0), State::new())] };
    let mut readers: Vec<Reader> = Vec::new();
    for step in steps {
        match step {
            Step::Write(changes) => {
                write(&store, &mut model, &changes).await;
                settle(&store).await;
            }
            Step::Open(of) => readers.push(Reader::open(&store, of)),
            Step::Read(which, max) if !readers.is_empty() => {
                let which = which % readers.len();
                readers[which].read(&store, &model, max).await;
            }
            Step::Drop(which) if !readers.is_empty() => {
                let which = which % readers.len();
                readers.swap_remove(which);
            }
            Step::Read(..) | Step::Drop(_) => {}
            Step::Past(back) => {
                let (revision, state) = &model.history[model.history.len().saturating_sub(1 + back)];
                match store.view_at("pods", *revision) {
                    Ok(past) => {
                        let found: Vec<_> =
                            past.scan("pods", None, None).map(|o| (o.key.clone(), o.revision)).collect();
                        let expected: Vec<_> = state.iter().map(|(key, o)| (key.clone(), o.revision)).collect();
                        assert_eq!(found, expected);
                    }
                    Err(_) => assert!(back >= 24, "the window reaches {back} commits back"),
                }
            }
        }
    }
    let (_, state) = model.now();
    for mut reader in readers {
        while reader.read(&store, &model, 4).await > 0 {}
        let wanted = interest(reader.interest);
        let expected: BTreeMap<_, _> =
            state.values().filter(|o| wanted.matches(o)).map(|o| (o.key.clone(), o.revision)).collect();
        assert_eq!(reader.known, expected, "interest {}", reader.interest);
    }
}

/// Watchers are woken after the writer is answered; a second answer means the first batch's watchers were.
async fn settle(store: &Store) {
    committed(store, delete(&ObjectKey::new("pods", "none", "none"), Expect::Any)).await;
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 200,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(0x6761_6e74_7279),
        ..ProptestConfig::default()
    })]

    #[test]
    fn every_watcher_hears_exactly_what_it_asked_for(steps in steps()) {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(run(steps));
    }
}
