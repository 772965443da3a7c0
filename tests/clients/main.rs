//! The promise: it does not matter who asks. kubectl of two ages, the Python client and kube-rs send the same requests,
//! `requests.yaml`, each to a fresh API server of its own, and what comes of every one must be the same: the object that
//! each was given, or the code, reason, message and causes of the Status that refused it.
//!
//! The API server runs alone, so that nobody but the client changes anything. What must differ between two servers (uids,
//! versions, times) is made equal by [`outcome`]; that all four were not refused alike is what each request says of its
//! answer. [`informers`] looks at what kube-rs builds on watches.
//!
//! `tests/run` installs the Python client and the older kubectl; kube-rs is a development dependency.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../support/cluster.rs"]
mod cluster;
mod informers;
mod kube_rs;
mod kubectl;
mod outcome;
mod python;
mod request;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Instant;

use cluster::Cluster;
use outcome::Outcome;
use request::{Request, Script};

/// Somebody who can ask.
trait Client {
    /// Sends the request, alone, and waits for its answer.
    fn ask(&mut self, request: &Request) -> Outcome;
}

/// How a client is made for a cluster.
type Connect = fn(&Cluster) -> Box<dyn Client>;

/// The clients, by the names that `requests.yaml` has for them.
const CLIENTS: [(&str, Connect); 4] = [
    ("machine", |cluster| Box::new(kubectl::Kubectl::new("kubectl".into(), cluster))),
    ("debian", |cluster| Box::new(kubectl::Kubectl::new(debians_kubectl(), cluster))),
    ("python", |cluster| Box::new(python::Python::new(cluster))),
    ("kube-rs", |cluster| Box::new(kube_rs::KubeRs::new(cluster))),
];

/// Debian's kubectl, sixteen releases behind the server; `GANTRY_OLD_KUBECTL` may name another.
fn debians_kubectl() -> PathBuf {
    let here = concat!(env!("CARGO_MANIFEST_DIR"), "/target/kubectl-old/usr/bin/kubectl");
    std::env::var_os("GANTRY_OLD_KUBECTL").map_or_else(|| here.into(), PathBuf::from)
}

/// What came of the script, by the name of each request; what is not as the script says is told in `faults`.
fn run(name: &str, connect: Connect, script: &Script, faults: &mut Vec<String>) -> BTreeMap<String, Outcome> {
    let cluster = Cluster::apiserver(&[]);
    let mut client = connect(&cluster);
    let mut kept = request::Kept::default();
    let mut outcomes = BTreeMap::new();
    for step in script.steps().filter(|step| !step.not_by(name)) {
        let request = step.request(script, &kept);
        let deadline = Instant::now() + cluster::PATIENCE;
        let outcome = loop {
            let outcome = client.ask(&request);
            if !step.again() || step.fits(&outcome).is_ok() || Instant::now() > deadline {
                break outcome;
            }
        };
        if let Err(why) = step.fits(&outcome) {
            faults.push(format!("{name}: {}: {why}", step.does()));
        }
        kept.keep(step, &outcome);
        outcomes.insert(step.does().to_owned(), outcome.normal());
    }
    outcomes
}

#[test]
fn the_same_requests_have_the_same_outcomes_by_every_client() {
    let script = Script::read(include_str!("requests.yaml"));
    let clients = CLIENTS.iter().filter(|(name, _)| {
        let there = *name != "debian" || debians_kubectl().exists();
        if !there {
            eprintln!(
                "NOT RUN by Debian's kubectl: there is none at {} (tests/run fetches it)",
                debians_kubectl().display()
            );
        }
        there
    });
    let runs: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = clients
            .map(|(name, connect)| {
                let script = &script;
                scope.spawn(move || {
                    let mut faults = Vec::new();
                    let outcomes = run(name, *connect, script, &mut faults);
                    (*name, outcomes, faults)
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let mut faults: Vec<String> = runs.iter().flat_map(|(_, _, faults)| faults.clone()).collect();
    for does in script.steps().map(|step| step.does()) {
        let mut had = runs.iter().filter_map(|(name, outcomes, _)| Some((*name, outcomes.get(does)?)));
        let (first, expected) = had.next().expect("somebody asked");
        for (name, outcome) in had.filter(|(_, outcome)| *outcome != expected) {
            faults.push(format!("{does}: {name} had\n  {outcome}\nbut {first}\n  {expected}"));
        }
    }
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}
