//! kubectl asks: by the command a person would use, where there is one for the request, else by `--raw`.
//!
//! What it was answered is read from its own log of response bodies, the last of which is its request's; whether it
//! took the answer as a success is its exit code.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::Client;
use crate::cluster::{Cluster, run};
use crate::outcome::Outcome;
use crate::request::{Request, Verb};

/// kubectl of some age.
pub(crate) struct Kubectl {
    program: PathBuf,
    kubeconfig: PathBuf,
    home: PathBuf,
}

impl Kubectl {
    pub(crate) fn new(program: PathBuf, cluster: &Cluster) -> Self {
        Self { program, kubeconfig: cluster.kubeconfig().to_owned(), home: cluster.data_dir().to_owned() }
    }

    fn command(&self, words: &[String]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(words).env("KUBECONFIG", &self.kubeconfig).env("HOME", &self.home);
        command
    }
}

impl Client for Kubectl {
    fn ask(&mut self, request: &Request) -> Outcome {
        if request.verb == Verb::Watch {
            return self.watch(request);
        }
        let (mut words, stdin) = typed(request).unwrap_or_else(|| raw(request));
        words.push("-v=10".into());
        let raw = words.iter().any(|word| word == "--raw");
        let said = run(self.command(&words), &stdin);
        let logged = last_body(&said.stderr);
        if said.code == 0 {
            // What is asked for raw is printed as it came.
            let answer = if raw { serde_json::from_str(&said.stdout).ok() } else { logged };
            return Outcome::Answered(answer.unwrap_or_else(|| panic!("no answer to {words:?}: {said:#?}")));
        }
        Outcome::Refused(logged.unwrap_or_else(|| panic!("no refusal of {words:?}: {said:#?}")))
    }
}

impl Kubectl {
    /// A raw stream, until enough of it has come.
    fn watch(&self, request: &Request) -> Outcome {
        let path = path(request, &[("watch", "true")]);
        let words = ["get", "--raw", &path].map(str::to_owned);
        let mut watching = self.command(&words).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(watching.stdout.take().unwrap()).lines();
        let events = lines.take(request.events).map(|line| serde_json::from_str(&line.unwrap()).unwrap()).collect();
        watching.kill().unwrap();
        watching.wait().unwrap();
        Outcome::Brought(events)
    }
}

/// The last response body in a log.
fn last_body(log: &str) -> Option<Value> {
    let (_, rest) = log.rsplit_once("Response Body")?;
    let text = &rest[rest.find('{')?..];
    serde_json::Deserializer::from_str(text).into_iter().next()?.ok()
}

/// The command that a person would type, and its input; `None` where none does exactly this.
fn typed(request: &Request) -> Option<(Vec<String>, String)> {
    let Request { verb, kind, name, subresource, query, body, .. } = request;
    let resource = kind.resource();
    let mut words: Vec<String> = vec![format!("--namespace={}", request.namespace)];
    let mut say = |text: &str| words.extend(text.split(' ').map(str::to_owned));
    let mut stdin = String::new();
    if subresource.is_some() && !matches!(verb, Verb::Patch(_)) {
        return None;
    }
    match verb {
        Verb::Get if query.is_empty() => say(&format!("get {resource} {name} -o=json")),
        Verb::List if query.keys().all(|key| key.ends_with("Selector")) => say(&format!("get {resource} -o=json")),
        Verb::Create => say("create -f=- -o=json --validate=false"),
        Verb::Replace => say("replace -f=- -o=json --validate=false"),
        Verb::Apply => say("apply --server-side -f=- -o=json"),
        Verb::Patch(kind) => say(&format!("patch {resource} {name} -o=json --type={kind}")),
        Verb::Delete if body.get("preconditions").is_none() => say(&format!("delete {resource} {name} --wait=false")),
        _ => return None,
    }
    match verb {
        Verb::Create | Verb::Replace | Verb::Apply => stdin = body.to_string(),
        Verb::Delete => {
            say(&format!("--cascade={}", body["propagationPolicy"].as_str()?.to_lowercase()));
            if let Some(seconds) = body["gracePeriodSeconds"].as_i64() {
                say(&format!("--grace-period={seconds}"));
                say("--force");
            }
            if body.get("dryRun").is_some() {
                say("--dry-run=server");
            }
        }
        _ => {}
    }
    if let Some(subresource) = subresource {
        say(&format!("--subresource={subresource}"));
    }
    for (option, value) in query {
        words.push(match option.as_str() {
            "labelSelector" => format!("--selector={value}"),
            "fieldSelector" => format!("--field-selector={value}"),
            "dryRun" => "--dry-run=server".to_owned(),
            "fieldManager" => format!("--field-manager={value}"),
            "fieldValidation" => format!("--validate={}", value.to_lowercase()),
            "force" => "--force-conflicts".to_owned(),
            _ => return None,
        });
    }
    if *verb == Verb::Apply && !query.contains_key("fieldValidation") {
        words.push("--validate=false".into());
    }
    if matches!(verb, Verb::Patch(_)) {
        words.push(format!("--patch={body}"));
    }
    Some((words, stdin))
}

/// The request by its path.
fn raw(request: &Request) -> (Vec<String>, String) {
    let verb = match request.verb {
        Verb::Create => "create",
        Verb::Replace => "replace",
        Verb::Delete | Verb::DeleteAll => "delete",
        _ => "get",
    };
    let mut words = [verb, "--raw", &path(request, &[])].map(str::to_owned).to_vec();
    if request.body.is_null() {
        return (words, String::new());
    }
    words.push("-f=-".into());
    (words, request.body.to_string())
}

/// The request's path with its query.
fn path(request: &Request, more: &[(&str, &str)]) -> String {
    let kind = &request.kind;
    let root = if kind.api_version.contains('/') { "apis" } else { "api" };
    let mut path = format!("/{root}/{}", kind.api_version);
    if kind.namespaced {
        path.push_str(&format!("/namespaces/{}", request.namespace));
    }
    path.push_str(&format!("/{}", kind.plural));
    let whole = matches!(request.verb, Verb::Create | Verb::List | Verb::Watch | Verb::DeleteAll);
    if !whole {
        path.push_str(&format!("/{}", request.name));
    }
    if let Some(subresource) = &request.subresource {
        path.push_str(&format!("/{subresource}"));
    }
    let query = request.query.iter().map(|(name, value)| (name.as_str(), value.as_str())).chain(more.iter().copied());
    for (n, (name, value)) in query.enumerate() {
        path.push_str(&format!("{}{name}={}", if n == 0 { "?" } else { "&" }, escaped(value)));
    }
    path
}

/// Percent-encoding of everything that is not plain.
fn escaped(text: &str) -> String {
    text.bytes()
        .map(|b| {
            if b.is_ascii_alphanumeric() || b"-._".contains(&b) {
                char::from(b).to_string()
            } else {
                format!("%{b:02X}")
            }
        })
        .collect()
}
