//! `requests.yaml` read: what is asked, and what must come of it whoever asks.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::outcome::Outcome;

/// Where objects lie unless a request says otherwise.
const NAMESPACE: &str = "default";

/// The script.
#[derive(Deserialize)]
pub(crate) struct Script {
    kinds: BTreeMap<String, Kind>,
    requests: Vec<Step>,
}

/// A kind that requests are about.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Kind {
    pub(crate) api_version: String,
    pub(crate) kind: String,
    pub(crate) plural: String,
    #[serde(default = "yes")]
    pub(crate) namespaced: bool,
}

fn yes() -> bool {
    true
}

impl Kind {
    pub(crate) fn group_version(&self) -> (&str, &str) {
        self.api_version.split_once('/').unwrap_or(("", &self.api_version))
    }

    /// `configmaps`, `deployments.v1.apps`: how kubectl is told of the kind beyond doubt.
    pub(crate) fn resource(&self) -> String {
        match self.group_version() {
            ("", _) => self.plural.clone(),
            (group, version) => format!("{}.{version}.{group}", self.plural),
        }
    }
}

/// What a request does to its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    Create,
    Get,
    List,
    Watch,
    Replace,
    /// A patch of one of the three formats that are no apply, by kubectl's name for it.
    Patch(&'static str),
    Apply,
    Delete,
    DeleteAll,
}

const VERBS: [(&str, Verb); 11] = [
    ("create", Verb::Create),
    ("get", Verb::Get),
    ("list", Verb::List),
    ("watch", Verb::Watch),
    ("replace", Verb::Replace),
    ("merge", Verb::Patch("merge")),
    ("json", Verb::Patch("json")),
    ("strategic", Verb::Patch("strategic")),
    ("apply", Verb::Apply),
    ("delete", Verb::Delete),
    ("deleteAll", Verb::DeleteAll),
];

/// One line of the script.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Step {
    does: String,
    namespace: Option<String>,
    name: Option<String>,
    subresource: Option<String>,
    #[serde(default)]
    query: BTreeMap<String, Value>,
    #[serde(default)]
    body: Value,
    #[serde(default)]
    change: Value,
    keep: Option<String>,
    #[serde(default)]
    shows: Value,
    refused: Option<Refused>,
    events: Option<Vec<String>>,
    #[serde(default)]
    again: bool,
    #[serde(default)]
    not_by: BTreeMap<String, String>,
    /// The verb with its kind: the one field that has no name of its own.
    #[serde(flatten)]
    verb: Map<String, Value>,
}

/// The Status that a request is to be refused with.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Refused {
    code: u16,
    #[serde(default)]
    reason: String,
    causes: Option<Vec<String>>,
}

/// A request as it is to be sent.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) verb: Verb,
    pub(crate) kind: Kind,
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) subresource: Option<String>,
    /// Parameters by their names in the URL.
    pub(crate) query: BTreeMap<String, String>,
    pub(crate) body: Value,
    /// How many events to wait for.
    pub(crate) events: usize,
}

/// Answers that later requests refer to.
#[derive(Default)]
pub(crate) struct Kept(Map<String, Value>);

impl Kept {
    pub(crate) fn keep(&mut self, step: &Step, outcome: &Outcome) {
        if let Some(name) = &step.keep {
            self.0.insert(name.clone(), outcome.answer().clone());
        }
    }

    /// The value with every `$name.path` in it replaced.
    fn resolve(&self, value: &Value) -> Value {
        match value {
            Value::String(text) if text.starts_with('$') => {
                let pointer = format!("/{}", text[1..].replace('.', "/"));
                // Nothing is there where an earlier step failed, which is told already.
                Value::Object(self.0.clone()).pointer(&pointer).cloned().unwrap_or_default()
            }
            Value::Array(items) => items.iter().map(|item| self.resolve(item)).collect(),
            Value::Object(fields) => fields.iter().map(|(name, value)| (name.clone(), self.resolve(value))).collect(),
            other => other.clone(),
        }
    }
}

impl Script {
    pub(crate) fn read(text: &str) -> Self {
        let script: Value = serde_saphyr::from_str(text).unwrap();
        serde_json::from_value(script).unwrap()
    }

    pub(crate) fn steps(&self) -> impl Iterator<Item = &Step> {
        self.requests.iter()
    }
}

impl Step {
    pub(crate) fn does(&self) -> &str {
        &self.does
    }

    /// Whether to ask until the answer fits.
    pub(crate) fn again(&self) -> bool {
        self.again
    }

    /// Whether a client has no way to ask this.
    pub(crate) fn not_by(&self, client: &str) -> bool {
        self.not_by.contains_key(client)
    }

    fn namespace(&self) -> &str {
        self.namespace.as_deref().unwrap_or(NAMESPACE)
    }

    /// The request to send, given what was answered before.
    pub(crate) fn request(&self, script: &Script, kept: &Kept) -> Request {
        let (verb, kind) = self.verb.iter().next().expect("a step has a verb");
        assert_eq!(self.verb.len(), 1, "one verb, nothing else: {:?}", self.verb);
        let verb = VERBS.iter().find(|(name, _)| name == verb).unwrap_or_else(|| panic!("{verb} is no verb")).1;
        let kind = script.kinds[kind.as_str().unwrap()].clone();
        let mut body = kept.resolve(&self.body);
        merge(&mut body, &kept.resolve(&self.change));
        if matches!(verb, Verb::Create | Verb::Replace | Verb::Apply) {
            // As kubectl does it, so that messages name the same.
            let namespace = if kind.namespaced { self.namespace().into() } else { Value::Null };
            merge(&mut body, &json!({"metadata": {"namespace": namespace}}));
            let body = body.as_object_mut().expect("merging made it one");
            body.entry("apiVersion").or_insert_with(|| kind.api_version.as_str().into());
            body.entry("kind").or_insert_with(|| kind.kind.as_str().into());
        }
        let text = |value: Value| value.as_str().unwrap_or_default().to_owned();
        let mut query: BTreeMap<String, String> =
            self.query.iter().map(|(name, value)| (name.clone(), text(kept.resolve(value)))).collect();
        if matches!(verb, Verb::Create | Verb::Replace | Verb::Patch(_)) {
            // Whoever changes something is on record under the client's own name unless it gives another.
            query.entry("fieldManager".into()).or_insert_with(|| "clients".into());
        }
        if verb == Verb::Watch {
            // Only a watch that brings too little comes to its end.
            query.insert("timeoutSeconds".into(), "10".into());
        }
        let name = self.name.clone().or_else(|| Some(body["metadata"]["name"].as_str()?.to_owned()));
        Request {
            verb,
            namespace: self.namespace().to_owned(),
            kind,
            name: name.unwrap_or_default(),
            subresource: self.subresource.clone(),
            query,
            body,
            events: self.events.as_ref().map_or(0, Vec::len),
        }
    }

    /// Whether an outcome is what the step says; else why not.
    pub(crate) fn fits(&self, outcome: &Outcome) -> Result<(), String> {
        let answer = outcome.answer();
        match (&self.refused, outcome) {
            (None, Outcome::Answered(_)) if shows(answer, &self.shows) => Ok(()),
            (None, Outcome::Brought(events)) => {
                let told: Vec<String> = events.iter().map(told).collect();
                let wanted = self.events.as_ref().expect("a watch says what it brings");
                if told == *wanted { Ok(()) } else { Err(format!("it brought {told:?}, not {wanted:?}")) }
            }
            (Some(refused), Outcome::Refused(_)) => {
                let (code, reason) = (answer["code"].as_u64(), answer["reason"].as_str().unwrap_or_default());
                let causes: Vec<String> =
                    answer["details"]["causes"].as_array().into_iter().flatten().map(cause).collect();
                let right = code == Some(refused.code.into())
                    && reason == refused.reason
                    && refused.causes.as_ref().is_none_or(|wanted| *wanted == causes);
                if right { Ok(()) } else { Err(format!("refused otherwise: {answer}")) }
            }
            _ => Err(format!("an unexpected outcome: {outcome}")),
        }
    }
}

/// An event as `ADDED name`; bookmarks have no name.
fn told(event: &Value) -> String {
    let name = event["object"]["metadata"]["name"].as_str().unwrap_or_default();
    format!("{} {name}", event["type"].as_str().unwrap_or_default()).trim_end().to_owned()
}

/// A cause as `reason field`.
fn cause(cause: &Value) -> String {
    format!("{} {}", cause["reason"].as_str().unwrap_or_default(), cause["field"].as_str().unwrap_or_default())
}

/// Whether everything in `part` is in `whole`; lists have the same length.
fn shows(whole: &Value, part: &Value) -> bool {
    match (whole, part) {
        (_, Value::Null) => true,
        (Value::Object(whole), Value::Object(part)) => {
            part.iter().all(|(name, value)| whole.get(name).is_some_and(|held| shows(held, value)))
        }
        (Value::Array(whole), Value::Array(part)) => {
            whole.len() == part.len() && whole.iter().zip(part).all(|(whole, part)| shows(whole, part))
        }
        _ => whole == part,
    }
}

/// RFC 7386.
fn merge(into: &mut Value, change: &Value) {
    let Value::Object(change) = change else { return };
    if !into.is_object() {
        *into = json!({});
    }
    let fields = into.as_object_mut().expect("made one just above");
    for (name, value) in change {
        match value {
            Value::Null => {
                fields.remove(name);
            }
            Value::Object(_) => merge(fields.entry(name).or_insert(Value::Null), value),
            _ => {
                fields.insert(name.clone(), value.clone());
            }
        }
    }
}
