//! `events.k8s.io/v1`: the same events under other names, with stricter rules for who writes them.

use gantry_machinery::value::Value;

use super::check_in;
use crate::registry::validate::view::Held;
use crate::registry::validate::{Errors, Path, same};
use crate::registry::versions::{Rules, Version};

/// Events of `events.k8s.io/v1`.
pub(in crate::registry::kinds) const fn version() -> Version {
    Version::new("events.k8s.io", "v1", "events", ("", "v1"))
        .converted(|event| rename(event, |(core, own)| (own, core)), |event| rename(event, |names| names))
        .selected_by(FIELDS)
        .ruled_by(Rules { create: check_new, update: check_update })
}

/// Fields whose names differ: in the core group, and here.
const NAMES: [(&str, &str); 7] = [
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
    ("reportingComponent", "reportingController"),
];

/// The fields that selectors may name: here, and in the core group.
const FIELDS: &[(&str, &str)] = &[
    ("reason", "reason"),
    ("regarding.kind", "involvedObject.kind"),
    ("regarding.namespace", "involvedObject.namespace"),
    ("regarding.name", "involvedObject.name"),
    ("regarding.uid", "involvedObject.uid"),
    ("regarding.apiVersion", "involvedObject.apiVersion"),
    ("regarding.resourceVersion", "involvedObject.resourceVersion"),
    ("regarding.fieldPath", "involvedObject.fieldPath"),
    ("reportingController", "reportingComponent"),
    ("type", "type"),
];

fn rename(event: &mut Value, from_to: impl Fn((&'static str, &'static str)) -> (&'static str, &'static str)) {
    for (key, _) in event.force_object().fields_mut() {
        if let Some((_, to)) = NAMES.map(&from_to).into_iter().find(|(from, _)| key == from) {
            *key = to.into();
        }
    }
}

fn check_new(event: &Value, errors: &mut Errors) {
    check_in(event, "reportingController", errors);
    check_series(event, errors);
    if event.get("eventTime").text().is_empty() {
        errors.required(&Path::new("eventTime"), "");
    }
    let kind = event.get("type").text();
    if !matches!(kind, "Normal" | "Warning") {
        errors.invalid(&Path::new("type"), "", format!("has invalid value: {kind}"));
    }
    for old in ["firstTimestamp", "lastTimestamp"] {
        if !event.get(old).text().is_empty() {
            errors.invalid(&Path::new(old), "", "needs to be unset");
        }
    }
    if event.get("count").number() != 0 {
        errors.invalid(&Path::new("count"), "", "needs to be unset");
    }
    if ["component", "host"].iter().any(|f| !event.at(&["source", f]).text().is_empty()) {
        errors.invalid(&Path::new("source"), "", "needs to be unset");
    }
}

/// Everything but the series says what happened once and for all.
fn check_update(new: &Value, old: &Value, errors: &mut Errors) {
    check_in(new, "reportingController", errors);
    if !same(new.get("series"), old.get("series")) {
        check_series(new, errors);
    }
    for field in [
        "involvedObject",
        "reason",
        "message",
        "source",
        "firstTimestamp",
        "lastTimestamp",
        "count",
        "reason",
        "type",
        "eventTime",
        "action",
        "related",
        "reportingController",
        "reportingInstance",
    ] {
        let stored = if field == "reportingController" { "reportingComponent" } else { field };
        errors.immutable(&Path::new(field), new.get(stored), old.get(stored));
    }
}

fn check_series(event: &Value, errors: &mut Errors) {
    let Some(series) = event.get("series").filter(|s| !s.is_null()) else { return };
    let at = Path::new("series");
    if series.get("count").number() < 2 {
        errors.invalid(&at.child("count"), "", "should be at least 2");
    }
    if series.get("lastObservedTime").text().is_empty() {
        errors.required(&at.child("lastObservedTime"), "");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gantry_machinery::value;

    fn texts(errors: Errors) -> Vec<String> {
        errors.into_vec().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn an_event_keeps_its_content_under_other_names() {
        let core = value!({"involvedObject": {"name": "p"}, "message": "m", "reason": "r", "count": 2});
        let mut event = core.clone();
        rename(&mut event, |names| names);
        assert_eq!(event, value!({"regarding": {"name": "p"}, "note": "m", "reason": "r", "deprecatedCount": 2}));
        rename(&mut event, |(core, own)| (own, core));
        assert_eq!(event, core);
    }

    #[test]
    fn new_events_are_complete_and_use_no_old_fields() {
        let mut errors = Errors::new();
        check_new(&value!({"metadata": {"namespace": "default"}, "count": 1, "series": {"count": 1}}), &mut errors);
        assert_eq!(
            texts(errors),
            [
                "series.count: Invalid value: \"\": should be at least 2",
                "series.lastObservedTime: Required value",
                "eventTime: Required value",
                "type: Invalid value: \"\": has invalid value: ",
                "count: Invalid value: \"\": needs to be unset",
            ]
        );
    }

    #[test]
    fn only_the_series_of_an_event_changes() {
        let old = value!({"metadata": {"namespace": "default"}, "type": "Normal", "message": "m", "eventTime": "t",
            "reportingComponent": "a/b", "reportingInstance": "i", "action": "a", "reason": "r"});
        let mut new = old.clone();
        new.set(&["series"], value!({"count": 2, "lastObservedTime": "t"}));
        let mut errors = Errors::new();
        check_update(&new, &old, &mut errors);
        assert!(errors.is_empty());
        new.set(&["message"], "other");
        new.set(&["reportingComponent"], "a/c");
        check_update(&new, &old, &mut errors);
        assert_eq!(
            texts(errors),
            [
                "message: Invalid value: \"other\": field is immutable",
                "reportingController: Invalid value: \"a/c\": field is immutable",
            ]
        );
    }
}
