//! What every engine must do. Each promise is a function of an open store; `promises!` makes tests of them.

use std::sync::Arc;
use std::time::Duration;

use gantry_store_cache::key::ObjectKey;
use gantry_store_cache::revision::Revision;
use gantry_store_cache::store::Store;
use gantry_store_cache::txn::{Expect, Op, Txn, Write};
use gantry_store_cache::watch::{ChangeKind, Facet, Interest};

use crate::fixture::*;

/// One test per promise; `$open` makes a store with nothing in it and whatever must outlive it.
macro_rules! promises {
    ($open:expr) => {
        $crate::suite::promises! { $open;
            a_write_is_read_at_once_and_carries_its_revision,
            preconditions_decide_and_a_conflict_tells_the_latest_version,
            a_transaction_happens_wholly_or_not_at_all,
            a_group_answers_each_transaction_by_itself,
            a_deletion_carries_its_own_revision,
            lists_come_in_key_order_from_where_they_were_left,
            a_view_stays_as_it_was,
            the_past_can_be_read_while_the_window_reaches_back,
            a_list_and_a_watch_from_it_lose_and_repeat_nothing,
            a_selector_turns_edges_into_additions_and_deletions,
            watchers_of_a_name_a_namespace_and_a_label_hear_only_theirs,
            a_watch_from_the_future_begins_there,
            progress_is_told_without_matching_events,
            indexes_follow_every_change,
            concurrent_writers_get_distinct_growing_revisions,
        }
    };
    ($open:expr; $($promise:ident,)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $promise() {
                let (store, _kept) = $open.await;
                $crate::suite::$promise(store).await;
            }
        )*
    };
}
pub(crate) use promises;

pub(crate) async fn a_write_is_read_at_once_and_carries_its_revision(store: Store) {
    let key = pod("a");
    let first = committed(&store, put(&key, Expect::Absent, "one")).await;
    let object = store.get(&key).unwrap();
    assert_eq!((object.revision, object.created, text(&object).as_str()), (first.revision, first.revision, "one"));
    assert!(store.view().revision() >= first.revision);
    let second = committed(&store, put(&key, Expect::Revision(first.revision), "two")).await;
    assert!(second.revision > first.revision);
    let object = store.get(&key).unwrap();
    assert_eq!((object.revision, object.created, text(&object).as_str()), (second.revision, first.revision, "two"));
    assert_eq!(text(second.objects[0].as_ref().unwrap()), "two");
}

pub(crate) async fn preconditions_decide_and_a_conflict_tells_the_latest_version(store: Store) {
    let key = pod("a");
    assert!(refused(&store, put(&key, Expect::Exists, "x")).await.is_none());
    assert!(refused(&store, put(&key, Expect::Revision(Revision(3)), "x")).await.is_none());
    assert!(refused(&store, delete(&key, Expect::Exists)).await.is_none());
    let first = committed(&store, put(&key, Expect::Absent, "one")).await.revision;
    assert_eq!(text(&refused(&store, put(&key, Expect::Absent, "x")).await.unwrap()), "one");
    let second = committed(&store, put(&key, Expect::Any, "two")).await.revision;
    let current = refused(&store, put(&key, Expect::Revision(first), "x")).await.unwrap();
    assert_eq!((current.revision, text(&current).as_str()), (second, "two"));
    committed(&store, put(&key, Expect::Exists, "three")).await;
    assert_eq!(text(&store.get(&key).unwrap()), "three");
}

pub(crate) async fn a_transaction_happens_wholly_or_not_at_all(store: Store) {
    let (a, b, c) = (pod("a"), pod("b"), pod("c"));
    committed(&store, put(&a, Expect::Absent, "old")).await;
    let op = |key: &ObjectKey, expect, text: &str| {
        let (body, facets) = body("", "", text);
        Op { key: key.clone(), expect, write: Write::Put { body, facets, ttl: None } }
    };
    let half = Txn { ops: vec![op(&b, Expect::Absent, "new"), op(&a, Expect::Absent, "new")].into() };
    assert_eq!(text(&refused(&store, half).await.unwrap()), "old");
    assert!(store.get(&b).is_none());
    let check = Op { key: c.clone(), expect: Expect::Absent, write: Write::Check };
    let gone = Op { key: a.clone(), expect: Expect::Exists, write: Write::Delete { last: None } };
    let whole = Txn { ops: vec![op(&b, Expect::Absent, "new"), check, gone].into() };
    let done = committed(&store, whole).await;
    assert_eq!(store.get(&b).unwrap().revision, done.revision);
    assert!(store.get(&a).is_none());
    assert!(done.objects[1].is_none());
    assert_eq!(done.objects[2].as_ref().unwrap().revision, done.revision);
    let before = store.view().revision();
    let check = Op { key: c, expect: Expect::Absent, write: Write::Check };
    let checked = committed(&store, Txn { ops: vec![check].into() }).await;
    assert!(checked.revision >= before);
    assert_eq!(store.view().count("pods", None), 1);
}

pub(crate) async fn a_group_answers_each_transaction_by_itself(store: Store) {
    let keys: Vec<_> = (0..100).map(|n| pod(&format!("p{n:03}"))).collect();
    committed(&store, put(&keys[50], Expect::Absent, "there")).await;
    let txns = keys.iter().map(|key| put(key, Expect::Absent, "group")).collect();
    let answers = within(store.commit_all(txns)).await;
    for (at, answer) in answers.iter().enumerate() {
        assert_eq!(answer.is_ok(), at != 50, "{at}: {answer:?}");
    }
    assert_eq!(text(&store.get(&keys[50]).unwrap()), "there");
    assert_eq!(store.view().count("pods", Some("default")), 100);
}

pub(crate) async fn a_deletion_carries_its_own_revision(store: Store) {
    let key = pod("a");
    let mut watch = store.watch(Interest::all("pods"), store.view().revision()).unwrap();
    let created = committed(&store, put(&key, Expect::Absent, "one")).await.revision;
    let deleted = committed(&store, delete(&key, Expect::Revision(created))).await;
    let last = deleted.objects[0].as_ref().unwrap();
    assert_eq!((last.revision, text(last).as_str()), (deleted.revision, "one"));
    let heard = changes(&mut watch, 2).await;
    assert_eq!((heard[1].kind, heard[1].event.revision), (ChangeKind::Deleted, deleted.revision));
    assert_eq!(text(&heard[1].event.object), "one");
    assert_eq!(heard[1].event.before.as_ref().unwrap().revision, created);
    let nothing = committed(&store, delete(&key, Expect::Any)).await;
    assert!(nothing.objects[0].is_none());
    let again = committed(&store, put(&key, Expect::Absent, "two")).await.revision;
    assert_eq!(store.get(&key).unwrap().created, again);
}

pub(crate) async fn lists_come_in_key_order_from_where_they_were_left(store: Store) {
    let mut keys = Vec::new();
    for namespace in ["a", "a-b", "b"] {
        keys.extend((0..20).map(|n| ObjectKey::new("pods", namespace, &format!("n{n}"))));
    }
    keys.push(ObjectKey::new("podsets", "a", "other"));
    keys.push(ObjectKey::new("nodes", "", "n1"));
    let txns = keys.iter().map(|key| put(key, Expect::Absent, "x")).collect();
    assert!(within(store.commit_all(txns)).await.iter().all(Result::is_ok));
    let view = store.view();
    let mut expected: Vec<_> = keys.iter().filter(|key| key.collection() == "pods").cloned().collect();
    expected.sort();
    let found: Vec<_> = view.scan("pods", None, None).map(|object| object.key.clone()).collect();
    assert_eq!(found, expected);
    let page: Vec<_> = view.scan("pods", None, Some(&expected[29])).take(10).map(|o| o.key.clone()).collect();
    assert_eq!(page, expected[30..40]);
    let one: Vec<_> = view.scan("pods", Some("a"), None).map(|object| object.key.clone()).collect();
    let in_a: Vec<_> = expected.iter().filter(|key| key.namespace() == "a").cloned().collect();
    assert_eq!(one, in_a);
    assert_eq!(view.scan("pods", Some("a"), Some(&in_a[18])).count(), 1);
    assert_eq!(view.scan("pods", Some("a"), in_a.last()).count(), 0);
    assert_eq!(view.scan("nodes", None, None).count(), 1);
    assert_eq!(view.scan("nothing", None, None).count(), 0);
    assert_eq!((view.count("pods", None), view.count("pods", Some("a-b")), view.count("pods", Some("c"))), (60, 20, 0));
    assert_eq!(view.collections(), ["nodes", "pods", "podsets"]);
}

pub(crate) async fn a_view_stays_as_it_was(store: Store) {
    for n in 0..10 {
        committed(&store, put(&pod(&format!("p{n}")), Expect::Absent, "old")).await;
    }
    let view = store.view();
    for n in 0..10 {
        committed(&store, put(&pod(&format!("p{n}")), Expect::Exists, "new")).await;
    }
    committed(&store, delete(&pod("p3"), Expect::Any)).await;
    assert!(view.scan("pods", None, None).all(|object| text(&object) == "old"));
    assert_eq!(view.count("pods", None), 10);
    assert_eq!(store.view().count("pods", None), 9);
}

pub(crate) async fn the_past_can_be_read_while_the_window_reaches_back(store: Store) {
    let start = store.view().revision();
    let mut history = vec![(start, Vec::new())];
    for n in 0..30 {
        let key = pod(&format!("p{}", n % 7));
        let txn = if n % 5 == 4 { delete(&key, Expect::Any) } else { put(&key, Expect::Any, &format!("v{n}")) };
        committed(&store, txn).await;
        committed(&store, put(&ObjectKey::new("nodes", "", "n"), Expect::Any, "beat")).await;
        let view = store.view();
        let state: Vec<_> = view.scan("pods", None, None).map(|o| (o.key.clone(), o.revision)).collect();
        history.push((view.revision(), state));
    }
    for (revision, state) in &history {
        let past = store.view_at("pods", *revision).unwrap();
        let found: Vec<_> = past.scan("pods", None, None).map(|o| (o.key.clone(), o.revision)).collect();
        assert_eq!(&found, state, "at {revision}");
        assert_eq!(past.count("pods", Some("default")), state.len());
        assert_eq!(past.revision(), *revision);
    }
    let future = store.view_at("pods", Revision(u64::MAX)).unwrap();
    assert_eq!(future.revision(), store.view().revision());
}

pub(crate) async fn a_list_and_a_watch_from_it_lose_and_repeat_nothing(store: Store) {
    let writer = {
        let store = store.clone();
        tokio::spawn(async move {
            for n in 0..200_u32 {
                let key = pod(&format!("p{}", n % 13));
                let txn = if n % 7 == 6 { delete(&key, Expect::Any) } else { put(&key, Expect::Any, &n.to_string()) };
                store.commit(txn).await.unwrap();
            }
        })
    };
    let mut readers = Vec::new();
    for n in 0..8 {
        let store = store.clone();
        readers.push(tokio::spawn(async move {
            let view = store.view();
            let mut state: std::collections::BTreeMap<_, _> =
                view.scan("pods", None, None).map(|o| (o.key.clone(), o.revision)).collect();
            let mut last = view.revision();
            let interest = match n % 2 {
                0 => Interest::all("pods"),
                _ => Interest { namespace: Some("default".into()), ..Interest::all("pods") },
            };
            let mut watch = store.watch(interest, last).unwrap();
            let done = ObjectKey::new("pods", "default", "zz");
            loop {
                for change in within(watch.next(1 + n)).await.unwrap() {
                    let event = &change.event;
                    assert!(event.revision > last, "in order and once: {} after {last}", event.revision);
                    last = event.revision;
                    let before = state.get(&event.object.key).copied();
                    assert_eq!(before, event.before.as_ref().map(|before| before.revision), "no gap");
                    match change.kind {
                        ChangeKind::Deleted => state.remove(&event.object.key),
                        _ => state.insert(event.object.key.clone(), event.revision),
                    };
                }
                if state.contains_key(&done) {
                    return state;
                }
            }
        }));
        tokio::task::yield_now().await;
    }
    within(writer).await.unwrap();
    committed(&store, put(&pod("zz"), Expect::Absent, "done")).await;
    let expected: std::collections::BTreeMap<_, _> =
        store.view().scan("pods", None, None).map(|o| (o.key.clone(), o.revision)).collect();
    for reader in readers {
        assert_eq!(within(reader).await.unwrap(), expected);
    }
}

pub(crate) async fn a_selector_turns_edges_into_additions_and_deletions(store: Store) {
    let key = pod("a");
    let on_n1 = Interest { facet: Some(Facet::Field(NODE, "n1".into())), ..Interest::all("pods") };
    let unbound = Interest { facet: Some(Facet::Field(NODE, "".into())), ..Interest::all("pods") };
    let filtered = Interest {
        filter: Some(Arc::new(|object| object.facets.label("app") == Some("web"))),
        ..Interest::all("pods")
    };
    let start = store.view().revision();
    let mut n1 = store.watch(on_n1, start).unwrap();
    let mut none = store.watch(unbound, start).unwrap();
    let mut web = store.watch(filtered, start).unwrap();
    let mut revisions = Vec::new();
    for (node, app) in [("", "web"), ("n1", "web"), ("n1", "api"), ("n2", "web")] {
        revisions.push(committed(&store, put_full(&key, Expect::Any, node, app, "x")).await.revision);
    }
    revisions.push(committed(&store, delete(&key, Expect::Any)).await.revision);
    use ChangeKind::{Added, Deleted, Modified};
    let kinds = |heard: Vec<(ChangeKind, String, Revision)>| {
        heard.into_iter().map(|(kind, _, revision)| (kind, revision)).collect::<Vec<_>>()
    };
    let r = revisions;
    assert_eq!(kinds(heard(&mut n1, 3).await), [(Added, r[1]), (Modified, r[2]), (Deleted, r[3])]);
    assert_eq!(kinds(heard(&mut none, 2).await), [(Added, r[0]), (Deleted, r[1])]);
    let web = changes(&mut web, 5).await;
    let found: Vec<_> = web.iter().map(|change| (change.kind, change.event.revision)).collect();
    assert_eq!(found, [(Added, r[0]), (Modified, r[1]), (Deleted, r[2]), (Added, r[3]), (Deleted, r[4])]);
    let departed = web[2].event.departed();
    assert_eq!((departed.revision, departed.facets.label("app")), (r[2], Some("web")));
    text(&departed);
}

pub(crate) async fn watchers_of_a_name_a_namespace_and_a_label_hear_only_theirs(store: Store) {
    let start = store.view().revision();
    let mut by_name = store.watch(Interest { name: Some("a".into()), ..Interest::all("pods") }, start).unwrap();
    let in_one = Interest { namespace: Some("one".into()), ..Interest::all("pods") };
    let mut exact = store.watch(Interest { name: Some("a".into()), ..in_one.clone() }, start).unwrap();
    let mut in_one = store.watch(in_one, start).unwrap();
    let label = Facet::Label("app".into(), "web".into());
    let mut web = store.watch(Interest { facet: Some(label), ..Interest::all("pods") }, start).unwrap();
    // Once before they have read anything, and once when they wait for dispatch.
    for round in 0..2 {
        for namespace in ["one", "two"] {
            for (name, app) in [("a", "web"), ("b", "api")] {
                let key = ObjectKey::new("pods", namespace, name);
                committed(&store, put_full(&key, Expect::Any, "", app, "x")).await;
            }
        }
        let expect = async |watch: &mut _, expected: &[&str]| {
            let heard = changes(watch, expected.len()).await;
            let keys: Vec<_> = heard.iter().map(|change| change.event.object.key.to_string()).collect();
            assert_eq!(keys, expected, "round {round}");
            silent(watch).await;
        };
        expect(&mut by_name, &["pods/one/a", "pods/two/a"]).await;
        expect(&mut exact, &["pods/one/a"]).await;
        expect(&mut in_one, &["pods/one/a", "pods/one/b"]).await;
        expect(&mut web, &["pods/one/a", "pods/two/a"]).await;
    }
}

pub(crate) async fn a_watch_from_the_future_begins_there(store: Store) {
    let first = committed(&store, put(&pod("a"), Expect::Any, "1")).await.revision;
    let after = Revision(first.0 + 2);
    let mut watch = store.watch(Interest::all("pods"), after).unwrap();
    assert_eq!(watch.reached(), after);
    let mut last = first;
    while last <= after {
        last = committed(&store, put(&pod("a"), Expect::Any, "2")).await.revision;
    }
    assert_eq!(heard(&mut watch, 1).await, [(ChangeKind::Modified, "a".to_owned(), last)]);
    let view = within(store.reached(last, Duration::from_secs(10))).await.unwrap();
    assert!(view.revision() >= last);
    let behind = store.reached(Revision(last.0 + 1000), Duration::from_millis(1)).await.unwrap_err();
    assert_eq!(behind.wanted, Revision(last.0 + 1000));
}

pub(crate) async fn progress_is_told_without_matching_events(store: Store) {
    let start = store.view().revision();
    let mut broad = store.watch(Interest::all("pods"), start).unwrap();
    let mut narrow = store.watch(Interest { name: Some("a".into()), ..Interest::all("pods") }, start).unwrap();
    silent(&mut narrow).await;
    let elsewhere = committed(&store, put(&ObjectKey::new("nodes", "", "n"), Expect::Any, "x")).await.revision;
    assert!(broad.reached() >= elsewhere && narrow.reached() >= elsewhere);
    let other = committed(&store, put(&pod("b"), Expect::Any, "x")).await.revision;
    assert!(broad.reached() < other, "an event waits for it");
    heard(&mut broad, 1).await;
    silent(&mut narrow).await;
    // Waking the watchers follows the answer, so the narrow one may be told a moment later.
    within(async {
        while narrow.reached() < other {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(broad.reached() >= other);
}

pub(crate) async fn indexes_follow_every_change(store: Store) {
    let node = |name: &str| Facet::Field(NODE, name.into());
    let app = |name: &str| Facet::Label("app".into(), name.into());
    for n in 0..20 {
        let (on, app) = (if n % 2 == 0 { "n1" } else { "" }, if n % 4 == 0 { "web" } else { "api" });
        committed(&store, put_full(&pod(&format!("p{n:02}")), Expect::Absent, on, app, "x")).await;
    }
    let view = store.view();
    assert_eq!(view.indexed("pods", &node("n1")).unwrap().len(), 10);
    assert_eq!(view.indexed("pods", &node("")).unwrap().len(), 10);
    assert_eq!(names(view.indexed("pods", &app("web")).unwrap()), ["p00", "p04", "p08", "p12", "p16"]);
    committed(&store, put_full(&pod("p01"), Expect::Exists, "n1", "web", "x")).await;
    committed(&store, delete(&pod("p00"), Expect::Exists)).await;
    committed(&store, put_full(&pod("p04"), Expect::Exists, "n2", "web", "y")).await;
    let view = store.view();
    assert_eq!(names(view.indexed("pods", &app("web")).unwrap()), ["p01", "p04", "p08", "p12", "p16"]);
    assert_eq!(view.indexed("pods", &node("n1")).unwrap().len(), 9);
    let moved = view.indexed("pods", &node("n2")).unwrap();
    assert_eq!((moved.len(), text(&moved[0]).as_str()), (1, "y"));
    assert!(view.indexed("pods", &Facet::Field("status.phase", "Running".into())).is_none(), "not indexed: scan");
    assert_eq!(view.indexed("none", &app("web")).unwrap().len(), 0);
}

pub(crate) async fn concurrent_writers_get_distinct_growing_revisions(store: Store) {
    let mut writers = Vec::new();
    for writer in 0..16 {
        let store = store.clone();
        writers.push(tokio::spawn(async move {
            let mut revisions = Vec::new();
            let mut expect = Expect::Absent;
            for n in 0..10 {
                let done = store.commit(put(&pod(&format!("w{writer}")), expect, &n.to_string())).await.unwrap();
                assert!(store.get(&pod(&format!("w{writer}"))).unwrap().revision >= done.revision);
                expect = Expect::Revision(done.revision);
                revisions.push(done.revision);
            }
            assert!(revisions.is_sorted());
            revisions
        }));
    }
    let mut all = Vec::new();
    for writer in writers {
        all.extend(within(writer).await.unwrap());
    }
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 160);
}
