//! An Event to be written, in the words of `events.k8s.io/v1` and the form in which the core group stores it.
//!
//! Made by loops that have many to write; [`crate::resource_api::ResourceApi::create_events`] writes them. The registry
//! writes [`NewEvent::body`] as it is, everybody else sends it as an object.

use compact_str::CompactString;

use crate::codec::json::push_string;
use crate::names;
use crate::recorder::{Severity, Subject};
use crate::time;
use crate::value;
use crate::value::Value;

/// The longest note (upstream's `noteLengthLimit`).
pub const NOTE_BYTES_MAX: usize = 1024;
/// The longest reason, action and reporting instance.
const WORD_BYTES_MAX: usize = 128;

/// An Event that is not written yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEvent {
    /// Its name; the namespace is its subject's.
    pub name: CompactString,
    /// What it is about: something in a namespace.
    pub regarding: Subject,
    /// How bad it is.
    pub severity: Severity,
    /// Why (`Scheduled`).
    pub reason: CompactString,
    /// What was done (`Binding`).
    pub action: CompactString,
    /// For people.
    pub note: String,
    /// Who says so (`default-scheduler`).
    pub controller: CompactString,
    /// Which instance of it (`default-scheduler-host1`).
    pub instance: CompactString,
    /// When, RFC 3339 with microseconds.
    pub at: CompactString,
}

impl NewEvent {
    /// Whether the API would take it: what validation says of such Events, without making one.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        let word = |text: &str| !text.is_empty() && text.len() <= WORD_BYTES_MAX;
        word(&self.reason)
            && word(&self.action)
            && word(&self.instance)
            && self.note.len() <= NOTE_BYTES_MAX
            && time::parse(&self.at).is_some()
            && names::dns_subdomain(&self.name).is_empty()
            && names::dns_subdomain(&self.regarding.namespace).is_empty()
            && names::qualified_name(&self.controller).is_empty()
    }

    /// As an object of `v1`.
    #[must_use]
    pub fn object(&self) -> Value {
        let Subject { api_version, kind, namespace, name, uid, .. } = self.regarding.clone();
        value!({
            "kind": "Event",
            "apiVersion": "v1",
            "metadata": {"name": (self.name.clone()), "namespace": (namespace.clone())},
            "involvedObject": {"kind": kind, "namespace": namespace, "name": name, "uid": uid, "apiVersion": api_version},
            "reason": (self.reason.clone()),
            "message": (self.note.as_str()),
            "source": {},
            "firstTimestamp": null,
            "lastTimestamp": null,
            "type": (self.severity()),
            "eventTime": (self.at.clone()),
            "action": (self.action.clone()),
            "reportingComponent": (self.controller.clone()),
            "reportingInstance": (self.instance.clone()),
        })
    }

    /// The stored JSON, and the place in it where the resourceVersion belongs. Without managedFields, which nobody asks
    /// Events for and which would be as large as all the rest.
    #[must_use]
    pub fn body(&self, uid: &str, created: &str) -> (Vec<u8>, usize) {
        let Subject { api_version, kind, namespace, name, uid: about, .. } = &self.regarding;
        let mut out = Vec::with_capacity(640 + self.note.len());
        let put = |out: &mut Vec<u8>, key: &str, text: &str| {
            out.extend_from_slice(key.as_bytes());
            push_string(text, out);
        };
        put(&mut out, "{\"kind\":\"Event\",\"apiVersion\":\"v1\",\"metadata\":{\"name\":", &self.name);
        put(&mut out, ",\"namespace\":", namespace);
        put(&mut out, ",\"uid\":", uid);
        out.extend_from_slice(b",\"resourceVersion\":\"");
        let slot = out.len();
        put(&mut out, "\",\"creationTimestamp\":", created);
        put(&mut out, "},\"involvedObject\":{\"kind\":", kind);
        put(&mut out, ",\"namespace\":", namespace);
        put(&mut out, ",\"name\":", name);
        put(&mut out, ",\"uid\":", about);
        put(&mut out, ",\"apiVersion\":", api_version);
        put(&mut out, "},\"reason\":", &self.reason);
        put(&mut out, ",\"message\":", &self.note);
        put(&mut out, ",\"source\":{},\"firstTimestamp\":null,\"lastTimestamp\":null,\"type\":", self.severity());
        put(&mut out, ",\"eventTime\":", &self.at);
        put(&mut out, ",\"action\":", &self.action);
        put(&mut out, ",\"reportingComponent\":", &self.controller);
        put(&mut out, ",\"reportingInstance\":", &self.instance);
        out.push(b'}');
        (out, slot)
    }

    fn severity(&self) -> &'static str {
        match self.severity {
            Severity::Normal => "Normal",
            Severity::Warning => "Warning",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::json;

    fn event() -> NewEvent {
        NewEvent {
            name: "web-1.17a".into(),
            regarding: Subject {
                api_version: "v1".into(),
                kind: "Pod".into(),
                namespace: "d".into(),
                name: "web-1".into(),
                uid: "u".into(),
                field_path: CompactString::default(),
            },
            severity: Severity::Normal,
            reason: "Scheduled".into(),
            action: "Binding".into(),
            note: "Successfully assigned d/web-1 to \"n\"".into(),
            controller: "default-scheduler".into(),
            instance: "default-scheduler-h".into(),
            at: "2026-01-02T03:04:05.000006Z".into(),
        }
    }

    #[test]
    fn the_bytes_are_the_object() {
        let event = event();
        let (mut body, slot) = event.body("uid", "2026-01-02T03:04:05Z");
        body.splice(slot..slot, *b"42");
        let mut object = event.object();
        for (field, text) in [("uid", "uid"), ("resourceVersion", "42"), ("creationTimestamp", "2026-01-02T03:04:05Z")]
        {
            object.set(&["metadata", field], text);
        }
        assert_eq!(json::parse_own(&body).expect("JSON"), object);
    }

    #[test]
    fn what_the_api_would_refuse_is_not_valid() {
        assert!(event().is_valid());
        assert!(!NewEvent { note: "x".repeat(NOTE_BYTES_MAX + 1), ..event() }.is_valid());
        assert!(!NewEvent { name: "Upper".into(), ..event() }.is_valid());
        assert!(!NewEvent { instance: CompactString::default(), ..event() }.is_valid());
        assert!(!NewEvent { controller: "no good".into(), ..event() }.is_valid());
        assert!(!NewEvent { at: "yesterday".into(), ..event() }.is_valid());
    }
}
