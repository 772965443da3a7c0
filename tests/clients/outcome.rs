//! What came of a request, and what of it two servers must agree on.

use std::fmt;

use serde_json::{Value, json};

/// What came of one request.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Outcome {
    /// An object, a list, or the Status of a success.
    Answered(Value),
    /// The Status of a failure.
    Refused(Value),
    /// A watch's events, each `{type, object}`.
    Brought(Vec<Value>),
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answered(object) => write!(f, "answered {object}"),
            Self::Refused(status) => write!(f, "refused {status}"),
            Self::Brought(events) => write!(f, "brought {}", Value::from(events.clone())),
        }
    }
}

impl Outcome {
    /// What was answered; of a watch, nothing.
    pub(crate) fn answer(&self) -> &Value {
        match self {
            Self::Answered(value) | Self::Refused(value) => value,
            Self::Brought(_) => &Value::Null,
        }
    }

    /// The outcome without what two servers, or two times, differ in.
    pub(crate) fn normal(&self) -> Self {
        match self {
            Self::Answered(value) if value["status"] == "Success" => Self::Answered(status(value)),
            Self::Answered(value) => Self::Answered(normal(value)),
            Self::Refused(value) => Self::Refused(status(value)),
            Self::Brought(events) => Self::Brought(events.iter().map(normal).collect()),
        }
    }
}

/// Fields whose values are a server's or a moment's own; that they are there is all that can be compared.
const OWN: [&str; 6] =
    ["resourceVersion", "creationTimestamp", "deletionTimestamp", "time", "continue", "lastTransitionTime"];
/// What stands for such a value.
const SOME: &str = "*";

fn normal(value: &Value) -> Value {
    match value {
        Value::Array(items) => items.iter().map(normal).collect(),
        Value::Object(fields) => {
            let mut made = serde_json::Map::new();
            for (name, value) in fields.iter().filter(|(name, value)| !value.is_null() && *name != "uid") {
                let value = if OWN.contains(&name.as_str()) { SOME.into() } else { normal(value) };
                made.insert(name.clone(), value);
            }
            if let Some(Value::Array(items)) = made.get_mut("items") {
                // Clients give the items of a list their type or leave it, as they like.
                items.iter_mut().filter_map(Value::as_object_mut).for_each(|item| {
                    item.remove("apiVersion");
                    item.remove("kind");
                });
            }
            let prefix = made.get("generateName").and_then(Value::as_str).map(|prefix| format!("{prefix}{SOME}"));
            if let Some(name) = prefix {
                made.insert("name".into(), name.into());
            }
            Value::Object(made)
        }
        Value::String(text) => text.strip_prefix("kube-api-access-").map_or_else(|| value.clone(), |_| SOME.into()),
        other => other.clone(),
    }
}

/// What a Status says, without the members that some clients fill in and others do not.
fn status(status: &Value) -> Value {
    let mut details = status["details"].clone();
    if let Some(details) = details.as_object_mut() {
        details.remove("uid");
        details.retain(|_, value| !value.is_null());
    }
    let message = status["message"].as_str().unwrap_or_default();
    json!({
        "status": status["status"],
        "code": if status["status"] == "Success" { Value::Null } else { status["code"].clone() },
        "reason": status["reason"].as_str().unwrap_or_default(),
        "message": if status["reason"] == "Conflict" { without_numbers(message) } else { message.to_owned() },
        "details": details,
    })
}

/// Conflicts name the versions and uids that differ.
fn without_numbers(message: &str) -> String {
    message
        .split(' ')
        .map(|word| if word.contains(|c: char| c.is_ascii_digit()) { SOME } else { word })
        .collect::<Vec<_>>()
        .join(" ")
}
