//! The promises on the engines of one machine, and what only they promise: durability, bounds, times to live.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use gantry_store_cache::config::{Clock, ExecutorKind, StoreConfig};
use gantry_store_cache::key::ObjectKey;
use gantry_store_cache::object::StoredObject;
use gantry_store_cache::projection::Projection;
use gantry_store_cache::revision::Revision;
use gantry_store_cache::store::{BackupError, Store, restore};
use gantry_store_cache::txn::{Expect, Txn, TxnError, Write};
use gantry_store_cache::watch::{ChangeKind, Facet, Interest};
use rkyv::util::AlignedVec;

use crate::fixture::*;

fn config(mut config: StoreConfig) -> StoreConfig {
    config.shards = 3;
    config.indexed_fields = vec![("pods".into(), vec![NODE])];
    config
}

fn open(with: StoreConfig) -> Store {
    Store::open(config(with), Arc::new(Lines), Vec::new()).unwrap()
}

mod memory {
    use super::*;

    crate::suite::promises!(async { (open(StoreConfig::default()), ()) });
}

mod disk {
    use super::*;

    crate::suite::promises!(async {
        let directory = tempfile::tempdir().unwrap();
        (open(StoreConfig::embedded(directory.path())), directory)
    });
}

async fn write_some(store: &Store, count: usize) {
    let txns = (0..count).map(|n| put(&pod(&format!("p{n:05}")), Expect::Any, &n.to_string())).collect();
    assert!(within(store.commit_all(txns)).await.iter().all(Result::is_ok));
}

#[tokio::test]
async fn a_reopened_store_is_as_it_was_and_counts_on() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(StoreConfig::embedded(directory.path()));
    write_some(&store, 2_000).await;
    let kept: Vec<_> = store.view().scan("pods", None, None).map(|o| (o.key.clone(), o.revision, o.created)).collect();
    committed(&store, put(&pod("last"), Expect::Absent, "x")).await;
    let last = committed(&store, delete(&pod("last"), Expect::Exists)).await.revision;
    drop(store);
    let store = open(StoreConfig::embedded(directory.path()));
    let view = store.view();
    assert_eq!(view.revision(), last, "the counter remembers a deletion");
    let found: Vec<_> = view.scan("pods", None, None).map(|o| (o.key.clone(), o.revision, o.created)).collect();
    assert_eq!(found, kept);
    assert!(view.scan("pods", None, None).enumerate().all(|(n, object)| text(&object) == n.to_string()));
    assert_eq!(view.indexed("pods", &Facet::Field(NODE, "".into())).unwrap().len(), 2_000);
    assert!(committed(&store, put(&pod("new"), Expect::Absent, "x")).await.revision > last);
    assert!(store.watch(Interest::all("pods"), last).is_ok());
    let expired = store.watch(Interest::all("pods"), Revision(last.0 - 1)).unwrap_err();
    assert_eq!(expired.oldest, last);
    assert!(store.view_at("pods", Revision(last.0 - 1)).is_err());
}

#[tokio::test]
async fn one_process_at_a_time_has_a_data_directory() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(StoreConfig::embedded(directory.path()));
    let error = Store::open(StoreConfig::embedded(directory.path()), describe(), Vec::new()).err().unwrap();
    assert!(error.to_string().contains("another process"), "{error}");
    store.close();
    let refused = store.commit(put(&pod("a"), Expect::Any, "x")).await;
    assert!(matches!(refused, Err(TxnError::Unavailable(_))), "{refused:?}");
    drop(store);
    open(StoreConfig::embedded(directory.path()));
}

#[tokio::test]
async fn a_large_group_spread_over_executors_is_the_same_as_a_small_one() {
    for executors in [ExecutorKind::Auto, ExecutorKind::Threads, ExecutorKind::Inline] {
        let store = open(StoreConfig { executors, ..StoreConfig::default() });
        let mut watch = store.watch(Interest::all("pods"), Revision(0)).unwrap();
        write_some(&store, 1_000).await;
        let view = store.view();
        assert_eq!((view.count("pods", None), view.scan("pods", None, None).count()), (1_000, 1_000));
        let heard = heard(&mut watch, 1_000).await;
        assert!(heard.is_sorted_by_key(|(_, _, revision)| *revision), "{executors:?}");
    }
}

#[tokio::test]
async fn a_slow_watcher_is_parked_and_misses_nothing() {
    let config = StoreConfig { watcher_queue_max: 8, ..StoreConfig::default() };
    let store = open(config);
    let named = Interest { namespace: Some("default".into()), ..Interest::all("pods") };
    let mut watch = store.watch(named, Revision(0)).unwrap();
    silent(&mut watch).await;
    for n in 0..100 {
        committed(&store, put(&pod("a"), Expect::Any, &n.to_string())).await;
    }
    let mut revisions: Vec<_> = heard(&mut watch, 40).await.into_iter().map(|heard| heard.2).collect();
    for n in 0..50 {
        committed(&store, put(&pod("a"), Expect::Any, &n.to_string())).await;
    }
    revisions.extend(heard(&mut watch, 110).await.into_iter().map(|heard| heard.2));
    assert_eq!(revisions, (1..=150).map(Revision).collect::<Vec<_>>());
    silent(&mut watch).await;
    committed(&store, put(&pod("a"), Expect::Any, "again")).await;
    assert_eq!(heard(&mut watch, 1).await[0].2, Revision(151));
}

#[tokio::test]
async fn only_falling_out_of_the_window_ends_a_watch() {
    let config = StoreConfig { window_events_max: 16, watcher_queue_max: 4, ..StoreConfig::default() };
    let store = open(config);
    let narrow = Interest { name: Some("a".into()), ..Interest::all("pods") };
    let mut broad = store.watch(Interest::all("pods"), Revision(0)).unwrap();
    let mut narrow = store.watch(narrow, Revision(0)).unwrap();
    silent(&mut narrow).await;
    for n in 0..16 {
        committed(&store, put(&pod("a"), Expect::Any, &n.to_string())).await;
    }
    assert_eq!(heard(&mut broad, 2).await.len(), 2);
    for n in 0..16 {
        committed(&store, put(&pod("a"), Expect::Any, &n.to_string())).await;
    }
    let expired = within(broad.next(10)).await.unwrap_err();
    assert_eq!(expired.oldest, Revision(16));
    assert!(within(narrow.next(10)).await.is_err());
    assert!(store.view_at("pods", Revision(16)).is_ok());
    assert!(store.view_at("pods", Revision(15)).is_err());
    let levels = store.levels();
    let pods = &levels.collections[0];
    assert_eq!((pods.window_events, pods.watchers, pods.expired_watches), (16, 2, 2));
}

#[tokio::test]
async fn windows_are_bounded_by_bytes_too() {
    let store = open(StoreConfig { windows_bytes_max: 64 << 10, ..StoreConfig::default() });
    let large = "x".repeat(10_000);
    for _ in 0..20 {
        committed(&store, put(&pod("a"), Expect::Any, &large)).await;
    }
    let levels = store.levels();
    assert!(levels.collections[0].window_bytes <= 64 << 10, "{levels:?}");
    assert!(levels.collections[0].window_events >= 5);
}

#[tokio::test]
async fn an_object_past_its_time_goes_unless_it_was_written_again() {
    let now = Arc::new(AtomicU64::new(1_000_000));
    let clock = {
        let now = now.clone();
        Clock::from_fn(move || now.load(Ordering::SeqCst))
    };
    let directory = tempfile::tempdir().unwrap();
    let config = || StoreConfig {
        clock: clock.clone(),
        sweep_every: Duration::from_millis(2),
        ..StoreConfig::embedded(directory.path())
    };
    let store = open(config());
    for name in ["goes", "renewed", "made-lasting"] {
        committed(&store, put_for(&pod(name), "x", Duration::from_secs(60))).await;
    }
    committed(&store, put_for(&pod("renewed"), "x", Duration::from_secs(120))).await;
    committed(&store, put(&pod("made-lasting"), Expect::Exists, "x")).await;
    // Times to live are counted in wall time, over a restart too.
    drop(store);
    let store = open(config());
    let mut watch = store.watch(Interest::all("pods"), store.view().revision()).unwrap();
    now.fetch_add(60_000, Ordering::SeqCst);
    let first = heard(&mut watch, 1).await;
    assert_eq!((first[0].0, first[0].1.as_str()), (ChangeKind::Deleted, "goes"));
    now.fetch_add(60_000, Ordering::SeqCst);
    assert_eq!(heard(&mut watch, 1).await[0].1, "renewed");
    assert_eq!(names(store.view().scan("pods", None, None)), ["made-lasting"]);
}

#[tokio::test]
async fn a_backup_restores_to_the_same_store_and_a_damaged_one_to_none() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let store = open(StoreConfig::embedded(at("data")));
    write_some(&store, 3_000).await;
    committed(&store, delete(&pod("p00000"), Expect::Exists)).await;
    let revision = store.backup(&at("backup")).unwrap();
    assert_eq!(revision, store.view().revision());
    assert!(matches!(store.backup(&at("backup")), Err(BackupError::Exists(_))));
    committed(&store, put(&pod("later"), Expect::Absent, "x")).await;
    assert_eq!(restore(&at("backup"), &at("restored")).unwrap(), revision);
    assert!(matches!(restore(&at("backup"), &at("restored")), Err(BackupError::Exists(_))));
    let restored = open(StoreConfig::embedded(at("restored")));
    assert_eq!(restored.view().revision(), revision);
    let all = |store: &Store| store.view().scan("pods", None, None).map(|o| (o.key.clone(), o.body.clone())).collect();
    let (mut before, after): (Vec<_>, Vec<_>) = (all(&store), all(&restored));
    before.retain(|(key, _)| key.name() != "later");
    assert_eq!(after, before);

    let whole = std::fs::read(at("backup")).unwrap();
    let mut altered = whole.clone();
    altered[whole.len() / 2] ^= 1;
    for damaged in [&whole[..whole.len() - 9], &altered, b"something else entirely".as_slice()] {
        std::fs::write(at("damaged"), damaged).unwrap();
        let refused = restore(&at("damaged"), &at("nothing"));
        assert!(matches!(refused, Err(BackupError::Damaged { .. })), "{refused:?}");
        assert!(!at("nothing").exists());
    }
}

#[tokio::test]
async fn relaxed_collections_are_answered_without_the_disk_and_others_are_not() {
    let directory = tempfile::tempdir().unwrap();
    let config = StoreConfig { relaxed: vec!["leases".into()], ..StoreConfig::embedded(directory.path()) };
    let store = open(config.clone());
    let lease = ObjectKey::new("leases", "default", "a");
    committed(&store, put(&lease, Expect::Any, "x")).await;
    assert_eq!((store.recorded().relaxed_batches, store.recorded().synced_batches), (1, 0));
    let last = committed(&store, put(&pod("a"), Expect::Any, "x")).await.revision;
    assert_eq!((store.recorded().relaxed_batches, store.recorded().synced_batches), (1, 1));
    drop(store);
    let store = open(config);
    assert!(store.get(&lease).is_some());
    assert_eq!(store.view().revision(), last, "after an orderly end the counter goes on where it was");
}

#[tokio::test]
async fn after_a_crash_with_relaxed_collections_no_revision_is_given_out_twice() {
    let directory = tempfile::tempdir().unwrap();
    let crashed = tempfile::tempdir().unwrap();
    let config = |at: &Path| StoreConfig { relaxed: vec!["leases".into()], ..StoreConfig::embedded(at) };
    let store = open(config(directory.path()));
    committed(&store, put(&pod("a"), Expect::Any, "x")).await;
    // A copy of the files of a running store is what a power cut leaves, without what was not synced.
    copy_directory(directory.path(), crashed.path());
    let acknowledged = committed(&store, put(&ObjectKey::new("leases", "", "a"), Expect::Any, "x")).await.revision;
    let store = open(config(crashed.path()));
    assert!(committed(&store, put(&pod("b"), Expect::Any, "x")).await.revision > acknowledged);
}

fn copy_directory(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            copy_directory(&entry.path(), &to.join(entry.file_name()));
        } else {
            std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

/// A row is the name's bytes, of pods on a node only. Counts how many were computed.
#[derive(Default)]
struct Names {
    computed: Arc<AtomicUsize>,
}

impl Projection for Names {
    fn name(&self) -> &'static str {
        "names/1"
    }

    fn collection(&self) -> &'static str {
        "pods"
    }

    fn project(&self, object: &StoredObject, out: &mut AlignedVec) {
        self.computed.fetch_add(1, Ordering::SeqCst);
        if !object.facets.field(NODE).is_empty() {
            out.extend_from_slice(object.key.name().as_bytes());
        }
    }
}

/// A store with the projection, and how many rows opening it computed.
fn open_with_rows(directory: &Path) -> (Store, usize) {
    let names = Names::default();
    let computed = names.computed.clone();
    let store = Store::open(config(StoreConfig::embedded(directory)), describe(), vec![Arc::new(names)]).unwrap();
    let computed = computed.load(Ordering::SeqCst);
    (store, computed)
}

/// The names in the rows, after checking that each row is its object's and aligned.
fn rows(store: &Store) -> Vec<String> {
    let snapshot = store.rows("names/1").unwrap();
    assert_eq!(snapshot.revision(), store.view().revision());
    let mut rows = Vec::new();
    for (key, row) in snapshot.rows() {
        assert_eq!((key.name().as_bytes(), row.as_ptr() as usize % 16), (row, 0));
        rows.push(key.name().to_owned());
    }
    rows.sort();
    rows
}

async fn pods_on_a_node(store: &Store, count: usize) -> Vec<String> {
    let all: Vec<_> = (0..count).map(|n| format!("p{n:03}")).collect();
    let txns = all.iter().map(|name| put_full(&pod(name), Expect::Absent, "n1", "", "x")).collect();
    assert!(store.commit_all(txns).await.iter().all(Result::is_ok));
    all
}

#[tokio::test]
async fn rows_follow_the_view_and_untouched_chunks_stay_in_place() {
    let directory = tempfile::tempdir().unwrap();
    let (store, _) = open_with_rows(directory.path());
    let all = pods_on_a_node(&store, 500).await;
    committed(&store, put(&pod("unbound"), Expect::Absent, "x")).await;
    assert_eq!(rows(&store), all);
    assert!(store.rows("other").is_none());
    let before = store.rows("names/1").unwrap();
    committed(&store, put_full(&pod("p007"), Expect::Exists, "n2", "", "y")).await;
    let names = |store: &Store| -> Vec<(String, bool)> {
        let changes = store.rows("names/1").unwrap().changes_since(Some(&before));
        changes.iter().map(|c| (String::from_utf8(c.row.to_vec()).unwrap(), c.gone)).collect()
    };
    assert_eq!(names(&store), [], "a row that is made again as it was is no change");
    committed(&store, delete(&pod("p100"), Expect::Exists)).await;
    committed(&store, put(&pod("p200"), Expect::Exists, "unbound now")).await;
    committed(&store, put_full(&pod("unbound"), Expect::Exists, "n1", "", "z")).await;
    committed(&store, delete(&pod("p300"), Expect::Exists)).await;
    committed(&store, put_full(&pod("p300"), Expect::Absent, "n1", "", "another of its name")).await;
    let mut changes = names(&store);
    assert_eq!(changes.split_off(3), [("unbound".to_owned(), false), ("p300".to_owned(), false)]);
    changes.sort();
    assert_eq!(changes, ["p100", "p200", "p300"].map(|name| (name.to_owned(), true)));
    let mut expected: Vec<_> = all.into_iter().filter(|name| name != "p100" && name != "p200").collect();
    expected.push("unbound".to_owned());
    assert_eq!(rows(&store), expected);
    assert_eq!(before.rows().count(), 500, "a held snapshot stays as it was");
}

#[tokio::test]
async fn a_feed_gives_all_rows_and_then_what_became_of_them_whoever_is_slow() {
    let directory = tempfile::tempdir().unwrap();
    let (store, _) = open_with_rows(directory.path());
    assert!(store.row_feed("other").is_none());
    let mut feed = store.row_feed("names/1").unwrap();
    assert!(feed.next().await.is_empty(), "the first answer comes at once");
    let mut known = std::collections::BTreeSet::new();
    let mut expected = std::collections::BTreeSet::new();
    // More commits between two looks than the store remembers chunks for, and fewer.
    for round in [1usize, 3, 200, 1200, 5] {
        for n in 0..round {
            let name = format!("p{:03}", n % 700);
            let delete_it = expected.contains(&name);
            let txn = if delete_it {
                expected.remove(&name);
                delete(&pod(&name), Expect::Exists)
            } else {
                expected.insert(name.clone());
                put_full(&pod(&name), Expect::Absent, "n1", "", "x")
            };
            assert!(store.commit(txn).await.is_ok());
        }
        for change in feed.next().await {
            let name = String::from_utf8(change.row.to_vec()).unwrap();
            if change.gone { assert!(known.remove(&name)) } else { assert!(known.insert(name)) }
        }
        assert_eq!(known, expected);
    }
    let waiting = tokio::spawn(async move { feed.next().await.len() });
    tokio::task::yield_now().await;
    committed(&store, put_full(&pod("late"), Expect::Absent, "n1", "", "x")).await;
    assert_eq!(waiting.await.unwrap(), 1);
}

#[tokio::test]
async fn a_checkpoint_saves_computing_rows_and_is_never_believed_against_the_log() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("rows.checkpoint");
    let (store, _) = open_with_rows(directory.path());
    let mut expected = pods_on_a_node(&store, 300).await;
    drop(store);

    let (store, computed) = open_with_rows(directory.path());
    assert_eq!((computed, rows(&store)), (0, expected.clone()));
    let old = std::fs::read(&file).unwrap();
    // Slots of the mapped chunks are used on: one row changes, one goes, one comes.
    committed(&store, put_full(&pod("p007"), Expect::Exists, "n2", "", "y")).await;
    committed(&store, delete(&pod("p100"), Expect::Exists)).await;
    committed(&store, put_full(&pod("p900"), Expect::Absent, "n2", "", "y")).await;
    expected.retain(|name| name != "p100");
    expected.push("p900".to_owned());
    assert_eq!(rows(&store), expected);
    drop(store);

    // What a crash leaves: a checkpoint older than the log.
    std::fs::write(&file, &old).unwrap();
    let (store, computed) = open_with_rows(directory.path());
    assert_eq!((computed, rows(&store)), (2, expected.clone()));
    committed(&store, put_full(&pod("p901"), Expect::Absent, "n2", "", "y")).await;
    expected.push("p901".to_owned());
    assert_eq!(rows(&store), expected);
    store.checkpoint().unwrap();
    drop(store);

    let mut damaged = std::fs::read(&file).unwrap();
    let last = damaged.len() - 20;
    damaged[last] ^= 1;
    std::fs::write(&file, &damaged).unwrap();
    let (store, computed) = open_with_rows(directory.path());
    assert!(computed > 0 && rows(&store) == expected);
}

#[tokio::test]
async fn objects_with_too_many_labels_are_found_by_scanning() {
    let store = open(StoreConfig { indexed_labels_max: 1, ..StoreConfig::default() });
    let web = Facet::Label("app".into(), "web".into());
    committed(&store, put_full(&pod("a"), Expect::Any, "", "web", "x")).await;
    assert_eq!(store.view().indexed("pods", &web).unwrap().len(), 1);
    let (body, mut facets) = body("", "web", "x");
    facets.labels = vec![("app".into(), "web".into()), ("tier".into(), "front".into())].into();
    let many = Txn::one(pod("b"), Expect::Any, Write::Put { body, facets, ttl: None });
    committed(&store, many).await;
    assert!(store.view().indexed("pods", &web).is_none());
    committed(&store, delete(&pod("b"), Expect::Exists)).await;
    assert_eq!(store.view().indexed("pods", &web).unwrap().len(), 1);
}
