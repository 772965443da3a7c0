//! Job: pods that run to completion. The selector and the labels it takes are made here; [`check`] has the rules.

mod check;
mod status;

use compact_str::CompactString;
use gantry_machinery::time;
use gantry_machinery::value::{Object, Value};

use super::cells::{age_cell, container_cells, name_cell, selector_cell};
use super::field::{fill, fill_with};
use super::pod::defaults;
use super::{row, workload};
use crate::registry::strategy::{Column, Strategy};
use crate::registry::validate::labels::selects;
use crate::registry::validate::view::Held;
use crate::registry::validate::{Errors, Path};
pub(super) use check::spec as check_spec;

/// Jobs of `batch`.
#[derive(Debug)]
pub struct Jobs;

const COLUMNS: &[Column] = &[
    Column::name(),
    Column::string("Status"),
    Column::string("Completions"),
    Column::string("Duration"),
    Column::string("Age"),
    workload::CONTAINERS,
    workload::IMAGES,
    workload::SELECTOR,
];

/// The labels by which a job knows its pods: the owner's uid and name, new and old keys.
const UID_LABELS: [&str; 2] = ["batch.kubernetes.io/controller-uid", "controller-uid"];
const NAME_LABELS: [&str; 2] = ["batch.kubernetes.io/job-name", "job-name"];

impl Strategy for Jobs {
    row!("batch", "v1", "jobs");

    fn prepare_for_create(&self, job: &mut Value) {
        job.remove(&["status"]);
        lend_labels(job);
        if !job.at(&["spec", "manualSelector"]).truth() {
            let name = CompactString::from(job.at(&["metadata", "name"]).text());
            let uid = CompactString::from(job.at(&["metadata", "uid"]).text());
            // What the user has set stays: where it is something else, the job is refused.
            for (labels, value) in [(UID_LABELS, &uid), (NAME_LABELS, &name)] {
                for label in labels {
                    set_absent(job, &["spec", "template", "metadata", "labels", label], value);
                }
            }
            set_absent(job, &["spec", "selector", "matchLabels", UID_LABELS[0]], &uid);
        }
    }

    fn default(&self, job: &mut Value) {
        lend_labels(job);
        default_spec(job.force_object().object_entry("spec"));
        workload::default_status(job);
    }

    fn check(&self, job: &Value, errors: &mut Errors) {
        check_generated(job, errors);
        check::job(job, errors);
        check::host_names(job, errors);
    }

    fn prepare_for_update(&self, new: &mut Value, old: &Value, subresource: &str) {
        workload::prepare_for_update(new, old, subresource);
    }

    fn check_update(&self, new: &Value, old: &Value, subresource: &str, errors: &mut Errors) {
        if subresource == "status" {
            status::check(new, old, errors);
        } else {
            check::job(new, errors);
            check::change(new, old, errors);
        }
    }

    fn warnings(&self, new: &Value, old: Option<&Value>) -> Vec<String> {
        workload::template_warnings(new, old)
    }

    fn selectable_fields(&self) -> &'static [&'static str] {
        &["status.successful"]
    }

    fn fields(&self, job: &Value) -> Vec<(&'static str, CompactString)> {
        let count = job.at(&["status", "succeeded"]).number();
        vec![("status.successful", CompactString::from(itoa::Buffer::new().format(count)))]
    }

    fn columns(&self) -> &'static [Column] {
        COLUMNS
    }

    fn row(&self, job: &Value, now: i64) -> Vec<Value> {
        let [containers, images] = container_cells(job.at(&["spec", "template"]));
        vec![
            name_cell(job),
            Value::from(status(job)),
            Value::from(completions(job)),
            Value::from(duration(job, now)),
            age_cell(job, now),
            containers,
            images,
            selector_cell(job.at(&["spec", "selector"])),
        ]
    }
}

fn set_absent(job: &mut Value, path: &[&str], value: &CompactString) {
    if job.at(path).is_none_or(Value::is_null) {
        job.set(path, value.clone());
    }
}

/// The labels and the selector that are made for a job must be what its pods have: so no two jobs have the same pods.
fn check_generated(job: &Value, errors: &mut Errors) {
    if job.at(&["spec", "manualSelector"]).truth() {
        return;
    }
    let Some(selector) = job.at(&["spec", "selector"]).filter(|s| !s.is_null()) else { return };
    let (uid, name) = (job.at(&["metadata", "uid"]).text(), job.at(&["metadata", "name"]).text());
    let mut expected = Value::object();
    // The older labels are told of first.
    let labels = [(UID_LABELS[1], uid), (NAME_LABELS[1], name), (UID_LABELS[0], uid), (NAME_LABELS[0], name)];
    let all = job.at(&["spec", "template", "metadata", "labels"]);
    for (label, value) in labels {
        let at = Path::new("spec.template.metadata.labels");
        let detail = || format!("must be '{value}'");
        match all.and_then(|all| all.get(label)).and_then(Value::as_str) {
            None => errors.required(&at.key(label), detail()),
            Some(said) if said != value => errors.invalid(&at.key(label), all, detail()),
            Some(_) => {}
        }
        expected.set(&[label], value);
    }
    if !selects(selector, Some(&expected)) {
        errors.invalid(&Path::new("spec.selector"), selector, "`selector` not auto-generated");
    }
}

/// A job without labels takes those of its template.
fn lend_labels(job: &mut Value) {
    if job.at(&["metadata", "labels"]).entries().next().is_none()
        && let Some(labels) = job.at(&["spec", "template", "metadata", "labels"]).cloned()
    {
        job.set(&["metadata", "labels"], labels);
    }
}

/// The defaults of a job's spec, also inside a CronJob.
pub(super) fn default_spec(spec: &mut Object) {
    defaults::template(spec.object_entry("template"));
    let absent = |spec: &Object, field: &str| spec.get(field).is_none_or(Value::is_null);
    if absent(spec, "completions") && absent(spec, "parallelism") {
        fill_with(spec, "completions", || Value::Int(1));
    }
    fill_with(spec, "parallelism", || Value::Int(1));
    let limit = if absent(spec, "backoffLimitPerIndex") { 6 } else { i64::from(i32::MAX) };
    fill_with(spec, "backoffLimit", || Value::Int(limit));
    fill(spec, "completionMode", "NonIndexed");
    fill_with(spec, "suspend", || Value::Bool(false));
    let replacement = if absent(spec, "podFailurePolicy") { "TerminatingOrFailed" } else { "Failed" };
    fill(spec, "podReplacementPolicy", replacement);
    let rules = spec.get_mut("podFailurePolicy").and_then(|p| p.get_mut("rules")).and_then(Value::as_array_mut);
    for rule in rules.into_iter().flatten() {
        let patterns = rule.get_mut("onPodConditions").and_then(Value::as_array_mut);
        for pattern in patterns.into_iter().flatten().filter_map(Value::as_object_mut) {
            fill(pattern, "status", "True");
        }
    }
}

fn status(job: &Value) -> &'static str {
    let has = |kind: &str| {
        let conditions = job.array_at(&["status", "conditions"]).iter();
        conditions.into_iter().any(|c| c.get("type").text() == kind && c.get("status").text() == "True")
    };
    if has("Complete") {
        "Complete"
    } else if has("Failed") {
        "Failed"
    } else if job.at(&["metadata", "deletionTimestamp"]).is_some() {
        "Terminating"
    } else if has("Suspended") {
        "Suspended"
    } else if has("FailureTarget") {
        "FailureTarget"
    } else if has("SuccessCriteriaMet") {
        "SuccessCriteriaMet"
    } else {
        "Running"
    }
}

fn completions(job: &Value) -> String {
    let done = job.at(&["status", "succeeded"]).number();
    match (job.at(&["spec", "completions"]).int(), job.at(&["spec", "parallelism"]).number()) {
        (Some(wanted), _) => format!("{done}/{wanted}"),
        (None, at_once) if at_once > 1 => format!("{done}/1 of {at_once}"),
        (None, _) => format!("{done}/1"),
    }
}

fn duration(job: &Value, now: i64) -> String {
    let at = |field: &str| job.str_at(&["status", field]).and_then(time::parse);
    let Some(start) = at("startTime") else { return String::new() };
    time::human_duration(at("completionTime").unwrap_or(now) - start).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use gantry_machinery::value;

    fn made() -> Value {
        let mut job = value!({
            "metadata": {"name": "j", "uid": "u"},
            "spec": {"template": {"metadata": {"labels": {"a": "b"}},
                "spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}},
        });
        Jobs.prepare_for_create(&mut job);
        Jobs.default(&mut job);
        job
    }

    fn causes(errors: Vec<gantry_machinery::status::FieldError>) -> Vec<String> {
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn selector_and_labels_are_made() {
        let job = made();
        assert_eq!(
            job.at(&["spec", "selector"]),
            Some(&value!({"matchLabels": {"batch.kubernetes.io/controller-uid": "u"}}))
        );
        assert_eq!(
            job.at(&["spec", "template", "metadata", "labels"]),
            Some(&value!({
                "a": "b",
                "batch.kubernetes.io/controller-uid": "u", "controller-uid": "u",
                "batch.kubernetes.io/job-name": "j", "job-name": "j",
            }))
        );
        assert_eq!(job.at(&["metadata", "labels"]), Some(&value!({"a": "b"})));
        for (field, number) in [("completions", 1), ("parallelism", 1), ("backoffLimit", 6)] {
            assert_eq!(job.i64_at(&["spec", field]), Some(number), "{field}");
        }
        assert_eq!(causes(Jobs.validate(&job)), Vec::<String>::new());
    }

    #[test]
    fn labels_and_selectors_of_another_job_are_refused() {
        let mut copied = made();
        copied.set(&["metadata", "uid"], "v");
        Jobs.prepare_for_create(&mut copied);
        let found = causes(Jobs.validate(&copied));
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(found[0].starts_with("spec.template.metadata.labels[controller-uid]: Invalid value: {"));
        assert!(found[0].ends_with("must be 'v'"), "{}", found[0]);
        assert!(found[1].starts_with("spec.template.metadata.labels[batch.kubernetes.io/controller-uid]: "));
        assert!(found[2].ends_with("`selector` not auto-generated"), "{}", found[2]);
        let mut chosen = made();
        chosen.set(&["spec", "selector"], value!({"matchLabels": {"a": "b"}}));
        Jobs.prepare_for_create(&mut chosen);
        let found = causes(Jobs.validate(&chosen));
        assert!(found.len() == 1 && found[0].ends_with("`selector` not auto-generated"), "{found:?}");
        chosen.set(&["spec", "manualSelector"], true);
        chosen.remove(&["spec", "selector", "matchLabels", "batch.kubernetes.io/controller-uid"]);
        assert_eq!(causes(Jobs.validate(&chosen)), Vec::<String>::new());
    }

    #[test]
    fn jobs_do_not_restart_always_and_keep_their_template() {
        let old = made();
        let mut new = made();
        new.set(&["spec", "template", "spec", "restartPolicy"], "Always");
        let found = causes(Jobs.validate_update(&new, &old, ""));
        assert_eq!(
            found[0],
            "spec.template.spec.restartPolicy: Required value: valid values: \"OnFailure\", \"Never\""
        );
        assert!(found[1].starts_with("spec.template: Invalid value: {") && found[1].ends_with("field is immutable"));
    }

    #[test]
    fn rows_tell_progress() {
        let mut job = made();
        job.set(&["status"], value!({"succeeded": 1, "startTime": "1970-01-01T00:00:00Z"}));
        let row = |job: &Value| -> Vec<String> {
            Jobs.row(job, 90)[1..4].iter().map(|c| c.as_str().unwrap_or_default().to_owned()).collect()
        };
        assert_eq!(row(&job), ["Running", "1/1", "90s"]);
        job.set(&["status", "conditions"], value!([{"type": "Complete", "status": "True"}]));
        job.set(&["status", "completionTime"], "1970-01-01T00:00:10Z");
        assert_eq!(row(&job), ["Complete", "1/1", "10s"]);
    }
}
