//! Event of the core group: what happened to an object, kept for an hour. Also how `events.k8s.io` events are stored.

pub(super) mod events_k8s_io;

use std::time::Duration;

use compact_str::CompactString;
use gantry_machinery::time;
use gantry_machinery::value::Value;

use super::cells::text_cell;
use super::row;
use crate::registry::strategy::{Column, Strategy};
use crate::registry::validate::view::{Held, view};
use crate::registry::validate::{Errors, Path, name};

/// Events of the core group.
#[derive(Debug)]
pub struct Events;

/// How long an event is kept (`--event-ttl`).
const TTL: Duration = Duration::from_secs(3600);

view! {
    struct Event {
        object: "involvedObject",
        kind: "type",
        reason: "reason",
        message: "message",
        source: "source",
        reporter: "reportingComponent",
        instance: "reportingInstance",
        action: "action",
        event_time: "eventTime",
        first: "firstTimestamp",
        last: "lastTimestamp",
        count: "count",
        series: "series",
    }
}

impl Event<'_> {
    fn object(&self, field: &str) -> &str {
        self.object.and_then(|o| o.get(field)).text()
    }
}

const COLUMNS: &[Column] = &[
    Column::string("Last Seen"),
    Column::string("Type"),
    Column::string("Reason"),
    Column::string("Object"),
    Column::string("Subobject").wide(),
    Column::string("Source").wide(),
    Column::string("Message"),
    Column::string("First Seen").wide(),
    Column::string("Count").wide(),
    Column::name().wide(),
];

impl Strategy for Events {
    row!("", "v1", "events");

    fn default(&self, event: &mut Value) {
        // These are no pointers upstream and always shown.
        for field in ["source", "involvedObject"] {
            if event.get(field).is_none_or(Value::is_null) {
                event.set(&[field], Value::object());
            }
        }
        for field in ["reportingComponent", "reportingInstance"] {
            if event.get(field).is_none_or(Value::is_null) {
                event.set(&[field], "");
            }
        }
    }

    fn check(&self, event: &Value, errors: &mut Errors) {
        check_in(event, "reportingComponent", errors);
    }

    fn create_on_update(&self) -> bool {
        true
    }

    fn ttl(&self) -> Option<Duration> {
        Some(TTL)
    }

    fn selectable_fields(&self) -> &'static [&'static str] {
        &[
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "involvedObject.apiVersion",
            "involvedObject.resourceVersion",
            "involvedObject.fieldPath",
            "reason",
            "reportingComponent",
            "source",
            "type",
        ]
    }

    fn fields(&self, event: &Value) -> Vec<(&'static str, CompactString)> {
        let given = Event::of(event);
        let component = given.source.and_then(|s| s.get("component")).text();
        let all = [
            ("involvedObject.kind", given.object("kind")),
            ("involvedObject.namespace", given.object("namespace")),
            ("involvedObject.name", given.object("name")),
            ("involvedObject.uid", given.object("uid")),
            ("involvedObject.apiVersion", given.object("apiVersion")),
            ("involvedObject.resourceVersion", given.object("resourceVersion")),
            ("involvedObject.fieldPath", given.object("fieldPath")),
            ("reason", given.reason.text()),
            ("reportingComponent", given.reporter.text()),
            ("source", if component.is_empty() { given.reporter.text() } else { component }),
            ("type", given.kind.text()),
        ];
        all.into_iter().filter(|(_, text)| !text.is_empty()).map(|(name, text)| (name, text.into())).collect()
    }

    fn columns(&self) -> &'static [Column] {
        COLUMNS
    }

    fn row(&self, event: &Value, now: i64) -> Vec<Value> {
        let given = Event::of(event);
        let age = |at: Option<&Value>| at.and_then(Value::as_str).map(|at| time::age(Some(at), now));
        let first = age(given.first).or_else(|| age(given.event_time)).unwrap_or_else(|| time::age(None, now));
        let mut last = age(given.last).unwrap_or_else(|| first.clone());
        let mut count = given.count.number().max(1);
        if let Some(series) = given.series {
            last = time::age(series.str_at(&["lastObservedTime"]), now);
            count = series.get("count").number();
        }
        let (kind, target) = (given.object("kind").to_lowercase(), given.object("name"));
        let object = if target.is_empty() { kind } else { format!("{kind}/{target}") };
        vec![
            Value::String(last),
            Value::from(given.kind.text()),
            Value::from(given.reason.text()),
            Value::from(object),
            Value::from(given.object("fieldPath")),
            Value::from(source(&given)),
            Value::from(given.message.text().trim()),
            Value::String(first),
            Value::Int(count),
            text_cell(event, &["metadata", "name"]),
        ]
    }
}

fn source(event: &Event<'_>) -> String {
    let part = |field: &str| event.source.and_then(|s| s.get(field)).text();
    let (component, host) = (part("component"), part("host"));
    let component = if component.is_empty() { event.reporter.text() } else { component };
    let host = if host.is_empty() { event.instance.text() } else { host };
    if host.is_empty() { component.to_owned() } else { format!("{component}, {host}") }
}

/// The rules of every version. `reporter` is what the version calls the reporting component.
fn check_in(event: &Value, reporter: &str, errors: &mut Errors) {
    let given = Event::of(event);
    let namespace = event.at(&["metadata", "namespace"]).text();
    let target = given.object("namespace");
    // Events with a time may be about an object of any namespace; what lies in none is told of in two of them.
    let matches = match (target, given.event_time.is_some()) {
        ("", false) => matches!(namespace, "" | "default"),
        ("", true) => matches!(namespace, "default" | "kube-system"),
        (target, false) => namespace == target,
        (_, true) => true,
    };
    if !matches {
        let at = Path::new("involvedObject");
        errors.invalid(&at.child("namespace"), target, "does not match event.namespace");
    }
    if given.event_time.is_some() {
        check_new_fields(&given, &Path::new(reporter), errors);
    }
    for wrong in gantry_machinery::names::dns_subdomain(if namespace.is_empty() { "default" } else { namespace }) {
        errors.invalid(&Path::new("namespace"), namespace, wrong);
    }
}

/// The fields that came with `eventTime`; the reporting component stands at `at`.
fn check_new_fields(event: &Event<'_>, at: &Path<'_>, errors: &mut Errors) {
    let reporter = event.reporter.text();
    if reporter.is_empty() {
        errors.required(at, "");
    }
    name::qualified(reporter, at, errors);
    for (field, value) in [("reportingInstance", event.instance), ("action", event.action), ("reason", event.reason)] {
        let at = Path::new(field);
        if value.text().is_empty() {
            errors.required(&at, "");
        }
        if value.text().len() > 128 {
            errors.invalid(&at, "", "can have at most 128 characters");
        }
    }
    if event.message.text().len() > 1024 {
        errors.invalid(&Path::new("message"), "", "can have at most 1024 characters");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gantry_machinery::value;

    #[test]
    fn an_event_lives_beside_its_object() {
        let event = value!({"metadata": {"namespace": "a"}, "involvedObject": {"namespace": "b", "name": "p"}});
        let found: Vec<String> = Events.validate(&event).iter().map(ToString::to_string).collect();
        assert_eq!(found, ["involvedObject.namespace: Invalid value: \"b\": does not match event.namespace"]);
        let about_a_node = value!({"metadata": {"namespace": "default"}, "involvedObject": {"name": "n"}});
        assert!(Events.validate(&about_a_node).is_empty());
    }

    #[test]
    fn the_row_names_object_and_source() {
        let event = value!({
            "metadata": {"name": "e"},
            "involvedObject": {"kind": "Pod", "name": "web"},
            "type": "Warning", "reason": "Failed", "message": " no ",
            "source": {"component": "kubelet", "host": "n1"}, "count": 3,
            "firstTimestamp": "1970-01-01T00:00:00Z", "lastTimestamp": "1970-01-01T00:01:00Z",
        });
        let row = Events.row(&event, 90);
        assert_eq!(row[0].as_str(), Some("30s"));
        assert_eq!(row[3].as_str(), Some("pod/web"));
        assert_eq!(row[5].as_str(), Some("kubelet, n1"));
        assert_eq!(row[6].as_str(), Some("no"));
        assert_eq!(row[8], Value::Int(3));
    }
}
