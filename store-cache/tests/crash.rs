//! Killed at random moments under load, a store has every write it acknowledged and none it was not asked for.
//!
//! A child process (this test binary again) writes from several tasks and prints each acknowledgement into a pipe; the
//! parent kills it with SIGKILL after a seeded number of them, reads the pipe to its end, opens the store and compares.
//! Every writer waits for one answer before its next write, so its keys must be exactly what its acknowledged writes
//! made of them, or that and the one write under way.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use gantry_store_cache::config::StoreConfig;
use gantry_store_cache::key::ObjectKey;
use gantry_store_cache::store::Store;
use gantry_store_cache::txn::{Expect, Op, Txn, Write};

use crate::fixture::*;

const DIRECTORY: &str = "GANTRY_CRASH_DIRECTORY";
const ROUND: &str = "GANTRY_CRASH_ROUND";
const ROUNDS: u64 = 8;
const WRITERS: u64 = 8;
const KEYS: u64 = 7;
const SEED: u64 = 0x6761_6e74_7279;

/// What a writer's `n`-th write does: its key, and the text it puts there or `None` for a deletion.
fn nth_write(round: u64, writer: u64, n: u64) -> (String, Option<String>) {
    let random = mix(SEED ^ mix(round << 40 | writer << 32 | n));
    let name = format!("r{round:02}-w{writer}-k{}", random % KEYS);
    // A few kilobytes, so that the log is rotated and tables are written while we kill.
    let text = format!("{n}:{}", format!("{random:016x}").repeat((random >> 32) as usize % 400));
    (name, (!random.is_multiple_of(11)).then_some(text))
}

/// The finalizer of splitmix64.
fn mix(mut value: u64) -> u64 {
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// Each write goes to a key and to its twin in another collection, in one transaction.
fn twins(name: &str) -> [ObjectKey; 2] {
    [ObjectKey::new("pods", "default", name), ObjectKey::new("twins", "default", name)]
}

fn open(directory: &Path) -> Store {
    let config = StoreConfig { shards: 2, ..StoreConfig::embedded(directory) };
    Store::open(config, Arc::new(Lines), Vec::new()).unwrap()
}

/// The child's side; without a directory in its environment it is not the child and has nothing to do.
#[test]
fn writer_process() {
    let Some(directory) = std::env::var_os(DIRECTORY) else { return };
    let round: u64 = std::env::var(ROUND).unwrap().parse().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    runtime.block_on(async {
        let store = open(Path::new(&directory));
        let mut writers = tokio::task::JoinSet::new();
        for writer in 0..WRITERS {
            let store = store.clone();
            writers.spawn(async move {
                for n in 0.. {
                    let (name, text) = nth_write(round, writer, n);
                    let ops = twins(&name).map(|key| match &text {
                        Some(text) => put(&key, Expect::Any, text).ops.remove(0),
                        None => Op { key, expect: Expect::Any, write: Write::Delete { last: None } },
                    });
                    let done = store.commit(Txn { ops: ops.into_iter().collect() }).await.unwrap();
                    // One write call per line: a line is in the pipe whole or not at all.
                    let line = format!("acknowledged {writer} {n} {}\n", done.revision);
                    std::io::stdout().write_all(line.as_bytes()).unwrap();
                    std::io::stdout().flush().unwrap();
                }
            });
        }
        while writers.join_next().await.is_some() {}
    });
}

#[test]
fn killed_at_any_moment_it_has_every_acknowledged_write_and_no_other() {
    let directory = tempfile::tempdir().unwrap();
    // What earlier rounds left behind, which nobody writes any more.
    let mut settled: BTreeMap<ObjectKey, String> = BTreeMap::new();
    let mut last_revision = 0;
    for round in 0..ROUNDS {
        let kill_after = 20 + mix(SEED ^ round) % 1_200;
        let (acknowledged, revision) = write_until_killed(directory.path(), round, kill_after);
        let context = format!("seed {SEED:#x}, round {round}, killed after {kill_after}");

        let store = open(directory.path());
        let view = store.view();
        assert!(view.revision().0 >= revision.max(last_revision), "{context}: the counter went back");
        last_revision = view.revision().0;
        let mut found = BTreeMap::new();
        for collection in ["pods", "twins"] {
            found.extend(view.scan(collection, None, None).map(|object| (object.key.clone(), text(&object))));
        }
        for writer in 0..WRITERS {
            let mine = |key: &ObjectKey| key.name().starts_with(&format!("r{round:02}-w{writer}-"));
            let there: BTreeMap<_, _> =
                found.iter().filter(|(key, _)| mine(key)).map(|(key, text)| (key.clone(), text.clone())).collect();
            let count = acknowledged.get(&writer).copied().unwrap_or(0);
            let without = state_after(round, writer, count);
            let with = state_after(round, writer, count + 1);
            assert!(there == without || there == with, "{context}: writer {writer} after {count} writes");
            settled.extend(there);
        }
        assert!(found == settled, "{context}: an earlier round's objects changed, or some were invented");
    }
}

fn state_after(round: u64, writer: u64, count: u64) -> BTreeMap<ObjectKey, String> {
    let mut state = BTreeMap::new();
    for n in 0..count {
        let (name, text) = nth_write(round, writer, n);
        for key in twins(&name) {
            match &text {
                Some(text) => state.insert(key, text.clone()),
                None => state.remove(&key),
            };
        }
    }
    state
}

/// How many writes of each writer were acknowledged before the kill, and the highest revision among them.
fn write_until_killed(directory: &Path, round: u64, kill_after: u64) -> (BTreeMap<u64, u64>, u64) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["crash::writer_process", "--exact", "--nocapture"])
        .env(DIRECTORY, directory)
        .env(ROUND, round.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut counts = BTreeMap::new();
    let (mut highest, mut seen) = (0, 0);
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        // The test harness prints a line of its own, without an end, before the first of ours.
        let Some((_, line)) = line.split_once("acknowledged ") else { continue };
        let numbers: Vec<u64> = line.split(' ').map(|number| number.parse().unwrap()).collect();
        let count: &mut u64 = counts.entry(numbers[0]).or_default();
        assert_eq!(*count, numbers[1], "each writer's acknowledgements come in order");
        *count += 1;
        highest = highest.max(numbers[2]);
        seen += 1;
        if seen == kill_after {
            child.kill().unwrap();
        }
    }
    child.wait().unwrap();
    assert!(seen >= kill_after, "the writers ended by themselves");
    (counts, highest)
}
