//! The official Python client asks, through its dynamic client: one process, a line of JSON to ask, a line to answer.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

use crate::Client;
use crate::cluster::Cluster;
use crate::outcome::Outcome;
use crate::request::{Request, Verb};

/// A Python process with a client.
pub(crate) struct Python {
    process: Child,
    answers: BufReader<ChildStdout>,
}

impl Python {
    pub(crate) fn new(cluster: &Cluster) -> Self {
        let root = env!("CARGO_MANIFEST_DIR");
        let mut process = Command::new(format!("{root}/target/python/bin/python"))
            .arg(format!("{root}/tests/python/asks.py"))
            .env("KUBECONFIG", cluster.kubeconfig())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("tests/run installs the Python client");
        let answers = BufReader::new(process.stdout.take().unwrap());
        Self { process, answers }
    }
}

impl Client for Python {
    fn ask(&mut self, request: &Request) -> Outcome {
        let asked = json!({
            "verb": match request.verb {
                Verb::Create => "create",
                Verb::Get => "get",
                Verb::List => "list",
                Verb::Watch => "watch",
                Verb::Replace => "replace",
                Verb::Patch(kind) => kind,
                Verb::Apply => "apply",
                Verb::Delete => "delete",
                Verb::DeleteAll => "deleteAll",
            },
            "apiVersion": request.kind.api_version,
            "kind": request.kind.kind,
            "namespace": request.kind.namespaced.then_some(&request.namespace),
            "name": request.name,
            "subresource": request.subresource,
            "query": request.query,
            "body": request.body,
            "events": request.events,
        });
        writeln!(self.process.stdin.as_mut().unwrap(), "{asked}").unwrap();
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        let mut answer: Value =
            serde_json::from_str(&line).unwrap_or_else(|_| panic!("no answer to {asked}: {line:?}"));
        if let Some(refused) = answer.get_mut("refused") {
            return Outcome::Refused(refused.take());
        }
        match answer["events"].take() {
            Value::Array(events) => Outcome::Brought(events),
            _ => Outcome::Answered(answer["answered"].take()),
        }
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
