//! How a job's status may move: counters up, ends once and for good, and no end that contradicts another (KEP-4368).
//!
//! A job may be another controller's (`managedBy`), so what an end needs is asked of whoever writes it; what was there
//! before may stay as it was.

use gantry_machinery::status::FieldError;
use gantry_machinery::time;
use gantry_machinery::value::Value;

use crate::registry::validate::view::Held;
use crate::registry::validate::{Errors, Path, name, same};

/// One side of the write: a job with its status.
struct Side<'a>(&'a Value);

impl<'a> Side<'a> {
    fn field(&self, field: &str) -> Option<&'a Value> {
        self.0.at(&["status", field]).filter(|value| !value.is_null())
    }

    fn is(&self, condition: &str) -> bool {
        let conditions = self.field("conditions").items();
        conditions.iter().any(|c| c.get("type").text() == condition && c.get("status").text() == "True")
    }

    fn is_finished(&self) -> bool {
        self.is("Complete") || self.is("Failed")
    }

    fn moment(&self, field: &str) -> Option<i64> {
        self.field(field).and_then(Value::as_str).and_then(time::parse)
    }
}

fn conditions_wrong(detail: &str, errors: &mut Errors) {
    let at = "status.conditions";
    // Upstream leaves the value out of the message.
    errors.add(FieldError { value: String::new(), ..FieldError::invalid(at, "", detail) });
}

/// An update of the status.
pub(super) fn check(new: &Value, old: &Value, errors: &mut Errors) {
    let (now, was) = (Side(new), Side(old));
    check_counts(&now, errors);
    check_ends(&now, &was, errors);
    check_indexes(&now, &was, errors);
    check_moves(&now, &was, errors);
}

fn check_counts(now: &Side<'_>, errors: &mut Errors) {
    let at = Path::new("status");
    for field in ["active", "succeeded", "failed", "ready", "terminating"] {
        name::non_negative(now.field(field).number(), &at.child(field), errors);
    }
    let pods_at = at.child("uncountedTerminatedPods");
    let mut seen: Vec<&str> = Vec::new();
    for field in ["succeeded", "failed"] {
        let list_at = pods_at.child(field);
        let pods = now.field("uncountedTerminatedPods").and_then(|pods| pods.get(field));
        for (n, pod) in pods.items().iter().enumerate() {
            let uid = Some(pod).text();
            if uid.is_empty() {
                errors.invalid(&list_at.index(n), uid, "must not be empty");
            } else if seen.contains(&uid) {
                errors.duplicate(&list_at.index(n), uid);
            } else {
                seen.push(uid);
            }
        }
    }
}

/// What an end goes with, for those who write it or what it goes with.
fn check_ends(now: &Side<'_>, was: &Side<'_>, errors: &mut Errors) {
    let at = Path::new("status");
    let turned = |condition: &str| now.is(condition) != was.is(condition);
    let changed = |field: &str| !same(now.field(field), was.field(field));
    let finished_anew = now.is_finished() != was.is_finished();
    let (complete, failed) = (now.is("Complete"), now.is("Failed"));
    if (turned("Complete") || turned("Failed")) && complete && failed {
        conditions_wrong("cannot set Complete=True and Failed=true conditions", errors);
    }
    if (turned("Complete") || turned("FailureTarget")) && complete && now.is("FailureTarget") {
        conditions_wrong("cannot set Complete=True and FailureTarget=true conditions", errors);
    }
    let done_at = at.child("completionTime");
    let done = now.field("completionTime");
    if turned("Complete") || changed("completionTime") {
        if done.is_some() && !complete {
            let detail = "cannot set completionTime when there is no Complete=True condition";
            errors.invalid(&done_at, done, detail);
        }
        if done.is_none() && complete {
            errors.required(&done_at, "completionTime is required for Complete jobs");
        }
    }
    if (changed("startTime") || changed("completionTime"))
        && let (Some(start), Some(end)) = (now.moment("startTime"), now.moment("completionTime"))
        && end < start
    {
        errors.invalid(&done_at, done, "completionTime cannot be set before startTime");
    }
    if (turned("Failed") || turned("FailureTarget")) && failed && !now.is("FailureTarget") {
        conditions_wrong("cannot set Failed=True condition without the FailureTarget=true condition", errors);
    }
    if (turned("Complete") || turned("SuccessCriteriaMet")) && complete && !now.is("SuccessCriteriaMet") {
        conditions_wrong("cannot set Complete=True condition without the SuccessCriteriaMet=true condition", errors);
    }
    if !now.is_finished() {
        return;
    }
    let active = now.field("active").number();
    if (finished_anew || changed("active")) && active > 0 {
        errors.invalid(&at.child("active"), active, "active>0 is invalid for finished job");
    }
    if (finished_anew || changed("startTime")) && now.field("startTime").is_none() {
        errors.required(&at.child("startTime"), "startTime is required for finished job");
    }
    let uncounted = now.field("uncountedTerminatedPods");
    if (finished_anew || changed("uncountedTerminatedPods")) && !same(uncounted, None) {
        let detail = "uncountedTerminatedPods needs to be empty for finished job";
        errors.invalid(&at.child("uncountedTerminatedPods"), uncounted, detail);
    }
}

fn check_indexes(now: &Side<'_>, was: &Side<'_>, errors: &mut Errors) {
    let at = Path::new("status");
    let changed = |field: &str| now.field(field) != was.field(field);
    let completions = now.0.at(&["spec", "completions"]).int();
    let per_index = now.0.at(&["spec", "backoffLimitPerIndex"]).is_some();
    let (completed, failed) = (now.field("completedIndexes"), now.field("failedIndexes"));
    let (completed_at, failed_at) = (at.child("completedIndexes"), at.child("failedIndexes"));
    if let Some(completions) = completions {
        if changed("completedIndexes")
            && let Err(wrong) = parse_indexes(completed.text(), completions)
        {
            errors.invalid(&completed_at, completed.text(), format!("error parsing completedIndexes: {wrong}"));
        }
        if changed("failedIndexes")
            && per_index
            && let Err(wrong) = parse_indexes(failed.text(), completions)
        {
            errors.invalid(&failed_at, failed, format!("error parsing failedIndexes: {wrong}"));
        }
    }
    let indexed = now.0.at(&["spec", "completionMode"]).text() == "Indexed";
    if changed("completedIndexes") && !completed.text().is_empty() && !indexed {
        let detail = "cannot set non-empty completedIndexes when non-indexed completion mode";
        errors.invalid(&completed_at, completed, detail);
    }
    if changed("failedIndexes") && !per_index && failed.is_some() {
        let detail = "cannot set non-null failedIndexes when backoffLimitPerIndex is null";
        errors.invalid(&failed_at, failed, detail);
    }
    if (changed("completedIndexes") || changed("failedIndexes"))
        && let Some(completions) = completions
        && let Some(index) = overlap(completed.text(), failed.text(), completions)
    {
        let detail = format!("failedIndexes and completedIndexes overlap at index: {index}");
        errors.invalid(&failed_at, failed, detail);
    }
}

fn check_moves(now: &Side<'_>, was: &Side<'_>, errors: &mut Errors) {
    let at = Path::new("status");
    let count = |side: &Side<'_>, field: &str| side.field(field).number();
    let changed = |field: &str| !same(now.field(field), was.field(field));
    let terminating = count(now, "terminating");
    let finished_anew = now.is_finished() != was.is_finished();
    if (finished_anew || changed("terminating")) && terminating > 0 && now.is_finished() {
        errors.invalid(&at.child("terminating"), terminating, "terminating>0 is invalid for finished job");
    }
    if (changed("ready") || changed("active")) && count(now, "ready") > count(now, "active") {
        errors.invalid(&at.child("ready"), count(now, "ready"), "cannot set more ready pods than active");
    }
    let met = now.is("SuccessCriteriaMet");
    for (condition, said) in [("Failed", "Failed"), ("FailureTarget", "FailureTarget")] {
        if met && now.is(condition) {
            conditions_wrong(&format!("cannot set SuccessCriteriaMet=True and {said}=true conditions"), errors);
        }
    }
    let policy = now.0.at(&["spec", "successPolicy"]).is_some();
    if policy && !met && now.is("Complete") {
        let detail = "cannot set Complete=True for Job with SuccessPolicy unless SuccessCriteriaMet=True";
        conditions_wrong(detail, errors);
    }
    for condition in ["Failed", "Complete", "FailureTarget"] {
        if was.is(condition) && !now.is(condition) {
            conditions_wrong(&format!("cannot disable the terminal {condition}=True condition"), errors);
        }
    }
    if count(now, "failed") < count(was, "failed") {
        errors.invalid(&at.child("failed"), count(now, "failed"), "cannot decrease the failed counter");
    }
    // An indexed job that is made smaller forgets what its last indexes did.
    let spec = |field: &str| now.0.at(&["spec", field]);
    let elastic = spec("completionMode").text() == "Indexed" && spec("completions") == spec("parallelism");
    if count(now, "succeeded") < count(was, "succeeded") && !elastic {
        errors.invalid(&at.child("succeeded"), count(now, "succeeded"), "cannot decrease the succeeded counter");
    }
    let (done, was_done) = (now.field("completionTime"), was.field("completionTime"));
    if done.is_some() && was_done.is_some() && done != was_done {
        errors.invalid(&at.child("completionTime"), done, "completionTime cannot be mutated");
    }
    if was.field("startTime").is_some() && changed("startTime") && !spec("suspend").truth() {
        errors.required(&at.child("startTime"), "startTime cannot be removed for unsuspended job");
    }
    if was.is("SuccessCriteriaMet") && !met {
        conditions_wrong("cannot disable the SuccessCriteriaMet=True condition", errors);
    }
    if was.is("Complete") && !was.is("SuccessCriteriaMet") && met {
        let detail = "cannot set SuccessCriteriaMet=True for Job already has Complete=true conditions";
        conditions_wrong(detail, errors);
    }
}

/// `1,3-5` as its intervals, growing and below `completions`.
pub(super) fn parse_indexes(text: &str, completions: i64) -> Result<Vec<(i64, i64)>, String> {
    let mut intervals: Vec<(i64, i64)> = Vec::new();
    for interval in text.split(',').filter(|_| !text.is_empty()) {
        let (first, last) = parse_interval(interval, completions)?;
        if let Some((_, before)) = intervals.last().filter(|(_, before)| *before >= first) {
            return Err(format!("non-increasing order, previous: {before}, current: {first}"));
        }
        intervals.push((first, last));
    }
    Ok(intervals)
}

fn parse_interval(interval: &str, completions: i64) -> Result<(i64, i64), String> {
    let parts: Vec<&str> = interval.split('-').collect();
    if parts.len() > 2 {
        return Err(format!(
            "the fragment {interval:?} violates the requirement that an index interval can have at most two parts \
             separated by '-'"
        ));
    }
    let number = |text: &str| match text.parse::<i64>() {
        Err(_) => Err(format!("cannot convert string to integer for index: {text:?}")),
        Ok(index) if index >= completions => Err(format!("too large index: {text:?}")),
        Ok(index) => Ok(index),
    };
    let first = number(parts[0])?;
    let Some(last) = parts.get(1) else { return Ok((first, first)) };
    let last = number(last)?;
    if first >= last {
        return Err(format!("non-increasing order, previous: {first}, current: {last}"));
    }
    Ok((first, last))
}

/// The first index that is in both; what cannot be read is told elsewhere.
fn overlap(completed: &str, failed: &str, completions: i64) -> Option<i64> {
    let intervals = |text: &str| -> Vec<(i64, i64)> {
        text.split(',').filter_map(|interval| parse_interval(interval, completions).ok()).collect()
    };
    let (completed, failed) = (intervals(completed), intervals(failed));
    let pairs = completed.iter().flat_map(|one| failed.iter().map(move |other| (one, other)));
    pairs.filter(|(a, b)| a.0 <= b.1 && b.0 <= a.1).map(|(a, b)| a.0.max(b.0)).min()
}
